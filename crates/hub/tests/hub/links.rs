//! Links that fall silent in one direction, in both, and for a while: other
//! ways are used before anybody gives the link up.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::mesh::{authority, knows_interest, link_addr, member, until};
use crate::common::ways::Way;
use crate::common::{Raw, start, stop};
use weft_base::{ByteCount, HubId};
use weft_hub::HubOptions;
use weft_mesh::DOUBTED;
use weft_mesh::ledger::DropReason;
use weft_transport::ca::Authority;
use weft_wire::frame::{AckLevel, Frame, MeshReport, Start, StreamSpec};

/// A hub that suspects soon and gives up late.
fn patient(ca: &Authority, name: &str, neighbours: &[(&str, String)]) -> HubOptions {
    let mut options = member(ca, name, "127.0.0.1:0", neighbours);
    options.timers.probe = Duration::from_millis(100);
    options.timers.link_silence = Duration::from_secs(600);
    options
}

/// Whether both ends of the link are to be avoided, or neither.
fn avoided(report: &MeshReport<'_>, a: &str, b: &str) -> Option<bool> {
    let ends = (HubId::of_name(a), HubId::of_name(b));
    let both = report.links.iter().filter(|link| [(link.from, link.to), (link.to, link.from)].contains(&ends));
    let costs: Vec<bool> = both.map(|link| link.cost >= DOUBTED).collect();
    (costs.len() == 2 && costs[0] == costs[1]).then(|| costs[0])
}

#[test]
fn a_link_that_falls_silent_is_left_in_both_directions_and_nothing_acknowledged_is_lost_or_doubled() {
    let (ca, data) = (authority(), tempfile::tempdir().expect("a folder"));
    let mut options = patient(&ca, "chicago", &[]);
    options.data = Some(data.path().to_owned());
    let home = start(options);
    let way = Way::to(link_addr(&home));
    let round = start(patient(&ca, "los-angeles", &[("chicago", link_addr(&home))]));
    let mut options = patient(&ca, "new-york", &[("chicago", way.addr.clone()), ("los-angeles", link_addr(&round))]);
    // The way round is the worse one.
    options.neighbours[1].cost = 1_000_000;
    let entry = start(options);
    let mut listener = Raw::connect(&home, 1);
    listener.subscribe(1, "t/**");
    let spec = StreamSpec { name: "all", filters: vec!["t/**"], segment_bytes: 4 << 20, ..StreamSpec::default() };
    listener.create_stream(spec);
    let mut publisher = Raw::connect(&entry, 2);
    until(&mut publisher, "all are linked, and the interest is known", |r| {
        knows_interest(r, "chicago", 2) && avoided(r, "new-york", "chicago") == Some(false)
    });

    let mut next = 0u8;
    let mut publish = |publisher: &mut Raw| {
        for _ in 0..4 {
            publisher.publish_acked(u64::from(next), AckLevel::Written, "t/a", &[&[next]]);
            next += 1;
        }
    };
    publish(&mut publisher);
    for silent in [[true, false], [false, true]] {
        way.hold(silent);
        publish(&mut publisher);
        until(&mut publisher, "the link is left", |r| avoided(r, "new-york", "chicago") == Some(true));
        publish(&mut publisher);
        way.hold([false, false]);
        until(&mut publisher, "the link is trusted again", |r| avoided(r, "new-york", "chicago") == Some(false));
        publish(&mut publisher);
    }
    assert_eq!(entry.counters().links.load(Ordering::Relaxed), 2, "no link was given up");

    let mut reader = Raw::connect(&home, 3);
    reader.subscribe_with(1, "**", |s| (s.stream, s.start) = ("all", Start::First));
    reader.receive();
    for n in 0..next {
        assert_eq!(reader.delivered(), [[n]]);
    }
    // Live copies of a silent link are lost and counted, and none comes twice or late.
    let mut last = None;
    loop {
        let received = listener.receive();
        let Frame::Deliver(deliver) = received.frame() else { continue };
        for payload in crate::common::payloads(deliver.block) {
            assert!(last < Some(payload[0]), "{payload:?} after {last:?}");
            last = Some(payload[0]);
        }
        if last == Some(next - 1) {
            break;
        }
    }
    for hub in [entry, round, home] {
        stop(hub);
    }
}

/// What a hub shows under this name.
fn shown(client: &mut Raw, name: &str, is_so: impl Fn(u64) -> bool) {
    until(client, name, |r| r.counters.iter().any(|counter| counter.name == name && is_so(counter.value)));
}

#[test]
fn the_circuit_of_a_link_that_an_operator_added_is_shown_as_those_of_the_configuration() {
    let ca = authority();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = nobody.local_addr().expect("it is bound").to_string();
    drop(nobody);
    let data = tempfile::tempdir().expect("a folder");
    let link = format!(r#"{{"link":{{"peer":"chicago","addr":"{addr}","cost":0,"price":0}}}}"#);
    let kept = format!(r#"{{"version":1,"changes":[{{"trial":1,"step":1,"by":"me","change":{link}}}]}}"#);
    std::fs::write(data.path().join("changes.json"), kept).expect("written");
    let mut options = member(&ca, "new-york", "127.0.0.1:0", &[]);
    options.data = Some(data.path().to_owned());
    options.timers.redial_first = Duration::from_millis(10);
    options.timers.redial_most = Duration::from_millis(100);
    options.limits.dial_failures = 3;
    let here = start(options);
    let mut client = Raw::connect(&here, 1);
    shown(&mut client, "circuit.chicago.failures", |failures| failures >= 3);
    shown(&mut client, "circuit.chicago.state", |state| state > 0);
    stop(here);
}

#[test]
fn a_neighbour_that_refuses_is_left_alone_and_comes_back_once_it_lasts() {
    let ca = authority();
    // There is a way, and nobody at its end.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = nobody.local_addr().expect("it is bound").to_string();
    drop(nobody);
    let mut options = member(&ca, "new-york", "127.0.0.1:0", &[("chicago", addr.clone())]);
    options.timers.redial_first = Duration::from_millis(10);
    options.timers.redial_most = Duration::from_millis(100);
    options.timers.link_stable = Duration::from_millis(200);
    options.limits.dial_failures = 3;
    let here = start(options);
    let mut client = Raw::connect(&here, 1);
    shown(&mut client, "circuit.chicago.failures", |failures| failures >= 3);
    shown(&mut client, "circuit.chicago.state", |state| state > 0);
    shown(&mut client, "circuits.opened", |opened| opened == 1);
    let there = start(member(&ca, "chicago", &addr, &[]));
    shown(&mut client, "circuit.chicago.state", |state| state == 0);
    shown(&mut client, "circuit.chicago.failures", |failures| failures == 0);
    shown(&mut client, "circuits.opened", |opened| opened == 1);
    stop(here);
    stop(there);
}

#[test]
fn a_stuck_link_does_not_use_up_the_memory_of_a_good_one() {
    let ca = authority();
    let small = |name: &str, neighbours: &[(&str, String)]| {
        let mut options = patient(&ca, name, neighbours);
        options.limits.frame = ByteCount::kib(64);
        options.limits.arena = ByteCount::mib(8);
        options.limits.subscriber_bytes = ByteCount::mib(1);
        options
    };
    let (good, slow) = (start(small("chicago", &[])), start(small("los-angeles", &[])));
    let way = Way::to(link_addr(&slow));
    let entry = start(small("new-york", &[("chicago", link_addr(&good)), ("los-angeles", way.addr.clone())]));
    let mut listener = Raw::connect(&good, 1);
    listener.subscribe(1, "t");
    let mut other = Raw::connect(&slow, 2);
    other.subscribe(1, "t");
    let mut publisher = Raw::connect(&entry, 3);
    until(&mut publisher, "both are known", |r| knows_interest(r, "chicago", 1) && knows_interest(r, "los-angeles", 1));
    way.hold([true, true]);
    let mut payload = vec![0; 60_000];
    // Several times what sockets, windows and the arena hold.
    for n in 0..1_000u32 {
        payload[..4].copy_from_slice(&n.to_le_bytes());
        publisher.publish_acked(u64::from(n), AckLevel::Routed, "t", &[&payload]);
        assert_eq!(listener.delivered()[0][..4], n.to_le_bytes());
    }
    let dropped = &entry.counters().dropped;
    let crowded = dropped[DropReason::LinkCrowded].load(Ordering::Relaxed);
    assert!(crowded > 100, "{crowded} found no room");
    publisher.round_trip();
    entry.counters().ledger().balance().expect("every copy is accounted for");
    way.hold([false, false]);
    for hub in [entry, good, slow] {
        stop(hub);
    }
}
