//! What waits to be sent: bounded, and what does not fit is counted, not waited for.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What waits, with its bounds.
pub(super) struct Queue<T> {
    items: Mutex<VecDeque<T>>,
    most: usize,
}

impl<T> Queue<T> {
    pub(super) fn new(most: usize) -> Self {
        Self { items: Mutex::default(), most }
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what there is room for; answers how many there was none for.
    pub(super) fn add(&self, new: impl ExactSizeIterator<Item = T>) -> usize {
        let mut items = self.locked();
        let room = self.most - items.len().min(self.most);
        let over = new.len().saturating_sub(room);
        items.extend(new.take(room));
        over
    }

    /// The oldest, so many at most.
    pub(super) fn take(&self, most: usize) -> Vec<T> {
        let mut items = self.locked();
        let count = items.len().min(most);
        items.drain(..count).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.locked().len()
    }
}

/// Two threads are to stop.
#[derive(Default)]
pub(super) struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(super) fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits for so long, or until they are to stop; answers whether they are.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stopped {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            stopped = self.changed.wait_timeout(stopped, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_and_the_oldest_goes_first() {
        let queue = Queue::new(3);
        assert_eq!(queue.add([1, 2].into_iter()), 0);
        assert_eq!(queue.add([3, 4, 5].into_iter()), 2);
        assert_eq!((queue.len(), queue.take(2), queue.take(9)), (3, vec![1, 2], vec![3]));
    }

    #[test]
    fn who_waits_is_woken_when_it_is_to_stop() {
        let stop = Stop::default();
        assert!(!stop.wait(Duration::ZERO));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| stop.wait(Duration::from_secs(600)));
            stop.stop();
            assert!(waits.join().expect("it ends"));
        });
    }
}
