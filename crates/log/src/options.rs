//! What a log can be told.

use std::time::Duration;

use weft_base::ByteCount;
use weft_wire::block::{MAX_BLOCK, MIN_BLOCK};

use crate::crypt::{Keys, TRAILER};
use crate::error::OpenError;
use crate::format::version_written;
use crate::mmap::{HEAD, MAX_SEGMENT};

/// How a log keeps its blocks. Any of it may change from one opening to the
/// next: segments that are there stay as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The hub that keeps this log, by [`HubId::tag`](weft_base::HubId::tag):
    /// what is appended here enters the stream at this home. 1 for a log that
    /// has no hub.
    pub home: u32,
    /// The size of a segment's file, taken from the disk when it is made.
    /// Retention removes whole segments. 64 MiB; at least the header (4 KiB)
    /// and one largest block, at most 32 GiB less 4 KiB. On disk a log takes up to two
    /// segments more than it retains: the one in use and one made ahead.
    pub segment: ByteCount,
    /// Retention removes the oldest segments while the log holds more than
    /// this. Unlimited when absent.
    pub retain_bytes: Option<ByteCount>,
    /// Retention removes segments whose newest block was ingested longer ago
    /// than this. Unlimited when absent.
    pub retain_age: Option<Duration>,
    /// Retention removes the oldest segments while those after them hold at
    /// least so many events. Unlimited when absent.
    pub retain_events: Option<u64>,
    /// One entry of the index for so many bytes. Finding a place reads the
    /// headers of at most so many bytes of blocks; each entry takes 28 bytes
    /// of memory, and 16 for each home. 256 KiB: about 11 KiB of memory for each segment of 64 MiB.
    pub index_every: ByteCount,
    /// The largest block taken, in bytes. 1 MiB + 64 KiB; at most 8 MiB.
    pub max_block: usize,
    /// Opening reads and checks all of the log instead of its end: for tools,
    /// and to have all damage reported at once. False.
    pub check_all: bool,
    /// Compaction writes a segment anew when at least so many hundredths of its
    /// bytes are of events that are to go. 10; 0 for any.
    pub compact_percent: u8,
    /// With keys new segments are encrypted, by the first of them; all are
    /// tried on segments that are: see [`crate::crypt`]. Segments that are not
    /// encrypted stay readable. None.
    pub keys: Option<Keys>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            home: 1,
            segment: ByteCount::mib(64),
            retain_bytes: None,
            retain_age: None,
            retain_events: None,
            index_every: ByteCount::kib(256),
            max_block: (1 << 20) + (64 << 10),
            check_all: false,
            compact_percent: 10,
            keys: None,
        }
    }
}

impl LogOptions {
    /// How much longer a block is in a new segment.
    pub(crate) fn trailer(&self) -> usize {
        if self.keys.is_some() { TRAILER } else { 0 }
    }

    /// The version of the format that new segments have.
    pub(crate) fn version(&self) -> u32 {
        version_written(self.keys.is_some())
    }

    /// # Errors
    /// [`OpenError::BadOptions`] with all that is wrong.
    pub(crate) fn validate(&self) -> Result<(), OpenError> {
        let mut wrong = Vec::new();
        if self.max_block < MIN_BLOCK || self.max_block > MAX_BLOCK {
            wrong.push(format!("max_block is {}, and must be {MIN_BLOCK} to {MAX_BLOCK}", self.max_block));
        }
        let least = HEAD + self.max_block.min(MAX_BLOCK) + self.trailer();
        if self.segment.0 < least as u64 || self.segment.0 > MAX_SEGMENT as u64 {
            wrong.push(format!(
                "segment is {}, and must be {least} B (header and a largest block) to {MAX_SEGMENT} B",
                self.segment
            ));
        }
        if !self.segment.0.is_multiple_of(4096) {
            wrong.push(format!("segment is {}, and must be a multiple of 4 KiB", self.segment));
        }
        if self.home == 0 {
            wrong.push("home is 0, and must be the tag of the hub that keeps the log".to_owned());
        }
        if self.index_every.0 == 0 {
            wrong.push("index_every is 0, and must be at least 1 B".to_owned());
        }
        if wrong.is_empty() { Ok(()) } else { Err(OpenError::BadOptions { what: wrong.join("; ") }) }
    }
}
