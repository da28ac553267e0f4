//! Random schemas, small changes of them, and buffers of them, from a seed. The
//! writer is the simplest that there can be and shares nothing with the crate
//! that writes binary schemas.

use crate::flatbuffers::model::{Enum, Field, Item, Model, Object, Scalar, Type, Value};

pub(super) use crate::seed::Seed;

const SCALARS: [Scalar; 6] = [Scalar::Bool, Scalar::Byte, Scalar::UShort, Scalar::Int, Scalar::ULong, Scalar::Double];

fn field(name: String, id: usize, kind: Type) -> Field {
    Field {
        name: name.into(),
        id: id as u16,
        kind,
        offset: 0,
        default_integer: 0,
        default_real: 0,
        deprecated: false,
        required: false,
        key: false,
        optional: false,
    }
}

/// Objects 0 and 1 are structs, the others tables; enum 0 is an enum, 1 a union.
fn random_type(seed: &mut Seed, objects: usize) -> Type {
    let item = match seed.below(7) {
        0..=2 => Item::Scalar(SCALARS[seed.below(SCALARS.len())], None),
        3 => Item::Scalar(Scalar::Byte, Some(0)),
        4 => Item::String,
        5 => Item::Object(seed.below(2) as u32),
        _ => Item::Object(2 + seed.below(objects - 2) as u32),
    };
    if seed.one_in(3) { Type::Vector(item) } else { Type::One(item) }
}

fn append(seed: &mut Seed, objects: usize, fields: &mut Vec<Field>) {
    let id = fields.len();
    if seed.one_in(6) {
        let (types, value) = (Item::Scalar(Scalar::UnionType, Some(1)), Item::Union(1));
        let vector = seed.one_in(2);
        let of = |item| if vector { Type::Vector(item) } else { Type::One(item) };
        fields.push(field(format!("f{id}_type"), id, of(types)));
        fields.push(field(format!("f{id}"), id + 1, of(value)));
        return;
    }
    let mut new = field(format!("f{id}"), id, random_type(seed, objects));
    match new.kind {
        Type::One(Item::Scalar(Scalar::Double, _)) => new.default_real = (seed.below(3) as f64).to_bits(),
        Type::One(Item::Scalar(..)) => new.default_integer = seed.below(2) as i64,
        _ => new.required = may_be_required(new.kind) && seed.one_in(5),
    }
    fields.push(new);
}

/// What can be required without a table that needs itself.
fn may_be_required(kind: Type) -> bool {
    matches!(kind, Type::One(Item::String) | Type::Vector(Item::String | Item::Object(_)))
}

/// A schema of some tables, two structs, an enum and a union.
pub(super) fn model(seed: &mut Seed) -> Model {
    let objects = 3 + seed.below(3);
    let mut all = vec![structure("S0", 16, 8, &[(0, Scalar::Int), (8, Scalar::ULong)])];
    all.push(structure("S1", 3, 1, &[(0, Scalar::Byte), (1, Scalar::Bool), (2, Scalar::Byte)]));
    for index in 2..objects {
        let mut fields = Vec::new();
        for _ in 0..1 + seed.below(6) {
            append(seed, objects, &mut fields);
        }
        all.push(object(format!("T{index}"), fields));
    }
    let colours = (0..3).map(|n| Value { name: format!("c{n}").into(), number: n, member: None }).collect();
    let mut members = vec![Value { name: "NONE".into(), number: 0, member: None }];
    for (number, item) in [Item::Object(2), Item::Object(0), Item::String].into_iter().enumerate() {
        members.push(Value { name: format!("m{number}").into(), number: 1 + number as i64, member: Some(item) });
    }
    Model {
        objects: all,
        enums: vec![
            Enum { name: "E".into(), is_union: false, underlying: Scalar::Byte, values: colours },
            Enum { name: "U".into(), is_union: true, underlying: Scalar::UnionType, values: members },
        ],
        root: 2,
        identifier: seed.one_in(2).then_some(*b"TEST"),
    }
}

fn object(name: String, fields: Vec<Field>) -> Object {
    let required = fields.iter().filter(|field| field.is_needed()).map(|field| field.id).collect();
    Object { name: name.into(), is_struct: false, bytes: 0, align: 1, fields, required }
}

fn structure(name: &str, bytes: usize, align: usize, places: &[(u16, Scalar)]) -> Object {
    let one = |(id, (offset, scalar)): (usize, &(u16, Scalar))| Field {
        offset: *offset,
        ..field(format!("s{id}"), id, Type::One(Item::Scalar(*scalar, None)))
    };
    let fields = places.iter().enumerate().map(one).collect();
    Object { name: name.into(), is_struct: true, bytes, align, fields, required: Vec::new() }
}

/// Changes something, allowed or not; `None` if it makes no schema.
pub(super) fn changed(model: &Model, seed: &mut Seed) -> Option<Model> {
    let mut new = model.clone();
    let objects = new.objects.len();
    let table = 2 + seed.below(objects - 2);
    let fields = &mut new.objects[table].fields;
    let chosen = seed.below(fields.len());
    match seed.below(12) {
        _ if fields.is_empty() => append(seed, objects, fields),
        0..=3 => append(seed, objects, fields),
        4 => {
            fields[chosen].kind = random_type(seed, objects);
            fields[chosen].required &= may_be_required(fields[chosen].kind);
        }
        5 => fields[chosen].required ^= may_be_required(fields[chosen].kind),
        6 => fields[chosen].default_integer ^= 1,
        7 => fields[chosen].name = "renamed".into(),
        8 => fields.truncate(fields.len() - 1),
        9 => {
            fields.remove(chosen);
            fields.iter_mut().enumerate().for_each(|(id, field)| field.id = id as u16);
        }
        10 => {
            let number = new.enums[1].values.len() as i64;
            let member = Some(Item::Object(2 + seed.below(objects - 2) as u32));
            new.enums[1].values.push(Value { name: format!("m{number}x").into(), number, member });
        }
        _ => new.objects[0] = structure("S0", 16, 8, &[(0, Scalar::Double), (8, Scalar::ULong)]),
    }
    for object in &mut new.objects {
        object.required = object.fields.iter().filter(|field| field.is_needed()).map(|field| field.id).collect();
    }
    new.checked().ok()
}

/// A buffer of the schema.
pub(super) fn buffer(model: &Model, seed: &mut Seed) -> Vec<u8> {
    let mut out = vec![0; 8];
    if let Some(identifier) = model.identifier {
        out[4..8].copy_from_slice(&identifier);
    }
    let root = table(model, &model.objects[model.root as usize], seed, &mut out, 4);
    out[..4].copy_from_slice(&(root as u32).to_le_bytes());
    out
}

fn align(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(8), 0);
}

fn patch(out: &mut [u8], at: usize, to: usize) {
    out[at..at + 4].copy_from_slice(&((to - at) as u32).to_le_bytes());
}

fn table(model: &Model, object: &Object, seed: &mut Seed, out: &mut Vec<u8>, depth: usize) -> usize {
    // Which fields are there: of a union both, or none.
    let mut there = Vec::new();
    for field in &object.fields {
        let union_value = matches!(field.kind, Type::One(Item::Union(_)) | Type::Vector(Item::Union(_)));
        let same = union_value.then(|| there.last().copied().unwrap_or(false));
        let is_type = matches!(
            field.kind,
            Type::One(Item::Scalar(Scalar::UnionType, _)) | Type::Vector(Item::Scalar(Scalar::UnionType, _))
        );
        let deep = depth == 0 && (is_type || matches!(field.kind, Type::One(Item::Object(_))));
        there.push(same.unwrap_or(field.required || (!deep && !seed.one_in(4))));
    }
    let mut offsets = vec![0_u16; object.fields.len()];
    let mut size = 4_usize;
    for field in object.fields.iter().filter(|field| there[usize::from(field.id)]) {
        let (bytes, aligned) = match field.kind {
            Type::One(item) => model.layout(item).expect("a type"),
            _ => (4, 4),
        };
        size = size.next_multiple_of(aligned);
        offsets[usize::from(field.id)] = size as u16;
        size += bytes;
    }
    let vtable = out.len();
    out.extend(((4 + 2 * offsets.len()) as u16).to_le_bytes());
    out.extend((size as u16).to_le_bytes());
    offsets.iter().for_each(|offset| out.extend(offset.to_le_bytes()));
    align(out);
    let at = out.len();
    out.extend(((at - vtable) as u32).to_le_bytes());
    out.resize(at + size, 0);
    align(out);
    let mut members = Vec::new();
    for field in &object.fields {
        let offset = usize::from(offsets[usize::from(field.id)]);
        if offset == 0 {
            continue;
        }
        let place = at + offset;
        match field.kind {
            Type::One(Item::Scalar(Scalar::UnionType, _)) => {
                let number = 1 + seed.below(3);
                out[place] = number as u8;
                members = vec![number as u8];
            }
            Type::One(Item::Union(index)) => member(model, index, members[0], seed, out, place, depth),
            Type::One(one) => item(model, one, seed, out, place, depth),
            Type::Vector(Item::Scalar(Scalar::UnionType, _)) => {
                members = (0..seed.below(3)).map(|_| seed.below(4) as u8).collect();
                let start = vector(out, place, members.len(), 1);
                out[start..start + members.len()].copy_from_slice(&members);
            }
            Type::Vector(Item::Union(index)) => {
                let members = std::mem::take(&mut members);
                let start = vector(out, place, members.len(), 4);
                for (n, number) in members.into_iter().enumerate().filter(|(_, number)| *number > 0) {
                    member(model, index, number, seed, out, start + 4 * n, depth);
                }
            }
            Type::Vector(one) => {
                let bytes = model.layout(one).expect("a type").0;
                let deep = depth == 0 && matches!(one, Item::Object(_));
                let count = if deep { 0 } else { seed.below(3) };
                let start = vector(out, place, count, bytes);
                (0..count).for_each(|n| item(model, one, seed, out, start + n * bytes, depth));
            }
            Type::Array(..) => unreachable!("a table has no arrays"),
        }
    }
    at
}

/// Room for a vector; where its elements begin.
fn vector(out: &mut Vec<u8>, place: usize, count: usize, bytes: usize) -> usize {
    align(out);
    out.extend([0; 4]);
    let at = out.len();
    patch(out, place, at);
    out.extend((count as u32).to_le_bytes());
    let start = out.len();
    out.resize(start + count * bytes, 0);
    align(out);
    start
}

fn item(model: &Model, one: Item, seed: &mut Seed, out: &mut Vec<u8>, place: usize, depth: usize) {
    match one {
        Item::Scalar(scalar, _) => {
            let value = seed.next().to_le_bytes();
            let wide = if scalar == Scalar::Bool { [value[0] & 1; 8] } else { value };
            out[place..place + scalar.size()].copy_from_slice(&wide[..scalar.size()]);
        }
        Item::String => {
            let text = ["", "a", "Zoë", "a longer text"][seed.below(4)];
            let start = vector(out, place, text.len(), 1);
            out[start..start + text.len()].copy_from_slice(text.as_bytes());
            if out.len() == start + text.len() {
                out.extend([0; 8]);
            }
        }
        Item::Object(index) => {
            let object = &model.objects[index as usize];
            if object.is_struct {
                (0..object.bytes).for_each(|byte| out[place + byte] = seed.next() as u8);
            } else {
                align(out);
                let at = table(model, object, seed, out, depth.saturating_sub(1));
                patch(out, place, at);
            }
        }
        Item::Union(_) => unreachable!("a union has a type"),
    }
}

fn member(model: &Model, index: u32, number: u8, seed: &mut Seed, out: &mut Vec<u8>, place: usize, depth: usize) {
    let member = model.enums[index as usize].value(i64::from(number)).expect("a member").member;
    match member.expect("a type") {
        Item::Object(index) if model.objects[index as usize].is_struct => {
            align(out);
            let at = out.len();
            out.resize(at + model.objects[index as usize].bytes, 7);
            patch(out, place, at);
            align(out);
        }
        other => item(model, other, seed, out, place, depth),
    }
}
