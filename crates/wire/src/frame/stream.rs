//! Streams, as an operator and a publisher ask for them: definitions, reports,
//! last values, and levels that are awaited later. Not on the data path: lists
//! are collected.

use weft_base::HubId;

use super::codec::{Reader, Writer, wire_enum};
use super::native::{AckLevel, numbers};
use super::{FrameError, MAX_FILTER, MAX_HOMES, MAX_LIST, MAX_STREAM_FILTERS};

/// The longest key of an event, in bytes.
const MAX_EVENT_KEY: usize = u16::MAX as usize;

/// An enum of a stream's definition: its first variant is the default.
macro_rules! policy {
    ($(#[doc = $doc:literal])+ $name:ident { $(#[doc = $first_doc:literal])+ $first:ident = 0, $($rest:tt)* }) => {
        wire_enum! { $(#[doc = $doc])+ $name { $(#[doc = $first_doc])+ $first = 0, $($rest)* } }

        impl Default for $name {
            fn default() -> Self {
                Self::$first
            }
        }
    };
}

policy! {
    /// What a stream keeps beside its bounds of age, bytes and events.
    Retention {
        /// All within the bounds.
        Limits = 0,
        /// Only what some durable consumer has not acknowledged.
        Interest = 1,
        /// What no durable consumer has acknowledged, each event going to one consumer.
        WorkQueue = 2,
    }
}

wire_enum! {
    /// Which last values a stream keeps at hand.
    LastValues {
        /// None.
        Off = 0,
        /// The last event of each topic.
        Topic = 1,
        /// The last event of each key of each topic.
        Key = 2,
    }
}

#[allow(clippy::derivable_impls, reason = "the enum is made by a macro")]
impl Default for LastValues {
    fn default() -> Self {
        Self::Topic
    }
}

policy! {
    /// What readers at different hubs may see of each other.
    Consistency {
        /// A reader never goes back, also when it moves to another hub.
        Monotonic = 0,
        /// One home orders all writes, and what was acknowledged is read everywhere.
        Strong = 1,
        /// Whatever the nearest home has.
        Eventual = 2,
    }
}

policy! {
    /// What becomes of publishes while no home of the stream can be reached.
    Unreachable {
        /// They are refused.
        Refuse = 0,
        /// They are kept on disk at the publisher's hub until one can be.
        Spool = 1,
    }
}

policy! {
    /// What a hub is to a stream that it keeps.
    StreamRole {
        /// Publishes may enter there.
        Home = 0,
        /// A copy to read from.
        Mirror = 1,
    }
}

/// What a stream captures, what it keeps, for how long and where. The default
/// of each number is 0, which leaves the choice to the hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamSpec<'a> {
    /// The stream's name, unique in the mesh.
    pub name: &'a str,
    /// The same at all its homes; 0: the hub that makes it chooses.
    pub id: u64,
    /// Which topics it takes; at most [`MAX_STREAM_FILTERS`].
    pub filters: Vec<&'a str>,
    /// How many bytes it keeps; 0 for any number.
    pub retain_bytes: u64,
    /// How long it keeps events, in milliseconds; 0 for ever.
    pub retain_age_ms: u64,
    /// How many events it keeps; 0 for any number.
    pub retain_events: u64,
    /// The size of its files; 0 for the hub's default.
    pub segment_bytes: u64,
    /// What it keeps within those bounds.
    pub retention: Retention,
    /// Whether only the newest event of each topic and key is kept for good.
    pub compact: bool,
    /// With `compact`: how long an event without payload, which deletes its
    /// key, is kept itself, in milliseconds; 0 for the hub's default.
    pub tombstone_age_ms: u64,
    /// Which last values it keeps at hand.
    pub last: LastValues,
    /// How long after its last event a producer is remembered, in
    /// milliseconds, so that what it publishes again is no second event; 0 for
    /// the hub's default.
    pub dedup_window_ms: u64,
    /// What its readers may see.
    pub consistency: Consistency,
    /// The names of the hubs that keep it and take publishes, at most
    /// [`MAX_HOMES`]; none: the hub that makes it.
    pub homes: Vec<&'a str>,
    /// The stream that this one is a read-only copy of; empty for none.
    pub mirror_of: &'a str,
    /// Of a mirror: the beginning of topics that is replaced, and by what.
    pub mirror_prefix: (&'a str, &'a str),
    /// What becomes of publishes while no home can be reached.
    pub unreachable: Unreachable,
    /// The tenant whose it is, whose quota its bytes count against; empty for
    /// none. Of a client of a tenant the hub says it. Its length stands where version 1
    /// of the protocol had a number, of which only 0 was in use, and its bytes at the
    /// end: to that version a stream of no tenant is what it was, and one of a tenant is refused.
    pub tenant: &'a str,
    /// The largest event it takes, key, headers and payload together, in
    /// bytes; 0 for any.
    pub max_event: u32,
}

fn read_texts<'a>(
    r: &mut Reader<'a>,
    field: &'static str,
    most: usize,
    longest: usize,
) -> Result<Vec<&'a str>, FrameError> {
    r.list(field, most, 2, |r| r.text(field, longest))
}

impl<'a> StreamSpec<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        let mut spec = Self {
            name: r.name("name")?,
            id: r.u64("id")?,
            filters: read_texts(r, "filters", MAX_STREAM_FILTERS, MAX_FILTER)?,
            retain_bytes: r.u64("retain_bytes")?,
            retain_age_ms: r.u64("retain_age_ms")?,
            retain_events: r.u64("retain_events")?,
            segment_bytes: r.u64("segment_bytes")?,
            retention: r.one_of("retention", Retention::from_number)?,
            compact: r.bool("compact")?,
            tombstone_age_ms: r.u64("tombstone_age_ms")?,
            last: r.one_of("last", LastValues::from_number)?,
            dedup_window_ms: r.u64("dedup_window_ms")?,
            consistency: r.one_of("consistency", Consistency::from_number)?,
            homes: read_texts(r, "homes", MAX_HOMES, super::MAX_NAME)?,
            mirror_of: r.name("mirror_of")?,
            mirror_prefix: (r.text("mirror_prefix", MAX_FILTER)?, r.text("mirror_prefix", MAX_FILTER)?),
            unreachable: r.one_of("unreachable", Unreachable::from_number)?,
            tenant: "",
            max_event: 0,
        };
        let tenant = r.u32("tenant")?;
        spec.max_event = r.u32("max_event")?;
        spec.tenant = r.name_of(tenant, "tenant")?;
        Ok(spec)
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.name("name", self.name);
        w.u64(self.id);
        w.list("filters", &self.filters, MAX_STREAM_FILTERS, |w, filter| w.text("filters", filter, MAX_FILTER));
        w.u64(self.retain_bytes);
        w.u64(self.retain_age_ms);
        w.u64(self.retain_events);
        w.u64(self.segment_bytes);
        w.u8(self.retention as u8);
        w.bool(self.compact);
        w.u64(self.tombstone_age_ms);
        w.u8(self.last as u8);
        w.u64(self.dedup_window_ms);
        w.u8(self.consistency as u8);
        w.list("homes", &self.homes, MAX_HOMES, |w, home| w.name("homes", home));
        w.name("mirror_of", self.mirror_of);
        w.text("mirror_prefix", self.mirror_prefix.0, MAX_FILTER);
        w.text("mirror_prefix", self.mirror_prefix.1, MAX_FILTER);
        w.u8(self.unreachable as u8);
        w.len_of("tenant", self.tenant);
        w.u32(self.max_event);
        w.raw(self.tenant.as_bytes());
    }
}

/// A frame with a stream's definition.
macro_rules! with_spec {
    ($(#[doc = $doc:literal])+ $name:ident) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name<'a> {
            /// Chosen by the client.
            pub request: u64,
            /// The definition.
            pub spec: StreamSpec<'a>,
        }

        impl<'a> $name<'a> {
            pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
                Ok(Self { request: r.id(), spec: StreamSpec::read(r)? })
            }

            pub(super) fn write(&self, w: &mut Writer<'_>) {
                w.id(self.request);
                self.spec.write(w);
            }
        }
    };
}

with_spec! {
    /// Makes a stream; answered by [`Done`](super::Done) or `Error`. Making it
    /// again as it is changes nothing.
    StreamCreate
}

with_spec! {
    /// Gives a stream another definition, all of it; answered by
    /// [`Done`](super::Done) or `Error`, which names what cannot be changed.
    StreamAlter
}

/// A frame that names one stream.
macro_rules! about_stream {
    ($(#[doc = $doc:literal])+ $name:ident) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name<'a> {
            /// Chosen by the client.
            pub request: u64,
            /// The stream.
            pub name: &'a str,
        }

        impl<'a> $name<'a> {
            pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
                Ok(Self { request: r.id(), name: r.name("name")? })
            }

            pub(super) fn write(&self, w: &mut Writer<'_>) {
                w.id(self.request);
                w.name("name", self.name);
            }
        }
    };
}

about_stream! {
    /// Deletes a stream and what it keeps; answered by [`Done`](super::Done) or `Error`.
    StreamDelete
}

about_stream! {
    /// Asks for one stream; answered by [`StreamReports`] or `Error`.
    StreamInfo
}

numbers! {
    /// Asks for all streams of the hub; answered by [`StreamReports`].
    StreamList {
        /// Chosen by the client.
        request: u64,
    }
}

/// A stream as it is at one hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamReport<'a> {
    /// Its definition.
    pub spec: StreamSpec<'a>,
    /// The name of the hub that reports.
    pub home: &'a str,
    /// What that hub is to it.
    pub role: StreamRole,
    /// The local sequence of the oldest event it keeps.
    pub first: u64,
    /// The local sequence that the next event will get.
    pub next: u64,
    /// All below this local sequence is on disk.
    pub synced: u64,
    /// The bytes of what it keeps.
    pub bytes: u64,
    /// Of each home, its sequence of the next event from there; at most [`MAX_HOMES`].
    pub position: Vec<(HubId, u64)>,
    /// What it is doing, or what is wrong, for people; empty when nothing is.
    pub state: &'a str,
}

/// Streams as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReports<'a> {
    /// The request.
    pub request: u64,
    /// The streams.
    pub reports: Vec<StreamReport<'a>>,
}

impl<'a> StreamReports<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        let reports = r.list("reports", MAX_LIST, 128, |r| {
            Ok(StreamReport {
                spec: StreamSpec::read(r)?,
                home: r.name("home")?,
                role: r.one_of("role", StreamRole::from_number)?,
                first: r.u64("first")?,
                next: r.u64("next")?,
                synced: r.u64("synced")?,
                bytes: r.u64("bytes")?,
                position: r.list("position", MAX_HOMES, 16, |r| Ok((r.hub("position")?, r.u64("position")?)))?,
                state: r.text("state", super::MAX_TEXT)?,
            })
        })?;
        Ok(Self { request: r.id(), reports })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.list("reports", &self.reports, MAX_LIST, |w, report| {
            report.spec.write(w);
            w.name("home", report.home);
            w.u8(report.role as u8);
            w.u64(report.first);
            w.u64(report.next);
            w.u64(report.synced);
            w.u64(report.bytes);
            w.list("position", &report.position, MAX_HOMES, |w, (hub, next)| {
                w.u64(hub.0);
                w.u64(*next);
            });
            w.cut("state", report.state);
        });
    }
}

/// Asks for a higher level for what was acknowledged before; answered by
/// [`Ack`](super::Ack) once it is reached, or by `Error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AwaitLevel<'a> {
    /// Chosen by the client.
    pub request: u64,
    /// The stream.
    pub stream: &'a str,
    /// The home that the acknowledgement named.
    pub home: HubId,
    /// The home's sequence that the acknowledgement named.
    pub home_sequence: u64,
    /// The level: [`AckLevel::Synced`] or [`AckLevel::Homes`].
    pub level: AckLevel,
    /// With [`AckLevel::Homes`]: of how many homes; else 0.
    pub homes: u8,
}

impl<'a> AwaitLevel<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            request: r.id(),
            stream: r.name("stream")?,
            home: r.hub("home")?,
            home_sequence: r.u64("home_sequence")?,
            level: r.one_of("level", AckLevel::from_number)?,
            homes: r.u8("homes")?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.name("stream", self.stream);
        w.u64(self.home.0);
        w.u64(self.home_sequence);
        w.u8(self.level as u8);
        w.u8(self.homes);
    }
}

/// Asks for last values; answered by a [`Found`](super::Found) for each, in the
/// order of topic and key, and then [`Done`](super::Done), or by `Error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastGet<'a> {
    /// Chosen by the client.
    pub request: u64,
    /// The stream.
    pub stream: &'a str,
    /// Which topics: one, or a filter.
    pub filter: &'a str,
    /// The key, where `has_key`; empty otherwise.
    pub key: &'a [u8],
    /// Whether only events with this key are asked for.
    pub has_key: bool,
    /// The most that are wanted; 0 for as many as the hub gives.
    pub most: u32,
}

impl<'a> LastGet<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            request: r.id(),
            stream: r.name("stream")?,
            filter: r.text("filter", MAX_FILTER)?,
            key: r.bytes("key", MAX_EVENT_KEY)?,
            has_key: r.bool("has_key")?,
            most: r.u32("most")?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.name("stream", self.stream);
        w.text("filter", self.filter, MAX_FILTER);
        w.bytes("key", self.key, MAX_EVENT_KEY);
        w.bool(self.has_key);
        w.u32(self.most);
    }
}
