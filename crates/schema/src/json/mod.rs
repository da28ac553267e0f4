//! JSON Schema: drafts 4, 6, 7, 2019-09 and 2020-12, chosen by `$schema`;
//! without it 2020-12.
//!
//! Nothing is fetched: a `$ref` leads into the schema itself, to a meta-schema,
//! or to one of the schemas given with it, by its name. All schemas that belong
//! together are of one draft. Patterns are of the kind that take linear time, so
//! one that looks around or back is refused. `format` is checked.
//!
//! [`check`] validates by the crate `jsonschema`, as far as [`cost`] lets it;
//! [`compat`] compares schemas by rules of its own over [`nodes`].

mod apart;
mod arrays;
mod check;
mod compat;
mod cost;
mod keywords;
mod nodes;
mod objects;
mod rules;
mod same;
mod text;
mod types;
mod values;

#[cfg(test)]
mod compat_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;

use jsonschema::Validator;
use serde_json::Value;

use crate::error::{CompileError, Incompatibility, Violation};
use crate::format::{Compiled, Format, Payload, Source};
use crate::limits::SchemaLimits;
use cost::Cost;
use nodes::Nodes;
pub(crate) use text::canonical;

/// A compiled JSON Schema.
pub struct JsonSchema {
    /// Sorted and without white space.
    canonical: String,
    /// The canonical texts of what it needs, by name.
    dependencies: Vec<(String, String)>,
    draft: jsonschema::Draft,
    nodes: Nodes,
    cost: Cost,
    validator: Validator,
    weight: usize,
    limits: SchemaLimits,
}

impl Compiled for JsonSchema {
    const FORMAT: Format = Format::JsonSchema;

    fn compile(source: &Source<'_>, limits: &SchemaLimits) -> Result<Self, CompileError> {
        let parsed = text::parse(source, limits)?;
        let nodes = Nodes::of(&parsed, limits)?;
        let cost = Cost::of(&nodes, limits)?;
        let validator = check::build(&parsed)?;
        let canonical = text::canonical(&parsed.root);
        let dependencies: Vec<(String, String)> =
            parsed.dependencies.iter().map(|(name, value)| (name.clone(), text::canonical(value))).collect();
        let patterns = parsed.patterns.saturating_mul(check::PATTERN_WEIGHT);
        let weight = parsed.nodes.saturating_mul(1_024).saturating_add(canonical.len()).saturating_add(patterns);
        Ok(Self {
            canonical,
            dependencies,
            draft: parsed.draft,
            nodes,
            cost,
            validator,
            weight,
            limits: limits.clone(),
        })
    }

    fn canonical(&self) -> &str {
        &self.canonical
    }

    fn check(&self, payload: Payload<'_>) -> Result<(), Violation> {
        let value = check::read(payload.bytes, &self.limits)?;
        let (values, depth) = check::extent(&value);
        self.cost.allows(values, depth)?;
        check::validate(&self.validator, &value)
    }

    fn can_read(&self, writer: &Self) -> Result<(), Vec<Incompatibility>> {
        if self.canonical == writer.canonical && self.dependencies == writer.dependencies {
            return Ok(());
        }
        compat::can_read(self, writer, &self.limits)
    }

    fn weight(&self) -> usize {
        self.weight
    }
}

/// The texts of a schema, parsed and measured.
struct Parsed {
    root: Value,
    /// By the name in references, in the given order.
    dependencies: Vec<(String, Value)>,
    draft: jsonschema::Draft,
    /// JSON values in all texts.
    nodes: usize,
    /// Regular expressions in all texts.
    patterns: usize,
}
