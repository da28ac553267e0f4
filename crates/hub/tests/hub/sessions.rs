//! What clients of one hub see: deliveries, credit, drops, ends.

use crate::common::{Raw, options, payloads, start, stop};
use weft_base::SubscriptionId;
use weft_hub::options::Threads;
use weft_wire::frame::{AckLevel, Credit, ErrorCode, Frame, Limit, OnFull, Unsubscribe, Why};

#[test]
fn what_is_published_reaches_who_asked_for_it_as_the_same_bytes() {
    for threads in [Threads::Auto, Threads::Shared, Threads::Dedicated] {
        let mut wanted = options("hub", None);
        wanted.threads = threads;
        let hub = start(wanted);
        let mut near = Raw::connect(&hub, 1);
        let mut all = Raw::connect(&hub, 2);
        near.subscribe(1, "flights/*/JFK");
        all.subscribe(9, "**");
        let mut publisher = Raw::connect(&hub, 3);
        let block = publisher.block("flights/departed/JFK", &[b"one", b"two"]);
        publisher.publish_block(5, AckLevel::Routed, &block);
        publisher.publish(6, AckLevel::Routed, "flights/departed/LGA", &[b"three"]);
        for request in [5, 6] {
            let ack = publisher.receive();
            assert!(matches!(ack.frame(), Frame::Ack(a) if a.request == request && a.level == AckLevel::Routed));
        }
        let received = near.receive();
        let Frame::Deliver(deliver) = received.frame() else { panic!("not a delivery") };
        assert_eq!(deliver.id, SubscriptionId(1));
        assert_eq!(deliver.block[..64], block[..64], "the producer's line is untouched");
        assert_eq!(deliver.block[128..], block[128..], "so are topic and events");
        assert_eq!(payloads(deliver.block), [b"one".to_vec(), b"two".to_vec()]);
        assert_eq!(all.delivered(), [b"one".to_vec(), b"two".to_vec()]);
        assert_eq!(all.delivered(), [b"three".to_vec()]);
        near.round_trip();
        let ledger = hub.counters().ledger();
        ledger.balance().expect("every copy is accounted for");
        assert_eq!((ledger.published, ledger.delivered), (3, 5));
        stop(hub);
    }
}

#[test]
fn the_stages_are_among_the_counters() {
    let mut wanted = options("hub", None);
    wanted.stages.interval = std::time::Duration::from_millis(10);
    let hub = start(wanted);
    let mut publisher = Raw::connect(&hub, 1);
    // Each interval says what happened in it: until one is seen in which something did.
    let find = |name: &str| hub.counters().list().into_iter().find(|(known, _)| known == name).map(|(_, value)| value);
    let mut request = 0;
    while find("stage.route.service_ns").is_none_or(|ns| ns == 0) {
        request += 1;
        publisher.publish(request, AckLevel::Routed, "t", &[b"x"]);
        publisher.receive();
    }
    for stage in ["net", "route", "append", "conductor", "sync"] {
        for what in ["depth", "wait_us", "service_ns", "batch", "busy_permille", "shards", "own_thread"] {
            assert!(find(&format!("stage.{stage}.{what}")).is_some(), "{stage}.{what}");
        }
    }
    assert_eq!((find("stage.net.own_thread"), find("stage.sync.own_thread")), (Some(0), Some(1)));
    stop(hub);
}

#[test]
fn a_subscriber_gets_no_more_than_its_credit() {
    let hub = start(options("hub", None));
    let mut subscriber = Raw::connect(&hub, 1);
    subscriber.subscribe_with(1, "t", |s| s.credit_events = 2);
    subscriber.receive();
    let mut publisher = Raw::connect(&hub, 2);
    for n in 0..5u8 {
        publisher.publish_acked(u64::from(n), AckLevel::Routed, "t", &[&[n]]);
    }
    assert_eq!(subscriber.delivered(), [[0]]);
    assert_eq!(subscriber.delivered(), [[1]]);
    // Nothing more is on its way: the answer to a ping comes next.
    subscriber.send(&Frame::Ping(weft_wire::frame::Ping { id: 1, time: 2 }));
    assert!(matches!(subscriber.receive().frame(), Frame::Pong(_)));
    subscriber.send(&Frame::Credit(Credit { id: SubscriptionId(1), events: 2, bytes: 0 }));
    assert_eq!(subscriber.delivered(), [[2]]);
    assert_eq!(subscriber.delivered(), [[3]]);
    stop(hub);
}

#[test]
fn a_full_subscriber_loses_what_its_policy_says_and_is_told_how_much() {
    for (on_full, kept, place) in [(OnFull::DropOldest, [7u8, 8, 9], 0), (OnFull::DropNewest, [0, 1, 2], 3)] {
        let mut small = options("hub", None);
        small.limits.subscriber_events = 3;
        let hub = start(small);
        let mut subscriber = Raw::connect(&hub, 1);
        subscriber.subscribe_with(1, "t", |s| (s.credit_events, s.on_full) = (0, on_full));
        subscriber.receive();
        let mut publisher = Raw::connect(&hub, 2);
        for n in 0..10u8 {
            publisher.publish_acked(u64::from(n), AckLevel::Routed, "t", &[&[n]]);
        }
        publisher.round_trip();
        subscriber.send(&Frame::Credit(Credit { id: SubscriptionId(1), events: 10, bytes: 0 }));
        let mut seen = Vec::new();
        let mut gap_at = None;
        while seen.len() < 3 || gap_at.is_none() {
            let received = subscriber.receive();
            match received.frame() {
                Frame::Gap(gap) => {
                    assert_eq!((gap.id.0, gap.events), (1, 7));
                    gap_at = Some(seen.len());
                }
                Frame::Deliver(deliver) => seen.extend(payloads(deliver.block).concat()),
                other => panic!("neither: {other:?}"),
            }
        }
        assert_eq!(seen, kept);
        assert_eq!(gap_at, Some(place), "the mark stands where the events are missing");
        subscriber.round_trip();
        hub.counters().ledger().balance().expect("every copy is accounted for");
        stop(hub);
    }
}

#[test]
fn a_gap_mark_stands_where_the_events_are_missing() {
    let mut small = options("hub", None);
    small.limits.subscriber_events = 1;
    let hub = start(small);
    let mut subscriber = Raw::connect(&hub, 1);
    subscriber.subscribe_with(1, "t", |s| (s.credit_events, s.on_full) = (0, OnFull::DropNewest));
    subscriber.receive();
    let mut publisher = Raw::connect(&hub, 2);
    // The first waits for credit, the second finds the queue full.
    publisher.publish_acked(0, AckLevel::Routed, "t", &[&[0]]);
    publisher.publish_acked(1, AckLevel::Routed, "t", &[&[1]]);
    publisher.round_trip();
    subscriber.send(&Frame::Credit(Credit { id: SubscriptionId(1), events: 9, bytes: 0 }));
    assert_eq!(subscriber.delivered(), [[0]], "it was published before the gap");
    assert!(matches!(subscriber.receive().frame(), Frame::Gap(gap) if gap.events == 1));
    publisher.publish_acked(2, AckLevel::Routed, "t", &[&[2]]);
    assert_eq!(subscriber.delivered(), [[2]], "told once");
    stop(hub);
}

#[test]
fn a_full_subscriber_that_asked_for_it_is_disconnected_with_the_reason() {
    let mut small = options("hub", None);
    small.limits.subscriber_events = 1;
    let hub = start(small);
    let mut subscriber = Raw::connect(&hub, 1);
    subscriber.subscribe_with(1, "t", |s| (s.credit_events, s.on_full) = (0, OnFull::Disconnect));
    subscriber.receive();
    let mut publisher = Raw::connect(&hub, 2);
    for n in 0..3u8 {
        publisher.publish_acked(u64::from(n), AckLevel::Routed, "t", &[&[n]]);
    }
    let (code, _) = subscriber.closed_because();
    assert_eq!(code, ErrorCode::TOO_SLOW);
    stop(hub);
}

#[test]
fn memory_that_is_used_up_refuses_publishes_and_comes_back_with_credit() {
    let mut small = options("hub", None);
    small.limits.frame = weft_base::ByteCount::kib(64);
    small.limits.arena = weft_base::ByteCount::mib(4);
    small.limits.subscriber_bytes = weft_base::ByteCount::mib(512);
    let hub = start(small);
    let mut subscriber = Raw::connect(&hub, 1);
    // One that publishers wait for: of others what is behind is dropped while memory is short.
    subscriber.subscribe_with(1, "t", |s| (s.credit_events, s.on_full) = (0, OnFull::Wait));
    subscriber.receive();
    let mut publisher = Raw::connect(&hub, 2);
    let big = vec![7u8; 40 << 10];
    let mut taken = 0u64;
    loop {
        publisher.publish(taken, AckLevel::Routed, "t", &[&big]);
        match publisher.receive().frame() {
            Frame::Ack(_) => taken += 1,
            Frame::Error(error) => {
                assert_eq!(error.code, ErrorCode::OVERLOADED, "{}", error.detail);
                assert!(error.retry_after_ms > 0 && error.detail.contains("limits.arena"));
                publisher.send(&Frame::Why(Why { request: 1 }));
                assert!(matches!(publisher.receive().frame(), Frame::WhyReport(why) if why.limit == Limit::Memory));
                break;
            }
            other => panic!("neither: {other:?}"),
        }
        assert!(taken < 10_000, "the memory never ran out");
    }
    // Credit is still read, and sets the memory free.
    subscriber.send(&Frame::Credit(Credit { id: SubscriptionId(1), events: u64::MAX, bytes: u64::MAX }));
    for _ in 0..taken {
        assert_eq!(subscriber.delivered(), std::slice::from_ref(&big));
    }
    subscriber.round_trip();
    publisher.publish_acked(20_000, AckLevel::Routed, "t", &[&big]);
    hub.counters().ledger().balance().expect("every copy is accounted for");
    stop(hub);
}

#[test]
fn after_an_unsubscribe_nothing_comes() {
    let hub = start(options("hub", None));
    let mut subscriber = Raw::connect(&hub, 1);
    subscriber.subscribe(1, "t");
    subscriber.send(&Frame::Unsubscribe(Unsubscribe { id: SubscriptionId(1) }));
    assert!(matches!(subscriber.receive().frame(), Frame::Unsubscribed(_)));
    let mut publisher = Raw::connect(&hub, 2);
    publisher.publish_acked(1, AckLevel::Routed, "t", &[b"x"]);
    publisher.round_trip();
    subscriber.send(&Frame::Ping(weft_wire::frame::Ping { id: 1, time: 2 }));
    assert!(matches!(subscriber.receive().frame(), Frame::Pong(_)));
    hub.counters().ledger().balance().expect("every copy is accounted for");
    stop(hub);
}

#[test]
fn a_block_that_comes_again_is_acknowledged_and_not_delivered_again() {
    let hub = start(options("hub", None));
    let mut subscriber = Raw::connect(&hub, 1);
    subscriber.subscribe(1, "t");
    let mut publisher = Raw::connect(&hub, 42);
    let block = publisher.block("t", &[b"once"]);
    publisher.publish_block(1, AckLevel::Routed, &block);
    publisher.receive();
    drop(publisher);
    // The same producer, after a reconnection.
    let mut again = Raw::connect(&hub, 42);
    again.publish_block(1, AckLevel::Routed, &block);
    assert!(matches!(again.receive().frame(), Frame::Ack(a) if a.duplicate));
    again.round_trip();
    assert_eq!(subscriber.delivered(), [b"once".to_vec()]);
    subscriber.send(&Frame::Ping(weft_wire::frame::Ping { id: 1, time: 2 }));
    assert!(matches!(subscriber.receive().frame(), Frame::Pong(_)));
    stop(hub);
}

#[test]
fn a_drained_hub_says_goodbye_after_its_last_answer() {
    let hub = start(options("hub", None));
    let mut client = Raw::connect(&hub, 1);
    client.publish_acked(1, AckLevel::Routed, "t", &[b"x"]);
    hub.drain();
    let (code, _) = client.closed_because();
    assert_eq!(code, ErrorCode::SHUTDOWN);
    hub.wait_drained();
    hub.stop().expect("no stage failed");
}
