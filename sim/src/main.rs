//! `weft-sim`: runs many meshes and says what held.
//!
//! ```text
//! weft-sim [--seeds N] [--first SEED] [--canary NAME | --canary all] [--plan]
//! ```
//! Ends with 0 when all held (with a canary: when it was caught), with 1 when a
//! promise was broken, with 2 when the arguments make no sense.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use weft_sim::{Canary, Plan, Tally, run};

struct Arguments {
    seeds: u64,
    first: u64,
    canaries: Vec<Canary>,
    shows_plan: bool,
}

const USAGE: &str = "usage: weft-sim [--seeds N] [--first SEED] [--canary NAME|all] [--plan]";

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments { seeds: 100, first: 0, canaries: Vec::new(), shows_plan: false };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value\n{USAGE}"));
        let number = |text: String| text.parse().map_err(|_| format!("`{text}` is not a number\n{USAGE}"));
        match word.as_str() {
            "--seeds" => arguments.seeds = number(value()?)?,
            "--first" => arguments.first = number(value()?)?,
            "--plan" => arguments.shows_plan = true,
            "--canary" => match value()?.as_str() {
                "all" => arguments.canaries.extend(Canary::ALL),
                name => {
                    let names: Vec<&str> = Canary::ALL.iter().map(|canary| canary.name()).collect();
                    let canary = Canary::of_name(name);
                    let canary = canary.ok_or_else(|| format!("no canary `{name}`: there are {}", names.join(", ")))?;
                    arguments.canaries.push(canary);
                }
            },
            _ => return Err(format!("`{word}` is not known\n{USAGE}")),
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let seeds = arguments.first..arguments.first.saturating_add(arguments.seeds);
    if arguments.shows_plan {
        seeds.clone().for_each(|seed| print!("{}", Plan::of_seed(seed)));
    }
    let held = if arguments.canaries.is_empty() {
        all_hold(seeds)
    } else {
        arguments.canaries.iter().all(|canary| is_caught(*canary, seeds.clone()))
    };
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn all_hold(seeds: std::ops::Range<u64>) -> bool {
    let mut tally = Tally::default();
    let mut failed = Vec::new();
    for seed in seeds.clone() {
        match run(seed, None) {
            Ok(more) => tally += more,
            Err(failure) => {
                println!("{failure}");
                failed.push(failure);
            }
        }
    }
    println!("{} seeds from {}: {} failed", seeds.end - seeds.start, seeds.start, failed.len());
    println!("{tally:#?}");
    if let Some(first) = failed.first() {
        print!("{first}\nagain with: weft-sim --seeds 1 --first {}\n{}", first.plan.seed, first.plan);
    }
    failed.is_empty()
}

fn is_caught(canary: Canary, seeds: std::ops::Range<u64>) -> bool {
    let count = seeds.end - seeds.start;
    for seed in seeds {
        if let Err(failure) = run(seed, Some(canary))
            && failure.violation.check == canary.caught_by()
        {
            println!("{}: caught by {:?}: {failure}", canary.name(), canary.caught_by());
            return true;
        }
    }
    println!("{}: NOT CAUGHT by {:?} in {count} seeds", canary.name(), canary.caught_by());
    false
}
