//! One direction of a simulated link: what is on its way, and what waits to be
//! read.

use std::collections::VecDeque;

use weft_base::Mono;

use crate::reason::CloseReason;

/// What travels.
#[derive(Debug)]
pub(super) enum Parcel {
    /// Asks for a connection.
    Syn,
    /// Grants it.
    SynAck,
    /// Nobody listens.
    Nobody,
    /// Begins TLS.
    Hello,
    /// The certificate of the side that was dialled.
    Certificate,
    /// The certificate of the side that dialled.
    Finished,
    /// TLS refuses the far side, for this reason as the far side sees it.
    Alert(CloseReason),
    /// Bytes.
    Data(Vec<u8>),
    /// Nothing follows; `proper` when TLS said so as well.
    Fin { proper: bool },
    /// The connection is broken.
    Reset,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// What is on its way, in order, with its time of arrival.
    pub(super) flight: VecDeque<(Mono, Parcel)>,
    /// Bytes on their way, unread, or read with the sender not told yet.
    pub(super) used: usize,
    /// When the bandwidth is free again.
    pub(super) free_at: Mono,
    /// Since when the front of the flight cannot arrive.
    pub(super) stalled: Option<Mono>,
    /// Room that a cut keeps from being told to the sender.
    pub(super) untold: usize,
    /// What arrived and was not read.
    pub(super) unread: VecDeque<u8>,
    /// What follows `unread`, when there is an end.
    pub(super) end: Option<CloseReason>,
}

impl Pipe {
    /// Moves unread bytes into `buf`.
    pub(super) fn take(&mut self, buf: &mut [u8]) -> usize {
        let n = buf.len().min(self.unread.len());
        for (to, from) in buf.iter_mut().zip(self.unread.drain(..n)) {
            *to = from;
        }
        n
    }
}
