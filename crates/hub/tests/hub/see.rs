//! Where events went, asked of real hubs over real links.

use crate::common::mesh::{authority, knows_interest, line, link_addr, member, until};
use crate::common::{Raw, start, stop};
use weft_base::{Epoch, HubId, Lane, ProducerId};
use weft_hub::Hub;
use weft_hub::options::Location;
use weft_wire::frame::{AckLevel, Ask, ErrorCode, Frame, SeeWhat, Survey, TopicPage, facts, surveyed};

/// What a hub said: its name, whether it answered, and its facts.
type Said = (String, bool, Vec<(String, String, u64)>);

fn question(what: SeeWhat) -> Ask<'static> {
    let (origin, epoch, producer) = (HubId(0), Epoch(0), ProducerId(0));
    Ask {
        request: 77,
        what,
        wait_ms: 10_000,
        topic: "",
        origin,
        epoch,
        producer,
        sequence: 0,
        page: TopicPage::default(),
    }
}

/// Asks, and gathers what comes until the last.
fn ask(client: &mut Raw, question: Ask<'_>) -> Vec<Said> {
    client.send(&Frame::Ask(question));
    gathered(client, question.request)
}

/// What hubs say to a request, until the last.
fn gathered(client: &mut Raw, request: u64) -> Vec<Said> {
    let mut all = Vec::new();
    loop {
        let received = client.receive();
        let Frame::Told(told) = received.frame() else { panic!("no answer: {:?}", received.frame()) };
        assert_eq!(told.request, request);
        for hub in told.hubs {
            let facts = hub.facts.iter().map(|f| (f.name.to_owned(), f.text.to_owned(), f.value)).collect();
            all.push((hub.name.to_owned(), hub.answered, facts));
        }
        if !told.more {
            return all;
        }
    }
}

fn of<'a>(said: &'a [Said], hub: &str) -> &'a Said {
    said.iter().find(|(name, ..)| name == hub).unwrap_or_else(|| panic!("{hub} is not in {said:?}"))
}

fn number(said: &Said, fact: &str) -> u64 {
    said.2.iter().find(|(name, ..)| name == fact).map_or(0, |(.., value)| *value)
}

fn text<'a>(said: &'a Said, fact: &str) -> &'a str {
    said.2.iter().find(|(name, ..)| name == fact).map_or("", |(_, text, _)| text)
}

/// A publisher at the beginning of the line, a subscriber at its end, and a block of two events
/// published: with the sequence of the first, which other hubs' messages may have moved.
fn published(hubs: &[Hub; 3]) -> (Raw, Raw, u64) {
    let (mut publisher, mut subscriber) = (Raw::connect(&hubs[0], 1), Raw::connect(&hubs[2], 2));
    subscriber.subscribe(1, "flights/**");
    until(&mut publisher, "the filter is known", |report| knows_interest(report, "los-angeles", 1));
    publisher.publish(1, AckLevel::Routed, "flights/1", &[b"a", b"b"]);
    let answer = publisher.receive();
    let Frame::Ack(ack) = answer.frame() else { panic!("not an acknowledgement: {:?}", answer.frame()) };
    assert!(matches!(subscriber.receive().frame(), Frame::Deliver(_)));
    (publisher, subscriber, ack.sequence)
}

#[test]
fn an_event_is_found_at_every_hub_that_it_crossed_with_what_became_of_it() {
    let hubs = line(&authority());
    let (mut publisher, _subscriber, first) = published(&hubs);
    let by_entry = Ask { origin: hubs[0].identity().id, sequence: first + 1, ..question(SeeWhat::Event) };
    let by_producer = Ask { producer: ProducerId(1), sequence: 1, ..question(SeeWhat::Event) };
    for asked in [by_entry, by_producer] {
        // The end of a write may be counted after the subscriber has read it.
        let said = (0..2_000)
            .map(|_| ask(&mut publisher, asked))
            .find(|said| said.iter().all(|hub| number(hub, facts::FOUND) == 1 && number(hub, facts::IN_FLIGHT) == 0))
            .expect("all hubs have seen it to its end");
        let [entry, transit, end] = ["new-york", "chicago", "los-angeles"].map(|name| of(&said, name));
        assert_eq!(
            (number(entry, facts::EVENTS), number(entry, facts::ORIGIN), text(entry, facts::ORIGIN)),
            (2, first, "new-york")
        );
        assert_eq!(
            (text(entry, facts::FROM), text(transit, facts::FROM), text(end, facts::FROM)),
            ("", "new-york", "chicago")
        );
        assert_eq!(
            (text(entry, facts::SENT_TO), text(transit, facts::SENT_TO), text(end, facts::SENT_TO)),
            ("chicago", "los-angeles", "")
        );
        let became = |hub| (number(hub, facts::COPIES), number(hub, facts::FORWARDED), number(hub, facts::DELIVERED));
        assert_eq!((became(entry), became(transit), became(end)), ((2, 2, 0), (2, 2, 0), (2, 0, 2)));
        assert!(number(entry, facts::CAME_AT) <= number(entry, facts::ROUTED_AT));
        // A stage that has it after another reads the clock after it.
        for (hub, ended) in [(entry, facts::SENT_AT), (transit, facts::SENT_AT), (end, facts::DELIVERED_AT)] {
            assert!(number(hub, ended) > number(hub, facts::ROUTED_AT), "{ended} of {hub:?}");
        }
    }
    hubs.into_iter().for_each(stop);
}

#[test]
fn an_event_that_the_window_has_no_more_is_not_known_and_its_reach_is_told() {
    let ca = authority();
    let mut options = member(&ca, "east", "127.0.0.1:0", &[]);
    options.see.window = 4;
    let hub = start(options);
    let mut client = Raw::connect(&hub, 1);
    for request in 1..=9 {
        client.publish_acked(request, AckLevel::Routed, "a", &[b"x"]);
    }
    let asked = |sequence| Ask { origin: hub.identity().id, sequence, ..question(SeeWhat::Event) };
    let said = ask(&mut client, asked(9));
    assert_eq!((number(&said[0], facts::FOUND), number(&said[0], "dropped.no_interest")), (1, 1));
    let said = ask(&mut client, asked(5));
    assert_eq!((number(&said[0], facts::FOUND), number(&said[0], facts::WINDOW)), (0, 4));
    assert!(number(&said[0], facts::REACHES_BACK) > 0);
    stop(hub);
}

#[test]
fn each_hub_says_its_ledger_and_where_an_event_would_go() {
    let hubs = line(&authority());
    let (mut publisher, _subscriber, _) = published(&hubs);
    let said = ask(&mut publisher, question(SeeWhat::Ledger));
    assert!(said.iter().all(|(_, answered, _)| *answered) && said.len() == 3, "{said:?}");
    assert_eq!(said[0].0, "new-york", "the asked hub comes first");
    assert_eq!((number(&said[0], "ledger.published"), number(of(&said, "chicago"), "ledger.received")), (2, 2));
    let said = ask(&mut publisher, Ask { topic: "flights/2", ..question(SeeWhat::Topic) });
    let here = of(&said, "new-york");
    assert_eq!(
        (text(here, facts::TO), text(here, facts::VIA), number(here, facts::VIA)),
        ("los-angeles", "chicago", 2)
    );
    assert_eq!(number(of(&said, "los-angeles"), facts::LOCAL), 1);
    assert_eq!(number(&ask(&mut publisher, question(SeeWhat::Ledger))[0], "ledger.published"), 2, "nothing was sent");
    hubs.into_iter().for_each(stop);
}

#[test]
fn each_hub_says_how_much_it_sent_over_each_link_and_where_it_is() {
    let ca = authority();
    let west = start(member(&ca, "west", "127.0.0.1:0", &[]));
    let mut options = member(&ca, "east", "127.0.0.1:0", &[("west", link_addr(&west))]);
    options.location = Location::new(40.5, -73.25);
    let east = start(options);
    let (mut publisher, mut subscriber) = (Raw::connect(&east, 1), Raw::connect(&west, 2));
    subscriber.subscribe(1, "flights/**");
    until(&mut publisher, "the filter is known", |report| knows_interest(report, "west", 1));
    publisher.publish(1, AckLevel::Routed, "flights/1", &[b"a", b"b"]);
    assert!(matches!(publisher.receive().frame(), Frame::Ack(_)));
    assert!(matches!(subscriber.receive().frame(), Frame::Deliver(_)));
    // What is written is counted after it was written, and each stage says how it is by turns.
    let is_there = |said: &Said| {
        let has = |name: &str, least: u64| said.2.iter().any(|fact| fact.0 == name && fact.2 >= least);
        has("ledger.published", 2) && has("ledger.forwarded", 2) && has("wait.route", 0)
    };
    let said = (0..2_000)
        .map(|_| ask(&mut publisher, question(SeeWhat::Pulse)))
        .find(|said| is_there(of(said, "east")))
        .expect("it was forwarded");
    let (here, there) = (of(&said, "east"), of(&said, "west"));
    assert_eq!((text(here, facts::PLACE), text(there, facts::PLACE)), ("40.5,-73.25", ""));
    let flow = |said: &Said, to: &str, what: &str| {
        said.2.iter().find(|fact| fact.0 == format!("flow.{what}") && fact.1 == to).map_or(0, |fact| fact.2)
    };
    let lane = Lane::DEFAULT.get().to_string();
    assert!(flow(here, "west", &lane) >= 2 && flow(here, "west", "bytes") > 0, "{here:?}");
    assert!(flow(here, "west", "8") == 0 && flow(there, "west", "bytes") == 0, "{said:?}");
    assert_eq!(number(here, "ledger.published"), 2);
    let counters = ask(&mut publisher, Ask { origin: HubId::of_name("west"), ..question(SeeWhat::Counters) });
    assert!(number(of(&counters, "west"), "counter.ledger.delivered") >= 2, "{counters:?}");
    assert_eq!(of(&counters, "east").2.len(), 1, "its clock alone");
    [west, east].into_iter().for_each(stop);
}

#[test]
fn a_hub_that_cannot_be_reached_is_named_and_what_is_no_topic_is_answered() {
    let ca = authority();
    let west = start(member(&ca, "west", "127.0.0.1:0", &[]));
    let east = start(member(&ca, "east", "127.0.0.1:0", &[("west", link_addr(&west))]));
    let mut client = Raw::connect(&east, 1);
    until(&mut client, "west is there", |report| knows_interest(report, "west", 0));
    stop(west);
    until(&mut client, "west is gone", |report| report.hubs.iter().any(|hub| hub.name == "west" && !hub.reachable));
    let said = ask(&mut client, question(SeeWhat::Ledger));
    let answered: Vec<(&str, bool)> = said.iter().map(|(name, answered, _)| (name.as_str(), *answered)).collect();
    assert_eq!(answered, [("east", true), ("west", false)]);
    let strange = Ask { topic: "not//a topic", ..question(SeeWhat::Topic) };
    assert_eq!(ask(&mut client, strange)[0].2.len(), 1, "its clock alone");
    stop(east);
}

#[test]
fn a_survey_says_of_every_hub_what_ways_are_found_by_and_what_it_wants() {
    let ca = authority();
    let hubs = line(&ca);
    let (mut client, mut subscriber) = (Raw::connect(&hubs[0], 1), Raw::connect(&hubs[2], 2));
    subscriber.subscribe(1, "flights/**");
    until(&mut client, "the filter is known", |report| knows_interest(report, "los-angeles", 1));
    client.send(&Frame::Survey(Survey { request: 5 }));
    let said = gathered(&mut client, 5);
    assert_eq!(said.iter().filter(|(_, reachable, _)| *reachable).count(), 3);
    let (own, middle, end) = (of(&said, "new-york"), of(&said, "chicago"), of(&said, "los-angeles"));
    let links = |said: &Said| -> Vec<String> {
        let links = said.2.iter().filter(|(name, ..)| name == surveyed::LINK);
        let mut links: Vec<String> = links.map(|(_, text, _)| text.clone()).collect();
        links.sort();
        links
    };
    assert_eq!(links(middle), ["los-angeles", "new-york"]);
    assert_eq!((links(own), links(end)), (vec!["chicago".to_owned()], vec!["chicago".to_owned()]));
    assert!(number(own, surveyed::RTT) > 0 && number(end, surveyed::HOPS) == 2);
    assert_eq!((number(own, surveyed::WEIGHT_RTT), number(middle, surveyed::WEIGHT_RTT)), (100, 0));
    assert_eq!((text(end, surveyed::WANTS), text(middle, surveyed::WANTS)), ("flights/**", ""));
    hubs.into_iter().for_each(stop);
}

/// The facts of a name that a hub says: texts and numbers, in order.
fn all<'a>(said: &'a Said, fact: &str) -> Vec<(&'a str, u64)> {
    said.2.iter().filter(|(name, ..)| name == fact).map(|(_, text, value)| (text.as_str(), *value)).collect()
}

#[test]
fn each_hub_says_who_publishes_what_there_by_pages_until_the_session_ends() {
    let hubs = line(&authority());
    let (mut east, mut west) =
        (Raw::connect_as(&hubs[0], 1, "gate-1"), Raw::connect_as(&hubs[2], 2, "<b>gate-2</b>\u{1b}[2J"));
    for (request, topic) in [(1, "flights/2"), (2, "flights/1"), (3, "flights/2"), (4, "orders/1")] {
        east.publish_acked(request, AckLevel::Routed, topic, &[b"a", b"b"]);
    }
    west.publish_acked(1, AckLevel::Routed, "flights/1", &[b"x"]);
    let mut client = Raw::connect(&hubs[1], 3);
    until(&mut client, "all are there", |report| report.hubs.iter().filter(|hub| hub.reachable).count() == 3);
    let topics = |filter, page| Ask { topic: filter, page, ..question(SeeWhat::Topics) };
    let every = TopicPage::default();
    let said = ask(&mut client, topics("", every));
    let here = of(&said, "new-york");
    assert_eq!(all(here, facts::PUBLISHED), [("flights/1", 1), ("flights/2", 1), ("orders/1", 1)]);
    assert_eq!(all(here, facts::BY), [("gate-1", 2), ("gate-1", 4), ("gate-1", 2)]);
    assert!(all(here, facts::LAST_AT).iter().all(|(_, at)| *at > 0), "{here:?}");
    let there = of(&said, "los-angeles");
    assert_eq!(
        (all(there, facts::PUBLISHED), all(there, facts::BY)[0].0),
        (vec![("flights/1", 1)], "<b>gate-2</b>\u{1b}[2J")
    );
    assert!(said.iter().all(|(_, answered, _)| *answered) && all(of(&said, "chicago"), facts::PUBLISHED).is_empty());

    let first = ask(&mut client, topics("flights/**", TopicPage { most: 1, ..every }));
    let first = of(&first, "new-york");
    assert_eq!((all(first, facts::PUBLISHED)[0].0, number(first, facts::MORE)), ("flights/1", 1));
    let rest = ask(&mut client, topics("flights/**", TopicPage { after: "flights/1", ..every }));
    let rest = of(&rest, "new-york");
    assert_eq!((all(rest, facts::PUBLISHED), number(rest, facts::MORE)), (vec![("flights/2", 1)], 0));
    let found = ask(&mut client, topics("", TopicPage { search: "s/1", ..every }));
    assert_eq!(all(of(&found, "new-york"), facts::PUBLISHED), [("flights/1", 1), ("orders/1", 1)]);
    client.send(&Frame::Ask(topics("flights//", every)));
    let refused = client.receive();
    let Frame::Error(error) = refused.frame() else { panic!("not refused: {:?}", refused.frame()) };
    assert_eq!((error.request, error.code), (77, ErrorCode::BAD_FILTER));

    drop(east);
    let gone = (0..2_000).map(|_| ask(&mut client, topics("", every))).find(|said| {
        said.iter().all(|(_, answered, _)| *answered) && all(of(said, "new-york"), facts::PUBLISHED).is_empty()
    });
    let gone = gone.expect("what ended sessions published is not told of");
    assert_eq!(all(of(&gone, "los-angeles"), facts::PUBLISHED), [("flights/1", 1)]);
    hubs.into_iter().for_each(stop);
}
