//! Each rule by a change that breaks it, and all of them against random
//! schemas: what is compatible must be read with the same values.

use proptest::prelude::*;
use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value};

use super::generate::{self, Seed};
use super::{file, limits, schema};
use crate::format::{Compiled, Payload, Source};
use crate::limits::SchemaLimits;
use crate::protobuf::{Protobuf, compatible};

fn rules(reader: &Protobuf, writer: &Protobuf) -> Vec<&'static str> {
    let found = reader.can_read(writer).err().unwrap_or_default();
    let mut rules: Vec<_> = found.into_iter().map(|one| one.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

/// What was changed, the old text, the new text, what keeps the new one from
/// reading the old one, and the other way.
type Case = (&'static str, &'static str, &'static str, &'static [&'static str], &'static [&'static str]);

const CASES: &[Case] = &[
    ("a field is added", "message A { int32 x = 1; }", "message A { int32 x = 1; string y = 2; }", &[], &[]),
    ("a field is renamed", "message A { int32 x = 1; }", "message A { int32 y = 1; }", &[], &[]),
    (
        "a field is removed and reserved",
        "message A { int32 x = 1; }",
        "message A { reserved 1; }",
        &[],
        &["RESERVED_NUMBER_USED"],
    ),
    (
        "a field has another number",
        "message A { int32 x = 1; }",
        "message A { int32 x = 2; }",
        &["FIELD_RENUMBERED"],
        &["FIELD_RENUMBERED"],
    ),
    (
        "integers read each other",
        "message A { int32 x = 1; bool y = 2; }",
        "message A { uint64 x = 1; int64 y = 2; }",
        &[],
        &[],
    ),
    (
        "zigzag is another encoding",
        "message A { int32 x = 1; }",
        "message A { sint32 x = 1; }",
        &["TYPE_CHANGED"],
        &["TYPE_CHANGED"],
    ),
    ("zigzags read each other", "message A { sint64 x = 1; }", "message A { sint32 x = 1; }", &[], &[]),
    (
        "fixed numbers read each other",
        "message A { fixed32 x = 1; sfixed64 y = 2; }",
        "message A { sfixed32 x = 1; fixed64 y = 2; }",
        &[],
        &[],
    ),
    (
        "float is no integer",
        "message A { fixed32 x = 1; }",
        "message A { float x = 1; }",
        &["TYPE_CHANGED"],
        &["TYPE_CHANGED"],
    ),
    (
        "double is another size",
        "message A { float x = 1; }",
        "message A { double x = 1; }",
        &["TYPE_CHANGED"],
        &["TYPE_CHANGED"],
    ),
    ("a string is bytes", "message A { string x = 1; }", "message A { bytes x = 1; }", &[], &["BYTES_AS_STRING"]),
    (
        "a message is not bytes",
        "message A { A x = 1; }",
        "message A { bytes x = 1; }",
        &["TYPE_CHANGED"],
        &["TYPE_CHANGED"],
    ),
    (
        "one value became a list",
        "message A { A x = 1; }",
        "message A { repeated A x = 1; }",
        &["LABEL_CHANGED"],
        &["LABEL_CHANGED"],
    ),
    (
        "a list is packed",
        "message A { repeated int32 x = 1; }",
        "message A { repeated int32 x = 1 [packed = false]; }",
        &[],
        &[],
    ),
    (
        "a map became a list",
        "message A { map<string, int32> x = 1; }",
        "message A { repeated E x = 1; message E { string key = 1; int32 value = 2; } }",
        &["MAP_CHANGED"],
        &["MAP_CHANGED", "MESSAGE_REMOVED"],
    ),
    (
        "values of a map change",
        "message A { map<string, int32> x = 1; }",
        "message A { map<string, string> x = 1; }",
        &["TYPE_CHANGED"],
        &["TYPE_CHANGED"],
    ),
    (
        "a message is removed",
        "message A { int32 x = 1; } message B {}",
        "message A { int32 x = 1; }",
        &["MESSAGE_REMOVED"],
        &[],
    ),
    ("a nested message is removed", "message A { message B {} }", "message A { }", &["MESSAGE_REMOVED"], &[]),
    (
        "the package is another one",
        "package a; message A {}",
        "package b; message A {}",
        &["PACKAGE_CHANGED"],
        &["PACKAGE_CHANGED"],
    ),
    (
        "one field moves into a new oneof",
        "message A { int32 x = 1; int32 y = 2; }",
        "message A { oneof o { int32 x = 1; int32 z = 3; } int32 y = 2; }",
        &[],
        &[],
    ),
    (
        "two fields move into a oneof",
        "message A { int32 x = 1; int32 y = 2; }",
        "message A { oneof o { int32 x = 1; int32 y = 2; } }",
        &["ONEOF_JOINED"],
        &[],
    ),
    (
        "a field moves into an old oneof",
        "message A { int32 x = 1; oneof o { int32 y = 2; } }",
        "message A { oneof o { int32 x = 1; int32 y = 2; } }",
        &["ONEOF_JOINED"],
        &[],
    ),
    (
        "a field in a chain of messages",
        "message A { B b = 1; } message B { A a = 1; int32 x = 2; }",
        "message A { B b = 1; } message B { A a = 1; string x = 2; }",
        &["TYPE_CHANGED"],
        &["TYPE_CHANGED"],
    ),
    (
        "an open enum gets a value",
        "message A { E e = 1; } enum E { Z = 0; }",
        "message A { E e = 1; } enum E { Z = 0; Y = 1; }",
        &[],
        &[],
    ),
    (
        "an enum is numbered anew",
        "message A { E e = 1; } enum E { Z = 0; Y = 1; }",
        "message A { E e = 1; } enum E { Z = 0; Y = 2; }",
        &["ENUM_VALUE_RENUMBERED"],
        &["ENUM_VALUE_RENUMBERED"],
    ),
    ("an enum is an integer", "message A { E e = 1; } enum E { Z = 0; }", "message A { int32 e = 1; }", &[], &[]),
];

const CASES_OF_PROTO2: &[Case] = &[
    (
        "a field becomes required",
        "message A { optional int32 x = 1; }",
        "message A { required int32 x = 1; }",
        &["REQUIRED_ADDED"],
        &[],
    ),
    ("a required field is added", "message A { }", "message A { required int32 x = 1; }", &["REQUIRED_ADDED"], &[]),
    ("a required field is removed", "message A { required int32 x = 1; }", "message A { }", &[], &["REQUIRED_ADDED"]),
    (
        "a default is changed",
        "message A { optional int32 x = 1 [default = 1]; }",
        "message A { optional int32 x = 1 [default = 2]; }",
        &["DEFAULT_CHANGED"],
        &["DEFAULT_CHANGED"],
    ),
    (
        "a default is said",
        "message A { optional bool x = 1; }",
        "message A { optional bool x = 1 [default = false]; }",
        &[],
        &[],
    ),
    (
        "a closed enum gets a value",
        "message A { optional E e = 1; } enum E { Z = 0; }",
        "message A { optional E e = 1; } enum E { Z = 0; Y = 1; }",
        &[],
        &["ENUM_VALUE_REMOVED"],
    ),
    (
        "a closed enum is an integer",
        "message A { optional E e = 1; } enum E { Z = 0; }",
        "message A { optional int32 e = 1; }",
        &[],
        &["ENUM_CLOSED"],
    ),
    (
        "a group is no message",
        "message A { optional group B = 1 { } }",
        "message A { optional B b = 1; message B { } }",
        &["TYPE_CHANGED"],
        &["TYPE_CHANGED"],
    ),
    (
        "an extension is a field",
        "message A { extensions 1; } extend A { optional int32 x = 1; }",
        "message A { optional string x = 1; }",
        &["TYPE_CHANGED"],
        &["TYPE_CHANGED"],
    ),
];

#[test]
fn each_rule_of_compatibility_is_broken_by_its_change_and_by_no_other() {
    for (syntax, cases) in [("proto3", CASES), ("proto2", CASES_OF_PROTO2)] {
        for (what, old, new, backward, forward) in cases {
            let [old, new] = [old, new].map(|text| schema(&format!("syntax = '{syntax}'; {text}")));
            assert_eq!(rules(&new, &old), *backward, "{what}: the new one reads the old one");
            assert_eq!(rules(&old, &new), *forward, "{what}: the old one reads the new one");
            assert_eq!(rules(&old, &old), Vec::<&str>::new(), "{what}");
        }
    }
    let open = schema("syntax = 'proto3'; message A { E e = 1; } enum E { Z = 0; }");
    let closed = schema("syntax = 'proto2'; message A { optional E e = 1; } enum E { Z = 0; }");
    assert_eq!((rules(&closed, &open), rules(&open, &closed)), (vec!["ENUM_CLOSED"], vec![]));
}

#[test]
fn an_answer_is_bounded_in_length_and_in_time() {
    let fields = |kind: &str| (1..200).map(|n| format!("{kind} f{n} = {n};")).collect::<String>();
    let [old, new] =
        ["int32", "string"].map(|kind| schema(&format!("syntax = 'proto3'; message A {{ {} }}", fields(kind))));
    assert_eq!(new.can_read(&old).expect_err("all fields").len(), limits().incompatibilities);
    let few = SchemaLimits { compared: 1, ..limits() };
    let text = "syntax = 'proto3'; message A { B b = 1; } message B { C c = 1; } message C {}";
    let chain = Protobuf::compile(&Source::alone(text), &few).expect("a schema");
    assert_eq!(rules(&chain, &chain), ["TOO_LARGE"]);
    assert!(compatible::compare(&chain.model, &chain.model, &limits()).is_ok());
}

/// Fields of a message, as they are changed.
#[derive(Clone)]
struct Draft {
    proto2: bool,
    fields: Vec<(String, usize, &'static str, &'static str)>,
    /// How many of the first fields are in a oneof.
    joined: usize,
    values: usize,
}

const KINDS: [&str; 16] = [
    "bool", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "sfixed32", "fixed64", "float",
    "double", "string", "bytes", "E", "A",
];

impl Draft {
    fn random(seed: &mut Seed) -> Self {
        let mut draft = Self { proto2: seed.one_in(2), fields: Vec::new(), joined: 0, values: 2 };
        for _ in 0..1 + seed.below(6) {
            draft.append(seed);
        }
        draft
    }

    fn label(&self, seed: &mut Seed) -> &'static str {
        match (self.proto2, seed.below(4)) {
            (_, 0) => "repeated",
            (true, 1) => "required",
            (true, _) => "optional",
            (false, _) => "",
        }
    }

    fn append(&mut self, seed: &mut Seed) {
        let number = 1 + self.fields.iter().map(|field| field.1).max().unwrap_or(0);
        let kind = KINDS[seed.below(KINDS.len())];
        // A message that requires itself cannot be.
        let label = if kind == "A" { "repeated" } else { self.label(seed) };
        self.fields.push((format!("f{number}"), number, kind, label));
    }

    fn change(&mut self, seed: &mut Seed) {
        let chosen = seed.below(self.fields.len());
        let label = self.label(seed);
        match seed.below(9) {
            0 | 1 => self.append(seed),
            2 => self.values = 1 + seed.below(3),
            3 => self.joined = seed.below(3).min(self.fields.len()),
            4 => self.proto2 = false,
            _ => {
                let Some(field) = self.fields.get_mut(chosen) else { return };
                match seed.below(5) {
                    0 | 1 if field.2 != "A" => field.2 = KINDS[seed.below(KINDS.len() - 1)],
                    2 if field.2 != "A" => field.3 = label,
                    3 => field.0.push('x'),
                    _ => {
                        self.fields.remove(chosen);
                    }
                }
            }
        }
    }

    fn text(&self) -> String {
        let mut text = format!("syntax = '{}'; message A {{ ", if self.proto2 { "proto2" } else { "proto3" });
        let joined = |field: &&(String, usize, &str, &str)| !matches!(field.3, "repeated" | "required");
        let (first, rest) = self.fields.split_at(self.joined.min(self.fields.len()));
        let (first, apart): (Vec<_>, Vec<_>) = first.iter().partition(joined);
        if !first.is_empty() {
            text.push_str("oneof o { ");
            first.iter().for_each(|(name, number, kind, _)| text.push_str(&format!("{kind} {name} = {number}; ")));
            text.push_str("} ");
        }
        for (name, number, kind, label) in apart.into_iter().chain(rest) {
            let label = match (self.proto2, *label) {
                (false, "optional" | "required") => "",
                (true, "") => "optional",
                (_, label) => label,
            };
            text.push_str(&format!("{label} {kind} {name} = {number}; "));
        }
        text.push_str("} enum E { ");
        (0..self.values).for_each(|value| text.push_str(&format!("V{value} = {value}; ")));
        text + "}"
    }
}

/// Whether a reader sees what was written, of the fields that both have.
fn same(read: &DynamicMessage, written: &DynamicMessage) -> bool {
    read.descriptor().fields().all(|ours| match written.descriptor().get_field(ours.number()) {
        Some(theirs) => same_value(&ours, &read.get_field(&ours), &theirs, &written.get_field(&theirs)),
        None => !read.has_field(&ours),
    })
}

fn same_value(ours: &FieldDescriptor, read: &Value, theirs: &FieldDescriptor, written: &Value) -> bool {
    match (read, written) {
        (Value::List(read), Value::List(written)) => {
            read.len() == written.len()
                && read.iter().zip(written).all(|(read, written)| same_value(ours, read, theirs, written))
        }
        (Value::Message(read), Value::Message(written)) => same(read, written),
        (Value::Bytes(read), Value::String(written)) => read.as_ref() == written.as_bytes(),
        (Value::Bool(read), other) => integer(other).is_some_and(|number| *read == (number != 0)),
        (read, written) => match (integer(read), integer(written)) {
            (Some(read), Some(written)) if matches!(ours.kind(), Kind::Sint32) => read == cut_zigzag(written),
            // What is cut to 32 bits is the same in these.
            (Some(read), Some(written)) => {
                let narrow = is_narrow(&ours.kind()) || is_narrow(&theirs.kind());
                read == written || (narrow && read as u32 == written as u32)
            }
            (None, None) => read == written,
            _ => false,
        },
    }
}

/// What a reader of `sint32` makes of a `sint64`: it cuts the zigzag.
fn cut_zigzag(value: i64) -> i64 {
    let zigzag = ((value << 1) ^ (value >> 63)) as u32;
    i64::from((zigzag >> 1) as i32 ^ -((zigzag & 1) as i32))
}

fn integer(value: &Value) -> Option<i64> {
    Some(match value {
        Value::Bool(value) => i64::from(*value),
        Value::I32(value) | Value::EnumNumber(value) => i64::from(*value),
        Value::I64(value) => *value,
        Value::U32(value) => i64::from(*value),
        Value::U64(value) => *value as i64,
        _ => return None,
    })
}

fn is_narrow(kind: &Kind) -> bool {
    matches!(kind, Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Fixed32 | Kind::Sfixed32 | Kind::Enum(_))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn what_a_compatible_writer_writes_is_read_with_the_same_values(seed: u64) {
        let mut seed = Seed::new(seed);
        let writer = Draft::random(&mut seed);
        let mut reader = writer.clone();
        for _ in 0..seed.below(3) {
            reader.change(&mut seed);
        }
        let (writer, reader) = (writer.text(), reader.text());
        // A draft may say what is no schema, such as a repeated field in a oneof.
        let (Ok(ours), Ok(theirs)) = (
            Protobuf::compile(&Source::alone(&reader), &limits()),
            Protobuf::compile(&Source::alone(&writer), &limits()),
        ) else { return Ok(()) };
        if ours.can_read(&theirs).is_err() {
            return Ok(());
        }
        let (ours_of, theirs_of) = (file(&reader), file(&writer));
        let (ours_of, theirs_of) = (ours_of.messages().next().expect("A"), theirs_of.messages().next().expect("A"));
        for _ in 0..4 {
            let written = generate::message(&theirs_of, &mut seed, 2);
            let bytes = written.encode_to_vec();
            prop_assert_eq!(theirs.check(Payload::of(&bytes)), Ok(()), "{}", writer);
            let shown = theirs.show(Payload::of(&bytes), usize::MAX);
            let shown = shown.map(|text| serde_json::from_str::<serde_json::Value>(&text.text).is_ok());
            prop_assert_eq!(shown, Ok(true), "{}", writer);
            prop_assert_eq!(ours.check(Payload::of(&bytes)), Ok(()), "{} reads {}", reader, writer);
            let read = DynamicMessage::decode(ours_of.clone(), bytes.as_slice());
            prop_assert!(read.as_ref().is_ok_and(|read| same(read, &written)), "{} reads {}: {:?}", reader, writer, bytes);
        }
    }
}

#[test]
fn the_comparison_of_what_is_read_can_fail() {
    let [a, b] = ["int64 x = 1;", "sint64 x = 1;"]
        .map(|field| file(&format!("syntax = 'proto3'; message A {{ {field} }}")).messages().next().expect("A"));
    let mut written = DynamicMessage::new(a.clone());
    written.set_field_by_name("x", Value::I64(3));
    let bytes = written.encode_to_vec();
    let [same_type, other_type] = [a, b].map(|one| DynamicMessage::decode(one, bytes.as_slice()).expect("a message"));
    assert!(same(&same_type, &written) && !same(&other_type, &written));
}
