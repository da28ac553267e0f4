//! Payloads and schemas that were made to do harm: each is refused or accepted
//! within the limits, on half of the stack that callers promise.

use proptest::prelude::*;

use super::{ORDER, limits, refused, rule, schema};
use crate::format::{Compiled, Dependency, Payload, Source};
use crate::limits::SchemaLimits;
use crate::protobuf::{NESTING, Protobuf};
use crate::{CompileError, STACK_BYTES, base64};

fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES / 2).spawn(test).expect("a thread");
    thread.join().expect("the test");
}

/// Messages in field `number`, as deep as said, each with its length.
fn nested(number: u8, levels: usize) -> Vec<u8> {
    let mut reversed: Vec<u8> = Vec::new();
    for _ in 0..levels {
        let mut length = reversed.len() as u64;
        let mut varint = Vec::new();
        while length > 0x7f {
            varint.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        varint.push(length as u8);
        reversed.extend(varint.iter().rev());
        reversed.push(number << 3 | 2);
    }
    reversed.reverse();
    reversed
}

#[test]
fn broken_payloads_are_refused_by_the_rule_that_they_break() {
    let order = schema(ORDER);
    let cases: &[(&str, &[u8], &str)] = &[
        ("a varint without an end", &[0x08, 0x80, 0x80], "truncated"),
        (
            "a varint of eleven bytes",
            &[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
            "varint",
        ),
        ("a varint of 70 bits", &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "varint"),
        ("the field number 0", &[0x00, 0x00], "key"),
        ("the wire type 6", &[0x0e], "key"),
        ("the wire type 7", &[0x0f], "key"),
        ("a field number of 33 bits", &[0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0x00], "key"),
        ("a string of 2 GB", &[0x12, 0xff, 0xff, 0xff, 0xff, 0x07], "truncated"),
        (
            "a string of 2^64 - 1 bytes",
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            "truncated",
        ),
        ("an unknown field of 2 GB", &[0xca, 0x3e, 0xff, 0xff, 0xff, 0xff, 0x07], "truncated"),
        ("a message that is longer than its parent", &[0x1a, 3, 0x0a, 5, b'a', b'b', b'c', b'd'], "truncated"),
        ("the end of a group alone", &[0x1c], "group"),
        ("the end of an unknown group alone", &[0xcc, 0x3e], "group"),
        ("an unknown group without an end", &[0xcb, 0x3e, 0x08, 0x01], "group"),
        ("an unknown group with the end of another", &[0xcb, 0x3e, 0xd4, 0x3e], "group"),
        ("a packed list with half a varint", &[0x42, 2, 0x01, 0x80], "truncated"),
        ("a packed list with half a number", &[0x4a, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9], "packed"),
        ("a number of eight bytes with seven", &[0x39, 1, 2, 3, 4, 5, 6, 7], "truncated"),
        ("a message as a group", &[0x1b, 0x1c], "wire-type"),
        ("a map as a number", &[0x20, 0], "wire-type"),
        ("a list of strings packed as numbers", &[0x18, 1], "wire-type"),
    ];
    for (what, bytes, broken) in cases {
        assert_eq!(rule(&order, bytes).as_deref(), Some(*broken), "{what}");
    }
    let accepted: &[(&str, &[u8])] = &[
        ("nothing", &[]),
        ("an overlong zero", &[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]),
        (
            "unknown fields of all types",
            &[0xc8, 0x3e, 1, 0xca, 0x3e, 0, 0xcb, 0x3e, 0xcc, 0x3e, 0xcd, 0x3e, 0, 0, 0, 0],
        ),
        ("numbers one by one and packed", &[0x40, 1, 0x42, 2, 3, 4, 0x49, 0, 0, 0, 0, 0, 0, 0, 0]),
    ];
    for (what, bytes) in accepted {
        assert_eq!(rule(&order, bytes), None, "{what}");
    }
}

#[test]
fn messages_and_groups_are_nested_as_deep_as_the_limit_and_no_deeper() {
    on_a_small_stack(|| {
        let order = schema(ORDER);
        assert_eq!(rule(&order, &nested(15, NESTING)), None);
        assert_eq!(rule(&order, &nested(15, NESTING + 1)).as_deref(), Some("nesting"));
        assert_eq!(rule(&order, &nested(15, 50_000)).as_deref(), Some("nesting"));
        // Unknown groups, with and without their ends.
        let groups = |levels: usize| [vec![0x93; levels], vec![0x94; levels]].concat();
        let fifth = |levels| groups(levels).iter().flat_map(|byte| [*byte, 0x03]).collect::<Vec<u8>>();
        assert_eq!(rule(&order, &fifth(NESTING)), None);
        assert_eq!(rule(&order, &fifth(NESTING + 1)).as_deref(), Some("nesting"));
        assert_eq!(rule(&order, &[0x93, 0x03].repeat(100_000)).as_deref(), Some("nesting"));
        // Whoever allows more than parsers do gets what parsers do.
        let lavish = SchemaLimits { payload_nesting: 1_000_000, ..limits() };
        let order = Protobuf::compile(&Source::alone(ORDER), &lavish).expect("a schema");
        assert_eq!(rule(&order, &nested(15, NESTING + 1)).as_deref(), Some("nesting"));
        let strict = SchemaLimits { payload_nesting: 3, payload_bytes: 20, ..limits() };
        let order = Protobuf::compile(&Source::alone(ORDER), &strict).expect("a schema");
        assert_eq!((rule(&order, &nested(15, 3)), rule(&order, &nested(15, 4)).as_deref()), (None, Some("nesting")));
        assert_eq!(rule(&order, &[0; 21]).as_deref(), Some("size"));
    });
}

#[test]
fn a_million_parts_of_a_message_that_lacks_something_are_judged_within_the_payload() {
    on_a_small_stack(|| {
        let recursive = schema("syntax = 'proto2'; message A { required int32 x = 1; optional A a = 2; }");
        // Half a million empty parts, in a chain of ninety.
        let mut bytes = [0x12, 0x00].repeat(400_000);
        for _ in 0..90 {
            let mut outer = vec![0x12];
            let mut length = bytes.len();
            while length > 0x7f {
                outer.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            outer.push(length as u8);
            outer.append(&mut bytes);
            bytes = outer;
        }
        assert!(bytes.len() < limits().payload_bytes);
        assert_eq!(rule(&recursive, &bytes).as_deref(), Some("required"));
    });
}

#[test]
fn hostile_sources_are_refused_by_what_is_too_much() {
    on_a_small_stack(|| {
        let deep = |levels: usize| format!("{}{}", "message A {".repeat(levels), "}".repeat(levels));
        assert!(matches!(refused(&deep(20_000)), CompileError::TooLarge { what: "levels of nesting", .. }));
        assert!(matches!(refused(&deep(60)), CompileError::Invalid { .. }), "the library's own limit");
        let option = format!("syntax = 'proto2'; message A {{ optional A a = 1 [(x){} = 1]; }}", ".a".repeat(50_000));
        assert!(matches!(refused(&option), CompileError::TooLarge { what: "parts in one name", .. }));
        let braces = format!("option (x) = {{ {} }};", "a { ".repeat(30_000));
        assert!(matches!(refused(&braces), CompileError::TooLarge { what: "levels of nesting", .. }));
        let brackets = format!("option (x) = {{ a: {} }};", "[".repeat(30_000));
        assert!(matches!(refused(&brackets), CompileError::TooLarge { what: "levels of nesting", .. }));
        // A package of 60 words of 200 bytes, and thousands of names in it.
        let package = vec!["p".repeat(200); 60].join(".");
        let messages: String = (0..4000).map(|n| format!("message M{n}{{}}")).collect();
        let names = format!("syntax = 'proto3'; package {package}; {messages}");
        assert!(matches!(refused(&names), CompileError::TooLarge { what: "bytes in a full name", .. }));
        let package = vec!["p".repeat(150); 3].join(".");
        let messages: String = (0..15_000).map(|n| format!("message M{n}{{}}")).collect();
        let names = format!("syntax = 'proto3'; package {package}; {messages}");
        assert!(matches!(refused(&names), CompileError::TooLarge { what: "bytes in all full names", .. }));
        let fields: String = (1..20_001).map(|n| format!("A f{n}={n};")).collect();
        let many = refused(&format!("syntax = 'proto3'; message A {{ {fields} }}"));
        assert!(matches!(many, CompileError::TooLarge { what: "messages, fields and values", .. }), "{many}");
        let word = refused(&format!("message {} {{}}", "a".repeat(100_000)));
        assert!(matches!(word, CompileError::TooLarge { what: "bytes in one word", .. }));
    });
}

#[test]
fn sources_that_contradict_themselves_are_refused() {
    let cases = [
        "message A {} message A {}",
        "message A { int32 x = 1; int32 x = 2; }",
        "message A { int32 x = 1; int32 y = 1; }",
        "message A { int32 x = 0; }",
        "message A { int32 x = 19000; }",
        "message A { int32 x = 536870912; }",
        "message A { B b = 1; }",
        "message A { reserved 1; int32 x = 1; }",
        "enum E { X = 1; } message A {}",
        "package A; message A {} message B { A.A a = 1; }",
        "message A { oneof o { repeated int32 x = 1; } }",
        "message A { map<float, int32> x = 1; }",
        "import 'schema.proto'; message A {}",
        "import ''; message A {}",
        "package google.protobuf; message FieldOptions { string deprecated = 3; } message A { int32 a = 1 [deprecated = true]; }",
        "package google; message protobuf { message FieldOptions { string deprecated = 3; } int32 a = 1 [deprecated = true]; }",
        "message A { int32 x = 1",
        "message A { /* ",
        "option (nothing) = 1; message A {}",
        "\u{0} message A {}",
    ];
    for text in cases {
        let error = refused(&format!("syntax = 'proto3'; {text}"));
        assert!(!matches!(error, CompileError::TooLarge { .. }), "{text}: {error}");
    }
    assert!(matches!(refused("edition = '2023'; message A {}"), CompileError::Invalid { .. }));
    assert!(matches!(refused("syntax = 'proto4'; message A {}"), CompileError::Invalid { .. }));
}

#[test]
fn imports_in_a_circle_and_by_the_thousand_are_refused() {
    on_a_small_stack(|| {
        let compile = |text: &str, dependencies: &[Dependency]| {
            Protobuf::compile(&Source { text, dependencies }, &limits()).err().expect("a refusal")
        };
        let file = |name: &str, text: String| Dependency { name: name.into(), text };
        let circle = [
            file("a.proto", "syntax = 'proto3'; import 'b.proto';".into()),
            file("b.proto", "syntax = 'proto3'; import 'a.proto';".into()),
        ];
        let error = compile("syntax = 'proto3'; import 'a.proto'; message A {}", &circle);
        assert!(matches!(error, CompileError::Invalid { .. }), "{error}");
        let itself = [file("a.proto", "syntax = 'proto3'; import 'a.proto';".into())];
        compile("syntax = 'proto3'; import 'a.proto'; message A {}", &itself);
        let imports: String = (0..5000).map(|n| format!("import 'f{n}.proto';")).collect();
        let error = compile(&format!("syntax = 'proto3'; {imports} message A {{}}"), &[]);
        assert_eq!(error, CompileError::Missing { name: "f0.proto".into() });
        let same = "import 'google/protobuf/descriptor.proto';".repeat(5000);
        compile(&format!("syntax = 'proto3'; {same} message A {{}}"), &[]);
        // Two files that define one name, and a name of this file.
        let money = "syntax = 'proto3'; message Money {}";
        let both = [file("a.proto", money.into()), file("b.proto", money.into())];
        compile("syntax = 'proto3'; import 'a.proto'; import 'b.proto'; message A {}", &both);
        compile("syntax = 'proto3'; import 'a.proto'; message Money {}", &both[..1]);
    });
}

#[test]
fn hostile_descriptors_are_refused() {
    use prost_reflect::prost::Message as _;
    use prost_reflect::prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};
    on_a_small_stack(|| {
        let named = |name: &str| DescriptorProto { name: Some(name.into()), ..DescriptorProto::default() };
        let of = |message: DescriptorProto| {
            let file = FileDescriptorProto { message_type: vec![message], ..FileDescriptorProto::default() };
            refused(&base64::encode(&file.encode_to_vec()))
        };
        let with = |field: FieldDescriptorProto| of(DescriptorProto { field: vec![field], ..named("A") });
        let field = || FieldDescriptorProto {
            name: Some("f".into()),
            number: Some(1),
            label: Some(1),
            r#type: Some(5),
            ..FieldDescriptorProto::default()
        };
        of(named("A {} message B"));
        of(named(""));
        with(FieldDescriptorProto { name: Some("f = 1; int32 g".into()), ..field() });
        with(FieldDescriptorProto { type_name: Some(".A a".into()), r#type: Some(11), ..field() });
        with(FieldDescriptorProto { r#type: Some(99), ..field() });
        with(FieldDescriptorProto { oneof_index: Some(7), ..field() });
        with(FieldDescriptorProto { oneof_index: Some(-1), ..field() });
        with(FieldDescriptorProto { number: Some(-1), ..field() });
        with(FieldDescriptorProto { default_value: Some("1] ; message B {}".into()), ..field() });
        with(FieldDescriptorProto { default_value: Some("\"".into()), r#type: Some(12), ..field() });
        with(FieldDescriptorProto { default_value: Some("\\".into()), r#type: Some(12), ..field() });
        let mut message = named("A");
        for _ in 0..90 {
            message = DescriptorProto { nested_type: vec![message], ..named("A") };
        }
        of(message);
        refused(&base64::encode(&[0x22, 0x02].repeat(30_000)));
    });
}

fn mutated(text: &str, changes: &[(usize, String)]) -> String {
    let mut text = text.to_owned();
    for (at, with) in changes {
        let at = at % (text.len() + 1);
        if text.is_char_boundary(at) {
            text.insert_str(at, with);
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn mutated_sources_are_refused_or_can_be_used(
        changes in prop::collection::vec(
            (any::<usize>(), "[a-z0-9 .;={}()<>\\[\\]\"'/*\\\\-]{1,3}|message |oneof |repeated |map<|= 1;|extend |\\[default = "), 1..4,
        ),
        old: bool,
    ) {
        let text = mutated(if old { super::OLD } else { ORDER }, &changes);
        if let Ok(schema) = Protobuf::compile(&Source::alone(&text), &limits()) {
            let _ = schema.check(Payload::of(&[0x0a, 1, b'a']));
            let again = Protobuf::compile(&Source::alone(schema.canonical()), &limits());
            let again = again.map_err(|error| TestCaseError::fail(format!("{error} in {}", schema.canonical())))?;
            prop_assert_eq!(again.canonical(), schema.canonical());
        }
    }

    #[test]
    fn mutated_descriptors_are_refused_or_can_be_used(
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        old: bool,
    ) {
        let text = if old { super::OLD } else { ORDER };
        let serialized = Protobuf::serialized(&Source::alone(text), &limits()).expect("a schema");
        let mut bytes = base64::decode(&serialized).expect("base64");
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if let Ok(schema) = Protobuf::compile(&Source::alone(&base64::encode(&bytes)), &limits()) {
            let again = Protobuf::compile(&Source::alone(schema.canonical()), &limits());
            let again = again.map_err(|error| TestCaseError::fail(format!("{error} in {}", schema.canonical())))?;
            prop_assert_eq!(again.canonical(), schema.canonical());
        }
    }

    #[test]
    fn any_bytes_are_refused_or_accepted(bytes: Vec<u8>) {
        for text in [ORDER, super::OLD] {
            let _ = schema(text).check(Payload::of(&bytes));
        }
    }
}
