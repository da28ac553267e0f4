//! What a hub's memory can come to: each limit times what one entry takes.
//!
//! The constants are upper bounds per entry, with what allocators and hash
//! tables add; `tests/memory.rs` measures a running hub against them. What lies
//! in files that are mapped (streams) is the system's cache and not counted. With
//! encryption at rest a block that is read is in memory of its own, which is
//! not counted either: see docs/integrity.md for how much that is.

use std::mem::size_of;

use weft_base::{ByteCount, Lane};
use weft_keyed::LsmOptions;
use weft_mesh::MAX_HUBS;
use weft_observe::TableOptions;
use weft_pack::Codec;
use weft_topic::mapping::Mapping;
use weft_wire::frame::LinkStateLink;

use crate::append::ToSync;
use crate::changes::MAX_CHANGES;
use crate::consume::ToConsume;
use crate::govern::ToGovern;
use crate::messages::{FromPeer, Publish, ToAppend, ToConductor, ToNet, ToRoute};
use crate::net::{BATCH, ROOM};
use crate::options::{HubOptions, MAX_ADMIT_THREADS, MAX_CONTROL_STATE};
use crate::replicate::ToReplicate;
use crate::route::mapping::{FORMER_PRODUCERS, FORMER_RULES};
use crate::route::refused;
use crate::see::classes::Classes;
use crate::see::trace::Tracing;
use crate::see::window::Window;

/// A session: its connection, its table of subscriptions, and 256 blocks in its lanes.
pub const SESSION: usize = 48 << 10;
/// A subscription: at its session, in the hub's interest, and in what the mesh is told.
pub const SUBSCRIPTION: usize = 1_344;
/// A remembered topic of up to 256 bytes and its route (longer ones take as much more),
/// and half as many that sessions publish.
pub const TOPIC: usize = 736;
/// A remembered producer.
pub const PRODUCER: usize = 96;
/// A producer's place under rules of mapping that were replaced.
pub const FORMER: usize = 64;
/// A publish that was refused, which stays so: in two tables.
pub const REFUSED: usize = 96;
/// A rule of mapping, or a destination of one, without what is written there.
pub const RULE: usize = 512;
/// Eight gaps in the numbers of a producer of a stream; one of eight producers has some in memory.
pub const GAPS: usize = 272;
/// A producer of a stream with several homes, or that is spooled for: which of its events are there.
pub const SEEN: usize = 448;
/// A consumer of another home whose state is kept aside: two lists of 1,024 runs.
pub const ASIDE: usize = 60 << 10;
/// Where a consumer is to run, as other hubs say and as it is routed by, and the
/// name of one that was deleted.
pub const PREFERENCE: usize = 1 << 10;
/// A filter of up to 64 bytes whose coming and going is remembered.
pub const DAMPED: usize = 320;
/// Another hub: its record with the most links and attributes that one can have,
/// and what is remembered of it.
pub const HUB: usize = weft_wire::frame::MAX_ATTRIBUTES + MAX_HUBS * size_of::<LinkStateLink>() + (5 << 10);
/// A receipt that is waited for, with as many hubs named as can be.
pub const RECEIPT: usize = 20 << 10;
/// A block that waits for a subscriber: a reference, not its bytes, which are the arena's.
pub const WAITING: usize = 160;
/// A block on its way to a member of a consumer: a reference, and the frame's head.
pub const HANDOUT: usize = 384;
/// A key that a conflating subscription tells apart.
pub const KEY: usize = 128;
/// A consumer: its definition with a usual number of filters, and what it counts.
pub const CONSUMER: usize = 4 << 10;
/// An event that a member of a consumer has, or that waits to be handed out
/// again, where each is a run of its own.
pub const IN_FLIGHT: usize = 224;
/// Where a last value stands, with a topic and key of up to 64 bytes. Longer ones take as much more.
pub const LAST_VALUE: usize = 160;
/// A delayed block: when and where, in two trees.
pub const SCHEDULED: usize = 64;
/// A spool: its log, and what is handed out of it. It may take a moment until one is gone.
pub const SPOOL: usize = 2 * (24 << 10);
/// A hub that a name leads to: its addresses, and its place among those that are dialled.
pub const NAMED: usize = 3 << 10;
/// What an operator changed, as it is kept, put over the configuration and told, and what it has dialled.
pub const CHANGE: usize = 6 << 10;
/// What clients show that wait for who they are, and two passwords that are checked,
/// with 64 MiB each.
const LOGINS: ByteCount = ByteCount::mib(160);
/// A hub, in one of the ways besides the main one, for labels or to spread topics:
/// with what is remembered of its blocks, 1 KiB for each lane.
const WAY: usize = 9 << 10;
/// A flow that comes over two paths, without what waits in it.
const PATH_FLOW: usize = 256;
/// A block that waits for the other path: a reference, not its bytes, which are the arena's.
const PATH_WAITING: usize = 256;
/// Two paths to a hub, as long as they may be.
const PATHS: usize = 2 << 10;
/// One direction of a link in the mesh as a graph.
const LINK: usize = 32;
/// The program, its threads' stacks and what is there once.
pub const BASE: usize = 24 << 20;

/// What one table, or kind of buffer, can come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// The limits that it follows from.
    pub limits: &'static str,
    /// How much.
    pub bytes: ByteCount,
}

/// The file of counters, which lies in memory.
fn counted(options: &HubOptions) -> u64 {
    let table = TableOptions::default();
    // A name, and its place in the file and in the process.
    table.room.0 + options.see.entries() as u64 * 512
}

/// What packs and unpacks, what it works on, and what waits for sockets; nothing
/// where no link is packed.
fn packing(options: &HubOptions) -> ByteCount {
    let mut wanted = options.neighbours.iter().map(|hub| hub.packing).chain([options.pick_packing]);
    if options.packings.is_empty() && wanted.all(|packing| packing.is_none()) {
        return ByteCount(0);
    }
    let most = options.limits.frame.as_usize().max(BATCH);
    let packed = Codec::ALL.map(|codec| codec.bound(most)).into_iter().max().unwrap_or_default();
    ByteCount((weft_pack::MEMORY + most + packed) as u64 + ROOM)
}

/// All parts, the constant ones first.
#[must_use]
pub fn parts(options: &HubOptions) -> Vec<Part> {
    let l = &options.limits;
    let times = |n: usize, each: usize| ByteCount((n as u64).saturating_mul(each as u64));
    let part = |name, limits, bytes| Part { name, limits, bytes };
    // The route stage has a ring for each lane besides, which together have as many slots.
    let rings = size_of::<ToNet>()
        + 2 * size_of::<ToRoute>()
        + size_of::<ToAppend>()
        + size_of::<ToConductor>()
        + size_of::<ToConsume>()
        + size_of::<ToReplicate>()
        + size_of::<ToGovern>()
        + 3 * size_of::<FromPeer>();
    let admit = options.admit_threads.map_or(MAX_ADMIT_THREADS, |n| n as usize) * size_of::<Publish>();
    let producers = l.producers.saturating_add(l.streams.saturating_mul(l.stream_producers));
    // One block may wait for each subscription whatever waits for the others.
    let waiting = l.waiting_blocks.saturating_add(l.subscriptions);
    vec![
        part("the program", "", ByteCount(BASE as u64)),
        part("blocks", "arena", l.arena),
        part(
            "rings",
            "ring_slots",
            times(l.ring_slots.checked_next_power_of_two().unwrap_or(usize::MAX), rings + size_of::<ToSync>() + admit),
        ),
        part("sessions", "sessions", times(l.sessions, SESSION)),
        // Two ends at most, each with a window in both directions.
        part("tunnels", "tunnels, tunnel_bytes", times(l.tunnels, l.tunnel_bytes.as_usize().saturating_mul(4))),
        part("shared memory", "shm_sessions, shm_ring", times(l.shm_sessions, l.shm_ring.as_usize().saturating_mul(2))),
        part("links by QUIC", "quic.links, quic.window", quic(options)),
        part("packed blocks of links", "frame", packing(options)),
        part("subscriptions", "subscriptions", times(l.subscriptions, SUBSCRIPTION)),
        part("other hubs", "hubs", times(l.hubs, HUB)),
        part(
            "hubs that DNS names",
            "dns.targets",
            times(options.names().count(), options.dns.targets.saturating_mul(NAMED)),
        ),
        part("damped filters", "", times(weft_mesh::MAX_DAMPED, DAMPED)),
        part("operators' changes", "", times(MAX_CHANGES, CHANGE)),
        part("receipts", "receipts", times(l.receipts, RECEIPT)),
        part("waiting blocks", "waiting_blocks, subscriptions", times(waiting, WAITING)),
        part("handouts", "waiting_blocks", times(crate::consume::most_handouts(l) as usize, HANDOUT)),
        part("conflated keys", "conflate_keys", times(l.conflate_keys, KEY)),
        part("topics", "topics", times(l.topics, TOPIC)),
        part("consumers", "consumers", times(l.consumers, CONSUMER)),
        part("consumers of other homes", "consumers", times(l.consumers, ASIDE)),
        part("homes of consumers", "consumers", times(l.consumers, PREFERENCE)),
        part("events in flight", "in_flight", times(l.in_flight, IN_FLIGHT)),
        part("producers", "producers, streams, stream_producers", times(producers, PRODUCER)),
        part(
            "gaps of producers",
            "streams, stream_producers",
            times(l.streams.saturating_mul(l.stream_producers.div_ceil(8)), GAPS),
        ),
        part("copies", "streams, replica_producers", times(l.streams.saturating_mul(l.replica_producers), SEEN)),
        part(
            "last values",
            "streams, stream_last_values",
            times(l.streams.saturating_mul(l.stream_last_values), LAST_VALUE),
        ),
        // With the part of an answer that goes beyond it.
        part(
            "repair",
            "storage.repair, frame",
            times(1, options.storage.repair.as_usize().saturating_add(l.frame.as_usize())),
        ),
        part("ways", "routing.ways, labels, hubs", times(l.hubs.saturating_mul(ways(options)), WAY)),
        part("two paths", "paths, hubs, labels", times(1, two_paths(options))),
        part("recent blocks", "see.window", times(1, Window::memory(options.see.window))),
        part("traces", "telemetry.otlp", times(1, Tracing::memory(options.see.traces))),
        part("counters and histograms", "ledger, metric", ByteCount(counted(options))),
        part("classes of topics", "ledger", times(1, Classes::memory(&options.see))),
        part("what crosses links", "hubs, ledger", times(l.hubs, crossing(options))),
        part("rules of mapping", "mapping", times(1, mapping(options))),
        part("producers under former rules", "", times(FORMER_PRODUCERS, FORMER)),
        part("refused publishes", "", times(refused::MOST, REFUSED)),
        part("delayed events", "scheduled", times(l.scheduled, SCHEDULED)),
        part("spools", "spool_streams", times(l.spool_streams, SPOOL)),
        // As it is, as it is to be, and as it is sent and kept.
        part("control state", "data", times(options.data.iter().count(), 4 * MAX_CONTROL_STATE.as_usize())),
        part("logins", "", LOGINS),
        part("keyed state", "", LsmOptions::default().memory()),
    ]
}

/// How many ways there are besides the main one: for sets of labels, and of each
/// those that topics are spread over. Blocks are remembered of each.
fn ways(options: &HubOptions) -> usize {
    sets(options).saturating_mul(options.routing.spreading.ways.into()).saturating_sub(1)
}

/// Sets of labels that there are ways for, none among them.
fn sets(options: &HubOptions) -> usize {
    let sets = 1_usize.checked_shl(options.labels.len() as u32).unwrap_or(usize::MAX);
    (sets - 1).min(weft_mesh::MAX_WAYS) + 1
}

/// Flows that come over two paths, and what waits in them, which other hubs decide;
/// and, where a lane here goes over two, the mesh as a graph and the paths that were
/// found, once for each set of labels.
fn two_paths(options: &HubOptions) -> usize {
    let hubs = options.limits.hubs;
    let waiting = options.paths.waiting.as_usize() / weft_wire::block::layout::MIN_BLOCK * PATH_WAITING;
    let flows = hubs.saturating_mul(Lane::COUNT * PATH_FLOW);
    let found = if options.paths.are_two() {
        hubs.saturating_mul(PATHS + hubs.saturating_mul(LINK)).saturating_mul(sets(options))
    } else {
        0
    };
    waiting.saturating_add(flows).saturating_add(found)
}

/// Windows of links by QUIC; nothing where no address is QUIC's.
fn quic(options: &HubOptions) -> ByteCount {
    let clients = options.clients.iter().map(|listen| &listen.addr);
    let of_clients = || clients.clone().any(|addr| weft_transport::quic::target_of(addr).is_some());
    let is_used = options.has_quic_links() || of_clients();
    let links = if is_used { options.quic.links as u64 } else { 0 };
    ByteCount(options.quic.memory().0.saturating_mul(links))
}

/// What is counted of the links to one hub: per lane and column six counts, and
/// per column four more and what the program keeps of them.
fn crossing(options: &HubOptions) -> usize {
    (2 << 10) + (options.see.classes.len() + 2) * 480
}

/// The rules in force, those that were replaced and are kept, and new ones, if
/// they are as large as those at the start.
fn mapping(options: &HubOptions) -> usize {
    let of_rule = |rule: &Mapping| {
        let templates = rule.destinations().iter().map(|to| RULE + to.template().map_or(0, |text| text.len() * 8));
        RULE + rule.from().len() * 4 + templates.sum::<usize>()
    };
    options.mapping.rules().iter().map(of_rule).sum::<usize>() * (2 + FORMER_RULES)
}

/// The sum of all parts.
#[must_use]
pub fn total(options: &HubOptions) -> ByteCount {
    ByteCount(parts(options).iter().fold(0, |sum, part| sum.saturating_add(part.bytes.0)))
}

/// What to say of a configuration that reckons to more than `limits.memory`.
pub(crate) fn too_much(options: &HubOptions, reckoned: ByteCount) -> String {
    let mut parts = parts(options);
    parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
    let largest: Vec<String> = parts
        .iter()
        .filter(|part| !part.limits.is_empty())
        .take(3)
        .map(|part| format!("{} for {} ({})", part.bytes, part.name, part.limits))
        .collect();
    format!(
        "the limits reckon to {reckoned}, more than the budget of {}: raise it, or lower what takes most: {}",
        options.limits.memory,
        largest.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_their_budget_and_what_does_not_is_told_with_what_takes_most() {
        let mut options = HubOptions::new("hub");
        assert!(total(&options) <= options.limits.memory, "{}", total(&options));
        options.limits.subscriptions = 4_000_000;
        let (field, said) = options.violations().pop().expect("too much");
        assert_eq!(field, "limits.memory");
        assert!(said.contains("for subscriptions (subscriptions)") && said.contains("raise it"), "{said}");
    }

    #[test]
    fn limits_that_are_absurd_do_not_wrap() {
        let mut options = HubOptions::new("hub");
        options.limits.sessions = usize::MAX;
        options.limits.streams = usize::MAX;
        assert!(total(&options).0 > 1 << 60);
    }
}
