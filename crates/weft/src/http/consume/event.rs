//! Events as JSON, and as server-sent events (WHATWG HTML, 9.2), whatever bytes they
//! are of: what is no UTF-8 stands in base64, under a name that says so. Pure.
//!
//! A line feed can be in no JSON but as an escape, so one event is one line of `data`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use weft_base::HubId;
use weft_client::{Delivery, Gap, HubInfo, Message};
use weft_mesh::ledger::DropReason;
use weft_wire::Event;
use weft_wire::block::Block;

use crate::cloud::{self, Passing};
use crate::time::rfc3339;

/// The hub that answers, by whose name its own events are called.
#[derive(Clone, Debug)]
pub(in crate::http) struct Here {
    id: HubId,
    name: String,
}

impl Here {
    pub(in crate::http) fn of(hub: HubInfo) -> Self {
        Self { id: hub.id, name: hub.name }
    }

    fn name_of(&self, hub: HubId) -> Cow<'_, str> {
        if hub == self.id { Cow::Borrowed(&self.name) } else { Cow::Owned(hub.to_string()) }
    }
}

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// As objects of our own.
    #[default]
    Own,
    /// As CloudEvents in structured mode.
    CloudEvents,
}

/// One event of a block.
pub(super) struct One<'a> {
    block: Block<'a>,
    event: Event<'a>,
    /// Its place among the block's events.
    place: u64,
}

impl<'a> One<'a> {
    /// The home at which it entered its stream, by its tag, and its sequence there.
    pub(super) fn home(&self) -> Option<(u32, u64)> {
        self.block.home().map(|(home, first)| (home, first.saturating_add(self.place)))
    }
}

/// The events of a delivery, with their places.
pub(super) fn events(delivery: &Delivery) -> impl Iterator<Item = One<'_>> {
    let block = delivery.block();
    let skip = delivery.first_sequence().saturating_sub(block.first_sequence());
    let places = block.events().zip(0_u64..).skip(usize::try_from(skip).unwrap_or(usize::MAX));
    // What compaction took out of a stream only keeps the others' places.
    let is_there = move |event: &Event<'_>| !(block.is_compacted() && event.is_removed());
    let there = places.take(delivery.event_count() as usize).filter(move |(event, _)| is_there(event));
    there.map(move |(event, place)| One { block, event, place })
}

/// Writes an event as a line of data; `stream`: the one that it was read from.
pub(super) fn data(out: &mut Vec<u8>, one: &One<'_>, here: &Here, (form, stream): (Form, Option<&str>)) {
    out.extend_from_slice(b"data: ");
    written(out, one, here, (form, stream));
    out.extend_from_slice(b"\n\n");
}

/// Writes an event in one line, in the form that is asked for.
pub(super) fn written(out: &mut Vec<u8>, one: &One<'_>, here: &Here, (form, stream): (Form, Option<&str>)) {
    match form {
        Form::Own => object(out, one, here),
        Form::CloudEvents => {
            let passing = Passing { stream, ..Passing::default() };
            let event = cloud::event_of(&one.block, &one.event, one.place, passing);
            line(out, &event.to_structured());
        }
    }
}

/// JSON in one line: in none of its texts a line can end, between them it says nothing.
fn line(out: &mut Vec<u8>, json: &str) {
    out.extend(json.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
}

/// Writes an event as an object.
pub(super) fn object(out: &mut Vec<u8>, one: &One<'_>, here: &Here) {
    out.push(b'{');
    fields(out, one, here);
    out.push(b'}');
}

/// Writes an event that a consumer of a stream was handed out as an object.
pub(super) fn handed_out(
    out: &mut Vec<u8>,
    message: &Message,
    receipt: &str,
    here: &Here,
    (form, stream): (Form, &str),
) {
    if form == Form::CloudEvents {
        out.extend_from_slice(cloud::handed_out(message, stream, Some(receipt)).to_structured().as_bytes());
        return;
    }
    let block = message.block();
    let place = message.sequence().saturating_sub(block.stream_sequence());
    out.extend_from_slice(b"{\"receipt\":");
    text(out, receipt);
    out.extend_from_slice(format!(",\"attempt\":{},", message.attempt()).as_bytes());
    fields(out, &One { block, event: message.event(), place }, here);
    out.push(b'}');
}

fn fields(out: &mut Vec<u8>, one: &One<'_>, here: &Here) {
    let One { block, event, place } = one;
    out.extend_from_slice(b"\"topic\":");
    text(out, block.topic());
    if let Some(stamp) = block.stamp() {
        let hub = here.name_of(stamp.origin);
        let sequence = stamp.sequence.saturating_add(*place);
        out.extend_from_slice(b",\"id\":");
        text(out, &format!("{hub}/{}/{sequence}", stamp.epoch.0));
        out.extend_from_slice(b",\"hub\":");
        text(out, &hub);
    }
    out.extend_from_slice(b",\"time\":");
    text(out, &rfc3339(event.time));
    out.extend_from_slice(format!(",\"lane\":{}", block.lane().get()).as_bytes());
    if block.stream_sequence() > 0 {
        let sequence = block.stream_sequence().saturating_add(*place);
        out.extend_from_slice(format!(",\"sequence\":{sequence}").as_bytes());
    }
    if !event.key.is_empty() {
        value(out, "key", event.key);
    }
    for is_text in [true, false] {
        let mut is_first = true;
        for (name, bytes) in event.headers.iter() {
            if std::str::from_utf8(bytes).is_ok() != is_text {
                continue;
            }
            match (is_first, is_text) {
                (true, true) => out.extend_from_slice(b",\"headers\":{"),
                (true, false) => out.extend_from_slice(b",\"headers_base64\":{"),
                (false, _) => out.push(b','),
            }
            is_first = false;
            text(out, name);
            out.push(b':');
            match std::str::from_utf8(bytes) {
                Ok(known) => text(out, known),
                Err(_) => text(out, &STANDARD.encode(bytes)),
            }
        }
        if !is_first {
            out.push(b'}');
        }
    }
    value(out, "payload", event.payload);
}

/// `,"NAME":"TEXT"`, or `,"NAME_base64":"..."`.
fn value(out: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(known) => {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            text(out, known);
        }
        Err(_) => {
            out.extend_from_slice(format!(",\"{name}_base64\":\"").as_bytes());
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.push(b'"');
        }
    }
}

/// A text of JSON.
pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    // Into memory it cannot fail.
    let _ = serde_json::to_writer(&mut *out, text);
}

/// What is missing before what comes next, if anything is.
pub(super) fn gap(out: &mut Vec<u8>, gap: Gap) {
    if !gap.is_none() {
        let reason = DropReason::from_code(gap.reason).filter(|_| gap.events > 0);
        let reason = reason.map_or("the connection was lost", DropReason::sentence);
        missing(out, gap.events, reason, gap.reconnected);
    }
}

/// A mark that so many events are missing.
pub(super) fn missing(out: &mut Vec<u8>, events: u64, reason: &str, reconnected: bool) {
    out.extend_from_slice(format!("event: gap\ndata: {{\"events\":{events},\"reason\":").as_bytes());
    text(out, reason);
    out.extend_from_slice(format!(",\"reconnected\":{reconnected}}}\n\n").as_bytes());
}

/// The last thing that is said: why nothing more comes.
pub(super) fn end(out: &mut Vec<u8>, code: &str, detail: &str) {
    out.extend_from_slice(b"event: end\ndata: {\"code\":");
    text(out, code);
    out.extend_from_slice(b",\"detail\":");
    text(out, detail);
    out.extend_from_slice(b"}\n\n");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use weft_base::UnixNanos;
    use weft_wire::block::{BlockFields, BlockWriter, EventFields};
    use weft_wire::headers::HeadersWriter;

    use super::*;

    fn block(topic: &str, key: &[u8], headers: &[(&str, &[u8])], payload: &[u8]) -> Vec<u8> {
        let mut encoded = Vec::new();
        let mut writer = HeadersWriter::new(&mut encoded);
        for (name, value) in headers {
            writer.push(name, value).expect("a header");
        }
        let mut bytes = vec![0; 4096];
        let mut writer = BlockWriter::new(&mut bytes, &BlockFields::new(topic)).expect("a block");
        let fields = EventFields { time: UnixNanos(1_000_000_000), key, headers: &encoded, payload };
        writer.push(&fields).expect("an event");
        let len = writer.finish().expect("a block");
        bytes.truncate(len);
        bytes
    }

    fn here() -> Here {
        Here { id: HubId(7), name: "alone".to_owned() }
    }

    fn json_of(bytes: &[u8]) -> Value {
        let block = Block::validate(bytes).expect("a block");
        let event = block.events().next().expect("an event");
        let mut out = Vec::new();
        object(&mut out, &One { block, event, place: 0 }, &here());
        assert!(!out.contains(&b'\n') && !out.contains(&b'\r'), "one line");
        serde_json::from_slice(&out).expect("JSON")
    }

    #[test]
    fn an_event_is_an_object_whatever_bytes_it_is_of() {
        let plain = json_of(&block("a/b", b"k", &[("n", b"v")], b"hello\n\"<script>"));
        assert_eq!((&plain["topic"], &plain["key"]), (&json!("a/b"), &json!("k")));
        assert_eq!((&plain["headers"], &plain["payload"]), (&json!({"n": "v"}), &json!("hello\n\"<script>")));
        assert_eq!(plain["time"], json!("1970-01-01T00:00:01.000000Z"));
        let raw = json_of(&block("a", b"\xff", &[("n", b"v"), ("x", b"\xff\xfe")], b"\x00\xff"));
        assert_eq!((&raw["key_base64"], &raw["payload_base64"]), (&json!("/w=="), &json!("AP8=")));
        assert_eq!((&raw["headers"], &raw["headers_base64"]), (&json!({"n": "v"}), &json!({"x": "//4="})));
        assert_eq!((raw.get("key"), raw.get("payload")), (None, None));
        let empty = json_of(&block("a", b"", &[], b""));
        assert_eq!((&empty["payload"], empty.get("key"), empty.get("headers")), (&json!(""), None, None));
    }

    #[test]
    fn what_is_missing_and_why_it_ends_are_events_of_their_own() {
        let mut out = Vec::new();
        missing(&mut out, 3, "a \"reason\"\n", false);
        end(&mut out, "draining", "go");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(
            text,
            "event: gap\ndata: {\"events\":3,\"reason\":\"a \\\"reason\\\"\\n\",\"reconnected\":false}\n\n\
             event: end\ndata: {\"code\":\"draining\",\"detail\":\"go\"}\n\n"
        );
    }
}
