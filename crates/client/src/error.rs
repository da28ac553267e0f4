//! What can go wrong, one enum per operation. They are `Clone`, because one
//! refusal may be the answer to every event of a block.

use std::time::Duration;

use weft_topic::{FilterError, TopicError};
use weft_wire::block::WriteError;
use weft_wire::frame::{AckLevel, ErrorCode};

use crate::live::{LiveAt, Receipt};

/// A hub's refusal, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hub refuses it ({code}): {detail}")]
pub struct Refusal {
    /// The number of the reason.
    pub code: ErrorCode,
    /// What is wrong and what to do.
    pub detail: String,
    /// When to try again, if that can help.
    pub retry_after: Option<Duration>,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No address was given.
    #[error("no address to connect to: give at least one `HOST:PORT`, `quic:HOST:PORT` or `shm:PATH`")]
    NoAddress,
    /// Every address failed; the reasons of the last round.
    #[error("cannot connect to {}", .reasons.join("; "))]
    Unreachable {
        /// Address and reason.
        reasons: Vec<String>,
    },
    /// The hub answered, and wants none of this client.
    #[error("`{address}`: {refusal}")]
    Refused {
        /// The hub's address.
        address: String,
        /// Why.
        refusal: Refusal,
    },
    /// The client was closed before it was connected.
    #[error("the client was closed before it was connected")]
    Closed,
    /// The system did not give what a client needs.
    #[error("cannot start the client: {detail}")]
    System {
        /// The system's words.
        detail: String,
    },
}

/// Why an event was not taken, or not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic breaks the grammar.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The event cannot be written into a block.
    #[error(transparent)]
    Event(#[from] WriteError),
    /// Larger than the hub takes.
    #[error(
        "the event makes a block of {len} bytes and the hub takes {most}: send less at a time, or raise the hub's `limits.frame`"
    )]
    TooLarge {
        /// The block's bytes.
        len: usize,
        /// The hub's limit.
        most: usize,
    },
    /// A batch that the window could never hold at once.
    #[error(
        "the batch makes {blocks} blocks of {bytes} bytes together and the window has room for {most_blocks} and {most_bytes}: make it smaller, or raise `in_flight_blocks` and `in_flight_bytes` here, and `limits.publish_blocks` and `limits.publish_bytes` at the hub"
    )]
    BatchTooLarge {
        /// Its blocks.
        blocks: usize,
        /// Their bytes.
        bytes: usize,
        /// The blocks that the window has room for.
        most_blocks: usize,
        /// The bytes that it has room for.
        most_bytes: usize,
    },
    /// A level that no publisher can ask for.
    #[error("the level {level:?} with {homes} homes cannot be asked for: `Homes` takes 2 to {most}, and `Spooled` is only ever an answer", most = weft_wire::frame::MAX_ACK_HOMES)]
    Level {
        /// The level.
        level: AckLevel,
        /// The homes.
        homes: u8,
    },
    /// A batch at a level that no stream answers.
    #[error("a batch at level {level:?} has no stream that says whether it took it: publish it at `Written` or higher")]
    BatchLevel {
        /// The publisher's level.
        level: AckLevel,
    },
    /// A number for an event, of a publisher that has no producer of its own.
    #[error("the event is numbered and its publisher is not: give the publisher a `producer`")]
    NoProducer,
    /// A number that is not above those before it.
    #[error("the event has the number {sequence} and its producer is at {next} already: number events upwards")]
    Sequence {
        /// Its number.
        sequence: u64,
        /// The next that is possible.
        next: u64,
    },
    /// Too many producers with ids of their own.
    #[error("one client has too many producers of its own: make another client")]
    TooManyProducers,
    /// The topic is not wanted where the publisher requires it: nothing was sent.
    #[error("`{topic}` is not wanted at {required} ({why}): wait for its subscribers, or require less")]
    NotLive {
        /// The topic.
        topic: String,
        /// Where it must be wanted.
        required: String,
        /// Where it is not, and why.
        why: String,
    },
    /// A way to publish that does not wait, of a publisher that requires to know who wants the topic.
    #[error("a publisher with `require_live` asks before each event: use `publish`, `publish_event` or `publish_on`")]
    MustAsk,
    /// It could not be known who wants the topic: nothing was sent.
    #[error("cannot tell who wants the topic: {0}")]
    Required(RequestError),
    /// The window is full: only from `try_publish`, others wait.
    #[error("{blocks} blocks are on their way and not acknowledged, the limit: wait for acknowledgements")]
    Full {
        /// Blocks on their way.
        blocks: usize,
    },
    /// The deadline passed before the event could be sent: nobody got it.
    #[error("the event's deadline passed before it could be sent: publish a newer one, or give it more time")]
    Expired,
    /// The hub refused the block. It may be published again, as a new event.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The client was closed before the acknowledgement came: whether the
    /// event is in the mesh is not known.
    #[error("the client was closed before the acknowledgement came: whether the event arrived is not known")]
    Closed,
}

/// Why there is no subscription, or why one ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The filter breaks the grammar.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The credit asked for is out of bounds.
    #[error("a credit of {events} events and {bytes} bytes is out of bounds: 1 to {most_events} events, 4096 to {most_bytes} bytes", most_events = crate::MAX_CREDIT_EVENTS, most_bytes = crate::MAX_CREDIT_BYTES.0)]
    Credit {
        /// Events asked for.
        events: u64,
        /// Bytes asked for.
        bytes: u64,
    },
    /// The name of the stream is empty or too long.
    #[error("a stream's name of {len} bytes: it must have 1 to {most}", most = weft_wire::frame::MAX_NAME)]
    StreamName {
        /// Its bytes.
        len: usize,
    },
    /// The name of the group is empty or too long.
    #[error("a group's name of {len} bytes: it must have 1 to {most}", most = weft_wire::frame::MAX_NAME)]
    GroupName {
        /// Its bytes.
        len: usize,
    },
    /// The weight in the group is out of bounds.
    #[error("a weight of {weight} is out of bounds: 1 to {most}", most = weft_wire::frame::MAX_WEIGHT)]
    Weight {
        /// The weight asked for.
        weight: u16,
    },
    /// It is not live where it must be: it was ended.
    #[error("the subscription is not live at {required}: {}", .receipt.shortfall())]
    NotLive {
        /// Where it must be live.
        required: LiveAt,
        /// Where it is, and where not.
        receipt: Receipt,
    },
    /// The hub could not say where it is live: it was ended.
    #[error("cannot tell where the subscription is live: {0}")]
    Receipt(RequestError),
    /// The hub refused or ended it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A request for no events, which ended a subscription that is read on demand.
    #[error("no events were requested: request at least one at a time")]
    EmptyRequest,
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

/// Why a request across the mesh has no reply, or no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Nobody in the mesh is there to answer.
    #[error("no responders: nobody is subscribed who could answer; start a responder, or check the topic")]
    NoResponders,
    /// The deadline passed before the replies came. Whether the request was
    /// carried out is not known.
    #[error("the deadline passed before the replies came: whether it was done is not known; ask again, or wait longer")]
    Deadline,
    /// A responder ended without a reply.
    #[error("the responder ended without a reply")]
    NoReply,
    /// The connection was lost meanwhile. Whether the request was carried out
    /// is not known.
    #[error("the connection was lost before the replies came: whether it was done is not known; ask again")]
    ConnectionLost,
    /// There is no connection to send it over at present.
    #[error("there is no connection to the hub at present: ask again once there is (`status_other_than`)")]
    NotConnected,
    /// The hub refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It cannot be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Its headers are none, or too long.
    #[error(transparent)]
    Event(#[from] WriteError),
    /// The system gives no random numbers.
    #[error("cannot make an address for replies: {detail}")]
    System {
        /// The system's words.
        detail: String,
    },
    /// Too many requests wait for replies.
    #[error("{limit} requests wait for replies, the limit: wait for some")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The hub refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What is asked cannot be written into a frame.
    #[error("{detail}")]
    Invalid {
        /// What is wrong with it.
        detail: String,
    },
    /// The connection was lost meanwhile: whether it was done is not known.
    #[error("the connection was lost before the answer came: whether it was done is not known, ask again")]
    ConnectionLost,
    /// The answer is not one to this request.
    #[error("the hub answered with something else than {expected}: client and hub do not understand each other")]
    Unexpected {
        /// What should have come.
        expected: &'static str,
    },
    /// Too many requests wait for answers.
    #[error("{limit} requests wait for answers, the limit: wait for some")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

/// Why there is no membership in a consumer, or why one ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumeError {
    /// The name of the stream or of the consumer is empty or too long.
    #[error("a {what}'s name of {len} bytes: it must have 1 to {most}", most = weft_wire::frame::MAX_NAME)]
    Name {
        /// What it should name.
        what: &'static str,
        /// Its bytes.
        len: usize,
    },
    /// The credit asked for is out of bounds.
    #[error("a credit of {events} events and {bytes} bytes is out of bounds: up to {most_events} events, 4096 to {most_bytes} bytes", most_events = crate::MAX_CREDIT_EVENTS, most_bytes = crate::MAX_CREDIT_BYTES.0)]
    Credit {
        /// Events asked for.
        events: u64,
        /// Bytes asked for.
        bytes: u64,
    },
    /// More events were to be fetched than may be granted at once.
    #[error("{events} events cannot be fetched at once: 1 to {most}", most = crate::MAX_FETCH)]
    Fetch {
        /// Events asked for.
        events: u64,
    },
    /// The consumer could not be made.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The hub refused or ended it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

/// Why nothing could be said of an event that was handed out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// The event was handed out under a membership that has ended: the hub
    /// hands it out again, to whoever is a member then.
    #[error(
        "the event was handed out with token {token} and the member's token is {current}: it is handed out again, undo what cannot be done twice"
    )]
    Stale {
        /// Under which it was handed out.
        token: u64,
        /// The member's now; 0 when it has none.
        current: u64,
    },
    /// Too much was said that is not sent yet.
    #[error("{limit} ranges of events wait to be sent, the limit: wait until the connection takes them")]
    Full {
        /// The limit.
        limit: usize,
    },
    /// The connection was lost before the answer came: whether it counts is not known.
    #[error("the connection was lost before the answer came: whether it counts is not known, the event may come again")]
    ConnectionLost,
    /// The hub refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}
