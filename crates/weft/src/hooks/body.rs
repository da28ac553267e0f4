//! An event of a stream as a CloudEvent in structured mode (CloudEvents 1.0.2, JSON
//! format). Pure.
//!
//! Headers of the event that begin with `ce-` (or `ce_`, `cloudEvents_`), as bindings
//! of CloudEvents write them, are the attributes; what an event must have and has not
//! is made of where it is. So what came in as a CloudEvent goes out as the same.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use weft_client::Message;

use crate::time::rfc3339;

/// What an event is called that says nothing of it.
const TYPE: &str = "weft.event";
/// How attributes of other bindings are written.
const PREFIXES: [&str; 3] = ["ce-", "ce_", "cloudEvents_"];
/// The longest name of an attribute that is taken over.
const MAX_NAME: usize = 20;

/// An event, as far as it matters here.
pub(super) struct Facts<'a> {
    pub(super) topic: &'a str,
    pub(super) key: &'a [u8],
    pub(super) payload: &'a [u8],
    pub(super) headers: Vec<(&'a str, &'a [u8])>,
    pub(super) time: weft_base::UnixNanos,
    /// The hub, by its number, the epoch and the sequence at which it entered.
    pub(super) entered: Option<(String, u64, u64)>,
    pub(super) stream: &'a str,
    pub(super) sequence: u64,
}

impl<'a> Facts<'a> {
    pub(super) fn of(message: &'a Message, stream: &'a str) -> Self {
        let (block, event) = (message.block(), message.event());
        let place = message.sequence().saturating_sub(block.stream_sequence());
        let entered = block.stamp().map(|stamp| {
            let sequence = stamp.sequence.saturating_add(place);
            (stamp.origin.to_string(), u64::from(stamp.epoch.0), sequence)
        });
        Self {
            topic: message.topic(),
            key: event.key,
            payload: event.payload,
            headers: event.headers.iter().collect(),
            time: event.time,
            entered,
            stream,
            sequence: message.sequence(),
        }
    }

    /// What it is known by, the same at each try and at each home of its stream.
    pub(super) fn id(&self) -> String {
        match &self.entered {
            Some((hub, epoch, sequence)) => format!("{hub}-{epoch}-{sequence}"),
            None => format!("{}-{}", self.stream, self.sequence),
        }
    }

    /// The whole.
    pub(super) fn json(&self) -> Vec<u8> {
        let mut all = Map::new();
        for (name, value) in &self.headers {
            let Some(name) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) else { continue };
            let fits = (1..=MAX_NAME).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            if fits
                && !["data", "database64", "datacontenttype"].contains(&name)
                && let Ok(text) = std::str::from_utf8(value)
            {
                all.insert(name.to_owned(), text.into());
            }
        }
        let mut or = |name: &str, value: String| {
            all.entry(name).or_insert_with(|| value.into());
        };
        or("id", self.id());
        or("source", format!("/weft/{}", self.entered.as_ref().map_or(self.stream, |(hub, _, _)| hub)));
        or("type", TYPE.to_owned());
        or("subject", self.topic.to_owned());
        or("time", rfc3339(self.time));
        or("wefttopic", self.topic.to_owned());
        or("weftstream", self.stream.to_owned());
        or("weftsequence", self.sequence.to_string());
        if let Ok(key) = std::str::from_utf8(self.key)
            && !key.is_empty()
        {
            or("partitionkey", key.to_owned());
        }
        all.insert("specversion".to_owned(), "1.0".into());
        let content = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let content = content.and_then(|(_, value)| std::str::from_utf8(value).ok());
        if let Some(content) = content {
            all.insert("datacontenttype".to_owned(), content.into());
        }
        // Without a type, data of the JSON format is JSON: only what says so goes as such.
        let is_json = content.is_some_and(is_json);
        match serde_json::from_slice::<Value>(self.payload) {
            Ok(value) if is_json => drop(all.insert("data".to_owned(), value)),
            _ => match std::str::from_utf8(self.payload) {
                Ok(text) if !is_json => {
                    all.entry("datacontenttype").or_insert_with(|| "text/plain".into());
                    all.insert("data".to_owned(), text.into());
                }
                _ => {
                    all.insert("data_base64".to_owned(), STANDARD.encode(self.payload).into());
                }
            },
        }
        Value::Object(all).to_string().into_bytes()
    }
}

fn is_json(content: &str) -> bool {
    let name = content.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    name == "application/json" || name == "text/json" || name.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weft_base::UnixNanos;

    use super::*;

    fn of(headers: &[(&'static str, &'static [u8])], payload: &'static [u8]) -> Value {
        let facts = Facts {
            topic: "orders/eu",
            key: b"k",
            payload,
            headers: headers.to_vec(),
            time: UnixNanos(1_000_000_000),
            entered: Some(("a1".to_owned(), 7, 42)),
            stream: "orders",
            sequence: 9,
        };
        serde_json::from_slice(&facts.json()).expect("JSON")
    }

    #[test]
    fn an_event_has_all_that_a_cloudevent_must_have_and_one_stays_what_it_was() {
        let plain = of(&[], b"text");
        let wanted = json!({
            "specversion": "1.0", "id": "a1-7-42", "source": "/weft/a1", "type": "weft.event", "subject": "orders/eu",
            "time": "1970-01-01T00:00:01.000000Z", "wefttopic": "orders/eu", "weftstream": "orders",
            "weftsequence": "9", "partitionkey": "k", "datacontenttype": "text/plain", "data": "text",
        });
        assert_eq!(plain, wanted);
        let own: &[(&str, &[u8])] = &[
            ("ce-id", b"7"),
            ("ce-source", b"/shop"),
            ("ce-type", b"placed"),
            ("ce-tier", b"gold"),
            ("ce-Bad", b"x"),
            ("ce-data", b"x"),
            ("ce-raw", b"\xff"),
            ("content-type", b"application/json"),
        ];
        let event = of(own, br#"{"total": 12}"#);
        for (name, value) in [
            ("id", json!("7")),
            ("source", json!("/shop")),
            ("type", json!("placed")),
            ("tier", json!("gold")),
            ("data", json!({"total": 12})),
            ("datacontenttype", json!("application/json")),
            ("specversion", json!("1.0")),
        ] {
            assert_eq!(event[name], value, "{event}");
        }
        assert!(event.get("raw").is_none() && event.get("Bad").is_none(), "{event}");
    }

    #[test]
    fn data_that_is_no_text_or_not_what_it_says_is_in_base64() {
        assert_eq!(of(&[], b"\x00\xff")["data_base64"], "AP8=");
        let broken = of(&[("content-type", b"application/json")], b"{");
        assert_eq!((&broken["data_base64"], broken.get("data")), (&json!("ew=="), None));
        assert_eq!(of(&[("content-type", b"text/html; charset=utf-8")], b"<b>")["data"], "<b>");
        assert_eq!(of(&[("ce-specversion", b"9")], b"")["specversion"], "1.0");
    }
}
