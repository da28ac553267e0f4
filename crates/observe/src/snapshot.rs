//! The counts of a histogram as they were read once: merged over writers,
//! subtracted for an interval, and asked for quantiles.
//!
//! # What is promised
//! * A quantile is the highest value of the bucket in which it lies, or the
//!   largest value recorded where that is less. It is never below the true one
//!   and at most 1/32 above it (at [`Scale::NANOS`]); from 2^42 ns on it is the
//!   largest value recorded.
//! * Of two snapshots that one thread takes, the later has no smaller count in
//!   any bucket. The sum, the largest and the counts may differ by what was
//!   recorded while the snapshot was taken.

use crate::scale::Scale;

/// The quantiles that are shown: a name, and parts of ten thousand.
pub const SHOWN: [(&str, u32); 6] =
    [("p50", 5_000), ("p90", 9_000), ("p95", 9_500), ("p99", 9_900), ("p99.9", 9_990), ("p99.99", 9_999)];

/// Counts per bucket, with the sum and the largest of what was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    scale: Scale,
    counts: Box<[u64]>,
    sum: u64,
    largest: u64,
}

/// Two histograms do not cut values into the same buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("histograms of different scales ({0:?} and {1:?}) cannot be put together: show them side by side")]
pub struct OtherScale(pub Scale, pub Scale);

impl Snapshot {
    /// Of nothing recorded.
    #[must_use]
    pub fn empty(scale: Scale) -> Self {
        Self { scale, counts: vec![0; scale.buckets()].into(), sum: 0, largest: 0 }
    }

    /// Of words in the order of [`crate::recorder`]: the sum, the largest, then the counts.
    /// What is missing counts as 0.
    pub(crate) fn read(scale: Scale, mut word: impl FnMut(usize) -> u64) -> Self {
        let counts = (0..scale.buckets()).map(|bucket| word(crate::recorder::HEAD + bucket)).collect();
        Self { scale, counts, sum: word(0), largest: word(1) }
    }

    /// How its values are cut into buckets.
    #[must_use]
    pub const fn scale(&self) -> Scale {
        self.scale
    }

    /// The counts, by bucket.
    #[must_use]
    pub const fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// How many values were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |all: u64, count| all.saturating_add(*count))
    }

    /// The sum of all values. It begins anew at 2^64, which in nanoseconds are 584 years.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// The largest value, exactly; of an interval, see [`Snapshot::since`].
    #[must_use]
    pub const fn largest(&self) -> u64 {
        self.largest
    }

    /// The mean, rounded down; `None` when nothing was recorded.
    #[must_use]
    pub fn mean(&self) -> Option<u64> {
        self.sum.checked_div(self.count())
    }

    /// The value that `parts` of ten thousand of those recorded do not exceed:
    /// the one at place ceil(count * parts / 10,000), at least the first, in order
    /// of size. `None` when nothing was recorded. For the error see above.
    #[must_use]
    pub fn quantile(&self, parts: u32) -> Option<u64> {
        let all = u128::from(self.count());
        if all == 0 {
            return None;
        }
        let place = (all * u128::from(parts.min(10_000))).div_ceil(10_000).max(1);
        let mut passed = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            passed += u128::from(*count);
            if passed >= place {
                let (low, high) = self.scale.range(bucket);
                // The largest may be older than the counts, and lie below the bucket.
                let largest = self.largest.max(low);
                return Some(if bucket + 1 == self.counts.len() { largest } else { high.min(largest) });
            }
        }
        // Not reached: the place is at most what the counts add up to.
        Some(self.largest)
    }

    /// Adds what another writer recorded.
    ///
    /// # Errors
    /// [`OtherScale`]; nothing is added then.
    pub fn merge(&mut self, other: &Self) -> Result<(), OtherScale> {
        if self.scale != other.scale {
            return Err(OtherScale(self.scale, other.scale));
        }
        for (mine, other) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.saturating_add(*other);
        }
        self.sum = self.sum.wrapping_add(other.sum);
        self.largest = self.largest.max(other.largest);
        Ok(())
    }

    /// What was recorded after `earlier` was taken of the same histogram. The
    /// largest is exact when it grew, else the highest value of the highest
    /// bucket in which something was counted, which is within the stated error.
    /// A count that is smaller than it was, as after a restart, becomes 0.
    ///
    /// # Errors
    /// [`OtherScale`].
    pub fn since(&self, earlier: &Self) -> Result<Self, OtherScale> {
        if self.scale != earlier.scale {
            return Err(OtherScale(self.scale, earlier.scale));
        }
        let counts: Box<[u64]> =
            self.counts.iter().zip(&earlier.counts).map(|(now, then)| now.saturating_sub(*then)).collect();
        let highest = counts.iter().rposition(|count| *count > 0);
        let largest = match highest {
            None => 0,
            Some(_) if self.largest > earlier.largest => self.largest,
            Some(bucket) if bucket + 1 == counts.len() => self.largest,
            Some(bucket) => self.scale.range(bucket).1.min(self.largest),
        };
        Ok(Self { scale: self.scale, counts, sum: self.sum.wrapping_sub(earlier.sum), largest })
    }
}
