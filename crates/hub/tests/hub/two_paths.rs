//! An urgent lane on two paths, over real sockets, round a ring:
//!
//! ```text
//! dover ── calais ─────────── bruges     the usual way; its first link can be
//!    └──── ostend ── ghent ──────┘       held or cut
//! ```

use std::time::Duration;

use crate::common::mesh::{authority, knows_interest, link_addr, member, until};
use crate::common::ways::Way;
use crate::common::{Raw, build_in_lane, start, stop};
use weft_base::Lane;
use weft_hub::Hub;
use weft_wire::frame::{AckLevel, Frame, Start, StreamSpec};

/// Of each link, so that what is measured does not matter.
const COST: u32 = 250_000_000;
/// From calais, which dials, to dover and back: what dover sends is held.
const FROM_DOVER: [bool; 2] = [false, true];

struct Ring {
    dover: Hub,
    calais: Hub,
    ostend: Hub,
    ghent: Hub,
    bruges: Hub,
    way: Way,
    _data: tempfile::TempDir,
}

impl Ring {
    fn new() -> Self {
        let (ca, data) = (authority(), tempfile::tempdir().expect("a folder"));
        let hub = |name: &str, neighbours: &[(&str, String)]| {
            let mut options = member(&ca, name, "127.0.0.1:0", neighbours);
            options.data = Some(data.path().join(name));
            options.neighbours.iter_mut().for_each(|neighbour| neighbour.cost = COST);
            options.paths.lanes[Lane::URGENT.index()] = 2;
            // Nobody is impatient, and no link is given up for being silent.
            options.paths.patience = Duration::from_secs(10);
            (options.timers.probe, options.timers.link_silence) = (Duration::from_secs(5), Duration::from_secs(60));
            start(options)
        };
        let dover = hub("dover", &[]);
        let way = Way::to(link_addr(&dover));
        let calais = hub("calais", &[("dover", way.addr.clone())]);
        let ostend = hub("ostend", &[("dover", link_addr(&dover))]);
        let ghent = hub("ghent", &[("ostend", link_addr(&ostend))]);
        let bruges = hub("bruges", &[("calais", link_addr(&calais)), ("ghent", link_addr(&ghent))]);
        let ring = Self { dover, calais, ostend, ghent, bruges, way, _data: data };
        ring.is_whole();
        ring
    }

    fn hubs(&self) -> [&Hub; 5] {
        [&self.dover, &self.calais, &self.ostend, &self.ghent, &self.bruges]
    }

    fn is_whole(&self) {
        for hub in self.hubs() {
            until(&mut Raw::connect(hub, 90), "all are there", |report| {
                report.hubs.iter().filter(|hub| hub.reachable).count() == 5
                    && report.links.iter().filter(|link| link.up).count() == 10
            });
        }
    }

    /// A client at bruges that dover knows the wishes of, and a publisher at dover.
    fn ends(&self, subscribe: impl FnOnce(&mut Raw)) -> [Raw; 2] {
        let (mut there, mut here) = (Raw::connect(&self.bruges, 1), Raw::connect(&self.dover, 2));
        subscribe(&mut there);
        until(&mut here, "dover knows it", |report| knows_interest(report, "bruges", 1));
        [there, here]
    }

    /// All ledgers balance once the hubs are quiet: second copies are in none.
    fn stop(self) {
        for hub in self.hubs() {
            let mut looks = 0;
            while let Err(error) = hub.counters().ledger().balance() {
                looks += 1;
                assert!(looks < 2_000, "{}: {error}", hub.identity().name);
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
        [self.bruges, self.ghent, self.ostend, self.calais, self.dover].into_iter().for_each(stop);
    }
}

fn counter(hub: &Hub, name: &str) -> u64 {
    hub.counters().list().into_iter().find(|(known, _)| known == name).map_or(0, |(_, value)| value)
}

/// Waits until a counter has come to so much, and not beyond.
fn comes_to(hub: &Hub, name: &str, value: u64) {
    for _ in 0..2_000 {
        if counter(hub, name) >= value {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert_eq!(counter(hub, name), value, "{name} at {}", hub.identity().name);
}

/// Publishes urgent events of these numbers, one in each block.
fn publish(here: &mut Raw, numbers: std::ops::Range<u8>) {
    for number in numbers {
        let block = build_in_lane("t", Lane::URGENT, u64::from(number) + 1, &[&[number]]);
        here.publish_block(number.into(), AckLevel::None, &block);
    }
}

/// Takes live events of these numbers, in order and each once.
fn take(there: &mut Raw, numbers: std::ops::Range<u8>) {
    let mut next = numbers.start;
    while next < numbers.end {
        for payload in there.delivered() {
            assert_eq!(payload, [next]);
            next += 1;
        }
    }
}

#[test]
fn what_one_path_holds_back_the_other_brings_without_waiting() {
    let ring = Ring::new();
    let [mut there, mut here] = ring.ends(|client| client.subscribe(1, "t"));
    publish(&mut here, 0..10);
    take(&mut there, 0..10);
    comes_to(&ring.bruges, "second.dropped.duplicate_path", 10);
    comes_to(&ring.ostend, "second.passed", 10);
    assert_eq!((counter(&ring.calais, "second.passed"), counter(&ring.calais, "ledger.transit")), (0, 10));
    assert_eq!(counter(&ring.ghent, "ledger.transit"), 0, "a second copy is none of the ledger's");

    ring.way.hold(FROM_DOVER);
    here.publish_acked(200, AckLevel::Routed, "t", &[&[200]]);
    publish(&mut here, 10..50);
    take(&mut there, 10..50);
    assert!(counter(&ring.bruges, "second.first") >= 40);
    assert_eq!(there.drain(), Vec::<Vec<u8>>::new(), "what is not urgent has one path, which is held");

    ring.way.hold([false; 2]);
    assert_eq!(there.delivered(), [[200]]);
    comes_to(&ring.bruges, "second.dropped.duplicate_path", 50);
    assert_eq!(there.drain(), Vec::<Vec<u8>>::new(), "first copies that come second are dropped");
    assert_eq!(counter(&ring.dover, "second.sent"), 50);
    assert_eq!(counter(&ring.bruges, "flow.missed"), 0);
    ring.stop();
}

#[test]
fn a_link_that_is_cut_in_mid_stream_costs_no_event() {
    let ring = Ring::new();
    let [mut there, mut here] = ring.ends(|client| client.subscribe(1, "t"));
    publish(&mut here, 0..60);
    here.round_trip();
    ring.way.cut(true);
    publish(&mut here, 60..120);
    take(&mut there, 0..120);
    until(&mut here, "dover knows it", |report| report.links.iter().filter(|link| link.up).count() == 8);
    publish(&mut here, 120..130);
    take(&mut there, 120..130);
    assert!(counter(&ring.dover, "second.no_path") >= 10, "there is one path only");
    ring.way.cut(false);
    ring.is_whole();
    let before = counter(&ring.dover, "second.sent");
    publish(&mut here, 130..140);
    take(&mut there, 130..140);
    comes_to(&ring.dover, "second.sent", before + 10);
    assert_eq!(counter(&ring.bruges, "flow.missed"), 0);
    assert_eq!(there.drain(), Vec::<Vec<u8>>::new(), "none came twice");
    ring.stop();
}

#[test]
fn members_of_a_group_get_each_event_once() {
    let ring = Ring::new();
    let [mut there, mut here] = ring.ends(|client| client.join(1, "t", "workers", 1));
    publish(&mut here, 0..10);
    take(&mut there, 0..10);
    comes_to(&ring.bruges, "second.dropped.duplicate_path", 10);
    ring.way.hold(FROM_DOVER);
    publish(&mut here, 10..20);
    take(&mut there, 10..20);
    ring.way.hold([false; 2]);
    comes_to(&ring.bruges, "second.dropped.duplicate_path", 20);
    assert_eq!(there.drain(), Vec::<Vec<u8>>::new());
    ring.stop();
}

#[test]
fn a_stream_stores_what_comes_first_and_says_so() {
    let ring = Ring::new();
    let [mut there, mut here] = ring.ends(|client| {
        let spec = StreamSpec {
            name: "all",
            filters: vec!["t"],
            homes: vec!["bruges"],
            segment_bytes: 4 << 20,
            ..StreamSpec::default()
        };
        client.create_stream(spec);
    });
    ring.way.hold(FROM_DOVER);
    for number in 0..10 {
        let block = build_in_lane("t", Lane::URGENT, number + 1, &[&[number as u8]]);
        here.publish_block(number, AckLevel::Synced, &block);
        assert!(matches!(here.receive().frame(), Frame::Ack(ack) if ack.request == number));
    }
    ring.way.hold([false; 2]);
    there.subscribe_with(20, "**", |s| (s.stream, s.start) = ("all", Start::First));
    assert!(matches!(there.receive().frame(), Frame::Subscribed(_)));
    take(&mut there, 0..10);
    ring.stop();
}
