//! Blocks from other hubs: what is for this hub stays, the rest goes on.

use std::sync::Arc;

use weft_base::{HubId, Lane, Mono, UnixNanos};
use weft_mesh::ledger::DropReason;
use weft_mesh::{LinkId, Split, hops, split};
use weft_ring::arena::{BlockMut, BlockRef};
use weft_topic::Topic;
use weft_wire::block::{Block, Stamp};
use weft_wire::frame::{ErrorCode, FlowKind, Frame, LinkCounted, LinkLedger, PathCopy};
use weft_wire::peer::PeerAddress;

use super::apart::Arrival;
use super::table::Route;
use super::{RouteStage, homes};
use crate::counters::add;
use crate::messages::{Completion, FlowKey, FlowTo, SessionId, ToAppend, ToNet};
use crate::producers::Place;
use crate::see::crossing::Marked;

impl RouteStage {
    /// A block from another hub: what is for this hub stays, the rest goes on.
    /// Answers the lane; none of what breaks the format, whose link is closed.
    pub(super) fn forward(
        &mut self,
        link: SessionId,
        (from, since): (HubId, Mono),
        mut bytes: BlockMut,
    ) -> Option<Lane> {
        let (ttl, block_len, along) = match Frame::decode(&bytes) {
            Ok(Frame::Forward(forward)) => {
                self.entries.clear();
                self.entries.extend(forward.entries());
                (forward.ttl, forward.block.len(), None)
            }
            Ok(Frame::Detour(detour)) => {
                self.entries.clear();
                self.entries.extend(detour.entries());
                self.apart.hubs.clear();
                self.apart.hubs.extend(detour.hubs());
                (detour.ttl, detour.block.len(), Some(detour.copy))
            }
            Ok(_) => return None,
            Err(error) => {
                self.close(link, ErrorCode::BAD_FRAME, error.to_string());
                return None;
            }
        };
        let _head = bytes.split_to(bytes.len() - block_len);
        let block = bytes.freeze();
        let (stamp, events, lane) = match Block::validate(&block) {
            Ok(parsed) => match parsed.stamp() {
                Some(stamp) => (stamp, u64::from(parsed.event_count()), parsed.lane()),
                None => {
                    self.close(link, ErrorCode::BAD_BLOCK, "a forwarded block has no stamp".to_owned());
                    return None;
                }
            },
            Err(error) => {
                self.close(link, ErrorCode::BAD_BLOCK, error.to_string());
                return None;
            }
        };
        self.ends.came(link, from, Block::trusted(&block), &self.counters);
        self.waits.record(lane, self.now.mono.since(since), 1);
        let from_flow = FlowTo::of(stamp.origin, Block::trusted(&block));
        let residency = from_flow.residency;
        if residency.is_bound() && self.table.routes.bound(residency).is_none() {
            let is_message = PeerAddress::parse(Block::trusted(&block).topic()).is_some();
            self.must_not_have(&block, (is_message, along), from);
            return Some(lane);
        }
        if let Some(copy) = along {
            self.came_along(link, (from, since), &block, &stamp, Arrival { ttl, copy });
            return Some(lane);
        }
        let again = self.entries.iter().all(|entry| entry.retransmit);
        // What another hub passes on goes from there to one hub and may cross those that had it before.
        let passed_on = again && self.entries.iter().all(|entry| entry.kind == FlowKind::Group);
        let is_own = stamp.origin == self.identity.id && !passed_on;
        if is_own || (!again && !self.flows.first_time(&stamp, from_flow)) {
            add(&self.counters.mesh_duplicates, 1);
            self.counters.window.came_again(Block::trusted(&block));
            return Some(lane);
        }
        let Ok(topic) = Topic::parse(Block::trusted(&block).topic()) else {
            self.close(link, ErrorCode::BAD_TOPIC, "a forwarded block has a topic that is none".to_owned());
            return None;
        };
        let peer = PeerAddress::parse(topic.as_str());
        if peer.is_none() {
            self.note(&block, from, since);
            let waited = self.now.mono.since(since).as_nanos() as u64;
            let age = self.now.wall.0.saturating_sub(stamp.ingested.0).saturating_sub(waited);
            self.arrivals.record(from, age, events, &self.counters);
        }
        let reserved = if peer.is_some() {
            Some(Ok(Arc::default()))
        } else {
            self.replies.route(self.identity.id, topic.as_str())
        };
        let route = match reserved {
            None => self.cache.route(&self.table, topic, residency),
            Some(Ok(route)) => route,
            Some(Err(detail)) => {
                self.close(link, ErrorCode::BAD_TOPIC, detail.to_owned());
                return None;
            }
        };
        let ways = self.table.ways_of(Block::trusted(&block));
        split(ways, self.entries.iter().copied(), Some(LinkId(link.0)), ttl, &mut self.split);
        let here = std::mem::take(&mut self.split);
        let arrival = Arrival { ttl, copy: PathCopy::First };
        self.take_here(&route, &block, (&stamp, from_flow), &here, arrival, peer);
        self.split = here;
        let deadline = Block::trusted(&block).deadline();
        // Messages between hubs are no events: the ledger does not know them.
        let events = if peer.is_some() { 0 } else { events };
        let onwards = self.entries.iter().filter(|e| e.kind.is_best_effort() && e.hub != self.identity.id).count();
        if onwards > 0 {
            let account = self.counters.account(&block);
            account.transit(events * onwards as u64);
            account.copies(events * onwards as u64);
        }
        if deadline.0 != 0 {
            self.drop_hopeless(&block, deadline, events);
            let ways = self.table.ways_of(Block::trusted(&block));
            split(ways, self.entries.iter().copied(), Some(LinkId(link.0)), ttl, &mut self.split);
        }
        self.send_split(&block, events);
        self.pass_on(&block, events, ttl);
        Some(lane)
    }

    /// The other hub says what it sent on a lane: that much has come, or there is an alarm.
    pub(super) fn marked(&mut self, link: SessionId, from: HubId, marked: &Marked) {
        match self.ends.marked((link, from), marked, self.now.mono, &self.counters) {
            Ok(events) => {
                let LinkLedger { lane, blocks, .. } = marked.mark;
                self.net.push(ToNet::Counted { link, counted: LinkCounted { lane, blocks, events } });
            }
            Err(error) => self.close(link, ErrorCode::BAD_COUNT, error.to_string()),
        }
    }

    /// What of a block from another hub is for this one.
    pub(super) fn take_here(
        &mut self,
        route: &Arc<Route>,
        block: &BlockRef,
        (stamp, flow): (&Stamp, FlowTo),
        here: &Split,
        arrival: Arrival,
        peer: Option<PeerAddress>,
    ) {
        let events = u64::from(Block::trusted(block).event_count());
        let hops = hops(arrival.ttl);
        for entry in here.here() {
            match (entry.kind, peer) {
                (FlowKind::Live, Some(address)) => {
                    let (take, missed) = self.flows.message_arrived(stamp, entry, flow.lane);
                    add(&self.counters.peers_missed, missed);
                    if take {
                        self.peer_arrived(address.service, block);
                    } else {
                        add(&self.counters.mesh_duplicates, 1);
                    }
                }
                (FlowKind::Live | FlowKind::Group, None)
                    if !entry.retransmit && self.is_merged(&flow, arrival.copy) =>
                {
                    self.merge(route, block, (stamp, flow), entry, arrival);
                }
                (FlowKind::Live, None) => {
                    let (deliver, missed) = self.flows.live_arrived(stamp, flow, entry, events);
                    add(&self.counters.missed, missed);
                    if !deliver {
                        add(&self.counters.mesh_duplicates, 1);
                    } else {
                        self.deliver_arrived(route, block, events, hops);
                    }
                }
                // Of the guaranteed entry beside it.
                (FlowKind::Except | FlowKind::Spooled, _) => {}
                (FlowKind::Group, _) => self.group_arrived(route, block, (stamp, flow), entry, events, hops),
                (FlowKind::Guaranteed, _) => {
                    let FlowTo { hub: origin, lane, residency, way } = flow;
                    let key = FlowKey { origin, epoch: stamp.epoch, lane, residency, way };
                    let is_second = arrival.copy == PathCopy::Second;
                    if self.flows.guaranteed_arrived(key, entry) {
                        self.counters.account(block).arrived(events);
                        let except = here.here().iter().filter(|e| e.kind == FlowKind::Except);
                        let route = homes::without(route, except.map(|e| e.base));
                        let spooled = here.here().iter().find(|e| e.kind == FlowKind::Spooled).map(|e| e.base);
                        if spooled.is_some_and(|id| !route.stream_ids.contains(&id)) {
                            // Where it came from it is kept until somebody has it.
                            self.count_if_unwanted(block, 0, events);
                            self.append.push(ToAppend::RefuseFlow { key, incarnation: entry.incarnation });
                            continue;
                        }
                        let completion =
                            Completion::Flow { key, incarnation: entry.incarnation, number: entry.sequence };
                        self.store_arrived(&route, block, (events, hops), completion, spooled.is_some());
                    } else if is_second {
                        // The first copy, or what is sent again, asks for the answer.
                        add(&self.counters.second_dropped[DropReason::DuplicatePath], events);
                    } else {
                        self.append.push(ToAppend::SayAgain { key, incarnation: entry.incarnation });
                    }
                }
            }
        }
    }

    /// A live block has come in its turn: subscribers here get it.
    pub(super) fn deliver_arrived(&mut self, route: &Route, block: &BlockRef, events: u64, hops: u8) {
        self.counters.account(block).arrived(events);
        let copies = self.deliver_locally(route, block, events, hops);
        self.count_if_unwanted(block, copies, events);
        if copies == 0 {
            self.no_responders(block, 1);
        }
    }

    /// Of the entries of a block in transit, drops the live ones for hubs that
    /// it cannot reach in time.
    fn drop_hopeless(&mut self, block: &BlockRef, deadline: UnixNanos, events: u64) {
        let Self { entries, table, counters, now, identity, .. } = self;
        let ways = table.ways(Block::trusted(block).residency());
        entries.retain(|entry| {
            let hopeless = entry.kind == FlowKind::Live
                && entry.hub != identity.id
                && !ways.can_arrive(entry.hub, deadline, now.wall);
            if hopeless {
                counters.account(block).drop(DropReason::CannotArrive, events);
            }
            !hopeless
        });
    }

    /// A guaranteed block has arrived in its turn: it is stored, and live
    /// subscribers get it unless it is an earlier publish that came again.
    fn store_arrived(
        &mut self,
        route: &Route,
        block: &BlockRef,
        (events, hops): (u64, u8),
        completion: Completion,
        spooled: bool,
    ) {
        let parsed = Block::trusted(block);
        let (producer, first, count) = (parsed.producer(), parsed.first_sequence(), parsed.event_count());
        let lane = parsed.lane();
        let mut copies = 0;
        if self.producers.place(producer, lane, first, count) == Place::New {
            self.producers.note(producer, lane, first, count);
            copies += self.deliver_locally(route, block, events, hops);
        }
        copies += self.store_locally(route, block, events, completion, spooled);
        self.count_if_unwanted(block, copies, events);
    }
}
