//! Damping: filters that come and go quickly stay told for a while.
//!
//! As route flaps are damped (RFC 2439): each withdrawal of a filter costs it a
//! penalty, which halves with time. Above a threshold the withdrawal is held
//! back until the penalty has fallen below a lower one, or for a longest time.
//! What comes back meanwhile was never gone, and costs nobody a byte; what does
//! not brings events for nobody, which are counted as such, until then. A filter
//! that is wanted is never held back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weft_base::Mono;
use weft_topic::Filter;

/// What a withdrawal costs.
const PENALTY: u32 = 1_000;
/// Above this a withdrawal is held back: the fourth in quick succession.
const SUPPRESS: u32 = 3_000;
/// Below this it no longer is.
const REUSE: u32 = 750;
/// Filters whose penalties are remembered. At the bound those of the past are
/// forgotten; while all are of the present, further ones are not damped.
pub const MOST: usize = 16_384;

#[derive(Debug)]
struct Flap {
    penalty: u32,
    at: Mono,
    /// Held back until then.
    until: Option<Mono>,
}

/// The penalties of one hub's filters.
#[derive(Debug)]
pub(crate) struct Damp {
    half_life: Duration,
    most: Duration,
    flaps: BTreeMap<Filter, Flap>,
    held: BTreeSet<(Mono, Filter)>,
    /// When those of the past were forgotten last.
    swept: Option<Mono>,
}

impl Damp {
    pub(crate) fn new(half_life: Duration, most: Duration) -> Self {
        Self {
            half_life: half_life.max(Duration::from_millis(1)),
            most,
            flaps: BTreeMap::new(),
            held: BTreeSet::new(),
            swept: None,
        }
    }

    /// A filter that was told is to be withdrawn. Whether that is held back.
    pub(crate) fn withdraw(&mut self, filter: &Filter, now: Mono) -> bool {
        if self.most.is_zero() || !self.has_room(filter, now) {
            return false;
        }
        let half_life = self.half_life;
        let flap = self.flaps.entry(filter.clone()).or_insert(Flap { penalty: 0, at: now, until: None });
        flap.penalty = decayed(flap.penalty, now.since(flap.at), half_life).saturating_add(PENALTY).min(SUPPRESS * 4);
        flap.at = now;
        if flap.penalty <= SUPPRESS {
            return false;
        }
        let until = now + time_to(flap.penalty, half_life).min(self.most);
        flap.until = Some(until);
        self.held.insert((until, filter.clone()));
        true
    }

    fn has_room(&mut self, filter: &Filter, now: Mono) -> bool {
        if self.flaps.len() < MOST || self.flaps.contains_key(filter) {
            return true;
        }
        // A look at all of them is not worth it for each that comes.
        if self.swept.is_some_and(|at| now < at + self.half_life) {
            return false;
        }
        self.swept = Some(now);
        let half_life = self.half_life;
        self.flaps.retain(|_, f| f.until.is_some() || decayed(f.penalty, now.since(f.at), half_life) >= REUSE);
        self.flaps.len() < MOST
    }

    /// A filter is wanted: it is held back no more.
    pub(crate) fn wanted(&mut self, filter: &Filter) {
        if let Some(until) = self.flaps.get_mut(filter).and_then(|flap| flap.until.take()) {
            self.held.remove(&(until, filter.clone()));
        }
    }

    /// The filters whose withdrawals are due.
    pub(crate) fn release(&mut self, now: Mono) -> Vec<Filter> {
        let mut due = Vec::new();
        while let Some((_, filter)) = self.held.pop_first_if(|(until, _)| *until <= now) {
            if let Some(flap) = self.flaps.get_mut(&filter) {
                flap.until = None;
            }
            due.push(filter);
        }
        due
    }

    /// When the next withdrawal is due.
    pub(crate) fn next(&self) -> Option<Mono> {
        self.held.first().map(|(until, _)| *until)
    }

    /// How many are held back.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }
}

/// `BTreeSet::pop_first`, if the first is so.
trait PopFirstIf<T> {
    fn pop_first_if(&mut self, is_so: impl FnOnce(&T) -> bool) -> Option<T>;
}

impl<T: Ord> PopFirstIf<T> for BTreeSet<T> {
    fn pop_first_if(&mut self, is_so: impl FnOnce(&T) -> bool) -> Option<T> {
        self.first().is_some_and(is_so).then(|| self.pop_first()).flatten()
    }
}

/// What is left of a penalty: half of it after each half-life, in a straight
/// line between.
pub(crate) fn decayed(penalty: u32, age: Duration, half_life: Duration) -> u32 {
    let halvings = age.as_nanos() / half_life.as_nanos();
    let left = penalty.checked_shr(u32::try_from(halvings).unwrap_or(u32::MAX)).unwrap_or(0);
    let part = age.as_nanos() % half_life.as_nanos();
    let lost = u128::from(left) * part / (half_life.as_nanos() * 2);
    left - u32::try_from(lost).unwrap_or(left).min(left)
}

/// How long a penalty takes to fall below the lower threshold, in half-lives rounded up.
pub(crate) fn time_to(penalty: u32, half_life: Duration) -> Duration {
    let halvings = (0..u32::BITS).find(|n| penalty >> n < REUSE).unwrap_or(u32::BITS);
    half_life * halvings
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn filter(text: &str) -> Filter {
        Filter::parse(text).expect("a filter")
    }

    #[test]
    fn the_fourth_withdrawal_in_a_row_is_held_back_and_a_rare_one_never() {
        let mut damp = Damp::new(SECOND * 15, SECOND * 60);
        let (a, rare) = (filter("a"), filter("rare"));
        let mut now = Mono(1);
        let held: Vec<bool> = (0..5)
            .map(|_| {
                now = now + SECOND / 10;
                damp.wanted(&a);
                damp.withdraw(&a, now)
            })
            .collect();
        assert_eq!(held, [false, false, false, true, true]);
        assert_eq!((damp.held(), damp.release(now)), (1, Vec::new()));
        damp.wanted(&a);
        assert_eq!((damp.held(), damp.next()), (0, None), "what is wanted is not held back");
        assert!(damp.withdraw(&a, now));
        let until = damp.next().expect("held");
        assert_eq!(until.since(now), SECOND * 45, "three half-lives from 5,000 to below 750");
        assert_eq!(damp.release(until), std::slice::from_ref(&a));
        for hour in 1..50u32 {
            assert!(!damp.withdraw(&rare, now + SECOND * 3600 * hour));
        }
        assert!(!damp.withdraw(&a, now + SECOND * 3600), "the past is forgotten");
    }

    #[test]
    fn penalties_are_bounded_in_number_size_and_time() {
        let mut damp = Damp::new(SECOND, SECOND * 2);
        let a = filter("a");
        let held = (0..1000).filter(|_| {
            damp.wanted(&a);
            damp.withdraw(&a, Mono(1))
        });
        assert_eq!(held.count(), 997);
        assert_eq!(damp.next().map(|at| at.since(Mono(1))), Some(SECOND * 2), "not longer than the most");
        for n in 0..MOST * 2 {
            damp.withdraw(&filter(&format!("n/{n}")), Mono(1));
        }
        assert_eq!(damp.flaps.len(), MOST);
        assert!(!damp.withdraw(&filter("new"), Mono(1)), "there is no room: it is not damped");
        damp.withdraw(&filter("new"), Mono(1) + SECOND * 60);
        assert_eq!(damp.flaps.len(), 2, "what is held back, and the new one");
        let mut off = Damp::new(SECOND, Duration::ZERO);
        assert!((0..10).all(|_| !off.withdraw(&a, Mono(1))), "no longest time: no damping");
    }
}
