//! One hub beside NATS core, in one run: the same publisher and subscriber work,
//! the same machine, in turn. `cargo xtask bench hub`
//!
//! Throughput: one publisher and one subscriber (and one to four) over loopback
//! TCP, batches built beforehand, nothing dropped. Latency: open loop at a fixed
//! rate, from when an event was due, with everything left to the scheduler and
//! with all of it on one core, where no sleeping core has to be woken.
#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use weft_bench::latency::{Pace, open_loop, percentiles};
use weft_bench::machine;
use weft_bench::nats::{self, Nats};
use weft_bench::process::{self, own_cores, pin_self, single_cores};
use weft_bench::relay::Relay;
use weft_bench::stats::{Runs, short, with_range};
use weft_bench::table::Table;
use weft_bench::weft::Hub;
use weft_bench::work::{Load, Peer, throughput};

/// One hub beside NATS core.
#[derive(Parser)]
struct Arguments {
    /// How often each figure is measured; the table shows medians.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How long each run publishes, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How many MiB of payload the publisher may be ahead of the slowest subscriber.
    #[arg(long, default_value_t = 4)]
    window: u64,
    /// How many events it may be ahead: fewer than a hub queues for a subscriber before it drops.
    #[arg(long, default_value_t = 49_152)]
    window_events: u64,
    /// Payload sizes in bytes.
    #[arg(long, value_delimiter = ',', default_values_t = [16, 128, 1024])]
    payload: Vec<usize>,
    /// Measures NATS alone.
    #[arg(long)]
    peer_only: bool,
    /// Measures Weft alone.
    #[arg(long)]
    weft_only: bool,
    /// Skips the throughput part.
    #[arg(long)]
    no_throughput: bool,
    /// Skips the latency part.
    #[arg(long)]
    no_latency: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let disk = process::target_folder()?;
    let mut peers: Vec<Box<dyn Peer>> = Vec::new();
    if !arguments.peer_only {
        peers.push(Box::new(Hub::start(&disk)?));
    }
    if !arguments.weft_only {
        peers.push(Box::new(Nats::core()?));
    }
    println!("{}", machine::line());
    println!(
        "servers: {}; NATS server {}; clients: raw, batches of 64 KiB built beforehand, payloads not read, \
         at most {} MiB and {} events on the way; medians of {} runs of {} s, taken in turn (smallest to largest)\n",
        peers.iter().map(|p| p.name()).collect::<Vec<_>>().join(" and "),
        nats::VERSION,
        arguments.window,
        arguments.window_events,
        arguments.runs,
        arguments.seconds,
    );
    if !arguments.no_throughput {
        for subscribers in [1, 4] {
            throughput_table(&arguments, &peers, subscribers)?;
        }
    }
    if !arguments.no_latency {
        latency_table(&arguments, &mut peers)?;
    }
    Ok(())
}

fn throughput_table(arguments: &Arguments, peers: &[Box<dyn Peer>], subscribers: usize) -> Result<()> {
    let mut head = vec!["delivered events/s".to_owned()];
    head.extend(arguments.payload.iter().flat_map(|p| [format!("{p} B"), "server CPU s per million".to_owned()]));
    let mut table = Table::new(head);
    let mut rates = vec![vec![Runs::new(); arguments.payload.len()]; peers.len()];
    let mut cpu = rates.clone();
    for (column, &payload) in arguments.payload.iter().enumerate() {
        let load = |seconds: f64| Load {
            payload,
            time: Duration::from_secs_f64(seconds),
            window: arguments.window << 20,
            window_events: arguments.window_events,
            publishers: 1,
            subscribers,
        };
        for peer in peers {
            throughput(peer.as_ref(), "bench", &load(0.5))?;
        }
        for _ in 0..arguments.runs {
            for (row, peer) in peers.iter().enumerate() {
                let delivered = throughput(peer.as_ref(), "bench", &load(arguments.seconds))?;
                rates[row][column].push(delivered.rate);
                cpu[row][column].push(delivered.server_cpu);
            }
        }
    }
    for (row, peer) in peers.iter().enumerate() {
        let mut cells = vec![peer.name().to_owned()];
        for column in 0..arguments.payload.len() {
            cells.extend([with_range(&rates[row][column]), short(cpu[row][column].median())]);
        }
        table.row(cells);
    }
    if let [weft, nats] = &rates[..] {
        let mut cells = vec!["ratio".to_owned()];
        for (ours, theirs) in weft.iter().zip(nats) {
            cells.extend([format!("{:.2}", ours.median() / theirs.median()), String::new()]);
        }
        table.row(cells);
    }
    println!("1 publisher to {subscribers} subscriber(s), total over subscribers\n\n{table}");
    for peer in peers {
        if let Some(server) = peer.server() {
            let (now, peak) = server.memory()?;
            println!("{}: {} MiB resident, {} MiB at its peak", peer.name(), now >> 20, peak >> 20);
        }
    }
    println!();
    Ok(())
}

fn latency_table(arguments: &Arguments, peers: &mut Vec<Box<dyn Peer>>) -> Result<()> {
    peers.push(Box::new(Relay::default()));
    const RATES: [u64; 2] = [10_000, 50_000];
    let all = own_cores()?;
    let [one, other] = single_cores()?;
    println!("Latency, 128 B, open loop, free of coordinated omission, µs p50 / p99 / p99.9 / p99.99\n");
    let placements = [
        ("placed by the scheduler", &all, [&one, &other]),
        ("server and clients pinned to one core", &one, [&one, &one]),
    ];
    for (placement, cores, ends) in placements {
        let mut table = Table::new([placement.to_owned(), "10,000/s".to_owned(), "50,000/s".to_owned()]);
        pin_self(cores)?;
        let mut merged = vec![vec![weft_load::latency::Latencies::new(); RATES.len()]; peers.len()];
        for (column, rate) in RATES.into_iter().enumerate() {
            for _ in 0..arguments.runs {
                for (row, peer) in peers.iter().enumerate() {
                    if let Some(server) = peer.server() {
                        server.pin(cores)?;
                    }
                    let pace = Pace {
                        rate,
                        payload: 128,
                        warm_up: Duration::from_millis(500),
                        time: Duration::from_secs_f64(arguments.seconds),
                        spin: false,
                    };
                    merged[row][column].merge(&open_loop(peer.as_ref(), "bench", &pace)?);
                }
            }
        }
        for (row, peer) in peers.iter().enumerate() {
            let cells: Vec<String> = merged[row].iter().map(percentiles).collect();
            table.row([peer.name().to_owned()].into_iter().chain(cells));
        }
        let trips = machine::ping_pong(128, Duration::from_secs(2), ends)?;
        let apart = if ends[0] == ends[1] { "one core" } else { "two cores" };
        table.row([format!("round trip, no broker, one at a time, {apart}"), percentiles(&trips)]);
        println!("{table}");
    }
    pin_self(&all)?;
    Ok(())
}
