//! A message as JSON text, for people to look at: fields in order of their numbers by
//! the names of the source, enums by name. What is absent is not shown, and what the
//! schema does not know is passed over. Of a field that comes twice the last is shown.
//!
//! For payloads that [`super::walk`] has found good. Bounded by the text that is asked
//! for: values beyond it are read and not kept.

use std::collections::BTreeMap;

use super::model::{Field, Kind, MessageType, Model};
use super::wire::{Cursor, Malformed, WireType};
use crate::shown::{Sink as _, Text, hexadecimal, number, quoted};

/// The message of an index that lies in `bytes`.
///
/// # Errors
/// What is not well formed.
pub(super) fn show(model: &Model, message: u32, bytes: &[u8], depth: usize, most: usize) -> Result<Text, Malformed> {
    let mut show = Show { model, cursor: Cursor::over(bytes, 0..bytes.len()), left: most, is_cut: false };
    let text = match model.messages.get(message as usize) {
        Some(root) => show.message(root, None, depth)?,
        None => String::new(),
    };
    let mut shown = Text::new(usize::MAX);
    shown.put(|| text);
    shown.is_cut = show.is_cut;
    Ok(shown)
}

/// The values of a message, as text, by the numbers of their fields.
type Values<'m> = BTreeMap<u32, (&'m Field, Vec<String>)>;

struct Show<'m, 'b> {
    model: &'m Model,
    cursor: Cursor<'b>,
    /// How much text there may still be.
    left: usize,
    is_cut: bool,
}

impl<'m> Show<'m, '_> {
    fn message(&mut self, message: &'m MessageType, group: Option<u32>, depth: usize) -> Result<String, Malformed> {
        let values = self.values(message, group, depth)?;
        // What was cut off is not shown as nothing.
        let fields = values.into_values().filter(|(_, values)| !values.is_empty()).map(|(field, mut values)| {
            let value = match (field.map, field.list) {
                (true, _) => format!("{{{}}}", values.join(",")),
                (false, true) => format!("[{}]", values.join(",")),
                (false, false) => values.pop().unwrap_or_default(),
            };
            format!("{}:{value}", quoted(&field.name))
        });
        Ok(format!("{{{}}}", fields.collect::<Vec<_>>().join(",")))
    }

    /// The fields up to the cursor's end or, of a group, to its end mark.
    fn values(&mut self, message: &'m MessageType, group: Option<u32>, depth: usize) -> Result<Values<'m>, Malformed> {
        let mut values = Values::new();
        while !self.cursor.is_done() {
            let (number, wire) = self.cursor.key()?;
            if wire == WireType::End && group == Some(number) {
                break;
            }
            let Some(field) = message.field(number) else {
                self.cursor.skip(number, wire, depth)?;
                continue;
            };
            let (_, of) = values.entry(number).or_insert_with(|| (field, Vec::new()));
            if wire == WireType::Bytes && field.kind.wire() != WireType::Bytes {
                let range = self.cursor.length()?;
                let outer = self.cursor.enter(&range);
                while !self.cursor.is_done() {
                    let value = self.value(field, depth)?;
                    self.keep(of, value);
                }
                self.cursor.leave(outer);
            } else {
                let value = self.value(field, depth)?;
                self.keep(of, value);
            }
        }
        Ok(values)
    }

    fn keep(&mut self, values: &mut Vec<String>, value: String) {
        match self.left.checked_sub(value.len()) {
            Some(left) => {
                self.left = left;
                values.push(value);
            }
            None => self.is_cut = true,
        }
    }

    fn value(&mut self, field: &'m Field, depth: usize) -> Result<String, Malformed> {
        let at = self.cursor.at;
        #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "the coding's own definition")]
        Ok(match field.kind {
            Kind::Bool => (self.cursor.varint()? != 0).to_string(),
            Kind::Int32 => (self.cursor.varint()? as i32).to_string(),
            Kind::Int64 => (self.cursor.varint()? as i64).to_string(),
            Kind::Uint32 => (self.cursor.varint()? as u32).to_string(),
            Kind::Uint64 => self.cursor.varint()?.to_string(),
            Kind::Sint32 => (zigzag(self.cursor.varint()?) as i32).to_string(),
            Kind::Sint64 => zigzag(self.cursor.varint()?).to_string(),
            Kind::Enum(index) => self.name_of(index, at)?,
            Kind::Fixed32 => u32::from_le_bytes(self.bytes()?).to_string(),
            Kind::Sfixed32 => i32::from_le_bytes(self.bytes()?).to_string(),
            Kind::Float => number(f32::from_le_bytes(self.bytes()?)),
            Kind::Fixed64 => u64::from_le_bytes(self.bytes()?).to_string(),
            Kind::Sfixed64 => i64::from_le_bytes(self.bytes()?).to_string(),
            Kind::Double => number(f64::from_le_bytes(self.bytes()?)),
            Kind::String | Kind::Bytes => {
                let range = self.cursor.length()?;
                let bytes = self.cursor.slice(&range);
                self.cursor.at = range.end;
                match field.kind {
                    Kind::String => quoted(&String::from_utf8_lossy(bytes)),
                    _ => hexadecimal(bytes),
                }
            }
            Kind::Message(index) => {
                let range = self.cursor.length()?;
                let outer = self.cursor.enter(&range);
                let (inner, depth) = self.deeper(index, at, depth)?;
                let text = if field.map { self.entry(inner, depth)? } else { self.message(inner, None, depth)? };
                self.cursor.leave(outer);
                text
            }
            Kind::Group(index) => {
                let (inner, depth) = self.deeper(index, at, depth)?;
                self.message(inner, Some(field.number), depth)?
            }
        })
    }

    /// A key and its value, which lie as a message of two fields.
    fn entry(&mut self, message: &'m MessageType, depth: usize) -> Result<String, Malformed> {
        let mut values = self.values(message, None, depth)?;
        let mut of = |number| values.get_mut(&number).and_then(|(_, values)| values.pop());
        let key = of(1).unwrap_or_default();
        let key = if key.starts_with('"') { key } else { quoted(&key) };
        Ok(format!("{key}:{}", of(2).as_deref().unwrap_or("null")))
    }

    fn deeper(&self, index: u32, at: usize, depth: usize) -> Result<(&'m MessageType, usize), Malformed> {
        let malformed = |rule, text| Malformed { rule, text, at };
        let depth = depth.checked_sub(1).ok_or(malformed("nesting", "messages are nested too deep"))?;
        let message = self.model.messages.get(index as usize);
        Ok((message.ok_or(malformed("message", "the schema has no such message"))?, depth))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let at = self.cursor.at;
        self.cursor.fixed(N)?;
        let bytes = self.cursor.slice(&(at..at + N));
        bytes.try_into().map_err(|_| Malformed { rule: "truncated", text: "the bytes end inside of a number", at })
    }

    /// A number of an enum, by its name if it has one.
    fn name_of(&mut self, index: u32, at: usize) -> Result<String, Malformed> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "the coding's own definition")]
        let value = self.cursor.varint()? as i32;
        let Some(known) = self.model.enums.get(index as usize) else {
            return Err(Malformed { rule: "enum", text: "the schema has no such enum", at });
        };
        let name = known.names.iter().find(|(_, number)| *number == value).map(|(name, _)| quoted(name));
        Ok(name.unwrap_or_else(|| value.to_string()))
    }
}

#[allow(clippy::cast_possible_wrap, reason = "the coding's own definition")]
fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
