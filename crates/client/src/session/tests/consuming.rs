//! Handouts, settling, fetching, memberships that end and begin again.

use super::*;
use crate::error::{ConsumeError, SettleError};
use weft_wire::frame::{Run, Verb};

/// A settle frame as it was written: request, token, verb, delay, reason, ranges.
type Settled = (u64, u64, Verb, u64, String, Vec<(u64, u32)>);

impl Bench {
    /// Becomes a member; the hub lets it in with this token.
    fn consume(&mut self, credit_events: u64, token: u64) -> (SubscriptionId, Opened) {
        let spec = ConsumeSpec {
            stream: "orders".to_owned(),
            consumer: "billing".to_owned(),
            credit_events,
            credit_bytes: 1 << 20,
        };
        let (id, opened) = self.session.consume(spec);
        self.turn();
        assert_eq!(self.kinds(), [frame::Kind::Consume]);
        self.written.clear();
        self.consuming(id, token, 0);
        assert_eq!(outcome(&opened.ticket), Some(Ok(())));
        (id, opened)
    }

    fn consuming(&mut self, id: SubscriptionId, token: u64, redeliver: u64) {
        self.hear(&Frame::Consuming(frame::Consuming { id, token, redeliver }));
    }

    fn hand_out(&mut self, id: SubscriptionId, first: u64, attempt: u32, runs: &[(u16, u16)], block: &[u8]) {
        let runs: Vec<Run> = runs.iter().map(|(from, count)| Run::new(*from, *count)).collect();
        self.hear(&Frame::Handout(frame::Handout { id, first, attempt, runs: &runs, block }));
    }

    fn settled(&mut self) -> Vec<Settled> {
        let written = std::mem::take(&mut self.written);
        let settle = |bytes: &Vec<u8>| match Frame::decode(bytes).expect("a frame") {
            Frame::Settle(s) => {
                let ranges = s.ranges.iter().map(|range| (range.first(), range.count())).collect();
                Some((s.request, s.token, s.verb, s.delay_ms, s.reason.to_owned(), ranges))
            }
            _ => None,
        };
        written.iter().filter_map(settle).collect()
    }

    fn credits(&mut self) -> Vec<(u64, u64)> {
        let written = std::mem::take(&mut self.written);
        let credit = |bytes: &Vec<u8>| match Frame::decode(bytes).expect("a frame") {
            Frame::Credit(credit) => Some((credit.events, credit.bytes)),
            Frame::Consume(consume) => Some((consume.credit_events, consume.credit_bytes)),
            _ => None,
        };
        written.iter().filter_map(credit).collect()
    }

    /// Says something of an event, as a message does.
    fn say(&mut self, taken: &Taken, saying: &Saying) -> Result<(), SettleError> {
        let (handed, sequence) = (&taken.handed, taken.handed.first + u64::from(taken.place));
        if handed.settling.say(handed.token, sequence, saying)? {
            self.session.has_said(handed.id);
        }
        Ok(())
    }
}

/// What waits, as it would be taken.
fn taken(queue: &HandoutQueue) -> Vec<Taken> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut all = Vec::new();
    while let Poll::Ready(Some(Ok(taken))) = queue.poll_take(&mut cx) {
        all.push(taken);
    }
    all
}

fn payload(taken: &Taken) -> String {
    let event = taken.handed.delivery.block().event_at(taken.offset).expect("an event");
    String::from_utf8_lossy(event.payload).into_owned()
}

const ACK: Saying = Saying::plain(Verb::Ack);

#[test]
fn a_handouts_runs_say_which_events_of_the_block_are_handed_out() {
    let mut bench = Bench::up();
    let (id, opened) = bench.consume(100, 5);
    bench.hand_out(id, 40, 2, &[(1, 2), (4, 1)], &block("t", &["a", "bb", "", "d", "eeeeeeeee"], 1, 40));
    bench.hand_out(id, 45, 1, &[(0, 1)], &block("t", &["f"], 6, 45));
    let all = taken(&opened.queue);
    let seen: Vec<_> =
        all.iter().map(|t| (t.handed.first + u64::from(t.place), payload(t), t.handed.attempt)).collect();
    let expected = [(41, "bb", 2), (42, "", 2), (44, "eeeeeeeee", 2), (45, "f", 1)];
    assert_eq!(seen, expected.map(|(sequence, payload, attempt)| (sequence, payload.to_owned(), attempt)));
    assert_eq!(all.iter().filter(|t| t.bytes > 0).count(), 2, "a block's bytes come back with its last event");
}

#[test]
fn a_handout_beyond_its_block_breaks_the_protocol() {
    let mut bench = Bench::up();
    let (id, _) = bench.consume(100, 5);
    bench.hand_out(id, 40, 1, &[(1, 1)], &block("t", &["a"], 1, 40));
    assert_eq!(bench.actions, [Action::Disconnect]);
}

#[test]
fn what_is_said_becomes_ranges_and_goes_with_the_next_turn() {
    let mut bench = Bench::up();
    let (id, opened) = bench.consume(100, 5);
    bench.hand_out(id, 10, 1, &[(0, 6)], &block("t", &["a", "b", "c", "d", "e", "f"], 1, 10));
    let all = taken(&opened.queue);
    let nack = Saying { delay_ms: 500, ..Saying::plain(Verb::Nack) };
    for (event, saying) in [(0, &ACK), (1, &ACK), (3, &ACK), (4, &nack), (5, &ACK)] {
        bench.say(&all[event], saying).expect("it is the member");
    }
    assert!(bench.session.sleep(bench.now, false, true).is_zero(), "the driver does not sleep on it");
    bench.turn();
    let ack = |ranges: &[(u64, u32)]| (0, 5, Verb::Ack, 0, String::new(), ranges.to_vec());
    let nack = (0, 5, Verb::Nack, 500, String::new(), vec![(14, 1)]);
    assert_eq!(bench.settled(), [ack(&[(10, 2), (13, 1)]), nack, ack(&[(15, 1)])]);
    bench.turn();
    assert_eq!(bench.settled(), [], "once");
}

#[test]
fn only_the_first_thing_said_since_a_turn_wakes_the_driver() {
    let mut bench = Bench::up();
    let (id, opened) = bench.consume(100, 5);
    bench.hand_out(id, 10, 1, &[(0, 2)], &block("t", &["a", "b"], 1, 10));
    let all = taken(&opened.queue);
    let say = |taken: &Taken| taken.handed.settling.say(5, taken.handed.first + u64::from(taken.place), &ACK);
    assert_eq!((say(&all[0]), say(&all[1])), (Ok(true), Ok(false)));
    bench.session.has_said(id);
    bench.turn();
    assert_eq!(bench.settled().len(), 1);
    assert_eq!(say(&all[1]), Ok(true));
}

#[test]
fn a_lost_connection_ends_the_membership_and_old_deliveries_are_refused_here() {
    let mut bench = Bench::up();
    let (id, opened) = bench.consume(100, 5);
    bench.hand_out(id, 10, 1, &[(0, 2)], &block("t", &["a", "b"], 1, 10));
    bench.hand_out(id, 12, 1, &[(0, 1)], &block("t", &["c"], 3, 12));
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Some(Ok(held))) = opened.queue.poll_take(&mut cx) else { panic!("one is there") };
    bench.say(&held, &ACK).expect("it is the member");
    // The turn that would have sent it does not come any more.
    bench.lose();
    assert_eq!(bench.say(&held, &ACK), Err(SettleError::Stale { token: 5, current: 0 }));
    assert!(taken(&opened.queue).is_empty(), "what was not taken is dropped: it comes again");
    bench.connect(4, 1 << 20);
    assert_eq!(bench.credits(), [(100, 1 << 20)], "the whole credit again");
    bench.consuming(id, 9, 3);
    assert_eq!(bench.say(&held, &ACK), Err(SettleError::Stale { token: 5, current: 9 }));
    let membership = bench.session.membership(id);
    assert_eq!((membership.token, membership.redeliver, membership.joined), (9, 3, 2));
    bench.session.handout_taken(id, 5, (1, 64));
    bench.turn();
    assert_eq!(bench.credits(), [], "what was taken under the old token gives no credit");
    bench.hand_out(id, 10, 2, &[(0, 2)], &block("t", &["a", "b"], 1, 10));
    let again = taken(&opened.queue);
    assert_eq!(again.iter().map(|taken| taken.handed.attempt).collect::<Vec<_>>(), [2, 2]);
    bench.say(&again[0], &ACK).expect("it is the member");
    bench.turn();
    assert_eq!(bench.settled(), [(0, 9, Verb::Ack, 0, String::new(), vec![(10, 1)])]);
}

#[test]
fn a_consumer_that_moved_is_opened_again_after_pauses_and_others_end() {
    let mut bench = Bench::up();
    let (id, opened) = bench.consume(100, 5);
    bench.refuse(id.0, ErrorCode::MOVED);
    assert_eq!(bench.session.membership(id).token, 0);
    assert!(bench.kinds().is_empty(), "not at once");
    bench.pass(Duration::from_millis(60));
    assert_eq!(bench.kinds(), [frame::Kind::Consume]);
    bench.written.clear();
    bench.refuse(id.0, ErrorCode::MOVED);
    bench.pass(Duration::from_secs(6));
    assert_eq!(bench.kinds(), [frame::Kind::Consume]);
    bench.written.clear();
    bench.consuming(id, 8, 2);
    assert_eq!(bench.session.membership(id).token, 8);
    bench.refuse(id.0, ErrorCode::CONSUMER_GONE);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(
        opened.queue.poll_take(&mut cx),
        Poll::Ready(Some(Err(ConsumeError::Refused(refusal)))) if refusal.code == ErrorCode::CONSUMER_GONE
    ));
    assert!(matches!(opened.queue.poll_take(&mut cx), Poll::Ready(None)));
    bench.lose();
    bench.connect(4, 1 << 20);
    assert!(bench.credits().is_empty(), "it is gone for good");
}

#[test]
fn an_exclusive_consumers_member_stands_by_until_it_is_made_active() {
    let mut bench = Bench::up();
    let (id, opened) = bench.consume(100, 0);
    assert_eq!(opened.settling.token(), 0);
    bench.consuming(id, 6, 1);
    assert_eq!((opened.settling.token(), bench.session.membership(id).redeliver), (6, 1));
}

#[test]
fn a_fetch_grants_what_was_not_granted_yet() {
    let mut bench = Bench::up();
    let (id, opened) = bench.consume(0, 5);
    bench.session.want(id, 3);
    bench.session.want(id, 3);
    bench.turn();
    assert_eq!(bench.credits(), [(3, 0)], "looking again asks for no more");
    bench.hand_out(id, 10, 1, &[(0, 2)], &block("t", &["a", "b"], 1, 10));
    bench.session.want(id, 1);
    bench.turn();
    assert_eq!(bench.credits(), [], "one is still granted");
    bench.session.want(id, 2);
    bench.turn();
    assert_eq!(bench.credits(), [(1, 0)]);
    assert_eq!(taken(&opened.queue).len(), 2);
    // What was granted and did not come is asked for again.
    bench.lose();
    bench.connect(4, 1 << 20);
    assert_eq!(bench.credits(), [(2, 1 << 20)]);
}

#[test]
fn a_double_acknowledgement_is_answered_and_goes_behind_what_was_said_before() {
    let mut bench = Bench::up();
    let (id, opened) = bench.consume(100, 5);
    bench.hand_out(id, 10, 1, &[(0, 2)], &block("t", &["a", "b"], 1, 10));
    let all = taken(&opened.queue);
    bench.say(&all[0], &ACK).expect("it is the member");
    let ticket = bench.session.settle(id, 5, 11, &ACK).expect("it is the member");
    bench.turn();
    let settled = bench.settled();
    assert_eq!(
        settled.iter().map(|s| (s.0 > 0, s.5.clone())).collect::<Vec<_>>(),
        [(false, vec![(10, 1)]), (true, vec![(11, 1)])]
    );
    assert!(outcome(&ticket).is_none());
    bench.hear(&Frame::Done(frame::Done { request: settled[1].0 }));
    assert!(matches!(outcome(&ticket), Some(Ok(_))));
    bench.lose();
    assert!(matches!(bench.session.settle(id, 5, 11, &ACK), Err(SettleError::Stale { token: 5, current: 0 })));
}

#[test]
fn leaving_and_closing_send_what_was_said() {
    let mut bench = Bench::up();
    let (id, opened) = bench.consume(100, 5);
    bench.hand_out(id, 10, 1, &[(0, 2)], &block("t", &["a", "b"], 1, 10));
    let all = taken(&opened.queue);
    bench.say(&all[0], &ACK).expect("it is the member");
    bench.session.leave(id);
    bench.turn();
    assert_eq!(bench.kinds(), [frame::Kind::Settle, frame::Kind::Unsubscribe]);
    assert_eq!(bench.say(&all[1], &ACK), Err(SettleError::Closed));
    bench.written.clear();
    let (id, opened) = bench.consume(100, 6);
    bench.hand_out(id, 10, 2, &[(1, 1)], &block("t", &["a", "b"], 1, 10));
    let all = taken(&opened.queue);
    bench.say(&all[0], &ACK).expect("it is the member");
    bench.session.begin_close(bench.now);
    bench.turn();
    assert_eq!(bench.kinds(), [frame::Kind::Settle, frame::Kind::Goodbye]);
}

#[test]
fn events_that_expired_are_counted() {
    let mut bench = Bench::up();
    let (id, _) = bench.consume(100, 5);
    bench.hear(&Frame::Gap(frame::Gap { id, events: 7, reason: 1 }));
    assert_eq!(bench.session.membership(id).expired, 7);
}

#[test]
fn what_cannot_be_sent_does_not_grow_without_bound() {
    let mut bench = Bench::up();
    let (_, opened) = bench.consume(100, 5);
    // Every other event, so that none joins a range.
    let refused = (1..200_000_u64).find_map(|n| opened.settling.say(5, 2 * n, &ACK).err());
    assert!(matches!(refused, Some(SettleError::Full { .. })));
}

#[test]
fn a_task_that_waits_for_a_moment_is_woken_then_and_not_when_it_has_gone() {
    let mut bench = Bench::up();
    let far = bench.now + Duration::from_millis(20);
    let key = bench.session.wait_until(far, Waker::noop());
    let gone = bench.session.wait_until(bench.now + Duration::from_millis(5), Waker::noop());
    bench.session.forget_timer(gone);
    assert_eq!(bench.session.sleep(bench.now, false, true), Duration::from_millis(20));
    bench.now = far;
    bench.session.turn(far, &mut Vec::new(), 1 << 20, true);
    assert_eq!(bench.session.take_wakers().len(), 1);
    bench.session.forget_timer(key);
    assert!(bench.session.sleep(bench.now, false, true) > Duration::from_millis(20));
}
