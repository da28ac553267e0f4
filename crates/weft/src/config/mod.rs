//! A hub's configuration file: TOML, mapped onto `weft_hub::HubOptions`.
//!
//! All mistakes are reported at once, each with line, column and remedy; keys
//! that are not known are mistakes. The documented sample is
//! `examples/hub.toml`; a test reads it.

mod read;
mod reader;
mod show;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::DeTable;
use weft_hub::HubOptions;

use self::reader::{Problem, Problems, Section, line_column};
pub(crate) use self::show::show;

/// Why a configuration cannot be used.
#[derive(Debug)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    Read { path: PathBuf, source: std::io::Error },
    /// The file has mistakes: as many lines as there are.
    Mistakes { count: usize, lines: String },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Read { path, source } => {
                write!(f, "cannot read the configuration {}: {source}", path.display())
            }
            ConfigError::Mistakes { count, lines } => {
                write!(f, "{lines}{count} mistake{} in the configuration", if *count == 1 { "" } else { "s" })
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// Reads a configuration file. Paths in it are relative to its folder.
pub(crate) fn load(path: &Path) -> Result<HubOptions, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(&text, folder).map_err(|problems| {
        let count = problems.len();
        let lines = problems.iter().map(|problem| line_of(path, &text, problem)).collect();
        ConfigError::Mistakes { count, lines }
    })
}

fn line_of(path: &Path, text: &str, problem: &Problem) -> String {
    let (line, column) = line_column(text, problem.offset);
    format!("{}:{line}:{column}: {}\n", path.display(), problem.message)
}

/// Reads a configuration; every mistake, in order of place.
pub(crate) fn parse(text: &str, folder: &Path) -> Result<HubOptions, Vec<Problem>> {
    let mut problems = Problems::default();
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let offset = error.span().map_or(0, |span| span.start);
        problems.add(offset, format!("{}: correct the TOML here", error.message()));
    }
    let top = Section::new("", document.get_ref(), 0, &mut problems);
    let options = read::options(top, folder, &mut problems);
    // What contradicts only makes sense once every value could be read.
    if problems.list.is_empty() {
        for (field, message) in options.violations() {
            problems.add_at(field, &message);
        }
    }
    if problems.list.is_empty() {
        return Ok(options);
    }
    let mut list = problems.list;
    list.sort();
    list.dedup();
    Err(list)
}
