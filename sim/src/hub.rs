//! The event layer of a simulated hub: what a hub's stages do with the deciders
//! of `weft-mesh`, with values in the place of bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weft_base::{Epoch, HubId, Lane, Mono, Now, ProducerId, Residency, UnixNanos, Way};
use weft_mesh::flow::{Cut, LiveReceiver, LiveSender, Receiver, RetransmitOptions, Seen, Sender, Verdict};
use weft_mesh::{
    Command, DropReason, Event, GroupKey, HubInfo, INITIAL_TTL, Kind, Ledger, LinkId, Mesh, MeshOptions, Routes, Split,
    StreamDef, split,
};
use weft_topic::{Filter, InterestSet, Topic};
use weft_wire::frame::{AckLevel, ErrorCode, FlowAck, FlowEntry, FlowKind, PathCopy};

use self::apart::Merges;
use crate::Canary;
use crate::groups::Groups;
use crate::log::Log;
use crate::residency::{LABEL, residency_of};
pub(crate) use crate::said::{Block, BlockId, Effect, FlowId, FlowOf, Message, Named, Produced, Publish};

mod apart;
#[cfg(test)]
mod tests;

/// Blocks that a guaranteed flow holds.
pub(crate) const FLOW_LIMIT: usize = 4096;

/// A guaranteed flow that ends here.
#[derive(Debug, Default)]
struct FlowIn {
    receiver: Receiver,
    written: u64,
    synced: u64,
}

/// One life of a hub.
pub(crate) struct SimHub {
    pub(crate) id: HubId,
    pub(crate) epoch: Epoch,
    pub(crate) mesh: Mesh,
    pub(crate) routes: Arc<Routes>,
    pub(crate) ledger: Ledger,
    pub(crate) log: Log,
    streams: InterestSet<u8>,
    subscribers: InterestSet<usize>,
    pub(crate) groups: Groups,
    nowhere: Routes,
    seen: BTreeMap<(Residency, Way), Seen>,
    pub(crate) live_out: BTreeMap<FlowOf, LiveSender>,
    pub(crate) live_in: BTreeMap<FlowOf, LiveReceiver>,
    merges: Merges,
    two_paths: bool,
    out: BTreeMap<(HubId, Lane, Way), Sender<Rc<Block>>>,
    into: BTreeMap<(HubId, Lane, Way), FlowIn>,
    lives: BTreeMap<HubId, Epoch>,
    next_block: u64,
    split: Split,
    pub(crate) canary: Option<Canary>,
    /// For a canary: when it goes by its new routes.
    late_routes: Option<Mono>,
    /// For the canaries: blocks seen, and one kept back.
    turns: u64,
    kept_back: Option<(usize, Rc<Block>)>,
    commands: Vec<Command>,
    /// By how many seconds the time of day is off.
    pub(crate) wall_off: i64,
}

/// The time of day at which runs begin: not near zero, so that clocks can jump back.
const NOON: u64 = 1_700_000_000_000_000_000;

/// Both clocks of a hub whose time of day is off by so many seconds.
pub(crate) fn now(at: Mono, wall_off: i64) -> Now {
    let off = wall_off.saturating_mul(1_000_000_000);
    Now { mono: at, wall: UnixNanos(NOON.saturating_add(at.0).saturating_add_signed(off)) }
}

impl SimHub {
    pub(crate) fn new(
        info: HubInfo,
        mut options: MeshOptions,
        streams: &[String],
        log: Log,
        seed: u64,
        canary: Option<Canary>,
    ) -> Self {
        options.weights.rtt = if canary == Some(Canary::OtherWeights) { 50 } else { options.weights.rtt };
        let (id, epoch) = (info.id, info.epoch);
        let mut captured = InterestSet::new();
        for filter in streams.iter().filter_map(|text| Filter::parse(text).ok()) {
            captured.insert(&filter, 0);
        }
        let mesh = Mesh::new(options, info, seed);
        Self {
            id,
            epoch,
            routes: mesh.routes(),
            mesh,
            ledger: Ledger::default(),
            log,
            streams: captured,
            subscribers: InterestSet::new(),
            groups: Groups::default(),
            nowhere: Routes::alone(id),
            seen: BTreeMap::new(),
            live_out: BTreeMap::new(),
            live_in: BTreeMap::new(),
            merges: Merges::new(),
            two_paths: options.two_paths,
            out: BTreeMap::new(),
            into: BTreeMap::new(),
            lives: BTreeMap::new(),
            next_block: 1,
            split: Split::new(),
            canary,
            late_routes: None,
            turns: 0,
            kept_back: None,
            commands: Vec::new(),
            wall_off: 0,
        }
    }

    /// Tells the mesh of the streams that the hub found on its disk.
    pub(crate) fn announce_streams(&mut self, at: Mono, out: &mut Vec<Effect>) {
        let filters: Vec<Filter> = self.streams.iter().map(|(filter, _)| filter.clone()).collect();
        for filter in filters {
            // One stream for each filter: the same at all hubs that have it.
            let id = GroupKey::of_name(filter.as_str()).0.max(1);
            let def = StreamDef { name: filter.as_str().into(), id, role: 0, unreachable: 0, consistency: 0 };
            self.on_event(Event::Stream { add: true, def: def.into(), filter }, at, out);
        }
    }

    pub(crate) fn subscribe(&mut self, add: bool, client: usize, filter: &Filter, at: Mono, out: &mut Vec<Effect>) {
        let is_change =
            if add { self.subscribers.insert(filter, client) } else { self.subscribers.remove(filter, &client) };
        if is_change {
            self.on_event(Event::Interest { add, filter: filter.clone() }, at, out);
        }
    }

    /// Whether a live subscriber or a stream here wants the topic.
    pub(crate) fn wants(&self, topic: Topic<'_>, kind: Kind) -> bool {
        match kind {
            Kind::Live => self.subscribers.matches_any(topic),
            Kind::Stream => self.streams.matches_any(topic),
            Kind::Group => false,
        }
    }

    /// When something is to be done by itself.
    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.out
            .values()
            .filter_map(Sender::next_deadline)
            .chain(self.mesh.next_deadline())
            .chain(self.merges_deadline())
            .min()
    }

    /// Blocks that wait for their destinations, in events.
    pub(crate) fn held(&self) -> u64 {
        self.out.values().flat_map(Sender::iter).map(|block| block.events).sum()
    }

    /// Hands an event to the decider and does what it says.
    pub(crate) fn on_event(&mut self, event: Event<'_>, at: Mono, out: &mut Vec<Effect>) {
        if self.late_routes.take_if(|due| *due <= at).is_some() {
            self.routes = self.mesh.routes();
        }
        let mut commands = std::mem::take(&mut self.commands);
        self.mesh.apply(event, now(at, self.wall_off), &mut commands);
        let is_changed = commands.contains(&Command::RoutesChanged);
        for command in commands.drain(..) {
            self.on_command(command, at, out);
        }
        self.commands = commands;
        if is_changed {
            self.on_event(Event::RoutesPublished, at, out);
        }
        self.send_again(at, out);
        self.tend_merges(at, out);
    }

    fn on_command(&mut self, command: Command, at: Mono, out: &mut Vec<Effect>) {
        match command {
            Command::Send { link, bytes } => out.push(Effect::Send { link, message: Message::Control(bytes) }),
            Command::RoutesChanged => {
                let routes = self.mesh.routes();
                let is_frozen = self.canary == Some(Canary::StaleRoutes) && at > Mono(2_500_000_000);
                if self.canary == Some(Canary::EarlyReceipt) {
                    self.late_routes.get_or_insert(at + Duration::from_millis(500));
                } else if self.canary == Some(Canary::LateRoutes) && at > Mono(2_500_000_000) {
                    self.late_routes.get_or_insert(at + Duration::from_secs(3));
                } else if !is_frozen {
                    let links = |routes: &Routes, hub| -> Vec<_> {
                        (0..routes.ways()).map(|way| routes.next_hop_on(hub, Way(way))).collect()
                    };
                    let next = |routes: &Routes| routes.hubs().map(|h| (h, links(routes, h))).collect::<Vec<_>>();
                    let bound = Residency::of(&[LABEL]);
                    let bound = |routes: &Routes| routes.bound(bound).map(next);
                    if next(&self.routes) != next(&routes) {
                        out.push(Effect::PathsChanged { all: true });
                    } else if bound(&self.routes) != bound(&routes) {
                        out.push(Effect::PathsChanged { all: false });
                    }
                    for ((hub, _, way), sender) in &mut self.out {
                        if self.routes.next_hop_on(*hub, *way) != routes.next_hop_on(*hub, *way) {
                            sender.way_changed(at);
                        }
                    }
                    self.routes = routes;
                }
            }
            Command::HubUp { hub, epoch } => {
                let first = (hub, Lane::URGENT, Residency::ANYWHERE, Way::MAIN);
                let last = (hub, Lane::BULK, Residency(u32::MAX), Way(u8::MAX));
                for (_, sender) in self.live_out.range_mut(first..=last) {
                    sender.restart(epoch);
                }
                let is_new_life = self.lives.insert(hub, epoch).is_some_and(|known| known != epoch);
                for (_, sender) in self.out.range_mut(flows_to(hub)) {
                    if is_new_life {
                        sender.restart(at);
                    }
                    sender.set_reachable(true, at);
                }
            }
            Command::HubDown(hub) => {
                for (_, sender) in self.out.range_mut(flows_to(hub)) {
                    sender.set_reachable(false, at);
                }
            }
            Command::FlowAcked { hub, lane, way, incarnation, written, synced, .. } => {
                let Some(sender) = self.out.get_mut(&(hub, lane, way)) else { return };
                let ledger = &mut self.ledger;
                sender.acked(incarnation, written, synced, at, |block, level| {
                    if level == AckLevel::Synced {
                        ledger.in_flight -= block.events;
                        ledger.forwarded += block.events;
                        let synced = block.produced.map(|produced| Effect::Synced { home: hub, produced });
                        out.extend(synced);
                    }
                });
            }
            // No session here makes its publishers wait, no folder is copied, and there is no log.
            Command::Gate { .. } | Command::Conflict { .. } | Command::LinkNotice { .. } => {}
            Command::Receipt { receipt, hubs, .. } => out.push(Effect::Receipt { client: receipt as usize, hubs }),
            Command::CloseLink { link, reason } => out.push(Effect::Close { link, reason }),
        }
    }

    /// Which other hubs' live subscribers a block of this topic would go to.
    pub(crate) fn live_at(&self, topic: Topic<'_>) -> BTreeSet<HubId> {
        let mut hubs = BTreeSet::new();
        self.routes.destinations(topic, |hub, kind, _| hubs.extend((kind == Kind::Live).then_some(hub)));
        hubs
    }

    /// Which other hubs have a stream of this topic.
    pub(crate) fn homes_of(&self, topic: Topic<'_>) -> Vec<HubId> {
        let mut homes = Vec::new();
        self.routes.destinations(topic, |hub, kind, _| homes.extend((kind == Kind::Stream).then_some(hub)));
        homes
    }

    /// The ways for events that may be there alone.
    pub(crate) fn ways(&self, residency: Residency) -> &Routes {
        if self.canary == Some(Canary::LabelIgnored) {
            return &self.routes;
        }
        self.routes.bound(residency).unwrap_or(&self.nowhere)
    }

    /// A client of this hub publishes a block.
    pub(crate) fn publish(
        &mut self,
        Publish { topic, lane, events, size, produced }: Publish<'_>,
        at: Mono,
        out: &mut Vec<Effect>,
    ) -> Option<Rc<Block>> {
        let parsed = Topic::parse(topic).ok()?;
        let id = BlockId { origin: self.id, epoch: self.epoch, number: self.next_block };
        self.next_block += 1;
        let residency = residency_of(topic);
        let (way, kept) = self.way_of(parsed, (lane, residency, produced), id.number);
        let topic = topic.to_owned();
        let block = Rc::new(Block { id, lane, topic, events, residency, way, kept, produced, size, published: at });
        self.ledger.published += events;
        let (shared, mut entries) = self.serve_groups(&block, out);
        let mut copies = shared + self.deliver_here(&block, out);
        let routes = self.ways(residency).clone();
        routes.destinations(parsed, |hub, kind, _| {
            self.ledger.copies += events;
            copies += events;
            if routes.is_outside(hub) {
                self.ledger.drop(DropReason::Residency, events);
                return;
            }
            if kind == Kind::Live {
                let life = routes.epoch(hub).unwrap_or_default();
                let sender = self.live_out.entry((hub, lane, residency, way)).or_insert_with(|| LiveSender::new(life));
                let entry = sender.entry(hub, events);
                let flow = FlowId {
                    origin: self.id,
                    epoch: self.epoch,
                    destination: hub,
                    life: Epoch(entry.incarnation),
                    lane,
                    residency,
                    way,
                };
                out.push(Effect::Sent { flow, events });
                entries.push(entry);
                return;
            }
            let options = RetransmitOptions { ceiling: Duration::from_secs(1), ..RetransmitOptions::default() };
            let sender = self.out.entry((hub, lane, way)).or_insert_with(|| Sender::new(FLOW_LIMIT, options));
            match sender.push(block.clone(), at) {
                Ok(pushed) => {
                    self.ledger.in_flight += events;
                    entries.extend(pushed.send.then(|| sender.entry(hub, pushed.number, false)));
                }
                Err(_) => self.ledger.drop(DropReason::FlowFull, events),
            }
        });
        if copies == 0 {
            self.ledger.copies += events;
            self.ledger.drop(DropReason::NoInterest, events);
        }
        if self.is_on_two_paths(lane) {
            entries = self.send_apart(&block, entries, out);
        }
        self.send_on(&block, &entries, None, INITIAL_TTL, out);
        Some(block)
    }

    /// The way of a block that is published here, and whether some stream takes it:
    /// of those, each producer's blocks have one way, of the others each topic's.
    fn way_of(
        &self,
        topic: Topic<'_>,
        (lane, residency, produced): (Lane, Residency, Option<Produced>),
        number: u64,
    ) -> (Way, bool) {
        let ways = if self.is_on_two_paths(lane) { 1 } else { self.ways(residency).ways() };
        if !self.homes_of(topic).is_empty() {
            // While there are more ways or fewer than before, a producer's blocks stay
            // on one. (A hub lets the publisher wait until the others are stored.)
            let is_of = |block: &Rc<Block>| block.produced.map(|p| p.producer) == produced.map(|p| p.producer);
            let held = self.out.iter().find(|((_, at, _), sender)| *at == lane && sender.iter().any(is_of));
            let producer = ProducerId(produced.map_or(self.id.0, |produced| produced.producer as u64));
            return (held.map_or(Way::of_producer(producer, ways), |((.., way), _)| *way), true);
        }
        if self.canary == Some(Canary::WayByBlock) {
            return (Way((number % u64::from(ways)) as u8), false);
        }
        (Way::of_topic(topic.as_str(), ways), false)
    }

    /// A block has come by a link.
    pub(crate) fn on_forward(
        &mut self,
        link: LinkId,
        block: &Rc<Block>,
        entries: &[FlowEntry],
        ttl: u8,
        at: Mono,
        out: &mut Vec<Effect>,
    ) {
        self.turns += 1;
        let BlockId { origin, epoch, number } = block.id;
        let live = entries.iter().filter(|entry| entry.kind.is_best_effort()).count() as u64;
        self.ledger.received += live * block.events;
        let again = entries.iter().all(|entry| entry.retransmit);
        // What another hub passes on goes from there to one hub and may cross those that had it before.
        let passed_on = again && entries.iter().all(|entry| entry.kind == FlowKind::Group);
        let cut = if origin == self.id && !passed_on {
            Cut::Duplicate
        } else if again {
            Cut::New
        } else {
            let seen = self.seen.entry((block.residency, block.way)).or_insert_with(|| Seen::new(64));
            seen.check(origin, epoch, block.lane, number)
        };
        let back_out = self.canary == Some(Canary::BackOut);
        let mut passed = Vec::new();
        for entry in entries {
            if cut == Cut::New || back_out {
                passed.push(*entry);
            } else if entry.kind.is_best_effort() {
                self.ledger.copies += block.events;
                self.ledger.drop(if cut == Cut::Late { DropReason::Late } else { DropReason::Duplicate }, block.events);
            }
        }
        let away = |entry: &&FlowEntry| entry.hub != self.id && entry.kind.is_best_effort();
        self.ledger.copies += passed.iter().filter(away).count() as u64 * block.events;
        let here = self.send_on(block, &passed, Some(link), ttl, out);
        if back_out && ttl > INITIAL_TTL - 4 {
            let message = Message::Forward { block: block.clone(), entries: passed.clone(), ttl: ttl - 1, named: None };
            out.push(Effect::Send { link, message });
        }
        for entry in here {
            self.take(block, &entry, PathCopy::First, ttl, at, out);
        }
    }

    /// Of a block that has come, what is for this hub.
    fn take(&mut self, block: &Rc<Block>, entry: &FlowEntry, copy: PathCopy, ttl: u8, at: Mono, out: &mut Vec<Effect>) {
        match entry.kind {
            FlowKind::Live | FlowKind::Group if !entry.retransmit && self.is_merged(block, copy) => {
                self.merge((block, entry, copy, ttl), at, out);
            }
            FlowKind::Live => self.take_live(block, entry, out),
            FlowKind::Guaranteed => self.take_guaranteed(block, entry, at, out),
            // Each stream here has one home, and nothing is spooled.
            FlowKind::Except | FlowKind::Spooled => {}
            FlowKind::Group => {
                if let Some(passed) = self.take_for_group(block, entry, out) {
                    self.send_on(block, &[passed], None, ttl.saturating_sub(1), out);
                }
            }
        }
    }

    /// Sends entries on their ways, counts those that have none, and answers
    /// those for this hub.
    fn send_on(
        &mut self,
        block: &Rc<Block>,
        entries: &[FlowEntry],
        came_by: Option<LinkId>,
        ttl: u8,
        out: &mut Vec<Effect>,
    ) -> Vec<FlowEntry> {
        let mut parts = std::mem::take(&mut self.split);
        split((self.ways(block.residency), block.way), entries.iter().copied(), came_by, ttl, &mut parts);
        self.split = parts;
        for (entry, reason) in self.split.dropped() {
            let is_silent = self.canary == Some(Canary::UncountedDrop) && *reason == DropReason::NoPath;
            if entry.kind.is_best_effort() && !is_silent {
                self.ledger.drop(*reason, block.events);
            }
        }
        for (link, entries) in self.split.links() {
            let live = entries.iter().filter(|entry| entry.kind.is_best_effort()).count() as u64;
            self.ledger.forwarded += live * block.events;
            let (block, entries, ttl) = (block.clone(), entries.to_vec(), self.split.ttl());
            let message = Message::Forward { block, entries, ttl, named: None };
            out.push(Effect::Send { link, message });
        }
        self.split.here().to_vec()
    }

    fn take_live(&mut self, block: &Rc<Block>, entry: &FlowEntry, out: &mut Vec<Effect>) {
        let BlockId { origin, epoch, .. } = block.id;
        let own = self.epoch;
        let from = (origin, block.lane, block.residency, block.way);
        let receiver = self.live_in.entry(from).or_insert_with(|| LiveReceiver::new(own));
        let live = receiver.accept(epoch, entry.incarnation, entry.sequence, block.events);
        if !live.deliver {
            self.ledger.copies += block.events;
            self.ledger.drop(DropReason::Late, block.events);
            return;
        }
        self.take_in(block, entry, live.missed, out);
    }

    /// A live block has come in its turn.
    fn take_in(&mut self, block: &Rc<Block>, entry: &FlowEntry, missed: u64, out: &mut Vec<Effect>) {
        let BlockId { origin, epoch, .. } = block.id;
        let life = Epoch(entry.incarnation);
        let (lane, residency, way) = (block.lane, block.residency, block.way);
        let flow = FlowId { origin, epoch, destination: self.id, life, lane, residency, way };
        let missed = if self.canary == Some(Canary::UncountedGap) { 0 } else { missed };
        out.push(Effect::Taken { flow, events: block.events, missed });
        if self.deliver_here(block, out) == 0 {
            self.ledger.copies += block.events;
            self.ledger.drop(DropReason::NoInterest, block.events);
        }
    }

    fn deliver_here(&mut self, block: &Rc<Block>, out: &mut Vec<Effect>) -> u64 {
        let Ok(topic) = Topic::parse(&block.topic) else { return 0 };
        let mut clients = Vec::new();
        self.subscribers.for_each_match(topic, |client| clients.push(*client));
        clients.sort_unstable();
        clients.dedup();
        let copies = clients.len() as u64 * block.events;
        self.ledger.copies += copies;
        self.ledger.delivered += copies;
        for client in clients {
            if self.canary == Some(Canary::OutOfOrder) && self.kept_back.is_none() && self.turns.is_multiple_of(5) {
                self.kept_back = Some((client, block.clone()));
                continue;
            }
            out.push(Effect::Delivered { client, block: block.clone() });
            if self.canary == Some(Canary::DeliverTwice) {
                out.push(Effect::Delivered { client, block: block.clone() });
            }
            if let Some((client, block)) = self.kept_back.take_if(|(kept, _)| *kept == client) {
                out.push(Effect::Delivered { client, block });
            }
        }
        copies
    }

    fn take_guaranteed(&mut self, block: &Rc<Block>, entry: &FlowEntry, at: Mono, out: &mut Vec<Effect>) {
        let BlockId { origin, epoch, .. } = block.id;
        let from = (origin, block.lane, block.way);
        let flow = self.into.entry(from).or_default();
        let before = flow.receiver.current();
        let verdict = flow.receiver.accept(epoch, entry.incarnation, entry.base, entry.sequence);
        if verdict == Verdict::Stale {
            return;
        }
        if flow.receiver.current() != before {
            flow.synced = entry.base;
        }
        flow.written = flow.receiver.expected();
        flow.synced = flow.synced.max(entry.base);
        if let (Verdict::Accept, Some(produced)) = (verdict, block.produced) {
            let is_lie = self.canary == Some(Canary::EarlyAck) && self.turns.is_multiple_of(7);
            if is_lie {
                flow.synced = flow.written;
            } else if self.canary == Some(Canary::NoDeduplication) || !self.log.has(produced) {
                self.log.blocks.push(produced);
            }
            // A block that is there already is as good as stored.
            self.ledger.copies += block.events;
            self.ledger.stored += block.events;
        }
        self.acknowledge(from, at, out);
    }

    fn acknowledge(&mut self, from: (HubId, Lane, Way), at: Mono, out: &mut Vec<Effect>) {
        let (origin, lane, way) = from;
        let Some(flow) = self.into.get(&from) else { return };
        let Some((to_epoch, incarnation)) = flow.receiver.current() else { return };
        let ack = FlowAck {
            to: origin,
            from: self.id,
            to_epoch,
            lane,
            incarnation,
            written: flow.written,
            synced: flow.synced,
            refused: ErrorCode::NONE,
            places: Vec::new(),
        };
        self.on_event(Event::FlowAck { residency: Residency::ANYWHERE, way, ack }, at, out);
    }

    /// The disk has synced all that is written.
    pub(crate) fn sync(&mut self, at: Mono, out: &mut Vec<Effect>) {
        self.log.synced = self.log.blocks.len();
        let grown: Vec<(HubId, Lane, Way)> =
            self.into.iter().filter(|(_, flow)| flow.synced < flow.written).map(|(key, _)| *key).collect();
        for from in grown {
            if let Some(flow) = self.into.get_mut(&from) {
                flow.synced = flow.written;
            }
            self.acknowledge(from, at, out);
        }
    }

    fn send_again(&mut self, at: Mono, out: &mut Vec<Effect>) {
        let mut again = Vec::new();
        for ((hub, ..), sender) in &mut self.out {
            let entry = sender.entry(*hub, 0, true);
            let frames = sender.retransmit_due(at);
            again.extend(frames.map(|(block, sequence)| (block.clone(), FlowEntry { sequence, ..entry })));
        }
        for (block, entry) in again {
            self.send_on(&block, &[entry], None, INITIAL_TTL, out);
        }
    }
}

fn flows_to(hub: HubId) -> std::ops::RangeInclusive<(HubId, Lane, Way)> {
    (hub, Lane::URGENT, Way::MAIN)..=(hub, Lane::BULK, Way(u8::MAX))
}
