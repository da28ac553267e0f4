//! Events as they are printed.

use std::io::{self, Write};

use serde_json::{Map, Value, json};
use weft_client::{Delivery, Gap, LastValue, Message};
use weft_mesh::ledger::DropReason;

use crate::cli::Format;
use crate::time::rfc3339;

/// Prints up to `most` events of a delivery; answers how many.
pub(crate) fn print(out: &mut impl Write, format: Format, delivery: &Delivery, most: u64) -> io::Result<u64> {
    let topic = delivery.topic();
    let mut printed = 0;
    for event in delivery.events().take(usize::try_from(most).unwrap_or(usize::MAX)) {
        match format {
            Format::Human => writeln!(out, "{topic}  {}", String::from_utf8_lossy(event.payload))?,
            Format::Json => writeln!(out, "{}", object(delivery, printed, &event))?,
            Format::Raw => {
                out.write_all(event.payload)?;
                out.write_all(b"\n")?;
            }
        }
        printed += 1;
    }
    Ok(printed)
}

/// Prints an event that a consumer was handed out.
pub(crate) fn print_message(out: &mut impl Write, format: Format, message: &Message) -> io::Result<()> {
    let event = message.event();
    match format {
        Format::Human => writeln!(out, "{}  {}", message.topic(), String::from_utf8_lossy(event.payload)),
        Format::Json => {
            let mut object = common(message.topic(), &event);
            object.insert("lane".to_owned(), message.block().lane().get().into());
            object.insert("streamSequence".to_owned(), message.sequence().into());
            object.insert("attempt".to_owned(), message.attempt().into());
            writeln!(out, "{}", Value::Object(object))
        }
        Format::Raw => {
            out.write_all(event.payload)?;
            out.write_all(b"\n")
        }
    }
}

/// Prints a last value.
pub(crate) fn print_last(out: &mut impl Write, format: Format, value: &LastValue) -> io::Result<()> {
    let event = value.event();
    match format {
        Format::Human if event.key.is_empty() => {
            writeln!(out, "{}  {}", value.topic(), String::from_utf8_lossy(event.payload))
        }
        Format::Human => {
            let (key, payload) = (String::from_utf8_lossy(event.key), String::from_utf8_lossy(event.payload));
            writeln!(out, "{}  {key}  {payload}", value.topic())
        }
        Format::Json => writeln!(out, "{}", last_object(value)),
        Format::Raw => {
            out.write_all(event.payload)?;
            out.write_all(b"\n")
        }
    }
}

/// A last value as a JSON object.
pub(crate) fn last_object(value: &LastValue) -> Value {
    let mut object = common(value.topic(), &value.event());
    object.insert("streamSequence".to_owned(), value.sequence().into());
    object.insert("homeSequence".to_owned(), value.home_sequence().into());
    Value::Object(object)
}

/// What an event says by itself. A payload that is UTF-8 is `payload`, another
/// one `payloadBase64`; a payload that is JSON is a text all the same.
fn common(topic: &str, event: &weft_wire::Event<'_>) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("topic".to_owned(), topic.into());
    object.insert("time".to_owned(), rfc3339(event.time).into());
    if !event.key.is_empty() {
        object.insert("key".to_owned(), String::from_utf8_lossy(event.key).into());
    }
    let headers: Map<String, Value> =
        event.headers.iter().map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value).into())).collect();
    if !headers.is_empty() {
        object.insert("headers".to_owned(), headers.into());
    }
    match std::str::from_utf8(event.payload) {
        Ok(text) => object.insert("payload".to_owned(), text.into()),
        Err(_) => object.insert("payloadBase64".to_owned(), base64(event.payload).into()),
    };
    object
}

/// One event as a JSON object.
fn object(delivery: &Delivery, index: u64, event: &weft_wire::Event<'_>) -> Value {
    let block = delivery.block();
    let mut object = common(delivery.topic(), event);
    object.insert("lane".to_owned(), block.lane().get().into());
    if let Some(stamp) = delivery.stamp() {
        object.insert(
            "origin".to_owned(),
            json!({
                "hub": stamp.origin.to_string(),
                "epoch": stamp.epoch.0,
                // The stamp counts from the block's first event, which may have been skipped.
                "sequence": stamp.sequence + (delivery.first_sequence() - block.first_sequence()) + index,
                "time": rfc3339(stamp.ingested),
            }),
        );
    }
    if delivery.stream_sequence() != 0 {
        object.insert("streamSequence".to_owned(), (delivery.stream_sequence() + index).into());
    }
    object.insert("hops".to_owned(), delivery.hops().into());
    Value::Object(object)
}

/// RFC 4648 base64, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |n: u32| char::from(LETTERS[(n & 63) as usize]);
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let n = byte(0) << 16 | byte(1) << 8 | byte(2);
        out.push(letter(n >> 18));
        out.push(letter(n >> 12));
        out.push(if chunk.len() > 1 { letter(n >> 6) } else { '=' });
        out.push(if chunk.len() > 2 { letter(n) } else { '=' });
    }
    out
}

/// Says on stderr what is missing before a delivery.
pub(crate) fn report_gap(delivery: &Delivery) {
    let gap = delivery.gap();
    if gap.events > 0 {
        let reason = DropReason::from_code(gap.reason).map_or("reason unknown", DropReason::sentence);
        eprintln!("weft: {} events were dropped before this one ({reason})", gap.events);
    }
    if gap.reconnected {
        eprintln!("weft: the connection was lost before this one; what was published meanwhile is missing");
    }
}

/// Says what is missing at the end of a stream.
pub(crate) fn report_missing(gap: Gap) {
    if gap.events > 0 {
        let reason = DropReason::from_code(gap.reason).map_or("reason unknown", DropReason::sentence);
        eprintln!("weft: {} events are missing at the end ({reason})", gap.events);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_the_standard() {
        for (plain, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }
}
