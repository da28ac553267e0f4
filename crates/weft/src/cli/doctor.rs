//! The arguments of `weft doctor`.

use std::path::PathBuf;

use clap::Args;

use super::ServerArgs;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The configuration to look at, with this machine and the disk of its data; no
    /// hub is asked then. Without it the hub at --server is asked, and this machine
    /// looked at when the hub is on it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// With --config: ask the hub at --server as well.
    #[arg(long, requires = "config")]
    pub(crate) running: bool,
    /// One JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
