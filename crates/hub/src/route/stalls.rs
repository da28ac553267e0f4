//! By what, in which lane and for how long the sessions are held back of which
//! something is held here: counted as it begins, as more of it comes, and as it ends.
//! As many as sessions of which something is held.

use weft_base::Lane;

use super::RouteStage;
use super::admit::Wait;
use crate::counters::{HeldBy, Stall};
use crate::messages::SessionId;

/// A session that is held back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stalled {
    by: HeldBy,
    lane: Lane,
    stall: Stall,
}

impl Wait {
    fn held_by(&self) -> HeldBy {
        match self {
            Self::Gate(_) => HeldBy::Subscriber,
            Self::Answers(_) | Self::Word(_) => HeldBy::Stream,
        }
    }
}

impl RouteStage {
    /// The first of what is held of a session waits for this.
    pub(super) fn begins_to_wait(&mut self, session: SessionId, wait: &Wait, lane: Lane) {
        let by = wait.held_by();
        if self.stalled.get(&session).is_some_and(|known| (known.by, known.lane) != (by, lane)) {
            self.waits_no_more(session);
        }
        let stalled = self.stalled.entry(session).or_insert(Stalled { by, lane, stall: Stall::default() });
        stalled.stall.set(true, self.now.mono, self.counters.publish_stalls.of_lane(by, lane));
    }

    /// More of it comes to wait behind that.
    pub(super) fn still_waits(&mut self, session: SessionId) {
        if let Some(Stalled { by, lane, stall }) = self.stalled.get_mut(&session) {
            stall.set(true, self.now.mono, self.counters.publish_stalls.of_lane(*by, *lane));
        }
    }

    /// Nothing is held of it.
    pub(super) fn waits_no_more(&mut self, session: SessionId) {
        if let Some(Stalled { by, lane, mut stall }) = self.stalled.remove(&session) {
            stall.set(false, self.now.mono, self.counters.publish_stalls.of_lane(by, lane));
        }
    }
}
