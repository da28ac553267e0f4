//! In steady state a hub allocates nothing per event: neither for an event nor
//! for the block it comes in.
//!
//! The allocator of this test counts for the whole process, so the clients
//! here use prepared bytes and fixed buffers while it counts.

#[path = "hub/common/mod.rs"]
mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::inspector::Checking;
use common::judge::{self, Court};
use common::{Raw, options, start, stop};
use weft_base::SubscriptionId;
use weft_hub::options::Listen;
use weft_topic::mapping::{MappingSpec, Mappings};
use weft_transport::{Security, ShmStream};
use weft_wire::frame::{self, AckLevel, FRAME_HEADER, Frame, Settle, SettleRange, StreamSpec, Verb, handout_head_len};

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
/// what the subscriber gets, as long as said, without allocating.
fn exchange<S: Read + Write>(
    publisher: &mut Raw<S>,
    subscriber: &mut Raw<S>,
    (block, delivered): (&[u8], usize),
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
        subscriber.socket.read_exact(&mut scratch[..FRAME_HEADER + delivered]).expect("a delivery");
    }
}

/// The counter is one for the process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Over TCP and by shared memory.
#[test]
fn a_hub_in_steady_state_allocates_nothing() {
    let _alone = ALONE.lock();
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

/// With partitions, shares and a longer topic: what is delivered is longer than what was published.
#[test]
fn a_hub_that_maps_topics_allocates_nothing_in_steady_state() {
    let _alone = ALONE.lock();
    let mut options = options("hub", None);
    let to = ["mapped/{partition(8, 1)}/{1}", "mapped/{partition(8)}/{1}"].map(|to| (Some(to.to_owned()), 1));
    let spec = MappingSpec { from: "t/*".to_owned(), to: to.to_vec(), ..MappingSpec::default() };
    options.mapping = Mappings::new(&[spec]).expect("a rule");
    let hub = start(options);
    count_as(Raw::connect(&hub, 0), Raw::connect(&hub, 1), "mapped/**", "mapped/1/a");
    stop(hub);
}

/// Each publish is looked up among what the session may do.
#[test]
fn a_hub_that_asks_who_may_publish_allocates_nothing_in_steady_state() {
    let _alone = ALONE.lock();
    let court = Court::start(options("hub", None), &[("all", judge::everything("test"))]);
    count(Raw::connect(&court.hub, 0), Raw::connect(&court.hub, 1));
    assert!(court.count("govern.asked") < 10, "asked about once");
    stop(court.hub);
}

/// Each publish is looked up among the topics that are checked, and is none of them.
#[test]
fn a_hub_that_checks_payloads_allocates_nothing_for_topics_without_a_schema() {
    let _alone = ALONE.lock();
    let elsewhere = ("orders", r#"{"topics":["orders/**"],"check":"reject"}"#);
    let checking = Checking::start(options("hub", None), &[elsewhere]).learned();
    count(Raw::connect(&checking.hub, 0), Raw::connect(&checking.hub, 1));
    assert_eq!(checking.count("schema.checked"), 0);
    stop(checking.hub);
}

fn count<S: Read + Write>(publisher: Raw<S>, subscriber: Raw<S>) {
    count_as(publisher, subscriber, "t/*", "t/a");
}

/// Publishes on `t/a` what the subscriber gets under a topic as long as `arrives`.
fn count_as<S: Read + Write>(mut publisher: Raw<S>, mut subscriber: Raw<S>, filter: &str, arrives: &str) {
    subscriber.subscribe(1, filter);
    let payload = [7u8; 128];
    let block = publisher.block("t/a", &[&payload, &payload, &payload]);
    let delivered = publisher.block(arrives, &[&payload, &payload, &payload]).len();
    let mut scratch = vec![0u8; 64 << 10];
    exchange(&mut publisher, &mut subscriber, (&block, delivered), 2_000, &mut scratch);
    COUNTING.store(true, Ordering::SeqCst);
    // The canary: the counter does count.
    drop(std::hint::black_box(Box::new(1u64)));
    let canary = ALLOCATIONS.swap(0, Ordering::SeqCst);
    exchange(&mut publisher, &mut subscriber, (&block, delivered), 5_000, &mut scratch);
    COUNTING.store(false, Ordering::SeqCst);
    let counted = ALLOCATIONS.load(Ordering::SeqCst);
    assert!(canary >= 1);
    // Timers (a digest, a sweep) may run meanwhile and are not per event.
    assert!(counted < 50, "{counted} allocations for 5,000 blocks of 3 events");
}

/// Takes so many blocks from a consumer and settles each by its events, without
/// allocating here.
fn take(member: &mut Raw, settle: &mut [u8], next: &mut u64, blocks: u64, scratch: &mut [u8]) {
    const FIRST: usize = FRAME_HEADER + 8 + 8 + 1 + 8 + 2 + 4;
    for _ in 0..blocks {
        let head = &mut scratch[..FRAME_HEADER];
        member.socket.read_exact(head).expect("a handout");
        assert_eq!(frame::peek_kind(head), Some(frame::Kind::Handout));
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        member.socket.read_exact(&mut scratch[FRAME_HEADER..len]).expect("the rest of it");
        for _ in 0..3 {
            settle[FIRST..FIRST + 8].copy_from_slice(&next.to_le_bytes());
            member.socket.write_all(settle).expect("the hub reads");
            *next += 1;
        }
    }
}

/// Rounds of three blocks that are counted together.
const WINDOW: u64 = 50;

#[test]
fn handing_out_and_settling_in_steady_state_allocates_nothing_per_block() {
    let _alone = ALONE.lock();
    let data = tempfile::tempdir().expect("a folder");
    let mut options = options("hub", Some(data.path()));
    // Writing positions is per so many milliseconds, not per block.
    options.timers.positions = Duration::from_secs(3_600);
    let hub = start(options);
    let mut maker = Raw::connect(&hub, 0);
    let stream = StreamSpec { name: "all", filters: vec!["t/**"], segment_bytes: 4 << 20, ..StreamSpec::default() };
    maker.create_stream(stream);
    let payload = [7u8; 128];
    let block = maker.block("t/a", &[&payload, &payload, &payload]);
    for part in 0..30 {
        for request in 0..50 {
            maker.publish_block(1 + part * 50 + request, AckLevel::Synced, &block);
        }
        for _ in 0..50 {
            assert!(matches!(maker.receive().frame(), Frame::Ack(_)));
        }
    }
    maker.create_consumer(common::consumers::spec("c"));
    let mut member = Raw::connect(&hub, 1);
    // No more in flight than a small map holds without another node.
    let credit = |member: &mut Raw, events| {
        member.send(&Frame::Credit(frame::Credit { id: SubscriptionId(1), events, bytes: 0 }));
    };
    let token = member.consume_some(1, "c", 9).token;
    let range = [SettleRange::new(1, 1)];
    let settle =
        Settle { id: SubscriptionId(1), request: 0, token, verb: Verb::Ack, delay_ms: 0, reason: "", ranges: &range };
    let mut bytes = Vec::new();
    frame::encode(&Frame::Settle(settle), &mut bytes);
    let mut scratch = vec![0u8; handout_head_len(1) + block.len()];
    // What is done every so many milliseconds counts too: on a loaded machine
    // some of the windows have much of it, but not all.
    let (mut next, mut least, mut canary) = (1, u64::MAX, 0);
    for round in 0..450 {
        if round >= 150 && round % WINDOW == 0 {
            COUNTING.store(true, Ordering::SeqCst);
            drop(std::hint::black_box(Box::new(1u64)));
            canary = ALLOCATIONS.swap(0, Ordering::SeqCst);
        }
        take(&mut member, &mut bytes, &mut next, 3, &mut scratch);
        COUNTING.store(false, Ordering::SeqCst);
        credit(&mut member, 9);
        COUNTING.store(round >= 150, Ordering::SeqCst);
        if round >= 150 && round % WINDOW == WINDOW - 1 {
            least = least.min(ALLOCATIONS.load(Ordering::SeqCst));
        }
    }
    COUNTING.store(false, Ordering::SeqCst);
    assert!(canary >= 1);
    assert!(least < 50, "at least {least} allocations for {} blocks of 3 events", 3 * WINDOW);
    stop(hub);
}
