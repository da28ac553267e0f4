//! What `weft identity` is told.

use std::path::PathBuf;

use clap::Subcommand;

/// Identities.
#[derive(Debug, Subcommand)]
pub(crate) enum IdentityCommand {
    /// Print the hash of a password (Argon2id), as documents of identities have it.
    /// The password comes from standard input, or from a file: never from an argument.
    Hash {
        /// The file with the password; what ends its line is no part of it.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
}
