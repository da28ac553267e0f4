//! What goes to the spool, and what comes from it.
//!
//! A block goes to the spool of a stream while none of its homes can be reached,
//! and afterwards for as long as something is there, so that nothing is
//! overtaken. That ends when the append stage says that the spool is empty after
//! as many messages as this stage has sent it: then nothing is on its way to it.
//!
//! What comes from it goes by the guaranteed flow to a home. When a home refuses
//! a block, or another one takes its place, a new round begins with the first
//! block that no home is known to have; blocks and answers of earlier rounds
//! count no more. A home tells what it has already by the producer's sequences,
//! exactly and not by the last one alone: the producer may have published later
//! events by another hub. It must come in order all the same, so it takes the main
//! way, whatever way what is published now would take.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weft_base::{HubId, Mono, Residency, Way};
use weft_mesh::{INITIAL_TTL, Routes, StreamHub, split};
use weft_ring::arena::BlockRef;
use weft_topic::Topic;
use weft_wire::block::{self, Block, Stamp};
use weft_wire::frame::{ErrorCode, FlowEntry};

use super::RouteStage;
use super::flows::Held;
use super::homes::{Chosen, beside};
use super::table::Route;
use crate::counters::add;
use crate::messages::{Completion, FlowTo, ToAppend};
use crate::options::HubOptions;
use crate::see::account::Waits;
use crate::spool::{FromSpool, Known, Patience, Round, SpoolPlace, SpoolStart};

/// How often it is looked whether there is a newer snapshot, while something is
/// spooled for: no message need come with it.
const AGAIN: Duration = Duration::from_millis(100);
/// How often streams that are missing are looked for, whatever happens.
const OBSERVE: Duration = Duration::from_secs(1);

/// The spool of a stream, as this stage knows it.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Messages that said to keep a block.
    sent: u64,
    round: u32,
    /// The home that gets what is there.
    target: Option<HubId>,
    /// Little is left: what is published now waits, and goes to the home itself.
    closing: bool,
}

/// All of them.
pub(super) struct Spools {
    states: BTreeMap<u64, State>,
    again: Option<Mono>,
    /// When to look again whether streams that are missing are there.
    observe: Mono,
    patience: Patience,
}

impl Spools {
    pub(super) fn new(start: SpoolStart, options: &HubOptions, chosen: &mut Chosen) -> Self {
        let most = if start.has_disk { options.limits.spool_streams } else { 0 };
        chosen.known = Known::new(start.known, most);
        chosen.spooling = start.waiting.iter().copied().collect();
        let states = start.waiting.into_iter().map(|id| (id, State::default())).collect();
        let patience = Patience { doubt: options.timers.home_patience, gone: options.timers.spool_gone };
        Self { states, again: Some(Mono(0)), observe: Mono(0), patience }
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.again
    }
}

impl RouteStage {
    /// Keeps a block on disk for these streams; answers the copies.
    pub(super) fn spool(&mut self, streams: &Arc<[u64]>, block: &BlockRef, events: u64, completion: Completion) -> u64 {
        if streams.is_empty() {
            return 0;
        }
        let copies = events * streams.len() as u64;
        self.counters.account(block).copies(copies);
        self.keep(streams, block, copies, completion);
        copies
    }

    pub(super) fn keep(&mut self, streams: &Arc<[u64]>, block: &BlockRef, copies: u64, completion: Completion) {
        self.counters.account(block).enter(Waits::Append, copies);
        for id in streams.iter() {
            self.cache.chosen.spooling.insert(*id);
            self.spools.states.entry(*id).or_default().sent += 1;
        }
        self.spools.again.get_or_insert(self.now.mono + AGAIN);
        self.append.push(ToAppend::Spool { streams: streams.clone(), block: block.clone(), completion });
    }

    /// Moves what is held for a home that is out of reach, or is none any more,
    /// to the spool, if all streams that it is for are spooled for; else hands it back.
    pub(super) fn spool_held(&mut self, held: Held) -> Option<Held> {
        let meant = held.meant.clone();
        let chosen = &self.cache.chosen;
        let is_spooled = |id: &u64| chosen.spools(*id, &self.homes_of(*id));
        if meant.is_empty() || !meant.iter().all(is_spooled) {
            return Some(held);
        }
        let copies = held.events * meant.len() as u64;
        let counters = self.counters.clone();
        let account = counters.account(&held.block);
        account.copies(copies.saturating_sub(held.events));
        let completion = held.request.map_or(Completion::None, Completion::Client);
        self.keep(&meant, &held.block, copies, completion);
        account.leave(Waits::Flows, held.events);
        None
    }

    /// Why a publish that asks for more than to be stored is not kept on disk here.
    pub(super) fn not_spooled(&self, route: &Route) -> String {
        let name = |id: &u64| self.cache.chosen.known.name_of(*id).map_or_else(|| format!("{id:x}"), str::to_owned);
        let names: Vec<String> = route.spooled.iter().map(name).collect();
        format!(
            "the homes of stream `{}` cannot be reached, or do not have yet what was published meanwhile: conditions, \
             batches, delays and levels of several homes are not spooled, publish again later",
            names.join("`, `")
        )
    }

    /// The other hubs that are homes of a stream.
    fn homes_of(&self, id: u64) -> Vec<StreamHub> {
        let all = self.table.routes.all_streams().filter(|home| home.def.id == id && home.def.is_home());
        all.map(|home| StreamHub { id, hub: home.hub, cost: home.cost, spools: true, strong: false }).collect()
    }

    /// Takes over a newer snapshot, if there is one.
    pub(super) fn look_at_table(&mut self) {
        if self.table.version != self.snapshot.load().version {
            let before = std::mem::replace(&mut self.table, self.snapshot.load_full());
            self.away.progress += 1;
            self.flows.ways_changed(&before.routes, &self.table.routes, self.now.mono);
            if self.table.routes.ways() < before.routes.ways() {
                self.gather(self.table.routes.ways());
            }
            self.look_at_streams(&before.routes);
            self.move_held();
            if !Arc::ptr_eq(&before.mapping, &self.table.mapping) {
                self.renaming.replaced(before.mapping.clone(), self.producers.turn());
            }
        }
    }

    /// A newer snapshot is there: other streams may be, and other ways.
    fn look_at_streams(&mut self, before: &Routes) {
        if !self.table.routes.has_streams_of(before) {
            self.observe_streams();
        }
        self.aim();
    }

    pub(super) fn observe_streams(&mut self) {
        let patience = self.spools.patience;
        self.spools.observe = self.now.mono + OBSERVE;
        let chosen = &mut self.cache.chosen;
        let (spooling, flows) = (&chosen.spooling, &self.flows);
        let is_busy = |id| spooling.contains(&id);
        let name = |hub| flows.known_name(hub);
        let observed = chosen.known.observe(&self.table.routes, (self.now.mono, patience), is_busy, name);
        for stream in &observed.gone {
            self.append.push(ToAppend::SpoolGone { stream: stream.id });
        }
        if observed.changed {
            self.append.push(ToAppend::SpoolKnown(self.cache.chosen.known.list()));
        }
        if observed.other_routes {
            self.cache.forget();
        }
    }

    /// Finds the home that gets what is spooled for each stream.
    fn aim(&mut self) {
        let spooling: Vec<u64> = self.cache.chosen.spooling.iter().copied().collect();
        for id in spooling {
            let homes = self.homes_of(id);
            let chosen = self.cache.chosen.one((id, Residency::ANYWHERE), &homes);
            let target = chosen.filter(|hub| homes.iter().any(|at| at.hub == *hub && at.cost.is_some()));
            let state = self.spools.states.entry(id).or_default();
            if state.target != target {
                state.target = target;
                self.begin_round(id, false, None);
            }
        }
    }

    fn begin_round(&mut self, stream: u64, wait: bool, refused: Option<(u64, ErrorCode)>) {
        let Some(state) = self.spools.states.get_mut(&stream) else { return };
        state.round = state.round.wrapping_add(1);
        state.closing = false;
        self.away.progress += 1;
        let (round, open) = (state.round, state.target.is_some());
        self.append.push(ToAppend::SpoolRound(Round { stream, round, open, wait, refused }));
    }

    /// Sends a block that waited on disk to the home of its stream.
    pub(super) fn send_spooled(&mut self, spooled: FromSpool) {
        let FromSpool { place, mut block } = spooled;
        let state = self.spools.states.get(&place.stream).filter(|state| state.round == place.round);
        let Some(hub) = state.and_then(|state| state.target) else { return };
        let parsed = Block::trusted(&block);
        let events = u64::from(parsed.event_count());
        // Of an earlier life, whose flows other hubs listen to no more, or of another
        // way: flows of several could bring a producer's blocks in another order.
        let is_as_sent = |stamp: &Stamp| stamp.epoch == self.identity.epoch && parsed.way() == Way::MAIN;
        if let Some(old) = parsed.stamp().filter(|stamp| !is_as_sent(stamp)) {
            let (origin, epoch, ingested) = (self.identity.id, self.identity.epoch, old.ingested);
            let stamp = Stamp { origin, epoch, block: self.next_block, sequence: self.next_sequence, ingested };
            if block::stamp_anew(&mut block, &stamp, Way::MAIN).is_err() {
                return self.begin_round(place.stream, true, Some((place.at, ErrorCode::BAD_BLOCK)));
            }
            self.next_block += 1;
            self.next_sequence += events;
        }
        let parsed = Block::trusted(&block);
        let to = FlowTo::of(hub, parsed);
        if self.flows.holds_beside(to, parsed.producer(), place.stream) {
            return self.begin_round(place.stream, true, None);
        }
        let block = block.freeze();
        let mut except: Vec<u64> = Vec::new();
        if let Ok(topic) = Topic::parse(Block::trusted(&block).topic()) {
            self.table.routes.streams(topic, |at| {
                if at.hub == hub && at.id != place.stream && !except.contains(&at.id) {
                    except.push(at.id);
                }
            });
        }
        let except: Arc<[u64]> = except.into();
        let (since, spooled) = (self.now.mono, Some(place));
        let (meant, (request, in_vain)) = ([place.stream].into(), (None, None));
        let held =
            Held { block: block.clone(), events, request, except: except.clone(), meant, since, in_vain, spooled };
        match self.flows.send_guaranteed(to, held, &self.table.routes, since) {
            Ok(None) => {}
            Ok(Some(entry)) => {
                // Hubs on the way may have seen the block.
                let entry = FlowEntry { retransmit: true, ..entry };
                let entries = std::iter::once(entry).chain(beside(entry, &except, Some(place.stream)));
                split((self.table.ways(to.residency), to.way), entries, None, INITIAL_TTL, &mut self.split);
                self.send_split(&block, 0);
            }
            Err(_) => self.begin_round(place.stream, true, None),
        }
    }

    /// Homes have said more: tells the append stage what they have of what was
    /// spooled, and begins anew where they have refused something.
    pub(super) fn settle_spools(&mut self, code: ErrorCode) {
        if !self.flows.done.is_empty() {
            self.append.push(ToAppend::SpoolDone(std::mem::take(&mut self.flows.done)));
        }
        let refused = std::mem::take(&mut self.flows.refused);
        for (SpoolPlace { stream, at, round }, first) in refused {
            if self.spools.states.get(&stream).is_some_and(|state| state.round == round) {
                add(&self.counters.spool_returned, 1);
                self.begin_round(stream, true, first.then_some((at, code)));
            }
        }
    }

    /// Little is left of a spool: who publishes now waits until nothing is. Else
    /// the spool of a publisher who waits for each answer would never be empty.
    pub(super) fn spool_is_low(&mut self, stream: u64, round: u32) {
        if let Some(state) = self.spools.states.get_mut(&stream)
            && state.round == round
        {
            state.closing = true;
        }
    }

    /// Whether a publish waits until a spool is empty.
    pub(super) fn waits_for_spool(&self, route: &Route) -> bool {
        let closing = |id: &u64| self.spools.states.get(id).is_some_and(|state| state.closing);
        route.spooled.iter().any(closing)
    }

    /// Nothing is spooled for a stream, unless it is on its way.
    pub(super) fn spool_is_empty(&mut self, stream: u64, taken: u64) {
        if self.spools.states.get(&stream).is_some_and(|state| state.sent != taken) {
            return;
        }
        if self.cache.chosen.spooling.remove(&stream) {
            if let Some(state) = self.spools.states.get_mut(&stream) {
                state.target = None;
            }
            self.begin_round(stream, false, None);
            self.cache.forget();
            self.away.progress += 1;
            self.observe_streams();
        }
    }

    /// Looks again at what is spooled, when it is time.
    pub(super) fn tend_spools(&mut self) -> usize {
        if self.spools.again.is_none_or(|at| at > self.now.mono) || !self.append.has_room(super::ROOM) {
            return 0;
        }
        self.spools.again = None;
        self.look_at_table();
        if self.cache.chosen.known.waits() && self.now.mono >= self.spools.observe {
            self.observe_streams();
        }
        if self.cache.chosen.known.waits() || !self.cache.chosen.spooling.is_empty() {
            self.spools.again = Some(self.now.mono + AGAIN);
        }
        1
    }
}
