//! What a FlatBuffers schema says, as tables of our own: made from a binary
//! schema (`binary.rs`), checked once as a whole, and not changed afterwards.
//! Types refer to each other by index; [`Model::checked`] has seen that all of
//! them are in range and that structs contain no circle.
//!
//! Documentation, attributes, services and names of files are not kept.

use std::collections::BTreeSet;

use super::bytes::{Malformed, Read, malformed};

/// The basic types, with the numbers of `reflection.fbs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scalar {
    /// The type of a union, one byte.
    UnionType = 1,
    Bool = 2,
    Byte = 3,
    UByte = 4,
    Short = 5,
    UShort = 6,
    Int = 7,
    UInt = 8,
    Long = 9,
    ULong = 10,
    Float = 11,
    Double = 12,
}

impl Scalar {
    /// Of the number; `None` for what is no scalar.
    pub(super) const fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::UnionType,
            2 => Self::Bool,
            3 => Self::Byte,
            4 => Self::UByte,
            5 => Self::Short,
            6 => Self::UShort,
            7 => Self::Int,
            8 => Self::UInt,
            9 => Self::Long,
            10 => Self::ULong,
            11 => Self::Float,
            12 => Self::Double,
            _ => return None,
        })
    }

    /// Bytes of it, which is also how it is aligned.
    pub(super) const fn size(self) -> usize {
        match self {
            Self::UnionType | Self::Bool | Self::Byte | Self::UByte => 1,
            Self::Short | Self::UShort => 2,
            Self::Int | Self::UInt | Self::Float => 4,
            Self::Long | Self::ULong | Self::Double => 8,
        }
    }

    /// The word that sources have for it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::UnionType => "the type of a union",
            Self::Bool => "bool",
            Self::Byte => "byte",
            Self::UByte => "ubyte",
            Self::Short => "short",
            Self::UShort => "ushort",
            Self::Int => "int",
            Self::UInt => "uint",
            Self::Long => "long",
            Self::ULong => "ulong",
            Self::Float => "float",
            Self::Double => "double",
        }
    }
}

/// The numbers of `reflection.fbs` for what is no scalar.
pub(super) mod base {
    pub(in crate::flatbuffers) const NONE: u8 = 0;
    pub(in crate::flatbuffers) const STRING: u8 = 13;
    pub(in crate::flatbuffers) const VECTOR: u8 = 14;
    pub(in crate::flatbuffers) const OBJECT: u8 = 15;
    pub(in crate::flatbuffers) const UNION: u8 = 16;
    pub(in crate::flatbuffers) const ARRAY: u8 = 17;
}

/// The type of a value that is no vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    /// A number, perhaps of an enum (its index).
    Scalar(Scalar, Option<u32>),
    /// A string.
    String,
    /// A struct or a table, by index; which of them, the object says.
    Object(u32),
    /// A union, by the index of its enum.
    Union(u32),
}

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// One value.
    One(Item),
    /// A vector of values.
    Vector(Item),
    /// In structs: as many values, one behind the other.
    Array(Item, u16),
}

/// A field of a table or a struct.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) name: Box<str>,
    pub(super) id: u16,
    pub(super) kind: Type,
    /// Of a struct's field: where in the struct it is.
    pub(super) offset: u16,
    pub(super) default_integer: i64,
    /// As bits, so that equal is equal.
    pub(super) default_real: u64,
    pub(super) deprecated: bool,
    pub(super) required: bool,
    pub(super) key: bool,
    /// A number that may be absent: its default is nothing.
    pub(super) optional: bool,
}

impl Field {
    /// Whether every buffer must have it. A deprecated field has no way to be
    /// written, so code that is generated asks for it nowhere, whatever else the
    /// schema says of it.
    pub(super) fn is_needed(&self) -> bool {
        self.required && !self.deprecated
    }
}

/// A table or a struct.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object {
    pub(super) name: Box<str>,
    pub(super) is_struct: bool,
    /// Of a struct.
    pub(super) bytes: usize,
    /// Of a struct.
    pub(super) align: usize,
    /// By id; ids are 0, 1, 2 and so on.
    pub(super) fields: Vec<Field>,
    /// The ids of fields that every buffer must have.
    pub(super) required: Vec<u16>,
}

/// A value of an enum, or a member of a union.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value {
    pub(super) name: Box<str>,
    pub(super) number: i64,
    /// What a member of a union is; nothing for `NONE` and for values of enums.
    pub(super) member: Option<Item>,
}

/// An enum or a union.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Enum {
    pub(super) name: Box<str>,
    pub(super) is_union: bool,
    pub(super) underlying: Scalar,
    /// By number, each once.
    pub(super) values: Vec<Value>,
}

impl Enum {
    /// The value of that number.
    pub(super) fn value(&self, number: i64) -> Option<&Value> {
        let index = self.values.binary_search_by_key(&number, |value| value.number).ok()?;
        self.values.get(index)
    }
}

/// A schema.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Model {
    pub(super) objects: Vec<Object>,
    pub(super) enums: Vec<Enum>,
    /// The index of the root table.
    pub(super) root: u32,
    pub(super) identifier: Option<[u8; 4]>,
}

/// The one of that index, or why there is none.
fn at<'a, T>(all: &'a [T], index: u32, text: &'static str) -> Read<&'a T> {
    all.get(index as usize).map_or_else(|| malformed("schema", text, 0), Ok)
}

/// A name that stands there twice. What is compared by names must have them once.
fn twice<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    let mut names = names;
    names.find(|name| !seen.insert(*name))
}

impl Model {
    /// The object of that index.
    pub(super) fn object(&self, index: u32) -> Read<&Object> {
        at(&self.objects, index, "the schema has no such object")
    }

    /// The enum of that index.
    pub(super) fn enumeration(&self, index: u32) -> Read<&Enum> {
        at(&self.enums, index, "the schema has no such enum")
    }

    /// Bytes and alignment of an item where it lies in a table, a vector or a
    /// struct: tables, strings and unions lie there as offsets.
    pub(super) fn layout(&self, item: Item) -> Read<(usize, usize)> {
        Ok(match item {
            Item::Scalar(scalar, _) => (scalar.size(), scalar.size()),
            Item::String | Item::Union(_) => (4, 4),
            Item::Object(index) => match self.object(index)? {
                object if object.is_struct => (object.bytes, object.align),
                _ => (4, 4),
            },
        })
    }

    /// The same, if the schema is one that can be used; else the name of what
    /// is wrong, and why.
    ///
    /// # Errors
    /// The name of a type or a field, and the rule.
    pub(super) fn checked(self) -> Result<Self, (String, &'static str)> {
        if self.objects.get(self.root as usize).is_none_or(|root| root.is_struct) {
            return Err((String::new(), "the root is no table"));
        }
        if let Some(name) = twice(self.objects.iter().map(|object| &*object.name)) {
            return Err((name.to_owned(), "two tables or structs have this name"));
        }
        if let Some(name) = twice(self.enums.iter().map(|one| &*one.name)) {
            return Err((name.to_owned(), "two enums or unions have this name"));
        }
        for one in &self.enums {
            let fail = |reason| Err((one.name.to_string(), reason));
            if let Some(name) = twice(one.values.iter().map(|value| &*value.name)) {
                return Err((format!("{}.{name}", one.name), "two values have this name"));
            }
            if matches!(one.underlying, Scalar::Float | Scalar::Double | Scalar::Bool) {
                return fail("an enum is of whole numbers");
            }
            if one.is_union != (one.underlying == Scalar::UnionType) {
                return fail("a union's types, and no others, are of the union type");
            }
            for value in &one.values {
                let wrong =
                    |_: &Malformed| (one.name.to_string(), "a member of the union is of a type that there is not");
                match value.member {
                    Some(_) if !one.is_union => return fail("a value of an enum has a type"),
                    Some(Item::Object(index)) => {
                        self.object(index).map_err(|error| wrong(&error))?;
                    }
                    Some(Item::String) | None => {}
                    Some(Item::Scalar(..) | Item::Union(_)) => {
                        return fail("a member of a union is a table, a struct or a string");
                    }
                }
                if one.is_union && !(0..256).contains(&value.number) {
                    return fail("a member of a union has a number from 0 to 255");
                }
            }
        }
        self.structs()?;
        for object in &self.objects {
            if let Some(name) = twice(object.fields.iter().map(|field| &*field.name)) {
                return Err((format!("{}.{name}", object.name), "two fields have this name"));
            }
            for (index, field) in object.fields.iter().enumerate() {
                let fail = |reason| Err((format!("{}.{}", object.name, field.name), reason));
                if usize::from(field.id) != index {
                    return fail("the ids of fields are not 0, 1, 2 and so on");
                }
                let checked =
                    if object.is_struct { self.struct_field(object, field) } else { self.table_field(object, field) };
                if let Err(error) = checked {
                    return fail(error.text);
                }
            }
        }
        Ok(self)
    }

    fn table_field(&self, object: &Object, field: &Field) -> Read<()> {
        let before = || field.id.checked_sub(1).and_then(|id| object.fields.get(usize::from(id)));
        match field.kind {
            Type::Array(..) => return malformed("", "only structs have arrays", 0),
            Type::One(item) | Type::Vector(item) => self.layout(item)?,
        };
        if field.required && matches!(field.kind, Type::One(Item::Scalar(..))) {
            return malformed("", "a number cannot be required", 0);
        }
        if let Type::One(Item::Union(index)) | Type::Vector(Item::Union(index)) = field.kind {
            if !self.enumeration(index)?.is_union {
                return malformed("", "a union field is of no union", 0);
            }
            let types = Item::Scalar(Scalar::UnionType, Some(index));
            let wanted = if matches!(field.kind, Type::One(_)) { Type::One(types) } else { Type::Vector(types) };
            if before().is_none_or(|before| before.kind != wanted) {
                return malformed("", "a union has no field with its type before it", 0);
            }
        }
        if let Type::One(Item::Scalar(scalar, Some(index))) | Type::Vector(Item::Scalar(scalar, Some(index))) =
            field.kind
            && self.enumeration(index)?.underlying != scalar
        {
            return malformed("", "the field's type is not that of its enum", 0);
        }
        Ok(())
    }

    fn struct_field(&self, object: &Object, field: &Field) -> Read<()> {
        let (item, count) = match field.kind {
            Type::One(item) => (item, 1),
            Type::Array(item, count) if count > 0 => (item, usize::from(count)),
            Type::Vector(_) | Type::Array(..) => {
                return malformed("", "a struct has no vectors and no empty arrays", 0);
            }
        };
        match item {
            Item::Scalar(Scalar::UnionType, _) | Item::String | Item::Union(_) => {
                return malformed("", "a struct has numbers and structs only", 0);
            }
            Item::Object(index) if !self.object(index)?.is_struct => {
                return malformed("", "a struct has no tables", 0);
            }
            Item::Scalar(_, Some(index)) => {
                self.enumeration(index)?;
            }
            Item::Scalar(_, None) | Item::Object(_) => {}
        }
        let (size, align) = self.layout(item)?;
        let start = usize::from(field.offset);
        let free_from = match field.id.checked_sub(1).and_then(|id| object.fields.get(usize::from(id))) {
            None => 0,
            Some(before) => {
                let (item, count) = match before.kind {
                    Type::One(item) | Type::Vector(item) => (item, 1),
                    Type::Array(item, count) => (item, usize::from(count)),
                };
                usize::from(before.offset) + self.layout(item)?.0 * count
            }
        };
        if start < free_from || start % align != 0 || align > object.align || start + size * count > object.bytes {
            return malformed("", "the fields of the struct do not fit into it", 0);
        }
        Ok(())
    }

    /// Structs must have a size that is a whole number of their alignment, and
    /// must not contain themselves. A struct that contains another is at least
    /// as large, so a circle has structs of one size with one field only.
    fn structs(&self) -> Result<(), (String, &'static str)> {
        for object in self.objects.iter().filter(|object| object.is_struct) {
            let fail = |reason| Err((object.name.to_string(), reason));
            if !object.align.is_power_of_two() || object.align > 64 || object.bytes == 0 || object.bytes > 65_535 {
                return fail("a struct has 1 to 65535 bytes, and an alignment that is a power of two up to 64");
            }
            if object.bytes % object.align != 0 || object.fields.is_empty() {
                return fail("a struct has fields, and its size is a whole number of its alignments");
            }
            let mut inner = object;
            let mut steps = 0;
            while let [Field { kind: Type::One(Item::Object(index)) | Type::Array(Item::Object(index), _), .. }] =
                inner.fields.as_slice()
            {
                steps += 1;
                match self.objects.get(*index as usize) {
                    Some(next) if steps <= self.objects.len() => inner = next,
                    _ => return fail("the struct contains itself"),
                }
            }
        }
        Ok(())
    }
}
