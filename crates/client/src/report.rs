//! Streams and the mesh as a hub reports them.

use std::time::Duration;

use weft_base::{ByteCount, Epoch, HubId};
pub use weft_wire::frame::DrainState;
use weft_wire::frame::{self, DrainStatus};

use crate::consumer::ConsumerReport;
use crate::definition::{StreamOptions, StreamRole};
use crate::last::LastValue;
use crate::session::BlockAck;

/// The answer to a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Done,
    Streams(Vec<StreamReport>),
    Last(Vec<LastValue>),
    Ack(BlockAck),
    Consumers(Vec<ConsumerReport>),
    Mesh(Box<MeshReport>),
    Why(Box<crate::why::WhyWaiting>),
    Profile(Box<ProfileReport>),
    Live(Box<crate::live::Receipt>),
    Seen(Vec<crate::see::HubSaid>),
    Changes(Vec<crate::change::KnownChange>),
    Drain(Box<DrainReport>),
    Governed(Box<weft_govern::api::Answer>),
}

/// How a hub stands that sends its clients elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// Whether it does.
    pub state: DrainState,
    /// How much of its time is left.
    pub left_of_time: Duration,
    /// Clients that were there when it began.
    pub clients: u32,
    /// Clients that were told where to go.
    pub told: u32,
    /// Clients that went in good order.
    pub moved: u32,
    /// Clients that are still there; those of protocol version 1 stay to the end.
    pub left: u32,
    /// Consumers that still run there and could run elsewhere.
    pub consumers: u32,
    /// Streams there with events that not all other homes within reach have on disk yet.
    pub streams: u32,
}

impl DrainReport {
    pub(crate) fn of(report: &frame::DrainReport) -> Self {
        let DrainStatus { state, left_ms, clients, told, moved, left, consumers, streams } = report.status;
        let left_of_time = Duration::from_millis(left_ms.into());
        Self { state, left_of_time, clients, told, moved, left, consumers, streams }
    }
}

/// A stream as it is at one hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReport {
    /// Its definition.
    pub definition: StreamOptions,
    /// The name of the hub that reports, which keeps it.
    pub home: String,
    /// What that hub is to it.
    pub role: StreamRole,
    /// The sequence of the oldest event it keeps.
    pub first: u64,
    /// The sequence that the next event will get.
    pub next: u64,
    /// All below this sequence is on disk.
    pub synced: u64,
    /// What it keeps.
    pub bytes: ByteCount,
    /// Of each home, its sequence of the next event from there.
    pub position: Vec<(HubId, u64)>,
    /// What it is doing, or what is wrong; empty when nothing is.
    pub state: String,
}

impl StreamReport {
    pub(crate) fn of(report: &frame::StreamReport<'_>) -> Self {
        Self {
            definition: StreamOptions::of(&report.spec),
            home: report.home.to_owned(),
            role: report.role,
            first: report.first,
            next: report.next,
            synced: report.synced,
            bytes: ByteCount(report.bytes),
            position: report.position.clone(),
            state: report.state.to_owned(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// How many events it keeps.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.next.saturating_sub(self.first)
    }
}

/// A hub of the mesh, as another sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubReport {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Its id.
    pub id: HubId,
    /// Its life.
    pub epoch: Epoch,
    /// Whether there is a path to it.
    pub reachable: bool,
    /// It is about to stop; always false where an earlier version reports.
    pub draining: bool,
    /// Over how many links; 0 for the hub itself.
    pub hops: u8,
    /// The time there and back; `None` when it is not known.
    pub rtt: Option<Duration>,
    /// How many filters it wants events for.
    pub interest: u32,
}

/// A link of the mesh, in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkReport {
    /// From this hub.
    pub from: HubId,
    /// To this hub.
    pub to: HubId,
    /// The time there and back; `None` when it is not known.
    pub rtt: Option<Duration>,
    /// What routing reckons with.
    pub cost: u32,
    /// Whether both ends see it.
    pub up: bool,
}

/// The mesh as one hub sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshReport {
    /// The hub that reports; it is among `hubs`.
    pub me: HubId,
    /// Every hub it knows of.
    pub hubs: Vec<HubReport>,
    /// Every link it knows of.
    pub links: Vec<LinkReport>,
    /// Its own counters, by name.
    pub counters: Vec<(String, u64)>,
}

impl MeshReport {
    pub(crate) fn of(report: &frame::MeshReport<'_>) -> Self {
        let drains = |name: &str| {
            report.counters.iter().any(|counter| counter.name.strip_prefix(frame::DRAINING_HUB) == Some(name))
        };
        let hub = |hub: &frame::HubReport<'_>| HubReport {
            name: hub.name.to_owned(),
            region: hub.region.to_owned(),
            id: hub.id,
            epoch: hub.epoch,
            reachable: hub.reachable,
            draining: drains(hub.name),
            hops: hub.hops,
            rtt: known(hub.rtt_ns),
            interest: hub.interest,
        };
        let link = |link: &frame::LinkReport| LinkReport {
            from: link.from,
            to: link.to,
            rtt: known(link.rtt_ns),
            cost: link.cost,
            up: link.up,
        };
        Self {
            me: report.me,
            hubs: report.hubs.iter().map(hub).collect(),
            links: report.links.iter().map(link).collect(),
            counters: report.counters.iter().map(|c| (c.name.to_owned(), c.value)).collect(),
        }
    }

    /// A counter's value, if the hub has it.
    #[must_use]
    pub fn counter(&self, name: &str) -> Option<u64> {
        self.counters.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// The name of a hub, or its number when it is not known.
    #[must_use]
    pub fn name_of(&self, id: HubId) -> String {
        self.hubs.iter().find(|hub| hub.id == id).map_or_else(|| id.to_string(), |hub| hub.name.clone())
    }
}

fn known(nanos: u64) -> Option<Duration> {
    (nanos > 0).then(|| Duration::from_nanos(nanos))
}

/// Where a running hub's time went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileReport {
    /// How long it was looked at.
    pub took: Duration,
    /// Samples taken, those of rare stacks that are not in `stacks` among them.
    pub samples: u64,
    /// Allocations of memory meanwhile.
    pub allocations: u64,
    /// Their bytes.
    pub allocated: ByteCount,
    /// Bytes allocated and not given back at its end.
    pub live: ByteCount,
    /// Stacks in the folded form of flame graph tools, outermost function
    /// first, with their samples; the most frequent first.
    pub stacks: Vec<(String, u64)>,
}

impl ProfileReport {
    pub(crate) fn of(report: &frame::ProfileReport<'_>) -> Self {
        Self {
            took: Duration::from_micros(report.took_us),
            samples: report.samples,
            allocations: report.allocations,
            allocated: ByteCount(report.allocated_bytes),
            live: ByteCount(report.live_bytes),
            stacks: report.stacks.iter().map(|stack| (stack.frames.to_owned(), stack.samples)).collect(),
        }
    }
}
