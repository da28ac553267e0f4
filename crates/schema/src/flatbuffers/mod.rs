//! FlatBuffers: schemas are registered as binary schemas (`.bfbs`, made by
//! `flatc --binary --schema FILE.fbs`) in base64, since only `flatc` reads
//! sources. They hold all that their sources include, so they need no references.
//!
//! The root table of the schema is what payloads are. They are checked where
//! they lie ([`FlatBuffers::check`]), by a verifier of our own: the official one
//! for schemas that are known at run time panics on hostile buffers.
//! [`FlatBuffers::can_read`] has the rules of compatibility.
//!
//! Bounds: size, types, fields and names of a schema; depth, tables and bytes
//! visited of payloads. What is beyond is refused.

mod binary;
mod bytes;
mod compatible;
mod model;
#[cfg(test)]
mod tests;
mod verify;

use crate::base64;
use crate::error::{CompileError, Incompatibility, Violation};
use crate::format::{Compiled, Format, Payload, Source};
use crate::limits::SchemaLimits;
use model::Model;

/// A compiled FlatBuffers schema.
pub struct FlatBuffers {
    model: Model,
    canonical: Box<str>,
    limits: SchemaLimits,
}

impl FlatBuffers {
    /// The full name of the root table.
    pub fn root_name(&self) -> &str {
        self.model.object(self.model.root).map_or("", |root| &root.name)
    }

    /// Reads a binary schema that is not in base64.
    ///
    /// # Errors
    /// Those of [`Compiled::compile`].
    pub fn from_binary(bytes: &[u8], limits: &SchemaLimits) -> Result<Self, CompileError> {
        if bytes.len() > limits.source_bytes {
            let (what, size) = ("bytes of the binary schema", bytes.len());
            return Err(CompileError::TooLarge { what, size, limit: limits.source_bytes });
        }
        let model = binary::parse(bytes, limits)?;
        let canonical = base64::encode(&binary::write(&model)).into();
        Ok(Self { model, canonical, limits: limits.clone() })
    }
}

impl Compiled for FlatBuffers {
    const FORMAT: Format = Format::FlatBuffers;

    fn compile(source: &Source<'_>, limits: &SchemaLimits) -> Result<Self, CompileError> {
        if !source.dependencies.is_empty() {
            let reason = "a binary schema holds all that it includes: register it without references";
            return Err(CompileError::refused("", reason));
        }
        let Some(bytes) = base64::decode(source.text) else {
            let reason = "it is no base64: give the output of `flatc --binary --schema FILE.fbs` in base64";
            return Err(CompileError::invalid("", reason));
        };
        Self::from_binary(&bytes, limits)
    }

    fn canonical(&self) -> &str {
        &self.canonical
    }

    fn check(&self, payload: Payload<'_>) -> Result<(), Violation> {
        if payload.bytes.len() > self.limits.payload_bytes {
            let (size, limit) = (payload.bytes.len(), self.limits.payload_bytes);
            let text = format!("the payload has {size} bytes, and at most {limit} are checked");
            return Err(Violation::new("", "size", text));
        }
        verify::check(&self.model, payload.bytes, &self.limits)
    }

    fn can_read(&self, writer: &Self) -> Result<(), Vec<Incompatibility>> {
        compatible::compare(&self.model, &writer.model, &self.limits)
    }

    fn weight(&self) -> usize {
        let fields = self.model.objects.iter().flat_map(|object| &object.fields);
        let values = self.model.enums.iter().flat_map(|one| &one.values);
        let names = fields.clone().map(|field| field.name.len()).sum::<usize>()
            + values.clone().map(|value| value.name.len()).sum::<usize>();
        size_of::<Self>()
            + self.canonical.len()
            + names
            + fields.count() * size_of::<model::Field>()
            + values.count() * size_of::<model::Value>()
            + self.model.objects.len() * (size_of::<model::Object>() + 64)
            + self.model.enums.len() * (size_of::<model::Enum>() + 64)
    }
}
