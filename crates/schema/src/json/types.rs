//! Sets of the types of JSON values, as fine as drafts tell them apart.
use jsonschema::Draft;
use serde_json::Value;

/// A set of types. Numbers are three: those without a fraction and without a
/// point (`1`), without a fraction but with a point (`1.0`), and the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Types(u8);

impl Default for Types {
    fn default() -> Self {
        Self::ALL
    }
}

impl Types {
    pub(super) const NONE: Self = Self(0);
    pub(super) const NULL: Self = Self(1);
    pub(super) const BOOLEAN: Self = Self(2);
    pub(super) const OBJECT: Self = Self(4);
    pub(super) const ARRAY: Self = Self(8);
    pub(super) const STRING: Self = Self(16);
    /// All numbers.
    pub(super) const NUMBER: Self = Self(32 | 64 | 128);
    const PLAIN: Self = Self(32);
    const POINTED: Self = Self(64);
    pub(super) const FRACTION: Self = Self(128);
    pub(super) const ALL: Self = Self(255);

    /// Those of `draft`'s word.
    pub(super) fn named(name: &str, draft: Draft) -> Option<Self> {
        Some(match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOLEAN,
            "object" => Self::OBJECT,
            "array" => Self::ARRAY,
            "string" => Self::STRING,
            "number" => Self::NUMBER,
            "integer" if draft == Draft::Draft4 => Self::PLAIN,
            "integer" => Self::PLAIN.or(Self::POINTED),
            _ => return None,
        })
    }

    /// Those that a value equal to `value` may have: 1 may be written as 1.0.
    pub(super) fn of_equal(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOLEAN,
            Value::Object(_) => Self::OBJECT,
            Value::Array(_) => Self::ARRAY,
            Value::String(_) => Self::STRING,
            Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() != 0.0) => Self::FRACTION,
            Value::Number(_) => Self::PLAIN.or(Self::POINTED),
        }
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn includes(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    pub(super) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// In this set and not in `other`.
    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// One set for each type in it, numbers being one.
    pub(super) fn each(self) -> impl Iterator<Item = Self> {
        [Self::NULL, Self::BOOLEAN, Self::OBJECT, Self::ARRAY, Self::STRING, Self::NUMBER]
            .into_iter()
            .map(move |one| one.and(self))
            .filter(|one| *one != Self::NONE)
    }

    /// The names, for messages.
    pub(super) fn words(self) -> String {
        let names = [
            (Self::NULL, "null"),
            (Self::BOOLEAN, "boolean"),
            (Self::OBJECT, "object"),
            (Self::ARRAY, "array"),
            (Self::STRING, "string"),
            (Self::PLAIN, "integer"),
            (Self::POINTED, "integer with a point"),
            (Self::FRACTION, "number with a fraction"),
        ];
        let words: Vec<&str> = names.iter().filter(|(one, _)| self.meets(*one)).map(|(_, name)| *name).collect();
        if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
    }
}
