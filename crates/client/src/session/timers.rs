//! Tasks that wait for a moment: futures here have no runtime whose timer they
//! could ask, the driver wakes them. One entry for each waiting future.

use std::collections::BTreeMap;
use std::task::Waker;

use weft_base::Mono;

/// The tasks, by the moment they wait for.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    waiting: BTreeMap<(Mono, u64), Waker>,
    next: u64,
}

impl Timers {
    /// Wakes a task at `at`; answers what [`forget`](Self::forget) takes.
    pub(crate) fn wait(&mut self, at: Mono, waker: &Waker) -> (Mono, u64) {
        self.next += 1;
        self.waiting.insert((at, self.next), waker.clone());
        (at, self.next)
    }

    /// The task waits no more.
    pub(crate) fn forget(&mut self, key: (Mono, u64)) {
        self.waiting.remove(&key);
    }

    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    /// Wakes those whose moment has come.
    pub(crate) fn expire(&mut self, now: Mono, wake: &mut Vec<Waker>) {
        while let Some(first) = self.waiting.first_entry().filter(|entry| entry.key().0 <= now) {
            wake.push(first.remove());
        }
    }
}
