//! Changes of a running mesh: `weft mesh plan` and `weft mesh apply`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::ServerArgs;
use crate::time::parse_duration;

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The changes (TOML); `examples/plan.toml` documents them.
    pub(crate) file: PathBuf,
    /// As a JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// The changes (TOML); `examples/plan.toml` documents them.
    pub(crate) file: PathBuf,
    /// How long a hub waits for a word before it puts back what is not confirmed.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub(crate) trial: Duration,
    /// How long the mesh may take after each step until it is as foretold.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_duration)]
    pub(crate) settle: Duration,
    /// How long the ledgers are watched after each step.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub(crate) watch: Duration,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
