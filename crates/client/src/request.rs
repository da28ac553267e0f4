//! Requests across the mesh, and those who answer them.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use weft_base::{Lane, Now, Random, UnixNanos};
use weft_wire::block::layout::REQUEST;
use weft_wire::block::{BlockFields, Event, EventFields, WriteError};
use weft_wire::headers::{HeadersWriter, names};
use weft_wire::reply::ReplyAddress;

use crate::client::{Client, Handle};
use crate::delivery::Delivery;
use crate::error::{CallError, PublishError, SubscribeError};
use crate::session::{Arrived, CallQueue, CallSpec};
use crate::subscription::Subscription;

/// How long a request waits unless it says otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// A request that is being put together; see [`Client::request`].
#[must_use = "a request is sent by `send` or `send_many`"]
#[derive(Debug)]
pub struct RequestBuilder<'a> {
    client: &'a Client,
    topic: &'a str,
    payload: &'a [u8],
    headers: Vec<(&'a str, &'a [u8])>,
    lane: Lane,
    deadline: Duration,
}

impl<'a> RequestBuilder<'a> {
    pub(crate) fn new(client: &'a Client, topic: &'a str, payload: &'a [u8]) -> Self {
        Self { client, topic, payload, headers: Vec::new(), lane: Lane::DEFAULT, deadline: DEFAULT_DEADLINE }
    }

    /// How long from now replies are waited for; 5 s unless given. Neither the
    /// request nor a reply is delivered after it.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The priority of the request and of its replies.
    pub fn lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }

    /// A header of the request.
    pub fn header(mut self, name: &'a str, value: &'a [u8]) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Sends it; answers the first reply.
    ///
    /// # Errors
    /// [`CallError`]: among others, at once when nobody is there to answer.
    pub async fn send(self) -> Result<Reply, CallError> {
        let mut replies = self.start(Some(1))?;
        // A responder that ends without a word has answered with nothing.
        replies.next().await.unwrap_or(Err(CallError::NoReply))
    }

    /// Sends it; answers the replies as they come, up to this many. The last
    /// item is an error when fewer came.
    ///
    /// # Errors
    /// [`CallError`], when it cannot be sent.
    pub fn send_many(self, replies: u32) -> Result<Replies, CallError> {
        self.start(Some(replies.max(1)))
    }

    /// Sends it; answers the replies as they come, until a responder says that
    /// it was the last.
    ///
    /// # Errors
    /// [`CallError`], when it cannot be sent.
    pub fn send_until_end(self) -> Result<Replies, CallError> {
        self.start(None)
    }

    fn start(self, replies: Option<u32>) -> Result<Replies, CallError> {
        let shared = self.client.shared();
        let now = shared.now();
        let nanos = u64::try_from(self.deadline.as_nanos()).unwrap_or(u64::MAX);
        let deadline = Now { mono: now.mono + self.deadline, wall: UnixNanos(now.wall.0.saturating_add(nanos)) };
        let spec = CallSpec { lane: self.lane, deadline, replies };
        let event = EventFields { time: now.wall, payload: self.payload, ..EventFields::default() };
        // From the system each time: who answers one request must not know the next one's.
        let token = Random::from_entropy().map_err(|e| CallError::System { detail: e.to_string() })?.next_u64();
        let queue = shared.with(|session| session.call(self.topic, &event, &self.headers, token, spec))?;
        Ok(Replies { handle: self.client.handle(), token, queue, ended: false })
    }
}

/// The replies to a request, as they come. Dropping it ends the request.
pub struct Replies {
    handle: Arc<Handle>,
    token: u64,
    queue: Arc<CallQueue>,
    ended: bool,
}

impl std::fmt::Debug for Replies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replies").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Replies {
    /// The next reply; `None` when there are no more. An error is the last item.
    pub async fn next(&mut self) -> Option<Result<Reply, CallError>> {
        poll_fn(|cx| self.poll_reply(cx)).await
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Reply, CallError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.queue.poll(cx).map(|item| match item {
            Some(Ok(arrived)) => {
                self.handle.0.with(|session| session.reply_taken(&arrived));
                Some(Ok(Reply::new(arrived)))
            }
            Some(Err(error)) => {
                self.ended = true;
                Some(Err(error))
            }
            None => {
                self.ended = true;
                None
            }
        })
    }
}

impl Stream for Replies {
    type Item = Result<Reply, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_reply(cx)
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        self.handle.0.with(|session| session.call_over(self.token, &self.queue));
    }
}

/// One reply, read where it was received.
#[derive(Clone, Debug)]
pub struct Reply {
    delivery: Delivery,
}

impl Reply {
    fn new(arrived: Arrived) -> Self {
        Self { delivery: arrived.delivery }
    }

    fn event(&self) -> Option<Event<'_>> {
        self.delivery.events().next()
    }

    /// What the responder answers.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.event().map_or(&[], |event| event.payload)
    }

    /// The value of a header of the reply.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.event()?.headers.get(name)
    }

    /// Whether its responder sends no more.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.header(names::REPLY) == Some(names::REPLY_END)
    }

    /// The block that it came in: where it entered the mesh, and over how many
    /// links it came.
    #[must_use]
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }
}

/// Requests to answer, as they arrive; see [`Client::respond`]. Dropping it
/// unsubscribes.
#[derive(Debug)]
pub struct Responder {
    client: Client,
    subscription: Subscription,
}

impl Responder {
    pub(crate) fn new(client: Client, subscription: Subscription) -> Self {
        Self { client, subscription }
    }

    /// The next request; `None` when the client is closed or the hub ended the
    /// subscription (then its last item was the error). Events that are no
    /// requests are passed over.
    pub async fn next(&mut self) -> Option<Result<Request, SubscribeError>> {
        loop {
            match self.subscription.next().await? {
                Ok(delivery) => {
                    if let Some(request) = Request::of(&self.client, delivery) {
                        return Some(Ok(request));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// A request to answer.
#[derive(Debug)]
pub struct Request {
    client: Client,
    delivery: Delivery,
    reply_to: String,
}

impl Request {
    /// A delivery that is a request; `None` when it is none, or has no address.
    #[must_use]
    pub fn of(client: &Client, delivery: Delivery) -> Option<Self> {
        if delivery.block().flags() & REQUEST == 0 {
            return None;
        }
        let event = delivery.events().next()?;
        let reply_to = std::str::from_utf8(event.headers.get(names::REPLY_TO)?).ok()?.to_owned();
        ReplyAddress::parse(&reply_to)?;
        Some(Self { client: client.clone(), delivery, reply_to })
    }

    /// What is asked.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.delivery.events().next().map_or(&[], |event| event.payload)
    }

    /// The value of a header of the request.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.delivery.events().next()?.headers.get(name)
    }

    /// The topic that it was sent to.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.delivery.topic()
    }

    /// After this nobody waits for an answer.
    #[must_use]
    pub fn deadline(&self) -> UnixNanos {
        self.delivery.block().deadline()
    }

    /// The block that it came in.
    #[must_use]
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// Sends one of several answers; ready once the hub has sent it on its way,
    /// which does not say that the requester is still there.
    ///
    /// # Errors
    /// [`PublishError`]: among others, the request's deadline has passed.
    pub async fn reply(&self, payload: &[u8]) -> Result<(), PublishError> {
        self.send(payload, false).await
    }

    /// Sends the only, or the last, answer. An empty one is a mark: a requester
    /// that takes replies until their end sees the end and no empty reply.
    ///
    /// # Errors
    /// As [`reply`](Self::reply).
    pub async fn finish(self, payload: &[u8]) -> Result<(), PublishError> {
        self.send(payload, true).await
    }

    async fn send(&self, payload: &[u8], is_last: bool) -> Result<(), PublishError> {
        let mut headers = Vec::new();
        if is_last {
            HeadersWriter::new(&mut headers).push(names::REPLY, names::REPLY_END).map_err(WriteError::from)?;
        }
        let shared = self.client.shared();
        let block = self.delivery.block();
        // What is bound to a label is answered within it.
        let (lane, deadline, residency) = (block.lane(), block.deadline(), block.residency());
        let fields = BlockFields { lane, deadline, residency, ..BlockFields::new(&self.reply_to) };
        let event = EventFields { time: shared.now().wall, headers: &headers, payload, ..EventFields::default() };
        let ticket = poll_fn(|cx| {
            shared.with(|session| match session.reply(&fields, &event) {
                Err(PublishError::Full { .. }) => {
                    session.wait_for_room(cx.waker());
                    Poll::Pending
                }
                taken => Poll::Ready(taken),
            })
        })
        .await?;
        poll_fn(|cx| ticket.poll(cx)).await.map(|_| ())
    }
}
