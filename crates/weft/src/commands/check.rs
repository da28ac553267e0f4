//! `weft check`: documents from files, vetted without a hub as a hub vets them.

use std::io::{self, Write};

use crate::cli::policy::CheckArgs;
use crate::control::{files, vet_files};
use crate::{Usage, config::ConfigError};

/// Runs the command.
///
/// # Errors
/// The files cannot be read, or have mistakes.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let usage = |error: ConfigError| Usage(error.to_string());
    let documents = files::read_all(&args.paths).map_err(usage)?;
    let plan = documents.vet().map_err(usage)?;
    let rules = vet_files(&documents)?;
    let mut out = io::stdout().lock();
    if args.print {
        out.write_all(files::write(&documents.puts).as_bytes())?;
    }
    eprintln!("{} documents are right by themselves, with {rules} rules of policies", plan.counts().created);
    Ok(())
}
