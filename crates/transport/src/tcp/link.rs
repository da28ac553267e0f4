//! One connection: its stage, what it is ready for, and plain reads and writes.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use weft_base::{Mono, UnixNanos};

use crate::network::{ReadOutcome, WriteOutcome};
use crate::reason::CloseReason;

/// The most slices that one system call takes.
pub(crate) const MAX_SLICES: usize = 64;

/// Where a connection stands.
#[derive(Debug)]
pub(super) enum Stage {
    /// Its host's addresses are being looked up.
    Resolving,
    /// A connection is being tried; the addresses after it, the next one last.
    Connecting { address: SocketAddr, rest: Vec<SocketAddr> },
    /// In the caller's hands.
    Up,
    /// Let go by the caller; the write side is shut, and what the peer still
    /// sends is thrown away until it ends. Without this the system would
    /// answer such bytes with a reset, and a reset can destroy what was
    /// written last before the peer has read it.
    Lingering,
}

/// Whether `Writable` is to be reported: see [`crate::Ready::Writable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// No write met a limit.
    Off,
    /// A write met a limit.
    Armed,
    /// A write then took all that it was offered: once more.
    Last,
    /// That was reported; off at the next poll, unless there was a write.
    Said,
}

#[derive(Debug)]
pub(super) struct Link {
    /// None while the address is looked up.
    pub(super) stream: Option<TcpStream>,
    pub(super) stage: Stage,
    /// The listener it came in by; none when it was dialled.
    pub(super) listener: Option<u64>,
    /// The system may have bytes: set by its event, cleared by the read that
    /// found no more.
    pub(super) readable: bool,
    /// The system may have room: the same, for writes.
    pub(super) writable: bool,
    /// The peer has ended its side, so no event announces the end any more.
    pub(super) peer_ended: bool,
    pub(super) paused: bool,
    pub(super) report: Report,
    /// Whether the hot list has it.
    pub(super) listed: bool,
    pub(super) deadline: Option<Mono>,
    pub(super) expires: Option<UnixNanos>,
}

impl Link {
    pub(super) const fn new(stage: Stage, listener: Option<u64>) -> Self {
        Self {
            stream: None,
            stage,
            listener,
            readable: false,
            writable: false,
            peer_ended: false,
            paused: false,
            report: Report::Off,
            listed: false,
            deadline: None,
            expires: None,
        }
    }

    /// Whether it was dialled and is not up yet.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self.stage, Stage::Resolving | Stage::Connecting { .. })
    }

    /// Whether the next poll has something to say or do about it at once.
    pub(super) fn is_hot(&self) -> bool {
        match self.stage {
            Stage::Up => self.wants_read() || self.wants_write(),
            Stage::Lingering => self.readable,
            Stage::Resolving | Stage::Connecting { .. } => false,
        }
    }

    pub(super) const fn wants_read(&self) -> bool {
        self.readable && !self.paused
    }

    pub(super) fn wants_write(&self) -> bool {
        self.writable && matches!(self.report, Report::Armed | Report::Last)
    }

    pub(super) fn read(&mut self, buf: &mut [u8]) -> ReadOutcome {
        if buf.is_empty() {
            return ReadOutcome::Bytes(0);
        }
        if !self.readable {
            return ReadOutcome::WouldBlock;
        }
        match self.read_once(buf) {
            Ok(0) => ReadOutcome::Closed(CloseReason::PeerClosed),
            Ok(n) => ReadOutcome::Bytes(n),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => ReadOutcome::WouldBlock,
            Err(e) => ReadOutcome::Closed(CloseReason::of_io(&e)),
        }
    }

    /// One system call, unless a signal interrupts it. A short read means that
    /// there is no more now, and the system will announce what comes later:
    /// that saves the call that would only answer so.
    pub(super) fn read_once(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(stream) = self.stream.as_mut() else { return Err(io::ErrorKind::WouldBlock.into()) };
        loop {
            match stream.read(buf) {
                Ok(n) => {
                    if n < buf.len() && n > 0 && !self.peer_ended {
                        self.readable = false;
                    }
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.readable = false;
                    return Err(e);
                }
            }
        }
    }

    pub(super) fn write(&mut self, bufs: &[IoSlice<'_>]) -> WriteOutcome {
        let taken = &bufs[..bufs.len().min(MAX_SLICES)];
        let offered: usize = taken.iter().map(|slice| slice.len()).sum();
        if offered == 0 {
            self.report = Report::Off;
            return WriteOutcome::Bytes(0);
        }
        let outcome = match self.write_once(taken, offered) {
            Ok(n) => WriteOutcome::Bytes(n),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => WriteOutcome::WouldBlock,
            Err(e) => WriteOutcome::Closed(CloseReason::of_io(&e)),
        };
        self.note_write(&outcome, offered, bufs.len() <= MAX_SLICES);
        outcome
    }

    /// One system call, unless a signal interrupts it. A short write means
    /// that there is no more room now.
    fn write_once(&mut self, bufs: &[IoSlice<'_>], offered: usize) -> io::Result<usize> {
        let Some(stream) = self.stream.as_mut() else { return Err(io::ErrorKind::WouldBlock.into()) };
        if !self.writable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        loop {
            match stream.write_vectored(bufs) {
                Ok(n) => {
                    self.writable = n == offered;
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.writable = false;
                    return Err(e);
                }
            }
        }
    }

    /// Decides whether `Writable` is to be reported after this write.
    fn note_write(&mut self, outcome: &WriteOutcome, offered: usize, all_seen: bool) {
        match outcome {
            WriteOutcome::Bytes(n) if *n == offered && all_seen => {
                if self.report != Report::Off {
                    self.report = Report::Last;
                }
            }
            WriteOutcome::Bytes(n) if *n == offered => {}
            WriteOutcome::Bytes(_) | WriteOutcome::WouldBlock => self.report = Report::Armed,
            WriteOutcome::Closed(_) => {}
        }
    }
}
