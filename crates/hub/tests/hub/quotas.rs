//! What tenants and identities use at a hub, and what becomes of what is beyond it.

use std::sync::Arc;

use crate::common::judge::{Court, everything};
use crate::common::{Raw, options, stop};
use weft_govern::{Key, Kind};
use weft_wire::frame::{AckLevel, ErrorCode, Frame, StreamSpec};

/// A hub whose client `test` may do everything, with this quota.
fn court(options: weft_hub::HubOptions, quota: &str) -> Court {
    let court = Court::start(options, &[("all", everything("*"))]);
    change(&court, quota);
    court
}

/// Gives `test` another quota, and waits until it counts.
fn change(court: &Court, quota: &str) {
    let before = court.governed.state();
    let key = Key::new(Kind::Identity, "test").expect("a name");
    let state = before.with([(key, format!(r#"{{"quota":{quota}}}"#).into())], &[]);
    let version = state.version();
    assert!(court.governed.put(Arc::new(state)));
    let mut other = Raw::connect_as(&court.hub, 9, "other");
    while court.count("govern.version") < version {
        other.round_trip();
    }
    // The net stage looks once a turn.
    other.round_trip();
    other.round_trip();
}

fn answer(client: &mut Raw) -> Result<u64, (ErrorCode, u32, String)> {
    let received = client.receive();
    match received.frame() {
        Frame::Ack(ack) => Ok(ack.request),
        Frame::Subscribed(subscribed) => Ok(subscribed.id.0),
        Frame::Error(error) => Err((error.code, error.retry_after_ms, error.detail.to_owned())),
        other => panic!("not an answer: {other:?}"),
    }
}

#[test]
fn publishes_beyond_a_rate_wait_in_order_then_are_refused_or_counted_and_others_are_untouched() {
    let court = court(options("hub", None), r#"{"publish_events":20}"#);
    let mut client = Raw::connect(&court.hub, 1);
    let mut other = Raw::connect_as(&court.hub, 2, "other");
    other.subscribe(1, "t/a");
    // A second's worth at once, another second's worth waits.
    for request in 1..=30 {
        client.publish(request, AckLevel::Routed, "t/a", &[b"x"]);
    }
    for request in 1..=30 {
        assert_eq!(answer(&mut client), Ok(request));
    }
    assert!(court.count("govern.quota_waits") >= 5, "what was beyond has waited");
    let lane = weft_base::Lane::DEFAULT.index();
    assert_eq!(court.count(&format!("publish.stalls.quota.{lane}")), court.count("govern.quota_waits"));
    assert!(court.count(&format!("publish.stalled_ns.quota.{lane}")) > 0);
    // A block of many is let in whole, and what follows pays for it.
    let many: Vec<&[u8]> = vec![b"x"; 200];
    client.publish(31, AckLevel::Routed, "t/a", &many);
    assert_eq!(answer(&mut client), Ok(31));
    client.publish(32, AckLevel::Routed, "t/a", &[b"x"]);
    let (code, retry_after_ms, detail) = answer(&mut client).expect_err("beyond");
    assert_eq!(code, ErrorCode::OVER_QUOTA);
    assert!(retry_after_ms > 1_000 && retry_after_ms < 20_000, "{retry_after_ms}");
    assert!(detail.contains("more than its quota"), "{detail}");
    client.publish(0, AckLevel::None, "t/a", &[b"x", b"y"]);
    client.round_trip();
    assert_eq!(court.count("ledger.dropped.over_quota"), 2);
    for request in 1..100 {
        other.publish(request, AckLevel::Routed, "t/b", &[b"x"]);
        while answer_or_delivery(&mut other) != Some(request) {}
    }
    while court.hub.counters().in_flight() > 0 {
        other.round_trip();
    }
    court.hub.counters().ledger().balance().expect("it balances");
    // Without the quota it goes on at once.
    change(&court, "{}");
    client.publish(33, AckLevel::Routed, "t/a", &[b"x"]);
    assert_eq!(answer(&mut client), Ok(33));
    stop(court.hub);
}

/// The request that was acknowledged; nothing of a delivery.
fn answer_or_delivery(client: &mut Raw) -> Option<u64> {
    match client.receive().frame() {
        Frame::Ack(ack) => Some(ack.request),
        _ => None,
    }
}

#[test]
fn connections_and_subscriptions_are_counted_and_given_back() {
    let court = court(options("hub", None), r#"{"connections":2,"subscriptions":3}"#);
    let mut first = Raw::connect(&court.hub, 1);
    let mut second = Raw::connect(&court.hub, 2);
    let mut third = Raw::dial(&court.hub);
    third.hello(1, 1);
    let (code, detail) = third.closed_because();
    assert_eq!(code, ErrorCode::OVER_QUOTA);
    assert!(detail.contains("identity `test` has 2 connections"), "{detail}");
    drop(Raw::connect_as(&court.hub, 3, "other"));
    first.subscribe(1, "t/a");
    first.subscribe(2, "t/b");
    second.subscribe(1, "t/a");
    second.subscribe_with(2, "t/c", |_| {});
    assert_eq!(answer(&mut second).expect_err("beyond").0, ErrorCode::OVER_QUOTA);
    first.send(&Frame::Unsubscribe(weft_wire::frame::Unsubscribe { id: weft_base::SubscriptionId(1) }));
    first.round_trip();
    second.subscribe(2, "t/c");
    drop(first);
    let mut other = Raw::connect_as(&court.hub, 4, "other");
    while court.count("clients") > 2 {
        other.round_trip();
    }
    let mut again = Raw::connect(&court.hub, 1);
    again.subscribe(1, "t/d");
    stop(court.hub);
}

#[test]
fn deliveries_beyond_a_rate_are_dropped_counted_and_told() {
    let court = court(options("hub", None), r#"{"deliver_events":10}"#);
    let mut subscriber = Raw::connect(&court.hub, 1);
    subscriber.subscribe(1, "t/*");
    let mut other = Raw::connect_as(&court.hub, 2, "other");
    other.subscribe(1, "t/*");
    let many: Vec<&[u8]> = vec![b"x"; 50];
    for request in 1..=3 {
        other.publish(request, AckLevel::Routed, "t/a", &many);
    }
    // The first is let in whole; what is missing is told, with the next event at the latest.
    let (mut came, mut missing) = (0, 0);
    while came < 50 || missing < 100 {
        other.publish(0, AckLevel::None, "t/a", &[b"x"]);
        subscriber.send(&Frame::Ping(weft_wire::frame::Ping { id: 1, time: 0 }));
        loop {
            match subscriber.receive().frame() {
                Frame::Deliver(deliver) => came += crate::common::payloads(deliver.block).len(),
                Frame::Gap(gap) => missing += gap.events,
                Frame::Pong(_) => break,
                other => panic!("neither a delivery nor a gap: {other:?}"),
            }
        }
    }
    while court.count("ledger.dropped.over_quota") < 100 {
        other.send(&Frame::Ping(weft_wire::frame::Ping { id: 1, time: 0 }));
        other.receive();
    }
    while court.hub.counters().in_flight() > 0 {
        subscriber.round_trip();
    }
    court.hub.counters().ledger().balance().expect("it balances");
    stop(court.hub);
}

#[test]
fn bytes_in_flight_are_bounded_and_what_a_tenant_stores_too() {
    let data = tempfile::tempdir().expect("a folder");
    let court = court(options("hub", Some(data.path())), r#"{"in_flight_bytes":100}"#);
    let mut client = Raw::connect(&court.hub, 1);
    client.publish(1, AckLevel::Routed, "t/a", &[&[7; 200]]);
    let (code, _, detail) = answer(&mut client).expect_err("beyond");
    assert_eq!(code, ErrorCode::OVER_QUOTA);
    assert!(detail.contains("in flight"), "{detail}");
    change(&court, r#"{"in_flight_bytes":10000}"#);
    for request in 2..100 {
        client.publish(request, AckLevel::Routed, "t/a", &[&[7; 5_000]]);
        assert_eq!(answer(&mut client), Ok(request), "what is answered is not in flight");
    }
    let mut owner = Raw::connect_as(&court.hub, 0, "other");
    let spec = StreamSpec { name: "mine", filters: vec!["t/**"], segment_bytes: 4 << 20, ..StreamSpec::default() };
    owner.create_stream(spec);
    let key = Key::new(Kind::Tenant, "us").expect("a name");
    let tenant = r#"{"topics":["t/**"],"quota":{"storage_bytes":5000}}"#;
    let state = court.governed.state().with([(key, tenant.into())], &[]);
    assert!(court.governed.put(Arc::new(state)));
    let mut request = 2;
    let refused = loop {
        owner.publish(request, AckLevel::Synced, "t/a", &[&[7; 500]]);
        if let Err((code, _, detail)) = answer(&mut owner) {
            break (code, detail);
        }
        request += 1;
    };
    assert_eq!(refused.0, ErrorCode::QUOTA);
    assert!(refused.1.contains("tenant `us` has stored all it may"), "{}", refused.1);
    stop(court.hub);
}
