//! When what consumers have settled is written, and who waits for that.
//!
//! Dirty consumers are written together, at most every `timers.positions`; one
//! whose member asked for an answer is written at the end of the turn, and the
//! answer goes out once that is synced. The others are synced within
//! [`SYNC_EVERY`]: so much is handed out again after the machine died. What
//! fails to be written stays dirty and is tried again.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use weft_base::Mono;
use weft_keyed::{Batch, Keyed, Space};
use weft_ring::stage::StageWaker;
use weft_wire::frame::{self, ErrorCode, Frame};

use super::entry::Key;
use super::keep::{self, KeyedSync};
use super::{ConsumeStage, Floors};
use crate::counters::add;
use crate::messages::{SessionId, StreamSlot, ToAppend, ToNet};

/// How often streams that keep only what consumers want are told how far they are.
const FLOORS_EVERY: Duration = Duration::from_secs(1);

/// What was written is synced at once, but not again within this time.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The stage's side of the keyed state.
pub(super) struct Positions {
    keyed: Option<Arc<dyn Keyed>>,
    sync: Option<Arc<KeyedSync>>,
    sync_waker: StageWaker,
    every: Duration,
    dirty: BTreeSet<Key>,
    due: Option<Mono>,
    /// Members that wait for an answer, and are written at the end of this turn.
    owed: Vec<(Key, SessionId, u64)>,
    /// Those whose answer waits for this sync.
    syncing: VecDeque<(u64, SessionId, u64)>,
    /// Floors that are told once this sync is done.
    floors: Option<(u64, Vec<(StreamSlot, u64)>)>,
    floors_due: Option<Mono>,
    /// When what was written is synced, if nobody asks before.
    sync_due: Option<Mono>,
    /// Not before this.
    sync_again: Mono,
}

impl Positions {
    pub(super) fn new(
        keyed: Option<Arc<dyn Keyed>>,
        sync: Option<Arc<KeyedSync>>,
        sync_waker: StageWaker,
        every: Duration,
    ) -> Self {
        Self {
            keyed,
            sync,
            sync_waker,
            every,
            dirty: BTreeSet::new(),
            due: None,
            owed: Vec::new(),
            syncing: VecDeque::new(),
            floors: None,
            floors_due: None,
            sync_due: None,
            sync_again: Mono(0),
        }
    }

    pub(super) fn keyed(&self) -> Option<&Arc<dyn Keyed>> {
        self.keyed.as_ref()
    }

    /// A consumer has something to keep.
    pub(super) fn dirty(&mut self, key: Key, now: Mono) {
        self.dirty.insert(key);
        self.due.get_or_insert(now + self.every);
        self.floors_due.get_or_insert(now + FLOORS_EVERY);
    }

    pub(super) fn forget(&mut self, key: Key) {
        self.dirty.remove(&key);
    }

    /// A member waits until what it said is on disk.
    pub(super) fn owe(&mut self, key: Key, session: SessionId, request: u64) {
        self.owed.push((key, session, request));
    }

    /// Asks for a sync of what was written: the ticket to wait for.
    fn want_sync(&mut self) -> u64 {
        self.sync_due = None;
        let Some(sync) = &self.sync else { return 0 };
        let ticket = sync.want();
        self.sync_waker.wake();
        ticket
    }

    fn synced(&self) -> (u64, u64) {
        self.sync.as_ref().map_or((u64::MAX, 0), |sync| (sync.done(), sync.failed()))
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        [self.due, self.floors_due, self.sync_due].into_iter().flatten().min()
    }
}

impl ConsumeStage {
    /// Writes what is due, and answers what is synced.
    pub(super) fn keep(&mut self) -> usize {
        let mut work = 0;
        let due = self.positions.due.is_some_and(|due| due <= self.now.mono);
        if due || !self.positions.owed.is_empty() {
            work += self.write_positions();
        }
        if self.positions.sync_due.is_some_and(|due| due <= self.now.mono) {
            self.positions.want_sync();
            self.positions.sync_again = self.now.mono + SYNC_EVERY;
            work += 1;
        }
        work += self.answer();
        work + self.say_floors()
    }

    /// Writes all that is dirty.
    fn write_positions(&mut self) -> usize {
        self.positions.due = None;
        let keys = std::mem::take(&mut self.positions.dirty);
        let owed = std::mem::take(&mut self.positions.owed);
        let mut batch = Batch::default();
        for key in &keys {
            let Some(entry) = self.entries.get_mut(key.place as usize).and_then(Option::as_mut) else { continue };
            let Some(stream) = self.streams.get(&entry.slot).filter(|_| entry.serial == key.serial) else { continue };
            let name = keep::key(stream.id, &entry.definition.name);
            batch.put(Space::Positions, name, entry.consumer.saved().encode());
        }
        let Some(keyed) = self.positions.keyed.clone() else { return 0 };
        match keyed.apply(batch) {
            Ok(()) => {
                for key in &keys {
                    if let Some(entry) = self.entry(*key) {
                        entry.consumer.clean();
                    }
                }
                if owed.is_empty() {
                    self.positions.sync_due.get_or_insert(self.positions.sync_again.max(self.now.mono));
                } else {
                    let ticket = self.positions.want_sync();
                    let waiting = owed.into_iter().map(|(_, session, request)| (ticket, session, request));
                    self.positions.syncing.extend(waiting);
                }
            }
            Err(error) => {
                add(&self.counters.positions_failed, 1);
                tracing::error!(code = "positions_failed", error = %error, "what consumers settled could not be written");
                for (_, session, request) in owed {
                    self.refuse(session, request, ErrorCode::STORAGE, &error.to_string());
                }
                let later = self.now.mono + Duration::from_secs(1).max(self.positions.every);
                self.positions.dirty.extend(keys.iter().copied());
                self.positions.due = Some(later);
            }
        }
        keys.len()
    }

    /// Answers those whose sync is done.
    fn answer(&mut self) -> usize {
        let (done, failed) = self.positions.synced();
        let mut work = 0;
        while let Some((ticket, session, request)) = self.positions.syncing.pop_front_if(|(ticket, ..)| *ticket <= done)
        {
            work += 1;
            if ticket <= failed {
                let detail = "what was settled could not be synced to the disk: settle it again";
                self.refuse(session, request, ErrorCode::STORAGE, detail);
                continue;
            }
            let mut bytes = Vec::new();
            frame::encode(&Frame::Done(frame::Done { request }), &mut bytes);
            self.net.push(ToNet::Control { session, bytes });
        }
        work
    }

    /// Tells the append stage how far consumers of streams are that keep
    /// nothing else: only what a crash will not take back.
    fn say_floors(&mut self) -> usize {
        let (done, failed) = self.positions.synced();
        let mut work = 0;
        if let Some((_, floors)) = self.positions.floors.take_if(|(ticket, _)| *ticket <= done && *ticket > failed) {
            for (slot, floor) in floors {
                self.append.push(ToAppend::Floor { slot, floor });
                work += 1;
            }
        }
        self.positions.floors.take_if(|(ticket, _)| *ticket <= failed);
        if self.positions.floors.is_some() || self.positions.floors_due.is_none_or(|due| due > self.now.mono) {
            return work;
        }
        self.positions.floors_due = None;
        let mut floors = Vec::new();
        for (slot, stream) in self.streams.iter_mut().filter(|(_, stream)| stream.floors != Floors::None) {
            let floor = |key: &Key| {
                let entry = self.entries.get(key.place as usize).and_then(Option::as_ref);
                entry.map_or(0, |entry| entry.consumer.floor())
            };
            let none = if stream.floors == Floors::Interest { stream.reader.synced() } else { 0 };
            let floor = stream.consumers.values().map(floor).min().unwrap_or(none);
            if floor > stream.floor {
                stream.floor = floor;
                floors.push((*slot, floor));
            }
        }
        if floors.is_empty() {
            return work;
        }
        floors.sort_unstable();
        // What the floors stand on is written first.
        work += self.write_positions();
        self.positions.floors = Some((self.positions.want_sync(), floors));
        work
    }

    /// The hub ends in good order: all is written, in the files too, so that
    /// they know how far consumers were if the keyed state is ever lost.
    pub(super) fn keep_all(&mut self) {
        self.look_after();
        self.write_positions();
        if let Some(keyed) = self.positions.keyed()
            && let Err(error) = keyed.sync()
        {
            tracing::error!(code = "positions_failed", error = %error, "what consumers settled could not be synced");
        }
        let slots: Vec<StreamSlot> = self.streams.keys().copied().collect();
        for slot in slots {
            if let Err((_, detail)) = self.write_file(slot) {
                tracing::error!(code = "consumers_failed", detail, "the consumers of a stream could not be written");
            }
        }
    }
}
