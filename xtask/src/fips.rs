//! The program with aws-lc's module for FIPS 140-3: what is built by the feature
//! `fips`, and the tests of whatever uses the module, run with it.
//!
//! Takes minutes and tools that no other build needs, so it is for the full run
//! and for who names it. Without those tools it fails and says which.

use std::env;
use std::ffi::OsStr;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::step::{Run, Step};

/// What names the step, where not all steps are wanted.
pub(crate) const WORD: &str = "FIPS";

/// What builds the module, besides a compiler for C. Its bindings are ready made for
/// Linux on x86-64 and 64-bit ARM, so libclang is not among them.
const TOOLS: [&str; 3] = ["cmake", "go", "perl"];

pub(crate) fn step() -> Step {
    let name = format!("{WORD}: links, joining, logins and encryption by aws-lc's module");
    Step::function(&name, 60, &format!("cargo xtask test --only {WORD}"), |limit| {
        let path = env::var_os("PATH").unwrap_or_default();
        let missing = missing(&path);
        ensure!(
            missing.is_empty(),
            "the module is built with {}, and there is no {} in the path: `apt-get install cmake golang-go perl`",
            TOOLS.join(", "),
            missing.join(" and no ")
        );
        let end = Instant::now() + limit;
        for run in [handshakes(), links(), storage()] {
            println!("   {}", run.typed());
            run.go(end.saturating_duration_since(Instant::now()).max(Duration::from_secs(1)))?;
        }
        Ok(())
    })
}

/// Whose tests are run. All runs name all of them, and so have one set of features:
/// with another the module would be built once more.
const PACKAGES: [&str; 5] = ["weft", "weft-hub", "weft-log", "weft-login", "weft-transport"];

fn tests() -> Run {
    let packages = PACKAGES.into_iter().flat_map(|package| ["--package", package]);
    Run::cargo(["test", "--features", "weft/fips", "--locked"]).with(packages)
}

/// Handshakes of every kind and signatures of tokens.
fn handshakes() -> Run {
    tests().with(["--lib"])
}

/// The program as it is built for use, and hubs that link, join and let clients in.
fn links() -> Run {
    tests().with([
        "--bin",
        "weft",
        "--test",
        "hub",
        "--test",
        "weft",
        "--",
        "identity::",
        "joining::",
        "login::",
        "quic::",
    ])
}

/// Encryption at rest.
fn storage() -> Run {
    tests().with(["--test", "log", "--", "crypt"])
}

/// The tools that are nowhere in this path.
fn missing(path: &OsStr) -> Vec<&'static str> {
    let is_there = |tool: &str| env::split_paths(path).any(|folder| folder.join(tool).is_file());
    TOOLS.into_iter().filter(|tool| !is_there(tool)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;
    use anyhow::{Context, Result, bail};
    use std::fs;

    /// The text of a package in a lock file, by its name, and version if there are several.
    fn package<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
        let (name, version) = name.split_once(' ').map_or((name, None), |(name, version)| (name, Some(version)));
        lock.split("[[package]]\n").find(|text| {
            let is = |key: &str, value: &str| text.lines().any(|line| line == format!("{key} = \"{value}\""));
            is("name", name) && version.is_none_or(|version| is("version", version))
        })
    }

    /// Which `name` a package depends on: the name, with the version if there are several.
    fn dependency<'a>(package: &'a str, name: &str) -> Option<&'a str> {
        let entries = package.lines().filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","));
        entries.into_iter().find(|entry| entry.split(' ').next() == Some(name))
    }

    /// bindgen hands what it has parsed to prettyplease: both must have one version of
    /// syn, which cargo does not know, as their requirements let it choose two.
    fn one_syn(lock: &str) -> Result<()> {
        let Some(bindgen) = package(lock, "bindgen") else { return Ok(()) };
        let printer = dependency(bindgen, "prettyplease").context("bindgen has no prettyplease any more")?;
        let printer = package(lock, printer).context("the lock has no such prettyplease")?;
        let (of_bindgen, of_printer) = (dependency(bindgen, "syn"), dependency(printer, "syn"));
        if of_bindgen != of_printer {
            bail!(
                "bindgen has {of_bindgen:?} and its prettyplease {of_printer:?}, so it does not compile, and nothing does \
                 with the feature `fips`: write in bindgen's entry of Cargo.lock the syn that prettyplease has"
            );
        }
        Ok(())
    }

    #[test]
    fn what_makes_the_modules_bindings_is_locked_with_one_version_of_syn() {
        let lock = fs::read_to_string(workspace::root().join("Cargo.lock")).unwrap();
        assert!(package(&lock, "aws-lc-fips-sys").is_some(), "the feature `fips` is not in the lock");
        one_syn(&lock).unwrap();
        // As `cargo update bindgen` leaves it.
        let bindgen = package(&lock, "bindgen").unwrap();
        let (ours, other) = (dependency(bindgen, "syn").unwrap(), "syn 2.0.119");
        assert_ne!(ours, other);
        let error = one_syn(&lock.replace(bindgen, &bindgen.replace(ours, other))).unwrap_err().to_string();
        assert!(error.contains(other) && error.contains("Cargo.lock"), "{error}");
    }

    #[test]
    fn tools_that_are_missing_are_named() {
        let folder = env::temp_dir().join(format!("xtask-fips-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("go"), "").unwrap();
        let found = missing(folder.as_os_str());
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, ["cmake", "perl"]);
    }
}
