//! What is replicated: a machine that takes entries in order. Knows nothing of
//! what they mean.

/// A deterministic machine: the same entries in the same order lead to the same
/// state and the same answers at every hub. It must not read clocks, random
/// numbers or the order of a hash map, and must not panic on any entry: entries
/// come from other hubs, perhaps of a newer version.
pub trait Machine: Send + 'static {
    /// Takes the next entry; answers what its proposer is told. An entry that
    /// makes no sense changes nothing and is answered as such. `index` grows from
    /// call to call, not by one.
    fn apply(&mut self, entry: &[u8], index: u64) -> Vec<u8>;

    /// The whole state. The machine keeps its state small enough for
    /// [`Limits::snapshot`](crate::Limits::snapshot), by refusing entries: a
    /// larger one cannot be stored or sent, and stops the council.
    fn snapshot(&self) -> Vec<u8>;

    /// Takes a state that [`Machine::snapshot`] gave in the place of its own.
    ///
    /// # Errors
    /// The bytes are none; the state is as before then.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError>;
}

/// A snapshot that the machine does not understand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot of the control state is not understood: {0}")]
pub struct RestoreError(pub String);
