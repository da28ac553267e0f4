//! Reading for consumers and handing out: each in turn, its share of bytes.

use weft_log::{LogBlock, ReadError};
use weft_stream::consumer::{Offered, Read};
use weft_wire::frame::{self, Frame, MAX_HANDOUT_RUNS, Run};

use super::entry::{Entry, Key};
use super::{ConsumeStage, ROOM};
use crate::counters::{add, get};
use crate::messages::{Head, ToNet};
use crate::options::Limits;
use weft_mesh::ledger::DropReason;

/// Bytes of blocks handed out in one turn.
pub(super) const TURN: i64 = 1 << 20;
/// What a consumer may be served before the next one's turn.
const QUANTUM: i64 = 128 << 10;
/// What a block costs whoever reads it, besides its bytes if it is handed out.
const BLOCK: i64 = 256;
/// After an error of the disk a consumer reads no sooner than this.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// When a bound of the hub holds a consumer up, it looks again after this.
const HELD: std::time::Duration = std::time::Duration::from_millis(10);

/// The most blocks on their way to all members' sockets.
pub(crate) fn most_handouts(limits: &Limits) -> u64 {
    (limits.waiting_blocks / 8).max(1) as u64
}

/// Why serving a consumer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    /// It has nothing to hand out, or nobody who takes it.
    Idle,
    /// Its share is used up.
    More,
    /// The net stage has no room.
    Full,
}

/// What reading came to.
enum Outcome {
    /// Blocks were offered; the next read may be asked for.
    Read,
    /// There is nothing to read up to what is on disk.
    End,
    /// The decider took nothing: it would ask for the same again.
    Stuck,
    /// The events up to there cannot be read, and never will be.
    Lost { upto: u64, reason: DropReason },
    /// The disk failed.
    Failed(String),
    /// The net stage has no room, or the share is used up.
    Enough,
}

impl ConsumeStage {
    /// Serves the consumers that have something, each its share, at most
    /// [`TURN`] bytes. Answers how many blocks were read.
    pub(super) fn serve(&mut self) -> usize {
        if self.lifecycle.is_draining() {
            // What is under way is finished; nothing new begins.
            return 0;
        }
        let (mut work, mut left) = (0, TURN);
        let mut rounds = self.ready.len() * 2;
        while left > 0 && rounds > 0 && self.net.has_room(ROOM) {
            rounds -= 1;
            let Some(key) = self.ready.pop_front() else { break };
            let Some(entry) = self.entry(key) else { continue };
            entry.queued = false;
            entry.deficit = (entry.deficit + QUANTUM).min(QUANTUM);
            let before = entry.deficit;
            let served = self.serve_one(key, &mut work);
            let Some(entry) = self.entry(key) else { continue };
            left -= before - entry.deficit;
            if served == Served::Idle {
                // Who has nothing to do saves no share up.
                entry.deficit = entry.deficit.min(0);
            } else {
                self.touch(key);
            }
            if served == Served::Full {
                break;
            }
        }
        work
    }

    fn serve_one(&mut self, key: Key, work: &mut usize) -> Served {
        let now = self.now;
        let Some(place) = self.entries.get_mut(key.place as usize) else { return Served::Idle };
        let Some(mut entry) = place.take_if(|entry| entry.serial == key.serial) else { return Served::Idle };
        if entry.leaving || entry.retry.is_some_and(|retry| retry > now.mono) {
            self.entries[key.place as usize] = Some(entry);
            return Served::Idle;
        }
        if !std::mem::replace(&mut entry.touched, true) {
            self.touched.push(key);
        }
        let served = loop {
            entry.top_up();
            if entry.deficit <= 0 {
                break Served::More;
            }
            if !self.net.has_room(ROOM) {
                break Served::Full;
            }
            if get(&self.counters.handouts) >= most_handouts(&self.options.limits) {
                // Written by the net stage, one by one: looked at again in a while.
                add(&self.counters.consumer_held, 1);
                entry.retry = Some(now.mono + HELD);
                break Served::Idle;
            }
            let Some(read) = entry.consumer.next_read(now) else { break Served::Idle };
            if !read.again && self.is_full(&mut entry) {
                break Served::Idle;
            }
            match self.read(&mut entry, read, work) {
                Outcome::Read | Outcome::Enough => {}
                Outcome::End | Outcome::Stuck => break Served::Idle,
                Outcome::Lost { upto, reason } => self.lose(&mut entry, read.from, upto, reason),
                Outcome::Failed(why) => {
                    let (stream, consumer) = (entry.slot.0, entry.definition.name.as_str());
                    tracing::error!(code = "consumer_read_failed", stream, consumer, why, "a stream could not be read");
                    entry.retry = Some(now.mono + RETRY);
                    break Served::Idle;
                }
            }
        };
        self.entries[key.place as usize] = Some(entry);
        served
    }

    /// Whether the hub has as many events under way as it may: then only what
    /// was handed out before is.
    fn is_full(&mut self, entry: &mut Entry) -> bool {
        let under_way = entry.consumer.under_way();
        self.under_way = self.under_way.saturating_sub(entry.under_way) + under_way;
        entry.under_way = under_way;
        if self.under_way < self.options.limits.in_flight as u64 {
            return false;
        }
        add(&self.counters.consumer_held, 1);
        // Somebody else's settling makes room: looked at again in a while.
        entry.retry = Some(self.now.mono + HELD);
        true
    }

    /// Reads what the decider asks for and offers it.
    fn read(&mut self, entry: &mut Entry, read: Read, work: &mut usize) -> Outcome {
        let now = self.now;
        // A few references: what is read is lent by a reader apart from the entry.
        let mut log = if read.again { entry.again.clone() } else { entry.reader.clone() };
        let synced = log.synced();
        if read.from >= synced {
            return Outcome::End;
        }
        let share = usize::try_from(entry.deficit).unwrap_or(0).max(4 << 10);
        let mut outcome = Outcome::End;
        match log.read(read.from, synced, share) {
            Ok(blocks) => {
                for block in blocks {
                    *work += 1;
                    if read.again && matches!(outcome, Outcome::End) && block.first() > read.from {
                        // Compaction took it out since it was handed out.
                        entry.consumer.unreadable(read.from, block.first());
                    }
                    let before = entry.deficit;
                    self.offer(entry, &block, read.again);
                    let next = entry.consumer.next_read(now);
                    if next == Some(read) && entry.deficit == before - BLOCK {
                        outcome = Outcome::Stuck;
                        break;
                    }
                    outcome = Outcome::Read;
                    let full = !read.again && self.is_full(entry);
                    if entry.deficit <= 0 || full || !self.net.has_room(ROOM) {
                        outcome = Outcome::Enough;
                        break;
                    }
                    let goes_on = |next: Read| !next.again && next.from == block.next();
                    if read.again || !next.is_some_and(goes_on) {
                        break;
                    }
                }
            }
            Err(ReadError::Gone { first }) => {
                outcome = Outcome::Lost { upto: first.max(read.from + 1), reason: DropReason::Removed };
            }
            Err(ReadError::Damaged { resume, .. }) => {
                outcome = Outcome::Lost { upto: resume.max(read.from + 1), reason: DropReason::Damaged };
            }
            Err(error) => outcome = Outcome::Failed(error.to_string()),
        }
        if read.again {
            entry.again = log;
        } else {
            entry.reader = log;
        }
        outcome
    }

    /// Offers a block to the decider, and sends what it hands out.
    fn offer(&mut self, entry: &mut Entry, block: &LogBlock, again: bool) {
        let len = block.len();
        entry.deficit -= BLOCK;
        let expired = entry.consumer.counts().expired;
        let offered = Offered { first: block.first(), block: block.block(), len };
        let mut handouts = std::mem::take(&mut self.handouts);
        entry.consumer.offer(offered, again, self.now, &mut handouts);
        for handout in handouts.drain(..) {
            entry.deficit -= len as i64;
            let Some(member) = entry.members.iter_mut().find(|member| member.id == handout.member) else { continue };
            member.handed(len as u64);
            let (target, outflow) = (member.target, member.outflow.clone());
            for (part, runs) in handout.runs.as_slice().chunks(MAX_HANDOUT_RUNS).enumerate() {
                if part > 0 {
                    outflow.queue(len as u64);
                }
                self.runs.clear();
                self.runs.extend(runs.iter().map(|(from, count)| Run::new(*from, *count)));
                let (id, attempt) = (target.subscription, handout.attempt);
                let head = frame::handout_head(id, handout.first, attempt, &self.runs, len, &mut self.head);
                // The decider's runs are in order and apart.
                debug_assert!(head.is_ok(), "{head:?}");
                if head.is_ok() {
                    let head = Head::new(&self.head);
                    add(&self.counters.handouts, 1);
                    self.net.push(ToNet::Handout { target, head, block: block.clone() });
                }
            }
        }
        self.handouts = handouts;
        let expired = entry.consumer.counts().expired - expired;
        if expired > 0 {
            self.gap(entry, expired, DropReason::Expired);
        }
    }

    /// Events that cannot be read are settled, counted and told.
    fn lose(&mut self, entry: &mut Entry, from: u64, upto: u64, reason: DropReason) {
        let before = entry.consumer.counts().unreadable;
        entry.consumer.unreadable(from, upto);
        let lost = entry.consumer.counts().unreadable - before;
        let consumer = entry.definition.name.as_str();
        tracing::error!(
            code = "consumer_unreadable",
            consumer,
            from,
            upto,
            reason = reason.name(),
            "events of a stream cannot be handed out"
        );
        if lost > 0 {
            self.gap(entry, lost, reason);
        }
    }

    /// Tells one of the members that work of events that nobody will get: each
    /// event is told of once, as it would be handed out once.
    fn gap(&mut self, entry: &Entry, events: u64, reason: DropReason) {
        let Some(member) = entry.members.iter().min_by_key(|member| member.id) else { return };
        let gap = frame::Gap { id: member.target.subscription, events, reason: reason as u8 };
        let mut bytes = Vec::new();
        frame::encode(&Frame::Gap(gap), &mut bytes);
        self.net.push(ToNet::Control { session: member.target.session, bytes });
    }

    /// Reads the block that holds a sequence, for a dead letter.
    pub(super) fn block_of(entry: &mut Entry, sequence: u64) -> Result<LogBlock, ReadError> {
        let upto = entry.again.synced();
        let found = entry.again.read(sequence, upto, 1)?.next();
        found.ok_or(ReadError::Gone { first: upto })
    }
}
