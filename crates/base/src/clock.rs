//! Time as a value: deciders are handed [`Now`], mechanisms own a [`Clock`].

use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A point on a clock that never goes back, in nanoseconds since a start that
/// is arbitrary but the same for the whole process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// The time from `earlier` to this point; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, d: Duration) -> Mono {
        Mono(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Mono> for Mono {
    type Output = Duration;
    fn sub(self, earlier: Mono) -> Duration {
        self.since(earlier)
    }
}

/// A time of day: nanoseconds since 1970-01-01T00:00:00Z. Zero means "none".
/// May jump; never used to measure how long something took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub u64);

/// One reading of both clocks, taken once per turn of a stage and passed down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For durations and deadlines of this process.
    pub mono: Mono,
    /// For stamps that others read.
    pub wall: UnixNanos,
}

/// Where a mechanism reads the time.
pub trait Clock: Send + Sync {
    /// Both clocks now.
    fn now(&self) -> Now;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic reading starts near zero.
    #[must_use]
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
        let mono = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Now { mono: Mono(mono), wall: UnixNanos(wall) }
    }
}

/// Readings of a [`Clock`] as std's [`Instant`](std::time::Instant), for
/// libraries that take those: the same distances, another origin.
#[derive(Clone, Copy, Debug)]
pub struct Instants {
    zero: std::time::Instant,
}

impl Instants {
    /// With an origin of its own: what two of them answer is not to be mixed.
    #[must_use]
    pub fn new() -> Self {
        Self { zero: std::time::Instant::now() }
    }

    /// That reading as an instant.
    #[must_use]
    pub fn at(&self, at: Mono) -> std::time::Instant {
        let far = || self.zero + Duration::from_secs(u64::from(u32::MAX));
        self.zero.checked_add(Duration::from_nanos(at.0)).unwrap_or_else(far)
    }

    /// The reading that such an instant stands for.
    #[must_use]
    pub fn mono(&self, at: std::time::Instant) -> Mono {
        Mono(0) + at.saturating_duration_since(self.zero)
    }
}

impl Default for Instants {
    fn default() -> Self {
        Self::new()
    }
}

/// A clock that stands still until it is moved: for tests and simulations.
/// Clones share the same time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    mono: Arc<AtomicU64>,
    wall: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock at monotonic zero and the given time of day.
    #[must_use]
    pub fn at(wall: UnixNanos) -> Self {
        let clock = Self::default();
        clock.wall.store(wall.0, Ordering::Relaxed);
        clock
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.mono.fetch_add(nanos, Ordering::Relaxed);
        self.wall.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Moves the time of day alone, as a clock jump does.
    pub fn set_wall(&self, wall: UnixNanos) {
        self.wall.store(wall.0, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        Now { mono: Mono(self.mono.load(Ordering::Relaxed)), wall: UnixNanos(self.wall.load(Ordering::Relaxed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told_and_shares_its_time() {
        let clock = ManualClock::at(UnixNanos(5));
        let twin = clock.clone();
        let before = twin.now();
        assert_eq!(before, Now { mono: Mono(0), wall: UnixNanos(5) });
        clock.advance(Duration::from_nanos(7));
        assert_eq!(twin.now(), Now { mono: Mono(7), wall: UnixNanos(12) });
        clock.set_wall(UnixNanos(1));
        assert_eq!(twin.now(), Now { mono: Mono(7), wall: UnixNanos(1) });
    }

    #[test]
    fn durations_never_wrap() {
        assert_eq!(Mono(3).since(Mono(9)), Duration::ZERO);
        assert_eq!(Mono(u64::MAX) + Duration::from_secs(1), Mono(u64::MAX));
    }

    #[test]
    fn the_system_clock_does_not_go_back() {
        let clock = SystemClock::new();
        let (a, b) = (clock.now(), clock.now());
        assert!(b.mono >= a.mono);
        assert!(a.wall.0 > 1_600_000_000_000_000_000);
    }
}
