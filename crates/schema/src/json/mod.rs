//! JSON Schema: drafts 4, 6, 7, 2019-09 and 2020-12, chosen by `$schema`;
//! without it 2020-12.
//!
//! Nothing is fetched: a `$ref` leads into the schema itself, to a meta-schema,
//! or to one of the schemas given with it, by its name. All schemas that belong
//! together are of one draft. Patterns are of the kind that take linear time, so
//! one that looks around or back is refused. `format` is checked.
//!
//! [`check`] validates by the crate `jsonschema`.

mod check;
mod text;

#[cfg(test)]
mod tests;

use jsonschema::Validator;
use serde_json::Value;

use crate::error::{CompileError, Incompatibility, Violation};
use crate::format::{Compiled, Format, Payload, Source};
use crate::limits::SchemaLimits;

/// A compiled JSON Schema.
pub struct JsonSchema {
    /// Sorted and without white space.
    canonical: String,
    /// The canonical texts of what it needs, by name.
    dependencies: Vec<(String, String)>,
    validator: Validator,
    weight: usize,
    limits: SchemaLimits,
}

impl Compiled for JsonSchema {
    const FORMAT: Format = Format::JsonSchema;

    fn compile(source: &Source<'_>, limits: &SchemaLimits) -> Result<Self, CompileError> {
        let parsed = text::parse(source, limits)?;
        let validator = check::build(&parsed, limits)?;
        let canonical = text::canonical(&parsed.root);
        let dependencies: Vec<(String, String)> =
            parsed.dependencies.iter().map(|(name, value)| (name.clone(), text::canonical(value))).collect();
        Ok(Self {
            canonical,
            dependencies,
            validator,
            weight: parsed.nodes.saturating_mul(512),
            limits: limits.clone(),
        })
    }

    fn canonical(&self) -> &str {
        &self.canonical
    }

    fn check(&self, payload: Payload<'_>) -> Result<(), Violation> {
        let value = check::read(payload.bytes, &self.limits)?;
        check::validate(&self.validator, &value)
    }

    fn can_read(&self, writer: &Self) -> Result<(), Vec<Incompatibility>> {
        if self.canonical == writer.canonical && self.dependencies == writer.dependencies {
            return Ok(());
        }
        Err(vec![Incompatibility::new("", "UNDECIDED", "the schemas differ")])
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
}
