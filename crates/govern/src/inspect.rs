//! In which words payloads are checked where they enter a mesh: what holds for a
//! topic, whether a payload fits, and if not, why and what is to become of it.
//! Pure, like the rest of the crate; knows no language of schemas.

use std::sync::Arc;

use weft_topic::Filter;

use crate::State;
use crate::access::Fault;
use crate::document::Check;

/// The first level of what streams for quarantine capture: in the reserved space,
/// where nobody publishes.
pub const QUARANTINE: &str = "_quarantine";

/// What the stream captures in which hubs put aside what they call `called`: events on
/// topics that a tenant owns, or on those that nobody owns.
#[must_use]
pub fn quarantine_filter(tenant: Option<&str>, called: &str) -> String {
    match tenant {
        Some(tenant) => format!("{QUARANTINE}/{tenant}/{called}"),
        None => format!("{QUARANTINE}/{called}"),
    }
}

/// Whether a filter is of quarantines alone.
#[must_use]
pub fn is_quarantine(filter: &Filter) -> bool {
    filter.levels().next() == Some(QUARANTINE)
}

/// Whether a filter is of the quarantines of one tenant alone.
#[must_use]
pub fn is_quarantine_of(tenant: &str, filter: &Filter) -> bool {
    let mut levels = filter.levels();
    levels.next() == Some(QUARANTINE) && levels.next() == Some(tenant) && levels.next().is_some()
}

/// A payload that is not of its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// What is to become of it. Never [`Check::Off`].
    pub check: Check,
    /// The subject that holds for the topic.
    pub subject: Arc<str>,
    /// The version of the subject by which it was checked; none if none was found.
    pub version: Option<u32>,
    /// The id of that version's schema.
    pub schema: Option<u32>,
    /// The version of the control state that says so.
    pub state: u64,
    /// Where in the payload: a path, or the offset of a byte.
    pub at: Arc<str>,
    /// The rule that it breaks: a keyword or a short word.
    pub rule: Arc<str>,
    /// What is wrong, in words. At most about a kilobyte, like the others.
    pub text: Arc<str>,
    /// Where it goes, with a check of [`Check::Quarantine`].
    pub quarantine: Option<Arc<str>>,
    /// The tenant that owns the topic, whose quarantine it goes to; none: nobody does.
    pub tenant: Option<Arc<str>>,
}

/// Checks payloads by one state. Answers depend on that state and the payload
/// alone. May take as long as the bounds of schemas allow, which is some
/// milliseconds: hubs ask on a thread of its own.
pub trait Inspector: Send + Sync {
    /// Whether payloads on a topic are checked. A few steps, but for the look-up
    /// of the topic among the filters: hubs keep the answer.
    fn checks(&self, topic: &str) -> bool;

    /// Checks a payload. `schema`: the id in its block; 0 for none.
    ///
    /// # Errors
    /// Why it is not of its schema.
    fn inspect(&self, topic: &str, schema: u32, payload: &[u8]) -> Result<(), Box<Unfit>>;
}

/// What was made of a state.
#[derive(Clone)]
pub struct Learned {
    /// Checks by it. The same as before, where nothing of what it goes by has changed.
    pub inspector: Arc<dyn Inspector>,
    /// What of the state cannot be understood: payloads that it speaks of do not fit.
    pub faults: Arc<[Fault]>,
    /// Schemas that are kept compiled.
    pub schemas: u64,
    /// Of these, those that were compiled for this state.
    pub compiled: u64,
}

/// Makes an [`Inspector`] of each state. May take as long as compiling what is
/// new: hubs ask on a thread of its own, and go by the one before meanwhile.
pub trait Inspectors: Send {
    /// Takes a state in the place of the one before.
    fn learn(&mut self, state: &Arc<State>) -> Learned;
}
