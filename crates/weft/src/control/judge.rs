//! Who decides what clients may do at a hub with `control.enforce`: the policies
//! of the state, for clients that have shown who they are, by a certificate, a token
//! or a password. What any other calls itself proves nothing, so that it may do nothing.

use weft_base::UnixNanos;
use weft_govern::State;
use weft_govern::access::{Ask, Fault, Judge, Method, Place, Verdict};
use weft_govern::api::{Explained, ExplainedStep};
use weft_policy::CedarJudge;

/// Why an anonymous client may do nothing.
const ANONYMOUS: &str =
    "the client has shown no certificate, token or password: connect with one of somebody that policies speak of";

/// The judge of a hub.
pub(crate) struct Enforced(CedarJudge);

impl Enforced {
    /// One that judges as `judge` does, which knows no state yet and so allows nothing.
    pub(crate) const fn new(judge: CedarJudge) -> Self {
        Self(judge)
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
        Verdict { allowed: false, version: self.0.version(), until: None, rules: [].into(), reason: ANONYMOUS.into() }
    }
}

/// Why a question is answered as it is by the policies that `judge` has learned: the
/// same answer that [`Enforced`] gives.
pub(crate) fn explain(judge: &CedarJudge, ask: &Ask, place: &Place, now: UnixNanos) -> Explained {
    if ask.principal.method != Method::Anonymous {
        return judge.explain(ask, place, now).into();
    }
    let (what, result, words) = ("login".to_owned(), "refuses".to_owned(), ANONYMOUS.to_owned());
    Explained {
        version: judge.version(),
        reason: ANONYMOUS.to_owned(),
        steps: vec![ExplainedStep { what, result, words, ..ExplainedStep::default() }],
        ..Explained::default()
    }
}
