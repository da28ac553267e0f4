//! Sizes of files: one sitting each. Exceptions are listed and may only shrink.

use super::Check;
use super::tree::{Finding, Tree};

pub(super) const CHECK: Check = Check {
    name: "sizes",
    rule: "a Rust file has at most 600 lines; the exceptions listed in xtask/src/tidy/sizes.rs may only shrink",
    run,
    canaries,
};

const LIMIT: usize = 600;

/// Files over the limit, and how many lines they may have: exactly as many as they have.
const EXCEPTIONS: [(&str, usize); 0] = [];

fn run(tree: &Tree) -> Vec<Finding> {
    check(tree, &EXCEPTIONS)
}

fn check(tree: &Tree, exceptions: &[(&str, usize)]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in tree.rust() {
        let lines = file.text.lines().count();
        let exception = exceptions.iter().find(|(path, _)| *path == file.path);
        match exception {
            None if lines > LIMIT => {
                found.push(file.finding(LIMIT + 1, format!("{lines} lines; split it, a file has at most {LIMIT}")));
            }
            Some((_, allowed)) if lines > *allowed => {
                found.push(
                    file.finding(1, format!("{lines} lines; its exception allows {allowed} and may only shrink")),
                );
            }
            Some((_, allowed)) if lines < *allowed => {
                found.push(file.finding(1, format!("it shrank to {lines} lines: lower its exception from {allowed}")));
            }
            _ => {}
        }
    }
    for (path, _) in exceptions.iter().filter(|(path, _)| tree.file(path).is_none()) {
        found.push(Finding::whole(path, "it is gone: remove its exception"));
    }
    found
}

fn canaries() -> Vec<Tree> {
    vec![Tree::sample([("crates/x/src/long.rs", &"\n".repeat(LIMIT + 1))])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_hold_exactly() {
        let tree = |lines: usize| Tree::sample([("a.rs", &"\n".repeat(lines))]);
        assert_eq!(check(&tree(LIMIT), &[]), []);
        assert_eq!(check(&tree(700), &[("a.rs", 700)]), []);
        assert_eq!(check(&tree(701), &[("a.rs", 700)]).len(), 1);
        assert_eq!(check(&tree(699), &[("a.rs", 700)]).len(), 1);
        assert_eq!(check(&tree(1), &[("gone.rs", 700)]).len(), 1);
    }
}
