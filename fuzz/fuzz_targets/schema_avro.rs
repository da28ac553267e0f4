//! Avro: any text is compiled or refused, any payload is walked, within bounds
//! and without a panic. The input is a schema, a second one, and a payload that
//! may have any bytes, with a zero byte before each but the first.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_schema::{Format, Payload, Schema, SchemaLimits, Source};

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let limits = SchemaLimits::default();
    let mut compile = || {
        let text = std::str::from_utf8(parts.next()?).ok()?;
        Schema::compile(Format::Avro, &Source::alone(text), &limits).ok()
    };
    let (Some(one), other) = (compile(), compile()) else { return };
    assert!(one.can_read(&one).is_ok(), "it reads what it writes");
    let canonical = Schema::compile(Format::Avro, &Source::alone(one.canonical()), &limits);
    assert_eq!(canonical.expect("its canonical text is a schema").canonical(), one.canonical());
    if let Some(other) = other {
        let _ = other.can_read(&one);
    }
    let payload = parts.next().unwrap_or_default();
    let shown = one.show(Payload::of(payload), 1 << 10);
    assert_eq!(shown.is_ok(), one.check(Payload::of(payload)).is_ok());
});
