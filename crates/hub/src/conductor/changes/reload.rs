//! Neighbours of another configuration take the place of those that there are. A
//! place that was given stays with its address for ever, so that what is under way
//! for it finds it; at most as many places as there may be are given.

use std::sync::Arc;

use weft_topic::mapping::Mappings;
use weft_transport::dns::Sought;

use super::{Changes, Conductor, Dialled, MOST_DIALLED};
use crate::conductor::neighbours::Neighbours;
use crate::mapping::Mapped;
use crate::messages::ToNet;
use crate::options::{HubOptions, Neighbour};

impl Conductor {
    /// Other rules map what clients publish, from the next routes on.
    pub(in crate::conductor) fn map_otherwise(&mut self, rules: Mappings) {
        tracing::info!(code = "mapping_changed", rules = rules.rules().len(), "other rules map topics");
        self.table.mapping = Arc::new(Mapped::new(rules, &self.table.mapping, self.counters.table()));
        self.stale = true;
    }

    /// The configuration is another one, as far as a running hub takes one.
    pub(in crate::conductor) fn reload(&mut self, options: Arc<HubOptions>) {
        let left_out = self.changes.configure(&options.neighbours, &mut self.neighbours);
        if left_out > 0 {
            tracing::error!(
                code = "neighbours_beyond",
                left_out,
                most = MOST_DIALLED,
                "the hub has dialled the most addresses of one life: start it anew to have the others dialled"
            );
        }
        if options.see.metrics != self.options.see.metrics {
            self.table.metrics = options.see.metrics.as_slice().into();
            self.stale = true;
        }
        // There a neighbour is known by its place.
        let places = self.changes.dialled.iter().map(|dialled| Neighbour::clone(&dialled.neighbour)).collect();
        self.net.push(ToNet::Options(Arc::new(HubOptions { neighbours: places, ..HubOptions::clone(&options) })));
        self.options = options;
        self.reconcile();
    }
}

impl Changes {
    /// These are the neighbours of the configuration; answers how many have no place.
    fn configure(&mut self, all: &[Neighbour], states: &mut Neighbours) -> usize {
        let is_named = |neighbour: &Neighbour| Sought::of(&neighbour.addr).is_some();
        for dialled in self.dialled.iter_mut().filter(|dialled| dialled.wish.is_none() && !is_named(&dialled.neighbour))
        {
            dialled.was_configured |= std::mem::replace(&mut dialled.is_configured, false);
        }
        let mut left_out = 0;
        for neighbour in all.iter().filter(|neighbour| !is_named(neighbour)) {
            let is_it = |dialled: &&mut Dialled| {
                let same_name = neighbour.name.is_none() || dialled.neighbour.name == neighbour.name;
                dialled.wish.is_none()
                    && !dialled.is_configured
                    && dialled.neighbour.addr == neighbour.addr
                    && same_name
            };
            if let Some(dialled) = self.dialled.iter_mut().find(is_it) {
                dialled.neighbour = Arc::new(neighbour.clone());
                dialled.is_configured = true;
            } else if self.dialled.len() < MOST_DIALLED {
                self.dialled.push(Dialled::configured(neighbour));
                if let Some(dialled) = self.dialled.last_mut() {
                    dialled.is_wanted = false;
                }
                states.add();
            } else {
                left_out += 1;
            }
        }
        left_out
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weft_base::{Mono, Random};

    use super::*;
    use crate::conductor::neighbours::Pace;

    fn neighbour(addr: &str, cost: u32) -> Neighbour {
        Neighbour { addr: addr.to_owned(), cost, ..Neighbour::default() }
    }

    /// The places that are configured: address and cost.
    fn configured(changes: &Changes) -> Vec<(&str, u32)> {
        let all = changes.dialled.iter().filter(|dialled| dialled.is_configured);
        all.map(|dialled| (dialled.neighbour.addr.as_str(), dialled.neighbour.cost)).collect()
    }

    #[test]
    fn neighbours_keep_their_places_and_those_of_names_are_left_alone() {
        let all = [neighbour("a:1", 0), neighbour("dns:hubs.example:7412", 0), neighbour("b:1", 0)];
        let seconds = Duration::from_secs;
        let pace = Pace { first: seconds(1), most: seconds(2), failures: 5, stable: seconds(1) };
        let mut states = Neighbours::new(all.len(), pace, Random::from_seed(1));
        let mut changes = Changes::new(&all, None);
        let other = [neighbour("b:1", 7), neighbour("c:1", 0), neighbour("srv:_weft._tcp.example", 0)];
        assert_eq!(changes.configure(&other, &mut states), 0);
        assert_eq!(configured(&changes), [("b:1", 7), ("c:1", 0)]);
        let addresses: Vec<&str> = changes.dialled.iter().map(|dialled| dialled.neighbour.addr.as_str()).collect();
        assert_eq!(addresses, ["a:1", "dns:hubs.example:7412", "b:1", "c:1"]);
        assert!(changes.is_former(Some(0)) && !changes.is_former(Some(1)) && !changes.is_former(Some(2)));
        // The new one is dialled once it is wanted, not before.
        assert!(!states.due(Mono(1)).contains(&3));
        // Back again, in the same places.
        assert_eq!(changes.configure(&all, &mut states), 0);
        assert_eq!(configured(&changes), [("a:1", 0), ("b:1", 0)]);
        assert_eq!(changes.dialled.len(), 4);
        assert!(!changes.is_former(Some(0)) && changes.is_former(Some(3)));
    }

    #[test]
    fn neighbours_beyond_the_places_are_counted() {
        let all: Vec<Neighbour> = (0..MOST_DIALLED).map(|n| neighbour(&format!("a:{n}"), 0)).collect();
        let seconds = Duration::from_secs;
        let pace = Pace { first: seconds(1), most: seconds(2), failures: 5, stable: seconds(1) };
        let mut states = Neighbours::new(all.len(), pace, Random::from_seed(1));
        let mut changes = Changes::new(&all, None);
        assert_eq!(changes.configure(&[neighbour("b:1", 0), neighbour("a:7", 0)], &mut states), 1);
        assert_eq!(configured(&changes), [("a:7", 0)]);
    }
}
