//! The subscriptions of one session: credit, and what waits for it.
//!
//! Per subscription blocks wait for credit in a bounded backlog; at the bound
//! the subscription's policy decides (`backlog.rs`), each drop is counted, and
//! a mark of the gap goes before the next block that is delivered. A
//! subscription that makes its publishers wait closes its gate before its
//! backlog is full. What has credit goes on to the lanes of the session's
//! socket (`egress.rs`). Never touches a socket.

use std::collections::{HashMap, VecDeque};

use weft_base::sync::Arc;
use weft_base::{Lane, Mono, SubscriptionId};
use weft_log::LogBlock;
use weft_mesh::ledger::DropReason;
use weft_ring::arena::{Arena, BlockRef, Buffer};
use weft_wire::block::Block;

use super::backlog::{Backlog, BacklogLimits, Next, Pushed, Room, Waiting};
use super::egress::{EgressLimits, SENDING};
use crate::counters::{Counters, Stall, add, get, sub};
use crate::gate::Gate;
use crate::messages::{Fetched, StreamSlot, SubscribeOptions};
use crate::see::account::{Account, Waits};
use crate::see::look::{Past, SubscriberState};

/// What a stream's subscription reads ahead of the socket.
const READ_AHEAD: usize = 256 << 10;

/// Blocks that wait for one subscription before further ones are copied.
const UNCOPIED: usize = 16;
/// The longest block that is copied when it has to wait: a sixteenth of a buffer.
const SMALL: usize = 4 << 10;

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

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
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

/// One subscription's side of the egress.
struct Subscriber {
    credit_events: i64,
    credit_bytes: i64,
    backlog: Backlog<Bytes>,
    stream: Option<StreamCursor>,
    /// Of one that makes its publishers wait.
    gate: Option<Arc<Gate>>,
    /// Whether the gate was closed when the mesh was told last.
    told_closed: bool,
    /// Of one that spills: where to, once it is known.
    spill: Option<StreamSlot>,
    queued: bool,
    /// Blocks and keys of the backlog, as they are counted for the hub.
    counted: (usize, usize),
    past: Past,
    stall: Stall,
    /// Where small blocks that wait long are copied to, side by side.
    compact: Option<Buffer>,
}

impl Subscriber {
    fn has_credit(&self) -> bool {
        self.credit_events > 0 && self.credit_bytes > 0
    }

    /// Counts the backlog's blocks and keys for the hub, whose memory they are.
    fn tally(&mut self, counters: &Counters) {
        let (blocks, keys) = (self.backlog.blocks(), self.backlog.keys());
        for (gauge, was, is) in
            [(&counters.backlog_blocks, self.counted.0, blocks), (&counters.backlog_keys, self.counted.1, keys)]
        {
            match is.checked_sub(was) {
                Some(0) => {}
                Some(more) => add(gauge, more as u64),
                None => sub(gauge, (was - is) as u64),
            }
        }
        self.counted = (blocks, keys);
        self.count_stall(blocks > 0 && !self.has_credit(), counters);
        if blocks == 0 {
            self.compact = None;
        }
    }

    /// Counts how it waits for credit of its client.
    fn count_stall(&mut self, waits: bool, counters: &Counters) {
        self.stall.set(waits, counters.mono(), (&counters.subscriber_stalls, &counters.subscriber_stalled_ns));
    }

    /// Whether something waits since an earlier turn.
    fn is_behind(&self, now: Mono) -> bool {
        self.backlog.oldest().is_some_and(|since| since < now)
    }

    /// The block as it is to wait. A small one keeps all of the buffer that it
    /// came in, so of a subscription that is behind it is copied to others of
    /// its kind: what waits then takes about the memory that it is counted for.
    fn for_waiting(&mut self, block: &BlockRef, now: Mono, memory: Memory<'_>) -> BlockRef {
        if self.backlog.blocks() < UNCOPIED || block.len() > SMALL || !self.is_behind(now) {
            return block.clone();
        }
        if self.compact.as_ref().is_none_or(|buffer| buffer.room() < block.len()) {
            self.compact = memory.arena.lend(SMALL);
        }
        match &mut self.compact {
            Some(buffer) => {
                buffer.extend(block);
                buffer.split_to(block.len()).freeze()
            }
            None => block.clone(),
        }
    }

    /// Says of the gate since when the oldest waits; whether the gate has turned.
    fn tend_gate(&mut self) -> bool {
        let Some(gate) = &self.gate else { return false };
        gate.behind_since(self.backlog.oldest().unwrap_or_default());
        let turned = gate.is_closed() != self.told_closed;
        self.told_closed ^= turned;
        turned
    }
}

/// What is to be read from a stream next.
pub(crate) struct Wanted {
    pub(crate) subscription: SubscriptionId,
    pub(crate) stream: StreamSlot,
    pub(crate) from: u64,
    pub(crate) max_bytes: usize,
}

/// Where blocks lie, for those that are to wait.
#[derive(Clone, Copy)]
pub(crate) struct Memory<'a> {
    pub(crate) arena: &'a Arena,
    /// Most of it is lent: what waits may not become more.
    pub(crate) tight: bool,
}

/// What the lanes of a session take from its subscriptions in a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) bytes: usize,
    pub(crate) blocks: usize,
}

impl Turn {
    fn is_left(self) -> bool {
        self.bytes > 0 && self.blocks > 0
    }
}

/// The outcome of handing a block to a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Queued, or dropped by the subscription's policy and counted.
    Done,
    /// There is no such subscription any more: dropped and counted.
    Gone,
    /// The subscription's policy is to end the session.
    Disconnect,
    /// The subscription's policy is to append it to this stream instead.
    Spill(StreamSlot),
}

/// What a subscription hands on to its session's lanes.
pub(crate) enum Outgoing {
    /// This many events are missing at this place.
    Gap {
        id: SubscriptionId,
        events: u64,
        reason: DropReason,
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
    /// Subscriptions whose gate was closed or opened and not told of yet.
    turned: Vec<SubscriptionId>,
}

impl Subscribers {
    pub(crate) fn new(limits: EgressLimits) -> Self {
        Self { limits, table: HashMap::new(), ready: VecDeque::new(), turned: Vec::new() }
    }

    pub(crate) fn subscriptions(&self) -> usize {
        self.table.len()
    }

    /// Whether no live subscription waits for anything.
    pub(crate) fn are_quiet(&self) -> bool {
        self.table.values().all(|s| s.stream.is_some() || !s.backlog.has_news())
    }

    pub(crate) fn knows(&self, id: SubscriptionId) -> bool {
        self.table.contains_key(&id)
    }

    pub(crate) fn is_stream(&self, id: SubscriptionId) -> bool {
        self.table.get(&id).is_some_and(|s| s.stream.is_some())
    }

    pub(crate) fn subscribe(&mut self, id: SubscriptionId, options: SubscribeOptions) {
        let limits = BacklogLimits {
            events: self.limits.subscriber_events,
            bytes: self.limits.subscriber_bytes,
            keys: self.limits.conflate_keys,
        };
        let subscriber = Subscriber {
            credit_events: clamp(options.credit_events),
            credit_bytes: clamp(options.credit_bytes),
            backlog: Backlog::new(options.on_full, limits),
            stream: None,
            gate: options.gate,
            told_closed: false,
            spill: None,
            queued: false,
            counted: (0, 0),
            past: Past::default(),
            stall: Stall::default(),
            compact: None,
        };
        self.table.insert(id, subscriber);
    }

    /// The stream behind a subscription is open.
    pub(crate) fn opened(&mut self, id: SubscriptionId, slot: StreamSlot, next: u64) {
        if let Some(s) = self.table.get_mut(&id) {
            s.stream = Some(StreamCursor { slot, next, fetching: false, at_end: false });
        }
    }

    /// The stream that a subscription spills to is known; false when there is
    /// no such subscription any more.
    pub(crate) fn spills_to(&mut self, id: SubscriptionId, slot: StreamSlot) -> bool {
        self.table.get_mut(&id).is_some_and(|s| {
            s.spill = Some(slot);
            true
        })
    }

    pub(crate) fn unsubscribe(&mut self, id: SubscriptionId, counters: &Counters) -> bool {
        let Some(mut s) = self.table.remove(&id) else { return false };
        s.count_stall(false, counters);
        if s.stream.is_none() {
            for waiting in s.backlog.iter() {
                let account = counters.account(waiting.block.as_slice());
                account.drop(DropReason::SessionClosed, waiting.events);
                account.leave(Waits::Subscribers, waiting.events);
            }
        }
        sub(&counters.backlog_blocks, s.counted.0 as u64);
        sub(&counters.backlog_keys, s.counted.1 as u64);
        if let Some(gate) = &s.gate {
            gate.end();
        }
        true
    }

    /// Adds to a subscription's credit; false when there is no such subscription.
    pub(crate) fn grant(&mut self, id: SubscriptionId, events: u64, bytes: u64) -> bool {
        let Some(s) = self.table.get_mut(&id) else { return false };
        s.credit_events = s.credit_events.saturating_add(clamp(events));
        s.credit_bytes = s.credit_bytes.saturating_add(clamp(bytes));
        s.past.credit(s.has_credit(), s.past.dry);
        if s.backlog.has_news() && !s.queued {
            s.queued = true;
            self.ready.push_back(id);
        }
        true
    }

    /// A block of `events` events and `bytes` bytes expired behind the credit:
    /// the credit comes back, and what is missing there is told before the next
    /// block of the lane.
    pub(crate) fn expired(
        &mut self,
        id: SubscriptionId,
        lane: Lane,
        events: u64,
        bytes: usize,
        missing: impl IntoIterator<Item = (DropReason, u64)>,
    ) {
        let Some(s) = self.table.get_mut(&id) else { return };
        for (reason, events) in missing {
            s.past.lost(events, reason);
            s.backlog.missing(lane, reason, events);
        }
        self.grant(id, events, bytes as u64);
    }

    /// Since when the oldest block of a subscription waits.
    pub(crate) fn oldest(&self, id: SubscriptionId) -> Option<Mono> {
        self.table.get(&id)?.backlog.oldest()
    }

    /// Takes a live block for a subscription.
    pub(crate) fn deliver(
        &mut self,
        id: SubscriptionId,
        block: &BlockRef,
        hops: u8,
        now: Mono,
        memory: Memory<'_>,
        account: Account<'_>,
    ) -> Delivery {
        let counters = account.counters();
        let (events, lane) = {
            let block = Block::trusted(block);
            (u64::from(block.event_count()), block.lane())
        };
        let Some(s) = self.table.get_mut(&id).filter(|s| s.stream.is_none()) else {
            account.drop(DropReason::SessionClosed, events);
            return Delivery::Gone;
        };
        account.enter(Waits::Subscribers, events);
        // What all of a hub's subscribers share runs short because of those that
        // are behind, so it is for them alone that there is no more.
        let behind = s.is_behind(now);
        let short = get(&counters.backlog_blocks) >= self.limits.waiting_blocks || memory.tight && s.gate.is_none();
        s.backlog.set_room(Room {
            more: !(behind && short),
            keys: self.limits.conflate_keys.saturating_sub(get(&counters.backlog_keys) as usize),
        });
        let block = s.for_waiting(block, now, memory);
        let waiting = Waiting { block: Bytes::Arena(block), events, hops, since: now };
        s.past.credit(s.has_credit(), counters.wall());
        let (gate, past) = (s.gate.as_ref(), &mut s.past);
        let pushed = s.backlog.push(lane, waiting, |reason, events, block: &Bytes| {
            past.lost(events, reason);
            let account = counters.account(block.as_slice());
            account.drop(reason, events);
            account.leave(Waits::Subscribers, events);
            if let Some(gate) = gate {
                gate.leave(events, block.as_slice().len() as u64);
            }
        });
        s.tally(counters);
        if s.tend_gate() {
            self.turned.push(id);
        }
        if !s.queued {
            s.queued = true;
            self.ready.push_back(id);
        }
        match (pushed, s.spill) {
            (Pushed::Done, _) => Delivery::Done,
            (Pushed::Disconnect, _) => Delivery::Disconnect,
            (Pushed::Spill(_), Some(slot)) => Delivery::Spill(slot),
            // Live deliveries begin only when the stream is known.
            (Pushed::Spill(_), None) => Delivery::Done,
        }
    }

    /// Takes what was read from a stream for a subscription.
    pub(crate) fn fetched(&mut self, id: SubscriptionId, fetched: Fetched, now: Mono, counters: &Counters) {
        let Some(s) = self.table.get_mut(&id) else { return };
        let Some(cursor) = &mut s.stream else { return };
        cursor.fetching = false;
        cursor.next = fetched.next;
        cursor.at_end = fetched.end;
        for block in fetched.blocks {
            let events = u64::from(Block::trusted(block.as_ref()).event_count());
            // In one lane whatever theirs: a stream is read in its own order.
            let waiting = Waiting { block: Bytes::Log(block), events, hops: 0, since: now };
            s.backlog.append(Lane::DEFAULT, waiting);
        }
        s.tally(counters);
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
        let room = READ_AHEAD.saturating_sub(s.backlog.bytes());
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
        mut room: Turn,
        mut queue: impl FnMut(Lane, Outgoing) -> usize,
        mut want: impl FnMut(Wanted),
        counters: &Counters,
    ) {
        let mut rounds = self.ready.len();
        while rounds > 0 && room.is_left() {
            rounds -= 1;
            let Some(id) = self.ready.pop_front() else { break };
            let Some(s) = self.table.get_mut(&id) else { continue };
            s.queued = false;
            // A subscriber takes at most a share of the socket per turn, so that one does not hold up the others.
            let mut share = SENDING;
            while share > 0 && room.blocks > 0 && (s.has_credit() || s.backlog.is_empty()) {
                let len = match s.backlog.pop() {
                    None => break,
                    Some(Next::Gap { lane, events, reason }) => queue(lane, Outgoing::Gap { id, events, reason }),
                    Some(Next::Block { lane, waiting: Waiting { block, events, hops, .. } }) => {
                        let len = block.as_slice().len();
                        s.credit_events = s.credit_events.saturating_sub(clamp(events));
                        s.credit_bytes = s.credit_bytes.saturating_sub(clamp(len as u64));
                        share = share.saturating_sub(len);
                        s.past.sent(events, counters.wall());
                        s.past.credit(s.has_credit(), counters.wall());
                        if let Some(gate) = &s.gate {
                            gate.leave(events, len as u64);
                        }
                        let live = s.stream.is_none();
                        queue(lane, Outgoing::Block { id, block, events, hops, live })
                    }
                };
                room.bytes = room.bytes.saturating_sub(len);
                room.blocks = room.blocks.saturating_sub(1);
            }
            s.tally(counters);
            if s.tend_gate() {
                self.turned.push(id);
            }
            if let Some(wanted) = Self::wanted(id, s) {
                want(wanted);
            }
            if !s.backlog.is_empty() && s.has_credit() {
                s.queued = true;
                self.ready.push_back(id);
                rounds += 1;
            }
        }
    }

    /// How the first of them stand, by number.
    pub(crate) fn states(&self, most: usize) -> Vec<SubscriberState> {
        let mut ids: Vec<SubscriptionId> = self.table.keys().copied().collect();
        ids.sort_unstable();
        let state = |id: SubscriptionId| {
            let s = self.table.get(&id)?;
            Some(SubscriberState {
                id,
                stream: s.stream.as_ref().map(|cursor| cursor.slot),
                policy: s.backlog.policy(),
                credit: (s.credit_events, s.credit_bytes),
                waiting: s.backlog.events(),
                oldest: s.backlog.oldest(),
                queue: self.limits.subscriber_events,
                is_gate_closed: s.gate.as_ref().is_some_and(|gate| gate.is_closed()),
                past: s.past,
            })
        };
        ids.into_iter().take(most).filter_map(state).collect()
    }

    /// The subscriptions whose gate has turned since the last call, with the gate.
    pub(crate) fn take_turned(&mut self, mut each: impl FnMut(SubscriptionId, &Arc<Gate>)) {
        for id in self.turned.drain(..) {
            if let Some(gate) = self.table.get(&id).and_then(|s| s.gate.as_ref()) {
                each(id, gate);
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
