//! At which home of its stream a consumer runs, and how it gets to another.
//! Pure: it is told what other homes say and what members want, and answers by
//! calls of its [`Host`], which has the consumers, the logs and the network.
//!
//! A consumer runs at one home, its *seat*: of the homes that can be reached the
//! one that an operator prefers, else the one with the least id; so every hub
//! picks the same. The seat sends the others copies of the consumer's state,
//! which they keep *aside*. Who is asked for a consumer whose seat it is takes
//! it over from the newest copy, under a greater [`Version`]; whoever ran it
//! before lets go when it hears of that. Greater versions have greater tokens,
//! which fence off what members still say to the old seat.
//!
//! A home takes nothing over before it has heard from all homes that it reaches,
//! and asks one that still runs the consumer to hand it over: that one ends its
//! memberships, sends its last state until the other has it, and lets go only
//! then. The other waits for the events of which that speaks, if its log has them
//! not yet: of what is not there it could not keep that it was settled or handed
//! out. So a move loses what was in flight, which is handed out again; a death
//! also what was settled since the last copy, or was never copied, and nothing else.
//!
//! Messages may be lost: asks, hand-overs and copies are sent again. Bounds:
//! [`Settings::aside`] copies, beyond which new consumers of other homes are not
//! known here; as many preferences of other hubs, and of names of
//! consumers that were deleted, by which others are told who missed that.

mod machine;
mod moves;
mod prefers;
mod state;
#[cfg(test)]
mod tests;
mod told;
mod why;

use std::time::Duration;

pub use machine::Seats;
pub use state::{State, merged};
pub use told::{Copy, Preference, Prefers, Told, Version};
use weft_base::HubId;
pub use why::{MoveError, Waits};

use crate::replica::Position;

/// A consumer: its stream's number, and its name there.
pub type Id = (u64, String);

/// What does not change.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This hub.
    pub me: HubId,
    /// Its name.
    pub name: String,
    /// Which life of it this is: greater at each start.
    pub epoch: u32,
    /// Copies kept of consumers of other homes, at most.
    pub aside: usize,
    /// How often what was not answered is said again.
    pub again: Duration,
    /// How long a hand-over may take before it is given up, and for how long a
    /// home that still has a consumer is asked to hand it over.
    pub patience: Duration,
}

/// Who has the consumers, the logs and the network.
pub trait Host {
    /// What a consumer is, besides its name and where it runs.
    type Definition: Clone;

    /// Whether this hub keeps the stream.
    fn keeps(&self, stream: u64) -> bool;
    /// The other homes of a stream that can be reached, as the directory says.
    fn homes(&self, stream: u64) -> Vec<HubId>;
    /// Whether a hub, this one or another, is about to stop.
    fn drains(&self, hub: HubId) -> bool;
    /// Whether this hub's log holds all up to this position. True also when that
    /// cannot be told.
    fn has(&mut self, stream: u64, upto: &Position) -> bool;
    /// What a consumer is that is installed here, and how far it is. None when
    /// the log cannot be read now.
    fn state(&mut self, id: &Id) -> Option<(Self::Definition, State)>;
    /// Installs a consumer as a copy says, under a generation greater than
    /// that of the copy, which it answers; none when it cannot. `merges`: what
    /// is installed here is the same life of it, and what it has settled counts
    /// too. `preference` is kept with it.
    fn install(&mut self, copy: &Copy<Self::Definition>, merges: bool, preference: &Preference) -> Option<u32>;
    /// What is installed here runs here from now on. Answers its generation.
    fn claim(&mut self, id: &Id) -> u32;
    /// Its members are told that it moves, and nothing is handed out.
    fn halt(&mut self, id: &Id, why: &str);
    /// It stays after all.
    fn resume(&mut self, id: &Id);
    /// It runs elsewhere now: it is taken out, and its members are told.
    fn let_go(&mut self, id: &Id, why: &str);
    /// It was deleted elsewhere: nothing is left of it here, also when it is not
    /// installed any more.
    fn delete(&mut self, id: &Id);
    /// A preference has changed: it is written with the definition, if the
    /// consumer is installed here.
    fn prefer(&mut self, id: &Id, preference: &Preference);
    /// A copy is to outlive the process, or none any more.
    fn keep(&mut self, id: &Id, copy: Option<&Copy<Self::Definition>>);
    /// What somebody asked [`Seats::move_to`] for is done, or not.
    fn moved(&mut self, id: &Id, outcome: Result<(), MoveError>);
    /// A message to another hub.
    fn send(&mut self, to: HubId, told: Told<Self::Definition>);
}

/// The seat of a consumer among the homes that can be reached: the preferred
/// one, else the one with the least id. `drains`: homes that are about to stop,
/// which count only where there is no other.
pub fn seat(
    homes: impl IntoIterator<Item = HubId>,
    preferred: Option<HubId>,
    drains: impl Fn(HubId) -> bool,
) -> Option<HubId> {
    homes.into_iter().min_by_key(|home| (drains(*home), Some(*home) != preferred, *home))
}
