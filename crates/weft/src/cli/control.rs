//! The arguments of `weft apply`, `weft export` and `weft control`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use weft_govern::Kind;

use super::ServerArgs;

fn kind(text: &str) -> Result<Kind, String> {
    Kind::parse(text).ok_or_else(|| {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        format!("there is no such kind: it is one of {}", known.join(", "))
    })
}

/// Exit codes: 0 all is as the files say; 1 it failed; 2 the arguments or the
/// documents are wrong; 3 somebody else changed the same meanwhile.
#[derive(Debug, Args)]
pub(crate) struct ApplyStateArgs {
    /// The documents (TOML): a file, or a folder with those below it.
    pub(crate) path: PathBuf,
    /// Only show what would be changed.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also delete what is not in the files: of these kinds, or of all but schemas
    /// and subjects. Needs --yes where something is deleted.
    #[arg(long, value_name = "KINDS", value_delimiter = ',', num_args = 0.., require_equals = true, value_parser = kind)]
    pub(crate) prune: Option<Vec<Kind>>,
    /// With --prune: of this tenant alone.
    #[arg(long, value_name = "NAME", requires = "prune")]
    pub(crate) tenant: Option<String>,
    /// Delete what is to be deleted.
    #[arg(long)]
    pub(crate) yes: bool,
    /// As a JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Of these kinds; left out, of all.
    #[arg(long = "kind", value_name = "KINDS", value_delimiter = ',', value_parser = kind)]
    pub(crate) kinds: Vec<Kind>,
    /// Of this tenant; left out, of all and of none.
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    /// Write a file for each kind into this folder, over those that are there.
    /// Left out, all is printed.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// The state as this hub has it, also when it is cut off.
    #[arg(long)]
    pub(crate) local: bool,
    /// As a JSON object, with the versions.
    #[arg(long, conflicts_with = "out")]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ControlCommand {
    /// The version of the control state at a hub, how old it may be, who leads, who
    /// votes and who learns.
    Show {
        /// Wait until the hub has what the voters have.
        #[arg(long)]
        fresh: bool,
        /// As a JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Have other hubs vote. Those that are to must learn already, and be about as
    /// far as the leader.
    Voters {
        /// All that are to vote from then on, an odd number of them.
        #[arg(long, value_name = "NAMES", value_delimiter = ',', required = true)]
        set: Vec<String>,
        /// As a JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
}
