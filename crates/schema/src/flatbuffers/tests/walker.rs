//! Reads a whole buffer as a careless reader does: it indexes, and so panics
//! when it is led outside. What the verifier has accepted it must be able to read.

use std::collections::BTreeMap;

use crate::flatbuffers::model::{Field, Item, Model, Object, Scalar, Type};

/// What a reader sees.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    Number(i64),
    Text(String),
    List(Vec<Seen>),
    Struct(Vec<u8>),
    Table(BTreeMap<u16, Seen>),
    Member(u8, Box<Seen>),
    Nothing,
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes")))
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

fn follow(bytes: &[u8], at: usize) -> usize {
    at + u32_at(bytes, at)
}

fn scalar(bytes: &[u8], at: usize, scalar: Scalar) -> Seen {
    let mut wide = [0; 8];
    wide[..scalar.size()].copy_from_slice(&bytes[at..at + scalar.size()]);
    Seen::Number(i64::from_le_bytes(wide))
}

fn text(bytes: &[u8], at: usize) -> Seen {
    let count = u32_at(bytes, at);
    assert_eq!(bytes[at + 4 + count], 0);
    Seen::Text(String::from_utf8(bytes[at + 4..at + 4 + count].to_vec()).expect("UTF-8"))
}

fn place(bytes: &[u8], table: usize, id: u16) -> Option<usize> {
    let vtable = (table as i64 - i64::from(u32_at(bytes, table) as u32 as i32)) as usize;
    let slot = 4 + 2 * usize::from(id);
    if slot >= u16_at(bytes, vtable) {
        return None;
    }
    match u16_at(bytes, vtable + slot) {
        0 => None,
        offset => Some(table + offset),
    }
}

/// The root of a buffer.
pub(super) fn read(model: &Model, bytes: &[u8]) -> Seen {
    table(model, &model.objects[model.root as usize], bytes, follow(bytes, 0))
}

fn table(model: &Model, object: &Object, bytes: &[u8], at: usize) -> Seen {
    let fields = object.fields.iter().map(|field| (field.id, one_field(model, field, bytes, at)));
    Seen::Table(fields.collect())
}

fn one_field(model: &Model, field: &Field, bytes: &[u8], table: usize) -> Seen {
    let found = place(bytes, table, field.id);
    match (field.kind, found) {
        (Type::One(Item::Scalar(Scalar::Float, _)), None) if !field.optional => {
            Seen::Number(i64::from((f64::from_bits(field.default_real) as f32).to_bits()))
        }
        (Type::One(Item::Scalar(Scalar::Double, _)), None) if !field.optional => {
            Seen::Number(field.default_real as i64)
        }
        (Type::One(Item::Scalar(size, _)), None) if !field.optional => {
            scalar(&field.default_integer.to_le_bytes(), 0, size)
        }
        (_, None) => Seen::Nothing,
        (Type::One(Item::Union(index)), Some(at)) => {
            let number = bytes[place(bytes, table, field.id - 1).expect("a type")];
            member(model, index, number, bytes, at)
        }
        (Type::One(one), Some(at)) => item(model, one, bytes, at),
        (Type::Vector(Item::Union(index)), Some(at)) => {
            let values = follow(bytes, at);
            let types = follow(bytes, place(bytes, table, field.id - 1).expect("types"));
            let one = |n| match bytes[types + 4 + n] {
                0 => Seen::Nothing,
                number => member(model, index, number, bytes, values + 4 + n * 4),
            };
            Seen::List((0..u32_at(bytes, values)).map(one).collect())
        }
        (Type::Vector(one), Some(at)) => {
            let vector = follow(bytes, at);
            let size = model.layout(one).expect("a type").0;
            let each = |n| item(model, one, bytes, vector + 4 + n * size);
            Seen::List((0..u32_at(bytes, vector)).map(each).collect())
        }
        (Type::Array(..), _) => unreachable!("a table has no arrays"),
    }
}

fn item(model: &Model, one: Item, bytes: &[u8], at: usize) -> Seen {
    match one {
        Item::Scalar(size, _) => scalar(bytes, at, size),
        Item::String => text(bytes, follow(bytes, at)),
        Item::Object(index) => {
            let object = &model.objects[index as usize];
            if object.is_struct {
                return Seen::Struct(bytes[at..at + object.bytes].to_vec());
            }
            table(model, object, bytes, follow(bytes, at))
        }
        Item::Union(_) => unreachable!("a union has a type"),
    }
}

fn member(model: &Model, index: u32, number: u8, bytes: &[u8], at: usize) -> Seen {
    let member = model.enums[index as usize].value(i64::from(number)).expect("a member").member;
    let seen = match member.expect("a type") {
        // A struct lies behind the offset.
        Item::Object(index) if model.objects[index as usize].is_struct => {
            item(model, Item::Object(index), bytes, follow(bytes, at))
        }
        other => item(model, other, bytes, at),
    };
    Seen::Member(number, Box::new(seen))
}
