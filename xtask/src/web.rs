//! The dashboard's page: built from `web/` into `web/dist`, which is committed and is
//! a part of the program (docs/adr/0051), so that whoever builds the program needs no
//! node. CI builds it anew and compares.

use std::time::Duration;

use anyhow::Result;

use crate::step::{Run, Step};
use crate::workspace;

/// Where the sources are.
const FOLDER: &str = "web";
/// How long packages may take to come.
const INSTALL: Duration = Duration::from_secs(180);

/// Builds the page; what is built is to be committed.
pub(crate) fn run() -> Result<()> {
    install(INSTALL)?;
    npm("build").go(INSTALL)
}

/// That the page in the program is what the sources give, and sound in its types.
pub(crate) fn step() -> Step {
    Step::function(
        "page: what the program serves is what its sources give",
        4,
        "cargo xtask test --only page",
        |limit| {
            install(limit)?;
            npm("check").go(limit)?;
            npm("same").go(limit)
        },
    )
}

/// The page in Chromium: against a simulated mesh, and against hubs with flights.
pub(crate) fn browser_step() -> Step {
    Step::function(
        "page: each view in Chromium, with hubs and flights",
        6,
        "cargo xtask test --only Chromium",
        |limit| {
            install(limit)?;
            Run::cargo(["build", "--package", "weft", "--locked"]).go(limit)?;
            browse("page", limit)?;
            browse("live", limit)
        },
    )
}

/// What the name of the step of the tour has.
pub(crate) const TOUR: &str = "tour";

/// The page in Chromium while one thing after the other goes wrong; takes minutes.
pub(crate) fn tour_step() -> Step {
    Step::function(
        "page: the tour, a hub killed, a link cut, a lane flooded, a schema broken, each seen in Chromium",
        10,
        "cargo xtask test --only tour",
        |limit| {
            install(limit)?;
            Run::cargo(["build", "--package", "weft", "--locked"]).go(limit)?;
            browse("tour", limit)
        },
    )
}

/// First view, frames a second and what viewers cost, of a program that is built for speed; and the size.
pub(crate) fn measure() -> Result<()> {
    let limit = Duration::from_secs(1_800);
    install(limit)?;
    npm("same").watch()?;
    Run::cargo(["build", "--release", "--package", "weft", "--locked"]).go(limit)?;
    let program = workspace::target().join("release/weft");
    let status = node(&["test/measure.js"]).set("WEFT", program.to_string_lossy()).watch()?;
    anyhow::ensure!(status.success(), "the page could not be measured: {status}");
    Ok(())
}

/// Pictures of each view with flights, for the documents.
pub(crate) fn screenshots() -> Result<()> {
    let limit = Duration::from_secs(600);
    install(limit)?;
    Run::cargo(["build", "--package", "weft", "--locked"]).go(limit)?;
    let folder = workspace::root().join("docs/dashboard");
    std::fs::create_dir_all(&folder)?;
    let run = browser("live").set("SCREENSHOTS", folder.to_string_lossy());
    run.go(limit)
}

fn browse(test: &str, limit: Duration) -> Result<()> {
    browser(test).go(limit)
}

/// Tests in a browser.
fn browser(test: &str) -> Run {
    let file = format!("test/{test}.test.js");
    let program = workspace::target().join("debug/weft");
    node(&["--test", "--test-concurrency=1", "--test-reporter=spec", &file]).set("WEFT", program.to_string_lossy())
}

/// As root, Chromium raises its own priority, which is taken from it.
fn node(arguments: &[&str]) -> Run {
    let run = if rustix::process::geteuid().is_root() {
        Run::program("setpriv", ["--bounding-set", "-sys_nice", "--inh-caps", "-sys_nice", "node"])
    } else {
        Run::program("node", [] as [&str; 0])
    };
    run.with(arguments.iter().map(|argument| (*argument).to_owned())).inside(FOLDER)
}

/// Exactly the packages of the lock file, none of whose scripts is run.
fn install(limit: Duration) -> Result<()> {
    Run::program("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .inside(FOLDER)
        .go(limit)
}

fn npm(script: &str) -> Run {
    Run::program("npm", ["run", "--silent", script]).inside(FOLDER)
}
