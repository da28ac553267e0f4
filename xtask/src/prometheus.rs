//! Prometheus itself against a hub's `/metrics` and the alerts in `deploy/prometheus`:
//! its programs, installed or unpacked from Debian's package under the target folder
//! without installing it, and the tests that run them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::step::{Run, Step};
use crate::workspace;

/// Debian's package, and where its programs are in it.
const PACKAGE: &str = "prometheus";
const PROGRAMS: &str = "usr/bin";

pub(crate) fn step() -> Step {
    let name = "prometheus: reads a hub's page, takes the rules, and an alert fires when the hub dies";
    Step::function(name, 15, "cargo xtask test --only prometheus", |limit| {
        let programs = programs(limit)?;
        Run::cargo(["test", "--workspace", "--test", "weft", "--locked", "--", "--ignored", "metrics::prometheus"])
            .set("WEFT_PROMETHEUS", programs.to_string_lossy())
            .go(limit)
    })
}

/// The folder of `prometheus` and `promtool`.
fn programs(limit: Duration) -> Result<PathBuf> {
    let installed = Path::new("/").join(PROGRAMS);
    if installed.join("promtool").exists() {
        return Ok(installed);
    }
    let folder = workspace::target().join("peers").join(format!("debian-{PACKAGE}"));
    let programs = folder.join("root").join(PROGRAMS);
    if programs.join("promtool").exists() {
        return Ok(programs);
    }
    let archives = folder.join("archives");
    fs::create_dir_all(archives.join("partial")).with_context(|| format!("cannot make {}", archives.display()))?;
    let cache = format!("Dir::Cache::archives={}", archives.display());
    // Downloads only, without the locks that installing needs.
    let options = ["--quiet", "--quiet", "--yes", "--download-only", "--no-install-recommends"];
    let more = ["-o", "Debug::NoLocking=1", "-o", &cache, "install", PACKAGE];
    let download = Run::program("apt-get", options).with(more);
    if download.go(limit).is_err() {
        // On a fresh machine nothing is known of packages yet.
        Run::program("apt-get", ["--quiet", "--quiet", "update"]).go(limit)?;
        download.go(limit)?;
    }
    let root = folder.join("root").to_string_lossy().into_owned();
    for entry in fs::read_dir(&archives)? {
        let path = entry?.path();
        // What it needs besides is there: it is linked whole.
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("prometheus_")) {
            let path = path.to_string_lossy().into_owned();
            Run::program("dpkg-deb", ["--extract", &path, &root]).go(limit)?;
        }
    }
    ensure!(programs.join("promtool").exists(), "the package {PACKAGE} brought no {PROGRAMS}/promtool");
    Ok(programs)
}
