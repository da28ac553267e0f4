//! Deadlines of connections, by both clocks.

use std::collections::BTreeSet;
use std::time::Duration;

use weft_base::{Clock, Mono, Now, UnixNanos};

use super::link::Link;

/// At most two entries per connection, and one for the door.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// Bounds on connecting, handshakes and lingering.
    mono: BTreeSet<(Mono, u64)>,
    /// Ends of certificates.
    wall: BTreeSet<(UnixNanos, u64)>,
    /// Until when nobody is taken in.
    door: Option<Mono>,
}

impl Timers {
    pub(super) fn set_deadline(&mut self, key: u64, link: &mut Link, at: Option<Mono>) {
        if let Some(before) = link.deadline.take() {
            self.mono.remove(&(before, key));
        }
        if let Some(at) = at {
            self.mono.insert((at, key));
            link.deadline = Some(at);
        }
    }

    pub(super) fn set_expiry(&mut self, key: u64, link: &mut Link, at: Option<UnixNanos>) {
        if let Some(before) = link.expires.take() {
            self.wall.remove(&(before, key));
        }
        if let Some(at) = at {
            self.wall.insert((at, key));
            link.expires = Some(at);
        }
    }

    pub(super) fn forget(&mut self, key: u64, link: &mut Link) {
        self.set_deadline(key, link, None);
        self.set_expiry(key, link, None);
    }

    pub(super) fn close_door_until(&mut self, at: Mono) {
        self.door = Some(at);
    }

    pub(super) const fn door_is_open(&self) -> bool {
        self.door.is_none()
    }

    pub(super) fn open_door(&mut self, now: Now) {
        self.door = self.door.filter(|at| *at > now.mono);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.mono.is_empty() && self.wall.is_empty() && self.door.is_none()
    }

    /// How long nothing is due; none when there is nothing at all, and then
    /// the clock is not read.
    pub(super) fn until_next(&self, clock: &dyn Clock) -> Option<Duration> {
        if self.is_empty() {
            return None;
        }
        let now = clock.now();
        let mono = self.mono.first().map(|(at, _)| at.since(now.mono));
        let wall = self.wall.first().map(|(at, _)| Duration::from_nanos(at.0.saturating_sub(now.wall.0)));
        let door = self.door.map(|at| at.since(now.mono));
        [mono, wall, door].into_iter().flatten().min()
    }

    /// One connection whose deadline has passed.
    pub(super) fn due(&self, now: Now) -> Option<u64> {
        self.mono.first().filter(|(at, _)| *at <= now.mono).map(|(_, key)| *key)
    }

    /// One connection whose certificate has ended, and since when.
    pub(super) fn expired(&self, now: Now) -> Option<(u64, Duration)> {
        let (at, key) = self.wall.first().filter(|(at, _)| *at <= now.wall)?;
        Some((*key, Duration::from_nanos(now.wall.0 - at.0)))
    }
}
