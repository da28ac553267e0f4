//! Streams of this hub: what publishes they take in here, and what the mesh is
//! told of them. A mirror takes no publishes, but is known by its name.

use std::sync::Arc;

use weft_mesh::{Event, StreamDef};
use weft_topic::Filter;

use super::Conductor;
use super::collisions::News;
use crate::messages::StreamSlot;
use crate::route::table::LocalStream;

impl Conductor {
    /// A stream is there, or is another now: a home, or with other filters.
    pub(super) fn stream_up(&mut self, slot: StreamSlot, def: Arc<StreamDef>, filters: Vec<Filter>) {
        self.stream_down(slot);
        let local = LocalStream { slot, id: def.id };
        if def.is_home() {
            for filter in &filters {
                self.table.streams.insert(filter, local);
            }
        }
        Arc::make_mut(&mut self.table.stream_names).insert(def.name.clone(), (local, def.clone()));
        for filter in told(&def, &filters) {
            self.apply(Event::Stream { add: true, def: def.clone(), filter });
        }
        self.streams.insert(slot, (def, filters));
        (self.stale, self.streams_changed) = (true, true);
    }

    pub(super) fn stream_down(&mut self, slot: StreamSlot) {
        let Some((def, filters)) = self.streams.remove(&slot) else { return };
        for filter in &filters {
            self.table.streams.remove(filter, &LocalStream { slot, id: def.id });
        }
        Arc::make_mut(&mut self.table.stream_names).remove(&def.name);
        for filter in told(&def, &filters) {
            self.apply(Event::Stream { add: false, def: def.clone(), filter });
        }
        (self.stale, self.streams_changed) = (true, true);
    }
}

impl Conductor {
    /// Tells which names several streams have, once for each change of that.
    pub(super) fn tell_collisions(&mut self) {
        for news in self.collisions.look(&self.table.stream_names, &self.table.routes) {
            match news {
                News::Collided { name, numbers } => {
                    let homes = self.table.routes.homes_of(&name).filter(|home| home.def.is_home());
                    let hubs: Vec<&str> = homes.filter_map(|home| self.mesh.name_of(home.hub)).collect();
                    let is_here = self.table.stream_names.contains_key(&name);
                    tracing::warn!(
                        code = "stream_collision",
                        stream = &*name,
                        streams = numbers.len(),
                        is_here,
                        others_at = hubs.join(" "),
                        "streams that were made apart have one name: each goes on; delete one, or copy it into the other"
                    );
                }
                News::Over { name } => {
                    tracing::info!(code = "stream_collision_over", stream = &*name, "one stream has the name");
                }
            }
        }
    }
}

/// The filters under which the mesh is told of a stream.
fn told(def: &StreamDef, filters: &[Filter]) -> Vec<Filter> {
    if def.is_home() && !filters.is_empty() {
        return filters.to_vec();
    }
    StreamDef::name_only(def.id).into_iter().collect()
}
