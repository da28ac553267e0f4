//! Layer 1: CloudEvents 1.0 (<https://cloudevents.io>): read from JSON
//! ([`CloudEvent::structured`], [`batched`]) and from the headers of HTTP
//! ([`CloudEvent::binary`]), written as both, and as events of the mesh and back
//! ([`Parts`], [`Delivered`]).
//!
//! Pure: knows no server, no session and no clock. Data is carried byte for byte:
//! JSON in it is found, not rewritten. Never guesses: what the specification does
//! not allow is refused, with the attribute and what it may be.
//!
//! Bounded: [`MOST_ATTRIBUTES`] of an event, names of [`MAX_NAME`] bytes, the
//! members of one JSON object ([`json::MOST_MEMBERS`]), all attributes together by
//! [`weft_wire::headers::MAX_HEADERS`], and each step is linear in the input, however
//! deep it nests.
#![forbid(unsafe_code)]

mod attributes;
mod binary;
mod event;
pub mod json;
mod structured;

pub use attributes::{Broken, MAX_NAME, MOST_ATTRIBUTES};
pub use binary::{decoded, encoded};
pub use event::{ATTEMPT, Defaults, Delivered, Parts, RECEIPT, SEQUENCE, STREAM, TOPIC};
pub use structured::batched;

use self::attributes::Attributes;

/// The version of CloudEvents.
pub const VERSION: &str = "1.0";
/// The media type of an event in JSON.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// The media type of several.
pub const BATCHED: &str = "application/cloudevents-batch+json";

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEvent {
    attributes: Attributes,
    data: Vec<u8>,
}

impl CloudEvent {
    /// The value of an attribute; the data's media type is `datacontenttype`.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name)
    }

    /// Names and values of all attributes, by name.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter()
    }

    /// The data; empty where there is none.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

/// How CloudEvents come over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// None does.
    None,
    /// One, in the headers `ce-*` and the body.
    Binary,
    /// One, in JSON.
    Structured,
    /// Several, in a JSON array.
    Batched,
}

impl Mode {
    /// By the media type of the body, and whether there is any header `ce-*`.
    ///
    /// # Errors
    /// [`Broken::Format`]: CloudEvents in a format that is not read here.
    pub fn of(content_type: Option<&str>, has_attributes: bool) -> Result<Self, Broken> {
        let whole = content_type.unwrap_or_default();
        let mut parts = whole.split(';');
        let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let mode = match essence.as_str() {
            STRUCTURED => Self::Structured,
            BATCHED => Self::Batched,
            other if other.starts_with("application/cloudevents") => {
                return Err(Broken::Format { found: other.chars().take(100).collect() });
            }
            _ if has_attributes => return Ok(Self::Binary),
            _ => return Ok(Self::None),
        };
        for parameter in parts {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim().trim_matches('"');
            if name.trim().eq_ignore_ascii_case("charset") && !value.eq_ignore_ascii_case("utf-8") {
                return Err(Broken::Format { found: whole.chars().take(100).collect() });
            }
        }
        Ok(mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_type_says_how_events_come() {
        let of = |content_type, has| Mode::of(content_type, has);
        assert_eq!(of(None, false), Ok(Mode::None));
        assert_eq!(of(None, true), Ok(Mode::Binary));
        assert_eq!(of(Some("application/json"), true), Ok(Mode::Binary));
        assert_eq!(of(Some("application/CloudEvents+JSON; charset=UTF-8"), true), Ok(Mode::Structured));
        assert_eq!(of(Some("application/cloudevents-batch+json;charset=\"utf-8\""), false), Ok(Mode::Batched));
        for unknown in [
            "application/cloudevents",
            "application/cloudevents+avro",
            "application/cloudevents-batch+xml",
            "application/cloudevents+json; charset=utf-16",
        ] {
            assert!(matches!(of(Some(unknown), false), Err(Broken::Format { .. })), "{unknown}");
        }
    }
}
