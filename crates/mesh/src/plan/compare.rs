//! What differs between two meshes: ways, flows, who carries for others, and
//! what each link carries.

use std::collections::{BTreeMap, BTreeSet};

use weft_base::HubId;

use super::PlanMesh;

/// The way from one hub to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// What it costs.
    pub cost: u64,
    /// Its round trips added up, in microseconds.
    pub rtt_us: u64,
    /// The hubs after the first, the destination last.
    pub hubs: Vec<HubId>,
}

/// What becomes of the way from one hub to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayChange {
    /// Where events enter.
    pub from: HubId,
    /// Where they go.
    pub to: HubId,
    /// The way as it is; none: out of reach.
    pub before: Option<Way>,
    /// The way as it would be.
    pub after: Option<Way>,
}

impl WayChange {
    /// Whether it leads over other hubs, not only at another cost.
    #[must_use]
    pub fn moves(&self) -> bool {
        self.before.as_ref().map(|way| &way.hubs) != self.after.as_ref().map(|way| &way.hubs)
    }
}

/// How many ways of flows lead through a hub that is neither of their ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transit {
    /// The hub.
    pub hub: HubId,
    /// As it is.
    pub before: usize,
    /// As it would be.
    pub after: usize,
}

/// How many ways of flows cross a link in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// From this hub.
    pub from: HubId,
    /// To this one.
    pub to: HubId,
    /// As it is.
    pub before: usize,
    /// As it would be.
    pub after: usize,
}

/// What becomes of flows of events that are bound to a label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// The label.
    pub label: String,
    /// Flows that start: from, to.
    pub starts: Vec<(HubId, HubId)>,
    /// Flows that stop.
    pub stops: Vec<(HubId, HubId)>,
    /// Flows that lead over other hubs.
    pub moves: Vec<(HubId, HubId)>,
}

/// What differs, in the order of hubs. A flow is a way to a hub that wants
/// something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Ways that differ, of all pairs of hubs.
    pub ways: Vec<WayChange>,
    /// Flows that start: from, to.
    pub starts: Vec<(HubId, HubId)>,
    /// Flows that stop.
    pub stops: Vec<(HubId, HubId)>,
    /// Hubs that carry for others before or after, and not equally.
    pub transit: Vec<Transit>,
    /// Links that carry something before or after, and not equally.
    pub loads: Vec<Load>,
    /// Labels of which bound events flow otherwise.
    pub bound: Vec<Bound>,
}

impl PlanMesh {
    /// What differs between this mesh and what it would be.
    #[must_use]
    pub fn compare(&self, after: &Self) -> Outcome {
        let (old, new) = (self.ways(), after.ways());
        let none = BTreeMap::new();
        let mut outcome = Outcome::default();
        for from in self.hubs.keys() {
            let (old, new) = (old.get(from).unwrap_or(&none), new.get(from).unwrap_or(&none));
            for to in self.hubs.keys().filter(|to| *to != from) {
                let (before, after) = (old.get(to), new.get(to));
                if before == after {
                    continue;
                }
                let wants = self.hubs.get(to).is_some_and(|hub| hub.wants);
                match (before, after) {
                    (None, Some(_)) if wants => outcome.starts.push((*from, *to)),
                    (Some(_), None) if wants => outcome.stops.push((*from, *to)),
                    _ => {}
                }
                let change = WayChange { from: *from, to: *to, before: before.cloned(), after: after.cloned() };
                outcome.ways.push(change);
            }
        }
        let (was, is) = (self.carried(&old), after.carried(&new));
        outcome.transit =
            differ(&was.transit, &is.transit).map(|(hub, before, after)| Transit { hub, before, after }).collect();
        let loads = differ(&was.links, &is.links);
        outcome.loads = loads.map(|((from, to), before, after)| Load { from, to, before, after }).collect();
        let labels: BTreeSet<&str> =
            self.hubs.values().chain(after.hubs.values()).flat_map(|hub| &hub.labels).map(String::as_str).collect();
        let bound = labels.into_iter().map(|label| self.compare_bound(after, label));
        outcome.bound = bound
            .filter(|bound| !(bound.starts.is_empty() && bound.stops.is_empty() && bound.moves.is_empty()))
            .collect();
        outcome
    }

    /// The same for what is bound to a label.
    fn compare_bound(&self, after: &Self, label: &str) -> Bound {
        let (old, new) = (self.bound_ways(label), after.bound_ways(label));
        let mut bound = Bound { label: label.to_owned(), ..Bound::default() };
        for from in self.hubs.keys() {
            for to in self.hubs.iter().filter(|(to, hub)| *to != from && hub.wants).map(|(to, _)| to) {
                let way = |ways: &BTreeMap<HubId, BTreeMap<HubId, Way>>| {
                    ways.get(from).and_then(|ways| ways.get(to)).map(|way| way.hubs.clone())
                };
                match (way(&old), way(&new)) {
                    (None, Some(_)) => bound.starts.push((*from, *to)),
                    (Some(_), None) => bound.stops.push((*from, *to)),
                    (before, after) if before != after => bound.moves.push((*from, *to)),
                    _ => {}
                }
            }
        }
        bound
    }

    fn carried(&self, ways: &BTreeMap<HubId, BTreeMap<HubId, Way>>) -> Carried {
        let mut carried = Carried::default();
        for (from, ways) in ways {
            for (to, way) in ways.iter().filter(|(to, _)| self.hubs.get(to).is_some_and(|hub| hub.wants)) {
                let mut here = *from;
                for next in &way.hubs {
                    *carried.links.entry((here, *next)).or_default() += 1;
                    here = *next;
                    if next != to {
                        *carried.transit.entry(*next).or_default() += 1;
                    }
                }
            }
        }
        carried
    }
}

/// Ways of flows, counted.
#[derive(Default)]
struct Carried {
    transit: BTreeMap<HubId, usize>,
    links: BTreeMap<(HubId, HubId), usize>,
}

/// The keys whose numbers differ, with both.
fn differ<'a, K: Copy + Ord>(
    was: &'a BTreeMap<K, usize>,
    is: &'a BTreeMap<K, usize>,
) -> impl Iterator<Item = (K, usize, usize)> + 'a {
    let mut all: BTreeMap<K, (usize, usize)> = was.iter().map(|(key, before)| (*key, (*before, 0))).collect();
    is.iter().for_each(|(key, after)| all.entry(*key).or_default().1 = *after);
    all.into_iter().filter(|(_, (before, after))| before != after).map(|(key, (before, after))| (key, before, after))
}
