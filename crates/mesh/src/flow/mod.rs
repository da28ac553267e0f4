//! Flows: what one hub sends to another, per lane, end to end over any number
//! of hubs between them. Pure state; the hub moves the bytes.
//!
//! * Live ([`LiveSender`], [`LiveReceiver`]): best effort. Numbered by events,
//!   so that the destination counts what it misses and refuses what is late.
//! * [`Merge`]: a live flow that comes over two paths, of each block the first
//!   copy.
//! * Guaranteed ([`Sender`], [`Receiver`]): go-back-N by block number. The
//!   origin holds each block until the destination has synced it. Order and
//!   completeness hold from one life of the origin to one life of the
//!   destination. When either restarts, blocks may arrive again that an earlier
//!   life stored: **the destination removes those by their producer's sequence
//!   numbers**, which no restart changes. That is not done here.
//! * [`Seen`]: the duplicate cut of a transit hub. Entries marked `retransmit`
//!   pass it, since a lost block that comes again was seen before the loss.

mod guaranteed;
mod live;
mod merge;
#[cfg(test)]
mod merge_tests;
mod receiver;
mod seen;
#[cfg(test)]
mod tests;

pub use guaranteed::{Pushed, RetransmitOptions, Sender};
pub use live::{Live, LiveReceiver, LiveSender};
pub use merge::{Came, MOST_WAITING, Merge, Merged};
pub use receiver::{Receiver, Verdict};
pub use seen::{Cut, Seen, WINDOW};
