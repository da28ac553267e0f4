//! The Rust client of a Weft hub.
//!
//! A sans-I/O session (frames in, frames out) is driven by one thread of the
//! client's own, which owns the network. The async face needs no runtime: its
//! futures and streams work under tokio, smol, `futures_lite::future::block_on`
//! or anything else.
//!
//! * [`Client`] is a connection that is made anew when it is lost, with
//!   exponential back-off and full jitter.
//! * [`Publisher`] batches events into blocks and answers acknowledgements. A
//!   block that is not acknowledged is sent again after a reconnection; the hub
//!   knows it by its producer's sequence and takes it once.
//! * [`Subscription`] is a `Stream` of [`Delivery`], whose events are read in
//!   the buffer that they were received into. Credit flows back as it is read.
//! * [`Consumer`] is a member of a durable consumer of a stream: a `Stream` of
//!   [`Message`]s, each of which is acknowledged, given back, or given up.
//! * [`Client::request`] asks whoever answers on a topic, and [`Responder`]
//!   answers; members of a group share what they subscribe to.
//! * [`OnDemand`] is a subscription that hands out what was requested and no
//!   more, by the rules of Reactive Streams; [`PublisherSink`] is a `Sink`.
//! * [`Streams`] and [`Client::mesh`] are for operators.
//!
//! Every queue is bounded: the window of a publisher, the credit of a
//! subscription, the memory for receiving. At a bound, publishing waits and
//! reading stops; nothing grows.
//!
//! ```
//! use weft_client::{Client, ConnectOptions, PublisherOptions, SubscribeOptions};
//!
//! # use weft_hub::options::Listen;
//! # let mut options = weft_hub::HubOptions::new("example");
//! # options.clients = vec![Listen { addr: "127.0.0.1:0".into(), security: weft_client::Security::Plain }];
//! # let hub = weft_hub::Hub::start(options)?;
//! # let address = hub.client_addresses()[0].as_str();
//! # futures_lite::future::block_on(async {
//! let client = Client::connect(ConnectOptions::new(address)).await?;
//! let mut departures = client.subscribe("flights/departed/*/*/*", SubscribeOptions::default()).await?;
//!
//! let publisher = client.publisher(PublisherOptions::default());
//! let published = publisher.publish("flights/departed/JFK/LAX/B6", b"B6 725").await?.await?;
//! println!("event {} of hub {}", published.sequence, published.origin);
//!
//! let delivery = departures.next().await.expect("the client is open")?;
//! for event in delivery.events() {
//!     println!("{}: {}", delivery.topic(), String::from_utf8_lossy(event.payload));
//! }
//! # assert_eq!(delivery.events().next().map(|event| event.payload), Some(&b"B6 725"[..]));
//! client.close().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # hub.stop()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod batch;
mod change;
mod client;
mod consumer;
mod definition;
mod delivery;
mod demand;
mod driver;
mod error;
mod govern;
mod last;
mod line;
mod live;
mod login;
mod options;
mod position;
mod publisher;
mod receive;
mod report;
mod request;
mod see;
mod session;
mod sink;
mod streams;
mod subscription;
mod ticket;
mod why;

pub use batch::Batch;
pub use change::{HubChange, KnownChange, Trial};
pub use client::{Client, Cork, MAX_CREDIT_BYTES, MAX_CREDIT_EVENTS};
pub use consumer::{
    ConsumeOptions, Consumer, ConsumerMode, ConsumerOptions, ConsumerReport, Consumers, MAX_FETCH, MemberReport,
    Message, Replay, Settle, Settler,
};
pub use definition::{Consistency, LastValues, Retention, StreamOptions, StreamRole, Unreachable};
pub use delivery::{Delivery, Gap};
pub use demand::{Demand, OnDemand};
pub use error::{
    CallError, ConnectError, ConsumeError, PublishError, Refusal, RequestError, SettleError, SubscribeError,
};
pub use last::{LastValue, MOST_LAST};
pub use live::{LiveAt, LiveState, MAX_LIVE_HUBS, Receipt, ReceiptLine};
pub use login::{Login, LoginError};
pub use options::{AckLevel, ConnectOptions, OnFull, Order, Producer, PublisherOptions, StartAt, SubscribeOptions};
pub use position::{ParsePositionError, Position};
pub use publisher::{Acknowledgement, Published, Publisher};
pub use report::{DrainReport, DrainState, HubReport, LinkReport, MeshReport, ProfileReport, StreamReport};
pub use request::{DEFAULT_DEADLINE, Replies, Reply, Request, RequestBuilder, Responder};
pub use see::{Fact, HubSaid, Question, facts, surveyed};
pub use session::{HubInfo, Membership, OPEN_TOPICS, Status, Terms};
pub use sink::PublisherSink;
pub use streams::{Read, Streams};
pub use subscription::Subscription;
pub use weft_transport::{Security, TlsIdentity};
pub use weft_wire::block::EventFields;
pub use weft_wire::headers::HeadersWriter;
pub use weft_wire::trace::TraceContext;
pub use why::{Limit, WhyWaiting};
