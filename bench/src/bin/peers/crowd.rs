//! The parts in which somebody else is there as well: very many subscriptions,
//! a subscriber that never reads, a bulk load beside urgent events.
#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use weft_base::Lane;
use weft_bench::latency::{Pace, open_loop};
use weft_bench::many::many;
use weft_bench::report::{CPU, Metric, RATE, Report};
use weft_bench::weft::Hub;
use weft_bench::work::{Load, throughput};

use crate::Arguments;
use crate::entrants::{Field, Kind, note};
use crate::parts::{PAYLOAD, latency_table, load, quantiles};

/// Subscriptions, and the connections that they are dealt out to.
const SUBSCRIPTIONS: usize = 100_000;
const CONNECTIONS: usize = 10;

/// 10^5 subscriptions, each to a topic of its own.
pub(crate) fn subscriptions(arguments: &Arguments, field: &mut Field, report: &mut Report) -> Result<()> {
    const SECTION: &str = "100,000 subscriptions over 10 connections, 128 B, each event to another topic";
    const MADE: Metric = Metric { name: "subscriptions made", unit: "a second" };
    const BYTES: Metric = Metric { name: "resident memory", unit: "bytes per subscription" };
    let load = load(arguments, PAYLOAD, 1, CONNECTIONS);
    for _ in 0..arguments.rounds {
        field.each_fresh(report, SECTION, Kind::is_raw, |peer, report| {
            let seen = many(peer, SUBSCRIPTIONS, CONNECTIONS, &load)?;
            for (metric, value) in
                [(MADE, seen.made), (BYTES, seen.bytes), (RATE, seen.delivered.rate), (CPU, seen.delivered.server_cpu)]
            {
                report.record(SECTION, "seen", peer.name(), metric, value);
            }
            Ok(())
        });
    }
    println!("\n## {SECTION}\n");
    for (metric, lowest_is_best) in [(MADE, false), (BYTES, true), (RATE, false), (CPU, true)] {
        println!("{}", report.table(SECTION, metric, lowest_is_best));
    }
    Ok(())
}

/// What a subscriber that never reads takes from one that does. The server is
/// new each time: what it does about the sleeper may last.
pub(crate) fn slow(arguments: &Arguments, field: &mut Field, report: &mut Report) -> Result<()> {
    const SECTION: &str = "Beside a subscriber that never reads, 128 B, 1 to 1";
    let load = load(arguments, PAYLOAD, 1, 1);
    let pace = Pace {
        rate: 10_000,
        payload: PAYLOAD,
        warm_up: Duration::from_millis(300),
        time: Duration::from_secs_f64(arguments.seconds),
        spin: false,
    };
    for _ in 0..arguments.rounds {
        for (work, present) in [("alone", false), ("beside it", true)] {
            field.each_fresh(report, &format!("{SECTION}, {work}"), Kind::is_raw, |peer, report| {
                let _sleeper = if present { Some(peer.sleeper("bench", PAYLOAD)?) } else { None };
                let delivered = peer.deliver("bench", &load)?;
                report.record(SECTION, work, peer.name(), RATE, delivered.rate);
                let seen = peer.open_loop("bench", &pace)?;
                quantiles(report, SECTION, &format!("10.0 k /s {work}"), peer.name(), &seen);
                Ok(())
            });
        }
    }
    println!("\n## {SECTION}\n\n{}", report.table(SECTION, RATE, false));
    latency_table(report, SECTION);
    Ok(())
}

/// Urgent events on an idle hub, and beside a bulk load that takes all that the hub gives.
pub(crate) fn lanes(arguments: &Arguments, field: &mut Field, report: &mut Report) -> Result<()> {
    const SECTION: &str = "Weft's lanes: 1,000 urgent events a second, 128 B";
    /// The works: what the bulk load's events are in.
    const IDLE: &str = "idle hub";
    const BULK: &str = "beside bulk in lane 7";
    const SAME: &str = "beside bulk in the same lane";
    if !field.has(Kind::Weft) {
        return Ok(());
    }
    let hub = Hub::start(field.disk())?;
    for _ in 0..arguments.rounds {
        for (work, bulk) in [(IDLE, None), (BULK, Some(Lane::BULK)), (SAME, Some(Lane::URGENT))] {
            let seen = beside(arguments, &hub, bulk).map(|(seen, rate)| {
                quantiles(report, SECTION, work, "Weft", &seen);
                if let Some(rate) = rate {
                    report.record(SECTION, work, "the bulk load", RATE, rate);
                }
            });
            if let Err(error) = seen {
                note(report, format!("{SECTION}, {work}: {error:#}"));
            }
        }
    }
    println!("\n## {SECTION}\n");
    latency_table(report, SECTION);
    println!("{}", report.table(SECTION, RATE, false));
    Ok(())
}

/// Latencies of urgent events, and the bulk load's rate if there is one.
fn beside(
    arguments: &Arguments,
    hub: &Hub,
    bulk: Option<Lane>,
) -> Result<(weft_load::latency::Latencies, Option<f64>)> {
    let time = Duration::from_secs_f64(arguments.seconds);
    let pace = Pace { rate: 1_000, payload: PAYLOAD, warm_up: Duration::from_millis(300), time, spin: false };
    thread::scope(|scope| {
        let beside = bulk.map(|lane| {
            // It begins before the urgent events and ends behind them.
            let load = Load { time: time + Duration::from_millis(600), ..load(arguments, PAYLOAD, 1, 1) };
            scope.spawn(move || throughput(&hub.lane(lane), "bulk", &load))
        });
        if beside.is_some() {
            thread::sleep(Duration::from_millis(150));
        }
        let seen = open_loop(&hub.lane(Lane::URGENT), "urgent", &pace);
        let rate = match beside {
            Some(bulk) => {
                Some(bulk.join().map_err(|_| anyhow!("the bulk load panicked"))?.context("the bulk load")?.rate)
            }
            None => None,
        };
        Ok((seen?, rate))
    })
}
