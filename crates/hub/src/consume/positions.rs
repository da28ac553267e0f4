//! When what consumers have settled is written, and who waits for that.
//!
//! Dirty consumers are written together, at most every `timers.positions`; one
//! whose member asked for an answer is written at the end of the turn, and the
//! answer goes out once that is synced. The others are synced within
//! `timers.keyed_syncs`: so much is handed out again after the machine died. What
//! fails to be written stays dirty and is tried again. One batch is under way at
//! a time: what is settled meanwhile goes together into the next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weft_base::Mono;
use weft_keyed::{Batch, KeyedError, Space};
use weft_wire::frame::{self, ErrorCode, Frame};

use super::entry::Key;
use super::keep;
use super::{ConsumeStage, Floors};
use crate::counters::add;
use crate::keyed::{KeyedWriter, Until, Written};
use crate::messages::{SessionId, StreamSlot, ToAppend, ToNet};

/// How often streams that keep only what consumers want are told how far they are.
const FLOORS_EVERY: Duration = Duration::from_secs(1);

/// What is being written.
struct Writing {
    written: Written,
    keys: BTreeSet<Key>,
    /// Members that wait for an answer.
    owed: Vec<(SessionId, u64)>,
    /// What streams are told once it is on disk: how far, and whether for want of consumers.
    floors: Vec<(StreamSlot, u64, bool)>,
}

/// The stage's side of the keyed state.
pub(super) struct Positions {
    keyed: Option<KeyedWriter>,
    every: Duration,
    dirty: BTreeSet<Key>,
    /// Copies of consumers of other homes, by their keys; none to be deleted.
    asides: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    due: Option<Mono>,
    /// Members that wait for an answer, and are written at the end of this turn.
    owed: Vec<(SessionId, u64)>,
    writing: Option<Writing>,
    floors_due: Option<Mono>,
}

impl Positions {
    pub(super) fn new(keyed: Option<KeyedWriter>, every: Duration) -> Self {
        let (dirty, asides, owed) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        Self { keyed, every, dirty, asides, due: None, owed, writing: None, floors_due: None }
    }

    pub(super) fn keyed(&self) -> Option<&KeyedWriter> {
        self.keyed.as_ref()
    }

    /// A consumer has something to keep.
    pub(super) fn dirty(&mut self, key: Key, now: Mono) {
        self.dirty.insert(key);
        self.due.get_or_insert(now + self.every);
        self.floors_due.get_or_insert(now + FLOORS_EVERY);
    }

    /// The copy of a consumer of another home is to be kept under this key, or
    /// none any more. One that could not be written comes again when it changes.
    pub(super) fn aside(&mut self, key: Vec<u8>, copy: Option<Vec<u8>>, now: Mono) {
        self.asides.insert(key, copy);
        self.due.get_or_insert(now + self.every);
        self.floors_due.get_or_insert(now + FLOORS_EVERY);
    }

    pub(super) fn forget(&mut self, key: Key) {
        self.dirty.remove(&key);
    }

    /// A member waits until what it said is on disk.
    pub(super) fn owe(&mut self, session: SessionId, request: u64) {
        self.owed.push((session, request));
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        // While a batch is under way its end wakes this stage.
        if self.writing.is_some() {
            return None;
        }
        [self.due, self.floors_due].into_iter().flatten().min()
    }
}

impl ConsumeStage {
    /// Writes what is due, and answers for what is written.
    pub(super) fn keep(&mut self) -> usize {
        let work = self.written();
        let positions = &self.positions;
        if positions.writing.is_some() {
            return work;
        }
        let is_due = |due: Option<Mono>| due.is_some_and(|due| due <= self.now.mono);
        let (due, floors_due) = (is_due(positions.due), is_due(positions.floors_due));
        let floors = if floors_due { self.floors() } else { Vec::new() };
        if due || !self.positions.owed.is_empty() || !floors.is_empty() {
            return work + self.write_positions(floors);
        }
        work
    }

    /// All that is dirty, which counts as clean from now on.
    fn batch(&mut self) -> (Batch, BTreeSet<Key>) {
        self.positions.due = None;
        let keys = std::mem::take(&mut self.positions.dirty);
        let mut batch = Batch::default();
        for key in &keys {
            let Some(entry) = self.entries.get_mut(key.place as usize).and_then(Option::as_mut) else { continue };
            let Some(stream) = self.streams.get(&entry.slot).filter(|_| entry.serial == key.serial) else { continue };
            let name = keep::key(stream.id, &entry.definition.name);
            // No more than is on the log's disk, as in the file.
            let saved = entry.consumer.saved().within(stream.reader.synced()).unwrap_or_else(|back| back);
            batch.put(Space::Positions, name, saved.encode());
            entry.consumer.clean();
        }
        for (key, copy) in std::mem::take(&mut self.positions.asides) {
            match copy {
                Some(bytes) => batch.put(Space::Positions, key, bytes),
                None => batch.delete(Space::Positions, key),
            }
        }
        (batch, keys)
    }

    /// Hands over all that is dirty, to be on disk for those who wait and for
    /// these floors, which stand on it.
    fn write_positions(&mut self, floors: Vec<(StreamSlot, u64, bool)>) -> usize {
        let Some(keyed) = self.positions.keyed.clone() else { return 0 };
        let (batch, keys) = self.batch();
        let owed = std::mem::take(&mut self.positions.owed);
        let until = if owed.is_empty() && floors.is_empty() { Until::SyncedSoon } else { Until::Synced };
        let written = keyed.write(batch, until);
        self.positions.writing = Some(Writing { written, keys, owed, floors });
        1
    }

    /// Looks whether what was handed over is done.
    fn written(&mut self) -> usize {
        let Some(outcome) = self.positions.writing.as_ref().and_then(|writing| writing.written.outcome()) else {
            return 0;
        };
        let Some(Writing { keys, owed, floors, .. }) = self.positions.writing.take() else { return 0 };
        if let Err(error) = outcome {
            self.not_written(keys, owed, &error);
            return 1;
        }
        for (session, request) in owed {
            let mut bytes = Vec::new();
            frame::encode(&Frame::Done(frame::Done { request }), &mut bytes);
            self.net.push(ToNet::Control { session, bytes });
        }
        for (slot, floor, unwanted) in floors {
            let Some(stream) = self.streams.get_mut(&slot) else { continue };
            if !unwanted {
                // Who comes later may want more than that.
                stream.floor = floor;
            }
            self.append.push(ToAppend::Floor { slot, floor, unwanted });
        }
        1
    }

    fn not_written(&mut self, keys: BTreeSet<Key>, owed: Vec<(SessionId, u64)>, error: &KeyedError) {
        add(&self.counters.positions_failed, 1);
        tracing::error!(code = "positions_failed", error = %error, "what consumers settled could not be written");
        for (session, request) in owed {
            self.refuse(session, request, ErrorCode::STORAGE, &error.to_string());
        }
        let later = self.now.mono + Duration::from_secs(1).max(self.positions.every);
        self.positions.dirty.extend(keys);
        self.positions.due = Some(later);
        self.positions.floors_due.get_or_insert(later);
    }

    /// How far consumers of streams are that keep nothing else: told to the append
    /// stage once a crash will not take it back.
    fn floors(&mut self) -> Vec<(StreamSlot, u64, bool)> {
        self.positions.floors_due = None;
        let mut floors = Vec::new();
        let slots = self.streams.iter().filter(|(_, stream)| stream.floors != Floors::None);
        for slot in slots.map(|(slot, _)| *slot).collect::<Vec<_>>() {
            // Consumers that run at other homes need their events here too, once they come here.
            let Some(elsewhere) = self.floor_elsewhere(slot) else {
                self.positions.floors_due = Some(self.now.mono + FLOORS_EVERY);
                continue;
            };
            let Some(stream) = self.streams.get(&slot) else { continue };
            let floor = |key: &Key| {
                let entry = self.entries.get(key.place as usize).and_then(Option::as_ref);
                entry.map_or(0, |entry| entry.consumer.floor())
            };
            let none = if stream.floors == Floors::Interest { stream.reader.synced() } else { 0 };
            let here = stream.consumers.values().map(floor);
            let wanted = here.chain(elsewhere).min();
            let floor = wanted.unwrap_or(none);
            if floor > stream.floor {
                floors.push((slot, floor, wanted.is_none()));
            }
        }
        floors.sort_unstable();
        floors
    }

    /// The hub ends in good order: all is written, in the files too, so that
    /// they know how far consumers were if the keyed state is ever lost.
    pub(super) fn keep_all(&mut self) {
        self.look_after();
        if let Some(Writing { keys, .. }) = self.positions.writing.take() {
            // Written with the rest, in case that fails.
            self.positions.dirty.extend(keys);
        }
        let (batch, _) = self.batch();
        if let Some(keyed) = self.positions.keyed()
            && let Err(error) = keyed.write_now(batch).and_then(|()| keyed.sync_now())
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
