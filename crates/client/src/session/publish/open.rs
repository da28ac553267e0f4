//! Blocks that fill: an event's bytes are written once, into the buffer that is
//! handed to the network and kept until the acknowledgement.

use std::sync::Arc;
use std::time::Duration;

use weft_base::{Mono, Now, UnixNanos};
use weft_topic::Topic;
use weft_wire::block::layout::EXPIRES;
use weft_wire::block::{BlockFields, BlockWriter, EventFields, MAX_EVENTS, Paused, WriteError, block_len};
use weft_wire::frame::AckLevel;

use super::{BlockTicket, OPEN_TOPICS, Publishing, Spec};
use crate::error::PublishError;
use crate::options::Order;
use crate::ticket::Ticket;

/// A block that fills.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) topic: String,
    pub(super) spec: Spec,
    pub(super) buffer: Vec<u8>,
    /// The writer's place in `buffer`, between two events.
    pub(super) paused: Option<Paused>,
    pub(super) due: Mono,
    /// After this it is of no use.
    pub(super) expires: Option<Mono>,
    pub(super) ticket: Option<Arc<BlockTicket>>,
}

/// A block that is written: the front of a buffer, whose rest is room for
/// another, larger block, once this one is done.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(super) buffer: Vec<u8>,
    pub(super) len: usize,
}

impl Sealed {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

impl Publishing {
    /// Makes room for a block of `topic`, as the order asked for demands, and opens it.
    pub(super) fn open_block(
        &mut self,
        spec: &Spec,
        topic: &str,
        need: usize,
        now: Now,
    ) -> Result<usize, PublishError> {
        Topic::parse(topic)?;
        let len = block_len(topic.len(), std::iter::empty()).saturating_add(need);
        if len > self.most_block {
            return Err(PublishError::TooLarge { len, most: self.most_block });
        }
        let of_lane = |open: &Open| open.spec.lane == spec.lane;
        let side_by_side = match spec.order {
            Order::Publisher => 0,
            Order::Topic => OPEN_TOPICS - 1,
        };
        // A topic's events stay in order also when publishers differ in the rest.
        while let Some(i) = self.open.iter().position(|open| of_lane(open) && open.topic == topic) {
            self.seal(i)?;
        }
        while self.open.iter().filter(|open| of_lane(open)).count() > side_by_side {
            let Some(i) = self.open.iter().position(of_lane) else { break };
            self.seal(i)?;
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        if buffer.len() < len {
            buffer.resize(len.next_power_of_two().min(self.most_block), 0);
        }
        let fields = BlockFields {
            lane: spec.lane,
            schema: spec.schema,
            tenant: spec.tenant,
            residency: spec.residency,
            flags: if spec.ttl.is_some() { EXPIRES } else { 0 },
            producer: self.producer(spec.lane),
            deadline: UnixNanos(spec.deadline.map_or(0, |after| now.wall.0.saturating_add(nanos(after)).max(1))),
            ..BlockFields::new(topic)
        };
        let paused = BlockWriter::new(&mut buffer, &fields)?.pause();
        self.open.push(Open {
            topic: topic.to_owned(),
            spec: spec.clone(),
            buffer,
            paused: Some(paused),
            due: now.mono + spec.linger,
            expires: spec.deadline.map(|after| now.mono + after),
            ticket: (spec.level != AckLevel::None).then(Ticket::new),
        });
        Ok(self.open.len() - 1)
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Open {
    /// Whether `need` more bytes of an event fit a block of `limit` bytes.
    pub(super) fn fits(&self, need: usize, limit: usize) -> bool {
        self.paused.as_ref().is_some_and(|p| p.len().saturating_add(need) <= limit && p.event_count() < MAX_EVENTS)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.paused.as_ref().is_none_or(|p| p.event_count() == 0)
    }

    /// Writes an event of `need` bytes; answers its place in the block.
    pub(super) fn push(&mut self, event: &EventFields<'_>, need: usize, limit: usize) -> Result<u32, WriteError> {
        let paused = self.paused.take().ok_or(WriteError::NotPausedHere)?;
        let len = paused.len() + need;
        if self.buffer.len() < len {
            self.buffer.resize(len.next_power_of_two().min(limit).max(len), 0);
        }
        let mut writer = BlockWriter::resume(&mut self.buffer, paused)?;
        let index = writer.event_count();
        let pushed = writer.push(event);
        self.paused = Some(writer.pause());
        pushed.map(|()| index)
    }

    /// Gives the block its first sequence and finishes it; answers its length.
    pub(super) fn finish(&mut self, first: u64) -> Result<usize, WriteError> {
        let paused = self.paused.take().ok_or(WriteError::NotPausedHere)?;
        let mut writer = BlockWriter::resume(&mut self.buffer, paused)?;
        writer.set_first_sequence(first)?;
        writer.finish()
    }
}
