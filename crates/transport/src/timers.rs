//! Deadlines of links, by both clocks. Each link keeps what stands here of it, so
//! that it is found again; at most two entries per link.

use std::collections::BTreeSet;
use std::time::Duration;

use weft_base::{Clock, Mono, Now, UnixNanos};

#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// Bounds on connecting, handshakes and lingering; and what a link's own
    /// state machine waits for.
    mono: BTreeSet<(Mono, u64)>,
    /// Ends of certificates.
    wall: BTreeSet<(UnixNanos, u64)>,
}

impl Timers {
    /// Sets when a link is due, or that it is not. `kept` is what it keeps of that.
    pub(crate) fn set_deadline(&mut self, key: u64, kept: &mut Option<Mono>, at: Option<Mono>) {
        set(&mut self.mono, key, kept, at);
    }

    /// Sets when a link's certificate ends, or that it has none.
    pub(crate) fn set_expiry(&mut self, key: u64, kept: &mut Option<UnixNanos>, at: Option<UnixNanos>) {
        set(&mut self.wall, key, kept, at);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.mono.is_empty() && self.wall.is_empty()
    }

    /// How long nothing is due, what the caller waits for beside included;
    /// none when there is nothing at all, and then the clock is not read.
    pub(crate) fn until_next(&self, beside: Option<Mono>, clock: &dyn Clock) -> Option<Duration> {
        if self.is_empty() && beside.is_none() {
            return None;
        }
        let now = clock.now();
        let mono = self.mono.first().map(|(at, _)| *at).into_iter().chain(beside).min().map(|at| at.since(now.mono));
        let wall = self.wall.first().map(|(at, _)| Duration::from_nanos(at.0.saturating_sub(now.wall.0)));
        mono.into_iter().chain(wall).min()
    }

    /// The links that are due, the longest due first.
    pub(crate) fn all_due(&self, now: Now) -> impl Iterator<Item = u64> {
        self.mono.range(..=(now.mono, u64::MAX)).map(|(_, key)| *key)
    }

    /// One of them.
    pub(crate) fn due(&self, now: Now) -> Option<u64> {
        self.all_due(now).next()
    }

    /// One link whose certificate has ended, and since when.
    pub(crate) fn expired(&self, now: Now) -> Option<(u64, Duration)> {
        let (at, key) = self.wall.first().filter(|(at, _)| *at <= now.wall)?;
        Some((*key, Duration::from_nanos(now.wall.0 - at.0)))
    }
}

fn set<T: Ord + Copy>(entries: &mut BTreeSet<(T, u64)>, key: u64, kept: &mut Option<T>, at: Option<T>) {
    if *kept == at {
        return;
    }
    if let Some(before) = std::mem::replace(kept, at) {
        entries.remove(&(before, key));
    }
    if let Some(at) = at {
        entries.insert((at, key));
    }
}
