//! What of consumers outlives the hub, what is given up, and what is damaged.

use crate::common::consumers::{fill, spec, with_stream, with_stream_in};
use crate::common::{Raw, options, start, stop};
use std::path::Path;
use weft_base::SubscriptionId;
use weft_hub::Hub;
use weft_wire::block::Block;
use weft_wire::frame::{AckLevel, ConsumerSpec, ErrorCode, Frame, Start, StreamSpec, Verb};

fn restart(hub: Hub, data: &Path) -> Hub {
    stop(hub);
    start(options("hub", Some(data)))
}

#[test]
fn a_restart_keeps_what_was_settled_and_flags_what_comes_again() {
    let data = tempfile::tempdir().expect("a folder");
    let hub = with_stream(data.path());
    fill(&hub, 0..6);
    let mut client = Raw::connect(&hub, 2);
    client.create_consumer(ConsumerSpec { max_in_flight: 5, ..spec("c") });
    let token = client.consume_some(1, "c", 5).token;
    client.handed_all(5);
    client.ack_synced(1, token, &[(1, 1), (3, 1)]);
    let hub = restart(hub, data.path());
    let mut client = Raw::connect(&hub, 3);
    // Made again as it is, nothing changes.
    client.create_consumer(ConsumerSpec { max_in_flight: 5, ..spec("c") });
    let consuming = client.consume(1, "c");
    assert!(consuming.token > token, "an old token is fenced off after a restart too");
    let mut came = Vec::new();
    while came.len() < 4 {
        let handed = client.handed();
        came.extend(handed.sequences().into_iter().map(|sequence| (sequence, handed.attempt)));
    }
    came.sort_unstable();
    assert_eq!(came, [(2, 2), (4, 2), (5, 2), (6, 1)]);
    stop(hub);
}

#[test]
fn without_its_keyed_state_a_consumer_is_there_all_the_same() {
    let data = tempfile::tempdir().expect("a folder");
    let hub = with_stream(data.path());
    fill(&hub, 0..3);
    let mut client = Raw::connect(&hub, 2);
    client.create_consumer(ConsumerSpec { start: Start::Sequence(2), ..spec("c") });
    let token = client.consume(1, "c").token;
    client.handed_all(2);
    client.ack_synced(1, token, &[(2, 1)]);
    stop(hub);
    std::fs::remove_dir_all(data.path().join("keyed")).expect("there is one");
    let hub = start(options("hub", Some(data.path())));
    let mut client = Raw::connect(&hub, 3);
    let consuming = client.consume(1, "c");
    assert!(consuming.token > token);
    assert_eq!(client.handed_all(1)[0].0, 3, "its file knows where it was at the orderly end");
    stop(hub);
}

#[test]
fn a_file_of_consumers_that_is_damaged_is_left_alone_and_said() {
    let data = tempfile::tempdir().expect("a folder");
    let hub = with_stream(data.path());
    Raw::connect(&hub, 2).create_consumer(spec("c"));
    stop(hub);
    let file = data.path().join("streams/all/consumers.json");
    std::fs::write(&file, b"{ not json").expect("written");
    let hub = start(options("hub", Some(data.path())));
    let mut client = Raw::connect(&hub, 3);
    let create = weft_wire::frame::ConsumerCreate { request: 2, stream: "all", spec: spec("d") };
    client.send(&Frame::ConsumerCreate(create));
    let (_, code, detail) = client.refused();
    assert_eq!(code, ErrorCode::STORAGE);
    assert!(detail.contains("consumers.json"), "{detail}");
    stop(hub);
    assert_eq!(std::fs::read(&file).expect("there"), b"{ not json");
}

/// A dead letter: its payload, and each header's name and value.
type Letter = (Vec<u8>, Vec<(String, String)>);

/// Reads the dead letters.
fn letters(hub: &Hub, count: usize) -> Vec<Letter> {
    let mut reader = Raw::connect(hub, 50);
    let mut letters = Vec::new();
    reader.subscribe_with(1, "**", |s| (s.stream, s.start) = ("all-dead", Start::First));
    let first = reader.receive();
    assert!(matches!(first.frame(), Frame::Subscribed(_)), "{:?}", first.frame());
    while letters.len() < count {
        let received = reader.receive();
        let Frame::Deliver(deliver) = received.frame() else { panic!("{:?}", received.frame()) };
        let block = Block::validate(deliver.block).expect("sound");
        for event in block.events() {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let headers = event.headers.iter().map(|(name, value)| (name.to_owned(), text(value))).collect();
            assert_eq!(block.topic(), "t/a");
            letters.push((event.payload.to_vec(), headers));
        }
    }
    letters
}

fn header<'a>(letter: &'a Letter, name: &str) -> &'a str {
    letter.1.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}

#[test]
fn what_is_given_up_becomes_a_dead_letter_that_says_why() {
    let data = tempfile::tempdir().expect("a folder");
    let hub = with_stream(data.path());
    fill(&hub, 0..3);
    let mut client = Raw::connect(&hub, 2);
    client.create_consumer(ConsumerSpec { max_deliver: 2, ..spec("c") });
    let token = client.consume(1, "c").token;
    client.handed_all(3);
    client.settle_with(0, 1, token, Verb::Term, 0, "it is poison", &[(1, 1)]);
    client.settle(0, 1, token, Verb::Nack, &[(2, 1)]);
    assert_eq!(client.handed().sequences(), [2]);
    client.settle(0, 1, token, Verb::Nack, &[(2, 1)]);
    client.ack_synced(1, token, &[(3, 1)]);
    // The stream is made on first use: waited for by its letters being counted.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while hub.counters().consumer_dead.load(std::sync::atomic::Ordering::Relaxed) < 2 {
        assert!(std::time::Instant::now() < deadline, "the letters were not stored");
        client.round_trip();
    }
    let mut found = letters(&hub, 2);
    found.sort();
    let told = |letter| {
        ["reason", "stream", "consumer", "attempts", "sequence", "topic"]
            .map(|name| header(letter, &format!("weft-dead-{name}")).to_owned())
    };
    assert_eq!(found[0].0, [0]);
    assert_eq!(told(&found[0]), ["it is poison", "all", "c", "1", "1", "t/a"]);
    assert_eq!(found[1].0, [1]);
    assert_eq!(told(&found[1]), ["max-deliver", "all", "c", "2", "2", "t/a"]);
    let about = client.ask_about("c");
    let Frame::ConsumerReports(reports) = about.frame() else { panic!("{:?}", about.frame()) };
    assert_eq!((reports.reports[0].floor, reports.reports[0].dead, reports.reports[0].lag), (4, 2, 0));
    hub.counters().ledger().balance().expect("every copy is accounted for");
    stop(hub);
}

#[test]
fn an_event_too_large_for_its_dead_letter_leaves_one_that_says_what_is_missing() {
    let data = tempfile::tempdir().expect("a folder");
    let mut options = options("hub", Some(data.path()));
    options.limits.frame.0 = 8 << 10;
    let (frame, hub) = (options.limits.frame.as_usize(), with_stream_in(options));
    let mut publisher = Raw::connect(&hub, 3);
    let empty = publisher.block("t/a", &[&[]]).len();
    // With what a publish adds to a block it is as large as a frame may be.
    let large = vec![7; frame - empty - 64];
    publisher.publish_acked(1, AckLevel::Synced, "t/a", &[&large]);
    let mut client = Raw::connect(&hub, 2);
    client.create_consumer(spec("c"));
    let token = client.consume(1, "c").token;
    client.handed_all(1);
    client.settle_with(0, 1, token, Verb::Term, 0, "it is poison", &[(1, 1)]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while hub.counters().consumer_dead.load(std::sync::atomic::Ordering::Relaxed) < 1 {
        assert!(std::time::Instant::now() < deadline, "the letter was not stored: {:?}", hub.counters().list());
        client.round_trip();
    }
    let found = letters(&hub, 1);
    assert_eq!(found[0].0, [0; 0]);
    assert_eq!(
        ["reason", "sequence", "left-out"].map(|name| header(&found[0], &format!("weft-dead-{name}"))),
        ["it is poison", "1", "payload"]
    );
    stop(hub);
}

#[test]
fn events_below_a_work_queues_floor_go_once_all_is_settled() {
    let data = tempfile::tempdir().expect("a folder");
    let hub = start(options("hub", Some(data.path())));
    let mut client = Raw::connect(&hub, 2);
    let spec_of_stream = StreamSpec {
        name: "all",
        filters: vec!["t/**"],
        segment_bytes: 4 << 20,
        retention: weft_wire::frame::Retention::WorkQueue,
        ..StreamSpec::default()
    };
    client.create_stream(spec_of_stream);
    fill(&hub, 0..3);
    client.create_consumer(spec("c"));
    let token = client.consume(1, "c").token;
    client.handed_all(3);
    client.ack_synced(1, token, &[(1, 2)]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let info = weft_wire::frame::StreamInfo { request: 6, name: "all" };
        client.send(&Frame::StreamInfo(info));
        let received = client.receive();
        let Frame::StreamReports(reports) = received.frame() else { panic!("{:?}", received.frame()) };
        if reports.reports[0].first == 3 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the floor was not told");
    }
    stop(hub);
}

#[test]
fn a_damaged_block_is_skipped_and_told() {
    let data = tempfile::tempdir().expect("a folder");
    let hub = with_stream(data.path());
    fill(&hub, 0..3);
    Raw::connect(&hub, 2).create_consumer(spec("c"));
    stop(hub);
    let folder = data.path().join("streams/all");
    let segment = std::fs::read_dir(&folder)
        .expect("there")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| std::fs::metadata(path).is_ok_and(|meta| meta.len() >= 1 << 20))
        .expect("a segment");
    let mut bytes = std::fs::read(&segment).expect("read");
    // The payload of the second event: the second block's last eight bytes begin with it.
    let places: Vec<usize> = bytes.windows(3).enumerate().filter(|(_, w)| w == b"t/a").map(|(at, _)| at).collect();
    let [_, second, ..] = places.as_slice() else { panic!("three blocks: {places:?}") };
    bytes[second + 1] ^= 0xff;
    std::fs::write(&segment, bytes).expect("written");
    let hub = start(options("hub", Some(data.path())));
    let mut client = Raw::connect(&hub, 3);
    client.consume(1, "c");
    let (mut told, mut came) = (0, Vec::new());
    while told + came.len() < 3 {
        let received = client.receive();
        match received.frame() {
            Frame::Gap(gap) => {
                assert_eq!((gap.id, gap.reason), (SubscriptionId(1), weft_mesh::ledger::DropReason::Damaged as u8));
                told += gap.events as usize;
            }
            _ => came.extend(crate::common::consumers::Handed::of(&received).sequences()),
        }
    }
    assert_eq!((told, came), (1, vec![1, 3]));
    stop(hub);
}

#[test]
fn a_stream_that_was_set_back_takes_its_consumers_back_with_it() {
    let data = tempfile::tempdir().expect("a folder");
    let hub = with_stream(data.path());
    fill(&hub, 0..4);
    let mut client = Raw::connect(&hub, 2);
    client.create_consumer(spec("c"));
    let token = client.consume(1, "c").token;
    client.handed_all(4);
    client.ack_synced(1, token, &[(1, 2), (4, 1)]);
    stop(hub);
    // As when an older copy of the stream's folder is put in its place.
    let folder = data.path().join("streams/all");
    for entry in std::fs::read_dir(&folder).expect("there") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            std::fs::remove_file(path).expect("removed");
        }
    }
    let hub = start(options("hub", Some(data.path())));
    fill(&hub, 7..9);
    let mut client = Raw::connect(&hub, 3);
    client.consume(1, "c");
    assert_eq!(client.handed_all(2), [(1, vec![7]), (2, vec![8])]);
    stop(hub);
}
