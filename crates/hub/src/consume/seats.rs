//! Consumers between the homes of a stream: what `weft_stream::seat` decides is
//! done here. Messages to other homes, copies out of and into the logs, what of
//! it lies on disk, and who waits for a move.
//!
//! The other hubs, homes or not, are told which consumers have a preferred home,
//! so that they route to it; the net stage is handed what they say.
//!
//! What a seat that died had handed out since its last copy comes again without
//! a flag. To flag it the seat would have to say how far it may hand out before
//! it does: either each new event waits for a message to another home, or the
//! mark runs ahead by thousands of events, and a takeover flags all of these,
//! most of which nobody had. Counted as attempts to be safe, they could go to
//! the dead letters though nobody ever had them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use weft_base::{HubId, Mono};
use weft_keyed::{Batch, Space, end_of};
use weft_ring::mpsc;
use weft_stream::consumer::{Consumer, Report};
use weft_stream::replica::Position;
use weft_stream::seat::{Copy, Host, Id, MoveError, Preference, Seats, Settings, State, Told, Waits, merged};
use weft_wire::frame::ErrorCode;
use weft_wire::peer::Service;

use super::definition::{Definition, Refused};
use super::entry::Key;
use super::keep;
use super::rounds::Rounds;
use super::{ConsumeStage, ToConsume};
use crate::append::holds;
use crate::counters::{add, set};
use crate::inbox::RouteOutbox;
use crate::messages::{FromPeer, PeerMessage, SessionId, StreamSlot, ToNet, ToRoute};
use crate::replicate::LogSource;
use crate::route::table::RouteTable;

/// How often what another home has not answered is said again.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a hand-over may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Messages taken in one turn.
const BATCH: usize = 64;
const ROOM: usize = 64;

/// The way to other hubs' consume stages.
pub(super) struct Seating {
    peers: mpsc::Consumer<FromPeer>,
    route: RouteOutbox,
    snapshot: Arc<ArcSwap<RouteTable>>,
    /// As it was looked at last.
    seen: Option<Arc<RouteTable>>,
    /// The other homes of each stream then.
    homes: BTreeMap<u64, Vec<HubId>>,
    up: BTreeSet<HubId>,
    /// Consumers that run here and have changed.
    rounds: Rounds,
    /// Blocks that were looked at for their states in this turn.
    looked_at: u64,
    /// Who waits for a consumer to be moved.
    moves: BTreeMap<Id, (SessionId, u64)>,
    /// Taken out while it decides.
    seats: Option<Box<Seats<Definition>>>,
}

impl Seating {
    pub(super) fn new(
        identity: &crate::Identity,
        aside: usize,
        peers: mpsc::Consumer<FromPeer>,
        route: RouteOutbox,
        snapshot: Arc<ArcSwap<RouteTable>>,
        every: Duration,
    ) -> Self {
        let (me, name, epoch) = (identity.id, identity.name.clone(), identity.epoch.0);
        let seats = Seats::new(Settings { me, name, epoch, aside, again: AGAIN, patience: PATIENCE });
        Self {
            peers,
            route,
            snapshot,
            seen: None,
            homes: BTreeMap::new(),
            up: BTreeSet::new(),
            rounds: Rounds::new(every),
            looked_at: 0,
            moves: BTreeMap::new(),
            seats: Some(Box::new(seats)),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        let seats = self.seats.as_ref().and_then(|seats| seats.next_deadline());
        [self.rounds.next_deadline(), seats].into_iter().flatten().min()
    }

    pub(super) fn notify(&mut self) {
        self.route.notify();
    }

    /// The other homes of a stream that the directory has.
    fn all_homes(&self, stream: &str, id: u64) -> Vec<HubId> {
        let table = self.snapshot.load();
        let homes = table.routes.homes_of(stream).filter(|home| home.def.id == id && home.def.is_home());
        let mut homes: Vec<HubId> = homes.map(|home| home.hub).collect();
        homes.sort_unstable();
        homes.dedup();
        homes
    }

    /// Those of them that can be reached.
    fn homes(&self, stream: &str, id: u64) -> Vec<HubId> {
        let mut homes = self.all_homes(stream, id);
        homes.retain(|hub| self.up.contains(hub));
        homes
    }

    /// Something happened to a consumer that runs here: the other homes are to know.
    pub(super) fn changed(&mut self, key: Key, now: Mono) {
        if !self.up.is_empty() {
            self.rounds.changed(key, now);
        }
    }

    pub(super) fn seats(&mut self) -> Option<&mut Seats<Definition>> {
        self.seats.as_deref_mut()
    }
}

impl ConsumeStage {
    /// Has the decider do something; it calls back what is to be done.
    pub(super) fn decide<R: Default>(&mut self, act: impl FnOnce(&mut Seats<Definition>, Mono, &mut Self) -> R) -> R {
        let now = self.now.mono;
        let Some(mut seats) = self.seating.seats.take() else {
            debug_assert!(false, "what the decider calls back does not call it");
            return R::default();
        };
        let done = act(&mut seats, now, self);
        self.seating.seats = Some(seats);
        done
    }

    /// What other homes say, and what they are to be told.
    pub(super) fn look_at_seats(&mut self) -> usize {
        let mut work = 0;
        while work < BATCH && self.seating.route.has_room(ROOM) {
            let Some(message) = self.seating.peers.pop() else { break };
            work += 1;
            match message {
                FromPeer::Up { hub, .. } => {
                    self.seating.up.insert(hub);
                    self.decide(|seats, now, _| seats.up(hub, now));
                }
                FromPeer::Down { hub } => {
                    self.seating.up.remove(&hub);
                    self.decide(|seats, _, stage| seats.down(hub, stage));
                }
                FromPeer::Message(message) => self.on_told(&message),
            }
        }
        self.look_at_homes();
        let due = self.seating.seats().and_then(|seats| seats.next_deadline());
        if due.is_some_and(|due| due <= self.now.mono) && self.seating.route.has_room(ROOM) {
            self.decide(|seats, now, stage| seats.tick(now, stage));
        }
        if self.seating.rounds.is_due(self.now.mono) && self.seating.route.has_room(ROOM) {
            work += self.copy_out();
        }
        if let Some(preferences) = self.seating.seats().and_then(Seats::take_preferences) {
            self.net.push(ToNet::Preferences(Arc::new(preferences)));
        }
        self.count_for_drain();
        let aside = self.seating.seats().map_or(0, |seats| seats.aside());
        set(&self.counters.consumer_copies, aside as u64);
        work
    }

    /// While the hub drains: how many consumers have to go yet.
    fn count_for_drain(&mut self) {
        if self.lifecycle.board.is_draining() && self.drains(self.identity.id) {
            let left = self.decide(|seats, _, stage| seats.to_give(stage));
            self.lifecycle.board.consumers(left);
        }
    }

    /// Sends what has changed to the other homes, as much as one turn may.
    fn copy_out(&mut self) -> usize {
        let mut work = 0;
        self.seating.looked_at = 0;
        while let Some(key) = self.seating.rounds.next(self.seating.looked_at) {
            work += 1;
            self.copy_out_one(key);
        }
        self.seating.rounds.over(self.seating.looked_at, self.now.mono);
        work
    }

    fn copy_out_one(&mut self, key: Key) {
        if let Some(id) = self.id_of(key) {
            self.decide(|seats, _, stage| seats.copy_out(&id, stage));
        }
    }

    /// The hub ends in good order: once all that members have said is taken, the
    /// other homes are sent the last states, so that they go on from there.
    pub(super) fn part(&mut self) -> usize {
        let parts = self.lifecycle.is_draining() && !self.lifecycle.has_parted();
        if !parts || !self.inbox.is_empty() || !self.seating.route.has_room(ROOM) {
            return 0;
        }
        let last = self.seating.rounds.take_all();
        let work = last.len();
        last.into_iter().for_each(|key| self.copy_out_one(key));
        // What found no room is sent first.
        if self.seating.route.has_room(0) {
            self.lifecycle.part();
        }
        work + 1
    }

    /// Which hubs are homes of which streams may have changed.
    fn look_at_homes(&mut self) {
        let table = self.seating.snapshot.load();
        if self.seating.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &table)) {
            return;
        }
        let me = self.identity.id;
        let before = self.seating.seen.replace(Arc::clone(&table));
        // Few hubs drain at a time, and the table changes seldom.
        let drains = |table: &RouteTable| -> Vec<HubId> {
            table.routes.hubs().chain([me]).filter(|hub| table.routes.is_draining(*hub)).collect()
        };
        if drains(&table) != before.as_deref().map(drains).unwrap_or_default() {
            self.decide(|seats, _, _| seats.drains_changed());
        }
        let streams = self.streams.values().map(|stream| (stream.id, self.seating.all_homes(&stream.name, stream.id)));
        let homes: BTreeMap<u64, Vec<HubId>> = streams.filter(|(_, homes)| !homes.is_empty()).collect();
        let before = std::mem::replace(&mut self.seating.homes, homes);
        let mut new = BTreeSet::new();
        for (id, homes) in &self.seating.homes {
            new.extend(homes.iter().filter(|hub| !before.get(id).is_some_and(|before| before.contains(hub))).copied());
        }
        for hub in new {
            self.decide(|seats, now, _| seats.homes_changed(hub, now));
        }
    }

    fn on_told(&mut self, message: &PeerMessage) {
        let Ok(told) = serde_json::from_slice(&message.bytes) else {
            return add(&self.counters.replica_nonsense, 1);
        };
        if matches!(told, Told::Copy { .. } | Told::Give(_)) {
            add(&self.counters.consumer_copied, 1);
        }
        let from = message.from;
        self.decide(|seats, now, stage| seats.told(from, told, now, stage));
    }

    /// A message about a consumer, once that runs here; none when it cannot yet.
    pub(super) fn seated(&mut self, message: ToConsume) -> Option<ToConsume> {
        let why = match &message {
            ToConsume::Open(open) => self.take_over(&open.stream, &open.consumer),
            ToConsume::Create { stream, definition, .. } => self.take_over(stream, &definition.name),
            ToConsume::Delete { stream, name, .. } | ToConsume::Control { stream, name, .. } => {
                self.take_over(stream, name)
            }
            ToConsume::Report { stream, name, .. } if !name.is_empty() => self.take_over(stream, name),
            _ => return Some(message),
        };
        let Some(why) = why else { return Some(message) };
        match message {
            ToConsume::Open(open) => {
                self.net.push(ToNet::MemberEnded { target: open.target, code: ErrorCode::MOVED, detail: why });
            }
            ToConsume::Create { session, id, .. }
            | ToConsume::Delete { session, id, .. }
            | ToConsume::Control { session, id, .. }
            | ToConsume::Report { session, id, .. } => {
                let why = format!("{why}: ask again in a moment");
                self.refuse(session, id, ErrorCode::UNREACHABLE, &why);
            }
            _ => {}
        }
        None
    }

    /// Before a consumer is asked for: it is taken over when another home had
    /// it last. Answers why it cannot be served yet.
    fn take_over(&mut self, stream: &str, name: &str) -> Option<String> {
        let slot = *self.names.get(stream)?;
        let id = (self.streams.get(&slot)?.id, name.to_owned());
        let asked = self.decide(|seats, now, stage| Some(seats.asked(&id, now, stage)));
        let why: Waits = asked?.err()?;
        Some(why.to_string())
    }

    fn slot_of(&self, stream: u64) -> Option<StreamSlot> {
        self.streams.iter().find(|(_, state)| state.id == stream).map(|(slot, _)| *slot)
    }

    fn key_of(&self, id: &Id) -> Option<Key> {
        let state = self.streams.values().find(|state| state.id == id.0)?;
        state.consumers.get(&id.1).copied()
    }

    /// The name of a consumer in the mesh.
    pub(super) fn id_of(&self, key: Key) -> Option<Id> {
        let entry = self.entries.get(key.place as usize)?.as_ref().filter(|entry| entry.serial == key.serial)?;
        let stream = self.streams.get(&entry.slot)?;
        Some((stream.id, entry.definition.name.clone()))
    }

    /// Copies of consumers of other homes, as they were kept in the hub's last life.
    pub(super) fn bring_asides(&mut self, stream: u64) {
        let Some(keyed) = self.positions.keyed() else { return };
        let prefix = keep::aside_key(stream, "");
        let found = keyed.reads().scan(Space::Positions, &prefix, &end_of(&prefix), self.options.limits.consumers);
        for (_, bytes) in found.unwrap_or_default() {
            // What cannot be read is sent again by the other homes.
            if let Ok(copy) = serde_json::from_slice::<Copy<Definition>>(&bytes)
                && copy.stream == stream
                && let Some(seats) = self.seating.seats()
            {
                seats.brought_aside(copy);
            }
        }
    }

    /// An operator moves a consumer; answered when it is there.
    pub(super) fn on_move(&mut self, session: SessionId, request: u64, stream: &str, name: &str, home: &str) {
        let found = self.find(stream, name).and_then(|key| self.may_move(key, home));
        let id = match found {
            Ok(id) => id,
            Err((code, detail)) => return self.refuse(session, request, code, &detail),
        };
        if self.seating.moves.contains_key(&id) {
            let detail = MoveError::Moving.to_string();
            return self.refuse(session, request, ErrorCode::IN_USE, &detail);
        }
        self.seating.moves.insert(id.clone(), (session, request));
        let begun = self.decide(|seats, now, stage| Some(seats.move_to(&id, home, now, stage)));
        if let Some(Err(error)) = begun {
            self.moved(&id, Err(error));
        }
    }

    fn may_move(&self, key: Key, home: &str) -> Result<Id, Refused> {
        let id = self.id_of(key).ok_or((ErrorCode::NO_CONSUMER, String::new()))?;
        let (me, hub) = (self.identity.id, HubId::of_name(home));
        let stream = self.streams.values().find(|state| state.id == id.0).map_or("", |state| state.name.as_str());
        let others = self.seating.all_homes(stream, id.0);
        if others.is_empty() && !home.is_empty() && hub != me {
            let detail = format!(
                "stream `{stream}` has one home, where all its consumers run: give it `{home}` as another with `weft \
                 stream alter`"
            );
            return Err((ErrorCode::NOT_A_HOME, detail));
        }
        if !home.is_empty() && hub != me && !others.contains(&hub) {
            let detail =
                format!("`{home}` is no home of stream `{stream}`: `weft stream info {stream}` names those that are");
            return Err((ErrorCode::NOT_A_HOME, detail));
        }
        Ok(id)
    }

    /// Consumers of a stream that run at other homes: what they are, how they
    /// stood when that was said last, and where.
    pub(super) fn elsewhere(&mut self, stream: &str, synced: u64) -> Vec<(Definition, Report, String)> {
        let Some(state) = self.names.get(stream).and_then(|slot| self.streams.get(slot)) else { return Vec::new() };
        let (id, reader, now) = (state.id, state.reader.clone(), self.now);
        let limits = self.options.limits.clone();
        let Some(seats) = self.seating.seats() else { return Vec::new() };
        let report = |copy: &Copy<Definition>| {
            let spec = copy.definition.check(stream, &limits).ok()?;
            let saved = copy.state.here(copy.version.generation, &mut LogSource::new(reader.clone()), reader.next());
            let consumer = Consumer::restore(spec, saved.ok()?, copy.version.generation, now);
            Some((copy.definition.clone(), consumer.report(synced), copy.seat.clone()))
        };
        seats.elsewhere(id).filter_map(report).collect()
    }

    /// The least floor of what is known of a stream's consumers elsewhere, in
    /// the sequences here; none when not all of them are known.
    pub(super) fn floor_elsewhere(&mut self, slot: StreamSlot) -> Option<Option<u64>> {
        let stream = self.streams.get(&slot)?;
        let (id, name, reader) = (stream.id, stream.name.clone(), stream.reader.clone());
        if self.seating.all_homes(&name, id).iter().any(|hub| !self.seating.up.contains(hub)) {
            return None;
        }
        self.decide(|seats, _, stage| {
            if !seats.has_heard_all(id, stage) {
                return None;
            }
            let mut least = None;
            for copy in seats.elsewhere(id) {
                let floor = copy.state.floor_here(&mut LogSource::new(reader.clone()), reader.next()).ok()?;
                least = Some(least.map_or(floor, |least: u64| least.min(floor)));
            }
            Some(least)
        })
    }
}

impl Host for ConsumeStage {
    type Definition = Definition;

    fn keeps(&self, stream: u64) -> bool {
        self.slot_of(stream).is_some()
    }

    fn homes(&self, stream: u64) -> Vec<HubId> {
        let state = self.streams.values().find(|state| state.id == stream);
        state.map(|state| self.seating.homes(&state.name, stream)).unwrap_or_default()
    }

    fn drains(&self, hub: HubId) -> bool {
        self.seating.seen.as_ref().is_some_and(|table| table.routes.is_draining(hub))
    }

    fn has(&mut self, stream: u64, upto: &Position) -> bool {
        let found = self.streams.values().find(|state| state.id == stream);
        found.is_none_or(|state| holds(&mut state.reader.clone(), upto))
    }

    fn state(&mut self, id: &Id) -> Option<(Definition, State)> {
        let key = self.key_of(id)?;
        let entry = self.entry(key)?;
        let saved = entry.consumer.saved();
        let (definition, log) = (entry.definition.clone(), entry.again.clone());
        let end = log.next();
        let mut source = LogSource::new(log);
        let found = State::of(&saved, &mut source, end);
        self.seating.looked_at += source.looked_at();
        match found {
            Ok(state) => Some((definition, state)),
            Err(error) => {
                let consumer = id.1.as_str();
                tracing::warn!(code = "consumer_copy", consumer, ?error, "a consumer could not be copied");
                None
            }
        }
    }

    fn install(&mut self, copy: &Copy<Definition>, merges: bool, preference: &Preference) -> Option<u32> {
        let slot = self.slot_of(copy.stream)?;
        let state = self.streams.get(&slot)?;
        let (stream, log) = (state.name.clone(), state.reader.clone());
        let old = state.consumers.get(&copy.name).copied();
        self.generation = self.generation.max(copy.version.generation).saturating_add(1);
        let spec = copy.definition.check(&stream, &self.options.limits);
        let end = log.next();
        let saved = copy.state.here(self.generation, &mut LogSource::new(log), end);
        let (Ok(spec), Ok(mut saved)) = (spec, saved) else {
            let consumer = copy.name.as_str();
            tracing::error!(code = "take_over_failed", stream, consumer, "a consumer could not be taken over");
            return None;
        };
        if let Some(old) = old {
            if merges && let Some(entry) = self.entry(old) {
                saved = merged(saved, entry.consumer.saved());
            }
            self.uninstall(old, ErrorCode::MOVED, "it was taken over from another home");
        }
        let again: u64 = saved.tried.iter().map(|run| run.end - run.first).sum();
        let floor = saved.floor;
        let consumer = Consumer::restore(spec, saved, self.generation, self.now);
        let generation = consumer.generation();
        let entry = self.install(slot, copy.definition.clone(), consumer)?;
        entry.claimed = true;
        entry.preference.clone_from(preference);
        add(&self.counters.consumer_takeovers, 1);
        tracing::info!(
            code = "consumer_taken_over",
            stream,
            consumer = copy.name,
            floor,
            again,
            "a consumer runs here now; what was in flight is handed out again"
        );
        self.note(slot);
        if let Some(key) = self.key_of(&(copy.stream, copy.name.clone())) {
            self.seating.changed(key, self.now.mono);
        }
        Some(generation)
    }

    fn claim(&mut self, id: &Id) -> u32 {
        let Some(key) = self.key_of(id) else { return 0 };
        let generation = self.entry(key).map_or(0, |entry| {
            entry.claimed = true;
            entry.consumer.generation()
        });
        self.seating.changed(key, self.now.mono);
        generation
    }

    fn halt(&mut self, id: &Id, why: &str) {
        let Some(key) = self.key_of(id) else { return };
        self.end_members(key, ErrorCode::MOVED, why);
        if let Some(entry) = self.entry(key) {
            entry.leaving = true;
        }
    }

    fn resume(&mut self, id: &Id) {
        let Some(key) = self.key_of(id) else { return };
        if let Some(entry) = self.entry(key) {
            entry.leaving = false;
        }
        self.touch(key);
    }

    fn let_go(&mut self, id: &Id, why: &str) {
        if let Some(key) = self.key_of(id) {
            self.uninstall(key, ErrorCode::MOVED, why);
            add(&self.counters.consumer_moves, 1);
        }
    }

    fn delete(&mut self, id: &Id) {
        if let Some(key) = self.key_of(id) {
            self.uninstall(key, ErrorCode::CONSUMER_GONE, "the consumer was deleted at another home");
        }
        if let Some(slot) = self.slot_of(id.0) {
            let mut batch = Batch::default();
            batch.delete(Space::Positions, keep::key(id.0, &id.1));
            self.apply(batch);
            // Not written, it would be there again after a restart.
            self.note(slot);
        }
    }

    fn prefer(&mut self, id: &Id, preference: &Preference) {
        let Some(key) = self.key_of(id) else { return };
        if let Some(entry) = self.entry(key) {
            entry.preference.clone_from(preference);
            let slot = entry.slot;
            self.note(slot);
        }
    }

    fn keep(&mut self, id: &Id, copy: Option<&Copy<Definition>>) {
        let bytes = copy.and_then(|copy| serde_json::to_vec(copy).ok());
        self.positions.aside(keep::aside_key(id.0, &id.1), bytes, self.now.mono);
    }

    fn moved(&mut self, id: &Id, outcome: Result<(), MoveError>) {
        let Some((session, request)) = self.seating.moves.remove(id) else { return };
        match outcome {
            Ok(()) => self.done(session, request),
            Err(error) => {
                let code = match error {
                    MoveError::Moving => ErrorCode::IN_USE,
                    MoveError::TimedOut(_) => ErrorCode::TIMED_OUT,
                    _ => ErrorCode::UNREACHABLE,
                };
                self.refuse(session, request, code, &error.to_string());
            }
        }
    }

    fn send(&mut self, to: HubId, told: Told<Definition>) {
        if let Ok(bytes) = serde_json::to_vec(&told) {
            self.seating.route.push(ToRoute::Peer { to, service: Service::Consumers, confined: false, bytes });
        }
    }
}
