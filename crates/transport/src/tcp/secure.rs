//! TLS on one connection: handshake, reads into the caller's buffer, writes in
//! full records.

use std::io::{self, IoSlice, Read, Write};
use std::mem;

use rustls::Connection;
use rustls::pki_types::CertificateDer;
use weft_base::Clock;
use weft_base::sync::Arc;

use super::socket::Socket;
use crate::network::MAX_SLICES;
use crate::reason::CloseReason;
use crate::tls::{Trust, reason_of};

/// How much is encrypted before it is handed to the system, and so the most
/// that a link holds when the system takes no more: four full records.
const UNSENT: usize = 4 * 16 * 1024;

/// How many reads of the system one read tries when they bring no data.
const EMPTY_READS: usize = 4;
/// The least that the system is asked for.
const LEAST_READ: usize = 4096;

/// What can stop a step of TLS.
#[derive(Debug)]
pub(super) enum Stop {
    /// The system has or takes no more now.
    WouldBlock,
    /// The link is over.
    Closed(CloseReason),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock => Self::WouldBlock,
            _ => Self::Closed(CloseReason::of_io(&error)),
        }
    }
}

#[derive(Debug)]
pub(super) struct Secure {
    tls: Connection,
    trust: Trust,
    /// Bytes from the peer that did not fit when they came, from `fed` on.
    rest: Vec<u8>,
    fed: usize,
    /// Whether nothing of the peer's was understood yet.
    first: bool,
    /// What ended the link, until a read has nothing to answer before it.
    over: Option<CloseReason>,
    /// Whether a read may have something without the system's help.
    pub(super) more: bool,
}

impl Secure {
    pub(super) fn new(mut tls: Connection, trust: Trust) -> Self {
        tls.set_buffer_limit(Some(UNSENT));
        Self { tls, trust, rest: Vec::new(), fed: 0, first: true, over: None, more: false }
    }

    /// One for another address of the same hub; none on a connection that came in.
    pub(super) fn again(&self, clock: &Arc<dyn Clock>) -> Option<Self> {
        let tls = self.trust.again(clock)?.ok()?;
        Some(Self::new(tls.into(), self.trust.clone()))
    }

    /// Whether the peer may have shown no certificate.
    pub(super) fn takes_guests(&self) -> bool {
        self.trust.takes_guests()
    }

    pub(super) fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.tls.peer_certificates().and_then(|chain| chain.first())
    }

    /// Looks at the peer again, if this side's identity was replaced.
    pub(super) fn look_again(&mut self, clock: &dyn Clock) -> Result<(), CloseReason> {
        self.tls.peer_certificates().map_or(Ok(()), |chain| self.trust.check(chain, clock))
    }

    /// Goes on with the handshake as far as it goes; `Ok` when it is done.
    pub(super) fn shake(&mut self, socket: &mut Socket, scratch: &mut [u8]) -> Result<(), Stop> {
        loop {
            self.flush(socket)?;
            if !self.tls.is_handshaking() {
                return Ok(());
            }
            let n = socket.read(scratch)?;
            if n == 0 {
                return Err(Stop::Closed(CloseReason::Truncated));
            }
            let mut input = scratch.get(..n).unwrap_or_default();
            while !input.is_empty() && self.tls.is_handshaking() {
                self.feed(&mut input).map_err(Stop::Closed)?;
            }
            // The peer may have gone on to data at once.
            self.more |= !input.is_empty();
            self.keep(input);
        }
    }

    /// Hands rustls some of `input`, and has it look at it.
    fn feed(&mut self, input: &mut &[u8]) -> Result<(), CloseReason> {
        let read = self.tls.read_tls(input).map_err(|e| CloseReason::Tls { detail: e.to_string() })?;
        if read == 0 {
            // The peer has closed; nothing after that counts.
            *input = &[];
        }
        match self.tls.process_new_packets() {
            Ok(state) => {
                self.first = false;
                self.more = state.plaintext_bytes_to_read() > 0 || state.peer_has_closed();
                Ok(())
            }
            Err(e) => Err(reason_of(&e, self.first)),
        }
    }

    /// Keeps what the caller had no room for; at most one read of the system.
    fn keep(&mut self, input: &[u8]) {
        self.rest.clear();
        self.fed = 0;
        self.rest.extend_from_slice(input);
    }

    /// Moves what is decrypted into `buf`, decrypting on as long as there is
    /// room in `buf` and something in `input`. What ends the link is kept for
    /// the read that finds nothing before it.
    fn decrypt(&mut self, input: &mut &[u8], buf: &mut [u8]) -> usize {
        let mut filled = 0;
        while self.over.is_none() {
            let Some(room) = buf.get_mut(filled..).filter(|room| !room.is_empty()) else { break };
            match self.tls.reader().read(room) {
                Ok(0) => self.over = Some(CloseReason::PeerClosed),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && input.is_empty() => break,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(reason) = self.feed(input) {
                        self.over = Some(reason);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => self.over = Some(CloseReason::Truncated),
                Err(e) => self.over = Some(CloseReason::of_io(&e)),
            }
        }
        filled
    }

    /// Reads into `buf`: what is decrypted already, then what came before and
    /// did not fit, then from the system, once unless that gives no whole
    /// record.
    pub(super) fn read(&mut self, socket: &mut Socket, buf: &mut [u8], scratch: &mut [u8]) -> Result<usize, Stop> {
        let mut filled = self.read_kept(buf);
        // A peer that sends much that means nothing is not waited for.
        for _ in 0..EMPTY_READS {
            if filled > 0 || self.over.is_some() {
                break;
            }
            // Little more than there is room for, so that little has to be kept.
            let most = buf.len().clamp(LEAST_READ, scratch.len());
            let n = socket.read(scratch.get_mut(..most).unwrap_or_default()).inspect_err(|_| self.more = false)?;
            if n == 0 {
                // Tells rustls that the stream ended; it knows whether rightly.
                self.tls.read_tls(&mut io::empty())?;
            }
            let mut input = scratch.get(..n).unwrap_or_default();
            filled = self.decrypt(&mut input, buf);
            self.keep(input);
        }
        if self.tls.wants_write() {
            // An answer of TLS's own; if there is no room now it goes later.
            let _ = self.flush(socket);
        }
        self.more = filled == buf.len();
        match (filled, &self.over) {
            (0, Some(reason)) => Err(Stop::Closed(reason.clone())),
            (0, None) => Err(Stop::WouldBlock),
            _ => {
                self.more |= self.over.is_some();
                Ok(filled)
            }
        }
    }

    /// The part of a read that needs no system call.
    fn read_kept(&mut self, buf: &mut [u8]) -> usize {
        let kept = mem::take(&mut self.rest);
        let mut input = kept.get(self.fed..).unwrap_or_default();
        let before = input.len();
        let filled = self.decrypt(&mut input, buf);
        self.fed += before - input.len();
        let done = input.is_empty();
        self.rest = kept;
        if done {
            self.rest.clear();
            self.fed = 0;
        }
        filled
    }

    /// Takes from `bufs` as much as the system takes, and at most [`UNSENT`]
    /// more. What one call brings goes out in full records, but for the last.
    pub(super) fn write(&mut self, socket: &mut Socket, bufs: &[IoSlice<'_>], offered: usize) -> Result<usize, Stop> {
        self.flush(socket)?;
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        for (to, from) in slices.iter_mut().zip(bufs) {
            *to = *from;
        }
        let mut rest = slices.get_mut(..bufs.len()).unwrap_or_default();
        let mut taken = 0;
        while taken < offered {
            let n = self.tls.writer().write_vectored(rest)?;
            taken += n;
            IoSlice::advance_slices(&mut rest, n);
            match self.flush(socket) {
                Ok(()) if n > 0 => {}
                Ok(()) | Err(Stop::WouldBlock) => break,
                Err(stop) => return Err(stop),
            }
        }
        if taken == 0 { Err(Stop::WouldBlock) } else { Ok(taken) }
    }

    /// Whether the system has not taken all yet.
    pub(super) fn is_unsent(&self) -> bool {
        self.tls.wants_write()
    }

    /// Hands the system what it has not taken yet; `Ok` when that is all.
    pub(super) fn flush(&mut self, socket: &mut Socket) -> Result<(), Stop> {
        while self.tls.wants_write() {
            if self.tls.write_tls(socket)? == 0 {
                return Err(Stop::Closed(CloseReason::Reset));
            }
        }
        Ok(())
    }

    /// Says to the peer that nothing follows.
    pub(super) fn end(&mut self) {
        self.tls.send_close_notify();
    }
}
