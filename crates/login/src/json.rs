//! JSON from outside, bounded before it is read: depth and the number of values
//! are counted on the bytes, and an object that says a thing twice is refused
//! (RFC 7519, section 4, lets a reader do so; that is the safe choice, because
//! another reader may have taken the other one).

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// What lies within what, at most.
const MAX_DEPTH: usize = 8;

/// An object in which nothing is said twice, at any depth.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Object(pub(crate) BTreeMap<String, Value>);

impl Object {
    /// Reads one of at most so many values.
    pub(crate) fn read(bytes: &[u8], most: usize) -> Result<Self, String> {
        check(bytes, most)?;
        match serde_json::from_slice(bytes) {
            Ok(Strict(Value::Object(map))) => Ok(Self(map.into_iter().collect())),
            Ok(_) => Err("it is no JSON object".to_owned()),
            // The words of the parser may show what stands there; the place will do.
            Err(e) if e.is_data() => Err(e.to_string()),
            Err(e) => Err(format!("it is no JSON (at byte {})", e.column())),
        }
    }

    /// A text.
    pub(crate) fn text(&self, key: &'static str) -> Result<Option<&str>, String> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("`{key}` is no text")),
        }
    }

    /// A time in seconds since 1970 (RFC 7519's `NumericDate`, which may have a fraction).
    pub(crate) fn seconds(&self, key: &'static str) -> Result<Option<u64>, String> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        // The largest integer that all JSON readers take for the same.
        let most = (1_u64 << 53) as f64;
        match (value.as_u64(), value.as_f64()) {
            (Some(whole), _) => Ok(Some(whole)),
            (None, Some(number)) if (0.0..most).contains(&number) => Ok(Some(number as u64)),
            _ => Err(format!("`{key}` is no time in seconds since 1970")),
        }
    }

    /// A text, or a list of texts.
    pub(crate) fn texts(&self, key: &str) -> Result<Vec<&str>, String> {
        match self.0.get(key) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(list)) => list
                .iter()
                .map(|value| value.as_str().ok_or_else(|| format!("`{key}` has something among it that is no text")))
                .collect(),
            Some(_) => Err(format!("`{key}` is neither a text nor a list of texts")),
        }
    }
}

/// Counts depth and values, without reading them.
fn check(bytes: &[u8], most: usize) -> Result<(), String> {
    let (mut depth, mut values, mut in_text, mut escaped) = (0_usize, 1_usize, false, false);
    for byte in bytes {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => {
                (depth, values) = (depth + 1, values + 1);
                if depth > MAX_DEPTH {
                    return Err(format!("it is nested deeper than {MAX_DEPTH}"));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        if values > most {
            return Err(format!("it has more than {most} values"));
        }
    }
    Ok(())
}

/// A value whose objects say nothing twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Strict, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Strict(values.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
        let mut values = serde_json::Map::new();
        while let Some((key, Strict(value))) = map.next_entry::<String, Strict>()? {
            if values.insert(key, value).is_some() {
                return Err(A::Error::custom("it says something twice"));
            }
        }
        Ok(Strict(values.into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_said_twice_is_refused_at_any_depth() {
        assert!(Object::read(br#"{"a":1,"a":1}"#, 10).unwrap_err().starts_with("it says something twice"));
        assert!(Object::read(br#"{"a":[{"b":1,"b":2}]}"#, 10).is_err());
        assert!(Object::read(br#"{"a":1,"\u0061":1}"#, 10).is_err(), "also when written otherwise");
        assert!(Object::read(br#"{"a":{"b":1},"c":{"b":1}}"#, 10).is_ok());
    }

    #[test]
    fn depth_and_number_are_bounded_and_texts_are_no_structure() {
        assert!(Object::read(br#"{"a":[[[[[[[1]]]]]]]}"#, 100).is_ok());
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
        assert!(Object::read(deep.as_bytes(), 100_000).unwrap_err().contains("nested"));
        assert!(Object::read(br#"{"a":[1,2,3,4,5]}"#, 5).unwrap_err().contains("more than 5"));
        assert!(Object::read(br#"{"a":"[[[[[[[[[[[,,,,,,\"[[["}"#, 5).is_ok());
        for wrong in ["", "1", "[]", "{", "{\"a\":}", "\"x\"", "{}x", "nul", "{\"a\":1e999}"] {
            assert!(Object::read(wrong.as_bytes(), 100).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_whole_or_broken_seconds_and_nothing_else() {
        let object = Object::read(br#"{"a":5,"b":5.9,"c":-1,"d":"5","e":1e300,"f":null}"#, 20).unwrap();
        assert_eq!(
            (object.seconds("a"), object.seconds("b"), object.seconds("z")),
            (Ok(Some(5)), Ok(Some(5)), Ok(None))
        );
        for wrong in ["c", "d", "e", "f"] {
            assert!(object.seconds(wrong.to_owned().leak()).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_as_serde_does_or_refused(bytes in "[\\[\\]{}\",:a1 \\\\]{0,40}") {
            if let Ok(object) = Object::read(bytes.as_bytes(), 100) {
                let plain: Value = serde_json::from_str(&bytes).expect("what is taken is JSON");
                prop_assert_eq!(plain, Value::Object(object.0.into_iter().collect()));
            }
        }
    }
}
