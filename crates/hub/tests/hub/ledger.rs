//! The ledger by classes of topics, and its alarm.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::mesh::{authority, knows_interest, link_addr, member, until};
use crate::common::triangle::{create, stream};
use crate::common::{Raw, start, stop};
use weft_hub::see::LedgerClass;
use weft_hub::{Hub, HubOptions};
use weft_topic::Filter;
use weft_wire::frame::{AckLevel, Frame, MeshReport, StreamSpec};

fn watched(mut options: HubOptions) -> HubOptions {
    for (name, topics) in [("gold", "orders/gold/**"), ("orders", "orders/**")] {
        let topics = Filter::parse(topics).expect("a filter");
        options.see.classes.push(LedgerClass { name: name.to_owned(), topics });
    }
    options.see.alarm_after = Duration::from_millis(500);
    options
}

/// Two linked hubs that count the same classes.
fn pair() -> [Hub; 2] {
    let ca = authority();
    let west = start(watched(member(&ca, "west", "127.0.0.1:0", &[])));
    let east = start(watched(member(&ca, "east", "127.0.0.1:0", &[("west", link_addr(&west))])));
    [east, west]
}

fn count(report: &MeshReport<'_>, name: &str) -> u64 {
    report.counters.iter().find(|counter| counter.name == name).map_or(0, |counter| counter.value)
}

#[test]
fn each_class_counts_what_became_of_its_events_at_each_hub() {
    let [east, west] = pair();
    let (mut publisher, mut subscriber) = (Raw::connect(&east, 1), Raw::connect(&west, 2));
    subscriber.subscribe(1, "orders/**");
    until(&mut publisher, "the filter is known", |report| knows_interest(report, "west", 1));
    for (request, topic) in [(1, "orders/1"), (2, "orders/gold/1"), (3, "orders/2"), (4, "bills/1")] {
        publisher.publish_acked(request, AckLevel::Routed, topic, &[b"a", b"b"]);
    }
    for _ in 0..3 {
        assert!(matches!(subscriber.receive().frame(), Frame::Deliver(_)));
    }
    until(&mut subscriber, "all is delivered", |report| count(report, "class.orders.delivered") == 4);
    let expected = [
        ("class.orders.published", 4),
        ("class.orders.copies", 4),
        ("class.orders.forwarded", 4),
        ("class.orders.in_flight", 0),
        ("class.orders.dropped.no_interest", 0),
        ("class.gold.published", 2),
        ("class.gold.forwarded", 2),
        ("ledger.published", 8),
        ("ledger.dropped.no_interest", 2),
        ("ledger.balanced", 1),
    ];
    until(&mut publisher, "the publisher's hub has counted", |report| {
        expected.iter().all(|(name, value)| count(report, name) == *value)
    });
    until(&mut subscriber, "the subscriber's hub has counted", |report| {
        count(report, "class.gold.received") == 2
            && count(report, "class.gold.delivered") == 2
            && count(report, "class.orders.received") == 4
            && count(report, "ledger.balanced") == 1
    });
    for hub in [east, west] {
        assert_eq!(hub.counters().ledger_alarms.load(Ordering::Relaxed), 0, "nothing was lost");
        stop(hub);
    }
}

/// Copies of a stream's home came from the other home as messages and were in no class.
#[test]
fn copies_between_homes_count_in_their_class() {
    let (ca, data) = (authority(), tempfile::tempdir().expect("a folder"));
    let home = |name: &str, to: &[(&str, String)]| {
        let mut options = watched(member(&ca, name, "127.0.0.1:0", to));
        options.data = Some(data.path().join(name));
        start(options)
    };
    let west = home("west", &[]);
    let east = home("east", &[("west", link_addr(&west))]);
    let (mut publisher, mut other) = (Raw::connect(&east, 1), Raw::connect(&west, 2));
    let spec = StreamSpec { filters: vec!["orders/**"], ..stream("all", &["east", "west"]) };
    create(&mut publisher, spec);
    // To one home: the other has it from there.
    publisher.publish_acked(1, AckLevel::Synced, "orders/1", &[b"a", b"b"]);
    publisher.publish_acked(2, AckLevel::Synced, "orders/gold/1", &[b"c"]);
    for client in [&mut publisher, &mut other] {
        until(client, "each home has it, in its class", |report| {
            let stored = |class: &str| count(report, &format!("class.{class}.stored"));
            (stored("orders"), stored("gold"), count(report, "ledger.stored")) == (2, 1, 3)
                && count(report, "class.orders.copies") == count(report, "class.orders.stored")
                && count(report, "ledger.balanced") == 1
        });
    }
    [east, west].into_iter().for_each(stop);
}

/// The canary: the alarm is raised by one event that goes uncounted, and says which class.
#[test]
#[cfg(debug_assertions)]
fn one_event_that_goes_uncounted_is_an_alarm_that_names_its_class() {
    let [east, west] = pair();
    let mut client = Raw::connect(&west, 1);
    client.subscribe(1, "orders/**");
    client.publish_acked(1, AckLevel::Routed, "orders/1", &[b"a"]);
    assert!(matches!(client.receive().frame(), Frame::Deliver(_)));
    west.counters().canary.store(1, Ordering::Relaxed);
    client.publish_acked(2, AckLevel::Routed, "orders/2", &[b"b"]);
    until(&mut client, "an alarm", |report| count(report, "ledger.alarms") > 0);
    until(&mut client, "it names the class", |report| {
        count(report, "class.orders.imbalance") == 1
            && count(report, "class.gold.imbalance") == 0
            && count(report, "ledger.imbalance") == 1
            && count(report, "ledger.balanced") == 0
    });
    [east, west].into_iter().for_each(stop);
}
