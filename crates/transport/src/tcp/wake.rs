//! Waking the polling thread: a system call only when it sleeps.

use weft_base::sync::Arc;
use weft_base::sync::atomic::{AtomicU8, Ordering};

/// The thread is at work; it will look at its queues before it sleeps.
const AWAKE: u8 = 0;
/// Somebody woke it since it last looked.
const WOKEN: u8 = 1;
/// It sleeps, or is about to.
const ASLEEP: u8 = 2;

/// Shared by the polling thread and its wakers.
#[derive(Debug)]
pub(crate) struct WakeState {
    state: AtomicU8,
    event: mio::Waker,
}

impl WakeState {
    pub(crate) fn new(event: mio::Waker) -> Arc<Self> {
        Arc::new(Self { state: AtomicU8::new(AWAKE), event })
    }

    /// Called by anyone. What the caller wrote before is seen by the polling
    /// thread after its `poll` returns.
    pub(crate) fn wake(&self) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == ASLEEP {
            // It fails only when the counter of the event is full, and then
            // the thread is being woken already.
            let _ = self.event.wake();
        }
    }

    /// Called by the polling thread before it sleeps: whether it may.
    pub(crate) fn may_sleep(&self) -> bool {
        self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Called by the polling thread when `poll` is about to return.
    pub(crate) fn awake(&self) {
        self.state.swap(AWAKE, Ordering::AcqRel);
    }
}
