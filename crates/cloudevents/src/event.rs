//! A CloudEvent as an event of the mesh, and the other way round.
//!
//! | CloudEvent | event |
//! |---|---|
//! | the data | the payload |
//! | `datacontenttype` | the header `content-type` |
//! | `partitionkey` (its extension of that name) | the key |
//! | `traceparent`, `tracestate` (extension Distributed Tracing) | the headers of these names |
//! | any other attribute | the header `ce-` and its name |
//! | `wefttopic` | the topic; what comes is not looked at |

use weft_wire::headers::{Headers, HeadersWriter, names};

use crate::CloudEvent;
use crate::attributes::{Attributes, Broken};

/// The attribute that has the topic, of what is handed out.
pub const TOPIC: &str = "wefttopic";
const PREFIX: &str = "ce-";
/// What the headers of an event have under a name of their own.
const OWN: [(&str, &str); 3] =
    [("datacontenttype", names::CONTENT_TYPE), ("traceparent", names::TRACEPARENT), ("tracestate", names::TRACESTATE)];
/// The attribute that is an event's key.
const KEY: &str = "partitionkey";

/// What an event of the mesh is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The key; empty for none.
    pub key: String,
    /// Its headers, encoded.
    pub headers: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
}

/// An event of the mesh, as it was delivered.
#[derive(Clone, Copy, Debug)]
pub struct Delivered<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The key; empty for none.
    pub key: &'a [u8],
    /// Its headers.
    pub headers: Headers<'a>,
    /// The payload.
    pub payload: &'a [u8],
}

/// What an event is called that was not published as a CloudEvent.
#[derive(Clone, Copy, Debug)]
pub struct Defaults<'a> {
    /// Its id, for example its place in what entered at its hub.
    pub id: &'a str,
    /// Its source, for example its hub.
    pub source: &'a str,
    /// When it entered the mesh, RFC 3339.
    pub time: &'a str,
}

/// The kind of such an event.
const TYPE: &str = "weft.event";

impl CloudEvent {
    /// It as an event of the mesh, with these headers beside its own, where it has
    /// none of that name.
    ///
    /// # Errors
    /// [`Broken::Headers`]: its attributes are longer than the headers of an event.
    pub fn into_parts(self, more: &[(&str, &[u8])]) -> Result<Parts, Broken> {
        let mut headers = Vec::new();
        let mut writer = HeadersWriter::new(&mut headers);
        for (name, value) in self.attributes.iter() {
            if let Some((_, own)) = OWN.iter().find(|(attribute, _)| *attribute == name) {
                writer.push(own, value.as_bytes())?;
            } else if !matches!(name, KEY | TOPIC) {
                writer.push(&format!("{PREFIX}{name}"), value.as_bytes())?;
            }
        }
        for (name, value) in more {
            if self.attribute(name).is_none() {
                writer.push(name, value)?;
            }
        }
        let key = self.attribute(KEY).unwrap_or_default().to_owned();
        Ok(Parts { key, headers, payload: self.data })
    }

    /// An event of the mesh as a CloudEvent. One that was published as such is what
    /// it was, with its topic beside; of any other the topic is the `subject`, and
    /// the rest is said by `defaults`. Headers that no attribute can have are left out.
    #[must_use]
    pub fn of_event(event: &Delivered<'_>, defaults: &Defaults<'_>) -> Self {
        let mut attributes = Attributes::default();
        // These have their places whatever else there is.
        let is_cloud = event.headers.get(names::CE_SPECVERSION).is_some();
        attributes.fill("specversion", crate::VERSION);
        attributes.fill(TOPIC, event.topic);
        for (name, default) in [("id", defaults.id), ("source", defaults.source), ("type", TYPE)] {
            let own = event.headers.get(&format!("{PREFIX}{name}")).and_then(|value| std::str::from_utf8(value).ok());
            attributes.fill(name, own.unwrap_or_default());
            attributes.fill(name, default);
            // What nobody can call its name all the same has one.
            attributes.fill(name, "unknown");
        }
        for (name, value) in event.headers {
            let Ok(value) = std::str::from_utf8(value) else { continue };
            match (OWN.iter().find(|(_, own)| *own == name), name.strip_prefix(PREFIX)) {
                (Some((attribute, _)), _) => attributes.fill(attribute, value),
                (None, Some(attribute)) if !OWN.iter().any(|(own, _)| *own == attribute) && attribute != KEY => {
                    attributes.fill(attribute, value);
                }
                _ => {}
            }
        }
        if let Ok(key) = std::str::from_utf8(event.key)
            && !key.is_empty()
        {
            attributes.fill(KEY, key);
        }
        if !is_cloud {
            attributes.fill("subject", event.topic);
            attributes.fill("time", defaults.time);
        }
        Self { attributes, data: event.payload.to_vec() }
    }
}
