//! Hubs that are about to stop: they say so, and no way leads over them where
//! there is another one. What is published meanwhile is held to the same promises
//! as ever.

use std::collections::BTreeSet;
use std::time::Duration;

use weft_base::{HubId, Way};
use weft_mesh::{DRAINING, Event};

use super::{Check, Checked, SimHub, World};
use crate::Canary;

/// How often ways are looked at.
const EVERY: Duration = Duration::from_millis(500);

impl World<'_> {
    /// A hub that runs is about to stop, or stays.
    pub(super) fn drain(&mut self, hub: usize, drains: bool) -> Checked {
        let slot = &mut self.slots[hub];
        // A stopped process may hear of it only when all is over.
        let is_late = drains && self.now >= self.plan.healed;
        if slot.running.is_none() || slot.drains.is_some() == drains || is_late {
            return Ok(());
        }
        slot.drains = drains.then_some(self.now);
        self.fault();
        if self.canary == Some(Canary::SilentDrain) {
            return Ok(());
        }
        self.tell(hub, |h, now, out| h.on_event(Event::Draining { draining: drains }, now, out))
    }

    /// Where a hub has drained for long enough that all know, in a mesh at rest.
    pub(super) fn look_at_drains(&mut self) -> Checked {
        let known = self.plan.life() + self.plan.timers.digest * 2;
        let id = |hub: usize| HubId::of_name(&self.slots[hub].name);
        let draining = (0..self.slots.len()).filter(|hub| self.slots[*hub].drains.is_some());
        let draining: BTreeSet<HubId> = draining.map(id).collect();
        let is_time = self.now.0 / EVERY.as_nanos() as u64 != self.looked_at.0 / EVERY.as_nanos() as u64;
        if draining.is_empty() || !is_time || self.checks.disturbed + known > self.now {
            return Ok(());
        }
        self.looked_at = self.now;
        let running: Vec<&SimHub> = self.slots.iter().filter_map(|slot| slot.running.as_ref()).collect();
        let stays = |hub: &HubId| !draining.contains(hub);
        let mut around = 0;
        for from in running.iter().filter(|hub| stays(&hub.id)) {
            for to in others(from, stays) {
                let ways = (0..from.routes.ways()).filter_map(|by| self.way(&running, from, to, Way(by)));
                if let Some(over) = ways.flatten().find(|hub| !stays(hub)) {
                    let detail =
                        format!("from {} to {to} over {over}, which drains, and there is another way", from.id);
                    return Err(self.violation(Check::Transit, detail));
                }
                around += 1;
            }
        }
        self.checks.tally.around += around;
        Ok(())
    }
}

/// The hubs that a hub could reach over those that stay, by links that nothing
/// speaks against.
fn others(from: &SimHub, stays: impl Fn(&HubId) -> bool) -> BTreeSet<HubId> {
    let links = from.mesh.report().links;
    let is_good = |from: HubId, to: HubId| {
        links.iter().any(|link| (link.from, link.to) == (from, to) && link.up && link.cost < DRAINING)
    };
    let mut found = BTreeSet::from([from.id]);
    let mut next = vec![from.id];
    while let Some(here) = next.pop() {
        for link in links.iter().filter(|link| link.from == here && stays(&link.to)) {
            if is_good(here, link.to) && is_good(link.to, here) && found.insert(link.to) {
                next.push(link.to);
            }
        }
    }
    found.remove(&from.id);
    found
}
