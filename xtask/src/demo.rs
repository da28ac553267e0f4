//! `cargo xtask demo`: the main job, built and run.

use anyhow::{Result, ensure};

use crate::step::Run;
use crate::workspace;

/// Builds weft for speed and runs `weft demo` with these arguments.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let built = Run::cargo(["build", "--release", "--package", "weft"]).watch()?;
    ensure!(built.success(), "weft does not build");
    let program = workspace::target().join("release/weft");
    let status = Run::program(&program.to_string_lossy(), ["demo"]).with(arguments.iter().cloned()).watch()?;
    ensure!(status.success(), "the demo ended with {status}");
    Ok(())
}
