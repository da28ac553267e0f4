//! Who may do what at a hub that has a judge: asked when a session first does
//! something, taken back when the answer becomes another one.

use std::sync::Arc;

use crate::common::consumers::spec;
use crate::common::judge::{Court, Rule, everything};
use crate::common::mesh::{authority, link_addr, member, until};
use crate::common::triangle::{create, stream};
use crate::common::{Raw, options, stop};
use weft_base::{Clock as _, SystemClock};
use weft_govern::ChangeId;
use weft_govern::access::{Action, Ask, Method, Principal, Resource};
use weft_govern::api::Apply;
use weft_topic::Filter;
use weft_topic::mapping::{MappingSpec, Mappings};
use weft_wire::block::BlockFields;
use weft_wire::block::layout::REQUEST;
use weft_wire::frame::{AckLevel, ErrorCode, Frame, MeshShow, StreamCreate, StreamDelete, StreamSpec};

/// Publishes one event and answers what the hub says.
fn publish(client: &mut Raw, request: u64, topic: &str) -> Result<(), (ErrorCode, String)> {
    client.publish(request, AckLevel::Routed, topic, &[b"x"]);
    answer(client, request)
}

fn answer(client: &mut Raw, request: u64) -> Result<(), (ErrorCode, String)> {
    let received = client.receive();
    match received.frame() {
        // The other hub's word of what was ended here.
        Frame::Unsubscribed(_) => return answer(client, request),
        Frame::Ack(ack) => assert_eq!(ack.request, request),
        Frame::Done(done) => assert_eq!(done.request, request),
        Frame::Subscribed(subscribed) => assert_eq!(subscribed.id.0, request),
        Frame::MeshReport(report) => assert_eq!(report.request, request),
        Frame::Error(error) => {
            assert_eq!(error.request, request);
            return Err((error.code, error.detail.to_owned()));
        }
        other => panic!("not an answer: {other:?}"),
    }
    Ok(())
}

/// The reason of a refusal that is the judge's.
fn denied(result: Result<(), (ErrorCode, String)>) -> String {
    let (code, detail) = result.expect_err("it is refused");
    assert_eq!(code, ErrorCode::DENIED, "{detail}");
    detail
}

#[test]
fn what_no_rule_allows_is_refused_with_who_what_and_where_to_look_and_the_session_goes_on() {
    let rules = [
        ("may", Rule::allow("test", &["publish", "subscribe"], "t/**")),
        ("not", Rule::forbid("test", &["publish"], "t/closed/**")),
    ];
    let court = Court::start(options("hub", None), &rules);
    let mut client = Raw::connect(&court.hub, 1);
    assert_eq!(publish(&mut client, 1, "t/a"), Ok(()));
    let detail = denied(publish(&mut client, 2, "t/closed/a"));
    for part in ["`test` may not publish topic `t/closed/a`", "by rule not", "(state 1)", "weft policy explain"] {
        assert!(detail.contains(part), "{detail}");
    }
    let detail = denied(publish(&mut client, 3, "u/a"));
    assert!(detail.contains("no rule allows it"), "{detail}");
    client.subscribe(4, "t/a");
    client.subscribe_with(5, "**", |_| {});
    assert!(denied(answer(&mut client, 5)).contains("may not subscribe topic `**`"));
    client.send(&Frame::MeshShow(MeshShow { request: 6 }));
    assert!(denied(answer(&mut client, 6)).contains("may not observe the mesh"));
    // Of who did not ask for an answer it is counted, and the ledger balances.
    for _ in 0..3 {
        client.publish(0, AckLevel::None, "u/a", &[b"x", b"y"]);
    }
    client.round_trip();
    assert_eq!((court.count("ledger.dropped.denied"), court.count("govern.denied_blocks")), (6, 5));
    assert_eq!(publish(&mut client, 7, "t/a"), Ok(()));
    assert_eq!(client.delivered(), [b"x"]);
    client.round_trip();
    court.hub.counters().ledger().balance().expect("it balances");
    assert_eq!(court.asked.load(std::sync::atomic::Ordering::Relaxed), court.count("govern.asked"), "each asked once");
    stop(court.hub);
}

#[test]
fn a_change_stops_a_publisher_and_ends_a_subscription_and_another_lets_them_in_again() {
    let rules = [("may", Rule::allow("*", &["publish", "subscribe"], "t/**"))];
    let court = Court::start(options("hub", None), &rules);
    let [mut publisher, mut subscriber] = [Raw::connect(&court.hub, 1), Raw::connect(&court.hub, 2)];
    subscriber.subscribe(1, "t/a");
    subscriber.subscribe(2, "t/b");
    assert_eq!(publish(&mut publisher, 1, "t/a"), Ok(()));
    assert_eq!(subscriber.delivered(), [b"x"]);
    court.change(&[
        ("no-publish", Some(Rule::forbid("*", &["publish"], "t/a"))),
        ("no-read", Some(Rule::forbid("*", &["subscribe"], "t/a"))),
    ]);
    let received = subscriber.receive();
    let Frame::Error(error) = received.frame() else { panic!("not an end: {:?}", received.frame()) };
    assert_eq!((error.request, error.code), (1, ErrorCode::DENIED));
    assert!(error.detail.contains("by rule no-read") && error.detail.contains("(state 2)"), "{}", error.detail);
    let mut request = 2;
    let detail = loop {
        match publish(&mut publisher, request, "t/a") {
            Ok(()) => request += 1,
            Err((code, detail)) => break (code, detail),
        }
    };
    assert_eq!(detail.0, ErrorCode::DENIED);
    assert!(detail.1.contains("by rule no-publish"), "{}", detail.1);
    assert_eq!(publish(&mut publisher, 100, "t/b"), Ok(()), "the session stays, and what it may do");
    assert_eq!(subscriber.delivered(), [b"x"], "the other subscription stays");
    assert_eq!(court.count("govern.ended"), 1);
    court.change(&[("no-publish", None), ("no-read", None)]);
    request = 101;
    while publish(&mut publisher, request, "t/a").is_err() {
        request += 1;
    }
    subscriber.subscribe(1, "t/a");
    stop(court.hub);
}

#[test]
fn an_answer_that_hangs_on_the_time_ends_by_itself() {
    let until = SystemClock::new().now().wall.0 + 200_000_000;
    let rules = [("now", Rule { until, ..Rule::allow("*", &["publish"], "t/a") })];
    let court = Court::start(options("hub", None), &rules);
    let mut client = Raw::connect(&court.hub, 1);
    let mut request = 1;
    while publish(&mut client, request, "t/a").is_ok() {
        request += 1;
    }
    assert!(SystemClock::new().now().wall.0 >= until);
    stop(court.hub);
}

#[test]
fn what_a_session_sends_keeps_its_order_while_answers_are_awaited() {
    let court = Court::start(options("hub", None), &[("all", everything("test"))]);
    let mut subscriber = Raw::connect(&court.hub, 1);
    subscriber.subscribe(1, "t/**");
    let mut publisher = Raw::connect(&court.hub, 2);
    // Each topic is new at first, and then known beside others that are new.
    for n in 0..300u32 {
        let topic = if n % 3 == 0 { "t/same".to_owned() } else { format!("t/{n}") };
        publisher.publish(0, AckLevel::None, &topic, &[&n.to_le_bytes()]);
    }
    let mut came = Vec::new();
    while came.len() < 300 {
        came.extend(subscriber.delivered().iter().map(|p| u32::from_le_bytes(p[..4].try_into().expect("four bytes"))));
    }
    assert_eq!(came, (0..300).collect::<Vec<_>>());
    // More topics than are remembered: asked about again, and let in.
    for n in 0..3_000u32 {
        publisher.publish(0, AckLevel::None, &format!("t/{n}"), &[&n.to_le_bytes()]);
    }
    came.clear();
    while came.len() < 3_000 {
        came.extend(subscriber.delivered().iter().map(|p| u32::from_le_bytes(p[..4].try_into().expect("four bytes"))));
    }
    assert_eq!(came, (0..3_000).collect::<Vec<_>>());
    assert!(court.count("govern.in_use") <= 1_100, "what is forgotten is not kept by the judge either");
    drop((publisher, subscriber));
    while court.count("govern.in_use") > 0 {
        std::thread::yield_now();
    }
    stop(court.hub);
}

#[test]
fn a_slow_judge_holds_up_those_who_wait_for_it_and_nobody_else() {
    let mut options = options("hub", None);
    options.limits.ring_slots = 64;
    let court = Court::start(options, &[("all", everything("test"))]);
    let mut other = Raw::connect(&court.hub, 1);
    other.subscribe(1, "t/a");
    assert_eq!(publish(&mut other, 2, "t/a"), Ok(()));
    assert_eq!(other.delivered(), [b"x"]);
    let asked = court.count("govern.asked");
    court.brake.set(true);
    // More than the judge's inbox takes, each with more behind.
    let mut waiting: Vec<Raw> = (0..400).map(|n| Raw::connect(&court.hub, 10 + n)).collect();
    for (n, client) in waiting.iter_mut().enumerate() {
        for request in 1..4 {
            client.publish(request, AckLevel::Routed, &format!("slow/{n}/{request}"), &[b"x"]);
        }
    }
    while court.count("govern.waiting") < 400 {
        other.round_trip();
    }
    for request in 3..50 {
        assert_eq!(publish(&mut other, request, "t/a"), Ok(()));
        assert_eq!(other.delivered(), [b"x"]);
    }
    assert!(court.count("govern.asked") <= asked + 1, "none of theirs is answered");
    court.brake.set(false);
    for client in &mut waiting {
        for request in 1..4 {
            assert_eq!(answer(client, request), Ok(()));
        }
    }
    assert_eq!(court.count("govern.waiting"), 0);
    stop(court.hub);
}

#[test]
fn a_session_that_ends_while_it_waits_leaves_nothing_behind() {
    let court = Court::start(options("hub", None), &[("all", everything("test"))]);
    court.brake.set(true);
    for n in 0..50 {
        let mut client = Raw::connect(&court.hub, 10 + n);
        client.publish(1, AckLevel::Routed, "slow/a", &[b"x"]);
    }
    let mut other = Raw::connect(&court.hub, 1);
    while court.count("clients") > 1 {
        other.round_trip();
    }
    court.brake.set(false);
    assert_eq!(publish(&mut other, 1, "t/a"), Ok(()));
    drop(other);
    while court.count("govern.in_use") > 0 {
        std::thread::yield_now();
    }
    assert_eq!(court.count("govern.waiting"), 0);
    stop(court.hub);
}

#[test]
fn a_mapped_topic_is_asked_about_as_what_it_becomes() {
    let rules = [
        ("named", Rule::allow("test", &["publish"], "orders/**")),
        ("become", Rule::allow("test", &["publish"], "eu/orders/new")),
    ];
    let mut options = options("hub", None);
    let to = vec![(Some("eu/orders/{1}".to_owned()), 1)];
    let spec = MappingSpec { from: "orders/*".to_owned(), to, ..MappingSpec::default() };
    options.mapping = Mappings::new(&[spec]).expect("a rule");
    let court = Court::start(options, &rules);
    let mut client = Raw::connect(&court.hub, 1);
    assert_eq!(publish(&mut client, 1, "orders/new"), Ok(()));
    let detail = denied(publish(&mut client, 2, "orders/old"));
    assert!(detail.contains("`orders/old` becomes `eu/orders/old`"), "{detail}");
    // Without the rules of the mapping the name that the client gives is what it is.
    court.hub.set_mapping(Mappings::default()).expect("there is room");
    let mut request = 3;
    while publish(&mut client, request, "orders/old").is_err() {
        request += 1;
    }
    stop(court.hub);
}

#[test]
fn requests_and_replies_have_rights_of_their_own() {
    let rules = [
        ("ask", Rule::allow("asker", &["request"], "q/*")),
        ("hear", Rule::allow("*", &["subscribe"], "q/*")),
        ("answer", Rule::allow("answerer", &["reply"], "q/*")),
    ];
    let court = Court::start(options("hub", None), &rules);
    let mut asker = Raw::connect_as(&court.hub, 1, "asker");
    let inbox = asker.address.inbox();
    asker.subscribe(weft_wire::frame::REPLY_INBOX.0, &inbox);
    assert!(denied(publish(&mut asker, 1, "q/a")).contains("may not publish"));
    let [mut listener, mut answerer] = ["listener", "answerer"].map(|name| Raw::connect_as(&court.hub, 2, name));
    listener.subscribe(1, "q/*");
    answerer.subscribe(1, "q/*");
    let request = crate::common::build(&BlockFields { flags: REQUEST, ..BlockFields::new("q/a") }, &[b"x"]);
    asker.publish_block(2, AckLevel::Routed, &request);
    assert_eq!(answer(&mut asker, 2), Ok(()));
    let to = asker.address.topic(7);
    assert_eq!((listener.delivered(), answerer.delivered()), (vec![b"x".to_vec()], vec![b"x".to_vec()]));
    let detail = denied(publish(&mut listener, 3, &to));
    assert!(detail.contains("`listener` may not answer"), "{detail}");
    assert_eq!(publish(&mut answerer, 3, &to), Ok(()));
    assert_eq!(asker.delivered(), [b"x"]);
    court.change(&[("answer", None)]);
    let mut request = 4;
    while publish(&mut answerer, request, &to).is_ok() {
        asker.delivered();
        request += 1;
    }
    stop(court.hub);
}

#[test]
fn streams_are_made_read_and_deleted_by_who_may_and_a_membership_ends_with_the_right() {
    let rules = [
        ("owner", everything("owner")),
        ("reader", Rule::allow("reader", &["consume", "subscribe"], "t/**")),
        ("writer", Rule::allow("writer", &["publish", "administer"], "t/**")),
    ];
    let data = tempfile::tempdir().expect("a folder");
    let court = Court::start(options("hub", Some(data.path())), &rules);
    let [mut owner, mut reader, mut writer] =
        ["owner", "reader", "writer"].map(|name| Raw::connect_as(&court.hub, 0, name));
    let stream = |name| StreamSpec { name, filters: vec!["t/**"], segment_bytes: 4 << 20, ..StreamSpec::default() };
    let create = |client: &mut Raw, request, spec| {
        client.send(&Frame::StreamCreate(StreamCreate { request, spec }));
        answer(client, request)
    };
    assert!(denied(create(&mut reader, 1, stream("all"))).contains("administer stream `all`"));
    assert!(denied(create(&mut writer, 1, stream("all"))).contains("may not subscribe topic `t/**`"));
    assert_eq!(create(&mut owner, 1, stream("all")), Ok(()));
    reader.send(&Frame::StreamDelete(StreamDelete { request: 2, name: "all" }));
    assert!(denied(answer(&mut reader, 2)).contains("may not administer stream `all`"));
    writer.publish(3, AckLevel::Synced, "t/a", &[b"x"]);
    assert_eq!(answer(&mut writer, 3), Ok(()));
    reader.subscribe_with(5, "t/a", |s| (s.stream, s.start) = ("all", weft_wire::frame::Start::First));
    assert_eq!(answer(&mut reader, 5), Ok(()));
    assert_eq!(reader.delivered(), [b"x"]);
    writer.subscribe_with(5, "t/a", |s| s.stream = "all");
    assert!(denied(answer(&mut writer, 5)).contains("may not consume stream `all`"));
    owner.create_consumer(spec("c"));
    reader.consume(6, "c");
    assert_eq!(reader.handed().sequences().len(), 1);
    court.change(&[("shut", Some(Rule::forbid("reader", &["consume"], "**")))]);
    let mut ended = Vec::new();
    while ended.len() < 2 {
        if let Frame::Error(error) = reader.receive().frame() {
            assert_eq!(error.code, ErrorCode::DENIED);
            assert!(error.detail.contains("by rule shut"), "{}", error.detail);
            ended.push(error.request);
        }
    }
    ended.sort_unstable();
    assert_eq!(ended, [5, 6]);
    owner.send(&Frame::StreamDelete(StreamDelete { request: 9, name: "all" }));
    assert_eq!(answer(&mut owner, 9), Ok(()));
    stop(court.hub);
}

#[test]
fn a_hub_without_a_judge_asks_nobody() {
    let hub = crate::common::start(options("hub", None));
    let mut client = Raw::connect(&hub, 1);
    client.subscribe(1, "**");
    assert_eq!(publish(&mut client, 2, "t/a"), Ok(()));
    assert!(hub.counters().list().iter().all(|(name, _)| !name.starts_with("govern.")));
    stop(hub);
}

#[test]
fn with_states_that_come_fast_all_answers_are_looked_at_again() {
    let court = Court::start(options("hub", None), &[("all", everything("test"))]);
    let mut client = Raw::connect(&court.hub, 1);
    for n in 0..500 {
        client.publish(0, AckLevel::None, &format!("t/{n}"), &[b"x"]);
    }
    client.round_trip();
    for n in 0..200 {
        let name = format!("p{n}");
        court.change(&[(name.as_str(), Some(Rule::forbid("test", &["publish"], &format!("t/{n}"))))]);
    }
    let mut request = 1;
    for n in 0..200 {
        while publish(&mut client, request, &format!("t/{n}")).is_ok() {
            request += 1;
        }
        request += 1;
    }
    for n in 200..500 {
        assert_eq!(publish(&mut client, request, &format!("t/{n}")), Ok(()));
        request += 1;
    }
    stop(court.hub);
}

#[test]
fn a_number_in_use_is_refused_and_what_it_stands_on_stays() {
    let court = Court::start(options("hub", None), &[("all", everything("test"))]);
    let mut client = Raw::connect(&court.hub, 1);
    client.subscribe(1, "t/a");
    client.subscribe_with(1, "t/b", |_| {});
    assert_eq!(answer(&mut client, 1).expect_err("in use").0, ErrorCode::IN_USE);
    court.change(&[("shut", Some(Rule::forbid("*", &["subscribe"], "t/a")))]);
    assert!(denied(answer(&mut client, 1)).contains("topic `t/a`: by rule shut"));
    client.subscribe(1, "t/b");
    stop(court.hub);
}

#[test]
fn a_session_at_another_hub_is_asked_about_where_its_client_is_and_ended_there() {
    let ca = authority();
    let data = tempfile::tempdir().expect("a folder");
    let mut options = member(&ca, "home", "127.0.0.1:0", &[]);
    options.data = Some(data.path().to_owned());
    // Whoever came there by itself would be refused everything.
    let home = Court::start(options, &[]);
    let near = member(&ca, "near", "127.0.0.1:0", &[("home", link_addr(&home.hub))]);
    let near = Court::start(near, &[("all", everything("*")), ("t", Rule::allow("*", &["consume"], "t/**"))]);
    let mut client = Raw::connect(&near.hub, 0);
    until(&mut client, "the home is there", |r| r.hubs.iter().filter(|h| h.reachable).count() == 2);
    create(&mut client, stream("all", &["home"]));
    let mut request = 1;
    loop {
        client.publish(request, AckLevel::Synced, "t/a", &[b"x"]);
        match answer(&mut client, request) {
            Ok(()) => break,
            Err((code, detail)) => assert!(code != ErrorCode::DENIED, "{detail}"),
        }
        request += 1;
    }
    client.subscribe_with(5, "t/a", |s| (s.stream, s.start) = ("all", weft_wire::frame::Start::First));
    assert_eq!(answer(&mut client, 5), Ok(()));
    assert_eq!(client.delivered(), [b"x"]);
    let mut refused = Raw::connect(&home.hub, 0);
    assert!(denied(publish(&mut refused, 1, "t/a")).contains("no rule allows it"));
    near.change(&[("shut", Some(Rule::forbid("*", &["subscribe"], "t/a")))]);
    assert!(denied(answer(&mut client, 5)).contains("by rule shut"));
    // What comes now is not for it.
    client.publish(100, AckLevel::Synced, "t/a", &[b"y"]);
    assert_eq!(answer(&mut client, 100), Ok(()));
    client.subscribe_with(6, "t/a", |s| s.stream = "all");
    assert!(denied(answer(&mut client, 6)).contains("by rule shut"));
    stop(near.hub);
    stop(home.hub);
}

#[test]
fn a_server_beside_the_hub_asks_the_same_judge_and_is_counted_with_the_rest() {
    let court = Court::start(options("hub", None), &[("may", Rule::allow("test", &["observe"], "t/**"))]);
    let aside = court.hub.aside();
    let ask = |action: Action, filter: &str| {
        let principal = Principal { tenant: None, name: "test".into(), roles: [].into(), method: Method::Certificate };
        let resource = Resource::Topic(Filter::parse(filter).expect("a filter"));
        let (said, heard) = std::sync::mpsc::channel();
        let ask = Ask { principal: Arc::new(principal), action, resource, lane: None };
        aside.judge(Arc::new(ask), Box::new(move |verdict| drop(said.send(verdict)))).expect("there is room");
        heard.recv().expect("an answer")
    };
    assert!(aside.is_judged());
    assert!(ask(Action::Observe, "t/a").allowed);
    let denied = ask(Action::Administer, "t/a");
    assert!(!denied.allowed && !denied.reason.is_empty());
    assert_eq!((court.count("govern.asked"), court.count("govern.denied")), (2, 1));
    assert_eq!(court.count("govern.in_use"), 0, "nothing is kept of who is no session");
    // Without a control state nothing is changed, and nothing waits for an answer.
    assert!(!aside.is_governed());
    let (said, heard) = std::sync::mpsc::channel::<()>();
    let author = Principal { tenant: None, name: "test".into(), roles: [].into(), method: Method::Administrator };
    let wanted = Apply {
        id: ChangeId(1),
        puts: Vec::new(),
        deletes: Vec::new(),
        prune: None,
        expects: Vec::new(),
        dry_run: true,
    };
    aside
        .change((Arc::new(author), true, "192.0.2.1:1".to_owned()), wanted, Box::new(move |_| drop(said)))
        .expect_err("there is none");
    heard.recv().expect_err("it was let go");
    stop(court.hub);
}
