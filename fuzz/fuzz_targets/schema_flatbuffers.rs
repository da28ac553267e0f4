//! FlatBuffers: the input as a buffer of a schema with each kind of field, and
//! as a binary schema; what is taken for one is written and read again, and a
//! buffer is checked by it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use weft_schema::flatbuffers::FlatBuffers;
use weft_schema::{Compiled, Payload, SchemaLimits, Source};

const SCHEMA: &[u8] = include_bytes!("../../crates/schema/src/flatbuffers/golden/order.bfbs");
const BUFFER: &[u8] = include_bytes!("../../crates/schema/src/flatbuffers/golden/order.bin");

static ORDER: LazyLock<FlatBuffers> = LazyLock::new(|| {
    let order = FlatBuffers::from_binary(SCHEMA, &SchemaLimits::default()).expect("a schema");
    assert_eq!(order.check(Payload::of(BUFFER)), Ok(()));
    order
});

fuzz_target!(|data: &[u8]| {
    let _ = ORDER.check(Payload::of(data));
    changed(BUFFER, data, |bytes| drop(ORDER.check(Payload::of(bytes))));
    schema(data);
    changed(SCHEMA, data, schema);
});

/// The input as places and bytes to put there, since a fuzzer makes a whole
/// buffer by itself late or never.
fn changed(bytes: &[u8], data: &[u8], then: fn(&[u8])) {
    let mut bytes = bytes.to_vec();
    for change in data.chunks_exact(3) {
        let [low, high, value] = change else { return };
        let at = usize::from(u16::from_le_bytes([*low, *high])) % bytes.len();
        bytes[at] = *value;
    }
    then(&bytes);
}

fn schema(data: &[u8]) {
    let limits = SchemaLimits::default();
    let Ok(schema) = FlatBuffers::from_binary(data, &limits) else { return };
    let again = FlatBuffers::compile(&Source::alone(schema.canonical()), &limits).expect("the canonical text");
    assert_eq!(again.canonical(), schema.canonical());
    assert_eq!(again.can_read(&schema), Ok(()));
    let _ = schema.check(Payload::of(BUFFER));
}
