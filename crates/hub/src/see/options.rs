//! What a hub is told of how it is to be watched.

use std::time::Duration;

use weft_topic::Filter;

use super::TraceOptions;
use super::business::{MAX_METRICS, MAX_VALUES, Metric};
use super::lag::MAX_CONSUMERS;
use crate::options::is_label;

/// The most of [`SeeOptions::classes`].
pub const MAX_CLASSES: usize = 64;
/// The most of [`SeeOptions::window`].
const MAX_WINDOW: usize = 1 << 22;
/// The least of [`SeeOptions::alarm_after`]: some readings of the ledger.
const LEAST_ALARM: Duration = Duration::from_millis(500);
/// The least of [`SeeOptions::links_every`]: a mark of each lane ten times a second.
const LEAST_MARKS: Duration = Duration::from_millis(100);
/// Names in the file of counters: those of the hub, of its stages, and of some 200 links.
const ENTRIES: usize = 4_096;
/// Names of one class of topics, with room for more reasons to drop.
const CLASS_ENTRIES: usize = 64;
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
    /// Counters of what is published here, by topic: at most [`MAX_METRICS`].
    pub metrics: Vec<Metric>,
    /// How many consumers are told apart by their names where it is shown how far they are
    /// behind, at most [`MAX_CONSUMERS`]; the others are told of together.
    pub consumers: usize,
    /// Whether times are kept in histograms.
    pub histograms: bool,
    /// What is traced; `None`: nothing.
    pub traces: Option<TraceOptions>,
}

impl Default for SeeOptions {
    fn default() -> Self {
        Self {
            classes: Vec::new(),
            window: 8_192,
            alarm_after: Duration::from_secs(10),
            links_every: Duration::from_secs(1),
            metrics: Vec::new(),
            consumers: 64,
            histograms: true,
            traces: None,
        }
    }
}

impl SeeOptions {
    /// How many names the file of counters has room for.
    pub(crate) fn entries(&self) -> usize {
        // One more each, for `other`.
        let values: usize = self.metrics.iter().map(|metric| metric.limit + 1).sum();
        ENTRIES + self.classes.len() * CLASS_ENTRIES + values
    }

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
        if self.metrics.len() > MAX_METRICS {
            found.push(("metric", format!("{} are too many: at most {MAX_METRICS}", self.metrics.len())));
        }
        for (index, metric) in self.metrics.iter().enumerate() {
            let name = &metric.name;
            if !is_label(name) {
                found.push(("metric.name", format!("`{name}` must be 1 to 64 of a-z, 0-9 and `-`")));
            }
            if self.metrics.iter().take(index).any(|before| before.name == *name) {
                found.push(("metric.name", format!("there are two of the name `{name}`: give one of them another")));
            }
            if !(1..=MAX_VALUES).contains(&metric.limit) {
                found.push(("metric.limit", format!("{} of `{name}` must be 1 to {MAX_VALUES}", metric.limit)));
            }
        }
        if self.window > MAX_WINDOW {
            found.push(("see.window", format!("{} is above the largest window, {MAX_WINDOW}", self.window)));
        }
        if self.consumers > MAX_CONSUMERS {
            found.push(("see.consumers", format!("{} are too many: at most {MAX_CONSUMERS}", self.consumers)));
        }
        if !(LEAST_MARKS..=MOST_MARKS).contains(&self.links_every) {
            found.push(("see.links_every", format!("{:?} must be 100 ms to an hour", self.links_every)));
        }
        if let Some(traces) = &self.traces {
            traces.violations(self.window, found);
        }
        if self.alarm_after < LEAST_ALARM {
            found.push(("see.alarm_after", format!("{:?} is too short: at least 500 ms", self.alarm_after)));
        }
    }
}
