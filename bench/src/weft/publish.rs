//! What raw publishers write: blocks that were built beforehand, and blocks of
//! events with times.

use std::io::Write;

use anyhow::Result;
use weft_base::checksum::crc32c_of_two;
use weft_base::{Lane, UnixNanos};
use weft_wire::block::{HEADER_LEN, block_len, event_len};
use weft_wire::frame::{AckLevel, FRAME_HEADER, publish_head};
use weft_wire::{BlockFields, BlockWriter, EventFields};

use super::connection::Connection;
use crate::nats::BATCH;
use crate::work::Publish;

/// Offsets in a block of what the raw client changes: see `weft_wire::block`.
const FIRST_SEQUENCE: usize = 24;
const CHECKSUM: usize = 60;
/// Bytes of a block that a throughput run fills.
const BLOCK: usize = 32 << 10;
/// What payloads are made of where it does not matter.
pub(super) const ONE: &[u8] = b"x";
/// Events, each a block of its own, that a publisher to many topics writes at once.
const SPREAD: usize = 250;

/// `Publish` frames that are sent again and again with other sequences.
pub(super) struct Prebuilt {
    /// All frames, one behind the other.
    pub(super) bytes: Vec<u8>,
    /// Bytes of one frame.
    frame: usize,
    /// Events of one frame.
    pub(super) events: u64,
}

impl Prebuilt {
    /// `frames` frames of a block of `events` events each, with payloads of this
    /// length cut from `text`, which goes round.
    pub(super) fn new(
        key: &BlockFields<'_>,
        payload: usize,
        events: usize,
        level: AckLevel,
        frames: usize,
        text: &[u8],
    ) -> Result<Self> {
        let (mut bytes, mut frame) = (Vec::new(), 0);
        let mut block = vec![0; block_len(key.topic.len(), (0..events).map(|_| (0, 0, payload)))];
        let mut letters = text.iter().copied().cycle();
        for _ in 0..frames {
            let mut writer = BlockWriter::new(&mut block, key)?;
            for _ in 0..events {
                let payload: Vec<u8> = letters.by_ref().take(payload).collect();
                writer.push(&EventFields { time: UnixNanos(1), key: b"", headers: b"", payload: &payload })?;
            }
            let length = writer.finish()?;
            bytes.extend_from_slice(&publish_head(0, level, length));
            bytes.extend_from_slice(&block[..length]);
            frame = FRAME_HEADER + length;
        }
        Ok(Self { bytes, frame, events: events as u64 })
    }

    /// Gives the frames the requests from `request` on, their blocks the
    /// sequences from `sequence` on and the checksums that go with them; answers the events.
    pub(super) fn stamp(&mut self, request: u64, sequence: u64) -> u64 {
        stamp(&mut self.bytes, self.frame, self.events, request, sequence)
    }
}

fn stamp(frames: &mut [u8], frame: usize, events: u64, request: u64, sequence: u64) -> u64 {
    let mut stamped = 0;
    for (request, frame) in (request..).zip(frames.chunks_exact_mut(frame)) {
        frame[8..16].copy_from_slice(&request.to_le_bytes());
        let block = &mut frame[FRAME_HEADER..];
        block[FIRST_SEQUENCE..FIRST_SEQUENCE + 8].copy_from_slice(&(sequence + stamped).to_le_bytes());
        let checksum = crc32c_of_two(&block[..CHECKSUM], &block[HEADER_LEN..]);
        block[CHECKSUM..CHECKSUM + 4].copy_from_slice(&checksum.to_le_bytes());
        stamped += events;
    }
    stamped
}

/// How many events of this payload a block of [`BLOCK`] bytes holds.
fn per_block(topic: &str, payload: usize) -> usize {
    let free = BLOCK - FRAME_HEADER - block_len(topic.len(), std::iter::empty());
    (free / event_len(0, 0, payload)).max(1)
}

pub(super) struct Publisher {
    connection: Connection,
    topic: String,
    lane: Lane,
    payload: Vec<u8>,
    sequence: u64,
    batch: Prebuilt,
    stamped: Vec<u8>,
}

impl Publisher {
    /// Of payloads of this length, cut from `text`.
    pub(super) fn new(connection: Connection, topic: &str, payload: usize, lane: Lane, text: &[u8]) -> Result<Self> {
        let fields = BlockFields { producer: connection.producer, lane, ..BlockFields::new(topic) };
        let events = per_block(topic, payload);
        let frames = BATCH.div_ceil(BLOCK.max(payload));
        let batch = Prebuilt::new(&fields, payload, events, AckLevel::None, frames, text)?;
        Ok(Self {
            connection,
            topic: topic.to_owned(),
            lane,
            payload: text.iter().copied().cycle().take(payload).collect(),
            sequence: 1,
            batch,
            stamped: vec![0; 256 << 10],
        })
    }
}

impl Publish for Publisher {
    fn batch(&mut self) -> Result<u64> {
        let events = self.batch.stamp(0, self.sequence);
        self.sequence += events;
        self.connection.socket.write_all(&self.batch.bytes)?;
        Ok(events)
    }

    fn stamped(&mut self, times: &[u64]) -> Result<()> {
        let fields = BlockFields {
            producer: self.connection.producer,
            first_sequence: self.sequence,
            lane: self.lane,
            ..BlockFields::new(&self.topic)
        };
        let (head, room) = self.stamped.split_at_mut(FRAME_HEADER);
        let mut writer = BlockWriter::new(room, &fields)?;
        for time in times {
            self.payload[..8].copy_from_slice(&time.to_le_bytes());
            writer.push(&EventFields { time: UnixNanos(1), key: b"", headers: b"", payload: &self.payload })?;
        }
        let length = writer.finish()?;
        head.copy_from_slice(&publish_head(0, AckLevel::None, length));
        self.sequence += times.len() as u64;
        Ok(self.connection.socket.write_all(&self.stamped[..FRAME_HEADER + length])?)
    }
}

/// One event each to many topics in turn; a block has one topic, so each event is a block.
pub(super) struct Spread {
    connection: Connection,
    all: Vec<u8>,
    frame: usize,
    /// Where in `all` the next batch begins.
    at: usize,
    sequence: u64,
}

impl Spread {
    /// To topics of one length.
    pub(super) fn new(connection: Connection, topics: &[String], payload: usize) -> Result<Self> {
        let (mut all, mut frame) = (Vec::new(), 0);
        for topic in topics {
            let fields = BlockFields { producer: connection.producer, ..BlockFields::new(topic) };
            let one = Prebuilt::new(&fields, payload, 1, AckLevel::None, 1, ONE)?;
            frame = one.frame;
            all.extend_from_slice(&one.bytes);
        }
        Ok(Self { connection, all, frame, at: 0, sequence: 1 })
    }
}

impl Publish for Spread {
    fn batch(&mut self) -> Result<u64> {
        let end = (self.at + SPREAD * self.frame).min(self.all.len());
        let frames = &mut self.all[self.at..end];
        let events = stamp(frames, self.frame, 1, 0, self.sequence);
        self.connection.socket.write_all(frames)?;
        self.sequence += events;
        self.at = if end == self.all.len() { 0 } else { end };
        Ok(events)
    }

    fn stamped(&mut self, _times: &[u64]) -> Result<()> {
        anyhow::bail!("a publisher to many topics carries no times")
    }
}

#[cfg(test)]
mod tests {
    use weft_base::ProducerId;
    use weft_wire::Block;
    use weft_wire::frame::Frame;

    use super::*;

    #[test]
    fn a_prebuilt_block_is_valid_with_every_sequence() {
        let fields = BlockFields { producer: ProducerId(7), ..BlockFields::new("bench/a") };
        let mut blocks = Prebuilt::new(&fields, 128, 100, AckLevel::Synced, 2, b"text").unwrap();
        for (request, sequence) in [(0, 1), (2, 201), (4, u64::MAX / 2)] {
            assert_eq!(blocks.stamp(request, sequence), 200);
            for (number, frame) in (0..).zip(blocks.bytes.chunks_exact(blocks.frame)) {
                let Frame::Publish(publish) = Frame::decode(frame).unwrap() else { panic!("not a publish") };
                let read = Block::validate(publish.block).unwrap();
                let expected = (request + number, sequence + 100 * number, 100);
                assert_eq!((publish.request, read.first_sequence(), read.event_count()), expected);
            }
        }
    }
}
