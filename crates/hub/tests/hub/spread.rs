//! Topics are spread over ways of like cost, over real sockets:
//!
//! ```text
//! dover ── calais ─── bruges
//!    └──── ostend ──────┘      both ways cost the same
//! ```

use std::time::Duration;

use crate::common::mesh::{authority, knows_interest, link_addr, member, until};
use crate::common::{Raw, start, stop};
use weft_base::{ByteCount, SubscriptionId, Way};
use weft_hub::{Hub, HubOptions};
use weft_mesh::Spreading;
use weft_wire::block::Block;
use weft_wire::frame::{AckLevel, Credit, ErrorCode, Frame, Kind, OnFull, Start, StreamSpec};

/// Of each link: so much that what is measured does not matter, also on a machine
/// that is so busy that it takes seconds.
const COST: u32 = 250_000_000;
const TOPICS: u64 = 24;

struct Channel {
    dover: Hub,
    calais: Option<Hub>,
    ostend: Hub,
    bruges: Hub,
    _data: tempfile::TempDir,
}

impl Channel {
    fn new(change: impl Fn(&mut HubOptions)) -> Self {
        let (ca, data) = (authority(), tempfile::tempdir().expect("a folder"));
        let hub = |name: &str, neighbours: &[(&str, String)]| {
            let mut options = member(&ca, name, "127.0.0.1:0", neighbours);
            options.data = Some(data.path().join(name));
            options.neighbours.iter_mut().for_each(|neighbour| neighbour.cost = COST);
            // A machine that is busy is no reason to take another way.
            (options.timers.probe, options.timers.link_silence) = (Duration::from_secs(5), Duration::from_secs(60));
            change(&mut options);
            start(options)
        };
        let dover = hub("dover", &[]);
        let to_dover = [("dover", link_addr(&dover))];
        let (calais, ostend) = (hub("calais", &to_dover), hub("ostend", &to_dover));
        let bruges = hub("bruges", &[("calais", link_addr(&calais)), ("ostend", link_addr(&ostend))]);
        let all = Self { dover, calais: Some(calais), ostend, bruges, _data: data };
        for hub in [&all.dover, all.calais(), &all.ostend, &all.bruges] {
            until(&mut Raw::connect(hub, 90), "all are there", |report| {
                // Links count once both ends report them.
                report.hubs.iter().filter(|hub| hub.reachable).count() == 4
                    && report.links.iter().filter(|link| link.up).count() == 8
            });
        }
        all
    }

    fn calais(&self) -> &Hub {
        self.calais.as_ref().expect("it runs")
    }

    /// Events that crossed calais and ostend.
    fn crossed(&self) -> [u64; 2] {
        [self.calais(), &self.ostend].map(|hub| counter(hub, "ledger.transit"))
    }

    /// Blocks that came to them from dover, of events and of whatever else.
    fn came(&self) -> [u64; 2] {
        [self.calais(), &self.ostend].map(|hub| counter(hub, "link.dover.blocks_in"))
    }

    fn stop(self) {
        for hub in [self.bruges, self.ostend, self.dover].into_iter().chain(self.calais) {
            stop(hub);
        }
    }
}

fn counter(hub: &Hub, name: &str) -> u64 {
    hub.counters().list().into_iter().find(|(known, _)| known == name).map_or(0, |(_, value)| value)
}

/// A subscriber to everything at bruges that dover knows of, and a publisher there.
fn ends(channel: &Channel) -> [Raw; 2] {
    let mut there = Raw::connect(&channel.bruges, 1);
    there.subscribe(1, "**");
    let mut here = Raw::connect(&channel.dover, 2);
    until(&mut here, "dover knows it", |report| knows_interest(report, "bruges", 1));
    [there, here]
}

/// Publishes an event on each topic and waits until it is there; answers by topic
/// whether it crossed calais.
fn over_calais(channel: &Channel, [there, here]: &mut [Raw; 2], round: u64) -> Vec<bool> {
    (0..TOPICS)
        .map(|topic| {
            let [calais, ostend] = channel.crossed();
            let payload = [topic as u8, round as u8];
            here.publish_acked(round * TOPICS + topic, AckLevel::Routed, &format!("t/{topic}"), &[&payload]);
            assert_eq!(there.delivered(), [payload]);
            let crossed = channel.crossed();
            assert!([[calais + 1, ostend], [calais, ostend + 1]].contains(&crossed), "{crossed:?}");
            crossed[0] > calais
        })
        .collect()
}

#[test]
fn each_topic_keeps_to_one_of_two_ways_and_both_are_in_use() {
    let mut channel = Channel::new(|_| {});
    let mut ends = ends(&channel);
    let first = over_calais(&channel, &mut ends, 0);
    assert!(first.contains(&true) && first.contains(&false), "{first:?}");
    for round in 1..4 {
        assert_eq!(over_calais(&channel, &mut ends, round), first, "as before");
    }
    stop(channel.calais.take().expect("it runs"));
    let [there, here] = &mut ends;
    until(here, "calais is gone", |report| report.hubs.iter().any(|hub| hub.name == "calais" && !hub.reachable));
    for topic in 0..TOPICS {
        here.publish_acked(200 + topic, AckLevel::Routed, &format!("t/{topic}"), &[&[topic as u8]]);
        assert_eq!(there.delivered(), [[topic as u8]], "by the way that is left");
    }
    assert_eq!(counter(&channel.bruges, "flow.missed"), 0);
    channel.stop();
}

#[test]
fn without_spreading_all_takes_one_way() {
    let channel = Channel::new(|options| options.routing.spreading = Spreading::NONE);
    let mut ends = ends(&channel);
    let all = over_calais(&channel, &mut ends, 0);
    assert!(all.iter().all(|over| *over == all[0]), "{all:?}");
    channel.stop();
}

#[test]
fn what_a_stream_takes_is_spread_by_producers_and_each_keeps_its_order() {
    let channel = Channel::new(|_| {});
    let mut there = Raw::connect(&channel.bruges, 1);
    let spec = StreamSpec {
        name: "all",
        filters: vec!["t/**"],
        homes: vec!["bruges"],
        segment_bytes: 4 << 20,
        ..StreamSpec::default()
    };
    there.create_stream(spec);
    let mut here = Raw::connect(&channel.dover, 2);
    until(&mut here, "dover knows it", |report| knows_interest(report, "bruges", 1));
    let before = channel.came();
    let producers: u8 = 16;
    let mut clients: Vec<Raw> = (0..producers).map(|n| Raw::connect(&channel.dover, 100 + u64::from(n))).collect();
    // On topics that would take different ways, each block behind the one before.
    for round in 0..6_u8 {
        for (producer, client) in clients.iter_mut().enumerate() {
            let topic = format!("t/{round}");
            client.publish(round.into(), AckLevel::Synced, &topic, &[&[producer as u8, round]]);
        }
    }
    for client in &mut clients {
        for _ in 0..6 {
            let answer = client.receive();
            assert!(matches!(answer.frame(), Frame::Ack(_)), "{:?}", answer.frame());
        }
    }
    let after = channel.came();
    assert!(before.iter().zip(&after).all(|(before, after)| before < after), "{before:?} became {after:?}");
    there.subscribe_with(20, "**", |s| (s.stream, s.start) = ("all", Start::First));
    assert!(matches!(there.receive().frame(), Frame::Subscribed(_)));
    let mut next = vec![0; producers.into()];
    let mut read = 0;
    while read < usize::from(producers) * 6 {
        for payload in there.delivered() {
            let [producer, round] = payload[..] else { panic!("{payload:?}") };
            assert_eq!(next[usize::from(producer)], round, "of producer {producer}");
            next[usize::from(producer)] += 1;
            read += 1;
        }
    }
    assert_eq!(next, vec![6; producers.into()]);
    channel.stop();
}

#[test]
fn a_client_of_version_1_is_told_of_what_there_was_no_memory_to_give_it() {
    const SIZE: usize = 40 << 10;
    let ca = authority();
    let mut small = member(&ca, "small", "127.0.0.1:0", &[]);
    (small.limits.frame, small.limits.arena) = (ByteCount::kib(64), ByteCount::mib(4));
    small.limits.subscriber_bytes = ByteCount::mib(512);
    let hub = start(small);
    let mut other = member(&ca, "other", "127.0.0.1:0", &[("small", link_addr(&hub))]);
    other.limits.frame = ByteCount::kib(64);
    let other = start(other);
    // What stays at a hub names no way, so somebody elsewhere wants it too.
    let named = |n: &u8| Way::of_topic(&format!("t/{n}"), Spreading::default().ways) != Way::MAIN;
    let topic = format!("t/{}", (0..99).find(named).expect("one way of several is the main one"));
    let mut far = Raw::connect(&other, 1);
    far.subscribe(1, &topic);
    until(&mut Raw::connect(&hub, 90), "the interest is known", |report| knows_interest(report, "other", 1));
    let mut subscriber = Raw::connect(&hub, 2);
    subscriber.subscribe_with(1, &topic, |s| (s.credit_events, s.on_full) = (0, OnFull::Wait));
    subscriber.receive();
    let mut publisher = Raw::connect(&hub, 3);
    let mut taken = 0;
    // More than there is memory for, if it is not refused before.
    for n in 0..300 {
        publisher.publish(n, AckLevel::Routed, &topic, &[&[7; SIZE]]);
        // What holds it up is told besides.
        let told = |raw: &mut Raw| {
            std::iter::repeat_with(|| raw.receive()).find(|told| told.frame().kind() != Kind::WhyReport)
        };
        match told(&mut publisher).expect("an answer").frame() {
            Frame::Ack(_) => taken += 1,
            Frame::Error(error) => assert_eq!(error.code, ErrorCode::OVERLOADED, "{}", error.detail),
            other => panic!("neither: {other:?}"),
        }
    }
    subscriber.send(&Frame::Credit(Credit { id: SubscriptionId(1), events: u64::MAX, bytes: u64::MAX }));
    let (mut delivered, mut missing) = (0, 0);
    while delivered + missing < taken {
        match subscriber.receive().frame() {
            Frame::Deliver(deliver) => delivered += u64::from(Block::trusted(deliver.block).event_count()),
            Frame::Gap(gap) => missing += gap.events,
            other => panic!("neither: {other:?}"),
        }
    }
    assert!(delivered > 0 && missing > 0, "{delivered} and {missing}");
    assert_eq!(delivered + missing, taken, "each is delivered or known to be missing");
    stop(other);
    stop(hub);
}
