//! Two paths to a hub that have as little in common as the mesh allows.
//!
//! A block goes the usual way, and a second copy by hubs that it names, over none
//! of the hubs of the usual way. Where no path is left without them and two
//! others share nothing, both copies name their hubs: taking the shortest path
//! out of a mesh may cut it in two that is whole without some other one. Where
//! some hub is on each path, the two share no link; where some link is, there is
//! no second path.
//!
//! Two such paths of the least cost together are found by sending two units of
//! flow (Bhandari 1999, after Suurballe 1974), with each hub split into where its
//! links come in and where they go out, so that each carries one. What is found
//! is one hub's own affair: nobody else needs to find the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use weft_base::HubId;
use weft_wire::frame::MAX_DETOUR_HUBS;

use crate::LinkId;
use crate::routes::Routes;
use crate::spf::Graph;

/// What two paths are found by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ground {
    /// None where nobody asks for two paths.
    graph: Option<Graph>,
    /// Hubs that no copy may name but as its destination: they are about to stop.
    draining: BTreeSet<HubId>,
    /// Hubs that take copies that name hubs.
    able: BTreeSet<HubId>,
    /// The link to each neighbour.
    in_use: BTreeMap<HubId, LinkId>,
}

/// A path to a hub that is named hub by hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Along {
    /// The link that it begins with.
    pub link: LinkId,
    /// The hubs on it behind this one, the destination last: 1 to [`MAX_DETOUR_HUBS`].
    pub hubs: Arc<[HubId]>,
}

/// Two paths to a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwoPaths {
    /// Of the first copy; none where it takes the main way.
    pub first: Option<Along>,
    /// Of the second copy.
    pub second: Along,
    /// They have no hub in common between the two ends, and no link; else no link.
    pub are_apart: bool,
}

/// Where links come in to a hub, and where they go out. Where paths may share hubs,
/// all is `In`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    In,
    Out,
}

type Node = (HubId, Side);

impl Ground {
    pub(crate) fn new(
        graph: Option<Graph>,
        draining: BTreeSet<HubId>,
        able: BTreeSet<HubId>,
        in_use: BTreeMap<HubId, LinkId>,
    ) -> Self {
        Self { graph, draining, able, in_use }
    }

    /// Two paths from `me` to a hub.
    fn two_paths(&self, me: HubId, to: HubId) -> Option<TwoPaths> {
        let graph = self.graph.as_ref().filter(|_| me != to && self.able.contains(&to))?;
        let usual = graph.shortest(me).remove(&to)?.hubs;
        let is_fit = |hub: HubId| hub == to || self.able.contains(&hub) && !self.draining.contains(&hub);
        let (inner, links) = (usual.split_last().map_or(&[][..], |(_, inner)| inner), links_of(me, &usual));
        for are_apart in [true, false] {
            let is_free = |a: HubId, b: HubId| {
                let is_shared = if are_apart { inner.contains(&b) } else { false };
                is_fit(b) && !is_shared && !links.contains(&ends(a, b))
            };
            let second = Flow::new(graph, (me, to), false).find(1, is_free);
            if let Some(second) = second.and_then(|mut paths| self.along(paths.pop()?)) {
                return Some(TwoPaths { first: None, second, are_apart });
            }
            let both = Flow::new(graph, (me, to), are_apart).find(2, |_, b| is_fit(b));
            if let Some([first, second]) = both.and_then(|paths| <[_; 2]>::try_from(paths).ok())
                && let (Some(first), Some(second)) = (self.along(first), self.along(second))
            {
                return Some(TwoPaths { first: Some(first), second, are_apart });
            }
        }
        None
    }

    fn along(&self, hubs: Vec<HubId>) -> Option<Along> {
        let link = *self.in_use.get(hubs.first()?)?;
        (hubs.len() <= MAX_DETOUR_HUBS).then(|| Along { link, hubs: hubs.into() })
    }
}

/// Both ends of a link, the same in both directions.
fn ends(a: HubId, b: HubId) -> (HubId, HubId) {
    (a.min(b), a.max(b))
}

fn links_of(from: HubId, hubs: &[HubId]) -> BTreeSet<(HubId, HubId)> {
    std::iter::once(&from).chain(hubs).zip(hubs).map(|(a, b)| ends(*a, *b)).collect()
}

/// Units of flow from one hub to another, each arc carrying one at most.
struct Flow<'g> {
    graph: &'g Graph,
    from: HubId,
    to: HubId,
    /// Hubs carry one unit at most as well.
    by_hub: bool,
    used: BTreeSet<(Node, Node)>,
}

impl<'g> Flow<'g> {
    fn new(graph: &'g Graph, (from, to): (HubId, HubId), by_hub: bool) -> Self {
        Self { graph, from, to, by_hub, used: BTreeSet::new() }
    }

    /// So many paths over links that are free, from a hub to another, none of which is used twice.
    fn find(mut self, units: usize, is_free: impl Fn(HubId, HubId) -> bool) -> Option<Vec<Vec<HubId>>> {
        for _ in 0..units {
            self.add_one(&is_free)?;
        }
        (0..units).map(|_| self.take_one()).collect()
    }

    /// Where flow that comes from the root begins.
    fn start(&self) -> Node {
        (self.from, if self.by_hub { Side::Out } else { Side::In })
    }

    /// The arcs that leave a node, with what they cost.
    fn arcs(&self, node: Node, is_free: &impl Fn(HubId, HubId) -> bool) -> Vec<(Node, i128)> {
        let (hub, side) = node;
        if self.by_hub && side == Side::In {
            return vec![((hub, Side::Out), 0)];
        }
        let links = self.graph.edges_of(hub).iter().filter(|edge| is_free(hub, edge.to));
        links.map(|edge| ((edge.to, Side::In), i128::from(edge.cost))).collect()
    }

    /// Sends one more unit by the cheapest path of what is left, which may take
    /// back what others use (Bellman 1958, with a queue).
    fn add_one(&mut self, is_free: &impl Fn(HubId, HubId) -> bool) -> Option<()> {
        // What can be taken back, by where it leads to.
        let mut back: BTreeMap<Node, Vec<(Node, i128)>> = BTreeMap::new();
        for (a, b) in &self.used {
            let cost = self.arcs(*a, is_free).into_iter().find(|(to, _)| to == b).map_or(0, |(_, cost)| cost);
            back.entry(*b).or_default().push((*a, -cost));
        }
        let (start, end) = (self.start(), (self.to, Side::In));
        let mut best: BTreeMap<Node, (i128, Node)> = BTreeMap::from([(start, (0, start))]);
        let mut queue = VecDeque::from([start]);
        while let Some(here) = queue.pop_front() {
            // Nothing goes on from the end.
            let Some((so_far, _)) = best.get(&here).copied().filter(|_| here != end) else { continue };
            let onwards = self.arcs(here, is_free).into_iter().filter(|(next, _)| !self.used.contains(&(here, *next)));
            for (next, cost) in onwards.chain(back.get(&here).into_iter().flatten().copied()) {
                let cost = so_far + cost;
                if next.0 != self.from && best.get(&next).is_none_or(|(known, _)| cost < *known) {
                    best.insert(next, (cost, here));
                    if !queue.contains(&next) {
                        queue.push_back(next);
                    }
                }
            }
        }
        let mut here = end;
        while here != start {
            let (_, before) = *best.get(&here)?;
            if !self.used.remove(&(here, before)) {
                self.used.insert((before, here));
            }
            here = before;
        }
        Some(())
    }

    /// Takes one path out of what is used.
    fn take_one(&mut self) -> Option<Vec<HubId>> {
        let (mut here, mut hubs) = (self.start(), Vec::new());
        while here != (self.to, Side::In) {
            let arc = *self.used.range((here, (HubId(0), Side::In))..).next().filter(|(from, _)| *from == here)?;
            self.used.remove(&arc);
            here = arc.1;
            if here.1 == Side::In {
                hubs.push(here.0);
            }
        }
        Some(hubs)
    }
}

impl Routes {
    /// Two paths to a hub for blocks of the main way, which have no hub in common
    /// but it, or at least no link. None where there are none, where the hub or
    /// those on the way do not take blocks that name hubs, and where the decider
    /// was not told to look for them ([`MeshOptions::two_paths`](crate::MeshOptions::two_paths)).
    /// Each call finds them anew, at the cost of a few searches for a shortest path.
    #[must_use]
    pub fn two_paths(&self, hub: HubId) -> Option<TwoPaths> {
        self.ground.two_paths(self.me, hub)
    }

    /// The link to a neighbour that takes blocks that name hubs, and may have those
    /// that these ways are for; none where there is none.
    #[must_use]
    pub fn link_to(&self, neighbour: HubId) -> Option<LinkId> {
        self.ground.in_use.get(&neighbour).copied().filter(|_| self.ground.able.contains(&neighbour))
    }

    /// Whether both find the same paths, because nothing on which these depend has changed since.
    #[must_use]
    pub fn has_paths_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ground, &other.ground)
    }

    pub(crate) fn over(self, ground: Arc<Ground>) -> Self {
        Self { ground, ..self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::graphs::{any_graph, graph};

    /// The ground of hub 1, whose links have the ids of their other ends.
    fn ground(edges: &[(u64, u64, u32)], draining: &[u64], unable: &[u64]) -> Ground {
        let graph = graph(edges);
        let in_use = graph.edges_of(HubId(1)).iter().map(|edge| (edge.to, LinkId(edge.to.0))).collect();
        let able = (1..20).filter(|id| !unable.contains(id)).map(HubId).collect();
        Ground::new(Some(graph), draining.iter().copied().map(HubId).collect(), able, in_use)
    }

    fn ids(along: &Along) -> Vec<u64> {
        assert_eq!(along.link, LinkId(along.hubs[0].0), "the link leads to the first hub");
        along.hubs.iter().map(|hub| hub.0).collect()
    }

    /// Of two paths to hub 9: what the first names, if it does, the second, and whether they share no hub.
    fn found(ground: &Ground) -> Option<(Option<Vec<u64>>, Vec<u64>, bool)> {
        let TwoPaths { first, second, are_apart } = ground.two_paths(HubId(1), HubId(9))?;
        Some((first.as_ref().map(ids), ids(&second), are_apart))
    }

    #[test]
    fn the_second_path_goes_round_the_hubs_of_the_usual_way() {
        let ring = [(1, 2, 1), (2, 9, 1), (1, 3, 5), (3, 4, 5), (4, 9, 5)];
        assert_eq!(found(&ground(&ring, &[], &[])), Some((None, vec![3, 4, 9], true)));
        let beside = [&ring[..], &[(1, 9, 20)]].concat();
        assert_eq!(found(&ground(&beside, &[], &[])), Some((None, vec![3, 4, 9], true)), "which is cheaper");
        assert_eq!(found(&ground(&beside, &[4], &[])), Some((None, vec![9], true)), "a hub that drains is passed by");
        assert_eq!(found(&ground(&beside, &[], &[3])), Some((None, vec![9], true)), "and one that takes no such block");
        assert_eq!(found(&ground(&ring, &[9], &[])), Some((None, vec![3, 4, 9], true)), "it can still be reached");
        assert_eq!(found(&ground(&ring, &[], &[9])), None, "but not if it takes none");
        assert_eq!(found(&ground(&ring, &[3], &[])), None);
        // Next to it.
        let near = [(1, 9, 1), (1, 3, 5), (3, 9, 5)];
        assert_eq!(found(&ground(&near, &[], &[])), Some((None, vec![3, 9], true)));
        assert_eq!(found(&ground(&[(1, 9, 1)], &[], &[])), None);
    }

    #[test]
    fn two_others_are_found_where_the_usual_way_is_in_the_way_of_both() {
        // The shortest path, 1 2 3 9, cuts 1 2 5 9 off from 1 4 3 9.
        let trap = [(1, 2, 1), (2, 3, 1), (3, 9, 1), (2, 5, 4), (5, 9, 4), (1, 4, 4), (4, 3, 4)];
        assert_eq!(found(&ground(&trap, &[], &[])), Some((Some(vec![2, 5, 9]), vec![4, 3, 9], true)));
    }

    #[test]
    fn where_all_paths_cross_one_hub_they_share_no_link() {
        let eight = [(1, 2, 1), (1, 3, 2), (2, 5, 1), (3, 5, 2), (5, 6, 1), (5, 7, 2), (6, 9, 1), (7, 9, 2)];
        assert_eq!(found(&ground(&eight, &[], &[])), Some((None, vec![3, 5, 7, 9], false)));
        let bridge = [(1, 2, 1), (1, 3, 2), (2, 5, 1), (3, 5, 2), (5, 9, 1)];
        assert_eq!(found(&ground(&bridge, &[], &[])), None);
    }

    /// Whether hub 9 is reached from hub 1 without one hub or link.
    fn connected(edges: &[(u64, u64, u32)], hub: u64, link: (u64, u64)) -> bool {
        let is_left = |(a, b, _): &&(u64, u64, u32)| {
            *a != hub && *b != hub && ends(HubId(*a), HubId(*b)) != ends(HubId(link.0), HubId(link.1))
        };
        let left: Vec<_> = edges.iter().filter(is_left).copied().collect();
        graph(&left).reached(HubId(1)).contains(&HubId(9))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// By Menger's theorem there are two paths without a common hub where no
        /// hub, and no link of both ends, parts them; and without a common link
        /// where no link does.
        #[test]
        fn two_paths_are_found_wherever_there_are_two(edges in any_graph(9, 22, 1..6u32)) {
            let no_link = (0, 0);
            let links: Vec<(u64, u64)> = edges.iter().map(|(a, b, _)| (*a, *b)).collect();
            let is_link_parting = links.iter().any(|link| !connected(&edges, 0, *link));
            let is_hub_parting = (2..9).any(|hub| !connected(&edges, hub, no_link)) || !connected(&edges, 0, (1, 9));
            let is_there = connected(&edges, 0, no_link);
            let ground = ground(&edges, &[], &[]);
            match ground.two_paths(HubId(1), HubId(9)) {
                None => prop_assert!(!is_there || is_link_parting, "two paths share no link"),
                Some(found) => {
                    prop_assert!(is_there && !is_link_parting);
                    prop_assert_eq!(found.are_apart, !is_hub_parting);
                    let graph = graph(&edges);
                    let usual: Arc<[HubId]> = graph.shortest(HubId(1))[&HubId(9)].hubs.clone().into();
                    let first = found.first.map_or(usual, |first| first.hubs);
                    let second = found.second.hubs;
                    for path in [&first, &second] {
                        prop_assert_eq!(path.last(), Some(&HubId(9)));
                        prop_assert_eq!(path.iter().collect::<BTreeSet<_>>().len(), path.len(), "no circle");
                        prop_assert!(!path.contains(&HubId(1)));
                        for (a, b) in std::iter::once(&HubId(1)).chain(path.iter()).zip(path.iter()) {
                            prop_assert!(graph.edges_of(*a).iter().any(|edge| edge.to == *b), "a link {:?} {:?}", a, b);
                        }
                    }
                    let shared = links_of(HubId(1), &first).intersection(&links_of(HubId(1), &second)).count();
                    prop_assert_eq!(shared, 0);
                    let common = first.iter().filter(|hub| second.contains(hub)).count();
                    prop_assert!(!found.are_apart || common == 1, "but the destination");
                }
            }
        }
    }
}
