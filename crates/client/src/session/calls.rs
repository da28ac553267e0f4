//! The requests of a session that wait for replies from somewhere in the mesh.
//!
//! Each has a random token, which is the last level of the topic that its
//! replies come to, and a deadline. It ends with its replies, or with the first
//! of: its deadline, nobody there to answer, the connection lost, the client
//! closed. All share one inbox at the hub, with credit that comes back as
//! replies are taken; the inbox is opened by the first request of a connection.
//! At most [`MOST`] wait at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use weft_base::{Lane, Mono, Now};
use weft_ring::arena::BlockRef;
use weft_wire::block::layout::REQUEST;
use weft_wire::block::{BlockFields, EventFields, WriteError};
use weft_wire::frame::{self, AckLevel, ErrorCode, Frame, OnFull, REPLY_INBOX, Start};
use weft_wire::headers::{HeadersWriter, names};
use weft_wire::reply::ReplyAddress;

use super::{BlockAck, BlockTicket, Session};
use crate::delivery::{Delivery, Gap, check};
use crate::error::{CallError, PublishError, Refusal};
use crate::ticket::{Ticket, lock};

/// Requests that may wait for replies.
const MOST: usize = 4_096;
/// The credit of the inbox.
const CREDIT_EVENTS: u64 = 16_384;
const CREDIT_BYTES: u64 = 8 << 20;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallSpec {
    pub(crate) lane: Lane,
    /// By both clocks: what waits here, and what travels.
    pub(crate) deadline: Now,
    /// Replies after which the request is done; `None`: when its responder says so.
    pub(crate) replies: Option<u32>,
}

/// A reply that was not taken yet, and the connection it came by.
pub(crate) struct Arrived {
    pub(crate) delivery: Delivery,
    connection: u64,
}

/// What came for one request.
#[derive(Default)]
pub(crate) struct CallQueue(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    items: VecDeque<Arrived>,
    end: Option<Result<(), CallError>>,
    waker: Option<Waker>,
}

impl CallQueue {
    fn push(&self, item: Arrived, wake: &mut Vec<Waker>) {
        let mut inner = lock(&self.0);
        inner.items.push_back(item);
        wake.extend(inner.waker.take());
    }

    fn end(&self, end: Result<(), CallError>, wake: &mut Vec<Waker>) {
        let mut inner = lock(&self.0);
        inner.end.get_or_insert(end);
        wake.extend(inner.waker.take());
    }

    /// The next reply; `None` at the end of a request that is done.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Arrived, CallError>>> {
        let mut inner = lock(&self.0);
        if let Some(item) = inner.items.pop_front() {
            return Poll::Ready(Some(Ok(item)));
        }
        if let Some(end) = &mut inner.end {
            // An error is said once.
            return Poll::Ready(std::mem::replace(end, Ok(())).err().map(Err));
        }
        inner.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn take_all(&self) -> VecDeque<Arrived> {
        std::mem::take(&mut lock(&self.0).items)
    }
}

struct Call {
    queue: Arc<CallQueue>,
    /// The number of the block that carries it.
    block: u64,
    deadline: Mono,
    left: Option<u32>,
    /// To how many it was sent, once the hub has said so; and how many of them
    /// had nobody to answer.
    receivers: Option<u32>,
    empty: u32,
    replied: bool,
}

/// All requests of a client.
#[derive(Default)]
pub(crate) struct Calls {
    waiting: BTreeMap<u64, Call>,
    by_block: BTreeMap<u64, u64>,
    by_deadline: BTreeSet<(Mono, u64)>,
    /// Where replies go, while there is a connection.
    address: Option<ReplyAddress>,
    /// Where replies go to those that were sent before the client moved.
    old: Option<(ReplyAddress, BTreeSet<u64>)>,
    is_open: bool,
    /// Counts connections.
    connection: u64,
    /// Taken and not given back as credit.
    used_events: u64,
    used_bytes: u64,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl Calls {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.by_deadline.first().map(|(at, _)| *at)
    }

    /// A new connection: replies come to another address.
    pub(super) fn connected(&mut self, address: ReplyAddress) {
        self.address = Some(address);
        self.is_open = false;
        self.connection += 1;
        (self.used_events, self.used_bytes) = (0, 0);
    }

    /// The client has moved to another hub: replies to what was asked before
    /// still come to the old address.
    pub(super) fn promoted(&mut self, address: ReplyAddress) {
        let waiting = self.waiting.keys().copied().collect();
        self.old = self.address.map(|old| (old, waiting));
        self.connected(address);
    }

    /// Whether none waits for a reply to the old address.
    pub(super) fn are_moved(&self) -> bool {
        self.old.as_ref().is_none_or(|(_, tokens)| !tokens.iter().any(|token| self.waiting.contains_key(token)))
    }

    /// Nothing comes to the old address any more.
    pub(super) fn end_old(&mut self, wake: &mut Vec<Waker>) {
        for token in self.old.take().into_iter().flat_map(|(_, tokens)| tokens) {
            self.finish(token, Err(CallError::ConnectionLost), wake);
        }
    }

    /// Ends all of them; answers the blocks that need not be sent any more.
    pub(super) fn end_all(&mut self, error: &CallError, wake: &mut Vec<Waker>) -> Vec<u64> {
        (self.address, self.old) = (None, None);
        self.by_deadline.clear();
        std::mem::take(&mut self.by_block);
        let ended = std::mem::take(&mut self.waiting).into_values();
        let end = |call: Call| {
            call.queue.end(Err(error.clone()), wake);
            call.block
        };
        ended.map(end).collect()
    }

    /// Ends those whose time is over.
    pub(super) fn expire(&mut self, now: Mono, wake: &mut Vec<Waker>) {
        while let Some((_, token)) = self.by_deadline.first().copied().filter(|(at, _)| *at <= now) {
            self.finish(token, Err(CallError::Deadline), wake);
        }
    }

    /// The hub's answer to the block of a request.
    pub(super) fn answered(&mut self, block: u64, answer: &Result<BlockAck, Refusal>, wake: &mut Vec<Waker>) {
        let Some(token) = self.by_block.remove(&block) else { return };
        match answer {
            Ok(ack) => {
                if let Some(call) = self.waiting.get_mut(&token) {
                    call.receivers = Some(ack.receivers);
                }
                self.end_if_nobody(token, wake);
            }
            Err(refusal) if refusal.code == ErrorCode::NO_RESPONDERS => {
                self.finish(token, Err(CallError::NoResponders), wake);
            }
            Err(refusal) => self.finish(token, Err(CallError::Refused(refusal.clone())), wake),
        }
    }

    /// All to whom it was sent had nobody to answer.
    fn end_if_nobody(&mut self, token: u64, wake: &mut Vec<Waker>) {
        let Some(call) = self.waiting.get(&token) else { return };
        if !call.replied && call.receivers.is_some_and(|receivers| receivers > 0 && call.empty >= receivers) {
            self.finish(token, Err(CallError::NoResponders), wake);
        }
    }

    fn finish(&mut self, token: u64, end: Result<(), CallError>, wake: &mut Vec<Waker>) {
        let Some(call) = self.waiting.remove(&token) else { return };
        self.by_block.remove(&call.block);
        self.by_deadline.remove(&(call.deadline, token));
        call.queue.end(end, wake);
    }

    /// A block in the inbox. One for a request that is over is no error.
    fn deliver(&mut self, bytes: BlockRef, hops: u8, wake: &mut Vec<Waker>) -> Result<(), String> {
        let (token, mark, is_empty) = {
            let block = check(&bytes)?;
            let address = ReplyAddress::parse(block.topic());
            let old = self.old.as_ref().map(|(address, _)| *address);
            let is_mine = |address: &ReplyAddress| Some(*address) == self.address || Some(*address) == old;
            let token = address.filter(|(address, _)| is_mine(address)).map(|(_, token)| token);
            let token = token.and_then(|token| u64::from_str_radix(token, 16).ok());
            let event = block.events().next();
            let mark = event.as_ref().and_then(|event| event.headers.get(names::REPLY));
            (token, mark.map(<[u8]>::to_vec), event.is_none_or(|event| event.payload.is_empty()))
        };
        let delivery = Delivery::new(bytes, hops, Gap::default(), 0);
        let Some((token, call)) = token.and_then(|token| self.waiting.get_mut(&token).map(|call| (token, call))) else {
            self.used(&delivery);
            return Ok(());
        };
        if mark.as_deref() == Some(names::REPLY_NO_RESPONDERS) {
            call.empty += 1;
            self.used(&delivery);
            self.end_if_nobody(token, wake);
            return Ok(());
        }
        let is_end = mark.as_deref() == Some(names::REPLY_END);
        let is_mark_alone = is_end && is_empty;
        call.replied = true;
        let mut is_done = is_end && call.left.is_none();
        if is_mark_alone {
            self.used(&delivery);
        } else {
            if let Some(left) = &mut call.left {
                *left = left.saturating_sub(1);
                is_done = *left == 0;
            }
            call.queue.push(Arrived { delivery, connection: self.connection }, wake);
        }
        if is_done {
            self.finish(token, Ok(()), wake);
        }
        Ok(())
    }

    fn used(&mut self, delivery: &Delivery) {
        self.used_events += u64::from(delivery.block().event_count());
        self.used_bytes += delivery.block().len() as u64;
    }

    /// The credit to give back now.
    fn take_credit(&mut self) -> Option<(u64, u64)> {
        let is_due = self.used_events >= CREDIT_EVENTS / 2 || self.used_bytes >= CREDIT_BYTES / 2;
        (is_due && self.is_open).then(|| (std::mem::take(&mut self.used_events), std::mem::take(&mut self.used_bytes)))
    }
}

impl Session {
    /// Sends a request. `token` must be one that nobody can guess.
    pub(crate) fn call(
        &mut self,
        topic: &str,
        event: &EventFields<'_>,
        headers: &[(&str, &[u8])],
        token: u64,
        spec: CallSpec,
    ) -> Result<Arc<CallQueue>, CallError> {
        if self.is_closed() {
            return Err(CallError::Closed);
        }
        let Some(address) = self.calls.address.filter(|_| self.is_up()) else { return Err(CallError::NotConnected) };
        if self.calls.waiting.len() >= MOST {
            return Err(CallError::TooMany { limit: MOST });
        }
        let mut bytes = Vec::new();
        let mut writer = HeadersWriter::new(&mut bytes);
        writer.push(names::REPLY_TO, address.topic(token).as_bytes()).map_err(WriteError::from)?;
        headers.iter().try_for_each(|(name, value)| writer.push(name, value)).map_err(WriteError::from)?;
        let event = EventFields { headers: &bytes, ..*event };
        let fields =
            BlockFields { lane: spec.lane, flags: REQUEST, deadline: spec.deadline.wall, ..BlockFields::new(topic) };
        let block = self.publishing.push_alone(&fields, AckLevel::Routed, &event, None)?;
        if !self.calls.is_open {
            self.calls.is_open = true;
            open_inbox(address, &mut self.control);
        }
        let queue = Arc::new(CallQueue::default());
        let deadline = spec.deadline.mono;
        let call = Call {
            queue: queue.clone(),
            block,
            deadline,
            left: spec.replies,
            receivers: None,
            empty: 0,
            replied: false,
        };
        self.calls.waiting.insert(token, call);
        self.calls.by_block.insert(block, token);
        self.calls.by_deadline.insert((deadline, token));
        Ok(queue)
    }

    /// Publishes a reply, in a block of its own.
    pub(crate) fn reply(
        &mut self,
        fields: &BlockFields<'_>,
        event: &EventFields<'_>,
    ) -> Result<Arc<BlockTicket>, PublishError> {
        if self.is_closed() {
            return Err(PublishError::Closed);
        }
        let ticket = Ticket::new();
        self.publishing.push_alone(fields, AckLevel::Routed, event, Some(ticket.clone()))?;
        Ok(ticket)
    }

    /// The application waits for no more replies: what came is given back.
    pub(crate) fn call_over(&mut self, token: u64, queue: &CallQueue) {
        self.calls.finish(token, Ok(()), &mut self.wake);
        for arrived in queue.take_all() {
            self.reply_taken(&arrived);
        }
    }

    /// The application has taken a reply.
    pub(crate) fn reply_taken(&mut self, arrived: &Arrived) {
        if arrived.connection == self.calls.connection {
            self.calls.used(&arrived.delivery);
            self.give_replies_back();
        }
    }

    pub(super) fn reply_arrived(&mut self, bytes: BlockRef, hops: u8) -> Result<(), String> {
        let outcome = self.calls.deliver(bytes, hops, &mut self.wake);
        self.give_replies_back();
        outcome
    }

    fn give_replies_back(&mut self) {
        if self.is_up()
            && let Some((events, bytes)) = self.calls.take_credit()
        {
            frame::encode(&Frame::Credit(frame::Credit { id: REPLY_INBOX, events, bytes }), &mut self.control);
        }
    }

    /// The connection is lost, or the client closed: no reply will come, and
    /// requests that were not sent need not be.
    pub(super) fn end_calls(&mut self, error: &CallError) {
        for block in self.calls.end_all(error, &mut self.wake) {
            self.publishing.forget(block);
        }
    }
}

fn open_inbox(address: ReplyAddress, out: &mut Vec<u8>) {
    let subscribe = frame::Subscribe {
        id: REPLY_INBOX,
        filter: &address.inbox(),
        stream: "",
        start: Start::New,
        credit_events: CREDIT_EVENTS,
        credit_bytes: CREDIT_BYTES,
        on_full: OnFull::DropOldest,
        group: "",
        weight: 1,
        spill: "",
        position: Vec::new(),
    };
    frame::encode(&Frame::Subscribe(subscribe), out);
}
