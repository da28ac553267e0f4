//! The registry's state, and what is decided on it.
//!
//! A [`State`] is an index over documents that are kept elsewhere: `kind/name`
//! and a JSON body. It takes changes of documents ([`State::put`]) and gives
//! answers; a request that changes something gives the documents to be put
//! ([`Change`]) and changes nothing itself. Who keeps the documents makes a
//! change atomic and refuses it when one of the documents that it was decided on
//! ([`Change::read`]) has changed since.
//!
//! Bounded by [`RegistryLimits`]; at a limit the request is refused. Looking up
//! by id, by subject and version, and by text takes a few steps in ordered maps.

mod cache;
mod decide;
mod error;
mod find;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weft_govern::document::Check;

use crate::binding::Bound;
use crate::format::{Fingerprint, Format, Reference};
use crate::limits::SchemaLimits;

pub use cache::Cache;
pub use decide::{Change, Registered, Request};
pub use error::RegistryError;
pub use find::{Found, Tested};
pub use weft_govern::document::{Level, Mode};

/// Limits of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryLimits {
    /// Of each schema.
    pub schema: SchemaLimits,
    /// Subjects.
    pub subjects: usize,
    /// Different schemas.
    pub schemas: usize,
    /// Versions of one subject, deleted ones too.
    pub versions: usize,
    /// Bytes of the name of a subject's document, in which some bytes of the
    /// subject's name are three.
    pub name_bytes: usize,
    /// Bytes of a schema's document: its text, with escapes, and its references.
    pub document_bytes: usize,
}

impl Default for RegistryLimits {
    fn default() -> Self {
        Self {
            schema: SchemaLimits::default(),
            subjects: 20_000,
            schemas: 20_000,
            versions: 1_000,
            name_bytes: 128,
            document_bytes: 256 << 10,
        }
    }
}

/// Kinds of documents that the registry's state is made of.
pub mod kind {
    /// A schema; the name is its id.
    pub const SCHEMA: &str = "schema";
    /// A subject with its versions; the name is the subject's, as
    /// [`document_name`](super::document_name) writes it.
    pub const SUBJECT: &str = "subject";
    /// The level and mode of subjects that have none of their own, and the next
    /// id; the name is [`GLOBAL`](super::GLOBAL).
    pub const REGISTRY: &str = "registry";
}

/// The only name of a document of the kind [`kind::REGISTRY`].
pub const GLOBAL: &str = "global";

/// The name of a subject's document: letters, digits, `-`, `_`, `.` and `:` as they
/// are, each other byte as `@` and two hexadecimal digits.
pub fn document_name(subject: &str) -> String {
    use std::fmt::Write as _;
    subject.bytes().fold(String::with_capacity(subject.len()), |mut name, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte) {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "@{byte:02x}");
        }
        name
    })
}

/// The subject of a document called `name`; `None` if [`document_name`] gives no such name.
pub fn subject_of(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'@' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok().filter(|subject| document_name(subject) == name)
}

/// A document to be put, or, without a body, to be removed.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// One of [`kind`].
    pub kind: &'static str,
    /// Its name among those of its kind.
    pub name: String,
    /// What it says.
    pub body: Option<Value>,
}

/// A schema, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its format.
    pub format: Format,
    /// The text, as it was registered.
    pub text: String,
    /// What it refers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// What makes it this schema; see [`Fingerprint`].
    pub fingerprint: String,
}

/// One version of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its schema.
    pub id: u32,
    /// Soft deleted: it is found by its id only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

/// A subject, as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// By number, from 1 on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<u32, Version>,
    /// Its own compatibility level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// Its own mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The topics whose payloads are of it: filters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// What is done with payloads on those topics that are not of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub check: Check,
    /// The stream where they go, if that is to put them in quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<String>,
    /// In words, for people. Kept as it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The tenant whose it is. Kept as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Subject {
    /// The latest version that is not deleted.
    pub fn latest(&self) -> Option<(u32, Version)> {
        self.live().next_back()
    }

    /// All versions that are not deleted.
    pub fn live(&self) -> impl DoubleEndedIterator<Item = (u32, Version)> + '_ {
        self.versions.iter().filter(|(_, version)| !version.deleted).map(|(number, version)| (*number, *version))
    }
}

/// What holds for all subjects, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Global {
    /// The level of subjects that have none of their own.
    pub level: Level,
    /// The mode of subjects that have none of their own.
    pub mode: Mode,
    /// The id of the next new schema. Ids are never given twice, since clients
    /// keep for ever what an id means.
    pub next_id: u32,
}

impl Default for Global {
    fn default() -> Self {
        Self { level: Level::Backward, mode: Mode::ReadWrite, next_id: 1 }
    }
}

/// A document that is not what its kind must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the document {kind}/{name} cannot be read: {reason}: restore it from an export, or remove it")]
pub struct BadDocument {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub reason: String,
}

/// The registry's state, indexed.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub(crate) limits: RegistryLimits,
    pub(crate) schemas: BTreeMap<u32, Stored>,
    pub(crate) subjects: BTreeMap<String, Subject>,
    pub(crate) global: Global,
    by_fingerprint: BTreeMap<Fingerprint, u32>,
    /// Which subjects and versions have the schema of an id.
    by_id: BTreeMap<u32, BTreeSet<(String, u32)>>,
    /// Which schemas refer to a version of a subject.
    referrers: BTreeMap<(String, u32), BTreeSet<u32>>,
    /// The filters that subjects are bound to.
    pub(crate) bound: Bound,
}

impl State {
    /// An empty registry.
    pub fn new(limits: RegistryLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes in a document as it is now; `None` if it is no more. Documents of
    /// other kinds are nothing to it. The order does not matter.
    ///
    /// # Errors
    /// [`BadDocument`]; the state is as before.
    pub fn put(&mut self, document_kind: &str, name: &str, body: Option<&Value>) -> Result<(), BadDocument> {
        let bad = |reason: String| BadDocument { kind: document_kind.to_owned(), name: name.to_owned(), reason };
        match document_kind {
            kind::SCHEMA => {
                let id = name.parse::<u32>().map_err(|error| bad(format!("its name is no id: {error}")))?;
                let stored = body.map(Stored::deserialize).transpose().map_err(|error| bad(error.to_string()))?;
                let print = match &stored {
                    Some(stored) => Some(
                        Fingerprint::from_hex(&stored.fingerprint)
                            .ok_or_else(|| bad("its fingerprint is not of 64 hexadecimal digits".to_owned()))?,
                    ),
                    None => None,
                };
                self.put_schema(id, stored, print);
            }
            kind::REGISTRY => {
                let global = body.map(Global::deserialize).transpose().map_err(|error| bad(error.to_string()))?;
                self.global = global.unwrap_or_default();
            }
            kind::SUBJECT => {
                let own = || {
                    bad(format!(
                        "its name stands for no subject: that of the subject `{name}` is `{}`",
                        document_name(name)
                    ))
                };
                let key = subject_of(name).ok_or_else(own)?;
                let subject = body.map(Subject::deserialize).transpose().map_err(|error| bad(error.to_string()))?;
                self.put_subject(&key, subject);
            }
            _ => {}
        }
        Ok(())
    }

    fn put_schema(&mut self, id: u32, stored: Option<Stored>, print: Option<Fingerprint>) {
        if let Some(before) = self.schemas.remove(&id) {
            if let Some(print) = Fingerprint::from_hex(&before.fingerprint)
                && self.by_fingerprint.get(&print) == Some(&id)
            {
                self.by_fingerprint.remove(&print);
            }
            for reference in before.references {
                let key = (reference.subject, reference.version);
                if let Some(ids) = self.referrers.get_mut(&key) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        self.referrers.remove(&key);
                    }
                }
            }
        }
        let Some(stored) = stored else { return };
        if let Some(print) = print {
            // Of two ids for one schema, which only imports can make, the lower one counts.
            let first = self.by_fingerprint.entry(print).or_insert(id);
            *first = (*first).min(id);
        }
        for reference in &stored.references {
            self.referrers.entry((reference.subject.clone(), reference.version)).or_default().insert(id);
        }
        self.schemas.insert(id, stored);
    }

    fn put_subject(&mut self, name: &str, subject: Option<Subject>) {
        if let Some(before) = self.subjects.remove(name) {
            before.topics.iter().for_each(|text| self.bound.remove(text, name));
            for (number, version) in before.versions {
                if let Some(places) = self.by_id.get_mut(&version.id) {
                    places.remove(&(name.to_owned(), number));
                    if places.is_empty() {
                        self.by_id.remove(&version.id);
                    }
                }
            }
        }
        let Some(subject) = subject else { return };
        subject.topics.iter().for_each(|text| self.bound.insert(text, name));
        for (number, version) in &subject.versions {
            self.by_id.entry(version.id).or_default().insert((name.to_owned(), *number));
        }
        self.subjects.insert(name.to_owned(), subject);
    }

    /// The limits.
    pub fn limits(&self) -> &RegistryLimits {
        &self.limits
    }
}
