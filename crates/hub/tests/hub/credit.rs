//! Flow control as clients see it: each policy at a full queue, publishers
//! that wait and are told why, and a slow subscriber beside fast ones.

use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::common::{Raw, mesh, options, payloads, start, stop, ways};
use weft_base::{ByteCount, Lane, ProducerId, SubscriptionId};
use weft_hub::Hub;
use weft_hub::counters::HeldBy;
use weft_mesh::ledger::DropReason;
use weft_wire::block::BlockFields;
use weft_wire::frame::{self, AckLevel, Credit, ErrorCode, Frame, Limit, OnFull, Start, StreamSpec, Subscribe, Why};

fn small(name: &str, events: usize) -> Hub {
    let mut small = options(name, None);
    small.limits.subscriber_events = events;
    start(small)
}

/// A subscription without any credit.
fn slow(hub: &Hub, producer: u64, change: impl FnOnce(&mut Subscribe<'_>)) -> Raw {
    let mut slow = Raw::connect(hub, producer);
    slow.subscribe_with(1, "t", |s| {
        s.credit_events = 0;
        change(s);
    });
    assert!(matches!(slow.receive().frame(), Frame::Subscribed(_)));
    slow
}

fn grant(subscriber: &mut Raw, events: u64) {
    subscriber.send(&Frame::Credit(Credit { id: SubscriptionId(1), events, bytes: 0 }));
}

/// The values and the gaps that come until `values` values are there.
fn take(subscriber: &mut Raw, values: usize) -> (Vec<u8>, Vec<(u64, u8)>) {
    let (mut seen, mut gaps) = (Vec::new(), Vec::new());
    while seen.len() < values {
        let received = subscriber.receive();
        match received.frame() {
            Frame::Deliver(deliver) => seen.extend(payloads(deliver.block).concat()),
            Frame::Gap(gap) => gaps.push((gap.events, gap.reason)),
            other => panic!("neither a delivery nor a gap: {other:?}"),
        }
    }
    (seen, gaps)
}

fn balanced(hub: &Hub) {
    hub.counters().ledger().balance().expect("every copy is accounted for");
}

#[test]
fn a_slow_subscriber_beside_fast_ones_changes_nothing_for_them() {
    for on_full in [OnFull::DropOldest, OnFull::DropNewest, OnFull::Conflate] {
        let hub = small("hub", 16);
        let mut slow = slow(&hub, 1, |s| s.on_full = on_full);
        let mut fast: Vec<Raw> = (2..5).map(|producer| Raw::connect(&hub, producer)).collect();
        fast.iter_mut().for_each(|f| f.subscribe(1, "t"));
        let mut publisher = Raw::connect(&hub, 9);
        for n in 0..200u8 {
            publisher.publish_acked(u64::from(n), AckLevel::Routed, "t", &[&[n]]);
        }
        // The slow one has not taken anything; the others have all there is, in order.
        for f in &mut fast {
            let (seen, gaps) = take(f, 200);
            assert_eq!((seen, gaps), ((0..200).collect(), vec![]));
        }
        grant(&mut slow, 1_000);
        let (seen, gaps) = take(&mut slow, if on_full == OnFull::Conflate { 1 } else { 16 });
        slow.round_trip();
        let counters = hub.counters();
        let stalled = [&counters.subscriber_stalls, &counters.subscriber_stalled_ns].map(|n| n.load(Ordering::Relaxed));
        assert!(stalled[0] == 1 && stalled[1] > 0, "the slow one alone waited for credit, once: {stalled:?}");
        match on_full {
            OnFull::DropOldest => assert_eq!((seen, gaps), ((184..200).collect(), vec![(184, 4)])),
            OnFull::DropNewest => assert_eq!((seen, gaps), ((0..16).collect(), vec![])),
            _ => assert_eq!((seen, gaps), (vec![199], vec![(199, DropReason::Conflated as u8)])),
        }
        balanced(&hub);
        stop(hub);
    }
}

#[test]
fn publishers_of_a_subscriber_that_waits_wait_and_nothing_is_lost() {
    let hub = small("hub", 64);
    let mut subscriber = slow(&hub, 1, |s| s.on_full = OnFull::Wait);
    let mut publisher = Raw::connect(&hub, 2);
    let mut sent = 0u8;
    // Half of the queue is acknowledged at once; the next is held back.
    for n in 0..40u8 {
        publisher.publish(u64::from(n), AckLevel::Routed, "t", &[&[n]]);
        sent += 1;
    }
    let mut acked = 0;
    let why = loop {
        let received = publisher.receive();
        match received.frame() {
            Frame::Ack(_) => acked += 1,
            Frame::WhyReport(why) => {
                assert_eq!((why.limit, why.name, why.hub, why.filter), (Limit::Subscriber, "test", "hub", "t"));
                break why.request;
            }
            other => panic!("neither: {other:?}"),
        }
    };
    assert_eq!((why, acked), (0, 32), "unasked, when the gate closed at half of 64");
    // It can ask as well; what it is told names blocks and time.
    publisher.send(&Frame::Why(Why { request: 77 }));
    match publisher.receive().frame() {
        Frame::WhyReport(why) => {
            assert_eq!((why.request, why.limit, why.name, why.blocks), (77, Limit::Subscriber, "test", 8));
        }
        other => panic!("not a report: {other:?}"),
    }
    assert_eq!(hub.counters().held_publishers.load(Ordering::Relaxed), 1);
    // A publisher of something else goes on.
    let mut other = Raw::connect(&hub, 3);
    other.publish_acked(1, AckLevel::Routed, "elsewhere", &[b"x"]);
    grant(&mut subscriber, 1_000);
    let (seen, gaps) = take(&mut subscriber, usize::from(sent));
    assert_eq!((seen, gaps), ((0..sent).collect(), vec![]), "all of it, in order");
    let mut released = false;
    while acked < usize::from(sent) || !released {
        match publisher.receive().frame() {
            Frame::Ack(_) => acked += 1,
            Frame::WhyReport(why) => released = why.limit == Limit::None,
            other => panic!("neither: {other:?}"),
        }
    }
    assert_eq!(hub.counters().held_publishers.load(Ordering::Relaxed), 0);
    let (begun, nanos) = hub.counters().publish_stalls.of_lane(HeldBy::Subscriber, Lane::DEFAULT);
    let stalled = [begun, nanos].map(|n| n.load(Ordering::Relaxed));
    assert!(stalled[0] == 1 && stalled[1] > 0, "one publisher was held back, once: {stalled:?}");
    balanced(&hub);
    stop(hub);
}

/// Bug: a first block of more bytes than a session may have held was counted as it went
/// and not as it came, so that the gauge of publishers that wait went below zero; and its
/// publisher was not told why it waits. Fix: what is first is told apart from what has its
/// session paused.
#[test]
fn a_publisher_whose_first_held_block_is_larger_than_may_be_held_counts_and_is_told_too() {
    let mut tight = options("hub", None);
    tight.limits.subscriber_events = 8;
    tight.limits.held_bytes = ByteCount::kib(4);
    let hub = start(tight);
    let mut subscriber = slow(&hub, 1, |s| s.on_full = OnFull::Wait);
    let mut publisher = Raw::connect(&hub, 2);
    for n in 0..4u8 {
        publisher.publish_acked(u64::from(n), AckLevel::Routed, "t", &[&[n]]);
    }
    publisher.publish(9, AckLevel::Routed, "t", &[&[9; 6_000]]);
    match publisher.receive().frame() {
        Frame::WhyReport(why) => assert_eq!((why.limit, why.blocks), (Limit::Subscriber, 1)),
        other => panic!("not told why: {other:?}"),
    }
    let held = || hub.counters().held_publishers.load(Ordering::Relaxed);
    assert_eq!(held(), 1);
    grant(&mut subscriber, 1_000);
    while !matches!(publisher.receive().frame(), Frame::Ack(_)) {}
    publisher.round_trip();
    assert_eq!(held(), 0);
    balanced(&hub);
    stop(hub);
}

#[test]
fn a_publisher_that_asks_for_no_answer_is_not_read_while_it_must_wait() {
    let mut tight = options("hub", None);
    tight.limits.subscriber_events = 8;
    tight.limits.held_bytes = ByteCount::kib(8);
    let hub = start(tight);
    let mut subscriber = slow(&hub, 1, |s| s.on_full = OnFull::Wait);
    let mut publisher = Raw::connect(&hub, 2);
    for n in 0..200u8 {
        publisher.publish(0, AckLevel::None, "t", &[&[n]]);
    }
    grant(&mut subscriber, 1_000);
    let (seen, gaps) = take(&mut subscriber, 200);
    assert_eq!((seen, gaps), ((0..200).collect(), vec![]));
    balanced(&hub);
    stop(hub);
}

#[test]
fn a_publisher_whose_lane_has_no_room_counts_as_held_back_by_load_in_that_lane() {
    let mut narrow = options("hub", None);
    narrow.limits.ring_slots = 64;
    let hub = start(narrow);
    let mut publisher = Raw::connect(&hub, 1);
    // Producer 0 is nobody in particular, so the same block may come again.
    let fields = BlockFields { lane: Lane::BULK, producer: ProducerId(0), ..BlockFields::new("t") };
    let block = crate::common::build(&fields, &[b"x"]);
    let one = [frame::publish_head(0, AckLevel::None, block.len()).as_slice(), &block].concat();
    let stalled = |lane| {
        let (begun, nanos) = hub.counters().publish_stalls.of_lane(HeldBy::Load, lane);
        (begun.load(Ordering::Relaxed), nanos.load(Ordering::Relaxed))
    };
    // More at once than a lane has room for; it may come in parts that have.
    let begun = Instant::now();
    while stalled(Lane::BULK).1 == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "it was never held back");
        publisher.socket.write_all(&one.repeat(500)).expect("the hub reads");
        publisher.round_trip();
    }
    assert!(stalled(Lane::BULK).0 > 0);
    assert_eq!(stalled(Lane::DEFAULT), (0, 0), "another lane is another matter");
    publisher.publish_acked(7, AckLevel::Routed, "t", &[b"x"]);
    balanced(&hub);
    stop(hub);
}

#[test]
fn a_client_that_waits_for_itself_goes_on_when_it_grants_credit() {
    let mut tight = options("hub", None);
    tight.limits.subscriber_events = 8;
    tight.limits.held_bytes = ByteCount::kib(4);
    let hub = start(tight);
    let mut both = slow(&hub, 1, |s| s.on_full = OnFull::Wait);
    for n in 0..100u8 {
        both.publish(0, AckLevel::None, "t", &[&[n]]);
    }
    // Its credit comes behind its own publishes, and is read all the same.
    grant(&mut both, 1_000);
    let mut seen = Vec::new();
    while seen.len() < 100 {
        let received = both.receive();
        match received.frame() {
            Frame::Deliver(deliver) => seen.extend(payloads(deliver.block).concat()),
            Frame::WhyReport(_) => {}
            other => panic!("neither: {other:?}"),
        }
    }
    assert_eq!(seen, (0..100).collect::<Vec<u8>>());
    balanced(&hub);
    stop(hub);
}

#[test]
fn a_gate_is_open_once_its_subscriber_is_gone() {
    let hub = small("hub", 8);
    let subscriber = slow(&hub, 1, |s| s.on_full = OnFull::Wait);
    let mut publisher = Raw::connect(&hub, 2);
    for n in 0..20u8 {
        publisher.publish(u64::from(n), AckLevel::Routed, "t", &[&[n]]);
    }
    drop(subscriber);
    let mut acked = 0;
    while acked < 20 {
        if let Frame::Ack(_) = publisher.receive().frame() {
            acked += 1;
        }
    }
    publisher.round_trip();
    balanced(&hub);
    stop(hub);
}

#[test]
fn what_finds_no_room_is_spilled_to_the_stream_and_the_gap_says_so() {
    let data = tempfile::tempdir().expect("a folder");
    let mut small = options("hub", Some(data.path()));
    small.limits.subscriber_events = 4;
    let hub = start(small);
    let mut admin = Raw::connect(&hub, 7);
    let spec =
        StreamSpec { name: "late", filters: vec!["never/here"], segment_bytes: 4 << 20, ..StreamSpec::default() };
    admin.create_stream(spec);
    let mut subscriber = slow(&hub, 1, |s| (s.on_full, s.spill) = (OnFull::Spill, "late"));
    let mut publisher = Raw::connect(&hub, 2);
    for n in 0..10u8 {
        publisher.publish_acked(u64::from(n), AckLevel::Routed, "t", &[&[n]]);
    }
    publisher.round_trip();
    grant(&mut subscriber, 100);
    let (seen, _) = take(&mut subscriber, 4);
    assert_eq!(seen, [0, 1, 2, 3]);
    assert!(
        matches!(subscriber.receive().frame(), Frame::Gap(g) if (g.events, g.reason) == (6, DropReason::Spilled as u8))
    );
    subscriber.subscribe_with(2, "**", |s| (s.stream, s.start) = ("late", Start::First));
    subscriber.receive();
    let (late, _) = take(&mut subscriber, 6);
    assert_eq!(late, [4, 5, 6, 7, 8, 9]);
    balanced(&hub);
    // Where to spill must be there, and named by this policy alone.
    for (id, on_full, spill, code) in [
        (3, OnFull::Spill, "nowhere", ErrorCode::NO_STREAM),
        (4, OnFull::Spill, "", ErrorCode::BAD_NAME),
        (5, OnFull::DropOldest, "late", ErrorCode::BAD_NAME),
    ] {
        subscriber.subscribe_with(id, "t", |s| (s.on_full, s.spill) = (on_full, spill));
        assert!(matches!(subscriber.receive().frame(), Frame::Error(e) if e.code == code && e.request == id));
    }
    stop(hub);
}

#[test]
fn a_stream_of_several_lanes_is_read_in_its_own_order() {
    let data = tempfile::tempdir().expect("a folder");
    let hub = start(options("hub", Some(data.path())));
    let mut client = Raw::connect(&hub, 8);
    let spec = StreamSpec { name: "s", filters: vec!["t"], segment_bytes: 4 << 20, ..StreamSpec::default() };
    client.create_stream(spec);
    for n in 0..60u8 {
        let lane = weft_base::Lane::new(7 - n % 8).expect("a lane");
        let block = crate::common::build_in_lane("t", lane, u64::from(n) + 1, &[&[n]]);
        client.publish_block(u64::from(n), AckLevel::Synced, &block);
        client.receive();
    }
    client.subscribe_with(1, "**", |s| (s.stream, s.start) = ("s", Start::First));
    client.receive();
    assert_eq!(take(&mut client, 60).0, (0..60).collect::<Vec<u8>>());
    stop(hub);
}

#[test]
fn credit_beyond_all_bounds_is_as_much_as_there_is() {
    let hub = small("hub", 8);
    let mut subscriber = slow(&hub, 1, |_| {});
    for _ in 0..3 {
        subscriber.send(&Frame::Credit(Credit { id: SubscriptionId(1), events: u64::MAX, bytes: u64::MAX }));
        subscriber.send(&Frame::Credit(Credit { id: SubscriptionId(99), events: 1, bytes: 1 }));
    }
    let mut publisher = Raw::connect(&hub, 2);
    for n in 0..20u8 {
        publisher.publish_acked(u64::from(n), AckLevel::Routed, "t", &[&[n]]);
        assert_eq!(subscriber.delivered(), [[n]]);
    }
    balanced(&hub);
    stop(hub);
}

#[test]
fn a_publisher_at_another_hub_waits_for_the_subscriber_too() {
    let ca = mesh::authority();
    let tight = |mut o: weft_hub::HubOptions| {
        o.limits.subscriber_events = 200;
        o
    };
    let middle = start(mesh::member(&ca, "chicago", "127.0.0.1:0", &[]));
    let east = start(mesh::member(&ca, "new-york", "127.0.0.1:0", &[("chicago", mesh::link_addr(&middle))]));
    let west = start(tight(mesh::member(&ca, "los-angeles", "127.0.0.1:0", &[("chicago", mesh::link_addr(&middle))])));
    let mut subscriber = slow(&west, 1, |s| s.on_full = OnFull::Wait);
    let mut publisher = Raw::connect(&east, 2);
    mesh::until(&mut publisher, "the interest arrives", |r| mesh::knows_interest(r, "los-angeles", 1));
    // One at a time, so that no more is under way than the headroom takes.
    let mut held = None;
    let mut sent = 0u8;
    while held.is_none() {
        publisher.publish(u64::from(sent), AckLevel::Routed, "t", &[&[sent]]);
        sent += 1;
        publisher.send(&Frame::Why(Why { request: 500 }));
        let mut answered = false;
        while !answered {
            let received = publisher.receive();
            match received.frame() {
                Frame::Ack(_) => {}
                Frame::WhyReport(why) => {
                    answered = why.request == 500;
                    if why.limit == Limit::Subscriber {
                        held = Some((why.name.to_owned(), why.hub.to_owned()));
                    }
                }
                other => panic!("neither: {other:?}"),
            }
        }
        subscriber.round_trip();
        assert!(sent < 250, "the publisher is held back before the queue is full");
    }
    assert_eq!(held, Some(("test".to_owned(), "los-angeles".to_owned())));
    grant(&mut subscriber, u64::from(sent));
    let (seen, gaps) = take(&mut subscriber, usize::from(sent));
    assert_eq!((seen, gaps), ((0..sent).collect(), vec![]), "nothing is lost");
    publisher.round_trip();
    subscriber.round_trip();
    // The same again, and then the subscriber's hub dies: nobody waits for the dead.
    let mut sent = 0u8;
    let mut is_held = false;
    while !is_held {
        publisher.publish(u64::from(sent), AckLevel::Routed, "t", &[&[sent]]);
        sent += 1;
        publisher.send(&Frame::Why(Why { request: 501 }));
        loop {
            let received = publisher.receive();
            if let Frame::WhyReport(why) = received.frame() {
                is_held |= why.limit == Limit::Subscriber;
                if why.request == 501 {
                    break;
                }
            }
        }
        assert!(sent < 250, "the publisher is held back again");
    }
    stop(west);
    publisher.publish(900, AckLevel::Routed, "t", &[b"after"]);
    loop {
        if let Frame::Ack(ack) = publisher.receive().frame()
            && ack.request == 900
        {
            break;
        }
    }
    balanced(&east);
    stop(east);
    stop(middle);
}

#[test]
fn a_link_of_a_small_window_carries_everything_in_order() {
    let ca = mesh::authority();
    let tight = |mut o: weft_hub::HubOptions| {
        o.limits.frame = ByteCount::kib(4);
        o.limits.link_window = ByteCount::kib(16);
        o
    };
    let west = start(tight(mesh::member(&ca, "los-angeles", "127.0.0.1:0", &[])));
    let link = [("los-angeles", mesh::link_addr(&west))];
    let east = start(tight(mesh::member(&ca, "new-york", "127.0.0.1:0", &link)));
    let mut subscriber = Raw::connect(&west, 1);
    subscriber.subscribe(1, "t");
    let mut publisher = Raw::connect(&east, 2);
    mesh::until(&mut publisher, "the interest arrives", |r| mesh::knows_interest(r, "los-angeles", 1));
    // Fifty times the window, in bursts that have to wait for credit.
    let mut payload = vec![0u8; 1_000];
    for burst in 0..100u64 {
        for n in 0..8u8 {
            payload[0] = burst as u8;
            payload[1] = n;
            publisher.publish(burst, AckLevel::Routed, "t", &[&payload]);
        }
        for _ in 0..8 {
            assert!(matches!(publisher.receive().frame(), Frame::Ack(_)));
        }
    }
    for burst in 0..100u8 {
        for n in 0..8u8 {
            let delivered = subscriber.delivered();
            assert_eq!((delivered[0][0], delivered[0][1]), (burst, n));
        }
    }
    publisher.round_trip();
    subscriber.round_trip();
    balanced(&east);
    balanced(&west);
    stop(east);
    stop(west);
}

#[test]
fn the_window_of_a_far_link_grows_by_what_it_carries() {
    let ca = mesh::authority();
    let tight = |mut o: weft_hub::HubOptions| {
        o.limits.frame = ByteCount::kib(4);
        o.limits.link_window = ByteCount::kib(16);
        o.limits.link_window_most = ByteCount::kib(100);
        o
    };
    let west = start(tight(mesh::member(&ca, "los-angeles", "127.0.0.1:0", &[])));
    let way = ways::Way::far(mesh::link_addr(&west), std::time::Duration::from_millis(20));
    let east = start(tight(mesh::member(&ca, "new-york", "127.0.0.1:0", &[("los-angeles", way.addr.clone())])));
    let mut subscriber = Raw::connect(&west, 1);
    subscriber.subscribe(1, "t");
    let mut publisher = Raw::connect(&east, 2);
    mesh::until(&mut publisher, "the interest arrives", |r| mesh::knows_interest(r, "los-angeles", 1));
    let window = || {
        let list = west.counters().list();
        list.iter().find(|(name, _)| name == "link.new-york.window").map_or(0, |(_, bytes)| *bytes)
    };
    assert_eq!(window(), 16 << 10);
    let payload = [0u8; 2_000];
    let mut sent = 0u64;
    while window() < 100 << 10 {
        assert!(sent < 20_000, "it does not grow: {}", window());
        // Many times the window at once.
        for _ in 0..64 {
            publisher.publish_acked(sent, AckLevel::Routed, "t", &[&sent.to_le_bytes(), &payload]);
            sent += 1;
        }
        for n in sent - 64..sent {
            assert_eq!(subscriber.delivered()[0], n.to_le_bytes());
        }
    }
    balanced(&east);
    balanced(&west);
    stop(east);
    stop(west);
}

#[test]
fn a_subscriber_that_never_reads_does_not_use_up_the_memory_of_the_others() {
    const BLOCKS: u64 = 600;
    // One publisher that goes on, and then a publisher for each block, whose
    // small blocks share no buffer.
    for apart in [false, true] {
        let mut tiny = options("hub", None);
        tiny.limits.frame = ByteCount::kib(64);
        tiny.limits.subscriber_bytes = ByteCount::mib(1);
        tiny.limits.arena = ByteCount::mib(8);
        let hub = start(tiny);
        let _asleep = slow(&hub, 1, |_| {});
        let mut fast = Raw::connect(&hub, 2);
        fast.subscribe(1, "t");
        let mut publisher = Raw::connect(&hub, 10);
        for n in 0..BLOCKS {
            if apart {
                publisher = Raw::connect(&hub, 1_000 + n);
            }
            publisher.publish_acked(n, AckLevel::Routed, "t", &[&n.to_le_bytes()]);
            assert_eq!(fast.delivered(), [n.to_le_bytes().to_vec()]);
        }
        assert_eq!(hub.counters().starved.load(Ordering::Relaxed), 0, "no read waited for memory");
        balanced(&hub);
        stop(hub);
    }
}
