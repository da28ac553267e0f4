//! What sessions publish is found by pages, within bounds, in bounded turns.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weft_base::HubId;
use weft_govern::access::Method;
use weft_topic::Filter;
use weft_wire::block::{BlockFields, BlockWriter, EventFields};

use super::*;
use crate::see::look::Asker;

fn note(of: &mut Published, all: &mut Publishing, topic: &str, events: usize) {
    let mut words = vec![0u64; 512];
    let bytes: &mut [u8] = zerocopy::IntoBytes::as_mut_bytes(words.as_mut_slice());
    let mut writer = BlockWriter::new(bytes, &BlockFields::new(topic)).expect("the topic fits");
    for _ in 0..events {
        let event = EventFields { time: UnixNanos(1), key: &[], headers: &[], payload: b"x" };
        writer.push(&event).expect("it has room");
    }
    let len = writer.finish().expect("there is an event");
    of.note(Block::trusted(&zerocopy::IntoBytes::as_bytes(words.as_slice())[..len]), all, UnixNanos(7));
}

fn look(filter: &str, search: &str, after: &str, most: usize) -> Box<TopicsLook> {
    Box::new(TopicsLook {
        asker: Asker::Hub(HubId(1), 1),
        filter: (!filter.is_empty()).then(|| Filter::parse(filter).expect("a filter")),
        search: search.to_owned(),
        after: after.to_owned(),
        most,
        more: false,
        untold: 0,
        rows: Vec::new(),
    })
}

/// What each session publishes; a place may be empty.
type Sessions = Vec<Option<Published>>;

/// A whole walk in turns of so many steps: the answer, and how many turns there were.
fn walk(sessions: &Sessions, look: Box<TopicsLook>, steps: usize) -> (TopicsLook, usize) {
    let anna = Principal { tenant: Some("air".into()), name: "anna".into(), roles: [].into(), method: Method::Token };
    let session = |slot: usize| {
        let published = sessions.get(slot)?.as_ref()?;
        let principal = slot.is_multiple_of(2).then_some(&anna);
        Some(Session { id: SessionId::new(slot as u32, 1), name: "client", principal, published })
    };
    let (mut walk, mut turns) = (Walk::new(look), 1);
    while !walk.go_on(sessions.len(), session, steps) {
        turns += 1;
        assert!(turns < 100_000, "it does not end");
    }
    (*walk.look, turns)
}

#[test]
fn a_topic_is_noted_once_with_what_was_published_of_it_and_ends_with_its_session() {
    let mut all = Publishing::new(7, 128);
    let mut one = Published::default();
    for (topic, events) in [("b/1", 2), ("b/1", 1), ("a/1", 1), ("b/1", 3), ("_reply/1/2/3", 1)] {
        note(&mut one, &mut all, topic, events);
    }
    one.note(Block::trusted(&[1, 2, 3]), &mut all, UnixNanos(9));
    let (told, _) = walk(&vec![Some(one)], look("", "", "", 10), 100);
    let publisher =
        |events| Publisher { client: "client".to_owned(), principal: "air/anna".to_owned(), events, at: UnixNanos(7) };
    let row =
        |topic: &str, events| TopicRow { topic: topic.to_owned(), sessions: 1, publishers: vec![publisher(events)] };
    assert_eq!((told.rows, told.more, told.untold), (vec![row("a/1", 1), row("b/1", 6)], false, 0));
    let mut one = Published::default();
    let before = (all.topics, all.bytes);
    note(&mut one, &mut all, "c/1", 1);
    all.ended(&one);
    assert_eq!((all.topics, all.bytes), before, "what it took is free again");
}

#[test]
fn beyond_the_bounds_nothing_is_noted_and_the_answer_says_so() {
    let mut all = Publishing::new(7, 32);
    let (mut greedy, mut other) = (Published::default(), Published::default());
    (0..10).for_each(|n| note(&mut greedy, &mut all, &format!("g/{n}"), 1));
    note(&mut other, &mut all, "o/1", 1);
    note(&mut greedy, &mut all, "g/3", 5);
    let long = format!("o/{}", "x".repeat(300));
    (0..3).for_each(|n| note(&mut other, &mut all, &format!("{long}/{n}"), 1));
    let (told, _) = walk(&vec![Some(greedy), None, Some(other)], look("", "", "", 100), 100);
    let names: Vec<&str> = told.rows.iter().map(|row| row.topic.get(..3).unwrap_or_default()).collect();
    assert_eq!(
        names,
        ["g/0", "g/1", "g/2", "g/3", "g/4", "g/5", "g/6", "g/7", "o/1", "o/x", "o/x"],
        "half is one's, names count"
    );
    assert_eq!((told.untold, told.rows[3].publishers[0].events), (2, 6));
}

#[test]
fn of_many_publishers_those_that_published_most_are_named() {
    let mut all = Publishing::new(7, 2_048);
    let mut sessions = Sessions::new();
    for events in 1..=20 {
        let mut one = Published::default();
        note(&mut one, &mut all, "t", events);
        sessions.push(Some(one));
    }
    let (told, turns) = walk(&sessions, look("", "", "", 1), 3);
    let events: Vec<u64> = told.rows[0].publishers.iter().map(|publisher| publisher.events).collect();
    assert_eq!((told.rows[0].sessions, events), (20, vec![20, 19, 18, 17, 16, 15, 14, 13]));
    assert!(turns >= 10, "of three steps in a turn two are a session's, but for the last: {turns}");
    assert!(!told.more);
}

proptest! {
    #[test]
    fn all_pages_together_are_what_a_naive_list_has_whatever_a_turn_is(
        names in proptest::collection::vec(proptest::collection::vec("[ab]{1,2}/[abc]{1,3}", 0..30), 1..6),
        (most, steps) in (1usize..9, 1usize..40),
        (filter, search) in (prop::sample::select(vec!["", "a/**", "*/ab", "a/b"]), "[abc/]{0,2}"),
    ) {
        let mut all = Publishing::new(3, 8_192);
        let (mut naive, mut sessions) = (BTreeMap::<String, u64>::new(), Sessions::new());
        let wanted = look(filter, &search, "", most);
        for of in &names {
            let mut one = Published::default();
            let before: std::collections::BTreeSet<&String> = of.iter().collect();
            for name in before.into_iter().filter(|name| wanted.wants(name)) {
                *naive.entry(name.clone()).or_default() += 1;
            }
            of.iter().for_each(|name| note(&mut one, &mut all, name, 1));
            sessions.push(Some(one));
            sessions.push(None);
        }
        let (mut paged, mut after) = (Vec::new(), String::new());
        loop {
            let (told, _) = walk(&sessions, look(filter, &search, &after, most), steps);
            prop_assert!(told.rows.len() <= most);
            paged.extend(told.rows.iter().map(|row| (row.topic.clone(), row.sessions)));
            if !told.more {
                break;
            }
            prop_assert_eq!(told.rows.len(), most, "a page that is not the last is full");
            after = told.rows[most - 1].topic.clone();
        }
        prop_assert_eq!(paged, naive.into_iter().collect::<Vec<_>>());
    }
}

#[test]
#[ignore = "a measurement: cargo test --release --workspace --lib -- --ignored --nocapture a_question_costs"]
fn what_a_block_and_a_question_costs() {
    const ROUNDS: usize = 2_000_000;
    for topics in [1, 16, 10_000] {
        let mut all = Publishing::new(7, 65_536);
        let mut one = Published::default();
        let names: Vec<String> = (0..topics).map(|n| format!("flights/departed/JFK/{n:05}/B6")).collect();
        let blocks: Vec<Vec<u64>> = names
            .iter()
            .map(|name| {
                let mut words = vec![0u64; 64];
                let bytes: &mut [u8] = zerocopy::IntoBytes::as_mut_bytes(words.as_mut_slice());
                let mut writer = BlockWriter::new(bytes, &BlockFields::new(name)).expect("it fits");
                let event = EventFields { time: UnixNanos(1), key: &[], headers: &[], payload: b"x" };
                writer.push(&event).expect("it has room");
                writer.finish().expect("there is an event");
                words
            })
            .collect();
        let begun = std::time::Instant::now();
        for block in blocks.iter().cycle().take(ROUNDS) {
            let block = std::hint::black_box(zerocopy::IntoBytes::as_bytes(block.as_slice()));
            one.note(Block::trusted(block), &mut all, UnixNanos(7));
        }
        println!("{topics} topics in turn: {:.1} ns a block", begun.elapsed().as_secs_f64() * 1e9 / ROUNDS as f64);
        assert_eq!(one.topics.len(), topics);
        let sessions = vec![Some(one)];
        for (what, asked) in [("first page", look("", "", "", 200)), ("search", look("", "/05", "", 200))] {
            let begun = std::time::Instant::now();
            let (told, turns) = walk(&sessions, asked, STEPS);
            println!("{topics} topics, {what}: {} rows, {turns} turns, {:?}", told.rows.len(), begun.elapsed());
        }
    }
}
