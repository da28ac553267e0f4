//! Streams: create, list, look at, delete. Reading one is a subscription.

use std::future::poll_fn;

use weft_base::ByteCount;
use weft_wire::frame::{self, AckLevel, Frame};

use crate::client::Client;
use crate::consumer::{ConsumeOptions, Consumer, ConsumerOptions, Consumers};
use crate::definition::StreamOptions;
use crate::error::{ConsumeError, RequestError, SubscribeError};
use crate::last::{LastValue, MOST_LAST};
use crate::options::{StartAt, SubscribeOptions};
use crate::position::Position;
use crate::publisher::Published;
use crate::report::{Reply, StreamReport};
use crate::subscription::Subscription;

/// The streams of the hub that a client is connected to.
#[derive(Clone, Debug)]
pub struct Streams {
    client: Client,
}

impl Streams {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Makes a stream. Making it again as it is changes nothing.
    ///
    /// # Errors
    /// [`RequestError`]: among others, there is one of that name that is otherwise.
    pub async fn create(&self, options: &StreamOptions) -> Result<(), RequestError> {
        let build = |request| Frame::StreamCreate(frame::StreamCreate { request, spec: options.spec() });
        done(self.client.ask(build).await?)
    }

    /// All streams of the hub, by name.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn list(&self) -> Result<Vec<StreamReport>, RequestError> {
        let mut list = reports(self.client.ask(|request| Frame::StreamList(frame::StreamList { request })).await?)?;
        list.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(list)
    }

    /// One stream.
    ///
    /// # Errors
    /// [`RequestError`]: among others, there is none of that name.
    pub async fn info(&self, name: &str) -> Result<StreamReport, RequestError> {
        let build = |request| Frame::StreamInfo(frame::StreamInfo { request, name });
        let mut list = reports(self.client.ask(build).await?)?;
        list.pop().ok_or(RequestError::Unexpected { expected: "the report of one stream" })
    }

    /// Reads a stream, from somewhere on and then what is added to it. What is
    /// read never goes back, also when the connection is made again, to
    /// whichever home.
    ///
    /// ```no_run
    /// # async fn example(client: &weft_client::Client) -> Result<(), weft_client::SubscribeError> {
    /// use weft_client::StartAt;
    ///
    /// let mut flights = client.streams().read("flights").from(StartAt::First).filter("flights/departed/**").open().await?;
    /// let delivery = flights.next().await.expect("the client is open")?;
    /// println!("{} events; all of it is read up to {}", delivery.event_count(), flights.position());
    ///
    /// // Later, perhaps with a client of another hub.
    /// let kept = flights.position().clone();
    /// let flights = client.streams().read("flights").at(kept).open().await?;
    /// # drop(flights);
    /// # Ok(())
    /// # }
    /// ```
    pub fn read(&self, stream: &str) -> Read {
        let options = SubscribeOptions::stream(stream, StartAt::First);
        Read { client: self.client.clone(), filter: "**".to_owned(), options }
    }

    /// Changes a stream to what these options say, all of them: begin with what
    /// [`info`](Self::info) reports. What cannot be changed is refused.
    ///
    /// # Errors
    /// [`RequestError`]: among others, there is none of that name.
    pub async fn alter(&self, options: &StreamOptions) -> Result<(), RequestError> {
        let build = |request| Frame::StreamAlter(frame::StreamAlter { request, spec: options.spec() });
        done(self.client.ask(build).await?)
    }

    /// The last values that a stream keeps of the topics that `filter` matches,
    /// of all keys or of one, in the order of topic and key: at most `most`, and
    /// [`MOST_LAST`]. Needs no consumer.
    ///
    /// # Errors
    /// [`RequestError`]: among others, the stream keeps none.
    pub async fn get_last(
        &self,
        stream: &str,
        filter: &str,
        key: Option<&[u8]>,
        most: u32,
    ) -> Result<Vec<LastValue>, RequestError> {
        let most = most.min(u32::try_from(MOST_LAST).unwrap_or(u32::MAX));
        let get = |request| {
            let (has_key, key) = (key.is_some(), key.unwrap_or_default());
            Frame::LastGet(frame::LastGet { request, stream, filter, key, has_key, most })
        };
        let ticket = self.client.shared().with(|session| {
            session.request_last(|id, out| {
                frame::try_encode(&get(id), out).map_err(|e| RequestError::Invalid { detail: e.to_string() })
            })
        })?;
        match poll_fn(|cx| ticket.poll(cx)).await? {
            Reply::Last(found) => Ok(found),
            _ => Err(RequestError::Unexpected { expected: "last values" }),
        }
    }

    /// Waits until an event that was acknowledged has reached a higher level in
    /// a stream that took it: `Synced`, or `Homes` and then at how many (else
    /// 0). It asks again when the connection is lost meanwhile.
    ///
    /// # Errors
    /// [`RequestError`]: among others, the acknowledgement named no home,
    /// because several streams took the event or it is [spooled](AckLevel::Spooled),
    /// or the level cannot be reached.
    pub async fn reach(
        &self,
        stream: &str,
        published: &Published,
        level: AckLevel,
        homes: u8,
    ) -> Result<Published, RequestError> {
        let (home, home_sequence) = (published.home, published.home_sequence);
        if published.level == AckLevel::Spooled {
            let detail = "the event waits on the disk of its publisher's hub and has no place in the stream yet: what \
                          reads the stream gets it once a home can be reached"
                .to_owned();
            return Err(RequestError::Invalid { detail });
        }
        if home.0 == 0 {
            let detail = "the acknowledgement names no home: none or several streams took the event".to_owned();
            return Err(RequestError::Invalid { detail });
        }
        let build =
            |request| Frame::AwaitLevel(frame::AwaitLevel { request, stream, home, home_sequence, level, homes });
        loop {
            match self.client.ask(build).await {
                Ok(Reply::Ack(ack)) => return Ok(Published { level: ack.level, homes: ack.homes, ..*published }),
                Err(RequestError::ConnectionLost) => {}
                Ok(_) => return Err(RequestError::Unexpected { expected: "an acknowledgement" }),
                Err(error) => return Err(error),
            }
        }
    }

    /// The durable consumers of a stream.
    #[must_use]
    pub fn consumers(&self, stream: impl Into<String>) -> Consumers {
        Consumers::new(self.client.clone(), stream.into())
    }

    /// Makes a consumer of a stream, if there is none that is the same, and
    /// becomes a member of it, with the default credit. Others are made and
    /// opened with [`consumers`](Self::consumers).
    ///
    /// # Errors
    /// [`ConsumeError`]: among others, there is a consumer of that name that is otherwise.
    pub async fn consumer(&self, stream: &str, options: &ConsumerOptions) -> Result<Consumer, ConsumeError> {
        let consumers = self.consumers(stream);
        consumers.create(options).await?;
        consumers.open(&options.name, ConsumeOptions::default()).await
    }

    /// Deletes a stream and all that it keeps.
    ///
    /// # Errors
    /// [`RequestError`]: among others, there is none of that name.
    pub async fn delete(&self, name: &str) -> Result<(), RequestError> {
        let build = |request| Frame::StreamDelete(frame::StreamDelete { request, name });
        done(self.client.ask(build).await?)
    }
}

/// What is to be read of a stream; see [`Streams::read`].
#[must_use = "nothing is read before `open`"]
#[derive(Clone, Debug)]
pub struct Read {
    client: Client,
    filter: String,
    options: SubscribeOptions,
}

impl Read {
    /// From here on; without it, from the first event that is kept.
    pub fn from(mut self, start: StartAt) -> Self {
        self.options.start = start;
        self
    }

    /// From where another reading had come, at whichever home.
    pub fn at(mut self, position: Position) -> Self {
        self.options.position = Some(position).filter(|position| !position.is_empty());
        self
    }

    /// Only these topics.
    pub fn filter(mut self, filter: &str) -> Self {
        filter.clone_into(&mut self.filter);
        self
    }

    /// With this credit, in events and bytes.
    pub fn with_credit(mut self, events: u64, bytes: ByteCount) -> Self {
        (self.options.credit_events, self.options.credit_bytes) = (events, bytes);
        self
    }

    /// Begins to read.
    ///
    /// # Errors
    /// As [`Client::subscribe`].
    pub async fn open(self) -> Result<Subscription, SubscribeError> {
        self.client.subscribe(&self.filter, self.options).await
    }
}

pub(crate) fn done(reply: Reply) -> Result<(), RequestError> {
    match reply {
        Reply::Done => Ok(()),
        _ => Err(RequestError::Unexpected { expected: "\"done\"" }),
    }
}

fn reports(reply: Reply) -> Result<Vec<StreamReport>, RequestError> {
    match reply {
        Reply::Streams(list) => Ok(list),
        _ => Err(RequestError::Unexpected { expected: "reports of streams" }),
    }
}
