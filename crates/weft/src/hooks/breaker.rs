//! Whether a target is tried, and when again: a circuit breaker, and the pauses
//! between tries. Pure: time and chance are passed in.
//!
//! ```text
//! closed -(AFTER failures in a row)-> open -(pause over)-> one tries
//!    ^------------------ it succeeds ------------------------'  | it fails
//!                                         open, a longer pause <-'
//! ```

use std::time::Duration;

use weft_base::{Mono, Random};

/// Failures in a row after which a target is left alone.
const AFTER: u32 = 5;
/// How long one that tries may hold the others up, should it never say how it went.
const TRIAL: Duration = Duration::from_secs(300);

/// The pauses between tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pauses {
    pub(super) first: Duration,
    pub(super) most: Duration,
}

impl Pauses {
    /// The pause behind so many tries, at least 1: between half of it and all of it, by
    /// chance; it doubles up to the most.
    pub(super) fn after(&self, tries: u32, random: &mut Random) -> Duration {
        let factor = 1_u32.checked_shl(tries.saturating_sub(1)).filter(|_| tries <= 31).unwrap_or(u32::MAX);
        let whole = self.first.saturating_mul(factor).min(self.most);
        let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(nanos / 2 + random.below(nanos / 2 + 1))
    }
}

/// The breaker of a target.
#[derive(Debug)]
pub(super) struct Breaker {
    pauses: Pauses,
    /// Failures in a row.
    failures: u32,
    /// Until then nobody tries.
    until: Option<Mono>,
    /// How often it has opened in a row.
    opened: u32,
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    None,
    Opened,
    Closed,
}

impl Breaker {
    pub(super) fn new(pauses: Pauses) -> Self {
        Self { pauses, failures: 0, until: None, opened: 0 }
    }

    /// Whether it is open.
    pub(super) fn is_open(&self) -> bool {
        self.until.is_some()
    }

    /// Whether the target may be tried now.
    ///
    /// # Errors
    /// How long not.
    pub(super) fn may(&mut self, now: Mono) -> Result<(), Duration> {
        match &mut self.until {
            None => Ok(()),
            Some(until) if *until <= now => {
                // One tries, the others wait for how it goes.
                *until = now + TRIAL;
                Ok(())
            }
            Some(until) => Err(until.since(now)),
        }
    }

    /// It took what was sent.
    pub(super) fn succeeded(&mut self) -> Turn {
        let was_open = self.is_open();
        (self.failures, self.until, self.opened) = (0, None, 0);
        if was_open { Turn::Closed } else { Turn::None }
    }

    /// It did not. `named`: the least pause, where it names one.
    pub(super) fn failed(&mut self, named: Option<Duration>, now: Mono, random: &mut Random) -> Turn {
        self.failures = self.failures.saturating_add(1);
        if self.failures < AFTER {
            return Turn::None;
        }
        let was_open = self.is_open();
        self.opened = self.opened.saturating_add(1);
        let pause = self.pauses.after(self.opened, random).max(named.unwrap_or_default()).min(self.pauses.most);
        self.until = Some(now + pause);
        if was_open { Turn::None } else { Turn::Opened }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: Pauses = Pauses { first: Duration::from_secs(1), most: Duration::from_secs(60) };

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    #[test]
    fn pauses_double_up_to_the_most_and_are_not_the_same_for_all() {
        let mut random = Random::from_seed(7);
        for (tries, whole) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (200, 60), (u32::MAX, 60)] {
            let all: Vec<_> = (0..50).map(|_| PAUSES.after(tries, &mut random)).collect();
            let whole = Duration::from_secs(whole);
            assert!(all.iter().all(|pause| (whole / 2..=whole).contains(pause)), "{tries}: {all:?}");
            assert!(all.iter().any(|pause| *pause != all[0]), "{tries}");
        }
    }

    #[test]
    fn a_target_that_fails_is_left_alone_and_tried_by_one_now_and_then() {
        let mut random = Random::from_seed(7);
        let mut breaker = Breaker::new(PAUSES);
        for _ in 1..AFTER {
            assert_eq!(breaker.failed(None, at(0), &mut random), Turn::None);
            assert_eq!(breaker.may(at(0)), Ok(()));
        }
        assert_eq!(breaker.failed(None, at(0), &mut random), Turn::Opened);
        assert!(breaker.may(at(0)).is_err_and(|pause| pause <= Duration::from_secs(1)));
        assert_eq!(breaker.may(at(1)), Ok(()));
        assert!(breaker.may(at(1)).is_err(), "one alone");
        assert_eq!(breaker.failed(Some(Duration::from_secs(40)), at(1), &mut random), Turn::None);
        assert!(breaker.may(at(40)).is_err() && breaker.may(at(41)).is_ok(), "as long as it names");
        assert_eq!(breaker.failed(Some(Duration::from_secs(9_999)), at(41), &mut random), Turn::None);
        assert!(breaker.may(at(101)).is_ok(), "no longer than the most");
        assert_eq!(breaker.succeeded(), Turn::Closed);
        assert!(!breaker.is_open() && breaker.may(at(101)).is_ok() && breaker.may(at(101)).is_ok());
        // A success in between counts from anew.
        for _ in 1..AFTER {
            breaker.failed(None, at(200), &mut random);
        }
        assert_eq!(breaker.succeeded(), Turn::None);
        assert_eq!(breaker.failed(None, at(200), &mut random), Turn::None);
    }
}
