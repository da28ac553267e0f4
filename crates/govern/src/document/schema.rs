//! Schemas, the subjects that they are versions of, and what holds for all of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Schemas of one subject. The resource's name is the subject's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Subject {
    /// In words, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Whose it is; none: the mesh's. Filters of a tenant's subject are of what
    /// the tenant owns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// For payloads of which topics its schemas are; none: for those whose blocks
    /// name one of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// What becomes of a payload that does not fit.
    #[serde(skip_serializing_if = "is_default")]
    pub check: Check,
    /// With `check` of `quarantine`: the stream where they go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<String>,
    /// How a new version must go with the ones before; none: as `registry/global` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// What may be changed; none: as `registry/global` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Its versions, by number, from 1 on.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<u32, SubjectVersion>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One version of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectVersion {
    /// Its schema: the resource `schema/ID`.
    pub id: u32,
    /// It is found by its id only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

/// One schema. The resource's name is its id, a number from 1 on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// Its language.
    pub format: Format,
    /// Its text, as it was registered.
    pub text: String,
    /// What it refers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// What makes it this schema, 64 hexadecimal digits: two of one meaning have one.
    pub fingerprint: String,
}

/// Another schema that a schema's text speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// How the text calls it.
    pub name: String,
    /// The subject that has it.
    pub subject: String,
    /// Which version there.
    pub version: u32,
}

/// What a consumer declares that it can read: by a version of the subject, so that
/// who wants to write by another version is told whom that breaks. The resource's
/// name is the consumer's, with its region where it is in several: it says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reader {
    /// In words, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Whose it is; none: the mesh's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Whose events it reads.
    pub subject: String,
    /// Which of its versions it reads by.
    pub version: u32,
    /// Who reads; several documents of one consumer are one consumer.
    pub consumer: String,
    /// In which region.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub region: String,
}

/// What holds for all subjects. The one resource of its kind is `registry/global`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// The level of subjects that have none of their own.
    pub level: Level,
    /// The mode of subjects that have none of their own.
    pub mode: Mode,
    /// The id of the next new schema. Ids are never given twice.
    pub next_id: u32,
}

/// A language of schemas, by the name that the Confluent Schema Registry has for
/// it (`schemaType`), where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Format {
    /// JSON Schema.
    Json,
    /// Apache Avro.
    Avro,
    /// Protocol Buffers.
    Protobuf,
    /// FlatBuffers.
    Flatbuffers,
}

/// What becomes of payloads that do not fit the schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Payloads are not looked at.
    #[default]
    Off,
    /// They pass, and are counted and told.
    Warn,
    /// They are refused.
    Reject,
    /// They go to a stream of their own.
    Quarantine,
}

/// How a new version of a schema must go with those before it, as the Confluent
/// Schema Registry names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Level {
    /// Anything goes.
    None,
    /// Readers of the new version read what was written by the latest.
    Backward,
    /// Readers of the new version read what was written by all.
    BackwardTransitive,
    /// Readers of the latest version read what is written by the new.
    Forward,
    /// Readers of all versions read what is written by the new.
    ForwardTransitive,
    /// Both ways with the latest.
    Full,
    /// Both ways with all.
    FullTransitive,
}

impl Level {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Backward,
        Self::BackwardTransitive,
        Self::Forward,
        Self::ForwardTransitive,
        Self::Full,
        Self::FullTransitive,
    ];

    /// The level of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Backward => "BACKWARD",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Full => "FULL",
            Self::FullTransitive => "FULL_TRANSITIVE",
        }
    }

    /// Whether the new version must read what was written before.
    #[must_use]
    pub const fn backward(self) -> bool {
        matches!(self, Self::Backward | Self::BackwardTransitive | Self::Full | Self::FullTransitive)
    }

    /// Whether what is written by the new version must be read by those before.
    #[must_use]
    pub const fn forward(self) -> bool {
        matches!(self, Self::Forward | Self::ForwardTransitive | Self::Full | Self::FullTransitive)
    }

    /// Whether that holds for all versions before, not the latest alone.
    #[must_use]
    pub const fn transitive(self) -> bool {
        matches!(self, Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive)
    }
}

/// What of a subject may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// All.
    ReadWrite,
    /// Nothing.
    ReadOnly,
    /// Schemas come with the ids and versions that they have elsewhere.
    Import,
}

impl Mode {
    /// The mode of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::ReadWrite, Self::ReadOnly, Self::Import].into_iter().find(|mode| mode.name() == name)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadWrite => "READWRITE",
            Self::ReadOnly => "READONLY",
            Self::Import => "IMPORT",
        }
    }
}
