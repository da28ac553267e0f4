//! Waking a stage's thread from other threads, at next to no cost while it is
//! awake.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use weft_base::sync::Arc;
use weft_base::sync::atomic::{AtomicUsize, Ordering};

use crate::edges::E10;
use crate::wait::Sleeper;

/// Wakes the thread of one stage. Clones wake the same.
///
/// Whoever gives a stage work (publishes on its ring, say) calls [`wake`]
/// afterwards. While the stage's thread is awake that costs a fence and two
/// loads, so it may be called for every publication.
///
/// [`wake`]: StageWaker::wake
#[derive(Clone)]
pub struct StageWaker {
    inner: Arc<Inner>,
}

struct Inner {
    sleeper: Sleeper,
    /// What ends the stage's own sleep, such as a write to an eventfd.
    call: Option<Box<dyn Fn() + Send + Sync>>,
    /// Whom to wake instead: what the stage's thread sleeps by.
    seats: OnceLock<Seats>,
}

/// What the threads of a runner sleep by. Never changes, so loom need not see
/// it, and its `Arc` holds no slices.
type Table = std::sync::Arc<[StageWaker]>;

/// What each thread that the stage may run on sleeps by, and which of these
/// threads it is on.
struct Seats {
    all: Table,
    at: AtomicUsize,
}

impl StageWaker {
    /// A waker for a stage that sleeps in its own way: `call` must end that
    /// sleep, or the next one if there is none at the moment. It is called at
    /// most once per sleep.
    #[must_use]
    pub fn new(call: impl Fn() + Send + Sync + 'static) -> Self {
        Self::with(Some(Box::new(call)))
    }

    /// A waker for a stage that sleeps by [`sleep`](Self::sleep), as stages do
    /// by default.
    #[must_use]
    pub fn parking() -> Self {
        Self::with(None)
    }

    fn with(call: Option<Box<dyn Fn() + Send + Sync>>) -> Self {
        Self { inner: Arc::new(Inner { sleeper: Sleeper::new(), call, seats: OnceLock::new() }) }
    }

    /// Makes sure that the stage looks for work once more after this call.
    #[inline]
    pub fn wake(&self) {
        // Before the place is read, too: a stage that moved and whose new
        // thread is about to sleep has been looked at since, or is seen there.
        E10.fence();
        let target = self.target();
        if target.inner.sleeper.must_wake_after_fence() {
            target.rouse();
        }
    }

    #[cold]
    fn rouse(&self) {
        if let Some(call) = &self.inner.call {
            call();
        }
        self.inner.sleeper.rouse();
    }

    #[inline]
    fn target(&self) -> &StageWaker {
        match self.inner.seats.get() {
            None => self,
            Some(seats) => seats.all.get(seats.at.load(Ordering::Relaxed)).unwrap_or(self),
        }
    }

    /// Sleeps until woken, `at_most` that long; for use in a stage's `on_idle`
    /// only, where the runner has announced the sleep.
    pub fn sleep(&self, at_most: Duration) {
        self.target().inner.sleeper.sleep_at_most(at_most);
    }

    /// Announces that the thread is about to sleep: from now on `wake` rouses
    /// it. Work must be looked for once more before the sleep.
    pub fn announce(&self) {
        self.target().inner.sleeper.announce();
    }

    /// Ends what `announce` began.
    pub fn awake(&self) {
        self.target().inner.sleeper.awake();
    }

    /// Whether the stage sleeps in a way of its own, which no other thread can
    /// do for it.
    #[must_use]
    pub fn is_own_sleep(&self) -> bool {
        self.inner.call.is_some()
    }

    /// Whether the two wake the same.
    #[cfg_attr(loom, expect(dead_code, reason = "the runner is not built for loom"))]
    pub(crate) fn is_same(&self, other: &StageWaker) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Makes this waker wake what a thread sleeps by: number `at` of `all`. Once
    /// only. Not for a waker that is among them.
    pub fn seat(&self, all: &Table, at: usize) {
        // Set before, by another runner: stages are not run twice.
        drop(self.inner.seats.set(Seats { all: all.clone(), at: AtomicUsize::new(at) }));
    }

    /// Makes this waker wake number `at` of what `seat` was given, from now on.
    ///
    /// The stage's old thread calls it after its last turn of the stage, and
    /// only then hands the stage over; the new thread, once it has the stage,
    /// announces its next sleep and looks for work before it. Whoever published
    /// work and still saw the old place has its fence before that announcement's
    /// (E10), so that look finds the work. No other edge is needed.
    pub fn move_to(&self, at: usize) {
        if let Some(seats) = self.inner.seats.get() {
            // A swap for loom, as in `Sleeper::announce`.
            seats.at.swap(at, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for StageWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StageWaker")
    }
}
