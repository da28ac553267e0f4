//! What a simulated hub keeps on its disk.

use crate::hub::Produced;

/// What outlives a hub's life: its log, as far as it is synced.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) blocks: Vec<Produced>,
    pub(crate) synced: usize,
}

impl Log {
    /// What a new life finds.
    pub(crate) fn after_a_crash(mut self) -> Self {
        self.blocks.truncate(self.synced);
        self
    }

    /// Whether this block would be a second copy, by its producer's sequence.
    pub(crate) fn has(&self, produced: Produced) -> bool {
        let last = self.blocks.iter().rev().find(|known| known.producer == produced.producer);
        last.is_some_and(|known| known.sequence >= produced.sequence)
    }
}
