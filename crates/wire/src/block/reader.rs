//! Reading a block in place.

use std::fmt;

use weft_base::{Epoch, HubId, Lane, ProducerId, Residency, TenantId, UnixNanos, Way};
use zerocopy::FromBytes;

use super::layout::{DELAYED, EventHeader, HEADER_LEN, Header};
use super::{BlockError, Stamp, pad8, validate};
use crate::headers::{Headers, names};

/// What is read where bytes are too few to hold a header.
static NOTHING: Header = zerocopy::transmute!([0_u8; HEADER_LEN]);

/// A block, borrowed from the bytes it lies in.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    bytes: &'a [u8],
    head: &'a Header,
}

impl<'a> Block<'a> {
    /// Checks everything there is to check, both checksums included; the rules
    /// are in the [module's document](super). Linear in the length, allocates
    /// nothing.
    ///
    /// # Errors
    /// [`BlockError`] with the first rule that is broken, and where.
    pub fn validate(bytes: &'a [u8]) -> Result<Block<'a>, BlockError> {
        validate::validate(bytes).map(|head| Block { bytes, head })
    }

    /// The block in bytes that were validated before. Safe with any bytes: what
    /// makes no sense reads as zero or empty.
    #[must_use]
    pub fn trusted(bytes: &'a [u8]) -> Block<'a> {
        let head = Header::ref_from_prefix(bytes).map_or(&NOTHING, |(head, _)| head);
        Block { bytes, head }
    }

    /// The whole block.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a block is never empty")]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Its priority.
    #[must_use]
    pub fn lane(&self) -> Lane {
        Lane::new(self.head.producer.lane).unwrap_or_default()
    }

    /// What producer and consumer agree on; hubs carry it as it is.
    #[must_use]
    pub const fn flags(&self) -> u32 {
        self.head.producer.flags.get()
    }

    /// The schema's id, 0 for none.
    #[must_use]
    pub const fn schema(&self) -> u32 {
        self.head.producer.schema.get()
    }

    /// Who wrote it.
    #[must_use]
    pub const fn producer(&self) -> ProducerId {
        ProducerId(self.head.producer.producer.get())
    }

    /// The producer's sequence of the first event; the others follow it.
    #[must_use]
    pub const fn first_sequence(&self) -> u64 {
        self.head.producer.first_sequence.get()
    }

    /// After this it is of no use; 0 for never.
    #[must_use]
    pub const fn deadline(&self) -> UnixNanos {
        UnixNanos(self.head.producer.deadline.get())
    }

    /// The tenant it belongs to.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        TenantId(self.head.producer.tenant.get())
    }

    /// At which hubs its events may be.
    #[must_use]
    pub const fn residency(&self) -> Residency {
        Residency(self.head.producer.residency.get())
    }

    /// The way it takes through the mesh.
    #[must_use]
    pub const fn way(&self) -> Way {
        // Below `Way::MOST` in a validated block.
        Way(self.head.hub.way.get() as u8)
    }

    /// How many events there are.
    #[must_use]
    pub const fn event_count(&self) -> u32 {
        self.head.producer.event_count.get()
    }

    /// The topic of all its events.
    #[must_use]
    pub fn topic(&self) -> &'a str {
        let end = HEADER_LEN + usize::from(self.head.producer.topic_len.get());
        let topic = self.bytes.get(HEADER_LEN..end).unwrap_or_default();
        std::str::from_utf8(topic).unwrap_or_default()
    }

    /// What the first hub stamped; `None` before that.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        let line = &self.head.hub;
        (line.origin.get() != 0).then(|| Stamp {
            origin: HubId(line.origin.get()),
            epoch: Epoch(line.epoch.get()),
            block: line.block.get(),
            sequence: line.sequence.get(),
            ingested: UnixNanos(line.ingested.get()),
        })
    }

    /// When it counts as having come, for times to live and for retention: when
    /// it entered its first hub or, delayed, when it was due, if that is later.
    /// Zero before it was stamped.
    #[must_use]
    pub fn counts_from(&self) -> UnixNanos {
        let Some(stamp) = self.stamp() else { return UnixNanos(0) };
        if self.flags() & DELAYED == 0 {
            return stamp.ingested;
        }
        let due = self.events().next().and_then(|event| event.headers.get(names::DELIVER_AT)?.try_into().ok());
        stamp.ingested.max(UnixNanos(due.map_or(0, u64::from_le_bytes)))
    }

    /// The stream's sequence of the first event; 0 while it is in no stream.
    #[must_use]
    pub const fn stream_sequence(&self) -> u64 {
        self.head.hub.stream_sequence.get()
    }

    /// The home at which it entered the stream, by [`HubId::tag`], and the
    /// sequence of the first event there; `None` while it is in no stream, and
    /// for blocks that a Weft before streams had homes wrote to a log.
    #[must_use]
    pub const fn home(&self) -> Option<(u32, u64)> {
        match self.head.hub.home.get() {
            0 => None,
            home => Some((home, self.head.hub.home_sequence.get())),
        }
    }

    /// Whether a log took events out of it: [`Event::is_removed`] tells which.
    #[must_use]
    pub const fn is_compacted(&self) -> bool {
        self.flags() & super::layout::COMPACTED != 0
    }

    /// Its events, in order.
    #[must_use]
    pub fn events(&self) -> Events<'a> {
        let start = HEADER_LEN + pad8(usize::from(self.head.producer.topic_len.get()));
        Events { rest: self.bytes.get(start..).unwrap_or_default(), left: self.event_count() }
    }

    /// The event that begins at this byte, which [`Events::offset`] answered
    /// for the same block; at another byte it is none, or nonsense.
    #[must_use]
    pub fn event_at(&self, offset: usize) -> Option<Event<'a>> {
        Events { rest: self.bytes.get(offset..)?, left: 1 }.next()
    }
}

impl fmt::Debug for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("topic", &self.topic())
            .field("lane", &self.lane())
            .field("producer", &self.producer())
            .field("first_sequence", &self.first_sequence())
            .field("events", &self.event_count())
            .field("len", &self.len())
            .field("stamp", &self.stamp())
            .finish_non_exhaustive()
    }
}

/// An event, borrowed from its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// When it happened, as its producer says.
    pub time: UnixNanos,
    /// What it is about, for grouping and conflation; may be empty.
    pub key: &'a [u8],
    /// Named values beside the payload.
    pub headers: Headers<'a>,
    /// What it says.
    pub payload: &'a [u8],
}

impl Event<'_> {
    /// In a block with the flag [`COMPACTED`](super::layout::COMPACTED): a log
    /// took the event out, and this stands in its place so that the others
    /// keep their sequences. Not to be served.
    #[must_use]
    pub const fn is_removed(&self) -> bool {
        self.time.0 == u64::MAX && self.key.is_empty() && self.headers.is_empty() && self.payload.is_empty()
    }
}

/// The events of a block, from [`Block::events`].
#[derive(Clone, Debug)]
pub struct Events<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Events<'a> {
    /// The byte of `block`, whose events these are, at which the next one begins.
    #[must_use]
    pub const fn offset(&self, block: &Block<'a>) -> usize {
        block.bytes.len().saturating_sub(self.rest.len())
    }

    /// Takes the front part off, with its padding.
    #[inline]
    fn take(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
        let (part, tail) = rest.split_at_checked(pad8(len))?;
        *rest = tail;
        part.get(..len)
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Event<'a>;

    #[inline]
    fn next(&mut self) -> Option<Event<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (head, mut rest) = EventHeader::ref_from_prefix(self.rest).ok()?;
        let key = Self::take(&mut rest, usize::from(head.key_len.get()))?;
        let headers = Self::take(&mut rest, usize::from(head.headers_len.get()))?;
        let payload = Self::take(&mut rest, head.payload_len.get() as usize)?;
        self.rest = rest;
        Some(Event { time: UnixNanos(head.time.get()), key, headers: Headers::trusted(headers), payload })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Bytes that were never validated may end early.
        (0, Some(self.left as usize))
    }
}
