//! The SDKs of CloudEvents, and a checker of OpenAPI documents: for Python exactly the
//! packages of `crates/weft/tests/sdks/requirements.txt` in a virtual environment, for
//! JavaScript those of the lock file beside it, both under the target folder, where
//! they are kept as long as these files are the same; then the tests that run them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::step::{Run, Step};
use crate::workspace;

/// Where it is said what is to be installed.
const FOLDER: &str = "crates/weft/tests/sdks";

pub(crate) fn step() -> Step {
    let name = "http: the SDKs of CloudEvents publish and read, and the document of the API is checked";
    Step::function(name, 15, "cargo xtask test --only SDK", |limit| {
        let (python, modules) = (python(limit)?.join("bin/python"), modules(limit)?);
        Run::cargo(["test", "--workspace", "--test", "weft", "--locked", "--", "--ignored", "sdks::"])
            .set("WEFT_SDK_PYTHON", python.to_string_lossy())
            .set("WEFT_SDK_NODE", "node")
            .set("WEFT_SDK_MODULES", modules.to_string_lossy())
            .go(limit)
    })
}

/// The virtual environment, with all of it.
fn python(limit: Duration) -> Result<PathBuf> {
    kept("sdks-python", "requirements.txt", |folder, list| {
        let environment = folder.to_string_lossy().into_owned();
        Run::program("python3", ["-m", "venv", "--clear", &environment]).go(limit)?;
        let pip = folder.join("bin/pip").to_string_lossy().into_owned();
        let quiet = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement", list];
        Run::program(&pip, quiet).go(limit)
    })
}

/// The folder that has `node_modules`.
fn modules(limit: Duration) -> Result<PathBuf> {
    kept("sdks-node", "package-lock.json", |folder, list| {
        fs::create_dir_all(folder)?;
        let from = Path::new(list).with_file_name("package.json");
        fs::copy(from, folder.join("package.json")).context("cannot copy package.json")?;
        fs::copy(list, folder.join("package-lock.json")).context("cannot copy package-lock.json")?;
        let prefix = folder.to_string_lossy().into_owned();
        // No package runs anything while it is installed.
        Run::program("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", &prefix]).go(limit)
    })
}

/// A folder of the target, with what a list says, which is installed where that is another.
fn kept(name: &str, list: &str, install: impl FnOnce(&Path, &str) -> Result<()>) -> Result<PathBuf> {
    let folder = workspace::target().join("peers").join(name);
    let file = workspace::root().join(FOLDER).join(list);
    let wanted = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let installed = folder.join("installed");
    if fs::read_to_string(&installed).is_ok_and(|there| there == wanted) {
        return Ok(folder);
    }
    install(&folder, &file.to_string_lossy())?;
    // Last, so that a part of it is not taken for all of it.
    fs::write(&installed, wanted).with_context(|| format!("cannot write {}", installed.display()))?;
    Ok(folder)
}
