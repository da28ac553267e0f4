//! Exploring a scenario with loom, and its faulty twins, for the tests of this folder.

use std::process::Command;

use weft_ring::edges::{self, Edge};

const PREEMPTIONS: usize = 3;

/// Set in a canary's process to what is to be wrong, such as the edge to weaken.
const CANARY: &str = "WEFT_LOOM_CANARY";

pub(crate) fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    // Set by LOOM_MAX_PREEMPTIONS, if at all.
    builder.preemption_bound.get_or_insert(PREEMPTIONS);
    builder.check(scenario);
}

/// What is to be wrong in this process, if it is a canary's.
pub(crate) fn canary() -> Option<String> {
    std::env::var(CANARY).ok()
}

/// The scenario holds, and stops holding without each of its edges.
///
/// A canary runs in a process of its own, because what loom finds may come up
/// again in a destructor, which ends the process.
pub(crate) fn explore_with_canaries<F: Fn() + Send + Sync + 'static>(scenario: F, edges: &[Edge]) {
    if let Some(canary) = canary() {
        edges::weaken(edges.iter().find(|edge| format!("{edge:?}") == canary).copied());
        return explore(scenario);
    }
    explore(scenario);
    // `loom::name_of_the_test::{{closure}}`
    let test = std::any::type_name::<F>().split("::").nth(1).unwrap();
    for edge in edges {
        must_fail(test, &format!("{edge:?}"));
    }
}

/// The test fails when this is wrong.
pub(crate) fn must_fail(test: &str, canary: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact"])
        .env(CANARY, canary)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("running 1 test"), "the canary did not run: {said}");
    assert!(!output.status.success(), "loom did not notice in `{test}` that {canary} was wrong");
}
