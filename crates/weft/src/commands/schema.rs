//! `weft schema check|validate|compatible`: schemas by themselves, without a hub
//! and by the same code as in one. What is asked of hubs is in `quarantine.rs`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use futures_lite::future::block_on;
use serde_json::{Value, json};
use weft_schema::flatbuffers::FlatBuffers;
use weft_schema::protobuf::MessageIndexes;
use weft_schema::{Dependency, Format, Payload, Schema, SchemaLimits, Source, prefix};

use super::quarantine;
use crate::Usage;
use crate::cli::{
    SchemaCheckArgs, SchemaCommand, SchemaCompatibleArgs, SchemaFormat, SchemaSourceArgs, SchemaValidateArgs,
};

/// Runs the command.
///
/// # Errors
/// A file cannot be read, is no schema, or the answer is no.
pub(crate) fn run(command: SchemaCommand) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match command {
        SchemaCommand::Check(args) => check(&args, &mut out),
        SchemaCommand::Validate(args) => validate(&args, &mut out),
        SchemaCommand::Compatible(args) => compatible(&args, &mut out),
        SchemaCommand::Quarantine(command) => block_on(quarantine::run(&command, &mut out)),
        SchemaCommand::Replay(args) => block_on(quarantine::replay(&args, &mut out)),
    }
}

/// What schemas are compiled with.
struct Compiler<'a> {
    args: &'a SchemaSourceArgs,
    dependencies: Vec<Dependency>,
    limits: SchemaLimits,
}

impl<'a> Compiler<'a> {
    fn new(args: &'a SchemaSourceArgs) -> anyhow::Result<Self> {
        let limits = SchemaLimits::default();
        let mut dependencies = Vec::new();
        for reference in &args.reference {
            let Some((name, file)) = reference.split_once('=').filter(|(name, _)| !name.is_empty()) else {
                bail!(Usage(format!("--reference {reference}: write NAME=FILE")));
            };
            let path = Path::new(file);
            let text = text_of(path, read(path, limits.source_bytes)?)?;
            dependencies.push(Dependency { name: name.to_owned(), text });
        }
        Ok(Self { args, dependencies, limits })
    }

    fn compile(&self, path: &Path) -> anyhow::Result<Schema> {
        let format = format_of(path, self.args.format)?;
        let bytes = read(path, self.limits.source_bytes)?;
        // As `flatc` writes it; the registry has the same in base64.
        if format == Format::FlatBuffers && !bytes.is_ascii() {
            let schema = FlatBuffers::from_binary(&bytes, &self.limits);
            return schema.map(|schema| Schema::FlatBuffers(Box::new(schema))).context(path.display().to_string());
        }
        let text = text_of(path, bytes)?;
        let source = Source { text: &text, dependencies: &self.dependencies };
        Schema::compile(format, &source, &self.limits).context(path.display().to_string())
    }
}

/// The format that is named, or else that of the file's ending.
fn format_of(path: &Path, named: Option<SchemaFormat>) -> anyhow::Result<Format> {
    Ok(match (named, path.extension().and_then(|ending| ending.to_str())) {
        (Some(SchemaFormat::Json), _) | (None, Some("json")) => Format::JsonSchema,
        (Some(SchemaFormat::Avro), _) | (None, Some("avsc")) => Format::Avro,
        (Some(SchemaFormat::Protobuf), _) | (None, Some("proto")) => Format::Protobuf,
        (Some(SchemaFormat::Flatbuffers), _) | (None, Some("bfbs")) => Format::FlatBuffers,
        (None, _) => bail!(Usage(format!(
            "{}: the format cannot be told from the file's ending (.json, .avsc, .proto or .bfbs): say --format",
            path.display()
        ))),
    })
}

fn text_of(path: &Path, bytes: Vec<u8>) -> anyhow::Result<String> {
    String::from_utf8(bytes).map_err(|_| Usage(format!("{} is no text", path.display())).into())
}

/// A file's bytes, `-` being stdin; more than `most` are refused.
fn read(path: &Path, most: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let room = most as u64 + 1;
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().take(room).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(room).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("{} cannot be read", path.display()))?;
    if bytes.len() > most {
        bail!(Usage(format!("{} is too large: at most {most} bytes are taken", path.display())));
    }
    Ok(bytes)
}

fn check(args: &SchemaCheckArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let compiler = Compiler::new(&args.source)?;
    let mut wrong = 0;
    for file in &args.files {
        let name = file.display().to_string();
        let schema = compiler.compile(file);
        wrong += usize::from(schema.is_err());
        let said = schema.as_ref().map(|schema| (schema.format(), schema.fingerprint(&[]).to_hex()));
        if args.source.json {
            let object = match said {
                Ok((format, fingerprint)) => json!({ "file": name, "format": format.name(), "sha256": fingerprint }),
                Err(error) => json!({ "file": name, "refused": format!("{error:#}") }),
            };
            writeln!(out, "{object}")?;
        } else {
            match said {
                Ok((format, fingerprint)) => writeln!(out, "{name}: {format}, sha256 {fingerprint}")?,
                Err(error) => writeln!(out, "refused: {error:#}")?,
            }
        }
    }
    out.flush()?;
    if wrong > 0 {
        bail!("{wrong} of {} files are no schemas that hubs take", args.files.len());
    }
    Ok(())
}

fn validate(args: &SchemaValidateArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let compiler = Compiler::new(&args.source)?;
    let schema = compiler.compile(&args.schema)?;
    let mut wrong = 0;
    for payload in &args.payloads {
        let name = payload.display().to_string();
        let bytes = read(payload, compiler.limits.payload_bytes)?;
        let outcome = of_schema(&schema, &bytes, args.confluent);
        wrong += usize::from(outcome.is_err());
        if args.source.json {
            let object = match outcome {
                Ok(()) => json!({ "payload": name, "valid": true }),
                Err(broken) => json!({ "payload": name, "valid": false, "broken": broken }),
            };
            writeln!(out, "{object}")?;
        } else {
            match outcome {
                Ok(()) => writeln!(out, "{name}: valid")?,
                Err(broken) => writeln!(out, "{name}: {broken}")?,
            }
        }
    }
    out.flush()?;
    if wrong > 0 {
        bail!("{wrong} of {} payloads are not of the schema", args.payloads.len());
    }
    Ok(())
}

/// Whether a payload is of a schema, and if not, why.
fn of_schema(schema: &Schema, bytes: &[u8], confluent: bool) -> Result<(), String> {
    if !confluent {
        return schema.check(Payload::of(bytes)).map_err(|violation| violation.to_string());
    }
    let (_, bytes) = prefix::split(bytes).map_err(|error| error.to_string())?;
    let (indexes, bytes) = match schema.format() {
        Format::Protobuf => MessageIndexes::read(bytes).map_err(|error| error.to_string())?,
        _ => (MessageIndexes::FIRST, bytes),
    };
    let payload = Payload { bytes, message: indexes.as_slice() };
    schema.check(payload).map_err(|violation| violation.to_string())
}

fn compatible(args: &SchemaCompatibleArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let compiler = Compiler::new(&args.source)?;
    let new = compiler.compile(&args.new)?;
    let first = if args.level.transitive() { 0 } else { args.old.len().saturating_sub(1) };
    let name = args.new.display().to_string();
    let mut against = 0;
    for path in args.old.iter().skip(first) {
        let old = compiler.compile(path)?;
        let before = path.display().to_string();
        let directions =
            [(args.level.backward(), &new, &name, &old, &before), (args.level.forward(), &old, &before, &new, &name)];
        for (_, reader, reads, writer, writes) in directions.into_iter().filter(|direction| direction.0) {
            let Err(found) = reader.can_read(writer) else { continue };
            against += found.len();
            for one in found {
                if args.source.json {
                    let object: Value =
                        json!({ "reader": reads, "writer": writes, "at": one.at, "rule": one.rule, "text": one.text });
                    writeln!(out, "{object}")?;
                } else {
                    writeln!(out, "{reads} cannot read {writes}: {one}")?;
                }
            }
        }
    }
    if against == 0 && !args.source.json {
        writeln!(out, "{name} may follow")?;
    }
    out.flush()?;
    if against > 0 {
        bail!("{name} may not follow: {against} reasons");
    }
    Ok(())
}
