//! In steady state nothing allocates: not the rings, not the arena's handles.
//! Counted per thread, because the test harness's own thread allocates when it likes.
#![cfg(not(loom))]

use std::collections::VecDeque;

use allocation_counter::measure;
use weft_ring::arena::{Arena, ArenaOptions};
use weft_ring::{broadcast, mpsc, spsc};

fn allocations(f: impl FnOnce()) -> u64 {
    measure(f).count_total
}

#[test]
fn blocks_travel_from_the_arena_through_the_rings_and_back_without_allocating() {
    // The counter sees what it should.
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1_u64)))), 1);

    let arena = Arena::new(ArenaOptions::default()).unwrap();
    let (mut producer, mut consumer) = spsc::ring(64);
    let (mut of_many, mut from_many) = mpsc::ring(64);
    let (mut caller, mut listeners) = broadcast::ring(64, 2);
    let mut batch = VecDeque::with_capacity(64);
    let mut turn = |size: usize| {
        let mut buffer = arena.lend(size).unwrap();
        while buffer.room() >= size && producer.free() > 0 {
            buffer.spare_mut()[..size].fill(7);
            buffer.advance(size);
            let mut front = buffer.split_to(size);
            let back = front.split_to(size / 2);
            assert!(producer.push(front.freeze()).is_ok());
            drop(back);
        }
        drop(buffer);
        consumer.drain(64, |block| batch.push_back(block.slice(1..)));
        of_many.push_from(&mut batch);
        from_many.drain(64, |block| assert!(caller.push(Some(block.clone())).is_ok()));
        for listener in &mut listeners {
            listener.drain(64, |block| assert_eq!(block.as_ref().map(|bytes| bytes[0]), Some(7)));
        }
    };
    // Warm: the arena grows to its working set.
    (0..10).for_each(|n| turn(128 << n));
    assert_eq!(allocations(|| (0..10_000).for_each(|n| turn(128 << (n % 10)))), 0);
}
