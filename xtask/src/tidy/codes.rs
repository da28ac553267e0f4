//! `docs/operating.md` names every `code` that the program logs, and none that it does not.
//!
//! A code of the source is `code = "name"` in code that is no test; in the
//! document a line of a table names it in its first column, as a code span, and
//! there may be several. Tables whose first column is headed `code` count.

use std::collections::BTreeSet;

use super::Check;
use super::tree::{Finding, Tree};

pub(super) const CHECK: Check = Check {
    name: "codes",
    rule: "docs/operating.md has a line for each code that is logged, and for none that is not",
    run,
    canaries,
};

const DOCUMENT: &str = "docs/operating.md";
/// How a code stands in the source.
const FIELD: &str = "code = \"";

fn run(tree: &Tree) -> Vec<Finding> {
    let Some(document) = tree.file(DOCUMENT) else {
        return vec![Finding::whole(DOCUMENT, "there is no such document")];
    };
    let told = told(&document.text);
    let mut found = Vec::new();
    let mut logged = BTreeSet::new();
    for file in tree.rust().filter(|file| file.path.starts_with("crates/")) {
        for (number, line) in file.lines().filter(|(number, _)| !file.is_test(*number)) {
            for (at, _) in line.match_indices(FIELD) {
                let name = line[at + FIELD.len()..].split('"').next().unwrap_or_default();
                if logged.insert(name.to_owned()) && !told.contains(name) {
                    found.push(file.finding(number, format!("{DOCUMENT} does not say what `{name}` means")));
                }
            }
        }
    }
    let stale = told.iter().filter(|name| !logged.contains(**name));
    found.extend(stale.map(|name| Finding::whole(DOCUMENT, format!("nothing logs `{name}`"))));
    found
}

/// The codes of all tables whose first column is of codes of the log.
pub(super) fn told(text: &str) -> BTreeSet<&str> {
    let mut told = BTreeSet::new();
    let mut is_codes = false;
    for line in text.lines() {
        let Some(row) = line.strip_prefix('|') else {
            is_codes = false;
            continue;
        };
        let mut columns = row.split('|').map(str::trim);
        let first = columns.next().unwrap_or_default();
        if first == "code" {
            is_codes = columns.next() == Some("level");
        } else if is_codes {
            told.extend(first.split('`').skip(1).step_by(2));
        }
    }
    told
}

fn canaries() -> Vec<Tree> {
    let table = |code: &str| format!("| code | level | meaning |\n|---|---|---|\n| `{code}` | info | it |\n");
    let source = "fn f() {\n    tracing::info!(code = \"up\", \"it is up\");\n}\n";
    let (down, gone) = (table("down"), table("gone"));
    vec![
        Tree::sample([("crates/x/src/a.rs", source), (DOCUMENT, down.as_str())]),
        Tree::sample([("crates/x/src/a.rs", source), (DOCUMENT, "# Operating\n")]),
        Tree::sample([("crates/x/src/a.rs", "fn f() {}\n"), (DOCUMENT, gone.as_str())]),
        Tree::sample([("crates/x/src/a.rs", source)]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_are_told_pass_and_other_tables_are_not_looked_at() {
        let source = "fn f() {\n    info!(code = \"up\", \"x\");\n    warn!(code = \"down\", \"x\");\n}\n";
        let document = "| code | what |\n|---|---|\n| `paused` | x |\n\n| code | level | what |\n|---|---|---|\n| `up`, `down` | info | x |\n";
        assert_eq!(run(&Tree::sample([("crates/x/src/a.rs", source), (DOCUMENT, document)])), []);
        let one = document.replace("`up`, ", "");
        assert_eq!(run(&Tree::sample([("crates/x/src/a.rs", source), (DOCUMENT, one.as_str())])).len(), 1);
    }
}
