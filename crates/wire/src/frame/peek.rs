//! The frame's header: enough to cut a stream of bytes into frames.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{AckLevel, FLOW_ENTRY_LEN, FRAME_HEADER, FrameClause, FrameError, Kind};

/// The header as it lies in the bytes.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawHead {
    pub(super) length: U32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) reserved: U16,
    pub(super) id: U64,
}

const _: () = {
    assert!(std::mem::offset_of!(RawHead, length) == 0);
    assert!(std::mem::offset_of!(RawHead, kind) == 4);
    assert!(std::mem::offset_of!(RawHead, flags) == 5);
    assert!(std::mem::offset_of!(RawHead, reserved) == 6);
    assert!(std::mem::offset_of!(RawHead, id) == 8);
    assert!(size_of::<RawHead>() == FRAME_HEADER);
};

/// A header that makes sense.
pub(super) struct Head {
    pub(super) len: usize,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) id: u64,
}

/// How much of a stream of bytes is a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// A whole frame is there: it is the first `len` bytes.
    Frame {
        /// Bytes of the frame.
        len: usize,
    },
    /// This many bytes, counted from the frame's first, are wanted before it
    /// makes sense to look again.
    Need(usize),
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Head, FrameError> {
        let Ok((raw, _)) = RawHead::ref_from_prefix(bytes) else {
            return Err(FrameError::new(FrameClause::Truncated, "header", bytes.len(), bytes.len() as u64));
        };
        let len = length(raw.length.get())?;
        let Some(kind) = Kind::from_number(raw.kind) else {
            return Err(FrameError::new(FrameClause::Kind, "kind", 4, raw.kind.into()));
        };
        let limit = kind.limit();
        if len > limit {
            return Err(FrameError::new(FrameClause::TooLarge, "length", 0, len as u64));
        }
        // The data frames say more in their flags; each checks its own.
        if raw.flags != 0 && !kind.has_block() {
            return Err(FrameError::new(FrameClause::Flags, "flags", 5, raw.flags.into()));
        }
        if raw.reserved.get() != 0 {
            return Err(FrameError::new(FrameClause::Reserved, "reserved", 6, raw.reserved.get().into()));
        }
        if raw.id.get() != 0 && !kind.has_id() {
            return Err(FrameError::new(FrameClause::Id, "id", 8, raw.id.get()));
        }
        Ok(Head { len, kind, flags: raw.flags, id: raw.id.get() })
    }

    /// The header of a frame that is all of `bytes`.
    pub(super) fn of_frame(bytes: &[u8]) -> Result<Head, FrameError> {
        let head = Self::parse(bytes)?;
        if head.len != bytes.len() {
            return Err(FrameError::new(FrameClause::Length, "length", 0, head.len as u64));
        }
        Ok(head)
    }
}

fn length(length: u32) -> Result<usize, FrameError> {
    let len = length as usize;
    if len < FRAME_HEADER || !len.is_multiple_of(8) {
        return Err(FrameError::new(FrameClause::Length, "length", 0, length.into()));
    }
    Ok(len)
}

/// Whether a whole frame lies at the front of `bytes`. A frame of more than
/// `max` bytes, or with a header that makes no sense, is refused as soon as the
/// bytes that say so are there.
///
/// # Errors
/// [`FrameError`]: nothing that follows on this connection can be read.
pub fn peek(bytes: &[u8], max: usize) -> Result<Peek, FrameError> {
    let Some(first) = bytes.first_chunk() else { return Ok(Peek::Need(FRAME_HEADER)) };
    let len = length(u32::from_le_bytes(*first))?;
    if len > max {
        return Err(FrameError::new(FrameClause::TooLarge, "length", 0, len as u64));
    }
    if bytes.len() < FRAME_HEADER {
        return Ok(Peek::Need(FRAME_HEADER));
    }
    Head::parse(bytes)?;
    Ok(if bytes.len() < len { Peek::Need(len) } else { Peek::Frame { len } })
}

/// The kind of the frame that starts here; `None` when it is unknown or the
/// bytes are too few.
#[must_use]
pub fn peek_kind(bytes: &[u8]) -> Option<Kind> {
    bytes.get(4).copied().and_then(Kind::from_number)
}

/// The block in a `Forward` or `Detour` frame, by what the frame says of the lists
/// before it; nothing else is looked at. None where the frame ends before it.
#[must_use]
pub fn peek_block(frame: &[u8]) -> Option<&[u8]> {
    let head = frame.get(FRAME_HEADER..)?.first_chunk::<5>()?;
    let [a, b, c, d, hubs] = *head;
    let entries = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?.checked_mul(FLOW_ENTRY_LEN)?;
    let hubs = if peek_kind(frame) == Some(Kind::Detour) { usize::from(hubs) * size_of::<u64>() } else { 0 };
    frame.get(entries.checked_add(FRAME_HEADER + 8 + hubs)?..)
}

/// Request, level and homes of a `Publish`, from its header alone: for a reader
/// that takes the block apart from the frame. The block starts at [`FRAME_HEADER`].
///
/// # Errors
/// [`FrameError`] when the header is not that of a `Publish`.
pub fn publish_of(header: &[u8]) -> Result<(u64, AckLevel, u8), FrameError> {
    let head = Head::parse(header)?;
    if head.kind != Kind::Publish {
        return Err(FrameError::new(FrameClause::Kind, "kind", 4, head.kind as u64));
    }
    let (level, homes) = publish_level(head.flags)?;
    Ok((head.id, level, homes))
}

/// The level that a publish asks for, and of how many homes, from its flags.
pub(super) fn publish_level(flags: u8) -> Result<(AckLevel, u8), FrameError> {
    let homes = flags >> 4;
    match AckLevel::from_number(flags & 0xf) {
        Some(AckLevel::Homes) if homes >= 2 => Ok((AckLevel::Homes, homes)),
        Some(level) if level < AckLevel::Homes && homes == 0 => Ok((level, 0)),
        _ => Err(FrameError::new(FrameClause::Flags, "level", 5, flags.into())),
    }
}
