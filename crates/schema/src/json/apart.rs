//! When no value is valid by two schemas at once.
use serde_json::Value;

use super::compat::{At, Known, Proof};
use super::nodes::Node;
use super::objects::property;
use super::rules::admits;
use super::types::Types;
use super::values::compare;

/// Whether certainly no value of which `known` is known is valid by `other`.
pub(super) fn apart(proof: &Proof<'_>, known: &Known, other: At, depth: usize) -> bool {
    if depth > 8 || !proof.spend(16) {
        return false;
    }
    let theirs = proof.known(Types::ALL, &[other]);
    let both = known.types.and(theirs.types);
    if both == Types::NONE {
        return true;
    }
    // One side lists its values, and the other takes none of them.
    for (one, others) in [(known, &theirs), (&theirs, known)] {
        for values in one.all.iter().filter_map(|at| proof.at(*at).values.as_ref()) {
            let refused = |value: &Value| {
                others.all.iter().any(|at| admits(proof, *at, value, 0) == Some(false))
                    || !others.types.meets(super::rules::types_of(value))
            };
            if values.iter().all(refused) {
                return true;
            }
        }
    }
    // A choice is apart if each of its branches is.
    for at in &theirs.all {
        let node = proof.at(*at);
        for branches in [&node.any_of, &node.one_of].into_iter().flatten() {
            if branches.len() <= 16
                && branches.iter().all(|place| apart(proof, known, At { place: *place, ..*at }, depth + 1))
            {
                return true;
            }
        }
    }
    // Otherwise each type that both have must be apart by its rules.
    both.each().all(|one| {
        if Types::OBJECT.includes(one) {
            objects(proof, known, &theirs, depth)
        } else if Types::NUMBER.includes(one) {
            numbers(proof, known, &theirs)
        } else if one == Types::STRING {
            lengths(proof, known, &theirs, |node| (node.min_length, node.max_length))
        } else if one == Types::ARRAY {
            lengths(proof, known, &theirs, |node| (node.min_items, node.max_items))
        } else {
            false
        }
    })
}

/// A property that one of them requires has no value that both take.
fn objects(proof: &Proof<'_>, one: &Known, other: &Known, depth: usize) -> bool {
    let required = |known: &Known| known.all.iter().flat_map(|at| proof.at(*at).required.iter()).collect::<Vec<_>>();
    required(one).into_iter().chain(required(other)).any(|name| {
        let value = property(proof, &one.all, name);
        let theirs = property(proof, &other.all, name);
        value.types.and(theirs.types) == Types::NONE || theirs.all.iter().any(|at| apart(proof, &value, *at, depth + 1))
    })
}

fn numbers(proof: &Proof<'_>, one: &Known, other: &Known) -> bool {
    let nodes = |known: &Known| known.all.iter().map(|at| proof.at(*at)).collect::<Vec<&Node>>();
    let below = |low: &Known, high: &Known| {
        nodes(low).iter().flat_map(|node| &node.maximum).any(|most| {
            nodes(high).iter().flat_map(|node| &node.minimum).any(|least| match compare(&most.value, &least.value) {
                std::cmp::Ordering::Less => true,
                std::cmp::Ordering::Equal => most.exclusive || least.exclusive,
                std::cmp::Ordering::Greater => false,
            })
        })
    };
    below(one, other) || below(other, one)
}

fn lengths(proof: &Proof<'_>, one: &Known, other: &Known, range: impl Fn(&Node) -> (u64, Option<u64>)) -> bool {
    let ranges = |known: &Known| known.all.iter().map(|at| range(proof.at(*at))).collect::<Vec<_>>();
    let (one, other) = (ranges(one), ranges(other));
    let below = |low: &[(u64, Option<u64>)], high: &[(u64, Option<u64>)]| {
        low.iter().any(|(_, most)| most.is_some_and(|most| high.iter().any(|(least, _)| most < *least)))
    };
    below(&one, &other) || below(&other, &one)
}
