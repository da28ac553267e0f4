//! Avro: payloads against the library's own decoder, changes by name and at
//! random, and what is meant to hurt.
use apache_avro::Schema as Parsed;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Datum;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::AvroSchema;
use crate::{CompileError, Compiled, Dependency, Payload, STACK_BYTES, SchemaLimits, Source};

fn on_half_the_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().stack_size(STACK_BYTES / 2).spawn_scoped(scope, work).expect("a thread");
        thread.join().expect("it ends")
    })
}

fn compile(text: &str) -> Result<AvroSchema, CompileError> {
    on_half_the_stack(|| AvroSchema::compile(&Source::alone(text), &SchemaLimits::default()))
}

fn rules(reader: &Value, writer: &Value) -> Vec<&'static str> {
    let (reader, writer) =
        (compile(&reader.to_string()).expect("compiles"), compile(&writer.to_string()).expect("compiles"));
    match on_half_the_stack(|| reader.can_read(&writer)) {
        Ok(()) => Vec::new(),
        Err(found) => found.into_iter().map(|one| one.rule).collect(),
    }
}

fn record(fields: Value) -> Value {
    json!({"type": "record", "name": "R", "fields": fields})
}

#[test]
fn a_field_may_be_added_with_a_default_and_lost_at_will() {
    let old = record(json!([{"name": "a", "type": "int"}]));
    let with_default = record(json!([{"name": "a", "type": "int"}, {"name": "b", "type": "string", "default": ""}]));
    let without = record(json!([{"name": "a", "type": "int"}, {"name": "b", "type": "string"}]));
    assert!(rules(&with_default, &old).is_empty());
    assert_eq!(rules(&without, &old), ["READER_FIELD_MISSING_DEFAULT_VALUE"]);
    assert!(rules(&old, &without).is_empty());
}

#[test]
fn each_change_that_breaks_readers_is_named() {
    let cases = [
        (json!("int"), json!("long"), "TYPE_MISMATCH"),
        (json!("string"), json!("int"), "TYPE_MISMATCH"),
        (json!("string"), json!(["null", "string"]), "TYPE_MISMATCH"),
        (json!(["null", "int"]), json!("string"), "MISSING_UNION_BRANCH"),
        (
            json!({"type": "enum", "name": "E", "symbols": ["A"]}),
            json!({"type": "enum", "name": "E", "symbols": ["A", "B"]}),
            "MISSING_ENUM_SYMBOLS",
        ),
        (
            json!({"type": "fixed", "name": "F", "size": 4}),
            json!({"type": "fixed", "name": "F", "size": 5}),
            "FIXED_SIZE_MISMATCH",
        ),
        (
            json!({"type": "fixed", "name": "F", "size": 4}),
            json!({"type": "fixed", "name": "G", "size": 4}),
            "NAME_MISMATCH",
        ),
        (
            json!({"type": "long", "logicalType": "timestamp-millis"}),
            json!({"type": "long", "logicalType": "timestamp-micros"}),
            "LOGICAL_TYPE_MISMATCH",
        ),
        (
            json!({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}),
            json!({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3}),
            "LOGICAL_TYPE_MISMATCH",
        ),
        (json!({"type": "array", "items": "int"}), json!({"type": "array", "items": "string"}), "TYPE_MISMATCH"),
    ];
    for (reader, writer, rule) in cases {
        assert_eq!(rules(&reader, &writer), [rule], "{reader} reading {writer}");
    }
}

#[test]
fn promotions_aliases_and_defaults_of_enums_are_taken() {
    let cases = [
        (json!("double"), json!("int")),
        (json!(["null", "long"]), json!("int")),
        (json!(["null", "string"]), json!(["string", "null"])),
        (
            json!({"type": "enum", "name": "E", "symbols": ["A"], "default": "A"}),
            json!({"type": "enum", "name": "E", "symbols": ["B"]}),
        ),
        (
            json!({"type": "fixed", "name": "F", "aliases": ["G"], "size": 4}),
            json!({"type": "fixed", "name": "G", "size": 4}),
        ),
        (
            record(json!([{"name": "b", "aliases": ["a"], "type": "long"}])),
            record(json!([{"name": "a", "type": "int"}])),
        ),
    ];
    for (reader, writer) in cases {
        assert!(rules(&reader, &writer).is_empty(), "{reader} reading {writer}: {:?}", rules(&reader, &writer));
    }
}

#[test]
fn circles_of_types_are_compared_to_their_end() {
    let list = |leaf: &str| record(json!([{"name": "value", "type": leaf}, {"name": "next", "type": ["null", "R"]}]));
    assert!(rules(&list("long"), &list("int")).is_empty());
    assert!(rules(&list("int"), &list("long")).contains(&"TYPE_MISMATCH"));
}

#[test]
fn named_types_come_from_references() {
    let text = r#"{"type": "record", "name": "flights.Departed", "fields": [{"name": "at", "type": "flights.Airport"}, {"name": "from", "type": "flights.Airport"}]}"#;
    let airport = r#"{"type": "record", "name": "Airport", "namespace": "flights", "fields": [{"name": "code", "type": {"type": "fixed", "name": "Code", "size": 3}}]}"#;
    let dependencies = [Dependency { name: "flights.Airport".to_owned(), text: airport.to_owned() }];
    let schema =
        AvroSchema::compile(&Source { text, dependencies: &dependencies }, &SchemaLimits::default()).expect("compiles");
    assert_eq!(schema.check(Payload::of(b"JFKLHR")), Ok(()));
    assert!(schema.check(Payload::of(b"JFKLH")).is_err());
    assert!(compile(text).is_err(), "alone it is not whole");
}

#[test]
fn a_violation_says_at_which_byte() {
    let schema = compile(r#"{"type": "array", "items": "boolean"}"#).expect("compiles");
    assert_eq!(schema.check(Payload::of(&[4, 1, 0, 0])), Ok(()));
    let violation = schema.check(Payload::of(&[4, 1, 2, 0])).expect_err("no boolean");
    assert_eq!((violation.at.as_str(), violation.rule.as_str()), ("byte 3", "boolean"));
    assert_eq!(schema.check(Payload::of(&[4, 1, 0, 0, 9])).expect_err("too long").rule, "end");
    assert_eq!(schema.check(Payload::of(&[3, 4, 1, 0, 0])), Ok(()), "a block with its size");
    assert_eq!(schema.check(Payload::of(&[3, 2, 1, 0, 0])).expect_err("a wrong size").rule, "block");
}

#[test]
fn schemas_that_are_hostile_are_refused() {
    let nested = |times: usize| format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(times), "}".repeat(times));
    for text in [
        nested(100_000).as_str(),
        &nested(100),
        "{",
        "",
        "[]]",
        "\"nothing\"",
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "S"}]}"#,
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}, {"name": "a", "type": "int"}]}"#,
        r#"[{"type": "fixed", "name": "F", "size": 1}, {"type": "fixed", "name": "F", "size": 2}]"#,
        r#"{"type": "enum", "name": "E", "symbols": ["A", "A"]}"#,
        r#"{"type": "fixed", "name": "F", "size": -1}"#,
        r#"{"type": "fixed", "name": "F", "size": 1e400}"#,
        r#"["int", "int"]"#,
        r#"[["int"]]"#,
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int", "default": "one"}]}"#,
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int", "default": 3000000000}]}"#,
    ] {
        let shown = text.get(..text.len().min(80));
        assert!(compile(text).is_err(), "{shown:?} is taken");
    }
    let many: Vec<Value> = (0..25_000).map(|n| json!({"name": format!("f{n}"), "type": "int"})).collect();
    assert!(matches!(
        compile(&record(json!(many)).to_string()),
        Err(CompileError::TooLarge { .. }) | Err(CompileError::Invalid { .. })
    ));
    let circle = [
        Dependency {
            name: "B".to_owned(),
            text: record(json!([{"name": "a", "type": "A"}])).to_string().replace("\"R\"", "\"B\""),
        },
        Dependency {
            name: "A".to_owned(),
            text: record(json!([{"name": "b", "type": "B"}])).to_string().replace("\"R\"", "\"A\""),
        },
    ];
    let _ = on_half_the_stack(|| {
        AvroSchema::compile(&Source { text: "\"A\"", dependencies: &circle }, &SchemaLimits::default()).map(drop)
    });
}

#[test]
fn types_that_the_library_would_copy_over_and_over_are_bounded() {
    let record =
        |number: usize, fields: Value| json!({"type": "record", "name": format!("T{number}"), "fields": fields});
    let twice = |number: usize| {
        let before = json!({"type": {"type": format!("T{number}")}});
        json!([{"name": "a", "type": before}, {"name": "b", "type": before}])
    };
    let mut types = vec![record(0, json!([{"name": "a", "type": "int"}]))];
    types.extend((1..40).map(|number| record(number, twice(number - 1))));
    let schema = compile(&json!(types).to_string()).expect("2^40 copies are not made");
    assert_eq!(schema.check(Payload::of(&[2, 2, 4])), Ok(()));
    assert!(schema.check(Payload::of(&[78, 0, 0])).is_err(), "2^39 values of which two are there");
    let aliases: Vec<String> = (0..5_000).map(|number| format!("A{number}")).collect();
    let fields: Vec<Value> = (0..2_000).map(|number| json!({"name": format!("f{number}"), "type": "int"})).collect();
    let schema = json!({"type": "record", "name": "R", "aliases": aliases, "fields": fields});
    assert!(matches!(compile(&schema.to_string()), Err(CompileError::TooLarge { .. })));
}

#[test]
fn payloads_that_are_hostile_are_refused() {
    let check = |schema: &str, payload: &[u8]| {
        let schema = compile(schema).expect("compiles");
        on_half_the_stack(|| schema.check(Payload::of(payload))).expect_err("refused").rule
    };
    let list = r#"{"type": "record", "name": "R", "fields": [{"name": "next", "type": ["null", "R"]}]}"#;
    assert_eq!(check(list, &[2; 400]), "nesting", "the 400 bytes that end a process in the library before 0.23");
    let endless = r#"{"type": "record", "name": "R", "fields": [{"name": "next", "type": "R"}]}"#;
    assert_eq!(check(endless, &[]), "nesting");
    let nulls = r#"{"type": "array", "items": "null"}"#;
    let huge = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0];
    assert_eq!(check(nulls, &huge), "values");
    let nested = r#"{"type": "array", "items": {"type": "array", "items": "null"}}"#;
    assert_eq!(check(nested, &[0xfe, 0xff, 0xff, 0x7f, 0xfe, 0xff, 0xff, 0x7f, 0, 0]), "values");
    assert_eq!(check("\"bytes\"", &huge), "length");
    assert_eq!(check("\"string\"", &[1]), "length", "a negative length");
    assert_eq!(check("\"string\"", &[4, 0xff, 0xfe]), "string");
    assert_eq!(check("\"long\"", &[0x80; 11]), "number");
    assert_eq!(check("\"long\"", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]), "number");
    assert_eq!(check("\"int\"", &[0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), "int");
    assert_eq!(check(r#"{"type": "array", "items": "int"}"#, &[1, 0xfe, 0xff, 0xff, 0x7f]), "block");
    assert_eq!(check(r#"{"type": "fixed", "name": "F", "size": 9223372036854775807}"#, &[0]), "length");
    assert_eq!(check(r#"["null"]"#, &[2]), "union");
    assert_eq!(check(r#"{"type": "enum", "name": "E", "symbols": ["A"]}"#, &[1]), "enum");
    assert_eq!(check("\"null\"", &vec![0; (1 << 20) + 1]), "size");
}

#[test]
fn comparing_long_chains_of_types_ends() {
    let chain = |end: &str| {
        let mut types = vec![json!({"type": "record", "name": "T0", "fields": [{"name": "a", "type": end}]})];
        for number in 1..1_500 {
            let before = format!("T{}", number - 1);
            types.push(
                json!({"type": "record", "name": format!("T{number}"), "fields": [{"name": "a", "type": before}]}),
            );
        }
        json!(types)
    };
    assert!(rules(&chain("int"), &chain("string")).contains(&"TYPE_MISMATCH"));
    let (last, other) = (chain("int"), chain("string"));
    let turned = |types: Value| {
        let mut all = types.as_array().cloned().unwrap_or_default();
        all.push(json!({"type": "record", "name": "Z", "fields": [{"name": "a", "type": "T1499"}]}));
        json!({"type": "record", "name": "Root", "fields": [{"name": "all", "type": all}]})
    };
    assert!(!rules(&turned(last), &turned(other)).is_empty());
}

/// What a payload is as text, of at most so many bytes or one value more.
fn shown(schema: &Value, payload: &[u8], most: usize) -> (String, bool) {
    let text = compile(&schema.to_string()).expect("compiles").show(Payload::of(payload), most).expect("fits");
    (text.text, text.is_cut)
}

#[test]
fn a_payload_is_shown_by_the_names_of_its_schema() {
    let schema = record(json!([
        {"name": "id", "type": "long"},
        {"name": "name", "type": ["null", "string"]},
        {"name": "kind", "type": {"type": "enum", "name": "K", "symbols": ["A", "B"]}},
        {"name": "raw", "type": "bytes"},
        {"name": "at", "type": {"type": "map", "values": "double"}},
        {"name": "more", "type": {"type": "array", "items": "boolean"}},
    ]));
    let mut payload = vec![0x0e, 2, 4, b'"', b'x', 2, 4, 0, 0xff, 2, 2, b'k'];
    payload.extend(1.5_f64.to_le_bytes());
    payload.extend([0, 4, 1, 0, 0]);
    let text = r#"{"id":7,"name":"\"x","kind":"B","raw":"0x00ff","at":{"k":1.5},"more":[true,false]}"#;
    assert_eq!(shown(&schema, &payload, 1_000), (text.to_owned(), false));
    assert_eq!(shown(&json!("double"), &f64::NAN.to_le_bytes(), 9), ("\"NaN\"".to_owned(), false));
    assert!(compile(&schema.to_string()).expect("compiles").show(Payload::of(&payload[..9]), 9).is_err());
    // As many values as a count says, each of no bytes.
    let nulls = json!({"type": "array", "items": "null"});
    let (text, is_cut) = shown(&nulls, &[0x80, 0x80, 0x40, 0], 100);
    assert!(is_cut && text.len() <= 104, "{text}");
}

/// Schemas of few names, so that two of them often have to do with each other.
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!("null")),
        Just(json!("boolean")),
        Just(json!("int")),
        Just(json!("long")),
        Just(json!("float")),
        Just(json!("double")),
        Just(json!("bytes")),
        Just(json!("string")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let name = || prop_oneof![Just("a"), Just("b"), Just("c")];
        prop_oneof![
            inner.clone().prop_map(|items| json!({"type": "array", "items": items})),
            inner.clone().prop_map(|values| json!({"type": "map", "values": values})),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|branches| json!(branches)),
            prop::collection::btree_map(name(), (inner, any::<bool>()), 1..3).prop_map(|fields| {
                let fields: Vec<Value> = fields
                    .into_iter()
                    .map(|(name, (kind, default))| {
                        let mut field = json!({"name": name, "type": kind});
                        let default = default.then(|| default_of(&kind)).flatten();
                        if let (Some(map), Some(default)) = (field.as_object_mut(), default) {
                            map.insert("default".into(), default);
                        }
                        field
                    })
                    .collect();
                json!({"type": "record", "name": "R", "fields": fields})
            }),
            (1_usize..4, any::<bool>()).prop_map(|(count, default)| {
                let symbols = ["A", "B", "C"].into_iter().take(count).collect::<Vec<_>>();
                let mut kind = json!({"type": "enum", "name": "E", "symbols": symbols});
                if let (Some(map), true) = (kind.as_object_mut(), default) {
                    map.insert("default".into(), json!("A"));
                }
                kind
            }),
            (1_usize..3).prop_map(|size| json!({"type": "fixed", "name": "F", "size": size})),
        ]
    })
}

fn default_of(kind: &Value) -> Option<Value> {
    Some(match kind.as_str()? {
        "null" => Value::Null,
        "boolean" => json!(true),
        "int" | "long" => json!(1),
        "float" | "double" => json!(1.5),
        _ => json!("x"),
    })
}

/// A datum of the schema, made of `seed`.
fn datum(schema: &Parsed, seed: &mut impl FnMut() -> usize) -> Datum {
    match schema {
        Parsed::Boolean => Datum::Boolean(seed().is_multiple_of(2)),
        Parsed::Int => Datum::Int(i32::try_from(seed() % 1_000).unwrap_or(0) - 500),
        Parsed::Long => Datum::Long(i64::try_from(seed() % 1_000_000_000_000).unwrap_or(0)),
        Parsed::Float => Datum::Float(1.5),
        Parsed::Double => Datum::Double(-2.5),
        Parsed::Bytes => Datum::Bytes(vec![b'x'; seed() % 3]),
        Parsed::String => Datum::String("y".repeat(seed() % 3)),
        Parsed::Array(array) => Datum::Array((0..seed() % 3).map(|_| datum(&array.items, seed)).collect()),
        Parsed::Map(map) => Datum::Map((0..seed() % 3).map(|n| (format!("k{n}"), datum(&map.types, seed))).collect()),
        Parsed::Union(union) => {
            let index = seed() % union.variants().len();
            Datum::Union(u32::try_from(index).unwrap_or(0), Box::new(datum(&union.variants()[index], seed)))
        }
        Parsed::Record(record) => {
            Datum::Record(record.fields.iter().map(|field| (field.name.clone(), datum(&field.schema, seed))).collect())
        }
        Parsed::Enum(inner) => {
            let index = seed() % inner.symbols.len();
            Datum::Enum(u32::try_from(index).unwrap_or(0), inner.symbols[index].clone())
        }
        Parsed::Fixed(fixed) => Datum::Fixed(fixed.size, vec![7; fixed.size]),
        _ => Datum::Null,
    }
}

/// Compiles for both, where the library takes it: a name defined twice is no schema.
fn both(schema: &Value) -> Option<(Parsed, AvroSchema)> {
    Some((Parsed::parse_str(&schema.to_string()).ok()?, compile(&schema.to_string()).ok()?))
}

fn written(schema: &Parsed, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 40).unwrap_or(0)
    };
    let datum = datum(schema, &mut next);
    GenericDatumWriter::builder(schema)
        .build()
        .and_then(|writer| writer.write_value_to_vec(datum))
        .expect("it is of the schema")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn payloads_are_taken_as_the_library_takes_them(schema in schema(), seed in any::<u64>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let Some((parsed, compiled)) = both(&schema) else { return Ok(()) };
        let mut bytes = written(&parsed, seed);
        prop_assert_eq!(compiled.check(Payload::of(&bytes)), Ok(()), "{}", schema);
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] ^= byte;
            let mut rest = bytes.as_slice();
            let library = GenericDatumReader::builder(&parsed).build().and_then(|reader| reader.read_value(&mut rest)).is_ok() && rest.is_empty();
            let ours = compiled.check(Payload::of(&bytes));
            // A block's own size is looked at here, and not by the library.
            let stricter = ours.as_ref().is_err_and(|violation| violation.rule == "block" || violation.rule == "values");
            prop_assert!(stricter || ours.is_ok() == library, "{schema} {bytes:?} {ours:?}");
        }
    }

    #[test]
    fn what_is_called_compatible_is_read_by_the_library(one in schema(), two in schema(), how in 0_u8..4, seed in any::<u64>()) {
        let reader = match how {
            0 => two,
            1 => json!([one.clone(), "null"]),
            2 => json!({"type": "record", "name": "R", "fields": [{"name": "a", "type": one.clone()}, {"name": "z", "type": "int", "default": 1}]}),
            _ => one.clone(),
        };
        let (Some((write, writer)), Some((read, ours))) = (both(&one), both(&reader)) else { return Ok(()) };
        if ours.can_read(&writer).is_ok() {
            let bytes = written(&write, seed);
            let value = GenericDatumReader::builder(&write).reader_schema(&read).build().and_then(|reader| reader.read_value(&mut bytes.as_slice()));
            prop_assert!(value.is_ok(), "{reader} reads {one}: {:?}", value.err().map(|error| error.to_string()));
        }
    }
}
