//! Streams at other hubs than the client's, over real sockets: three hubs in a
//! line, of which the outer two keep streams.

use std::path::Path;
use std::time::Duration;

use crate::common::consumers;
use crate::common::mesh::{authority, link_addr, member, until};
use crate::common::{Raw, payloads, start, stop};
use weft_base::{HubId, SubscriptionId};
use weft_hub::Hub;
use weft_transport::ca::Authority;
use weft_wire::frame::{
    AckLevel, Consistency, Credit, ErrorCode, Frame, Start, StreamCreate, StreamDelete, StreamInfo, StreamList,
    StreamSpec, Unsubscribe,
};

/// A hub with a data folder and a link to `chicago`, which is at `middle`.
fn keeper(ca: &Authority, name: &str, addr: &str, data: &Path, middle: &str) -> Hub {
    let mut options = member(ca, name, addr, &[("chicago", middle.to_owned())]);
    options.data = Some(data.join(name));
    start(options)
}

struct Line {
    ca: Authority,
    data: tempfile::TempDir,
    east: Hub,
    middle: Hub,
    west: Hub,
}

impl Line {
    /// Hubs that refuse at once what no home of can be reached.
    fn new() -> Self {
        let (ca, data) = (authority(), tempfile::tempdir().expect("a folder"));
        let mut options = member(&ca, "chicago", "127.0.0.1:0", &[]);
        options.timers.home_patience = Duration::ZERO;
        let middle = start(options);
        let addr = link_addr(&middle);
        let east = keeper(&ca, "new-york", "127.0.0.1:0", data.path(), &addr);
        let west = keeper(&ca, "los-angeles", "127.0.0.1:0", data.path(), &addr);
        for hub in [&east, &middle, &west] {
            let mut client = Raw::connect(hub, 90);
            until(&mut client, "all are there", |r| r.hubs.iter().filter(|h| h.reachable).count() == 3);
        }
        Self { ca, data, east, middle, west }
    }

    /// Makes a stream of `t/**` at these hubs, by way of the one in the middle.
    fn create(&self, name: &str, homes: &[&str]) {
        let mut client = Raw::connect(&self.middle, 91);
        create(&mut client, 1, spec(name, homes));
        assert!(matches!(client.receive().frame(), Frame::Done(done) if done.request == 1));
        for hub in [&self.east, &self.middle, &self.west] {
            self.known(hub, name, homes.len());
        }
    }

    /// Waits until a hub knows all homes of a stream.
    fn known(&self, hub: &Hub, name: &str, homes: usize) {
        let mut client = Raw::connect(hub, 92);
        for request in 0..2_000 {
            client.send(&Frame::StreamList(StreamList { request }));
            let answer = client.receive();
            let Frame::StreamReports(said) = answer.frame() else { panic!("not a report: {:?}", answer.frame()) };
            if said.reports.iter().filter(|report| report.spec.name == name).count() == homes {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        panic!("{} never knew all homes of `{name}`", hub.identity().name);
    }

    fn stop(self) {
        for hub in [self.east, self.west, self.middle] {
            stop(hub);
        }
    }
}

fn spec<'a>(name: &'a str, homes: &[&'a str]) -> StreamSpec<'a> {
    let (homes, filters) = (homes.to_vec(), vec!["t/**"]);
    StreamSpec { name, filters, homes, segment_bytes: 4 << 20, ..StreamSpec::default() }
}

fn create(client: &mut Raw, request: u64, spec: StreamSpec<'_>) {
    client.send(&Frame::StreamCreate(StreamCreate { request, spec }));
}

fn refused(client: &mut Raw) -> (u64, ErrorCode, String) {
    match client.receive().frame() {
        Frame::Error(error) => (error.request, error.code, error.detail.to_owned()),
        other => panic!("not an error: {other:?}"),
    }
}

/// How many events a hub's own copy of a stream has.
fn kept(hub: &Hub, name: &str) -> u64 {
    let mut client = Raw::connect(hub, 93);
    client.send(&Frame::StreamInfo(StreamInfo { request: 1, name }));
    let answer = client.receive();
    let Frame::StreamReports(said) = answer.frame() else { panic!("not a report: {:?}", answer.frame()) };
    let own = said.reports.iter().find(|report| report.home == hub.identity().name);
    own.map_or(0, |report| report.next - 1)
}

fn read(reader: &mut Raw, id: u64, stream: &str, start: Start) {
    reader.subscribe_with(id, "**", |s| (s.stream, s.start) = (stream, start));
    let answer = reader.receive();
    assert!(matches!(answer.frame(), Frame::Subscribed(s) if s.id.0 == id), "{:?}", answer.frame());
}

#[test]
fn a_stream_is_read_from_any_hub_far_beyond_the_window_of_a_tunnel() {
    let line = Line::new();
    line.create("all", &["new-york"]);
    let mut publisher = Raw::connect(&line.west, 2);
    let large = vec![7; 60_000];
    for n in 0..40u8 {
        publisher.publish_acked(u64::from(n), AckLevel::Synced, "t/a", &[&[&[n], &large[..]].concat()]);
    }
    assert_eq!(kept(&line.east, "all"), 40);
    let mut reader = Raw::connect(&line.west, 3);
    read(&mut reader, 1, "all", Start::First);
    for n in 0..40u8 {
        assert_eq!(reader.delivered(), [[&[n], &large[..]].concat()]);
    }
    publisher.publish_acked(99, AckLevel::Synced, "t/b", &[b"live"]);
    assert_eq!(reader.delivered(), [b"live"]);
    reader.send(&Frame::Unsubscribe(Unsubscribe { id: SubscriptionId(1) }));
    assert!(matches!(reader.receive().frame(), Frame::Unsubscribed(u) if u.id.0 == 1));
    // Its number may be used again, also for what is served here.
    reader.subscribe(1, "elsewhere");
    line.stop();
}

#[test]
fn credit_holds_from_end_to_end() {
    let line = Line::new();
    line.create("all", &["new-york"]);
    let mut publisher = Raw::connect(&line.east, 2);
    for n in 0..6u8 {
        publisher.publish_acked(u64::from(n), AckLevel::Synced, "t/a", &[&[n]]);
    }
    let mut reader = Raw::connect(&line.west, 3);
    reader.subscribe_with(1, "**", |s| (s.stream, s.start, s.credit_events) = ("all", Start::First, 2));
    assert!(matches!(reader.receive().frame(), Frame::Subscribed(_)));
    assert_eq!([reader.delivered(), reader.delivered()], [[[0]], [[1]]]);
    assert_eq!(reader.drain(), [[0u8; 0]; 0]);
    reader.send(&Frame::Credit(Credit { id: SubscriptionId(1), events: 1, bytes: 0 }));
    assert_eq!(reader.delivered(), [[2]]);
    line.stop();
}

#[test]
fn a_publish_goes_to_the_nearest_home_and_to_no_other() {
    let line = Line::new();
    line.create("both", &["new-york", "los-angeles"]);
    for (hub, producer) in [(&line.east, 2), (&line.west, 3), (&line.west, 4)] {
        let mut publisher = Raw::connect(hub, producer);
        publisher.publish_acked(1, AckLevel::Synced, "t/a", &[b"x"]);
    }
    let entered = |hub: &Hub| hub.counters().list().into_iter().find(|(name, _)| name == "ledger.published");
    assert_eq!((kept(&line.east, "both") >= 1, kept(&line.west, "both") >= 2), (true, true));
    assert!(entered(&line.east).is_some());
    // A hub between them sends all to one of them, which it keeps to.
    let mut publisher = Raw::connect(&line.middle, 5);
    for n in 0..10 {
        publisher.publish_acked(n, AckLevel::Synced, "t/a", &[b"y"]);
    }
    let forwarded = line.middle.counters().ledger().forwarded;
    assert!(forwarded >= 10, "{forwarded}");
    line.stop();
}

#[test]
fn a_stream_is_made_at_all_its_homes_and_completed_when_one_was_missing() {
    let line = Line::new();
    let mut client = Raw::connect(&line.middle, 2);
    create(&mut client, 1, spec("both", &["new-york", "atlantis"]));
    let (request, code, detail) = refused(&mut client);
    assert_eq!((request, code), (1, ErrorCode::UNREACHABLE));
    assert!(detail.contains("atlantis") && detail.contains("again"), "{detail}");
    line.known(&line.middle, "both", 1);
    create(&mut client, 2, StreamSpec { consistency: Consistency::Strong, ..spec("s", &["new-york", "los-angeles"]) });
    let (request, code, detail) = refused(&mut client);
    assert_eq!((request, code), (2, ErrorCode::UNSUPPORTED), "{detail}");
    // A hub without a data folder.
    create(&mut client, 3, spec("here", &["chicago", "new-york"]));
    let (request, code, detail) = refused(&mut client);
    assert_eq!((request, code), (3, ErrorCode::UNSUPPORTED), "{detail}");
    assert!(detail.contains("chicago"), "{detail}");
    // Asked elsewhere, and again: it is there as it was made.
    let other = spec("both", &["new-york", "atlantis"]);
    let mut elsewhere = Raw::connect(&line.west, 3);
    create(&mut elsewhere, 4, StreamSpec { homes: vec![], ..other });
    assert_eq!(refused(&mut elsewhere).1, ErrorCode::STREAM_EXISTS, "of one name there is one stream");
    line.stop();
}

#[test]
fn all_streams_of_the_mesh_are_listed_and_deleted_from_anywhere() {
    let line = Line::new();
    line.create("both", &["new-york", "los-angeles"]);
    line.create("one", &["los-angeles"]);
    let mut client = Raw::connect(&line.middle, 2);
    client.send(&Frame::StreamList(StreamList { request: 1 }));
    let answer = client.receive();
    let Frame::StreamReports(said) = answer.frame() else { panic!("not a report: {:?}", answer.frame()) };
    let listed: Vec<_> = said.reports.iter().map(|report| (report.spec.name, report.home)).collect();
    assert_eq!(listed, [("both", "los-angeles"), ("both", "new-york"), ("one", "los-angeles")]);
    let ids: Vec<u64> = said.reports.iter().map(|report| report.spec.id).collect();
    assert!(ids[0] == ids[1] && ids[0] != ids[2] && ids[0] != 0, "{ids:?}");
    client.send(&Frame::StreamDelete(StreamDelete { request: 2, name: "both" }));
    assert!(matches!(client.receive().frame(), Frame::Done(done) if done.request == 2));
    line.known(&line.middle, "both", 0);
    line.known(&line.middle, "one", 1);
    line.stop();
}

#[test]
fn when_a_home_dies_readers_are_told_publishes_refused_and_both_go_on_when_it_is_back() {
    let line = Line::new();
    line.create("all", &["new-york"]);
    let mut publisher = Raw::connect(&line.middle, 2);
    publisher.publish_acked(1, AckLevel::Synced, "t/a", &[b"before"]);
    let mut reader = Raw::connect(&line.west, 3);
    read(&mut reader, 1, "all", Start::First);
    assert_eq!(reader.delivered(), [b"before"]);
    let Line { ca, data, east, middle, west } = line;
    stop(east);
    let (request, code, detail) = refused(&mut reader);
    assert_eq!((request, code), (1, ErrorCode::MOVED), "{detail}");
    assert!(detail.contains("new-york"), "{detail}");
    until(&mut publisher, "it is missed", |r| r.hubs.iter().any(|h| h.name == "new-york" && !h.reachable));
    publisher.publish(2, AckLevel::Synced, "t/a", &[b"meanwhile"]);
    let (request, code, detail) = refused(&mut publisher);
    assert_eq!((request, code), (2, ErrorCode::UNREACHABLE));
    assert!(detail.contains("new-york"), "{detail}");
    until(&mut reader, "it is missed", |r| r.hubs.iter().any(|h| h.name == "new-york" && !h.reachable));
    reader.subscribe_with(1, "**", |s| (s.stream, s.start) = ("all", Start::Sequence(2)));
    assert_eq!(refused(&mut reader).1, ErrorCode::UNREACHABLE);
    let east = keeper(&ca, "new-york", "127.0.0.1:0", data.path(), &link_addr(&middle));
    let line = Line { ca, data, east, middle, west };
    until(&mut publisher, "it is back", |r| {
        r.hubs.iter().any(|h| h.name == "new-york" && h.reachable && h.interest > 0)
    });
    until(&mut reader, "it is back", |r| r.hubs.iter().any(|h| h.name == "new-york" && h.reachable && h.interest > 0));
    line.known(&line.west, "all", 1);
    publisher.publish_acked(3, AckLevel::Synced, "t/a", &[b"after"]);
    read(&mut reader, 1, "all", Start::Sequence(2));
    assert_eq!(reader.delivered(), [b"after"]);
    line.stop();
}

#[test]
fn live_subscribers_at_a_home_that_is_not_chosen_get_their_copies() {
    let line = Line::new();
    line.create("both", &["new-york", "los-angeles"]);
    let mut listener = Raw::connect(&line.west, 2);
    listener.subscribe(1, "t/**");
    let mut publisher = Raw::connect(&line.east, 3);
    until(&mut publisher, "the interest is known", |r| {
        r.hubs.iter().any(|h| h.name == "los-angeles" && h.interest >= 2)
    });
    publisher.publish_acked(1, AckLevel::Synced, "t/a", &[b"x"]);
    let received = listener.receive();
    let Frame::Deliver(deliver) = received.frame() else { panic!("not a delivery: {:?}", received.frame()) };
    assert_eq!(payloads(deliver.block), [b"x"]);
    assert_eq!(kept(&line.east, "both"), 1);
    line.stop();
}

#[test]
fn a_consumer_is_used_from_any_hub() {
    let line = Line::new();
    line.create("all", &["new-york"]);
    consumers::fill(&line.middle, 0..5);
    let mut client = Raw::connect(&line.west, 2);
    client.create_consumer(consumers::spec("c"));
    let token = client.consume(1, "c").token;
    let all: Vec<(u64, Vec<u8>)> = (0..5).map(|n| (u64::from(n) + 1, vec![n])).collect();
    assert_eq!(client.handed_all(5), all);
    client.ack_synced(1, token, &[(1, 3)]);
    // A member at another hub gets what the first one leaves behind.
    let mut other = Raw::connect(&line.middle, 3);
    other.consume(1, "c");
    drop(client);
    assert_eq!(other.handed_all(2), all[3..]);
    line.stop();
}

#[test]
fn a_reader_goes_on_from_a_position_wherever_it_asks() {
    let line = Line::new();
    line.create("all", &["new-york"]);
    consumers::fill(&line.middle, 0..5);
    let home = HubId::of_name("new-york").tag();
    for hub in [&line.east, &line.west] {
        let mut reader = Raw::connect(hub, 3);
        reader.subscribe_with(1, "**", |s| (s.stream, s.start, s.position) = ("all", Start::First, vec![(home, 4)]));
        assert!(matches!(reader.receive().frame(), Frame::Subscribed(s) if s.start_sequence == 4));
        assert_eq!([reader.delivered(), reader.delivered()], [[[3]], [[4]]]);
    }
    line.stop();
}
