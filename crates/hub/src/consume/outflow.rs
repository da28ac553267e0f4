//! How much is on its way to one session: shared by the consume stage, which
//! hands out, and the net stage, which writes.
//!
//! The net stage queues whatever it is handed, so the bound is kept here: while
//! it has a window of bytes, or [`BLOCKS`] blocks, that it has not written, no
//! member of the session is granted more. When there was no room the net stage
//! says so once half of it is free.

use weft_base::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Blocks under way to one session at which it is full, however small they are.
pub(crate) const BLOCKS: u64 = 512;

/// What is under way to one session.
#[derive(Debug)]
pub(crate) struct Outflow {
    window: u64,
    /// Bytes handed to the net stage and not written.
    bytes: AtomicU64,
    /// Blocks of these.
    blocks: AtomicU64,
    /// The consume stage waits for room.
    wanting: AtomicBool,
}

impl Outflow {
    pub(crate) fn new(window: u64) -> Self {
        Self { window, bytes: AtomicU64::new(0), blocks: AtomicU64::new(0), wanting: AtomicBool::new(false) }
    }

    fn is_open(&self) -> bool {
        self.bytes.load(Ordering::SeqCst) < self.window && self.blocks.load(Ordering::SeqCst) < BLOCKS
    }

    /// Whether more may be handed out. If not, the net stage will say when.
    pub(crate) fn has_room(&self) -> bool {
        if self.is_open() {
            return true;
        }
        // Said first, and looked at again: what is written in between is seen.
        self.wanting.store(true, Ordering::SeqCst);
        self.is_open()
    }

    /// A block was handed to the net stage.
    pub(crate) fn queue(&self, bytes: u64) {
        self.blocks.fetch_add(1, Ordering::SeqCst);
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    /// A block was written, or dropped. Answers whether the consume stage waits
    /// for the room.
    pub(crate) fn written(&self, bytes: u64) -> bool {
        let blocks = self.blocks.fetch_sub(1, Ordering::SeqCst).saturating_sub(1);
        let bytes = self.bytes.fetch_sub(bytes, Ordering::SeqCst).saturating_sub(bytes);
        bytes <= self.window / 2
            && blocks <= BLOCKS / 2
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
        for bytes in [40, 10, 10, 40] {
            assert!(outflow.has_room());
            outflow.queue(bytes);
        }
        assert!(!outflow.has_room());
        assert!(!outflow.written(40), "more than half is under way");
        assert!(outflow.written(10));
        assert!(!outflow.written(10), "told once");
        assert!(outflow.has_room());
    }

    #[test]
    fn blocks_are_bounded_however_small_they_are() {
        let outflow = Outflow::new(1 << 30);
        let mut blocks = 0;
        while outflow.has_room() {
            outflow.queue(8);
            blocks += 1;
        }
        assert_eq!(blocks, BLOCKS);
        let told: Vec<u64> = (1..=BLOCKS).filter(|_| outflow.written(8)).collect();
        assert_eq!(told, [BLOCKS / 2], "once, when half of them are written");
    }
}
