//! Descriptors as source text again: the canonical text of a schema (without
//! comments and layout, with full names of types), and the way of descriptors
//! that came from outside into the compiler.
//!
//! The text has everything that the descriptor has but the options of extension
//! ranges; options of a schema's own extensions only where the descriptors are
//! compiled ones ([`canonical`]). Names that are no names are refused, so that
//! nothing from outside can add to the text.

use std::fmt::Write as _;

use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
};
use prost_reflect::prost_types::{FileDescriptorProto, ServiceDescriptorProto};
use prost_reflect::{DescriptorPool, DynamicMessage, FileDescriptor, Kind, ReflectMessage, Value};

use crate::error::CompileError;

/// How deep messages may be nested in a descriptor, as in a source.
const DEPTH: usize = 32;

/// The text of a compiled file.
pub(super) fn canonical(file: &FileDescriptor) -> Result<String, CompileError> {
    let options = file.options();
    let mut printer = Printer { out: String::new(), indent: 0, proto3: false, pool: Some(file.parent_pool()) };
    printer.file(file.file_descriptor_proto(), Some(options))?;
    Ok(printer.out)
}

/// The text of a descriptor from outside.
pub(super) fn raw(file: &FileDescriptorProto) -> Result<String, CompileError> {
    let mut printer = Printer { out: String::new(), indent: 0, proto3: false, pool: None };
    let options = file.options.as_ref().map(ReflectMessage::transcode_to_dynamic);
    printer.file(file, options)?;
    Ok(printer.out)
}

/// Fields of a message that were declared together.
struct Scope<'a> {
    /// The full name, with a dot before it.
    name: String,
    /// Messages that were made for maps and groups, or may be.
    nested: &'a [DescriptorProto],
}

struct Printer<'a> {
    out: String,
    indent: usize,
    proto3: bool,
    pool: Option<&'a DescriptorPool>,
}

type Done = Result<(), CompileError>;

impl Printer<'_> {
    fn line(&mut self, text: &str) {
        for _ in 0..self.indent {
            self.out.push_str("  ");
        }
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn open(&mut self, text: &str) {
        self.line(&format!("{text} {{"));
        self.indent += 1;
    }

    fn close(&mut self) {
        self.indent -= 1;
        self.line("}");
    }

    fn file(&mut self, file: &FileDescriptorProto, options: Option<DynamicMessage>) -> Done {
        self.proto3 = match file.syntax() {
            "" | "proto2" => false,
            "proto3" => true,
            other => return Err(CompileError::refused(other, "only the syntaxes proto2 and proto3 can be compiled")),
        };
        self.line(if self.proto3 { "syntax = \"proto3\";" } else { "syntax = \"proto2\";" });
        if !file.package().is_empty() {
            self.line(&format!("package {};", dotted(file.package())?));
        }
        for (index, name) in file.dependency.iter().enumerate() {
            let has = |list: &[i32]| list.iter().any(|one| usize::try_from(*one) == Ok(index));
            let kind = match (has(&file.public_dependency), has(&file.weak_dependency)) {
                (true, _) => "public ",
                (false, true) => "weak ",
                (false, false) => "",
            };
            self.line(&format!("import {kind}{};", quoted(name.as_bytes())));
        }
        self.statements(options)?;
        let scope = match file.package() {
            "" => String::new(),
            package => format!(".{package}"),
        };
        let groups: Vec<&str> = file.extension.iter().filter_map(group_of).collect();
        for message in &file.message_type {
            if !groups.contains(&format!("{scope}.{}", message.name()).as_str()) {
                self.message(&scope, message, 1)?;
            }
        }
        for one in &file.enum_type {
            self.enumeration(&scope, one)?;
        }
        self.extensions(&Scope { name: scope.clone(), nested: &file.message_type }, &file.extension, 1)?;
        file.service.iter().try_for_each(|service| self.service(&scope, service))
    }

    fn message(&mut self, scope: &str, message: &DescriptorProto, depth: usize) -> Done {
        self.open(&format!("message {}", name(message.name())?));
        self.body(scope, message, depth)?;
        self.close();
        Ok(())
    }

    fn body(&mut self, scope: &str, message: &DescriptorProto, depth: usize) -> Done {
        if depth > DEPTH {
            return Err(CompileError::TooLarge { what: "levels of nesting", size: depth, limit: DEPTH });
        }
        let full = format!("{scope}.{}", message.name());
        let compiled = self.pool.and_then(|pool| pool.get_message_by_name(full.trim_start_matches('.')));
        let options = match &compiled {
            Some(descriptor) => Some(descriptor.options()),
            None => message.options.as_ref().map(ReflectMessage::transcode_to_dynamic),
        };
        self.statements(options)?;
        let inside = Scope { name: full, nested: &message.nested_type };
        // Where a nested message comes from its field it must not come by itself.
        // They come in the order of the descriptor, since indexes count them.
        let in_oneof = |field: &&FieldDescriptorProto| field.oneof_index.is_some() && !field.proto3_optional();
        for field in message.field.iter().filter(in_oneof) {
            if usize::try_from(field.oneof_index()).is_ok_and(|index| index < message.oneof_decl.len()) {
                continue;
            }
            return Err(CompileError::invalid(field.name(), "the field is in a oneof that there is not"));
        }
        let mut fields = vec![false; message.field.len()];
        let mut oneofs = vec![false; message.oneof_decl.len()];
        for nested in &message.nested_type {
            let full = format!("{}.{}", inside.name, nested.name());
            let made = |field: &FieldDescriptorProto| {
                let maps = nested.options.as_ref().is_some_and(|options| options.map_entry());
                field.type_name() == full && (maps || field.r#type() == Type::Group)
            };
            match message.field.iter().position(made) {
                Some(index) if is_alone(&message.field, index) => {
                    if let (Some(field), Some(done)) = (message.field.get(index), fields.get_mut(index)) {
                        self.field(&inside, field, depth)?;
                        *done = true;
                    }
                }
                Some(index) => {
                    let of = message.field.get(index).and_then(|field| usize::try_from(field.oneof_index()).ok());
                    self.oneof(&inside, message, of.unwrap_or_default(), &mut oneofs, depth)?;
                }
                None if message.extension.iter().any(|one| group_of(one) == Some(full.as_str())) => {}
                None => self.message(&inside.name, nested, depth + 1)?,
            }
        }
        for one in &message.enum_type {
            self.enumeration(&inside.name, one)?;
        }
        for (index, field) in message.field.iter().enumerate() {
            if is_alone(&message.field, index) && fields.get(index) == Some(&false) {
                self.field(&inside, field, depth)?;
            }
        }
        for index in 0..message.oneof_decl.len() {
            self.oneof(&inside, message, index, &mut oneofs, depth)?;
        }
        self.extensions(&inside, &message.extension, depth)?;
        let ranges = message.extension_range.iter().map(|range| (range.start(), range.end().saturating_sub(1)));
        self.ranges("extensions", ranges, 536_870_911);
        let ranges = message.reserved_range.iter().map(|range| (range.start(), range.end().saturating_sub(1)));
        self.ranges("reserved", ranges, 536_870_911);
        self.reserved_names(&message.reserved_name);
        Ok(())
    }

    /// A oneof with its members, unless it is done already.
    fn oneof(
        &mut self,
        inside: &Scope<'_>,
        message: &DescriptorProto,
        index: usize,
        done: &mut [bool],
        depth: usize,
    ) -> Done {
        let Some(oneof) = message.oneof_decl.get(index) else { return Ok(()) };
        if done.get_mut(index).is_none_or(|done| std::mem::replace(done, true)) {
            return Ok(());
        }
        let is_member = |field: &&FieldDescriptorProto| {
            !field.proto3_optional() && field.oneof_index.map(usize::try_from) == Some(Ok(index))
        };
        let members: Vec<&FieldDescriptorProto> = message.field.iter().filter(is_member).collect();
        if members.is_empty() {
            return Ok(());
        }
        self.open(&format!("oneof {}", name(oneof.name())?));
        let compiled = self.pool.and_then(|pool| pool.get_message_by_name(inside.name.trim_start_matches('.')));
        let descriptor = compiled.and_then(|message| message.oneofs().nth(index));
        let options = match descriptor {
            Some(descriptor) => Some(descriptor.options()),
            None => oneof.options.as_ref().map(ReflectMessage::transcode_to_dynamic),
        };
        self.statements(options)?;
        members.into_iter().try_for_each(|field| self.field(inside, field, depth))?;
        self.close();
        Ok(())
    }

    fn ranges(&mut self, word: &str, ranges: impl Iterator<Item = (i32, i32)>, most: i32) {
        for (first, last) in ranges {
            let text = match last {
                last if last == first => format!("{word} {first};"),
                last if last >= most => format!("{word} {first} to max;"),
                last => format!("{word} {first} to {last};"),
            };
            self.line(&text);
        }
    }

    fn reserved_names(&mut self, names: &[String]) {
        for name in names {
            self.line(&format!("reserved {};", quoted(name.as_bytes())));
        }
    }

    fn extensions(&mut self, scope: &Scope<'_>, extensions: &[FieldDescriptorProto], depth: usize) -> Done {
        for extension in extensions {
            self.open(&format!("extend {}", dotted(extension.extendee())?));
            self.field(scope, extension, depth)?;
            self.close();
        }
        Ok(())
    }

    fn field(&mut self, scope: &Scope<'_>, field: &FieldDescriptorProto, depth: usize) -> Done {
        let made = scope.nested.iter().find(|nested| format!("{}.{}", scope.name, nested.name()) == field.type_name());
        let map = made.filter(|nested| nested.options.as_ref().is_some_and(|options| options.map_entry()));
        let mut text = String::new();
        if let Some(entry) = map {
            let of = |number| entry.field.iter().find(|field| field.number() == number);
            let (Some(key), Some(value)) = (of(1), of(2)) else {
                return Err(CompileError::invalid(entry.name(), "the entry of a map has no key or no value"));
            };
            let _ = write!(text, "map<{}, {}> ", type_of(key)?, type_of(value)?);
        } else {
            let in_oneof = field.oneof_index.is_some() && !field.proto3_optional();
            text.push_str(match field.label() {
                Label::Repeated => "repeated ",
                Label::Required => "required ",
                Label::Optional if in_oneof => "",
                Label::Optional if self.proto3 && !field.proto3_optional() => "",
                Label::Optional => "optional ",
            });
        }
        let group = made.filter(|_| field.r#type() == Type::Group && field.r#type.is_some());
        match (map, group) {
            (Some(_), _) => text.push_str(name(field.name())?),
            (None, Some(group)) => {
                let _ = write!(text, "group {}", name(group.name())?);
            }
            (None, None) => {
                let _ = write!(text, "{} {}", type_of(field)?, name(field.name())?);
            }
        }
        let _ = write!(text, " = {}", field.number());
        let options = self.field_options(scope, field)?;
        if !options.is_empty() {
            let _ = write!(text, " [{}]", options.join(", "));
        }
        match group {
            Some(group) => {
                self.open(&text);
                self.body(&scope.name, group, depth + 1)?;
                self.close();
            }
            None => self.line(&format!("{text};")),
        }
        Ok(())
    }

    fn field_options(&self, scope: &Scope<'_>, field: &FieldDescriptorProto) -> Result<Vec<String>, CompileError> {
        let mut all = Vec::new();
        if let Some(default) = &field.default_value {
            let value = match field.r#type() {
                Type::String => quoted(default.as_bytes()),
                // The descriptor has it escaped as sources do.
                Type::Bytes => escaped(default)?,
                Type::Bool | Type::Enum => name(default)?.to_owned(),
                _ => number(default)?.to_owned(),
            };
            all.push(format!("default = {value}"));
        }
        let own_json = field.json_name.as_deref().filter(|json| *json != json_name(field.name()));
        if let (Some(json), None) = (own_json, &field.extendee) {
            all.push(format!("json_name = {}", quoted(json.as_bytes())));
        }
        let found = self.pool.and_then(|pool| {
            let scope = scope.name.trim_start_matches('.');
            if field.extendee.is_some() {
                let full = if scope.is_empty() { field.name().to_owned() } else { format!("{scope}.{}", field.name()) };
                return pool.get_extension_by_name(&full).map(|extension| extension.options());
            }
            let message = pool.get_message_by_name(scope)?;
            message.get_field(u32::try_from(field.number()).ok()?).map(|field| field.options())
        });
        let options = found.or_else(|| field.options.as_ref().map(ReflectMessage::transcode_to_dynamic));
        all.extend(options.iter().flat_map(set_options));
        Ok(all)
    }

    fn enumeration(&mut self, scope: &str, one: &EnumDescriptorProto) -> Done {
        let full = format!("{scope}.{}", one.name());
        let compiled = self.pool.and_then(|pool| pool.get_enum_by_name(full.trim_start_matches('.')));
        self.open(&format!("enum {}", name(one.name())?));
        let options = match &compiled {
            Some(descriptor) => Some(descriptor.options()),
            None => one.options.as_ref().map(ReflectMessage::transcode_to_dynamic),
        };
        self.statements(options)?;
        let descriptors: Vec<_> = compiled.iter().flat_map(|one| one.values()).collect();
        let of_value =
            |value: &EnumValueDescriptorProto| match descriptors.iter().find(|one| one.name() == value.name()) {
                Some(descriptor) => Some(descriptor.options()),
                None => value.options.as_ref().map(ReflectMessage::transcode_to_dynamic),
            };
        for value in &one.value {
            let options: Vec<String> = of_value(value).iter().flat_map(set_options).collect();
            let options = if options.is_empty() { String::new() } else { format!(" [{}]", options.join(", ")) };
            self.line(&format!("{} = {}{options};", name(value.name())?, value.number()));
        }
        let ranges = one.reserved_range.iter().map(|range| (range.start(), range.end()));
        self.ranges("reserved", ranges, i32::MAX);
        self.reserved_names(&one.reserved_name);
        self.close();
        Ok(())
    }

    fn service(&mut self, scope: &str, service: &ServiceDescriptorProto) -> Done {
        let full = format!("{scope}.{}", service.name());
        let compiled = self.pool.and_then(|pool| pool.get_service_by_name(full.trim_start_matches('.')));
        self.open(&format!("service {}", name(service.name())?));
        let options = match &compiled {
            Some(descriptor) => Some(descriptor.options()),
            None => service.options.as_ref().map(ReflectMessage::transcode_to_dynamic),
        };
        self.statements(options)?;
        let descriptors: Vec<_> = compiled.iter().flat_map(|one| one.methods()).collect();
        for method in &service.method {
            let stream = |yes: bool| if yes { "stream " } else { "" };
            let (takes, gives) = (dotted(method.input_type())?, dotted(method.output_type())?);
            let (in_stream, out_stream) = (stream(method.client_streaming()), stream(method.server_streaming()));
            self.open(&format!("rpc {} ({in_stream}{takes}) returns ({out_stream}{gives})", name(method.name())?));
            let options = match descriptors.iter().find(|one| one.name() == method.name()) {
                Some(descriptor) => Some(descriptor.options()),
                None => method.options.as_ref().map(ReflectMessage::transcode_to_dynamic),
            };
            self.statements(options)?;
            self.close();
        }
        self.close();
        Ok(())
    }

    /// Options as statements.
    fn statements(&mut self, options: Option<DynamicMessage>) -> Done {
        for option in options.iter().flat_map(set_options) {
            self.line(&format!("option {option};"));
        }
        Ok(())
    }
}

/// Not a member of a oneof, which is printed with it.
fn is_alone(fields: &[FieldDescriptorProto], index: usize) -> bool {
    fields.get(index).is_some_and(|field| field.oneof_index.is_none() || field.proto3_optional())
}

/// The message of an extension that is a group.
fn group_of(field: &FieldDescriptorProto) -> Option<&str> {
    (field.r#type.is_some() && field.r#type() == Type::Group).then(|| field.type_name())
}

/// The options that are set, each as `name = value`.
fn set_options(options: &DynamicMessage) -> Vec<String> {
    let mut all = Vec::new();
    for (field, value) in options.fields() {
        // Those that the compiler sets, and those that it could not read.
        if matches!(field.name(), "map_entry" | "uninterpreted_option") {
            continue;
        }
        push_option(&mut all, field.name(), value, &field.kind());
    }
    let mut extensions: Vec<_> = options.extensions().collect();
    extensions.sort_by_key(|(extension, _)| extension.number());
    for (extension, value) in extensions {
        push_option(&mut all, &format!("(.{})", extension.full_name()), value, &extension.kind());
    }
    all
}

fn push_option(all: &mut Vec<String>, name: &str, value: &Value, kind: &Kind) {
    match value {
        Value::List(values) => values.iter().for_each(|value| push_option(all, name, value, kind)),
        Value::Map(entries) => {
            let mut texts: Vec<String> = entries
                .iter()
                .map(|(key, value)| {
                    let of = kind.as_message().map(|entry| entry.map_entry_value_field().kind());
                    let key = option_value(&Value::from(key.clone()), None);
                    let value = option_value(value, of.as_ref());
                    format!("{name} = {{ key: {key} value: {value} }}")
                })
                .collect();
            texts.sort();
            all.extend(texts);
        }
        value => all.push(format!("{name} = {}", option_value(value, Some(kind)))),
    }
}

fn option_value(value: &Value, kind: Option<&Kind>) -> String {
    match (value, kind) {
        (Value::EnumNumber(number), Some(Kind::Enum(descriptor))) => match descriptor.get_value(*number) {
            Some(value) => value.name().to_owned(),
            None => number.to_string(),
        },
        (Value::Message(message), _) => format!("{{ {} }}", message.to_text_format()),
        (Value::String(text), _) => quoted(text.as_bytes()),
        (Value::Bytes(bytes), _) => quoted(bytes),
        (Value::Bool(value), _) => value.to_string(),
        (Value::I32(value) | Value::EnumNumber(value), _) => value.to_string(),
        (Value::I64(value), _) => value.to_string(),
        (Value::U32(value), _) => value.to_string(),
        (Value::U64(value), _) => value.to_string(),
        // With an exponent where it is shorter; "nan" in small letters.
        (Value::F32(value), _) => format!("{value:?}").to_lowercase(),
        (Value::F64(value), _) => format!("{value:?}").to_lowercase(),
        // Their callers take these apart.
        (Value::List(_) | Value::Map(_), _) => String::new(),
    }
}

/// The word or name of a field's type.
fn type_of(field: &FieldDescriptorProto) -> Result<&str, CompileError> {
    if !field.type_name().is_empty() {
        return dotted(field.type_name());
    }
    Ok(match field.r#type.map(Type::try_from) {
        Some(Ok(Type::Double)) => "double",
        Some(Ok(Type::Float)) => "float",
        Some(Ok(Type::Int64)) => "int64",
        Some(Ok(Type::Uint64)) => "uint64",
        Some(Ok(Type::Int32)) => "int32",
        Some(Ok(Type::Fixed64)) => "fixed64",
        Some(Ok(Type::Fixed32)) => "fixed32",
        Some(Ok(Type::Bool)) => "bool",
        Some(Ok(Type::String)) => "string",
        Some(Ok(Type::Bytes)) => "bytes",
        Some(Ok(Type::Uint32)) => "uint32",
        Some(Ok(Type::Sfixed32)) => "sfixed32",
        Some(Ok(Type::Sfixed64)) => "sfixed64",
        Some(Ok(Type::Sint32)) => "sint32",
        Some(Ok(Type::Sint64)) => "sint64",
        Some(Ok(Type::Group | Type::Message | Type::Enum) | Err(_)) | None => {
            return Err(CompileError::invalid(field.name(), "the field has no type"));
        }
    })
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn name(text: &str) -> Result<&str, CompileError> {
    if is_name(text) { Ok(text) } else { Err(CompileError::invalid(text, "that is no name")) }
}

fn dotted(text: &str) -> Result<&str, CompileError> {
    if text.strip_prefix('.').unwrap_or(text).split('.').all(is_name) {
        Ok(text)
    } else {
        Err(CompileError::invalid(text, "that is no full name"))
    }
}

fn number(text: &str) -> Result<&str, CompileError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
    if !text.is_empty() && text.len() < 64 && text.bytes().all(allowed) {
        Ok(text)
    } else {
        Err(CompileError::invalid(text, "that is no number"))
    }
}

/// A text that is escaped already, in quotes.
fn escaped(text: &str) -> Result<String, CompileError> {
    let mut after_backslash = false;
    for byte in text.bytes() {
        if !(b' '..0x7f).contains(&byte) || (byte == b'"' && !after_backslash) {
            return Err(CompileError::invalid(text, "a default of bytes is not escaped"));
        }
        after_backslash = byte == b'\\' && !after_backslash;
    }
    if after_backslash {
        return Err(CompileError::invalid(text, "a default of bytes ends inside of an escape"));
    }
    Ok(format!("\"{text}\""))
}

/// Bytes as a string of a source. What is UTF-8 stays readable.
fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => {
                    out.push('\\');
                    out.push(character);
                }
                '\n' => out.push_str("\\n"),
                other if other.is_ascii_control() => {
                    let _ = write!(out, "\\{:03o}", u32::from(other));
                }
                other => out.push(other),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\{byte:03o}");
        }
    }
    out.push('"');
    out
}

/// The name that a field has in JSON unless it says another one.
fn json_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for character in name.chars() {
        match character {
            '_' => upper = true,
            other if upper => {
                out.push(other.to_ascii_uppercase());
                upper = false;
            }
            other => out.push(other),
        }
    }
    out
}
