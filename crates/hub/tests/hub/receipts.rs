//! Receipts: a client hears at which hubs its subscription is live, and why not
//! at others; which hubs want a topic; and what is refused.

use crate::common::mesh::{authority, knows_interest, line, link_addr, member, until};
use crate::common::{Raw, options, start, stop};
use weft_base::SubscriptionId;
use weft_wire::frame::{AckLevel, ErrorCode, Frame, LiveAsk, LiveScope, LiveState};

const LONG: u32 = 60_000;

fn of_subscription(
    request: u64,
    id: u64,
    scope: LiveScope,
    count: u32,
    hubs: Vec<&str>,
    timeout_ms: u32,
) -> LiveAsk<'_> {
    LiveAsk { request, subscription: SubscriptionId(id), topic: "", scope, count, timeout_ms, hubs }
}

fn of_topic<'a>(request: u64, topic: &'a str, scope: LiveScope, count: u32, hubs: Vec<&'a str>) -> LiveAsk<'a> {
    LiveAsk { request, subscription: SubscriptionId(0), topic, scope, count, timeout_ms: 0, hubs }
}

/// The answer to a question: whether it is met, and each hub's state.
fn answer(client: &mut Raw, ask: LiveAsk<'_>) -> Result<(bool, Vec<(String, LiveState)>), ErrorCode> {
    let asked = ask.request;
    client.send(&Frame::LiveAsk(ask));
    match client.receive().frame() {
        Frame::LiveReport(report) => {
            assert_eq!(report.request, asked);
            Ok((report.met, report.hubs.iter().map(|line| (line.name.to_owned(), line.state)).collect()))
        }
        Frame::Error(error) => {
            assert_eq!(error.request, asked);
            Err(error.code)
        }
        other => panic!("neither a report nor a refusal: {other:?}"),
    }
}

fn lines(lines: &[(&str, LiveState)]) -> Vec<(String, LiveState)> {
    lines.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect()
}

#[test]
fn a_hub_alone_says_where_a_subscription_is_live() {
    let hub = start(options("solo", None));
    let mut client = Raw::connect(&hub, 1);
    client.subscribe(1, "a/*");
    let here = lines(&[("solo", LiveState::Live)]);
    for (scope, count) in [(LiveScope::Here, 0), (LiveScope::All, 0), (LiveScope::Count, 1)] {
        let told = answer(&mut client, of_subscription(7, 1, scope, count, Vec::new(), LONG));
        assert_eq!(told, Ok((true, here.clone())), "{scope:?}");
    }
    let two = answer(&mut client, of_subscription(8, 1, LiveScope::Count, 2, Vec::new(), 10));
    assert_eq!(two, Ok((false, here)), "there is one hub, also when time is up");
    let named = answer(&mut client, of_subscription(9, 1, LiveScope::Named, 0, vec!["solo", "nowhere"], 10));
    assert_eq!(named, Ok((false, lines(&[("nowhere", LiveState::OutOfReach), ("solo", LiveState::Live)]))));
    let none = answer(&mut client, of_subscription(10, 2, LiveScope::Here, 0, Vec::new(), LONG));
    assert_eq!(none, Err(ErrorCode::NO_SUBSCRIPTION));
    stop(hub);
}

#[test]
fn receipts_that_are_waited_for_are_bounded_and_end_with_their_subscription() {
    let mut few = options("solo", None);
    few.limits.receipts = 1;
    let hub = start(few);
    let mut client = Raw::connect(&hub, 1);
    client.subscribe(1, "a");
    let endless = |request| of_subscription(request, 1, LiveScope::Count, 9, Vec::new(), u32::MAX);
    client.send(&Frame::LiveAsk(endless(5)));
    let more = answer(&mut client, endless(6));
    assert_eq!(more, Err(ErrorCode::RECEIPTS));
    client.send(&Frame::Unsubscribe(weft_wire::frame::Unsubscribe { id: SubscriptionId(1) }));
    let mut ended = [client.receive(), client.receive()].map(|received| match received.frame() {
        Frame::Error(error) => (error.request, error.code),
        Frame::Unsubscribed(_) => (0, ErrorCode::NONE),
        other => panic!("neither a refusal nor an end: {other:?}"),
    });
    ended.sort_unstable();
    assert_eq!(ended, [(0, ErrorCode::NONE), (5, ErrorCode::NO_SUBSCRIPTION)]);
    client.subscribe(1, "a");
    client.send(&Frame::LiveAsk(endless(7)));
    drop(client);
    let mut other = Raw::connect(&hub, 2);
    other.subscribe(1, "b");
    // The session's end is told to the conductor before or after this; what counts is that its receipt goes with it.
    while answer(&mut other, of_subscription(8, 1, LiveScope::Here, 0, Vec::new(), LONG)) == Err(ErrorCode::RECEIPTS) {}
    stop(hub);
}

#[test]
fn a_publisher_hears_which_hubs_want_a_topic() {
    let hub = start(options("solo", None));
    let mut client = Raw::connect(&hub, 1);
    let wanted = |client: &mut Raw, scope, count, hubs| answer(client, of_topic(3, "a/b", scope, count, hubs));
    assert_eq!(wanted(&mut client, LiveScope::All, 0, Vec::new()), Ok((false, Vec::new())));
    let named = wanted(&mut client, LiveScope::Named, 0, vec!["solo"]);
    assert_eq!(named, Ok((false, lines(&[("solo", LiveState::NoInterest)]))));
    client.subscribe(1, "a/*");
    for (scope, count, hubs) in
        [(LiveScope::All, 0, vec![]), (LiveScope::Count, 1, vec![]), (LiveScope::Named, 0, vec!["solo"])]
    {
        assert_eq!(wanted(&mut client, scope, count, hubs), Ok((true, lines(&[("solo", LiveState::Live)]))));
    }
    assert_eq!(wanted(&mut client, LiveScope::Count, 2, Vec::new()).map(|(met, _)| met), Ok(false));
    client.publish_acked(4, AckLevel::Routed, "a/b", &[b"x"]);
    assert_eq!(client.delivered(), [b"x"]);
    let bad = answer(&mut client, of_topic(5, "a//b", LiveScope::All, 0, Vec::new()));
    assert_eq!(bad, Err(ErrorCode::BAD_TOPIC));
    stop(hub);
}

#[test]
fn what_is_published_where_a_subscription_is_live_reaches_it_at_once() {
    let ca = authority();
    let [east, middle, west] = line(&ca);
    let mut publisher = Raw::connect(&east, 1);
    until(&mut publisher, "the mesh is whole", |r| r.hubs.iter().filter(|hub| hub.reachable).count() == 3);
    let mut listener = Raw::connect(&west, 2);
    let all = ["chicago", "los-angeles", "new-york"];
    for n in 0..20u64 {
        let topic = format!("flights/{n}");
        listener.subscribe(n + 1, &topic);
        let told = answer(&mut listener, of_subscription(100 + n, n + 1, LiveScope::Named, 0, all.to_vec(), LONG));
        assert_eq!(told.map(|(met, hubs)| (met, hubs.len())), Ok((true, 3)));
        publisher.publish_acked(n, AckLevel::Routed, &topic, &[&[n as u8]]);
        assert_eq!(listener.delivered(), [[n as u8]]);
    }
    // An event may be delivered before the hub that sent it has counted it.
    until(&mut publisher, "all are counted as forwarded", |_| east.counters().ledger().forwarded >= 20);
    assert_eq!(east.counters().ledger().forwarded, 20, "none was dropped for want of interest");
    [east, middle, west].into_iter().for_each(stop);
}

#[test]
fn a_hub_of_the_version_before_is_named_as_such() {
    let ca = authority();
    let mut old = member(&ca, "chicago", "127.0.0.1:0", &[]);
    old.protocol_most = 1;
    let old = start(old);
    let hub = start(member(&ca, "new-york", "127.0.0.1:0", &[("chicago", link_addr(&old))]));
    let mut client = Raw::connect(&hub, 1);
    until(&mut client, "the hubs are linked", |r| {
        r.hubs.iter().all(|h| h.reachable) && knows_interest(r, "chicago", 0)
    });
    client.subscribe(1, "a");
    let told = answer(&mut client, of_subscription(2, 1, LiveScope::All, 0, Vec::new(), LONG));
    let expected = lines(&[("chicago", LiveState::OldVersion), ("new-york", LiveState::Live)]);
    assert_eq!(told, Ok((false, expected)), "said without waiting");
    [hub, old].into_iter().for_each(stop);
}
