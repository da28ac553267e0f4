//! What `weft top` is told.

use clap::Args;

use super::ServerArgs;

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Print what there is to see as text, all views, and end: for scripts, and where
    /// there is no terminal. Takes a second, for rates.
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
