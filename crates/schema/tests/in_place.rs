//! Payloads of Protobuf and FlatBuffers are checked where they lie: what is
//! accepted has allocated nothing.

use allocation_counter::measure;
use weft_schema::flatbuffers::FlatBuffers;
use weft_schema::protobuf::Protobuf;
use weft_schema::{Compiled, Payload, SchemaLimits, Source};

const TEXT: &str = r#"syntax = "proto2"; message A {
    required string name = 1; optional A inner = 2; repeated int32 numbers = 3 [packed = true];
    map<string, A> all = 4; repeated group G = 5 { required fixed64 x = 1; } }"#;

#[test]
fn an_allocation_is_seen() {
    assert_ne!(measure(|| drop(std::hint::black_box(Box::new(7)))).count_total, 0);
}

#[test]
fn checking_a_protobuf_message_allocates_nothing() {
    let schema = Protobuf::compile(&Source::alone(TEXT), &SchemaLimits::default()).expect("a schema");
    let inner = [0x0a, 1, b'x'];
    let mut bytes = vec![0x0a, 3, b'a', b'b', b'c', 0x1a, 3, 1, 0x80, 0x01, 0x12, 3];
    bytes.extend(inner);
    bytes.extend([0x22, 8, 0x0a, 1, b'k', 0x12, 3]);
    bytes.extend(inner);
    bytes.extend([0x2b, 0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x2c, 0xf8, 0x3e, 1]);
    let check = || assert_eq!(schema.check(Payload::of(&bytes)), Ok(()));
    check();
    assert_eq!(measure(check).count_total, 0);
}

#[test]
fn verifying_a_flatbuffer_allocates_nothing() {
    let binary = include_bytes!("../src/flatbuffers/golden/order.bfbs");
    let order = include_bytes!("../src/flatbuffers/golden/order.bin");
    let schema = FlatBuffers::from_binary(binary, &SchemaLimits::default()).expect("a schema");
    let check = || assert_eq!(schema.check(Payload::of(order)), Ok(()));
    check();
    assert_eq!(measure(check).count_total, 0);
}
