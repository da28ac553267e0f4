//! Payloads are checked where they enter: what does not fit passes and is counted,
//! is refused, or lies in quarantine, as its subject says; order, and other
//! sessions, are as if nothing were checked.

use crate::common::inspector::Checking;
use crate::common::{Raw, options, payloads, stop};
use weft_hub::Hub;
use weft_topic::mapping::{MappingSpec, Mappings};
use weft_wire::block::{Block, EventFields};
use weft_wire::frame::{AckLevel, ErrorCode, Frame, Start, StreamSpec};
use weft_wire::headers::{HeadersWriter, names};

const REJECTS: (&str, &str) = ("orders", r#"{"topics":["t/**"],"check":"reject"}"#);
const WARNS: (&str, &str) = ("orders", r#"{"topics":["t/**"],"check":"warn"}"#);
const QUARANTINES: (&str, &str) = ("orders", r#"{"topics":["t/**"],"check":"quarantine","quarantine":"aside"}"#);

/// The answer to a publish: the sequence, or why not.
fn answer(client: &mut Raw, request: u64) -> Result<u64, (ErrorCode, String)> {
    let received = client.receive();
    match received.frame() {
        Frame::Ack(ack) if ack.request == request => Ok(ack.sequence),
        Frame::Error(error) if error.request == request => Err((error.code, error.detail.to_owned())),
        other => panic!("not the answer to {request}: {other:?}"),
    }
}

fn is_balanced(hub: &Hub) -> bool {
    hub.counters().ledger().balance().is_ok()
}

/// Waits until a publish is refused, or is not: until the hub goes by another state.
fn until(client: &mut Raw, topic: &str, payload: &[u8], is_taken: bool) {
    for request in 1_000..6_000 {
        client.publish(request, AckLevel::Routed, topic, &[payload]);
        if answer(client, request).is_ok() == is_taken {
            return;
        }
    }
    panic!("the state is not gone by");
}

#[test]
fn what_does_not_fit_is_refused_whole_with_where_and_which_schema_and_counted_where_nobody_asked() {
    let checking = Checking::start(options("hub", None), &[REJECTS]);
    let (mut client, mut reader) = (Raw::connect(&checking.hub, 1), Raw::connect(&checking.hub, 2));
    reader.subscribe(1, "**");
    client.publish(1, AckLevel::Routed, "t/a", &[b"one", b"bad", b"three"]);
    let (code, detail) = answer(&mut client, 1).expect_err("one is bad");
    assert_eq!(code, ErrorCode::UNFIT);
    for said in ["event 2 of 3", "`orders` version 3", "schema 7", "'good' at '/0': it is bad", "nothing of the block"]
    {
        assert!(detail.contains(said), "{said}: {detail}");
    }
    client.publish(0, AckLevel::None, "t/a", &[b"bad", b"good"]);
    client.publish(2, AckLevel::Routed, "t/a", &[b"good"]);
    assert!(answer(&mut client, 2).is_ok());
    assert_eq!(reader.delivered(), [b"good"]);
    assert_eq!((checking.count("ledger.dropped.unfit"), checking.count("schema.rejected")), (2, 2));
    // What was refused has changed nothing: the same numbers may be published again.
    let again = client.block("t/b", &[b"bad"]);
    client.publish_block(3, AckLevel::Routed, &again);
    assert!(answer(&mut client, 3).is_err());
    checking.change(&[("orders", r#"{"topics":["t/**"],"check":"reject","description":"lenient"}"#)]);
    until(&mut Raw::connect(&checking.hub, 3), "t/c", b"bad", true);
    client.publish_block(4, AckLevel::Routed, &again);
    assert!(answer(&mut client, 4).is_ok());
    assert!(is_balanced(&checking.hub));
    stop(checking.hub);
}

#[test]
fn where_it_is_only_warned_all_passes_and_is_counted_and_what_is_off_is_not_looked_at() {
    let checking = Checking::start(options("hub", None), &[WARNS, ("off", r#"{"topics":["o/**"],"check":"off"}"#)]);
    let (mut client, mut reader) = (Raw::connect(&checking.hub, 1), Raw::connect(&checking.hub, 2));
    reader.subscribe(1, "**");
    client.publish_acked(1, AckLevel::Routed, "t/a", &[b"bad", b"good", b"bad"]);
    assert_eq!(reader.delivered(), [&b"bad"[..], b"good", b"bad"]);
    client.publish_acked(2, AckLevel::Routed, "o/a", &[b"bad"]);
    assert_eq!(reader.delivered(), [b"bad"]);
    assert_eq!((checking.count("schema.warned"), checking.count("schema.checked")), (2, 3));
    stop(checking.hub);
}

/// Headers, as texts.
type Headers = Vec<(String, String)>;

/// What a stream has: payloads, and headers of each.
fn read(hub: &Hub, stream: &str, upto: usize) -> Vec<(Vec<u8>, Headers)> {
    let mut reader = Raw::connect(hub, 9);
    reader.subscribe_with(1, "**", |subscribe| (subscribe.stream, subscribe.start) = (stream, Start::First));
    let mut found = Vec::new();
    while found.len() < upto {
        let received = reader.receive();
        if let Frame::Deliver(deliver) = received.frame() {
            let block = Block::validate(deliver.block).expect("a sound block");
            for event in block.events() {
                let headers = event.headers.iter();
                let headers =
                    headers.map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value).into_owned()));
                found.push((event.payload.to_vec(), headers.collect()));
            }
        }
    }
    found
}

#[test]
fn what_does_not_fit_lies_in_quarantine_before_the_rest_of_its_block_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let checking = Checking::start(options("hub", Some(folder.path())), &[QUARANTINES]);
    let (mut client, mut reader) = (Raw::connect(&checking.hub, 1), Raw::connect(&checking.hub, 2));
    reader.subscribe(1, "**");
    client.publish(1, AckLevel::Routed, "t/a", &[b"one", b"bad two", b"three"]);
    client.publish(2, AckLevel::Routed, "t/a", &[b"bad four"]);
    client.publish(3, AckLevel::Routed, "elsewhere", &[b"bad five"]);
    let sequences: Vec<u64> = (1..=3).map(|request| answer(&mut client, request).expect("it is safe")).collect();
    assert!(sequences[0] > 0 && sequences[2] > 0, "{sequences:?}");
    assert_eq!(sequences[1], 0, "all of it is in quarantine, and the receipt says so");
    // In the place of what is in quarantine nothing stands.
    let received = reader.receive();
    let Frame::Deliver(deliver) = received.frame() else { panic!("not a delivery") };
    let block = Block::validate(deliver.block).expect("a sound block");
    assert!(block.is_compacted() && block.events().nth(1).is_some_and(|event| event.is_removed()));
    assert_eq!(payloads(deliver.block), [&b"one"[..], b"", b"three"]);
    assert_eq!(reader.delivered(), [b"bad five"]);
    let aside = read(&checking.hub, "aside-hub", 2);
    assert_eq!(aside.iter().map(|(payload, _)| payload.as_slice()).collect::<Vec<_>>(), [&b"bad two"[..], b"bad four"]);
    let said = |name: &str| aside[0].1.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(said(names::QUARANTINE_SUBJECT), Some("orders"));
    assert_eq!(said(names::QUARANTINE_VERSION), Some("3"));
    assert_eq!(said(names::QUARANTINE_BY), Some("test"));
    assert_eq!(said(names::QUARANTINE_EVENT), Some("0000000000000001/2"));
    assert_eq!(checking.count("schema.quarantined"), 2);
    assert!(is_balanced(&checking.hub));
    stop(checking.hub);
}

#[test]
fn what_comes_out_of_quarantine_and_does_not_fit_is_refused_and_not_put_there_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let checking = Checking::start(options("hub", Some(folder.path())), &[QUARANTINES]);
    let mut client = Raw::connect(&checking.hub, 1);
    let mut headers = Vec::new();
    HeadersWriter::new(&mut headers).push(names::REPLAYED, b"aside-hub/1").expect("a header");
    let event = EventFields { headers: &headers, payload: b"bad", ..EventFields::default() };
    let mut bytes = vec![0; 512];
    let mut writer =
        weft_wire::block::BlockWriter::new(&mut bytes, &weft_wire::block::BlockFields::new("t/a")).expect("room");
    writer.push(&event).expect("room");
    let len = writer.finish().expect("an event");
    client.publish_block(1, AckLevel::Synced, &bytes[..len]);
    assert_eq!(answer(&mut client, 1).expect_err("it is bad").0, ErrorCode::UNFIT);
    assert_eq!(checking.count("schema.quarantined"), 0);
    stop(checking.hub);
}

#[test]
fn without_a_place_for_a_quarantine_its_publisher_is_told_and_nothing_goes_on() {
    let checking = Checking::start(options("hub", None), &[QUARANTINES]);
    let (mut client, mut reader) = (Raw::connect(&checking.hub, 1), Raw::connect(&checking.hub, 2));
    reader.subscribe(1, "**");
    client.publish(1, AckLevel::Routed, "t/a", &[b"one", b"bad"]);
    assert_eq!(answer(&mut client, 1).expect_err("there is no disk").0, ErrorCode::UNKEPT);
    client.publish(0, AckLevel::None, "t/a", &[b"one", b"bad"]);
    client.publish_acked(2, AckLevel::Routed, "t/a", &[b"good"]);
    assert_eq!(reader.delivered(), [b"good"]);
    assert_eq!(checking.count("ledger.dropped.not_quarantined"), 2);
    assert!(is_balanced(&checking.hub));
    stop(checking.hub);
}

#[test]
fn the_order_of_a_session_holds_over_topics_that_are_checked_and_others() {
    let checking = Checking::start(options("hub", None), &[REJECTS]);
    let (mut client, mut reader) = (Raw::connect(&checking.hub, 1), Raw::connect(&checking.hub, 2));
    reader.subscribe(1, "**");
    let all: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    for (n, payload) in all.iter().enumerate() {
        let topic = ["t/a", "u/a", "t/b"][n % 3];
        client.publish(0, AckLevel::None, topic, &[payload.as_bytes()]);
    }
    client.publish(1, AckLevel::Routed, "u/a", &[b"end"]);
    assert!(answer(&mut client, 1).is_ok());
    let mut got = Vec::new();
    while got.last().is_none_or(|last: &Vec<u8>| last != b"end") {
        got.extend(reader.delivered());
    }
    got.pop();
    assert_eq!(got, all.iter().map(|payload| payload.as_bytes().to_vec()).collect::<Vec<_>>());
    stop(checking.hub);
}

#[test]
fn a_check_that_takes_long_holds_up_its_own_session_which_is_not_read_and_loses_nothing() {
    let slow = ("slow", r#"{"topics":["slow/**"],"check":"reject"}"#);
    let checking = Checking::start(options("hub", None), &[slow]);
    let (mut client, mut other) = (Raw::connect(&checking.hub, 1), Raw::connect(&checking.hub, 2));
    let mut reader = Raw::connect(&checking.hub, 3);
    reader.subscribe(1, "**");
    checking.gate.shut(true);
    for n in 0..300 {
        client.publish(0, AckLevel::None, "slow/a", &[n.to_string().as_bytes()]);
    }
    while checking.count("schema.held") == 0 {
        other.publish_acked(1, AckLevel::Routed, "quick", &[b"x"]);
        assert_eq!(reader.delivered(), [b"x"]);
    }
    assert!(checking.count("schema.waiting") <= 64, "it is bounded");
    checking.gate.shut(false);
    let mut got = Vec::new();
    while got.len() < 300 {
        got.extend(reader.delivered());
    }
    assert_eq!(got, (0..300).map(|n| n.to_string().into_bytes()).collect::<Vec<_>>());
    stop(checking.hub);
}

#[test]
fn what_was_published_by_a_session_that_has_gone_is_published_and_a_hub_that_stops_waits_for_it() {
    let slow = ("slow", r#"{"topics":["slow/**"],"check":"reject"}"#);
    let checking = Checking::start(options("hub", None), &[slow]);
    let mut reader = Raw::connect(&checking.hub, 2);
    reader.subscribe(1, "**");
    checking.gate.shut(true);
    let mut client = Raw::connect(&checking.hub, 1);
    for n in 0..10 {
        client.publish(0, AckLevel::None, "slow/a", &[&[n]]);
    }
    client.round_trip();
    drop(client);
    let clients = |checking: &Checking| checking.count("sessions.clients");
    while clients(&checking) > 1 {
        reader.round_trip();
    }
    checking.gate.shut(false);
    let got: Vec<Vec<u8>> = (0..10).flat_map(|_| reader.delivered()).collect();
    assert_eq!(got, (0..10).map(|n| vec![n]).collect::<Vec<_>>());
    stop(checking.hub);
}

#[test]
fn a_mapped_topic_is_checked_as_what_it_becomes() {
    let mut options = options("hub", None);
    let spec =
        MappingSpec { from: "in/*".to_owned(), to: vec![(Some("t/{1}".to_owned()), 1)], ..MappingSpec::default() };
    options.mapping = Mappings::new(&[spec]).expect("a rule");
    let checking = Checking::start(options, &[REJECTS]);
    let mut client = Raw::connect(&checking.hub, 1);
    client.publish(1, AckLevel::Routed, "in/a", &[b"bad"]);
    assert_eq!(answer(&mut client, 1).expect_err("it becomes `t/a`").0, ErrorCode::UNFIT);
    client.publish_acked(2, AckLevel::Routed, "in/a/b", &[b"bad"]);
    stop(checking.hub);
}

/// A hub where what is published below `in/` goes to `t/` or to `u/`.
fn splitting(data: Option<&std::path::Path>) -> weft_hub::HubOptions {
    let to = ["t/{1}", "u/{1}"].map(|to| (Some(to.to_owned()), 1));
    let spec = MappingSpec { from: "in/*".to_owned(), to: to.into(), ..MappingSpec::default() };
    weft_hub::HubOptions { mapping: Mappings::new(&[spec]).expect("a rule"), ..options("hub", data) }
}

#[test]
fn of_all_that_a_mapped_topic_may_become_the_strictest_check_counts() {
    for (first, second) in [("t", "u"), ("u", "t")] {
        let warns = format!(r#"{{"topics":["{first}/**"],"check":"warn"}}"#);
        let rejects = format!(r#"{{"topics":["{second}/**"],"check":"reject"}}"#);
        let checking = Checking::start(splitting(None), &[("lenient", &warns), ("strict", &rejects)]);
        let mut client = Raw::connect(&checking.hub, 1);
        client.publish(1, AckLevel::Routed, "in/a", &[b"bad"]);
        let (code, detail) = answer(&mut client, 1).expect_err("it may become what is refused");
        assert!(code == ErrorCode::UNFIT && detail.contains("`strict`"), "{detail}");
        stop(checking.hub);
    }
}

#[test]
fn events_of_one_block_go_each_to_the_quarantine_of_the_topic_that_they_do_not_fit() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = r#"{"topics":["t/**"],"check":"quarantine","quarantine":"one"}"#;
    let two = r#"{"topics":["u/**"],"check":"quarantine","quarantine":"two","description":"evil"}"#;
    let checking = Checking::start(splitting(Some(folder.path())), &[("one", one), ("two", two)]);
    let mut client = Raw::connect(&checking.hub, 1);
    client.publish(1, AckLevel::Routed, "in/a", &[b"bad", b"good", b"evil"]);
    assert!(answer(&mut client, 1).expect("it is safe") > 0);
    for (stream, payload) in [("one-hub", b"bad".as_slice()), ("two-hub", b"evil")] {
        let there: Vec<Vec<u8>> = read(&checking.hub, stream, 1).into_iter().map(|(payload, _)| payload).collect();
        assert_eq!(there, [payload], "{stream}");
    }
    assert_eq!(checking.count("schema.quarantined"), 2);
    assert!(is_balanced(&checking.hub));
    stop(checking.hub);
}

#[test]
fn a_stream_of_somebody_elses_is_no_quarantine() {
    let folder = tempfile::tempdir().expect("a folder");
    let checking = Checking::start(options("hub", Some(folder.path())), &[QUARANTINES]);
    let mut client = Raw::connect(&checking.hub, 1);
    let spec = StreamSpec { name: "aside-hub", filters: vec!["other/**"], ..StreamSpec::default() };
    client.create_stream(spec);
    client.publish(2, AckLevel::Routed, "t/a", &[b"bad"]);
    let (code, detail) = answer(&mut client, 2).expect_err("it has another use");
    assert_eq!(code, ErrorCode::UNKEPT);
    assert!(detail.contains("`aside-hub`"), "{detail}");
    stop(checking.hub);
}
