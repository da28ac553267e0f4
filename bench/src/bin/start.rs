//! How long a hub with long streams takes to start, after a clean stop and
//! after `kill -9`, with their files in memory and not, beside the goals, and
//! whether its memory grows with them. `cargo xtask bench start`
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use weft_base::ByteCount;
use weft_bench::acked::{Durable, Load, fill};
use weft_bench::stats::{Runs, with_range};
use weft_bench::table::Table;
use weft_bench::weft::Hub;
use weft_bench::{disk, machine, process};

/// The start of a hub with long streams.
#[derive(Parser)]
struct Arguments {
    /// GiB of streams at each step.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 5, 20])]
    gib: Vec<u64>,
    /// Streams that they are spread over.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    streams: u64,
    /// Starts of each kind; the table shows medians.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where the hub keeps its files; the target folder when left out.
    #[arg(long, value_name = "FOLDER")]
    disk: Option<PathBuf>,
}

/// Payload bytes of an event.
const PAYLOAD: usize = 1024;
/// The most seconds that a start may take after a clean stop, and after `kill -9`.
const GOALS: [f64; 2] = [3.0, 15.0];
/// How long a publisher is at work before the hub is killed.
const WORK: Duration = Duration::from_millis(500);
/// What the publishers at work may write until then, all of them together.
const TAILS: ByteCount = ByteCount::mib(2 << 10);

fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    arguments.gib.sort_unstable();
    let on = match &arguments.disk {
        Some(folder) => folder.clone(),
        None => process::target_folder()?,
    };
    // Blocks and side files take a tenth more than the payloads.
    let most = arguments.gib.last().copied().unwrap_or(0);
    let scratch = disk::scratch(&on, ByteCount(ByteCount::mib(most << 10).0 / 10 * 11 + TAILS.0))?;
    let folder = scratch.path();
    println!("{}  ", machine::line());
    println!("{}\n", disk::line(folder)?);
    println!(
        "{} streams of {PAYLOAD} B events, all synced; seconds from the start of the process until it serves; medians \
         of {} starts (smallest to largest); `kill -9` comes while a publisher is at work at full speed; the files are \
         in the kernel's memory as far as they fit, or were put out of it before\n",
        arguments.streams, arguments.rounds
    );
    let mut table = Table::new([
        "streams hold",
        "after a clean stop",
        "the same, not in memory",
        "after kill -9",
        "the same, not in memory",
        "MiB of its own memory after a start",
        "goals",
    ]);
    let (mut held, mut parts) = (0, 0);
    for gib in &arguments.gib {
        let hub = Hub::in_folder(folder)?;
        disk::check_real(&folder.join("data"))?;
        let each = ByteCount::mib(gib << 10).0.saturating_sub(held) / arguments.streams / PAYLOAD as u64;
        for _ in 0..arguments.streams {
            parts += 1;
            let load = Load { payload: PAYLOAD, batch: 256, window: 16_384, time: Duration::ZERO };
            fill(&hub, &format!("part-{parts}"), &load, each)?;
        }
        held = ByteCount::mib(gib << 10).0;
        drop(hub);
        let measured = Starts::measure(folder, arguments.rounds)?;
        table.row(measured.cells(ByteCount(held)));
    }
    println!("{table}");
    println!("goals: at most {} s after a clean stop, at most {} s after kill -9", GOALS[0], GOALS[1]);
    Ok(())
}

/// The starts of a hub on what its folder holds, in seconds: each kind with
/// the files in memory and not.
#[derive(Default)]
struct Starts {
    clean: [Runs; 2],
    killed: [Runs; 2],
    own: Runs,
}

impl Starts {
    fn measure(folder: &Path, rounds: usize) -> Result<Self> {
        let mut starts = Self::default();
        for round in 0..rounds {
            for is_cold in [false, true] {
                let (hub, seconds) = started(folder, is_cold)?;
                starts.clean[usize::from(is_cold)].push(seconds);
                starts.own.push(hub.server().private_memory()? as f64 / f64::from(1 << 20));
                let tail = format!("tail-{round}");
                kill_at_work(&hub, &tail)?;
                drop(hub);
                let (hub, seconds) = started(folder, is_cold)?;
                starts.killed[usize::from(is_cold)].push(seconds);
                hub.close(&tail)?;
            }
        }
        Ok(starts)
    }

    /// The row of streams that hold so much; a goal holds with files in memory and without.
    fn cells(&self, held: ByteCount) -> [String; 7] {
        let met = |runs: &[Runs; 2], most: f64| runs.iter().all(|runs| runs.median() <= most);
        let are_met = met(&self.clean, GOALS[0]) && met(&self.killed, GOALS[1]);
        [
            held.to_string(),
            with_range(&self.clean[0]),
            with_range(&self.clean[1]),
            with_range(&self.killed[0]),
            with_range(&self.killed[1]),
            with_range(&self.own),
            if are_met { "met" } else { "**missed**" }.to_owned(),
        ]
    }
}

/// A hub on what the folder holds, and how long it took to serve.
fn started(folder: &Path, is_cold: bool) -> Result<(Hub, f64)> {
    if is_cold {
        // Only what is on the disk can be put out of memory.
        disk::settle(folder)?;
        disk::forget(folder)?;
    }
    let start = Instant::now();
    let hub = Hub::in_folder(folder)?;
    Ok((hub, start.elapsed().as_secs_f64()))
}

/// Kills the hub while a publisher is at work.
fn kill_at_work(hub: &Hub, stream: &str) -> Result<()> {
    let load = Load { payload: PAYLOAD, batch: 16, window: 1_024, time: Duration::ZERO };
    thread::scope(|scope| {
        let publisher = scope.spawn(|| fill(hub, stream, &load, u64::MAX));
        thread::sleep(WORK);
        hub.server().kill()?;
        // It had no end but the hub's.
        ensure!(!matches!(publisher.join(), Ok(Ok(_))), "the publisher ended before the hub was killed");
        Ok(())
    })
}
