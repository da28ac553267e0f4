//! The machine's TCP, polled by mio (epoll or kqueue), with TLS by rustls; and
//! shared memory with programs of the same host, for addresses `shm:PATH`; and
//! QUIC over the machine's UDP, for addresses `quic:host:port`.
//!
//! One thread owns a [`TcpNetwork`]. Each connection is registered once, for
//! both directions, edge-triggered; what the system said is kept per
//! connection and offered to the caller until a read or write finds the end of
//! it, which makes it level-triggered in effect without one more system call.
//! Without TLS a read or a write is one system call and nothing else.

mod connect;
mod ending;
mod link;
mod listen;
mod quic;
mod resolve;
mod secure;
mod shared;
mod socket;
mod turn;
mod wake;

#[cfg(test)]
pub(crate) mod tests;

use std::io::{self, IoSlice};
use std::time::Duration;

use mio::{Events, Poll, Token};
use weft_base::sync::Arc;
use weft_base::{ByteCount, Clock, Mono};

use crate::address::parse;
use crate::network::{
    Accept, DialError, Known, LinkToken, ListenError, ListenerToken, Network, ReadOutcome, Ready, Security, Waker,
    WriteOutcome, take_end,
};
use crate::quic::{CHANNELS, Quic, QuicOptions, UdpPorts, target_of};
use crate::reason::CloseReason;
use crate::slab::Slab;
use crate::timers::Timers;
use crate::tls::InUse;
use link::{Link, Stage};
use listen::Listener;
use resolve::Resolver;
use wake::WakeState;

pub use resolve::{Resolve, SystemResolver};

/// Bounds of a [`TcpNetwork`].
#[derive(Clone, Debug)]
pub struct TcpOptions {
    /// The most connections at once, of all kinds: links, those being dialled,
    /// in a handshake, or still delivering after `close`.
    pub connections: usize,
    /// The most handshakes of peers that dialled at once. While so many go
    /// on, further peers wait in the system's queue.
    pub handshakes: usize,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// How long looking up and connecting may take together. A name with
    /// several addresses shares it among them.
    pub dial_timeout: Duration,
    /// How long a closed link may take to deliver what it had taken.
    pub linger: Duration,
    /// The system's buffer for sending, per connection; none leaves it to the
    /// system, which adapts it to the path.
    pub send_buffer: Option<ByteCount>,
    /// The same for receiving.
    pub receive_buffer: Option<ByteCount>,
    /// The size of each of the two rings of a link by shared memory that comes
    /// in here; rounded up to a power of two, from 4 KiB to 1 GiB. Memory is
    /// taken as the rings are used for the first time.
    pub shm_ring: ByteCount,
    /// Bytes that the system may hold of a connection and not have sent yet
    /// (`TCP_NOTSENT_LOWAT`): with so many it takes no more, so that what is
    /// urgent waits for no more than that; none for no bound but the buffer's.
    /// Where the system knows no such bound it is not kept.
    pub unsent: Option<ByteCount>,
    /// The most links by shared memory that come in here, at once.
    pub shm_links: usize,
    /// Bounds of links by QUIC.
    pub quic: QuicOptions,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            connections: 16_384,
            handshakes: 256,
            handshake_timeout: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(10),
            linger: Duration::from_secs(2),
            send_buffer: None,
            receive_buffer: None,
            shm_ring: crate::shm::DEFAULT_RING,
            unsent: Some(UNSENT),
            shm_links: 64,
            quic: QuicOptions::default(),
        }
    }
}

/// The default of [`TcpOptions::unsent`]: on loopback no slower than no bound.
pub const UNSENT: ByteCount = ByteCount::kib(64);

/// The machine's network.
///
/// `poll` sleeps in whole milliseconds, rounded up. It keeps no timer while no
/// connection is being made or ended and none has a certificate.
pub struct TcpNetwork {
    poll: Poll,
    events: Events,
    options: TcpOptions,
    clock: Arc<dyn Clock>,
    links: Slab<Link>,
    listeners: Slab<Listener>,
    /// Listeners that may have peers waiting.
    knocking: Vec<u64>,
    /// Links that have something to report or to do at the next poll, and
    /// some that had; `hot_count` of them really have.
    hot: Vec<u64>,
    hot_count: usize,
    /// Links by shared memory whose rings are to be looked at.
    watched: Vec<u64>,
    handshakes: usize,
    /// Links by shared memory that came in here.
    shm_links: usize,
    lingering: usize,
    timers: Timers,
    /// Until when nobody is taken in.
    door: Option<Mono>,
    /// Links and listeners by QUIC, with keys of their own.
    quic: Quic<UdpPorts>,
    resolver: Resolver,
    identities: InUse,
    wake: Arc<WakeState>,
    /// What was found outside `poll`.
    queued: Vec<Ready>,
    /// Where encrypted bytes come in, and those that nobody wants.
    scratch: Box<[u8]>,
}

/// The mark of a listener among mio's tokens, above every key of a link.
const LISTENER: usize = 1 << 63;
const WAKER: Token = Token(usize::MAX);
/// mio's events taken at once.
const EVENTS: usize = 1024;
const SCRATCH: usize = 64 * 1024;

impl TcpNetwork {
    /// A network without listeners or links, which looks names up with the
    /// system's resolver.
    ///
    /// # Errors
    /// The system gives no polling (out of descriptors).
    pub fn new(options: TcpOptions, clock: Arc<dyn Clock>) -> io::Result<Self> {
        Self::with_resolver(options, clock, Arc::new(SystemResolver))
    }

    /// The same, with names looked up elsewhere.
    ///
    /// # Errors
    /// The system gives no polling (out of descriptors).
    pub fn with_resolver(options: TcpOptions, clock: Arc<dyn Clock>, resolve: Arc<dyn Resolve>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let wake = WakeState::new(mio::Waker::new(poll.registry(), WAKER)?);
        let quic = quic::engine(&options, poll.registry().try_clone()?, clock.clone());
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            options,
            clock,
            links: Slab::new(),
            listeners: Slab::new(),
            knocking: Vec::new(),
            hot: Vec::new(),
            hot_count: 0,
            watched: Vec::new(),
            handshakes: 0,
            shm_links: 0,
            lingering: 0,
            timers: Timers::default(),
            door: None,
            quic,
            resolver: resolve::resolver(resolve, wake.clone()),
            identities: InUse::default(),
            wake,
            queued: Vec::new(),
            scratch: vec![0; SCRATCH].into_boxed_slice(),
        })
    }

    /// Calls `f` with the link and the scratch, and keeps the hot list right.
    /// Whatever changes what a link is ready for goes through here.
    #[inline]
    fn change<R>(&mut self, key: u64, f: impl FnOnce(&mut Link, &mut [u8]) -> R) -> Option<R> {
        let link = self.links.get_mut(key)?;
        let was = link.is_hot();
        let result = f(link, &mut self.scratch);
        if link.shared.as_mut().is_some_and(|shared| shared.must_watch()) {
            self.watched.push(key);
        }
        match (was, link.is_hot()) {
            (false, true) => self.heat(key),
            (true, false) => self.hot_count -= 1,
            _ => {}
        }
        Some(result)
    }

    /// Where the link stands, as the caller may know it.
    #[inline]
    fn standing(&self, key: u64) -> Standing {
        match self.links.get(key) {
            Some(link) if matches!(link.stage, Stage::Up) => Standing::Up,
            Some(link) if link.is_opening() && link.listener.is_none() => Standing::Opening,
            _ => Standing::Gone,
        }
    }

    /// Connections of all kinds and stages.
    fn count(&self) -> usize {
        self.links.len() + self.quic.len()
    }

    /// A link became hot.
    fn heat(&mut self, key: u64) {
        self.hot_count += 1;
        if let Some(link) = self.links.get_mut(key)
            && !link.listed
        {
            link.listed = true;
            self.hot.push(key);
        }
    }

    /// Drops a connection at once.
    fn discard(&mut self, key: u64) {
        let Some(mut link) = self.links.remove(key) else { return };
        self.hot_count -= usize::from(link.is_hot());
        self.handshakes -= usize::from(link.counted);
        self.shm_links -= usize::from(link.shared.is_some() && link.listener.is_some());
        self.lingering -= usize::from(matches!(link.stage, Stage::Flushing | Stage::Lingering));
        self.timers.set_deadline(key, &mut link.deadline, None);
        self.timers.set_expiry(key, &mut link.expires, None);
        if matches!(link.stage, Stage::Resolving { .. }) {
            self.resolver.forget(key);
        }
        if let Some(socket) = link.socket.as_mut() {
            // Closing the descriptor ends the registration as well.
            let _ = self.poll.registry().deregister(&mut socket.stream);
        }
        if let Some(shared) = link.shared.as_mut() {
            let _ = self.poll.registry().deregister(shared.socket());
        }
    }
}

/// Whether a link goes by QUIC.
#[inline]
const fn is_quic(link: LinkToken) -> bool {
    Quic::<UdpPorts>::is_ours(link.0)
}

/// What a caller may know of a link.
enum Standing {
    Opening,
    Up,
    Gone,
}

impl Network for TcpNetwork {
    fn listen(
        &mut self,
        addr: &str,
        security: &Security,
        accept: Accept,
    ) -> Result<(ListenerToken, String), ListenError> {
        if let Some(target) = target_of(addr) {
            return self.listen_by_quic(addr, target, security, accept);
        }
        match crate::shm::path_of(addr) {
            Some(path) => self.open_door(addr, path),
            None => self.open_listener(addr, security, accept),
        }
    }

    fn dial_known(
        &mut self,
        addr: &str,
        known: &Known<'_>,
        security: &Security,
        expect: Option<&str>,
    ) -> Result<LinkToken, DialError> {
        let target = target_of(addr);
        if let (None, Some(path)) = (target, crate::shm::path_of(addr)) {
            return self.open_shared(addr, path);
        }
        let host =
            parse(target.unwrap_or(addr)).map_err(|detail| DialError::Address { address: addr.to_owned(), detail })?;
        match target {
            Some(_) => self.dial_by_quic((addr, host), known, security, expect),
            None => self.open_link((addr, host), known, security, expect),
        }
    }

    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.turn(timeout, ready)
    }

    fn channels(&self, link: LinkToken) -> usize {
        if is_quic(link) { CHANNELS } else { 1 }
    }

    fn read_channels(&mut self, link: LinkToken) {
        if is_quic(link) {
            self.quic.read_channels(link);
        }
    }

    fn read_on(&mut self, link: LinkToken, channel: usize, buf: &mut [u8]) -> ReadOutcome {
        if is_quic(link) { self.quic.read(link, channel, buf) } else { self.read(link, buf) }
    }

    fn write_on(&mut self, link: LinkToken, channel: usize, bufs: &[IoSlice<'_>]) -> WriteOutcome {
        if is_quic(link) { self.quic.write(link, channel, bufs) } else { self.write(link, bufs) }
    }

    fn read(&mut self, link: LinkToken, buf: &mut [u8]) -> ReadOutcome {
        if is_quic(link) {
            return self.quic.read(link, 0, buf);
        }
        match self.standing(link.0) {
            Standing::Up => {}
            Standing::Opening => return ReadOutcome::WouldBlock,
            Standing::Gone => return ReadOutcome::Closed(take_end(&mut self.queued, link)),
        }
        let outcome = self.change(link.0, |link, scratch| link.read(buf, scratch));
        let outcome = outcome.unwrap_or(ReadOutcome::Closed(CloseReason::NoSuchLink));
        if let ReadOutcome::Closed(_) = &outcome {
            self.read_ended(link.0);
        }
        outcome
    }

    fn write(&mut self, link: LinkToken, bufs: &[IoSlice<'_>]) -> WriteOutcome {
        if is_quic(link) {
            return self.quic.write(link, 0, bufs);
        }
        match self.standing(link.0) {
            Standing::Up => {}
            Standing::Opening => return WriteOutcome::WouldBlock,
            Standing::Gone => return WriteOutcome::Closed(take_end(&mut self.queued, link)),
        }
        let outcome = self.change(link.0, |link, _| link.write(bufs));
        let outcome = outcome.unwrap_or(WriteOutcome::Closed(CloseReason::NoSuchLink));
        if let WriteOutcome::Closed(_) = &outcome {
            self.discard(link.0);
        }
        outcome
    }

    fn pause(&mut self, link: LinkToken) {
        if is_quic(link) {
            return self.quic.pause(link, true);
        }
        self.change(link.0, |link, _| link.paused = true);
    }

    fn resume(&mut self, link: LinkToken) {
        if is_quic(link) {
            return self.quic.pause(link, false);
        }
        self.change(link.0, |link, _| link.paused = false);
    }

    fn close(&mut self, link: LinkToken) {
        if is_quic(link) {
            self.resolver.forget(link.0);
            return self.quic.close(link);
        }
        self.queued.retain(|ready| ready.link() != Some(link));
        self.end(link.0);
    }

    fn close_listener(&mut self, listener: ListenerToken) {
        if Quic::<UdpPorts>::is_ours(listener.0) {
            return self.quic.close_listener(listener);
        }
        self.drop_listener(listener);
    }

    fn remote_address(&self, link: LinkToken) -> Option<String> {
        if is_quic(link) {
            return self.quic.remote_address(link);
        }
        let link = self.links.get(link.0).filter(|link| matches!(link.stage, Stage::Up))?;
        if let Some(shared) = &link.shared {
            return Some(shared.name.clone());
        }
        link.socket.as_ref()?.stream.peer_addr().ok().map(|address| address.to_string())
    }

    fn closing(&self) -> usize {
        self.lingering + self.quic.closing()
    }

    fn waker(&self) -> Waker {
        let wake = self.wake.clone();
        Waker::new(move || wake.wake())
    }
}
