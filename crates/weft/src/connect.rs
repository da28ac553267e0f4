//! From the command line to a connected client.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use weft_client::{Client, ConnectOptions, Login, Security, StartAt, TlsIdentity};
use zeroize::Zeroizing;

use crate::Usage;
use crate::cli::ServerArgs;
use crate::time::parse_rfc3339;

/// How long a command that has something to finish waits for a hub that went away.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connects as the arguments say, under this name. A hub that goes away is
/// waited for, up to a bound: a command that has something to finish ends.
pub(crate) async fn connect(args: &ServerArgs, name: &str) -> anyhow::Result<Client> {
    connect_for(args, name, Some(PATIENCE)).await
}

/// The same; a hub that goes away is waited for as long as `patience`, or for
/// ever: for what people leave running. The log says so meanwhile.
pub(crate) async fn connect_for(args: &ServerArgs, name: &str, patience: Option<Duration>) -> anyhow::Result<Client> {
    let security = match (&args.tls_cert, &args.tls_key, &args.tls_ca) {
        (Some(cert), Some(key), Some(ca)) => {
            let identity = TlsIdentity::from_pem_files(cert, key, ca).map_err(|e| Usage(e.to_string()))?;
            Security::Tls(Arc::new(identity))
        }
        (None, None, Some(ca)) => {
            let authority = TlsIdentity::authority_of_file(ca).map_err(|e| Usage(e.to_string()))?;
            Security::Tls(Arc::new(authority))
        }
        _ => Security::Plain,
    };
    let options = ConnectOptions {
        login: login_of(args)?,
        addresses: args.servers.clone(),
        security,
        hub: args.hub.clone(),
        name: name.to_owned(),
        close_within: Duration::from_secs(30),
        reconnect_for: patience,
        ..ConnectOptions::new("")
    };
    Client::connect(options).await.context("no hub")
}

/// What is shown to log in. Secrets come from files and the environment, never from
/// arguments, which every user of the machine can see.
fn login_of(args: &ServerArgs) -> Result<Login, Usage> {
    let of_environment = |name: &str| std::env::var_os(name).map(OsString::into_encoded_bytes);
    let secret = |bytes: Vec<u8>| Arc::new(Zeroizing::new(bytes));
    Ok(match (&args.token_file, &args.user, &args.password_file) {
        (Some(path), _, _) => Login::TokenFile(path.clone()),
        (None, Some(name), Some(path)) => Login::PasswordFile { name: name.clone(), path: path.clone() },
        (None, Some(name), None) => match of_environment("WEFT_PASSWORD") {
            Some(password) => Login::Password { name: name.clone(), password: secret(password) },
            None => {
                let text = "--user needs a password: give --password-file, or set WEFT_PASSWORD in the environment";
                return Err(Usage(text.to_owned()));
            }
        },
        (None, None, _) => of_environment("WEFT_TOKEN").map_or(Login::Certificate, |token| Login::Token(secret(token))),
    })
}

/// The error of something that a client did, or, when the client has ended by
/// itself since then, why it has: that says more.
pub(crate) fn why(client: &Client, error: impl Into<anyhow::Error>) -> anyhow::Error {
    match client.gave_up() {
        Some(why) => anyhow::Error::msg(why),
        None => error.into(),
    }
}

/// Where in a stream to begin.
pub(crate) fn start_at(text: &str) -> Result<StartAt, Usage> {
    Ok(match text {
        "first" => StartAt::First,
        "last" => StartAt::Last,
        "new" => StartAt::New,
        _ => match (text.parse::<u64>(), parse_rfc3339(text)) {
            (Ok(sequence), _) => StartAt::Sequence(sequence),
            (_, Some(time)) => StartAt::Time(time),
            _ => {
                return Err(Usage(format!(
                    "`{text}` is no place in a stream: write first, last, new, a sequence such as 1000, \
                     or a time such as 2013-01-01T10:00:00Z"
                )));
            }
        },
    })
}
