//! The reader's rules for single values, numbers and strings.
use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::compat::{At, Known, Proof};
use super::nodes::{Bound, Node};
use super::types::Types;
use super::values::{compare, equal, whole};

/// The types that a value equal to `value` may have: 1 may be written as 1.0.
pub(super) fn types_of(value: &Value) -> Types {
    Types::of_equal(value)
}

/// Whether the subschema at `at` takes `value`; `None` if that is not decided here.
pub(super) fn admits(proof: &Proof<'_>, at: At, value: &Value, depth: usize) -> Option<bool> {
    let node = proof.at(at);
    if depth > 16 || !proof.spend(1 + node.values.as_ref().map_or(0, Vec::len)) {
        return None;
    }
    let mut decided = true;
    let types = types_of(value);
    if !node.types.meets(types) {
        return Some(false);
    }
    decided &= node.types.includes(types);
    if let Some(values) = &node.values
        && !values.iter().any(|one| equal(one, value))
    {
        return Some(false);
    }
    match value {
        Value::Number(number) => {
            if !node.minimum.iter().all(|bound| above(number, bound))
                || !node.maximum.iter().all(|bound| below(number, bound))
            {
                return Some(false);
            }
            if let Some(divisor) = &node.multiple_of {
                decided &= divides(divisor, number);
            }
        }
        Value::String(text) => {
            let length = text.chars().count() as u64;
            if length < node.min_length || node.max_length.is_some_and(|most| length > most) {
                return Some(false);
            }
            decided &= node.pattern.is_none() && node.format.is_none();
        }
        Value::Array(_) => decided &= plain_of_arrays(node),
        Value::Object(_) => decided &= plain_of_objects(node),
        Value::Null | Value::Bool(_) => {}
    }
    let inner = |place| At { place, ..at };
    for place in &node.all_of {
        match admits(proof, inner(*place), value, depth + 1) {
            Some(true) => {}
            Some(false) => return Some(false),
            None => decided = false,
        }
    }
    if let Some(branches) = &node.any_of {
        let answers: Vec<_> = branches.iter().map(|place| admits(proof, inner(*place), value, depth + 1)).collect();
        if answers.iter().all(|answer| *answer == Some(false)) {
            return Some(false);
        }
        decided &= answers.contains(&Some(true));
    }
    if let Some(branches) = &node.one_of {
        let answers: Vec<_> = branches.iter().map(|place| admits(proof, inner(*place), value, depth + 1)).collect();
        let takers = answers.iter().filter(|answer| **answer == Some(true)).count();
        if takers > 1 || answers.iter().all(|answer| *answer == Some(false)) {
            return Some(false);
        }
        decided &= takers == 1 && !answers.contains(&None);
    }
    if let Some(place) = node.not {
        match admits(proof, inner(place), value, depth + 1) {
            Some(true) => return Some(false),
            Some(false) => {}
            None => decided = false,
        }
    }
    decided &= node.condition.is_none() && node.opaque.is_empty();
    decided.then_some(true)
}

fn plain_of_arrays(node: &Node) -> bool {
    let counted = node.min_items == 0 && node.max_items.is_none() && !node.unique;
    counted && node.prefix.is_empty() && node.items.is_none() && node.contains.is_none()
}

fn plain_of_objects(node: &Node) -> bool {
    let named =
        node.properties.is_empty() && node.patterns.is_empty() && node.additional.is_none() && node.names.is_none();
    let counted = node.required.is_empty() && node.min_properties == 0 && node.max_properties.is_none();
    named && counted && node.dependent_required.is_empty() && node.dependent_schemas.is_empty()
}

fn above(number: &Number, bound: &Bound) -> bool {
    match compare(number, &bound.value) {
        Ordering::Greater => true,
        Ordering::Equal => !bound.exclusive,
        Ordering::Less => false,
    }
}

fn below(number: &Number, bound: &Bound) -> bool {
    match compare(number, &bound.value) {
        Ordering::Less => true,
        Ordering::Equal => !bound.exclusive,
        Ordering::Greater => false,
    }
}

/// Whether `number` is certainly a multiple of `divisor`. Only of whole numbers
/// that a float holds exactly is that certain.
fn divides(divisor: &Number, number: &Number) -> bool {
    const EXACT: i128 = 1 << 53;
    match (whole(divisor), whole(number)) {
        (Some(divisor), Some(number)) => {
            divisor != 0 && divisor.abs() <= EXACT && number.abs() <= EXACT && number % divisor == 0
        }
        _ => false,
    }
}

/// The reader's rules for numbers.
pub(super) fn numbers(proof: &mut Proof<'_>, reader: At, known: &Known) -> bool {
    if !known.types.meets(Types::NUMBER) {
        return true;
    }
    let node = proof.at(reader);
    let facts: Vec<&Node> = known.all.iter().map(|at| proof.at(*at)).collect();
    let mut good = true;
    for bound in &node.minimum {
        let follows =
            facts.iter().flat_map(|fact| &fact.minimum).any(|fact| match compare(&fact.value, &bound.value) {
                Ordering::Greater => true,
                Ordering::Equal => fact.exclusive || !bound.exclusive,
                Ordering::Less => false,
            });
        good &= follows
            || proof.against(reader, "MINIMUM_INCREASED", format!("the reader asks for at least {}", bound.value));
    }
    for bound in &node.maximum {
        let follows =
            facts.iter().flat_map(|fact| &fact.maximum).any(|fact| match compare(&fact.value, &bound.value) {
                Ordering::Less => true,
                Ordering::Equal => fact.exclusive || !bound.exclusive,
                Ordering::Greater => false,
            });
        good &=
            follows || proof.against(reader, "MAXIMUM_DECREASED", format!("the reader takes at most {}", bound.value));
    }
    if let Some(divisor) = &node.multiple_of {
        let whole_numbers = whole(divisor) == Some(1) && !known.types.meets(Types::FRACTION);
        let follows = whole_numbers
            || facts
                .iter()
                .filter_map(|fact| fact.multiple_of.as_ref())
                .any(|fact| fact == divisor || (divides(divisor, fact) && bounded(&facts)));
        good &= follows
            || proof.against(reader, "MULTIPLE_OF_CHANGED", format!("the reader takes multiples of {divisor} only"));
    }
    good
}

/// Whether the numbers are known to be such that floats hold them exactly, so
/// that being a multiple is not a question of rounding.
fn bounded(facts: &[&Node]) -> bool {
    let limit = Number::from(1_u64 << 53);
    let least = Number::from(-(1_i64 << 53));
    facts.iter().flat_map(|fact| &fact.maximum).any(|bound| compare(&bound.value, &limit) != Ordering::Greater)
        && facts.iter().flat_map(|fact| &fact.minimum).any(|bound| compare(&bound.value, &least) != Ordering::Less)
}

/// The reader's rules for strings.
pub(super) fn strings(proof: &mut Proof<'_>, reader: At, known: &Known) -> bool {
    if !known.types.meets(Types::STRING) {
        return true;
    }
    let node = proof.at(reader);
    let facts: Vec<&Node> = known.all.iter().map(|at| proof.at(*at)).collect();
    let mut good = true;
    if node.min_length > 0 && !facts.iter().any(|fact| fact.min_length >= node.min_length) {
        good &= proof.against(
            reader,
            "MIN_LENGTH_INCREASED",
            format!("the reader asks for at least {} characters", node.min_length),
        );
    }
    if let Some(most) = node.max_length
        && !facts.iter().any(|fact| fact.max_length.is_some_and(|fact| fact <= most))
    {
        good &= proof.against(reader, "MAX_LENGTH_DECREASED", format!("the reader takes at most {most} characters"));
    }
    if let Some(pattern) = &node.pattern
        && !facts.iter().any(|fact| fact.pattern.as_ref() == Some(pattern))
    {
        good &= proof.against(reader, "PATTERN_CHANGED", "the reader's pattern is not the writer's");
    }
    if let Some(format) = &node.format
        && !(proof.same_draft && facts.iter().any(|fact| fact.format.as_ref() == Some(format)))
    {
        good &= proof.against(reader, "FORMAT_CHANGED", format!("the reader's format {format} is not the writer's"));
    }
    good
}
