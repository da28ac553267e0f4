//! Calls that the lower layers must not make: they would hide time, threads,
//! queues or output from the simulator and from whoever embeds a hub.

use super::Check;
use super::source::has_word;
use super::tree::{Finding, Tree};

pub(super) const CHECK: Check = Check {
    name: "banned",
    rule: "layers 0 to 3 use no tokio, no ambient clock, no threads of their own, no std atomics, no unbounded queue, no printing",
    run,
    canaries,
};

/// The crates of layers 0 to 3.
const LOW: [&str; 16] = [
    "base",
    "wire",
    "topic",
    "ring",
    "sched",
    "load",
    "log",
    "keyed",
    "observe",
    "transport",
    "mesh",
    "stream",
    "govern",
    "consensus",
    "hub",
    "schema",
];

/// A call that is banned, and what to use instead.
struct Ban {
    word: &'static str,
    instead: &'static str,
    /// Files (or folders, with a slash) where it may stand, since it is at home there.
    home: &'static [&'static str],
}

const CLOCK: &[&str] = &["crates/base/src/clock.rs"];
/// The shim itself; the manual clock, which is for tests; the runner, whose flags
/// guard no data; the words of a mapped file, which loom cannot hold.
const SHIM: &[&str] = &[
    "crates/base/src/sync.rs",
    "crates/base/src/sync/",
    "crates/base/src/clock.rs",
    "crates/ring/src/runner.rs",
    "crates/ring/src/runner/",
    "crates/log/src/mmap.rs",
];
/// Look-ups of names too, which can only be waited for.
const THREADS: &[&str] = &[
    "crates/base/src/sync.rs",
    "crates/ring/src/stage/",
    "crates/ring/src/stage.rs",
    "crates/ring/src/runner.rs",
    "crates/ring/src/runner/",
    "crates/transport/src/offhand.rs",
];

const BANS: [Ban; 14] = [
    Ban { word: "tokio", instead: "a stage: do_work(now)", home: &[] },
    Ban { word: "Instant::now", instead: "the `now` that is handed in, or weft_base::Clock", home: CLOCK },
    Ban { word: "SystemTime::now", instead: "the `now` that is handed in, or weft_base::Clock", home: CLOCK },
    Ban { word: "thread::spawn", instead: "ring's stage runner", home: THREADS },
    Ban { word: "thread::Builder", instead: "ring's stage runner", home: THREADS },
    Ban { word: "thread::scope", instead: "ring's stage runner", home: THREADS },
    Ban { word: "thread::sleep", instead: "a deadline that is compared with `now`", home: THREADS },
    Ban { word: "std::sync::atomic", instead: "weft_base::sync::atomic", home: SHIM },
    Ban { word: "core::sync::atomic", instead: "weft_base::sync::atomic", home: SHIM },
    Ban { word: "mpsc::channel", instead: "a bounded ring of weft_ring", home: &[] },
    Ban { word: "unbounded", instead: "a bounded ring of weft_ring", home: &[] },
    Ban { word: "println!", instead: "a log event or a counter", home: &[] },
    Ban { word: "eprintln!", instead: "a log event or a counter", home: &[] },
    Ban { word: "dbg!", instead: "nothing: it is a leftover", home: &[] },
];

fn run(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in tree.rust() {
        let mut parts = file.path.split('/');
        let low = parts.next() == Some("crates") && parts.next().is_some_and(|name| LOW.contains(&name));
        if !low || parts.next() != Some("src") {
            continue;
        }
        for (number, line) in file.code_lines().filter(|(number, _)| !file.is_test(*number)) {
            for ban in &BANS {
                let home = ban.home.iter().any(|h| file.path == *h || (h.ends_with('/') && file.path.starts_with(h)));
                if !home && has_word(line, ban.word) {
                    found.push(file.finding(number, format!("{} is banned here; use {}", ban.word, ban.instead)));
                }
            }
        }
    }
    found
}

fn canaries() -> Vec<Tree> {
    let sample = |line: &str| Tree::sample([("crates/hub/src/x.rs", &format!("fn f() {{ {line} }}\n"))]);
    BANS.iter().map(|ban| sample(ban.word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_comments_homes_and_upper_layers_may() {
        let tree = Tree::sample([
            ("crates/hub/src/x.rs", "// Instant::now\n#[cfg(test)]\nmod tests {\n fn f() { Instant::now() }\n}\n"),
            ("crates/hub/tests/y.rs", "fn f() { std::thread::sleep(x) }\n"),
            ("crates/base/src/clock.rs", "fn f() { Instant::now(); }\n"),
            ("crates/client/src/z.rs", "fn f() { Instant::now(); }\n"),
        ]);
        assert_eq!(run(&tree), []);
    }

    #[test]
    fn code_behind_a_test_module_is_seen_again() {
        let text = "#[cfg(test)]\nmod tests;\nfn f() { Instant::now() }\n";
        assert_eq!(run(&Tree::sample([("crates/hub/src/x.rs", text)])).len(), 1);
    }
}
