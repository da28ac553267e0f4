//! Buffers and schemas that were made to do harm. All must be refused or
//! accepted within the limits; a panic, or a reader that is led outside of what
//! was accepted, fails the test.

use flatbuffers::FlatBufferBuilder;
use proptest::prelude::*;

use super::generate::{self, Seed};
use super::{ORDER, SCHEMA, limits, rule, schema, walker};
use crate::STACK_BYTES;
use crate::flatbuffers::model::{Item, Model, Scalar, Type};
use crate::flatbuffers::{FlatBuffers, binary, verify};
use crate::format::{Compiled, Payload};
use crate::limits::SchemaLimits;

/// On half of the stack that callers promise.
pub(super) fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES / 2).spawn(test).expect("a thread");
    thread.join().expect("the test");
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn broken_buffers_are_refused_by_the_rule_that_they_break() {
    let order = schema(SCHEMA);
    assert_eq!(order.check(Payload::of(ORDER)), Ok(()));
    let root = u32::from_le_bytes(ORDER[..4].try_into().expect("four bytes")) as usize;
    let vtable = root - u32::from_le_bytes(ORDER[root..root + 4].try_into().expect("four bytes")) as usize;
    let field =
        |id: usize| root + usize::from(u16::from_le_bytes([ORDER[vtable + 4 + 2 * id], ORDER[vtable + 5 + 2 * id]]));
    let to = |at: usize| at + u32::from_le_bytes(ORDER[at..at + 4].try_into().expect("four bytes")) as usize;
    // What is changed where, and the rule that is broken then.
    let cases: &[(&str, usize, u32, &str)] = &[
        ("a root before itself", 0, 0x8000_0000, "offset"),
        ("a root at itself", 0, 0, "offset"),
        ("a root behind the end", 0, 0x7fff_fff0, "bounds"),
        ("a root that is not aligned", 0, root as u32 + 2, "alignment"),
        ("a vtable behind the end", root, (-0x7fff_0000_i32) as u32, "bounds"),
        ("a vtable before the begin", root, 0x7fff_fff0, "vtable"),
        ("a vtable in the middle of another", root, (root - vtable - 4) as u32, "field"),
        ("the table as its own vtable", root, 0, "vtable"),
        ("a string of 4 GB", to(field(1)), u32::MAX, "bounds"),
        ("a string that ends elsewhere", to(field(1)), 2, "string"),
        ("a vector of 2^32 - 1 tables", to(field(2)), u32::MAX, "bounds"),
        ("a vector of numbers that overflows", to(field(10)), 0x2000_0001, "bounds"),
        ("a vector of tables in a circle", to(field(2)) + 4, 0, "offset"),
        ("a table behind the end", field(4), 0x7fff_ffff, "bounds"),
    ];
    for (what, at, value, broken) in cases {
        let mut bytes = ORDER.to_vec();
        put(&mut bytes, *at, *value);
        assert_eq!(rule(&order, &bytes).as_deref(), Some(*broken), "{what}");
    }
    // The type of the union: the byte of field 3.
    for (number, broken) in [(0, "union"), (5, "union"), (255, "union")] {
        let mut bytes = ORDER.to_vec();
        bytes[field(3)] = number;
        assert_eq!(rule(&order, &bytes).as_deref(), Some(broken), "the union type {number}");
    }
    // The types of the vector of unions are fewer than the values.
    let mut bytes = ORDER.to_vec();
    put(&mut bytes, to(field(5)), 3);
    assert_eq!(rule(&order, &bytes).as_deref(), Some("union"));
    // The last bytes may be padding.
    for length in 0..ORDER.len() - 8 {
        assert!(rule(&order, &ORDER[..length]).is_some(), "the first {length} bytes");
    }
}

#[test]
fn tables_are_nested_as_deep_as_the_limit_and_no_deeper() {
    on_a_small_stack(|| {
        let order = schema(SCHEMA);
        let nested = |levels: usize| {
            let mut builder = FlatBufferBuilder::new();
            let customer = builder.create_string("c");
            let mut inner = None;
            for _ in 0..levels {
                let table = builder.start_table();
                builder.push_slot_always(6, customer);
                if let Some(inner) = inner {
                    builder.push_slot_always::<flatbuffers::WIPOffset<flatbuffers::TableFinishedWIPOffset>>(
                        4 + 2 * 12,
                        inner,
                    );
                }
                inner = Some(builder.end_table(table));
            }
            builder.finish(inner.expect("a level"), Some("ORDR"));
            builder.finished_data().to_vec()
        };
        let limit = limits().payload_nesting;
        assert_eq!(order.check(Payload::of(&nested(limit))), Ok(()));
        assert_eq!(rule(&order, &nested(limit + 1)).as_deref(), Some("nesting"));
        assert_eq!(rule(&order, &nested(20_000)).as_deref(), Some("nesting"));
    });
}

#[test]
fn a_short_buffer_that_is_a_large_tree_is_refused_within_the_limits() {
    // Each line has a vector of sixteen lines, all of them the same next one.
    let mut builder = FlatBufferBuilder::new();
    let sku = builder.create_string("s");
    let mut line = None;
    for _ in 0..20 {
        let inner = line.map(|line| builder.create_vector(&[line; 16]));
        let table = builder.start_table();
        builder.push_slot_always(4, sku);
        if let Some(inner) = inner {
            builder.push_slot_always(4 + 2 * 5, inner);
        }
        line = Some(builder.end_table(table));
    }
    let lines = builder.create_vector(&[line.expect("a line")]);
    let customer = builder.create_string("c");
    let table = builder.start_table();
    builder.push_slot_always(6, customer);
    builder.push_slot_always(8, lines);
    let table = builder.end_table(table);
    builder.finish(table, Some("ORDR"));
    let bytes = builder.finished_data();
    assert!(bytes.len() < 4096);
    assert_eq!(rule(&schema(SCHEMA), bytes).as_deref(), Some("work"));
    // Tables of nothing cost few bytes each, and are counted by themselves.
    let patient = SchemaLimits { payload_steps: u64::MAX, ..limits() };
    let order = FlatBuffers::from_binary(SCHEMA, &patient).expect("a schema");
    let violation = order.check(Payload::of(bytes)).expect_err("too many tables");
    assert!(violation.text.contains("1,000,000 tables"), "{violation}");
    assert_eq!(verify::TABLES, 1_000_000);
}

/// What is wrong, and how a good schema is made so.
type Case = (&'static str, fn(&mut Model));

#[test]
fn schemas_that_contradict_themselves_are_refused() {
    let good = schema(SCHEMA).model;
    let cases: &[Case] = &[
        ("a root that is a struct", |model| {
            model.root = model.objects.iter().position(|object| object.is_struct).expect("a struct") as u32;
        }),
        ("a root that there is not", |model| model.root = u32::MAX),
        ("a type that there is not", |model| model.objects[0].fields[0].kind = Type::One(Item::Object(99))),
        ("an enum that there is not", |model| {
            model.objects[0].fields[0].kind = Type::One(Item::Scalar(Scalar::Byte, Some(99)));
        }),
        ("a union without its type", |model| model.objects[0].fields[0].kind = Type::One(Item::Union(1))),
        ("two fields with one id", |model| model.objects[0].fields[1].id = 0),
        ("an id that is left out", |model| model.objects[0].fields[1].id = 7),
        ("an array in a table", |model| model.objects[0].fields[0].kind = Type::Array(Item::String, 3)),
        ("a struct that contains itself", |model| {
            let index = model.objects.iter().position(|object| object.is_struct).expect("a struct");
            model.objects[index].fields.truncate(1);
            model.objects[index].fields[0].kind = Type::One(Item::Object(index as u32));
        }),
        ("a struct of no size", |model| struct_of(model).bytes = 0),
        ("a struct with no alignment", |model| struct_of(model).align = 0),
        ("a struct that is too small", |model| struct_of(model).bytes = 8),
        ("a struct with a string", |model| struct_of(model).fields[0].kind = Type::One(Item::String)),
        ("fields of a struct that overlap", |model| struct_of(model).fields[1].offset = 0),
    ];
    for (what, change) in cases {
        let mut model = good.clone();
        change(&mut model);
        assert!(model.clone().checked().is_err(), "{what}");
        let binary = binary::write(&model);
        assert!(FlatBuffers::from_binary(&binary, &limits()).is_err(), "{what}, as a binary schema");
    }
}

fn struct_of(model: &mut Model) -> &mut crate::flatbuffers::model::Object {
    model.objects.iter_mut().find(|object| object.is_struct).expect("a struct")
}

#[test]
fn a_schema_that_uses_its_parts_many_times_is_counted_as_what_it_stands_for() {
    // One object with one field, ten thousand times each.
    let mut builder = FlatBufferBuilder::new();
    let name = builder.create_string("N");
    let table = builder.start_table();
    builder.push_slot_always(4, 13_u8);
    let kind = builder.end_table(table);
    let table = builder.start_table();
    builder.push_slot_always(4, name);
    builder.push_slot_always(6, kind);
    let field = builder.end_table(table);
    let fields = builder.create_vector(&vec![field; 10_000]);
    let table = builder.start_table();
    builder.push_slot_always(4, name);
    builder.push_slot_always(6, fields);
    let object = builder.end_table(table);
    let objects = builder.create_vector(&vec![object; 10_000]);
    let enums = builder.create_vector(&[object; 0]);
    let table = builder.start_table();
    builder.push_slot_always(4, objects);
    builder.push_slot_always(6, enums);
    builder.push_slot_always(12, object);
    let root = builder.end_table(table);
    builder.finish(root, Some("BFBS"));
    let error = FlatBuffers::from_binary(builder.finished_data(), &limits()).err().expect("too large");
    assert!(error.to_string().contains("at most 20000"), "{error}");
}

fn mutated(bytes: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, value) in changes {
        let at = at % bytes.len();
        bytes[at] = *value;
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn what_is_accepted_of_mutated_buffers_can_be_read_to_the_end(
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4),
    ) {
        let order = schema(SCHEMA);
        let bytes = mutated(ORDER, &changes);
        if order.check(Payload::of(&bytes)).is_ok() {
            walker::read(&order.model, &bytes);
        }
    }

    #[test]
    fn what_is_accepted_of_mutated_random_buffers_can_be_read_to_the_end(
        seed: u64,
        changes in prop::collection::vec((any::<usize>(), prop_oneof![any::<u8>(), 0..32_u8]), 1..6),
    ) {
        let mut seed = Seed::new(seed);
        let model = generate::model(&mut seed).checked().expect("a schema");
        let bytes = mutated(&generate::buffer(&model, &mut seed), &changes);
        if verify::check(&model, &bytes, &limits()).is_ok() {
            walker::read(&model, &bytes);
        }
    }

    #[test]
    fn mutated_schemas_are_refused_or_can_be_used(
        changes in prop::collection::vec((any::<usize>(), prop_oneof![any::<u8>(), 0..32_u8]), 1..4),
    ) {
        if let Ok(other) = FlatBuffers::from_binary(&mutated(SCHEMA, &changes), &limits()) {
            if other.check(Payload::of(ORDER)).is_ok() {
                walker::read(&other.model, ORDER);
            }
            let _ = (other.can_read(&schema(SCHEMA)), schema(SCHEMA).can_read(&other));
            let again = binary::parse(&binary::write(&other.model), &limits()).expect("what was written");
            prop_assert_eq!(again, other.model);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_can_be_read(bytes: Vec<u8>) {
        let order = schema(SCHEMA);
        if order.check(Payload::of(&bytes)).is_ok() {
            walker::read(&order.model, &bytes);
        }
        let _ = FlatBuffers::from_binary(&bytes, &limits());
    }
}

#[test]
fn the_reader_of_these_tests_notices_when_it_is_led_outside() {
    let order = schema(SCHEMA);
    let mut bytes = ORDER.to_vec();
    bytes.truncate(bytes.len() - 40);
    assert!(order.check(Payload::of(&bytes)).is_err());
    assert!(std::panic::catch_unwind(|| walker::read(&order.model, &bytes)).is_err());
}
