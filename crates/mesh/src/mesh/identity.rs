//! Whether a hub is who it says: what is remembered of it, held against what a
//! neighbour says before its link counts, and told to everybody when it is not.
//!
//! Which of two is refused: of a hub and a second one that has another data
//! folder, the second, for as long as the first is within reach; of a hub and a
//! copy of it, the one that was started earlier, as when a hub is started anew.
//! Where neither has a neighbour that knows both, and two meshes come together,
//! the later epoch counts for everybody.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use weft_base::{Epoch, HubId, Mono};
use weft_wire::frame::{Conflict, ErrorCode, Frame, attribute};

use super::{Command, Mesh};
use crate::book::{self, Book};
use crate::life::Memory;
use crate::{CloseReason, Dialled, Life, LinkId, Remembered};

/// Links that news of a refusal crosses at most.
const TTL: u8 = 32;
/// Refusals that are remembered, so that each is told once.
const TOLD: usize = 256;
/// New ones that are told in [`PERIOD`]; more are counted as refused.
const PER_PERIOD: usize = 64;
const PERIOD: Duration = Duration::from_secs(60);

/// What is known of who hubs are.
#[derive(Debug, Default)]
pub(super) struct Identities {
    memory: Memory,
    pub(super) book: Book,
    /// One of them is not what it was when it was last taken.
    is_news: bool,
    /// The refusals told, the newest last.
    told: VecDeque<(HubId, Epoch, ErrorCode)>,
    period: Mono,
    in_period: usize,
}

impl Mesh {
    /// Says which data folder this hub runs on, and what it remembers of others
    /// from its lives before. Once, before the first event.
    pub fn set_life(&mut self, life: Life, remembered: Vec<Remembered>) {
        for hub in remembered {
            self.identities.memory.learn(HubId::of_name(&hub.name), &hub.name, hub.epoch, hub.life);
            if hub.name != self.me.name {
                self.identities.book.learn(&hub.name, hub.addresses);
            }
        }
        self.set_attribute(attribute::LIFE, Some(life.encode()));
    }

    /// What is remembered of other hubs, if that has changed since it was last asked for.
    pub fn take_remembered(&mut self) -> Option<Vec<Remembered>> {
        let Identities { memory, book, is_news, .. } = &mut self.identities;
        if !std::mem::take(is_news) {
            return None;
        }
        let known = memory.iter().map(|hub| Remembered { addresses: book.of(&hub.name).to_vec(), ..hub.clone() });
        let mut all: BTreeMap<String, Remembered> = known.map(|hub| (hub.name.clone(), hub)).collect();
        for (name, addresses) in book.iter() {
            let (name, addresses) = (name.clone(), addresses.clone());
            let told = Remembered { name: name.clone(), life: Life::default(), epoch: Epoch(0), addresses };
            all.entry(name).or_insert(told);
        }
        Some(all.into_values().collect())
    }

    /// Where other hubs dial this one, told to the whole mesh; what is no address
    /// or more than [`MAX_ADDRESSES`](crate::MAX_ADDRESSES) is left out.
    pub fn set_addresses(&mut self, addresses: &[String]) {
        self.set_attribute(attribute::ADDRESSES, book::encode(addresses));
    }

    /// Any hub of which it is known where to dial it, this life or an earlier one.
    pub fn any_address(&mut self) -> Option<Dialled> {
        self.identities.book.any(&mut self.random)
    }

    /// Where a hub is dialled, as its record says.
    pub(super) fn learn_addresses(&mut self, hub: HubId) {
        let Some(known) = self.hubs.get(&hub) else { return };
        let told = known.attribute(attribute::ADDRESSES).map_or_else(Vec::new, book::decode);
        self.identities.is_news |= self.identities.book.learn(&known.name, told);
    }

    /// A link to a hub has been made, which says that it is in this life: to be
    /// asked before [`Event::LinkUp`](super::Event::LinkUp). Those that say
    /// nothing of it are of an earlier version.
    ///
    /// # Errors
    /// Why the link must not be; everybody is told.
    pub fn meet(
        &mut self,
        (hub, name, epoch): (HubId, &str, Epoch),
        life: Option<Life>,
        now: Mono,
        out: &mut Vec<Command>,
    ) -> Result<(), CloseReason> {
        let Some(life) = life else { return Ok(()) };
        let reached = self.hubs.get(&hub).filter(|known| known.path.is_some());
        let is_here = reached.is_some() || self.links.values().any(|link| link.hub == hub);
        // What others say of a hub counts while it is there, and is not kept: one
        // that lies would keep it out for ever.
        let heard = reached.and_then(|known| known.attribute(attribute::LIFE)).and_then(Life::decode);
        let verdict = self.identities.memory.judge((hub, name), life, is_here, heard);
        match &verdict {
            Ok(()) => self.learn(hub, name, epoch, life),
            Err(reason) => {
                self.counters.links_refused += 1;
                let (code, detail, by) = (reason.code(), reason.to_string(), self.me.name.clone());
                let conflict = Conflict { hub, epoch, code, ttl: TTL, name, by: &by, detail: &detail };
                self.tell_conflict(None, &conflict, now, out);
                self.hand_out(out);
            }
        }
        verdict
    }

    fn learn(&mut self, hub: HubId, name: &str, epoch: Epoch, life: Life) {
        self.identities.is_news |= self.identities.memory.learn(hub, name, epoch, life);
    }

    /// Another hub has refused one, or this one has: told once, and passed on.
    pub(super) fn tell_conflict(
        &mut self,
        came_by: Option<LinkId>,
        conflict: &Conflict<'_>,
        now: Mono,
        out: &mut Vec<Command>,
    ) {
        let key = (conflict.hub, conflict.epoch, conflict.code);
        let state = &mut self.identities;
        if state.told.contains(&key) {
            return;
        }
        if now >= state.period + PERIOD {
            (state.period, state.in_period) = (now, 0);
        }
        if state.in_period >= PER_PERIOD {
            self.counters.refused += 1;
            return;
        }
        state.in_period += 1;
        if state.told.len() == TOLD {
            state.told.pop_front();
        }
        state.told.push_back(key);
        self.counters.conflicts += 1;
        out.push(Command::Conflict {
            name: conflict.name.to_owned(),
            epoch: conflict.epoch,
            code: conflict.code,
            by: conflict.by.to_owned(),
            detail: conflict.detail.to_owned(),
        });
        if let Some(ttl) = conflict.ttl.checked_sub(1) {
            let frame = Frame::Conflict(Conflict { ttl, ..*conflict });
            self.flood_since(2, &frame, came_by);
        }
    }
}
