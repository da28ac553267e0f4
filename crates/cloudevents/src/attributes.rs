//! The attributes of an event, and what each may be.
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>

use std::collections::BTreeMap;

use weft_wire::headers::HeaderError;

use crate::VERSION;
use crate::json::JsonError;

/// The most attributes of an event.
pub const MOST_ATTRIBUTES: usize = 64;
/// The longest name of an attribute, in bytes. The specification advises 20.
pub const MAX_NAME: usize = 64;
/// What an event must have.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// Why something is no CloudEvent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// An attribute that must be there and is not.
    #[error("the attribute `{name}` is missing: an event has `specversion`, `id`, `source` and `type`")]
    Missing {
        /// Its name.
        name: &'static str,
    },
    /// A name that no attribute has.
    #[error("`{name}` is no name of an attribute: write 1 to {MAX_NAME} of a-z and 0-9, and not `data`")]
    Name {
        /// The name, cut short.
        name: String,
    },
    /// A value that the attribute cannot have.
    #[error("the attribute `{name}`: {why}")]
    Value {
        /// Its name.
        name: String,
        /// What is wrong, and what it may be.
        why: &'static str,
    },
    /// An attribute that is there more than once.
    #[error("the attribute `{name}` is there twice: send one")]
    Twice {
        /// Its name.
        name: String,
    },
    /// More attributes than there may be.
    #[error("an event has at most {MOST_ATTRIBUTES} attributes: put more into its data")]
    TooMany,
    /// JSON that cannot be read.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Data twice.
    #[error("the event has both `data` and `data_base64`: send one")]
    Data,
    /// Data that is no base64.
    #[error("`data_base64` is no string of base64 (RFC 4648, with padding)")]
    Base64,
    /// A format that is not read here.
    #[error(
        "CloudEvents in `{found}` are not read: send application/cloudevents+json, application/cloudevents-batch+json, in UTF-8, or headers `ce-*`"
    )]
    Format {
        /// The media type, cut short.
        found: String,
    },
    /// More than the headers of an event can take.
    #[error("the attributes are too long: {0}")]
    Headers(#[from] HeaderError),
}

impl Broken {
    pub(crate) fn value(name: &str, why: &'static str) -> Self {
        Self::Value { name: name.to_owned(), why }
    }
}

/// The attributes of an event; those that it must have are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes(BTreeMap<String, String>);

impl Attributes {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Adds one.
    pub(crate) fn add(&mut self, name: &str, value: String) -> Result<(), Broken> {
        check(name, &value)?;
        if self.0.len() >= MOST_ATTRIBUTES {
            return Err(Broken::TooMany);
        }
        if self.0.insert(name.to_owned(), value).is_some() {
            return Err(Broken::Twice { name: name.to_owned() });
        }
        Ok(())
    }

    /// Adds one that is not there, if it can be.
    pub(crate) fn fill(&mut self, name: &str, value: &str) {
        if self.0.len() < MOST_ATTRIBUTES && !self.0.contains_key(name) && check(name, value).is_ok() {
            self.0.insert(name.to_owned(), value.to_owned());
        }
    }

    /// All of them, if those that must be there are.
    pub(crate) fn whole(self) -> Result<Self, Broken> {
        match REQUIRED.into_iter().find(|name| !self.0.contains_key(*name)) {
            Some(name) => Err(Broken::Missing { name }),
            None => Ok(self),
        }
    }
}

/// Whether an attribute's value must be a string in JSON.
pub(crate) fn is_text(name: &str) -> bool {
    REQUIRED.contains(&name) || matches!(name, "datacontenttype" | "dataschema" | "subject" | "time")
}

/// Whether an attribute can have this name and value.
fn check(name: &str, value: &str) -> Result<(), Broken> {
    let is_name = (1..=MAX_NAME).contains(&name.len())
        && name != "data"
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if !is_name {
        return Err(Broken::Name { name: name.chars().take(MAX_NAME).collect() });
    }
    if value.chars().any(is_forbidden) {
        return Err(Broken::value(name, "it has a control character, or one that is none"));
    }
    let why = match name {
        "specversion" if value != VERSION => "only version `1.0` is read",
        "id" | "source" | "type" | "subject" | "dataschema" | "partitionkey" if value.is_empty() => {
            "it is empty: leave it out, or write what it is"
        }
        "source" if value.contains(' ') => "it is no URI reference: escape spaces",
        "dataschema" if value.contains(' ') || !has_scheme(value) => "it is no URI: write one with its scheme",
        "time" if !is_time(value) => "it is no time of RFC 3339, such as 2030-01-01T10:00:00Z",
        "datacontenttype" if !is_media_type(value) => "it is no media type, such as application/json",
        _ => return Ok(()),
    };
    Err(Broken::value(name, why))
}

/// What no string of an attribute has: control characters and noncharacters.
fn is_forbidden(c: char) -> bool {
    let code = u32::from(c);
    c.is_control() || (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

/// RFC 3986, 3.1.
fn has_scheme(uri: &str) -> bool {
    let Some((scheme, _)) = uri.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// RFC 2046: a type and a subtype, and perhaps parameters.
fn is_media_type(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let is_token = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-*'`|~%".contains(&b))
    };
    text.is_ascii() && essence.split_once('/').is_some_and(|(kind, sub)| is_token(kind) && is_token(sub))
}

/// RFC 3339, 5.6: a date and a time with its offset.
fn is_time(text: &str) -> bool {
    let number = |from: usize, to: usize, range: std::ops::RangeInclusive<u32>| {
        let digits = text.get(from..to).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|digits| digits.parse().ok()).filter(|number| range.contains(number))
    };
    let sign = |at: usize, any: &[u8]| text.as_bytes().get(at).is_some_and(|byte| any.contains(byte));
    let date = (number(0, 4, 0..=9999), number(5, 7, 1..=12), number(8, 10, 1..=31));
    let (Some(year), Some(month), Some(day)) = date else { return false };
    let last = match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    };
    let is_clock =
        number(11, 13, 0..=23).is_some() && number(14, 16, 0..=59).is_some() && number(17, 19, 0..=60).is_some();
    let signs = sign(4, b"-") && sign(7, b"-") && sign(10, b"Tt ") && sign(13, b":") && sign(16, b":");
    let Some(rest) = text.get(19..).filter(|_| is_clock && signs && day <= last) else { return false };
    let fraction = rest.strip_prefix('.').map(|rest| rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
    let offset = match fraction {
        Some(0) => return false,
        Some(digits) => rest.get(1 + digits..).unwrap_or_default(),
        None => rest,
    };
    if offset.eq_ignore_ascii_case("z") {
        return true;
    }
    let at = text.len() - offset.len();
    offset.len() == 6
        && sign(at, b"+-")
        && number(at + 1, at + 3, 0..=23).is_some()
        && sign(at + 3, b":")
        && number(at + 4, at + 6, 0..=59).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_rfc_and_no_others() {
        for good in [
            "2030-01-01T10:00:00Z",
            "2030-01-01t10:00:00.123456789z",
            "2024-02-29T23:59:60+14:00",
            "1985-04-12T23:20:50.52-08:30",
        ] {
            assert!(is_time(good), "{good}");
        }
        for bad in [
            "",
            "2030-01-01",
            "2030-01-01T10:00:00",
            "2030-13-01T10:00:00Z",
            "2023-02-29T10:00:00Z",
            "2030-01-01T24:00:00Z",
            "2030-01-01T10:00:00.Z",
            "2030-01-01T10:00:00+0100",
            "2030-01-01T10:00:00+25:00",
            "2030-01-01T10:00:00Z ",
            "+030-01-01T10:00:00Z",
            "2030-01-01T10:00:0\u{663}Z",
            "1893456000",
        ] {
            assert!(!is_time(bad), "{bad}");
        }
    }

    #[test]
    fn each_attribute_is_what_the_specification_says() {
        for (name, good) in [
            ("specversion", "1.0"),
            ("source", "/flights?a#b"),
            ("source", "urn:x"),
            ("type", "com.example.departed"),
            ("dataschema", "https://example.com/s.json"),
            ("datacontenttype", "text/plain; charset=utf-8"),
            ("subject", "Z\u{fc}rich \u{1f6eb}"),
            ("x9", ""),
        ] {
            assert_eq!(check(name, good), Ok(()), "{name} {good}");
        }
        for (name, bad) in [
            ("specversion", "0.3"),
            ("specversion", ""),
            ("id", ""),
            ("source", "a b"),
            ("dataschema", "schema"),
            ("datacontenttype", "json"),
            ("datacontenttype", "a/b/c"),
            ("time", "now"),
            ("x", "a\u{0}b"),
            ("x", "\u{85}"),
            ("x", "\u{fdd0}"),
            ("x", "\u{1ffff}"),
        ] {
            assert!(matches!(check(name, bad), Err(Broken::Value { .. })), "{name} {bad:?}");
        }
        for name in ["", "Data", "data", "my-name", "a b", "\u{e9}", &"n".repeat(65)] {
            assert!(matches!(check(name, "x"), Err(Broken::Name { .. })), "{name}");
        }
    }
}
