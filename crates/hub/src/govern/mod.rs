//! What governs this hub: the state that it has, and who is told when it changes.
//!
//! Who replicates the state puts it in; stages that decide by it take it from
//! here. Only the last state is kept: who looks late has missed nothing. Never
//! waits but for the few instructions of another caller.

mod aside;
mod ask;
mod council;
mod counts;
mod judge;
mod login;
mod quotas;
mod show;
mod stage;
mod vet;
mod why;
mod wiring;

use std::sync::Arc;

use arc_swap::ArcSwap;
use weft_base::sync::{Mutex, MutexGuard};
use weft_govern::State;
use weft_ring::stage::StageWaker;

pub(crate) use self::aside::Trail as AsideTrail;
pub use self::aside::{Aside, Changed, Refused, Reply};
pub(crate) use self::ask::ToGovern;
pub use self::council::{Council, Ended, OpenCouncil, Seat, Standing, Word};
pub use self::counts::GovernCounts;
pub(crate) use self::judge::{JudgeStage, Judged, ToJudge};
pub(crate) use self::login::{LoggedIn, LoginStage, ToLogin};
pub(crate) use self::quotas::{Owner, Quotas};
pub use self::vet::{Objection, Vet};
pub use self::wiring::Governance;
pub(crate) use self::wiring::Wires;

/// The most stages that are woken by a new state; more is a mistake of the hub's own code.
const MOST_WATCHERS: usize = 16;

/// The state that governs a hub, shared by who fills it and who reads it.
#[derive(Clone, Default)]
pub struct Governed {
    state: Arc<ArcSwap<State>>,
    watchers: Arc<Mutex<Vec<StageWaker>>>,
}

impl Governed {
    /// With this state to begin with; by default an empty one, version 0.
    #[must_use]
    pub fn new(state: Arc<State>) -> Self {
        Self { state: Arc::new(ArcSwap::new(state)), watchers: Arc::default() }
    }

    /// The state put in last.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Its version, without a copy of anything: for who looks at each turn.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.state.load().version()
    }

    /// Puts a state in and wakes who watches. One that is not newer than what is
    /// there is left out: states come in order or not at all. Answers whether it
    /// was put in.
    pub fn put(&self, state: Arc<State>) -> bool {
        // Held over both steps, so that of two callers the newer state stays.
        let watchers = self.locked();
        if state.version() <= self.version() {
            return false;
        }
        self.state.store(state);
        for waker in watchers.iter() {
            waker.wake();
        }
        true
    }

    /// Has a stage woken whenever a state is put in. Before each sleep the stage
    /// compares [`Governed::version`] with what it knows.
    pub(crate) fn watch(&self, waker: StageWaker) {
        let mut watchers = self.locked();
        debug_assert!(watchers.len() < MOST_WATCHERS, "a hub has a few stages, each of which watches once");
        if watchers.len() < MOST_WATCHERS {
            watchers.push(waker);
        }
    }

    fn locked(&self) -> MutexGuard<'_, Vec<StageWaker>> {
        // Each holder's change is one insertion: nothing is half done.
        self.watchers.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Governed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Governed").field("version", &self.version()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_takes_the_place_of_an_older_one_alone() {
        let governed = Governed::default();
        let one = Arc::new(State::default().with([], &[]));
        let two = Arc::new(one.with([], &[]));
        assert!(governed.put(two.clone()));
        assert!(!governed.put(one));
        assert!(!governed.put(two));
        assert_eq!((governed.version(), governed.state().version()), (2, 2));
    }
}
