//! What is configured of the server for HTTP, `[http]`.

use std::num::NonZero;
use std::time::Duration;

use weft_base::ByteCount;

use super::{Readers, cors};
use crate::config::{PLAIN_BEYOND, is_loopback};

/// The most origins that are named.
const MOST_ORIGINS: usize = 64;
/// Threads where nothing is said: one for two cores, up to these.
const DEFAULT_THREADS: usize = 4;

/// The server for HTTP, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpOptions {
    /// Where it listens, `HOST:PORT`.
    pub(crate) listen: String,
    /// Without TLS, on loopback alone.
    pub(crate) plain: bool,
    /// Threads that serve.
    pub(crate) threads: usize,
    /// Who may read `/metrics`.
    pub(crate) metrics: Readers,
    /// Connections at a time; more are closed as they come.
    pub(crate) connections: usize,
    /// Connections at a time of one source, an address or of IPv6 a /64; more are
    /// closed as they come.
    pub(crate) connections_per_source: usize,
    /// Requests a minute of one source that are answered 401; it is answered 429
    /// beyond it.
    pub(crate) failures_per_source: u32,
    /// Requests under way at a time; more are refused with 503.
    pub(crate) requests: usize,
    /// Sessions at the hub of who asks, one for each principal, at a time; where one
    /// more is needed and none is spare, the answer is 503.
    pub(crate) sessions: usize,
    /// Who listen to events at a time; more are refused with 503.
    pub(crate) listeners: usize,
    /// What may wait for one who listens to what is published.
    pub(crate) listener_bytes: ByteCount,
    /// How often who listens is told that the connection is there; one that takes
    /// nothing for twice as long is ended.
    pub(crate) heartbeat: Duration,
    /// Members of consumers that take by HTTP, at a time; more are refused with 503.
    pub(crate) members: usize,
    /// How long such a member stays that nobody uses.
    pub(crate) lease: Duration,
    /// The most bytes of a request's head; beyond it the answer is 431.
    pub(crate) head: ByteCount,
    /// The most bytes of a body that is published; beyond it the answer is 413.
    pub(crate) body: ByteCount,
    /// The most events of one request; beyond it the answer is 413.
    pub(crate) batch: usize,
    /// Origins whose pages may use the hub, `https://app.example`, or `*` for all of them,
    /// without passwords and certificates.
    pub(crate) cors_origins: Vec<String>,
    /// How long a request may take, from its head to the answer.
    pub(crate) patience: Duration,
    /// How long a connection may stay without a request.
    pub(crate) idle: Duration,
}

impl HttpOptions {
    /// With the defaults.
    pub(crate) fn new(listen: String, plain: bool) -> Self {
        let (patience, idle) = (Duration::from_secs(30), Duration::from_secs(60));
        Self {
            listen,
            plain,
            threads: (std::thread::available_parallelism().map_or(1, NonZero::get) / 2).clamp(1, DEFAULT_THREADS),
            metrics: Readers::default(),
            connections: 1_024,
            connections_per_source: 256,
            failures_per_source: 120,
            requests: 256,
            sessions: 64,
            listeners: 2_048,
            listener_bytes: ByteCount::kib(256),
            heartbeat: Duration::from_secs(15),
            members: 256,
            lease: Duration::from_secs(60),
            head: ByteCount::kib(32),
            body: ByteCount::mib(1),
            batch: 1_000,
            cors_origins: Vec::new(),
            patience,
            idle,
        }
    }

    /// What contradicts itself, by the path of a key.
    pub(crate) fn violations(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut add = |key: &str, why: &str| found.push((format!("http.{key}"), why.to_owned()));
        if self.plain && !is_loopback(&self.listen) {
            add("plain", PLAIN_BEYOND);
        }
        if !(1..=256).contains(&self.threads) {
            add("threads", "take from 1 to 256; more than the machine has cores are of no use");
        }
        if !(1..=65_536).contains(&self.connections) {
            add("connections", "take from 1 to 65536");
        }
        if !(1..=65_536).contains(&self.connections_per_source) {
            add("connections_per_source", "take from 1 to 65536; what is beyond `connections` limits nothing");
        }
        if !(1..=1_000_000).contains(&self.failures_per_source) {
            add("failures_per_source", "take from 1 to 1000000, a minute");
        }
        if !(1..=4_096).contains(&self.requests) {
            add("requests", "take from 1 to 4096: each may hold a body");
        }
        if !(1..=1_024).contains(&self.sessions) {
            add("sessions", "take from 1 to 1024: each has a thread and a connection of its own");
        }
        if !(1..=65_536).contains(&self.listeners) {
            add("listeners", "take from 1 to 65536: each has `listener_bytes`");
        }
        if !(ByteCount::kib(4)..=ByteCount::mib(64)).contains(&self.listener_bytes) {
            add("listener_bytes", "take from \"4 KiB\" to \"64 MiB\", for each who listens");
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(300)).contains(&self.heartbeat) {
            add("heartbeat", "take from \"100 ms\" to \"5 min\"");
        }
        if !(1..=4_096).contains(&self.members) {
            add("members", "take from 1 to 4096");
        }
        if !(ByteCount::kib(8)..=ByteCount::mib(1)).contains(&self.head) {
            add("head", "take from \"8 KiB\" to \"1 MiB\"");
        }
        if !(ByteCount::kib(1)..=ByteCount::mib(64)).contains(&self.body) {
            add("body", "take from \"1 KiB\" to \"64 MiB\": each of `requests` may hold as much");
        }
        if !(1..=10_000).contains(&self.batch) {
            add("batch", "take from 1 to 10000");
        }
        let is_bad = |origin: &String| !cors::is_origin(origin);
        if self.cors_origins.len() > MOST_ORIGINS || self.cors_origins.iter().any(is_bad) {
            add(
                "cors_origins",
                "take at most 64 of the form `https://app.example` or `https://app.example:8443`, or `*` for any",
            );
        }
        for (key, value) in [("patience", self.patience), ("idle", self.idle), ("lease", self.lease)] {
            if !(Duration::from_millis(100)..=Duration::from_secs(3_600)).contains(&value) {
                add(key, "take from \"100 ms\" to \"1 h\"");
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(change: impl FnOnce(&mut HttpOptions)) -> Vec<String> {
        let mut options = HttpOptions::new("127.0.0.1:8081".to_owned(), true);
        change(&mut options);
        options.violations().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn only_loopback_goes_without_tls_and_each_limit_has_a_limit() {
        for listen in ["127.0.0.1:0", "127.8.0.1:1", "[::1]:8081", "localhost:8081"] {
            assert!(wrong(|options| listen.clone_into(&mut options.listen)).is_empty(), "{listen}");
        }
        for listen in ["0.0.0.0:8081", "[::]:8081", "10.0.0.1:8081", "localhost.example.org:8081", "127.0.0.1.org:1"] {
            assert_eq!(wrong(|options| listen.clone_into(&mut options.listen)), ["http.plain"], "{listen}");
        }
        assert!(HttpOptions::new("0.0.0.0:8081".to_owned(), false).violations().is_empty());
        assert_eq!(wrong(|options| options.connections = 0), ["http.connections"]);
        assert_eq!(wrong(|options| options.connections_per_source = 0), ["http.connections_per_source"]);
        assert_eq!(wrong(|options| options.failures_per_source = 0), ["http.failures_per_source"]);
        assert_eq!(wrong(|options| options.requests = 5_000), ["http.requests"]);
        assert_eq!(wrong(|options| options.sessions = 0), ["http.sessions"]);
        assert_eq!(wrong(|options| options.listeners = 0), ["http.listeners"]);
        assert_eq!(wrong(|options| options.listener_bytes = ByteCount(1)), ["http.listener_bytes"]);
        assert_eq!(wrong(|options| options.heartbeat = Duration::ZERO), ["http.heartbeat"]);
        assert_eq!(wrong(|options| options.members = 0), ["http.members"]);
        assert_eq!(wrong(|options| options.lease = Duration::ZERO), ["http.lease"]);
        assert_eq!(wrong(|options| options.head = ByteCount(100)), ["http.head"]);
        assert_eq!(wrong(|options| options.body = ByteCount::mib(65)), ["http.body"]);
        assert_eq!(wrong(|options| options.batch = 0), ["http.batch"]);
        assert_eq!(wrong(|options| options.cors_origins = vec!["app.example".to_owned()]), ["http.cors_origins"]);
        assert!(wrong(|options| options.cors_origins = vec!["https://app.example".to_owned()]).is_empty());
        assert_eq!(wrong(|options| options.idle = Duration::ZERO), ["http.idle"]);
        assert_eq!(wrong(|options| options.patience = Duration::from_secs(86_400)), ["http.patience"]);
    }
}
