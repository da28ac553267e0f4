//! What a load comes to, as the mesh is and with each hub dead.

use weft_base::HubId;
use weft_load::capacity::{Use, factor, stretch};
use weft_mesh::plan::{Carried, Flow, PlanMesh};
use weft_sim::topology::{LinkSpec, Topology};

use super::load::mesh_of;
use super::measured::Measured;

/// A hub or a link, and how busy it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) name: String,
    /// Of a hub: the stage that is busiest.
    pub(super) stage: Option<Use>,
    /// Events a second that come and leave; over a link the same.
    pub(super) incoming: f64,
    pub(super) outgoing: f64,
    /// Of a link: bytes a second.
    pub(super) bytes: f64,
    /// The share of what it can: above 1 it gives out. None: a link without bound.
    pub(super) busy: Option<f64>,
}

impl Part {
    /// How many times this load it carries.
    pub(super) fn factor(&self) -> Option<f64> {
        self.busy.and_then(factor)
    }

    /// How many times longer what it does takes than alone.
    pub(super) fn stretch(&self) -> Option<f64> {
        self.busy.and_then(stretch)
    }
}

/// The mesh under its load.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// The hub that is dead, if one is, and where its clients went.
    pub(super) dead: Option<(String, Option<String>)>,
    pub(super) hubs: Vec<Part>,
    pub(super) links: Vec<Part>,
    /// Events a second that do not get from one hub to another.
    pub(super) lost: Vec<(String, String, f64)>,
}

impl State {
    /// What gives out first: the part with the least factor.
    pub(super) fn first(&self) -> Option<&Part> {
        let parts = self.hubs.iter().chain(&self.links).filter(|part| part.factor().is_some());
        parts.min_by(|a, b| a.factor().unwrap_or(f64::MAX).total_cmp(&b.factor().unwrap_or(f64::MAX)))
    }
}

/// As it is, and then with each hub dead.
pub(super) fn whole(mesh: &Topology, flows: &[Flow], measured: &Measured) -> Vec<State> {
    let plan = mesh_of(mesh);
    let mut states = vec![state(mesh, &plan.carry(flows), measured, None)];
    for hub in &mesh.hubs {
        let gone = HubId::of_name(&hub.name);
        let there = plan.nearest(gone);
        let moved = |there: HubId| flows.iter().map(|flow| flow.moved(gone, there)).collect::<Vec<_>>();
        let moved = there.map_or_else(|| flows.to_vec(), moved);
        let left: PlanMesh = plan.without(gone);
        let there = there.map(|there| name_of(mesh, there));
        states.push(state(mesh, &left.carry(&moved), measured, Some((hub.name.clone(), there))));
    }
    states
}

fn name_of(mesh: &Topology, id: HubId) -> String {
    let known = mesh.hubs.iter().find(|hub| HubId::of_name(&hub.name) == id);
    known.map_or_else(|| id.to_string(), |hub| hub.name.clone())
}

/// What one direction of a link carries at most, in bytes a second; none without
/// bound. Of several links between two hubs the widest counts.
fn bandwidth(mesh: &Topology, from: &str, to: &str) -> Option<f64> {
    let name = |at: usize| mesh.hubs.get(at).map_or("", |hub| hub.name.as_str());
    let of = |link: &LinkSpec| {
        let ends = link.ends.map(name);
        let at = [[from, to], [to, from]].iter().position(|known| *known == ends)?;
        link.quality
            .get(at)
            .map(|quality| if quality.bandwidth == 0 { f64::INFINITY } else { quality.bandwidth as f64 })
    };
    mesh.links.iter().filter_map(of).max_by(f64::total_cmp).filter(|most| most.is_finite())
}

fn state(mesh: &Topology, carried: &Carried, measured: &Measured, dead: Option<(String, Option<String>)>) -> State {
    let hubs = carried.hubs.iter().map(|(hub, passing)| {
        let stage = measured.service.busiest(passing.incoming, passing.outgoing);
        Part {
            name: name_of(mesh, *hub),
            busy: stage.as_ref().map(|stage| stage.busy),
            stage,
            incoming: passing.incoming,
            outgoing: passing.outgoing,
            bytes: 0.0,
        }
    });
    let links = carried.links.iter().map(|((from, to), traffic)| {
        let (from, to) = (name_of(mesh, *from), name_of(mesh, *to));
        let busy = bandwidth(mesh, &from, &to).map(|most| traffic.bytes / most);
        Part {
            name: format!("{from} -> {to}"),
            stage: None,
            incoming: traffic.events,
            outgoing: traffic.events,
            bytes: traffic.bytes,
            busy,
        }
    });
    let lost = carried.lost.iter().map(|((from, to), rate)| (name_of(mesh, *from), name_of(mesh, *to), *rate));
    State { dead, hubs: hubs.collect(), links: links.collect(), lost: lost.collect() }
}
