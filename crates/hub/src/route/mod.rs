//! The route stage: admits blocks, stamps them, and sends each to everybody
//! who wants it, once.
//!
//! Inputs: publishes of this hub's clients, blocks from other hubs, and how
//! far other hubs have stored what was sent to them. Outputs: the append and
//! the net stage. Owner thread: one. Bound per turn: a batch of messages, set
//! by the control stage; none is taken while the next stages have no room.
//! Blocks of one publisher and lane keep their order. Never touches a socket or
//! a file. The cost of routing is per block: a hash of the topic, a stamp of 64
//! bytes, one message per stage that takes it.

mod admit;
mod apart;
mod arrive;
mod away;
pub(crate) mod bound;
mod flows;
mod gather;
pub(crate) mod groups;
mod held;
pub(crate) mod homes;
pub(crate) mod mapping;
pub(crate) mod peers;
pub(crate) mod refused;
mod replies;
mod spool;
mod stalls;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use weft_base::{HubId, Mono, Now};
use weft_mesh::ledger::DropReason;
use weft_mesh::{INITIAL_TTL, Split, split};
use weft_ring::arena::{Arena, BlockRef};
use weft_ring::stage::{Backlog, Stage, StageWaker};
use weft_wire::block::Block;
use weft_wire::frame::{self, AckLevel, ErrorCode, FlowEntry, FlowKind};

use self::admit::HeldBack;
use self::apart::Apart;
use self::away::Away;
use self::flows::Flows;
use self::groups::{HubTurns, MemberTurns};
use self::held::Held;
use self::mapping::Renaming;
use self::peers::{PeerOutlets, Peers};
use self::replies::Replies;
use self::spool::Spools;
use self::stalls::Stalled;
use self::table::{Route, RouteCache, RouteTable};
use crate::Identity;
use crate::counters::{Counters, add, get, set};
use crate::inbox::RouteInbox;
use crate::load::{Conditioner, Load};
use crate::messages::{
    Completion, FlowSaid, FlowTo, Forward, FromPeer, Head, Request, SessionId, ToAppend, ToNet, ToRoute,
};
use crate::meters::{Arrivals, LaneMeters};
use crate::net::link::Taken;
use crate::options::HubOptions;
use crate::outbox::Outbox;
use crate::producers::Producers;
use crate::see::account::Waits;
use crate::see::business::Business;
use crate::see::crossing::Ends;
use crate::spool::SpoolStart;

/// Room that the next stages must have before a message is taken.
const ROOM: usize = 32;
/// The stage.
pub(crate) struct RouteStage {
    inbox: RouteInbox,
    /// Links that have ended, until the blocks that came by them are handled.
    gone: Vec<SessionId>,
    net: Outbox<ToNet>,
    append: Outbox<ToAppend>,
    snapshot: Arc<ArcSwap<RouteTable>>,
    table: Arc<RouteTable>,
    cache: RouteCache,
    producers: Producers,
    refused: refused::Refused,
    flows: Flows,
    /// Lanes on two paths.
    apart: Apart,
    /// Publishes that wait for subscribers.
    held: Held<HeldBack>,
    /// Sessions of which something is held, and which were not told why.
    untold: BTreeSet<SessionId>,
    /// By what, and since when.
    stalled: BTreeMap<SessionId, Stalled>,
    /// Publishes that homes have to answer.
    away: Away,
    conditioner: Conditioner,
    /// How long blocks waited from where they were read to here, by lane.
    waits: LaneMeters,
    /// How old events are as they come over links.
    arrivals: Arrivals,
    /// Of links, what the net stage is not told of yet.
    taken: Taken<SessionId>,
    /// Of links, what came over each.
    ends: Ends,
    identity: Arc<Identity>,
    counters: Arc<Counters>,
    waker: StageWaker,
    /// Messages taken in one turn at most.
    batch: usize,
    /// The number of the next block that enters the mesh here, and of its first event.
    next_block: u64,
    next_sequence: u64,
    /// Kept between turns, so that nothing is allocated.
    entries: Vec<FlowEntry>,
    split: Split,
    /// Of groups that other hubs serve.
    group_entries: Vec<FlowEntry>,
    head: Vec<u8>,
    member_turns: MemberTurns,
    hub_turns: HubTurns,
    replies: Replies,
    /// For blocks that must be stamped anew.
    arena: Arena,
    renaming: Renaming,
    /// The route of what a rule drops.
    nowhere: Arc<Route>,
    peers: Peers,
    spools: Spools,
    /// How long a home may be out of reach before publishes for it are refused.
    patience: Duration,
    now: Now,
}

/// To which other hubs a block goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// All that want it.
    All,
    /// Those that keep a stream of it.
    Streams,
    /// Those that have live subscribers and no stream of it.
    Live,
}

/// What the route stage is made of.
pub(crate) struct RouteParts {
    pub(crate) inbox: RouteInbox,
    pub(crate) net: Outbox<ToNet>,
    pub(crate) append: Outbox<ToAppend>,
    pub(crate) snapshot: Arc<ArcSwap<RouteTable>>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) options: Arc<HubOptions>,
    /// The services that other hubs' messages go to.
    pub(crate) peers: PeerOutlets,
    /// Where what this stage writes itself lies.
    pub(crate) arena: Arena,
    pub(crate) waker: StageWaker,
    pub(crate) load: Arc<Load>,
    /// What waits on disk here for homes that could not be reached.
    pub(crate) spool: SpoolStart,
}

impl RouteStage {
    pub(crate) fn new(parts: RouteParts) -> Self {
        let limits = &parts.options.limits;
        let mut cache = RouteCache::new(limits.topics);
        let table = parts.snapshot.load_full();
        cache.business = Business::new(&table.metrics, parts.counters.table());
        let spools = Spools::new(parts.spool, &parts.options, &mut cache.chosen);
        Self {
            spools,
            apart: Apart::new(&parts.options, &table),
            inbox: parts.inbox,
            gone: Vec::new(),
            net: parts.net,
            append: parts.append,
            table,
            snapshot: parts.snapshot,
            cache,
            producers: Producers::new(limits.producers),
            refused: refused::Refused::default(),
            taken: Taken::new(limits.window_of_links()),
            ends: Ends::default(),
            conditioner: Conditioner::new(parts.load, parts.options.load, Mono(0)),
            waits: parts.counters.measured(&parts.options.see, |table| LaneMeters::new(table, "wait")),
            arrivals: parts.counters.measured(&parts.options.see, Arrivals::new),
            untold: BTreeSet::new(),
            stalled: BTreeMap::new(),
            held: Held::new(limits.held_bytes.as_usize(), limits.arena.as_usize() / 4),
            away: Away::new(limits.flow_blocks),
            flows: Flows::new(limits.flow_blocks, parts.identity.epoch),
            identity: parts.identity,
            counters: parts.counters,
            waker: parts.waker,
            batch: parts.options.stages.batch_most as usize,
            next_block: 1,
            next_sequence: 1,
            entries: Vec::new(),
            split: Split::new(),
            group_entries: Vec::new(),
            head: Vec::new(),
            member_turns: MemberTurns::default(),
            hub_turns: HubTurns::default(),
            peers: Peers::new(parts.peers, parts.arena.clone(), limits.frame.as_usize()),
            renaming: Renaming::new(parts.arena.clone(), limits.frame.as_usize()),
            nowhere: Arc::default(),
            arena: parts.arena.clone(),
            replies: Replies::new(parts.arena),
            patience: parts.options.timers.home_patience,
            now: Now::default(),
        }
    }

    fn on_message(&mut self, message: ToRoute) {
        match message {
            ToRoute::Publish(publish) => self.publish(publish),
            ToRoute::Why { session, id, unanswered } => self.tell_why(session, id, unanswered),
            ToRoute::Forward { link, from, since, frame } => {
                let len = frame.len();
                if let Some(lane) = self.forward(link, (from, since), frame)
                    && let Some(bytes) = self.taken.add(link, lane, len)
                {
                    self.net.push(ToNet::Taken { link, lane, bytes });
                }
            }
            ToRoute::Marked { link, from, marked } => self.marked(link, from, &marked),
            ToRoute::LinkGone { link } => self.gone.push(link),
            ToRoute::FlowAcked(said) => self.flow_acked(&said),
            ToRoute::HubUp { hub, epoch, name } => {
                self.tell_services(&FromPeer::Up { hub, epoch, name: name.clone() });
                self.flows.hub_up(hub, epoch, name, self.now.mono);
                self.observe_streams();
            }
            ToRoute::HubDown { hub } => {
                self.tell_services(&FromPeer::Down { hub });
                self.flows.hub_down(hub, self.now.mono);
            }
            ToRoute::Peer { to, service, confined, bytes } => self.send_to_peer(to, service, confined, &bytes),
            // The table was looked at before this message, as before each.
            ToRoute::WaysChanged => {}
            ToRoute::Release { block } => self.release_block(&block),
            ToRoute::Unanswered { request, receivers } => self.no_responders(&request, receivers),
            ToRoute::Far(said) => self.far_said(said),
            ToRoute::Spooled(spooled) => self.send_spooled(*spooled),
            ToRoute::SpoolEmpty { stream, taken } => self.spool_is_empty(stream, taken),
            ToRoute::SpoolLow { stream, round } => self.spool_is_low(stream, round),
        }
    }

    /// Another hub has stored more of a flow, or refuses it.
    fn flow_acked(&mut self, said: &FlowSaid) {
        let (net, counters, now) = (&mut self.net, &self.counters, self.now.mono);
        let tell = |request| net.push(ToNet::Acked(request));
        let mut told = Vec::new();
        self.away.progress += 1;
        self.flows.placed(said);
        if said.refused == ErrorCode::NONE {
            self.flows.acked(said, now, counters, tell);
        } else if said.refused == ErrorCode::NO_STREAM {
            let given_back = self.flows.given_back(said, now, counters, tell);
            self.send_elsewhere(said.flow(), given_back);
        } else {
            self.flows.refused(said, now, counters, tell, |request, block| told.push((request, block)));
        }
        for (Request { session, id, .. }, block) in told {
            let code = said.refused;
            self.note_given_up(&block, code);
            let detail = format!("the hub that keeps the stream could not store it: {}", code.remedy());
            self.net.push(ToNet::Refused { session, id, code, retry_after_ms: 1_000, detail });
        }
        self.settle_spools(said.refused);
    }

    /// Begins the record of a block that was just taken.
    pub(super) fn note(&self, block: &[u8], from: HubId, since: Mono) {
        let waited = u64::try_from(self.now.mono.since(since).as_nanos()).unwrap_or(u64::MAX);
        let now = self.now.wall.0;
        let block = Block::trusted(block);
        let begun = self.counters.window.begin(block, from.0, now.saturating_sub(waited), now);
        if self.counters.traces.is_on()
            && let Some(record) = begun
        {
            self.counters.traces.routed(block, record, from.0 == 0, now);
        }
    }

    /// Sends a block to the live subscriptions of this hub; answers the copies.
    fn deliver_locally(&mut self, route: &Route, block: &BlockRef, events: u64, hops: u8) -> u64 {
        if route.local.is_empty() {
            return 0;
        }
        let copies = events * route.local.len() as u64;
        let account = self.counters.account(block);
        account.enter(Waits::Net, copies);
        account.copies(copies);
        if cfg!(debug_assertions) && get(&self.counters.canary) > 0 {
            set(&self.counters.canary, 0);
            account.leave(Waits::Net, copies);
            return copies;
        }
        route.enter_gates(events, block.len() as u64);
        self.net.push(ToNet::Deliver { targets: route.local.clone(), block: block.clone(), hops });
        copies
    }

    /// Sends a block to the streams of this hub; answers the copies. A flow
    /// must be answered even where the stream it was sent for is gone: refused,
    /// so that its origin sends it to another home.
    fn store_locally(
        &mut self,
        route: &Route,
        block: &BlockRef,
        events: u64,
        completion: Completion,
        spooled: bool,
    ) -> u64 {
        if route.streams.is_empty() && !matches!(completion, Completion::Flow { .. }) {
            return 0;
        }
        let copies = events * route.streams.len() as u64;
        let account = self.counters.account(block);
        account.enter(Waits::Append, copies);
        account.copies(copies);
        self.append.push(ToAppend::Append {
            streams: route.streams.clone(),
            block: block.clone(),
            completion,
            spooled,
        });
        copies
    }

    /// Nobody wanted the events: they count as one copy each, dropped.
    fn count_if_unwanted(&self, block: &[u8], copies: u64, events: u64) {
        if copies == 0 {
            self.count_unwanted(block, DropReason::NoInterest, events);
        }
    }

    fn count_unwanted(&self, block: &[u8], reason: DropReason, events: u64) {
        let account = self.counters.account(block);
        account.copies(events);
        account.drop(reason, events);
    }

    /// Sends a block over every link that the split names, once each, and
    /// counts what cannot leave. A guaranteed copy is not lost then: it stays
    /// with its origin, which sends it again.
    fn send_split(&mut self, block: &BlockRef, events: u64) {
        let live = |entries: &[FlowEntry]| entries.iter().filter(|e| e.kind.is_best_effort()).count() as u64;
        // Messages between hubs are no events.
        let counters = self.counters.clone();
        let account = if events > 0 { counters.account(block) } else { counters.account_of_none() };
        let mut lost = 0;
        for (entry, reason) in self.split.dropped() {
            if entry.kind.is_best_effort() {
                account.drop(*reason, events);
                lost += 1;
            }
        }
        for (link, entries) in self.split.links() {
            let live_copies = live(entries) * events;
            if frame::forward_head(entries, self.split.ttl(), block.len(), &mut self.head).is_err() {
                account.drop(DropReason::Invalid, live_copies);
                continue;
            }
            account.enter(Waits::Net, live_copies);
            let guaranteed = entries.iter().any(|e| e.kind == FlowKind::Guaranteed);
            let forward =
                Forward { head: Head::new(&self.head), block: block.clone(), live_copies, second: 0, guaranteed };
            self.net.push(ToNet::Forward { link: SessionId(link.0), forward });
        }
        self.no_responders(block, lost);
    }

    /// Sends again what other hubs have not acknowledged in time.
    fn retransmit(&mut self) -> usize {
        self.flows.due(self.now.mono);
        let mut again = std::mem::take(&mut self.flows.again);
        let count = again.len();
        for flows::Again { entry, block, except, spooled } in again.drain(..) {
            add(&self.counters.retransmitted, 1);
            let entries = std::iter::once(entry).chain(homes::beside(entry, &except, spooled));
            split(self.table.ways_of(Block::trusted(&block)), entries, None, INITIAL_TTL, &mut self.split);
            self.send_split(&block, 0);
        }
        self.flows.again = again;
        count
    }

    fn close(&mut self, session: SessionId, code: ErrorCode, detail: String) {
        self.net.push(ToNet::Close { session, code, detail });
    }

    fn refuse(&mut self, session: SessionId, id: u64, level: AckLevel, code: ErrorCode, detail: String) {
        if level != AckLevel::None {
            self.net.push(ToNet::Refused { session, id, code, retry_after_ms: 0, detail });
        }
    }

    /// The other hubs of a route: entries of the flows to them, by link.
    fn send_remote(
        &mut self,
        route: &Route,
        block: &BlockRef,
        events: u64,
        request: Option<Request>,
        which: Which,
    ) -> u64 {
        let parsed = Block::trusted(block);
        let (deadline, residency) = (parsed.deadline(), parsed.residency());
        let mut copies = 0;
        let counters = self.counters.clone();
        let account = counters.account(block);
        self.entries.clear();
        // In the order in which they were numbered.
        self.entries.append(&mut self.group_entries);
        for remote in &route.remote {
            let to = FlowTo::of(remote.hub, parsed);
            let entry = if remote.stream {
                if which == Which::Live {
                    continue;
                }
                account.copies(events);
                copies += events;
                let (except, meant) = (remote.except.clone(), remote.meant.clone());
                let (block, since) = (block.clone(), self.now.mono);
                let held = flows::Held { block, events, request, except, meant, since, in_vain: None, spooled: None };
                match self.flows.send_guaranteed(to, held, &self.table.routes, self.now.mono) {
                    Ok(entry) => {
                        account.enter(Waits::Flows, events);
                        entry
                    }
                    Err(_) => {
                        account.drop(DropReason::FlowFull, events);
                        None
                    }
                }
            } else if which != Which::Streams {
                account.copies(events);
                copies += events;
                if !self.table.ways(residency).can_arrive(remote.hub, deadline, self.now.wall) {
                    // Not numbered either: its hub does not miss it.
                    account.drop(DropReason::CannotArrive, events);
                    None
                } else {
                    Some(self.flows.send_live(to, events))
                }
            } else {
                None
            };
            self.entries.extend(entry);
            if let Some(entry) = entry.filter(|entry| entry.kind == FlowKind::Guaranteed) {
                self.entries.extend(homes::beside(entry, &remote.except, None));
            }
        }
        if !self.entries.is_empty() {
            if self.apart.is_for(parsed) {
                self.send_apart(block, events);
            }
            split(self.table.ways_of(parsed), self.entries.drain(..), None, INITIAL_TTL, &mut self.split);
            self.send_split(block, events);
        }
        copies
    }

    fn is_reachable(&self, hub: HubId) -> bool {
        self.table.routes.next_hop(hub).is_some()
    }

    /// Whether events of a flow can reach its hub.
    fn reaches(&self, to: FlowTo) -> bool {
        self.table.ways(to.residency).next_hop(to.hub).is_some()
    }
}

impl Stage for RouteStage {
    fn name(&self) -> &'static str {
        "route"
    }

    fn do_work(&mut self, now: Now) -> usize {
        self.now = now;
        self.apart.begin_turn();
        let mut work = 0;
        while work < self.batch && self.net.has_room(ROOM) && self.append.has_room(ROOM) {
            let Some(message) = self.inbox.pop() else { break };
            // A message may follow from a snapshot that is newer than the one of the last turn.
            self.look_at_table();
            self.on_message(message);
            work += 1;
        }
        if self.inbox.has_no_blocks() {
            for link in self.gone.drain(..) {
                self.taken.forget(&link);
                self.ends.forget(link);
            }
        }
        work += self.retry_away();
        work += self.tend_spools();
        work += self.release(self.batch);
        // What waits at the net stage looks again, as there is room or another allowance.
        if self.conditioner.turn(self.now.mono) || self.conditioner.is_active() {
            self.net.wake();
        }
        work += self.tend_merges();
        work += self.retransmit();
        self.net.notify();
        self.append.notify();
        self.peers.outlets.notify();
        work
    }

    fn load(&self) -> Backlog {
        Backlog { depth: self.inbox.len() as u64, capacity: self.inbox.capacity() as u64 }
    }

    fn set_batch(&mut self, units: usize) {
        self.batch = units.max(1);
    }

    fn next_deadline(&self) -> Option<Mono> {
        let away = self.away.next_deadline().into_iter().chain(self.spools.next_deadline());
        let away = away.chain(self.apart.next_deadline());
        self.flows.next_deadline().into_iter().chain(away).min()
    }

    fn waker(&self) -> Option<StageWaker> {
        Some(self.waker.clone())
    }
}
