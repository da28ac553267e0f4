//! Blocks that are traced and not on disk yet: when they are is noted in their
//! records. At most [`MOST`]; a newer one takes the place of the oldest, of which
//! the trace does not say when it was synced.

use std::collections::VecDeque;

use weft_base::sync::atomic::Ordering;
use weft_wire::block::Stamp;

use super::Stream;
use crate::counters::Counters;
use crate::messages::StreamSlot;

/// Blocks that are waited for.
const MOST: usize = 1_024;

#[derive(Default)]
pub(super) struct Traced {
    waiting: VecDeque<(Stamp, StreamSlot, u64)>,
}

impl Traced {
    /// A block stands in a stream, and is on disk once that is synced up to here.
    pub(super) fn push(&mut self, stamp: Stamp, slot: StreamSlot, upto: u64) {
        if self.waiting.len() >= MOST {
            self.waiting.pop_front();
        }
        self.waiting.push_back((stamp, slot, upto));
    }

    /// Notes what has reached the disk; what stood in a stream that is gone is forgotten.
    pub(super) fn settle(&mut self, streams: &[Option<Stream>], counters: &Counters, now: u64) {
        self.waiting.retain(|(stamp, slot, upto)| {
            let Some(stream) = streams.get(slot.0 as usize).and_then(Option::as_ref) else { return false };
            let is_synced = stream.settled >= *upto;
            if is_synced && let Some(record) = counters.window.find_stamped(stamp) {
                record.synced_at.store(now, Ordering::Relaxed);
            }
            !is_synced
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
