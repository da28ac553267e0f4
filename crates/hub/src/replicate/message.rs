//! What the append and the replicate stage say to each other.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use weft_base::HubId;
use weft_base::sync::atomic::AtomicBool;
use weft_log::LogReader;
use weft_ring::arena::BlockRef;
use weft_stream::heal::{Looked, Segment};
use weft_stream::replica::{Copies, Position};

use crate::append::{Mending, StreamSpec};
use crate::messages::StreamSlot;

/// How a stream's copying is, as the replicate stage last looked at it.
pub(crate) type Shown = Arc<ArcSwapOption<Showing>>;

/// What is said of a stream to who asks.
#[derive(Debug)]
pub(crate) struct Showing {
    /// Of each home that is known, the next sequence.
    pub(crate) position: Vec<(HubId, u64)>,
    /// How the copying from each source is.
    pub(crate) state: String,
}

/// A stream as the replicate stage knows it.
pub(crate) struct Replicated {
    pub(crate) spec: StreamSpec,
    pub(crate) reader: LogReader,
    /// What its log holds.
    pub(crate) position: Position,
    /// Where its log ends; all before it is on disk.
    pub(crate) local: u64,
    /// Whether somebody wants to know when more of it is on disk.
    pub(crate) watched: Arc<AtomicBool>,
    /// Whether somebody wants to know all that the other homes have on disk.
    pub(crate) ends_wanted: Arc<AtomicBool>,
    /// Other homes have events that entered here and are here no more.
    pub(crate) behind_itself: Arc<AtomicBool>,
    pub(crate) shown: Shown,
    /// Its log, for repairs.
    pub(crate) mending: Mending,
}

/// Inbox of the replicate stage, beside what other hubs say.
pub(crate) enum ToReplicate {
    /// A stream is there.
    StreamUp { slot: StreamSlot, stream: Box<Replicated> },
    /// It is gone.
    StreamDown { slot: StreamSlot },
    /// Its definition is another now.
    Altered { slot: StreamSlot, spec: Box<StreamSpec> },
    /// Copies are in the log, which ends here now.
    Placed { slot: StreamSlot, id: u64, log_next: u64 },
    /// Copies were not taken, nor will be those behind.
    Refused { slot: StreamSlot, id: u64 },
    /// More of a stream that is watched is on disk.
    Synced { slot: StreamSlot },
    /// A segment looks like this.
    Looked { at: Segment, looked: Looked },
    /// What was damaged of a segment is repaired, or why not.
    Mended { at: Segment, result: Result<(), String> },
}

/// Blocks of another home to append.
pub(crate) struct CopyBatch {
    pub(crate) copies: Copies,
    /// What their places refer to; none without copies.
    pub(crate) entries: Option<BlockRef>,
}
