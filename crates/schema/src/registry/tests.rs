//! The registry: what requests answer and change, and that nothing else does.
use serde_json::json;

use super::{
    Cache, Change, Check, Document, Level, Mode, RegistryError, RegistryLimits, Request, State, document_name, kind,
    subject_of,
};
use crate::binding::{BindError, Bindings};
use crate::checker::{Checker, Verdict};
use crate::format::{Format, Reference};
use crate::prefix;
use crate::readers::{Declaration, Reads, who_breaks};
use weft_topic::Topic;

/// A state that puts what it decides, as a hub would through consensus.
struct Kept {
    state: State,
    cache: Cache,
}

impl Kept {
    fn new() -> Self {
        Self { state: State::new(RegistryLimits::default()), cache: Cache::default() }
    }

    fn put<A>(&mut self, change: Change<A>) -> A {
        put(&mut self.state, &change.put);
        change.answer
    }

    fn register(&mut self, subject: &str, text: &str) -> Result<(u32, u32), RegistryError> {
        let change = self.state.register(&mut self.cache, subject, &Request::of(Format::JsonSchema, text))?;
        let answer = self.put(change);
        Ok((answer.id, answer.version))
    }
}

fn put(state: &mut State, documents: &[Document]) {
    for document in documents {
        state.put(document.kind, &document.name, document.body.as_ref()).expect("its own documents");
    }
}

const STRING: &str = r#"{"type": "string"}"#;
const NULLABLE: &str = r#"{"type": ["string", "null"]}"#;
const INTEGER: &str = r#"{"type": "integer"}"#;

#[test]
fn one_schema_has_one_id_in_all_subjects_and_one_version_in_each() {
    let mut kept = Kept::new();
    assert_eq!(kept.register("a", STRING), Ok((1, 1)));
    assert_eq!(kept.register("b", INTEGER), Ok((2, 1)));
    assert_eq!(kept.register("b", " { \"type\" : \"integer\" } "), Ok((2, 1)), "again, with other blanks");
    assert_eq!(kept.register("c", STRING), Ok((1, 1)));
    assert_eq!(kept.state.places(1, false), [("a", 1), ("c", 1)]);
    assert_eq!(kept.register("a", NULLABLE), Ok((3, 2)));
    assert_eq!(kept.state.version("a", "latest", false).map(|found| (found.id, found.version)), Ok((3, 2)));
    assert_eq!(
        kept.state.lookup("a", &Request::of(Format::JsonSchema, STRING), false).map(|found| found.version),
        Ok(1)
    );
}

#[test]
fn a_version_that_breaks_the_level_is_refused_with_409_and_nothing_changes() {
    let mut kept = Kept::new();
    kept.register("a", NULLABLE).expect("registers");
    let error = kept.register("a", STRING).expect_err("narrower");
    assert_eq!((error.code(), error.status()), (409, 409));
    assert_eq!(kept.state.versions("a", true), Ok(vec![1]));
    let change = kept.state.set_level(Some("a"), Some(Level::Forward)).expect("sets");
    kept.put(change);
    assert_eq!(kept.register("a", STRING), Ok((2, 2)));
    let change = kept.state.set_level(Some("a"), Some(Level::None)).expect("sets");
    kept.put(change);
    assert_eq!(kept.register("a", INTEGER), Ok((3, 3)));
}

#[test]
fn transitive_levels_look_at_all_versions_and_the_others_at_the_latest() {
    for (level, taken) in [(Level::Backward, true), (Level::BackwardTransitive, false)] {
        let mut kept = Kept::new();
        let change = kept.state.set_level(None, Some(Level::None)).expect("sets");
        kept.put(change);
        kept.register("a", INTEGER).expect("registers");
        kept.register("a", STRING).expect("registers");
        let change = kept.state.set_level(None, Some(level)).expect("sets");
        kept.put(change);
        assert_eq!(kept.register("a", NULLABLE).is_ok(), taken, "{level:?}");
    }
}

#[test]
fn what_is_deleted_softly_keeps_its_id_and_what_is_deleted_for_good_never_gives_it_again() {
    let mut kept = Kept::new();
    kept.register("a", STRING).expect("registers");
    kept.register("a", NULLABLE).expect("registers");
    assert_eq!(kept.state.delete_version("a", "1", true).map(drop).map_err(|error| error.code()), Err(40_407));
    let change = kept.state.delete_version("a", "1", false).expect("deletes");
    kept.put(change);
    assert_eq!(kept.state.delete_version("a", "1", false).map(drop).map_err(|error| error.code()), Err(40_406));
    assert_eq!(kept.state.versions("a", false), Ok(vec![2]));
    assert_eq!(kept.state.version("a", "1", false).map(drop).map_err(|error| error.code()), Err(40_402));
    assert!(kept.state.version("a", "1", true).is_ok() && kept.state.by_number(1).is_ok());
    let change = kept.state.delete_version("a", "1", true).expect("deletes");
    kept.put(change);
    assert_eq!(kept.state.by_number(1).map(drop).map_err(|error| error.code()), Err(40_403));
    assert_eq!(kept.register("b", STRING), Ok((3, 1)), "a new id");
    assert_eq!(kept.state.delete_subject("a", true).map(drop).map_err(|error| error.code()), Err(40_405));
    let change = kept.state.delete_subject("a", false).expect("deletes");
    assert_eq!(kept.put(change), [2]);
    assert_eq!(kept.state.delete_subject("a", false).map(drop).map_err(|error| error.code()), Err(40_404));
    let change = kept.state.delete_subject("a", true).expect("deletes");
    assert_eq!(kept.put(change), [2]);
    assert_eq!(kept.state.versions("a", true).map_err(|error| error.code()), Err(40_401));
    assert_eq!(kept.state.subjects(true).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn a_schema_that_others_refer_to_stays_until_they_are_gone() {
    let mut kept = Kept::new();
    kept.register("airport", STRING).expect("registers");
    let mut request = Request::of(Format::JsonSchema, r#"{"properties": {"at": {"$ref": "airport.json"}}}"#);
    assert!(kept.state.register(&mut kept.cache, "departed", &request).is_err(), "not among its references");
    let reference = |version| Reference { name: "airport.json".into(), subject: "airport".into(), version };
    request.references = vec![reference(2)];
    let error = kept.state.register(&mut kept.cache, "departed", &request).expect_err("no such version");
    assert_eq!(error.code(), 42_201);
    request.references = vec![reference(1)];
    let change = kept.state.register(&mut kept.cache, "departed", &request).expect("registers");
    assert!(change.read.contains(&(kind::SUBJECT, "airport".to_owned())), "it stands on what it refers to");
    kept.put(change);
    assert_eq!(kept.state.referred_by("airport", 1), [2]);
    assert_eq!(kept.state.delete_subject("airport", false).map(drop).map_err(|error| error.code()), Err(42_206));
    let change = kept.state.delete_subject("departed", false).expect("deletes");
    kept.put(change);
    let change = kept.state.delete_subject("airport", false).expect("nobody refers to it");
    kept.put(change);
}

#[test]
fn modes_say_what_may_be_changed() {
    let mut kept = Kept::new();
    kept.register("a", STRING).expect("registers");
    let change = kept.state.set_mode(None, Some(Mode::ReadOnly), false).expect("sets");
    kept.put(change);
    assert_eq!(kept.register("a", NULLABLE).map_err(|error| error.code()), Err(42_205));
    assert_eq!(kept.state.delete_subject("a", false).map(drop).map_err(|error| error.code()), Err(42_205));
    assert_eq!(
        kept.state.set_mode(None, Some(Mode::Import), false).map(drop).map_err(|error| error.code()),
        Err(42_205)
    );
    let change = kept.state.set_mode(Some("b"), Some(Mode::Import), false).expect("it is empty");
    kept.put(change);
    let mut request = Request::of(Format::JsonSchema, INTEGER);
    (request.id, request.version) = (Some(40), Some(7));
    let change = kept.state.register(&mut kept.cache, "b", &request).expect("imports");
    let answer = kept.put(change);
    assert_eq!((answer.id, answer.version), (40, 7));
    request.text = STRING.to_owned();
    request.version = None;
    let error = kept.state.register(&mut kept.cache, "b", &request).map(drop).map_err(|error| error.code());
    assert_eq!(error, Err(42_205), "the id stands for another schema");
    let change = kept.state.set_mode(None, None, false).expect("sets");
    kept.put(change);
    assert_eq!(kept.register("c", NULLABLE), Ok((41, 1)), "ids go on behind imported ones");
}

#[test]
fn limits_are_refusals() {
    let limits = RegistryLimits { subjects: 1, versions: 2, schemas: 2, ..RegistryLimits::default() };
    let mut kept = Kept { state: State::new(limits), cache: Cache::new(1) };
    let change = kept.state.set_level(None, Some(Level::None)).expect("sets");
    kept.put(change);
    kept.register("a", STRING).expect("registers");
    assert_eq!(kept.register("b", STRING).map_err(|error| error.code()), Err(50_001));
    kept.register("a", INTEGER).expect("registers");
    assert_eq!(kept.register("a", NULLABLE).map_err(|error| error.code()), Err(50_001));
    assert_eq!(kept.register("", STRING).map_err(|error| error.code()), Err(42_208));
    assert_eq!(kept.register(&"/".repeat(100), STRING).map_err(|error| error.code()), Err(42_208));
    for id in [1, 2, 1] {
        kept.cache.schema(&kept.state, id).expect("compiles");
        assert_eq!(kept.cache.len(), 1, "the cache keeps the last one only");
    }
}

#[test]
fn names_of_documents_stand_for_one_subject_each() {
    for subject in ["orders-value", "orders/created/EU-value", "a@b", "ü", ":.ctx:a"] {
        let name = document_name(subject);
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:@".contains(c)), "{name}");
        assert_eq!(subject_of(&name).as_deref(), Some(subject));
    }
    for name in ["a@", "a@4", "a@zz", "@61", "@FF", "a b"] {
        assert_eq!(subject_of(name), None, "{name}");
    }
}

/// Documents are kept by the control state, which reads them by its own words.
#[test]
fn what_is_put_are_documents_of_the_control_state() {
    let mut kept = Kept::new();
    kept.register("airport", STRING).expect("registers");
    let mut request = Request::of(Format::JsonSchema, r#"{"properties": {"at": {"$ref": "airport.json"}}}"#);
    request.references = vec![Reference { name: "airport.json".into(), subject: "airport".into(), version: 1 }];
    let mut all = kept.state.register(&mut kept.cache, "flights/departed-value", &request).expect("registers").put;
    all.extend(kept.state.bind("airport", &["a/**"], Check::Quarantine, Some("bad")).expect("binds").put);
    all.extend(kept.state.delete_version("airport", "1", false).expect("deletes").put);
    all.extend(kept.state.set_level(Some("airport"), Some(Level::FullTransitive)).expect("sets").put);
    all.extend(kept.state.set_mode(None, Some(Mode::ReadOnly), false).expect("sets").put);
    for document in all {
        let kind = weft_govern::Kind::parse(document.kind).expect("a kind");
        weft_govern::Key::new(kind, &document.name).expect("a name");
        let text = document.body.expect("a body").to_string();
        let read = weft_govern::document::Document::read(kind, &text).expect("read");
        let value: serde_json::Value = serde_json::from_str(&read.text()).expect("JSON");
        let mut state = State::new(RegistryLimits::default());
        state.put(document.kind, &document.name, Some(&value)).expect("and read back");
    }
}

#[test]
fn a_state_is_the_same_whatever_the_order_of_its_documents() {
    let mut kept = Kept::new();
    let mut all: Vec<Document> = Vec::new();
    for (subject, text) in [("a", STRING), ("b", INTEGER), ("a", NULLABLE), ("c", STRING)] {
        let change =
            kept.state.register(&mut kept.cache, subject, &Request::of(Format::JsonSchema, text)).expect("registers");
        for document in &change.put {
            all.retain(|one| (one.kind, &one.name) != (document.kind, &document.name));
            all.push(document.clone());
        }
        kept.put(change);
    }
    let mut turned = State::new(RegistryLimits::default());
    put(&mut turned, &all.iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(format!("{turned:?}"), format!("{:?}", kept.state));
    assert!(turned.put(kind::SCHEMA, "x", Some(&json!({}))).is_err());
    assert!(turned.put(kind::SCHEMA, "9", Some(&json!({"format": "JSON"}))).is_err());
    assert!(turned.put(kind::SUBJECT, "a", Some(&json!({"versions": 7}))).is_err());
    assert_eq!(format!("{turned:?}"), format!("{:?}", kept.state), "what cannot be read changes nothing");
}

#[test]
fn the_most_specific_filter_holds_and_what_would_be_open_is_refused() {
    let mut kept = Kept::new();
    for subject in ["all", "departed", "cross"] {
        kept.register(subject, STRING).expect("registers");
    }
    let change = kept.state.bind("all", &["flights/**"], Check::Warn, None).expect("binds");
    kept.put(change);
    let change = kept.state.bind("departed", &["flights/departed/*"], Check::Reject, None).expect("narrower");
    kept.put(change);
    let bindings = Bindings::of(&kept.state);
    let find = |topic: &str| bindings.find(Topic::parse(topic).expect("a topic")).map(|one| one.subject.as_str());
    assert_eq!(find("flights/departed/JFK"), Some("departed"));
    assert_eq!(find("flights/landed/JFK"), Some("all"));
    assert_eq!(find("trains/departed"), None);
    let error =
        kept.state.bind("cross", &["flights/*/JFK"], Check::Reject, None).expect_err("open for flights/departed/JFK");
    assert!(matches!(error, BindError::Ambiguous { .. }), "{error}");
    let error = kept.state.bind("cross", &["flights/departed/*"], Check::Reject, None).expect_err("the same");
    assert!(matches!(error, BindError::Ambiguous { .. }), "{error}");
    assert!(matches!(kept.state.bind("nobody", &["a"], Check::Warn, None), Err(BindError::Registry(_))));
    assert!(matches!(kept.state.bind("cross", &["a//b"], Check::Warn, None), Err(BindError::Filter { .. })));
    assert!(matches!(kept.state.bind("cross", &["a"; 65], Check::Warn, None), Err(BindError::TooMany { .. })));
}

#[test]
fn payloads_are_checked_by_the_named_the_prefixed_or_the_latest_schema() {
    let mut kept = Kept::new();
    kept.register("a", STRING).expect("registers");
    kept.register("a", NULLABLE).expect("registers");
    kept.register("b", INTEGER).expect("registers");
    let change = kept.state.bind("a", &["a/**"], Check::Reject, None).expect("binds");
    kept.put(change);
    let mut checker = Checker::new(&kept.state, Cache::default());
    let topic = Topic::parse("a/x").expect("a topic");
    let mut check = |topic, named, payload: &[u8]| checker.check(&kept.state, topic, named, payload);
    assert_eq!(check(topic, None, b"null"), Verdict::Accept { id: 2 }, "the latest");
    let refused = |verdict: Verdict| match verdict {
        Verdict::Refuse(refusal) => (refusal.version, refusal.violation.rule),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(check(topic, Some(1), b"null")), (Some(1), "type".to_owned()), "the named one");
    assert_eq!(refused(check(topic, Some(3), b"7")), (None, "schema".to_owned()), "of another subject");
    let framed = |id, payload: &[u8]| [prefix::write(id, None), payload.to_vec()].concat();
    assert_eq!(check(topic, None, &framed(1, b"\"x\"")), Verdict::Accept { id: 1 });
    assert_eq!(refused(check(topic, None, &framed(1, b"null"))), (Some(1), "type".to_owned()));
    assert_eq!(refused(check(topic, None, &framed(9, b"null"))).1, "json", "no prefix of a known schema");
    assert_eq!(check(Topic::parse("b/x").expect("a topic"), None, b"junk"), Verdict::Unchecked);
}

#[test]
fn payloads_are_shown_by_the_bound_the_prefixed_or_no_schema() {
    let mut kept = Kept::new();
    kept.register("a", STRING).expect("registers");
    kept.register("b", INTEGER).expect("registers");
    let change = kept.state.bind("a", &["a/**"], Check::Off, None).expect("binds");
    kept.put(change);
    let mut checker = Checker::new(&kept.state, Cache::default());
    let mut show = |topic, named, payload: &[u8]| {
        let topic = Topic::parse(topic).expect("a topic");
        checker.show(&kept.state, topic, (named, payload), 100).map(|shown| (shown.by, shown.text.text))
    };
    let of = |by: &str, text: &str| Some((by.to_owned(), text.to_owned()));
    let framed = |id, payload: &[u8]| [prefix::write(id, None), payload.to_vec()].concat();
    assert_eq!(show("a/x", None, b"\"x\""), of("a/1", "\"x\""), "though nothing is checked there");
    assert_eq!(show("a/x", None, b"junk"), None);
    assert_eq!(show("c", None, &framed(2, b"7")), of("schema 2", "7"));
    assert_eq!(show("c", Some(2), b"7"), of("schema 2", "7"));
    assert_eq!(show("c", None, &framed(9, b"7")), None);
    assert_eq!(show("c", None, b"7"), None);
}

#[test]
fn who_breaks_is_told_by_consumer_and_region() {
    let mut kept = Kept::new();
    kept.register("a", STRING).expect("registers");
    kept.register("a", NULLABLE).expect("registers");
    let one = |consumer: &str, region: &str, reads| Declaration {
        consumer: consumer.to_owned(),
        region: region.to_owned(),
        subject: "a".to_owned(),
        reads,
    };
    let own = |text: &str| Reads::Schema { format: Format::JsonSchema, text: text.to_owned(), references: Vec::new() };
    let declarations = [
        one("billing", "eu", Reads::Version(1)),
        one("billing", "us", Reads::Version(1)),
        one("audit", "eu", Reads::Version(2)),
        one("search", "eu", own(r#"{"type": ["string", "integer"]}"#)),
        one("ghost", "ap", Reads::Version(9)),
    ];
    let ask = |kept: &mut Kept, text: &str| {
        let request = Request::of(Format::JsonSchema, text);
        who_breaks(&kept.state, &mut kept.cache, "a", &request, &declarations).expect("a schema")
    };
    let impact = ask(&mut kept, NULLABLE);
    let names: Vec<&str> = impact.breaks.iter().map(|one| one.consumer.as_str()).collect();
    assert_eq!((names, impact.consumers), (vec!["billing", "ghost", "search"], 4));
    assert_eq!(impact.regions().into_iter().collect::<Vec<_>>(), ["ap", "eu", "us"]);
    assert_eq!(impact.breaks[0].regions.len(), 2);
    assert_eq!(ask(&mut kept, STRING).breaks.len(), 1, "only the one of which nothing is known");
}
