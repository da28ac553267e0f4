//! `cargo xtask crash-matrix`: real hubs under faults of process, machine and disk.

use anyhow::{Result, ensure};

use crate::step::Run;

/// Runs the matrix and prints its table; `full` strikes more often, and on an
/// optimised build.
pub(crate) fn run(full: bool, seed: Option<u64>) -> Result<()> {
    let mut run = Run::cargo(["test", "--package", "weft", "--test", "crash", "--locked"]);
    if full {
        run = run.with(["--release"]);
    }
    run = run.with(["--", "--nocapture", "--test-threads", "1"]);
    run = run.set("WEFT_CRASH_MATRIX", if full { "full" } else { "small" });
    if let Some(seed) = seed {
        run = run.set("WEFT_CRASH_SEED", seed.to_string());
    }
    let status = run.watch()?;
    ensure!(status.success(), "the crash matrix ended with {status}");
    Ok(())
}
