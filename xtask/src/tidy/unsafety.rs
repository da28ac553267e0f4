//! Places of unsafe: where it may stand, and that the compiler forbids it elsewhere.

use super::Check;
use super::source::has_word;
use super::tree::{Finding, Tree};

pub(super) const CHECK: Check = Check {
    name: "unsafe",
    rule: "unsafe code stands only in the files listed in xtask/src/tidy/unsafety.rs; every other crate root forbids it",
    run,
    canaries,
};

/// Files, or folders (with a slash), where unsafe may stand, and why.
const ALLOWED: &[(&str, &str)] = &[
    ("crates/ring/", "the rings and the arena: shared memory under a protocol that loom checks"),
    ("crates/log/src/mmap.rs", "mapping files into memory"),
    ("crates/transport/src/shm/mapping.rs", "memory shared with another process"),
    ("crates/observe/src/mapping.rs", "words of a file that other processes read"),
    ("bench/src/alloc.rs", "an allocator that counts"),
    ("crates/hub/tests/allocations.rs", "an allocator that counts"),
    ("crates/hub/tests/memory.rs", "an allocator that counts"),
    ("crates/sched/tests/allocations.rs", "an allocator that counts"),
    ("fuzz/fuzz_targets/canary.rs", "a planted mistake"),
    ("xtask/canaries/", "planted mistakes"),
];

/// Crates whose root only denies unsafe code, so that one file of theirs may allow it.
const DENIED_ONLY: [&str; 4] =
    ["crates/log/src/lib.rs", "crates/observe/src/lib.rs", "crates/transport/src/lib.rs", "bench/src/lib.rs"];

const FORBID: &str = "#![forbid(unsafe_code)]";
const DENY: &str = "#![deny(unsafe_code)]";

fn run(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in tree.rust() {
        let allowed = ALLOWED
            .iter()
            .any(|(place, _)| file.path == *place || (place.ends_with('/') && file.path.starts_with(place)));
        if allowed {
            continue;
        }
        for (number, line) in file.code_lines() {
            if has_word(line, "unsafe") {
                found.push(file.finding(
                    number,
                    "unsafe may not stand here; put it behind an interface of ring, of the log's mmap.rs or of transport's or observe's mapping.rs",
                ));
            }
        }
        let wanted = if DENIED_ONLY.contains(&file.path.as_str()) { DENY } else { FORBID };
        if is_root(&file.path) && !file.code.contains(wanted) {
            found.push(file.finding(1, format!("a crate's root says {wanted}")));
        }
    }
    found
}

/// Whether a file is the root of a library or program (tests and fuzz targets are not asked).
fn is_root(path: &str) -> bool {
    path.ends_with("src/lib.rs")
        || path.ends_with("src/main.rs")
        || (path.contains("/src/bin/") && path.ends_with(".rs"))
}

fn canaries() -> Vec<Tree> {
    vec![
        Tree::sample([("crates/mesh/src/routes.rs", "fn f() { unsafe { g() } }\n")]),
        Tree::sample([("crates/log/src/segment.rs", "unsafe impl Send for X {}\n")]),
        Tree::sample([("crates/mesh/src/lib.rs", "//! Says #![forbid(unsafe_code)] in a comment only.\n")]),
        Tree::sample([("crates/log/src/lib.rs", "//! Nothing.\n")]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_places_and_mere_words_pass() {
        let tree = Tree::sample([
            ("crates/ring/src/arena.rs", "unsafe fn f() {}\n"),
            ("crates/mesh/src/lib.rs", "#![forbid(unsafe_code)]\n// unsafe is not used\n"),
            ("crates/log/src/lib.rs", "#![deny(unsafe_code)]\nmod mmap;\n"),
        ]);
        assert_eq!(run(&tree), []);
    }
}
