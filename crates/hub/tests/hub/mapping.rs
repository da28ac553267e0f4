//! The mapping of topics where clients of a hub publish, at real hubs.

use crate::common::mesh::{authority, knows_interest, line, link_addr, member, until};
use crate::common::{Raw, build, options, start, stop};
use weft_base::{HubId, ProducerId};
use weft_hub::{Hub, HubOptions};
use weft_topic::Topic;
use weft_topic::mapping::{By, Entered, MappedTopic, MappingSpec, Mappings};
use weft_wire::block::layout::REQUEST;
use weft_wire::block::{Block, BlockFields};
use weft_wire::frame::StreamSpec;
use weft_wire::frame::{AckLevel, Ask, ErrorCode, Frame, LiveAsk, LiveScope, MeshReport, SeeWhat, TopicPage, facts};

fn rule(from: &str, to: &[(&str, u32)]) -> MappingSpec {
    let to = to.iter().map(|(to, weight)| ((!to.is_empty()).then(|| (*to).to_owned()), *weight)).collect();
    MappingSpec { from: from.to_owned(), to, ..MappingSpec::default() }
}

fn rules(specs: &[MappingSpec]) -> Mappings {
    Mappings::new(specs).unwrap_or_else(|error| panic!("{error}"))
}

fn mapped(mut options: HubOptions, specs: &[MappingSpec]) -> HubOptions {
    options.mapping = rules(specs);
    options
}

/// The topic and the first payload of the next delivery.
fn delivered(subscriber: &mut Raw) -> (String, String) {
    let received = subscriber.receive();
    let Frame::Deliver(deliver) = received.frame() else { panic!("not a delivery: {:?}", received.frame()) };
    let block = Block::validate(deliver.block).expect("the hub delivers sound blocks");
    let payload = block.events().next().expect("an event").payload.to_vec();
    (block.topic().to_owned(), String::from_utf8(payload).expect("text"))
}

fn count(report: &MeshReport<'_>, name: &str) -> u64 {
    report.counters.iter().find(|counter| counter.name == name).map_or(0, |counter| counter.value)
}

/// Publishes what must be refused.
fn refused(publisher: &mut Raw, level: AckLevel, topic: &str) -> (ErrorCode, String) {
    publisher.publish(9, level, topic, &[b"x"]);
    let received = publisher.receive();
    let Frame::Error(error) = received.frame() else { panic!("not refused: {:?}", received.frame()) };
    assert_eq!(error.request, 9);
    (error.code, error.detail.to_owned())
}

fn make_stream(maker: &mut Raw, name: &str, filter: &str) {
    let spec = StreamSpec { name, filters: vec![filter], segment_bytes: 4 << 20, ..StreamSpec::default() };
    maker.create_stream(spec);
}

#[test]
fn what_clients_publish_is_mapped_once_where_it_enters_and_known_by_that_name_everywhere() {
    let ca = authority();
    // Both hubs would map: what comes from another hub is left as it is.
    let specs = [rule("orders/**", &[("eu/orders/{rest}", 1)]), rule("**", &[("eu/{rest}", 1)])];
    let west = start(mapped(member(&ca, "west", "127.0.0.1:0", &[]), &specs));
    let east = start(mapped(member(&ca, "east", "127.0.0.1:0", &[("west", link_addr(&west))]), &specs));
    let (mut publisher, mut here, mut far) = (Raw::connect(&east, 1), Raw::connect(&east, 2), Raw::connect(&west, 3));
    here.subscribe(1, "eu/orders/*/created");
    far.subscribe(1, "**");
    until(&mut publisher, "the filter is known", |report| knows_interest(report, "west", 1));
    publisher.publish_acked(1, AckLevel::Routed, "orders/7/created", &[b"a", b"b"]);
    publisher.publish_acked(2, AckLevel::Routed, "bills", &[b"c"]);
    let expected = ("eu/orders/7/created".to_owned(), "a".to_owned());
    assert_eq!(delivered(&mut here), expected);
    assert_eq!(delivered(&mut far), expected);
    assert_eq!(delivered(&mut far), ("eu/bills".to_owned(), "c".to_owned()));
    // What comes again is the same event.
    let again =
        build(&BlockFields { producer: ProducerId(1), first_sequence: 3, ..BlockFields::new("bills") }, &[b"c"]);
    publisher.publish_block(3, AckLevel::Routed, &again);
    assert!(matches!(publisher.receive().frame(), Frame::Ack(_)));
    publisher.publish_acked(4, AckLevel::Routed, "end", &[b"d"]);
    assert_eq!(delivered(&mut far), ("eu/end".to_owned(), "d".to_owned()), "each once");
    for (hub, published, mapped) in [(&east, 4, [2, 3]), (&west, 0, [0, 0])] {
        let mut asking = Raw::connect(hub, 9);
        until(&mut asking, "all is counted", |report| {
            count(report, "ledger.balanced") == 1
                && count(report, "ledger.published") == published
                && [count(report, "mapping.1.matched"), count(report, "mapping.2.matched")] == mapped
        });
    }
    for hub in [east, west] {
        stop(hub);
    }
}

#[test]
fn reserved_topics_are_left_alone_and_requests_unless_a_rule_says_so() {
    let mut with_requests = rule("v1/*", &[("v2/{1}", 1)]);
    with_requests.requests = true;
    let hub = start(mapped(options("hub", None), &[with_requests, rule("**", &[("all/{rest}", 1)])]));
    let (mut client, mut subscriber) = (Raw::connect(&hub, 1), Raw::connect(&hub, 2));
    subscriber.subscribe(1, "**");
    let request = |topic, first_sequence| {
        let producer = ProducerId(1);
        build(&BlockFields { flags: REQUEST, producer, first_sequence, ..BlockFields::new(topic) }, &[b"?"])
    };
    for (number, asked, arrives) in [(1, "jobs", "jobs"), (2, "v1/jobs", "v2/jobs")] {
        client.publish_block(number, AckLevel::Routed, &request(asked, number));
        assert!(matches!(client.receive().frame(), Frame::Ack(_)));
        assert_eq!(delivered(&mut subscriber).0, arrives);
    }
    // A reply goes to the address that it names.
    let (inbox, reply_to) = (client.address.inbox(), client.address.topic(9));
    client.subscribe(weft_wire::frame::REPLY_INBOX.0, &inbox);
    subscriber.publish(1, AckLevel::None, &reply_to, &[b"!"]);
    assert_eq!(delivered(&mut client), (reply_to, "!".to_owned()));
    stop(hub);
}

#[test]
fn shares_are_kept_by_numbers_and_a_dropped_one_is_counted() {
    let shares = [("new/{rest}", 25), ("old/{rest}", 50), ("", 25)];
    let hub = start(mapped(options("hub", None), &[rule("t/**", &shares)]));
    let (mut publisher, mut subscriber) = (Raw::connect(&hub, 1), Raw::connect(&hub, 2));
    subscriber.subscribe(1, "**");
    for number in 0..400_u64 {
        publisher.publish_acked(number, AckLevel::Routed, "t/a", &[b"x"]);
    }
    let expected = || {
        let rule = rules(&[rule("t/**", &shares)]);
        let topic = Topic::parse("t/a").expect("a topic");
        let of = |sequence| rule.rules()[0].choose(topic, Entered { producer: 1, sequence });
        let all: Vec<usize> = (1..=400).map(of).collect();
        [0, 1, 2].map(|share| all.iter().filter(|to| **to == share).count() as u64)
    };
    let [new, old, dropped] = expected();
    let mut got = [0; 2];
    for _ in 0..new + old {
        got[usize::from(delivered(&mut subscriber).0 == "old/a")] += 1;
    }
    assert_eq!(got, [new, old]);
    assert!(dropped > 60 && new > 60, "{dropped} dropped and {new} new of 400");
    until(&mut publisher, "all is counted", |report| {
        count(report, "ledger.balanced") == 1
            && count(report, "ledger.published") == 400
            && count(report, "ledger.dropped.mapped_away") == dropped
            && count(report, "mapping.1.dropped") == dropped
            && count(report, "ledger.dropped.no_interest") == 0
    });
    // Who asks for more than to be routed is told.
    let codes: Vec<ErrorCode> = (0..40).map(|_| refused(&mut publisher, AckLevel::Written, "t/a").0).collect();
    assert!(codes.contains(&ErrorCode::MAPPED_AWAY) && codes.contains(&ErrorCode::NO_STREAM), "{codes:?}");
    stop(hub);
}

#[test]
fn what_cannot_be_mapped_is_refused_with_the_rule_or_dropped_and_counted() {
    let mut named = rule("a/**", &[("{rest}", 1)]);
    named.name = "strip".to_owned();
    let hub = start(mapped(options("hub", None), &[named, rule("b/*", &[("{1}/{1}/{1}", 1)])]));
    let mut publisher = Raw::connect(&hub, 1);
    let (code, detail) = refused(&mut publisher, AckLevel::Routed, "a");
    assert_eq!(code, ErrorCode::UNMAPPABLE);
    assert!(detail.contains("rule strip of the hub's mapping (`a/**`)") && detail.contains("empty"), "{detail}");
    let (code, detail) = refused(&mut publisher, AckLevel::Synced, "a/_weft/x");
    assert!(code == ErrorCode::UNMAPPABLE && detail.contains("start with `_`"), "{detail}");
    let long = format!("b/{}", "x".repeat(500));
    let (code, detail) = refused(&mut publisher, AckLevel::Routed, &long);
    assert!(code == ErrorCode::UNMAPPABLE && detail.contains("rule 2") && detail.contains("1024"), "{detail}");
    let (code, detail) = refused(&mut publisher, AckLevel::Written, "a/where");
    assert!(code == ErrorCode::NO_STREAM && detail.contains("`where`"), "errors name the mapped topic: {detail}");
    publisher.publish(1, AckLevel::None, "a", &[b"x", b"y"]);
    until(&mut publisher, "it is counted", |report| {
        count(report, "ledger.dropped.unmappable") == 2
            && count(report, "mapping.strip.refused") == 4
            && count(report, "mapping.2.refused") == 1
            && count(report, "ledger.balanced") == 1
    });
    stop(hub);
}

#[test]
fn streams_take_what_topics_became_and_each_partition_keeps_the_order_of_its_keys() {
    let data = tempfile::tempdir().expect("a folder");
    let specs = [rule("orders/*/*", &[("orders/{partition(4, 1)}/{1}/{2}", 1)])];
    let hub = start(mapped(options("hub", Some(data.path())), &specs));
    let mut publisher = Raw::connect(&hub, 1);
    make_stream(&mut publisher, "orders", "orders/*/*/*");
    let mut members: Vec<Raw> = (2..6).map(|producer| Raw::connect(&hub, producer)).collect();
    for (partition, member) in members.iter_mut().enumerate() {
        member.subscribe(1, &format!("orders/{partition}/**"));
    }
    for number in 0..60_u64 {
        let topic = format!("orders/customer-{}/placed", number % 12);
        publisher.publish_acked(number, AckLevel::Synced, &topic, &[number.to_string().as_bytes()]);
    }
    let (mapping, mut name) = (rules(&specs), MappedTopic::new());
    let mut partition_of = |number: u64| -> usize {
        let topic = format!("orders/customer-{}/placed", number % 12);
        let topic = Topic::parse(&topic).expect("a topic");
        assert_eq!(mapping.rules()[0].apply(topic, 0, &mut name), Ok(true));
        name.split('/').nth(1).and_then(|level| level.parse().ok()).expect("a number")
    };
    let mut expected: [Vec<u64>; 4] = Default::default();
    (0..60).for_each(|number| expected[partition_of(number)].push(number));
    for (member, expected) in members.iter_mut().zip(expected) {
        assert!(!expected.is_empty(), "every partition has some of twelve customers");
        let payload = |_: &u64| delivered(member).1.parse().expect("a number");
        let got: Vec<u64> = expected.iter().map(payload).collect();
        assert_eq!(got, expected, "in the order in which they were published");
    }
    stop(hub);
}

/// Gives a hub other rules, and waits until they are in force.
fn replace(hub: &Hub, asking: &mut Raw, specs: &[MappingSpec], shown: &str) {
    hub.set_mapping(rules(specs)).expect("there is room");
    until(asking, "the rules are in force", |report| report.counters.iter().any(|counter| counter.name == shown));
}

#[test]
fn rules_are_replaced_while_the_hub_runs_and_what_comes_again_goes_where_it_went() {
    let data = tempfile::tempdir().expect("a folder");
    let named = |name: &str, to: &str| MappingSpec { name: name.to_owned(), ..rule("t/*", &[(to, 1)]) };
    let hub = start(mapped(options("hub", Some(data.path())), &[named("first", "a/{1}")]));
    let (mut publisher, mut asking) = (Raw::connect(&hub, 1), Raw::connect(&hub, 2));
    make_stream(&mut publisher, "a", "a/*");
    make_stream(&mut publisher, "b", "b/*");
    let block = |first_sequence| {
        build(&BlockFields { producer: ProducerId(1), first_sequence, ..BlockFields::new("t/x") }, &[b"x"])
    };
    let mut send = |request: u64, first: u64| {
        publisher.publish_block(request, AckLevel::Synced, &block(first));
        let received = publisher.receive();
        assert!(matches!(received.frame(), Frame::Ack(_)), "{:?}", received.frame());
    };
    send(1, 1);
    replace(&hub, &mut asking, &[named("second", "b/{1}")], "mapping.second.matched");
    // Its answer was lost: it comes again, by the rules that it was mapped by.
    send(2, 1);
    send(3, 2);
    send(4, 1);
    send(5, 2);
    // And back, as when a plan is taken back.
    replace(&hub, &mut asking, &[named("third", "a/{1}")], "mapping.third.matched");
    for (request, first) in [(6, 1), (7, 2), (8, 3), (9, 2)] {
        send(request, first);
    }
    until(&mut asking, "each is stored once", |report| {
        count(report, "ledger.published") == 3
            && count(report, "duplicates.producer_blocks") == 6
            && count(report, "mapping.third.matched") == 1
            && count(report, "ledger.balanced") == 1
    });
    for (stream, expected) in [("a", 2), ("b", 1)] {
        let end = format!("{stream}/end");
        asking.publish_acked(1, AckLevel::Synced, &end, &[b"x"]);
        let mut reader = Raw::connect(&hub, 9);
        reader.subscribe_with(1, "**", |s| (s.stream, s.start) = (stream, weft_wire::frame::Start::First));
        assert!(matches!(reader.receive().frame(), Frame::Subscribed(_)));
        for _ in 0..expected {
            assert_eq!(delivered(&mut reader).0, format!("{stream}/x"));
        }
        assert_eq!(delivered(&mut reader).0, end, "nothing is there twice");
    }
    stop(hub);
}

#[test]
fn a_dry_trace_and_a_publishers_receipt_look_where_the_topic_goes() {
    let ca = authority();
    let [east, middle, west] = line(&ca);
    let shares = [("canary/{1}", 10), ("main/{1}", 80), ("", 10)];
    let neighbours = [("chicago", link_addr(&middle))];
    let entry = start(mapped(member(&ca, "entry", "127.0.0.1:0", &neighbours), &[rule("t/*", &shares)]));
    let (mut client, mut subscriber) = (Raw::connect(&entry, 1), Raw::connect(&middle, 2));
    subscriber.subscribe(1, "main/*");
    until(&mut client, "the filter is known", |report| knows_interest(report, "chicago", 1));
    let ask = Ask {
        request: 7,
        what: SeeWhat::Topic,
        wait_ms: 10_000,
        topic: "t/1",
        origin: HubId(0),
        epoch: weft_base::Epoch(0),
        producer: ProducerId(0),
        sequence: 0,
        page: TopicPage::default(),
    };
    client.send(&Frame::Ask(ask));
    let received = client.receive();
    let Frame::Told(told) = received.frame() else { panic!("no answer: {:?}", received.frame()) };
    let own: Vec<(&str, &str, u64)> = told.hubs[0].facts.iter().map(|f| (f.name, f.text, f.value)).collect();
    for fact in [
        (facts::MAPPED, "canary/1", 100),
        (facts::MAPPED, "main/1", 800),
        (facts::MAPPED, "", 100),
        (facts::TO, "chicago", 0),
    ] {
        assert!(own.contains(&fact), "{fact:?} in {own:?}");
    }
    let mut more = told.more;
    while more {
        let received = client.receive();
        let Frame::Told(told) = received.frame() else { panic!("no answer: {:?}", received.frame()) };
        more = told.more;
        for hub in told.hubs.iter().filter(|hub| hub.name == "chicago") {
            let local = hub.facts.iter().find(|fact| fact.name == facts::LOCAL).expect("it looks");
            assert_eq!(local.value, 1, "the other hubs look for what the topic became");
        }
    }
    let live = LiveAsk {
        request: 8,
        subscription: weft_base::SubscriptionId(0),
        topic: "t/1",
        scope: LiveScope::Count,
        count: 1,
        timeout_ms: 1_000,
        hubs: Vec::new(),
    };
    client.send(&Frame::LiveAsk(live));
    let received = client.receive();
    assert!(matches!(received.frame(), Frame::LiveReport(report) if report.met), "{:?}", received.frame());
    for hub in [entry, east, west, middle] {
        stop(hub);
    }
}

#[test]
fn by_topic_or_producer_a_share_is_the_same_for_all_of_it() {
    let by = |by| MappingSpec { by, ..rule("t/*", &[("a/{1}", 1), ("b/{1}", 1)]) };
    for (decides, fixed) in [(By::Topic, 1), (By::Producer, 0)] {
        let hub = start(mapped(options("hub", None), &[by(decides)]));
        let mut subscriber = Raw::connect(&hub, 99);
        subscriber.subscribe(1, "**");
        let mut went = std::collections::BTreeMap::new();
        for producer in 1..8 {
            let mut publisher = Raw::connect(&hub, producer);
            for topic in ["t/1", "t/2", "t/3", "t/4"] {
                publisher.publish_acked(1, AckLevel::Routed, topic, &[topic.as_bytes()]);
                let (to, _) = delivered(&mut subscriber);
                let key = if fixed == 1 { topic.to_owned() } else { producer.to_string() };
                let side = to.split('/').next().expect("a level").to_owned();
                assert_eq!(went.entry(key).or_insert_with(|| side.clone()), &side, "{decides:?}");
            }
        }
        let sides: std::collections::BTreeSet<&String> = went.values().collect();
        assert_eq!(sides.len(), 2, "{decides:?}: {went:?}");
        stop(hub);
    }
}
