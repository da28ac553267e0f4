//! What an idle hub costs: memory, processor, threads. `cargo xtask bench idle`
#![forbid(unsafe_code)]

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use weft_bench::nats::Nats;
use weft_bench::process::Server;
use weft_bench::table::Table;
use weft_bench::weft::Hub;
use weft_bench::work::Peer;
use weft_bench::{machine, process};

/// What an idle hub costs.
#[derive(Parser)]
struct Arguments {
    /// How long to watch, in seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Measures NATS alone.
    #[arg(long)]
    peer_only: bool,
}

/// How long a server may settle before it is watched.
const SETTLE: Duration = Duration::from_secs(3);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    println!("{}", machine::line());
    let mut peers: Vec<Box<dyn Peer>> = Vec::new();
    if !arguments.peer_only {
        peers.push(Box::new(Hub::start(&process::target_folder()?)?));
    }
    peers.push(Box::new(Nats::core()?));
    thread::sleep(SETTLE);
    let start = Instant::now();
    let used = |peer: &dyn Peer| peer.server().map_or(Ok(f64::NAN), Server::cpu_seconds);
    let before = peers.iter().map(|peer| used(peer.as_ref())).collect::<Result<Vec<_>, _>>()?;
    thread::sleep(Duration::from_secs(arguments.seconds));
    let title = format!("idle for {} s, no clients", arguments.seconds);
    let mut table = Table::new([&title, "resident MiB", "at its peak", "share of a core", "threads"]);
    for (peer, before) in peers.iter().zip(before) {
        let share = (used(peer.as_ref())? - before) / start.elapsed().as_secs_f64();
        let Some(server) = peer.server() else { continue };
        let (now, peak) = server.memory()?;
        let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
        table.row([
            peer.name().to_owned(),
            mib(now),
            mib(peak),
            format!("{:.3} %", share * 100.0),
            server.threads()?.to_string(),
        ]);
    }
    print!("{table}");
    Ok(())
}
