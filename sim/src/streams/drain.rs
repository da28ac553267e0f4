//! Homes that are about to stop: as hubs do it, a home that drains tells the others,
//! hands its consumers over, turns producers away, and stops once all that it has
//! is on the disks of the other homes within its reach, or when its time is up.
//! What is waited for is said by the deciders of the hubs ([`Seats::to_give`] and
//! `Replica::is_copied`); what is true then is found in the disks.
//!
//! [`Seats::to_give`]: weft_stream::seat::Seats::to_give

use super::Canary;
use super::clients::Client;
use super::home::id;
use super::judge::{Check, Verdict};
use super::world::{Action, World};
use crate::streams::faults::Fault;

const MS: u64 = 1_000_000;

impl World {
    /// A home is told to stop, and has so many milliseconds to make ready.
    pub(super) fn begin_drain(&mut self, home: usize, ms: u64) {
        let runs = self.homes.get(home).is_some_and(|home| home.open.is_some());
        if self.healed || !runs || self.drains.contains_key(&home) {
            return;
        }
        self.judge.tally.drains += 1;
        self.drains.insert(home, self.now + ms * MS);
        self.tell_of_drain(home);
        let sessions = self.sessions.iter().filter(|(_, session)| session.is_open && session.home == home);
        let producers = sessions.filter(|(_, session)| matches!(session.client, Client::Producer(_)));
        let producers: Vec<u64> = producers.map(|(id, _)| *id).collect();
        producers.into_iter().for_each(|session| self.break_session(session));
    }

    /// All homes hear some time later that a home drains, or does not any more.
    fn tell_of_drain(&mut self, home: usize) {
        for other in 0..self.homes.len() {
            let epoch = self.homes.get(other).map_or(0, |home| home.epoch);
            let at = if other == home { self.now } else { self.soon(0, 100) };
            self.post(at, Action::Drains { home: other, epoch, other: home });
        }
    }

    /// A home hears whether another one, or it itself, drains.
    pub(super) fn hear_of_drain(&mut self, home: usize, epoch: u32, other: usize) -> Verdict {
        let drains = self.drains.contains_key(&other);
        let Some(found) = self.homes.get_mut(home).filter(|home| home.epoch == epoch) else { return Ok(()) };
        let Some(open) = &mut found.open else { return Ok(()) };
        let changed = if drains { open.drains.insert(other) } else { open.drains.remove(&other) };
        if changed {
            self.seating(home, |seating, _, _| seating.drains_changed())?;
        }
        Ok(())
    }

    /// A home that drains stops when it is ready, or when its time is up.
    pub(super) fn tend_drain(&mut self, home: usize) -> Verdict {
        let Some(until) = self.drains.get(&home).copied() else { return Ok(()) };
        let hasty = self.canary == Some(Canary::HastyDrain);
        let is_ready = hasty || self.is_ready_to_stop(home)?;
        if !is_ready && self.now < until {
            return Ok(());
        }
        if is_ready {
            self.judge.tally.drained += 1;
            self.judge_drain(home)?;
        }
        self.drains.remove(&home);
        self.stop_in_order(home)?;
        let at = self.soon(50, 800);
        self.post(at, Action::Fault(Fault::Start { home, flips: false }));
        Ok(())
    }

    /// Whether nothing of a home is needed here any more, as its deciders say.
    fn is_ready_to_stop(&mut self, home: usize) -> Result<bool, super::Violation> {
        let left = self.seating(home, |seating, _, at| seating.to_give(at))?;
        let Some(open) = self.homes.get(home).and_then(|home| home.open.as_ref()) else { return Ok(false) };
        let is_copied = open.replica.as_ref().is_none_or(|replica| !replica.is_awaited() || replica.is_copied());
        let is_on_disk = open.log.synced() == open.log.next() && open.pending.is_empty();
        Ok(left == Some(0) && is_copied && is_on_disk && open.drains.contains(&home))
    }

    /// What must be so when a home says that it is ready: the homes within its reach
    /// have on their disks all that is on its own, and run its consumers.
    fn judge_drain(&self, home: usize) -> Verdict {
        let Some(found) = self.homes.get(home) else { return Ok(()) };
        let Some(open) = &found.open else { return Ok(()) };
        for other in self.homes.iter().filter(|other| self.up.contains(&(home, other.number)) && other.open.is_some()) {
            let lacks = |name: &&super::Name| !other.on_disk.contains_key(name) && !self.judge.forgiven.contains(name);
            if let Some(name) = found.on_disk.keys().find(lacks) {
                let what = format!("home {home} stops, and {name:?} is not on the disk of home {}", other.number);
                return Err(self.judge.fail(Check::Drained, what));
            }
        }
        let is_elsewhere = open.sees.iter().any(|other| !open.drains.contains(other));
        let runs = |number: &usize| open.seating.as_ref().is_some_and(|seating| seating.runs_here(&id(*number)));
        match (0..self.specs.len()).find(runs).filter(|_| is_elsewhere) {
            Some(number) => {
                let what = format!("home {home} stops with consumer {number}, which could run elsewhere");
                Err(self.judge.fail(Check::Drained, what))
            }
            None => Ok(()),
        }
    }

    /// A home finishes what it has begun, and ends.
    fn stop_in_order(&mut self, home: usize) -> Verdict {
        let epoch = self.homes.get(home).map_or(0, |home| home.epoch);
        if self.canary != Some(Canary::HastyDrain) {
            self.sync(home, epoch)?;
        }
        // The disk may have failed it then.
        if self.homes.get(home).is_some_and(|home| home.open.is_some() && home.epoch == epoch) {
            self.crash(home, false)?;
        }
        Ok(())
    }

    /// All is well: who drains goes on.
    pub(super) fn end_drains(&mut self) {
        for (home, _) in std::mem::take(&mut self.drains) {
            self.tell_of_drain(home);
        }
    }
}
