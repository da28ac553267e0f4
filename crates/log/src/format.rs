//! The bytes on disk that are not blocks.
//!
//! # The folder
//! ```text
//! FORMAT            the text `weft-log 2`: what this is, and its version; 3 once a segment is encrypted
//! LOCK              locked (flock) while a hub has the log open; empty
//! 0000000001.seg    segments, numbered without gaps; the oldest go first
//! 0000000001.idx    what is known of that segment, see [`crate::side`]; may be missing
//! 0000000002.seg
//! 0000000001.tmp    a segment that is being compacted; of no use after a crash
//! 0000000001.mend   a segment that is being repaired; the same
//! quarantine        what repairs replaced, see [`crate::offline`]
//! ```
//! `FORMAT` is durable before the first segment is made. A log of version 1,
//! which knows no homes, compaction and side files, is read as it is, and
//! becomes one of version 2 by the first block appended.
//!
//! # A segment
//! All integers are little-endian.
//! ```text
//!      0  header, 64 bytes: magic u64 | version u32 | header length u32 (4096) | number u64
//!         | base sequence u64 | creation time u64 (Unix ns) | times compacted u64 | then: sequence after it u64, else 0
//!         | 1 when it is encrypted, else 0, u32 | CRC-32C of bytes 0..60, u32
//!    512  mark A, 32 bytes: synced end u64 | next sequence there u64 | 1: closed in good order, 0; and 256 × a count, u64
//!         | CRC-32C of the 24 bytes before, u32 | "MARK"
//!   1024  mark B, the same: the marks are written in turn, so that one of them is whole; of two with the same end
//!         the one with the higher count holds
//!   1536  of an encrypted segment: magic u64 | the key's id u64 | salt, 16 bytes | CRC-32C of this u64
//!   2048  where the log was before the first block: number of homes u64 | newest ingest time so far u64
//!         | per home: tag u64, next home sequence u64 | CRC-32C of all this u64
//!   3584  the same as at 1536, in a sector of its own
//!   4096  blocks, one after the other, as `weft_wire::block` describes them, each with its place in the stream;
//!         the first has the base sequence, each other follows the one before without a gap. In a compacted
//!         segment blocks are missing, and those that lost events bear the flag COMPACTED
//!         In an encrypted segment each is a record of [`crate::crypt`] instead.
//!      …  zeros to the end of the file
//! ```
//! The version in the header is 3 in an encrypted segment and 2 in others.
//! The header is written when the segment takes its first block, so a segment
//! that was made ahead of need is all zero. A *mark* says: every block below
//! this offset was on disk when I was written. It is written to memory after
//! each sync and reaches the disk with a later one, so it may lag, but never
//! promises too much. It lets recovery tell damage from a tail that was never
//! synced. One that says *closed in good order* says more: nothing lies beyond.

use weft_base::UnixNanos;
use weft_base::checksum::crc32c;

use crate::crypt::Sealed;
use crate::homes::{Homes, MAX_HOMES};
use crate::mmap::{HEAD, Map};

/// The newest version of the format read here, and the one written when
/// segments are encrypted.
pub const FORMAT_VERSION: u32 = 3;
/// The version written when they are not, so that a Weft which knows no
/// encryption reads it.
pub const PLAIN_VERSION: u32 = 2;

/// The version written.
pub(crate) const fn version_written(encrypted: bool) -> u32 {
    if encrypted { FORMAT_VERSION } else { PLAIN_VERSION }
}

pub(crate) const FORMAT_FILE: &str = "FORMAT";
pub(crate) const LOCK_FILE: &str = "LOCK";

const MAGIC: u64 = u64::from_le_bytes(*b"WEFTSEG\0");
const MARK_MAGIC: u32 = u32::from_le_bytes(*b"MARK");
const SEALED_MAGIC: u64 = u64::from_le_bytes(*b"WEFTSALT");
/// The words at which the salt stands.
const SALTS: [usize; 2] = [1536 / 8, 3584 / 8];
/// The words at which the marks begin.
const MARKS: [usize; 2] = [512 / 8, 1024 / 8];
/// The word at which it stands how far the log was.
const BEFORE: usize = 2048 / 8;
const _: () = assert!(BEFORE + 3 + 2 * MAX_HOMES <= SALTS[1] && SALTS[1] + 5 <= HEAD / 8);

/// The text of the file `FORMAT`.
pub(crate) fn format_text(version: u32) -> String {
    format!("weft-log {version}\n")
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

/// The name of the file beside it, in which stands what is known of it.
#[must_use]
pub fn side_name(number: u64) -> String {
    format!("{number:010}.idx")
}

/// The name of the file in which it is compacted.
#[must_use]
pub fn temporary_name(number: u64) -> String {
    format!("{number:010}.tmp")
}

/// The name of the file in which it is written anew by a repair.
#[must_use]
pub fn mend_name(number: u64) -> String {
    format!("{number:010}.mend")
}

/// The number in the name of a segment's file, if it is one.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    numbered(name, segment_name)
}

/// The number in the name of a side file, if it is one.
pub(crate) fn side_number(name: &str) -> Option<u64> {
    numbered(name, side_name)
}

/// Whether a file is one that a crash may leave, and of no use then.
pub(crate) fn is_left_over(name: &str) -> bool {
    let temporary = numbered(name, temporary_name).or_else(|| numbered(name, mend_name));
    temporary.is_some() || name.strip_suffix(".new").is_some_and(|n| n.parse::<u64>().is_ok())
}

fn numbered(name: &str, written: impl Fn(u64) -> String) -> Option<u64> {
    let number = name.split_once('.')?.0.parse().ok()?;
    // What would be written differently is somebody else's file.
    (written(number) == name).then_some(number)
}

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) number: u64,
    pub(crate) base: u64,
    pub(crate) created: UnixNanos,
    /// How many times it was compacted.
    pub(crate) compacted: u64,
    /// The sequence after it, when it was compacted; else 0.
    pub(crate) end: u64,
    /// Its blocks are encrypted.
    pub(crate) sealed: bool,
}

/// The words of bytes at a segment's beginning; past their end they are 0.
fn words_of<const N: usize>(bytes: &[u8], from: usize) -> [u64; N] {
    std::array::from_fn(|at| {
        let word = bytes.get((from + at) * 8..).and_then(|rest| rest.first_chunk());
        word.map_or(0, |word| u64::from_le_bytes(*word))
    })
}

/// Sets words at a segment's beginning; what lies past the end is left out.
fn set_words(bytes: &mut [u8], from: usize, words: &[u64]) {
    for (at, word) in words.iter().enumerate() {
        if let Some(place) = bytes.get_mut((from + at) * 8..).and_then(|rest| rest.first_chunk_mut()) {
            *place = word.to_le_bytes();
        }
    }
}

fn crc_of_words(words: &[u64], bytes: usize) -> u32 {
    let mut buffer = [0; 64];
    for (to, word) in buffer.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    crc32c(buffer.get(..bytes).unwrap_or_default())
}

impl Header {
    fn words(&self) -> [u64; 8] {
        let head_len = HEAD as u64;
        let mut words =
            [MAGIC, u64::from(self.version) | (head_len << 32), self.number, self.base, self.created.0, 0, 0, 0];
        (words[5], words[6]) = (self.compacted, self.end);
        words[7] = u64::from(self.sealed);
        words[7] |= u64::from(crc_of_words(&words, 60)) << 32;
        words
    }

    pub(crate) fn write(&self, map: &Map) {
        for (at, word) in self.words().into_iter().enumerate() {
            map.head_store(at, word);
        }
    }

    /// Into a copy of a segment, for the offline tools.
    pub(crate) fn write_to(&self, bytes: &mut [u8]) {
        set_words(bytes, 0, &self.words());
    }

    /// From a copy of a segment, for the offline tools.
    pub(crate) fn read_from(bytes: &[u8]) -> Option<Self> {
        Self::of_words(words_of(bytes, 0))
    }

    /// `None` when there is no whole header.
    pub(crate) fn read(map: &Map) -> Option<Self> {
        Self::of_words(std::array::from_fn(|at| map.head_load(at)))
    }

    fn of_words(words: [u64; 8]) -> Option<Self> {
        let [magic, version, number, base, created, compacted, end, flags] = words;
        let whole = magic == MAGIC && (words[7] >> 32) as u32 == crc_of_words(&words, 60);
        // Sequences count from 1.
        let sane = base > 0 && (end == 0 || end >= base) && (compacted == 0) == (end == 0);
        let (created, sealed) = (UnixNanos(created), flags & 1 != 0);
        (whole && sane).then_some(Self { version: version as u32, number, base, created, compacted, end, sealed })
    }

    /// What tells this segment from every other of its number: the checksum
    /// of its header.
    pub(crate) fn seal(map: &Map) -> u32 {
        (map.head_load(7) >> 32) as u32
    }

    /// [`seal`](Self::seal) of a copy of a segment, for the offline tools.
    pub(crate) fn seal_from(bytes: &[u8]) -> u32 {
        let [word]: [u64; 1] = words_of(bytes, 7);
        (word >> 32) as u32
    }

    /// Up to which sequence blocks may be missing in it.
    pub(crate) fn gaps(&self) -> Option<u64> {
        (self.compacted > 0).then_some(self.end)
    }
}

fn crc_of(words: &[u64]) -> u64 {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    u64::from(crc32c(&bytes))
}

impl Sealed {
    fn words(&self) -> [u64; 5] {
        let [low, high] = self.salt;
        let crc = crc_of(&[SEALED_MAGIC, self.id, low, high]);
        [SEALED_MAGIC, self.id, low, high, crc]
    }

    fn of_words(words: [u64; 5]) -> Option<Self> {
        let [_, id, low, high, _] = words;
        let sealed = Self { id, salt: [low, high] };
        (sealed.words() == words).then_some(sealed)
    }

    pub(crate) fn write(&self, map: &Map) {
        for slot in SALTS {
            for (at, word) in self.words().into_iter().enumerate() {
                map.head_store(slot + at, word);
            }
        }
    }

    /// Into a copy of a segment, for the offline tools.
    pub(crate) fn write_to(&self, bytes: &mut [u8]) {
        for slot in SALTS {
            set_words(bytes, slot, &self.words());
        }
    }

    /// What is there whole, of two.
    pub(crate) fn read(map: &Map) -> Option<Self> {
        SALTS.iter().find_map(|slot| Self::of_words(std::array::from_fn(|at| map.head_load(slot + at))))
    }

    /// From a copy of a segment, for the offline tools.
    pub(crate) fn read_from(bytes: &[u8]) -> Option<Self> {
        SALTS.iter().find_map(|slot| Self::of_words(words_of(bytes, *slot)))
    }

    /// Whether one of its two places in a copy of a segment has it, and the
    /// other one has not.
    pub(crate) fn is_half_in(bytes: &[u8]) -> bool {
        let [one, two] = SALTS.map(|slot| Self::of_words(words_of(bytes, slot)));
        one != two
    }
}

/// Writes where the log was before the segment's first block.
pub(crate) fn write_before(map: &Map, homes: &Homes, newest: u64) {
    let mut words = vec![homes.entries().len() as u64, newest];
    words.extend(homes.entries().iter().flat_map(|(home, next)| [u64::from(*home), *next]));
    words.push(crc_of(&words));
    for (at, word) in words.into_iter().enumerate() {
        map.head_store(BEFORE + at, word);
    }
}

/// Where the log was before the segment's first block: in each home, and the
/// newest ingest time. `None` when that is not there whole.
pub(crate) fn read_before(map: &Map) -> Option<(Homes, u64)> {
    let count = usize::try_from(map.head_load(BEFORE)).ok().filter(|count| *count <= MAX_HOMES)?;
    let words: Vec<u64> = (0..2 + 2 * count).map(|at| map.head_load(BEFORE + at)).collect();
    let whole = map.head_load(BEFORE + words.len()) == crc_of(&words);
    let (newest, entries) = (*words.get(1)?, words.get(2..)?);
    let homes = Homes::of(entries.as_chunks::<2>().0.iter().map(|[home, next]| (*home as u32, *next)).collect());
    // The checksum of zeros is not zero, so a blank page is not whole.
    whole.then_some((homes, newest))
}

/// What was on disk when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Everything below this offset.
    pub(crate) end: usize,
    /// The sequence of the block that begins there.
    pub(crate) next: u64,
    /// The log was closed in good order there: nothing lies beyond.
    pub(crate) clean: bool,
}

impl Mark {
    /// Writes the mark over the older of the two.
    pub(crate) fn write(&self, map: &Map) {
        let slots = [0, 1].map(|slot| Self::read_slot(map, slot).map(|(mark, count)| (mark.end, count)));
        let older = usize::from(slots[0] > slots[1]);
        let count = slots.into_iter().flatten().map(|slot| slot.1).max().unwrap_or(0).wrapping_add(1);
        for (at, word) in self.words(count).into_iter().enumerate() {
            map.head_store(MARKS[older] + at, word);
        }
    }

    fn words(&self, count: u64) -> [u64; 4] {
        let words = [self.end as u64, self.next, (count << 8) | u64::from(self.clean)];
        let seal = u64::from(crc_of_words(&words, 24)) | (u64::from(MARK_MAGIC) << 32);
        [words[0], words[1], words[2], seal]
    }

    /// Writes both marks of a copy of a segment, for the offline tools.
    pub(crate) fn write_to(&self, bytes: &mut [u8]) {
        for slot in MARKS {
            set_words(bytes, slot, &self.words(0));
        }
    }

    fn read_slot(map: &Map, slot: usize) -> Option<(Self, u64)> {
        Self::of_words(std::array::from_fn(|at| map.head_load(MARKS[slot] + at)), map.len())
    }

    fn of_words([end, next, flags, seal]: [u64; 4], len: usize) -> Option<(Self, u64)> {
        let whole = seal == u64::from(crc_of_words(&[end, next, flags], 24)) | (u64::from(MARK_MAGIC) << 32);
        let end = usize::try_from(end).ok()?;
        let fits = end >= HEAD && end <= len && end.is_multiple_of(8);
        (whole && fits).then_some((Self { end, next, clean: flags & 1 != 0 }, flags >> 8))
    }

    /// The newer of the two marks, if one is whole.
    pub(crate) fn read(map: &Map) -> Option<Self> {
        Self::newer([0, 1].map(|slot| Self::read_slot(map, slot)))
    }

    /// From a copy of a segment of `len` bytes, for the offline tools.
    pub(crate) fn read_from(bytes: &[u8], len: usize) -> Option<Self> {
        Self::newer(MARKS.map(|slot| Self::of_words(words_of(bytes, slot), len)))
    }

    fn newer(marks: [Option<(Self, u64)>; 2]) -> Option<Self> {
        marks.into_iter().flatten().max_by_key(|(mark, count)| (mark.end, *count)).map(|(mark, _)| mark)
    }
}

/// Whether the header proper is all zero: it never reached the disk, whatever
/// else of its page did.
pub(crate) fn header_is_blank(map: &Map) -> bool {
    (0..8).all(|word| map.head_load(word) == 0)
}

/// Whether the header page is all zero: the segment was never used.
pub(crate) fn head_is_blank(map: &Map) -> bool {
    (0..HEAD / 8).all(|word| map.head_load(word) == 0)
}
