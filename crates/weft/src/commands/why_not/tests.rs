//! Answers of hubs that are made up, and what is decided of them: a reason each.

use std::time::Duration;

use weft_base::HubId;
use weft_client::{Fact, HubSaid, facts};

use super::*;

fn fact(name: &str, text: &str, value: u64) -> Fact {
    Fact { name: name.to_owned(), text: text.to_owned(), value }
}

fn hub(name: &str, facts: Vec<Fact>) -> HubSaid {
    let (took, ahead_ns) = (Duration::ZERO, 0);
    HubSaid { hub: HubId::of_name(name), name: name.to_owned(), answered: true, took, ahead_ns, facts }
}

/// The way to a hub that is wanted there: east, middle, west.
fn mesh(of_west: Vec<Fact>) -> Vec<HubSaid> {
    let mut west = vec![fact(facts::INTEREST_TOLD, "", 3)];
    west.extend(of_west);
    let to_west = |via: &str, hops| {
        vec![fact(facts::TO, "west", 0), fact(facts::VIA, via, hops), fact(facts::WAY_RTT, "", 8_000_000)]
    };
    let mut east = vec![fact(facts::INTEREST_TOLD, "", 1), fact(facts::ENTRY, "", 1), fact(facts::LOCAL, "", 0)];
    east.extend(to_west("middle", 2));
    east.extend([fact(facts::INTEREST, "west", 3), fact(facts::VIA, "middle", 2), fact(facts::WAY_RTT, "", 8_000_000)]);
    let mut middle = vec![fact(facts::LOCAL, "", 0)];
    middle.extend(to_west("west", 1));
    vec![hub("east", east), hub("middle", middle), hub("west", west)]
}

fn subscription(filter: &str, more: &[Fact]) -> Vec<Fact> {
    let mut all = vec![
        fact(facts::CLIENT, "board", 5),
        fact(facts::SUBSCRIPTION, filter, 1),
        fact(facts::POLICY, "drop-oldest", 0),
    ];
    all.extend([fact(facts::CREDIT_EVENTS, "", 10), fact(facts::QUEUE, "", 64), fact(facts::GOT, "", 0)]);
    all.extend_from_slice(more);
    all
}

const ASKED: Asked<'static> = Asked { topic: "a/b", name: "board", at: None, from: None, deadline: None };

/// The codes of all reasons, those that stop it first.
fn codes(answer: &Answer) -> Vec<&'static str> {
    let all = answer.reasons.iter().chain(answer.places.iter().flat_map(|place| &place.reasons));
    all.map(|reason| reason.code).collect()
}

fn text(asked: &Asked<'_>, said: &[HubSaid]) -> String {
    let mut out = Vec::new();
    show(asked, &decide(asked, said), &mut out).expect("a Vec takes all");
    String::from_utf8(out).expect("text")
}

/// Puts a fact behind another one of a hub.
fn push(said: &mut [HubSaid], hub: &str, more: Vec<Fact>) {
    let hub = said.iter_mut().find(|said| said.name == hub).expect("a hub");
    hub.facts.splice(1..1, more);
}

#[test]
fn where_nothing_speaks_against_it_the_way_is_told_and_what_it_was_sent() {
    let said = mesh(subscription("a/*", &[fact(facts::GOT, "", 0)]));
    let answer = decide(&ASKED, &said);
    assert!(answer.reaches() && codes(&answer).is_empty(), "{answer:?}");
    assert_eq!(
        (answer.places[0].way.join(" "), answer.places[0].takes),
        ("east middle west".to_owned(), Duration::from_millis(4))
    );
    let text = text(&ASKED, &said);
    assert!(text.contains("nothing speaks against it; the way: east -> middle -> west, 4"), "{text}");
    assert!(
        text.starts_with("a/b, published at east, to `board`: gets there\n") && text.contains("sent nothing so far")
    );
}

#[test]
fn a_name_that_is_nowhere_is_told_with_names_like_it_and_where_it_was_looked_for() {
    let mut said = mesh(vec![fact(facts::ALIKE, "boards", 0)]);
    said.push(HubSaid { answered: false, ..hub("north", Vec::new()) });
    push(&mut said, "east", vec![fact(facts::UNREACHABLE, "north", 1_700_000_000_000_000_000)]);
    let answer = decide(&ASKED, &said);
    assert_eq!((answer.reaches(), codes(&answer)), (false, vec!["no_subscriber"]));
    let only = &answer.reasons[0];
    assert_eq!(only.remedy, "names like it: `boards` at west");
    assert!(
        only.what.contains("looked for at east, middle, west") && only.what.contains("it may be at north"),
        "{}",
        only.what
    );
    assert!(only.what.contains("north cannot be reached since 2023-"), "{}", only.what);
    let at = Asked { at: Some("north"), ..ASKED };
    assert!(decide(&at, &said).reasons[0].what.starts_with("`north`, where `board` is looked for, did not answer"));
    let idle = mesh(vec![fact(facts::CLIENT, "board", 5)]);
    assert_eq!(codes(&decide(&ASKED, &idle)), ["no_subscription"]);
}

#[test]
fn filters_that_do_not_match_are_told_with_the_level_that_differs() {
    let said = mesh(subscription("a/c", &[]));
    let answer = decide(&ASKED, &said);
    assert_eq!(codes(&answer), ["no_filter"]);
    assert_eq!(answer.reasons[0].remedy, "nearest is `a/c`: at level 2 the filter has `c` and the topic `b`");
    // Of two subscriptions one that matches is enough.
    let mut both = subscription("a/c", &[]);
    both.extend(subscription("a/**", &[]));
    assert!(decide(&ASKED, &mesh(both)).reaches());
}

#[test]
fn what_the_hub_of_entry_refuses_or_holds_back_stops_it() {
    let mut said = mesh(subscription("a/b", &[]));
    push(&mut said, "east", vec![fact(facts::HELD_FOR, "slow", 90_000), fact(facts::AT, "west", 0)]);
    assert_eq!(codes(&decide(&ASKED, &said)), ["held_back"]);
    push(&mut said, "east", vec![fact(facts::TOPIC_REFUSED, "an empty level", 0)]);
    assert_eq!(codes(&decide(&ASKED, &said))[0], "topic_refused");
    let no_topic = Asked { topic: "a//b", ..ASKED };
    assert_eq!(codes(&decide(&no_topic, &said)), ["topic_refused", "held_back"], "nothing of its filters");
    let from = Asked { from: Some("nowhere"), ..ASKED };
    let none = vec![hub("west", Vec::new())];
    assert!(decide(&from, &none).reasons[0].what.contains("no hub of the name `nowhere`"));
}

#[test]
fn a_topic_that_is_mapped_is_judged_by_what_most_of_it_becomes() {
    let mut said = mesh(subscription("eu/*", &[]));
    assert_eq!(codes(&decide(&ASKED, &said)), ["no_filter"], "as it is written it is not wanted");
    let shares = [("", 100), ("us/b", 300), ("eu/b", 600)];
    push(&mut said, "east", shares.map(|(topic, part)| fact(facts::MAPPED, topic, part)).to_vec());
    assert!(decide(&ASKED, &said).reaches());
    let told = text(&ASKED, &said);
    assert!(told.contains("\nmapped there to dropped (10 %), us/b (30 %), eu/b (60 %); what follows"), "{told}");
    assert!(told.starts_with("a/b, published at east, to `board`: gets there\n"), "{told}");
}

#[test]
fn a_hub_without_a_path_is_told_with_the_links_that_are_down() {
    let mut said = mesh(subscription("a/b", &[]));
    push(&mut said, "east", vec![fact(facts::UNREACHABLE, "west", 1_700_000_000_000_000_000)]);
    let down = [fact(facts::LINK_DOWN, "west", 1_700_000_000_000_000_000), fact(facts::REASON, "timed out", 0)];
    push(&mut said, "middle", down.to_vec());
    let answer = decide(&ASKED, &said);
    assert_eq!(codes(&answer), ["no_path"]);
    assert!(answer.places[0].reasons[0].what.contains("middle has no link to west since 2023-"), "{answer:?}");
}

#[test]
fn interest_that_is_not_in_force_is_told_with_both_versions() {
    let mut said = mesh(subscription("a/b", &[]));
    said[0].facts.retain(|fact| fact.name != facts::TO);
    said[0].facts.iter_mut().filter(|fact| fact.name == facts::INTEREST).for_each(|fact| fact.value = 2);
    let answer = decide(&ASKED, &said);
    assert_eq!(codes(&answer), ["not_in_force"]);
    assert!(answer.places[0].reasons[0].what.contains("version 2 of the interest of west, which tells version 3"));
    // A member of a group is not among what the entry sends to; the versions say it.
    let mut grouped = mesh(subscription("a/b", &[fact(facts::OF_GROUP, "g", 0)]));
    grouped[0].facts.retain(|fact| fact.name != facts::TO);
    let answer = decide(&ASKED, &grouped);
    assert!(answer.reaches() && codes(&answer).is_empty(), "{answer:?}");
    assert_eq!(answer.places[0].way, ["east", "middle", "west"]);
}

#[test]
fn credit_queue_drops_deadline_and_groups_each_have_their_reason() {
    let cases: [(&[Fact], &[&str], bool); 5] = [
        (&[fact(facts::NO_CREDIT_SINCE, "", 7), fact(facts::WAITING, "", 9)], &["no_credit"], false),
        (&[fact(facts::WAITING, "", 9), fact(facts::WAITED, "", 5_000_000)], &["behind"], true),
        (&[fact(facts::LOST, "subscriber_full", 4)], &["dropped"], true),
        (&[fact(facts::GATE_CLOSED, "", 1)], &["holds_back"], true),
        (
            &[fact(facts::OF_GROUP, "g", 0), fact(facts::LOCAL, "", 0), fact(facts::GROUP, "g", 2)],
            &["other_member"],
            true,
        ),
    ];
    for (more, expected, reaches) in cases {
        let answer = decide(&ASKED, &mesh(subscription("a/b", more)));
        assert_eq!((codes(&answer), answer.reaches()), (expected.to_vec(), reaches), "{answer:?}");
    }
    let soon = Asked { deadline: Some(Duration::from_millis(2)), ..ASKED };
    assert_eq!(codes(&decide(&soon, &mesh(subscription("a/b", &[])))), ["too_late"]);
}

fn consumer(more: &[Fact]) -> Vec<Fact> {
    let mut all =
        vec![fact(facts::IS_STREAM, "s", 0), fact(facts::FILTER, "a/**", 0), fact(facts::IS_CONSUMER, "s/board", 0)];
    all.extend([fact(facts::MODE, "exclusive", 0), fact(facts::UNSETTLED_MOST, "", 10)]);
    all.extend_from_slice(more);
    all.push(fact(facts::LOCAL, "", 0));
    all
}

#[test]
fn a_consumer_is_paused_or_nobody_is_there_or_its_window_is_full() {
    let member = fact(facts::MEMBER, "one", 0);
    let cases: [(&[Fact], &[&str], bool); 6] = [
        (std::slice::from_ref(&member), &[], true),
        (&[], &["no_member"], false),
        (&[member.clone(), fact(facts::PAUSED_UNTIL, "", u64::MAX)], &["paused"], false),
        (&[member.clone(), fact(facts::UNSETTLED, "", 10)], &["window_full"], false),
        (&[member.clone(), fact(facts::LAG, "", 3)], &["behind"], true),
        (&[member.clone(), fact(facts::PREDICATE, "key = 'x'", 0)], &["predicate"], true),
    ];
    let with_home = |more: &[Fact]| {
        let mut said = mesh(consumer(more));
        said[0].facts.iter_mut().filter(|fact| fact.name == facts::TO).for_each(|fact| fact.value = 1);
        said
    };
    for (more, expected, reaches) in cases {
        let answer = decide(&ASKED, &with_home(more));
        assert_eq!((codes(&answer), answer.reaches()), (expected.to_vec(), reaches), "{answer:?}");
    }
    // Asked for by the member that waits its turn.
    let mut said = with_home(&[member, fact(facts::IDLE_MEMBER, "two", 0)]);
    push(&mut said, "west", vec![fact(facts::CLIENT, "two", 4), fact(facts::OF_CONSUMER, "s/board", 1)]);
    assert_eq!(codes(&decide(&Asked { name: "two", ..ASKED }, &said)), ["other_member"]);
    // The stream does not take the topic, or the consumer does not want it.
    let mut said = with_home(&[fact(facts::MEMBER, "one", 0)]);
    said[2].facts.iter_mut().filter(|fact| fact.name == facts::FILTER).for_each(|fact| fact.text = "z/**".to_owned());
    let answer = decide(&ASKED, &said);
    assert_eq!(codes(&answer), ["no_filter"]);
    assert!(answer.places[0].reasons[0].what.starts_with("the stream `s` takes in `z/**`"), "{answer:?}");
}

#[test]
fn a_stream_is_reached_at_the_home_that_stores_the_event() {
    let stream = |role, filter| {
        vec![fact(facts::IS_STREAM, "board", role), fact(facts::FILTER, filter, 0), fact(facts::LOCAL, "", 0)]
    };
    let mut said = mesh(stream(0, "a/**"));
    assert_eq!(codes(&decide(&ASKED, &said)), ["not_in_force"], "the entry sends it there for live subscribers only");
    said[0].facts.iter_mut().filter(|fact| fact.name == facts::TO).for_each(|fact| fact.value = 1);
    let answer = decide(&ASKED, &said);
    assert!(answer.reaches() && answer.places[0].got.is_none(), "{answer:?}");
    assert_eq!(codes(&decide(&ASKED, &mesh(stream(1, "a/**")))), ["mirror"]);
    assert_eq!(codes(&decide(&ASKED, &mesh(stream(0, "b")))), ["no_filter"]);
}

#[test]
fn what_is_bound_to_a_label_does_not_get_to_hubs_without_it() {
    let bound = |fact_of: &str| {
        let mut said = mesh(subscription("a/b", &[]));
        said[0].facts.retain(|fact| fact.name != facts::TO);
        said[0].facts.push(fact(fact_of, "west", 0));
        push(&mut said, "east", vec![fact(facts::BOUND, "eu", 0)]);
        said
    };
    let answer = decide(&ASKED, &bound(facts::OUTSIDE));
    assert_eq!((codes(&answer), answer.reaches()), (vec!["residency"], false), "and nothing of interest: {answer:?}");
    let what = &answer.places[0].reasons[0].what;
    assert_eq!(what, "a rule of east binds the topic to hubs with the label `eu`, which west does not carry");
    let answer = decide(&ASKED, &bound(facts::NO_BOUND_WAY));
    assert!(answer.places[0].reasons[0].what.ends_with("all ways to west lead over others"), "{answer:?}");

    // A stream with a home without the label keeps nothing of it.
    let mut said = mesh(vec![fact(facts::IS_STREAM, "board", 0), fact(facts::FILTER, "a/**", 0)]);
    let barred = [fact(facts::BOUND, "eu", 0), fact(facts::BARRED, "board", 0), fact(facts::AT, "middle", 0)];
    push(&mut said, "east", barred.to_vec());
    let answer = decide(&ASKED, &said);
    assert_eq!(codes(&answer), ["residency"]);
    assert!(
        answer.places[0].reasons[0].what.ends_with("and middle, a home of `board`, does not carry it"),
        "{answer:?}"
    );
}

#[test]
fn hubs_that_are_about_to_stop_are_told() {
    let draining = |of: &[&str], what: Vec<Fact>| {
        let mut said = mesh(what);
        let known: Vec<Fact> = of.iter().map(|hub| fact(facts::DRAINING, hub, 0)).collect();
        push(&mut said, "east", known);
        said
    };
    for (hubs, expected) in [
        (&["west"][..], "west is about to stop: its clients and consumers are sent to other hubs"),
        (&["middle"], "the way leads over middle, which is about to stop, for there is no other"),
        (&["east"], "east is about to stop: it sends its clients elsewhere"),
    ] {
        let answer = decide(&ASKED, &draining(hubs, subscription("a/b", &[])));
        assert_eq!((codes(&answer), answer.reaches()), (vec!["draining"], true), "{answer:?}");
        let reason = answer.reasons.iter().chain(&answer.places[0].reasons).next().expect("one");
        assert_eq!(reason.what, expected);
    }
    let gone = decide(&ASKED, &draining(&["west"], Vec::new()));
    assert!(gone.reasons[0].what.ends_with("; west is about to stop and sends its clients elsewhere"), "{gone:?}");
    // Of a group the members elsewhere are served.
    let member = [fact(facts::OF_GROUP, "g", 0), fact(facts::LOCAL, "", 0), fact(facts::GROUP, "g", 1)];
    let mut said = draining(&["west"], subscription("a/b", &member));
    assert!(decide(&ASKED, &said).reaches(), "the only member is served all the same");
    said[1].facts.push(fact(facts::GROUP, "g", 1));
    let answer = decide(&ASKED, &said);
    assert!(!answer.reaches() && answer.places[0].reasons[0].what.contains("get everything while west drains"));
}

#[test]
fn as_json_it_says_the_same() {
    let answer = decide(&ASKED, &mesh(subscription("a/b", &[fact(facts::LOST, "expired", 4)])));
    let object = object(&answer);
    assert_eq!((&object["reaches"], &object["entry"]), (&json!(true), &json!("east")));
    let reason = &object["places"][0]["reasons"][0];
    assert_eq!((&reason["code"], &reason["stops"], &reason["hub"]), (&json!("dropped"), &json!(false), &json!("west")));
    assert_eq!(object["places"][0]["way"], json!(["east", "middle", "west"]));
}
