//! Shortest paths, the same at every hub.
//!
//! Of several paths of equal cost the one whose sequence of hub ids is the
//! smallest is taken. This choice holds for parts too: the part of a chosen
//! path between two of its hubs is the chosen path between those two. So the
//! hop-by-hop decisions of all hubs, each from its own root, add up to the
//! origin's tree, and two copies of a block never meet again after they parted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use weft_base::HubId;

use crate::costs::{Said, Weights};

/// One direction of a link that both of its ends report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) to: HubId,
    /// At least 1: the proof above needs paths to grow with each edge.
    pub(crate) cost: u64,
    pub(crate) rtt_us: u64,
}

/// A mesh as a graph. Edges of unknown hubs are allowed and lead nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Graph {
    edges: BTreeMap<HubId, Vec<Edge>>,
}

/// A shortest path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shortest {
    pub(crate) cost: u64,
    pub(crate) rtt_us: u64,
    /// The hubs after the root, the destination last.
    pub(crate) hubs: Vec<HubId>,
}

impl Graph {
    /// The graph of what the hubs report: (from, to, what of the link). A link
    /// counts when both of its ends report it, and costs in both directions what
    /// the end says that says more. Without weights it is reckoned as version 1
    /// does: in each direction by what its own end says.
    pub(crate) fn of_reports(reports: impl Iterator<Item = (HubId, HubId, Said)>, weights: Option<&Weights>) -> Self {
        let mut all: BTreeMap<HubId, BTreeMap<HubId, Said>> = BTreeMap::new();
        for (from, to, said) in reports {
            all.entry(from).or_default().insert(to, said);
        }
        let mut graph = Self::default();
        for (from, links) in &all {
            for (to, said) in links {
                let Some(back) = all.get(to).and_then(|back| back.get(from)).filter(|_| from != to) else { continue };
                let (cost, rtt_us) = match weights {
                    Some(weights) => (weights.cost(said).max(weights.cost(back)), said.rtt_us.max(back.rtt_us)),
                    None => ((u64::from(said.cost) + u64::from(said.rtt_us)).max(1), said.rtt_us),
                };
                graph.edges.entry(*from).or_default().push(Edge { to: *to, cost, rtt_us: rtt_us.into() });
            }
        }
        graph
    }

    /// `root` and the hubs that it can reach.
    pub(crate) fn reached(&self, root: HubId) -> BTreeSet<HubId> {
        self.reached_within(root, |_| true)
    }

    /// Likewise, over no other hubs than these.
    pub(crate) fn reached_within(&self, root: HubId, inside: impl Fn(HubId) -> bool) -> BTreeSet<HubId> {
        let mut reached = BTreeSet::from([root]);
        let mut left = vec![root];
        while let Some(from) = left.pop() {
            let next = self.edges_of(from).iter().map(|edge| edge.to).filter(|to| inside(*to));
            left.extend(next.filter(|to| reached.insert(*to)));
        }
        reached
    }

    /// The part of it whose hubs are inside.
    pub(crate) fn within(&self, inside: impl Fn(HubId) -> bool) -> Self {
        let edges = self.edges.iter().filter(|(hub, _)| inside(**hub));
        let left = |edges: &[Edge]| edges.iter().filter(|edge| inside(edge.to)).copied().collect();
        Self { edges: edges.map(|(hub, edges)| (*hub, left(edges))).collect() }
    }

    /// Whether a path leads from `root` to `hub` over other hubs.
    pub(crate) fn has_way_round(&self, root: HubId, hub: HubId) -> bool {
        let mut reached = BTreeSet::from([root]);
        let mut left = vec![root];
        while let Some(from) = left.pop() {
            let others = self.edges_of(from).iter().map(|edge| edge.to).filter(|to| (from, *to) != (root, hub));
            left.extend(others.filter(|to| reached.insert(*to)));
        }
        reached.contains(&hub)
    }

    /// The links of a hub.
    pub(crate) fn edges_of(&self, hub: HubId) -> &[Edge] {
        self.edges.get(&hub).map_or(&[], Vec::as_slice)
    }

    /// The shortest path from `root` to each hub that it can reach (Dijkstra,
    /// "A note on two problems in connexion with graphs", 1959).
    pub(crate) fn shortest(&self, root: HubId) -> BTreeMap<HubId, Shortest> {
        self.shortest_within(root, |_| true)
    }

    /// Likewise, over no other hubs than these.
    pub(crate) fn shortest_within(&self, root: HubId, inside: impl Fn(HubId) -> bool) -> BTreeMap<HubId, Shortest> {
        let mut best: BTreeMap<HubId, Shortest> = BTreeMap::new();
        best.insert(root, Shortest { cost: 0, rtt_us: 0, hubs: Vec::new() });
        let mut queue = BinaryHeap::from([Reverse((0, root))]);
        while let Some(Reverse((cost, from))) = queue.pop() {
            let Some(here) = best.get(&from).filter(|here| here.cost == cost).cloned() else { continue };
            for edge in self.edges_of(from).iter().filter(|edge| inside(edge.to)) {
                let cost = cost.saturating_add(edge.cost);
                let mut hubs = here.hubs.clone();
                hubs.push(edge.to);
                let is_better = best.get(&edge.to).is_none_or(|known| (cost, &hubs) < (known.cost, &known.hubs));
                if is_better {
                    best.insert(edge.to, Shortest { cost, rtt_us: here.rtt_us.saturating_add(edge.rtt_us), hubs });
                    queue.push(Reverse((cost, edge.to)));
                }
            }
        }
        best.remove(&root);
        best
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::graphs::{any_graph, graph};

    fn ids(path: &Shortest) -> Vec<u64> {
        path.hubs.iter().map(|hub| hub.0).collect()
    }

    #[test]
    fn the_cheapest_path_wins_over_the_shortest() {
        let g = graph(&[(1, 2, 10), (1, 3, 2), (3, 2, 2)]);
        let paths = g.shortest(HubId(1));
        assert_eq!(ids(&paths[&HubId(2)]), [3, 2]);
        assert_eq!(paths[&HubId(2)].cost, 4);
    }

    #[test]
    fn ties_go_to_the_smaller_ids() {
        let g = graph(&[(1, 5, 1), (5, 9, 1), (1, 4, 1), (4, 9, 1)]);
        assert_eq!(ids(&g.shortest(HubId(1))[&HubId(9)]), [4, 9]);
    }

    #[test]
    fn a_link_that_one_end_reports_does_not_count() {
        let reports = [(1, 2), (2, 1), (2, 3)].map(|(a, b)| (HubId(a), HubId(b), Said::default()));
        for weights in [None, Some(&Weights::default())] {
            let paths = Graph::of_reports(reports.into_iter(), weights).shortest(HubId(1));
            assert_eq!(paths.keys().map(|hub| hub.0).collect::<Vec<_>>(), [2]);
        }
    }

    /// Hubs 1 to 4 as a square 1-2-4, 1-3-4 whose links cost 100 by all but hub 3.
    fn square(lie: Said) -> Graph {
        let honest = Said { cost: 100, ..Said::default() };
        let links = [(1, 2), (2, 4), (1, 3), (3, 4)].into_iter().flat_map(|(a, b)| [(a, b), (b, a)]);
        let said = links.map(|(a, b)| (HubId(a), HubId(b), if a == 3 { lie } else { honest }));
        // A link to hub 4 that hub 4 knows nothing of changes nothing either.
        let made_up = [(HubId(3), HubId(9), lie)];
        Graph::of_reports(said.chain(made_up), Some(&Weights::default()))
    }

    #[test]
    fn a_hub_that_lies_about_costs_drives_traffic_away_and_attracts_none() {
        let four = HubId(4);
        let cheap = square(Said::default());
        assert_eq!(ids(&cheap.shortest(HubId(1))[&four]), [2, 4], "for the ends that do not lie say 100");
        assert_eq!(cheap.shortest(HubId(1))[&four].cost, 200);
        assert!(!cheap.shortest(HubId(1)).contains_key(&HubId(9)));
        for dear in [Said { rtt_us: 101, ..Said::default() }, Said { loss: 200_000, ..Said::default() }] {
            let paths = square(dear);
            assert_eq!(ids(&paths.shortest(HubId(1))[&four]), [2, 4]);
            assert_eq!(ids(&paths.shortest(four)[&HubId(1)]), [2, 1], "in both directions");
            assert!(paths.shortest(HubId(1))[&HubId(3)].cost > 100);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// The property that the mesh stands on: what a hub on the way decides
        /// from its own root is the rest of the origin's path.
        #[test]
        fn parts_of_shortest_paths_are_the_chosen_paths(edges in any_graph(8, 24, 1..3u32)) {
            let g = graph(&edges);
            let trees: BTreeMap<HubId, _> = (1..9).map(|id| (HubId(id), g.shortest(HubId(id)))).collect();
            for (root, tree) in &trees {
                for (to, path) in tree {
                    prop_assert!(!path.hubs.contains(root));
                    for (index, via) in path.hubs.iter().enumerate().filter(|(_, via)| *via != to) {
                        prop_assert_eq!(&tree[via].hubs, &path.hubs[..=index], "before {:?}", via);
                        prop_assert_eq!(&trees[via][to].hubs, &path.hubs[index + 1..], "after {:?}", via);
                    }
                }
            }
        }
    }
}
