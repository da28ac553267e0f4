//! How a thread waits for work: the strategies, and the sleep that loses no
//! wake-up.

use std::time::Duration;

use weft_base::sync::atomic::{AtomicBool, Ordering};
use weft_base::sync::{Condvar, Mutex, hint, thread};

use crate::edges::E10;
use crate::padded::Padded;

/// What a ring's consumer does in `wait` while the ring is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitStrategy {
    /// Look again at once, for ever. The shortest wait there is, and right only
    /// for a thread that has a core to itself: on a shared one it burns the
    /// time slice that the producer needs.
    BusySpin,
    /// Look again [`SPINS`] times, then offer the core to others between looks.
    #[default]
    Yield,
    /// As `Yield` for a while, then sleep until a producer publishes. Costs
    /// each publication one full fence, and a system call when someone sleeps.
    Park,
}

/// Looks before a wait begins to yield: some microseconds.
pub const SPINS: u32 = if cfg!(loom) { 0 } else { 256 };
/// Pauses after the first look of a wait that finds nothing. A consumer that is
/// faster than its producer and looks again at once takes the producer's cache
/// line away for each single item; resting for a fraction of a microsecond first
/// lets several items gather.
pub const REST: u32 = if cfg!(loom) { 0 } else { 24 };
/// Yields before a wait begins to park.
pub const YIELDS: u32 = if cfg!(loom) { 0 } else { 16 };

/// One thread's place to sleep, and the others' way to wake it.
///
/// The sleeper announces itself, then looks for work once more; a waker
/// publishes work, then looks for a sleeper. The fences between the two steps
/// (E10) make sure that at least one of them sees the other.
#[derive(Debug)]
pub(crate) struct Sleeper {
    asleep: Padded<AtomicBool>,
    lock: Mutex<()>,
    woken: Condvar,
}

impl Sleeper {
    pub(crate) fn new() -> Self {
        Self { asleep: Padded(AtomicBool::new(false)), lock: Mutex::new(()), woken: Condvar::new() }
    }

    /// Announces that this thread is about to sleep. It must look for work
    /// after this and before it sleeps, and call `awake` afterwards.
    pub(crate) fn announce(&self) {
        // A swap, as in `must_wake`, so that loom knows the order of the two:
        // it takes plain stores for unordered with them.
        self.asleep.swap(true, Ordering::Relaxed);
        E10.fence();
    }

    /// Takes the announcement back.
    pub(crate) fn awake(&self) {
        self.asleep.swap(false, Ordering::Relaxed);
    }

    /// Sleeps until woken; returns at once if that happened since `announce`.
    pub(crate) fn sleep(&self) {
        let mut guard = self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        while self.asleep.load(Ordering::Relaxed) {
            guard = self.woken.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// Sleeps until woken, `at_most` that long, or shorter without a reason.
    pub(crate) fn sleep_at_most(&self, at_most: Duration) {
        let guard = self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if self.asleep.load(Ordering::Relaxed) {
            drop(self.woken.wait_timeout(guard, at_most));
        }
    }

    /// Answers whether the thread sleeps or is about to, at most once per
    /// announcement. Call it after the work was published, and `rouse` on yes.
    #[inline]
    pub(crate) fn must_wake(&self) -> bool {
        E10.fence();
        self.must_wake_after_fence()
    }

    /// As `must_wake`, for a caller that has had the fence since it published.
    #[inline]
    pub(crate) fn must_wake_after_fence(&self) -> bool {
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
    }

    /// Ends the sleep of a thread for which `must_wake` answered yes.
    #[cold]
    pub(crate) fn rouse(&self) {
        // The sleeper reads `asleep` under the lock: it either saw the change
        // that `must_wake` made, or is in `wait` by the time we hold the lock.
        drop(self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        self.woken.notify_one();
    }
}

/// The waiting half of a ring: its strategy, and its sleeper if it parks.
#[derive(Debug)]
pub(crate) struct Waiting {
    strategy: WaitStrategy,
    sleeper: Sleeper,
}

impl Waiting {
    pub(crate) fn new(strategy: WaitStrategy) -> Self {
        Self { strategy, sleeper: Sleeper::new() }
    }

    /// For producers, after they published: wakes the consumer if it sleeps.
    #[inline(always)]
    pub(crate) fn published(&self) {
        if self.strategy == WaitStrategy::Park && self.sleeper.must_wake() {
            self.sleeper.rouse();
        }
    }

    /// Returns once `ready` answers true.
    pub(crate) fn until(&self, mut ready: impl FnMut() -> bool) {
        let mut looks = 0_u32;
        loop {
            if ready() {
                return;
            }
            looks = looks.saturating_add(1);
            if looks == 1 {
                (0..REST).for_each(|_| hint::spin_loop());
            } else if self.strategy == WaitStrategy::BusySpin || looks <= SPINS {
                hint::spin_loop();
            } else if self.strategy == WaitStrategy::Yield || looks <= SPINS + YIELDS {
                thread::yield_now();
            } else {
                self.sleeper.announce();
                if ready() {
                    self.sleeper.awake();
                    return;
                }
                self.sleeper.sleep();
            }
        }
    }
}
