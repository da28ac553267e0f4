//! Tests of the consumer: examples of each behaviour, long random histories
//! against a model, and the bytes of what is saved.

mod examples;
mod model;
mod saved;

use std::time::Duration;

use weft_base::{HubId, Mono, Now, UnixNanos};
use weft_wire::block::layout::EXPIRES;
use weft_wire::block::{Block, BlockFields, BlockWriter, EventFields, Stamp, stamp};
use weft_wire::headers::HeadersWriter;
use weft_wire::headers::names::TTL;

use super::{Consumer, Handout, MemberId, Offered};

/// One event of a test.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    key: &'static str,
    ttl_ms: Option<u64>,
    payload: u8,
}

fn block(topic: &str, samples: &[Sample], ingested: UnixNanos) -> Vec<u8> {
    let mut fields = BlockFields::new(topic);
    if samples.iter().any(|sample| sample.ttl_ms.is_some()) {
        fields.flags = EXPIRES;
    }
    let mut bytes = vec![0; 256 + samples.len() * 96];
    let mut writer = BlockWriter::new(&mut bytes, &fields).expect("room");
    for sample in samples {
        let mut headers = Vec::new();
        let mut list = HeadersWriter::new(&mut headers);
        if let Some(ttl) = sample.ttl_ms {
            list.push(TTL, &ttl.to_le_bytes()).expect("a header");
        }
        let payload = [sample.payload];
        let event =
            EventFields { key: sample.key.as_bytes(), headers: &headers, payload: &payload, ..Default::default() };
        writer.push(&event).expect("room");
    }
    let len = writer.finish().expect("events");
    bytes.truncate(len);
    let stamped = Stamp { origin: HubId(1), epoch: weft_base::Epoch(1), block: 1, sequence: 1, ingested };
    stamp(&mut bytes, &stamped).expect("a new block");
    bytes
}

/// A stream in memory.
#[derive(Clone, Debug, Default)]
struct Stream {
    blocks: Vec<(u64, Vec<u8>)>,
    end: u64,
}

impl Stream {
    fn new() -> Self {
        Self { blocks: Vec::new(), end: 1 }
    }

    fn push(&mut self, topic: &str, samples: &[Sample], ingested: UnixNanos) {
        self.blocks.push((self.end, block(topic, samples, ingested)));
        self.end += samples.len() as u64;
    }

    fn holding(&self, sequence: u64) -> Option<(u64, Block<'_>)> {
        let at = self.blocks.partition_point(|(first, _)| *first <= sequence).checked_sub(1)?;
        let (first, bytes) = self.blocks.get(at)?;
        (sequence < self.end).then(|| (*first, Block::trusted(bytes)))
    }

    /// Lets a consumer read until nothing is to be read.
    fn pump(&self, consumer: &mut Consumer, now: Now) -> Vec<Handout> {
        let mut out = Vec::new();
        while let Some(read) = consumer.next_read(now) {
            let Some((first, block)) = self.holding(read.from) else { break };
            consumer.offer(Offered { first, block, len: block.len() }, read.again, now, &mut out);
        }
        out
    }
}

const WALL: u64 = 1_700_000_000_000_000_000;

fn at(ms: u64) -> Now {
    Now { mono: Mono(ms * 1_000_000), wall: UnixNanos(WALL + ms * 1_000_000) }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The sequences of handouts, by member and attempt.
fn sequences(handouts: &[Handout]) -> Vec<(MemberId, u32, Vec<u64>)> {
    let all = |handout: &Handout| {
        let runs = handout.runs.as_slice().iter();
        runs.flat_map(|(from, count)| (0..u64::from(*count)).map(move |n| u64::from(*from) + n))
            .map(|n| handout.first + n)
            .collect()
    };
    handouts.iter().map(|handout| (handout.member, handout.attempt, all(handout))).collect()
}
