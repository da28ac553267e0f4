//! Durable consumers over real sockets: handing out, each verb, groups, the
//! order of keys, takeovers, steering.

use crate::common::consumers::{fill, keyed_block, spec, with_stream};
use crate::common::{Raw, options, start, stop};
use weft_hub::Hub;
use weft_wire::frame::{
    AckLevel, ConsumerAction, ConsumerMode, ConsumerSpec, Credit, ErrorCode, Frame, Start, Unsubscribe, Verb,
};

fn hub() -> (tempfile::TempDir, Hub) {
    let data = tempfile::tempdir().expect("a folder");
    let hub = with_stream(data.path());
    (data, hub)
}

fn numbers(range: std::ops::Range<u8>) -> Vec<(u64, Vec<u8>)> {
    range.map(|n| (u64::from(n) + 1, vec![n])).collect()
}

/// A client that has made this consumer.
fn maker(hub: &Hub, spec: ConsumerSpec<'_>) -> Raw {
    let mut client = Raw::connect(hub, 2);
    client.create_consumer(spec);
    client
}

#[test]
fn each_stage_on_a_thread_of_its_own_serves_consumers_as_well() {
    let data = tempfile::tempdir().expect("a folder");
    let mut own = options("hub", Some(data.path()));
    own.threads = weft_hub::options::Threads::Dedicated;
    let hub = crate::common::consumers::with_stream_in(own);
    let mut client = maker(&hub, spec("c"));
    let token = client.consume(1, "c").token;
    for n in 0..20 {
        fill(&hub, n..n + 1);
        assert_eq!(client.handed_all(1), numbers(n..n + 1));
        client.ack_synced(1, token, &[(u64::from(n) + 1, 1)]);
    }
    stop(hub);
}

#[test]
fn events_are_handed_out_once_in_order_and_settled_for_good() {
    let (_data, hub) = hub();
    fill(&hub, 0..5);
    let mut client = maker(&hub, spec("c"));
    let token = client.consume(1, "c").token;
    assert_eq!(client.handed_all(5), numbers(0..5));
    fill(&hub, 5..7);
    assert_eq!(client.handed_all(2), numbers(5..7), "what comes later follows");
    client.ack_synced(1, token, &[(1, 7)]);
    let mut second = Raw::connect(&hub, 3);
    second.consume(1, "c");
    second.nothing();
    assert_eq!(hub.counters().consumer_acked.load(std::sync::atomic::Ordering::Relaxed), 7);
    stop(hub);
}

#[test]
fn credit_is_kept_to_the_event_and_one_block_serves_several_members() {
    let (_data, hub) = hub();
    let mut publisher = Raw::connect(&hub, 9);
    publisher.publish_acked(1, AckLevel::Synced, "t/a", &[&[0], &[1], &[2], &[3], &[4]]);
    let mut first = maker(&hub, spec("c"));
    first.consume_some(1, "c", 2);
    assert_eq!(first.handed().sequences(), [1, 2]);
    first.nothing();
    let mut second = Raw::connect(&hub, 3);
    second.consume_some(1, "c", 1);
    assert_eq!(second.handed().sequences(), [3]);
    first.send(&Frame::Credit(Credit { id: weft_base::SubscriptionId(1), events: 9, bytes: 0 }));
    assert_eq!(first.handed().sequences(), [4, 5]);
    stop(hub);
}

#[test]
fn what_is_not_acknowledged_in_time_comes_again_and_says_so() {
    let (_data, hub) = hub();
    fill(&hub, 0..2);
    let mut client = maker(&hub, ConsumerSpec { ack_wait_ms: 100, ..spec("c") });
    let token = client.consume(1, "c").token;
    client.handed_all(2);
    client.settle(0, 1, token, Verb::Ack, &[(2, 1)]);
    let again = client.handed();
    assert_eq!((again.attempt, again.sequences()), (2, vec![1]));
    client.ack_synced(1, token, &[(1, 1)]);
    stop(hub);
}

#[test]
fn a_nack_brings_an_event_back_and_a_late_one_is_waited_for() {
    let (_data, hub) = hub();
    fill(&hub, 0..2);
    let mut client = maker(&hub, spec("c"));
    let token = client.consume(1, "c").token;
    client.handed_all(2);
    client.settle_with(0, 1, token, Verb::Nack, 60_000, "busy", &[(1, 1)]);
    client.settle(0, 1, token, Verb::Nack, &[(2, 1)]);
    let again = client.handed();
    assert_eq!((again.attempt, again.sequences()), (2, vec![2]), "the one without a delay");
    client.settle(0, 1, token, Verb::Progress, &[(2, 1)]);
    client.ack_synced(1, token, &[(2, 1)]);
    client.nothing();
    stop(hub);
}

#[test]
fn what_a_lost_session_had_goes_to_another_member_at_once() {
    let (_data, hub) = hub();
    fill(&hub, 0..3);
    let mut first = maker(&hub, spec("c"));
    first.consume(1, "c");
    first.handed_all(3);
    drop(first);
    let mut second = Raw::connect(&hub, 3);
    let consuming = second.consume(1, "c");
    let mut again = Vec::new();
    while again.len() < 3 {
        let handed = second.handed();
        assert_eq!(handed.attempt, 2);
        again.extend(handed.events);
    }
    assert_eq!(again, numbers(0..3));
    second.ack_synced(1, consuming.token, &[(1, 3)]);
    stop(hub);
}

#[test]
fn a_member_that_leaves_gets_nothing_after_the_answer_to_that() {
    let (_data, hub) = hub();
    let mut client = maker(&hub, spec("c"));
    client.consume(1, "c");
    fill(&hub, 0..3);
    client.send(&Frame::Unsubscribe(Unsubscribe { id: weft_base::SubscriptionId(1) }));
    loop {
        match client.receive().frame() {
            Frame::Handout(_) => {}
            Frame::Unsubscribed(ended) => break assert_eq!(ended.id.0, 1),
            other => panic!("neither: {other:?}"),
        }
    }
    client.nothing();
    let mut second = Raw::connect(&hub, 3);
    second.consume(1, "c");
    assert_eq!(second.handed_all(3), numbers(0..3));
    stop(hub);
}

#[test]
fn an_exclusive_consumer_is_taken_over_and_its_old_member_is_fenced() {
    let (_data, hub) = hub();
    fill(&hub, 0..2);
    let mut first = maker(&hub, ConsumerSpec { mode: ConsumerMode::Exclusive, ..spec("c") });
    let active = first.consume(1, "c");
    assert_eq!(first.handed_all(2), numbers(0..2));
    let mut second = Raw::connect(&hub, 3);
    assert_eq!(second.consume(5, "c").token, 0, "it stands by");
    second.nothing();
    second.settle(8, 5, active.token, Verb::Ack, &[(1, 1)]);
    assert_eq!(second.refused().1, weft_wire::frame::ErrorCode::FENCED, "also with another's token");
    first.send(&Frame::Unsubscribe(Unsubscribe { id: weft_base::SubscriptionId(1) }));
    let promoted = match second.receive().frame() {
        Frame::Consuming(consuming) => consuming,
        other => panic!("not promoted: {other:?}"),
    };
    assert!(promoted.token > active.token);
    assert_eq!(promoted.redeliver, 2);
    assert_eq!(second.handed_all(2), numbers(0..2));
    second.ack_synced(5, promoted.token, &[(1, 2)]);
    stop(hub);
}

#[test]
fn the_events_of_a_key_keep_their_order_while_members_come_and_go() {
    let (_data, hub) = hub();
    let mut publisher = Raw::connect(&hub, 9);
    let keys: Vec<Vec<u8>> = (0..240_u8).map(|n| vec![b'k', n % 8]).collect();
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    for (request, part) in keys.chunks(24).enumerate() {
        publisher.publish_block(request as u64 + 1, AckLevel::Synced, &keyed_block("t/a", part));
        assert!(matches!(publisher.receive().frame(), Frame::Ack(_)));
    }
    let mut maker = maker(&hub, ConsumerSpec { mode: ConsumerMode::Keyed, ..spec("c") });
    // By key: the sequences in the order in which they were settled.
    let mut settled: Vec<Vec<u64>> = vec![Vec::new(); 8];
    let mut round = 0_u64;
    while settled.iter().map(Vec::len).sum::<usize>() < 240 {
        round += 1;
        let mut member = Raw::connect(&hub, 100 + round);
        let token = member.consume_some(1, "c", 40).token;
        let mut had = 0;
        while had < 30 && settled.iter().map(Vec::len).sum::<usize>() < 240 {
            let handed = member.handed();
            for sequence in handed.sequences() {
                had += 1;
                let key = ((sequence - 1) % 8) as usize;
                member.ack_synced_while_handed(1, token, sequence);
                settled[key].push(sequence);
            }
        }
        // It leaves with some that it was handed and did not settle.
    }
    for (key, sequences) in settled.iter().enumerate() {
        assert!(sequences.is_sorted(), "key {key}: {sequences:?}");
        assert_eq!(sequences.len(), 30);
    }
    let about = maker.ask_about("c");
    let Frame::ConsumerReports(reports) = about.frame() else { panic!("{:?}", about.frame()) };
    assert_eq!((reports.reports[0].lag, reports.reports[0].floor), (0, 241));
    stop(hub);
}

#[test]
fn a_paused_consumer_hands_out_nothing_until_it_is_resumed_and_a_reset_begins_anew() {
    let (_data, hub) = hub();
    let mut client = maker(&hub, spec("c"));
    let mut admin = Raw::connect(&hub, 3);
    let token = client.consume(1, "c").token;
    admin.control("c", ConsumerAction::Pause, 0, Start::New);
    fill(&hub, 0..3);
    client.nothing();
    admin.control("c", ConsumerAction::Resume, 0, Start::New);
    assert_eq!(client.handed_all(3), numbers(0..3));
    client.ack_synced(1, token, &[(1, 3)]);
    admin.control("c", ConsumerAction::Reset, 0, Start::Sequence(2));
    let told = match client.receive().frame() {
        Frame::Consuming(consuming) => consuming,
        other => panic!("not told: {other:?}"),
    };
    assert!(told.token > token);
    assert_eq!(client.handed_all(2), numbers(1..3));
    stop(hub);
}

#[test]
fn browsing_reads_a_stream_and_takes_nothing_from_its_consumers() {
    let (_data, hub) = hub();
    fill(&hub, 0..3);
    let mut client = maker(&hub, spec("c"));
    let mut browser = Raw::connect(&hub, 3);
    browser.subscribe_with(1, "**", |s| (s.stream, s.start) = ("all", Start::First));
    browser.receive();
    for n in 0..3 {
        assert_eq!(browser.delivered(), [[n]]);
    }
    client.consume(1, "c");
    assert_eq!(client.handed_all(3), numbers(0..3));
    stop(hub);
}

#[test]
fn filters_and_predicates_choose_and_a_start_is_kept() {
    let (_data, hub) = hub();
    let mut publisher = Raw::connect(&hub, 9);
    for (n, topic) in ["t/a", "t/b", "t/a", "t/b"].into_iter().enumerate() {
        let payload = vec![n as u8; n + 1];
        publisher.publish_acked(n as u64 + 1, AckLevel::Synced, topic, &[&payload]);
    }
    let mut client = maker(&hub, ConsumerSpec { filters: vec!["t/b"], predicate: "size > 2", ..spec("c") });
    client.create_consumer(ConsumerSpec { start: Start::Sequence(3), ..spec("late") });
    client.create_consumer(ConsumerSpec { start: Start::New, ..spec("new") });
    client.consume(1, "c");
    assert_eq!(client.handed_all(1), [(4, vec![3; 4])]);
    client.consume(2, "late");
    assert_eq!(client.handed_all(2), [(3, vec![2; 3]), (4, vec![3; 4])]);
    client.consume(3, "new");
    client.nothing();
    stop(hub);
}

#[test]
fn a_report_says_how_far_a_consumer_is_and_who_its_members_are() {
    let (_data, hub) = hub();
    fill(&hub, 0..4);
    let mut client = maker(&hub, spec("c"));
    client.create_consumer(spec("other"));
    let token = client.consume_some(1, "c", 3).token;
    client.handed_all(3);
    client.ack_synced(1, token, &[(1, 1)]);
    let about = client.ask_about("c");
    let Frame::ConsumerReports(reports) = about.frame() else { panic!("{:?}", about.frame()) };
    let [report] = reports.reports.as_slice() else { panic!("one: {reports:?}") };
    assert_eq!((report.spec.name, report.spec.dead_stream, report.seat), ("c", "all-dead", "hub"));
    assert_eq!((report.floor, report.next, report.lag, report.in_flight), (2, 4, 3, 2));
    assert_eq!((report.members.len(), report.members[0].name, report.members[0].token), (1, "test", token));
    assert_eq!((report.members[0].in_flight, report.paused_until), (2, 0));
    let about = client.ask_about("");
    let Frame::ConsumerReports(reports) = about.frame() else { panic!("{:?}", about.frame()) };
    let names: Vec<_> = reports.reports.iter().map(|report| report.spec.name).collect();
    assert_eq!(names, ["c", "other"]);
    stop(hub);
}

#[test]
fn how_far_consumers_are_behind_is_told_by_name_and_of_the_rest_together_until_they_are_gone() {
    let data = tempfile::tempdir().expect("a folder");
    let mut few = options("hub", Some(data.path()));
    few.see.consumers = 1;
    let hub = crate::common::consumers::with_stream_in(few);
    let lags = || {
        let told = hub.counters().lags.told();
        let told: Vec<_> = told.iter().map(|lag| (lag.consumer.clone(), lag.events(), lag.nanos() > 0)).collect();
        let (others, events, nanos) = hub.counters().lags.others();
        let most = hub.counters().consumer_lag_events.load(std::sync::atomic::Ordering::Relaxed);
        (told, (others, events, nanos > 0), most)
    };
    type Told = Vec<(String, u64, bool)>;
    let until = |wanted: (Told, (u64, u64, bool), u64)| {
        let begun = std::time::Instant::now();
        while lags() != wanted {
            assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}, not {wanted:?}", lags());
            std::thread::yield_now();
        }
    };
    fill(&hub, 0..4);
    let mut client = maker(&hub, spec("c"));
    until((vec![("c".to_owned(), 4, true)], (0, 0, false), 4));
    client.create_consumer(spec("d"));
    client.create_consumer(spec("e"));
    until((vec![("c".to_owned(), 4, true)], (2, 8, true), 4));
    let token = client.consume(1, "c").token;
    client.handed_all(4);
    client.ack_synced(1, token, &[(1, 1), (3, 1)]);
    until((vec![("c".to_owned(), 2, true)], (2, 8, true), 4));
    client.ack_synced(1, token, &[(2, 1), (4, 1)]);
    until((vec![("c".to_owned(), 0, false)], (2, 8, true), 4));
    // The name of one that is gone goes, and makes room for another's.
    client.delete_consumer("c");
    until((vec![("d".to_owned(), 4, true)], (1, 4, true), 4));
    client.delete_consumer("e");
    client.delete_consumer("d");
    until((vec![], (0, 0, false), 0));
    stop(hub);
}

#[test]
fn a_consumer_that_nobody_uses_ends_by_itself_and_is_gone_after_a_restart_too() {
    let data = tempfile::tempdir().expect("a folder");
    let hub = with_stream(data.path());
    let mut client = maker(&hub, ConsumerSpec { inactive_ms: 1_000, ..spec("idle") });
    client.create_consumer(ConsumerSpec { inactive_ms: 600_000, ..spec("kept") });
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !matches!(client.ask_about("idle").frame(), Frame::Error(error) if error.code == ErrorCode::NO_CONSUMER) {
        assert!(std::time::Instant::now() < deadline, "it never ended");
    }
    stop(hub);
    let hub = start(options("hub", Some(data.path())));
    let mut client = Raw::connect(&hub, 3);
    client.ask_to_consume(1, "idle", 1);
    assert_eq!(client.refused().1, ErrorCode::NO_CONSUMER);
    client.consume(1, "kept");
    stop(hub);
}

#[test]
fn what_expired_in_the_stream_is_told_instead_of_handed_out() {
    let (_data, hub) = hub();
    let mut headers = Vec::new();
    weft_wire::HeadersWriter::new(&mut headers).push("weft-ttl", &1_u64.to_le_bytes()).expect("it fits");
    let mut publisher = Raw::connect(&hub, 0);
    let block = crate::common::consumers::block_with("t/a", 1 << 28, &headers);
    publisher.publish_block(1, AckLevel::Synced, &block);
    assert!(matches!(publisher.receive().frame(), Frame::Ack(_)));
    let mut client = Raw::connect(&hub, 2);
    // A round trip to the disk takes longer than its millisecond; if it did
    // not, the event would be handed out, and that would be right too.
    client.create_consumer(spec("c"));
    client.consume(1, "c");
    let received = client.receive();
    match received.frame() {
        Frame::Gap(gap) => {
            let expired = weft_mesh::ledger::DropReason::Expired as u8;
            assert_eq!((gap.id.0, gap.events, gap.reason), (1, 1, expired));
            assert_eq!(hub.counters().consumer_expired.load(std::sync::atomic::Ordering::Relaxed), 1);
        }
        _ => assert_eq!(crate::common::consumers::Handed::of(&received).sequences(), [1]),
    }
    stop(hub);
}

#[test]
fn a_session_that_reads_nothing_holds_up_its_own_window_and_nobody_else() {
    let (_data, hub) = hub();
    let mut publisher = Raw::connect(&hub, 9);
    let payload = vec![7_u8; 100 << 10];
    for request in 0..40 {
        publisher.publish_acked(request + 1, AckLevel::Synced, "t/a", &[&payload]);
    }
    // Four megabytes: more than the window of one session and its socket.
    let mut deaf = maker(&hub, spec("c"));
    deaf.create_consumer(spec("other"));
    deaf.consume(1, "c");
    let mut quick = Raw::connect(&hub, 3);
    let token = quick.consume(1, "other").token;
    assert_eq!(quick.handed_all(40).len(), 40);
    quick.ack_synced(1, token, &[(1, 40)]);
    assert_eq!(deaf.handed_all(40).len(), 40, "and it gets all of it once it reads");
    deaf.round_trip();
    assert_eq!(hub.counters().handouts.load(std::sync::atomic::Ordering::Relaxed), 0, "nothing is on its way");
    stop(hub);
}

#[test]
fn many_members_in_one_session_that_have_nothing_to_do_hold_up_none() {
    let (_data, hub) = hub();
    let names: Vec<String> = (0..40).map(|n| format!("c{n}")).collect();
    let mut client = maker(&hub, spec("last"));
    for (id, name) in names.iter().enumerate() {
        client.create_consumer(ConsumerSpec { filters: vec!["t/never"], ..spec(name) });
        client.consume(id as u64 + 10, name);
    }
    client.consume(1, "last");
    fill(&hub, 0..3);
    assert_eq!(client.handed_all(3), numbers(0..3));
    stop(hub);
}
