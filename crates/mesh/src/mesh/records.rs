//! Link state: records of hubs, what follows from them, and what is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use weft_base::{Epoch, HubId, Mono};
use weft_wire::frame::{
    Attributes, Frame, LinkState, LinkStateLink, LinkStateRecord, Record, attribute, push_attribute, try_encode,
};

use super::interest::{HubInterest, Wanted};
use super::life::suspects;
use super::receipts::Asked;
use super::{Command, Mesh};
use crate::costs::{self, Said, Weights};
use crate::link::{Link, has_shifted};
use crate::options::Timers;
use crate::routes::{KnownHub, Path, Routes};
use crate::spf::{Graph, Shortest};
use crate::spread::{Spread, Spreading};
use crate::{CloseReason, LinkId};

/// Another hub, as far as it is known.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) name: String,
    pub(super) region: String,
    /// The newest life that was heard of.
    pub(super) epoch: Epoch,
    pub(super) version: u64,
    pub(super) links: Vec<LinkStateLink>,
    /// The attributes of the record, as they came; none of one that came without.
    pub(super) attributes: Option<Box<[u8]>>,
    /// Links of this version of the record, which came without attributes, that have
    /// brought it so or were asked for them.
    pub(super) bare_at: BTreeSet<LinkId>,
    /// Since when newer records come without attributes, which are not believed.
    doubted: Option<Mono>,
    /// When the record was renewed. One too old no longer counts.
    pub(super) renewed: Mono,
    pub(super) is_expired: bool,
    /// The way there, if there is one.
    pub(super) path: Option<Path>,
    /// Since when there is none.
    pub(super) lost: Mono,
    /// The life that was announced with `HubUp` and not taken back.
    announced: Option<Epoch>,
    pub(super) slot: u16,
    pub(super) interest: HubInterest,
    pub(super) wanted: Option<Wanted>,
    /// What it asked last of its interest here.
    pub(super) asked: Option<Asked>,
    /// The first round of receipts whose answer counts: it came after the way there.
    pub(super) counts_from: u64,
}

impl Hub {
    /// What depends on a link that has ended.
    pub(super) fn forget_link(&mut self, link: LinkId) {
        self.wanted.take_if(|wanted| wanted.link == link);
        self.bare_at.remove(&link);
    }

    /// Whether what counts of it came without attributes.
    pub(super) fn is_bare(&self) -> bool {
        !self.is_expired && self.attributes.is_none()
    }

    /// The value of an attribute of the record.
    pub(super) fn attribute(&self, tag: u16) -> Option<&[u8]> {
        value_of(self.attributes.as_deref(), tag)
    }

    pub(super) fn deadline(&self, timers: &Timers) -> Option<Mono> {
        match (&self.path, self.is_expired) {
            (None, _) => Some(self.lost + timers.interest_retention),
            (Some(_), false) => Some(self.renewed + timers.record_age),
            (Some(_), true) => None,
        }
    }
}

/// What this hub says of itself.
#[derive(Debug)]
pub(super) struct OwnRecord {
    /// From 1, for a hub without links, so that there is a record from the start.
    pub(super) version: u64,
    pub(super) links: Vec<LinkStateLink>,
    /// By tag, and as they go into the record.
    attributes: BTreeMap<u16, Vec<u8>>,
    pub(super) encoded: Vec<u8>,
    /// Loss and price of links, as they were told.
    metrics: BTreeMap<HubId, (u32, u32)>,
    /// An attribute is another than the record that was told last has.
    has_changed: bool,
    made: Mono,
    /// A round trip has changed and is to be told when this time has come.
    shifted: Option<Mono>,
    /// Times that links were looked through for it.
    #[cfg(test)]
    pub(super) looked: u64,
}

impl Default for OwnRecord {
    fn default() -> Self {
        Self {
            version: 1,
            links: Vec::new(),
            attributes: BTreeMap::new(),
            encoded: Vec::new(),
            metrics: BTreeMap::new(),
            has_changed: false,
            made: Mono(0),
            shifted: None,
            #[cfg(test)]
            looked: 0,
        }
    }
}

impl OwnRecord {
    /// The value of an attribute.
    pub(super) fn attribute(&self, tag: u16) -> Option<&[u8]> {
        self.attributes.get(&tag).map(Vec::as_slice)
    }
}

/// The version from which on a link carries records with attributes.
pub(super) const WITH_ATTRIBUTES: u16 = 2;

/// The attributes that ways are found by.
const OF_WAYS: [u16; 5] =
    [attribute::LABELS, attribute::METRICS, attribute::FLAGS, attribute::PARALLEL, attribute::TAKES];

fn value_of(attributes: Option<&[u8]>, tag: u16) -> Option<&[u8]> {
    Attributes::parse(attributes?).ok()?.get(tag)
}

impl Mesh {
    /// A record has come by a link.
    pub(super) fn on_record(
        &mut self,
        link: LinkId,
        record: &LinkStateRecord<'_>,
        attributes: Option<Attributes<'_>>,
        now: Mono,
        out: &mut Vec<Command>,
    ) {
        if record.hub == self.me.id {
            // Of an earlier life: this life's record overtakes it by its epoch.
            // Of a later life: somebody else has this hub's name.
            self.counters.conflicts += u64::from(record.epoch > self.me.epoch);
            return;
        }
        if let Some(known) = self.hubs.get_mut(&record.hub) {
            if known.name != record.name {
                self.counters.conflicts += 1;
                let is_neighbour = self.links.get(&link).is_some_and(|l| l.hub == record.hub);
                if is_neighbour {
                    let reason = CloseReason::TwoNames { known: known.name.clone(), heard: record.name.to_owned() };
                    self.close(link, reason, out);
                }
                return;
            }
            let has = (known.epoch, known.version, known.attributes.is_some());
            let said = (record.epoch, record.version, attributes.is_some());
            if said == has && attributes.is_none() {
                known.bare_at.insert(link);
            }
            if said <= has {
                return;
            }
            let loses = known.epoch == record.epoch && known.attributes.is_some() && attributes.is_none();
            if loses && !known.is_expired && !self.may_be_bare(link, record.hub) {
                self.doubt(record.hub, now);
                return;
            }
        }
        // A hub has no more neighbours than the mesh has hubs.
        if record.links.len() > crate::MAX_HUBS || !(self.hubs.contains_key(&record.hub) || self.make_room()) {
            self.counters.refused += 1;
            return;
        }
        self.take_record(record, attributes.map(|attributes| attributes.bytes().into()), now);
        if let Some(bare) = self.hubs.get_mut(&record.hub).filter(|hub| hub.is_bare()) {
            bare.bare_at.insert(link);
        }
        self.learn_addresses(record.hub);
        self.close_older_links(record.hub, record.epoch, out);
        self.flood_record(record.hub, Some(link));
    }

    /// Whether a record that had attributes may come without them: only a hub of
    /// version 1 on its way takes them off, the neighbour or one behind it.
    fn may_be_bare(&self, link: LinkId, of: HubId) -> bool {
        let is_bare = |(id, hub): (&HubId, &Hub)| *id != of && hub.is_bare();
        self.links.get(&link).is_some_and(|link| link.version < WITH_ATTRIBUTES) || self.hubs.iter().any(is_bare)
    }

    /// A record has come without the attributes that were there before, and nobody
    /// is known who takes them off. It may have been faster than that hub's own
    /// record, and digests bring it again: only what stays so is refused.
    fn doubt(&mut self, id: HubId, now: Mono) {
        let patience = self.options.timers.digest * 2;
        let Some(hub) = self.hubs.get_mut(&id) else { return };
        let since = *hub.doubted.get_or_insert(now);
        self.counters.refused += u64::from(now >= since + patience);
    }

    fn take_record(&mut self, record: &LinkStateRecord<'_>, attributes: Option<Box<[u8]>>, now: Mono) {
        if !self.hubs.contains_key(&record.hub) {
            let Some(slot) = self.free_slots.pop_first() else { return };
            let hub = Hub {
                name: record.name.to_owned(),
                region: String::new(),
                epoch: record.epoch,
                version: 0,
                links: Vec::new(),
                attributes: None,
                bare_at: BTreeSet::new(),
                doubted: None,
                renewed: now,
                is_expired: false,
                path: None,
                lost: now,
                announced: None,
                slot,
                interest: HubInterest::default(),
                wanted: None,
                asked: None,
                counts_from: 0,
            };
            self.hubs.insert(record.hub, hub);
            self.hubs_changed = true;
            self.hubs_due = self.hubs_due.min(now + self.options.timers.interest_retention);
        }
        let Some(hub) = self.hubs.get_mut(&record.hub) else { return };
        if record.epoch != hub.epoch {
            hub.wanted = None;
            self.hubs_changed = true;
            drop_incoming(&mut self.links, record.hub);
        }
        let is_other = |tag: &u16| value_of(hub.attributes.as_deref(), *tag) != value_of(attributes.as_deref(), *tag);
        self.graph_changed |= hub.is_expired
            || hub.epoch != record.epoch
            || hub.links != record.links
            // Whether all have attributes decides how links are reckoned.
            || hub.attributes.is_some() != attributes.is_some()
            || (hub.attributes != attributes && OF_WAYS.iter().any(is_other));
        self.hubs_changed |= is_other(&attribute::FLAGS);
        self.links_changed |= suspects(&hub.links, self.me.id) != suspects(&record.links, self.me.id);
        record.region.clone_into(&mut hub.region);
        hub.epoch = record.epoch;
        hub.version = record.version;
        hub.links.clone_from(&record.links);
        hub.attributes = attributes;
        hub.bare_at.clear();
        hub.doubted = None;
        hub.renewed = now;
        hub.is_expired = false;
    }

    /// Passes a frame on to every link but the one that it came by.
    pub(super) fn flood(&mut self, frame: &Frame<'_>, came_by: Option<LinkId>) {
        self.flood_since(0, frame, came_by);
    }

    /// Likewise, to neighbours that speak this version of the protocol.
    pub(super) fn flood_since(&mut self, version: u16, frame: &Frame<'_>, came_by: Option<LinkId>) {
        let links = self.links.iter().filter(|(id, link)| Some(**id) != came_by && link.version >= version);
        let links: Vec<LinkId> = links.map(|(id, _)| *id).collect();
        links.into_iter().for_each(|id| self.send(id, frame));
    }

    /// What is known of a hub goes to every link but the one that it came by.
    fn flood_record(&mut self, id: HubId, came_by: Option<LinkId>) {
        let links: Vec<LinkId> = self.links.keys().copied().filter(|link| Some(*link) != came_by).collect();
        self.send_record(&links, id, None);
    }

    /// Sends the record of a hub, if it is newer than the version that is there:
    /// with its attributes where the link carries them and they are known.
    pub(super) fn send_record(&mut self, links: &[LinkId], id: HubId, newer_than: Option<u64>) {
        let (epoch, version, name, region, links_of, attributes) = if id == self.me.id {
            let OwnRecord { version, links, encoded, .. } = &self.record;
            (self.me.epoch, *version, &self.me.name, &self.me.region, links, Some(encoded.as_slice()))
        } else if let Some(hub) = self.hubs.get(&id) {
            (hub.epoch, hub.version, &hub.name, &hub.region, &hub.links, hub.attributes.as_deref())
        } else {
            return;
        };
        if newer_than.is_some_and(|known| version <= known) {
            return;
        }
        let record = LinkStateRecord { hub: id, epoch, version, name, region, links: links_of.clone() };
        let attributes = attributes.and_then(|bytes| Attributes::parse(bytes).ok());
        let bare = Frame::LinkState(LinkState { record: record.clone() });
        let whole = attributes.map(|attributes| Frame::Record(Record { record, attributes }));
        for link in links {
            let carries = self.links.get(link).is_some_and(|link| link.version >= WITH_ATTRIBUTES);
            let frame = whole.as_ref().filter(|_| carries).unwrap_or(&bare);
            if try_encode(frame, self.outbox.entry(*link).or_default()).is_err() {
                self.counters.refused += 1;
            }
        }
    }

    /// Says something with this hub's record from now on; none takes it back.
    /// What is more than fits with the others is left out and counted.
    pub(super) fn set_attribute(&mut self, tag: u16, value: Option<Vec<u8>>) {
        let record = &mut self.record;
        if record.attributes.get(&tag) == value.as_ref() {
            return;
        }
        match value {
            Some(value) => record.attributes.insert(tag, value),
            None => record.attributes.remove(&tag),
        };
        record.encoded.clear();
        for (tag, value) in &record.attributes {
            self.counters.refused += u64::from(!push_attribute(&mut record.encoded, *tag, value));
        }
        record.has_changed = true;
        self.links_changed = true;
        self.graph_changed |= OF_WAYS.contains(&tag);
    }

    /// The links that this hub uses: of each neighbour, the first that works.
    pub(super) fn links_in_use(&self) -> BTreeMap<HubId, LinkId> {
        let mut in_use = BTreeMap::new();
        // One that is trusted before one that is suspected.
        for suspect in [false, true] {
            let these = self.links.iter().filter(|(_, link)| link.works() && link.health.is_suspect() == suspect);
            for (id, link) in these {
                in_use.entry(link.hub).or_insert(*id);
            }
        }
        in_use
    }

    /// What this hub's record says of the link to a neighbour.
    fn told(&self, peer: HubId) -> Option<&LinkStateLink> {
        // In the order of neighbours, as they are put in.
        let at = self.record.links.binary_search_by_key(&peer, |link| link.peer).ok()?;
        self.record.links.get(at)
    }

    /// Whether what was measured of a link, or what it costs, differs so much from
    /// what this hub's record says that it is to be told. Where it is told later in any case, no.
    pub(super) fn is_news(&self, link: &Link) -> bool {
        let Some(told) = self.told(link.hub) else { return true };
        let loss = self.record.metrics.get(&link.hub).map_or(0, |(loss, _)| *loss);
        let shifted = link.rtt_us().is_some_and(|rtt| has_shifted(told.rtt_us, rtt))
            || costs::has_shifted(loss, link.loss.millionths());
        shifted && self.record.shifted.is_none() || told.cost != self.told_cost(link)
    }

    /// Makes and floods a new record when a link came, went or changed its cost;
    /// when only round trips changed, not too often; and from time to time.
    pub(super) fn tend_own_record(&mut self, now: Mono) {
        let is_due = self.own_record_deadline().is_some_and(|at| at <= now);
        if !std::mem::take(&mut self.links_changed) && !is_due {
            return;
        }
        #[cfg(test)]
        {
            self.record.looked += 1;
        }
        let timers = self.options.timers;
        let may_shift = now >= self.record.made + timers.rtt_hold;
        let mut shifted = false;
        let mut links = Vec::new();
        let mut metrics = BTreeMap::new();
        for (peer, id) in self.links_in_use() {
            let Some((link, measured)) = self.links.get(&id).and_then(|l| l.rtt_us().map(|rtt| (l, rtt))) else {
                continue;
            };
            let told = self.told(peer).map(|told| told.rtt_us);
            let rtt_us = match told {
                Some(told) if !has_shifted(told, measured) => told,
                Some(told) if !may_shift => {
                    shifted = true;
                    told
                }
                _ => measured,
            };
            let (loss, price) = (link.loss.millionths(), link.price);
            let told = self.record.metrics.get(&peer).map(|(loss, _)| *loss);
            let loss = match told {
                Some(told) if !costs::has_shifted(told, loss) => told,
                Some(told) if !may_shift => {
                    shifted = true;
                    told
                }
                // Of a link that is new nothing is known but that its first probe was answered.
                None => 0,
                _ => loss,
            };
            metrics.insert(peer, (loss, price));
            links.push(LinkStateLink { peer, rtt_us, cost: self.told_cost(link) });
        }
        self.record.metrics = metrics;
        self.set_attribute(attribute::METRICS, costs::encode(&self.record.metrics));
        self.record.shifted = shifted.then(|| self.record.made + timers.rtt_hold);
        let is_changed = links != self.record.links;
        let has_changed = std::mem::take(&mut self.record.has_changed);
        let is_stale = !self.links.is_empty() && now >= self.record.made + timers.refresh;
        if is_changed || has_changed || is_stale {
            self.record.links = links;
            self.record.version += 1;
            self.record.made = now;
            self.graph_changed |= is_changed;
            self.flood_record(self.me.id, None);
        }
        // A link that takes over from another to the same neighbour changes no record.
        let in_use = self.links_in_use();
        let is_other = |path: Path| in_use.get(&path.via) != Some(&path.link);
        self.graph_changed |= self.hubs.values().any(|hub| hub.path.is_some_and(is_other));
    }

    pub(super) fn own_record_deadline(&self) -> Option<Mono> {
        let refresh = (!self.links.is_empty()).then(|| self.record.made + self.options.timers.refresh);
        refresh.into_iter().chain(self.record.shifted).min()
    }

    /// Finds the ways anew when the graph has changed, and forgets what is too old.
    pub(super) fn tend_hubs(&mut self, now: Mono, out: &mut Vec<Command>) {
        let timers = self.options.timers;
        let is_due = now >= self.hubs_due;
        if is_due {
            let old = |hub: &&mut Hub| !hub.is_expired && now >= hub.renewed + timers.record_age;
            for hub in self.hubs.values_mut().filter(old) {
                hub.is_expired = true;
                self.graph_changed = true;
            }
        }
        let finds = self.graph_changed && now >= self.paths_next;
        if finds {
            self.graph_changed = false;
            self.paths_next = now + paths_hold(self.hubs.len());
            self.find_paths(now, out);
        }
        if !is_due && !finds {
            return;
        }
        let gone = |hub: &Hub| hub.path.is_none() && now >= hub.lost + timers.interest_retention;
        let forgotten: Vec<HubId> = self.hubs.iter().filter(|(_, hub)| gone(hub)).map(|(id, _)| *id).collect();
        forgotten.into_iter().for_each(|id| self.forget_hub(id));
        // Renewed records put it off: it is looked at too early then, never too late.
        self.hubs_due = self.hubs.values().filter_map(|hub| hub.deadline(&timers)).min().unwrap_or(Mono(u64::MAX));
    }

    fn find_paths(&mut self, now: Mono, out: &mut Vec<Command>) {
        let (graph, spreading) = self.graph();
        let shortest = graph.shortest(self.me.id);
        let in_use = self.links_in_use();
        for (id, hub) in &mut self.hubs {
            let path = shortest.get(id).and_then(|path| path_of(path, &in_use));
            if path.is_none() && hub.path.is_some() {
                hub.lost = now;
                hub.counts_from = self.receipts.lost(*id);
            }
            self.hubs_changed |= path != hub.path;
            hub.path = path;
            let present = hub.path.is_some().then_some(hub.epoch);
            if present != hub.announced {
                if let Some(epoch) = hub.announced {
                    out.push(Command::HubDown(*id));
                    Self::drop_gates(&mut self.gates, *id, epoch, out);
                }
                out.extend(present.map(|epoch| Command::HubUp { hub: *id, epoch }));
                hub.announced = present;
            }
        }
        let spread = Spread::find(&graph, self.me.id, |_| true, &in_use, spreading);
        self.hubs_changed |= spread != self.spread;
        self.spread = spread;
        self.hubs_changed |= self.find_bound(&graph, &in_use, spreading);
        let ground = self.ground_of(graph, &in_use, |_| true);
        if *self.ground != ground {
            self.ground = Arc::new(ground);
            self.hubs_changed = true;
        }
        self.receipts_see_paths(now);
    }

    /// The mesh as its hubs report it, and how blocks are spread in it. While one
    /// that is linked with this one, by whatever way, reports as version 1 does, all
    /// of those reckon as it does, which knows of one way, or they would find
    /// different ways. Which links there are depends on no weights.
    pub(super) fn graph(&self) -> (Graph, Spreading) {
        let graph = self.graph_by(Some(&self.options.weights));
        let is_bare = |id: &HubId| self.hubs.get(id).is_some_and(|hub| hub.attributes.is_none());
        if graph.reached(self.me.id).iter().any(is_bare) {
            return (self.graph_by(None), Spreading::NONE);
        }
        (graph, self.options.spreading)
    }

    fn graph_by(&self, weights: Option<&Weights>) -> Graph {
        let others = self.hubs.iter().filter(|(_, hub)| !hub.is_expired);
        let own = (self.me.id, &self.record.links, self.record.attribute(attribute::METRICS));
        let others = others.map(|(id, hub)| (*id, &hub.links, hub.attribute(attribute::METRICS)));
        let reports = std::iter::once(own).chain(others).flat_map(|(from, links, metrics)| {
            let metrics = metrics.map(costs::decode).unwrap_or_default();
            links.iter().map(move |link| {
                let (loss, price) = metrics.get(&link.peer).copied().unwrap_or_default();
                (from, link.peer, Said { cost: link.cost, rtt_us: link.rtt_us, loss, price })
            })
        });
        Graph::of_reports(reports, weights)
    }

    /// Makes sure that one more hub fits; forgets one that is out of reach, if it must.
    pub(super) fn make_room(&mut self) -> bool {
        if self.free_slots.is_empty() {
            let lost = self.hubs.iter().filter(|(_, hub)| hub.path.is_none());
            let Some(oldest) = lost.min_by_key(|(_, hub)| hub.lost).map(|(id, _)| *id) else { return false };
            self.forget_hub(oldest);
        }
        true
    }

    /// Whether one more hub can be known, in the place of one out of reach if need be.
    pub(super) fn has_room(&self) -> bool {
        !self.free_slots.is_empty() || self.hubs.values().any(|hub| hub.path.is_none())
    }

    /// Of a hub without a way, which no way leads over: the graph is as it was.
    fn forget_hub(&mut self, id: HubId) {
        let Some(hub) = self.hubs.remove(&id) else { return };
        for item in hub.interest.set.iter() {
            self.interest.remove(hub.slot, item);
        }
        self.free_slots.insert(hub.slot);
        for link in self.links.values_mut() {
            link.transfers.remove(&id);
        }
        drop_incoming(&mut self.links, id);
        self.receipts.forget(id);
        self.counters.hubs_forgotten += 1;
        self.hubs_changed = true;
    }

    pub(super) fn make_routes(&self) -> Routes {
        let hubs = self.hubs.iter();
        let hubs = hubs.map(|(id, hub)| {
            let (id, shared) = (*id, self.shared_with(*id));
            let (epoch, slot, path, is_draining) = (hub.epoch, hub.slot, hub.path, hub.is_draining());
            KnownHub { hub: id, epoch, slot, path, is_draining, shared, outside: false, elsewhere: false }
        });
        let routes = Routes::new(self.me.id, self.interest.clone(), hubs.collect());
        let routes = routes.spread_over(&self.spread).over(self.ground.clone()).with_bound(self.bound_routes());
        Routes { drains: self.is_draining, learned: self.learning.learned(), ..routes }
    }
}

/// How long the ways are kept before they are found anew: in a large mesh a
/// change comes as many records, and each finding costs as much as it has links.
fn paths_hold(hubs: usize) -> Duration {
    if hubs < 64 { Duration::ZERO } else { Duration::from_micros(20) * u32::try_from(hubs).unwrap_or(u32::MAX) }
}

/// What still comes in of this hub's interest is of no use any more.
fn drop_incoming(links: &mut BTreeMap<LinkId, Link>, id: HubId) {
    links.values_mut().filter_map(|link| link.incoming.get_mut(&id)).for_each(|incoming| incoming.changes = None);
}

pub(super) fn path_of(path: &Shortest, in_use: &BTreeMap<HubId, LinkId>) -> Option<Path> {
    let via = *path.hubs.first()?;
    Some(Path {
        link: *in_use.get(&via)?,
        via,
        hops: u8::try_from(path.hubs.len()).unwrap_or(u8::MAX),
        cost: path.cost,
        rtt: Duration::from_micros(path.rtt_us),
    })
}
