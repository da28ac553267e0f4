//! Councils of several hubs in one thread, from one seed, in virtual time: what
//! clients were told, held against one order of all that happened.
//!
//! The councils are the real ones of `weft-consensus`, with their storage on a
//! disk that loses what was not synced ([`weft_consensus::disk::FaultDisk`]).
//! Around them: a network that delays, loses and is cut, hubs that lose power,
//! are killed, lose their disk or see it fail, clients at any hub that write,
//! compare and set, and read, and an operator that changes the voters. Then all
//! is mended, and everything must come to its end.
//!
//! [`Check`] lists what is held; each has a [`Canary`] that it must find.

mod canary;
mod history;
mod judge;
mod machine;
mod world;

pub use canary::Canary;
pub use judge::{Check, Tally, Violation};

/// Runs the councils of this seed to their end; answers what was checked.
///
/// # Errors
/// The first promise that was broken.
pub fn run(seed: u64, canary: Option<Canary>) -> Result<Tally, Box<Failure>> {
    world::World::new(seed, canary).run().map_err(|violation| Box::new(Failure { seed, violation }))
}

/// A broken promise and how to see it again.
pub type Failure = crate::broken::Failure<Check>;
