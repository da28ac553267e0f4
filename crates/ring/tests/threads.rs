//! The rings and the arena between real threads. What loom explores in small,
//! these do in bulk, and for the sanitizers.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::thread;

use weft_base::ByteCount;
use weft_ring::arena::{Arena, ArenaOptions, BlockRef};
use weft_ring::wait::WaitStrategy;
use weft_ring::{broadcast, mpsc, spsc};

const ITEMS: u64 = 100_000;

const STRATEGIES: [WaitStrategy; 2] = [WaitStrategy::Yield, WaitStrategy::Park];

#[test]
fn spsc_keeps_order_and_loses_nothing() {
    for strategy in STRATEGIES {
        let (mut producer, mut consumer) = spsc::ring_with::<Box<u64>>(64, strategy);
        let pusher = thread::spawn(move || {
            let mut items = (0..ITEMS).map(Box::new).peekable();
            while items.peek().is_some() {
                if producer.push_batch(&mut items) == 0 {
                    thread::yield_now();
                }
            }
        });
        let mut next = 0;
        while consumer.wait() {
            consumer.drain(7, |item| {
                assert_eq!(*item, next);
                next += 1;
            });
        }
        assert_eq!(next, ITEMS);
        pusher.join().unwrap();
    }
}

#[test]
fn mpsc_keeps_each_producers_order_and_loses_nothing() {
    for strategy in STRATEGIES {
        let (producer, mut consumer) = mpsc::ring_with::<(usize, Box<u64>)>(64, strategy);
        let pushers: Vec<_> = (0..3)
            .map(|me| {
                let mut producer = producer.clone();
                thread::spawn(move || {
                    let mut items: VecDeque<_> = VecDeque::new();
                    let mut next = 0;
                    while next < ITEMS || !items.is_empty() {
                        while items.len() < me * 5 + 1 && next < ITEMS {
                            items.push_back((me, Box::new(next)));
                            next += 1;
                        }
                        if producer.push_from(&mut items) == 0 {
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        drop(producer);
        let mut next = [0; 3];
        while consumer.wait() {
            while let Some((from, item)) = consumer.pop() {
                assert_eq!(*item, next[from]);
                next[from] += 1;
            }
        }
        assert_eq!(next, [ITEMS; 3]);
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
    }
}

#[test]
fn broadcast_shows_each_consumer_every_item_in_order() {
    for strategy in STRATEGIES {
        let (mut producer, consumers) = broadcast::ring_with(64, 2, strategy, || Box::new(0_u64));
        let readers: Vec<_> = consumers
            .into_iter()
            .map(|mut consumer| {
                thread::spawn(move || {
                    let mut next = 0;
                    while consumer.wait() {
                        consumer.drain(7, |item| {
                            assert_eq!(**item, next);
                            next += 1;
                        });
                    }
                    assert_eq!(next, ITEMS);
                })
            })
            .collect();
        let mut next = 0;
        while next < ITEMS {
            let Some(mut claim) = producer.claim((ITEMS - next).min(5) as usize) else {
                thread::yield_now();
                continue;
            };
            claim.for_each(|_, slot| {
                **slot = next;
                next += 1;
            });
            claim.publish();
        }
        drop(producer);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    }
}

#[test]
fn blocks_that_cross_threads_keep_their_bytes() {
    let small = ArenaOptions {
        small: 4096,
        large: 8192,
        budget: ByteCount::mib(8),
        initial: ByteCount::kib(1),
        huge_pages: false,
    };
    let arena = Arena::new(small).unwrap();
    let (producer, mut consumer) = mpsc::ring::<(u64, BlockRef)>(256);
    let pushers: Vec<_> = (0..2_u64)
        .map(|me| {
            let (arena, mut producer) = (arena.clone(), producer.clone());
            thread::spawn(move || {
                let mut buffer = arena.lend(4096).unwrap();
                for n in 0..ITEMS / 10 {
                    let mark = n * 2 + me;
                    if buffer.room() < 64 && !buffer.reclaim() {
                        buffer = loop {
                            match arena.lend(4096) {
                                Some(buffer) => break buffer,
                                None => thread::yield_now(),
                            }
                        };
                    }
                    for _ in 0..8 {
                        buffer.extend(&mark.to_le_bytes());
                    }
                    let mut block = buffer.split_to(64);
                    let front = block.split_to(8 * (n as usize % 8));
                    let mut item = (mark, if n % 3 == 0 { front.freeze() } else { block.freeze() });
                    while let Err(full) = producer.push(item) {
                        item = full.0;
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    drop(producer);
    let mut held = VecDeque::new();
    while consumer.wait() {
        consumer.drain(usize::MAX, |item| held.push_back(item));
        while held.len() > 100 {
            let (mark, block) = held.pop_front().unwrap();
            assert!(block.chunks_exact(8).all(|bytes| bytes == mark.to_le_bytes()));
        }
    }
    pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
    drop(held);
    let stats = arena.stats();
    assert_eq!((stats.lent, stats.bytes <= 8 << 20), (0, true), "{stats:?}");
}
