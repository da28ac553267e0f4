//! Groups at a simulated hub: as a hub's route stage serves them, with values
//! in the place of bytes.

use std::rc::Rc;

use weft_base::{Epoch, HubId, Mono, Residency};
use weft_mesh::flow::{LiveReceiver, LiveSender};
use weft_mesh::groups::{MOST_PASSES, nearest};
use weft_mesh::{DropReason, Event, GroupHub, GroupKey, Turns};
use weft_topic::{Filter, InterestSet, Topic};
use weft_wire::frame::{FlowEntry, FlowKind};

use crate::Canary;
use crate::hub::{Block, BlockId, Effect, FlowId, SimHub};

/// Members here, and whose turn it is.
#[derive(Default)]
pub(crate) struct Groups {
    members: InterestSet<(GroupKey, usize, u16)>,
    member_turns: Turns<(GroupKey, usize)>,
    hub_turns: Turns<(GroupKey, HubId)>,
}

/// A member of a group.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) client: usize,
    pub(crate) group: String,
    pub(crate) filter: Filter,
    pub(crate) weight: u16,
}

/// One group for one topic: its members here by weight, and the nearest other
/// hubs that have some.
type Candidates = (GroupKey, Vec<(usize, u16)>, Vec<GroupHub>);

impl SimHub {
    /// A member joins or leaves.
    pub(crate) fn member(&mut self, add: bool, member: &Member, at: Mono, out: &mut Vec<Effect>) {
        let Member { client, group, filter, weight } = member;
        let value = (GroupKey::of_name(group), *client, *weight);
        let members = &mut self.groups.members;
        let is_change = if add { members.insert(filter, value) } else { members.remove(filter, &value) };
        if is_change {
            let event = Event::Member { add, group: group.as_str().into(), filter: filter.clone(), weight: *weight };
            self.on_event(event, at, out);
        }
    }

    /// The groups with members for a topic: those here, and the nearest hubs of the others.
    fn groups_of(&self, topic: Topic<'_>, residency: Residency) -> Vec<Candidates> {
        let mut found: Vec<Candidates> = Vec::new();
        let place =
            |found: &mut Vec<Candidates>, group: GroupKey| match found.iter().position(|(key, _, _)| *key == group) {
                Some(place) => place,
                None => {
                    found.push((group, Vec::new(), Vec::new()));
                    found.len() - 1
                }
            };
        self.groups.members.for_each_match(topic, |(group, client, weight)| {
            let place = place(&mut found, *group);
            found[place].1.push((*client, *weight));
        });
        self.ways(residency).groups(topic, |group, at| {
            let place = place(&mut found, group);
            match found[place].2.iter_mut().find(|known| known.hub == at.hub) {
                Some(known) => known.weight += at.weight,
                None => found[place].2.push(at),
            }
        });
        found.sort_unstable_by_key(|(group, _, _)| *group);
        for (_, _, remote) in &mut found {
            let near = nearest(remote);
            remote.truncate(near);
        }
        found
    }

    /// Chooses for a block that enters the mesh here; answers the copies, and
    /// the entries for other hubs.
    pub(crate) fn serve_groups(&mut self, block: &Rc<Block>, out: &mut Vec<Effect>) -> (u64, Vec<FlowEntry>) {
        let Ok(topic) = Topic::parse(&block.topic) else { return (0, Vec::new()) };
        let (mut copies, mut entries) = (0, Vec::new());
        for (group, local, remote) in self.groups_of(topic, block.residency) {
            copies += block.events;
            self.ledger.copies += block.events;
            let is_served = self.deliver_to_member(group, &local, block, out);
            let twice = self.canary == Some(Canary::GroupTwice);
            if is_served && !twice {
                continue;
            }
            let Some(hub) = self.other_hub(group, &remote) else {
                if !is_served {
                    self.ledger.drop(DropReason::NoPath, block.events);
                }
                continue;
            };
            if is_served {
                self.ledger.copies += block.events;
            }
            let life = self.routes.epoch(hub).unwrap_or_default();
            let (lane, residency, way) = (block.lane, block.residency, block.way);
            let sender = self.live_out.entry((hub, lane, residency, way)).or_insert_with(|| LiveSender::new(life));
            let entry = sender.group_entry(hub, block.events, group);
            let life = Epoch(entry.incarnation);
            let flow = FlowId { origin: self.id, epoch: self.epoch, destination: hub, life, lane, residency, way };
            out.push(Effect::Sent { flow, events: block.events });
            entries.push(entry);
        }
        (copies, entries)
    }

    fn other_hub(&mut self, group: GroupKey, near: &[GroupHub]) -> Option<HubId> {
        self.groups.hub_turns.pick(near.iter().map(|at| ((group, at.hub), at.weight))).map(|(_, hub)| hub)
    }

    fn deliver_to_member(
        &mut self,
        group: GroupKey,
        local: &[(usize, u16)],
        block: &Rc<Block>,
        out: &mut Vec<Effect>,
    ) -> bool {
        let candidates = local.iter().map(|(client, weight)| ((group, *client), u32::from(*weight)));
        let Some((_, client)) = self.groups.member_turns.pick(candidates) else { return false };
        self.ledger.delivered += block.events;
        let is_lost = self.canary == Some(Canary::GroupUnserved) && block.id.number.is_multiple_of(7);
        if !is_lost {
            out.push(Effect::Shared { group, client, block: block.clone() });
        }
        true
    }

    /// A block has come for a group that this hub is to serve; answers the
    /// entry with which it is passed on, if no member is left.
    pub(crate) fn take_for_group(
        &mut self,
        block: &Rc<Block>,
        entry: &FlowEntry,
        out: &mut Vec<Effect>,
    ) -> Option<FlowEntry> {
        let BlockId { origin, epoch, .. } = block.id;
        let mut missed = None;
        if !entry.retransmit {
            let own = self.epoch;
            let (lane, residency, way) = (block.lane, block.residency, block.way);
            let receiver = self.live_in.entry((origin, lane, residency, way)).or_insert_with(|| LiveReceiver::new(own));
            let live = receiver.accept(epoch, entry.incarnation, entry.sequence, block.events);
            if !live.deliver {
                self.ledger.copies += block.events;
                self.ledger.drop(DropReason::Late, block.events);
                return None;
            }
            missed = Some(live.missed);
        }
        self.serve_in(block, entry, missed, out)
    }

    /// It has come in its turn, so many events behind the one before; or outside of any flow.
    pub(crate) fn serve_in(
        &mut self,
        block: &Rc<Block>,
        entry: &FlowEntry,
        missed: Option<u64>,
        out: &mut Vec<Effect>,
    ) -> Option<FlowEntry> {
        self.ledger.copies += block.events;
        if let Some(missed) = missed {
            let BlockId { origin, epoch, .. } = block.id;
            let (lane, residency, way) = (block.lane, block.residency, block.way);
            let life = Epoch(entry.incarnation);
            let flow = FlowId { origin, epoch, destination: self.id, life, lane, residency, way };
            out.push(Effect::Taken { flow, events: block.events, missed });
        }
        let key = GroupKey(entry.base);
        let topic = Topic::parse(&block.topic).ok()?;
        let group = self.groups_of(topic, block.residency).into_iter().find(|(group, _, _)| *group == key);
        let (_, local, remote) = group.unwrap_or((key, Vec::new(), Vec::new()));
        if self.deliver_to_member(key, &local, block, out) {
            return None;
        }
        let passes = if entry.retransmit { entry.incarnation } else { 0 };
        match self.other_hub(key, &remote).filter(|_| passes < MOST_PASSES) {
            Some(hub) => Some(FlowEntry {
                hub,
                incarnation: passes + 1,
                kind: FlowKind::Group,
                retransmit: true,
                sequence: 0,
                base: key.0,
            }),
            None => {
                self.ledger.drop(DropReason::NoMember, block.events);
                None
            }
        }
    }
}
