//! The program of the earlier commit: built once, from a tree of its own, of
//! which nothing stays but the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::step::Run;
use crate::workspace;

/// The last commit that spoke version 1 of the protocol and no other.
pub(super) const COMMIT: &str = "24bac8f7580c861a09c9262b38529009f002bb0f";
/// How long its build may take.
const BUILD: Duration = Duration::from_secs(60 * 60);

/// Builds it unless it is there.
pub(super) fn program() -> Result<PathBuf> {
    let folder = workspace::target().join("compat");
    fs::create_dir_all(&folder)?;
    let program = folder.join(format!("weft-{COMMIT}"));
    if program.exists() {
        return Ok(program);
    }
    is_here()?;
    let (tree, target) = (folder.join("tree"), folder.join("target"));
    let built = check_out(&folder, &tree).and_then(|()| build(&tree, &target));
    if built.is_ok() {
        // Whole or not at all, should this be interrupted.
        let half = folder.join("weft-half");
        fs::copy(target.join("debug/weft"), &half)?;
        fs::rename(half, &program)?;
    }
    for what in [&tree, &target] {
        let _ = fs::remove_dir_all(what);
    }
    built.map(|()| program)
}

fn git(arguments: &[&str], index: Option<&Path>) -> Result<Output> {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(workspace::root()).envs(index.map(|index| ("GIT_INDEX_FILE", index)));
    command.output().context("cannot start `git`")
}

/// Whether the commit is in this clone; what is to be done if not.
fn is_here() -> Result<()> {
    let found = git(&["cat-file", "-e", &format!("{COMMIT}^{{commit}}")], None)?;
    if found.status.success() {
        return Ok(());
    }
    let shallow = git(&["rev-parse", "--is-shallow-repository"], None)?;
    bail!("{}", missing(shallow.stdout.starts_with(b"true")))
}

fn missing(is_shallow: bool) -> String {
    let (why, remedy) = if is_shallow {
        ("this clone is shallow and ends before it", format!("`git fetch --depth 1 origin {COMMIT}`"))
    } else {
        ("this clone has not got it", format!("`git fetch origin {COMMIT}`"))
    };
    format!(
        "commit {COMMIT}, the last that spoke version 1 of the protocol alone, is needed and {why}: get it with \
         {remedy}, or the whole history with `git fetch --unshallow`"
    )
}

/// Writes the commit's files, and nothing to the repository.
fn check_out(folder: &Path, tree: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(tree);
    let index = folder.join("index");
    let prefix = format!("--prefix={}/", tree.display());
    for arguments in [&["read-tree", COMMIT][..], &["checkout-index", "--all", &prefix]] {
        let output = git(arguments, Some(&index))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`git {}` says: {}", arguments.join(" "), said.trim());
    }
    fs::remove_file(index)?;
    Ok(())
}

fn build(tree: &Path, target: &Path) -> Result<()> {
    let build = Run::cargo(["build", "--package", "weft", "--locked"]).inside(&tree.display().to_string());
    // Without what debuggers need it takes a third of the room.
    let build = build.set("CARGO_TARGET_DIR", target.display().to_string()).set("CARGO_PROFILE_DEV_DEBUG", "false");
    build.set("CARGO_INCREMENTAL", "0").go(BUILD).with_context(|| format!("weft of {COMMIT} does not build"))
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn it_is_said_what_is_missing_and_how_to_get_it() {
        let said = missing(true);
        assert!(said.contains("shallow") && said.contains(super::COMMIT) && said.contains("--depth 1"), "{said}");
        assert!(!missing(false).contains("is shallow"));
    }
}
