//! Each behaviour by an example.

use weft_base::UnixNanos;
use weft_topic::Filter;

use super::super::{ConsumerSpec, DeadLetter, DeadReason, Mode, Refusal, Replay, SettleError, Verb};
use super::{Consumer, Sample, Stream, WALL, at, ms, sequences};
use crate::predicate::Predicate;

const NONE: Sample = Sample { key: "", ttl_ms: None, payload: 0 };

fn key(key: &'static str) -> Sample {
    Sample { key, ..NONE }
}

fn stream(blocks: &[usize]) -> Stream {
    let mut stream = Stream::new();
    for (number, events) in blocks.iter().enumerate() {
        stream.push("a/b", &vec![NONE; *events], UnixNanos(WALL + number as u64 * 1_000_000));
    }
    stream
}

fn consumer(change: impl FnOnce(&mut ConsumerSpec)) -> Consumer {
    let mut spec = ConsumerSpec::new("c");
    change(&mut spec);
    spec.check().expect("a good one");
    Consumer::new(spec, 1, 1, at(0))
}

fn join(consumer: &mut Consumer, member: u64, events: u64) -> u64 {
    let token = consumer.join(member, "m", at(0)).expect("room").token;
    consumer.grant(member, events, 1 << 20);
    token
}

#[test]
fn whole_blocks_go_to_one_member_each_in_turn() {
    let (stream, mut consumer) = (stream(&[4, 4, 4, 4]), consumer(|_| {}));
    join(&mut consumer, 1, 100);
    join(&mut consumer, 2, 100);
    let got = sequences(&stream.pump(&mut consumer, at(0)));
    assert_eq!(
        got,
        [(1, 1, vec![1, 2, 3, 4]), (2, 1, vec![5, 6, 7, 8]), (1, 1, vec![9, 10, 11, 12]), (2, 1, vec![13, 14, 15, 16])]
    );
}

#[test]
fn a_block_larger_than_anybodys_credit_is_shared_and_the_rest_waits_for_credit() {
    let (stream, mut consumer) = (stream(&[10]), consumer(|_| {}));
    join(&mut consumer, 1, 3);
    join(&mut consumer, 2, 4);
    assert_eq!(sequences(&stream.pump(&mut consumer, at(0))), [(1, 1, vec![1, 2, 3]), (2, 1, vec![4, 5, 6, 7])]);
    assert_eq!(consumer.next_read(at(1)), None);
    consumer.grant(1, 100, 0);
    assert_eq!(sequences(&stream.pump(&mut consumer, at(1))), [(1, 1, vec![8, 9, 10])]);
}

#[test]
fn of_bytes_one_block_more_than_was_left_and_then_none() {
    let (stream, mut consumer) = (stream(&[1, 1, 1]), consumer(|_| {}));
    consumer.join(1, "m", at(0)).expect("room");
    consumer.grant(1, 100, 1);
    assert_eq!(sequences(&stream.pump(&mut consumer, at(0))), [(1, 1, vec![1])]);
    consumer.grant(1, 0, 1);
    assert_eq!(sequences(&stream.pump(&mut consumer, at(0))), [], "the debt is not paid");
    consumer.grant(1, 0, 1 << 20);
    assert_eq!(sequences(&stream.pump(&mut consumer, at(0))).len(), 2);
}

#[test]
fn the_floor_follows_what_is_settled_in_whatever_order() {
    let (stream, mut consumer) = (stream(&[6]), consumer(|_| {}));
    let token = join(&mut consumer, 1, 100);
    stream.pump(&mut consumer, at(0));
    let mut dead = Vec::new();
    for (ranges, floor) in [(&[(3, 2)][..], 1), (&[(6, 1), (1, 1)], 2), (&[(2, 1)], 5), (&[(5, 1)], 7)] {
        consumer.settle(1, token, Verb::Ack, ranges, at(0), &mut dead).expect("its own");
        assert_eq!(consumer.floor(), floor);
    }
    let told = consumer.settle(1, token, Verb::Ack, &[(1, 2), (2, 9)], at(0), &mut dead).expect("its own");
    assert_eq!((told.done, told.again, told.others, told.unknown), (0, 7, 0, 4));
    assert_eq!(consumer.report(7).lag, 0);
}

#[test]
fn what_is_not_settled_in_time_comes_again_and_a_late_ack_still_counts() {
    let (stream, mut consumer) = (stream(&[2]), consumer(|spec| spec.ack_wait = ms(100)));
    let token = join(&mut consumer, 1, 100);
    stream.pump(&mut consumer, at(0));
    assert_eq!(consumer.next_deadline(), Some(at(100).mono));
    consumer.settle(1, token, Verb::Progress, &[(2, 1)], at(60), &mut Vec::new()).expect("its own");
    consumer.tick(at(100), &mut Vec::new());
    assert_eq!(consumer.report(3).waiting, 1);
    let told = consumer.settle(1, token, Verb::Ack, &[(1, 1)], at(101), &mut Vec::new()).expect("its own");
    assert_eq!((told.done, consumer.floor()), (1, 2));
    consumer.tick(at(160), &mut Vec::new());
    assert_eq!(sequences(&stream.pump(&mut consumer, at(160))), [(1, 2, vec![2])]);
}

#[test]
fn a_nack_waits_for_its_delay_or_the_back_off_and_the_last_attempt_is_a_dead_letter() {
    let (stream, mut consumer) = (
        stream(&[1]),
        consumer(|spec| {
            spec.backoff = vec![ms(10), ms(20)];
            spec.max_deliver = 3;
        }),
    );
    let token = join(&mut consumer, 1, 100);
    stream.pump(&mut consumer, at(0));
    let mut dead = Vec::new();
    let mut nack = |consumer: &mut Consumer, delay, now| {
        consumer.settle(1, token, Verb::Nack { delay: ms(delay) }, &[(1, 1)], at(now), &mut dead).expect("its own");
        dead.clone()
    };
    assert_eq!(nack(&mut consumer, 0, 0), []);
    assert_eq!(consumer.next_deadline(), Some(at(10).mono));
    assert_eq!(consumer.next_read(at(9)).map(|read| read.again), Some(false));
    assert_eq!(sequences(&stream.pump(&mut consumer, at(10))), [(1, 2, vec![1])]);
    assert_eq!(nack(&mut consumer, 500, 10), []);
    assert_eq!(stream.pump(&mut consumer, at(509)), []);
    assert_eq!(sequences(&stream.pump(&mut consumer, at(510))), [(1, 3, vec![1])]);
    let letter = DeadLetter { first: 1, count: 1, attempts: 3, reason: DeadReason::MaxDeliver };
    assert_eq!(nack(&mut consumer, 0, 510), [letter]);
    assert_eq!((consumer.floor(), consumer.report(2).dying), (1, 1), "settled only when it is stored");
    consumer.dead_lettered(1, 1);
    assert_eq!((consumer.floor(), consumer.report(2).counts.dead), (2, 1));
}

#[test]
fn terminated_events_never_come_again_and_say_why() {
    let (stream, mut consumer) = (stream(&[3]), consumer(|_| {}));
    let token = join(&mut consumer, 1, 100);
    stream.pump(&mut consumer, at(0));
    let mut dead = Vec::new();
    let verb = Verb::Term { reason: "bad json" };
    consumer.settle(1, token, verb, &[(1, 3)], at(0), &mut dead).expect("its own");
    let reason = DeadReason::Terminated("bad json".into());
    assert_eq!(dead, [DeadLetter { first: 1, count: 3, attempts: 1, reason }]);
    consumer.dead_lettered(2, 1);
    consumer.leave(1, at(1));
    join(&mut consumer, 2, 100);
    assert_eq!(stream.pump(&mut consumer, at(2)), []);
    consumer.dead_lettered(1, 3);
    assert_eq!(consumer.floor(), 4);
}

#[test]
fn one_member_works_the_next_takes_over_and_the_old_token_is_refused() {
    let (stream, mut consumer) = (stream(&[3]), consumer(|spec| spec.mode = Mode::Exclusive));
    let first = join(&mut consumer, 1, 2);
    let waits = consumer.join(2, "m", at(0)).expect("room");
    assert_eq!(waits.token, 0);
    consumer.grant(2, 100, 1 << 20);
    assert_eq!(sequences(&stream.pump(&mut consumer, at(0))), [(1, 1, vec![1, 2])]);
    let refused = consumer.settle(2, 0, Verb::Ack, &[(1, 1)], at(0), &mut Vec::new());
    assert_eq!(refused, Err(SettleError::Fenced { found: 0, current: 0 }));
    let over = consumer.leave(1, at(1)).expect("the next");
    assert!(over.token > first && over.member == 2 && over.redeliver == 2, "{over:?}");
    assert_eq!(sequences(&stream.pump(&mut consumer, at(1))), [(2, 2, vec![1, 2]), (2, 1, vec![3])]);
    let refused = consumer.settle(1, first, Verb::Ack, &[(1, 2)], at(1), &mut Vec::new());
    assert_eq!(refused, Err(SettleError::NoMember { member: 1 }));
    let again = consumer.join(1, "m", at(1)).expect("room");
    assert_eq!(again.token, 0);
    let refused = consumer.settle(1, first, Verb::Ack, &[(1, 2)], at(1), &mut Vec::new());
    assert_eq!(refused, Err(SettleError::Fenced { found: first, current: 0 }));
    assert_eq!(consumer.join(1, "m", at(1)), Err(Refusal::Present { member: 1 }));
}

#[test]
fn a_key_stays_with_its_member_until_nothing_of_it_is_under_way() {
    let mut stream = Stream::new();
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for _ in 0..2 {
        stream.push("t", &names.map(key), UnixNanos(WALL));
    }
    let mut consumer = consumer(|spec| spec.mode = Mode::Keyed);
    let token = join(&mut consumer, 1, 8);
    assert_eq!(sequences(&stream.pump(&mut consumer, at(0))).len(), 1);
    join(&mut consumer, 2, 100);
    consumer.grant(1, 100, 0);
    let second = sequences(&stream.pump(&mut consumer, at(0)));
    assert_eq!(second, [(1, 1, (9..17).collect::<Vec<_>>())], "all keys are under way with the first member");
    consumer.settle(1, token, Verb::Ack, &[(1, 16)], at(0), &mut Vec::new()).expect("its own");
    stream.push("t", &names.map(key), UnixNanos(WALL));
    let third = sequences(&stream.pump(&mut consumer, at(0)));
    assert_eq!(third.len(), 2, "now some keys are the second member's: {third:?}");
}

#[test]
fn while_an_event_of_a_key_waits_the_later_ones_of_that_key_wait_too() {
    let mut stream = Stream::new();
    stream.push("t", &[key("a"), key("b"), key("a")], UnixNanos(WALL));
    let mut consumer = consumer(|spec| spec.mode = Mode::Keyed);
    let token = join(&mut consumer, 1, 2);
    assert_eq!(sequences(&stream.pump(&mut consumer, at(0))), [(1, 1, vec![1, 2])]);
    let nack = Verb::Nack { delay: ms(50) };
    consumer.settle(1, token, nack, &[(1, 1)], at(0), &mut Vec::new()).expect("its own");
    consumer.grant(1, 10, 0);
    stream.push("t", &[key("b")], UnixNanos(WALL));
    assert_eq!(sequences(&stream.pump(&mut consumer, at(0))), [(1, 1, vec![4])], "the key b goes on");
    assert_eq!(sequences(&stream.pump(&mut consumer, at(50))), [(1, 2, vec![1]), (1, 1, vec![3])]);
}

#[test]
fn filters_predicates_and_times_to_live_settle_in_silence() {
    let mut stream = Stream::new();
    let expires = Sample { ttl_ms: Some(10), ..NONE };
    stream.push("a/x", &[key("k"), key("l"), key("k")], UnixNanos(WALL));
    stream.push("b/x", &[key("k")], UnixNanos(WALL));
    stream.push("a/y", &[Sample { key: "k", ..expires }, key("k")], UnixNanos(WALL));
    let mut consumer = consumer(|spec| {
        spec.filters = vec![Filter::parse("a/*").expect("a filter")];
        spec.predicate = Some(Predicate::compile("key == 'k'").expect("a predicate"));
    });
    let token = join(&mut consumer, 1, 100);
    assert_eq!(sequences(&stream.pump(&mut consumer, at(10))), [(1, 1, vec![1, 3]), (1, 1, vec![6])]);
    let counts = consumer.report(7).counts;
    assert_eq!((counts.filtered, counts.expired), (2, 1));
    consumer.settle(1, token, Verb::Ack, &[(1, 6)], at(10), &mut Vec::new()).expect("its own");
    assert_eq!(consumer.floor(), 7);
}

#[test]
fn what_compaction_took_out_settles_in_silence() {
    let mut stream = Stream::new();
    stream.push("a", &[NONE, NONE, NONE], UnixNanos(WALL));
    let mut compacted = Vec::new();
    weft_wire::block::compact(&weft_wire::Block::trusted(&stream.blocks[0].1), |at, _| at != 1, &mut compacted);
    stream.blocks[0].1 = compacted;
    let mut consumer = consumer(|_| {});
    let token = join(&mut consumer, 1, 100);
    assert_eq!(sequences(&stream.pump(&mut consumer, at(0))), [(1, 1, vec![1, 3])]);
    consumer.settle(1, token, Verb::Ack, &[(1, 1), (3, 1)], at(0), &mut Vec::new()).expect("its own");
    assert_eq!(consumer.floor(), 4);
}

#[test]
fn what_expires_while_it_waits_is_not_handed_out_again() {
    let mut stream = Stream::new();
    stream.push("a", &[NONE, Sample { ttl_ms: Some(10), ..NONE }], UnixNanos(WALL));
    let mut consumer = consumer(|_| {});
    join(&mut consumer, 1, 100);
    stream.pump(&mut consumer, at(0));
    consumer.leave(1, at(5));
    join(&mut consumer, 2, 100);
    assert_eq!(sequences(&stream.pump(&mut consumer, at(10))), [(2, 2, vec![1])]);
    assert_eq!(consumer.report(3).counts.expired, 1);
}

#[test]
fn replay_keeps_the_pauses_between_blocks_and_a_pause_of_the_consumer_is_none() {
    let mut consumer = consumer(|spec| spec.replay = Replay::Original);
    let mut stream = Stream::new();
    for ingested in [0, 100, 90, 300] {
        stream.push("a", &[NONE], UnixNanos(WALL - 1_000_000_000 + ingested * 1_000_000));
    }
    join(&mut consumer, 1, 100);
    assert_eq!(sequences(&stream.pump(&mut consumer, at(0))), [(1, 1, vec![1])]);
    assert_eq!(consumer.next_deadline(), Some(at(100).mono));
    assert_eq!(sequences(&stream.pump(&mut consumer, at(100))), [(1, 1, vec![2]), (1, 1, vec![3])]);
    consumer.pause(None, at(200));
    assert_eq!(stream.pump(&mut consumer, at(900)), []);
    consumer.resume(at(1000));
    assert_eq!(stream.pump(&mut consumer, at(1099)), []);
    assert_eq!(sequences(&stream.pump(&mut consumer, at(1100))), [(1, 1, vec![4])]);
}

#[test]
fn a_pause_ends_by_itself() {
    let (stream, mut consumer) = (stream(&[1]), consumer(|_| {}));
    join(&mut consumer, 1, 100);
    consumer.pause(Some(at(50).wall), at(0));
    assert_eq!((consumer.next_deadline(), stream.pump(&mut consumer, at(49))), (Some(at(50).mono), Vec::new()));
    let restored = Consumer::restore(consumer.spec().clone(), consumer.saved(), 0, at(20));
    assert_eq!(restored.report(1).paused_until, Some(at(50).wall));
    consumer.tick(at(50), &mut Vec::new());
    assert_eq!(consumer.report(1).paused_until, None);
    assert_eq!(stream.pump(&mut consumer, at(50)).len(), 1);
}

#[test]
fn a_reset_begins_anew_and_fences_what_was_under_way() {
    let (stream, mut consumer) = (stream(&[4]), consumer(|_| {}));
    let token = join(&mut consumer, 1, 100);
    stream.pump(&mut consumer, at(0));
    consumer.settle(1, token, Verb::Ack, &[(1, 2)], at(0), &mut Vec::new()).expect("its own");
    let told = consumer.reset(2);
    assert!(told.len() == 1 && told[0].token > token, "{told:?}");
    assert_eq!(sequences(&stream.pump(&mut consumer, at(0))), [(1, 1, vec![2, 3, 4])]);
    let refused = consumer.settle(1, token, Verb::Ack, &[(2, 1)], at(0), &mut Vec::new());
    assert_eq!(refused, Err(SettleError::Fenced { found: token, current: told[0].token }));
    assert_eq!((consumer.floor(), consumer.report(5).counts.fenced), (2, 1));
}

#[test]
fn nothing_new_is_handed_out_beyond_what_may_be_under_way() {
    let (stream, mut consumer) = (stream(&[4, 4]), consumer(|spec| spec.max_in_flight = 5));
    let token = join(&mut consumer, 1, 100);
    let got = sequences(&stream.pump(&mut consumer, at(0)));
    assert_eq!(got, [(1, 1, vec![1, 2, 3, 4]), (1, 1, vec![5])]);
    let nack = Verb::Nack { delay: ms(1000) };
    consumer.settle(1, token, nack, &[(1, 3)], at(0), &mut Vec::new()).expect("its own");
    assert_eq!(stream.pump(&mut consumer, at(0)), [], "what waits counts");
    consumer.settle(1, token, Verb::Ack, &[(4, 2)], at(0), &mut Vec::new()).expect("its own");
    assert_eq!(sequences(&stream.pump(&mut consumer, at(0))), [(1, 1, vec![6, 7])]);
}

#[test]
fn a_consumer_nobody_uses_ends() {
    let mut consumer = consumer(|spec| spec.inactive = Some(ms(5000)));
    assert!(consumer.next_deadline() == Some(at(5000).mono) && !consumer.is_abandoned(at(4999)));
    join(&mut consumer, 1, 1);
    assert!(!consumer.is_abandoned(at(9000)));
    consumer.leave(1, at(9000));
    assert!(consumer.is_abandoned(at(14_000)) && !consumer.is_abandoned(at(13_999)));
}

#[test]
fn what_cannot_be_read_is_counted_and_done() {
    let (stream, mut consumer) = (stream(&[2, 2, 2]), consumer(|_| {}));
    let token = join(&mut consumer, 1, 3);
    stream.pump(&mut consumer, at(0));
    consumer.settle(1, token, Verb::Nack { delay: ms(9) }, &[(1, 1)], at(0), &mut Vec::new()).expect("its own");
    consumer.unreadable(1, 7);
    assert_eq!((consumer.floor(), consumer.report(7).in_flight), (2, 2), "what a member has it may settle");
    consumer.settle(1, token, Verb::Ack, &[(2, 2)], at(0), &mut Vec::new()).expect("its own");
    assert_eq!((consumer.floor(), consumer.report(7).counts.unreadable), (7, 4));
}

#[test]
fn a_new_life_hands_out_what_was_not_settled_and_knows_how_often_it_was_tried() {
    let (stream, mut consumer) = (stream(&[4, 4]), consumer(|spec| spec.max_deliver = 3));
    let token = join(&mut consumer, 1, 6);
    stream.pump(&mut consumer, at(0));
    consumer.settle(1, token, Verb::Ack, &[(1, 1), (3, 1)], at(0), &mut Vec::new()).expect("its own");
    consumer.settle(1, token, Verb::Term { reason: "no" }, &[(5, 1)], at(0), &mut Vec::new()).expect("its own");
    let saved = super::super::Saved::decode(&consumer.saved().encode()).expect("its own bytes");
    let mut next = Consumer::restore(consumer.spec().clone(), saved, 0, at(0));
    assert_eq!((next.floor(), next.generation()), (2, 2));
    let joined = next.join(7, "m", at(0)).expect("room");
    assert!(joined.token > token && joined.redeliver == 4, "{joined:?}");
    next.grant(7, 100, 1 << 20);
    let got = sequences(&stream.pump(&mut next, at(0)));
    assert_eq!(got, [(7, 2, vec![2, 4]), (7, 2, vec![6]), (7, 1, vec![7, 8])]);
    let mut dead = Vec::new();
    next.tick(at(0), &mut dead);
    assert_eq!(dead, [DeadLetter { first: 5, count: 1, attempts: 1, reason: DeadReason::Terminated(String::new()) }]);
}
