//! How much of each lane another hub may have under way to this one. Pure.
//!
//! A lane carries at most its window in one round trip, so a window that suits
//! a near hub starves a far one, and one that suits the far one lets a near hub
//! pile up blocks here. So each lane begins with the least window and is given
//! more by what it carries: as soon as more than half of the window came within
//! one round trip, it is doubled (the rule of TCP's dynamic right-sizing, Fisk
//! and Feng, 2001, for credit in place of a socket's buffer). The round trip is
//! the shortest of a while, so that a queue on the way does not make it longer.
//!
//! What comes lies in the hub's arena until it is taken. So all windows
//! together grow by no more than [`Growth`] has; without any left they stay as
//! they are. A lane that used little of its window for a while gives half of it
//! back.

use std::sync::Arc;
use std::time::Duration;

use weft_base::sync::atomic::{AtomicU64, Ordering};
use weft_base::{Lane, Mono};

/// How long a lane may use little of its window and keep it.
const KEPT: Duration = Duration::from_secs(10);
/// How long the shortest round trip counts.
const SHORTEST: Duration = Duration::from_secs(60);
/// A round trip is taken to be at least so long: shorter ones need no window.
const ROUND: Duration = Duration::from_millis(1);

/// What the windows of all links may grow by, in bytes, together.
#[derive(Clone, Debug)]
pub(crate) struct Growth(Arc<AtomicU64>);

impl Growth {
    pub(crate) fn new(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    /// Takes up to so much.
    fn take(&self, wanted: u64) -> u64 {
        let taken = self.0.load(Ordering::Relaxed).min(wanted);
        self.0.fetch_sub(taken, Ordering::Relaxed);
        taken
    }

    fn give_back(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, Debug)]
struct Window {
    bytes: u64,
    /// When the round that is counted began, and what came in it.
    since: Mono,
    came: u64,
    /// The most that came in one round since `judged`.
    high: u64,
    judged: Mono,
}

/// The windows of one link.
#[derive(Debug)]
pub(crate) struct Windows {
    least: u64,
    most: u64,
    lanes: [Window; Lane::COUNT],
    growth: Growth,
    /// The shortest round trip, and since when it counts.
    shortest: Option<(Duration, Mono)>,
}

impl Windows {
    /// Of `least` bytes each at first, and `most` at most.
    pub(crate) fn new(least: u64, most: u64, growth: Growth) -> Self {
        let window = Window { bytes: least, since: Mono(0), came: 0, high: 0, judged: Mono(0) };
        Self { least, most: most.max(least), lanes: [window; Lane::COUNT], growth, shortest: None }
    }

    pub(crate) fn of(&self, lane: Lane) -> u64 {
        self.lanes[lane.index()].bytes
    }

    /// The largest of them.
    pub(crate) fn largest(&self) -> u64 {
        self.lanes.iter().map(|window| window.bytes).max().unwrap_or_default()
    }

    /// So many bytes of a lane came, and a round trip takes so long now; none
    /// is known yet if zero. Answers whether the window has grown.
    pub(crate) fn came(&mut self, lane: Lane, len: usize, rtt: Duration, now: Mono) -> bool {
        let Some(round) = self.round(rtt, now) else { return false };
        let window = &mut self.lanes[lane.index()];
        window.came += len as u64;
        let elapsed = now.since(window.since);
        if elapsed < round {
            return false;
        }
        let in_round = u128::from(window.came) * round.as_nanos() / elapsed.as_nanos().max(1);
        let in_round = u64::try_from(in_round).unwrap_or(u64::MAX);
        (window.since, window.came) = (now, 0);
        window.high = window.high.max(in_round);
        if in_round < window.bytes / 2 || window.bytes >= self.most {
            return false;
        }
        let more = self.growth.take(window.bytes.min(self.most - window.bytes));
        window.bytes += more;
        more > 0
    }

    /// Time has passed: what was used little is given back.
    pub(crate) fn rest(&mut self, now: Mono) {
        for window in self.lanes.iter_mut().filter(|window| now.since(window.judged) >= KEPT) {
            if window.bytes > self.least && window.high < window.bytes / 8 {
                let kept = (window.bytes / 2).max(self.least);
                self.growth.give_back(window.bytes - kept);
                window.bytes = kept;
            }
            (window.high, window.judged) = (0, now);
        }
    }

    /// The round trip to reckon with.
    fn round(&mut self, rtt: Duration, now: Mono) -> Option<Duration> {
        if rtt.is_zero() {
            return None;
        }
        let shortest = match self.shortest {
            Some((known, since)) if known <= rtt && now.since(since) < SHORTEST => known,
            _ => {
                self.shortest = Some((rtt, now));
                rtt
            }
        };
        Some(shortest.max(ROUND))
    }
}

impl Drop for Windows {
    /// The link is over: others may grow by what it had.
    fn drop(&mut self) {
        let grown = self.lanes.iter().map(|window| window.bytes - self.least).sum();
        self.growth.give_back(grown);
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
