//! Routes: an immutable snapshot from the conductor, and what the data path
//! remembers of it per topic.

use std::collections::HashMap;
use std::sync::Arc;

use weft_base::HubId;
use weft_mesh::{Kind, Routes};
use weft_topic::{InterestSet, Topic};

use crate::messages::{StreamSlot, Target};

/// Everything that decides where a block goes. The conductor makes a new one
/// when something changes and swaps it in; the data path reads it without a lock.
#[derive(Clone)]
pub(crate) struct RouteTable {
    /// Greater in each snapshot.
    pub(crate) version: u64,
    /// Live subscriptions of this hub.
    pub(crate) local: InterestSet<Target>,
    /// Streams of this hub.
    pub(crate) streams: InterestSet<StreamSlot>,
    /// Other hubs: their interest, and the way to them.
    pub(crate) routes: Arc<Routes>,
}

/// Where blocks of one topic go.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) local: Arc<[Target]>,
    pub(crate) streams: Arc<[StreamSlot]>,
    pub(crate) remote: Box<[Remote]>,
}

/// Another hub that wants a topic. One that keeps a stream of it gets it by
/// the guaranteed flow alone, and serves its live subscribers from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) hub: HubId,
    pub(crate) stream: bool,
}

impl RouteTable {
    pub(crate) fn resolve(&self, topic: Topic<'_>) -> Route {
        let mut local = Vec::new();
        self.local.for_each_match(topic, |target| local.push(*target));
        local.sort_unstable();
        local.dedup();
        let mut streams = Vec::new();
        self.streams.for_each_match(topic, |slot| streams.push(*slot));
        streams.sort_unstable();
        streams.dedup();
        let mut remote: Vec<Remote> = Vec::new();
        self.routes.destinations(topic, |hub, kind, _reachable| {
            let stream = kind == Kind::Stream;
            match remote.iter_mut().find(|r| r.hub == hub) {
                Some(known) => known.stream |= stream,
                None => remote.push(Remote { hub, stream }),
            }
        });
        remote.sort_unstable_by_key(|r| r.hub);
        Route { local: local.into(), streams: streams.into(), remote: remote.into() }
    }
}

/// The routes of the topics seen since the last snapshot, a bounded number.
pub(crate) struct RouteCache {
    routes: HashMap<Box<str>, Arc<Route>>,
    version: u64,
    limit: usize,
}

impl RouteCache {
    pub(crate) fn new(limit: usize) -> Self {
        Self { routes: HashMap::new(), version: 0, limit: limit.max(1) }
    }

    /// The route of a topic by this table.
    pub(crate) fn route(&mut self, table: &RouteTable, topic: Topic<'_>) -> Arc<Route> {
        if self.version != table.version {
            self.version = table.version;
            self.routes.clear();
        }
        if let Some(route) = self.routes.get(topic.as_str()) {
            return route.clone();
        }
        if self.routes.len() >= self.limit {
            self.routes.clear();
        }
        let route = Arc::new(table.resolve(topic));
        self.routes.insert(topic.as_str().into(), route.clone());
        route
    }
}
