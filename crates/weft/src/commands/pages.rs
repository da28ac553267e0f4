//! `weft completions` and `weft man`: what shells and `man` know of the command
//! line, from the same place as `--help`.

use std::fs;
use std::io::{self, Write};

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::Cli;
use crate::cli::pages::{CompletionsArgs, ManArgs};

/// Writes the completions of a shell to stdout.
///
/// # Errors
/// They cannot be written.
pub(crate) fn completions(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "weft", &mut text);
    let mut out = io::stdout().lock();
    out.write_all(&text)?;
    out.flush()?;
    Ok(())
}

/// Writes `weft.1`, `weft-hub.1` and so on into a folder.
///
/// # Errors
/// They cannot be written.
pub(crate) fn man(args: &ManArgs) -> anyhow::Result<()> {
    let folder = &args.folder;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    eprintln!("man pages are in {}: man -l {}", folder.display(), folder.join("weft.1").display());
    Ok(())
}
