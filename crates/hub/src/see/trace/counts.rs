//! What is counted of traces, and by who sends them.

use crate::counters::{Counters, counts};

counts! {
    /// Counters since the hub's start.
    TraceCounts {
        /// Blocks traced because their trace was chosen.
        chosen = "traces.chosen",
        /// Blocks traced because they were slow or lost.
        kept = "traces.kept",
        /// Blocks not traced: more in a second than may be, or too many waited.
        limited = "traces.limited",
        /// Blocks told of with less than became of them.
        incomplete = "traces.incomplete",
        /// Spans that the receiver of OTLP took.
        spans = "otlp.spans",
        /// Log events that it took.
        logs = "otlp.logs",
        /// Requests to it that were made again.
        retried = "otlp.retried",
        /// Spans and log events that it refused, or did not take in time.
        failed = "otlp.failed",
        /// Spans and log events that were dropped: too many waited to be sent.
        dropped = "otlp.dropped",
    }
}

impl Counters {
    /// What is counted of traces; whoever sends them by OTLP counts here too.
    #[must_use]
    pub fn traced(&self) -> &TraceCounts {
        &self.traces.counts
    }
}
