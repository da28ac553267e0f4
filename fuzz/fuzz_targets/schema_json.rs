//! JSON Schema: any text is compiled or refused, any payload is judged, and a
//! schema reads what it writes; all without a panic and within bounds. The input
//! is a schema, a second one and payloads, with a zero byte between them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_schema::{Format, Payload, Schema, SchemaLimits, Source};

fuzz_target!(|data: &[u8]| {
    let mut parts = data.split(|byte| *byte == 0);
    let limits = SchemaLimits { compared: 500, ..SchemaLimits::default() };
    let mut compile = || {
        let text = std::str::from_utf8(parts.next()?).ok()?;
        Schema::compile(Format::JsonSchema, &Source::alone(text), &limits).ok()
    };
    let (Some(one), other) = (compile(), compile()) else { return };
    assert!(one.can_read(&one).is_ok(), "it reads what it writes");
    let canonical = Schema::compile(Format::JsonSchema, &Source::alone(one.canonical()), &limits);
    let canonical = canonical.expect("its canonical text is a schema");
    assert_eq!(canonical.canonical(), one.canonical(), "and its own");
    let reads = other.as_ref().map(|other| other.can_read(&one));
    for bytes in parts.take(8) {
        let valid = one.check(Payload::of(bytes)).is_ok();
        if let (true, Some(other), Some(Ok(()))) = (valid, &other, &reads) {
            let read = other.check(Payload::of(bytes));
            // A schema may ask for more work than it may take; that is no difference in what is valid.
            let bound = read.as_ref().is_err_and(|violation| violation.rule == "steps" || violation.rule == "nesting");
            assert!(bound || read.is_ok(), "{other:?} reads {one:?}, but not {bytes:?}: {read:?}");
        }
    }
});
