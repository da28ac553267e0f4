//! Consumers as an operator makes, asks for and steers them. Not on the data
//! path: lists are collected. What is on it, handing out and settling, is in
//! `handout`.

use super::codec::{Reader, Writer, wire_enum};
use super::native::numbers;
use super::{FrameClause, FrameError, MAX_BACKOFF, MAX_CONSUMER_FILTERS, MAX_FILTER, MAX_LIST, MAX_PREDICATE, Start};
use weft_base::SubscriptionId;

wire_enum! {
    /// How the members of a consumer share its events.
    ConsumerMode {
        /// Each block goes to one member, whoever has room.
        Shared = 0,
        /// One member gets everything; the others stand by.
        Exclusive = 1,
        /// The events of one key go to one member, in order.
        Keyed = 2,
    }
}

wire_enum! {
    /// How fast a consumer is served what the stream had before.
    Replay {
        /// As fast as its members take it.
        Full = 0,
        /// At the distances in which it entered the mesh.
        Original = 1,
    }
}

wire_enum! {
    /// What [`ConsumerControl`] does.
    ConsumerAction {
        /// Nothing is handed out until `value` (milliseconds since 1970; 0: until
        /// it is resumed).
        Pause = 0,
        /// Handing out goes on.
        Resume = 1,
        /// The consumer begins again at `start`; what is in flight is forgotten.
        Reset = 2,
        /// The consumer is served by the home of this name whenever that can be
        /// reached; by any for an empty one.
        Move = 3,
    }
}

/// What a consumer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSpec<'a> {
    /// Its name, unique in its stream.
    pub name: &'a str,
    /// Which topics; all of the stream's when empty; at most [`MAX_CONSUMER_FILTERS`].
    pub filters: Vec<&'a str>,
    /// Which events: a condition on headers, key, topic, length and time, at
    /// most [`MAX_PREDICATE`] bytes; all when empty.
    pub predicate: &'a str,
    /// Where a new consumer starts.
    pub start: Start,
    /// How members share.
    pub mode: ConsumerMode,
    /// How long a member has for an event before it is handed out again, in
    /// milliseconds; 0 for the hub's default.
    pub ack_wait_ms: u64,
    /// How often an event is handed out at most; 0 for any number.
    pub max_deliver: u32,
    /// How long to wait before handing out again, in milliseconds, by attempt;
    /// the last serves for all that follow; at most [`MAX_BACKOFF`].
    pub backoff_ms: Vec<u64>,
    /// The most events handed out and not settled; 0 for the hub's default.
    pub max_in_flight: u32,
    /// How fast the past is served.
    pub replay: Replay,
    /// Whether events that are given up go to a stream of dead letters.
    pub dead_letters: bool,
    /// That stream; empty for the stream's name and `-dead`.
    pub dead_stream: &'a str,
    /// Without members for this long the consumer is deleted, in milliseconds;
    /// 0 for never.
    pub inactive_ms: u64,
}

impl<'a> ConsumerSpec<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            name: r.name("name")?,
            filters: r.list("filters", MAX_CONSUMER_FILTERS, 2, |r| r.text("filter", MAX_FILTER))?,
            predicate: r.text("predicate", MAX_PREDICATE)?,
            start: Start::read(r)?,
            mode: r.one_of("mode", ConsumerMode::from_number)?,
            ack_wait_ms: r.u64("ack_wait_ms")?,
            max_deliver: r.u32("max_deliver")?,
            backoff_ms: r.list("backoff_ms", MAX_BACKOFF, 8, |r| r.u64("backoff"))?,
            max_in_flight: r.u32("max_in_flight")?,
            replay: r.one_of("replay", Replay::from_number)?,
            dead_letters: r.bool("dead_letters")?,
            dead_stream: r.name("dead_stream")?,
            inactive_ms: r.u64("inactive_ms")?,
        })
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.name("name", self.name);
        w.list("filters", &self.filters, MAX_CONSUMER_FILTERS, |w, filter| w.text("filter", filter, MAX_FILTER));
        w.text("predicate", self.predicate, MAX_PREDICATE);
        self.start.write(w);
        w.u8(self.mode as u8);
        w.u64(self.ack_wait_ms);
        w.u32(self.max_deliver);
        w.list("backoff_ms", &self.backoff_ms, MAX_BACKOFF, |w, wait| w.u64(*wait));
        w.u32(self.max_in_flight);
        w.u8(self.replay as u8);
        w.bool(self.dead_letters);
        w.name("dead_stream", self.dead_stream);
        w.u64(self.inactive_ms);
    }
}

/// Makes a consumer; answered by [`Done`](super::Done) or `Error`. Making it
/// again as it is changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerCreate<'a> {
    /// Chosen by the client.
    pub request: u64,
    /// Of which stream.
    pub stream: &'a str,
    /// What to make.
    pub spec: ConsumerSpec<'a>,
}

impl<'a> ConsumerCreate<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self { request: r.id(), stream: r.name("stream")?, spec: ConsumerSpec::read(r)? })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.name("stream", self.stream);
        self.spec.write(w);
    }
}

/// A frame that names one consumer.
macro_rules! about_consumer {
    ($(#[doc = $doc:literal])+ $name:ident) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name<'a> {
            /// Chosen by the client.
            pub request: u64,
            /// Of which stream.
            pub stream: &'a str,
            /// The consumer.
            pub name: &'a str,
        }

        impl<'a> $name<'a> {
            pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
                Ok(Self { request: r.id(), stream: r.name("stream")?, name: r.name("name")? })
            }

            pub(super) fn write(&self, w: &mut Writer<'_>) {
                w.id(self.request);
                w.name("stream", self.stream);
                w.name("name", self.name);
            }
        }
    };
}

about_consumer! {
    /// Deletes a consumer; answered by [`Done`](super::Done) or `Error`.
    ConsumerDelete
}

about_consumer! {
    /// Asks for one consumer, or with an empty name for all of the stream;
    /// answered by [`ConsumerReports`] or `Error`.
    ConsumerInfo
}

/// A member of a consumer as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberReport<'a> {
    /// The name of its client.
    pub name: &'a str,
    /// Its fencing token; 0 while it stands by.
    pub token: u64,
    /// Events handed out to it and not settled.
    pub in_flight: u64,
}

/// A consumer as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerReport<'a> {
    /// What it is.
    pub spec: ConsumerSpec<'a>,
    /// All below this sequence is settled.
    pub floor: u64,
    /// The sequence that is handed out next for the first time.
    pub next: u64,
    /// How many events of the stream it has not settled, up to the end of what
    /// is on disk.
    pub lag: u64,
    /// Events handed out and not settled.
    pub in_flight: u64,
    /// Events handed out more than once.
    pub redelivered: u64,
    /// Events given up to dead letters.
    pub dead: u64,
    /// Events that expired before anybody had them.
    pub expired: u64,
    /// Its members.
    pub members: Vec<MemberReport<'a>>,
    /// Until when it is paused, in milliseconds since 1970; 0 when it is not,
    /// `u64::MAX` until it is resumed.
    pub paused_until: u64,
    /// The home at which it runs.
    pub seat: &'a str,
}

/// The consumers that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerReports<'a> {
    /// The request.
    pub request: u64,
    /// The consumers.
    pub reports: Vec<ConsumerReport<'a>>,
}

/// The least bytes a report has: the fixed fields and empty lists and texts.
const LEAST_REPORT: usize = 120;

impl<'a> ConsumerReports<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        let reports = r.list("reports", MAX_LIST, LEAST_REPORT, |r| {
            Ok(ConsumerReport {
                spec: ConsumerSpec::read(r)?,
                floor: r.u64("floor")?,
                next: r.u64("next")?,
                lag: r.u64("lag")?,
                in_flight: r.u64("in_flight")?,
                redelivered: r.u64("redelivered")?,
                dead: r.u64("dead")?,
                expired: r.u64("expired")?,
                members: r.list("members", MAX_LIST, 18, |r| {
                    Ok(MemberReport {
                        name: r.name("member")?,
                        token: r.u64("token")?,
                        in_flight: r.u64("member in_flight")?,
                    })
                })?,
                paused_until: r.u64("paused_until")?,
                seat: r.name("seat")?,
            })
        })?;
        Ok(Self { request: r.id(), reports })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.list("reports", &self.reports, MAX_LIST, |w, report| {
            report.spec.write(w);
            w.u64(report.floor);
            w.u64(report.next);
            w.u64(report.lag);
            w.u64(report.in_flight);
            w.u64(report.redelivered);
            w.u64(report.dead);
            w.u64(report.expired);
            w.list("members", &report.members, MAX_LIST, |w, member| {
                w.name("member", member.name);
                w.u64(member.token);
                w.u64(member.in_flight);
            });
            w.u64(report.paused_until);
            w.name("seat", report.seat);
        });
    }
}

/// A wish to be a member of a consumer; answered by [`Consuming`] or `Error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consume<'a> {
    /// Chosen by the client, unique in its session among subscriptions too.
    pub id: SubscriptionId,
    /// Of which stream.
    pub stream: &'a str,
    /// The consumer.
    pub consumer: &'a str,
    /// How many events may be handed out; `u64::MAX` for any number.
    pub credit_events: u64,
    /// How many bytes of blocks may be handed out; `u64::MAX` for any number.
    pub credit_bytes: u64,
}

impl<'a> Consume<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            id: SubscriptionId(r.id()),
            stream: r.name("stream")?,
            consumer: r.name("consumer")?,
            credit_events: r.u64("credit_events")?,
            credit_bytes: r.u64("credit_bytes")?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.id.0);
        w.name("stream", self.stream);
        w.name("consumer", self.consumer);
        w.u64(self.credit_events);
        w.u64(self.credit_bytes);
    }
}

numbers! {
    /// The member is in. Sent again, with another token, when an exclusive
    /// consumer's member is made active.
    Consuming {
        /// The subscription.
        id: SubscriptionId,
        /// The fencing token that its `Settle` frames carry; 0 while it stands by.
        token: u64,
        /// How many events wait to be handed out again.
        redeliver: u64,
    }
}

/// Steers a consumer; answered by [`Done`](super::Done) or `Error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerControl<'a> {
    /// Chosen by the client.
    pub request: u64,
    /// Of which stream.
    pub stream: &'a str,
    /// The consumer.
    pub name: &'a str,
    /// What to do.
    pub action: ConsumerAction,
    /// Pause: until when, in milliseconds since 1970, 0 until it is resumed.
    /// Zero otherwise.
    pub value: u64,
    /// Reset: where to begin; [`Start::New`] otherwise.
    pub start: Start,
    /// Move: the home's name; empty otherwise.
    pub home: &'a str,
}

impl<'a> ConsumerControl<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        let stream = r.name("stream")?;
        let name = r.name("name")?;
        let action = r.one_of("action", ConsumerAction::from_number)?;
        let value = r.u64("value")?;
        let start = Start::read(r)?;
        let home = r.name("home")?;
        let sound = (value == 0 || action == ConsumerAction::Pause)
            && (start == Start::New || action == ConsumerAction::Reset)
            && (home.is_empty() || action == ConsumerAction::Move);
        if !sound {
            return r.refuse(FrameClause::Value, "action", action as u64);
        }
        Ok(Self { request: r.id(), stream, name, action, value, start, home })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.name("stream", self.stream);
        w.name("name", self.name);
        w.u8(self.action as u8);
        w.u64(self.value);
        self.start.write(w);
        w.name("home", self.home);
    }
}
