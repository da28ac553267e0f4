//! Consumers between the homes of a stream. A consumer runs at one home, its
//! seat: of those that can be reached the one with the least id, as every hub
//! picks it alike. The seat sends what changed to the others, at most every
//! `timers.consumer_copies`; they keep it aside.
//!
//! Whoever is asked for a consumer that it has aside, or whose copy is newer
//! than its own, takes it over: with a greater term, so that the old seat, when
//! it hears of it, lets go, and with greater tokens, so that what its members
//! still say is fenced off. A home does not hand out before it has heard from
//! the other homes within reach; a seat that is not the right one any more
//! sends its last copy and lets go by itself. So a move costs what was in
//! flight, and a death also what happened since the last copy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use weft_base::{HubId, Mono};
use weft_ring::mpsc;
use weft_stream::consumer::Consumer;
use weft_wire::frame::ErrorCode;
use weft_wire::peer::Service;

use super::entry::Key;
use super::portable::ConsumerCopy;
use super::{ConsumeStage, ToConsume};
use crate::counters::{add, set};
use crate::inbox::RouteOutbox;
use crate::messages::{FromPeer, PeerMessage, StreamSlot, ToNet, ToRoute};
use crate::route::table::RouteTable;

/// How often homes that were not heard are asked.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Messages taken in one turn.
const BATCH: usize = 64;
const ROOM: usize = 64;

/// What homes tell each other of consumers.
#[derive(Serialize, Deserialize)]
enum Told {
    /// A consumer's state at its seat.
    Copy(Box<ConsumerCopy>),
    /// It was deleted, up to this term.
    Gone { stream: u64, name: String, term: u32 },
    /// Say all you have.
    Ask,
    /// That was all.
    All,
}

/// What is known of consumers at other homes.
pub(super) struct Seats {
    peers: mpsc::Consumer<FromPeer>,
    route: RouteOutbox,
    snapshot: Arc<ArcSwap<RouteTable>>,
    every: Duration,
    /// Hubs that can be reached, and of them those that have said all.
    up: BTreeSet<HubId>,
    heard: BTreeSet<HubId>,
    aside: BTreeMap<(u64, String), ConsumerCopy>,
    dirty: BTreeSet<Key>,
    due: Option<Mono>,
    ask_at: Mono,
}

impl Seats {
    pub(super) fn new(
        peers: mpsc::Consumer<FromPeer>,
        route: RouteOutbox,
        snapshot: Arc<ArcSwap<RouteTable>>,
        every: Duration,
    ) -> Self {
        Self {
            peers,
            route,
            snapshot,
            every,
            up: BTreeSet::new(),
            heard: BTreeSet::new(),
            aside: BTreeMap::new(),
            dirty: BTreeSet::new(),
            due: None,
            ask_at: Mono(0),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        let ask = self.up.iter().any(|hub| !self.heard.contains(hub)).then_some(self.ask_at);
        [self.due, ask].into_iter().flatten().min()
    }

    pub(super) fn notify(&mut self) {
        self.route.notify();
    }

    /// The other homes of a stream that can be reached.
    fn homes(&self, stream: &str, id: u64) -> Vec<HubId> {
        let table = self.snapshot.load();
        let homes = table.routes.homes_of(stream).filter(|home| home.def.id == id && home.def.is_home());
        let mut homes: Vec<HubId> = homes.map(|home| home.hub).filter(|hub| self.up.contains(hub)).collect();
        homes.sort_unstable();
        homes.dedup();
        homes
    }

    /// Something happened to a consumer that runs here: the other homes are to know.
    pub(super) fn changed(&mut self, key: Key, now: Mono) {
        if !self.up.is_empty() {
            self.dirty.insert(key);
            self.due.get_or_insert(now + self.every);
        }
    }

    fn send(&mut self, to: HubId, told: &Told) {
        if let Ok(bytes) = serde_json::to_vec(told) {
            self.route.push(ToRoute::Peer { to, service: Service::Consumers, bytes });
        }
    }
}

impl ConsumeStage {
    /// What other homes say, and what they are to be told.
    pub(super) fn look_at_seats(&mut self) -> usize {
        let mut work = 0;
        while work < BATCH && self.seating.route.has_room(ROOM) {
            let Some(message) = self.seating.peers.pop() else { break };
            work += 1;
            match message {
                FromPeer::Up { hub, .. } => {
                    self.seating.up.insert(hub);
                    self.seating.heard.remove(&hub);
                    self.seating.ask_at = self.now.mono;
                }
                FromPeer::Down { hub } => {
                    self.seating.up.remove(&hub);
                    self.seating.heard.remove(&hub);
                }
                FromPeer::Message(message) => self.on_told(&message),
            }
        }
        if self.seating.ask_at <= self.now.mono && self.seating.route.has_room(ROOM) {
            let unheard: Vec<HubId> = self.seating.up.difference(&self.seating.heard).copied().collect();
            unheard.into_iter().for_each(|hub| self.seating.send(hub, &Told::Ask));
            self.seating.ask_at = self.now.mono + ASK_EVERY;
        }
        if self.seating.due.is_some_and(|due| due <= self.now.mono) && self.seating.route.has_room(ROOM) {
            self.seating.due = None;
            for key in std::mem::take(&mut self.seating.dirty) {
                work += 1;
                self.send_copy(key, None);
            }
        }
        set(&self.counters.consumer_copies, self.seating.aside.len() as u64);
        work
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
            | ToConsume::Report { session, id, .. } => self.refuse(session, id, ErrorCode::UNREACHABLE, &why),
            _ => {}
        }
        None
    }

    fn copy_of(&mut self, key: Key) -> Option<ConsumerCopy> {
        let entry = self.entries.get_mut(key.place as usize).and_then(Option::as_mut)?;
        let stream = self.streams.get(&entry.slot).filter(|_| entry.serial == key.serial)?;
        let saved = entry.consumer.saved();
        match ConsumerCopy::of(stream.id, &entry.definition, entry.term, &saved, &mut entry.again) {
            Ok(copy) => Some(copy),
            Err(error) => {
                let (stream, consumer) = (stream.name.as_str(), entry.definition.name.as_str());
                tracing::warn!(code = "consumer_copy", stream, consumer, %error, "a consumer could not be copied");
                None
            }
        }
    }

    /// Sends a consumer's state to one home, or to all within reach.
    fn send_copy(&mut self, key: Key, to: Option<HubId>) {
        let Some(entry) = self.entries.get(key.place as usize).and_then(Option::as_ref) else { return };
        let Some(stream) = self.streams.get(&entry.slot).filter(|_| entry.serial == key.serial) else { return };
        let homes = to.map_or_else(|| self.seating.homes(&stream.name, stream.id), |hub| vec![hub]);
        if homes.is_empty() {
            return;
        }
        let Some(copy) = self.copy_of(key) else { return };
        let told = Told::Copy(Box::new(copy));
        homes.into_iter().for_each(|hub| self.seating.send(hub, &told));
    }

    fn on_told(&mut self, message: &PeerMessage) {
        let from = message.from;
        let Ok(told) = serde_json::from_slice(&message.bytes) else {
            return add(&self.counters.replica_nonsense, 1);
        };
        match told {
            Told::Ask => {
                let kept = self.streams.values().filter(|s| self.seating.homes(&s.name, s.id).contains(&from));
                let all: Vec<Key> = kept.flat_map(|s| s.consumers.values().copied()).collect();
                all.into_iter().for_each(|key| self.send_copy(key, Some(from)));
                self.seating.send(from, &Told::All);
            }
            Told::All => {
                self.seating.heard.insert(from);
                self.give_way();
            }
            Told::Gone { stream, name, term } => {
                self.seating.aside.retain(|(of, n), copy| *of != stream || *n != name || copy.term > term);
                if let Some((key, own)) = self.own(stream, &name)
                    && own <= term
                {
                    self.uninstall(key, ErrorCode::CONSUMER_GONE, "the consumer was deleted at another home");
                }
            }
            Told::Copy(copy) => {
                add(&self.counters.consumer_copied, 1);
                self.on_copy(*copy);
            }
        }
    }

    /// A consumer that is here, and its term.
    fn own(&self, stream: u64, name: &str) -> Option<(Key, u32)> {
        let state = self.streams.values().find(|state| state.id == stream)?;
        let key = state.consumers.get(name).copied()?;
        let entry = self.entries.get(key.place as usize).and_then(Option::as_ref)?;
        Some((key, entry.term))
    }

    fn on_copy(&mut self, copy: ConsumerCopy) {
        let at = (copy.stream, copy.definition.name.clone());
        if !self.streams.values().any(|state| state.id == at.0) {
            return;
        }
        if let Some((key, own)) = self.own(at.0, &at.1) {
            if own >= copy.term {
                // The older one learns of it with the next change, or when it asks.
                return;
            }
            let members = self.entry(key).is_some_and(|entry| !entry.members.is_empty());
            if members {
                self.let_go(key, "it was taken over by another home");
            }
        }
        let known = self.seating.aside.get(&at).is_none_or(|known| known.term <= copy.term);
        let has_room = self.seating.aside.len() < self.options.limits.consumers;
        if known && (has_room || self.seating.aside.contains_key(&at)) {
            self.seating.aside.insert(at, copy);
        }
    }

    /// A consumer runs elsewhere now: its members join there, by themselves.
    fn let_go(&mut self, key: Key, why: &str) {
        let Some(copy) = self.copy_of(key) else { return };
        self.uninstall(key, ErrorCode::MOVED, why);
        self.seating.aside.insert((copy.stream, copy.definition.name.clone()), copy);
    }

    /// Consumers whose seat is not here any more go there, with their last state.
    fn give_way(&mut self) {
        let me = self.identity.id;
        let streams: Vec<StreamSlot> = self.streams.keys().copied().collect();
        for slot in streams {
            let Some(stream) = self.streams.get(&slot) else { continue };
            let first = self.seating.homes(&stream.name, stream.id).first().copied();
            let Some(first) = first.filter(|hub| *hub < me && self.seating.heard.contains(hub)) else { continue };
            for key in stream.consumers.values().copied().collect::<Vec<_>>() {
                if self.entry(key).is_some_and(|entry| entry.claimed) {
                    self.send_copy(key, Some(first));
                    self.let_go(key, "another home of the stream serves it again");
                    add(&self.counters.consumer_moves, 1);
                }
            }
        }
    }

    /// Before a consumer is asked for: it is taken over when another home had
    /// it last. Answers why it cannot be served yet.
    pub(super) fn take_over(&mut self, stream: &str, name: &str) -> Option<String> {
        let slot = *self.names.get(stream)?;
        let state = self.streams.get(&slot)?;
        let homes = self.seating.homes(stream, state.id);
        if let Some(hub) = homes.iter().find(|hub| !self.seating.heard.contains(hub)) {
            return Some(format!("home {hub} of the stream has not said yet how far the consumer is"));
        }
        let at = (state.id, name.to_owned());
        let own = self.own(at.0, name);
        let newer = self.seating.aside.get(&at).is_some_and(|copy| own.is_none_or(|(_, term)| term < copy.term));
        if newer && let Some(copy) = self.seating.aside.remove(&at) {
            self.install_copy(slot, own.map(|(key, _)| key), copy);
        }
        let (key, _) = self.own(at.0, name)?;
        if let Some(entry) = self.entry(key)
            && !entry.claimed
        {
            entry.claimed = true;
            entry.term = entry.consumer.generation();
            self.seating.changed(key, self.now.mono);
        }
        None
    }

    fn install_copy(&mut self, slot: StreamSlot, old: Option<Key>, copy: ConsumerCopy) {
        let Some(state) = self.streams.get(&slot) else { return };
        let (stream, mut log) = (state.name.clone(), state.reader.clone());
        self.generation = self.generation.max(copy.term).saturating_add(1);
        let spec = copy.definition.check(&stream, &self.options.limits);
        let saved = copy.here(self.generation, &mut log);
        let (Ok(spec), Ok(saved)) = (spec, saved) else {
            let consumer = copy.definition.name.as_str();
            return tracing::error!(code = "take_over_failed", stream, consumer, "a consumer could not be taken over");
        };
        if let Some(old) = old {
            self.uninstall(old, ErrorCode::MOVED, "it was taken over from another home");
        }
        let again: u64 = saved.tried.iter().map(|run| run.end - run.first).sum();
        let (name, floor) = (copy.definition.name.clone(), saved.floor);
        let consumer = Consumer::restore(spec, saved, self.generation, self.now);
        self.install(slot, copy.definition, consumer);
        add(&self.counters.consumer_takeovers, 1);
        tracing::info!(
            code = "consumer_taken_over",
            stream,
            consumer = name,
            floor,
            again,
            "a consumer runs here now; what was in flight is handed out again"
        );
        if let Err((_, why)) = self.write_file(slot) {
            tracing::error!(code = "consumers_failed", stream, why, "the consumers of a stream could not be written");
        }
    }

    /// A consumer was deleted here: the other homes do not bring it back.
    pub(super) fn tell_gone(&mut self, stream: &str, name: &str, term: u32) {
        let Some(state) = self.names.get(stream).and_then(|slot| self.streams.get(slot)) else { return };
        let id = state.id;
        self.seating.aside.remove(&(id, name.to_owned()));
        for hub in self.seating.homes(stream, id) {
            self.seating.send(hub, &Told::Gone { stream: id, name: name.to_owned(), term });
        }
    }
}
