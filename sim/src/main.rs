//! `weft-sim`: runs many meshes and says what held.
//!
//! ```text
//! weft-sim [--streams] [--shape NAME[:HUBS]|council] [--seeds N] [--first SEED] [--canary NAME | --canary all] [--two-paths] [--plan]
//! weft-sim --scale [--hubs N] [--filters N] [--cover N] [--neighbours N] [--churn N] [--seconds N] [--first SEED]
//! ```
//! With `--scale` what interest costs in one large mesh, in virtual time.
//! With `--two-paths` hubs send the urgent lane over two paths. With `--streams` the streams of several hubs, without it the mesh between
//! them, of one shape after the other or of that which `--shape` names; `--plan`
//! and `--shape` are of the mesh alone, but for `--shape council`: the councils
//! that keep control state. Meshes from files: `weft sim`.
//!
//! Ends with 0 when all held (with a canary: when it was caught), with 1 when a
//! promise was broken, with 2 when the arguments make no sense.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use weft_sim::scale::{self, ScaleOptions};
use weft_sim::{Canary, Plan, Report, SizedShape, council, run, streams};

struct Arguments {
    seeds: u64,
    first: u64,
    canaries: Vec<String>,
    shows_plan: bool,
    streams: bool,
    council: bool,
    scale: Option<ScaleOptions>,
    shape: Option<SizedShape>,
    two_paths: bool,
}

/// Which meshes are run.
#[derive(Clone, Copy)]
struct Meshes {
    shape: Option<SizedShape>,
    two_paths: bool,
}

const USAGE: &str = "usage: weft-sim [--streams] [--shape NAME[:HUBS]|council] [--seeds N] [--first SEED] [--canary NAME|all] [--two-paths] [--plan]\n       weft-sim --scale [--hubs N] [--filters N] [--cover N] [--neighbours N] [--churn N] [--seconds N] [--first SEED]";

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        seeds: 100,
        first: 0,
        canaries: Vec::new(),
        shows_plan: false,
        streams: false,
        council: false,
        scale: None,
        shape: None,
        two_paths: false,
    };
    let mut large = ScaleOptions::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value\n{USAGE}"));
        let number = |text: String| text.parse().map_err(|_| format!("`{text}` is not a number\n{USAGE}"));
        match word.as_str() {
            "--seeds" => arguments.seeds = number(value()?)?,
            "--first" => arguments.first = number(value()?)?,
            "--plan" => arguments.shows_plan = true,
            "--two-paths" => arguments.two_paths = true,
            "--streams" => arguments.streams = true,
            "--shape" => match value()?.as_str() {
                "council" => arguments.council = true,
                shape => arguments.shape = Some(shape.parse().map_err(|error| format!("{error}\n{USAGE}"))?),
            },
            "--scale" => arguments.scale = Some(large),
            "--hubs" => large.hubs = number(value()?)? as usize,
            "--filters" => large.filters = number(value()?)? as usize,
            "--cover" => large.cover = number(value()?)? as usize,
            "--neighbours" => large.neighbours = number(value()?)? as usize,
            "--churn" => large.churn = number(value()?)?,
            "--seconds" => large.seconds = number(value()?)?,
            "--canary" => arguments.canaries.push(value()?),
            _ => return Err(format!("`{word}` is not known\n{USAGE}")),
        }
    }
    if large.hubs < 3 || large.neighbours < 2 || large.hubs > weft_mesh::MAX_HUBS {
        return Err(format!("3 to {} hubs with 2 neighbours at least\n{USAGE}", weft_mesh::MAX_HUBS));
    }
    large.seed = arguments.first;
    arguments.scale = arguments.scale.map(|_| large);
    Ok(arguments)
}

/// The memory of this process, where the system tells it.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or_else(|| "is not known here".to_owned(), |kib| kib.trim().to_owned())
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    if let Some(options) = arguments.scale {
        println!("{}", scale::run(options));
        println!("memory of all hubs together          {}", memory());
        return ExitCode::SUCCESS;
    }
    let kind = Meshes { shape: arguments.shape, two_paths: arguments.two_paths };
    let seeds = arguments.first..arguments.first.saturating_add(arguments.seeds);
    if arguments.shows_plan {
        seeds.clone().for_each(|seed| print!("{}", plan_of(kind, seed)));
    }
    if arguments.council {
        return match councils(&arguments.canaries, seeds) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(message) => {
                eprintln!("{message}");
                ExitCode::from(2)
            }
        };
    }
    let held = match (arguments.canaries.as_slice(), arguments.streams) {
        ([], false) => Ok(all_hold(kind, seeds)),
        ([], true) => Ok(all_streams_hold(seeds)),
        (names, false) => named(names, &Canary::ALL, Canary::name)
            .map(|canaries| canaries.into_iter().all(|canary| is_caught(canary, kind, seeds.clone()))),
        (names, true) => named(names, &streams::Canary::ALL, streams::Canary::name)
            .map(|canaries| canaries.into_iter().all(|canary| is_caught_in_streams(canary, seeds.clone()))),
    };
    match held {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

/// The canaries of these names; all of them for `all`.
fn named<C: Copy>(names: &[String], all: &[C], name_of: fn(C) -> &'static str) -> Result<Vec<C>, String> {
    let mut found = Vec::new();
    for name in names {
        let before = found.len();
        found.extend(all.iter().copied().filter(|canary| name == "all" || name_of(*canary) == name));
        if found.len() == before {
            let names: Vec<&str> = all.iter().copied().map(name_of).collect();
            return Err(format!("no canary `{name}`: there are {}", names.join(", ")));
        }
    }
    Ok(found)
}

/// Councils that hold, or canaries in them that are caught.
fn councils(canaries: &[String], seeds: std::ops::Range<u64>) -> Result<bool, String> {
    if canaries.is_empty() {
        return Ok(all_councils_hold(seeds));
    }
    let canaries = named(canaries, &council::Canary::ALL, council::Canary::name)?;
    Ok(canaries.into_iter().all(|canary| is_caught_in_councils(canary, seeds.clone())))
}

fn all_councils_hold(seeds: std::ops::Range<u64>) -> bool {
    let (mut tally, mut failed) = (council::Tally::default(), 0);
    for seed in seeds.clone() {
        match council::run(seed, None) {
            Ok(more) => tally += more,
            Err(failure) => {
                println!("{failure}\nagain with: weft-sim --shape council --seeds 1 --first {seed}");
                failed += 1;
            }
        }
    }
    println!("{} seeds of councils from {}: {failed} failed", seeds.end - seeds.start, seeds.start);
    println!("{tally:#?}");
    failed == 0
}

fn is_caught_in_councils(canary: council::Canary, seeds: std::ops::Range<u64>) -> bool {
    let count = seeds.end - seeds.start;
    for seed in seeds {
        if let Err(failure) = council::run(seed, Some(canary))
            && canary.caught_by().contains(&failure.violation.check)
        {
            println!("{}: caught by {:?}: {failure}", canary.name(), failure.violation.check);
            return true;
        }
    }
    println!("{}: NOT CAUGHT by {:?} in {count} seeds", canary.name(), canary.caught_by());
    false
}

fn all_streams_hold(seeds: std::ops::Range<u64>) -> bool {
    let (mut tally, mut failed) = (streams::Tally::default(), 0);
    for seed in seeds.clone() {
        match streams::run(seed, None) {
            Ok(more) => tally += more,
            Err(failure) => {
                println!("{failure}\nagain with: weft-sim --streams --seeds 1 --first {seed}");
                failed += 1;
            }
        }
    }
    println!("{} seeds of streams from {}: {failed} failed", seeds.end - seeds.start, seeds.start);
    println!("{tally:#?}");
    failed == 0
}

fn is_caught_in_streams(canary: streams::Canary, seeds: std::ops::Range<u64>) -> bool {
    let count = seeds.end - seeds.start;
    for seed in seeds {
        if let Err(failure) = streams::run(seed, Some(canary))
            && failure.violation.check == canary.caught_by()
        {
            println!("{}: caught by {:?}: {failure}", canary.name(), canary.caught_by());
            return true;
        }
    }
    println!("{}: NOT CAUGHT by {:?} in {count} seeds", canary.name(), canary.caught_by());
    false
}

fn all_hold(kind: Meshes, seeds: std::ops::Range<u64>) -> bool {
    let mut report = Report::default();
    for seed in seeds {
        let plan = plan_of(kind, seed);
        let outcome = run(&plan, None);
        if let Err(violation) = &outcome {
            let shape = kind.shape.map_or_else(String::new, |shape| format!(" --shape {shape}"));
            let paths = if kind.two_paths { " --two-paths" } else { "" };
            println!("{violation}\nagain with: weft-sim{shape}{paths} --seeds 1 --first {seed} --plan");
        }
        report.add(&plan, outcome);
    }
    print!("{report}");
    report.holds()
}

fn plan_of(Meshes { shape, two_paths }: Meshes, seed: u64) -> Plan {
    let plan = shape.map_or_else(|| Plan::of_seed(seed), |shape| Plan::of_shape(shape, seed));
    Plan { two_paths, ..plan }
}

fn is_caught(canary: Canary, kind: Meshes, seeds: std::ops::Range<u64>) -> bool {
    let count = seeds.end - seeds.start;
    for seed in seeds {
        if let Err(violation) = run(&plan_of(kind, seed), Some(canary))
            && violation.check == canary.caught_by()
        {
            println!("{}: caught by {:?} with seed {seed}: {violation}", canary.name(), canary.caught_by());
            return true;
        }
    }
    println!("{}: NOT CAUGHT by {:?} in {count} seeds", canary.name(), canary.caught_by());
    false
}
