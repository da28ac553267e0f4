//! What a run of one seed says when a promise was broken in it.

use std::fmt;

/// A broken promise, of those that a simulation lists in `C`.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{check:?} at {at_ms} ms: {what}")]
pub struct Violation<C: fmt::Debug> {
    /// Which.
    pub check: C,
    /// When, in virtual time.
    pub at_ms: u64,
    /// What was found.
    pub what: String,
}

/// A broken promise and how to see it again.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed}: {violation}")]
pub struct Failure<C: fmt::Debug> {
    /// What the run was made from.
    pub seed: u64,
    /// What was wrong.
    pub violation: Violation<C>,
}
