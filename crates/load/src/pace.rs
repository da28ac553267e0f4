//! Open-loop pacing: event i is due at start + i / rate, whatever happened to
//! those before it.
//!
//! A publisher that wakes late, or is held up, finds several events due at
//! once and sends them all. Whoever counts latency from when an event was due
//! then sees the hold-up in every event that it delayed: the figures are free
//! of coordinated omission (Gil Tene, "How NOT to Measure Latency").

/// When events are due, in nanoseconds since some start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Nanoseconds from one event to the next.
    period: f64,
    /// When the first one is due.
    offset: f64,
}

impl Pace {
    /// Events at `rate` a second for publisher `index` of `count`, which share
    /// the rate and take turns. A rate that is not above zero is never due.
    #[must_use]
    pub fn new(rate: f64, index: usize, count: usize) -> Self {
        let count = count.max(1);
        let together = if rate > 0.0 { 1e9 / rate } else { f64::INFINITY };
        let offset = if together.is_finite() { together * index as f64 } else { f64::INFINITY };
        Self { period: together * count as f64, offset }
    }

    /// When event `number` is due; the end of time for one that never is.
    #[must_use]
    pub fn due(&self, number: u64) -> u64 {
        if !self.period.is_finite() {
            return u64::MAX;
        }
        // A cast from a float saturates, which is what is wanted.
        (self.offset + self.period * number as f64) as u64
    }

    /// How many events are due before `time`.
    #[must_use]
    pub fn due_before(&self, time: u64) -> u64 {
        let passed = time as f64 - self.offset;
        if passed <= 0.0 || !self.period.is_finite() {
            return 0;
        }
        (passed / self.period).ceil() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_due_at_even_distances() {
        let pace = Pace::new(10_000.0, 0, 1);
        assert_eq!([pace.due(0), pace.due(1), pace.due(10_000)], [0, 100_000, 1_000_000_000]);
        assert_eq!([0, 1, 100_000, 100_001].map(|t| pace.due_before(t)), [0, 1, 1, 2]);
    }

    #[test]
    fn publishers_share_a_rate_and_take_turns() {
        let paces: Vec<Pace> = (0..4).map(|index| Pace::new(1_000.0, index, 4)).collect();
        let mut due: Vec<u64> = paces.iter().flat_map(|pace| (0..250).map(|n| pace.due(n))).collect();
        due.sort_unstable();
        let even: Vec<u64> = (0..1_000).map(|n| n * 1_000_000).collect();
        assert_eq!(due, even);
    }

    #[test]
    fn no_rate_is_never_due() {
        for rate in [0.0, -1.0, f64::NAN] {
            let pace = Pace::new(rate, 0, 2);
            assert_eq!((pace.due(0), pace.due_before(u64::MAX)), (u64::MAX, 0), "{rate}");
        }
    }
}
