//! What a client, a publisher and a subscription are told when they are made.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use weft_base::{ByteCount, Lane, ProducerId, TenantId, UnixNanos};
use weft_transport::Security;
use weft_wire::frame::Start;
use zeroize::Zeroizing;

pub use weft_wire::frame::{AckLevel, OnFull};

use crate::live::LiveAt;
use crate::login::Login;
use crate::position::Position;

/// How to reach a hub, and the client's bounds.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Where hubs listen for clients, `HOST:PORT`, `quic:HOST:PORT`, or `shm:PATH` for shared
    /// memory with a hub of this host, to which certificates and the hub's name
    /// do not apply; tried in turn, from the first.
    pub addresses: Vec<String>,
    /// Plain text (loopback only) or mutual TLS.
    pub security: Security,
    /// The hub's name; when given, with TLS, a hub of another name is refused at
    /// these addresses. Hubs that a hub names have names of their own.
    pub hub: Option<String>,
    /// What the client calls itself, for the hub's logs: at most 64 bytes.
    pub name: String,
    /// What is shown to the hub to log in, besides the certificate.
    pub login: Login,
    /// For how long [`Client::connect`](crate::Client::connect) tries again
    /// once every address has failed. Zero: each address is tried once.
    pub connect_for: Duration,
    /// For how long a lost connection is tried to be made again. After that the
    /// client ends: whoever waits is answered that it is closed, and
    /// [`Client::gave_up`](crate::Client::gave_up) says why. `None`: for ever.
    pub reconnect_for: Option<Duration>,
    /// The pause before a lost connection is made anew: between zero and this
    /// at random, doubled at each failure.
    pub retry_first: Duration,
    /// The longest that pause grows to.
    pub retry_most: Duration,
    /// After this long without a word from the hub it is asked for one; after
    /// three times as long the connection counts as lost.
    pub quiet: Duration,
    /// How long [`Client::close`](crate::Client::close) waits for what is not acknowledged yet.
    pub close_within: Duration,
    /// Blocks that may be on their way and not acknowledged; the hub may allow
    /// fewer. When they are, publishing waits.
    pub in_flight_blocks: u32,
    /// Bytes that may be on their way and not acknowledged; likewise.
    pub in_flight_bytes: ByteCount,
    /// The memory that received blocks lie in. When it is used up, nothing is
    /// read until the application lets go of deliveries.
    pub receive_memory: ByteCount,
    /// The largest frame taken from the hub; a larger one ends the connection.
    pub max_frame: ByteCount,
    /// A hub that is about to stop names others: the client goes on there, with
    /// the same certificate, before it leaves, or at another of `addresses`. While
    /// it does it has two connections, each with its `receive_memory`.
    pub follow_redirects: bool,
}

impl ConnectOptions {
    /// The default bounds, without TLS.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            addresses: vec![address.into()],
            security: Security::Plain,
            hub: None,
            name: "weft-client".to_owned(),
            login: Login::Certificate,
            connect_for: Duration::ZERO,
            reconnect_for: None,
            retry_first: Duration::from_millis(50),
            retry_most: Duration::from_secs(5),
            quiet: Duration::from_secs(5),
            close_within: Duration::from_secs(10),
            in_flight_blocks: 256,
            in_flight_bytes: ByteCount::mib(16),
            receive_memory: ByteCount::mib(256),
            max_frame: ByteCount::mib(8),
            follow_redirects: true,
        }
    }

    /// With this identity, over TLS.
    #[must_use]
    pub fn security(mut self, security: Security) -> Self {
        self.security = security;
        self
    }

    /// With this token (JWT).
    #[must_use]
    pub fn token(mut self, token: Vec<u8>) -> Self {
        self.login = Login::Token(Arc::new(Zeroizing::new(token)));
        self
    }

    /// With the token in this file, which is read again for each connection, and
    /// shown anew when it changes.
    #[must_use]
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.login = Login::TokenFile(path.into());
        self
    }

    /// With a name and a password.
    #[must_use]
    pub fn password(mut self, name: impl Into<String>, password: Vec<u8>) -> Self {
        self.login = Login::Password { name: name.into(), password: Arc::new(Zeroizing::new(password)) };
        self
    }

    /// With a name and the password in this file, which is read again for each connection.
    #[must_use]
    pub fn password_file(mut self, name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.login = Login::PasswordFile { name: name.into(), path: path.into() };
        self
    }

    /// Under this name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}

/// Which order a publisher keeps among its topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The order of the calls, over all topics of a lane. A block has one
    /// topic, so each change of topic ends a block: publishing to many topics
    /// in turn makes small blocks.
    #[default]
    Publisher,
    /// The order of the calls within each topic. Blocks of up to
    /// [`OPEN_TOPICS`](crate::OPEN_TOPICS) topics fill side by side.
    Topic,
}

/// How a publisher sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublisherOptions {
    /// The priority of its events.
    pub lane: Lane,
    /// What an acknowledgement says: nothing is acknowledged (`None`), the hub
    /// has routed the block, or every stream that captures it has written, or
    /// synced, it.
    pub level: AckLevel,
    /// How long a block that is not full may wait for more while other blocks
    /// are on their way. A block never waits while none is.
    pub linger: Duration,
    /// The size at which a block is full. One larger event makes a larger block.
    pub block: ByteCount,
    /// Which order is kept among topics.
    pub order: Order,
    /// The schema's id that blocks carry, 0 for none.
    pub schema: u32,
    /// Whose events they are.
    pub tenant: TenantId,
    /// How long an event is of use after it was taken; a block has the deadline
    /// of its first event. What cannot be delivered by then is dropped and
    /// counted where that is first known; here its acknowledgement fails with
    /// [`PublishError::Expired`](crate::PublishError::Expired). Streams store
    /// what has arrived in time and keep it. `None`: for ever.
    pub deadline: Option<Duration>,
    /// With [`AckLevel::Homes`]: at how many homes of its stream an event must
    /// be on disk, 2 to 15; else 0.
    pub homes: u8,
    /// How long an event is of use after it has entered its hub: then the
    /// consumers of streams do not get it any more. `None`: for ever.
    pub ttl: Option<Duration>,
    /// Who publishes, over restarts; `None`: the client, which is another one
    /// each time.
    pub producer: Option<Producer>,
    /// Where the topic of an event must be wanted, by what the hub's routes know
    /// just before the event is sent; else it fails with
    /// [`PublishError::NotLive`](crate::PublishError::NotLive). Each event then
    /// costs a round trip to the hub, and what does not wait (`try_publish`,
    /// batches, sinks) cannot be had.
    pub require_live: Option<LiveAt>,
    /// The label that hubs must carry at which its events are, are stored or go
    /// through, 1 to 64 of a-z, 0-9 and `-`; `None`: what the rules of its hub say.
    pub residency: Option<String>,
}

/// A publisher that is the same one after a restart, also of another process:
/// streams know it by its id and take each of its numbers once, so that what it
/// publishes again, because it does not know whether it arrived, has one effect.
///
/// It numbers its events, upwards: with the line of a file, the sequence in
/// another log, whatever is the same the next time. After a restart it goes on
/// with the first number that it has no acknowledgement for, and publishes the
/// same events under the same numbers again. Hubs remember a producer for the
/// stream's `dedup_window`. Two processes must not be the same producer at a
/// time: what one publishes behind the other's newest number is taken for
/// known.
///
/// It costs a block for each event, since blocks must come again as they were:
/// without one, many events share a block.
///
/// ```no_run
/// # async fn example(client: &weft_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use weft_client::{AckLevel, Producer, PublisherOptions, Terms};
///
/// // As far as this program knows, lines up to 41 were acknowledged.
/// let producer = Some(Producer::named("import of flights.csv", 42));
/// let publisher = client.publisher(PublisherOptions { producer, ..PublisherOptions::level(AckLevel::Synced) });
/// let published = publisher.publish("flights", b"line 42, perhaps for the second time").await?.await?;
/// println!("it was there before: {}", published.duplicate);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    id: ProducerId,
    next: u64,
}

impl Producer {
    /// The producer of this id, whose next event has this number, at least 1.
    /// The lowest three bits of the id are the lane's.
    #[must_use]
    pub fn new(id: u64, next: u64) -> Self {
        Self { id: ProducerId((id & !0b111).max(8)), next: next.max(1) }
    }

    /// The producer of this name; the id is a hash of it (FNV-1a, 64 bits, of
    /// Fowler, Noll and Vo), the same for ever.
    #[must_use]
    pub fn named(name: &str, next: u64) -> Self {
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Self::new(name.bytes().fold(0xcbf2_9ce4_8422_2325, mix), next)
    }

    /// The number of its next event.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Its id in blocks of this lane.
    pub(crate) fn id_in(&self, lane: Lane) -> ProducerId {
        ProducerId(self.id.0 | u64::from(lane.get()))
    }
}

impl Default for PublisherOptions {
    fn default() -> Self {
        Self {
            lane: Lane::DEFAULT,
            level: AckLevel::Routed,
            linger: Duration::from_millis(1),
            block: ByteCount::kib(32),
            order: Order::Publisher,
            schema: 0,
            tenant: TenantId(0),
            deadline: None,
            homes: 0,
            ttl: None,
            producer: None,
            require_live: None,
            residency: None,
        }
    }
}

impl PublisherOptions {
    /// The defaults, acknowledged once events are on disk at so many homes of
    /// their stream, 2 to 15.
    #[must_use]
    pub fn homes(homes: u8) -> Self {
        Self { homes, ..Self::level(AckLevel::Homes) }
    }

    /// The defaults, with acknowledgements of this level.
    #[must_use]
    pub fn level(level: AckLevel) -> Self {
        Self { level, ..Self::default() }
    }

    /// Of use for this long after they are taken.
    #[must_use]
    pub fn deadline(mut self, after: Duration) -> Self {
        self.deadline = Some(after);
        self
    }

    /// Refused unless the topic is wanted there.
    #[must_use]
    pub fn require_live(mut self, at: LiveAt) -> Self {
        self.require_live = Some(at);
        self
    }

    /// Only at hubs with this label.
    #[must_use]
    pub fn residency(mut self, label: impl Into<String>) -> Self {
        self.residency = Some(label.into());
        self
    }

    /// In this lane.
    #[must_use]
    pub fn lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }
}

/// Where a subscription to a stream begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartAt {
    /// With what comes after the subscription is made.
    #[default]
    New,
    /// With the oldest event that is kept.
    First,
    /// With the newest event that is kept.
    Last,
    /// With this sequence, or the oldest kept after it.
    Sequence(u64),
    /// With the first event that entered its hub at this time or later.
    Time(UnixNanos),
}

impl StartAt {
    /// As it is sent.
    pub(crate) fn on_the_wire(self) -> Start {
        match self {
            Self::New => Start::New,
            Self::First => Start::First,
            Self::Last => Start::Last,
            Self::Sequence(sequence) => Start::Sequence(sequence),
            Self::Time(time) => Start::Time(time),
        }
    }

    /// As it was reported.
    pub(crate) fn of(start: Start) -> Self {
        match start {
            Start::New => Self::New,
            Start::First => Self::First,
            Start::Last => Self::Last,
            Start::Sequence(sequence) => Self::Sequence(sequence),
            Start::Time(time) => Self::Time(time),
        }
    }
}

/// What a subscription gets, and how much of it at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// A stream to read; `None` for what is published from now on.
    pub stream: Option<String>,
    /// Where in the stream to begin; without a stream it has no meaning.
    pub start: StartAt,
    /// How far it was read before, at any of its homes: this is where to begin
    /// then, whatever `start` says.
    pub position: Option<Position>,
    /// Events that may wait here for the application; the hub holds back what
    /// is beyond. 1 to [`MAX_CREDIT_EVENTS`](crate::MAX_CREDIT_EVENTS).
    pub credit_events: u64,
    /// Bytes that may wait here for the application; likewise.
    pub credit_bytes: ByteCount,
    /// What the hub does when the room that it has for this subscription is
    /// full as well. Streams wait, whatever this says.
    pub on_full: OnFull,
    /// With [`OnFull::Spill`]: the stream of the hub that takes what finds no room.
    pub spill: Option<String>,
    /// The group that shares what it wants: each block goes to one of its
    /// members, wherever in the mesh they are. `None`: a copy of its own.
    pub group: Option<String>,
    /// Its part of the group's events, relative to the other members': 1 to 1000.
    pub weight: u16,
    /// Where it must be live before it counts as made, and how long that may
    /// take; else it ends with [`SubscribeError::NotLive`](crate::SubscribeError::NotLive).
    /// Not of a stream.
    pub receipt: Option<(LiveAt, Duration)>,
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self {
            stream: None,
            start: StartAt::New,
            position: None,
            credit_events: 65_536,
            credit_bytes: ByteCount::mib(8),
            on_full: OnFull::DropOldest,
            spill: None,
            group: None,
            weight: 1,
            receipt: None,
        }
    }
}

impl SubscribeOptions {
    /// With this policy at the hub's full queue.
    #[must_use]
    pub fn on_full(mut self, on_full: OnFull) -> Self {
        self.on_full = on_full;
        self
    }

    /// As a member of a group, with this weight.
    #[must_use]
    pub fn group(mut self, name: impl Into<String>, weight: u16) -> Self {
        self.group = Some(name.into());
        self.weight = weight;
        self
    }

    /// Made once it is live there, within this time.
    #[must_use]
    pub fn receipt(mut self, at: LiveAt, within: Duration) -> Self {
        self.receipt = Some((at, within));
        self
    }

    /// With what finds no room at the hub appended to this stream of it.
    #[must_use]
    pub fn spill_to(mut self, stream: impl Into<String>) -> Self {
        self.on_full = OnFull::Spill;
        self.spill = Some(stream.into());
        self
    }

    /// Reads a stream from `start` on, and then what is added to it.
    #[must_use]
    pub fn stream(name: impl Into<String>, start: StartAt) -> Self {
        Self { stream: Some(name.into()), start, ..Self::default() }
    }
}
