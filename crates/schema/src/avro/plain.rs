//! A schema's text before the library parses it: made plain where the library
//! would copy what it was given over and over.
//!
//! It keeps a copy of each named type, with all in it, under its name and each of
//! its aliases; and it puts a copy of a type wherever that is named as
//! `{"type": "Name"}`, so that thirty lines ask for 2^30 copies. The latter is
//! written as the plain name here, which means the same, and the bytes of the
//! former are counted before they are made.
use serde_json::{Map, Value};

use crate::error::CompileError;

/// How many bytes the library may copy for one schema and all that it needs.
const COPIED_BYTES: usize = 64 << 20;

/// What the library takes for each value, at least.
const VALUE_BYTES: usize = 256;

/// Makes schemas plain, within a budget for all of them.
pub(super) struct Plain {
    left: usize,
}

impl Default for Plain {
    fn default() -> Self {
        Self { left: COPIED_BYTES }
    }
}

impl Plain {
    /// `value`, plain, and about how many bytes the library takes for it. The
    /// depth of `value` is bounded already.
    pub(super) fn schema(&mut self, value: &Value) -> Result<(Value, usize), CompileError> {
        match value {
            Value::Array(branches) => {
                let mut bytes = VALUE_BYTES;
                let mut all = Vec::with_capacity(branches.len());
                for branch in branches {
                    let (branch, taken) = self.schema(branch)?;
                    bytes = bytes.saturating_add(taken);
                    all.push(branch);
                }
                Ok((Value::Array(all), bytes))
            }
            Value::Object(map) => self.object(map),
            other => Ok((other.clone(), VALUE_BYTES + other.as_str().map_or(0, str::len))),
        }
    }

    fn object(&mut self, map: &Map<String, Value>) -> Result<(Value, usize), CompileError> {
        let kind = map.get("type").and_then(Value::as_str).unwrap_or_default();
        let simple = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"].contains(&kind);
        let complex = ["record", "error", "enum", "fixed", "array", "map"].contains(&kind);
        if !kind.is_empty() && !simple && !complex {
            return Ok((Value::String(kind.to_owned()), VALUE_BYTES + kind.len()));
        }
        let mut bytes = VALUE_BYTES;
        let mut plain = Map::new();
        for (key, value) in map {
            let (value, taken) = match (key.as_str(), value) {
                // Of what wraps another schema.
                ("type", Value::Object(_) | Value::Array(_)) => self.schema(value)?,
                ("items", _) if kind == "array" => self.schema(value)?,
                ("values", _) if kind == "map" => self.schema(value)?,
                ("fields", Value::Array(fields)) => self.fields(fields)?,
                (_, other) => (other.clone(), weight(other)),
            };
            bytes = bytes.saturating_add(taken).saturating_add(key.len());
            // A named type in two wraps.
            if key == "type" && kind.is_empty() && value.is_string() {
                return Ok((value, bytes));
            }
            plain.insert(key.clone(), value);
        }
        if complex && map.contains_key("name") {
            let aliases = map.get("aliases").and_then(Value::as_array).map_or(0, Vec::len);
            self.spend(bytes.saturating_mul(aliases.saturating_add(1)))?;
        }
        Ok((Value::Object(plain), bytes))
    }

    fn fields(&mut self, fields: &[Value]) -> Result<(Value, usize), CompileError> {
        let mut bytes = VALUE_BYTES;
        let mut all = Vec::with_capacity(fields.len());
        for field in fields {
            let Value::Object(map) = field else {
                all.push(field.clone());
                continue;
            };
            let mut plain = Map::new();
            for (key, value) in map {
                let (value, taken) = if key == "type" { self.schema(value)? } else { (value.clone(), weight(value)) };
                bytes = bytes.saturating_add(taken).saturating_add(key.len());
                plain.insert(key.clone(), value);
            }
            all.push(Value::Object(plain));
        }
        Ok((Value::Array(all), bytes))
    }

    fn spend(&mut self, bytes: usize) -> Result<(), CompileError> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(CompileError::TooLarge {
                what: "bytes or more of types within each other, times their aliases",
                size: COPIED_BYTES.saturating_add(1),
                limit: COPIED_BYTES,
            }),
        }
    }
}

fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => VALUE_BYTES + text.len(),
        Value::Array(items) => items.iter().map(weight).fold(VALUE_BYTES, usize::saturating_add),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| key.len().saturating_add(weight(value)))
            .fold(VALUE_BYTES, usize::saturating_add),
        _ => VALUE_BYTES,
    }
}
