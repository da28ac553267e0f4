//! The documents, by kind, as their JSON has them.
//!
//! Unknown fields are refused, so that a misspelt one is not taken for a rule
//! that is not there. What one document alone cannot tell (whether a tenant
//! exists, whether the topics of two are apart) is checked with the state.

mod access;
mod schema;
mod stream;
mod tenant;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::json;
use crate::state::Kind;

pub use access::{Credential, Identity, Issuer, Keys, Policy};
pub use schema::{Check, Format, Level, Mode, Reader, Reference, Registry, Schema, Subject, SubjectVersion};
pub use stream::{Consistency, LastValues, Retention, Stream, Unreachable};
pub use tenant::{Export, Import, Quota, Tenant};

/// Why a text is no document of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Not JSON, or too deep.
    #[error(transparent)]
    Json(#[from] json::JsonError),
    /// A field that is missing, unknown, or of another type.
    #[error("{}{what}", place(field))]
    Field {
        /// The path of the field; empty for the document itself.
        field: String,
        /// What is wrong.
        what: String,
    },
}

fn place(field: &str) -> String {
    if field.is_empty() || field == "." { String::new() } else { format!("{field}: ") }
}

macro_rules! documents {
    ($($kind:ident),+ $(,)?) => {
        /// A document that was read.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "each is its type, which is documented")]
        pub enum Document {
            $($kind($kind),)+
        }

        impl Document {
            /// Reads a document of a kind. Time and memory of the order of the text.
            ///
            /// # Errors
            /// [`DocumentError`].
            pub fn read(kind: Kind, text: &str) -> Result<Self, DocumentError> {
                match kind {
                    $(Kind::$kind => read(text).map(Document::$kind),)+
                }
            }

            /// Its text: canonical JSON, what is not said left out.
            #[must_use]
            pub fn text(&self) -> String {
                match self {
                    $(Document::$kind(document) => write(document),)+
                }
            }
        }
    };
}

documents!(Tenant, Identity, Issuer, Policy, Export, Import, Subject, Schema, Reader, Stream, Registry);

impl Document {
    /// The tenant that it is of, by its own words; a tenant's is its own name,
    /// which the document does not have.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        match self {
            Document::Identity(identity) => identity.tenant.as_deref(),
            Document::Issuer(issuer) => issuer.tenant.as_deref(),
            Document::Policy(policy) => policy.tenant.as_deref(),
            Document::Export(export) => Some(&export.tenant),
            Document::Import(import) => Some(&import.tenant),
            Document::Subject(subject) => subject.tenant.as_deref(),
            Document::Reader(reader) => reader.tenant.as_deref(),
            Document::Stream(stream) => stream.tenant.as_deref(),
            Document::Tenant(_) | Document::Schema(_) | Document::Registry(_) => None,
        }
    }
}

/// Reads a document of one type.
///
/// # Errors
/// [`DocumentError`], which names the field.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, DocumentError> {
    json::bound(text)?;
    // The library would take a list for the fields in their order.
    if !text.trim_start().starts_with('{') && json::parse(text).is_ok() {
        let what = "a document is an object with fields: write it in `{` and `}`".to_owned();
        return Err(DocumentError::Field { field: String::new(), what });
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let document = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = error.path().to_string();
        let error = error.into_inner();
        if error.is_data() {
            DocumentError::Field { field, what: without_place(&error) }
        } else {
            DocumentError::Json(json::JsonError::Syntax(error.to_string()))
        }
    })?;
    reader.end().map_err(|error| json::JsonError::Syntax(error.to_string()))?;
    Ok(document)
}

/// What an error says, without the line and column, which documents of one line
/// do not need where the field is named.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}

fn write<T: Serialize>(document: &T) -> String {
    // Texts, numbers, lists and maps with texts for keys can always be written.
    json::canonical(&serde_json::to_value(document).unwrap_or_default())
}
