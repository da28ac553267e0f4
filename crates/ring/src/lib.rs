//! Bounded rings, the stage runner and the block arena: the threads of a hub
//! and what they hand each other.
//!
//! Layer 1: knows `weft_base` only, and nothing of what the rings and buffers
//! carry. This is the only crate with lock-free code. Its synchronisation edges
//! have labels, listed in [`edges`]; each is explored by loom in
//! `tests/loom.rs`, together with a weakened twin that loom must catch.
//!
//! Start reading at [`spsc`], the simplest ring; [`mpsc`] and [`broadcast`] are
//! variations of it, and [`bytes`] is one between processes. [`arena`] lends the buffers whose handles travel through
//! the rings, and [`stage`] runs the code at their ends.

pub mod arena;
pub mod broadcast;
pub mod bytes;
#[doc(hidden)]
pub mod edges;
mod lines;
pub mod mpsc;
mod padded;
mod prefetch;
#[cfg(not(loom))]
pub mod runner;
pub mod spsc;
#[cfg(not(loom))]
pub mod stage;
pub mod wait;
pub mod waker;

/// The most items that a ring may be made for: 2^24.
pub const MAX_CAPACITY: usize = 1 << 24;

/// The ring is full; here is the item back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ring is full: take the item back and try when the consumer has moved on")]
pub struct Full<T>(pub T);

/// `capacity` rounded up to a power of two.
fn checked_capacity(capacity: usize) -> usize {
    assert!(
        (1..=MAX_CAPACITY).contains(&capacity),
        "a ring holds 1 to {MAX_CAPACITY} items, and {capacity} were asked for"
    );
    capacity.next_power_of_two()
}
