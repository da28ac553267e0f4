//! Durable publishing beside JetStream and Redis on the same disk, in one run: Weft with
//! every acknowledgement after fdatasync, JetStream with sync always and as it
//! comes out of the box, Redis Streams with appendfsync always. `cargo xtask bench durable`
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use weft_bench::acked::{Durable, Load, one_by_one, pipelined};
use weft_bench::latency::percentiles;
use weft_bench::nats::{self, Nats, Sync};
use weft_bench::redis_streams::RedisStreams;
use weft_bench::stats::{Runs, short, with_range};
use weft_bench::table::Table;
use weft_bench::weft::Hub;
use weft_bench::{disk, machine, process};

/// Durable publishing beside JetStream.
#[derive(Parser)]
struct Arguments {
    /// How often each figure is measured; the table shows medians.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How long each run publishes, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The most events on their way without an acknowledgement.
    #[arg(long, default_value_t = 65_536)]
    window: u64,
    /// Events per write of the client: a block of Weft, a run of messages of NATS.
    #[arg(long, default_value_t = 256)]
    batch: usize,
    /// Payload sizes in bytes.
    #[arg(long, value_delimiter = ',', default_values_t = [128, 1024])]
    payload: Vec<usize>,
    /// Where the servers keep their files; the target folder when left out.
    #[arg(long)]
    disk: Option<PathBuf>,
    /// Measures JetStream alone.
    #[arg(long)]
    peer_only: bool,
    /// Measures Weft alone.
    #[arg(long)]
    weft_only: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = match &arguments.disk {
        Some(folder) => folder.clone(),
        None => process::target_folder()?,
    };
    println!("{}", machine::line());
    {
        let scratch = tempfile::tempdir_in(&folder)?;
        println!("{}", disk::line(scratch.path())?);
    }
    let mut peers: Vec<Box<dyn Durable>> = Vec::new();
    if !arguments.peer_only {
        peers.push(Box::new(Hub::start(&folder)?));
    }
    if !arguments.weft_only {
        peers.push(Box::new(Nats::jetstream(&folder, Sync::Always)?));
        peers.push(Box::new(Nats::jetstream(&folder, Sync::Default)?));
        peers.push(Box::new(RedisStreams::start(&folder)?));
    }
    println!(
        "NATS server {}; clients: raw, {} events per write built beforehand, at most {} without an acknowledgement \
         (fewer where the hub allows fewer, or where more gain nothing); \
         medians of {} runs of {} s, taken in turn (smallest to largest)\n",
        nats::VERSION,
        arguments.batch,
        arguments.window,
        arguments.runs,
        arguments.seconds,
    );
    for &payload in &arguments.payload {
        table_of(&arguments, &peers, payload)?;
    }
    Ok(())
}

fn table_of(arguments: &Arguments, peers: &[Box<dyn Durable>], payload: usize) -> Result<()> {
    let time = Duration::from_secs_f64(arguments.seconds);
    let load = Load { payload, batch: arguments.batch, window: arguments.window, time };
    let mut rates = vec![Runs::new(); peers.len()];
    let mut cpu = rates.clone();
    let mut alone = vec![weft_load::latency::Latencies::new(); peers.len()];
    for run in 0..=arguments.runs {
        for (row, peer) in peers.iter().enumerate() {
            let acked = pipelined(peer.as_ref(), "bench", &load)?;
            let singles = one_by_one(peer.as_ref(), "bench", payload, time / 2)?;
            // The first round warms files and memory up.
            if run > 0 {
                rates[row].push(acked.rate);
                cpu[row].push(acked.server_cpu);
                alone[row].merge(&singles);
            }
        }
    }
    let ours = (!arguments.peer_only).then(|| rates[0].median());
    let mut table = Table::new([
        &format!("{payload} B, acknowledged"),
        "pipelined, events/s",
        "payload MB/s",
        "server CPU s per million",
        "one at a time, µs p50 / p99 / p99.9 / p99.99",
        "Weft is ahead by",
    ]);
    for (row, peer) in peers.iter().enumerate() {
        let median = rates[row].median();
        table.row([
            peer.name().to_owned(),
            with_range(&rates[row]),
            format!("{:.1}", median * payload as f64 / 1e6),
            short(cpu[row].median()),
            percentiles(&alone[row]),
            ours.map_or(String::new(), |ours| format!("{:.1}×", ours / median)),
        ]);
    }
    println!("{table}");
    Ok(())
}
