//! Hubs that are linked by QUIC, over the loopback's own datagrams.

use std::sync::atomic::Ordering;

use crate::common::mesh::{authority, identity, knows_interest, link_addr, member, until};
use crate::common::{Raw, build, options, payloads, start, stop};
use weft_base::{Lane, ProducerId};
use weft_hub::Hub;
use weft_hub::options::Listen;
use weft_transport::{Network, ReadOutcome, Ready, TcpNetwork, TcpOptions};
use weft_wire::block::BlockFields;
use weft_wire::frame::{AckLevel, Frame};

/// Two hubs, of which the second has dialled the first by QUIC.
fn pair() -> (Hub, Hub) {
    let ca = authority();
    let mut listening = member(&ca, "chicago", "127.0.0.1:0", &[]);
    listening.hubs_also = vec!["quic:127.0.0.1:0".to_owned()];
    let listening = start(listening);
    let [tcp, quic] = listening.hub_addresses() else { panic!("two addresses") };
    assert!(!tcp.starts_with("quic:") && quic.starts_with("quic:127.0.0.1:"), "{tcp} {quic}");
    let dialling = start(member(&ca, "new-york", "127.0.0.1:0", &[("chicago", quic.clone())]));
    (listening, dialling)
}

fn block(lane: Lane, number: u64, payload: &[u8]) -> Vec<u8> {
    let producer = ProducerId(8 | u64::from(lane.get()));
    build(&BlockFields { lane, producer, first_sequence: number, ..BlockFields::new("t/x") }, &[payload])
}

#[test]
fn events_of_all_lanes_arrive_once_and_in_the_order_of_their_lane() {
    const EACH: u64 = 40;
    let (chicago, new_york) = pair();
    let mut listener = Raw::connect(&chicago, 1);
    listener.subscribe(1, "t/**");
    let mut publisher = Raw::connect(&new_york, 2);
    until(&mut publisher, "the interest arrives", |r| knows_interest(r, "chicago", 1));
    // Large enough that several datagrams of each lane are under way at once.
    let mut payload = vec![0; 9_000];
    for number in 1..=EACH {
        for lane in Lane::all() {
            (payload[0], payload[1]) = (lane.get(), number as u8);
            let request = number * 100 + u64::from(lane.get());
            publisher.publish_block(request, AckLevel::Routed, &block(lane, number, &payload));
            assert!(matches!(publisher.receive().frame(), Frame::Ack(_)));
        }
    }
    let mut last = [0; Lane::COUNT];
    for _ in 0..EACH * Lane::COUNT as u64 {
        let received = listener.receive();
        let Frame::Deliver(deliver) = received.frame() else { panic!("not a delivery: {:?}", received.frame()) };
        for got in payloads(deliver.block) {
            let lane = &mut last[usize::from(got[0])];
            *lane += 1;
            assert_eq!((got[1], got.len()), (*lane, 9_000), "lane {}", got[0]);
        }
    }
    assert_eq!(last, [EACH as u8; Lane::COUNT]);
    publisher.round_trip();
    listener.round_trip();
    for hub in [&chicago, &new_york] {
        hub.counters().ledger().balance().expect("every copy is accounted for");
        assert_eq!(hub.counters().links.load(Ordering::Relaxed), 1);
    }
    stop(new_york);
    stop(chicago);
}

#[test]
fn what_was_sent_before_a_goodbye_arrives_before_the_end() {
    let (chicago, new_york) = pair();
    let mut listener = Raw::connect(&chicago, 1);
    listener.subscribe(1, "t/**");
    let mut publisher = Raw::connect(&new_york, 2);
    until(&mut publisher, "the interest arrives", |r| knows_interest(r, "chicago", 1));
    for number in 1..=100 {
        publisher.publish_block(number, AckLevel::Routed, &block(Lane::BULK, number, &[7; 9_000]));
        assert!(matches!(publisher.receive().frame(), Frame::Ack(_)));
    }
    // It says goodbye ahead of all lanes, on a channel of its own.
    stop(new_york);
    for _ in 0..100 {
        assert_eq!(listener.delivered(), [[7; 9_000]]);
    }
    until(&mut listener, "the end of the link", |r| !knows_interest(r, "new-york", 0));
    stop(chicago);
}

#[test]
fn a_hub_whose_certificate_is_another_meshs_is_refused() {
    let (chicago, new_york) = pair();
    let address = chicago.hub_addresses()[1].clone();
    let strange = start(member(&authority(), "boston", "127.0.0.1:0", &[("chicago", address)]));
    let failed = || chicago.counters().failed_handshakes.load(Ordering::Relaxed);
    for _ in 0..4_000 {
        if failed() > 0 {
            break;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    assert!(failed() > 0, "nobody was refused");
    assert_eq!(strange.counters().links.load(Ordering::Relaxed), 0);
    stop(strange);
    stop(new_york);
    stop(chicago);
}

#[test]
fn a_neighbour_that_breaks_the_protocol_is_told_and_closed() {
    let ca = authority();
    let mut listening = member(&ca, "chicago", "quic:127.0.0.1:0", &[]);
    listening.timers.hello = std::time::Duration::from_secs(60);
    let chicago = start(listening);
    let clock = std::sync::Arc::new(weft_base::SystemClock::new());
    let mut network = TcpNetwork::new(TcpOptions::default(), clock).expect("a network");
    let link = network.dial(&link_addr(&chicago), &identity(&ca, "liar"), Some("chicago")).expect("a dial");
    let (mut ready, mut got, mut buf) = (Vec::new(), Vec::new(), [0; 4_096]);
    let why = loop {
        network.poll(Some(std::time::Duration::from_millis(5)), &mut ready).expect("a poll");
        for found in &ready {
            match found {
                Ready::Connected { .. } => {
                    // Bytes of a lane before the link stands are not looked at; this is no frame.
                    network.write_on(link, 3, &[std::io::IoSlice::new(&[9; 100])]);
                    network.write(link, &[std::io::IoSlice::new(&[255; 64])]);
                }
                Ready::Closed { reason, .. } => panic!("{reason}"),
                _ => {}
            }
        }
        match network.read(link, &mut buf) {
            ReadOutcome::Bytes(n) => got.extend_from_slice(&buf[..n]),
            ReadOutcome::WouldBlock => {}
            ReadOutcome::Closed(reason) => break reason,
        }
    };
    assert!(!got.is_empty(), "it was told why");
    assert_eq!(why, weft_transport::CloseReason::PeerClosed);
    assert_eq!(chicago.counters().violations.load(Ordering::Relaxed), 1);
    stop(chicago);
}

#[test]
fn without_a_certificate_there_is_no_quic() {
    let mut options = options("hub", None);
    let security = weft_transport::Security::Plain;
    options.clients.push(Listen { addr: "quic:127.0.0.1:0".to_owned(), security });
    let Err(refused) = Hub::start(options) else { panic!("it listens without a certificate") };
    let refused = refused.to_string();
    assert!(refused.contains("without TLS, which QUIC always has"), "{refused}");
}
