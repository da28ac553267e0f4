//! The replicate stage: copies streams between the hubs that keep them.
//!
//! Runs one decider per stream of this hub (`weft_stream::replica`): reads the
//! logs for other hubs, hands what they send to the append stage, and tells it
//! who has what on disk. Inputs: messages of other hubs' replicate stages, the
//! append stage's streams and what it did with copies, the directory of the
//! mesh. Owner thread: one. Bound per turn: [`BATCH`] messages and one answer
//! per reader. Damage that anybody meets in a stream is repaired from its other
//! homes (`weft_stream::heal`), one range at a time. What is under way to this hub is bounded by
//! `limits.replica_bytes` over all streams; it reads for nobody while the route
//! stage has no room. Keeps nothing on disk: where each home is, the logs say.

mod definition;
mod heal;
mod message;
mod source;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use weft_base::sync::atomic::Ordering;
use weft_base::{Epoch, HubId, Mono, Now, Random};
use weft_ring::arena::BlockRef;
use weft_ring::mpsc;
use weft_ring::stage::{Backlog, Stage, StageWaker};
use weft_stream::heal::{self as heal_of, Healer};
use weft_stream::replica::{Command, Entries, Event, Message, Replica, Report};
use weft_wire::block::Block;
use weft_wire::peer::Service;

pub(crate) use self::message::{CopyBatch, Replicated, Showing, Shown, ToReplicate};
pub(crate) use self::source::LogSource;
use crate::Identity;
use crate::append::ToMend;
use crate::counters::{Counters, add, set};
use crate::inbox::RouteOutbox;
use crate::lifecycle::Lifecycle;
use crate::messages::{FromPeer, PeerMessage, StreamSlot, ToAppend, ToRoute};
use crate::options::HubOptions;
use crate::outbox::{Outbox, backlog_of_two};
use crate::route::table::RouteTable;

/// Messages taken in one turn.
const BATCH: usize = 64;
/// Room that the next stages must have before a message is taken.
const ROOM: usize = 64;
/// How often the directory is looked at, and what is shown is renewed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A stream of this hub.
struct Entry {
    stream: Replicated,
    replica: Replica,
    source: LogSource,
    /// The synced end that the decider was told.
    told: u64,
    /// Its counts when they were last added to the hub's.
    counted: weft_stream::replica::PullCounts,
    given: u64,
}

/// The stage.
pub(crate) struct ReplicateStage {
    inbox: mpsc::Consumer<ToReplicate>,
    peers: mpsc::Consumer<FromPeer>,
    route: RouteOutbox,
    append: Outbox<ToAppend>,
    snapshot: Arc<ArcSwap<RouteTable>>,
    identity: Arc<Identity>,
    options: Arc<HubOptions>,
    counters: Arc<Counters>,
    lifecycle: Arc<Lifecycle>,
    waker: StageWaker,
    streams: BTreeMap<StreamSlot, Entry>,
    ids: HashMap<u64, StreamSlot>,
    /// Hubs that can be reached: their life and name.
    hubs: BTreeMap<HubId, (Epoch, String)>,
    /// Streams that were deleted here, so that no home brings them back.
    deleted: VecDeque<u64>,
    random: Random,
    /// Repairs damage; none when nothing is to be repaired.
    healer: Option<Healer>,
    /// Who looks and writes for it.
    mend: Option<(Arc<ToMend>, StageWaker)>,
    look_at: Mono,
    commands: Vec<Command>,
    now: Now,
}

/// What the stage is made of.
pub(crate) struct ReplicateParts {
    pub(crate) inbox: mpsc::Consumer<ToReplicate>,
    pub(crate) peers: mpsc::Consumer<FromPeer>,
    pub(crate) route: RouteOutbox,
    pub(crate) append: Outbox<ToAppend>,
    pub(crate) snapshot: Arc<ArcSwap<RouteTable>>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) options: Arc<HubOptions>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) waker: StageWaker,
    pub(crate) mend: Option<(Arc<ToMend>, StageWaker)>,
    pub(crate) random: Random,
}

impl ReplicateStage {
    pub(crate) fn new(parts: ReplicateParts) -> Self {
        let (options, epoch) = (parts.options.clone(), parts.identity.epoch);
        Self {
            inbox: parts.inbox,
            peers: parts.peers,
            route: parts.route,
            append: parts.append,
            snapshot: parts.snapshot,
            identity: parts.identity,
            options: parts.options,
            counters: parts.counters,
            lifecycle: parts.lifecycle,
            waker: parts.waker,
            streams: BTreeMap::new(),
            ids: HashMap::new(),
            hubs: BTreeMap::new(),
            deleted: VecDeque::new(),
            random: parts.random,
            healer: parts.mend.as_ref().and_then(|_| heal::healer(&options, epoch)),
            mend: parts.mend,
            look_at: Mono(0),
            commands: Vec::new(),
            now: Now::default(),
        }
    }

    fn on_message(&mut self, message: ToReplicate) {
        match message {
            ToReplicate::StreamUp { slot, stream } => self.stream_up(slot, *stream),
            ToReplicate::StreamDown { slot } => {
                if let Some(entry) = self.streams.remove(&slot) {
                    self.ids.remove(&entry.stream.spec.id);
                    self.forget_everywhere(&entry.stream.spec);
                    self.heal(heal_of::Event::Gone { stream: entry.stream.spec.id });
                }
                self.look_at = Mono(0);
            }
            ToReplicate::Altered { slot, spec } => {
                if let Some(entry) = self.streams.get_mut(&slot) {
                    entry.stream.spec = *spec;
                }
                self.look_at = Mono(0);
            }
            ToReplicate::Placed { slot, id, log_next } => self.apply(slot, Event::Placed { id, log_next }, None),
            ToReplicate::Refused { slot, id } => self.apply(slot, Event::Refused { id }, None),
            ToReplicate::Synced { slot } => self.synced(slot),
            ToReplicate::Looked { at, looked } => self.heal(heal_of::Event::Looked { at, looked }),
            ToReplicate::Mended { at, result } => self.on_mended(at, result),
        }
    }

    fn stream_up(&mut self, slot: StreamSlot, stream: Replicated) {
        let settings = self.settings(&stream.spec);
        let position = stream.position.clone();
        let (epoch, seed) = (self.identity.epoch, self.random.next_u64());
        let mut replica = Replica::new(settings, position, stream.local, epoch, seed);
        for (hub, (epoch, _)) in &self.hubs {
            replica.apply(Event::HubUp { hub: *hub, epoch: *epoch }, self.now, &mut Vec::new());
        }
        self.ids.insert(stream.spec.id, slot);
        let source = LogSource::for_others(stream.reader.clone(), self.snapshot.clone());
        let told = stream.local;
        let entry = Entry { stream, replica, source, told, counted: Default::default(), given: 0 };
        self.streams.insert(slot, entry);
        // The mesh may know more of it, and others may wait for it.
        self.look_at = Mono(0);
    }

    fn on_peer(&mut self, message: FromPeer) {
        match message {
            FromPeer::Message(message) => self.on_peer_message(&message),
            FromPeer::Up { hub, epoch, name } => {
                self.hubs.insert(hub, (epoch, name));
                self.all(|| Event::HubUp { hub, epoch });
                self.heal(heal_of::Event::HubUp { hub });
                self.look_at = Mono(0);
            }
            FromPeer::Down { hub } => {
                self.hubs.remove(&hub);
                self.all(|| Event::HubDown { hub });
                self.heal(heal_of::Event::HubDown { hub });
            }
        }
    }

    fn all<'a>(&mut self, event: impl Fn() -> Event<'a>) {
        let slots: Vec<StreamSlot> = self.streams.keys().copied().collect();
        for slot in slots {
            self.apply(slot, event(), None);
        }
    }

    fn on_peer_message(&mut self, peer: &PeerMessage) {
        // What an earlier life of the hub said is of no use.
        if self.hubs.get(&peer.from).is_some_and(|(epoch, _)| *epoch != peer.epoch) {
            return;
        }
        if definition::is_one(&peer.bytes) {
            return self.on_definition(peer);
        }
        let message = match Message::decode(&peer.bytes) {
            Ok(message) => message,
            Err(error) => {
                add(&self.counters.replica_nonsense, 1);
                tracing::warn!(code = "replica_nonsense", from = %peer.from, %error, "a message was dropped");
                return;
            }
        };
        if let Message::Found(found) = &message {
            return self.on_found(peer.from, found);
        }
        let named = |name: &str| self.streams.iter().find(|(_, e)| e.stream.spec.name == name).map(|(slot, _)| *slot);
        let slot = match &message {
            // Mirrors know the stream by its name alone.
            Message::Fetch(fetch) if fetch.stream == 0 => named(fetch.name),
            Message::Want(want) if want.stream == 0 => named(want.name),
            message => self.ids.get(&message.stream()).copied(),
        };
        // A stream that is not here: whoever asks hears nothing, and shows it.
        let Some(slot) = slot else { return };
        let entries = match &message {
            Message::Blocks(blocks) => blocks.entries,
            _ => &[],
        };
        let at = (entries.as_ptr() as usize).wrapping_sub(peer.bytes.as_ptr() as usize);
        let entries = if entries.is_empty() { None } else { Some(peer.bytes.slice(at..at + entries.len())) };
        let asks = matches!(message, Message::Fetch(_) | Message::Want(_));
        self.apply(slot, Event::Message { from: peer.from, message: &message }, entries.as_ref());
        if asks {
            self.synced(slot);
        }
    }

    /// More of a stream may be on disk.
    fn synced(&mut self, slot: StreamSlot) {
        let Some(entry) = self.streams.get_mut(&slot) else { return };
        let watched = !entry.replica.settings().peers.is_empty() || entry.replica.has_readers();
        entry.stream.watched.store(watched, Ordering::Release);
        let local = entry.source.synced();
        if !watched || local == entry.told {
            return;
        }
        match entry.source.position(local) {
            Ok(position) => {
                entry.told = local;
                self.apply(slot, Event::Synced { local, position: &position }, None);
            }
            Err(error) => {
                add(&self.counters.replica_unreadable, 1);
                tracing::warn!(code = "replica_unreadable", stream = entry.stream.spec.name, %error, "a log could not be read");
            }
        }
    }

    fn apply(&mut self, slot: StreamSlot, event: Event<'_>, entries: Option<&BlockRef>) {
        let Some(entry) = self.streams.get_mut(&slot) else { return };
        let mut commands = std::mem::take(&mut self.commands);
        entry.replica.apply(event, self.now, &mut commands);
        entry.stream.behind_itself.store(entry.replica.lost_here() > 0, Ordering::Release);
        self.perform(slot, &mut commands, entries);
        self.commands = commands;
    }

    fn perform(&mut self, slot: StreamSlot, commands: &mut Vec<Command>, entries: Option<&BlockRef>) {
        let has_labels = !self.identity.labels.is_empty();
        for command in commands.drain(..) {
            match command {
                Command::Send { to, bytes } => {
                    let confined = has_labels && message_is_bound(&bytes);
                    self.route.push(ToRoute::Peer { to, service: Service::Replica, confined, bytes });
                }
                Command::Append(copies) => {
                    let batch = CopyBatch { copies, entries: entries.cloned() };
                    self.append.push(ToAppend::AppendCopies { slot, batch: Box::new(batch) });
                }
                Command::HeldBy { hub, upto } => self.append.push(ToAppend::HomesSynced { slot, hub, upto }),
            }
        }
    }

    /// Reads for others, one answer each, while the route stage has room.
    fn serve(&mut self) -> usize {
        let mut work = 0;
        let slots: Vec<StreamSlot> =
            self.streams.iter().filter(|(_, entry)| entry.replica.has_readers()).map(|(slot, _)| *slot).collect();
        for slot in slots {
            if !self.route.has_room(ROOM) {
                break;
            }
            let Some(entry) = self.streams.get_mut(&slot) else { continue };
            let mut commands = std::mem::take(&mut self.commands);
            work += entry.replica.serve(&mut entry.source, self.now, &mut commands);
            self.perform(slot, &mut commands, None);
            self.commands = commands;
        }
        work
    }

    /// While the hub drains: how many streams others have to copy yet.
    fn count_for_drain(&self) {
        let board = &self.lifecycle.board;
        if !board.is_draining() {
            return;
        }
        let looking = board.looking();
        let is_only_here = |entry: &&Entry| {
            let is_on_disk = entry.told == entry.stream.reader.next();
            entry.replica.is_awaited() && !(is_on_disk && entry.replica.is_copied())
        };
        board.streams(looking, self.streams.values().filter(is_only_here).count());
    }

    /// Looks the directory up, renews what is shown and counted.
    fn look(&mut self) {
        if self.now.mono < self.look_at {
            return;
        }
        self.look_at = self.now.mono + LOOK_EVERY;
        self.renew_definitions();
        self.gather_damage();
        let (mut behind, mut silent, mut longest) = (0_u64, 0_u64, 0_u64);
        for (slot, entry) in &mut self.streams {
            let report = entry.replica.report(self.now);
            if entry.stream.ends_wanted.load(Ordering::Acquire) {
                for (hub, end) in entry.replica.ends() {
                    self.append.push(ToAppend::HomesHold { slot: *slot, hub, end: Box::new(end.clone()) });
                }
            }
            let (old, new) = (entry.counted, report.counts);
            for (counter, old, new) in [
                (&self.counters.replica_copied, old.copied, new.copied),
                (&self.counters.replica_again, old.again, new.again),
                (&self.counters.replica_lost, old.lost, new.lost),
                (&self.counters.replica_left_out, old.left_out, new.left_out),
                (&self.counters.replica_silences, old.silences, new.silences),
                (&self.counters.replica_restarts, old.restarts, new.restarts),
                (&self.counters.replica_refused, old.refused, new.refused),
                (&self.counters.replica_given, entry.given, report.given),
            ] {
                add(counter, new.saturating_sub(old));
            }
            (entry.counted, entry.given) = (new, report.given);
            behind = behind.saturating_add(report.sources.iter().map(|source| source.lag).max().unwrap_or(0));
            for source in &report.sources {
                silent += u64::from(!source.up || source.silent);
                let heard = source.heard.map_or(0, |ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX));
                longest = longest.max(heard);
            }
            let mut shown = shown(&report, &entry.stream.spec, &self.hubs, &self.identity);
            let healing = self.healer.as_ref().map(|healer| healer.shown(entry.stream.spec.id)).unwrap_or_default();
            if !healing.is_empty() {
                shown.state = [shown.state, healing].join("; ");
            }
            entry.stream.shown.store(Some(Arc::new(shown)));
        }
        set(&self.counters.replica_behind, behind);
        set(&self.counters.replica_silent, silent);
        set(&self.counters.replica_unheard_ms, longest);
    }
}

/// Whether a message carries events that may be only at hubs with a label.
fn message_is_bound(bytes: &[u8]) -> bool {
    let entries = match Message::decode(bytes) {
        Ok(Message::Blocks(blocks)) => blocks.entries,
        Ok(Message::Found(found)) => found.entries,
        _ => return false,
    };
    Entries::new(entries).any(|entry| Block::trusted(entry.bytes).residency().is_bound())
}

/// What is said of a stream to who asks.
fn shown(
    report: &Report,
    spec: &crate::append::StreamSpec,
    hubs: &BTreeMap<HubId, (Epoch, String)>,
    identity: &Identity,
) -> Showing {
    let known = report.sources.iter().map(|source| (source.tag, source.hub));
    let tags: HashMap<u32, HubId> = known.chain([(identity.id.tag(), identity.id)]).collect();
    let position = report.position.iter().filter_map(|(tag, next)| Some((*tags.get(&tag)?, next))).collect();
    let name = |hub: HubId| {
        let named = spec.homes.iter().find(|home| HubId::of_name(home) == hub).cloned();
        named.or_else(|| hubs.get(&hub).map(|(_, name)| name.clone())).unwrap_or_else(|| hub.to_string())
    };
    let mut said = Vec::new();
    for source in &report.sources {
        let heard = source.heard.map_or("never heard".to_owned(), |ago| format!("heard {} ms ago", ago.as_millis()));
        let how = match (source.up, source.silent) {
            (false, _) => format!("out of reach, {heard}"),
            (true, true) => format!("silent, {heard}"),
            (true, false) if source.heard.is_none() => "not heard yet".to_owned(),
            (true, false) if source.lag > 0 => format!("{} events behind", source.lag),
            (true, false) => "in step".to_owned(),
        };
        said.push(format!("{}: {how}", name(source.hub)));
    }
    if report.lost_here > 0 {
        said.push(format!("{} events that entered here are only elsewhere", report.lost_here));
    }
    if report.counts.lost > 0 {
        said.push(format!("{} events are lost at every home", report.counts.lost));
    }
    Showing { position, state: said.join("; ") }
}

impl Stage for ReplicateStage {
    fn name(&self) -> &'static str {
        "replicate"
    }

    fn do_work(&mut self, now: Now) -> usize {
        self.now = now;
        let mut work = 0;
        // Always: the append stage waits for room here.
        while work < BATCH
            && let Some(message) = self.inbox.pop()
        {
            self.on_message(message);
            work += 1;
        }
        while work < 2 * BATCH && self.route.has_room(ROOM) && self.append.has_room(ROOM) {
            let Some(message) = self.peers.pop() else { break };
            self.on_peer(message);
            work += 1;
        }
        self.look();
        if self.healer.as_ref().and_then(Healer::next_deadline).is_some_and(|at| at <= now.mono) {
            self.heal(heal_of::Event::Tick);
        }
        let due: Vec<StreamSlot> = self
            .streams
            .iter()
            .filter(|(_, entry)| entry.replica.next_deadline().is_some_and(|at| at <= now.mono))
            .map(|(slot, _)| *slot)
            .collect();
        for slot in due {
            self.synced(slot);
            self.apply(slot, Event::Tick, None);
        }
        work += self.serve();
        self.count_for_drain();
        self.route.notify();
        self.append.notify();
        work
    }

    fn load(&self) -> Backlog {
        backlog_of_two(&self.inbox, &self.peers)
    }

    fn waker(&self) -> Option<StageWaker> {
        Some(self.waker.clone())
    }

    fn next_deadline(&self) -> Option<Mono> {
        let streams = self.streams.values().filter_map(|entry| entry.replica.next_deadline()).min();
        let look = (!self.streams.is_empty()).then_some(self.look_at);
        let heal = self.healer.as_ref().and_then(Healer::next_deadline);
        streams.into_iter().chain(look).chain(heal).min()
    }
}
