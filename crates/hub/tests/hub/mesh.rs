//! Several hubs in a line, linked by mutual TLS over real sockets: live events
//! across two hops, a stream at the middle hub, and its death and return.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::mesh::{authority, knows_interest, line, link_addr, member, until};
use crate::common::{Raw, start, stop};
use weft_wire::frame::{AckLevel, Frame, StreamSpec};

#[test]
fn live_events_cross_two_hops_once_and_in_order() {
    let ca = authority();
    let [east, middle, west] = line(&ca);
    let mut listener = Raw::connect(&west, 1);
    listener.subscribe(1, "flights/**");
    let mut publisher = Raw::connect(&east, 2);
    until(&mut publisher, "the interest arrives", |r| knows_interest(r, "los-angeles", 1));
    for n in 0..100u8 {
        publisher.publish_acked(u64::from(n), AckLevel::Routed, "flights/x", &[&[n], &[n]]);
    }
    for n in 0..100u8 {
        let received = listener.receive();
        let Frame::Deliver(deliver) = received.frame() else { panic!("not a delivery: {:?}", received.frame()) };
        assert_eq!(deliver.hops, 2);
        assert_eq!(crate::common::payloads(deliver.block), [[n], [n]]);
    }
    publisher.publish_acked(500, AckLevel::Routed, "elsewhere", &[b"nobody"]);
    publisher.round_trip();
    listener.round_trip();
    for hub in [&east, &middle, &west] {
        hub.counters().ledger().balance().expect("every copy is accounted for");
    }
    assert_eq!(east.counters().ledger().forwarded, 200);
    assert_eq!(middle.counters().ledger().received, 200, "what nobody wants does not travel");
    let came = |hub: &weft_hub::Hub, from: &str| {
        let (mut count, name) = (0, format!("link.{from}.arrival"));
        hub.counters().table().each(|known, _, look| {
            count += look.snapshot().filter(|_| known == name).map_or(0, |snapshot| snapshot.count());
        });
        count
    };
    assert_eq!((came(&middle, "new-york"), came(&west, "chicago")), (200, 200), "how old they came is known by hop");
    for hub in [east, west, middle] {
        stop(hub);
    }
}

#[test]
fn a_durable_publish_through_the_mesh_survives_the_death_of_the_streams_hub() {
    let ca = authority();
    let data = tempfile::tempdir().expect("a folder");
    let keeper = |addr: &str| {
        let mut options = member(&ca, "chicago", addr, &[]);
        options.data = Some(data.path().to_owned());
        options
    };
    let middle = start(keeper("127.0.0.1:0"));
    let addr = link_addr(&middle);
    let east = start(member(&ca, "new-york", "127.0.0.1:0", &[("chicago", addr.clone())]));
    let mut admin = Raw::connect(&middle, 9);
    let spec = StreamSpec { name: "all", filters: vec!["t/**"], segment_bytes: 4 << 20, ..StreamSpec::default() };
    admin.create_stream(spec);
    let mut publisher = Raw::connect(&east, 2);
    until(&mut publisher, "the stream is known", |r| knows_interest(r, "chicago", 1));
    for n in 0..10u8 {
        publisher.publish_acked(u64::from(n), AckLevel::Synced, "t/a", &[&[n]]);
    }
    stop(middle);
    until(&mut publisher, "the hub is missed", |r| !knows_interest(r, "chicago", 0));
    for n in 10..20u8 {
        publisher.publish(u64::from(n), AckLevel::Synced, "t/a", &[&[n]]);
    }
    let middle = start(keeper(&addr));
    for n in 10..20u64 {
        match publisher.receive().frame() {
            Frame::Ack(ack) => assert_eq!((ack.request, ack.level), (n, AckLevel::Synced)),
            other => panic!("not an acknowledgement: {other:?}"),
        }
    }
    let mut reader = Raw::connect(&middle, 3);
    reader.subscribe_with(1, "**", |s| (s.stream, s.start) = ("all", weft_wire::frame::Start::First));
    reader.receive();
    for n in 0..20u8 {
        assert_eq!(reader.delivered(), [[n]]);
    }
    publisher.round_trip();
    east.counters().ledger().balance().expect("every copy is accounted for");
    assert_eq!(east.counters().waiting_flows.load(Ordering::Relaxed), 0);
    stop(east);
    stop(middle);
}

#[test]
fn a_hub_with_a_foreign_certificate_never_becomes_a_link() {
    let (ours, theirs) = (authority(), authority());
    let hub = start(member(&ours, "chicago", "127.0.0.1:0", &[]));
    let stranger = start(member(&theirs, "new-york", "127.0.0.1:0", &[("chicago", link_addr(&hub))]));
    let mut client = Raw::connect(&hub, 1);
    for _ in 0..2_000 {
        if hub.counters().failed_handshakes.load(Ordering::Relaxed) >= 2 {
            break;
        }
        client.round_trip();
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert!(hub.counters().failed_handshakes.load(Ordering::Relaxed) >= 2, "it was tried and refused");
    assert_eq!(hub.counters().links.load(Ordering::Relaxed), 0);
    assert_eq!(stranger.counters().links.load(Ordering::Relaxed), 0);
    stop(stranger);
    stop(hub);
}
