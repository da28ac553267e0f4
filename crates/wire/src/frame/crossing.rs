//! Between hubs: what crossed a link, as both of its ends count it.

use weft_base::Lane;

use super::FrameError;
use super::codec::{Reader, Writer};

/// The most columns of a [`LinkLedger`]: the classes of topics that a hub may
/// have, what is in none, and what is no event.
pub const MAX_LEDGER_COLUMNS: usize = 66;

/// What was sent on a lane of this link since it opened, up to this frame: it
/// stands behind the `Forward`s that it counts, on their channel. Answered by
/// [`LinkCounted`]; until then no other of the lane is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkLedger {
    /// The lane.
    pub lane: Lane,
    /// Blocks. Never fewer than before.
    pub blocks: u64,
    /// A hash of what the columns are: where it is the other end's too, columns
    /// are compared with each other, and otherwise their sums.
    pub columns: u64,
    /// Events of the blocks, by column: each class of topics, then those in none,
    /// then messages between hubs.
    pub events: Vec<u64>,
}

impl LinkLedger {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        Ok(Self {
            lane: r.one_of("lane", Lane::new)?,
            blocks: r.u64("blocks")?,
            columns: r.u64("columns")?,
            events: r.list("events", MAX_LEDGER_COLUMNS, 8, |r| r.u64("event count"))?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u8(self.lane.get());
        w.u64(self.blocks);
        w.u64(self.columns);
        w.list("events", &self.events, MAX_LEDGER_COLUMNS, |w, events| w.u64(*events));
    }
}

/// What the other end had counted when a [`LinkLedger`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkCounted {
    /// The lane.
    pub lane: Lane,
    /// Blocks, as that said.
    pub blocks: u64,
    /// Events that had come, those that were counted as not taken in among them.
    pub events: u64,
}

impl LinkCounted {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        Ok(Self { lane: r.one_of("lane", Lane::new)?, blocks: r.u64("blocks")?, events: r.u64("events")? })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u8(self.lane.get());
        w.u64(self.blocks);
        w.u64(self.events);
    }
}
