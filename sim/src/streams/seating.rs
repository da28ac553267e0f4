//! Consumers between homes: the machine of `weft_stream::seat` at each home,
//! messages between them, which may be lost, and what homes see of each other,
//! which comes late.

use std::collections::BTreeSet;

use weft_base::{HubId, Now};
use weft_stream::consumer::{Consumer, ConsumerSpec, Saved};
use weft_stream::replica::Position;
use weft_stream::seat::{Copy, Host, Id, MoveError, Preference, Seats, State, Told, Version, Waits, merged, seat};

use super::Canary;
use super::clients::Client;
use super::home::{Home, LogSource, Open, Record, Seat, as_served, home_of, hub, hub_name, id};
use super::judge::Verdict;
use super::world::{Action, World};

/// How often what changed of consumers is copied.
const COPIES: u64 = 100_000_000;

/// A home as its machine sees it, and what comes of that.
pub(super) struct AtHome<'a> {
    open: &'a mut Open,
    records: &'a mut std::collections::BTreeMap<usize, Record>,
    aside: &'a mut std::collections::BTreeMap<usize, Copy<usize>>,
    generation: &'a mut u32,
    specs: &'a [(usize, ConsumerSpec)],
    now: Now,
    canary: Option<Canary>,
    me: usize,
    done: Done,
}

/// What a machine did.
#[derive(Default)]
struct Done {
    sends: Vec<(usize, Told<usize>)>,
    /// Members of these are told that it moves.
    ended: Vec<usize>,
    installed: Vec<(usize, Saved)>,
    /// States that were taken, and the version each of them was sent under.
    states: Vec<(usize, Saved)>,
    sent: Vec<(usize, Version, Saved)>,
    moved: u64,
}

fn number(id: &Id) -> usize {
    id.1.trim_start_matches('c').parse().unwrap_or_default()
}

impl AtHome<'_> {
    fn seat(&mut self, id: &Id) -> Option<&mut Seat> {
        let number = number(id);
        self.open.seats.iter_mut().find(|seat| seat.number == number)
    }
}

impl Host for AtHome<'_> {
    type Definition = usize;

    fn keeps(&self, _stream: u64) -> bool {
        true
    }

    fn homes(&self, _stream: u64) -> Vec<HubId> {
        self.open.sees.iter().map(|home| hub(*home)).collect()
    }

    fn drains(&self, hub: HubId) -> bool {
        self.canary != Some(Canary::KeptSeats) && self.open.drains.contains(&home_of(hub))
    }

    fn has(&mut self, _stream: u64, upto: &Position) -> bool {
        self.open.position().covers(upto)
    }

    fn state(&mut self, id: &Id) -> Option<(usize, State)> {
        let saved = self.seat(id)?.consumer.saved();
        let end = self.open.log.next();
        let state = State::of(&saved, &mut LogSource(&mut self.open.reader), end).ok()?;
        self.done.states.push((number(id), saved));
        Some((number(id), state))
    }

    fn install(&mut self, copy: &Copy<usize>, merges: bool, preference: &Preference) -> Option<u32> {
        let number = copy.definition;
        let (_, spec) = self.specs.get(number)?;
        *self.generation = (*self.generation).max(copy.version.generation).saturating_add(1);
        let end = self.open.log.next();
        let mut saved = copy.state.here(*self.generation, &mut LogSource(&mut self.open.reader), end).ok()?;
        if merges && let Some(seat) = self.seat(&id(number)) {
            saved = merged(saved, seat.consumer.saved());
        }
        match self.canary {
            Some(Canary::Unflagged) => saved.tried.clear(),
            // The first event that is not settled counts as settled.
            Some(Canary::TakenTooFar) if saved.done.is_empty() && saved.floor < end => saved.floor += 1,
            _ => {}
        }
        self.done.installed.push((number, saved.clone()));
        self.open.seats.retain(|seat| seat.number != number);
        // Of what is not on this disk yet the file says nothing.
        let floor = saved.floor.min(self.open.log.synced());
        let consumer = Consumer::restore(as_served(spec.clone(), self.canary), saved, *self.generation, self.now);
        let generation = consumer.generation();
        self.records.insert(number, Record { generation, floor, preference: preference.clone() });
        self.open.seats.push(Seat { number, consumer, dying: Vec::new() });
        self.open.sync_is_due = true;
        Some(generation)
    }

    fn claim(&mut self, id: &Id) -> u32 {
        self.seat(id).map_or(0, |seat| seat.consumer.generation())
    }

    fn halt(&mut self, id: &Id, _why: &str) {
        self.done.ended.push(number(id));
    }

    fn resume(&mut self, _id: &Id) {}

    fn let_go(&mut self, id: &Id, _why: &str) {
        let number = number(id);
        self.open.seats.retain(|seat| seat.number != number);
        self.done.ended.push(number);
    }

    fn delete(&mut self, id: &Id) {
        self.let_go(id, "it was deleted");
    }

    fn prefer(&mut self, id: &Id, preference: &Preference) {
        if let Some(record) = self.records.get_mut(&number(id)) {
            record.preference.clone_from(preference);
        }
    }

    fn keep(&mut self, id: &Id, copy: Option<&Copy<usize>>) {
        match copy {
            Some(copy) => drop(self.aside.insert(number(id), copy.clone())),
            None => drop(self.aside.remove(&number(id))),
        }
    }

    fn moved(&mut self, _id: &Id, outcome: Result<(), MoveError>) {
        self.done.moved += u64::from(outcome.is_ok());
    }

    fn send(&mut self, to: HubId, told: Told<usize>) {
        if let Told::Copy { copy, .. } | Told::Give(copy) = &told
            && copy.version.home == hub(self.me).tag()
            && let Some((_, saved)) = self.done.states.iter().rev().find(|(number, _)| *number == copy.definition)
        {
            self.done.sent.push((copy.definition, copy.version, saved.clone()));
        }
        self.done.sends.push((home_of(to), told));
    }
}

impl World {
    /// Has the machine of a home do something, and does what comes of it.
    pub(super) fn seating<R>(
        &mut self,
        home: usize,
        act: impl FnOnce(&mut Seats<usize>, Now, &mut AtHome<'_>) -> R,
    ) -> Result<Option<R>, super::Violation> {
        let (now, canary) = (self.time(home), self.canary);
        let Some(found) = self.homes.get_mut(home) else { return Ok(None) };
        let Home { open, records, aside, generation, .. } = found;
        let Some(open) = open else { return Ok(None) };
        let Some(mut seating) = open.seating.take() else { return Ok(None) };
        let done = Done::default();
        let mut at = AtHome { open, records, aside, generation, specs: &self.specs, now, canary, me: home, done };
        let acted = act(&mut seating, now, &mut at);
        let done = at.done;
        if let Some(open) = self.homes.get_mut(home).and_then(|home| home.open.as_mut()) {
            open.seating = Some(seating);
        }
        self.judge.tally.moved += done.moved;
        for (number, version, saved) in done.sent {
            self.judge.sent(number, version, home, saved);
        }
        for (number, saved) in done.installed {
            self.judge.tally.takeovers += 1;
            self.judge.took_over(number, home, &saved, &self.homes)?;
        }
        for number in done.ended {
            self.end_members(home, number);
        }
        for (to, told) in done.sends {
            self.tell(home, to, told);
        }
        self.want_sync(home);
        Ok(Some(acted))
    }

    /// What a home does about its consumers now and then.
    pub(super) fn look_at_seats(&mut self, home: usize) -> Verdict {
        self.seating(home, |seating, now, at| seating.tick(now.mono, at))?;
        let now = self.now;
        let Some(open) = self.homes.get_mut(home).and_then(|home| home.open.as_mut()) else { return Ok(()) };
        if open.copy_at > now {
            return Ok(());
        }
        open.copy_at = now + COPIES;
        let mut changed = Vec::new();
        for seat in open.seats.iter_mut().filter(|seat| seat.consumer.is_dirty()) {
            if open.seating.as_ref().is_some_and(|seating| seating.runs_here(&id(seat.number))) {
                seat.consumer.clean();
                changed.push(id(seat.number));
            }
        }
        for id in changed {
            self.seating(home, |seating, _, at| seating.copy_out(&id, at))?;
        }
        Ok(())
    }

    /// Somebody asks a home for a consumer. Answers whether it serves it.
    pub(super) fn asks_for(&mut self, home: usize, number: usize) -> Result<bool, super::Violation> {
        let asked = self.seating(home, |seating, now, at| seating.asked(&id(number), now.mono, at))?;
        self.judge.tally.sent_away += u64::from(matches!(asked, Some(Err(Waits::At(_)))));
        Ok(asked == Some(Ok(())))
    }

    /// Whether what is at one place reaches a home, over other homes too.
    pub(super) fn reaches(&self, from: usize, to: usize) -> bool {
        let (mut seen, mut next) = (BTreeSet::from([from]), vec![from]);
        while let Some(at) = next.pop() {
            if at == to {
                return true;
            }
            if at != from && self.homes.get(at).is_none_or(|home| home.open.is_none()) {
                continue;
            }
            for other in (0..self.homes.len()).filter(|other| self.is_linked(at, *other)) {
                if seen.insert(other) {
                    next.push(other);
                }
            }
        }
        false
    }

    /// The home to which a member's hub sends it: that of the rule, as far as
    /// it knows.
    pub(super) fn place(&mut self, site: usize, number: usize) -> Option<usize> {
        let near = (0..self.homes.len()).filter(|home| {
            self.homes.get(*home).is_some_and(|found| found.open.is_some()) && self.reaches(site, *home)
        });
        let near: Vec<usize> = near.collect();
        if !self.healed && self.random.chance(100) {
            return self.random.pick(&near).copied();
        }
        let preferred = near.iter().filter_map(|home| self.preference(*home, number)).max();
        let drains = |hub| self.drains.contains_key(&home_of(hub));
        seat(near.iter().map(|home| hub(*home)), preferred.and_then(|preference| preference.hub()), drains).map(home_of)
    }

    fn preference(&self, home: usize, number: usize) -> Option<Preference> {
        let open = self.homes.get(home)?.open.as_ref()?;
        Some(open.seating.as_ref()?.preference(&id(number)))
    }

    /// A consumer has ended at a home: its members learn of it.
    fn end_members(&mut self, home: usize, number: usize) {
        let of_consumer = |client: Client| match client {
            Client::Member(member) => self.members.get(member).is_some_and(|member| member.consumer == number),
            Client::Producer(_) => false,
        };
        let ended = self.sessions.iter().filter(|(_, session)| session.is_open && session.home == home);
        let ended: Vec<u64> = ended.filter(|(_, s)| of_consumer(s.client)).map(|(id, _)| *id).collect();
        let now = self.time(home);
        for session in ended {
            if let Some(found) = self.sessions.get_mut(&session) {
                found.is_open = false;
            }
            self.judge.left(number, home, session);
            let open = self.homes.get_mut(home).and_then(|home| home.open.as_mut());
            if let Some(seat) = open.and_then(|open| open.seats.iter_mut().find(|seat| seat.number == number)) {
                seat.consumer.leave(session, now);
            }
            let at = self.soon(1, 30);
            self.post(at, Action::ClientNotices { session });
        }
    }

    /// Homes learn, some time later, which others they can reach.
    pub(super) fn notice_seats(&mut self) {
        let count = self.homes.len();
        let runs = |world: &Self, home: usize| world.homes.get(home).is_some_and(|home| home.open.is_some());
        for a in 0..count {
            for b in (0..count).filter(|b| *b != a) {
                let is = runs(self, a) && runs(self, b) && self.reaches(a, b);
                let epoch = |home: usize| self.homes.get(home).map_or(0, |home| home.epoch);
                let epochs = (epoch(a), epoch(b));
                let before = self.reached.get(&(a, b)).copied();
                let now = is.then_some(epochs);
                if before == now {
                    continue;
                }
                match now {
                    Some(epochs) => self.reached.insert((a, b), epochs),
                    None => self.reached.remove(&(a, b)),
                };
                let at = self.soon(0, 100).max(self.sights.get(&(a, b)).copied().unwrap_or(0));
                self.sights.insert((a, b), at);
                self.post(at, Action::Sight { home: a, epoch: epochs.0, other: b, up: is });
            }
        }
    }

    pub(super) fn sight(&mut self, home: usize, epoch: u32, other: usize, up: bool) -> Verdict {
        let Some(found) = self.homes.get_mut(home).filter(|home| home.epoch == epoch) else { return Ok(()) };
        let Some(open) = &mut found.open else { return Ok(()) };
        open.drains.remove(&other);
        if up {
            open.sees.insert(other);
            open.drains.extend(self.drains.contains_key(&other).then_some(other));
        } else {
            open.sees.remove(&other);
        }
        self.seating(
            home,
            |seating, now, at| {
                if up { seating.up(hub(other), now.mono) } else { seating.down(hub(other), at) }
            },
        )?;
        Ok(())
    }

    fn tell(&mut self, from: usize, to: usize, told: Told<usize>) {
        let epochs = self.reached.get(&(from, to)).copied();
        let (Some(epochs), false) = (epochs, !self.healed && self.random.chance(30)) else { return };
        let at = self.soon(1, 15).max(self.tellings.get(&(from, to)).copied().unwrap_or(0));
        self.tellings.insert((from, to), at);
        self.post(at, Action::Told { from, to, epochs, told });
    }

    pub(super) fn told(&mut self, from: usize, to: usize, epochs: (u32, u32), told: Told<usize>) -> Verdict {
        if self.reached.get(&(from, to)) != Some(&epochs) {
            return Ok(());
        }
        let runs = |world: &Self, number: usize| {
            let open = world.homes.get(to).and_then(|home| home.open.as_ref());
            open.and_then(|open| open.seating.as_ref()).is_some_and(|seating| seating.runs_here(&id(number)))
        };
        if let Told::Copy { copy, .. } | Told::Give(copy) = &told {
            let (number, version) = (copy.definition, copy.version);
            let known = self.judge.newest(number, to);
            self.judge.came(number, to, version);
            let lost = match self.canary {
                Some(Canary::OldCopies) => known.is_some_and(|known| known < version),
                Some(Canary::DeafSeat) => runs(self, number),
                _ => false,
            };
            if lost {
                return Ok(());
            }
        }
        self.seating(to, |seating, now, at| seating.told(hub(from), told, now.mono, at))?;
        Ok(())
    }

    /// An operator moves a consumer, from wherever it runs, if it does.
    pub(super) fn move_consumer(&mut self, number: usize, to: Option<usize>) -> Verdict {
        let runs = |home: &&Home| {
            let seating = home.open.as_ref().and_then(|open| open.seating.as_ref());
            seating.is_some_and(|seating| seating.runs_here(&id(number)))
        };
        let Some(home) = self.homes.iter().find(runs).map(|home| home.number) else { return Ok(()) };
        let name = to.map_or("", hub_name);
        self.seating(home, |seating, now, at| seating.move_to(&id(number), name, now.mono, at))?;
        Ok(())
    }

    /// Where a consumer should run when all is well, and where it does.
    fn seats_of(&self, number: usize) -> (Option<usize>, Vec<usize>) {
        let preferred = (0..self.homes.len()).filter_map(|home| self.preference(home, number)).max();
        let rule = seat((0..self.homes.len()).map(hub), preferred.and_then(|preference| preference.hub()), |_| false)
            .map(home_of);
        let runs = self.homes.iter().filter(|home| {
            let seating = home.open.as_ref().and_then(|open| open.seating.as_ref());
            seating.is_some_and(|seating| seating.runs_here(&id(number)))
        });
        (rule, runs.map(|home| home.number).collect())
    }

    /// The first consumer that does not run at its seat alone.
    pub(super) fn misplaced(&self) -> Option<String> {
        (0..self.specs.len()).find_map(|number| {
            let (rule, runs) = self.seats_of(number);
            let is_right = runs.len() == 1 && runs.first() == rule.as_ref();
            (!is_right).then(|| format!("consumer {number} runs at {runs:?} and its seat is {rule:?}"))
        })
    }

    /// Whether every consumer has settled all that is there, at its seat.
    pub(super) fn are_settled(&self) -> bool {
        (0..self.specs.len()).all(|number| {
            let (_, runs) = self.seats_of(number);
            let [home] = runs.as_slice() else { return false };
            self.homes.get(*home).and_then(|home| home.open.as_ref()).is_some_and(|open| {
                let end = open.log.next();
                open.seats.iter().any(|seat| seat.number == number && seat.consumer.floor() == end)
            })
        })
    }
}
