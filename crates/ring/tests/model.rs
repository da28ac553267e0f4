//! Every ring against an oracle made of `VecDeque`s: any sequence of operations
//! answers the same, and at each step exactly the items in the ring are alive.
//! Rings that lose, leak or reorder items are there to see that this is noticed.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseResult, TestRunner};
use weft_ring::wait::WaitStrategy;
use weft_ring::{Full, broadcast, mpsc, spsc};

/// What the tests do to a ring.
#[derive(Clone, Debug)]
enum Op {
    Push,
    PushBatch(usize),
    PushFrom(usize),
    Pop,
    Peek,
    Drain(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => Just(Op::Push),
        1 => (0..12_usize).prop_map(Op::PushBatch),
        1 => (0..12_usize).prop_map(Op::PushFrom),
        4 => Just(Op::Pop),
        1 => Just(Op::Peek),
        2 => (0..12_usize).prop_map(Op::Drain),
    ];
    vec(op, 0..120)
}

/// Items of various sizes that can be counted while they live, by a shared token.
#[derive(Clone, Debug)]
struct Item<const SIZE: usize>(u32, #[expect(dead_code, reason = "held to be counted")] Arc<()>, [u8; SIZE]);

struct Items {
    next: u32,
    alive: Arc<()>,
}

impl Items {
    fn new() -> Self {
        Self { next: 0, alive: Arc::new(()) }
    }

    fn make<const SIZE: usize>(&mut self) -> Item<SIZE> {
        self.next += 1;
        Item(self.next, self.alive.clone(), [self.next as u8; SIZE])
    }

    fn alive(&self) -> usize {
        Arc::strong_count(&self.alive) - 1
    }
}

/// The item's number, if its bytes are its own.
fn number<const SIZE: usize>(item: &Item<SIZE>) -> u32 {
    assert_eq!(item.2, [item.0 as u8; SIZE]);
    item.0
}

/// Both halves of a ring with one consumer that takes items out.
trait Queue<const SIZE: usize> {
    fn push(&mut self, item: Item<SIZE>) -> Result<(), Full<Item<SIZE>>>;
    /// By an iterator that does not tell how much it has, where there is that.
    fn push_batch(&mut self, items: &mut VecDeque<Item<SIZE>>) -> usize;
    fn push_from(&mut self, items: &mut VecDeque<Item<SIZE>>) -> usize;
    fn pop(&mut self) -> Option<u32>;
    /// None if the ring has no such operation.
    fn peek(&mut self) -> Option<Option<u32>>;
    fn drain(&mut self, max: usize, each: &mut dyn FnMut(u32)) -> usize;
    /// Items in the ring, and room.
    fn counts(&self) -> (usize, usize);
    fn is_empty(&self) -> bool;
    /// Whether it is closed before and after the producers are gone.
    fn close(self) -> (bool, bool);
}

/// Whether `queue` of `capacity` is the bounded queue that the oracle is.
fn check<const SIZE: usize>(mut queue: impl Queue<SIZE>, capacity: usize, ops: Vec<Op>) -> TestCaseResult {
    let mut items = Items::new();
    let mut oracle = VecDeque::new();
    for op in ops {
        let room = capacity - oracle.len();
        match op {
            Op::Push => match queue.push(items.make()) {
                Ok(()) => oracle.push_back(items.next),
                Err(Full(back)) => prop_assert_eq!((number(&back), room), (items.next, 0)),
            },
            Op::PushBatch(n) | Op::PushFrom(n) => {
                let first = items.next + 1;
                let mut batch: VecDeque<_> = (0..n).map(|_| items.make()).collect();
                let pushed = match op {
                    Op::PushFrom(_) => queue.push_from(&mut batch),
                    _ => queue.push_batch(&mut batch),
                };
                prop_assert_eq!((pushed, batch.len()), (room.min(n), n - room.min(n)));
                oracle.extend(first..first + pushed as u32);
            }
            Op::Pop => prop_assert_eq!(queue.pop(), oracle.pop_front()),
            Op::Peek => {
                if let Some(seen) = queue.peek() {
                    prop_assert_eq!(seen, oracle.front().copied());
                }
            }
            Op::Drain(n) => {
                let mut seen = Vec::new();
                let count = queue.drain(n, &mut |item| seen.push(item));
                prop_assert_eq!(count, n.min(oracle.len()));
                prop_assert_eq!(seen, oracle.drain(..count).collect::<Vec<_>>());
            }
        }
        prop_assert_eq!(queue.counts(), (oracle.len(), capacity - oracle.len()));
        prop_assert_eq!((queue.is_empty(), items.alive()), (oracle.is_empty(), oracle.len()));
    }
    prop_assert_eq!(queue.close(), (false, oracle.is_empty()));
    prop_assert_eq!(items.alive(), 0);
    Ok(())
}

impl<const SIZE: usize> Queue<SIZE> for (spsc::Producer<Item<SIZE>>, spsc::Consumer<Item<SIZE>>) {
    fn push(&mut self, item: Item<SIZE>) -> Result<(), Full<Item<SIZE>>> {
        self.0.push(item)
    }
    fn push_batch(&mut self, items: &mut VecDeque<Item<SIZE>>) -> usize {
        self.0.push_batch(&mut std::iter::from_fn(|| items.pop_front()))
    }
    fn push_from(&mut self, items: &mut VecDeque<Item<SIZE>>) -> usize {
        self.0.push_from(items)
    }
    fn pop(&mut self) -> Option<u32> {
        self.1.pop().as_ref().map(number)
    }
    fn peek(&mut self) -> Option<Option<u32>> {
        Some(self.1.peek().map(number))
    }
    fn drain(&mut self, max: usize, each: &mut dyn FnMut(u32)) -> usize {
        self.1.drain(max, |item| each(number(&item)))
    }
    fn counts(&self) -> (usize, usize) {
        (self.1.len(), self.0.free())
    }
    fn is_empty(&self) -> bool {
        self.1.is_empty()
    }
    fn close(self) -> (bool, bool) {
        let before = self.1.is_closed();
        drop(self.0);
        (before, self.1.is_closed())
    }
}

/// Three producers that take turns.
struct Mpsc<const SIZE: usize> {
    producers: VecDeque<mpsc::Producer<Item<SIZE>>>,
    consumer: mpsc::Consumer<Item<SIZE>>,
}

impl<const SIZE: usize> Mpsc<SIZE> {
    fn new(capacity: usize) -> Self {
        let (producer, consumer) = mpsc::ring(capacity);
        Self { producers: [producer.clone(), producer.clone(), producer].into(), consumer }
    }

    fn producer(&mut self) -> &mut mpsc::Producer<Item<SIZE>> {
        self.producers.rotate_left(1);
        &mut self.producers[0]
    }
}

impl<const SIZE: usize> Queue<SIZE> for Mpsc<SIZE> {
    fn push(&mut self, item: Item<SIZE>) -> Result<(), Full<Item<SIZE>>> {
        self.producer().push(item)
    }
    fn push_batch(&mut self, items: &mut VecDeque<Item<SIZE>>) -> usize {
        self.producer().push_from(items)
    }
    fn push_from(&mut self, items: &mut VecDeque<Item<SIZE>>) -> usize {
        self.producer().push_from(items)
    }
    fn pop(&mut self) -> Option<u32> {
        self.consumer.pop().as_ref().map(number)
    }
    fn peek(&mut self) -> Option<Option<u32>> {
        None
    }
    fn drain(&mut self, max: usize, each: &mut dyn FnMut(u32)) -> usize {
        self.consumer.drain(max, |item| each(number(&item)))
    }
    fn counts(&self) -> (usize, usize) {
        (self.consumer.len(), self.producers[0].free())
    }
    fn is_empty(&self) -> bool {
        self.consumer.is_empty()
    }
    fn close(mut self) -> (bool, bool) {
        self.producers.truncate(1);
        let before = self.consumer.is_closed();
        self.producers.clear();
        (before, self.consumer.is_closed())
    }
}

/// What a canary does wrong.
#[derive(Clone, Copy, Debug)]
enum Fault {
    LosesTheEndOfALongBatch,
    LeaksWhatItDrains,
    SwapsAfterAFullRing,
}

/// A queue with a fault.
struct Canary {
    items: VecDeque<Item<0>>,
    capacity: usize,
    fault: Fault,
}

impl Queue<0> for Canary {
    fn push(&mut self, item: Item<0>) -> Result<(), Full<Item<0>>> {
        if self.items.len() == self.capacity {
            if let Fault::SwapsAfterAFullRing = self.fault {
                self.items.swap(0, self.capacity / 2);
            }
            return Err(Full(item));
        }
        self.items.push_back(item);
        Ok(())
    }
    fn push_batch(&mut self, items: &mut VecDeque<Item<0>>) -> usize {
        self.push_from(items)
    }
    fn push_from(&mut self, items: &mut VecDeque<Item<0>>) -> usize {
        let count = items.len().min(self.capacity - self.items.len());
        self.items.extend(items.drain(..count));
        if let (Fault::LosesTheEndOfALongBatch, 7..) = (self.fault, count) {
            self.items.pop_back();
        }
        count
    }
    fn pop(&mut self) -> Option<u32> {
        self.items.pop_front().as_ref().map(number)
    }
    fn peek(&mut self) -> Option<Option<u32>> {
        Some(self.items.front().map(number))
    }
    fn drain(&mut self, max: usize, each: &mut dyn FnMut(u32)) -> usize {
        let count = max.min(self.items.len());
        for item in self.items.drain(..count) {
            each(number(&item));
            if let Fault::LeaksWhatItDrains = self.fault {
                std::mem::forget(item);
            }
        }
        count
    }
    fn counts(&self) -> (usize, usize) {
        (self.items.len(), self.capacity - self.items.len())
    }
    fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
    fn close(self) -> (bool, bool) {
        (false, self.items.is_empty())
    }
}

#[test]
fn faulty_queues_are_noticed() {
    for fault in [Fault::LosesTheEndOfALongBatch, Fault::LeaksWhatItDrains, Fault::SwapsAfterAFullRing] {
        let config =
            ProptestConfig { failure_persistence: None, max_shrink_iters: 0, ..ProptestConfig::with_cases(256) };
        let outcome = TestRunner::new(config)
            .run(&ops(), |ops| check(Canary { items: VecDeque::new(), capacity: 8, fault }, 8, ops));
        assert!(outcome.is_err(), "{fault:?} was not noticed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn spsc_is_a_bounded_queue(capacity in 1..33_usize, ops in ops()) {
        let rounded = capacity.next_power_of_two();
        // Several to a cache line, one, and one to several lines.
        check::<0>(spsc::ring(capacity), rounded, ops.clone())?;
        check::<12>(spsc::ring(capacity), rounded, ops.clone())?;
        check::<40>(spsc::ring(capacity), rounded, ops.clone())?;
        check::<200>(spsc::ring(capacity), rounded, ops)?;
    }

    #[test]
    fn mpsc_is_a_bounded_queue(capacity in 1..33_usize, ops in ops()) {
        let rounded = capacity.next_power_of_two();
        check::<0>(Mpsc::new(capacity), rounded, ops.clone())?;
        check::<200>(Mpsc::new(capacity), rounded, ops)?;
    }

    #[test]
    fn mpsc_copies_slices_as_far_as_there_is_room(capacity in 1..9_usize, lens in vec(0..12_usize, 0..20)) {
        let (mut producer, mut consumer) = mpsc::ring::<usize>(capacity);
        for len in lens {
            let slice: Vec<usize> = (0..len).collect();
            let pushed = producer.push_slice(&slice);
            prop_assert_eq!(pushed, len.min(producer.capacity()));
            let mut seen = Vec::new();
            consumer.drain(usize::MAX, |item| seen.push(item));
            prop_assert_eq!(&seen[..], &slice[..pushed]);
        }
    }

    #[test]
    fn broadcast_shows_each_consumer_every_item(
        capacity in 1..9_usize,
        readers in 1..4_usize,
        ops in ops(),
        turns in vec(0..3_usize, 1..8),
    ) {
        let mut items = Items::new();
        let (mut producer, mut consumers) =
            broadcast::ring_with(capacity, readers, WaitStrategy::Yield, || None::<Item<0>>);
        let capacity = capacity.next_power_of_two();
        let mut turns = turns.into_iter().cycle();
        // What each consumer has still to see.
        let mut oracles = vec![VecDeque::new(); readers];
        for op in ops {
            let reader = turns.next().unwrap() % consumers.len();
            let room = capacity - oracles.iter().map(VecDeque::len).max().unwrap_or(0);
            match op {
                Op::Push => match producer.push(Some(items.make())) {
                    Ok(()) => oracles.iter_mut().for_each(|oracle| oracle.push_back(items.next)),
                    Err(_) => prop_assert_eq!(room, 0),
                },
                Op::PushBatch(n) => {
                    let Some(mut claim) = producer.claim(n) else {
                        prop_assert_eq!(room.min(n), 0);
                        continue;
                    };
                    let count = claim.len();
                    prop_assert_eq!(count, room.min(n));
                    claim.for_each(|_, slot| *slot = Some(items.make()));
                    claim.publish();
                    let first = items.next - count as u32 + 1;
                    oracles.iter_mut().for_each(|oracle| oracle.extend(first..first + count as u32));
                }
                // Claimed, changed, and let go: nobody sees it.
                Op::PushFrom(n) => {
                    if let Some(mut claim) = producer.claim(n) {
                        claim.for_each(|_, slot| *slot = None);
                    }
                }
                Op::Pop | Op::Peek => {
                    let seen = consumers[reader].peek().map(|item| item.as_ref().unwrap().0);
                    prop_assert_eq!(seen, oracles[reader].front().copied());
                }
                Op::Drain(n) => {
                    let mut seen = Vec::new();
                    let count = consumers[reader].drain(n, |item| seen.push(item.as_ref().unwrap().0));
                    prop_assert_eq!(count, n.min(oracles[reader].len()));
                    prop_assert_eq!(seen, oracles[reader].drain(..count).collect::<Vec<_>>());
                }
            }
            let slowest = oracles.iter().map(VecDeque::len).max().unwrap_or(0);
            prop_assert_eq!((producer.free(), consumers[reader].len()), (capacity - slowest, oracles[reader].len()));
            prop_assert!(items.alive() <= capacity);
            // One that leaves gates no longer.
            if consumers.len() > 1 && items.next % 40 == 39 {
                consumers.remove(reader);
                oracles.remove(reader);
            }
        }
        drop(producer);
        for (consumer, oracle) in consumers.iter().zip(&oracles) {
            prop_assert_eq!(consumer.is_closed(), oracle.is_empty());
        }
        drop(consumers);
        prop_assert_eq!(items.alive(), 0);
    }
}
