//! The golden files are described in `golden/order.fbs`.

mod generate;
mod hostile;
mod walker;

use proptest::prelude::*;

use super::model::{Item, Model, Scalar, Type, Value};
use super::{FlatBuffers, binary, compatible, verify};
use crate::format::{Compiled, Payload, Source};
use crate::limits::SchemaLimits;
use crate::{CompileError, base64};
use generate::Seed;
use walker::Seen;

pub(super) const SCHEMA: &[u8] = include_bytes!("../golden/order.bfbs");
pub(super) const NEXT: &[u8] = include_bytes!("../golden/order_next.bfbs");
pub(super) const ORDER: &[u8] = include_bytes!("../golden/order.bin");

pub(super) fn limits() -> SchemaLimits {
    SchemaLimits::default()
}

pub(super) fn schema(bytes: &[u8]) -> FlatBuffers {
    FlatBuffers::from_binary(bytes, &limits()).expect("a schema")
}

fn of_model(model: Model) -> FlatBuffers {
    schema(&binary::write(&model.checked().expect("a schema that can be used")))
}

pub(super) fn rule(schema: &FlatBuffers, bytes: &[u8]) -> Option<String> {
    schema.check(Payload::of(bytes)).err().map(|violation| violation.rule)
}

#[test]
fn what_flatc_has_written_is_a_buffer_of_its_schema_and_of_the_next_one() {
    let text = base64::encode(SCHEMA);
    let order = FlatBuffers::compile(&Source::alone(&text), &limits()).expect("a schema");
    assert_eq!(order.root_name(), "shop.Order");
    assert_eq!(order.check(Payload::of(ORDER)), Ok(()));
    assert_eq!(schema(NEXT).check(Payload::of(ORDER)), Ok(()));
    assert!(order.weight() > SCHEMA.len());
    let Seen::Table(fields) = walker::read(&order.model, ORDER) else { panic!("a table") };
    assert_eq!(fields[&0], Seen::Number(-1), "the largest id");
    assert_eq!(fields[&1], Seen::Text("Änne".into()));
    // Of the fields, in the order of the source: lines, then the union with its type.
    let Seen::Member(3, _) = &fields[&6].list()[1] else { panic!("a place: {:?}", fields[&6]) };
}

impl Seen {
    fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            other => panic!("no list: {other:?}"),
        }
    }
}

#[test]
fn the_canonical_text_is_a_schema_that_is_equal_and_has_the_same_text() {
    for bytes in [SCHEMA, NEXT] {
        let first = schema(bytes);
        let again = FlatBuffers::compile(&Source::alone(first.canonical()), &limits()).expect("the canonical text");
        assert_eq!(again.model, first.model);
        assert_eq!(again.canonical(), first.canonical());
        assert_eq!(again.check(Payload::of(ORDER)), Ok(()));
    }
    assert_ne!(schema(SCHEMA).canonical(), schema(NEXT).canonical());
}

#[test]
fn a_violation_names_the_fields_on_the_way() {
    let order = schema(SCHEMA);
    // "Zoë", in the last of the names: its last byte is no UTF-8 any more.
    let at = ORDER.windows(4).position(|window| window == "Zoë".as_bytes()).expect("the name");
    let mut bytes = ORDER.to_vec();
    bytes[at + 3] = b'x';
    let violation = order.check(Payload::of(&bytes)).expect_err("no UTF-8");
    assert_eq!((violation.at.as_str(), violation.rule.as_str()), ("names", "utf-8"));
    assert!(violation.text.contains(&format!("byte {}", at + 2)), "{}", violation.text);
}

#[test]
fn required_fields_identifiers_and_sizes_are_checked() {
    let order = schema(SCHEMA);
    let mut bytes = ORDER.to_vec();
    bytes[4..8].copy_from_slice(b"ELSE");
    assert_eq!(rule(&order, &bytes).as_deref(), Some("identifier"));
    // The root's vtable begins at 14 and its second field, the customer, is required.
    let mut bytes = ORDER.to_vec();
    bytes[20..22].fill(0);
    let violation = order.check(Payload::of(&bytes)).expect_err("no customer");
    assert_eq!((violation.at.as_str(), violation.rule.as_str()), ("customer", "required"));
    let small = SchemaLimits { payload_bytes: 100, ..limits() };
    let order = FlatBuffers::from_binary(SCHEMA, &small).expect("a schema");
    assert_eq!(rule(&order, ORDER).as_deref(), Some("size"));
}

#[test]
fn what_the_builder_of_the_library_writes_is_accepted() {
    let mut builder = flatbuffers::FlatBufferBuilder::new();
    let customer = builder.create_string("from the builder");
    let names = ["a", "b"].map(|name| builder.create_string(name));
    let names = builder.create_vector(&names);
    let blob = builder.create_vector(&[1_u8, 2, 3]);
    let numbers = builder.create_vector::<i64>(&[]);
    let table = builder.start_table();
    builder.push_slot_always(4, 7_u64);
    builder.push_slot_always(6, customer);
    builder.push_slot_always(4 + 2 * 8, names);
    builder.push_slot_always(4 + 2 * 9, blob);
    builder.push_slot_always(4 + 2 * 10, numbers);
    let table = builder.end_table(table);
    builder.finish(table, Some("ORDR"));
    let order = schema(SCHEMA);
    assert_eq!(order.check(Payload::of(builder.finished_data())), Ok(()));
    let Seen::Table(fields) = walker::read(&order.model, builder.finished_data()) else { panic!("a table") };
    assert_eq!(fields[&8], Seen::List(vec![Seen::Text("a".into()), Seen::Text("b".into())]));
}

#[test]
fn sources_and_other_texts_are_refused_with_what_to_do() {
    let refused =
        |text: &str| FlatBuffers::compile(&Source::alone(text), &limits()).err().map(|error| error.to_string());
    assert!(refused("table A { a: int; }").is_some_and(|text| text.contains("flatc --binary --schema")));
    assert!(refused("").is_some_and(|text| text.contains("at least 8 bytes")));
    assert!(refused(&base64::encode(ORDER)).is_some_and(|text| text.contains("BFBS")));
    let few = SchemaLimits { nodes: 10, ..limits() };
    let error = FlatBuffers::from_binary(SCHEMA, &few).err();
    assert!(matches!(error, Some(CompileError::TooLarge { limit: 10, .. })), "{error:?}");
}

/// Rules that stand against `reader` reading what `writer` writes.
fn rules(reader: &Model, writer: &Model) -> Vec<&'static str> {
    let found = compatible::compare(reader, writer, &limits()).err().unwrap_or_default();
    let mut rules: Vec<_> = found.into_iter().map(|one| one.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

/// How the golden schema is changed, and the rules that stand against the new
/// one as a reader of the old one, and against the old one as a reader of the new.
type Case = (&'static str, fn(&mut Model), &'static [&'static str], &'static [&'static str]);

fn table<'a>(model: &'a mut Model, name: &str) -> &'a mut super::model::Object {
    model.objects.iter_mut().find(|object| &*object.name == name).expect("the object")
}

fn enumeration<'a>(model: &'a mut Model, name: &str) -> &'a mut super::model::Enum {
    model.enums.iter_mut().find(|one| &*one.name == name).expect("the enum")
}

const CASES: &[Case] = &[
    ("nothing", |_| {}, &[], &[]),
    (
        "a field is appended",
        |model| {
            let line = table(model, "shop.Line");
            let mut field = line.fields[0].clone();
            (field.name, field.id, field.key) = ("new".into(), line.fields.len() as u16, false);
            field.required = false;
            line.fields.push(field);
        },
        &[],
        &[],
    ),
    ("a field is renamed", |model| table(model, "shop.Line").fields[1].name = "amount".into(), &[], &[]),
    ("a field is deprecated", |model| table(model, "shop.Line").fields[1].deprecated = true, &[], &[]),
    (
        "a type is changed",
        |model| table(model, "shop.Line").fields[1].kind = Type::One(Item::Scalar(Scalar::Long, None)),
        &["TYPE_CHANGED"],
        &["TYPE_CHANGED"],
    ),
    (
        "a field is removed in the middle",
        |model| {
            let line = table(model, "shop.Line");
            line.fields.remove(1);
            line.fields.iter_mut().enumerate().for_each(|(id, field)| field.id = id as u16);
        },
        &["FIELD_RENUMBERED", "TYPE_CHANGED"],
        &["FIELD_RENUMBERED", "TYPE_CHANGED"],
    ),
    (
        "a field becomes required",
        |model| {
            let card = table(model, "shop.Order");
            card.fields[8].required = true;
            card.required.push(8);
        },
        &["REQUIRED_ADDED"],
        &[],
    ),
    (
        "a default is changed",
        |model| table(model, "shop.Card").fields[1].default_integer = 2031,
        &["DEFAULT_CHANGED"],
        &["DEFAULT_CHANGED"],
    ),
    (
        "a number may be absent",
        |model| table(model, "shop.Card").fields[1].optional = true,
        &["DEFAULT_CHANGED"],
        &["DEFAULT_CHANGED"],
    ),
    ("a key is taken away", |model| table(model, "shop.Line").fields[0].key = false, &[], &["KEY_ADDED"]),
    (
        "a struct is laid out in another way",
        |model| table(model, "shop.Point").fields[0].kind = Type::One(Item::Scalar(Scalar::Int, None)),
        &["STRUCT_CHANGED"],
        &["STRUCT_CHANGED"],
    ),
    (
        "a union gets a member",
        |model| {
            let member = Some(Item::String);
            enumeration(model, "shop.Payment").values.push(Value { name: "More".into(), number: 5, member });
        },
        &[],
        &["UNION_MEMBER_REMOVED"],
    ),
    (
        "a number of a union stands for something else",
        |model| enumeration(model, "shop.Payment").values[1].member = Some(Item::String),
        &["UNION_MEMBER_CHANGED"],
        &["UNION_MEMBER_CHANGED"],
    ),
    (
        "an enum is numbered anew",
        |model| enumeration(model, "shop.Colour").values[2].number = 8,
        &["ENUM_VALUE_RENUMBERED"],
        &["ENUM_VALUE_RENUMBERED"],
    ),
    (
        "the root has another name",
        |model| table(model, "shop.Order").name = "shop.Orders".into(),
        &["ROOT_CHANGED"],
        &["ROOT_CHANGED"],
    ),
    ("there is no identifier any more", |model| model.identifier = None, &[], &["FILE_IDENTIFIER_CHANGED"]),
    (
        "the identifier is another one",
        |model| model.identifier = Some(*b"ORD2"),
        &["FILE_IDENTIFIER_CHANGED"],
        &["FILE_IDENTIFIER_CHANGED"],
    ),
];

#[test]
fn each_rule_of_compatibility_is_broken_by_its_change_and_by_no_other() {
    let old = schema(SCHEMA).model;
    for (what, change, backward, forward) in CASES {
        let mut new = old.clone();
        change(&mut new);
        assert_eq!(rules(&new, &old), *backward, "{what}: the new one reads the old one");
        assert_eq!(rules(&old, &new), *forward, "{what}: the old one reads the new one");
    }
    // As it is used, with what flatc has made.
    assert_eq!(schema(NEXT).can_read(&schema(SCHEMA)), Ok(()));
    assert_eq!(schema(SCHEMA).can_read(&schema(NEXT)), Ok(()));
    let few = SchemaLimits { compared: 1, ..limits() };
    let found = compatible::compare(&old, &old, &few).expect_err("too many pairs");
    assert_eq!(found[0].rule, "TOO_LARGE");
}

/// What both sides know must be seen alike by both.
fn same(ours: &Seen, theirs: &Seen) -> bool {
    match (ours, theirs) {
        (Seen::Table(ours), Seen::Table(theirs)) => {
            ours.iter().all(|(id, seen)| theirs.get(id).is_none_or(|other| same(seen, other)))
        }
        (Seen::List(ours), Seen::List(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (Seen::Member(our_number, ours), Seen::Member(their_number, theirs)) => {
            our_number == their_number && same(ours, theirs)
        }
        _ => ours == theirs,
    }
}

proptest! {
    #[test]
    fn what_a_compatible_writer_writes_is_read_with_the_same_values(seed: u64) {
        let mut seed = Seed::new(seed);
        let writer = generate::model(&mut seed).checked().expect("a schema");
        let mut reader = Some(writer.clone());
        for _ in 0..1 + seed.below(2) {
            reader = reader.and_then(|model| generate::changed(&model, &mut seed));
        }
        let Some(reader) = reader else { return Ok(()) };
        let compatible = compatible::compare(&reader, &writer, &limits()).is_ok();
        for _ in 0..4 {
            let bytes = generate::buffer(&writer, &mut seed);
            prop_assert_eq!(verify::check(&writer, &bytes, &limits()), Ok(()));
            let written = walker::read(&writer, &bytes);
            if compatible {
                prop_assert_eq!(verify::check(&reader, &bytes, &limits()), Ok(()));
                let read = walker::read(&reader, &bytes);
                prop_assert!(same(&read, &written), "{:?} and {:?}", read, written);
            }
        }
    }

    #[test]
    fn schemas_are_the_same_after_they_were_written_and_read(seed: u64) {
        let mut seed = Seed::new(seed);
        let model = generate::model(&mut seed).checked().expect("a schema");
        let bytes = binary::write(&model);
        let read = binary::parse(&bytes, &limits()).expect("what was written");
        prop_assert_eq!(read.objects.len(), model.objects.len());
        prop_assert_eq!(compatible::compare(&read, &model, &limits()), Ok(()));
        prop_assert_eq!(compatible::compare(&model, &read, &limits()), Ok(()));
        prop_assert_eq!(binary::write(&read), bytes);
        prop_assert_eq!(of_model(model).model, read);
    }
}

/// A fuzzer's find: a schema that was not compatible with itself, since its parts
/// are compared by name.
#[test]
fn what_has_one_name_twice_is_refused() {
    type Change = fn(&mut Model);
    let changes: [(&str, &str, Change); 3] = [
        ("shop.Card.", "two fields", |order| {
            let card = table(order, "shop.Card");
            card.fields[1].name = card.fields[0].name.clone();
        }),
        (".", "two values", |order| {
            let one = order.enums.iter_mut().find(|one| one.values.len() > 1).expect("an enum");
            one.values[1].name = one.values[0].name.clone();
        }),
        ("", "two tables", |order| order.objects[1].name = order.objects[0].name.clone()),
    ];
    for (place, reason, change) in changes {
        let mut order = schema(SCHEMA).model;
        change(&mut order);
        let (at, why) = order.checked().expect_err(reason);
        assert!(at.contains(place) && why.contains(reason), "{at}: {why}");
    }
}

/// A fuzzer's find: a schema that was not compatible with itself.
#[test]
fn a_deprecated_field_is_not_asked_for_though_it_is_required() {
    let mut order = schema(SCHEMA).model;
    let field = table(&mut order, "shop.Card").fields.iter_mut().find(|field| field.required).expect("one");
    field.deprecated = true;
    let order = of_model(order);
    assert_eq!(order.can_read(&order), Ok(()));
    assert_eq!(rule(&order, ORDER), None);
    assert!(order.model.objects.iter().all(|object| &*object.name != "shop.Card" || object.required.is_empty()));
}

#[test]
fn the_comparison_of_what_is_seen_can_fail() {
    let order = schema(SCHEMA).model;
    let mut other = order.clone();
    table(&mut other, "shop.Card").fields[1].default_integer = 1;
    let mut bytes = ORDER.to_vec();
    assert!(same(&walker::read(&order, &bytes), &walker::read(&order, ORDER)));
    let at = bytes.windows(4).position(|window| window == "4000".as_bytes()).expect("the card");
    bytes[at] = b'5';
    assert!(!same(&walker::read(&order, &bytes), &walker::read(&order, ORDER)));
}
