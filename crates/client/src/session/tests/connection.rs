//! Connecting, losing, coming back, closing.

use super::*;
use crate::error::{ConnectError, RequestError};

#[test]
fn it_says_hello_and_is_connected_once_welcome() {
    let mut bench = Bench::new(options());
    bench.turn();
    assert_eq!(bench.actions, [Action::Dial("a:1".to_owned())]);
    bench.session.connected(bench.now);
    bench.turn();
    assert_eq!(bench.kinds(), [frame::Kind::Hello]);
    assert_eq!(outcome(&bench.session.connect_ticket()), None);
    bench.welcome(4, 1 << 20);
    assert_eq!(outcome(&bench.session.connect_ticket()), Some(Ok(())));
    assert!(
        matches!(bench.session.status().0, Status::Connected(hub) if hub.name == "chicago" && hub.address == "a:1")
    );
}

#[test]
fn each_address_is_tried_and_all_reasons_are_told() {
    let mut bench = Bench::new(options());
    bench.turn();
    bench.session.lost(bench.now, "nobody there");
    bench.turn();
    assert_eq!(bench.actions, [Action::Dial("a:1".to_owned()), Action::Dial("b:2".to_owned())]);
    bench.session.lost(bench.now, "not there either");
    let Some(Err(ConnectError::Unreachable { reasons })) = outcome(&bench.session.connect_ticket()) else {
        panic!("it gives up");
    };
    assert_eq!(reasons, ["`a:1`: nobody there", "`b:2`: not there either"]);
    bench.turn();
    assert_eq!(bench.actions.last(), Some(&Action::Stop));
}

#[test]
fn it_tries_for_as_long_as_it_is_told() {
    let mut bench = Bench::new(ConnectOptions { connect_for: Duration::from_secs(60), ..options() });
    for _ in 0..8 {
        bench.pass(Duration::from_secs(6));
        assert!(matches!(bench.actions.pop(), Some(Action::Dial(_))));
        bench.session.lost(bench.now, "nobody there");
    }
    assert_eq!(outcome(&bench.session.connect_ticket()), None);
    for _ in 0..4 {
        bench.pass(Duration::from_secs(6));
        bench.session.lost(bench.now, "nobody there");
    }
    assert!(matches!(outcome(&bench.session.connect_ticket()), Some(Err(ConnectError::Unreachable { .. }))));
}

#[test]
fn a_refusal_ends_the_first_attempt_and_a_stopping_hub_does_not() {
    let goodbye = |code| Frame::Goodbye(frame::Goodbye { code, detail: "no" });
    let mut bench = Bench::new(options());
    bench.turn();
    bench.session.connected(bench.now);
    bench.hear(&goodbye(ErrorCode::SHUTDOWN));
    bench.turn();
    assert!(bench.actions.contains(&Action::Dial("b:2".to_owned())), "the next address");
    bench.session.connected(bench.now);
    bench.hear(&goodbye(ErrorCode::VERSION));
    let refused = outcome(&bench.session.connect_ticket());
    assert!(matches!(refused, Some(Err(ConnectError::Refused { address, .. })) if address == "b:2"));
}

#[test]
fn once_connected_it_never_gives_up_and_pauses_longer_and_longer() {
    let mut bench = Bench::up();
    for round in 0..30 {
        bench.lose();
        assert!(matches!(bench.session.status().0, Status::Reconnecting { failures, .. } if failures == round));
        bench.pass(Duration::from_secs(5));
        assert!(matches!(bench.actions.pop(), Some(Action::Dial(_))), "within the longest pause");
    }
    bench.lose();
    let wait = bench.session.sleep(bench.now, false, true);
    assert!(wait > Duration::ZERO && wait <= Duration::from_secs(5), "{wait:?}");
}

#[test]
fn with_a_bound_it_gives_up_and_everybody_who_waits_is_told() {
    let mut bench = Bench::new(ConnectOptions { reconnect_for: Some(Duration::from_secs(20)), ..options() });
    bench.connect(4, 1 << 20);
    let ticket = bench.publish("t", "x");
    bench.turn();
    // A connection that is made again in time starts the bound anew.
    bench.lose();
    bench.connect(4, 1 << 20);
    bench.lose();
    bench.pass(Duration::from_secs(19));
    bench.session.connected(bench.now);
    assert_eq!((outcome(&ticket), bench.session.gave_up()), (None, None));
    assert!(bench.session.sleep(bench.now, false, true) <= Duration::from_secs(1), "it wakes for the bound");
    bench.pass(Duration::from_secs(1));
    assert_eq!(outcome(&ticket), Some(Err(PublishError::Closed)));
    assert!(bench.session.gave_up().is_some_and(|why| why.contains("20 s") && why.contains("a test")));
    assert_eq!(bench.actions.last(), Some(&Action::Stop));
    assert_eq!(bench.session.status().0, Status::Closed);
}

#[test]
fn a_silent_hub_is_asked_and_then_given_up() {
    let mut bench = Bench::up();
    bench.now = bench.now + Duration::from_secs(6);
    bench.turn();
    assert_eq!(bench.kinds(), [frame::Kind::Ping]);
    bench.hear(&Frame::Pong(frame::Pong { id: 0, time: 0 }));
    bench.now = bench.now + Duration::from_secs(6);
    bench.turn();
    bench.now = bench.now + Duration::from_secs(10);
    bench.turn();
    assert!(bench.actions.contains(&Action::Disconnect));
    assert!(
        matches!(bench.session.status().0, Status::Reconnecting { reason, .. } if reason.contains("nothing was heard"))
    );
}

#[test]
fn a_hub_that_does_not_answer_the_hello_is_given_up() {
    let mut bench = Bench::new(options());
    bench.turn();
    bench.session.connected(bench.now);
    bench.now = bench.now + Duration::from_secs(11);
    bench.turn();
    assert!(bench.actions.contains(&Action::Disconnect));
}

#[test]
fn garbage_ends_the_connection_with_a_reason_and_it_is_made_anew() {
    let mut bench = Bench::up();
    let garbage = bench.bytes(&[16, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bench.session.frame(garbage, bench.now);
    bench.turn();
    assert_eq!(bench.actions, [Action::Disconnect]);
    assert!(
        matches!(bench.session.status().0, Status::Reconnecting { reason, .. } if reason.contains("broke the protocol"))
    );
    bench.actions.clear();
    bench.connect(4, 1 << 20);
}

#[test]
fn a_damaged_block_ends_the_connection() {
    let mut bench = Bench::up();
    let (id, queue) = bench.subscribe("t", SubscribeOptions::default(), 0);
    let mut damaged = block("t", &["x"], 1, 0);
    damaged[200 - 64] ^= 1;
    bench.deliver(id, &damaged);
    assert_eq!(bench.actions, [Action::Disconnect]);
    assert!(received(&queue).is_empty());
}

#[test]
fn closing_waits_for_acknowledgements_and_says_goodbye() {
    let mut bench = Bench::up();
    let ticket = bench.publish("t", "x");
    let closed = bench.session.begin_close(bench.now);
    bench.turn();
    let published = bench.published();
    assert!(matches!(bench.publish_as(&spec(AckLevel::Routed), "t", "y"), Err(PublishError::Closed)));
    assert_eq!(outcome(&closed), None);
    bench.ack(published[0].request, 1);
    assert!(matches!(outcome(&ticket), Some(Ok(_))));
    assert_eq!(outcome(&closed), Some(true));
    assert_eq!(bench.kinds(), [frame::Kind::Goodbye]);
    assert_eq!(bench.actions, [Action::Stop]);
}

#[test]
fn closing_does_not_wait_for_ever() {
    let mut bench = Bench::up();
    let ticket = bench.publish("t", "x");
    let closed = bench.session.begin_close(bench.now);
    bench.pass(options().close_within);
    assert_eq!(outcome(&closed), Some(false));
    assert_eq!(outcome(&ticket), Some(Err(PublishError::Closed)));
}

#[test]
fn a_request_is_answered_or_told_that_the_connection_went() {
    let mut bench = Bench::up();
    let ask = |bench: &mut Bench| {
        let encode = |id, out: &mut Vec<u8>| {
            frame::encode(&Frame::StreamList(frame::StreamList { request: id }), out);
            Ok(())
        };
        let ticket = bench.session.request(encode).expect("a request");
        bench.turn();
        let id = bench.session.next_id - 1;
        (ticket, id)
    };
    let (first, id) = ask(&mut bench);
    bench.hear(&Frame::Done(frame::Done { request: id }));
    assert!(matches!(outcome(&first), Some(Ok(_))));
    let (second, id) = ask(&mut bench);
    bench.refuse(id, ErrorCode::NO_STREAM);
    assert!(matches!(outcome(&second), Some(Err(RequestError::Refused(r))) if r.code == ErrorCode::NO_STREAM));
    let (third, _) = ask(&mut bench);
    bench.lose();
    assert!(matches!(outcome(&third), Some(Err(RequestError::ConnectionLost))));
    // Asked while there is no connection: it waits for one.
    let (fourth, id) = ask(&mut bench);
    assert!(outcome(&fourth).is_none());
    bench.connect(4, 1 << 20);
    bench.hear(&Frame::Done(frame::Done { request: id }));
    assert!(matches!(outcome(&fourth), Some(Ok(_))));
}
