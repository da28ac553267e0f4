//! Which blocks are traced: chosen as they are routed (head sampling), or once it
//! is seen that they are slow or lost (tail sampling).
//!
//! Off, it costs one branch per block. On, a block whose trace is not chosen costs
//! a hash of 20 bytes, or a look at its first headers where its producer flagged
//! it; one that is chosen is noted in a queue, and everything else about it is read
//! later from its record in the window ([`collect`]), by a thread that is none of
//! the hub's. Never holds up a stage: where the queue is full, or more are chosen
//! in a second than may be, the block is counted and not traced.

pub(crate) mod collect;
mod counts;

use std::sync::PoisonError;
use std::time::Duration;

use weft_base::sync::Mutex;
use weft_base::sync::atomic::{AtomicU64, Ordering};
use weft_mesh::ledger::DropReason;
use weft_observe::Table;
use weft_wire::block::{Block, MAX_TOPIC, Stamp};
use weft_wire::trace::{BlockTrace, MAX_LINKS, TraceContext, is_sampled, trace_of_block};

pub use self::counts::TraceCounts;
use super::window::Record;
use crate::counters::add;

/// Blocks that are noted and not collected yet: about a second of the most.
const MOST_NOTED: usize = 4_096;
/// Publishes of this hub's clients whose answer is waited for, by their sequence:
/// a power of two. A newer one takes the place of an older.
const ANSWERS: usize = 4_096;
/// The most of [`TraceOptions::most`].
const MOST_PER_SECOND: u64 = 100_000;
/// In how many parts the traces are divided of which a share is chosen.
const ALL: u64 = 1 << 56;
const MILLION: u32 = 1_000_000;

/// What is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceOptions {
    /// How many in a million blocks are traced of those whose producer decided
    /// nothing. What a producer marked as recorded is, what it marked as not is not.
    pub sample_ppm: u32,
    /// What is at this hub for longer is traced, whatever was decided before;
    /// `None`: nothing is traced because it is slow.
    pub slow: Option<Duration>,
    /// Whether what is lost here is traced, whatever was decided before.
    pub lost: bool,
    /// Blocks traced in a second at most, 1 to 100,000; of those that were slow or
    /// lost a tenth of it.
    pub most: u64,
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self { sample_ppm: 10_000, slow: Some(Duration::from_secs(1)), lost: true, most: 1_000 }
    }
}

impl TraceOptions {
    pub(crate) fn violations(&self, window: usize, found: &mut Vec<(&'static str, String)>) {
        if self.sample_ppm > MILLION {
            found.push(("telemetry.otlp.sample", "a share is from 0.0 to 1.0".to_owned()));
        }
        if self.slow.is_some_and(|slow| slow < Duration::from_millis(1)) {
            found.push(("telemetry.otlp.slow", "take \"1 ms\" or more".to_owned()));
        }
        if !(1..=MOST_PER_SECOND).contains(&self.most) {
            found.push(("telemetry.otlp.most", format!("take from 1 to {MOST_PER_SECOND} blocks a second")));
        }
        if window == 0 {
            found.push(("see.window", "traces are made from it: take 1024 or more".to_owned()));
        }
    }
}

/// Why a block is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its trace was chosen.
    Chosen,
    /// It was here for too long.
    Slow,
    /// Copies of it were lost.
    Lost(DropReason),
}

/// A block that is traced, and what its record does not say.
#[derive(Debug)]
pub(crate) struct Noted {
    pub(crate) stamp: Stamp,
    pub(crate) why: Why,
    pub(crate) said: Option<BlockTrace>,
    pub(crate) topic: String,
    pub(crate) lane: u8,
    pub(crate) bytes: usize,
}

/// When a publish was answered.
#[derive(Debug, Default)]
struct Answer {
    sequence: AtomicU64,
    at: AtomicU64,
}

/// How many were let through in the second that is.
#[derive(Debug, Default)]
struct Rate {
    second: AtomicU64,
    used: AtomicU64,
}

impl Rate {
    /// Whether one more may be; two threads may both begin a second.
    fn lets(&self, now: u64, most: u64) -> bool {
        let second = now / 1_000_000_000;
        if self.second.load(Ordering::Relaxed) != second {
            self.second.store(second, Ordering::Relaxed);
            self.used.store(0, Ordering::Relaxed);
        }
        self.used.fetch_add(1, Ordering::Relaxed) < most
    }
}

/// What stages share to say which blocks are traced.
#[derive(Debug)]
pub(crate) struct Tracing {
    options: Option<TraceOptions>,
    /// Of 2^56.
    share: u64,
    /// In nanoseconds; the most there is where nothing is slow.
    slow: u64,
    noted: Mutex<Vec<Noted>>,
    answers: Box<[Answer]>,
    head: Rate,
    tail: Rate,
    counts: TraceCounts,
}

/// Whether a drop is a loss to somebody, and no decision that was asked for.
const fn is_loss(reason: DropReason) -> bool {
    !matches!(
        reason,
        DropReason::NoInterest
            | DropReason::Duplicate
            | DropReason::DuplicatePath
            | DropReason::Conflated
            | DropReason::Spilled
            | DropReason::MappedAway
            | DropReason::Loop
    )
}

impl Tracing {
    /// What counts, it counts in this table.
    pub(crate) fn new(options: Option<TraceOptions>, table: &Table) -> Self {
        let slow = options.and_then(|on| on.slow);
        Self {
            share: options.map_or(0, |on| ALL / u64::from(MILLION) * u64::from(on.sample_ppm.min(MILLION))),
            slow: slow.map_or(u64::MAX, |slow| u64::try_from(slow.as_nanos()).unwrap_or(u64::MAX)),
            noted: Mutex::default(),
            answers: (0..if options.is_some() { ANSWERS } else { 0 }).map(|_| Answer::default()).collect(),
            head: Rate::default(),
            tail: Rate::default(),
            counts: TraceCounts::of(table),
            options,
        }
    }

    /// Every counter with its name; none while all are 0.
    pub(crate) fn list(&self) -> Vec<(String, u64)> {
        self.counts.list()
    }

    /// Bytes that tracing takes at most, with what waits to be made spans of.
    pub(crate) const fn memory(options: Option<TraceOptions>) -> usize {
        if options.is_none() {
            return 0;
        }
        // A topic and the other contexts of a block, at their longest.
        let noted = size_of::<Noted>() + MAX_TOPIC + MAX_LINKS * size_of::<TraceContext>();
        MOST_NOTED * noted + collect::memory(noted) + ANSWERS * size_of::<Answer>()
    }

    /// Whether anything is traced.
    #[inline]
    pub(crate) const fn is_on(&self) -> bool {
        self.options.is_some()
    }

    /// A block was routed, and has this record: decides whether it is traced. The
    /// route stage alone calls this. `own`: a client of this hub published it.
    pub(crate) fn routed(&self, block: Block<'_>, record: &Record, own: bool, now: u64) {
        let (Some(options), Some(stamp)) = (&self.options, block.stamp()) else { return };
        let said = BlockTrace::of(block);
        let chosen =
            said.as_ref().map_or_else(|| is_sampled(&trace_of_block(&stamp), self.share), |said| said.context.sampled);
        if !chosen {
            return;
        }
        if !self.head.lets(now, options.most) {
            add(&self.counts.limited, 1);
            return;
        }
        record.set_traced();
        if own && let Some(answer) = self.answer(stamp.sequence) {
            answer.at.store(0, Ordering::Relaxed);
            answer.sequence.store(stamp.sequence, Ordering::Relaxed);
        }
        if self.note(block, stamp, Why::Chosen, said) {
            add(&self.counts.chosen, 1);
        }
    }

    /// A stage is done with a block: it is traced if it was here for too long.
    #[inline]
    pub(crate) fn ended(&self, block: Block<'_>, record: &Record, now: u64) {
        if self.options.is_some() && record.age(now) > self.slow {
            self.keep(block, record, Why::Slow, now);
        }
    }

    /// Copies were lost.
    #[inline]
    pub(crate) fn lost(&self, block: Block<'_>, record: &Record, reason: DropReason, now: u64) {
        if self.options.is_some_and(|options| options.lost) && is_loss(reason) {
            self.keep(block, record, Why::Lost(reason), now);
        }
    }

    /// What is not traced yet is from now on.
    #[cold]
    fn keep(&self, block: Block<'_>, record: &Record, why: Why, now: u64) {
        let (Some(options), Some(stamp)) = (&self.options, block.stamp()) else { return };
        if !record.set_traced() {
            return;
        }
        if !self.tail.lets(now, options.most.div_ceil(10)) {
            add(&self.counts.limited, 1);
            return;
        }
        if self.note(block, stamp, why, BlockTrace::of(block)) {
            add(&self.counts.kept, 1);
        }
    }

    /// Puts it into the queue; answers whether there was room.
    fn note(&self, block: Block<'_>, stamp: Stamp, why: Why, said: Option<BlockTrace>) -> bool {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() >= MOST_NOTED {
            add(&self.counts.limited, 1);
            return false;
        }
        let (topic, lane) = (block.topic().to_owned(), block.lane().get());
        noted.push(Noted { stamp, why, said, topic, lane, bytes: block.len() });
        true
    }

    /// All that was noted since the last time; `room` is left empty in its place.
    fn take(&self, room: &mut Vec<Noted>) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *noted, room);
    }

    fn answer(&self, sequence: u64) -> Option<&Answer> {
        self.answers.get(sequence as usize & self.answers.len().wrapping_sub(1))
    }

    /// The publish whose first event has this sequence was answered.
    #[inline]
    pub(crate) fn answered(&self, sequence: u64, now: u64) {
        if let Some(answer) = self.answer(sequence)
            && answer.sequence.load(Ordering::Relaxed) == sequence
        {
            answer.at.store(now, Ordering::Relaxed);
        }
    }

    /// When it was; 0 for not yet, or not known.
    fn answered_at(&self, sequence: u64) -> u64 {
        let answer = self.answer(sequence).filter(|answer| answer.sequence.load(Ordering::Relaxed) == sequence);
        answer.map_or(0, |answer| answer.at.load(Ordering::Relaxed))
    }
}
