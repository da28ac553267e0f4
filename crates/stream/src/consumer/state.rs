//! The moves of events between the sets of a consumer, and what is told of them.

use weft_base::{Mono, Now};

use super::flight::Flight;
use super::handout::{Counts, DeadLetter, DeadReason, MemberId, Report};
use super::saved::{Saved, Tried};
use super::spec::Mode;
use super::waiting::{Place, Wait};
use super::{Consumer, Dying};

impl Consumer {
    /// Events that are with members, wait, or are given up and not stored.
    pub(super) fn unsettled(&self) -> u64 {
        self.flights.total() + self.waiting.total() + self.dying_events
    }

    /// How many more may be.
    pub(super) fn window(&self) -> u64 {
        u64::from(self.spec.max_in_flight).saturating_sub(self.unsettled())
    }

    /// Events that were handed out before, and are with nobody now.
    pub(super) fn redeliver(&self) -> u64 {
        self.waiting.tried() + self.past_events
    }

    /// `first..end` is done.
    pub(super) fn settled(&mut self, first: u64, end: u64) {
        self.dirty = true;
        if first == self.floor {
            self.floor = end;
        } else {
            self.done.insert(first, end);
        }
        self.raise_floor();
    }

    pub(super) fn raise_floor(&mut self) {
        while let Some(end) = self.done.take_first(self.floor) {
            self.floor = end;
        }
        self.next = self.next.max(self.floor);
    }

    /// Forgets what an earlier life did with events that were looked at since.
    pub(super) fn forget_past(&mut self) {
        while let Some(entry) = self.past.first_entry() {
            let tried = *entry.get();
            if tried.first >= self.next {
                return;
            }
            entry.remove();
            self.past_events -= tried.end - tried.first;
            if tried.end > self.next {
                self.past.insert(self.next, Tried { first: self.next, ..tried });
                self.past_events += tried.end - self.next;
            }
        }
    }

    /// A member has these no more.
    pub(super) fn came_back(&mut self, first: u64, flight: &Flight, now: Now) {
        let events = flight.end - first;
        self.members.returned(flight.member, events);
        if self.spec.mode == Mode::Keyed {
            self.keys.came_back(flight.key, events);
            if self.keys.holder(flight.key).is_none() {
                // Nothing of it is under way: it may go to another member now.
                self.place_head(flight.key, now.mono);
            }
        }
    }

    /// What came back unsettled is handed out again, or given up.
    pub(super) fn again(&mut self, first: u64, flight: &Flight, by: Option<MemberId>, due: Mono, now: Now) {
        if self.spec.gives_up(flight.attempt) {
            return self.give_up(first, flight.end, flight.attempt, DeadReason::MaxDeliver);
        }
        let Flight { end, attempt: attempts, key, .. } = *flight;
        self.wait(first, Wait { end, attempts, due, key, by, place: Place::Behind }, now.mono);
        self.dirty = true;
    }

    /// `first..end` is handed out no more.
    pub(super) fn give_up(&mut self, first: u64, end: u64, attempts: u32, reason: DeadReason) {
        if self.spec.dead_letters {
            self.dying.insert(first, Dying { end, attempts, reason, told: false });
            self.dying_events += end - first;
            self.untold = true;
            self.dirty = true;
        } else {
            self.counts.dropped += end - first;
            self.settled(first, end);
        }
    }

    /// Tells of the dying that nobody was told of.
    pub(super) fn tell(&mut self, out: &mut Vec<DeadLetter>) {
        if !std::mem::take(&mut self.untold) {
            return;
        }
        for (first, dying) in self.dying.iter_mut().filter(|(_, dying)| !dying.told) {
            dying.told = true;
            let mut at = *first;
            while at < dying.end {
                let count = u32::try_from(dying.end - at).unwrap_or(u32::MAX);
                let (attempts, reason) = (dying.attempts, dying.reason.clone());
                out.push(DeadLetter { first: at, count, attempts, reason });
                at += u64::from(count);
            }
        }
    }

    /// Adds a run to what waits.
    pub(super) fn wait(&mut self, first: u64, wait: Wait, now: Mono) {
        self.waiting.insert(first, wait);
        if self.spec.mode != Mode::Keyed {
            return self.place(first, now);
        }
        let before = self.keys.head(wait.key);
        self.keys.waits(wait.key, first);
        if before.is_none_or(|before| before > first) {
            if let Some(before) = before {
                self.waiting.put(before, Place::Behind);
            }
            self.place(first, now);
        }
    }

    /// Takes a whole run out of what waits. With keys the caller calls
    /// [`place_head`](Self::place_head) then.
    pub(super) fn take_waiting(&mut self, first: u64) -> Option<Wait> {
        let wait = self.waiting.take(first)?;
        if self.spec.mode == Mode::Keyed {
            self.keys.waits_no_more(wait.key, first);
        }
        Some(wait)
    }

    /// Takes what `wanted` says of `from..upto` out of what waits.
    pub(super) fn cut_waiting(
        &mut self,
        from: u64,
        upto: u64,
        now: Mono,
        wanted: impl Fn(&Wait) -> bool,
        mut taken: impl FnMut(u64, Wait),
    ) {
        let mut at = from;
        while let Some((first, wait)) = if at < upto { self.waiting.overlapping(at, upto) } else { None } {
            let (begin, end) = (first.max(at), wait.end.min(upto));
            at = end;
            if !wanted(&wait) {
                continue;
            }
            self.take_waiting(first);
            if begin > first {
                self.wait(first, Wait { end: begin, ..wait }, now);
            }
            if end < wait.end {
                self.wait(end, wait, now);
            }
            self.place_head(wait.key, now);
            taken(begin, Wait { end, ..wait });
        }
    }

    /// Puts the first run that waits of a key where it belongs.
    pub(super) fn place_head(&mut self, key: u64, now: Mono) {
        if self.spec.mode == Mode::Keyed
            && let Some(head) = self.keys.head(key)
        {
            self.place(head, now);
        }
    }

    /// Puts a run that is in the race where it belongs.
    fn place(&mut self, first: u64, now: Mono) {
        let Some(wait) = self.waiting.get(first) else { return };
        let (due, key) = (wait.due, wait.key);
        let place = if due > now {
            Place::Later
        } else if self.spec.mode == Mode::Keyed {
            Place::Ready(self.keys.holder(key).or_else(|| self.members.owner(key)))
        } else {
            Place::Ready(None)
        };
        self.waiting.put(first, place);
    }

    /// Members have changed: keys of which nothing is under way may belong to
    /// others now.
    pub(super) fn place_all(&mut self, now: Now) {
        if self.spec.mode == Mode::Keyed {
            let heads: Vec<u64> = self.keys.heads().map(|(_, head)| head).collect();
            heads.into_iter().for_each(|head| self.place(head, now.mono));
        }
    }

    /// What has become due is ready.
    pub(super) fn ripen(&mut self, now: Now) {
        if self.pace.tick(now) {
            self.dirty = true;
        }
        while let Some(first) = self.waiting.next_due(now.mono) {
            self.place(first, now.mono);
        }
    }

    /// Events that are with members, wait to be handed out again, or are given
    /// up and not stored as dead letters: what takes memory.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.unsettled()
    }

    /// What happened so far in this life.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What must be kept.
    #[must_use]
    pub fn saved(&self) -> Saved {
        let flights = self.flights.iter().map(|(first, flight)| (first, flight.end, flight.attempt, false));
        let waiting = self.waiting.iter().filter(|(_, wait)| wait.attempts > 0);
        let waiting = waiting.map(|(first, wait)| (first, wait.end, wait.attempts, false));
        let dying = self.dying.iter().map(|(first, dying)| (*first, dying.end, dying.attempts.max(1), true));
        let past = self.past.values().map(|tried| (tried.first, tried.end, tried.attempts, tried.dead));
        let mut all: Vec<_> = flights.chain(waiting).chain(dying).chain(past).collect();
        all.sort_unstable();
        let mut tried: Vec<Tried> = Vec::with_capacity(all.len());
        for (first, end, attempts, dead) in all {
            match tried.last_mut() {
                Some(last) if (last.end, last.attempts, last.dead) == (first, attempts, dead) => last.end = end,
                _ => tried.push(Tried { first, end, attempts, dead }),
            }
        }
        Saved {
            generation: self.generation(),
            floor: self.floor,
            done: self.done.iter().collect(),
            tried,
            paused_until: self.pace.paused_until(),
        }
    }

    /// Whether [`saved`](Self::saved) differs from what it was when
    /// [`clean`](Self::clean) was called last.
    #[must_use]
    pub const fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// What is saved now is kept.
    pub fn clean(&mut self) {
        self.dirty = false;
    }

    /// How many events are not settled, where the stream's next one has the sequence `end`.
    #[must_use]
    pub fn lag(&self, end: u64) -> u64 {
        let settled = self.done.overlap(self.floor, end.max(self.floor));
        end.saturating_sub(self.floor).saturating_sub(settled)
    }

    /// How it stands; the stream's next event has the sequence `end`.
    #[must_use]
    pub fn report(&self, end: u64) -> Report {
        Report {
            floor: self.floor,
            next: self.next,
            lag: self.lag(end),
            in_flight: self.flights.total(),
            waiting: self.waiting.total(),
            dying: self.dying_events,
            counts: self.counts,
            members: self.members.report(),
            paused_until: self.pace.paused_until(),
            generation: self.generation(),
            mode: self.spec.mode,
        }
    }
}
