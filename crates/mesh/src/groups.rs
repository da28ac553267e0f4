//! Groups: several subscribers, anywhere in the mesh, who share what matches
//! their filters. Each block goes to one of them.
//!
//! The hub where a block enters the mesh chooses: one of its own members if
//! there is one, else the nearest hub that has some. What is decided here is
//! which hubs are equally near, and whose turn it is; nothing here keeps
//! queues, and nothing depends on the order of a hash.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_base::HubId;
use xxhash_rust::xxh3::xxh3_64;

/// How often a block may be passed on by hubs that have no member left.
pub const MOST_PASSES: u32 = 8;
/// Hubs whose paths cost at most this much more than the nearest, in
/// microseconds, are as near: the measured round trips of equal links differ by that.
pub const AS_NEAR: u64 = 500;
/// Turns that are remembered; at the bound all begin anew.
const MOST_TURNS: usize = 65_536;

/// A group's number: the same at all hubs, because it is made from its name.
/// Two names with one number (one pair in 2^64) would share as one group
/// between hubs; a hub refuses the second of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey(pub u64);

impl GroupKey {
    /// The key of the group of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        Self(xxh3_64(name.as_bytes()))
    }
}

/// What the members at one hub want together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Share {
    pub(crate) group: Arc<str>,
    /// Their weights, added up.
    pub(crate) weight: u32,
}

/// The value of a group's filter in the interest set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupAt {
    pub(crate) group: GroupKey,
    pub(crate) slot: u16,
    pub(crate) weight: u32,
}

/// Another hub with members of a group for a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHub {
    /// The hub.
    pub hub: HubId,
    /// The weights of its members, added up.
    pub weight: u32,
    /// What the path there costs, in microseconds; none when there is none.
    pub cost: Option<u64>,
    /// Links to cross; 0 when there is no path.
    pub hops: u8,
}

/// Sorts the hubs of a group by nearness and answers how many at the front are
/// equally near: those among which weights decide. Of those whose paths cost
/// about as little as the cheapest they are the ones with the fewest links to
/// cross. 0 when none can be reached.
pub fn nearest(hubs: &mut [GroupHub]) -> usize {
    let Some(least) = hubs.iter().filter_map(|at| at.cost).min() else { return 0 };
    let most = least.saturating_add(AS_NEAR.max(least / 4));
    let is_near = |at: &GroupHub| at.cost.is_some_and(|cost| cost <= most);
    hubs.sort_unstable_by_key(|at| (!is_near(at), is_near(at).then_some(at.hops), at.cost.is_none(), at.cost, at.hub));
    let fewest = hubs.first().map_or(0, |at| at.hops);
    hubs.iter().take_while(|at| is_near(at) && at.hops == fewest).count()
}

/// Smooth weighted round robin (as nginx does it since 2012): of `n` picks each
/// candidate gets its share of the weights, give or take one, and a heavy one
/// is not picked many times in a row. Candidates may come and go between picks.
#[derive(Clone, Debug)]
pub struct Turns<K> {
    credits: BTreeMap<K, i64>,
}

impl<K: Ord + Copy> Default for Turns<K> {
    fn default() -> Self {
        Self { credits: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> Turns<K> {
    /// Picks one of the candidates, given with their weights; none only when
    /// there are none. A weight of 0 counts as 1. Allocates only for a
    /// candidate that was never picked from before.
    pub fn pick(&mut self, mut candidates: impl Iterator<Item = (K, u32)>) -> Option<K> {
        let first = candidates.next()?;
        let Some(second) = candidates.next() else { return Some(first.0) };
        if self.credits.len() >= MOST_TURNS {
            self.credits.clear();
        }
        let mut total = 0;
        let mut best: Option<(K, i64)> = None;
        for (key, weight) in [first, second].into_iter().chain(candidates) {
            let weight = i64::from(weight.max(1));
            let credit = self.credits.entry(key).or_insert(0);
            *credit = credit.saturating_add(weight);
            total += weight;
            if best.is_none_or(|(_, most)| *credit > most) {
                best = Some((key, *credit));
            }
        }
        let (key, _) = best?;
        if let Some(credit) = self.credits.get_mut(&key) {
            *credit -= total;
        }
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gets_its_share_and_a_heavy_one_is_not_picked_in_a_row() {
        let mut turns = Turns::default();
        let weights = [('a', 5), ('b', 1), ('c', 1)];
        let picked: String = (0..7).filter_map(|_| turns.pick(weights.into_iter())).collect();
        assert_eq!(picked, "aabacaa", "the order that nginx documents");
        let mut counts = BTreeMap::new();
        for _ in 0..7_000 {
            *counts.entry(turns.pick(weights.into_iter())).or_insert(0) += 1;
        }
        assert_eq!(counts.into_values().collect::<Vec<_>>(), [5_000, 1_000, 1_000]);
    }

    #[test]
    fn candidates_come_and_go() {
        let mut turns = Turns::default();
        assert_eq!(turns.pick(std::iter::empty::<(u8, u32)>()), None);
        assert_eq!(turns.pick([(9, 0)].into_iter()), Some(9));
        for _ in 0..10 {
            turns.pick([(1, 1), (2, 3)].into_iter());
        }
        let picked: Vec<u8> = (0..4).filter_map(|_| turns.pick([(1, 1), (3, 1)].into_iter())).collect();
        assert_eq!(picked.iter().filter(|p| **p == 3).count(), 2, "{picked:?}: who is new gets its share, not more");
    }

    #[test]
    fn hubs_are_as_near_as_measuring_can_tell() {
        let at = |hub, cost| GroupHub { hub: HubId(hub), weight: 1, cost, hops: 1 };
        let order = |hubs: &mut [GroupHub]| (nearest(hubs), hubs.iter().map(|at| at.hub.0).collect::<Vec<_>>());
        let mut hubs = [at(1, None), at(2, Some(90_000)), at(3, Some(300)), at(4, Some(90)), at(5, Some(591))];
        assert_eq!(order(&mut hubs), (2, vec![4, 3, 5, 2, 1]));
        let mut far = [at(1, Some(100_000)), at(2, Some(80_000)), at(3, Some(100_001))];
        assert_eq!(order(&mut far), (2, vec![2, 1, 3]));
        let two_hops = GroupHub { hops: 2, ..at(1, Some(90)) };
        assert_eq!(order(&mut [two_hops, at(2, Some(200)), at(3, Some(9_000))]), (1, vec![2, 1, 3]));
        assert_eq!(nearest(&mut [at(1, None)]), 0);
        assert_eq!(nearest(&mut []), 0);
    }
}
