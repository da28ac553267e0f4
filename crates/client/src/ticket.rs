//! A cell that is filled once and that any number of futures wait for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// How many futures may wait for one ticket before all are asked to look again:
/// bounds the list, costs a needless poll each.
const MOST_WAITING: usize = 1_024;

/// Locks, also after a thread panicked while it held the lock: what is behind
/// our locks is replaced as a whole, never left half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The outcome of something under way.
#[derive(Debug)]
pub(crate) struct Ticket<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    outcome: Option<T>,
    waiting: Vec<Waker>,
}

impl<T: Clone> Ticket<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { outcome: None, waiting: Vec::new() })))
    }

    /// Sets the outcome, unless there is one, and hands the waiting tasks'
    /// wakers to the caller, who wakes them once no lock is held.
    pub(crate) fn complete(&self, outcome: T, wake: &mut Vec<Waker>) {
        let mut state = lock(&self.0);
        if state.outcome.is_none() {
            state.outcome = Some(outcome);
        }
        wake.append(&mut state.waiting);
    }

    /// The outcome, or a place among those waiting.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<T> {
        let mut state = lock(&self.0);
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(outcome.clone());
        }
        if !state.waiting.iter().any(|w| w.will_wake(cx.waker())) {
            if state.waiting.len() >= MOST_WAITING {
                state.waiting.drain(..).for_each(Waker::wake);
            }
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The outcome, if there is one.
    pub(crate) fn peek(&self) -> Option<T> {
        lock(&self.0).outcome.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Wake;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn the_first_outcome_stands_and_every_waiter_is_woken_once() {
        let ticket = Ticket::new();
        let waker = Waker::from(Arc::new(Nobody));
        let mut cx = Context::from_waker(&waker);
        assert_eq!(ticket.poll(&mut cx), Poll::Pending);
        assert_eq!(ticket.poll(&mut cx), Poll::Pending);
        let mut wake = Vec::new();
        ticket.complete(1, &mut wake);
        assert_eq!(wake.len(), 1, "the same task waits once");
        ticket.complete(2, &mut wake);
        assert_eq!((wake.len(), ticket.peek()), (1, Some(1)));
        assert_eq!(ticket.poll(&mut cx), Poll::Ready(1));
    }
}
