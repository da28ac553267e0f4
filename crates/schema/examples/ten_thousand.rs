//! What 10,000 schemas cost: taking their documents in, finding one, compiling
//! one, checking a payload of 256 bytes. Run it on a quiet machine:
//! `cargo run --release -p weft-schema --example ten_thousand`.
use std::hint::black_box;
use std::time::Instant;

use weft_schema::binding::Check;
use weft_schema::checker::{Checker, Verdict};
use weft_schema::registry::{Cache, Document, RegistryLimits, Request, State};
use weft_schema::{Fingerprint, Format};
use weft_topic::Topic;

const SCHEMAS: u32 = 10_000;

fn text(number: u32) -> String {
    format!(
        r#"{{"type":"object","required":["id","at"],"properties":{{"id":{{"type":"integer"}},"at":{{"type":"string","format":"date-time"}},"note":{{"type":"string"}},"field{number}":{{"type":"number","minimum":0}}}}}}"#
    )
}

fn main() {
    let mut documents = Vec::new();
    for number in 1..=SCHEMAS {
        let text = text(number);
        let fingerprint = Fingerprint::of(Format::JsonSchema, &text, &[]).to_hex();
        let schema = serde_json::json!({"format": "JSON", "text": text, "fingerprint": fingerprint});
        let versions = serde_json::json!({"versions": {"1": {"id": number}}, "topics": [format!("t{number}/**")], "check": Check::Reject});
        documents.push(Document { kind: "schema", name: number.to_string(), body: Some(schema) });
        documents.push(Document { kind: "subject", name: format!("t{number}-value"), body: Some(versions) });
    }
    let mut state = State::new(RegistryLimits::default());
    let start = Instant::now();
    for document in &documents {
        if let Err(error) = state.put(document.kind, &document.name, document.body.as_ref()) {
            println!("{error}");
        }
    }
    println!("taking in {SCHEMAS} schemas and subjects: {:?}", start.elapsed());
    let start = Instant::now();
    let mut checker = Checker::new(&state, Cache::new(1 << 30));
    println!("their bindings to topics: {:?}", start.elapsed());
    let request = Request::of(Format::JsonSchema, text(7_000));
    let start = Instant::now();
    let _ = black_box(state.version("t7000-value", "latest", false).is_ok());
    println!("finding the latest version of one: {:?}", start.elapsed());
    let start = Instant::now();
    let _ = black_box(state.lookup("t7000-value", &request, false).is_ok());
    println!("finding one by its text, which compiles it: {:?}", start.elapsed());
    let payload = format!(r#"{{"id": 7, "at": "2026-11-22T12:00:00Z", "note": "{}"}}"#, "x".repeat(202));
    for (what, times) in [("the first, which compiles", 1), ("each of the next 100,000", 100_000)] {
        let start = Instant::now();
        for _ in 0..times {
            let Ok(topic) = Topic::parse("t7000/a") else { return };
            let verdict = checker.check(&state, topic, None, payload.as_bytes());
            assert!(matches!(verdict, Verdict::Accept { .. }), "{verdict:?}");
        }
        println!("checking a payload of {} bytes, {what}: {:?}", payload.len(), start.elapsed() / times);
    }
}
