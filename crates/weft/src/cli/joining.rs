//! Certificates, and joining with a token.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Make an authority: its certificate `ca.pem` and its key `ca.key`.
    Init {
        /// The folder for them; made when it is not there.
        #[arg(long, value_name = "FOLDER", default_value = ".")]
        dir: PathBuf,
        /// The authority's name, for people.
        #[arg(long, default_value = "weft")]
        name: String,
        /// For how many days its certificate is valid.
        #[arg(long, value_name = "N", default_value_t = 3650)]
        days: u32,
    },
    /// Take certificates back: puts them on the list `crl.pem`, which hubs read
    /// as `crl` of `[tls]`.
    Revoke {
        /// The certificates.
        #[arg(required = true, value_name = "FILE")]
        certificates: Vec<PathBuf>,
        /// The authority's folder; the list is there too.
        #[arg(long, value_name = "FOLDER", default_value = ".")]
        dir: PathBuf,
    },
    /// Issue a certificate: `NAME.pem` and `NAME.key`.
    Issue {
        /// For a hub or for a client.
        #[arg(value_enum)]
        kind: Kind,
        /// The name in it: a hub's name is the one in its configuration.
        name: String,
        /// The authority's folder.
        #[arg(long, value_name = "FOLDER", default_value = ".")]
        dir: PathBuf,
        /// The folder for certificate and key; the authority's when not given.
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
        /// A host name or address at which a hub is dialled; as many as needed.
        /// Without one, `localhost`, `127.0.0.1` and `::1`.
        #[arg(long, value_name = "HOST")]
        host: Vec<String>,
        /// For how many days it is valid.
        #[arg(long, value_name = "N", default_value_t = 365)]
        days: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A hub.
    Hub,
    /// A client.
    Client,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it, once: good for one hub, at this hub only.
    Create {
        /// The configuration of the hub that issues; it has a table `[issue]`.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The only name that it is good for. Without it any name that no hub has or had.
        #[arg(long)]
        name: Option<String>,
        /// A host name or address that may stand in the certificate; as many as
        /// needed. Without one, whatever the hub that joins names.
        #[arg(long, value_name = "HOST")]
        host: Vec<String>,
        /// How long it is good.
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = crate::time::parse_duration)]
        expires: Duration,
    },
    /// The tokens and what became of them, without their secrets.
    List {
        /// The configuration of the hub that issues.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// As JSON objects, one per line.
        #[arg(long)]
        json: bool,
    },
    /// Make a token useless.
    Revoke {
        /// Its number, as `list` prints it.
        number: String,
        /// The configuration of the hub that issues.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// Where the hub that issues takes those who join (`issue.listen` there), HOST:PORT.
    pub(crate) address: String,
    /// The name of the new hub, unique in the mesh: 1 to 64 of a-z, 0-9 and `-`.
    #[arg(long)]
    pub(crate) name: String,
    /// The file that holds the token. Without it the token is read from the
    /// variable WEFT_JOIN_TOKEN, or from stdin.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The folder for key, certificate, authority and configuration; made when it is not there.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// A host name or address at which other hubs dial the new one; as many as needed.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Vec<String>,
    /// Where the new hub takes links.
    #[arg(long, value_name = "HOST:PORT", default_value = "0.0.0.0:7412")]
    pub(crate) listen: String,
    /// Where its clients connect, on this machine alone and without TLS.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7411")]
    pub(crate) clients: String,
    /// The new hub picks its links by itself: the hub that issues is only where it
    /// begins, not a neighbour for good.
    #[arg(long)]
    pub(crate) pick: bool,
    /// The new hub's region.
    #[arg(long, default_value = "local")]
    pub(crate) region: String,
}

#[derive(Debug, Args)]
pub(crate) struct RenewArgs {
    /// Where the hub that issues takes those who join, HOST:PORT.
    pub(crate) address: String,
    /// The configuration of the hub whose certificate is renewed.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}
