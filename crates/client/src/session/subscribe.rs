//! The subscribing side of a session: what the hub was told, what it has been
//! given credit for, and where in its stream each subscription stands.
//!
//! Credit: what the hub may still send, what waits here and what the
//! application has taken but not yet given back add up to the credit asked
//! for. So the queue here is bounded, and a new connection is granted exactly
//! what is not waiting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use weft_base::{Mono, Random, SubscriptionId};
use weft_ring::arena::BlockRef;
use weft_topic::Filter;
use weft_wire::frame::{self, ErrorCode, Frame, MAX_HOMES, Start};

use super::aside::There;
use super::seen::Seen;
use crate::client::MAX_CREDIT_EVENTS;
use crate::delivery::{Delivery, Gap, Queue, check};
use crate::error::{Refusal, SubscribeError};
use crate::options::SubscribeOptions;
use crate::ticket::Ticket;

/// The shortest pause before a subscription is made again.
const AGAIN: Duration = Duration::from_millis(50);

pub(crate) type SubscribeTicket = Ticket<Result<u64, SubscribeError>>;

/// One subscription.
#[derive(Debug)]
pub(super) struct Entry {
    filter: Filter,
    pub(super) options: SubscribeOptions,
    queue: Arc<Queue>,
    ticket: Arc<SubscribeTicket>,
    /// The hub has accepted it, in this connection or an earlier one.
    pub(super) accepted: bool,
    /// Of a stream: the sequence that comes next, once it is known.
    next: Option<u64>,
    /// Of a stream: what was read, per home, so that any home can go on with it.
    position: BTreeMap<u32, u64>,
    /// When it is to be made again, because it is served elsewhere now.
    again: Option<Mono>,
    pub(super) gap: Gap,
    /// Of a live subscription: blocks that came lately.
    pub(super) seen: Seen,
    /// Of one that is read on demand.
    pub(super) demand: Option<Demanded>,
    /// Delivered and not given back as credit.
    pub(super) held_events: u64,
    pub(super) held_bytes: u64,
    /// While the client moves: the subscription at the other hub.
    pub(super) there: Option<There>,
    /// Credit that the hub has and was not to have: of what is given back next.
    pub(super) owed: (u64, u64),
}

/// Demand in events, against what the hub was granted for it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demanded {
    /// Requested and not come; below zero when a block brought more than was requested.
    open: i64,
    /// Granted and not come; likewise.
    pub(super) granted: i64,
}

impl Demanded {
    /// What to grant now: never beyond the demand, nor beyond the most that the hub takes.
    pub(super) fn grant(&mut self) -> u64 {
        let target = self.open.min(MAX_CREDIT_EVENTS as i64);
        if target <= self.granted {
            return 0;
        }
        let more = target - self.granted;
        self.granted = target;
        more.unsigned_abs()
    }
}

/// All subscriptions of a client.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    pub(super) entries: BTreeMap<SubscriptionId, Entry>,
}

impl Subscriptions {
    /// Adds a subscription and, when connected, tells the hub.
    pub(crate) fn add(
        &mut self,
        id: SubscriptionId,
        filter: Filter,
        options: SubscribeOptions,
        on_demand: bool,
        out: Option<&mut Vec<u8>>,
    ) -> (Arc<Queue>, Arc<SubscribeTicket>) {
        let position = options.position.as_ref().map_or_else(BTreeMap::new, |position| position.homes().clone());
        let mut entry = Entry {
            filter,
            options,
            queue: Arc::default(),
            ticket: Ticket::new(),
            accepted: false,
            next: None,
            position,
            again: None,
            gap: Gap::default(),
            seen: Seen::default(),
            demand: on_demand.then(Demanded::default),
            held_events: 0,
            held_bytes: 0,
            there: None,
            owed: (0, 0),
        };
        if let Some(out) = out {
            entry.subscribe(id, out);
        }
        let answer = (entry.queue.clone(), entry.ticket.clone());
        self.entries.insert(id, entry);
        answer
    }

    /// Ends a subscription from this side. Answers whether it stands at the other hub, too.
    pub(crate) fn remove(&mut self, id: SubscriptionId, out: Option<&mut Vec<u8>>) -> bool {
        let Some(entry) = self.entries.remove(&id) else { return false };
        if let Some(out) = out {
            frame::encode(&Frame::Unsubscribe(frame::Unsubscribe { id }), out);
        }
        entry.there.is_some()
    }

    /// A new connection: all subscriptions are made again, streams from where they stand.
    pub(crate) fn connected(&mut self, out: &mut Vec<u8>) {
        for (id, entry) in &mut self.entries {
            entry.subscribe(*id, out);
        }
    }

    /// The connection is lost: what comes next is marked.
    pub(crate) fn lost(&mut self) {
        for entry in self.entries.values_mut().filter(|entry| entry.accepted) {
            entry.gap.reconnected = true;
        }
    }

    /// The hub has accepted a subscription.
    pub(crate) fn accepted(&mut self, id: SubscriptionId, start_sequence: u64, wake: &mut Vec<Waker>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.accepted = true;
        if entry.options.stream.is_some() {
            let next = *entry.next.get_or_insert(start_sequence);
            // What was to come next has been deleted meanwhile.
            entry.gap.events = entry.gap.events.saturating_add(start_sequence.saturating_sub(next));
        }
        entry.ticket.complete(Ok(start_sequence), wake);
    }

    /// The hub refuses or ends a subscription. One of a stream that is served by
    /// another hub now, or by none at present, is made again after a while.
    /// False when there is none of this id.
    pub(crate) fn refused(
        &mut self,
        id: SubscriptionId,
        refusal: Refusal,
        now: Mono,
        random: &mut Random,
        wake: &mut Vec<Waker>,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        let passes = refusal.code == ErrorCode::MOVED || (entry.accepted && refusal.code == ErrorCode::UNREACHABLE);
        if passes && entry.options.stream.is_some() {
            let pause = refusal.retry_after.unwrap_or(AGAIN).max(AGAIN);
            let nanos = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
            entry.again = Some(now + Duration::from_nanos(nanos / 2 + random.below(nanos / 2 + 1)));
            entry.gap.reconnected |= entry.accepted;
            return true;
        }
        let Some(entry) = self.entries.remove(&id) else { return false };
        entry.ticket.complete(Err(refusal.clone().into()), wake);
        if entry.accepted {
            entry.queue.fail(refusal.into(), wake);
        }
        entry.queue.end(wake);
        true
    }

    /// When a subscription is to be made again.
    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.entries.values().filter_map(|entry| entry.again).min()
    }

    /// Makes those again whose pause is over.
    pub(crate) fn reopen(&mut self, now: Mono, out: &mut Vec<u8>) {
        for (id, entry) in &mut self.entries {
            if entry.again.is_some_and(|at| at <= now) {
                entry.subscribe(*id, out);
            }
        }
    }

    /// The hub has dropped events for a subscription.
    pub(crate) fn gap(&mut self, id: SubscriptionId, events: u64, reason: u8, wake: &mut Vec<Waker>) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.gap.events = entry.gap.events.saturating_add(events);
            entry.gap.reason = reason;
            if let Some(next) = entry.next {
                // Told since the last delivery, whose end `next` is.
                entry.queue.reach(next.saturating_add(entry.gap.events), entry.gap, wake);
            }
        }
    }

    /// A block for a subscription. One that has just ended is no error: the
    /// block crossed the end on its way.
    ///
    /// # Errors
    /// What is wrong with the block.
    pub(crate) fn deliver(
        &mut self,
        id: SubscriptionId,
        bytes: BlockRef,
        hops: u8,
        wake: &mut Vec<Waker>,
    ) -> Result<(), String> {
        let Some(entry) = self.entries.get_mut(&id) else { return Ok(()) };
        let (events, first, producer, produced) = {
            let block = check(&bytes)?;
            if entry.options.stream.is_some()
                && let Some((home, sequence)) = block.home()
                && (entry.position.len() < MAX_HOMES || entry.position.contains_key(&home))
            {
                let next = sequence.saturating_add(u64::from(block.event_count()));
                let known = entry.position.entry(home).or_insert(next);
                *known = next.max(*known);
            }
            (block.event_count(), block.stream_sequence(), block.producer(), block.first_sequence())
        };
        let mut skip = 0;
        if entry.options.stream.is_none() && !entry.seen.first_time(producer, produced) {
            skip = events;
        }
        if entry.options.stream.is_some() && first != 0 {
            let end = first.saturating_add(u64::from(events));
            // Blocks are not split: the first one may begin before the place
            // asked for, and after a reconnection before the place reached.
            let next = entry.next.unwrap_or(first);
            skip = u32::try_from(next.saturating_sub(first)).unwrap_or(u32::MAX).min(events);
            entry.next = Some(next.max(end));
        }
        entry.held_events = entry.held_events.saturating_add(u64::from(events));
        entry.held_bytes = entry.held_bytes.saturating_add(bytes.len() as u64);
        // Nobody sees a delivery whose events are all skipped, but its credit comes back.
        let gap = if skip == events { Gap::default() } else { std::mem::take(&mut entry.gap) };
        if let Some(demand) = &mut entry.demand {
            // What is skipped was not asked for.
            demand.open = demand.open.saturating_sub(i64::from(events - skip));
            demand.granted = demand.granted.saturating_sub(i64::from(events));
        }
        entry.queue.push(Delivery::new(bytes, hops, gap, skip), entry.options.stream.is_some(), wake);
        if let Some(next) = entry.next {
            entry.queue.reach(next, entry.gap, wake);
        }
        Ok(())
    }

    /// The application has taken this much.
    pub(crate) fn give_back(&mut self, id: SubscriptionId, events: u64, bytes: u64, out: Option<&mut Vec<u8>>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.held_events = entry.held_events.saturating_sub(events);
        entry.held_bytes = entry.held_bytes.saturating_sub(bytes);
        let Some(out) = out else { return };
        let events = entry.demand.as_mut().map_or(events, Demanded::grant);
        let (less_events, less_bytes) = (events.min(entry.owed.0), bytes.min(entry.owed.1));
        entry.owed = (entry.owed.0 - less_events, entry.owed.1 - less_bytes);
        let (events, bytes) = (events - less_events, bytes - less_bytes);
        if (events, bytes) == (0, 0) {
            return;
        }
        frame::encode(&Frame::Credit(frame::Credit { id, events, bytes }), out);
    }

    /// The application wants so many events more.
    pub(crate) fn demand(&mut self, id: SubscriptionId, events: u64, out: Option<&mut Vec<u8>>) {
        let Some(demand) = self.entries.get_mut(&id).and_then(|entry| entry.demand.as_mut()) else { return };
        demand.open = demand.open.saturating_add(i64::try_from(events).unwrap_or(i64::MAX));
        let Some(out) = out else { return };
        let events = demand.grant();
        if events > 0 {
            frame::encode(&Frame::Credit(frame::Credit { id, events, bytes: 0 }), out);
        }
    }

    /// The client closes: every subscription ends.
    pub(crate) fn close(&mut self, wake: &mut Vec<Waker>) {
        for entry in std::mem::take(&mut self.entries).into_values() {
            entry.ticket.complete(Err(SubscribeError::Closed), wake);
            entry.queue.end(wake);
        }
    }
}

impl Entry {
    /// Tells the hub of the subscription.
    pub(super) fn subscribe(&mut self, id: SubscriptionId, out: &mut Vec<u8>) {
        self.again = None;
        self.owed = (0, 0);
        let start = self.next.map_or(self.options.start.on_the_wire(), Start::Sequence);
        if !self.position.is_empty() {
            // Another home may answer, whose sequences are its own: it says what is missing.
            self.next = None;
        }
        let credit_events = match &mut self.demand {
            Some(demand) => {
                demand.granted = demand.open.clamp(0, MAX_CREDIT_EVENTS as i64);
                demand.granted.unsigned_abs()
            }
            None => self.options.credit_events.saturating_sub(self.held_events),
        };
        let subscribe = frame::Subscribe {
            id,
            filter: self.filter.as_str(),
            stream: self.options.stream.as_deref().unwrap_or(""),
            start,
            credit_events,
            credit_bytes: self.options.credit_bytes.0.saturating_sub(self.held_bytes),
            on_full: self.options.on_full,
            group: self.options.group.as_deref().unwrap_or(""),
            spill: self.options.spill.as_deref().unwrap_or(""),
            weight: self.options.weight,
            position: self.position.iter().map(|(home, next)| (*home, *next)).collect(),
        };
        frame::encode(&Frame::Subscribe(subscribe), out);
    }
}
