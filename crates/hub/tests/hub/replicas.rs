//! Streams with several homes and mirrors over real sockets: writers
//! everywhere, cuts, a dead hub, and what each home has afterwards.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::triangle::{NAMES, Triangle, create, has_all, publish, stream, until, with_stream};
use crate::common::{Raw, payloads, stop};
use weft_base::{HubId, ProducerId};
use weft_hub::Hub;
use weft_log::offline::{Options, survey};
use weft_wire::block::layout::{BATCH_LAST, BATCH_OPEN};
use weft_wire::block::{Block, BlockFields, BlockWriter, EventFields};
use weft_wire::frame::{self, AckLevel, AwaitLevel, ErrorCode, Frame, Start, StreamAlter, StreamRole, StreamSpec};
use weft_wire::headers::{HeadersWriter, names};

type Event = (u32, u64, String, Vec<u8>);

/// All events of a stream: home, home sequence, topic, payload.
fn events(hub: &Hub, name: &str, count: usize) -> Vec<Event> {
    let mut reader = Raw::connect(hub, 901);
    reader.subscribe_with(1, "**", |s| (s.stream, s.start) = (name, Start::First));
    let answer = reader.receive();
    assert!(matches!(answer.frame(), Frame::Subscribed(_)), "{:?}", answer.frame());
    let mut found = Vec::new();
    while found.len() < count {
        let received = reader.receive();
        let Frame::Deliver(deliver) = received.frame() else { panic!("not a delivery: {:?}", received.frame()) };
        let block = Block::validate(deliver.block).expect("a sound block");
        let (home, first) = block.home().expect("it is in a stream");
        for (n, payload) in payloads(deliver.block).into_iter().enumerate() {
            found.push((home, first + n as u64, block.topic().to_owned(), payload));
        }
    }
    found
}

#[test]
fn three_homes_with_writers_everywhere_converge_through_two_cuts_and_a_dead_hub() {
    let mut triangle = Triangle::new();
    create(&mut Raw::connect(triangle.hub(0), 1), stream("all", &NAMES));
    // It gets to the other homes by itself.
    for at in 1..3 {
        until(triangle.hub(at), "all", "it is a home", |report| report.spec.homes.len() == 3);
    }
    (0..3).for_each(|at| publish(&triangle, at, 10 + at as u64, 0..20, AckLevel::Synced));
    (0..3).for_each(|at| has_all(&triangle, at, [20, 20, 20]));
    // Cut off: the others go on without it, and it without them.
    triangle.ways[1].cut(true);
    triangle.ways[2].cut(true);
    (0..3).for_each(|at| publish(&triangle, at, 20 + at as u64, 0..20, AckLevel::Synced));
    (0..2).for_each(|at| has_all(&triangle, at, [40, 40, 20]));
    has_all(&triangle, 2, [20, 20, 40]);
    // Whole by one way, and another is cut: what entered at 1 comes by 0.
    triangle.ways[0].cut(true);
    triangle.ways[1].cut(false);
    (0..3).for_each(|at| publish(&triangle, at, 30 + at as u64, 0..5, AckLevel::Synced));
    triangle.ways[2].cut(false);
    triangle.ways[0].cut(false);
    (0..3).for_each(|at| has_all(&triangle, at, [45, 45, 45]));
    // One dies; what entered there is given by the others, which go on.
    triangle.kill(1);
    publish(&triangle, 0, 40, 0..10, AckLevel::Synced);
    publish(&triangle, 2, 42, 0..10, AckLevel::Synced);
    (0..3).step_by(2).for_each(|at| has_all(&triangle, at, [55, 45, 55]));
    triangle.restart(1);
    publish(&triangle, 1, 41, 0..10, AckLevel::Synced);
    (0..3).for_each(|at| has_all(&triangle, at, [55, 55, 55]));

    let all: Vec<Vec<Event>> = (0..3).map(|at| events(triangle.hub(at), "all", 165)).collect();
    let mut by_name: Vec<BTreeMap<(u32, u64), Vec<u8>>> = Vec::new();
    println!("{:<12} {:>8} {:>8} {:>8} {:>8}", "home", "entered", "copied", "again", "events");
    for (at, found) in all.iter().enumerate() {
        let hub = triangle.hub(at);
        let tag = hub.identity().id.tag();
        for home in NAMES.map(|name| HubId::of_name(name).tag()) {
            let order: Vec<u64> = found.iter().filter(|e| e.0 == home).map(|e| e.1).collect();
            assert_eq!(order, (1..=55).collect::<Vec<_>>(), "each home's events are there once and in order");
        }
        by_name.push(found.iter().map(|e| ((e.0, e.1), e.3.clone())).collect());
        let count = |name: &str| hub.counters().list().into_iter().find(|(n, _)| n == name).map_or(0, |(_, n)| n);
        let entered = found.iter().filter(|e| e.0 == tag).count();
        let (copied, again) = (count("replica.copied"), count("replica.again"));
        println!("{:<12} {entered:>8} {copied:>8} {again:>8} {:>8}", NAMES[at], found.len());
        assert_eq!(count("replica.lost"), 0);
    }
    assert!(by_name.iter().all(|names| *names == by_name[0]), "every event has one name in the mesh");
    triangle.stop();
}

/// Publishes one event that so many homes must have.
fn publish_for(client: &mut Raw, request: u64, homes: u8) {
    let block = client.block("t/a", &[format!("{request}").as_bytes()]);
    client.send_bytes(&frame::publish_homes_head(request, homes, block.len()));
    client.send_bytes(&block);
}

#[test]
fn an_acknowledgement_by_two_homes_comes_once_two_have_it_and_not_before() {
    let triangle = with_stream();
    let mut client = Raw::connect(triangle.hub(0), 5);
    publish_for(&mut client, 1, 2);
    let answer = client.receive();
    assert!(
        matches!(answer.frame(), Frame::Ack(a) if a.level == AckLevel::Homes && a.homes == 2),
        "{:?}",
        answer.frame()
    );
    publish_for(&mut client, 2, 4);
    let answer = client.receive();
    assert!(matches!(answer.frame(), Frame::Error(e) if e.code == ErrorCode::TOO_FEW_HOMES), "{:?}", answer.frame());
    // Alone it has one home; a lower level is reached, and the higher one awaited.
    triangle.ways[0].cut(true);
    triangle.ways[1].cut(true);
    until(triangle.hub(0), "all", "it is alone", |report| report.state.matches("out of reach").count() == 2);
    client.publish(3, AckLevel::Synced, "t/a", &[b"alone"]);
    let answer = client.receive();
    let Frame::Ack(ack) = answer.frame() else { panic!("not an acknowledgement: {:?}", answer.frame()) };
    let (home, home_sequence) = (ack.home, ack.home_sequence);
    assert_eq!((home, home_sequence), (triangle.hub(0).identity().id, 2));
    let level = |request, homes| {
        let level = AckLevel::Homes;
        Frame::AwaitLevel(AwaitLevel { request, stream: "all", home, home_sequence, level, homes })
    };
    client.send(&level(4, 3));
    publish_for(&mut client, 5, 2);
    // Whatever the other homes do not have is not acknowledged.
    until(triangle.hub(0), "all", "it is on this disk", |report| report.synced == 4);
    client.send(&Frame::Ping(frame::Ping { id: 7, time: 0 }));
    assert!(matches!(client.receive().frame(), Frame::Pong(_)), "no acknowledgement came before");
    triangle.ways[0].cut(false);
    let mut reached = Vec::new();
    for _ in 0..2 {
        let answer = client.receive();
        let Frame::Ack(ack) = answer.frame() else { panic!("not an acknowledgement: {:?}", answer.frame()) };
        reached.push((ack.request, ack.level, ack.homes));
    }
    reached.sort_by_key(|ack| ack.0);
    assert_eq!(reached, [(4, AckLevel::Homes, 3), (5, AckLevel::Homes, 2)]);
    triangle.stop();
}

#[test]
fn a_mirror_takes_what_its_filter_matches_under_other_topics_and_takes_no_publishes() {
    let triangle = with_stream();
    for (n, topic) in ["t/a/1", "t/b/1", "t/a/2"].into_iter().enumerate() {
        Raw::connect(triangle.hub(n), 60 + n as u64).publish_acked(1, AckLevel::Synced, topic, &[topic.as_bytes()]);
    }
    let mirror = StreamSpec {
        filters: vec!["t/a/**"],
        mirror_of: "all",
        mirror_prefix: ("t", "copy/of"),
        ..stream("copy", &[])
    };
    create(&mut Raw::connect(triangle.hub(1), 1), mirror.clone());
    until(triangle.hub(1), "copy", "it has two events", |report| report.synced == 3);
    let mut found = events(triangle.hub(1), "copy", 2);
    found.sort();
    let mut expected: Vec<Event> = [(0, "t/a/1"), (2, "t/a/2")]
        .into_iter()
        .map(|(at, topic)| {
            let tag = triangle.hub(at).identity().id.tag();
            (tag, 1, topic.replace("t/", "copy/of/"), topic.as_bytes().to_vec())
        })
        .collect();
    expected.sort();
    assert_eq!(found, expected, "home and sequence are those of the source");
    let mut client = Raw::connect(triangle.hub(1), 70);
    client.publish(1, AckLevel::Synced, "copy/of/x", &[b"x"]);
    assert!(matches!(client.receive().frame(), Frame::Error(e) if e.code == ErrorCode::NO_STREAM));
    // It goes on by another home when its source dies, and becomes a home when it is told to.
    publish(&triangle, 2, 71, 0..3, AckLevel::Synced);
    Raw::connect(triangle.hub(2), 72).publish_acked(1, AckLevel::Synced, "t/a/3", &[b"3"]);
    until(triangle.hub(1), "copy", "it follows", |report| report.synced >= 4);
    let before = triangle.hub(1).counters().list();
    let home = StreamSpec { filters: vec!["copy/**"], mirror_of: "", mirror_prefix: ("", ""), ..mirror };
    client.send(&Frame::StreamAlter(StreamAlter { request: 9, spec: home }));
    assert!(matches!(client.receive().frame(), Frame::Done(_)), "{before:?}");
    client.publish_acked(10, AckLevel::Synced, "copy/of/x", &[b"x"]);
    triangle.stop();
}

/// Changes a definition, by asking one hub; why it is refused somewhere.
fn alter(triangle: &Triangle, at: usize, spec: StreamSpec<'_>) -> Option<ErrorCode> {
    let mut client = Raw::connect(triangle.hub(at), 81);
    client.send(&Frame::StreamAlter(StreamAlter { request: 1, spec }));
    match client.receive().frame() {
        Frame::Done(_) => None,
        Frame::Error(error) => Some(error.code),
        other => panic!("neither: {other:?}"),
    }
}

#[test]
fn a_home_that_gives_up_its_role_takes_no_publishes_and_still_gives_what_entered_there() {
    let mut triangle = with_stream();
    triangle.ways[1].cut(true);
    triangle.ways[2].cut(true);
    until(triangle.hub(2), "all", "it is alone", |report| report.state.matches("out of reach").count() == 2);
    publish(&triangle, 2, 80, 0..10, AckLevel::Synced);
    for at in 0..3 {
        // Who cannot be reached is told later, there.
        let _ = alter(&triangle, at, stream("all", &NAMES[..2]));
    }
    until(triangle.hub(2), "all", "it is no home", |report| report.role == StreamRole::Mirror);
    triangle.ways[1].cut(false);
    triangle.ways[2].cut(false);
    (0..3).for_each(|at| has_all(&triangle, at, [0, 0, 10]));
    // A publish there goes to a home, and comes back as a copy.
    Raw::connect(triangle.hub(2), 82).publish_acked(1, AckLevel::Synced, "t/a", &[b"after"]);
    until(triangle.hub(2), "all", "the copy is there", |report| report.synced == 12);
    let found = events(triangle.hub(2), "all", 11);
    assert_ne!(found[10].0, triangle.hub(2).identity().id.tag(), "it entered elsewhere");
    // Promoted again it goes on where it was, without a copy from the start.
    assert_eq!(alter(&triangle, 0, stream("all", &NAMES)), None);
    let other = StreamSpec { segment_bytes: 8 << 20, ..stream("all", &NAMES) };
    assert_eq!(alter(&triangle, 1, other), Some(ErrorCode::FIXED));
    triangle.kill(2);
    triangle.restart(2);
    publish(&triangle, 2, 84, 0..5, AckLevel::Synced);
    let third = triangle.hub(2).identity().id;
    (0..3).for_each(|at| {
        until(triangle.hub(at), "all", "all is there", |report| {
            report.synced == 17 && report.position.contains(&(third, 16))
        });
    });
    triangle.stop();
}

#[test]
fn a_home_that_lost_its_disk_gets_its_own_events_back_before_it_takes_new_ones() {
    let mut triangle = with_stream();
    (0..3).for_each(|at| publish(&triangle, at, 10 + at as u64, 0..10, AckLevel::Synced));
    (0..3).for_each(|at| has_all(&triangle, at, [10, 10, 10]));
    triangle.kill(0);
    std::fs::remove_dir_all(triangle.data.path().join(NAMES[0]).join("streams/all")).expect("it is there");
    triangle.restart(0);
    // The definition comes from the other homes, as do the events, its own too.
    until(triangle.hub(0), "all", "all is back", |report| report.synced == 31);
    has_all(&triangle, 0, [10, 10, 10]);
    publish(&triangle, 0, 20, 0..5, AckLevel::Synced);
    (0..3).for_each(|at| has_all(&triangle, at, [15, 10, 10]));
    let names =
        |at: usize| events(triangle.hub(at), "all", 35).into_iter().map(|e| (e.0, e.1, e.3)).collect::<BTreeSet<_>>();
    assert_eq!(names(0), names(1), "no name was given twice");
    assert_eq!(names(0).len(), 35);
    triangle.stop();
}

/// After damage a home goes on behind all numbers that may have been given
/// out, so that none is given twice. Who publishes again, and not the newest,
/// must not wait until others have events of such numbers.
#[test]
fn a_publish_that_comes_again_after_damage_does_not_wait_for_numbers_that_were_never_given() {
    let mut triangle = with_stream();
    let mut client = Raw::connect(triangle.hub(0), 5);
    let blocks: Vec<Vec<u8>> = (0..2).map(|n| client.block("t/a", &[&[n]])).collect();
    for (request, block) in (1..).zip(&blocks) {
        client.publish_block(request, AckLevel::Synced, block);
        assert!(matches!(client.receive().frame(), Frame::Ack(_)));
    }
    (0..3).for_each(|at| has_all(&triangle, at, [2, 0, 0]));
    publish(&triangle, 1, 10, 0..3, AckLevel::Synced);
    (0..3).for_each(|at| has_all(&triangle, at, [2, 3, 0]));
    // Killed, with a bit of the second copy flipped.
    let segment = triangle.data.path().join(NAMES[0]).join("streams/all/0000000001.seg");
    let bytes = std::fs::read(&segment).expect("it can be read");
    triangle.kill(0);
    let mut at = 4096;
    for _ in 0..3 {
        at += weft_wire::block::peek_len(&bytes[at..]).expect("a block") as usize;
    }
    flip(&triangle, 0, at as u64 + 130);
    let _ = std::fs::remove_file(segment.with_extension("idx"));
    triangle.restart(0);
    let own = triangle.hub(0).identity().id;
    until(triangle.hub(0), "all", "it goes on behind what was lost", |report| {
        report.position.contains(&(own, 4)) && !report.state.contains("out of reach")
    });
    let mut client = Raw::connect(triangle.hub(0), 5);
    client.send_bytes(&frame::publish_homes_head(9, 2, blocks[0].len()));
    client.send_bytes(&blocks[0]);
    let answer = client.receive();
    let Frame::Ack(ack) = answer.frame() else { panic!("not an acknowledgement: {:?}", answer.frame()) };
    assert_eq!((ack.request, ack.level, ack.duplicate), (9, AckLevel::Homes, true));
    triangle.stop();
}

/// Who awaits a level of an event was kept waiting for ever when damage had
/// taken it before any other home had it: nobody would ever say so.
#[test]
fn a_level_of_an_event_that_damage_took_is_refused_and_not_waited_for() {
    let mut triangle = with_stream();
    triangle.ways[..2].iter().for_each(|way| way.cut(true));
    until(triangle.hub(0), "all", "it is alone", |report| report.state.matches("out of reach").count() == 2);
    publish(&triangle, 0, 5, 0..1, AckLevel::Synced);
    triangle.kill(0);
    flip(&triangle, 0, 4096 + 130);
    triangle.restart(0);
    let (mut client, home) = (Raw::connect(triangle.hub(0), 6), triangle.hub(0).identity().id);
    for (request, level, homes) in [(1, AckLevel::Homes, 2), (2, AckLevel::Synced, 0)] {
        client.send(&Frame::AwaitLevel(AwaitLevel { request, stream: "all", home, home_sequence: 1, level, homes }));
        let answer = client.receive();
        let Frame::Error(error) = answer.frame() else { panic!("not refused: {:?}", answer.frame()) };
        assert_eq!((error.request, error.code), (request, ErrorCode::DAMAGED), "{}", error.detail);
    }
    triangle.stop();
}

/// A publish that came again at another home was there as a copy, and counted for
/// homes that had all which entered there, and not that copy.
#[test]
fn what_is_here_as_a_copy_counts_for_no_home_that_does_not_have_it() {
    let triangle = with_stream();
    triangle.ways[1..].iter().for_each(|way| way.cut(true));
    until(triangle.hub(2), "all", "it is alone", |report| report.state.matches("out of reach").count() == 2);
    let mut first = Raw::connect(triangle.hub(1), 5);
    let block = first.block("t/a", &[b"once"]);
    first.publish_block(1, AckLevel::Synced, &block);
    assert!(matches!(first.receive().frame(), Frame::Ack(_)));
    has_all(&triangle, 0, [0, 1, 0]);
    let mut again = Raw::connect(triangle.hub(0), 5);
    for (request, homes) in [(1, 3), (2, 2)] {
        again.send_bytes(&frame::publish_homes_head(request, homes, block.len()));
        again.send_bytes(&block);
    }
    let mut reached = |request, homes| {
        let answer = again.receive();
        let Frame::Ack(ack) = answer.frame() else { panic!("not an acknowledgement: {:?}", answer.frame()) };
        assert_eq!((ack.request, ack.level, ack.homes, ack.duplicate), (request, AckLevel::Homes, homes, true));
    };
    reached(2, 2);
    triangle.ways[1].cut(false);
    reached(1, 3);
    triangle.stop();
}

/// Flips a bit of a stream's first segment, also while the hub runs.
fn flip(triangle: &Triangle, at: usize, offset: u64) {
    use std::os::unix::fs::FileExt;
    let path = triangle.data.path().join(NAMES[at]).join("streams/all/0000000001.seg");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("the first segment");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("it can be read");
    file.write_all_at(&[byte[0] ^ 1], offset).expect("it can be written");
}

#[test]
fn what_is_damaged_at_two_homes_is_repaired_from_the_third_while_they_run() {
    let triangle = with_stream();
    let mut client = Raw::connect(triangle.hub(0), 5);
    let payload = |n: u64| vec![n as u8; 500 << 10];
    (1..=10).for_each(|n| client.publish_acked(n, AckLevel::Synced, "t/a", &[&payload(n)]));
    (0..3).for_each(|at| has_all(&triangle, at, [10, 0, 0]));
    // The home that is asked first has it damaged too, and finds out by that.
    (0..2).for_each(|at| flip(&triangle, at, 700 << 10));
    let mut reader = Raw::connect(triangle.hub(0), 6);
    reader.subscribe_with(1, "**", |s| (s.stream, s.start) = ("all", Start::First));
    assert!(matches!(reader.receive().frame(), Frame::Subscribed(_)));
    let mut read = 0;
    while read < 10 {
        match reader.receive().frame() {
            Frame::Deliver(_) => read += 1,
            Frame::Gap(gap) => read += gap.events,
            other => panic!("neither: {other:?}"),
        }
    }
    for at in 0..2 {
        let hub = triangle.hub(at);
        let count = |name: &str| hub.counters().list().into_iter().find(|(n, _)| n == name).map_or(0, |(_, n)| n);
        until(hub, "all", "it is repaired", |report| {
            count("log.repaired") == 1 && !report.state.contains("segment") && !report.state.contains("damaged")
        });
        assert_eq!(count("log.repaired_events"), 1);
        let payloads: Vec<Vec<u8>> = events(hub, "all", 10).into_iter().map(|event| event.3).collect();
        assert_eq!(payloads, (1..=10).map(payload).collect::<Vec<_>>(), "a reader reads everything");
    }
    let logs = [0, 1].map(|at| triangle.data.path().join(NAMES[at]).join("streams/all"));
    let Triangle { hubs, data: _data, .. } = triangle;
    hubs.into_iter().flatten().for_each(stop);
    for log in logs {
        let survey = survey(&weft_log::fs::RealFs, &log, Options::default(), &mut |_| {}).expect("a log");
        assert!(survey.is_sound() && survey.findings.is_empty(), "{:?}", survey.findings);
        assert!(log.join("quarantine").read_dir().expect("what was damaged is kept").count() > 0);
    }
}

/// A block of an atomic batch of three.
fn part(producer: u64, index: u32) -> Vec<u8> {
    let part = [&[9; 16][..], &index.to_le_bytes(), &3_u32.to_le_bytes()].concat();
    let mut headers = Vec::new();
    HeadersWriter::new(&mut headers).push(names::BATCH, &part).expect("it fits");
    let flags = if index == 2 { BATCH_LAST } else { BATCH_OPEN };
    let first_sequence = u64::from(index) + 1;
    let fields = BlockFields { flags, producer: ProducerId(producer), first_sequence, ..BlockFields::new("t/a") };
    let mut bytes = vec![0; 4 << 10];
    let mut block = BlockWriter::new(&mut bytes, &fields).expect("it fits");
    block.push(&EventFields { headers: &headers, payload: &[index as u8], ..EventFields::default() }).expect("it fits");
    let len = block.finish().expect("an event");
    bytes.truncate(len);
    bytes
}

#[test]
fn an_atomic_batch_that_is_published_again_at_another_home_is_there_once() {
    let triangle = with_stream();
    // So that what follows is not passed over for being the first of its home.
    (0..2).for_each(|at| publish(&triangle, at, 10 + at as u64, 0..1, AckLevel::Synced));
    (0..3).for_each(|at| has_all(&triangle, at, [1, 1, 0]));
    triangle.ways.iter().for_each(|way| way.cut(true));
    for at in 0..2 {
        until(triangle.hub(at), "all", "it is alone", |report| report.state.matches("out of reach").count() == 2);
        let mut client = Raw::connect(triangle.hub(at), 42);
        (0..3).for_each(|index| client.publish_block(u64::from(index), AckLevel::Synced, &part(42, index)));
        for _ in 0..3 {
            let answer = client.receive();
            assert!(matches!(answer.frame(), Frame::Ack(ack) if !ack.duplicate), "{:?}", answer.frame());
        }
    }
    triangle.ways.iter().for_each(|way| way.cut(false));
    // What is published behind it has come to the other: so has it, or been passed over.
    (0..2).for_each(|at| publish(&triangle, at, 20 + at as u64, 0..1, AckLevel::Synced));
    for at in 0..2 {
        let other = triangle.hub(1 - at).identity().id;
        until(triangle.hub(at), "all", "it has what the other has", |report| report.position.contains(&(other, 6)));
        let found = events(triangle.hub(at), "all", 7);
        let batch: Vec<&[u8]> = found.iter().map(|event| &*event.3).filter(|payload| payload.len() == 1).collect();
        assert_eq!(batch, [[0], [1], [2]]);
        until(triangle.hub(at), "all", "and nothing else", |report| report.next == 8);
    }
    triangle.stop();
}
