//! Between a client and its hub: session, publishing, subscribing.

use std::fmt;

use weft_base::{Epoch, HubId, ProducerId, SubscriptionId, UnixNanos};

use super::codec::{Reader, Writer, wire_enum};
use super::{ErrorCode, FrameClause, FrameError, MAX_FILTER, MAX_HOMES, MAX_TEXT, MAX_TOKEN};

wire_enum! {
    /// Who dials.
    Role {
        /// A program that publishes and subscribes.
        Client = 0,
        /// Another hub of the mesh.
        Hub = 1,
    }
}

wire_enum! {
    /// When a publish is acknowledged. Each level includes those before it.
    AckLevel {
        /// Never.
        None = 0,
        /// Its hub has stamped it and sent it on its way.
        Routed = 1,
        /// Every stream that takes it has written it.
        Written = 2,
        /// Every stream that takes it has it on disk.
        Synced = 3,
        /// Every stream that takes it has it on disk at as many of its homes as were asked for.
        Homes = 4,
        /// Only in answers: it is on disk at the publisher's hub, on its way to
        /// the stream's home, which cannot be reached.
        Spooled = 5,
    }
}

wire_enum! {
    /// What a hub does when a subscription's queue is full.
    OnFull {
        /// Drops the oldest events, and says so with `Gap`.
        DropOldest = 0,
        /// Drops the newest events, and says so with `Gap`.
        DropNewest = 1,
        /// Ends the session.
        Disconnect = 2,
        /// Makes the publishers of what it takes wait, at every hub, until it
        /// has caught up. What was under way and finds no room is dropped, and
        /// said with `Gap`.
        Wait = 3,
        /// Keeps the newest event of each key of each topic, and says with
        /// `Gap` how many others there were.
        Conflate = 4,
        /// Appends what finds no room to a stream of the hub, and says with
        /// `Gap` how many events are there.
        Spill = 5,
    }
}

/// Where a subscription to a stream starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what comes from now on.
    New,
    /// With the oldest there is.
    First,
    /// With the newest there is.
    Last,
    /// With this stream sequence, or the oldest there is after it.
    Sequence(u64),
    /// With the first block that entered the mesh at this time or later.
    Time(UnixNanos),
}

impl Start {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, FrameError> {
        let kind = reader.one_of("start", |number| (number < 5).then_some(number))?;
        let value = reader.rest().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        if kind < 3 && value != 0 {
            return reader.refuse(FrameClause::Reserved, "start value", value);
        }
        let value = reader.u64("start value")?;
        Ok(match kind {
            0 => Self::New,
            1 => Self::First,
            2 => Self::Last,
            3 => Self::Sequence(value),
            _ => Self::Time(UnixNanos(value)),
        })
    }

    pub(super) fn write(self, writer: &mut Writer<'_>) {
        let (kind, value) = match self {
            Self::New => (0, 0),
            Self::First => (1, 0),
            Self::Last => (2, 0),
            Self::Sequence(sequence) => (3, sequence),
            Self::Time(time) => (4, time.0),
        };
        writer.u8(kind);
        writer.u64(value);
    }
}

/// The first frame of the side that dials; answered by [`Welcome`] or
/// [`Goodbye`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The oldest version of the protocol it speaks.
    pub version_min: u16,
    /// The newest version of the protocol it speaks.
    pub version_max: u16,
    /// Who dials.
    pub role: Role,
    /// Bits of what it can do beyond the version.
    pub features: u64,
    /// The largest frame it takes, in bytes.
    pub max_frame: u32,
    /// The hub's id; 0 for a client.
    pub hub: HubId,
    /// The hub's epoch; 0 for a client.
    pub epoch: Epoch,
    /// The hub's or the client's name.
    pub name: &'a str,
    /// The region; may be empty.
    pub region: &'a str,
    /// Program and version, for people; cut to [`MAX_TEXT`].
    pub software: &'a str,
    /// The client's producer id; 0 for a hub.
    pub producer: ProducerId,
    /// Proof of who it is, where TLS gives none; at most [`MAX_TOKEN`] bytes.
    pub token: &'a [u8],
}

impl fmt::Debug for Hello<'_> {
    /// All but the token, which is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello")
            .field("version_min", &self.version_min)
            .field("version_max", &self.version_max)
            .field("role", &self.role)
            .field("features", &self.features)
            .field("max_frame", &self.max_frame)
            .field("hub", &self.hub)
            .field("epoch", &self.epoch)
            .field("name", &self.name)
            .field("region", &self.region)
            .field("software", &self.software)
            .field("producer", &self.producer)
            .field("token", &format_args!("{} bytes", self.token.len()))
            .finish()
    }
}

impl<'a> Hello<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            version_min: r.u16("version_min")?,
            version_max: r.u16("version_max")?,
            role: r.one_of("role", Role::from_number)?,
            features: r.u64("features")?,
            max_frame: r.u32("max_frame")?,
            hub: r.hub("hub")?,
            epoch: r.epoch("epoch")?,
            name: r.name("name")?,
            region: r.name("region")?,
            software: r.text("software", MAX_TEXT)?,
            producer: ProducerId(r.u64("producer")?),
            token: r.bytes("token", MAX_TOKEN)?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u16(self.version_min);
        w.u16(self.version_max);
        w.u8(self.role as u8);
        w.u64(self.features);
        w.u32(self.max_frame);
        w.u64(self.hub.0);
        w.u32(self.epoch.0);
        w.name("name", self.name);
        w.name("region", self.region);
        w.cut("software", self.software);
        w.u64(self.producer.0);
        w.bytes("token", self.token, MAX_TOKEN);
    }
}

/// The answer to [`Hello`]: the session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// The version that both will speak.
    pub version: u16,
    /// The features that both have.
    pub features: u64,
    /// The largest frame the hub takes, in bytes.
    pub max_frame: u32,
    /// The hub's id.
    pub hub: HubId,
    /// The hub's epoch.
    pub epoch: Epoch,
    /// The session's number at the hub, for its log.
    pub session: u64,
    /// The hub's name.
    pub name: &'a str,
    /// The hub's region.
    pub region: &'a str,
    /// Program and version, for people; cut to [`MAX_TEXT`].
    pub software: &'a str,
    /// How many blocks may be unacknowledged.
    pub publish_window_blocks: u32,
    /// How many bytes of blocks may be unacknowledged.
    pub publish_window_bytes: u64,
}

impl<'a> Welcome<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            version: r.u16("version")?,
            features: r.u64("features")?,
            max_frame: r.u32("max_frame")?,
            hub: r.hub("hub")?,
            epoch: r.epoch("epoch")?,
            session: r.u64("session")?,
            name: r.name("name")?,
            region: r.name("region")?,
            software: r.text("software", MAX_TEXT)?,
            publish_window_blocks: r.u32("publish_window_blocks")?,
            publish_window_bytes: r.u64("publish_window_bytes")?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u16(self.version);
        w.u64(self.features);
        w.u32(self.max_frame);
        w.u64(self.hub.0);
        w.u32(self.epoch.0);
        w.u64(self.session);
        w.name("name", self.name);
        w.name("region", self.region);
        w.cut("software", self.software);
        w.u32(self.publish_window_blocks);
        w.u64(self.publish_window_bytes);
    }
}

/// A published block reached the level asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The publish.
    pub request: u64,
    /// The level reached.
    pub level: AckLevel,
    /// The hub that stamped the block.
    pub origin: HubId,
    /// That hub's epoch.
    pub epoch: Epoch,
    /// That hub's sequence of the block's first event; 0 of a block all of whose
    /// events lie in quarantine there, and did not enter the mesh.
    pub sequence: u64,
    /// Whether the block had been published before.
    pub duplicate: bool,
    /// To how many live receivers the hub sent the block: its own
    /// subscriptions, members of groups, and other hubs. 0 for a duplicate.
    pub receivers: u32,
    /// The home at which the block entered its stream; 0 when no stream has
    /// taken it yet, or several have.
    pub home: HubId,
    /// With `home`: that home's sequence of the block's first event, 0
    /// otherwise. The name of an event in the mesh is (home, home sequence).
    pub home_sequence: u64,
    /// How many homes have it on disk; 0 below [`AckLevel::Synced`].
    pub homes: u8,
}

impl Ack {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        Ok(Self {
            request: r.id(),
            level: r.one_of("level", AckLevel::from_number)?,
            origin: r.hub("origin")?,
            epoch: r.epoch("epoch")?,
            sequence: r.u64("sequence")?,
            duplicate: r.bool("duplicate")?,
            receivers: r.u32("receivers")?,
            home: r.hub("home")?,
            home_sequence: r.u64("home_sequence")?,
            homes: r.u8("homes")?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.u8(self.level as u8);
        w.u64(self.origin.0);
        w.u32(self.epoch.0);
        w.u64(self.sequence);
        w.bool(self.duplicate);
        w.u32(self.receivers);
        w.u64(self.home.0);
        w.u64(self.home_sequence);
        w.u8(self.homes);
    }
}

/// A request is refused, for good: the same request would be refused again,
/// unless `retry_after_ms` says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorFrame<'a> {
    /// The request, or the subscription.
    pub request: u64,
    /// Why.
    pub code: ErrorCode,
    /// When to try again, in milliseconds from now; 0 for never.
    pub retry_after_ms: u32,
    /// Why, for people; cut to [`MAX_TEXT`].
    pub detail: &'a str,
}

impl<'a> ErrorFrame<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            request: r.id(),
            code: ErrorCode(r.u16("code")?),
            retry_after_ms: r.u32("retry_after_ms")?,
            detail: r.text("detail", MAX_TEXT)?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.u16(self.code.0);
        w.u32(self.retry_after_ms);
        w.cut("detail", self.detail);
    }
}

/// A wish for events; answered by [`Subscribed`] or [`ErrorFrame`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Chosen by the client, unique in its session.
    pub id: SubscriptionId,
    /// Which topics.
    pub filter: &'a str,
    /// From which stream; empty for live events.
    pub stream: &'a str,
    /// Where in the stream to start.
    pub start: Start,
    /// How many events may be sent; `u64::MAX` for any number.
    pub credit_events: u64,
    /// How many bytes of blocks may be sent; `u64::MAX` for any number.
    pub credit_bytes: u64,
    /// What to do when the hub's queue for it is full.
    pub on_full: OnFull,
    /// The group it shares the events with; empty for none.
    pub group: &'a str,
    /// Its share of the group's events, 1 to [`MAX_WEIGHT`] and relative to
    /// the other members'; without a group it has no meaning.
    pub weight: u16,
    /// With [`OnFull::Spill`]: the stream of this hub; empty otherwise.
    pub spill: &'a str,
    /// Of a stream: how far it was read, per home (its tag, and its sequence
    /// that is next), which is valid at each of its homes; `start` then says
    /// nothing. Empty: from `start` on. At most [`MAX_HOMES`].
    pub position: Vec<(u32, u64)>,
}

impl<'a> Subscribe<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            id: SubscriptionId(r.id()),
            filter: r.text("filter", MAX_FILTER)?,
            stream: r.name("stream")?,
            start: Start::read(r)?,
            credit_events: r.u64("credit_events")?,
            credit_bytes: r.u64("credit_bytes")?,
            on_full: r.one_of("on_full", OnFull::from_number)?,
            group: r.name("group")?,
            weight: r.u16("weight")?,
            spill: r.name("spill")?,
            position: r.list("position", MAX_HOMES, 12, |r| Ok((r.u32("home")?, r.u64("sequence")?)))?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.id.0);
        w.text("filter", self.filter, MAX_FILTER);
        w.name("stream", self.stream);
        self.start.write(w);
        w.u64(self.credit_events);
        w.u64(self.credit_bytes);
        w.u8(self.on_full as u8);
        w.name("group", self.group);
        w.u16(self.weight);
        w.name("spill", self.spill);
        w.list("position", &self.position, MAX_HOMES, |w, (home, sequence)| {
            w.u32(*home);
            w.u64(*sequence);
        });
    }
}

/// A frame of an id and some numbers.
macro_rules! numbers {
    ($(#[doc = $doc:literal])+ $name:ident {
        $(#[doc = $id_doc:literal])+ $id:ident: $id_type:tt
        $(, $(#[doc = $field_doc:literal])+ $field:ident: $type:tt)* $(,)?
    }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            $(#[doc = $id_doc])+
            pub $id: $id_type,
            $($(#[doc = $field_doc])+ pub $field: $type,)*
        }

        impl $name {
            pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, FrameError> {
                Ok(Self { $id: numbers!(@wrap $id_type, r.id()), $($field: r.$type(stringify!($field))?,)* })
            }

            pub(super) fn write(&self, w: &mut Writer<'_>) {
                w.id(numbers!(@unwrap $id_type, self.$id));
                $(w.$type(self.$field);)*
            }
        }
    };
    (@wrap u64, $value:expr) => { $value };
    (@wrap SubscriptionId, $value:expr) => { SubscriptionId($value) };
    (@unwrap u64, $value:expr) => { $value };
    (@unwrap SubscriptionId, $value:expr) => { $value.0 };
}
pub(super) use numbers;

numbers! {
    /// The subscription stands.
    Subscribed {
        /// The subscription.
        id: SubscriptionId,
        /// The stream's sequence of the first event that will come; 0 when live.
        start_sequence: u64,
        /// Whether it is a live one.
        live: bool,
    }
}

numbers! {
    /// The end of a subscription; answered by [`Unsubscribed`].
    Unsubscribe {
        /// The subscription.
        id: SubscriptionId,
    }
}

numbers! {
    /// The subscription ended: no `Deliver` for it follows.
    Unsubscribed {
        /// The subscription.
        id: SubscriptionId,
    }
}

numbers! {
    /// Events that matched a subscription and were dropped; sent before the
    /// next `Deliver`.
    Gap {
        /// The subscription.
        id: SubscriptionId,
        /// How many.
        events: u64,
        /// Why: a number of the ledger's reasons.
        reason: u8,
    }
}

numbers! {
    /// Room for more events; added to what is left of the earlier.
    Credit {
        /// The subscription.
        id: SubscriptionId,
        /// How many events more; `u64::MAX` for any number.
        events: u64,
        /// How many bytes more; `u64::MAX` for any number.
        bytes: u64,
    }
}

numbers! {
    /// Is the other side there? Answered by [`Pong`]; but not on other connections of
    /// a link than its first, where it is a sign of life and no more.
    Ping {
        /// Chosen by the sender.
        id: u64,
        /// Chosen by the sender: its clock, as a rule.
        time: u64,
    }
}

numbers! {
    /// The answer to [`Ping`], with its values.
    Pong {
        /// That of the ping.
        id: u64,
        /// That of the ping.
        time: u64,
    }
}

numbers! {
    /// A publisher asks what its publishes wait for; answered by [`WhyReport`].
    Why {
        /// Chosen by the client.
        request: u64,
    }
}

wire_enum! {
    /// What holds a publisher up.
    Limit {
        /// Nothing at this hub.
        None = 0,
        /// A subscriber with [`OnFull::Wait`] that is behind.
        Subscriber = 1,
        /// A stream that has not stored what was published.
        Stream = 2,
        /// The memory for blocks of the hub.
        Memory = 3,
        /// The hub has more to do than it can.
        Load = 4,
    }
}

/// What holds a publisher up: the answer to [`Why`], or unasked, with request
/// 0, when the hub begins to hold its blocks back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WhyReport<'a> {
    /// The request; 0 when nobody asked.
    pub request: u64,
    /// What it is.
    pub limit: Limit,
    /// The name of the subscriber; empty for others.
    pub name: &'a str,
    /// The hub where it is.
    pub hub: &'a str,
    /// The filter of the subscriber; empty for others.
    pub filter: &'a str,
    /// How far behind it is: for how long the oldest has waited, in milliseconds.
    pub behind_ms: u64,
    /// Blocks of the publisher that the hub holds back or has not answered.
    pub blocks: u32,
}

impl<'a> WhyReport<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            request: r.id(),
            limit: r.one_of("limit", Limit::from_number)?,
            name: r.name("name")?,
            hub: r.name("hub")?,
            filter: r.text("filter", MAX_FILTER)?,
            behind_ms: r.u64("behind_ms")?,
            blocks: r.u32("blocks")?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.u8(self.limit as u8);
        w.name("name", self.name);
        w.name("hub", self.hub);
        w.text("filter", self.filter, MAX_FILTER);
        w.u64(self.behind_ms);
        w.u32(self.blocks);
    }
}

/// The orderly end of a connection: the sender writes nothing after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goodbye<'a> {
    /// Why.
    pub code: ErrorCode,
    /// Why, for people; cut to [`MAX_TEXT`].
    pub detail: &'a str,
}

impl<'a> Goodbye<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self { code: ErrorCode(r.u16("code")?), detail: r.text("detail", MAX_TEXT)? })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u16(self.code.0);
        w.cut("detail", self.detail);
    }
}
