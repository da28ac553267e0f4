//! Whether what one Protobuf schema writes can be read by another: rules over
//! the wire format, as those of Confluent's registry and buf's category WIRE,
//! and stricter than both where a value would be lost or get another meaning.
//!
//! | rule | against it stands |
//! |---|---|
//! | `PACKAGE_CHANGED` | the packages differ |
//! | `MESSAGE_REMOVED` | the reader lacks a message of the writer's file |
//! | `TYPE_CHANGED` | the types of a number's values do not read each other |
//! | `BYTES_AS_STRING` | bytes need not be UTF-8 |
//! | `LABEL_CHANGED` | one value became a list, or a list one value |
//! | `MAP_CHANGED` | a map became a list of messages, or the other way |
//! | `REQUIRED_ADDED` | the reader requires what a writer may leave out |
//! | `ONEOF_JOINED` | of fields that may be set together the reader keeps one |
//! | `DEFAULT_CHANGED` | an absent field means something else |
//! | `FIELD_RENUMBERED` | a name has another number |
//! | `RESERVED_NUMBER_USED` | the reader uses a number that the writer has reserved |
//! | `ENUM_CLOSED` | the reader's enum (proto2) has fewer numbers than may be written |
//! | `ENUM_VALUE_REMOVED` | the reader's enum (proto2) lacks a number |
//! | `ENUM_VALUE_RENUMBERED` | a name of an enum has another number |
//!
//! Fields that only one side has are compatible: readers pass over what they do
//! not know. `int32`, `int64`, `uint32`, `uint64` and `bool` read each other, as
//! the format has it, though a large number is cut to what its reader can hold.
//! Messages of one file are compared by name, messages in fields by what is in
//! them, so a type may be renamed or moved where no file's message goes missing.
//!
//! Time is bounded by the pairs of messages and enums, at most
//! [`SchemaLimits::compared`]; behind that the answer is no.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{EnumType, Field, Kind, MessageType, Model};
use crate::error::Incompatibility;
use crate::limits::SchemaLimits;
use crate::pairs::Pairs;

/// All that keeps `reader` from reading what `writer` writes.
pub(super) fn compare(reader: &Model, writer: &Model, limits: &SchemaLimits) -> Result<(), Vec<Incompatibility>> {
    let mut comparison = Comparison { reader, writer, pairs: Pairs::new(limits) };
    comparison.files();
    while let Some(pair) = comparison.pairs.next() {
        if let Pair::Messages(ours, theirs) = pair
            && let (Some(ours), Some(theirs)) =
                (reader.messages.get(ours as usize), writer.messages.get(theirs as usize))
        {
            comparison.messages(ours, theirs);
        }
    }
    comparison.pairs.answer()
}

/// Types to compare: the reader's and the writer's. Enums are compared where they
/// are found, messages in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pair {
    Messages(u32, u32),
    Enums(u32, u32),
}

struct Comparison<'a> {
    reader: &'a Model,
    writer: &'a Model,
    pairs: Pairs<Pair>,
}

/// A name without its package.
fn local<'a>(name: &'a str, package: &str) -> &'a str {
    match name.strip_prefix(package) {
        Some(rest) if !package.is_empty() => rest.strip_prefix('.').unwrap_or(rest),
        _ => name,
    }
}

impl Comparison<'_> {
    /// Puts a pair of messages on the list of what is to be compared.
    fn pair(&mut self, ours: u32, theirs: u32) {
        self.pairs.add(Pair::Messages(ours, theirs));
    }

    fn files(&mut self) {
        let (reader, writer) = (self.reader, self.writer);
        if reader.package != writer.package {
            let text = format!("the package was '{}' for the writer and is '{}'", writer.package, reader.package);
            self.pairs.found("", "PACKAGE_CHANGED", text);
        }
        let mut ours = BTreeMap::new();
        for (index, message) in reader.messages.iter().enumerate() {
            ours.insert(local(&message.name, &reader.package), index as u32);
        }
        for (index, message) in writer.messages.iter().enumerate() {
            // Entries of maps and their like are compared with their fields.
            if !message.own || message.map_entry {
                continue;
            }
            match ours.get(local(&message.name, &writer.package)) {
                Some(ours) => self.pair(*ours, index as u32),
                None => {
                    self.pairs.found(&*message.name, "MESSAGE_REMOVED", "the reader does not have this message");
                }
            }
        }
        // From the first to the last, for the reader of the answer.
        self.pairs.reverse();
    }

    fn messages(&mut self, ours: &MessageType, theirs: &MessageType) {
        for field in &theirs.fields {
            if let Some(reads) = ours.field(field.number) {
                self.fields(theirs, reads, field);
            } else if let Some(renumbered) =
                ours.fields.iter().find(|one| one.name == field.name && theirs.field(one.number).is_none())
            {
                let text =
                    format!("the field has the number {} for the writer and {}", field.number, renumbered.number);
                self.pairs.found(at(theirs, field), "FIELD_RENUMBERED", text);
            }
        }
        for reads in &ours.fields {
            let written = theirs.field(reads.number);
            if reads.required && !written.is_some_and(|field| field.required) {
                let text = "the reader requires the field, and the writer may leave it out";
                self.pairs.found(at(ours, reads), "REQUIRED_ADDED", text);
            }
            let reserved = |(start, end): &(u32, u32)| (*start..*end).contains(&reads.number);
            if written.is_none() && theirs.reserved.iter().any(reserved) {
                let text =
                    format!("the writer has reserved the number {}, since it once meant something else", reads.number);
                self.pairs.found(at(ours, reads), "RESERVED_NUMBER_USED", text);
            }
        }
        self.oneofs(ours, theirs);
    }

    fn fields(&mut self, message: &MessageType, reads: &Field, field: &Field) {
        if reads.map != field.map {
            let text = "a map and a list of messages hold different values";
            return self.pairs.found(at(message, field), "MAP_CHANGED", text);
        }
        if reads.list != field.list {
            let text = if reads.list { "one value became a list" } else { "a list became one value" };
            return self.pairs.found(at(message, field), "LABEL_CHANGED", text);
        }
        match (reads.kind, field.kind) {
            (Kind::Message(ours), Kind::Message(theirs)) | (Kind::Group(ours), Kind::Group(theirs)) => {
                return self.pair(ours, theirs);
            }
            (Kind::Enum(ours), Kind::Enum(theirs)) => self.pair_enums(ours, theirs),
            (Kind::Enum(ours), _) if is_integer(field.kind) && self.is_closed(ours) => {
                let text = format!("the writer may write any {}, and the reader's enum is closed", field.kind.word());
                self.pairs.found(at(message, field), "ENUM_CLOSED", text);
            }
            (Kind::String, Kind::Bytes) => {
                let text = "the writer may write bytes that are not UTF-8";
                self.pairs.found(at(message, field), "BYTES_AS_STRING", text);
            }
            (ours, theirs) if class(ours) == class(theirs) => {}
            (ours, theirs) => {
                let text = format!("the type is {} for the writer and {} for the reader", theirs.word(), ours.word());
                return self.pairs.found(at(message, field), "TYPE_CHANGED", text);
            }
        }
        if !reads.list && reads.default != field.default {
            let text = format!("an absent field means '{}' for the writer and '{}'", field.default, reads.default);
            self.pairs.found(at(message, field), "DEFAULT_CHANGED", text);
        }
    }

    /// Fields that the writer may set together must not be in one oneof.
    fn oneofs(&mut self, ours: &MessageType, theirs: &MessageType) {
        let mut together: BTreeMap<u32, &Field> = BTreeMap::new();
        let mut told = BTreeSet::new();
        for reads in &ours.fields {
            let (Some(oneof), Some(field)) = (reads.oneof, theirs.field(reads.number)) else { continue };
            match together.get(&oneof) {
                None => {
                    together.insert(oneof, field);
                }
                Some(other) if field.oneof.is_some() && other.oneof == field.oneof => {}
                Some(other) => {
                    if told.insert(oneof) {
                        let text =
                            format!("the writer may set it together with '{}', and the reader keeps one", other.name);
                        self.pairs.found(at(theirs, field), "ONEOF_JOINED", text);
                    }
                }
            }
        }
    }

    fn is_closed(&self, ours: u32) -> bool {
        self.reader.enums.get(ours as usize).is_some_and(|one| one.closed)
    }

    fn pair_enums(&mut self, ours: u32, theirs: u32) {
        let (reader, writer) = (self.reader, self.writer);
        let pair = (reader.enums.get(ours as usize), writer.enums.get(theirs as usize));
        if let (Some(reads), Some(written)) = pair
            && self.pairs.first(Pair::Enums(ours, theirs))
        {
            self.enums(reads, written);
        }
    }

    fn enums(&mut self, reads: &EnumType, written: &EnumType) {
        if reads.closed && !written.closed {
            let text = "the writer may write any number, and the reader's enum is closed";
            self.pairs.found(&*written.name, "ENUM_CLOSED", text);
        }
        for (name, number) in &written.names {
            let same_name = reads.names.binary_search_by(|(one, _)| one.cmp(name)).ok();
            let renumbered = same_name.and_then(|index| reads.names.get(index)).filter(|(_, one)| one != number);
            if let Some((_, now)) = renumbered {
                let text = format!("'{name}' is {number} for the writer and {now} for the reader");
                self.pairs.found(&*written.name, "ENUM_VALUE_RENUMBERED", text);
            } else if reads.closed && reads.numbers.binary_search(number).is_err() {
                let text = format!("the reader's enum is closed and lacks {number} ('{name}')");
                self.pairs.found(&*written.name, "ENUM_VALUE_REMOVED", text);
            }
        }
    }
}

fn at(message: &MessageType, field: &Field) -> String {
    format!("{}.{}", message.name, field.name)
}

const fn is_integer(kind: Kind) -> bool {
    matches!(kind, Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64)
}

/// Kinds of one class read each other.
const fn class(kind: Kind) -> u8 {
    match kind {
        Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Enum(_) => 0,
        Kind::Sint32 | Kind::Sint64 => 1,
        Kind::Fixed32 | Kind::Sfixed32 => 2,
        Kind::Fixed64 | Kind::Sfixed64 => 3,
        Kind::Float => 4,
        Kind::Double => 5,
        // A string is bytes; that bytes need not be a string is told apart.
        Kind::String | Kind::Bytes => 6,
        Kind::Message(_) => 7,
        Kind::Group(_) => 8,
    }
}
