//! When events may be handed out: pauses, and replay at the speed at which
//! they came.

use weft_base::{Mono, Now, UnixNanos};

#[derive(Clone, Copy, Debug)]
struct Paused {
    since: Mono,
    /// For ever when absent.
    until: Option<Mono>,
    wall: UnixNanos,
}

/// What holds the consumer up beside its members' credit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    paused: Option<Paused>,
    /// A block that entered the mesh then was handed out at that point; those
    /// after it follow at their distance from it.
    anchor: Option<(UnixNanos, Mono)>,
    /// When the next block is due.
    hold: Option<Mono>,
}

impl Pace {
    pub(crate) fn pause(&mut self, until: Option<UnixNanos>, now: Now) {
        if until.is_some_and(|until| until <= now.wall) {
            return self.resume(now);
        }
        let end = until.map(|until| Mono(now.mono.0.saturating_add(until.0 - now.wall.0)));
        let since = self.paused.map_or(now.mono, |paused| paused.since);
        self.paused = Some(Paused { since, until: end, wall: until.unwrap_or(UnixNanos(u64::MAX)) });
    }

    /// The pause counts as no time for what is replayed.
    pub(crate) fn resume(&mut self, now: Now) {
        let Some(paused) = self.paused.take() else { return };
        let time = now.mono.since(paused.since);
        self.anchor = self.anchor.map(|(ingested, at)| (ingested, at + time));
        self.hold = self.hold.map(|hold| hold + time);
    }

    pub(crate) fn paused_until(&self) -> Option<UnixNanos> {
        self.paused.map(|paused| paused.wall)
    }

    /// Time has passed; answers whether a pause ended.
    pub(crate) fn tick(&mut self, now: Now) -> bool {
        let ends = self.paused.is_some_and(|paused| paused.until.is_some_and(|until| until <= now.mono));
        if ends {
            self.resume(now);
        }
        if self.paused.is_none() && self.hold.is_some_and(|hold| hold <= now.mono) {
            self.hold = None;
        }
        ends
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Whether the next block is not due yet.
    pub(crate) fn holds(&self) -> bool {
        self.hold.is_some()
    }

    /// Whether a block that entered the mesh then may be handed out now; if
    /// not, it is waited for.
    pub(crate) fn releases(&mut self, ingested: UnixNanos, now: Now) -> bool {
        let (from, at) = *self.anchor.get_or_insert((ingested, now.mono));
        let due = Mono(at.0.saturating_add(ingested.0.saturating_sub(from.0)));
        self.hold = (due > now.mono).then_some(due);
        self.hold.is_none()
    }

    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        match self.paused {
            Some(paused) => paused.until,
            None => self.hold,
        }
    }

    /// The next block sets the pace; a pause stays.
    pub(crate) fn begin_anew(&mut self) {
        (self.anchor, self.hold) = (None, None);
    }
}
