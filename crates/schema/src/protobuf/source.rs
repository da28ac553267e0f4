//! From texts to descriptors: reads a schema and all that it imports, through
//! protox, with no file system. The only files that there are, are the given
//! ones, Google's well-known types, and those of `known.rs`.
//!
//! Everything is measured before the library works on it: depth by `scan.rs`,
//! and here the number of definitions and the bytes of their full names, since
//! the library keeps each full name and a short text can have long ones.
//! Whoever gives a `FileDescriptorProto` in base64 (as clients in Python do) has
//! it printed as text first and goes the same way, so the library never sees
//! descriptors that its own parser has not made.

use std::collections::BTreeMap;

use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto};
use prost_reflect::{DescriptorPool, FileDescriptor};
use protox::file::{File, FileResolver, GoogleFileResolver};

use super::{known, print, scan};
use crate::base64;
use crate::error::CompileError;
use crate::format::Source;
use crate::limits::SchemaLimits;

/// Bytes of one full name.
const FULL_NAME_BYTES: usize = 512;
/// Bytes of all full names of a schema and what it imports.
const ALL_NAMES_BYTES: usize = 4 << 20;
/// Bytes of a file's name.
const FILE_NAME_BYTES: usize = 512;
/// The name of the schema's own file. It cannot be imported.
const OWN_FILE: &str = "schema.proto";

/// Compiles a schema's file.
///
/// # Errors
/// See [`crate::Compiled::compile`].
pub(super) fn compile(source: &Source<'_>, limits: &SchemaLimits) -> Result<FileDescriptor, CompileError> {
    // The last belt: the library has its own refusals, and should one of its
    // assertions fail the schema is refused and nothing else has changed.
    let compiled = std::panic::catch_unwind(|| compile_all(source, limits));
    compiled.unwrap_or_else(|_| Err(CompileError::refused("", "the compiler of Protobuf failed on it; report it")))
}

fn compile_all(source: &Source<'_>, limits: &SchemaLimits) -> Result<FileDescriptor, CompileError> {
    let mut measure = Measure { limits, nodes: 0, names: 0 };
    let mut files = BTreeMap::new();
    for dependency in source.dependencies {
        let name = dependency.name.as_str();
        // Some clients register the known files as well. They are what they are.
        if is_known(name) {
            continue;
        }
        files.insert(name.to_owned(), measure.file(name, &dependency.text)?);
    }
    let mut own = OWN_FILE.to_owned();
    while files.contains_key(&own) {
        own.insert(0, '_');
    }
    files.insert(own.clone(), measure.file(&own, source.text)?);
    for file in files.values() {
        let import = |name: &&String| !files.contains_key(*name) && !is_known(name);
        if let Some(name) = file.file_descriptor_proto().dependency.iter().find(import) {
            return Err(CompileError::Missing { name: crate::error::shortened(name.as_str()) });
        }
    }
    let mut compiler = protox::Compiler::with_file_resolver(Given { files });
    compiler.open_file(&own).map_err(|error| invalid(&error))?;
    let pool: DescriptorPool = compiler.descriptor_pool();
    pool.get_file_by_name(&own).ok_or_else(|| CompileError::invalid("", "the compiler gave no file"))
}

/// The library's text: names and lines, without the source.
fn invalid(error: &protox::Error) -> CompileError {
    let at = error.file().unwrap_or_default();
    CompileError::invalid(if at.ends_with(OWN_FILE) { "" } else { at }, error.to_string())
}

/// Files that come with the library.
const WELL_KNOWN: [&str; 12] = [
    "google/protobuf/any.proto",
    "google/protobuf/api.proto",
    "google/protobuf/compiler/plugin.proto",
    "google/protobuf/descriptor.proto",
    "google/protobuf/duration.proto",
    "google/protobuf/empty.proto",
    "google/protobuf/field_mask.proto",
    "google/protobuf/source_context.proto",
    "google/protobuf/struct.proto",
    "google/protobuf/timestamp.proto",
    "google/protobuf/type.proto",
    "google/protobuf/wrappers.proto",
];

/// Whether a file needs no reference.
fn is_known(name: &str) -> bool {
    WELL_KNOWN.contains(&name) || known::text(name).is_some()
}

/// The files that there are.
struct Given {
    files: BTreeMap<String, File>,
}

impl FileResolver for Given {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.files.get(name) {
            Some(file) => Ok(file.clone()),
            None => match known::text(name) {
                Some(text) => File::from_source(name, text),
                None => GoogleFileResolver::new().open_file(name),
            },
        }
    }
}

/// The text of a descriptor in base64, if `text` is that.
fn decoded(text: &str) -> Option<Result<String, CompileError>> {
    let bytes = base64::decode(text).filter(|bytes| !bytes.is_empty())?;
    Some(match FileDescriptorProto::decode(bytes.as_slice()) {
        Ok(file) => print::raw(&file),
        Err(error) => {
            Err(CompileError::invalid("", format!("it is base64, but not of a FileDescriptorProto: {error}")))
        }
    })
}

struct Measure<'a> {
    limits: &'a SchemaLimits,
    nodes: usize,
    names: usize,
}

impl Measure<'_> {
    fn file(&mut self, name: &str, text: &str) -> Result<File, CompileError> {
        if name.len() > FILE_NAME_BYTES {
            let size = name.len();
            return Err(CompileError::TooLarge { what: "bytes in the name of a file", size, limit: FILE_NAME_BYTES });
        }
        let printed;
        let text = match decoded(text) {
            None => text,
            Some(other) => {
                printed = other?;
                printed.as_str()
            }
        };
        scan::scan(text, self.limits)?;
        let file = File::from_source(name, text).map_err(|error| invalid(&error))?;
        self.definitions(file.file_descriptor_proto())?;
        Ok(file)
    }

    fn definitions(&mut self, file: &FileDescriptorProto) -> Result<(), CompileError> {
        let package = file.package();
        self.names(package, 0, 1 + file.dependency.len() + file.public_dependency.len())?;
        self.enums(package, &file.enum_type)?;
        self.fields(package, &file.extension)?;
        for service in &file.service {
            let name = join(package, service.name());
            self.names(&name, service.method.len(), 1 + service.method.len())?;
        }
        file.message_type.iter().try_for_each(|message| self.message(package, message))
    }

    fn message(&mut self, scope: &str, message: &DescriptorProto) -> Result<(), CompileError> {
        let name = join(scope, message.name());
        let lists = message.reserved_range.len() + message.reserved_name.len() + message.extension_range.len();
        self.names(&name, message.oneof_decl.len(), 1 + lists + message.oneof_decl.len())?;
        self.fields(&name, &message.field)?;
        self.fields(&name, &message.extension)?;
        self.enums(&name, &message.enum_type)?;
        message.nested_type.iter().try_for_each(|nested| self.message(&name, nested))
    }

    fn fields(&mut self, scope: &str, fields: &[FieldDescriptorProto]) -> Result<(), CompileError> {
        let options =
            |field: &FieldDescriptorProto| field.options.as_ref().map_or(0, |all| all.uninterpreted_option.len());
        self.names(scope, fields.len(), fields.len() + fields.iter().map(options).sum::<usize>())
    }

    fn enums(&mut self, scope: &str, enums: &[EnumDescriptorProto]) -> Result<(), CompileError> {
        for one in enums {
            let name = join(scope, one.name());
            let lists = one.reserved_range.len() + one.reserved_name.len();
            self.names(&name, one.value.len(), 1 + lists + one.value.len())?;
        }
        Ok(())
    }

    /// Counts definitions, and `inside` full names in the scope of `scope`.
    fn names(&mut self, scope: &str, inside: usize, nodes: usize) -> Result<(), CompileError> {
        // The library looks these up by name while it resolves options.
        if scope == "google.protobuf" || scope.starts_with("google.protobuf.") {
            return Err(CompileError::refused(scope, "the package google.protobuf is taken by the well-known types"));
        }
        if scope.len() > FULL_NAME_BYTES {
            let size = scope.len();
            return Err(CompileError::TooLarge { what: "bytes in a full name", size, limit: FULL_NAME_BYTES });
        }
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > self.limits.nodes {
            let (size, limit) = (self.nodes, self.limits.nodes);
            return Err(CompileError::TooLarge { what: "messages, fields and values", size, limit });
        }
        self.names = self.names.saturating_add(scope.len().saturating_mul(inside + 1));
        if self.names > ALL_NAMES_BYTES {
            let size = self.names;
            return Err(CompileError::TooLarge { what: "bytes in all full names", size, limit: ALL_NAMES_BYTES });
        }
        Ok(())
    }
}

fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}
