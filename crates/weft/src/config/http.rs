//! `[http]`: the server for HTTP.

use super::read::address;
use super::reader::{Problems, Section};
use crate::http::{HttpOptions, Readers};
use crate::time::show_duration;

pub(super) fn options(mut section: Section<'_, '_>, has_tls: bool, problems: &mut Problems) -> Option<HttpOptions> {
    let listen = address(&mut section, "listen", problems);
    let plain = section.boolean("plain", problems).unwrap_or(false);
    let mut options = HttpOptions::new(listen.clone().unwrap_or_default(), plain);
    if let Some(value) = section.number("threads", problems) {
        options.threads = value;
    }
    if let Some(value) = section.choice("metrics", &Readers::ALL, problems) {
        options.metrics = value;
    }
    if let Some(value) = section.number("connections", problems) {
        options.connections = value;
    }
    if let Some(value) = section.number("connections_per_source", problems) {
        options.connections_per_source = value;
    }
    if let Some(value) = section.number("failures_per_source", problems) {
        options.failures_per_source = value;
    }
    if let Some(value) = section.number("requests", problems) {
        options.requests = value;
    }
    if let Some(value) = section.number("sessions", problems) {
        options.sessions = value;
    }
    if let Some(value) = section.number("listeners", problems) {
        options.listeners = value;
    }
    if let Some(value) = section.bytes("listener_bytes", problems) {
        options.listener_bytes = value;
    }
    if let Some(value) = section.duration("heartbeat", problems) {
        options.heartbeat = value;
    }
    if let Some(value) = section.number("members", problems) {
        options.members = value;
    }
    if let Some(value) = section.duration("lease", problems) {
        options.lease = value;
    }
    if let Some(value) = section.bytes("head", problems) {
        options.head = value;
    }
    if let Some(value) = section.bytes("body", problems) {
        options.body = value;
    }
    if let Some(value) = section.number("batch", problems) {
        options.batch = value;
    }
    if let Some(value) = section.texts("cors_origins", problems) {
        options.cors_origins = value;
    }
    if let Some(value) = section.duration("patience", problems) {
        options.patience = value;
    }
    if let Some(value) = section.duration("idle", problems) {
        options.idle = value;
    }
    section.finish(problems);
    if !plain && !has_tls {
        let message =
            "there is no table `[tls]` with a certificate: add one, or say `plain = true` (loopback addresses only)";
        problems.add_at("http", message);
    }
    listen.map(|_| options)
}

/// Its effective values, as a configuration.
pub(crate) fn show_http(http: &HttpOptions) -> String {
    let HttpOptions {
        listen,
        plain,
        threads,
        metrics,
        connections,
        connections_per_source,
        failures_per_source,
        requests,
        sessions,
        listeners,
        listener_bytes,
        heartbeat,
        members,
        lease,
        head,
        body,
        batch,
        cors_origins,
        patience,
        idle,
    } = http;
    let (heartbeat, lease) = (show_duration(*heartbeat), show_duration(*lease));
    let (patience, idle) = (show_duration(*patience), show_duration(*idle));
    format!(
        "\n[http]\nlisten = {listen:?}\nplain = {plain}\nthreads = {threads}\nmetrics = \"{metrics}\"\nconnections = {connections}\n\
         connections_per_source = {connections_per_source}\nfailures_per_source = {failures_per_source}\n\
         requests = {requests}\nsessions = {sessions}\nlisteners = {listeners}\n\
         listener_bytes = \"{listener_bytes}\"\nheartbeat = \"{heartbeat}\"\n\
         members = {members}\nlease = \"{lease}\"\n\
         head = \"{head}\"\nbody = \"{body}\"\n\
         batch = {batch}\ncors_origins = {cors_origins:?}\n\
         patience = \"{patience}\"\nidle = \"{idle}\"\n"
    )
}
