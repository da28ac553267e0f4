//! Which keys there are, and what each sets.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weft_base::Lane;
use weft_hub::HubOptions;
use weft_hub::options::{
    Limits, Listen, LoadPolicy, Neighbour, Paths, PickOptions, ResidencyRule, Routing, StageBounds, Storage,
    StreamDefaults, Threads, Timers,
};
use weft_hub::see::{LedgerClass, Metric, SeeOptions};
use weft_log::Keys;
use weft_pack::Codec;
use weft_topic::Filter;
use weft_transport::{Congestion, IdentityFiles, QuicOptions, Security, TlsIdentity, quic, shm};

use super::joining::{self, Needs};
use super::reader::{Problems, Section};
use super::{Config, audit, control, dns, login, telemetry};

/// Where plain text may go.
pub(crate) const PLAIN_BEYOND: &str =
    "only loopback addresses go without TLS: listen on 127.0.0.1 or [::1], or leave `plain` out";

/// Sets a field from a key, if the key is there and right.
macro_rules! set {
    ($section:ident.$read:ident, $problems:ident, $($key:literal => $field:expr),+ $(,)?) => {
        $(if let Some(value) = $section.$read($key, $problems) {
            $field = value;
        })+
    };
}

/// Reads the whole document.
pub(super) fn options(mut top: Section<'_, '_>, folder: &Path, problems: &mut Problems) -> Config {
    let mut options = HubOptions::new("");
    if let Some(name) = top.needed("name", "\"new-york\"", problems) {
        options.name = name;
    }
    set!(top.texts, problems, "labels" => options.labels);
    set!(top.text, problems, "region" => options.region, "mesh" => options.mesh);
    options.location = top.location("location", problems);
    if let Some(mut section) = top.section("protocol", problems) {
        set!(section.number, problems, "most" => options.protocol_most, "least" => options.protocol_least);
        section.finish(problems);
    }
    set!(top.texts, problems, "admins" => options.admins, "advertise_clients" => options.advertise_clients);
    options.drain_on_stop = top.duration("drain_on_stop", problems);
    let log = top.choice("log", &LEVELS, problems);
    options.data = top.text("data", problems).map(|data| folder.join(data));
    let threads = [("auto", Threads::Auto), ("shared", Threads::Shared), ("dedicated", Threads::Dedicated)];
    if let Some(value) = top.choice("threading", &threads, problems) {
        options.threads = value;
    }
    options.admit_threads = top.number("admit_threads", problems);
    let mut renew = Vec::new();
    let found = top.section("tls", problems).and_then(|section| tls(section, folder, &mut renew, problems));
    let (tls, identity) = found.unzip();
    let has_tls = top.has("tls");
    for section in top.sections("clients", problems) {
        options
            .clients
            .extend(clients(section, identity.as_ref(), has_tls, problems).map(|listen| beside(folder, listen)));
    }
    if let Some(mut section) = top.section("hubs", problems) {
        if let Some(taken) = compressions(&mut section, problems) {
            options.packings = taken;
        }
        (options.hubs, options.hubs_also) = hubs(section, identity.as_ref(), has_tls, &mut options.advertise, problems);
    }
    let issue = top.section("issue", problems).and_then(|section| {
        let needs = Needs { tls: tls.as_ref(), has_tls, has_data: options.data.is_some() };
        joining::issue(section, folder, &needs, problems)
    });
    let http = top.section("http", problems).and_then(|section| super::http::options(section, has_tls, problems));
    let hooks = top.sections("webhook", problems);
    let hooks = hooks.into_iter().filter_map(|section| super::webhooks::options(section, folder, problems)).collect();
    options.link_security = identity.map(Security::Tls);
    for section in top.sections("neighbours", problems) {
        options.neighbours.extend(neighbour(section, problems));
    }
    if !options.neighbours.is_empty() && !has_tls {
        problems.add_at("neighbours", TLS_NEEDED);
    }
    if let Some(section) = top.section("pick", problems) {
        options.pick = Some(pick(section, &mut options, problems));
        if !has_tls {
            problems.add_at("pick", TLS_NEEDED);
        }
    }
    let login = top.section("login", problems).map(|section| login::read(section, folder, problems));
    if let Some(section) = top.section("dns", problems) {
        options.dns = dns::options(section, problems);
    }
    options.control = match top.section("control", problems) {
        Some(section) => control::options(section, problems),
        None => control::by_default(),
    };
    let login = login::take(login.unwrap_or_default(), &mut options, problems);
    if let Some(section) = top.section("audit", problems) {
        options.audit = audit::options(section, problems);
    }
    if let Some(section) = top.section("quic", problems) {
        quic_links(section, &mut options.quic, problems);
    }
    if let Some(section) = top.section("routing", problems) {
        routing(section, &mut options.routing, problems);
    }
    if let Some(section) = top.section("paths", problems) {
        paths(section, &mut options.paths, problems);
    }
    if let Some(section) = top.section("stages", problems) {
        stages(section, &mut options.stages, problems);
    }
    if let Some(section) = top.section("limits", problems) {
        limits(section, &mut options.limits, problems);
    }
    if let Some(section) = top.section("streams", problems) {
        streams(section, &mut options.stream_defaults, problems);
    }
    if let Some(section) = top.section("storage", problems) {
        storage(section, folder, &mut options.storage, problems);
    }
    if let Some(section) = top.section("load", problems) {
        load(section, &mut options.load, problems);
    }
    if let Some(section) = top.section("timers", problems) {
        timers(section, &mut options.timers, problems);
    }
    for section in top.sections("residency", problems) {
        options.residency.extend(residency(section, problems));
    }
    for section in top.sections("ledger", problems) {
        options.see.classes.extend(ledger_class(section, problems));
    }
    options.mapping = super::mapping::rules(&mut top, problems);
    for section in top.sections("metric", problems) {
        options.see.metrics.extend(metric(section, problems));
    }
    if let Some(section) = top.section("see", problems) {
        see(section, &mut options.see, problems);
    }
    let mut otlp = None;
    if let Some(mut section) = top.section("telemetry", problems) {
        otlp = section.section("otlp", problems).and_then(|otlp| telemetry::otlp(otlp, folder, problems));
        section.finish(problems);
    }
    options.see.traces = otlp.as_ref().and_then(|otlp| otlp.traces);
    top.finish(problems);
    Config { hub: options, tls, renew, login, issue, http, otlp, log, hooks }
}

/// What `log` may say.
const LEVELS: [(&str, tracing::Level); 5] = [
    ("error", tracing::Level::ERROR),
    ("warn", tracing::Level::WARN),
    ("info", tracing::Level::INFO),
    ("debug", tracing::Level::DEBUG),
    ("trace", tracing::Level::TRACE),
];

const TLS_NEEDED: &str = "links between hubs need mutual TLS: add a table `[tls]` with `cert`, `key` and `ca`, \
                          made with `weft ca issue hub NAME`";

/// The keys with which streams are encrypted.
fn keys(section: &mut Section<'_, '_>, folder: &Path, problems: &mut Problems) -> Option<Keys> {
    let file = section.text("key_file", problems);
    let variable = section.text("key_env", problems);
    let (at, keys) = match (file, variable) {
        (Some(_), Some(_)) => ("storage", Err("name the keys with `key_file` or with `key_env`, not both".to_owned())),
        (Some(file), None) => ("storage.key_file", crate::keys::of_file(&folder.join(file))),
        (None, Some(name)) => ("storage.key_env", crate::keys::of_variable(&name)),
        (None, None) => return None,
    };
    keys.map_err(|message| problems.add_at(at, &message)).ok()
}

fn tls(
    mut section: Section<'_, '_>,
    folder: &Path,
    renew: &mut Vec<String>,
    problems: &mut Problems,
) -> Option<(IdentityFiles, Arc<TlsIdentity>)> {
    let path = |section: &mut Section<'_, '_>, key, problems: &mut Problems| -> Option<PathBuf> {
        section.needed(key, &format!("\"{key}.pem\""), problems).map(|text| folder.join(text))
    };
    let cert = path(&mut section, "cert", problems);
    let key = path(&mut section, "key", problems);
    let ca = path(&mut section, "ca", problems);
    let crl = section.text("crl", problems).map(|text| folder.join(text));
    if section.has("renew") {
        *renew = addresses(&mut section, "renew", problems);
    }
    if section.boolean("fips", problems) == Some(true) && !weft_transport::is_fips() {
        problems.add_at("tls.fips", "this program is built without the FIPS module: build it with `--features fips`");
    }
    section.finish(problems);
    let files = IdentityFiles { cert: cert?, key: key?, ca: ca?, crl };
    match files.load() {
        Ok(identity) => Some((files, Arc::new(identity))),
        Err(error) => {
            problems.add_at("tls", &error.to_string());
            None
        }
    }
}

pub(super) fn address(section: &mut Section<'_, '_>, key: &'static str, problems: &mut Problems) -> Option<String> {
    let text = section.needed(key, "\"127.0.0.1:7411\"", problems)?;
    checked(section, key, text, problems)
}

/// The text, if it is an address.
pub(super) fn checked(
    section: &Section<'_, '_>,
    key: &'static str,
    text: String,
    problems: &mut Problems,
) -> Option<String> {
    let target = quic::target_of(&text).unwrap_or(&text);
    let port =
        target.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none() {
        let path = section.path_of(key);
        problems.add_at(&path, &format!("`{text}` is not an address: write `HOST:PORT`, for example `127.0.0.1:7411`"));
        return None;
    }
    Some(text)
}

/// Whether an address, with its port or `quic:`, is of this machine alone.
pub(crate) fn is_loopback(address: &str) -> bool {
    let socket = quic::target_of(address).unwrap_or(address);
    is_loopback_host(socket.rsplit_once(':').map_or(socket, |(host, _)| host))
}

/// The same of its host, an IPv6 address in brackets.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// One address or several.
fn addresses(section: &mut Section<'_, '_>, key: &'static str, problems: &mut Problems) -> Vec<String> {
    section.needs(key, "\"127.0.0.1:7411\"", problems);
    match section.texts(key, problems) {
        Some(all) if all.is_empty() => {
            problems.add_at(&section.path_of(key), "the list is empty: name an address, or leave the table out");
            all
        }
        Some(all) => all.into_iter().filter_map(|text| checked(section, key, text, problems)).collect(),
        None => Vec::new(),
    }
}

/// An address, or `shm:PATH`.
fn client_address(section: &mut Section<'_, '_>, problems: &mut Problems) -> Option<String> {
    let peeked = section.text("listen", &mut Problems::default());
    match peeked.filter(|text| shm::path_of(text).is_some_and(|path| !path.is_empty())) {
        Some(shared) => Some(shared),
        None => address(section, "listen", problems),
    }
}

/// With the path of shared memory taken from the configuration's folder.
fn beside(folder: &Path, listen: Listen) -> Listen {
    match shm::path_of(&listen.addr) {
        Some(path) => Listen { addr: format!("{}{}", shm::PREFIX, folder.join(path).display()), ..listen },
        None => listen,
    }
}

fn clients(
    mut section: Section<'_, '_>,
    identity: Option<&Arc<TlsIdentity>>,
    has_tls: bool,
    problems: &mut Problems,
) -> Option<Listen> {
    let addr = client_address(&mut section, problems);
    let is_shared = addr.as_deref().is_some_and(|addr| shm::path_of(addr).is_some());
    let plain = section.boolean("plain", problems).unwrap_or(false) || is_shared;
    if !plain && !has_tls {
        let message =
            "there is no table `[tls]` with a certificate: add one, or say `plain = true` (loopback addresses only)";
        problems.add(section.offset, format!("{}: {message}", section.path_of("plain")));
    }
    if plain && addr.as_deref().is_some_and(|addr| !is_shared && !is_loopback(addr)) {
        problems.add_at(&section.path_of("plain"), PLAIN_BEYOND);
    }
    section.finish(problems);
    let security = if plain { Security::Plain } else { Security::Tls(identity?.clone()) };
    Some(Listen { addr: addr?, security })
}

fn hubs(
    mut section: Section<'_, '_>,
    identity: Option<&Arc<TlsIdentity>>,
    has_tls: bool,
    advertise: &mut Vec<String>,
    problems: &mut Problems,
) -> (Option<Listen>, Vec<String>) {
    let mut addresses = addresses(&mut section, "listen", problems).into_iter();
    if !has_tls {
        problems.add_at("hubs", TLS_NEEDED);
    }
    if section.has("advertise") {
        *advertise = self::addresses(&mut section, "advertise", problems);
    }
    section.finish(problems);
    let first = addresses.next().zip(identity);
    (first.map(|(addr, identity)| Listen { addr, security: Security::Tls(identity.clone()) }), addresses.collect())
}

fn quic_links(mut section: Section<'_, '_>, quic: &mut QuicOptions, problems: &mut Problems) {
    set!(section.number, problems, "links" => quic.links);
    set!(section.bytes, problems, "window" => quic.window);
    set!(section.duration, problems, "idle" => quic.idle, "keep_alive" => quic.keep_alive);
    if let Some(value) = section.choice("congestion", &CONGESTION, problems) {
        quic.congestion = value;
    }
    section.finish(problems);
}

/// The names of what finds out how much a path carries.
pub(super) const CONGESTION: [(&str, Congestion); 3] =
    [("cubic", Congestion::Cubic), ("bbr", Congestion::Bbr), ("newreno", Congestion::NewReno)];

fn neighbour(mut section: Section<'_, '_>, problems: &mut Problems) -> Option<Neighbour> {
    let addr = section.needed("addr", "\"127.0.0.1:7412\"", problems);
    let addr = addr.and_then(|text| dns::hub(&section, "addr", text, problems));
    let name = section.text("name", problems);
    let cost = section.number("cost", problems).unwrap_or(0);
    let price_per_gb = section.number("price_per_gb", problems).unwrap_or(0);
    let packing = section.choice("compression", &COMPRESSION, problems).flatten();
    let connections = section.number("connections", problems).unwrap_or(1);
    section.finish(problems);
    let at = Vec::new();
    Some(Neighbour { addr: addr?, at, name, cost, price_per_gb, packing, connections })
}

/// How a link may be compressed.
pub(super) const COMPRESSION: [(&str, Option<Codec>); 3] =
    [("off", None), (Codec::Lz4.name(), Some(Codec::Lz4)), (Codec::Zstd.name(), Some(Codec::Zstd))];

/// How links that others dial may be compressed.
fn compressions(section: &mut Section<'_, '_>, problems: &mut Problems) -> Option<Vec<Codec>> {
    let path = section.path_of("compression");
    let mut taken = Vec::new();
    for name in section.texts("compression", problems)? {
        match COMPRESSION.iter().find(|(known, _)| *known == name) {
            Some((_, codec)) => taken.extend(codec.filter(|codec| !taken.contains(codec))),
            None => problems.add_at(&path, &format!("`{name}` is not `\"off\"` or `\"lz4\"` or `\"zstd\"`")),
        }
    }
    Some(taken)
}

fn pick(mut section: Section<'_, '_>, options: &mut HubOptions, problems: &mut Problems) -> PickOptions {
    let mut pick = PickOptions::default();
    set!(section.number, problems,
        "nearest" => pick.nearest,
        "per_region" => pick.per_region,
        "most" => pick.most,
    );
    set!(section.duration, problems, "probe" => pick.probe, "settle" => pick.settle);
    if section.has("seeds") {
        let all = section.texts("seeds", problems).unwrap_or_default();
        options.seeds = all.into_iter().filter_map(|text| dns::hub(&section, "seeds", text, problems)).collect();
    }
    options.pick_packing = section.choice("compression", &COMPRESSION, problems).flatten();
    section.finish(problems);
    pick
}

fn routing(mut section: Section<'_, '_>, routing: &mut Routing, problems: &mut Problems) {
    set!(section.number, problems,
        "rtt_weight" => routing.weights.rtt,
        "loss_weight" => routing.weights.loss,
        "price_weight" => routing.weights.price,
        "ways" => routing.spreading.ways,
        "ways_within_percent" => routing.spreading.within,
    );
    section.finish(problems);
}

fn paths(mut section: Section<'_, '_>, paths: &mut Paths, problems: &mut Problems) {
    for (key, lane) in LANES.into_iter().zip(&mut paths.lanes) {
        if let Some(value) = section.number(key, problems) {
            *lane = value;
        }
    }
    set!(section.duration, problems, "patience" => paths.patience);
    set!(section.bytes, problems, "waiting" => paths.waiting);
    section.finish(problems);
}

fn stages(mut section: Section<'_, '_>, stages: &mut StageBounds, problems: &mut Problems) {
    stages.cores = section.number("cores", problems).or(stages.cores);
    set!(section.duration, problems, "interval" => stages.interval);
    set!(section.number, problems,
        "leave_cores" => stages.leave_cores,
        "saturated_percent" => stages.saturated_percent,
        "idle_percent" => stages.idle_percent,
        "batch_least" => stages.batch_least,
        "batch_most" => stages.batch_most,
    );
    section.finish(problems);
}

fn limits(mut section: Section<'_, '_>, limits: &mut Limits, problems: &mut Problems) {
    set!(section.bytes, problems,
        "frame" => limits.frame,
        "arena" => limits.arena,
        "subscriber_bytes" => limits.subscriber_bytes,
        "held_bytes" => limits.held_bytes,
        "link_window" => limits.link_window,
        "link_window_most" => limits.link_window_most,
        "link_bytes" => limits.link_bytes,
        "socket_bytes" => limits.socket_bytes,
        "unsent_bytes" => limits.unsent_bytes,
        "publish_bytes" => limits.publish_bytes,
        "memory" => limits.memory,
        "shm_ring" => limits.shm_ring,
        "tunnel_bytes" => limits.tunnel_bytes,
        "replica_bytes" => limits.replica_bytes,
        "batch_bytes" => limits.batch_bytes,
        "spool_bytes" => limits.spool_bytes,
        "tenant_stream_bytes" => limits.tenant_stream_bytes,
    );
    set!(section.duration, problems, "schedule_ahead" => limits.schedule_ahead);
    set!(section.number, problems,
        "sessions" => limits.sessions,
        "tunnels" => limits.tunnels,
        "subscriptions_per_session" => limits.subscriptions_per_session,
        "subscriptions" => limits.subscriptions,
        "subscriptions_per_name" => limits.subscriptions_per_name,
        "interest_changes" => limits.interest_changes,
        "hubs" => limits.hubs,
        "receipts" => limits.receipts,
        "drain_rate" => limits.drain_rate,
        "subscriber_events" => limits.subscriber_events,
        "waiting_blocks" => limits.waiting_blocks,
        "conflate_keys" => limits.conflate_keys,
        "dial_failures" => limits.dial_failures,
        "picked_links" => limits.picked_links,
        "link_connections" => limits.link_connections,
        "publish_blocks" => limits.publish_blocks,
        "flow_blocks" => limits.flow_blocks,
        "ring_slots" => limits.ring_slots,
        "shm_sessions" => limits.shm_sessions,
        "stream_producers" => limits.stream_producers,
        "replica_producers" => limits.replica_producers,
        "replica_readers" => limits.replica_readers,
        "stream_last_values" => limits.stream_last_values,
        "open_batches" => limits.open_batches,
        "batch_blocks" => limits.batch_blocks,
        "scheduled" => limits.scheduled,
        "spool_streams" => limits.spool_streams,
        "topics" => limits.topics,
        "producers" => limits.producers,
        "streams" => limits.streams,
        "consumers" => limits.consumers,
        "consumers_per_stream" => limits.consumers_per_stream,
        "in_flight" => limits.in_flight,
    );
    section.finish(problems);
}

/// The names of what may happen to publishes that wait too long.
pub(super) const LOAD_POLICIES: [(&str, LoadPolicy); 5] = [
    ("off", LoadPolicy::Off),
    ("wait", LoadPolicy::Wait),
    ("shed-oldest", LoadPolicy::ShedOldest),
    ("shed-newest", LoadPolicy::ShedNewest),
    ("refuse", LoadPolicy::Refuse),
];
/// The keys of the lanes.
pub(super) const LANES: [&str; Lane::COUNT] = ["lane0", "lane1", "lane2", "lane3", "lane4", "lane5", "lane6", "lane7"];

fn load(mut section: Section<'_, '_>, load: &mut [LoadPolicy; Lane::COUNT], problems: &mut Problems) {
    for (key, policy) in LANES.into_iter().zip(load) {
        if let Some(value) = section.choice(key, &LOAD_POLICIES, problems) {
            *policy = value;
        }
    }
    section.finish(problems);
}

fn streams(mut section: Section<'_, '_>, streams: &mut StreamDefaults, problems: &mut Problems) {
    set!(section.bytes, problems, "segment" => streams.segment);
    streams.retain_bytes = section.bytes("retain_bytes", problems).or(streams.retain_bytes);
    streams.retain_age = section.duration("retain_age", problems).or(streams.retain_age);
    section.finish(problems);
}

fn storage(mut section: Section<'_, '_>, folder: &Path, storage: &mut Storage, problems: &mut Problems) {
    set!(section.rate, problems, "verify" => storage.verify);
    set!(section.bytes, problems, "repair" => storage.repair);
    set!(
        section.duration, problems,
        "verify_every" => storage.verify_every,
        "repair_pause" => storage.repair_pause,
        "repair_backoff" => storage.repair_backoff,
    );
    storage.keys = keys(&mut section, folder, problems);
    section.finish(problems);
}

/// A class of topics that are counted together.
fn ledger_class(mut section: Section<'_, '_>, problems: &mut Problems) -> Option<LedgerClass> {
    let name = section.needed("class", "\"orders\"", problems);
    section.needs("topics", "\"orders/**\"", problems);
    let topics = filter(&mut section, "topics", problems);
    section.finish(problems);
    Some(LedgerClass { name: name?, topics: topics? })
}

fn metric(mut section: Section<'_, '_>, problems: &mut Problems) -> Option<Metric> {
    let name = section.needed("name", "\"orders\"", problems);
    section.needs("filter", "\"orders/**\"", problems);
    let filter = filter(&mut section, "filter", problems);
    let by = section.number("by", problems);
    let limit = section.number("limit", problems).unwrap_or(64);
    section.finish(problems);
    Some(Metric { name: name?, filter: filter?, by, limit })
}

fn residency(mut section: Section<'_, '_>, problems: &mut Problems) -> Option<ResidencyRule> {
    section.needs("filter", "\"eu/**\"", problems);
    let label = section.needed("label", "\"eu\"", problems);
    let filter = filter(&mut section, "filter", problems);
    section.finish(problems);
    Some(ResidencyRule { filter: filter?, label: label? })
}

fn filter(section: &mut Section<'_, '_>, key: &'static str, problems: &mut Problems) -> Option<Filter> {
    let text = section.text(key, problems)?;
    match Filter::parse(&text) {
        Ok(filter) => Some(filter),
        Err(error) => {
            problems.add_at(&section.path_of(key), &error.to_string());
            None
        }
    }
}

fn see(mut section: Section<'_, '_>, see: &mut SeeOptions, problems: &mut Problems) {
    set!(section.number, problems, "window" => see.window);
    set!(section.duration, problems, "alarm_after" => see.alarm_after);
    set!(section.duration, problems, "links_every" => see.links_every);
    set!(section.number, problems, "consumers" => see.consumers);
    set!(section.boolean, problems, "histograms" => see.histograms);
    section.finish(problems);
}

fn timers(mut section: Section<'_, '_>, timers: &mut Timers, problems: &mut Problems) {
    set!(section.duration, problems,
        "hello" => timers.hello,
        "probe" => timers.probe,
        "link_silence" => timers.link_silence,
        "link_hold" => timers.link_hold,
        "link_stable" => timers.link_stable,
        "redial_first" => timers.redial_first,
        "redial_most" => timers.redial_most,
        "alone" => timers.alone,
        "drain" => timers.drain,
        "drain_clients" => timers.drain_clients,
        "identity" => timers.identity,
        "home_patience" => timers.home_patience,
        "interest_retention" => timers.interest_retention,
        "interest_damping" => timers.interest_damping,
        "spool_gone" => timers.spool_gone,
        "positions" => timers.positions,
        "keyed_syncs" => timers.keyed_syncs,
        "batch" => timers.batch,
        "consumer_copies" => timers.consumer_copies,
        "replica_keep_alive" => timers.replica_keep_alive,
        "replica_timeout" => timers.replica_timeout,
        "replica_backoff" => timers.replica_backoff,
    );
    section.finish(problems);
}
