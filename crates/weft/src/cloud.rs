//! Events that were delivered, as CloudEvents (crates/cloudevents, ADR 45): for webhooks
//! and for who listens and takes by HTTP. Pure.
//!
//! What was not published as a CloudEvent is known by where it entered the mesh, so
//! that it is the same at each hub and at each home of its stream.

use weft_client::Message;
use weft_cloudevents::{ATTEMPT, CloudEvent, Defaults, Delivered, RECEIPT, SEQUENCE, STREAM};
use weft_wire::Event;
use weft_wire::block::Block;

use crate::time::rfc3339;

/// How an event was handed out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passing<'a> {
    /// The stream that it was read from.
    pub(crate) stream: Option<&'a str>,
    /// How often it was handed out.
    pub(crate) attempt: Option<u32>,
    /// By what it is settled.
    pub(crate) receipt: Option<&'a str>,
}

/// One event of a block; `place`: its place among the block's events.
pub(crate) fn event_of(block: &Block<'_>, event: &Event<'_>, place: u64, passing: Passing<'_>) -> CloudEvent {
    let sequence = block.stream_sequence().saturating_add(place).to_string();
    let attempt = passing.attempt.map(|attempt| attempt.to_string());
    let stream = passing.stream.filter(|_| block.stream_sequence() > 0);
    let known = [
        (STREAM, stream),
        (SEQUENCE, stream.map(|_| sequence.as_str())),
        (ATTEMPT, attempt.as_deref()),
        (RECEIPT, passing.receipt),
    ];
    let known: Vec<(&str, &str)> = known.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let entered = entered(block, place, stream);
    let time = rfc3339(event.time);
    let defaults = Defaults { id: &entered.id, source: &entered.source, time: &time };
    let (topic, key, headers, payload) = (block.topic(), event.key, event.headers, event.payload);
    CloudEvent::of_event(&Delivered { topic, key, headers, payload, passing: &known }, &defaults)
}

/// What a consumer was handed out, in structured mode; `receipt`: by what it is settled.
pub(crate) fn handed_out(message: &Message, stream: &str, receipt: Option<&str>) -> CloudEvent {
    let block = message.block();
    let passing = Passing { stream: Some(stream), attempt: receipt.map(|_| message.attempt()), receipt };
    event_of(&block, &message.event(), place_of(message), passing)
}

/// By what a message of a stream is known, the same at each try and at each home.
pub(crate) fn id_of(message: &Message, stream: &str) -> String {
    entered(&message.block(), place_of(message), Some(stream)).id
}

fn place_of(message: &Message) -> u64 {
    message.sequence().saturating_sub(message.block().stream_sequence())
}

struct Entered {
    id: String,
    source: String,
}

/// Where it entered the mesh: the hub by its number, the epoch and the sequence there.
fn entered(block: &Block<'_>, place: u64, stream: Option<&str>) -> Entered {
    match (block.stamp(), stream) {
        (Some(stamp), _) => {
            let sequence = stamp.sequence.saturating_add(place);
            let id = format!("{}/{}/{sequence}", stamp.origin, stamp.epoch.0);
            Entered { id, source: format!("/weft/{}", stamp.origin) }
        }
        (None, stream) => {
            let sequence = block.stream_sequence().saturating_add(place);
            let stream = stream.unwrap_or_default();
            Entered { id: format!("{stream}/{sequence}"), source: format!("/weft/{stream}") }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use weft_base::{Epoch, HubId, UnixNanos};
    use weft_wire::block::{BlockFields, BlockWriter, EventFields, Stamp, StreamPlace, set_stream_place, stamp};
    use weft_wire::headers::HeadersWriter;

    use super::*;

    /// The second event of a block of the stream `orders`.
    fn of(headers: &[(&str, &[u8])], payload: &[u8]) -> Value {
        let mut encoded = Vec::new();
        let mut writer = HeadersWriter::new(&mut encoded);
        for (name, value) in headers {
            writer.push(name, value).expect("a header");
        }
        let mut bytes = vec![0; 4096];
        let mut writer = BlockWriter::new(&mut bytes, &BlockFields::new("orders/eu")).expect("a block");
        let fields = EventFields { time: UnixNanos(1_000_000_000), key: b"k", headers: &encoded, payload };
        writer.push(&EventFields::default()).expect("an event");
        writer.push(&fields).expect("an event");
        let len = writer.finish().expect("a block");
        bytes.truncate(len);
        let entered = Stamp { origin: HubId(0xa1), epoch: Epoch(7), block: 1, sequence: 41, ingested: UnixNanos(1) };
        stamp(&mut bytes, &entered).expect("a stamp");
        set_stream_place(&mut bytes, StreamPlace { local: 8, home: 1, home_sequence: 8 }).expect("a place");
        let block = Block::validate(&bytes).expect("a block");
        let event = block.events().nth(1).expect("an event");
        let passing = Passing { stream: Some("orders"), attempt: Some(2), receipt: Some("7-9") };
        serde_json::from_str(&event_of(&block, &event, 1, passing).to_structured()).expect("JSON")
    }

    #[test]
    fn an_event_has_all_that_a_cloudevent_must_have_and_one_stays_what_it_was() {
        let hub = HubId(0xa1).to_string();
        let wanted = json!({
            "specversion": "1.0", "id": format!("{hub}/7/42"), "source": format!("/weft/{hub}"), "type": "weft.event",
            "subject": "orders/eu", "time": "1970-01-01T00:00:01.000000Z", "wefttopic": "orders/eu",
            "weftstream": "orders", "weftsequence": "9", "weftattempt": "2", "weftreceipt": "7-9",
            "partitionkey": "k", "datacontenttype": "text/plain", "data": "text",
        });
        assert_eq!(of(&[], b"text"), wanted);
        let own: &[(&str, &[u8])] = &[
            ("ce-specversion", b"1.0"),
            ("ce-id", b"7"),
            ("ce-source", b"/shop"),
            ("ce-type", b"placed"),
            ("ce-tier", b"gold"),
            ("ce-weftreceipt", b"forged"),
            ("ce-Bad", b"x"),
            ("ce-data", b"x"),
            ("ce-raw", b"\xff"),
            ("content-type", b"application/json"),
        ];
        let event = of(own, br#"{"total": 12}"#);
        let wanted = json!({
            "specversion": "1.0", "id": "7", "source": "/shop", "type": "placed", "tier": "gold",
            "wefttopic": "orders/eu", "weftstream": "orders", "weftsequence": "9", "weftattempt": "2",
            "weftreceipt": "7-9", "partitionkey": "k", "datacontenttype": "application/json", "data": {"total": 12},
        });
        assert_eq!(event, wanted);
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
