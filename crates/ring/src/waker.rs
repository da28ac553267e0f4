//! Waking a stage's thread from other threads, at next to no cost while it is
//! awake.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use weft_base::sync::Arc;

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
    /// Whom to wake instead, when another stage sleeps for the whole thread.
    instead: OnceLock<StageWaker>,
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
        Self { inner: Arc::new(Inner { sleeper: Sleeper::new(), call, instead: OnceLock::new() }) }
    }

    /// Makes sure that the stage looks for work once more after this call.
    #[inline]
    pub fn wake(&self) {
        let target = self.target();
        if target.inner.sleeper.must_wake() {
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
        self.inner.instead.get().unwrap_or(self)
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

    /// Makes this waker wake `other`'s stage, for stages that share a thread.
    /// Once only; does nothing when the two are the same already.
    #[cfg_attr(loom, expect(dead_code, reason = "the runner is not built for loom"))]
    pub(crate) fn redirect(&self, other: &StageWaker) {
        if !Arc::ptr_eq(&self.inner, &other.inner) {
            // Set before, by another runner: stages are not run twice.
            drop(self.inner.instead.set(other.clone()));
        }
    }
}

impl fmt::Debug for StageWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StageWaker")
    }
}
