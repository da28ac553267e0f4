//! The subscriptions of one session: the blocks that wait for a subscriber's
//! credit.
//!
//! Per subscription blocks wait for credit, bounded; at the bound the
//! subscription's policy decides, each drop is counted, and a mark of the gap
//! goes before the next block that is delivered. What has credit goes on to
//! the lanes of the session's socket (`egress.rs`). Never touches a socket.

use std::collections::{HashMap, VecDeque};

use weft_base::{Lane, SubscriptionId};
use weft_log::LogBlock;
use weft_mesh::ledger::DropReason;
use weft_ring::arena::BlockRef;
use weft_wire::block::Block;
use weft_wire::frame::OnFull;

use super::egress::{EgressLimits, SENDING};
use crate::counters::{Counters, add, sub};
use crate::messages::{Fetched, StreamSlot, SubscribeOptions};

/// What a stream's subscription reads ahead of the socket.
const READ_AHEAD: usize = 256 << 10;

/// A block's bytes, wherever they lie.
#[derive(Clone)]
pub(crate) enum Bytes {
    Arena(BlockRef),
    Log(LogBlock),
}

impl Bytes {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Arena(block) => block,
            Bytes::Log(block) => block.as_ref(),
        }
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

/// What is to be read from a stream next.
pub(crate) struct Wanted {
    pub(crate) subscription: SubscriptionId,
    pub(crate) stream: StreamSlot,
    pub(crate) from: u64,
    pub(crate) max_bytes: usize,
}

/// The outcome of handing a block to a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Queued, or dropped by the subscription's policy and counted.
    Done,
    /// The subscription's policy is to end the session.
    Disconnect,
}

/// What a subscription hands on to its session's lanes.
pub(crate) enum Outgoing {
    /// This many events are missing at this place.
    Gap {
        id: SubscriptionId,
        events: u64,
    },
    Block {
        id: SubscriptionId,
        block: Bytes,
        events: u64,
        hops: u8,
        live: bool,
    },
}

/// The subscriptions of one session.
pub(crate) struct Subscribers {
    limits: EgressLimits,
    table: HashMap<SubscriptionId, Subscriber>,
    /// Subscriptions that have blocks waiting.
    ready: VecDeque<SubscriptionId>,
}

impl Subscribers {
    pub(crate) fn new(limits: EgressLimits) -> Self {
        Self { limits, table: HashMap::new(), ready: VecDeque::new() }
    }

    pub(crate) fn subscriptions(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn knows(&self, id: SubscriptionId) -> bool {
        self.table.contains_key(&id)
    }

    pub(crate) fn is_stream(&self, id: SubscriptionId) -> bool {
        self.table.get(&id).is_some_and(|s| s.stream.is_some())
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
        self.table.insert(id, subscriber);
    }

    /// The stream behind a subscription is open.
    pub(crate) fn opened(&mut self, id: SubscriptionId, slot: StreamSlot, next: u64) {
        if let Some(s) = self.table.get_mut(&id) {
            s.stream = Some(StreamCursor { slot, next, fetching: false, at_end: false });
        }
    }

    pub(crate) fn unsubscribe(&mut self, id: SubscriptionId, counters: &Counters) -> bool {
        let Some(s) = self.table.remove(&id) else { return false };
        if s.stream.is_none() {
            sub(&counters.waiting_subscribers, s.waiting_events);
            counters.drop_copies(DropReason::SessionClosed, s.waiting_events);
        }
        true
    }

    /// Adds to a subscription's credit; false when there is no such subscription.
    pub(crate) fn grant(&mut self, id: SubscriptionId, events: u64, bytes: u64) -> bool {
        let Some(s) = self.table.get_mut(&id) else { return false };
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
        let Some(s) = self.table.get_mut(&id).filter(|s| s.stream.is_none()) else {
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
                OnFull::DropNewest | OnFull::Wait | OnFull::Conflate | OnFull::Spill => {
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
        let Some(s) = self.table.get_mut(&id) else { return };
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
        if let Some(s) = self.table.get_mut(&id)
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

    /// Hands blocks whose subscriber has credit to `queue` while there is room,
    /// in bytes, and tells which reads are wanted. `queue` answers how many
    /// bytes it took.
    pub(crate) fn pump(
        &mut self,
        mut room: usize,
        mut queue: impl FnMut(Lane, Outgoing) -> usize,
        mut want: impl FnMut(Wanted),
    ) {
        let mut rounds = self.ready.len();
        while rounds > 0 && room > 0 {
            rounds -= 1;
            let Some(id) = self.ready.pop_front() else { break };
            let Some(s) = self.table.get_mut(&id) else { continue };
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
                    room = room.saturating_sub(queue(lane, Outgoing::Gap { id, events: gap }));
                }
                let live = s.stream.is_none();
                room = room.saturating_sub(queue(lane, Outgoing::Block { id, block, events, hops, live }));
            }
            if s.waiting.is_empty() && s.gap > 0 {
                let events = std::mem::take(&mut s.gap);
                room = room.saturating_sub(queue(s.last_lane, Outgoing::Gap { id, events }));
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

    /// Counts all that waits as dropped: the session is over.
    pub(crate) fn abandon(&mut self, counters: &Counters) {
        let ids: Vec<SubscriptionId> = self.table.keys().copied().collect();
        for id in ids {
            self.unsubscribe(id, counters);
        }
    }
}

/// Credit as it is counted here: it may fall below zero by one block, because
/// blocks are not split, so it is signed; "unlimited" is the largest number.
fn clamp(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
