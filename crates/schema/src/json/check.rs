//! Building the validator, and running it.
use std::collections::BTreeMap;

use jsonschema::{PatternOptions, Retrieve, Uri, Validator};
use serde_json::Value;

use super::Parsed;
use crate::error::{CompileError, Violation};
use crate::limits::SchemaLimits;

/// What relative references of a schema without `$id` are relative to.
pub(super) const BASE: &str = "weft:///";

/// The bytes that one compiled regular expression may take.
const PATTERN_BYTES: usize = 256 << 10;
/// What one counts for in the weight of a schema: more than the usual one takes,
/// and an eighth of the largest.
pub(super) const PATTERN_WEIGHT: usize = 32 << 10;

/// Finds schemas by the names in references, and nothing else.
pub(super) struct Given(BTreeMap<String, Value>);

impl Given {
    pub(super) fn of(parsed: &Parsed) -> Self {
        Self(parsed.dependencies.iter().cloned().collect())
    }
}

impl Retrieve for Given {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        let uri = uri.as_str();
        match self.0.keys().find(|name| named_by(uri, name)) {
            Some(name) => Ok(self.0.get(name).cloned().unwrap_or(Value::Bool(false))),
            None => Err(uri.strip_prefix(BASE).unwrap_or(uri).to_owned().into()),
        }
    }
}

/// Whether the absolute `uri` means the reference called `name`: it is the name,
/// or the name was relative to where it was written.
pub(super) fn named_by(uri: &str, name: &str) -> bool {
    let uri = uri.trim_end_matches('#');
    let name = name.trim_end_matches('#');
    uri == name || uri.strip_suffix(name.trim_start_matches("./")).is_some_and(|before| before.ends_with('/'))
}

/// The validator of a schema.
pub(super) fn build(parsed: &Parsed) -> Result<Validator, CompileError> {
    jsonschema::options()
        .with_draft(parsed.draft)
        .with_base_uri(BASE)
        .with_retriever(Given::of(parsed))
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES))
        .should_validate_formats(true)
        .build(&parsed.root)
        .map_err(|error| CompileError::invalid(error.instance_path().to_string(), error.to_string()))
}

/// `bytes` as a value, within the limits.
pub(super) fn read(bytes: &[u8], limits: &SchemaLimits) -> Result<Value, Violation> {
    if bytes.len() > limits.payload_bytes {
        let text = format!("the payload has {} bytes, and at most {} are checked", bytes.len(), limits.payload_bytes);
        return Err(Violation::new("", "size", text));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        Violation::new(
            format!("line {} column {}", error.line(), error.column()),
            "json",
            format!("the payload is no JSON: {error}"),
        )
    })
}

/// Whether `value` is valid, and if not, the first rule that it breaks.
pub(super) fn validate(validator: &Validator, value: &Value) -> Result<(), Violation> {
    if validator.is_valid(value) {
        return Ok(());
    }
    match validator.validate(value) {
        Ok(()) => Ok(()),
        // Without the value, which may be large and somebody's secret.
        Err(error) => {
            Err(Violation::new(error.instance_path().to_string(), error.kind().keyword(), error.masked().to_string()))
        }
    }
}

/// How many values there are in `value`, and how deep they are nested: 0 for a
/// value without others in it.
pub(super) fn extent(value: &Value) -> (u64, usize) {
    let within = |(values, depth): (u64, usize), inner: &Value| {
        let (more, below) = extent(inner);
        (values + more, depth.max(below + 1))
    };
    match value {
        Value::Array(items) => items.iter().fold((1, 0), within),
        Value::Object(map) => map.values().fold((1, 0), within),
        _ => (1, 0),
    }
}
