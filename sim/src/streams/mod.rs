//! The streams layer of several hubs in one thread, from one seed, in virtual
//! time: what is told to producers, consumers and readers, held against what is
//! on the disks in the end.
//!
//! Each home has a real log ([`weft_log::Log`]) on a disk that loses what was
//! not synced, tears writes, fills up, fails and flips bits
//! ([`weft_log::fault::FaultFs`]); the deciders of copying and of consumers are
//! those of `weft-stream`. Around them: sessions that keep order and break,
//! messages between homes that are late and lost, producers that publish again
//! until they are answered, members that settle, refuse, forget and leave, and
//! readers that move from home to home. Homes lose their power at any operation
//! of the disk, or are killed; ways are cut; clocks jump, also back by a day.
//! Then all is mended, and everything must come to its end.
//!
//! Consumers run at one home each, are copied to the others, fail over, fail back
//! and are moved, by the machine that hubs use ([`weft_stream::seat`]).
//!
//! [`Check`] lists what is held; each has a [`Canary`] that it must find.
#![allow(clippy::module_name_repetitions, reason = "a home of a stream is a home of a stream")]

mod acts;
mod between;
mod canary;
mod clients;
mod drain;
mod faults;
mod home;
mod judge;
mod seating;
mod world;

pub use canary::Canary;
pub use judge::{Check, Tally, Violation};

/// Runs the streams of this seed to their end; answers what was checked.
///
/// # Errors
/// The first promise that was broken.
pub fn run(seed: u64, canary: Option<Canary>) -> Result<Tally, Box<Failure>> {
    world::World::new(seed, canary).run().map_err(|violation| Box::new(Failure { seed, violation }))
}

/// A broken promise and how to see it again.
pub type Failure = crate::broken::Failure<Check>;

/// An event, wherever it is: its producer and its number there.
pub(crate) type Name = (u64, u64);

/// What is wanted for a publish before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// In the log of a home: outlives the process.
    Written,
    /// On its disk.
    Synced,
    /// On the disks of two homes.
    Two,
}
