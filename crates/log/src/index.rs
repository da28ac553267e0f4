//! The sparse index of one segment: where to begin looking for a sequence or a
//! time. In memory only; recovery builds it anew from the blocks.
//!
//! One writer adds entries while others look things up. The entries are
//! allocated with the segment, so that appending never allocates, and they
//! bound its memory: 24 bytes for each `index_every` bytes of the segment.

use weft_base::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::mmap::HEAD;

#[derive(Debug, Default)]
struct Entry {
    sequence: AtomicU64,
    offset: AtomicUsize,
    /// The newest ingest time of all blocks before this one.
    newest_before: AtomicU64,
}

/// A place in the segment at which a block begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) sequence: u64,
    pub(crate) offset: usize,
}

#[derive(Debug)]
pub(crate) struct Index {
    entries: Box<[Entry]>,
    /// How many entries are filled in.
    used: AtomicUsize,
    every: usize,
}

impl Index {
    /// For a segment of `segment` bytes, with an entry every `every` bytes.
    pub(crate) fn new(segment: usize, every: usize) -> Self {
        let every = every.max(1);
        let entries = (0..segment / every + 1).map(|_| Entry::default()).collect();
        Self { entries, used: AtomicUsize::new(0), every }
    }

    /// Tells of a block, in order of offsets; one in about `every` bytes is
    /// kept. Only the segment's writer calls this.
    #[inline]
    pub(crate) fn note(&self, place: Place, newest_before: u64) {
        let used = self.used.load(Ordering::Relaxed);
        if place.offset < HEAD + used * self.every {
            return;
        }
        let Some(entry) = self.entries.get(used) else { return };
        entry.sequence.store(place.sequence, Ordering::Relaxed);
        entry.offset.store(place.offset, Ordering::Relaxed);
        entry.newest_before.store(newest_before, Ordering::Relaxed);
        // Release: whoever sees the count sees the entry.
        self.used.store(used + 1, Ordering::Release);
    }

    fn filled(&self) -> &[Entry] {
        self.entries.get(..self.used.load(Ordering::Acquire)).unwrap_or_default()
    }

    fn last_of(&self, before: impl Fn(&Entry) -> bool) -> Option<Place> {
        let filled = self.filled();
        let entry = filled.get(filled.partition_point(before).checked_sub(1)?)?;
        let (sequence, offset) = (entry.sequence.load(Ordering::Relaxed), entry.offset.load(Ordering::Relaxed));
        Some(Place { sequence, offset })
    }

    /// The last entry at or before `sequence`.
    pub(crate) fn at_sequence(&self, sequence: u64) -> Option<Place> {
        self.last_of(|e| e.sequence.load(Ordering::Relaxed) <= sequence)
    }

    /// The last entry before which every block is older than `time`.
    pub(crate) fn at_time(&self, time: u64) -> Option<Place> {
        self.last_of(|e| e.newest_before.load(Ordering::Relaxed) < time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_one_place_in_every_so_many_bytes_and_no_more_than_fit() {
        let index = Index::new(HEAD + 1000, 1000);
        assert_eq!(index.at_sequence(5), None);
        for i in 0..20_u64 {
            index.note(Place { sequence: 1 + i, offset: HEAD + 400 * i as usize }, 10 * i);
        }
        let place = |i: u64| Some(Place { sequence: 1 + i, offset: HEAD + 400 * i as usize });
        assert_eq!(index.at_sequence(0), None);
        assert_eq!(index.at_sequence(3), place(0));
        assert_eq!(index.at_sequence(4), place(3), "1200 is the first offset past 1000");
        assert_eq!(index.at_sequence(99), place(13), "the entries are used up");
        assert_eq!(index.at_time(30), place(0), "before block 3 some block is not older than 30");
        assert_eq!(index.at_time(31), place(3));
    }
}
