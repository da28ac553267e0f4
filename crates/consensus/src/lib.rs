//! Raft for control state: a council is one hub's part in it.
//!
//! A [`Machine`] is replicated, whose entries are opaque here. Some hubs vote; all
//! others learn. The algorithm is openraft's; here are its storage, its messages,
//! its time and chance, who belongs to the cluster, and the requests of hubs that
//! do not lead. No socket, thread, runtime or clock of its own: a hub and a
//! simulator drive a council alike, and the same inputs lead to the same outputs.
//!
//! # How to drive it
//!
//! 1. **Open**: [`Council::open`] with [`Options::of`], storage
//!    ([`Kept::open`] on `DATA/control.redb`), a machine as new, the time, and
//!    `Random::from_entropy()` (in simulations a seed). Opening and each step may
//!    wait for the disk (a sync, about a millisecond on an SSD), so a hub gives it
//!    a stage of its own, not one on the events' path.
//! 2. **Say who is there**: [`Council::set_hubs`] with all hubs that can be
//!    reached, by any number of links, whenever that changes.
//! 3. **Step**: [`Council::step`] after everything that came (2., 4. and 5., any
//!    number of them in a turn), and at the latest at the time that the last step
//!    named. `None`: it has stopped, and need not be called again. It puts
//!    [`Command`]s into the list in the order in which they are to be carried out.
//! 4. **Pass on**: the bytes of [`Command::Send`] as one message to that hub's
//!    [`Council::on_message`]. Of one hub, messages arrive in the order in which
//!    they were sent, once or not at all, unchanged, and from whom the link's
//!    certificate says; they may be late or lost. Each is at most
//!    [`Limits::message`] long. They need no acknowledgement and should not wait
//!    long: where there is no room, drop the newest. `Err` of `on_message` is a
//!    peer that speaks nonsense or a newer version: count it.
//! 5. **Ask**: [`Council::propose`], [`Council::read`], [`Council::set_voters`],
//!    with a number of yours, at any hub; [`Command::Answered`] comes once for
//!    each that was taken, within [`Options::patience`]. After
//!    [`Outcome::Read`], look at the machine of this hub
//!    ([`Council::with_machine`]) before the next step or after, never before the
//!    answer. After [`Outcome::Unknown`] ask the state, or propose again with the
//!    same id inside, if the machine knows ids.
//! 6. **Follow**: on [`Command::Applied`] the machine has changed; look at it.
//!    [`Council::age`] says how long this hub has heard no leader, so how old its
//!    state may be. [`Command::Leader`], [`Command::Membership`] and
//!    [`Command::Trouble`] are for status and log. [`Command::Stopped`]: the disk
//!    failed, or the machine broke its contract; the hub goes on with the state it
//!    has, and says so.
//!
//! Dropping a council is a crash, of which nothing that was acknowledged is lost.
//! There is nothing to close.
//!
//! # What if it is full
//!
//! Requests: [`ProposeError::Full`]. Requests of others: they try again until
//! their time is up. The log: a snapshot, then its beginning goes. Messages of
//! others under way: dropped, as a network may. Long messages: dropped, and sent
//! again by who waits for an answer. Members: not added, and told.
#![forbid(unsafe_code)]
#![allow(clippy::result_large_err, reason = "the errors of openraft are as large as it made them, and rare")]

mod codec;
mod council;
pub mod disk;
mod inbox;
mod kept;
mod ledger;
mod machine;
mod members;
mod message;
mod network;
mod options;
mod parcel;
mod replica;
mod requests;
mod runtime;
mod storage;
#[cfg(test)]
mod tests;
mod types;

pub use codec::CodecError;
pub use council::{Command, Council, OpenError};
pub use kept::Kept;
pub use machine::{Machine, RestoreError};
pub use members::Trouble;
pub use message::check;
pub use options::{Limits, MOST_VOTERS, Options, OptionsError};
pub use requests::{Outcome, ProposeError};
pub use storage::{Change, Owner, Storage, StorageError, Stored};
pub use types::Member;
