//! What a load makes hubs and links of a mesh carry: each event goes once over each
//! link that leads to a hub that wants it, by the decider's own ways.

use std::collections::{BTreeMap, BTreeSet};

use weft_base::HubId;

use super::PlanMesh;

/// Events that enter at one hub and go to others.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// Where they enter.
    pub from: HubId,
    /// Where they go, with how many copies are made of each there: subscribers, and
    /// streams. The hub where they enter may be among them.
    pub to: BTreeMap<HubId, f64>,
    /// Events a second.
    pub rate: f64,
    /// Bytes of one, as it crosses a link.
    pub bytes: f64,
}

/// What a hub has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Passing {
    /// Events a second that come, from clients and over links.
    pub incoming: f64,
    /// Copies a second that leave: to subscribers and streams, and over links.
    pub outgoing: f64,
}

/// What a link has to carry, in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Events a second.
    pub events: f64,
    /// Bytes a second.
    pub bytes: f64,
}

/// What all of it comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Carried {
    /// Of each hub that has anything to do.
    pub hubs: BTreeMap<HubId, Passing>,
    /// Of each link that carries anything, from its first end to its second.
    pub links: BTreeMap<(HubId, HubId), Traffic>,
    /// Events a second that cannot get from one hub to another.
    pub lost: BTreeMap<(HubId, HubId), f64>,
}

impl PlanMesh {
    /// This mesh without a hub.
    #[must_use]
    pub fn without(&self, hub: HubId) -> Self {
        let mut left = self.clone();
        left.hubs.remove(&hub);
        left.links.retain(|(from, to), _| *from != hub && *to != hub);
        left
    }

    /// The hub to which it costs least to get from this one: where its clients go
    /// when it is gone. None when it has no link.
    #[must_use]
    pub fn nearest(&self, hub: HubId) -> Option<HubId> {
        let ways = self.ways().remove(&hub)?;
        let others = ways.into_iter().filter(|(to, _)| *to != hub);
        others.min_by_key(|(to, way)| (way.cost, way.hubs.len(), *to)).map(|(to, _)| to)
    }

    /// What these flows make its hubs and links carry. What enters at a hub that is
    /// not there is nobody's; what goes to one that is not within reach is lost.
    #[must_use]
    pub fn carry(&self, flows: &[Flow]) -> Carried {
        let ways = self.ways();
        let mut carried = Carried::default();
        for flow in flows.iter().filter(|flow| self.hubs.contains_key(&flow.from)) {
            carried.hubs.entry(flow.from).or_default().incoming += flow.rate;
            // Each link once, however many hubs are behind it.
            let mut crossed = BTreeSet::new();
            for (to, copies) in &flow.to {
                if *to != flow.from {
                    let Some(way) = ways.get(&flow.from).and_then(|ways| ways.get(to)) else {
                        *carried.lost.entry((flow.from, *to)).or_default() += flow.rate;
                        continue;
                    };
                    let mut last = flow.from;
                    for hub in &way.hubs {
                        crossed.insert((last, *hub));
                        last = *hub;
                    }
                }
                carried.hubs.entry(*to).or_default().outgoing += flow.rate * copies;
            }
            for (from, to) in crossed {
                carried.hubs.entry(from).or_default().outgoing += flow.rate;
                carried.hubs.entry(to).or_default().incoming += flow.rate;
                let link = carried.links.entry((from, to)).or_default();
                link.events += flow.rate;
                link.bytes += flow.rate * flow.bytes;
            }
        }
        carried
    }
}

impl Flow {
    /// The same after the clients of one hub have gone to another.
    #[must_use]
    pub fn moved(&self, gone: HubId, there: HubId) -> Self {
        let mut flow = self.clone();
        if flow.from == gone {
            flow.from = there;
        }
        if let Some(copies) = flow.to.remove(&gone) {
            *flow.to.entry(there).or_default() += copies;
        }
        flow
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Weights;
    use crate::plan::{PlanHub, PlanLink};

    fn mesh(hubs: u64, links: &[(u64, u64, u32)]) -> PlanMesh {
        let ends = links.iter().flat_map(|&(a, b, cost)| {
            let link = PlanLink { cost, rtt_us: 1_000, ..PlanLink::default() };
            [((HubId(a), HubId(b)), link), ((HubId(b), HubId(a)), link)]
        });
        PlanMesh::new(Weights::default(), (0..hubs).map(|hub| (HubId(hub), PlanHub::default())), ends)
    }

    fn flow(from: u64, to: &[u64], rate: f64) -> Flow {
        Flow { from: HubId(from), to: to.iter().map(|hub| (HubId(*hub), 1.0)).collect(), rate, bytes: 100.0 }
    }

    #[test]
    fn a_link_carries_an_event_once_for_all_behind_it() {
        let line = mesh(4, &[(0, 1, 0), (1, 2, 0), (2, 3, 0)]);
        let carried = line.carry(&[flow(0, &[0, 2, 3], 10.0)]);
        let link = |a, b| carried.links.get(&(HubId(a), HubId(b))).map(|traffic| (traffic.events, traffic.bytes));
        assert_eq!((link(0, 1), link(1, 2), link(2, 3)), (Some((10.0, 1e3)), Some((10.0, 1e3)), Some((10.0, 1e3))));
        assert_eq!(link(1, 0), None);
        let hub = |n| carried.hubs.get(&HubId(n)).map(|hub| (hub.incoming, hub.outgoing));
        // To a subscriber and over the link; through; to one and on; to the last.
        assert_eq!((hub(0), hub(1)), (Some((10.0, 20.0)), Some((10.0, 10.0))));
        assert_eq!((hub(2), hub(3)), (Some((10.0, 20.0)), Some((10.0, 10.0))));
        assert!(carried.lost.is_empty());
    }

    #[test]
    fn without_a_hub_what_went_through_it_goes_another_way_or_is_lost() {
        let ring = mesh(4, &[(0, 1, 0), (1, 2, 0), (2, 3, 500), (3, 0, 500)]);
        let flows = [flow(0, &[2], 10.0), flow(1, &[3], 1.0)];
        assert!(ring.carry(&flows).links.contains_key(&(HubId(0), HubId(1))));
        let left = ring.without(HubId(1));
        let carried = left.carry(&flows);
        let links: Vec<(u64, u64)> = carried.links.keys().map(|(a, b)| (a.0, b.0)).collect();
        assert_eq!(links, [(0, 3), (3, 2)], "the other way round; what entered at the dead hub is nobody's");
        // Its clients go to the nearest, which publishes for them from then on.
        assert_eq!(ring.nearest(HubId(1)), Some(HubId(0)));
        let moved: Vec<Flow> = flows.iter().map(|flow| flow.moved(HubId(1), HubId(0))).collect();
        let carried = left.carry(&moved);
        assert_eq!(carried.links.get(&(HubId(0), HubId(3))).map(|link| link.events), Some(11.0));
        let cut = mesh(3, &[(0, 1, 0), (1, 2, 0)]).without(HubId(1)).carry(&[flow(0, &[2], 3.0)]);
        assert_eq!(cut.lost.get(&(HubId(0), HubId(2))), Some(&3.0));
    }

    proptest! {
        /// What enters is what leaves: of a flow to each of its hubs as many copies as
        /// asked for, and over each link as much out at one end as in at the other.
        #[test]
        fn nothing_is_made_up_or_left_out(
            hubs in 2_u64..9, links in proptest::collection::vec((0_u64..9, 0_u64..9, 0_u32..5_000), 1..20),
            flows in proptest::collection::vec((0_u64..9, proptest::collection::vec(0_u64..9, 1..5), 1_u32..100), 1..10),
        ) {
            let links: Vec<_> = links.into_iter().map(|(a, b, cost)| (a % hubs, b % hubs, cost)).filter(|(a, b, _)| a != b).collect();
            let mesh = mesh(hubs, &links);
            let flows: Vec<Flow> = flows.into_iter()
                .map(|(from, to, rate)| flow(from % hubs, &to.iter().map(|hub| hub % hubs).collect::<Vec<_>>(), f64::from(rate)))
                .collect();
            let carried = mesh.carry(&flows);
            let crossed: f64 = carried.links.values().map(|link| link.events).sum();
            let incoming: f64 = carried.hubs.values().map(|hub| hub.incoming).sum();
            let outgoing: f64 = carried.hubs.values().map(|hub| hub.outgoing).sum();
            let entered: f64 = flows.iter().map(|flow| flow.rate).sum();
            let lost: f64 = carried.lost.values().sum();
            let asked: f64 = flows.iter().map(|flow| flow.rate * flow.to.len() as f64).sum();
            prop_assert!((incoming - entered - crossed).abs() < 1e-6);
            prop_assert!((outgoing - (asked - lost) - crossed).abs() < 1e-6);
            for ends in carried.links.keys() {
                prop_assert!(mesh.link([ends.0, ends.1]).is_some(), "over a link that is not there");
            }
        }
    }
}
