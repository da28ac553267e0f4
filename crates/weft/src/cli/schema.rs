//! The arguments of `weft schema`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum SchemaCommand {
    /// Whether files are schemas that hubs take, without a hub.
    Check(SchemaCheckArgs),
    /// Whether payloads are of a schema, as the hub of entry would check them.
    Validate(SchemaValidateArgs),
    /// Whether a new version of a schema may follow the ones before it.
    Compatible(SchemaCompatibleArgs),
}

/// A language of schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaFormat {
    /// JSON Schema; files that end in `.json`.
    Json,
    /// Apache Avro; `.avsc`.
    Avro,
    /// Protocol Buffers; `.proto`.
    Protobuf,
    /// FlatBuffers, as `flatc --binary --schema` writes it; `.bfbs`.
    Flatbuffers,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaSourceArgs {
    /// The format. Left out: by the file's ending.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<SchemaFormat>,
    /// A schema that the others refer to, by the name that they call it. Given
    /// again: each after those that it needs itself.
    #[arg(long, value_name = "NAME=FILE")]
    pub(crate) reference: Vec<String>,
    /// As JSON: one object for each answer.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaCheckArgs {
    #[command(flatten)]
    pub(crate) source: SchemaSourceArgs,
    /// The schemas.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaValidateArgs {
    #[command(flatten)]
    pub(crate) source: SchemaSourceArgs,
    /// The schema.
    #[arg(long, value_name = "FILE")]
    pub(crate) schema: PathBuf,
    /// The payloads, one in each file; `-` is stdin.
    #[arg(required = true, value_name = "PAYLOAD")]
    pub(crate) payloads: Vec<PathBuf>,
    /// Each begins with the prefix that Confluent's serialisers write: a zero,
    /// the schema's number, and for Protobuf which message it is.
    #[arg(long)]
    pub(crate) confluent: bool,
}

/// Who must be able to read what whom writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaLevel {
    /// The new one reads what the last one wrote.
    Backward,
    /// The new one reads what all before it wrote.
    BackwardTransitive,
    /// The last one reads what the new one writes.
    Forward,
    /// All before it read what the new one writes.
    ForwardTransitive,
    /// Both ways with the last one.
    Full,
    /// Both ways with all before it.
    FullTransitive,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaCompatibleArgs {
    #[command(flatten)]
    pub(crate) source: SchemaSourceArgs,
    /// What is asked for.
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "backward")]
    pub(crate) level: SchemaLevel,
    /// The new version.
    #[arg(long, value_name = "FILE")]
    pub(crate) new: PathBuf,
    /// The versions before it, the oldest first.
    #[arg(required = true, value_name = "OLD")]
    pub(crate) old: Vec<PathBuf>,
}
