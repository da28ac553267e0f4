//! Credit, gaps, going on where it stopped.

use super::*;
use crate::delivery::Gap;
use crate::error::SubscribeError;
use crate::options::StartAt;
use weft_wire::frame::Start;

/// The `Subscribe` frames written since the last look.
fn subscribes(bench: &mut Bench) -> Vec<(Start, u64, u64)> {
    let written = std::mem::take(&mut bench.written);
    let of = |bytes: &Vec<u8>| match Frame::decode(bytes).expect("a frame") {
        Frame::Subscribe(s) => Some((s.start, s.credit_events, s.credit_bytes)),
        _ => None,
    };
    written.iter().filter_map(of).collect()
}

fn small() -> SubscribeOptions {
    SubscribeOptions { credit_events: 10, credit_bytes: ByteCount::kib(8), ..SubscribeOptions::default() }
}

#[test]
fn deliveries_arrive_with_what_is_missing_before_them() {
    let mut bench = Bench::up();
    let (id, queue) = bench.subscribe("t", SubscribeOptions::default(), 0);
    bench.deliver(id, &block("t", &["a", "b"], 1, 0));
    bench.hear(&Frame::Gap(frame::Gap { id, events: 2, reason: 4 }));
    bench.hear(&Frame::Gap(frame::Gap { id, events: 1, reason: 4 }));
    bench.deliver(id, &block("t", &["f"], 6, 0));
    let got = received(&queue);
    assert_eq!(got[0], (vec!["a".to_owned(), "b".to_owned()], Gap::default()));
    assert_eq!(got[1], (vec!["f".to_owned()], Gap { events: 3, reason: 4, reconnected: false }));
}

#[test]
fn what_compaction_took_out_of_a_stream_is_no_event() {
    let mut bench = Bench::up();
    let (id, queue) = bench.subscribe("t", SubscribeOptions::stream("s", StartAt::First), 1);
    let whole = block("t", &["a", "b", "c"], 1, 1);
    let mut compacted = Vec::new();
    weft_wire::block::compact(&weft_wire::Block::trusted(&whole), |at, _| at != 1, &mut compacted);
    bench.deliver(id, &compacted);
    assert_eq!(received(&queue)[0].0, ["a", "c"]);
}

#[test]
fn credit_adds_up_also_over_a_reconnection() {
    let mut bench = Bench::up();
    let (id, _queue) = bench.subscribe("t", small(), 0);
    assert_eq!(subscribes(&mut bench), [(Start::New, 10, 8192)]);
    let bytes = block("t", &["a", "b", "c"], 1, 0);
    bench.deliver(id, &bytes);
    bench.session.give_back(id, 1, 100);
    bench.turn();
    assert_eq!(bench.kinds(), [frame::Kind::Credit]);
    bench.lose();
    bench.connect(4, 1 << 20);
    let left = 8192 - bytes.len() as u64 + 100;
    assert_eq!(subscribes(&mut bench), [(Start::New, 8, left)], "two of three events are still with the application");
}

#[test]
fn a_stream_goes_on_where_it_stopped_and_repeats_nothing() {
    let mut bench = Bench::up();
    let options = SubscribeOptions::stream("s", StartAt::First);
    let (id, queue) = bench.subscribe("t", options, 1);
    assert_eq!(subscribes(&mut bench)[0].0, Start::First);
    bench.deliver(id, &block("t", &["1", "2"], 1, 1));
    bench.lose();
    bench.connect(4, 1 << 20);
    assert_eq!(subscribes(&mut bench)[0].0, Start::Sequence(3));
    bench.hear(&Frame::Subscribed(frame::Subscribed { id, start_sequence: 3, live: false }));
    // Blocks are not split: this one begins before the place.
    bench.deliver(id, &block("t", &["2", "3", "4"], 2, 2));
    bench.deliver(id, &block("t", &["3", "4"], 3, 3));
    bench.deliver(id, &block("t", &["5"], 5, 5));
    let got: Vec<Vec<String>> = received(&queue).into_iter().map(|(payloads, _)| payloads).collect();
    assert_eq!(got.concat(), ["1", "2", "3", "4", "5"]);
}

#[test]
fn what_a_stream_lost_to_retention_meanwhile_is_a_gap() {
    let mut bench = Bench::up();
    let (id, queue) = bench.subscribe("t", SubscribeOptions::stream("s", StartAt::First), 1);
    bench.deliver(id, &block("t", &["1"], 1, 1));
    bench.lose();
    bench.connect(4, 1 << 20);
    bench.hear(&Frame::Subscribed(frame::Subscribed { id, start_sequence: 10, live: false }));
    bench.hear(&Frame::Gap(frame::Gap { id, events: 8, reason: 31 }));
    bench.deliver(id, &block("t", &["10"], 10, 10));
    let got = received(&queue);
    assert_eq!(got[1].1, Gap { events: 8, reason: 31, reconnected: true });
}

#[test]
fn what_is_missing_at_a_streams_end_ends_a_read_up_to_there() {
    let mut bench = Bench::up();
    let (id, queue) = bench.subscribe("t", SubscribeOptions::stream("s", StartAt::First), 1);
    bench.deliver(id, &block("t", &["1", "2"], 1, 1));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(queue.poll_below(&mut cx, 6), Poll::Ready(Some(Ok(_)))));
    assert!(queue.poll_below(&mut cx, 6).is_pending());
    bench.hear(&Frame::Gap(frame::Gap { id, events: 3, reason: 29 }));
    assert!(matches!(queue.poll_below(&mut cx, 6), Poll::Ready(None)));
    assert!(queue.poll_below(&mut cx, 7).is_pending(), "one more may come");
    assert_eq!(queue.behind().events, 3);
    bench.deliver(id, &block("t", &["6"], 6, 6));
    assert!(queue.behind().is_none());
    assert_eq!(received(&queue)[0].1.events, 3, "a delivery tells it as ever");
}

#[test]
fn a_stream_that_moved_is_opened_again_at_its_position_which_any_home_knows() {
    let mut bench = Bench::up();
    let (id, queue) = bench.subscribe("t", SubscribeOptions::stream("s", StartAt::First), 1);
    bench.deliver(id, &block("t", &["1", "2"], 1, 1));
    bench.written.clear();
    for code in [ErrorCode::MOVED, ErrorCode::UNREACHABLE] {
        bench.refuse(id.0, code);
        assert!(bench.written.is_empty(), "not at once");
        bench.pass(Duration::from_millis(60));
        let written = std::mem::take(&mut bench.written);
        let Ok(Frame::Subscribe(again)) = Frame::decode(&written[0]) else { panic!("not a subscribe") };
        assert_eq!((again.id, again.position), (id, vec![(7, 3)]));
    }
    // The other home has the same events at other places.
    bench.hear(&Frame::Subscribed(frame::Subscribed { id, start_sequence: 90, live: false }));
    bench.deliver(id, &block("t", &["3"], 3, 90));
    let got = received(&queue);
    assert_eq!(got[1], (vec!["3".to_owned()], Gap { events: 0, reason: 0, reconnected: true }));
    bench.refuse(id.0, ErrorCode::NO_STREAM);
    bench.pass(Duration::from_secs(1));
    assert!(bench.kinds().is_empty(), "it is gone for good");
}

#[test]
fn a_live_block_that_comes_again_is_cut_and_its_credit_counts() {
    let mut bench = Bench::up();
    let (id, queue) = bench.subscribe("t", small(), 0);
    bench.deliver(id, &block("t", &["a"], 1, 0));
    bench.lose();
    bench.connect(4, 1 << 20);
    bench.deliver(id, &block("t", &["a"], 1, 0));
    bench.deliver(id, &block("t", &["b"], 2, 0));
    let got = received(&queue);
    assert_eq!(got.iter().map(|(payloads, _)| payloads.len()).collect::<Vec<_>>(), [1, 0, 1]);
    assert!(got[1].1.is_none() && got[2].1.reconnected, "the mark is on the next that is seen");
}

#[test]
fn a_refused_subscription_says_why_and_one_that_ends_later_as_well() {
    let mut bench = Bench::up();
    let filter = Filter::parse("t").expect("a filter");
    let (id, _, ticket) = bench.session.subscribe(filter, SubscribeOptions::default(), false);
    bench.turn();
    bench.refuse(id.0, ErrorCode::LIMIT);
    assert!(matches!(outcome(&ticket), Some(Err(SubscribeError::Refused(r))) if r.code == ErrorCode::LIMIT));

    let (id, queue) = bench.subscribe("t", SubscribeOptions::stream("s", StartAt::New), 1);
    bench.refuse(id.0, ErrorCode::NO_STREAM);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(queue.poll_below(&mut cx, u64::MAX), Poll::Ready(Some(Err(SubscribeError::Refused(_))))));
    assert!(matches!(queue.poll_below(&mut cx, u64::MAX), Poll::Ready(None)));
}

#[test]
fn a_subscription_made_without_a_connection_waits_for_one() {
    let mut bench = Bench::up();
    bench.lose();
    let filter = Filter::parse("t").expect("a filter");
    let (_, _, ticket) = bench.session.subscribe(filter, SubscribeOptions::default(), false);
    assert_eq!(outcome(&ticket), None);
    bench.connect(4, 1 << 20);
    assert_eq!(subscribes(&mut bench).len(), 1);
}

#[test]
fn what_comes_after_an_unsubscription_is_no_error() {
    let mut bench = Bench::up();
    let (id, _queue) = bench.subscribe("t", SubscribeOptions::default(), 0);
    bench.session.unsubscribe(id);
    bench.turn();
    bench.deliver(id, &block("t", &["a"], 1, 0));
    bench.refuse(id.0, ErrorCode::NO_SUBSCRIPTION);
    assert!(bench.actions.is_empty(), "the connection stays");
}

#[test]
fn small_blocks_do_not_hold_receive_buffers_while_the_application_is_behind() {
    let mut bench = Bench::up();
    let (id, queue) = bench.subscribe("t", SubscribeOptions::default(), 0);
    let lent = bench.arena.stats().lent;
    for i in 1..=200 {
        bench.deliver(id, &block("t", &["x"], i, 0));
    }
    let held = bench.arena.stats().lent - lent;
    assert!(held <= 40, "{held} buffers are held by 200 small blocks");
    assert_eq!(received(&queue).len(), 200);
}

#[test]
fn urgent_deliveries_and_near_deadlines_reach_the_application_first() {
    let mut bench = Bench::up();
    let (id, queue) = bench.subscribe("**", SubscribeOptions::default(), 0);
    let deliver = |bench: &mut Bench, lane, deadline, topic, payload, n| {
        bench.deliver(id, &block_in(lane, UnixNanos(deadline), topic, &[payload], n, 0));
    };
    deliver(&mut bench, Lane::BULK, 0, "t", "bulk", 1);
    deliver(&mut bench, Lane::DEFAULT, 900, "t", "late", 1);
    deliver(&mut bench, Lane::DEFAULT, 100, "u", "soon", 2);
    deliver(&mut bench, Lane::DEFAULT, 50, "t", "behind late", 3);
    deliver(&mut bench, Lane::URGENT, 0, "t", "urgent", 1);
    let order: Vec<String> = received(&queue).into_iter().flat_map(|(payloads, _)| payloads).collect();
    assert_eq!(order, ["urgent", "soon", "late", "behind late", "bulk"]);
}

#[test]
fn a_streams_deliveries_keep_its_order_whatever_their_lanes() {
    let mut bench = Bench::up();
    let (id, queue) = bench.subscribe("t", SubscribeOptions::stream("s", StartAt::First), 1);
    bench.deliver(id, &block_in(Lane::BULK, UnixNanos(0), "t", &["1"], 1, 1));
    bench.deliver(id, &block_in(Lane::URGENT, UnixNanos(9), "t", &["2"], 1, 2));
    let order: Vec<String> = received(&queue).into_iter().flat_map(|(payloads, _)| payloads).collect();
    assert_eq!(order, ["1", "2"]);
}

#[test]
fn on_demand_credit_is_what_was_requested_also_after_a_reconnection() {
    let mut bench = Bench::up();
    let filter = Filter::parse("t").expect("a filter");
    let (id, _queue, _) = bench.session.subscribe(filter, SubscribeOptions::default(), true);
    bench.turn();
    assert_eq!(subscribes(&mut bench)[0].1, 0, "nothing is granted with the subscription");
    bench.hear(&Frame::Subscribed(frame::Subscribed { id, start_sequence: 0, live: true }));
    bench.session.demand(id, 2);
    bench.session.demand(id, 1);
    bench.turn();
    assert_eq!(credits(&mut bench), [2, 1]);
    // A block brings two more than was requested. The hub counts that as well:
    // the next two requested are granted and none comes.
    bench.deliver(id, &block("t", &["1", "2", "3", "4", "5"], 1, 0));
    bench.session.demand(id, 1);
    bench.turn();
    assert_eq!(credits(&mut bench), [1]);
    bench.session.demand(id, 4);
    bench.turn();
    assert_eq!(credits(&mut bench), [4]);
    bench.lose();
    bench.connect(4, 1 << 20);
    assert_eq!(subscribes(&mut bench)[0].1, 3, "eight requested, five came");
    // Any demand is within what a hub takes.
    bench.session.demand(id, u64::MAX);
    bench.turn();
    assert_eq!(credits(&mut bench), [crate::MAX_CREDIT_EVENTS - 3]);
}

/// The events of the credit frames written.
fn credits(bench: &mut Bench) -> Vec<u64> {
    let frames = std::mem::take(&mut bench.written);
    let events = |bytes: &Vec<u8>| match Frame::decode(bytes) {
        Ok(Frame::Credit(credit)) => Some(credit.events),
        _ => None,
    };
    frames.iter().filter_map(events).collect()
}
