//! A segment's bytes in memory, written by one thread while others read: the
//! only unsafe code of this crate. What lies in a file is written by system
//! calls ([`SegmentFile::write`](crate::fs::SegmentFile::write)) and read here.
//!
//! # Why this is sound
//! The mapping is split by one number, the published position. It only grows.
//!
//! * Below it nothing is ever written again, so any number of threads may hold
//!   `&[u8]` into it ([`Map::read`]).
//! * From it to the end only the one [`MapWriter`] reads and writes: there is
//!   at most one at a time ([`Map::writer`] hands out the next one only after
//!   the last was dropped), and it lends `&mut [u8]` only for as long as it is
//!   itself borrowed, so none is alive when the position moves.
//! * The writer moves the position with a release store after its writes; a
//!   reader loads it with acquire before it makes a slice. What it reads was
//!   therefore written before.
//! * The first [`HEAD`] bytes belong to neither: they are reached only as
//!   atomic words ([`Map::head_load`], [`Map::head_store`]), so header and
//!   marks may be written by any thread at any time.
//!
//! A file can also change behind the mapping's back. Within the process it is
//! written by whoever has the [`MapWriter`], beyond the published position, and
//! by recovery before it is shared. Other
//! processes are kept out by the folder's lock; one that ignores it and
//! truncates a segment kills the hub with SIGBUS, as does a sector that cannot
//! be read. To turn the latter into an error, [`Map::populate_read`] is called
//! before cold bytes are touched.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;
// Not from `weft_base::sync`: loom has no atomics that lie in foreign memory.
use std::sync::atomic::AtomicU64 as HeadWord;

use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};
use weft_base::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes before a segment's first block: one page, for header and marks.
pub const HEAD: usize = 4096;

/// The largest segment: one page less than 32 GiB, so that the end of a
/// [`Position`], in units of 8 bytes, fits 32 bits.
pub const MAX_SEGMENT: usize = (32 << 30) - HEAD;

/// How far a segment is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The byte after the last published one; a multiple of 8, at least [`HEAD`].
    pub end: usize,
    /// How many sequence numbers the published blocks take up.
    pub events: u32,
}

impl Position {
    const fn pack(self) -> u64 {
        // In units of 8 bytes the end fits 32 bits, see MAX_SEGMENT.
        ((self.end as u64 >> 3) << 32) | self.events as u64
    }

    const fn unpack(word: u64) -> Self {
        Self { end: ((word >> 32) << 3) as usize, events: word as u32 }
    }
}

/// The mapping of one segment.
#[derive(Debug)]
pub struct Map {
    raw: MmapRaw,
    len: usize,
    /// There is a file behind it.
    has_file: bool,
    position: AtomicU64,
    has_writer: AtomicBool,
}

impl Map {
    fn new(raw: MmapRaw, has_file: bool) -> io::Result<Arc<Self>> {
        let len = raw.len().min(MAX_SEGMENT) & !7;
        if len <= HEAD {
            let why = format!("{} bytes are too few for a segment, whose header alone has {HEAD}", raw.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let position = AtomicU64::new(Position { end: HEAD, events: 0 }.pack());
        Ok(Arc::new(Self { raw, len, has_file, position, has_writer: AtomicBool::new(false) }))
    }

    /// Maps a file for reading and writing, shared with the file.
    ///
    /// The caller holds the lock of the folder the file is in.
    ///
    /// # Errors
    /// The file is too short, or the system refuses.
    pub(crate) fn of_file(file: &File) -> io::Result<Arc<Self>> {
        if file.metadata()?.len() <= HEAD as u64 {
            let why = format!("the file is too short for a segment, whose header alone has {HEAD} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Self::new(MmapOptions::new().map_raw(file)?, true)
    }

    /// Zeros in memory alone, behind which there is no file: for tests.
    ///
    /// # Errors
    /// `len` is too small for a segment, or there is no memory.
    pub fn in_memory(len: usize) -> io::Result<Arc<Self>> {
        Self::new(MmapOptions::new().len(len.max(1)).map_anon()?.into(), false)
    }

    /// The segment's length in bytes, a multiple of 8.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a segment has at least its header")]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// How far it is published.
    #[must_use]
    #[inline]
    pub fn position(&self) -> Position {
        // Acquire: pairs with the release in `MapWriter::publish`.
        Position::unpack(self.position.load(Ordering::Acquire))
    }

    /// Published bytes; `None` unless all of the range is.
    #[must_use]
    #[inline]
    pub fn read(&self, range: Range<usize>) -> Option<&[u8]> {
        if range.start < HEAD || range.start > range.end || range.end > self.position().end {
            return None;
        }
        // SAFETY: HEAD <= start <= end <= published <= len, so the range lies
        // in the mapping, which lives as long as `self`. Bytes below the
        // published position are never written again (module document), and
        // the acquire load above ordered us after the writes that made them.
        Some(unsafe { std::slice::from_raw_parts(self.raw.as_ptr().add(range.start), range.end - range.start) })
    }

    /// The right to write, if nobody has it.
    #[must_use]
    pub fn writer(self: &Arc<Self>) -> Option<MapWriter> {
        // Acquire: what the last writer did happened before what this one does.
        let taken = self.has_writer.swap(true, Ordering::Acquire);
        (!taken).then(|| MapWriter { map: Arc::clone(self) })
    }

    fn head_word(&self, word: usize) -> Option<&HeadWord> {
        if word >= HEAD / 8 {
            return None;
        }
        // SAFETY: the word lies in the first HEAD bytes, which are within the
        // mapping (`new` checked its length), aligned (mappings start at a
        // page), and reached by nothing but these atomics. The mapping lives
        // as long as `self`.
        Some(unsafe { HeadWord::from_ptr(self.raw.as_mut_ptr().cast::<u64>().add(word)) })
    }

    /// A word of the header, by its number; 0 past the header.
    #[must_use]
    pub fn head_load(&self, word: usize) -> u64 {
        self.head_word(word).map_or(0, |w| u64::from_le(w.load(Ordering::Relaxed)))
    }

    /// Sets a word of the header; nothing past the header.
    pub fn head_store(&self, word: usize, value: u64) {
        if let Some(w) = self.head_word(word) {
            w.store(value.to_le(), Ordering::Relaxed);
        }
    }

    fn clamp(&self, range: &Range<usize>) -> Option<(usize, usize)> {
        let end = range.end.min(self.len);
        (range.start < end).then(|| (range.start, end - range.start))
    }

    /// Writes the range's changed pages to the file and waits until they are
    /// on the disk: `msync(MS_SYNC)`.
    ///
    /// # Errors
    /// The system's. Afterwards nobody can know what is on the disk.
    pub(crate) fn flush(&self, range: Range<usize>) -> io::Result<()> {
        self.clamp(&range).map_or(Ok(()), |(start, len)| self.raw.flush_range(start, len))
    }

    /// Takes the range's pages out of the process's memory; they stay in the
    /// system's, and come back when they are touched. Best effort.
    pub(crate) fn release(&self, range: Range<usize>) {
        let Some((start, len)) = self.clamp(&range).filter(|_| self.has_file) else { return };
        // SAFETY: this drops a private mapping's changes, but this one is
        // shared with a file (`has_file`): what was written through it lies in
        // the system's page cache, dirty or not, and is what the next touch of
        // the page brings back. No byte changes for any reference into it.
        let _ = unsafe { self.raw.unchecked_advise_range(UncheckedAdvice::DontNeed, start, len) };
    }

    /// Reads the range's pages in from the disk.
    ///
    /// # Errors
    /// They cannot be read. Touching them would kill the process.
    pub fn populate_read(&self, range: Range<usize>) -> io::Result<()> {
        let Some((start, len)) = self.clamp(&range) else { return Ok(()) };
        match self.raw.advise_range(Advice::PopulateRead, start, len) {
            Err(e) if e.kind() != io::ErrorKind::InvalidInput => Err(e),
            _ => Ok(()),
        }
    }
}

/// The right to write beyond the published position: at most one per map.
#[derive(Debug)]
pub struct MapWriter {
    map: Arc<Map>,
}

impl MapWriter {
    /// What it writes to.
    #[must_use]
    pub const fn map(&self) -> &Arc<Map> {
        &self.map
    }

    /// Everything that is not published.
    #[must_use]
    pub fn unpublished(&self) -> &[u8] {
        let start = self.map.position().end;
        // SAFETY: start <= len. Only a MapWriter writes there, this is the
        // only one, and it is borrowed for as long as the slice lives.
        unsafe { std::slice::from_raw_parts(self.map.raw.as_ptr().add(start), self.map.len - start) }
    }

    /// How many bytes are not published.
    #[must_use]
    #[inline]
    pub fn left(&self) -> usize {
        self.map.len - self.map.position().end
    }

    /// Where `parts` begin that are written to `map` `skip` bytes behind the
    /// published position; `None` when they do not fit, or this is another
    /// map's writer.
    pub(crate) fn room(&self, map: &Arc<Map>, skip: usize, parts: &[IoSlice<'_>]) -> Option<usize> {
        if !Arc::ptr_eq(map, &self.map) {
            return None;
        }
        let len = parts.iter().try_fold(skip, |len, part| len.checked_add(part.len()))?;
        (len <= self.left()).then(|| self.map.position().end + skip)
    }

    /// The next `len` unpublished bytes, of a mapping without a file; `None`
    /// when there are fewer.
    #[must_use]
    #[inline]
    pub fn spare(&mut self, len: usize) -> Option<&mut [u8]> {
        let start = self.map.position().end;
        if len > self.map.len - start {
            return None;
        }
        // SAFETY: the range lies in the mapping and beyond the published
        // position, where nobody but this writer reads or writes; `self` is
        // borrowed mutably for as long as the slice lives, so the position
        // does not move and no other slice of this writer exists.
        Some(unsafe { std::slice::from_raw_parts_mut(self.map.raw.as_mut_ptr().add(start), len) })
    }

    /// Publishes the next `len` bytes, which take up `events` sequence numbers.
    /// Answers false, and does nothing, when there are not that many, when
    /// `len` is no multiple of 8, or when the numbers would not fit 32 bits.
    #[inline]
    pub fn publish(&mut self, len: usize, events: u32) -> bool {
        let at = self.map.position();
        let Some(events) = at.events.checked_add(events) else { return false };
        if !len.is_multiple_of(8) || len > self.map.len - at.end {
            return false;
        }
        // Release: pairs with the acquire in `Map::position`.
        self.map.position.store(Position { end: at.end + len, events }.pack(), Ordering::Release);
        true
    }
}

impl Drop for MapWriter {
    fn drop(&mut self) {
        // Release: pairs with the acquire in `Map::writer`.
        self.map.has_writer.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_what_is_published_and_nothing_else() {
        let map = Map::in_memory(HEAD + 64).unwrap();
        let mut writer = map.writer().unwrap();
        assert!(map.writer().is_none(), "one writer at a time");
        assert_eq!(map.read(HEAD..HEAD + 1), None);
        writer.spare(16).unwrap().fill(7);
        assert_eq!(map.read(HEAD..HEAD + 1), None);
        assert!(writer.publish(16, 2));
        assert_eq!(map.position(), Position { end: HEAD + 16, events: 2 });
        assert_eq!(map.read(HEAD..HEAD + 16), Some(&[7; 16][..]));
        for outside in [0..8, HEAD - 8..HEAD + 8, HEAD..HEAD + 17, HEAD + 16..HEAD + 24, usize::MAX - 1..usize::MAX] {
            assert_eq!(map.read(outside.clone()), None, "{outside:?}");
        }
        assert_eq!(writer.spare(49), None);
        assert!(
            !writer.publish(49, 0) && !writer.publish(56, 0) && !writer.publish(8, u32::MAX) && !writer.publish(4, 0)
        );
        assert_eq!(writer.unpublished().len(), 48);
        drop(writer);
        assert_eq!(map.writer().map(|w| w.unpublished().len()), Some(48), "the next one goes on there");
    }

    #[test]
    fn the_header_is_reached_by_word_and_nothing_else_is() {
        let map = Map::in_memory(HEAD + 64).unwrap();
        let last = HEAD / 8 - 1;
        map.head_store(last, 5);
        map.head_store(last + 1, 6);
        assert_eq!((map.head_load(last), map.head_load(last + 1)), (5, 0));
        assert!(map.writer().unwrap().unpublished().iter().all(|b| *b == 0));
    }

    #[test]
    fn a_position_survives_packing() {
        for end in [HEAD, HEAD + 8, MAX_SEGMENT] {
            for events in [0, 1, u32::MAX] {
                let position = Position { end, events };
                assert_eq!(Position::unpack(position.pack()), position);
            }
        }
    }

    #[test]
    fn what_is_too_small_for_a_segment_is_refused() {
        assert!(Map::in_memory(HEAD).is_err());
        assert!(Map::of_file(&tempfile::tempfile().unwrap()).is_err());
    }
}
