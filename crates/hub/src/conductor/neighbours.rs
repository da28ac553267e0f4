//! When to dial which neighbour, and when to leave it alone: exponential
//! back-off with full jitter (Brooker, "Exponential Backoff And Jitter", 2015)
//! and a circuit breaker (Nygard, "Release It!", 2007), as a pure decider.
//!
//! A failure is a dial that comes to nothing, a handshake that is refused, and a
//! link that dies young. After so many in a row the circuit of that neighbour
//! is open: it is dialled at the slowest rate alone, one trial at a time. A link
//! that comes of a trial closes it once it has lasted; whatever ends before
//! that opens it again.

use std::time::Duration;

use weft_base::{Mono, Random};

/// How often and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The bound of the first pause; it doubles with each failure.
    pub(super) first: Duration,
    /// The longest pause.
    pub(super) most: Duration,
    /// How long a link must last for failures before it to be forgotten.
    pub(super) stable: Duration,
    /// Failures in a row that open the circuit.
    pub(super) failures: u32,
}

/// Whether a neighbour is dialled as usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Circuit {
    Closed,
    /// A trial is under way, or its link stands and has not lasted yet.
    HalfOpen,
    /// It waits for the next trial.
    Open,
}

/// The links that this hub keeps by dialling.
pub(super) struct Neighbours {
    states: Vec<State>,
    pace: Pace,
    random: Random,
    opened: u64,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// When to dial; none while dialling or linked.
    due: Option<Mono>,
    /// Failures since the last link that lasted.
    failures: u32,
    /// Since when the link stands, as this side sees it.
    up: Option<Mono>,
    circuit: Circuit,
    /// Nothing is dialled: an operator took the link away.
    is_off: bool,
    /// A dial is under way, or its link has not ended yet.
    is_busy: bool,
}

/// What comes of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// Before the next try.
    pub(super) pause: Duration,
    /// In a row.
    pub(super) failures: u32,
    /// The circuit was closed until now.
    pub(super) opened: bool,
}

impl Neighbours {
    pub(super) fn new(count: usize, pace: Pace, random: Random) -> Self {
        Self { states: vec![State::new(); count], pace, random, opened: 0 }
    }

    /// One more, which is not dialled yet.
    pub(super) fn add(&mut self) {
        self.states.push(State { due: None, is_off: true, ..State::new() });
    }

    /// Whether this one is dialled from now on: when it was not before, at once, or
    /// as soon as what it was dialled for last has ended.
    pub(super) fn keep(&mut self, index: usize, is_wanted: bool, now: Mono) {
        let Some(state) = self.states.get_mut(index).filter(|state| state.is_off == is_wanted) else { return };
        *state = match is_wanted {
            true => {
                State { due: (!state.is_busy).then_some(now), up: state.up, is_busy: state.is_busy, ..State::new() }
            }
            false => State { due: None, is_off: true, ..*state },
        };
    }

    /// Whether nothing is to be done with this one any more, so that its place may
    /// be another's.
    pub(super) fn is_idle(&self, index: usize) -> bool {
        self.states.get(index).is_some_and(|state| state.is_off && !state.is_busy)
    }

    /// Its place is another's from here on, which is not dialled yet.
    pub(super) fn renew(&mut self, index: usize) {
        if let Some(state) = self.states.get_mut(index) {
            *state = State { due: None, is_off: true, ..State::new() };
        }
    }

    /// Whether there is a link, and it did not fail before or has lasted since.
    pub(super) fn stands(&self, index: usize, now: Mono) -> bool {
        let state = self.states.get(index);
        let up = state.and_then(|state| Some((state, state.up?)));
        up.is_some_and(|(state, up)| state.failures == 0 || now.since(up) >= self.pace.stable)
    }

    /// The neighbours to dial now; they count as being dialled from here on.
    pub(super) fn due(&mut self, now: Mono) -> Vec<usize> {
        let mut due = Vec::new();
        for (index, state) in self.states.iter_mut().enumerate() {
            if state.due.is_some_and(|at| at <= now) {
                (state.due, state.is_busy) = (None, true);
                if state.circuit == Circuit::Open {
                    state.circuit = Circuit::HalfOpen;
                }
                due.push(index);
            }
        }
        due
    }

    /// The neighbours whose circuits close now, because their links have lasted.
    pub(super) fn lasted(&mut self, now: Mono) -> Vec<usize> {
        let stable = self.pace.stable;
        let lasted =
            self.states.iter_mut().enumerate().filter(|(_, state)| state.lasts(stable).is_some_and(|at| at <= now));
        lasted
            .map(|(index, state)| {
                (state.circuit, state.failures) = (Circuit::Closed, 0);
                index
            })
            .collect()
    }

    /// When something is due.
    pub(super) fn next(&self) -> Option<Mono> {
        self.states.iter().flat_map(|state| [state.due, state.lasts(self.pace.stable)]).flatten().min()
    }

    /// A link stands on this side. The far side may still refuse it, so that
    /// what failed before counts until it has lasted.
    pub(super) fn up(&mut self, index: usize, now: Mono) {
        if let Some(state) = self.states.get_mut(index) {
            (state.due, state.is_busy) = (None, true);
            state.up = Some(now);
        }
    }

    /// A dial failed, or a link was lost.
    pub(super) fn down(&mut self, index: usize, now: Mono) -> Failed {
        let Pace { first, most, stable, failures } = self.pace;
        let Some(state) = self.states.get_mut(index) else {
            return Failed { pause: Duration::ZERO, failures: 0, opened: false };
        };
        state.is_busy = false;
        if state.up.take().is_some_and(|up| now.since(up) >= stable) {
            (state.failures, state.circuit) = (0, Circuit::Closed);
        }
        if state.is_off {
            return Failed { pause: Duration::ZERO, failures: 0, opened: false };
        }
        let before = state.failures;
        state.failures = before.saturating_add(1);
        let opened = state.circuit == Circuit::Closed && state.failures >= failures;
        if opened || state.circuit != Circuit::Closed {
            state.circuit = Circuit::Open;
        }
        // An open circuit is tried at the slowest rate: never after less than half of the longest pause.
        let pause = match state.circuit {
            Circuit::Open => most / 2 + self.random.up_to(most / 2),
            _ => self.random.pause(first, most, before),
        };
        state.due = Some(now + pause);
        self.opened += u64::from(opened);
        Failed { pause, failures: state.failures, opened }
    }

    /// The circuit of a neighbour, and its failures in a row.
    pub(super) fn circuit(&self, index: usize) -> (Circuit, u32) {
        self.states.get(index).map_or((Circuit::Closed, 0), |state| (state.circuit, state.failures))
    }

    /// Whether there should be a link, there is none, and not because it is new.
    pub(super) fn is_lost(&self, index: usize) -> bool {
        self.states.get(index).is_some_and(|state| !state.is_off && state.up.is_none() && state.failures > 0)
    }

    /// How often a circuit was opened.
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }
}

impl State {
    const fn new() -> Self {
        Self { due: Some(Mono(0)), failures: 0, up: None, circuit: Circuit::Closed, is_off: false, is_busy: false }
    }

    /// When the link of a trial will have lasted.
    fn lasts(&self, stable: Duration) -> Option<Mono> {
        self.up.filter(|_| self.circuit == Circuit::HalfOpen).map(|up| up + stable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(10);
    const STABLE: Duration = Duration::from_secs(20);
    const PACE: Pace = Pace { first: Duration::from_millis(100), most: MOST, stable: STABLE, failures: 5 };

    fn one(seed: u64) -> Neighbours {
        Neighbours::new(1, PACE, Random::from_seed(seed))
    }

    #[test]
    fn pauses_stay_below_a_bound_that_doubles_up_to_the_longest() {
        let pace = Pace { failures: u32::MAX, ..PACE };
        let mut n = Neighbours::new(1, pace, Random::from_seed(1));
        assert_eq!(n.due(Mono(0)), [0]);
        assert!(n.due(Mono(u64::MAX)).is_empty(), "it is being dialled");
        let mut longest = Duration::ZERO;
        for failures in 0..40 {
            let pause = n.down(0, Mono(0)).pause;
            assert!(pause <= PACE.first.saturating_mul(1 << failures.min(20)).min(MOST));
            longest = longest.max(pause);
        }
        assert!(longest > Duration::from_secs(5), "it did grow: {longest:?}");
    }

    #[test]
    fn one_is_lost_from_its_first_failure_until_it_is_linked_or_not_wanted() {
        let mut n = one(4);
        assert!(!n.is_lost(0), "nothing was tried");
        n.due(Mono(0));
        n.down(0, Mono(1));
        assert!(n.is_lost(0));
        n.up(0, Mono(2));
        assert!(!n.is_lost(0));
        n.down(0, Mono(3));
        assert!(n.is_lost(0));
        n.keep(0, false, Mono(4));
        assert!(!n.is_lost(0) && !n.is_lost(1));
    }

    #[test]
    fn one_that_is_not_wanted_is_not_dialled_and_one_that_is_again_is_at_once() {
        let mut n = one(5);
        n.add();
        assert_eq!(n.due(Mono(0)), [0], "the second is not wanted yet");
        n.keep(0, false, Mono(1));
        n.down(0, Mono(2));
        assert_eq!((n.next(), n.due(Mono(u64::MAX))), (None, vec![]));
        n.keep(1, true, Mono(3));
        n.keep(0, true, Mono(5));
        assert_eq!((n.due(Mono(4)), n.due(Mono(5))), (vec![1], vec![0]));
        n.up(0, Mono(6));
        n.keep(0, true, Mono(7));
        assert_eq!(n.next(), None, "it is linked, and stays so");
    }

    /// What is taken back right after it was done found the old link not ended yet,
    /// and dialled a second one.
    #[test]
    fn one_that_is_wanted_again_before_its_link_has_ended_is_dialled_once() {
        for is_up in [true, false] {
            let mut n = one(6);
            assert_eq!(n.due(Mono(0)), [0]);
            if is_up {
                n.up(0, Mono(1));
            }
            n.keep(0, false, Mono(2));
            n.keep(0, true, Mono(3));
            assert_eq!((n.next(), n.due(Mono(u64::MAX))), (None, vec![]), "the link that is to end, or its dial");
            assert!(n.down(0, Mono(4)).pause <= PACE.first);
            assert_eq!((n.due(Mono(4) + PACE.first), n.due(Mono(u64::MAX))), (vec![0], vec![]));
        }
    }

    #[test]
    fn a_link_that_lasted_starts_from_the_first_pause_again() {
        let mut n = one(2);
        for _ in 0..4 {
            n.down(0, Mono(0));
        }
        n.up(0, Mono(0));
        assert!(n.down(0, Mono(0) + STABLE).pause <= PACE.first);
    }

    #[test]
    fn failures_in_a_row_open_the_circuit_and_then_one_trial_at_a_time_is_made_slowly() {
        let mut n = one(3);
        let (mut now, mut dials) = (Mono(0), Vec::new());
        for failure in 1..=40u32 {
            assert_eq!(n.due(now), [0]);
            assert!(n.due(Mono(u64::MAX)).is_empty(), "one at a time");
            assert_eq!(n.circuit(0).0, if failure <= 5 { Circuit::Closed } else { Circuit::HalfOpen });
            dials.push(now);
            // A dial that fails, or a link that the far side ends at once.
            if failure % 2 == 0 {
                n.up(0, now);
                now = now + Duration::from_millis(5);
            }
            let failed = n.down(0, now);
            assert_eq!((failed.failures, failed.opened), (failure, failure == 5));
            assert!(failure < 5 || (MOST / 2..=MOST).contains(&failed.pause), "{:?}", failed.pause);
            now = n.next().expect("a next try");
        }
        assert_eq!((n.circuit(0), n.opened()), ((Circuit::Open, 40), 1));
        let last = dials.last().expect("dials").since(dials[5]);
        assert!(last >= MOST / 2 * 34, "at the slow rate: {last:?}");
    }

    #[test]
    fn a_trial_whose_link_lasts_closes_the_circuit_and_one_that_dies_young_does_not() {
        let mut n = one(4);
        for _ in 0..5 {
            n.down(0, Mono(0));
        }
        let trial = n.next().expect("a trial");
        n.due(trial);
        n.up(0, trial);
        assert_eq!((n.circuit(0).0, n.next()), (Circuit::HalfOpen, Some(trial + STABLE)));
        let young = trial + STABLE / 2;
        assert!(n.lasted(young).is_empty());
        assert!(!n.down(0, young).opened, "it was not closed");
        assert_eq!(n.circuit(0), (Circuit::Open, 6));
        let trial = n.next().expect("another trial");
        n.due(trial);
        n.up(0, trial);
        assert_eq!(n.lasted(trial + STABLE), [0]);
        assert_eq!((n.circuit(0), n.next()), ((Circuit::Closed, 0), None));
        assert!(n.lasted(trial + STABLE * 2).is_empty(), "said once");
        assert!(n.down(0, trial + STABLE).pause <= PACE.first);
    }
}
