//! Delayed blocks on their way: into the schedule, and from there, when they are
//! due, into the stream and to live subscribers.

use std::time::Duration;

use weft_log::ReadError;
use weft_mesh::ledger::DropReason;
use weft_ring::arena::{Arena, BlockRef};
use weft_stream::intake::{Asked, Place};
use weft_wire::block::Block;
use weft_wire::frame::ErrorCode;

use super::commit::Places;
use super::schedule::name_of;
use super::sync::Whose;
use super::take::{Refusal, Stands};
use super::{AppendStage, Stream, ToSync};
use crate::counters::{Counters, add};
use crate::messages::{Completion, StreamSlot, ToConductor};

/// Blocks of one stream that are let go in one turn.
const TURN: usize = 64;
/// How long nothing is let go when the stream or the disk takes nothing.
const PAUSE: Duration = Duration::from_secs(1);
/// The same when there is no memory for a block.
const MEMORY: Duration = Duration::from_millis(50);
/// What tells the slot of a stream's schedule from the stream's own, where both
/// are synced and waited for.
const SCHEDULE: u32 = 1 << 31;

/// The slot of a stream's schedule.
pub(super) fn schedule_of(slot: StreamSlot) -> StreamSlot {
    StreamSlot(slot.0 | SCHEDULE)
}

impl AppendStage {
    /// Makes a stream's schedule known, if it has one.
    pub(super) fn tell_schedule(&mut self, slot: StreamSlot) {
        let stream = self.streams.get(slot.0 as usize).and_then(Option::as_ref);
        let Some(schedule) = stream.and_then(|stream| stream.schedule.as_ref()) else { return };
        self.commits.fresh(schedule_of(slot), schedule.settled);
        add(&self.counters.log_damaged, schedule.health.places());
        if let (Some(verify), Some(stream)) = (&self.verify, stream) {
            verify.add(&name_of(&stream.spec.name), schedule.log.verifier(), &schedule.health);
        }
        let (syncer, state) = (schedule.log.syncer(), schedule.sync.clone());
        if let Some(stream) = stream {
            let of = Whose::stream(&stream.spec);
            self.sync.push(ToSync::Add { slot: schedule_of(slot), syncer, state, of });
        }
    }

    /// Takes a block that is to be delivered later.
    pub(super) fn put_off(&mut self, slot: StreamSlot, block: &BlockRef, asked: &Asked, completion: Completion) {
        let events = u64::from(Block::trusted(block).event_count());
        let several_homes = Self::homes_request(completion).is_some();
        let put_off = self.try_put_off(slot, block, asked, several_homes);
        let account = self.counters.account(block);
        match put_off {
            Ok(stands) => {
                let completion = if stands.duplicate {
                    account.drop(DropReason::Duplicate, events);
                    completion.duplicate()
                } else {
                    account.stored(events);
                    completion
                };
                let mut places = Places::default();
                places.push(schedule_of(slot), stands.upto, None);
                self.commits.written(places, completion, &mut self.net);
            }
            Err(Refusal { code, reason, detail }) => {
                account.drop(reason, events);
                self.refuse(completion, code, detail);
            }
        }
    }

    fn try_put_off(
        &mut self,
        slot: StreamSlot,
        block: &BlockRef,
        asked: &Asked,
        several_homes: bool,
    ) -> Result<Stands, Refusal> {
        let now = self.now;
        let refusal = |code, detail: String| Refusal { code, reason: DropReason::StreamRefused, detail };
        let bad = |detail: String| refusal(ErrorCode::BAD_DELAY, detail);
        let due = asked.deliver_at.unwrap_or_default();
        if asked.expect_last.is_some() || asked.expect_key.is_some() || asked.batch.is_some() {
            return Err(bad("a delayed event can have no condition and be in no batch".to_owned()));
        }
        if several_homes {
            return Err(bad("a delayed event waits at one home: ask for `synced`".to_owned()));
        }
        let parsed = Block::trusted(block);
        let events = u64::from(parsed.event_count());
        let scheduled: u64 =
            self.streams.iter().flatten().filter_map(|stream| stream.schedule.as_ref()).map(|s| s.events()).sum();
        let limits = &self.options.limits;
        let Some(stream) = self.streams.get_mut(slot.0 as usize).and_then(Option::as_mut) else {
            return Err(refusal(ErrorCode::NO_STREAM, "the stream was deleted".to_owned()));
        };
        if let Some(schedule) = &mut stream.schedule {
            match schedule.index.place(parsed) {
                Place::New => {}
                Place::Duplicate { .. } => {
                    return Ok(Stands { upto: schedule.log.next(), named: None, duplicate: true });
                }
                Place::Overlap => return Err(stream.overlap()),
                Place::Unsure => return Err(stream.unsure()),
            }
        }
        let ahead = u64::try_from(limits.schedule_ahead.as_nanos()).unwrap_or(u64::MAX);
        if due.0 > now.wall.0.saturating_add(ahead) {
            let seconds = (due.0 - now.wall.0) / 1_000_000_000;
            let most = limits.schedule_ahead.as_secs();
            return Err(bad(format!("{seconds} s ahead is too far: at most {most} s (limits.schedule_ahead)")));
        }
        if scheduled.saturating_add(events) > limits.scheduled as u64 {
            let most = limits.scheduled;
            return Err(bad(format!("{scheduled} delayed events wait here, of at most {most} (limits.scheduled)")));
        }
        stream.admits(parsed)?;
        let made = stream.schedule.is_none();
        if made {
            let folder = self.folder.as_ref().ok_or_else(|| bad("this hub has no data folder".to_owned()))?;
            let schedule = folder
                .open_schedule(&stream.spec, &stream.log, limits, now)
                .map_err(|error| refusal(ErrorCode::STORAGE, error.to_string()))?;
            stream.schedule = Some(Box::new(schedule));
        }
        let Stream { schedule, spec, .. } = stream;
        let Some(schedule) = schedule else { return Err(bad("there is no schedule".to_owned())) };
        let appended = match schedule.log.append(block, now) {
            Ok(appended) => {
                schedule.index.note(parsed, &appended, now);
                schedule.note(due, appended.first, events);
                Ok(Stands { upto: appended.next, named: None, duplicate: false })
            }
            Err(error) => Err(Refusal::of(&spec.name, &error)),
        };
        if made {
            self.tell_schedule(slot);
        }
        appended
    }

    /// Lets go what is due, and settles what has reached the disks.
    pub(super) fn settle_schedules(&mut self) -> usize {
        let (mut work, mut appended) = (0, false);
        let now = self.now;
        for (index, place) in self.streams.iter_mut().enumerate() {
            let Some(stream) = place else { continue };
            let stream_synced = stream.log.synced();
            let Some(schedule) = &mut stream.schedule else { continue };
            let slot = schedule_of(StreamSlot(index as u32));
            let synced = schedule.log.synced();
            schedule.index.checkpoint(schedule.log.next(), synced, now);
            if synced != schedule.settled {
                schedule.settled = synced;
                self.commits.synced(slot, synced);
                work += 1;
            }
            if let Some(reason) = schedule.sync.take_failure() {
                let name = &stream.spec.name;
                tracing::error!(code = "sync_failed", stream = name, reason, "a schedule could not be synced");
                self.commits.failed(slot, &reason, &mut self.net);
            }
            while self.conductor.has_room(1)
                && let Some(block) = schedule.next_live(stream_synced)
            {
                self.conductor.push(ToConductor::Release { block });
                work += 1;
            }
            schedule.settle(stream_synced);
            for _ in 0..TURN {
                if !stream.let_go(now, &self.arena, &self.counters) {
                    break;
                }
                (appended, work) = (true, work + 1);
            }
        }
        if appended {
            self.sync.wake();
        }
        work
    }
}

impl Stream {
    /// Appends the block that is due first; answers whether there was one.
    fn let_go(&mut self, now: weft_base::Now, arena: &Arena, counters: &Counters) -> bool {
        let Some(schedule) = &mut self.schedule else { return false };
        let Some(place) = schedule.first_due(now) else { return false };
        if self.copying.is_behind_itself() {
            schedule.pause(now.mono + PAUSE);
            return false;
        }
        let name = &self.spec.name;
        let bytes = match schedule.read(place) {
            Ok(Some(bytes)) => bytes,
            Ok(None) | Err(ReadError::Damaged { .. } | ReadError::Gone { .. }) => {
                tracing::error!(code = "scheduled_lost", stream = name, place, "a delayed block is damaged");
                schedule.lost(1);
                return true;
            }
            Err(error) => {
                tracing::error!(code = "schedule_unread", stream = name, error = %error, "tried again later");
                schedule.pause(now.mono + PAUSE);
                return false;
            }
        };
        let parsed = Block::trusted(&bytes);
        let events = u64::from(parsed.event_count());
        if self.copying.has(&parsed) {
            let next = self.log.next();
            schedule.moved(events, next, next, None);
            return true;
        }
        let Some(block) = arena.copy_of(&bytes) else {
            schedule.pause(now.mono + MEMORY);
            return false;
        };
        match self.log.append(&bytes, now) {
            Ok(appended) => {
                self.index.note(parsed, &appended, now);
                self.copying.note(&parsed);
                let account = counters.account(&bytes);
                account.copies(events);
                account.stored(events);
                schedule.moved(events, appended.first, appended.next, Some(block));
                true
            }
            Err(error) => {
                tracing::error!(code = "scheduled_refused", stream = name, error = %error, "tried again later");
                schedule.pause(now.mono + PAUSE);
                false
            }
        }
    }

    /// What is scheduled, for who looks; empty where nothing is.
    pub(super) fn scheduled(&self, now: weft_base::UnixNanos) -> String {
        let Some(schedule) = &self.schedule else { return String::new() };
        let damaged = schedule.health.shown(schedule.log.oldest_segment());
        let damaged = if damaged.is_empty() { damaged } else { format!("of what is delayed {damaged}") };
        let Some(due) = schedule.next_due() else { return damaged };
        let seconds = due.0.saturating_sub(now.0).div_ceil(1_000_000_000);
        let waits = format!("{} delayed, the next due in {seconds} s", schedule.events());
        if damaged.is_empty() { waits } else { format!("{waits}; {damaged}") }
    }
}
