//! The events that wait to be handed out: again, or, of a key whose turn is
//! not yet, for the first time.
//!
//! Without keys each run of events is on its own: [`Place::Later`] until it is
//! due, then ready for any member. With keys only the first run of each key is
//! in the race, and ready for one member; the others are [`Place::Behind`] it.

use std::collections::{BTreeMap, BTreeSet};

use weft_base::Mono;

use super::handout::MemberId;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Another one of its key goes first.
    Behind,
    /// Until it is due.
    Later,
    /// For this member; for anybody without keys.
    Ready(Option<MemberId>),
}

/// A run of events that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// Exclusive.
    pub(crate) end: u64,
    /// How often they were handed out.
    pub(crate) attempts: u32,
    /// Not before this.
    pub(crate) due: Mono,
    /// What orders them; zero in other modes.
    pub(crate) key: u64,
    /// Who had them last, while it is a member: it may still say that they are
    /// done.
    pub(crate) by: Option<MemberId>,
    pub(crate) place: Place,
}

/// All that waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    runs: BTreeMap<u64, Wait>,
    total: u64,
    /// Of these, events that were handed out before.
    tried: u64,
    later: BTreeSet<(Mono, u64)>,
    ready: BTreeMap<Option<MemberId>, BTreeSet<u64>>,
}

impl Waiting {
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn tried(&self) -> u64 {
        self.tried
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Wait)> {
        self.runs.iter().map(|(first, wait)| (*first, wait))
    }

    pub(crate) fn get(&self, first: u64) -> Option<&Wait> {
        self.runs.get(&first)
    }

    /// The first run that begins in `from..upto`.
    pub(crate) fn first_in(&self, from: u64, upto: u64) -> Option<(u64, Wait)> {
        self.runs.range(from..upto.max(from)).next().map(|(first, wait)| (*first, *wait))
    }

    /// Adds a run that is in no set; it is [`Place::Behind`] until it is put
    /// somewhere.
    pub(crate) fn insert(&mut self, first: u64, wait: Wait) {
        let events = wait.end - first;
        self.total += events;
        self.tried += if wait.attempts > 0 { events } else { 0 };
        self.runs.insert(first, Wait { place: Place::Behind, ..wait });
    }

    /// Puts a run into the set of its place.
    pub(crate) fn put(&mut self, first: u64, place: Place) {
        let Some(wait) = self.runs.get_mut(&first) else { return };
        let (before, due) = (std::mem::replace(&mut wait.place, place), wait.due);
        self.leave(first, before, due);
        match place {
            Place::Behind => {}
            Place::Later => {
                self.later.insert((due, first));
            }
            Place::Ready(member) => {
                self.ready.entry(member).or_default().insert(first);
            }
        }
    }

    fn leave(&mut self, first: u64, place: Place, due: Mono) {
        match place {
            Place::Behind => {}
            Place::Later => {
                self.later.remove(&(due, first));
            }
            Place::Ready(member) => {
                if let Some(ready) = self.ready.get_mut(&member) {
                    ready.remove(&first);
                    if ready.is_empty() {
                        self.ready.remove(&member);
                    }
                }
            }
        }
    }

    /// Takes out the run that begins at `first`.
    pub(crate) fn take(&mut self, first: u64) -> Option<Wait> {
        let wait = self.runs.remove(&first)?;
        let events = wait.end - first;
        self.total -= events;
        self.tried -= if wait.attempts > 0 { events } else { 0 };
        self.leave(first, wait.place, wait.due);
        Some(wait)
    }

    /// The first run that overlaps `at..upto`, to be cut by the caller.
    pub(crate) fn overlapping(&self, at: u64, upto: u64) -> Option<(u64, Wait)> {
        let holds = self.runs.range(..=at).next_back().filter(|(_, wait)| wait.end > at);
        holds.map(|(first, wait)| (*first, *wait)).or_else(|| self.first_in(at, upto))
    }

    /// The lowest run that is ready for somebody with room.
    pub(crate) fn next_ready(&self, has_room: impl Fn(Option<MemberId>) -> bool) -> Option<u64> {
        let ready = self.ready.iter().filter(|(member, _)| has_room(**member));
        ready.filter_map(|(_, runs)| runs.first().copied()).min()
    }

    /// A run that has become due.
    pub(crate) fn next_due(&self, now: Mono) -> Option<u64> {
        self.later.first().filter(|(due, _)| *due <= now).map(|(_, first)| *first)
    }

    /// When the next run becomes due.
    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.later.first().map(|(due, _)| *due)
    }

    /// Forgets who had what.
    pub(crate) fn forget_member(&mut self, member: MemberId) {
        self.runs.values_mut().filter(|wait| wait.by == Some(member)).for_each(|wait| wait.by = None);
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
