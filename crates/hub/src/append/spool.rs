//! The spool on disk: what is kept for homes of other hubs' streams that cannot
//! be reached. A log for each stream; what was handed to the route stage leaves
//! it once the home says that it is on its disk.
//!
//! How far that is stands in keyed state. Lost with it, or with the power, some
//! of it is sent again, and the home tells it by its producer's sequences. Full
//! (`limits.spool_bytes`), or when the disk is, publishes are refused.
//!
//! Logs stay when they are empty: an id and a place in its spool never mean two
//! things. A spool of a stream that nobody knows of goes at the next start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weft_base::{ByteCount, Mono, Now};
use weft_keyed::{Batch, Space};
use weft_log::{AppendError, Log, LogReader, ReadError};
use weft_mesh::ledger::DropReason;
use weft_ring::arena::{Arena, BlockRef};
use weft_wire::block::{Block, StreamPlace, set_stream_place};
use weft_wire::frame::{AckLevel, ErrorCode};

use super::commit::Places;
use super::sync::{SyncState, Whose};
use super::take::Refusal;
use super::{AppendStage, Folder, FolderError, ToSync};
use crate::counters::{Counters, add, set, sub};
use crate::keyed::{KeyedWriter, Until, Written};
use crate::messages::{Completion, Request, SessionId, StreamSlot, ToConductor};
use crate::options::Limits;
use crate::outbox::Outbox;
use crate::see::account::Waits;
use crate::spool::{FromSpool, Progress, Round, Size, SpoolPlace, SpoolStart, SpooledStream};

/// Blocks of one spool that are handed out in one turn.
const TURN: usize = 64;
/// How long nothing is handed out after a home has taken nothing.
const PAUSE: Duration = Duration::from_millis(500);
/// The same when there is no memory for a block.
const MEMORY: Duration = Duration::from_millis(50);
/// How often a home may refuse a block for what it is, before it is given up.
const STRIKES: u32 = 8;
/// What tells the slot of a spool from those of streams, where all are synced.
const SLOT: u32 = 1 << 30;
/// The key of how far a spool is sent, behind the stream's id.
const FLOOR: &[u8] = b"spool";

/// The spool of one stream.
struct Spool {
    stream: u64,
    log: Log,
    reader: LogReader,
    sync: Arc<SyncState>,
    /// The synced position that was last acted upon.
    settled: u64,
    progress: Progress,
    /// What is not known to be on its home's disk.
    waiting: Size,
    saved: u64,
    /// How far it is sent is being written: so far.
    writing: Option<(Written, u64)>,
    paused: Option<Mono>,
    /// The block that was refused last, and how often.
    strikes: (u64, u32),
    /// The round in which it was said that little is left.
    low: Option<u32>,
}

/// What the route stage has said of a stream.
#[derive(Default)]
struct Taken {
    messages: u64,
    /// At how many it was said that nothing waits.
    said: Option<u64>,
    /// The stream is no more.
    gone: bool,
}

/// All of them.
#[derive(Default)]
pub(super) struct Spools {
    /// In the order in which they were opened: none leaves.
    open: Vec<Spool>,
    taken: BTreeMap<u64, Taken>,
    /// As the route stage knows them.
    names: BTreeMap<u64, String>,
}

/// What was found on disk.
#[derive(Default)]
pub(crate) struct FoundSpools {
    spools: Vec<Spool>,
    names: BTreeMap<u64, String>,
}

fn floor_key(stream: u64) -> Vec<u8> {
    [&stream.to_be_bytes()[..], FLOOR].concat()
}

/// Opens the spools that lie in the data folder; those of streams that are not
/// known any more and hold nothing are deleted.
pub(crate) fn load_spools(
    folder: &Folder,
    limits: &Limits,
    now: Now,
) -> Result<(SpoolStart, FoundSpools), FolderError> {
    let (known, ids) = folder.spools()?;
    let (mut waiting, mut spools) = (Vec::new(), Vec::new());
    for id in ids {
        let spool = Spool::open(folder, id, limits, now)?;
        if spool.progress.floor() < spool.log.next() {
            waiting.push(id);
        } else if known.iter().all(|stream| stream.id != id) {
            spool.delete(folder.keyed());
            continue;
        }
        spools.push(spool);
    }
    let names = known.iter().map(|stream| (stream.id, stream.name.clone())).collect();
    Ok((SpoolStart { known, waiting, has_disk: true }, FoundSpools { spools, names }))
}

impl Spool {
    fn open(folder: &Folder, stream: u64, limits: &Limits, now: Now) -> Result<Self, FolderError> {
        let mut log = folder.open_spool(stream, limits, now)?;
        let saved = folder.keyed().reads().get(Space::Meta, &floor_key(stream)).unwrap_or_else(|error| {
            tracing::error!(code = "keyed_failed", error = %error, "a spool is sent from its beginning");
            None
        });
        let saved = saved.and_then(|value| Some(u64::from_le_bytes(value.try_into().ok()?)));
        // A log that was put back has less than that: it is right.
        let floor = saved.filter(|floor| *floor <= log.next()).unwrap_or(0).max(log.first());
        log.set_floor(floor);
        let mut waiting = Size::default();
        log.for_each_block(floor, |block| {
            waiting.events += u64::from(block.event_count());
            waiting.bytes += block.len() as u64;
        })
        .map_err(|source| FolderError::Unreadable {
            stream: format!("spool/{stream:016x}"),
            source: Box::new(source),
        })?;
        Ok(Self {
            stream,
            reader: log.reader(),
            sync: Arc::default(),
            settled: log.synced(),
            progress: Progress::new(floor, limits.flow_blocks),
            waiting,
            saved: floor,
            writing: None,
            paused: None,
            strikes: (0, 0),
            low: None,
            log,
        })
    }

    fn delete(self, keyed: &KeyedWriter) {
        let stream = self.stream;
        drop(self.reader);
        let mut batch = Batch::new();
        batch.delete(Space::Meta, floor_key(stream));
        let forgotten = self.log.delete().map_err(|error| error.to_string());
        if let Err(error) = forgotten.and_then(|()| keyed.write_now(batch).map_err(|error| error.to_string())) {
            tracing::warn!(code = "spool_left", spool = %format!("{stream:016x}"), error, "an empty spool stays");
        }
    }

    fn is_empty(&self) -> bool {
        self.progress.floor() >= self.log.next()
    }

    /// So much is not waited for any more.
    fn leave(&mut self, size: Size, counters: &Counters) {
        self.waiting.events = self.waiting.events.saturating_sub(size.events);
        self.waiting.bytes = self.waiting.bytes.saturating_sub(size.bytes);
        sub(&counters.waiting_spool, size.events);
    }

    /// Of what cannot be read it is not known how much it was: all that is left
    /// when the spool is empty was that.
    fn leave_rest(&mut self, counters: &Counters) {
        if self.is_empty() && self.waiting.events > 0 {
            counters.drop_copies(DropReason::Damaged, self.waiting.events);
            self.leave(self.waiting, counters);
        }
    }

    /// Writes how far it is sent, one after the other.
    fn save(&mut self, keyed: &KeyedWriter) {
        if let Some((written, floor)) = &self.writing {
            match written.outcome() {
                None => return,
                Some(Ok(())) => self.saved = *floor,
                // Some of it is sent again then.
                Some(Err(error)) => tracing::warn!(code = "keyed_failed", error = %error, "how far a spool is sent"),
            }
            self.writing = None;
        }
        if self.progress.floor() != self.saved {
            let (batch, floor) = self.floor();
            self.writing = Some((keyed.write(batch, Until::SyncedSoon), floor));
        }
    }

    fn floor(&self) -> (Batch, u64) {
        let floor = self.progress.floor();
        let mut batch = Batch::new();
        batch.put(Space::Meta, floor_key(self.stream), floor.to_le_bytes());
        (batch, floor)
    }

    /// Hands out the next block, if one may be.
    fn hand_out(&mut self, now: Now, arena: &Arena, conductor: &mut Outbox<ToConductor>) -> bool {
        if self.paused.is_some_and(|until| now.mono < until) {
            return false;
        }
        self.paused = None;
        let synced = self.log.synced();
        let Some(at) = self.progress.next(synced) else { return false };
        let found = match self.reader.read(at, synced, 1) {
            Ok(mut blocks) => blocks.next().filter(|block| block.first() == at),
            Err(ReadError::Damaged { resume, .. } | ReadError::Gone { first: resume }) if resume > at => {
                let lost = resume - at;
                tracing::error!(code = "spool_lost", spool = self.stream, at, lost, "events of a spool are damaged");
                self.progress.pass(resume);
                return true;
            }
            Err(error) => {
                tracing::error!(code = "spool_unread", spool = self.stream, error = %error, "tried again later");
                self.paused = Some(now.mono + PAUSE);
                return false;
            }
        };
        let Some(found) = found else {
            self.progress.pass(at + 1);
            return true;
        };
        let Some(mut buffer) = arena.lend(found.len()) else {
            self.paused = Some(now.mono + MEMORY);
            return false;
        };
        buffer.extend(&found);
        let mut block = buffer.split_to(found.len());
        // It is in no stream yet. A stamped block can always be set so.
        let _ = set_stream_place(&mut block, StreamPlace { local: 0, home: 0, home_sequence: 0 });
        let size = Size { events: u64::from(found.block().event_count()), bytes: found.len() as u64 };
        self.progress.handed(found.next(), size);
        let place = SpoolPlace { stream: self.stream, at, round: self.progress.round() };
        conductor.push(ToConductor::Spooled(Box::new(FromSpool { place, block })));
        true
    }

    /// The home has refused a block, not for the first time, for what it is.
    fn give_up_block(&mut self, at: u64, code: ErrorCode, counters: &Counters) {
        let found = self.reader.read(at, self.log.synced(), 1).ok().and_then(|mut blocks| blocks.next());
        // The round has just begun: it is the first, or comes to be.
        let Some(found) = found.filter(|block| block.first() == at) else { return };
        let size = Size { events: u64::from(found.block().event_count()), bytes: found.len() as u64 };
        self.progress.refuse(at, found.next());
        tracing::error!(
            code = "spool_refused",
            spool = self.stream,
            topic = found.block().topic(),
            events = size.events,
            why = %code,
            "the stream's home does not take what was spooled for it: dropped"
        );
        counters.drop_copies(DropReason::StreamRefused, size.events);
        self.leave(size, counters);
    }
}

/// Whether a home refuses a block for what it is, and not for how the home is.
fn is_final(code: ErrorCode) -> bool {
    [ErrorCode::TOO_LARGE, ErrorCode::NO_STREAM, ErrorCode::UNSUPPORTED, ErrorCode::BAD_BLOCK].contains(&code)
}

impl Spools {
    fn of(&mut self, stream: u64) -> Option<(StreamSlot, &mut Spool)> {
        let index = self.open.iter().position(|spool| spool.stream == stream)?;
        self.open.get_mut(index).map(|spool| (slot(index), spool))
    }

    fn name_of(&self, stream: u64) -> String {
        self.names.get(&stream).cloned().unwrap_or_else(|| format!("{stream:016x}"))
    }

    fn bytes(&self) -> u64 {
        self.open.iter().map(|spool| spool.waiting.bytes).sum()
    }

    /// When there is something to do that nobody else wakes for.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.open.iter().filter_map(|spool| spool.paused).min()
    }
}

fn slot(index: usize) -> StreamSlot {
    StreamSlot(SLOT | index as u32)
}

impl AppendStage {
    /// Makes what was found on disk known.
    pub(super) fn install_spools(&mut self, found: FoundSpools) {
        self.spools.names = found.names;
        for spool in found.spools {
            self.install_spool(spool);
        }
    }

    /// Makes a spool known. What waits in it counts as made here.
    fn install_spool(&mut self, spool: Spool) {
        let slot = slot(self.spools.open.len());
        self.commits.fresh(slot, spool.settled);
        let of = Box::new(Whose { stream: format!("spool {:016x}", spool.stream), tenant: None });
        self.sync.push(ToSync::Add { slot, syncer: spool.log.syncer(), state: spool.sync.clone(), of });
        add(&self.counters.copies, spool.waiting.events);
        add(&self.counters.waiting_spool, spool.waiting.events);
        self.spools.taken.entry(spool.stream).or_default();
        self.spools.open.push(spool);
    }

    /// Keeps a block for the homes of these streams.
    pub(super) fn spool(&mut self, streams: &[u64], block: &BlockRef, completion: Completion) {
        let events = u64::from(Block::trusted(block).event_count());
        let counters = self.counters.clone();
        let account = counters.account(block);
        let (mut places, mut refused) = (Places::default(), None);
        for stream in streams {
            self.spools.taken.entry(*stream).or_default().messages += 1;
            match self.try_spool(*stream, block, events) {
                Ok((slot, upto)) => places.push(slot, upto, None),
                Err(refusal) => {
                    account.drop(refusal.reason, events);
                    add(&self.counters.spool_refused, events);
                    refused = Some(refusal);
                }
            }
        }
        account.leave(Waits::Append, events * streams.len() as u64);
        match (refused, completion) {
            (Some(Refusal { code, detail, .. }), _) => self.refuse(completion, code, detail),
            (None, Completion::Client(request)) => {
                let request = Request { level: AckLevel::Spooled, ..request };
                self.commits.written(places, Completion::Client(request), &mut self.net);
            }
            (None, _) => {}
        }
    }

    fn try_spool(&mut self, stream: u64, block: &BlockRef, events: u64) -> Result<(StreamSlot, u64), Refusal> {
        let (now, limits) = (self.now, &self.options.limits);
        let name = self.spools.name_of(stream);
        let refusal = |code, reason, detail| Refusal { code, reason, detail };
        let storage = |detail: String| refusal(ErrorCode::STORAGE, DropReason::StreamRefused, detail);
        if self.spools.taken.get(&stream).is_some_and(|taken| taken.gone) {
            let detail = format!("stream `{name}` was deleted");
            return Err(refusal(ErrorCode::NO_STREAM, DropReason::StreamGone, detail));
        }
        let (size, most) = (Size { events, bytes: block.len() as u64 }, limits.spool_bytes);
        let there = self.spools.bytes();
        if there.saturating_add(size.bytes) > most.0 {
            let detail = format!(
                "no home of stream `{name}` can be reached, and the spool is full: {} of {most} (limits.spool_bytes)",
                ByteCount(there)
            );
            return Err(refusal(ErrorCode::SPOOL_FULL, DropReason::StreamRefused, detail));
        }
        if self.spools.of(stream).is_none() {
            let most = limits.spool_streams.saturating_mul(2);
            if self.spools.open.len() >= most {
                let detail = format!("{most} spools are open, twice limits.spool_streams: start the hub again");
                return Err(refusal(ErrorCode::LIMIT, DropReason::StreamRefused, detail));
            }
            let folder = self.folder.as_ref().ok_or_else(|| storage("this hub has no data folder".to_owned()))?;
            let made = Spool::open(folder, stream, limits, now).map_err(|error| storage(error.to_string()))?;
            self.install_spool(made);
            tracing::warn!(code = "spooling", stream = name, "no home can be reached: publishes are kept on disk here");
        }
        let Some((slot, spool)) = self.spools.of(stream) else { return Err(storage("there is no spool".to_owned())) };
        let appended = spool.log.append(block, now).map_err(|error| {
            let full = matches!(error, AppendError::DiskFull { .. });
            let detail = format!("no home of stream `{name}` can be reached, and the spool takes nothing: {error}");
            match full {
                true => refusal(ErrorCode::DISK_FULL, DropReason::StreamRefused, detail),
                false => storage(detail),
            }
        })?;
        spool.waiting.events += size.events;
        spool.waiting.bytes += size.bytes;
        self.counters.account(block).spooled(events);
        add(&self.counters.spooled, events);
        Ok((slot, appended.next))
    }

    /// Homes have these blocks on disk.
    pub(super) fn spool_done(&mut self, places: &[SpoolPlace]) {
        let counters = &self.counters;
        for place in places {
            let Some((_, spool)) = self.spools.of(place.stream) else { continue };
            if let Some(size) = spool.progress.done(place.at, place.round) {
                add(&counters.forwarded, size.events);
                add(&counters.spool_forwarded, size.events);
                spool.leave(size, counters);
            }
        }
    }

    /// Sending begins anew, or ends.
    pub(super) fn spool_round(&mut self, round: Round) {
        let (now, counters) = (self.now, &self.counters);
        let Some((_, spool)) = self.spools.of(round.stream) else { return };
        spool.progress.begin(round.round, round.open, spool.waiting.bytes, round.wait);
        spool.paused = round.wait.then_some(now.mono + PAUSE);
        if let Some((at, code)) = round.refused.filter(|(_, code)| is_final(*code)) {
            let before = if spool.strikes.0 == at { spool.strikes.1 } else { 0 };
            spool.strikes = (at, before + 1);
            if before + 1 >= STRIKES {
                spool.give_up_block(at, code, counters);
            }
        }
    }

    /// A stream is no more: what waits for it goes nowhere.
    pub(super) fn spool_gone(&mut self, stream: u64) {
        let name = self.spools.name_of(stream);
        self.spools.taken.entry(stream).or_default().gone = true;
        let counters = &self.counters;
        let Some((_, spool)) = self.spools.of(stream) else { return };
        let (lost, next) = (spool.waiting, spool.log.next());
        spool.progress.give_up(next);
        if lost.events > 0 {
            tracing::error!(
                code = "stream_gone",
                stream = name,
                events = lost.events,
                bytes = lost.bytes,
                "its homes have the stream no more: what was spooled for it here is dropped"
            );
            counters.drop_copies(DropReason::StreamGone, lost.events);
            spool.leave(lost, counters);
        }
    }

    /// Which streams are spooled for, and how they are called.
    pub(super) fn spool_known(&mut self, known: Vec<SpooledStream>) {
        if let Some(Err(error)) = self.folder.as_ref().map(|folder| folder.save_spooled(&known)) {
            tracing::error!(code = "spool_unsaved", error = %error, "which streams are spooled for");
        }
        let mut names = BTreeMap::new();
        for SpooledStream { id, name, .. } in known {
            if let Some(taken) = self.spools.taken.get_mut(&id) {
                taken.gone = false;
            }
            names.insert(id, name);
        }
        let Spools { open, names: old, .. } = &mut self.spools;
        old.retain(|id, _| !names.contains_key(id) && open.iter().any(|spool| spool.stream == *id));
        old.extend(names);
    }

    /// Says that no home of a stream can be reached, and what waits for it here.
    pub(super) fn spool_report(&mut self, (session, id): (SessionId, u64), stream: &str, mut detail: String) {
        let known = self.spools.names.iter().find(|(_, name)| *name == stream).map(|(id, _)| *id);
        if let Some((_, spool)) = known.and_then(|known| self.spools.of(known)) {
            let Size { events, bytes } = spool.waiting;
            detail = format!("{detail}; {events} events ({}) are spooled for it here", ByteCount(bytes));
        }
        self.refuse_request(session, id, ErrorCode::UNREACHABLE, detail);
    }

    /// Hands out what may be sent, and settles what has reached the disk.
    pub(super) fn settle_spools(&mut self) -> usize {
        let (now, mut work) = (self.now, 0);
        if self.spools.taken.is_empty() {
            return 0;
        }
        let keyed = self.folder.as_ref().map(Folder::keyed);
        // What is handed out lies in the arena until it is done.
        let most = self.options.limits.arena.0 / 8;
        let mut lent: u64 = self.spools.open.iter().map(|spool| spool.progress.open_bytes()).sum();
        for (index, spool) in self.spools.open.iter_mut().enumerate() {
            let synced = spool.log.synced();
            if synced != spool.settled {
                spool.settled = synced;
                self.commits.synced(slot(index), synced);
                work += 1;
            }
            if let Some(reason) = spool.sync.take_failure() {
                tracing::error!(code = "sync_failed", spool = spool.stream, reason, "a spool could not be synced");
                self.commits.failed(slot(index), &reason, &mut self.net);
            }
            for _ in 0..TURN {
                let own = spool.progress.open_bytes();
                let may = own == 0 || lent < most;
                if !may || !self.conductor.has_room(1) || !spool.hand_out(now, &self.arena, &mut self.conductor) {
                    break;
                }
                lent += spool.progress.open_bytes() - own;
                work += 1;
            }
            let round = spool.progress.round();
            if spool.low != Some(round)
                && spool.progress.is_low(spool.log.next(), spool.waiting.bytes)
                && self.conductor.has_room(1)
            {
                spool.low = Some(round);
                self.conductor.push(ToConductor::SpoolLow { stream: spool.stream, round });
            }
            if let Some(keyed) = keyed {
                spool.save(keyed);
            }
            spool.leave_rest(&self.counters);
        }
        set(&self.counters.spool_bytes, self.spools.bytes());
        let Spools { open, taken, .. } = &mut self.spools;
        for (stream, taken) in taken.iter_mut().filter(|(_, taken)| taken.said != Some(taken.messages)) {
            let is_empty = open.iter().find(|spool| spool.stream == *stream).is_none_or(Spool::is_empty);
            if is_empty && self.conductor.has_room(1) {
                taken.said = Some(taken.messages);
                self.conductor.push(ToConductor::SpoolEmpty { stream: *stream, taken: taken.messages });
                work += 1;
            }
        }
        work
    }

    /// Gives back the space of segments that were sent.
    pub(super) fn tend_spools(&mut self) {
        let now = self.now;
        for spool in &mut self.spools.open {
            spool.log.set_floor(spool.saved);
            if spool.log.retain(now) > 0 {
                // Perhaps nothing more is ever appended: the files go now.
                spool.log.syncer().prepare();
            }
        }
    }

    pub(super) fn close_spools(&mut self) {
        for spool in self.spools.open.drain(..) {
            let (stream, batch) = (spool.stream, spool.floor().0);
            if let Some(Err(error)) = self.folder.as_ref().map(|folder| folder.keyed().write_now(batch)) {
                tracing::warn!(code = "keyed_failed", error = %error, "how far a spool is sent");
            }
            if let Err(error) = spool.log.close() {
                tracing::error!(code = "sync_failed", spool = stream, error = %error, "a spool's last sync failed");
            }
        }
    }
}
