//! `weft doctor`: finds what is harmful in a configuration, on the machine and at a
//! running hub. Facts are collected first (`collect`), and judged by checks that
//! know nothing but them (`checks`). Changes nothing.

mod checks;
mod collect;
mod facts;
mod finding;

use std::io::{self, Write};

use self::finding::{Severity, Unknown};
use crate::cli::DoctorArgs;
use crate::connect::connect;
use crate::{Coded, Usage, config};

/// Exit codes: something is worth a look, and something is harmful.
const WARNED: u8 = 3;
const HARMFUL: u8 = 4;

/// Runs the command.
///
/// # Errors
/// The configuration is wrong, or the hub does not answer; and, by its exit code,
/// that something was found.
pub(crate) async fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    let config = match &args.config {
        Some(path) => Some(config::load(path).map_err(|e| Usage(e.to_string()))?),
        None => None,
    };
    let asks = args.config.is_none() || args.running;
    let mut found = if config.is_some() || collect::is_here(&args.server) {
        collect::of_machine(config.as_ref())
    } else {
        let why = "the hub is on another machine: run it there as well".to_owned();
        collect::Collected { unknown: vec![Unknown { what: "the machine", why }], ..collect::Collected::default() }
    };
    if config.is_none() {
        let why = "name the file with --config".to_owned();
        found.unknown.push(Unknown { what: "the configuration", why });
    }
    let mut silent = None;
    if asks {
        match connect(&args.server, "weft doctor").await {
            Ok(client) => {
                collect::ask(&client, &mut found).await?;
                client.close().await;
            }
            // What was found of the machine is told all the same.
            Err(error) => {
                found.unknown.push(Unknown { what: "the hub", why: "it does not answer".to_owned() });
                silent = Some(error);
            }
        }
    }
    let findings = checks::all(&found.facts);
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", finding::object(&findings, &found.unknown))?;
    } else {
        finding::human(&findings, &found.unknown, &mut out)?;
    }
    out.flush()?;
    if let Some(error) = silent {
        return Err(error);
    }
    let (code, text) = match findings.first().map(|worst| worst.severity) {
        None | Some(Severity::Note) => return Ok(()),
        Some(Severity::Warning) => (WARNED, "there are warnings"),
        Some(Severity::Harmful) => (HARMFUL, "something is harmful"),
    };
    Err(Coded { code, text: text.to_owned() }.into())
}
