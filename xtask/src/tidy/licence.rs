//! The licence: Apache-2.0, in full, and said by every package.

use super::Check;
use super::tree::{Finding, Package, Tree};

pub(super) const CHECK: Check = Check {
    name: "licence",
    rule: "LICENSE holds the whole Apache License 2.0, and every package says Apache-2.0",
    run,
    canaries,
};

const NAME: &str = "Apache-2.0";
const FILE: &str = "LICENSE";
/// The first words, the last of the terms, and the length of the text at least.
const MARKS: [&str; 4] =
    ["Apache License", "Version 2.0, January 2004", "9. Accepting Warranty", "END OF TERMS AND CONDITIONS"];
const LENGTH: usize = 10_000;

fn run(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    let text = tree.file(FILE).map_or("", |file| file.text.as_str());
    if text.len() < LENGTH || MARKS.iter().any(|mark| !text.contains(mark)) {
        found.push(Finding::whole(FILE, "it is not the whole text of the Apache License 2.0"));
    }
    for package in tree.packages().iter().filter(|package| package.licence != NAME) {
        let what = format!("the package {} says {:?}; write license.workspace = true", package.name, package.licence);
        found.push(Finding::whole("Cargo.toml", what));
    }
    found
}

fn whole() -> String {
    format!("{}\n{}", MARKS.join("\n"), "x".repeat(LENGTH))
}

fn canaries() -> Vec<Tree> {
    let package = Package { name: "weft-x".into(), licence: "MIT".into(), ..Package::default() };
    vec![Tree::sample([]), Tree::sample([(FILE, MARKS[0])]), Tree::sample([(FILE, &whole())]).with_packages([package])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_text_passes() {
        assert_eq!(run(&Tree::sample([(FILE, &whole())])), []);
    }
}
