//! Nothing is leaked and nothing dropped twice: not when a half goes early, not
//! when the user's code panics in the middle of a batch.
#![cfg(not(loom))]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use weft_ring::{broadcast, mpsc, spsc};

/// Fails its test when it is dropped a second time, by the memory it frees.
type Token = (Box<u32>, Arc<()>);

fn token(alive: &Arc<()>, n: u32) -> Token {
    (Box::new(n), alive.clone())
}

fn alive(token: &Arc<()>) -> usize {
    Arc::strong_count(token) - 1
}

#[test]
fn what_was_not_popped_is_dropped_with_the_ring() {
    let count = Arc::new(());
    for producer_first in [true, false] {
        let (mut producer, mut consumer) = spsc::ring(4);
        let (mut of_many, mut from_many) = mpsc::ring(4);
        for n in 0..6 {
            assert_eq!(producer.push(token(&count, n)).is_ok(), n < 4);
            assert_eq!(of_many.push(token(&count, n)).is_ok(), n < 4);
        }
        // Wrap around once.
        assert_eq!((*consumer.pop().unwrap().0, *from_many.pop().unwrap().0), (0, 0));
        assert!(producer.push(token(&count, 9)).is_ok() && of_many.push(token(&count, 9)).is_ok());
        assert_eq!(alive(&count), 8);
        if producer_first {
            drop((producer, of_many));
            drop((consumer, from_many));
        } else {
            drop((consumer, from_many));
            assert!(producer.is_closed() && of_many.is_closed());
            drop((producer, of_many));
        }
        assert_eq!(alive(&count), 0);
    }
}

#[test]
fn items_lie_on_their_boundaries_whatever_their_size() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    #[repr(align(256))]
    struct Wide(u8);
    fn round_trip<T: Copy + Send + PartialEq + std::fmt::Debug>(item: T) {
        let (mut producer, mut consumer) = spsc::ring(4);
        for _ in 0..100 {
            assert!(producer.push(item).is_ok() && producer.push_batch(&mut [item; 3].into_iter()) == 3);
            let at = std::ptr::from_ref(consumer.peek().unwrap());
            assert!(at.is_aligned());
            assert_eq!(consumer.drain(4, |back| assert_eq!(back, item)), 4);
        }
    }
    round_trip(());
    round_trip(7_u8);
    round_trip([7_u8; 57]);
    round_trip(7_u128);
    round_trip([7_u64; 9]);
    round_trip(Wide(7));
}

#[test]
fn a_panic_while_draining_loses_only_the_item_in_hand() {
    let count = Arc::new(());
    let (mut producer, mut consumer) = spsc::ring(4);
    let (mut of_many, mut from_many) = mpsc::ring(4);
    for n in 0..4 {
        assert!(producer.push(token(&count, n)).is_ok() && of_many.push(token(&count, n)).is_ok());
    }
    let stumble = |item: Token| assert_ne!(*item.0, 1, "stumbled");
    assert!(catch_unwind(AssertUnwindSafe(|| consumer.drain(4, stumble))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| from_many.drain(4, stumble))).is_err());
    assert_eq!((producer.free(), of_many.free(), alive(&count)), (2, 2, 4));
    assert_eq!((*consumer.pop().unwrap().0, *from_many.pop().unwrap().0), (2, 2));
    drop((consumer, from_many, producer, of_many));
    assert_eq!(alive(&count), 0);
}

#[test]
fn a_panic_in_the_iterator_of_a_batch_publishes_what_it_gave() {
    let count = Arc::new(());
    let (mut producer, mut consumer) = spsc::ring(8);
    let mut items = (0..4).map(|n| {
        assert_ne!(n, 2, "stumbled");
        token(&count, n)
    });
    assert!(catch_unwind(AssertUnwindSafe(|| producer.push_batch(&mut items))).is_err());
    assert_eq!((consumer.len(), alive(&count)), (2, 2));
    assert_eq!(consumer.drain(8, |_| ()), 2);
    assert_eq!(alive(&count), 0);
}

#[test]
fn a_panic_while_reading_a_broadcast_passes_what_was_shown() {
    let (mut producer, mut consumers) = broadcast::ring::<u32>(4, 1);
    let mut consumer = consumers.pop().unwrap();
    for n in 0..4 {
        producer.push(n).unwrap();
    }
    assert!(catch_unwind(AssertUnwindSafe(|| consumer.drain(4, |n| assert_ne!(*n, 1, "stumbled")))).is_err());
    assert_eq!((consumer.len(), producer.free(), consumer.peek()), (2, 2, Some(&2)));
}

#[test]
fn a_broadcast_item_lives_until_its_slot_is_used_again() {
    let count = Arc::new(());
    let (mut producer, mut consumers) = broadcast::ring::<Option<Token>>(2, 1);
    for n in 0..3 {
        assert!(producer.push(Some(token(&count, n))).is_ok());
        assert_eq!(consumers[0].drain(1, |item| assert_eq!(*item.as_ref().unwrap().0, n)), 1);
    }
    assert_eq!(alive(&count), 2);
    drop(consumers);
    assert!(producer.is_closed());
    drop(producer);
    assert_eq!(alive(&count), 0);
}

#[test]
#[should_panic(expected = "a ring holds 1 to 16777216 items, and 0 were asked for")]
fn a_ring_for_nothing_is_refused() {
    drop(spsc::ring::<u8>(0));
}
