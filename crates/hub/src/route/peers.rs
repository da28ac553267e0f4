//! Messages between the stages of different hubs: blocks of one event to an
//! address (`weft_wire::peer`) that no client can publish or subscribe to.
//!
//! They go as a live flow of their own, all on one lane. So they may be lost,
//! with a link or where a queue is full, and come in order as long as they come:
//! who uses them numbers what must not be missed. Those of the control state go in
//! the most urgent lane, which routing load cannot starve (it has its share of each
//! round of every queue on the way), and are not numbered apart: what is lost of
//! them is not counted. A message that its service's inbox has no
//! room for is dropped and counted; the route stage never waits for a service,
//! because services send through it.

use weft_base::{HubId, Lane, ProducerId, Residency, Way};
use weft_mesh::ledger::DropReason;
use weft_mesh::{INITIAL_TTL, split};
use weft_ring::arena::{Arena, BlockRef, Buffer};
use weft_wire::block::{self, Block, BlockFields, BlockWriter, EventFields, Stamp};
use weft_wire::frame::{FlowEntry, FlowKind};
use weft_wire::peer::{PeerAddress, Service, UNNUMBERED};

use super::RouteStage;
use crate::counters::add;
use crate::messages::{FromPeer, PeerMessage, ToNet};
use crate::outbox::Outbox;

/// The lane of messages between hubs but for those of the control state: before
/// events that name none, behind what overtakes all else.
const LANE: Lane = match Lane::new(1) {
    Some(lane) => lane,
    None => Lane::URGENT,
};
/// Small messages share buffers of this size.
const SHARED: usize = 64 << 10;
/// Up to this length a message shares a buffer.
const SMALL: usize = 8 << 10;

/// The bytes that a message between hubs may have when a frame may have `frame`:
/// the rest is for the block around it, and the frame around that.
pub(crate) fn most_bytes(frame: usize) -> usize {
    frame.saturating_sub(1_024)
}

/// The inboxes of the services that have a stage of their own; none of what this
/// hub has no stage for. What is for the tunnel goes to the net stage.
#[derive(Default)]
pub(crate) struct PeerOutlets {
    /// Streams with several homes.
    pub(crate) replica: Option<Outbox<FromPeer>>,
    /// Consumers of streams with several homes.
    pub(crate) consumers: Option<Outbox<FromPeer>>,
    /// The control state.
    pub(crate) control: Option<Outbox<FromPeer>>,
}

impl PeerOutlets {
    fn outlets(&mut self) -> impl Iterator<Item = &mut Outbox<FromPeer>> {
        self.replica.iter_mut().chain(&mut self.consumers).chain(&mut self.control)
    }

    pub(super) fn notify(&mut self) {
        self.outlets().for_each(Outbox::notify);
    }
}

/// What messages are written with.
pub(super) struct Peers {
    pub(super) outlets: PeerOutlets,
    arena: Arena,
    shared: Option<Buffer>,
    most: usize,
    written: u64,
}

impl Peers {
    /// `frame`: the most bytes of a frame.
    pub(super) fn new(outlets: PeerOutlets, arena: Arena, frame: usize) -> Self {
        Self { outlets, arena, shared: None, most: most_bytes(frame), written: 0 }
    }

    /// The block around a message; none when it is too long or there is no memory.
    fn block(
        &mut self,
        (topic, residency, lane): (&str, Residency, Lane),
        fields: (ProducerId, u64),
        bytes: &[u8],
        stamp: &Stamp,
    ) -> Option<BlockRef> {
        if bytes.len() > self.most {
            return None;
        }
        let len = block::block_len(topic.len(), [(0, 0, bytes.len())].into_iter());
        let mut own = None;
        let buffer = if len > SMALL {
            own.insert(self.arena.lend(len)?)
        } else {
            if let Some(shared) = &mut self.shared
                && shared.room() < len
                && !shared.reclaim()
            {
                self.shared = None;
            }
            match &mut self.shared {
                Some(shared) => shared,
                none => none.insert(self.arena.lend(SHARED)?),
            }
        };
        let (producer, first_sequence) = fields;
        let fields = BlockFields { lane, producer, first_sequence, residency, ..BlockFields::new(topic) };
        let room = buffer.spare_mut().get_mut(..len)?;
        let mut writer = BlockWriter::new(room, &fields).ok()?;
        writer.push(&EventFields { payload: bytes, ..EventFields::default() }).ok()?;
        let written = writer.finish().ok()?;
        block::stamp(buffer.spare_mut().get_mut(..written)?, stamp).ok()?;
        buffer.advance(written);
        self.written += 1;
        Some(buffer.split_to(written).freeze())
    }
}

/// The entry of a message that is not numbered.
fn unnumbered(hub: HubId) -> FlowEntry {
    FlowEntry { hub, incarnation: UNNUMBERED, kind: FlowKind::Live, retransmit: false, sequence: 0, base: 0 }
}

impl RouteStage {
    /// A stage of this hub has something to say to one of another hub, or of this one.
    ///
    /// All that two hubs say to each other keeps to hubs with the labels that both
    /// carry, where there is such a way, so that messages with events that are
    /// bound to one of them stay in order with the others. Where there is none,
    /// what is `confined` is not sent.
    pub(super) fn send_to_peer(&mut self, to: HubId, service: Service, confined: bool, bytes: &[u8]) {
        add(&self.counters.peers_sent, 1);
        let is_control = service == Service::Control;
        debug_assert_eq!(is_control, service.of(bytes.first().copied()) == Service::Control);
        let lane = if is_control { Lane::URGENT } else { LANE };
        let shared = self.table.routes.shared(to);
        let is_inside = shared.is_bound() && self.table.ways(shared).next_hop(to).is_some();
        if confined && !is_inside && to != self.identity.id {
            return self.drop_message(DropReason::Residency);
        }
        let residency = if is_inside { shared } else { Residency::ANYWHERE };
        let topic = PeerAddress { hub: to, service }.to_string();
        let stamp = Stamp {
            origin: self.identity.id,
            epoch: self.identity.epoch,
            block: self.next_block,
            sequence: self.next_sequence,
            ingested: self.now.wall,
        };
        // Greater in each life of the hub.
        let first = u64::from(self.identity.epoch.0) << 32 | self.peers.written;
        let fields = (ProducerId(self.identity.id.0), first);
        let Some(block) = self.peers.block((&topic, residency, lane), fields, bytes, &stamp) else {
            return self.drop_message(DropReason::Invalid);
        };
        self.next_block += 1;
        self.next_sequence += 1;
        if to == self.identity.id {
            return self.peer_arrived(service, &block);
        }
        if !self.is_reachable(to) {
            return self.drop_message(DropReason::NoPath);
        }
        let entry = if is_control { unnumbered(to) } else { self.flows.send_message(to) };
        // One way, so that all that two hubs say to each other stays in order.
        split((self.table.ways(residency), Way::MAIN), [entry], None, INITIAL_TTL, &mut self.split);
        self.send_split(&block, 0);
    }

    /// Messages are no events: the ledger knows those alone that are dropped
    /// here. What is lost on the way is counted as missed where it should come.
    pub(super) fn drop_message(&self, reason: DropReason) {
        add(&self.counters.copies, 1);
        self.counters.drop_copies(reason, 1);
    }

    /// A message for a service of this hub: it is handed over, or dropped when
    /// there is no such service or its inbox is full.
    pub(super) fn peer_arrived(&mut self, service: Service, block: &BlockRef) {
        let parsed = Block::trusted(block);
        let (Some(stamp), Some(event)) = (parsed.stamp(), parsed.events().next()) else {
            return self.drop_message(DropReason::Invalid);
        };
        let at = (event.payload.as_ptr() as usize).wrapping_sub(block.as_ptr() as usize);
        let bytes = block.slice(at..at + event.payload.len());
        let message = FromPeer::Message(PeerMessage { from: stamp.origin, epoch: stamp.epoch, bytes });
        let outlet = match service.of(event.payload.first().copied()) {
            Service::Tunnel => {
                self.net.push(ToNet::Peer(message));
                return add(&self.counters.peers_received, 1);
            }
            Service::Replica => &mut self.peers.outlets.replica,
            Service::Consumers => &mut self.peers.outlets.consumers,
            Service::Control => &mut self.peers.outlets.control,
            Service::Other => &mut None,
        };
        let Some(outlet) = outlet else { return self.drop_message(DropReason::NoInterest) };
        if !outlet.has_room(1) {
            return self.drop_message(DropReason::PeerBusy);
        }
        outlet.push(message);
        add(&self.counters.peers_received, 1);
    }

    /// The services are told that a hub can be reached, or cannot any more. This
    /// is never lost: there are at most as many as the mesh has hubs.
    pub(super) fn tell_services(&mut self, message: &FromPeer) {
        self.net.push(ToNet::Peer(message.clone()));
        self.peers.outlets.outlets().for_each(|outlet| outlet.push(message.clone()));
    }
}
