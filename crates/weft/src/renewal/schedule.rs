//! When a hub asks for a new certificate: once two thirds of the time of the one
//! that it has are over, a little earlier, so that hubs that joined together do
//! not ask together; and after a failure again, ever more rarely but always
//! several times in what is left. Pure.

use std::time::Duration;

use weft_base::{Random, UnixNanos};

/// The first pause after a failure at most, and the longest.
const FIRST: Duration = Duration::from_secs(60);
const MOST: Duration = Duration::from_secs(6 * 3600);
/// The shortest.
const LEAST: Duration = Duration::from_secs(1);
/// A pause is no longer than this part of what is left.
const TRIES_LEFT: u64 = 8;
/// How much earlier than after two thirds: up to this part of all the time.
const EARLIER: u64 = 15;

/// The decider.
pub(super) struct Schedule {
    random: Random,
    /// By when the certificate ends: when to ask.
    due: Option<(UnixNanos, UnixNanos)>,
    failures: u32,
}

impl Schedule {
    pub(super) fn new(random: Random) -> Self {
        Self { random, due: None, failures: 0 }
    }

    /// Whether to ask now for a certificate in the place of one of this time. One
    /// that has ended renews nothing.
    pub(super) fn is_due(&mut self, begins: UnixNanos, ends: UnixNanos, now: UnixNanos) -> bool {
        let at = match self.due {
            Some((of, at)) if of == ends => at,
            _ => {
                let life = ends.0.saturating_sub(begins.0);
                let earlier = self.random.below((life / EARLIER).max(1));
                let at = UnixNanos(begins.0.saturating_add(life / 3 * 2).saturating_sub(earlier));
                (self.due, self.failures) = (Some((ends, at)), 0);
                at
            }
        };
        at <= now && now < ends
    }

    /// It came to nothing; answers after what pause it is tried again.
    pub(super) fn failed(&mut self, ends: UnixNanos, now: UnixNanos) -> Duration {
        let left = Duration::from_nanos(ends.0.saturating_sub(now.0) / TRIES_LEFT);
        let bound = FIRST.saturating_mul(1 << self.failures.min(20)).min(MOST).min(left).max(LEAST);
        self.failures = self.failures.saturating_add(1);
        let half = bound / 2;
        let pause = half + Duration::from_nanos(self.random.below(u64::try_from(half.as_nanos()).unwrap_or(u64::MAX)));
        let at = now.0.saturating_add(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX));
        self.due = Some((ends, UnixNanos(at)));
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000_000_000;

    fn schedule(seed: u64) -> Schedule {
        Schedule::new(Random::from_seed(seed))
    }

    /// Asks from the start of a certificate to its end, by steps; answers when.
    fn asked(seed: u64, life: u64, step: u64, mut works: impl FnMut(usize) -> bool) -> Vec<u64> {
        let (mut schedule, mut asked) = (schedule(seed), Vec::new());
        let ends = UnixNanos(life);
        for at in (0..2 * life).step_by(usize::try_from(step).expect("small")) {
            if schedule.is_due(UnixNanos(0), ends, UnixNanos(at)) {
                asked.push(at);
                if works(asked.len()) {
                    break;
                }
                schedule.failed(ends, UnixNanos(at));
            }
        }
        asked
    }

    #[test]
    fn it_is_asked_shortly_before_two_thirds_are_over_and_not_by_all_at_once() {
        let mut all: Vec<u64> = (0..50).flat_map(|seed| asked(seed, 90 * DAY, DAY / 24, |_| true)).collect();
        assert_eq!(all.len(), 50);
        assert!(all.iter().all(|at| (54 * DAY - DAY / 24..=60 * DAY + DAY / 24).contains(at)), "{all:?}");
        all.sort_unstable();
        all.dedup();
        assert!(all.len() > 25, "spread: {}", all.len());
    }

    #[test]
    fn failures_are_tried_again_ever_more_rarely_and_several_times_in_what_is_left() {
        for life in [90 * DAY, DAY / 24] {
            let all = asked(3, life, life / 20_000, |_| false);
            let pauses: Vec<u64> = all.windows(2).map(|two| two[1] - two[0]).collect();
            assert!(pauses[0] <= 60_000_000_000 + life / 20_000, "{pauses:?}");
            assert!(all.iter().all(|at| *at < life), "one that has ended renews nothing");
            assert!(all.iter().filter(|at| **at > life / 10 * 9).count() >= 8, "{}", all.len());
            assert!(all.len() < 400, "{}", all.len());
        }
    }

    #[test]
    fn a_new_certificate_has_times_of_its_own() {
        let mut schedule = schedule(1);
        let (first, second) = (UnixNanos(90 * DAY), UnixNanos(180 * DAY));
        assert!(schedule.is_due(UnixNanos(0), first, UnixNanos(61 * DAY)));
        schedule.failed(first, UnixNanos(61 * DAY));
        assert!(!schedule.is_due(UnixNanos(61 * DAY), second, UnixNanos(62 * DAY)));
        assert!(schedule.is_due(UnixNanos(61 * DAY), second, UnixNanos(141 * DAY)));
    }
}
