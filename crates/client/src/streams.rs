//! Streams: create, list, look at, delete. Reading one is a subscription.

use weft_wire::frame::{self, Frame};

use crate::client::Client;
use crate::consumer::{ConsumeOptions, Consumer, ConsumerOptions, Consumers};
use crate::definition::StreamOptions;
use crate::error::{ConsumeError, RequestError};
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
