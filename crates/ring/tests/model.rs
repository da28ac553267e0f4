//! Every ring against an oracle made of `VecDeque`s: any sequence of operations
//! answers the same, and at each step exactly the items in the ring are alive.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use weft_ring::{Full, broadcast, mpsc, spsc};

/// What the tests do to a ring. `usize` fields choose among what is there.
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

/// Items that can be counted while they live, by a shared token.
#[derive(Clone, Debug)]
struct Item(u32, #[expect(dead_code, reason = "held to be counted")] Arc<()>);

struct Items {
    next: u32,
    alive: Arc<()>,
}

impl Items {
    fn new() -> Self {
        Self { next: 0, alive: Arc::new(()) }
    }

    fn make(&mut self) -> Item {
        self.next += 1;
        Item(self.next, self.alive.clone())
    }

    fn alive(&self) -> usize {
        Arc::strong_count(&self.alive) - 1
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn spsc_is_a_bounded_queue(capacity in 1..9_usize, ops in ops()) {
        let mut items = Items::new();
        let (mut producer, mut consumer) = spsc::ring::<Item>(capacity);
        let capacity = capacity.next_power_of_two();
        let mut oracle = VecDeque::new();
        for op in ops {
            let room = capacity - oracle.len();
            match op {
                Op::Push => {
                    let item = items.make();
                    let number = item.0;
                    match producer.push(item) {
                        Ok(()) => oracle.push_back(number),
                        Err(Full(back)) => {
                            prop_assert_eq!(back.0, number);
                            prop_assert_eq!(room, 0);
                        }
                    }
                }
                Op::PushBatch(n) => {
                    // One of the sizes that the iterator does not tell.
                    let batch: Vec<Item> = (0..n).map(|_| items.make()).collect();
                    let mut rest = batch.into_iter().filter(|_| true);
                    let pushed = producer.push_batch(&mut rest);
                    // An iterator that promises nothing is not worth a look at
                    // the consumer, so less may be taken than there is room for.
                    prop_assert!(pushed <= room.min(n) && (pushed > 0 || room.min(n) == 0));
                    let first = items.next - n as u32 + 1;
                    oracle.extend(first..first + pushed as u32);
                    prop_assert_eq!(rest.count(), n - pushed);
                }
                Op::PushFrom(n) => {
                    let mut batch: VecDeque<Item> = (0..n).map(|_| items.make()).collect();
                    prop_assert_eq!(producer.push_from(&mut batch), room.min(n));
                    prop_assert_eq!(batch.len(), n - room.min(n));
                    let first = items.next - n as u32 + 1;
                    oracle.extend(first..first + room.min(n) as u32);
                }
                Op::Pop => prop_assert_eq!(consumer.pop().map(|item| item.0), oracle.pop_front()),
                Op::Peek => prop_assert_eq!(consumer.peek().map(|item| item.0), oracle.front().copied()),
                Op::Drain(n) => {
                    let mut seen = Vec::new();
                    let count = consumer.drain(n, |item| seen.push(item.0));
                    prop_assert_eq!(count, n.min(oracle.len()));
                    prop_assert_eq!(seen, oracle.drain(..count).collect::<Vec<_>>());
                }
            }
            prop_assert_eq!((consumer.len(), producer.free()), (oracle.len(), capacity - oracle.len()));
            prop_assert_eq!((consumer.is_empty(), items.alive()), (oracle.is_empty(), oracle.len()));
        }
        drop(producer);
        prop_assert_eq!(consumer.is_closed(), oracle.is_empty());
        drop(consumer);
        prop_assert_eq!(items.alive(), 0);
    }

    #[test]
    fn mpsc_is_a_bounded_queue(capacity in 1..9_usize, ops in ops(), turns in vec(0..3_usize, 1..8)) {
        let mut items = Items::new();
        let (producer, mut consumer) = mpsc::ring::<Item>(capacity);
        let capacity = capacity.next_power_of_two();
        let mut producers = [producer.clone(), producer.clone(), producer];
        let mut turns = turns.into_iter().cycle();
        let mut oracle = VecDeque::new();
        for op in ops {
            let room = capacity - oracle.len();
            let producer = &mut producers[turns.next().unwrap()];
            match op {
                Op::Push => {
                    let item = items.make();
                    let number = item.0;
                    match producer.push(item) {
                        Ok(()) => oracle.push_back(number),
                        Err(Full(back)) => {
                            prop_assert_eq!(back.0, number);
                            prop_assert_eq!(room, 0);
                        }
                    }
                }
                Op::PushBatch(n) | Op::PushFrom(n) => {
                    let mut batch: VecDeque<Item> = (0..n).map(|_| items.make()).collect();
                    prop_assert_eq!(producer.push_from(&mut batch), room.min(n));
                    prop_assert_eq!(batch.len(), n - room.min(n));
                    let first = items.next - n as u32 + 1;
                    oracle.extend(first..first + room.min(n) as u32);
                }
                Op::Pop | Op::Peek => {
                    prop_assert_eq!(consumer.pop().map(|item| item.0), oracle.pop_front());
                }
                Op::Drain(n) => {
                    let mut seen = Vec::new();
                    let count = consumer.drain(n, |item| seen.push(item.0));
                    prop_assert_eq!(count, n.min(oracle.len()));
                    prop_assert_eq!(seen, oracle.drain(..count).collect::<Vec<_>>());
                }
            }
            prop_assert_eq!((consumer.len(), producer.free()), (oracle.len(), capacity - oracle.len()));
            prop_assert_eq!((consumer.is_empty(), items.alive()), (oracle.is_empty(), oracle.len()));
        }
        prop_assert!(!consumer.is_closed());
        drop(producers);
        prop_assert_eq!(consumer.is_closed(), oracle.is_empty());
        drop(consumer);
        prop_assert_eq!(items.alive(), 0);
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
            broadcast::ring_with(capacity, readers, weft_ring::wait::WaitStrategy::Yield, || None::<Item>);
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
