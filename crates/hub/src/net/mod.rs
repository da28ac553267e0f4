//! The net stage: sockets in, sockets out.
//!
//! Reads into arena buffers, takes frames apart without copying them, hands
//! publishes and forwarded blocks to the route stage and everything else to
//! the append stage or the conductor; writes what they hand back, each block
//! from where it lies.
//!
//! Owner thread: one. Bound per turn: [`READS`] reads a connection, then its
//! inbox. When the next stage's ring is full it stops reading: the peers'
//! windows close, nothing is lost. When the arena is used up it reads on into a
//! small reserve, refuses blocks and takes control frames, because credit and
//! acknowledgements are what sets memory free. It always empties its own inbox,
//! so no other stage can wait for it for ever. It never blocks but in `on_idle`.

mod admin;
mod alive;
mod apart;
mod audit;
mod backlog;
mod bundles;
mod connection;
mod consumers;
mod crossing;
mod drain;
mod egress;
mod ending;
mod flush;
mod frames;
mod handshake;
mod inspect;
pub(crate) mod link;
pub(crate) mod login;
mod look;
mod outbound;
mod outlets;
mod parallel;
pub(crate) mod published;
mod quota;
mod read;
mod rights;
mod subscriber;
mod sweep;
pub(crate) mod tunnel;
mod unpack;
mod window;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use weft_base::{Lane, Mono, Now};
use weft_ring::arena::Arena;
use weft_ring::mpsc;
use weft_ring::stage::{Backlog, Stage, StageWaker};
use weft_transport::{LinkToken, ListenerToken, Network, Ready};

pub(crate) use self::connection::{ClientFacts, Connection, Role};
use self::drain::Drain;
pub(crate) use self::egress::{BATCH, ROOM};
use self::egress::{Egress, Press};
use self::inspect::Inspecting;
pub(crate) use self::outlets::Outlets;
use self::published::Publishing;
use self::rights::Governing;
use self::tunnel::Sockets;
use self::window::Growth;
use crate::Identity;
use crate::agree::Opening;
use crate::audit::Auditor;
use crate::counters::{Counters, Stall, add};
use crate::govern::Quotas;
use crate::lifecycle::Lifecycle;
use crate::load::Load;
use crate::messages::{SessionId, ToNet};
use crate::meters::Leaving;
use crate::options::HubOptions;
use crate::outbox::backlog;
use crate::profile::Profiling;
use crate::route::table::RouteTable;

/// Turns of a busy thread after which the network is asked what is new.
const UNPOLLED: u32 = 4;
/// Messages taken from the inbox in one turn.
const INBOX: usize = 4_096;

/// The stage.
pub(crate) struct NetStage {
    network: Sockets,
    arena: Arena,
    reserve: Arena,
    options: Arc<HubOptions>,
    identity: Arc<Identity>,
    /// What is said of this hub on each link.
    opening: Opening,
    counters: Arc<Counters>,
    lifecycle: Arc<Lifecycle>,
    inbox: mpsc::Consumer<ToNet>,
    waker: StageWaker,
    profiling: Profiling,
    /// Which hubs keep which streams.
    snapshot: Arc<ArcSwap<RouteTable>>,
    /// Wakes the stage that holds publishes back, when a gate opens.
    gate_waker: StageWaker,
    load: Arc<Load>,
    out: Outlets,
    connections: Vec<Option<Connection>>,
    generations: Vec<u32>,
    vacant: Vec<u32>,
    by_link: HashMap<LinkToken, SessionId>,
    listeners: Vec<(ListenerToken, bool)>,
    ready: Vec<Ready>,
    /// Connections with something to read, left over from earlier turns.
    reading: VecDeque<SessionId>,
    /// Those of `dirty` that have something urgent to write: first.
    urgent: VecDeque<SessionId>,
    /// Connections with something to write.
    dirty: VecDeque<SessionId>,
    /// Links of several connections that this hub has dialled.
    numbered: u64,
    /// What the windows of links may still grow by.
    growth: Growth,
    /// What packs and unpacks blocks of links.
    press: Press,
    /// How old events are as they leave.
    leaving: Leaving,
    next_sweep: Mono,
    /// Whether a connection may be no session yet, or no more, for which sweeps are due.
    sweeping: bool,
    /// Whether a connection may keep a buffer that it has not used for a while.
    keeping: bool,
    next_release: Mono,
    drain: Drain,
    /// Where it is asked who may do what.
    governing: Option<Governing>,
    /// What is known of topics whose payloads are checked.
    inspecting: Option<Inspecting>,
    /// What sessions publish, and who asks for it.
    publishing: Publishing,
    /// When links are told next what was sent over them, and whether any is to be.
    next_marks: Mono,
    marking: bool,
    /// Most of the arena is lent: nobody keeps more of it than must be.
    tight: bool,
    /// What `on_idle` found waits in `ready`.
    polled: bool,
    /// Turns since the network was asked.
    unpolled: u32,
    now: Now,
}

/// What the net stage is made of.
pub(crate) struct NetParts {
    pub(crate) network: Box<dyn Network>,
    pub(crate) listeners: Vec<(ListenerToken, bool)>,
    pub(crate) arena: Arena,
    /// A few buffers for control frames when the arena is used up: credit and
    /// acknowledgements are what gives its memory back.
    pub(crate) reserve: Arena,
    pub(crate) options: Arc<HubOptions>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) inbox: mpsc::Consumer<ToNet>,
    pub(crate) waker: StageWaker,
    pub(crate) profiling: Profiling,
    pub(crate) snapshot: Arc<ArcSwap<RouteTable>>,
    /// Wakes the stage that holds publishes back, when a gate opens.
    pub(crate) gate_waker: StageWaker,
    pub(crate) load: Arc<Load>,
    pub(crate) out: Outlets,
    /// What the answers of a session are found by cannot be foreseen.
    pub(crate) seed: u64,
    pub(crate) quotas: Arc<ArcSwap<Quotas>>,
    /// By what payloads are checked.
    pub(crate) inspection: Option<crate::inspect::Shared>,
}

impl NetStage {
    pub(crate) fn new(parts: NetParts) -> Self {
        let (arena_bytes, topics) = (parts.options.limits.arena.0, parts.options.limits.topics);
        Self {
            network: Sockets::new(parts.network, &parts.identity),
            numbered: 0,
            snapshot: parts.snapshot,
            growth: Growth::new(arena_bytes / 4),
            press: Press::new(),
            leaving: parts.counters.measured(&parts.options.see, Leaving::new),
            arena: parts.arena,
            reserve: parts.reserve,
            opening: Opening::of(&parts.options, parts.identity.life),
            options: parts.options,
            identity: parts.identity,
            counters: parts.counters,
            lifecycle: parts.lifecycle,
            inbox: parts.inbox,
            waker: parts.waker,
            profiling: parts.profiling,
            gate_waker: parts.gate_waker,
            load: parts.load,
            governing: parts.out.judge.is_some().then(|| Governing::new(parts.seed, parts.quotas)),
            publishing: Publishing::new(parts.seed, topics),
            inspecting: parts
                .inspection
                .filter(|_| parts.out.inspect.is_some())
                .map(|shared| Inspecting::new(shared, parts.seed, arena_bytes)),
            out: parts.out,
            connections: Vec::new(),
            generations: Vec::new(),
            vacant: Vec::new(),
            by_link: HashMap::new(),
            listeners: parts.listeners,
            ready: Vec::new(),
            reading: VecDeque::new(),
            urgent: VecDeque::new(),
            dirty: VecDeque::new(),
            next_sweep: Mono(0),
            sweeping: false,
            keeping: false,
            next_release: Mono(0),
            drain: Drain::default(),
            next_marks: Mono(0),
            marking: false,
            tight: false,
            polled: false,
            unpolled: 0,
            now: Now::default(),
        }
    }

    /// Gives a connection a place in the table.
    fn admit(&mut self, link: LinkToken, role: Role) -> SessionId {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.generations.push(0);
            (self.connections.len() - 1) as u32
        });
        self.generations[slot as usize] = self.generations[slot as usize].wrapping_add(1);
        let id = SessionId::new(slot, self.generations[slot as usize]);
        self.connections[slot as usize] = Some(Connection {
            id,
            link,
            role,
            name: String::new(),
            rights: None,
            principal: None,
            login: None,
            login_asked: false,
            client: ClientFacts::default(),
            held: false,
            tunnelled: false,
            credit: None,
            deadline: self.now.mono + self.options.timers.hello,
            received: None,
            unpacked: None,
            packing: None,
            apart: None,
            part: None,
            on_reserve: false,
            egress: Egress::new(self.limits()),
            dirty: false,
            readable: false,
            blocked: false,
            closing: false,
            active: false,
            stall: (Stall::default(), Lane::DEFAULT),
            last_shard: None,
            unanswered: 0,
            inspected: inspect::Standing::default(),
            published: published::Published::default(),
            parts: HashMap::new(),
        });
        self.by_link.insert(link, id);
        self.sweeping = true;
        id
    }

    fn connection(&mut self, id: SessionId) -> Option<&mut Connection> {
        self.connections.get_mut(id.slot())?.as_mut().filter(|c| c.id == id)
    }

    /// Puts a connection on the list of those to be flushed.
    fn mark_dirty(&mut self, id: SessionId) {
        if let Some(connection) = self.connections.get_mut(id.slot()).and_then(Option::as_mut)
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push_back(id);
        }
    }

    fn on_ready(&mut self, ready: Ready) {
        match ready {
            Ready::Accepted { link, listener, peer } => {
                let hubs = self.listeners.iter().any(|(token, hubs)| *token == listener && *hubs);
                if self.by_link.len() >= self.options.limits.sessions || self.lifecycle.is_draining() {
                    add(&self.counters.failed_handshakes, 1);
                    self.network.close(link);
                } else {
                    self.admit(link, Role::AwaitHello { hubs, peer });
                }
            }
            Ready::Connected { link, peer } => self.on_connected(link, peer),
            Ready::Readable(link) => {
                if let Some(id) = self.by_link.get(&link).copied()
                    && let Some(connection) = self.connection(id)
                    && !connection.readable
                {
                    connection.readable = true;
                    self.reading.push_back(id);
                }
            }
            Ready::Writable(link) => {
                if let Some(id) = self.by_link.get(&link).copied() {
                    if let Some(connection) = self.connection(id) {
                        connection.blocked = false;
                    }
                    self.mark_dirty(id);
                }
            }
            Ready::Closed { link, reason } => {
                match (self.by_link.get(&link).copied(), self.network.bundles.ended(link, &reason)) {
                    (Some(_), Some((_, true))) | (None, _) => {}
                    (Some(id), _) => self.lose(id, &reason),
                }
            }
            Ready::Refused { from, reason, .. } => {
                add(&self.counters.failed_handshakes, 1);
                tracing::warn!(code = "handshake_failed", peer = from, reason = %reason, "a connection was refused");
            }
        }
    }
}

impl Stage for NetStage {
    fn name(&self) -> &'static str {
        "net"
    }

    fn do_work(&mut self, now: Now) -> usize {
        self.now = now;
        self.counters.turn(now);
        // Before an idle thread sleeps it polls in any case: polling here as
        // well would double the system calls of sparse traffic.
        self.unpolled += 1;
        if !self.polled && (!self.reading.is_empty() || self.unpolled >= UNPOLLED) {
            self.poll(Duration::ZERO);
        }
        self.polled = false;
        self.work()
    }

    fn look(&mut self, now: Now) -> usize {
        self.now = now;
        self.work()
    }

    fn finish(&mut self, now: Now) {
        self.now = now;
        self.counters.turn(now);
        self.write();
        self.pump_tunnels();
        self.out.notify();
    }

    fn on_idle(&mut self, how_long: Duration) {
        self.poll(how_long);
        self.polled = true;
    }

    fn load(&self) -> Backlog {
        backlog(&self.inbox)
    }

    fn waker(&self) -> Option<StageWaker> {
        Some(self.waker.clone())
    }

    fn next_deadline(&self) -> Option<Mono> {
        // Nothing is swept while every connection is a session that goes on, and
        // nothing released while none has a buffer.
        let sweep = self.sweeping.then_some(self.next_sweep);
        let release = self.keeping.then_some(self.next_release);
        let marks = self.marking.then_some(self.next_marks);
        let quota = self.governing.as_ref().and_then(Governing::deadline);
        sweep
            .into_iter()
            .chain(release)
            .chain(marks)
            .chain(quota)
            .chain(self.out.audit.as_ref().and_then(Auditor::due))
            .chain(self.tunnels_deadline())
            .chain(self.drain_deadline())
            .min()
    }

    fn on_stop(&mut self, _now: Now) {
        let ids: Vec<SessionId> = self.connections.iter().flatten().map(|c| c.id).collect();
        for id in ids {
            self.end(id, "the hub stops");
        }
        self.close_audit();
    }
}

impl NetStage {
    /// Whether more than three quarters of the buffers of a size that there can be are lent.
    fn is_tight(&self) -> bool {
        self.arena.stats().busy > 750
    }

    /// Asks the network what is ready, for the work that follows.
    fn poll(&mut self, how_long: Duration) {
        self.unpolled = 0;
        if let Err(error) = self.network.poll(Some(how_long), &mut self.ready) {
            tracing::error!(code = "poll_failed", error = %error, "the network could not be polled");
        }
    }

    fn work(&mut self) -> usize {
        let mut ready = std::mem::take(&mut self.ready);
        let mut work = ready.len();
        for event in ready.drain(..) {
            self.on_ready(event);
        }
        self.ready = ready;
        self.tight = self.is_tight();
        self.tend_broken();
        self.tend_rights();
        self.tend_inspection();
        work += self.read_all();
        self.mark_links();
        work += self.write();
        self.sweep();
        self.tend_drain();
        self.drain_if_asked();
        self.pump_tunnels();
        self.tend_audit();
        work += self.tend_topics();
        self.out.notify();
        work
    }

    /// Takes what the other stages hand back and writes it.
    fn write(&mut self) -> usize {
        self.take_inbox(INBOX) + self.flush_all()
    }
}
