//! One connection: its stage, what it is ready for, and reads and writes.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;

use weft_base::{Mono, UnixNanos};

use super::secure::{Secure, Stop};
use super::shared::Shared;
use super::socket::Socket;
use crate::level::Report;
use crate::network::{MAX_SLICES, ReadOutcome, WriteOutcome};
use crate::reason::CloseReason;
use crate::shm::End;

/// Where a connection stands.
#[derive(Debug)]
pub(super) enum Stage {
    /// Its host's addresses are being looked up; it was dialled so often in vain.
    Resolving { host: String, failures: usize },
    /// A connection is being tried; the addresses after it, the next one last.
    Connecting { address: SocketAddr, rest: Vec<SocketAddr> },
    /// TLS is being agreed on; the addresses left, should that fail.
    Handshaking { rest: Vec<SocketAddr> },
    /// Shared memory: the hub has not said hello yet.
    Joining,
    /// In the caller's hands.
    Up,
    /// Let go by the caller, with bytes that the system has not taken yet.
    Flushing,
    /// The write side is shut, and what the peer still sends is thrown away
    /// until it ends. Without this the system would answer such bytes with a
    /// reset, and a reset can destroy what was written last before the peer
    /// has read it.
    Lingering,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) stage: Stage,
    /// None while the address is looked up, and on a link by shared memory.
    pub(super) socket: Option<Socket>,
    /// In place of the socket, on a link by shared memory.
    pub(super) shared: Option<Box<Shared>>,
    /// None on a plain link.
    pub(super) secure: Option<Box<Secure>>,
    /// The listener it came in by; none when it was dialled.
    pub(super) listener: Option<u64>,
    /// Whether it counts as a handshake in flight; kept by a peer that was
    /// refused until it is gone.
    pub(super) counted: bool,
    pub(super) paused: bool,
    pub(super) report: Report,
    /// Whether the hot list has it.
    pub(super) listed: bool,
    pub(super) deadline: Option<Mono>,
    pub(super) expires: Option<UnixNanos>,
}

impl Link {
    pub(super) const fn new(stage: Stage, secure: Option<Box<Secure>>, listener: Option<u64>) -> Self {
        Self {
            stage,
            socket: None,
            shared: None,
            secure,
            listener,
            counted: false,
            paused: false,
            report: Report::Off,
            listed: false,
            deadline: None,
            expires: None,
        }
    }

    pub(super) fn shared(stage: Stage, shared: Shared, listener: Option<u64>) -> Self {
        Self { shared: Some(Box::new(shared)), ..Self::new(stage, None, listener) }
    }

    /// Whether it is not up yet.
    pub(super) const fn is_opening(&self) -> bool {
        matches!(
            self.stage,
            Stage::Resolving { .. } | Stage::Connecting { .. } | Stage::Handshaking { .. } | Stage::Joining
        )
    }

    /// Whether the next poll has something to say or do about it at once.
    pub(super) fn is_hot(&self) -> bool {
        match self.stage {
            Stage::Up => self.wants_read() || self.wants_write(),
            Stage::Lingering => self.socket.as_ref().is_some_and(|socket| socket.readable),
            _ => false,
        }
    }

    pub(super) fn wants_read(&self) -> bool {
        if let Some(end) = self.end() {
            return !self.paused && end.readable();
        }
        !self.paused
            && (self.socket.as_ref().is_some_and(|socket| socket.readable)
                || self.secure.as_ref().is_some_and(|secure| secure.more))
    }

    pub(super) fn wants_write(&self) -> bool {
        self.report.is_due() && self.has_room()
    }

    pub(super) fn has_room(&self) -> bool {
        match self.end() {
            Some(end) => end.writable(),
            None => self.socket.as_ref().is_some_and(|socket| socket.writable),
        }
    }

    fn end(&self) -> Option<&End> {
        self.shared.as_ref().and_then(|shared| shared.end())
    }

    /// Reads; `scratch` is where encrypted bytes come in.
    pub(super) fn read(&mut self, buf: &mut [u8], scratch: &mut [u8]) -> ReadOutcome {
        if buf.is_empty() {
            return ReadOutcome::Bytes(0);
        }
        if let Some(shared) = &mut self.shared {
            return shared.read(buf);
        }
        let Some(socket) = &mut self.socket else { return ReadOutcome::WouldBlock };
        let read = match &mut self.secure {
            Some(secure) => secure.read(socket, buf, scratch),
            None => socket.read(buf).map_err(Stop::from),
        };
        match read {
            Ok(0) => ReadOutcome::Closed(CloseReason::PeerClosed),
            Ok(n) => ReadOutcome::Bytes(n),
            Err(Stop::WouldBlock) => ReadOutcome::WouldBlock,
            Err(Stop::Closed(reason)) => ReadOutcome::Closed(reason),
        }
    }

    pub(super) fn write(&mut self, bufs: &[IoSlice<'_>]) -> WriteOutcome {
        let slices = bufs.get(..MAX_SLICES).unwrap_or(bufs);
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        if offered == 0 {
            self.report.wrote(0, 0, true);
            return WriteOutcome::Bytes(0);
        }
        let outcome = self.write_some(slices, offered);
        let taken = match outcome {
            WriteOutcome::Bytes(n) => n,
            WriteOutcome::WouldBlock => 0,
            WriteOutcome::Closed(_) => return outcome,
        };
        self.report.wrote(taken, offered, bufs.len() <= MAX_SLICES);
        outcome
    }

    fn write_some(&mut self, slices: &[IoSlice<'_>], offered: usize) -> WriteOutcome {
        if let Some(shared) = &mut self.shared {
            return shared.write(slices, offered);
        }
        let Some(socket) = &mut self.socket else { return WriteOutcome::WouldBlock };
        let wrote = match &mut self.secure {
            Some(secure) => secure.write(socket, slices, offered),
            None => socket.write_vectored(slices).map_err(Stop::from),
        };
        match wrote {
            Ok(n) => WriteOutcome::Bytes(n),
            Err(Stop::WouldBlock) => WriteOutcome::WouldBlock,
            Err(Stop::Closed(reason)) => WriteOutcome::Closed(reason),
        }
    }

    /// Hands the system what it has not taken yet; `Ok` when that is all.
    pub(super) fn flush(&mut self) -> Result<(), Stop> {
        match (&mut self.socket, &mut self.secure) {
            (Some(socket), Some(secure)) => secure.flush(socket),
            _ => Ok(()),
        }
    }

    /// Throws away what the peer sends; `Ok` when there is no more now.
    pub(super) fn discard_input(&mut self, scratch: &mut [u8], reads: usize) -> Result<(), Stop> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        for _ in 0..reads {
            match socket.read(scratch) {
                Ok(0) => return Err(Stop::Closed(CloseReason::PeerClosed)),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(Stop::from(e)),
            }
        }
        Ok(())
    }
}
