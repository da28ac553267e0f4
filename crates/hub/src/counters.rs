//! The hub's counters, written by its stages and read by anyone.
//!
//! They lie in a table that other processes read (`weft_observe::Table`), made where
//! the hub starts. A stage adds once per block, not per event. The ledger's side of them is
//! explained in `weft_mesh::ledger`; what is in flight is measured from the
//! queues themselves, so that the ledger's balance says something.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, OnceLock, PoisonError};

use weft_base::sync::atomic::AtomicU64;
use weft_base::sync::{Arc, Mutex};
use weft_base::{Lane, Mono, Now, Random, UnixNanos};
use weft_mesh::ledger::{ByReason, DropReason, Ledger};
use weft_observe::layout::Unit;
use weft_observe::{Table, Value};
use weft_stream::consumer::Counts;

mod atoms;
mod links;
mod mesh;
mod parts;
mod stalls;

pub(crate) use self::atoms::{add, counts, get, set, sub, value};
pub use self::mesh::MeshCounts;
pub use self::parts::{LinkCounters, StageGauges};
pub(crate) use self::stalls::Stall;
pub use self::stalls::{HeldBy, PublishStalls};
use crate::govern::GovernCounts;
use crate::inspect::SchemaCounts;
use crate::mapping::Mapped;
use crate::see::classes::Classes;
use crate::see::trace::{TraceCounts, Tracing};
use crate::see::window::Window;
use crate::see::{Lags, SeeOptions};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal),+ $(,)?) => {
        /// Counters since the hub's start; gauges where the doc says so.
        #[derive(Debug)]
        pub struct Counters {
            $($(#[doc = $doc])* pub $name: Value,)+
            /// Copies dropped, by reason.
            pub dropped: ByReason<Value>,
            /// Events of copies that went no further where a lane goes over two paths, by
            /// reason: second copies, and of both that which came last. In no ledger.
            pub second_dropped: ByReason<Value>,
            /// Events taken from clients of this hub, by the lane that they asked for.
            pub lanes: [Value; Lane::COUNT],
            /// How publishers were held back.
            pub publish_stalls: PublishStalls,
            /// The ledgers of classes of topics.
            pub(crate) classes: Classes,
            /// The blocks that crossed the hub last.
            pub(crate) window: Window,
            /// Which of them are traced.
            pub(crate) traces: Tracing,
            /// Local copies that the route stage is to lose uncounted: the canary of the ledger's alarm.
            /// Does nothing where the program is built without debug assertions.
            #[doc(hidden)]
            pub canary: AtomicU64,
            /// When a stage at which copies end last began a turn.
            mono: AtomicU64,
            /// What the links carried, by the name of the hub at the other end.
            links_by_peer: Mutex<BTreeMap<String, Arc<LinkCounters>>>,
            /// What the stages last reported.
            stages: OnceLock<Vec<StageGauges>>,
            /// Of who may do what.
            pub govern: GovernCounts,
            /// Of payloads that are checked.
            pub schema: SchemaCounts,
            /// Of the mesh, as the conductor said last.
            pub mesh: MeshCounts,
            /// How far consumers are behind.
            pub lags: Lags,
            /// The rules in force, which count for themselves.
            mapping: Mutex<Arc<Mapped>>,
            /// Where all of them lie, for other processes to read.
            table: Arc<Table>,
        }

        /// What each counter means, by its name.
        const TEXTS: &[(&str, &[&str])] = &[$(($text, &[$($doc),*])),+];

        impl Counters {
            /// In this table, with a class's ledger and a window as given.
            fn of(table: Arc<Table>, classes: Classes, (window, traces): (Window, Tracing)) -> Self {
                let named = |head: &'static str| {
                    let mut all = ByReason::<Value>::default();
                    for reason in DropReason::ALL {
                        let name = format!("{head}.{}", reason.name());
                        all[reason] = table.counter(&name, Unit::Events, None);
                    }
                    all
                };
                Self {
                    $($name: value(&table, $text, &[$($doc),*]),)+
                    dropped: named("ledger.dropped"),
                    second_dropped: named("second.dropped"),
                    lanes: std::array::from_fn(|lane| table.counter(&format!("lane.{lane}.published"), Unit::Events, None)),
                    publish_stalls: PublishStalls::of(&table),
                    classes,
                    window,
                    traces,
                    canary: AtomicU64::default(),
                    mono: AtomicU64::default(),
                    links_by_peer: Mutex::default(),
                    stages: OnceLock::new(),
                    govern: GovernCounts::of(&table),
                    schema: SchemaCounts::of(&table),
                    mesh: MeshCounts::of(&table),
                    lags: Lags::default(),
                    mapping: Mutex::default(),
                    table,
                }
            }

            /// Every counter with its name, in the order of declaration.
            #[must_use]
            pub fn list(&self) -> Vec<(String, u64)> {
                let mut all = vec![$(($text.to_owned(), get(&self.$name))),+];
                let dropped = |reason: DropReason| (format!("ledger.dropped.{}", reason.name()), get(&self.dropped[reason]));
                all.extend(DropReason::ALL.into_iter().map(dropped));
                for reason in DropReason::ALL.into_iter().filter(|reason| get(&self.second_dropped[*reason]) > 0) {
                    all.push((format!("second.dropped.{}", reason.name()), get(&self.second_dropped[reason])));
                }
                all.extend(atoms::by_lane(&self.lanes));
                all.extend(self.publish_stalls.list());
                for (class, ledger) in self.classes.iter() {
                    for (what, reason, value) in ledger.ledger().counters() {
                        let reason = reason.map_or(String::new(), |reason| format!(".{}", reason.name()));
                        all.push((format!("class.{class}.{what}{reason}"), value));
                    }
                    all.push((format!("class.{class}.imbalance"), get(&ledger.imbalance)));
                }
                all.extend(self.traces.list());
                all.extend(self.locked_mapping().list());
                all.extend(self.govern.list().into_iter().chain(self.schema.list()));
                for (peer, link) in &*self.locked_links() {
                    let each = link.each().into_iter();
                    all.extend(each.map(|(what, counter)| (format!("link.{peer}.{what}"), get(counter))));
                }
                for stage in self.stages() {
                    let each = stage.each().into_iter();
                    all.extend(each.map(|(what, gauge)| (format!("stage.{}.{what}", stage.name), get(gauge))));
                }
                all
            }
        }
    };
}

counters! {
    /// Events taken from clients of this hub.
    published = "ledger.published",
    /// Events that other hubs sent here for this hub to deliver or store.
    arrived = "ledger.arrived",
    /// Live copies that came over a link for another hub.
    transit = "ledger.transit",
    /// Copies made: an event for one subscription, one stream or one destination hub.
    copies = "ledger.copies",
    /// Copies written to subscribers.
    delivered = "ledger.delivered",
    /// Copies appended to streams of this hub.
    stored = "ledger.stored",
    /// Copies written to links, or held by a stream at another hub.
    forwarded = "ledger.forwarded",
    /// Gauge: copies between the route and the net stage.
    waiting_net = "in_flight.net",
    /// Gauge: copies waiting for subscribers.
    waiting_subscribers = "in_flight.subscribers",
    /// Gauge: blocks waiting for subscribers, one for each that waits.
    backlog_blocks = "waiting.blocks",
    /// Gauge: blocks on their way to members of consumers.
    handouts = "waiting.handouts",
    /// Gauge: keys that conflating subscriptions tell apart.
    backlog_keys = "waiting.keys",
    /// Gauge: live copies waiting for links.
    waiting_links = "in_flight.links",
    /// Gauge: copies on their way to the append stage.
    waiting_append = "in_flight.append",
    /// Gauge: copies that a stream at another hub has not acknowledged yet.
    waiting_flows = "in_flight.flows",
    /// Gauge: copies on disk here until their stream's home has them.
    waiting_spool = "in_flight.spool",
    /// Gauge: bytes of them.
    spool_bytes = "spool.bytes",
    /// Events put on disk here because no home of their stream could be reached.
    spooled = "spool.spooled",
    /// Of what waited on disk here: events that their stream's home has on disk.
    spool_forwarded = "spool.forwarded",
    /// Times that a home could not take what was spooled for it.
    spool_returned = "spool.returned",
    /// Events that were not put on disk here, because the spool or the disk was full, or failed.
    spool_refused = "spool.refused",
    /// Blocks that came again from a producer and were not routed again.
    producer_duplicates = "duplicates.producer_blocks",
    /// Blocks that came again over a link and were cut.
    mesh_duplicates = "duplicates.mesh_blocks",
    /// Live events that a flow from another hub was short of.
    missed = "flow.missed",
    /// Events of which this hub sent a second copy, on a path of its own, to another hub.
    second_sent = "second.sent",
    /// Events of a lane of two paths for another hub to which there is one path only.
    second_none = "second.no_path",
    /// Events of second copies passed on for other hubs.
    second_passed = "second.passed",
    /// Live events taken here of which the second copy came first, or alone.
    second_first = "second.first",
    /// Live events that came before earlier ones and waited for the other path to bring these.
    second_waited = "second.waited",
    /// Blocks that came over a link and may not be at this hub: it does not carry their label.
    residency_refused = "residency.refused",
    /// Guaranteed blocks sent again.
    retransmitted = "flow.retransmitted_blocks",
    /// Events read from streams for subscribers.
    replayed = "stream.replayed",
    /// Bytes of streams that were read to see whether they are damaged.
    log_verified_bytes = "log.verified_bytes",
    /// Damaged places found in streams by opening or verifying them, each once.
    log_damaged = "log.damaged",
    /// Damaged places repaired from another home.
    log_repaired = "log.repaired",
    /// Events that were there again then.
    log_repaired_events = "log.repaired_events",
    /// Tries to repair that came to nothing, and are repeated.
    log_repair_failed = "log.repair_failed",
    /// Calls of fdatasync.
    syncs = "stream.syncs",
    /// Messages of this hub's stages to those of other hubs.
    peers_sent = "peers.sent",
    /// Messages of other hubs' stages that were handed to a stage here.
    peers_received = "peers.received",
    /// Messages of other hubs' stages that were lost on their way here.
    peers_missed = "peers.missed",
    /// Gauge: consumers of the streams of this hub.
    consumers = "consumer.consumers",
    /// Gauge: members of consumers.
    members = "consumer.members",
    /// Gauge: events handed out and not settled, waiting to be handed out
    /// again, or on their way to the dead letters.
    consumer_under_way = "consumer.under_way",
    /// Gauge: events that the consumer that is most events behind has not settled.
    consumer_lag_events = "consumer.lag_most_events",
    /// Gauge: how long ago the oldest event entered the mesh that a consumer has not settled.
    consumer_lag_ms = "consumer.lag_most_ms",
    /// Events handed out, each time counted.
    consumer_handed = "consumer.handed_out",
    /// Events handed out for the second time or later.
    consumer_redelivered = "consumer.redelivered",
    /// Events settled by an acknowledgement.
    consumer_acked = "consumer.acked",
    /// Events sent back by their member.
    consumer_nacked = "consumer.nacked",
    /// Events given up by their member.
    consumer_terminated = "consumer.terminated",
    /// Events not settled within their ack wait.
    consumer_timed_out = "consumer.timed_out",
    /// Events that were with a member that left.
    consumer_left = "consumer.left",
    /// Events that a consumer's filters or predicate did not want.
    consumer_filtered = "consumer.filtered",
    /// Events past their time to live before anybody had them.
    consumer_expired = "consumer.expired",
    /// Events damaged, or removed by retention, before anybody had them.
    consumer_unreadable = "consumer.unreadable",
    /// Dead letters stored.
    consumer_dead = "consumer.dead_letters",
    /// Events given up without a dead letter, because the consumer wants none.
    consumer_dropped = "consumer.dropped",
    /// Events that members spoke of and did not have: settled before, with
    /// others, never handed out, or of no member.
    consumer_unknown = "consumer.unknown_settled",
    /// Events that members spoke of with an old token.
    consumer_fenced = "consumer.fenced",
    /// Times that nothing was handed out because of `limits.in_flight` or `limits.waiting_blocks`.
    consumer_held = "consumer.held",
    /// Dead letters that the stream refused; they are tried again.
    consumer_dead_refused = "consumer.dead_refused",
    /// Dead letters whose event could not be read any more.
    consumer_dead_lost = "consumer.dead_lost",
    /// Gauge: consumers of other homes whose state is kept aside here.
    consumer_copies = "consumer.copies",
    /// States of consumers that other homes sent.
    consumer_copied = "consumer.copied",
    /// Consumers taken over from other homes.
    consumer_takeovers = "consumer.takeovers",
    /// Consumers given to the home that serves them again.
    consumer_moves = "consumer.moves",
    /// Writes of consumers' positions that failed; they are tried again.
    positions_failed = "consumer.positions_failed",
    /// Syncs of keyed state.
    keyed_syncs = "keyed.syncs",
    /// Of them, those that failed.
    keyed_failed = "keyed.failed",
    /// Times that it was damaged at the start, set aside and begun anew.
    keyed_anew = "keyed.begun_anew",
    /// Events that entered streams at other homes, handed on to the logs here.
    replica_copied = "replica.copied",
    /// Of them, those that were here under another name.
    replica_duplicates = "replica.duplicates",
    /// Events that other homes sent although they were here.
    replica_again = "replica.again",
    /// Bytes of streams sent to other hubs that keep them.
    replica_given = "replica.given",
    /// Sequences of other homes passed over: there under another name, or of no interest to a mirror.
    replica_left_out = "replica.left_out",
    /// Events that no home that can be reached has any more.
    replica_lost = "replica.lost",
    /// Sources asked anew because they were silent.
    replica_silences = "replica.silences",
    /// Sources asked anew because their answer did not join on to what is here.
    replica_restarts = "replica.restarts",
    /// Copies that a log here did not take.
    replica_refused = "replica.refused",
    /// Messages of other homes that make no sense.
    replica_nonsense = "replica.nonsense",
    /// Readings of logs for other homes that failed.
    replica_unreadable = "replica.unreadable",
    /// Gauge: events that another home has and this hub has not, by the sources' own ends.
    replica_behind = "replica.behind",
    /// Gauge: sources that cannot be reached or do not answer.
    replica_silent = "replica.silent",
    /// Gauge: milliseconds since the source silent longest was heard.
    replica_unheard_ms = "replica.unheard_ms",
    /// Times that the ledger, or that of a class, was found out of balance.
    ledger_alarms = "ledger.alarms",
    /// Gauge: copies that the ledger, or that of a class, is out of balance by, the most of them.
    ledger_imbalance = "ledger.imbalance",
    /// Gauge: publishers whose blocks are held back for a subscriber.
    held_publishers = "publish.held",
    /// Times that a subscription began to wait for credit of its client.
    subscriber_stalls = "subscriber.credit_stalls",
    /// How long subscriptions waited for it, all together.
    subscriber_stalled_ns = "subscriber.credit_stalled_ns",
    /// Publishes refused with an error.
    refused = "publish.refused",
    /// Gauge: sessions with clients.
    clients = "sessions.clients",
    /// Gauge: sessions with hubs.
    links = "sessions.links",
    /// Sessions closed because the peer broke the protocol.
    violations = "sessions.violations",
    /// Links refused because the hubs are of different meshes or differ in what they must share.
    links_disagreed = "links.disagreed",
    /// Packed frames of links refused: unsound, or not agreed on.
    packed_refused = "links.packed_refused",
    /// Connections of hubs that measured how far this one is.
    probed = "links.measured",
    /// Connections refused that said they are one of several of a link.
    parts_refused = "links.connections_refused",
    /// Gauge: connections to the server for HTTP that are open.
    http_connections = "http.connections",
    /// Connections to it that were closed as they came: `http.connections` were open.
    http_turned_away = "http.turned_away",
    /// Connections to it that were closed as they came: `http.connections_per_source` were open.
    http_source_full = "http.source_full",
    /// Requests by HTTP.
    http_requests = "http.requests",
    /// Requests by HTTP that were refused: `http.requests` were under way.
    http_crowded = "http.crowded",
    /// Requests by HTTP that were refused: their source was answered 401 as often as it may be.
    http_limited = "http.limited",
    /// Requests by HTTP that took longer than `http.patience`.
    http_late = "http.late",
    /// Gauge: who listens to events by HTTP.
    http_listeners = "http.listeners",
    /// Who listened by HTTP and was ended: more waited than may, or the connection took nothing.
    http_listeners_slow = "http.listeners_slow",
    /// Events that listeners by HTTP missed because more waited than may.
    http_listeners_missed = "http.listeners_missed",
    /// Events that webhooks have sent, and that were taken.
    webhooks_sent = "webhooks.sent",
    /// Tries of webhooks that failed.
    webhooks_failed = "webhooks.failed",
    /// Events that webhooks have given up: dead letters.
    webhooks_given_up = "webhooks.given_up",
    /// Gauge: webhooks whose targets fail, and are tried now and then.
    webhooks_open = "webhooks.open",
    /// Certificates issued to hubs that joined with a token.
    joins_issued = "joins.issued",
    /// Certificates issued in the place of others.
    joins_renewed = "joins.renewed",
    /// Certificates that this hub was given in the place of its own, by itself.
    certificates_renewed = "certificate.renewed",
    /// Times that it asked for one and no hub gave it.
    renewals_failed = "certificate.renewal_failed",
    /// Requests to join refused: no such token, or another secret.
    joins_bad_token = "joins.refused.bad_token",
    /// Requests to join refused: the token was used before.
    joins_token_used = "joins.refused.token_used",
    /// Requests to join refused: the token is past its time.
    joins_token_expired = "joins.refused.token_expired",
    /// Requests to join refused: the name is taken, or not the token's.
    joins_name = "joins.refused.name",
    /// Requests to join refused: malformed.
    joins_bad_request = "joins.refused.bad_request",
    /// Requests to join refused: the hub cannot issue, or not keep what it issued.
    joins_failed = "joins.refused.failed",
    /// Connections to join refused: no TLS, or a certificate that does not count.
    joins_strangers = "joins.refused.strangers",
    /// Connections to join closed unheard: too many at a time, or too often from one address.
    joins_limited = "joins.limited",
    /// Gauge: the version of the control state here.
    control_version = "control.version",
    /// Gauge: the id of the hub that leads the control state; 0 when nobody does.
    control_leader = "control.leader",
    /// Gauge: the term of the last vote.
    control_term = "control.term",
    /// Gauge: how long ago the state here was known to be the others', in milliseconds.
    control_age_ms = "control.age_ms",
    /// Gauge: requests of clients under way.
    control_pending = "control.pending",
    /// Changes that clients of this hub made.
    control_changes = "control.changes",
    /// Changes refused because somebody else had changed the same.
    control_conflicts = "control.conflicts",
    /// Messages of other hubs that were not understood.
    control_nonsense = "control.nonsense",
    /// Times that the hub was cut off from the control state for long.
    control_alarms = "control.alarms",
    /// Gauge: 1 when the hub takes no part any more, because its disk failed or Raft did.
    control_stopped = "control.stopped",
    /// Connections refused or lost before they became a session.
    failed_handshakes = "sessions.failed_handshakes",
    /// Turns in which a connection was not read for want of any buffer.
    starved = "arena.starved_turns",
    /// Blocks refused, or left to be sent again, because the arena was used up.
    unread = "arena.unread_blocks",
}

/// What each counter means, line by line as it is documented here: by its name in the
/// table, with `*` for the link or stage.
pub fn texts() -> impl Iterator<Item = (String, &'static [&'static str])> {
    let own = TEXTS
        .iter()
        .chain(GovernCounts::TEXTS)
        .chain(SchemaCounts::TEXTS)
        .chain(MeshCounts::TEXTS)
        .chain(TraceCounts::TEXTS);
    let own = own.map(|(name, text)| ((*name).to_owned(), *text));
    let links = LinkCounters::TEXTS.iter().map(|(what, text)| (format!("link.*.{what}"), *text));
    let stages = StageGauges::TEXTS.iter().map(|(what, text)| (format!("stage.*.{what}"), *text));
    own.chain(links).chain(stages)
}

impl Default for Counters {
    /// In no file, without classes: for tests.
    fn default() -> Self {
        let table = Arc::default();
        let traces = Tracing::new(None, &table);
        Self::of(table, Classes::default(), (Window::default(), traces))
    }
}

impl Counters {
    /// Counters at zero in a table, with ledgers and a window as configured.
    pub(crate) fn new(see: &SeeOptions, random: &mut Random, table: Arc<Table>) -> Self {
        let classes = Classes::new(see, random, &table);
        let traces = Tracing::new(see.traces, &table);
        Self::of(table, classes, (Window::new(see.window), traces))
    }

    /// What is measured in histograms, if any is to be: made when a stage is.
    pub(crate) fn measured<T: Default>(&self, see: &SeeOptions, make: impl FnOnce(&Table) -> T) -> T {
        if see.histograms { make(&self.table) } else { T::default() }
    }

    /// Where they lie.
    #[must_use]
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// A stage at which copies end begins a turn.
    #[inline]
    pub(crate) fn turn(&self, now: Now) {
        self.table.beat(UnixNanos(now.wall.0));
        set(&self.mono, now.mono.0);
    }

    /// When such a stage last began a turn.
    #[inline]
    pub(crate) fn mono(&self) -> Mono {
        Mono(get(&self.mono))
    }

    /// Unix nanoseconds when such a stage last began a turn.
    #[inline]
    pub(crate) fn wall(&self) -> u64 {
        self.table.last_beat()
    }

    fn locked_links(&self) -> MutexGuard<'_, BTreeMap<String, Arc<LinkCounters>>> {
        self.links_by_peer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counters of the links to a hub, made when there are none. Asked for
    /// when a link comes up, not per block.
    pub(crate) fn link(&self, peer: &str) -> Arc<LinkCounters> {
        let made = || Arc::new(LinkCounters::of(&self.table, peer, self.classes.columns()));
        self.locked_links().entry(peer.to_owned()).or_insert_with(made).clone()
    }

    fn locked_mapping(&self) -> MutexGuard<'_, Arc<Mapped>> {
        self.mapping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other rules are in force.
    pub(crate) fn show_mapping(&self, rules: &Arc<Mapped>) {
        *self.locked_mapping() = rules.clone();
    }

    /// Makes gauges for stages of these names, of which some are the same.
    /// Once: later calls change nothing.
    pub(crate) fn show_stages(&self, mut names: Vec<&'static str>) {
        names.dedup();
        let gauges = names.into_iter().map(|name| StageGauges::of(&self.table, name));
        self.stages.get_or_init(|| gauges.collect());
    }

    /// What the stages last reported.
    #[must_use]
    pub fn stages(&self) -> &[StageGauges] {
        self.stages.get().map_or(&[], Vec::as_slice)
    }

    /// Counts `n` copies as dropped.
    #[inline]
    pub(crate) fn drop_copies(&self, reason: DropReason, n: u64) {
        add(&self.dropped[reason], n);
    }

    /// Adds what a consumer counts and `counted` does not have yet.
    pub(crate) fn count_consumer(&self, counted: &mut Counts, now: &Counts) {
        for (counter, now, before) in [
            (&self.consumer_handed, now.handed_out, counted.handed_out),
            (&self.consumer_redelivered, now.redelivered, counted.redelivered),
            (&self.consumer_acked, now.acked, counted.acked),
            (&self.consumer_nacked, now.nacked, counted.nacked),
            (&self.consumer_terminated, now.terminated, counted.terminated),
            (&self.consumer_timed_out, now.timed_out, counted.timed_out),
            (&self.consumer_left, now.left, counted.left),
            (&self.consumer_filtered, now.filtered, counted.filtered),
            (&self.consumer_expired, now.expired, counted.expired),
            (&self.consumer_unreadable, now.unreadable, counted.unreadable),
            (&self.consumer_dead, now.dead, counted.dead),
            (&self.consumer_dropped, now.dropped, counted.dropped),
        ] {
            if now != before {
                add(counter, now.wrapping_sub(before));
            }
        }
        *counted = *now;
    }

    /// Copies that wait somewhere in this hub.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let elsewhere = [&self.waiting_subscribers, &self.waiting_flows, &self.waiting_spool];
        self.in_flight_here() + elsewhere.into_iter().map(|gauge| get(gauge)).sum::<u64>()
    }

    /// Copies that only this hub can bring to their end: all in flight but
    /// those that wait for a subscriber's credit or another hub's answer.
    pub(crate) fn in_flight_here(&self) -> u64 {
        get(&self.waiting_net) + get(&self.waiting_links) + get(&self.waiting_append)
    }

    /// The ledger at this moment; balanced when the hub is quiet.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        let mut ledger = Ledger {
            published: get(&self.published),
            received: get(&self.arrived) + get(&self.transit),
            copies: get(&self.copies),
            delivered: get(&self.delivered),
            stored: get(&self.stored),
            forwarded: get(&self.forwarded),
            in_flight: self.in_flight(),
            ..Ledger::default()
        };
        for reason in DropReason::ALL {
            ledger.dropped[reason] = get(&self.dropped[reason]);
        }
        ledger
    }
}
