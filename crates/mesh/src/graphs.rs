//! Graphs for tests: from a few words, and at random.

use proptest::prelude::*;
use weft_base::HubId;

use crate::costs::{Said, Weights};
use crate::spf::Graph;

/// Links by the ids of their ends and their cost, the same in both directions.
pub(crate) fn graph(edges: &[(u64, u64, u32)]) -> Graph {
    let said = |cost: u32| Said { cost, ..Said::default() };
    let both =
        |(a, b, cost): &(u64, u64, u32)| [(HubId(*a), HubId(*b), said(*cost)), (HubId(*b), HubId(*a), said(*cost))];
    Graph::of_reports(edges.iter().flat_map(both), Some(&Weights::default()))
}

/// Links between hubs 1 to `hubs`, fewer than `links` of them, with such costs.
pub(crate) fn any_graph(
    hubs: u64,
    links: usize,
    costs: impl Strategy<Value = u32>,
) -> impl Strategy<Value = Vec<(u64, u64, u32)>> {
    proptest::collection::vec((1..=hubs, 1..=hubs, costs), 1..links).prop_map(|mut edges| {
        edges.retain(|(a, b, _)| a != b);
        edges
    })
}
