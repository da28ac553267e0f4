//! The flows between this hub and others, and the cut of blocks that come
//! again: the deciders of `weft_mesh::flow`, one per hub, lane, residency and way, for
//! what is bound to a label goes other ways and would come in another order.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weft_base::bounded::Full;
use weft_base::{Epoch, HubId, Lane, Mono, ProducerId, Residency, Way};
use weft_mesh::flow::{Cut, LiveReceiver, LiveSender, Receiver, RetransmitOptions, Seen, Sender, Verdict};
use weft_mesh::ledger::DropReason;
use weft_mesh::{GroupKey, Routes};
use weft_ring::arena::BlockRef;
use weft_wire::block::{Block, Stamp};
use weft_wire::frame::{AckLevel, FlowEntry};
use weft_wire::peer::UNNUMBERED;

use crate::counters::Counters;
use crate::messages::{FlowKey, FlowSaid, FlowTo, Named, Request, SessionId};
use crate::see::account::Waits;
use crate::spool::SpoolPlace;

/// Hubs whose recent blocks are remembered: as many as a mesh may have.
const ORIGINS: usize = 1_024;

/// A block that another hub has not stored yet.
pub(super) struct Held {
    pub(super) block: BlockRef,
    pub(super) events: u64,
    pub(super) request: Option<Request>,
    /// Streams there that are not to take it.
    pub(super) except: Arc<[u64]>,
    /// The streams that it is for.
    pub(super) meant: Arc<[u64]>,
    /// When it was taken into the flow.
    pub(super) since: Mono,
    /// Since when its hub says that it keeps none of them.
    pub(super) in_vain: Option<Mono>,
    /// Where it lies on disk here, if it waited there.
    pub(super) spooled: Option<SpoolPlace>,
}

/// A block to send again: with its entry and what goes beside that.
pub(super) struct Again {
    pub(super) entry: FlowEntry,
    pub(super) block: BlockRef,
    pub(super) except: Arc<[u64]>,
    pub(super) spooled: Option<u64>,
}

/// All flows of this hub.
pub(super) struct Flows {
    /// Blocks that one guaranteed flow may hold.
    limit: usize,
    own: Epoch,
    epochs: HashMap<HubId, Epoch>,
    /// Of hubs that were within reach.
    names: HashMap<HubId, String>,
    live_out: HashMap<FlowTo, LiveSender>,
    live_in: HashMap<FlowTo, LiveReceiver>,
    /// Messages between hubs have numbers of their own: one that is lost is no event that is missing.
    messages_out: HashMap<HubId, LiveSender>,
    messages_in: HashMap<HubId, LiveReceiver>,
    /// The life and the last block of what came and is not numbered.
    unnumbered_in: HashMap<HubId, (Epoch, u64)>,
    out: BTreeMap<FlowTo, Sender<Held>>,
    into: HashMap<FlowTo, Receiver>,
    /// Of each residency and way: what goes other ways may come much later.
    seen: BTreeMap<(Residency, Way), Seen>,
    /// Blocks to send again, kept between turns so that nothing is allocated.
    pub(super) again: Vec<Again>,
    /// Blocks of spools that homes have, and that they refused: the first of each
    /// flow is the one that was.
    pub(super) done: Vec<SpoolPlace>,
    pub(super) refused: Vec<(SpoolPlace, bool)>,
    /// Since when hubs are out of reach.
    down: HashMap<HubId, Mono>,
    /// Flows that held something when there were more ways or fewer, and the first
    /// of their numbers after that: what they hold of a producer may be on another
    /// way than what it publishes now.
    former: BTreeMap<FlowTo, u64>,
}

impl Flows {
    pub(super) fn new(limit: usize, own: Epoch) -> Self {
        Self {
            limit,
            own,
            epochs: HashMap::new(),
            names: HashMap::new(),
            live_out: HashMap::new(),
            live_in: HashMap::new(),
            messages_out: HashMap::new(),
            messages_in: HashMap::new(),
            unnumbered_in: HashMap::new(),
            out: BTreeMap::new(),
            into: HashMap::new(),
            seen: BTreeMap::new(),
            again: Vec::new(),
            done: Vec::new(),
            refused: Vec::new(),
            down: HashMap::new(),
            former: BTreeMap::new(),
        }
    }

    /// Whether this block crosses this hub for the first time.
    pub(super) fn first_time(&mut self, stamp: &Stamp, from: FlowTo) -> bool {
        let seen = self.seen.entry((from.residency, from.way)).or_insert_with(|| Seen::new(ORIGINS));
        seen.check(stamp.origin, stamp.epoch, from.lane, stamp.block) == Cut::New
    }

    /// The entry for the next live block to a hub.
    pub(super) fn send_live(&mut self, to: FlowTo, events: u64) -> FlowEntry {
        let epoch = self.epochs.get(&to.hub).copied().unwrap_or_default();
        self.live_out.entry(to).or_insert_with(|| LiveSender::new(epoch)).entry(to.hub, events)
    }

    /// The entry for the next block for a member of a group at a hub.
    pub(super) fn send_group(&mut self, to: FlowTo, events: u64, group: GroupKey) -> FlowEntry {
        let epoch = self.epochs.get(&to.hub).copied().unwrap_or_default();
        self.live_out.entry(to).or_insert_with(|| LiveSender::new(epoch)).group_entry(to.hub, events, group)
    }

    /// What to do with a live block that came: deliver it or not, and how many
    /// events before it are lost.
    pub(super) fn live_arrived(&mut self, stamp: &Stamp, from: FlowTo, entry: &FlowEntry, events: u64) -> (bool, u64) {
        let live = self.live_from(from).accept(stamp.epoch, entry.incarnation, entry.sequence, events);
        (live.deliver, live.missed)
    }

    /// The end of a live flow that comes from another hub.
    pub(super) fn live_from(&mut self, from: FlowTo) -> &mut LiveReceiver {
        let own = self.own;
        self.live_in.entry(from).or_insert_with(|| LiveReceiver::new(own))
    }

    /// The entry for the next message to a hub.
    pub(super) fn send_message(&mut self, to: HubId) -> FlowEntry {
        let epoch = self.epochs.get(&to).copied().unwrap_or_default();
        self.messages_out.entry(to).or_insert_with(|| LiveSender::new(epoch)).entry(to, 1)
    }

    /// What to do with a message that came: take it or not, and how many before
    /// it are lost.
    pub(super) fn message_arrived(&mut self, stamp: &Stamp, entry: &FlowEntry, lane: Lane) -> (bool, u64) {
        // The life of a hub that is not known yet has the same number.
        if lane == Lane::URGENT && entry.incarnation == UNNUMBERED {
            // In order nevertheless, by the numbers of its hub's blocks.
            let last = self.unnumbered_in.entry(stamp.origin).or_insert((Epoch(0), 0));
            let is_later = (stamp.epoch, stamp.block) > *last || *last == (Epoch(0), 0);
            if is_later {
                *last = (stamp.epoch, stamp.block);
            }
            return (is_later, 0);
        }
        let own = self.own;
        let receiver = self.messages_in.entry(stamp.origin).or_insert_with(|| LiveReceiver::new(own));
        let live = receiver.accept(stamp.epoch, entry.incarnation, entry.sequence, 1);
        (live.deliver, live.missed)
    }

    /// Whether a guaranteed block comes in its turn.
    pub(super) fn guaranteed_arrived(&mut self, key: FlowKey, entry: &FlowEntry) -> bool {
        let receiver = self.into.entry(key.flow()).or_default();
        receiver.accept(key.epoch, entry.incarnation, entry.base, entry.sequence) == Verdict::Accept
    }

    /// Whether a flow can hold no more.
    pub(super) fn is_full(&self, to: FlowTo) -> bool {
        self.out.get(&to).is_some_and(Sender::is_full)
    }

    /// Whether a flow of another residency or way holds a block of this producer
    /// and lane: it must be stored first, for a stream takes what comes after a
    /// later one of its producer for a duplicate.
    pub(super) fn holds_otherwise(&self, producer: ProducerId, lane: Lane, (residency, way): (Residency, Way)) -> bool {
        // While the number of ways is the same, so is that of a producer.
        let may_hold = |to: &FlowTo| to.residency != residency || (to.way != way && self.former.contains_key(to));
        let flows = self.out.iter().filter(|(to, _)| to.lane == lane && may_hold(to));
        flows.flat_map(|(_, sender)| sender.held()).any(|held| Block::trusted(&held.block).producer() == producer)
    }

    /// Whether another flow to the same hub holds a block of this producer and lane
    /// for a stream: that must be stored first.
    pub(super) fn holds_beside(&self, at: FlowTo, producer: ProducerId, stream: u64) -> bool {
        let flows = self.out.range(FlowTo::all_of(at.hub)).filter(|(to, _)| **to != at && to.lane == at.lane);
        let is_of = |held: &Held| {
            held.meant.contains(&stream) && producer.0 != 0 && Block::trusted(&held.block).producer() == producer
        };
        flows.flat_map(|(_, sender)| sender.held()).any(is_of)
    }

    /// Whether a flow holds a block of this producer and lane.
    pub(super) fn holds(&self, producer: ProducerId, lane: Lane) -> bool {
        let flows = self.out.iter().filter(|(to, _)| to.lane == lane);
        flows.flat_map(|(_, sender)| sender.held()).any(|held| Block::trusted(&held.block).producer() == producer)
    }

    /// Of what a session awaits from other hubs, the oldest: the hub that has to
    /// store it, and since when.
    pub(super) fn awaited(&self, session: SessionId) -> Option<(&str, Mono)> {
        let awaits = |held: &&Held| held.request.is_some_and(|request| request.session == session);
        let flows = self.out.iter().filter_map(|(to, sender)| Some((&to.hub, sender.held().find(awaits)?.since)));
        let (hub, since) = flows.min_by_key(|(_, since)| *since)?;
        Some((self.names.get(hub).map_or("", String::as_str), since))
    }

    /// Takes a block into the flow to a hub. Answers its entry when it is to be
    /// sent now; earlier blocks may have to go first.
    ///
    /// # Errors
    /// The flow can hold no more.
    pub(super) fn send_guaranteed(
        &mut self,
        to: FlowTo,
        held: Held,
        routes: &Routes,
        now: Mono,
    ) -> Result<Option<FlowEntry>, Box<Held>> {
        let limit = self.limit;
        let sender = self.out.entry(to).or_insert_with(|| {
            let mut sender = Sender::new(limit, RetransmitOptions::default());
            wait_for_way(&mut sender, routes, to);
            sender
        });
        match sender.push(held, now) {
            Ok(pushed) => Ok(pushed.send.then(|| sender.entry(to.hub, pushed.number, false))),
            Err(Full { item, .. }) => Err(Box::new(item)),
        }
    }

    /// A hub says where blocks of a flow entered their streams.
    pub(super) fn placed(&mut self, said: &FlowSaid) {
        let Some(sender) = self.out.get_mut(&said.flow()) else { return };
        if sender.incarnation() != said.incarnation {
            return;
        }
        for place in &said.places {
            if let Some(request) = sender.at_mut(place.number).and_then(|held| held.request.as_mut()) {
                request.place = Some(Named { home: said.hub, sequence: place.home_sequence });
            }
        }
    }

    /// A hub has stored a flow up to here: who waited is told.
    pub(super) fn acked(&mut self, said: &FlowSaid, now: Mono, counters: &Counters, tell: impl FnMut(Request)) {
        if let Some(sender) = self.out.get_mut(&said.flow()) {
            let settle = settle(counters, &mut self.done, tell);
            sender.acked(said.incarnation, said.written, said.synced, now, settle);
            if !self.former.is_empty() {
                let base = sender.base();
                self.former.retain(|to, until| *to != said.flow() || base < *until);
            }
        }
    }

    /// A hub stores no more of this incarnation of a flow: what it has not
    /// written is given up, and who waited is told.
    pub(super) fn refused(
        &mut self,
        said: &FlowSaid,
        now: Mono,
        counters: &Counters,
        tell: impl FnMut(Request),
        mut give_up: impl FnMut(Request, BlockRef),
    ) {
        let Some(sender) = self.out.get_mut(&said.flow()) else { return };
        let settle = settle(counters, &mut self.done, tell);
        let refused = sender.refused(said.incarnation, said.written, said.synced, now, settle);
        for (index, held) in refused.into_iter().enumerate() {
            if let Some(place) = held.spooled {
                self.refused.push((place, index == 0));
                continue;
            }
            let account = counters.account(&held.block);
            account.drop(DropReason::StreamRefused, held.events);
            account.leave(Waits::Flows, held.events);
            if let Some(request) = held.request {
                give_up(request, held.block);
            }
        }
    }

    /// A hub keeps none of the streams that a block of the flow was for: hands
    /// back all that it has not synced, in order. Who was told what it asked for
    /// is not told again.
    pub(super) fn given_back(
        &mut self,
        said: &FlowSaid,
        now: Mono,
        counters: &Counters,
        tell: impl FnMut(Request),
    ) -> Vec<Held> {
        let Some(sender) = self.out.get_mut(&said.flow()) else { return Vec::new() };
        let settle = settle(counters, &mut self.done, tell);
        let given = sender.give_back(said.incarnation, said.written, said.synced, now, settle);
        let (all, told) = given.unwrap_or_default();
        let mut back = Vec::new();
        for (index, mut held) in all.into_iter().enumerate() {
            if let Some(place) = held.spooled {
                // It comes again from where it lies.
                self.refused.push((place, index == told));
                continue;
            }
            if index < told {
                held.request = held.request.filter(|request| request.level > AckLevel::Written);
            }
            back.push(held);
        }
        back
    }

    /// Nothing of a flow is sent before `at`.
    pub(super) fn hold_off(&mut self, to: FlowTo, at: Mono) {
        if let Some(sender) = self.out.get_mut(&to) {
            sender.hold_off(at);
        }
    }

    /// What a flow holds, in order.
    pub(super) fn held(&self, to: FlowTo) -> impl Iterator<Item = &Held> {
        self.out.get(&to).into_iter().flat_map(Sender::held)
    }

    /// A hub can be reached, in this life of it.
    pub(super) fn hub_up(&mut self, hub: HubId, epoch: Epoch, name: String, now: Mono) {
        self.names.insert(hub, name);
        self.down.remove(&hub);
        let earlier = self.epochs.insert(hub, epoch);
        if let Some(sender) = self.messages_out.get_mut(&hub) {
            sender.restart(epoch);
        }
        for (_, sender) in self.live_out.iter_mut().filter(|(to, _)| to.hub == hub) {
            sender.restart(epoch);
        }
        for (_, sender) in self.out.range_mut(FlowTo::all_of(hub)) {
            if earlier.is_some_and(|earlier| earlier != epoch) {
                sender.restart(now);
            }
            sender.set_reachable(true, now);
        }
    }

    /// A hub cannot be reached: what is guaranteed waits for it.
    pub(super) fn hub_down(&mut self, hub: HubId, now: Mono) {
        self.down.entry(hub).or_insert(now);
        for (_, sender) in self.out.range_mut(FlowTo::all_of(hub)) {
            sender.set_reachable(false, now);
        }
    }

    /// Other ways may lead to other hubs: what is overdue tries them at once, and
    /// acknowledgements may take as long as the ways do now.
    pub(super) fn ways_changed(&mut self, before: &Routes, after: &Routes, now: Mono) {
        if before.ways() != after.ways() {
            let holding = self.out.iter().filter(|(_, sender)| !sender.is_empty());
            self.former.extend(holding.map(|(to, sender)| (*to, sender.next())));
        }
        for (to, sender) in &mut self.out {
            wait_for_way(sender, after, *to);
            let next =
                |routes: &Routes| routes.bound(to.residency).and_then(|routes| routes.next_hop_on(to.hub, to.way));
            if next(before) != next(after) {
                sender.way_changed(now);
            }
        }
    }

    /// Since when a hub that was within reach is not.
    pub(super) fn down_since(&self, hub: HubId) -> Option<Mono> {
        self.down.get(&hub).copied()
    }

    /// What a hub calls itself that was within reach.
    pub(super) fn known_name(&self, hub: HubId) -> Option<String> {
        self.names.get(&hub).cloned()
    }

    /// What a hub calls itself, or its id.
    pub(super) fn name_of(&self, hub: HubId) -> String {
        self.names.get(&hub).cloned().unwrap_or_else(|| hub.to_string())
    }

    /// The flows that hold something.
    pub(super) fn holding(&self) -> Vec<FlowTo> {
        self.out.iter().filter(|(_, sender)| !sender.is_empty()).map(|(to, _)| *to).collect()
    }

    /// Takes all that a flow holds, in order, to send it elsewhere.
    pub(super) fn take_held(&mut self, to: FlowTo) -> Vec<Held> {
        let Some(sender) = self.out.get_mut(&to) else { return Vec::new() };
        let told = sender.told();
        let mut all = sender.drain();
        for held in all.iter_mut().take(told) {
            // Who asked for no more has his answer.
            held.request = held.request.filter(|request| request.level > AckLevel::Written);
        }
        all
    }

    /// Puts what is to be sent now, again or late, into `again`.
    pub(super) fn due(&mut self, now: Mono) {
        for (FlowTo { hub, .. }, sender) in &mut self.out {
            // An entry names the flow's base and incarnation, which sending again does not change.
            let entry = sender.entry(*hub, 0, true);
            for (held, number) in sender.retransmit_due(now) {
                let entry = FlowEntry { sequence: number, ..entry };
                let (block, except) = (held.block.clone(), held.except.clone());
                let spooled = held.spooled.map(|place| place.stream);
                self.again.push(Again { entry, block, except, spooled });
            }
        }
    }

    /// When `due` has something to do by itself.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.out.values().filter_map(Sender::next_deadline).min()
    }
}

/// The wait for an acknowledgement follows the round trip of the way, if there is one.
fn wait_for_way(sender: &mut Sender<Held>, routes: &Routes, to: FlowTo) {
    if let Some(path) = routes.bound(to.residency).and_then(|routes| routes.path_on(to.hub, to.way)) {
        sender.set_rtt(path.rtt);
    }
}

/// What becomes of a held block as its hub stores it.
fn settle(
    counters: &Counters,
    done: &mut Vec<SpoolPlace>,
    mut tell: impl FnMut(Request),
) -> impl FnMut(&Held, AckLevel) {
    move |held, level| {
        if let Some(place) = held.spooled {
            // Counted where it lies.
            done.extend((level == AckLevel::Synced).then_some(place));
            return;
        }
        if level == AckLevel::Synced {
            let account = counters.account(&held.block);
            account.forwarded(held.events);
            account.leave(Waits::Flows, held.events);
        }
        if let Some(request) = held.request.filter(|request| request.level.min(AckLevel::Synced) == level) {
            tell(request);
        }
    }
}
