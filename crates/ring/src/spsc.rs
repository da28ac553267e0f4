//! The bounded ring between one producer and one consumer.
//!
//! Each side owns one cursor, counts on for ever, and keeps a copy of the
//! other's that it refreshes only when the copy says "full" or "empty": while
//! neither is the case, no cache line of a cursor travels. Batches move the
//! cursor once.
//!
//! ```text
//!   head (consumer)      tail (producer)
//!     v                    v
//!   [ . | item | item | item | . | . | . | . ]      0 <= tail - head <= capacity
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
use std::mem::MaybeUninit;

use weft_base::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use weft_base::sync::{Arc, UnsafeCell};

use crate::edges::{E1, E2, E3};
use crate::padded::Padded;
use crate::wait::{WaitStrategy, Waiting};
use crate::{Full, checked_capacity};

/// What both halves share. Invariants:
/// I1. `0 <= tail - head <= capacity` (both wrap).
/// I2. The slots of positions `head..tail` hold items; the others hold nothing.
/// I3. Only the producer writes `tail` and the slots outside `head..tail`; only
///     the consumer writes `head` and moves out of the slots inside.
struct Shared<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    mask: usize,
    waiting: Waiting,
    tail: Padded<AtomicUsize>,
    head: Padded<AtomicUsize>,
    /// The producer is gone.
    finished: AtomicBool,
    /// The consumer is gone.
    abandoned: AtomicBool,
}

// SAFETY: needed because `UnsafeCell` is not `Sync`. By I3 each slot belongs to
// one side at a time, and it changes sides through E1 and E2. Items move
// between threads, so `T: Send` is required and enough.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; the slots may be dropped by whichever side goes last.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    #[inline(always)]
    fn slot(&self, position: usize) -> &UnsafeCell<MaybeUninit<T>> {
        // SAFETY: needed to keep a bounds check off each push and pop; `mask`
        // is `slots.len() - 1` and the length is a power of two, so the index
        // is always below the length.
        unsafe { self.slots.get_unchecked(position & self.mask) }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let tail = self.tail.load(Ordering::Relaxed);
        let mut position = self.head.load(Ordering::Relaxed);
        while position != tail {
            // SAFETY: needed to drop what was never popped; by I2 the slot
            // holds an item, and both halves are gone.
            self.slot(position).with_mut(|slot| unsafe { (*slot).assume_init_drop() });
            position = position.wrapping_add(1);
        }
    }
}

/// The half that puts items in.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// Our own cursor; `shared.tail` is its published copy.
    tail: usize,
    /// The consumer's cursor as last seen: refreshed only when it says "full".
    head_seen: usize,
}

/// The half that takes items out.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// Our own cursor; `shared.head` is its published copy.
    head: usize,
    /// The producer's cursor as last seen: refreshed only when it says "empty".
    tail_seen: usize,
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
        slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        mask: capacity - 1,
        waiting: Waiting::new(strategy),
        tail: Padded(AtomicUsize::new(0)),
        head: Padded(AtomicUsize::new(0)),
        finished: AtomicBool::new(false),
        abandoned: AtomicBool::new(false),
    });
    let producer = Producer { shared: shared.clone(), tail: 0, head_seen: 0 };
    (producer, Consumer { shared, head: 0, tail_seen: 0 })
}

impl<T> Producer<T> {
    /// How many items the ring holds at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.mask + 1
    }

    /// Room by what is known of the consumer; looks anew if that is below `wanted`.
    #[inline(always)]
    fn room(&mut self, wanted: usize) -> usize {
        let room = self.capacity() - self.tail.wrapping_sub(self.head_seen);
        if room >= wanted {
            return room;
        }
        // E2, second end: the slots before `head` were moved out of.
        self.head_seen = self.shared.head.load(E2.acquire());
        self.capacity() - self.tail.wrapping_sub(self.head_seen)
    }

    /// Writes one item behind the published ones. There must be room.
    #[inline(always)]
    fn write(&mut self, item: T) {
        // SAFETY: needed to write through the shared cell; `room` found the
        // position outside `head..tail`, so by I2 and I3 the slot is empty and
        // ours until `publish`.
        self.shared.slot(self.tail).with_mut(|slot| unsafe { (*slot).write(item) });
        self.tail = self.tail.wrapping_add(1);
    }

    #[inline(always)]
    fn publish(&self) {
        // E1, first end: the items before `tail` are written.
        self.shared.tail.store(self.tail, E1.release());
        self.shared.waiting.published();
    }

    /// Puts one item in.
    ///
    /// # Errors
    /// [`Full`] hands the item back when there is no room.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), Full<T>> {
        if self.room(1) == 0 {
            return Err(Full(item));
        }
        self.write(item);
        self.publish();
        Ok(())
    }

    /// Moves items from `items` into the ring until one of them ends, and
    /// publishes them together. Answers how many; the rest stays in the iterator.
    pub fn push_batch<I: Iterator<Item = T>>(&mut self, items: &mut I) -> usize {
        // Publishes on the way out, also when the iterator panics: what was
        // written has left the iterator and must not be forgotten.
        struct Publish<'a, T>(&'a mut Producer<T>);
        impl<T> Drop for Publish<'_, T> {
            fn drop(&mut self) {
                self.0.publish();
            }
        }
        let mut written = 0;
        let publish = Publish(self);
        // Room first: an item that has left the iterator must have a place.
        while publish.0.room(1) > 0 {
            let Some(item) = items.next() else { break };
            publish.0.write(item);
            written += 1;
        }
        written
    }

    /// Moves items from the front of `items` into the ring, as many as fit, and
    /// publishes them together. Answers how many.
    pub fn push_from(&mut self, items: &mut VecDeque<T>) -> usize {
        if items.is_empty() {
            return 0;
        }
        let count = self.room(items.len().min(self.capacity())).min(items.len());
        items.drain(..count).for_each(|item| self.write(item));
        self.publish();
        count
    }

    /// How many items can be pushed at least.
    #[must_use]
    pub fn free(&self) -> usize {
        // E2, second end, though nothing is done here with what it hands over.
        self.capacity() - self.tail.wrapping_sub(self.shared.head.load(E2.acquire()))
    }

    /// Whether the consumer is gone: what is pushed now will not be read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.abandoned.load(Ordering::Relaxed)
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        // E3, first end: the last `tail` is stored.
        self.shared.finished.store(true, E3.release());
        self.shared.waiting.published();
    }
}

impl<T> Consumer<T> {
    /// How many items the ring holds at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.mask + 1
    }

    /// Items by what is known of the producer; looks anew if that is none.
    #[inline(always)]
    fn ready(&mut self) -> usize {
        if self.head == self.tail_seen {
            self.look();
        }
        self.tail_seen.wrapping_sub(self.head)
    }

    #[inline(always)]
    fn look(&mut self) {
        // E1, second end: the items before `tail` are written.
        self.tail_seen = self.shared.tail.load(E1.acquire());
    }

    /// Moves the next item out. There must be one.
    #[inline(always)]
    fn take(&mut self) -> T {
        // SAFETY: needed to move out of the shared cell; `ready` found the
        // position inside `head..tail`, so by I2 the slot holds an item, and by
        // I3 it is ours. `head` moves on, so it is moved out once.
        let item = self.shared.slot(self.head).with(|slot| unsafe { (*slot).assume_init_read() });
        self.head = self.head.wrapping_add(1);
        item
    }

    #[inline(always)]
    fn release(&self) {
        // E2, first end: the slots before `head` were moved out of.
        self.shared.head.store(self.head, E2.release());
    }

    /// Takes the oldest item out; none if the ring is empty.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.ready() == 0 {
            return None;
        }
        let item = self.take();
        self.release();
        Some(item)
    }

    /// The oldest item, left where it is.
    pub fn peek(&mut self) -> Option<&T> {
        if self.ready() == 0 {
            return None;
        }
        // SAFETY: needed to look into the shared cell; the slot holds an item
        // (I2) that only `&mut self` methods move out (I3), and the borrow of
        // `self` keeps those away while the reference lives.
        Some(self.shared.slot(self.head).with(|slot| unsafe { (*slot).assume_init_ref() }))
    }

    /// Takes up to `max` items out, oldest first, and hands each to `each`.
    /// Their room is given back together at the end. Answers how many.
    pub fn drain(&mut self, max: usize, mut each: impl FnMut(T)) -> usize {
        if self.tail_seen.wrapping_sub(self.head) < max {
            self.look();
        }
        let count = self.tail_seen.wrapping_sub(self.head).min(max);
        if count == 0 {
            return 0;
        }
        // Gives the room back on the way out, also when `each` panics: the
        // items that it had are gone from the ring.
        struct Release<'a, T>(&'a mut Consumer<T>);
        impl<T> Drop for Release<'_, T> {
            fn drop(&mut self) {
                self.0.release();
            }
        }
        let release = Release(self);
        for _ in 0..count {
            each(release.0.take());
        }
        count
    }

    /// How many items are there to take at least.
    #[must_use]
    pub fn len(&self) -> usize {
        // E1, second end, though nothing is done here with what it hands over.
        self.shared.tail.load(E1.acquire()).wrapping_sub(self.head)
    }

    /// Whether there is nothing to take now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the producer is gone and everything was taken: nothing will come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        // E3, second end: the `tail` that `is_empty` reads next is the last.
        self.shared.finished.load(E3.acquire()) && self.is_empty()
    }

    /// Waits until there is an item (true) or nothing will come any more (false).
    pub fn wait(&mut self) -> bool {
        let this = &*self;
        this.shared.waiting.until(|| !this.is_empty() || this.is_closed());
        !self.is_empty()
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.shared.abandoned.store(true, Ordering::Relaxed);
    }
}
