//! Layer 1: the bytes that everything in Weft agrees on.
//!
//! * [`block`]: a batch of events of one topic, written once by its producer
//!   and then carried, stored and read in place as it is.
//! * [`headers`]: the named values beside an event's payload.
//! * [`frame`]: what a client and a hub, or two hubs, say to each other over
//!   one connection; blocks travel inside frames at 8-aligned offsets.
//! * [`ErrorCode`]: why something was refused, as a number that never changes.
//!
//! All integers are little-endian. Reserved bytes are zero and checked, so a
//! later version can give them a meaning that this one refuses instead of
//! misreading. Decoding does no I/O, reads no clock, and never panics,
//! whatever the bytes are. Decoding of blocks and of frames that carry blocks
//! allocates nothing. Nothing here knows the grammar of topics, sockets,
//! sessions or who may say what: those are the crates above.
//!
//! The module documents are the format's document. Golden vectors are in
//! `vectors/`; `weft-block.sbe.xml` describes the block's fixed parts as an
//! SBE schema. Tests hold both to this code.
#![forbid(unsafe_code)]

pub mod block;
mod code;
pub mod frame;
pub mod headers;
pub mod peer;
pub mod reply;
pub mod shown;
pub mod trace;

pub use block::{Block, BlockFields, BlockWriter, Event, EventFields, Stamp};
pub use code::ErrorCode;
pub use frame::Frame;
pub use headers::{Headers, HeadersWriter};
pub use trace::TraceContext;
