//! Interest sets against a list that is searched from end to end.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{any_filter, any_text, filter, topic};
use crate::{Filter, InterestSet, MAX_LEVELS};

#[derive(Debug, Clone)]
enum Op {
    Insert(Filter, u8),
    Remove(Filter, u8),
    /// Removes what is there, by its place.
    Forget(usize),
    Snapshot,
}

fn any_op() -> impl Strategy<Value = Op> {
    // Few names at the top and many below make deep, wide and split nodes.
    let wide = (any_text(&["a", "*", "**"], 2), 0..200u8).prop_map(|(top, n)| filter(&format!("{top}/n{n}/x")));
    let long = any_text(&["a-name-longer-than-a-node-holds", "b", "*"], 4).prop_map(|text| filter(&text));
    let some = prop_oneof![3 => any_filter(4), 2 => wide, 1 => long];
    prop_oneof![
        6 => (some.clone(), 0..40u8).prop_map(|(filter, value)| Op::Insert(filter, value)),
        1 => (some, 0..40u8).prop_map(|(filter, value)| Op::Remove(filter, value)),
        4 => any::<usize>().prop_map(Op::Forget),
        1 => Just(Op::Snapshot),
    ]
}

type Model = BTreeSet<(Filter, u8)>;

/// Runs the operations on a set, whose `insert` may have a fault, and a model.
fn check(
    ops: &[Op],
    topics: &[String],
    mut insert: impl FnMut(&mut InterestSet<u8>, &Filter, u8) -> bool,
) -> Result<(), String> {
    let (mut set, mut model) = (InterestSet::new(), Model::new());
    let mut snapshots: Vec<(InterestSet<u8>, Model)> = Vec::new();
    for op in ops {
        let agree = match op {
            Op::Insert(filter, value) => insert(&mut set, filter, *value) == model.insert((filter.clone(), *value)),
            Op::Remove(filter, value) => set.remove(filter, value) == model.remove(&(filter.clone(), *value)),
            Op::Forget(at) => match model.iter().nth(at % model.len().max(1)).cloned() {
                Some(pair) => set.remove(&pair.0, &pair.1) && model.remove(&pair),
                None => true,
            },
            Op::Snapshot => {
                snapshots.push((set.clone(), model.clone()));
                true
            }
        };
        if !agree {
            return Err(format!("{op:?} was answered wrongly"));
        }
    }
    snapshots.push((set, model));
    snapshots.iter().try_for_each(|(set, model)| same(set, model, topics))
}

fn same(set: &InterestSet<u8>, model: &Model, topics: &[String]) -> Result<(), String> {
    let filters: BTreeSet<&Filter> = model.iter().map(|(filter, _)| filter).collect();
    if (set.len(), set.filters(), set.is_empty()) != (model.len(), filters.len(), model.is_empty()) {
        return Err(format!("counts {} and {} filters, not {model:?}", set.len(), set.filters()));
    }
    set.check_shape()?;
    let listed: Vec<(Filter, u8)> = set.iter().map(|(filter, &value)| (filter, value)).collect();
    if listed.len() != model.len() || listed.iter().cloned().collect::<Model>() != *model {
        return Err(format!("lists {listed:?}, not {model:?}"));
    }
    // What was built in another order is listed in the same.
    let rebuilt: InterestSet<u8> = model.iter().rev().cloned().collect();
    if !rebuilt.iter().map(|(filter, &value)| (filter, value)).eq(listed) {
        return Err("the order depends on the history".to_owned());
    }
    for text in topics {
        let mut found = Vec::new();
        set.for_each_match(topic(text), |&value| found.push(value));
        found.sort_unstable();
        let mut expected: Vec<u8> =
            model.iter().filter(|(filter, _)| filter.matches(topic(text))).map(|&(_, value)| value).collect();
        expected.sort_unstable();
        if found != expected || set.matches_any(topic(text)) == expected.is_empty() {
            return Err(format!("{text} finds {found:?}, not {expected:?}"));
        }
    }
    for filter in &filters {
        let values: Vec<u8> = set.values(filter).copied().collect();
        if !model.iter().filter(|pair| pair.0 == **filter).map(|pair| pair.1).eq(values.iter().copied()) {
            return Err(format!("{filter} has {values:?}"));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_set_finds_what_a_list_finds(
        ops in prop::collection::vec(any_op(), 0..300),
        topics in prop::collection::vec(
            any_text(&["a", "b", "n7", "n77", "x", "a-name-longer-than-a-node-holds"], 5), 12),
    ) {
        prop_assert_eq!(check(&ops, &topics, |set, filter, value| set.insert(filter, value)), Ok(()));
    }
}

#[test]
fn canary_a_forgotten_filter_is_caught() {
    let ops = ["a/*", "**/b", "a/b"].map(|text| Op::Insert(filter(text), 1));
    let forget =
        |set: &mut InterestSet<u8>, filter: &Filter, value| filter.as_str() == "**/b" || set.insert(filter, value);
    assert_eq!(check(&ops, &["x/b".to_owned()], |set, filter, value| set.insert(filter, value)), Ok(()));
    assert!(check(&ops, &["x/b".to_owned()], forget).is_err());
}

/// All topics of up to 4 levels, against all filters of up to 3 in one set.
#[test]
fn a_full_set_finds_each_match_once() {
    let mut filters = BTreeSet::new();
    for first in ["a", "b", "*", "**"] {
        for second in ["", "/a", "/b", "/*", "/**"] {
            for third in ["", "/a", "/b", "/*", "/**"] {
                filters.insert(filter(&format!("{first}{second}{third}")));
            }
        }
    }
    let set: InterestSet<Filter> = filters.iter().map(|filter| (filter.clone(), filter.clone())).collect();
    let names = ["a", "b", "c"];
    let mut topics: Vec<String> = names.map(String::from).to_vec();
    for at in 0..39 {
        topics.extend(names.map(|name| format!("{}/{name}", topics[at])));
    }
    for text in &topics {
        let mut found = Vec::new();
        set.for_each_match(topic(text), |filter| found.push(filter.clone()));
        found.sort_unstable();
        assert!(found.iter().eq(filters.iter().filter(|filter| filter.matches(topic(text)))), "{text}: {found:?}");
    }
}

/// One topic reaches each node of `**/a/**/a/…` at nearly every level: there
/// are more ways than could be walked, and each filter is found once.
#[test]
fn many_double_stars_are_visited_once() {
    let mut set = InterestSet::new();
    for pairs in 1..=MAX_LEVELS / 2 {
        let nested = ["**/a"].repeat(pairs).join("/");
        assert!(set.insert(&filter(&nested), pairs));
        if pairs < MAX_LEVELS / 2 {
            // Found at the end only to match nothing.
            assert!(set.insert(&filter(&format!("{nested}/**/b")), pairs));
        }
    }
    let mut found = Vec::new();
    set.for_each_match(topic(&["a"; MAX_LEVELS].join("/")), |&pairs| found.push(pairs));
    found.sort_unstable();
    assert_eq!(found, (1..=MAX_LEVELS / 2).collect::<Vec<_>>());
}

/// A broadcast: one filter with very many values, of which a snapshot is kept.
#[test]
fn very_many_values_of_one_filter() {
    let all = filter("prices/**");
    let mut set = InterestSet::new();
    let order = |n: u32| n.wrapping_mul(2_654_435_761);
    for n in 0..5000 {
        assert!(set.insert(&all, order(n)));
    }
    let snapshot = set.clone();
    for n in 0..4999 {
        assert!(set.remove(&all, &order(n)) && !set.remove(&all, &order(n)));
        if n % 100 == 0 {
            set.check_shape().unwrap();
        }
    }
    assert_eq!(set.iter().map(|(filter, &value)| (filter, value)).collect::<Vec<_>>(), [(all.clone(), order(4999))]);
    assert_eq!(snapshot.values(&all).count(), 5000);
    assert!(snapshot.values(&all).is_sorted());
    assert!(set.remove(&all, &order(4999)) && set.is_empty() && set.filters() == 0);
    set.check_shape().unwrap();
}
