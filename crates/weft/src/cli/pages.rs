//! The arguments of `weft completions` and `weft man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The folder, such as /usr/local/share/man/man1; it is made when it is not there.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}
