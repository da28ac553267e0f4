//! Lanes on two paths: a second copy of what enters the mesh here, blocks from
//! other hubs that name their way, and of what comes over two paths each block
//! once and in order.
//!
//! A hub on such a way passes a block on by the hubs that it names and keeps
//! nothing of it: it may have had the other copy, or get it for somebody else. So
//! second copies pass the duplicate cut by; where they end, the flow's numbers
//! tell the two apart. They are no copies of the ledger, in which the first ones
//! are: what becomes of them has counters of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use weft_base::{HubId, Lane, Mono, Residency, Way};
use weft_mesh::flow::{Came, Merged};
use weft_mesh::ledger::DropReason;
use weft_mesh::{Along, INITIAL_TTL, LinkId, Routes, TwoPaths, hops, split};
use weft_ring::arena::BlockRef;
use weft_topic::Topic;
use weft_wire::block::layout::REQUEST;
use weft_wire::block::{Block, Stamp};
use weft_wire::frame::{self, ErrorCode, FlowEntry, FlowKind, PathCopy};
use weft_wire::peer::PeerAddress;

use super::RouteStage;
use super::table::{Route, RouteTable};
use crate::counters::add;
use crate::messages::{FlowTo, Forward, Head, SessionId, ToNet};
use crate::options::{HubOptions, Paths};
use crate::see::account::Waits;

/// Hubs that paths are found to in one turn of the stage, each at the cost of some
/// searches through the mesh.
const SEARCHES: usize = 8;

type Merge = weft_mesh::flow::Merge<Kept>;

/// A block that waits for earlier ones, or has just come.
pub(super) struct Kept {
    block: BlockRef,
    entry: FlowEntry,
    /// To whom it goes here.
    route: Arc<Route>,
    ttl: u8,
}

/// How a block that came is to be taken.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) ttl: u8,
    /// Which copy it is; the usual way brings the first.
    pub(super) copy: PathCopy,
}

/// Two paths to a hub, if there were any in the mesh as it was then.
struct Found {
    mesh: u64,
    paths: Option<Arc<TwoPaths>>,
}

/// The state of two paths.
pub(super) struct Apart {
    options: Paths,
    /// The paths to hubs.
    found: BTreeMap<(Residency, HubId), Found>,
    /// What the newest were found by.
    of: Arc<Routes>,
    /// Greater with each change of the mesh.
    mesh: u64,
    /// Searches that this turn may still make.
    searches: usize,
    /// Flows that came over two paths.
    merges: HashMap<FlowTo, Merge>,
    /// Bytes that wait in them, and at most.
    waiting: u64,
    most: u64,
    /// Kept between blocks, so that nothing is allocated.
    entries: Vec<FlowEntry>,
    /// The hubs that the block in hand names.
    pub(super) hubs: Vec<HubId>,
    merged: Vec<Merged<Kept>>,
}

impl Apart {
    pub(super) fn new(options: &HubOptions, table: &RouteTable) -> Self {
        Self {
            most: options.paths.waiting.0.min(options.limits.arena.0 / 4),
            options: options.paths.clone(),
            found: BTreeMap::new(),
            of: table.routes.clone(),
            mesh: 0,
            searches: SEARCHES,
            merges: HashMap::new(),
            waiting: 0,
            entries: Vec::new(),
            hubs: Vec::new(),
            merged: Vec::new(),
        }
    }

    /// Whether what enters the mesh here in a lane goes over two paths.
    fn is_on(&self, lane: Lane) -> bool {
        self.options.lanes.get(lane.index()) == Some(&2)
    }

    /// Whether this block does. A request has one copy: where that is lost its
    /// publisher is told that nobody has it.
    pub(super) fn is_for(&self, block: Block<'_>) -> bool {
        self.is_on(block.lane()) && block.flags() & REQUEST == 0
    }

    /// A turn of the stage begins.
    pub(super) fn begin_turn(&mut self) {
        self.searches = SEARCHES;
    }

    /// The way of what enters the mesh here: two paths stand beside the main one.
    pub(super) fn way(&self, lane: Lane, way: Way) -> Way {
        if self.is_on(lane) { Way::MAIN } else { way }
    }

    /// Two paths to a hub. While there are too many to find, those of the mesh
    /// before count, as long as their first links are there: hubs on the way drop
    /// what they cannot pass on.
    fn paths(&mut self, table: &RouteTable, residency: Residency, hub: HubId) -> Option<Arc<TwoPaths>> {
        if !Arc::ptr_eq(&self.of, &table.routes) {
            if !self.of.has_paths_of(&table.routes) {
                self.mesh += 1;
                self.found.retain(|(_, hub), _| table.routes.epoch(*hub).is_some());
            }
            self.of = table.routes.clone();
        }
        let ways = table.ways(residency);
        let known = self.found.get(&(residency, hub));
        if let Some(found) = known.filter(|found| found.mesh == self.mesh) {
            return found.paths.clone();
        }
        if self.searches == 0 {
            let is_there = |along: &Along| along.hubs.first().and_then(|hub| ways.link_to(*hub)) == Some(along.link);
            let paths = known.and_then(|found| found.paths.clone());
            return paths.filter(|paths| is_there(&paths.second) && paths.first.as_ref().is_none_or(is_there));
        }
        self.searches -= 1;
        // No more than there are hubs and sets of labels.
        let paths = ways.two_paths(hub).map(Arc::new);
        self.found.insert((residency, hub), Found { mesh: self.mesh, paths: paths.clone() });
        paths
    }

    fn patience(&self) -> Duration {
        self.options.patience
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        // Only while something waits, which is for a moment.
        let merges = (self.waiting > 0).then(|| self.merges.values());
        merges.into_iter().flatten().filter_map(|merge| merge.deadline(self.patience())).min()
    }
}

impl RouteStage {
    /// Of the entries in hand, whose block goes over two paths: sends the second
    /// copies, and first ones that do not go the usual way. What goes the usual way is left.
    pub(super) fn send_apart(&mut self, block: &BlockRef, events: u64) {
        let residency = Block::trusted(block).residency();
        let mut all = std::mem::take(&mut self.apart.entries);
        all.append(&mut self.entries);
        for to_one in all.chunk_by(|a, b| a.hub == b.hub) {
            let Some(hub) = to_one.first().map(|entry| entry.hub) else { continue };
            let Some(paths) = self.apart.paths(&self.table, residency, hub) else {
                add(&self.counters.second_none, events);
                self.entries.extend_from_slice(to_one);
                continue;
            };
            add(&self.counters.second_sent, events);
            let (second, copy) = (&paths.second, PathCopy::Second);
            self.send_along(block, events, to_one, (second.link, &second.hubs), Arrival { ttl: INITIAL_TTL, copy });
            match &paths.first {
                Some(first) => {
                    let arrival = Arrival { ttl: INITIAL_TTL, copy: PathCopy::First };
                    self.send_along(block, events, to_one, (first.link, &first.hubs), arrival);
                }
                None => self.entries.extend_from_slice(to_one),
            }
        }
        all.clear();
        self.apart.entries = all;
    }

    /// Sends a block to one hub by the hubs that are named.
    fn send_along(
        &mut self,
        block: &BlockRef,
        events: u64,
        entries: &[FlowEntry],
        (link, hubs): (LinkId, &[HubId]),
        Arrival { ttl, copy }: Arrival,
    ) {
        let counters = self.counters.clone();
        let account = counters.account(block);
        let live = entries.iter().filter(|entry| entry.kind.is_best_effort()).count() as u64;
        let (live_copies, second) = match copy {
            PathCopy::First => (live * events, 0),
            PathCopy::Second => (0, events),
        };
        if frame::detour_head((ttl, copy), hubs, entries, block.len(), &mut self.head).is_err() {
            account.drop(DropReason::Invalid, live_copies);
            return add(&counters.second_dropped[DropReason::Invalid], second);
        }
        account.enter(Waits::Net, live_copies);
        let guaranteed = entries.iter().any(|entry| entry.kind == FlowKind::Guaranteed);
        let forward = Forward { head: Head::new(&self.head), block: block.clone(), live_copies, second, guaranteed };
        self.net.push(ToNet::Forward { link: SessionId(link.0), forward });
    }

    /// A sound block has come that names its way: `apart.hubs`, and its entries
    /// are in hand. It is taken here, or passed on to the next hub.
    pub(super) fn came_along(
        &mut self,
        link: SessionId,
        (from, since): (HubId, Mono),
        block: &BlockRef,
        stamp: &Stamp,
        Arrival { ttl, copy }: Arrival,
    ) {
        let me = self.identity.id;
        let topic = Topic::parse(Block::trusted(block).topic());
        let Some(topic) = topic.ok().filter(|topic| PeerAddress::parse(topic.as_str()).is_none()) else {
            let detail = "a block that names its way has a topic that is none, or that of a message between hubs";
            return self.close(link, ErrorCode::BAD_TOPIC, detail.to_owned());
        };
        let Some((first, onwards)) = self.apart.hubs.split_first().filter(|(first, _)| **first == me) else {
            let detail = "a block that names its way names another hub than this one as the next";
            return self.close(link, ErrorCode::BAD_FRAME, detail.to_owned());
        };
        // Neither its origin nor a hub sends it in circles.
        if stamp.origin == *first || onwards.contains(first) || onwards.contains(&stamp.origin) {
            return self.drop_along(block, copy, DropReason::Loop);
        }
        self.note(block, from, since);
        let residency = Block::trusted(block).residency();
        if !onwards.is_empty() {
            return self.pass_along(block, residency, Arrival { ttl, copy });
        }
        let route = match self.replies.route(me, topic.as_str()) {
            None => self.cache.route(&self.table, topic, residency),
            Some(Ok(route)) => route,
            Some(Err(detail)) => return self.close(link, ErrorCode::BAD_TOPIC, detail.to_owned()),
        };
        let flow = FlowTo::of(stamp.origin, Block::trusted(block));
        let ways = self.table.ways_of(Block::trusted(block));
        split(ways, self.entries.iter().copied(), Some(LinkId(link.0)), ttl, &mut self.split);
        let here = std::mem::take(&mut self.split);
        self.take_here(&route, block, (stamp, flow), &here, Arrival { ttl, copy }, None);
        self.split = here;
        self.pass_on(block, u64::from(Block::trusted(block).event_count()), ttl);
    }

    /// Passes a block on to the next of the hubs that it names.
    fn pass_along(&mut self, block: &BlockRef, residency: Residency, arrival: Arrival) {
        let events = u64::from(Block::trusted(block).event_count());
        let Arrival { ttl, copy } = arrival;
        let (entries, hubs) = (std::mem::take(&mut self.entries), std::mem::take(&mut self.apart.hubs));
        let live = entries.iter().filter(|entry| entry.kind.is_best_effort()).count() as u64;
        let ways = self.table.ways(residency);
        let onwards = hubs.get(1..).unwrap_or_default();
        let next = onwards.first().ok_or(DropReason::Invalid);
        let link = match next.map(|hub| (hub, ways.link_to(*hub))) {
            _ if ttl <= 1 => Err(DropReason::Ttl),
            Ok((_, Some(link))) => Ok(link),
            Ok((hub, None)) => Err(ways.why_not(*hub)),
            Err(reason) => Err(reason),
        };
        match (copy, link) {
            (PathCopy::First, _) => {
                let account = self.counters.account(block);
                account.transit(events * live);
                account.copies(events * live);
                if let Err(reason) = link {
                    account.drop(reason, events * live);
                }
            }
            (PathCopy::Second, Ok(_)) => add(&self.counters.second_passed, events),
            (PathCopy::Second, Err(reason)) => add(&self.counters.second_dropped[reason], events),
        }
        if let Ok(link) = link {
            self.send_along(block, events, &entries, (link, onwards), Arrival { ttl: ttl - 1, copy });
        }
        (self.entries, self.apart.hubs) = (entries, hubs);
    }

    /// Counts a block that came along and goes no further.
    pub(super) fn drop_along(&self, block: &BlockRef, copy: PathCopy, reason: DropReason) {
        let events = u64::from(Block::trusted(block).event_count());
        if copy == PathCopy::Second {
            return add(&self.counters.second_dropped[reason], events);
        }
        let live = self.entries.iter().filter(|entry| entry.kind.is_best_effort()).count() as u64;
        let account = self.counters.account(block);
        account.transit(events * live);
        account.copies(events * live);
        account.drop(reason, events * live);
    }

    /// Whether live blocks of a flow are to be merged: they come over two paths.
    #[inline]
    pub(super) fn is_merged(&self, flow: &FlowTo, copy: PathCopy) -> bool {
        copy == PathCopy::Second || (!self.apart.merges.is_empty() && self.apart.merges.contains_key(flow))
    }

    /// Of a live block that has come for this hub over one of two paths: it is
    /// taken, with what waited for it, waits itself, or was here before.
    pub(super) fn merge(
        &mut self,
        route: &Arc<Route>,
        block: &BlockRef,
        (stamp, flow): (&Stamp, FlowTo),
        entry: &FlowEntry,
        Arrival { ttl, copy }: Arrival,
    ) {
        let events = u64::from(Block::trusted(block).event_count());
        let (incarnation, sequence) = (entry.incarnation, entry.sequence);
        let came = Came { copy, origin: stamp.epoch, incarnation, sequence, events };
        let kept = Kept { block: block.clone(), entry: *entry, route: route.clone(), ttl };
        let mut merged = std::mem::take(&mut self.apart.merged);
        let receiver = self.flows.live_from(flow);
        let merge = self.apart.merges.entry(flow).or_insert_with(|| Merge::new(receiver));
        self.apart.waiting += block.len() as u64;
        merge.came(receiver, came, kept, self.now.mono, &mut merged);
        let left: u64 = merged.iter().map(|merged| merged.item().block.len() as u64).sum();
        if self.apart.waiting.saturating_sub(left) > self.apart.most {
            merge.release(receiver, &mut merged);
        }
        add(&self.counters.second_waited, if merged.is_empty() { events } else { 0 });
        self.take_merged(merged);
    }

    /// What has waited for too long goes on.
    pub(super) fn tend_merges(&mut self) -> usize {
        if self.apart.waiting == 0 {
            return 0;
        }
        let (now, patience) = (self.now.mono, self.apart.patience());
        let due = |(_, merge): &(&FlowTo, &Merge)| merge.deadline(patience).is_some_and(|at| at <= now);
        let mut due: Vec<FlowTo> = self.apart.merges.iter().filter(due).map(|(flow, _)| *flow).collect();
        due.sort_unstable();
        for flow in &due {
            let mut merged = std::mem::take(&mut self.apart.merged);
            if let Some(merge) = self.apart.merges.get_mut(flow) {
                merge.due(self.flows.live_from(*flow), now, patience, &mut merged);
            }
            self.take_merged(merged);
        }
        due.len()
    }

    fn take_merged(&mut self, mut merged: Vec<Merged<Kept>>) {
        // What the block in hand passes on is not that of those that waited.
        let passed = std::mem::take(&mut self.group_entries);
        for merged in merged.drain(..) {
            let Kept { block, entry, route, ttl } = match merged {
                Merged::Duplicate(kept) => {
                    self.apart.waiting -= (kept.block.len() as u64).min(self.apart.waiting);
                    let events = u64::from(Block::trusted(&kept.block).event_count());
                    add(&self.counters.second_dropped[DropReason::DuplicatePath], events);
                    continue;
                }
                Merged::Next { item, missed, copy } => {
                    add(&self.counters.missed, missed);
                    let events = u64::from(Block::trusted(&item.block).event_count());
                    add(&self.counters.second_first, if copy == PathCopy::Second { events } else { 0 });
                    item
                }
            };
            self.apart.waiting -= (block.len() as u64).min(self.apart.waiting);
            let events = u64::from(Block::trusted(&block).event_count());
            if entry.kind == FlowKind::Group {
                self.serve_arrived(&route, &block, &entry, events, hops(ttl));
                self.pass_on(&block, events, ttl);
            } else {
                self.deliver_arrived(&route, &block, events, hops(ttl));
            }
        }
        self.group_entries = passed;
        self.apart.merged = merged;
    }
}
