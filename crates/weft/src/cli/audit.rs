//! The arguments of `weft audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ServerArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Print a hub's audit log: who did what from where, allowed or denied, by which
    /// rule of which version.
    Read(AuditReadArgs),
    /// Check the chain of a hub's audit log. Exit code 1 where it is broken.
    Verify(AuditVerifyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AuditReadArgs {
    /// The hub whose log it is; left out, that of the hub that is asked.
    #[arg(long, value_name = "NAME")]
    pub(crate) of: Option<String>,
    /// Where to begin: first, last, new, a sequence of the stream, or a time.
    #[arg(long, value_name = "WHERE", default_value = "first")]
    pub(crate) from: String,
    /// Go on with what comes.
    #[arg(long, short = 'f')]
    pub(crate) follow: bool,
    /// Only what was denied.
    #[arg(long)]
    pub(crate) denied: bool,
    /// The records as they are in the log, a line each; `weft audit verify --file`
    /// takes them.
    #[arg(long, conflicts_with = "denied")]
    pub(crate) raw: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AuditVerifyArgs {
    /// The hub whose log it is; left out, that of the hub that is asked.
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    pub(crate) of: Option<String>,
    /// A hash that an earlier check printed: the log must still have its record, so
    /// that what was cut off or written anew behind an anchor is found.
    #[arg(long, value_name = "HASH")]
    pub(crate) from_hash: Option<String>,
    /// Records from a file, as `weft audit read --raw` prints them, without a hub.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// As a JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
