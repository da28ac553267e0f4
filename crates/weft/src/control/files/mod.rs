//! Documents of the control state as files: TOML, and policies in Cedar. The one
//! way in which `weft apply`, `weft check` and `weft policy` read them, and
//! `weft export` writes them.
//!
//! A file has tables such as `[[tenant]]`, each with a `name` and the fields of
//! its document. A folder is all its `*.toml`, with those of folders below it; a
//! `*.cedar` that no table names is a policy of the mesh, called as the file is.
//! Files `*.test.toml` have tests of policies and no documents. Nothing is read
//! from outside the folder, also not through links. All mistakes are told at once,
//! each with file, line and column. Bounded: [`MAX_FILES`], [`MAX_FILE`],
//! [`MAX_BYTES`], [`MAX_DEPTH`]; more is an error.

mod read;
mod table;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use weft_govern::access::Fault;
use weft_govern::plan::{Plan, Wanted};
use weft_govern::{Key, State, check};

pub(crate) use self::read::{read, read_all};
pub(crate) use self::write::write;
use crate::config::ConfigError;

/// Most entries of a folder and those below it.
pub(crate) const MAX_FILES: usize = 25_000;
/// Most bytes of one file.
pub(crate) const MAX_FILE: u64 = 16 << 20;
/// Most bytes of all files: what the control state may have.
pub(crate) const MAX_BYTES: u64 = 64 << 20;
/// Most folders in each other.
pub(crate) const MAX_DEPTH: usize = 16;
/// What mistakes are said to be in.
pub(crate) const WHAT: &str = "documents";

/// What files say.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    /// The documents, in order of key.
    pub(crate) puts: BTreeMap<Key, Arc<str>>,
    /// Where each stands, as `file:line`.
    pub(crate) places: BTreeMap<Key, String>,
    /// Where the rules of each policy stand.
    pub(crate) rules: BTreeMap<Key, RulesAt>,
    /// Files with tests of policies, in order.
    pub(crate) tests: Vec<PathBuf>,
}

/// Where the rules of a policy begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RulesAt {
    /// The file.
    pub(crate) path: PathBuf,
    /// From 1.
    pub(crate) line: usize,
    /// From 1.
    pub(crate) column: usize,
    /// They stand there letter by letter; otherwise only their begin is known.
    pub(crate) is_verbatim: bool,
}

impl RulesAt {
    /// A place in the rules, both from 1, as `file:line:column`, and in words what
    /// that does not say.
    pub(crate) fn place(&self, line: usize, column: usize) -> (String, String) {
        let path = self.path.display();
        if !self.is_verbatim {
            let words = format!("in line {line}, column {column} of the rules: ");
            return (format!("{path}:{}:{}", self.line, self.column), words);
        }
        let column = if line == 1 { self.column + column - 1 } else { column };
        (format!("{path}:{}:{column}", self.line + line.saturating_sub(1)), String::new())
    }
}

impl Documents {
    /// The documents as a state.
    pub(crate) fn state(&self) -> Arc<State> {
        Arc::new(State::default().with(self.puts.iter().map(|(key, text)| (key.clone(), text.clone())), &[]))
    }

    /// Vets the documents as if there were nothing else: what one refers to must
    /// be among them.
    ///
    /// # Errors
    /// All faults, a line each, with their places.
    pub(crate) fn vet(&self) -> Result<Plan, ConfigError> {
        let empty = State::default();
        let puts = self.puts.iter().map(|(key, text)| (key.clone(), text.clone())).collect();
        let wanted = Wanted { puts, ..Wanted::default() };
        let faults = match Plan::of(&empty, &wanted) {
            Ok(plan) => {
                let faults = check::check(&empty, &plan.after(&empty), &plan.keys());
                if faults.is_empty() {
                    return Ok(plan);
                }
                faults
            }
            Err(faults) => faults,
        };
        Err(ConfigError::Mistakes { what: WHAT, count: faults.len(), lines: self.told(&faults) })
    }

    /// Faults, a line each, with the places of their documents.
    pub(crate) fn told(&self, faults: &[Fault]) -> String {
        let place = |key: &str| Key::parse(key).ok().and_then(|key| self.places.get(&key));
        let line = |fault: &Fault| match place(&fault.key) {
            Some(place) => format!("{place}: {fault}\n"),
            None => format!("{fault}\n"),
        };
        faults.iter().map(line).collect()
    }
}
