//! The append stage: the streams of this hub.
//!
//! Appends blocks to the logs, acknowledges them at the level asked, reads for
//! subscribers, and makes, deletes and reports streams. Owner thread: one.
//! Bound per turn: [`BATCH`] messages. Syncing to disk is the sync stage's
//! work, so that no block waits behind another one's `fdatasync`: all that was
//! appended while one sync ran is made durable by the next (group commit).
//!
//! Readers see what is synced, never more: an event that a subscriber has seen
//! is still there after a crash.

mod commit;
mod copies;
mod delay;
mod folder;
mod homes;
mod index;
mod internal;
mod keyed;
mod last;
mod mend;
mod position;
mod read;
mod schedule;
mod spec;
mod spool;
mod sync;
mod take;
mod tend;
mod traced;
mod verify;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use arc_swap::ArcSwap;
use weft_base::sync::atomic::{AtomicBool, Ordering};
use weft_base::{Epoch, HubId, Mono, Now};
use weft_ring::arena::Arena;
use weft_ring::mpsc;
use weft_ring::stage::{Backlog, Stage, StageWaker};
use weft_stream::intake::Batches;
use weft_topic::Filter;
use weft_wire::frame::{ErrorCode, Retention};

use self::commit::Commits;
pub(crate) use self::copies::as_mirrored;
pub use self::folder::FolderError;
pub(crate) use self::folder::{Birth, Folder, Stream};
pub(crate) use self::homes::AwaitedLevel;
pub(crate) use self::internal::{Author, Internal};
use self::internal::{Authors, Internals};
pub(crate) use self::mend::{Job, Mending, ToMend};
pub(crate) use self::position::holds;
pub(crate) use self::spec::StreamSpec;
pub use self::spec::stream_json;
use self::spool::Spools;
pub(crate) use self::spool::{FoundSpools, load_spools};
use self::sync::Whose;
pub(crate) use self::sync::{SyncStage, ToSync};
use self::traced::Traced;
pub(crate) use self::verify::{ToVerify, VerifyParts, VerifyStage};
use crate::audit::ToAudit;
use crate::consume::{Floors, StreamUp, ToConsume};
use crate::counters::{Counters, add};
use crate::govern::Quotas;
use crate::inspect::ToInspect;
use crate::messages::{StreamSlot, Target, ToAppend, ToConductor, ToNet};
use crate::meters::Meter;
use crate::options::HubOptions;
use crate::outbox::{Outbox, backlog};
use crate::replicate::ToReplicate;

/// Messages taken in one turn.
const BATCH: usize = 256;
/// Room that the next stages must have before a message is taken.
const ROOM: usize = 32;
/// Slots that are free before one is used again: what is under way for a
/// stream that was deleted must not come to one that was made since.
const RESTING: usize = 64;

/// The stage.
pub(crate) struct AppendStage {
    inbox: mpsc::Consumer<ToAppend>,
    net: Outbox<ToNet>,
    conductor: Outbox<ToConductor>,
    consume: Outbox<ToConsume>,
    /// Some stream with consumers has more on disk.
    grown: Arc<AtomicBool>,
    sync: Outbox<ToSync>,
    /// None: nothing is verified but what is read.
    verify: Option<Arc<ToVerify>>,
    replicate: Outbox<ToReplicate>,
    homes_waiting: homes::HomesWaiting,
    identity_epoch: Epoch,
    folder: Option<Folder>,
    /// Where delayed blocks are given to live subscribers from.
    arena: Arena,
    streams: Vec<Option<Stream>>,
    /// Slots of deleted streams, the one free for longest first.
    free: VecDeque<StreamSlot>,
    names: HashMap<String, StreamSlot>,
    commits: Commits,
    cursors: read::Cursors,
    internals: Internals,
    /// Of a hub that keeps an audit log.
    audit: Option<Outbox<ToAudit>>,
    spools: Spools,
    batches: Batches<take::Part>,
    traced: Traced,
    options: Arc<HubOptions>,
    /// This hub.
    home: HubId,
    counters: Arc<Counters>,
    /// What tenants may store, as the state says.
    quotas: Arc<ArcSwap<Quotas>>,
    /// Told of what it put in quarantine, at a hub that checks payloads.
    inspect: Option<Outbox<ToInspect>>,
    waker: StageWaker,
    tending: tend::Tending,
    /// When a block that could not be stored is told again, and how many were not told since.
    next_refusal_told: Mono,
    refusals_untold: u64,
    now: Now,
}

/// What the append stage is made of.
pub(crate) struct AppendParts {
    pub(crate) inbox: mpsc::Consumer<ToAppend>,
    pub(crate) net: Outbox<ToNet>,
    pub(crate) conductor: Outbox<ToConductor>,
    pub(crate) consume: Outbox<ToConsume>,
    /// Of a hub that keeps an audit log.
    pub(crate) audit: Option<Outbox<ToAudit>>,
    pub(crate) grown: Arc<AtomicBool>,
    pub(crate) sync: Outbox<ToSync>,
    pub(crate) verify: Option<Arc<ToVerify>>,
    pub(crate) replicate: Outbox<ToReplicate>,
    /// This life of the hub.
    pub(crate) epoch: Epoch,
    pub(crate) folder: Option<Folder>,
    pub(crate) arena: Arena,
    pub(crate) streams: Vec<Stream>,
    /// What waits for homes of streams of other hubs.
    pub(crate) spools: FoundSpools,
    pub(crate) options: Arc<HubOptions>,
    pub(crate) counters: Arc<Counters>,
    /// What tenants may store, as the state says.
    pub(crate) quotas: Arc<ArcSwap<Quotas>>,
    pub(crate) inspect: Option<Outbox<ToInspect>>,
    pub(crate) waker: StageWaker,
}

impl AppendStage {
    /// The stage with the streams that were found in the data folder.
    pub(crate) fn new(parts: AppendParts) -> Self {
        let mut stage = Self {
            inbox: parts.inbox,
            net: parts.net,
            conductor: parts.conductor,
            consume: parts.consume,
            grown: parts.grown,
            sync: parts.sync,
            verify: parts.verify,
            replicate: parts.replicate,
            homes_waiting: homes::HomesWaiting::default(),
            identity_epoch: parts.epoch,
            folder: parts.folder,
            arena: parts.arena,
            streams: Vec::new(),
            free: VecDeque::new(),
            names: HashMap::new(),
            commits: Commits::new(
                parts.counters.measured(&parts.options.see, |table| Meter::new(table, "append.settle")),
            ),
            cursors: read::Cursors::default(),
            internals: Internals::default(),
            audit: parts.audit,
            spools: Spools::default(),
            batches: Batches::new(parts.options.limits.batches(parts.options.timers.batch)),
            traced: Traced::default(),
            home: HubId::of_name(&parts.options.name),
            options: parts.options,
            counters: parts.counters,
            quotas: parts.quotas,
            inspect: parts.inspect,
            waker: parts.waker,
            tending: tend::Tending::default(),
            next_refusal_told: Mono::default(),
            refusals_untold: 0,
            now: Now::default(),
        };
        for stream in parts.streams {
            stage.install(stream, None);
        }
        stage.install_spools(parts.spools);
        stage
    }

    /// Gives a stream its slot and makes it known.
    fn install(&mut self, stream: Stream, answer: Option<(crate::messages::SessionId, u64)>) {
        let slot = if self.free.len() > RESTING { self.free.pop_front() } else { None };
        let slot = slot.unwrap_or_else(|| {
            self.streams.push(None);
            StreamSlot(self.streams.len() as u32 - 1)
        });
        self.names.insert(stream.spec.name.clone(), slot);
        self.commits.fresh(slot, stream.settled);
        let of = Whose::stream(&stream.spec);
        self.sync.push(ToSync::Add { slot, syncer: stream.log.syncer(), state: stream.sync.clone(), of });
        add(&self.counters.log_damaged, stream.health.places());
        if let Some(verify) = &self.verify {
            verify.add(&stream.spec.name, stream.log.verifier(), &stream.health);
        }
        self.consume.push(ToConsume::StreamUp(Box::new(StreamUp {
            slot,
            name: stream.spec.name.clone(),
            id: stream.spec.id,
            dir: stream.dir.clone(),
            reader: stream.log.reader(),
            watched: stream.watched.clone(),
            floors: match stream.spec.retention {
                Retention::Limits => Floors::None,
                Retention::Interest => Floors::Interest,
                Retention::WorkQueue => Floors::WorkQueue,
            },
        })));
        let (def, filters) = (Arc::new(stream.spec.def(&self.options.name)), stream.filters.clone());
        self.conductor.push(ToConductor::StreamUp { slot, def, filters, answer });
        if let Some(place) = self.streams.get_mut(slot.0 as usize) {
            *place = Some(stream);
        }
        self.tell_schedule(slot);
        self.tell_replicate(slot);
    }

    fn stream(&mut self, slot: StreamSlot) -> Option<&mut Stream> {
        self.streams.get_mut(slot.0 as usize)?.as_mut()
    }

    fn on_message(&mut self, message: ToAppend) {
        match message {
            ToAppend::Append { streams, block, completion, spooled } => {
                self.append(&streams, &block, completion, spooled);
            }
            ToAppend::RefuseFlow { key, incarnation } => self.commits.refuse(key, incarnation, ErrorCode::NO_STREAM),
            ToAppend::Spool { streams, block, completion } => self.spool(&streams, &block, completion),
            ToAppend::SpoolDone(places) => self.spool_done(&places),
            ToAppend::SpoolRound(round) => self.spool_round(round),
            ToAppend::SpoolGone { stream } => self.spool_gone(stream),
            ToAppend::SpoolKnown(known) => self.spool_known(known),
            ToAppend::SpoolReport { session, id, stream, detail } => self.spool_report((session, id), &stream, detail),
            ToAppend::SayAgain { key, incarnation } => self.commits.say_again(key, incarnation),
            ToAppend::Open { target, stream, start, position, filter } => {
                self.open(target, &stream, start, position, filter);
            }
            ToAppend::Fetch { target, stream, from, max_bytes } => self.fetch(target, stream, from, max_bytes),
            ToAppend::FindSpill { target, stream, filter } => self.find_spill(target, stream, filter),
            ToAppend::CloseSubscription { target } => self.cursors.close(target),
            ToAppend::CloseSession { session } => self.cursors.close_session(session),
            ToAppend::Create { session, id, spec } => self.create(session, id, spec),
            ToAppend::Delete { session, id, name } => self.delete(session, id, &name),
            ToAppend::Alter { session, id, spec } => self.alter(session, id, spec),
            ToAppend::LastGet(asked) => self.last_get(&asked),
            ToAppend::AwaitLevel { session, asked } => self.await_level(session, &asked),
            ToAppend::AppendCopies { slot, batch } => self.append_copies(slot, &batch),
            ToAppend::HomesSynced { slot, hub, upto } => self.home_has(slot, hub, upto),
            ToAppend::HomesHold { slot, hub, end } => self.home_holds(slot, hub, &end),
            ToAppend::Floor { slot, floor, unwanted } => {
                let home = self.home;
                if let Some(stream) = self.stream(slot) {
                    stream.settled_below(floor, unwanted, home);
                }
            }
            ToAppend::Report { session, id, name } => self.report(session, id, name.as_deref()),
            ToAppend::Internal(internal) => self.append_internal(internal),
        }
    }

    fn find_spill(&mut self, target: Target, name: String, filter: Filter) {
        let answer = match self.names.get(&name) {
            Some(slot) => ToNet::SpillFound { target, stream: *slot, filter },
            None => {
                let detail = format!("there is no stream `{name}` to spill to: make it with `weft stream create`");
                ToNet::SubscribeRefused { target, code: ErrorCode::NO_STREAM, detail }
            }
        };
        self.net.push(answer);
    }

    /// Answers what has reached the disk since the last turn.
    fn settle(&mut self) -> usize {
        let mut work = 0;
        let mut watched = false;
        let mut authors = Authors { consume: &mut self.consume, audit: &mut self.audit, inspect: &mut self.inspect };
        for (index, place) in self.streams.iter_mut().enumerate() {
            let Some(stream) = place else { continue };
            let slot = StreamSlot(index as u32);
            let synced = stream.log.synced();
            stream.index.checkpoint(stream.log.next(), synced, self.now);
            if synced != stream.settled {
                stream.settled = synced;
                self.commits.synced(slot, synced);
                self.homes_waiting.moved();
                self.cursors.grown(slot, &mut self.net);
                self.internals.synced(slot, synced, &mut authors);
                watched |= stream.watched.load(Ordering::Acquire);
                if stream.copying.is_watched() {
                    self.replicate.push(ToReplicate::Synced { slot });
                }
                work += 1;
            }
            if let Some(reason) = stream.sync.take_failure() {
                tracing::error!(
                    code = "sync_failed",
                    stream = stream.spec.name,
                    reason,
                    "a stream could not be synced"
                );
                self.commits.failed(slot, &reason, &mut self.net);
                self.internals.failed(slot, &reason, &mut authors);
            }
        }
        if !self.traced.is_empty() {
            self.traced.settle(&self.streams, &self.counters, self.now.wall.0);
        }
        work += self.settle_schedules();
        work += self.settle_spools();
        if watched {
            // Not a message: however often a stream grows, there is one to be told.
            self.grown.store(true, Ordering::Release);
            self.consume.wake();
        }
        work + self.commits.settle(&mut self.net) + self.settle_homes() + self.say_flows()
    }

    /// Tells the conductor how far flows are stored, while it has room.
    fn say_flows(&mut self) -> usize {
        let mut said = 0;
        while self.conductor.has_room(1) {
            let Some((key, position, flow_places)) = self.commits.next_flow() else { break };
            self.conductor.push(ToConductor::FlowStored {
                key,
                incarnation: position.incarnation,
                written: position.written,
                synced: position.synced,
                refused: position.refused,
                places: flow_places,
            });
            said += 1;
        }
        said
    }
}

impl Stage for AppendStage {
    fn name(&self) -> &'static str {
        "append"
    }

    fn do_work(&mut self, now: Now) -> usize {
        self.now = now;
        self.counters.turn(now);
        self.commits.turn(now.mono);
        let mut work = 0;
        let mut appended = false;
        while work < BATCH
            && self.net.has_room(ROOM)
            && self.conductor.has_room(1)
            && self.consume.has_room(1)
            && self.sync.has_room(1)
            && self.replicate.has_room(1)
            && self.inspect.as_mut().is_none_or(|inspect| inspect.has_room(1))
        {
            let Some(message) = self.inbox.pop() else { break };
            appended |= matches!(
                message,
                ToAppend::Append { .. }
                    | ToAppend::Internal(_)
                    | ToAppend::AppendCopies { .. }
                    | ToAppend::Spool { .. }
            );
            self.on_message(message);
            work += 1;
        }
        if appended {
            self.sync.wake();
        }
        work += self.tend(work > 0);
        work += self.settle();
        self.net.notify();
        self.conductor.notify();
        self.consume.notify();
        self.sync.notify();
        self.replicate.notify();
        self.audit.iter_mut().for_each(Outbox::notify);
        self.inspect.iter_mut().for_each(Outbox::notify);
        work
    }

    fn load(&self) -> Backlog {
        backlog(&self.inbox)
    }

    fn waker(&self) -> Option<StageWaker> {
        Some(self.waker.clone())
    }

    fn next_deadline(&self) -> Option<Mono> {
        let due = self.streams.iter().flatten().filter_map(|stream| stream.index.deadline());
        let schedules = self.streams.iter().flatten().filter_map(|stream| stream.schedule.as_ref());
        let schedules = schedules.flat_map(|schedule| [schedule.deadline(self.now), schedule.index.deadline()]);
        due.chain(schedules.flatten()).chain([self.tending.deadline()]).chain(self.spools.deadline()).min()
    }

    fn on_stop(&mut self, _now: Now) {
        self.close_spools();
        for mut stream in self.streams.drain(..).flatten() {
            let next = stream.log.next();
            match stream.log.close() {
                Ok(()) => {
                    stream.index.close(next);
                    if let Some(Err(error)) = stream.schedule.map(|schedule| schedule.close(next)) {
                        let stream = stream.spec.name;
                        tracing::error!(code = "sync_failed", stream, error = %error, "a schedule's last sync failed");
                    }
                }
                Err(error) => {
                    let stream = stream.spec.name;
                    tracing::error!(code = "sync_failed", stream, error = %error, "the last sync failed");
                }
            }
        }
    }
}
