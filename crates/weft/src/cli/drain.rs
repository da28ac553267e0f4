//! What is said to a hub that runs.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::ServerArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum HubCommand {
    /// Have a running hub send its clients to other hubs, let these serve and
    /// carry what they can, and stop. For those whose certificate is named in
    /// `admins` of the hub's configuration; SIGUSR1 does the same at its host.
    Drain(DrainArgs),
    /// Have a hub that drains go on (SIGUSR2 does the same). Clients that have
    /// gone stay where they are.
    Undrain(UndrainArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// How long it may take; by default as long as the hub's `timers.drain_clients` says.
    #[arg(long, value_name = "TIME", value_parser = crate::time::parse_duration)]
    pub(crate) within: Option<Duration>,
    /// Do not wait until the hub has stopped.
    #[arg(long)]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UndrainArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
