//! Of the configuration, its key files and its certificates.

use std::time::Duration;

use weft_base::{ByteCount, UnixNanos};

use super::Found;
use crate::doctor::facts::{Certificate, Configured, KeyFile};
use crate::time::{rfc3339, show_bytes};

/// The line that queues are held against, in bytes a second: 1 Gbit/s.
const LINE: u64 = 125_000_000;
/// What a full queue may add to the wait on it.
const MOST_WAIT: Duration = Duration::from_secs(1);
/// The slow line that what the system has unsent is held against: 100 Mbit/s.
const SLOW_LINE: u64 = 12_500_000;
/// What that may add for urgent events, in milliseconds.
const MOST_UNSENT_MS: u64 = 50;
/// When nobody renews a certificate, this is near its end.
const NEAR: Duration = Duration::from_secs(7 * 86_400);

pub(super) fn checks(config: &Configured, found: &mut Found) {
    rights(config, found);
    queues(config, found);
}

fn rights(config: &Configured, found: &mut Found) {
    let open = "every client may do everything: `enforce` is false";
    if !config.enforces && config.is_reachable {
        let measured = format!("{open}, and other machines reach the hub");
        found.harmful("open_to_all", measured, "`enforce = true` in `[control]`, with policies (docs/governance.md)");
    } else if !config.enforces {
        let measured = format!("{open}, on loopback alone");
        found.note("open_on_loopback", measured, "fine for development; `enforce = true` before others reach it");
    } else if !config.has_data && !config.has_admins {
        let measured = "policies decide, and without `data` there are none, nor `admins`".to_owned();
        found.warning("closed_to_all", measured, "name a folder with `data`, or somebody in `admins`");
    } else if !config.has_admins {
        let measured = "nobody is named in `admins`".to_owned();
        let remedy = "name one or two: when no policy lets anybody administer, nobody else can";
        found.note("no_admins", measured, remedy);
    }
}

/// How long bytes take over a line, in milliseconds.
const fn millis_of(bytes: ByteCount, line: u64) -> u64 {
    bytes.0.saturating_mul(1_000) / line
}

fn queues(config: &Configured, found: &mut Found) {
    for (key, bytes) in &config.queues {
        let millis = millis_of(*bytes, LINE);
        if Duration::from_millis(millis) > MOST_WAIT {
            let measured = format!("`limits.{key}` is {}: {millis} ms of a line of 1 Gbit/s", show_bytes(*bytes));
            let remedy =
                "make it smaller: beyond what a line carries in a round trip or two a queue adds latency alone";
            found.warning("long_queue", measured, remedy);
        }
    }
    let millis = millis_of(config.unsent, SLOW_LINE);
    if millis > MOST_UNSENT_MS {
        let measured = format!(
            "`limits.unsent_bytes` is {}: urgent events wait up to {millis} ms behind it on a line of 100 Mbit/s",
            show_bytes(config.unsent)
        );
        found.warning("urgent_waits", measured, "leave it at 64 KiB: what the system holds no lane can overtake");
    }
    let lanes = &config.unconditioned_lanes;
    if lanes.contains(&7) {
        let measured = format!("`[load]` is `off` in the lanes {lanes:?}");
        let remedy = "`wait`, `refuse` or a `shed-` policy in the least urgent lanes: otherwise what waits under overload \
                      grows until the arena is full, for all lanes";
        found.warning("overload_unbounded", measured, remedy);
    }
}

/// Files with keys that others can read.
pub(super) fn keys(keys: &[KeyFile], found: &mut Found) {
    for KeyFile { path, mode } in keys {
        let measured = format!("`{path}` holds a key and has the mode {:o}", mode & 0o7777);
        let remedy = format!("chmod 600 {path}");
        if mode & 0o007 != 0 {
            found.harmful("key_readable", measured, &format!("{remedy}, and replace the key: anybody could read it"));
        } else if mode & 0o077 != 0 {
            found.warning("key_readable_by_group", measured, &remedy);
        }
    }
}

/// Certificates that end.
pub(super) fn certificates(certificates: &[Certificate], renews: bool, now: UnixNanos, found: &mut Found) {
    for Certificate { path, begins, ends } in certificates {
        let (left, whole) = (ends.0.saturating_sub(now.0), ends.0.saturating_sub(begins.0));
        let days = left / 86_400_000_000_000;
        let measured = format!("`{path}` ends in {days} days, at {}", rfc3339(*ends));
        let remedy = if renews {
            "see why it was not renewed: `renewal_failed` in the log has what each address said"
        } else {
            "put a new one in its place (`weft ca issue`, `weft renew`), or let the hub do so: `renew` in `[tls]`"
        };
        if *ends <= now {
            let measured = format!("`{path}` has ended, at {}", rfc3339(*ends));
            found.harmful("certificate_ended", measured, remedy);
        } else if begins.0 > now.0 {
            let measured = format!("`{path}` begins at {}, which is later than now", rfc3339(*begins));
            found.harmful("certificate_not_yet", measured, "see that the clock is right, here and where it was made");
        } else if left < whole / 10 || Duration::from_nanos(left) < NEAR.min(Duration::from_nanos(whole / 3)) {
            found.harmful("certificate_ends_soon", measured, remedy);
        } else if left < whole / 3 {
            // At two thirds a hub that renews has done so.
            found.warning("certificate_ends_soon", measured, remedy);
        }
    }
}
