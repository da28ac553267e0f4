//! The project's own tools, as subcommands of one program: `cargo xtask …`.
//!
//! `demo` runs the main job, `test` the whole test suite, `lint` and `tidy`
//! check the text, `bench` measures, `crash-matrix` and `chaos` break what they can, `compat` runs
//! an earlier version beside this one, `fuzz` hunts.
//! There are no other scripts but `.ci/run`, which calls these.
#![forbid(unsafe_code)]

mod bench;
mod chaos;
mod compat;
mod confluent;
mod crash;
mod demo;
mod deny;
mod fips;
mod fuzz;
mod lint;
mod otel;
mod prometheus;
mod sdks;
mod step;
mod suite;
mod tidy;
mod web;
mod workspace;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// The project's own tools.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds weft and runs `weft demo` with the arguments given.
    Demo {
        /// Handed to `weft demo` as they are; see `cargo xtask demo -- --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs the whole test suite, sized for CI.
    Test {
        /// Long runs: 10,000 simulator seeds, real hubs under faults, 10 minutes of fuzzing per target, the FIPS module.
        #[arg(long)]
        full: bool,
        /// Runs only the steps whose name contains this.
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
    },
    /// Formatting, lints and dependencies: what CI refuses.
    Lint,
    /// Checks what no compiler checks: layers, unsafe, banned calls, documents, sizes.
    Tidy {
        /// First writes the pages of docs/errors anew, from the tables of docs/operating.md.
        #[arg(long)]
        write: bool,
    },
    /// Builds and runs a benchmark: decode, topic, ring, log, hub, hops, wan, interest, streams, start, idle, peers, machine or all.
    Bench {
        /// Which one.
        name: String,
        /// Handed to the benchmark as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Real hubs under kill -9, SIGSTOP, power cuts, full, slow and read-only disks and flipped bits:
    /// what was acknowledged, recovered and lost, as a table.
    CrashMatrix {
        /// A long run on an optimised build.
        #[arg(long)]
        full: bool,
        /// What all chance comes from.
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
    },
    /// Real hubs in network namespaces, on lines that delay, lose and cut, killed, held and with clocks that
    /// jump: what was acknowledged and received, judged, with a timeline.
    Chaos {
        /// `--full`, `--shape SHAPE|all`, `--minutes M` for each shape, `--seed N`, `--quic`, `--failover CUTS`, `--out FOLDER`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Hubs and clients of the last commit of protocol version 1 beside those of this tree, in one mesh:
    /// a rolling upgrade under load, and back.
    Compat,
    /// Builds the dashboard's page from `web/` (needs node and npm) into `web/dist`, which is committed.
    Web {
        /// Takes pictures of each view of a demo with flights into `docs/dashboard` instead (needs Chromium).
        #[arg(long)]
        screenshots: bool,
        /// Measures the page instead: first view, frames a second, size, what viewers cost a hub (needs Chromium).
        #[arg(long, conflicts_with = "screenshots")]
        measure: bool,
    },
    /// Fuzzes one target, or all of them in turn.
    Fuzz {
        /// A file name in fuzz/fuzz_targets, without `.rs`; all but the canary when left out.
        target: Option<String>,
        /// How long each target runs.
        #[arg(long, default_value_t = 60, value_name = "SECONDS")]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Demo { arguments } => demo::run(&arguments),
        Task::Test { full, only } => suite::run(full, only.as_deref()),
        Task::Lint => lint::run(),
        Task::Tidy { write } => (if write { tidy::write() } else { Ok(()) }).and_then(|()| tidy::run()),
        Task::Bench { name, arguments } => bench::run(&name, &arguments),
        Task::CrashMatrix { full, seed } => crash::run(full, seed),
        Task::Chaos { arguments } => chaos::run(&arguments),
        Task::Compat => compat::run(),
        Task::Web { screenshots: true, .. } => web::screenshots(),
        Task::Web { measure: true, .. } => web::measure(),
        Task::Web { .. } => web::run(),
        Task::Fuzz { target, seconds } => fuzz::run(target.as_deref(), Duration::from_secs(seconds)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
