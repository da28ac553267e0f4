//! What the benchmarks share: a counting allocator, medians, tables, the
//! machine's own limits, servers that are started and stopped, and raw clients.
//!
//! A benchmark compares within one run on one machine: every table starts with
//! the machine's line, and every peer is measured in turn with the same work.
//! Absolute numbers of different days or machines say nothing.
//!
//! The raw clients are equally lean on both sides: they write batches that were
//! built before, and count what arrives without reading payloads. They show what
//! the server costs; a real client library costs more.
#![deny(unsafe_code)]

pub mod acked;
pub mod alloc;
pub mod bridge;
pub mod debian;
pub mod disk;
pub mod fixed;
pub mod jetstream;
pub mod kafka;
pub mod latency;
pub mod library;
pub mod long;
pub mod machine;
pub mod many;
pub mod mosquitto;
pub mod nats;
pub mod process;
pub mod redis;
pub mod redis_streams;
pub mod relay;
pub mod report;
pub mod stats;
pub mod streams;
pub mod table;
pub mod weft;
pub mod work;
pub mod zenoh;
