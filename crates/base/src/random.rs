//! Random numbers from a seed, so that a run can be repeated.

use std::time::Duration;

/// A fast generator that is not for secrets (wyrand, by the crate `fastrand`).
#[derive(Clone, Debug)]
pub struct Random(fastrand::Rng);

impl Random {
    /// The generator of this seed: the same seed gives the same numbers.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A generator seeded by the operating system.
    ///
    /// # Errors
    /// The system's entropy source failed.
    pub fn from_entropy() -> Result<Self, EntropyError> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|e| EntropyError(e.to_string()))?;
        Ok(Self::from_seed(u64::from_le_bytes(seed)))
    }

    /// A number of 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A number below `bound`; zero when `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.u64(..bound) }
    }

    /// A time of at most `most`, each as likely.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.below(nanos.saturating_add(1)))
    }

    /// How long to wait before something is tried again that has failed so often
    /// before this time: up to a bound that doubles from `first` to `most`, so that
    /// those who failed together do not all come back together ("full jitter",
    /// M. Brooker, "Exponential Backoff and Jitter", 2015).
    pub fn pause(&mut self, first: Duration, most: Duration, failures: u32) -> Duration {
        self.up_to(first.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(most))
    }

    /// True in `per_mille` of a thousand calls, on average.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// Puts `items` in random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        self.0.shuffle(items);
    }

    /// One of `items`, if there is any.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() { None } else { items.get(self.0.usize(..items.len())) }
    }
}

/// The operating system gave no entropy.
#[derive(Debug, thiserror::Error)]
#[error("the system's entropy source failed: {0}")]
pub struct EntropyError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let draw = |seed| {
            let mut r = Random::from_seed(seed);
            [r.next_u64(), r.below(1000), r.next_u64()]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!(Random::from_seed(3).below(0), 0);
    }

    #[test]
    fn pauses_are_spread_under_a_bound_that_doubles_to_its_limit() {
        let (first, most) = (Duration::from_millis(10), Duration::from_millis(100));
        for (failures, bound) in [10, 20, 40, 80, 100, 100].into_iter().enumerate().chain([(31, 100), (32, 100)]) {
            let bound = Duration::from_millis(bound);
            let pause = |seed| Random::from_seed(seed).pause(first, most, failures as u32);
            assert!((0..50).all(|seed| pause(seed) <= bound), "after {failures} failures");
            assert!((0..50).any(|seed| pause(seed) > bound / 2) && (0..50).any(|seed| pause(seed) < bound / 2));
        }
        let mut random = Random::from_seed(5);
        assert_eq!(random.up_to(Duration::ZERO), Duration::ZERO);
        assert!(random.pause(Duration::MAX, Duration::MAX, u32::MAX) <= Duration::from_nanos(u64::MAX));
    }
}
