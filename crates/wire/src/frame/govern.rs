//! What governs the mesh: a question or a change from a client, and the answer.
//! The bodies mean nothing here: JSON of the closed enums in `weft_govern::api`.

use super::codec::{Reader, Writer};
use super::{FrameError, MAX_GOVERN_BODY};

/// Asks for, or changes, what governs the mesh; answered by [`Governed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Govern<'a> {
    /// Chosen by the client.
    pub request: u64,
    /// What is asked, at most [`MAX_GOVERN_BODY`] bytes.
    pub body: &'a [u8],
}

impl<'a> Govern<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self { request: r.id(), body: r.long_bytes("body", MAX_GOVERN_BODY)? })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.long_bytes("body", self.body, MAX_GOVERN_BODY);
    }
}

/// The answer to a [`Govern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Governed<'a> {
    /// The request.
    pub request: u64,
    /// What is answered, at most [`MAX_GOVERN_BODY`] bytes.
    pub body: &'a [u8],
}

impl<'a> Governed<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self { request: r.id(), body: r.long_bytes("body", MAX_GOVERN_BODY)? })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.long_bytes("body", self.body, MAX_GOVERN_BODY);
    }
}
