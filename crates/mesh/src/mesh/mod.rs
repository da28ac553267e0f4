//! The decider: who is in the mesh, what each hub wants, and which way leads
//! there.
//!
//! **Link state.** Each hub floods a record of itself: its life (epoch), a
//! version, and its links with their measured round trips. The record with the
//! higher (epoch, version) counts, and is passed on to every other link when it
//! is new. A link counts when both of its ends report it, and an end reports it
//! from the first answered ping on, so a link that works in one direction only
//! carries nothing.
//!
//! **Interest.** Each hub has a versioned set of filters, the smallest cover of
//! what its subscribers and streams want. Changes are flooded as steps from one
//! version to the next; who misses a step asks for the whole set.
//!
//! **Repair.** Neighbours tell each other in digests what they know: when a link
//! comes up, and from time to time; in a large mesh as sums, and in full only what
//! differs. Who knows less asks.
//!
//! **Residency.** For events that are bound to labels there are ways of their own:
//! see `residency.rs`.
//!
//! **Receipts.** A hub asks which hubs have its interest in force: see `receipts.rs`.
//!
//! **Death and return.** A hub to which no path leads is unreachable. Its
//! interest is kept for a while, so that what it misses is counted as such, and
//! then it is forgotten. When it comes back in a new life, its old interest
//! stands until the new set is there whole.

mod drain;
mod events;
mod ground;
mod identity;
mod interest;
mod learning;
mod life;
mod pick;
mod pressure;
mod receipts;
mod records;
mod repair;
mod residency;
mod show;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use weft_base::{Epoch, HubId, Mono, Now, Random, Residency, Way};
use weft_wire::frame::{self, BoundAck, FlowAck, Frame, WayAck, attribute};

pub use self::drain::ClientPlace;
pub use self::events::{Command, Event};
pub use self::life::LinkNotice;
pub use self::receipts::{LiveAt, ReceiptLine};

use self::identity::Identities;
use self::learning::Learning;
use self::pressure::Gates;
use self::receipts::Receipts;
use self::records::{Hub, OwnRecord};
use self::residency::Bound;
use crate::apart::Ground;
use crate::damp::Damp;
use crate::filters::Wants;
use crate::flap::Flaps;
use crate::labels;
use crate::link::{Link, MOST_COST};
use crate::local::Local;
use crate::options::MAX_HUBS;
use crate::report::Counters;
use crate::spf::Graph;
use crate::spread::Spread;
use crate::{CloseReason, HubInfo, LinkId, MeshOptions, Routes, Spreading};

/// The state machine. One for each life of a hub.
pub struct Mesh {
    options: MeshOptions,
    me: HubInfo,
    random: Random,
    links: BTreeMap<LinkId, Link>,
    flaps: Flaps,
    /// Hubs to which the last link that worked was lost in this turn.
    lost: Vec<HubId>,
    hubs: BTreeMap<HubId, Hub>,
    /// Keys of the interest set that no hub has.
    free_slots: BTreeSet<u16>,
    record: OwnRecord,
    learning: Learning,
    local: Local,
    /// The interest of all other hubs.
    interest: Wants,
    routes: Arc<Routes>,
    gates: Gates,
    receipts: Receipts,
    identities: Identities,
    /// This hub is about to stop.
    is_draining: bool,
    /// Ways besides those in `hubs`.
    spread: Spread,
    /// What two paths are found by.
    ground: Arc<Ground>,
    bound: Bound,
    next_digest: Mono,
    deadline: Option<Mono>,
    counters: Counters,
    /// Frames of this turn, by link.
    outbox: BTreeMap<LinkId, Vec<u8>>,
    /// What must be looked at, or made anew, at the end of the turn.
    links_changed: bool,
    graph_changed: bool,
    routes_changed: bool,
    /// Routes change in more than who wants what.
    hubs_changed: bool,
    /// Not before this is anything due of other hubs.
    hubs_due: Mono,
    /// Not before this are ways found anew.
    paths_next: Mono,
}

impl Mesh {
    /// A decider of a mesh that is this hub alone. `seed` spreads the timers of
    /// several hubs; two deciders with equal seeds and events do the same.
    #[must_use]
    pub fn new(mut options: MeshOptions, mut me: HubInfo, seed: u64) -> Self {
        options.limits.hubs = options.limits.hubs.min(MAX_HUBS);
        for text in [&mut me.name, &mut me.region] {
            text.truncate(text.floor_char_boundary(frame::MAX_NAME));
        }
        let mut mesh = Self {
            random: Random::from_seed(seed),
            links: BTreeMap::new(),
            flaps: Flaps::new(options.timers.flap_half_life, options.timers.flap_most),
            lost: Vec::new(),
            hubs: BTreeMap::new(),
            free_slots: (0..options.limits.hubs as u16).collect(),
            record: OwnRecord::default(),
            learning: Learning::default(),
            local: Local::new(
                options.limits.filters,
                Damp::new(options.timers.damp_half_life, options.timers.damp_most),
            ),
            interest: Wants::default(),
            routes: Arc::new(Routes::alone(me.id)),
            gates: Gates::new(),
            receipts: Receipts::new(),
            identities: Identities::default(),
            is_draining: false,
            spread: Spread::default(),
            ground: Arc::default(),
            bound: Bound::default(),
            next_digest: Mono(0),
            deadline: None,
            counters: Counters::default(),
            outbox: BTreeMap::new(),
            links_changed: false,
            graph_changed: false,
            routes_changed: false,
            hubs_changed: false,
            hubs_due: Mono(u64::MAX),
            paths_next: Mono(0),
            options,
            me,
        };
        mesh.set_attribute(attribute::LABELS, labels::encode(&mesh.me.labels));
        mesh.set_attribute(attribute::TAKES, Some(vec![frame::Kind::Detour as u8]));
        // What is bound to a label of this hub may be here from the start.
        mesh.find_bound(&Graph::default(), &BTreeMap::new(), Spreading::NONE);
        mesh.routes = Arc::new(mesh.make_routes());
        mesh
    }

    /// Takes an event in; adds to `out` what is to be done about it, in order.
    pub fn apply(&mut self, event: Event<'_>, now: Now, out: &mut Vec<Command>) {
        let now = now.mono;
        match event {
            Event::LinkUp { link, hub, epoch, name, region: _, version, cost } => {
                let mut state = Link::new(hub, epoch, name, now);
                (state.cost, state.version) = (cost.min(MOST_COST), version);
                self.link_up(link, state, now, out);
            }
            Event::LinkCost { link, cost } => {
                if let Some(known) = self.links.get_mut(&link) {
                    known.cost = cost.min(MOST_COST);
                    self.links_changed = true;
                }
            }
            Event::Labels(labels) => {
                self.me.labels = labels;
                self.set_attribute(attribute::LABELS, labels::encode(&self.me.labels));
            }
            Event::LinkPrice { link, price } => {
                if let Some(known) = self.links.get_mut(&link) {
                    known.price = price;
                    self.links_changed = true;
                }
            }
            Event::LinkDown { link } => self.forget_link(link),
            Event::Heard { link, at } => {
                if let Some(known) = self.links.get_mut(&link) {
                    known.health.heard(at.min(now), &self.options.timers);
                }
                return;
            }
            Event::Frame { link, frame: Frame::FlowAck(ack) } => {
                self.route_flow_ack(Some(link), (Residency::ANYWHERE, Way::MAIN), ack, out);
                return self.hand_out(out);
            }
            Event::Frame { link, frame: Frame::BoundAck(bound) } => {
                self.route_flow_ack(Some(link), (bound.residency, Way::MAIN), &bound.ack, out);
                return self.hand_out(out);
            }
            Event::Frame { link, frame: Frame::WayAck(said) } => {
                self.route_flow_ack(Some(link), (said.residency, said.way), &said.ack, out);
                return self.hand_out(out);
            }
            Event::Frame { link, frame } => self.on_frame(link, frame, now, out),
            Event::Gate { gate, state, behind_ms, filter, subscriber } => {
                self.own_gate(gate, state, behind_ms, &filter, &subscriber);
                return self.hand_out(out);
            }
            Event::Interest { add, filter } => self.local.change(add, &filter, now),
            Event::Stream { add, def, filter } => self.local.stream(add, def, filter),
            Event::Member { add, group, filter, weight } => self.local.member(add, group, filter, weight),
            // The only frequent ones, and nothing but a way is looked up for them.
            Event::FlowAck { residency, way, ack } => {
                self.route_flow_ack(None, (residency, way), &ack, out);
                return self.hand_out(out);
            }
            Event::RoutesPublished => {
                if !self.routes_published(now) {
                    return;
                }
            }
            Event::Draining { draining } => self.set_draining(draining),
            Event::Receipt { receipt, at, until } => self.receipt(receipt, at, until, now),
            Event::ReceiptGone { receipt } => self.receipt_gone(receipt),
            Event::Tick => {}
        }
        self.settle(now, out);
    }

    /// When [`Event::Tick`] is due; `None` while nothing waits for time to pass.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        self.deadline
    }

    /// The present routes.
    #[must_use]
    pub fn routes(&self) -> Arc<Routes> {
        self.routes.clone()
    }

    /// The name of a hub that is known.
    #[must_use]
    pub fn name_of(&self, hub: HubId) -> Option<&str> {
        self.hubs.get(&hub).map(|known| known.name.as_str())
    }

    /// Who this decider decides for.
    #[must_use]
    pub fn me(&self) -> &HubInfo {
        &self.me
    }

    fn link_up(&mut self, id: LinkId, link: Link, now: Mono, out: &mut Vec<Command>) {
        if let Err(reason) = self.admit_link(&link) {
            self.counters.links_refused += 1;
            out.push(Command::CloseLink { link: id, reason });
            return;
        }
        let (hub, epoch) = (link.hub, link.epoch);
        self.links.insert(id, link);
        self.links_changed = true;
        if let Some(until) = self.flaps.held(hub) {
            self.notice(id, LinkNotice::Held { for_now: until.since(now) }, out);
        }
        self.close_older_links(hub, epoch, out);
        self.ping(id, now);
        let digest = self.digest();
        self.send(id, &digest);
        self.tell_gates(id);
        if self.next_digest <= now {
            self.next_digest = self.after_about(now, self.options.timers.digest);
        }
    }

    fn admit_link(&mut self, link: &Link) -> Result<(), CloseReason> {
        let limits = self.options.limits;
        if link.hub == self.me.id {
            return Err(CloseReason::OwnId);
        }
        let mut known: Vec<(&str, Epoch)> = Vec::new();
        known.extend(self.hubs.get(&link.hub).map(|hub| (hub.name.as_str(), hub.epoch)));
        known.extend(self.links.values().filter(|l| l.hub == link.hub).map(|l| (l.name.as_str(), l.epoch)));
        for (name, epoch) in known {
            if name != link.name {
                return Err(CloseReason::TwoNames { known: name.to_owned(), heard: link.name.clone() });
            }
            if epoch > link.epoch {
                return Err(CloseReason::OldEpoch { known: epoch, heard: link.epoch });
            }
        }
        if self.links.len() >= limits.links {
            return Err(CloseReason::TooManyLinks { limit: limits.links });
        }
        if !self.hubs.contains_key(&link.hub) && !self.make_room() {
            return Err(CloseReason::TooManyHubs { limit: limits.hubs });
        }
        Ok(())
    }

    /// A hub in a new life has nothing to say over the links of an earlier one.
    fn close_older_links(&mut self, hub: HubId, epoch: Epoch, out: &mut Vec<Command>) {
        let old: Vec<LinkId> =
            self.links.iter().filter(|(_, l)| l.hub == hub && l.epoch < epoch).map(|(id, _)| *id).collect();
        for link in old {
            self.close(link, CloseReason::Superseded, out);
        }
    }

    fn close(&mut self, link: LinkId, reason: CloseReason, out: &mut Vec<Command>) {
        self.forget_link(link);
        self.counters.links_closed += 1;
        out.push(Command::CloseLink { link, reason });
    }

    fn forget_link(&mut self, link: LinkId) {
        if let Some(lost) = self.links.remove(&link) {
            self.links_changed = true;
            if lost.works() && !self.links.values().any(|other| other.hub == lost.hub && other.works()) {
                self.lost.push(lost.hub);
            }
        }
        self.outbox.remove(&link);
        self.learning.forget_link(link);
        for hub in self.hubs.values_mut() {
            hub.forget_link(link);
        }
    }

    fn on_frame(&mut self, link: LinkId, frame: &Frame<'_>, now: Mono, out: &mut Vec<Command>) {
        let Some(known) = self.links.get_mut(&link) else { return };
        known.health.heard(now, &self.options.timers);
        match frame {
            Frame::Ping(ping) => self.on_ping(link, *ping, now, out),
            Frame::Pong(pong) => self.on_pong(link, *pong, now, out),
            Frame::LinkState(state) => self.on_record(link, &state.record, None, now, out),
            Frame::Record(said) => self.on_record(link, &said.record, Some(said.attributes), now, out),
            Frame::Interest(interest) => self.on_interest(link, interest, now, out),
            Frame::Digest(digest) => {
                self.learn_from(link, &digest.entries);
                self.on_digest(link, &digest.entries, now);
            }
            Frame::DigestSum(sum) => self.on_digest_sum(link, &sum.sums),
            Frame::Want(want) => self.on_want(link, &want.entries, now),
            Frame::Pressure(pressure) => self.on_pressure(link, pressure, out),
            Frame::ReceiptAsk(ask) => self.on_receipt_ask(link, ask, now),
            Frame::ReceiptAck(ack) => self.on_receipt_ack(link, ack, now),
            Frame::Conflict(conflict) => self.tell_conflict(Some(link), conflict, now, out),
            _ => {}
        }
    }

    /// Hands an acknowledgement to this hub, or passes it on. What finds no way
    /// is dropped: acknowledgements are cumulative and said again. They go back by
    /// the main way, whichever the flow takes.
    fn route_flow_ack(
        &mut self,
        came_by: Option<LinkId>,
        (residency, way): (Residency, Way),
        ack: &FlowAck,
        out: &mut Vec<Command>,
    ) {
        if ack.to == self.me.id {
            if ack.to_epoch == self.me.epoch {
                out.push(Command::FlowAcked {
                    hub: ack.from,
                    lane: ack.lane,
                    residency,
                    way,
                    incarnation: ack.incarnation,
                    written: ack.written,
                    synced: ack.synced,
                    refused: ack.refused,
                    places: ack.places.clone(),
                });
            }
            return;
        }
        let next = self.routes.bound(residency).and_then(|routes| routes.next_hop(ack.to));
        match next.filter(|link| came_by != Some(*link)) {
            Some(link) if way != Way::MAIN => {
                self.send(link, &Frame::WayAck(WayAck { way, residency, ack: ack.clone() }));
            }
            Some(link) if residency.is_bound() => {
                self.send(link, &Frame::BoundAck(BoundAck { residency, ack: ack.clone() }));
            }
            Some(link) => self.send(link, &Frame::FlowAck(ack.clone())),
            _ => self.counters.flow_acks_dropped += 1,
        }
    }

    /// The tail of every turn: what is due is done, what changed is made anew,
    /// and what piled up is handed out.
    fn settle(&mut self, now: Mono, out: &mut Vec<Command>) {
        self.tend_links(now, out);
        self.tend_flaps(now, out);
        if self.next_digest <= now && !self.links.is_empty() {
            self.next_digest = self.after_about(now, self.options.timers.digest);
            self.send_digests();
        }
        self.tend_own_record(now);
        self.tell_interest(now);
        self.pump_transfers(now);
        let mut ups_and_downs = Vec::new();
        self.tend_hubs(now, &mut ups_and_downs);
        self.tend_receipts(now, &mut ups_and_downs);
        self.tend_learning();
        self.hand_out(out);
        let hubs_changed = std::mem::take(&mut self.hubs_changed);
        if std::mem::take(&mut self.routes_changed) || hubs_changed {
            self.receipts.made += 1;
            let routes = if hubs_changed { self.make_routes() } else { self.routes.wanting(self.interest.clone()) };
            self.routes = Arc::new(routes);
            out.push(Command::RoutesChanged);
        }
        out.extend(ups_and_downs);
        self.deadline = self.find_deadline();
    }

    fn hand_out(&mut self, out: &mut Vec<Command>) {
        let boxes = std::mem::take(&mut self.outbox).into_iter().filter(|(_, bytes)| !bytes.is_empty());
        out.extend(boxes.map(|(link, bytes)| Command::Send { link, bytes }));
    }

    /// Puts a frame with the others of this turn for the link. One that breaks
    /// the bounds of the format is left out and counted.
    fn send(&mut self, link: LinkId, frame: &Frame<'_>) {
        if frame::try_encode(frame, self.outbox.entry(link).or_default()).is_err() {
            self.counters.refused += 1;
        }
    }

    /// Now plus this long, give or take a quarter, so that hubs do not keep step.
    fn after_about(&mut self, now: Mono, interval: Duration) -> Mono {
        let per_mille = 750 + self.random.below(500) as u32;
        now + interval * per_mille / 1000
    }

    fn find_deadline(&self) -> Option<Mono> {
        let timers = &self.options.timers;
        let links = self.links.values().flat_map(|link| {
            let transfer = (!link.transfers.is_empty()).then_some(link.transfer_next);
            [Some(link.health.deadline(timers)), transfer]
        });
        let hubs = Some(self.hubs_due).filter(|due| *due < Mono(u64::MAX));
        let paths = self.graph_changed.then_some(self.paths_next);
        let digest = (!self.links.is_empty()).then_some(self.next_digest);
        let told = self.local.due(timers.interest_batch);
        let own = [digest, self.own_record_deadline(), told, self.receipts_deadline(), self.flaps.next()];
        links.chain([hubs, paths]).chain(own).flatten().min()
    }
}
