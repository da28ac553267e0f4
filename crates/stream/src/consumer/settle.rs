//! From the members back: what they say of events, and what time says.

use std::time::Duration;

use weft_base::{Mono, Now};

use super::flight::Flight;
use super::handout::{DeadLetter, DeadReason, MemberId, SettleError, Settled, Verb};
use super::spec::MAX_DELAY;
use super::{Consumer, Dying};

/// The most ranges in one message.
pub const MAX_RANGES: usize = 4096;
/// So many runs of others are looked at for one message; who names more does
/// not know what it has.
const MAX_STRANGERS: u32 = 4096;
/// The longest reason that is kept, in bytes.
pub const MAX_REASON: usize = 256;

/// Sorted, and none overlapping another; answers how many events were named
/// more than once.
fn in_order(ranges: &[(u64, u32)]) -> (Vec<(u64, u64)>, u64) {
    let mut sorted: Vec<(u64, u64)> =
        ranges.iter().map(|(first, count)| (*first, first.saturating_add((*count).into()))).collect();
    sorted.sort_unstable();
    let (mut merged, mut twice) = (Vec::<(u64, u64)>::with_capacity(sorted.len()), 0);
    for (first, end) in sorted {
        match merged.last_mut() {
            Some(last) if first < last.1 => {
                twice += end.min(last.1) - first;
                last.1 = last.1.max(end);
            }
            _ => merged.push((first, end)),
        }
    }
    (merged, twice)
}

impl Consumer {
    /// A member says something to events: ranges of first sequence and count.
    /// What is not with it is counted and told; to what it had until its ack
    /// wait passed it may still say that it is done. Events that are given up
    /// go to `out`.
    ///
    /// # Errors
    /// [`SettleError`]; nothing was done.
    pub fn settle(
        &mut self,
        member: MemberId,
        token: u64,
        verb: Verb<'_>,
        ranges: &[(u64, u32)],
        now: Now,
        out: &mut Vec<DeadLetter>,
    ) -> Result<Settled, SettleError> {
        let Some(found) = self.members.get(member) else {
            self.counts.fenced += 1;
            return Err(SettleError::NoMember { member });
        };
        if token == 0 || found.token != token {
            let current = found.token;
            self.counts.fenced += 1;
            return Err(SettleError::Fenced { found: token, current });
        }
        if ranges.len() > MAX_RANGES {
            return Err(SettleError::TooMany { found: ranges.len(), most: MAX_RANGES });
        }
        let mut settled = Settled::default();
        if let [(first, count)] = ranges {
            self.settle_range(member, verb, *first, first.saturating_add((*count).into()), now, &mut settled);
        } else {
            let (ranges, twice) = in_order(ranges);
            settled.again += twice;
            for (first, end) in ranges {
                self.settle_range(member, verb, first, end, now, &mut settled);
            }
        }
        self.flights.forget_settled();
        self.counts.settled_again += settled.again;
        self.counts.settled_others += settled.others;
        self.counts.settled_unknown += settled.unknown;
        self.tell(out);
        Ok(settled)
    }

    fn settle_range(
        &mut self,
        member: MemberId,
        verb: Verb<'_>,
        first: u64,
        end: u64,
        now: Now,
        settled: &mut Settled,
    ) {
        settled.again += self.floor.min(end).saturating_sub(first);
        settled.unknown += end.saturating_sub(self.next.max(first));
        let (from, upto) = (first.max(self.floor), end.min(self.next));
        if from >= upto {
            return;
        }
        let mut runs = std::mem::take(&mut self.scratch);
        let is_own = |flight: &Flight| flight.member == member;
        self.flights.cut(from, upto, MAX_STRANGERS, is_own, |first, flight| runs.push((first, flight, true)));
        if matches!(verb, Verb::Ack | Verb::Term { .. }) && self.waiting.tried() > 0 {
            let late = |wait: &super::Wait| wait.by == Some(member);
            self.cut_waiting(from, upto, now.mono, late, |first, wait| {
                let flight = Flight { end: wait.end, member, deadline: Mono(0), attempt: wait.attempts, key: wait.key };
                runs.push((first, flight, false));
            });
        }
        let own: u64 = runs.iter().map(|(first, flight, _)| flight.end - first).sum();
        settled.done += own;
        if own < upto - from {
            let again = self.done.overlap(from, upto);
            settled.again += again;
            settled.others += (upto - from).saturating_sub(own + again);
        }
        for (first, flight, in_flight) in runs.drain(..) {
            self.settle_run(first, &flight, in_flight, verb, now);
        }
        self.scratch = runs;
    }

    fn settle_run(&mut self, first: u64, flight: &Flight, in_flight: bool, verb: Verb<'_>, now: Now) {
        let events = flight.end - first;
        if let Verb::Progress = verb {
            let deadline = now.mono + self.spec.ack_wait;
            return self.flights.insert(first, Flight { deadline, ..*flight });
        }
        if let Verb::Nack { delay } = verb {
            self.counts.nacked += events;
            let delay = if delay == Duration::ZERO { self.spec.wait_after(flight.attempt, true) } else { delay };
            // Before the key is looked at: what comes back is first in line.
            self.again(first, flight, Some(flight.member), now.mono + delay.min(MAX_DELAY), now);
            return self.came_back(first, flight, now);
        }
        if let Verb::Term { reason } = verb {
            self.counts.terminated += events;
            let end = reason.floor_char_boundary(MAX_REASON);
            let reason = DeadReason::Terminated(reason.get(..end).unwrap_or_default().to_owned());
            self.give_up(first, flight.end, flight.attempt, reason);
        } else {
            self.counts.acked += events;
            self.settled(first, flight.end);
        }
        if in_flight {
            self.came_back(first, flight, now);
        }
    }

    /// The dead letters of these events are on the disk: they are settled now.
    pub fn dead_lettered(&mut self, first: u64, count: u32) {
        let upto = first.saturating_add(count.into());
        let mut at = first;
        while at < upto {
            let holds = self.dying.range(..=at).next_back().filter(|(_, dying)| dying.end > at);
            let Some((begin, dying)) = holds.or_else(|| self.dying.range(at..upto).next()) else { return };
            let (begin, dying) = (*begin, dying.clone());
            let (from, end) = (begin.max(at), dying.end.min(upto));
            self.dying.remove(&begin);
            if begin < from {
                self.dying.insert(begin, Dying { end: from, ..dying.clone() });
            }
            if end < dying.end {
                self.dying.insert(end, dying);
            }
            self.dying_events -= end - from;
            self.counts.dead += end - from;
            self.settled(from, end);
            at = end;
        }
    }

    /// Time has passed: what was not settled in its ack wait comes back, and
    /// what is given up goes to `out`.
    pub fn tick(&mut self, now: Now, out: &mut Vec<DeadLetter>) {
        let mut runs = std::mem::take(&mut self.scratch);
        self.flights.cut_overdue(now.mono, |first, flight| runs.push((first, flight, true)));
        for (first, flight, _) in runs.drain(..) {
            self.counts.timed_out += flight.end - first;
            let due = now.mono + self.spec.wait_after(flight.attempt, false);
            self.again(first, &flight, Some(flight.member), due, now);
            self.came_back(first, &flight, now);
        }
        self.scratch = runs;
        self.ripen(now);
        self.tell(out);
    }

    /// When [`tick`](Self::tick) has something to do next, at the earliest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        let end = self.alone.zip(self.spec.inactive).map(|(since, time)| since + time);
        let told = self.untold.then_some(Mono(0));
        let all = [self.flights.next_deadline(), self.waiting.next_deadline(), self.pace.next_deadline(), end, told];
        all.into_iter().flatten().min()
    }

    /// Whether it had no member for as long as its `inactive` says: then it
    /// ends.
    #[must_use]
    pub fn is_abandoned(&self, now: Now) -> bool {
        let end = self.alone.zip(self.spec.inactive).map(|(since, time)| since + time);
        end.is_some_and(|end| end <= now.mono)
    }
}
