//! The consuming side of a session: which consumers of streams this client is
//! a member of, what they were handed out, and what is said of it.
//!
//! ```text
//! add -> opening -> standing (token) -> lost or moved -> opening ...
//!                        \-> refused for good: gone
//! ```
//!
//! A membership ends with its connection: the hub hands out again, to whoever
//! is a member then, what was not settled. So what waits here untaken is
//! dropped, and what the application holds of it cannot be settled any more:
//! its token is an old one. A member that was told that its consumer moved to
//! another home opens it again by itself, after a pause that grows.

mod settling;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use weft_base::{Mono, Random, SubscriptionId};
use weft_ring::arena::BlockRef;
use weft_wire::frame::{self, ErrorCode, Frame, Run, SettleRange};

pub(crate) use self::settling::{Saying, Settling};
use super::Backoff;
use crate::client::MAX_CREDIT_EVENTS;
use crate::delivery::{Delivery, Gap, check};
use crate::error::{ConsumeError, Refusal};
use crate::ticket::{Ticket, lock};

pub(crate) type ConsumeTicket = Ticket<Result<(), ConsumeError>>;

/// How a member stands with its consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The fencing token; 0 while it stands by for an exclusive consumer, and
    /// while it has no connection.
    pub token: u64,
    /// How many events waited to be handed out again when it joined last.
    pub redeliver: u64,
    /// How often it has joined: above 1 after connections were lost, or the
    /// consumer moved.
    pub joined: u64,
    /// Events that expired before they could be handed out to it.
    pub expired: u64,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct ConsumeSpec {
    pub(crate) stream: String,
    pub(crate) consumer: String,
    /// 0: nothing is handed out but what is fetched.
    pub(crate) credit_events: u64,
    pub(crate) credit_bytes: u64,
}

/// Events of a block that were handed out together.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) delivery: Delivery,
    /// Of the block's first event.
    pub(crate) first: u64,
    pub(crate) attempt: u32,
    pub(crate) token: u64,
    pub(crate) id: SubscriptionId,
    pub(crate) settling: Arc<Settling>,
}

/// One event of a handout, and where it is in its block.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) handed: Arc<Handed>,
    /// Its place among the block's events, and the byte it begins at.
    pub(crate) place: u32,
    pub(crate) offset: usize,
    /// Bytes to give back as credit: of the block, with its last event.
    pub(crate) bytes: u64,
}

/// A handout whose events are being taken.
#[derive(Debug)]
struct Waiting {
    handed: Arc<Handed>,
    runs: VecDeque<Run>,
    /// The place and the byte of the next event of the block.
    place: u32,
    offset: usize,
}

impl Waiting {
    fn next(&mut self) -> Option<Taken> {
        let run = self.runs.front().copied()?;
        let (from, end) = (u32::from(run.from()), u32::from(run.from()) + u32::from(run.count()));
        let block = self.handed.delivery.block();
        let mut offset = self.offset;
        // What lies between the runs is not handed out.
        while self.place < from {
            offset = after(&block, offset)?;
            self.place += 1;
        }
        let place = self.place;
        self.offset = after(&block, offset)?;
        self.place += 1;
        if self.place >= end {
            self.runs.pop_front();
        }
        let bytes = if self.runs.is_empty() { block.len() as u64 } else { 0 };
        Some(Taken { handed: self.handed.clone(), place, offset, bytes })
    }
}

/// The byte behind the event at `offset`.
fn after(block: &weft_wire::Block<'_>, offset: usize) -> Option<usize> {
    let event = block.event_at(offset)?;
    Some(offset + weft_wire::block::event_len(event.key.len(), event.headers.as_bytes().len(), event.payload.len()))
}

/// What waits for the application, bounded by the credit.
#[derive(Debug, Default)]
pub(crate) struct HandoutQueue(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    items: VecDeque<Waiting>,
    /// Events in `items`.
    events: u64,
    failed: Option<ConsumeError>,
    ended: bool,
    waker: Option<Waker>,
}

impl HandoutQueue {
    fn push(&self, mut handed: Handed, runs: VecDeque<Run>, offset: usize, wake: &mut Vec<Waker>) {
        let mut inner = lock(&self.0);
        let events: u64 = runs.iter().map(|run| u64::from(run.count())).sum();
        handed.delivery.make_room(inner.items.len());
        let waiting = Waiting { handed: Arc::new(handed), runs, place: 0, offset };
        inner.items.push_back(waiting);
        inner.events += events;
        wake.extend(inner.waker.take());
    }

    /// What waits belongs to a membership that is over.
    fn clear(&self, wake: &mut Vec<Waker>) {
        let mut inner = lock(&self.0);
        inner.items.clear();
        inner.events = 0;
        wake.extend(inner.waker.take());
    }

    fn end(&self, failed: Option<ConsumeError>, wake: &mut Vec<Waker>) {
        let mut inner = lock(&self.0);
        if inner.failed.is_none() {
            inner.failed = failed;
        }
        inner.ended = true;
        wake.extend(inner.waker.take());
    }

    /// Events that wait.
    pub(crate) fn len(&self) -> u64 {
        lock(&self.0).events
    }

    /// The next event; `Ready(None)` when none will come any more.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Taken, ConsumeError>>> {
        let mut inner = lock(&self.0);
        while let Some(front) = inner.items.front_mut() {
            let taken = front.next();
            if front.runs.is_empty() || taken.is_none() {
                inner.items.pop_front();
            }
            if let Some(taken) = taken {
                inner.events = inner.events.saturating_sub(1);
                return Poll::Ready(Some(Ok(taken)));
            }
        }
        if let Some(error) = inner.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if inner.ended {
            return Poll::Ready(None);
        }
        match &mut inner.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

/// What the async face keeps of a membership.
pub(crate) struct Opened {
    pub(crate) queue: Arc<HandoutQueue>,
    pub(crate) settling: Arc<Settling>,
    pub(crate) ticket: Arc<ConsumeTicket>,
}

/// One membership.
#[derive(Debug)]
struct Entry {
    spec: ConsumeSpec,
    queue: Arc<HandoutQueue>,
    settling: Arc<Settling>,
    ticket: Arc<ConsumeTicket>,
    membership: Membership,
    /// The hub has let it in, in this connection or an earlier one.
    accepted: bool,
    /// When it is to be opened again; nothing when it stands, or no connection does.
    again: Option<Mono>,
    backoff: Backoff,
    /// Of one that fetches: granted and not come.
    granted: u64,
    /// Handed out and not given back as credit.
    held_events: u64,
    held_bytes: u64,
}

impl Entry {
    /// Asks the hub to let it in.
    fn open(&mut self, id: SubscriptionId, out: &mut Vec<u8>) {
        self.again = None;
        let credit_events = match self.spec.credit_events {
            0 => self.granted.min(MAX_CREDIT_EVENTS),
            events => events.saturating_sub(self.held_events),
        };
        let consume = frame::Consume {
            id,
            stream: &self.spec.stream,
            consumer: &self.spec.consumer,
            credit_events,
            credit_bytes: self.spec.credit_bytes.saturating_sub(self.held_bytes),
        };
        frame::encode(&Frame::Consume(consume), out);
    }

    /// The membership is over: what was handed out is the hub's again.
    fn out(&mut self, wake: &mut Vec<Waker>) {
        self.membership.token = 0;
        self.settling.set_token(0);
        self.queue.clear(wake);
        // What the application still holds it gives back never: it is counted as given.
        (self.held_events, self.held_bytes) = (0, 0);
    }
}

/// All memberships of a client.
#[derive(Debug, Default)]
pub(crate) struct Consumers {
    entries: BTreeMap<SubscriptionId, Entry>,
    /// Those with something to say.
    dirty: Vec<SubscriptionId>,
}

impl Consumers {
    /// Adds a membership and, when connected, asks the hub.
    pub(crate) fn add(
        &mut self,
        id: SubscriptionId,
        spec: ConsumeSpec,
        backoff: Backoff,
        out: Option<&mut Vec<u8>>,
    ) -> Opened {
        let mut entry = Entry {
            spec,
            queue: Arc::default(),
            settling: Arc::default(),
            ticket: Ticket::new(),
            membership: Membership::default(),
            accepted: false,
            again: None,
            backoff,
            granted: 0,
            held_events: 0,
            held_bytes: 0,
        };
        if let Some(out) = out {
            entry.open(id, out);
        }
        let (queue, settling, ticket) = (entry.queue.clone(), entry.settling.clone(), entry.ticket.clone());
        self.entries.insert(id, entry);
        Opened { queue, settling, ticket }
    }

    /// Ends a membership from this side. What was said before is sent first.
    pub(crate) fn remove(&mut self, id: SubscriptionId, out: Option<&mut Vec<u8>>) {
        let Some(entry) = self.entries.remove(&id) else { return };
        if let Some(out) = out {
            entry.settling.flush(id, out);
            frame::encode(&Frame::Unsubscribe(frame::Unsubscribe { id }), out);
        }
        entry.settling.close();
    }

    /// A new connection: every membership is asked for again.
    pub(crate) fn connected(&mut self, out: &mut Vec<u8>) {
        for (id, entry) in &mut self.entries {
            entry.open(*id, out);
        }
    }

    /// The client goes to another hub: what was said is sent, and every
    /// membership ends, so that what was handed out and not settled is handed
    /// out again there.
    pub(crate) fn part(&mut self, out: &mut Vec<u8>, wake: &mut Vec<Waker>) {
        self.flush(out);
        for id in self.entries.keys() {
            frame::encode(&Frame::Unsubscribe(frame::Unsubscribe { id: *id }), out);
        }
        self.lost(wake);
    }

    /// The connection is lost, and every membership with it.
    pub(crate) fn lost(&mut self, wake: &mut Vec<Waker>) {
        self.dirty.clear();
        for entry in self.entries.values_mut() {
            entry.again = None;
            entry.out(wake);
        }
    }

    /// The hub has let a member in, or made a member active that stood by.
    pub(crate) fn consuming(&mut self, consuming: &frame::Consuming, out: &mut Vec<u8>, wake: &mut Vec<Waker>) {
        let Some(entry) = self.entries.get_mut(&consuming.id) else { return };
        entry.accepted = true;
        entry.again = None;
        entry.backoff.reset();
        if entry.membership.token != 0 && entry.membership.token != consuming.token {
            // What was handed out under the old token is the hub's again, and so is its credit.
            let (events, bytes) = (entry.held_events, entry.held_bytes);
            entry.out(wake);
            let events = if entry.spec.credit_events == 0 { 0 } else { events };
            frame::encode(&Frame::Credit(frame::Credit { id: consuming.id, events, bytes }), out);
        }
        entry.membership.token = consuming.token;
        entry.membership.redeliver = consuming.redeliver;
        entry.membership.joined += 1;
        entry.settling.set_token(consuming.token);
        entry.ticket.complete(Ok(()), wake);
    }

    /// The hub refuses or ends a membership. One whose consumer has moved is
    /// asked for again after a while. False when there is none of this id.
    pub(crate) fn refused(
        &mut self,
        id: SubscriptionId,
        refusal: &Refusal,
        now: Mono,
        random: &mut Random,
        wake: &mut Vec<Waker>,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        entry.out(wake);
        let is_away = entry.accepted && refusal.code == ErrorCode::UNREACHABLE;
        if refusal.code == ErrorCode::MOVED || is_away {
            let pause = entry.backoff.next(random).max(refusal.retry_after.unwrap_or_default());
            tracing::debug!(code = "consumer_moved", refusal = %refusal, "the consumer is opened again");
            entry.again = Some(now + pause);
            return true;
        }
        let error = ConsumeError::Refused(refusal.clone());
        entry.ticket.complete(Err(error.clone()), wake);
        entry.queue.end(entry.accepted.then_some(error), wake);
        entry.settling.close();
        self.entries.remove(&id);
        true
    }

    /// Events for it expired before it could have them. False when there is none of this id.
    pub(crate) fn gap(&mut self, id: SubscriptionId, events: u64) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        entry.membership.expired = entry.membership.expired.saturating_add(events);
        true
    }

    /// Events that were handed out. Those for a membership that has just ended
    /// are no error: they crossed its end on their way.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn handed(
        &mut self,
        handout: &frame::Handout<'_>,
        bytes: BlockRef,
        wake: &mut Vec<Waker>,
    ) -> Result<(), String> {
        let Some(entry) = self.entries.get_mut(&handout.id).filter(|entry| entry.membership.token != 0) else {
            return Ok(());
        };
        let (count, offset) = {
            let block = check(&bytes)?;
            (block.event_count(), block.events().offset(&block))
        };
        let end = handout.runs.last().map_or(0, |run| u32::from(run.from()) + u32::from(run.count()));
        if end > count {
            return Err(format!("event {end} of a block of {count} was handed out"));
        }
        let events: u64 = handout.runs.iter().map(|run| u64::from(run.count())).sum();
        entry.held_events = entry.held_events.saturating_add(events);
        entry.held_bytes = entry.held_bytes.saturating_add(bytes.len() as u64);
        entry.granted = entry.granted.saturating_sub(events);
        let handed = Handed {
            delivery: Delivery::new(bytes, 0, Gap::default(), 0),
            first: handout.first,
            attempt: handout.attempt,
            token: entry.membership.token,
            id: handout.id,
            settling: entry.settling.clone(),
        };
        let runs = handout.runs.iter().copied().collect();
        entry.queue.push(handed, runs, offset, wake);
        Ok(())
    }

    /// The application has taken this much, handed out under this token.
    pub(crate) fn give_back(&mut self, id: SubscriptionId, token: u64, taken: (u64, u64), out: Option<&mut Vec<u8>>) {
        let (events, bytes) = taken;
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.membership.token == token) else { return };
        entry.held_events = entry.held_events.saturating_sub(events);
        entry.held_bytes = entry.held_bytes.saturating_sub(bytes);
        let Some(out) = out else { return };
        let events = if entry.spec.credit_events == 0 { 0 } else { events };
        frame::encode(&Frame::Credit(frame::Credit { id, events, bytes }), out);
    }

    /// The application waits for `n` events, of which those that wait here are
    /// not counted: grants what was not granted yet.
    pub(crate) fn want(&mut self, id: SubscriptionId, n: u64, out: Option<&mut Vec<u8>>) {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.spec.credit_events == 0) else { return };
        let more = n.min(MAX_CREDIT_EVENTS).saturating_sub(entry.granted);
        if more == 0 {
            return;
        }
        entry.granted += more;
        if let Some(out) = out.filter(|_| entry.again.is_none()) {
            frame::encode(&Frame::Credit(frame::Credit { id, events: more, bytes: 0 }), out);
        }
    }

    /// Something was gathered for the first time since the last turn.
    pub(crate) fn has_said(&mut self, id: SubscriptionId) {
        self.dirty.push(id);
    }

    /// Whether something is to be written.
    pub(crate) fn has_to_say(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Writes what was said since the last turn.
    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) {
        for id in self.dirty.drain(..) {
            if let Some(entry) = self.entries.get(&id) {
                entry.settling.flush(id, out);
            }
        }
    }

    /// Writes what is said of one event, to be answered under `request`, behind
    /// all that was said before. False when there is no such membership.
    pub(crate) fn settle_now(
        &mut self,
        id: SubscriptionId,
        request: u64,
        sequence: u64,
        saying: &Saying,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(entry) = self.entries.get(&id) else { return false };
        entry.settling.flush(id, out);
        let ranges = [SettleRange::new(sequence, 1)];
        frame::encode(&settling::settle(id, request, entry.membership.token, saying, &ranges), out);
        true
    }

    /// When a membership is to be asked for again.
    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.entries.values().filter_map(|entry| entry.again).min()
    }

    /// Asks again for those whose pause is over.
    pub(crate) fn reopen(&mut self, now: Mono, out: &mut Vec<u8>) {
        for (id, entry) in &mut self.entries {
            if entry.again.is_some_and(|at| at <= now) {
                entry.open(*id, out);
            }
        }
    }

    pub(crate) fn membership(&self, id: SubscriptionId) -> Membership {
        self.entries.get(&id).map(|entry| entry.membership).unwrap_or_default()
    }

    /// The client closes: every membership ends.
    pub(crate) fn close(&mut self, wake: &mut Vec<Waker>) {
        self.dirty.clear();
        for entry in std::mem::take(&mut self.entries).into_values() {
            entry.ticket.complete(Err(ConsumeError::Closed), wake);
            entry.queue.end(None, wake);
            entry.settling.close();
        }
    }
}
