//! One link over a long line, by TCP and by QUIC, beside NATS's leaf node and a bare TCP connection
//! over the same line, in one run. `cargo xtask bench wan`
//!
//! The line is emulated (see `weft_chaos`): a round trip, a bandwidth, and a
//! queue that holds what a round trip carries. Throughput is payload that
//! arrives, as a share of the line's bits, once the connection has warmed up.
//! Latency is open loop, from when an event was due.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use weft_bench::latency::{Pace, open_loop};
use weft_bench::long::{Long, steady};
use weft_bench::stats::{Runs, short};
use weft_bench::table::Table;
use weft_bench::weft::Chain;
use weft_bench::work::Peer;
use weft_bench::{machine, nats, process};
use weft_load::latency::Latencies;

/// One link over a long line.
#[derive(Parser)]
struct Arguments {
    /// How often each figure is measured; the table shows medians.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How long each run counts, in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How long each run goes on before it counts, in seconds.
    #[arg(long, default_value_t = 3.0)]
    warm_up: f64,
    /// The line's round trip, in milliseconds.
    #[arg(long, default_value_t = 80)]
    rtt: u64,
    /// The line's bandwidth in each direction, in Mbit/s.
    #[arg(long, default_value_t = 200)]
    mbit: u64,
    /// Packets that the line loses, of a million.
    #[arg(long, default_value_t = 0)]
    loss: u32,
    /// Payload bytes of an event.
    #[arg(long, default_value_t = 1024)]
    payload: usize,
    /// How many MiB of payload the publisher may be ahead of the subscriber; by
    /// default twice what a round trip carries, and at most 4: a hub that has
    /// more for a link than its window and its queue hold drops live events.
    #[arg(long)]
    window: Option<u64>,
    /// Events a second of the latency part, of which there may be several.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000])]
    rate: Vec<u64>,
    /// Measures Weft and the bare connection alone.
    #[arg(long)]
    weft_only: bool,
    /// Measures Weft's link by TCP compressed so as well: `lz4`, `zstd`.
    #[arg(long, value_delimiter = ',')]
    compression: Vec<String>,
    /// Measures Weft's link by TCP with so many connections as well, 2 to 8 of them.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u8).range(2..=8))]
    connections: Vec<u8>,
    /// How many lanes Weft's publisher uses in turn, 1 to 8; one alone is no faster by several connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    lanes: u8,
    /// The file that Weft's payloads are cut from; compression says little of one letter that repeats.
    #[arg(long)]
    text: Option<PathBuf>,
    /// Further tables of the hubs' configuration, in TOML.
    #[arg(long, default_value = "")]
    config: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let bits = arguments.mbit * 1_000_000;
    let round_trip = Duration::from_millis(arguments.rtt);
    let carried = (bits as f64 / 8.0 * round_trip.as_secs_f64()) as u64;
    let window = arguments.window.map_or((carried * 2).min(4 << 20), |mib| mib << 20).max(1 << 20);
    let (long, disk) = (Long::new(round_trip, bits, arguments.loss)?, process::target_folder()?);
    let text = match &arguments.text {
        Some(path) => std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
        None => b"x".to_vec(),
    };
    let mut peers: Vec<Box<dyn Peer + '_>> = vec![
        Box::new(Chain::over(&disk, &long, &arguments.config)?.of_text(&text).in_lanes(arguments.lanes)),
        Box::new(Chain::over_quic(&disk, &long, &arguments.config)?.of_text(&text).in_lanes(arguments.lanes)),
    ];
    let compressed = arguments.compression.iter().map(|how| (how.clone(), format!("compression = {how:?}")));
    let several = arguments.connections.iter().map(|n| (format!("{n} connections"), format!("connections = {n}")));
    for (what, link) in compressed.chain(several) {
        let chain = Chain::with(&disk, &long, &what, &link, &arguments.config)?;
        peers.push(Box::new(chain.of_text(&text).in_lanes(arguments.lanes)));
    }
    if !arguments.weft_only {
        peers.push(Box::new(long.nats()?));
    }
    peers.push(Box::new(long.bare()));
    println!("{}", machine::line());
    println!(
        "line: {} ms there and back, {} Mbit/s each way, {} packets lost of a million, a queue of {} KiB; NATS server \
         {} as a leaf node without TLS and compression; one topic, {} B, one publisher in {} of Weft's lanes and one \
         subscriber, at most {} KiB on the way; medians of {} runs of {} s after {} s, in turn\n",
        arguments.rtt,
        arguments.mbit,
        arguments.loss,
        carried >> 10,
        nats::VERSION,
        arguments.payload,
        arguments.lanes,
        window >> 10,
        arguments.runs,
        arguments.seconds,
        arguments.warm_up,
    );
    throughput(&arguments, &peers, &long, bits, window)?;
    latency(&arguments, &peers)
}

fn throughput(arguments: &Arguments, peers: &[Box<dyn Peer + '_>], long: &Long, bits: u64, window: u64) -> Result<()> {
    let mut share = vec![Runs::new(); peers.len()];
    let mut cpu = share.clone();
    let (warm_up, time) = (Duration::from_secs_f64(arguments.warm_up), Duration::from_secs_f64(arguments.seconds));
    for _ in 0..arguments.runs {
        for (row, peer) in peers.iter().enumerate() {
            let run = steady(peer.as_ref(), arguments.payload, window, warm_up, time)?;
            share[row].push(run.bytes * 800.0 / bits as f64);
            cpu[row].push(run.cpu);
        }
    }
    let mut table = Table::new([
        "one topic over the line",
        "share of its bits",
        "smallest, largest",
        "Mbit/s",
        "CPU s per million",
    ]);
    for (row, peer) in peers.iter().enumerate() {
        let (of, cpu) = (&share[row], cpu[row].median());
        table.row([
            peer.name().to_owned(),
            format!("{:.1} %", of.median()),
            format!("{:.1} to {:.1} %", of.min(), of.max()),
            format!("{:.1}", of.median() * bits as f64 / 1e8),
            if cpu.is_nan() { String::new() } else { short(cpu) },
        ]);
    }
    println!("{table}");
    if let [tcp, quic, nats, _] = &share[..] {
        let to = |weft: &Runs| weft.median() / nats.median();
        println!("Weft to NATS: {:.2} by TCP, {:.2} by QUIC", to(tcp), to(quic));
    }
    let dropped: u64 = long.line().counts().iter().map(|counts| counts.full).sum();
    println!("packets that the line's full queue dropped, all runs: {dropped}\n");
    Ok(())
}

fn latency(arguments: &Arguments, peers: &[Box<dyn Peer + '_>]) -> Result<()> {
    let rates: Vec<String> = arguments.rate.iter().map(|rate| format!("{}/s", short(*rate as f64))).collect();
    let mut table = Table::new(["ms, p50 / p99 / p99.9 / max".to_owned()].into_iter().chain(rates));
    let mut merged = vec![vec![Latencies::new(); arguments.rate.len()]; peers.len()];
    for (column, &rate) in arguments.rate.iter().enumerate() {
        for _ in 0..arguments.runs {
            for (row, peer) in peers.iter().enumerate() {
                let pace = Pace {
                    rate,
                    payload: arguments.payload,
                    warm_up: Duration::from_secs_f64(arguments.warm_up / 3.0),
                    time: Duration::from_secs_f64(arguments.seconds / 2.0),
                    spin: false,
                };
                merged[row][column].merge(&open_loop(peer.as_ref(), "paced", &pace)?);
            }
        }
    }
    for (row, peer) in peers.iter().enumerate() {
        let cell = |latencies: &Latencies| {
            let ms = |nanos: u64| format!("{:.1}", nanos as f64 / 1e6);
            let at = |q: f64| ms(latencies.at(q));
            format!("{} / {} / {} / {}", at(0.5), at(0.99), at(0.999), ms(latencies.summary().max))
        };
        table.row([peer.name().to_owned()].into_iter().chain(merged[row].iter().map(cell)));
    }
    println!("Latency, open loop, free of coordinated omission; half a round trip is {} ms\n", arguments.rtt / 2);
    println!("{table}");
    Ok(())
}
