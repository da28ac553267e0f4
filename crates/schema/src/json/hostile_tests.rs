//! Schemas and payloads that are meant to hurt, on half of the stack that is
//! asked for. What is bounded is shown by counts, not by clocks.
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::JsonSchema;
use crate::{CompileError, Compiled, Dependency, Payload, STACK_BYTES, SchemaLimits, Source, Violation};

/// Runs on a thread with half of the stack that callers must have.
fn on_half_the_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().stack_size(STACK_BYTES / 2).spawn_scoped(scope, work).expect("a thread");
        thread.join().expect("it ends")
    })
}

fn compile(text: &str) -> Result<JsonSchema, CompileError> {
    on_half_the_stack(|| JsonSchema::compile(&Source::alone(text), &SchemaLimits::default()))
}

fn check(schema: &JsonSchema, payload: &[u8]) -> Result<(), Violation> {
    on_half_the_stack(|| schema.check(Payload::of(payload)))
}

fn nested(open: &str, inner: &str, close: &str, times: usize) -> String {
    format!("{}{inner}{}", open.repeat(times), close.repeat(times))
}

#[test]
fn texts_that_are_too_deep_too_large_or_no_json_are_refused() {
    assert!(compile(&nested(r#"{"not":"#, "{}", "}", 100_000)).is_err());
    assert!(compile(&nested(r#"{"not":"#, "{}", "}", 100)).is_err());
    assert!(compile(&nested("[", "", "]", 100_000)).is_err());
    assert!(compile(&format!(r#"{{"enum": [{}0]}}"#, "0,".repeat(30_000))).is_err());
    assert!(compile("{").is_err());
    assert!(compile("").is_err());
    assert!(compile("7").is_err());
    assert!(compile(r#"{"minimum": 1e400}"#).is_err());
    assert!(compile(r#"{"minLength": -1}"#).is_err());
    assert!(compile("{\"title\": \"\u{0}\"}").is_err());
}

#[test]
fn schemas_that_refer_to_themselves_for_the_same_value_are_refused() {
    for text in [
        r##"{"$ref": "#"}"##,
        r##"{"allOf": [{"$ref": "#"}]}"##,
        r##"{"not": {"$ref": "#"}}"##,
        r##"{"anyOf": [{"type": "string"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"oneOf": [{"$ref": "#"}]}}}"##,
        r##"{"if": {"$ref": "#"}, "then": {}}"##,
        r##"{"dependentSchemas": {"a": {"$ref": "#"}}}"##,
    ] {
        let Err(error) = compile(text) else { panic!("{text} is taken") };
        assert!(matches!(&error, CompileError::Refused { .. }), "{text}: {error}");
    }
}

#[test]
fn references_to_what_is_not_given_are_refused_and_nothing_is_fetched() {
    for text in [
        r#"{"$ref": "http://127.0.0.1:1/schema.json"}"#,
        r#"{"$ref": "https://example.com/schema.json"}"#,
        r#"{"$ref": "file:///etc/passwd"}"#,
        r#"{"$ref": "other.json#/a"}"#,
        r##"{"$ref": "#/nowhere"}"##,
        r##"{"$ref": "#anchor"}"##,
        r#"{"$ref": "::::"}"#,
        r#"{"$id": "::::", "$ref": "x"}"#,
        r##"{"$dynamicRef": "#node"}"##,
        r#"{"$schema": "https://example.com/draft"}"#,
    ] {
        assert!(compile(text).is_err(), "{text} is taken");
    }
}

#[test]
fn given_schemas_may_refer_to_each_other_but_not_in_a_circle_for_one_value() {
    let given = |text: &str| [Dependency { name: "other.json".to_owned(), text: text.to_owned() }];
    let compile = |text: &str, other: &str| {
        on_half_the_stack(|| {
            JsonSchema::compile(&Source { text, dependencies: &given(other) }, &SchemaLimits::default())
        })
    };
    assert!(compile(r#"{"$ref": "other.json"}"#, r#"{"type": "string"}"#).is_ok());
    assert!(
        compile(r#"{"$id": "https://example.com/a/root.json", "$ref": "other.json"}"#, r#"{"type": "string"}"#).is_ok()
    );
    assert!(compile(r#"{"$ref": "other.json"}"#, r##"{"$ref": "#"}"##).is_err());
    assert!(compile(r#"{"$ref": "other.json"}"#, r#"{"$schema": "http://json-schema.org/draft-04/schema#"}"#).is_err());
    assert!(compile(r#"{"$ref": "other.json"}"#, "{").is_err());
}

#[test]
fn schemas_that_ask_for_exponential_work_bound_their_payloads() {
    // Each level applies the next one twice: 2^30 for one value.
    let mut text = String::from(r##"{"$ref": "#/$defs/d0", "$defs": {"##);
    for level in 0..30 {
        let next = level + 1;
        let _ = write!(
            text,
            r##""d{level}": {{"allOf": [{{"$ref": "#/$defs/d{next}"}}, {{"$ref": "#/$defs/d{next}"}}]}},"##
        );
    }
    text.push_str(r#""d30": {}}}"#);
    assert!(compile(&text).is_err());
    // Twice for each level of the payload.
    let twice = json!({"allOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]});
    let schema = compile(&twice.to_string()).expect("shallow payloads are harmless");
    assert_eq!(check(&schema, nested(r#"{"a":"#, "1", "}", 5).as_bytes()), Ok(()));
    let violation = check(&schema, nested(r#"{"a":"#, "1", "}", 60).as_bytes()).expect_err("2^60 steps");
    assert_eq!(violation.rule, "nesting");
    // Many values, each for many subschemas.
    let wide = json!({"items": {"allOf": vec![json!({"type": "integer"}); 2_000]}});
    let schema = compile(&wide.to_string()).expect("compiles");
    assert_eq!(check(&schema, b"[1,2,3]"), Ok(()));
    let many = format!("[{}0]", "0,".repeat(20_000));
    assert_eq!(check(&schema, many.as_bytes()).expect_err("too much").rule, "steps");
}

#[test]
fn long_chains_of_references_bound_the_depth_of_payloads_and_fit_on_the_stack() {
    let chain = |links: usize, end: &str| {
        let mut text = String::from(r##"{"$ref": "#/$defs/d0", "$defs": {"##);
        for link in 0..links {
            let next = link + 1;
            let _ = write!(text, r##""d{link}": {{"$ref": "#/$defs/d{next}"}},"##);
        }
        let _ = write!(text, r#""d{links}": {end}}}}}"#);
        text
    };
    assert!(compile(&chain(5_000, "{}")).is_err(), "longer than the stack allows");
    let around = r##"{"properties": {"a": {"$ref": "#"}}, "items": {"$ref": "#"}, "type": ["object", "integer"]}"##;
    let schema = compile(&chain(100, around)).expect("compiles");
    assert_eq!(check(&schema, nested(r#"{"a":"#, "1", "}", 5).as_bytes()), Ok(()));
    assert_eq!(check(&schema, nested(r#"{"a":"#, "true", "}", 5).as_bytes()).expect_err("no boolean").rule, "type");
    assert_eq!(check(&schema, nested(r#"{"a":"#, "1", "}", 40).as_bytes()).expect_err("too deep").rule, "nesting");
    // The deepest that is let in, valid and not.
    let schema = compile(&chain(10, around)).expect("compiles");
    for depth in 0..=64 {
        for end in ["1", "true"] {
            let _ = check(&schema, nested(r#"{"a":"#, end, "}", depth).as_bytes());
        }
    }
}

#[test]
fn regular_expressions_take_linear_time_or_are_refused() {
    let long = format!("\"{}!\"", "a".repeat(50_000));
    for pattern in ["^(a+)+$", "^(a|aa)+$", "(x+x+)+y", "^(.*a){20}$"] {
        let schema = compile(&json!({"pattern": pattern}).to_string()).expect("compiles");
        assert!(check(&schema, long.as_bytes()).is_err(), "{pattern}");
    }
    for pattern in ["(?=a)b", r"(a)\1", "(a{1000}){1000}", "(?<!a)b", "("] {
        assert!(compile(&json!({"pattern": pattern}).to_string()).is_err(), "{pattern} is taken");
    }
    let many: serde_json::Map<String, Value> = (0..300).map(|n| (format!("^a{n}"), json!({}))).collect();
    assert!(compile(&json!({"patternProperties": many}).to_string()).is_err(), "too many");
}

#[test]
fn payloads_that_are_hostile_are_refused() {
    let schema = compile("{}").expect("compiles");
    for payload in [
        &b""[..],
        b"{",
        b"\xff\xfe",
        b"\"\xff\"",
        b"1e400",
        b"{}{}",
        b"\"\\ud800\"",
        b"nul",
        b"\0\0\0\0\0{}",
        nested("[", "", "]", 100_000).as_bytes(),
        nested("[", "", "]", 66).as_bytes(),
        &vec![b' '; (1 << 20) + 1],
    ] {
        assert!(check(&schema, payload).is_err(), "{:?} is taken", payload.get(..payload.len().min(20)));
    }
    assert_eq!(check(&schema, nested("[", "", "]", 65).as_bytes()), Ok(()));
    assert_eq!(check(&schema, br#"{"a": 1, "a": 2}"#), Ok(()), "the last one counts");
}

#[test]
fn comparing_hostile_schemas_ends() {
    // Choices within choices on both sides, nearly the same.
    let build = |end: &str| {
        let mut schema = json!({"type": end});
        for level in 0..12 {
            let name = format!("p{level}");
            schema = json!({"anyOf": [{"properties": {&name: schema}}, {"required": [name]}, {"oneOf": [{"minProperties": level}, {"maxItems": level}]}]});
        }
        schema.to_string()
    };
    let (one, other) = (compile(&build("string")).expect("compiles"), compile(&build("integer")).expect("compiles"));
    assert!(on_half_the_stack(|| one.can_read(&other)).is_err());
    assert!(on_half_the_stack(|| one.can_read(&one)).is_ok());
    // A deep chain of different names.
    let deep = |times: usize, end: &str| {
        let mut text = String::from(r##"{"$ref": "#/$defs/d0", "$defs": {"##);
        for level in 0..times {
            let next = level + 1;
            let _ = write!(text, r##""d{level}": {{"properties": {{"a": {{"$ref": "#/$defs/d{next}"}}}}}},"##);
        }
        let _ = write!(text, r#""d{times}": {end}}}}}"#);
        text
    };
    let (one, other) =
        (compile(&deep(2_000, r#"{"type": "string"}"#)), compile(&deep(2_000, r#"{"type": "integer"}"#)));
    let (one, other) = (one.expect("compiles"), other.expect("compiles"));
    let found = on_half_the_stack(|| one.can_read(&other)).expect_err("they differ");
    assert!(found.iter().any(|found| found.rule == "UNDECIDED"), "{found:?}");
    // Large lists of values.
    let list = |from: u32| json!({"enum": (from..from + 9_000).collect::<Vec<u32>>()}).to_string();
    let (one, other) = (compile(&list(0)).expect("compiles"), compile(&list(1)).expect("compiles"));
    assert!(on_half_the_stack(|| one.can_read(&other)).is_err());
}
