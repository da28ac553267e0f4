//! Payloads are made by hand where their bytes matter, and by the library
//! (`prost-reflect`) where it is the oracle.

mod compatible;
mod generate;
mod hostile;

use proptest::prelude::*;
use prost_reflect::prost::Message as _;
use prost_reflect::{
    Cardinality, DynamicMessage, FileDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Syntax, Value,
};

use super::{Protobuf, source};
use crate::format::{Compiled, Dependency, Payload, Source};
use crate::limits::SchemaLimits;
use crate::{CompileError, base64};
use generate::Seed;

pub(super) fn limits() -> SchemaLimits {
    SchemaLimits { payload_nesting: 100, ..SchemaLimits::default() }
}

pub(super) fn schema(text: &str) -> Protobuf {
    match Protobuf::compile(&Source::alone(text), &limits()) {
        Ok(schema) => schema,
        Err(error) => panic!("{error}: {text}"),
    }
}

pub(super) fn file(text: &str) -> FileDescriptor {
    source::compile(&Source::alone(text), &limits()).expect("a schema")
}

pub(super) fn refused(text: &str) -> CompileError {
    Protobuf::compile(&Source::alone(text), &limits()).err().expect("a refusal")
}

pub(super) fn rule(schema: &Protobuf, bytes: &[u8]) -> Option<String> {
    schema.check(Payload::of(bytes)).err().map(|violation| violation.rule)
}

pub(super) const ORDER: &str = r#"
    syntax = "proto3";
    package shop.v1;
    import "google/protobuf/timestamp.proto";

    // An order.
    message Order {
        uint64 id = 1;
        string customer = 2;
        repeated Line lines = 3;
        map<string, Line> by_sku = 4;
        oneof paid { Card card = 5; string note = 6; }
        optional double weight = 7;
        repeated sint32 numbers = 8;
        repeated fixed64 wide = 9 [packed = false];
        google.protobuf.Timestamp at = 10;
        Colour colour = 11;
        bytes blob = 12;
        Order next = 15;
        reserved 13, 100 to 200;
        reserved "old";
        message Line { string sku = 1; float price = 2; bool gift = 3; }
        message Card { message Bank { string name = 1; } Bank bank = 1; }
    }
    enum Colour { NONE = 0; RED = 1; }
    message Other { int32 x = 1; }
    service Shop { rpc Buy(Order) returns (stream Other) { option deprecated = true; } }
"#;

pub(super) const OLD: &str = r#"
    syntax = "proto2";
    package shop;
    option java_package = "old.shop";
    message Head {
        required string name = 1;
        optional int32 size = 2 [default = -7, deprecated = true];
        repeated group Part = 3 { required int32 number = 1; optional Part inner = 2; }
        optional Tail tail = 4;
        required Colour colour = 5 [default = GREEN];
        oneof choice { Tail left = 6; string right = 7; }
        map<int32, Tail> tails = 8;
        repeated Colour colours = 9 [packed = true];
        optional string text = 10 [default = "a\"b\n\001Ã¤"];
        optional bytes raw = 11 [default = "\000\xff'"];
        optional float inf = 12 [default = -inf];
        extensions 100 to 199, 1000 to max;
    }
    message Tail { required bool wags = 1; optional Tail next = 2; }
    enum Colour { option allow_alias = true; GREEN = 1; RED = 2; ROUGE = 2 [deprecated = true]; reserved 5 to 7; }
    extend Head { optional string extra = 100; repeated int64 more = 101 [packed = true]; }
"#;

/// What a payload is as text, and whether that is all.
fn shown(schema: &Protobuf, payload: &[u8], most: usize) -> (serde_json::Value, bool) {
    let text = schema.show(Payload::of(payload), most).expect("fits");
    (serde_json::from_str(&text.text).unwrap_or_else(|error| panic!("{error}: {}", text.text)), text.is_cut)
}

#[test]
fn a_payload_is_shown_by_the_names_of_its_schema() {
    let schema = schema(
        r#"syntax = "proto3"; message A {
            uint64 id = 1; string name = 2; repeated B lines = 3; map<int32, B> by = 4; repeated sint32 numbers = 5;
            E kind = 6; bytes raw = 7; double wide = 8; bool yes = 9;
            message B { bool x = 1; } enum E { ZERO = 0; ONE = 1; } }"#,
    );
    let mut payload = vec![8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0x12, 2, b'"', b'x'];
    // Two lines apart, a map of one, packed numbers, an enum, bytes.
    payload.extend([0x1a, 2, 8, 1, 0x22, 6, 8, 7, 0x12, 2, 8, 1, 0x1a, 0]);
    payload.extend([0x2a, 2, 1, 4, 0x30, 1, 0x3a, 2, 0, 0xff, 0x41]);
    payload.extend(1.5_f64.to_le_bytes());
    // What the schema does not know, and a second name, which counts.
    payload.extend([0x78, 1, 0x12, 1, b'y']);
    let whole = serde_json::json!({
        "id": u64::MAX, "name": "y", "lines": [{"x": true}, {}], "by": {"7": {"x": true}}, "numbers": [-1, 2],
        "kind": "ONE", "raw": "0x00ff", "wide": 1.5,
    });
    assert_eq!(shown(&schema, &payload, 1_000), (whole, false));
    let (part, is_cut) = shown(&schema, &payload, 24);
    assert!(is_cut && part["id"] == u64::MAX, "{part}");
    assert!(schema.show(Payload::of(&payload[..12]), 1_000).is_err());
}

#[test]
fn indexes_say_which_message_a_payload_is() {
    let order = schema(ORDER);
    assert_eq!(order.message_name(&[]), Some("shop.v1.Order"));
    assert_eq!(order.message_name(&[1]), Some("shop.v1.Other"));
    assert_eq!(order.message_name(&[0, 0]), Some("shop.v1.Order.BySkuEntry"), "in the descriptor's order");
    assert_eq!(order.message_name(&[0, 2, 0]), Some("shop.v1.Order.Card.Bank"));
    assert_eq!(order.message_name(&[2]), None);
    assert_eq!(order.message_name(&[0, 9]), None);
    let other = [0x08, 0x96, 0x01];
    assert_eq!(order.check(Payload { bytes: &other, message: &[1] }), Ok(()));
    let violation = order.check(Payload { bytes: &other, message: &[3] }).expect_err("no such message");
    assert_eq!(violation.rule, "message");
    assert!(violation.text.contains("[3]"));
}

#[test]
fn a_violation_names_the_fields_on_the_way_and_the_byte() {
    let order = schema(ORDER);
    // lines { sku: "\xff" }
    let violation = order.check(Payload::of(&[0x1a, 3, 0x0a, 1, 0xff])).expect_err("no UTF-8");
    assert_eq!((violation.at.as_str(), violation.rule.as_str()), ("lines.sku", "utf-8"));
    assert!(violation.text.contains("byte 4 of a shop.v1.Order"), "{}", violation.text);
    let violation = order.check(Payload::of(&[0x0d, 1, 0, 0, 0])).expect_err("four bytes for a varint");
    assert_eq!((violation.at.as_str(), violation.rule.as_str()), ("id", "wire-type"));
}

#[test]
fn required_fields_are_found_missing_and_found_in_parts() {
    let head = schema(OLD);
    let whole = [0x0a, 1, b'n', 0x28, 1];
    let with = |rest: &[u8]| [&whole[..], rest].concat();
    assert_eq!(rule(&head, &whole), None);
    let violation = head.check(Payload::of(&[0x28, 1])).expect_err("no name");
    assert_eq!((violation.at.as_str(), violation.rule.as_str()), ("byte 2", "required"));
    assert!(violation.text.contains("'name'") && violation.text.contains("shop.Head"), "{}", violation.text);
    // A tail without wagging, and one whose wagging comes in a second part.
    assert_eq!(rule(&head, &with(&[0x22, 0])).as_deref(), Some("required"));
    assert_eq!(rule(&head, &with(&[0x22, 0, 0x22, 2, 0x08, 1])), None);
    // In the parts of a part: the next of the tail.
    assert_eq!(rule(&head, &with(&[0x22, 4, 0x08, 1, 0x12, 0])).as_deref(), Some("required"));
    assert_eq!(rule(&head, &with(&[0x22, 4, 0x08, 1, 0x12, 0, 0x22, 4, 0x12, 2, 0x08, 1])), None);
    // Of a oneof the last member counts, and what came before it does not.
    assert_eq!(rule(&head, &with(&[0x32, 0])).as_deref(), Some("required"));
    assert_eq!(rule(&head, &with(&[0x32, 0, 0x3a, 0])), None);
    assert_eq!(rule(&head, &with(&[0x32, 2, 0x08, 1, 0x3a, 0, 0x32, 0])).as_deref(), Some("required"));
    // Groups, and each element of a list by itself.
    assert_eq!(rule(&head, &with(&[0x1b, 0x08, 1, 0x1c])), None);
    assert_eq!(rule(&head, &with(&[0x1b, 0x08, 1, 0x1c, 0x1b, 0x1c])).as_deref(), Some("required"));
    // An entry of a map without a value has a tail that lacks what is required.
    assert_eq!(rule(&head, &with(&[0x42, 2, 0x08, 1])).as_deref(), Some("required"));
    assert_eq!(rule(&head, &with(&[0x42, 6, 0x08, 1, 0x12, 2, 0x08, 1])), None);
}

#[test]
fn enums_of_proto2_are_closed_and_those_of_proto3_are_open() {
    assert_eq!(rule(&schema(ORDER), &[0x58, 77]), None);
    let head = schema(OLD);
    assert_eq!(rule(&head, &[0x0a, 0, 0x28, 3]).as_deref(), Some("enum"));
    assert_eq!(rule(&head, &[0x0a, 0, 0x28, 2, 0x4a, 2, 1, 2]), None, "packed");
    assert_eq!(rule(&head, &[0x0a, 0, 0x28, 2, 0x4a, 2, 1, 9]).as_deref(), Some("enum"));
}

#[test]
fn a_message_with_too_many_required_fields_is_refused() {
    let fields: String = (1..=257).map(|n| format!("required int32 f{n} = {n};")).collect();
    let error = refused(&format!("syntax = 'proto2'; message A {{ {fields} }}"));
    assert!(matches!(error, CompileError::TooLarge { limit: 256, .. }), "{error}");
    let fields: String = (1..=256).map(|n| format!("required int32 f{n} = {n};")).collect();
    let many = schema(&format!("syntax = 'proto2'; message A {{ {fields} }}"));
    assert!(many.check(Payload::of(&[])).expect_err("none is there").text.contains("'f1'"));
}

#[test]
fn the_canonical_text_has_no_layout_and_stands_for_an_equal_schema() {
    for text in [ORDER, OLD] {
        let first = schema(text);
        let again = schema(first.canonical());
        assert_eq!(again.canonical(), first.canonical());
        assert_eq!(again.can_read(&first), Ok(()));
        assert_eq!(first.can_read(&again), Ok(()));
    }
    let loose = schema("syntax=\"proto3\";/* a */ message A{ // b\n  A  a=1 ;}");
    let tight = schema("syntax = \"proto3\"; message A { .A a = 1; }");
    assert_eq!(loose.canonical(), tight.canonical());
    assert_eq!(loose.canonical(), "syntax = \"proto3\";\nmessage A {\n  .A a = 1;\n}\n");
    assert_ne!(loose.canonical(), schema("syntax = \"proto3\"; message A { A b = 1; }").canonical());
}

#[test]
fn options_of_ones_own_extensions_are_in_the_canonical_text() {
    let text = r#"
        syntax = "proto3";
        import "google/protobuf/descriptor.proto";
        message Rule { int32 low = 1; repeated string words = 2; Rule inner = 3; map<string, int32> table = 4; }
        extend google.protobuf.FieldOptions { Rule rule = 50001; repeated double odds = 50002; bytes raw = 50003; }
        message A {
            int32 x = 1 [(rule).low = 3, (rule).inner = { words: "a" words: 'b"' table { key: "k" value: 1 } },
                         (odds) = 1e300, (odds) = -2.5, (raw) = "\377"];
        }
    "#;
    let first = schema(text);
    assert!(first.canonical().contains("(.rule) = { low:3"), "{}", first.canonical());
    let again = schema(first.canonical());
    assert_eq!(again.canonical(), first.canonical());
    assert_ne!(schema(&text.replace("low = 3", "low = 4")).canonical(), first.canonical());
}

#[test]
fn a_descriptor_in_base64_is_the_same_schema_as_its_source() {
    for text in [ORDER, OLD] {
        let serialized = Protobuf::serialized(&Source::alone(text), &limits()).expect("a schema");
        let of_text = schema(text);
        let of_descriptor = schema(&serialized);
        assert_eq!(of_descriptor.canonical(), of_text.canonical());
    }
    let error = refused(&base64::encode(b"\xff\xff\xff"));
    assert!(error.to_string().contains("not of a FileDescriptorProto"), "{error}");
}

#[test]
fn imports_are_found_among_the_references_and_nowhere_else() {
    let dependency = |name: &str, text: &str| Dependency { name: name.into(), text: text.into() };
    let text = "syntax = 'proto3'; import 'a/money.proto'; message Bill { a.Money sum = 1; }";
    let missing = Protobuf::compile(&Source::alone(text), &limits()).err();
    assert_eq!(missing, Some(CompileError::Missing { name: "a/money.proto".into() }));
    let money = "syntax = 'proto3'; package a; message Money { int64 units = 1; string currency = 2; }";
    let serialized = Protobuf::serialized(&Source::alone(money), &limits()).expect("a schema");
    for money in [money, &serialized] {
        let dependencies = [dependency("a/money.proto", money), dependency("google/protobuf/any.proto", "nonsense")];
        let bill = Protobuf::compile(&Source { text, dependencies: &dependencies }, &limits()).expect("a schema");
        assert_eq!(bill.check(Payload::of(&[0x0a, 2, 0x08, 1])), Ok(()));
        assert!(bill.check(Payload::of(&[0x0a, 2, 0x12, 1])).is_err());
        assert_eq!(bill.message_name(&[0]), Some("Bill"));
        assert_eq!(bill.message_name(&[1]), None, "messages of other files have no indexes");
    }
    // A reference may have any name, also that of the schema's own file.
    let named = "syntax = 'proto3'; import 'schema.proto'; message Bill { a.Money sum = 1; }";
    let dependencies = [dependency("schema.proto", money)];
    assert!(Protobuf::compile(&Source { text: named, dependencies: &dependencies }, &limits()).is_ok());
}

#[test]
fn known_files_can_be_imported_without_a_reference() {
    let imports: String = crate::protobuf::known::FILES.iter().map(|(name, _)| format!("import '{name}';")).collect();
    let text = format!(
        "syntax = 'proto3'; {imports} message A {{
            google.type.Money sum = 1; confluent.type.Decimal d = 2 [(confluent.field_meta).doc = 'a sum'];
            google.type.Color c = 3; google.type.DateTime at = 4; }}"
    );
    let known = schema(&text);
    assert_eq!(known.check(Payload::of(&[0x0a, 5, 0x0a, 3, b'E', b'U', b'R'])), Ok(()));
    assert!(known.canonical().contains("(.confluent.field_meta) = { doc:\"a sum\" }"), "{}", known.canonical());
}

/// What the library reads, and what of it our check refuses nevertheless.
fn oracle(descriptor: &MessageDescriptor, bytes: &[u8]) -> bool {
    match DynamicMessage::decode(descriptor.clone(), bytes) {
        Ok(message) => is_complete(&message),
        Err(_) => false,
    }
}

/// All required fields are there, and numbers of closed enums are known.
fn is_complete(message: &DynamicMessage) -> bool {
    let fields = message.descriptor();
    fields.fields().all(|field| field.cardinality() != Cardinality::Required || message.has_field(&field))
        && message.fields().all(|(field, value)| is_good(value, &field.kind()))
        && message.extensions().all(|(field, value)| is_good(value, &field.kind()))
}

fn is_good(value: &Value, kind: &Kind) -> bool {
    match (value, kind) {
        (Value::List(list), _) => list.iter().all(|value| is_good(value, kind)),
        (Value::Map(map), Kind::Message(entry)) => {
            map.values().all(|value| is_good(value, &entry.map_entry_value_field().kind()))
        }
        (Value::Message(message), _) => is_complete(message),
        (Value::EnumNumber(number), Kind::Enum(one)) => {
            one.parent_file().syntax() == Syntax::Proto3 || one.get_value(*number).is_some()
        }
        _ => true,
    }
}

/// Whether a refusal of what the library reads is one of the known differences:
/// the library takes any wire type for a map, and it has forgotten an earlier
/// value that a later one has replaced.
fn may_differ(violation: &crate::Violation, descriptor: &MessageDescriptor, bytes: &[u8]) -> bool {
    let map = descriptor.fields().find(|field| field.is_map()).map_or(0, |field| field.number() as u8);
    let odd_map = bytes.iter().any(|byte| byte >> 3 == map && byte & 7 != 2);
    let message = DynamicMessage::decode(descriptor.clone(), bytes).expect("the library reads it");
    let replaced = message.encode_to_vec().len() != bytes.len();
    match violation.rule.as_str() {
        "enum" | "required" => replaced,
        _ => odd_map,
    }
}

fn agrees(schema: &Protobuf, descriptor: &MessageDescriptor, bytes: &[u8]) -> Result<(), TestCaseError> {
    let expected = oracle(descriptor, bytes);
    match schema.check(Payload::of(bytes)) {
        Ok(()) => prop_assert!(expected, "the library refuses {:?}", bytes),
        Err(violation) if expected => {
            prop_assert!(may_differ(&violation, descriptor, bytes), "{} in {:?}", violation, bytes);
        }
        Err(_) => {}
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_the_library_writes_is_accepted(seed: u64) {
        let mut seed = Seed::new(seed);
        for text in [ORDER, OLD] {
            let descriptor = file(text).messages().next().expect("a message");
            let message = generate::message(&descriptor, &mut seed, 4);
            let bytes = message.encode_to_vec();
            prop_assert_eq!(schema(text).check(Payload::of(&bytes)), Ok(()));
        }
    }
}

thread_local! {
    static BOTH: [(Protobuf, MessageDescriptor); 2] =
        [ORDER, OLD].map(|text| (schema(text), file(text).messages().next().expect("a message")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn mutated_payloads_are_accepted_where_the_library_reads_them(
        seed: u64,
        changes in prop::collection::vec((any::<usize>(), prop_oneof![any::<u8>(), 0..32_u8]), 0..4),
        cut in any::<usize>(),
    ) {
        let mut seed = Seed::new(seed);
        BOTH.with(|both| {
            for (schema, descriptor) in both {
                let mut bytes = generate::message(descriptor, &mut seed, 3).encode_to_vec();
                if seed.one_in(3) && !bytes.is_empty() {
                    bytes.truncate(cut % bytes.len());
                }
                for (at, value) in &changes {
                    let length = bytes.len().max(1);
                    if let Some(byte) = bytes.get_mut(at % length) {
                        *byte = *value;
                    }
                }
                agrees(schema, descriptor, &bytes)?;
            }
            Ok::<(), TestCaseError>(())
        })?;
    }

    #[test]
    fn parts_of_messages_are_accepted_where_the_library_reads_them(seed: u64, parts in 1..4_usize) {
        let mut seed = Seed::new(seed);
        BOTH.with(|both| {
            let (schema, descriptor) = &both[1];
            // Messages behind each other are one message that is merged of them.
            let part = |seed: &mut Seed| generate::incomplete(descriptor, seed, 3).encode_to_vec();
            let bytes: Vec<u8> = (0..parts).flat_map(|_| part(&mut seed)).collect();
            let expected = oracle(descriptor, &bytes);
            match schema.check(Payload::of(&bytes)) {
                Ok(()) => prop_assert!(expected, "the library misses something in {:?}", bytes),
                // Entries of maps that a later one of the same key replaces.
                Err(violation) if expected => prop_assert!(bytes.contains(&0x42), "{} in {:?}", violation, bytes),
                Err(_) => {}
            }
            Ok::<(), TestCaseError>(())
        })?;
    }
}
