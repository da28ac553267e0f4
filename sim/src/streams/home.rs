//! One home: its disk, and while it runs its log and its deciders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use weft_base::{ByteCount, Epoch, HubId, Lane, Now, ProducerId};
use weft_keyed::{Keyed, MemoryKeyed, Space};
use weft_log::fault::FaultFs;
use weft_log::fs::Fs;
use weft_log::{AppendError, Log, LogOptions, LogReader, ReadError, Syncer};
use weft_stream::consumer::{Consumer, ConsumerSpec, Saved};
use weft_stream::replica::{Copies, Peer, Position, Replica, Seen, Settings, Sight, Source, Stored, Unreadable};
use weft_stream::seat::{Copy, Id, Preference, Seats, Settings as SeatSettings};
use weft_wire::block::{Block, Stamp, stamp};

use super::judge::Lying;
use super::{Canary, Level, Name};

/// The most producers whose events are told apart.
const PRODUCERS: usize = 64;
/// The stream's number.
pub(super) const STREAM: u64 = 7;

/// The hubs that homes are.
const HUBS: [&str; 3] = ["chicago", "los-angeles", "new-york"];

pub(super) fn hub_name(home: usize) -> &'static str {
    HUBS.get(home).copied().unwrap_or_default()
}

pub(super) fn hub(home: usize) -> HubId {
    HubId::of_name(hub_name(home))
}

/// The home that is this hub.
pub(super) fn home_of(wanted: HubId) -> usize {
    (0..HUBS.len()).find(|home| hub(*home) == wanted).unwrap_or_default()
}

pub(super) fn tag(home: usize) -> u32 {
    hub(home).tag()
}

pub(super) fn dir() -> PathBuf {
    PathBuf::from("/data/stream")
}

fn options(home: usize) -> LogOptions {
    LogOptions {
        home: tag(home),
        segment: ByteCount::kib(16),
        index_every: ByteCount::kib(1),
        max_block: 4 << 10,
        ..LogOptions::default()
    }
}

/// The name of an event, from its payload.
fn name(payload: &[u8]) -> Option<Name> {
    let (producer, number) = payload.split_first_chunk()?;
    Some((u64::from_le_bytes(*producer), u64::from_le_bytes(*number.first_chunk()?)))
}

/// The names and keys of a block's events.
pub(super) fn names<'a>(block: &Block<'a>) -> impl Iterator<Item = (Name, &'a [u8])> + use<'a> {
    block.events().filter_map(|event| Some((name(event.payload)?, event.key)))
}

/// A publish that was appended and is not answered yet.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) session: u64,
    pub(super) names: Vec<Name>,
    pub(super) level: Level,
    /// The local sequence behind it.
    pub(super) next: u64,
    /// This home's sequence behind it.
    pub(super) home_next: u64,
}

/// A consumer at its home.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) number: usize,
    pub(super) consumer: Consumer,
    /// Dead letters: not stored, and stored.
    pub(super) dying: Vec<(u64, u32)>,
}

/// What the file beside the stream says of a consumer.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) generation: u32,
    pub(super) floor: u64,
    pub(super) preference: Preference,
}

/// A home that runs.
pub(super) struct Open {
    pub(super) log: Log,
    pub(super) syncer: Syncer,
    pub(super) reader: LogReader,
    pub(super) replica: Option<Replica>,
    pub(super) seats: Vec<Seat>,
    /// Where consumers run, as this home sees it; taken out while it works.
    pub(super) seating: Option<Box<Seats<usize>>>,
    /// Other homes that it can reach, as far as it knows.
    pub(super) sees: BTreeSet<usize>,
    /// Homes that are about to stop, this one or others, as far as it knows.
    pub(super) drains: BTreeSet<usize>,
    /// When consumers that changed are copied next.
    pub(super) copy_at: u64,
    pub(super) pending: Vec<Pending>,
    pub(super) sync_is_due: bool,
    seen: Seen,
    taken: Position,
    blocks: u64,
    /// What other homes have of what entered here.
    pub(super) held: Vec<u64>,
}

pub(super) struct Home {
    pub(super) number: usize,
    pub(super) fs: FaultFs,
    pub(super) open: Option<Open>,
    pub(super) epoch: u32,
    /// What its clock of the day is ahead, in nanoseconds.
    pub(super) skew: i64,
    /// How long a sync takes.
    pub(super) sync_time: Duration,
    /// What it keeps of consumers.
    pub(super) keyed: MemoryKeyed,
    /// The file with its consumers.
    pub(super) records: BTreeMap<usize, Record>,
    /// Copies of consumers of other homes, and what of that is synced.
    pub(super) aside: BTreeMap<usize, Copy<usize>>,
    pub(super) aside_synced: BTreeMap<usize, Copy<usize>>,
    /// Greater than that of any consumer before.
    pub(super) generation: u32,
    /// Events on its disk, and where they are in its log.
    pub(super) on_disk: BTreeMap<Name, Place>,
}

/// Where an event is: in the log, and by which name in the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) local: u64,
    pub(super) home: (u32, u64),
}

/// The events of a block, with their places.
pub(super) fn places<'a>(block: &Block<'a>) -> impl Iterator<Item = (Name, Place)> + use<'a> {
    let (local, (home, sequence)) = (block.stream_sequence(), block.home().unwrap_or_default());
    let place = move |n: u64| Place { local: local + n, home: (home, sequence + n) };
    names(block).zip(0..).map(move |((name, _), n)| (name, place(n)))
}

impl Home {
    pub(super) fn new(number: usize) -> Self {
        Self {
            number,
            fs: FaultFs::new(),
            open: None,
            epoch: 0,
            skew: 0,
            sync_time: Duration::from_millis(2),
            keyed: MemoryKeyed::new(),
            records: BTreeMap::new(),
            aside: BTreeMap::new(),
            aside_synced: BTreeMap::new(),
            generation: 0,
            on_disk: BTreeMap::new(),
        }
    }

    /// Opens what is on the disk; answers false when the disk refuses.
    pub(super) fn start(
        &mut self,
        homes: usize,
        specs: &[(usize, ConsumerSpec)],
        seed: u64,
        now: Now,
        canary: Option<Canary>,
    ) -> bool {
        let fs: Arc<dyn Fs> = Arc::new(self.fs.clone());
        let Ok((log, _)) = Log::open(fs, Path::new(&dir()), options(self.number), now) else { return false };
        self.epoch += 1;
        let (mut seen, mut blocks) = (Seen::new(PRODUCERS), 0);
        self.on_disk.clear();
        let read = log.for_each_block(log.first(), |block| {
            seen.note(block.producer(), block.lane(), block.first_sequence(), block.event_count());
            self.on_disk.extend(places(&block));
            blocks += 1;
        });
        if read.is_err() {
            return false;
        }
        let position: Position = log.position().into_iter().collect();
        let replica = (homes > 1).then(|| {
            let mut settings = Settings::new(STREAM, "s", tag(self.number));
            let others = (0..homes).filter(|other| *other != self.number);
            settings.peers = others.map(|other| Peer { hub: hub(other), tag: tag(other), counts: true }).collect();
            (settings.window, settings.answer) = (4096, 1024);
            settings.backoff = Duration::from_secs(2);
            Replica::new(settings, position.clone(), log.next(), Epoch(self.epoch), seed)
        });
        // Seconds, as hubs count their lives.
        let seconds = u32::try_from(now.wall.0 / 1_000_000_000).unwrap_or_default();
        self.generation = self.generation.saturating_add(1).max(seconds);
        let mut seating = Box::new(Seats::new(SeatSettings {
            me: hub(self.number),
            name: hub_name(self.number).to_owned(),
            epoch: self.epoch,
            aside: 64,
            again: Duration::from_millis(200),
            patience: Duration::from_secs(2),
        }));
        let mut seats = Vec::new();
        for (number, record) in self.records.clone() {
            let Some((_, spec)) = specs.get(number) else { continue };
            let (seat, generation) = self.seat(number, &record, log.next(), spec.clone(), (now, canary));
            seating.brought_back(id(number), generation, record.preference);
            seats.push(seat);
        }
        self.aside.values().for_each(|copy| seating.brought_aside(copy.clone()));
        self.open = Some(Open {
            syncer: log.syncer(),
            reader: log.reader(),
            log,
            replica,
            seats,
            seating: Some(seating),
            sees: BTreeSet::new(),
            drains: BTreeSet::new(),
            copy_at: 0,
            pending: Vec::new(),
            sync_is_due: false,
            seen,
            taken: position,
            blocks,
            held: vec![1; homes],
        });
        true
    }

    fn seat(
        &mut self,
        number: usize,
        record: &Record,
        next: u64,
        spec: ConsumerSpec,
        (now, canary): (Now, Option<Canary>),
    ) -> (Seat, u32) {
        let kept = self.keyed.get(Space::Positions, &number.to_be_bytes()).ok().flatten();
        let kept = kept.filter(|_| canary != Some(Canary::ForgottenConsumers));
        let kept = kept.and_then(|bytes| Saved::decode(&bytes).ok());
        let saved = Saved::since(kept, record.generation, record.floor);
        let saved = saved.within(next).unwrap_or_else(|back| back);
        let generation = saved.generation;
        self.generation = self.generation.max(generation).saturating_add(1);
        let consumer = Consumer::restore(as_served(spec, canary), saved, self.generation, now);
        (Seat { number, consumer, dying: Vec::new() }, generation)
    }

    /// The power fails, or the process is killed. Of what was kept and not
    /// synced, so many batches are there after a loss of power.
    pub(super) fn crash(&mut self, power: bool, seed: u64, kept: usize) {
        self.open = None;
        self.fs = if power { self.fs.after_crash(seed) } else { self.fs.after_kill() };
        if power {
            self.keyed.crash(kept);
            self.aside.clone_from(&self.aside_synced);
        }
    }

    /// Whether the disk does nothing any more.
    pub(super) fn power_is_off(&self) -> bool {
        self.fs.step().is_err()
    }

    /// All events of its log, as far as they can be read.
    pub(super) fn lying(&self, upto: u64) -> Vec<Lying> {
        let mut events = Vec::new();
        let Some(open) = &self.open else { return events };
        let _ = open.reader.clone().for_each_block(open.log.first(), upto, |block| {
            let (home, sequence) = block.home().unwrap_or_default();
            for (n, (name, _)) in (0..).zip(names(&block)) {
                let (local, home_sequence) = (block.stream_sequence() + n, sequence + n);
                events.push(Lying { name, local, home, home_sequence });
            }
        });
        events
    }
}

/// The consumer of this number.
pub(super) fn id(number: usize) -> Id {
    (STREAM, format!("c{number}"))
}

/// What a consumer is served as.
pub(super) fn as_served(mut spec: ConsumerSpec, canary: Option<Canary>) -> ConsumerSpec {
    if canary == Some(Canary::NoKeys) {
        spec.mode = weft_stream::consumer::Mode::Shared;
    }
    spec
}

/// What became of a publish.
pub(super) enum Taken {
    /// Appended, or there before.
    Pending(Pending),
    /// Not now.
    Refused,
}

impl Open {
    pub(super) fn position(&self) -> Position {
        self.log.position().into_iter().collect()
    }

    /// A producer's block arrives.
    pub(super) fn publish(
        &mut self,
        session: u64,
        bytes: &[u8],
        level: Level,
        home: usize,
        (now, canary): (Now, Option<Canary>),
    ) -> Taken {
        let block = Block::trusted(bytes);
        let (producer, first, count) = (block.producer(), block.first_sequence(), block.event_count());
        let names: Vec<Name> = names(&block).map(|(name, _)| name).collect();
        let known = self.seen.sight(producer, Lane::DEFAULT, first, count) == Sight::Here;
        if known && canary != Some(Canary::NoDeduplication) {
            // Where it is, here or under the name of another home, which has it
            // on its disk then. When it cannot be read, all below counts.
            let (mut next, mut home_next) = (self.log.next(), self.position().get(tag(home)));
            let _ = self.log.for_each_block(self.log.first(), |block| {
                let end = block.first_sequence() + u64::from(block.event_count());
                if block.producer() == producer && (block.first_sequence()..end).contains(&first) {
                    let (at, sequence) = block.home().unwrap_or_default();
                    let events = u64::from(block.event_count());
                    next = block.stream_sequence() + events;
                    home_next = if at == tag(home) { sequence + events } else { 1 };
                }
            });
            return Taken::Pending(Pending { session, names, level, next, home_next });
        }
        self.blocks += 1;
        let mut copy = bytes.to_vec();
        let place = Stamp {
            origin: hub(home),
            epoch: Epoch(1),
            block: self.blocks,
            sequence: self.blocks * 1000,
            ingested: now.wall,
        };
        if stamp(&mut copy, &place).is_err() {
            return Taken::Refused;
        }
        match self.log.append(&copy, now) {
            Ok(appended) => {
                self.seen.note(producer, Lane::DEFAULT, first, count);
                self.sync_is_due = true;
                let home_next = appended.home_sequence + u64::from(count);
                Taken::Pending(Pending { session, names, level, next: appended.next, home_next })
            }
            Err(_) => Taken::Refused,
        }
    }

    /// Copies from another home; answers how many events were new, or none when
    /// they are refused.
    pub(super) fn copy(&mut self, copies: &Copies, entries: &[u8], now: Now, canary: Option<Canary>) -> Option<u64> {
        self.taken.merge(&self.log.position().into_iter().collect());
        if !self.taken.covers(&copies.from) && canary != Some(Canary::SkippedCheck) {
            return None;
        }
        let mut events = 0;
        for copy in &copies.copies {
            let bytes = entries.get(copy.at..copy.at + copy.len)?;
            let block = Block::validate(bytes).ok()?;
            let (producer, first, count) = (block.producer(), block.first_sequence(), block.event_count());
            if self.seen.sight(producer, Lane::DEFAULT, first, count) == Sight::Here {
                continue;
            }
            match self.log.append_copy(bytes, copy.home, copy.sequence, now) {
                Ok(_) => events += u64::from(count),
                Err(AppendError::AlreadyThere { .. }) => continue,
                Err(_) => return None,
            }
            self.seen.note(ProducerId(producer.0), Lane::DEFAULT, first, count);
            self.sync_is_due = true;
        }
        self.taken.merge(&copies.through);
        Some(events)
    }
}

/// The log of a home, for the replica's giving half.
pub(super) struct LogSource<'a>(pub(super) &'a mut LogReader);

fn unreadable(error: ReadError) -> Unreadable {
    match error {
        ReadError::Gone { first } => Unreadable::Gone { first },
        ReadError::Damaged { resume, .. } => Unreadable::Damaged { resume },
        _ => Unreadable::Failed,
    }
}

impl Source for LogSource<'_> {
    fn first(&self) -> u64 {
        self.0.first()
    }

    fn position_at(&mut self, local: u64) -> Result<Position, Unreadable> {
        Ok(self.0.position_at(local).map_err(unreadable)?.into_iter().collect())
    }

    fn read(&mut self, from: u64, upto: u64, each: &mut dyn FnMut(Stored<'_>) -> bool) -> Result<u64, Unreadable> {
        let mut next = from;
        for found in self.0.read(from, upto, 1 << 20).map_err(unreadable)? {
            let (home, sequence) = found.home();
            let (first, span) = (found.first(), found.block().event_count());
            let bytes: &[u8] = &found;
            if !each(Stored { first, next: found.next(), home, sequence, span, more: false, withheld: false, bytes }) {
                break;
            }
            next = found.next();
        }
        Ok(next)
    }
}
