//! The state: resources by kind and name, each with the version of its last change.
//!
//! Copies of a state at one version are equal, bit by bit: the order is that of
//! the keys, and documents are canonical JSON (keys in order, no blanks).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::items::Items;

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
    /// What somebody who reads a subject's events can read.
    Reader = "reader";
    /// A stream that there is to be.
    Stream = "stream";
    /// What holds for all subjects.
    Registry = "registry";
}

impl Kind {
    /// The kind of this name, if there is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

impl Serialize for Kind {
    /// By its name.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let error = || serde::de::Error::custom(KindError::Kind(text.chars().take(MAX_NAME).collect()));
        Self::parse(&text).ok_or_else(error)
    }
}

/// The longest name of a resource, in bytes.
pub const MAX_NAME: usize = 255;

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
    #[error(
        "the name `{0}` is not possible: 1 to {MAX_NAME} bytes of letters, digits, `-`, `_`, `.`, `:` and `@`; of \
         subjects any but blanks and control characters"
    )]
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
        // Registries elsewhere take nearly any text as the name of a subject.
        let fits = |c: char| match kind {
            Kind::Subject => !c.is_whitespace() && !c.is_control(),
            _ => c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@'),
        };
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

impl Serialize for Key {
    /// As `kind/name`.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
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

/// What governs a mesh. Clones share what they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    version: u64,
    items: Items,
    bytes: usize,
}

/// What a resource counts for in [`State::bytes`].
fn weight(key: &Key, document: &str) -> usize {
    key.kind().name().len() + 1 + key.name().len() + document.len()
}

impl State {
    /// How many changes have made it.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// How many resources there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.len() == 0
    }

    /// Bytes of all keys and documents.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
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
        self.items.of_kind(kind)
    }

    /// Those after a key, in order; all without one.
    pub fn after<'a>(&'a self, key: Option<&Key>) -> impl Iterator<Item = (&'a Key, &'a Item)> + use<'a> {
        self.items.from(&|held| key.is_some_and(|key| held <= key))
    }

    /// The state after `puts` and `deletes` in one change. Copies what it changes
    /// and shares the rest with this one.
    #[must_use]
    pub fn with(&self, puts: impl IntoIterator<Item = (Key, Arc<str>)>, deletes: &[Key]) -> Self {
        let mut next = self.clone();
        next.version += 1;
        for key in deletes {
            if let Some(item) = next.items.remove(key) {
                next.bytes -= weight(key, &item.document);
            }
        }
        for (key, document) in puts {
            next.put(key, Item { version: next.version, document });
        }
        next
    }

    fn put(&mut self, key: Key, item: Item) {
        self.bytes += weight(&key, &item.document);
        if let Some(former) = self.items.insert(key.clone(), item) {
            self.bytes -= weight(&key, &former.document);
        }
    }

    /// A state of these resources, as a snapshot has them.
    pub(crate) fn of(version: u64, items: impl IntoIterator<Item = (Key, Item)>) -> Self {
        let mut state = Self { version, ..Self::default() };
        for (key, item) in items {
            state.put(key, item);
        }
        state
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
        let subject = Key::new(Kind::Subject, "acme/Order%2F$x").unwrap();
        assert_eq!(Key::parse(&subject.to_string()), Ok(subject));
        assert!(Key::parse("subject/a b").is_err() && Key::parse("subject/").is_err());
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
        assert_eq!((one.bytes(), two.bytes()), (20, 15));
        assert_eq!((one.len(), two.len(), State::default().is_empty()), (2, 1, true));
        let after: Vec<_> = one.after(Some(&key("a"))).map(|(key, _)| key.to_string()).collect();
        assert_eq!(after, ["tenant/b"]);
        assert_eq!(one.after(None).count(), 2);
    }
}
