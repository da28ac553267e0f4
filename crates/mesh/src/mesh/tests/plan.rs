//! What a plan foretells is what deciders do when the change is made.

use proptest::prelude::*;

use super::*;
use crate::Weights;
use crate::plan::{Change, PlanHub, PlanLink, PlanMesh};
use crate::report::Report;

const HUBS: u64 = 5;

/// The mesh as a hub reports it.
fn planned(report: &Report) -> PlanMesh {
    let hubs = report.hubs.iter().map(|hub| (hub.id, PlanHub { wants: true, ..PlanHub::default() }));
    let links = report.links.iter().map(|link| {
        let rtt_us = link.rtt.as_micros() as u32;
        ((link.from, link.to), PlanLink { cost: link.cost, rtt_us, loss: link.loss, price: link.price })
    });
    PlanMesh::new(Weights::default(), hubs, links)
}

/// The pairs of hubs, two bits for each: whether there is a link before and after.
fn pairs(bits: u32) -> impl Iterator<Item = (u64, u64, u64, bool, bool)> {
    let all = (1..=HUBS).flat_map(|a| (a + 1..=HUBS).map(move |b| (a, b)));
    all.zip(0u64..).map(move |((a, b), n)| (n + 1, a, b, bits >> (2 * n) & 1 == 1, bits >> (2 * n + 1) & 1 == 1))
}

/// No two sums of costs are equal, and round trips never decide.
fn cost_of(link: u64, turn: u64) -> u32 {
    10_000 << ((link + turn) % 10)
}

fn link(net: &mut Net, link: u64, a: u64, b: u64, cost: u32) {
    net.link(link, a, b);
    set_cost(net, link, a, b, cost);
}

fn set_cost(net: &mut Net, link: u64, a: u64, b: u64, cost: u32) {
    [a, b].into_iter().for_each(|hub| net.tell(hub, Event::LinkCost { link: LinkId(link), cost }));
    net.run();
}

fn pairs_of_hubs() -> impl Iterator<Item = (u64, u64)> {
    (1..=HUBS).flat_map(|from| (1..=HUBS).filter(move |to| *to != from).map(move |to| (from, to)))
}

/// The next hub on the way, and how many links it has: as a hub goes by it.
fn of_path(net: &Net, from: u64, to: u64) -> (HubId, usize) {
    let routes = net.hubs[&from].routes();
    let path = routes.path(id(to)).expect("a way");
    (path.via, path.hops.into())
}

/// As a plan says.
fn of_ways(mesh: &PlanMesh) -> Vec<(HubId, usize)> {
    let ways = mesh.ways();
    pairs_of_hubs().map(|(from, to)| &ways[&id(from)][&id(to)].hubs).map(|hubs| (hubs[0], hubs.len())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ways_are_as_they_were_foretold(bits in 0u32..1 << 20, turn in 0u64..10) {
        let mut net = Net::new();
        (1..=HUBS).for_each(|hub| net.add(hub, 1));
        // The first hub must know of all the others.
        for hub in 2..=HUBS {
            link(&mut net, 100 + hub, 1, hub, 1 << 24);
        }
        for (n, a, b, _, _) in pairs(bits).filter(|(_, a, _, before, _)| *a > 1 && *before) {
            link(&mut net, n, a, b, cost_of(n, 0));
        }
        let before = planned(&net.hubs[&1].report());
        let mut changes = Vec::new();
        for (n, a, b, was, is) in pairs(bits).filter(|(_, a, ..)| *a > 1) {
            let between = [id(a), id(b)];
            let cost = cost_of(n, turn);
            match (was, is) {
                (true, true) if turn != 0 => changes.push(Change::Weigh { between, cost: Some(cost), price: None }),
                (true, false) => changes.push(Change::Remove { between }),
                (false, true) => {
                    changes.push(Change::Add { between, link: PlanLink { cost, rtt_us: 20, ..PlanLink::default() } });
                }
                _ => {}
            }
        }
        prop_assert_eq!(before.mistakes(&changes, &BTreeSet::new()), []);
        let after = before.after(&changes);
        for (n, a, b, was, is) in pairs(bits).filter(|(_, a, ..)| *a > 1) {
            match (was, is) {
                (true, true) => set_cost(&mut net, n, a, b, cost_of(n, turn)),
                (true, false) => net.cut(n),
                (false, true) => link(&mut net, n, a, b, cost_of(n, turn)),
                (false, false) => {}
            }
        }
        let real: Vec<_> = pairs_of_hubs().map(|(from, to)| of_path(&net, from, to)).collect();
        prop_assert_eq!(&real, &of_ways(&after));
        // Who says that nothing changes is wrong, but where the plan says so too.
        prop_assert_eq!(real == of_ways(&before), of_ways(&before) == of_ways(&after));
        prop_assert_eq!(planned(&net.hubs[&1].report()).links().collect::<Vec<_>>(), after.links().collect::<Vec<_>>());
    }
}
