//! Streams: create, list, look at, delete. Reading one is a subscription.

use weft_wire::frame::{self, Frame, StreamSpec};

use crate::client::Client;
use crate::error::RequestError;
use crate::options::StreamOptions;
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
        let spec = StreamSpec {
            name: &options.name,
            filters: options.filters.iter().map(String::as_str).collect(),
            retain_bytes: options.retain_bytes.map_or(0, |bytes| bytes.0),
            retain_age_ms: options.retain_age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            segment_bytes: options.segment.map_or(0, |bytes| bytes.0),
        };
        let build = |request| Frame::StreamCreate(frame::StreamCreate { request, spec });
        done(self.client.ask(build).await?)
    }

    /// All streams of the hub, by name.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn list(&self) -> Result<Vec<StreamReport>, RequestError> {
        let mut list = reports(self.client.ask(|request| Frame::StreamList(frame::StreamList { request })).await?)?;
        list.sort_by(|a, b| a.name.cmp(&b.name));
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

    /// Deletes a stream and all that it keeps.
    ///
    /// # Errors
    /// [`RequestError`]: among others, there is none of that name.
    pub async fn delete(&self, name: &str) -> Result<(), RequestError> {
        let build = |request| Frame::StreamDelete(frame::StreamDelete { request, name });
        done(self.client.ask(build).await?)
    }
}

fn done(reply: Reply) -> Result<(), RequestError> {
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
