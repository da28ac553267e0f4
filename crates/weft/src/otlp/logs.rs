//! Log events on their way to a receiver of OTLP, beside those on stderr.
//!
//! Bounded like spans; what does not fit is counted. What the sender itself says is
//! not sent, or a receiver that is gone would be told of that for ever.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};
use weft_hub::Counters;

use super::encode::LogEvent;
use super::queue::Queue;

/// Log events that wait.
pub(super) struct LogQueue {
    events: Queue<LogEvent>,
    counters: Arc<Counters>,
}

impl LogQueue {
    pub(super) fn take(&self, most: usize) -> Vec<LogEvent> {
        self.events.take(most)
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }
}

/// Of the process, which has one place that log events go through.
static QUEUE: OnceLock<Arc<LogQueue>> = OnceLock::new();

/// Log events are sent from now on; the first call decides.
pub(super) fn open(most: usize, counters: Arc<Counters>) -> Arc<LogQueue> {
    QUEUE.get_or_init(|| Arc::new(LogQueue { events: Queue::new(most), counters })).clone()
}

/// A log event was written to stderr: it is sent too, where that is asked for.
pub(crate) fn note(time: u64, level: tracing::Level, fields: &Map<String, Value>) {
    let Some(queue) = QUEUE.get() else { return };
    if fields.get("code").and_then(Value::as_str).is_some_and(|code| code.starts_with("otlp_")) {
        return;
    }
    let event = LogEvent { time, level, fields: fields.clone() };
    let over = queue.events.add(std::iter::once(event));
    queue.counters.traced().dropped.fetch_add(over as u64, Ordering::Relaxed);
}
