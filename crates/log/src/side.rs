//! What is known of a segment, in a file beside it, so that opening a log need
//! not read the segment.
//!
//! It is written once all of a segment, or of the part it speaks of, is on the
//! disk. So it says as much as a mark does: everything below its end was
//! synced. It is never needed: when it is missing, not whole, or of another
//! segment than the one it lies beside, it is made anew from the blocks. It
//! is therefore written without a sync.
//!
//! ```text
//!      0  magic u64 | version u32 (1) | the segment's header's CRC-32C u32 | number u64 | base sequence u64
//!         | end offset u64 | sequence there u64 | newest ingest time in it u64, and up to it u64 | blocks u64 | events u64
//!         | index: bytes per entry u64 | entries u32 | homes u32
//!     96  per home: tag u64 | next home sequence at the end u64
//!      …  per entry: sequence u64 | offset u64 | newest ingest time before u64 | homes u64 | per home: as above
//!      …  CRC-32C of all before u32
//! ```

use weft_base::checksum::crc32c;

use crate::homes::{Homes, MAX_HOMES};
use crate::index::{Index, Place, Written};
use crate::mmap::HEAD;

const MAGIC: u64 = u64::from_le_bytes(*b"WEFTIDX\0");
const VERSION: u32 = 1;
/// The largest side file that is read.
pub(crate) const MOST: usize = 64 << 20;

/// What is known of the beginning of a segment, or of all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Side {
    /// [`Header::seal`](crate::format::Header::seal) of the segment.
    pub(crate) seal: u32,
    pub(crate) number: u64,
    pub(crate) base: u64,
    /// Up to here it speaks.
    pub(crate) end: Place,
    /// The newest ingest time in the segment.
    pub(crate) newest: u64,
    /// And in all of the log up to there.
    pub(crate) newest_so_far: u64,
    pub(crate) blocks: u64,
    pub(crate) events: u64,
    /// How far the log is in each home there.
    pub(crate) homes: Homes,
    pub(crate) every: u64,
    pub(crate) entries: Vec<Written>,
}

impl Side {
    pub(crate) fn with_index(self, index: &Index, every: u64) -> Self {
        let entries = index.written(self.end.offset);
        Self { every, entries, ..self }
    }

    /// One without an index.
    pub(crate) fn new(seal: u32, number: u64, base: u64, end: Place) -> Self {
        let (newest, newest_so_far, blocks, events, every) = (0, 0, 0, 0, 0);
        let (homes, entries) = (Homes::default(), Vec::new());
        Self { seal, number, base, end, newest, newest_so_far, blocks, events, homes, every, entries }
    }

    /// The index, for a segment of `segment` bytes; `None` when it is of
    /// another grain than `every`.
    pub(crate) fn index(&self, segment: usize, every: u64) -> Option<Index> {
        (self.every == every).then(|| Index::of(segment, usize::try_from(every).unwrap_or(usize::MAX), &self.entries))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |value: u64| out.extend_from_slice(&value.to_le_bytes());
        put(MAGIC);
        put(u64::from(VERSION) | (u64::from(self.seal) << 32));
        let Place { sequence, offset } = self.end;
        for value in [self.number, self.base, offset as u64, sequence, self.newest, self.newest_so_far] {
            put(value);
        }
        for value in [self.blocks, self.events, self.every] {
            put(value);
        }
        put(self.entries.len() as u64 | ((self.homes.entries().len() as u64) << 32));
        for (home, next) in self.homes.entries() {
            put(u64::from(*home));
            put(*next);
        }
        for entry in &self.entries {
            let Place { sequence, offset } = entry.place;
            for value in [sequence, offset as u64, entry.newest_before, entry.homes.len() as u64] {
                put(value);
            }
            for (home, next) in &entry.homes {
                put(u64::from(*home));
                put(*next);
            }
        }
        let checksum = crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// `None` unless all of it is whole.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, checksum) = bytes.split_last_chunk::<4>()?;
        if crc32c(body) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let mut words = body.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let mut next = || words.next();
        if next()? != MAGIC {
            return None;
        }
        let version = next()?;
        if version as u32 != VERSION {
            return None;
        }
        let (number, base) = (next()?, next()?);
        let end = place(next()?, next()?)?;
        let [newest, newest_so_far, blocks, events, every] = [next()?, next()?, next()?, next()?, next()?];
        let counts = next()?;
        let homes = Homes::of(vector(&mut next, counts >> 32)?);
        let mut entries = Vec::new();
        for _ in 0..counts & u64::from(u32::MAX) {
            let (sequence, offset) = (next()?, next()?);
            let place = place(offset, sequence)?;
            let newest_before = next()?;
            let count = next()?;
            let homes = vector(&mut next, count)?;
            entries.push(Written { place, newest_before, homes });
        }
        let seal = (version >> 32) as u32;
        Some(Self { seal, number, base, end, newest, newest_so_far, blocks, events, homes, every, entries })
    }
}

fn place(offset: u64, sequence: u64) -> Option<Place> {
    let offset = usize::try_from(offset).ok().filter(|offset| *offset >= HEAD && offset.is_multiple_of(8))?;
    Some(Place { sequence, offset })
}

fn vector(next: &mut impl FnMut() -> Option<u64>, count: u64) -> Option<Vec<(u32, u64)>> {
    let count = usize::try_from(count).ok().filter(|count| *count <= MAX_HOMES)?;
    (0..count).map(|_| Some((u32::try_from(next()?).ok()?, next()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side() -> Side {
        let index = Index::new(1 << 20, 1000);
        let mut homes = Homes::default();
        for at in 0..20 {
            index.note(Place { sequence: 5 + at, offset: HEAD + 1000 * at as usize }, at, &homes);
            homes.note(1 + at as u32 % 3, 10 + at);
        }
        let end = Place { sequence: 20, offset: HEAD + 15_000 };
        let new = Side::new(77, 3, 5, end);
        Side { newest: 9, newest_so_far: 11, blocks: 15, events: 15, homes, ..new }.with_index(&index, 1000)
    }

    #[test]
    fn what_was_written_is_read_and_every_changed_byte_is_seen() {
        let side = side();
        assert_eq!(side.entries.len(), 15, "only what lies below the end");
        let bytes = side.encode();
        assert_eq!(Side::decode(&bytes), Some(side.clone()));
        assert_eq!(side.index(1 << 20, 1000).unwrap().written(usize::MAX), side.entries);
        assert!(side.index(1 << 20, 999).is_none());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            assert_eq!(Side::decode(&changed), None, "byte {at}");
            assert_eq!(Side::decode(&bytes[..at]), None, "{at} bytes");
        }
    }
}
