//! Streams beside JetStream and Redis, in one run: everything read again, a
//! group of four that acknowledges each event by itself, and how soon a live
//! reader of a stream has an event. `cargo xtask bench streams`
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use weft_bench::acked::{Load, fill};
use weft_bench::latency::{Pace, open_loop_of, percentiles};
use weft_bench::nats::{self, Nats, Sync};
use weft_bench::redis_streams::RedisStreams;
use weft_bench::stats::{Runs, with_range};
use weft_bench::streams::{Streams, replay, shared};
use weft_bench::table::Table;
use weft_bench::weft::Hub;
use weft_bench::{disk, machine, process};
use weft_load::latency::Latencies;

/// Streams beside JetStream and Redis.
#[derive(Parser)]
struct Arguments {
    /// How often each figure is measured; the table shows medians.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Events of 128 B that are read again; of 1 KiB a quarter of them.
    #[arg(long, default_value_t = 10_000_000)]
    events: u64,
    /// The same of Redis, which has them all in memory.
    #[arg(long, default_value_t = 2_000_000)]
    redis_events: u64,
    /// Events that the group takes and acknowledges.
    #[arg(long, default_value_t = 1_000_000)]
    group_events: u64,
    /// Members of the group.
    #[arg(long, default_value_t = 4)]
    members: usize,
    /// Events a second of the live reader.
    #[arg(long, default_value_t = 10_000)]
    rate: u64,
    /// Where the servers keep their files; the target folder when left out.
    #[arg(long)]
    disk: Option<PathBuf>,
    /// Which parts: replay, group, live.
    #[arg(long, value_delimiter = ',', default_values_t = ["replay", "group", "live"].map(String::from))]
    only: Vec<String>,
}

/// A server under test.
struct Entrant {
    peer: Box<dyn Streams>,
    /// Events that it keeps for the replay.
    events: u64,
    is_live: bool,
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
    let entrants = [
        Entrant { peer: Box::new(Hub::start(&folder)?), events: arguments.events, is_live: true },
        Entrant { peer: Box::new(Nats::jetstream(&folder, Sync::Default)?), events: arguments.events, is_live: true },
        Entrant { peer: Box::new(RedisStreams::start(&folder)?), events: arguments.redis_events, is_live: false },
    ];
    println!(
        "NATS server {}; raw clients; what is read was published and \
         acknowledged before (Weft and Redis synced, JetStream as it comes out of the box); medians of {} runs, \
         taken in turn (smallest to largest)\n",
        nats::VERSION,
        arguments.runs,
    );
    let has = |part: &str| arguments.only.iter().any(|only| only == part);
    if has("replay") {
        for (payload, share) in [(128, 1), (1024, 4)] {
            replays(&arguments, &entrants, payload, share)?;
        }
    }
    if has("group") {
        groups(&arguments, &entrants)?;
    }
    if has("live") {
        live(&arguments, &entrants)?;
    }
    Ok(())
}

/// How the streams are filled.
fn filling(payload: usize) -> Load {
    Load { payload, batch: 256, window: 65_536, time: Duration::ZERO }
}

fn replays(arguments: &Arguments, entrants: &[Entrant], payload: usize, share: u64) -> Result<()> {
    let mut rates = vec![Runs::new(); entrants.len()];
    let mut filled = Vec::new();
    for entrant in entrants {
        filled.push(fill(entrant.peer.as_ref(), "replay", &filling(payload), entrant.events / share)?);
    }
    for run in 0..=arguments.runs {
        for (row, entrant) in entrants.iter().enumerate() {
            let rate = replay(entrant.peer.as_ref(), "replay", payload, filled[row])?;
            // The first round brings the files into memory.
            if run > 0 {
                rates[row].push(rate);
            }
        }
    }
    let mut table =
        Table::new([&format!("{payload} B, read again"), "events", "events/s", "payload MB/s", "Weft is ahead by"]);
    for (row, entrant) in entrants.iter().enumerate() {
        entrant.peer.close("replay")?;
        let median = rates[row].median();
        table.row([
            entrant.peer.name().to_owned(),
            filled[row].to_string(),
            with_range(&rates[row]),
            format!("{:.0}", median * payload as f64 / 1e6),
            format!("{:.1}×", rates[0].median() / median),
        ]);
    }
    println!("{table}");
    Ok(())
}

fn groups(arguments: &Arguments, entrants: &[Entrant]) -> Result<()> {
    let mut rates = vec![Runs::new(); entrants.len()];
    for run in 0..=arguments.runs {
        for (row, entrant) in entrants.iter().enumerate() {
            let peer = entrant.peer.as_ref();
            let events = fill(peer, "shared", &filling(128), arguments.group_events)?;
            let rate = shared(peer, "shared", arguments.members, events)?;
            peer.close("shared")?;
            if run > 0 {
                rates[row].push(rate);
            }
        }
    }
    let head = format!("group of {}, 128 B, each event acknowledged", arguments.members);
    let mut table = Table::new([&head, "events/s", "Weft is ahead by"]);
    for (row, entrant) in entrants.iter().enumerate() {
        let ahead = format!("{:.1}×", rates[0].median() / rates[row].median());
        table.row([entrant.peer.name().to_owned(), with_range(&rates[row]), ahead]);
    }
    println!("{table}");
    Ok(())
}

fn live(arguments: &Arguments, entrants: &[Entrant]) -> Result<()> {
    let pace = Pace {
        rate: arguments.rate,
        payload: 128,
        warm_up: Duration::from_millis(500),
        time: Duration::from_secs(3),
        spin: false,
    };
    let mut latencies = vec![Latencies::new(); entrants.len()];
    for run in 0..=arguments.runs {
        for (row, entrant) in entrants.iter().enumerate().filter(|(_, entrant)| entrant.is_live) {
            let (mut publisher, mut reader) = entrant.peer.live("live", pace.payload)?;
            let seen = open_loop_of(entrant.peer.name(), &mut *publisher, &mut *reader, &pace)?;
            drop((publisher, reader));
            entrant.peer.close("live")?;
            if run > 0 {
                latencies[row].merge(&seen);
            }
        }
    }
    let head = format!("live reader of a stream, {}/s, 128 B", arguments.rate);
    let mut table = Table::new([&head, "synced before it is delivered", "µs p50 / p99 / p99.9 / p99.99"]);
    for (row, entrant) in entrants.iter().enumerate().filter(|(_, entrant)| entrant.is_live) {
        let synced = if row == 0 { "yes" } else { "no" };
        table.row([entrant.peer.name().to_owned(), synced.to_owned(), percentiles(&latencies[row])]);
    }
    println!("{table}");
    Ok(())
}
