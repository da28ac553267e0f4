//! Streams of one name that were made apart: when two meshes merge, each keeps
//! its own, with its own number, and nothing of either is lost or mixed. Clients
//! that name such a stream may mean the other one, so it is told.
//!
//! Homes of one stream have one number, so that two numbers of one name are two
//! streams. Mirrors do not count: they are named as their owner likes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_mesh::Routes;

use crate::route::table::LocalStreams;

/// Names that are told at a time; more are counted with them once these are gone.
const MOST: usize = 256;

/// The names that several streams have, and which numbers these have.
#[derive(Default)]
pub(super) struct Collisions(BTreeMap<Arc<str>, BTreeSet<u64>>);

/// What is new about a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Several streams have it.
    Collided { name: Arc<str>, numbers: Vec<u64> },
    /// One has, or none.
    Over { name: Arc<str> },
}

impl Collisions {
    /// Looks at all streams within reach or remembered; answers what has changed.
    pub(super) fn look(&mut self, own: &LocalStreams, routes: &Routes) -> Vec<News> {
        let mut all: BTreeMap<Arc<str>, BTreeSet<u64>> = BTreeMap::new();
        let local = own.values().map(|(_, def)| &**def);
        for def in local.chain(routes.all_streams().map(|home| home.def)).filter(|def| def.is_home()) {
            all.entry(def.name.clone()).or_default().insert(def.id);
        }
        all.retain(|_, numbers| numbers.len() > 1);
        while all.len() > MOST {
            all.pop_last();
        }
        let mut news = Vec::new();
        for (name, numbers) in &all {
            if self.0.get(name) != Some(numbers) {
                news.push(News::Collided { name: name.clone(), numbers: numbers.iter().copied().collect() });
            }
        }
        news.extend(
            self.0.keys().filter(|name| !all.contains_key(*name)).map(|name| News::Over { name: name.clone() }),
        );
        self.0 = all;
        news
    }

    /// Each with the number of streams that have it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0.iter().map(|(name, numbers)| (&**name, numbers.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::StreamSlot;
    use crate::route::table::LocalStream;
    use weft_base::HubId;
    use weft_mesh::StreamDef;

    fn own(streams: &[(&str, u64, u8)]) -> LocalStreams {
        let entry = |(name, id, role): &(&str, u64, u8)| {
            let def = StreamDef { name: (*name).into(), id: *id, role: *role, unreachable: 0, consistency: 0 };
            (def.name.clone(), (LocalStream { slot: StreamSlot(0), id: *id }, Arc::new(def)))
        };
        streams.iter().map(entry).collect()
    }

    #[test]
    fn a_name_of_one_stream_is_no_news_and_neither_is_a_mirror() {
        let routes = Routes::alone(HubId(1));
        let mut collisions = Collisions::default();
        assert_eq!(collisions.look(&own(&[("orders", 7, 0), ("trades", 8, 1)]), &routes), []);
        assert_eq!(collisions.iter().count(), 0);
    }

    #[test]
    fn a_collision_that_is_over_is_told_as_such_once() {
        let routes = Routes::alone(HubId(1));
        let mut collisions = Collisions::default();
        collisions.0.insert("orders".into(), [7, 9].into());
        assert_eq!(collisions.iter().collect::<Vec<_>>(), [("orders", 2)]);
        let over = [News::Over { name: "orders".into() }];
        assert_eq!(collisions.look(&own(&[("orders", 7, 0)]), &routes), over);
        assert_eq!(collisions.look(&own(&[("orders", 7, 0)]), &routes), []);
    }
}
