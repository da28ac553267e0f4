//! The bounded ring from one producer to a fixed number of consumers, each of
//! which sees every item, in place.
//!
//! The slots hold items from the start and for ever: the producer claims some,
//! changes them, and publishes them together; each consumer reads them through
//! shared references. The producer is gated by the slowest consumer, so nothing
//! is lost and a stuck consumer stops the ring; a consumer that is dropped gates
//! no longer. What an item holds (a block, say) it holds until the producer
//! comes round to its slot.

use weft_base::sync::atomic::{AtomicBool, AtomicU64};
use weft_base::sync::{Arc, UnsafeCell};

use crate::edges::{E7, E8, E9};
use crate::padded::Padded;
use crate::wait::{WaitStrategy, Waiting};
use crate::{Full, checked_capacity};

/// A cursor that gates nobody. Positions never get there: at 2^30 items per
/// second that takes 500 years.
const GONE: u64 = u64::MAX;

/// What all halves share. Invariants:
/// I1. Every consumer's cursor `c` has `c <= tail <= c + capacity`.
/// I2. Only the producer touches the slots of positions from `tail` on, up to
///     the slowest cursor + capacity.
/// I3. The slots of positions before `tail` that a cursor has not passed are
///     only read.
struct Shared<T> {
    slots: Box<[UnsafeCell<T>]>,
    mask: u64,
    consumers: Box<[Gate]>,
    tail: Padded<AtomicU64>,
    /// The producer is gone.
    finished: AtomicBool,
}

/// One consumer's cursor, and where it sleeps.
struct Gate {
    cursor: Padded<AtomicU64>,
    waiting: Waiting,
}

// SAFETY: needed because `UnsafeCell` is not `Sync`. By I2 and I3 a slot is
// either changed by the producer alone or read by consumers, and E7 and E8 come
// between. Consumers in several threads share references (`T: Sync`), and the
// producer's thread replaces and drops items (`T: Send`).
unsafe impl<T: Send + Sync> Sync for Shared<T> {}
// SAFETY: as above; whichever half goes last drops the items.
unsafe impl<T: Send + Sync> Send for Shared<T> {}

impl<T> Shared<T> {
    #[inline(always)]
    fn slot(&self, position: u64) -> &UnsafeCell<T> {
        // SAFETY: needed to keep a bounds check off each access; `mask` is
        // `slots.len() - 1` and the length is a power of two below 2^25, so the
        // index is below the length and the cast loses nothing.
        unsafe { self.slots.get_unchecked((position & self.mask) as usize) }
    }

    fn capacity(&self) -> u64 {
        self.mask + 1
    }
}

/// The half that writes items. Alone on its cache lines, as the others are,
/// because they are written all the time.
#[repr(align(128))]
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// Our own cursor; `shared.tail` is its published copy.
    tail: u64,
    /// The slowest consumer's cursor as last seen: refreshed only when it says "full".
    slowest_seen: u64,
}

/// One of the halves that read items.
#[repr(align(128))]
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    number: usize,
    /// Our own cursor; the gate's is its published copy.
    cursor: u64,
    /// The producer's cursor as last seen: refreshed only when it says "empty".
    tail_seen: u64,
}

/// Slots that are the producer's to change, until they are published.
pub struct Claim<'a, T> {
    producer: &'a mut Producer<T>,
    count: usize,
}

/// A ring of `capacity` default items, rounded up to a power of two, with so
/// many consumers.
///
/// # Panics
/// When `capacity` is zero or beyond [`MAX_CAPACITY`](crate::MAX_CAPACITY), or
/// `consumers` is zero.
#[must_use]
pub fn ring<T: Send + Sync + Default>(capacity: usize, consumers: usize) -> (Producer<T>, Vec<Consumer<T>>) {
    ring_with(capacity, consumers, WaitStrategy::default(), T::default)
}

/// A ring whose slots are filled by `fill`, and whose consumers wait (see
/// [`Consumer::wait`]) by `strategy`.
///
/// # Panics
/// As [`ring`].
#[must_use]
pub fn ring_with<T: Send + Sync>(
    capacity: usize,
    consumers: usize,
    strategy: WaitStrategy,
    mut fill: impl FnMut() -> T,
) -> (Producer<T>, Vec<Consumer<T>>) {
    let capacity = checked_capacity(capacity);
    assert!(consumers > 0, "a broadcast ring needs at least one consumer");
    let gate = |_| Gate { cursor: Padded(AtomicU64::new(0)), waiting: Waiting::new(strategy) };
    let shared = Arc::new(Shared {
        slots: (0..capacity).map(|_| UnsafeCell::new(fill())).collect(),
        mask: capacity as u64 - 1,
        consumers: (0..consumers).map(gate).collect(),
        tail: Padded(AtomicU64::new(0)),
        finished: AtomicBool::new(false),
    });
    let consumer = |number| Consumer { shared: shared.clone(), number, cursor: 0, tail_seen: 0 };
    let consumers = (0..consumers).map(consumer).collect();
    (Producer { shared, tail: 0, slowest_seen: 0 }, consumers)
}

impl<T> Producer<T> {
    /// How many items the ring holds at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    /// The slowest consumer's cursor; [`GONE`] when there is none.
    fn slowest(&self) -> u64 {
        // E8, second end: the slots before the cursor are no longer read.
        self.shared.consumers.iter().map(|gate| gate.cursor.load(E8.acquire())).min().unwrap_or(GONE)
    }

    /// Room by what is known of the consumers; looks anew if that is below `wanted`.
    #[inline(always)]
    fn room(&mut self, wanted: u64) -> u64 {
        let room = self.shared.capacity() - (self.tail - self.slowest_seen);
        if room >= wanted {
            return room;
        }
        // Without consumers everything is room.
        self.slowest_seen = self.slowest().min(self.tail);
        self.shared.capacity() - (self.tail - self.slowest_seen)
    }

    /// Claims up to `wanted` slots, as many as there is room for; none if the
    /// ring is full. They hold older items, to be changed or replaced.
    pub fn claim(&mut self, wanted: usize) -> Option<Claim<'_, T>> {
        let count = self.room(wanted as u64).min(wanted as u64) as usize;
        (count > 0).then_some(Claim { producer: self, count })
    }

    /// Puts one item in, dropping an older one.
    ///
    /// # Errors
    /// [`Full`] hands the item back when there is no room.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), Full<T>> {
        if self.room(1) == 0 {
            return Err(Full(item));
        }
        // SAFETY: needed to write through the shared cell; `room` found the
        // position between `tail` and the slowest cursor + capacity, so it is
        // ours alone (I2).
        self.shared.slot(self.tail).with_mut(|slot| unsafe { *slot = item });
        self.publish(1);
        Ok(())
    }

    #[inline(always)]
    fn publish(&mut self, count: u64) {
        self.tail += count;
        // E7, first end: the items before `tail` are written.
        self.shared.tail.store(self.tail, E7.release());
        self.wake();
    }

    #[inline(always)]
    fn wake(&self) {
        self.shared.consumers.iter().for_each(|gate| gate.waiting.published());
    }

    /// How many items can be pushed at least.
    #[must_use]
    pub fn free(&self) -> usize {
        (self.shared.capacity() - (self.tail - self.slowest().min(self.tail))) as usize
    }

    /// Whether all consumers are gone: what is pushed now will not be read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.slowest() == GONE
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        // E9, first end: the last `tail` is stored.
        self.shared.finished.store(true, E9.release());
        self.wake();
    }
}

impl<T> Claim<'_, T> {
    /// How many slots were claimed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no slot was claimed; never so.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Hands each claimed slot to `change`, in order.
    pub fn for_each(&mut self, mut change: impl FnMut(usize, &mut T)) {
        for n in 0..self.count {
            // SAFETY: needed to change the item through the shared cell; the
            // position lies between `tail` and the slowest cursor + capacity,
            // so it is the producer's alone (I2), which this claim borrows.
            self.producer.shared.slot(self.producer.tail + n as u64).with_mut(|slot| unsafe { change(n, &mut *slot) });
        }
    }

    /// Publishes all claimed slots together. Without this the claim is undone:
    /// the changes stay in the slots, and no consumer sees them.
    pub fn publish(self) {
        self.producer.publish(self.count as u64);
    }
}

impl<T> Consumer<T> {
    /// How many items the ring holds at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    fn gate(&self) -> &Gate {
        // SAFETY: needed to keep a bounds check off each release; `number` was
        // counted below the number of gates, which never changes.
        unsafe { self.shared.consumers.get_unchecked(self.number) }
    }

    /// Shows up to `max` items to `each`, oldest first; passes them together at
    /// the end. Answers how many.
    pub fn drain(&mut self, max: usize, mut each: impl FnMut(&T)) -> usize {
        if ((self.tail_seen - self.cursor) as usize) < max {
            // E7, second end: the items before `tail` are written.
            self.tail_seen = self.shared.tail.load(E7.acquire());
        }
        let count = ((self.tail_seen - self.cursor) as usize).min(max);
        if count == 0 {
            return 0;
        }
        // Passes what was shown on the way out, also when `each` panics.
        struct Release<'a, T>(&'a mut Consumer<T>);
        impl<T> Drop for Release<'_, T> {
            fn drop(&mut self) {
                // E8, first end: the slots before the cursor are no longer read.
                self.0.gate().cursor.store(self.0.cursor, E8.release());
            }
        }
        let release = Release(self);
        for _ in 0..count {
            let this = &mut *release.0;
            let position = this.cursor;
            this.cursor += 1;
            // SAFETY: needed to look into the shared cell; the position lies
            // between our cursor as published and `tail`, so the slot is only
            // read (I3) until the cursor is published past it.
            this.shared.slot(position).with(|slot| each(unsafe { &*slot }));
        }
        count
    }

    /// The oldest item that this consumer has not passed; none if there is none.
    pub fn peek(&mut self) -> Option<&T> {
        if self.tail_seen == self.cursor {
            self.tail_seen = self.shared.tail.load(E7.acquire());
        }
        // SAFETY: needed to look into the shared cell; as in `drain`, and the
        // borrow of `self` keeps the cursor where it is.
        (self.tail_seen != self.cursor).then(|| self.shared.slot(self.cursor).with(|slot| unsafe { &*slot }))
    }

    /// How many items are there to read at least.
    #[must_use]
    pub fn len(&self) -> usize {
        (self.shared.tail.load(E7.acquire()) - self.cursor) as usize
    }

    /// Whether there is nothing to read now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the producer is gone and everything was read: nothing will come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        // E9, second end: the `tail` that `is_empty` reads next is the last.
        self.shared.finished.load(E9.acquire()) && self.is_empty()
    }

    /// Waits until there is an item (true) or nothing will come any more (false).
    pub fn wait(&mut self) -> bool {
        let this = &*self;
        this.gate().waiting.until(|| !this.is_empty() || this.is_closed());
        !self.is_empty()
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        // E8, first end: this consumer reads no slot any more.
        self.gate().cursor.store(GONE, E8.release());
    }
}
