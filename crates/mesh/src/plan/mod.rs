//! What a change of the mesh would do, reckoned before it is made: the same
//! shortest paths as the decider's, over links as they are reported and over
//! links as they would be. Knows no names, addresses or files; asking for the
//! mesh, showing what comes of it and making the change is `weft mesh plan`.
//!
//! Where a change leads to a mistake, nothing is reckoned: [`PlanMesh::mistakes`]
//! finds all of them at once.

mod carry;
mod compare;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use weft_base::HubId;

use crate::costs::{Said, Weights};
use crate::link::{DRAINING, MOST_COST};
use crate::spf::Graph;

pub use self::carry::{Carried, Flow, Passing, Traffic};
pub use self::compare::{Bound, Load, Outcome, Transit, Way, WayChange};
pub use self::steps::{Act, Step};

/// What one end of a link says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanLink {
    /// The configured cost.
    pub cost: u32,
    /// The round trip, in microseconds.
    pub rtt_us: u32,
    /// What is lost of its probes, in millionths.
    pub loss: u32,
    /// The price of a GB.
    pub price: u32,
}

/// A hub, as far as ways depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanHub {
    /// Its labels.
    pub labels: Vec<String>,
    /// It speaks version 1 of the protocol: while it is linked with others, by
    /// whatever way, all of them reckon without loss, prices and weights.
    pub is_bare: bool,
    /// It is about to stop; the costs of its links, as it reports them, say so too.
    pub drains: bool,
    /// Somebody there wants events, so that ways there are ways of flows.
    pub wants: bool,
}

/// A mesh: its hubs, and its links as each of their ends reports them. A link
/// counts when both do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanMesh {
    weights: Weights,
    hubs: BTreeMap<HubId, PlanHub>,
    links: BTreeMap<(HubId, HubId), PlanLink>,
}

/// A change of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A link is made.
    Add {
        /// Its ends, the one that dials first.
        between: [HubId; 2],
        /// What is known of it beforehand.
        link: PlanLink,
    },
    /// A link is taken away.
    Remove {
        /// Its ends.
        between: [HubId; 2],
    },
    /// Both ends of a link are told another cost or price, or both.
    Weigh {
        /// Its ends.
        between: [HubId; 2],
        /// The cost, in microseconds.
        cost: Option<u32>,
        /// The price of a GB.
        price: Option<u32>,
    },
    /// A hub gets other labels.
    Label {
        /// The hub.
        hub: HubId,
        /// All that it has from then on.
        labels: Vec<String>,
    },
    /// A hub is about to stop: ways lead over it only where there is no other.
    Drain {
        /// The hub.
        hub: HubId,
    },
}

impl Change {
    /// The link that it is about, its smaller end first.
    #[must_use]
    pub fn link(&self) -> Option<[HubId; 2]> {
        match self {
            Self::Add { between, .. } | Self::Remove { between } | Self::Weigh { between, .. } => {
                Some(sorted(*between))
            }
            Self::Label { .. } | Self::Drain { .. } => None,
        }
    }
}

/// Why a change cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// A link needs two hubs.
    #[error("a hub has no link with itself: name two hubs")]
    Itself,
    /// It is not there to be added.
    #[error("these hubs have a link already: take this out, or say `[[weigh]]` to alter what it costs")]
    ThereAlready,
    /// There is none to take away or alter.
    #[error("these hubs have no link that both of them report: name another, or add it")]
    NoLink,
    /// Another change is about the same.
    #[error("change {first} of the file is about the same: say it once")]
    Twice {
        /// The first of them, from 1.
        first: usize,
    },
    /// It says nothing.
    #[error("nothing is changed by it: say `cost` or `price_per_gb`, or take this out")]
    Nothing,
    /// A cost beyond what links may cost.
    #[error("a cost of {cost} µs is too high: at most {MOST_COST}")]
    TooDear {
        /// What was said.
        cost: u32,
    },
    /// Taken together, the changes cut the mesh.
    #[error("it would cut the mesh: keep or add a link, or name in `cuts_off` what may be cut off")]
    Cuts {
        /// A hub that would no longer reach `to`.
        from: HubId,
        /// The other.
        to: HubId,
        /// So many pairs of hubs in all.
        pairs: usize,
    },
}

fn sorted([a, b]: [HubId; 2]) -> [HubId; 2] {
    if a <= b { [a, b] } else { [b, a] }
}

impl PlanMesh {
    /// A mesh that reckons by these weights.
    #[must_use]
    pub fn new(
        weights: Weights,
        hubs: impl IntoIterator<Item = (HubId, PlanHub)>,
        links: impl IntoIterator<Item = ((HubId, HubId), PlanLink)>,
    ) -> Self {
        Self { weights, hubs: hubs.into_iter().collect(), links: links.into_iter().collect() }
    }

    /// Its hubs.
    #[must_use]
    pub fn hubs(&self) -> &BTreeMap<HubId, PlanHub> {
        &self.hubs
    }

    /// What the ends of a link say of it; none when one of them does not report it.
    #[must_use]
    pub fn link(&self, [a, b]: [HubId; 2]) -> Option<[PlanLink; 2]> {
        Some([*self.links.get(&(a, b))?, *self.links.get(&(b, a))?])
    }

    /// The links that count, each once, its smaller end first.
    pub fn links(&self) -> impl Iterator<Item = [HubId; 2]> {
        let ends = self.links.keys().filter(|(a, b)| a < b).map(|(a, b)| [*a, *b]);
        ends.filter(|ends| self.link(*ends).is_some())
    }

    /// Makes a change. One that [`mistakes`](Self::mistakes) refuses does what it can.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Add { between: [a, b], link } => {
                self.links.extend([((*a, *b), *link), ((*b, *a), *link)]);
            }
            Change::Remove { between: [a, b] } => {
                self.links.remove(&(*a, *b));
                self.links.remove(&(*b, *a));
            }
            Change::Weigh { between: [a, b], cost, price } => {
                for ends in [(*a, *b), (*b, *a)] {
                    if let Some(link) = self.links.get_mut(&ends) {
                        link.cost = cost.unwrap_or(link.cost);
                        link.price = price.unwrap_or(link.price);
                    }
                }
            }
            Change::Label { hub, labels } => {
                if let Some(known) = self.hubs.get_mut(hub) {
                    known.labels.clone_from(labels);
                }
            }
            Change::Drain { hub } => {
                if let Some(known) = self.hubs.get_mut(hub) {
                    known.drains = true;
                }
                for (_, link) in self.links.iter_mut().filter(|((from, _), _)| from == hub) {
                    link.cost = if link.cost < DRAINING { link.cost + DRAINING } else { link.cost };
                }
            }
        }
    }

    /// The mesh after all of these.
    #[must_use]
    pub fn after(&self, changes: &[Change]) -> Self {
        let mut after = self.clone();
        changes.iter().for_each(|change| after.apply(change));
        after
    }

    /// What is wrong with changes, by their place in the list; that they cut the
    /// mesh stands behind the last. Hubs in `may_go` may be cut off.
    #[must_use]
    pub fn mistakes(&self, changes: &[Change], may_go: &BTreeSet<HubId>) -> Vec<(usize, Mistake)> {
        let mut found = Vec::new();
        let (mut links, mut labels, mut drains) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (place, change) in changes.iter().enumerate() {
            let first = match change {
                Change::Label { hub, .. } => *labels.entry(*hub).or_insert(place),
                Change::Drain { hub } => *drains.entry(*hub).or_insert(place),
                _ => change.link().map_or(place, |link| *links.entry(link).or_insert(place)),
            };
            let mistake = if first != place { Some(Mistake::Twice { first: first + 1 }) } else { self.mistake(change) };
            found.extend(mistake.map(|mistake| (place, mistake)));
        }
        if found.is_empty() {
            found.extend(self.cut(&self.after(changes), may_go).map(|cut| (changes.len(), cut)));
        }
        found
    }

    fn mistake(&self, change: &Change) -> Option<Mistake> {
        if let Some([a, b]) = change.link()
            && a == b
        {
            return Some(Mistake::Itself);
        }
        let cost = match change {
            Change::Add { link, .. } => Some(link.cost),
            Change::Weigh { cost, .. } => *cost,
            _ => None,
        };
        if let Some(cost) = cost.filter(|cost| *cost > MOST_COST) {
            return Some(Mistake::TooDear { cost });
        }
        match change {
            Change::Add { between, .. } => self.link(*between).is_some().then_some(Mistake::ThereAlready),
            Change::Remove { between } => self.link(*between).is_none().then_some(Mistake::NoLink),
            Change::Weigh { between, cost, price } => match self.link(*between) {
                None => Some(Mistake::NoLink),
                Some(_) if cost.is_none() && price.is_none() => Some(Mistake::Nothing),
                Some(_) => None,
            },
            Change::Label { hub, labels } => {
                let has = self.hubs.get(hub).is_some_and(|known| known.labels == *labels);
                has.then_some(Mistake::Nothing)
            }
            Change::Drain { hub } => self.hubs.get(hub).is_some_and(|known| known.drains).then_some(Mistake::Nothing),
        }
    }

    /// The first pair of hubs that reach each other here and not there.
    fn cut(&self, after: &Self, may_go: &BTreeSet<HubId>) -> Option<Mistake> {
        let (before, after) = (self.graph(true), after.graph(true));
        let mut lost = Vec::new();
        for from in self.hubs.keys().filter(|hub| !may_go.contains(hub)) {
            let left = after.reached(*from);
            let gone = before.reached(*from).into_iter().filter(|to| !left.contains(to) && !may_go.contains(to));
            lost.extend(gone.filter(|to| to > from).map(|to| (*from, to)));
        }
        let (from, to) = *lost.first()?;
        Some(Mistake::Cuts { from, to, pairs: lost.len() })
    }

    /// The graph that ways are found in, with weights or as version 1 does.
    fn graph(&self, weighed: bool) -> Graph {
        let reports = self.links.iter().map(|((from, to), link)| {
            let PlanLink { cost, rtt_us, loss, price } = *link;
            (*from, *to, Said { cost, rtt_us, loss, price })
        });
        Graph::of_reports(reports, weighed.then_some(&self.weights))
    }

    /// The ways from each hub to all that it can reach, as its decider finds them.
    #[must_use]
    pub fn ways(&self) -> BTreeMap<HubId, BTreeMap<HubId, Way>> {
        self.ways_over(|_| true)
    }

    /// The same for events that are bound to a label: from hubs that carry it, and
    /// over such hubs alone.
    #[must_use]
    pub fn bound_ways(&self, label: &str) -> BTreeMap<HubId, BTreeMap<HubId, Way>> {
        self.ways_over(|hub| self.hubs.get(hub).is_some_and(|hub| hub.labels.iter().any(|known| known == label)))
    }

    fn ways_over(&self, is_inside: impl Fn(&HubId) -> bool) -> BTreeMap<HubId, BTreeMap<HubId, Way>> {
        let (weighed, plain) = (self.graph(true), self.graph(false));
        let is_bare = |hub: &HubId| self.hubs.get(hub).is_some_and(|hub| hub.is_bare);
        let of = |root: &HubId| {
            let graph = if weighed.reached(*root).iter().any(is_bare) { &plain } else { &weighed };
            let ways = graph.shortest_within(*root, |hub| is_inside(&hub)).into_iter();
            ways.map(|(to, way)| (to, Way { cost: way.cost, rtt_us: way.rtt_us, hubs: way.hubs })).collect()
        };
        self.hubs.keys().filter(|root| is_inside(root)).map(|root| (*root, of(root))).collect()
    }
}
