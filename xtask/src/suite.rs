//! `cargo xtask test`: the whole test suite, sized for CI; `--full` for long runs.
//!
//! Unit, property and doc tests of the workspace; loom over every
//! synchronisation edge of the rings; the address and thread sanitizers over the
//! code that is unsafe or shared between threads; the simulator over random
//! graphs and faults; real hubs in a ring under faults; the demo; Confluent's client against the
//! registry; a smoke run of each fuzz target. In the full run, or when they are named,
//! the dashboard's tour, the build with the FIPS 140-3 module, and an OpenTelemetry Collector
//! at two hubs.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::step::{Run, Step, run_all};
use crate::workspace::{self, TRIPLE};
use crate::{chaos, confluent, fips, fuzz, otel, prometheus, sdks, tidy, web};

/// Runs the suite, or the steps whose name contains `only`.
pub(crate) fn run(full: bool, only: Option<&str>) -> Result<()> {
    let mut steps = vec![
        // Apart, since from nothing it takes longer than the tests.
        Step::command("workspace: build the tests", 30, workspace_tests(full).with(["--no-run"])),
        Step::command("workspace: unit, property and integration tests", 20, workspace_tests(full)),
        Step::command("workspace: doc tests", 10, Run::cargo(["test", "--workspace", "--doc", "--locked"])),
        Step::command("loom: every interleaving of the rings' edges, and of histograms", 20, loom(full)),
        Step::command("address sanitizer: ring, log and observe", 15, sanitized("address", full)),
        race_canary(),
        Step::command("thread sanitizer: ring, log and observe", 15, sanitized("thread", full)),
        Step::command(
            "simulator: every shape, with delays, losses, cuts and restarts",
            if full { 60 } else { 10 },
            sim(full),
        ),
        Step::command("simulator: each planted fault must be caught", 10, simulator(&["--canary", "all"])),
        Step::command(
            "simulator: streams of several hubs under every fault",
            if full { 30 } else { 10 },
            streams(full),
        ),
        Step::command(
            "simulator: each planted fault of streams must be caught",
            10,
            simulator(&["--streams", "--canary", "all"]),
        ),
        chaos::step(),
        Step::command("demo: the main job, and its accounts", 10, demo()),
        confluent::step(),
        web::step(),
        web::browser_step(),
        sdks::step(),
        prometheus::step(),
    ];
    steps.extend(fuzz::steps(Duration::from_secs(if full { 600 } else { 3 }), full)?);
    steps.push(Step::function("tidy: the checks see what they look for", 1, "cargo xtask tidy", |_| tidy::canaries()));
    if full || only.is_some_and(|text| text.contains(web::TOUR)) {
        steps.push(web::tour_step());
    }
    // These need Go.
    for (word, step) in [(fips::WORD, fips::step()), (otel::WORD, otel::step())] {
        if full || only.is_some_and(|text| text.contains(word)) {
            steps.push(step);
        }
    }
    if let Some(text) = only {
        steps.retain(|step| step.name().contains(text));
        ensure!(!steps.is_empty(), "no step's name contains {text:?}");
    }
    run_all("test", steps)
}

fn workspace_tests(full: bool) -> Run {
    drawn(Run::cargo(["test", "--workspace", "--lib", "--bins", "--tests", "--locked"]), full)
}

/// What the README's first command runs, without optimising it.
fn demo() -> Run {
    Run::cargo(["run", "--package", "weft", "--locked", "--", "demo"])
}

/// Property tests draw the same cases at every run, so that what fails is the
/// change and not its luck; the full run draws new ones each time.
fn drawn(run: Run, full: bool) -> Run {
    if full { run } else { run.set("PROPTEST_RNG_SEED", "5716") }
}

/// Loom replaces atomics and threads by its own, by a configuration flag; its
/// search needs optimised code, and a bound on preemptions to end in CI's time.
fn loom(full: bool) -> Run {
    let packages = ["--package", "weft-ring", "--package", "weft-observe"];
    Run::cargo(["test", "--release", "--lib", "--tests", "--locked"])
        .with(packages)
        .set("RUSTFLAGS", "--cfg loom")
        .set("LOOM_MAX_PREEMPTIONS", if full { "3" } else { "2" })
        .set("CARGO_TARGET_DIR", apart("loom"))
}

/// Tests of the unsafe and threaded parts under a sanitizer.
///
/// std is not built with it, so the atomics that std's functions use out of
/// line are not seen by the thread sanitizer. Optimised code has almost all of
/// them inlined, `--cfg tsan` brings locks that are seen (weft_base::sync), and
/// what is left is named in xtask/tsan.txt with its reason.
/// Tests run one at a time, so that the harness's threads add nothing of theirs.
/// The thread sanitizer is spared the log's crash points, which are most of its
/// tests' time: each is one thread on a file system in memory.
fn sanitized(which: &str, full: bool) -> Run {
    let (locks, spared): (_, &[&str]) = match (which, full) {
        ("thread", false) => (" --cfg tsan", &["--skip", "crash::"]),
        ("thread", true) => (" --cfg tsan", &[]),
        _ => ("", &[]),
    };
    let packages = ["--package", "weft-ring", "--package", "weft-log", "--package", "weft-observe"];
    drawn(Run::cargo(["test", "--lib", "--tests", "--locked"]).with(packages), full)
        .with(["--release", "--target", TRIPLE])
        // It leaks on purpose, to see that the test's own count notices.
        .with(["--", "--skip", "faulty_queues_are_noticed"])
        .with(spared.iter().copied())
        .set("RUSTC_BOOTSTRAP", "1")
        .set("RUSTFLAGS", format!("-Zsanitizer={which} {MIXED} -Cdebug-assertions{locks}"))
        .set("TSAN_OPTIONS", suppressions())
        .set("RUST_TEST_THREADS", "1")
        .set("PROPTEST_CASES", if full { "256" } else { "32" })
        .set("CARGO_TARGET_DIR", apart(which))
}

/// Lets code with a sanitizer be linked to the std without one.
const MIXED: &str = "-Cunsafe-allow-abi-mismatch=sanitizer";

fn suppressions() -> String {
    format!("suppressions={}", workspace::root().join("xtask/tsan.txt").display())
}

/// A planted race must be seen, in spite of what is suppressed.
fn race_canary() -> Step {
    let name = "thread sanitizer: a planted race must be seen";
    Step::function(name, 3, "cargo xtask test --only planted", |limit| {
        let program = workspace::target().join("race-canary").to_string_lossy().into_owned();
        std::fs::create_dir_all(workspace::target())?;
        Run::program("rustc", ["--edition", "2024", "-O", "-Zsanitizer=thread", MIXED, "-o", &program])
            .with(["xtask/canaries/race.rs"])
            .set("RUSTC_BOOTSTRAP", "1")
            .go(limit)?;
        let run = Run::program(&program, [] as [&str; 0]).set("TSAN_OPTIONS", suppressions());
        let (status, text) = run.read(limit)?;
        ensure!(
            !status.success() && text.contains("WARNING: ThreadSanitizer: data race"),
            "the sanitizer does not see the race, so it would not see a real one either; it said:\n{text}"
        );
        Ok(())
    })
}

fn sim(full: bool) -> Run {
    simulator(&["--seeds", if full { "10000" } else { "300" }])
}

fn streams(full: bool) -> Run {
    simulator(&["--streams", "--seeds", if full { "10000" } else { "500" }])
}

fn simulator(arguments: &[&str]) -> Run {
    Run::cargo(["run", "--release", "--package", "weft-sim", "--locked", "--"]).with(arguments.iter().copied())
}

/// A target folder of its own for flags of its own, so that builds do not drive each other out.
fn apart(name: &str) -> String {
    workspace::target().join(name).to_string_lossy().into_owned()
}
