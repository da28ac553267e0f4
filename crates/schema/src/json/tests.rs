//! Compiling JSON Schemas and checking payloads by them.
use crate::{CompileError, Compiled, Dependency, Payload, SchemaLimits, Source};

use super::JsonSchema;

fn compile(text: &str) -> Result<JsonSchema, CompileError> {
    JsonSchema::compile(&Source::alone(text), &SchemaLimits::default())
}

#[test]
fn a_violation_names_the_rule_and_the_place_but_not_the_value() {
    let schema = compile(r#"{"type": "object", "properties": {"seats": {"type": "integer"}}}"#).expect("compiles");
    assert_eq!(schema.check(Payload::of(br#"{"seats": 3}"#)), Ok(()));
    let violation = schema.check(Payload::of(br#"{"seats": "secret"}"#)).expect_err("no integer");
    assert_eq!((violation.at.as_str(), violation.rule.as_str()), ("/seats", "type"));
    assert!(!violation.to_string().contains("secret"), "{violation}");
}

#[test]
fn texts_that_differ_in_white_space_and_order_of_keys_are_one_schema() {
    let one = compile(r#"{"type": "object", "required": ["a"]}"#).expect("compiles");
    let other = compile("{\"required\":[\"a\"],\n \"type\":\"object\"}").expect("compiles");
    assert_eq!(one.canonical(), other.canonical());
}

#[test]
fn a_reference_finds_a_given_schema_by_its_name_and_nothing_else() {
    let text = r#"{"type": "object", "properties": {"airport": {"$ref": "airport.json"}}}"#;
    let given = [Dependency { name: "airport.json".into(), text: r#"{"type": "string", "maxLength": 3}"#.into() }];
    let schema =
        JsonSchema::compile(&Source { text, dependencies: &given }, &SchemaLimits::default()).expect("compiles");
    assert_eq!(schema.check(Payload::of(br#"{"airport": "JFK"}"#)), Ok(()));
    assert!(schema.check(Payload::of(br#"{"airport": "LONG"}"#)).is_err());
    assert!(compile(text).is_err(), "without it there is nothing to refer to");
    assert!(compile(r#"{"$ref": "https://example.com/airport.json"}"#).is_err(), "nothing is fetched");
    assert!(compile(r#"{"$ref": "file:///etc/passwd"}"#).is_err(), "nothing is read");
}
