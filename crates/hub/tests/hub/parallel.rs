//! Links of several connections: lanes go over different ones, of which none
//! waits for another; the link recovers from the end of one of them; and hubs
//! that claim to belong to a link get nowhere.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::liar::Liar;
use crate::common::mesh::{authority, identity, knows_interest, link_addr, member, until};
use crate::common::ways::Way;
use crate::common::{Raw, build, payloads, start, stop};
use weft_base::{Lane, ProducerId};
use weft_hub::{Hub, HubOptions};
use weft_wire::block::BlockFields;
use weft_wire::frame::{AckLevel, Connections, ErrorCode, Frame, LinkOpen, OpenItem, Start, StreamSpec};

/// Two hubs, of which the second dials the first through the way, with so many connections in mind.
fn pair(asked: u8, change: impl FnOnce(&mut HubOptions, &mut HubOptions)) -> (Hub, Way, Hub) {
    let ca = authority();
    let mut listening = member(&ca, "chicago", "127.0.0.1:0", &[]);
    let mut dialling = member(&ca, "new-york", "127.0.0.1:0", &[("chicago", String::new())]);
    dialling.neighbours[0].connections = asked;
    change(&mut listening, &mut dialling);
    let listening = start(listening);
    let way = Way::to(link_addr(&listening));
    dialling.neighbours[0].addr.clone_from(&way.addr);
    (listening, way, start(dialling))
}

/// How many connections the newest link to `peer` has.
fn connections(hub: &Hub, peer: &str) -> u64 {
    counted(hub, peer, "connections")
}

/// What the hub counts of its links to `peer`.
fn counted(hub: &Hub, peer: &str, what: &str) -> u64 {
    let name = format!("link.{peer}.{what}");
    hub.counters().list().into_iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| value)
}

fn lane(number: u8) -> Lane {
    Lane::all().nth(number.into()).expect("there are eight")
}

fn block(of: u8, sequence: u64, payload: &[u8]) -> Vec<u8> {
    let producer = ProducerId(100 + u64::from(of));
    let fields = BlockFields { lane: lane(of), producer, first_sequence: sequence, ..BlockFields::new("t/x") };
    build(&fields, &[payload])
}

/// Waits until it is so, for longer than anything here takes.
fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..4_000 {
        if is_so() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    panic!("it never came to this: {what}");
}

#[test]
fn lanes_go_over_different_connections_and_none_waits_for_another() {
    const LEN: usize = 64 << 10;
    let (chicago, way, new_york) = pair(4, |listening, dialling| {
        dialling.timers.drain = Duration::from_secs(20);
        for options in [listening, dialling] {
            options.timers.link_silence = Duration::from_secs(300);
            options.see.links_every = Duration::from_millis(100);
        }
    });
    let mut listener = Raw::connect(&chicago, 1);
    listener.subscribe(1, "t/**");
    let mut publisher = Raw::connect(&new_york, 2);
    until(&mut publisher, "the interest arrives", |r| knows_interest(r, "chicago", 1));
    assert_eq!((connections(&new_york, "chicago"), connections(&chicago, "new-york")), (4, 4));
    assert_eq!(way.carried().len(), 4);

    // Which connection a lane takes is what has carried its bytes.
    let mut taken = Vec::new();
    for of in 0..8 {
        let before = way.carried();
        publisher.publish_block(of.into(), AckLevel::Routed, &block(of, 1, &[of; LEN]));
        assert_eq!(listener.delivered(), [[of; LEN]]);
        assert!(matches!(publisher.receive().frame(), Frame::Ack(_)));
        let grown: Vec<usize> = (0..4).filter(|nth| way.carried()[*nth] - before[*nth] >= LEN as u64).collect();
        assert_eq!(grown.len(), 1, "lane {of} goes over one connection");
        taken.push(grown[0]);
    }
    assert_eq!(taken[0], 0, "the first lane goes with what keeps the link, over the first");
    assert_eq!(taken[..4].iter().collect::<BTreeSet<_>>().len(), 4, "{taken:?}");
    assert_eq!(taken[..4], taken[4..]);

    // What was sent, once the other end has answered for all of it.
    let compared = || {
        let [sent, compared] = ["events_out", "compared_out"].map(|what| counted(&new_york, "chicago", what));
        (sent == compared).then_some(sent)
    };
    wait("the ends of the link are compared", || compared().is_some());
    let before = compared().unwrap_or_default();
    way.hold_one(taken[1], [true, false]);
    publisher.publish_block(20, AckLevel::None, &block(1, 2, b"late"));
    publisher.publish_block(21, AckLevel::None, &block(2, 2, b"in time"));
    publisher.publish_block(22, AckLevel::None, &block(3, 2, b"in time"));
    assert_eq!([listener.delivered(), listener.delivered()].concat(), [b"in time", b"in time"]);
    // The mark of the late one waits behind it.
    wait("the others are compared", || counted(&new_york, "chicago", "compared_out") >= before + 2);
    way.hold([false, false]);
    assert_eq!(listener.delivered(), [b"late"]);

    wait("that is compared, too", || compared().is_some_and(|sent| sent >= before + 3));
    for what in ["missing_in", "surplus_in"] {
        assert_eq!(counted(&chicago, "new-york", what), 0, "{what}");
    }

    // An orderly end loses nothing of what was published before it.
    for of in 0..8 {
        publisher.publish_block(30 + u64::from(of), AckLevel::Routed, &block(of, 3, &[of; LEN]));
    }
    for _ in 0..8 {
        assert!(matches!(publisher.receive().frame(), Frame::Ack(_)));
    }
    stop(new_york);
    let last: BTreeSet<u8> = (0..8).map(|_| listener.delivered()[0][0]).collect();
    assert_eq!(last, (0..8).collect());
    chicago.counters().ledger().balance().expect("every copy is accounted for");
    stop(chicago);
}

#[test]
fn a_link_recovers_from_the_end_of_any_of_its_connections_and_nothing_acknowledged_is_lost_or_doubled() {
    const EACH: u64 = 6;
    let data = tempfile::tempdir().expect("a folder");
    let (home, way, entry) = pair(3, |listening, _| listening.data = Some(data.path().to_owned()));
    let mut listener = Raw::connect(&home, 1);
    listener.subscribe(1, "t/**");
    let spec = StreamSpec { name: "all", filters: vec!["t/**"], segment_bytes: 4 << 20, ..StreamSpec::default() };
    listener.create_stream(spec);
    let mut publisher = Raw::connect(&entry, 2);
    until(&mut publisher, "the interest arrives", |r| knows_interest(r, "chicago", 2));

    let mut sequence: u64 = 0;
    let mut publish = |publisher: &mut Raw, count: u64| {
        for _ in 0..count {
            sequence += 1;
            for of in 0..8 {
                let payload = [&[of][..], &sequence.to_le_bytes()].concat();
                let request = sequence * 8 + u64::from(of);
                publisher.publish_block(request, AckLevel::Written, &block(of, sequence, &payload));
            }
        }
    };
    let acknowledged = |publisher: &mut Raw, count: u64| {
        for _ in 0..count * 8 {
            let answer = publisher.receive();
            assert!(matches!(answer.frame(), Frame::Ack(_)), "{:?}", answer.frame());
        }
    };
    for victim in 0..3 {
        let before = way.carried().len();
        publish(&mut publisher, EACH);
        way.cut_one(before - 3 + victim);
        publish(&mut publisher, EACH);
        acknowledged(&mut publisher, 2 * EACH);
        until(&mut publisher, "the link is made anew", |r| {
            way.carried().len() >= before + 3 && knows_interest(r, "chicago", 2)
        });
        assert_eq!(connections(&entry, "chicago"), 3);
    }
    publish(&mut publisher, EACH);
    acknowledged(&mut publisher, EACH);

    let mut reader = Raw::connect(&home, 3);
    reader.subscribe_with(1, "**", |s| (s.stream, s.start) = ("all", Start::First));
    reader.receive();
    let mut last = [0; Lane::COUNT];
    let mut left = 7 * EACH * 8;
    while left > 0 {
        let received = reader.receive();
        let Frame::Deliver(deliver) = received.frame() else { panic!("not a delivery: {:?}", received.frame()) };
        for payload in payloads(deliver.block) {
            let of = usize::from(payload[0]);
            last[of] += 1;
            assert_eq!(payload[1..], u64::to_le_bytes(last[of]), "lane {of}: each once, and in order");
            left -= 1;
        }
    }
    assert_eq!(last, [7 * EACH; Lane::COUNT]);
    stop(entry);
    stop(home);
}

#[test]
fn a_link_has_as_many_connections_as_the_other_hub_takes() {
    for (most, version, expected) in [(2, 2, 2), (1, 2, 1), (8, 1, 1)] {
        let (chicago, way, new_york) = pair(4, |listening, _| {
            (listening.limits.link_connections, listening.protocol_most) = (most, version);
        });
        let mut listener = Raw::connect(&chicago, 1);
        listener.subscribe(1, "t/**");
        let mut publisher = Raw::connect(&new_york, 2);
        until(&mut publisher, "the interest arrives", |r| knows_interest(r, "chicago", 1));
        for of in 0..8 {
            publisher.publish_block(of.into(), AckLevel::Routed, &block(of, 1, &[of]));
            assert_eq!(listener.delivered(), [[of]]);
            assert!(matches!(publisher.receive().frame(), Frame::Ack(_)));
        }
        assert_eq!((connections(&new_york, "chicago"), way.carried().len() as u64), (expected, expected));
        stop(new_york);
        stop(chicago);
    }
}

/// Symptom: lanes of a connection that a firewall forgot led nowhere, while the
/// link stood: its probes go over the first. Cause: nobody listened to the others.
#[test]
fn a_link_goes_on_while_its_connections_show_life_and_ends_when_one_is_silent() {
    let (chicago, way, new_york) = pair(2, |listening, dialling| {
        for options in [listening, dialling] {
            options.timers.link_silence = Duration::from_secs(2);
        }
    });
    let mut listener = Raw::connect(&chicago, 1);
    listener.subscribe(1, "t/**");
    let mut publisher = Raw::connect(&new_york, 2);
    until(&mut publisher, "the interest arrives", |r| knows_interest(r, "chicago", 1));
    // The second connection carries nothing else, and this much of it in more than
    // two seconds. Should the machine stand still meanwhile, the next link will do.
    let stands = || [&chicago, &new_york].iter().all(|hub| hub.counters().links.load(Ordering::Relaxed) == 1);
    let mut since = None;
    wait("an idle connection goes on for longer than the silence", || {
        let (carried, last) = (way.carried().len(), way.carried().pop().unwrap_or_default());
        since =
            since.filter(|(count, _)| stands() && *count == carried).or_else(|| stands().then_some((carried, last)));
        since.is_some_and(|(_, first)| last >= first + 2_000)
    });
    let before = way.carried().len();
    way.hold_one(before - 1, [true, true]);
    until(&mut publisher, "the link is made anew", |r| {
        way.carried().len() >= before + 2 && knows_interest(r, "chicago", 1)
    });
    assert_eq!(connections(&new_york, "chicago"), 2);
    stop(new_york);
    stop(chicago);
}

/// Says hello as this hub, and that the connection is this one of a link.
fn claim(hub: &Hub, name: &str, security: &weft_transport::Security, claimed: &[u8]) -> Liar {
    let mut liar = Liar::connect_as(name, hub, security, 2);
    let items =
        vec![OpenItem { tag: OpenItem::MESH, value: b"weft" }, OpenItem { tag: OpenItem::CONNECTIONS, value: claimed }];
    liar.send(&Frame::LinkOpen(LinkOpen { items }));
    liar
}

/// What is said of this connection of a link of the number, of so many.
fn said(asked: u8, index: u8, number: u64) -> [u8; Connections::BYTES] {
    Connections { most: 8, asked, index, number }.encode()
}

#[test]
fn who_claims_to_be_of_a_link_and_is_not_is_refused_and_the_link_is_made_all_the_same() {
    let ca = authority();
    let mut options = member(&ca, "chicago", "127.0.0.1:0", &[]);
    (options.timers.hello, options.timers.link_silence) = (Duration::from_secs(300), Duration::from_secs(300));
    let hub = start(options);
    let (own, other) = (identity(&ca, "liar"), identity(&ca, "thief"));
    let refused = || hub.counters().parts_refused.load(Ordering::Relaxed);
    let links = || hub.counters().links.load(Ordering::Relaxed);
    let why = |name: &str, claimed: [u8; Connections::BYTES]| {
        let before = refused();
        let security = if name == "liar" { &own } else { &other };
        let (granted, code, detail) = claim(&hub, name, security, &claimed).closed_because();
        assert_eq!((granted, code, refused()), (0, ErrorCode::BAD_CONNECTION, before + 1), "{detail}");
        detail
    };
    let refuse = |name: &str, claimed, expected: &str| {
        let detail = why(name, claimed);
        assert!(detail.contains(expected), "{expected}: {detail}");
    };
    refuse("liar", said(3, 1, 7), "no link of that number");
    let _first = claim(&hub, "liar", &own, &said(3, 0, 7));
    // Until the first has been heard.
    wait("the link waits for its connections", || why("liar", said(3, 3, 7)).contains("or fewer"));
    refuse("liar", said(3, 255, 7), "or fewer");
    refuse("thief", said(3, 1, 7), "no link of that number");
    refuse("liar", said(3, 0, 7), "another link of that number");
    // Two claim to be the second: one of them is.
    let before = refused();
    let _seconds = [claim(&hub, "liar", &own, &said(3, 1, 7)), claim(&hub, "liar", &own, &said(3, 1, 7))];
    wait("one of two is refused", || refused() == before + 1);
    assert_eq!(links(), 0, "the link waits for the third");
    let _third = claim(&hub, "liar", &own, &said(3, 2, 7));
    wait("the link stands", || links() == 1);
    assert_eq!(connections(&hub, "liar"), 3);
    refuse("liar", said(3, 1, 7), "no link of that number");
    assert_eq!(links(), 1);
    stop(hub);
}

#[test]
fn a_link_that_does_not_become_whole_is_given_up_in_time() {
    let ca = authority();
    let mut options = member(&ca, "chicago", "127.0.0.1:0", &[]);
    options.timers.hello = Duration::from_secs(2);
    let hub = start(options);
    let own = identity(&ca, "liar");
    let _first = claim(&hub, "liar", &own, &said(2, 0, 7));
    wait("it is given up", || hub.counters().failed_handshakes.load(Ordering::Relaxed) >= 1);
    let (_, code, detail) = claim(&hub, "liar", &own, &said(2, 1, 7)).closed_because();
    assert_eq!(code, ErrorCode::BAD_CONNECTION, "{detail}");
    assert_eq!(hub.counters().links.load(Ordering::Relaxed), 0);
    // What says it in too few bytes says nothing: that is a link of one connection.
    let _short = claim(&hub, "liar", &own, &said(2, 1, 7)[..Connections::BYTES - 1]);
    wait("the link stands", || hub.counters().links.load(Ordering::Relaxed) == 1);
    stop(hub);
}
