//! Two judges that share no code with what they judge: matching by the words
//! of the grammar, and relations of sets by exploring all topics, of any
//! length, through the sets of states that they lead to.

use std::collections::{BTreeSet, VecDeque};

use crate::Filter;

/// Matching as the grammar puts it; takes exponential time, for short texts.
pub(super) fn matches(filter: &[&str], topic: &[&str]) -> bool {
    match (filter.split_first(), topic.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), Some((_, topic_rest))) => matches(rest, topic) || matches(filter, topic_rest),
        (Some((&"**", rest)), None) => matches(rest, topic),
        (Some((level, rest)), Some((name, topic_rest))) => {
            (*level == "*" || level == name) && matches(rest, topic_rest)
        }
        _ => false,
    }
}

/// How two sets of topics relate.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Relation {
    pub(super) intersect: bool,
    pub(super) first_includes: bool,
    pub(super) second_includes: bool,
}

/// Relates two filters over the names `a`, `b` and one that neither has.
pub(super) fn relate(first: &Filter, second: &Filter) -> Relation {
    let first: Vec<&str> = first.levels().collect();
    let second: Vec<&str> = second.levels().collect();
    let mut relation = Relation { intersect: false, first_includes: true, second_includes: true };
    let start = (close(&first, BTreeSet::from([0])), close(&second, BTreeSet::from([0])));
    let mut seen = BTreeSet::new();
    let mut waiting = VecDeque::from([start]);
    while let Some((one, two)) = waiting.pop_front() {
        for name in ["a", "b", "z"] {
            let next = (step(&first, &one, name), step(&second, &two, name));
            if !seen.insert(next.clone()) {
                continue;
            }
            let ends = (next.0.contains(&first.len()), next.1.contains(&second.len()));
            relation.intersect |= ends.0 && ends.1;
            relation.first_includes &= ends.0 || !ends.1;
            relation.second_includes &= ends.1 || !ends.0;
            waiting.push_back(next);
        }
    }
    relation
}

/// `**` may be left without taking a level.
fn close(filter: &[&str], states: BTreeSet<usize>) -> BTreeSet<usize> {
    let mut closed = states;
    for (state, level) in filter.iter().enumerate() {
        if *level == "**" && closed.contains(&state) {
            closed.insert(state + 1);
        }
    }
    closed
}

fn step(filter: &[&str], states: &BTreeSet<usize>, name: &str) -> BTreeSet<usize> {
    let mut next = BTreeSet::new();
    for &state in states {
        match filter.get(state) {
            Some(&"**") => next.insert(state),
            Some(&level) if level == "*" || level == name => next.insert(state + 1),
            _ => false,
        };
    }
    close(filter, next)
}
