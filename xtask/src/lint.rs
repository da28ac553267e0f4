//! `cargo xtask lint`: formatting, lints, and the dependencies' licences and advisories.

use anyhow::Result;

use crate::deny;
use crate::step::{Run, Step, run_all};

/// Runs the checks that CI refuses a change for.
pub(crate) fn run() -> Result<()> {
    let steps = vec![
        Step::command("formatting", 2, Run::cargo(["fmt", "--all", "--check"])),
        Step::command("formatting of the fuzz targets", 2, Run::cargo(["fmt", "--check"]).inside("fuzz")),
        Step::command(
            "clippy",
            20,
            Run::cargo(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
        ),
        Step::function("dependencies: licences, bans and sources", 20, "cargo xtask lint", |limit| {
            deny::run(limit, &["bans", "licenses", "sources"])
        }),
        Step::function("dependencies: advisories", 5, "cargo xtask lint", deny::advisories),
    ];
    run_all("lint", steps)
}
