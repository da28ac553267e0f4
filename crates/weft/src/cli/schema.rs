//! The arguments of `weft schema`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use weft_govern::document::Level;

use super::ServerArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum SchemaCommand {
    /// Whether files are schemas that hubs take, without a hub.
    Check(SchemaCheckArgs),
    /// Whether payloads are of a schema, as the hub of entry would check them.
    Validate(SchemaValidateArgs),
    /// Whether a new version of a schema may follow the ones before it.
    Compatible(SchemaCompatibleArgs),
    /// What lies in quarantine at a hub.
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Publish what lies in quarantine at a hub again, to the topics that it was
    /// published to: each event once, however often this is called. What still
    /// does not fit stays there.
    Replay(ReplayArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// List what lies there, and why.
    List(QuarantineListArgs),
    /// Show one event of it, whole.
    Show(QuarantineShowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct QuarantineListArgs {
    /// The stream that it lies in; otherwise all that the hub has for this.
    pub(crate) stream: Option<String>,
    /// At most so many of each, the oldest first.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) most: u32,
    /// As JSON: one object for each event.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct QuarantineShowArgs {
    /// The stream that it lies in.
    pub(crate) stream: String,
    /// Its sequence there, as the list has it.
    pub(crate) sequence: u64,
    /// Write its payload to stdout, and nothing else.
    #[arg(long)]
    pub(crate) payload: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The stream that it lies in; otherwise all that the hub has for this.
    pub(crate) stream: Option<String>,
    /// Only events of these topics.
    #[arg(long, default_value = "**", value_parser = super::names::filter)]
    pub(crate) filter: String,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
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

/// Levels as arguments have them: `backward-transitive`.
fn level(text: &str) -> Result<Level, String> {
    let kebab = |level: Level| level.name().to_ascii_lowercase().replace('_', "-");
    let mut all = Level::ALL.into_iter().filter(|level| *level != Level::None);
    all.clone().find(|level| kebab(*level) == text).ok_or_else(|| {
        let first = all.next().map(kebab).unwrap_or_default();
        format!("it is one of {}", all.fold(first, |list, level| format!("{list}, {}", kebab(level))))
    })
}

#[derive(Debug, Args)]
pub(crate) struct SchemaCompatibleArgs {
    #[command(flatten)]
    pub(crate) source: SchemaSourceArgs,
    /// What is asked for.
    ///
    /// `backward`: the new one reads what the last one wrote; `forward`: the last
    /// one reads what the new one writes; `full`: both. With `-transitive` at its
    /// end: all before it instead of the last one.
    #[arg(long, value_parser = level, value_name = "LEVEL", default_value = "backward")]
    pub(crate) level: Level,
    /// The new version.
    #[arg(long, value_name = "FILE")]
    pub(crate) new: PathBuf,
    /// The versions before it, the oldest first.
    #[arg(required = true, value_name = "OLD")]
    pub(crate) old: Vec<PathBuf>,
}
