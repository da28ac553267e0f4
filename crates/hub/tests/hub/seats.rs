//! At which home of a stream a consumer runs, over real sockets: failover,
//! failback, moves by request, and a seat that stops.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::consumers::spec as consumer;
use crate::common::mesh;
use crate::common::triangle::{NAMES, Triangle, create, has_all, publish, stream, until, with_stream};
use crate::common::{Raw, start, stop};
use weft_hub::Hub;
use weft_wire::frame::{self, AckLevel, ConsumerAction, Consuming, ErrorCode, Frame, Retention, Start, StreamSpec};

/// Becomes a member, however often that is refused: nothing else comes meanwhile.
fn join(client: &mut Raw, id: u64) -> Consuming {
    for _ in 0..4_000 {
        client.ask_to_consume(id, "c", 20);
        match client.receive().frame() {
            Frame::Consuming(consuming) => return consuming,
            Frame::Error(_) => std::thread::park_timeout(Duration::from_millis(5)),
            other => panic!("neither: {other:?}"),
        }
    }
    panic!("nobody serves the consumer");
}

/// Waits until a hub has been sent the state that a consumer has now. What comes
/// first may have been on its way before, so it is told more than once, and by
/// what leaves the consumer as it is: of a pause the end could be missed.
fn copied(client: &mut Raw, hub: &Hub) {
    let received = || hub.counters().consumer_copied.load(Ordering::Relaxed);
    for _ in 0..2 {
        let before = received();
        client.control("c", ConsumerAction::Resume, 0, Start::New);
        let later = (0..4_000).any(|_| {
            std::thread::park_timeout(Duration::from_millis(5));
            received() > before
        });
        assert!(later, "no copy came");
    }
}

#[test]
fn a_consumer_fails_over_and_back_and_comes_again_with_what_was_in_flight_alone() {
    let mut triangle = with_stream();
    let [seat, second, third] = triangle.order();
    (0..3).for_each(|at| publish(&triangle, at, 10 + at as u64, 0..10, AckLevel::Synced));
    (0..3).for_each(|at| has_all(&triangle, at, [10, 10, 10]));
    let mut client = Raw::connect(triangle.hub(third), 50);
    client.create_consumer(consumer("c"));
    let joined = join(&mut client, 1);
    let mut handed = client.handed_all(20);
    let settled: Vec<(u64, Vec<u8>)> = handed.drain(..12).collect();
    let ranges: Vec<(u64, u32)> = settled.iter().map(|(sequence, _)| (*sequence, 1)).collect();
    client.ack_synced(1, joined.token, &ranges);
    copied(&mut client, triangle.hub(second));
    copied(&mut client, triangle.hub(second));
    triangle.kill(seat);
    let ended = client.receive();
    assert!(matches!(ended.frame(), Frame::Error(e) if e.request == 1), "{:?}", ended.frame());
    let joined = join(&mut client, 2);
    assert!(joined.token > 0);
    assert_eq!(joined.redeliver, 8, "what was in flight, and it is said so");
    let (mut again, mut fresh) = (Vec::new(), Vec::new());
    while again.len() + fresh.len() < 18 {
        let handed = client.handed();
        if handed.attempt > 1 { again.extend(handed.events) } else { fresh.extend(handed.events) }
    }
    let names = |events: &[(u64, Vec<u8>)]| events.iter().map(|e| e.1.clone()).collect::<BTreeSet<_>>();
    assert_eq!(names(&again), names(&handed), "what comes again is flagged");
    let all: BTreeSet<Vec<u8>> = [&settled, &again, &fresh].into_iter().flat_map(|events| names(events)).collect();
    assert_eq!((all.len(), settled.len() + again.len() + fresh.len()), (30, 30), "all, and none twice");
    let ranges: Vec<(u64, u32)> = again.iter().chain(&fresh).map(|(sequence, _)| (*sequence, 1)).collect();
    client.ack_synced(2, joined.token, &ranges);
    println!("failover: {} again, {} for the first time", again.len(), fresh.len());
    // The old seat is back: the consumer goes there with all that was settled.
    triangle.restart(seat);
    let ended = client.receive();
    assert!(matches!(ended.frame(), Frame::Error(e) if e.request == 2), "{:?}", ended.frame());
    let joined = join(&mut client, 3);
    assert_eq!(joined.redeliver, 0);
    publish(&triangle, second, 60, 0..3, AckLevel::Synced);
    let mut last = Vec::new();
    while last.len() < 3 {
        let handed = client.handed();
        assert_eq!(handed.attempt, 1);
        last.extend(handed.events);
    }
    assert!(last.iter().all(|(_, name)| String::from_utf8_lossy(name).contains("-60-")), "{last:?}");
    client.nothing();
    println!("failback: 0 again, {} for the first time", last.len());
    let takeovers = |at: usize| triangle.hub(at).counters().consumer_takeovers.load(Ordering::Relaxed);
    assert_eq!([takeovers(seat), takeovers(second), takeovers(third)], [1, 1, 0]);
    triangle.stop();
}

/// Asks to move the consumer; why that is refused.
fn ask_to_move(client: &mut Raw, home: &str) -> Option<ErrorCode> {
    let (stream, name, action) = ("all", "c", ConsumerAction::Move);
    let control = frame::ConsumerControl { request: 8, stream, name, action, value: 0, start: Start::New, home };
    client.send(&Frame::ConsumerControl(control));
    match client.receive().frame() {
        Frame::Done(done) if done.request == 8 => None,
        Frame::Error(error) if error.request == 8 => Some(error.code),
        other => panic!("neither: {other:?}"),
    }
}

/// The member is told that it is none any more; it becomes one again.
fn follow(client: &mut Raw, id: u64) -> Consuming {
    let ended = client.receive();
    assert!(matches!(ended.frame(), Frame::Error(e) if e.request == id), "{:?}", ended.frame());
    join(client, id + 1)
}

/// Which home the hub of this session says to serve the consumer.
fn seat_of(client: &mut Raw, name: &str) -> String {
    let answer = client.ask_about(name);
    let Frame::ConsumerReports(reports) = answer.frame() else { panic!("no reports: {:?}", answer.frame()) };
    assert_eq!(reports.reports.len(), 1);
    reports.reports[0].seat.to_owned()
}

#[test]
fn a_consumer_moves_by_request_with_all_that_was_settled_and_returns_to_the_home_it_prefers() {
    let mut triangle = with_stream();
    let [seat, second, third] = triangle.order();
    publish(&triangle, second, 10, 0..30, AckLevel::Synced);
    (0..3).for_each(|at| until(triangle.hub(at), "all", "all are there", |report| report.synced == 31));
    let (mut client, mut operator) = (Raw::connect(triangle.hub(second), 50), Raw::connect(triangle.hub(seat), 51));
    client.create_consumer(consumer("c"));
    let joined = join(&mut client, 1);
    let mut handed = client.handed_all(20);
    let settled: Vec<(u64, Vec<u8>)> = handed.drain(..12).collect();
    let ranges: Vec<(u64, u32)> = settled.iter().map(|(sequence, _)| (*sequence, 1)).collect();
    client.ack_synced(1, joined.token, &ranges);
    assert_eq!(ask_to_move(&mut operator, "nowhere"), Some(ErrorCode::NOT_A_HOME));
    assert_eq!(ask_to_move(&mut operator, NAMES[third]), None);
    // What was in flight comes again there, flagged, and nothing that was settled.
    let joined = follow(&mut client, 1);
    assert_eq!(joined.redeliver, 8);
    let (mut again, mut fresh) = (BTreeSet::new(), BTreeSet::new());
    while again.len() + fresh.len() < 18 {
        let handed = client.handed();
        let to = if handed.attempt > 1 { &mut again } else { &mut fresh };
        to.extend(handed.events);
    }
    assert_eq!(again.iter().map(|e| e.1.clone()).collect::<BTreeSet<_>>(), handed.into_iter().map(|e| e.1).collect());
    let ranges: Vec<(u64, u32)> = again.iter().chain(&fresh).map(|(sequence, _)| (*sequence, 1)).collect();
    client.ack_synced(2, joined.token, &ranges);
    assert_eq!([seat_of(&mut operator, "c"), seat_of(&mut operator, "")], [NAMES[third]; 2], "listed at every home");
    (0..2).for_each(|_| copied(&mut client, triangle.hub(seat)));
    // Away, it fails over as always; back, it has its consumer again, without a request.
    triangle.kill(third);
    assert_eq!(follow(&mut client, 2).redeliver, 0);
    assert_eq!(seat_of(&mut client, "c"), NAMES[seat]);
    assert_eq!(ask_to_move(&mut operator, NAMES[third]), Some(ErrorCode::UNREACHABLE));
    triangle.restart(third);
    assert_eq!(follow(&mut client, 3).redeliver, 0);
    assert_eq!(seat_of(&mut client, "c"), NAMES[third]);
    publish(&triangle, second, 60, 0..3, AckLevel::Synced);
    let last = client.handed_all(3);
    assert!(last.iter().all(|(_, name)| String::from_utf8_lossy(name).contains("-60-")), "{last:?}");
    // Without a preference it runs where the rule says.
    assert_eq!(ask_to_move(&mut operator, ""), None);
    assert_eq!(follow(&mut client, 4).redeliver, 3);
    assert_eq!(seat_of(&mut operator, "c"), NAMES[seat]);
    triangle.stop();
}

#[test]
fn a_seat_that_stops_in_good_order_leaves_the_last_state_of_its_consumers_to_the_other_homes() {
    let mut triangle = with_stream();
    let [seat, second, _] = triangle.order();
    // Started anew it copies nothing before it stops.
    triangle.kill(seat);
    let mut options = triangle.options(seat, &triangle.addrs[seat]);
    options.timers.consumer_copies = Duration::from_secs(3_600);
    triangle.hubs[seat] = Some(start(options));
    publish(&triangle, second, 10, 0..30, AckLevel::Synced);
    until(triangle.hub(seat), "all", "all are there", |report| report.synced == 31);
    let mut client = Raw::connect(triangle.hub(second), 50);
    mesh::until(&mut client, "the seat is back", |report| {
        report.hubs.iter().any(|hub| hub.name == NAMES[seat] && hub.reachable)
    });
    // It serves none before it has heard from the other homes.
    let create = frame::ConsumerCreate { request: 2, stream: "all", spec: consumer("c") };
    let made = (0..4_000).any(|_| {
        client.send(&Frame::ConsumerCreate(create.clone()));
        let is_made = matches!(client.receive().frame(), Frame::Done(_));
        if !is_made {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        is_made
    });
    assert!(made, "no consumer was made");
    let joined = join(&mut client, 1);
    let settled: Vec<(u64, u32)> = client.handed_all(20).iter().take(12).map(|event| (event.0, 1)).collect();
    client.ack_synced(1, joined.token, &settled);
    stop(triangle.hubs[seat].take().expect("it runs"));
    let joined = follow(&mut client, 1);
    assert_eq!(joined.redeliver, 8, "it is known here, and so is what was in flight");
    assert_eq!(client.handed_all(18).len(), 18, "what was settled does not come again");
    client.nothing();
    triangle.stop();
}

/// A home where no consumer runs took all for settled, or nothing.
#[test]
fn every_home_keeps_what_consumers_have_not_settled_wherever_they_run_and_no_more() {
    let triangle = Triangle::new();
    let spec = StreamSpec { retention: Retention::Interest, ..stream("all", &NAMES) };
    create(&mut Raw::connect(triangle.hub(0), 1), spec);
    for at in 1..3 {
        until(triangle.hub(at), "all", "it is a home", |report| report.spec.homes.len() == 3);
    }
    let mut client = Raw::connect(triangle.hub(0), 50);
    client.create_consumer(consumer("c"));
    publish(&triangle, 0, 10, 0..30, AckLevel::Synced);
    (0..3).for_each(|at| until(triangle.hub(at), "all", "all are there", |report| report.synced == 31));
    let joined = join(&mut client, 1);
    let mut handed = client.handed_all(20);
    handed.sort_unstable();
    let settled: Vec<(u64, u32)> = handed.iter().take(12).map(|event| (event.0, 1)).collect();
    client.ack_synced(1, joined.token, &settled);
    (0..3).for_each(|at| until(triangle.hub(at), "all", "what is settled is gone", |report| report.first == 13));
    triangle.stop();
}

/// Asks to be a member of `c` of a stream, however often that is refused.
fn join_of(client: &mut Raw, id: u64, stream: &str) -> Consuming {
    let (credit_events, credit_bytes) = (20, u64::MAX);
    for _ in 0..4_000 {
        let id = weft_base::SubscriptionId(id);
        client.send(&Frame::Consume(frame::Consume { id, stream, consumer: "c", credit_events, credit_bytes }));
        match client.receive().frame() {
            Frame::Consuming(consuming) => return consuming,
            Frame::Error(_) => std::thread::park_timeout(Duration::from_millis(5)),
            other => panic!("neither: {other:?}"),
        }
    }
    panic!("nobody serves the consumer");
}

/// Events go when no consumer wants them and all homes have them: none goes
/// while nobody has said what is wanted, or a home that is away lacks it.
#[test]
fn a_home_deletes_nothing_for_nobody_and_nothing_that_another_home_has_not_copied() {
    let mut triangle = Triangle::new();
    let [seat, second, away] = triangle.order();
    let kept = StreamSpec { retention: Retention::Interest, filters: vec!["j/**"], ..stream("jobs", &NAMES) };
    create(&mut Raw::connect(triangle.hub(seat), 1), kept);
    for at in [second, away] {
        until(triangle.hub(at), "jobs", "it is a home", |report| report.spec.homes.len() == 3);
    }
    // A stream of one home, whose consumer has the hub look how far all consumers are.
    create(
        &mut Raw::connect(triangle.hub(seat), 1),
        StreamSpec { retention: Retention::Interest, ..stream("all", &[]) },
    );
    let mut client = Raw::connect(triangle.hub(seat), 50);
    client.create_consumer(consumer("c"));
    let busy = join(&mut client, 1);
    let mut looked = 0;
    let mut look = |triangle: &Triangle, client: &mut Raw| {
        publish(triangle, seat, 70 + u64::from(looked), looked..looked + 1, AckLevel::Synced);
        looked += 1;
        assert_eq!(client.handed().id, 1);
        client.ack_synced(1, busy.token, &[(looked.into(), 1)]);
        until(triangle.hub(seat), "all", "the hub has looked", |report| report.first == u64::from(looked) + 1);
    };
    let mut publisher = Raw::connect(triangle.hub(seat), 61);
    for n in 0..10 {
        publisher.publish_acked(n, AckLevel::Synced, "j/a", &[&[n as u8]]);
    }
    (0..3).for_each(|at| until(triangle.hub(at), "jobs", "all are there", |report| report.synced == 11));
    look(&triangle, &mut client);
    until(triangle.hub(seat), "jobs", "it says", |report| {
        assert_eq!(report.first, 1, "nobody has said what is wanted");
        true
    });
    until(triangle.hub(seat), "jobs", "the other homes were heard", |_| {
        let create = frame::ConsumerCreate { request: 2, stream: "jobs", spec: consumer("c") };
        client.send(&Frame::ConsumerCreate(create));
        matches!(client.receive().frame(), Frame::Done(_))
    });
    triangle.kill(away);
    for n in 10..15 {
        publisher.publish_acked(n, AckLevel::Synced, "j/a", &[&[n as u8]]);
    }
    until(triangle.hub(second), "jobs", "all are there", |report| report.synced == 16);
    let jobs = join_of(&mut client, 2, "jobs");
    assert_eq!(client.handed_all(15).len(), 15);
    client.ack_synced(2, jobs.token, &[(1, 15)]);
    look(&triangle, &mut client);
    until(triangle.hub(seat), "jobs", "it says", |report| {
        assert!(report.first <= 11, "a home that is away has not copied it: {report:?}");
        true
    });
    triangle.restart(away);
    until(triangle.hub(away), "jobs", "it has the rest too", |report| report.synced == 16);
    (0..3).for_each(|at| until(triangle.hub(at), "jobs", "what is settled is gone", |report| report.first == 16));
    assert_eq!(triangle.hub(away).counters().replica_lost.load(Ordering::Relaxed), 0);
    triangle.stop();
}

/// Waits until a home's file of consumers has a word, or has it no more.
fn until_file(triangle: &Triangle, at: usize, word: &str, has: bool) {
    let file = triangle.data.path().join(NAMES[at]).join("streams/all/consumers.json");
    let is_so = || std::fs::read_to_string(&file).is_ok_and(|text| text.contains(word) == has);
    let came = (0..4_000).any(|_| {
        std::thread::park_timeout(Duration::from_millis(5));
        is_so()
    });
    assert!(came, "{}", std::fs::read_to_string(&file).unwrap_or_default());
}

#[test]
fn a_consumer_that_is_deleted_at_its_seat_leaves_nothing_at_a_home_where_it_ran_before() {
    let triangle = with_stream();
    let [seat, second, _] = triangle.order();
    let mut operator = Raw::connect(triangle.hub(seat), 51);
    until(triangle.hub(seat), "all", "the other homes were heard", |_| {
        let create = frame::ConsumerCreate { request: 2, stream: "all", spec: consumer("c") };
        operator.send(&Frame::ConsumerCreate(create));
        matches!(operator.receive().frame(), Frame::Done(_))
    });
    assert_eq!(ask_to_move(&mut operator, NAMES[second]), None);
    until_file(&triangle, second, "\"c\"", true);
    assert_eq!(ask_to_move(&mut operator, ""), None);
    until(triangle.hub(seat), "all", "it is back", |_| seat_of(&mut operator, "") == NAMES[seat]);
    until_file(&triangle, seat, "\"c\"", true);
    operator.delete_consumer("c");
    operator.done(3);
    // Started anew that home would have it again.
    until_file(&triangle, second, "\"c\"", false);
    triangle.stop();
}
