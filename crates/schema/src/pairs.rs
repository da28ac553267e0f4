//! The way of a comparison of two schemas: pairs of types that are to be
//! compared, each once, and what was found against it. Bounded by
//! [`SchemaLimits::compared`] pairs, behind which the answer is no, and by
//! [`SchemaLimits::incompatibilities`] that are listed.

use std::collections::BTreeSet;

use crate::error::Incompatibility;
use crate::limits::SchemaLimits;

/// Pairs of types, and what was found.
pub(crate) struct Pairs<P> {
    seen: BTreeSet<P>,
    queue: Vec<P>,
    found: Vec<Incompatibility>,
    /// Pairs, and incompatibilities.
    limits: (usize, usize),
}

impl<P: Copy + Ord> Pairs<P> {
    pub(crate) fn new(limits: &SchemaLimits) -> Self {
        let limits = (limits.compared, limits.incompatibilities.max(1));
        Self { seen: BTreeSet::new(), queue: Vec::new(), found: Vec::new(), limits }
    }

    /// Something stands against it.
    pub(crate) fn found(&mut self, at: impl Into<String>, rule: &'static str, text: impl Into<String>) {
        if self.found.len() < self.limits.1 {
            self.found.push(Incompatibility::new(at, rule, text));
        }
    }

    /// A pair is looked at here and now. Answers whether for the first time.
    pub(crate) fn first(&mut self, pair: P) -> bool {
        self.seen.insert(pair)
    }

    /// Puts a pair on the list of what is to be compared, once.
    pub(crate) fn add(&mut self, pair: P) {
        if self.first(pair) {
            self.queue.push(pair);
        }
    }

    /// Those that were added first come next.
    pub(crate) fn reverse(&mut self) {
        self.queue.reverse();
    }

    /// The next pair, while there is one and no limit is reached.
    pub(crate) fn next(&mut self) -> Option<P> {
        let pair = self.queue.pop()?;
        let (most, listed) = self.limits;
        if self.found.len() >= listed {
            return None;
        }
        if self.seen.len() > most {
            let text = format!("there are more than {most} pairs of types to compare: make the schemas simpler");
            self.found("", "TOO_LARGE", text);
            return None;
        }
        Some(pair)
    }

    /// The answer.
    pub(crate) fn answer(self) -> Result<(), Vec<Incompatibility>> {
        if self.found.is_empty() { Ok(()) } else { Err(self.found) }
    }
}
