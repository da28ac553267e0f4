//! When to dial which neighbour: exponential back-off with full jitter
//! (Brooker, "Exponential Backoff And Jitter", 2015), as a pure decider.

use std::time::Duration;

use weft_base::{Mono, Random};

/// The links that this hub keeps by dialling.
pub(super) struct Neighbours {
    states: Vec<State>,
    first: Duration,
    most: Duration,
    random: Random,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// When to dial; none while dialling or linked.
    due: Option<Mono>,
    /// Failures since the last link that lasted.
    failures: u32,
    /// Since when the link stands, as this side sees it.
    up: Option<Mono>,
}

impl Neighbours {
    pub(super) fn new(count: usize, first: Duration, most: Duration, random: Random) -> Self {
        Self { states: vec![State { due: Some(Mono(0)), failures: 0, up: None }; count], first, most, random }
    }

    /// The neighbours to dial now; they count as being dialled from here on.
    pub(super) fn due(&mut self, now: Mono) -> Vec<usize> {
        let mut due = Vec::new();
        for (index, state) in self.states.iter_mut().enumerate() {
            if state.due.is_some_and(|at| at <= now) {
                state.due = None;
                due.push(index);
            }
        }
        due
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Mono> {
        self.states.iter().filter_map(|state| state.due).min()
    }

    /// A link stands on this side. The far side may still refuse it, so that
    /// what failed before counts until it has lasted for the longest pause.
    pub(super) fn up(&mut self, index: usize, now: Mono) {
        if let Some(state) = self.states.get_mut(index) {
            state.due = None;
            state.up = Some(now);
        }
    }

    /// A dial failed, or a link was lost; answers the pause before the next try.
    pub(super) fn down(&mut self, index: usize, now: Mono) -> Duration {
        let Some(state) = self.states.get_mut(index) else { return Duration::ZERO };
        if state.up.take().is_some_and(|up| now.since(up) >= self.most) {
            state.failures = 0;
        }
        let bound = self.first.saturating_mul(1 << state.failures.min(20)).min(self.most);
        state.failures = state.failures.saturating_add(1);
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        let pause = Duration::from_nanos(self.random.below(nanos.saturating_add(1)));
        state.due = Some(now + pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const MOST: Duration = Duration::from_secs(10);

    #[test]
    fn pauses_stay_below_a_bound_that_doubles_up_to_the_longest() {
        let mut n = Neighbours::new(1, FIRST, MOST, Random::from_seed(1));
        assert_eq!(n.due(Mono(0)), [0]);
        assert!(n.due(Mono(u64::MAX)).is_empty(), "it is being dialled");
        let mut longest = Duration::ZERO;
        for failures in 0..40 {
            let pause = n.down(0, Mono(0));
            assert!(pause <= FIRST.saturating_mul(1 << failures.min(20)).min(MOST));
            longest = longest.max(pause);
        }
        assert!(longest > Duration::from_secs(5), "it did grow: {longest:?}");
    }

    #[test]
    fn a_link_that_lasted_starts_from_the_first_pause_again() {
        let mut n = Neighbours::new(1, FIRST, MOST, Random::from_seed(2));
        for _ in 0..10 {
            n.down(0, Mono(0));
        }
        n.up(0, Mono(0));
        assert!(n.down(0, Mono(0) + MOST) <= FIRST);
    }

    #[test]
    fn links_that_the_far_side_refuses_at_once_do_not_start_the_pauses_again() {
        let mut n = Neighbours::new(1, FIRST, MOST, Random::from_seed(3));
        let (mut now, mut longest) = (Mono(0), Duration::ZERO);
        for _ in 0..40 {
            n.up(0, now);
            now = now + Duration::from_millis(5);
            let pause = n.down(0, now);
            longest = longest.max(pause);
            now = now + pause;
        }
        assert!(longest > MOST / 2, "the pauses did grow: {longest:?}");
    }
}
