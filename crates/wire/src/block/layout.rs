//! Offsets and sizes of the block's fixed parts, asserted at compile time.
//!
//! The structures are views of bytes: each field is little-endian and readable
//! at any address, and stands at an offset that is a multiple of its size.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// "WF", the block's third pair of bytes.
pub const MAGIC: u16 = 0x4657;
/// The version of the layout that this crate reads and writes.
pub const VERSION: u8 = 1;
/// Bytes of the producer's and the hub's line together.
pub const HEADER_LEN: usize = 128;
/// Bytes before an event's key.
pub const EVENT_HEADER_LEN: usize = 16;
/// The largest block, in bytes; hubs may be configured to take less.
pub const MAX_BLOCK: usize = 8 << 20;
/// The smallest block: a topic of up to 8 bytes and one empty event.
pub const MIN_BLOCK: usize = HEADER_LEN + 8 + EVENT_HEADER_LEN;
/// The most events in one block.
pub const MAX_EVENTS: u32 = 65_535;
/// The longest topic, in bytes.
pub const MAX_TOPIC: usize = 1024;

/// Flag of a block: it is a request. Its one event has a reply-to header, and
/// a hub that finds nobody to answer it says so to that address. The upper
/// eight flags are the format's; the others are between producer and consumer.
pub const REQUEST: u32 = 1 << 31;
/// Flag of a block: its first event says what the stream's end, or the last
/// value of its key, must be for the block to be taken in
/// ([`EXPECT_LAST`](crate::headers::names::EXPECT_LAST),
/// [`EXPECT_KEY`](crate::headers::names::EXPECT_KEY)).
pub const CONDITIONAL: u32 = 1 << 30;
/// Flag of a block: its first event says when it is to be delivered
/// ([`DELIVER_AT`](crate::headers::names::DELIVER_AT)).
pub const DELAYED: u32 = 1 << 29;
/// Flag of a block: events of it may have a time to live
/// ([`TTL`](crate::headers::names::TTL)).
pub const EXPIRES: u32 = 1 << 28;
/// Flag of a block: it is part of an atomic batch, and not its last block
/// ([`BATCH`](crate::headers::names::BATCH)).
pub const BATCH_OPEN: u32 = 1 << 27;
/// Flag of a block: it is the last of an atomic batch.
pub const BATCH_LAST: u32 = 1 << 26;
/// Flag of a block: a log that was compacted by key took events out of it. In
/// their place stand events of which nothing is left: see
/// [`Event::is_removed`](super::Event::is_removed).
pub const COMPACTED: u32 = 1 << 25;
/// Flag of a block: an event of it has a [`TRACEPARENT`](crate::headers::names::TRACEPARENT).
/// [`BlockWriter`](super::BlockWriter) sets it; hubs look for trace context nowhere else.
pub const TRACED: u32 = 1 << 24;

/// The first cache line: written by the producer, never changed.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ProducerLine {
    /// Of the whole block, in bytes.
    pub length: U32,
    /// [`MAGIC`].
    pub magic: U16,
    /// [`VERSION`].
    pub version: u8,
    /// The lane, 0 to 7.
    pub lane: u8,
    /// Carried as they are.
    pub flags: U32,
    /// The schema's id, 0 for none.
    pub schema: U32,
    /// The producer's id.
    pub producer: U64,
    /// The producer's sequence of the first event; the others follow it.
    pub first_sequence: U64,
    /// Unix time in nanoseconds after which the block is of no use; 0 for none.
    pub deadline: U64,
    /// The tenant, 0 for the default one.
    pub tenant: U32,
    /// How many events.
    pub event_count: U32,
    /// Of the topic, in bytes, without padding.
    pub topic_len: U16,
    /// Zero.
    pub reserved_50: U16,
    /// Where the events may be: [`Residency`](weft_base::Residency), 0 anywhere.
    pub residency: U32,
    /// Zero.
    pub reserved_56: U32,
    /// CRC-32C of bytes 0 to 60 followed by those from 128 to the end.
    pub checksum: U32,
}

/// The second cache line: zero until the first hub stamps it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct HubLine {
    /// The hub at which the block entered the mesh.
    pub origin: U64,
    /// That hub's epoch.
    pub epoch: U32,
    /// The way it takes through the mesh: [`Way`](weft_base::Way).
    pub way: U32,
    /// Counts that hub's blocks of that epoch, from 1.
    pub block: U64,
    /// That hub's sequence of the first event, from 1.
    pub sequence: U64,
    /// When it entered, Unix time in nanoseconds.
    pub ingested: U64,
    /// The stream's sequence of the first event; 0 while in no stream.
    pub stream_sequence: U64,
    /// The sequence of the first event at the stream's home it entered at; 0
    /// while in no stream.
    pub home_sequence: U64,
    /// That home, by [`HubId::tag`](weft_base::HubId::tag); 0 while in no
    /// stream.
    pub home: U32,
    /// CRC-32C of bytes 64 to 124.
    pub checksum: U32,
}

/// Both lines.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Bytes 0 to 64.
    pub producer: ProducerLine,
    /// Bytes 64 to 128.
    pub hub: HubLine,
}

/// What stands before each event's key.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct EventHeader {
    /// Of the payload, in bytes, without padding.
    pub payload_len: U32,
    /// Of the key, in bytes, without padding.
    pub key_len: U16,
    /// Of the headers, in bytes, without padding.
    pub headers_len: U16,
    /// When it happened, Unix time in nanoseconds.
    pub time: U64,
}

/// Where the hub's line starts.
pub(super) const HUB_LINE: usize = size_of::<ProducerLine>();
/// Where the producer's checksum is, and where what it covers first ends.
pub(super) const PRODUCER_CHECKSUM: usize = std::mem::offset_of!(ProducerLine, checksum);
/// Where the hub's checksum is, and where what it covers ends.
pub(super) const HUB_CHECKSUM: usize = HUB_LINE + std::mem::offset_of!(HubLine, checksum);

/// Lengths are added as `usize`: three of up to 2^32 must not overflow.
const _: () = assert!(usize::BITS >= 64);

/// Every field at its place, or the crate does not compile.
macro_rules! assert_offsets {
    ($structure:ident: $($field:ident = $offset:literal),+; size $size:expr) => {
        const _: () = {
            $(assert!(std::mem::offset_of!($structure, $field) == $offset);)+
            assert!(size_of::<$structure>() == $size);
        };
    };
}

assert_offsets!(ProducerLine: length = 0, magic = 4, version = 6, lane = 7, flags = 8, schema = 12, producer = 16,
    first_sequence = 24, deadline = 32, tenant = 40, event_count = 44, topic_len = 48, reserved_50 = 50,
    residency = 52, reserved_56 = 56, checksum = 60; size 64);
assert_offsets!(HubLine: origin = 0, epoch = 8, way = 12, block = 16, sequence = 24, ingested = 32,
    stream_sequence = 40, home_sequence = 48, home = 56, checksum = 60; size 64);
assert_offsets!(Header: producer = 0, hub = 64; size HEADER_LEN);
assert_offsets!(EventHeader: payload_len = 0, key_len = 4, headers_len = 6, time = 8; size EVENT_HEADER_LEN);
