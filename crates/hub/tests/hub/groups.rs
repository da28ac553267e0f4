//! Groups over real hubs and sockets: each event to one member in the whole
//! mesh, the local hub first, then the nearest, by weight.

use std::collections::BTreeSet;

use crate::common::mesh::{authority, line, until, wants};
use crate::common::{Raw, options, start, stop};
use weft_wire::frame::{AckLevel, ErrorCode, Frame};

/// Publishes so many blocks of one event each, numbered from `from`.
fn publish(publisher: &mut Raw, topic: &str, from: u8, count: u8) {
    for n in from..from + count {
        publisher.publish_acked(u64::from(n), AckLevel::Routed, topic, &[&[n]]);
    }
}

#[test]
fn members_of_one_hub_share_by_weight_and_others_get_their_copies_besides() {
    let hub = start(options("solo", None));
    let mut plain = Raw::connect(&hub, 1);
    plain.subscribe(1, "**");
    let mut heavy = Raw::connect(&hub, 2);
    heavy.join(1, "jobs/*", "workers", 3);
    let mut light = Raw::connect(&hub, 3);
    light.join(1, "jobs/**", "workers", 1);
    let mut other = Raw::connect(&hub, 4);
    other.join(1, "**", "audit", 1);
    let mut publisher = Raw::connect(&hub, 5);
    publish(&mut publisher, "jobs/a", 0, 40);
    let (heavy_got, light_got) = (heavy.drain(), light.drain());
    assert_eq!((heavy_got.len(), light_got.len()), (30, 10));
    assert!(heavy_got.is_sorted() && light_got.is_sorted(), "each member gets them in order");
    let all: BTreeSet<_> = heavy_got.into_iter().chain(light_got).collect();
    assert_eq!(all.len(), 40, "each event went to one of them");
    assert_eq!((plain.drain().len(), other.drain().len()), (40, 40));
    // A topic that only one member's filter matches.
    publish(&mut publisher, "jobs/a/b", 100, 4);
    assert_eq!((heavy.drain().len(), light.drain().len()), (0, 4));
    drop(heavy);
    publisher.round_trip();
    let ledger = hub.counters().ledger();
    ledger.balance().expect("every copy is accounted for");
    assert_eq!(ledger.delivered, 40 + 40 + 40 + 3 * 4);
    stop(hub);
}

#[test]
fn what_is_no_group_is_refused() {
    let hub = start(options("solo", None));
    let mut client = Raw::connect(&hub, 1);
    let mut refused = |change: &dyn Fn(&mut weft_wire::frame::Subscribe<'_>)| {
        client.subscribe_with(1, "a", |s| {
            (s.group, s.weight) = ("g", 1);
            change(s);
        });
        match client.receive().frame() {
            Frame::Error(error) => error.code,
            other => panic!("not refused: {other:?}"),
        }
    };
    assert_eq!(refused(&|s| s.weight = 0), ErrorCode::LIMIT);
    assert_eq!(refused(&|s| s.weight = 1001), ErrorCode::LIMIT);
    assert_eq!(refused(&|s| s.group = "line\nbreak"), ErrorCode::BAD_NAME);
    assert_eq!(refused(&|s| s.stream = "all"), ErrorCode::UNSUPPORTED);
    assert_eq!(refused(&|s| s.filter = "_reply/**"), ErrorCode::FORBIDDEN);
    stop(hub);
}

#[test]
fn the_local_hub_serves_a_group_first_then_the_nearest() {
    let ca = authority();
    let [east, middle, west] = line(&ca);
    let mut publisher = Raw::connect(&east, 1);
    let mut far = Raw::connect(&west, 2);
    far.join(1, "jobs/*", "workers", 1);
    let mut watcher = Raw::connect(&west, 3);
    watcher.subscribe(1, "jobs/*");
    until(&mut publisher, "the group is known", |r| wants(r, "los-angeles", 2));
    publish(&mut publisher, "jobs/a", 0, 10);
    let expected: Vec<Vec<u8>> = (0..10).map(|n| vec![n]).collect();
    let got: Vec<_> = (0..10).flat_map(|_| far.delivered()).collect();
    assert_eq!(got, expected);
    assert_eq!((0..10).flat_map(|_| watcher.delivered()).collect::<Vec<_>>(), expected);

    let mut near = Raw::connect(&middle, 4);
    near.join(1, "jobs/a", "workers", 1);
    until(&mut publisher, "the nearer member is known", |r| wants(r, "chicago", 1));
    publish(&mut publisher, "jobs/a", 10, 10);
    assert_eq!((0..10).flat_map(|_| near.delivered()).count(), 10);

    let mut local = Raw::connect(&east, 5);
    local.join(1, "jobs/a", "workers", 1);
    publish(&mut publisher, "jobs/a", 20, 10);
    assert_eq!(local.drain().len(), 10);

    drop(local);
    drop(near);
    until(&mut publisher, "the members are gone", |r| wants(r, "chicago", 0) && wants(r, "new-york", 0));
    publish(&mut publisher, "jobs/a", 30, 10);
    assert_eq!((0..10).flat_map(|_| far.delivered()).count(), 10);
    assert_eq!(far.drain().len(), 0, "none of those that others were given");
    assert_eq!((0..30).flat_map(|_| watcher.delivered()).count(), 30, "plain subscribers get every event");
    for hub in [&east, &middle, &west] {
        hub.counters().ledger().balance().expect("every copy is accounted for");
    }
    for hub in [east, west, middle] {
        stop(hub);
    }
}

#[test]
fn members_far_away_share_too_and_a_dead_hubs_part_goes_to_the_living() {
    let ca = authority();
    let [east, middle, west] = line(&ca);
    let mut publisher = Raw::connect(&middle, 1);
    let mut members: Vec<Raw> = (0..2).map(|n| Raw::connect(&west, 10 + n)).collect();
    members.iter_mut().for_each(|member| member.join(1, "jobs/*", "workers", 1));
    until(&mut publisher, "the group is known", |r| wants(r, "los-angeles", 1));
    publish(&mut publisher, "jobs/a", 0, 20);
    for member in &mut members {
        assert_eq!((0..10).flat_map(|_| member.delivered()).count(), 10);
    }
    let mut last = Raw::connect(&east, 20);
    last.join(1, "jobs/*", "workers", 1);
    until(&mut publisher, "the other hub's member is known", |r| wants(r, "new-york", 1));
    drop(members);
    west.stop().expect("no stage failed");
    until(&mut publisher, "the hub is missed", |r| !r.hubs.iter().any(|h| h.name == "los-angeles" && h.reachable));
    publish(&mut publisher, "jobs/a", 100, 20);
    assert_eq!((0..20).flat_map(|_| last.delivered()).count(), 20);
    middle.counters().ledger().balance().expect("every copy is accounted for");
    for hub in [east, middle] {
        stop(hub);
    }
}

#[test]
fn a_member_whose_queue_is_full_is_passed_over_while_another_has_room() {
    let mut options = options("solo", None);
    options.limits.subscriber_events = 20;
    let hub = start(options);
    let mut stuck = Raw::connect(&hub, 1);
    stuck.subscribe_with(1, "jobs/*", |s| (s.group, s.credit_events) = ("workers", 0));
    assert!(matches!(stuck.receive().frame(), Frame::Subscribed(_)));
    let mut busy = Raw::connect(&hub, 2);
    busy.join(1, "jobs/*", "workers", 1);
    let mut publisher = Raw::connect(&hub, 3);
    publish(&mut publisher, "jobs/a", 0, 100);
    let taken = (0..90).flat_map(|_| busy.delivered()).count();
    assert_eq!(taken, 90, "half of the bound waits for the one without credit");
    assert_eq!(stuck.drain().len(), 0);
    let ledger = hub.counters().ledger();
    assert_eq!((ledger.dropped_in_all(), ledger.in_flight), (0, 10));
    stop(hub);
}
