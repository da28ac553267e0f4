//! Texts of schemas: parsed with a bound on everything that costs, and written
//! in one canonical way.
use jsonschema::Draft;
use serde_json::{Map, Value};

use super::Parsed;
use crate::error::CompileError;
use crate::format::Source;
use crate::limits::SchemaLimits;

/// Parses and measures `source`; compiles nothing.
pub(super) fn parse(source: &Source<'_>, limits: &SchemaLimits) -> Result<Parsed, CompileError> {
    let mut measure = Measure { limits, nodes: 0, patterns: 0 };
    let root = measure.text("", source.text)?;
    let draft = draft_of(&root)?.unwrap_or_default();
    let mut dependencies = Vec::with_capacity(source.dependencies.len());
    for dependency in source.dependencies {
        let value = measure.text(&dependency.name, &dependency.text)?;
        if draft_of(&value)?.is_some_and(|other| other != draft) {
            return Err(CompileError::refused(
                dependency.name.as_str(),
                "it is of another draft than the schema that refers to it: give both the same `$schema`",
            ));
        }
        dependencies.push((dependency.name.clone(), value));
    }
    let (nodes, patterns) = (measure.nodes, measure.patterns);
    let parsed = Parsed { root, dependencies, draft, nodes, patterns };
    for (name, value) in
        std::iter::once(("", &parsed.root)).chain(parsed.dependencies.iter().map(|(n, v)| (n.as_str(), v)))
    {
        one_draft(name, value, draft)?;
    }
    Ok(parsed)
}

/// The draft that `$schema` of a text names; `None` without it.
fn draft_of(value: &Value) -> Result<Option<Draft>, CompileError> {
    let Some(named) = value.get("$schema") else { return Ok(None) };
    let known = named.as_str().and_then(|uri| {
        let bare = uri.trim_end_matches('#');
        let bare = bare.strip_prefix("https://").or_else(|| bare.strip_prefix("http://"))?;
        Some(match bare {
            "json-schema.org/draft-04/schema" => Draft::Draft4,
            "json-schema.org/draft-06/schema" => Draft::Draft6,
            "json-schema.org/draft-07/schema" => Draft::Draft7,
            "json-schema.org/draft/2019-09/schema" => Draft::Draft201909,
            "json-schema.org/draft/2020-12/schema" => Draft::Draft202012,
            _ => return None,
        })
    });
    match known {
        Some(draft) => Ok(Some(draft)),
        None => Err(CompileError::refused(
            "/$schema",
            format!("{named} is no draft that is known here: use draft-04, draft-06, draft-07, 2019-09 or 2020-12"),
        )),
    }
}

/// Refuses another `$schema` further down: rules of two drafts are never mixed.
fn one_draft(name: &str, value: &Value, draft: Draft) -> Result<(), CompileError> {
    match value {
        Value::Object(map) => {
            // Where it is a property's name its value is a schema, not a text.
            if map.get("$schema").is_some_and(Value::is_string) && draft_of(value)? != Some(draft) {
                return Err(CompileError::refused(
                    name,
                    "a part of it names another draft in `$schema`: use one draft throughout",
                ));
            }
            map.values().try_for_each(|inner| one_draft(name, inner, draft))
        }
        Value::Array(items) => items.iter().try_for_each(|inner| one_draft(name, inner, draft)),
        _ => Ok(()),
    }
}

/// What all texts of one schema have taken so far.
struct Measure<'a> {
    limits: &'a SchemaLimits,
    nodes: usize,
    patterns: usize,
}

impl Measure<'_> {
    fn text(&mut self, name: &str, text: &str) -> Result<Value, CompileError> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| CompileError::invalid(name, format!("it is no JSON: {error}")))?;
        if !(value.is_object() || value.is_boolean()) {
            return Err(CompileError::invalid(name, "a JSON schema is an object, or true or false"));
        }
        self.value(&value, 1)?;
        Ok(value)
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), CompileError> {
        let too_large = |what, size, limit| Err(CompileError::TooLarge { what, size, limit });
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            return too_large("JSON values or more", self.nodes, self.limits.nodes);
        }
        if depth > self.limits.nesting {
            return too_large("levels of nesting or more", depth, self.limits.nesting);
        }
        match value {
            Value::Object(map) => {
                self.patterns += usize::from(map.get("pattern").is_some_and(Value::is_string));
                self.patterns += map.get("patternProperties").and_then(Value::as_object).map_or(0, Map::len);
                if self.patterns > self.limits.patterns {
                    return too_large("regular expressions or more", self.patterns, self.limits.patterns);
                }
                map.values().try_for_each(|inner| self.value(inner, depth + 1))
            }
            Value::Array(items) => items.iter().try_for_each(|inner| self.value(inner, depth + 1)),
            _ => Ok(()),
        }
    }
}

/// `value` with sorted keys and without white space.
pub(crate) fn canonical(value: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut entries: Vec<(&String, &Value)> = map.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                Value::Object(entries.into_iter().map(|(key, inner)| (key.clone(), sorted(inner))).collect())
            }
            Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
            other => other.clone(),
        }
    }
    sorted(value).to_string()
}
