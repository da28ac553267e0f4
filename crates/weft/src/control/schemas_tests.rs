//! Schemas of the control state: what they make hubs check, and what is refused.

use super::*;

const ORDER: &str = r#"{"type":"object","required":["id"],"properties":{"id":{"type":"integer"}}}"#;
/// Orders of before need not have a total.
const WITH_TOTAL: &str =
    r#"{"type":"object","required":["id","total"],"properties":{"id":{"type":"integer"},"total":{"type":"number"}}}"#;
/// Whoever reads by the first version cannot read this.
const TEXT_ID: &str = r#"{"type":"object","required":["id"],"properties":{"id":{"type":["integer","string"]}}}"#;

fn schema_of(text: &str) -> String {
    let source = weft_schema::Source::alone(text);
    let limits = weft_schema::SchemaLimits::default();
    let compiled = weft_schema::Schema::compile(weft_schema::Format::JsonSchema, &source, &limits);
    let print = compiled.expect("a schema").fingerprint(&[]).to_hex();
    serde_json::json!({"format": "JSON", "text": text, "fingerprint": print}).to_string()
}

fn with(before: &State, documents: &[(&str, String)]) -> Arc<State> {
    let puts = documents.iter().map(|(key, text)| (Key::parse(key).expect("a key"), Arc::<str>::from(text.as_str())));
    Arc::new(before.with(puts, &[]))
}

fn subject(versions: &str, rest: &str) -> String {
    format!(r#"{{"topics":["orders/**"],"check":"reject","versions":{versions}{rest}}}"#)
}

/// What is said against the change from one state to another.
fn said(before: &State, after: &State) -> Vec<String> {
    let changed: Vec<Key> =
        after.items().filter(|(key, item)| before.get(key) != Some(*item)).map(|(key, _)| key.clone()).collect();
    Looking::new().look(before, after, &changed).iter().map(ToString::to_string).collect()
}

#[test]
fn a_state_is_followed_and_only_what_changes_is_compiled() {
    let mut schemas = Schemas::new();
    let first = with(
        &State::default(),
        &[("schema/1", schema_of(ORDER)), ("subject/orders", subject(r#"{"1":{"id":1}}"#, ""))],
    );
    let learned = schemas.learn(&first);
    assert_eq!((learned.schemas, learned.compiled, learned.faults.len()), (1, 1, 0));
    assert!(learned.inspector.checks("orders/1") && !learned.inspector.checks("flights/1"));
    assert_eq!(learned.inspector.inspect("orders/1", 0, br#"{"id":7}"#), Ok(()));
    let why = learned.inspector.inspect("orders/1", 0, br#"{"id":"x"}"#).expect_err("it is no integer");
    assert_eq!((&*why.subject, why.version, why.schema, why.state), ("orders", Some(1), Some(1), 1));
    assert_eq!((&*why.at, &*why.rule), ("/id", "type"));

    let other = with(&first, &[("policy/p", r#"{"rules":"permit(principal,action,resource);"}"#.to_owned())]);
    let same = schemas.learn(&other);
    assert!(Arc::ptr_eq(&same.inspector, &learned.inspector) && same.compiled == 0, "that is nothing to it");

    let second = with(
        &other,
        &[("schema/2", schema_of(TEXT_ID)), ("subject/orders", subject(r#"{"1":{"id":1},"2":{"id":2}}"#, ""))],
    );
    let learned = schemas.learn(&second);
    assert_eq!((learned.schemas, learned.compiled), (2, 1));
    assert_eq!(learned.inspector.inspect("orders/1", 0, br#"{"id":"x"}"#), Ok(()));
    assert!(learned.inspector.inspect("orders/1", 1, br#"{"id":"x"}"#).is_err(), "its block names the first version");
    let foreign = learned.inspector.inspect("orders/1", 9, b"{}").expect_err("there is no such schema");
    assert!(foreign.text.contains("no version of subject"), "{}", foreign.text);

    // The topic has an owner from then on, whose quarantine it is.
    assert_eq!(foreign.tenant, None);
    let owned = with(&second, &[("tenant/shop", r#"{"topics":["orders/**"]}"#.to_owned())]);
    let learned = schemas.learn(&owned);
    let why = learned.inspector.inspect("orders/1", 0, b"[]").expect_err("it is no object");
    assert_eq!((why.tenant.as_deref(), learned.compiled), (Some("shop"), 0));

    let gone = Arc::new(owned.with([], &[Key::parse("subject/orders").expect("a key")]));
    assert!(!schemas.learn(&gone).inspector.checks("orders/1"));
}

#[test]
fn what_is_no_schema_or_has_another_fingerprint_is_refused_before_it_is_proposed() {
    let before = State::default();
    let no_schema = serde_json::json!({"format": "JSON", "text": "{\"type\":7}", "fingerprint": "0".repeat(64)});
    let said_of = |document: String| said(&before, &with(&before, &[("schema/1", document)]));
    assert!(said_of(no_schema.to_string())[0].starts_with("schema/1: text:"), "{:?}", said_of(no_schema.to_string()));
    assert!(said_of(schema_of(ORDER)).is_empty());
    let wrong = serde_json::json!({"format": "JSON", "text": ORDER, "fingerprint": "0".repeat(64)});
    assert!(said_of(wrong.to_string())[0].contains("fingerprint: that of the text is "), "the right one is named");
}

#[test]
fn a_version_that_does_not_go_with_those_before_is_refused_unless_the_level_says_otherwise() {
    let schemas = [("schema/1", schema_of(ORDER)), ("schema/2", schema_of(WITH_TOTAL))].map(|(key, text)| (key, text));
    let first = with(
        &State::default(),
        &[schemas[0].clone(), schemas[1].clone(), ("subject/orders", subject(r#"{"1":{"id":1}}"#, ""))],
    );
    assert_eq!(said(&State::default(), &first), Vec::<String>::new());
    let both = r#"{"1":{"id":1},"2":{"id":2}}"#;
    let second = with(&first, &[("subject/orders", subject(both, ""))]);
    let faults = said(&first, &second);
    assert!(faults[0].contains("version 2 does not go with version 1 (BACKWARD)"), "{faults:?}");
    let none = with(&first, &[("subject/orders", subject(both, r#","level":"NONE""#))]);
    assert_eq!(said(&first, &none), Vec::<String>::new());
    let forward = with(&first, &[("subject/orders", subject(both, r#","level":"FORWARD""#))]);
    assert_eq!(said(&first, &forward), Vec::<String>::new());
}

#[test]
fn a_version_that_breaks_who_declared_to_read_is_refused_with_how_many_and_where() {
    let reader = |consumer: &str, region: &str| {
        format!(r#"{{"subject":"orders","version":1,"consumer":"{consumer}","region":"{region}"}}"#)
    };
    let readers = [
        ("reader/a", reader("billing", "eu")),
        ("reader/b", reader("billing", "us")),
        ("reader/c", reader("search", "eu")),
        ("reader/d", reader("audit", "")),
        ("reader/e", reader("mail", "us")),
    ];
    let first = with(
        &State::default(),
        &[
            ("schema/1", schema_of(ORDER)),
            ("schema/2", schema_of(TEXT_ID)),
            ("subject/orders", subject(r#"{"1":{"id":1}}"#, "")),
        ],
    );
    let first = with(&first, &readers);
    let both = r#"{"1":{"id":1},"2":{"id":2}}"#;
    let second = with(&first, &[("subject/orders", subject(both, ""))]);
    let faults = said(&first, &second);
    assert_eq!(faults.len(), 1, "readers of the new version read what was written: {faults:?}");
    assert!(
        faults[0]
            .contains("version 2 breaks 4 consumers in 3 regions: audit, billing (eu, us), mail (us), search (eu)"),
        "{faults:?}"
    );
    // Once they read by the new version they are not broken.
    let newer: Vec<(&str, String)> =
        readers.iter().map(|(key, text)| (*key, text.replace("\"version\":1", "\"version\":2"))).collect();
    let moved = with(&second, &newer);
    assert_eq!(said(&first, &moved), Vec::<String>::new());
}

#[test]
fn two_filters_of_which_neither_is_the_narrower_are_refused() {
    let first = with(
        &State::default(),
        &[("schema/1", schema_of(ORDER)), ("subject/orders", subject(r#"{"1":{"id":1}}"#, ""))],
    );
    let other = r#"{"topics":["*/eu"],"check":"warn","versions":{"1":{"id":1}}}"#.to_owned();
    let faults = said(&first, &with(&first, &[("subject/eu", other)]));
    assert!(faults.len() == 1 && faults[0].contains("make one of them narrower"), "{faults:?}");
    let narrower = r#"{"topics":["orders/eu"],"check":"warn","versions":{"1":{"id":1}}}"#.to_owned();
    assert_eq!(said(&first, &with(&first, &[("subject/eu", narrower)])), Vec::<String>::new());
}
