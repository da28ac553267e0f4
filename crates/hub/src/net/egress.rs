//! What goes out to one peer: frames by lane, and the blocks that wait for a
//! subscriber's credit.
//!
//! A block passes two queues. Per subscription it waits for credit, bounded,
//! and at the bound the subscription's policy decides. Then it waits in its
//! lane for the socket; the lanes share the socket by deficit round robin
//! (Shreedhar and Varghese, 1996), the urgent ones with the larger quantum, so
//! that urgent overtakes bulk and nothing starves. Control frames go first.
//!
//! Nothing is copied: a frame is a few bytes of head and a reference to the
//! block where it lies, written together.

use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;

use weft_base::{Lane, SubscriptionId};
use weft_log::LogBlock;
use weft_mesh::ledger::DropReason;
use weft_ring::arena::BlockRef;
use weft_transport::{CloseReason, LinkToken, Network, WriteOutcome};
use weft_wire::block::Block;
use weft_wire::frame::{self, OnFull};

use crate::counters::{Counters, LinkCounters, add, sub};
use crate::messages::{Fetched, Forward, StreamSlot, SubscribeOptions};

/// How many slices one write carries; a frame takes two.
const SLICES: usize = 64;
/// How much is taken from the lanes at a time: enough for full writes, little
/// enough that an urgent frame need not wait long behind what was taken.
const SENDING: usize = 128 << 10;
/// What a stream's subscription reads ahead of the socket.
const READ_AHEAD: usize = 256 << 10;

/// A block's bytes, wherever they lie.
#[derive(Clone)]
pub(crate) enum Bytes {
    Arena(BlockRef),
    Log(LogBlock),
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Arena(block) => block,
            Bytes::Log(block) => block.as_ref(),
        }
    }
}

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

/// A subscription that reads a stream.
pub(crate) struct StreamCursor {
    pub(crate) slot: StreamSlot,
    /// The next sequence to read.
    pub(crate) next: u64,
    /// A read is under way.
    fetching: bool,
    /// All there is has been read.
    at_end: bool,
}

/// A block that waits for credit.
struct Waiting {
    block: Bytes,
    events: u64,
    hops: u8,
    /// Events dropped just before it.
    gap: u64,
}

/// One subscription's side of the egress.
struct Subscriber {
    credit_events: i64,
    credit_bytes: i64,
    on_full: OnFull,
    waiting: VecDeque<Waiting>,
    waiting_events: u64,
    waiting_bytes: usize,
    /// Events dropped behind the last that waits.
    gap: u64,
    stream: Option<StreamCursor>,
    /// The lane of the last block sent, where a mark behind it belongs.
    last_lane: Lane,
    queued: bool,
}

/// The bounds that an egress keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EgressLimits {
    pub(crate) subscriber_events: u64,
    pub(crate) subscriber_bytes: usize,
    pub(crate) socket_bytes: usize,
}

/// What is to be read from a stream next.
pub(crate) struct Wanted {
    pub(crate) subscription: SubscriptionId,
    pub(crate) stream: StreamSlot,
    pub(crate) from: u64,
    pub(crate) max_bytes: usize,
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
    subscribers: HashMap<SubscriptionId, Subscriber>,
    /// Subscriptions that have blocks waiting.
    ready: VecDeque<SubscriptionId>,
    /// Of a link: what it carried.
    link: Option<Arc<LinkCounters>>,
}

/// The outcome of handing a block to a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Queued, or dropped by the subscription's policy and counted.
    Done,
    /// The subscription's policy is to end the session.
    Disconnect,
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
            subscribers: HashMap::new(),
            ready: VecDeque::new(),
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

    pub(crate) fn subscriptions(&self) -> usize {
        self.subscribers.len()
    }

    pub(crate) fn knows(&self, id: SubscriptionId) -> bool {
        self.subscribers.contains_key(&id)
    }

    pub(crate) fn is_stream(&self, id: SubscriptionId) -> bool {
        self.subscribers.get(&id).is_some_and(|s| s.stream.is_some())
    }

    /// Whether all that was queued has been written.
    pub(crate) fn is_empty(&self) -> bool {
        self.queued_bytes == 0 && self.control.is_empty() && self.sending.is_empty()
    }

    pub(crate) fn subscribe(&mut self, id: SubscriptionId, options: &SubscribeOptions) {
        let subscriber = Subscriber {
            credit_events: clamp(options.credit_events),
            credit_bytes: clamp(options.credit_bytes),
            on_full: options.on_full,
            waiting: VecDeque::new(),
            waiting_events: 0,
            waiting_bytes: 0,
            gap: 0,
            stream: None,
            last_lane: Lane::DEFAULT,
            queued: false,
        };
        self.subscribers.insert(id, subscriber);
    }

    /// The stream behind a subscription is open.
    pub(crate) fn opened(&mut self, id: SubscriptionId, slot: StreamSlot, next: u64) {
        if let Some(s) = self.subscribers.get_mut(&id) {
            s.stream = Some(StreamCursor { slot, next, fetching: false, at_end: false });
        }
    }

    pub(crate) fn unsubscribe(&mut self, id: SubscriptionId, counters: &Counters) -> bool {
        let Some(s) = self.subscribers.remove(&id) else { return false };
        if s.stream.is_none() {
            sub(&counters.waiting_subscribers, s.waiting_events);
            counters.drop_copies(DropReason::SessionClosed, s.waiting_events);
        }
        true
    }

    /// Adds to a subscription's credit; false when there is no such subscription.
    pub(crate) fn grant(&mut self, id: SubscriptionId, events: u64, bytes: u64) -> bool {
        let Some(s) = self.subscribers.get_mut(&id) else { return false };
        s.credit_events = s.credit_events.saturating_add(clamp(events));
        s.credit_bytes = s.credit_bytes.saturating_add(clamp(bytes));
        if !s.waiting.is_empty() && !s.queued {
            s.queued = true;
            self.ready.push_back(id);
        }
        true
    }

    /// Takes a live block for a subscription.
    pub(crate) fn deliver(&mut self, id: SubscriptionId, block: &BlockRef, hops: u8, counters: &Counters) -> Delivery {
        let events = u64::from(Block::trusted(block).event_count());
        let Some(s) = self.subscribers.get_mut(&id).filter(|s| s.stream.is_none()) else {
            counters.drop_copies(DropReason::SessionClosed, events);
            return Delivery::Done;
        };
        let fits = |s: &Subscriber, limits: &EgressLimits| {
            s.waiting.is_empty()
                || (s.waiting_events + events <= limits.subscriber_events
                    && s.waiting_bytes + block.len() <= limits.subscriber_bytes)
        };
        while !fits(s, &self.limits) {
            match s.on_full {
                OnFull::DropNewest => {
                    s.gap += events;
                    counters.drop_copies(DropReason::SubscriberFull, events);
                    return Delivery::Done;
                }
                OnFull::Disconnect => {
                    counters.drop_copies(DropReason::SubscriberFull, events);
                    return Delivery::Disconnect;
                }
                OnFull::DropOldest => {
                    let Some(old) = s.waiting.pop_front() else { break };
                    s.waiting_events -= old.events;
                    s.waiting_bytes -= old.block.as_slice().len();
                    let behind = s.waiting.front_mut().map_or(&mut s.gap, |next| &mut next.gap);
                    *behind += old.gap + old.events;
                    sub(&counters.waiting_subscribers, old.events);
                    counters.drop_copies(DropReason::SubscriberFull, old.events);
                }
            }
        }
        s.waiting_events += events;
        s.waiting_bytes += block.len();
        let gap = std::mem::take(&mut s.gap);
        s.waiting.push_back(Waiting { block: Bytes::Arena(block.clone()), events, hops, gap });
        add(&counters.waiting_subscribers, events);
        if !s.queued {
            s.queued = true;
            self.ready.push_back(id);
        }
        Delivery::Done
    }

    /// Takes what was read from a stream for a subscription.
    pub(crate) fn fetched(&mut self, id: SubscriptionId, fetched: Fetched) {
        let Some(s) = self.subscribers.get_mut(&id) else { return };
        let Some(cursor) = &mut s.stream else { return };
        cursor.fetching = false;
        cursor.next = fetched.next;
        cursor.at_end = fetched.end;
        for block in fetched.blocks {
            let events = u64::from(Block::trusted(block.as_ref()).event_count());
            s.waiting_events += events;
            s.waiting_bytes += block.as_ref().len();
            s.waiting.push_back(Waiting { block: Bytes::Log(block), events, hops: 0, gap: 0 });
        }
        if !s.queued {
            s.queued = true;
            self.ready.push_back(id);
        }
    }

    /// A stream that a subscription had read to the end has grown.
    pub(crate) fn grown(&mut self, id: SubscriptionId) {
        if let Some(s) = self.subscribers.get_mut(&id)
            && let Some(cursor) = &mut s.stream
        {
            cursor.at_end = false;
            if !s.queued {
                s.queued = true;
                self.ready.push_back(id);
            }
        }
    }

    /// The read that `id` should make now, marked as under way.
    fn wanted(id: SubscriptionId, s: &mut Subscriber) -> Option<Wanted> {
        let room = READ_AHEAD.saturating_sub(s.waiting_bytes);
        let cursor = s.stream.as_mut()?;
        if cursor.fetching || cursor.at_end || room < READ_AHEAD / 2 {
            return None;
        }
        cursor.fetching = true;
        Some(Wanted { subscription: id, stream: cursor.slot, from: cursor.next, max_bytes: room })
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
    pub(crate) fn pump(&mut self, mut want: impl FnMut(Wanted)) {
        let mut rounds = self.ready.len();
        while rounds > 0 && self.queued_bytes < self.limits.socket_bytes {
            rounds -= 1;
            let Some(id) = self.ready.pop_front() else { break };
            let Some(s) = self.subscribers.get_mut(&id) else { continue };
            s.queued = false;
            // A subscriber takes at most a share of the socket per turn, so that one does not hold up the others.
            let mut share = SENDING;
            while share > 0 && s.credit_events > 0 && s.credit_bytes > 0 {
                let Some(Waiting { block, events, hops, gap }) = s.waiting.pop_front() else { break };
                let bytes = block.as_slice();
                let (len, lane) = (bytes.len(), Block::trusted(bytes).lane());
                s.waiting_events -= events;
                s.waiting_bytes -= len;
                s.credit_events = s.credit_events.saturating_sub(clamp(events));
                s.credit_bytes = s.credit_bytes.saturating_sub(clamp(len as u64));
                share = share.saturating_sub(len);
                s.last_lane = lane;
                if gap > 0 {
                    let mark = gap_mark(id, gap);
                    self.queued_bytes += mark.len();
                    self.lanes[lane.index()].push_back(mark);
                }
                let head = frame::deliver_head(id, len, hops);
                let live = s.stream.is_none();
                let frame = Frame::Deliver { head, block, events, live };
                self.queued_bytes += frame.len();
                self.lanes[lane.index()].push_back(frame);
            }
            if s.waiting.is_empty() && s.gap > 0 {
                let mark = gap_mark(id, std::mem::take(&mut s.gap));
                self.queued_bytes += mark.len();
                self.lanes[s.last_lane.index()].push_back(mark);
            }
            if let Some(wanted) = Self::wanted(id, s) {
                want(wanted);
            }
            if !s.waiting.is_empty() && s.credit_events > 0 && s.credit_bytes > 0 {
                s.queued = true;
                self.ready.push_back(id);
                rounds += 1;
            }
        }
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
        let ids: Vec<SubscriptionId> = self.subscribers.keys().copied().collect();
        for id in ids {
            self.unsubscribe(id, counters);
        }
    }
}

/// The frame that says how many events are missing, for the lane where they are:
/// among control frames it would overtake what was delivered before them.
fn gap_mark(id: SubscriptionId, events: u64) -> Frame {
    let mut bytes = Vec::new();
    let reason = DropReason::SubscriberFull as u8;
    frame::encode(&frame::Frame::Gap(frame::Gap { id, events, reason }), &mut bytes);
    Frame::Control(bytes)
}

/// Bytes that a lane may send per round: 64 KiB for the least urgent, eight
/// times that for the most urgent.
fn quantum(lane: usize) -> usize {
    (Lane::COUNT - lane) * (64 << 10)
}

/// Credit as it is counted here: it may fall below zero by one block, because
/// blocks are not split, so it is signed; "unlimited" is the largest number.
fn clamp(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
