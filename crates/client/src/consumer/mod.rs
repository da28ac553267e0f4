//! Durable consumers of a stream: what operators do with them, and being a
//! member of one.

mod member;
mod message;
mod options;

use std::future::poll_fn;

use weft_base::UnixNanos;
use weft_wire::frame::{self, ConsumerAction, Frame, MAX_NAME, Start};

pub use self::member::{Consumer, MAX_FETCH};
pub use self::message::{Message, Settle, Settler};
pub use self::options::{ConsumeOptions, ConsumerMode, ConsumerOptions, ConsumerReport, MemberReport, Replay};
use crate::client::{Client, MAX_CREDIT_BYTES, MAX_CREDIT_EVENTS, MIN_CREDIT_BYTES};
use crate::error::{ConsumeError, RequestError};
use crate::options::StartAt;
use crate::report::Reply;
use crate::session::ConsumeSpec;
use crate::streams::done;

/// The consumers of one stream.
#[derive(Clone, Debug)]
pub struct Consumers {
    client: Client,
    stream: String,
}

impl Consumers {
    pub(crate) fn new(client: Client, stream: String) -> Self {
        Self { client, stream }
    }

    /// Makes a consumer. Making it again as it is changes nothing.
    ///
    /// # Errors
    /// [`RequestError`]: among others, there is one of that name that is otherwise.
    pub async fn create(&self, options: &ConsumerOptions) -> Result<(), RequestError> {
        let spec = options.spec();
        let build = |request| Frame::ConsumerCreate(frame::ConsumerCreate { request, stream: &self.stream, spec });
        done(self.client.ask(build).await?)
    }

    /// Deletes a consumer, with all that it knows of who has had what. Its
    /// members are told.
    ///
    /// # Errors
    /// [`RequestError`]: among others, there is none of that name.
    pub async fn delete(&self, name: &str) -> Result<(), RequestError> {
        let build = |request| Frame::ConsumerDelete(frame::ConsumerDelete { request, stream: &self.stream, name });
        done(self.client.ask(build).await?)
    }

    /// One consumer.
    ///
    /// # Errors
    /// [`RequestError`]: among others, there is none of that name.
    pub async fn info(&self, name: &str) -> Result<ConsumerReport, RequestError> {
        let mut list = self.reports(name).await?;
        list.pop().ok_or(RequestError::Unexpected { expected: "the report of one consumer" })
    }

    /// All consumers of the stream, by name.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn list(&self) -> Result<Vec<ConsumerReport>, RequestError> {
        let mut list = self.reports("").await?;
        list.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(list)
    }

    async fn reports(&self, name: &str) -> Result<Vec<ConsumerReport>, RequestError> {
        let build = |request| Frame::ConsumerInfo(frame::ConsumerInfo { request, stream: &self.stream, name });
        match self.client.ask(build).await? {
            Reply::Consumers(list) => Ok(list),
            _ => Err(RequestError::Unexpected { expected: "reports of consumers" }),
        }
    }

    /// Hands out nothing until then, or until it is resumed.
    ///
    /// # Errors
    /// [`RequestError`]: among others, there is none of that name.
    pub async fn pause(&self, name: &str, until: Option<UnixNanos>) -> Result<(), RequestError> {
        let value = until.map_or(0, |until| (until.0 / 1_000_000).max(1));
        self.control(name, ConsumerAction::Pause, value, Start::New, "").await
    }

    /// Hands out again.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn resume(&self, name: &str) -> Result<(), RequestError> {
        self.control(name, ConsumerAction::Resume, 0, Start::New, "").await
    }

    /// Begins anew from here on; what was settled beyond it is handed out again.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn reset(&self, name: &str, start: StartAt) -> Result<(), RequestError> {
        self.control(name, ConsumerAction::Reset, 0, start.on_the_wire(), "").await
    }

    /// Has it served by this home of the stream whenever that can be reached, by
    /// any when the name is empty. Ready when it is there, with all that was
    /// settled; its members open it there by themselves.
    ///
    /// # Errors
    /// As [`pause`](Self::pause); and the hub of that name is no home of the
    /// stream, or cannot be reached, or did not take it: then it stays.
    pub async fn move_to(&self, name: &str, home: &str) -> Result<(), RequestError> {
        self.control(name, ConsumerAction::Move, 0, Start::New, home).await
    }

    async fn control(
        &self,
        name: &str,
        action: ConsumerAction,
        value: u64,
        start: Start,
        home: &str,
    ) -> Result<(), RequestError> {
        let stream = self.stream.as_str();
        let build = |request| {
            Frame::ConsumerControl(frame::ConsumerControl { request, stream, name, action, value, start, home })
        };
        done(self.client.ask(build).await?)
    }

    /// Becomes a member of a consumer that there is; ready when the hub has let it in.
    ///
    /// # Errors
    /// [`ConsumeError`]: among others, there is none of that name.
    pub async fn open(&self, name: &str, options: ConsumeOptions) -> Result<Consumer, ConsumeError> {
        for (what, name) in [("stream", self.stream.as_str()), ("consumer", name)] {
            if name.is_empty() || name.len() > MAX_NAME {
                return Err(ConsumeError::Name { what, len: name.len() });
            }
        }
        let (events, bytes) = (options.credit_events, options.credit_bytes.0);
        if events > MAX_CREDIT_EVENTS || !(MIN_CREDIT_BYTES..=MAX_CREDIT_BYTES.0).contains(&bytes) {
            return Err(ConsumeError::Credit { events, bytes });
        }
        let spec = ConsumeSpec {
            stream: self.stream.clone(),
            consumer: name.to_owned(),
            credit_events: events,
            credit_bytes: bytes,
        };
        let (id, opened) = self.client.shared().with(|session| session.consume(spec));
        let ticket = opened.ticket.clone();
        // Made before the answer: dropping it, also by giving up waiting, leaves.
        let consumer = Consumer::new(self.client.handle(), id, opened, options);
        poll_fn(|cx| ticket.poll(cx)).await?;
        Ok(consumer)
    }
}
