//! Layer 2: the mesh's decider, and the pure parts of the data path beside it.
//!
//! * [`Mesh`] knows who is in the mesh and what each hub wants: a state machine
//!   `apply(event, now, &mut commands)` without socket, clock or thread.
//! * [`Routes`] is its product: an immutable snapshot that answers which hubs
//!   want a topic and which link leads to each. [`split`] sorts a block's
//!   destinations by links with it.
//! * [`flow`] is the state of what one hub sends to another, at both ends.
//! * [`plan`] says beforehand what a change of the mesh would do.
//! * [`Picker`] decides which hubs to link to, where that is left to it.
//! * [`ledger`] counts what became of every event, [`crossing`] compares what
//!   both ends of a link counted.
//!
//! Behaviour depends on events, times and the seed alone, never on addresses or
//! on the order of a hash table. Everything is bounded: see [`Limits`]. What a
//! neighbour sends is not trusted beyond what it may say: a bad frame costs it
//! its link, with a reason. Nothing here knows of blocks' bytes, sessions,
//! streams' content or disks.
#![forbid(unsafe_code)]

mod apart;
mod book;
mod bound;
mod close;
mod costs;
pub mod crossing;
mod damp;
mod filters;
mod flap;
pub mod flow;
#[cfg(test)]
mod graphs;
pub mod groups;
mod health;
mod labels;
pub mod ledger;
mod life;
mod link;
mod local;
mod mesh;
mod options;
mod pick;
pub mod plan;
mod report;
mod routes;
mod spf;
mod spread;
mod streams;
mod transfer;

pub use apart::{Along, TwoPaths};
pub use book::{Dialled, MAX_ADDRESS, MAX_ADDRESSES};
pub use close::CloseReason;
pub use costs::Weights;
pub use damp::MOST as MAX_DAMPED;
pub use groups::{GroupHub, GroupKey, Turns};
pub use ledger::{DropReason, Ledger};
pub use life::{Life, Remembered};
pub use link::{DOUBTED, DRAINING, MOST_COST, SUSPECTED};
pub use mesh::{ClientPlace, Command, Event, LinkNotice, LiveAt, Mesh, ReceiptLine};
pub use options::{HubInfo, Limits, MAX_HUBS, MAX_LABEL, MAX_LABELS, MAX_WAYS, MeshOptions, Timers};
pub use pick::{EASED, Linked, Pick, PickOptions, Pickable, Picker, Why};
pub use report::{Counters, HubReport, LinkReport, Report};
pub use routes::{INITIAL_TTL, Learned, Path, Routes, Split, hops, split};
pub use spread::Spreading;
pub use streams::{StreamDef, StreamHome, StreamHub};
pub use weft_wire::frame::{InterestKind as Kind, LiveState};

/// A link of this hub, named by whoever moves its bytes. Never used again for
/// another link in the same life of the hub; of two links to the same neighbour
/// the one with the smaller id is used while it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);
