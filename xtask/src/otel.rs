//! Traces at a real OpenTelemetry Collector: built of its own modules, exactly those
//! that `crates/weft/tests/otel/go.sum` names, into the target folder; then the test
//! that runs it beside two hubs. It takes Go and minutes, so it is for the full run and
//! for who names it; the spans themselves, and the talk with receivers of all kinds, are
//! tested in every run.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::step::{Run, Step};
use crate::workspace;

/// What names the step, where not all steps are wanted.
pub(crate) const WORD: &str = "OpenTelemetry";

/// Where its program is.
const FOLDER: &str = "crates/weft/tests/otel";

pub(crate) fn step() -> Step {
    let name = format!("traces: an {WORD} Collector gets all spans of two hubs with their parents");
    Step::function(&name, 20, "cargo xtask test --only OpenTelemetry", |limit| {
        let collector = build(limit)?;
        Run::cargo(["test", "--workspace", "--test", "weft", "--locked", "--", "--ignored", "otlp::"])
            .set("WEFT_OTEL_COLLECTOR", collector.to_string_lossy())
            .go(limit)
    })
}

/// The collector. Go builds again what has changed, and nothing else.
fn build(limit: Duration) -> Result<PathBuf> {
    let program = workspace::target().join("peers/otelcol");
    let path = program.to_string_lossy().into_owned();
    Run::program("go", ["build", "-trimpath", "-ldflags=-s -w", "-o", &path, "."])
        .inside(FOLDER)
        .set("GOFLAGS", "-mod=readonly -buildvcs=false")
        .go(limit)
        .context("the collector cannot be built: that takes Go 1.21 or newer (Debian's `golang-go` from trixie on, or go.dev/dl), which fetches what go.mod asks for")?;
    Ok(program)
}
