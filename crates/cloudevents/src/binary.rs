//! Events in the headers of HTTP.
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>

use crate::CloudEvent;
use crate::attributes::{Attributes, Broken};

/// What the name of a header begins with that is an attribute.
const PREFIX: &str = "ce-";

impl CloudEvent {
    /// Reads an event of a message: its headers, of which those without `ce-` are
    /// passed over, its media type and its body.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn binary<'a>(
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        content_type: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Self, Broken> {
        let mut attributes = Attributes::default();
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            let Some(name) = name.strip_prefix(PREFIX) else { continue };
            if name == "datacontenttype" {
                return Err(Broken::value(name, "it is the header Content-Type here"));
            }
            let value = decoded(value).ok_or_else(|| Broken::value(name, "it is no UTF-8, escaped by `%`"))?;
            attributes.add(name, value)?;
        }
        if let Some(media_type) = content_type {
            attributes.add("datacontenttype", media_type.to_owned())?;
        }
        Ok(Self { attributes: attributes.whole()?, data: body })
    }

    /// The headers of a message that has its data as body: `ce-*`, and Content-Type.
    #[must_use]
    pub fn to_binary(&self) -> Vec<(String, String)> {
        let header = |(name, value): (&str, &str)| match name {
            "datacontenttype" => ("content-type".to_owned(), value.to_owned()),
            name => (format!("{PREFIX}{name}"), encoded(value)),
        };
        self.attributes.iter().map(header).collect()
    }
}

/// The value of a header, with its escapes undone (3.1.3.2); none: it is no UTF-8.
#[must_use]
pub fn decoded(value: &[u8]) -> Option<String> {
    let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let plain = match quoted {
        None => value.to_vec(),
        Some(inner) => {
            let mut plain = Vec::with_capacity(inner.len());
            let mut bytes = inner.iter();
            while let Some(byte) = bytes.next() {
                plain.extend(if *byte == b'\\' { bytes.next() } else { Some(byte) });
            }
            plain
        }
    };
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut text = Vec::with_capacity(plain.len());
    let mut rest = plain.as_slice();
    while let Some((first, after)) = rest.split_first() {
        match (first, digit(after.first()), digit(after.get(1))) {
            (b'%', Some(high), Some(low)) => {
                text.push(u8::try_from(high * 16 + low).unwrap_or_default());
                rest = after.get(2..).unwrap_or_default();
            }
            // A sign by itself stays what it is.
            _ => {
                text.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(text).ok()
}

/// A value as a header has it: what is not visible ASCII, the space, `"` and `%`
/// are escaped.
#[must_use]
pub fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_as_the_binding_says() {
        assert_eq!(encoded("Euro \u{20ac} \u{1f600}\"%"), "Euro%20%E2%82%AC%20%F0%9F%98%80%22%25");
        for (value, text) in [
            (&b"plain"[..], Some("plain")),
            (b"a%20b", Some("a b")),
            (b"%e2%82%AC", Some("\u{20ac}")),
            ("\u{20ac} raw".as_bytes(), Some("\u{20ac} raw")),
            (b"\"quoted \\\" text\"", Some("quoted \" text")),
            (b"100%", Some("100%")),
            (b"%4", Some("%4")),
            (b"%zz", Some("%zz")),
            (b"\"", Some("\"")),
            (b"", Some("")),
            (b"%ff", None),
            (b"\xff", None),
        ] {
            assert_eq!(decoded(value).as_deref(), text, "{}", String::from_utf8_lossy(value));
        }
    }
}
