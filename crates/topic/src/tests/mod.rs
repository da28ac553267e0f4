//! Tests of the crate: tables of examples here, checks against oracles beside.

mod aggregate;
mod algebra;
mod interest;
mod oracle;
mod sorted;

use proptest::prelude::*;

use crate::{Aggregate, Filter, FilterError, InterestSet, MAX_BYTES, MAX_LEVELS, Topic, TopicError};

fn filter(text: &str) -> Filter {
    Filter::parse(text).unwrap()
}

fn topic(text: &str) -> Topic<'_> {
    Topic::parse(text).unwrap()
}

fn texts(filters: &[Filter]) -> Vec<&str> {
    filters.iter().map(Filter::as_str).collect()
}

/// Texts of up to `most` levels, each one of `levels`.
fn any_text(levels: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(levels), 1..=most).prop_map(|levels| levels.join("/"))
}

/// Filters of up to `most` levels over a small alphabet.
fn any_filter(most: usize) -> impl Strategy<Value = Filter> {
    any_text(&["a", "b", "*", "**"], most).prop_map(|text| filter(&text))
}

#[test]
fn filters_match_as_written() {
    for (pattern, yes, no) in [
        ("a/b", &["a/b"][..], &["a", "a/b/c", "b/a", "ab"][..]),
        ("a/*", &["a/b", "a/a*"], &["a", "a/b/c"]),
        ("a/**", &["a", "a/b", "a/b/c"], &["b", "b/a"]),
        ("**", &["a", "a/b"], &[]),
        ("**/a/**/a/**", &["a/a", "x/a/y/a/z"], &["a", "x/a/y"]),
        ("*/*/**", &["a/b", "a/b/c"], &["a"]),
        ("**/*/b", &["a/b", "x/a/b"], &["b", "a/b/c"]),
        ("a*", &["a*"], &["a", "ab"]),
    ] {
        yes.iter().for_each(|text| assert!(filter(pattern).matches(topic(text)), "{pattern} {text}"));
        no.iter().for_each(|text| assert!(!filter(pattern).matches(topic(text)), "{pattern} {text}"));
    }
}

#[test]
fn canonical_forms() {
    for (text, canonical) in [
        ("a/**/*", "a/*/**"),
        ("**/**", "**"),
        ("**/*", "**"),
        ("*/**", "**"),
        ("**/*/*", "*/*/**"),
        ("a/**/*/**/*/b/**", "a/*/*/**/b/**"),
        ("*/a/**/**/*", "*/a/*/**"),
        ("***/a*/*", "***/a*/*"),
    ] {
        assert_eq!(filter(text).as_str(), canonical);
    }
    assert_eq!(Filter::everything(), filter("**"));
    assert_eq!(Filter::from(topic("a/b")), filter("a/b"));
    assert_eq!(filter("a/b").as_topic(), Some(topic("a/b")));
    assert_eq!(filter("a/*").as_topic(), None);
    assert!(filter("a*/b").is_literal() && !filter("a/**").is_literal());
}

#[test]
fn the_grammar_names_level_offset_and_remedy() {
    let long = "x".repeat(MAX_BYTES + 1);
    let deep = ["x"; MAX_LEVELS + 1].join("/");
    for (text, error) in [
        ("", TopicError::Empty),
        (long.as_str(), TopicError::TooLong { bytes: MAX_BYTES + 1 }),
        (deep.as_str(), TopicError::TooManyLevels { levels: MAX_LEVELS + 1 }),
        ("/a", TopicError::EmptyLevel { level: 1, offset: 0 }),
        ("a//b", TopicError::EmptyLevel { level: 2, offset: 2 }),
        ("ab/", TopicError::EmptyLevel { level: 2, offset: 3 }),
        ("ä/b\u{85}", TopicError::Control { level: 2, offset: 4, code: 0x85 }),
        ("a\0", TopicError::Control { level: 1, offset: 1, code: 0 }),
        ("a/\u{7f}", TopicError::Control { level: 2, offset: 2, code: 0x7f }),
        ("a/*", TopicError::Wildcard { level: 2, offset: 2 }),
        ("**", TopicError::Wildcard { level: 1, offset: 0 }),
    ] {
        assert_eq!(Topic::parse(text), Err(error));
        match error {
            TopicError::Wildcard { .. } => assert!(Filter::parse(text).is_ok()),
            _ => assert!(Filter::parse(text).is_err()),
        }
    }
    assert_eq!(Filter::parse("a//b"), Err(FilterError::EmptyLevel { level: 2, offset: 2 }));
    for text in ["a*b/***", "ÿ/\u{a0}/¡", "x", &long[1..], &deep[2..]] {
        assert_eq!(Topic::parse(text).map(|topic| topic.as_str()), Ok(text));
        assert_eq!(Topic::parse(text).unwrap().levels().count(), text.split('/').count());
    }
    assert_eq!(
        TopicError::Control { level: 2, offset: 4, code: 0x85 }.to_string(),
        "level 2 of the topic has the control character U+0085 at byte 4: remove it or encode it"
    );
}

proptest! {
    #[test]
    fn any_text_is_judged_as_the_grammar_says(text in "[a*/\u{0}-\u{20}\u{7e}-\u{a1}]{0,12}") {
        let levels: Vec<&str> = text.split('/').collect();
        let good = levels.iter().all(|level| !level.is_empty() && !level.contains(char::is_control));
        let wild = levels.iter().any(|&level| level == "*" || level == "**");
        prop_assert_eq!(Filter::parse(&text).is_ok(), good);
        prop_assert_eq!(Topic::parse(&text).is_ok(), good && !wild);
    }
}

#[test]
fn interest_is_found_and_forgotten() {
    let mut set = InterestSet::new();
    for (text, value) in [("a/b", 1), ("a/*", 2), ("a/**", 3), ("**/b", 4), ("a/b", 5), ("a/b/c", 6)] {
        assert!(set.insert(&filter(text), value));
    }
    assert!(!set.insert(&filter("a/b"), 5));
    let before = set.clone();
    assert!(set.remove(&filter("a/b"), &1));
    assert!(!set.remove(&filter("a/b"), &1));
    let found = |set: &InterestSet<u32>, text| {
        let mut found = Vec::new();
        set.for_each_match(topic(text), |&value| found.push(value));
        found.sort_unstable();
        found
    };
    assert_eq!(found(&set, "a/b"), [2, 3, 4, 5]);
    assert_eq!(found(&before, "a/b"), [1, 2, 3, 4, 5]);
    assert_eq!(found(&set, "a/b/c"), [3, 6]);
    assert_eq!((set.len(), set.filters(), before.len(), before.filters()), (5, 5, 6, 5));
}

#[test]
fn an_aggregate_keeps_the_cover() {
    let mut set = Aggregate::new();
    assert_eq!(texts(&set.insert(&filter("a/b")).added), ["a/b"]);
    assert!(set.insert(&filter("a/b")).is_empty());
    assert_eq!(texts(&set.insert(&filter("a/c")).added), ["a/c"]);
    let change = set.insert(&filter("a/*"));
    assert_eq!((texts(&change.added), texts(&change.removed)), (vec!["a/*"], vec!["a/b", "a/c"]));
    assert!(set.remove(&filter("a/b")).is_empty());
    let change = set.remove(&filter("a/*"));
    assert_eq!((texts(&change.added), texts(&change.removed)), (vec!["a/b", "a/c"], vec!["a/*"]));
    assert!(set.remove(&filter("never/there")).is_empty());
    assert_eq!((set.len(), set.cover_len(), set.cover().count()), (2, 2, 2));
}
