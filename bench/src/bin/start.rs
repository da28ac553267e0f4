//! How long a hub with long streams takes to start, after a clean stop and
//! after `kill -9`, and whether its memory grows with them. `cargo xtask bench start`
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
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
    #[arg(long, default_value_t = 4)]
    streams: u64,
    /// Starts of each kind; the table shows medians.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Where the hub keeps its files; the target folder when left out.
    #[arg(long)]
    disk: Option<PathBuf>,
}

/// Payload bytes of an event.
const PAYLOAD: usize = 1024;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let disk = match &arguments.disk {
        Some(folder) => folder.clone(),
        None => process::target_folder()?,
    };
    let folder = tempfile::tempdir_in(&disk)?;
    println!("{}", machine::line());
    println!("{}", disk::line(folder.path())?);
    println!(
        "{} streams of {PAYLOAD} B events, all synced; from the start of the process until it serves; medians of {} \
         starts (smallest to largest); `kill -9` comes while a publisher is at work\n",
        arguments.streams, arguments.runs
    );
    let mut table =
        Table::new(["streams hold", "after a clean stop, s", "after kill -9, s", "resident MiB after a start"]);
    let (mut held, mut parts) = (0, 0);
    for gib in arguments.gib {
        let hub = Hub::in_folder(folder.path())?;
        let each = (gib << 30).saturating_sub(held) / arguments.streams / PAYLOAD as u64;
        for _ in 0..arguments.streams {
            parts += 1;
            let load = Load { payload: PAYLOAD, batch: 256, window: 16_384, time: Duration::ZERO };
            fill(&hub, &format!("part-{parts}"), &load, each)?;
        }
        held = gib << 30;
        drop(hub);
        let (mut clean, mut killed, mut resident) = (Runs::new(), Runs::new(), Runs::new());
        for run in 0..arguments.runs {
            let (hub, seconds) = started(&folder)?;
            clean.push(seconds);
            resident.push(hub.server().memory()?.0 as f64 / f64::from(1 << 20));
            let load = Load { payload: PAYLOAD, batch: 16, window: 1_024, time: Duration::ZERO };
            let tail = format!("tail-{gib}-{run}");
            fill(&hub, &tail, &load, 100_000)?;
            hub.kill()?;
            let (hub, seconds) = started(&folder)?;
            killed.push(seconds);
            hub.close(&tail)?;
            drop(hub);
        }
        table.row([ByteCount(held).to_string(), with_range(&clean), with_range(&killed), with_range(&resident)]);
    }
    println!("{table}");
    Ok(())
}

/// A hub on what the folder holds, and how long it took to serve.
fn started(folder: &tempfile::TempDir) -> Result<(Hub, f64)> {
    let start = Instant::now();
    let hub = Hub::in_folder(folder.path())?;
    Ok((hub, start.elapsed().as_secs_f64()))
}
