//! What a hub is told when it starts. Plain values without a file format:
//! the program's configuration is mapped onto them.

mod audit;
mod control;
mod limits;
mod location;
mod names;
mod paths;
mod picks;
mod reload;
mod routing;
mod stages;
mod timers;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use weft_base::ByteCount;
use weft_mesh::MAX_HUBS;
pub use weft_mesh::PickOptions;
use weft_pack::Codec;
use weft_topic::mapping::{Mapping, Mappings};
pub use weft_transport::dns::DnsOptions;
use weft_transport::{QuicOptions, Security, shm};
use weft_wire::frame::{MAX_CLIENT_ADDRESS, MAX_PLACES, PROTOCOL_VERSION, PROTOCOL_VERSION_LEAST};

pub use self::audit::AuditOptions;
pub(crate) use self::control::violations_with;
pub use self::control::{ControlOptions, MAX_CONTROL_STATE, MAX_VOTERS};
pub use self::limits::Limits;
pub use self::location::Location;
pub use self::names::{MAX_NAMES, MAX_TARGETS};
pub use self::paths::Paths;
pub use self::picks::MAX_SEEDS;
pub use self::routing::{MAX_RESIDENCY, ResidencyRule, Routing};
pub use self::stages::StageBounds;
pub use self::timers::Timers;
use crate::budget;
use crate::see::SeeOptions;

/// Everything that a hub is told at its start.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// The hub's name, unique in the mesh: 1 to 64 of `a-z`, `0-9` and `-`.
    pub name: String,
    /// The mesh's name: hubs of another one are refused. 1 to 64 of the same characters.
    pub mesh: String,
    /// The region's label; hubs of one region are close. 1 to 64 of the same characters.
    pub region: String,
    /// Where it stands on the map; nothing is decided by it.
    pub location: Option<Location>,
    /// Labels that say where the hub is or what holds there: at most 16, of the
    /// same characters. All hubs are told them; nothing is held back by them.
    pub labels: Vec<String>,
    /// Which events that enter the mesh here may be only at hubs with a label; at
    /// most [`MAX_RESIDENCY`].
    pub residency: Vec<ResidencyRule>,
    /// Where clients connect.
    pub clients: Vec<Listen>,
    /// Where other hubs connect; never [`Security::Plain`].
    pub hubs: Option<Listen>,
    /// Further addresses where they do, with the same certificate.
    pub hubs_also: Vec<String>,
    /// Where other hubs reach it, when that is not where it listens: told to the
    /// mesh and to those who join. At most 8.
    pub advertise: Vec<String>,
    /// How blocks of links may come packed, where the hub that dialled asks for it.
    pub packings: Vec<Codec>,
    /// Bounds of links by QUIC: those at, or to, addresses of the form `quic:HOST:PORT`.
    pub quic: QuicOptions,
    /// Hubs that this one keeps a link to.
    pub neighbours: Vec<Neighbour>,
    /// Hubs that it links to besides, by policy. `None`: it picks none.
    pub pick: Option<PickOptions>,
    /// How what goes over those links is packed, in both directions, where the other
    /// hub takes it. Default `None`: as it is.
    pub pick_packing: Option<Codec>,
    /// Where a hub is dialled that has no link: any of these, or of the hubs that it
    /// knows of, once; at most [`MAX_SEEDS`]. As [`Neighbour::addr`].
    pub seeds: Vec<String>,
    /// How names in DNS are looked up that stand for hubs.
    pub dns: DnsOptions,
    /// The identity with which this hub dials its neighbours.
    pub link_security: Option<Security>,
    /// The folder of the streams; without one the hub keeps none.
    pub data: Option<PathBuf>,
    /// How the stages share threads.
    pub threads: Threads,
    /// Threads that check what clients publish, beside the route stage, which
    /// does so without them: at most 16. `None`: one for each core beyond the
    /// second, of which as many are used as are worth it.
    pub admit_threads: Option<u32>,
    /// What the stages' controllers may do, with [`Threads::Auto`].
    pub stages: StageBounds,
    /// What ways through the mesh are found by.
    pub routing: Routing,
    /// Which lanes go over two paths.
    pub paths: Paths,
    /// The bounds of every queue, window, table and buffer.
    pub limits: Limits,
    /// What a stream gets where its creator names nothing.
    pub stream_defaults: StreamDefaults,
    /// How what lies on the disk is looked after.
    pub storage: Storage,
    /// What happens to publishes that wait too long inside the hub, per lane.
    pub load: [LoadPolicy; weft_base::Lane::COUNT],
    /// The data folder becomes a new one as far as other hubs are concerned: for
    /// one start of a folder that was copied, set back or renamed.
    pub new_instance: bool,
    /// How it takes part in replicating the control state; without `data` it does not.
    pub control: ControlOptions,
    /// Its audit log.
    pub audit: AuditOptions,
    /// What the mesh's timers run on.
    pub timers: Timers,
    /// The newest version of the protocol that is spoken, while hubs are upgraded one after the other.
    pub protocol_most: u16,
    /// The oldest version that links to other hubs may speak; clients are not held
    /// to it. Hubs of version 1 compare no settings and are held against nothing
    /// that is remembered of them.
    pub protocol_least: u16,
    /// Names of clients' certificates that may have this hub do what concerns others, such as drain.
    pub admins: Vec<String>,
    /// Clients that show nothing, neither certificate nor token, are let in as
    /// `anonymous` where who they are is asked ([`Environment::door`](crate::Environment)):
    /// for a hub in development. That can only be on loopback, as all plain text.
    pub anonymous: bool,
    /// Where clients of other hubs may go on at this one, the best first, at most
    /// 16: `HOST:PORT`, or `quic:HOST:PORT`.
    pub advertise_clients: Vec<String>,
    /// For whoever runs the hub: how long its clients have to go elsewhere when
    /// the process is told to stop. `None`: they are closed at once.
    pub drain_on_stop: Option<Duration>,
    /// What is kept to say where events went.
    pub see: SeeOptions,
    /// What topics of what clients of this hub publish become. Names of rules are
    /// 1 to 64 of `a-z`, `0-9` and `-`, and no numbers.
    pub mapping: Mappings,
}

/// The most of [`HubOptions::admit_threads`].
pub const MAX_ADMIT_THREADS: usize = crate::admit::NAMES.len();

/// An address to listen on.
#[derive(Clone, Debug)]
pub struct Listen {
    /// `HOST:PORT`, or `quic:HOST:PORT`, where port 0 takes a free one; or, for clients of this host
    /// and user, `shm:PATH`, the path of the socket that gives them shared memory.
    pub addr: String,
    /// Plain text (loopback only) or mutual TLS; says nothing for shared memory.
    pub security: Security,
}

/// A hub to keep a link to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// `HOST:PORT` of its listener for hubs, or `quic:HOST:PORT`; or a name in DNS
    /// of any number of them ([`Sought`]).
    pub addr: String,
    /// The addresses of its host, where they are known; none: it is looked up.
    pub at: Vec<IpAddr>,
    /// Its name; when given, a hub of another name is refused.
    pub name: Option<String>,
    /// Added to the measured round-trip time, in microseconds, when paths are compared.
    pub cost: u32,
    /// What a GB over the link costs, in any unit that all hubs of the mesh use;
    /// counts by [`Routing::weights`].
    pub price_per_gb: u32,
    /// How blocks are packed on the link, in both directions, if the neighbour takes that.
    pub packing: Option<Codec>,
    /// How many connections the link has, from 1 to [`MAX_LINK_CONNECTIONS`], if
    /// the neighbour takes so many; lanes are spread over them. By TCP alone: by
    /// QUIC a link has a channel for each lane.
    pub connections: u8,
}

impl Default for Neighbour {
    /// Nobody's address; a link of one connection that costs nothing.
    fn default() -> Self {
        Self {
            addr: String::new(),
            at: Vec::new(),
            name: None,
            cost: 0,
            price_per_gb: 0,
            packing: None,
            connections: 1,
        }
    }
}

/// The most of [`Neighbour::connections`]: one for each lane.
pub const MAX_LINK_CONNECTIONS: u8 = 8;

/// Which stages share a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Threads {
    /// As `Shared` at first; then stages get threads of their own, and
    /// admission gets shards, where cores are left and throughput gains by it.
    #[default]
    Auto,
    /// All stages take turns on one thread: nothing is handed over between
    /// cores, and nothing needs waking. Best on few cores.
    Shared,
    /// Each stage has a thread of its own.
    Dedicated,
}

/// What happens to a lane's publishes when they wait too long inside the hub,
/// which happens when it has more to do than it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum LoadPolicy {
    /// Nothing: they wait.
    #[default]
    Off = 0,
    /// Their publishers are not read on until there is room: nothing is lost.
    Wait = 1,
    /// Those that have waited longest are dropped and counted.
    ShedOldest = 2,
    /// Those that come are dropped and counted.
    ShedNewest = 3,
    /// Those that come are refused, with a time after which to try again.
    Refuse = 4,
}

/// What a stream gets where its creator names nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDefaults {
    /// The size of a segment file.
    pub segment: ByteCount,
    /// How much a stream keeps; the oldest segment goes first. `None`: no bound but the disk.
    pub retain_bytes: Option<ByteCount>,
    /// How long a stream keeps an event. `None`: for ever.
    pub retain_age: Option<Duration>,
}

impl Default for StreamDefaults {
    fn default() -> Self {
        Self { segment: ByteCount::mib(64), retain_bytes: None, retain_age: None }
    }
}

/// How what lies on the disk is looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Bytes a second, at most, that are read of the streams to find damage; 0
    /// for none. One block more is read at a time, where that is larger.
    pub verify: ByteCount,
    /// Each stream is read once in this time, at most; all of them once begin
    /// when the hub has started.
    pub verify_every: Duration,
    /// The largest damaged range of a stream, in bytes, that is repaired from
    /// another home while the hub runs; 0: none is. So much is in memory.
    pub repair: ByteCount,
    /// Between two repairs, or tries, of all streams together.
    pub repair_pause: Duration,
    /// What could not be repaired is tried again after ever longer pauses, at
    /// most this one.
    pub repair_backoff: Duration,
    /// With keys the segments of streams are encrypted: [`LogOptions::keys`](weft_log::LogOptions::keys).
    pub keys: Option<weft_log::Keys>,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            verify: ByteCount::mib(4),
            verify_every: Duration::from_secs(7 * 24 * 60 * 60),
            repair: ByteCount::mib(16),
            repair_pause: Duration::from_secs(1),
            repair_backoff: Duration::from_secs(10 * 60),
            keys: None,
        }
    }
}

/// The urgent lanes are left alone; the others lose nothing and wait.
const DEFAULT_LOAD: [LoadPolicy; weft_base::Lane::COUNT] = {
    use LoadPolicy::{Off, Wait};
    [Off, Off, Off, Off, Wait, Wait, Wait, Wait]
};

impl HubOptions {
    /// A hub of this name in the region `local` that listens nowhere, keeps
    /// nothing and has the default limits: what tests and tools start from.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            mesh: "weft".to_owned(),
            region: "local".to_owned(),
            location: None,
            labels: Vec::new(),
            residency: Vec::new(),
            clients: Vec::new(),
            hubs: None,
            hubs_also: Vec::new(),
            advertise: Vec::new(),
            packings: Codec::ALL.to_vec(),
            quic: QuicOptions::default(),
            neighbours: Vec::new(),
            pick: None,
            pick_packing: None,
            seeds: Vec::new(),
            dns: DnsOptions::default(),
            link_security: None,
            data: None,
            threads: Threads::Auto,
            admit_threads: None,
            stages: StageBounds::default(),
            routing: Routing::default(),
            paths: Paths::default(),
            limits: Limits::default(),
            stream_defaults: StreamDefaults::default(),
            storage: Storage::default(),
            audit: AuditOptions::default(),
            load: DEFAULT_LOAD,
            timers: Timers::default(),
            protocol_most: PROTOCOL_VERSION,
            admins: Vec::new(),
            anonymous: false,
            protocol_least: PROTOCOL_VERSION_LEAST,
            advertise_clients: Vec::new(),
            drain_on_stop: None,
            see: SeeOptions::default(),
            mapping: Mappings::default(),
            new_instance: false,
            control: ControlOptions::default(),
        }
    }

    /// Where it tells the mesh that it is dialled, being bound to these addresses:
    /// as configured, or these, but those that stand for every address of the machine.
    pub(crate) fn addresses(&self, bound: &[String]) -> Vec<String> {
        if !self.advertise.is_empty() {
            return self.advertise.clone();
        }
        let is_one = |address: &&String| {
            let socket = weft_transport::quic::target_of(address).unwrap_or(address);
            socket.parse::<std::net::SocketAddr>().is_ok_and(|socket| !socket.ip().is_unspecified())
        };
        bound.iter().filter(is_one).cloned().collect()
    }

    /// Where hubs connect, and where this one connects to hubs.
    pub(crate) fn link_addresses(&self) -> impl Iterator<Item = &String> {
        let listened = self.hubs.iter().map(|listen| &listen.addr).chain(&self.hubs_also);
        listened.chain(self.neighbours.iter().map(|hub| &hub.addr)).chain(&self.seeds)
    }

    /// All that is wrong with these options, each as the field's path and a
    /// sentence that says what to do. Empty when the hub can start.
    #[must_use]
    pub fn violations(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for (field, value) in [("name", &self.name), ("region", &self.region), ("mesh", &self.mesh)] {
            if !is_label(value) {
                found.push((field, format!("`{value}` must be 1 to 64 of a-z, 0-9 and `-`")));
            }
        }
        if let Some(label) = self.labels.iter().find(|label| !is_label(label)) {
            found.push(("labels", format!("`{label}` must be 1 to 64 of a-z, 0-9 and `-`")));
        }
        if self.labels.len() > weft_mesh::MAX_LABELS {
            let (many, most) = (self.labels.len(), weft_mesh::MAX_LABELS);
            found.push(("labels", format!("{many} labels are too many: at most {most}")));
        }
        let most = weft_mesh::MAX_ADDRESSES;
        if self.advertise.len() > most || self.advertise.iter().any(|addr| addr.len() > weft_mesh::MAX_ADDRESS) {
            let why = format!("at most {most} addresses of {} bytes are told to other hubs", weft_mesh::MAX_ADDRESS);
            found.push(("hubs.advertise", why));
        }
        routing::residency_violations(&self.residency, &mut found);
        self.routing.violations(&mut found);
        self.paths.violations(&mut found);
        let most = self.protocol_most;
        if !(PROTOCOL_VERSION_LEAST..=PROTOCOL_VERSION).contains(&most) {
            let remedy = format!("this version speaks {PROTOCOL_VERSION_LEAST} to {PROTOCOL_VERSION}");
            found.push(("protocol.most", format!("{most} is no version that is spoken: {remedy}")));
        }
        let least = self.protocol_least;
        if !(PROTOCOL_VERSION_LEAST..=most).contains(&least) {
            let remedy = format!("at least {PROTOCOL_VERSION_LEAST}, and at most protocol.most, {most}");
            found.push(("protocol.least", format!("{least} is no version that can be asked for: {remedy}")));
        }
        if let Some(name) = self.admins.iter().find(|name| name.is_empty()) {
            found.push(("admins", format!("`{name}` is nobody: write the name of a certificate")));
        }
        if self.advertise_clients.len() > MAX_PLACES {
            let many = self.advertise_clients.len();
            found.push(("advertise_clients", format!("{many} addresses are too many: at most {MAX_PLACES}")));
        }
        if let Some(address) = self.advertise_clients.iter().find(|a| !(1..=MAX_CLIENT_ADDRESS).contains(&a.len())) {
            let why = format!("`{address}` must have 1 to {MAX_CLIENT_ADDRESS} bytes");
            found.push(("advertise_clients", why));
        }
        if self.clients.is_empty() && self.hubs.is_none() && self.neighbours.is_empty() && self.seeds.is_empty() {
            found.push(("clients", "the hub listens nowhere and has no neighbour: name an address".to_owned()));
        }
        for addr in self.link_addresses().filter(|addr| shm::path_of(addr).is_some()) {
            found.push((
                "hubs",
                format!("`{addr}`: links between hubs do not go by shared memory, which is for clients"),
            ));
        }
        if matches!(&self.hubs, Some(listen) if matches!(listen.security, Security::Plain)) {
            found.push(("hubs", "links need mutual TLS: make certificates with `weft ca`".to_owned()));
        }
        let dials = !self.neighbours.is_empty() || !self.seeds.is_empty() || self.pick.is_some();
        if dials && !matches!(self.link_security, Some(Security::Tls(_))) {
            found.push(("neighbours", "dialling a neighbour needs a certificate: make one with `weft ca`".to_owned()));
        }
        names::violations(self, &mut found);
        control::violations(&self.control, &mut found);
        audit::violations(&self.audit, self.data.is_some(), &mut found);
        picks::violations(self.pick.as_ref(), &self.seeds, &mut found);
        for neighbour in &self.neighbours {
            let (addr, many, most) = (&neighbour.addr, neighbour.connections, MAX_LINK_CONNECTIONS);
            if !(1..=most).contains(&many) {
                found.push(("neighbours", format!("{many} connections to `{addr}`: a link has 1 to {most}")));
            } else if many > 1 && weft_transport::quic::target_of(addr).is_some() {
                let why = "by QUIC a link has a channel for each lane: leave `connections` out, or dial by TCP";
                found.push(("neighbours", format!("{many} connections to `{addr}`: {why}")));
            }
        }
        let most = self.limits.link_connections;
        if !(1..=usize::from(MAX_LINK_CONNECTIONS)).contains(&most) {
            let why = format!("{most} is no number of connections of a link: 1 to {MAX_LINK_CONNECTIONS}");
            found.push(("limits.link_connections", why));
        }
        self.stages.violations(&mut found);
        self.see.violations(&mut found);
        for name in self.mapping.rules().iter().map(Mapping::name) {
            if !name.is_empty() && (!is_label(name) || name.bytes().all(|byte| byte.is_ascii_digit())) {
                let why = "must be 1 to 64 of a-z, 0-9 and `-`, and no number, which rules without a name have";
                found.push(("mapping", format!("the name `{name}` {why}")));
            }
        }
        found.extend(self.quic.violations());
        let l = &self.limits;
        let mut at_least = |field, value: u64, least: u64| {
            if value < least {
                found.push((field, format!("{value} is too small: at least {least}")));
            }
        };
        at_least("limits.frame", l.frame.0, 4_096);
        at_least("limits.arena", l.arena.0, l.frame.0.saturating_mul(8).max(4 << 20));
        at_least("limits.sessions", l.sessions as u64, 1);
        at_least("limits.subscriptions_per_session", l.subscriptions_per_session as u64, 1);
        at_least("limits.subscriptions", l.subscriptions as u64, 1);
        at_least("limits.subscriptions_per_name", l.subscriptions_per_name as u64, 1);
        at_least("limits.interest_changes", l.interest_changes, 1);
        at_least("limits.drain_rate", u64::from(l.drain_rate), 1);
        at_least("limits.receipts", l.receipts as u64, 1);
        at_least("limits.subscriber_events", l.subscriber_events as u64, 1);
        at_least("limits.subscriber_bytes", l.subscriber_bytes.0, l.frame.0);
        at_least("limits.waiting_blocks", l.waiting_blocks as u64, 64);
        at_least("limits.conflate_keys", l.conflate_keys as u64, 1);
        at_least("limits.socket_bytes", l.socket_bytes.0, 64 << 10);
        at_least("limits.link_window_most", l.link_window_most.0, l.link_window.0);
        at_least("limits.link_bytes", l.link_bytes.0, l.frame.0.saturating_mul(5));
        at_least("limits.dial_failures", u64::from(l.dial_failures), 1);
        at_least("limits.unsent_bytes", l.unsent_bytes.0, 4 << 10);
        at_least("limits.publish_blocks", u64::from(l.publish_blocks), 1);
        at_least("limits.publish_bytes", l.publish_bytes.0, l.frame.0);
        at_least("limits.flow_blocks", l.flow_blocks as u64, 1);
        at_least("limits.ring_slots", l.ring_slots as u64, 64);
        at_least("limits.shm_ring", l.shm_ring.0, shm::MIN_RING.0);
        at_least("limits.topics", l.topics as u64, 1);
        at_least("limits.producers", l.producers as u64, 2);
        at_least("limits.stream_producers", l.stream_producers as u64, 2);
        at_least("limits.in_flight", l.in_flight as u64, 1);
        at_least("limits.stream_last_values", l.stream_last_values as u64, 1);
        at_least("limits.open_batches", l.open_batches as u64, 1);
        at_least("limits.batch_blocks", l.batch_blocks as u64, 1);
        at_least("limits.batch_bytes", l.batch_bytes.0, l.frame.0);
        at_least("limits.spool_bytes", l.spool_bytes.0, l.frame.0);
        at_least("limits.replica_producers", l.replica_producers as u64, 2);
        at_least("limits.replica_bytes", l.replica_bytes.0, 64 << 10);
        at_least("limits.replica_readers", l.replica_readers as u64, 1);
        at_least("timers.replica_keep_alive", self.timers.replica_keep_alive.as_millis() as u64, 10);
        let t = &self.timers;
        let least_of =
            [("timers.batch", t.batch, 100), ("timers.keyed_syncs", t.keyed_syncs, 10), ("timers.probe", t.probe, 10)];
        for (field, value, least) in least_of {
            if value < Duration::from_millis(least) {
                found.push((field, format!("{value:?} is too short: at least {least} ms")));
            }
        }
        if self.timers.replica_timeout < self.timers.replica_keep_alive * 2 {
            let why = "at least twice timers.replica_keep_alive, or a source that is there looks silent";
            found.push(("timers.replica_timeout", why.to_owned()));
        }
        if t.link_silence < t.probe * 4 {
            let why = format!("{:?} is too short: at least four times timers.probe", t.link_silence);
            found.push(("timers.link_silence", why));
        }
        if let Some(cost) = self.neighbours.iter().map(|n| n.cost).find(|cost| *cost > weft_mesh::MOST_COST) {
            let most = weft_mesh::MOST_COST;
            found.push(("neighbours", format!("a cost of {cost} µs is too high: at most {most}")));
        }
        if self.admit_threads.is_some_and(|n| n as usize > MAX_ADMIT_THREADS) {
            found.push(("admit_threads", format!("more than {MAX_ADMIT_THREADS} is not possible")));
        }
        if l.shm_ring > shm::MAX_RING {
            found.push(("limits.shm_ring", format!("{} is above the largest ring, {}", l.shm_ring, shm::MAX_RING)));
        }
        if !(1..=MAX_HUBS).contains(&l.hubs) {
            found.push(("limits.hubs", format!("{} is not possible: 1 to {MAX_HUBS}", l.hubs)));
        }
        if l.frame.0 > weft_wire::block::MAX_BLOCK as u64 {
            found.push(("limits.frame", format!("{} is above the largest block, 8 MiB", l.frame)));
        }
        let reckoned = budget::total(self);
        if reckoned > l.memory {
            found.push(("limits.memory", budget::too_much(self, reckoned)));
        }
        if (1..4_096).contains(&self.storage.verify.0) {
            let why = format!("{} a second is too little: at least 4 KiB, or 0 for none", self.storage.verify);
            found.push(("storage.verify", why));
        }
        if self.storage.verify_every < Duration::from_secs(1) {
            found.push(("storage.verify_every", format!("{:?} is too short: at least 1 s", self.storage.verify_every)));
        }
        if self.storage.repair_backoff < self.storage.repair_pause {
            let why = format!("{:?} is shorter than storage.repair_pause", self.storage.repair_backoff);
            found.push(("storage.repair_backoff", why));
        }
        if self.stream_defaults.segment.0 < l.frame.0.saturating_mul(2) {
            found.push(("streams.segment", "a segment must hold at least two frames of limits.frame".to_owned()));
        }
        found
    }
}

/// Whether `text` can name a hub, a region or a stream.
#[must_use]
pub fn is_label(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
