//! The arguments of what works on streams as they lie on disk: `weft log`,
//! and backup and restore.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ServerArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Show what a stream's folder holds: segments, sequences, times, position, space. Changes nothing.
    Inspect {
        /// A stream's folder, or a hub's data folder.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        #[command(flatten)]
        keys: KeyArgs,
        /// Each block too.
        #[arg(long)]
        blocks: bool,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Check every block's checksums, sequences and side files; exit code 1 when anything is wrong. Changes nothing.
    Verify {
        /// A stream's folder, or a hub's data folder.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        #[command(flatten)]
        keys: KeyArgs,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Repair a stopped hub's streams: say what would be done, and with --apply do it. Deletes nothing: what is
    /// replaced or given up lies in DIR/quarantine afterwards, with a note.
    Repair(RepairArgs),
}

#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// The file with the keys of encrypted streams, as the hub's `storage.key_file`.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// A stream's folder, or a stopped hub's data folder.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Take what is missing from here: the same stream's folder of another home or a backup, or a data folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
    /// Where `stream.json` is missing and not to be had from --from: what the stream captures.
    #[arg(long, value_name = "FILTER", value_parser = super::names::filter)]
    pub(crate) filter: Vec<String>,
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
    /// Do it.
    #[arg(long)]
    pub(crate) apply: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The stream.
    pub(crate) name: String,
    /// The folder to write; one that holds an earlier backup of the stream is gone on with.
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
    /// Encrypt the backup with the first key of this file. Without it a backup is not encrypted, whatever the
    /// stream is.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// A backup, or a stream's folder.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The stream's name from now on.
    #[arg(long, value_name = "NEW")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
    /// The data folder of a hub that is stopped.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: PathBuf,
}
