//! Groups: which member of each group gets a block.
//!
//! The hub where a block enters the mesh chooses: a member of its own if one
//! has room, else the nearest hub that has members, else a member of its own
//! that has no room. The hub that is chosen picks one of its members; when the
//! last one has just left it passes the block on to another hub, a bounded
//! number of times, or drops it, counted. So of each group at most one member
//! gets an event, and exactly one where a member is reachable and nothing is
//! lost on the way. Costs a look at each member that this hub has.

use std::sync::Arc;

use weft_base::HubId;
use weft_mesh::groups::{MOST_PASSES, nearest};
use weft_mesh::ledger::DropReason;
use weft_mesh::{GroupHub, GroupKey, Routes, split};
use weft_ring::arena::BlockRef;
use weft_topic::Topic;
use weft_wire::block::{Block, Stamp};
use weft_wire::frame::{FlowEntry, FlowKind};

use super::RouteStage;
use super::table::{Route, RouteTable};
use crate::counters::add;
use crate::gate::Gate;
use crate::messages::{FlowTo, Target, ToNet};
use crate::see::account::Waits;

/// A subscription of this hub that belongs to a group, as the route table keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    pub(crate) group: GroupKey,
    pub(crate) target: Target,
    pub(crate) weight: u16,
}

/// A member, for one topic.
#[derive(Debug)]
pub(crate) struct Choice {
    target: Target,
    weight: u32,
    /// Counts what is on its way to the member; closed while its queue is full.
    gate: Option<Arc<Gate>>,
    /// The target by itself, as deliveries name it.
    alone: Arc<[Target]>,
}

/// The members of one group for one topic.
#[derive(Debug)]
pub(crate) struct RouteGroup {
    pub(crate) group: GroupKey,
    pub(crate) local: Box<[Choice]>,
    /// Other hubs with members, the nearest first.
    remote: Box<[GroupHub]>,
    /// How many of them are equally near; 0 when none can be reached.
    near: usize,
}

impl RouteGroup {
    /// Whether a member can be reached at present.
    pub(crate) fn has_member(&self) -> bool {
        !self.local.is_empty() || self.near > 0
    }

    /// Whether a member of this hub has room.
    fn has_room(&self) -> bool {
        self.local.iter().any(Choice::has_room)
    }
}

impl Choice {
    fn has_room(&self) -> bool {
        self.gate.as_ref().is_none_or(|gate| !gate.is_closed())
    }
}

/// Whose turn it is.
pub(super) type MemberTurns = weft_mesh::Turns<(GroupKey, Target)>;
pub(super) type HubTurns = weft_mesh::Turns<(GroupKey, HubId)>;

/// The groups that want a topic.
pub(super) fn resolve(table: &RouteTable, ways: &Routes, topic: Topic<'_>) -> Box<[RouteGroup]> {
    let mut local: Vec<Member> = Vec::new();
    table.members.for_each_match(topic, |member| local.push(*member));
    let mut remote: Vec<(GroupKey, GroupHub)> = Vec::new();
    ways.groups(topic, |group, at| {
        match remote.iter_mut().find(|known| (known.0, known.1.hub) == (group, at.hub)) {
            // Several filters of one group at one hub match.
            Some((_, known)) => known.weight = known.weight.saturating_add(at.weight),
            None => remote.push((group, at)),
        }
    });
    let mut groups: Vec<GroupKey> = local.iter().map(|m| m.group).chain(remote.iter().map(|r| r.0)).collect();
    groups.sort_unstable();
    groups.dedup();
    let of_group = |group: GroupKey| {
        let local = local.iter().filter(|member| member.group == group);
        let choice = |m: &Member| Choice {
            target: m.target,
            weight: m.weight.into(),
            gate: table.member_gates.get(&m.target).cloned(),
            alone: [m.target].into(),
        };
        let mut remote: Vec<GroupHub> = remote.iter().filter(|(of, _)| *of == group).map(|(_, at)| *at).collect();
        let near = nearest(&mut remote);
        RouteGroup { group, local: local.map(choice).collect(), remote: remote.into(), near }
    };
    groups.into_iter().map(of_group).collect()
}

impl RouteStage {
    /// Chooses a member of each group for a block that enters the mesh here.
    /// What goes to other hubs is left in `group_entries`, to leave with the
    /// rest. Answers the copies.
    pub(super) fn serve_groups(&mut self, route: &Route, block: &BlockRef, events: u64) -> u64 {
        let residency = Block::trusted(block).residency();
        for group in &route.groups {
            self.counters.account(block).copies(events);
            // A member here that is full is better than none.
            let elsewhere = if group.has_room() { None } else { self.other_hub(group) };
            if let Some(hub) = elsewhere {
                let to = FlowTo::of(hub, Block::trusted(block));
                let entry = self.flows.send_group(to, events, group.group);
                self.group_entries.push(entry);
            } else if !self.deliver_to_member(group, block, 0) {
                let is_outside = residency.is_bound() && !group.remote.is_empty();
                let reason = if is_outside { DropReason::Residency } else { DropReason::NoPath };
                self.counters.account(block).drop(reason, events);
            }
        }
        events * route.groups.len() as u64
    }

    /// The other hub whose turn it is to serve a group.
    fn other_hub(&mut self, group: &RouteGroup) -> Option<HubId> {
        let near = group.remote.get(..group.near).unwrap_or_default();
        self.hub_turns.pick(near.iter().map(|at| ((group.group, at.hub), at.weight))).map(|(_, hub)| hub)
    }

    /// Delivers a block to the member of this hub whose turn it is, of those
    /// that have room if one has; false when there is no member. Its copy is
    /// counted by the caller.
    fn deliver_to_member(&mut self, group: &RouteGroup, block: &BlockRef, hops: u8) -> bool {
        let any = !group.has_room();
        let candidates = group.local.iter().filter(|choice| any || choice.has_room());
        let candidates = candidates.map(|choice| ((group.group, choice.target), choice.weight));
        let Some((_, target)) = self.member_turns.pick(candidates) else { return false };
        let Some(choice) = group.local.iter().find(|choice| choice.target == target) else { return false };
        if let Some(gate) = &choice.gate {
            gate.enter(u64::from(Block::trusted(block).event_count()), block.len() as u64);
        }
        self.counters.account(block).enter(Waits::Net, u64::from(Block::trusted(block).event_count()));
        self.net.push(ToNet::Deliver { targets: choice.alone.clone(), block: block.clone(), hops });
        true
    }

    /// A block has come for a group that this hub is to serve.
    pub(super) fn group_arrived(
        &mut self,
        route: &Route,
        block: &BlockRef,
        (stamp, flow): (&Stamp, FlowTo),
        entry: &FlowEntry,
        events: u64,
        hops: u8,
    ) {
        if !entry.retransmit {
            let (deliver, missed) = self.flows.live_arrived(stamp, flow, entry, events);
            add(&self.counters.missed, missed);
            if !deliver {
                return add(&self.counters.mesh_duplicates, 1);
            }
        }
        self.serve_arrived(route, block, entry, events, hops);
    }

    /// A block has come in its turn for a group that this hub is to serve.
    pub(super) fn serve_arrived(&mut self, route: &Route, block: &BlockRef, entry: &FlowEntry, events: u64, hops: u8) {
        let counters = self.counters.clone();
        let account = counters.account(block);
        account.arrived(events);
        account.copies(events);
        let key = GroupKey(entry.base);
        let group = route.groups.iter().find(|group| group.group == key);
        if group.is_some_and(|group| self.deliver_to_member(group, block, hops)) {
            return;
        }
        let passes = if entry.retransmit { entry.incarnation } else { 0 };
        let next = group.and_then(|group| self.other_hub(group)).filter(|_| passes < MOST_PASSES);
        match next {
            // Outside the numbers of its flow: those are between its origin and this hub.
            Some(hub) => self.group_entries.push(FlowEntry {
                hub,
                incarnation: passes + 1,
                kind: FlowKind::Group,
                retransmit: true,
                sequence: 0,
                base: key.0,
            }),
            None => {
                account.drop(DropReason::NoMember, events);
                self.no_responders(block, 1);
            }
        }
    }

    /// Sends on what [`group_arrived`](Self::group_arrived) passes on.
    pub(super) fn pass_on(&mut self, block: &BlockRef, events: u64, ttl: u8) {
        if self.group_entries.is_empty() {
            return;
        }
        // Also back over the link that it came by: that may be the way to the other hub.
        let mut entries = std::mem::take(&mut self.group_entries);
        let ways = self.table.ways_of(Block::trusted(block));
        split(ways, entries.drain(..), None, ttl.saturating_sub(1), &mut self.split);
        self.group_entries = entries;
        self.send_split(block, events);
    }
}
