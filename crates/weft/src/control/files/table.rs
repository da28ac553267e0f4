//! A table of TOML as the JSON of a document, and where each field stands.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where fields stand, by their paths as JSON's errors name them: `topics[1]`.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<String, usize>);

impl Places {
    pub(super) fn note(&mut self, path: &str, offset: usize) {
        self.0.insert(path.to_owned(), offset);
    }

    /// Where a field stands, or what it is part of.
    pub(super) fn find(&self, path: &str) -> Option<usize> {
        let mut known = path;
        loop {
            if let Some(offset) = self.0.get(known) {
                return Some(*offset);
            }
            known = known.get(..known.rfind(['.', '['])?)?;
        }
    }
}

/// A value that no document can have: where, and why.
pub(super) type Wrong = (usize, String);

/// The value, with the places of all that is in it.
pub(super) fn value(path: &str, from: &Spanned<DeValue<'_>>, places: &mut Places) -> Result<Value, Wrong> {
    let offset = from.span().start;
    places.note(path, offset);
    let out_of_range = |text: &str| (offset, format!("{path}: the number {text} is out of range"));
    Ok(match from.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Integer(integer) => {
            let (text, radix) = (integer.as_str(), integer.radix());
            let plus = u64::from_str_radix(text, radix).map(Number::from);
            let number = plus.or_else(|_| i64::from_str_radix(text, radix).map(Number::from));
            Value::Number(number.map_err(|_| out_of_range(text))?)
        }
        DeValue::Float(float) => {
            let number = float.as_str().parse().ok().and_then(Number::from_f64);
            Value::Number(number.ok_or_else(|| out_of_range(float.as_str()))?)
        }
        DeValue::Datetime(_) => {
            return Err((offset, format!("{path}: no document has times: write a text or a number")));
        }
        DeValue::Array(items) => {
            let items = items.iter().enumerate();
            Value::Array(items.map(|(n, item)| value(&format!("{path}[{n}]"), item, places)).collect::<Result<_, _>>()?)
        }
        DeValue::Table(inner) => Value::Object(table(path, inner, places, &[])?),
    })
}

/// The fields of a table but those left out.
pub(super) fn table(
    path: &str,
    from: &DeTable<'_>,
    places: &mut Places,
    without: &[&str],
) -> Result<Map<String, Value>, Wrong> {
    let mut out = Map::new();
    for (key, field) in from.iter() {
        let name: &str = key.get_ref();
        if without.contains(&name) {
            continue;
        }
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let read = value(&path, field, places)?;
        places.note(&path, key.span().start);
        out.insert(name.to_owned(), read);
    }
    Ok(out)
}
