//! Random numbers from a seed, so that a run can be repeated.

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
}
