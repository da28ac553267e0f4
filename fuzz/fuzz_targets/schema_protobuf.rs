//! Protobuf: the input as a payload of a schema with each kind of field, as
//! message indexes with a payload behind them, and, where it is text, as a
//! source of a schema whose canonical text must stand for an equal one.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use weft_schema::protobuf::{MessageIndexes, Protobuf};
use weft_schema::{Compiled, Payload, SchemaLimits, Source};

const TEXTS: [&str; 2] = [
    r#"syntax = "proto3"; message A {
        uint64 a = 1; string b = 2; repeated B c = 3; map<string, B> d = 4; oneof o { B e = 5; string f = 6; }
        repeated sint32 g = 7; repeated fixed64 h = 8; E i = 9; bytes j = 10; A k = 15; float l = 3000;
        message B { bool x = 1; double y = 2; } enum E { Z = 0; } }"#,
    r#"syntax = "proto2"; message A {
        required string a = 1; optional A b = 2; repeated group C = 3 { required E x = 1; optional C y = 2; }
        oneof o { A d = 4; int32 e = 5; } map<int32, A> f = 6; repeated E g = 7 [packed = true]; }
        enum E { ONE = 1; TWO = 2; }"#,
];

static SCHEMAS: LazyLock<Vec<Protobuf>> = LazyLock::new(|| TEXTS.map(compiled).into());

fn compiled(text: &str) -> Protobuf {
    Protobuf::compile(&Source::alone(text), &SchemaLimits::default()).expect("a schema")
}

fuzz_target!(|data: &[u8]| {
    for schema in SCHEMAS.iter() {
        let shown = schema.show(Payload::of(data), 1 << 10);
        assert_eq!(shown.is_ok(), schema.check(Payload::of(data)).is_ok());
        if let Ok((indexes, rest)) = MessageIndexes::read(data) {
            assert!(rest.len() < data.len());
            let mut short = Vec::new();
            indexes.write(&mut short);
            assert!(short.len() + rest.len() <= data.len(), "it is written as short as can be");
            assert_eq!(MessageIndexes::read(&short), Ok((indexes, &[][..])));
            let _ = schema.check(Payload { bytes: rest, message: indexes.as_slice() });
        }
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(schema) = Protobuf::compile(&Source::alone(text), &SchemaLimits::default())
    {
        let again = compiled(schema.canonical());
        assert_eq!(again.canonical(), schema.canonical());
        assert_eq!(again.can_read(&schema), Ok(()));
    }
});
