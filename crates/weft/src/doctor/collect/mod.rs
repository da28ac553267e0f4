//! Finds the facts out: reads the machine's files, tries the disk, asks a hub. As
//! thin as can be; what is harmful is decided by `checks`, what texts of the system
//! mean by `texts`. Changes nothing but a file that it makes in the data folder and
//! removes again.

mod disk;
mod hub;
mod machine;
mod texts;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use weft_base::{ByteCount, Clock, SystemClock};
use weft_hub::budget;
use weft_hub::options::{LoadPolicy, Threads};
use weft_transport::{IdentityFiles, quic, shm};

use super::facts::{Certificate, Configured, Facts, KeyFile};
use super::finding::Unknown;
use crate::cli::ServerArgs;
use crate::config::{Config, is_loopback};

pub(super) use self::hub::ask;

/// Files that a hub has open besides connections: its logs, epoll, wakers, the program.
const OTHER_FILES: u64 = 128;
/// Of each stream: its newest segment, its index, what readers have mapped.
const FILES_OF_STREAM: u64 = 4;

/// What was found out, and what could not be.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) facts: Facts,
    pub(super) unknown: Vec<Unknown>,
}

impl Collected {
    /// A fact, or why there is none.
    fn know<T>(&mut self, what: &'static str, found: Result<T, String>) -> Option<T> {
        found.map_err(|why| self.unknown.push(Unknown { what, why })).ok()
    }
}

/// Of this machine, by a configuration where there is one.
pub(super) fn of_machine(config: Option<&Config>) -> Collected {
    let mut found = Collected::default();
    found.facts.now = SystemClock::new().now().wall;
    found.facts.machine = Some(machine::look(&mut found));
    if let Some(config) = config {
        found.facts.config = Some(configured(config));
        // The authority's key and those of streams are refused where others can read them.
        if let Some(path) = config.tls.as_ref().map(|files| &files.key)
            && let Some(mode) = found.know("the mode of a key", mode_of(path))
        {
            found.facts.keys.push(KeyFile { path: path.display().to_string(), mode });
        }
        if let Some(certificate) = config.tls.as_ref().and_then(|files| certificate(files, &mut found)) {
            found.facts.certificates.push(certificate);
        }
        if let Some(folder) = &config.hub.data {
            found.facts.data = Some(disk::look(folder, &mut found));
        }
    }
    found
}

/// Whether the hub at these addresses is on this machine.
pub(super) fn is_here(server: &ServerArgs) -> bool {
    let here = |address: &String| shm::path_of(address).is_some() || is_loopback(address);
    server.servers.iter().all(here)
}

fn mode_of(path: &Path) -> Result<u32, String> {
    std::fs::metadata(path).map(|file| file.permissions().mode()).map_err(|e| format!("{}: {e}", path.display()))
}

fn certificate(files: &IdentityFiles, found: &mut Collected) -> Option<Certificate> {
    let identity = found.know("the certificate", files.load().map_err(|e| e.to_string()))?;
    let ends = identity.me().expires?;
    Some(Certificate { path: files.cert.display().to_string(), begins: identity.begins(), ends })
}

/// What of a configuration the checks go by.
fn configured(config: &Config) -> Configured {
    let hub = &config.hub;
    let l = &hub.limits;
    let is_beyond = |addr: &str| shm::path_of(addr).is_none() && !is_loopback(addr);
    let has_links = hub.hubs.is_some() || !hub.neighbours.is_empty() || hub.pick.is_some();
    let links_by_quic =
        hub.hubs.iter().map(|listen| listen.addr.as_str()).chain(hub.hubs_also.iter().map(String::as_str));
    let by_quic = links_by_quic
        .chain(hub.clients.iter().map(|listen| listen.addr.as_str()))
        .chain(hub.neighbours.iter().map(|neighbour| neighbour.addr.as_str()))
        .any(|addr| quic::target_of(addr).is_some());
    let http = config.http.as_ref().map_or(0, |http| http.connections as u64);
    let streams = if hub.data.is_some() { l.streams as u64 * FILES_OF_STREAM } else { 0 };
    let connections = l.sessions as u64 + http;
    Configured {
        enforces: hub.control.enforce,
        is_reachable: hub.clients.iter().any(|listen| is_beyond(&listen.addr))
            || config.http.as_ref().is_some_and(|http| is_beyond(&http.listen)),
        has_admins: !hub.admins.is_empty(),
        has_data: hub.data.is_some(),
        has_links,
        quic_buffer: by_quic.then_some(hub.quic.socket_buffer),
        memory: budget::total(hub),
        arena: l.arena,
        // Shared memory: a socket and a mapping of each client.
        files: connections + 2 * l.shm_sessions as u64 + streams + OTHER_FILES,
        connections,
        cores: hub.stages.cores.map(|cores| cores as usize),
        is_dedicated: hub.threads == Threads::Dedicated,
        queues: vec![
            ("socket_bytes", l.socket_bytes),
            ("subscriber_bytes", l.subscriber_bytes),
            ("link_bytes", l.link_bytes),
            ("link_window_most", l.link_window_most),
            ("publish_bytes", l.publish_bytes),
            ("held_bytes", l.held_bytes),
            ("replica_bytes", l.replica_bytes),
        ],
        unsent: l.unsent_bytes,
        windows: (l.link_window, l.link_window_most),
        unconditioned_lanes: (0..)
            .zip(&hub.load)
            .filter(|(_, policy)| **policy == LoadPolicy::Off)
            .map(|(n, _)| n)
            .collect(),
        room: (hub.stream_defaults.segment, if hub.data.is_some() { l.spool_bytes } else { ByteCount(0) }),
        renews: !config.renew.is_empty(),
    }
}
