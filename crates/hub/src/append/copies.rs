//! Copies of what entered at other homes: appended under the name they have
//! there, once, and never what does not join on to what is here.
//!
//! An event may be here under another name, because its producer published it
//! at two homes. So a stream with several homes remembers which events of which
//! producer it has (`weft_stream::replica::Seen`), of its own and of copies.
//! A mirror may give copies another topic: they are written anew, with the
//! same stamp and name.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_base::sync::atomic::{AtomicBool, Ordering};
use weft_base::{HubId, Now};
use weft_log::AppendError;
use weft_stream::replica::{Copy, Position, Seen, Sight};
use weft_wire::block::layout::BATCH_OPEN;
use weft_wire::block::{self, Block};
use weft_wire::frame::Unreachable;

use super::mend::Mending;
use super::position::may_go;
use super::{AppendStage, Stream, StreamSpec};
use crate::counters::{Counters, add};
use crate::messages::StreamSlot;
use crate::producers::{AtHub, Place, Producers};
use crate::replicate::{CopyBatch, Replicated, Shown, ToReplicate};

/// How many events at the end of a log are looked at, when it is opened, for
/// what its producers have sent.
const LOOK_BACK: u64 = 200_000;

/// Of a stream that is copied, or may be.
pub(crate) struct Copying {
    /// What is here, or passed over.
    taken: Position,
    /// Of a stream with several homes, of mirrors, and of one whose publishes are
    /// spooled elsewhere: what is here of each producer.
    seen: Option<Seen>,
    /// Of the latter: what of each producer came by way of each hub, which sends it in order.
    by_hub: Option<Producers<AtHub>>,
    /// What other homes have on disk of what entered here: the next sequence.
    held: BTreeMap<HubId, u64>,
    /// What other homes have on disk of every home, and whether that is of use.
    ends: BTreeMap<HubId, Position>,
    pub(super) ends_wanted: Arc<AtomicBool>,
    pub(super) watched: Arc<AtomicBool>,
    behind_itself: Arc<AtomicBool>,
    pub(super) shown: Shown,
}

impl Copying {
    pub(super) fn new() -> Self {
        Self {
            taken: Position::start(),
            seen: None,
            by_hub: None,
            held: BTreeMap::new(),
            ends: BTreeMap::new(),
            ends_wanted: Arc::default(),
            watched: Arc::default(),
            behind_itself: Arc::default(),
            shown: Shown::default(),
        }
    }

    /// Whether the replicate stage wants to know what is on disk.
    pub(super) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire)
    }

    /// Whether what entered here before is at other homes alone.
    pub(super) fn is_behind_itself(&self) -> bool {
        self.seen.is_some() && self.behind_itself.load(Ordering::Acquire)
    }

    /// Whether an own publish is here under another name.
    pub(super) fn has(&self, block: &Block<'_>) -> bool {
        self.seen.as_ref().is_some_and(|seen| sight(seen, block) == Sight::Here)
    }

    /// Whether a block that waited on disk where it entered the mesh is here. Its
    /// producer may have published later events by another hub meanwhile, so that
    /// its last number says nothing; but what it published at one hub comes in order.
    pub(super) fn has_spooled(&self, block: &Block<'_>) -> bool {
        let came = |by_hub: &Producers<AtHub>| {
            let (first, count) = (block.first_sequence(), block.event_count());
            at_hub(block).is_some_and(|key| by_hub.place_of(&key, first, count) == Place::Duplicate)
        };
        self.by_hub.as_ref().is_some_and(came) || self.has(block)
    }

    /// An own publish was appended.
    pub(super) fn note(&mut self, block: &Block<'_>) {
        if let Some(seen) = &mut self.seen {
            note(seen, block);
        }
        if let Some(by_hub) = &mut self.by_hub {
            note_at_hub(by_hub, block);
        }
    }

    /// Of each home that is known, the next sequence.
    pub(super) fn position_shown(&self, own: HubId, log: &weft_log::Log) -> Vec<(HubId, u64)> {
        let entered = log.position().into_iter().find(|(tag, _)| *tag == own.tag()).map(|(_, next)| (own, next));
        let shown = self.shown.load();
        let others = shown.iter().flat_map(|shown| &shown.position).filter(|(hub, _)| *hub != own).copied();
        entered.into_iter().chain(others).collect()
    }

    /// How many other homes have on disk all that entered here before `next`.
    pub(super) fn homes_with(&self, next: u64) -> usize {
        self.held.values().filter(|held| **held >= next).count()
    }

    /// What the least of these homes has on disk of what entered here: the next sequence.
    fn least_held(&self, homes: impl Iterator<Item = HubId>) -> u64 {
        homes.map(|home| self.held.get(&home).copied().unwrap_or(0)).min().unwrap_or(u64::MAX)
    }

    /// How many other homes have on disk all that this covers.
    pub(super) fn homes_with_all(&self, position: &Position) -> usize {
        self.ends.values().filter(|end| end.covers(position)).count()
    }
}

impl Stream {
    /// All below is settled by the consumers that want it, or `unwanted`: none
    /// is known here. At another home of the stream there may be some.
    pub(super) fn settled_below(&mut self, floor: u64, unwanted: bool, own: HubId) {
        if !unwanted || self.spec.homes.len() <= 1 {
            self.floor = self.floor.max(floor);
            self.free(own);
        }
    }

    /// What is settled goes as far as all other homes have on disk what entered
    /// here: they get it from nobody else.
    pub(super) fn free(&mut self, own: HubId) {
        if self.floor <= self.log.first() {
            return;
        }
        let others = self.spec.homes.iter().map(|home| HubId::of_name(home)).filter(|home| *home != own);
        let held = self.copying.least_held(others);
        match may_go(&mut self.reader, self.floor, own.tag(), held) {
            Ok(floor) => self.log.set_floor(floor),
            Err(error) => {
                let stream = self.spec.name.as_str();
                tracing::warn!(code = "retention_waits", stream, %error, "what is settled stays until it can be read");
            }
        }
    }
}

fn sight(seen: &Seen, block: &Block<'_>) -> Sight {
    seen.sight(block.producer(), block.lane(), block.first_sequence(), block.event_count())
}

fn note(seen: &mut Seen, block: &Block<'_>) {
    seen.note(block.producer(), block.lane(), block.first_sequence(), block.event_count());
}

/// Who published a block, and where; none for nobody in particular.
fn at_hub(block: &Block<'_>) -> Option<AtHub> {
    let stamp = block.stamp().filter(|_| block.producer().0 != 0)?;
    Some((stamp.origin, block.producer(), block.lane()))
}

fn note_at_hub(by_hub: &mut Producers<AtHub>, block: &Block<'_>) {
    let (first, count) = (block.first_sequence(), block.event_count());
    if let Some(key) = at_hub(block)
        && by_hub.place_of(&key, first, count) != Place::Duplicate
    {
        by_hub.note_of(key, first, count);
    }
}

/// Why copies were not appended.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error("they do not join on to what is here")]
    Apart,
    #[error("one is not what it should be: {0}")]
    Bad(String),
    #[error(transparent)]
    Log(#[from] AppendError),
}

impl AppendStage {
    /// What telling copies apart needs, for streams that are copied.
    pub(super) fn prepare_copying(&mut self, slot: StreamSlot) {
        let producers = self.options.limits.replica_producers;
        if let Some(stream) = self.streams.get_mut(slot.0 as usize).and_then(Option::as_mut) {
            stream.copying.prepare(&stream.spec, &mut stream.log.reader(), producers);
        }
    }

    /// Tells the replicate stage of a stream.
    pub(super) fn tell_replicate(&mut self, slot: StreamSlot) {
        self.prepare_copying(slot);
        let Some(stream) = self.streams.get_mut(slot.0 as usize).and_then(Option::as_mut) else { return };
        let message = ToReplicate::StreamUp {
            slot,
            stream: Box::new(Replicated {
                spec: stream.spec.clone(),
                reader: stream.log.reader(),
                position: stream.log.position().into_iter().collect(),
                local: stream.log.synced(),
                watched: stream.copying.watched.clone(),
                ends_wanted: stream.copying.ends_wanted.clone(),
                behind_itself: stream.copying.behind_itself.clone(),
                shown: stream.copying.shown.clone(),
                mending: Mending { mender: Arc::new(stream.log.mender()), health: Arc::downgrade(&stream.health) },
            }),
        };
        self.replicate.push(message);
    }

    /// Appends copies, all or from one on none.
    pub(super) fn append_copies(&mut self, slot: StreamSlot, batch: &CopyBatch) {
        let (now, counters, replicate) = (self.now, self.counters.clone(), &mut self.replicate);
        let Some(stream) = self.streams.get_mut(slot.0 as usize).and_then(Option::as_mut) else { return };
        let id = batch.copies.id;
        match stream.take_copies(batch, now, &counters) {
            Ok(duplicates) => {
                add(&counters.replica_duplicates, duplicates);
                replicate.push(ToReplicate::Placed { slot, id, log_next: stream.log.next() });
            }
            Err(error) => {
                tracing::warn!(code = "copies_refused", stream = stream.spec.name, %error, "copies were not stored");
                replicate.push(ToReplicate::Refused { slot, id });
            }
        }
    }

    /// Another home has on disk what entered here.
    pub(super) fn home_has(&mut self, slot: StreamSlot, hub: HubId, upto: u64) {
        let Some(stream) = self.streams.get_mut(slot.0 as usize).and_then(Option::as_mut) else { return };
        let held = stream.copying.held.entry(hub).or_default();
        *held = (*held).max(upto);
        self.homes_waiting.moved();
    }
}

impl AppendStage {
    /// Another home has on disk all that this covers.
    pub(super) fn home_holds(&mut self, slot: StreamSlot, hub: HubId, end: &Position) {
        let Some(stream) = self.streams.get_mut(slot.0 as usize).and_then(Option::as_mut) else { return };
        if stream.copying.ends.entry(hub).or_default().merge(end) {
            self.homes_waiting.moved();
        }
    }
}

impl Copying {
    /// Looks at the end of the log for what its producers sent, where it matters.
    fn prepare(&mut self, spec: &super::StreamSpec, reader: &mut weft_log::LogReader, producers: usize) {
        let (homes, spools) = (spec.homes.len() >= 2, spec.unreachable == Unreachable::Spool);
        if homes || spools || !spec.mirror_of.is_empty() {
            self.look_back(spec, reader, producers, spools);
        }
    }

    /// Looks at the end of the log, unless that was done; `spools`: for blocks too
    /// that waited on disk where they entered the mesh.
    pub(super) fn look_back(
        &mut self,
        spec: &super::StreamSpec,
        reader: &mut weft_log::LogReader,
        producers: usize,
        spools: bool,
    ) {
        let mut seen = self.seen.is_none().then(|| Seen::new(producers));
        let mut by_hub = (spools && self.by_hub.is_none()).then(|| Producers::new(producers));
        if seen.is_none() && by_hub.is_none() {
            return;
        }
        let next = reader.next();
        let from = next.saturating_sub(LOOK_BACK).max(reader.first());
        let read = reader.for_each_block(from, next, |block| {
            seen.iter_mut().for_each(|seen| note(seen, &block));
            by_hub.iter_mut().for_each(|by_hub| note_at_hub(by_hub, &block));
        });
        if let Err(error) = read {
            tracing::warn!(code = "look_back", stream = spec.name, %error, "the end of a log could not be read");
        }
        self.seen = seen.or(self.seen.take());
        self.by_hub = by_hub.or(self.by_hub.take());
    }
}

impl Stream {
    /// The next sequence of what enters here.
    pub(super) fn entered(&self, own: HubId) -> u64 {
        self.log.position().into_iter().find(|(tag, _)| *tag == own.tag()).map_or(1, |(_, next)| next)
    }

    /// How far what lies here reaches, of every home. After damage the next
    /// event that enters gets a later sequence than the one that follows, which
    /// others do not have before.
    pub(super) fn lies_here(&mut self) -> Position {
        let position = self.reader.position_at(self.log.next());
        position.unwrap_or_else(|_| self.log.position()).into_iter().collect()
    }

    /// Counts the events stored; answers those that are here under another name.
    fn take_copies(&mut self, batch: &CopyBatch, now: Now, counters: &Counters) -> Result<u64, CopyError> {
        let mut here: Position = self.log.position().into_iter().collect();
        self.copying.taken.merge(&here);
        if !self.copying.taken.covers(&batch.copies.from) {
            return Err(CopyError::Apart);
        }
        let entries = batch.entries.as_deref().unwrap_or_default();
        let mut duplicates = 0;
        // An atomic batch, until it is whole: it is here if all of its blocks are.
        let mut open: Vec<(Vec<u8>, u64)> = Vec::new();
        let mut all_here = true;
        for copy in &batch.copies.copies {
            let bytes = entries.get(copy.at..copy.at + copy.len).unwrap_or_default();
            let block = check(bytes, copy)?;
            let events = u64::from(copy.span);
            // Appended before a later one of the same command was refused.
            if copy.sequence < here.get(copy.home) {
                continue;
            }
            let is_open = block.flags() & BATCH_OPEN != 0;
            if is_open || !open.is_empty() {
                let renamed = as_mirrored(&self.spec, &block).map_err(CopyError::Bad)?;
                all_here &= self.copying.has(&block);
                open.push((renamed.unwrap_or_else(|| bytes.to_vec()), copy.sequence));
                if is_open {
                    continue;
                }
                let blocks = open.iter().map(|(bytes, _)| (bytes, u64::from(Block::trusted(bytes).event_count())));
                if all_here {
                    duplicates += blocks.map(|(_, events)| events).sum::<u64>();
                } else {
                    self.append_batch_of_copies(&open, copy.home, now)?;
                    here.raise(copy.home, copy.sequence + u64::from(copy.span));
                    blocks.for_each(|(bytes, events)| count_copy(counters, bytes, events));
                }
                open.clear();
                all_here = true;
                continue;
            }
            if self.copying.has(&block) {
                duplicates += events;
                continue;
            }
            let renamed = as_mirrored(&self.spec, &block).map_err(CopyError::Bad)?;
            let bytes = renamed.as_deref().unwrap_or(bytes);
            let appended = self.log.append_copy(bytes, copy.home, copy.sequence, now)?;
            self.index.note_copy(Block::trusted(bytes), appended.first, now);
            here.raise(copy.home, copy.sequence + events);
            self.copying.note(&block);
            count_copy(counters, bytes, events);
        }
        if !open.is_empty() {
            return Err(CopyError::Bad("an atomic batch ends too early".to_owned()));
        }
        self.copying.taken.merge(&batch.copies.through);
        Ok(duplicates)
    }

    /// An atomic batch of copies, under their names.
    fn append_batch_of_copies(&mut self, open: &[(Vec<u8>, u64)], home: u32, now: Now) -> Result<(), CopyError> {
        let blocks: Vec<(&[u8], u64)> = open.iter().map(|(bytes, at)| (bytes.as_slice(), *at)).collect();
        let mut local = self.log.append_copied_batch(&blocks, home, now)?.first;
        for (bytes, _) in blocks {
            let block = Block::trusted(bytes);
            self.index.note_copy(block, local, now);
            self.copying.note(&block);
            local += u64::from(block.event_count());
        }
        Ok(())
    }
}

/// The block under the topic that a mirror gives it; none when it keeps its own.
pub(crate) fn as_mirrored(spec: &StreamSpec, block: &Block<'_>) -> Result<Option<Vec<u8>>, String> {
    let (from, to) = &spec.mirror_prefix;
    if spec.mirror_of.is_empty() || from == to {
        return Ok(None);
    }
    let Some(topic) = renamed(block.topic(), from, to) else { return Ok(None) };
    block::with_topic(block, &topic).map(Some).map_err(|error| error.to_string())
}

/// A topic whose first levels are `from`, with `to` in their place; none for others.
fn renamed(topic: &str, from: &str, to: &str) -> Option<String> {
    let rest = topic.strip_prefix(from)?;
    let rest = if from.is_empty() { rest } else { rest.strip_prefix('/').or(rest.is_empty().then_some(""))? };
    let topic = match (to.is_empty(), rest.is_empty()) {
        (true, _) => rest.to_owned(),
        (_, true) => to.to_owned(),
        _ => format!("{to}/{rest}"),
    };
    weft_topic::Topic::parse(&topic).is_ok().then_some(topic)
}

/// A block that another home had has been appended here: one copy of each event, made and stored.
fn count_copy(counters: &Counters, block: &[u8], events: u64) {
    let account = counters.account(block);
    account.copies(events);
    account.stored(events);
}

/// The block, if it is what its place says.
fn check<'b>(bytes: &'b [u8], copy: &Copy) -> Result<Block<'b>, CopyError> {
    let block = Block::validate(bytes).map_err(|error| CopyError::Bad(error.to_string()))?;
    if block.home() != Some((copy.home, copy.sequence)) || block.event_count() != copy.span {
        return Err(CopyError::Bad("its name is not that of its place".to_owned()));
    }
    Ok(block)
}

#[cfg(test)]
mod tests {
    use weft_base::{Epoch, Lane, ProducerId, UnixNanos};
    use weft_wire::block::{BlockFields, BlockWriter, EventFields, Stamp};

    use super::*;

    /// A block of one event that this producer published at this hub.
    fn published(producer: u64, hub: u64, n: u64) -> Vec<u8> {
        let fields = BlockFields { producer: ProducerId(producer), first_sequence: n, ..BlockFields::new("t") };
        let mut bytes = vec![0; 512];
        let mut writer = BlockWriter::new(&mut bytes, &BlockFields { lane: Lane::DEFAULT, ..fields }).expect("room");
        writer.push(&EventFields::default()).expect("room");
        let len = writer.finish().expect("an event");
        bytes.truncate(len);
        let (origin, ingested) = (HubId(hub), UnixNanos(1));
        let stamp = Stamp { origin, epoch: Epoch(1), block: n, sequence: n, ingested };
        block::stamp(&mut bytes, &stamp).expect("it has none");
        bytes
    }

    #[test]
    fn what_was_spooled_is_told_by_its_hub_and_by_what_came_by_others() {
        let mut copying = Copying { seen: Some(Seen::new(8)), by_hub: Some(Producers::new(8)), ..Copying::new() };
        let has =
            |copying: &Copying, producer, hub, n| copying.has_spooled(&Block::trusted(&published(producer, hub, n)));
        // A producer that uses every other number here: no ranges could hold that.
        for n in (1..200).step_by(2) {
            copying.note(&Block::trusted(&published(7, 1, n)));
        }
        assert!((1..200).step_by(2).all(|n| has(&copying, 7, 1, n)), "sent again");
        assert!(!has(&copying, 7, 1, 201));
        // It goes on at another hub, while more waits at the first.
        for n in [205, 207] {
            copying.note(&Block::trusted(&published(7, 2, n)));
        }
        assert!(!has(&copying, 7, 1, 201) && !has(&copying, 7, 1, 203), "they are new, whatever came since");
        assert!(has(&copying, 7, 1, 205), "it had no answer, and came by the other one");
        copying.note(&Block::trusted(&published(7, 1, 201)));
        assert!(has(&copying, 7, 1, 201) && !has(&copying, 7, 1, 203));
        assert!(!has(&copying, 0, 1, 1), "nobody in particular");
    }

    #[test]
    fn a_mirror_replaces_whole_levels() {
        assert_eq!(renamed("eu/orders/1", "eu", "mirror/eu").as_deref(), Some("mirror/eu/orders/1"));
        assert_eq!(renamed("eu/orders/1", "eu/orders", "").as_deref(), Some("1"));
        assert_eq!(renamed("orders", "", "eu").as_deref(), Some("eu/orders"));
        assert_eq!(renamed("eu", "eu", "us").as_deref(), Some("us"));
        assert_eq!(renamed("europe/1", "eu", "us"), None, "another level that begins alike");
        assert_eq!(renamed("eu", "eu", ""), None, "no topic would be left");
    }
}
