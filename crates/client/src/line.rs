//! One connection of the client's thread: what is read of it and written to it.
//! There are two at most: the one to the hub, and while the client moves to
//! another hub the one to that, or the last of the old one.

use std::collections::VecDeque;
use std::io::IoSlice;

use weft_transport::{CloseReason, LinkToken, Network, WriteOutcome};

use crate::receive::Receiver;
use crate::session::{Outgoing, Write};

/// Slices of one write; a block takes two.
const SLICES: usize = 64;

/// The connection, if there is one, and what waits for it.
#[derive(Default)]
pub(crate) struct Line {
    pub(crate) link: Option<LinkToken>,
    /// Where what is read lies; none before the first connection.
    pub(crate) receiver: Option<Receiver>,
    /// What is to be written, in order, and how much of the first is.
    out: VecDeque<Write>,
    pub(crate) out_bytes: usize,
    written: usize,
    pub(crate) blocked: bool,
    pub(crate) readable: bool,
    pub(crate) starved: bool,
}

impl Line {
    pub(crate) fn new(receiver: Receiver) -> Self {
        Self { receiver: Some(receiver), ..Self::default() }
    }

    pub(crate) fn push(&mut self, write: Write) {
        self.out_bytes += len(&write);
        self.out.push_back(write);
    }

    /// Everything is written.
    pub(crate) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Whether a turn would do something at once.
    pub(crate) fn has_work(&self) -> bool {
        (!self.blocked && !self.out.is_empty() && self.link.is_some()) || (self.readable && !self.starved)
    }

    /// The connection, if there was one, is over on this side.
    pub(crate) fn forget(&mut self) {
        let receiver = self.receiver.take().map(|mut receiver| {
            receiver.clear();
            receiver
        });
        *self = Self { receiver, ..Self::default() };
    }

    /// Writes until nothing is left or the socket takes no more; hands out the
    /// blocks that were written. Answers why the connection has ended, if so.
    pub(crate) fn flush(&mut self, network: &mut dyn Network, done: &mut Vec<Outgoing>) -> Option<CloseReason> {
        while let Some(link) = self.link.filter(|_| !self.out.is_empty()) {
            let outcome = {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let used = fill(&mut slices, &self.out, self.written);
                network.write(link, slices.get(..used).unwrap_or_default())
            };
            match outcome {
                WriteOutcome::Bytes(n) => self.advance(n, done),
                WriteOutcome::WouldBlock => {
                    self.blocked = true;
                    return None;
                }
                WriteOutcome::Closed(reason) => return Some(reason),
            }
        }
        None
    }

    /// Counts written bytes off the queue.
    fn advance(&mut self, n: usize, done: &mut Vec<Outgoing>) {
        self.written += n;
        while let Some(len) = self.out.front().map(len)
            && self.written >= len
        {
            self.written -= len;
            self.out_bytes -= len;
            if let Some(Write::Publish(outgoing)) = self.out.pop_front() {
                done.push(outgoing);
            }
        }
    }
}

fn len(write: &Write) -> usize {
    match write {
        Write::Control(bytes) => bytes.len(),
        Write::Publish(outgoing) => outgoing.head.len() + outgoing.block.bytes().len(),
    }
}

/// Puts what is unwritten into `slices`; answers how many it took.
fn fill<'a>(slices: &mut [IoSlice<'a>; SLICES], out: &'a VecDeque<Write>, written: usize) -> usize {
    let mut used = 0;
    let mut skip = written;
    for write in out {
        let parts: [&[u8]; 2] = match write {
            Write::Control(bytes) => [bytes, &[]],
            Write::Publish(outgoing) => [&outgoing.head, outgoing.block.bytes()],
        };
        for part in parts {
            let rest = part.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(part.len());
            if rest.is_empty() {
                continue;
            }
            let Some(slot) = slices.get_mut(used) else { return used };
            *slot = IoSlice::new(rest);
            used += 1;
        }
    }
    used
}
