//! Latencies in a histogram of three significant digits, 1 ns to 60 s.
//! Longer ones count as 60 s.

use hdrhistogram::Histogram;

/// The longest that is told apart, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// How late events came.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

/// The figures that stand in tables, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many events there were.
    pub count: u64,
    /// Half of them were at most this late.
    pub p50: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1,000.
    pub p99_9: u64,
    /// 9,999 of 10,000.
    pub p99_99: u64,
    /// The latest.
    pub max: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    /// None yet.
    #[must_use]
    #[allow(clippy::missing_panics_doc, clippy::expect_used)]
    pub fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are constants in range"))
    }

    /// One more, in nanoseconds.
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos.max(1));
    }

    /// Those of another as well.
    pub fn merge(&mut self, other: &Self) {
        // Cannot fail: both have the same bounds.
        let merged = self.0.add(&other.0);
        debug_assert!(merged.is_ok());
    }

    /// Each latency that there was with how often, in the histogram's
    /// resolution: to hand them to another process.
    #[must_use]
    pub fn pairs(&self) -> Vec<(u64, u64)> {
        self.0.iter_recorded().map(|at| (at.value_iterated_to(), at.count_at_value())).collect()
    }

    /// What [`pairs`](Self::pairs) gave.
    #[must_use]
    pub fn from_pairs(pairs: &[(u64, u64)]) -> Self {
        let mut latencies = Self::new();
        for &(nanos, count) in pairs {
            latencies.0.saturating_record_n(nanos.max(1), count);
        }
        latencies
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// What a share of them (0 to 1) did not exceed.
    #[must_use]
    pub fn at(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }

    /// The latest.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.0.max()
    }

    /// The figures for a table; zeros when there are none.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let [p50, p99, p99_9, p99_99] = [0.5, 0.99, 0.999, 0.9999].map(|share| self.at(share));
        Summary { count: self.count(), p50, p99, p99_9, p99_99, max: self.max() }
    }
}

/// Nanoseconds for people: `7.5 µs`, `12 ms`, `1.2 s`.
#[must_use]
pub fn show(nanos: u64) -> String {
    let (value, unit) = match nanos {
        0..1_000 => return format!("{nanos} ns"),
        1_000..1_000_000 => (nanos as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (nanos as f64 / 1e6, "ms"),
        _ => (nanos as f64 / 1e9, "s"),
    };
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_up_stands_in_the_tail_and_not_in_the_middle() {
        let mut latencies = Latencies::new();
        (0..9_990).for_each(|_| latencies.record(50_000));
        let mut late = Latencies::new();
        (0..10).for_each(|_| late.record(4_000_000));
        latencies.merge(&late);
        let seen = latencies.summary();
        assert_eq!(seen.count, 10_000);
        assert!(seen.p50.abs_diff(50_000) < 100 && seen.p99 == seen.p50, "{seen:?}");
        assert!(seen.p99_99.abs_diff(4_000_000) < 10_000 && seen.max >= seen.p99_99, "{seen:?}");
    }

    #[test]
    fn latencies_survive_the_way_to_another_process() {
        let mut latencies = Latencies::new();
        (1..10_000_u64).for_each(|n| latencies.record(n * n));
        assert_eq!(Latencies::from_pairs(&latencies.pairs()).summary(), latencies.summary());
    }

    #[test]
    fn what_takes_longer_than_can_be_told_counts_as_the_longest() {
        let mut latencies = Latencies::new();
        latencies.record(u64::MAX);
        assert!(latencies.max() >= LONGEST);
    }

    #[test]
    fn times_are_shown_with_two_digits_or_more() {
        assert_eq!(
            [12, 7_512, 64_000, 4_020_000, 1_200_000_000].map(show),
            ["12 ns", "7.5 µs", "64 µs", "4.0 ms", "1.2 s"]
        );
    }
}
