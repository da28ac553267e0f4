//! What a format of schemas must be able to do, and the one type by which the
//! rest of the crate speaks to all of them.
//!
//! To add a format: a module with a type that is [`Compiled`], a variant of
//! [`Schema`] here, and its lines in [`Schema::compile`] and in the macro
//! `each`. Nothing here knows a subject, a topic or a request.
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::avro::AvroSchema;
use crate::error::{CompileError, Incompatibility, Violation};
use crate::flatbuffers::FlatBuffers;
use crate::json::JsonSchema;
use crate::limits::SchemaLimits;
use crate::protobuf::Protobuf;
use crate::shown::Text;

/// A language that schemas are written in. The names are those of the Confluent
/// Schema Registry (`schemaType`), and `FLATBUFFERS`, which it does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Format {
    /// JSON Schema, drafts 4 to 2020-12.
    #[serde(rename = "JSON")]
    JsonSchema,
    /// Apache Avro.
    #[serde(rename = "AVRO")]
    Avro,
    /// Protocol Buffers.
    #[serde(rename = "PROTOBUF")]
    Protobuf,
    /// FlatBuffers.
    #[serde(rename = "FLATBUFFERS")]
    FlatBuffers,
}

impl Format {
    /// All formats that this build can compile.
    pub const ALL: &[Self] = &[Self::JsonSchema, Self::Avro, Self::Protobuf, Self::FlatBuffers];

    /// The name, as in `schemaType`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::JsonSchema => "JSON",
            Self::Avro => "AVRO",
            Self::Protobuf => "PROTOBUF",
            Self::FlatBuffers => "FLATBUFFERS",
        }
    }

    /// The format of that name; `None` for any other text.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|format| format.name() == name)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A schema names another one: `name` is how its text calls it, `subject` and
/// `version` where the registry has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// The name in the text: a URI (JSON Schema), a full name (Avro), a path of
    /// an import (Protobuf) or of an include (FlatBuffers).
    pub name: String,
    /// The subject that has it.
    pub subject: String,
    /// The version there.
    pub version: u32,
}

/// A text that a schema needs, already found by its [`Reference`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The name by which texts call it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What a schema is compiled from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The text of the schema.
    pub text: &'a str,
    /// All that it needs, directly or not. Each comes after what it needs
    /// itself, so there is no cycle; no name is there twice. Whoever finds the
    /// texts sees to that (`registry` does).
    pub dependencies: &'a [Dependency],
}

impl<'a> Source<'a> {
    /// A text that needs no other.
    pub const fn alone(text: &'a str) -> Self {
        Self { text, dependencies: &[] }
    }

    /// Refuses what is larger than `limits` say, before anything is parsed.
    pub(crate) fn measured(&self, limits: &SchemaLimits) -> Result<(), CompileError> {
        let too_large = |what, size, limit| Err(CompileError::TooLarge { what, size, limit });
        if self.text.len() > limits.source_bytes {
            return too_large("bytes of the schema's text", self.text.len(), limits.source_bytes);
        }
        if self.dependencies.len() > limits.references {
            return too_large("referenced schemas", self.dependencies.len(), limits.references);
        }
        let referenced = self.dependencies.iter().fold(0_usize, |sum, one| sum.saturating_add(one.text.len()));
        if referenced > limits.referenced_bytes {
            return too_large("bytes of referenced schemas", referenced, limits.referenced_bytes);
        }
        Ok(())
    }
}

/// A payload that is to be checked.
#[derive(Debug, Clone, Copy)]
pub struct Payload<'a> {
    /// The bytes, without the prefix that serialisers of Confluent put before them.
    pub bytes: &'a [u8],
    /// Which message of a Protobuf schema it is: the indexes of the prefix, from
    /// the outermost message. Empty means the first one. Other formats do not look at it.
    pub message: &'a [u32],
}

impl<'a> Payload<'a> {
    /// A payload of the schema's first message.
    pub const fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, message: &[] }
    }
}

/// A compiled schema of one format. Nothing that is given to it panics, takes
/// unbounded time or memory, or more stack than [`crate::STACK_BYTES`].
pub trait Compiled: Sized + Send + Sync {
    /// The format.
    const FORMAT: Format;

    /// Compiles a text with all that it needs.
    ///
    /// # Errors
    /// [`CompileError`], if the text is too large, is no schema of this format,
    /// needs what is not there, or says what is not supported.
    fn compile(source: &Source<'_>, limits: &SchemaLimits) -> Result<Self, CompileError>;

    /// The schema in a form that is the same for all texts that differ only in
    /// what means nothing (white space, the order of keys of JSON objects). It
    /// compiles to an equal schema. Dependencies are not in it.
    fn canonical(&self) -> &str;

    /// Whether `payload` is of this schema.
    ///
    /// # Errors
    /// The first rule that it breaks, and where.
    fn check(&self, payload: Payload<'_>) -> Result<(), Violation>;

    /// A payload of this schema as JSON text, for people to look at, of about `most`
    /// bytes at most.
    ///
    /// # Errors
    /// The first rule that it breaks, or that the format is not shown so.
    fn show(&self, payload: Payload<'_>, most: usize) -> Result<Text, Violation> {
        self.check(payload)?;
        let none = || Violation::new("", "show", format!("payloads of {} are not shown as text", Self::FORMAT));
        let text = std::str::from_utf8(payload.bytes).ok().filter(|_| Self::FORMAT == Format::JsonSchema);
        Ok(Text::of(text.ok_or_else(none)?, most))
    }

    /// Whether a reader that has this schema can read everything that can be
    /// written by `writer`. What cannot be decided is an incompatibility that
    /// says so: the answer `Ok` has no exception.
    ///
    /// # Errors
    /// What stands against it, at most [`SchemaLimits::incompatibilities`] of it.
    fn can_read(&self, writer: &Self) -> Result<(), Vec<Incompatibility>>;

    /// About how many bytes of memory it takes, for caches.
    fn weight(&self) -> usize;
}

/// A compiled schema of any format.
pub enum Schema {
    /// JSON Schema.
    JsonSchema(Box<JsonSchema>),
    /// Avro.
    Avro(Box<AvroSchema>),
    /// Protobuf.
    Protobuf(Box<Protobuf>),
    /// FlatBuffers.
    FlatBuffers(Box<FlatBuffers>),
}

/// Calls the same method of whichever schema it is.
macro_rules! each {
    ($self:expr, $one:ident => $call:expr) => {
        match $self {
            Schema::JsonSchema($one) => $call,
            Schema::Avro($one) => $call,
            Schema::Protobuf($one) => $call,
            Schema::FlatBuffers($one) => $call,
        }
    };
}

/// The format of a schema, from inside `each`.
fn format_of<S: Compiled>(_: &S) -> Format {
    S::FORMAT
}

impl Schema {
    /// Compiles `source` as a schema of `format`; see [`Compiled::compile`].
    ///
    /// # Errors
    /// Those of [`Compiled::compile`].
    pub fn compile(format: Format, source: &Source<'_>, limits: &SchemaLimits) -> Result<Self, CompileError> {
        source.measured(limits)?;
        match format {
            Format::JsonSchema => Ok(Self::JsonSchema(Box::new(JsonSchema::compile(source, limits)?))),
            Format::Avro => Ok(Self::Avro(Box::new(AvroSchema::compile(source, limits)?))),
            Format::Protobuf => Ok(Self::Protobuf(Box::new(Protobuf::compile(source, limits)?))),
            Format::FlatBuffers => Ok(Self::FlatBuffers(Box::new(FlatBuffers::compile(source, limits)?))),
        }
    }

    /// Its format.
    pub fn format(&self) -> Format {
        each!(self, schema => format_of(schema.as_ref()))
    }

    /// See [`Compiled::canonical`].
    pub fn canonical(&self) -> &str {
        each!(self, schema => schema.canonical())
    }

    /// See [`Compiled::check`].
    ///
    /// # Errors
    /// The first rule that the payload breaks, and where.
    pub fn check(&self, payload: Payload<'_>) -> Result<(), Violation> {
        each!(self, schema => schema.check(payload))
    }

    /// See [`Compiled::show`].
    ///
    /// # Errors
    /// The first rule that the payload breaks.
    pub fn show(&self, payload: Payload<'_>, most: usize) -> Result<Text, Violation> {
        each!(self, schema => schema.show(payload, most))
    }

    /// See [`Compiled::can_read`]. Schemas of different formats read nothing of each other.
    ///
    /// # Errors
    /// What stands against it.
    pub fn can_read(&self, writer: &Self) -> Result<(), Vec<Incompatibility>> {
        match (self, writer) {
            (Self::JsonSchema(reader), Self::JsonSchema(writer)) => reader.can_read(writer),
            (Self::Avro(reader), Self::Avro(writer)) => reader.can_read(writer),
            (Self::Protobuf(reader), Self::Protobuf(writer)) => reader.can_read(writer),
            (Self::FlatBuffers(reader), Self::FlatBuffers(writer)) => reader.can_read(writer),
            (reader, writer) => Err(vec![Incompatibility::new(
                "",
                "FORMAT_CHANGED",
                format!("the reader's schema is {} and the writer's is {}", reader.format(), writer.format()),
            )]),
        }
    }

    /// See [`Compiled::weight`].
    pub fn weight(&self) -> usize {
        each!(self, schema => schema.weight())
    }

    /// What makes the schema this one: its format, canonical text and references.
    pub fn fingerprint(&self, references: &[Reference]) -> Fingerprint {
        Fingerprint::of(self.format(), self.canonical(), references)
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({}, {})", self.format(), self.canonical())
    }
}

/// SHA-256 of a schema's format, canonical text and references. Two schemas with
/// one fingerprint are one schema, and have one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of these parts, each with its length before it.
    pub fn of(format: Format, canonical: &str, references: &[Reference]) -> Self {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        let mut part = |text: &str| {
            context.update(&(text.len() as u64).to_le_bytes());
            context.update(text.as_bytes());
        };
        part(format.name());
        part(canonical);
        let mut sorted: Vec<&Reference> = references.iter().collect();
        sorted.sort();
        for reference in sorted {
            part(&reference.name);
            part(&reference.subject);
            part(&reference.version.to_string());
        }
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }

    /// As 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        use std::fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Of 64 hexadecimal digits; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}
