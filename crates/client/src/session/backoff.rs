//! When to try again: exponential back-off with full jitter, so that clients
//! which lost the same hub do not all come back at once.

use std::time::Duration;

use weft_base::Random;

/// The pauses between attempts.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most: most.max(first), failures: 0 }
    }

    /// The pause before the next attempt: evenly between zero and a bound
    /// that doubles with each failure.
    pub(crate) fn next(&mut self, random: &mut Random) -> Duration {
        let pause = random.pause(self.first, self.most, self.failures);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// An attempt has succeeded.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How many attempts have failed since the last success.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_under_a_bound_that_doubles_to_its_limit() {
        let (first, most) = (Duration::from_millis(10), Duration::from_millis(100));
        for seed in 0..50 {
            let mut random = Random::from_seed(seed);
            let mut backoff = Backoff::new(first, most);
            for bound in [10, 20, 40, 80, 100, 100] {
                assert!(backoff.next(&mut random) <= Duration::from_millis(bound));
            }
            for _ in 0..100 {
                assert!(backoff.next(&mut random) <= most, "the count of failures does not wrap");
            }
            backoff.reset();
            assert!(backoff.next(&mut random) <= first);
        }
    }

    #[test]
    fn clients_do_not_come_back_together() {
        let pause =
            |seed| Backoff::new(Duration::from_secs(1), Duration::from_secs(1)).next(&mut Random::from_seed(seed));
        let mut pauses: Vec<Duration> = (0..20).map(pause).collect();
        pauses.sort();
        pauses.dedup();
        assert!(pauses.len() > 15);
    }
}
