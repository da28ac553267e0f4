//! Whether bytes are a message of a schema: one pass over them beside the
//! tables of the schema. Nothing is built, so a payload costs time by its
//! length and stack by its depth, and no memory.
//!
//! What is checked: that the bytes are well formed, that values of known fields
//! lie on the wire as their types say (lists of numbers both packed and one by
//! one), that strings are UTF-8, that enums of proto2 have known numbers, and
//! that required fields are there. Unknown fields are passed over, as the format
//! wants it. A known field of another wire type is refused, though a parser may
//! take it for unknown: its writer has another schema.

use std::ops::Range;

use super::model::{EnumType, Field, Kind, MessageType, Model, Slots};
use super::required;
use super::wire::{Cursor, Malformed, WireType};
use crate::error::Violation;
use crate::malformed::Broken;

/// Checks `bytes` as a message of the index `message`. Messages and groups may
/// be nested as deep as `depth` says.
///
/// # Errors
/// The first rule that they break, with the names of the fields and the offset.
pub(super) fn check(model: &Model, message: u32, bytes: &[u8], depth: usize) -> Result<(), Violation> {
    let Some(root) = model.messages.get(message as usize) else {
        return Err(Violation::new("", "message", "the schema has no such message"));
    };
    let mut walk = Walk { model, cursor: Cursor::over(bytes, 0..bytes.len()), missing: None, split: false };
    walk.message(root, None, depth).map_err(|broken| broken.into_violation(&root.name))?;
    match walk.missing {
        None => Ok(()),
        // Parts of one message that lie apart are one message: only together
        // do they say what is missing.
        Some(_) if walk.split => required::check(model, message, bytes),
        Some((message, at)) => Err(missing(message, at)),
    }
}

/// The violation of a message that ends at `at` and lacks a required field.
pub(super) fn missing((message, field): (&MessageType, &str), at: usize) -> Violation {
    Violation::new(
        format!("byte {at}"),
        "required",
        format!("the message {} that ends here has no field '{field}', which is required", message.name),
    )
}

/// The name of the first required field that is not among `seen`.
pub(super) fn first_missing<'m>(message: &'m MessageType, seen: &Slots) -> &'m str {
    let lacks = |field: &&Field| field.slot.is_some_and(|slot| message.required.contains(slot) && !seen.contains(slot));
    message.fields.iter().find(lacks).map_or("", |field| &field.name)
}

struct Walk<'m, 'b> {
    model: &'m Model,
    cursor: Cursor<'b>,
    /// The first message that lacks a required field, with its name, and where it ends.
    missing: Option<((&'m MessageType, &'m str), usize)>,
    /// A message that may lack required fields lies in several parts.
    split: bool,
}

impl<'m> Walk<'m, '_> {
    /// A message up to the cursor's end or, for a group of that number, to its end mark.
    fn message(&mut self, message: &'m MessageType, group: Option<u32>, depth: usize) -> Result<(), Broken<'m>> {
        let mut seen = Slots::default();
        loop {
            if self.cursor.is_done() {
                match group {
                    None => break,
                    Some(_) => return Err(self.broken("group", "a group does not end")),
                }
            }
            let at = self.cursor.at;
            let (number, wire) = self.cursor.key()?;
            if wire == WireType::End {
                if group == Some(number) {
                    break;
                }
                return Err(Malformed { rule: "group", text: "a group ends that has not begun", at }.into());
            }
            let Some(field) = message.field(number) else {
                self.cursor.skip(number, wire, depth)?;
                continue;
            };
            if let Some(slot) = field.slot
                && seen.insert(slot)
                && field.watched
            {
                self.split = true;
            }
            self.field(field, wire, at, depth).map_err(|mut broken| {
                broken.path.push(&field.name);
                broken
            })?;
        }
        if self.missing.is_none() && !seen.includes(&message.required) {
            self.missing = Some(((message, first_missing(message, &seen)), self.cursor.at));
        }
        Ok(())
    }

    fn broken(&self, rule: &'static str, text: &'static str) -> Broken<'m> {
        Malformed { rule, text, at: self.cursor.at }.into()
    }

    /// The value of a known field, whose key is at `at`.
    fn field(&mut self, field: &'m Field, wire: WireType, at: usize, depth: usize) -> Result<(), Broken<'m>> {
        let own = field.kind.wire();
        if wire == own {
            return self.value(field, depth);
        }
        if wire == WireType::Bytes && field.list && own != WireType::Start {
            return self.packed(field);
        }
        let text = match own {
            WireType::Varint => "the field is a varint by its type, and lies on the wire as something else",
            WireType::Fixed64 => "the field has eight bytes by its type, and lies on the wire as something else",
            WireType::Fixed32 => "the field has four bytes by its type, and lies on the wire as something else",
            WireType::Bytes => "the field has a length by its type, and lies on the wire as something else",
            WireType::Start | WireType::End => {
                "the field is a group by its type, and lies on the wire as something else"
            }
        };
        Err(Malformed { rule: "wire-type", text, at }.into())
    }

    fn value(&mut self, field: &'m Field, depth: usize) -> Result<(), Broken<'m>> {
        match field.kind {
            Kind::Fixed32 | Kind::Sfixed32 | Kind::Float => Ok(self.cursor.fixed(4)?),
            Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => Ok(self.cursor.fixed(8)?),
            Kind::Enum(index) => self.number_of(index),
            Kind::String => self.string(),
            Kind::Bytes => {
                self.cursor.at = self.cursor.length()?.end;
                Ok(())
            }
            Kind::Message(index) => {
                let range = self.cursor.length()?;
                self.nested(index, &range, depth)
            }
            Kind::Group(index) => {
                let (inner, depth) = self.deeper(index, depth)?;
                self.message(inner, Some(field.number), depth)
            }
            _ => {
                self.cursor.varint()?;
                Ok(())
            }
        }
    }

    fn deeper(&self, index: u32, depth: usize) -> Result<(&'m MessageType, usize), Broken<'m>> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(self.broken("nesting", "messages are nested deeper than the limit allows"));
        };
        let Some(message) = self.model.messages.get(index as usize) else {
            return Err(self.broken("message", "the schema has no such message"));
        };
        Ok((message, depth))
    }

    fn nested(&mut self, index: u32, range: &Range<usize>, depth: usize) -> Result<(), Broken<'m>> {
        let (inner, depth) = self.deeper(index, depth)?;
        let outer = self.cursor.enter(range);
        self.message(inner, None, depth)?;
        self.cursor.leave(outer);
        Ok(())
    }

    fn string(&mut self) -> Result<(), Broken<'m>> {
        let range = self.cursor.length()?;
        if let Err(error) = std::str::from_utf8(self.cursor.slice(&range)) {
            let at = range.start + error.valid_up_to();
            return Err(Malformed { rule: "utf-8", text: "a string is not UTF-8", at }.into());
        }
        self.cursor.at = range.end;
        Ok(())
    }

    /// A list of numbers behind one length.
    fn packed(&mut self, field: &Field) -> Result<(), Broken<'m>> {
        let range = self.cursor.length()?;
        let each = match field.kind.wire() {
            WireType::Fixed32 => 4,
            WireType::Fixed64 => 8,
            _ => {
                let outer = self.cursor.enter(&range);
                while !self.cursor.is_done() {
                    match field.kind {
                        Kind::Enum(index) => self.number_of(index)?,
                        _ => {
                            self.cursor.varint()?;
                        }
                    }
                }
                self.cursor.leave(outer);
                return Ok(());
            }
        };
        if range.len() % each != 0 {
            return Err(self.broken("packed", "the last number of a packed list is not whole"));
        }
        self.cursor.at = range.end;
        Ok(())
    }

    /// A number of an enum.
    fn number_of(&mut self, index: u32) -> Result<(), Broken<'m>> {
        let at = self.cursor.at;
        // An enum is an int32 on the wire, of which parsers take the low bits.
        let number = self.cursor.varint()? as i32;
        let known = |one: &EnumType| !one.closed || one.numbers.binary_search(&number).is_ok();
        if self.model.enums.get(index as usize).is_some_and(known) {
            return Ok(());
        }
        Err(Malformed { rule: "enum", text: "the number is not one of the enum, which is closed (proto2)", at }.into())
    }
}
