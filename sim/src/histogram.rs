//! Durations by number, to within three percent: powers of two of microseconds,
//! each in 32 parts.

use std::ops::AddAssign;
use std::time::Duration;

const PARTS: u64 = 32;

/// How often what took how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// By index of [`place`]; as long as its last entry.
    counts: Vec<u64>,
    total: u64,
}

/// Where a number of microseconds is counted.
fn place(us: u64) -> usize {
    let power = us.checked_ilog2().unwrap_or(0).saturating_sub(PARTS.ilog2());
    (u64::from(power) * PARTS + (us >> power)) as usize
}

/// The greatest number that is counted there.
fn greatest(place: usize) -> u64 {
    let place = place as u64;
    let power = (place / PARTS).saturating_sub(1);
    ((place - power * PARTS + 1) << power) - 1
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, took: Duration) {
        let place = place(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        if place >= self.counts.len() {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] += 1;
        self.total += 1;
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.total
    }

    /// What so many of a thousand do not exceed; none when nothing was counted.
    #[must_use]
    pub fn per_mille(&self, per_mille: u64) -> Option<Duration> {
        let rank = (self.total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        let place = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Duration::from_micros(greatest(place)))
    }
}

impl AddAssign<&Histogram> for Histogram {
    fn add_assign(&mut self, other: &Histogram) {
        if other.counts.len() > self.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_order_and_close() {
        for us in (0..5_000).chain((0..40).map(|power| 3 << power)) {
            let most = greatest(place(us));
            assert!(most >= us && most <= us + us / 31, "{us}: {most}");
        }
        assert!((0..5_000).all(|us| place(us) <= place(us + 1)));
    }

    #[test]
    fn percentiles_are_found_over_several_runs() {
        let mut all = Histogram::default();
        assert_eq!(all.per_mille(500), None);
        for half in [0..500, 500..1000] {
            let mut one = Histogram::default();
            half.for_each(|ms| one.add(Duration::from_millis(ms + 1)));
            all += &one;
        }
        let ms = |per_mille| all.per_mille(per_mille).map(|took| took.as_millis());
        assert!(matches!((ms(500), ms(990)), (Some(500..=516), Some(990..=1022))), "{:?} {:?}", ms(500), ms(990));
        assert_eq!(all.count(), 1000);
    }
}
