//! Avro: schemas are parsed by the crate `apache-avro` and laid out as a table of
//! nodes, in which named types are found once and for all.
//!
//! Payloads are walked by that table ([`walk`]) without building a value of them,
//! so they take no memory (or, to be looked at, that of their text), and the library's limits, which are settings of the
//! whole process, are not needed. Logical types are not looked into: readers that
//! do not know one must take the type beneath it.

mod nodes;
mod plain;
mod resolve;
#[cfg(test)]
mod tests;
mod walk;

use apache_avro::Schema as Parsed;
use serde_json::Value;

use crate::error::{CompileError, Incompatibility, Violation};
use crate::format::{Compiled, Format, Payload, Source};
use crate::limits::SchemaLimits;
use crate::shown::Text;
use nodes::Nodes;
use plain::Plain;

/// A compiled Avro schema.
pub struct AvroSchema {
    /// Keys sorted, no white space; attributes and defaults kept.
    canonical: String,
    nodes: Nodes,
    weight: usize,
    limits: SchemaLimits,
}

impl Compiled for AvroSchema {
    const FORMAT: Format = Format::Avro;

    fn compile(source: &Source<'_>, limits: &SchemaLimits) -> Result<Self, CompileError> {
        let value = json(source.text, "", limits)?;
        let mut plain = Plain::default();
        let root = plain.schema(&value)?.0;
        let mut given = Vec::with_capacity(source.dependencies.len());
        for dependency in source.dependencies {
            given.push(plain.schema(&json(&dependency.text, &dependency.name, limits)?)?.0.to_string());
        }
        let invalid = |error: apache_avro::Error| CompileError::invalid("", error.to_string());
        let (root, given) = if given.is_empty() {
            (Parsed::parse(root).map_err(invalid)?, Vec::new())
        } else {
            Parsed::parse_str_with_list(&root.to_string(), &given).map_err(invalid)?
        };
        let nodes = Nodes::of(&root, &given, limits)?;
        let canonical = crate::json::canonical(&value);
        let weight = canonical.len() + nodes.weight();
        Ok(Self { canonical, nodes, weight, limits: limits.clone() })
    }

    fn canonical(&self) -> &str {
        &self.canonical
    }

    fn check(&self, payload: Payload<'_>) -> Result<(), Violation> {
        walk::walk(&self.nodes, payload.bytes, &self.limits)
    }

    fn show(&self, payload: Payload<'_>, most: usize) -> Result<Text, Violation> {
        walk::show(&self.nodes, payload.bytes, &self.limits, most)
    }

    fn can_read(&self, writer: &Self) -> Result<(), Vec<Incompatibility>> {
        resolve::can_read(&self.nodes, &writer.nodes, &self.limits)
    }

    fn weight(&self) -> usize {
        self.weight
    }
}

/// A text as JSON, with a bound on its depth and parts. A bare name of a
/// primitive type, without quotes, is a schema to Confluent's clients.
fn json(text: &str, at: &str, limits: &SchemaLimits) -> Result<Value, CompileError> {
    let value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return Err(CompileError::invalid(at, format!("it is no JSON: {error}"))),
    };
    let mut left = limits.nodes;
    measure(&value, limits.nesting, &mut left, limits)?;
    Ok(value)
}

fn measure(value: &Value, depth: usize, left: &mut usize, limits: &SchemaLimits) -> Result<(), CompileError> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(CompileError::TooLarge {
            what: "levels of nesting or more",
            size: limits.nesting + 1,
            limit: limits.nesting,
        });
    };
    *left = left.checked_sub(1).ok_or(CompileError::TooLarge {
        what: "JSON values or more",
        size: limits.nodes + 1,
        limit: limits.nodes,
    })?;
    match value {
        Value::Object(map) => map.values().try_for_each(|inner| measure(inner, depth, left, limits)),
        Value::Array(items) => items.iter().try_for_each(|inner| measure(inner, depth, left, limits)),
        _ => Ok(()),
    }
}
