//! JSON in one form: the same value is the same text, everywhere and always.
//!
//! Keys in order of their bytes, no blanks. How deep a value may be is bounded
//! before anything walks it.

use serde_json::Value;

/// How deep lists and objects may lie in each other.
pub const MAX_DEPTH: usize = 32;

/// Why a text is no JSON that can be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Too deep.
    #[error("lists and objects lie in each other more than {MAX_DEPTH} deep: take some of them out")]
    Deep,
    /// Not JSON.
    #[error("this is no JSON: {0}")]
    Syntax(String),
}

/// Reads a JSON text that is not too deep.
///
/// # Errors
/// [`JsonError`]; in time and memory of the order of the text.
pub fn parse(text: &str) -> Result<Value, JsonError> {
    bound(text)?;
    serde_json::from_str(text).map_err(|e| JsonError::Syntax(e.to_string()))
}

/// Refuses what is too deep without reading it otherwise.
///
/// # Errors
/// [`JsonError::Deep`].
pub fn bound(text: &str) -> Result<(), JsonError> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(JsonError::Deep);
                }
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// The canonical text of a value.
#[must_use]
pub fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Array(list) => {
            out.push('[');
            for (number, item) in list.iter().enumerate() {
                if number > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            // Sorted here: whether the map is depends on a feature of the library
            // that any crate of the program may turn on.
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (number, (key, item)) in entries.into_iter().enumerate() {
                if number > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write(item, out);
            }
            out.push('}');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_has_one_text() {
        let text = r#" { "b" : [ 1 , true , null , "x\"y" ] , "a" : { "d" : -1.5 , "c" : "\u00e9" } } "#;
        let value = parse(text).unwrap();
        let canonical_text = canonical(&value);
        assert_eq!(canonical_text, r#"{"a":{"c":"é","d":-1.5},"b":[1,true,null,"x\"y"]}"#);
        assert_eq!(canonical(&parse(&canonical_text).unwrap()), canonical_text);
    }

    #[test]
    fn what_is_too_deep_is_refused_and_brackets_in_texts_are_not_counted() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(&deep(MAX_DEPTH)).is_ok());
        assert_eq!(parse(&deep(MAX_DEPTH + 1)), Err(JsonError::Deep));
        assert_eq!(parse(&"[".repeat(1 << 20)), Err(JsonError::Deep));
        assert_eq!(parse(&"{\"a\":".repeat(1 << 18)), Err(JsonError::Deep));
        let text = format!("\"{}\\\"{}\"", "[".repeat(100), "{".repeat(100));
        assert!(parse(&text).is_ok());
        for wrong in ["", "{", "[1,]", "\"", "nul", "{\"a\":1}x", "\u{0}"] {
            assert!(matches!(parse(wrong), Err(JsonError::Syntax(_))), "{wrong:?}");
        }
    }
}
