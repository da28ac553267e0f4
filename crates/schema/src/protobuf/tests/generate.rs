//! Random messages of a descriptor, from a seed.

use prost_reflect::{Cardinality, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

pub(super) use crate::seed::Seed;

/// With all that is required in it.
pub(super) fn message(descriptor: &MessageDescriptor, seed: &mut Seed, depth: usize) -> DynamicMessage {
    make(descriptor, seed, depth, true)
}

/// Perhaps without some of it.
pub(super) fn incomplete(descriptor: &MessageDescriptor, seed: &mut Seed, depth: usize) -> DynamicMessage {
    make(descriptor, seed, depth, false)
}

fn make(descriptor: &MessageDescriptor, seed: &mut Seed, depth: usize, complete: bool) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let required = field.cardinality() == Cardinality::Required;
        let deep = depth == 0 && field.kind().as_message().is_some();
        let there = if required { complete || !seed.one_in(3) } else { !deep && seed.one_in(2) };
        if there {
            let value = field_value(&field, seed, depth.saturating_sub(1), complete);
            message.set_field(&field, value);
        }
    }
    for extension in descriptor.extensions() {
        if seed.one_in(3) {
            let one = value(&extension.kind(), seed, 0, complete);
            message.set_extension(&extension, if extension.is_list() { Value::List(vec![one]) } else { one });
        }
    }
    message
}

fn field_value(field: &FieldDescriptor, seed: &mut Seed, depth: usize, complete: bool) -> Value {
    let kind = field.kind();
    if field.is_map() {
        let entry = kind.as_message().expect("an entry").clone();
        let pairs = (0..seed.below(3)).map(|_| {
            let key = match value(&entry.map_entry_key_field().kind(), seed, depth, complete) {
                Value::String(text) => MapKey::String(text),
                Value::I32(number) => MapKey::I32(number),
                other => panic!("a key of {other:?}"),
            };
            (key, value(&entry.map_entry_value_field().kind(), seed, depth, complete))
        });
        return Value::Map(pairs.collect());
    }
    if field.is_list() {
        return Value::List((0..seed.below(4)).map(|_| value(&kind, seed, depth, complete)).collect());
    }
    value(&kind, seed, depth, complete)
}

fn value(kind: &Kind, seed: &mut Seed, depth: usize, complete: bool) -> Value {
    let number = if seed.one_in(2) { seed.next() } else { seed.below(300) as u64 };
    match kind {
        Kind::Bool => Value::Bool(number & 1 == 1),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number as i64),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(number),
        Kind::Float => Value::F32(number as f32),
        Kind::Double => Value::F64(number as f64),
        Kind::String => Value::String(["", "a", "Zoë", "a longer text"][seed.below(4)].to_owned()),
        Kind::Bytes => Value::Bytes(number.to_le_bytes()[..seed.below(9)].to_vec().into()),
        Kind::Enum(one) => {
            Value::EnumNumber(one.values().nth(seed.below(one.values().len())).expect("a value").number())
        }
        Kind::Message(descriptor) => Value::Message(make(descriptor, seed, depth, complete)),
    }
}
