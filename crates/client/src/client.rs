//! The async face: a client is a handle to one connection and its thread.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use weft_base::{ByteCount, Clock, HubId, Random, SystemClock};
use weft_topic::Filter;
use weft_transport::{Network, TcpNetwork, TcpOptions};
use weft_wire::frame::{self, DrainAction, Frame, MAX_NAME, MAX_WEIGHT};
use weft_wire::trace::{BlockTrace, SpanStage, TraceContext, span_of_stage};

use crate::delivery::Delivery;
use crate::demand::OnDemand;
use crate::driver::{Driver, Shared};
use crate::error::{ConnectError, RequestError, SubscribeError};
use crate::live::{self, LiveAt, Receipt};
use crate::login::{Login, LoginError};
use crate::options::{ConnectOptions, PublisherOptions, SubscribeOptions};
use crate::publisher::Publisher;
use crate::receive::Receiver;
use crate::report::{DrainReport, MeshReport, ProfileReport, Reply};
use crate::request::{RequestBuilder, Responder};
use crate::session::{HubInfo, Session, Status};
use crate::streams::Streams;
use crate::subscription::Subscription;

/// The most events of credit that a subscription may ask for.
pub const MAX_CREDIT_EVENTS: u64 = 1 << 24;
/// The most bytes of credit that a subscription may ask for.
pub const MAX_CREDIT_BYTES: ByteCount = ByteCount::mib(1024);
/// The fewest bytes of credit that a subscription may ask for.
pub(crate) const MIN_CREDIT_BYTES: u64 = 4096;

/// Ends the connection when the last handle goes: what was taken is still
/// sent, in the background, within the options' bound of time.
pub(crate) struct Handle(pub(crate) Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        let now = self.0.now().mono;
        self.0.with(|session| session.begin_close(now));
    }
}

/// Holds back what a client publishes, until it is dropped: see [`Client::cork`].
#[must_use = "what is published goes at once where nothing holds it back"]
pub struct Cork(Arc<Handle>);

impl Cork {
    /// Whether it holds back what this client publishes.
    #[must_use]
    pub fn is_of(&self, client: &Client) -> bool {
        Arc::ptr_eq(&self.0, &client.handle)
    }
}

impl std::fmt::Debug for Cork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cork").finish_non_exhaustive()
    }
}

impl Drop for Cork {
    fn drop(&mut self) {
        self.0.0.with(|session| session.cork(false));
    }
}

/// A connection to a hub that is made anew when it is lost.
///
/// Clones share the connection; publishers and subscriptions keep it alive.
/// Every future works under any executor: one thread of the client's own does
/// the I/O and wakes whoever waits.
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("status", &self.status()).finish()
    }
}

impl Client {
    /// Connects over TCP.
    ///
    /// # Errors
    /// [`ConnectError`]: every address failed within `connect_for`, or the hub
    /// wants none of this client.
    pub async fn connect(options: ConnectOptions) -> Result<Self, ConnectError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let tcp = TcpOptions { connections: 4, handshakes: 1, ..TcpOptions::default() };
        let network =
            TcpNetwork::new(tcp, clock.clone()).map_err(|e| ConnectError::System { detail: e.to_string() })?;
        Self::connect_over(options, Box::new(network), clock).await
    }

    /// Connects over this network, with this clock.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_over(
        options: ConnectOptions,
        network: Box<dyn Network>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConnectError> {
        if options.addresses.is_empty() {
            return Err(ConnectError::NoAddress);
        }
        let system = |detail: String| ConnectError::System { detail };
        if options.name.len() > MAX_NAME {
            let len = options.name.len();
            return Err(system(format!("a name of {len} bytes: the most is {MAX_NAME}")));
        }
        let shown = options.login.shown().map_err(|e| system(e.to_string()))?;
        let random = Random::from_entropy().map_err(|e| system(e.to_string()))?;
        let receiver = Receiver::new(options.receive_memory, options.max_frame).map_err(|e| system(e.to_string()))?;
        let mut session = Session::new(options.clone(), random, clock.now().mono);
        session.show(shown);
        let connected = session.connect_ticket();
        let shared = Arc::new(Shared::new(session, clock, network.waker()));
        let driver = Driver::new(shared.clone(), network, options, receiver);
        std::thread::Builder::new()
            .name("weft-client".to_owned())
            .spawn(move || driver.run())
            .map_err(|e| system(e.to_string()))?;
        let client = Self { handle: Arc::new(Handle(shared)) };
        poll_fn(|cx| connected.poll(cx)).await?;
        Ok(client)
    }

    /// Shows a newer token (JWT) to the hub, before the one that the session stands on
    /// is over; it is also what is shown from now on when the connection is made anew.
    /// What is of somebody else, or of other roles, the hub refuses: that is logged,
    /// and the session goes on by what was shown before.
    ///
    /// # Errors
    /// [`LoginError`]: it is too long.
    pub fn renew_login(&self, token: &[u8]) -> Result<(), LoginError> {
        let login = Login::Token(Arc::new(zeroize::Zeroizing::new(token.to_vec())));
        let shown = login.shown()?;
        self.shared().with(|session| session.renew_login(shown));
        Ok(())
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.handle.0
    }

    pub(crate) fn handle(&self) -> Arc<Handle> {
        self.handle.clone()
    }

    /// A publisher. All publishers of one lane share a sequence, so their
    /// events keep the order in which they were taken.
    #[must_use]
    pub fn publisher(&self, options: PublisherOptions) -> Publisher {
        Publisher::new(self.handle.clone(), &options)
    }

    /// Holds back what all publishers of this connection publish, so that events of
    /// many tasks fill blocks together and their thread is woken once for all: for who
    /// knows that more comes within the moment. Blocks that are full go all the same,
    /// and so do all before a flush and before the end. What is held back goes when the
    /// last cork is dropped; one that stays holds events back without end.
    pub fn cork(&self) -> Cork {
        self.shared().with(|session| session.cork(true));
        Cork(self.handle.clone())
    }

    /// Subscribes to the topics that `filter` matches; ready when the hub has
    /// accepted it. While there is no connection it waits for one.
    ///
    /// # Errors
    /// [`SubscribeError`]: the filter, the stream or the credit is not acceptable.
    pub async fn subscribe(&self, filter: &str, options: SubscribeOptions) -> Result<Subscription, SubscribeError> {
        self.subscribe_with(filter, options, false).await
    }

    /// Subscribes and asks the hub for nothing until the application does: see
    /// [`OnDemand`]. Of the options, `credit_events` has no meaning here.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub async fn subscribe_on_demand(
        &self,
        filter: &str,
        options: SubscribeOptions,
    ) -> Result<OnDemand, SubscribeError> {
        // The session is looked at after each delivery: it knows what may be granted.
        let options = SubscribeOptions { credit_events: 1, ..options };
        let subscription = self.subscribe_with(filter, options, true).await?;
        Ok(OnDemand::new(self.handle.clone(), subscription))
    }

    async fn subscribe_with(
        &self,
        filter: &str,
        options: SubscribeOptions,
        on_demand: bool,
    ) -> Result<Subscription, SubscribeError> {
        let filter = Filter::parse(filter)?;
        let (events, bytes) = (options.credit_events, options.credit_bytes.0);
        if !(1..=MAX_CREDIT_EVENTS).contains(&events) || !(MIN_CREDIT_BYTES..=MAX_CREDIT_BYTES.0).contains(&bytes) {
            return Err(SubscribeError::Credit { events, bytes });
        }
        let named = options.stream.iter().chain(&options.spill);
        if let Some(stream) = named.into_iter().find(|name| name.is_empty() || name.len() > MAX_NAME) {
            return Err(SubscribeError::StreamName { len: stream.len() });
        }
        if let Some(group) = options.group.as_ref().filter(|name| name.is_empty() || name.len() > MAX_NAME) {
            return Err(SubscribeError::GroupName { len: group.len() });
        }
        if !(1..=MAX_WEIGHT).contains(&options.weight) {
            return Err(SubscribeError::Weight { weight: options.weight });
        }
        let receipt = options.receipt.clone();
        if let Some((at, _)) = &receipt {
            at.check().map_err(SubscribeError::Receipt)?;
        }
        let position = options.position.clone().unwrap_or_default();
        let (id, queue, ticket) = self.shared().with(|session| session.subscribe(filter, options, on_demand));
        // Made before the answer: dropping it, also by giving up waiting, unsubscribes.
        let mut subscription = Subscription::new(self.handle.clone(), id, queue, events, bytes);
        subscription.set_position(position);
        subscription.set_start(poll_fn(|cx| ticket.poll(cx)).await?);
        if let Some((required, within)) = receipt {
            let receipt = subscription.live(&required, within).await.map_err(SubscribeError::Receipt)?;
            if !receipt.met {
                return Err(SubscribeError::NotLive { required, receipt });
            }
        }
        Ok(subscription)
    }

    /// A request to whoever responds on this topic, anywhere in the mesh:
    ///
    /// ```no_run
    /// # async fn example(client: &weft_client::Client) -> Result<(), weft_client::CallError> {
    /// let reply = client.request("time/now", b"").deadline(std::time::Duration::from_secs(2)).send().await?;
    /// println!("{}", String::from_utf8_lossy(reply.payload()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn request<'a>(&'a self, topic: &'a str, payload: &'a [u8]) -> RequestBuilder<'a> {
        RequestBuilder::new(self, topic, payload)
    }

    /// Answers requests on the topics that `filter` matches; with a group in
    /// the options, one of its members answers each.
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub async fn respond(&self, filter: &str, options: SubscribeOptions) -> Result<Responder, SubscribeError> {
        Ok(Responder::new(self.clone(), self.subscribe(filter, options).await?))
    }

    /// Which hubs want this topic, by the routes that its events go by at this
    /// client's hub: [`LiveState::Live`](crate::LiveState::Live) where it would go now.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn wanted_at(&self, topic: &str, at: &LiveAt) -> Result<Receipt, RequestError> {
        live::ask(&self.handle, Err(topic), at, Duration::ZERO).await
    }

    /// The hub's streams.
    #[must_use]
    pub fn streams(&self) -> Streams {
        Streams::new(self.clone())
    }

    /// The mesh as the hub sees it, and the hub's counters.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn mesh(&self) -> Result<MeshReport, RequestError> {
        match self.ask(|request| Frame::MeshShow(frame::MeshShow { request })).await? {
            Reply::Mesh(report) => Ok(*report),
            _ => Err(RequestError::Unexpected { expected: "a report of the mesh" }),
        }
    }

    /// Samples the threads of the hub for `seconds` (1 to 300), `hertz` times
    /// (1 to 1,000) per second of processor time, and answers where they were.
    ///
    /// # Errors
    /// [`RequestError`]: among others, the hub is being sampled already, or
    /// was started without a profiler.
    pub async fn profile(&self, seconds: u32, hertz: u32) -> Result<ProfileReport, RequestError> {
        match self.ask(|request| Frame::Profile(frame::Profile { request, seconds, hertz })).await? {
            Reply::Profile(report) => Ok(*report),
            _ => Err(RequestError::Unexpected { expected: "a profile" }),
        }
    }

    /// Has the hub send its clients to other hubs and stop, within this time; of
    /// zero, within the time that it is configured to. Only administrators may.
    ///
    /// # Errors
    /// [`RequestError`]: among others, this client is none.
    pub async fn drain_hub(&self, within: Duration) -> Result<DrainReport, RequestError> {
        let within_ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
        self.ask_drain(DrainAction::Begin, within_ms).await
    }

    /// Has a hub that drains go on, which it does unless it is empty already;
    /// the clients that have gone stay where they are.
    ///
    /// # Errors
    /// As [`drain_hub`](Self::drain_hub).
    pub async fn undrain_hub(&self) -> Result<DrainReport, RequestError> {
        self.ask_drain(DrainAction::Cancel, 0).await
    }

    /// How a drain of the hub stands.
    ///
    /// # Errors
    /// As [`drain_hub`](Self::drain_hub).
    pub async fn drain_report(&self) -> Result<DrainReport, RequestError> {
        self.ask_drain(DrainAction::Ask, 0).await
    }

    async fn ask_drain(&self, action: DrainAction, within_ms: u32) -> Result<DrainReport, RequestError> {
        match self.ask(|request| Frame::Drain(frame::Drain { request, action, within_ms })).await? {
            Reply::Drain(report) => Ok(*report),
            _ => Err(RequestError::Unexpected { expected: "how the drain stands" }),
        }
    }

    /// Sends a request that `build` makes, given its number; answers the reply.
    pub(crate) async fn ask<'a>(&self, build: impl FnOnce(u64) -> Frame<'a>) -> Result<Reply, RequestError> {
        let ticket = self.shared().with(|session| {
            session.request(|id, out| {
                frame::try_encode(&build(id), out).map_err(|e| RequestError::Invalid { detail: e.to_string() })
            })
        })?;
        poll_fn(|cx| ticket.poll(cx)).await
    }

    /// How the client stands with its hub.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared().with(|session| session.status().0)
    }

    /// Whether there is a connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared().with(|session| session.is_connected())
    }

    /// The hub, while there is a connection.
    #[must_use]
    pub fn hub(&self) -> Option<HubInfo> {
        match self.status() {
            Status::Connected(hub) => Some(hub),
            _ => None,
        }
    }

    /// Of a live delivery that belongs to a trace, the context for spans of who
    /// consumes it: its span is that of the hub which delivered, which a hub that
    /// traces has. `None` when its events name no trace.
    ///
    /// ```no_run
    /// # fn example(client: &weft_client::Client, delivery: &weft_client::Delivery) {
    /// if let Some(context) = client.trace_context(delivery) {
    ///     println!("traceparent: {}", context.header());
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn trace_context(&self, delivery: &Delivery) -> Option<TraceContext> {
        let context = BlockTrace::of(delivery.block())?.context;
        let at_hub = self.hub().zip(delivery.stamp()).filter(|_| delivery.home().is_none());
        Some(at_hub.map_or(context, |(hub, stamp)| TraceContext {
            span: span_of_stage(&context.trace, &stamp, hub.id, SpanStage::Deliver, HubId(0)),
            ..context
        }))
    }

    /// Why the client has ended by itself: the connection was lost and could
    /// not be made again within [`ConnectOptions::reconnect_for`].
    #[must_use]
    pub fn gave_up(&self) -> Option<String> {
        self.shared().with(|session| session.gave_up())
    }

    /// Waits until the status is another than `known`; answers it. A change
    /// that is gone again before this is polled may go unseen.
    pub async fn status_other_than(&self, known: &Status) -> Status {
        poll_fn(|cx| {
            self.shared().with(|session| {
                let status = session.status().0;
                if status != *known {
                    return Poll::Ready(status);
                }
                session.wait_for_status(cx.waker());
                Poll::Pending
            })
        })
        .await
    }

    /// Blocks that are sealed and not acknowledged.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared().with(|session| session.in_flight())
    }

    /// Waits until everything published so far, by all publishers, is
    /// acknowledged; at level `None`, until it is written to the network.
    pub async fn flush(&self) {
        poll_fn(|cx| {
            self.shared().with(|session| if session.poll_flushed(cx.waker()) { Poll::Ready(()) } else { Poll::Pending })
        })
        .await;
    }

    /// Closes in good order: nothing is taken any more, what was taken is sent
    /// and waits for its acknowledgements, the hub is told. Answers whether
    /// all that happened within the options' `close_within`; what was not
    /// acknowledged by then is answered with an error. Other handles to the
    /// same connection are closed with this one.
    pub async fn close(self) -> bool {
        let now = self.shared().now().mono;
        let closed = self.shared().with(|session| session.begin_close(now));
        poll_fn(|cx| closed.poll(cx)).await
    }
}
