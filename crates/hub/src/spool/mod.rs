//! The spool: publishes for streams of which no home can be reached wait on the
//! disk of the hub where they entered the mesh, for those streams that ask for it.
//!
//! The route stage decides what goes there ([`Known`], and `route/spool.rs`),
//! the append stage keeps it in a log for each stream ([`Progress`], and
//! `append/spool.rs`) and hands it back, in order, when a home can be reached;
//! from there it goes by the ordinary flow. Full, or on a full disk, publishes
//! are refused. See docs/adr/0010-the-spool-is-behind-the-flow.md.

mod known;
mod progress;

use serde::{Deserialize, Serialize};
use weft_ring::arena::BlockMut;
use weft_wire::frame::ErrorCode;

pub(crate) use self::known::{Known, Patience};
pub(crate) use self::progress::{Progress, Size};

/// A stream that is spooled for, as it lies in `DATA/spool/streams.json`: what a
/// hub must know of it while nobody can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SpooledStream {
    /// The same at all its homes.
    pub(crate) id: u64,
    pub(crate) name: String,
    /// What it captures.
    pub(crate) filters: Vec<String>,
    /// The names of its homes.
    pub(crate) homes: Vec<String>,
}

/// What the route stage begins with.
#[derive(Debug, Default)]
pub(crate) struct SpoolStart {
    /// The streams that were known before.
    pub(crate) known: Vec<SpooledStream>,
    /// Of them, or of others, those that something is spooled for.
    pub(crate) waiting: Vec<u64>,
    /// There is a disk to spool to.
    pub(crate) has_disk: bool,
}

/// Where a block lies in a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpoolPlace {
    pub(crate) stream: u64,
    /// Its first sequence in the spool's log.
    pub(crate) at: u64,
    /// In which round of sending it was handed out; see [`Round`].
    pub(crate) round: u32,
}

/// A block of a spool, for its stream's home.
pub(crate) struct FromSpool {
    pub(crate) place: SpoolPlace,
    /// As its hub stamped it.
    pub(crate) block: BlockMut,
}

/// Sending from a spool begins anew, with the first block that its home is not
/// known to have: what was handed out before counts no more, so that nothing
/// overtakes what has to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) stream: u64,
    pub(crate) round: u32,
    /// A home can be reached; else nothing is handed out.
    pub(crate) open: bool,
    /// Not at once: the home, or the way there, takes nothing more now.
    pub(crate) wait: bool,
    /// The block that the home refused, and why.
    pub(crate) refused: Option<(u64, ErrorCode)>,
}
