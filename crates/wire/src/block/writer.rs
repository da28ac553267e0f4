//! Writing a block into a buffer, in one pass.

use weft_base::{Lane, ProducerId, Residency, TenantId, UnixNanos};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use super::layout::{
    EVENT_HEADER_LEN, EventHeader, HEADER_LEN, HUB_LINE, MAGIC, MAX_BLOCK, MAX_EVENTS, MAX_TOPIC, PRODUCER_CHECKSUM,
    ProducerLine, TRACED, VERSION,
};
use super::{pad8, producer_checksum};
use crate::headers::{HeaderError, Headers, names};

/// What all events of a block have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockFields<'a> {
    /// Where the events go: 1 to [`MAX_TOPIC`] bytes. The grammar is not checked here.
    pub topic: &'a str,
    /// The priority.
    pub lane: Lane,
    /// For producer and consumer; hubs carry them as they are.
    pub flags: u32,
    /// The schema's id, 0 for none.
    pub schema: u32,
    /// Who writes.
    pub producer: ProducerId,
    /// The producer's sequence of the first event.
    pub first_sequence: u64,
    /// After this the events are of no use; 0 for never.
    pub deadline: UnixNanos,
    /// Whose they are.
    pub tenant: TenantId,
    /// At which hubs they may be.
    pub residency: Residency,
}

impl<'a> BlockFields<'a> {
    /// A block for this topic, in the default lane, everything else zero.
    #[must_use]
    pub fn new(topic: &'a str) -> Self {
        Self {
            topic,
            lane: Lane::DEFAULT,
            flags: 0,
            schema: 0,
            producer: ProducerId(0),
            first_sequence: 0,
            deadline: UnixNanos(0),
            tenant: TenantId(0),
            residency: Residency::ANYWHERE,
        }
    }
}

/// One event to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventFields<'a> {
    /// When it happened.
    pub time: UnixNanos,
    /// What it is about, at most 65,535 bytes; may be empty.
    pub key: &'a [u8],
    /// Encoded by a [`HeadersWriter`](crate::HeadersWriter); empty for none.
    pub headers: &'a [u8],
    /// What it says.
    pub payload: &'a [u8],
}

/// Why a block or an event could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The topic is empty or too long.
    #[error("the topic has {len} bytes: it must have 1 to {MAX_TOPIC}")]
    TopicLength {
        /// Its bytes.
        len: usize,
    },
    /// The buffer is full. Nothing was written: finish this block and start
    /// another, unless `need` is more than an empty block has.
    #[error("{need} bytes are needed and {left} are left in the buffer: finish the block, or take a larger buffer")]
    NoRoom {
        /// The bytes it takes.
        need: usize,
        /// The bytes there are.
        left: usize,
    },
    /// The block has as many events as a block can have.
    #[error("the block has {MAX_EVENTS} events, the most there can be: finish it and start another")]
    TooManyEvents,
    /// The key is too long for its length field.
    #[error("the key has {len} bytes, the most is 65535: put it into the payload")]
    KeyTooLong {
        /// Its bytes.
        len: usize,
    },
    /// The headers are not what a `HeadersWriter` writes.
    #[error("the headers are malformed: {0}")]
    Headers(#[from] HeaderError),
    /// The sequence of the block's last event would not fit 64 bits.
    #[error("the events' sequence numbers starting at {first} would exceed 2^64 - 1")]
    Sequence {
        /// The block's first sequence.
        first: u64,
    },
    /// A block without events is none.
    #[error("the block has no events: push at least one before finishing it")]
    Empty,
    /// The buffer is not the one in which the block was paused.
    #[error("the buffer does not hold the block that was paused: resume in the same buffer")]
    NotPausedHere,
}

/// The bytes of an event with these lengths, padding included.
#[must_use]
pub const fn event_len(key: usize, headers: usize, payload: usize) -> usize {
    EVENT_HEADER_LEN.saturating_add(pad8(key)).saturating_add(pad8(headers)).saturating_add(pad8(payload))
}

/// The bytes of a block with a topic of `topic_len` bytes and events of these
/// lengths (key, headers, payload).
#[must_use]
pub fn block_len(topic_len: usize, events: impl Iterator<Item = (usize, usize, usize)>) -> usize {
    events.fold(HEADER_LEN.saturating_add(pad8(topic_len)), |len, (key, headers, payload)| {
        len.saturating_add(event_len(key, headers, payload))
    })
}

/// Fills a buffer with a block, event by event.
///
/// ```
/// use weft_wire::{Block, BlockFields, BlockWriter, EventFields};
/// let mut buf = [0; 1024];
/// let mut writer = BlockWriter::new(&mut buf, &BlockFields::new("flights/departed/JFK"))?;
/// writer.push(&EventFields { payload: b"B6 725", ..Default::default() })?;
/// let len = writer.finish()?;
/// let block = Block::validate(&buf[..len]).expect("what the writer wrote");
/// assert_eq!(block.events().next().expect("an event").payload, b"B6 725");
/// # Ok::<(), weft_wire::block::WriteError>(())
/// ```
#[derive(Debug)]
pub struct BlockWriter<'b> {
    buf: &'b mut [u8],
    /// Where the next event goes: a multiple of 8.
    len: usize,
    first_sequence: u64,
    count: u32,
}

impl<'b> BlockWriter<'b> {
    /// Starts a block at the front of `buf`, whatever was there before. What
    /// `buf` has beyond [`MAX_BLOCK`] stays unused.
    ///
    /// # Errors
    /// [`WriteError::TopicLength`], or [`WriteError::NoRoom`] when not even
    /// the topic fits.
    pub fn new(buf: &'b mut [u8], fields: &BlockFields<'_>) -> Result<Self, WriteError> {
        let topic = fields.topic.as_bytes();
        let topic_len = match u16::try_from(topic.len()) {
            Ok(len) if len > 0 && usize::from(len) <= MAX_TOPIC => len,
            _ => return Err(WriteError::TopicLength { len: topic.len() }),
        };
        let most = buf.len().min(MAX_BLOCK);
        let buf = buf.get_mut(..most).unwrap_or_default();
        let len = HEADER_LEN + pad8(topic.len());
        let no_room = WriteError::NoRoom { need: len, left: most };
        let line = ProducerLine {
            length: U32::ZERO,
            magic: U16::new(MAGIC),
            version: VERSION,
            lane: fields.lane.get(),
            flags: U32::new(fields.flags),
            schema: U32::new(fields.schema),
            producer: U64::new(fields.producer.0),
            first_sequence: U64::new(fields.first_sequence),
            deadline: U64::new(fields.deadline.0),
            tenant: U32::new(fields.tenant.0),
            event_count: U32::ZERO,
            topic_len: U16::new(topic_len),
            reserved_50: U16::ZERO,
            residency: U32::new(fields.residency.0),
            reserved_56: U32::ZERO,
            checksum: U32::ZERO,
        };
        let head = buf.get_mut(..len).ok_or(no_room)?;
        let (lines, rest) = head.split_at_mut(HEADER_LEN);
        let (producer, hub) = lines.split_at_mut(HUB_LINE);
        producer.copy_from_slice(line.as_bytes());
        hub.fill(0);
        write_part(rest, topic);
        Ok(Self { buf, len, first_sequence: fields.first_sequence, count: 0 })
    }

    /// Adds an event.
    ///
    /// # Errors
    /// [`WriteError`]; the block is then as it was before.
    pub fn push(&mut self, event: &EventFields<'_>) -> Result<(), WriteError> {
        let room = self.claim(event.time, event.key, event.headers, event.payload.len())?;
        write_part(room, event.payload);
        Ok(())
    }

    /// Adds an event whose payload of `payload_len` bytes is written in place
    /// by `fill`, which gets it filled with zeros.
    ///
    /// # Errors
    /// [`WriteError`]; the block is then as it was before and `fill` not called.
    pub fn push_with(
        &mut self,
        time: UnixNanos,
        key: &[u8],
        headers: &[u8],
        payload_len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), WriteError> {
        let room = self.claim(time, key, headers, payload_len)?;
        // What the buffer held before must not reach the reader.
        room.fill(0);
        fill(room.get_mut(..payload_len).unwrap_or_default());
        Ok(())
    }

    /// Writes all of an event but its payload, and answers the payload's
    /// place, padding included.
    fn claim(
        &mut self,
        time: UnixNanos,
        key: &[u8],
        headers: &[u8],
        payload_len: usize,
    ) -> Result<&mut [u8], WriteError> {
        if self.count >= MAX_EVENTS {
            return Err(WriteError::TooManyEvents);
        }
        if self.first_sequence.checked_add(u64::from(self.count) + 1).is_none() {
            return Err(WriteError::Sequence { first: self.first_sequence });
        }
        let key_len = u16::try_from(key.len()).map_err(|_| WriteError::KeyTooLong { len: key.len() })?;
        let too_long = HeaderError::TooLong { len: headers.len() };
        let headers_len = u16::try_from(headers.len()).map_err(|_| too_long)?;
        let has_trace = Headers::validate(headers)?.get(names::TRACEPARENT).is_some();
        let need = event_len(key.len(), headers.len(), payload_len);
        let left = self.buf.len() - self.len;
        let no_room = WriteError::NoRoom { need, left };
        let wire_len = u32::try_from(payload_len).map_err(|_| no_room)?;
        let (head_of_block, free) = self.buf.split_at_mut(self.len);
        let room = free.get_mut(..need).ok_or(no_room)?;
        let head = EventHeader {
            payload_len: U32::new(wire_len),
            key_len: U16::new(key_len),
            headers_len: U16::new(headers_len),
            time: U64::new(time.0),
        };
        // The splits are within `need`, which is the sum of their lengths.
        let (head_room, room) = room.split_at_mut(EVENT_HEADER_LEN);
        let (key_room, room) = room.split_at_mut(pad8(key.len()));
        let (headers_room, room) = room.split_at_mut(pad8(headers.len()));
        head_room.copy_from_slice(head.as_bytes());
        write_part(key_room, key);
        write_part(headers_room, headers);
        self.len += need;
        self.count += 1;
        if has_trace && let Ok((line, _)) = ProducerLine::mut_from_prefix(head_of_block) {
            line.flags.set(line.flags.get() | TRACED);
        }
        Ok(room)
    }

    /// How many events were added.
    #[must_use]
    pub const fn event_count(&self) -> u32 {
        self.count
    }

    /// The block's length in bytes, if it were finished now.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a header is always there; see event_count")]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The bytes that are left for events, their headers included.
    #[must_use]
    pub const fn room(&self) -> usize {
        (self.buf.len() - self.len) & !7
    }

    /// Sets the producer's sequence of the first event, for a block that was
    /// started before its place among the producer's blocks was known.
    ///
    /// # Errors
    /// [`WriteError::Sequence`] when the block's events would exceed 2^64 - 1;
    /// the sequence is then as it was.
    pub fn set_first_sequence(&mut self, first: u64) -> Result<(), WriteError> {
        if first.checked_add(self.count.into()).is_none() {
            return Err(WriteError::Sequence { first });
        }
        self.first_sequence = first;
        put(self.buf, std::mem::offset_of!(ProducerLine, first_sequence), &first.to_le_bytes());
        Ok(())
    }

    /// Gives the buffer back for a while, with the block as it is in it.
    pub fn pause(self) -> Paused {
        Paused { len: self.len, first_sequence: self.first_sequence, count: self.count }
    }

    /// Goes on with a block in the buffer in which it was paused, which must
    /// not have been written to since.
    ///
    /// # Errors
    /// [`WriteError::NotPausedHere`] when the buffer plainly is another one.
    pub fn resume(buf: &'b mut [u8], paused: Paused) -> Result<Self, WriteError> {
        let most = buf.len().min(MAX_BLOCK);
        let buf = buf.get_mut(..most).unwrap_or_default();
        let Paused { len, first_sequence, count } = paused;
        let same = ProducerLine::ref_from_prefix(buf)
            .is_ok_and(|(line, _)| line.magic.get() == MAGIC && line.first_sequence.get() == first_sequence);
        if !same || len > buf.len() {
            return Err(WriteError::NotPausedHere);
        }
        Ok(Self { buf, len, first_sequence, count })
    }

    /// Writes length, count and checksum, and answers the block's length: it
    /// is that many bytes from the front of the buffer.
    ///
    /// # Errors
    /// [`WriteError::Empty`] without any event.
    pub fn finish(self) -> Result<usize, WriteError> {
        if self.count == 0 {
            return Err(WriteError::Empty);
        }
        let Some(block) = self.buf.get_mut(..self.len) else { return Err(WriteError::Empty) };
        // At most MAX_BLOCK, so it fits.
        put(block, std::mem::offset_of!(ProducerLine, length), &(self.len as u32).to_le_bytes());
        put(block, std::mem::offset_of!(ProducerLine, event_count), &self.count.to_le_bytes());
        let checksum = producer_checksum(block);
        put(block, PRODUCER_CHECKSUM, &checksum.to_le_bytes());
        Ok(self.len)
    }
}

/// A block that is being written and borrows no buffer meanwhile, from
/// [`BlockWriter::pause`].
#[derive(Debug)]
#[must_use = "the block is lost unless it is resumed"]
pub struct Paused {
    len: usize,
    first_sequence: u64,
    count: u32,
}

impl Paused {
    /// How many events were added.
    #[must_use]
    pub const fn event_count(&self) -> u32 {
        self.count
    }

    /// The block's length in bytes, if it were finished now.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a header is always there; see event_count")]
    pub const fn len(&self) -> usize {
        self.len
    }
}

/// Copies `part` to the front of `room`, its place padded to 8, and zeros the
/// padding: as the last eight bytes, before the copy, so that the length of the
/// padding matters nowhere.
#[inline]
fn write_part(room: &mut [u8], part: &[u8]) {
    if let Some(last) = room.last_chunk_mut::<8>() {
        *last = [0; 8];
        if let Some(to) = room.get_mut(..part.len()) {
            to.copy_from_slice(part);
        }
    }
}

fn put(block: &mut [u8], offset: usize, bytes: &[u8]) {
    if let Some(room) = block.get_mut(offset..offset + bytes.len()) {
        room.copy_from_slice(bytes);
    }
}
