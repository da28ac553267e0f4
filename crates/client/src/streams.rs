//! Streams: create, list, look at, delete. Reading one is a subscription.

use std::future::poll_fn;

use weft_wire::frame::{self, AckLevel, Frame};

use crate::client::Client;
use crate::consumer::{ConsumeOptions, Consumer, ConsumerOptions, Consumers};
use crate::definition::StreamOptions;
use crate::error::{ConsumeError, RequestError};
use crate::last::{LastValue, MOST_LAST};
use crate::publisher::Published;
use crate::report::{Reply, StreamReport};

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
    /// because several streams took the event, or the level cannot be reached.
    pub async fn reach(
        &self,
        stream: &str,
        published: &Published,
        level: AckLevel,
        homes: u8,
    ) -> Result<Published, RequestError> {
        let (home, home_sequence) = (published.home, published.home_sequence);
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
