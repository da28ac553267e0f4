//! `cargo xtask chaos`: real hubs under faults of lines, processes and clocks.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::step::{Run, Step};
use crate::workspace;

/// Builds for speed, and runs `weft-chaos` with these arguments.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let build = build("release");
    ensure!(build.watch()?.success(), "it does not build; to repeat: {}", build.typed());
    let status = program("release").with(arguments.iter().cloned()).watch()?;
    ensure!(status.success(), "chaos ended with {status}");
    Ok(())
}

/// What the step of the test suite runs: twelve seconds of faults of eight kinds.
const SMALL: [&str; 6] = ["--shape", "ring", "--minutes", "0.2", "--seed", "54"];

/// The step of the test suite: one shape for a short time, with what the tests have built already.
pub(crate) fn step() -> Step {
    let repeat = format!("cargo xtask chaos {}", SMALL.join(" "));
    Step::function("chaos: real hubs in a ring, lines cut, hubs killed and held", 10, &repeat, |limit: Duration| {
        build("debug").go(limit)?;
        program("debug").with(SMALL).go(limit)
    })
}

fn build(profile: &str) -> Run {
    let run = Run::cargo(["build", "--package", "weft", "--package", "weft-chaos", "--locked"]);
    if profile == "release" { run.with(["--release"]) } else { run }
}

fn program(profile: &str) -> Run {
    let program = workspace::target().join(profile).join("weft-chaos");
    Run::program(&program.to_string_lossy(), [] as [&str; 0])
}
