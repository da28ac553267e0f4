//! What a hub's tables take per entry is at most what its memory budget reckons.
//!
//! The allocator of this test counts what is allocated and not given back in
//! the whole process, so the clients here keep nothing per entry.

#[path = "hub/common/mod.rs"]
mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Raw, options, start, stop};
use weft_hub::budget;
use weft_wire::frame::{AckLevel, Frame};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; counting touches an atomic alone.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn live() -> usize {
    LIVE.load(Ordering::SeqCst)
}

/// What `f` leaves allocated, per each of `n`.
fn each(n: usize, f: impl FnOnce()) -> usize {
    let before = live();
    f();
    live().saturating_sub(before) / n
}

#[test]
fn no_table_takes_more_per_entry_than_the_budget_reckons() {
    // Each keeps a buffer for a while: fewer than the arena begins with.
    const SESSIONS: usize = 40;
    const ENTRIES: usize = 5_000;
    let mut wanted = options("hub", None);
    wanted.limits.subscriptions_per_session = ENTRIES + 1;
    // So that what sessions publish is at its bound, too, which the names here come to first.
    wanted.limits.topics = 8_192;
    let hub = start(wanted);
    let mut sessions = Vec::with_capacity(SESSIONS);
    let session = each(SESSIONS, || {
        for n in 0..SESSIONS {
            sessions.push(Raw::connect(&hub, n as u64 + 10));
        }
    });
    let mut subscriber = Raw::connect(&hub, 1);
    let subscription = each(ENTRIES, || {
        for n in 0..ENTRIES {
            subscriber.subscribe(n as u64, &format!("fleet/{}/vehicle/{n}/position", n % 100));
        }
    });
    let mut publisher = Raw::connect(&hub, 0);
    let topic = each(ENTRIES, || {
        for n in 0..ENTRIES {
            publisher.publish(n as u64, AckLevel::Routed, &format!("topic/{n:0>200}"), &[b"x"]);
            assert!(matches!(publisher.receive().frame(), Frame::Ack(_)));
        }
    });
    let producer = each(ENTRIES, || {
        for n in 0..ENTRIES {
            let fields = weft_wire::block::BlockFields {
                producer: weft_base::ProducerId(1_000 + n as u64),
                first_sequence: 1,
                ..weft_wire::block::BlockFields::new("topic/one")
            };
            let block = common::build(&fields, &[b"x"]);
            publisher.publish_block(n as u64, AckLevel::Routed, &block);
            assert!(matches!(publisher.receive().frame(), Frame::Ack(_)));
        }
    });
    println!("bytes each: session {session}, subscription {subscription}, topic of 206 B {topic}, producer {producer}");
    assert!(session <= budget::SESSION, "{session}");
    assert!(subscription <= budget::SUBSCRIPTION, "{subscription}");
    assert!(topic <= budget::TOPIC, "{topic}");
    assert!(producer <= budget::PRODUCER, "{producer}");
    // The canary: this test does see what is allocated.
    assert!(session > 100 && subscription > 100 && topic > 200 && producer > 16);
    drop(sessions);
    stop(hub);
}
