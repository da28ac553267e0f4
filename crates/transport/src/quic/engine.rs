//! The engine: all links and listeners by QUIC of one network, beside those of
//! other kinds. What [`crate::Network`] asks of links is here.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::time::Duration;

use quinn_proto::Endpoint;
use weft_base::sync::Arc;
use weft_base::{ByteCount, Clock, Instants, Now, UnixNanos};

use super::QuicOptions;
use super::ahead::Ahead;
use super::door::Door;
use super::link::Link;
use super::port::{DatagramPort, Outgoing, Ports};
use crate::network::{LinkToken, ReadOutcome, Ready, WriteOutcome, take_end};
use crate::reason::CloseReason;
use crate::slab::Slab;
use crate::timers::Timers;
use crate::tls::InUse;

/// The mark of QUIC's keys among a network's tokens: a slab leaves it free.
pub(crate) const MARK: u64 = 1 << 62;

/// Bounds that links by QUIC share with a network's other kinds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared {
    /// See [`crate::TcpOptions::connections`].
    pub(crate) connections: usize,
    /// Of QUIC alone, as many as of TCP.
    pub(crate) handshakes: usize,
    pub(crate) handshake_timeout: Duration,
    pub(crate) dial_timeout: Duration,
    pub(crate) linger: Duration,
    /// See [`crate::TcpOptions::unsent`].
    pub(crate) unsent: Option<ByteCount>,
}

/// A port and the state machine that its datagrams go to.
pub(super) struct Site<P> {
    pub(super) port: P,
    pub(super) endpoint: Endpoint,
    /// The links whose datagrams go through it, by the state machine's number.
    pub(super) links: BTreeMap<usize, u64>,
    /// What lets peers in, at a listener's.
    pub(super) door: Option<Door>,
    /// On the list of those that may have something to receive.
    pub(super) heard: bool,
    /// What the port did not take.
    pub(super) held: Option<Held>,
    /// The port said that nobody listens at the far side.
    pub(super) refused: bool,
}

/// Datagrams that wait for room in the port.
pub(super) struct Held {
    pub(super) meta: quinn_proto::Transmit,
    pub(super) bytes: Vec<u8>,
}

impl<P: DatagramPort> Site<P> {
    pub(super) fn new(port: P, endpoint: Endpoint, door: Option<Door>) -> Self {
        let links = BTreeMap::new();
        // What came before it was registered is not reported.
        Self { port, endpoint, links, door, heard: true, held: None, refused: false }
    }

    /// Sends, or keeps what the port does not take now.
    pub(super) fn send(&mut self, meta: quinn_proto::Transmit, bytes: &[u8]) {
        let bytes = bytes.get(..meta.size).unwrap_or(bytes);
        let out = Outgoing {
            to: meta.destination,
            from: meta.src_ip,
            ecn: meta.ecn.map_or(0, |ecn| ecn as u8),
            bytes,
            segment: meta.segment_size,
        };
        match self.port.send(&out) {
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock && self.held.is_none() => {
                self.held = Some(Held { meta, bytes: bytes.to_vec() });
            }
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => self.refused = true,
            // Lost, as datagrams are.
            Ok(()) | Err(_) => {}
        }
    }
}

/// All links and listeners by QUIC of one network.
pub(crate) struct Quic<P: Ports> {
    pub(super) ports: P,
    pub(super) options: QuicOptions,
    pub(super) shared: Shared,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) instants: Instants,
    pub(super) sites: Slab<Site<P::Port>>,
    pub(super) links: Slab<Link>,
    /// Links of other kinds that count towards the same limit.
    pub(crate) others: usize,
    pub(super) handshakes: usize,
    pub(super) closing: usize,
    /// Sites that may have something to receive.
    pub(super) heard: Vec<u64>,
    /// Links that have something to send, or may have something to say.
    pub(super) stirred: Vec<u64>,
    /// Links that may have something to report.
    pub(super) listed: Vec<u64>,
    pub(super) timers: Timers,
    pub(super) identities: InUse,
    /// What was found outside a turn.
    pub(super) queued: Vec<Ready>,
    /// Where datagrams come in.
    pub(super) scratch: Box<[u8]>,
    /// Where datagrams are made.
    pub(super) out: Vec<u8>,
}

const SCRATCH: usize = 64 << 10;

impl<P: Ports> Quic<P> {
    pub(crate) fn new(ports: P, options: QuicOptions, shared: Shared, clock: Arc<dyn Clock>) -> Self {
        Self {
            ports,
            options,
            shared,
            clock,
            instants: Instants::new(),
            sites: Slab::new(),
            links: Slab::new(),
            others: 0,
            handshakes: 0,
            closing: 0,
            heard: Vec::new(),
            stirred: Vec::new(),
            listed: Vec::new(),
            timers: Timers::default(),
            identities: InUse::default(),
            queued: Vec::new(),
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            out: Vec::new(),
        }
    }

    /// Whether that is a token, or a key of a port, of QUIC's.
    #[inline]
    pub(crate) const fn is_ours(token: u64) -> bool {
        token & MARK != 0
    }

    /// How many links there are, of whatever stage.
    pub(crate) const fn len(&self) -> usize {
        self.links.len()
    }

    /// What bounds how much a new link takes ahead of its path.
    pub(super) fn ahead(&self) -> Ahead {
        let most = self.options.window.0.saturating_mul(2);
        Ahead::new(self.shared.unsent.map(|unsent| unsent.0), most)
    }

    /// How many there may be.
    pub(super) fn limit(&self) -> usize {
        self.options.links.min(self.shared.connections.saturating_sub(self.others))
    }

    /// How many were closed and still deliver.
    pub(crate) const fn closing(&self) -> usize {
        self.closing
    }

    /// Whether nothing is here, so that a turn need not look.
    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.sites.len() == 0 && self.links.len() == 0 && self.queued.is_empty()
    }

    fn known(&mut self, token: LinkToken) -> Result<&mut Link, Unknown> {
        match self.links.get_mut(token.0 & !MARK) {
            Some(link) if link.is_up() => Ok(link),
            Some(link) if link.is_opening() && link.listener.is_none() => Err(Unknown::Opening),
            _ => Err(Unknown::Gone),
        }
    }

    /// See [`crate::Network::read_on`].
    pub(crate) fn read(&mut self, token: LinkToken, channel: usize, buf: &mut [u8]) -> ReadOutcome {
        let outcome = match self.known(token) {
            Ok(link) => link.read(channel, buf),
            Err(Unknown::Opening) => return ReadOutcome::WouldBlock,
            Err(Unknown::Gone) => return ReadOutcome::Closed(take_end(&mut self.queued, token)),
        };
        match outcome {
            // The far side may have room again.
            ReadOutcome::Bytes(_) => self.stir(token.0 & !MARK),
            ReadOutcome::WouldBlock => {}
            ReadOutcome::Closed(_) => self.read_ended(token.0 & !MARK),
        }
        outcome
    }

    /// See [`crate::Network::read_channels`].
    pub(crate) fn read_channels(&mut self, token: LinkToken) {
        if let Some(link) = self.links.get_mut(token.0 & !MARK) {
            link.read_all();
            self.list(token.0 & !MARK);
        }
    }

    /// See [`crate::Network::write_on`].
    pub(crate) fn write(&mut self, token: LinkToken, channel: usize, bufs: &[IoSlice<'_>]) -> WriteOutcome {
        let outcome = match self.known(token) {
            Ok(link) => link.write(channel, bufs),
            Err(Unknown::Opening) => return WriteOutcome::WouldBlock,
            Err(Unknown::Gone) => return WriteOutcome::Closed(take_end(&mut self.queued, token)),
        };
        match outcome {
            WriteOutcome::Closed(_) => self.read_ended(token.0 & !MARK),
            WriteOutcome::Bytes(_) => {
                self.stir(token.0 & !MARK);
                self.list(token.0 & !MARK);
            }
            // Nothing new is to be sent: what it waits for comes by itself.
            WriteOutcome::WouldBlock => self.list(token.0 & !MARK),
        }
        outcome
    }

    /// See [`crate::Network::pause`] and [`crate::Network::resume`].
    pub(crate) fn pause(&mut self, token: LinkToken, paused: bool) {
        if let Some(link) = self.links.get_mut(token.0 & !MARK) {
            link.paused = paused;
            self.list(token.0 & !MARK);
        }
    }

    /// The far side's address, while the link is up.
    pub(crate) fn remote_address(&self, token: LinkToken) -> Option<String> {
        let link = self.links.get(token.0 & !MARK).filter(|link| link.is_up())?;
        Some(format!("{}{}", super::PREFIX, link.wire.as_ref()?.conn.remote_address()))
    }

    /// Puts a link on the list of those to be driven.
    pub(super) fn stir(&mut self, key: u64) {
        if let Some(link) = self.links.get_mut(key)
            && !link.stirred
        {
            link.stirred = true;
            self.stirred.push(key);
        }
    }

    /// Puts a link on the list of those that may have something to report.
    pub(super) fn list(&mut self, key: u64) {
        if let Some(link) = self.links.get_mut(key)
            && !link.listed
        {
            link.listed = true;
            self.listed.push(key);
        }
    }

    /// Sets when a link has had its time, or that it has none.
    pub(super) fn set_deadline(&mut self, key: u64, after: Option<Duration>, now: Now) {
        if let Some(link) = self.links.get_mut(key) {
            link.deadline = after.map(|after| now.mono + after);
            self.time(key);
        }
    }

    /// Brings the timers up to what a link waits for.
    pub(super) fn time(&mut self, key: u64) {
        let Some(link) = self.links.get_mut(key) else { return };
        let machine = link.wire.as_mut().and_then(|wire| wire.conn.poll_timeout());
        let due = machine.map(|at| self.instants.mono(at)).into_iter().chain(link.deadline).min();
        self.timers.set_deadline(key, &mut link.due, due);
    }

    /// Sets when a link's certificate ends.
    pub(super) fn set_expiry(&mut self, key: u64, at: Option<UnixNanos>) {
        if let Some(link) = self.links.get_mut(key) {
            self.timers.set_expiry(key, &mut link.expires, at);
        }
    }

    /// How long nothing is due; none when there is nothing at all.
    pub(crate) fn until_next(&self) -> Option<Duration> {
        self.timers.until_next(None, &*self.clock)
    }

    /// Whether the next turn has something to say or do at once.
    pub(crate) fn is_hot(&self) -> bool {
        !self.queued.is_empty()
            || self.identities.is_behind()
            || !self.heard.is_empty()
            || !self.stirred.is_empty()
            || self.listed.iter().any(|key| self.links.get(*key).is_some_and(Link::is_hot))
    }

    /// The reason that a verifier or the peer gave, or what the error means.
    pub(super) fn reason_of(&self, key: u64, error: &quinn_proto::ConnectionError) -> CloseReason {
        let Some(link) = self.links.get(key) else { return CloseReason::NoSuchLink };
        super::reason::reason_of(error, link.blame.take(), &link.name, link.is_whole())
    }
}

/// Why a link cannot be read or written.
enum Unknown {
    Opening,
    Gone,
}

impl<P: Ports> Drop for Quic<P> {
    /// Tells the far sides, as a system does that ends a process's sockets.
    fn drop(&mut self) {
        for key in self.links.keys() {
            self.discard(key, super::reason::GONE);
        }
    }
}
