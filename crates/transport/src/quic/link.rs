//! One link: its connection, its channels, and what they are ready for.

use std::io::IoSlice;
use std::net::SocketAddr;

use bytes::Bytes;
use quinn_proto::{
    ClientConfig, Connection, ConnectionError, ConnectionHandle, Dir, Endpoint, Event, ReadError, ReadableError,
    StreamEvent, StreamId,
};
use rustls::pki_types::CertificateDer;
use weft_base::sync::Arc;
use weft_base::{Mono, UnixNanos};

use super::CHANNELS;
use super::ahead::{Ahead, Path, RESERVE};
use crate::identity::TlsIdentity;
use crate::level::Report;
use crate::network::{MAX_SLICES, ReadOutcome, WriteOutcome};
use crate::reason::CloseReason;
use crate::tls::{Blame, Trust};

/// How much is handed to a stream at a time: one allocation each. What the
/// stream does not take of a piece was gathered for nothing.
const PIECE: usize = 16 << 10;

/// Where a link stands.
pub(super) enum Stage {
    /// Dialled; its host's addresses are being looked up.
    Resolving,
    /// Datagrams go to and fro; nobody has been handed the link.
    Shaking,
    /// In the caller's hands.
    Up,
    /// Let go by the caller, with bytes that the far side has not read.
    Closing,
}

/// What a dial keeps until it is done: the addresses left, the next one last.
pub(super) struct Dial {
    pub(super) host: String,
    /// It was dialled so often in vain.
    pub(super) failures: usize,
    pub(super) config: ClientConfig,
    pub(super) identity: Arc<TlsIdentity>,
    pub(super) rest: Vec<SocketAddr>,
}

/// The connection, and where its datagrams come and go.
pub(super) struct Wire {
    pub(super) site: u64,
    pub(super) handle: ConnectionHandle,
    pub(super) conn: Connection,
    /// The state machine has forgotten it.
    pub(super) drained: bool,
}

/// One stream each way.
#[derive(Debug)]
struct Channel {
    /// The stream of this side.
    own: Option<StreamId>,
    /// What came and was not read, at most one datagram's: that there is
    /// something is known without asking.
    front: Bytes,
    /// Whether the peer's stream came to its end and was read to it.
    ended: bool,
    /// Whether a write may find room.
    writable: bool,
    report: Report,
}

pub(super) struct Link {
    pub(super) stage: Stage,
    pub(super) dial: Option<Box<Dial>>,
    pub(super) wire: Option<Box<Wire>>,
    /// The listener it came in by; none when it was dialled.
    pub(super) listener: Option<u64>,
    /// Where it was dialled, as it was written; or where it came from.
    pub(super) name: String,
    pub(super) blame: Blame,
    /// By what its peer is let in.
    pub(super) trust: Trust,
    channels: [Channel; CHANNELS],
    /// How many of the channels, the first ones, are read here.
    read: usize,
    ahead: Ahead,
    /// How many bytes may be unacknowledged, as last reckoned.
    bound: u64,
    /// For when the connection was last asked for datagrams.
    asked: Mono,
    /// Why it is over, once it is.
    pub(super) lost: Option<CloseReason>,
    /// Whether it counts as a handshake of a peer that dialled.
    pub(super) counted: bool,
    /// The far side answered the dial: the bound of handshakes holds.
    pub(super) answered: bool,
    pub(super) paused: bool,
    /// On the list of those that are to be driven.
    pub(super) stirred: bool,
    /// On the list of those that may have something to report.
    pub(super) listed: bool,
    /// When it has had its time.
    pub(super) deadline: Option<Mono>,
    /// What the timers hold of it.
    pub(super) due: Option<Mono>,
    pub(super) expires: Option<UnixNanos>,
}

/// What a connection said.
pub(super) enum Said {
    /// The handshake is done.
    Connected,
    /// It is over.
    Lost(ConnectionError),
    /// The peer broke the rules of a link.
    Broke(&'static str),
}

impl Link {
    pub(super) fn new(
        stage: Stage,
        name: String,
        blame: Blame,
        trust: Trust,
        listener: Option<u64>,
        ahead: Ahead,
    ) -> Self {
        let channel = || Channel { own: None, front: Bytes::new(), ended: false, writable: true, report: Report::Off };
        Self {
            stage,
            dial: None,
            wire: None,
            listener,
            name,
            blame,
            trust,
            channels: std::array::from_fn(|_| channel()),
            read: 1,
            ahead,
            bound: 0,
            asked: Mono(0),
            lost: None,
            counted: false,
            answered: false,
            paused: false,
            stirred: false,
            listed: false,
            deadline: None,
            due: None,
            expires: None,
        }
    }

    /// What the peer showed in the handshake, once that is done.
    pub(super) fn chain(&self) -> Option<Vec<CertificateDer<'static>>> {
        let shown = self.wire.as_ref()?.conn.crypto_session().peer_identity()?;
        shown.downcast().ok().map(|chain| *chain)
    }

    pub(super) const fn is_opening(&self) -> bool {
        matches!(self.stage, Stage::Resolving | Stage::Shaking)
    }

    pub(super) const fn is_up(&self) -> bool {
        matches!(self.stage, Stage::Up)
    }

    /// Whether anything came from the far side.
    pub(super) fn was_answered(&self) -> bool {
        self.wire.as_ref().is_some_and(|wire| wire.conn.stats().udp_rx.datagrams > 0)
    }

    /// Whether all of the peer's streams were read to their ends.
    pub(super) fn is_whole(&self) -> bool {
        self.channels.iter().all(|channel| channel.ended)
    }

    /// All channels are read from here on.
    pub(super) const fn read_all(&mut self) {
        self.read = CHANNELS;
    }

    /// Whether something lies on a channel that is read. What lies on another
    /// waits: it neither keeps a poll busy nor hides the end.
    fn has_unread(&self) -> bool {
        self.channels.iter().take(self.read).any(|channel| !channel.front.is_empty())
    }

    /// Whether a read finds something, be it the end.
    pub(super) fn wants_read(&self) -> bool {
        !self.paused && (self.has_unread() || self.is_whole() || self.lost.is_some())
    }

    fn wants_write(&self) -> bool {
        self.lost.is_none() && self.channels.iter().any(|channel| channel.report.is_due() && channel.writable)
    }

    /// Whether the next poll has something to say of it at once.
    pub(super) fn is_hot(&self) -> bool {
        self.is_up() && (self.wants_read() || self.wants_write())
    }

    /// Whether it is to stay on the list of those that may have something.
    pub(super) fn wants_list(&self) -> bool {
        self.is_hot() || self.channels.iter().any(|channel| channel.report == Report::Said)
    }

    /// A poll comes: whether it reports `Writable`.
    pub(super) fn report_room(&mut self) -> bool {
        let gone = self.lost.is_some();
        let mut room = false;
        for channel in &mut self.channels {
            room |= channel.report.poll(channel.writable && !gone);
        }
        room
    }

    /// Reckons how much the channels take now.
    pub(super) fn reckon(&mut self, now: Mono) {
        let Some(wire) = &mut self.wire else { return };
        let stats = wire.conn.stats().path;
        let path = Path { congestion_window: stats.cwnd, rtt: stats.rtt, lost: stats.lost_packets };
        self.bound = self.ahead.bound(path, now);
        wire.conn.set_send_window(self.bound);
    }

    /// As of when the connection is asked for datagrams: from the first time on,
    /// up to the second.
    ///
    /// Its pacing reckons in whole bytes from one question to the next; asked
    /// every few microseconds about a small window and a long round trip, it
    /// would find less than one each time, and let nothing through. So what is
    /// asked within a thousandth of a round trip is asked as of the same time.
    /// And it lets out 2 ms' worth at most and forfeits what was due before. So
    /// what was waited for is asked as of when it was due, however late that is,
    /// up to a quarter of a round trip.
    pub(super) fn asked_at(&mut self, now: Mono) -> (Mono, Mono) {
        let Some(wire) = &self.wire else { return (now, now) };
        let rtt = wire.conn.rtt();
        let before = self.asked;
        if let Some(due) = self.due.filter(|due| *due < now) {
            let late = u64::try_from(now.since(due).min(rtt / 4).as_nanos()).unwrap_or(0);
            self.asked = now;
            return (Mono(now.0.saturating_sub(late)).max(before), now);
        }
        if now.since(before) > rtt / 1024 {
            self.asked = now;
        }
        (self.asked, self.asked)
    }

    /// Moves what the connection and its port's state machine have for each
    /// other, and answers what the connection says next.
    pub(super) fn hear(&mut self, endpoint: &mut Endpoint) -> Option<Said> {
        loop {
            let wire = self.wire.as_mut()?;
            while let Some(event) = wire.conn.poll_endpoint_events() {
                wire.drained |= event.is_drained();
                if let Some(answer) = endpoint.handle_event(wire.handle, event) {
                    wire.conn.handle_event(answer);
                }
            }
            match wire.conn.poll()? {
                Event::Connected => return Some(Said::Connected),
                Event::ConnectionLost { reason } => return Some(Said::Lost(reason)),
                Event::Stream(event) => {
                    if let Some(rule) = self.stream_event(event) {
                        return Some(Said::Broke(rule));
                    }
                }
                Event::HandshakeDataReady | Event::DatagramReceived | Event::DatagramsUnblocked => {}
            }
        }
    }

    /// Answers the rule that the peer broke, if it did.
    fn stream_event(&mut self, event: StreamEvent) -> Option<&'static str> {
        match event {
            StreamEvent::Opened { .. } => {
                while let Some(id) = self.wire.as_mut().and_then(|wire| wire.conn.streams().accept(Dir::Uni)) {
                    let Ok(at) = usize::try_from(id.index()) else { return Some("it opened too many streams") };
                    if at >= CHANNELS {
                        return Some("it opened more streams than a link has channels");
                    }
                    if let Err(rule) = self.pull(at) {
                        return Some(rule);
                    }
                }
                None
            }
            StreamEvent::Readable { id } => usize::try_from(id.index()).ok().and_then(|at| self.pull(at).err()),
            StreamEvent::Writable { id } => {
                let at = usize::try_from(id.index()).ok()?;
                if let Some(channel) = self.channels.get_mut(at) {
                    channel.writable = true;
                }
                None
            }
            StreamEvent::Stopped { .. } => Some("it stopped a stream in the middle"),
            StreamEvent::Finished { .. } | StreamEvent::Available { .. } => None,
        }
    }

    /// Fetches what stands at the front of a channel, if it is not there yet.
    fn pull(&mut self, at: usize) -> Result<(), &'static str> {
        let (Some(wire), Some(channel)) = (&mut self.wire, self.channels.get_mut(at)) else { return Ok(()) };
        if channel.ended || !channel.front.is_empty() {
            return Ok(());
        }
        let id = StreamId::new(!wire.conn.side(), Dir::Uni, at as u64);
        let mut stream = wire.conn.recv_stream(id);
        let mut chunks = match stream.read(true) {
            Ok(chunks) => chunks,
            Err(ReadableError::ClosedStream) => {
                channel.ended = true;
                return Ok(());
            }
            Err(ReadableError::IllegalOrderedRead) => return Err("its stream cannot be read in order"),
        };
        let read = chunks.next(usize::MAX);
        // What is to be sent for it goes with the next drive.
        let _ = chunks.finalize();
        match read {
            Ok(Some(chunk)) => channel.front = chunk.bytes,
            Ok(None) => channel.ended = true,
            Err(ReadError::Blocked) => {}
            Err(ReadError::Reset(_)) => return Err("it broke a stream off in the middle"),
        }
        Ok(())
    }

    /// Opens this side's streams. The first goes before the others, which take
    /// turns by the datagram, so that none waits for what another has queued.
    pub(super) fn open_channels(&mut self) -> Result<(), &'static str> {
        let Some(wire) = &mut self.wire else { return Ok(()) };
        for (at, channel) in self.channels.iter_mut().enumerate() {
            let Some(id) = wire.conn.streams().open(Dir::Uni) else { return Err("it lets too few streams be opened") };
            let _ = wire.conn.send_stream(id).set_priority(i32::from(at == 0));
            channel.own = Some(id);
        }
        Ok(())
    }

    /// Says on every channel that nothing follows.
    pub(super) fn finish_channels(&mut self) {
        let Some(wire) = &mut self.wire else { return };
        for id in self.channels.iter().filter_map(|channel| channel.own) {
            let _ = wire.conn.send_stream(id).finish();
        }
    }

    /// Throws away what the peer sends.
    pub(super) fn discard_input(&mut self) -> Result<(), &'static str> {
        for at in 0..CHANNELS {
            loop {
                self.pull(at)?;
                match self.channels.get_mut(at) {
                    Some(channel) if !channel.front.is_empty() => channel.front = Bytes::new(),
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// Whether the far side has acknowledged all that this side sent.
    pub(super) fn is_delivered(&mut self) -> bool {
        self.wire.as_mut().is_none_or(|wire| wire.conn.streams().send_streams() == 0)
    }

    /// Reads from a channel. The end of the link is found by whichever channel
    /// is read once none that is read has more.
    pub(super) fn read(&mut self, at: usize, buf: &mut [u8]) -> ReadOutcome {
        let mut filled = 0;
        while let Some(room) = buf.get_mut(filled..).filter(|room| !room.is_empty()) {
            let Some(channel) = self.channels.get_mut(at) else { return ReadOutcome::WouldBlock };
            if channel.front.is_empty() {
                break;
            }
            let n = room.len().min(channel.front.len());
            room[..n].copy_from_slice(&channel.front.split_to(n));
            filled += n;
            if let Err(rule) = self.pull(at) {
                self.lost.get_or_insert(broke(rule));
            }
        }
        if filled > 0 || buf.is_empty() {
            return ReadOutcome::Bytes(filled);
        }
        if self.has_unread() {
            return ReadOutcome::WouldBlock;
        }
        if self.is_whole() {
            return ReadOutcome::Closed(CloseReason::PeerClosed);
        }
        match &self.lost {
            Some(reason) => ReadOutcome::Closed(reason.clone()),
            None => ReadOutcome::WouldBlock,
        }
    }

    pub(super) fn write(&mut self, at: usize, bufs: &[IoSlice<'_>]) -> WriteOutcome {
        if let Some(reason) = &self.lost {
            return WriteOutcome::Closed(reason.clone());
        }
        let slices = bufs.get(..MAX_SLICES).unwrap_or(bufs);
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let (Some(wire), Some(channel)) = (&mut self.wire, self.channels.get_mut(at)) else {
            return WriteOutcome::WouldBlock;
        };
        if offered == 0 {
            channel.report.wrote(0, 0, true);
            return WriteOutcome::Bytes(0);
        }
        let first = at == 0;
        if first {
            wire.conn.set_send_window(self.bound.saturating_add(RESERVE));
        }
        let taken = match channel.own {
            Some(id) if channel.writable => send(&mut wire.conn, id, slices, offered),
            _ => 0,
        };
        if first {
            wire.conn.set_send_window(self.bound);
        }
        channel.writable &= taken == offered;
        channel.report.wrote(taken, offered, bufs.len() <= MAX_SLICES);
        if taken == 0 { WriteOutcome::WouldBlock } else { WriteOutcome::Bytes(taken) }
    }
}

/// What is said of a peer that broke a rule of links.
pub(super) fn broke(rule: &str) -> CloseReason {
    CloseReason::BrokenQuic { detail: rule.to_owned() }
}

/// Hands a stream as much as it takes, gathered into pieces.
fn send(conn: &mut Connection, id: StreamId, slices: &[IoSlice<'_>], offered: usize) -> usize {
    let mut taken = 0;
    let mut piece = Vec::with_capacity(offered.min(PIECE));
    let mut rest = offered;
    let mut stream = conn.send_stream(id);
    for slice in slices {
        let mut slice = &**slice;
        while !slice.is_empty() {
            let n = slice.len().min(PIECE - piece.len());
            let (now, later) = slice.split_at(n);
            piece.extend_from_slice(now);
            slice = later;
            rest -= n;
            if piece.len() < PIECE && rest > 0 {
                continue;
            }
            let whole = piece.len();
            let mut chunks = [Bytes::from(std::mem::replace(&mut piece, Vec::with_capacity(rest.min(PIECE))))];
            // Until it says that it is full, so that it also says when it is not.
            let mut written = 0;
            while written < whole {
                match stream.write_chunks(&mut chunks) {
                    Ok(some) => written += some.bytes,
                    Err(_) => return taken + written,
                }
            }
            taken += written;
        }
    }
    taken
}
