//! What each further hub in a row adds to latency, beside the machine's own
//! round trip over TCP, in one run. `cargo xtask bench hops`
//!
//! Hubs are linked over the loopback interface with mutual TLS, the publisher is
//! at the first, the subscriber at the last. Latency is open loop, from when an
//! event was due. Goal: at p50 a hub more adds less than twice the round trip.
#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use weft_bench::latency::{Pace, open_loop, percentiles};
use weft_bench::table::Table;
use weft_bench::weft::Chain;
use weft_bench::work::Peer;
use weft_bench::{machine, process};
use weft_load::latency::Latencies;

/// Latency per hop.
#[derive(Parser)]
struct Arguments {
    /// How often each figure is measured.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How long each run records, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The most hubs in a row.
    #[arg(long, default_value_t = 3)]
    hubs: usize,
    /// Events a second.
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// Payload bytes of an event.
    #[arg(long, default_value_t = 128)]
    payload: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let disk = process::target_folder()?;
    let chains: Result<Vec<Chain<'_>>> =
        (1..=arguments.hubs.max(2)).map(|hubs| Chain::on_loopback(&disk, hubs)).collect();
    let chains = chains?;
    let [one, other] = process::single_cores()?;
    println!("{}", machine::line());
    println!(
        "hubs on this machine, linked over loopback TCP with mutual TLS 1.3; {} B, {} events/s, {} runs of {} s in turn; \
         beside them round trips of {} B over TCP between two threads, one at a time, ends on two cores\n",
        arguments.payload, arguments.rate, arguments.runs, arguments.seconds, arguments.payload
    );
    let pace = Pace {
        rate: arguments.rate,
        payload: arguments.payload,
        warm_up: Duration::from_millis(500),
        time: Duration::from_secs_f64(arguments.seconds),
        spin: false,
    };
    let mut merged = vec![Latencies::new(); chains.len()];
    let mut trips = Latencies::new();
    for _ in 0..arguments.runs {
        trips.merge(&machine::ping_pong(arguments.payload, pace.time / 2, [&one, &other])?);
        for (chain, merged) in chains.iter().zip(&mut merged) {
            merged.merge(&open_loop(chain, "hops", &pace)?);
        }
    }
    let mut table = Table::new(["µs", "p50 / p99 / p99.9 / p99.99", "added at p50", "in round trips"]);
    table.row(["the machine's round trip over TCP".to_owned(), percentiles(&trips)]);
    let trip = trips.at(0.5) as f64;
    let mut before = None;
    for (chain, merged) in chains.iter().zip(&merged) {
        let p50 = merged.at(0.5) as f64;
        let more = before.map(|before| p50 - before);
        table.row([
            chain.name().to_owned(),
            percentiles(merged),
            more.map_or_else(String::new, |more| format!("{:.1}", more / 1e3)),
            more.map_or_else(String::new, |more| format!("{:.2}", more / trip)),
        ]);
        before = Some(p50);
    }
    println!("{table}");
    let ends = [merged.first(), merged.last()].map(|seen| seen.map_or(0.0, |seen| seen.at(0.5) as f64));
    let more = (ends[1] - ends[0]) / (chains.len() - 1) as f64 / trip;
    println!("a hub more adds {more:.2} round trips at p50, over all runs; the goal is under 2");
    Ok(())
}
