//! Datagrams through memory: a port that loses, delays and reorders by a seed,
//! and a network over it that has nothing but QUIC.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use weft_base::sync::atomic::{AtomicBool, Ordering};
use weft_base::sync::{Arc, Mutex, MutexGuard};
use weft_base::{ByteCount, Clock, ManualClock, Mono, Random};

use super::{TICK, first_flight, options};
use crate::address::{Target, parse};
use crate::conformance::{Limits, Rig, START};
use crate::network::{
    Accept, DialError, Known, LinkToken, ListenError, ListenerToken, Network, ReadOutcome, Ready, Security, Waker,
    WriteOutcome,
};
use crate::quic::{Arrival, CHANNELS, DatagramPort, Outgoing, Ports, Quic, QuicOptions, Shared, target_of};

/// What the paths do to datagrams.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// How many of a thousand are lost.
    pub(super) lost: u64,
    /// How many of a thousand come twice.
    pub(super) doubled: u64,
    /// The least time that one takes.
    pub(super) delay: Duration,
    /// Up to how much longer it may take, so that they overtake each other.
    pub(super) jitter: Duration,
    /// What each direction carries; none for no bound.
    pub(super) line: Option<Line>,
}

/// A bandwidth, and the queue in front of it that drops what it has no room for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// Bits a second, of datagrams with their IP and UDP headers.
    pub(super) rate: u64,
    /// Bytes that wait at most.
    pub(super) queue: u64,
}

/// Bytes of the headers of IP and UDP.
const HEADERS: u64 = 28;

impl Line {
    fn takes(&self, bytes: u64) -> Duration {
        Duration::from_nanos(bytes * 8_000_000_000 / self.rate)
    }
}

struct Datagram {
    from: SocketAddr,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Inbox {
    come: VecDeque<Datagram>,
    refused: bool,
    /// What the next read says instead.
    failed: Option<io::ErrorKind>,
}

/// All ports and what is between them.
pub(super) struct World {
    clock: ManualClock,
    random: Random,
    pub(super) faults: Faults,
    /// Nothing arrives that is sent now.
    pub(super) cut: bool,
    /// A gateway on the way: who sends from the first is seen at the second.
    pub(super) moved: Option<(SocketAddr, SocketAddr)>,
    /// What was sent, all of it, if somebody wants to see it.
    pub(super) tapped: Option<Vec<(SocketAddr, SocketAddr, Vec<u8>)>>,
    under_way: BTreeMap<(Mono, u64), (SocketAddr, Datagram)>,
    bound: BTreeMap<SocketAddr, Inbox>,
    /// When the line is free again, towards the first port and back.
    free: [Mono; 2],
    next: u16,
    count: u64,
}

/// The world, as several hold it.
#[derive(Clone)]
pub(super) struct Shore(Arc<Mutex<World>>);

impl Shore {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(World {
            clock: ManualClock::at(START),
            random: Random::from_seed(seed),
            faults: Faults::default(),
            cut: false,
            moved: None,
            tapped: None,
            under_way: BTreeMap::new(),
            bound: BTreeMap::new(),
            free: [Mono(0); 2],
            next: 1,
            count: 0,
        })))
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }
}

impl World {
    pub(super) fn clock(&self) -> ManualClock {
        self.clock.clone()
    }

    pub(super) fn free(&mut self) -> SocketAddr {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, self.next));
        self.next += 1;
        at
    }

    pub(super) fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        if let Some(tapped) = &mut self.tapped {
            tapped.push((from, to, bytes.to_vec()));
        }
        let (from, to) = match self.moved {
            Some((own, seen)) if from == own => (seen, to),
            Some((own, seen)) if to == seen => (from, own),
            _ => (from, to),
        };
        let times = match (self.cut, self.random.below(1000)) {
            (true, _) => 0,
            (false, roll) if roll < self.faults.lost => 0,
            (false, roll) if roll < self.faults.lost + self.faults.doubled => 2,
            (false, _) => 1,
        };
        for _ in 0..times {
            let now = self.clock.now().mono;
            let mut left = now;
            if let Some(line) = self.faults.line {
                let free = &mut self.free[usize::from(to.port() == 1)];
                let start = now.max(*free);
                if start.since(now) > line.takes(line.queue) {
                    continue;
                }
                left = start + line.takes(bytes.len() as u64 + HEADERS);
                *free = left;
            }
            let jitter = u64::try_from(self.faults.jitter.as_nanos()).unwrap();
            let late = Duration::from_nanos(self.random.below(jitter.max(1)));
            let at = left + self.faults.delay + late;
            self.count += 1;
            self.under_way.insert((at, self.count), (to, Datagram { from, bytes: bytes.to_vec() }));
        }
    }

    /// The next read of a port fails.
    pub(super) fn fail(&mut self, at: SocketAddr, error: io::ErrorKind) {
        if let Some(inbox) = self.bound.get_mut(&at) {
            inbox.failed = Some(error);
        }
    }

    /// Delivers what is due.
    fn deliver(&mut self) {
        let now = self.clock.now().mono;
        while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= now) {
            let (to, datagram) = entry.remove();
            let from = datagram.from;
            match self.bound.get_mut(&to) {
                Some(inbox) => inbox.come.push_back(datagram),
                None => {
                    if let Some(sender) = self.bound.get_mut(&from) {
                        sender.refused = true;
                    }
                }
            }
        }
    }
}

pub(super) struct MemoryPort {
    shore: Shore,
    at: SocketAddr,
}

impl Drop for MemoryPort {
    fn drop(&mut self) {
        self.shore.world().bound.remove(&self.at);
    }
}

impl DatagramPort for MemoryPort {
    fn local(&self) -> io::Result<SocketAddr> {
        Ok(self.at)
    }

    fn send(&mut self, out: &Outgoing<'_>) -> io::Result<()> {
        self.shore.world().send(self.at, out.to, out.bytes);
        Ok(())
    }

    fn receive(&mut self, buf: &mut [u8]) -> io::Result<Arrival> {
        let mut world = self.shore.world();
        world.deliver();
        let Some(inbox) = world.bound.get_mut(&self.at) else { return Err(io::ErrorKind::NotConnected.into()) };
        if std::mem::take(&mut inbox.refused) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        if let Some(error) = inbox.failed.take() {
            return Err(error.into());
        }
        let Some(datagram) = inbox.come.pop_front() else { return Err(io::ErrorKind::WouldBlock.into()) };
        let len = datagram.bytes.len();
        buf[..len].copy_from_slice(&datagram.bytes);
        Ok(Arrival { from: datagram.from, to: None, ecn: 0, len, stride: len })
    }
}

pub(super) struct MemoryPorts {
    shore: Shore,
    /// The keys of the ports, which are all asked at each turn.
    sites: BTreeSet<u64>,
    keys: BTreeMap<SocketAddr, u64>,
}

impl MemoryPorts {
    fn make(&mut self, at: Option<SocketAddr>, site: u64) -> io::Result<MemoryPort> {
        let mut world = self.shore.world();
        let at = match at {
            Some(at) if at.port() != 0 => at,
            _ => world.free(),
        };
        if world.bound.contains_key(&at) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        world.bound.insert(at, Inbox::default());
        drop(world);
        self.sites.insert(site);
        self.keys.insert(at, site);
        Ok(MemoryPort { shore: self.shore.clone(), at })
    }
}

impl Ports for MemoryPorts {
    type Port = MemoryPort;

    fn bind(&mut self, at: SocketAddr, site: u64) -> io::Result<MemoryPort> {
        self.make(Some(at), site)
    }

    fn towards(&mut self, _to: SocketAddr, site: u64) -> io::Result<MemoryPort> {
        self.make(None, site)
    }

    fn gone(&mut self, port: MemoryPort) {
        if let Some(site) = self.keys.remove(&port.at) {
            self.sites.remove(&site);
        }
    }
}

/// A network that has nothing but QUIC over memory.
pub(super) struct MemoryNetwork {
    pub(super) quic: Quic<MemoryPorts>,
    woken: Arc<AtomicBool>,
}

impl MemoryNetwork {
    pub(super) fn new(shore: &Shore, quic: QuicOptions, limits: Limits, unsent: Option<ByteCount>) -> Self {
        let shared = Shared {
            connections: limits.connections,
            handshakes: limits.handshakes,
            handshake_timeout: limits.handshake_timeout,
            dial_timeout: limits.dial_timeout,
            linger: limits.linger,
            unsent,
        };
        let ports = MemoryPorts { shore: shore.clone(), sites: BTreeSet::new(), keys: BTreeMap::new() };
        let clock = Arc::new(shore.world().clock());
        Self { quic: Quic::new(ports, quic, shared, clock), woken: Arc::new(AtomicBool::new(false)) }
    }
}

/// The address in what the rig gives; anything else is none.
fn parsed(addr: &str) -> Result<SocketAddr, String> {
    match parse(target_of(addr).unwrap_or(addr))? {
        Target::Address(one) => Ok(one),
        Target::Name(..) => Err("names are not looked up here".to_owned()),
    }
}

impl Network for MemoryNetwork {
    fn listen(
        &mut self,
        addr: &str,
        security: &Security,
        accept: Accept,
    ) -> Result<(ListenerToken, String), ListenError> {
        let address = || addr.to_owned();
        let at = parsed(addr).map_err(|detail| ListenError::Address { address: address(), detail })?;
        let Security::Tls(identity) = security else { return Err(ListenError::QuicNeedsTls { address: address() }) };
        self.quic.listen(addr, at, identity, accept)
    }

    fn dial_known(
        &mut self,
        addr: &str,
        _: &Known<'_>,
        security: &Security,
        expect: Option<&str>,
    ) -> Result<LinkToken, DialError> {
        let address = || addr.to_owned();
        let to = parsed(addr).map_err(|detail| DialError::Address { address: address(), detail })?;
        let Security::Tls(identity) = security else { return Err(DialError::QuicNeedsTls { address: address() }) };
        let link = self.quic.dial(addr, &to.ip().to_string(), 0, identity, expect)?;
        self.quic.resolved(link, Ok(vec![to]));
        Ok(link)
    }

    fn poll(&mut self, _timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        self.woken.swap(false, Ordering::AcqRel);
        for site in self.quic.ports.sites.clone() {
            self.quic.signalled(site, true, true);
        }
        self.quic.turn(ready);
        Ok(())
    }

    fn read(&mut self, link: LinkToken, buf: &mut [u8]) -> ReadOutcome {
        self.quic.read(link, 0, buf)
    }

    fn write(&mut self, link: LinkToken, bufs: &[IoSlice<'_>]) -> WriteOutcome {
        self.quic.write(link, 0, bufs)
    }

    fn channels(&self, _link: LinkToken) -> usize {
        CHANNELS
    }

    fn read_channels(&mut self, link: LinkToken) {
        self.quic.read_channels(link);
    }

    fn read_on(&mut self, link: LinkToken, channel: usize, buf: &mut [u8]) -> ReadOutcome {
        self.quic.read(link, channel, buf)
    }

    fn write_on(&mut self, link: LinkToken, channel: usize, bufs: &[IoSlice<'_>]) -> WriteOutcome {
        self.quic.write(link, channel, bufs)
    }

    fn pause(&mut self, link: LinkToken) {
        self.quic.pause(link, true);
    }

    fn resume(&mut self, link: LinkToken) {
        self.quic.pause(link, false);
    }

    fn close(&mut self, link: LinkToken) {
        self.quic.close(link);
    }

    fn close_listener(&mut self, listener: ListenerToken) {
        self.quic.close_listener(listener);
    }

    fn remote_address(&self, link: LinkToken) -> Option<String> {
        self.quic.remote_address(link)
    }

    fn closing(&self) -> usize {
        self.quic.closing()
    }

    fn waker(&self) -> Waker {
        let woken = self.woken.clone();
        Waker::new(move || woken.store(true, Ordering::Release))
    }
}

/// The rig over memory.
pub(super) struct InMemory {
    pub(super) shore: Shore,
    /// After how long without a word links end, if they are to.
    pub(super) idle: Option<Duration>,
    /// See [`QuicOptions::retry_from`].
    pub(super) retry_from: Option<Option<usize>>,
    /// See [`Shared::unsent`].
    pub(super) unsent: Option<ByteCount>,
    /// See [`QuicOptions::window`].
    pub(super) window: Option<ByteCount>,
    /// How far each turn moves the clock.
    pub(super) tick: Duration,
}

impl InMemory {
    pub(super) fn new() -> Self {
        Self { shore: Shore::new(1), idle: None, retry_from: None, unsent: None, window: None, tick: TICK }
    }

    /// With paths that do this to datagrams.
    pub(super) fn faulty(seed: u64, faults: Faults) -> Self {
        let shore = Shore::new(seed);
        shore.world().faults = faults;
        Self { shore, ..Self::new() }
    }
}

impl Rig for InMemory {
    type Net = MemoryNetwork;

    fn clock(&self) -> ManualClock {
        self.shore.world().clock()
    }

    fn secure(&self) -> bool {
        true
    }

    fn knows_plain(&self) -> bool {
        false
    }

    fn endpoint(&mut self, _name: &str, limits: Limits) -> MemoryNetwork {
        let mut quic = options(&limits);
        if let Some(idle) = self.idle {
            (quic.idle, quic.keep_alive) = (idle, idle / 3);
        }
        quic.window = self.window.unwrap_or(quic.window);
        quic.retry_from = self.retry_from.unwrap_or(quic.retry_from);
        MemoryNetwork::new(&self.shore, quic, limits, self.unsent)
    }

    fn address(&self, _name: &str) -> String {
        "quic:127.0.0.1:0".to_owned()
    }

    fn nobody(&mut self, _name: &str) -> String {
        format!("quic:{}", self.shore.world().free())
    }

    fn host(&self, _name: &str) -> String {
        "127.0.0.1".to_owned()
    }

    fn silent(&mut self, address: &str) -> Box<dyn Any> {
        let to = parsed(address).unwrap();
        let flight = first_flight(&self.clock(), to);
        let mut world = self.shore.world();
        let from = world.free();
        world.bound.insert(from, Inbox::default());
        flight.iter().for_each(|datagram| world.send(from, to, datagram));
        Box::new(())
    }

    fn wake_elsewhere(&self, waker: Waker) -> Box<dyn FnOnce()> {
        waker.wake();
        Box::new(|| ())
    }

    fn step(&mut self) {
        self.shore.world().clock.advance(self.tick);
    }
}
