//! Events as the page shows them: the payload by its schema ([`Schemas`]), as JSON, as
//! text, or in hexadecimal. Never as anything that a browser would run.

use std::sync::Arc;

use serde_json::{Value, json};
use weft_client::Delivery;
use weft_govern::Kind;
use weft_hub::govern::Aside;
use weft_schema::checker::Shown;
use weft_wire::block::Event;

use super::super::registry::desk::{Desk, Piece};

/// The most bytes of a text.
pub(super) const MOST: usize = 4 << 10;
/// The most bytes of a payload that is looked at for JSON.
const MOST_JSON: usize = 64 << 10;
/// The most headers.
const MOST_HEADERS: usize = 32;
/// The most bytes of a payload that is read by its schema, and of all of a delivery.
const MOST_READ: usize = 64 << 10;
const MOST_READ_AT_ONCE: usize = 1 << 20;

/// Reads payloads by their schemas.
pub(super) struct Schemas {
    pub(super) desk: Desk,
    pub(super) aside: Arc<Aside>,
}

impl Schemas {
    /// The payloads of a delivery, in order; what is beyond the bounds, or comes while
    /// the registry is busy, is not read.
    async fn read(&self, delivery: &Delivery) -> Vec<Option<Shown>> {
        let state = self.aside.state();
        if state.of_kind(Kind::Schema).next().is_none() {
            return Vec::new();
        }
        let topic: Arc<str> = delivery.topic().into();
        let schema = delivery.block().schema();
        let mut left = MOST_READ_AT_ONCE;
        let (mut pieces, mut places) = (Vec::new(), Vec::new());
        let mut all = 0;
        for (place, event) in delivery.events().enumerate() {
            all = place + 1;
            let bytes = event.payload.len();
            if bytes <= MOST_READ.min(left) {
                left -= bytes;
                places.push(place);
                pieces.push(Piece { topic: topic.clone(), schema, payload: event.payload.to_vec() });
            }
        }
        let mut shown = vec![None; all];
        let read = self.desk.show(state, pieces, MOST).await.unwrap_or_default();
        for (place, one) in places.into_iter().zip(read) {
            if let Some(slot) = shown.get_mut(place) {
                *slot = one;
            }
        }
        shown
    }
}

/// The events of a delivery; `origin` says the name of a hub.
pub(super) async fn events(
    delivery: &Delivery,
    schemas: &Schemas,
    origin: impl Fn(weft_base::HubId) -> String,
) -> Vec<Value> {
    let mut read = schemas.read(delivery).await.into_iter();
    let stamp = delivery.stamp();
    let block = delivery.block();
    let (first, lane) = (delivery.stream_sequence(), block.lane().get());
    // The first of the delivery's events may not be the first of its block.
    let skipped = delivery.first_sequence() - block.first_sequence();
    let name = stamp.map(|stamp| (origin(stamp.origin), stamp.epoch.0, stamp.sequence + skipped));
    let at = delivery.ingested().0 / 1_000_000;
    let event = |(index, event): (u64, Event<'_>)| {
        let id = name
            .as_ref()
            .map_or_else(String::new, |(hub, epoch, sequence)| format!("{hub}/{epoch}/{}", sequence + index));
        let headers: Vec<[String; 2]> = event
            .headers
            .iter()
            .take(MOST_HEADERS)
            .map(|(name, value)| [name.to_owned(), cut(&String::from_utf8_lossy(value)).0])
            .collect();
        let key = (!event.key.is_empty()).then(|| cut(&String::from_utf8_lossy(event.key)).0);
        json!({
            "id": id, "sequence": (first > 0).then_some(first + index), "topic": delivery.topic(), "at": at,
            "lane": lane, "key": key, "headers": headers, "payload": payload(event.payload, read.next().flatten()),
        })
    };
    (0..).zip(delivery.events()).map(event).collect()
}

/// A payload, and how it reads by its schema.
fn payload(bytes: &[u8], shown: Option<Shown>) -> Value {
    let length = bytes.len();
    if let Some(Shown { by, text }) = shown {
        let (text, is_cut) = (cut(&text.text), text.is_cut);
        return json!({
            "kind": "json", "text": text.0, "length": length, "cut": is_cut || text.1, "schema": by,
        });
    }
    let is_text = |text: &str| !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
    let (kind, (text, is_cut)) = match std::str::from_utf8(bytes) {
        Ok(text) if is_json(bytes) => ("json", cut(text)),
        Ok(text) if is_text(text) => ("text", cut(text)),
        _ => {
            let shown = bytes.get(..length.min(MOST / 3)).unwrap_or_default();
            let text: Vec<String> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            ("hex", (text.join(" "), shown.len() < length))
        }
    };
    json!({"kind": kind, "text": text, "length": length, "cut": is_cut, "schema": Value::Null})
}

fn is_json(bytes: &[u8]) -> bool {
    bytes.len() <= MOST_JSON && matches!(serde_json::from_slice::<Value>(bytes), Ok(Value::Object(_) | Value::Array(_)))
}

/// The beginning of a text, and whether that is not all.
fn cut(text: &str) -> (String, bool) {
    let end = text.floor_char_boundary(MOST);
    (text.get(..end).unwrap_or_default().to_owned(), end < text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_json_or_text_or_hexadecimal_and_cut_where_it_is_long() {
        let payload = |bytes: &[u8]| super::payload(bytes, None);
        let kind = |bytes: &[u8]| payload(bytes)["kind"].as_str().expect("a word").to_owned();
        assert_eq!(kind(br#"{"id": 9007199254740993}"#), "json");
        assert_eq!(payload(br#"{"id": 9007199254740993}"#)["text"], r#"{"id": 9007199254740993}"#, "as it came");
        assert_eq!((kind(b"B6 725 is off"), kind(b"7"), kind(b"")), ("text".into(), "text".into(), "text".into()));
        assert_eq!(kind(b"{\"a\":"), "text");
        assert_eq!(
            payload(b"\x00\xff"),
            json!({"kind": "hex", "text": "00 ff", "length": 2, "cut": false, "schema": null})
        );
        assert_eq!(kind(b"\x1b[2J"), "hex", "what a terminal would do is not done");
        let long = payload("\u{fc}".repeat(9_000).as_bytes());
        assert_eq!((&long["cut"], &long["length"]), (&json!(true), &json!(18_000)));
        assert!(long["text"].as_str().is_some_and(|text| text.len() <= MOST));
        assert!(payload(&[0xff; 9_000])["text"].as_str().is_some_and(|text| text.len() <= MOST));
        let deep = payload("[".repeat(60_000).as_bytes());
        assert_eq!(deep["kind"], "text", "and no end of the stack");
    }
}
