//! What the choice of links goes by, of what is known of the mesh.

use weft_base::HubId;

use super::Mesh;
use crate::{Dialled, Pickable};

impl Mesh {
    /// The hubs that could be linked to: those of which it is known where they
    /// are dialled, in the order of their names.
    #[must_use]
    pub fn pickable(&self) -> Vec<Pickable> {
        let hubs = self.identities.book.iter().map(|(name, _)| {
            let id = HubId::of_name(name);
            let known = self.hubs.get(&id);
            Pickable {
                hub: id,
                name: name.clone(),
                region: known.map_or_else(String::new, |hub| hub.region.clone()),
                is_reachable: known.is_some_and(|hub| hub.path.is_some()),
                is_draining: known.is_some_and(super::records::Hub::is_draining),
            }
        });
        hubs.filter(|hub| hub.hub != self.me.id).collect()
    }

    /// Where a hub is dialled: any of its addresses.
    pub fn dialled(&mut self, hub: HubId) -> Option<Dialled> {
        let book = &self.identities.book;
        let name = book.iter().map(|(name, _)| name).find(|name| HubId::of_name(name) == hub)?.clone();
        let address = book.one_of(&name, &mut self.random)?;
        Some(Dialled { name, address })
    }

    /// Whether a hub would still be reached if all links to it ended, as far as
    /// hubs report their links.
    #[must_use]
    pub fn has_way_round(&self, hub: HubId) -> bool {
        self.graph().0.has_way_round(self.me.id, hub)
    }
}
