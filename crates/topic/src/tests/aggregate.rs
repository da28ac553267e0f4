//! Aggregates against the definition: those that no other one includes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{any_filter, filter};
use crate::{Aggregate, Change, Filter};

/// The cover, by comparing all with all.
fn cover(counts: &BTreeMap<Filter, u64>) -> BTreeSet<Filter> {
    let included = |one: &Filter| counts.keys().any(|other| other != one && other.includes(one));
    counts.keys().filter(|filter| !included(filter)).cloned().collect()
}

/// Runs inserts (true) and removes on an aggregate, whose `insert` may have a
/// fault; after each, the answer must lead from the cover before to the one
/// after.
fn check(ops: &[(bool, Filter)], mut insert: impl FnMut(&mut Aggregate, &Filter) -> Change) -> Result<(), String> {
    let (mut set, mut counts) = (Aggregate::new(), BTreeMap::<Filter, u64>::new());
    let mut before = BTreeSet::new();
    for (add, filter) in ops {
        let change = if *add { insert(&mut set, filter) } else { set.remove(filter) };
        if *add {
            *counts.entry(filter.clone()).or_default() += 1;
        } else if let Some(count) = counts.get_mut(filter) {
            *count -= 1;
            counts.retain(|_, count| *count > 0);
        }
        let after = cover(&counts);
        let expected = Change {
            added: after.difference(&before).cloned().collect(),
            removed: before.difference(&after).cloned().collect(),
        };
        if change != expected {
            return Err(format!("{add} {filter}: {change:?}, not {expected:?}"));
        }
        let listed: Vec<Filter> = set.cover().cloned().collect();
        if listed.iter().cloned().collect::<BTreeSet<_>>() != after
            || (listed.len(), set.cover_len(), set.len()) != (after.len(), after.len(), counts.len())
            || set.is_empty() != counts.is_empty()
        {
            return Err(format!("{add} {filter}: lists {listed:?}, not {after:?}"));
        }
        before = after;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_cover_is_what_no_other_includes(
        filters in prop::collection::vec(any_filter(4), 1..16),
        ops in prop::collection::vec((prop::bool::weighted(0.6), any::<usize>()), 0..80),
    ) {
        let ops: Vec<_> = ops.into_iter().map(|(add, at)| (add, filters[at % filters.len()].clone())).collect();
        prop_assert_eq!(check(&ops, Aggregate::insert), Ok(()));
    }

    #[test]
    fn a_set_includes_what_one_of_its_filters_includes(
        filters in prop::collection::vec(any_filter(4), 0..8),
        asked in any_filter(5),
    ) {
        let mut set = Aggregate::new();
        for filter in &filters {
            let _ = set.insert(filter);
        }
        prop_assert_eq!(set.includes(&asked), filters.iter().any(|filter| filter.includes(&asked)));
        if let Some(topic) = asked.as_topic() {
            prop_assert_eq!(set.matches(topic), filters.iter().any(|filter| filter.matches(topic)));
        }
    }
}

#[test]
fn canary_a_cover_that_keeps_too_much_is_caught() {
    let ops = ["a/b", "a/**"].map(|text| (true, filter(text)));
    assert_eq!(check(&ops, Aggregate::insert), Ok(()));
    let faulty = |set: &mut Aggregate, filter: &Filter| Change { removed: Vec::new(), ..set.insert(filter) };
    assert!(check(&ops, faulty).is_err());
}

/// A clone is not changed by what happens to the other.
#[test]
fn clones_are_apart() {
    let mut set = Aggregate::new();
    let _ = set.insert(&filter("a/b"));
    let snapshot = set.clone();
    let _ = set.insert(&filter("**"));
    assert_eq!(snapshot.cover().collect::<Vec<_>>(), [&filter("a/b")]);
    assert_eq!(set.cover().collect::<Vec<_>>(), [&filter("**")]);
}
