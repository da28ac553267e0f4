//! SPEC.md: numbered promises, each with the test that keeps it, or marked pending.
//!
//! A promise starts at a bold number, `**P7**` or `**P7.2**`, in whatever kind
//! of line, and goes on to the next number or heading. It is kept by a code span
//! `path/to/file.rs::name_of_test` or `cargo xtask bench NAME`, or says pending.

use std::collections::BTreeSet;

use super::Check;
use super::source::has_word;
use super::tree::{File, Finding, Tree};
use crate::bench;

pub(super) const CHECK: Check = Check {
    name: "promises",
    rule: "each promise of SPEC.md (**P1**, …) names an existing test as `path.rs::test`, a `cargo xtask bench NAME`, or says pending",
    run,
    canaries,
};

const DOCUMENT: &str = "SPEC.md";

struct Promise {
    number: String,
    line: usize,
    text: String,
}

fn run(tree: &Tree) -> Vec<Finding> {
    let Some(file) = tree.file(DOCUMENT) else { return vec![Finding::whole(DOCUMENT, "there is no such document")] };
    let promises = read(file);
    let mut found = Vec::new();
    if promises.is_empty() {
        found.push(file.finding(1, "it makes no promise: one starts with a bold number like **P1**"));
    }
    let mut numbers = BTreeSet::new();
    for promise in &promises {
        if !numbers.insert(promise.number.as_str()) {
            found.push(file.finding(promise.line, format!("{} is there twice", promise.number)));
        }
        let mut kept = has_word(&promise.text.to_lowercase(), "pending");
        for span in promise.text.split('`').skip(1).step_by(2) {
            if let Some((path, test)) = span.split_once(".rs::") {
                kept = true;
                let path = format!("{path}.rs");
                // A path of modules before the name is allowed.
                let name = format!("fn {}", test.rsplit("::").next().unwrap_or(test));
                match tree.file(&path) {
                    None => found.push(file.finding(promise.line, format!("{}: there is no {path}", promise.number))),
                    Some(source) if !has_word(&source.code, &name) => {
                        found.push(file.finding(promise.line, format!("{}: {path} has no {name}", promise.number)));
                    }
                    Some(_) => {}
                }
            } else if let Some(name) = span.strip_prefix("cargo xtask bench ") {
                let name = name.split_whitespace().next().unwrap_or_default();
                kept |= bench::NAMES.contains(&name);
            }
        }
        if !kept {
            let what = format!("{} names neither a test nor says that it is pending", promise.number);
            found.push(file.finding(promise.line, what));
        }
    }
    found
}

fn read(file: &File) -> Vec<Promise> {
    let mut promises: Vec<Promise> = Vec::new();
    let mut open = false;
    for (line, text) in file.lines() {
        if let Some(number) = number_in(text) {
            promises.push(Promise { number, line, text: String::new() });
            open = true;
        } else if text.starts_with('#') {
            open = false;
        }
        if let Some(promise) = promises.last_mut().filter(|_| open) {
            promise.text.push_str(text);
            promise.text.push('\n');
        }
    }
    promises
}

/// `P7` of a line with `**P7**`, `**P7.**` or `**P7 Title**`.
fn number_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("**P")?;
    let digits: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let digits = digits.trim_end_matches('.');
    (!digits.is_empty()).then(|| format!("P{digits}"))
}

const TEST: (&str, &str) = ("crates/x/tests/a.rs", "#[test]\nfn it_holds() {}\n");

fn canaries() -> Vec<Tree> {
    let mut bad: Vec<Tree> = [
        "# Promises\n",
        "- **P1** It is fast.\n",
        "- **P1** Kept by `crates/x/tests/gone.rs::it_holds`.\n",
        "- **P1** Kept by `crates/x/tests/a.rs::it_hold`.\n",
        "- **P1** Twice, pending.\n- **P1** Twice, pending.\n",
        "- **P1** Kept by `cargo xtask bench gone`.\n",
    ]
    .into_iter()
    .map(|text| Tree::sample([(DOCUMENT, text), TEST]))
    .collect();
    bad.push(Tree::sample([]));
    bad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_and_pending_promises_pass() {
        let text = "# Promises\n\n1. **P1** It holds.\n   Test: `crates/x/tests/a.rs::it_holds`.\n\
                    2. **P2.1** Pending.\n\n| **P3** | fast | `cargo xtask bench hub` |\n\n## Notes\nNothing.\n";
        assert_eq!(run(&Tree::sample([(DOCUMENT, text), TEST])), []);
    }
}
