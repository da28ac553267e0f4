//! `cargo xtask lint`: formatting, lints, and the dependencies' licences and advisories.

use std::process::Command;

use anyhow::Result;

use crate::step::{Run, Step, run_all};

/// Runs the checks that CI refuses a change for.
pub(crate) fn run() -> Result<()> {
    let mut steps = vec![
        Step::command("formatting", 2, Run::cargo(["fmt", "--all", "--check"])),
        Step::command("formatting of the fuzz targets", 2, Run::cargo(["fmt", "--check"]).inside("fuzz")),
        Step::command(
            "clippy",
            20,
            Run::cargo(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
        ),
    ];
    let installed = Command::new("cargo-deny").arg("--version").output().is_ok_and(|out| out.status.success());
    if installed {
        // Advisories need the network; licences, bans and sources do not.
        let check = ["deny", "--locked", "check", "bans", "licenses", "sources"];
        steps.push(Step::command("dependencies (cargo deny)", 5, Run::cargo(check)));
    } else {
        println!("cargo-deny is not installed: dependencies are checked by tidy's list of licences alone");
    }
    run_all("lint", steps)
}
