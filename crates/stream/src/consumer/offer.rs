//! From the stream to the members: what is read next, and who gets it.

use weft_base::{Mono, Now};
use weft_wire::block::layout::EXPIRES;
use weft_wire::block::{Block, Event};
use weft_wire::headers::names::TTL;

use super::flight::Flight;
use super::handout::{Handout, MemberId, Offered, Read, SmallRuns};
use super::keys::key_of;
use super::spec::{Mode, Replay};
use super::waiting::{Place, Wait};
use super::{Consumer, DeadReason};

/// What becomes of an event that is looked at for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Somebody's.
    Wanted { key: u64, attempts: u32, dead: bool },
    /// Not for this consumer.
    Filtered,
    /// Past its time to live.
    Expired,
}

/// A block with what it needs to be handed out.
struct Source<'a> {
    offered: Offered<'a>,
    /// The handouts of this block begin there in the list.
    begin: usize,
    now: Now,
}

/// Whether an event is past its time to live.
fn is_expired(event: &Event<'_>, from: u64, now: Now) -> bool {
    let ttl = event.headers.get(TTL).and_then(|value| value.try_into().ok()).map(u64::from_le_bytes);
    ttl.is_some_and(|ms| from.saturating_add(ms.saturating_mul(1_000_000)) <= now.wall.0)
}

fn may_expire(block: &Block<'_>) -> bool {
    block.flags() & EXPIRES != 0
}

impl Consumer {
    /// What to read next: what is to be handed out again first. `None` while
    /// nobody has room, nothing is due, or the consumer is paused or has all
    /// under way that it may. May lie beyond the stream's end: then there is
    /// nothing until the stream has grown.
    pub fn next_read(&mut self, now: Now) -> Option<Read> {
        self.ripen(now);
        if self.pace.is_paused() {
            return None;
        }
        let (members, keyed) = (&self.members, self.spec.mode == Mode::Keyed);
        let ready = self.waiting.next_ready(|member| match member {
            Some(member) => members.has_room(member),
            None => !keyed && members.any_has_room(),
        });
        if let Some(from) = ready {
            let upto = self.waiting.get(from).map(|wait| wait.end);
            return Some(Read { from, upto, again: true });
        }
        if self.pace.holds() || self.window() == 0 || !self.members.any_has_room() {
            return None;
        }
        while let Some(end) = self.done.end_at(self.next) {
            self.next = end;
        }
        Some(Read { from: self.next, upto: None, again: false })
    }

    /// A block that was read, with what `next_read` said of it; what it gives
    /// is added to `out`. Blocks that follow the one asked for may be offered
    /// too, in order; of each as much is taken as there is room for.
    pub fn offer(&mut self, offered: Offered<'_>, again: bool, now: Now, out: &mut Vec<Handout>) {
        let source = Source { offered, begin: out.len(), now };
        if self.pace.is_paused() {
            return;
        }
        if again { self.offer_again(&source, out) } else { self.offer_new(&source, out) }
    }

    /// `from..upto` cannot be read: damaged, or removed by retention. What of
    /// it is with a member stays there.
    pub fn unreadable(&mut self, from: u64, upto: u64) {
        let from = from.max(self.floor);
        let mut lost = Vec::new();
        self.cut_waiting(from, upto, Mono(0), |_| true, |first, wait| lost.push((first, wait.end)));
        for (first, end) in lost {
            self.counts.unreadable += end - first;
            self.settled(first, end);
        }
        let mut at = from.max(self.next);
        while at < upto {
            match self.done.end_at(at) {
                Some(end) => at = end,
                None => {
                    let end = self.done.first_from(at).map_or(upto, |next| next.min(upto));
                    self.counts.offered += end - at;
                    self.counts.unreadable += end - at;
                    if at == self.next {
                        self.next = end;
                    }
                    self.settled(at, end);
                    at = end;
                }
            }
            // What was done above may have become part of the floor.
            at = at.max(self.floor);
        }
        self.forget_past();
        self.dirty = true;
    }

    fn offer_new(&mut self, source: &Source<'_>, out: &mut Vec<Handout>) {
        let Offered { first, block, .. } = source.offered;
        let end = first.saturating_add(block.event_count().into());
        if first > self.next {
            self.unreadable(self.next, first);
        }
        let released = || self.spec.replay == Replay::Full;
        if end <= self.next || !(released() || self.pace.releases(block.counts_from(), source.now)) {
            return;
        }
        let topic = block.topic();
        if !self.topics.wants(&self.spec.filters, topic) {
            self.look_at(source, end, Class::Filtered, out);
        } else if self.spec.predicate.is_some()
            || self.spec.mode == Mode::Keyed
            || may_expire(&block)
            || block.is_compacted()
        {
            self.look_at_each(source, out);
        } else {
            while self.next < end {
                let (class, upto) = self.class_by_past(self.next, 0);
                if !self.look_at(source, upto.min(end), class, out) {
                    break;
                }
            }
        }
        self.forget_past();
    }

    /// What an event is that is wanted, by what an earlier life did with it,
    /// and up to where that is so.
    fn class_by_past(&self, sequence: u64, key: u64) -> (Class, u64) {
        let fresh = Class::Wanted { key, attempts: 0, dead: false };
        if self.past.is_empty() {
            return (fresh, u64::MAX);
        }
        match self.past.range(..=sequence).next_back().filter(|(_, tried)| tried.end > sequence) {
            Some((_, tried)) => (Class::Wanted { key, attempts: tried.attempts, dead: tried.dead }, tried.end),
            None => (fresh, self.past.range(sequence..).next().map_or(u64::MAX, |(next, _)| *next)),
        }
    }

    /// Events that are alike are taken as one run.
    fn look_at_each(&mut self, source: &Source<'_>, out: &mut Vec<Handout>) {
        let Offered { first, block, .. } = source.offered;
        let (topic, may_expire, from) = (block.topic(), may_expire(&block), block.counts_from().0);
        let keyed = self.spec.mode == Mode::Keyed;
        let mut run: Option<Class> = None;
        let mut sequence = first;
        for event in block.events() {
            let at = sequence;
            sequence += 1;
            if at < self.next {
                continue;
            }
            let class = if may_expire && is_expired(&event, from, source.now) {
                Class::Expired
            } else if (block.is_compacted() && event.is_removed())
                || self.spec.predicate.as_ref().is_some_and(|predicate| !predicate.matches(topic, &event))
            {
                Class::Filtered
            } else {
                self.class_by_past(at, if keyed { key_of(event.key, topic) } else { 0 }).0
            };
            let before = *run.get_or_insert(class);
            if before != class {
                if !self.look_at(source, at, before, out) {
                    return;
                }
                run = Some(class);
            }
        }
        if let Some(class) = run {
            self.look_at(source, sequence, class, out);
        }
    }

    /// Takes what follows `next` up to `upto`; false when not all of it could
    /// be taken.
    fn look_at(&mut self, source: &Source<'_>, upto: u64, class: Class, out: &mut Vec<Handout>) -> bool {
        while self.next < upto {
            let first = self.next;
            if let Some(end) = self.done.end_at(first) {
                self.next = end;
                continue;
            }
            let end = self.done.first_from(first).map_or(upto, |next| next.min(upto));
            let taken = match class {
                Class::Filtered => {
                    self.counts.filtered += end - first;
                    self.settled(first, end);
                    end - first
                }
                Class::Expired => {
                    self.counts.expired += end - first;
                    self.settled(first, end);
                    end - first
                }
                Class::Wanted { attempts, dead, .. } if dead || self.spec.gives_up(attempts) => {
                    let reason = if self.spec.gives_up(attempts) {
                        DeadReason::MaxDeliver
                    } else {
                        DeadReason::Terminated(String::new())
                    };
                    self.give_up(first, end, attempts, reason);
                    end - first
                }
                Class::Wanted { key, attempts, .. } if self.spec.mode == Mode::Keyed => {
                    self.give_by_key(source, first, end, key, attempts, out)
                }
                Class::Wanted { attempts, .. } => self.give(source, first, end, attempts, out),
            };
            self.counts.offered += taken;
            self.next = self.next.max(first + taken);
            if taken < end - first {
                return false;
            }
        }
        true
    }

    /// Gives a run to whoever has room, and answers how much of it.
    fn give(&mut self, source: &Source<'_>, first: u64, end: u64, attempts: u32, out: &mut Vec<Handout>) -> u64 {
        let mut at = first;
        while at < end {
            // Who has a part of the block gets the rest of it too.
            let last = out.get(source.begin..).and_then(<[Handout]>::last);
            let last = last.filter(|last| last.attempt == attempts + 1).map(|last| last.member);
            let last = last.filter(|last| self.members.get(*last).is_some_and(|member| member.room(true) > 0));
            let Some(member) = last.or_else(|| self.members.pick(end - at)) else { break };
            let room = self.members.get(member).map_or(0, |found| found.room(last.is_some()));
            let count = room.min(self.window()).min(end - at);
            if count == 0 {
                break;
            }
            self.hand_out(source, member, at, at + count, (0, attempts), out);
            at += count;
        }
        at - first
    }

    /// Gives a run of one key to its member, or lets it wait for it.
    fn give_by_key(
        &mut self,
        source: &Source<'_>,
        first: u64,
        end: u64,
        key: u64,
        attempts: u32,
        out: &mut Vec<Handout>,
    ) -> u64 {
        let mut at = first;
        while at < end {
            let Some(member) = self.keys.holder(key).or_else(|| self.members.owner(key)) else { break };
            let has_block = has_part(out.get(source.begin..).unwrap_or_default(), member, attempts + 1);
            let waits = self.keys.head(key).is_some();
            let room = self.members.get(member).map_or(0, |found| found.room(has_block));
            let count = self.window().min(end - at);
            if count == 0 {
                break;
            }
            if waits || room == 0 {
                if !self.members.any_has_room() {
                    break;
                }
                let place = Place::Behind;
                let wait = Wait { end: at + count, attempts, due: source.now.mono, key, by: None, place };
                self.wait(at, wait, source.now.mono);
                at += count;
            } else {
                let count = count.min(room);
                self.hand_out(source, member, at, at + count, (key, attempts), out);
                at += count;
            }
        }
        at - first
    }

    fn offer_again(&mut self, source: &Source<'_>, out: &mut Vec<Handout>) {
        let Offered { first, block, .. } = source.offered;
        let end = first.saturating_add(block.event_count().into());
        if may_expire(&block) {
            self.expire_waiting(source);
        }
        let mut at = first;
        while let Some((run, wait)) = self.waiting.first_in(at, end) {
            at = wait.end;
            let Place::Ready(whose) = wait.place else { continue };
            let member = match whose {
                Some(member) => member,
                None => {
                    let last = out.get(source.begin..).and_then(<[Handout]>::last).map(|last| last.member);
                    let last = last.filter(|last| self.members.get(*last).is_some_and(|found| found.room(true) > 0));
                    match last.or_else(|| self.members.pick(wait.end - run)) {
                        Some(member) => member,
                        None => return,
                    }
                }
            };
            let has_block = has_part(out.get(source.begin..).unwrap_or_default(), member, wait.attempts + 1);
            let room = self.members.get(member).map_or(0, |found| found.room(has_block));
            let count = room.min(wait.end - run);
            if count == 0 {
                continue;
            }
            self.take_waiting(run);
            self.hand_out(source, member, run, run + count, (wait.key, wait.attempts), out);
            if run + count < wait.end {
                at = run + count;
                self.wait(at, wait, source.now.mono);
                if whose.is_some() {
                    at = wait.end;
                }
            }
            self.place_head(wait.key, source.now.mono);
        }
    }

    /// Settles what waits of a block and is past its time to live.
    fn expire_waiting(&mut self, source: &Source<'_>) {
        let Offered { first, block, .. } = source.offered;
        let from = block.counts_from().0;
        for (sequence, event) in (first..).zip(block.events()) {
            if is_expired(&event, from, source.now) {
                let mut expired = false;
                self.cut_waiting(sequence, sequence + 1, source.now.mono, |_| true, |_, _| expired = true);
                if expired {
                    self.counts.expired += 1;
                    self.settled(sequence, sequence + 1);
                }
            }
        }
    }

    /// `from..upto` of the block is with this member from now on.
    fn hand_out(
        &mut self,
        source: &Source<'_>,
        member: MemberId,
        from: u64,
        upto: u64,
        (key, attempts): (u64, u32),
        out: &mut Vec<Handout>,
    ) {
        let events = upto - from;
        let attempt = attempts.saturating_add(1);
        let deadline = source.now.mono + self.spec.ack_wait;
        self.flights.insert(from, Flight { end: upto, member, deadline, attempt, key });
        if self.spec.mode == Mode::Keyed {
            self.keys.handed_out(key, member, events);
        }
        self.counts.handed_out += events;
        self.counts.redelivered += if attempts > 0 { events } else { 0 };
        self.dirty = true;
        // Both fit: a block has at most 65,535 events.
        let run = ((from - source.offered.first) as u16, events as u16);
        // Only to the last that the member gets: its order is that of its key.
        let last = out.get_mut(source.begin..).unwrap_or_default().iter_mut().rev().find(|part| part.member == member);
        if let Some(part) = last.filter(|part| part.attempt == attempt) {
            part.runs.push(run.0, run.1);
            self.members.charge(member, events, 0);
        } else {
            let mut runs = SmallRuns::default();
            runs.push(run.0, run.1);
            out.push(Handout { member, first: source.offered.first, attempt, runs });
            self.members.charge(member, events, source.offered.len);
        }
    }
}

/// Whether more events of this attempt cost the member no more bytes.
fn has_part(parts: &[Handout], member: MemberId, attempt: u32) -> bool {
    parts.iter().rev().find(|part| part.member == member).is_some_and(|part| part.attempt == attempt)
}
