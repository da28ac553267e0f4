//! Of a running hub: what its counters, its links and other hubs say.

use std::time::Duration;

use super::Found;
use crate::doctor::facts::Running;
use crate::time::show_bytes;

/// From so many published events on their lanes say something.
const ENOUGH: u64 = 10_000;
/// The share of one lane, in percent, from which lanes are not in use.
const ONE_LANE: u64 = 99;
/// How far clocks may be apart.
const SKEW: Duration = Duration::from_millis(50);
const MUCH_SKEW: Duration = Duration::from_secs(1);
/// A stage that works for this share of the time of each of its shards is at its end.
const BUSY_PERMILLE: u64 = 900;
/// Below it a stage idles, and what it says of waits is reckoned from next to no work.
const IDLE_PERMILLE: u64 = 100;
/// What waits longer than this inside a hub waits too long.
const WAIT_US: u64 = 50_000;
/// The fastest line that a window is held against, in bytes a second: 10 Gbit/s.
const FAST_LINE: u64 = 1_250_000_000;
/// The smallest window that is looked at: there must be room for a few frames.
const SMALL_WINDOW: u64 = 8 << 20;
/// Dropped copies, in thousandths of all, that are worth a word.
const DROPS_PERMILLE: u64 = 10;

pub(super) fn checks(running: &Running, found: &mut Found) {
    lanes(running, found);
    clocks(running, found);
    links(running, found);
    stages(running, found);
    counters(running, found);
}

fn lanes(running: &Running, found: &mut Found) {
    let each: Vec<(u8, u64)> = (0..8).map(|n| (n, running.counter(&format!("lane.{n}.published")))).collect();
    let all: u64 = each.iter().map(|(_, n)| *n).sum();
    let Some((lane, most)) = each.into_iter().max_by_key(|(_, n)| *n).filter(|_| all >= ENOUGH) else { return };
    if most.saturating_mul(100) >= all.saturating_mul(ONE_LANE) {
        let measured = format!("{most} of {all} events at {} were published in lane {lane}", running.name);
        let remedy = "give what is urgent a lower lane and what is bulk a higher one (docs/lanes.md): in one lane \
                      everything waits for everything";
        found.warning("one_lane", measured, remedy);
    }
}

fn clocks(running: &Running, found: &mut Found) {
    for other in &running.others {
        if !other.answered {
            let measured = format!("{} did not answer {}", other.name, running.name);
            found.warning("hub_silent", measured, "see whether it runs, and its links: `weft mesh show` there");
            continue;
        }
        // Only what is surely wrong.
        let apart = Duration::from_nanos(other.ahead_ns.unsigned_abs()).saturating_sub(other.give_or_take);
        let way = if other.ahead_ns > 0 { "ahead of" } else { "behind" };
        let measured = format!("the clock of {} is at least {apart:.1?} {way} that of {}", other.name, running.name);
        let remedy = "have both kept by chrony: deadlines and retention go by the clock of the hub that acts";
        if apart > MUCH_SKEW {
            found.harmful("clock_skew", measured, remedy);
        } else if apart > SKEW {
            found.warning("clock_skew", measured, remedy);
        }
    }
}

fn links(running: &Running, found: &mut Found) {
    for link in &running.bad_links {
        found.warning("link_bad", format!("the link {link}"), "`weft mesh show`, and the log of both hubs");
    }
    for line in &running.lines {
        // What any line carries in four round trips.
        let useful = (line.rtt.as_secs_f64() * 4.0 * FAST_LINE as f64) as u64;
        if line.window.0 > useful.max(SMALL_WINDOW) {
            let measured = format!(
                "the window to {} is {} at a round trip of {:.1?}: more than 10 Gbit/s carry in four of them",
                line.peer,
                show_bytes(line.window),
                line.rtt
            );
            let remedy = "lower `limits.link_window` or `limits.link_window_most`: what is beyond it waits on the line";
            found.warning("long_window", measured, remedy);
        }
    }
}

fn stages(running: &Running, found: &mut Found) {
    let names = running.counters.iter().filter_map(|(name, _)| name.strip_prefix("stage.")?.strip_suffix(".depth"));
    for stage in names {
        let of = |what: &str| running.counter(&format!("stage.{stage}.{what}"));
        let (busy, shards, wait, depth) = (of("busy_permille"), of("shards").max(1), of("wait_us"), of("depth"));
        if busy >= BUSY_PERMILLE * shards {
            let measured = format!("the stage {stage} worked {} % of the time", busy / 10 / shards);
            let remedy = "it is at its end: `weft profile` says why; more cores, or another hub for some clients";
            found.warning("stage_saturated", measured, remedy);
        }
        if wait > WAIT_US && depth > 0 && busy >= IDLE_PERMILLE {
            let measured = format!("{depth} units wait {} ms for the stage {stage}", wait / 1_000);
            let remedy = "publishers send more than it takes: bound them (`[load]`, quotas, `limits.publish_blocks`)";
            found.warning("stage_waits", measured, remedy);
        }
    }
}

fn counters(running: &Running, found: &mut Found) {
    let of = |name: &str| running.counter(name);
    let mut grown = |name: &'static str, code: &'static str, is_harmful: bool, remedy: &str| {
        if of(name) > 0 {
            let measured = format!("`{name}` is {}", of(name));
            if is_harmful {
                found.harmful(code, measured, remedy);
            } else {
                found.warning(code, measured, remedy);
            }
        }
    };
    grown(
        "ledger.alarms",
        "ledger_alarm",
        true,
        "keep the log and report it: events went uncounted (docs/operating.md)",
    );
    grown("log.repair_failed", "damage", true, "`weft log verify`, the disk, and a backup");
    grown("audit.lost", "audit_lost", true, "the disk: records of the audit log are gone");
    grown("control.stopped", "control_stopped", true, "the disk, then start the hub again");
    grown("arena.starved_turns", "arena_full", false, "raise `limits.arena`, or find the slow subscriber");
    grown("certificate.renewal_failed", "renewal_failed", false, "`renewal_failed` in the log has the reason");
    grown("links.disagreed", "links_disagree", false, "`link_refused` in the log has the setting and both values");
    let (copies, dropped) = (of("ledger.copies"), drops(running).map(|(_, n)| n).sum::<u64>());
    if copies >= ENOUGH && dropped.saturating_mul(1_000) >= copies.saturating_mul(DROPS_PERMILLE) {
        let worst = drops(running).max_by_key(|(_, n)| *n);
        let (worst, n) = worst.unwrap_or_default();
        let measured = format!("{dropped} of {copies} copies were dropped, most of them as `{worst}` ({n})");
        found.warning("drops", measured, "`weft mesh why-not`, and what each reason means in docs/flow-control.md");
    }
}

/// Dropped copies by reason; what nobody wanted was no loss.
fn drops(running: &Running) -> impl Iterator<Item = (&str, u64)> {
    let dropped = running.counters.iter().filter_map(|(name, n)| Some((name.strip_prefix("ledger.dropped.")?, *n)));
    dropped.filter(|(reason, _)| *reason != "no_interest")
}
