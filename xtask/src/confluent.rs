//! Confluent's Python client against the registry: its packages, exactly those that
//! `crates/weft/tests/registry/requirements.txt` names, in a virtual environment
//! under the target folder, which is kept as long as that file is the same; then the
//! test that runs it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::step::{Run, Step};
use crate::workspace;

/// What is to be installed.
const REQUIREMENTS: &str = "crates/weft/tests/registry/requirements.txt";

pub(crate) fn step() -> Step {
    let name = "registry: Confluent's Python client registers, evolves and is refused";
    Step::function(name, 15, "cargo xtask test --only Confluent", |limit| {
        let python = install(limit)?.join("bin/python");
        Run::cargo(["test", "--workspace", "--test", "registry_confluent", "--locked", "--", "--ignored"])
            .set("WEFT_CONFLUENT_PYTHON", python.to_string_lossy())
            .go(limit)
    })
}

/// The virtual environment, with all of it.
fn install(limit: Duration) -> Result<PathBuf> {
    let folder = workspace::target().join("peers/confluent");
    let file = workspace::root().join(REQUIREMENTS);
    let wanted = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let installed = folder.join("requirements.txt");
    if fs::read_to_string(&installed).is_ok_and(|there| there == wanted) {
        return Ok(folder);
    }
    let (environment, list) = (folder.to_string_lossy().into_owned(), file.to_string_lossy().into_owned());
    Run::program("python3", ["-m", "venv", "--clear", &environment]).go(limit)?;
    let pip = folder.join("bin/pip").to_string_lossy().into_owned();
    let quiet = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement", &list];
    Run::program(&pip, quiet).go(limit)?;
    // Last, so that a part of it is not taken for all of it.
    fs::write(&installed, wanted).with_context(|| format!("cannot write {}", installed.display()))?;
    Ok(folder)
}
