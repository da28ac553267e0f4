//! The table at the end, on stdout.

use std::io::{self, Write};

use hdrhistogram::Histogram;
use weft_client::MeshReport;

use super::check::{Outage, Run, Verdict};
use super::flights::HUBS;
use super::traffic::Notes;

/// The longest latency that is told apart: a minute, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// Prints what happened.
pub(super) fn print(
    run: &Run,
    verdict: &Verdict,
    notes: &[Notes],
    late: &Notes,
    reports: &[MeshReport],
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    published(&mut out, run)?;
    delivered(&mut out, run, verdict, notes)?;
    stream(&mut out, run, verdict, late)?;
    carried(&mut out, reports)?;
    latency(&mut out, run, notes)?;
    ledgers(&mut out, run)?;
    missing(&mut out, verdict)?;
    out.flush()
}

fn published(out: &mut impl Write, run: &Run) -> io::Result<()> {
    writeln!(out, "\n{:<14} {:>10} {:>13} {:>9}", "PUBLISHED AT", "EVENTS", "ACKNOWLEDGED", "DURABLE")?;
    for (hub, place) in HUBS.iter().enumerate() {
        let events = || run.events.iter().filter(|event| event.hub == hub);
        let acknowledged = events().filter(|event| event.acknowledged.is_some()).count();
        let durable = events().filter(|event| event.durable).count();
        writeln!(out, "{:<14} {:>10} {acknowledged:>13} {durable:>9}", place.shown, events().count())?;
    }
    Ok(())
}

fn delivered(out: &mut impl Write, run: &Run, verdict: &Verdict, notes: &[Notes]) -> io::Result<()> {
    let head = ("DELIVERED AT", "EXPECTED", "RECEIVED", "CUT OFF", "GAPS", "RECONNECTED");
    writeln!(out, "\n{:<42} {:>9} {:>9} {:>8} {:>6} {:>12}", head.0, head.1, head.2, head.3, head.4, head.5)?;
    for ((subscriber, tally), notes) in run.subscribers.iter().zip(&verdict.tallies).zip(notes) {
        writeln!(
            out,
            "{:<42} {:>9} {:>9} {:>8} {:>6} {:>12}",
            subscriber.name, tally.expected, tally.received, tally.cut_off, subscriber.marked, notes.reconnections
        )?;
    }
    for (hub, place) in HUBS.iter().enumerate() {
        let received: usize =
            run.subscribers.iter().zip(&verdict.tallies).filter(|(s, _)| s.hub == hub).map(|(_, t)| t.received).sum();
        writeln!(out, "{:<42} {:>9} {received:>9}", format!("{}, all together", place.shown), "")?;
    }
    Ok(())
}

fn stream(out: &mut impl Write, run: &Run, verdict: &Verdict, late: &Notes) -> io::Result<()> {
    let durable = run.events.iter().filter(|event| event.durable && event.acknowledged.is_some()).count();
    writeln!(
        out,
        "\nSTREAM  {durable} departures acknowledged as synced, {} in the stream; the late subscriber replayed {}",
        verdict.stored,
        late.got.len()
    )
}

/// What each link carried, if the hubs count it.
fn carried(out: &mut impl Write, reports: &[MeshReport]) -> io::Result<()> {
    writeln!(out, "\n{:<30} {:>10} {:>10} {:>12}", "CARRIED BY LINK", "EVENTS", "BLOCKS", "BYTES")?;
    for report in reports {
        let from = report.name_of(report.me);
        let links = report.counters.iter().filter_map(|(name, events)| {
            let peer = name.strip_prefix("link.")?.strip_suffix(".events_out")?;
            Some((peer, *events))
        });
        for (peer, events) in links {
            let counter = |what: &str| report.counter(&format!("link.{peer}.{what}")).unwrap_or(0);
            let (blocks, bytes) = (counter("blocks_out"), counter("bytes_out"));
            writeln!(out, "{:<30} {events:>10} {blocks:>10} {bytes:>12}", format!("{from} -> {peer}"))?;
        }
    }
    Ok(())
}

fn latency(out: &mut impl Write, run: &Run, notes: &[Notes]) -> io::Result<()> {
    let mut by_hops: [Option<Histogram<u64>>; 8] = Default::default();
    for notes in notes.iter().take(run.subscribers.len()) {
        for got in &notes.got {
            let Some(event) = run.events.get(got.number as usize) else { continue };
            // What waited for a hub to come back says nothing of the path.
            if run.outage.is_some_and(|outage| during(outage, event.from)) {
                continue;
            }
            let Some(slot) = by_hops.get_mut(usize::from(got.hops)) else { continue };
            if slot.is_none() {
                *slot = Histogram::new_with_bounds(1, LONGEST, 3).ok();
            }
            if let Some(histogram) = slot {
                histogram.saturating_record(got.nanos);
            }
        }
    }
    let head = ("LATENCY, publish to delivery", "EVENTS", "p50", "p90", "p99", "max");
    writeln!(out, "\n{:<30} {:>10} {:>10} {:>10} {:>10} {:>10}", head.0, head.1, head.2, head.3, head.4, head.5)?;
    for (hops, histogram) in by_hops.iter().enumerate() {
        let Some(h) = histogram else { continue };
        let at = |quantile: f64| millis(h.value_at_quantile(quantile));
        let name = format!("{hops} hop{}", if hops == 1 { "" } else { "s" });
        let (p50, p90, p99, max) = (at(0.5), at(0.9), at(0.99), millis(h.max()));
        writeln!(out, "{name:<30} {:>10} {p50:>10} {p90:>10} {p99:>10} {max:>10}", h.len())?;
    }
    Ok(())
}

fn during(outage: Outage, moment: u64) -> bool {
    (outage.from..=outage.until).contains(&moment)
}

fn millis(nanos: u64) -> String {
    format!("{:.3} ms", nanos as f64 / 1e6)
}

fn ledgers(out: &mut impl Write, run: &Run) -> io::Result<()> {
    writeln!(
        out,
        "\n{:<14} {:>9} {:>9} {:>8} = {:>9} + {:>7} + {:>9} + {:>8} + {:>9}",
        "LEDGER OF", "PUBLISHED", "RECEIVED", "COPIES", "DELIVERED", "STORED", "FORWARDED", "DROPPED", "IN FLIGHT"
    )?;
    for (l, place) in run.ledgers.iter().zip(&HUBS) {
        let dropped = l.dropped_in_all();
        writeln!(
            out,
            "{:<14} {:>9} {:>9} {:>8} = {:>9} + {:>7} + {:>9} + {dropped:>8} + {:>9}",
            place.shown, l.published, l.received, l.copies, l.delivered, l.stored, l.forwarded, l.in_flight
        )?;
    }
    for (l, place) in run.ledgers.iter().zip(&HUBS) {
        let reasons: Vec<String> = l.dropped.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
        let dropped = if reasons.is_empty() { "nothing".to_owned() } else { reasons.join(", ") };
        let life = if l.second_life { " (all of it counted from its second life on)" } else { "" };
        writeln!(out, "{:<14} dropped: {dropped}{life}", place.shown)?;
    }
    Ok(())
}

/// Where the live events went that are missing at a hub that lived through it all.
fn missing(out: &mut impl Write, verdict: &Verdict) -> io::Result<()> {
    for (missing, place) in verdict.missing.iter().zip(&HUBS) {
        let Some(m) = missing.filter(|m| m.sent + m.died + m.unknown > 0) else { continue };
        let all = m.sent + m.died + m.unknown;
        writeln!(
            out,
            "{:<14} {all} live events from other hubs are missing: {} cut off on their way, and the hub noticed {};",
            place.shown, m.sent, m.noticed
        )?;
        writeln!(
            out,
            "{:<14} {} died in the killed hub's memory; {} entered it again before it knew who wants them",
            "", m.died, m.unknown
        )?;
    }
    Ok(())
}
