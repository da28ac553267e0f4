//! Requests and replies over real hubs and sockets.

use crate::common::mesh::{authority, line, until, wants};
use crate::common::{Raw, options, payloads, start, stop};
use weft_base::ProducerId;
use weft_wire::block::layout::REQUEST;
use weft_wire::block::{Block, BlockFields, BlockWriter, EventFields};
use weft_wire::frame::{AckLevel, ErrorCode, Frame, REPLY_INBOX};
use weft_wire::headers::{HeadersWriter, names};

/// Opens the session's inbox.
fn open_inbox(client: &mut Raw) {
    let inbox = client.address.inbox();
    client.subscribe_with(REPLY_INBOX.0, &inbox, |_| {});
    assert!(matches!(client.receive().frame(), Frame::Subscribed(s) if s.id == REPLY_INBOX));
}

/// A request of this number, which is its token as well.
fn request(client: &mut Raw, number: u64, topic: &str, payload: &[u8]) {
    let reply_to = client.address.topic(number);
    let mut headers = Vec::new();
    HeadersWriter::new(&mut headers).push(names::REPLY_TO, reply_to.as_bytes()).expect("it fits");
    let producer = ProducerId(0x7e57_0000 | number);
    let fields = BlockFields { flags: REQUEST, producer, first_sequence: 1, ..BlockFields::new(topic) };
    let mut bytes = vec![0; 4096];
    let mut writer = BlockWriter::new(&mut bytes, &fields).expect("it fits");
    writer.push(&EventFields { headers: &headers, payload, ..EventFields::default() }).expect("it fits");
    let len = writer.finish().expect("an event");
    client.publish_block(number, AckLevel::Routed, &bytes[..len]);
}

fn receivers(client: &mut Raw) -> u32 {
    match client.receive().frame() {
        Frame::Ack(ack) => ack.receivers,
        other => panic!("not an acknowledgement: {other:?}"),
    }
}

/// Takes a request and answers each of the payloads to where it says.
fn answer(responder: &mut Raw, answers: &[&[u8]]) {
    let received = responder.receive();
    let Frame::Deliver(deliver) = received.frame() else { panic!("not a delivery: {:?}", received.frame()) };
    let block = Block::validate(deliver.block).expect("a sound block");
    let event = block.events().next().expect("an event");
    let reply_to = event.headers.get(names::REPLY_TO).expect("an address");
    let topic = std::str::from_utf8(reply_to).expect("a topic").to_owned();
    for (n, payload) in (100..).zip(answers) {
        responder.publish_acked(n, AckLevel::Routed, &topic, &[payload]);
    }
}

fn refused(client: &mut Raw) -> ErrorCode {
    match client.receive().frame() {
        Frame::Error(error) => error.code,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_request_without_responders_is_refused_at_once() {
    let hub = start(options("solo", None));
    let mut client = Raw::connect(&hub, 1);
    open_inbox(&mut client);
    request(&mut client, 5, "time/now", b"?");
    assert_eq!(refused(&mut client), ErrorCode::NO_RESPONDERS);
    let mut responder = Raw::connect(&hub, 2);
    responder.join(1, "time/*", "clocks", 1);
    request(&mut client, 6, "time/now", b"?");
    assert_eq!(receivers(&mut client), 1);
    answer(&mut responder, &[b"noon"]);
    assert_eq!(client.delivered(), [b"noon"]);
    drop(responder);
    until(&mut client, "the responder is gone", |r| wants(r, "solo", 0));
    request(&mut client, 7, "time/now", b"?");
    assert_eq!(refused(&mut client), ErrorCode::NO_RESPONDERS);
    hub.counters().ledger().balance().expect("every copy is accounted for");
    stop(hub);
}

#[test]
fn replies_cross_the_mesh_to_the_session_that_asked_and_nobody_else_sees_them() {
    let ca = authority();
    let [east, middle, west] = line(&ca);
    let mut client = Raw::connect(&east, 1);
    open_inbox(&mut client);
    let mut curious: Vec<Raw> = [&east, &middle, &west].map(|hub| Raw::connect(hub, 9)).into();
    for filter in ["replies-are-not-here/**", "nor-here"] {
        curious.iter_mut().for_each(|c| c.subscribe(filter.len() as u64, filter));
    }
    let mut everything = Raw::connect(&middle, 10);
    everything.subscribe(1, "**");
    let mut responder = Raw::connect(&west, 2);
    responder.subscribe(1, "time/*");
    until(&mut client, "the responder is known", |r| wants(r, "los-angeles", 3) && wants(r, "chicago", 1));
    request(&mut client, 1, "time/now", b"?");
    assert_eq!(receivers(&mut client), 2, "the responder's hub, and one with a curious subscriber");
    answer(&mut responder, &[b"1", b"2", b"3"]);
    for n in [b"1", b"2", b"3"] {
        let received = client.receive();
        let Frame::Deliver(deliver) = received.frame() else { panic!("not a delivery: {:?}", received.frame()) };
        assert_eq!((deliver.id, deliver.hops), (REPLY_INBOX, 2));
        assert_eq!(payloads(deliver.block), [n]);
    }
    assert_eq!(everything.delivered(), [b"?"], "the request is an event as others");
    assert_eq!(everything.drain().len(), 0, "replies are not");
    // With the responder's hub gone there is only who listens to everything.
    drop(responder);
    west.stop().expect("no stage failed");
    drop(everything);
    until(&mut client, "nobody is left", |r| wants(r, "chicago", 2) && !wants(r, "los-angeles", 2));
    request(&mut client, 2, "time/now", b"?");
    assert_eq!(refused(&mut client), ErrorCode::NO_RESPONDERS);
    for hub in [&east, &middle] {
        hub.counters().ledger().balance().expect("every copy is accounted for");
    }
    drop(curious);
    for hub in [east, middle] {
        stop(hub);
    }
}

#[test]
fn the_reserved_space_is_closed_to_all_but_replies() {
    let hub = start(options("solo", None));
    let mut client = Raw::connect(&hub, 1);
    let other = Raw::connect(&hub, 2);
    let inbox = other.address.inbox();
    for (id, filter) in [(1, "_reply/**"), (2, "_x"), (3, inbox.as_str()), (REPLY_INBOX.0, inbox.as_str())] {
        client.subscribe_with(id, filter, |_| {});
        assert_eq!(refused(&mut client), ErrorCode::FORBIDDEN, "{filter}");
    }
    for topic in ["_x/y", "_reply/1", "_reply/x/y/z"] {
        client.publish(1, AckLevel::Routed, topic, &[b"x"]);
        assert_eq!(refused(&mut client), ErrorCode::BAD_TOPIC, "{topic}");
    }
    // To a session that has no inbox open, and to one that there is not: dropped, counted.
    client.publish_acked(2, AckLevel::Routed, &other.address.topic(1), &[b"x"]);
    client.publish_acked(3, AckLevel::Routed, "_reply/1/1/token", &[b"x"]);
    client.round_trip();
    hub.counters().ledger().balance().expect("every copy is accounted for");
    stop(hub);
}
