//! Every synchronisation edge of the crate (see `edges.rs`), explored by loom,
//! and for each edge a canary: the same scenario with that edge weakened to
//! relaxed, which loom must catch.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p weft-ring --release --test loom`
#![cfg(loom)]

mod explore;

use std::io::IoSlice;

use explore::{explore, explore_with_canaries};
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Notify};
use loom::thread;
use weft_base::ByteCount;
use weft_ring::arena::{Arena, ArenaOptions};
use weft_ring::edges::*;
use weft_ring::wait::WaitStrategy;
use weft_ring::{broadcast, bytes, mpsc, spsc};

#[test]
fn spsc_items_and_room_change_hands() {
    explore_with_canaries(
        || {
            let (mut producer, mut consumer) = spsc::ring::<Box<usize>>(2);
            let pusher = thread::spawn(move || {
                for n in 0..4 {
                    let mut item = Box::new(n);
                    while let Err(full) = producer.push(item) {
                        item = full.0;
                        thread::yield_now();
                    }
                }
            });
            for n in 0..4 {
                let item = loop {
                    match consumer.pop() {
                        Some(item) => break item,
                        None => thread::yield_now(),
                    }
                };
                assert_eq!(*item, n);
            }
            pusher.join().unwrap();
            assert!(consumer.is_closed());
        },
        &[E1, E2],
    );
}

#[test]
fn spsc_batches_change_hands() {
    explore_with_canaries(
        || {
            let (mut producer, mut consumer) = spsc::ring::<usize>(4);
            let pusher = thread::spawn(move || {
                let mut items = 0..6;
                while items.start < 6 {
                    if producer.push_batch(&mut items) == 0 {
                        thread::yield_now();
                    }
                }
            });
            let mut seen = Vec::new();
            while seen.len() < 6 {
                if consumer.drain(4, |item| seen.push(item)) == 0 {
                    thread::yield_now();
                }
            }
            pusher.join().unwrap();
            assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
        },
        &[E1, E2],
    );
}

#[test]
fn spsc_closes_after_the_last_item_only() {
    explore_with_canaries(
        || {
            let (mut producer, mut consumer) = spsc::ring::<usize>(2);
            let pusher = thread::spawn(move || producer.push(7).unwrap());
            if consumer.is_closed() {
                panic!("closed before the item was taken");
            }
            let first = consumer.pop();
            if consumer.is_closed() {
                assert_eq!(first, Some(7));
            }
            pusher.join().unwrap();
        },
        &[E3],
    );
}

#[test]
fn spsc_drops_what_is_left_whoever_goes_last() {
    explore(|| {
        let item = Arc::new(());
        let (mut producer, mut consumer) = spsc::ring::<Arc<()>>(2);
        let inside = item.clone();
        let pusher = thread::spawn(move || {
            producer.push(inside.clone()).unwrap();
            producer.push(inside).unwrap();
        });
        drop(consumer.pop());
        drop(consumer);
        pusher.join().unwrap();
        assert_eq!(Arc::strong_count(&item), 1);
    });
}

#[test]
fn mpsc_items_and_room_change_hands() {
    explore_with_canaries(
        || {
            let (mut producer, mut consumer) = mpsc::ring::<Box<usize>>(2);
            let pusher = thread::spawn(move || {
                for n in 0..3 {
                    let mut item = Box::new(n);
                    while let Err(full) = producer.push(item) {
                        item = full.0;
                        thread::yield_now();
                    }
                }
            });
            for n in 0..3 {
                let item = loop {
                    match consumer.pop() {
                        Some(item) => break item,
                        None => thread::yield_now(),
                    }
                };
                assert_eq!(*item, n);
            }
            pusher.join().unwrap();
        },
        &[E4, E5],
    );
}

#[test]
fn mpsc_producers_that_contend_for_the_last_room_never_share_it() {
    explore_with_canaries(
        || {
            let (mut first, mut consumer) = mpsc::ring::<usize>(1);
            let mut second = first.clone();
            let pusher = thread::spawn(move || usize::from(first.push(1).is_ok()));
            let other = thread::spawn(move || usize::from(second.push(2).is_ok()));
            let mut taken = usize::from(consumer.pop().is_some());
            let pushed = pusher.join().unwrap() + other.join().unwrap();
            taken += usize::from(consumer.pop().is_some());
            assert_eq!(taken, pushed);
            assert!(pushed >= 1);
        },
        &[E4, E5],
    );
}

#[test]
fn mpsc_batches_stay_together_and_in_order() {
    explore_with_canaries(
        || {
            let (mut first, mut consumer) = mpsc::ring::<usize>(4);
            let mut second = first.clone();
            let pusher = thread::spawn(move || assert_eq!(first.push_slice(&[1, 2]), 2));
            let other = thread::spawn(move || assert_eq!(second.push_slice(&[3, 4]), 2));
            let mut seen = Vec::new();
            while seen.len() < 4 {
                if consumer.drain(4, |item| seen.push(item)) == 0 {
                    thread::yield_now();
                }
            }
            assert!(seen == [1, 2, 3, 4] || seen == [3, 4, 1, 2], "{seen:?}");
            pusher.join().unwrap();
            other.join().unwrap();
        },
        &[E4],
    );
}

#[test]
fn mpsc_closes_after_the_last_item_only() {
    explore_with_canaries(
        || {
            let (mut producer, mut consumer) = mpsc::ring::<usize>(2);
            let second = producer.clone();
            let pusher = thread::spawn(move || producer.push(7).unwrap());
            drop(second);
            if consumer.is_closed() {
                panic!("closed before the item was taken");
            }
            let first = consumer.pop();
            if consumer.is_closed() {
                assert_eq!(first, Some(7));
            }
            pusher.join().unwrap();
        },
        &[E6],
    );
}

#[test]
fn broadcast_shows_every_item_to_each_and_waits_for_the_slowest() {
    explore_with_canaries(
        || {
            let (mut producer, mut consumers) = broadcast::ring::<usize>(1, 2);
            let mut near = consumers.pop().unwrap();
            let mut far = consumers.pop().unwrap();
            let reader = thread::spawn(move || {
                let mut seen = Vec::new();
                while seen.len() < 2 {
                    if far.drain(2, |item| seen.push(*item)) == 0 {
                        thread::yield_now();
                    }
                }
                assert_eq!(seen, [1, 2]);
            });
            for item in [1, 2] {
                while producer.push(item).is_err() {
                    thread::yield_now();
                }
                assert_eq!(near.drain(2, |seen| assert_eq!(*seen, item)), 1);
            }
            reader.join().unwrap();
        },
        &[E7, E8],
    );
}

#[test]
fn broadcast_goes_on_when_a_consumer_leaves() {
    explore_with_canaries(
        || {
            let (mut producer, mut consumers) = broadcast::ring::<usize>(1, 1);
            let mut consumer = consumers.pop().unwrap();
            let reader = thread::spawn(move || {
                // Looks, and leaves without passing what it saw.
                if let Some(item) = consumer.peek() {
                    assert_eq!(*item, 1);
                }
            });
            for item in [1, 2] {
                while producer.push(item).is_err() {
                    thread::yield_now();
                }
            }
            reader.join().unwrap();
            assert!(producer.is_closed());
        },
        &[E7, E8],
    );
}

#[test]
fn broadcast_closes_after_the_last_item_only() {
    explore_with_canaries(
        || {
            let (mut producer, mut consumers) = broadcast::ring::<usize>(2, 1);
            let mut consumer = consumers.pop().unwrap();
            let pusher = thread::spawn(move || producer.push(7).unwrap());
            if consumer.is_closed() {
                panic!("closed before the item was read");
            }
            let mut seen = None;
            consumer.drain(1, |item| seen = Some(*item));
            if consumer.is_closed() {
                assert_eq!(seen, Some(7));
            }
            pusher.join().unwrap();
        },
        &[E9],
    );
}

#[test]
fn a_parked_consumer_is_woken_by_an_item_and_by_the_end() {
    explore_with_canaries(
        || {
            let (mut producer, mut consumer) = spsc::ring_with::<usize>(2, WaitStrategy::Park);
            let pusher = thread::spawn(move || producer.push(1).unwrap());
            assert!(consumer.wait());
            assert_eq!(consumer.pop(), Some(1));
            assert!(!consumer.wait());
            pusher.join().unwrap();
        },
        &[E10],
    );
}

#[test]
fn a_parked_consumer_is_woken_by_any_producer() {
    explore_with_canaries(
        || {
            let (mut producer, mut consumer) = mpsc::ring_with::<usize>(2, WaitStrategy::Park);
            let mut second = producer.clone();
            let pusher = thread::spawn(move || producer.push(1).unwrap());
            let other = thread::spawn(move || second.push(2).unwrap());
            let mut sum = 0;
            while consumer.wait() {
                sum += consumer.pop().unwrap();
            }
            assert_eq!(sum, 3);
            pusher.join().unwrap();
            other.join().unwrap();
        },
        &[E10],
    );
}

#[test]
fn a_parked_reader_is_woken_by_an_item() {
    explore_with_canaries(
        || {
            let (mut producer, mut consumers) = broadcast::ring_with(2, 1, WaitStrategy::Park, || 0);
            let mut consumer = consumers.pop().unwrap();
            let pusher = thread::spawn(move || producer.push(1).unwrap());
            assert!(consumer.wait());
            assert_eq!(consumer.drain(1, |item| assert_eq!(*item, 1)), 1);
            pusher.join().unwrap();
        },
        &[E10],
    );
}

/// Room for two buffers of 64 bytes at the start, six at most.
fn arena() -> Arena {
    let options =
        ArenaOptions { small: 64, large: 64, budget: ByteCount(512), initial: ByteCount(128), huge_pages: false };
    Arena::new(options).unwrap()
}

#[test]
fn a_buffer_is_lent_again_only_after_its_last_view_is_done() {
    explore_with_canaries(
        || {
            let arena = arena();
            let mut buffer = arena.lend(8).unwrap();
            buffer.extend(&[1; 8]);
            let block = buffer.split_to(8).freeze();
            drop(buffer);
            let shared = block.clone();
            let reader = thread::spawn(move || assert_eq!(shared[..], [1; 8]));
            assert_eq!(block[..], [1; 8]);
            drop(block);
            reader.join().unwrap();
            assert_eq!(arena.stats().lent, 0);
        },
        &[E11],
    );
}

#[test]
fn a_returned_buffer_changes_hands() {
    explore_with_canaries(
        || {
            let arena = arena();
            let lent = arena.lend(1).unwrap();
            let theirs = arena.clone();
            let returner = thread::spawn(move || {
                drop(lent);
                drop(theirs);
            });
            let mut another = arena.lend(1).unwrap();
            let mut third = arena.lend(1).unwrap();
            another.extend(&[1]);
            third.extend(&[2]);
            assert_eq!((another.filled(), third.filled()), (&[1][..], &[2][..]));
            returner.join().unwrap();
        },
        &[E12],
    );
}

#[test]
fn lending_and_returning_at_once_never_lends_one_buffer_twice() {
    explore(|| {
        let arena = arena();
        let theirs = arena.clone();
        let use_two = |arena: &Arena, mark: u8| {
            let mut first = arena.lend(1).unwrap();
            first.extend(&[mark]);
            let mut second = arena.lend(1).unwrap();
            second.extend(&[mark + 1]);
            assert_eq!((first.filled(), second.filled()), (&[mark][..], &[mark + 1][..]));
            drop(first);
            assert_eq!(second.filled(), [mark + 1]);
        };
        let other = thread::spawn(move || use_two(&theirs, 10));
        use_two(&arena, 20);
        other.join().unwrap();
        assert_eq!(arena.stats().lent, 0);
    });
}

#[test]
fn a_buffer_outlives_its_arena() {
    explore(|| {
        let arena = arena();
        let block = arena.copy_of(&[3; 8]).unwrap();
        let other = thread::spawn(move || assert_eq!(block[..], [3; 8]));
        drop(arena);
        other.join().unwrap();
    });
}

#[test]
fn room_is_reclaimed_only_from_views_that_are_done() {
    explore_with_canaries(
        || {
            let arena = arena();
            let mut buffer = arena.lend(8).unwrap();
            buffer.extend(&[1; 8]);
            let block = buffer.split_to(8).freeze();
            let reader = thread::spawn(move || assert_eq!(block[..], [1; 8]));
            if buffer.reclaim() {
                buffer.extend(&[2; 64]);
            }
            reader.join().unwrap();
        },
        &[E13],
    );
}

/// The memory of a ring of four bytes, each watched by loom.
#[derive(Clone)]
struct Bytes(Arc<(bytes::Words, [UnsafeCell<u8>; 4])>);

impl Bytes {
    fn ring() -> (bytes::Writer<Self>, bytes::Reader<Self>) {
        let cells = std::array::from_fn(|_| UnsafeCell::new(0));
        let memory = Self(Arc::new((bytes::Words::default(), cells)));
        (bytes::Writer::new(memory.clone()), bytes::Reader::new(memory))
    }
}

impl bytes::Memory for Bytes {
    fn words(&self) -> &bytes::Words {
        &self.0.0
    }

    fn capacity(&self) -> usize {
        self.0.1.len()
    }

    fn copy_in(&self, at: usize, from: &[u8]) {
        for (cell, byte) in self.0.1[at..].iter().zip(from) {
            // SAFETY: loom checks that nobody else reaches the cell meanwhile.
            cell.with_mut(|cell| unsafe { *cell = *byte });
        }
    }

    fn copy_out(&self, at: usize, to: &mut [u8]) {
        for (cell, byte) in self.0.1[at..].iter().zip(to) {
            // SAFETY: as above.
            *byte = cell.with(|cell| unsafe { *cell });
        }
    }
}

#[test]
fn bytes_and_room_change_hands() {
    explore_with_canaries(
        || {
            let (mut writer, mut reader) = Bytes::ring();
            let other = thread::spawn(move || {
                let mut sent = 0_u8;
                while sent < 6 {
                    let piece = [sent, sent + 1, sent + 2];
                    let taken = writer.write(&[IoSlice::new(&piece)]).unwrap().bytes;
                    sent += taken as u8;
                    if taken == 0 {
                        thread::yield_now();
                    }
                }
            });
            let mut next = 0;
            while next < 6 {
                let mut buf = [0; 2];
                let got = reader.read(&mut buf).unwrap().bytes;
                for byte in &buf[..got] {
                    assert_eq!(*byte, next);
                    next += 1;
                }
                if got == 0 {
                    thread::yield_now();
                }
            }
            other.join().unwrap();
        },
        &[E14, E15],
    );
}

#[test]
fn no_end_of_a_ring_of_bytes_sleeps_beside_its_work() {
    explore_with_canaries(
        || {
            let (mut writer, mut reader) = Bytes::ring();
            // What wakes the reader, and what wakes the writer.
            let (bytes, room) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let (wakes_reader, wakes_writer) = (bytes.clone(), room.clone());
            let other = thread::spawn(move || {
                for piece in [&[1_u8, 2, 3, 4][..], &[5]] {
                    loop {
                        let moved = writer.write(&[IoSlice::new(piece)]).unwrap();
                        if moved.wake {
                            wakes_reader.notify();
                        }
                        if moved.bytes > 0 {
                            break;
                        }
                        // Loom finds it when both sleep for ever.
                        if writer.may_sleep().unwrap() {
                            room.wait();
                        }
                    }
                }
            });
            let mut got = 0;
            while got < 5 {
                let moved = reader.read(&mut [0; 4]).unwrap();
                got += moved.bytes;
                if moved.wake {
                    wakes_writer.notify();
                }
                if moved.bytes == 0 && reader.may_sleep().unwrap() {
                    bytes.wait();
                }
            }
            other.join().unwrap();
        },
        &[E16],
    );
}
