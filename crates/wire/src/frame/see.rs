//! Where events went, as an operator asks for it: one question to all hubs of
//! the mesh, and what each of them says. Not on the data path: lists are
//! collected.
//!
//! Answers are facts by name, so that a hub may say more than who asks knows
//! of, and less than it hopes for. [`facts`] lists the names.

use weft_base::{Epoch, HubId, ProducerId};

use super::codec::{Reader, Writer, wire_enum};
use super::{FrameError, MAX_FILTER, MAX_TEXT};

/// The most facts that a hub answers with.
pub const MAX_FACTS: usize = 8_192;

/// The most topics that a hub answers a question for topics with.
pub const MAX_TOPICS: u32 = 200;

wire_enum! {
    /// What is asked.
    SeeWhat {
        /// The ledger, by classes of topics.
        Ledger = 1,
        /// What became of an event.
        Event = 2,
        /// Where an event of a topic would go.
        Topic = 4,
        /// How much flows: the ledger of each hub, what it sent over its links by lane, how
        /// long its stages' queues are, and where it is.
        Pulse = 5,
        /// All counters of the hub `origin`; the others say nothing.
        Counters = 6,
        /// Which topics clients of each hub publish, and who does.
        Topics = 7,
    }
}

/// Of a question for topics: which of those that its filter has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicPage<'a> {
    /// Those whose names contain this; empty for all.
    pub search: &'a str,
    /// Those behind this one, in order of their bytes; empty from the first on.
    pub after: &'a str,
    /// So many of each hub at most; 0 for [`MAX_TOPICS`], which is also the most.
    pub most: u32,
}

/// A question to all hubs; answered by one [`Told`] or several. A client asks
/// its hub, and that asks the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask<'a> {
    /// Chosen by who asks.
    pub request: u64,
    /// What.
    pub what: SeeWhat,
    /// How long answers are waited for, in milliseconds; 0 for a second, at most ten.
    pub wait_ms: u32,
    /// Of a topic: that. Of topics: the filter that they match; empty for all. Empty for
    /// other questions.
    pub topic: &'a str,
    /// Of an event: where it entered the mesh, or 0 with `producer`. Of counters: whose.
    pub origin: HubId,
    /// Of an event with `origin`: in which life of that; 0 for any.
    pub epoch: Epoch,
    /// Of an event: who published it, or 0 with `origin`.
    pub producer: ProducerId,
    /// Of an event: its sequence there.
    pub sequence: u64,
    /// Of topics: which. Not written for other questions.
    pub page: TopicPage<'a>,
}

impl<'a> Ask<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        let what = r.one_of("what", SeeWhat::from_number)?;
        Ok(Self {
            request: r.id(),
            what,
            wait_ms: r.u32("wait_ms")?,
            topic: r.text("topic", MAX_FILTER)?,
            origin: r.hub("origin")?,
            epoch: r.epoch("epoch")?,
            producer: ProducerId(r.u64("producer")?),
            sequence: r.u64("sequence")?,
            page: match what {
                SeeWhat::Topics => TopicPage {
                    search: r.text("search", MAX_FILTER)?,
                    after: r.text("after", MAX_FILTER)?,
                    most: r.u32("most")?,
                },
                _ => TopicPage::default(),
            },
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.u8(self.what as u8);
        w.u32(self.wait_ms);
        w.text("topic", self.topic, MAX_FILTER);
        w.u64(self.origin.0);
        w.u32(self.epoch.0);
        w.u64(self.producer.0);
        w.u64(self.sequence);
        if self.what == SeeWhat::Topics {
            w.text("search", self.page.search, MAX_FILTER);
            w.text("after", self.page.after, MAX_FILTER);
            w.u32(self.page.most);
        }
    }
}

/// Why does an event of a topic not reach a subscriber, or would it? A question
/// to all hubs, answered as [`Ask`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WhyNot<'a> {
    /// Chosen by who asks.
    pub request: u64,
    /// How long answers are waited for, in milliseconds; 0 for a second, at most ten.
    pub wait_ms: u32,
    /// The hub where the event would enter the mesh; 0 for the one that the client asks.
    pub from: HubId,
    /// The topic, whether it is one or not.
    pub topic: &'a str,
    /// The name of a client, a stream or a consumer.
    pub subscriber: &'a str,
}

impl<'a> WhyNot<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            request: r.id(),
            wait_ms: r.u32("wait_ms")?,
            from: r.hub("from")?,
            topic: r.text("topic", MAX_FILTER)?,
            subscriber: r.name("subscriber")?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.u32(self.wait_ms);
        w.u64(self.from.0);
        w.text("topic", self.topic, MAX_FILTER);
        w.name("subscriber", self.subscriber);
    }
}

/// One thing that a hub says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact<'a> {
    /// What it is about; see [`facts`].
    pub name: &'a str,
    /// In words, where it is not a number.
    pub text: &'a str,
    /// A number, a time in Unix nanoseconds, or an id.
    pub value: u64,
}

/// What one hub says, or that it did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubTold<'a> {
    /// The hub.
    pub hub: HubId,
    /// Its name.
    pub name: &'a str,
    /// Whether it answered in time.
    pub answered: bool,
    /// How long question and answer took together, in nanoseconds; 0 for the hub that was asked.
    pub took_ns: u64,
    /// How far its clock seemed ahead of the asked hub's when it answered, in
    /// nanoseconds, as if both ways took as long: give or take half of `took_ns`.
    pub ahead_ns: i64,
    /// What it says.
    pub facts: Vec<Fact<'a>>,
}

/// What hubs say to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<'a> {
    /// The question.
    pub request: u64,
    /// Others follow.
    pub more: bool,
    /// Those that said something, and in the last one those that did not.
    pub hubs: Vec<HubTold<'a>>,
}

impl<'a> Told<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        let more = r.bool("more")?;
        let hubs = r.list("hubs", MAX_FACTS, 31, |r| {
            Ok(HubTold {
                hub: r.hub("hub")?,
                name: r.name("name")?,
                answered: r.bool("answered")?,
                took_ns: r.u64("took_ns")?,
                ahead_ns: r.u64("ahead_ns")?.cast_signed(),
                facts: r.list("facts", MAX_FACTS, 12, |r| {
                    Ok(Fact { name: r.name("name")?, text: r.text("text", MAX_TEXT)?, value: r.u64("value")? })
                })?,
            })
        })?;
        Ok(Self { request: r.id(), more, hubs })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.bool(self.more);
        w.list("hubs", &self.hubs, MAX_FACTS, |w, hub| {
            w.u64(hub.hub.0);
            w.name("name", hub.name);
            w.bool(hub.answered);
            w.u64(hub.took_ns);
            w.u64(hub.ahead_ns.cast_unsigned());
            w.list("facts", &hub.facts, MAX_FACTS, |w, fact| {
                w.name("name", fact.name);
                w.cut("text", fact.text);
                w.u64(fact.value);
            });
        });
    }
}

/// The names of facts.
pub mod facts {
    /// Every answer: the hub's clock when it answered.
    pub const CLOCK: &str = "clock";
    /// Ledger: begins the name of a count of the whole hub, such as `ledger.copies`.
    pub const LEDGER: &str = "ledger.";
    /// Ledger: begins the name of a count of a class, such as `class.orders.copies`.
    pub const CLASS: &str = "class.";
    /// Ledger: begins the name of a count of what crossed the links to the hub that the
    /// text names, such as `link.out.orders`: `out`, `in`, `unsure` or `off`, and the class.
    pub const LINK: &str = "link.";
    /// Pulse: where the hub is, as its configuration says: latitude and longitude in degrees,
    /// such as `40.64,-73.78`.
    pub const PLACE: &str = "place";
    /// Pulse: a neighbour that is dialled and cannot be reached, by its name.
    pub const MISSED: &str = "missed";
    /// Pulse: begins the name of what was sent over the links to the hub that the text
    /// names since the start: `flow.0` to `flow.7`, events by lane, and `flow.bytes`.
    pub const FLOW: &str = "flow.";
    /// Pulse: begins the name of how long what came last waited for a stage, in
    /// microseconds, such as `wait.append`.
    pub const WAIT: &str = "wait.";
    /// Counters: begins the name of a counter, such as `counter.peers.sent`.
    pub const COUNTER: &str = "counter.";
    /// Topics: a topic that clients here publish, and how many sessions do. Those that
    /// published most of it follow, each [`BY`]. In order of name.
    pub const PUBLISHED: &str = "published";
    /// Topics: what a client calls itself, and how many events of the topic it published.
    /// [`PRINCIPAL`] and [`LAST_AT`] follow.
    pub const BY: &str = "by";
    /// Topics: who it is, as `TENANT/NAME` or the name alone; nothing where nobody asked.
    pub const PRINCIPAL: &str = "principal";
    /// Topics: when it published one last.
    pub const LAST_AT: &str = "last_at";
    /// Topics: there are more behind the last one.
    pub const MORE: &str = "more";
    /// Topics: so many sessions here publish more topics than the hub has room to remember.
    pub const UNTOLD: &str = "untold";
    /// Event: the hub remembers so many blocks.
    pub const WINDOW: &str = "window";
    /// Event: the oldest block that it remembers entered the mesh then.
    pub const REACHES_BACK: &str = "reaches_back";
    /// Event: the hub remembers it. All that follow are of its block.
    pub const FOUND: &str = "found";
    /// The name of the hub where it entered, and its sequence there.
    pub const ORIGIN: &str = "origin";
    /// The life of that hub.
    pub const EPOCH: &str = "epoch";
    /// When it entered.
    pub const INGESTED: &str = "ingested";
    /// Who published it, in hexadecimal, and its sequence there.
    pub const PRODUCER: &str = "producer";
    /// So many events are in its block.
    pub const EVENTS: &str = "events";
    /// The neighbour that it came from; nothing when a client published it here.
    pub const FROM: &str = "from";
    /// When it came from its socket.
    pub const CAME_AT: &str = "came_at";
    /// When it was routed.
    pub const ROUTED_AT: &str = "routed_at";
    /// Copies that were made here.
    pub const COPIES: &str = "copies";
    /// Of them: written to subscribers.
    pub const DELIVERED: &str = "delivered";
    /// When one was last.
    pub const DELIVERED_AT: &str = "delivered_at";
    /// Stored in streams here.
    pub const STORED: &str = "stored";
    /// When one was last.
    pub const STORED_AT: &str = "stored_at";
    /// Written to links, or stored by a stream at another hub.
    pub const FORWARDED: &str = "forwarded";
    /// Written to the spool.
    pub const SPOOLED: &str = "spooled";
    /// Still here.
    pub const IN_FLIGHT: &str = "in_flight";
    /// It came so many times more.
    pub const AGAIN: &str = "again";
    /// A neighbour that it was written to.
    pub const SENT_TO: &str = "sent_to";
    /// When it was last written to a link.
    pub const SENT_AT: &str = "sent_at";
    /// Begins the name of a drop: `dropped.no_interest`, copies.
    pub const DROPPED: &str = "dropped.";
    /// A stream here that took it, and the first sequence of its block at that
    /// stream's home. Topic: a stream here that would take it.
    pub const STREAM: &str = "stream";
    /// Topic and why not, of the hub where it would be published: what it becomes
    /// there, in so many of a thousand cases; no text where it is dropped.
    pub const MAPPED: &str = "mapped";
    /// Topic and why not: why the hub's mapping refuses it, in so many of a thousand cases.
    pub const UNMAPPABLE: &str = "unmappable";
    /// Topic: live subscriptions here that would get it.
    pub const LOCAL: &str = "local";
    /// Topic: a group here or elsewhere, one member of which would get it, and how many are here.
    pub const GROUP: &str = "group";
    /// Topic: a stream that would wait for its home in the spool here.
    pub const TO_SPOOL: &str = "to_spool";
    /// Topic: another hub that it would go to; 1 when that is to store it, 0 for
    /// live subscribers. [`VIA`] follows.
    pub const TO: &str = "to";
    /// Topic: the neighbour on the way there, and how many links; nothing where
    /// there is no path.
    pub const VIA: &str = "via";

    /// Why not: the event would enter the mesh at this hub.
    pub const ENTRY: &str = "entry";
    /// At the entry: why nothing can be published on the topic.
    pub const TOPIC_REFUSED: &str = "topic_refused";
    /// A hub that is about to stop, by its name: what the hub knows, of itself too.
    /// Its clients go elsewhere, and what others can carry and serve they do.
    pub const DRAINING: &str = "draining";
    /// At the entry: a rule binds the topic to this label.
    pub const BOUND: &str = "bound";
    /// At the entry: a hub that does not carry the label that the topic is bound to.
    pub const OUTSIDE: &str = "outside";
    /// At the entry: a hub that carries it, and to which all ways lead over others
    /// that do not.
    pub const NO_BOUND_WAY: &str = "no_bound_way";
    /// At the entry: a stream that would take the topic in, and keeps nothing that
    /// is bound to the label. [`AT`] follows: a home of it without the label.
    pub const BARRED: &str = "barred";
    /// At the entry: a hub that no path leads to, and since when.
    pub const UNREACHABLE: &str = "unreachable";
    /// A hub that there was a link to, or is to be one, and is none, and since when;
    /// [`REASON`] follows.
    pub const LINK_DOWN: &str = "link_down";
    /// Why, in words.
    pub const REASON: &str = "reason";
    /// At the entry: a hub, and the version of its interest that is known here.
    /// [`VIA`] and [`WAY_RTT`] follow.
    pub const INTEREST: &str = "interest";
    /// The version of this hub's own interest that it tells the mesh.
    pub const INTEREST_TOLD: &str = "interest_told";
    /// At the entry: publishes on the topic wait for this subscriber; for how long
    /// it has been behind, in milliseconds. [`AT`] follows.
    pub const HELD_FOR: &str = "held_for";
    /// The hub of what was said before.
    pub const AT: &str = "at";
    /// Follows [`VIA`]: the round trips of the way added up, in nanoseconds.
    pub const WAY_RTT: &str = "way_rtt";
    /// A session of the subscriber here. Its subscriptions follow.
    pub const CLIENT: &str = "client";
    /// A subscription of it: the filter, and its number. What is said of it follows.
    pub const SUBSCRIPTION: &str = "subscription";
    /// It shares its events with this group.
    pub const OF_GROUP: &str = "of_group";
    /// It reads this stream.
    pub const OF_STREAM: &str = "of_stream";
    /// It is a member of this consumer, `STREAM/NAME`.
    pub const OF_CONSUMER: &str = "of_consumer";
    /// What happens where its queue is full.
    pub const POLICY: &str = "policy";
    /// Events that it may be sent still.
    pub const CREDIT_EVENTS: &str = "credit_events";
    /// Bytes that it may be sent still.
    pub const CREDIT_BYTES: &str = "credit_bytes";
    /// It has had no credit since then.
    pub const NO_CREDIT_SINCE: &str = "no_credit_since";
    /// Events that wait for it.
    pub const WAITING: &str = "waiting";
    /// For so many nanoseconds the oldest of them.
    pub const WAITED: &str = "waited";
    /// The bound of its queue, in events.
    pub const QUEUE: &str = "queue";
    /// Events that were dropped for it, and the reason of the last.
    pub const LOST: &str = "lost";
    /// Its queue is so full that its publishers are held back.
    pub const GATE_CLOSED: &str = "gate_closed";
    /// Events that it was sent.
    pub const GOT: &str = "got";
    /// When it was sent one last.
    pub const GOT_AT: &str = "got_at";
    /// A name that is like the one that was asked for.
    pub const ALIKE: &str = "alike";
    /// There is a stream of the name here: 0 a home of it, 1 a mirror. What is said
    /// of it follows.
    pub const IS_STREAM: &str = "is_stream";
    /// A filter of it.
    pub const FILTER: &str = "filter";
    /// There is a consumer of the name here, `STREAM/NAME`. What is said of it follows.
    pub const IS_CONSUMER: &str = "is_consumer";
    /// How it shares.
    pub const MODE: &str = "mode";
    /// It hands out nothing until then; the largest number: until it is resumed.
    pub const PAUSED_UNTIL: &str = "paused_until";
    /// A member, and how many events it has.
    pub const MEMBER: &str = "member";
    /// A member that waits its turn: another one gets everything.
    pub const IDLE_MEMBER: &str = "idle_member";
    /// Events that are handed out and not settled.
    pub const UNSETTLED: &str = "unsettled";
    /// How many may be.
    pub const UNSETTLED_MOST: &str = "unsettled_most";
    /// Events of the stream that it has not done with.
    pub const LAG: &str = "lag";
    /// Events that its filters or its predicate did not want.
    pub const FILTERED: &str = "filtered";
    /// It has a predicate that an event must satisfy.
    pub const PREDICATE: &str = "predicate";
}
