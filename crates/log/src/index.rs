//! The sparse index of one segment: where to begin looking for a sequence, a
//! time, or a home's sequence. Made as the segment is written, kept in a file
//! beside it ([`crate::side`]), and built anew from the blocks when that is
//! missing.
//!
//! One writer adds entries while others look things up. The entries are
//! allocated with the segment, so that appending never allocates where one home
//! or two write. They bound its memory: for each `index_every` bytes of the
//! segment 28 bytes, and 16 for each home. Of segments that are not written to
//! any more only [`INDEXES`](crate::shared::INDEXES) are in memory.

use weft_base::sync::Mutex;
use weft_base::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::homes::Homes;
use crate::mmap::HEAD;
use crate::shared::locked;

#[derive(Debug, Default)]
struct Entry {
    sequence: AtomicU64,
    offset: AtomicUsize,
    /// The newest ingest time of all blocks before this one.
    newest_before: AtomicU64,
}

/// How far the log was in each home before each entry: one after the other,
/// and where each ends.
#[derive(Debug, Default)]
struct Vectors {
    flat: Vec<(u32, u64)>,
    ends: Vec<u32>,
}

impl Vectors {
    fn get(&self, entry: usize) -> &[(u32, u64)] {
        let end = self.ends.get(entry).copied().unwrap_or_default() as usize;
        let start = entry.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default() as usize;
        self.flat.get(start..end).unwrap_or_default()
    }
}

/// A place in the segment at which a block begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) sequence: u64,
    pub(crate) offset: usize,
}

/// An entry as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) place: Place,
    pub(crate) newest_before: u64,
    pub(crate) homes: Vec<(u32, u64)>,
}

#[derive(Debug)]
pub(crate) struct Index {
    entries: Box<[Entry]>,
    vectors: Mutex<Vectors>,
    /// How many entries are filled in.
    used: AtomicUsize,
    every: usize,
}

impl Index {
    /// For a segment of `segment` bytes, with an entry every `every` bytes.
    pub(crate) fn new(segment: usize, every: usize) -> Self {
        let every = every.max(1);
        let entries: Box<[Entry]> = (0..segment / every + 1).map(|_| Entry::default()).collect();
        let count = entries.len();
        let vectors = Vectors { flat: Vec::with_capacity(2 * count), ends: Vec::with_capacity(count) };
        Self { entries, vectors: Mutex::new(vectors), used: AtomicUsize::new(0), every }
    }

    /// Tells of a block, in order of offsets; one in about `every` bytes is
    /// kept. Only the segment's writer calls this.
    #[inline]
    pub(crate) fn note(&self, place: Place, newest_before: u64, homes: &Homes) {
        let used = self.used.load(Ordering::Relaxed);
        if place.offset >= HEAD + used * self.every {
            self.add(used, place, newest_before, homes.entries());
        }
    }

    fn add(&self, used: usize, place: Place, newest_before: u64, homes: &[(u32, u64)]) {
        let Some(entry) = self.entries.get(used) else { return };
        entry.sequence.store(place.sequence, Ordering::Relaxed);
        entry.offset.store(place.offset, Ordering::Relaxed);
        entry.newest_before.store(newest_before, Ordering::Relaxed);
        {
            let mut vectors = locked(&self.vectors);
            vectors.flat.extend_from_slice(homes);
            let end = vectors.flat.len() as u32;
            vectors.ends.push(end);
        }
        // Release: whoever sees the count sees the entry.
        self.used.store(used + 1, Ordering::Release);
    }

    fn filled(&self) -> &[Entry] {
        self.entries.get(..self.used.load(Ordering::Acquire)).unwrap_or_default()
    }

    fn last_of(&self, before: impl Fn(&Entry) -> bool) -> Option<Place> {
        let at = self.filled().partition_point(before).checked_sub(1)?;
        self.place(at)
    }

    fn place(&self, at: usize) -> Option<Place> {
        let entry = self.filled().get(at)?;
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

    /// The last entry of those for which `before` holds, which are the first
    /// ones, and how far the log was there in each home.
    pub(crate) fn vector(&self, mut before: impl FnMut(Place, &[(u32, u64)]) -> bool) -> Option<(Place, Homes)> {
        let vectors = locked(&self.vectors);
        let (mut low, mut high) = (0, self.filled().len());
        while low < high {
            let middle = low + (high - low) / 2;
            let place = self.place(middle)?;
            if before(place, vectors.get(middle)) { low = middle + 1 } else { high = middle }
        }
        let at = low.checked_sub(1)?;
        Some((self.place(at)?, Homes::of(vectors.get(at).to_vec())))
    }

    /// The entries below `end`, to be written down.
    pub(crate) fn written(&self, end: usize) -> Vec<Written> {
        let vectors = locked(&self.vectors);
        let entries = self.filled().iter().enumerate().filter_map(|(at, entry)| {
            let newest_before = entry.newest_before.load(Ordering::Relaxed);
            Some(Written { place: self.place(at)?, newest_before, homes: vectors.get(at).to_vec() })
        });
        entries.take_while(|entry| entry.place.offset < end).collect()
    }

    /// The index of a segment of `segment` bytes from what was written down.
    pub(crate) fn of(segment: usize, every: usize, entries: &[Written]) -> Self {
        let index = Self::new(segment, every);
        for (at, entry) in entries.iter().enumerate() {
            index.add(at, entry.place, entry.newest_before, &entry.homes);
        }
        index
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
            index.note(Place { sequence: 1 + i, offset: HEAD + 400 * i as usize }, 10 * i, &Homes::default());
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
