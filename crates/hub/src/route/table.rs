//! Routes: an immutable snapshot from the conductor, and what the data path
//! remembers of it per topic.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use weft_base::{HubId, Mono, ProducerId, Residency, Way};
use weft_mesh::{Kind, Learned, Routes, StreamDef};
use weft_observe::Value;
use weft_topic::{Filter, InterestSet, Topic};
use weft_wire::block::Block;

use super::bound::Rules;
use super::groups::{self, Member, RouteGroup};
use super::homes::{Absent, Chosen, Share};
use crate::gate::Gate;
use crate::mapping::Mapped;
use crate::messages::{StreamSlot, Target};
use crate::options::HubOptions;
use crate::see::business::{Business, Metric};

/// Everything that decides where a block goes. The conductor makes a new one
/// when something changes and swaps it in; the data path reads it without a lock.
#[derive(Clone)]
pub(crate) struct RouteTable {
    /// Greater in each snapshot.
    pub(crate) version: u64,
    /// Live subscriptions of this hub.
    pub(crate) local: InterestSet<Target>,
    /// Members of groups at this hub.
    pub(crate) members: InterestSet<Member>,
    /// What says whether they have room.
    pub(crate) member_gates: Arc<BTreeMap<Target, Arc<Gate>>>,
    /// Streams that this hub is a home of, by what they take in.
    pub(crate) streams: InterestSet<LocalStream>,
    /// All streams of this hub, by name, and what it is to them.
    pub(crate) stream_names: Arc<LocalStreams>,
    /// Other hubs: their interest, and the way to them.
    pub(crate) routes: Arc<Routes>,
    /// The ways of what this hub must not have.
    pub(crate) nowhere: Arc<Routes>,
    /// What of the events that enter here may be at which hubs.
    pub(crate) rules: Arc<Rules>,
    /// Gates of the live subscriptions here that make publishers wait.
    pub(crate) gates: Arc<BTreeMap<Target, Arc<Gate>>>,
    /// Those of other hubs, by what they subscribe to.
    pub(crate) remote_gates: InterestSet<GateSlot>,
    pub(crate) remote_gate_list: Arc<BTreeMap<GateSlot, Arc<Gate>>>,
    /// What topics of clients of this hub become.
    pub(crate) mapping: Arc<Mapped>,
    /// What of the topics of clients of this hub is counted.
    pub(crate) metrics: Arc<[Metric]>,
    pub(crate) young: Young,
}

/// Until when a hub that has just started allows for streams elsewhere of which it
/// has not heard yet. Both are long past for a hub that has no others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Young {
    /// What it could do without them waits so long for a first link.
    link: Mono,
    /// What it could not, and everything while a neighbour tells it, waits so long.
    word: Mono,
}

/// So long a hub that has just started waits for a first link with what it could
/// do without: they are made at once where the other hub is there.
const FIRST_LINK: Duration = Duration::from_secs(1);

impl Young {
    /// Of a hub that starts now. `has_met`: it had others in an earlier life, or
    /// keeps no record of them.
    pub(crate) fn new(options: &HubOptions, has_met: bool, now: Mono) -> Self {
        let is_met = options.hubs.is_some() && has_met;
        let has_others = is_met || !options.neighbours.is_empty() || !options.seeds.is_empty();
        let patience = if has_others { options.timers.home_patience } else { Duration::ZERO };
        Self { link: now + patience.min(FIRST_LINK), word: now + patience }
    }
}

/// A stream of this hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LocalStream {
    pub(crate) slot: StreamSlot,
    /// The same at all its homes.
    pub(crate) id: u64,
}

/// The streams of this hub by name.
pub(crate) type LocalStreams = BTreeMap<Arc<str>, (LocalStream, Arc<StreamDef>)>;

/// A gate of another hub: the hub, and the gate's number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GateSlot(pub(crate) HubId, pub(crate) u64);

/// Where blocks of one topic go.
#[derive(Debug, Default)]
pub(crate) struct Route {
    pub(crate) local: Arc<[Target]>,
    pub(crate) streams: Arc<[StreamSlot]>,
    /// Their numbers, in the same order.
    pub(crate) stream_ids: Box<[u64]>,
    pub(crate) remote: Box<[Remote]>,
    /// Streams of which no home can be reached.
    pub(crate) absent: Box<[Absent]>,
    /// Streams whose publishes wait on disk here.
    pub(crate) spooled: Arc<[u64]>,
    /// Streams that cannot keep what is bound to this label: a home of each that
    /// does not carry it.
    pub(crate) barred: Box<[(u64, HubId)]>,
    /// Hubs that want the topic live and do not carry the label.
    pub(crate) outside: u64,
    /// What the rules of this hub say of the topic.
    pub(crate) rule: Residency,
    /// Which way its blocks take.
    pub(crate) spread: Spread,
    pub(crate) groups: Box<[RouteGroup]>,
    /// What must be open before a publish here is let in.
    pub(crate) gates: Box<[Arc<Gate>]>,
    /// Those of them, the first, that are of subscribers here: what is routed counts there.
    pub(crate) local_gates: usize,
    /// What users have declared that events of the topic count in.
    pub(crate) counted: Box<[Value]>,
}

/// Which of several ways of like cost the blocks of a topic take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// All the same: this one.
    Topic(Way),
    /// One for each producer, of so many. What streams of other hubs take goes
    /// so: a stream takes what comes after a later event of its producer for a
    /// duplicate, on whatever topic that was.
    Producer(u8),
}

impl Default for Spread {
    fn default() -> Self {
        Self::Topic(Way::MAIN)
    }
}

impl Spread {
    /// The way of what this producer publishes.
    #[inline]
    pub(crate) fn way(self, producer: ProducerId) -> Way {
        match self {
            Self::Topic(way) => way,
            Self::Producer(ways) => Way::of_producer(producer, ways),
        }
    }
}

/// Another hub that wants a topic. One that keeps a stream of it gets it by
/// the guaranteed flow alone, and serves its live subscribers from that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) hub: HubId,
    /// It is the home that stores the block.
    pub(crate) stream: bool,
    /// Its streams that take it.
    pub(crate) meant: Arc<[u64]>,
    /// Its streams that are not to, because another home of theirs does.
    pub(crate) except: Arc<[u64]>,
    /// It has live subscribers of its own.
    pub(crate) live: bool,
}

impl Route {
    /// Live receivers that a new block is sent to.
    pub(crate) fn receivers(&self) -> u32 {
        let remote = self.remote.iter().filter(|remote| remote.live).count();
        u32::try_from(self.local.len() + remote + self.groups.len()).unwrap_or(u32::MAX)
    }

    /// Counts what is now on its way to subscribers here that make publishers wait.
    #[inline]
    pub(crate) fn enter_gates(&self, events: u64, bytes: u64) {
        self.gates.iter().take(self.local_gates).for_each(|gate| gate.enter(events, bytes));
    }

    /// The first gate that is closed, if one is.
    #[inline]
    pub(crate) fn closed_gate(&self) -> Option<&Arc<Gate>> {
        self.gates.iter().find(|gate| gate.is_closed())
    }
}

impl RouteTable {
    /// A hub's first: nobody wants anything.
    pub(crate) fn empty(routes: Arc<Routes>) -> Self {
        Self {
            version: 0,
            local: InterestSet::new(),
            members: InterestSet::new(),
            member_gates: Arc::default(),
            streams: InterestSet::new(),
            stream_names: Arc::default(),
            nowhere: Arc::new(Routes::alone(routes.me())),
            routes,
            rules: Arc::default(),
            gates: Arc::default(),
            remote_gates: InterestSet::new(),
            remote_gate_list: Arc::default(),
            mapping: Arc::default(),
            metrics: Arc::default(),
            young: Young::default(),
        }
    }

    /// What a stream captures, here or at other hubs: empty for one that is not known.
    pub(crate) fn captured(&self, name: &str) -> Arc<[Filter]> {
        let own = self.stream_names.get(name).map(|(stream, _)| stream.id);
        let Some(id) = own.or_else(|| self.routes.homes_of(name).next().map(|home| home.def.id)) else {
            return Arc::default();
        };
        let mut filters: Vec<Filter> = Vec::new();
        for (filter, stream) in self.streams.iter() {
            if stream.id == id {
                filters.push(filter);
            }
        }
        self.routes.stream_filters(|filter, at| {
            if at.id == id {
                filters.push(filter.clone());
            }
        });
        filters.sort_unstable();
        filters.dedup();
        filters.into()
    }

    /// Whether there may be streams elsewhere of which this hub has not heard:
    /// it has just started, and no neighbour has told it all yet. `can_do`: what is
    /// asked can be done with those that it knows.
    #[inline]
    pub(crate) fn may_lack_streams(&self, can_do: bool, now: Mono) -> bool {
        match self.routes.learned() {
            Learned::All => false,
            Learned::Nothing if can_do => now < self.young.link,
            Learned::Nothing | Learned::Some => now < self.young.word,
        }
    }

    /// The ways for events of this residency; none where this hub must not have them.
    #[inline]
    pub(crate) fn ways(&self, residency: Residency) -> &Routes {
        self.routes.bound(residency).unwrap_or(&self.nowhere)
    }

    /// The ways for a stamped block, and which of them it takes.
    #[inline]
    pub(crate) fn ways_of(&self, block: Block<'_>) -> (&Routes, Way) {
        (self.ways(block.residency()), block.way())
    }

    /// Streams of a topic that cannot keep what is bound to this label, with a
    /// home of each that does not carry it. All homes have the same, so that each
    /// of them can take another's place.
    fn barred(&self, topic: Topic<'_>, residency: Residency) -> Box<[(u64, HubId)]> {
        let mut barred = Vec::new();
        if residency.is_bound() {
            let ways = self.ways(residency);
            ways.streams(topic, |at| barred.extend(ways.is_outside(at.hub).then_some((at.id, at.hub))));
            barred.sort_unstable();
            barred.dedup_by_key(|(id, _)| *id);
        }
        barred.into()
    }

    pub(crate) fn resolve(&self, topic: Topic<'_>, residency: Residency, chosen: &mut Chosen) -> Route {
        let ways = self.ways(residency);
        let barred = self.barred(topic, residency);
        let mut local = Vec::new();
        self.local.for_each_match(topic, |target| local.push(*target));
        local.sort_unstable();
        local.dedup();
        let mut streams: Vec<LocalStream> = Vec::new();
        self.streams.for_each_match(topic, |stream| streams.push(*stream));
        streams.sort_unstable();
        streams.dedup();
        let mut remote: Vec<Remote> = Vec::new();
        let is_barred = |id: u64| barred.iter().any(|(of, _)| *of == id);
        streams.retain(|stream| !is_barred(stream.id));
        let stream_ids: Box<[u64]> = streams.iter().map(|stream| stream.id).collect();
        let homes = chosen.choose((ways, residency), topic, &stream_ids, is_barred);
        let mut outside = 0;
        for (hub, Share { meant, except }) in homes.chosen {
            remote.push(Remote { hub, stream: true, meant: meant.into(), except: except.into(), live: false });
        }
        ways.destinations(topic, |hub, kind, _reachable| {
            if kind != Kind::Live {
                return;
            }
            if residency.is_bound() && ways.is_outside(hub) {
                outside += 1;
                return;
            }
            match remote.iter_mut().find(|r| r.hub == hub) {
                Some(known) => known.live = true,
                None if homes.later.contains(&hub) => {}
                None => remote.push(Remote { hub, live: true, ..Remote::default() }),
            }
        });
        remote.sort_unstable_by_key(|r| r.hub);
        let groups = groups::resolve(self, ways, topic);
        let mut gates: Vec<Arc<Gate>> = Vec::new();
        if !self.gates.is_empty() {
            gates.extend(local.iter().filter_map(|target| self.gates.get(target)).cloned());
        }
        let local_gates = gates.len();
        if !self.remote_gate_list.is_empty() {
            let mut slots = Vec::new();
            self.remote_gates.for_each_match(topic, |slot| slots.push(*slot));
            // Nobody waits for a hub that cannot be reached.
            slots.retain(|slot| self.routes.is_reachable(slot.0));
            slots.sort_unstable();
            slots.dedup();
            gates.extend(slots.iter().filter_map(|slot| self.remote_gate_list.get(slot)).cloned());
        }
        let is_for_streams = !(homes.absent.is_empty() && homes.spooled.is_empty());
        let spread = if is_for_streams || remote.iter().any(|remote| remote.stream) {
            Spread::Producer(ways.ways())
        } else if remote.is_empty() && groups.is_empty() {
            // It stays here, and clients of version 1 read it as it is.
            Spread::default()
        } else {
            Spread::Topic(Way::of_topic(topic.as_str(), ways.ways()))
        };
        Route {
            local: local.into(),
            streams: streams.iter().map(|stream| stream.slot).collect(),
            stream_ids,
            remote: remote.into(),
            absent: homes.absent.into(),
            spooled: homes.spooled.into(),
            barred,
            outside,
            rule: self.rules.rule(topic),
            spread,
            groups,
            gates: gates.into(),
            local_gates,
            counted: Box::default(),
        }
    }
}

/// The routes of the topics seen since the last snapshot, a bounded number.
pub(crate) struct RouteCache {
    routes: HashMap<Box<str>, Arc<Route>>,
    /// Of events that are bound to labels.
    bound: BTreeMap<Residency, HashMap<Box<str>, Arc<Route>>>,
    pub(super) chosen: Chosen,
    pub(super) business: Business,
    version: u64,
    limit: usize,
}

impl RouteCache {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            routes: HashMap::new(),
            bound: BTreeMap::new(),
            chosen: Chosen::default(),
            business: Business::default(),
            version: 0,
            limit: limit.max(1),
        }
    }

    /// What is chosen has changed: routes are found anew.
    pub(super) fn forget(&mut self) {
        self.routes.clear();
        self.bound.clear();
    }

    /// The route of events of a topic and residency by this table.
    pub(crate) fn route(&mut self, table: &RouteTable, topic: Topic<'_>, residency: Residency) -> Arc<Route> {
        if self.version != table.version {
            self.version = table.version;
            self.business.renew(&table.metrics);
            self.forget();
        }
        if let Some(route) = self.known(residency).and_then(|routes| routes.get(topic.as_str())) {
            return route.clone();
        }
        if self.routes.len() + self.bound.values().map(HashMap::len).sum::<usize>() >= self.limit {
            self.forget();
        }
        let route = table.resolve(topic, residency, &mut self.chosen);
        let route = Arc::new(Route { counted: self.business.of(topic), ..route });
        let routes = if residency.is_bound() { self.bound.entry(residency).or_default() } else { &mut self.routes };
        routes.insert(topic.as_str().into(), route.clone());
        route
    }

    fn known(&self, residency: Residency) -> Option<&HashMap<Box<str>, Arc<Route>>> {
        if residency.is_bound() { self.bound.get(&residency) } else { Some(&self.routes) }
    }
}

#[cfg(test)]
mod tests {
    use weft_transport::network::Security;

    use super::*;
    use crate::options::Listen;

    #[test]
    fn a_hub_that_has_just_started_waits_for_a_link_and_longer_for_what_it_cannot_do_alone() {
        let mut options = HubOptions::new("hub");
        let (start, at) = (Mono(5_000_000_000), |ms: u64| Mono(5_000_000_000) + Duration::from_millis(ms));
        let table = |options: &HubOptions| RouteTable {
            young: Young::new(options, false, start),
            ..RouteTable::empty(Arc::new(Routes::alone(HubId(1))))
        };
        assert!(!table(&options).may_lack_streams(false, start), "there are no others");
        options.hubs = Some(Listen { addr: "127.0.0.1:0".to_owned(), security: Security::Plain });
        assert!(!table(&options).may_lack_streams(false, start), "nobody has ever come");
        let met = Young::new(&options, true, start);
        assert_eq!(met.word, at(10_000), "who came in an earlier life comes again");
        options.seeds = vec!["hub.example:7412".to_owned()];
        let young = table(&options);
        let lacks = |can_do, ms| young.may_lack_streams(can_do, at(ms));
        assert_eq!([lacks(true, 999), lacks(true, 1_000)], [true, false]);
        assert_eq!([lacks(false, 9_999), lacks(false, 10_000)], [true, false]);
        options.timers.home_patience = Duration::from_millis(100);
        let young = table(&options);
        let lacks = |can_do, ms| young.may_lack_streams(can_do, at(ms));
        assert_eq!([lacks(true, 99), lacks(true, 100), lacks(false, 100)], [true, false, false]);
    }
}
