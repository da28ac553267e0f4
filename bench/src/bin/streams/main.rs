//! Streams beside JetStream, Redis and Kafka, in one run on one disk, and
//! beside what that disk and the loopback give by themselves, with the goals
//! and whether they are met. `cargo xtask bench streams`
//!
//! Each part measures in rounds that take the servers in turn; a figure is the
//! median of its rounds. What a server cannot do, or failed at, is said and
//! left out. Everything is printed as Markdown for `docs/performance.md`.
#![forbid(unsafe_code)]

mod entrants;
mod goals;
mod parts;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use weft_base::ByteCount;
use weft_bench::report::Report;
use weft_bench::{disk, process};

use crate::entrants::{Field, Kind};
use crate::parts::Part;

/// Streams beside JetStream, Redis and Kafka.
#[derive(Debug, Parser)]
#[command(name = "streams")]
pub(crate) struct Arguments {
    /// How often each figure is measured; the tables show medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// How long each round publishes, in seconds.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// Short: one round, little of everything. For trying things out, not for quoting.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Measures these parts only.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,…")]
    pub(crate) only: Vec<Part>,
    /// Measures these servers only, whatever is the default.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SERVER,…")]
    pub(crate) peers: Vec<Kind>,
    /// Measures these servers as well, which are left out by default.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SERVER,…")]
    pub(crate) with: Vec<Kind>,
    /// The most events on their way without an acknowledgement.
    #[arg(long, default_value_t = 65_536)]
    pub(crate) window: u64,
    /// Events per write of a publisher: a block of Weft, a batch of Kafka, a run of messages of the others.
    #[arg(long, default_value_t = 256)]
    pub(crate) batch: usize,
    /// Events of 128 B that are read again; of 1 KiB a quarter of them.
    #[arg(long, default_value_t = 10_000_000)]
    pub(crate) events: u64,
    /// The same of Redis, which has them all in memory.
    #[arg(long, default_value_t = 2_000_000)]
    pub(crate) redis_events: u64,
    /// Events that a group takes and acknowledges.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) group_events: u64,
    /// Members of the group.
    #[arg(long, default_value_t = 4)]
    pub(crate) members: usize,
    /// Events a second of the live reader.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) rate: u64,
    /// MiB of events after which a hub's memory is looked at, and again after four times as many.
    #[arg(long, default_value_t = 512)]
    pub(crate) memory_mib: u64,
    /// Where the servers keep their files; the target folder when left out.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) disk: Option<PathBuf>,
    /// A file for every round of every figure, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

impl Arguments {
    /// Little of everything.
    fn shorten(&mut self) {
        (self.rounds, self.seconds, self.events, self.redis_events) = (1, 0.3, 200_000, 100_000);
        (self.group_events, self.memory_mib) = (50_000, 128);
    }

    /// What the run may take of the disk: each server's events to be read again
    /// with what it writes around them, or what is published and deleted again.
    fn room(&self) -> ByteCount {
        let replay = self.events.saturating_mul(256 * 4);
        let published = ByteCount::mib(4 << 10).0.max(ByteCount::mib(5 * self.memory_mib).0);
        ByteCount(replay.saturating_add(published))
    }
}

fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    if arguments.quick {
        arguments.shorten();
    }
    let on = match &arguments.disk {
        Some(folder) => folder.clone(),
        None => process::target_folder()?,
    };
    let scratch = disk::scratch(&on, arguments.room())?;
    let mut report = Report::new();
    println!("`{}` at commit {}\n\n{}  ", report.command, report.commit, report.machine);
    let disk = disk::line(scratch.path())?;
    println!("{disk}\n");
    let mut field = Field::start(&arguments, scratch.path(), &mut report);
    report.setup = vec![
        disk,
        format!(
            "medians of {} rounds, servers taken in turn, one round before that does not count; in parentheses the \
             smallest and largest round",
            arguments.rounds
        ),
        "before each measurement all that was written to the disk is waited for, so that nobody pays for what another \
         server left to the kernel"
            .into(),
        format!(
            "server and clients share the machine, over loopback TCP; raw clients: {} events per write built \
             beforehand, at most {} on their way without an acknowledgement (fewer where the server allows fewer, or \
             where more gain nothing)",
            arguments.batch, arguments.window
        ),
        "one at a time: the next event is sent when the one before is acknowledged; live: open loop, from when an \
         event was due until it was read, so free of coordinated omission"
            .into(),
    ];
    for line in &report.setup[1..] {
        println!("- {line}");
    }
    println!("\n{}", field.table());
    let parts = if arguments.only.is_empty() { Part::ALL.to_vec() } else { arguments.only.clone() };
    for part in parts {
        part.run(&arguments, &mut field, &mut report)?;
        part.print(&arguments, &report);
        // Whatever happens later, what was measured is kept.
        if let Some(file) = &arguments.out {
            let text = serde_json::to_string_pretty(&report)?;
            fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    println!("### Goals\n\n{}", goals::table(&arguments, &report));
    for line in &report.missing {
        println!("missing: {line}");
    }
    Ok(())
}
