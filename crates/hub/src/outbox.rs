//! The way into another stage's inbox.

use std::collections::VecDeque;

use weft_ring::mpsc;
use weft_ring::stage::{Backlog, StageWaker};

/// A producer of a bounded ring that never loses a message.
///
/// A stage takes its next input only while its outboxes have room. What one
/// input gives rise to beyond that room waits here, so the queue holds at most
/// the output of one input, and is emptied before the next is taken.
pub(crate) struct Outbox<T> {
    ring: mpsc::Producer<T>,
    waker: StageWaker,
    late: VecDeque<T>,
    /// Whether something was sent since the other stage was last woken.
    sent: bool,
}

impl<T: Send> Outbox<T> {
    pub(crate) fn new(ring: &mpsc::Producer<T>, waker: &StageWaker) -> Self {
        Self { ring: ring.clone(), waker: waker.clone(), late: VecDeque::new(), sent: false }
    }

    /// Sends now, or as soon as there is room. [`Outbox::notify`] must follow
    /// before the turn ends.
    pub(crate) fn push(&mut self, message: T) {
        if !self.late.is_empty() {
            self.late.push_back(message);
        } else if let Err(full) = self.ring.push(message) {
            self.late.push_back(full.0);
        }
        self.sent = true;
    }

    /// Wakes the other stage if it was sent something: once at the end of a
    /// turn, because each wake costs a fence.
    pub(crate) fn notify(&mut self) {
        if std::mem::take(&mut self.sent) {
            self.waker.wake();
        }
    }

    /// Sends what waits; answers whether all is sent and `n` more fit.
    pub(crate) fn has_room(&mut self, n: usize) -> bool {
        if !self.late.is_empty() {
            self.ring.push_from(&mut self.late);
            self.sent = true;
        }
        self.late.is_empty() && self.ring.free() >= n
    }

    /// Makes the other stage look for work, also where none was sent this way.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Whether nothing waits here or in the ring.
    pub(crate) fn is_empty(&self) -> bool {
        self.late.is_empty() && self.ring.free() == self.ring.capacity()
    }
}

/// What waits in the inbox of a stage.
pub(crate) fn backlog<T>(inbox: &mpsc::Consumer<T>) -> Backlog {
    Backlog { depth: inbox.len() as u64, capacity: inbox.capacity() as u64 }
}

/// What waits in the two inboxes of a stage.
pub(crate) fn backlog_of_two<A, B>(one: &mpsc::Consumer<A>, other: &mpsc::Consumer<B>) -> Backlog {
    let (one, other) = (backlog(one), backlog(other));
    Backlog { depth: one.depth + other.depth, capacity: one.capacity + other.capacity }
}
