//! One frame there, one frame back, over a connection that is waited for.

use std::io::{self, Read, Write};

use weft_transport::CloseReason;
use weft_transport::joining::Talk;
use weft_wire::frame::{self, FRAME_HEADER, Frame, Peek};

/// The largest frame of such a conversation: a [`frame::Joined`] with the most in it.
pub(crate) const MAX_FRAME: usize = 512 << 10;
/// The largest request.
pub(crate) const MAX_JOIN: usize = 64 << 10;

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TalkError {
    #[error("{0}")]
    Connection(CloseReason),
    #[error("what came is no frame: {0}; the other end speaks another protocol")]
    Frame(frame::FrameError),
}

/// Writes a frame, all of it.
pub(crate) fn send(talk: &mut Talk, said: &Frame<'_>) -> io::Result<()> {
    let mut bytes = Vec::new();
    frame::try_encode(said, &mut bytes).map_err(|e| io::Error::other(e.to_string()))?;
    talk.write_all(&bytes)?;
    talk.flush()
}

/// Reads one frame of at most so many bytes.
pub(crate) fn receive(talk: &mut Talk, most: usize) -> Result<Vec<u8>, TalkError> {
    let mut bytes = Vec::new();
    let mut need = FRAME_HEADER;
    loop {
        let have = bytes.len();
        bytes.resize(need, 0);
        let read = talk.read_exact(bytes.get_mut(have..).unwrap_or_default());
        read.map_err(|e| TalkError::Connection(talk.why(&e)))?;
        match frame::peek(&bytes, most).map_err(TalkError::Frame)? {
            Peek::Frame { .. } => return Ok(bytes),
            Peek::Need(more) => need = more,
        }
    }
}
