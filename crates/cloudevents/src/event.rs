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
//! | `weftstream`, `weftsequence`, `weftattempt`, `weftreceipt` | how it was handed out; what comes is not looked at |
//!
//! Headers as other bindings write them (`ce_`, `cloudEvents_`) are read as well.

use weft_wire::headers::{Headers, HeadersWriter, names};

use crate::CloudEvent;
use crate::attributes::{Attributes, Broken};

/// The attribute that has the topic, of what is handed out.
pub const TOPIC: &str = "wefttopic";
/// The attribute that has the stream that it was read from.
pub const STREAM: &str = "weftstream";
/// The attribute that has its place in that stream.
pub const SEQUENCE: &str = "weftsequence";
/// The attribute that says how often it was handed out.
pub const ATTEMPT: &str = "weftattempt";
/// The attribute by which it is settled.
pub const RECEIPT: &str = "weftreceipt";
/// What says how it was handed out, and is no part of it.
const PASSING: [&str; 5] = [TOPIC, STREAM, SEQUENCE, ATTEMPT, RECEIPT];
const PREFIX: &str = "ce-";
/// How the names of attributes begin in headers of the bindings for NATS, Kafka and AMQP.
const PREFIXES: [&str; 3] = [PREFIX, "ce_", "cloudEvents_"];
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
    /// How it was handed out: values of [`STREAM`] and the like.
    pub passing: &'a [(&'a str, &'a str)],
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
            } else if name != KEY && !PASSING.contains(&name) {
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
    /// it was, with its topic, and how it was handed out, beside; of any other the topic
    /// is the `subject`, text that is said to be nothing else is `text/plain`, and the
    /// rest is said by `defaults`. Headers that no attribute can have are left out.
    #[must_use]
    pub fn of_event(event: &Delivered<'_>, defaults: &Defaults<'_>) -> Self {
        let own = |header: &'_ str, name: &str| {
            PREFIXES.iter().any(|prefix| header.strip_prefix(prefix).is_some_and(|rest| rest == name))
        };
        let mut attributes = Attributes::default();
        // These have their places whatever else there is.
        attributes.fill("specversion", crate::VERSION);
        attributes.fill(TOPIC, event.topic);
        for (name, value) in event.passing {
            attributes.fill(name, value);
        }
        for (name, default) in [("id", defaults.id), ("source", defaults.source), ("type", TYPE)] {
            let own = event.headers.iter().find(|(header, _)| own(header, name));
            let own = own.and_then(|(_, value)| std::str::from_utf8(value).ok());
            attributes.fill(name, own.unwrap_or_default());
            attributes.fill(name, default);
            // What nobody can call its name all the same has one.
            attributes.fill(name, "unknown");
        }
        let is_cloud = event.headers.iter().any(|(header, _)| own(header, "specversion"));
        for (name, value) in event.headers {
            let Ok(value) = std::str::from_utf8(value) else { continue };
            let attribute = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix));
            match (OWN.iter().find(|(_, own)| *own == name), attribute) {
                (Some((attribute, _)), _) => attributes.fill(attribute, value),
                (None, Some(attribute)) if !is_elsewhere(attribute) => attributes.fill(attribute, value),
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
            // Without a media type it would be JSON.
            let is_said = event.headers.get(names::CONTENT_TYPE).is_some();
            if !is_said && !event.payload.is_empty() && std::str::from_utf8(event.payload).is_ok() {
                attributes.fill("datacontenttype", "text/plain");
            }
        }
        Self { attributes, data: event.payload.to_vec() }
    }
}

/// Whether what an attribute says stands elsewhere than in a header of its name.
fn is_elsewhere(attribute: &str) -> bool {
    attribute == KEY || PASSING.contains(&attribute) || OWN.iter().any(|(own, _)| *own == attribute)
}
