//! Layer 3: what payloads must look like, and how that may change.
//!
//! A [`Schema`] is compiled once from a text ([`Source`]) of one of four
//! [`Format`]s, checks payloads ([`Schema::check`]), and says whether a reader
//! that has it can read everything that a writer of another one can write
//! ([`Schema::can_read`]).
//!
//! A [`registry::State`] has the schemas by subject and version and decides on
//! requests, [`binding`] says which subject holds for which topics, [`checker`]
//! checks payloads by both ([`checkers`] many at once, for hubs), [`readers`] says
//! who would break, and [`rest`] is all that as existing serialisers ask for it.
//!
//! **Whoever calls** needs a stack of [`STACK_BYTES`] from there on: libraries
//! of other people follow schemas and payloads by recursion, within the depths
//! of [`SchemaLimits`]. The tests run the hostile ones on half of that.
//!
//! Pure: no I/O, clock, thread or randomness. Knows no hub, stream or session,
//! and not where the state is kept. Nothing from outside panics here or takes
//! more than the limits; at a limit there is a refusal that names it.
#![forbid(unsafe_code)]

pub mod avro;
mod base64;
pub mod binding;
pub mod checker;
pub mod checkers;
mod error;
pub mod flatbuffers;
mod format;
pub mod json;
mod limits;
mod malformed;
mod pairs;
pub mod prefix;
pub mod protobuf;
pub mod readers;
pub mod registry;
pub mod rest;
#[cfg(test)]
mod seed;
mod shown;

pub use error::{CompileError, Incompatibility, Violation};
pub use format::{Compiled, Dependency, Fingerprint, Format, Payload, Reference, Schema, Source};
pub use limits::SchemaLimits;
pub use shown::Text;

/// The stack that a thread must have left when it calls into this crate, in
/// bytes: the usual one of threads that Rust starts.
pub const STACK_BYTES: usize = 2 << 20;
