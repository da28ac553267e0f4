//! Receipts: asked for by every subscriber, and held against each block.

use std::time::Duration;

use weft_base::{Epoch, HubId};
use weft_mesh::{Event, LiveAt, LiveState, ReceiptLine};
use weft_topic::{Filter, Topic};

use super::{Check, Checked, World};
use crate::checks::Promise;

/// How long a subscriber waits for its receipt.
const PATIENCE: Duration = Duration::from_secs(3);

impl World<'_> {
    /// A client subscribes, and wants to know where it is live.
    pub(super) fn enter(&mut self, client: usize, hub: usize, filter: Filter) -> Checked {
        self.checks.client_changed(client);
        self.clients.insert(client, (hub, filter.clone(), self.now));
        let at = match client % 3 {
            0 => LiveAt::All,
            1 => LiveAt::Count(2),
            _ => LiveAt::Named(self.slots.iter().map(|slot| slot.name.clone()).collect()),
        };
        self.tell(hub, |h, now, out| {
            h.subscribe(true, client, &filter, now, out);
            h.on_event(Event::Receipt { receipt: client as u64, at, until: now + PATIENCE }, now, out);
        })
    }

    /// What a receipt says is kept, to be held against what is published.
    pub(super) fn take_receipt(&mut self, home: usize, client: usize, hubs: &[ReceiptLine]) {
        let Some(life) = self.life(home) else { return };
        let times = self.checks.times(client);
        for line in hubs.iter().filter(|line| line.state == LiveState::Live) {
            let Some(at) = self.slots.iter().position(|slot| slot.name == line.name) else { continue };
            let Some(running) = self.slots[at].running.as_ref().filter(|running| running.epoch == line.epoch) else {
                continue;
            };
            let forgotten = running.mesh.counters().hubs_forgotten;
            self.checks.promise(client, at, Promise { times, lives: [life, line.epoch], forgotten });
        }
    }

    fn life(&self, hub: usize) -> Option<Epoch> {
        self.slots[hub].running.as_ref().map(|running| running.epoch)
    }

    /// A block has been published at a hub: it must go to whoever is said to be live there.
    pub(super) fn check_receipts(&mut self, hub: usize, topic: Topic<'_>) -> Checked {
        let Some(running) = &self.slots[hub].running else { return Ok(()) };
        let (epoch, forgotten) = (running.epoch, running.mesh.counters().hubs_forgotten);
        let goes_to = running.live_at(topic);
        for (client, promise) in self.checks.promised_at(hub) {
            let Some((home, filter, _)) = self.clients.get(&client) else { continue };
            let stands = promise.times == self.checks.times(client)
                && self.life(*home) == Some(promise.lives[0])
                && epoch == promise.lives[1]
                && forgotten == promise.forgotten;
            if !stands || *home == hub || !filter.matches(topic) {
                continue;
            }
            self.checks.tally.kept += 1;
            if !goes_to.contains(&HubId::of_name(&self.slots[*home].name)) {
                let detail =
                    format!("client {client} at hub {home} is live at hub {hub}, where {topic:?} is not sent to it");
                return Err(self.violation(Check::Receipt, detail));
            }
        }
        Ok(())
    }
}
