//! The events that members have, as runs, and when their ack waits end.

use std::collections::{BTreeMap, VecDeque};

use weft_base::Mono;

use super::handout::MemberId;

/// Deadlines that are out of date are thrown out when there are more of them
/// than this and more than half of all are.
const STALE: usize = 1024;

/// A run of events with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flight {
    /// Exclusive.
    pub(crate) end: u64,
    pub(crate) member: MemberId,
    /// When the ack wait ends.
    pub(crate) deadline: Mono,
    /// How often they were handed out, this time included.
    pub(crate) attempt: u32,
    /// What orders them, see [`super::keys`]; zero in other modes.
    pub(crate) key: u64,
}

/// All events with members.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flights {
    runs: BTreeMap<u64, Flight>,
    total: u64,
    /// When the ack wait of which events ends at the earliest; the ack wait of
    /// a consumer never changes, so the front is the next. Some are settled.
    deadlines: VecDeque<(Mono, u64, u64)>,
}

impl Flights {
    /// How many events there are.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// From the lowest: first and run.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Flight)> {
        self.runs.iter().map(|(first, flight)| (*first, flight))
    }

    /// Adds a run of events that nobody has.
    pub(crate) fn insert(&mut self, first: u64, flight: Flight) {
        self.total += flight.end - first;
        match self.deadlines.back_mut() {
            Some((deadline, _, end)) if *deadline == flight.deadline && *end == first => *end = flight.end,
            _ => self.deadlines.push_back((flight.deadline, first, flight.end)),
        }
        self.runs.insert(first, flight);
        if self.deadlines.len() > STALE + 2 * self.runs.len() {
            self.deadlines = self.runs.iter().map(|(first, flight)| (flight.deadline, *first, flight.end)).collect();
            self.deadlines.make_contiguous().sort_unstable();
        }
    }

    /// Takes what `wanted` says out of `from..upto`, in order; ends after so
    /// many runs of which it says no.
    pub(crate) fn cut(
        &mut self,
        from: u64,
        upto: u64,
        mut refusals: u32,
        wanted: impl Fn(&Flight) -> bool,
        mut taken: impl FnMut(u64, Flight),
    ) {
        let mut at = from;
        while at < upto {
            // The run that holds `at`, or the next one.
            let holds = self.runs.range_mut(..=at).next_back().filter(|(_, flight)| flight.end > at);
            let Some((&first, flight)) = (match holds {
                Some(found) => Some(found),
                None => self.runs.range_mut(at..upto).next(),
            }) else {
                return;
            };
            let (begin, end, old) = (first.max(at), flight.end.min(upto), *flight);
            at = end;
            if !wanted(&old) {
                refusals = refusals.saturating_sub(1);
                if refusals == 0 {
                    return;
                }
                continue;
            }
            self.total -= end - begin;
            if begin > first {
                flight.end = begin;
            } else {
                self.runs.remove(&first);
            }
            if end < old.end {
                self.runs.insert(end, old);
            }
            taken(begin, Flight { end, ..old });
        }
    }

    /// Takes out what a member has.
    pub(crate) fn cut_member(&mut self, member: MemberId, mut taken: impl FnMut(u64, Flight)) {
        let total = &mut self.total;
        self.runs.retain(|first, flight| {
            let stays = flight.member != member;
            if !stays {
                *total -= flight.end - first;
                taken(*first, *flight);
            }
            stays
        });
    }

    /// Takes out what has waited too long for its ack.
    pub(crate) fn cut_overdue(&mut self, now: Mono, mut taken: impl FnMut(u64, Flight)) {
        while let Some((deadline, first, end)) = self.deadlines.front().copied() {
            if deadline > now {
                break;
            }
            self.deadlines.pop_front();
            self.cut(first, end, u32::MAX, |flight| flight.deadline <= now, &mut taken);
        }
        self.forget_settled();
    }

    /// Forgets deadlines at the front of which nothing is left.
    pub(crate) fn forget_settled(&mut self) {
        while let Some((deadline, first, end)) = self.deadlines.front().copied() {
            let before = self.runs.range(..=first).next_back().filter(|(_, flight)| flight.end > first);
            let mut there = before.into_iter().chain(self.runs.range(first..end));
            if there.any(|(_, flight)| flight.deadline <= deadline) {
                return;
            }
            self.deadlines.pop_front();
        }
    }

    /// When the next ack wait may end.
    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.deadlines.front().map(|(deadline, ..)| *deadline)
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
