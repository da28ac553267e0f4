//! Chaos on real processes: `cargo xtask chaos`.
//!
//! Hubs in namespaces, joined by lines in some shape, with mutual TLS; real
//! clients at each that publish, subscribe and keep a journal of all that was
//! acknowledged and received; faults of lines, processes and clocks from a seed.
//! At the end all is healed and the journals are judged. The judge is shown lies
//! at the end of each run, and a run in which it misses one has failed.
#![forbid(unsafe_code)]

mod clock;
mod failover;
mod faults;
mod judge;
mod load;
mod mesh;
mod run;
mod shape;
mod timeline;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;

use run::What;
use shape::Shape;

/// Minutes of faults of a long run.
const FULL: f64 = 5.0;

/// Real hubs under faults of lines, processes and clocks.
#[derive(Parser)]
#[command(name = "cargo xtask chaos", bin_name = "cargo xtask chaos")]
struct Arguments {
    /// How the hubs are joined: a name, or `all`.
    #[arg(long, default_value = "all")]
    shape: String,
    /// How long there are faults, in minutes, for each shape.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// A long run: five minutes of faults for each shape, by TCP and then by QUIC.
    #[arg(long, conflicts_with_all = ["minutes", "quic"])]
    full: bool,
    /// Links by QUIC.
    #[arg(long)]
    quic: bool,
    /// No faults but so many cuts of lines with another way, one after the other: how long failover takes.
    #[arg(long, value_name = "CUTS", conflicts_with_all = ["minutes", "full"])]
    failover: Option<usize>,
    /// What all chance comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the timelines are written; else beside this program.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    match go(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn go(arguments: &Arguments) -> Result<bool> {
    if let Some(why) = weft_chaos::missing() {
        println!("chaos: left out: {why}");
        return Ok(true);
    }
    let shapes = match arguments.shape.as_str() {
        "all" => Shape::ALL.to_vec(),
        name => match Shape::ALL.into_iter().find(|shape| shape.name() == name) {
            Some(shape) => vec![shape],
            None => bail!("there is no shape {name}; there are {} and all", Shape::ALL.map(Shape::name).join(", ")),
        },
    };
    let here = std::env::current_exe()?;
    let folder = here.parent().context("this program lies in no folder")?;
    let out = arguments.out.clone().unwrap_or_else(|| folder.join("chaos"));
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make the folder {}", out.display()))?;
    let minutes = match (arguments.full, arguments.failover) {
        (_, Some(_)) => 0.0,
        (true, _) => FULL,
        _ => arguments.minutes,
    };
    let time = Duration::try_from_secs_f64(minutes * 60.0).context("--minutes is a time above zero")?;
    let networks: &[bool] = if arguments.full { &[false, true] } else { &[arguments.quic] };
    let mut good = true;
    for shape in shapes {
        for &quic in networks {
            let what = What { shape, time, seed: arguments.seed, cuts: arguments.failover.unwrap_or(1), quic };
            let kind = match (arguments.failover, quic) {
                (None, false) => "",
                (None, true) => "-quic",
                (Some(_), false) => "-failover",
                (Some(_), true) => "-failover-quic",
            };
            let path = out.join(format!("{}{kind}-{}.txt", shape.name(), arguments.seed));
            good &= run::run(what, &folder.join("weft"), &path)?;
            println!("the timeline is in {}\n", path.display());
        }
    }
    Ok(good)
}
