//! What stages have done: written by their threads, read by anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::stage::Backlog;

/// What one stage has done. Readable at any time from any thread. Throughput,
/// service time and wait of an interval come from the differences of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageReport {
    /// The stage's name.
    pub stage: &'static str,
    /// Calls of `do_work`.
    pub turns: u64,
    /// Calls that answered more than zero.
    pub busy_turns: u64,
    /// The sum of all answers: the units that were served.
    pub work: u64,
    /// How long the busy turns took together, with what was done in `finish`.
    pub busy: Duration,
    /// The longest call.
    pub longest_turn: Duration,
    /// Calls longer than [`IdleOptions::late_after`](crate::stage::IdleOptions::late_after).
    pub late_turns: u64,
    /// Sleeps that this stage went into, for all stages of its thread.
    pub sleeps: u64,
    /// What waits for it, as of some turn in the last millisecond of work.
    pub load: Backlog,
    /// Whether it has a thread of its own.
    pub own_thread: bool,
}

/// A stage's counters. The thread that has the stage alone writes them, so
/// plain loads and stores do; a reader sees each number as of some recent turn.
pub(super) struct Counters {
    pub(super) stage: &'static str,
    turns: AtomicU64,
    busy_turns: AtomicU64,
    work: AtomicU64,
    busy: AtomicU64,
    longest: AtomicU64,
    late: AtomicU64,
    sleeps: AtomicU64,
    depth: AtomicU64,
    capacity: AtomicU64,
    own_thread: AtomicBool,
}

fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Counters {
    pub(super) fn new(stage: &'static str, own: bool) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            stage,
            turns: zero(),
            busy_turns: zero(),
            work: zero(),
            busy: zero(),
            longest: zero(),
            late: zero(),
            sleeps: zero(),
            depth: zero(),
            capacity: zero(),
            own_thread: AtomicBool::new(own),
        }
    }

    pub(super) fn turn(&self, work: usize, took: Duration, late_after: Duration) {
        add(&self.turns, 1);
        let took_ns = nanos(took);
        if work > 0 {
            add(&self.busy_turns, 1);
            add(&self.work, work as u64);
            add(&self.busy, took_ns);
        }
        if took_ns > self.longest.load(Ordering::Relaxed) {
            self.longest.store(took_ns, Ordering::Relaxed);
        }
        if took > late_after {
            add(&self.late, 1);
        }
    }

    pub(super) fn finished(&self, took: Duration) {
        add(&self.busy, nanos(took));
    }

    pub(super) fn slept(&self) {
        add(&self.sleeps, 1);
    }

    pub(super) fn load(&self, load: Backlog) {
        self.depth.store(load.depth, Ordering::Relaxed);
        self.capacity.store(load.capacity, Ordering::Relaxed);
    }

    pub(super) fn placed(&self, own: bool) {
        self.own_thread.store(own, Ordering::Relaxed);
    }

    fn report(&self) -> StageReport {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StageReport {
            stage: self.stage,
            turns: read(&self.turns),
            busy_turns: read(&self.busy_turns),
            work: read(&self.work),
            busy: Duration::from_nanos(read(&self.busy)),
            longest_turn: Duration::from_nanos(read(&self.longest)),
            late_turns: read(&self.late),
            sleeps: read(&self.sleeps),
            load: Backlog { depth: read(&self.depth), capacity: read(&self.capacity) },
            own_thread: self.own_thread.load(Ordering::Relaxed),
        }
    }
}

/// Reads what the stages of a runner have done.
#[derive(Clone)]
pub struct StageWatch {
    pub(super) counters: Arc<[Arc<Counters>]>,
}

impl StageWatch {
    /// What each stage has done so far, in the order of the threads at the start.
    #[must_use]
    pub fn report(&self) -> Vec<StageReport> {
        self.counters.iter().map(|counters| counters.report()).collect()
    }

    /// As `report`, in place of what is in `reports`: allocates nothing once
    /// that had room for all stages.
    pub fn report_into(&self, reports: &mut Vec<StageReport>) {
        reports.clear();
        reports.extend(self.counters.iter().map(|counters| counters.report()));
    }
}
