//! `cargo xtask bench NAME`: builds a benchmark as packages are built, and runs it.

use anyhow::{Result, bail, ensure};

use crate::step::Run;
use crate::workspace;

/// The benchmarks, in the order in which `all` runs them.
pub(crate) const NAMES: [&str; 17] = [
    "machine",
    "decode",
    "topic",
    "ring",
    "log",
    "hub",
    "hops",
    "wan",
    "streams",
    "start",
    "idle",
    "interest",
    "govern",
    "http",
    "listen",
    "telemetry",
    "peers",
];
/// Those that start the real program.
const WITH_PROGRAM: [&str; 12] =
    ["hub", "hops", "wan", "streams", "start", "idle", "interest", "govern", "http", "listen", "telemetry", "peers"];

/// Runs one benchmark, or all.
pub(crate) fn run(name: &str, arguments: &[String]) -> Result<()> {
    let names: Vec<&str> = match name {
        "all" => NAMES.to_vec(),
        one if NAMES.contains(&one) => vec![one],
        other => bail!("there is no benchmark {other}; there are {} and all", NAMES.join(", ")),
    };
    for name in names {
        let mut build = Run::cargo(["build", "--profile", "dist", "--package", "weft-bench", "--bin", name]);
        // `--peer-only` measures the peers alone, so it needs no weft.
        if WITH_PROGRAM.contains(&name) && !arguments.iter().any(|a| a == "--peer-only") {
            build = build.with(["--package", "weft", "--bin", "weft"]);
        }
        ensure!(build.watch()?.success(), "it does not build; to repeat: {}", build.typed());
        println!("── bench {name}");
        let program = workspace::target().join("dist").join(name);
        let run = Run::program(&program.to_string_lossy(), arguments.iter().cloned());
        let status = run.watch()?;
        ensure!(status.success(), "the benchmark {name} ended with {status}");
    }
    Ok(())
}
