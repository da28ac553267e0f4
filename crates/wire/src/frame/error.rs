//! Why bytes are not a frame, and why a frame cannot be encoded. The reader of
//! a connection answers the first with `Goodbye` and ends the connection: after
//! a bad frame nothing that follows can be trusted.

use crate::ErrorCode;

/// The rule that was broken. The number is the low byte of the error's code:
/// never given to another rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum FrameClause {
    /// The bytes end before the field does.
    Truncated = 1,
    /// A length that is no multiple of 8, under 16, or not that of the bytes.
    Length = 2,
    /// Larger than the reader takes.
    TooLarge = 3,
    /// A kind that is not known here.
    Kind = 4,
    /// Flags that the kind does not have.
    Flags = 5,
    /// A reserved byte, or padding, that is not zero.
    Reserved = 6,
    /// An id where the kind has none.
    Id = 7,
    /// A number that stands for nothing.
    Value = 8,
    /// A text or bytes longer than the field may be.
    TextLength = 9,
    /// A text that is not UTF-8.
    TextUtf8 = 10,
    /// A list longer than it may be, or than the frame is.
    ListLength = 11,
    /// Bytes after the last field.
    Trailing = 12,
    /// The block's own length is not that of its place in the frame.
    BlockLength = 13,
}

impl FrameClause {
    /// The rule in words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Truncated => "the bytes end before the field does",
            Self::Length => "a frame's length is that of its bytes, at least 16 and a multiple of 8",
            Self::TooLarge => "it is larger than the reader takes: see `max_frame` in its hello or welcome",
            Self::Kind => "no frame of this kind is known here: negotiate the version before using it",
            Self::Flags => "this kind of frame does not have these flags",
            Self::Reserved => "reserved bytes and padding must be zero",
            Self::Id => "this kind of frame has no id: it must be zero",
            Self::Value => "the number stands for nothing that is known here",
            Self::TextLength => "the text is longer than this field may be",
            Self::TextUtf8 => "texts are UTF-8",
            Self::ListLength => "the list is longer than it may be, or than the frame is",
            Self::Trailing => "the frame ends with its last field, padded to 8",
            Self::BlockLength => "the block's own length must be that of its place in the frame",
        }
    }
}

/// Why bytes are not a frame: the rule, the field, where, and what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("frame refused at byte {offset}, field `{field}`, which is {found:#x}: {}", clause.text())]
pub struct FrameError {
    /// The rule that was broken.
    pub clause: FrameClause,
    /// The field's name.
    pub field: &'static str,
    /// The byte of the input at which it was: at most the input's length.
    pub offset: usize,
    /// The value found there, as far as it is a number.
    pub found: u64,
}

impl FrameError {
    pub(super) const fn new(clause: FrameClause, field: &'static str, offset: usize, found: u64) -> Self {
        Self { clause, field, offset, found }
    }

    /// The code for frames, pages and counters: 512 plus the clause's number.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode(ErrorCode::BAD_FRAME.0 | self.clause as u16)
    }
}

/// What does not fit a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {len} long, the most is {limit}: shorten it, or send several frames")]
pub struct EncodeError {
    /// The field's name, or `frame`.
    pub field: &'static str,
    /// Its length, in bytes or items.
    pub len: usize,
    /// The most it may have.
    pub limit: usize,
}
