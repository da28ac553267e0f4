//! Why the registry refuses, with the codes of Confluent's registry.
use crate::error::{CompileError, Incompatibility};

/// Why a request to the registry is refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// No such subject.
    #[error("subject '{0}' not found: list them with GET /subjects")]
    NoSubject(String),
    /// No such version of the subject.
    #[error("version {version} of subject '{subject}' not found: list them with GET /subjects/{subject}/versions")]
    NoVersion {
        /// The subject.
        subject: String,
        /// The version.
        version: String,
    },
    /// No such schema.
    #[error("schema {0} not found")]
    NoSchema(String),
    /// The subject was deleted already.
    #[error("subject '{0}' was soft deleted: delete it with permanent=true, or register in it to bring it back")]
    SubjectDeleted(String),
    /// It must be soft deleted before.
    #[error("subject '{0}' was not deleted first before being permanently deleted")]
    SubjectNotDeleted(String),
    /// The version was deleted already.
    #[error("version {version} of subject '{subject}' was soft deleted: delete it with permanent=true")]
    VersionDeleted {
        /// The subject.
        subject: String,
        /// The version.
        version: u32,
    },
    /// It must be soft deleted before.
    #[error("version {version} of subject '{subject}' was not deleted first before being permanently deleted")]
    VersionNotDeleted {
        /// The subject.
        subject: String,
        /// The version.
        version: u32,
    },
    /// The subject has no level of its own.
    #[error("subject '{0}' does not have subject-level compatibility configured: ask with defaultToGlobal=true")]
    NoOwnLevel(String),
    /// The subject has no mode of its own.
    #[error("subject '{0}' does not have subject-level mode configured: ask with defaultToGlobal=true")]
    NoOwnMode(String),
    /// The text is no schema.
    #[error("invalid schema: {0}")]
    InvalidSchema(#[from] CompileError),
    /// The request has no schema, or names a format that is not known.
    #[error("invalid schema: {0}")]
    InvalidRequest(String),
    /// No version number.
    #[error("the specified version '{0}' is not a valid version id: use a number from 1 on, or \"latest\"")]
    InvalidVersion(String),
    /// No compatibility level.
    #[error(
        "invalid compatibility level '{0}': use NONE, BACKWARD, FORWARD, FULL, or one of the last three with _TRANSITIVE"
    )]
    InvalidLevel(String),
    /// No mode.
    #[error("invalid mode '{0}': use READWRITE, READONLY or IMPORT")]
    InvalidMode(String),
    /// The mode or the state forbids it.
    #[error("operation not permitted: {0}")]
    NotPermitted(String),
    /// Others refer to it.
    #[error(
        "one or more references exist to the schema: version {version} of subject '{subject}' is needed by schema {by}; delete that first"
    )]
    ReferenceExists {
        /// The subject.
        subject: String,
        /// The version.
        version: u32,
        /// The id of a schema that refers to it.
        by: u32,
    },
    /// The name of a subject cannot be used.
    #[error(
        "the subject '{0}' is not a valid subject: use 1 to 128 characters, and few others than letters, digits, '-', '_', '.' and ':'"
    )]
    InvalidSubject(String),
    /// It does not go with the versions before.
    #[error("schema being registered is incompatible with an earlier schema for subject '{subject}': {}", listed(.found))]
    Incompatible {
        /// The subject.
        subject: String,
        /// What stands against it, with the version.
        found: Vec<(u32, Incompatibility)>,
    },
    /// A limit of the registry.
    #[error("the registry has {limit} {what} already, which is its limit: delete some for good")]
    Full {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

fn listed(found: &[(u32, Incompatibility)]) -> String {
    let all: Vec<String> = found.iter().take(8).map(|(version, one)| format!("version {version}: {one}")).collect();
    all.join("; ")
}

impl RegistryError {
    /// The code in answers of Confluent's registry.
    pub const fn code(&self) -> u32 {
        match self {
            Self::NoSubject(_) => 40_401,
            Self::NoVersion { .. } => 40_402,
            Self::NoSchema(_) => 40_403,
            Self::SubjectDeleted(_) => 40_404,
            Self::SubjectNotDeleted(_) => 40_405,
            Self::VersionDeleted { .. } => 40_406,
            Self::VersionNotDeleted { .. } => 40_407,
            Self::NoOwnLevel(_) => 40_408,
            Self::NoOwnMode(_) => 40_409,
            Self::InvalidSchema(_) | Self::InvalidRequest(_) => 42_201,
            Self::InvalidVersion(_) => 42_202,
            Self::InvalidLevel(_) => 42_203,
            Self::InvalidMode(_) => 42_204,
            Self::NotPermitted(_) => 42_205,
            Self::ReferenceExists { .. } => 42_206,
            Self::InvalidSubject(_) => 42_208,
            Self::Incompatible { .. } => 409,
            Self::Full { .. } => 50_001,
        }
    }

    /// The status of HTTP that goes with it.
    pub const fn status(&self) -> u16 {
        #[allow(clippy::cast_possible_truncation, reason = "three digits")]
        match self.code() {
            code @ 0..1_000 => code as u16,
            code => (code / 100) as u16,
        }
    }
}
