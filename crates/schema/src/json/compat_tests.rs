//! Compatibility of JSON Schemas: the usual changes by name, and at random
//! against the validator itself.
use proptest::prelude::*;
use serde_json::{Value, json};

use super::JsonSchema;
use crate::{Compiled, Payload, SchemaLimits, Source};

fn compile(schema: &Value) -> JsonSchema {
    JsonSchema::compile(&Source::alone(&schema.to_string()), &SchemaLimits::default()).expect("compiles")
}

/// The rules against it; empty if `reader` reads what `writer` writes.
fn rules(reader: &Value, writer: &Value) -> Vec<&'static str> {
    match compile(reader).can_read(&compile(writer)) {
        Ok(()) => Vec::new(),
        Err(found) => found.into_iter().map(|one| one.rule).collect(),
    }
}

#[test]
fn in_an_open_content_model_a_new_property_narrows_and_a_lost_one_widens() {
    let old = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let new = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}});
    assert_eq!(rules(&new, &old), ["PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL"]);
    assert!(rules(&old, &new).is_empty());
}

#[test]
fn in_a_closed_content_model_a_new_optional_property_widens_and_a_lost_one_narrows() {
    let old = json!({"type": "object", "properties": {"a": {}}, "additionalProperties": false});
    let new =
        json!({"type": "object", "properties": {"a": {}, "b": {"type": "integer"}}, "additionalProperties": false});
    assert!(rules(&new, &old).is_empty());
    assert_eq!(rules(&old, &new), ["PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL"]);
}

#[test]
fn in_a_partly_open_content_model_a_new_property_must_take_what_was_additional() {
    let old = json!({"type": "object", "properties": {}, "additionalProperties": {"type": "integer"}});
    let wider =
        json!({"type": "object", "properties": {"a": {"type": "number"}}, "additionalProperties": {"type": "integer"}});
    let other =
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "integer"}});
    assert!(rules(&wider, &old).is_empty());
    assert_eq!(rules(&other, &old), ["TYPE_NARROWED"]);
}

#[test]
fn each_narrowing_is_named_and_its_reverse_is_compatible() {
    let cases = [
        (json!({"type": "integer"}), json!({"type": "number"}), "TYPE_NARROWED"),
        (json!({"type": "string"}), json!({"type": ["string", "null"]}), "TYPE_NARROWED"),
        (json!({"minimum": 5}), json!({"minimum": 4}), "MINIMUM_INCREASED"),
        (json!({"exclusiveMaximum": 5}), json!({"maximum": 5}), "MAXIMUM_DECREASED"),
        (json!({"maxLength": 5}), json!({"maxLength": 6}), "MAX_LENGTH_DECREASED"),
        (json!({"minLength": 5}), json!({}), "MIN_LENGTH_INCREASED"),
        (json!({"pattern": "^a"}), json!({}), "PATTERN_CHANGED"),
        (json!({"format": "date"}), json!({}), "FORMAT_CHANGED"),
        (json!({"required": ["a"]}), json!({}), "REQUIRED_ATTRIBUTE_ADDED"),
        (json!({"minItems": 1}), json!({}), "MIN_ITEMS_INCREASED"),
        (json!({"maxItems": 1}), json!({"maxItems": 2}), "MAX_ITEMS_DECREASED"),
        (json!({"uniqueItems": true}), json!({}), "UNIQUE_ITEMS_ADDED"),
        (json!({"enum": [1, 2]}), json!({"enum": [1, 2, 3]}), "ENUM_VALUE_NOT_READ"),
        (json!({"const": "a"}), json!({"type": "string"}), "ENUM_ARRAY_NARROWED"),
        (json!({"not": {"type": "null"}}), json!({}), "NOT_TYPE_EXTENDED"),
        (
            json!({"anyOf": [{"type": "string"}]}),
            json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
            "COMBINED_TYPE_SUBSCHEMAS_CHANGED",
        ),
        (
            json!({"oneOf": [{"type": "string"}]}),
            json!({"oneOf": [{"type": "string"}, {"type": "null"}]}),
            "COMBINED_TYPE_SUBSCHEMAS_CHANGED",
        ),
        (json!({"items": {"type": "string"}}), json!({"items": {"type": ["string", "null"]}}), "TYPE_NARROWED"),
        (
            json!({"properties": {"a": {"maximum": 3}}}),
            json!({"properties": {"a": {"maximum": 4}}}),
            "MAXIMUM_DECREASED",
        ),
        (json!({"minProperties": 2}), json!({"minProperties": 1}), "MIN_PROPERTIES_INCREASED"),
        (json!({"dependentRequired": {"a": ["b"]}}), json!({}), "DEPENDENCY_ADDED"),
    ];
    for (narrow, wide, rule) in cases {
        assert!(rules(&narrow, &wide).contains(&rule), "{narrow} reading {wide}: {:?}", rules(&narrow, &wide));
        assert_eq!(rules(&wide, &narrow), Vec::<&str>::new(), "{wide} reading {narrow}");
    }
}

#[test]
fn references_are_followed_through_circles() {
    let tree = |leaf: &str| {
        json!({
            "$ref": "#/$defs/node",
            "$defs": {"node": {"type": "object", "properties": {"value": {"type": leaf}, "next": {"$ref": "#/$defs/node"}}, "additionalProperties": false}},
        })
    };
    assert!(rules(&tree("number"), &tree("integer")).is_empty());
    assert_eq!(rules(&tree("integer"), &tree("number")), ["TYPE_NARROWED"]);
}

#[test]
fn variants_told_apart_by_a_constant_can_be_added_for_readers() {
    let variant = |kind: &str| json!({"type": "object", "required": ["kind"], "properties": {"kind": {"const": kind}}});
    let old = json!({"oneOf": [variant("a"), variant("b")]});
    let new = json!({"oneOf": [variant("a"), variant("b"), variant("c")]});
    assert!(rules(&new, &old).is_empty());
    assert_eq!(rules(&old, &new), ["COMBINED_TYPE_SUBSCHEMAS_CHANGED"]);
}

#[test]
fn what_is_not_understood_is_compatible_with_itself_only() {
    let one = json!({"type": "object", "properties": {"a": {}}, "unevaluatedProperties": false});
    let other = json!({"type": "object", "unevaluatedProperties": {"type": "string"}});
    assert!(rules(&one, &json!({"allOf": [one, {"required": ["a"]}]})).is_empty());
    assert!(rules(&one, &other).contains(&"UNDECIDED"));
}

#[test]
fn one_and_one_point_zero_are_told_apart_only_where_the_draft_does() {
    let four = json!({"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer"});
    let seven = json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "integer"});
    assert_eq!(rules(&four, &seven), ["TYPE_NARROWED"]);
    assert!(rules(&seven, &four).is_empty());
}

/// Values that schemas at random are likely to tell apart.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|flag| json!(flag)),
        (-3_i64..8).prop_map(|number| json!(number)),
        prop_oneof![Just(json!(1.0)), Just(json!(2.5)), Just(json!(-0.5))],
        prop_oneof![Just(""), Just("a"), Just("ab"), Just("abc"), Just("b")].prop_map(|text| json!(text)),
    ];
    leaf.prop_recursive(2, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| json!(items)),
            prop::collection::btree_map(prop_oneof![Just("a"), Just("b"), Just("ab"), Just("c")], inner, 0..4)
                .prop_map(|map| json!(map)),
        ]
    })
}

/// Schemas of few words, so that two of them often have to do with each other.
fn schema() -> impl Strategy<Value = Value> {
    let types = prop_oneof![
        Just("null"),
        Just("boolean"),
        Just("integer"),
        Just("number"),
        Just("string"),
        Just("array"),
        Just("object")
    ];
    let leaf = prop_oneof![
        Just(json!({})),
        Just(json!(true)),
        Just(json!(false)),
        types.clone().prop_map(|name| json!({"type": name})),
        prop::collection::vec(types, 1..4).prop_map(|mut names| {
            names.sort_unstable();
            names.dedup();
            json!({"type": names})
        }),
        (-2_i64..5).prop_map(|number| json!({"minimum": number})),
        (-2_i64..5).prop_map(|number| json!({"exclusiveMaximum": number, "type": "number"})),
        (1_i64..4).prop_map(|number| json!({"multipleOf": number})),
        (0_u64..3).prop_map(|number| json!({"maxLength": number, "type": ["string", "null"]})),
        (0_u64..3).prop_map(|number| json!({"minItems": number, "maxItems": number + 1})),
        prop_oneof![Just("^a"), Just("b$")].prop_map(|pattern| json!({"pattern": pattern})),
        prop::collection::vec(value(), 1..4).prop_map(|values| json!({"enum": values})),
        value().prop_map(|value| json!({"const": value})),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        let name = || prop_oneof![Just("a"), Just("b"), Just("c")];
        let list = || prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            2 => (prop::collection::btree_map(name(), inner.clone(), 0..3), prop::option::of(inner.clone()), prop::collection::btree_set(name(), 0..2))
                .prop_map(|(properties, additional, required)| {
                    let mut schema = json!({"properties": properties, "required": required});
                    if let (Some(map), Some(additional)) = (schema.as_object_mut(), additional) {
                        map.insert("additionalProperties".into(), additional);
                    }
                    schema
                }),
            1 => (prop_oneof![Just("^a"), Just("b$")], inner.clone(), inner.clone(), any::<bool>())
                .prop_map(|(pattern, one, rest, closed)| json!({"patternProperties": {pattern: one}, "additionalProperties": if closed { json!(false) } else { rest }})),
            1 => (name(), inner.clone()).prop_map(|(name, one)| json!({"dependentSchemas": {name: one}})),
            1 => (name(), name()).prop_map(|(name, other)| json!({"dependentRequired": {name: [other]}})),
            1 => (0_u64..3, inner.clone()).prop_map(|(least, one)| json!({"minProperties": least, "propertyNames": one})),
            1 => (prop::collection::vec(inner.clone(), 0..3), inner.clone(), any::<bool>()).prop_map(|(prefix, rest, unique)| {
                let mut schema = json!({"items": rest, "uniqueItems": unique});
                if let Some(map) = schema.as_object_mut().filter(|_| !prefix.is_empty()) {
                    map.insert("prefixItems".into(), json!(prefix));
                }
                schema
            }),
            1 => (inner.clone(), 0_u64..3, prop::option::of(1_u64..3)).prop_map(|(one, least, most)| {
                let mut schema = json!({"contains": one, "minContains": least});
                if let (Some(map), Some(most)) = (schema.as_object_mut(), most) {
                    map.insert("maxContains".into(), json!(most));
                }
                schema
            }),
            1 => list().prop_map(|all| json!({"allOf": all})),
            1 => list().prop_map(|all| json!({"anyOf": all})),
            1 => list().prop_map(|all| json!({"oneOf": all})),
            1 => inner.clone().prop_map(|one| json!({"not": one})),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| json!({"if": a, "then": b, "else": c})),
            1 => (inner.clone(), any::<bool>()).prop_map(|(one, open)| json!({"properties": {"a": one}, "unevaluatedProperties": open})),
        ]
    })
}

/// Small changes of a schema, so that many pairs are nearly compatible.
fn changed(schema: &Value, other: &Value, how: u8) -> Value {
    match (schema, how % 6) {
        (_, 0) => json!({"anyOf": [schema, other]}),
        (_, 1) => json!({"allOf": [schema, other]}),
        (_, 2) => json!({"oneOf": [schema, {"not": schema, "const": "z"}]}),
        (Value::Object(map), 3) => {
            let mut map = map.clone();
            map.retain(|key, _| key != "required" && key != "minItems" && key != "const");
            Value::Object(map)
        }
        (Value::Object(map), 4) => {
            let mut map = map.clone();
            if let Value::Object(other) = other {
                for (key, value) in other {
                    map.entry(key.clone()).or_insert_with(|| value.clone());
                }
            }
            Value::Object(map)
        }
        _ => schema.clone(),
    }
}

/// How often compatible pairs were seen with values that say so.
fn no_exception(pairs: u32) -> (u32, u32) {
    let compatible = std::cell::Cell::new(0);
    let told = std::cell::Cell::new(0);
    let config = ProptestConfig { cases: pairs, failure_persistence: None, ..ProptestConfig::default() };
    let strategy = (schema(), schema(), any::<u8>(), any::<bool>(), prop::collection::vec(value(), 12));
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let outcome = runner.run(&strategy, |(one, two, how, swap, values)| {
        let other = changed(&one, &two, how);
        let (reader, writer) = if swap { (other, one) } else { (one, other) };
        let (Ok(read), Ok(write)) = (
            JsonSchema::compile(&Source::alone(&reader.to_string()), &SchemaLimits::default()),
            JsonSchema::compile(&Source::alone(&writer.to_string()), &SchemaLimits::default()),
        ) else {
            return Ok(());
        };
        if read.can_read(&write).is_err() {
            return Ok(());
        }
        compatible.set(compatible.get() + 1);
        for value in values {
            let bytes = value.to_string();
            if write.check(Payload::of(bytes.as_bytes())).is_ok() {
                told.set(told.get() + 1);
                let read = read.check(Payload::of(bytes.as_bytes()));
                prop_assert!(read.is_ok(), "{reader} reads {writer}, but not {value}: {read:?}");
            }
        }
        Ok(())
    });
    assert!(outcome.is_ok(), "{}", outcome.err().map(|error| error.to_string()).unwrap_or_default());
    (compatible.get(), told.get())
}

#[test]
fn what_is_called_compatible_has_no_exception() {
    let (compatible, told) = no_exception(3_000);
    // The judge must have had something to judge.
    assert!(compatible > 200 && told > 200, "{compatible} pairs, {told} values");
}

#[test]
fn the_judge_catches_a_reader_that_says_yes_to_all() {
    let (reader, writer) = (compile(&json!({"type": "string"})), compile(&json!({"type": ["string", "null"]})));
    let null = Payload::of(b"null");
    assert!(writer.check(null).is_ok() && reader.check(null).is_err(), "such a pair is a counterexample");
    assert!(reader.can_read(&writer).is_err());
}
