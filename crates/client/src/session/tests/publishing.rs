//! Blocks, windows, acknowledgements, sending again.

use super::*;

#[test]
fn an_acknowledgement_reaches_the_blocks_events() {
    let mut bench = Bench::up();
    let first = bench.publish("t", "a");
    let second = bench.publish("t", "b");
    bench.turn();
    let published = bench.published();
    assert_eq!(published.len(), 1, "two events, one block");
    assert_eq!(published[0].payloads(), ["a", "b"]);
    bench.ack(published[0].request, 40);
    for ticket in [first, second] {
        assert!(matches!(outcome(&ticket), Some(Ok(ack)) if ack.sequence == 40 && ack.origin == HubId(7)));
    }
    assert_eq!(bench.session.in_flight(), 0);
}

#[test]
fn sequences_are_consecutive_per_lane_and_lanes_are_producers_apart() {
    let mut bench = Bench::up();
    let urgent = Spec { lane: Lane::URGENT, ..spec(AckLevel::Routed) };
    for (spec, payload) in [(&spec(AckLevel::Routed), "a"), (&urgent, "b"), (&spec(AckLevel::Routed), "c")] {
        bench.publish_as(spec, "t", payload).expect("room");
        bench.publish_as(spec, "t", payload).expect("room");
        bench.turn();
        bench.pass(Duration::from_millis(1));
    }
    let published = bench.published();
    let first: Vec<u64> = published.iter().map(|p| p.block().first_sequence()).collect();
    assert_eq!(first, [1, 1, 3]);
    let producers: Vec<u64> = published.iter().map(|p| p.block().producer().0).collect();
    assert_eq!(producers[0], producers[2]);
    assert_eq!((producers[0] & !7, producers[0] & 7, producers[1] & 7), (producers[1] & !7, 4, 0));
}

#[test]
fn the_urgent_lane_goes_first() {
    let mut bench = Bench::up();
    bench.lose();
    bench.publish("t", "later");
    bench.publish_as(&Spec { lane: Lane::URGENT, ..spec(AckLevel::Routed) }, "t", "first").expect("room");
    bench.connect(4, 1 << 20);
    let order: Vec<Vec<String>> = bench.published().iter().map(Published::payloads).collect();
    assert_eq!(order, [["first"], ["later"]]);
}

#[test]
fn a_change_of_topic_ends_a_block_so_that_the_publishers_order_is_kept() {
    let mut bench = Bench::up();
    for (topic, payload) in [("a", "1"), ("b", "2"), ("a", "3")] {
        bench.publish(topic, payload);
    }
    bench.turn();
    bench.pass(Duration::from_millis(1));
    let order: Vec<Vec<String>> = bench.published().iter().map(Published::payloads).collect();
    assert_eq!(order, [["1"], ["2"], ["3"]]);
}

#[test]
fn in_the_order_of_topics_blocks_fill_side_by_side() {
    let mut bench = Bench::up();
    let spec = Spec { order: Order::Topic, ..spec(AckLevel::Routed) };
    for i in 0..6 {
        bench.publish_as(&spec, ["a", "b", "c"][i % 3], &i.to_string()).expect("room");
    }
    bench.turn();
    bench.pass(Duration::from_millis(1));
    let published = bench.published();
    let payloads: Vec<Vec<String>> = published.iter().map(Published::payloads).collect();
    assert_eq!(payloads, [["0", "3"], ["1", "4"], ["2", "5"]]);
    let first: Vec<u64> = published.iter().map(|p| p.block().first_sequence()).collect();
    assert_eq!(first, [1, 3, 5], "consecutive in the order of sending");
}

#[test]
fn a_block_lingers_only_while_others_are_on_their_way() {
    let mut bench = Bench::up();
    bench.publish("t", "a");
    bench.turn();
    let first = bench.published();
    assert_eq!(first.len(), 1, "nothing was on its way: it went at once");
    bench.publish("t", "b");
    bench.turn();
    assert!(bench.published().is_empty());
    assert!(bench.session.sleep(bench.now, false, true) <= Duration::from_millis(1));
    bench.publish("t", "c");
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.published()[0].payloads(), ["b", "c"]);
    // And the last acknowledgement sends what waits.
    bench.publish("t", "d");
    bench.ack(first[0].request, 1);
    bench.ack(first[0].request + 1, 2);
    assert_eq!(bench.published()[0].payloads(), ["d"]);
}

#[test]
fn what_is_corked_fills_blocks_until_the_last_cork_is_gone() {
    let mut bench = Bench::up();
    for _ in 0..2 {
        bench.session.cork(true);
    }
    bench.publish("t", "a");
    assert!(bench.session.sleep(bench.now, false, true) > Duration::from_secs(1), "nobody is woken for it");
    bench.publish("t", "b");
    assert!(!bench.session.must_wake_driver());
    bench.pass(Duration::from_secs(1));
    bench.session.cork(false);
    assert!(!bench.session.must_wake_driver(), "another one holds it");
    bench.pass(Duration::from_secs(1));
    assert!(bench.published().is_empty());
    bench.session.sleep(bench.now, false, true);
    bench.session.cork(false);
    assert!(bench.session.must_wake_driver());
    bench.turn();
    assert_eq!(bench.published()[0].payloads(), ["a", "b"]);
}

#[test]
fn a_cork_holds_back_neither_full_blocks_nor_what_is_flushed() {
    let mut bench = Bench::up();
    bench.session.cork(true);
    let big = "x".repeat(1500);
    for _ in 0..3 {
        bench.publish("t", &big);
    }
    bench.turn();
    let sizes = |published: &[Published]| published.iter().map(|p| p.block().event_count()).collect::<Vec<_>>();
    assert_eq!(sizes(&bench.published()), [2], "the third does not fit");
    assert!(!bench.session.poll_flushed(std::task::Waker::noop()));
    bench.turn();
    assert_eq!(sizes(&bench.published()), [1]);
}

#[test]
fn a_full_block_goes_at_once() {
    let mut bench = Bench::up();
    bench.publish("t", "first");
    bench.turn();
    let big = "x".repeat(1500);
    for _ in 0..3 {
        bench.publish("t", &big);
    }
    bench.turn();
    let sizes: Vec<usize> = bench.published().iter().map(|p| p.block().event_count() as usize).collect();
    assert_eq!(sizes, [1, 2], "the third does not fit the second block of 4096 bytes");
}

#[test]
fn the_hubs_window_is_never_exceeded() {
    let mut bench = Bench::up();
    for i in 0..10 {
        bench.publish(&format!("t/{i}"), "x");
    }
    bench.turn();
    let first = bench.published();
    assert_eq!(first.len(), 4, "the window of this hub");
    bench.ack(first[1].request, 1);
    assert_eq!(bench.published().len(), 1, "one acknowledged, one sent");
}

#[test]
fn what_is_not_acknowledged_is_bounded_and_then_publishing_waits() {
    let mut bench = Bench::up();
    let mut taken = 0;
    let full = loop {
        match bench.publish_as(&spec(AckLevel::Routed), &format!("t/{taken}"), "x") {
            Ok(_) => taken += 1,
            Err(full) => break full,
        }
        assert!(taken < 100);
    };
    assert_eq!(full, PublishError::Full { blocks: 16 });
    assert_eq!(taken, 17, "16 pending, and one in the block that fills");
    bench.turn();
    let request = bench.published()[0].request;
    bench.ack(request, 1);
    bench.publish_as(&spec(AckLevel::Routed), "t/more", "x").expect("room again");
}

#[test]
fn at_level_none_nothing_is_awaited() {
    let mut bench = Bench::up();
    for i in 0..40 {
        let ticket = bench.publish_as(&spec(AckLevel::None), &format!("t/{i}"), "x").expect("room");
        assert!(ticket.is_none());
        bench.turn();
    }
    bench.pass(Duration::from_millis(1));
    let published = bench.published();
    assert_eq!(published.len(), 40, "the window is for what is acknowledged");
    assert!(published.iter().all(|p| p.level == AckLevel::None));
    assert_eq!(bench.session.in_flight(), 0);
}

#[test]
fn what_is_not_acknowledged_is_sent_again_as_it_was_and_before_what_is_new() {
    let mut bench = Bench::up();
    for payload in ["a", "b", "c"] {
        bench.publish(payload, payload);
    }
    bench.turn();
    bench.pass(Duration::from_millis(1));
    let before = bench.published();
    bench.ack(before[0].request, 1);
    bench.lose();
    bench.publish("d", "d");
    bench.connect(4, 1 << 20);
    let again = bench.published();
    let of = |p: &Published| (p.request, p.bytes.clone());
    assert_eq!(again[..2].iter().map(of).collect::<Vec<_>>(), before[1..].iter().map(of).collect::<Vec<_>>());
    assert_eq!(again[2].payloads(), ["d"]);
}

#[test]
fn a_refusal_is_final_and_touches_no_other_block() {
    let mut bench = Bench::up();
    let (first, second) = (bench.publish("a", "a"), bench.publish("b", "b"));
    bench.turn();
    bench.pass(Duration::from_millis(1));
    let published = bench.published();
    bench.refuse(published[0].request, ErrorCode::NO_STREAM);
    let Some(Err(PublishError::Refused(refusal))) = outcome(&first) else { panic!("refused") };
    assert_eq!((refusal.code, refusal.retry_after), (ErrorCode::NO_STREAM, Some(Duration::from_millis(20))));
    assert_eq!(outcome(&second), None);
    bench.lose();
    bench.connect(4, 1 << 20);
    assert_eq!(bench.published().iter().map(Published::payloads).collect::<Vec<_>>(), [["b"]]);
}

#[test]
fn what_a_hub_never_takes_is_refused_here() {
    let mut bench = Bench::up();
    let too_large = bench.publish_as(&spec(AckLevel::Routed), "t", &"x".repeat(2 << 20));
    assert!(matches!(too_large, Err(PublishError::TooLarge { most, .. }) if most == (1 << 20) - 16));
    for (topic, event) in [
        ("t/*", EventFields::default()),
        ("", EventFields::default()),
        ("t", EventFields { key: &[0; 70_000], ..EventFields::default() }),
        ("t", EventFields { headers: &[1, 2, 3], ..EventFields::default() }),
    ] {
        let (spec, now) = (spec(AckLevel::Routed), Now { mono: bench.now, wall: UnixNanos(0) });
        assert!(bench.session.publish_on_terms(&spec, topic, &event, &Terms::default(), now).is_err());
    }
    bench.publish("t", "fine");
    bench.turn();
    assert_eq!(bench.published()[0].payloads(), ["fine"], "what was refused left nothing behind");
}

#[test]
fn a_block_too_large_for_the_next_hub_is_answered_instead_of_sent_for_ever() {
    let mut bench = Bench::up();
    let large = bench.publish("large", &"x".repeat(3000));
    let small = bench.publish("small", "x");
    bench.turn();
    bench.lose();
    bench.connect(4, 1024);
    assert!(matches!(outcome(&large), Some(Err(PublishError::TooLarge { most: 1008, .. }))));
    let published = bench.published();
    assert_eq!(published.iter().map(Published::payloads).collect::<Vec<_>>(), [["x"]]);
    bench.ack(published[0].request, 1);
    assert!(matches!(outcome(&small), Some(Ok(_))));
}

#[test]
fn flushing_hurries_what_lingers() {
    let mut bench = Bench::up();
    let slow = Spec { linger: Duration::from_secs(60), ..spec(AckLevel::Routed) };
    bench.publish_as(&slow, "t", "a").expect("room");
    bench.turn();
    bench.publish_as(&slow, "t", "b").expect("room");
    bench.turn();
    assert_eq!(bench.published().len(), 1);
    assert!(!bench.session.poll_flushed(Waker::noop()));
    bench.turn();
    let second = bench.published();
    assert_eq!(second[0].payloads(), ["b"]);
    bench.ack(1, 1);
    bench.ack(2, 2);
    assert!(bench.session.poll_flushed(Waker::noop()));
}

#[test]
fn what_nobody_acknowledges_is_flushed_once_it_is_written() {
    let mut bench = Bench::up();
    bench.publish_as(&spec(AckLevel::None), "t", "a").expect("room");
    let mut out = Vec::new();
    bench.session.turn(bench.now, &mut out, 1 << 20, true);
    assert_eq!(out.len(), 1);
    assert!(!bench.session.poll_flushed(Waker::noop()), "taken by the driver, and not written yet");
    bench.session.sleep(bench.now, true, false);
    assert!(!bench.session.poll_flushed(Waker::noop()));
    bench.session.sleep(bench.now, false, true);
    assert!(!bench.session.take_wakers().is_empty(), "who waits is woken");
    assert!(bench.session.poll_flushed(Waker::noop()));
}

#[test]
fn a_closing_client_ends_as_soon_as_all_is_written() {
    let mut bench = Bench::up();
    bench.publish_as(&spec(AckLevel::None), "t", "a").expect("room");
    bench.session.begin_close(bench.now);
    bench.session.turn(bench.now, &mut Vec::new(), 1 << 20, true);
    assert_eq!(bench.session.sleep(bench.now, false, true), Duration::ZERO, "nothing is left to wait for");
    let actions = bench.session.turn(bench.now, &mut Vec::new(), 1 << 20, true);
    assert_eq!(actions, [Action::Stop]);
}

#[test]
fn what_expires_before_it_is_sent_fails_and_is_never_sent() {
    let mut bench = Bench::up();
    bench.lose();
    let brief = Spec { deadline: Some(Duration::from_millis(3)), ..spec(AckLevel::Routed) };
    let lasting = Spec { deadline: Some(Duration::from_secs(60)), ..spec(AckLevel::Routed) };
    // A block of its own each: sealed with the change of topic, sent with the connection.
    let tickets: Vec<_> = [(&brief, "a"), (&lasting, "b"), (&spec(AckLevel::Routed), "c")]
        .into_iter()
        .map(|(spec, topic)| bench.publish_as(spec, topic, "x").expect("room").expect("a ticket"))
        .collect();
    let taken = bench.now;
    bench.connect(4, 1 << 20);
    assert!(matches!(outcome(&tickets[0]), Some(Err(PublishError::Expired))));
    let published = bench.published();
    let topics: Vec<String> = published.iter().map(|p| p.block().topic().to_owned()).collect();
    assert_eq!(topics, ["b", "c"]);
    assert_eq!(published[0].block().deadline(), UnixNanos(taken.0 + 60_000_000_000));
    assert_eq!(published[1].block().deadline(), UnixNanos(0));
    // What was sent is the hub's to judge, also after a reconnection.
    bench.lose();
    bench.pass(Duration::from_secs(120));
    assert_eq!(outcome(&tickets[1]), None);
}

#[test]
fn bulk_is_not_starved_by_an_urgent_lane_that_stays_busy() {
    let mut bench = Bench::up();
    bench.lose();
    let urgent = Spec { lane: Lane::URGENT, ..spec(AckLevel::None) };
    bench.publish_as(&Spec { lane: Lane::BULK, ..urgent.clone() }, "bulk", "b").expect("room");
    let large = "x".repeat(60 << 10);
    for n in 0..14 {
        bench.publish_as(&urgent, &format!("urgent/{n}"), &large).expect("room");
    }
    bench.connect(4, 1 << 20);
    let place = bench.published().iter().position(|p| p.block().topic() == "bulk");
    assert!(place.is_some_and(|place| (1..=8).contains(&place)), "{place:?}: within a round, 512 KiB of urgent");
}
