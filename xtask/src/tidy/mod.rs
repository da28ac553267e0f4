//! `cargo xtask tidy`: what no compiler checks, checked by a program and not by reviewers.
//!
//! One module per check. Each brings bad samples, its canaries, and tidy runs
//! them first: a check that finds nothing in them is blind, which is an error.

mod banned;
mod codes;
mod commands;
mod documents;
mod layers;
mod leftovers;
mod licence;
mod machine;
mod pages;
mod promises;
mod reasons;
mod sizes;
mod source;
mod tree;
mod unsafety;

use anyhow::{Result, bail, ensure};

use tree::{Finding, Tree};

/// A rule about the tree.
pub(crate) struct Check {
    /// A short name.
    name: &'static str,
    /// The rule in one sentence.
    rule: &'static str,
    /// Finds what breaks it.
    run: fn(&Tree) -> Vec<Finding>,
    /// Trees that break it, each in another way.
    canaries: fn() -> Vec<Tree>,
}

const CHECKS: [&Check; 12] = [
    &layers::CHECK,
    &unsafety::CHECK,
    &banned::CHECK,
    &documents::CHECK,
    &promises::CHECK,
    &codes::CHECK,
    &pages::CHECK,
    &sizes::CHECK,
    &leftovers::CHECK,
    &machine::CHECK,
    &reasons::CHECK,
    &licence::CHECK,
];

/// Writes what is made of other documents.
pub(crate) fn write() -> Result<()> {
    pages::write()
}

/// Runs the canaries, then every check over the workspace.
pub(crate) fn run() -> Result<()> {
    canaries()?;
    let tree = Tree::of_workspace()?;
    let mut total = 0;
    for check in CHECKS {
        let findings = (check.run)(&tree);
        println!(
            "{:<10} {}",
            check.name,
            if findings.is_empty() { "ok".into() } else { format!("{} found", findings.len()) }
        );
        if !findings.is_empty() {
            println!("  rule: {}", check.rule);
        }
        for finding in &findings {
            println!("  {finding}");
        }
        total += findings.len();
    }
    if total > 0 {
        bail!("tidy found {total} in {} files", tree.files().len());
    }
    println!("tidy: {} checks over {} files, nothing found", CHECKS.len(), tree.files().len());
    Ok(())
}

/// Fails if a check does not find what it looks for in each of its bad samples.
pub(crate) fn canaries() -> Result<()> {
    for check in CHECKS {
        let samples = (check.canaries)();
        ensure!(!samples.is_empty(), "the check {} has no canary", check.name);
        for (number, sample) in samples.iter().enumerate() {
            ensure!(
                !(check.run)(sample).is_empty(),
                "the check {} is blind: it finds nothing in its bad sample {}",
                check.name,
                number + 1
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_check_is_blind() {
        super::canaries().unwrap();
    }
}
