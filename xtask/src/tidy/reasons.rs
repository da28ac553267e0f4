//! Tests that say why: `#[ignore]` and `#[should_panic]` carry a reason, and no
//! `matches!` stands alone with its answer thrown away.

use super::Check;
use super::tree::{File, Finding, Tree};

pub(super) const CHECK: Check =
    Check { name: "reasons", rule: "#[ignore] and #[should_panic] say why; matches! is asserted on", run, canaries };

fn run(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in tree.rust() {
        for (number, line) in file.code_lines() {
            if line.contains("#[ignore]") {
                found.push(file.finding(number, "say why: #[ignore = \"reason\"]"));
            }
            if line.contains("#[should_panic]") {
                found.push(file.finding(number, "say with what: #[should_panic(expected = \"text\")]"));
            }
        }
        bare_matches(file, &mut found);
    }
    found
}

/// Finds `matches!(…);` as a statement: its answer is lost, so it checks nothing.
fn bare_matches(file: &File, found: &mut Vec<Finding>) {
    const NAME: &str = "matches!";
    for (at, _) in file.code.match_indices(NAME) {
        let before = file.code[..at].trim_end().chars().next_back();
        if !matches!(before, None | Some(';' | '{' | '}')) {
            continue;
        }
        let after = file.code[at + NAME.len()..].trim_start();
        let mut depth = 0usize;
        let closed = after.char_indices().find_map(|(index, c)| {
            depth = match c {
                '(' | '[' | '{' => depth + 1,
                ')' | ']' | '}' => depth.saturating_sub(1),
                _ => depth,
            };
            (depth == 0).then_some(index + c.len_utf8())
        });
        if closed.is_some_and(|end| after[end..].trim_start().starts_with(';')) {
            let line = file.code[..at].matches('\n').count() + 1;
            found.push(file.finding(line, "the answer of this matches! is lost: assert it"));
        }
    }
}

fn canaries() -> Vec<Tree> {
    [
        "#[test]\n#[ignore]\nfn t() {}\n",
        "#[test]\n#[should_panic]\nfn t() {}\n",
        "fn t() {\n    matches!(answer(), Ok(_));\n}\n",
        "fn t() {\n    f();\n    matches!(\n        answer(),\n        Ok(_)\n    );\n}\n",
    ]
    .into_iter()
    .map(|text| Tree::sample([("crates/x/tests/t.rs", text)]))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_and_used_answers_pass() {
        let text = "#[ignore = \"an hour\"]\nfn t() {\n    assert!(matches!(a, b));\n    let x = matches!(a, b);\n}\n\
                    fn u() -> bool {\n    matches!(a, b)\n}\n#[should_panic(expected = \"x\")]\nfn v() {}\n";
        assert_eq!(run(&Tree::sample([("crates/x/src/t.rs", text)])), []);
    }
}
