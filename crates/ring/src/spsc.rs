//! The bounded ring between one producer and one consumer.
//!
//! Items lie in cache lines with a stamp each (`lines.rs`). The producer
//! publishes by stamping the line of the first new item with its own cursor: a
//! single item beside its stamp, or a batch by the first of its lines. The
//! consumer polls the stamp of the line that it reads next, and nothing else.
//! The producer needs the consumer's cursor only to know what is free again, and
//! keeps a copy that it refreshes when the copy says "full".
//!
//! ```text
//!   head (consumer)                     tail (producer)
//!     v                                   v
//!   [s . item item | s item item item | s . . . | s . . . ]   0 <= tail - head <= capacity
//! ```
//!
//! Full: `push` hands the item back. Closed: each side sees when the other is
//! gone. Push and pop are wait-free and allocate nothing.
//!
//! ```
//! let (mut producer, mut consumer) = weft_ring::spsc::ring(4);
//! producer.push("departed")?;
//! assert_eq!(consumer.pop(), Some("departed"));
//! drop(producer);
//! assert!(consumer.is_closed());
//! # Ok::<(), weft_ring::Full<&str>>(())
//! ```

use std::collections::VecDeque;

use weft_base::sync::Arc;
use weft_base::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::edges::{E1, E2, E3};
use crate::lines::{Lines, Place};
use crate::padded::Padded;
use crate::wait::{WaitStrategy, Waiting};
use crate::{Full, checked_capacity};

/// What both halves share. Positions count on for ever. Invariants:
/// I1. `head <= tail <= head + capacity`.
/// I2. The places of positions `head..tail` hold items; the others hold nothing.
/// I3. Only the producer writes stamps, `tail`, and places outside `head..tail`;
///     only the consumer writes `head`, and moves out of places inside.
/// I4. All items before a stamp are published. A publication stamps the group
///     of its first position, so whoever stands there with nothing in hand
///     finds it. Stamps only grow; old ones are true, and not beyond `head`.
struct Shared<T> {
    lines: Lines<T>,
    capacity: u64,
    waiting: Waiting,
    /// For counting, and for dropping what is left: items are taken by stamps.
    tail: Padded<AtomicU64>,
    head: Padded<AtomicU64>,
    /// The producer is gone.
    finished: AtomicBool,
    /// The consumer is gone.
    abandoned: AtomicBool,
}

// SAFETY: needed because of the raw memory. By I3 each place belongs to one
// side at a time, and it changes sides through E1 and E2. Items move between
// threads, so `T: Send` is required and enough.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; the items may be dropped by whichever side goes last.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        for position in self.head.load(Ordering::Relaxed)..self.tail.load(Ordering::Relaxed) {
            // SAFETY: needed to drop what was never popped; by I2 the place
            // holds an item, and both halves are gone.
            drop(unsafe { self.lines.read(self.lines.place_of(position)) });
        }
    }
}

/// The half that puts items in. It is alone on its cache lines, as the other
/// half is: both are written all the time.
#[repr(align(128))]
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// Our own cursor, and its place.
    tail: u64,
    place: Place,
    /// The consumer's cursor as last seen: refreshed only when it says "full".
    head_seen: u64,
}

/// The half that takes items out.
#[repr(align(128))]
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// Our own cursor, and its place; `shared.head` is its published copy.
    head: u64,
    place: Place,
    /// The latest stamp seen, or `head`: looked at anew only when it says "empty".
    stamp_seen: u64,
}

/// A ring for `capacity` items, rounded up to a power of two.
///
/// # Panics
/// When `capacity` is zero or beyond [`MAX_CAPACITY`](crate::MAX_CAPACITY).
#[must_use]
pub fn ring<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    ring_with(capacity, WaitStrategy::default())
}

/// A ring whose consumer waits (see [`Consumer::wait`]) by `strategy`.
///
/// # Panics
/// As [`ring`].
#[must_use]
pub fn ring_with<T: Send>(capacity: usize, strategy: WaitStrategy) -> (Producer<T>, Consumer<T>) {
    let capacity = checked_capacity(capacity);
    let shared = Arc::new(Shared {
        lines: Lines::new(capacity),
        capacity: capacity as u64,
        waiting: Waiting::new(strategy),
        tail: Padded(AtomicU64::new(0)),
        head: Padded(AtomicU64::new(0)),
        finished: AtomicBool::new(false),
        abandoned: AtomicBool::new(false),
    });
    let producer = Producer { shared: shared.clone(), tail: 0, place: Place::default(), head_seen: 0 };
    (producer, Consumer { shared, head: 0, place: Place::default(), stamp_seen: 0 })
}

impl<T> Producer<T> {
    /// How many items the ring holds at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.capacity as usize
    }

    /// Room behind `tail` by what is known of the consumer; looks anew if that
    /// is below `wanted`.
    #[inline(always)]
    fn room(&mut self, tail: u64, wanted: usize) -> usize {
        let room = self.shared.capacity - (tail - self.head_seen);
        if room >= wanted as u64 {
            return room as usize;
        }
        // E2, second end: the places before `head` were moved out of.
        self.head_seen = self.shared.head.load(E2.acquire());
        (self.shared.capacity - (tail - self.head_seen)) as usize
    }

    /// Publishes the items from our cursor to `tail`, whose place is `place`.
    #[inline(always)]
    fn publish(&mut self, tail: u64, place: Place) {
        let shared = &*self.shared;
        // E1, first end: the items before the stamp are written.
        shared.lines.stamp(self.place).store(tail, E1.release());
        // After the stamp, so that what is counted can be taken (E1 again).
        shared.tail.store(tail, E1.release());
        self.tail = tail;
        self.place = place;
        shared.waiting.published();
    }

    /// Puts one item in.
    ///
    /// # Errors
    /// [`Full`] hands the item back when there is no room.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), Full<T>> {
        if self.room(self.tail, 1) == 0 {
            return Err(Full(item));
        }
        // SAFETY: needed to write into the shared line; `room` found the
        // position outside `head..tail`, so by I2 and I3 the place is empty and
        // ours until it is published.
        unsafe { self.shared.lines.write(self.place, item) };
        self.publish(self.tail + 1, self.shared.lines.skip(self.place, 1));
        Ok(())
    }

    /// Moves items from `items` into the ring until one of the two ends, and
    /// publishes them together. Answers how many; the rest stays in the iterator.
    pub fn push_batch<I: Iterator<Item = T>>(&mut self, items: &mut I) -> usize {
        let first = self.tail;
        let mut batch = Batch { tail: self.tail, place: self.place, written: 0, producer: self };
        loop {
            // Room first: an item that has left the iterator must have a place.
            let run = batch.producer.room(batch.tail, 1).min(batch.place.left::<T>());
            while batch.written < run {
                let Some(item) = items.next() else { break };
                let place = batch.place.plus(batch.written);
                // SAFETY: as in `push`; the run lies in one group.
                unsafe { batch.producer.shared.lines.write(place, item) };
                batch.written += 1;
            }
            if run == 0 || batch.written < run {
                break;
            }
            batch.end_run();
        }
        drop(batch);
        (self.tail - first) as usize
    }

    /// Moves items from the front of `items` into the ring, as many as fit.
    /// Answers how many.
    pub fn push_from(&mut self, items: &mut VecDeque<T>) -> usize {
        let count = self.room(self.tail, items.len()).min(items.len());
        // There is room for all that is drained here.
        self.push_batch(&mut items.drain(..count))
    }

    /// How many items can be pushed at least.
    #[must_use]
    pub fn free(&self) -> usize {
        // E2, second end, though nothing is done here with what it hands over.
        (self.shared.capacity - (self.tail - self.shared.head.load(E2.acquire()))) as usize
    }

    /// Whether the consumer is gone: what is pushed now will not be read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.abandoned.load(Ordering::Relaxed)
    }
}

/// Items that are written and not yet published. Publishes them when dropped,
/// also by a panic in the caller's iterator: what has left that must not be
/// forgotten.
struct Batch<'a, T> {
    producer: &'a mut Producer<T>,
    /// The cursor of the batch and its place, without the run at hand.
    tail: u64,
    place: Place,
    /// Items of the run at hand, which lies in one group.
    written: usize,
}

impl<T> Batch<'_, T> {
    #[inline(always)]
    fn end_run(&mut self) {
        self.tail += self.written as u64;
        self.place = self.producer.shared.lines.skip(self.place, self.written);
        self.written = 0;
    }
}

impl<T> Drop for Batch<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.end_run();
        if self.tail != self.producer.tail {
            self.producer.publish(self.tail, self.place);
        }
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        // E3, first end: the last stamp is stored.
        self.shared.finished.store(true, E3.release());
        self.shared.waiting.published();
    }
}

impl<T> Consumer<T> {
    /// How many items the ring holds at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.capacity as usize
    }

    /// The stamp of our group, if it publishes anything from `head` on.
    #[inline(always)]
    fn stamp(&self) -> Option<u64> {
        // E1, second end: the items before the stamp are written.
        let stamp = self.shared.lines.stamp(self.place).load(E1.acquire());
        (stamp > self.head).then_some(stamp)
    }

    /// Items by what is known of the stamps; looks anew if that is none.
    #[inline(always)]
    fn ready(&mut self) -> usize {
        if self.head == self.stamp_seen {
            self.stamp_seen = self.stamp().unwrap_or(self.head);
        }
        (self.stamp_seen - self.head) as usize
    }

    /// Passes `count` items, all in our group, that were moved out.
    #[inline(always)]
    fn pass(&mut self, count: usize) {
        self.head += count as u64;
        self.place = self.shared.lines.skip(self.place, count);
    }

    #[inline(always)]
    fn release(&self) {
        // E2, first end: the places before `head` were moved out of.
        self.shared.head.store(self.head, E2.release());
    }

    /// Takes the oldest item out; none if the ring is empty.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.ready() == 0 {
            return None;
        }
        // SAFETY: needed to move out of the shared line; `ready` found the
        // position inside `head..tail`, so by I2 the place holds an item, and
        // by I3 it is ours. `head` moves on, so it is moved out once.
        let item = unsafe { self.shared.lines.read(self.place) };
        self.pass(1);
        self.release();
        Some(item)
    }

    /// The oldest item, left where it is.
    pub fn peek(&mut self) -> Option<&T> {
        if self.ready() == 0 {
            return None;
        }
        // SAFETY: needed to look into the shared line; the place holds an item
        // (I2) that only `&mut self` methods move out (I3), and the borrow of
        // `self` keeps those away while the reference lives.
        Some(unsafe { self.shared.lines.look(self.place) })
    }

    /// Takes up to `max` items out, oldest first, and hands each to `each`.
    /// Their room is given back together at the end. Answers how many.
    pub fn drain(&mut self, max: usize, mut each: impl FnMut(T)) -> usize {
        let first = self.head;
        let mut taking = Taking { taken: 0, consumer: self };
        let mut left = max;
        loop {
            let consumer = &mut *taking.consumer;
            let run = left.min(consumer.ready()).min(consumer.place.left::<T>());
            if run == 0 {
                break;
            }
            consumer.shared.lines.ask_ahead(consumer.place);
            for _ in 0..run {
                let place = taking.consumer.place.plus(taking.taken);
                taking.taken += 1;
                // SAFETY: as in `pop`; the run lies in one group, and `Taking`
                // passes what was taken.
                each(unsafe { taking.consumer.shared.lines.read(place) });
            }
            taking.end_run();
            left -= run;
        }
        drop(taking);
        (self.head - first) as usize
    }

    /// How many items are there to take at least.
    #[must_use]
    pub fn len(&self) -> usize {
        // E1, second end, though nothing is done here with what it hands over.
        (self.shared.tail.load(E1.acquire()) - self.head) as usize
    }

    /// Whether there is nothing to take now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head == self.stamp_seen && self.stamp().is_none()
    }

    /// Whether the producer is gone and everything was taken: nothing will come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        // E3, second end: the stamp that `is_empty` reads next is the last.
        self.shared.finished.load(E3.acquire()) && self.is_empty()
    }

    /// Waits until there is an item (true) or nothing will come any more (false).
    pub fn wait(&mut self) -> bool {
        let this = &*self;
        this.shared.waiting.until(|| !this.is_empty() || this.is_closed());
        !self.is_empty()
    }
}

/// Items that were taken and not yet passed. Passes them and gives their room
/// back when dropped, also by a panic in the caller's function: the items that
/// it had are gone from the ring.
struct Taking<'a, T> {
    consumer: &'a mut Consumer<T>,
    /// Items of the run at hand, which lies in one group.
    taken: usize,
}

impl<T> Taking<'_, T> {
    #[inline(always)]
    fn end_run(&mut self) {
        self.consumer.pass(self.taken);
        self.taken = 0;
    }
}

impl<T> Drop for Taking<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.end_run();
        self.consumer.release();
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.shared.abandoned.store(true, Ordering::Relaxed);
    }
}
