//! Documents to the text of a file: read again, it gives the same documents.

use std::fmt::Write;
use std::sync::Arc;

use serde_json::{Map, Value};
use weft_govern::Key;

/// The text, tables in the order of the documents.
pub(crate) fn write<'a>(documents: impl IntoIterator<Item = (&'a Key, &'a Arc<str>)>) -> String {
    let mut out = String::new();
    for (key, document) in documents {
        let fields = match serde_json::from_str(document) {
            Ok(Value::Object(fields)) => fields,
            // The state has no other.
            _ => Map::new(),
        };
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = writeln!(out, "[[{}]]", key.kind().name());
        out.push_str("name = ");
        text(key.name(), &mut out);
        out.push('\n');
        for (name, value) in &fields {
            // TOML has no word for nothing; vetting lets none in.
            if value.is_null() {
                continue;
            }
            self::name(name, &mut out);
            out.push_str(" = ");
            field(value, &mut out);
            out.push('\n');
        }
    }
    out
}

fn name(text: &str, out: &mut String) {
    let is_bare = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if is_bare { out.push_str(text) } else { self::text(text, out) }
}

/// A value on lines of its own where that reads better.
fn field(value: &Value, out: &mut String) {
    match value {
        Value::String(text) if text.contains('\n') => {
            // The line break after the first quotes is not part of the text.
            out.push_str("\"\"\"\n");
            escaped(text, true, out);
            out.push_str("\"\"\"");
        }
        Value::Array(items) if items.len() > 1 => {
            out.push_str("[\n");
            for item in items {
                out.push_str("  ");
                inline(item, out);
                out.push_str(",\n");
            }
            out.push(']');
        }
        plain => inline(plain, out),
    }
}

fn inline(value: &Value, out: &mut String) {
    match value {
        Value::Null => {}
        Value::String(text) => self::text(text, out),
        Value::Array(items) => {
            out.push('[');
            for (number, item) in items.iter().filter(|item| !item.is_null()).enumerate() {
                if number > 0 {
                    out.push_str(", ");
                }
                inline(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push_str("{ ");
            for (number, (key, value)) in map.iter().filter(|(_, value)| !value.is_null()).enumerate() {
                if number > 0 {
                    out.push_str(", ");
                }
                name(key, out);
                out.push_str(" = ");
                inline(value, out);
            }
            out.push_str(" }");
        }
        plain => {
            let _ = write!(out, "{plain}");
        }
    }
}

fn text(text: &str, out: &mut String) {
    out.push('"');
    escaped(text, false, out);
    out.push('"');
}

/// As a basic string of TOML has it; `lines`: of several lines, in which breaks
/// and quotes stand as they are but where three quotes would be an end.
fn escaped(text: &str, lines: bool, out: &mut String) {
    let mut quotes = 0;
    let last = text.len().saturating_sub(1);
    for (at, c) in text.char_indices() {
        match c {
            '"' if lines && quotes < 2 && at < last => {
                quotes += 1;
                out.push('"');
                continue;
            }
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' if lines => out.push('\n'),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
        quotes = 0;
    }
}
