//! Controllers: of load (what happens to what waits too long) and of stages
//! (threads, shards, batch).
//!
//! Pure deciders: they are fed with what was measured and the time, and answer
//! what is to change. They know no clock, thread, queue or stage, so ramps,
//! spikes and years of square waves are simulated in milliseconds
//! (`tests/control`). The laws, with their bounds, are in `docs/stages.md`.
//!
//! * [`load`]: load conditioning, per tenant and lane, after CoDel (RFC 8289).
//! * [`stages`]: threads and shards of all stages, after SEDA's controllers
//!   (Welsh, Culler and Brewer 2001), with every growth on trial.
//! * [`stage`]: one stage's figures, bounds and patience.
//! * [`batch`]: the smallest batch at which throughput no longer grows.

pub mod batch;
pub mod load;
pub mod stage;
pub mod stages;

use std::time::Duration;

/// The wait of a queue by Little's law (L = λW; Little 1961): `depth` units
/// wait in it, and `served` left it within `interval`. Zero when nothing waits,
/// [`Duration::MAX`] when something waits and nothing left.
#[must_use]
pub fn wait_of(depth: u64, served: u64, interval: Duration) -> Duration {
    if depth == 0 {
        return Duration::ZERO;
    }
    let nanos = interval.as_nanos().saturating_mul(u128::from(depth));
    nanos
        .checked_div(u128::from(served))
        .map_or(Duration::MAX, |n| Duration::from_nanos(u64::try_from(n).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_the_depth_over_the_throughput() {
        let second = Duration::from_secs(1);
        assert_eq!(wait_of(500, 1_000, second), Duration::from_millis(500));
        assert_eq!(wait_of(0, 0, second), Duration::ZERO);
        assert_eq!(wait_of(1, 0, second), Duration::MAX);
        assert_eq!(wait_of(u64::MAX, 1, second), Duration::from_nanos(u64::MAX));
    }
}
