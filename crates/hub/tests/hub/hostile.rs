//! Peers that lie, stall or say nothing: others keep their service, memory
//! stays bounded, each refusal is explained and counted.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::{Raw, options, payloads, start, stop};
use weft_base::{ByteCount, Random, SubscriptionId, UnixNanos};
use weft_hub::Hub;
use weft_wire::block::BlockFields;
use weft_wire::frame::{self, AckLevel, Credit, ErrorCode, FRAME_HEADER, Frame};

/// Somebody else's traffic, which must go on whatever happens.
struct Others {
    subscriber: Raw,
    publisher: Raw,
    next: u64,
}

impl Others {
    fn new(hub: &Hub) -> Self {
        let mut subscriber = Raw::connect(hub, 101);
        subscriber.subscribe(1, "others");
        Self { subscriber, publisher: Raw::connect(hub, 102), next: 0 }
    }

    fn are_served(&mut self) {
        let payload = self.next.to_le_bytes();
        self.publisher.publish_acked(self.next, AckLevel::Routed, "others", &[&payload]);
        assert_eq!(self.subscriber.delivered(), [payload]);
        self.next += 1;
    }
}

fn balanced(hub: &Hub) {
    hub.counters().ledger().balance().expect("every copy is accounted for");
}

#[test]
fn a_lane_out_of_range_is_refused_with_its_rule() {
    let hub = start(options("hub", None));
    let mut others = Others::new(&hub);
    for lane in [8u8, 9, 128, 255] {
        let mut peer = Raw::connect(&hub, 1);
        let mut block = peer.block("t", &[b"x"]);
        let at = block_lane(&block);
        block[at] = lane;
        peer.publish_block(1, AckLevel::Routed, &block);
        let (code, detail) = peer.closed_because();
        assert_eq!(code.name(), Some("bad_block"));
        assert!(detail.contains("lane"), "{detail}");
        others.are_served();
    }
    assert_eq!(hub.counters().violations.load(Ordering::Relaxed), 4);
    balanced(&hub);
    stop(hub);
}

/// Where the lane stands in a block: the one byte in which these two differ outside of the checksum.
fn block_lane(block: &[u8]) -> usize {
    let other = crate::common::build_in_lane("t", weft_base::Lane::BULK, 1, &[b"x"]);
    let own = crate::common::build_in_lane("t", weft_base::Lane::URGENT, 1, &[b"x"]);
    let at = own.iter().zip(&other).position(|(a, b)| a != b).expect("they differ");
    assert!(at < block.len());
    at
}

#[test]
fn deadlines_in_the_past_are_refused_and_those_in_the_far_future_are_kept() {
    let hub = start(options("hub", None));
    let mut subscriber = Raw::connect(&hub, 1);
    subscriber.subscribe(1, "t");
    let mut publisher = Raw::connect(&hub, 0);
    for (request, deadline) in [(1, 1), (2, 1_000_000_000)] {
        let block =
            crate::common::build(&BlockFields { deadline: UnixNanos(deadline), ..BlockFields::new("t") }, &[b"late"]);
        publisher.publish_block(request, AckLevel::Routed, &block);
        assert!(
            matches!(publisher.receive().frame(), Frame::Error(e) if e.code == ErrorCode::EXPIRED && e.request == request)
        );
    }
    let block =
        crate::common::build(&BlockFields { deadline: UnixNanos(u64::MAX), ..BlockFields::new("t") }, &[b"ever"]);
    publisher.publish_block(3, AckLevel::Routed, &block);
    assert!(matches!(publisher.receive().frame(), Frame::Ack(_)));
    assert_eq!(subscriber.delivered(), [b"ever".to_vec()]);
    subscriber.round_trip();
    balanced(&hub);
    stop(hub);
}

#[test]
fn a_subscriber_that_never_reads_costs_its_own_bounds_and_nothing_else() {
    let mut small = options("hub", None);
    small.limits.arena = ByteCount::mib(32);
    small.limits.subscriber_bytes = ByteCount::mib(2);
    let hub = start(small);
    let mut deaf = Raw::connect(&hub, 1);
    deaf.subscribe(1, "t");
    let mut others = Others::new(&hub);
    let mut publisher = Raw::connect(&hub, 2);
    let payload = vec![7u8; 60_000];
    // Many times what the sockets, the queue and the arena hold together.
    for n in 0..2_000u64 {
        publisher.publish_acked(n, AckLevel::Routed, "t", &[&payload]);
        if n % 100 == 0 {
            others.are_served();
        }
    }
    let dropped = hub.counters().ledger().dropped_in_all();
    assert!(dropped > 1_000, "what it does not read is dropped and counted: {dropped}");
    others.subscriber.round_trip();
    balanced(&hub);
    drop(deaf);
    others.are_served();
    stop(hub);
}

/// Finding A8: a session that was told goodbye and read nothing stayed for
/// ever, and what it went on to send was read, and kept.
#[test]
fn a_session_that_does_not_take_its_goodbye_is_ended_and_is_not_read_meanwhile() {
    let mut soon = options("hub", None);
    soon.timers.drain = Duration::from_millis(300);
    let hub = start(soon);
    let mut others = Others::new(&hub);
    let mut deaf = Raw::connect(&hub, 1);
    deaf.subscribe(1, "t");
    let mut publisher = Raw::connect(&hub, 2);
    let payload = vec![7u8; 60_000];
    // More than its socket takes.
    for n in 0..200u64 {
        publisher.publish_acked(n, AckLevel::Routed, "t", &[&payload]);
    }
    assert_eq!(hub.counters().clients.load(Ordering::Relaxed), 4);
    deaf.socket.write_all(b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n").expect("the hub reads");
    // It says more for as long as anybody takes it.
    let mut socket = deaf.socket.try_clone().expect("a socket");
    let talker = std::thread::spawn(move || while socket.write_all(&[0; 65_536]).is_ok() {});
    talker.join().expect("it was let go");
    others.subscriber.round_trip();
    assert_eq!(hub.counters().clients.load(Ordering::Relaxed), 3);
    balanced(&hub);
    others.are_served();
    stop(hub);
}

#[test]
fn a_subscriber_that_reads_a_byte_at_a_time_gets_everything_in_order() {
    let hub = start(options("hub", None));
    let mut peer = Raw::connect(&hub, 1);
    peer.subscribe(1, "t");
    let mut publisher = Raw::connect(&hub, 2);
    for n in 0..100u8 {
        publisher.publish_acked(u64::from(n), AckLevel::Routed, "t", &[&[n; 50]]);
    }
    let mut byte = [0];
    let mut next_byte = || {
        peer.socket.read_exact(&mut byte).expect("it comes");
        byte[0]
    };
    for n in 0..100u8 {
        let head: Vec<u8> = (0..FRAME_HEADER).map(|_| next_byte()).collect();
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let mut words = vec![0u64; (len - FRAME_HEADER) / 8];
        let block: &mut [u8] = zerocopy::IntoBytes::as_mut_bytes(words.as_mut_slice());
        block.iter_mut().for_each(|place| *place = next_byte());
        assert_eq!(payloads(block), [[n; 50]]);
    }
    stop(hub);
}

#[test]
fn a_publisher_that_writes_a_byte_at_a_time_is_heard() {
    let hub = start(options("hub", None));
    let mut others = Others::new(&hub);
    let mut peer = Raw::connect(&hub, 1);
    let block = peer.block("t", &[b"slowly"]);
    for byte in frame::publish_head(1, AckLevel::Routed, block.len()).into_iter().chain(block) {
        peer.socket.write_all(&[byte]).expect("the hub reads");
    }
    assert!(matches!(peer.receive().frame(), Frame::Ack(_)));
    others.are_served();
    stop(hub);
}

#[test]
fn connections_that_say_nothing_are_closed_in_time_and_hold_up_nobody() {
    // The full run takes two descriptors each: `ulimit -n 30000; WEFT_SILENT_CONNECTIONS=10000 cargo test ...`.
    let count = std::env::var("WEFT_SILENT_CONNECTIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let mut patient = options("hub", None);
    patient.limits.sessions = count + 10;
    patient.timers.hello = Duration::from_secs(2);
    let hub = start(patient);
    let mut others = Others::new(&hub);
    let silent: Vec<TcpStream> = (0..count)
        .map(|n| {
            if n % 50 == 0 {
                others.are_served();
            }
            TcpStream::connect(&hub.client_addresses()[0]).expect("the hub takes it")
        })
        .collect();
    others.are_served();
    for mut socket in silent {
        // The hub ends it; what the test waits for is that, not a time.
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest);
    }
    others.are_served();
    assert_eq!(hub.counters().failed_handshakes.load(Ordering::Relaxed), count as u64, "each is counted");
    balanced(&hub);
    stop(hub);
}

#[test]
fn more_connections_than_sessions_are_closed_and_counted() {
    let mut few = options("hub", None);
    few.limits.sessions = 4;
    let hub = start(few);
    let mut others = Others::new(&hub);
    let mut second = Others::new(&hub);
    for n in 1..=20u64 {
        let mut one_too_many = TcpStream::connect(&hub.client_addresses()[0]).expect("the system takes it");
        let mut rest = Vec::new();
        let _ = one_too_many.read_to_end(&mut rest);
        others.are_served();
        second.are_served();
        assert_eq!(hub.counters().failed_handshakes.load(Ordering::Relaxed), n);
    }
    stop(hub);
}

#[test]
fn a_number_used_again_while_events_are_on_their_way_harms_nobody() {
    let mut small = options("hub", None);
    small.limits.subscriber_events = 16;
    let hub = start(small);
    let mut others = Others::new(&hub);
    let mut peer = Raw::connect(&hub, 1);
    let mut publisher = Raw::connect(&hub, 2);
    for round in 0..200u64 {
        peer.subscribe_with(1, "t", |s| (s.credit_events, s.on_full) = (1_000, frame::OnFull::Wait));
        publisher.publish(round, AckLevel::None, "t", &[b"x", b"y"]);
        peer.send(&Frame::Unsubscribe(frame::Unsubscribe { id: SubscriptionId(1) }));
    }
    peer.round_trip();
    publisher.round_trip();
    others.are_served();
    balanced(&hub);
    stop(hub);
}

#[test]
fn mutated_frames_about_credit_never_harm_anybody_else() {
    let hub = start(options("hub", None));
    let mut others = Others::new(&hub);
    let mut random = Random::from_seed(41);
    for round in 0..150 {
        let mut peer = Raw::connect(&hub, 1);
        peer.subscribe_with(1, "others", |s| s.credit_events = random.next_u64());
        let mut bytes = Vec::new();
        let credit =
            Credit { id: SubscriptionId(random.below(3)), events: random.next_u64(), bytes: random.next_u64() };
        frame::encode(&Frame::Credit(credit), &mut bytes);
        frame::encode(&Frame::Why(frame::Why { request: random.next_u64() }), &mut bytes);
        for _ in 0..random.below(4) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.next_u64() as u8;
        }
        // The hub may have closed by now.
        let _ = peer.socket.write_all(&bytes);
        if round % 10 == 0 {
            others.are_served();
        }
    }
    others.are_served();
    others.subscriber.round_trip();
    // Frames that only hubs send end a client's session, with the reason.
    for frame in [
        Frame::LinkCredit(frame::LinkCredit { lane: weft_base::Lane::URGENT, limit: u64::MAX }),
        Frame::Pressure(frame::Pressure {
            hub: weft_base::HubId(1),
            epoch: weft_base::Epoch(1),
            gate: 1,
            version: 1,
            state: frame::GateState::Closed,
            behind_ms: u64::MAX,
            filter: "**",
            subscriber: "nobody",
            name: "nowhere",
        }),
    ] {
        let mut peer = Raw::connect(&hub, 1);
        peer.send(&frame);
        assert_eq!(peer.closed_because().0, ErrorCode::UNEXPECTED);
    }
    others.are_served();
    stop(hub);
}
