//! Whether buffers of one FlatBuffers schema can be read by code of another. A
//! reader finds a field by its id and takes its bytes for what its own schema
//! says, so almost everything about a field that is there must stay.
//!
//! | rule | against it stands |
//! |---|---|
//! | `ROOT_CHANGED` | the root tables have different names |
//! | `FILE_IDENTIFIER_CHANGED` | the reader wants an identifier that is not written |
//! | `TYPE_CHANGED` | the types of an id differ |
//! | `FIELD_RENUMBERED` | a name has another id, as when a field is removed and not deprecated |
//! | `REQUIRED_ADDED` | the reader requires what a writer may leave out |
//! | `DEFAULT_CHANGED` | an absent number means something else |
//! | `KEY_ADDED` | the reader looks up by a key that the writer does not sort by |
//! | `STRUCT_CHANGED` | a struct is laid out in another way |
//! | `UNION_MEMBER_REMOVED` | the reader lacks a member of a union |
//! | `UNION_MEMBER_CHANGED` | a number of a union stands for another kind of value |
//! | `ENUM_VALUE_RENUMBERED` | a name of an enum or a union has another number |
//!
//! Fields that only one side has, behind those that both have, are compatible.
//!
//! Time is bounded by the pairs of types, at most [`SchemaLimits::compared`];
//! behind that the answer is no.

use std::collections::BTreeMap;

use super::model::{Enum, Field, Item, Model, Object, Type};
use crate::error::Incompatibility;
use crate::limits::SchemaLimits;
use crate::pairs::Pairs;

/// All that keeps `reader` from reading what `writer` writes.
pub(super) fn compare(reader: &Model, writer: &Model, limits: &SchemaLimits) -> Result<(), Vec<Incompatibility>> {
    let mut comparison = Comparison { reader, writer, pairs: Pairs::new(limits) };
    comparison.start();
    while let Some(pair) = comparison.pairs.next() {
        match pair {
            Pair::Objects(ours, theirs) => {
                if let (Ok(ours), Ok(theirs)) = (reader.object(ours), writer.object(theirs)) {
                    comparison.objects(ours, theirs);
                }
            }
            Pair::Enums(ours, theirs) => {
                if let (Ok(ours), Ok(theirs)) = (reader.enumeration(ours), writer.enumeration(theirs)) {
                    comparison.enums(ours, theirs);
                }
            }
        }
    }
    comparison.pairs.answer()
}

/// Types to compare: the reader's and the writer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pair {
    Objects(u32, u32),
    Enums(u32, u32),
}

struct Comparison<'a> {
    reader: &'a Model,
    writer: &'a Model,
    pairs: Pairs<Pair>,
}

impl Comparison<'_> {
    fn start(&mut self) {
        let (reader, writer) = (self.reader, self.writer);
        if let (Ok(ours), Ok(theirs)) = (reader.object(reader.root), writer.object(writer.root))
            && ours.name != theirs.name
        {
            let text = format!("the root is '{}' for the writer and '{}' for the reader", theirs.name, ours.name);
            self.pairs.found("", "ROOT_CHANGED", text);
        }
        if let Some(ours) = reader.identifier
            && writer.identifier != Some(ours)
        {
            let shown = |one: Option<[u8; 4]>| one.map_or("none".to_owned(), |one| one.escape_ascii().to_string());
            let text =
                format!("the writer's is {}, and the reader wants {}", shown(writer.identifier), shown(Some(ours)));
            self.pairs.found("", "FILE_IDENTIFIER_CHANGED", text);
        }
        self.pairs.add(Pair::Objects(reader.root, writer.root));
    }

    fn objects(&mut self, ours: &Object, theirs: &Object) {
        if ours.is_struct || theirs.is_struct {
            return self.structs(ours, theirs);
        }
        let names: BTreeMap<&str, u16> = ours.fields.iter().map(|field| (&*field.name, field.id)).collect();
        for field in &theirs.fields {
            match names.get(&*field.name) {
                Some(id) if *id != field.id => {
                    let text = format!("the field has the id {} for the writer and {id} for the reader", field.id);
                    self.pairs.found(at(theirs, field), "FIELD_RENUMBERED", text);
                }
                _ => {}
            }
            if let Some(reads) = ours.fields.get(usize::from(field.id)) {
                self.fields(theirs, reads, field);
            }
        }
        for reads in ours.fields.iter().filter(|field| field.is_needed()) {
            let written = theirs.fields.get(usize::from(reads.id));
            if !written.is_some_and(Field::is_needed) {
                let text = "the reader requires the field, and the writer may leave it out";
                self.pairs.found(at(ours, reads), "REQUIRED_ADDED", text);
            }
        }
    }

    fn fields(&mut self, object: &Object, reads: &Field, field: &Field) {
        if !self.same_type(reads.kind, field.kind) {
            let text =
                format!("the type is {} for the writer and {} for the reader", word(field.kind), word(reads.kind));
            return self.pairs.found(at(object, field), "TYPE_CHANGED", text);
        }
        if let Type::One(Item::Scalar(..)) = field.kind {
            let default = |field: &Field| (field.default_integer, field.default_real, field.optional);
            if default(reads) != default(field) {
                let text =
                    format!("an absent field means {} for the writer and {}", default_of(field), default_of(reads));
                self.pairs.found(at(object, field), "DEFAULT_CHANGED", text);
            }
        }
        if reads.key && !field.key {
            let text = "the reader looks up by this field, and the writer does not sort by it";
            self.pairs.found(at(object, field), "KEY_ADDED", text);
        }
    }

    /// Whether values lie the same way; types in them are put on the list.
    fn same_type(&mut self, ours: Type, theirs: Type) -> bool {
        match (ours, theirs) {
            (Type::One(ours), Type::One(theirs)) | (Type::Vector(ours), Type::Vector(theirs)) => {
                self.same_item(ours, theirs)
            }
            (Type::Array(ours, our_length), Type::Array(theirs, their_length)) => {
                our_length == their_length && self.same_item(ours, theirs)
            }
            _ => false,
        }
    }

    fn same_item(&mut self, ours: Item, theirs: Item) -> bool {
        match (ours, theirs) {
            (Item::Scalar(our_scalar, our_enum), Item::Scalar(their_scalar, their_enum)) => {
                if let (Some(ours), Some(theirs)) = (our_enum, their_enum) {
                    self.pairs.add(Pair::Enums(ours, theirs));
                }
                our_scalar == their_scalar
            }
            (Item::String, Item::String) => true,
            (Item::Object(ours), Item::Object(theirs)) => {
                let is_struct = |model: &Model, index| model.object(index).is_ok_and(|object| object.is_struct);
                self.pairs.add(Pair::Objects(ours, theirs));
                is_struct(self.reader, ours) == is_struct(self.writer, theirs)
            }
            (Item::Union(ours), Item::Union(theirs)) => {
                self.pairs.add(Pair::Enums(ours, theirs));
                true
            }
            _ => false,
        }
    }

    fn structs(&mut self, ours: &Object, theirs: &Object) {
        let size = |object: &Object| (object.is_struct, object.bytes, object.align, object.fields.len());
        let same = size(ours) == size(theirs)
            && ours
                .fields
                .iter()
                .zip(&theirs.fields)
                .all(|(reads, field)| reads.offset == field.offset && self.same_type(reads.kind, field.kind));
        if !same {
            let text = "the struct does not have the same fields at the same places; a struct can never change";
            return self.pairs.found(&*theirs.name, "STRUCT_CHANGED", text);
        }
        let names: BTreeMap<&str, u16> = ours.fields.iter().map(|field| (&*field.name, field.id)).collect();
        for field in &theirs.fields {
            if names.get(&*field.name).is_some_and(|id| *id != field.id) {
                self.pairs.found(at(theirs, field), "FIELD_RENUMBERED", "fields of the struct have changed places");
            }
        }
    }

    fn enums(&mut self, reads: &Enum, written: &Enum) {
        let names: BTreeMap<&str, i64> = reads.values.iter().map(|value| (&*value.name, value.number)).collect();
        for value in &written.values {
            if let Some(now) = names.get(&*value.name).filter(|number| **number != value.number) {
                let text = format!("'{}' is {} for the writer and {now} for the reader", value.name, value.number);
                self.pairs.found(&*written.name, "ENUM_VALUE_RENUMBERED", text);
            }
            let Some(theirs) = value.member else { continue };
            match reads.value(value.number).and_then(|value| value.member) {
                None => {
                    let text = format!("the reader does not have the member '{}' ({})", value.name, value.number);
                    self.pairs.found(&*written.name, "UNION_MEMBER_REMOVED", text);
                }
                Some(ours) => {
                    if !self.same_item(ours, theirs) {
                        let text = format!("the number {} stands for another kind of value", value.number);
                        self.pairs.found(&*written.name, "UNION_MEMBER_CHANGED", text);
                    }
                }
            }
        }
    }
}

fn at(object: &Object, field: &Field) -> String {
    format!("{}.{}", object.name, field.name)
}

fn default_of(field: &Field) -> String {
    match field.kind {
        _ if field.optional => "nothing".to_owned(),
        Type::One(Item::Scalar(super::model::Scalar::Float | super::model::Scalar::Double, _)) => {
            f64::from_bits(field.default_real).to_string()
        }
        _ => field.default_integer.to_string(),
    }
}

fn word(kind: Type) -> String {
    let item = |item| match item {
        Item::Scalar(scalar, _) => scalar.word(),
        Item::String => "string",
        Item::Object(_) => "a table or a struct",
        Item::Union(_) => "a union",
    };
    match kind {
        Type::One(one) => item(one).to_owned(),
        Type::Vector(one) => format!("[{}]", item(one)),
        Type::Array(one, length) => format!("[{}:{length}]", item(one)),
    }
}
