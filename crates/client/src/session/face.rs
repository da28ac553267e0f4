//! What the async face asks of the session: publishing, subscribing, requests,
//! closing. Nothing here waits; what is to be written is left for the driver.

use std::sync::Arc;
use std::task::Waker;

use weft_base::{Mono, Now, ProducerId, SubscriptionId};
use weft_topic::Filter;
use weft_wire::block::EventFields;
use zeroize::Zeroizing;

use super::{
    Backoff, BlockTicket, ConsumeSpec, FIRST_ID, Gathered, Membership, Opened, RequestTicket, Saying, Session, Spec,
    State, Status, SubscribeTicket, Terms,
};
use crate::delivery::Queue;
use crate::error::{ConnectError, PublishError, RequestError, SettleError};
use crate::options::SubscribeOptions;
use crate::ticket::Ticket;
use crate::why::WhyWaiting;

impl Session {
    pub(crate) fn is_closed(&self) -> bool {
        self.closing.is_some() || self.status == Status::Closed
    }

    /// Takes an event on these terms, see [`Publishing::push_on_terms`]; without any it
    /// may share a block with others.
    pub(crate) fn publish_on_terms(
        &mut self,
        spec: &Spec,
        topic: &str,
        event: &EventFields<'_>,
        terms: &Terms,
        now: Now,
    ) -> Result<(Option<Arc<BlockTicket>>, u32), PublishError> {
        if self.is_closed() {
            return Err(PublishError::Closed);
        }
        if terms.is_none() {
            return self.publishing.push(spec, topic, event, now);
        }
        Ok((self.publishing.push_on_terms(spec, topic, event, terms, now)?, 0))
    }

    /// Takes a batch, see [`Publishing::push_batch`].
    pub(crate) fn publish_batch(
        &mut self,
        spec: &Spec,
        events: &[Gathered],
        now: Now,
    ) -> Result<Vec<(Arc<BlockTicket>, u32)>, PublishError> {
        if self.is_closed() {
            return Err(PublishError::Closed);
        }
        let mut id = [0; 16];
        for half in id.chunks_mut(8) {
            half.copy_from_slice(&self.random.next_u64().to_le_bytes());
        }
        self.publishing.push_batch(spec, id, events, now)
    }

    /// Holds blocks open that are not full, or no longer.
    pub(crate) fn cork(&mut self, is_put: bool) {
        self.publishing.cork(is_put);
    }

    /// What is shown to log in from now on, when a connection is made.
    pub(crate) fn show(&mut self, shown: Zeroizing<Vec<u8>>) {
        self.shown = shown;
    }

    /// Shows something newer; at once where the hub takes that.
    pub(crate) fn renew_login(&mut self, shown: Zeroizing<Vec<u8>>) {
        if *shown == *self.shown {
            return;
        }
        self.shown = shown;
        if let (Status::Connected(hub), true) = (&self.status, self.is_up())
            && hub.asks_logins
        {
            let mut hello = std::mem::take(&mut self.control);
            self.hello(&mut hello);
            self.control = hello;
        }
    }

    /// A producer with an id of its own goes on from this number.
    pub(crate) fn declare_producer(&mut self, producer: ProducerId, next: u64) -> bool {
        self.publishing.declare(producer, next)
    }

    /// Registers a task that waits for room in the window.
    pub(crate) fn wait_for_room(&mut self, waker: &Waker) {
        self.publishing.wait(waker);
    }

    /// Whether nothing is unacknowledged; if something is, it is hurried on and
    /// the task is registered.
    pub(crate) fn poll_flushed(&mut self, waker: &Waker) -> bool {
        if self.status == Status::Closed || (self.publishing.is_idle() && self.all_written) {
            return true;
        }
        self.hurry = true;
        self.publishing.wait(waker);
        false
    }

    /// Subscribes; `on_demand`: credit is granted by [`demand`](Self::demand) alone.
    pub(crate) fn subscribe(
        &mut self,
        filter: Filter,
        options: SubscribeOptions,
        on_demand: bool,
    ) -> (SubscriptionId, Arc<Queue>, Arc<SubscribeTicket>) {
        let id = SubscriptionId(self.take_id());
        let out = matches!(self.state, State::Up { .. }).then_some(&mut self.control);
        let (queue, ticket) = self.subscriptions.add(id, filter, options, on_demand, out);
        if self.is_closed() {
            self.subscriptions.close(&mut self.wake);
        }
        (id, queue, ticket)
    }

    pub(crate) fn unsubscribe(&mut self, id: SubscriptionId) {
        let out = matches!(self.state, State::Up { .. }).then_some(&mut self.control);
        if self.subscriptions.remove(id, out)
            && let Some(moving) = &mut self.moving
        {
            moving.unsubscribe(id);
        }
    }

    pub(crate) fn give_back(&mut self, id: SubscriptionId, events: u64, bytes: u64) {
        let is_there = self.subscriptions.is_there(id);
        let out = match &mut self.moving {
            // Of a subscription at both hubs the old one is told; the other one's events wait.
            Some(moving) if moving.has_moved() && is_there => Some(&mut moving.control),
            _ => matches!(self.state, State::Up { .. }).then_some(&mut self.control),
        };
        self.subscriptions.give_back(id, events, bytes, out);
    }

    /// The application wants so many events more of a subscription on demand.
    pub(crate) fn demand(&mut self, id: SubscriptionId, events: u64) {
        let is_there = self.subscriptions.is_there(id);
        let out = match &mut self.moving {
            Some(moving) if moving.has_moved() && is_there => Some(&mut moving.control),
            _ => matches!(self.state, State::Up { .. }).then_some(&mut self.control),
        };
        self.subscriptions.demand(id, events, out);
    }

    /// Becomes a member of a consumer.
    pub(crate) fn consume(&mut self, spec: ConsumeSpec) -> (SubscriptionId, Opened) {
        let id = SubscriptionId(self.take_id());
        let backoff = Backoff::new(self.options.retry_first, self.options.retry_most);
        let out = matches!(self.state, State::Up { .. }).then_some(&mut self.control);
        let opened = self.consumers.add(id, spec, backoff, out);
        if self.is_closed() {
            self.consumers.close(&mut self.wake);
        }
        (id, opened)
    }

    pub(crate) fn leave(&mut self, id: SubscriptionId) {
        let out = matches!(self.state, State::Up { .. }).then_some(&mut self.control);
        self.consumers.remove(id, out);
    }

    /// The application has taken so many events and bytes that were handed out under this token.
    pub(crate) fn handout_taken(&mut self, id: SubscriptionId, token: u64, taken: (u64, u64)) {
        let out = matches!(self.state, State::Up { .. }).then_some(&mut self.control);
        self.consumers.give_back(id, token, taken, out);
    }

    /// The application waits for so many events, beside those that are here.
    pub(crate) fn want(&mut self, id: SubscriptionId, n: u64) {
        let out = matches!(self.state, State::Up { .. }).then_some(&mut self.control);
        self.consumers.want(id, n, out);
    }

    /// Something was said of events, for the first time since the last turn.
    pub(crate) fn has_said(&mut self, id: SubscriptionId) {
        self.consumers.has_said(id);
    }

    /// Says something of an event that is answered once it is on disk.
    pub(crate) fn settle(
        &mut self,
        id: SubscriptionId,
        token: u64,
        sequence: u64,
        saying: &Saying,
    ) -> Result<Arc<RequestTicket>, SettleError> {
        let current = self.consumers.membership(id).token;
        if self.is_closed() {
            return Err(SettleError::Closed);
        }
        if !self.is_up() || token == 0 || token != current {
            return Err(SettleError::Stale { token, current });
        }
        let request = self.take_id();
        let mut bytes = Vec::new();
        self.consumers.settle_now(id, request, sequence, saying, &mut bytes);
        Ok(self.requests.add(request, bytes, Some(&mut self.control)))
    }

    pub(crate) fn membership(&self, id: SubscriptionId) -> Membership {
        self.consumers.membership(id)
    }

    /// Wakes a task at this moment; see [`forget_timer`](Self::forget_timer).
    pub(crate) fn wait_until(&mut self, at: Mono, waker: &Waker) -> (Mono, u64) {
        self.timers.wait(at, waker)
    }

    pub(crate) fn forget_timer(&mut self, key: (Mono, u64)) {
        self.timers.forget(key);
    }

    /// Sends a request that is answered with last values, see [`request`](Self::request).
    pub(crate) fn request_last(
        &mut self,
        encode: impl FnOnce(u64, &mut Vec<u8>) -> Result<(), RequestError>,
    ) -> Result<Arc<RequestTicket>, RequestError> {
        let ticket = self.request(encode)?;
        self.requests.gather(self.next_id.wrapping_sub(1));
        Ok(ticket)
    }

    /// Sends a request whose frame `encode` writes, given its number.
    pub(crate) fn request(
        &mut self,
        encode: impl FnOnce(u64, &mut Vec<u8>) -> Result<(), RequestError>,
    ) -> Result<Arc<RequestTicket>, RequestError> {
        let id = self.take_id();
        let mut bytes = Vec::new();
        encode(id, &mut bytes)?;
        let out = matches!(self.state, State::Up { .. }).then_some(&mut self.control);
        let ticket = self.requests.add(id, bytes, out);
        if self.is_closed() {
            self.requests.close(&mut self.wake);
        }
        Ok(ticket)
    }

    pub(super) fn take_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id = self.next_id.checked_add(1).unwrap_or(FIRST_ID);
        id
    }

    /// Begins to close: nothing is taken any more, what was taken is sent and
    /// waits for its acknowledgements until the options' bound of time.
    pub(crate) fn begin_close(&mut self, now: Mono) -> Arc<Ticket<bool>> {
        if !self.is_closed() {
            self.closing = Some(now + self.options.close_within);
            if !self.was_connected {
                self.end(false);
            }
        }
        self.closed.clone()
    }

    pub(crate) fn connect_ticket(&self) -> Arc<Ticket<Result<(), ConnectError>>> {
        self.connected.clone()
    }

    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.status, Status::Connected(_))
    }

    pub(crate) fn status(&self) -> (Status, u64) {
        (self.status.clone(), self.status_version)
    }

    /// Why no connection is made any more, if that is so.
    pub(crate) fn gave_up(&self) -> Option<String> {
        self.gave_up.clone()
    }

    pub(crate) fn wait_for_status(&mut self, waker: &Waker) {
        if !self.status_waiting.iter().any(|w| w.will_wake(waker)) {
            self.status_waiting.push(waker.clone());
        }
    }

    /// What the hub said that publishes wait for; nothing when none are on their way.
    pub(crate) fn why_waiting(&self, now: Mono) -> Option<WhyWaiting> {
        if self.publishing.is_idle() { Some(WhyWaiting::nothing()) } else { self.told.get(|| now) }
    }

    /// What the hub said by itself that it holds publishes back for, of whatever level.
    pub(crate) fn held_up(&self, now: impl FnOnce() -> Mono) -> Option<WhyWaiting> {
        self.told.get(now)
    }

    /// Blocks on their way.
    pub(crate) fn in_flight(&self) -> usize {
        self.publishing.in_flight()
    }
}
