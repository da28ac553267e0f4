//! Events in JSON.
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::CloudEvent;
use crate::attributes::{Attributes, Broken, is_text};
use crate::json::{self, JsonError};

/// What the data of an event is, by its media type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As where nothing is said.
    Json,
    Text,
    Other,
}

impl Kind {
    fn of(media_type: Option<&str>) -> Self {
        let Some(media_type) = media_type else { return Self::Json };
        let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let (kind, sub) = essence.split_once('/').unwrap_or((&essence, ""));
        if sub == "json" || sub.ends_with("+json") {
            Self::Json
        } else if kind == "text" || sub == "xml" || sub.ends_with("+xml") {
            Self::Text
        } else {
            Self::Other
        }
    }
}

/// The events of a JSON array, each by itself; no more than `most`.
///
/// # Errors
/// [`Broken::Json`]: there is no array, or too many are in it.
pub fn batched(text: &[u8], most: usize) -> Result<Vec<Result<CloudEvent, Broken>>, Broken> {
    let events = json::elements(text, most)?;
    Ok(events.into_iter().map(|event| CloudEvent::structured(event.as_bytes())).collect())
}

impl CloudEvent {
    /// Reads an event in JSON. Data that is JSON is kept as it was written.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn structured(text: &[u8]) -> Result<Self, Broken> {
        let mut attributes = Attributes::default();
        let (mut plain, mut base64) = (None, None);
        for (name, value) in json::members(text)? {
            match name.as_str() {
                // Of data too, null is nothing but where the media type gives it a meaning.
                "data" => plain = Some(value),
                "data_base64" => base64 = (value != "null").then_some(value),
                _ if value == "null" => {}
                _ => {
                    let value = scalar(&name, value)?;
                    attributes.add(&name, value)?;
                }
            }
        }
        let attributes = attributes.whole()?;
        let kind = Kind::of(attributes.get("datacontenttype"));
        let data = match (plain, base64) {
            (None, None) => Vec::new(),
            (Some(_), Some(_)) => return Err(Broken::Data),
            (None, Some(text)) => {
                let text: String = serde_json::from_str(text).map_err(|_| Broken::Base64)?;
                STANDARD.decode(text).map_err(|_| Broken::Base64)?
            }
            // A string of what is not JSON is the data; all else is JSON.
            (Some(value), None) if kind != Kind::Json && value.starts_with('"') => text_of("data", value)?.into_bytes(),
            (Some(value), None) => value.as_bytes().to_vec(),
        };
        Ok(Self { attributes, data })
    }

    /// Writes it in JSON.
    #[must_use]
    pub fn to_structured(&self) -> String {
        let mut text = String::with_capacity(256 + self.data.len());
        for (name, value) in self.attributes.iter() {
            text.push(if text.is_empty() { '{' } else { ',' });
            text.push_str(&format!("\"{name}\":{}", Value::from(value)));
        }
        let kind = Kind::of(self.attribute("datacontenttype"));
        let plain = std::str::from_utf8(&self.data).ok();
        match plain {
            Some("") if kind != Kind::Text => {}
            Some(plain) if kind == Kind::Json && json::is_value(&self.data) => {
                text.push_str(&format!(",\"data\":{}", plain.trim_matches([' ', '\t', '\n', '\r'])));
            }
            Some(plain) if kind == Kind::Text => text.push_str(&format!(",\"data\":{}", Value::from(plain))),
            _ => text.push_str(&format!(",\"data_base64\":\"{}\"", STANDARD.encode(&self.data))),
        }
        text.push('}');
        text
    }
}

/// An attribute's value as text.
fn scalar(name: &str, value: &str) -> Result<String, Broken> {
    if value.starts_with('"') {
        return text_of(name, value);
    }
    if is_text(name) {
        return Err(Broken::value(name, "it is no string"));
    }
    let is_whole = value.parse::<i32>().is_ok() && value != "-0";
    if is_whole || matches!(value, "true" | "false") {
        return Ok(value.to_owned());
    }
    Err(Broken::value(name, "write a string, true, false, or a whole number of 32 bits"))
}

fn text_of(name: &str, value: &str) -> Result<String, Broken> {
    serde_json::from_str(value).map_err(|_| {
        let why = "it has half of a character (an unpaired surrogate)";
        if name == "data" { JsonError::Value { at: 0, why: why.to_owned() }.into() } else { Broken::value(name, why) }
    })
}
