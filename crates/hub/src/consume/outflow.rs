//! How much is on its way to one session: shared by the consume stage, which
//! hands out, and the net stage, which writes.
//!
//! The net stage queues whatever it is handed, so the bound is kept here: bytes
//! that it has not written yet, and bytes that consumers may hand out at once,
//! are together at most a window. When there was no room the net stage says so
//! once half of the window is free.

use weft_base::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The bytes under way to one session.
#[derive(Debug)]
pub(crate) struct Outflow {
    window: u64,
    /// Handed to the net stage and not written.
    queued: AtomicU64,
    /// Granted to the session's consumers and not handed out. Written by the
    /// consume stage alone.
    granted: AtomicU64,
    /// The consume stage waits for room.
    wanting: AtomicBool,
}

impl Outflow {
    pub(crate) fn new(window: u64) -> Self {
        Self { window, queued: AtomicU64::new(0), granted: AtomicU64::new(0), wanting: AtomicBool::new(false) }
    }

    /// How many bytes more may be granted. Zero only if the net stage will say
    /// when there is room.
    pub(crate) fn room(&self) -> u64 {
        let free = |outflow: &Self| {
            let used = outflow.queued.load(Ordering::SeqCst) + outflow.granted.load(Ordering::SeqCst);
            outflow.window.saturating_sub(used)
        };
        let room = free(self);
        if room > 0 {
            return room;
        }
        // Said first, and looked at again: what is written in between is seen.
        self.wanting.store(true, Ordering::SeqCst);
        free(self)
    }

    /// Granted to a consumer for a member of the session.
    pub(crate) fn grant(&self, bytes: u64) {
        self.granted.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Of what was granted so much will not be used any more.
    pub(crate) fn take_back(&self, bytes: u64) {
        self.granted.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// Handed to the net stage.
    pub(crate) fn queue(&self, bytes: u64) {
        self.queued.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Written, or dropped. Answers whether the consume stage waits for the room.
    pub(crate) fn written(&self, bytes: u64) -> bool {
        let before = self.queued.fetch_sub(bytes, Ordering::SeqCst);
        before.saturating_sub(bytes) <= self.window / 2
            && self.wanting.load(Ordering::SeqCst)
            && self.wanting.swap(false, Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_found_no_room_is_told_once_when_half_of_it_is_free() {
        let outflow = Outflow::new(100);
        outflow.grant(100);
        assert_eq!(outflow.room(), 0);
        outflow.take_back(100);
        outflow.queue(100);
        assert!(!outflow.written(40), "more than half is under way");
        assert!(outflow.written(10));
        assert!(!outflow.written(10), "told once");
        assert_eq!(outflow.room(), 60);
    }
}
