//! A hub's configuration file: TOML, mapped onto `weft_hub::HubOptions`.
//!
//! All mistakes are reported at once, each with line, column and remedy; keys
//! that are not known are mistakes. The documented sample is
//! `examples/hub.toml`; a test reads it.

mod audit;
mod control;
mod dns;
mod http;
mod joining;
mod login;
mod mapping;
mod read;
pub(crate) mod reader;
mod show;
mod telemetry;
#[cfg(test)]
mod tests;
mod webhooks;

use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::DeTable;
use weft_hub::HubOptions;
use weft_transport::IdentityFiles;

pub(crate) use self::http::show_http;
pub(crate) use self::joining::show_issue;
pub(crate) use self::login::show as show_login;
pub(crate) use self::mapping::rule as mapping_rule;
pub(crate) use self::read::{PLAIN_BEYOND, is_loopback, is_loopback_host};
use self::reader::{Problem, Problems, Section, line_column};
pub(crate) use self::show::show;
pub(crate) use self::telemetry::show_otlp;
pub(crate) use self::webhooks::show_webhook;
use crate::hooks::HookOptions;
use crate::http::HttpOptions;
use crate::issue::IssueOptions;
use crate::login::Roots;
use crate::otlp::OtlpOptions;

/// What a configuration says.
#[derive(Debug)]
pub(crate) struct Config {
    /// For the hub.
    pub(crate) hub: HubOptions,
    /// Where its identity lies, if it has one.
    pub(crate) tls: Option<IdentityFiles>,
    /// Where its certificate is renewed.
    pub(crate) renew: Vec<String>,
    /// Keys of who signs tokens are fetched from servers that these authorities know.
    pub(crate) login: Roots,
    /// For the door beside it.
    pub(crate) issue: Option<IssueOptions>,
    /// For the server of HTTP.
    pub(crate) http: Option<HttpOptions>,
    /// For traces and logs by OTLP.
    pub(crate) otlp: Option<OtlpOptions>,
    /// What is written to the log.
    pub(crate) log: Option<tracing::Level>,
    /// Where events are sent.
    pub(crate) hooks: Vec<HookOptions>,
}

/// Why a configuration cannot be used.
#[derive(Debug)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    Read { what: &'static str, path: PathBuf, source: std::io::Error },
    /// The file has mistakes: as many lines as there are.
    Mistakes { what: &'static str, count: usize, lines: String },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Read { what, path, source } => {
                write!(f, "cannot read the {what} {}: {source}", path.display())
            }
            ConfigError::Mistakes { what, count, lines } => {
                write!(f, "{lines}{count} mistake{} in the {what}", if *count == 1 { "" } else { "s" })
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// Reads a configuration file. Paths in it are relative to its folder.
pub(crate) fn load(path: &Path) -> Result<Config, ConfigError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    load_with("configuration", path, |text| parse(text, folder))
}

/// Reads a file of TOML; `what` is what to call it.
pub(crate) fn load_with<T>(
    what: &'static str,
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, Vec<Problem>>,
) -> Result<T, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Read { what, path: path.to_owned(), source })?;
    parse(&text).map_err(|problems| {
        let count = problems.len();
        let lines = problems.iter().map(|problem| line_of(path, &text, problem)).collect();
        ConfigError::Mistakes { what, count, lines }
    })
}

fn line_of(path: &Path, text: &str, problem: &Problem) -> String {
    let (line, column) = line_column(text, problem.offset);
    format!("{}:{line}:{column}: {}\n", path.display(), problem.message)
}

/// Reads a configuration; every mistake, in order of place.
pub(crate) fn parse(text: &str, folder: &Path) -> Result<Config, Vec<Problem>> {
    let violations = |config: &Config| {
        let of_hub = config.hub.violations().into_iter().map(|(field, message)| (field.to_owned(), message));
        let of_http = config.http.iter().flat_map(HttpOptions::violations);
        let of_otlp = config.otlp.iter().flat_map(OtlpOptions::violations);
        of_hub.chain(of_http).chain(of_otlp).chain(HookOptions::violations(&config.hooks)).collect()
    };
    parse_with(text, |top, problems| read::options(top, folder, problems), violations)
}

/// Reads a document: with `read` what it says, with `violations` what in it
/// contradicts itself, by the path of a key; every mistake, in order of place.
pub(crate) fn parse_with<T>(
    text: &str,
    read: impl FnOnce(Section<'_, '_>, &mut Problems) -> T,
    violations: impl FnOnce(&T) -> Vec<(String, String)>,
) -> Result<T, Vec<Problem>> {
    let mut problems = Problems::default();
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let offset = error.span().map_or(0, |span| span.start);
        problems.add(offset, format!("{}: correct the TOML here", error.message()));
    }
    let top = Section::new("", document.get_ref(), 0, &mut problems);
    let read = read(top, &mut problems);
    // What contradicts only makes sense once every value could be read.
    if problems.list.is_empty() {
        for (field, message) in violations(&read) {
            problems.add_at(&field, &message);
        }
    }
    if problems.list.is_empty() {
        return Ok(read);
    }
    let mut list = problems.list;
    list.sort();
    list.dedup();
    Err(list)
}
