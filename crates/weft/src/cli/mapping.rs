//! The arguments of `weft mapping`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum MappingCommand {
    /// What topics become by the rules of a configuration, without a hub; what a
    /// running hub does with a topic says `weft mesh trace --dry`.
    Test(MappingTestArgs),
}

#[derive(Debug, Args)]
pub(crate) struct MappingTestArgs {
    /// The configuration (TOML) with the rules, `[[mapping]]`.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// The topics, as clients publish them.
    #[arg(required = true, value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// As requests, to which only the rules with `requests = true` apply.
    #[arg(long)]
    pub(crate) request: bool,
    /// As JSON: one object for each topic.
    #[arg(long)]
    pub(crate) json: bool,
}
