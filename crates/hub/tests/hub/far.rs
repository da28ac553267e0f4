//! Publishes that only a home can take in, from hubs that are none: conditions,
//! batches and levels of several homes, over real sockets.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::time::Duration;

use crate::common::mesh::{authority, link_addr, member, until};
use crate::common::ways::Way;
use crate::common::{Raw, build, start, stop};
use weft_base::ProducerId;
use weft_hub::Hub;
use weft_transport::ca::Authority;
use weft_wire::block::layout::{BATCH_LAST, BATCH_OPEN, CONDITIONAL};
use weft_wire::block::{BlockFields, BlockWriter, EventFields};
use weft_wire::frame::{
    Ack, AckLevel, ErrorCode, Frame, Start, StreamAlter, StreamInfo, StreamList, StreamSpec, publish_homes_head,
};
use weft_wire::headers::{HeadersWriter, names};

const EAST: &str = "new-york";
const MIDDLE: &str = "chicago";
const WEST: &str = "los-angeles";

/// Three hubs in a line; the ways of the outer two, which keep streams, can be cut.
struct Line {
    ca: Authority,
    data: tempfile::TempDir,
    middle: Hub,
    outer: [Option<Hub>; 2],
    ways: [Way; 2],
}

fn keeper(ca: &Authority, at: usize, data: &Path, way: &Way) -> Hub {
    let name = [EAST, WEST][at];
    let mut options = member(ca, name, "127.0.0.1:0", &[("chicago", way.addr.clone())]);
    options.data = Some(data.join(name));
    options.timers.replica_keep_alive = Duration::from_millis(100);
    options.timers.replica_timeout = Duration::from_millis(400);
    options.timers.replica_backoff = Duration::from_millis(400);
    start(options)
}

impl Line {
    /// With the stream `all` at these hubs.
    fn new(homes: &[&str]) -> Self {
        let (ca, data) = (authority(), tempfile::tempdir().unwrap());
        let mut options = member(&ca, "chicago", "127.0.0.1:0", &[]);
        // Nothing of what is tested takes that long; what waits for ever is to be seen.
        options.timers.home_patience = Duration::from_secs(60);
        if homes.contains(&MIDDLE) {
            options.data = Some(data.path().join(MIDDLE));
        }
        let middle = start(options);
        let ways = [Way::to(link_addr(&middle)), Way::to(link_addr(&middle))];
        let outer = [0, 1].map(|at| Some(keeper(&ca, at, data.path(), &ways[at])));
        let line = Self { ca, data, middle, outer, ways };
        for hub in line.hubs() {
            let mut client = Raw::connect(hub, 90);
            until(&mut client, "all are there", |r| r.hubs.iter().filter(|h| h.reachable).count() == 3);
        }
        let mut client = Raw::connect(&line.middle, 91);
        client.create_stream(spec(homes));
        line.hubs().into_iter().for_each(|hub| known(hub, homes.len()));
        line
    }

    fn hubs(&self) -> [&Hub; 3] {
        [self.outer[0].as_ref().unwrap(), &self.middle, self.outer[1].as_ref().unwrap()]
    }

    fn outer(&self, at: usize) -> &Hub {
        self.outer[at].as_ref().unwrap()
    }

    /// Kills an outer hub and starts it again.
    fn restart(&mut self, at: usize) {
        drop(self.outer[at].take());
        let name = [EAST, WEST][at];
        let mut client = Raw::connect(&self.middle, 92);
        until(&mut client, "it is missed", |r| r.hubs.iter().any(|h| h.name == name && !h.reachable));
        self.outer[at] = Some(keeper(&self.ca, at, self.data.path(), &self.ways[at]));
    }

    fn stop(self) {
        self.hubs().into_iter().for_each(balanced);
        self.outer.into_iter().flatten().for_each(stop);
        stop(self.middle);
    }
}

fn spec<'a>(homes: &[&'a str]) -> StreamSpec<'a> {
    let spec = StreamSpec { name: "all", filters: vec!["t/**"], segment_bytes: 4 << 20, ..StreamSpec::default() };
    StreamSpec { homes: homes.to_vec(), ..spec }
}

/// Waits until something is so.
fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if is_so() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    panic!("it never came to this: {what}");
}

fn balanced(hub: &Hub) {
    wait("the ledger balances", || hub.counters().ledger().balance().is_ok());
}

/// Waits until a hub knows all homes of the stream.
fn known(hub: &Hub, homes: usize) {
    let mut client = Raw::connect(hub, 92);
    wait("all homes are known", || {
        client.send(&Frame::StreamList(StreamList { request: 1 }));
        let answer = client.receive();
        matches!(answer.frame(), Frame::StreamReports(said) if said.reports.len() == homes)
    });
}

/// How many events a home has.
fn kept(hub: &Hub) -> u64 {
    let mut client = Raw::connect(hub, 93);
    client.send(&Frame::StreamInfo(StreamInfo { request: 1, name: "all" }));
    let answer = client.receive();
    let Frame::StreamReports(said) = answer.frame() else { panic!("not a report: {:?}", answer.frame()) };
    said.reports.iter().find(|report| report.home == hub.identity().name).map_or(0, |report| report.next - 1)
}

/// The payloads of the first events of the stream.
fn stored(hub: &Hub, count: usize) -> Vec<Vec<u8>> {
    let mut reader = Raw::connect(hub, 94);
    reader.subscribe_with(1, "**", |s| (s.stream, s.start) = ("all", Start::First));
    assert!(matches!(reader.receive().frame(), Frame::Subscribed(_)));
    let mut found = Vec::new();
    while found.len() < count {
        found.extend(reader.delivered());
    }
    assert_eq!(found.len(), count);
    found
}

/// A block of one event.
fn block(producer: u64, first: u64, flags: u32, header: Option<(&str, &[u8])>, payload: &[u8]) -> Vec<u8> {
    let mut headers = Vec::new();
    let mut writer = HeadersWriter::new(&mut headers);
    if let Some((name, value)) = header {
        writer.push(name, value).unwrap();
    }
    let fields =
        BlockFields { flags, producer: ProducerId(producer), first_sequence: first, ..BlockFields::new("t/a") };
    let mut bytes = vec![0; 4 << 10];
    let mut block = BlockWriter::new(&mut bytes, &fields).unwrap();
    block.push(&EventFields { headers: &headers, payload, ..EventFields::default() }).unwrap();
    let len = block.finish().unwrap();
    bytes.truncate(len);
    bytes
}

fn plain(producer: u64, first: u64, payload: &[u8]) -> Vec<u8> {
    let fields = BlockFields { producer: ProducerId(producer), first_sequence: first, ..BlockFields::new("t/a") };
    build(&fields, &[payload])
}

/// Taken only if the stream has so many events.
fn only_if(producer: u64, first: u64, last: u64, payload: &[u8]) -> Vec<u8> {
    block(producer, first, CONDITIONAL, Some((names::EXPECT_LAST, &last.to_le_bytes())), payload)
}

fn part(producer: u64, first: u64, index: u32, count: u32, payload: &[u8]) -> Vec<u8> {
    let part = [&[9; 16][..], &index.to_le_bytes(), &count.to_le_bytes()].concat();
    let flags = if index + 1 == count { BATCH_LAST } else { BATCH_OPEN };
    block(producer, first, flags, Some((names::BATCH, &part)), payload)
}

/// Asks for two homes.
fn publish_for_two(client: &mut Raw, request: u64, block: &[u8]) {
    client.send_bytes(&publish_homes_head(request, 2, block.len()));
    client.send_bytes(block);
}

type Answer = (u64, Result<Ack, (ErrorCode, String)>);

/// The next answer to a publish.
fn answer(client: &mut Raw) -> Answer {
    loop {
        match client.receive().frame() {
            Frame::Ack(ack) => return (ack.request, Ok(ack)),
            Frame::Error(error) => return (error.request, Err((error.code, error.detail.to_owned()))),
            Frame::WhyReport(_) => {}
            other => panic!("not an answer: {other:?}"),
        }
    }
}

fn acked(client: &mut Raw, request: u64) -> Ack {
    let (of, answer) = answer(client);
    assert_eq!(of, request, "{answer:?}");
    answer.unwrap()
}

fn refused(client: &mut Raw, request: u64) -> (ErrorCode, String) {
    let (of, answer) = answer(client);
    assert_eq!(of, request, "{answer:?}");
    answer.unwrap_err()
}

/// Nothing was said of publishes before this.
fn silent(client: &mut Raw) {
    client.send(&Frame::Ping(weft_wire::frame::Ping { id: 7, time: 0 }));
    loop {
        match client.receive().frame() {
            Frame::Pong(_) => return,
            Frame::WhyReport(_) => {}
            other => panic!("something came: {other:?}"),
        }
    }
}

#[test]
fn of_two_at_different_hubs_that_compare_and_set_one_wins_each_round() {
    let line = Line::new(&[EAST]);
    let mut live = Raw::connect(line.outer(1), 3);
    live.subscribe(1, "t/**");
    until(&mut Raw::connect(line.outer(0), 4), "the interest is known", |r| {
        r.hubs.iter().any(|h| h.name == WEST && h.interest >= 1)
    });
    let (mut a, mut b) = (Raw::connect(&line.middle, 10), Raw::connect(line.outer(1), 11));
    for round in 0..20_u64 {
        for (producer, client) in [(10, &mut a), (11, &mut b)] {
            let block = only_if(producer, round + 1, round, &producer.to_le_bytes());
            client.publish_block(round + 1, AckLevel::Synced, &block);
        }
        let outcomes = [answer(&mut a).1, answer(&mut b).1];
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.iter().partition(|outcome| outcome.is_ok());
        assert_eq!((won.len(), lost.len()), (1, 1), "{outcomes:?}");
        let ack = won[0].as_ref().unwrap();
        assert_eq!((ack.home_sequence, ack.level), (round + 1, AckLevel::Synced));
        let (code, detail) = lost[0].as_ref().unwrap_err();
        assert_eq!(*code, ErrorCode::WRONG_LAST);
        assert!(detail.contains(&format!("is {}, not {round}", round + 1)), "{detail}");
        // Live subscribers see what the stream took, once, and nothing else.
        let winner: u64 = if outcomes[0].is_ok() { 10 } else { 11 };
        assert_eq!(live.delivered(), [winner.to_le_bytes()]);
    }
    assert_eq!(live.drain(), [[0u8; 0]; 0]);
    assert_eq!(kept(line.outer(0)), 20);
    line.stop();
}

#[test]
fn a_batch_from_another_hub_is_whole_or_refused() {
    let line = Line::new(&[EAST]);
    let mut client = Raw::connect(line.outer(1), 42);
    client.publish_block(1, AckLevel::Synced, &part(42, 1, 0, 3, b"a"));
    client.publish_block(2, AckLevel::Synced, &part(42, 2, 1, 3, b"b"));
    wait("two wait at the home", || line.outer(0).counters().in_flight() == 2);
    assert_eq!(kept(line.outer(0)), 0, "nothing is there before all is");
    client.publish_block(3, AckLevel::Synced, &part(42, 3, 2, 3, b"c"));
    assert_eq!([1, 2, 3].map(|request| acked(&mut client, request).home_sequence), [1, 2, 3]);
    client.publish_block(4, AckLevel::Synced, &part(42, 4, 0, 3, b"a"));
    client.publish_block(5, AckLevel::Synced, &part(42, 5, 2, 3, b"c"));
    assert_eq!([4, 5].map(|request| refused(&mut client, request).0), [ErrorCode::BAD_BATCH; 2]);
    assert_eq!(stored(line.outer(1), 3), [b"a", b"b", b"c"]);
    assert_eq!(kept(line.outer(0)), 3);
    line.stop();
}

#[test]
fn two_homes_are_waited_for_from_a_hub_that_is_none() {
    let line = Line::new(&[EAST, WEST]);
    let mut client = Raw::connect(&line.middle, 42);
    publish_for_two(&mut client, 1, &plain(42, 1, b"both"));
    let ack = acked(&mut client, 1);
    assert_eq!((ack.level, ack.homes, ack.home_sequence), (AckLevel::Homes, 2, 1));
    let entered = usize::from(ack.home != line.outer(0).identity().id);
    line.ways[1 - entered].cut(true);
    publish_for_two(&mut client, 2, &plain(42, 2, b"one"));
    wait("one home has it", || kept(line.outer(entered)) == 2);
    silent(&mut client);
    line.ways[1 - entered].cut(false);
    assert_eq!(acked(&mut client, 2).homes, 2);
    assert_eq!(kept(line.outer(1 - entered)), 2);
    // What cannot be is said at once.
    let block = plain(42, 3, b"three");
    client.send_bytes(&publish_homes_head(3, 3, block.len()));
    client.send_bytes(&block);
    assert_eq!(refused(&mut client, 3).0, ErrorCode::TOO_FEW_HOMES);
    line.stop();
}

#[test]
fn what_a_home_took_before_it_was_killed_is_one_event_and_what_followed_comes_behind_it() {
    let mut line = Line::new(&[EAST, WEST]);
    let mut client = Raw::connect(&line.middle, 42);
    client.publish_block(1, AckLevel::Synced, &plain(42, 1, b"first"));
    let entered = usize::from(acked(&mut client, 1).home != line.outer(0).identity().id);
    wait("both homes have it", || kept(line.outer(1 - entered)) == 1);
    line.ways[1 - entered].cut(true);
    // It is stored and not answered; the others wait for its answer.
    publish_for_two(&mut client, 2, &only_if(42, 2, 1, b"second"));
    client.publish_block(3, AckLevel::Synced, &plain(42, 3, b"third"));
    client.publish_block(4, AckLevel::Synced, &only_if(42, 4, 3, b"fourth"));
    wait("it is stored", || kept(line.outer(entered)) == 2);
    for _ in 0..2 {
        line.restart(entered);
        known(&line.middle, 1);
    }
    silent(&mut client);
    line.ways[1 - entered].cut(false);
    let second = acked(&mut client, 2);
    assert_eq!((second.duplicate, second.homes), (true, 2), "it was there, and its condition held then");
    assert!(!acked(&mut client, 3).duplicate);
    assert!(!acked(&mut client, 4).duplicate);
    let all: [&[u8]; 4] = [b"first", b"second", b"third", b"fourth"];
    for at in [0, 1] {
        assert_eq!(stored(line.outer(at), 4), all);
        assert_eq!(kept(line.outer(at)), 4);
    }
    line.stop();
}

#[test]
fn what_asks_for_something_and_what_does_not_keep_their_order() {
    let line = Line::new(&[EAST]);
    let mut client = Raw::connect(line.outer(1), 42);
    // Not one is waited for: only in order are the expectations right, and nothing is a duplicate.
    let levels = [AckLevel::Synced, AckLevel::Routed, AckLevel::None, AckLevel::Written];
    let mut sequence = 0_u64;
    for round in 0..12_usize {
        for n in 0..6_usize {
            let payload = sequence.to_le_bytes();
            sequence += 1;
            let block = match n {
                0 | 3 | 4 => plain(42, sequence, &payload),
                _ => only_if(42, sequence, sequence - 1, &payload),
            };
            client.publish_block(sequence, levels[(round + n) % 4], &block);
        }
    }
    client.publish_block(1_000, AckLevel::Synced, &plain(42, sequence + 1, b"end"));
    loop {
        let (request, answer) = answer(&mut client);
        assert!(!answer.unwrap().duplicate, "{request}");
        if request == 1_000 {
            break;
        }
    }
    let all: Vec<Vec<u8>> = (0..sequence).map(|n| n.to_le_bytes().to_vec()).collect();
    assert_eq!(stored(line.outer(0), 73)[..72], all);
    assert_eq!(kept(line.outer(0)), 73);
    line.stop();
}

#[test]
fn of_a_session_that_has_ended_nothing_comes_late() {
    let line = Line::new(&[EAST]);
    line.ways[0].cut(true);
    until(&mut Raw::connect(&line.middle, 5), "it is missed", |r| {
        r.hubs.iter().any(|h| h.name == EAST && !h.reachable)
    });
    let mut client = Raw::connect(&line.middle, 42);
    client.publish_block(1, AckLevel::Synced, &only_if(42, 1, 0, b"special"));
    client.publish_block(2, AckLevel::Synced, &plain(42, 2, b"behind it"));
    silent(&mut client);
    drop(client);
    line.ways[0].cut(false);
    known(&line.middle, 1);
    // Published again, both are new.
    let mut client = Raw::connect(line.outer(1), 42);
    client.publish_block(1, AckLevel::Synced, &only_if(42, 1, 0, b"special"));
    client.publish_block(2, AckLevel::Synced, &plain(42, 2, b"behind it"));
    assert_eq!([1, 2].map(|request| acked(&mut client, request).home_sequence), [1, 2]);
    assert_eq!(kept(line.outer(0)), 2);
    line.stop();
}

#[test]
fn what_is_held_for_a_hub_that_is_no_longer_a_home_goes_to_the_present_one() {
    let line = Line::new(&[MIDDLE, WEST]);
    let mut client = Raw::connect(line.outer(0), 42);
    client.publish_block(1, AckLevel::Synced, &plain(42, 1, &[1]));
    assert_eq!(acked(&mut client, 1).home, line.middle.identity().id, "the nearest");
    wait("both homes have it", || kept(line.outer(1)) == 1);
    line.ways[0].cut(true);
    until(&mut Raw::connect(line.outer(0), 5), "it is missed", |r| {
        r.hubs.iter().any(|h| h.name == MIDDLE && !h.reachable)
    });
    for n in 2..=4 {
        client.publish_block(n, AckLevel::Synced, &plain(42, n, &[n as u8]));
    }
    silent(&mut client);
    for hub in [&line.middle, line.outer(1)] {
        let mut admin = Raw::connect(hub, 91);
        admin.send(&Frame::StreamAlter(StreamAlter { request: 1, spec: spec(&[WEST]) }));
        let answer = admin.receive();
        assert!(matches!(answer.frame(), Frame::Done(_)), "{:?}", answer.frame());
    }
    line.ways[0].cut(false);
    let west = line.outer(1).identity().id;
    for n in 2..=4 {
        let ack = acked(&mut client, n);
        assert_eq!((ack.level, ack.home, ack.home_sequence), (AckLevel::Synced, west, n - 1));
    }
    assert_eq!(kept(line.outer(1)), 4, "it is there, and once");
    assert_eq!(stored(line.outer(1), 4), [[1], [2], [3], [4]]);
    line.stop();
}
