//! What a hub is told of how it is to be watched.

use std::time::Duration;

use weft_topic::Filter;

use crate::options::is_label;

/// The most of [`SeeOptions::classes`].
pub const MAX_CLASSES: usize = 64;
/// The most of [`SeeOptions::window`].
const MAX_WINDOW: usize = 1 << 22;
/// The least of [`SeeOptions::alarm_after`]: some readings of the ledger.
const LEAST_ALARM: Duration = Duration::from_millis(500);
/// The least of [`SeeOptions::links_every`]: a mark of each lane ten times a second.
const LEAST_MARKS: Duration = Duration::from_millis(100);
/// The most of it.
const MOST_MARKS: Duration = Duration::from_secs(3_600);

/// Topics that are counted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerClass {
    /// What it is called: 1 to 64 of `a-z`, `0-9` and `-`, and not `other`.
    pub name: String,
    /// Its topics: those that match and belong to no class before it.
    pub topics: Filter,
}

/// What a hub keeps to say where events went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeeOptions {
    /// Classes of topics with a ledger each, at most [`MAX_CLASSES`]; what is in
    /// none of them is counted as `other`. Name the same at all hubs.
    pub classes: Vec<LedgerClass>,
    /// So many blocks are remembered of those that crossed the hub last, up to
    /// 2^22 and rounded up to a power of two; 0 for none.
    pub window: usize,
    /// How long the ledger may be out of balance before that is an alarm: half a
    /// second at least.
    pub alarm_after: Duration,
    /// How often each end of a link says what it sent, where it sent something,
    /// so that the other end compares: 100 ms to an hour.
    pub links_every: Duration,
}

impl Default for SeeOptions {
    fn default() -> Self {
        Self {
            classes: Vec::new(),
            window: 8_192,
            alarm_after: Duration::from_secs(10),
            links_every: Duration::from_secs(1),
        }
    }
}

impl SeeOptions {
    pub(crate) fn violations(&self, found: &mut Vec<(&'static str, String)>) {
        if self.classes.len() > MAX_CLASSES {
            found.push(("ledger", format!("{} classes are too many: at most {MAX_CLASSES}", self.classes.len())));
        }
        for (index, class) in self.classes.iter().enumerate() {
            let name = &class.name;
            if !is_label(name) || name == "other" {
                found.push(("ledger", format!("`{name}` must be 1 to 64 of a-z, 0-9 and `-`, and not `other`")));
            }
            if self.classes.iter().take(index).any(|before| before.name == *name) {
                found.push(("ledger", format!("there are two classes `{name}`: give one of them another name")));
            }
        }
        if self.window > MAX_WINDOW {
            found.push(("see.window", format!("{} is above the largest window, {MAX_WINDOW}", self.window)));
        }
        if !(LEAST_MARKS..=MOST_MARKS).contains(&self.links_every) {
            found.push(("see.links_every", format!("{:?} must be 100 ms to an hour", self.links_every)));
        }
        if self.alarm_after < LEAST_ALARM {
            found.push(("see.alarm_after", format!("{:?} is too short: at least 500 ms", self.alarm_after)));
        }
    }
}
