//! Atomic batches: events that a stream takes all together or not at all.
//!
//! The events become blocks, as many as their topics and sizes ask for, which
//! are sealed and queued together and say in their first event which of how
//! many they are. The hub answers them when it has them all, so a batch must
//! fit the window: one that does not is refused before anything is sent.

use std::ops::Range;
use std::sync::Arc;

use weft_base::{Now, UnixNanos};
use weft_topic::Topic;
use weft_wire::block::layout::{BATCH_LAST, BATCH_OPEN, EXPIRES};
use weft_wire::block::{BlockFields, BlockWriter, EventFields, MAX_EVENTS, block_len, event_len};
use weft_wire::headers::{HeadersWriter, names};

use super::open::nanos;
use super::terms::{Terms, append};
use super::{BlockTicket, Pending, Publishing, Sealed, Spec, Whole};
use crate::error::PublishError;
use crate::ticket::Ticket;

/// Bytes of the batch's header in the first event of each block: the entry's
/// head, its name, and id, index and count.
const BATCH_HEADER: usize = 4 + names::BATCH.len() + 24;

/// An event that waits in a batch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) topic: String,
    pub(crate) time: UnixNanos,
    pub(crate) key: Vec<u8>,
    pub(crate) headers: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Gathered {
    /// Its bytes in a block; `first`: with the batch's header.
    fn len(&self, first: bool) -> usize {
        let extra = if first { BATCH_HEADER } else { 0 };
        event_len(self.key.len(), self.headers.len() + extra, self.payload.len())
    }
}

/// The events of each block: of one topic, within the block's size unless one
/// alone is larger. Answers ranges and bytes.
fn cut(events: &[Gathered], limit: usize) -> Vec<(Range<usize>, usize)> {
    let mut blocks: Vec<(Range<usize>, usize)> = Vec::new();
    for (i, event) in events.iter().enumerate() {
        if let Some((range, len)) = blocks.last_mut()
            && events.get(range.start).is_some_and(|first| first.topic == event.topic)
            && *len + event.len(false) <= limit
            && range.len() < MAX_EVENTS as usize
        {
            range.end = i + 1;
            *len += event.len(false);
        } else {
            blocks.push((i..i + 1, block_len(event.topic.len(), std::iter::empty()) + event.len(true)));
        }
    }
    blocks
}

impl Publishing {
    /// Seals and queues a batch. Answers the ticket of each block and how many
    /// events it has, in order.
    pub(crate) fn push_batch(
        &mut self,
        spec: &Spec,
        id: [u8; 16],
        events: &[Gathered],
        now: Now,
    ) -> Result<Vec<(Arc<BlockTicket>, u32)>, PublishError> {
        for event in events {
            Topic::parse(&event.topic)?;
        }
        let blocks = cut(events, spec.block.min(self.most_block));
        let bytes: usize = blocks.iter().map(|(_, len)| len).sum();
        if let Some((_, len)) = blocks.iter().find(|(_, len)| *len > self.most_block) {
            return Err(PublishError::TooLarge { len: *len, most: self.most_block });
        }
        let most_blocks = self.limit.blocks.min(self.hub_window.blocks);
        let most_bytes = self.limit.bytes.min(self.hub_window.bytes);
        if blocks.len() > most_blocks || bytes > most_bytes {
            return Err(PublishError::BatchTooLarge { blocks: blocks.len(), bytes, most_blocks, most_bytes });
        }
        self.seal_before(spec, None)?;
        // With all of it or nothing: a batch that is half queued would wait for room that it takes itself.
        let room = self.pending.len() + blocks.len() <= self.limit.blocks;
        if !room || (self.pending_bytes + bytes > self.limit.bytes && !self.pending.is_empty()) {
            return Err(PublishError::Full { blocks: self.pending.len() });
        }
        let count = u32::try_from(blocks.len()).unwrap_or(u32::MAX);
        let whole = Whole { blocks: blocks.len(), bytes };
        let terms = Terms { ttl: spec.ttl, ..Terms::default() };
        let mut sealed = Vec::with_capacity(blocks.len());
        let mut first = self.next_of(spec);
        // Everything is written before anything is queued: an event that cannot be written takes nothing with it.
        for ((range, len), index) in blocks.iter().zip(0_u32..) {
            let events = events.get(range.clone()).unwrap_or_default();
            let Some(head) = events.first() else { continue };
            let fields = BlockFields {
                lane: spec.lane,
                schema: spec.schema,
                tenant: spec.tenant,
                residency: spec.residency,
                flags: if index + 1 == count { BATCH_LAST } else { BATCH_OPEN }
                    | if spec.ttl.is_some() { EXPIRES } else { 0 },
                producer: self.producer_of(spec),
                first_sequence: first,
                deadline: UnixNanos(spec.deadline.map_or(0, |after| now.wall.0.saturating_add(nanos(after)).max(1))),
                ..BlockFields::new(&head.topic)
            };
            // A time to live takes more.
            let mut buffer = vec![0; (*len + 24 * events.len()).min(self.most_block)];
            let mut writer = BlockWriter::new(&mut buffer, &fields)?;
            for (event, place) in events.iter().zip(0_u32..) {
                let mut headers = Vec::new();
                if place == 0 {
                    let place = [id.as_slice(), &index.to_le_bytes(), &count.to_le_bytes()].concat();
                    HeadersWriter::new(&mut headers)
                        .push(names::BATCH, &place)
                        .map_err(weft_wire::block::WriteError::from)?;
                }
                let mut own = Vec::new();
                terms.headers(&event.headers, &mut own)?;
                append(&own, &mut headers)?;
                let Gathered { time, key, payload, .. } = event;
                writer.push(&EventFields { time: *time, key, headers: &headers, payload })?;
            }
            let len = writer.finish()?;
            first = first.saturating_add(events.len() as u64);
            sealed.push((Arc::new(Sealed { buffer, len }), events.len()));
        }
        self.set_next_of(spec, first);
        let mut tickets = Vec::with_capacity(sealed.len());
        for (block, events) in sealed {
            let ticket = Ticket::new();
            let pending = Pending {
                lane: spec.lane,
                level: spec.level,
                homes: spec.homes,
                block,
                ticket: Some(ticket.clone()),
                sent: false,
                whole: Some(whole),
            };
            self.enqueue(pending, None);
            tickets.push((ticket, u32::try_from(events).unwrap_or(u32::MAX)));
        }
        Ok(tickets)
    }
}
