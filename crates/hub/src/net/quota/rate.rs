//! A rate that is kept to, and how long what is beyond it has to wait: the generic
//! cell rate algorithm (ITU-T I.371, the virtual scheduling form), one number per
//! rate. Pure.

use std::time::Duration;

use weft_base::Mono;

/// What may come at once, in seconds of the rate. The last thing of it may go
/// beyond it, whatever its size: blocks are not split.
const BURST: Duration = Duration::from_secs(1);
/// The longest that a wait is reckoned to be.
const LONGEST: Duration = Duration::from_secs(3_600);

/// A rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rate {
    /// When all that was taken would have come, each at its time.
    even: Mono,
}

impl Rate {
    /// How long the next thing has to wait, at so many a second.
    pub(super) fn wait(&self, a_second: u64, now: Mono) -> Duration {
        if a_second == 0 {
            return LONGEST;
        }
        self.even.since(now + BURST).min(LONGEST)
    }

    /// So many are taken, now or once they have waited.
    pub(super) fn take(&mut self, a_second: u64, many: u64, now: Mono) {
        let nanos = u128::from(many) * 1_000_000_000 / u128::from(a_second.max(1));
        let most = u64::try_from(nanos).unwrap_or(u64::MAX).min(u64::MAX / 4);
        self.even = self.even.max(now) + Duration::from_nanos(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_is_let_through_at_the_rate_and_a_second_of_it_at_once() {
        let (mut rate, mut now, mut taken) = (Rate::default(), Mono(5_000_000_000), 0);
        let start = now;
        while now.since(start) < Duration::from_secs(10) {
            let wait = rate.wait(100, now);
            if wait.is_zero() {
                rate.take(100, 7, now);
                taken += 7;
            } else {
                now = now + wait;
            }
        }
        assert!((1_090..=1_120).contains(&taken), "{taken} in ten seconds and a burst");
        assert_eq!(Rate::default().wait(0, now), LONGEST, "nothing at all");
        rate.take(1, u64::MAX, now);
        assert_eq!(rate.wait(1, now), LONGEST);
    }
}
