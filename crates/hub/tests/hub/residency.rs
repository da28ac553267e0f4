//! Events that may be only at hubs with a label, over real sockets:
//!
//! ```text
//! madrid (eu) ── london ── berlin (eu)     the nearer way
//!      └──────── paris (eu) ────┘          the farther one
//! ```

use std::time::Duration;

use crate::common::mesh::{self, authority, link_addr, member, until};
use crate::common::{Raw, build, start, stop};
use weft_base::{ProducerId, Residency};
use weft_hub::options::ResidencyRule;
use weft_hub::{Hub, HubOptions};
use weft_mesh::DropReason;
use weft_wire::block::BlockFields;
use weft_wire::frame::{AckLevel, ErrorCode, Frame, Start, StreamCreate, StreamList, StreamSpec};

struct Europe {
    madrid: Hub,
    london: Hub,
    berlin: Hub,
    paris: Option<Hub>,
    _data: tempfile::TempDir,
}

impl Europe {
    fn new() -> Self {
        let (ca, data) = (authority(), tempfile::tempdir().expect("a folder"));
        let keeper = |name: &str, labels: &[&str], neighbours: &[(&str, String)]| -> HubOptions {
            let mut options = member(&ca, name, "127.0.0.1:0", neighbours);
            options.data = Some(data.path().join(name));
            options.labels = labels.iter().map(|label| (*label).to_owned()).collect();
            options.timers.home_patience = Duration::ZERO;
            let filter = weft_topic::Filter::parse("eu/**").expect("a filter");
            options.residency.push(ResidencyRule { filter, label: "eu".to_owned() });
            options
        };
        let madrid = start(keeper("madrid", &["eu"], &[]));
        let to_madrid = [("madrid", link_addr(&madrid))];
        let london = start(keeper("london", &[], &to_madrid));
        let mut options = keeper("paris", &["eu"], &to_madrid);
        // So far that what may go by london does.
        options.neighbours[0].cost = 1_000_000;
        let paris = start(options);
        let to_both = [("london", link_addr(&london)), ("paris", link_addr(&paris))];
        let berlin = start(keeper("berlin", &["eu"], &to_both));
        let europe = Self { madrid, london, berlin, paris: Some(paris), _data: data };
        for hub in [&europe.madrid, &europe.london, &europe.berlin] {
            until(&mut Raw::connect(hub, 90), "all are there", |report| {
                // Links count once both ends report them.
                report.hubs.iter().filter(|hub| hub.reachable).count() == 4
                    && report.links.iter().filter(|link| link.up).count() == 8
            });
        }
        europe
    }

    /// Makes a stream of everything below these topics at these hubs, and waits until madrid knows it.
    fn stream(&self, name: &str, filters: &[&str], homes: &[&str]) {
        let spec = StreamSpec {
            name,
            filters: filters.to_vec(),
            homes: homes.to_vec(),
            segment_bytes: 4 << 20,
            ..StreamSpec::default()
        };
        let mut client = Raw::connect(&self.berlin, 91);
        client.send(&Frame::StreamCreate(StreamCreate { request: 1, spec }));
        let answer = client.receive();
        assert!(matches!(answer.frame(), Frame::Done(_)), "{:?}", answer.frame());
        for hub in [&self.madrid, &self.london, &self.berlin] {
            let mut client = Raw::connect(hub, 92);
            let is_known = (0..2_000).any(|request| {
                client.send(&Frame::StreamList(StreamList { request }));
                let answer = client.receive();
                let Frame::StreamReports(said) = answer.frame() else { panic!("not a report: {:?}", answer.frame()) };
                let is_known = said.reports.iter().filter(|report| report.spec.name == name).count() == homes.len();
                if !is_known {
                    std::thread::park_timeout(Duration::from_millis(5));
                }
                is_known
            });
            assert!(is_known, "{} does not know the homes {homes:?} of `{name}`", hub.identity().name);
        }
    }

    fn stop(self) {
        for hub in [self.berlin, self.london, self.madrid].into_iter().chain(self.paris) {
            stop(hub);
        }
    }
}

fn dropped(hub: &Hub) -> u64 {
    let counters = hub.counters();
    let name = format!("ledger.dropped.{}", DropReason::Residency.name());
    counters.list().into_iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| value)
}

fn counter(hub: &Hub, name: &str) -> u64 {
    hub.counters().list().into_iter().find(|(known, _)| known == name).map_or(0, |(_, value)| value)
}

fn refusal(client: &mut Raw) -> (ErrorCode, String) {
    match client.receive().frame() {
        Frame::Error(error) => (error.code, error.detail.to_owned()),
        other => panic!("not a refusal: {other:?}"),
    }
}

/// A block that its publisher binds to a label.
fn bound(label: &str, topic: &str, sequence: u64) -> Vec<u8> {
    let residency = Residency::of(&[label]);
    let fields =
        BlockFields { producer: ProducerId(77), first_sequence: sequence, residency, ..BlockFields::new(topic) };
    build(&fields, &[b"bound"])
}

#[test]
fn an_event_with_a_label_reaches_hubs_that_carry_it_and_crosses_no_other() {
    let europe = Europe::new();
    let (mut there, mut between) = (Raw::connect(&europe.berlin, 1), Raw::connect(&europe.london, 2));
    there.subscribe(1, "**");
    between.subscribe(1, "**");
    let mut here = Raw::connect(&europe.madrid, 3);
    until(&mut here, "madrid knows both", |report| {
        ["london", "berlin"].iter().all(|hub| mesh::knows_interest(report, hub, 1))
    });
    for n in 0..20_u8 {
        here.publish_acked(n.into(), AckLevel::Routed, "eu/a", &[&[n]]);
    }
    let bound: Vec<u8> = (0..20).flat_map(|_| there.delivered().concat()).collect();
    assert_eq!(bound, (0..20).collect::<Vec<u8>>(), "by way of paris, in order");
    here.publish_acked(30, AckLevel::Routed, "us/a", &[b"free"]);
    assert_eq!(between.delivered(), [b"free"], "and nothing before it");
    assert_eq!(there.delivered(), [b"free"]);
    assert_eq!(dropped(&europe.madrid), 20, "what london's subscriber wanted");
    // The free one went over london, and no other did.
    assert_eq!((counter(&europe.london, "ledger.transit"), counter(&europe.london, "residency.refused")), (1, 0));
    assert_eq!(counter(europe.paris.as_ref().expect("it runs"), "ledger.transit"), 20);
    europe.stop();
}

#[test]
fn without_a_way_over_hubs_with_the_label_a_publish_is_refused_and_a_live_copy_counted() {
    let mut europe = Europe::new();
    europe.stream("all", &["eu/kept/**"], &["berlin"]);
    let mut here = Raw::connect(&europe.madrid, 3);
    here.publish_acked(1, AckLevel::Synced, "eu/kept/a", &[b"stored"]);
    stop(europe.paris.take().expect("it runs"));
    until(&mut here, "paris is gone, berlin is not", |report| {
        let reachable = |name: &str| report.hubs.iter().any(|hub| hub.name == name && hub.reachable);
        !reachable("paris") && reachable("berlin")
    });
    here.publish(2, AckLevel::Synced, "eu/kept/a", &[b"nowhere to"]);
    let (code, detail) = refusal(&mut here);
    assert_eq!(code, ErrorCode::RESIDENCY, "{detail}");
    assert!(detail.contains("`eu`") && detail.contains("berlin"), "{detail}");
    // One who does not wait to hear of it is told by the counter.
    let mut there = Raw::connect(&europe.berlin, 4);
    there.subscribe(1, "eu/live");
    until(&mut here, "madrid knows it", |report| mesh::knows_interest(report, "berlin", 2));
    let before = dropped(&europe.madrid);
    here.publish_acked(3, AckLevel::Routed, "eu/live", &[b"nowhere to"]);
    assert!(dropped(&europe.madrid) > before, "{before}");
    europe.stop();
}

#[test]
fn a_stream_with_a_home_without_the_label_keeps_no_event_of_it() {
    let europe = Europe::new();
    europe.stream("all", &["**"], &["berlin", "london"]);
    let mut here = Raw::connect(&europe.madrid, 3);
    here.publish(1, AckLevel::Synced, "eu/a", &[b"bound"]);
    let (code, detail) = refusal(&mut here);
    assert_eq!(code, ErrorCode::RESIDENCY, "{detail}");
    assert!(detail.contains("london"), "{detail}");
    assert_eq!(dropped(&europe.madrid), 1);
    here.publish_acked(2, AckLevel::Synced, "us/a", &[b"free"]);
    europe.stop();
}

#[test]
fn bound_events_of_a_stream_are_read_at_other_hubs_with_the_label_alone() {
    let europe = Europe::new();
    europe.stream("all", &["**"], &["berlin"]);
    let mut here = Raw::connect(&europe.madrid, 3);
    for n in 0..10_u8 {
        let topic = if n % 2 == 0 { "eu/a" } else { "us/a" };
        here.publish_acked(n.into(), AckLevel::Synced, topic, &[&[n]]);
    }
    let transit = || counter(&europe.london, "link.berlin.blocks_in");
    let before = transit();
    here.subscribe_with(20, "**", |s| (s.stream, s.start) = ("all", Start::First));
    assert!(matches!(here.receive().frame(), Frame::Subscribed(_)));
    let read: Vec<u8> = (0..10).flat_map(|_| here.delivered().concat()).collect();
    assert_eq!(read, (0..10).collect::<Vec<u8>>());
    assert_eq!(transit(), before, "the whole session goes by paris");
    let mut between = Raw::connect(&europe.london, 4);
    between.subscribe_with(21, "**", |s| (s.stream, s.start) = ("all", Start::First));
    let refused = loop {
        match between.receive().frame() {
            Frame::Subscribed(_) => {}
            Frame::Error(error) => break (error.code, error.detail.to_owned()),
            other => panic!("nothing of it may come here: {other:?}"),
        }
    };
    assert_eq!(refused.0, ErrorCode::RESIDENCY, "{}", refused.1);
    assert!(refused.1.contains("`eu`"), "{}", refused.1);
    europe.stop();
}

#[test]
fn who_publishes_may_bind_events_and_not_weaken_a_rule() {
    let europe = Europe::new();
    let mut here = Raw::connect(&europe.madrid, 3);
    let mut there = Raw::connect(&europe.london, 4);
    there.subscribe(1, "**");
    until(&mut here, "madrid knows it", |report| mesh::knows_interest(report, "london", 1));
    here.publish_block(1, AckLevel::Routed, &bound("eu", "any/a", 1));
    assert!(matches!(here.receive().frame(), Frame::Ack(ack) if ack.receivers == 0));
    assert_eq!(dropped(&europe.madrid), 1);
    here.publish_block(2, AckLevel::Routed, &bound("us", "eu/a", 2));
    let (code, detail) = refusal(&mut here);
    assert_eq!(code, ErrorCode::RESIDENCY);
    assert!(detail.contains("rule") && detail.contains("`eu`"), "{detail}");
    here.publish_block(3, AckLevel::Routed, &bound("us", "any/a", 3));
    let (code, detail) = refusal(&mut here);
    assert_eq!(code, ErrorCode::RESIDENCY);
    assert!(detail.contains("madrid"), "it does not carry that label: {detail}");
    there.publish(4, AckLevel::Routed, "eu/a", &[b"here?"]);
    let (code, detail) = refusal(&mut there);
    assert_eq!(code, ErrorCode::RESIDENCY);
    assert!(detail.contains("london"), "{detail}");
    assert_eq!(there.drain(), [[0_u8; 0]; 0], "nothing came");
    europe.stop();
}
