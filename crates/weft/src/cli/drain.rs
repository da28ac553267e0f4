//! What is said to a hub that runs.

use std::path::PathBuf;
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
    /// Check a configuration, and have the hub of this machine that runs by it read
    /// it again (SIGHUP does the same, unchecked). What can be taken while a hub
    /// runs, and what waits for its next start: docs/operating.md, Reload.
    Reload(ReloadArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ReloadArgs {
    /// The hub's configuration; with a mistake in it nothing is asked of the hub.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// The hub's process, as systemd has it in $MAINPID or the hub's ready file.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: i32,
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
