//! What a stream is to have later: its schedule.
//!
//! A delayed block goes into a log of its own, in `schedule/` beside the
//! stream's segments, and is acknowledged for being there. When it is due, by
//! the time of day, it is appended to the stream with the same stamp: the
//! earliest first, those of one time in the order in which they came. A clock
//! that is set back delays it, nothing else.
//!
//! Once into the stream, across crashes: only what is on disk in the schedule's
//! log goes into the stream, and when it is on disk there, keyed state says so,
//! together with the place up to which that holds for all of the stream. At the
//! start the stream is read from that place on, and what is found there, by its
//! stamp, is done too. Where keyed state says more than the logs, it is made
//! anew from them.
//!
//! In memory: when and where, per block. Bounded by `limits.scheduled`; what
//! comes beyond is refused.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use weft_base::{ByteCount, Epoch, HubId, Mono, Now, UnixNanos};
use weft_keyed::{Batch, KeyedError, Space, end_of};
use weft_log::{Log, LogBlock, LogOptions, LogReader, ReadError};
use weft_ring::arena::BlockRef;
use weft_stream::intake::Asked;
use weft_wire::block::layout::DELAYED;
use weft_wire::block::{Block, StreamPlace, set_stream_place};
use weft_wire::frame::LastValues;

use super::StreamSpec;
use super::index::{Index, IndexError};
use super::sync::SyncState;
use super::verify::Health;
use crate::keyed::{KeyedWriter, Until, Written};
use crate::options::Limits;

/// Its folder, beside the stream's segments.
pub(super) const FOLDER: &str = "schedule";
/// What a stream's schedule is called, in logs and by tools.
pub(super) fn name_of(stream: &str) -> String {
    format!("{stream}/{FOLDER}")
}

/// The size of its segments: space comes back soon.
const SEGMENT: ByteCount = ByteCount::mib(16);
/// Blocks, and bytes, that wait for the stream's disk before the next are due.
const MOVED: (usize, usize) = (1_024, 8 << 20);
/// Entries of keyed state that are read, and deleted, at a time.
const SLICE: usize = 1_024;

/// A block that is in the stream, and not known to be on disk there.
struct Moved {
    at: u64,
    /// Its place in the stream, and the one after it.
    local: u64,
    next: u64,
    /// For live subscribers; none when the stream had it from another home.
    live: Option<BlockRef>,
}

/// What keyed state is being told.
struct Marking {
    written: Option<Written>,
    /// What was done, and is marked by it.
    done: Vec<u64>,
    /// How keyed state then stands.
    floor: u64,
    /// None: there is more to take out before it can say so.
    stands: Option<u64>,
    marks: usize,
}

/// The schedule of one stream.
pub(crate) struct Schedule {
    pub(super) log: Log,
    reader: LogReader,
    /// Which delayed blocks of each producer were taken.
    pub(super) index: Index,
    keyed: KeyedWriter,
    /// The stream's id, as keys begin.
    id: [u8; 8],
    pub(super) sync: Arc<SyncState>,
    /// What is damaged of its log.
    pub(super) health: Arc<Health>,
    /// The synced position that was last acted upon.
    pub(super) settled: u64,
    /// When, and where in the log, of all that is not in the stream.
    due: BTreeSet<(u64, u64)>,
    /// Where, of all that is not known to be on the stream's disk.
    open: BTreeSet<u64>,
    moved: VecDeque<Moved>,
    moved_bytes: usize,
    /// On the stream's disk, and not yet said so in keyed state.
    unmarked: Vec<u64>,
    /// What keyed state is being told.
    marking: Option<Marking>,
    /// As keyed state has it: all before is done, and how many after it are.
    floor: u64,
    marks: usize,
    /// There are marks to take out.
    marks_left: bool,
    /// As keyed state has it: what the stream has before is marked.
    stands: u64,
    /// Events that are not in the stream.
    events: u64,
    paused: Option<Mono>,
    failing: bool,
}

/// Who stamped a block, and its number there.
type Stamped = (HubId, Epoch, u64);

fn stamped(block: &Block<'_>) -> Option<Stamped> {
    block.stamp().map(|stamp| (stamp.origin, stamp.epoch, stamp.block))
}

/// The options of a schedule's log.
pub(super) fn log_options(limits: &Limits, home: u32) -> LogOptions {
    let least = limits.frame.0.saturating_mul(2);
    LogOptions {
        home,
        segment: ByteCount(SEGMENT.0.max(least)),
        max_block: limits.frame.as_usize(),
        ..LogOptions::default()
    }
}

impl Schedule {
    /// The schedule whose log is open, of the stream with this log.
    pub(super) fn open(
        keyed: KeyedWriter,
        spec: &StreamSpec,
        limits: &Limits,
        home: u32,
        (log, stream): (Log, &Log),
    ) -> Result<Self, IndexError> {
        let own = StreamSpec {
            id: HubId::of_name(&format!("{:016x}/schedule", spec.id)).0,
            last: LastValues::Off,
            ..spec.clone()
        };
        let index = Index::of_schedule(keyed.clone(), &own, limits, home, &log)?;
        let mut schedule = Self {
            reader: log.reader(),
            index,
            keyed,
            id: spec.id.to_be_bytes(),
            sync: Arc::new(SyncState::default()),
            health: Arc::default(),
            settled: log.synced(),
            due: BTreeSet::new(),
            open: BTreeSet::new(),
            moved: VecDeque::new(),
            moved_bytes: 0,
            unmarked: Vec::new(),
            marking: None,
            floor: 0,
            marks: 0,
            marks_left: false,
            stands: 0,
            events: 0,
            paused: None,
            failing: false,
            log,
        };
        schedule.recover(stream)?;
        Ok(schedule)
    }

    /// Finds what is still to come.
    fn recover(&mut self, stream: &Log) -> Result<(), IndexError> {
        let number = |value: Option<Vec<u8>>| value.and_then(|v| Some(u64::from_le_bytes(v.try_into().ok()?)));
        self.floor = number(self.keyed.reads().get(Space::Schedule, &self.key(b'f', None))?).unwrap_or(0);
        self.stands = number(self.keyed.reads().get(Space::Schedule, &self.key(b's', None))?).unwrap_or(0);
        if self.floor > self.log.next() || self.stands > stream.next() {
            // A log was put back: it is right.
            self.forget()?;
            (self.floor, self.stands) = (0, 0);
        }
        let from = self.floor.max(self.log.first());
        if from >= self.log.next() {
            return Ok(());
        }
        let marked = self.marked(from)?;
        self.marks = marked.len();
        let mut there: HashSet<Stamped> = HashSet::new();
        stream.for_each_block(self.stands.max(stream.first()), |block| {
            if block.flags() & DELAYED != 0 {
                there.extend(stamped(&block));
            }
        })?;
        let (due, open, events, unmarked) = (&mut self.due, &mut self.open, &mut self.events, &mut self.unmarked);
        self.log.for_each_block(from, |block| {
            let at = block.stream_sequence();
            if marked.contains(&at) {
                return;
            }
            if stamped(&block).is_some_and(|stamp| there.contains(&stamp)) {
                return unmarked.push(at);
            }
            due.insert((due_at(&block), at));
            open.insert(at);
            *events += u64::from(block.event_count());
        })?;
        // What recovery found in the stream is on its disk.
        if let Err(error) = self.mark_all(stream.next()) {
            self.mark_failed(&error);
        }
        Ok(())
    }

    fn key(&self, kind: u8, at: Option<u64>) -> Vec<u8> {
        let mut key = self.id.to_vec();
        key.push(kind);
        if let Some(at) = at {
            key.extend(at.to_be_bytes());
        }
        key
    }

    /// Those that keyed state says are done, from there on.
    fn marked(&self, from: u64) -> Result<HashSet<u64>, KeyedError> {
        let (mut from, end) = (self.key(b'd', Some(from)), end_of(&self.key(b'd', None)));
        let mut marked = HashSet::new();
        loop {
            let found = self.keyed.reads().scan(Space::Schedule, &from, &end, SLICE)?;
            marked.extend(found.iter().filter_map(|(key, _)| key.last_chunk::<8>().map(|at| u64::from_be_bytes(*at))));
            match found.last() {
                Some((key, _)) if found.len() == SLICE => {
                    from.clone_from(key);
                    from.push(0);
                }
                _ => return Ok(marked),
            }
        }
    }

    /// Deletes all that keyed state knows of it.
    fn forget(&self) -> Result<(), KeyedError> {
        self.keyed.catch_up();
        let end = end_of(&self.id);
        loop {
            let found = self.keyed.reads().scan(Space::Schedule, &self.id, &end, SLICE)?;
            let mut batch = Batch::new();
            found.iter().for_each(|(key, _)| batch.delete(Space::Schedule, key.as_slice()));
            self.keyed.write_now(batch)?;
            if found.len() < SLICE {
                return Ok(());
            }
        }
    }

    /// Events that are not in the stream yet.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// When the next is due.
    pub(super) fn next_due(&self) -> Option<UnixNanos> {
        self.due.first().map(|(at, _)| UnixNanos(*at))
    }

    /// When there is something to do that nobody else wakes for.
    pub(super) fn deadline(&self, now: Now) -> Option<Mono> {
        let (at, place) = *self.due.first()?;
        if place >= self.log.synced() || self.is_full() {
            return None;
        }
        let wait = Duration::from_nanos(at.saturating_sub(now.wall.0).max(1_000_000));
        Some((now.mono + wait).max(self.paused.unwrap_or_default()))
    }

    fn is_full(&self) -> bool {
        self.moved.len() >= MOVED.0 || self.moved_bytes >= MOVED.1
    }

    /// A block was appended to the schedule's log.
    pub(super) fn note(&mut self, due: UnixNanos, at: u64, events: u64) {
        self.due.insert((due.0, at));
        self.open.insert(at);
        self.events += events;
    }

    /// Where the block lies that is due first, if it is due, may go, and is on
    /// disk.
    pub(super) fn first_due(&mut self, now: Now) -> Option<u64> {
        let (at, place) = *self.due.first()?;
        let may = at <= now.wall.0 && place < self.log.synced() && !self.is_full();
        if !may || self.paused.is_some_and(|until| now.mono < until) {
            return None;
        }
        self.paused = None;
        Some(place)
    }

    /// The block of this place, as it came from its publisher.
    pub(super) fn read(&mut self, place: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let upto = self.log.synced();
        let found = self.reader.read(place, upto, 1)?.next().filter(|block: &LogBlock| block.first() == place);
        Ok(found.map(|block| {
            let mut bytes = block.to_vec();
            // It is in no stream yet. A stamped block can always be set so.
            let _ = set_stream_place(&mut bytes, StreamPlace { local: 0, home: 0, home_sequence: 0 });
            bytes
        }))
    }

    /// Nothing is due before then: the stream, or memory, takes nothing more.
    pub(super) fn pause(&mut self, until: Mono) {
        self.paused = Some(until);
    }

    /// The first block is in the stream, at these places.
    pub(super) fn moved(&mut self, events: u64, local: u64, next: u64, live: Option<BlockRef>) {
        let Some((_, at)) = self.due.pop_first() else { return };
        self.events = self.events.saturating_sub(events);
        self.moved_bytes += live.as_ref().map_or(0, |block| block.len());
        self.moved.push_back(Moved { at, local, next, live });
    }

    /// The first block cannot be read, and never will be.
    pub(super) fn lost(&mut self, events: u64) {
        let Some((_, at)) = self.due.pop_first() else { return };
        self.events = self.events.saturating_sub(events);
        self.open.remove(&at);
        self.unmarked.push(at);
    }

    /// The stream is on disk up to there: hands out the next block for live
    /// subscribers.
    pub(super) fn next_live(&mut self, synced: u64) -> Option<BlockRef> {
        while let Some(moved) = self.moved.pop_front_if(|moved| moved.next <= synced) {
            self.open.remove(&moved.at);
            self.unmarked.push(moved.at);
            if let Some(live) = moved.live {
                self.moved_bytes = self.moved_bytes.saturating_sub(live.len());
                return Some(live);
            }
        }
        None
    }

    /// Says what is done, if anything is: the stream is on disk up to `synced`.
    pub(super) fn settle(&mut self, synced: u64) {
        self.marked_so_far();
        if self.marking.is_none() && (!self.unmarked.is_empty() || self.marks_left) {
            self.mark(synced);
        }
    }

    /// Says that all is marked which the stream has before its synced end, so
    /// that not all of it is read at the start.
    pub(super) fn stand(&mut self, synced: u64) {
        let behind = self.log.first() < self.log.next() && self.stands != synced && self.moved.is_empty();
        if behind && self.marking.is_none() {
            self.mark(synced);
        }
    }

    fn mark(&mut self, synced: u64) {
        match self.marks(synced) {
            Ok((batch, mut marking)) => {
                marking.written = Some(self.keyed.write(batch, Until::SyncedSoon));
                self.marking = Some(marking);
            }
            Err(error) => self.mark_failed(&error),
        }
    }

    /// Looks whether keyed state was told.
    fn marked_so_far(&mut self) {
        let Some(outcome) = self.marking.as_ref().and_then(|m| m.written.as_ref()).and_then(Written::outcome) else {
            return;
        };
        let Some(marking) = self.marking.take() else { return };
        match outcome {
            Ok(()) => self.has_marked(marking),
            Err(error) => {
                self.unmarked.extend(marking.done);
                self.mark_failed(&error);
            }
        }
    }

    /// Says all of it on this thread.
    fn mark_all(&mut self, synced: u64) -> Result<(), KeyedError> {
        if let Some(marking) = self.marking.take() {
            self.unmarked.extend(marking.done);
        }
        self.keyed.catch_up();
        loop {
            let (batch, marking) = self.marks(synced)?;
            if let Err(error) = self.keyed.write_now(batch) {
                self.unmarked.extend(marking.done);
                return Err(error);
            }
            self.has_marked(marking);
            if !self.marks_left {
                return Ok(());
            }
        }
    }

    /// The next batch: what is done, and what is no longer worth saying. Each is
    /// true by itself.
    fn marks(&mut self, synced: u64) -> Result<(Batch, Marking), KeyedError> {
        let target = self.open.first().copied().unwrap_or(self.log.next()).max(self.floor);
        let stands = self.moved.front().map_or(synced, |moved| moved.local);
        let old = if self.marks == 0 {
            Vec::new()
        } else {
            let (from, below) = (self.key(b'd', Some(0)), self.key(b'd', Some(target)));
            self.keyed.reads().scan(Space::Schedule, &from, &below, SLICE)?
        };
        let mut batch = Batch::new();
        let done = std::mem::take(&mut self.unmarked);
        let added = done.iter().filter(|at| **at >= target);
        let added = added.map(|at| batch.put(Space::Schedule, self.key(b'd', Some(*at)), Vec::new())).count();
        old.iter().for_each(|(key, _)| batch.delete(Space::Schedule, key.as_slice()));
        let left = old.len() == SLICE;
        let last = old.last().and_then(|(key, _)| key.last_chunk::<8>()).map(|at| u64::from_be_bytes(*at));
        let floor = if left { last.map_or(target, |at| at + 1) } else { target };
        batch.put(Space::Schedule, self.key(b'f', None), floor.to_le_bytes());
        if !left {
            batch.put(Space::Schedule, self.key(b's', None), stands.to_le_bytes());
        }
        let marks = (self.marks + added).saturating_sub(old.len());
        let stands = (!left).then_some(stands);
        Ok((batch, Marking { written: None, done, floor, stands, marks }))
    }

    fn has_marked(&mut self, marking: Marking) {
        (self.floor, self.marks, self.failing) = (marking.floor, marking.marks, false);
        self.marks_left = marking.stands.is_none();
        if let Some(stands) = marking.stands {
            self.stands = stands;
        }
    }

    /// Nothing is lost: the stream is read from where keyed state stands.
    fn mark_failed(&mut self, error: &KeyedError) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(code = "keyed_failed", error = %error, "keyed state of a schedule");
        }
    }

    /// Gives back the space of segments in which all is done.
    pub(super) fn tend(&mut self, now: Now) {
        if self.log.bytes() >= SEGMENT.0 / 2 {
            self.log.set_floor(self.floor);
            if self.log.retain(now) > 0 {
                // Perhaps nothing more is ever appended: the files go now.
                self.log.syncer().tidy();
            }
        }
        self.index.sweep(now);
    }

    /// Closes it; the stream is on disk up to there.
    pub(super) fn close(mut self, synced: u64) -> Result<(), weft_log::SyncError> {
        while self.next_live(synced).is_some() {}
        if let Err(error) = self.mark_all(synced) {
            self.mark_failed(&error);
        }
        let next = self.log.next();
        self.log.close()?;
        self.index.close(next);
        Ok(())
    }

    /// Deletes it.
    pub(super) fn delete(self) -> Result<std::io::Result<()>, KeyedError> {
        self.forget()?;
        drop(self.reader);
        self.index.delete()?;
        Ok(self.log.delete())
    }
}

/// When a block of a schedule is due.
fn due_at(block: &Block<'_>) -> u64 {
    Asked::of(*block).ok().and_then(|asked| asked.deliver_at).map_or(0, |at| at.0)
}
