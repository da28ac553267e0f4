//! Blocks of one event, which are sealed at once: events on terms, events of
//! producers with ids of their own, requests and replies.

use std::sync::Arc;

use weft_base::{Now, UnixNanos};
use weft_topic::Topic;
use weft_wire::block::{BlockFields, BlockWriter, EventFields, block_len};
use weft_wire::frame::AckLevel;

use super::open::nanos;
use super::{BlockTicket, Pending, Publishing, Sealed, Spec, Terms};
use crate::error::PublishError;
use crate::ticket::Ticket;

impl Publishing {
    /// Puts an event into a block of its own, on these terms; see [`push`](Self::push).
    pub(crate) fn push_on_terms(
        &mut self,
        spec: &Spec,
        topic: &str,
        event: &EventFields<'_>,
        terms: &Terms,
        now: Now,
    ) -> Result<Option<Arc<BlockTicket>>, PublishError> {
        if spec.producer.is_none() && terms.sequence.is_some() {
            return Err(PublishError::NoProducer);
        }
        // First: what is sealed takes numbers.
        self.seal_before(spec, Some(topic))?;
        let next = self.next_of(spec);
        let sequence = terms.sequence.unwrap_or(next);
        if sequence < next {
            return Err(PublishError::Sequence { sequence, next });
        }
        if self.is_full() {
            return Err(PublishError::Full { blocks: self.pending.len() });
        }
        let mut headers = Vec::new();
        let terms = Terms { ttl: terms.ttl.or(spec.ttl), ..*terms };
        terms.headers(event.headers, &mut headers)?;
        let fields = BlockFields {
            lane: spec.lane,
            schema: spec.schema,
            tenant: spec.tenant,
            residency: spec.residency,
            flags: terms.flags(),
            producer: self.producer_of(spec),
            first_sequence: sequence,
            deadline: UnixNanos(spec.deadline.map_or(0, |after| now.wall.0.saturating_add(nanos(after)).max(1))),
            ..BlockFields::new(topic)
        };
        let block = self.write_alone(&fields, &EventFields { headers: &headers, ..*event })?;
        self.set_next_of(spec, sequence.saturating_add(1));
        let ticket = (spec.level != AckLevel::None).then(Ticket::new);
        let pending = Pending {
            lane: spec.lane,
            level: spec.level,
            homes: spec.homes,
            block,
            ticket: ticket.clone(),
            sent: false,
            whole: None,
        };
        self.enqueue(pending, spec.deadline.map(|after| now.mono + after));
        Ok(ticket)
    }

    /// Writes an event into a block of its own, which is sealed at once: a
    /// request or a reply. It may overtake blocks that still fill. Answers the
    /// block's number.
    pub(crate) fn push_alone(
        &mut self,
        fields: &BlockFields<'_>,
        level: AckLevel,
        event: &EventFields<'_>,
        ticket: Option<Arc<BlockTicket>>,
    ) -> Result<u64, PublishError> {
        if self.is_full() {
            return Err(PublishError::Full { blocks: self.pending.len() });
        }
        let lane = fields.lane;
        let first = self.next_sequence[lane.index()];
        let fields = BlockFields { producer: self.producer(lane), first_sequence: first, ..*fields };
        let block = self.write_alone(&fields, event)?;
        self.next_sequence[lane.index()] = first.saturating_add(1);
        Ok(self.enqueue(Pending { lane, level, homes: 0, block, ticket, sent: false, whole: None }, None))
    }

    /// Writes a block of one event.
    fn write_alone(&mut self, fields: &BlockFields<'_>, event: &EventFields<'_>) -> Result<Arc<Sealed>, PublishError> {
        Topic::parse(fields.topic)?;
        let lengths = std::iter::once((event.key.len(), event.headers.len(), event.payload.len()));
        let len = block_len(fields.topic.len(), lengths);
        if len > self.most_block {
            return Err(PublishError::TooLarge { len, most: self.most_block });
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        let mut writer = BlockWriter::new(&mut buffer, fields)?;
        writer.push(event)?;
        let len = writer.finish()?;
        Ok(Arc::new(Sealed { buffer, len }))
    }
}
