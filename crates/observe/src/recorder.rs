//! The one writer of a histogram, and whoever looks at it.
//!
//! Recording loads and stores plain words: no instruction that locks, no
//! allocation, no branch on what others do. That is sound because there is one
//! writer, which [`Recorder::record`] makes sure of by `&mut self`. Several
//! writers have a histogram each, which a reader merges.
//!
//! # What a reader may see
//! Each word is written by one thread and only grows, so by the coherence of
//! one atomic no reader sees it shrink, and since it is one aligned word none
//! sees it torn; no ordering between words is needed or promised. The total is
//! added up from the buckets by the reader and can therefore not disagree with
//! them. Explored by loom in `tests/loom.rs`.

use weft_base::sync::Arc;
use weft_base::sync::atomic::{AtomicBool, Ordering};

use crate::mapping::Cells;
use crate::scale::Scale;
use crate::snapshot::Snapshot;

/// Words before the counts: the sum, and the largest.
pub(crate) const HEAD: usize = 2;

/// How many words a histogram has.
pub(crate) const fn words(scale: Scale) -> usize {
    HEAD + scale.buckets()
}

/// Writes a histogram. Not `Clone`: there is one.
#[derive(Debug)]
pub struct Recorder {
    cells: Cells,
    scale: Scale,
    /// Told to the table when it goes, so that the next one may write on.
    held: Option<Arc<AtomicBool>>,
}

/// Looks at a histogram of this process from any thread.
#[derive(Clone, Debug)]
pub struct Viewer {
    cells: Cells,
    scale: Scale,
}

impl Recorder {
    /// A histogram in memory of its own.
    #[must_use]
    pub fn own(scale: Scale) -> Self {
        Self { cells: Cells::own(words(scale)), scale, held: None }
    }

    /// The words of a file, which are at least as many as [`words`].
    #[cfg(not(loom))]
    pub(crate) const fn at(cells: Cells, scale: Scale, held: Arc<AtomicBool>) -> Self {
        Self { cells, scale, held: Some(held) }
    }

    /// Records one value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.record_many(value, 1);
    }

    /// Records a value as often as `times`: what a block of so many events took.
    #[inline]
    pub fn record_many(&mut self, value: u64, times: u64) {
        grow(&self.cells, HEAD + self.scale.index(value), times);
        grow(&self.cells, 0, value.wrapping_mul(times));
        if let Some(largest) = self.cells.get(1)
            && value > largest.load(Ordering::Relaxed)
            && times > 0
        {
            largest.store(value, Ordering::Relaxed);
        }
    }

    /// Looks at it.
    #[must_use]
    pub fn viewer(&self) -> Viewer {
        Viewer { cells: self.cells.clone(), scale: self.scale }
    }
}

/// Adds by a load and a store: only this thread writes.
#[inline]
fn grow(cells: &Cells, at: usize, by: u64) {
    if let Some(word) = cells.get(at) {
        word.store(word.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(held) = &self.held {
            // Release: the next writer, which takes it with acquire, goes on from these words.
            held.store(false, Ordering::Release);
        }
    }
}

impl Viewer {
    /// What was recorded so far. Allocates; for whoever shows it.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::read(self.scale, |at| self.cells.get(at).map_or(0, |word| word.load(Ordering::Relaxed)))
    }

    /// The count of one bucket alone.
    #[must_use]
    pub fn count(&self, bucket: usize) -> u64 {
        self.cells.get(HEAD.saturating_add(bucket)).map_or(0, |word| word.load(Ordering::Relaxed))
    }
}
