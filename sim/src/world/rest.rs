//! What must hold when all is mended and the mesh has come to rest.

use std::collections::BTreeMap;

use weft_base::{Epoch, HubId, Way};
use weft_mesh::{Kind, Report};
use weft_topic::{InterestSet, Topic};
use weft_wire::frame::PROTOCOL_VERSION;

use super::{Check, Checked, Due, SimHub, World};
use crate::hub::FlowId;
use crate::plan::What;

impl World<'_> {
    pub(super) fn check_at_rest(&mut self) -> Checked {
        let hubs: Vec<SimHub> = self.slots.iter_mut().filter_map(|slot| slot.running.take()).collect();
        let lives: BTreeMap<HubId, Epoch> = hubs.iter().map(|hub| (hub.id, hub.epoch)).collect();
        let results = [
            self.checks.look_back(self.now),
            self.check_rest(),
            self.check_bounds(),
            self.check_identity(&hubs),
            self.check_interest(&hubs),
            self.check_routes(&hubs),
            self.check_ledgers(&hubs),
            self.check_streams(&hubs),
            self.checks.balance_flows(&lives, |flow| self.has_way(&hubs, flow), self.now),
        ];
        results.into_iter().try_for_each(|result| self.judge(result))
    }

    /// Whether events of a flow can reach its end, and its origin still sends on its way.
    fn has_way(&self, hubs: &[SimHub], flow: &FlowId) -> bool {
        let origin = hubs.iter().find(|hub| hub.id == flow.origin);
        if origin.is_some_and(|hub| flow.way.0 >= hub.ways(flow.residency).ways()) {
            return false;
        }
        let ends = [flow.origin, flow.destination].map(|hub| self.index_of.get(&hub));
        let [Some(from), Some(to)] = ends else { return true };
        !flow.residency.is_bound() || self.connected_within(*from, flow.residency).contains(to)
    }

    fn check_rest(&self) -> Checked {
        if self.checks.links_changed <= self.plan.healed + self.plan.rest() {
            return Ok(());
        }
        let detail = format!("links or paths still change at {}", crate::plan::Time(self.checks.links_changed));
        Err(self.violation(Check::Convergence, detail))
    }

    /// What this mesh is held to beyond what is always promised.
    fn check_bounds(&self) -> Checked {
        let expect = self.plan.expect;
        let slow = self.checks.latency.per_mille(990).zip(expect.latency_p99).filter(|(took, bound)| took > bound);
        if let Some((took, bound)) = slow {
            let detail = format!("of a hundred deliveries, one took {took:?} or longer: {bound:?} are allowed");
            return Err(self.violation(Check::Latency, detail));
        }
        let seconds = self.now.0.div_ceil(1_000_000_000).max(1);
        let talks = self.slots.iter().map(|slot| (slot.control / seconds, &slot.name)).max();
        if let (Some((rate, name)), Some(bound)) = (talks, expect.control)
            && rate > bound
        {
            let detail = format!("{name} sends {rate} bytes of control a second: {bound} are allowed");
            return Err(self.violation(Check::Control, detail));
        }
        Ok(())
    }

    fn check_identity(&self, hubs: &[SimHub]) -> Checked {
        // Of a hub with an old state, others know a later life, and refuse it.
        let has_old = self.plan.steps.iter().any(|(_, what)| matches!(what, What::OldState { .. }));
        for hub in hubs {
            let counters = hub.mesh.counters();
            let refused = if has_old { 0 } else { counters.links_refused };
            if hubs.len() != self.plan.hubs.len() || counters.conflicts + counters.refused + refused > 0 {
                let detail = format!("{} of {} hubs run; {}: {counters:?}", hubs.len(), self.plan.hubs.len(), hub.id);
                return Err(self.violation(Check::Identity, detail));
            }
        }
        Ok(())
    }

    fn check_interest(&self, hubs: &[SimHub]) -> Checked {
        for whose in hubs {
            let mut told: [InterestSet<u8>; 2] = [InterestSet::new(), InterestSet::new()];
            for (kind, filter) in whose.mesh.interest_of(whose.id) {
                told[kind as usize].insert(filter, 0);
            }
            for topic in some_topics() {
                let Ok(topic) = Topic::parse(&topic) else { continue };
                for kind in [Kind::Live, Kind::Stream] {
                    if told[kind as usize].matches_any(topic) != whose.wants(topic, kind) {
                        let detail = format!("{} does not tell the mesh what it wants of {topic:?}", whose.id);
                        return Err(self.violation(Check::Interest, detail));
                    }
                }
            }
            for who in hubs {
                let (known, own) = (who.mesh.interest_of(whose.id), whose.mesh.interest_of(whose.id));
                let (known, own): (Vec<_>, Vec<_>) = (known.collect(), own.collect());
                if known != own {
                    let detail = format!("{} knows {known:?} of {}, which is {own:?}", who.id, whose.id);
                    return Err(self.violation(Check::Interest, detail));
                }
                let (known, own) = (who.mesh.groups_of(whose.id), whose.mesh.groups_of(whose.id));
                let (known, own): (Vec<_>, Vec<_>) = (known.collect(), own.collect());
                if known != own {
                    let detail = format!("{} knows the groups {known:?} of {}: {own:?}", who.id, whose.id);
                    return Err(self.violation(Check::Interest, detail));
                }
            }
        }
        Ok(())
    }

    fn check_routes(&self, hubs: &[SimHub]) -> Checked {
        let all: Vec<&SimHub> = hubs.iter().collect();
        let is_mixed = self.plan.hubs.iter().any(|hub| hub.version < PROTOCOL_VERSION);
        for from in hubs {
            let cheapest = all_costs(&from.mesh.report(), is_mixed);
            for to in hubs.iter().filter(|to| to.id != from.id) {
                for way in (0..from.routes.ways()).map(Way) {
                    let walked = self.walk(&all, from, to.id, way);
                    let path = from.routes.path_on(to.id, way);
                    if walked.is_none() || walked != path.map(|path| path.hops) {
                        let detail = format!("from {} to {} by {way}: {path:?}, walked {walked:?}", from.id, to.id);
                        return Err(self.violation(Check::Routes, detail));
                    }
                    let most = from.routes.path(to.id).map_or(0, |path| path.cost * 125);
                    if path.is_some_and(|path| path.cost * 100 > most) {
                        let detail = format!("from {} to {} way {way} is dear: {path:?}", from.id, to.id);
                        return Err(self.violation(Check::Routes, detail));
                    }
                }
                let cost = from.routes.path(to.id).map(|path| path.cost);
                let least = cheapest.get(&(from.id, to.id)).copied();
                if cost != least {
                    let detail = format!("from {} to {} costs {cost:?}, but could {least:?}", from.id, to.id);
                    return Err(self.violation(Check::Routes, detail));
                }
            }
        }
        Ok(())
    }

    /// Follows each hub's own next hop of a way; answers how many links that took.
    pub(super) fn walk(&self, hubs: &[&SimHub], from: &SimHub, to: HubId, by: Way) -> Option<u8> {
        self.way(hubs, from, to, by).map(|way| way.len() as u8)
    }

    /// The hubs that each hub's own next hop of a way leads to, the last one among them.
    pub(super) fn way(&self, hubs: &[&SimHub], from: &SimHub, to: HubId, by: Way) -> Option<Vec<HubId>> {
        let (mut here, mut way) = (from, Vec::new());
        for _ in 0..=hubs.len() {
            if here.id == to {
                return Some(way);
            }
            let session = self.sessions.get(here.routes.next_hop_on(to, by)?.0 as usize)?;
            let ends = self.links[session.link].ends.map(|hub| HubId::of_name(&self.slots[hub].name));
            let next = if ends[0] == here.id { ends[1] } else { ends[0] };
            let works = session.is_open == [true; 2] && self.links[session.link].works();
            here = hubs.iter().find(|hub| hub.id == next && works)?;
            way.push(next);
        }
        None
    }

    fn check_ledgers(&mut self, hubs: &[SimHub]) -> Checked {
        for hub in hubs {
            self.note_counts(hub);
            let mut ledger = hub.ledger;
            ledger.in_flight = hub.held();
            ledger.balance().map_err(|e| self.violation(Check::Ledger, format!("{}: {e}", hub.id)))?;
        }
        let on_links = self.queue.values().map(|due| match due {
            Due::Arrive { message, .. } => message.live_copies(),
            _ => 0,
        });
        let on_links: u64 = on_links.sum();
        let checks = &self.checks;
        let is_even = checks.sent == checks.received + checks.lost + on_links
            && checks.forwarded_by_hubs == checks.sent + checks.synced
            && checks.received_by_hubs == checks.received;
        if is_even {
            return Ok(());
        }
        let detail = format!(
            "{} sent, {} received, {} lost, {on_links} on links; hubs count {} forwarded, {} of them synced, and {} received",
            checks.sent, checks.received, checks.lost, checks.forwarded_by_hubs, checks.synced, checks.received_by_hubs
        );
        Err(self.violation(Check::LinkBalance, detail))
    }

    fn check_streams(&mut self, hubs: &[SimHub]) -> Checked {
        for (number, producer) in self.producers.iter().enumerate() {
            for home in hubs.iter().filter(|hub| producer.homes.contains(&hub.id)) {
                let stored = home.log.blocks.iter().filter(|stored| stored.producer == number);
                let stored: Vec<u64> = stored.map(|stored| stored.sequence).collect();
                if !stored.iter().copied().eq(1..=producer.produced) {
                    let good = stored.iter().zip(1..).take_while(|(stored, expected)| *stored == expected).count();
                    let then: Vec<u64> = stored.iter().skip(good).take(8).copied().collect();
                    let detail = format!(
                        "{} has blocks 1 to {good}, and then {then:?}, of the {} of producer {number}",
                        home.id, producer.produced
                    );
                    return Err(self.violation(Check::Stored, detail));
                }
                self.checks.tally.stored += producer.produced;
            }
            if producer.unfinished() > 0 {
                let detail = format!("producer {number} waits for {} acknowledgements", producer.unfinished());
                return Err(self.violation(Check::Stored, detail));
            }
        }
        Ok(())
    }
}

/// All topics that plans publish to.
fn some_topics() -> Vec<String> {
    let mut topics =
        vec!["last/0".to_owned(), "s/0/x".to_owned(), "s/1/x".to_owned(), "s/2/x".to_owned(), "z".to_owned()];
    for a in ["a", "b", "c"] {
        topics.push(a.to_owned());
        for b in ["a", "b", "c"] {
            topics.push(format!("{a}/{b}"));
            topics.extend(["a", "b", "c"].map(|c| format!("{a}/{b}/{c}")));
        }
    }
    topics
}

/// What the cheapest ways cost, by another method than the decider's (Floyd and
/// Warshall, 1962).
///
/// A mesh in which some hub speaks the version before reckons as that did: each
/// direction by the word of its own end, without loss and price.
fn all_costs(report: &Report, is_mixed: bool) -> BTreeMap<(HubId, HubId), u64> {
    let mut costs = BTreeMap::new();
    for link in report.links.iter().filter(|link| link.up) {
        // By the weights that a hub has when it was given none; the larger word counts.
        let own =
            u64::from(link.cost) + link.rtt.as_micros() as u64 + u64::from(link.loss) + 1_000 * u64::from(link.price);
        if is_mixed {
            let own = u64::from(link.cost) + link.rtt.as_micros() as u64;
            costs.insert((link.from, link.to), own.max(1));
            continue;
        }
        for way in [(link.from, link.to), (link.to, link.from)] {
            let cost = costs.entry(way).or_insert(1);
            *cost = own.max(*cost);
        }
    }
    let ids: Vec<HubId> = report.hubs.iter().map(|hub| hub.id).collect();
    for via in &ids {
        for from in &ids {
            for to in ids.iter().filter(|to| *to != from) {
                let (Some(first), Some(second)) = (costs.get(&(*from, *via)), costs.get(&(*via, *to))) else {
                    continue;
                };
                let cost = first + second;
                let known = costs.entry((*from, *to)).or_insert(cost);
                *known = cost.min(*known);
            }
        }
    }
    costs
}
