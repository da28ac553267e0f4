//! Files to documents.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use toml::de::{DeTable, DeValue};
use weft_govern::document::{Document, DocumentError};
use weft_govern::{Key, Kind, json};

use super::table::{self, Places, Wrong};
use super::{Documents, FieldsAt, MAX_BYTES, MAX_DEPTH, MAX_FILE, MAX_FILES, Source, TextAt, WHAT};
use crate::config::ConfigError;
use crate::config::reader::{Problem, nearest};

/// The end of the names of files with tests.
const TESTS: &str = ".test.toml";

/// Reads a file, or all of a folder.
///
/// # Errors
/// What cannot be read, or all mistakes.
pub(crate) fn read(path: &Path) -> Result<Documents, ConfigError> {
    read_all(&[path])
}

/// Reads files, and all of folders, together.
///
/// # Errors
/// As of [`read`].
pub(crate) fn read_all<P: AsRef<Path>>(paths: &[P]) -> Result<Documents, ConfigError> {
    let mut reader = Reader::default();
    for path in paths {
        reader.path(path.as_ref())?;
    }
    if reader.lines.is_empty() {
        return Ok(reader.documents);
    }
    let count = reader.lines.len();
    Err(ConfigError::Mistakes { what: WHAT, count, lines: reader.lines.concat() })
}

/// Files by what is in them.
#[derive(Default)]
struct Found {
    files: Vec<PathBuf>,
    policies: Vec<PathBuf>,
    tests: Vec<PathBuf>,
    entries: usize,
}

impl Found {
    fn is_empty(&self) -> bool {
        self.files.is_empty() && self.policies.is_empty() && self.tests.is_empty()
    }

    fn file(&mut self, path: PathBuf) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match name {
            name if name.ends_with(TESTS) => self.tests.push(path),
            name if name.ends_with(".cedar") => self.policies.push(path),
            _ => self.files.push(path),
        }
    }

    /// All of a folder and those below it; links to folders are not followed.
    fn folder(&mut self, path: &Path, depth: usize) -> Result<(), (PathBuf, std::io::Error)> {
        let failed = |source| (path.to_owned(), source);
        if depth > MAX_DEPTH {
            return Err(failed(std::io::Error::other(format!("folders lie more than {MAX_DEPTH} deep in each other"))));
        }
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            self.entries += 1;
            if self.entries > MAX_FILES {
                let why = format!("there are more than {MAX_FILES} entries: take a folder below it");
                return Err(failed(std::io::Error::other(why)));
            }
            let (kind, path) = (entry.file_type().map_err(failed)?, entry.path());
            match path.extension().and_then(|ending| ending.to_str()) {
                _ if kind.is_dir() => self.folder(&path, depth + 1)?,
                Some("toml" | "cedar") => self.file(path),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A document that was read, and where what is in it stands.
struct Placed {
    key: Key,
    document: Document,
    /// The text of another language that it has.
    text: Option<TextAt>,
    places: Places,
}

/// The words for a policy's rules and a schema's text.
const RULES: &str = "the rules";
const TEXT: &str = "the text";

#[derive(Default)]
struct Reader {
    /// The folder's real path: all that is read lies in it.
    root: PathBuf,
    documents: Documents,
    /// Files that tables name.
    named: BTreeSet<PathBuf>,
    bytes: u64,
    lines: Vec<String>,
}

impl Reader {
    fn path(&mut self, path: &Path) -> Result<(), ConfigError> {
        let failed = |source| ConfigError::Read { what: WHAT, path: path.to_owned(), source };
        let is_folder = std::fs::metadata(path).map_err(failed)?.is_dir();
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let folder = if is_folder { path } else { parent };
        self.root = folder.canonicalize().map_err(failed)?;
        let mut found = Found::default();
        if is_folder {
            found.folder(path, 0).map_err(|(path, source)| ConfigError::Read { what: WHAT, path, source })?;
            if found.is_empty() {
                let why = "there is no *.toml and no *.cedar in it: name a file or another folder";
                return Err(failed(std::io::Error::other(why)));
            }
        } else {
            found.file(path.to_owned());
        }
        let Found { mut files, mut policies, mut tests, .. } = found;
        files.sort();
        policies.sort();
        tests.sort();
        self.documents.tests.extend(tests);
        for file in files {
            self.file(&file);
        }
        for file in policies {
            self.policy(&file);
        }
        Ok(())
    }

    /// The text of a file within the folder and the limits.
    fn text(&mut self, path: &Path) -> Result<(PathBuf, String), String> {
        let real = path.canonicalize().map_err(|error| format!("it cannot be read: {error}"))?;
        if !real.starts_with(&self.root) {
            return Err("it leads out of the folder: put a copy there".to_owned());
        }
        let file = std::fs::File::open(&real).map_err(|error| format!("it cannot be read: {error}"))?;
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Err("it is no file".to_owned());
        }
        let mut text = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(|error| format!("it cannot be read: {error}"))?;
        let bytes = text.len() as u64;
        self.bytes += bytes;
        if bytes > MAX_FILE || self.bytes > MAX_BYTES {
            return Err(format!(
                "files have at most {MAX_FILE} bytes, and {MAX_BYTES} together: apply them in several steps"
            ));
        }
        let text = String::from_utf8(text)
            .map_err(|error| format!("it is not UTF-8 at byte {}", error.utf8_error().valid_up_to()))?;
        Ok((real, text))
    }

    fn file(&mut self, path: &Path) {
        let text = match self.text(path) {
            Ok((_, text)) => text,
            Err(why) => return self.lines.push(format!("{}: {why}\n", path.display())),
        };
        let mut problems = Vec::new();
        let source = Arc::new(Source::new(path.to_owned(), text));
        let text = source.text.as_str();
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let offset = error.span().map_or(0, |span| span.start);
            problems.push(Problem { offset, message: format!("{}: correct the TOML here", error.message()) });
        }
        for (key, value) in document.get_ref().iter() {
            self.kind(&source, key.get_ref(), key.span().start, value.get_ref(), &mut problems);
        }
        problems.sort();
        problems.dedup();
        for Problem { offset, message } in problems {
            self.lines.push(format!("{}: {message}\n", source.place(offset)));
        }
    }

    /// All tables of one kind.
    fn kind(
        &mut self,
        source: &Arc<Source>,
        name: &str,
        offset: usize,
        value: &DeValue<'_>,
        problems: &mut Vec<Problem>,
    ) {
        let known: Vec<&'static str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        let Some(kind) = Kind::parse(name) else {
            let hint = match nearest(name, &known) {
                Some(near) => format!("did you mean `[[{near}]]`?"),
                None => format!("the tables here are {}", known.join(", ")),
            };
            return problems.push(Problem { offset, message: format!("[[{name}]] is not known: {hint}") });
        };
        let tables =
            value.as_array().map(|items| items.iter().map(|item| (item.span().start, item.get_ref().as_table())));
        let Some(tables) = tables else {
            let message = format!("{name}: tables are needed, as many as there are: write `[[{name}]]`");
            return problems.push(Problem { offset, message });
        };
        for (start, table) in tables {
            let read = match table {
                Some(table) => self.document(source, kind, start, table),
                None => Err((start, format!("{name}: tables are needed: write `[[{name}]]`"))),
            };
            match read {
                Ok(Placed { key, document, text, places }) => {
                    let (line, _) = source.line_column(start);
                    if let Some(other) = self.documents.places.get(&key) {
                        let message = format!("{key} is there already, at {other}: leave one of the two out");
                        problems.push(Problem { offset: start, message });
                        continue;
                    }
                    self.documents.places.insert(key.clone(), format!("{}:{line}", source.path.display()));
                    match (kind, text) {
                        (Kind::Policy, Some(rules)) => _ = self.documents.rules.insert(key.clone(), rules),
                        (Kind::Schema, Some(text)) => _ = self.documents.texts.insert(key.clone(), text),
                        _ => {}
                    }
                    let fields = FieldsAt { source: source.clone(), places };
                    self.documents.fields.insert(key.clone(), fields);
                    self.documents.puts.insert(key, document.text().into());
                }
                Err((offset, message)) => problems.push(Problem { offset, message }),
            }
        }
    }

    fn document(&mut self, source: &Source, kind: Kind, start: usize, from: &DeTable<'_>) -> Result<Placed, Wrong> {
        let kind_name = kind.name();
        let field = |wanted: &str| from.iter().find(|(key, _)| key.get_ref() == wanted).map(|(_, value)| value);
        let Some(name) = field("name") else {
            return Err((start, format!("{kind_name}: the name is missing: add `name = \"...\"`")));
        };
        let at = name.span().start;
        let text = name.get_ref().as_str().ok_or((at, format!("{kind_name}: the name is a text in quotes")))?;
        let key = Key::new(kind, text).map_err(|error| (at, error.to_string()))?;
        let mut places = Places::default();
        places.note("", start);
        // The text of what is another language may lie in a file of its own.
        let (beside, what) = match kind {
            Kind::Policy => (Some("rules"), RULES),
            Kind::Schema => (Some("text"), TEXT),
            _ => (None, ""),
        };
        let without: &[&str] = if beside.is_some() { &["name", "file"] } else { &["name"] };
        let mut fields =
            table::table("", from, &mut places, without).map_err(|(at, why)| (at, format!("{key}: {why}")))?;
        let mut own = beside.and_then(field).map(|value| text_at(source, value, what));
        if let (Some(beside), Some(file)) = (beside, field("file")) {
            let at = file.span().start;
            let wrong = |why: String| (at, format!("{key}: file: {why}"));
            let file = file.get_ref().as_str().ok_or_else(|| wrong("a text in quotes is needed".to_owned()))?;
            if fields.contains_key(beside) {
                return Err(wrong(format!("`{beside}` is there too: leave one of the two out")));
            }
            // Beside the file that names it.
            let path = source.path.parent().unwrap_or(Path::new("")).join(file);
            let (real, text) = self.text(&path).map_err(|why| wrong(format!("{file}: {why}")))?;
            self.named.insert(real);
            own = Some(TextAt { path, line: 1, column: 1, is_verbatim: true, what });
            fields.insert(beside.to_owned(), Value::String(text));
        }
        let text = json::canonical(&Value::Object(fields));
        let document = Document::read(kind, &text).map_err(|error| {
            let at = match &error {
                DocumentError::Field { field, .. } => places.find(field).or(places.find("")),
                _ => places.find(""),
            };
            (at.unwrap_or(start), format!("{key}: {error}"))
        })?;
        Ok(Placed { key, document, text: own, places })
    }

    /// A policy that is a file of its own.
    fn policy(&mut self, path: &Path) {
        let named = path.canonicalize().is_ok_and(|real| self.named.contains(&real));
        if named {
            return;
        }
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let read = Key::new(Kind::Policy, name).map_err(|error| error.to_string());
        let read = read.and_then(|key| Ok((key, self.text(path)?.1)));
        match read {
            Err(why) => self.lines.push(format!("{}: {why}\n", path.display())),
            Ok((key, _)) if self.documents.places.contains_key(&key) => {
                let other = self.documents.places.get(&key).map_or("", String::as_str);
                self.lines.push(format!("{}: {key} is there already, at {other}: rename one\n", path.display()));
            }
            Ok((key, rules)) => {
                let fields = BTreeMap::from([("rules", rules)]);
                let text = serde_json::to_value(fields).map(|value| json::canonical(&value)).unwrap_or_default();
                self.documents.places.insert(key.clone(), format!("{}:1", path.display()));
                let rules = TextAt { path: path.to_owned(), line: 1, column: 1, is_verbatim: true, what: RULES };
                self.documents.rules.insert(key.clone(), rules);
                self.documents.puts.insert(key, text.into());
            }
        }
    }
}

/// Where a text that a table has begins: in quotes that change no letter it stands
/// as it is.
fn text_at(source: &Source, value: &toml::Spanned<DeValue<'_>>, what: &'static str) -> TextAt {
    let span = value.span();
    let written = source.text.get(span.clone()).unwrap_or_default();
    let begin = value.get_ref().as_str().and_then(|text| written.find(text));
    let (line, column) = source.line_column(span.start + begin.unwrap_or_default());
    TextAt { path: source.path.clone(), line, column, is_verbatim: begin.is_some(), what }
}
