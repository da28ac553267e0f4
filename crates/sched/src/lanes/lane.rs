//! One lane: earliest deadline first, without changing any producer's order.
//!
//! Each item is due at some time: at its deadline, but no later than a horizon
//! after it came, and no earlier than what came before it in its order bucket
//! (64 of them). What is due first goes first, in the order of arrival among
//! equals; so one bucket never changes its order. Items without a deadline are
//! due in the order in which they come: a plain queue holds them, and as long as
//! no item has a deadline the lane is that queue and nothing else. Items with
//! one lie in slots, with a heap of when each is due and a heap of deadlines.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use weft_base::UnixNanos;

use super::Waiting;

/// How many order buckets there are.
const BUCKETS: usize = 64;
/// Keys of items that are gone which a heap may hold beside as many as there are items.
const DEAD: usize = 64;

#[derive(Debug)]
struct Entry<T> {
    waiting: Waiting,
    /// When it is due, in nanoseconds since 1970.
    due: u64,
    /// Its place in the order of arrival, never used twice.
    number: u64,
    item: T,
}

/// Where an item with a deadline lies. Outlives the item: it counts only while
/// the slot holds the item of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    at: u64,
    number: u64,
    slot: u32,
}

/// The half of a lane that exists once an item had a deadline.
#[derive(Debug)]
struct Timed<T> {
    slots: Vec<Option<Entry<T>>>,
    free: Vec<u32>,
    live: usize,
    by_due: BinaryHeap<Reverse<Key>>,
    by_deadline: BinaryHeap<Reverse<Key>>,
    /// By bucket: how many items of the lane are in it, and when the latest is due.
    counts: [u32; BUCKETS],
    latest: [u64; BUCKETS],
}

#[derive(Debug)]
pub(super) struct LaneState<T> {
    /// Items without a deadline; `due` never falls from front to back.
    plain: VecDeque<Entry<T>>,
    timed: Option<Box<Timed<T>>>,
    /// Whether the buckets are kept: from the first deadline until the lane is empty.
    tracking: bool,
    pub(super) bytes: usize,
    /// What the lane may still send in this round.
    pub(super) deficit: usize,
}

impl<T> LaneState<T> {
    pub(super) fn new(deficit: usize) -> Self {
        Self { plain: VecDeque::new(), timed: None, tracking: false, bytes: 0, deficit }
    }

    pub(super) fn len(&self) -> usize {
        self.plain.len() + self.timed.as_ref().map_or(0, |timed| timed.live)
    }

    /// Adds the item of this number, due at `horizon` unless its deadline is earlier.
    pub(super) fn push(&mut self, waiting: Waiting, number: u64, horizon: u64, item: T) {
        self.bytes += waiting.cost;
        let has_deadline = waiting.deadline.0 != 0;
        // The time of day may jump back; what came later is not due earlier for that.
        let plain_due = horizon.max(self.plain.back().map_or(0, |last| last.due));
        if !has_deadline && !self.tracking {
            self.plain.push_back(Entry { waiting, due: plain_due, number, item });
            return;
        }
        let timed = self.timed.get_or_insert_with(Box::default);
        if !self.tracking {
            self.tracking = true;
            for entry in &self.plain {
                timed.enter(&entry.waiting, entry.due);
            }
        }
        let wanted = if has_deadline { waiting.deadline.0.min(horizon) } else { plain_due };
        let due = wanted.max(timed.earliest_in_order(&waiting));
        timed.enter(&waiting, due);
        let entry = Entry { waiting, due, number, item };
        if has_deadline || due > plain_due {
            timed.insert(entry);
        } else {
            self.plain.push_back(entry);
        }
    }

    /// What is due first.
    pub(super) fn peek(&mut self) -> Option<(&Waiting, &T)> {
        let plain = self.plain.front();
        let timed = self.timed.as_mut().and_then(|timed| timed.next());
        let entry = match (plain, timed) {
            (Some(a), Some(b)) => Some(if (a.due, a.number) < (b.due, b.number) { a } else { b }),
            (a, b) => a.or(b),
        }?;
        Some((&entry.waiting, &entry.item))
    }

    /// Takes what is due first.
    pub(super) fn pop(&mut self) -> Option<(Waiting, T)> {
        let plain = self.plain.front().map(|entry| (entry.due, entry.number));
        let timed = self.timed.as_mut().and_then(|timed| timed.next()).map(|entry| (entry.due, entry.number));
        let from_plain = match (plain, timed) {
            (Some(plain), Some(timed)) => plain < timed,
            (plain, _) => plain.is_some(),
        };
        let entry = if from_plain { self.plain.pop_front() } else { self.timed.as_mut()?.pop() }?;
        Some(self.leave(entry))
    }

    /// Takes the item with the earliest deadline, if that is before `now`.
    pub(super) fn take_expired(&mut self, now: UnixNanos) -> Option<(Waiting, T)> {
        let entry = self.timed.as_mut()?.pop_expired(now.0)?;
        Some(self.leave(entry))
    }

    pub(super) fn earliest_deadline(&mut self) -> Option<UnixNanos> {
        self.timed.as_mut()?.earliest().map(|key| UnixNanos(key.at))
    }

    fn leave(&mut self, entry: Entry<T>) -> (Waiting, T) {
        let Entry { waiting, item, .. } = entry;
        self.bytes -= waiting.cost;
        if self.tracking {
            if let Some(timed) = &mut self.timed {
                timed.counts[bucket(&waiting)] -= 1;
            }
            self.tracking = self.len() > 0;
        }
        (waiting, item)
    }
}

impl<T> Default for Timed<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            live: 0,
            by_due: BinaryHeap::new(),
            by_deadline: BinaryHeap::new(),
            counts: [0; BUCKETS],
            latest: [0; BUCKETS],
        }
    }
}

impl<T> Timed<T> {
    /// Before this nothing of the item's bucket may be due.
    fn earliest_in_order(&self, waiting: &Waiting) -> u64 {
        let bucket = bucket(waiting);
        if self.counts[bucket] == 0 { 0 } else { self.latest[bucket] }
    }

    /// Notes in its bucket that an item of the lane is due then.
    fn enter(&mut self, waiting: &Waiting, due: u64) {
        let bucket = bucket(waiting);
        self.counts[bucket] += 1;
        self.latest[bucket] = due;
    }

    fn insert(&mut self, entry: Entry<T>) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        let Entry { waiting: Waiting { deadline, .. }, due, number, .. } = entry;
        self.by_due.push(Reverse(Key { at: due, number, slot }));
        if deadline.0 != 0 {
            self.by_deadline.push(Reverse(Key { at: deadline.0, number, slot }));
        }
        self.slots[slot as usize] = Some(entry);
        self.live += 1;
    }

    /// What is due first.
    fn next(&mut self) -> Option<&Entry<T>> {
        let key = first(&mut self.by_due, &self.slots)?;
        self.slots[key.slot as usize].as_ref()
    }

    fn pop(&mut self) -> Option<Entry<T>> {
        let key = first(&mut self.by_due, &self.slots)?;
        self.remove(key)
    }

    fn earliest(&mut self) -> Option<Key> {
        first(&mut self.by_deadline, &self.slots)
    }

    fn pop_expired(&mut self, now: u64) -> Option<Entry<T>> {
        let key = self.earliest().filter(|key| key.at < now)?;
        self.remove(key)
    }

    fn remove(&mut self, key: Key) -> Option<Entry<T>> {
        let entry = self.slots[key.slot as usize].take()?;
        self.free.push(key.slot);
        self.live -= 1;
        // Its keys stay until they come to the top, or until they are too many.
        for heap in [&mut self.by_due, &mut self.by_deadline] {
            if self.live == 0 {
                heap.clear();
            } else if heap.len() > 2 * self.live + DEAD {
                heap.retain(|Reverse(key)| is_live(&self.slots, key));
            }
        }
        Some(entry)
    }
}

/// The first key of a heap whose item still lies in its slot.
fn first<T>(heap: &mut BinaryHeap<Reverse<Key>>, slots: &[Option<Entry<T>>]) -> Option<Key> {
    while let Some(Reverse(key)) = heap.peek() {
        if is_live(slots, key) {
            return Some(*key);
        }
        heap.pop();
    }
    None
}

fn is_live<T>(slots: &[Option<Entry<T>>], key: &Key) -> bool {
    slots[key.slot as usize].as_ref().is_some_and(|entry| entry.number == key.number)
}

fn bucket(waiting: &Waiting) -> usize {
    (waiting.order % BUCKETS as u64) as usize
}
