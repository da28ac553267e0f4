//! Binary schemas (`.bfbs`, as `flatc --binary --schema` writes them) into the
//! model and back. They are FlatBuffers of the schema `reflection.fbs`, and are
//! read here as bytes from outside like any other.
//!
//! A part of a buffer may be used many times over, so what is read is counted,
//! not what there is: at most [`SchemaLimits::nodes`] definitions and
//! [`ALL_NAMES_BYTES`] of names.

use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, WIPOffset};

use super::bytes::{Buffer, Read, Table, malformed};
use super::model::{Enum, Field, Item, Model, Object, Scalar, Type, Value, base};
use crate::error::CompileError;
use crate::limits::SchemaLimits;

/// The identifier of binary schemas.
const IDENTIFIER: &str = "BFBS";
/// Bytes of one name.
const NAME_BYTES: usize = 512;
/// Bytes of all names.
const ALL_NAMES_BYTES: usize = 4 << 20;

/// Reads a binary schema.
///
/// # Errors
/// It is no binary schema, says what is not supported, or is larger than the limits.
pub(super) fn parse(bytes: &[u8], limits: &SchemaLimits) -> Result<Model, CompileError> {
    let mut parser = Parser { buffer: None, nodes: 0, names: 0, limits, too_large: None };
    let model = match parser.schema(bytes) {
        Ok(model) => model,
        Err(error) => {
            return Err(parser.too_large.unwrap_or_else(|| {
                CompileError::invalid(
                    format!("byte {}", error.at),
                    format!("the binary schema is broken: {}", error.text),
                )
            }));
        }
    };
    model.checked().map_err(|(at, reason)| CompileError::invalid(at, reason))
}

struct Parser<'a, 'l> {
    buffer: Option<Buffer<'a>>,
    nodes: usize,
    names: usize,
    limits: &'l SchemaLimits,
    /// Why the last error was one, if it was a limit.
    too_large: Option<CompileError>,
}

/// What a `Type` table says.
struct RawType {
    base: u8,
    element: u8,
    index: i32,
    length: u16,
}

impl<'a> Parser<'a, '_> {
    fn buffer(&self) -> Read<Buffer<'a>> {
        match self.buffer {
            Some(buffer) => Ok(buffer),
            None => malformed("", "there is no buffer", 0),
        }
    }

    fn schema(&mut self, bytes: &'a [u8]) -> Read<Model> {
        let buffer = Buffer::new(bytes)?;
        self.buffer = Some(buffer);
        if buffer.identifier()? != IDENTIFIER.as_bytes() {
            return malformed("", "it has no identifier BFBS: make it with `flatc --binary --schema`", 4);
        }
        let schema = buffer.table(buffer.follow(0)?)?;
        let mut objects = self.tables(&schema, 0, Self::object)?;
        let mut enums = self.tables(&schema, 1, Self::enumeration)?;
        let identifier = match self.text(&schema, 2)? {
            None | Some("") => None,
            Some(text) => match text.as_bytes().try_into() {
                Ok(identifier) => Some(identifier),
                Err(_) => return malformed("", "a file identifier has four bytes", schema.at),
            },
        };
        let Some(root) = buffer.field(&schema, 4, 4, 4)? else {
            return malformed("", "it has no root type: add `root_type` to the source", schema.at);
        };
        let root_table = buffer.table(buffer.follow(root)?)?;
        let root_name = self.name(&root_table)?;
        let new_objects = sort_by_name(&mut objects, |object| &object.name);
        let new_enums = sort_by_name(&mut enums, |one| &one.name);
        let (Some(new_objects), Some(new_enums)) = (new_objects, new_enums) else {
            return malformed("", "two types have one name", schema.at);
        };
        let Ok(root) = objects.binary_search_by(|object| object.name.cmp(&root_name)) else {
            return malformed("", "the root type is not among the objects", root_table.at);
        };
        let renumber = |item: &mut Item| {
            let (index, new) = match item {
                Item::Scalar(_, Some(index)) | Item::Union(index) => (index, &new_enums),
                Item::Object(index) => (index, &new_objects),
                Item::Scalar(_, None) | Item::String => return Ok(()),
            };
            match new.get(*index as usize) {
                Some(new) => *index = *new,
                None => return malformed("", "a type is of an object or enum that there is not", 0),
            }
            Ok(())
        };
        for field in objects.iter_mut().flat_map(|object| &mut object.fields) {
            match &mut field.kind {
                Type::One(item) | Type::Vector(item) | Type::Array(item, _) => renumber(item)?,
            }
        }
        enums.iter_mut().flat_map(|one| &mut one.values).flat_map(|value| &mut value.member).try_for_each(renumber)?;
        Ok(Model { objects, enums, root: root as u32, identifier })
    }

    /// All tables of a vector.
    fn tables<T>(&mut self, table: &Table, id: usize, each: fn(&mut Self, &Table) -> Read<T>) -> Read<Vec<T>> {
        let buffer = self.buffer()?;
        let Some(place) = buffer.field(table, id, 4, 4)? else {
            return malformed("", "a vector that is required is missing", table.at);
        };
        let vector = buffer.vector(buffer.follow(place)?, 4, 4)?;
        self.count(vector.count)?;
        let one = |index| buffer.table(buffer.follow(vector.at + index * 4)?);
        (0..vector.count).map(|index| one(index).and_then(|table| each(self, &table))).collect()
    }

    fn count(&mut self, more: usize) -> Read<()> {
        self.nodes = self.nodes.saturating_add(more);
        let limit = self.limits.nodes;
        if self.nodes > limit {
            let error = CompileError::TooLarge { what: "types, fields and values", size: self.nodes, limit };
            return self.too_large(error);
        }
        Ok(())
    }

    fn too_large<T>(&mut self, error: CompileError) -> Read<T> {
        self.too_large = Some(error);
        malformed("", "it is too large", 0)
    }

    fn text(&self, table: &Table, id: usize) -> Read<Option<&'a str>> {
        let buffer = self.buffer()?;
        match buffer.field(table, id, 4, 4)? {
            Some(place) => buffer.string(buffer.follow(place)?).map(Some),
            None => Ok(None),
        }
    }

    /// The name of a type, field or value: their first field.
    fn name(&mut self, table: &Table) -> Read<Box<str>> {
        let Some(name) = self.text(table, 0)? else {
            return malformed("", "a name is missing", table.at);
        };
        if name.len() > NAME_BYTES {
            let size = name.len();
            return self.too_large(CompileError::TooLarge { what: "bytes in a name", size, limit: NAME_BYTES });
        }
        self.names += name.len();
        if self.names > ALL_NAMES_BYTES {
            let size = self.names;
            return self.too_large(CompileError::TooLarge { what: "bytes in all names", size, limit: ALL_NAMES_BYTES });
        }
        Ok(name.into())
    }

    fn flag(&self, table: &Table, id: usize) -> Read<bool> {
        let buffer = self.buffer()?;
        let place = buffer.field(table, id, 1, 1)?;
        Ok(place.map(|at| buffer.u8(at)).transpose()?.is_some_and(|byte| byte != 0))
    }

    fn number<T>(&self, table: &Table, id: usize, read: fn(Buffer<'a>, usize) -> Read<T>) -> Read<Option<T>> {
        let buffer = self.buffer()?;
        let place = buffer.field(table, id, size_of::<T>(), size_of::<T>())?;
        place.map(|at| read(buffer, at)).transpose()
    }

    fn object(&mut self, table: &Table) -> Read<Object> {
        let name = self.name(table)?;
        let mut fields = self.tables(table, 1, Self::field)?;
        fields.sort_by_key(|field| field.id);
        let is_struct = self.flag(table, 2)?;
        // What means nothing is left out, so that equal schemas are equal.
        for field in &mut fields {
            if !is_struct {
                field.offset = 0;
            }
            match field.kind {
                Type::One(Item::Scalar(Scalar::Float | Scalar::Double, _)) => field.default_integer = 0,
                Type::One(Item::Scalar(..)) => field.default_real = 0,
                _ => (field.default_integer, field.default_real, field.optional) = (0, 0, false),
            }
        }
        let size = |found: Option<u32>| found.and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
        Ok(Object {
            name,
            is_struct,
            align: if is_struct { size(self.number(table, 3, Buffer::u32)?) } else { 1 },
            bytes: if is_struct { size(self.number(table, 4, Buffer::u32)?) } else { 0 },
            required: fields.iter().filter(|field| field.is_needed()).map(|field| field.id).collect(),
            fields,
        })
    }

    fn field(&mut self, table: &Table) -> Read<Field> {
        let raw = self.raw_type(table, 1)?;
        let kind = match raw.base {
            base::VECTOR => Type::Vector(self.item(raw.element, raw.index, table)?),
            base::ARRAY => Type::Array(self.item(raw.element, raw.index, table)?, raw.length),
            other => Type::One(self.item(other, raw.index, table)?),
        };
        if self.flag(table, 13)? {
            return malformed("", "offsets of 64 bits are not supported", table.at);
        }
        Ok(Field {
            name: self.name(table)?,
            kind,
            id: self.number(table, 2, Buffer::u16)?.unwrap_or(0),
            offset: self.number(table, 3, Buffer::u16)?.unwrap_or(0),
            default_integer: self.number(table, 4, Buffer::i64)?.unwrap_or(0),
            default_real: self.number(table, 5, Buffer::i64)?.unwrap_or(0) as u64,
            deprecated: self.flag(table, 6)?,
            required: self.flag(table, 7)?,
            key: self.flag(table, 8)?,
            optional: self.flag(table, 11)?,
        })
    }

    fn raw_type(&self, table: &Table, id: usize) -> Read<RawType> {
        let buffer = self.buffer()?;
        let Some(place) = buffer.field(table, id, 4, 4)? else {
            return malformed("", "a type is missing", table.at);
        };
        let table = buffer.table(buffer.follow(place)?)?;
        Ok(RawType {
            base: self.number(&table, 0, Buffer::u8)?.unwrap_or(base::NONE),
            element: self.number(&table, 1, Buffer::u8)?.unwrap_or(base::NONE),
            index: self.number(&table, 2, Buffer::u32)?.map_or(-1, |index| index as i32),
            length: self.number(&table, 3, Buffer::u16)?.unwrap_or(0),
        })
    }

    fn item(&self, base: u8, index: i32, table: &Table) -> Read<Item> {
        let index = u32::try_from(index).ok();
        if let Some(scalar) = Scalar::of(base) {
            return Ok(Item::Scalar(scalar, index));
        }
        match (base, index) {
            (base::STRING, _) => Ok(Item::String),
            (base::OBJECT, Some(index)) => Ok(Item::Object(index)),
            (base::UNION, Some(index)) => Ok(Item::Union(index)),
            _ => malformed("", "there is a type that is not supported", table.at),
        }
    }

    fn enumeration(&mut self, table: &Table) -> Read<Enum> {
        let name = self.name(table)?;
        let is_union = self.flag(table, 2)?;
        let raw = self.raw_type(table, 3)?;
        let Some(underlying) = Scalar::of(raw.base) else {
            return malformed("", "an enum is not of numbers", table.at);
        };
        let mut values = self.tables(table, 1, Self::value)?;
        values.sort_by_key(|value| value.number);
        if values.windows(2).any(|pair| matches!(pair, [a, b] if a.number == b.number)) {
            return malformed("", "two values of an enum have one number", table.at);
        }
        Ok(Enum { name, is_union, underlying, values })
    }

    fn value(&mut self, table: &Table) -> Read<Value> {
        let name = self.name(table)?;
        let number = self.number(table, 1, Buffer::i64)?.unwrap_or(0);
        let member = match self.buffer()?.field(table, 3, 4, 4)? {
            None => None,
            Some(_) => match self.raw_type(table, 3)? {
                RawType { base: base::NONE, .. } => None,
                raw => Some(self.item(raw.base, raw.index, table)?),
            },
        };
        Ok(Value { name, number, member })
    }
}

/// Sorts by name; returns where each has gone, or `None` if two have one name.
fn sort_by_name<T>(all: &mut Vec<T>, name: fn(&T) -> &str) -> Option<Vec<u32>> {
    let mut numbered: Vec<(usize, T)> = std::mem::take(all).into_iter().enumerate().collect();
    numbered.sort_by(|(_, a), (_, b)| name(a).cmp(name(b)));
    if numbered.windows(2).any(|pair| matches!(pair, [(_, a), (_, b)] if name(a) == name(b))) {
        return None;
    }
    let mut new = vec![0; numbered.len()];
    for (to, (from, one)) in numbered.into_iter().enumerate() {
        *new.get_mut(from)? = to as u32;
        all.push(one);
    }
    Some(new)
}

type Builder = FlatBufferBuilder<'static>;

/// A model as a binary schema. Equal models give equal bytes.
pub(super) fn write(model: &Model) -> Vec<u8> {
    let mut out = FlatBufferBuilder::new();
    let enums: Vec<_> = model.enums.iter().map(|one| write_enum(&mut out, one)).collect();
    let objects: Vec<_> = model.objects.iter().map(|object| write_object(&mut out, object)).collect();
    let root = objects.get(model.root as usize).copied();
    let enums = out.create_vector(&enums);
    let objects = out.create_vector(&objects);
    let identifier = model.identifier.map(|identifier| out.create_string(&String::from_utf8_lossy(&identifier)));
    let schema = out.start_table();
    out.push_slot_always(slot(0), objects);
    out.push_slot_always(slot(1), enums);
    if let Some(identifier) = identifier {
        out.push_slot_always(slot(2), identifier);
    }
    if let Some(root) = root {
        out.push_slot_always(slot(4), root);
    }
    let schema = out.end_table(schema);
    out.finish(schema, Some(IDENTIFIER));
    out.finished_data().to_vec()
}

/// Where a vtable has the field of that id.
const fn slot(id: u16) -> u16 {
    4 + 2 * id
}

fn done(table: WIPOffset<flatbuffers::TableFinishedWIPOffset>) -> WIPOffset<UnionWIPOffset> {
    table.as_union_value()
}

fn write_type(out: &mut Builder, kind: Type) -> WIPOffset<UnionWIPOffset> {
    let of = |item| match item {
        Item::Scalar(scalar, index) => (scalar as u8, index),
        Item::String => (base::STRING, None),
        Item::Object(index) => (base::OBJECT, Some(index)),
        Item::Union(index) => (base::UNION, Some(index)),
    };
    let (outer, element, index, length) = match kind {
        Type::One(item) => (of(item).0, base::NONE, of(item).1, 0),
        Type::Vector(item) => (base::VECTOR, of(item).0, of(item).1, 0),
        Type::Array(item, length) => (base::ARRAY, of(item).0, of(item).1, length),
    };
    let table = out.start_table();
    out.push_slot(slot(2), index.map_or(-1, |index| index as i32), -1);
    out.push_slot(slot(3), length, 0);
    out.push_slot(slot(0), outer, base::NONE);
    out.push_slot(slot(1), element, base::NONE);
    done(out.end_table(table))
}

fn write_field(out: &mut Builder, field: &Field, is_struct: bool) -> WIPOffset<UnionWIPOffset> {
    let name = out.create_string(&field.name);
    let kind = write_type(out, field.kind);
    let table = out.start_table();
    out.push_slot(slot(4), field.default_integer, 0);
    out.push_slot(slot(5), field.default_real as i64, 0);
    out.push_slot_always(slot(0), name);
    out.push_slot_always(slot(1), kind);
    out.push_slot(slot(2), field.id, 0);
    out.push_slot(slot(3), if is_struct { field.offset } else { slot(field.id) }, 0);
    out.push_slot(slot(6), field.deprecated, false);
    out.push_slot(slot(7), field.required, false);
    out.push_slot(slot(8), field.key, false);
    out.push_slot(slot(11), field.optional, false);
    done(out.end_table(table))
}

fn write_object(out: &mut Builder, object: &Object) -> WIPOffset<UnionWIPOffset> {
    let name = out.create_string(&object.name);
    // As the schema of schemas has it: by name.
    let mut sorted: Vec<&Field> = object.fields.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let fields: Vec<_> = sorted.into_iter().map(|field| write_field(out, field, object.is_struct)).collect();
    let fields = out.create_vector(&fields);
    let table = out.start_table();
    out.push_slot_always(slot(0), name);
    out.push_slot_always(slot(1), fields);
    out.push_slot(slot(3), object.align as i32, 0);
    out.push_slot(slot(4), object.bytes as i32, 0);
    out.push_slot(slot(2), object.is_struct, false);
    done(out.end_table(table))
}

fn write_enum(out: &mut Builder, one: &Enum) -> WIPOffset<UnionWIPOffset> {
    let name = out.create_string(&one.name);
    let mut values = Vec::with_capacity(one.values.len());
    for value in &one.values {
        let name = out.create_string(&value.name);
        let member = value.member.map(|item| write_type(out, Type::One(item)));
        let table = out.start_table();
        out.push_slot(slot(1), value.number, 0);
        out.push_slot_always(slot(0), name);
        if let Some(member) = member {
            out.push_slot_always(slot(3), member);
        }
        values.push(done(out.end_table(table)));
    }
    let values = out.create_vector(&values);
    let underlying = write_type(out, Type::One(Item::Scalar(one.underlying, None)));
    let table = out.start_table();
    out.push_slot_always(slot(0), name);
    out.push_slot_always(slot(1), values);
    out.push_slot_always(slot(3), underlying);
    out.push_slot(slot(2), one.is_union, false);
    done(out.end_table(table))
}
