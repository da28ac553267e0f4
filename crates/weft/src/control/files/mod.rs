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
use self::table::Places;
pub(crate) use self::write::write;
use crate::config::ConfigError;
use crate::config::reader::line_column;

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
    pub(crate) rules: BTreeMap<Key, TextAt>,
    /// Where the text of each schema stands.
    pub(crate) texts: BTreeMap<Key, TextAt>,
    /// Where the fields of each stand.
    fields: BTreeMap<Key, FieldsAt>,
    /// Files with tests of policies, in order.
    pub(crate) tests: Vec<PathBuf>,
}

/// A file with tables, as it was read: to say where in it something stands.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    text: String,
    /// Where each of its lines begins: files have very many tables, whose places are all noted.
    lines: Vec<usize>,
}

impl Source {
    fn new(path: PathBuf, text: String) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { path, text, lines }
    }

    /// Line and column of a place, both from 1.
    fn line_column(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|begin| *begin <= offset).max(1);
        let begin = self.lines.get(line - 1).copied().unwrap_or_default();
        let (_, column) = line_column(self.text.get(begin..).unwrap_or_default(), offset.saturating_sub(begin));
        (line, column)
    }

    /// A place, as `file:line:column`.
    fn place(&self, offset: usize) -> String {
        let (line, column) = self.line_column(offset);
        format!("{}:{line}:{column}", self.path.display())
    }
}

/// Where the fields of a document stand.
#[derive(Debug)]
struct FieldsAt {
    source: Arc<Source>,
    places: Places,
}

impl FieldsAt {
    /// The place of the field that a fault begins with, `topics[1]: ...` or
    /// `version 2 ...`; of the table where it begins with none.
    fn place(&self, what: &str) -> Option<String> {
        let version = what.strip_prefix("version ").and_then(|rest| rest.split([' ', ':']).next());
        let named = match version {
            Some(number) => format!("versions.{number}"),
            None => what.split(": ").next().unwrap_or_default().to_owned(),
        };
        let offset = self.places.find(&named).or_else(|| self.places.find(""))?;
        Some(self.source.place(offset))
    }
}

/// Where a text in another language begins: a policy's rules, or a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextAt {
    /// The file.
    pub(crate) path: PathBuf,
    /// From 1.
    pub(crate) line: usize,
    /// From 1.
    pub(crate) column: usize,
    /// It stands there letter by letter; otherwise only its begin is known.
    pub(crate) is_verbatim: bool,
    /// What it is, in words.
    pub(crate) what: &'static str,
}

impl TextAt {
    /// A place in the text, both from 1, as `file:line:column`, and in words what
    /// that does not say.
    pub(crate) fn place(&self, line: usize, column: usize) -> (String, String) {
        let path = self.path.display();
        if !self.is_verbatim {
            let words = format!("in line {line}, column {column} of {}: ", self.what);
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

    /// Faults, a line each, with the places of what they are about.
    pub(crate) fn told(&self, faults: &[Fault]) -> String {
        let line = |fault: &Fault| match Key::parse(&fault.key).ok().and_then(|key| self.place(&key, &fault.what)) {
            Some(place) => format!("{place}: {fault}\n"),
            None => format!("{fault}\n"),
        };
        faults.iter().map(line).collect()
    }

    /// Where something wrong with a document stands, as exactly as it says itself.
    fn place(&self, key: &Key, what: &str) -> Option<String> {
        if let Some(at) = self.texts.get(key).filter(|_| what.starts_with("text: ")) {
            let (line, column) = position_in(what).filter(|_| at.is_verbatim).unwrap_or((1, 1));
            return Some(at.place(line, column).0);
        }
        let field = self.fields.get(key).and_then(|fields| fields.place(what));
        field.or_else(|| self.places.get(key).cloned())
    }
}

/// The `line 3 column 5` that a parser of a schema's format says.
fn position_in(what: &str) -> Option<(usize, usize)> {
    let mut words = what.split([' ', '\'', ',', ':', ';', ')']).skip_while(|word| *word != "line").skip(1);
    let line = words.next()?.parse().ok()?;
    let column = words.next().filter(|word| *word == "column").and_then(|_| words.next())?.parse().ok()?;
    Some((line, column))
}
