//! A hub with far more to do than it can: publishers at ten times its capacity,
//! a subscriber that never reads, one that makes its publishers wait. Memory
//! stays within its budget, the urgent lane is served, publishers are told why
//! they wait, and the ledger balances.
//!
//! Two seconds by default; `WEFT_OVERLOAD_SECONDS=60 cargo test -p weft-hub
//! --test overload -- --nocapture` is the full run and prints its figures.

#[path = "hub/common/mod.rs"]
mod common;

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Raw, options, start, stop};
use weft_base::{ByteCount, Lane, ProducerId};
use weft_hub::Hub;
use weft_wire::block::BlockFields;
use weft_wire::frame::{self, AckLevel, Frame, Limit, OnFull};

/// Resident memory of this process, which is the hub's and the test's.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux says");
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    pages * 4_096
}

/// A `Publish` frame, of level none, with a block of 16 events.
fn bulk(topic: &str, payload: &[u8]) -> Vec<u8> {
    // Producer 0 is nobody in particular, so the same block may come again.
    let fields = BlockFields { lane: Lane::BULK, producer: ProducerId(0), ..BlockFields::new(topic) };
    let block = common::build(&fields, &[payload; 16]);
    [frame::publish_head(0, AckLevel::None, block.len()).as_slice(), &block].concat()
}

/// Writes whole frames as fast as the hub takes them; answers how many.
fn as_fast_as_possible(hub: &Hub, frame: &[u8], until: Instant) -> u64 {
    let mut raw = Raw::connect(hub, 0);
    let mut frames = 0;
    while Instant::now() < until {
        raw.socket.write_all(frame).expect("the hub reads");
        frames += 1;
    }
    raw.round_trip();
    frames
}

/// Offers a frame every `pause` and writes what the socket takes; answers how
/// many were offered and how many were written whole.
fn offer(socket: &mut TcpStream, frame: &[u8], pause: Duration, over: &AtomicBool) -> (u64, u64) {
    socket.set_nonblocking(true).expect("it can be");
    let (begun, mut offered, mut written) = (Instant::now(), 0u64, 0u64);
    let mut part = 0;
    while !over.load(Ordering::Relaxed) {
        let due = (begun.elapsed().as_nanos() / pause.as_nanos().max(1)) as u64;
        if due <= offered {
            std::thread::yield_now();
            continue;
        }
        offered += 1;
        // What the hub does not take is not written: that is how it is slowed down.
        match socket.write(&frame[part..]) {
            Ok(n) => part += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("the hub is gone: {error}"),
        }
        if part == frame.len() {
            (part, written) = (0, written + 1);
        }
    }
    socket.set_nonblocking(false).expect("it can be");
    if part > 0 {
        socket.write_all(&frame[part..]).expect("the hub reads");
        written += 1;
    }
    (offered, written)
}

#[test]
fn ten_times_too_much_costs_nobody_else_anything() {
    let seconds = std::env::var("WEFT_OVERLOAD_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(2);
    let budget = ByteCount::mib(64);
    let mut tight = options("hub", None);
    tight.limits.arena = budget;
    tight.limits.subscriber_bytes = ByteCount::mib(4);
    let hub = start(tight);
    let payload = [7u8; 1_000];

    // Two that take nothing: one grants everything and never reads, one has all publishers wait.
    let mut deaf = Raw::connect(&hub, 1);
    deaf.subscribe(1, "bulk/**");
    let mut slow = Raw::connect(&hub, 2);
    slow.subscribe_with(1, "careful/**", |s| (s.credit_events, s.on_full) = (100, OnFull::Wait));
    slow.receive();
    let mut careful = Raw::connect(&hub, 3);
    let careful_topic = "careful/x";
    let mut urgent_in = Raw::connect(&hub, 4);
    urgent_in.subscribe(1, "urgent/**");

    // What the hub can do, with all that it does for it on this machine.
    let frame = bulk("bulk/x", &payload);
    let begun = Instant::now();
    let frames = as_fast_as_possible(&hub, &frame, begun + Duration::from_millis(300));
    let capacity = frames as f64 / begun.elapsed().as_secs_f64();

    let before = resident();
    let (over, peak) = (AtomicBool::new(false), AtomicU64::new(before));
    let mut urgent = 0u64;
    let mut told = false;
    let figures = std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..2)
            .map(|_| {
                let (hub, over, frame) = (&hub, &over, &frame);
                let pause = Duration::from_secs_f64(1.0 / (capacity * 5.0));
                scope.spawn(move || {
                    let mut raw = Raw::connect(hub, 0);
                    let figures = offer(&mut raw.socket, frame, pause, over);
                    raw.round_trip();
                    figures
                })
            })
            .collect();
        // The careful publisher stays within its window and is told for whom it waits.
        let careful_thread = {
            let over = &over;
            let careful = &mut careful;
            scope.spawn(move || {
                let big = [1u8; 20_000];
                let (mut sent, mut answered, mut told) = (0u64, 0u64, false);
                while !over.load(Ordering::Relaxed) && !told {
                    if sent - answered < 200 {
                        careful.publish(sent, AckLevel::Routed, careful_topic, &[&big]);
                        sent += 1;
                    }
                    if sent - answered >= 200 || sent.is_multiple_of(50) {
                        match careful.receive().frame() {
                            Frame::Ack(_) | Frame::Error(_) => answered += 1,
                            Frame::WhyReport(why) => {
                                told = (why.limit, why.name, why.hub) == (Limit::Subscriber, "test", "hub");
                            }
                            other => panic!("neither: {other:?}"),
                        }
                    }
                }
                told
            })
        };
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut publisher = Raw::connect(&hub, 5);
        while Instant::now() < until {
            let block = common::build_in_lane("urgent/x", Lane::URGENT, urgent + 1, &[&urgent.to_le_bytes()]);
            publisher.publish_block(urgent, AckLevel::Routed, &block);
            loop {
                match publisher.receive().frame() {
                    Frame::Ack(ack) if ack.request == urgent => break,
                    Frame::Error(error) => panic!("the urgent lane is refused: {}", error.detail),
                    _ => {}
                }
            }
            assert_eq!(urgent_in.delivered(), [urgent.to_le_bytes()], "urgent events come, each and in order");
            urgent += 1;
            peak.fetch_max(resident(), Ordering::Relaxed);
        }
        over.store(true, Ordering::Relaxed);
        told |= careful_thread.join().expect("no panic");
        publishers.into_iter().map(|p| p.join().expect("no panic")).collect::<Vec<_>>()
    });
    let (offered, written) = figures.iter().fold((0, 0), |sum, f| (sum.0 + f.0, sum.1 + f.1));
    let grown = peak.load(Ordering::Relaxed).saturating_sub(before);
    println!(
        "capacity {capacity:.0} blocks/s; offered {offered}, taken {written} in {seconds} s; {urgent} urgent events \
         served; memory grew by {} KiB of a budget of {budget}",
        grown >> 10
    );
    assert!(offered > written * 2, "it was too much: {offered} offered, {written} taken");
    assert!(urgent >= 20, "the urgent lane is served: {urgent}");
    assert!(told, "the publisher that waits is told for whom");
    // The arena, and what stands around it: rings, queues, tables, this test.
    assert!(grown <= budget.0 + (32 << 20), "{} MiB of memory more", grown >> 20);

    // The deaf one lost most of it, which is counted; whoever comes now is served.
    let mut late = Raw::connect(&hub, 6);
    late.subscribe(1, "late");
    late.publish_acked(1, AckLevel::Routed, "late", &[b"x"]);
    assert_eq!(late.delivered(), [b"x".to_vec()]);
    let ledger = hub.counters().ledger();
    assert!(ledger.dropped_in_all() > 0, "the deaf one cannot have it all");
    drop((deaf, slow, careful));
    for _ in 0..2_000 {
        late.round_trip();
        if hub.counters().in_flight() == 0 && hub.counters().held_publishers.load(Ordering::Relaxed) == 0 {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let ledger = hub.counters().ledger();
    ledger.balance().expect("every copy is accounted for");
    assert_eq!(ledger.in_flight, 0, "nothing is left anywhere: {ledger:?}");
    assert!(ledger.published >= written * 16);
    stop(hub);
}
