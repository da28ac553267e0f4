//! The state machine.

use std::collections::{BTreeMap, BTreeSet};

use weft_base::{HubId, Mono};

use super::told::{Copy, Preference, Prefers, Told, Version};
use super::why::{MoveError, Waits};
use super::{Host, Id, Settings, seat};

/// Questions to one hub whose answers are still counted.
const ASKS: usize = 8;

/// A consumer that is installed here.
#[derive(Clone, Debug)]
pub(super) struct Own {
    version: Version,
    /// Somebody asked for it in this life of the hub: it runs here.
    pub(super) claimed: bool,
    pub(super) preference: Preference,
    pub(super) leaving: Option<Leaving>,
}

/// A hand-over.
#[derive(Clone, Debug)]
pub(super) struct Leaving {
    pub(super) to: HubId,
    pub(super) again: Mono,
    pub(super) until: Mono,
    /// Somebody asked for it, when the preference was this one.
    pub(super) asked: Option<Preference>,
}

/// Another hub that can be reached.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    heard: bool,
    /// It is asked once more, and counts as heard meanwhile.
    again: bool,
    last: u64,
    /// Copies that came in answer to each of the last questions.
    asks: BTreeMap<u64, u64>,
}

/// All consumers of this hub's streams, as far as other homes have a say.
#[derive(Clone, Debug)]
pub struct Seats<D> {
    pub(super) settings: Settings,
    pub(super) own: BTreeMap<Id, Own>,
    /// How many of them are handed over at present.
    pub(super) leaving: usize,
    pub(super) aside: BTreeMap<Id, Copy<D>>,
    pub(super) peers: BTreeMap<HubId, Peer>,
    ask_at: Mono,
    /// Consumers that were handed to this hub, by whom, and until when they wait
    /// for events that its log has not yet.
    pub(super) given: BTreeMap<Id, (HubId, Mono)>,
    /// When it is looked for them.
    pub(super) look_for_given: Mono,
    /// Until when the home that has a consumer is asked to hand it over.
    wanted: BTreeMap<Id, Mono>,
    /// Consumers that were deleted, and their last generations.
    gone: BTreeMap<Id, u32>,
    /// All other hubs are to be told of preferences, or these.
    pub(super) tell: bool,
    pub(super) tell_to: BTreeSet<HubId>,
    /// When all were told last, and whether there was something to tell.
    pub(super) told_at: Mono,
    pub(super) told_some: bool,
    /// What other hubs say of preferences.
    pub(super) hints: BTreeMap<HubId, Vec<Prefers>>,
    pub(super) hints_changed: bool,
    /// Consumers here may have their seat elsewhere since.
    pub(super) look: bool,
}

impl<D: Clone> Seats<D> {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            own: BTreeMap::new(),
            leaving: 0,
            aside: BTreeMap::new(),
            peers: BTreeMap::new(),
            ask_at: Mono(0),
            given: BTreeMap::new(),
            look_for_given: Mono(0),
            wanted: BTreeMap::new(),
            gone: BTreeMap::new(),
            tell: false,
            tell_to: BTreeSet::new(),
            told_at: Mono(0),
            told_some: false,
            hints: BTreeMap::new(),
            hints_changed: false,
            look: false,
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        let unheard = self.peers.values().any(|peer| !peer.heard || peer.again).then_some(self.ask_at);
        let leaving = if self.leaving > 0 { self.next_hand_over() } else { None };
        let given = (!self.given.is_empty()).then_some(self.look_for_given);
        let now = (self.look || self.tell || !self.tell_to.is_empty()).then_some(Mono(0));
        [unheard, leaving, given, now].into_iter().flatten().min()
    }

    /// How many copies are kept aside.
    #[must_use]
    pub fn aside(&self) -> usize {
        self.aside.len()
    }

    /// What is known of consumers of a stream that are not installed here.
    pub fn elsewhere(&self, stream: u64) -> impl Iterator<Item = &Copy<D>> {
        let own = |copy: &&Copy<D>| !self.own.contains_key(&(copy.stream, copy.name.clone()));
        self.aside
            .range((stream, String::new())..)
            .map(|(_, copy)| copy)
            .take_while(move |c| c.stream == stream)
            .filter(own)
    }

    /// Whether all homes of a stream that can be reached were heard.
    pub fn has_heard_all(&self, stream: u64, host: &impl Host) -> bool {
        host.homes(stream).iter().all(|hub| self.peers.get(hub).is_some_and(|peer| peer.heard))
    }

    /// Whether a consumer is installed here and runs here.
    #[must_use]
    pub fn runs_here(&self, id: &Id) -> bool {
        self.own.get(id).is_some_and(|own| own.claimed)
    }

    /// A consumer was made here and runs here.
    pub fn created(&mut self, id: Id, generation: u32) {
        self.add(id, generation, true, Preference::default());
    }

    /// A consumer was here in the hub's last life, under this generation.
    pub fn brought_back(&mut self, id: Id, generation: u32, preference: Preference) {
        self.add(id, generation, false, preference);
    }

    /// A copy that was kept ([`Host::keep`]) in the hub's last life.
    pub fn brought_aside(&mut self, copy: Copy<D>) {
        let id = (copy.stream, copy.name.clone());
        if self.aside.len() < self.settings.aside {
            self.aside.insert(id, copy);
            (self.tell, self.hints_changed) = (true, true);
        }
    }

    fn add(&mut self, id: Id, generation: u32, claimed: bool, preference: Preference) {
        let version = version(&self.settings, generation);
        if preference.number > 0 {
            (self.tell, self.hints_changed) = (true, true);
        }
        self.own.insert(id, Own { version, claimed, preference, leaving: None });
    }

    /// A consumer that runs here began anew, under this generation.
    pub fn renewed(&mut self, id: &Id, generation: u32) {
        if let Some(own) = self.own.get_mut(id) {
            own.version.generation = own.version.generation.max(generation);
        }
    }

    /// A consumer was deleted here: the other homes do not bring it back.
    pub fn deleted(&mut self, id: &Id, host: &mut impl Host<Definition = D>) {
        let own = self.lose(id, false, host).map_or(0, |own| own.version.generation);
        let aside = self.forget(id, host).map_or(0, |copy| copy.version.generation);
        let generation = own.max(aside);
        self.bury(id, generation);
        for hub in host.homes(id.0) {
            host.send(hub, Told::Gone { stream: id.0, name: id.1.clone(), generation });
        }
        (self.tell, self.hints_changed) = (true, true);
    }

    /// A stream is gone, and its consumers with it.
    pub fn stream_gone(&mut self, stream: u64, host: &mut impl Host<Definition = D>) {
        let known: BTreeSet<Id> =
            self.own.keys().chain(self.aside.keys()).filter(|id| id.0 == stream).cloned().collect();
        for id in known {
            self.lose(&id, false, host);
            self.forget(&id, host);
        }
        self.gone.retain(|id, _| id.0 != stream);
        (self.tell, self.hints_changed) = (true, true);
    }

    /// The last generation of a consumer of this name that was deleted: a new
    /// one must have a greater one.
    #[must_use]
    pub fn gone(&self, id: &Id) -> u32 {
        self.gone.get(id).copied().unwrap_or_default()
    }

    /// Who missed that it was deleted is told when it speaks of it.
    fn bury(&mut self, id: &Id, generation: u32) {
        if self.gone.len() < self.settings.aside || self.gone.contains_key(id) {
            let last = self.gone.entry(id.clone()).or_default();
            *last = generation.max(*last);
        }
    }

    /// It is not here any more: it was moved, or who waits for that waits in vain.
    fn lose(&mut self, id: &Id, moved: bool, host: &mut impl Host<Definition = D>) -> Option<Own> {
        let own = self.own.remove(id)?;
        if let Some(leaving) = &own.leaving {
            self.leaving -= 1;
            if leaving.asked.is_some() {
                let gone = MoveError::Unreachable(own.preference.home.clone());
                host.moved(id, if moved { Ok(()) } else { Err(gone) });
            }
        }
        Some(own)
    }

    fn forget(&mut self, id: &Id, host: &mut impl Host<Definition = D>) -> Option<Copy<D>> {
        self.wanted.remove(id);
        self.given.remove(id);
        let copy = self.aside.remove(id)?;
        host.keep(id, None);
        Some(copy)
    }

    /// Another hub can be reached, in a life that was not heard yet.
    pub fn up(&mut self, hub: HubId, now: Mono) {
        self.peers.insert(hub, Peer::default());
        self.ask_at = now;
        self.tell_to.insert(hub);
    }

    /// Another hub cannot be reached any more.
    pub fn down(&mut self, hub: HubId, host: &mut impl Host<Definition = D>) {
        self.peers.remove(&hub);
        self.given.retain(|_, (from, _)| *from != hub);
        self.tell_to.remove(&hub);
        self.hints_changed |= self.hints.remove(&hub).is_some_and(|hints| !hints.is_empty());
        if self.leaving > 0 {
            self.keep_from(hub, host);
        }
    }

    /// Streams have other homes than before: who was not asked of one is asked.
    /// Nobody waits for the answer, because most such streams are new.
    pub fn homes_changed(&mut self, hub: HubId, now: Mono) {
        if let Some(peer) = self.peers.get_mut(&hub) {
            peer.again = true;
            self.ask_at = now;
        }
        self.look = true;
    }

    /// A hub is about to stop, or is not after all: consumers may have their seat
    /// elsewhere since.
    pub fn drains_changed(&mut self) {
        self.look = true;
    }

    /// How many consumers run here whose seat is elsewhere.
    pub fn to_give(&self, host: &impl Host<Definition = D>) -> usize {
        let running = self.own.iter().filter(|(_, own)| own.claimed);
        running.filter(|(id, _)| self.seat(id, host) != self.settings.me).count()
    }

    /// What is due.
    pub fn tick(&mut self, now: Mono, host: &mut impl Host<Definition = D>) {
        if self.ask_at <= now {
            self.ask_at = now + self.settings.again;
            for (hub, peer) in self.peers.iter_mut().filter(|(_, peer)| !peer.heard || peer.again) {
                peer.last += 1;
                peer.asks.insert(peer.last, 0);
                if peer.asks.len() > ASKS {
                    peer.asks.pop_first();
                }
                host.send(*hub, Told::Ask { ask: peer.last });
            }
        }
        if self.leaving > 0 {
            self.go_on_handing_over(now, host);
        }
        if !self.given.is_empty() && self.look_for_given <= now {
            self.look_at_given(now, host);
        }
        if std::mem::take(&mut self.look) {
            self.give_way(now, host);
        }
        self.tell_preferences(now, host);
    }

    /// The seat of a consumer, as it is seen from here.
    pub(super) fn seat(&self, id: &Id, host: &impl Host) -> HubId {
        let homes = host.homes(id.0).into_iter().chain([self.settings.me]);
        seat(homes, self.preference(id).hub(), |hub| host.drains(hub)).unwrap_or(self.settings.me)
    }

    pub(super) fn is_heard(&self, hub: HubId) -> bool {
        self.peers.get(&hub).is_some_and(|peer| peer.heard)
    }

    /// Somebody asks for a consumer: it is taken over when this is its seat and
    /// it ran elsewhere last. One that nobody knows of is no reason to wait.
    ///
    /// # Errors
    /// [`Waits`]: why it cannot be served here yet.
    pub fn asked(&mut self, id: &Id, now: Mono, host: &mut impl Host<Definition = D>) -> Result<(), Waits> {
        let homes = host.homes(id.0);
        if let Some(hub) = homes.iter().find(|hub| !self.is_heard(**hub)) {
            return Err(Waits::Unheard(*hub));
        }
        if let Some(leaving) = self.own.get(id).and_then(|own| own.leaving.as_ref()) {
            return Err(Waits::Leaving(leaving.to));
        }
        let at = self.seat(id, host);
        if at != self.settings.me {
            // Who routed it here does not know, or this hub runs it for the moment.
            self.tell |= self.told_at + self.settings.again <= now;
            self.look = true;
            return Err(Waits::At(at));
        }
        let Some(aside) = self.newer_aside(id) else {
            self.claim(id, host);
            return Ok(());
        };
        if let Some(hub) = homes.iter().copied().find(|hub| hub.tag() == aside.home) {
            let patience = self.settings.patience;
            let until = self.wanted.entry(id.clone()).or_insert(now + patience);
            if *until + patience < now {
                // Nobody has asked for it since.
                *until = now + patience;
            }
            if now < *until {
                host.send(hub, Told::Want { stream: id.0, name: id.1.clone() });
                return Err(Waits::Wanted(hub));
            }
        }
        self.take(id, host)
    }

    /// The version of what is kept aside, if that counts more than what is here.
    pub(super) fn newer_aside(&self, id: &Id) -> Option<Version> {
        let aside = self.aside.get(id)?.version;
        match self.own.get(id) {
            None => Some(aside),
            // What was here in an earlier life, and copies of that life.
            Some(own) if own.version.is_same_life(&aside) => (!own.claimed).then_some(aside),
            Some(own) => (own.version < aside).then_some(aside),
        }
    }

    fn claim(&mut self, id: &Id, host: &mut impl Host<Definition = D>) {
        if let Some(own) = self.own.get_mut(id).filter(|own| !own.claimed) {
            own.claimed = true;
            let generation = host.claim(id);
            own.version = version(&self.settings, generation);
        }
    }

    pub(super) fn take(&mut self, id: &Id, host: &mut impl Host<Definition = D>) -> Result<(), Waits> {
        let preference = self.preference(id);
        let Some(copy) = self.aside.get(id) else { return Ok(()) };
        let merges = self.own.get(id).is_some_and(|own| own.version.is_same_life(&copy.version));
        let Some(generation) = host.install(copy, merges, &preference) else { return Err(Waits::Refused) };
        self.forget(id, host);
        self.add(id.clone(), generation, true, preference);
        Ok(())
    }

    /// Sends the state of a consumer that is installed here to all other homes.
    pub fn copy_out(&mut self, id: &Id, host: &mut impl Host<Definition = D>) {
        let homes = host.homes(id.0);
        if homes.is_empty() {
            return;
        }
        let Some(copy) = self.copy_of(id, host) else { return };
        for hub in homes {
            host.send(hub, Told::Copy { ask: 0, copy: Box::new(copy.clone()) });
        }
    }

    pub(super) fn copy_of(&mut self, id: &Id, host: &mut impl Host<Definition = D>) -> Option<Copy<D>> {
        let own = self.own.get_mut(id)?;
        let (definition, state) = host.state(id)?;
        own.version.number += 1;
        let (version, preference, seat) = (own.version, own.preference.clone(), self.settings.name.clone());
        Some(Copy { stream: id.0, name: id.1.clone(), version, seat, preference, definition, state })
    }

    /// A message of another hub.
    pub fn told(&mut self, from: HubId, told: Told<D>, now: Mono, host: &mut impl Host<Definition = D>) {
        match told {
            Told::Ask { ask } => self.on_ask(from, ask, host),
            Told::All { ask, copies } => {
                if let Some(peer) = self.peers.get_mut(&from)
                    && peer.asks.get(&ask).is_some_and(|came| *came >= copies)
                {
                    (peer.heard, peer.again) = (true, false);
                    peer.asks.clear();
                    self.look = true;
                }
            }
            Told::Copy { ask, copy } => {
                if let Some(came) = self.peers.get_mut(&from).and_then(|peer| peer.asks.get_mut(&ask)) {
                    *came += 1;
                }
                self.on_copy(from, *copy, ask == 0, host);
            }
            Told::Give(copy) => {
                let id = (copy.stream, copy.name.clone());
                self.on_copy(from, *copy, false, host);
                self.take_given(&id, from, now, host);
            }
            Told::Want { stream, name } => self.on_want(from, &(stream, name), now, host),
            Told::Gone { stream, name, generation } => {
                let id = (stream, name);
                if self.aside.get(&id).is_some_and(|copy| copy.version.generation <= generation) {
                    self.forget(&id, host);
                }
                if self.own.get(&id).is_none_or(|own| own.version.generation <= generation) {
                    // It may have run here before, and lie here.
                    self.lose(&id, false, host);
                    host.delete(&id);
                }
                self.bury(&id, generation);
                self.hints_changed = true;
            }
            // Of one that is away by now it would stay for ever.
            Told::Prefer(_) if !self.peers.contains_key(&from) => {}
            Told::Prefer(all) => self.hear_preferences(from, all, host),
        }
    }

    /// Says all that is known here of the streams that the other hub keeps too.
    fn on_ask(&mut self, from: HubId, ask: u64, host: &mut impl Host<Definition = D>) {
        if !self.peers.contains_key(&from) {
            // It sees this hub before this one sees it, and asks again: that nothing
            // is known here for it would be taken for the whole answer.
            return;
        }
        let ids: BTreeSet<Id> = self.own.keys().chain(self.aside.keys()).cloned().collect();
        let mut copies = 0;
        for id in ids {
            if !host.homes(id.0).contains(&from) {
                continue;
            }
            let own = if self.own.contains_key(&id) { self.copy_of(&id, host) } else { None };
            // What is kept aside counts too: who sent it may be gone.
            let aside = self.aside.get(&id).cloned();
            for copy in own.into_iter().chain(aside) {
                copies += 1;
                host.send(from, Told::Copy { ask, copy: Box::new(copy) });
            }
        }
        host.send(from, Told::All { ask, copies });
    }

    fn on_want(&mut self, from: HubId, id: &Id, now: Mono, host: &mut impl Host<Definition = D>) {
        let is_seat = self.seat(id, host) == from;
        match self.own.get(id) {
            Some(own) if own.leaving.is_some() => {}
            Some(_) if is_seat => self.hand_over(id, from, None, now, host),
            _ => {
                if let Some(copy) = self.aside.get(id).cloned() {
                    host.send(from, Told::Copy { ask: 0, copy: Box::new(copy) });
                }
            }
        }
    }

    fn on_copy(&mut self, from: HubId, mut copy: Copy<D>, answers: bool, host: &mut impl Host<Definition = D>) {
        let id = (copy.stream, copy.name.clone());
        if !host.keeps(id.0) {
            return;
        }
        let gone = self.gone(&id);
        if copy.version.generation <= gone {
            return host.send(from, Told::Gone { stream: id.0, name: id.1, generation: gone });
        }
        self.learn(&id, &copy.preference, host);
        // It outlives what is let go here.
        copy.preference = self.preference(&id).max(copy.preference);
        if let Some(own) = self.own.get(&id) {
            if own.claimed && (own.version.is_same_life(&copy.version) || copy.version < own.version) {
                if answers
                    && copy.version < own.version
                    && copy.version.home == from.tag()
                    && let Some(newer) = self.copy_of(&id, host)
                {
                    // It runs there too, since they could not see each other.
                    host.send(from, Told::Copy { ask: 0, copy: Box::new(newer) });
                }
                return;
            }
            if !own.claimed && copy.version < own.version && !own.version.is_same_life(&copy.version) {
                return;
            }
            if own.claimed {
                host.let_go(&id, "another home of the stream serves it now");
                self.lose(&id, true, host);
            }
        }
        self.put_aside(id, copy, host);
    }

    fn put_aside(&mut self, id: Id, mut copy: Copy<D>, host: &mut impl Host<Definition = D>) {
        let has_room = self.aside.len() < self.settings.aside;
        match self.aside.get_mut(&id) {
            Some(known) if known.version.is_same_life(&copy.version) => {
                if known.version < copy.version {
                    std::mem::swap(known, &mut copy);
                }
                known.state.merge(&copy.state);
                host.keep(&id, Some(known));
            }
            Some(known) if known.version > copy.version => {}
            None if !has_room => {}
            _ => {
                host.keep(&id, Some(&copy));
                self.aside.insert(id, copy);
            }
        }
    }
}

/// The first version of a life that begins here.
fn version(settings: &Settings, generation: u32) -> Version {
    Version { generation, home: settings.me.tag(), number: u64::from(settings.epoch) << 32 }
}
