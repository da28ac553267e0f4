//! `weft identity`: what documents of identities need.

use std::io::Read as _;

use anyhow::Context;
use zeroize::Zeroizing;

use crate::cli::IdentityCommand;

/// The longest password that is read, with the end of its line.
const MOST: u64 = 4096;

pub(crate) fn run(command: &IdentityCommand) -> anyhow::Result<()> {
    let IdentityCommand::Hash { file } = command;
    // Its memory is not moved: what was there before would not be wiped.
    let mut password = Zeroizing::new(Vec::with_capacity(MOST as usize + 1));
    match file {
        Some(path) => std::fs::File::open(path)
            .and_then(|file| file.take(MOST).read_to_end(&mut password))
            .with_context(|| format!("cannot read {}", path.display()))?,
        None => std::io::stdin().take(MOST).read_to_end(&mut password).context("cannot read the password")?,
    };
    let text = password.strip_suffix(b"\n").unwrap_or(&password);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let mut salt = [0; 16];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut salt)
        .map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    println!("{}", weft_login::Hash::make(text, salt)?);
    Ok(())
}
