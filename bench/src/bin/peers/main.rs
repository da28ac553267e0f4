//! Weft beside the field's best, in one run on one machine, with the same
//! work. `cargo xtask bench peers`
//!
//! Each part measures one table, in rounds that take the peers in turn; a cell
//! is the median of its rounds. What a peer cannot do, or failed at, is said
//! and left out. Figures of different runs or machines say nothing.
#![forbid(unsafe_code)]

mod charts;
mod crowd;
mod entrants;
mod parts;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use weft_bench::process;
use weft_bench::report::Report;

use crate::entrants::{Field, Kind};
use crate::parts::Part;

/// Weft beside the field's best.
#[derive(Debug, Parser)]
#[command(name = "peers")]
pub(crate) struct Arguments {
    /// How often each figure is measured; the tables show medians.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// How long each run publishes, in seconds.
    #[arg(long, default_value_t = 1.5)]
    pub(crate) seconds: f64,
    /// Short: 3 rounds of 0.4 s. For trying things out, not for quoting.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Measures these parts only.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,…")]
    pub(crate) only: Vec<Part>,
    /// Measures these peers only, whatever is the default.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PEER,…")]
    pub(crate) peers: Vec<Kind>,
    /// Measures these peers as well, which are left out by default.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PEER,…")]
    pub(crate) with: Vec<Kind>,
    /// How many MiB of payload the publishers may be ahead of the slowest subscriber.
    #[arg(long, default_value_t = 4)]
    pub(crate) window: u64,
    /// How many events they may be ahead: fewer than a hub queues for a subscriber before it drops.
    #[arg(long, default_value_t = 49_152)]
    pub(crate) window_events: u64,
    /// The folder for `peers.json` and the charts; `peers-results` in the target folder when left out.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
}

fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    if arguments.quick {
        (arguments.rounds, arguments.seconds) = (3, 0.4);
    }
    let out = match &arguments.out {
        Some(folder) => folder.clone(),
        None => process::target_folder()?.join("peers-results"),
    };
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut report = Report::new();
    println!("{}\ncommit {}, {}\n", report.machine, report.commit, report.command);
    let mut field = Field::start(&arguments, &mut report)?;
    report.setup = vec![
        format!(
            "medians of {} rounds of {} s, peers taken in turn; in parentheses the smallest and largest round",
            arguments.rounds, arguments.seconds
        ),
        "server, publishers and subscribers share the machine, over loopback TCP; each connection has a thread".into(),
        "raw clients: batches of 64 KiB built beforehand, payloads not read; the client library's row uses weft-client"
            .into(),
        format!(
            "publishers are at most {} MiB and {} events ahead of the slowest subscriber; nothing is dropped",
            arguments.window, arguments.window_events
        ),
        "latency: open loop, from when an event was due until it was read, so free of coordinated omission".into(),
        "server CPU from /proc/PID/stat, memory from VmHWM, started anew for each run".into(),
    ];
    for line in &report.setup {
        println!("- {line}");
    }
    println!("\n{}", field.versions(&report));
    for part in Part::all(&arguments.only) {
        part.run(&arguments, &mut field, &mut report)?;
        // Whatever happens later, what was measured is kept.
        save(&report, &out)?;
    }
    charts::save(&report, &out)?;
    for line in &report.missing {
        println!("missing: {line}");
    }
    println!("\nsaved in {}", out.display());
    Ok(())
}

fn save(report: &Report, out: &std::path::Path) -> Result<()> {
    let path = out.join("peers.json");
    fs::write(&path, serde_json::to_string_pretty(report)?).with_context(|| format!("cannot write {}", path.display()))
}
