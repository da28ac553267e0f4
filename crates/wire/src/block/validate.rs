//! Whether bytes are a block: once per block at each hub, so it is written to
//! run at the speed of memory.

use weft_base::checksum::{crc32c, crc32c_of_two};
use weft_base::{Lane, Way};
use zerocopy::{FromBytes, IntoBytes};

use super::layout::{
    EVENT_HEADER_LEN, EventHeader, HEADER_LEN, HUB_CHECKSUM, HUB_LINE, Header, MAGIC, MAX_BLOCK, MAX_EVENTS, MAX_TOPIC,
    MIN_BLOCK, PRODUCER_CHECKSUM, VERSION,
};
use super::{BlockError, Clause, pad8};
use crate::headers::Headers;

/// The checksum that belongs in the producer's line of these bytes: the
/// CRC-32C of bytes 0 to 60 followed by those from 128 to the end.
#[must_use]
pub fn producer_checksum(block: &[u8]) -> u32 {
    crc32c_of_two(block.get(..PRODUCER_CHECKSUM).unwrap_or_default(), block.get(HEADER_LEN..).unwrap_or_default())
}

/// The checksum that belongs in the hub's line of these bytes: the CRC-32C of
/// bytes 64 to 124.
#[must_use]
pub fn hub_checksum(block: &[u8]) -> u32 {
    crc32c(block.get(HUB_LINE..HUB_CHECKSUM).unwrap_or_default())
}

pub(super) fn validate(bytes: &[u8]) -> Result<&Header, BlockError> {
    let len = bytes.len();
    let Ok((head, _)) = Header::ref_from_prefix(bytes) else {
        return Err(BlockError::new(Clause::Truncated, len, len as u64));
    };
    producer_line(head, len)?;
    // Before the events are looked at: damage on the way is then told from a
    // producer that writes malformed blocks.
    if head.producer.checksum.get() != producer_checksum(bytes) {
        let found = head.producer.checksum.get();
        return Err(BlockError::new(Clause::ProducerChecksum, PRODUCER_CHECKSUM, found.into()));
    }
    hub_line(head, bytes)?;
    let topic_len = usize::from(head.producer.topic_len.get());
    let events = topic(bytes, topic_len)?;
    walk(bytes, events, head.producer.event_count.get())?;
    Ok(head)
}

fn producer_line(head: &Header, len: usize) -> Result<(), BlockError> {
    let line = &head.producer;
    let refuse = |clause, offset, found| Err(BlockError::new(clause, offset, found));
    if line.magic.get() != MAGIC {
        return refuse(Clause::Magic, 4, line.magic.get().into());
    }
    if line.version != VERSION {
        return refuse(Clause::Version, 6, line.version.into());
    }
    if line.length.get() as usize != len || !len.is_multiple_of(8) {
        return refuse(Clause::Length, 0, line.length.get().into());
    }
    if len > MAX_BLOCK {
        return refuse(Clause::TooLarge, 0, line.length.get().into());
    }
    if len < MIN_BLOCK {
        return refuse(Clause::Truncated, len, len as u64);
    }
    if Lane::new(line.lane).is_none() {
        return refuse(Clause::Lane, 7, line.lane.into());
    }
    if line.reserved_50.get() != 0 {
        return refuse(Clause::Reserved, 50, line.reserved_50.get().into());
    }
    if line.reserved_56.get() != 0 {
        return refuse(Clause::Reserved, 56, line.reserved_56.get().into());
    }
    let count = line.event_count.get();
    if count == 0 || count > MAX_EVENTS {
        return refuse(Clause::EventCount, 44, count.into());
    }
    if line.first_sequence.get().checked_add(count.into()).is_none() {
        return refuse(Clause::Sequence, 24, line.first_sequence.get());
    }
    Ok(())
}

fn hub_line(head: &Header, bytes: &[u8]) -> Result<(), BlockError> {
    let line = &head.hub;
    let refuse = |clause, offset, found| Err(BlockError::new(clause, offset, found));
    if line.as_bytes() == [0; 64] {
        return Ok(());
    }
    if line.checksum.get() != hub_checksum(bytes) {
        return refuse(Clause::HubChecksum, HUB_CHECKSUM, line.checksum.get().into());
    }
    for (offset, value) in [(64, line.origin), (80, line.block), (88, line.sequence)] {
        if value.get() == 0 {
            return refuse(Clause::Stamp, offset, 0);
        }
    }
    if line.way.get() >= Way::MOST.into() {
        return refuse(Clause::Way, 76, line.way.get().into());
    }
    if (line.home.get() == 0) != (line.home_sequence.get() == 0) {
        return refuse(Clause::Home, 112, line.home_sequence.get());
    }
    let count = u64::from(head.producer.event_count.get());
    for (offset, first) in [(88, line.sequence), (104, line.stream_sequence), (112, line.home_sequence)] {
        if first.get().checked_add(count).is_none() {
            return refuse(Clause::Sequence, offset, first.get());
        }
    }
    Ok(())
}

/// Answers where the events start.
fn topic(bytes: &[u8], len: usize) -> Result<usize, BlockError> {
    let end = HEADER_LEN + pad8(len);
    if len == 0 || len > MAX_TOPIC || end > bytes.len() {
        return Err(BlockError::new(Clause::TopicLength, 48, len as u64));
    }
    let topic = bytes.get(HEADER_LEN..HEADER_LEN + len).unwrap_or_default();
    if let Err(error) = std::str::from_utf8(topic) {
        let offset = HEADER_LEN + error.valid_up_to();
        return Err(BlockError::new(Clause::TopicUtf8, offset, byte_at(bytes, offset)));
    }
    padding(bytes, end, len)?;
    Ok(end)
}

/// Every event lies within the block, and the last one ends it.
fn walk(bytes: &[u8], start: usize, count: u32) -> Result<(), BlockError> {
    let mut at = start;
    for _ in 0..count {
        let Some(Ok((head, rest))) = bytes.get(at..).map(EventHeader::ref_from_prefix) else {
            return Err(BlockError::new(Clause::EventBounds, at, (bytes.len() - at) as u64));
        };
        let key = usize::from(head.key_len.get());
        let headers = usize::from(head.headers_len.get());
        let payload = head.payload_len.get() as usize;
        // No overflow: two of at most 2^16 and one of at most 2^32.
        let (key_end, headers_end) = (pad8(key), pad8(key) + pad8(headers));
        let end = headers_end + pad8(payload);
        if end > rest.len() {
            return Err(BlockError::new(Clause::EventBounds, at, end as u64));
        }
        let body = at + EVENT_HEADER_LEN;
        padding(bytes, body + end, payload)?;
        if key_end != 0 {
            padding(bytes, body + key_end, key)?;
        }
        if headers != 0 {
            padding(bytes, body + headers_end, headers)?;
            let entries = bytes.get(body + key_end..body + key_end + headers).unwrap_or_default();
            if let Err(error) = Headers::validate(entries) {
                let offset = body + key_end + error.offset();
                return Err(BlockError::new(Clause::Headers, offset, byte_at(bytes, offset)));
            }
        }
        at = body + end;
    }
    if at != bytes.len() {
        return Err(BlockError::new(Clause::Trailing, at, (bytes.len() - at) as u64));
    }
    Ok(())
}

/// The padding of a part of `len` bytes that ends, padded, at `end`: looked at
/// as the upper bytes of the part's last eight.
#[inline]
fn padding(bytes: &[u8], end: usize, len: usize) -> Result<(), BlockError> {
    let used = (len % 8) as u32;
    if used == 0 {
        return Ok(());
    }
    let word = bytes.get(..end).and_then(<[u8]>::last_chunk).map_or(u64::MAX, |last| u64::from_le_bytes(*last));
    let pad = word >> (8 * used);
    if pad == 0 {
        return Ok(());
    }
    let offset = end - 8 + used as usize + (pad.trailing_zeros() / 8) as usize;
    Err(BlockError::new(Clause::Padding, offset, byte_at(bytes, offset)))
}

fn byte_at(bytes: &[u8], offset: usize) -> u64 {
    bytes.get(offset).copied().unwrap_or_default().into()
}
