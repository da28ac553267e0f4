//! Bad input costs a counted, closed session with a clear reason, or a refused
//! request; other sessions notice nothing.

use std::io::Write;

use crate::common::{Raw, build, options, start, stop};
use weft_base::SubscriptionId;
use weft_hub::Hub;
use weft_wire::block::{self, BlockFields, Stamp};
use weft_wire::frame::{self, AckLevel, ErrorCode, FRAME_HEADER, Frame};

/// Runs `f` beside a session that must not notice, and checks that it did not.
fn beside_a_healthy_session(f: impl FnOnce(&Hub)) {
    let hub = start(options("hub", None));
    let mut healthy = Raw::connect(&hub, 77);
    healthy.subscribe(1, "health");
    f(&hub);
    healthy.publish_acked(1, AckLevel::None.max(AckLevel::Routed), "other", &[b"still here"]);
    let mut publisher = Raw::connect(&hub, 78);
    publisher.publish_acked(1, AckLevel::Routed, "health", &[b"fine"]);
    assert_eq!(healthy.delivered(), [b"fine".to_vec()]);
    stop(hub);
}

fn closes(bytes: &[u8], after_hello: bool) -> (ErrorCode, String) {
    let mut why = None;
    beside_a_healthy_session(|hub| {
        let mut bad = if after_hello { Raw::connect(hub, 1) } else { Raw::dial(hub) };
        bad.socket.write_all(bytes).expect("the hub reads");
        why = Some(bad.closed_because());
        assert_eq!(hub.counters().violations.load(std::sync::atomic::Ordering::Relaxed), 1);
    });
    why.expect("the session was closed")
}

#[test]
fn garbage_is_refused() {
    for after_hello in [false, true] {
        let (code, detail) = closes(b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n", after_hello);
        assert_ne!(code, ErrorCode::NONE);
        assert!(!detail.is_empty());
    }
}

#[test]
fn a_frame_above_the_limit_is_refused_from_its_head_alone() {
    let head = frame::publish_head(1, AckLevel::Routed, 512 << 20);
    let (_, detail) = closes(&head, true);
    assert!(detail.contains("length"), "{detail}");
}

#[test]
fn a_length_that_lies_is_refused() {
    let mut head = frame::publish_head(1, AckLevel::Routed, 0);
    head[0] = 7;
    closes(&head, true);
}

#[test]
fn the_first_frame_must_be_a_hello() {
    let mut bytes = Vec::new();
    frame::encode(&Frame::Ping(frame::Ping { id: 1, time: 1 }), &mut bytes);
    let (code, _) = closes(&bytes, false);
    assert_eq!(code, ErrorCode::UNEXPECTED);
}

#[test]
fn a_version_that_nobody_speaks_is_refused_with_both_ranges() {
    beside_a_healthy_session(|hub| {
        let mut old = Raw::dial(hub);
        old.hello(900, 901);
        let (code, detail) = old.closed_because();
        assert_eq!(code, ErrorCode::VERSION);
        assert!(detail.contains("900") && detail.contains('1'), "{detail}");
    });
}

#[test]
fn a_frame_that_only_hubs_send_is_refused_from_a_client() {
    let mut bytes = Vec::new();
    frame::encode(&Frame::Digest(frame::Digest { entries: Vec::new() }), &mut bytes);
    let (code, _) = closes(&bytes, true);
    assert_eq!(code, ErrorCode::UNEXPECTED);
}

#[test]
fn a_block_with_a_flipped_bit_is_refused_with_the_clause() {
    let mut block = build(&BlockFields::new("t"), &[b"payload"]);
    let last = block.len() - 8;
    block[last] ^= 1;
    let mut bytes = frame::publish_head(1, AckLevel::Routed, block.len()).to_vec();
    bytes.extend_from_slice(&block);
    let (_, detail) = closes(&bytes, true);
    assert!(!detail.is_empty());
}

#[test]
fn a_block_that_claims_to_be_stamped_is_refused() {
    let mut block = build(&BlockFields::new("t"), &[b"payload"]);
    let forged = Stamp {
        origin: weft_base::HubId(9),
        epoch: weft_base::Epoch(1),
        block: 1,
        sequence: 1,
        ingested: weft_base::UnixNanos(1),
    };
    block::stamp(&mut block, &forged).expect("it is a block");
    let mut bytes = frame::publish_head(1, AckLevel::Routed, block.len()).to_vec();
    bytes.extend_from_slice(&block);
    let (_, detail) = closes(&bytes, true);
    assert!(detail.contains("hub's line"), "{detail}");
}

#[test]
fn requests_that_cannot_be_are_refused_and_the_session_goes_on() {
    beside_a_healthy_session(|hub| {
        let mut client = Raw::connect(hub, 5);
        let refused = |client: &mut Raw, request: u64, code: ErrorCode| match client.receive().frame() {
            Frame::Error(error) => {
                assert_eq!((error.request, error.code), (request, code), "{}", error.detail);
                assert!(!error.detail.is_empty());
            }
            other => panic!("not an error: {other:?}"),
        };
        client.publish(1, AckLevel::Routed, "a/*/b", &[b"x"]);
        refused(&mut client, 1, ErrorCode::BAD_TOPIC);
        client.publish(2, AckLevel::Routed, "a//b", &[b"x"]);
        refused(&mut client, 2, ErrorCode::BAD_TOPIC);
        client.publish(3, AckLevel::Synced, "t", &[b"x"]);
        refused(&mut client, 3, ErrorCode::NO_STREAM);
        client.subscribe_with(4, "a//b", |_| {});
        refused(&mut client, 4, ErrorCode::BAD_FILTER);
        client.subscribe_with(5, "a", |s| s.stream = "nowhere");
        refused(&mut client, 5, ErrorCode::NO_STREAM);
        client.subscribe_with(6, "a", |s| (s.group, s.stream) = ("workers", "all"));
        refused(&mut client, 6, ErrorCode::UNSUPPORTED);
        client.subscribe(7, "a");
        client.subscribe_with(7, "b", |_| {});
        refused(&mut client, 7, ErrorCode::IN_USE);
        client.send(&Frame::Unsubscribe(frame::Unsubscribe { id: SubscriptionId(99) }));
        refused(&mut client, 99, ErrorCode::NO_SUBSCRIPTION);
        let past = BlockFields { deadline: weft_base::UnixNanos(1), ..BlockFields::new("t") };
        client.publish_block(8, AckLevel::Routed, &build(&past, &[b"late"]));
        refused(&mut client, 8, ErrorCode::EXPIRED);
        client.publish_acked(9, AckLevel::Routed, "a", &[b"fine"]);
        assert_eq!(client.receive().frame().kind(), frame::Kind::Deliver);
    });
}

#[test]
fn half_a_frame_and_then_silence_costs_nothing() {
    beside_a_healthy_session(|hub| {
        let mut slow = Raw::connect(hub, 1);
        let block = slow.block("t", &[b"x"]);
        let head = frame::publish_head(1, AckLevel::Routed, block.len());
        slow.socket.write_all(&head[..FRAME_HEADER - 3]).expect("the hub reads");
        slow.socket.write_all(&head[FRAME_HEADER - 3..]).expect("the hub reads");
        for byte in &block {
            slow.socket.write_all(&[*byte]).expect("the hub reads");
        }
        assert!(matches!(slow.receive().frame(), Frame::Ack(_)));
    });
}

#[test]
fn a_publisher_that_ignores_its_window_is_closed() {
    let mut small = options("hub", None);
    small.limits.publish_blocks = 2;
    small.data = None;
    let hub = start(small);
    let mut greedy = Raw::connect(&hub, 1);
    let mut bytes = Vec::new();
    for request in 0..500 {
        let block = greedy.block("t", &[b"x"]);
        bytes.extend_from_slice(&frame::publish_head(request, AckLevel::Routed, block.len()));
        bytes.extend_from_slice(&block);
    }
    greedy.socket.write_all(&bytes).expect("the hub reads");
    let (code, detail) = greedy.closed_because();
    assert_eq!(code, ErrorCode::WINDOW, "{detail}");
    stop(hub);
}
