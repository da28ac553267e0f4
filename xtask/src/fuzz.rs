//! `cargo xtask fuzz`: libFuzzer over the decoders, with the stable toolchain.
//!
//! cargo-fuzz wants a nightly compiler; what it does is a handful of flags,
//! which are here: coverage for every comparison, and the address sanitizer.
//! `RUSTC_BOOTSTRAP=1` lets the stable compiler take them. Corpora grow in
//! fuzz/corpus, inputs that crash lie in fuzz/artifacts; neither is committed.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::step::{Run, Step, run_all};
use crate::workspace::{self, TRIPLE};

const FLAGS: [&str; 9] = [
    "--cfg=fuzzing",
    "-Zsanitizer=address",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Ccodegen-units=1",
];

/// The target that must crash.
const CANARY: &str = "canary";
/// Targets that take long to build, and the feature of the manifest that brings
/// them: for the full run, and for who names one.
const HEAVY: (&str, &[&str]) = (
    "heavy",
    &[
        "council",
        "login",
        "policy",
        "schema_avro",
        "schema_flatbuffers",
        "schema_json",
        "schema_protobuf",
        "schema_rest",
    ],
);
/// The longest input tried: longer ones reach no further code in the decoders.
const LONGEST: usize = 4096;

/// Fuzzes one target or all, each for `time`.
pub(crate) fn run(target: Option<&str>, time: Duration) -> Result<()> {
    let all = targets()?;
    let heavy = target.is_none_or(|name| HEAVY.1.contains(&name));
    let chosen = match target {
        None => all,
        Some(name) if name == CANARY || all.iter().any(|t| t == name) => vec![name.to_owned()],
        Some(name) => bail!("there is no fuzz target {name}; there are {} and {CANARY}", all.join(", ")),
    };
    let mut steps = vec![build(heavy)];
    steps.extend(chosen.iter().map(|name| hunt(name, time)));
    run_all("fuzz", steps)
}

/// The steps of the test suite: build, prove that the fuzzer sees, hunt.
pub(crate) fn steps(time: Duration, heavy: bool) -> Result<Vec<Step>> {
    let mut steps = vec![build(heavy), canary()];
    let targets = targets()?;
    let chosen = targets.iter().filter(|name| heavy || !HEAVY.1.contains(&name.as_str()));
    steps.extend(chosen.map(|name| hunt(name, time)));
    Ok(steps)
}

/// The names of all targets but the canary, from the folder's files.
pub(crate) fn targets() -> Result<Vec<String>> {
    let folder = workspace::root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".rs").filter(|&name| name != CANARY).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn build(heavy: bool) -> Step {
    let features = heavy.then_some(["--features", HEAVY.0]);
    let run = Run::cargo(["build", "--release", "--bins", "--locked", "--target", TRIPLE])
        .with(features.into_iter().flatten())
        .set("RUSTC_BOOTSTRAP", "1")
        .set("RUSTFLAGS", FLAGS.join(" "))
        .set("CARGO_TARGET_DIR", workspace::target().join("fuzz").to_string_lossy())
        .inside("fuzz");
    Step::command("fuzz: build the targets", 20, run)
}

/// One run of a target's program.
fn fuzzer(name: &str, time: Duration) -> Result<Run> {
    let program = workspace::target().join("fuzz").join(TRIPLE).join("release").join(name);
    let corpus = workspace::root().join("fuzz/corpus").join(name);
    let artifacts = workspace::root().join("fuzz/artifacts").join(name);
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Ok(Run::program(
        &program.to_string_lossy(),
        [
            corpus.to_string_lossy().into_owned(),
            format!("-artifact_prefix={}/", artifacts.display()),
            format!("-max_total_time={}", time.as_secs()),
            format!("-max_len={LONGEST}"),
            "-timeout=10".to_owned(),
            "-rss_limit_mb=2048".to_owned(),
            "-print_final_stats=1".to_owned(),
        ],
    ))
}

/// Runs a target and prints what it did in one line; a crash prints all.
fn hunt(name: &str, time: Duration) -> Step {
    let repeat = format!("cargo xtask fuzz {name} --seconds {}", time.as_secs());
    let owned = name.to_owned();
    let minutes = time.as_secs() / 60 + 2;
    Step::function(&format!("fuzz: {name} for {} s", time.as_secs()), minutes, &repeat, move |limit| {
        let (status, text) = fuzzer(&owned, time)?.read(limit)?;
        if !status.success() {
            println!("{}", last_lines(&text, 60));
            bail!("the target {owned} ended with {status}; the input that did it is in fuzz/artifacts/{owned}");
        }
        println!("   {}", summary(&text));
        Ok(())
    })
}

/// The canary must crash, and by the sanitizer: else the fuzzer is blind.
fn canary() -> Step {
    Step::function("fuzz: the canary must crash", 3, "cargo xtask fuzz canary", |limit| {
        // A corpus of an earlier run would hand it the answer.
        let corpus = workspace::root().join("fuzz/corpus").join(CANARY);
        if corpus.exists() {
            fs::remove_dir_all(&corpus)?;
        }
        let (status, text) = fuzzer(CANARY, Duration::from_secs(90))?.read(limit)?;
        ensure!(
            !status.success() && text.contains("AddressSanitizer: heap-buffer-overflow"),
            "the canary did not crash, so the fuzzer would not see a real mistake either; it said:\n{}",
            last_lines(&text, 30)
        );
        Ok(())
    })
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Executions and coverage, from libFuzzer's final statistics.
fn summary(text: &str) -> String {
    let stat = |name: &str| {
        let line = text.lines().rev().find(|line| line.contains(name));
        line.and_then(|l| l.split_whitespace().last()).unwrap_or("?").to_owned()
    };
    let coverage = text.lines().rev().find_map(|line| line.split_once(" cov: ")?.1.split_whitespace().next());
    format!(
        "{} executions, {} a second, {} edges covered",
        stat("number_of_executed_units"),
        stat("average_exec_per_sec"),
        coverage.unwrap_or("?")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_reads_the_fuzzers_last_words() {
        let text = "#4 INITED cov: 70 ft: 9\n#99 DONE   cov: 123 ft: 456 corp: 7\n\
                    stat::number_of_executed_units: 1000\nstat::average_exec_per_sec:     50\n";
        assert_eq!(summary(text), "1000 executions, 50 a second, 123 edges covered");
    }

    #[test]
    fn every_target_file_has_its_entry_in_the_manifest() {
        let manifest = fs::read_to_string(workspace::root().join("fuzz/Cargo.toml")).unwrap();
        for name in targets().unwrap().iter().map(String::as_str).chain([CANARY]) {
            let mut entry = format!("path = \"fuzz_targets/{name}.rs\"\n");
            assert!(manifest.contains(&entry), "fuzz/Cargo.toml lacks a [[bin]] with {entry}");
            entry.push_str(&format!("required-features = [\"{}\"]", HEAVY.0));
            assert_eq!(manifest.contains(&entry), HEAVY.1.contains(&name), "{entry}");
        }
    }
}
