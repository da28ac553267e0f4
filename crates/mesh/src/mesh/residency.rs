//! Ways for events that may be only at hubs with a label: found on the part of
//! the mesh whose hubs carry it, so that no way through another hub is ever found.
//!
//! A hub finds them for each label that it carries itself; of the others it never
//! has an event. Messages between hubs carry events of several labels, in order;
//! so they keep to hubs with all the labels that both ends carry, and the ways for
//! these sets of labels are found too. What is decided here follows from the
//! records alone, so that all hubs with a set find ways that fit together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_base::{HubId, Residency};
use weft_wire::frame::attribute;

use super::Mesh;
use super::records::path_of;
use crate::LinkId;
use crate::apart::Ground;
use crate::labels;
use crate::options::MAX_WAYS;
use crate::routes::{KnownHub, Path, Routes};
use crate::spf::Graph;
use crate::spread::{Spread, Spreading};

/// Different sets of labels, of single hubs, that are looked at for what two of
/// them have in common.
const MOST_SETS: usize = 64;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Bound {
    ways: Vec<Ways>,
    /// What each hub has in common with this one.
    shared: BTreeMap<HubId, Residency>,
}

/// The part of the mesh whose hubs carry some labels.
#[derive(Debug, PartialEq, Eq)]
struct Ways {
    residency: Residency,
    inside: BTreeSet<HubId>,
    paths: BTreeMap<HubId, Path>,
    spread: Spread,
    ground: Arc<Ground>,
}

/// Labels, ascending.
type Labels<'a> = Vec<&'a str>;

impl Mesh {
    /// Finds the ways anew. Answers whether any is another than before.
    pub(super) fn find_bound(&mut self, graph: &Graph, in_use: &BTreeMap<HubId, LinkId>, spreading: Spreading) -> bool {
        let own = self.record.attribute(attribute::LABELS).map(labels::decode).unwrap_or_default();
        let mut found = Bound::default();
        if !own.is_empty() {
            let mut carried: BTreeMap<HubId, Labels<'_>> = BTreeMap::new();
            for (id, hub) in &self.hubs {
                carried.insert(*id, hub.attribute(attribute::LABELS).map(labels::decode).unwrap_or_default());
            }
            let shared = carried.iter().map(|(id, theirs)| (*id, Residency::of(&common(&own, theirs))));
            found.shared = shared.filter(|(_, residency)| residency.is_bound()).collect();
            carried.insert(self.me.id, own.clone());
            for set in sets(&own, carried.values()) {
                let carries = |labels: &Labels<'_>| set.iter().all(|label| labels.contains(label));
                let inside: BTreeSet<HubId> =
                    carried.iter().filter(|(_, labels)| carries(labels)).map(|(id, _)| *id).collect();
                let shortest = graph.shortest_within(self.me.id, |hub| inside.contains(&hub));
                let paths = shortest.iter().filter_map(|(id, path)| Some((*id, path_of(path, in_use)?))).collect();
                let spread = Spread::find(graph, self.me.id, |hub| inside.contains(&hub), in_use, spreading);
                let part =
                    if self.options.two_paths { graph.within(|hub| inside.contains(&hub)) } else { Graph::default() };
                let ground = Arc::new(self.ground_of(part, in_use, |hub| inside.contains(&hub)));
                found.ways.push(Ways { residency: Residency::of(&set), inside, paths, spread, ground });
            }
        }
        let is_other = found != self.bound;
        self.bound = found;
        is_other
    }

    /// The snapshots for events that are bound to labels.
    pub(super) fn bound_routes(&self) -> Vec<(Residency, Routes)> {
        let routes = |ways: &Ways| {
            let hubs = self.hubs.iter().map(|(id, hub)| {
                let is_inside = ways.inside.contains(id);
                let path = ways.paths.get(id).copied();
                let elsewhere = path.is_none() && hub.path.is_some();
                let (epoch, slot, is_draining) = (hub.epoch, hub.slot, hub.is_draining());
                let (hub, shared, outside) = (*id, Residency::ANYWHERE, !is_inside);
                KnownHub { hub, epoch, slot, path, is_draining, shared, outside, elsewhere }
            });
            let routes = Routes::new(self.me.id, self.interest.clone(), hubs.collect()).spread_over(&ways.spread);
            let routes = routes.over(ways.ground.clone());
            Routes { drains: self.is_draining, ..routes }
        };
        self.bound.ways.iter().map(|ways| (ways.residency, routes(ways))).collect()
    }

    /// The labels that a hub has in common with this one.
    pub(super) fn shared_with(&self, hub: HubId) -> Residency {
        self.bound.shared.get(&hub).copied().unwrap_or_default()
    }
}

/// What is in both, ascending.
fn common<'a>(a: &Labels<'a>, b: &[&str]) -> Labels<'a> {
    a.iter().copied().filter(|label| b.contains(label)).collect()
}

/// Each label of this hub, and what any two hubs have in common of which this
/// one carries all; the single ones first, [`MAX_WAYS`] at most.
fn sets<'a>(own: &Labels<'a>, all: impl Iterator<Item = &'a Labels<'a>>) -> Vec<Labels<'a>> {
    let different: BTreeSet<&Labels<'a>> = all.filter(|labels| !labels.is_empty()).collect();
    let different: Vec<_> = different.into_iter().take(MOST_SETS).collect();
    let mut several: BTreeSet<Labels<'a>> = BTreeSet::new();
    for (at, a) in different.iter().enumerate() {
        for b in different.iter().skip(at) {
            let both = common(a, b);
            if both.len() > 1 && both.iter().all(|label| own.contains(label)) {
                several.insert(both);
            }
        }
    }
    own.iter().map(|label| vec![*label]).chain(several).take(MAX_WAYS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_ways_for_each_own_label_and_for_what_two_hubs_have_in_common() {
        let (own, other, third) = (vec!["de", "eu", "gdpr"], vec!["eu", "fr", "gdpr"], vec!["fr", "uk"]);
        let all = [own.clone(), other, third];
        let found = sets(&own, all.iter());
        let single = [vec!["de"], vec!["eu"], vec!["gdpr"]];
        assert_eq!(found, [&single[..], &[vec!["de", "eu", "gdpr"], vec!["eu", "gdpr"]]].concat());
    }

    #[test]
    fn they_are_bounded() {
        let names: Vec<String> = (10..26).map(|n| n.to_string()).collect();
        let own: Labels<'_> = names.iter().map(String::as_str).collect();
        let some = |n: usize| own.iter().enumerate().filter(|(at, _)| n >> at & 1 == 1).map(|(_, l)| *l).collect();
        let all: Vec<Labels<'_>> = (0..4_000).map(some).collect();
        assert_eq!(sets(&own, all.iter()).len(), MAX_WAYS);
    }
}
