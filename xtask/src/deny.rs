//! cargo-deny over the dependencies, by `deny.toml`; installed where it is missing.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::step::Run;
use crate::workspace;

/// The version that the list was written for.
const VERSION: &str = "0.20.2";
/// What it says when it cannot get the database of advisories.
const OUT_OF_REACH: &str = "failed to fetch advisory database";

/// Runs these checks.
pub(crate) fn run(limit: Duration, checks: &[&str]) -> Result<()> {
    let end = Instant::now() + limit;
    let program = program(limit)?;
    let left = end.saturating_duration_since(Instant::now());
    Run::program(&program, ["--log-level", "error", "--locked", "check"]).with(checks.iter().copied()).go(left)
}

/// Holds the dependencies against the public database of advisories; where that
/// cannot be reached, it is said that nobody has looked.
pub(crate) fn advisories(limit: Duration) -> Result<()> {
    let (status, text) = Run::program(&program(limit)?, ["--locked", "check", "advisories"]).read(limit)?;
    if status.success() {
        return Ok(());
    }
    if text.contains(OUT_OF_REACH) {
        println!("   NOT LOOKED AT: the database of advisories cannot be reached from here");
        return Ok(());
    }
    bail!("{text}\nit ended with {status}");
}

/// The program, installed if it is not there: without optimisation, which is a
/// third of the build and fast enough.
fn program(limit: Duration) -> Result<String> {
    let folder = workspace::target().join("tools");
    let program = folder.join("bin/cargo-deny").to_string_lossy().into_owned();
    let is_there = || -> Result<bool> {
        if !folder.join("bin/cargo-deny").exists() {
            return Ok(false);
        }
        let (status, text) = Run::program(&program, ["--version"]).read(Duration::from_secs(20))?;
        Ok(status.success() && text.trim().ends_with(VERSION))
    };
    if !is_there()? {
        let root = folder.to_string_lossy().into_owned();
        let package = format!("cargo-deny@{VERSION}");
        Run::cargo(["install", "--locked", "--debug", "--force", &package, "--root", &root])
            .set("CARGO_TARGET_DIR", folder.join("build").to_string_lossy())
            .go(limit)?;
        std::fs::remove_dir_all(folder.join("build"))?;
        ensure!(is_there()?, "cargo-deny {VERSION} was installed and does not run");
    }
    Ok(program)
}
