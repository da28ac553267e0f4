//! Gates: subscriptions that make their publishers wait, told to all hubs.
//!
//! A hub says of each such subscription whether it takes events, is behind, or
//! has ended; the newest version counts and is passed on to every other link,
//! and a new link is told all. What is known of a hub ends with its life, and
//! when it cannot be reached: nobody waits for a subscriber who is gone. A gate
//! that has ended is remembered, so that older news of it that comes by a longer
//! way does not bring it back.

use std::collections::BTreeMap;

use weft_base::{Epoch, HubId};
use weft_topic::Filter;
use weft_wire::frame::{Frame, GateState, Pressure};

use super::{Command, Mesh};
use crate::LinkId;

/// Gates of one hub that are remembered. Beyond it those that have ended are
/// forgotten first, and new ones are not taken in: their publishers do not
/// wait, and what finds no room is dropped and counted there.
const MOST: usize = 4_096;

/// What was said last of a gate.
#[derive(Clone, Debug)]
pub(super) struct Known {
    epoch: Epoch,
    version: u64,
    state: GateState,
    behind_ms: u64,
    filter: String,
    subscriber: String,
    name: String,
}

impl Known {
    fn frame(&self, (hub, gate): (HubId, u64)) -> Frame<'_> {
        Frame::Pressure(Pressure {
            hub,
            epoch: self.epoch,
            gate,
            version: self.version,
            state: self.state,
            behind_ms: self.behind_ms,
            filter: &self.filter,
            subscriber: &self.subscriber,
            name: &self.name,
        })
    }
}

/// The gates of all hubs.
pub(super) type Gates = BTreeMap<(HubId, u64), Known>;

impl Mesh {
    /// A gate of this hub is new, has turned, or has ended.
    pub(super) fn own_gate(&mut self, gate: u64, state: GateState, behind_ms: u64, filter: &Filter, who: &str) {
        let key = (self.me.id, gate);
        let version = self.gates.get(&key).map_or(1, |known| known.version + 1);
        let (filter, subscriber) = (filter.as_str().to_owned(), who.to_owned());
        let (epoch, name) = (self.me.epoch, self.me.name.clone());
        let known = Known { epoch, version, state, behind_ms, filter, subscriber, name };
        if !self.has_room_for(key) {
            self.counters.refused += 1;
            return;
        }
        self.flood(&known.frame(key), None);
        self.gates.insert(key, known);
    }

    /// News of another hub's gate.
    pub(super) fn on_pressure(&mut self, link: LinkId, said: &Pressure<'_>, out: &mut Vec<Command>) {
        let key = (said.hub, said.gate);
        let is_news = self.gates.get(&key).is_none_or(|k| (k.epoch, k.version) < (said.epoch, said.version));
        if said.hub == self.me.id || !is_news {
            return;
        }
        let Ok(filter) = Filter::parse(said.filter) else {
            self.counters.refused += 1;
            return;
        };
        if !self.has_room_for(key) {
            self.counters.refused += 1;
            return;
        }
        self.flood(&Frame::Pressure(*said), Some(link));
        let (hub, gate, state, behind_ms) = (said.hub, said.gate, said.state, said.behind_ms);
        let (subscriber, name) = (said.subscriber.to_owned(), said.name.to_owned());
        let known = Known {
            epoch: said.epoch,
            version: said.version,
            state,
            behind_ms,
            filter: said.filter.to_owned(),
            subscriber: subscriber.clone(),
            name: name.clone(),
        };
        self.gates.insert(key, known);
        out.push(Command::Gate { hub, gate, state, behind_ms, filter, subscriber, name });
    }

    fn has_room_for(&mut self, key: (HubId, u64)) -> bool {
        let of_hub = (key.0, 0)..=(key.0, u64::MAX);
        if self.gates.contains_key(&key) || self.gates.range(of_hub.clone()).count() < MOST {
            return true;
        }
        let ended = self.gates.range(of_hub).find(|(_, known)| known.state == GateState::Gone).map(|(key, _)| *key);
        ended.is_some_and(|key| self.gates.remove(&key).is_some())
    }

    /// Tells a new link of all gates.
    pub(super) fn tell_gates(&mut self, link: LinkId) {
        let gates = std::mem::take(&mut self.gates);
        for (key, known) in &gates {
            self.send(link, &known.frame(*key));
        }
        self.gates = gates;
    }

    /// A hub cannot be reached any more in this life of it: its gates hold nobody back.
    pub(super) fn drop_gates(gates: &mut Gates, hub: HubId, epoch: Epoch, out: &mut Vec<Command>) {
        let old: Vec<(HubId, u64)> = gates
            .range((hub, 0)..=(hub, u64::MAX))
            .filter(|(_, known)| known.epoch <= epoch)
            .map(|(key, _)| *key)
            .collect();
        for key in old {
            let Some(known) = gates.remove(&key) else { continue };
            let Ok(filter) = Filter::parse(&known.filter) else { continue };
            if known.state != GateState::Gone {
                let (gate, state, behind_ms) = (key.1, GateState::Gone, 0);
                let Known { subscriber, name, .. } = known;
                out.push(Command::Gate { hub, gate, state, behind_ms, filter, subscriber, name });
            }
        }
    }
}
