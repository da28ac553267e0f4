//! Who decides what clients may do at a hub with `control.enforce`: the policies
//! of the state, for clients that have shown a certificate. What a client without
//! one calls itself proves nothing, so that it may do nothing.

use weft_base::UnixNanos;
use weft_govern::State;
use weft_govern::access::{Ask, Fault, Judge, Method, Place, Verdict};
use weft_policy::{CedarJudge, Limits};

/// The judge of a hub.
pub(crate) struct Enforced(CedarJudge);

impl Enforced {
    /// One that knows no state yet, and so allows nothing.
    ///
    /// # Errors
    /// The schema of policies cannot be read, which is a mistake of this program.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(CedarJudge::new(Limits::default())?))
    }
}

impl Judge for Enforced {
    fn learn(&mut self, state: &State) -> Vec<Fault> {
        self.0.learn(state)
    }

    fn version(&self) -> u64 {
        self.0.version()
    }

    fn judge(&self, ask: &Ask, place: &Place, now: UnixNanos) -> Verdict {
        if ask.principal.method != Method::Anonymous {
            return self.0.judge(ask, place, now);
        }
        Verdict {
            allowed: false,
            version: self.0.version(),
            until: None,
            rules: [].into(),
            reason: "the client has shown no certificate: connect with TLS and one that policies speak of".into(),
        }
    }
}
