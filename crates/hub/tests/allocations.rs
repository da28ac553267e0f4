//! In steady state a hub allocates nothing per event: neither for an event nor
//! for the block it comes in.
//!
//! The allocator of this test counts for the whole process, so the clients
//! here use prepared bytes and fixed buffers while it counts.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{Raw, options, start, stop};
use weft_hub::options::Listen;
use weft_transport::{Security, ShmStream};
use weft_wire::frame::{self, AckLevel, FRAME_HEADER};

struct Counting;

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged; counting touches atomics alone.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTING.load(Ordering::Relaxed) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Publishes `rounds` times a prepared block with an acknowledgement, and reads
/// what the subscriber gets, without allocating.
fn exchange<S: Read + Write>(
    publisher: &mut Raw<S>,
    subscriber: &mut Raw<S>,
    block: &[u8],
    rounds: u64,
    scratch: &mut [u8],
) {
    let head = frame::publish_head(1, AckLevel::Routed, block.len());
    for _ in 0..rounds {
        publisher.socket.write_all(&head).expect("the hub reads");
        publisher.socket.write_all(block).expect("the hub reads");
        let ack = &mut scratch[..8];
        publisher.socket.read_exact(ack).expect("an acknowledgement");
        let len = u32::from_le_bytes([ack[0], ack[1], ack[2], ack[3]]) as usize;
        publisher.socket.read_exact(&mut scratch[..len - 8]).expect("the rest of it");
        subscriber.socket.read_exact(&mut scratch[..FRAME_HEADER + block.len()]).expect("a delivery");
    }
}

/// Over TCP and by shared memory, in one test because the counter is one.
#[test]
fn a_hub_in_steady_state_allocates_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hub.sock").display().to_string();
    let mut options = options("hub", None);
    options.clients.push(Listen { addr: format!("shm:{path}"), security: Security::Plain });
    let hub = start(options);
    // Producer 0 is nobody in particular, so the same block may come again.
    count(Raw::connect(&hub, 0), Raw::connect(&hub, 1));
    let shared = |producer| Raw::over(ShmStream::connect(&path).expect("the hub listens"), &hub, producer);
    count(shared(0), shared(1));
    stop(hub);
}

fn count<S: Read + Write>(mut publisher: Raw<S>, mut subscriber: Raw<S>) {
    subscriber.subscribe(1, "t/*");
    let payload = [7u8; 128];
    let block = publisher.block("t/a", &[&payload, &payload, &payload]);
    let mut scratch = vec![0u8; 64 << 10];
    exchange(&mut publisher, &mut subscriber, &block, 2_000, &mut scratch);
    COUNTING.store(true, Ordering::SeqCst);
    // The canary: the counter does count.
    drop(std::hint::black_box(Box::new(1u64)));
    let canary = ALLOCATIONS.swap(0, Ordering::SeqCst);
    exchange(&mut publisher, &mut subscriber, &block, 5_000, &mut scratch);
    COUNTING.store(false, Ordering::SeqCst);
    let counted = ALLOCATIONS.load(Ordering::SeqCst);
    assert!(canary >= 1);
    // Timers (a digest, a sweep) may run meanwhile and are not per event.
    assert!(counted < 50, "{counted} allocations for 5,000 blocks of 3 events");
}
