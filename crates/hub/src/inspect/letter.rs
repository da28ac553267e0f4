//! What lies in quarantine: each event whole, with its key, its headers and its
//! payload, and beside them in headers why it is there, by which schema, who
//! published it and what it was called. Events of one block that did not fit lie in
//! one block, or in several where one would be longer than a frame may be.
//!
//! An event that is longer than a frame with what is said of it is not put there;
//! its publisher is told.

use std::sync::Arc;

use weft_base::{Epoch, HubId, ProducerId, UnixNanos};
use weft_govern::inspect::Unfit;
use weft_wire::HeadersWriter;
use weft_wire::block::{self, Block, BlockFields, BlockWriter, Event, EventFields, Stamp};
use weft_wire::headers::{HeaderError, names};

/// The flags of the format are about how a block enters a stream: they are not
/// those of what lies in quarantine.
const USERS_FLAGS: u32 = 0x00ff_ffff;

/// Who published it, and the hub that puts it there.
pub(super) struct By<'a> {
    pub(super) who: &'a str,
    pub(super) hub: (HubId, Epoch),
    /// The hub's number of the first letter.
    pub(super) first: u64,
    pub(super) now: UnixNanos,
    /// Bytes of a block at most.
    pub(super) most: usize,
}

/// The blocks for these events of a block, whose format was looked at; each with
/// the number of its events. Or why that cannot be.
pub(super) fn write(
    block: &Block<'_>,
    unfit: &[(u32, Arc<Unfit>)],
    by: &By<'_>,
) -> Result<Vec<(Vec<u8>, u32)>, String> {
    let mut written = Vec::new();
    let mut gathered: Vec<(Event<'_>, Vec<u8>)> = Vec::new();
    let mut bytes = 0;
    let mut wanted = unfit.iter().peekable();
    for (place, event) in (0_u32..).zip(block.events()) {
        let Some((_, why)) = wanted.next_if(|(at, _)| *at == place) else { continue };
        let mut headers = Vec::new();
        let said = headers_of(block, &event, place, why, by, &mut headers);
        let alone = block::block_len(block.topic().len(), [sizes(&event, &headers)].into_iter());
        if said.is_err() || alone > by.most {
            return Err(format!(
                "event {} is too long to lie in quarantine with what is said of it (limits.frame, {} bytes)",
                place + 1,
                by.most
            ));
        }
        if bytes + alone > by.most {
            written.push(finish(block, &gathered, by, written.len())?);
            gathered.clear();
            bytes = 0;
        }
        bytes += alone;
        gathered.push((event, headers));
    }
    if !gathered.is_empty() {
        written.push(finish(block, &gathered, by, written.len())?);
    }
    Ok(written)
}

fn sizes(event: &Event<'_>, headers: &[u8]) -> (usize, usize, usize) {
    (event.key.len(), headers.len(), event.payload.len())
}

fn headers_of(
    block: &Block<'_>,
    event: &Event<'_>,
    place: u32,
    why: &Unfit,
    by: &By<'_>,
    headers: &mut Vec<u8>,
) -> Result<(), HeaderError> {
    let mut out = HeadersWriter::new(headers);
    for (name, value) in event.headers.iter().filter(|(name, _)| !name.starts_with(names::QUARANTINE)) {
        out.push(name, value)?;
    }
    let number = |number: Option<u32>| number.map_or(String::new(), |number| number.to_string());
    out.push(names::QUARANTINE_AT, why.at.as_bytes())?;
    out.push(names::QUARANTINE_RULE, why.rule.as_bytes())?;
    out.push(names::QUARANTINE_TEXT, why.text.as_bytes())?;
    out.push(names::QUARANTINE_SUBJECT, why.subject.as_bytes())?;
    out.push(names::QUARANTINE_VERSION, number(why.version).as_bytes())?;
    out.push(names::QUARANTINE_SCHEMA, number(why.schema).as_bytes())?;
    out.push(names::QUARANTINE_STATE, why.state.to_string().as_bytes())?;
    out.push(names::QUARANTINE_BY, by.who.as_bytes())?;
    let producer = block.producer().0;
    if producer != 0 {
        let sequence = block.first_sequence().saturating_add(place.into());
        out.push(names::QUARANTINE_EVENT, format!("{producer:016x}/{sequence}").as_bytes())?;
    }
    Ok(())
}

fn finish(
    block: &Block<'_>,
    events: &[(Event<'_>, Vec<u8>)],
    by: &By<'_>,
    written: usize,
) -> Result<(Vec<u8>, u32), String> {
    let all = events.iter().map(|(event, headers)| sizes(event, headers));
    let mut bytes = vec![0; block::block_len(block.topic().len(), all)];
    let fields = BlockFields {
        topic: block.topic(),
        lane: block.lane(),
        flags: block.flags() & USERS_FLAGS,
        schema: block.schema(),
        producer: ProducerId(0),
        first_sequence: 0,
        deadline: UnixNanos(0),
        tenant: block.tenant(),
        residency: block.residency(),
    };
    let mut writer = BlockWriter::new(&mut bytes, &fields).map_err(|error| error.to_string())?;
    for (event, headers) in events {
        let fields = EventFields { time: event.time, key: event.key, headers, payload: event.payload };
        writer.push(&fields).map_err(|error| error.to_string())?;
    }
    let len = writer.finish().map_err(|error| error.to_string())?;
    bytes.truncate(len);
    let (origin, epoch) = by.hub;
    let number = by.first.saturating_add(written as u64);
    let stamp = Stamp { origin, epoch, block: number, sequence: number, ingested: by.now };
    block::stamp(&mut bytes, &stamp).map_err(|error| error.to_string())?;
    Ok((bytes, events.len() as u32))
}

#[cfg(test)]
mod tests {
    use weft_govern::document::Check;

    use super::*;

    fn block_of(payloads: &[&[u8]]) -> Vec<u8> {
        let len = block::block_len(3, payloads.iter().map(|payload| (2, 0, payload.len())));
        let mut bytes = vec![0; len];
        let fields =
            BlockFields { producer: ProducerId(0xab), first_sequence: 40, schema: 7, ..BlockFields::new("a/b") };
        let mut writer = BlockWriter::new(&mut bytes, &fields).expect("it has room");
        for payload in payloads {
            let event = EventFields { time: UnixNanos(9), key: b"ke", payload, ..Default::default() };
            writer.push(&event).expect("it has room");
        }
        writer.finish().expect("there are events");
        bytes
    }

    fn why() -> Arc<Unfit> {
        Arc::new(Unfit {
            check: Check::Quarantine,
            subject: "orders".into(),
            version: Some(2),
            schema: None,
            state: 17,
            at: "/total".into(),
            rule: "type".into(),
            text: "no number".into(),
            quarantine: Some("bad".into()),
            tenant: None,
        })
    }

    fn by(most: usize) -> By<'static> {
        By { who: "anna", hub: (HubId(3), Epoch(1)), first: 5, now: UnixNanos(77), most }
    }

    #[test]
    fn an_event_in_quarantine_is_whole_and_says_why_by_whom_and_what_it_was() {
        let bytes = block_of(&[b"good", b"bad", b"worse"]);
        let block = Block::validate(&bytes).expect("a block");
        let written = write(&block, &[(1, why()), (2, why())], &by(1 << 20)).expect("it can be written");
        assert_eq!(written.iter().map(|(_, events)| *events).collect::<Vec<_>>(), [2]);
        let letter = Block::validate(&written[0].0).expect("a whole block");
        assert_eq!((letter.topic(), letter.schema(), letter.producer()), ("a/b", 7, ProducerId(0)));
        let event = letter.events().nth(1).expect("the second");
        assert_eq!((event.key, event.payload, event.time), (&b"ke"[..], &b"worse"[..], UnixNanos(9)));
        let said = |name: &str| event.headers.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
        for (name, value) in [
            (names::QUARANTINE_AT, "/total"),
            (names::QUARANTINE_RULE, "type"),
            (names::QUARANTINE_TEXT, "no number"),
            (names::QUARANTINE_SUBJECT, "orders"),
            (names::QUARANTINE_VERSION, "2"),
            (names::QUARANTINE_SCHEMA, ""),
            (names::QUARANTINE_STATE, "17"),
            (names::QUARANTINE_BY, "anna"),
            (names::QUARANTINE_EVENT, "00000000000000ab/42"),
        ] {
            assert_eq!(said(name).as_deref(), Some(value), "{name}");
        }
    }

    #[test]
    fn what_would_be_longer_than_a_frame_lies_in_several_and_what_is_too_long_alone_is_refused() {
        let payload = vec![b'x'; 900];
        let bytes = block_of(&[&payload, &payload, &payload]);
        let block = Block::validate(&bytes).expect("a block");
        let unfit = [(0, why()), (1, why()), (2, why())];
        let written = write(&block, &unfit, &by(3_500)).expect("they can be written");
        assert_eq!(written.iter().map(|(_, events)| *events).collect::<Vec<_>>(), [2, 1]);
        for (letter, _) in &written {
            assert!(Block::validate(letter).is_ok() && letter.len() <= 3_500);
        }
        let refused = write(&block, &unfit, &by(1_000)).expect_err("none fits");
        assert!(refused.contains("event 1 is too long"), "{refused}");
    }
}
