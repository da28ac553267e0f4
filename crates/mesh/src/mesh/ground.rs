//! What this hub's two paths to others are found by.

use std::collections::BTreeMap;

use weft_base::HubId;
use weft_wire::frame::{Kind, attribute};

use super::Mesh;
use super::records::Hub;
use crate::LinkId;
use crate::apart::Ground;
use crate::spf::Graph;

impl Mesh {
    /// What two paths are found by, over the hubs that are inside.
    pub(super) fn ground_of(
        &self,
        graph: Graph,
        in_use: &BTreeMap<HubId, LinkId>,
        inside: impl Fn(HubId) -> bool,
    ) -> Ground {
        let these = |is: fn(&Hub) -> bool| {
            self.hubs.iter().filter(|(id, hub)| inside(**id) && is(hub)).map(|(id, _)| *id).collect()
        };
        let in_use = in_use.iter().filter(|(hub, _)| inside(**hub)).map(|(hub, link)| (*hub, *link)).collect();
        let graph = self.options.two_paths.then_some(graph);
        Ground::new(graph, these(Hub::is_draining), these(Hub::takes_detours), in_use)
    }
}

impl Hub {
    /// Whether it takes blocks that name the hubs on their way.
    fn takes_detours(&self) -> bool {
        let takes = self.attribute(attribute::TAKES).unwrap_or_default();
        !self.is_expired && takes.contains(&(Kind::Detour as u8))
    }
}
