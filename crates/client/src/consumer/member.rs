//! Being a member of a consumer: messages as they are handed out, or as they
//! are fetched.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use weft_base::{Mono, SubscriptionId};

use super::{ConsumeOptions, Message, Settler};
use crate::client::Handle;
use crate::error::ConsumeError;
use crate::session::{HandoutQueue, Membership, Opened, Settling, Taken};

/// The most events of one [`Consumer::fetch`].
pub const MAX_FETCH: u64 = 65_536;

/// A member of a consumer: a `Stream` of [`Message`]s. Dropping it leaves; what
/// it held is handed out to others at once.
///
/// When the connection is lost, or the consumer moves to another home, it joins
/// again by itself, under another token. What it was handed out before and had
/// not settled is handed out again, to whichever member, and settling it here
/// fails with [`SettleError::Stale`](crate::SettleError::Stale).
/// [`membership`](Self::membership) says how many that are.
///
/// ```no_run
/// # async fn example(client: &weft_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use weft_client::ConsumerOptions;
///
/// let mut orders = client.streams().consumer("orders", &ConsumerOptions::new("billing")).await?;
/// while let Some(message) = orders.next().await {
///     let message = message?;
///     println!("{}: {} bytes, attempt {}", message.topic(), message.payload().len(), message.attempt());
///     message.ack()?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct Consumer {
    handle: Arc<Handle>,
    id: SubscriptionId,
    queue: Arc<HandoutQueue>,
    settling: Arc<Settling>,
    options: ConsumeOptions,
    /// Taken under this token, and not given back to the hub.
    token: u64,
    used_events: u64,
    used_bytes: u64,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("id", &self.id).field("membership", &self.membership()).finish_non_exhaustive()
    }
}

impl Consumer {
    pub(super) fn new(handle: Arc<Handle>, id: SubscriptionId, opened: Opened, options: ConsumeOptions) -> Self {
        let Opened { queue, settling, .. } = opened;
        Self { handle, id, queue, settling, options, token: 0, used_events: 0, used_bytes: 0 }
    }

    /// How it stands with its consumer.
    #[must_use]
    pub fn membership(&self) -> Membership {
        self.handle.0.with(|session| session.membership(self.id))
    }

    /// Says what becomes of what it was handed out, apart from the messages; of use for
    /// as long as this is there.
    #[must_use]
    pub fn settler(&self) -> Settler {
        Settler::new(self.handle.clone(), self.id, self.settling.clone())
    }

    /// Whether it is handed out events now: there is a connection, and for an
    /// exclusive consumer it is the one that is active.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.settling.token() != 0
    }

    /// The next message; one that fetches fetches it. `None` when the client
    /// is closed or the hub has ended the membership (then the last item was
    /// the error).
    pub async fn next(&mut self) -> Option<Result<Message, ConsumeError>> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    /// The next message, if it is here.
    pub fn try_next(&mut self) -> Option<Result<Message, ConsumeError>> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match self.queue.poll_take(&mut cx) {
            Poll::Ready(item) => item.map(|taken| taken.map(|taken| self.take(taken))),
            Poll::Pending => None,
        }
    }

    /// Up to `n` messages (1 to [`MAX_FETCH`]): those that are there, and for
    /// as long as `max_wait` those that come. Of one with credit it takes what
    /// was handed out ahead. What comes after the wait is kept for the next
    /// fetch; its ack wait has begun.
    ///
    /// # Errors
    /// [`ConsumeError`]: the membership has ended, and nothing was there.
    pub async fn fetch(&mut self, n: u64, max_wait: Duration) -> Result<Vec<Message>, ConsumeError> {
        if n == 0 || n > MAX_FETCH {
            return Err(ConsumeError::Fetch { events: n });
        }
        let shared = self.handle.clone();
        let until = shared.0.now().mono + max_wait;
        let mut got = Vec::new();
        let mut timer = Timer { handle: shared, key: None };
        poll_fn(|cx| {
            loop {
                match self.queue.poll_take(cx) {
                    Poll::Ready(Some(Ok(taken))) => {
                        let message = self.take(taken);
                        got.push(message);
                        if got.len() as u64 >= n {
                            return Poll::Ready(Ok(()));
                        }
                    }
                    Poll::Ready(_) if !got.is_empty() => return Poll::Ready(Ok(())),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) => return Poll::Ready(Err(ConsumeError::Closed)),
                    Poll::Pending => break,
                }
            }
            if self.handle.0.now().mono >= until {
                return Poll::Ready(Ok(()));
            }
            self.want(n - got.len() as u64);
            timer.set(until, cx);
            Poll::Pending
        })
        .await?;
        Ok(got)
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, ConsumeError>>> {
        match self.queue.poll_take(cx) {
            Poll::Ready(item) => Poll::Ready(item.map(|taken| taken.map(|taken| self.take(taken)))),
            Poll::Pending => {
                self.want(1);
                Poll::Pending
            }
        }
    }

    /// Asks for events, if that is how it gets them.
    fn want(&self, n: u64) {
        if self.options.credit_events == 0 {
            let n = n.saturating_sub(self.queue.len());
            self.handle.0.with(|session| session.want(self.id, n));
        }
    }

    /// Counts what the application takes; at half of the credit it is given back.
    fn take(&mut self, taken: Taken) -> Message {
        if self.token != taken.handed.token {
            (self.token, self.used_events, self.used_bytes) = (taken.handed.token, 0, 0);
        }
        self.used_events += 1;
        self.used_bytes += taken.bytes;
        let half_of_events = self.options.credit_events.div_ceil(2);
        let events_due = half_of_events > 0 && self.used_events >= half_of_events;
        if events_due || self.used_bytes >= self.options.credit_bytes.0 / 2 {
            let used = (std::mem::take(&mut self.used_events), std::mem::take(&mut self.used_bytes));
            self.handle.0.with(|session| session.handout_taken(self.id, self.token, used));
        }
        Message::new(self.handle.clone(), taken)
    }
}

/// A wake-up that is called off with the future that wanted it.
struct Timer {
    handle: Arc<Handle>,
    key: Option<(Mono, u64)>,
}

impl Timer {
    fn set(&mut self, at: Mono, cx: &mut Context<'_>) {
        self.key = Some(self.handle.0.with(|session| {
            self.key.into_iter().for_each(|key| session.forget_timer(key));
            session.wait_until(at, cx.waker())
        }));
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.handle.0.with(|session| session.forget_timer(key));
        }
    }
}

impl Stream for Consumer {
    type Item = Result<Message, ConsumeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.handle.0.with(|session| session.leave(self.id));
    }
}
