//! Why bytes are not a block. A hub answers these to whoever sent them and
//! counts them; a log reports them as damage.

use std::fmt;

use crate::ErrorCode;

/// The rule that was broken. The number is the low byte of the error's code:
/// never given to another rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Clause {
    /// Fewer bytes than the smallest block has.
    Truncated = 1,
    /// The length in the block is not that of the bytes, or no multiple of 8.
    Length = 2,
    /// The block is larger than [`MAX_BLOCK`](super::MAX_BLOCK).
    TooLarge = 3,
    /// Not a block.
    Magic = 4,
    /// A version of the layout that is not known here.
    Version = 5,
    /// A lane over 7.
    Lane = 6,
    /// A reserved byte is not zero.
    Reserved = 7,
    /// The producer's part was changed after it was written.
    ProducerChecksum = 8,
    /// The hub's line was changed after it was stamped.
    HubChecksum = 9,
    /// A stamp without hub, block number or sequence.
    Stamp = 10,
    /// No topic, or one that is too long or reaches beyond the block.
    TopicLength = 11,
    /// The topic is not UTF-8.
    TopicUtf8 = 12,
    /// No event, or too many.
    EventCount = 13,
    /// An event reaches beyond the block.
    EventBounds = 14,
    /// Bytes after the last event.
    Trailing = 15,
    /// A padding byte is not zero.
    Padding = 16,
    /// An event's headers are malformed.
    Headers = 17,
    /// A sequence number of an event would exceed 2^64 - 1.
    Sequence = 18,
    /// One of home and home sequence is zero, the other is not.
    Home = 19,
    /// A way that no mesh has.
    Way = 20,
}

impl Clause {
    /// The rule in words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Truncated => "there are fewer bytes than the smallest block has",
            Self::Length => "the length must be that of the bytes and a multiple of 8",
            Self::TooLarge => "a block has at most 8388608 bytes: send smaller batches",
            Self::Magic => "a block has the magic number 0x4657",
            Self::Version => "only version 1 of the block is known here: upgrade the reader or the producer",
            Self::Lane => "a lane is 0 to 7",
            Self::Reserved => "reserved bytes must be zero",
            Self::ProducerChecksum => "the producer's part does not match its checksum: it was damaged on its way",
            Self::HubChecksum => "the hub's line does not match its checksum: it was damaged on its way",
            Self::Stamp => "a stamped block names its hub, and counts blocks and sequences from 1",
            Self::Home => "home and home sequence are both zero, or neither is",
            Self::Way => "there are at most 16 ways",
            Self::TopicLength => "a topic has 1 to 1024 bytes and lies within the block",
            Self::TopicUtf8 => "a topic is UTF-8",
            Self::EventCount => "a block has 1 to 65535 events",
            Self::EventBounds => "every event lies within the block",
            Self::Trailing => "a block ends with its last event",
            Self::Padding => "padding must be zero",
            Self::Headers => "headers are entries of name length, zero, value length, name (visible ASCII) and value",
            Self::Sequence => "sequence numbers must not exceed 2^64 - 1",
        }
    }
}

/// Why bytes are not a block: the rule, where, and what was found there.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("block refused at byte {offset}, which is {found:#x}: {}", clause.text())]
pub struct BlockError {
    /// The rule that was broken.
    pub clause: Clause,
    /// The byte of the input at which it was: at most the input's length.
    pub offset: usize,
    /// The value found there, as far as it is a number.
    pub found: u64,
}

impl BlockError {
    pub(super) const fn new(clause: Clause, offset: usize, found: u64) -> Self {
        Self { clause, offset, found }
    }

    /// The code for frames, pages and counters: 256 plus the clause's number.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode(ErrorCode::BAD_BLOCK.0 | self.clause as u16)
    }
}

impl fmt::Debug for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockError({:?} at {}, found {:#x})", self.clause, self.offset, self.found)
    }
}
