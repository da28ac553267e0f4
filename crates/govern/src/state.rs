//! The state: resources by kind and name, each with the version of its last change.
//!
//! Copies of a state at one version are equal, bit by bit: the order is that of
//! the keys, and documents are canonical JSON (keys in order, no blanks).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal;)+) => {
        /// What a resource is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Kind {
            /// All kinds, in the order in which a state has them.
            pub const ALL: &'static [Kind] = &[$(Kind::$name),+];

            /// The name, as files and commands have it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Kind::$name => $text,)+
                }
            }
        }
    };
}

kinds! {
    /// Somebody to whom topics belong, with what they may use.
    Tenant = "tenant";
    /// Whom a login stands for.
    Identity = "identity";
    /// Who signs tokens that are believed.
    Issuer = "issuer";
    /// Rules of who may do what.
    Policy = "policy";
    /// Topics that a tenant lets others use.
    Export = "export";
    /// Topics of another tenant that a tenant wants to use.
    Import = "import";
    /// Schemas of one subject: how they may change, and for which topics they are.
    Subject = "subject";
    /// One schema, by its number.
    Schema = "schema";
    /// A stream that there is to be.
    Stream = "stream";
}

impl Kind {
    /// The kind of this name, if there is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

/// The longest name of a resource, in bytes.
pub const MAX_NAME: usize = 128;

/// Why a text is no key of a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KindError {
    /// Not `kind/name`.
    #[error("`{0}` is not `kind/name`: write for example `tenant/billing`")]
    Shape(String),
    /// There is no such kind.
    #[error("there is no kind `{0}`: it is one of {known}", known = known())]
    Kind(String),
    /// A name that is empty, too long, or of other characters.
    #[error("the name `{0}` is not possible: 1 to {MAX_NAME} letters, digits, `-`, `_`, `.`, `:` and `@`")]
    Name(String),
}

fn known() -> String {
    let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    names.join(", ")
}

/// The key of a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    kind: Kind,
    name: Arc<str>,
}

impl Key {
    /// A key.
    ///
    /// # Errors
    /// [`KindError::Name`].
    pub fn new(kind: Kind, name: &str) -> Result<Self, KindError> {
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@');
        if !(1..=MAX_NAME).contains(&name.len()) || !name.chars().all(fits) {
            let shown: String = name.chars().take(MAX_NAME).filter(|c| !c.is_control()).collect();
            return Err(KindError::Name(shown));
        }
        Ok(Self { kind, name: name.into() })
    }

    /// Reads `kind/name`.
    ///
    /// # Errors
    /// [`KindError`].
    pub fn parse(text: &str) -> Result<Self, KindError> {
        let (kind, name) =
            text.split_once('/').ok_or_else(|| KindError::Shape(text.chars().take(MAX_NAME).collect()))?;
        let kind = Kind::parse(kind).ok_or_else(|| KindError::Kind(kind.chars().take(MAX_NAME).collect()))?;
        Self::new(kind, name)
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Its name, unique among those of the kind.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.name(), self.name)
    }
}

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The version of the state at which it became what it is.
    pub version: u64,
    /// The document, canonical JSON.
    pub document: Arc<str>,
}

/// What governs a mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    version: u64,
    items: BTreeMap<Key, Item>,
}

impl State {
    /// How many changes have made it.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// A resource.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Item> {
        self.items.get(key)
    }

    /// All resources, in order.
    pub fn items(&self) -> impl Iterator<Item = (&Key, &Item)> {
        self.items.iter()
    }

    /// All of one kind, in order of name.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&Key, &Item)> {
        self.items.range(Key { kind, name: "".into() }..).take_while(move |(key, _)| key.kind == kind)
    }

    /// The state after `puts` and `deletes` in one change.
    #[must_use]
    pub fn with(&self, puts: impl IntoIterator<Item = (Key, Arc<str>)>, deletes: &[Key]) -> Self {
        let mut next = Self { version: self.version + 1, items: self.items.clone() };
        for key in deletes {
            next.items.remove(key);
        }
        for (key, document) in puts {
            next.items.insert(key, Item { version: next.version, document });
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written() {
        for kind in Kind::ALL {
            let key = Key::new(*kind, "a-b_c.d:e@f").unwrap();
            assert_eq!(Key::parse(&key.to_string()), Ok(key));
        }
        assert!(matches!(Key::parse("tenant"), Err(KindError::Shape(_))));
        assert!(matches!(Key::parse("landlord/x"), Err(KindError::Kind(_))));
        for name in ["", "a b", "a/b", "a\nb", &"x".repeat(MAX_NAME + 1)] {
            assert!(matches!(Key::new(Kind::Tenant, name), Err(KindError::Name(_))), "{name:?}");
        }
    }

    #[test]
    fn a_change_counts_once_and_marks_what_it_changed() {
        let key = |name| Key::new(Kind::Tenant, name).unwrap();
        let one = State::default().with([(key("a"), "{}".into()), (key("b"), "{}".into())], &[]);
        let two = one.with([(key("b"), "{\"x\":1}".into())], &[key("a")]);
        assert_eq!((one.version(), two.version()), (1, 2));
        assert_eq!(two.get(&key("a")), None);
        assert_eq!(two.get(&key("b")).map(|item| item.version), Some(2));
        assert_eq!(one.of_kind(Kind::Tenant).count(), 2);
        assert_eq!(one.of_kind(Kind::Identity).count(), 0);
    }
}
