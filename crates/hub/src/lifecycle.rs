//! Where a hub is in its life, shared by its stages and its owner.

use weft_base::Mono;
use weft_base::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crate::drain::DrainBoard;

/// Where a hub is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    Running = 0,
    /// Nothing new is taken; what is under way is finished.
    Draining = 1,
    /// The peers are told, the last bytes are written.
    Closing = 2,
    Closed = 3,
}

/// The hub's phase, shared by its stages and its owner.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    phase: AtomicU8,
    late: AtomicU64,
    /// What other homes must know of consumers is on its way.
    parted: AtomicBool,
    /// How its clients are sent elsewhere before that.
    pub(crate) board: DrainBoard,
}

impl Lifecycle {
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Draining,
            2 => Phase::Closing,
            _ => Phase::Closed,
        }
    }

    /// Goes on to a later phase; never back.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.phase() != Phase::Running
    }

    /// The consume stage has sent its last.
    pub(crate) fn part(&self) {
        self.parted.store(true, Ordering::Release);
    }

    pub(crate) fn has_parted(&self) -> bool {
        self.parted.load(Ordering::Acquire)
    }

    pub(crate) fn drain_until(&self, when: Mono) {
        self.late.store(when.0, Ordering::Release);
    }

    pub(crate) fn is_late(&self, now: Mono) -> bool {
        let late = self.late.load(Ordering::Acquire);
        late != 0 && now.0 >= late
    }
}
