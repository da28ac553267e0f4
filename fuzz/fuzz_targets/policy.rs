//! Rules of policies: any text is understood, or refused with flaws that can be
//! told; what is understood was within the limits.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use weft_policy::{Compiler, Limits, MAX_FLAWS, told};

static COMPILER: LazyLock<Compiler> = LazyLock::new(|| Compiler::new(Limits::default()).expect("the schema is right"));

fuzz_target!(|text: &str| {
    for tenant in [None, Some("t")] {
        match COMPILER.compile("p", tenant, text) {
            Ok(compiled) => assert!(compiled.rules().all(|rule| !rule.is_empty())),
            Err(flaws) => {
                assert!(!flaws.is_empty() && flaws.len() <= MAX_FLAWS, "{} flaws", flaws.len());
                assert!(!told(&flaws).is_empty());
            }
        }
    }
});
