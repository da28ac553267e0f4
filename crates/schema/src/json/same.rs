//! Whether two subschemas say the very same, so that it does not matter whether
//! what they say is understood here.
use std::collections::BTreeSet;

use serde_json::Value;

use super::compat::{At, Proof};
use super::nodes::{Node, Place};

/// How many pairs one question may take.
const PAIRS: usize = 2_000;

/// Whether the subschemas at `one` and at `other` are the same, rule by rule and
/// down to the last reference. Two that come back to themselves are the same.
pub(super) fn same(proof: &Proof<'_>, one: At, other: At) -> bool {
    if one == other {
        return true;
    }
    let mut seen = BTreeSet::new();
    let mut waiting = vec![(one, other)];
    while let Some((one, other)) = waiting.pop() {
        if one == other || !seen.insert((one, other)) {
            continue;
        }
        let (node, twin) = (proof.at(one), proof.at(other));
        if !proof.spend(4) || seen.len() > PAIRS || !alike(proof, node, twin) {
            return false;
        }
        let (Some(inner), Some(inner_twin)) = (children(node), children(twin)) else { return false };
        if inner.len() != inner_twin.len() {
            return false;
        }
        waiting.extend(
            inner.into_iter().zip(inner_twin).map(|(place, twin)| (At { place, ..one }, At { place: twin, ..other })),
        );
    }
    true
}

/// Whether all is equal but the subschemas.
fn alike(proof: &Proof<'_>, one: &Node, other: &Node) -> bool {
    let numbers = one.minimum == other.minimum && one.maximum == other.maximum && one.multiple_of == other.multiple_of;
    let strings = one.min_length == other.min_length
        && one.max_length == other.max_length
        && one.pattern == other.pattern
        && one.format == other.format
        && (one.format.is_none() || proof.same_draft);
    let arrays = one.min_items == other.min_items && one.max_items == other.max_items && one.unique == other.unique;
    let contains = |node: &Node| node.contains.as_ref().map(|contains| (contains.at_least, contains.at_most));
    let objects = one.required == other.required
        && one.min_properties == other.min_properties
        && one.max_properties == other.max_properties
        && one.dependent_required == other.dependent_required
        && one.properties.keys().eq(other.properties.keys())
        && one.patterns.keys().eq(other.patterns.keys())
        && one.dependent_schemas.keys().eq(other.dependent_schemas.keys());
    let shape = |node: &Node| {
        let choices = [&node.any_of, &node.one_of].map(|choice| choice.as_ref().map(Vec::len));
        let condition = node.condition.map(|(_, then, otherwise)| (then.is_some(), otherwise.is_some()));
        let single = [node.items, node.additional, node.names, node.not].map(|place| place.is_some());
        (choices, condition, single, node.prefix.len(), node.all_of.len())
    };
    let opaque = one.opaque == other.opaque
        && (one.opaque.is_empty() || proof.same_draft)
        && one.opaque.values().all(|value| !refers(value));
    one.types == other.types
        && one.values == other.values
        && numbers
        && strings
        && arrays
        && contains(one) == contains(other)
        && objects
        && shape(one) == shape(other)
        && opaque
}

/// Whether a rule that is not understood refers to something elsewhere.
fn refers(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, inner)| key.starts_with('$') || key == "id" || refers(inner)),
        Value::Array(items) => items.iter().any(refers),
        _ => false,
    }
}

/// All subschemas in an order that is the same for nodes of the same shape.
fn children(node: &Node) -> Option<Vec<Place>> {
    let single = [node.items, node.additional, node.names, node.not];
    let condition = node.condition.iter().flat_map(|(when, then, otherwise)| [Some(*when), *then, *otherwise]);
    let mut all: Vec<Place> = single.into_iter().chain(condition).flatten().collect();
    all.extend(node.contains.iter().map(|contains| contains.place));
    all.extend(node.prefix.iter().chain(&node.all_of));
    all.extend([&node.any_of, &node.one_of].into_iter().flatten().flatten());
    all.extend(node.properties.values().chain(node.patterns.values()).chain(node.dependent_schemas.values()));
    (all.len() <= PAIRS).then_some(all)
}
