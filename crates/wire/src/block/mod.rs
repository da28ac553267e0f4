//! The block: a batch of events of one topic, from one producer, in one lane.
//!
//! The producer writes the bytes once. The same bytes cross the wire, lie in
//! the hub's buffers, are appended to a log, cross links and are read in place
//! by the consumer. The first hub stamps the second cache line, a log fills in
//! the place in the stream; nothing else is ever changed, but where a stream is
//! compacted, and where the first hub binds events to a label ([`set_residency`]).
//!
//! ```text
//!        0        4     6  7  8        12       16       24       32       40       48  50 52  56   60
//!      0 ┌────────┬─────┬──┬──┬────────┬────────┬────────┬────────┬────────┬────────┬───┬──┬───┬────┬─────┐
//!        │ length │magic│ve│la│ flags  │ schema │producer│ first  │deadline│ tenant,│top│ 0│res│ 0  │ CRC │ producer's line
//!        │        │"WF" │rs│ne│        │        │        │sequence│        │ count  │len│  │id.│    │     │
//!     64 ├────────┴┬────┴─┬┴──┴─────┬──┴───────┬┴────────┴┬───────┴──┬─────┴────────┴───┴──┴───┼────┼─────┤
//!        │ origin  │epoch,│ origin  │ origin   │ ingest   │ stream   │ home sequence           │home│ CRC │ hub's line
//!        │ hub     │ way  │ block   │ sequence │ time     │ sequence │                         │    │     │
//!    128 ├─────────┴──────┴─────────┴──────────┴──────────┴──────────┴─────────────────────────┴────┴─────┤
//!        │ topic, zeros to a multiple of 8                                                                │
//!        ├────────────────────────────────────────────────────────────────────────────────────────────────┤
//!        │ event: payload length u32, key length u16, headers length u16, time u64, key, headers, payload │
//!        │ event: …                                     each of the three padded with zeros to 8          │
//!        └────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The offsets of every field are in [`layout`], where the compiler checks
//! them. The rules, each a [`Clause`] that [`Block::validate`] can name:
//!
//! 1. The length is that of the bytes, a multiple of 8, at most [`MAX_BLOCK`].
//! 2. Magic number, version, and lane are known ones; reserved bytes are zero.
//! 3. The producer's checksum is the CRC-32C of bytes 0 to 60 followed by those
//!    from 128 to the end: all the producer wrote but the checksum itself.
//! 4. The hub's line is all zero, or its CRC-32C of bytes 64 to 124 is right
//!    and hub, block and sequence in it are not zero; the way is one of 16; home
//!    and home sequence are both zero or neither is.
//! 5. The topic is UTF-8 of 1 to [`MAX_TOPIC`] bytes (its grammar is a matter of
//!    the crate `weft-topic`).
//! 6. There are 1 to [`MAX_EVENTS`] events, each within the block, and they end
//!    where the block ends. Padding is zero. Headers are well formed.
//! 7. No sequence number of an event exceeds 2^64 - 1.
//!
//! The upper eight of `flags` are the format's ([`layout::REQUEST`]); the
//! others, and `schema`, are the producer's and the consumer's affair: hubs
//! carry them as they are. Where a block's first byte lies at an address that
//! is a multiple of 8, so does every payload, and so FlatBuffers and SBE
//! payloads are read in place.

mod compact;
mod error;
pub mod layout;
mod reader;
mod stamp;
mod validate;
mod writer;

pub use compact::compact;
pub use error::{BlockError, Clause};
pub use layout::{EVENT_HEADER_LEN, HEADER_LEN, MAGIC, MAX_BLOCK, MAX_EVENTS, MAX_TOPIC, MIN_BLOCK, VERSION};
pub use reader::{Block, Event, Events};
pub use stamp::{
    Stamp, StampError, StreamPlace, forget_way, len_with_topic, set_residency, set_stream_place, stamp, stamp_anew,
    stamp_for, with_topic, write_with_topic,
};
pub use validate::{hub_checksum, producer_checksum};
pub use writer::{BlockFields, BlockWriter, EventFields, Paused, WriteError, block_len, event_len};

/// What the block that starts here says its length is, in bytes; `None` with
/// fewer than four bytes. Not checked in any way.
#[must_use]
pub fn peek_len(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|first| u32::from_le_bytes(*first))
}

/// `n` rounded up to a multiple of 8.
#[inline]
const fn pad8(n: usize) -> usize {
    n.saturating_add(7) & !7
}
