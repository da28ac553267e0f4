//! Bad input about consumers: what is wrong is told and counted, and the
//! session goes on.

use crate::common::consumers::{fill, spec, with_stream};
use crate::common::{Raw, options, start, stop};
use std::sync::atomic::Ordering;
use weft_base::SubscriptionId;
use weft_hub::Hub;
use weft_wire::frame::{ConsumerCreate, ConsumerSpec, Credit, ErrorCode, Frame, StreamDelete, StreamSpec, Verb};

fn hub() -> (tempfile::TempDir, Hub) {
    let data = tempfile::tempdir().expect("a folder");
    let hub = with_stream(data.path());
    (data, hub)
}

#[test]
fn acknowledgements_of_what_a_member_does_not_have_are_told_and_counted() {
    let (_data, hub) = hub();
    fill(&hub, 0..4);
    let mut first = Raw::connect(&hub, 2);
    first.create_consumer(spec("c"));
    let token = first.consume_some(1, "c", 2).token;
    first.handed_all(2);
    let mut second = Raw::connect(&hub, 3);
    let other = second.consume_some(1, "c", 2).token;
    second.handed_all(2);
    let told = |client: &mut Raw, request, id, token, ranges: &[(u64, u32)]| {
        client.settle(request, id, token, Verb::Ack, ranges);
        client.refused()
    };
    let (request, code, detail) = told(&mut first, 10, 1, token, &[(3, 1)]);
    assert_eq!((request, code), (10, ErrorCode::UNKNOWN_DELIVERY), "of another session: {detail}");
    assert!(detail.contains("1 are with others"), "{detail}");
    let (_, code, detail) = told(&mut first, 11, 1, token, &[(99, 1)]);
    assert_eq!(code, ErrorCode::UNKNOWN_DELIVERY);
    assert!(detail.contains("1 were never handed out"), "{detail}");
    first.ack_synced(1, token, &[(1, 1)]);
    let (_, code, detail) = told(&mut first, 12, 1, token, &[(1, 2)]);
    assert_eq!(code, ErrorCode::UNKNOWN_DELIVERY);
    assert!(detail.contains("1 events are settled; 1 were settled before"), "{detail}");
    assert_eq!(told(&mut first, 13, 1, other, &[(3, 1)]).1, ErrorCode::FENCED);
    assert_eq!(told(&mut first, 14, 9, token, &[(3, 1)]).1, ErrorCode::NO_SUBSCRIPTION);
    // Also without having asked, and the session goes on.
    first.settle(0, 1, token, Verb::Nack, &[(1, 1)]);
    assert_eq!(first.refused().0, 0);
    first.settle(0, 1, token, Verb::Ack, &[(3, 1)]);
    first.nothing();
    second.ack_synced(1, other, &[(3, 2)]);
    assert_eq!(hub.counters().consumer_fenced.load(Ordering::Relaxed), 1);
    assert_eq!(hub.counters().consumer_unknown.load(Ordering::Relaxed), 6);
    stop(hub);
}

#[test]
fn nacks_without_end_are_slowed_down_and_starve_nobody() {
    let (_data, hub) = hub();
    fill(&hub, 0..1);
    let mut bad = Raw::connect(&hub, 2);
    bad.create_consumer(spec("bad"));
    bad.create_consumer(spec("good"));
    let token = bad.consume(1, "bad").token;
    let mut good = Raw::connect(&hub, 3);
    let served = good.consume(1, "good").token;
    good.handed_all(1);
    for attempt in 1..8 {
        assert_eq!(bad.handed().attempt, attempt);
        bad.settle(0, 1, token, Verb::Nack, &[(1, 1)]);
    }
    good.ack_synced(1, served, &[(1, 1)]);
    fill(&hub, 1..2);
    assert_eq!(good.handed_all(1)[0].0, 2);
    stop(hub);
}

#[test]
fn definitions_that_cannot_be_are_refused_with_what_is_wrong() {
    let (_data, hub) = hub();
    let mut client = Raw::connect(&hub, 2);
    let mut refused = |stream, spec| {
        client.send(&Frame::ConsumerCreate(ConsumerCreate { request: 7, stream, spec }));
        let (request, code, detail) = client.refused();
        assert_eq!(request, 7);
        (code, detail)
    };
    let long = "size>1 or ".repeat(400) + "size>1";
    let deep = "(".repeat(2_000) + "size > 1" + &")".repeat(2_000);
    let cases: [(&str, ConsumerSpec<'_>, ErrorCode); 8] = [
        ("none", spec("c"), ErrorCode::NO_STREAM),
        ("all", ConsumerSpec { filters: vec!["t//a"], ..spec("c") }, ErrorCode::BAD_FILTER),
        ("all", ConsumerSpec { predicate: "size >", ..spec("c") }, ErrorCode::BAD_PREDICATE),
        ("all", ConsumerSpec { predicate: &long, ..spec("c") }, ErrorCode::BAD_PREDICATE),
        ("all", ConsumerSpec { predicate: &deep, ..spec("c") }, ErrorCode::BAD_PREDICATE),
        ("all", spec("no/name"), ErrorCode::BAD_CONSUMER),
        ("all", ConsumerSpec { max_in_flight: u32::MAX, ..spec("c") }, ErrorCode::BAD_CONSUMER),
        ("all", ConsumerSpec { dead_stream: "all", ..spec("c") }, ErrorCode::BAD_CONSUMER),
    ];
    for (stream, spec, expected) in cases {
        let (code, detail) = refused(stream, spec.clone());
        assert_eq!(code, expected, "{detail} {spec:?}");
    }
    client.create_consumer(spec("c"));
    client.create_consumer(spec("c"));
    client.send(&Frame::ConsumerCreate(ConsumerCreate {
        request: 7,
        stream: "all",
        spec: ConsumerSpec { max_deliver: 9, ..spec("c") },
    }));
    assert_eq!(client.refused().1, ErrorCode::CONSUMER_EXISTS);
    client.ask_to_consume(1, "nobody", 1);
    assert_eq!(client.refused().1, ErrorCode::NO_CONSUMER);
    client.consume(1, "c");
    client.ask_to_consume(1, "c", 1);
    assert_eq!(client.refused().1, ErrorCode::IN_USE);
    stop(hub);
}

#[test]
fn members_of_a_deleted_consumer_or_stream_are_told_and_go_on() {
    let (_data, hub) = hub();
    fill(&hub, 0..1);
    let mut member = Raw::connect(&hub, 2);
    let mut admin = Raw::connect(&hub, 3);
    for name in ["a", "b"] {
        admin.create_consumer(spec(name));
    }
    member.consume(1, "a");
    member.handed_all(1);
    let token = member.consume(2, "b").token;
    member.handed_all(1);
    admin.delete_consumer("a");
    admin.done(3);
    let (id, code, _) = member.refused();
    assert_eq!((id, code), (1, ErrorCode::CONSUMER_GONE));
    admin.send(&Frame::StreamDelete(StreamDelete { request: 8, name: "all" }));
    admin.done(8);
    let (id, code, detail) = member.refused();
    assert_eq!((id, code), (2, ErrorCode::CONSUMER_GONE));
    assert!(detail.contains("deleted"), "{detail}");
    member.settle(5, 2, token, Verb::Ack, &[(1, 1)]);
    assert_eq!(member.refused().1, ErrorCode::NO_SUBSCRIPTION);
    // Credit that crossed the end on its way is nobody's mistake.
    member.send(&Frame::Credit(Credit { id: SubscriptionId(2), events: 1, bytes: 1 }));
    member.nothing();
    assert_eq!(hub.counters().consumers.load(Ordering::Relaxed), 0);
    assert_eq!(hub.counters().members.load(Ordering::Relaxed), 0);
    // A stream of the same name knows nothing of the old one's consumers.
    let again = StreamSpec { name: "all", filters: vec!["t/**"], segment_bytes: 4 << 20, ..StreamSpec::default() };
    admin.create_stream(again);
    member.ask_to_consume(3, "b", 1);
    assert_eq!(member.refused().1, ErrorCode::NO_CONSUMER);
    stop(hub);
}

#[test]
fn limits_of_consumers_are_told_by_name() {
    let data = tempfile::tempdir().expect("a folder");
    let mut options = options("hub", Some(data.path()));
    (options.limits.consumers_per_stream, options.limits.in_flight) = (2, 3);
    let hub = start(options);
    let mut client = Raw::connect(&hub, 2);
    let spec_of_stream =
        StreamSpec { name: "all", filters: vec!["t/**"], segment_bytes: 4 << 20, ..StreamSpec::default() };
    client.create_stream(spec_of_stream);
    client.create_consumer(spec("a"));
    client.create_consumer(spec("b"));
    client.send(&Frame::ConsumerCreate(ConsumerCreate { request: 2, stream: "all", spec: spec("c") }));
    let (_, code, detail) = client.refused();
    assert_eq!(code, ErrorCode::LIMIT);
    assert!(detail.contains("limits.consumers_per_stream"), "{detail}");
    // Both together have no more in flight than the hub has room for.
    fill(&hub, 0..4);
    let token = client.consume(1, "a").token;
    assert_eq!(client.handed_all(3).len(), 3);
    let other = client.consume(2, "b").token;
    client.nothing();
    client.settle(0, 1, token, Verb::Ack, &[(1, 3)]);
    let mut came = 0;
    while came < 3 {
        let handed = client.handed();
        came += handed.events.len();
    }
    assert!(other > 0);
    stop(hub);
}
