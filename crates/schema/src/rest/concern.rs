//! What must be allowed of a request before it is answered.
//!
//! Told from the method and the path alone. Closed: what is not known here asks
//! for the registry as a whole, so that a new path cannot be forgotten.

use super::parts::Target;
use crate::registry::{State, document_name};

/// What a request looks at, or changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concern {
    /// What tells nothing about anybody: which formats there are.
    Nothing,
    /// The registry as a whole: all subjects, or what holds for those without a
    /// level or mode of their own.
    Registry {
        /// It changes something.
        changes: bool,
    },
    /// One subject, by the name of its document.
    Subject {
        /// As [`document_name`] writes it.
        name: String,
        /// It changes something.
        changes: bool,
    },
    /// One schema, which is looked at by its id: who may see one of its subjects may
    /// see it.
    Schema {
        /// The id.
        id: u32,
    },
}

/// What a request concerns.
pub fn concern(method: &str, path: &str) -> Concern {
    let reads = method == "GET";
    let of = |subject: &str, changes| Concern::Subject { name: document_name(subject), changes };
    match Target::of(path) {
        // Nothing is there, which everybody may hear.
        None | Some(Target::Root | Target::Types | Target::Contexts) => Concern::Nothing,
        Some(Target::Schema(id) | Target::SchemaText(id) | Target::SchemaSubjects(id) | Target::SchemaVersions(id)) => {
            Concern::Schema { id }
        }
        Some(Target::Subjects | Target::Config(None) | Target::Mode(None)) => Concern::Registry { changes: !reads },
        // To look a schema up, or to try one, takes a POST and changes nothing.
        Some(Target::Subject(subject)) => of(&subject, method != "POST" && !reads),
        Some(Target::Compatibility(subject, _)) => of(&subject, method != "POST" && !reads),
        Some(
            Target::Versions(subject)
            | Target::Version(subject, _)
            | Target::VersionText(subject, _)
            | Target::ReferencedBy(subject, _)
            | Target::Config(Some(subject))
            | Target::Mode(Some(subject)),
        ) => of(&subject, !reads),
    }
}

/// The names of the documents of the subjects that have the schema of an id, in
/// order, at most so many.
pub fn subjects_of(state: &State, id: u32, most: usize) -> Vec<String> {
    let mut names: Vec<String> =
        state.places(id, true).into_iter().map(|(subject, _)| document_name(subject)).collect();
    names.dedup();
    names.truncate(most);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_is_told_from_what_changes() {
        let subject = |changes| Concern::Subject { name: "orders-value".to_owned(), changes };
        let all = [
            ("GET", "/", Concern::Nothing),
            ("GET", "/schemas/types", Concern::Nothing),
            ("GET", "/nothing/there", Concern::Nothing),
            ("GET", "/schemas/ids/7", Concern::Schema { id: 7 }),
            ("GET", "/schemas/ids/7/subjects", Concern::Schema { id: 7 }),
            ("GET", "/subjects", Concern::Registry { changes: false }),
            ("PUT", "/config", Concern::Registry { changes: true }),
            ("DELETE", "/mode", Concern::Registry { changes: true }),
            ("GET", "/subjects/orders-value/versions/latest", subject(false)),
            ("POST", "/subjects/orders-value", subject(false)),
            ("POST", "/compatibility/subjects/orders-value/versions/latest", subject(false)),
            ("POST", "/subjects/orders-value/versions", subject(true)),
            ("DELETE", "/subjects/orders-value", subject(true)),
            ("DELETE", "/subjects/orders-value/versions/1", subject(true)),
            ("PUT", "/config/orders-value", subject(true)),
            ("PATCH", "/mode/orders-value", subject(true)),
            ("GET", "/subjects/a%2Fb/versions", Concern::Subject { name: "a@2fb".to_owned(), changes: false }),
        ];
        for (method, path, wanted) in all {
            assert_eq!(concern(method, path), wanted, "{method} {path}");
        }
    }
}
