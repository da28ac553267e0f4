//! Leftovers: notes to oneself, unfinished work, merges not settled. What is not done yet stands
//! in an issue or in the changelog's list, not in the code.

use super::Check;
use super::source::has_word;
use super::tree::{Finding, Tree};

pub(super) const CHECK: Check =
    Check { name: "leftovers", rule: "nothing unfinished is left in the tree", run, canaries };

/// What betrays a leftover. Written in two parts, so that this file is none.
const WORDS: [&str; 7] = [
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("TO", "DO"),
    concat!("HA", "CK"),
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("for ", "now"),
];

/// What a merge leaves at the beginnings of lines that it could not settle.
const CONFLICTS: [&str; 2] = ["<<<<<<< ", ">>>>>>> "];

fn run(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in tree.files() {
        if !(file.is_rust() || file.is_markdown() || file.path.ends_with(".toml")) {
            continue;
        }
        for (number, line) in file.lines() {
            for word in WORDS.iter().filter(|word| has_word(line, word)) {
                found.push(file.finding(number, format!("\"{word}\" is a leftover: finish it, or write an issue")));
            }
            if CONFLICTS.iter().any(|mark| line.starts_with(mark)) {
                found.push(
                    file.finding(number, "a merge was not settled here: choose, and remove its marks".to_owned()),
                );
            }
        }
    }
    found
}

fn canaries() -> Vec<Tree> {
    let words = WORDS.iter().map(|word| Tree::sample([("crates/x/src/a.rs", &format!("// {word} later\n"))]));
    let conflicts = CONFLICTS.iter().map(|mark| Tree::sample([("README.md", &format!("{mark}main\n"))]));
    words.chain(conflicts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_other_words_pass() {
        let tree = Tree::sample([("README.md", "The word mastodon, and forward known routes.\n")]);
        assert_eq!(run(&tree), []);
    }
}
