//! Protobuf: schemas are source texts (`.proto`, proto2 and proto3), or a
//! `FileDescriptorProto` in base64, as clients of Confluent register them.
//!
//! Google's well-known types, `google/type` and the files of Confluent can be
//! imported; everything else that is imported must be among the references. Editions are refused. Payloads are checked on
//! the wire, without making a message of them ([`Protobuf::check`]); which
//! message of the file they are, say the indexes of [`MessageIndexes`].
//! [`Protobuf::can_read`] has the rules of compatibility.
//!
//! Bounds: the size and nesting of sources, definitions and full names when a
//! schema is compiled; size and nesting (at most [`NESTING`]) of payloads. What
//! is beyond is refused, and nothing else changes.

mod compatible;
mod indexes;
mod known;
mod model;
mod print;
mod required;
mod scan;
mod show;
mod source;
#[cfg(test)]
mod tests;
mod walk;
mod wire;

pub use indexes::{IndexesError, MessageIndexes};

use prost_reflect::prost::Message as _;

use crate::base64;
use crate::error::{CompileError, Incompatibility, Violation};
use crate::format::{Compiled, Format, Payload, Source};
use crate::limits::SchemaLimits;
use crate::shown::Text;
use model::Model;

/// How deep messages of a payload may be nested at most, whatever the limits
/// say: parsers of Protobuf refuse what is deeper.
pub const NESTING: usize = 100;

/// A compiled Protobuf schema.
pub struct Protobuf {
    model: Model,
    canonical: Box<str>,
    limits: SchemaLimits,
}

impl Protobuf {
    /// The full name of the message that `path` stands for (see
    /// [`Payload::message`]); `None` if the schema has no such message.
    pub fn message_name(&self, path: &[u32]) -> Option<&str> {
        let index = self.model.find(path)?;
        self.model.messages.get(index as usize).map(|message| &*message.name)
    }

    /// The schema as a `FileDescriptorProto` in base64: the form that
    /// `format=serialized` asks for at a registry, and that clients in Python read.
    ///
    /// # Errors
    /// Those of [`Compiled::compile`].
    pub fn serialized(source: &Source<'_>, limits: &SchemaLimits) -> Result<String, CompileError> {
        source.measured(limits)?;
        let file = source::compile(source, limits)?;
        let mut descriptor = file.file_descriptor_proto().clone();
        descriptor.source_code_info = None;
        Ok(base64::encode(&descriptor.encode_to_vec()))
    }
}

impl Compiled for Protobuf {
    const FORMAT: Format = Format::Protobuf;

    fn compile(source: &Source<'_>, limits: &SchemaLimits) -> Result<Self, CompileError> {
        let file = source::compile(source, limits)?;
        let model = Model::of(&file)?;
        let canonical = print::canonical(&file)?.into();
        Ok(Self { model, canonical, limits: limits.clone() })
    }

    fn canonical(&self) -> &str {
        &self.canonical
    }

    fn check(&self, payload: Payload<'_>) -> Result<(), Violation> {
        self.checked(payload).map(drop)
    }

    fn show(&self, payload: Payload<'_>, most: usize) -> Result<Text, Violation> {
        let (message, depth) = self.checked(payload)?;
        show::show(&self.model, message, payload.bytes, depth, most)
            .map_err(|malformed| Violation::new(format!("byte {}", malformed.at), malformed.rule, malformed.text))
    }

    fn can_read(&self, writer: &Self) -> Result<(), Vec<Incompatibility>> {
        compatible::compare(&self.model, &writer.model, &self.limits)
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.model.weight + self.canonical.len()
    }
}

impl Protobuf {
    /// Checks a payload: the index of its message, and how deep it may be nested.
    fn checked(&self, payload: Payload<'_>) -> Result<(u32, usize), Violation> {
        if payload.bytes.len() > self.limits.payload_bytes {
            let text = format!(
                "the payload has {} bytes, and at most {} are checked",
                payload.bytes.len(),
                self.limits.payload_bytes
            );
            return Err(Violation::new("", "size", text));
        }
        let Some(message) = self.model.find(payload.message) else {
            let text = format!("the schema has no message with the indexes {:?}", payload.message);
            return Err(Violation::new("", "message", text));
        };
        let depth = self.limits.payload_nesting.min(NESTING);
        walk::check(&self.model, message, payload.bytes, depth)?;
        Ok((message, depth))
    }
}
