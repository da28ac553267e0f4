//! How much a link takes ahead of what its path carries. Pure.
//!
//! The state machine keeps what it was given until the far side has
//! acknowledged it, and sends as much of it as the congestion window lets
//! under way. What it was given beyond that waits in it, where nothing is
//! overtaken and no deadline is looked at. So it is given no more than fits
//! the congestion window, what may wait unsent, and what goes out in the time
//! that the caller may take to come back ([`AHEAD`]). After a loss it keeps
//! what came behind the lost bytes as well, so that a congestion window more
//! is let in until that is over.

use std::time::Duration;

use weft_base::Mono;

/// How long the caller may take to come back before the path runs dry.
const AHEAD: Duration = Duration::from_millis(5);
/// What the first channel may have beyond the others, so that these do not
/// take its room.
pub(super) const RESERVE: u64 = 256 << 10;

/// What the state machine says of a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// Bytes that may be under way.
    pub(super) congestion_window: u64,
    pub(super) rtt: Duration,
    /// Datagrams that were lost since the link began.
    pub(super) lost: u64,
}

/// The bound of one link.
#[derive(Debug)]
pub(super) struct Ahead {
    /// What may wait unsent; none for no bound but the window's.
    unsent: Option<u64>,
    /// The most that may be unacknowledged whatever the path carries.
    most: u64,
    lost: u64,
    /// Losses are being made good until then.
    mending: Mono,
}

impl Ahead {
    pub(super) const fn new(unsent: Option<u64>, most: u64) -> Self {
        Self { unsent, most, lost: 0, mending: Mono(0) }
    }

    /// How many bytes may be unacknowledged, those that wait unsent included.
    pub(super) fn bound(&mut self, path: Path, now: Mono) -> u64 {
        let Some(unsent) = self.unsent else { return self.most };
        if path.lost > self.lost {
            self.lost = path.lost;
            // Found after one round trip at most, and made good in another one.
            self.mending = now + path.rtt * 3;
        }
        let window = path.congestion_window;
        let rtt = path.rtt.max(AHEAD).as_micros();
        let soon = u64::try_from(u128::from(window) * AHEAD.as_micros() / rtt).unwrap_or(window);
        let kept = if now < self.mending { window } else { 0 };
        window.saturating_add(kept).saturating_add(soon).saturating_add(unsent).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: Path = Path { congestion_window: 2_000_000, rtt: Duration::from_millis(80), lost: 0 };

    #[test]
    fn what_waits_unsent_is_bounded_and_the_path_does_not_run_dry() {
        let mut ahead = Ahead::new(Some(65_536), 25_000_000);
        assert_eq!(ahead.bound(PATH, Mono(1)), 2_000_000 + 125_000 + 65_536, "5 of 80 ms");
        let near = Path { rtt: Duration::from_micros(100), ..PATH };
        assert_eq!(ahead.bound(near, Mono(1)), 4_000_000 + 65_536, "never more than a window");
        assert_eq!(Ahead::new(Some(65_536), 1_000_000).bound(PATH, Mono(1)), 1_000_000);
        assert_eq!(Ahead::new(None, 1_000_000).bound(PATH, Mono(1)), 1_000_000);
    }

    #[test]
    fn while_a_loss_is_made_good_what_came_behind_it_takes_no_room() {
        let mut ahead = Ahead::new(Some(0), u64::MAX);
        let calm = ahead.bound(PATH, Mono(0));
        let lossy = Path { lost: 1, ..PATH };
        assert_eq!(ahead.bound(lossy, Mono(0)), calm + PATH.congestion_window);
        assert_eq!(ahead.bound(lossy, Mono(0) + Duration::from_millis(241)), calm);
    }
}
