//! A live flow: events of one lane from an origin hub to a destination hub,
//! best effort. The origin numbers them, so that the destination can tell how
//! many it missed and refuses what comes late: what it accepts is in order.
//!
//! `sent = delivered + missed + under way` holds for each pair of lives: what
//! comes late was counted as missed when it was overtaken.

use weft_base::{Epoch, HubId};
use weft_wire::frame::{FlowEntry, FlowKind};

use crate::GroupKey;

/// The origin's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveSender {
    /// Which life of the destination the numbers are for.
    life: Epoch,
    next: u64,
}

impl LiveSender {
    /// A flow to this life of the destination. See [`LiveSender::restart`].
    #[must_use]
    pub fn new(destination: Epoch) -> Self {
        Self { life: destination, next: 0 }
    }

    /// Numbers the next block, of `events` events: answers its sequence, which
    /// is how many events were sent on this flow before it.
    pub fn take(&mut self, events: u64) -> u64 {
        let sequence = self.next;
        self.next += events;
        sequence
    }

    /// The entry for the next block, of `events` events, to `hub`.
    pub fn entry(&mut self, hub: HubId, events: u64) -> FlowEntry {
        let sequence = self.take(events);
        FlowEntry { hub, incarnation: self.life.0, kind: FlowKind::Live, retransmit: false, sequence, base: 0 }
    }

    /// The entry for the next block, of `events` events, for a member of a
    /// group at `hub`: numbered as the others, so that one that is lost is
    /// counted as missed.
    pub fn group_entry(&mut self, hub: HubId, events: u64, group: GroupKey) -> FlowEntry {
        FlowEntry { kind: FlowKind::Group, base: group.0, ..self.entry(hub, events) }
    }

    /// The destination is in a new life: it knows nothing of what was sent to
    /// the one before, so the numbers start again. Nothing happens when the
    /// life is not a new one.
    pub fn restart(&mut self, destination: Epoch) {
        if destination != self.life {
            *self = Self::new(destination);
        }
    }

    /// Events sent to this life of the destination.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.next
    }
}

/// What the destination makes of a live block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// Whether to deliver it; if not, it is late or was delivered before
    /// ([`DropReason::Late`](crate::DropReason::Late)).
    pub deliver: bool,
    /// Events of this flow that are lost just before this block: the gap to
    /// tell subscribers of, whose filters might have matched them.
    pub missed: u64,
}

/// The destination's end: one for each origin and lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveReceiver {
    own: Epoch,
    /// Life of the origin, life of this hub that the origin knew.
    lives: Option<(Epoch, u32)>,
    expected: u64,
}

impl LiveReceiver {
    /// A flow of which nothing has come. `own` is the life of this hub.
    #[must_use]
    pub fn new(own: Epoch) -> Self {
        Self { own, lives: None, expected: 0 }
    }

    /// The lives of origin and destination that the numbers are of.
    pub(super) fn lives(&self) -> Option<(Epoch, u32)> {
        self.lives
    }

    /// The number of the next event.
    pub(super) fn expected(&self) -> u64 {
        self.expected
    }

    /// How many events would be missed if this block were taken in; none of one
    /// that is late or was taken in before.
    pub(super) fn ahead(mut self, origin: Epoch, incarnation: u32, sequence: u64) -> Option<u64> {
        let live = self.accept(origin, incarnation, sequence, 0);
        live.deliver.then_some(live.missed)
    }

    /// A block of `events` events has come: `origin` is the epoch of its stamp,
    /// `incarnation` and `sequence` are its entry's.
    pub fn accept(&mut self, origin: Epoch, incarnation: u32, sequence: u64, events: u64) -> Live {
        let lives = (origin, incarnation);
        if self.lives.is_some_and(|known| lives < known) {
            return Live { deliver: false, missed: 0 };
        }
        if self.lives != Some(lives) {
            self.lives = Some(lives);
            // A sender that knows this life of ours counted from zero for it. One
            // that does not yet counts for a life whose misses are not ours.
            self.expected = if incarnation == self.own.0 { 0 } else { sequence };
        }
        if sequence < self.expected {
            return Live { deliver: false, missed: 0 };
        }
        let missed = sequence - self.expected;
        self.expected = sequence.saturating_add(events);
        Live { deliver: true, missed }
    }
}
