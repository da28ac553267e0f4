//! Examples of the algebra and of interest sets, as tables.

use crate::{Aggregate, Filter, InterestSet, Topic};

fn filter(text: &str) -> Filter {
    Filter::parse(text).unwrap()
}

fn topic(text: &str) -> Topic<'_> {
    Topic::parse(text).unwrap()
}

fn texts(filters: &[Filter]) -> Vec<&str> {
    filters.iter().map(Filter::as_str).collect()
}

#[test]
fn filters_match_as_written() {
    for (pattern, yes, no) in [
        ("a/b", &["a/b"][..], &["a", "a/b/c", "b/a"][..]),
        ("a/*", &["a/b", "a/a*"], &["a", "a/b/c"]),
        ("a/**", &["a", "a/b", "a/b/c"], &["b", "b/a"]),
        ("**", &["a", "a/b"], &[]),
        ("**/a/**/a/**", &["a/a", "x/a/y/a/z"], &["a", "x/a/y"]),
        ("*/**", &["a", "a/b"], &[]),
        ("**/*/b", &["a/b", "x/a/b"], &["b", "a/b/c"]),
    ] {
        yes.iter().for_each(|text| assert!(filter(pattern).matches(topic(text)), "{pattern} {text}"));
        no.iter().for_each(|text| assert!(!filter(pattern).matches(topic(text)), "{pattern} {text}"));
    }
}

#[test]
fn canonical_forms() {
    for (text, canonical) in [
        ("**/*", "*/**"),
        ("**/**", "**"),
        ("a/**/*/**/*/b/**", "a/*/*/**/b/**"),
        ("*/a/**/**/*", "*/a/*/**"),
        ("***/a*/*", "***/a*/*"),
    ] {
        assert_eq!(filter(text).as_str(), canonical);
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
