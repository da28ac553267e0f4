//! `weft token`: what lets a machine join, made where certificates are issued.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use weft_base::{Clock, SystemClock, UnixNanos};
use weft_hub::options::is_label;
use weft_transport::joining::Token;

use crate::Usage;
use crate::cli::TokenCommand;
use crate::config::{self, Config};
use crate::issue::tokens::{Entry, State, Tokens};
use crate::time::{rfc3339, show_duration};

/// The longest that a token is good: it is for a machine that joins now.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

pub(crate) fn run(command: TokenCommand) -> anyhow::Result<()> {
    let now = SystemClock::new().now().wall;
    match command {
        TokenCommand::Create { config, name, host, expires } => create(&config, name.as_deref(), &host, expires, now),
        TokenCommand::List { config, json } => {
            let (_, tokens) = open(&config)?;
            for entry in tokens.list().context("cannot list the tokens")? {
                println!("{}", if json { as_json(&entry, now) } else { as_line(&entry, now) });
            }
            Ok(())
        }
        TokenCommand::Revoke { number, config } => {
            let id = u64::from_str_radix(&number, 16)
                .map_err(|_| Usage(format!("`{number}` is no number of a token: `weft token list` prints them")))?;
            let (_, tokens) = open(&config)?;
            if !tokens.revoke(id).context("cannot revoke the token")? {
                anyhow::bail!("there is no token {number} that could still be used: `weft token list` shows them");
            }
            eprintln!("the token {number} is good for nothing any more");
            Ok(())
        }
    }
}

fn create(
    config: &Path,
    name: Option<&str>,
    hosts: &[String],
    expires: Duration,
    now: UnixNanos,
) -> anyhow::Result<()> {
    if let Some(name) = name.filter(|name| !is_label(name)) {
        return Err(Usage(format!("`{name}` cannot be a hub's name: 1 to 64 of `a-z`, `0-9` and `-`")).into());
    }
    if expires.is_zero() || expires > LONGEST {
        return Err(Usage(format!("--expires: take from 1 s to {}", show_duration(LONGEST))).into());
    }
    let (config, tokens) = open(config)?;
    let Some(issue) = config.issue else {
        let remedy = "add a table `[issue]` with `listen` and `key`, or ask at the hub that has one";
        return Err(Usage(format!("the hub `{}` issues no certificates: {remedy}", config.hub.name)).into());
    };
    let token = Token::create(&config.hub.name, issue.authority.fingerprint()?)?;
    let ends = UnixNanos(now.0.saturating_add(u64::try_from(expires.as_nanos()).unwrap_or(u64::MAX)));
    tokens.add(&token, (name, hosts), now, ends).context("cannot keep the token")?;
    println!("{}", *token.reveal());
    let whose = name.map_or("one hub of any free name".to_owned(), |name| format!("the hub `{name}`"));
    eprintln!(
        "token {:016x}, for {whose}, good once and until {}: give it to\n  weft join HOST:{} --name {} --token-file FILE",
        token.id,
        rfc3339(ends),
        issue.listen.rsplit_once(':').map_or("PORT", |(_, port)| port),
        name.unwrap_or("NAME"),
    );
    Ok(())
}

/// The configuration, and the tokens of the hub that it is of.
fn open(path: &Path) -> anyhow::Result<(Config, Tokens)> {
    let config = config::load(path).map_err(|e| Usage(e.to_string()))?;
    let data =
        config.hub.data.as_ref().ok_or_else(|| {
            Usage(format!("the hub `{}` keeps no data, and tokens with it: add `data`", config.hub.name))
        })?;
    let tokens = Tokens::of_data(data).with_context(|| format!("cannot use the folder {}", data.display()))?;
    Ok((config, tokens))
}

fn state_of(entry: &Entry, now: UnixNanos) -> &'static str {
    match entry.state {
        State::Open if entry.expires <= now => "expired",
        State::Open => "open",
        State::Used => "used",
        State::Revoked => "revoked",
    }
}

fn as_line(entry: &Entry, now: UnixNanos) -> String {
    let whose = match (&entry.used_by, &entry.name) {
        (Some(by), _) => format!("by {by}"),
        (None, Some(name)) => format!("for {name}"),
        (None, None) => "for any name".to_owned(),
    };
    format!("{:016x}  {:8} {whose}, until {}", entry.id, state_of(entry, now), rfc3339(entry.expires))
}

fn as_json(entry: &Entry, now: UnixNanos) -> String {
    json!({
        "number": format!("{:016x}", entry.id),
        "state": state_of(entry, now),
        "name": entry.name,
        "hosts": entry.hosts,
        "created": rfc3339(entry.created),
        "expires": rfc3339(entry.expires),
        "used_by": entry.used_by,
    })
    .to_string()
}
