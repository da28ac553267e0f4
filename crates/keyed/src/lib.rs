//! Layer 1: keyed state, on an LSM tree (fjall) or in memory.
//!
//! Small state that outlives the process and is looked up by key: producers'
//! last sequences, consumers' positions, last values, schedules, cursors. It is
//! never the only copy of acknowledged events: everything here can be made anew
//! from the logs, or costs no more than a redelivery.
//!
//! A batch is applied as a whole. What was applied outlives the process at
//! once, and the machine's death once [`Keyed::sync`] has come back after it.
//! Nothing is bounded here but the length of keys and values: callers bound
//! what they keep. Does not know what its keys mean.
#![forbid(unsafe_code)]

mod batch;
mod error;
mod lsm;
mod memory;

pub use batch::{Batch, MAX_KEY, MAX_VALUE, Space, Write};
pub use error::KeyedError;
pub use lsm::{LsmKeyed, LsmOptions};
pub use memory::MemoryKeyed;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Keyed state. Keys are ordered byte by byte, so numbers in them are written
/// big-endian; a stream's keys begin with the stream's id as a big-endian `u64`.
///
/// One conformance suite, `tests/conformance.rs`, holds for every implementation.
pub trait Keyed: Send + Sync {
    /// The value of a key, if it has one.
    ///
    /// # Errors
    /// [`KeyedError`]: the disk, or damage.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KeyedError>;

    /// The entries with `from` <= key < `below`, in the order of their keys, at
    /// most so many. An empty `below` is no bound.
    ///
    /// # Errors
    /// [`KeyedError`]: the disk, or damage.
    fn scan(&self, space: Space, from: &[u8], below: &[u8], most: usize) -> Result<Vec<Entry>, KeyedError>;

    /// Applies all of the batch or nothing of it, also if the process dies
    /// meanwhile. Not yet safe from the machine's death: see [`Keyed::sync`].
    ///
    /// # Errors
    /// [`KeyedError`]; nothing was applied.
    fn apply(&self, batch: Batch) -> Result<(), KeyedError>;

    /// Makes durable all that was applied before. Waits for the disk: call it
    /// where waiting is allowed.
    ///
    /// # Errors
    /// [`KeyedError`]; what was applied since the last success may be lost.
    fn sync(&self) -> Result<(), KeyedError>;
}

/// The least key that is greater than every key with this prefix: the end of a
/// scan over it. Empty, which is no bound, when there is none.
#[must_use]
pub fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::end_of;

    #[test]
    fn the_end_of_a_prefix_is_the_next_key_that_does_not_have_it() {
        assert_eq!(end_of(&[1, 2]), [1, 3]);
        assert_eq!(end_of(&[1, 255]), [2]);
        assert_eq!(end_of(&[255, 255]), [0; 0]);
        assert_eq!(end_of(&[]), [0; 0]);
    }
}
