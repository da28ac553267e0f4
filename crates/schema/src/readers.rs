//! Who would break: what consumers say that they can read, against a schema that
//! somebody wants to write by.
//!
//! Bounded: a schema that many consumers name is compared once, and beyond
//! [`MAX_COMPARED`] different ones the answer for the rest is that it is unknown.
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::Incompatibility;
use crate::format::{Format, Reference};
use crate::registry::{Cache, RegistryError, Request, State};

/// How many different schemas of readers one question compares.
pub const MAX_COMPARED: usize = 1_000;

/// What a consumer reads by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reads {
    /// A version of the subject.
    Version(u32),
    /// A schema of its own.
    Schema {
        /// Its format.
        format: Format,
        /// Its text.
        text: String,
        /// What it refers to.
        #[serde(default)]
        references: Vec<Reference>,
    },
}

/// What one consumer says, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declaration {
    /// The consumer's name: several members of one are one.
    pub consumer: String,
    /// The region of the hub where it is.
    pub region: String,
    /// The subject whose events it reads.
    pub subject: String,
    /// What it reads by.
    pub reads: Reads,
}

/// A consumer that could not read what would be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaks {
    /// The consumer.
    pub consumer: String,
    /// The regions where it is and breaks.
    pub regions: BTreeSet<String>,
    /// What stands against it.
    pub found: Vec<Incompatibility>,
}

/// The answer: who breaks, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Impact {
    /// The consumers that break.
    pub breaks: Vec<Breaks>,
    /// How many consumers of the subject were looked at.
    pub consumers: usize,
}

impl Impact {
    /// The regions where somebody breaks.
    pub fn regions(&self) -> BTreeSet<&str> {
        self.breaks.iter().flat_map(|one| &one.regions).map(String::as_str).collect()
    }
}

/// Who of `declarations` could not read what is written by `request` to `subject`.
///
/// # Errors
/// [`RegistryError`], if what is proposed is no schema.
pub fn who_breaks<'a>(
    state: &State,
    cache: &mut Cache,
    subject: &str,
    request: &Request,
    declarations: impl IntoIterator<Item = &'a Declaration>,
) -> Result<Impact, RegistryError> {
    let writer = state.compile(request.format, &request.text, &request.references)?;
    let mut compared: BTreeMap<&Reads, Vec<Incompatibility>> = BTreeMap::new();
    let mut consumers = BTreeSet::new();
    let mut breaks: BTreeMap<&str, Breaks> = BTreeMap::new();
    for declaration in declarations.into_iter().filter(|one| one.subject == subject) {
        consumers.insert(&declaration.consumer);
        if !compared.contains_key(&declaration.reads) {
            let full = compared.len() >= MAX_COMPARED;
            let found = if full {
                vec![Incompatibility::new(
                    "",
                    "UNDECIDED",
                    format!("consumers read by more than {MAX_COMPARED} schemas"),
                )]
            } else {
                against(state, cache, subject, &declaration.reads, &writer)
            };
            if full {
                // Not kept, since what is kept is bounded.
                note(&mut breaks, declaration, &found);
                continue;
            }
            compared.insert(&declaration.reads, found);
        }
        if let Some(found) = compared.get(&declaration.reads).filter(|found| !found.is_empty()) {
            note(&mut breaks, declaration, found);
        }
    }
    Ok(Impact { breaks: breaks.into_values().collect(), consumers: consumers.len() })
}

fn note<'a>(breaks: &mut BTreeMap<&'a str, Breaks>, declaration: &'a Declaration, found: &[Incompatibility]) {
    let empty = || Breaks { consumer: declaration.consumer.clone(), regions: BTreeSet::new(), found: Vec::new() };
    let one = breaks.entry(&declaration.consumer).or_insert_with(empty);
    one.regions.insert(declaration.region.clone());
    for incompatibility in found {
        if one.found.len() < 32 && !one.found.contains(incompatibility) {
            one.found.push(incompatibility.clone());
        }
    }
}

fn against(
    state: &State,
    cache: &mut Cache,
    subject: &str,
    reads: &Reads,
    writer: &crate::Schema,
) -> Vec<Incompatibility> {
    let unknown = |error: RegistryError| {
        vec![Incompatibility::new("", "UNDECIDED", format!("what it reads by is not known: {error}"))]
    };
    let answer = match reads {
        Reads::Version(version) => match state.version(subject, &version.to_string(), true) {
            Ok(found) => match cache.schema(state, found.id) {
                Ok(reader) => reader.can_read(writer),
                Err(error) => return unknown(error),
            },
            Err(error) => return unknown(error),
        },
        Reads::Schema { format, text, references } => match state.compile(*format, text, references) {
            Ok(reader) => reader.can_read(writer),
            Err(error) => return unknown(error),
        },
    };
    answer.err().unwrap_or_default()
}
