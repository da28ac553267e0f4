//! What the ends of a tunnel say to each other, little endian:
//!
//! ```text
//! 0  u8 what: 0 open, 1 data, 2 word, 3 close
//! 1  u8 by whom: 0 the client's hub, 1 the stream's home
//! 2  zeros
//! 8  u64 the tunnel: its number at the client's hub
//! 16 u64 data: the number of the first byte; word: bytes passed on; close: why
//! 24 u64 word: bytes sent
//! 32 open: the client's name; data: bytes; close: text
//! ```
//!
//! A message whose first byte is 4 is none of a tunnel: from 32 on it is a frame
//! of a question to the mesh, for the conductor. One whose first byte is 5 is for
//! the stage of the control state, and does not come here (`weft_wire::peer`).
//! Hubs that do not know them take no notice of them.

use weft_ring::arena::BlockRef;
use weft_wire::frame::ErrorCode;

const HEAD: usize = 32;
/// The first byte of a question to the mesh, or of an answer.
const SEE: u8 = 4;

/// A question to the mesh, or an answer, as a message.
pub(crate) fn see_message(frame: &[u8]) -> Vec<u8> {
    let mut out = vec![0; HEAD];
    if let Some(first) = out.first_mut() {
        *first = SEE;
    }
    out.extend_from_slice(frame);
    out
}

/// The frame of such a message.
pub(super) fn see_of(bytes: &BlockRef) -> Option<BlockRef> {
    (bytes.first() == Some(&SEE) && bytes.len() > HEAD).then(|| bytes.slice(HEAD..bytes.len()))
}

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What<'a> {
    Open { name: &'a str },
    Data { at: u64, bytes: &'a [u8] },
    Word { taken: u64, sent: u64 },
    Close { code: ErrorCode, detail: &'a str },
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said<'a> {
    /// The stream's home says it, and not the client's hub.
    pub(super) by_home: bool,
    pub(super) tunnel: u64,
    pub(super) what: What<'a>,
}

impl<'a> Said<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (what, first, second, rest): (u8, u64, u64, &[u8]) = match &self.what {
            What::Open { name } => (0, 0, 0, name.as_bytes()),
            What::Data { at, bytes } => (1, *at, 0, bytes),
            What::Word { taken, sent } => (2, *taken, *sent, &[]),
            What::Close { code, detail } => (3, u64::from(code.0), 0, detail.as_bytes()),
        };
        let mut out = Vec::with_capacity(HEAD + rest.len());
        out.extend_from_slice(&[what, u8::from(self.by_home), 0, 0, 0, 0, 0, 0]);
        for number in [self.tunnel, first, second] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(rest);
        out
    }

    /// None for what is no such message.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEAD)?;
        let [what, by, ..] = *head.first_chunk::<8>()?;
        let number = |at: usize| head.get(at..at + 8)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let (tunnel, first, second) = (number(8)?, number(16)?, number(24)?);
        let what = match what {
            0 => What::Open { name: std::str::from_utf8(rest).ok()? },
            1 => What::Data { at: first, bytes: rest },
            2 => What::Word { taken: first, sent: second },
            3 => What::Close { code: ErrorCode(u16::try_from(first).ok()?), detail: std::str::from_utf8(rest).ok()? },
            _ => return None,
        };
        (by <= 1).then_some(Self { by_home: by == 1, tunnel, what })
    }
}

/// Where the bytes of a data message begin.
pub(super) const DATA_AT: usize = HEAD;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_written_and_nothing_else_is() {
        for what in [
            What::Open { name: "client" },
            What::Data { at: 7, bytes: b"bytes" },
            What::Word { taken: 1, sent: u64::MAX },
            What::Close { code: ErrorCode::LIMIT, detail: "because" },
        ] {
            for by_home in [false, true] {
                let said = Said { by_home, tunnel: 0x0102_0304, what };
                let bytes = said.encode();
                assert_eq!(Said::decode(&bytes), Some(said));
                assert_eq!(Said::decode(&bytes[..HEAD - 1]), None);
                let mut strange = bytes.clone();
                for first in [9, weft_wire::peer::CONTROL_MARK] {
                    strange[0] = first;
                    assert_eq!(Said::decode(&strange), None);
                }
                strange[..2].copy_from_slice(&[0, 2]);
                assert_eq!(Said::decode(&strange), None);
            }
        }
    }
}
