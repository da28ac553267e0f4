//! A subscription that is read by demand: nothing is asked of the hub, and
//! nothing handed out, beyond what the application has requested.
//!
//! The terms are those of Reactive Streams (JVM specification 1.0.4):
//! [`OnDemand`] is what a subscriber is signalled, [`Demand`] its subscription.
//! Demand counts events. Blocks are not split on the way, so the last one may
//! bring more than was requested; the rest waits here for the next request.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use weft_base::SubscriptionId;

use crate::client::Handle;
use crate::delivery::Delivery;
use crate::error::SubscribeError;
use crate::subscription::Subscription;
use crate::ticket::lock;

#[derive(Default)]
struct State {
    /// Events requested and not handed out.
    wanted: u64,
    cancelled: bool,
    /// Nothing was requested, in a request: an error of the application.
    empty_request: bool,
    waker: Option<Waker>,
    /// Gone with the cancellation.
    handle: Option<Arc<Handle>>,
}

/// Requests events of a subscription, or cancels it. Clones are the same; may
/// be used from any thread, also while a delivery is being handled.
#[derive(Clone)]
pub struct Demand {
    id: SubscriptionId,
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for Demand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Demand").field("id", &self.id).field("wanted", &lock(&self.state).wanted).finish()
    }
}

impl Demand {
    /// Requests `n` more events; requests add up, and `u64::MAX` is as good as
    /// all there will be. Never waits. Zero ends the subscription with
    /// [`SubscribeError::EmptyRequest`]. After the end it does nothing.
    pub fn request(&self, n: u64) {
        let (handle, waker) = {
            let mut state = lock(&self.state);
            if n == 0 && !state.cancelled {
                state.empty_request = true;
            }
            state.wanted = state.wanted.saturating_add(n);
            (state.handle.clone(), state.waker.take())
        };
        if let Some(handle) = handle.filter(|_| n > 0) {
            handle.0.with(|session| session.demand(self.id, n));
        }
        waker.into_iter().for_each(Waker::wake);
    }

    /// Ends the subscription: what is under way is not handed out. Doing it
    /// again does nothing.
    pub fn cancel(&self) {
        let (handle, waker) = {
            let mut state = lock(&self.state);
            state.cancelled = true;
            (state.handle.take(), state.waker.take())
        };
        if let Some(handle) = handle {
            handle.0.with(|session| session.unsubscribe(self.id));
        }
        waker.into_iter().for_each(Waker::wake);
    }

    /// Whether it was cancelled, or has ended.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        lock(&self.state).cancelled
    }

    /// Events requested and not handed out.
    #[must_use]
    pub fn wanted(&self) -> u64 {
        lock(&self.state).wanted
    }
}

/// A stream of deliveries that hands out no more events than were requested.
/// It ends after an error, after a cancellation, and with the client. Dropping
/// it cancels.
#[derive(Debug)]
pub struct OnDemand {
    subscription: Option<Subscription>,
    demand: Demand,
    /// What came and was not requested yet.
    rest: Option<Delivery>,
}

impl OnDemand {
    pub(crate) fn new(handle: Arc<Handle>, subscription: Subscription) -> Self {
        let state = State { handle: Some(handle), ..State::default() };
        let demand = Demand { id: subscription.id(), state: Arc::new(Mutex::new(state)) };
        Self { subscription: Some(subscription), demand, rest: None }
    }

    /// What requests and cancels.
    #[must_use]
    pub fn demand(&self) -> Demand {
        self.demand.clone()
    }

    /// The end: nothing is kept.
    fn finish(&mut self) {
        self.demand.cancel();
        self.subscription = None;
        self.rest = None;
    }
}

impl Stream for OnDemand {
    type Item = Result<Delivery, SubscribeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (wanted, empty_request) = {
            let mut state = lock(&self.demand.state);
            if state.cancelled {
                drop(state);
                self.finish();
                return Poll::Ready(None);
            }
            state.waker = Some(cx.waker().clone());
            (state.wanted, state.empty_request)
        };
        if empty_request {
            self.finish();
            return Poll::Ready(Some(Err(SubscribeError::EmptyRequest)));
        }
        if self.rest.is_none() {
            // Also without demand: an end or an error needs none.
            let Some(subscription) = &mut self.subscription else { return Poll::Ready(None) };
            match Pin::new(subscription).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(delivery))) => self.rest = Some(delivery),
                Poll::Ready(end) => {
                    self.finish();
                    return Poll::Ready(end);
                }
            }
        }
        if wanted == 0 {
            return Poll::Pending;
        }
        let Some(mut delivery) = self.rest.take() else { return Poll::Pending };
        let most = u32::try_from(wanted).unwrap_or(u32::MAX);
        self.rest = delivery.split_off(most);
        let mut state = lock(&self.demand.state);
        state.wanted = state.wanted.saturating_sub(u64::from(delivery.event_count()));
        drop(state);
        Poll::Ready(Some(Ok(delivery)))
    }
}

impl Drop for OnDemand {
    fn drop(&mut self) {
        self.demand.cancel();
    }
}
