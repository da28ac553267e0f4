//! Subscriptions: a stream of deliveries that gives credit back as it is read.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use weft_base::SubscriptionId;

use crate::client::Handle;
use crate::delivery::{Delivery, Gap, Queue};
use crate::error::{RequestError, SubscribeError};
use crate::live::{self, LiveAt, Receipt};
use crate::position::Position;

/// What a filter matches, as it arrives. Dropping it unsubscribes.
///
/// When the connection is lost and made anew the subscription is as well; a
/// live one then has a hole, which the next delivery's
/// [`gap`](Delivery::gap) tells; one that reads a stream goes on where it was.
pub struct Subscription {
    handle: Arc<Handle>,
    id: SubscriptionId,
    queue: Arc<Queue>,
    credit_events: u64,
    credit_bytes: u64,
    /// Given to the application and not given back to the hub.
    used_events: u64,
    used_bytes: u64,
    start: u64,
    position: Position,
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("id", &self.id).field("start", &self.start).finish_non_exhaustive()
    }
}

impl Subscription {
    pub(crate) fn new(handle: Arc<Handle>, id: SubscriptionId, queue: Arc<Queue>, events: u64, bytes: u64) -> Self {
        Self {
            handle,
            id,
            queue,
            credit_events: events,
            credit_bytes: bytes,
            used_events: 0,
            used_bytes: 0,
            start: 0,
            position: Position::default(),
        }
    }

    /// Waits until the subscription is live at these hubs, at most so long, and
    /// answers where it is and where not: see [`Receipt`]. Of live
    /// subscriptions only; a stream takes in what it takes in without them.
    ///
    /// # Errors
    /// [`RequestError`]: the hub cannot say, or the connection was lost. That it
    /// is not live everywhere is no error: see [`Receipt::met`].
    pub async fn live(&self, at: &LiveAt, within: Duration) -> Result<Receipt, RequestError> {
        live::ask(&self.handle, Ok(self.id), at, within).await
    }

    pub(crate) fn id(&self) -> SubscriptionId {
        self.id
    }

    pub(crate) fn set_position(&mut self, position: Position) {
        self.position = position;
    }

    /// Of a stream: how far it was read by what was taken from here, in a form
    /// that every home of it understands. To go on there, also in another
    /// process: [`Streams::read`](crate::Streams::read) and
    /// [`at`](crate::Read::at).
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.position
    }

    pub(crate) fn set_start(&mut self, start: u64) {
        self.start = start;
    }

    /// Of a stream: the sequence of the first event that comes.
    #[must_use]
    pub fn start_sequence(&self) -> u64 {
        self.start
    }

    /// The next delivery; `None` when the client is closed or the hub ended
    /// the subscription (then its last item was the error).
    pub async fn next(&mut self) -> Option<Result<Delivery, SubscribeError>> {
        poll_fn(|cx| self.poll_delivery(cx, u64::MAX)).await
    }

    /// Of a stream: the next delivery, or `None` also when all events before
    /// the sequence `end` have come or are told to be missing: what is damaged
    /// at a stream's end is followed by no delivery that could tell. A delivery
    /// may hold events from `end` on, or begin there.
    pub async fn next_below(&mut self, end: u64) -> Option<Result<Delivery, SubscribeError>> {
        poll_fn(|cx| self.poll_delivery(cx, end)).await
    }

    /// Of a stream: what is told to be missing behind the last delivery that
    /// has come; the next delivery's [`gap`](Delivery::gap) tells it too.
    #[must_use]
    pub fn gap_behind(&self) -> Gap {
        self.queue.behind()
    }

    /// The next delivery, if one has arrived.
    pub fn try_next(&mut self) -> Option<Result<Delivery, SubscribeError>> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match self.poll_delivery(&mut cx, u64::MAX) {
            Poll::Ready(item) => item,
            Poll::Pending => None,
        }
    }

    fn poll_delivery(&mut self, cx: &mut Context<'_>, end: u64) -> Poll<Option<Result<Delivery, SubscribeError>>> {
        loop {
            let Poll::Ready(item) = self.queue.poll_below(cx, end) else { return Poll::Pending };
            let Some(Ok(delivery)) = &item else { return Poll::Ready(item) };
            let events = delivery.block().event_count();
            if let Some((home, first)) = delivery.block().home() {
                self.position.note(home, first.saturating_add(u64::from(events)));
            }
            self.count(events, delivery.block().len());
            if delivery.event_count() > 0 {
                return Poll::Ready(item);
            }
        }
    }

    /// Counts what the application takes; at half of the credit it is given back.
    fn count(&mut self, events: u32, bytes: usize) {
        self.used_events = self.used_events.saturating_add(u64::from(events));
        self.used_bytes = self.used_bytes.saturating_add(bytes as u64);
        if self.used_events >= self.credit_events.div_ceil(2) || self.used_bytes >= self.credit_bytes / 2 {
            let (events, bytes) = (std::mem::take(&mut self.used_events), std::mem::take(&mut self.used_bytes));
            self.handle.0.with(|session| session.give_back(self.id, events, bytes));
        }
    }
}

impl Stream for Subscription {
    type Item = Result<Delivery, SubscribeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_delivery(cx, u64::MAX)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.handle.0.with(|session| session.unsubscribe(self.id));
    }
}
