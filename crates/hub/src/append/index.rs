//! What a stream knows of its own content by key: its producers' last
//! sequences, and where the last events of topics and keys stand.
//!
//! Kept in bounded memory and, in batches, in keyed state, together with the
//! local sequence that the batch stands for: the log must be on disk up to there
//! before the batch is handed to the keyed stage, so that keyed state never says
//! more than the log. At the start only the log from there on is read. Where keyed state says
//! more than the log has, because the log was put back, or stands for another
//! kind of last values, it is made anew from all of the log: the log is right.

use std::collections::BTreeMap;
use std::time::Duration;

use weft_base::{Mono, Now, UnixNanos};
use weft_keyed::{Batch, KeyedError, Space, end_of};
use weft_log::{Appended, Log, ReadError};
use weft_stream::intake::{Last, LastTable, Noted, Place, Window};
use weft_wire::block::layout::DELAYED;
use weft_wire::block::{Block, Event};
use weft_wire::frame::LastValues;

use super::StreamSpec;
use crate::keyed::{KeyedWriter, Until, Written};
use crate::options::Limits;

/// Blocks after which a batch is written.
const BLOCKS: u64 = 4_096;
/// Time after which a batch is written.
const EVERY: Duration = Duration::from_millis(100);
/// Entries looked at in one turn of cleaning up, and deleted in one batch.
const SLICE: usize = 256;
/// How long a producer is remembered where the stream does not say.
const WINDOW_MS: u64 = 24 * 60 * 60 * 1_000;
/// Entries that one search by filter looks at.
const SEARCH: usize = 65_536;

/// Why an index could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    #[error(transparent)]
    Keyed(#[from] KeyedError),
    #[error(transparent)]
    Log(#[from] ReadError),
}

/// The index of one stream.
pub(crate) struct Index {
    keyed: KeyedWriter,
    /// The stream's id, as keys begin.
    id: [u8; 8],
    /// This hub, as blocks name it: what was copied from another home is none
    /// of its publishers'.
    home: u32,
    window: Window,
    window_ms: u64,
    last: LastTable,
    limits: (usize, usize),
    /// It is that of a schedule.
    of_schedule: bool,
    /// To be written once the log is on disk up to there.
    pending: Option<(Batch, u64)>,
    /// Handed to the keyed stage, and up to where that stands.
    writing: Option<(Written, u64)>,
    /// Blocks since the last batch.
    noted: u64,
    due: Mono,
    /// Where cleaning up goes on.
    sweep_from: Vec<u8>,
    failing: bool,
    key: Vec<u8>,
}

/// The key of an index's own entry: how far it stands for the log.
const STANDS: &[u8] = b"intake";

fn stands(upto: u64, last: LastValues) -> Vec<u8> {
    let mut value = upto.to_le_bytes().to_vec();
    value.push(last as u8);
    value
}

impl Index {
    /// The index of a stream whose log is open.
    pub(crate) fn open(
        keyed: KeyedWriter,
        spec: &StreamSpec,
        limits: &Limits,
        home: u32,
        log: &Log,
    ) -> Result<Self, IndexError> {
        Self::of((keyed, false), spec, limits, home, log)
    }

    /// The index of a stream's schedule.
    pub(crate) fn of_schedule(
        keyed: KeyedWriter,
        spec: &StreamSpec,
        limits: &Limits,
        home: u32,
        log: &Log,
    ) -> Result<Self, IndexError> {
        Self::of((keyed, true), spec, limits, home, log)
    }

    fn of(
        (keyed, of_schedule): (KeyedWriter, bool),
        spec: &StreamSpec,
        limits: &Limits,
        home: u32,
        log: &Log,
    ) -> Result<Self, IndexError> {
        let id = spec.id.to_be_bytes();
        let limits = (limits.stream_producers, limits.stream_last_values);
        let mut index = Self {
            keyed,
            id,
            home,
            window: Window::new(limits.0, 0),
            window_ms: 0,
            last: LastTable::new(spec.last, limits.1, 0),
            limits,
            of_schedule,
            pending: None,
            writing: None,
            noted: 0,
            due: Mono(0),
            sweep_from: Vec::new(),
            failing: false,
            key: Vec::new(),
        };
        index.redefine(spec);
        let saved = index.keyed.reads().get(Space::Meta, &index.in_space(STANDS))?;
        let known = saved.as_deref().and_then(|value| {
            let (upto, mode) = value.split_first_chunk::<8>()?;
            Some((u64::from_le_bytes(*upto), *mode.first()?))
        });
        match known {
            Some((upto, mode)) if upto <= log.next() && mode == spec.last as u8 => index.read_on(upto, log)?,
            Some(_) => index.rebuild(spec.last, log)?,
            None => index.read_on(0, log)?,
        }
        Ok(index)
    }

    /// Takes over what can be changed without reading the log.
    pub(crate) fn redefine(&mut self, spec: &StreamSpec) {
        self.window_ms = if spec.dedup_window_ms == 0 { WINDOW_MS } else { spec.dedup_window_ms };
    }

    /// Which last values there are.
    pub(crate) fn mode(&self) -> LastValues {
        self.last.mode()
    }

    /// Makes everything anew from the log, with these last values.
    pub(crate) fn rebuild(&mut self, mode: LastValues, log: &Log) -> Result<(), IndexError> {
        (self.pending, self.writing) = (None, None);
        self.forget(&[Space::Producers, Space::Last])?;
        self.last = LastTable::new(mode, self.limits.1, 0);
        self.read_on(0, log)
    }

    /// Deletes what is saved in these spaces, in slices.
    fn forget(&self, spaces: &[Space]) -> Result<(), KeyedError> {
        let end = end_of(&self.id);
        self.keyed.catch_up();
        for space in spaces {
            loop {
                let found = self.keyed.reads().scan(*space, &self.id, &end, SLICE)?;
                let mut batch = Batch::new();
                for (key, _) in &found {
                    batch.delete(*space, key.as_slice());
                }
                self.keyed.write_now(batch)?;
                if found.len() < SLICE {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The stream is deleted, and all that is known of it.
    pub(crate) fn delete(self) -> Result<(), KeyedError> {
        self.forget(&[Space::Producers, Space::Last, Space::Meta])
    }

    /// Reads the log from `saved` on, up to which it is all saved.
    fn read_on(&mut self, saved: u64, log: &Log) -> Result<(), IndexError> {
        let from = saved.max(log.first());
        self.window = Window::new(self.limits.0, from);
        self.window.set_whole(saved > 0 || log.first() <= 1);
        self.last = LastTable::new(self.last.mode(), self.limits.1, from);
        let mut noted = 0;
        log.for_each_block(from, |block| {
            let next = block.stream_sequence().saturating_add(block.event_count().into());
            let named = block.home().filter(|(home, _)| *home == self.home).map(|(_, sequence)| sequence);
            // The gaps before what is read are saved.
            self.recall(block);
            self.take(block, (block.stream_sequence(), next), named, 0);
            noted += 1;
        })?;
        self.window.set_whole(true);
        self.noted = noted;
        Ok(())
    }

    fn in_space(&self, key: &[u8]) -> Vec<u8> {
        [&self.id, key].concat()
    }

    /// Where a block stands among what its producer sent before.
    pub(crate) fn place(&mut self, block: Block<'_>) -> Place {
        let (producer, lane) = (block.producer(), block.lane());
        self.recall(block);
        self.window.place(producer, lane, block.first_sequence(), block.event_count())
    }

    /// A block that was new is refused.
    pub(crate) fn refused(&mut self, block: Block<'_>) {
        self.window.refuse(block.producer(), block.lane(), block.first_sequence(), block.event_count());
    }

    /// Looks up what is saved of a block's producer, if it is not in memory.
    fn recall(&mut self, block: Block<'_>) {
        let (producer, lane) = (block.producer(), block.lane());
        if !self.window.knows(producer, lane) {
            let key = self.in_space(&Window::key(producer, lane));
            match self.keyed.reads().get(Space::Producers, &key) {
                Ok(Some(saved)) => self.window.recall(producer, lane, &saved),
                Ok(None) => {}
                Err(error) => self.failed(&error),
            }
        }
    }

    /// A block was appended.
    pub(crate) fn note(&mut self, block: Block<'_>, appended: &Appended, now: Now) {
        if self.noted == 0 {
            self.due = now.mono + EVERY;
        }
        self.noted += 1;
        // Not each that is appended was looked up before.
        self.recall(block);
        let here_ms = now.wall.0 / 1_000_000;
        self.take(block, (appended.first, appended.next), Some(appended.home_sequence), here_ms);
    }

    /// A block that entered at another home was appended, from this local
    /// sequence on. Which of its producer's events are here is not for this
    /// index to say: they come by another way, and not in their order.
    pub(crate) fn note_copy(&mut self, block: Block<'_>, local: u64, now: Now) {
        if self.noted == 0 {
            self.due = now.mono + EVERY;
        }
        self.noted += 1;
        self.take(block, (local, local.saturating_add(block.event_count().into())), None, 0);
    }

    /// `here_ms`: when it came here, which may be long after it entered the mesh.
    fn take(&mut self, block: Block<'_>, (local, next): (u64, u64), named: Option<u64>, here_ms: u64) {
        self.last.note(block, local);
        let Some(named) = named else { return };
        // A delayed block comes behind what was published after it: of those the
        // schedule knows which it has taken.
        if block.flags() & DELAYED != 0 && !self.of_schedule {
            return;
        }
        let at_ms = block.stamp().map_or(0, |stamp| stamp.ingested.0 / 1_000_000).max(here_ms);
        let (producer, lane) = (block.producer(), block.lane());
        let (first, count) = (block.first_sequence(), block.event_count());
        self.window.note(Noted { producer, lane, first, count, next, named, at_ms });
    }

    /// The local sequence of the last event of this topic and key; 0 for none.
    pub(crate) fn last_sequence(&mut self, topic: &str, key: &[u8]) -> Result<u64, KeyedError> {
        LastTable::key(topic, key, &mut self.key);
        let found = match self.last.get(&self.key) {
            Some(last) => Some(last),
            None => {
                let key = self.in_space(&self.key);
                self.keyed.reads().get(Space::Last, &key)?.as_deref().and_then(Last::decode)
            }
        };
        Ok(found.map_or(0, |last| last.sequence()))
    }

    /// Whether a compacted stream keeps an event: the newest of its topic and
    /// key, and those before it while the newest is not on disk (`synced`). A
    /// newest one without payload, which deletes its key, is kept while it is
    /// younger than `tombstones_from`.
    pub(crate) fn keeps(
        &mut self,
        local: u64,
        block: Block<'_>,
        event: &Event<'_>,
        synced: u64,
        tombstones_from: UnixNanos,
    ) -> bool {
        let Ok(newest) = self.last_sequence(block.topic(), event.key) else { return true };
        if newest > local {
            return newest >= synced;
        }
        let is_young = block.stamp().is_none() || block.counts_from() >= tombstones_from;
        !event.payload.is_empty() || is_young
    }

    /// Where the last events stand whose keys begin with `prefix` and are
    /// wanted, at most so many, in the order of their keys.
    pub(crate) fn search(
        &self,
        prefix: &[u8],
        most: usize,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<Last>, KeyedError> {
        let fits = |key: &[u8]| key.starts_with(prefix) && wanted(key);
        let mut found: BTreeMap<Vec<u8>, Last> =
            self.last.iter().filter(|(key, _)| fits(key)).map(|(key, last)| (key.to_vec(), last)).collect();
        let (mut from, end) = (self.in_space(prefix), end_of(&self.in_space(prefix)));
        let (mut looked, mut taken) = (0, 0);
        while looked < SEARCH && taken < most {
            let entries = self.keyed.reads().scan(Space::Last, &from, &end, SLICE)?;
            looked += entries.len();
            for (key, value) in &entries {
                let short = key.get(self.id.len()..).unwrap_or_default();
                if fits(short)
                    && let Some(last) = Last::decode(value)
                {
                    // What is in memory is newer.
                    found.entry(short.to_vec()).or_insert(last);
                    taken += 1;
                }
            }
            match entries.last() {
                Some((key, _)) if entries.len() == SLICE => {
                    from.clone_from(key);
                    from.push(0);
                }
                _ => break,
            }
        }
        Ok(found.into_values().filter(|last| !last.tombstone).take(most).collect())
    }

    /// When [`Self::checkpoint`] has something to do by itself.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        // While a batch is under way, its end, or that of a sync, wakes the stage.
        (self.noted > 0 && self.pending.is_none() && self.writing.is_none()).then_some(self.due)
    }

    /// Writes what is due: `next` is the log's next sequence, and all before
    /// `synced` is on disk.
    pub(crate) fn checkpoint(&mut self, next: u64, synced: u64, now: Now) {
        if self.writing.is_some() {
            if self.last.is_overfull() {
                // Keyed state is slower than the log: the log waits.
                self.keyed.catch_up();
            }
            self.written();
        }
        let full = self.noted >= BLOCKS || self.last.is_full() || self.window.is_full();
        let under_way = self.pending.is_some() || self.writing.is_some();
        if !under_way && self.noted > 0 && (full || now.mono >= self.due) {
            let batch = self.capture(next);
            self.pending = Some((batch, next));
        }
        if let Some((batch, upto)) = self.pending.take_if(|(_, upto)| *upto <= synced) {
            self.writing = Some((self.keyed.write(batch, Until::Applied), upto));
        }
    }

    fn capture(&mut self, next: u64) -> Batch {
        let mut batch = Batch::new();
        let id = self.id;
        self.window.capture(next, |saved| {
            batch.put(Space::Producers, [&id[..], &saved.key].concat(), saved.value);
        });
        self.last.capture(next, |key, last| batch.put(Space::Last, [&id[..], key].concat(), last.encode()));
        batch.put(Space::Meta, self.in_space(STANDS), stands(next, self.last.mode()));
        self.noted = 0;
        batch
    }

    /// Looks whether what was handed over is written.
    fn written(&mut self) {
        let Some((written, upto)) = &self.writing else { return };
        let (Some(outcome), upto) = (written.outcome(), *upto) else { return };
        self.writing = None;
        match outcome {
            Ok(()) => {
                self.failing = false;
                self.window.saved(upto);
                self.last.saved(upto);
            }
            Err(error) => {
                self.window.not_saved();
                self.last.not_saved();
                self.noted = 1;
                self.failed(&error);
            }
        }
    }

    /// Said once: all of it can be made anew from the log.
    fn failed(&mut self, error: &KeyedError) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(code = "keyed_failed", error = %error, "keyed state of a stream");
        }
    }

    /// Writes all there is: the log is on disk up to its end, `next`.
    pub(crate) fn close(&mut self, next: u64) {
        (self.pending, self.writing) = (None, None);
        self.window.not_saved();
        self.last.not_saved();
        let batch = self.capture(next);
        if let Err(error) = self.keyed.write_now(batch) {
            self.failed(&error);
        }
    }

    /// Deletes a few producers that were silent for longer than the window.
    pub(crate) fn sweep(&mut self, now: Now) {
        if self.writing.is_some() {
            // What is being written may be newer than what would be found.
            return;
        }
        let end = end_of(&self.id);
        let from = if self.sweep_from.is_empty() { self.id.to_vec() } else { std::mem::take(&mut self.sweep_from) };
        let Ok(entries) = self.keyed.reads().scan(Space::Producers, &from, &end, SLICE) else { return };
        let mut batch = Batch::new();
        let now_ms = now.wall.0 / 1_000_000;
        for (key, value) in &entries {
            if Window::has_expired(value, now_ms, self.window_ms) {
                batch.delete(Space::Producers, key.as_slice());
            }
        }
        if let Some((key, _)) = entries.last().filter(|_| entries.len() == SLICE) {
            self.sweep_from.clone_from(key);
            self.sweep_from.push(0);
        }
        if !batch.is_empty() {
            // Done or not: the next sweeps see.
            self.keyed.write(batch, Until::Applied);
        }
    }
}
