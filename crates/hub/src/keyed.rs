//! The keyed stage: writes keyed state, on a thread of its own.
//!
//! The LSM tree holds its journal's lock while it syncs, and writes of its own
//! wait for the disk now and then. Neither the data path nor the sync of logs may
//! wait behind that: other stages hand batches over and are woken when they are
//! applied, or on disk. Batches are applied in the order in which they were
//! handed over. One sync answers for all that wait for one.
//!
//! Bounded by who hands over: each index, each schedule and the consume stage
//! have one batch under way at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use weft_base::sync::atomic::{AtomicBool, Ordering};
use weft_base::sync::{Mutex, MutexGuard};
use weft_base::{Mono, Now};
use weft_keyed::{Batch, Keyed, KeyedError};
use weft_ring::stage::{Backlog, Stage, StageWaker};

use crate::counters::{Counters, add};

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holder's change is one push, pop or assignment: nothing is half done.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// When who handed a batch over is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Once it is applied. It is synced with something else, or by the LSM tree.
    Applied,
    /// Once it is applied; it is synced within `timers.keyed_syncs`.
    SyncedSoon,
    /// Once it is on disk.
    Synced,
}

#[derive(Debug, Default)]
struct Outcome {
    is_known: AtomicBool,
    error: Mutex<Option<KeyedError>>,
}

/// A batch that was handed over.
#[derive(Debug)]
pub(crate) struct Written(Arc<Outcome>);

impl Written {
    /// What became of it; none while that is not known.
    pub(crate) fn outcome(&self) -> Option<Result<(), KeyedError>> {
        if !self.0.is_known.load(Ordering::Acquire) {
            return None;
        }
        Some(locked(&self.0.error).take().map_or(Ok(()), Err))
    }
}

/// Who is told what became of a batch.
struct Waiting {
    outcome: Arc<Outcome>,
    waker: StageWaker,
}

impl Waiting {
    fn tell(self, error: Option<KeyedError>) {
        *locked(&self.outcome.error) = error;
        self.outcome.is_known.store(true, Ordering::Release);
        self.waker.wake();
    }
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<(Batch, Until, Waiting)>,
    /// Applied, and told once they are synced.
    applied: Vec<Waiting>,
    /// Something that was applied is to be synced before long.
    unsynced: bool,
}

struct Shared {
    keyed: Arc<dyn Keyed>,
    queue: Mutex<Queue>,
    /// Held while batches are taken and applied: whoever does it, they are in order.
    order: Mutex<()>,
    /// Wakes the stage.
    stage: StageWaker,
}

impl Shared {
    /// Applies what was handed over; answers how many batches.
    fn apply_all(&self) -> usize {
        let _order = locked(&self.order);
        let mut count = 0;
        loop {
            let Some((batch, until, waiting)) = locked(&self.queue).batches.pop_front() else { return count };
            count += 1;
            match self.keyed.apply(batch) {
                Ok(()) => match until {
                    Until::Applied => waiting.tell(None),
                    Until::SyncedSoon => {
                        locked(&self.queue).unsynced = true;
                        waiting.tell(None);
                    }
                    Until::Synced => locked(&self.queue).applied.push(waiting),
                },
                Err(error) => waiting.tell(Some(error)),
            }
        }
    }
}

/// Keyed state as another stage uses it.
#[derive(Clone)]
pub(crate) struct KeyedWriter {
    shared: Arc<Shared>,
    /// Wakes that stage.
    waker: StageWaker,
}

impl KeyedWriter {
    /// For the stage that is woken so.
    pub(crate) fn new(keyed: Arc<dyn Keyed>, waker: StageWaker) -> Self {
        let (queue, order, stage) = (Mutex::default(), Mutex::default(), StageWaker::parking());
        Self { shared: Arc::new(Shared { keyed, queue, order, stage }), waker }
    }

    /// The same for another stage.
    pub(crate) fn of(&self, waker: StageWaker) -> Self {
        Self { shared: self.shared.clone(), waker }
    }

    /// For the same stage, on other keyed state.
    pub(crate) fn in_place_of(&self, keyed: Arc<dyn Keyed>) -> Self {
        Self::new(keyed, self.waker.clone())
    }

    /// To read. What is handed over and not known to be applied is not there.
    pub(crate) fn reads(&self) -> &dyn Keyed {
        &*self.shared.keyed
    }

    /// Hands a batch over.
    pub(crate) fn write(&self, batch: Batch, until: Until) -> Written {
        let outcome = Arc::new(Outcome::default());
        let waiting = Waiting { outcome: outcome.clone(), waker: self.waker.clone() };
        locked(&self.shared.queue).batches.push_back((batch, until, waiting));
        self.shared.stage.wake();
        Written(outcome)
    }

    /// Applies a batch on this thread, behind all that was handed over: for the
    /// start, the end, and what operators ask for.
    ///
    /// # Errors
    /// [`KeyedError`]; nothing of this batch was applied.
    pub(crate) fn write_now(&self, batch: Batch) -> Result<(), KeyedError> {
        self.catch_up();
        self.shared.keyed.apply(batch)
    }

    /// Returns once all that was handed over is applied.
    pub(crate) fn catch_up(&self) {
        self.shared.apply_all();
    }

    /// Makes durable all that was applied, on this thread.
    ///
    /// # Errors
    /// [`KeyedError`]
    pub(crate) fn sync_now(&self) -> Result<(), KeyedError> {
        self.shared.keyed.sync()
    }
}

/// The stage.
pub(crate) struct KeyedStage {
    shared: Arc<Shared>,
    /// What nobody waits for is not synced more often.
    every: Duration,
    sync_again: Mono,
    failing: bool,
    counters: Arc<Counters>,
}

impl KeyedStage {
    /// The stage that does what is handed over to `writer`.
    pub(crate) fn new(writer: &KeyedWriter, every: Duration, counters: Arc<Counters>) -> Self {
        Self { shared: writer.shared.clone(), every, sync_again: Mono(0), failing: false, counters }
    }

    /// Syncs, if somebody waits for it or it is time.
    fn sync(&mut self, now: Mono) -> usize {
        let (waiting, unsynced) = {
            let mut queue = locked(&self.shared.queue);
            if queue.applied.is_empty() && (!queue.unsynced || now < self.sync_again) {
                return 0;
            }
            (std::mem::take(&mut queue.applied), std::mem::take(&mut queue.unsynced))
        };
        self.sync_again = now + self.every;
        add(&self.counters.keyed_syncs, 1);
        let outcome = self.shared.keyed.sync();
        if let Err(error) = &outcome {
            add(&self.counters.keyed_failed, 1);
            if !std::mem::replace(&mut self.failing, true) {
                tracing::error!(code = "keyed_failed", error = %error, "keyed state could not be synced");
            }
            // Tried again, for those that nobody waits for.
            locked(&self.shared.queue).unsynced |= unsynced;
        } else {
            self.failing = false;
        }
        let failed = outcome.is_err();
        for waiting in waiting {
            waiting.tell(failed.then_some(KeyedError::NotSynced));
        }
        1
    }
}

impl Stage for KeyedStage {
    fn name(&self) -> &'static str {
        "keyed"
    }

    fn do_work(&mut self, now: Now) -> usize {
        self.shared.apply_all() + self.sync(now.mono)
    }

    fn load(&self) -> Backlog {
        Backlog { depth: locked(&self.shared.queue).batches.len() as u64, capacity: 0 }
    }

    fn waker(&self) -> Option<StageWaker> {
        Some(self.shared.stage.clone())
    }

    fn next_deadline(&self) -> Option<Mono> {
        locked(&self.shared.queue).unsynced.then_some(self.sync_again)
    }

    fn on_stop(&mut self, now: Now) {
        self.shared.apply_all();
        self.sync(now.mono + self.every);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use weft_keyed::{MemoryKeyed, Space};

    const EVERY: Duration = Duration::from_secs(1);

    fn put(value: u8) -> Batch {
        let mut batch = Batch::new();
        batch.put(Space::Meta, [1], [value]);
        batch
    }

    fn at(millis: u64) -> Now {
        Now { mono: Mono(millis * 1_000_000), ..Now::default() }
    }

    fn made() -> (Arc<MemoryKeyed>, KeyedWriter, KeyedStage, Arc<Counters>) {
        let keyed = Arc::new(MemoryKeyed::new());
        let counters = Arc::new(Counters::default());
        let writer = KeyedWriter::new(keyed.clone(), StageWaker::parking());
        let stage = KeyedStage::new(&writer, EVERY, counters.clone());
        (keyed, writer, stage, counters)
    }

    #[test]
    fn what_is_handed_over_is_applied_in_order_by_the_stage_and_by_whoever_cannot_wait() {
        let (_, writer, mut stage, _) = made();
        let first = writer.write(put(1), Until::Applied);
        assert!(first.outcome().is_none(), "not before the stage has done it");
        assert_eq!(writer.reads().get(Space::Meta, &[1]).unwrap(), None);
        writer.write_now(put(2)).unwrap();
        assert_eq!(writer.reads().get(Space::Meta, &[1]).unwrap(), Some(vec![2]), "the later one has the last word");
        assert!(first.outcome().is_some_and(|outcome| outcome.is_ok()));
        assert_eq!(stage.do_work(at(0)), 0, "nothing is left");
    }

    #[test]
    fn one_sync_answers_for_all_that_wait_and_a_failed_one_says_so() {
        let (keyed, writer, mut stage, counters) = made();
        let (first, second) = (writer.write(put(1), Until::Synced), writer.write(put(2), Until::Synced));
        stage.do_work(at(0));
        assert!(first.outcome().unwrap().is_ok() && second.outcome().unwrap().is_ok());
        assert_eq!((keyed.unsynced(), counters.keyed_syncs.load(Ordering::Relaxed)), (0, 1));
        // Applied, and the sync behind it fails.
        let third = writer.write(put(3), Until::Synced);
        writer.catch_up();
        assert!(third.outcome().is_none(), "applied is not synced");
        keyed.fail_next(1);
        stage.do_work(at(1));
        assert!(third.outcome().unwrap().is_err());
        // A batch that is not applied says so as well.
        keyed.fail_next(1);
        let fourth = writer.write(put(4), Until::Applied);
        stage.do_work(at(2));
        assert!(fourth.outcome().unwrap().is_err());
    }

    #[test]
    fn what_nobody_waits_for_is_synced_in_time_and_not_more_often() {
        let (keyed, writer, mut stage, counters) = made();
        let syncs = || counters.keyed_syncs.load(Ordering::Relaxed);
        writer.write(put(0), Until::Applied);
        stage.do_work(at(2_000));
        assert_eq!((syncs(), stage.next_deadline()), (0, None), "nobody asked for a sync");
        writer.write(put(1), Until::SyncedSoon);
        stage.do_work(at(2_000));
        assert_eq!(syncs(), 1, "at once after a rest");
        for n in 1..10 {
            writer.write(put(2), Until::SyncedSoon);
            stage.do_work(at(2_000 + n));
        }
        assert_eq!((syncs(), stage.next_deadline()), (1, Some(at(3_000).mono)));
        keyed.fail_next(1);
        stage.do_work(at(3_000));
        assert!(keyed.unsynced() > 0);
        stage.do_work(at(4_000));
        assert_eq!((keyed.unsynced(), stage.next_deadline()), (0, None), "tried again");
    }
}
