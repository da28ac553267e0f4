//! What is kept of a compiled Protobuf schema: flat tables of its messages and
//! enums, with what a check of a payload and a comparison need and nothing else.
//! The library's descriptors are dropped once these are made, since a hub may
//! hold ten thousand schemas.
//!
//! Tables refer to each other by index. All indexes are made here and are in
//! range; the tables do not change afterwards.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use prost_reflect::{Cardinality, EnumDescriptor, FileDescriptor, MessageDescriptor, Syntax, Value};

use super::wire::WireType;
use crate::error::CompileError;

/// Bits of [`Slots`].
pub(super) const SLOTS: usize = 256;

/// A set of the slots of one message; see [`Field::slot`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Slots([u64; SLOTS / 64]);

impl Slots {
    /// Adds a slot; whether it was there.
    pub(super) fn insert(&mut self, slot: u8) -> bool {
        let (word, bit) = (usize::from(slot / 64), 1 << (slot % 64));
        let Some(word) = self.0.get_mut(word) else { return false };
        let was = *word & bit != 0;
        *word |= bit;
        was
    }

    /// Whether a slot is in it.
    pub(super) fn contains(&self, slot: u8) -> bool {
        self.0.get(usize::from(slot / 64)).is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }

    /// Whether each slot of `other` is in it.
    pub(super) fn includes(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(ours, theirs)| ours & theirs == *theirs)
    }
}

/// The type of a field's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// `bool`.
    Bool,
    /// `int32`.
    Int32,
    /// `int64`.
    Int64,
    /// `uint32`.
    Uint32,
    /// `uint64`.
    Uint64,
    /// `sint32`.
    Sint32,
    /// `sint64`.
    Sint64,
    /// `fixed32`.
    Fixed32,
    /// `fixed64`.
    Fixed64,
    /// `sfixed32`.
    Sfixed32,
    /// `sfixed64`.
    Sfixed64,
    /// `float`.
    Float,
    /// `double`.
    Double,
    /// `string`.
    String,
    /// `bytes`.
    Bytes,
    /// An enum, by its index.
    Enum(u32),
    /// A message behind a length, by its index.
    Message(u32),
    /// A message between the marks of a group, by its index.
    Group(u32),
}

impl Kind {
    /// How one value lies on the wire.
    pub(super) const fn wire(self) -> WireType {
        match self {
            Self::Bool | Self::Int32 | Self::Int64 | Self::Uint32 | Self::Uint64 => WireType::Varint,
            Self::Sint32 | Self::Sint64 | Self::Enum(_) => WireType::Varint,
            Self::Fixed32 | Self::Sfixed32 | Self::Float => WireType::Fixed32,
            Self::Fixed64 | Self::Sfixed64 | Self::Double => WireType::Fixed64,
            Self::String | Self::Bytes | Self::Message(_) => WireType::Bytes,
            Self::Group(_) => WireType::Start,
        }
    }

    /// The index of the message, if it is one.
    pub(super) const fn message(self) -> Option<u32> {
        match self {
            Self::Message(index) | Self::Group(index) => Some(index),
            _ => None,
        }
    }

    /// The word that sources have for it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
            Self::Sint32 => "sint32",
            Self::Sint64 => "sint64",
            Self::Fixed32 => "fixed32",
            Self::Fixed64 => "fixed64",
            Self::Sfixed32 => "sfixed32",
            Self::Sfixed64 => "sfixed64",
            Self::Float => "float",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Enum(_) => "enum",
            Self::Message(_) => "message",
            Self::Group(_) => "group",
        }
    }
}

/// A field of a message, or an extension of it that the schema knows.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) name: Box<str>,
    pub(super) kind: Kind,
    pub(super) list: bool,
    pub(super) map: bool,
    pub(super) required: bool,
    /// The oneof of the message that it is a member of.
    pub(super) oneof: Option<u32>,
    /// What it is when it is absent, as text; numbers in decimals, enums as numbers.
    pub(super) default: Box<str>,
    /// Where a check notes that the field was seen: if it is required, or if it
    /// is watched.
    pub(super) slot: Option<u8>,
    /// Seeing it twice (or, of a oneof, a second member) means that required
    /// fields can only be told by merging; see `required.rs`.
    pub(super) watched: bool,
}

/// A message.
#[derive(Debug)]
pub(super) struct MessageType {
    /// The full name.
    pub(super) name: Box<str>,
    /// By number.
    pub(super) fields: Box<[Field]>,
    /// Where the field of a small number is in `fields`, and `u16::MAX` for none.
    near: Box<[u16]>,
    /// Ranges of numbers that may not be used, the end not in it.
    pub(super) reserved: Box<[(u32, u32)]>,
    /// Messages declared in it, in the order of the descriptor.
    pub(super) nested: Box<[u32]>,
    /// Whether the file itself declares it (else it is from another file).
    pub(super) own: bool,
    /// It was made for a map.
    pub(super) map_entry: bool,
    /// The slots of required fields.
    pub(super) required: Slots,
    /// Whether it, or a message in it, has a required field.
    pub(super) demanding: bool,
}

impl MessageType {
    /// Its field of that number, and where in `fields` that is.
    pub(super) fn field(&self, number: u32) -> Option<&Field> {
        let index = match self.near.get(number as usize) {
            Some(&near) => usize::from(near),
            None => self.fields.binary_search_by_key(&number, |field| field.number).ok()?,
        };
        self.fields.get(index)
    }
}

/// An enum.
#[derive(Debug)]
pub(super) struct EnumType {
    /// The full name.
    pub(super) name: Box<str>,
    /// The numbers, sorted, each once.
    pub(super) numbers: Box<[i32]>,
    /// Names and numbers, by name.
    pub(super) names: Box<[(Box<str>, i32)]>,
    /// Only these numbers are values of it (proto2).
    pub(super) closed: bool,
}

/// All tables of a schema.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) package: Box<str>,
    pub(super) messages: Vec<MessageType>,
    pub(super) enums: Vec<EnumType>,
    /// The messages that the file declares outside of others, in order.
    pub(super) roots: Box<[u32]>,
    /// About how many bytes this takes.
    pub(super) weight: usize,
}

impl Model {
    /// Of a file, with all that its messages use.
    ///
    /// # Errors
    /// A message has more required fields than [`SLOTS`], or there are more
    /// fields in all than an index can say.
    pub(super) fn of(file: &FileDescriptor) -> Result<Self, CompileError> {
        let mut builder = Builder { file, known: BTreeMap::new(), queue: Vec::new(), enums: BTreeMap::new() };
        let roots = file.messages().map(|message| builder.message(&message)).collect();
        let mut model = Self {
            package: file.package_name().into(),
            messages: Vec::new(),
            enums: Vec::new(),
            roots,
            weight: size_of::<Self>() + file.package_name().len(),
        };
        // The queue grows while it is read; an index is the place in it.
        while let Some(descriptor) = builder.queue.get(model.messages.len()).cloned() {
            let message = builder.table(&descriptor, &mut model.enums)?;
            model.weight += weight_of(&message);
            model.messages.push(message);
        }
        model.weight += model.enums.iter().map(|one| 64 + one.name.len() + 40 * one.names.len()).sum::<usize>();
        model.find_demanding();
        for index in 0..model.messages.len() {
            model.deal_slots(index)?;
        }
        Ok(model)
    }

    /// The message of a path of indexes; the first of the file for an empty one.
    pub(super) fn find(&self, path: &[u32]) -> Option<u32> {
        let (first, rest) = path.split_first().unwrap_or((&0, &[]));
        let mut found = *self.roots.get(*first as usize)?;
        for index in rest {
            found = *self.messages.get(found as usize)?.nested.get(*index as usize)?;
        }
        Some(found)
    }

    /// Marks each message that has a required field somewhere in it.
    fn find_demanding(&mut self) {
        // From who is used to who uses it, so that each edge is followed once.
        let mut users = vec![Vec::new(); self.messages.len()];
        for (index, message) in self.messages.iter().enumerate() {
            for used in message.fields.iter().filter_map(|field| field.kind.message()) {
                if let Some(users) = users.get_mut(used as usize) {
                    users.push(index);
                }
            }
        }
        let has_required = |message: &MessageType| message.fields.iter().any(|field| field.required);
        let mut found: Vec<usize> =
            (0..self.messages.len()).filter(|&index| self.messages.get(index).is_some_and(has_required)).collect();
        while let Some(index) = found.pop() {
            let Some(message) = self.messages.get_mut(index) else { continue };
            if !std::mem::replace(&mut message.demanding, true) {
                found.extend(users.get(index).into_iter().flatten());
            }
        }
    }

    /// Gives the fields of a message their slots.
    fn deal_slots(&mut self, index: usize) -> Result<(), CompileError> {
        let Some(message) = self.messages.get(index) else { return Ok(()) };
        let demanding = |kind: Kind| {
            kind.message().and_then(|used| self.messages.get(used as usize)).is_some_and(|message| message.demanding)
        };
        let directly = |kind: Kind| {
            let used = kind.message().and_then(|used| self.messages.get(used as usize));
            used.is_some_and(|message| message.fields.iter().any(|field| field.required))
        };
        let mut of_oneof: BTreeMap<u32, u8> = BTreeMap::new();
        let mut next = 0_usize;
        let mut slot = || {
            let slot = u8::try_from(next).map_err(|_| CompileError::TooLarge {
                what: "required fields in one message",
                size: next + 1,
                limit: SLOTS,
            });
            next += 1;
            slot
        };
        for field in &message.fields {
            if let (Some(oneof), true) = (field.oneof, demanding(field.kind))
                && let Entry::Vacant(vacant) = of_oneof.entry(oneof)
            {
                vacant.insert(slot()?);
            }
        }
        let mut dealt = Vec::with_capacity(message.fields.len());
        for field in &message.fields {
            // An entry of a map without a value has the value's default, which
            // lacks what is required in it.
            let required = field.required || (message.map_entry && field.number == 2 && directly(field.kind));
            let shared = field.oneof.and_then(|oneof| of_oneof.get(&oneof).copied());
            let watched = shared.is_some() || (!field.list && demanding(field.kind));
            let own = if shared.is_none() && (required || watched) { Some(slot()?) } else { shared };
            dealt.push((own, watched, required));
        }
        let Some(message) = self.messages.get_mut(index) else { return Ok(()) };
        for (field, (slot, watched, required)) in message.fields.iter_mut().zip(dealt) {
            (field.slot, field.watched) = (slot, watched);
            if let (Some(slot), true) = (slot, required) {
                message.required.insert(slot);
            }
        }
        Ok(())
    }
}

/// What a field and an extension are both asked for.
struct Raw<'a> {
    number: u32,
    name: &'a str,
    kind: prost_reflect::Kind,
    group: bool,
    map: bool,
    cardinality: Cardinality,
    oneof: Option<i32>,
    default: Option<Value>,
}

macro_rules! raw {
    ($field:expr, $name:expr) => {{
        let proto = $field.field_descriptor_proto();
        let single = !$field.is_list() && !$field.is_map() && $field.kind().as_message().is_none();
        Raw {
            number: $field.number(),
            name: $name,
            kind: $field.kind(),
            group: $field.is_group(),
            map: $field.is_map(),
            cardinality: $field.cardinality(),
            oneof: proto.oneof_index.filter(|_| !proto.proto3_optional()),
            default: single.then(|| $field.default_value()),
        }
    }};
}
struct Builder<'a> {
    file: &'a FileDescriptor,
    known: BTreeMap<String, u32>,
    queue: Vec<MessageDescriptor>,
    enums: BTreeMap<String, u32>,
}

impl Builder<'_> {
    /// The index of a message, which is queued if it is new.
    fn message(&mut self, descriptor: &MessageDescriptor) -> u32 {
        let Self { known, queue, .. } = self;
        *known.entry(descriptor.full_name().to_owned()).or_insert_with(|| {
            queue.push(descriptor.clone());
            queue.len() as u32 - 1
        })
    }

    fn table(
        &mut self,
        descriptor: &MessageDescriptor,
        enums: &mut Vec<EnumType>,
    ) -> Result<MessageType, CompileError> {
        let mut fields = Vec::new();
        for field in descriptor.fields() {
            fields.push(self.field(raw!(field, field.name()), enums));
        }
        for extension in descriptor.extensions() {
            fields.push(self.field(raw!(extension, extension.full_name()), enums));
        }
        fields.sort_by_key(|field| field.number);
        let Ok(_) = u16::try_from(fields.len()) else {
            let size = fields.len();
            return Err(CompileError::TooLarge { what: "fields in one message", size, limit: usize::from(u16::MAX) });
        };
        // Most messages number their fields from 1 on.
        let near_end = fields.len() as u32 * 2 + 16;
        let mut near = Vec::new();
        for (index, field) in fields.iter().enumerate().filter(|(_, field)| field.number < near_end) {
            near.resize(field.number as usize, u16::MAX);
            near.push(index as u16);
        }
        let own = descriptor.parent_file().name() == self.file.name();
        Ok(MessageType {
            name: descriptor.full_name().into(),
            fields: fields.into(),
            near: near.into(),
            reserved: descriptor.reserved_ranges().map(|range| (range.start, range.end)).collect(),
            nested: descriptor.child_messages().map(|nested| self.message(&nested)).collect(),
            own,
            map_entry: descriptor.is_map_entry(),
            required: Slots::default(),
            demanding: false,
        })
    }

    fn field(&mut self, field: Raw<'_>, enums: &mut Vec<EnumType>) -> Field {
        use prost_reflect::Kind as Of;
        let kind = match field.kind {
            Of::Bool => Kind::Bool,
            Of::Int32 => Kind::Int32,
            Of::Int64 => Kind::Int64,
            Of::Uint32 => Kind::Uint32,
            Of::Uint64 => Kind::Uint64,
            Of::Sint32 => Kind::Sint32,
            Of::Sint64 => Kind::Sint64,
            Of::Fixed32 => Kind::Fixed32,
            Of::Fixed64 => Kind::Fixed64,
            Of::Sfixed32 => Kind::Sfixed32,
            Of::Sfixed64 => Kind::Sfixed64,
            Of::Float => Kind::Float,
            Of::Double => Kind::Double,
            Of::String => Kind::String,
            Of::Bytes => Kind::Bytes,
            Of::Enum(descriptor) => Kind::Enum(self.enumeration(&descriptor, enums)),
            Of::Message(descriptor) if field.group => Kind::Group(self.message(&descriptor)),
            Of::Message(descriptor) => Kind::Message(self.message(&descriptor)),
        };
        Field {
            number: field.number,
            name: field.name.into(),
            kind,
            list: field.cardinality == Cardinality::Repeated,
            map: field.map,
            required: field.cardinality == Cardinality::Required,
            oneof: field.oneof.and_then(|index| u32::try_from(index).ok()),
            default: default_text(field.default),
            slot: None,
            watched: false,
        }
    }

    fn enumeration(&mut self, descriptor: &EnumDescriptor, enums: &mut Vec<EnumType>) -> u32 {
        if let Some(index) = self.enums.get(descriptor.full_name()) {
            return *index;
        }
        let mut names: Vec<(Box<str>, i32)> =
            descriptor.values().map(|value| (value.name().into(), value.number())).collect();
        names.sort();
        let mut numbers: Vec<i32> = names.iter().map(|(_, number)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let closed = descriptor.parent_file().syntax() == Syntax::Proto2;
        let index = enums.len() as u32;
        enums.push(EnumType {
            name: descriptor.full_name().into(),
            numbers: numbers.into(),
            names: names.into(),
            closed,
        });
        self.enums.insert(descriptor.full_name().to_owned(), index);
        index
    }
}

/// A default as text in which equal values of kinds that read each other are equal.
fn default_text(default: Option<Value>) -> Box<str> {
    match default {
        Some(Value::Bool(value)) => u8::from(value).to_string().into(),
        Some(Value::I32(value) | Value::EnumNumber(value)) => value.to_string().into(),
        Some(Value::I64(value)) => value.to_string().into(),
        Some(Value::U32(value)) => value.to_string().into(),
        Some(Value::U64(value)) => value.to_string().into(),
        Some(Value::F32(value)) => value.to_string().into(),
        Some(Value::F64(value)) => value.to_string().into(),
        Some(Value::String(value)) => value.escape_debug().to_string().into(),
        Some(Value::Bytes(value)) => value.escape_ascii().to_string().into(),
        Some(Value::Message(_) | Value::List(_) | Value::Map(_)) | None => "".into(),
    }
}

/// About how many bytes a table takes.
fn weight_of(message: &MessageType) -> usize {
    let fields: usize =
        message.fields.iter().map(|field| size_of::<Field>() + field.name.len() + field.default.len()).sum();
    let lists = message.near.len() * 2 + message.reserved.len() * 8 + message.nested.len() * 4;
    size_of::<MessageType>() + message.name.len() + fields + lists
}
