//! Publishing: events go into blocks, acknowledgements come back per block.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use weft_base::{Epoch, HubId, Residency, UnixNanos};
use weft_topic::Topic;
use weft_wire::block::EventFields;
use weft_wire::frame::{self, AckLevel, Frame, MAX_ACK_HOMES};

use crate::batch::Batch;
use crate::client::Handle;
use crate::error::{PublishError, RequestError};
use crate::live::{self, LiveAt};
use crate::options::PublisherOptions;
use crate::report::Reply;
use crate::session::{BlockTicket, Gathered, Spec, Terms};
use crate::sink::PublisherSink;
use crate::why::WhyWaiting;

/// What the mesh says of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The level that is reached.
    pub level: AckLevel,
    /// The hub where the event entered the mesh; 0 at level `None`.
    pub origin: HubId,
    /// That hub's life; 0 at level `None`.
    pub epoch: Epoch,
    /// The event's place in what entered at that hub; 0 at level `None`, and of one
    /// in quarantine.
    pub sequence: u64,
    /// The block was sent again after a reconnection, and the hub had it.
    pub duplicate: bool,
    /// The home at which it entered its stream; 0 when no stream has taken it
    /// yet, or several have.
    pub home: HubId,
    /// With `home`: the event's sequence there; 0 otherwise.
    pub home_sequence: u64,
    /// How many homes have it on disk.
    pub homes: u8,
}

impl Published {
    /// Whether the event, and all others of its block, lie in quarantine at the hub
    /// (`origin`) because they are not of the schema of their topic: on disk, and
    /// nobody gets them until they are replayed.
    #[must_use]
    pub fn is_in_quarantine(&self) -> bool {
        self.sequence == 0 && self.level != AckLevel::None
    }
}

/// What is known of an event at level `None`.
const NOT_ACKNOWLEDGED: Published = Published {
    level: AckLevel::None,
    origin: HubId(0),
    epoch: Epoch(0),
    sequence: 0,
    duplicate: false,
    home: HubId(0),
    home_sequence: 0,
    homes: 0,
};

/// The acknowledgement of an event, to be awaited or not. Dropping it changes
/// nothing for the event. Clones are of the same event.
#[must_use = "an event may be refused: await its acknowledgement, or publish at level `None`"]
#[derive(Clone, Debug)]
pub struct Acknowledgement {
    ticket: Option<Arc<BlockTicket>>,
    index: u32,
}

impl Future for Acknowledgement {
    type Output = Result<Published, PublishError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &self.ticket {
            Some(ticket) => ticket.poll(cx).map(|outcome| outcome.map(|ack| self.of(ack))),
            None => Poll::Ready(Ok(NOT_ACKNOWLEDGED)),
        }
    }
}

impl Acknowledgement {
    fn of(&self, ack: crate::session::BlockAck) -> Published {
        Published {
            level: ack.level,
            origin: ack.origin,
            epoch: ack.epoch,
            sequence: match ack.sequence {
                0 => 0,
                first => first.saturating_add(u64::from(self.index)),
            },
            duplicate: ack.duplicate,
            home: ack.home,
            home_sequence: if ack.home.0 == 0 { 0 } else { ack.home_sequence.saturating_add(u64::from(self.index)) },
            homes: ack.homes,
        }
    }

    /// The outcome, if it is there already.
    #[must_use]
    pub fn try_get(&self) -> Option<Result<Published, PublishError>> {
        match &self.ticket {
            Some(ticket) => ticket.peek().map(|outcome| outcome.map(|ack| self.of(ack))),
            None => Some(Ok(NOT_ACKNOWLEDGED)),
        }
    }
}

/// Publishes events of one lane at one level. Clones are the same publisher.
#[derive(Clone)]
pub struct Publisher {
    handle: Arc<Handle>,
    spec: Spec,
    /// Why it can publish nothing: its options cannot be.
    refused: Option<PublishError>,
    /// Where topics must be wanted.
    required: Option<LiveAt>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl Publisher {
    pub(crate) fn new(handle: Arc<Handle>, options: &PublisherOptions) -> Self {
        let spec = Spec {
            lane: options.lane,
            level: options.level,
            schema: options.schema,
            tenant: options.tenant,
            linger: options.linger,
            block: options.block.as_usize(),
            order: options.order,
            deadline: options.deadline,
            homes: if options.level == AckLevel::Homes { options.homes } else { 0 },
            ttl: options.ttl,
            producer: options.producer.map(|producer| producer.id_in(options.lane)),
            residency: options.residency.as_deref().map_or(Residency::ANYWHERE, |label| Residency::of(&[label])),
        };
        let homes = spec.level != AckLevel::Homes || (2..=MAX_ACK_HOMES).contains(&spec.homes);
        let level = homes && spec.level != AckLevel::Spooled;
        let known = options.producer.is_none_or(|producer| {
            handle.0.with(|session| session.declare_producer(producer.id_in(options.lane), producer.next()))
        });
        let refused = match (level, known) {
            (false, _) => Some(PublishError::Level { level: spec.level, homes: options.homes }),
            (_, false) => Some(PublishError::TooManyProducers),
            _ => None,
        };
        Self { handle, spec, refused, required: options.require_live.clone() }
    }

    /// Publishes an event that happens now. Ready once the event is taken,
    /// which waits while the window is full; what it answers is the future of
    /// the acknowledgement, so that many events can be on their way:
    ///
    /// ```no_run
    /// # async fn example(publisher: &weft_client::Publisher) -> Result<(), weft_client::PublishError> {
    /// let first = publisher.publish("flights/departed/JFK", b"B6 725").await?;
    /// let second = publisher.publish("flights/departed/LGA", b"UA 1714").await?;
    /// println!("{:?} {:?}", first.await?, second.await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PublishError`]: the event cannot be taken.
    pub async fn publish(&self, topic: &str, payload: &[u8]) -> Result<Acknowledgement, PublishError> {
        let time = self.handle.0.now().wall;
        self.publish_event(topic, EventFields { time, payload, ..EventFields::default() }).await
    }

    /// Publishes an event with key, headers and a time of its own; see
    /// [`publish`](Self::publish).
    ///
    /// # Errors
    /// [`PublishError`]: the event cannot be taken.
    pub async fn publish_event(&self, topic: &str, event: EventFields<'_>) -> Result<Acknowledgement, PublishError> {
        self.publish_on(topic, event, Terms::default()).await
    }

    /// Asks who wants the topic, where that is required.
    async fn ask_required(&self, topic: &str) -> Result<(), PublishError> {
        let Some(required) = &self.required else { return Ok(()) };
        Topic::parse(topic)?;
        let wanted = live::ask(&self.handle, Err(topic), required, Duration::ZERO).await;
        let wanted = wanted.map_err(PublishError::Required)?;
        if wanted.met {
            return Ok(());
        }
        let why = if wanted.hubs.is_empty() { "nobody wants it".to_owned() } else { wanted.shortfall() };
        Err(PublishError::NotLive { topic: topic.to_owned(), required: required.to_string(), why })
    }

    /// Publishes an event on these terms: expected to follow another one,
    /// delivered later, for a time, or under a number of its own.
    ///
    /// # Errors
    /// [`PublishError`]: the event cannot be taken. Whether what it expects is
    /// so the acknowledgement says.
    pub async fn publish_on(
        &self,
        topic: &str,
        event: EventFields<'_>,
        terms: Terms,
    ) -> Result<Acknowledgement, PublishError> {
        self.ask_required(topic).await?;
        poll_fn(|cx| match self.take_on(topic, &event, &terms, Some(cx)) {
            Err(PublishError::Full { .. }) => Poll::Pending,
            taken => Poll::Ready(taken),
        })
        .await
    }

    /// Publishes an event if the last one of its stream has this sequence,
    /// counted at its home: compare-and-set. 0: if the stream is empty. The
    /// acknowledgement is a refusal when it is not so, which names the sequence
    /// that it is.
    ///
    /// # Errors
    /// As [`publish_on`](Self::publish_on).
    pub async fn publish_if(&self, topic: &str, payload: &[u8], last: u64) -> Result<Acknowledgement, PublishError> {
        let terms = Terms { expect_last: Some(last), ..Terms::default() };
        self.publish_on(topic, self.event(&[], payload), terms).await
    }

    /// The same for one key of a topic; 0: if there is no event of it.
    ///
    /// # Errors
    /// As [`publish_on`](Self::publish_on).
    pub async fn publish_if_key(
        &self,
        topic: &str,
        key: &[u8],
        payload: &[u8],
        last: u64,
    ) -> Result<Acknowledgement, PublishError> {
        let terms = Terms { expect_key: Some(last), ..Terms::default() };
        self.publish_on(topic, self.event(key, payload), terms).await
    }

    /// Publishes an event that is delivered at this time.
    ///
    /// # Errors
    /// As [`publish_on`](Self::publish_on).
    pub async fn publish_at(
        &self,
        topic: &str,
        payload: &[u8],
        time: UnixNanos,
    ) -> Result<Acknowledgement, PublishError> {
        let terms = Terms { deliver_at: Some(time), ..Terms::default() };
        self.publish_on(topic, self.event(&[], payload), terms).await
    }

    /// Publishes an event that is delivered so much later.
    ///
    /// # Errors
    /// As [`publish_on`](Self::publish_on).
    pub async fn publish_after(
        &self,
        topic: &str,
        payload: &[u8],
        delay: Duration,
    ) -> Result<Acknowledgement, PublishError> {
        let delay = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.publish_at(topic, payload, UnixNanos(self.handle.0.now().wall.0.saturating_add(delay))).await
    }

    /// Begins a batch of events that their stream takes all or none of.
    pub fn batch(&self) -> Batch {
        Batch::new(self.clone())
    }

    /// An event that happens now.
    fn event<'a>(&self, key: &'a [u8], payload: &'a [u8]) -> EventFields<'a> {
        EventFields { time: self.handle.0.now().wall, key, payload, ..EventFields::default() }
    }

    /// A sink that publishes payloads to this topic.
    #[must_use]
    pub fn sink(&self, topic: &str) -> PublisherSink {
        PublisherSink::new(self.clone(), topic)
    }

    pub(crate) fn poll_publish(
        &self,
        topic: &str,
        payload: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<Result<Acknowledgement, PublishError>> {
        let event = EventFields { time: self.handle.0.now().wall, payload, ..EventFields::default() };
        match self.take(topic, &event, Some(cx)) {
            Err(PublishError::Full { .. }) => Poll::Pending,
            taken => Poll::Ready(taken),
        }
    }

    /// Publishes an event that happens now, if that needs no waiting.
    ///
    /// # Errors
    /// [`PublishError::Full`] when the window is full; others as
    /// [`publish`](Self::publish).
    pub fn try_publish(&self, topic: &str, payload: &[u8]) -> Result<Acknowledgement, PublishError> {
        let time = self.handle.0.now().wall;
        self.try_publish_event(topic, EventFields { time, payload, ..EventFields::default() })
    }

    /// Publishes an event, if that needs no waiting.
    ///
    /// # Errors
    /// As [`try_publish`](Self::try_publish).
    pub fn try_publish_event(&self, topic: &str, event: EventFields<'_>) -> Result<Acknowledgement, PublishError> {
        self.take(topic, &event, None)
    }

    /// What holds its client's events up, if the hub has said so by itself; what is
    /// published now waits behind them. Asks nothing.
    #[must_use]
    pub fn held_up(&self) -> Option<WhyWaiting> {
        let shared = &self.handle.0;
        shared.with(|session| session.held_up(|| shared.now().mono))
    }

    /// What its events wait for at the hub: a subscriber that is behind, a
    /// stream, or nothing. The hub says so by itself when it begins to hold
    /// blocks back; otherwise it is asked.
    ///
    /// # Errors
    /// [`RequestError`]: the hub could not be asked.
    pub async fn why_waiting(&self) -> Result<WhyWaiting, RequestError> {
        let shared = &self.handle.0;
        let now = shared.now().mono;
        if let Some(why) = shared.with(|session| session.why_waiting(now)) {
            return Ok(why);
        }
        let ticket = shared.with(|session| {
            session.request(|request, out| {
                frame::encode(&Frame::Why(frame::Why { request }), out);
                Ok(())
            })
        })?;
        match poll_fn(|cx| ticket.poll(cx)).await? {
            Reply::Why(why) => Ok(*why),
            _ => Err(RequestError::Unexpected { expected: "what publishes wait for" }),
        }
    }

    /// Takes an event, or registers the task that waits for room.
    fn take(
        &self,
        topic: &str,
        event: &EventFields<'_>,
        cx: Option<&mut Context<'_>>,
    ) -> Result<Acknowledgement, PublishError> {
        self.must_not_ask()?;
        self.take_on(topic, event, &Terms::default(), cx)
    }

    fn must_not_ask(&self) -> Result<(), PublishError> {
        self.required.is_none().then_some(()).ok_or(PublishError::MustAsk)
    }

    fn take_on(
        &self,
        topic: &str,
        event: &EventFields<'_>,
        terms: &Terms,
        cx: Option<&mut Context<'_>>,
    ) -> Result<Acknowledgement, PublishError> {
        self.refused.clone().map_or(Ok(()), Err)?;
        let shared = &self.handle.0;
        let now = shared.now();
        let (ticket, index) = shared.with(|session| {
            let taken = session.publish_on_terms(&self.spec, topic, event, terms, now);
            if let (Err(PublishError::Full { .. }), Some(cx)) = (&taken, cx) {
                session.wait_for_room(cx.waker());
            }
            taken
        })?;
        Ok(Acknowledgement { ticket, index })
    }

    /// Takes a batch, or registers the task that waits for room. Answers an
    /// acknowledgement for each event.
    pub(crate) fn take_batch(
        &self,
        events: &[Gathered],
        cx: &mut Context<'_>,
    ) -> Result<Vec<Acknowledgement>, PublishError> {
        self.refused.clone().map_or(Ok(()), Err)?;
        self.must_not_ask()?;
        if matches!(self.spec.level, AckLevel::None | AckLevel::Routed) {
            return Err(PublishError::BatchLevel { level: self.spec.level });
        }
        let shared = &self.handle.0;
        let now = shared.now();
        let tickets = shared.with(|session| {
            let taken = session.publish_batch(&self.spec, events, now);
            if let Err(PublishError::Full { .. }) = &taken {
                session.wait_for_room(cx.waker());
            }
            taken
        })?;
        let of_block = |(ticket, events): (Arc<BlockTicket>, u32)| {
            (0..events).map(move |index| Acknowledgement { ticket: Some(ticket.clone()), index })
        };
        Ok(tickets.into_iter().flat_map(of_block).collect())
    }

    pub(crate) fn now(&self) -> UnixNanos {
        self.handle.0.now().wall
    }
}
