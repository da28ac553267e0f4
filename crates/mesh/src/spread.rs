//! Several ways of like cost to each hub, so that topics are spread over them.
//!
//! A mesh has up to [`Way::MOST`] ways of going everywhere, and a block takes one
//! of them from its first hub to its last: its topic says which. Of way 0 a link
//! weighs what it costs. Of each other way it weighs up to a quarter more
//! ([`Spreading::within`]), by a hash of its two ends and the way, and the path
//! of the least weight is taken. So
//!
//! * no path costs more than that above the cheapest, and of two paths that cost
//!   the same each is taken by half of the ways, which go in pairs for that;
//! * every hub finds the same: the weights follow from what all know. For one way
//!   all that `spf.rs` says of shortest paths holds. The weight that is left
//!   shrinks with each link, so nothing goes in circles; the paths of one origin
//!   are a tree, so a block crosses a link once, whatever hubs are behind it, and
//!   comes to no hub twice;
//! * a way that does not lead over a link stays as it was when that link is lost
//!   or grows dear: the least of what is left is what it was. This is rendezvous
//!   hashing (Thaler and Ravishankar 1998) of whole paths.
//!
//! A quarter is what a round trip may be off before others are told: what is
//! nearer than that cannot be told apart, and ways do not move for it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use weft_base::{HubId, Way};

use crate::LinkId;
use crate::routes::{Path, Routes};
use crate::spf::Graph;

/// How blocks are spread over ways. The same at all hubs of a mesh, or they find
/// different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spreading {
    /// How many ways there are to each hub, where the mesh has them: 1 to
    /// [`Way::MOST`], 1 for no spreading. Default 8: of two paths of one cost
    /// each gets three to five of them.
    pub ways: u8,
    /// How much more than the cheapest a way may cost, in percent: at most
    /// [`MOST_WITHIN`](Self::MOST_WITHIN). Default 25.
    pub within: u8,
}

impl Default for Spreading {
    fn default() -> Self {
        Self { ways: 8, within: 25 }
    }
}

impl Spreading {
    /// Everything takes the cheapest way.
    pub const NONE: Self = Self { ways: 1, within: 0 };
    /// The most that a way may cost above the cheapest, in percent: more would
    /// blur how links are raised that are suspected, or of a hub that drains.
    pub const MOST_WITHIN: u8 = 50;
}

/// What a link's cost is multiplied by before its share is added.
const SCALE: u64 = 1 << 10;

/// The ways besides the main one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spread {
    /// The main one among them; 0 counts as 1.
    ways: u8,
    /// By hub, the paths of way 1 and so on; nothing where all are the main one's.
    paths: BTreeMap<HubId, Vec<Option<Path>>>,
}

impl Spread {
    /// Finds them in a graph, over the hubs that are inside.
    pub(crate) fn find(
        graph: &Graph,
        root: HubId,
        inside: impl Fn(HubId) -> bool,
        in_use: &BTreeMap<HubId, LinkId>,
        spreading: Spreading,
    ) -> Self {
        let ways = spreading.ways.clamp(1, Way::MOST);
        let mut found = Self { ways, paths: BTreeMap::new() };
        let Some(plain) = (ways > 1).then(|| Plain::new(graph, root, inside)).filter(Plain::has_choice) else {
            return found;
        };
        for way in 1..ways {
            let best = plain.lightest(Way(way), spreading.within);
            for (at, found_there) in best.iter().enumerate().skip(1) {
                let Some(hub) = plain.ids.get(at) else { continue };
                let path = found_there.and_then(|there| {
                    let via = *plain.ids.get(there.first)?;
                    Some(Path {
                        link: *in_use.get(&via)?,
                        via,
                        hops: there.hops,
                        cost: there.cost,
                        rtt: Duration::from_micros(there.rtt_us),
                    })
                });
                found.paths.entry(*hub).or_default().push(path);
            }
        }
        found
    }
}

/// What [`Spread::find`] needs of a graph: the hubs within reach, by number, the
/// root first and the others by id.
struct Plain {
    ids: Vec<HubId>,
    links: Vec<Vec<PlainLink>>,
}

#[derive(Clone, Copy)]
struct PlainLink {
    to: usize,
    cost: u64,
    rtt_us: u64,
    /// A hash of both ends, the same in both directions.
    ends: u64,
}

/// The lightest path to a hub, so far.
#[derive(Clone, Copy)]
struct Lightest {
    weight: u64,
    from: usize,
    first: usize,
    hops: u8,
    cost: u64,
    rtt_us: u64,
}

impl Plain {
    fn new(graph: &Graph, root: HubId, inside: impl Fn(HubId) -> bool) -> Self {
        let mut ids = vec![root];
        ids.extend(graph.reached_within(root, inside).into_iter().filter(|hub| *hub != root));
        let number: BTreeMap<HubId, usize> = ids.iter().enumerate().map(|(at, hub)| (*hub, at)).collect();
        let links = ids.iter().map(|from| {
            let edges = graph.edges_of(*from).iter();
            let link = |edge: &crate::spf::Edge| {
                let (to, ends) = (*number.get(&edge.to)?, ends_of(*from, edge.to));
                Some(PlainLink { to, cost: edge.cost, rtt_us: edge.rtt_us, ends })
            };
            edges.filter_map(link).collect()
        });
        let links = links.collect();
        Self { ids, links }
    }

    /// Whether there is more than one path to anywhere.
    fn has_choice(&self) -> bool {
        self.links.iter().map(Vec::len).sum::<usize>() / 2 >= self.ids.len()
    }

    /// The lightest paths of a way from the root (Dijkstra 1959); of several the
    /// one whose hubs have the least numbers, as in `spf.rs`.
    fn lightest(&self, way: Way, within: u8) -> Vec<Option<Lightest>> {
        let mut best: Vec<Option<Lightest>> = vec![None; self.ids.len()];
        let root = Lightest { weight: 0, from: 0, first: 0, hops: 0, cost: 0, rtt_us: 0 };
        if let Some(place) = best.first_mut() {
            *place = Some(root);
        }
        let mut queue = BinaryHeap::from([Reverse((0, 0))]);
        while let Some(Reverse((weight, here))) = queue.pop() {
            let Some(known) = best.get(here).copied().flatten().filter(|known| known.weight == weight) else {
                continue;
            };
            for link in self.links.get(here).into_iter().flatten().filter(|link| link.to != 0) {
                let next = Lightest {
                    weight: weight.saturating_add(weight_of(link, way, within)),
                    from: here,
                    first: if here == 0 { link.to } else { known.first },
                    hops: known.hops.saturating_add(1),
                    cost: known.cost.saturating_add(link.cost),
                    rtt_us: known.rtt_us.saturating_add(link.rtt_us),
                };
                let is_better = match best.get(link.to).copied().flatten() {
                    None => true,
                    Some(other) if other.weight != next.weight => next.weight < other.weight,
                    // Both ends are settled: what leads to them changes no more.
                    Some(other) => self.chain(&best, here, link.to) < self.chain(&best, other.from, link.to),
                };
                if is_better && let Some(place) = best.get_mut(link.to) {
                    *place = Some(next);
                    queue.push(Reverse((next.weight, link.to)));
                }
            }
        }
        best
    }

    /// The hubs on the way to `from`, and then `to`.
    fn chain(&self, best: &[Option<Lightest>], from: usize, to: usize) -> Vec<HubId> {
        let mut numbers = vec![to];
        let mut here = from;
        while here != 0 {
            numbers.push(here);
            here = best.get(here).copied().flatten().map_or(0, |known| known.from);
        }
        numbers.iter().rev().filter_map(|at| self.ids.get(*at).copied()).collect()
    }
}

/// What a link weighs. Part of the protocol: all hubs must reckon the same.
///
/// Ways go in pairs: what a link weighs more by the first, it weighs less by the
/// second. So of two paths of one cost each pair takes both, and no luck is needed.
fn weight_of(link: &PlainLink, way: Way, within: u8) -> u64 {
    let most = SCALE * u64::from(within.min(Spreading::MOST_WITHIN)) / 100;
    let pair = u64::from(way.0.div_ceil(2));
    let share = mixed(link.ends ^ pair.wrapping_mul(0x9e37_79b9_7f4a_7c15)) % (most + 1);
    let share = if way.0.is_multiple_of(2) { most - share } else { share };
    // At most 2^40 * 1.5 * 2^10 for a link: those of a whole mesh add up.
    link.cost.saturating_mul(SCALE + share)
}

fn ends_of(a: HubId, b: HubId) -> u64 {
    mixed(mixed(a.min(b).0) ^ a.max(b).0)
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014).
fn mixed(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl Routes {
    /// With these ways besides the main one.
    pub(crate) fn spread_over(self, spread: &Spread) -> Self {
        let ways = spread.ways.max(1);
        let mut table = Vec::new();
        if !spread.paths.is_empty() {
            for known in self.hubs.iter() {
                let paths = spread.paths.get(&known.hub).filter(|_| known.path.is_some());
                let of_way = |way: usize| paths.and_then(|paths| paths.get(way - 1).copied().flatten());
                table.extend((1..usize::from(ways)).map(of_way));
            }
        }
        Self { ways, spread: Arc::from(table), ..self }
    }

    /// How many ways blocks are spread over; 1 where they are not.
    #[must_use]
    pub fn ways(&self) -> u8 {
        self.ways
    }

    /// As [`path`](Self::path), of blocks that take this way. One that this hub
    /// does not know of is the main one.
    #[must_use]
    pub fn path_on(&self, hub: HubId, way: Way) -> Option<&Path> {
        let index = self.hubs.binary_search_by_key(&hub, |known| known.hub).ok()?;
        if way == Way::MAIN || way.0 >= self.ways || self.spread.is_empty() {
            return self.hubs.get(index)?.path.as_ref();
        }
        self.spread.get(index * usize::from(self.ways - 1) + usize::from(way.0 - 1))?.as_ref()
    }

    /// As [`next_hop`](Self::next_hop), of blocks that take this way.
    #[must_use]
    pub fn next_hop_on(&self, hub: HubId, way: Way) -> Option<LinkId> {
        self.path_on(hub, way).map(|path| path.link)
    }

    /// How many different links the ways to a hub begin with; 0 when it is out of reach.
    #[must_use]
    pub fn links_towards(&self, hub: HubId) -> usize {
        let mut links: Vec<LinkId> = (0..self.ways).filter_map(|way| self.next_hop_on(hub, Way(way))).collect();
        links.sort_unstable();
        links.dedup();
        links.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::graphs::{any_graph, graph};

    const ALL: Spreading = Spreading { ways: Way::MOST, within: 25 };

    /// For each hub, the paths of all ways that are found there, the neighbours' ids for links.
    fn spreads(graph: &Graph) -> BTreeMap<HubId, Spread> {
        let in_use = (1..20).map(|id| (HubId(id), LinkId(id))).collect();
        (1..20).map(|id| (HubId(id), Spread::find(graph, HubId(id), |_| true, &in_use, ALL))).collect()
    }

    /// Follows what each hub decides for itself.
    fn walk(spreads: &BTreeMap<HubId, Spread>, from: HubId, to: HubId, way: usize) -> Option<Vec<HubId>> {
        let (mut here, mut walked) = (from, Vec::new());
        while here != to {
            here = spreads[&here].paths.get(&to)?[way - 1]?.via;
            walked.push(here);
            assert!(walked.len() < 20, "from {from} to {to} by {way}: {walked:?}");
        }
        Some(walked)
    }

    /// Two regions, 1 and 9, with three paths of one cost and a dear one between them.
    const PATHS: [(u64, u64, u32); 8] =
        [(1, 2, 40), (2, 9, 60), (1, 3, 50), (3, 9, 50), (1, 4, 60), (4, 9, 40), (1, 5, 70), (5, 9, 70)];

    fn over(edges: &[(u64, u64, u32)]) -> Vec<HubId> {
        let spreads = spreads(&graph(edges));
        (1..usize::from(Way::MOST)).map(|way| walk(&spreads, HubId(1), HubId(9), way).expect("a way")[0]).collect()
    }

    #[test]
    fn ways_are_spread_over_the_paths_of_one_cost_and_no_dear_one() {
        let all = over(&PATHS);
        let used: BTreeSet<HubId> = all.iter().copied().collect();
        assert_eq!(used, [2, 3, 4].map(HubId).into(), "{all:?}");
    }

    #[test]
    fn of_two_paths_of_one_cost_each_gets_half_of_the_ways_whatever_their_hubs_are_called() {
        for names in 0..200_u64 {
            let id = |n: u64| mixed(names * 10 + n) | 1;
            let hubs = [1, 2, 3, 9].map(id);
            let edges = [(0, 1, 500), (1, 3, 500), (0, 2, 300), (2, 3, 700)];
            let g = graph(&edges.map(|(a, b, cost)| (hubs[a], hubs[b], cost)));
            let in_use = hubs.iter().map(|hub| (HubId(*hub), LinkId(*hub))).collect();
            let spread = Spread::find(&g, HubId(hubs[0]), |_| true, &in_use, Spreading::default());
            let paths = &spread.paths[&HubId(hubs[3])];
            let first = paths.iter().flatten().filter(|path| path.via == HubId(hubs[1])).count();
            assert!(paths.len() == 7 && (3..=4).contains(&first), "{first} of 7 with names {names}");
        }
    }

    #[test]
    fn a_path_that_is_lost_moves_its_share_alone() {
        let (before, after) = (over(&PATHS), over(&PATHS[2..]));
        for (before, after) in before.iter().zip(&after) {
            assert!(before == after || *before == HubId(2), "{before} became {after}");
        }
        assert!(before.contains(&HubId(2)) && !after.contains(&HubId(2)));
    }

    #[test]
    fn without_a_choice_or_by_configuration_there_is_one_way() {
        let in_use = (1..20).map(|id| (HubId(id), LinkId(id))).collect();
        let line = graph(&[(1, 2, 5), (2, 3, 5)]);
        assert!(Spread::find(&line, HubId(1), |_| true, &in_use, ALL).paths.is_empty());
        assert!(Spread::find(&graph(&PATHS), HubId(1), |_| true, &in_use, Spreading::NONE).paths.is_empty());
        let inside = |hub: HubId| hub.0 != 3 && hub.0 != 4;
        let spread = Spread::find(&graph(&PATHS), HubId(1), inside, &in_use, ALL);
        assert!(spread.paths[&HubId(9)].iter().all(|path| path.is_some_and(|path| path.via == HubId(2))));
    }

    /// Small costs, so that there are ties in spite of the shares.
    fn small_or_shared() -> impl Strategy<Value = u32> {
        prop_oneof![Just(0u32), 1..3u32, 900..1_100u32]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// What the mesh stands on, for each way: hubs that decide by themselves
        /// go no circle, lead where the first one said, for what it said, and
        /// what one origin sends makes a tree.
        #[test]
        fn the_hubs_decisions_add_up_to_one_tree_for_each_way(edges in any_graph(8, 24, small_or_shared())) {
            let g = graph(&edges);
            let spreads = spreads(&g);
            for from in (1..9).map(HubId) {
                let cheapest = g.shortest(from);
                for way in 1..usize::from(Way::MOST) {
                    let mut parents: BTreeMap<HubId, HubId> = BTreeMap::new();
                    for (to, shortest) in &cheapest {
                        if spreads[&from].paths.is_empty() {
                            continue;
                        }
                        let path = spreads[&from].paths[to][way - 1].expect("there is one");
                        let walked = walk(&spreads, from, *to, way).expect("a way");
                        prop_assert_eq!(walked.len(), usize::from(path.hops));
                        prop_assert!(path.cost >= shortest.cost && path.cost * 100 <= shortest.cost * 125);
                        let mut here = from;
                        for hub in walked {
                            let parent = *parents.entry(hub).or_insert(here);
                            prop_assert_eq!(parent, here, "two ways to {:?}", hub);
                            here = hub;
                        }
                    }
                }
            }
        }
    }
}
