//! What goes out to one peer: frames by lane.
//!
//! A block passes two queues. Per subscription it waits for credit
//! (`subscriber.rs`). Then it waits here, in its lane, for the socket; the
//! lanes share the socket by deficit round robin (Shreedhar and Varghese,
//! 1996), the urgent ones with the larger quantum, so that urgent overtakes
//! bulk and nothing starves. Control frames go first.
//!
//! Nothing is copied: a frame is a few bytes of head and a reference to the
//! block where it lies, written together.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use weft_base::{Lane, SubscriptionId};
use weft_mesh::ledger::DropReason;
use weft_transport::{CloseReason, LinkToken, Network, WriteOutcome};
use weft_wire::block::Block;
use weft_wire::frame;

use super::subscriber::{Bytes, Outgoing, Subscribers, Wanted};
use crate::counters::{Counters, LinkCounters, add, sub};
use crate::messages::Forward;

/// How many slices one write carries; a frame takes two.
const SLICES: usize = 64;
/// How much is taken from the lanes at a time: enough for full writes, little
/// enough that an urgent frame need not wait long behind what was taken.
pub(super) const SENDING: usize = 128 << 10;

enum Frame {
    Control(Vec<u8>),
    Deliver { head: [u8; frame::FRAME_HEADER], block: Bytes, events: u64, live: bool },
    Forward(Forward),
}

impl Frame {
    fn parts(&self) -> (&[u8], &[u8]) {
        match self {
            Frame::Control(bytes) => (bytes, &[]),
            Frame::Deliver { head, block, .. } => (head, block.as_slice()),
            Frame::Forward(forward) => (forward.head.bytes(), &forward.block),
        }
    }

    fn len(&self) -> usize {
        let (head, body) = self.parts();
        head.len() + body.len()
    }
}

/// The bounds that an egress keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EgressLimits {
    pub(crate) subscriber_events: u64,
    pub(crate) subscriber_bytes: usize,
    pub(crate) conflate_keys: usize,
    pub(crate) socket_bytes: usize,
}

/// All that goes out to one peer.
pub(crate) struct Egress {
    limits: EgressLimits,
    control: Vec<u8>,
    spare: Vec<u8>,
    lanes: [VecDeque<Frame>; Lane::COUNT],
    deficits: [usize; Lane::COUNT],
    turn: usize,
    sending: VecDeque<Frame>,
    /// How much of the first frame in `sending` is written.
    written: usize,
    queued_bytes: usize,
    /// What waits for credit before it comes here.
    pub(crate) subscribers: Subscribers,
    /// Of a link: what it carried.
    link: Option<Arc<LinkCounters>>,
}

impl Egress {
    pub(crate) fn new(limits: EgressLimits) -> Self {
        Self {
            limits,
            control: Vec::new(),
            spare: Vec::new(),
            lanes: Default::default(),
            deficits: [0; Lane::COUNT],
            turn: 0,
            sending: VecDeque::new(),
            written: 0,
            queued_bytes: 0,
            subscribers: Subscribers::new(limits),
            link: None,
        }
    }

    /// The peer is a hub: what it is sent is counted here.
    pub(crate) fn count_as_link(&mut self, link: Arc<LinkCounters>) {
        self.link = Some(link);
    }

    /// The counters of the link, when the peer is a hub.
    pub(crate) fn link(&self) -> Option<&LinkCounters> {
        self.link.as_deref()
    }

    /// The buffer to encode control frames into.
    pub(crate) fn control(&mut self) -> &mut Vec<u8> {
        &mut self.control
    }

    /// Whether all that was queued has been written.
    pub(crate) fn is_empty(&self) -> bool {
        self.queued_bytes == 0 && self.control.is_empty() && self.sending.is_empty()
    }

    /// Queues a block for another hub; answers false, with nothing queued,
    /// when the link has no room.
    pub(crate) fn forward(&mut self, forward: Forward, counters: &Counters) -> bool {
        let lane = Block::trusted(&forward.block).lane();
        if self.queued_bytes >= self.limits.socket_bytes * 8 {
            counters.drop_copies(DropReason::LinkFull, forward.live_copies);
            return false;
        }
        add(&counters.waiting_links, forward.live_copies);
        self.enqueue(lane, Frame::Forward(forward));
        true
    }

    fn enqueue(&mut self, lane: Lane, frame: Frame) {
        self.queued_bytes += frame.len();
        self.lanes[lane.index()].push_back(frame);
    }

    /// Moves blocks whose subscriber has credit to the lanes while the socket
    /// has room, and tells which reads are wanted.
    pub(crate) fn pump(&mut self, want: impl FnMut(Wanted)) {
        let Self { subscribers, lanes, queued_bytes, limits, .. } = self;
        let room = limits.socket_bytes.saturating_sub(*queued_bytes);
        let mut queue = |lane: Lane, frame: Frame| {
            let len = frame.len();
            *queued_bytes += len;
            lanes[lane.index()].push_back(frame);
            len
        };
        subscribers.pump(
            room,
            |lane, outgoing| match outgoing {
                Outgoing::Gap { id, events, reason } => queue(lane, gap_mark(id, events, reason)),
                Outgoing::Block { id, block, events, hops, live } => {
                    let head = frame::deliver_head(id, block.as_slice().len(), hops);
                    queue(lane, Frame::Deliver { head, block, events, live })
                }
            },
            want,
        );
    }

    /// Writes until the socket takes no more or nothing is left. Answers how
    /// many bytes were written, or why the link is closed.
    pub(crate) fn flush(
        &mut self,
        network: &mut dyn Network,
        link: LinkToken,
        counters: &Counters,
    ) -> Result<(usize, bool), CloseReason> {
        let mut total = 0;
        loop {
            self.take_turns();
            if self.sending.is_empty() {
                return Ok((total, true));
            }
            let outcome = {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let mut used = 0;
                let mut skip = self.written;
                for frame in &self.sending {
                    if used + 2 > SLICES {
                        break;
                    }
                    let (head, body) = frame.parts();
                    for part in [head, body] {
                        let part = if skip >= part.len() {
                            skip -= part.len();
                            continue;
                        } else {
                            &part[std::mem::take(&mut skip)..]
                        };
                        slices[used] = IoSlice::new(part);
                        used += 1;
                    }
                }
                network.write(link, &slices[..used])
            };
            match outcome {
                WriteOutcome::Bytes(n) => {
                    total += n;
                    self.advance(n, counters);
                }
                WriteOutcome::WouldBlock => return Ok((total, false)),
                WriteOutcome::Closed(reason) => return Err(reason),
            }
        }
    }

    /// Fills `sending` from the control frames and the lanes.
    fn take_turns(&mut self) {
        if !self.control.is_empty() {
            let bytes = std::mem::replace(&mut self.control, std::mem::take(&mut self.spare));
            // Behind a frame of which a part is written, before all others.
            let place = usize::from(self.written > 0).min(self.sending.len());
            self.queued_bytes += bytes.len();
            self.sending.insert(place, Frame::Control(bytes));
        }
        let mut taken: usize = self.sending.iter().map(Frame::len).sum();
        while taken < SENDING && self.lanes.iter().any(|lane| !lane.is_empty()) {
            let lane = self.turn;
            self.turn = (self.turn + 1) % Lane::COUNT;
            if self.lanes[lane].is_empty() {
                self.deficits[lane] = 0;
                continue;
            }
            self.deficits[lane] += quantum(lane);
            while let Some(frame) = self.lanes[lane].front() {
                let len = frame.len();
                if len > self.deficits[lane] {
                    break;
                }
                self.deficits[lane] -= len;
                taken += len;
                if let Some(frame) = self.lanes[lane].pop_front() {
                    self.sending.push_back(frame);
                }
            }
        }
    }

    /// Counts `n` written bytes off the frames in `sending`.
    fn advance(&mut self, n: usize, counters: &Counters) {
        let mut written = self.written + n;
        while let Some(first) = self.sending.front() {
            let len = first.len();
            if written < len {
                break;
            }
            written -= len;
            self.queued_bytes -= len;
            match self.sending.pop_front() {
                Some(Frame::Control(mut bytes)) => {
                    bytes.clear();
                    self.spare = bytes;
                }
                Some(Frame::Deliver { events, live: true, .. }) => {
                    sub(&counters.waiting_subscribers, events);
                    add(&counters.delivered, events);
                }
                Some(Frame::Deliver { events, live: false, .. }) => add(&counters.replayed, events),
                Some(Frame::Forward(forward)) => {
                    sub(&counters.waiting_links, forward.live_copies);
                    add(&counters.forwarded, forward.live_copies);
                    if let Some(link) = &self.link {
                        add(&link.events_out, u64::from(Block::trusted(&forward.block).event_count()));
                        add(&link.blocks_out, 1);
                        add(&link.bytes_out, len as u64);
                    }
                }
                None => break,
            }
        }
        self.written = written;
    }

    /// Counts all that is still queued as dropped: the session is over.
    pub(crate) fn abandon(&mut self, counters: &Counters) {
        let queued = self.sending.drain(..).chain(self.lanes.iter_mut().flat_map(|lane| lane.drain(..)));
        for frame in queued {
            match frame {
                Frame::Deliver { events, live: true, .. } => {
                    sub(&counters.waiting_subscribers, events);
                    counters.drop_copies(DropReason::SessionClosed, events);
                }
                Frame::Forward(forward) => {
                    sub(&counters.waiting_links, forward.live_copies);
                    counters.drop_copies(DropReason::LinkLost, forward.live_copies);
                }
                Frame::Control(_) | Frame::Deliver { .. } => {}
            }
        }
        self.queued_bytes = 0;
        self.written = 0;
        self.subscribers.abandon(counters);
    }
}

/// The frame that says how many events are missing and why, for the lane where they are:
/// among control frames it would overtake what was delivered before them.
fn gap_mark(id: SubscriptionId, events: u64, reason: DropReason) -> Frame {
    let mut bytes = Vec::new();
    frame::encode(&frame::Frame::Gap(frame::Gap { id, events, reason: reason as u8 }), &mut bytes);
    Frame::Control(bytes)
}

/// Bytes that a lane may send per round: 64 KiB for the least urgent, eight
/// times that for the most urgent.
fn quantum(lane: usize) -> usize {
    (Lane::COUNT - lane) * (64 << 10)
}
