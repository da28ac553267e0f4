//! The algebra of filters against the oracles.

use proptest::prelude::*;

use super::oracle::{self, Relation, relate};
use super::{any_filter, any_text, filter, topic};
use crate::{Filter, MAX_LEVELS, Topic};

/// What is checked; canaries put faults here.
struct Algebra {
    matches: fn(&Filter, Topic<'_>) -> bool,
    intersects: fn(&Filter, &Filter) -> bool,
    includes: fn(&Filter, &Filter) -> bool,
}

const REAL: Algebra = Algebra { matches: Filter::matches, intersects: Filter::intersects, includes: Filter::includes };

/// All texts of `1..=most` levels over `names`.
fn universe(names: &[&str], most: usize) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut last = vec![String::new()];
    for _ in 0..most {
        last = last.iter().flat_map(|text| names.iter().map(move |name| format!("{text}/{name}"))).collect();
        all.extend(last.iter().map(|text| text.trim_start_matches('/').to_owned()));
    }
    all
}

/// Checks everything about all filters of up to 3 levels over two names,
/// against all topics of up to 6 levels over three: with fewer levels than
/// that, or no third name, some sets that differ would look alike.
fn check(algebra: &Algebra) -> Result<(), String> {
    let topics = universe(&["a", "b", "z"], 6);
    let texts = universe(&["a", "b", "*", "**"], 3);
    let filters: Vec<Filter> = texts.iter().map(|text| filter(text)).collect();
    let mut sets = Vec::new();
    for (text, filter) in texts.iter().zip(&filters) {
        let levels: Vec<&str> = text.split('/').collect();
        let mut set = Vec::new();
        for text in &topics {
            let expected = oracle::matches(&levels, &text.split('/').collect::<Vec<_>>());
            if (algebra.matches)(filter, topic(text)) != expected {
                return Err(format!("{filter} matches {text}: {expected}"));
            }
            set.push(expected);
        }
        sets.push(set);
    }
    for (one, one_set) in filters.iter().zip(&sets) {
        for (two, two_set) in filters.iter().zip(&sets) {
            let both = || one_set.iter().zip(two_set);
            if (one == two) != (one_set == two_set) {
                return Err(format!("{one} equals {two}: {}", one_set == two_set));
            }
            let intersect = both().any(|(a, b)| *a && *b);
            if (algebra.intersects)(one, two) != intersect {
                return Err(format!("{one} intersects {two}: {intersect}"));
            }
            let include = both().all(|(a, b)| *a || !*b);
            if (algebra.includes)(one, two) != include {
                return Err(format!("{one} includes {two}: {include}"));
            }
        }
    }
    Ok(())
}

#[test]
fn all_short_filters_agree_with_the_enumeration() {
    assert_eq!(check(&REAL), Ok(()));
}

#[test]
fn canary_a_double_star_that_wants_a_level_is_caught() {
    let matches = |filter: &Filter, topic: Topic<'_>| {
        filter.matches(topic) && (filter.as_str() != "a/**" || topic.levels().count() > 1)
    };
    assert!(check(&Algebra { matches, ..REAL }).is_err());
}

#[test]
fn canary_inclusion_by_matching_the_text_is_caught() {
    // Reads `*` and `**` of the inner filter as if they were names.
    let includes = |outer: &Filter, inner: &Filter| {
        oracle::matches(&outer.levels().collect::<Vec<_>>(), &inner.levels().collect::<Vec<_>>())
    };
    assert!(check(&Algebra { includes, ..REAL }).is_err());
}

#[test]
fn canary_intersection_as_inclusion_is_caught() {
    let intersects = |one: &Filter, two: &Filter| one.includes(two) || two.includes(one);
    assert!(check(&Algebra { intersects, ..REAL }).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn longer_filters_agree_with_the_automata(one in any_filter(9), two in any_filter(9)) {
        let expected = relate(&one, &two);
        let got = Relation {
            intersect: one.intersects(&two),
            first_includes: one.includes(&two),
            second_includes: two.includes(&one),
        };
        prop_assert_eq!(&got, &expected);
        prop_assert_eq!(two.intersects(&one), expected.intersect);
        prop_assert_eq!(one == two, expected.first_includes && expected.second_includes);
    }

    /// Filters that were made from each other are related more often.
    #[test]
    fn a_widened_filter_includes_what_it_came_from(
        one in any_text(&["a", "b", "*", "**"], 12),
        changes in prop::collection::vec((0..12usize, prop::sample::select(&["*", "**", "a"][..])), 1..4),
    ) {
        let mut levels: Vec<&str> = one.split('/').collect();
        for (at, level) in changes {
            let at = at % levels.len();
            levels[at] = level;
        }
        let (one, two) = (filter(&one), filter(&levels.join("/")));
        let expected = relate(&one, &two);
        prop_assert_eq!(one.includes(&two), expected.first_includes);
        prop_assert_eq!(two.includes(&one), expected.second_includes);
        prop_assert_eq!(one.intersects(&two), expected.intersect);
    }

    #[test]
    fn long_topics_are_matched_as_the_grammar_says(
        one in any_filter(6),
        text in any_text(&["a", "b", "z"], 12),
    ) {
        let levels: Vec<&str> = one.levels().collect();
        let expected = oracle::matches(&levels, &text.split('/').collect::<Vec<_>>());
        prop_assert_eq!(one.matches(topic(&text)), expected);
        prop_assert_eq!(one.includes(&Filter::from(topic(&text))), expected);
        prop_assert_eq!(one.intersects(&Filter::from(topic(&text))), expected);
    }
}

/// Filters and topics that make a matcher that tries again take 2^30 steps and
/// more: these only end because nothing is tried twice.
#[test]
fn adversarial_filters_are_answered() {
    let pairs = MAX_LEVELS / 2;
    let nested = filter(&["**/a"].repeat(pairs).join("/"));
    let nested_b = filter(&(["**/a"].repeat(pairs - 1).join("/") + "/**/b"));
    let stars = filter(&["**/a/*"].repeat(MAX_LEVELS / 3).join("/"));
    let many_a = ["a"; MAX_LEVELS].join("/");
    let ends_in_b = ["a"; MAX_LEVELS - 1].join("/") + "/b";
    assert!(nested.matches(topic(&many_a)) && !nested.matches(topic(&ends_in_b)));
    assert!(!nested_b.matches(topic(&many_a)) && nested_b.matches(topic(&ends_in_b)));
    assert!(stars.matches(topic(&many_a)));
    assert!(!nested.includes(&nested_b) && !nested_b.includes(&nested));
    assert!(!nested.intersects(&nested_b) && nested.intersects(&stars));
    assert!(nested.includes(&nested) && filter("**/a/**/a").includes(&nested));
    assert!(Filter::everything().includes(&nested) && !nested.includes(&Filter::everything()));
}

/// A filter of 64 levels has 65 states, one more than a machine word has bits.
#[test]
fn the_longest_filters_are_exact() {
    let long = filter(&["*"; MAX_LEVELS].join("/"));
    let longer = filter(&(["*"; MAX_LEVELS - 1].join("/") + "/**"));
    let topic_text = ["a"; MAX_LEVELS].join("/");
    let literal = filter(&topic_text);
    assert!(
        long.matches(topic(&topic_text)) && longer.matches(topic(&topic_text)) && literal.matches(topic(&topic_text))
    );
    assert!(!long.matches(topic(&topic_text[2..])) && longer.matches(topic(&topic_text[2..])));
    assert!(!longer.matches(topic(&topic_text[4..])));
    assert!(longer.includes(&long) && !long.includes(&longer) && long.includes(&literal) && long.intersects(&longer));
}
