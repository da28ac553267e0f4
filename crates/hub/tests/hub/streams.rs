//! Streams of one hub: acknowledgements, replay, restarts, limits.

use std::path::Path;
use std::sync::Arc;

use crate::common::{Raw, holding, options, start, stop};
use weft_base::{Clock, SystemClock, UnixNanos};
use weft_hub::{Environment, Hub};
use weft_keyed::{Keyed, MemoryKeyed};
use weft_log::fault::FaultFs;
use weft_log::fs::Fs;
use weft_transport::{TcpNetwork, TcpOptions};
use weft_wire::frame::{
    AckLevel, ErrorCode, Frame, Start, StreamCreate, StreamDelete, StreamInfo, StreamList, StreamSpec,
};

const SEGMENT: u64 = 4 << 20;

fn spec(name: &'static str, filters: Vec<&'static str>) -> StreamSpec<'static> {
    StreamSpec { name, filters, segment_bytes: SEGMENT, ..StreamSpec::default() }
}

fn create(client: &mut Raw, request: u64, spec: StreamSpec<'_>) {
    client.send(&Frame::StreamCreate(StreamCreate { request, spec }));
    let answer = client.receive();
    assert!(matches!(answer.frame(), Frame::Done(done) if done.request == request), "{:?}", answer.frame());
}

fn refused(client: &mut Raw) -> (u64, ErrorCode, String) {
    match client.receive().frame() {
        Frame::Error(error) => (error.request, error.code, error.detail.to_owned()),
        other => panic!("not an error: {other:?}"),
    }
}

/// Reads a stream from `from` on until `count` payloads have come.
fn replay(hub: &Hub, from: Start, count: usize) -> Vec<Vec<u8>> {
    let mut reader = Raw::connect(hub, 900);
    reader.subscribe_with(1, "**", |s| (s.stream, s.start) = ("all", from));
    assert!(matches!(reader.receive().frame(), Frame::Subscribed(_)));
    let mut payloads = Vec::new();
    while payloads.len() < count {
        payloads.extend(reader.delivered());
    }
    payloads
}

fn numbers(range: std::ops::Range<u8>) -> Vec<Vec<u8>> {
    range.map(|n| vec![n]).collect()
}

fn fill(hub: &Hub, range: std::ops::Range<u8>) {
    let mut publisher = Raw::connect(hub, u64::from(range.start) + 10);
    for n in range {
        publisher.publish_acked(u64::from(n), AckLevel::Synced, "t/a", &[&[n]]);
    }
}

#[test]
fn an_encrypted_stream_is_read_after_a_restart_and_by_nobody_without_its_key() {
    let data = tempfile::tempdir().expect("a folder");
    let secret: &[u8] = b"forty-two million in unmarked bills";
    let keys = |text: &str| weft_log::Keys::parse(text).expect("keys");
    let (old, new) = ("1f".repeat(32), "2e".repeat(32));
    let with = |keys| {
        let mut with = options("hub", Some(data.path()));
        with.storage.keys = keys;
        with
    };
    // Before there are keys it is in clear: the search finds what is there.
    let hub = start(with(None));
    create(&mut Raw::connect(&hub, 1), 1, spec("all", vec!["t/**"]));
    Raw::connect(&hub, 2).publish_acked(1, AckLevel::Synced, "t/a", &[b"in clear"]);
    stop(hub);
    assert_eq!(holding(data.path(), b"in clear").len(), 1);
    let hub = start(with(Some(keys(&old))));
    Raw::connect(&hub, 3).publish_acked(1, AckLevel::Synced, "t/a", &[secret]);
    stop(hub);
    let hub = start(with(Some(keys(&format!("{new}\n{old}")))));
    Raw::connect(&hub, 4).publish_acked(1, AckLevel::Synced, "t/a", &[secret]);
    assert_eq!(replay(&hub, Start::First, 3), [b"in clear", secret, secret]);
    stop(hub);
    assert_eq!(holding(data.path(), secret), Vec::<std::path::PathBuf>::new());
    for refused in [None, Some(keys(&new))] {
        let error = Hub::start(with(refused)).map(|_| ()).expect_err("a key is missing");
        assert!(error.to_string().contains("storage.key_file"), "{error}");
    }
    let hub = start(with(Some(keys(&format!("{new}\n{old}")))));
    assert_eq!(replay(&hub, Start::First, 3), [b"in clear", secret, secret]);
    stop(hub);
}

fn with_stream(data: &Path) -> Hub {
    let hub = start(options("hub", Some(data)));
    create(&mut Raw::connect(&hub, 1), 1, spec("all", vec!["t/**"]));
    hub
}

#[test]
fn a_stream_replays_from_any_start_and_follows_what_comes() {
    let data = tempfile::tempdir().expect("a folder");
    let hub = with_stream(data.path());
    fill(&hub, 0..5);
    assert_eq!(replay(&hub, Start::First, 5), numbers(0..5));
    assert_eq!(replay(&hub, Start::Sequence(3), 3), numbers(2..5));
    assert_eq!(replay(&hub, Start::Last, 1), numbers(4..5));
    assert_eq!(replay(&hub, Start::Time(UnixNanos(1)), 5), numbers(0..5));
    let mut follower = Raw::connect(&hub, 2);
    follower.subscribe_with(1, "**", |s| (s.stream, s.start) = ("all", Start::New));
    assert!(matches!(follower.receive().frame(), Frame::Subscribed(s) if s.start_sequence == 6 && !s.live));
    fill(&hub, 5..7);
    assert_eq!(follower.delivered(), [[5]]);
    assert_eq!(follower.delivered(), [[6]]);
    stop(hub);
}

#[test]
fn a_replay_takes_only_what_its_filter_matches() {
    let data = tempfile::tempdir().expect("a folder");
    let hub = with_stream(data.path());
    let mut publisher = Raw::connect(&hub, 3);
    for (request, topic) in ["t/a", "t/b", "t/a", "t/b"].into_iter().enumerate() {
        publisher.publish_acked(request as u64, AckLevel::Synced, topic, &[topic.as_bytes()]);
    }
    let mut reader = Raw::connect(&hub, 4);
    reader.subscribe_with(1, "t/b", |s| (s.stream, s.start) = ("all", Start::First));
    reader.receive();
    assert_eq!(reader.delivered(), [b"t/b".to_vec()]);
    assert_eq!(reader.delivered(), [b"t/b".to_vec()]);
    stop(hub);
}

#[test]
fn a_restart_keeps_every_acknowledged_event_once_and_knows_its_producers() {
    let data = tempfile::tempdir().expect("a folder");
    let hub = with_stream(data.path());
    let mut publisher = Raw::connect(&hub, 42);
    let block = publisher.block("t/a", &[&[0], &[1]]);
    publisher.publish_block(1, AckLevel::Synced, &block);
    publisher.receive();
    let first_epoch = hub.identity().epoch;
    stop(hub);
    let hub = start(options("hub", Some(data.path())));
    assert!(hub.identity().epoch > first_epoch);
    let mut again = Raw::connect(&hub, 42);
    again.publish_block(1, AckLevel::Synced, &block);
    assert!(matches!(again.receive().frame(), Frame::Ack(ack) if ack.level == AckLevel::Synced));
    fill(&hub, 2..4);
    assert_eq!(replay(&hub, Start::First, 4), numbers(0..4));
    stop(hub);
}

#[test]
fn streams_are_listed_reported_and_deleted() {
    let data = tempfile::tempdir().expect("a folder");
    let hub = with_stream(data.path());
    let mut client = Raw::connect(&hub, 1);
    create(&mut client, 2, spec("other", vec!["x"]));
    create(&mut client, 3, spec("other", vec!["x"]));
    client.send(&Frame::StreamCreate(StreamCreate { request: 4, spec: spec("other", vec!["y"]) }));
    assert_eq!(refused(&mut client).1, ErrorCode::STREAM_EXISTS);
    client.send(&Frame::StreamCreate(StreamCreate { request: 5, spec: spec("Bad Name", vec!["a//b"]) }));
    let (_, code, detail) = refused(&mut client);
    assert_eq!(code, ErrorCode::BAD_NAME);
    assert!(detail.contains("Bad Name") && detail.contains("a//b"), "all at once: {detail}");
    fill(&hub, 0..3);
    client.send(&Frame::StreamList(StreamList { request: 6 }));
    match client.receive().frame() {
        Frame::StreamReports(list) => {
            let names: Vec<&str> = list.reports.iter().map(|r| r.spec.name).collect();
            assert_eq!(names, ["all", "other"]);
            assert_eq!((list.reports[0].first, list.reports[0].next, list.reports[0].synced), (1, 4, 4));
            assert_eq!(list.reports[0].home, "hub");
        }
        other => panic!("not a report: {other:?}"),
    }
    client.send(&Frame::StreamDelete(StreamDelete { request: 7, name: "all" }));
    assert!(matches!(client.receive().frame(), Frame::Done(_)));
    client.send(&Frame::StreamInfo(StreamInfo { request: 8, name: "all" }));
    assert_eq!(refused(&mut client).1, ErrorCode::NO_STREAM);
    client.publish(9, AckLevel::Synced, "t/a", &[b"x"]);
    assert_eq!(refused(&mut client).1, ErrorCode::NO_STREAM);
    stop(hub);
    let hub = start(options("hub", Some(data.path())));
    let mut client = Raw::connect(&hub, 1);
    client.send(&Frame::StreamList(StreamList { request: 1 }));
    assert!(matches!(client.receive().frame(), Frame::StreamReports(list) if list.reports.len() == 1));
    stop(hub);
}

#[test]
fn a_folder_in_use_of_another_hub_or_of_a_newer_version_is_refused_untouched() {
    let data = tempfile::tempdir().expect("a folder");
    let hub = with_stream(data.path());
    fill(&hub, 0..1);
    let error = Hub::start(options("hub", Some(data.path()))).err().expect("in use").to_string();
    assert!(error.contains("in use by another hub"), "{error}");
    stop(hub);
    let error = Hub::start(options("other", Some(data.path()))).err().expect("foreign").to_string();
    assert!(error.contains("belongs to hub `hub`"), "{error}");
    let path = data.path().join("weft.json");
    let newer = br#"{"version":999,"hub":"hub","epoch":1}"#;
    let ours = std::fs::read(&path).expect("the description");
    std::fs::write(&path, newer).expect("it can be written");
    let error = Hub::start(options("hub", Some(data.path()))).err().expect("newer").to_string();
    assert!(error.contains("999") && error.contains("newer weft"), "{error}");
    assert_eq!(std::fs::read(&path).expect("still there"), newer);
    std::fs::write(&path, ours).expect("it can be written");
    let hub = start(options("hub", Some(data.path())));
    assert_eq!(replay(&hub, Start::First, 1), numbers(0..1));
    stop(hub);
}

#[test]
fn a_port_in_use_is_named() {
    let hub = start(options("hub", None));
    let mut second = options("second", None);
    second.clients[0].addr = hub.client_addresses()[0].clone();
    let error = Hub::start(second).err().expect("the port is taken").to_string();
    assert!(error.contains(&hub.client_addresses()[0]), "{error}");
    stop(hub);
}

#[test]
fn a_full_disk_refuses_durable_publishes_serves_the_rest_and_recovers() {
    let fs = Arc::new(FaultFs::new());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let network = TcpNetwork::new(TcpOptions::default(), clock.clone()).expect("a network");
    let shared: Arc<dyn Fs> = fs.clone();
    let keyed: Option<Arc<dyn Keyed>> = Some(Arc::new(MemoryKeyed::new()));
    let environment = Environment {
        clock,
        network: Box::new(network),
        fs: shared,
        keyed,
        profiler: None,
        judge: None,
        inspectors: None,
        door: None,
        stat: Default::default(),
        governed: weft_hub::Governed::default(),
        governance: weft_hub::govern::Governance::default(),
    };
    let hub = Hub::start_in(options("hub", Some(Path::new("/data"))), environment).expect("the hub starts");
    let mut client = Raw::connect(&hub, 1);
    create(&mut client, 1, StreamSpec { segment_bytes: 2 << 20, ..spec("all", vec!["t/**"]) });
    let mut live = Raw::connect(&hub, 2);
    live.subscribe(1, "t/**");
    fs.set_capacity(0);
    let big = vec![7u8; 500 << 10];
    let mut acked = 0;
    let refusal = loop {
        client.publish(10 + acked, AckLevel::Synced, "t/a", &[&big]);
        let answer = client.receive();
        match answer.frame() {
            Frame::Ack(_) => acked += 1,
            Frame::Error(error) => break (error.code, error.detail.to_owned()),
            other => panic!("neither: {other:?}"),
        }
        assert!(acked < 20, "the disk never filled");
    };
    assert_eq!(refusal.0, ErrorCode::DISK_FULL, "{}", refusal.1);
    assert!(state(&mut client).contains("no room"), "its state says so");
    // Live traffic went on, the refused one too: it was routed.
    for _ in 0..=acked {
        assert_eq!(live.delivered(), std::slice::from_ref(&big));
    }
    assert_eq!(replay(&hub, Start::First, acked as usize).len(), acked as usize);
    fs.set_capacity(u64::MAX);
    let mut tries = 0;
    loop {
        client.publish(500 + tries, AckLevel::Synced, "t/a", &[&big]);
        if matches!(client.receive().frame(), Frame::Ack(_)) {
            break;
        }
        tries += 1;
        assert!(tries < 100_000, "it never recovered");
    }
    assert_eq!(state(&mut client), "");
    hub.counters().ledger().balance().expect("every copy is accounted for");
    stop(hub);
}

fn state(client: &mut Raw) -> String {
    client.send(&Frame::StreamInfo(StreamInfo { request: 70, name: "all" }));
    match client.receive().frame() {
        Frame::StreamReports(reports) => reports.reports[0].state.to_owned(),
        other => panic!("no report: {other:?}"),
    }
}

#[test]
fn what_retention_took_out_is_off_the_disk_though_nothing_more_is_published() {
    let data = tempfile::tempdir().expect("a folder");
    let hub = start(options("hub", Some(data.path())));
    let mut client = Raw::connect(&hub, 1);
    create(&mut client, 1, StreamSpec { segment_bytes: 2 << 20, retain_events: 1, ..spec("all", vec!["t/**"]) });
    let big = vec![7u8; 500 << 10];
    for request in 10..22 {
        client.publish_acked(request, AckLevel::Synced, "t/a", &[&big]);
    }
    let files = || {
        let folder = std::fs::read_dir(data.path().join("streams/all")).expect("the stream's folder");
        folder
            .filter(|file| file.as_ref().is_ok_and(|file| file.path().extension().is_some_and(|e| e == "seg")))
            .count()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    // The one in use, the one made ahead, and the one that holds the last of what is kept.
    while files() > 3 {
        assert!(std::time::Instant::now() < deadline, "{} files are still there", files());
        std::thread::yield_now();
    }
    stop(hub);
}

fn counter(hub: &Hub, name: &str) -> u64 {
    hub.counters().list().into_iter().find(|(known, _)| known == name).expect("a counter of this name").1
}

#[test]
fn damage_in_an_old_segment_is_found_without_anybody_reading_it() {
    let data = tempfile::tempdir().expect("a folder");
    let hub = start(options("hub", Some(data.path())));
    let mut client = Raw::connect(&hub, 1);
    create(&mut client, 1, StreamSpec { segment_bytes: 2 << 20, ..spec("all", vec!["t/**"]) });
    let big = vec![7u8; 500 << 10];
    for request in 10..20 {
        client.publish_acked(request, AckLevel::Synced, "t/a", &[&big]);
    }
    assert_eq!((state(&mut client), counter(&hub, "log.damaged")), (String::new(), 0));
    drop(client);
    stop(hub);
    let old = data.path().join("streams/all/0000000001.seg");
    let mut bytes = std::fs::read(&old).expect("the first segment");
    bytes[700 << 10] ^= 1;
    std::fs::write(&old, bytes).expect("it can be written");

    // A start does not read it.
    let mut without = options("hub", Some(data.path()));
    without.storage.verify = weft_base::ByteCount(0);
    let hub = start(without);
    assert_eq!((state(&mut Raw::connect(&hub, 2)), counter(&hub, "log.damaged")), (String::new(), 0));
    stop(hub);

    let mut often = options("hub", Some(data.path()));
    often.storage.verify = weft_base::ByteCount::mib(1024);
    often.storage.verify_every = std::time::Duration::from_secs(1);
    let hub = start(often);
    let mut client = Raw::connect(&hub, 3);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    // Two passes: each damage is told and counted once.
    while counter(&hub, "log.verified_bytes") < 8 << 20 {
        assert!(std::time::Instant::now() < deadline, "nobody verifies: {:?}", hub.counters().list());
        std::thread::yield_now();
    }
    let told = state(&mut client);
    assert!(told.contains("0000000001.seg is damaged at byte ") && !told.contains("more"), "{told}");
    assert_eq!(counter(&hub, "log.damaged"), 1);
    stop(hub);
}
