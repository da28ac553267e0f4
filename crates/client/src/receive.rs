//! From bytes to frames: what is read from the socket lies in buffers of an
//! arena, and frames are split off where they lie.

use weft_base::ByteCount;
use weft_ring::arena::{Arena, ArenaError, ArenaOptions, BlockRef, Buffer};
use weft_wire::frame::{self, FrameError, Peek};

/// Bytes of a buffer for frames of usual size.
const SMALL: usize = 64 << 10;
/// With less room than this before a read, another buffer is taken.
const READ_ROOM: usize = 8 << 10;

/// The receiving side of a connection. A frame is an 8-aligned view into a
/// buffer that lives as long as any view into it.
pub(crate) struct Receiver {
    arena: Arena,
    buffer: Option<Buffer>,
    max_frame: usize,
}

impl Receiver {
    pub(crate) fn new(memory: ByteCount, max_frame: ByteCount) -> Result<Self, ArenaError> {
        let max_frame = max_frame.as_usize().clamp(4 << 10, frame::MAX_FRAME);
        let large = (max_frame + SMALL).next_multiple_of(64);
        let least = (large as u64).saturating_mul(8).max(16 << 20);
        let arena = Arena::new(ArenaOptions {
            small: SMALL,
            large,
            budget: memory.max(ByteCount(least)),
            initial: ByteCount(4 * SMALL as u64),
            huge_pages: false,
        })?;
        Ok(Self { arena, buffer: None, max_frame })
    }

    /// Room to read into; `None` when the memory is used up.
    pub(crate) fn room(&mut self) -> Option<&mut [u8]> {
        let held = self.buffer.as_ref().map_or(0, |buffer| buffer.filled().len());
        let want =
            self.buffer.as_ref().map_or(READ_ROOM, |buffer| match frame::peek(buffer.filled(), self.max_frame) {
                Ok(Peek::Frame { len } | Peek::Need(len)) => len.saturating_sub(held).max(READ_ROOM),
                Err(_) => READ_ROOM,
            });
        let enough = match &mut self.buffer {
            Some(buffer) => {
                if buffer.room() < want {
                    buffer.reclaim();
                }
                buffer.room() >= want
            }
            None => false,
        };
        if !enough {
            let mut fresh = self.arena.lend(held + want)?;
            if let Some(old) = &self.buffer {
                fresh.extend(old.filled());
            }
            self.buffer = Some(fresh);
        }
        self.buffer.as_mut().map(Buffer::spare_mut)
    }

    /// So many bytes were read into the room.
    pub(crate) fn advance(&mut self, n: usize) {
        if let Some(buffer) = &mut self.buffer {
            buffer.advance(n.min(buffer.room()));
        }
    }

    /// The next whole frame, if it is there.
    ///
    /// # Errors
    /// The bytes are no frame, or one that is too large.
    pub(crate) fn next_frame(&mut self) -> Result<Option<BlockRef>, FrameError> {
        let Some(buffer) = &mut self.buffer else { return Ok(None) };
        match frame::peek(buffer.filled(), self.max_frame)? {
            Peek::Frame { len } if buffer.filled().len() >= len => Ok(Some(buffer.split_to(len).freeze())),
            _ => Ok(None),
        }
    }

    /// Forgets what was read: the connection is another.
    pub(crate) fn clear(&mut self) {
        self.buffer = None;
    }
}
