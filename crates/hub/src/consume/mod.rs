//! The consume stage: durable consumers of the streams of this hub.
//!
//! Who gets which event is decided by `weft_stream::consumer`, one decider per
//! consumer; here is what it needs: reading the logs, sessions, timers, the
//! disk. Blocks go to the net stage from where they lie in the log. Read is
//! what is synced, never more.
//!
//! Owner thread: one. Bound per turn: [`BATCH`] messages and [`TURN`] bytes of
//! blocks, by consumers in turn, each its share (deficit round robin), so that
//! none starves the others. It never waits for the disk but when a consumer is
//! made, deleted or reset. Full: the net stage takes no more from its clients
//! than the inbox has room for; what is handed out is bounded by the members'
//! credit, the window of each session (`outflow.rs`) and `limits.in_flight`.
//! A hub without consumers does nothing here.

mod dead;
mod definition;
mod entry;
mod inbox;
mod keep;
mod lag;
mod look;
mod outflow;
mod positions;
mod requests;
mod rounds;
mod seats;
mod serve;
mod settle;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use weft_base::sync::atomic::{AtomicBool, Ordering};
use weft_base::{Mono, Now};
use weft_log::LogReader;
use weft_log::fs::Fs;
use weft_ring::arena::Arena;
use weft_ring::mpsc;
use weft_ring::stage::{Backlog, Stage, StageWaker};
use weft_stream::consumer::{Consumer, DeadLetter, Handout, MemberId};

use self::dead::Dead;
pub(crate) use self::definition::{Begin, Definition};
use self::entry::{Entry, Key};
pub(crate) use self::inbox::{Action, Floors, Open, StreamUp, ToConsume};
pub(crate) use self::keep::FILE;
use self::lag::Looks;
pub(crate) use self::outflow::Outflow;
use self::positions::Positions;
use self::seats::Seating;
pub(crate) use self::serve::most_handouts;
use crate::Identity;
use crate::counters::{Counters, add, sub};
use crate::inbox::RouteOutbox;
use crate::keyed::KeyedWriter;
use crate::lifecycle::Lifecycle;
use crate::messages::{FromPeer, SessionId, StreamSlot, Target, ToAppend, ToNet};
use crate::options::HubOptions;
use crate::outbox::{Outbox, backlog};
use crate::route::table::RouteTable;

/// Messages taken in one turn.
const BATCH: usize = 512;
/// The shortest time after which a consumer is looked at again by itself.
const SOON: Duration = Duration::from_millis(1);
/// Room that the next stages must have before something is done.
const ROOM: usize = 64;

/// A stream that may have consumers.
struct StreamState {
    name: String,
    id: u64,
    dir: PathBuf,
    reader: LogReader,
    watched: Arc<AtomicBool>,
    floors: Floors,
    /// What the append stage was told that may go.
    floor: u64,
    /// As much of it as was looked at.
    synced: u64,
    /// By name; in the order of their names, as they are reported.
    consumers: std::collections::BTreeMap<String, Key>,
    /// Why nothing may be changed: the file of its consumers cannot be read.
    sealed: Option<String>,
}

/// Which member of which consumer a session's subscription is.
#[derive(Clone, Copy)]
struct Seat {
    key: Key,
    member: MemberId,
}

/// The stage.
pub(crate) struct ConsumeStage {
    inbox: mpsc::Consumer<ToConsume>,
    net: Outbox<ToNet>,
    append: Outbox<ToAppend>,
    fs: Arc<dyn Fs>,
    arena: Arena,
    identity: Arc<Identity>,
    options: Arc<HubOptions>,
    counters: Arc<Counters>,
    waker: StageWaker,
    /// Some watched stream has more on disk.
    grown: Arc<AtomicBool>,
    lifecycle: Arc<Lifecycle>,
    streams: HashMap<StreamSlot, StreamState>,
    names: HashMap<String, StreamSlot>,
    entries: Vec<Option<Entry>>,
    serial: u32,
    /// Greater than that of any consumer made before.
    generation: u32,
    next_member: MemberId,
    seats: HashMap<Target, Seat>,
    /// The subscriptions of each session that consumes.
    sessions: HashMap<SessionId, Vec<Target>>,
    /// Consumers that may have something to hand out.
    ready: VecDeque<Key>,
    /// Consumers to which something happened in this turn.
    touched: Vec<Key>,
    /// When consumers are to be looked at.
    deadlines: BTreeSet<(Mono, Key)>,
    positions: Positions,
    dead: Dead,
    looks: Looks,
    seating: Seating,
    /// Events under way of all consumers.
    under_way: u64,
    /// Kept for their memory.
    handouts: Vec<Handout>,
    letters: Vec<DeadLetter>,
    ranges: Vec<(u64, u32)>,
    head: Vec<u8>,
    runs: Vec<weft_wire::frame::Run>,
    now: Now,
}

/// What the consume stage is made of.
pub(crate) struct ConsumeParts {
    pub(crate) inbox: mpsc::Consumer<ToConsume>,
    pub(crate) net: Outbox<ToNet>,
    pub(crate) append: Outbox<ToAppend>,
    /// None without a data folder: then there are no streams.
    pub(crate) keyed: Option<KeyedWriter>,
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) arena: Arena,
    pub(crate) identity: Arc<Identity>,
    pub(crate) options: Arc<HubOptions>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) waker: StageWaker,
    pub(crate) grown: Arc<AtomicBool>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    /// What other hubs say of consumers, and the way to them.
    pub(crate) peers: mpsc::Consumer<FromPeer>,
    pub(crate) route: RouteOutbox,
    pub(crate) snapshot: Arc<ArcSwap<RouteTable>>,
}

impl ConsumeStage {
    pub(crate) fn new(parts: ConsumeParts) -> Self {
        let (copies, aside) = (parts.options.timers.consumer_copies, parts.options.limits.consumers);
        let seating = Seating::new(&parts.identity, aside, parts.peers, parts.route, parts.snapshot, copies);
        let positions = Positions::new(parts.keyed, parts.options.timers.positions);
        Self {
            inbox: parts.inbox,
            net: parts.net,
            append: parts.append,
            fs: parts.fs,
            arena: parts.arena,
            generation: parts.identity.epoch.0,
            identity: parts.identity,
            options: parts.options,
            counters: parts.counters,
            waker: parts.waker,
            grown: parts.grown,
            lifecycle: parts.lifecycle,
            streams: HashMap::new(),
            names: HashMap::new(),
            entries: Vec::new(),
            serial: 0,
            next_member: 1,
            seats: HashMap::new(),
            sessions: HashMap::new(),
            ready: VecDeque::new(),
            touched: Vec::new(),
            deadlines: BTreeSet::new(),
            positions,
            dead: Dead::default(),
            looks: Looks::default(),
            seating,
            under_way: 0,
            handouts: Vec::new(),
            letters: Vec::new(),
            ranges: Vec::new(),
            head: Vec::new(),
            runs: Vec::new(),
            now: Now::default(),
        }
    }

    fn on_message(&mut self, message: ToConsume) {
        let Some(message) = self.seated(message) else { return };
        match message {
            ToConsume::Settle { session, frame } => self.on_settle(session, &frame),
            ToConsume::Credit { target, events, bytes } => self.on_credit(target, events, bytes),
            ToConsume::Room { session } => self.on_room(session),
            ToConsume::Open(open) => self.on_open(&open),
            ToConsume::Close { target } => self.on_close(target),
            ToConsume::CloseSession { session } => {
                for target in self.sessions.remove(&session).unwrap_or_default() {
                    self.on_close(target);
                }
            }
            ToConsume::Create { session, id, stream, definition } => self.on_create(session, id, &stream, *definition),
            ToConsume::Delete { session, id, stream, name } => self.on_delete(session, id, &stream, &name),
            ToConsume::Report { session, id, stream, name } => self.on_report(session, id, &stream, &name),
            ToConsume::Control { session, id, stream, name, action } => {
                self.on_control(session, id, &stream, &name, action);
            }
            ToConsume::StreamUp(up) => self.on_stream_up(*up),
            ToConsume::StreamDown { slot } => self.on_stream_down(slot),
            ToConsume::Stored { ticket, refused } => self.on_stored(ticket, refused),
            ToConsume::Look(look) => self.on_look(look),
        }
    }

    fn entry(&mut self, key: Key) -> Option<&mut Entry> {
        self.entries.get_mut(key.place as usize)?.as_mut().filter(|entry| entry.serial == key.serial)
    }

    /// Gives a consumer its place.
    fn install(&mut self, slot: StreamSlot, definition: Definition, consumer: Consumer) -> Option<&mut Entry> {
        let stream = self.streams.get_mut(&slot)?;
        self.serial = self.serial.wrapping_add(1);
        let entry = Entry::new(self.serial, slot, definition, consumer, &stream.reader);
        let place = match self.entries.iter().position(Option::is_none) {
            Some(place) => place,
            None => {
                self.entries.push(None);
                self.entries.len() - 1
            }
        };
        let key = Key { place: place as u32, serial: self.serial };
        stream.consumers.insert(entry.definition.name.clone(), key);
        stream.watched.store(true, Ordering::Release);
        stream.synced = stream.reader.synced();
        self.entries[place] = Some(entry);
        add(&self.counters.consumers, 1);
        self.looks.wake(self.now.mono);
        self.touch(key);
        self.entry(key)
    }

    /// A consumer's members are told that they are members no more, and why;
    /// what they had waits to be handed out again.
    fn end_members(&mut self, key: Key, code: weft_wire::frame::ErrorCode, why: &str) {
        let now = self.now;
        let Some(entry) = self.entry(key) else { return };
        let members = std::mem::take(&mut entry.members);
        for member in &members {
            entry.consumer.leave(member.id, now);
        }
        for member in &members {
            let target = member.target;
            self.seats.remove(&target);
            if let Some(targets) = self.sessions.get_mut(&target.session) {
                targets.retain(|known| *known != target);
            }
            self.net.push(ToNet::MemberEnded { target, code, detail: why.to_owned() });
        }
        sub(&self.counters.members, members.len() as u64);
        self.touch(key);
    }

    /// Takes a consumer out; its members are told why.
    fn uninstall(&mut self, key: Key, code: weft_wire::frame::ErrorCode, why: &str) -> Option<Entry> {
        self.end_members(key, code, why);
        let found = self.entries.get_mut(key.place as usize)?;
        let entry = found.take_if(|entry| entry.serial == key.serial)?;
        sub(&self.counters.consumers, 1);
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, key));
        }
        self.under_way = self.under_way.saturating_sub(entry.under_way);
        self.forget_lag(&entry);
        self.dead.forget(key);
        self.positions.forget(key);
        if let Some(stream) = self.streams.get_mut(&entry.slot) {
            stream.consumers.remove(&entry.definition.name);
            stream.watched.store(!stream.consumers.is_empty(), Ordering::Release);
        }
        Some(entry)
    }

    /// Something happened to a consumer: it is looked at before the turn ends,
    /// and may have something to hand out.
    fn touch(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(key.place as usize).and_then(Option::as_mut) else { return };
        if entry.serial != key.serial {
            return;
        }
        if !std::mem::replace(&mut entry.touched, true) {
            self.touched.push(key);
        }
        if !std::mem::replace(&mut entry.queued, true) {
            self.ready.push_back(key);
        }
    }

    /// The streams that have more on disk: those who read them may go on.
    fn look_at_streams(&mut self) -> usize {
        if !self.grown.swap(false, Ordering::AcqRel) {
            return 0;
        }
        let mut ready = Vec::new();
        for stream in self.streams.values_mut().filter(|stream| !stream.consumers.is_empty()) {
            let synced = stream.reader.synced();
            if synced != stream.synced {
                stream.synced = synced;
                ready.extend(stream.consumers.values().copied());
            }
        }
        // The map has no order of its own: which goes first is not its choice.
        ready.sort_unstable();
        ready.iter().for_each(|key| self.touch(*key));
        ready.len()
    }

    /// Consumers whose time has come.
    fn tick(&mut self) -> usize {
        let mut work = 0;
        while let Some((deadline, key)) = self.deadlines.first().copied()
            && deadline <= self.now.mono
            && work < BATCH
        {
            work += 1;
            self.deadlines.pop_first();
            let now = self.now;
            let mut letters = std::mem::take(&mut self.letters);
            let mut abandoned = false;
            if let Some(entry) = self.entry(key) {
                entry.deadline = None;
                entry.retry = entry.retry.filter(|retry| *retry > now.mono);
                entry.consumer.tick(now, &mut letters);
                // One that runs at another home is abandoned there, or not.
                abandoned = entry.claimed && entry.consumer.is_abandoned(now);
            }
            self.dead.add(key, &mut letters);
            self.letters = letters;
            if abandoned {
                self.expire(key);
            } else {
                self.touch(key);
            }
        }
        work
    }

    /// The end of a turn for those to which something happened in it: what they
    /// count, when they are looked at again, what of them is to be kept.
    fn look_after(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for key in touched.drain(..) {
            let Some(entry) = self.entries.get_mut(key.place as usize).and_then(Option::as_mut) else { continue };
            if entry.serial != key.serial {
                continue;
            }
            entry.touched = false;
            // A time that has passed already is due in the next turn, not again
            // and again in this one.
            let soon = self.now.mono + SOON;
            let deadline = [entry.consumer.next_deadline(), entry.retry].into_iter().flatten().min();
            let deadline = deadline.map(|deadline| deadline.max(soon));
            if deadline != entry.deadline {
                if let Some(before) = entry.deadline {
                    self.deadlines.remove(&(before, key));
                }
                self.deadlines.extend(deadline.map(|deadline| (deadline, key)));
                entry.deadline = deadline;
            }
            let under_way = entry.consumer.under_way();
            self.under_way = self.under_way.saturating_sub(entry.under_way) + under_way;
            entry.under_way = under_way;
            self.counters.count_consumer(&mut entry.counted, entry.consumer.counts());
            if entry.consumer.is_dirty() {
                self.positions.dirty(key, self.now.mono);
                if entry.claimed {
                    self.seating.changed(key, self.now.mono);
                }
            }
        }
        self.touched = touched;
        self.counters.consumer_under_way.store(self.under_way, Ordering::Relaxed);
    }
}

impl Stage for ConsumeStage {
    fn name(&self) -> &'static str {
        "consume"
    }

    fn do_work(&mut self, now: Now) -> usize {
        self.now = now;
        let mut work = 0;
        while work < BATCH && !self.inbox.is_empty() && self.net.has_room(ROOM) && self.append.has_room(ROOM) {
            let Some(message) = self.inbox.pop() else { break };
            self.on_message(message);
            work += 1;
        }
        work += self.look_at_seats();
        work += self.look_at_streams() + self.tick() + self.serve() + self.bury();
        self.look_after();
        work += self.part();
        work += self.keep();
        self.look_at_lags();
        self.net.notify();
        self.append.notify();
        self.seating.notify();
        work
    }

    fn load(&self) -> Backlog {
        backlog(&self.inbox)
    }

    fn waker(&self) -> Option<StageWaker> {
        Some(self.waker.clone())
    }

    fn next_deadline(&self) -> Option<Mono> {
        // With somebody to serve, only a full ring can have ended the turn.
        let serves = !self.ready.is_empty() && !self.lifecycle.is_draining();
        let serving = serves.then_some(self.now.mono);
        let tick = self.deadlines.first().map(|(deadline, _)| *deadline);
        [serving, tick, self.positions.next_deadline(), self.dead.next_deadline()]
            .into_iter()
            .chain([self.seating.next_deadline(), self.looks.next_deadline()])
            .flatten()
            .min()
    }

    fn on_stop(&mut self, _now: Now) {
        self.keep_all();
    }
}
