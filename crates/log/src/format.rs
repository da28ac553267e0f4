//! The bytes on disk that are not blocks.
//!
//! # The folder
//! ```text
//! FORMAT            the text `weft-log 1`: what this is, and its version
//! LOCK              locked (flock) while a hub has the log open; empty
//! 0000000001.seg    segments, numbered without gaps; the oldest go first
//! 0000000002.seg
//! ```
//! `FORMAT` is durable before the first segment is made.
//!
//! # A segment
//! All integers are little-endian.
//! ```text
//!      0  header, 64 bytes: magic u64 | version u32 | header length u32 (4096) | number u64
//!         | base sequence u64 | creation time u64 (Unix ns) | 0 u64 | 0 u64 | 0 u32 | CRC-32C of bytes 0..60, u32
//!    512  mark A, 32 bytes: synced end u64 | next sequence there u64 | 0 u64 | CRC-32C of the 24 bytes before, u32 | "MARK"
//!   1024  mark B, the same: the marks are written in turn, so that one of them is whole
//!   4096  blocks, one after the other, as `weft_wire::block` describes them, each with its stream sequence;
//!         the first has the base sequence, each other follows the one before without a gap
//!      …  zeros to the end of the file
//! ```
//! The header is written when the segment takes its first block, so a segment
//! that was made ahead of need is all zero. A *mark* says: every block below
//! this offset was on disk when I was written. It is written to memory after
//! each sync and reaches the disk with a later one, so it may lag, but never
//! promises too much. It lets recovery tell damage from a tail that was never
//! synced.

use weft_base::UnixNanos;
use weft_base::checksum::crc32c;

use crate::mmap::{HEAD, Map};

/// The version of the format written here, and the newest one read.
pub const FORMAT_VERSION: u32 = 1;

pub(crate) const FORMAT_FILE: &str = "FORMAT";
pub(crate) const LOCK_FILE: &str = "LOCK";

const MAGIC: u64 = u64::from_le_bytes(*b"WEFTSEG\0");
const MARK_MAGIC: u32 = u32::from_le_bytes(*b"MARK");
/// The words at which the marks begin.
const MARKS: [usize; 2] = [512 / 8, 1024 / 8];

/// The text of the file `FORMAT`.
pub(crate) fn format_text() -> String {
    format!("weft-log {FORMAT_VERSION}\n")
}

/// The version in the file `FORMAT`, if it is one.
pub(crate) fn parse_format(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.strip_prefix("weft-log ")?.trim_end().parse().ok()
}

/// The name of a segment's file.
#[must_use]
pub fn segment_name(number: u64) -> String {
    format!("{number:010}.seg")
}

/// The number in the name of a segment's file, if it is one.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let number = digits.parse().ok()?;
    // What would be written differently is somebody else's file.
    (segment_name(number) == name).then_some(number)
}

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) number: u64,
    pub(crate) base: u64,
    pub(crate) created: UnixNanos,
}

fn crc_of_words(words: &[u64], bytes: usize) -> u32 {
    let mut buffer = [0; 64];
    for (to, word) in buffer.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    crc32c(buffer.get(..bytes).unwrap_or_default())
}

impl Header {
    pub(crate) fn write(&self, map: &Map) {
        let head_len = HEAD as u64;
        let mut words =
            [MAGIC, u64::from(self.version) | (head_len << 32), self.number, self.base, self.created.0, 0, 0, 0];
        words[7] = u64::from(crc_of_words(&words, 60)) << 32;
        for (at, word) in words.into_iter().enumerate() {
            map.head_store(at, word);
        }
    }

    /// `None` when there is no whole header.
    pub(crate) fn read(map: &Map) -> Option<Self> {
        let words: [u64; 8] = std::array::from_fn(|at| map.head_load(at));
        let [magic, version, number, base, created, ..] = words;
        let whole = magic == MAGIC && (words[7] >> 32) as u32 == crc_of_words(&words, 60);
        // Sequences count from 1.
        (whole && base > 0).then_some(Self { version: version as u32, number, base, created: UnixNanos(created) })
    }
}

/// What was on disk when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Everything below this offset.
    pub(crate) end: usize,
    /// The sequence of the block that begins there.
    pub(crate) next: u64,
}

impl Mark {
    /// Writes the mark over the older of the two.
    pub(crate) fn write(&self, map: &Map) {
        let words = [self.end as u64, self.next, 0];
        let seal = u64::from(crc_of_words(&words, 24)) | (u64::from(MARK_MAGIC) << 32);
        let older = usize::from(Self::slot(map, 0) > Self::slot(map, 1));
        for (at, word) in words.into_iter().chain([seal]).enumerate() {
            map.head_store(MARKS[older] + at, word);
        }
    }

    fn slot(map: &Map, slot: usize) -> Option<usize> {
        Self::read_slot(map, slot).map(|mark| mark.end)
    }

    fn read_slot(map: &Map, slot: usize) -> Option<Self> {
        let [end, next, zero, seal]: [u64; 4] = std::array::from_fn(|at| map.head_load(MARKS[slot] + at));
        let whole = seal == u64::from(crc_of_words(&[end, next, zero], 24)) | (u64::from(MARK_MAGIC) << 32);
        let end = usize::try_from(end).ok()?;
        (whole && end >= HEAD && end <= map.len() && end.is_multiple_of(8)).then_some(Self { end, next })
    }

    /// The newer of the two marks, if one is whole.
    pub(crate) fn read(map: &Map) -> Option<Self> {
        let marks = [0, 1].map(|slot| Self::read_slot(map, slot));
        marks.into_iter().flatten().max_by_key(|mark| mark.end)
    }
}

/// Whether the header page is all zero: the segment was never used.
pub(crate) fn head_is_blank(map: &Map) -> bool {
    (0..HEAD / 8).all(|word| map.head_load(word) == 0)
}
