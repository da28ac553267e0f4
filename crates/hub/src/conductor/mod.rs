//! The conductor: owns control state.
//!
//! One closed enum of events, applied one at a time: links, the mesh's control
//! frames, subscriptions, streams, timers. What the data path needs of it is
//! published as an immutable snapshot, at most once per turn, before anybody
//! is told that a subscription or a stream is live. Never touches a block.

mod changes;
mod collisions;
mod found;
mod gates;
mod links;
mod memory;
mod names;
mod neighbours;
mod other;
mod picks;
mod receipts;
mod report;
mod see;
mod streams;
mod survey;
mod tenants;
mod topics;
mod why_not;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use weft_base::{Clock, Epoch, HubId, Mono, Now, Random};
use weft_mesh::{Command, Event, GroupKey, HubInfo, LinkId, Mesh, MeshOptions, Remembered, StreamDef};
use weft_ring::arena::BlockRef;
use weft_ring::mpsc;
use weft_ring::stage::{Backlog, Stage, StageWaker};
use weft_topic::Filter;
use weft_wire::frame::{self, ErrorCode, Frame};

use self::changes::Changes;
use self::collisions::Collisions;
use self::found::Names;
use self::gates::{Gates, RemoteGate};
use self::links::Links;
pub(crate) use self::memory::PeersFile;
use self::neighbours::{Neighbours, Pace};
use self::other::Other;
use self::picks::Picks;
use self::receipts::Receipts;
use self::see::Asks;
use self::tenants::Tenants;
use crate::Identity;
use crate::changes::ChangesFile;
use crate::counters::Counters;
use crate::gate::Gate;
use crate::inbox::RouteOutbox;
use crate::messages::{FlowSaid, Membership, SessionId, StreamSlot, Target, ToConductor, ToNet, ToRoute};
use crate::options::{HubOptions, Routing};
use crate::outbox::{Outbox, backlog};
use crate::route::groups::Member;
use crate::route::table::{GateSlot, RouteTable};

/// Messages taken in one turn.
const BATCH: usize = 1_024;
/// Hubs that were refused, as they are shown.
const MOST_REFUSED: usize = 256;
/// Room that the next stages must have before a message is taken.
const ROOM: usize = 32;

/// The stage.
pub(crate) struct Conductor {
    inbox: mpsc::Consumer<ToConductor>,
    net: Outbox<ToNet>,
    route: RouteOutbox,
    mesh: Mesh,
    peers: Option<PeersFile>,
    /// Hubs that were refused somewhere, and how often, by name and reason.
    refused: BTreeMap<(String, ErrorCode), u64>,
    table: RouteTable,
    snapshot: Arc<ArcSwap<RouteTable>>,
    /// The snapshot is behind the table.
    stale: bool,
    /// And the route stage is to look at it by itself.
    ways_changed: bool,
    /// Told once the snapshot is out.
    answers: Vec<Answer>,
    subscriptions: BTreeMap<Target, (Filter, Option<Membership>)>,
    /// The groups with members here, and how many.
    groups: BTreeMap<GroupKey, (Arc<str>, usize)>,
    streams: HashMap<StreamSlot, (Arc<StreamDef>, Vec<Filter>)>,
    collisions: Collisions,
    /// Streams came or went since these were looked at.
    streams_changed: bool,
    gates: Gates,
    asks: Asks,
    receipts: Receipts,
    tenants: Tenants,
    epochs: HashMap<HubId, Epoch>,
    neighbours: Neighbours,
    changes: Changes,
    other: Other,
    picks: Picks,
    names: Names,
    links: Links,
    /// The hub is about to stop.
    drains: bool,
    commands: Vec<Command>,
    options: Arc<HubOptions>,
    identity: Arc<Identity>,
    counters: Arc<Counters>,
    waker: StageWaker,
    now: Now,
}

enum Answer {
    Subscribed(Target),
    Done(SessionId, u64),
    /// Where a subscription is live, encoded.
    Live(SessionId, Vec<u8>),
}

/// What the conductor is made of.
pub(crate) struct ConductorParts {
    pub(crate) inbox: mpsc::Consumer<ToConductor>,
    pub(crate) net: Outbox<ToNet>,
    pub(crate) route: RouteOutbox,
    pub(crate) mesh: Mesh,
    /// Where what is remembered of other hubs is kept; none without a data folder.
    pub(crate) peers: Option<PeersFile>,
    /// Where operators' changes are kept; none without a data folder.
    pub(crate) changes: Option<ChangesFile>,
    pub(crate) snapshot: Arc<ArcSwap<RouteTable>>,
    pub(crate) options: Arc<HubOptions>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) waker: StageWaker,
    pub(crate) random: Random,
    /// Wakes the stage that holds publishes back.
    pub(crate) gate_waker: StageWaker,
    pub(crate) clock: Arc<dyn Clock>,
    /// Where the hub says that it is dialled.
    pub(crate) own: Vec<String>,
}

/// The mesh's decider of a hub.
/// `bound`: where it takes links.
pub(crate) fn mesh_of(
    identity: &Identity,
    options: &HubOptions,
    bound: &[String],
    remembered: Vec<Remembered>,
    seed: u64,
) -> Mesh {
    let info = HubInfo {
        id: identity.id,
        name: identity.name.clone(),
        region: identity.region.clone(),
        labels: identity.labels.clone(),
        epoch: identity.epoch,
    };
    let timers = &options.timers;
    let Routing { weights, spreading } = options.routing;
    let mut told = MeshOptions { weights, spreading, two_paths: options.paths.are_two(), ..MeshOptions::default() };
    told.limits.hubs = options.limits.hubs;
    told.timers.interest_retention = timers.interest_retention;
    told.timers.damp_most = timers.interest_damping;
    told.timers.flap_most = timers.link_hold;
    (told.timers.ping, told.timers.silence) = (timers.probe, timers.link_silence);
    let mut mesh = Mesh::new(told, info, seed);
    mesh.set_life(identity.life, remembered);
    mesh.set_addresses(&options.addresses(bound));
    mesh.set_client_addresses(&options.advertise_clients);
    mesh
}

impl Conductor {
    pub(crate) fn new(parts: ConductorParts) -> Self {
        let timers = &parts.options.timers;
        let pace = Pace {
            first: timers.redial_first,
            most: timers.redial_most,
            stable: timers.link_stable,
            failures: parts.options.limits.dial_failures,
        };
        let mut random = parts.random;
        let pauses = (timers.redial_first, timers.redial_most);
        let mut other = Other::new(timers.alone, pauses, Random::from_seed(random.next_u64()));
        if !parts.options.seeds.is_empty() {
            other.at_once();
        }
        let (me, own) = (&parts.identity, Random::from_seed(random.next_u64()));
        let picks = Picks::new(parts.options.pick, me.id, &me.region, own);
        let names = Names::new(&parts.options, &parts.own, parts.clock, parts.waker.clone());
        let neighbours = Neighbours::new(parts.options.neighbours.len(), pace, random);
        let changes = Changes::new(&parts.options.neighbours, parts.changes);
        let mut conductor = Self {
            inbox: parts.inbox,
            net: parts.net,
            route: parts.route,
            mesh: parts.mesh,
            peers: parts.peers,
            refused: BTreeMap::new(),
            table: RouteTable::clone(&parts.snapshot.load()),
            snapshot: parts.snapshot,
            stale: false,
            ways_changed: false,
            answers: Vec::new(),
            subscriptions: BTreeMap::new(),
            groups: BTreeMap::new(),
            streams: HashMap::new(),
            collisions: Collisions::default(),
            streams_changed: false,
            gates: Gates::new(parts.gate_waker),
            receipts: Receipts::default(),
            asks: Asks::default(),
            tenants: Tenants::default(),
            epochs: HashMap::new(),
            neighbours,
            changes,
            other,
            picks,
            names,
            links: Links::new(&parts.counters, &parts.options.see),
            drains: false,
            commands: Vec::new(),
            options: parts.options,
            identity: parts.identity,
            counters: parts.counters,
            waker: parts.waker,
            now: Now::default(),
        };
        conductor.reconcile();
        conductor
    }

    fn on_message(&mut self, message: ToConductor) {
        match message {
            ToConductor::LinkUp { link, hub, epoch, name, region, version, life, dial, picked, heard } => {
                let mut commands = std::mem::take(&mut self.commands);
                let met = self.mesh.meet((hub, &name, epoch), life, self.now.mono, &mut commands);
                self.perform(commands);
                if let Err(reason) = met {
                    let (code, detail) = (reason.code(), reason.to_string());
                    return self.net.push(ToNet::Close { session: link, code, detail });
                }
                if let Err(detail) = self.pick_up(link, hub, dial, picked) {
                    return self.net.push(ToNet::Close { session: link, code: ErrorCode::LINK_FULL, detail });
                }
                let (cost, price) = match self.link_weight(link, &name, dial) {
                    Ok(weight) => weight,
                    Err((code, detail)) => {
                        return self.net.push(ToNet::Close { session: link, code, detail });
                    }
                };
                // How long there was none, where there was one before or one was dialled.
                let latency_ms = self.links.down_for(&name, self.now).map(|time| time.as_millis() as u64);
                tracing::info!(code = "link_up", peer = name, region, version, latency_ms, "a link is up");
                if let Some(dial) = dial {
                    self.link_made(dial, link);
                }
                self.epochs.insert(hub, epoch);
                self.links.up(LinkId(link.0), &name, heard, &self.counters);
                self.apply(Event::LinkUp { link: LinkId(link.0), hub, epoch, name, region, version, cost });
                if price != 0 {
                    self.apply(Event::LinkPrice { link: LinkId(link.0), price });
                }
                self.settle_named();
            }
            ToConductor::LinkDown { link, dial, reason } => {
                let peer = self.links.peer(LinkId(link.0));
                tracing::warn!(code = "link_down", peer, reason, "a link is down");
                self.link_ends(link);
                self.pick_down(link, dial);
                self.links.down(LinkId(link.0), &reason, self.now);
                self.apply(Event::LinkDown { link: LinkId(link.0) });
                if let Some(dial) = dial {
                    self.link_failed(dial);
                }
                self.settle_named();
            }
            ToConductor::DialFailed { dial, reason } => self.dial_failed(dial, &reason),
            ToConductor::DialledOwn { dial } => self.dialled_own(dial),
            ToConductor::Probed { hub, rtt } => self.pick_probed(hub, rtt),
            ToConductor::LinkFrame { link, frame } => self.on_link_frame(link, &frame),
            ToConductor::Subscribe { target, filter, gate, group } => self.subscribe(target, filter, gate, group),
            ToConductor::GateTurned { target, closed, behind_ms } => self.gate_turned(target, closed, behind_ms),
            ToConductor::Unsubscribe { target } => self.unsubscribe(target),
            ToConductor::LiveAsk(asked) => self.live_ask(*asked),
            ToConductor::SessionOpened { session, name } => self.tenants.opened(session, &name, self.now.mono),
            ToConductor::SessionLeaves { session } => self.unsubscribe_all(session),
            ToConductor::Draining { draining } => {
                self.drains = draining;
                self.apply(Event::Draining { draining });
                self.tell_places();
            }
            ToConductor::SessionClosed { session } => {
                self.receipts_of_session_end(session);
                self.unsubscribe_all(session);
                self.tenants.closed(session, self.now.mono, &self.options.limits);
            }
            ToConductor::StreamUp { slot, def, filters, answer } => {
                self.stream_up(slot, def, filters);
                self.answers.extend(answer.map(|(session, id)| Answer::Done(session, id)));
            }
            ToConductor::StreamDown { slot, answer } => {
                self.stream_down(slot);
                self.answers.extend(answer.map(|(session, id)| Answer::Done(session, id)));
            }
            ToConductor::FlowStored { key, incarnation, written, synced, refused, places } => {
                let ack = frame::FlowAck {
                    to: key.origin,
                    from: self.identity.id,
                    to_epoch: key.epoch,
                    lane: key.lane,
                    incarnation,
                    written,
                    synced,
                    refused,
                    places,
                };
                self.apply(Event::FlowAck { residency: key.residency, way: key.way, ack });
            }
            ToConductor::Spooled(spooled) => self.route.push(ToRoute::Spooled(spooled)),
            ToConductor::SpoolEmpty { stream, taken } => self.route.push(ToRoute::SpoolEmpty { stream, taken }),
            ToConductor::SpoolLow { stream, round } => self.route.push(ToRoute::SpoolLow { stream, round }),
            ToConductor::Release { block } => self.route.push(ToRoute::Release { block }),
            ToConductor::Ask { session, frame } => self.ask(session, &frame),
            ToConductor::Seen { from, frame } => self.on_seen(from, &frame),
            ToConductor::Change { session, frame } => self.on_change(session, &frame),
            ToConductor::Survey { session, id } => self.survey(session, id),
            ToConductor::Looked(look) => self.looked(*look),
            ToConductor::Topics(look) => self.looked_for_topics(&look),
            ToConductor::Mapping(rules) => self.map_otherwise(*rules),
            ToConductor::Reload(options) => self.reload(options),
            ToConductor::MeshShow { session, id } => {
                let bytes = self.report(id);
                self.net.push(ToNet::Control { session, bytes });
            }
        }
    }

    fn on_link_frame(&mut self, link: SessionId, bytes: &BlockRef) {
        match Frame::decode(bytes) {
            Ok(frame) => self.apply(Event::Frame { link: LinkId(link.0), frame: &frame }),
            Err(error) => {
                self.net.push(ToNet::Close { session: link, code: ErrorCode::BAD_FRAME, detail: error.to_string() });
            }
        }
    }

    fn subscribe(&mut self, target: Target, filter: Filter, gate: Option<Arc<Gate>>, group: Option<Membership>) {
        let most = self.options.limits.subscriptions;
        if self.subscriptions.len() >= most {
            let detail = format!("the hub has {most} subscriptions, its limit (limits.subscriptions)");
            return self.net.push(ToNet::SubscribeRefused { target, code: ErrorCode::LIMIT, detail });
        }
        if let Err((code, detail)) = self.tenants.subscribe(target.session, self.now.mono, &self.options.limits) {
            return self.net.push(ToNet::SubscribeRefused { target, code, detail });
        }
        match &group {
            Some(membership) => {
                if let Err(detail) = self.join(target, &filter, membership, gate) {
                    self.tenants.refused(target.session);
                    return self.net.push(ToNet::SubscribeRefused { target, code: ErrorCode::IN_USE, detail });
                }
            }
            None => {
                self.table.local.insert(&filter, target);
                if let Some(gate) = gate {
                    self.own_gate(target, gate, &filter);
                }
                self.apply(Event::Interest { add: true, filter: filter.clone() });
            }
        }
        self.subscriptions.insert(target, (filter, group));
        self.stale = true;
        self.answers.push(Answer::Subscribed(target));
    }

    fn unsubscribe_all(&mut self, session: SessionId) {
        let low = Target { session, subscription: weft_base::SubscriptionId(0) };
        let high = Target { session, subscription: weft_base::SubscriptionId(u64::MAX) };
        let targets: Vec<Target> = self.subscriptions.range(low..=high).map(|(target, _)| *target).collect();
        targets.into_iter().for_each(|target| self.unsubscribe(target));
    }

    /// While the hub drains the net stage knows where clients may go.
    fn tell_places(&mut self) {
        let places = if self.drains { self.mesh.client_places() } else { Vec::new() };
        self.net.push(ToNet::Places(places));
    }

    fn unsubscribe(&mut self, target: Target) {
        let Some((filter, group)) = self.subscriptions.remove(&target) else { return };
        self.receipts_end(target);
        self.tenants.unsubscribe(target.session, self.now.mono, &self.options.limits);
        match group {
            Some(membership) => self.leave(target, filter, membership),
            None => {
                self.table.local.remove(&filter, &target);
                self.own_gate_ends(target, &filter);
                self.apply(Event::Interest { add: false, filter });
            }
        }
        self.stale = true;
    }

    /// A subscription becomes a member of its group.
    fn join(
        &mut self,
        target: Target,
        filter: &Filter,
        membership: &Membership,
        gate: Option<Arc<Gate>>,
    ) -> Result<(), String> {
        let Membership { group, weight } = membership;
        let key = GroupKey::of_name(group);
        let (known, members) = self.groups.entry(key).or_insert_with(|| (group.clone(), 0));
        if known != group {
            return Err(format!("the groups `{known}` and `{group}` have the same key: choose another name"));
        }
        *members += 1;
        if let Some(gate) = gate {
            Arc::make_mut(&mut self.table.member_gates).insert(target, gate);
        }
        self.table.members.insert(filter, Member { group: key, target, weight: *weight });
        self.apply(Event::Member { add: true, group: group.clone(), filter: filter.clone(), weight: *weight });
        Ok(())
    }

    fn leave(&mut self, target: Target, filter: Filter, membership: Membership) {
        let Membership { group, weight } = membership;
        let key = GroupKey::of_name(&group);
        if let Some((_, members)) = self.groups.get_mut(&key) {
            *members -= 1;
            if *members == 0 {
                self.groups.remove(&key);
            }
        }
        Arc::make_mut(&mut self.table.member_gates).remove(&target);
        self.table.members.remove(&filter, &Member { group: key, target, weight });
        self.apply(Event::Member { add: false, group, filter, weight });
    }

    /// Lets the mesh's decider have an event, and does what it asks.
    fn apply(&mut self, event: Event<'_>) {
        let mut commands = std::mem::take(&mut self.commands);
        self.mesh.apply(event, self.now, &mut commands);
        self.perform(commands);
        if let Some(peers) = &mut self.peers
            && let Some(hubs) = self.mesh.take_remembered()
        {
            peers.changed(hubs, self.now.mono);
        }
    }

    fn perform(&mut self, mut commands: Vec<Command>) {
        for command in commands.drain(..) {
            match command {
                Command::Send { link, bytes } => self.net.push(ToNet::Control { session: SessionId(link.0), bytes }),
                Command::RoutesChanged => (self.stale, self.ways_changed) = (true, true),
                Command::HubUp { hub, epoch } => {
                    let name = self.mesh.name_of(hub).unwrap_or_default().to_owned();
                    tracing::info!(code = "hub_up", hub = name, id = %hub, "a hub can be reached");
                    self.route.push(ToRoute::HubUp { hub, epoch, name });
                }
                Command::HubDown(hub) => {
                    let name = self.mesh.name_of(hub).unwrap_or_default();
                    tracing::warn!(code = "hub_down", hub = name, id = %hub, "a hub cannot be reached");
                    self.route.push(ToRoute::HubDown { hub });
                }
                Command::FlowAcked { hub, lane, residency, way, incarnation, written, synced, refused, places } => {
                    let said = FlowSaid { hub, lane, residency, way, incarnation, written, synced, refused, places };
                    self.route.push(ToRoute::FlowAcked(said));
                }
                Command::Gate { hub, gate, state, behind_ms, filter, subscriber, name } => {
                    let slot = GateSlot(hub, gate);
                    let said = RemoteGate { slot, state, behind_ms, filter, subscriber, hub: name };
                    self.remote_gate(said);
                }
                Command::Receipt { receipt, met, hubs } => self.receipt_given(receipt, met, &hubs),
                Command::Conflict { name, epoch, code, by, detail } => {
                    let epoch = epoch.0;
                    tracing::error!(code = "hub_conflict", hub = name, epoch, reason = %code, by, detail, "a hub was refused");
                    if self.refused.len() < MOST_REFUSED || self.refused.contains_key(&(name.clone(), code)) {
                        *self.refused.entry((name, code)).or_default() += 1;
                    }
                }
                Command::LinkNotice { name, notice, .. } => links::tell(&name, notice),
                Command::CloseLink { link, reason } => {
                    let code = reason.code();
                    self.net.push(ToNet::Close { session: SessionId(link.0), code, detail: reason.to_string() });
                }
            }
        }
        self.commands = commands;
    }

    fn control(&mut self, session: SessionId, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        frame::encode(frame, &mut bytes);
        self.net.push(ToNet::Control { session, bytes });
    }

    /// Publishes the snapshot, then tells those who waited for it.
    fn publish(&mut self) {
        while std::mem::take(&mut self.stale) {
            self.table.version += 1;
            let before = std::mem::replace(&mut self.table.routes, self.mesh.routes());
            self.streams_changed |= !before.has_streams_of(&self.table.routes);
            self.snapshot.store(Arc::new(self.table.clone()));
            self.counters.show_mapping(&self.table.mapping);
            if std::mem::take(&mut self.ways_changed) {
                self.route.push(ToRoute::WaysChanged);
                if self.drains {
                    self.tell_places();
                }
            }
            // Other hubs hear of it only now. What that makes due is published in the next round.
            self.apply(Event::RoutesPublished);
        }
        if std::mem::take(&mut self.streams_changed) {
            self.tell_collisions();
        }
        let answers = std::mem::take(&mut self.answers);
        for answer in answers {
            match answer {
                Answer::Subscribed(target) => {
                    let subscribed = frame::Subscribed { id: target.subscription, start_sequence: 0, live: true };
                    self.control(target.session, &Frame::Subscribed(subscribed));
                }
                Answer::Done(session, id) => {
                    self.control(session, &Frame::Done(frame::Done { request: id }));
                }
                Answer::Live(session, bytes) => self.net.push(ToNet::Control { session, bytes }),
            }
        }
    }
}

impl Stage for Conductor {
    fn name(&self) -> &'static str {
        "conductor"
    }

    fn do_work(&mut self, now: Now) -> usize {
        self.now = now;
        let mut work = 0;
        while work < BATCH && self.net.has_room(ROOM) && self.route.has_room(ROOM) {
            let Some(message) = self.inbox.pop() else { break };
            self.on_message(message);
            work += 1;
        }
        self.tend_circuits();
        work += self.tend_names();
        work += self.dial();
        work += self.tend_picks();
        if let Some(peers) = &mut self.peers
            && peers.due().is_some_and(|at| at <= now.mono)
        {
            peers.write();
        }
        if self.mesh.next_deadline().is_some_and(|deadline| deadline <= now.mono) {
            self.hear();
            self.apply(Event::Tick);
        }
        self.tend_asks();
        self.tend_changes();
        self.publish();
        self.net.notify();
        self.route.notify();
        work
    }

    fn next_deadline(&self) -> Option<Mono> {
        let peers = self.peers.as_ref().and_then(PeersFile::due);
        let own = self
            .neighbours
            .next()
            .into_iter()
            .chain(self.other.next())
            .chain(self.picks.next())
            .chain(self.names.next());
        let others = own.chain(self.asks.next_deadline()).chain(self.changes.deadline());
        self.mesh.next_deadline().into_iter().chain(others).chain(peers).min()
    }

    fn on_stop(&mut self, _now: Now) {
        if let Some(peers) = &mut self.peers {
            peers.write();
        }
    }

    fn load(&self) -> Backlog {
        backlog(&self.inbox)
    }

    fn waker(&self) -> Option<StageWaker> {
        Some(self.waker.clone())
    }
}
