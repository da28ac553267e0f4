//! Documents in files: TOML, in which each resource is a table of an array by its
//! kind (`[[tenant]]`) with its name as `name`. Read for `weft apply`, written by
//! `weft export`, so that what was exported is applied without a change.
//!
//! Bounds: [`MOST_FILES`] files of a folder and those below it, [`MOST_BYTES`] in
//! all; more is an error. Links to other folders are not followed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use serde_json::{Map, Value};
use weft_govern::{Key, Kind, json};

use crate::Usage;

/// Files of a folder at most.
const MOST_FILES: usize = 10_000;
/// Bytes of all files at most: what the control state may have.
const MOST_BYTES: u64 = 64 << 20;

/// The documents of a file, or of all `*.toml` of a folder and those below it.
///
/// # Errors
/// What is wrong, with the file and the place.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<(Key, Arc<str>)>> {
    let mut files = Vec::new();
    find(path, true, &mut files)?;
    files.sort();
    if files.is_empty() {
        return Err(Usage(format!("there is no *.toml in {}: name a file or another folder", path.display())).into());
    }
    let (mut found, mut bytes) = (BTreeMap::new(), 0);
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        bytes += text.len() as u64;
        if bytes > MOST_BYTES {
            return Err(Usage(format!("the files have more than {MOST_BYTES} bytes: apply fewer at a time")).into());
        }
        let documents = of_text(&text).map_err(|why| Usage(format!("{}: {why}", file.display())))?;
        for (key, document) in documents {
            if found.insert(key.clone(), document).is_some() {
                return Err(Usage(format!("{}: {key} is written twice: leave one of them out", file.display())).into());
            }
        }
    }
    Ok(found.into_iter().collect())
}

fn find(path: &Path, is_named: bool, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let kind = if is_named { fs::metadata(path) } else { fs::symlink_metadata(path) };
    let kind = kind.with_context(|| format!("cannot read {}", path.display()))?;
    if kind.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
            find(&entry?.path(), false, files)?;
        }
    } else if is_named || (kind.is_file() && path.extension().is_some_and(|ending| ending == "toml")) {
        if files.len() >= MOST_FILES {
            bail!("there are more than {MOST_FILES} files: apply a folder below it");
        }
        files.push(path.to_owned());
    }
    Ok(())
}

/// The documents of a text.
fn of_text(text: &str) -> Result<Vec<(Key, Arc<str>)>, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let mut found = Vec::new();
    for (name, resources) in table {
        let kind = Kind::parse(&name).ok_or_else(|| {
            let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            format!("there is no kind `{name}`: it is one of {}", known.join(", "))
        })?;
        let toml::Value::Array(resources) = resources else {
            return Err(format!("`{name}` is one table: write `[[{name}]]`, with two brackets"));
        };
        for resource in resources {
            let Value::Object(mut document) = value(resource, 0)? else {
                return Err(format!("`{name}` has something that is no table: write `[[{name}]]`"));
            };
            let Some(Value::String(own)) = document.remove("name") else {
                return Err(format!("a `[[{name}]]` has no `name`: write for example `name = \"billing\"`"));
            };
            let key = Key::new(kind, &own).map_err(|error| error.to_string())?;
            found.push((key, Arc::from(json::canonical(&Value::Object(document)))));
        }
    }
    Ok(found)
}

fn value(toml: toml::Value, depth: usize) -> Result<Value, String> {
    if depth > json::MAX_DEPTH {
        return Err(format!("values lie in each other more than {} deep", json::MAX_DEPTH));
    }
    Ok(match toml {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(is) => Value::Bool(is),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(list) => list.into_iter().map(|item| value(item, depth + 1)).collect::<Result<_, _>>()?,
        toml::Value::Table(table) => {
            let fields = table.into_iter().map(|(name, field)| Ok((name, value(field, depth + 1)?)));
            Value::Object(fields.collect::<Result<Map<_, _>, String>>()?)
        }
    })
}

/// The documents of one kind as a text that [`read`] reads.
///
/// # Errors
/// A document that is no JSON object, or has what TOML cannot say.
pub(crate) fn text_of<'a>(documents: impl IntoIterator<Item = (&'a Key, &'a str)>) -> anyhow::Result<String> {
    let mut out = String::new();
    for (key, document) in documents {
        let fields: Map<String, Value> = serde_json::from_str(document).with_context(|| key.to_string())?;
        let mut table = toml::Table::new();
        table.insert("name".to_owned(), key.name().into());
        for (name, field) in fields {
            // What is `null` is as if it were not there.
            if !field.is_null() {
                table.insert(name, toml::Value::try_from(field).with_context(|| key.to_string())?);
            }
        }
        let mut whole = toml::Table::new();
        whole.insert(key.kind().name().to_owned(), toml::Value::Array(vec![table.into()]));
        out.push_str(&toml::to_string(&whole).with_context(|| key.to_string())?);
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let text = "[[tenant]]\nname = \"billing\"\ntopics = [\"billing/**\"]\n[tenant.quota]\npublish_events = 7\n\
                    [[policy]]\nname = \"p\"\nrules = '''\npermit(principal, action, resource);\n'''\n\
                    [[tenant]]\nname = \"a\"\ndescription = \"\\\"\\n#\"\n";
        let read = of_text(text).expect("documents");
        assert_eq!(read.len(), 3);
        let written = text_of(read.iter().map(|(key, document)| (key, &**document))).expect("a text");
        let mut again = of_text(&written).expect("documents");
        let mut first = read;
        first.sort();
        again.sort();
        assert_eq!(first, again);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |text: &str| of_text(text).expect_err("it is wrong");
        assert!(wrong("[[landlord]]\nname = \"x\"").contains("no kind `landlord`"));
        assert!(wrong("[tenant]\nname = \"x\"").contains("[[tenant]]"));
        assert!(wrong("[[tenant]]\ntopics = []").contains("has no `name`"));
        assert!(wrong("[[tenant]]\nname = \"a b\"").contains("a b"));
        assert!(wrong("[[tenant]\nname = 1").contains("line 1"));
    }

    #[test]
    fn a_folder_is_read_with_those_below_it_and_each_resource_once() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(read(folder.path()).expect_err("nothing is there").is::<Usage>());
        fs::create_dir(folder.path().join("deeper")).expect("a folder");
        fs::write(folder.path().join("a.toml"), "[[tenant]]\nname = \"a\"\n").expect("a file");
        fs::write(folder.path().join("deeper/b.toml"), "[[tenant]]\nname = \"b\"\n").expect("a file");
        fs::write(folder.path().join("notes.txt"), "no TOML [").expect("a file");
        let names = |found: Vec<(Key, Arc<str>)>| found.into_iter().map(|(key, _)| key.to_string()).collect::<Vec<_>>();
        assert_eq!(names(read(folder.path()).expect("documents")), ["tenant/a", "tenant/b"]);
        fs::write(folder.path().join("c.toml"), "[[tenant]]\nname = \"a\"\n").expect("a file");
        let twice = read(folder.path()).expect_err("it is there twice").to_string();
        assert!(twice.contains("tenant/a is written twice"), "{twice}");
    }
}
