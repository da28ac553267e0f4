//! The bounded ring from many producers to one consumer.
//!
//! A producer claims positions by moving `tail` with compare-and-swap, writes
//! its items, and publishes each by stamping its slot; a batch costs one claim.
//! The consumer follows the stamps, so items come out in the order of the
//! claims, and a claim that is not yet published holds back those after it
//! (between claim and publication there is nothing but the copy of the items).
//!
//! Full: `push` hands the item back. Closed: each side sees when the other is
//! gone. Nothing allocates but the making of the ring.

use std::collections::VecDeque;
use std::mem::MaybeUninit;

use weft_base::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use weft_base::sync::{Arc, UnsafeCell};

use crate::edges::{E4, E5, E6};
use crate::padded::Padded;
use crate::prefetch;
use crate::wait::{WaitStrategy, Waiting};
use crate::{Full, checked_capacity};

struct Slot<T> {
    /// Position + 1 of the item that was last published here; 0 at first.
    stamp: AtomicUsize,
    item: UnsafeCell<MaybeUninit<T>>,
}

/// What all halves share. Invariants:
/// I1. `0 <= tail - head <= capacity` (both wrap).
/// I2. A slot whose stamp is `p + 1` with `p` in `head..tail` holds the item of
///     position `p`; it belongs to the consumer. The other slots of
///     `head..tail` each belong to the producer that claimed the position.
/// I3. Slots outside `head..tail` hold nothing.
struct Shared<T> {
    slots: Box<[Slot<T>]>,
    mask: usize,
    waiting: Waiting,
    tail: Padded<AtomicUsize>,
    head: Padded<AtomicUsize>,
    /// Producers that are left.
    producers: Padded<AtomicUsize>,
    /// The consumer is gone.
    abandoned: AtomicBool,
}

// SAFETY: needed because `UnsafeCell` is not `Sync`. By I2 each slot belongs to
// one thread at a time, and it changes hands through E4 and E5. Items move
// between threads, so `T: Send` is required and enough.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; the slots may be dropped by whichever half goes last.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    #[inline(always)]
    fn slot(&self, position: usize) -> &Slot<T> {
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
            // SAFETY: needed to drop what was never popped; all producers are
            // gone, each published what it claimed, so by I2 the slot holds an
            // item and nobody else reaches it.
            self.slot(position).item.with_mut(|item| unsafe { (*item).assume_init_drop() });
            position = position.wrapping_add(1);
        }
    }
}

/// A half that puts items in; clone it for each thread.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// The consumer's cursor as last seen: refreshed only when it says "full".
    head_seen: usize,
}

/// The half that takes items out. Alone on its cache lines, because it is
/// written all the time.
#[repr(align(128))]
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// Our own cursor; `shared.head` is its published copy.
    head: usize,
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
    let slot = |_| Slot { stamp: AtomicUsize::new(0), item: UnsafeCell::new(MaybeUninit::uninit()) };
    let shared = Arc::new(Shared {
        slots: (0..capacity).map(slot).collect(),
        mask: capacity - 1,
        waiting: Waiting::new(strategy),
        tail: Padded(AtomicUsize::new(0)),
        head: Padded(AtomicUsize::new(0)),
        producers: Padded(AtomicUsize::new(1)),
        abandoned: AtomicBool::new(false),
    });
    (Producer { shared: shared.clone(), head_seen: 0 }, Consumer { shared, head: 0 })
}

impl<T> Producer<T> {
    /// How many items the ring holds at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.mask + 1
    }

    /// Claims up to `wanted` positions, at least one; none if the ring is full.
    /// Answers the first and how many.
    #[inline]
    fn claim(&mut self, wanted: usize) -> Option<(usize, usize)> {
        let capacity = self.capacity();
        let mut tail = self.shared.tail.load(Ordering::Relaxed);
        loop {
            // More than the capacity may seem in use, because `head_seen` is old.
            let mut used = tail.wrapping_sub(self.head_seen);
            if used >= capacity || capacity - used < wanted {
                loop {
                    // E5, second end: the slots before `head` were moved out of.
                    let head = self.shared.head.load(E5.acquire());
                    // Loaded after `head`, so not behind it (E4 and E5 in turn).
                    tail = self.shared.tail.load(Ordering::Relaxed);
                    used = tail.wrapping_sub(head);
                    let moved = self.head_seen != head;
                    self.head_seen = head;
                    if used < capacity {
                        break;
                    }
                    if !moved {
                        return None;
                    }
                    // The consumer moved while we looked: the room that it made
                    // may not be taken yet.
                }
            }
            let count = wanted.min(capacity - used);
            let next = tail.wrapping_add(count);
            // Relaxed: the claim hands nothing over but the right to write the
            // slots, which E5 gave; the items are published by their stamps.
            match self.shared.tail.compare_exchange_weak(tail, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some((tail, count)),
                Err(now) => tail = now,
            }
        }
    }

    /// Writes and publishes the item of a position that this producer claimed.
    #[inline(always)]
    fn fill(&self, position: usize, item: T) {
        let slot = self.shared.slot(position);
        // The next claim is a locked operation, which waits until this store
        // has its line; let the line after it come meanwhile.
        let ahead = const { if size_of::<Slot<T>>() < 64 { 64 / size_of::<Slot<T>>() } else { 1 } };
        prefetch::to_write(self.shared.slot(position.wrapping_add(ahead)));
        // SAFETY: needed to write through the shared cell; `claim` gave the
        // position to this producer alone, and found it at most `capacity`
        // after `head`, so by I2 and I3 the slot is empty and ours until it is
        // stamped.
        slot.item.with_mut(|cell| unsafe { (*cell).write(item) });
        // E4, first end: the item is written.
        slot.stamp.store(position.wrapping_add(1), E4.release());
    }

    /// Puts one item in.
    ///
    /// # Errors
    /// [`Full`] hands the item back when there is no room.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), Full<T>> {
        let Some((position, _)) = self.claim(1) else {
            return Err(Full(item));
        };
        self.fill(position, item);
        self.shared.waiting.published();
        Ok(())
    }

    /// Moves items from the front of `items` into the ring, as many as fit, in
    /// consecutive positions claimed at once. Answers how many.
    pub fn push_from(&mut self, items: &mut VecDeque<T>) -> usize {
        if items.is_empty() {
            return 0;
        }
        let Some((first, count)) = self.claim(items.len().min(self.capacity())) else {
            return 0;
        };
        // Nothing in this loop can panic or run foreign code: a claim is always
        // published.
        for (n, item) in items.drain(..count).enumerate() {
            self.fill(first.wrapping_add(n), item);
        }
        self.shared.waiting.published();
        count
    }

    /// Copies items from the front of `items` into the ring, as many as fit, in
    /// consecutive positions claimed at once. Answers how many.
    pub fn push_slice(&mut self, items: &[T]) -> usize
    where
        T: Copy,
    {
        if items.is_empty() {
            return 0;
        }
        let Some((first, count)) = self.claim(items.len().min(self.capacity())) else {
            return 0;
        };
        for (n, item) in items.iter().take(count).enumerate() {
            self.fill(first.wrapping_add(n), *item);
        }
        self.shared.waiting.published();
        count
    }

    /// How many items could be pushed just now; other producers may take the room.
    #[must_use]
    pub fn free(&self) -> usize {
        // `head` first: then `tail` is not behind it.
        let head = self.shared.head.load(E5.acquire());
        let used = self.shared.tail.load(Ordering::Relaxed).wrapping_sub(head);
        self.capacity().saturating_sub(used)
    }

    /// Whether the consumer is gone: what is pushed now will not be read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.abandoned.load(Ordering::Relaxed)
    }
}

impl<T> Clone for Producer<T> {
    fn clone(&self) -> Self {
        // Relaxed: this producer is alive, so the count cannot reach zero meanwhile.
        self.shared.producers.fetch_add(1, Ordering::Relaxed);
        Self { shared: self.shared.clone(), head_seen: self.head_seen }
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        // E6, first end: this producer's stamps are stored.
        self.shared.producers.fetch_sub(1, E6.release());
        self.shared.waiting.published();
    }
}

impl<T> Consumer<T> {
    /// How many items the ring holds at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.mask + 1
    }

    #[inline(always)]
    fn published(&self, position: usize) -> bool {
        // E4, second end: the item is written.
        self.shared.slot(position).stamp.load(E4.acquire()) == position.wrapping_add(1)
    }

    /// Moves the next item out. It must be published.
    #[inline(always)]
    fn take(&mut self) -> T {
        // SAFETY: needed to move out of the shared cell; the slot's stamp was
        // found to be that of `head`, so by I2 it holds an item that is ours.
        // `head` moves on, so it is moved out once.
        let item = self.shared.slot(self.head).item.with(|item| unsafe { (*item).assume_init_read() });
        self.head = self.head.wrapping_add(1);
        item
    }

    #[inline(always)]
    fn release(&self) {
        // E5, first end: the slots before `head` were moved out of.
        self.shared.head.store(self.head, E5.release());
    }

    /// Takes the oldest item out; none if the ring is empty.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if !self.published(self.head) {
            return None;
        }
        let item = self.take();
        self.release();
        Some(item)
    }

    /// Takes up to `max` items out, oldest first, and hands each to `each`.
    /// Their room is given back together at the end. Answers how many.
    pub fn drain(&mut self, max: usize, mut each: impl FnMut(T)) -> usize {
        // Gives the room back on the way out, also when `each` panics: the
        // items that it had are gone from the ring.
        struct Release<'a, T>(&'a mut Consumer<T>);
        impl<T> Drop for Release<'_, T> {
            fn drop(&mut self) {
                self.0.release();
            }
        }
        if max == 0 || !self.published(self.head) {
            return 0;
        }
        // Beyond one capacity the producers would wait for the room.
        let max = max.min(self.capacity());
        let mut count = 0;
        let release = Release(self);
        while count < max && release.0.published(release.0.head) {
            count += 1;
            each(release.0.take());
        }
        count
    }

    /// How many items are claimed and not yet taken; the last of them may not
    /// be published yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.tail.load(Ordering::Relaxed).wrapping_sub(self.head)
    }

    /// Whether there is nothing to take now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.published(self.head)
    }

    /// Whether all producers are gone and everything was taken: nothing will come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        // E6, second end: every stamp is stored that ever will be.
        self.shared.producers.load(E6.acquire()) == 0 && self.is_empty()
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
