//! The pure half of a load generator: when events are due, how late they came,
//! which rate to try next, what was saturated, and how to draw it.
//!
//! `weft bench` and the benchmarks beside the peers do their measuring with
//! this. Nothing here reads a clock, opens a socket or starts a thread: times
//! are handed in, so that every decision can be tested.
#![forbid(unsafe_code)]

pub mod capacity;
pub mod curve;
pub mod latency;
pub mod pace;
pub mod ramp;
pub mod saturated;
pub mod svg;
