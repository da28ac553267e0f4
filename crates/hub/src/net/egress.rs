//! What goes out to one peer: frames by lane.
//!
//! A block passes two queues. Per subscription it waits for credit
//! (`subscriber.rs`). Then it waits here, by lane and deadline, for the socket
//! ([`LaneQueue`]). Control frames go before all lanes. What has expired by the
//! time it would be written is dropped and counted; its subscriber gets its
//! credit back and a mark of the gap.
//!
//! Order: to a subscriber, one producer's blocks on one topic and lane keep it
//! whatever their deadlines. On a link all blocks of one origin hub and lane do,
//! because the flows between hubs number them; there deadlines order the blocks
//! of different origins. A block on its way to a stream never expires here.
//!
//! Nothing is copied: a frame is a few bytes of head and a reference to the
//! block where it lies, written together.

use std::collections::{HashSet, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;

use weft_base::{Lane, SubscriptionId, UnixNanos};
use weft_log::LogBlock;
use weft_mesh::crossing::SentEnd;
use weft_mesh::ledger::DropReason;
use weft_sched::lanes::{LaneOptions, LaneQueue, Waiting, order_key};
use weft_transport::{CloseReason, LinkToken, Network, WriteOutcome};
use weft_wire::block::Block;
use weft_wire::frame;

use self::packing::Batch;
pub(crate) use self::packing::{BATCH, Packing, Press, ROOM};
use self::way::Way;
use super::subscriber::{Bytes, Outgoing, Subscribers, Turn, Wanted};
use crate::consume::Outflow;
use crate::counters::{Counters, LinkCounters, add, sub};
use crate::messages::{Forward, Head};
use crate::meters::Leaving;
use crate::see::account::Waits;

/// How many slices one write carries; a frame takes two, or three with a mark.
const SLICES: usize = 64;
/// How much is taken from the lanes at a time: enough for full writes, little
/// enough that an urgent frame need not wait long behind what was taken.
pub(super) const SENDING: usize = 128 << 10;
/// The most blocks that wait in the lanes: what one session's lanes take of memory.
const FRAMES: usize = 256;

enum Frame {
    Control(Vec<u8>),
    /// Whole frames of another hub for this client, and the tunnel they came by.
    Relay(u64, Vec<u8>),
    Deliver(Deliver),
    Forward(Forward),
    Packed(Batch),
    Handout(Handout),
}

/// Events of a block on their way to a member of a consumer.
pub(crate) struct Handout {
    pub(super) id: SubscriptionId,
    pub(super) head: Head,
    pub(super) block: LogBlock,
}

/// A block on its way to a subscriber.
struct Deliver {
    id: SubscriptionId,
    /// What is missing just before it.
    gap: Option<Gap>,
    head: [u8; frame::FRAME_HEADER],
    block: Bytes,
    events: u64,
    live: bool,
}

/// Events that are missing, and the frames that say so.
#[derive(Default)]
struct Gap {
    missing: Vec<(DropReason, u64)>,
    marks: Vec<u8>,
}

impl Gap {
    fn add(&mut self, id: SubscriptionId, events: u64, reason: DropReason) {
        self.missing.push((reason, events));
        frame::encode(&frame::Frame::Gap(frame::Gap { id, events, reason: reason as u8 }), &mut self.marks);
    }
}

impl Frame {
    fn parts(&self) -> [&[u8]; 3] {
        match self {
            Frame::Control(bytes) | Frame::Relay(_, bytes) => [bytes, &[], &[]],
            Frame::Deliver(Deliver { gap, head, block, .. }) => {
                [gap.as_ref().map_or(&[], |gap| &gap.marks), head, block.as_slice()]
            }
            Frame::Forward(forward) => [forward.head.bytes(), &forward.block, &[]],
            Frame::Packed(batch) => [&batch.bytes, &[], &[]],
            Frame::Handout(handout) => [handout.head.bytes(), &handout.block, &[]],
        }
    }

    /// What it takes of memory as it waits: more than it is long where it is packed.
    fn cost(&self) -> usize {
        match self {
            Frame::Packed(batch) => batch.plain,
            other => other.len(),
        }
    }

    fn len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }
}

/// The bounds that an egress keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EgressLimits {
    pub(crate) subscriber_events: u64,
    pub(crate) subscriber_bytes: usize,
    pub(crate) conflate_keys: usize,
    pub(crate) socket_bytes: usize,
    /// Of a link: what may wait for its socket.
    pub(crate) link_bytes: usize,
    pub(crate) waiting_blocks: u64,
}

/// All that goes out to one peer.
pub(crate) struct Egress {
    limits: EgressLimits,
    control: Vec<u8>,
    spare: Vec<u8>,
    lanes: LaneQueue<Frame>,
    /// What is being written: to the only channel; or, kept apart, control
    /// frames to the first and each lane's to its own.
    ways: Vec<Way>,
    /// The lane that is asked first, where they are apart.
    turn: usize,
    /// For members of consumers, in order of arrival: bounded by the outflow.
    handouts: VecDeque<Frame>,
    /// Subscriptions that are members of consumers.
    members: HashSet<SubscriptionId>,
    /// What is under way to them; none before the first.
    outflow: Option<Arc<Outflow>>,
    /// The consume stage waits for room, and there is some.
    freed: bool,
    /// Bytes in all ways, those written included.
    sending_bytes: usize,
    /// What waits for credit before it comes here.
    pub(crate) subscribers: Subscribers,
    /// Of a link: bytes by lane that were to be forwarded and never will be.
    unsent: [u64; Lane::COUNT],
    /// Of a link: what it carried since the hub's start.
    link: Option<Arc<LinkCounters>>,
    /// Of a link: how its blocks are packed, if they are.
    packing: Option<Box<Packing>>,
    /// Of a link whose other end compares: what it was sent since it opened.
    sent: Option<Box<SentEnd>>,
    /// What was written of what other hubs sent, by tunnel.
    relayed: Vec<(u64, usize)>,
}

impl Egress {
    pub(crate) fn new(limits: EgressLimits) -> Self {
        Self {
            limits,
            control: Vec::new(),
            spare: Vec::new(),
            lanes: LaneQueue::new(LaneOptions::default()),
            ways: vec![Way::default()],
            turn: 0,
            handouts: VecDeque::new(),
            members: HashSet::new(),
            outflow: None,
            freed: false,
            sending_bytes: 0,
            subscribers: Subscribers::new(limits),
            sent: None,
            unsent: [0; Lane::COUNT],
            link: None,
            packing: None,
            relayed: Vec::new(),
        }
    }

    /// The peer is a hub: what it is sent is counted here. `compares`: it is told so.
    pub(crate) fn count_as_link(&mut self, link: Arc<LinkCounters>, compares: bool) {
        self.sent = compares.then(|| Box::new(SentEnd::new(link.columns.len())));
        self.link = Some(link);
    }

    /// The blocks that go out from now on are packed.
    pub(crate) fn pack(&mut self, packing: Packing) {
        self.packing = Some(Box::new(packing));
    }

    /// The counters of the link, when the peer is a hub.
    pub(crate) fn link(&self) -> Option<&LinkCounters> {
        self.link.as_deref()
    }

    /// Queues whole frames that came through a tunnel, behind those before them.
    pub(crate) fn relay(&mut self, tunnel: u64, bytes: Vec<u8>, now: UnixNanos) {
        let (lane, cost) = (Lane::DEFAULT, bytes.len());
        // In order whatever else goes: one value for all of them.
        let waiting = Waiting { lane, deadline: UnixNanos(0), order: 0, cost, events: 0 };
        self.lanes.push(waiting, now, Frame::Relay(tunnel, bytes));
    }

    /// What was written of it since the last call.
    pub(crate) fn take_relayed(&mut self) -> Vec<(u64, usize)> {
        std::mem::take(&mut self.relayed)
    }

    /// The buffer to encode control frames into.
    pub(crate) fn control(&mut self) -> &mut Vec<u8> {
        &mut self.control
    }

    /// Whether all that was queued has been written.
    pub(crate) fn is_empty(&self) -> bool {
        let sent = self.ways.iter().all(|way| way.frames.is_empty());
        self.lanes.is_empty() && self.control.is_empty() && sent && self.handouts.is_empty()
    }

    /// Queues a block for another hub, or drops it when the link has no room.
    pub(crate) fn forward(&mut self, forward: Forward, now: UnixNanos, counters: &Counters) {
        if self.queued() >= self.limits.link_bytes {
            let lane = Block::trusted(&forward.block).lane();
            self.unsent[lane.index()] += forward.len() as u64;
            return counters.drop_forward(&forward, DropReason::LinkFull);
        }
        counters.account(&forward.block).enter(Waits::Links, forward.live_copies);
        let block = Block::trusted(&forward.block);
        let waiting = Waiting {
            lane: block.lane(),
            deadline: if forward.guaranteed { UnixNanos(0) } else { block.deadline() },
            order: block.stamp().map_or(0, |stamp| order_key(stamp.origin.0, &[])),
            cost: forward.len(),
            events: u64::from(block.event_count()),
        };
        self.lanes.push(waiting, now, Frame::Forward(forward));
    }

    /// Bytes that wait for the socket.
    pub(crate) fn queued(&self) -> usize {
        self.lanes.bytes() + self.sending_bytes
    }

    /// Bytes of a lane that were to be forwarded and were dropped, since the last call.
    pub(crate) fn take_unsent(&mut self, lane: Lane) -> u64 {
        std::mem::take(&mut self.unsent[lane.index()])
    }

    /// Moves blocks whose subscriber has credit to the lanes while the socket
    /// has room, and tells which reads are wanted.
    pub(crate) fn pump(&mut self, now: UnixNanos, counters: &Counters, want: impl FnMut(Wanted)) {
        let Self { subscribers, lanes, sending_bytes, limits, .. } = self;
        let room = Turn {
            bytes: limits.socket_bytes.saturating_sub(lanes.bytes() + *sending_bytes),
            blocks: FRAMES.saturating_sub(lanes.len()),
        };
        // Marks go out as one with the block behind them: nothing may part them.
        let mut mark: Option<(SubscriptionId, Lane, Gap)> = None;
        subscribers.pump(
            room,
            |lane, outgoing| match outgoing {
                Outgoing::Gap { id, events, reason } => {
                    let mut before = 0;
                    if let Some((_, lane, gap)) = mark.take_if(|(of, at, _)| (*of, *at) != (id, lane)) {
                        before = push_mark(lanes, lane, gap, now);
                    }
                    mark.get_or_insert_with(|| (id, lane, Gap::default())).2.add(id, events, reason);
                    before
                }
                Outgoing::Block { id, block, events, hops, live } => {
                    let mut before = 0;
                    let gap = match mark.take() {
                        Some((of, at, gap)) if (of, at) == (id, lane) => Some(gap),
                        Some((_, lane, gap)) => {
                            before = push_mark(lanes, lane, gap, now);
                            None
                        }
                        None => None,
                    };
                    let head = frame::deliver_head(id, block.as_slice().len(), hops);
                    before + push_block(lanes, now, lane, Deliver { id, gap, head, block, events, live })
                }
            },
            want,
            counters,
        );
        if let Some((_, lane, gap)) = mark {
            push_mark(lanes, lane, gap, now);
        }
    }

    /// Writes until the socket takes no more or nothing is left. Answers how
    /// many bytes were written, or why the link is closed; and whether there is
    /// use in coming again before there is room. Where lanes are kept apart
    /// there always is: what is full may be another lane's channel.
    pub(crate) fn flush(
        &mut self,
        network: &mut dyn Network,
        link: LinkToken,
        counters: &Counters,
        (press, leaving): (&mut Press, &mut Leaving),
    ) -> Result<(usize, bool), CloseReason> {
        let mut total = 0;
        loop {
            self.take_turns(counters, press, leaving);
            let (mut written, all) = self.flush_way(0, network, link, counters)?;
            let mut left = !all;
            // The channels share what the network takes. Who comes after the one
            // that had some of it last is asked first.
            let (lanes, first) = (self.ways.len() - 1, self.turn);
            for lane in (first..lanes).chain(0..first.min(lanes)) {
                let (n, all) = self.flush_way(lane + 1, network, link, counters)?;
                if n > 0 {
                    self.turn = (lane + 1) % lanes;
                }
                written += n;
                left |= !all;
            }
            total += written;
            if written == 0 {
                return Ok((total, !left || self.ways.len() > 1));
            }
            if left && self.ways.len() == 1 {
                return Ok((total, false));
            }
        }
    }

    /// Writes what one channel takes of its frames.
    fn flush_way(
        &mut self,
        channel: usize,
        network: &mut dyn Network,
        link: LinkToken,
        counters: &Counters,
    ) -> Result<(usize, bool), CloseReason> {
        let mut total = 0;
        while let Some(way) = self.ways.get(channel).filter(|way| !way.frames.is_empty()) {
            let outcome = {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let used = way.slices(&mut slices);
                network.write_on(link, channel, &slices[..used])
            };
            match outcome {
                WriteOutcome::Bytes(n) => {
                    total += n;
                    self.advance(channel, n, counters);
                }
                WriteOutcome::WouldBlock => return Ok((total, false)),
                WriteOutcome::Closed(reason) => return Err(reason),
            }
        }
        Ok((total, true))
    }

    /// Drops what is of no use any more, before it is written. Answers whether
    /// there was any.
    pub(crate) fn drop_expired(&mut self, now: UnixNanos, counters: &Counters) -> bool {
        let before = self.lanes.len();
        while let Some((waiting, frame)) = self.lanes.take_expired(now) {
            match frame {
                Frame::Deliver(Deliver { id, gap, block, events, .. }) => {
                    let account = counters.account(block.as_slice());
                    account.drop(DropReason::Expired, events);
                    account.leave(Waits::Subscribers, events);
                    // What was missing before it is still missing.
                    let before = gap.map_or_else(Vec::new, |gap| gap.missing);
                    let missing = before.into_iter().chain([(DropReason::Expired, events)]);
                    self.subscribers.expired(id, waiting.lane, events, block.as_slice().len(), missing);
                }
                Frame::Forward(forward) => {
                    self.unsent[waiting.lane.index()] += waiting.cost as u64;
                    let account = counters.account(&forward.block);
                    counters.drop_forward(&forward, DropReason::Expired);
                    account.leave(Waits::Links, forward.live_copies);
                }
                Frame::Control(_) | Frame::Relay(..) | Frame::Handout(_) | Frame::Packed(_) => {
                    debug_assert!(false, "it has no deadline, or waits no more");
                }
            }
        }
        self.lanes.len() < before
    }

    /// Fills the ways from the control frames and the lanes.
    fn take_turns(&mut self, counters: &Counters, press: &mut Press, leaving: &mut Leaving) {
        let Self { ways, lanes, packing, sent, .. } = self;
        let channels = ways.len();
        let Some(first) = ways.first_mut() else { return };
        let now = counters.wall();
        let mut count = |lane: Lane, events: u64, frame: &Frame| match frame {
            Frame::Forward(forward) => {
                leaving.forwards(lane, &forward.block, now, events);
                if let Some(sent) = sent.as_mut() {
                    sent.sent(lane, counters.classes.column(Block::trusted(&forward.block)), events);
                }
            }
            Frame::Deliver(Deliver { live: true, block, .. }) => leaving.delivers(lane, block.as_slice(), now, events),
            _ => {}
        };
        if !self.control.is_empty() {
            let bytes = std::mem::replace(&mut self.control, std::mem::take(&mut self.spare));
            self.sending_bytes += bytes.len();
            first.push_control(bytes);
        }
        if channels > 1 {
            for (channel, way) in ways.iter_mut().enumerate() {
                let fresh = way.frames.len();
                self.sending_bytes += way.fill(channel, channels, lanes, &mut count);
                if let Some(packing) = packing {
                    packing.pack(way, fresh, press);
                }
            }
            return;
        }
        let fresh = first.frames.len();
        while first.bytes < SENDING {
            let before = first.frames.len();
            if let Some((waiting, frame)) = lanes.pop() {
                self.sending_bytes += waiting.cost;
                count(waiting.lane, waiting.events, &frame);
                first.push(frame, waiting.cost);
            }
            // One of each: neither keeps the other from the socket.
            if let Some(frame) = self.handouts.pop_front() {
                let cost = frame.len();
                self.sending_bytes += cost;
                first.push(frame, cost);
            }
            if first.frames.len() == before {
                break;
            }
        }
        if let Some(packing) = packing {
            packing.pack(first, fresh, press);
        }
    }

    /// Counts `n` bytes that a channel took off the frames on their way there.
    fn advance(&mut self, channel: usize, n: usize, counters: &Counters) {
        let Some(way) = self.ways.get_mut(channel) else { return };
        way.written += n;
        while let Some((frame, len)) = self.ways.get_mut(channel).and_then(Way::pop_written) {
            self.sending_bytes -= frame.cost();
            match frame {
                Frame::Control(mut bytes) => {
                    bytes.clear();
                    self.spare = bytes;
                }
                Frame::Relay(tunnel, bytes) => self.relayed.push((tunnel, bytes.len())),
                Frame::Deliver(Deliver { events, live: true, block, .. }) => {
                    let account = counters.account(block.as_slice());
                    account.delivered(events);
                    account.leave(Waits::Subscribers, events);
                }
                Frame::Deliver(Deliver { events, live: false, .. }) => add(&counters.replayed, events),
                Frame::Handout(handout) => self.handout_done(&handout, counters),
                Frame::Forward(forward) => {
                    self.forwarded(&forward, counters);
                    self.count_wire(len);
                }
                Frame::Packed(batch) => {
                    batch.forwards.iter().for_each(|forward| self.forwarded(forward, counters));
                    self.count_wire(len);
                    if let Some(packing) = &mut self.packing {
                        packing.done(batch);
                    }
                }
            }
        }
    }

    /// A block is written to the link.
    fn forwarded(&self, forward: &Forward, counters: &Counters) {
        let account = counters.account(&forward.block);
        account.forwarded(forward.live_copies);
        account.leave(Waits::Links, forward.live_copies);
        if let Some(link) = &self.link {
            account.sent_to(link.hub);
            let block = Block::trusted(&forward.block);
            let events = u64::from(block.event_count());
            add(&link.events_out, events);
            if let Some(lane) = link.lanes_out.get(block.lane().index()) {
                add(lane, events);
            }
            if let Some(column) = link.columns.get(counters.classes.column(block)) {
                add(&column.out, events);
            }
            add(&link.blocks_out, 1);
            add(&link.bytes_out, forward.len() as u64);
        }
    }

    /// So many bytes of blocks, packed or not, are written to the link.
    fn count_wire(&self, len: usize) {
        if let Some(link) = &self.link {
            add(&link.wire_out, len as u64);
        }
    }

    /// Counts all that is still queued as dropped: the session is over.
    pub(crate) fn abandon(&mut self, counters: &Counters) {
        self.abandon_sent(counters);
        let lanes = &mut self.lanes;
        let queued = self
            .ways
            .iter_mut()
            .flat_map(Way::drain)
            .chain(self.handouts.drain(..))
            .chain(std::iter::from_fn(|| lanes.pop().map(|(_, frame)| frame)));
        for frame in queued {
            match frame {
                Frame::Deliver(Deliver { events, live: true, block, .. }) => {
                    let account = counters.account(block.as_slice());
                    account.drop(DropReason::SessionClosed, events);
                    account.leave(Waits::Subscribers, events);
                }
                Frame::Forward(forward) => lost(&forward, counters),
                Frame::Packed(batch) => batch.forwards.iter().for_each(|forward| lost(forward, counters)),
                Frame::Handout(_) => sub(&counters.handouts, 1),
                Frame::Control(_) | Frame::Relay(..) | Frame::Deliver(_) => {}
            }
        }
        self.sending_bytes = 0;
        self.subscribers.abandon(counters);
    }
}

/// A block was to be written to a link that is over.
pub(super) fn lost(forward: &Forward, counters: &Counters) {
    counters.drop_forward(forward, DropReason::LinkLost);
    counters.account(&forward.block).leave(Waits::Links, forward.live_copies);
}

/// Queues a mark with no block behind it. Answers its length.
fn push_mark(lanes: &mut LaneQueue<Frame>, lane: Lane, gap: Gap, now: UnixNanos) -> usize {
    let cost = gap.marks.len();
    let waiting = Waiting { lane, deadline: UnixNanos(0), order: 0, cost, events: 0 };
    lanes.push(waiting, now, Frame::Control(gap.marks));
    cost
}

/// Queues a block for a subscriber. Answers its length in the lanes.
fn push_block(lanes: &mut LaneQueue<Frame>, now: UnixNanos, lane: Lane, deliver: Deliver) -> usize {
    let block = Block::trusted(deliver.block.as_slice());
    // A stream is read in its own order, and what it keeps is of use for as long as it keeps it.
    let (deadline, order) = if deliver.live {
        (block.deadline(), order_key(block.producer().0, block.topic().as_bytes()))
    } else {
        (UnixNanos(0), deliver.id.0)
    };
    let (events, frame) = (deliver.events, Frame::Deliver(deliver));
    let cost = frame.len();
    lanes.push(Waiting { lane, deadline, order, cost, events }, now, frame);
    cost
}

mod channels;
mod crossing;
mod members;
mod packing;
mod way;

#[cfg(test)]
mod tests;
