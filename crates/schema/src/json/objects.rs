//! The reader's rules for objects.
use std::collections::BTreeSet;

use serde_json::Value;

use super::compat::{At, Known, Proof};
use super::nodes::Node;
use super::rules::admits;
use super::types::Types;

/// What is known of the value of the property `name`. Patterns are left out,
/// which only makes it less; so is what is additional where there are patterns,
/// since one of them may match the name.
pub(super) fn property(proof: &Proof<'_>, known: &[At], name: &str) -> Known {
    let mut all = Vec::new();
    for at in known {
        let node = proof.at(*at);
        let place = match node.properties.get(name) {
            Some(place) => Some(*place),
            None if node.patterns.is_empty() => node.additional,
            None => None,
        };
        all.extend(place.map(|place| At { place, ..*at }));
    }
    proof.known(Types::ALL, &all)
}

/// What is known of properties that no subschema names, by name or by pattern.
fn unnamed(proof: &Proof<'_>, known: &Known) -> Known {
    let all: Vec<At> =
        known.all.iter().filter_map(|at| proof.at(*at).additional.map(|place| At { place, ..*at })).collect();
    proof.known(Types::ALL, &all)
}

/// The most properties that there can be, where all are named.
fn closed(proof: &Proof<'_>, known: &Known) -> Option<BTreeSet<String>> {
    known.all.iter().find_map(|at| {
        let node = proof.at(*at);
        let additional = node.additional.map(|place| proof.at(At { place, ..*at }).types);
        (node.patterns.is_empty() && additional == Some(Types::NONE)).then(|| node.properties.keys().cloned().collect())
    })
}

/// The reader's rules for objects.
pub(super) fn objects(proof: &mut Proof<'_>, reader: At, known: &Known) -> bool {
    if !known.types.meets(Types::OBJECT) {
        return true;
    }
    let node = proof.at(reader);
    let facts: Vec<&Node> = known.all.iter().map(|at| proof.at(*at)).collect();
    let required: BTreeSet<&String> = facts.iter().flat_map(|fact| &fact.required).collect();
    let mut good = true;
    for name in &node.required {
        if !required.contains(name) {
            good &= proof.against(
                reader,
                "REQUIRED_ATTRIBUTE_ADDED",
                format!("the reader requires '{name}', which the writer may leave out"),
            );
        }
    }
    let least = facts.iter().map(|fact| fact.min_properties).max().unwrap_or(0).max(required.len() as u64);
    if least < node.min_properties {
        good &= proof.against(
            reader,
            "MIN_PROPERTIES_INCREASED",
            format!("the reader asks for at least {} properties", node.min_properties),
        );
    }
    if let Some(limit) = node.max_properties {
        let named = closed(proof, known).map(|names| names.len() as u64);
        let most = facts.iter().filter_map(|fact| fact.max_properties).chain(named).min();
        if most.is_none_or(|most| most > limit) {
            good &= proof.against(
                reader,
                "MAX_PROPERTIES_DECREASED",
                format!("the reader takes at most {limit} properties"),
            );
        }
    }
    for (name, needed) in &node.dependent_required {
        let absent = property(proof, &known.all, name).types == Types::NONE;
        let follows = absent
            || needed.iter().all(|one| required.contains(one))
            || facts
                .iter()
                .any(|fact| fact.dependent_required.get(name).is_some_and(|theirs| theirs.is_superset(needed)));
        good &= follows
            || proof.against(
                reader,
                "DEPENDENCY_ADDED",
                format!("with '{name}' the reader requires more than the writer writes"),
            );
    }
    for (name, place) in &node.dependent_schemas {
        let ours = At { place: *place, ..reader };
        let absent = property(proof, &known.all, name).types == Types::NONE;
        let theirs: Vec<At> = known
            .all
            .iter()
            .filter_map(|at| proof.at(*at).dependent_schemas.get(name).map(|place| At { place: *place, ..*at }))
            .collect();
        let more = theirs.iter().fold(known.clone(), |known, at| proof.with(&known, *at));
        good &= absent
            || proof.quietly(|proof| proof.reads(ours, &more))
            || proof.against(reader, "DEPENDENCY_ADDED", format!("with '{name}' the reader's schema asks for more"));
    }
    good &= names(proof, reader, known);
    good & properties(proof, reader, known)
}

/// The reader's rule for names.
fn names(proof: &mut Proof<'_>, reader: At, known: &Known) -> bool {
    let node = proof.at(reader);
    let Some(place) = node.names else { return true };
    let ours = At { place, ..reader };
    let theirs: Vec<At> =
        known.all.iter().filter_map(|at| proof.at(*at).names.map(|place| At { place, ..*at })).collect();
    let name = proof.known(Types::STRING, &theirs);
    if proof.quietly(|proof| proof.reads(ours, &name)) {
        return true;
    }
    let each = closed(proof, known);
    each.is_some_and(|names| names.into_iter().all(|name| admits(proof, ours, &Value::String(name), 0) == Some(true)))
        || proof.against(reader, "UNDECIDED", "the reader's propertyNames do not follow from the writer's")
}

/// The schemas of the reader's properties: by name, by pattern, and the rest.
fn properties(proof: &mut Proof<'_>, reader: At, known: &Known) -> bool {
    let node = proof.at(reader);
    let inner = |place| At { place, ..reader };
    let mut good = true;
    for (name, place) in &node.properties {
        let value = property(proof, &known.all, name);
        let before = value.all.is_empty() && value.types == Types::ALL;
        if before && !proof.quietly(|proof| proof.reads(inner(*place), &value)) {
            good &= proof.against(
                inner(*place),
                "PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL",
                format!("the writer's content model is open, so '{name}' may be anything"),
            );
        } else {
            good &= proof.reads(inner(*place), &value);
        }
    }
    let theirs: Vec<(At, &Node)> = known.all.iter().map(|at| (*at, proof.at(*at))).collect();
    let named: BTreeSet<&String> = theirs.iter().flat_map(|(_, fact)| fact.properties.keys()).collect();
    // The writer's patterns, each with the schemas that hold for what it matches.
    let patterns: Vec<(&String, Known)> = theirs
        .iter()
        .flat_map(|(at, fact)| fact.patterns.iter().map(|(pattern, place)| (pattern, At { place: *place, ..*at })))
        .map(|(pattern, at)| (pattern, proof.known(Types::ALL, &[at])))
        .collect();
    let rest = unnamed(proof, known);
    for (pattern, place) in &node.patterns {
        // The same pattern matches the same names, whatever they are.
        let same: Vec<&Known> =
            patterns.iter().filter(|(theirs, _)| theirs == &pattern).map(|(_, value)| value).collect();
        if same.iter().any(|value| proof.quietly(|proof| proof.reads(inner(*place), value))) {
            continue;
        }
        // Else it may match any name at all.
        good &=
            all(proof, inner(*place), known, &named, &patterns, &rest, "PATTERN_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL");
    }
    if let Some(place) = node.additional {
        let named: BTreeSet<&String> = named.into_iter().filter(|name| !node.properties.contains_key(*name)).collect();
        let patterns: Vec<(&String, Known)> =
            patterns.into_iter().filter(|(pattern, _)| !node.patterns.contains_key(*pattern)).collect();
        good &= all(proof, inner(place), known, &named, &patterns, &rest, "ADDITIONAL_PROPERTIES_REMOVED");
    }
    good
}

/// Whether `ours` takes the values of all these properties of the writer's.
fn all(
    proof: &mut Proof<'_>,
    ours: At,
    known: &Known,
    named: &BTreeSet<&String>,
    patterns: &[(&String, Known)],
    rest: &Known,
    rule: &'static str,
) -> bool {
    let mut good = true;
    for name in named {
        let value = property(proof, &known.all, name);
        let fits = proof.quietly(|proof| proof.reads(ours, &value));
        let rule =
            if rule == "ADDITIONAL_PROPERTIES_REMOVED" { "PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL" } else { rule };
        good &= fits || proof.against(ours, rule, format!("the writer's property '{name}' is not taken"));
    }
    for (pattern, value) in patterns {
        let fits = proof.quietly(|proof| proof.reads(ours, value));
        good &= fits || proof.against(ours, rule, format!("what the writer's pattern {pattern} allows is not taken"));
    }
    let fits = proof.quietly(|proof| proof.reads(ours, rest));
    good & (fits || proof.against(ours, rule, "the writer may write properties of other names, which are not taken"))
}
