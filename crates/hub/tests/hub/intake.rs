//! What streams take in, over real sockets: once however often it is published,
//! only where it is what was expected, all of a batch or nothing, within quotas.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;

use crate::common::stored::{answer, publish};
use crate::common::{Raw, crashed, options, start, stop};
use weft_base::{HubId, ProducerId};
use weft_hub::Hub;
use weft_wire::block::layout::{BATCH_LAST, BATCH_OPEN, CONDITIONAL, EXPIRES};
use weft_wire::block::{Block, BlockFields, BlockWriter, EventFields};
use weft_wire::frame::{
    AckLevel, AwaitLevel, ErrorCode, Frame, LastGet, LastValues, Retention, Start, StreamAlter, StreamDelete,
    StreamInfo, StreamSpec, publish_homes_head,
};
use weft_wire::headers::{HeadersWriter, names};

fn spec(last: LastValues) -> StreamSpec<'static> {
    StreamSpec { name: "all", filters: vec!["t/**"], segment_bytes: 4 << 20, last, ..StreamSpec::default() }
}

/// A hub with the stream `all`, made if it is not there.
fn hub(data: &Path, spec: StreamSpec<'_>) -> Hub {
    let mut options = options("hub", Some(data));
    // So that most producers and last values are looked up on disk.
    options.limits.stream_producers = 4;
    options.limits.stream_last_values = 4;
    let hub = start(options);
    let mut admin = Raw::connect(&hub, 1);
    admin.create_stream(spec);
    hub
}

/// A block of events (key, payload) with headers on the first.
fn block(producer: u64, first: u64, flags: u32, headers: &[(&str, &[u8])], events: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut writer = HeadersWriter::new(&mut kept);
    for (name, value) in headers {
        writer.push(name, value).unwrap();
    }
    let fields =
        BlockFields { flags, producer: ProducerId(producer), first_sequence: first, ..BlockFields::new("t/a") };
    let mut bytes = vec![0; 64 << 10];
    let mut block = BlockWriter::new(&mut bytes, &fields).unwrap();
    for (number, (key, payload)) in events.iter().enumerate() {
        let headers = if number == 0 { kept.as_slice() } else { &[] };
        block.push(&EventFields { key, headers, payload, ..EventFields::default() }).unwrap();
    }
    let len = block.finish().unwrap();
    bytes.truncate(len);
    bytes
}

fn one(producer: u64, first: u64, payload: &[u8]) -> Vec<u8> {
    block(producer, first, 0, &[], &[(b"", payload)])
}

/// The next sequence of the stream.
fn next(client: &mut Raw) -> u64 {
    client.send(&Frame::StreamInfo(StreamInfo { request: 9_999, name: "all" }));
    match client.receive().frame() {
        Frame::StreamReports(list) => list.reports[0].next,
        other => panic!("no report: {other:?}"),
    }
}

fn last_values(client: &mut Raw, filter: &str, key: Option<&[u8]>) -> Result<Vec<Vec<u8>>, ErrorCode> {
    let (has_key, key) = (key.is_some(), key.unwrap_or_default());
    client.send(&Frame::LastGet(LastGet { request: 77, stream: "all", filter, key, has_key, most: 0 }));
    let mut found = Vec::new();
    loop {
        match client.receive().frame() {
            Frame::Found(f) => {
                let block = Block::validate(f.block).unwrap();
                found.push(block.events().nth(f.event as usize).unwrap().payload.to_vec());
            }
            Frame::Done(_) => return Ok(found),
            Frame::Error(error) => return Err(error.code),
            other => panic!("not a last value: {other:?}"),
        }
    }
}

#[test]
fn a_publish_retried_ten_times_through_crashes_and_restarts_has_one_effect() {
    let mut data = tempfile::tempdir().unwrap();
    let retried = block(42, 1, 0, &[], &[(b"", b"one"), (b"", b"two")]);
    let mut others = 0;
    for round in 0..10_u64 {
        let running = hub(data.path(), spec(LastValues::Topic));
        let mut client = Raw::connect(&running, 42);
        let ack = publish(&mut client, 1, &retried).unwrap();
        assert_eq!(ack.duplicate, round > 0, "round {round}");
        assert_eq!((ack.home, ack.home_sequence), (HubId::of_name("hub"), 1), "its name stays");
        // So many others that it is forgotten in memory.
        for other in 0..8 {
            publish(&mut client, 2 + other, &one(1_000 + other, 1 + round, b"x")).unwrap();
            others += 1;
        }
        assert_eq!(next(&mut client), 3 + others);
        if round % 2 == 0 {
            let image = crashed(data.path());
            stop(running);
            data = image;
        } else {
            stop(running);
        }
    }
    // The canary: another sequence is another event.
    let running = hub(data.path(), spec(LastValues::Topic));
    let mut client = Raw::connect(&running, 42);
    assert!(!publish(&mut client, 1, &one(42, 3, b"three")).unwrap().duplicate);
    assert_eq!(next(&mut client), 4 + others);
    stop(running);
}

#[test]
fn a_log_that_was_put_back_is_right_against_its_keyed_state() {
    let data = tempfile::tempdir().unwrap();
    let running = hub(data.path(), spec(LastValues::Topic));
    let mut client = Raw::connect(&running, 42);
    publish(&mut client, 1, &one(42, 1, b"kept")).unwrap();
    let old = crashed(&data.path().join("streams"));
    publish(&mut client, 2, &one(42, 2, b"lost with the log")).unwrap();
    stop(running);
    std::fs::remove_dir_all(data.path().join("streams")).unwrap();
    std::fs::rename(old.path(), data.path().join("streams")).unwrap();
    let running = hub(data.path(), spec(LastValues::Topic));
    let mut client = Raw::connect(&running, 42);
    assert!(publish(&mut client, 1, &one(42, 1, b"kept")).unwrap().duplicate);
    assert!(!publish(&mut client, 2, &one(42, 2, b"lost with the log")).unwrap().duplicate, "it is not there");
    assert_eq!(last_values(&mut client, "t/a", None).unwrap(), [b"lost with the log"]);
    stop(running);
}

#[test]
fn of_two_that_compare_and_set_one_wins_each_round() {
    let data = tempfile::tempdir().unwrap();
    let running = hub(data.path(), spec(LastValues::Topic));
    let mut live = Raw::connect(&running, 3);
    live.subscribe(1, "t/**");
    let (mut a, mut b) = (Raw::connect(&running, 10), Raw::connect(&running, 11));
    let mut sequences = [1, 1];
    for round in 0..20_u64 {
        for (place, client) in [&mut a, &mut b].into_iter().enumerate() {
            let expect = round.to_le_bytes();
            let headers = [(names::EXPECT_LAST, expect.as_slice())];
            let bytes = block(10 + place as u64, sequences[place], CONDITIONAL, &headers, &[(b"", &[place as u8])]);
            client.publish_block(round, AckLevel::Synced, &bytes);
            sequences[place] += 1;
        }
        let outcomes = [answer(&mut a, round), answer(&mut b, round)];
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        let refused = outcomes.iter().find_map(|outcome| outcome.as_ref().err()).unwrap();
        assert_eq!(refused.0, ErrorCode::WRONG_LAST);
        assert!(refused.1.contains(&format!("is {}, not {round}", round + 1)), "{}", refused.1);
        // Live subscribers see what the stream took, and nothing else.
        let won = outcomes.iter().position(Result::is_ok).unwrap();
        assert_eq!(live.delivered(), [vec![won as u8]]);
    }
    assert_eq!(next(&mut a), 21);
    running.counters().ledger().balance().unwrap();
    stop(running);
}

#[test]
fn compare_and_set_on_a_key_needs_last_values_by_key_and_holds_through_a_crash() {
    let data = tempfile::tempdir().unwrap();
    let conditional = |first, key: &[u8], expect: u64| {
        let expect = expect.to_le_bytes();
        block(42, first, CONDITIONAL, &[(names::EXPECT_KEY, &expect)], &[(key, b"v")])
    };
    let running = hub(data.path(), spec(LastValues::Topic));
    let mut client = Raw::connect(&running, 42);
    assert_eq!(publish(&mut client, 1, &conditional(1, b"k", 0)).unwrap_err().0, ErrorCode::NO_LAST_VALUES);
    let altered = StreamAlter { request: 5, spec: spec(LastValues::Key) };
    client.send(&Frame::StreamAlter(altered));
    assert!(matches!(client.receive().frame(), Frame::Done(_)));
    assert_eq!(publish(&mut client, 2, &conditional(2, b"k", 0)).unwrap().home_sequence, 1);
    assert_eq!(publish(&mut client, 3, &conditional(3, b"l", 0)).unwrap().home_sequence, 2);
    for filler in 0..8 {
        publish(&mut client, 10, &block(50, 1 + filler, 0, &[], &[(&[filler as u8], b"f")])).unwrap();
    }
    let image = crashed(data.path());
    stop(running);
    let running = hub(image.path(), spec(LastValues::Key));
    let mut client = Raw::connect(&running, 42);
    let (code, detail) = publish(&mut client, 4, &conditional(4, b"k", 2)).unwrap_err();
    assert_eq!(code, ErrorCode::WRONG_LAST);
    assert!(detail.contains("is 1, not 2"), "{detail}");
    assert_eq!(publish(&mut client, 5, &conditional(5, b"k", 1)).unwrap().home_sequence, 11);
    // A retry of what was taken is a duplicate, not a broken expectation.
    assert!(publish(&mut client, 6, &conditional(5, b"k", 1)).unwrap().duplicate);
    // What was refused is not there, though what came after it is: who lost is not told that it won.
    assert_eq!(publish(&mut client, 7, &conditional(4, b"k", 2)).unwrap_err().0, ErrorCode::WRONG_LAST);
    assert_eq!(publish(&mut client, 8, &conditional(1, b"m", 3)).unwrap_err().0, ErrorCode::WRONG_LAST);
    // Neither after a crash, nor where it is taken when it comes again.
    let image = crashed(image.path());
    stop(running);
    let running = hub(image.path(), spec(LastValues::Key));
    let mut client = Raw::connect(&running, 42);
    assert_eq!(publish(&mut client, 9, &conditional(4, b"k", 2)).unwrap_err().0, ErrorCode::WRONG_LAST);
    assert!(publish(&mut client, 10, &conditional(3, b"l", 0)).unwrap().duplicate);
    assert_eq!(publish(&mut client, 11, &conditional(4, b"k", 11)).unwrap().home_sequence, 12);
    assert!(publish(&mut client, 12, &conditional(4, b"k", 11)).unwrap().duplicate);
    assert_eq!(next(&mut client), 13);
    stop(running);
}

fn batch_block(first: u64, index: u32, count: u32, payload: &[u8]) -> Vec<u8> {
    let part = [&[9; 16][..], &index.to_le_bytes(), &count.to_le_bytes()].concat();
    let flags = if index + 1 == count { BATCH_LAST } else { BATCH_OPEN };
    block(42, first, flags, &[(names::BATCH, &part)], &[(b"", payload)])
}

#[test]
fn a_batch_torn_by_a_crash_leaves_nothing_and_a_whole_one_all() {
    let data = tempfile::tempdir().unwrap();
    let running = hub(data.path(), spec(LastValues::Topic));
    let mut live = Raw::connect(&running, 3);
    live.subscribe(1, "t/**");
    let mut client = Raw::connect(&running, 42);
    client.publish_block(1, AckLevel::Synced, &batch_block(1, 0, 3, b"a"));
    client.publish_block(2, AckLevel::Synced, &batch_block(2, 1, 3, b"b"));
    assert_eq!(next(&mut client), 1, "nothing is there before all is");
    let torn = crashed(data.path());
    client.publish_block(3, AckLevel::Synced, &batch_block(3, 2, 3, b"c"));
    for request in 1..=3 {
        assert_eq!(answer(&mut client, request).unwrap().home_sequence, request);
    }
    assert_eq!([live.delivered(), live.delivered(), live.delivered()].concat(), [b"a", b"b", b"c"]);
    let whole = crashed(data.path());
    running.counters().ledger().balance().unwrap();
    stop(running);
    for (image, before) in [(torn, 1), (whole, 4)] {
        let running = hub(image.path(), spec(LastValues::Topic));
        let mut client = Raw::connect(&running, 42);
        assert_eq!(next(&mut client), before);
        // Published again it is there once.
        for (index, payload) in (0..3).zip([b"a", b"b", b"c"]) {
            client.publish_block(10, AckLevel::Synced, &batch_block(u64::from(index) + 1, index, 3, payload));
        }
        for _ in 0..3 {
            assert_eq!(answer(&mut client, 10).unwrap().duplicate, before == 4);
        }
        assert_eq!(next(&mut client), 4);
        stop(running);
    }
}

#[test]
fn a_bad_batch_is_refused_with_all_its_blocks() {
    let data = tempfile::tempdir().unwrap();
    let running = hub(data.path(), spec(LastValues::Topic));
    let mut client = Raw::connect(&running, 42);
    client.publish_block(1, AckLevel::Synced, &batch_block(1, 0, 3, b"a"));
    client.publish_block(2, AckLevel::Synced, &batch_block(2, 2, 3, b"c"));
    assert_eq!(answer(&mut client, 1).unwrap_err().0, ErrorCode::BAD_BATCH);
    assert_eq!(answer(&mut client, 2).unwrap_err().0, ErrorCode::BAD_BATCH);
    let bad = block(42, 9, CONDITIONAL, &[], &[(b"", b"no header")]);
    assert_eq!(publish(&mut client, 3, &bad).unwrap_err().0, ErrorCode::BAD_CONDITION);
    client.publish_block(4, AckLevel::Synced, &batch_block(10, 0, 2, b"a"));
    // It is on its way to the stream, before what follows.
    while running.counters().in_flight() == 0 {
        client.round_trip();
    }
    client.send(&Frame::StreamDelete(StreamDelete { request: 5, name: "all" }));
    assert_eq!(answer(&mut client, 4).unwrap_err().0, ErrorCode::NO_STREAM);
    assert!(matches!(client.receive().frame(), Frame::Done(_)));
    running.counters().ledger().balance().unwrap();
    stop(running);
}

#[test]
fn a_batch_that_is_begun_again_before_it_was_whole_is_there_once_and_the_ledger_balances() {
    let data = tempfile::tempdir().unwrap();
    let running = hub(data.path(), spec(LastValues::Topic));
    let mut lost = Raw::connect(&running, 42);
    lost.publish_block(1, AckLevel::Synced, &batch_block(1, 0, 3, b"a"));
    lost.publish_block(2, AckLevel::Synced, &batch_block(2, 1, 3, b"b"));
    while running.counters().in_flight() < 2 {
        lost.round_trip();
    }
    let mut client = Raw::connect(&running, 42);
    for (index, payload) in (0..3).zip([b"a", b"b", b"c"]) {
        client.publish_block(u64::from(index), AckLevel::Synced, &batch_block(u64::from(index) + 1, index, 3, payload));
    }
    for request in 0..3 {
        assert_eq!(answer(&mut client, request).unwrap().home_sequence, request + 1);
    }
    // Whoever waited for the copy that was replaced is answered too.
    for request in 1..=2 {
        assert_eq!(answer(&mut lost, request).unwrap_err().0, ErrorCode::OVERLAP);
    }
    assert_eq!(next(&mut client), 4);
    running.counters().ledger().balance().unwrap();
    assert_eq!(running.counters().in_flight(), 0);
    stop(running);
}

#[test]
fn last_values_are_found_without_a_consumer_also_after_a_crash() {
    let data = tempfile::tempdir().unwrap();
    let mut running = hub(data.path(), spec(LastValues::Key));
    let mut client = Raw::connect(&running, 42);
    for n in 0..20_u8 {
        let key = [n % 5];
        publish(&mut client, 1, &block(42, u64::from(n) + 1, 0, &[], &[(&key, &[n])])).unwrap();
    }
    // A tombstone.
    publish(&mut client, 2, &block(42, 30, 0, &[], &[(&[0], b"")])).unwrap();
    let image = crashed(data.path());
    for round in 0..2 {
        assert_eq!(last_values(&mut client, "t/a", None).unwrap(), [[16], [17], [18], [19]]);
        assert_eq!(last_values(&mut client, "**", Some(&[3])).unwrap(), [[18]]);
        assert!(last_values(&mut client, "t/a", Some(&[0])).unwrap().is_empty(), "deleted");
        assert!(last_values(&mut client, "x/**", None).unwrap().is_empty());
        stop(running);
        running = hub(image.path(), spec(LastValues::Key));
        client = Raw::connect(&running, 43 + round);
    }
    client.send(&Frame::StreamAlter(StreamAlter { request: 5, spec: spec(LastValues::Topic) }));
    assert!(matches!(client.receive().frame(), Frame::Done(_)));
    assert!(last_values(&mut client, "t/a", None).unwrap().is_empty(), "the topic's last event is a tombstone");
    assert_eq!(last_values(&mut client, "t/a", Some(&[3])), Err(ErrorCode::NO_LAST_VALUES));
    client.send(&Frame::StreamAlter(StreamAlter { request: 5, spec: spec(LastValues::Off) }));
    assert!(matches!(client.receive().frame(), Frame::Done(_)));
    assert_eq!(last_values(&mut client, "t/a", None), Err(ErrorCode::NO_LAST_VALUES));
    stop(running);
}

#[test]
fn what_has_expired_is_not_read_and_no_last_value() {
    let data = tempfile::tempdir().unwrap();
    let running = hub(data.path(), spec(LastValues::Topic));
    let mut client = Raw::connect(&running, 42);
    let (none, long) = (0_u64.to_le_bytes(), u64::MAX.to_le_bytes());
    publish(&mut client, 1, &block(42, 1, EXPIRES, &[(names::TTL, &none)], &[(b"", b"gone")])).unwrap();
    assert!(last_values(&mut client, "t/a", None).unwrap().is_empty());
    publish(&mut client, 2, &block(42, 2, EXPIRES, &[(names::TTL, &long)], &[(b"", b"there")])).unwrap();
    assert_eq!(last_values(&mut client, "t/a", None).unwrap(), [b"there"]);
    client.subscribe_with(1, "**", |s| (s.stream, s.start) = ("all", Start::First));
    assert!(matches!(client.receive().frame(), Frame::Subscribed(_)));
    assert_eq!(client.delivered(), [b"there"]);
    stop(running);
}

#[test]
fn a_higher_level_is_awaited_and_one_that_cannot_be_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let running = hub(data.path(), spec(LastValues::Topic));
    let mut client = Raw::connect(&running, 42);
    client.publish_block(1, AckLevel::Written, &one(42, 1, b"a"));
    let ack = answer(&mut client, 1).unwrap();
    assert_eq!((ack.level, ack.homes), (AckLevel::Written, 0));
    let mut ask = |level, homes, home_sequence| {
        let (request, stream, home) = (2, "all", ack.home);
        client.send(&Frame::AwaitLevel(AwaitLevel { request, stream, home, home_sequence, level, homes }));
        answer(&mut client, 2)
    };
    let reached = ask(AckLevel::Synced, 0, ack.home_sequence).unwrap();
    assert_eq!((reached.level, reached.home_sequence, reached.homes), (AckLevel::Synced, 1, 1));
    assert_eq!(ask(AckLevel::Homes, 2, 1).unwrap_err().0, ErrorCode::TOO_FEW_HOMES);
    assert_eq!(ask(AckLevel::Synced, 0, 2).unwrap_err().0, ErrorCode::UNSUPPORTED);
    let bytes = one(42, 2, b"b");
    std::io::Write::write_all(&mut client.socket, &publish_homes_head(3, 2, bytes.len())).unwrap();
    std::io::Write::write_all(&mut client.socket, &bytes).unwrap();
    assert_eq!(answer(&mut client, 3).unwrap_err().0, ErrorCode::TOO_FEW_HOMES);
    stop(running);
}

#[test]
fn what_is_for_one_stream_and_goes_to_two_is_refused_with_their_names() {
    let data = tempfile::tempdir().unwrap();
    let running = hub(data.path(), spec(LastValues::Off));
    let mut client = Raw::connect(&running, 42);
    let other = StreamSpec { name: "other", filters: vec!["*/a"], ..spec(LastValues::Off) };
    client.create_stream(other);
    let expects = block(42, 1, CONDITIONAL, &[(names::EXPECT_LAST, &[0; 8])], &[(b"", b"if")]);
    let (code, detail) = publish(&mut client, 2, &expects).unwrap_err();
    assert_eq!(code, ErrorCode::UNSUPPORTED);
    assert!(detail.contains("goes to 2 (`all` here, `other` here)") && detail.contains("alter"), "{detail}");
    publish(&mut client, 3, &one(42, 2, b"to both")).unwrap();
    stop(running);
}

#[test]
fn a_definition_is_altered_where_it_may_be_and_stays_so() {
    let data = tempfile::tempdir().unwrap();
    let running = hub(data.path(), spec(LastValues::Topic));
    let mut client = Raw::connect(&running, 42);
    let mut alter = |spec| {
        client.send(&Frame::StreamAlter(StreamAlter { request: 5, spec }));
        match client.receive().frame() {
            Frame::Done(_) => Ok(()),
            Frame::Error(error) => Err((error.code, error.detail.to_owned())),
            other => panic!("no answer: {other:?}"),
        }
    };
    let altered =
        StreamSpec { filters: vec!["t/**", "u"], max_event: 10, retain_events: 1_000, ..spec(LastValues::Topic) };
    assert_eq!(alter(altered.clone()), Ok(()));
    let mut refused = |spec| alter(spec).unwrap_err();
    assert_eq!(refused(StreamSpec { segment_bytes: 8 << 20, ..altered.clone() }).0, ErrorCode::FIXED);
    let other = StreamSpec { retention: Retention::Interest, ..altered.clone() };
    let (code, detail) = refused(other);
    assert!(code == ErrorCode::FIXED && detail.contains("`limits`") && detail.contains("`interest`"), "{detail}");
    assert_eq!(refused(StreamSpec { name: "none", ..altered.clone() }).0, ErrorCode::NO_STREAM);
    assert_eq!(refused(StreamSpec { filters: vec![], ..altered.clone() }).0, ErrorCode::BAD_NAME);
    stop(running);
    let running = hub(data.path(), altered);
    let mut client = Raw::connect(&running, 42);
    client.publish_acked(1, AckLevel::Synced, "u", &[b"small"]);
    let code = publish(&mut client, 2, &one(42, 2, b"more than ten bytes")).unwrap_err().0;
    assert_eq!(code, ErrorCode::TOO_LARGE);
    stop(running);
}

#[test]
fn a_tenant_that_has_stored_all_it_may_is_refused_and_the_others_are_not() {
    let data = tempfile::tempdir().unwrap();
    let mut small = options("hub", Some(data.path()));
    small.limits.tenant_stream_bytes = weft_base::ByteCount(1 << 20);
    let running = start(small);
    let mut client = Raw::connect(&running, 42);
    for (name, filter, tenant) in [("full", "t/**", "seven"), ("other", "u/**", "eight"), ("free", "v/**", "")] {
        let spec = StreamSpec { name, filters: vec![filter], tenant, segment_bytes: 4 << 20, ..StreamSpec::default() };
        client.create_stream(spec);
    }
    let payload = vec![7; 60 << 10];
    let mut sequence = 0;
    let refused = loop {
        sequence += 1;
        if let Err(refused) = publish(&mut client, sequence, &one(42, sequence, &payload)) {
            break refused;
        }
        assert!(sequence < 100_000, "never refused");
    };
    assert_eq!(refused.0, ErrorCode::QUOTA);
    assert!(refused.1.contains("tenant `seven` has stored all it may"), "{}", refused.1);
    let of_nobody = loop {
        client.publish(1, AckLevel::Synced, "v/x", &[&payload]);
        if let Frame::Error(error) = client.receive().frame() {
            break (error.code, error.detail.to_owned());
        }
    };
    assert_eq!(of_nobody.0, ErrorCode::QUOTA);
    assert!(of_nobody.1.contains("streams of no tenant have stored all they may"), "{}", of_nobody.1);
    client.publish_acked(1, AckLevel::Synced, "u/x", &[b"another tenant's"]);
    running.counters().ledger().balance().unwrap();
    stop(running);
}

#[test]
fn a_compacted_stream_keeps_the_newest_of_each_key_and_forgets_the_others() {
    let data = tempfile::tempdir().unwrap();
    let compacted = StreamSpec { compact: true, segment_bytes: 2 << 20, ..spec(LastValues::Key) };
    let running = hub(data.path(), compacted.clone());
    let mut client = Raw::connect(&running, 42);
    let payload = |n: u8| [&[n][..], &[7; 50 << 10]].concat();
    publish(&mut client, 1, &block(42, 1, 0, &[], &[(b"once", &payload(200))])).unwrap();
    let events = 160;
    for n in 0..events {
        publish(&mut client, 1, &block(42, u64::from(n) + 2, 0, &[], &[(&[n % 5], &payload(n))])).unwrap();
    }
    let stored = |client: &mut Raw| {
        client.send(&Frame::StreamInfo(StreamInfo { request: 9_999, name: "all" }));
        match client.receive().frame() {
            Frame::StreamReports(list) => list.reports[0].bytes,
            other => panic!("no report: {other:?}"),
        }
    };
    // What is complete goes but for the newest: the rest is less than two segments.
    while stored(&mut client) > 4 << 20 {}
    let image = crashed(data.path());
    let newest = |client: &mut Raw| -> Vec<u8> {
        last_values(client, "t/a", None).unwrap().iter().map(|payload| payload[0]).collect()
    };
    let expected: Vec<u8> = (events - 5..events).chain([200]).collect();
    assert_eq!(newest(&mut client), expected);
    stop(running);
    let running = hub(image.path(), compacted);
    let mut client = Raw::connect(&running, 43);
    assert_eq!(newest(&mut client), expected);
    client.subscribe_with(1, "**", |s| (s.stream, s.start) = ("all", Start::First));
    assert!(matches!(client.receive().frame(), Frame::Subscribed(_)));
    let mut seen: Vec<u8> = Vec::new();
    while seen.last() != Some(&(events - 1)) {
        seen.extend(client.delivered().iter().map(|payload| payload[0]));
    }
    assert_eq!(seen[0], 200, "the only one of its key");
    assert!(seen.len() < 90, "{} of {events} are left", seen.len());
    assert!(seen[1..].is_sorted());
    stop(running);
}
