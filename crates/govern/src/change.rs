//! A change: what is put and what is deleted, all of it or nothing.
//!
//! It says which versions its author saw of what it replaces or relies on
//! ([`Expect`]), and at which version of the whole state it was vetted
//! ([`Change::base`]): it takes effect on that state or not at all. The encoding is part of what is
//! replicated and kept, so it never changes; another one would have another
//! `format`, which hubs that do not know it would have to be told of first.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use weft_base::{Random, UnixNanos};

use crate::access::Principal;
use crate::{Key, Limits};

/// The number of the encoding.
const FORMAT: u32 = 1;

/// The number of a change, drawn at random by whoever wants it. A change that
/// comes again under its number has no second effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId(pub u128);

impl ChangeId {
    /// Draws one.
    #[must_use]
    pub fn draw(random: &mut Random) -> Self {
        Self(u128::from(random.next_u64()) << 64 | u128::from(random.next_u64()))
    }
}

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for ChangeId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let right = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let number = right.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(Self).ok_or_else(|| "the number of a change has 32 digits of 0-9 and a-f".to_owned())
    }
}

impl Serialize for ChangeId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChangeId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What an author saw of a resource: its version, or that it was not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The resource.
    pub key: Key,
    /// The version at which it was last changed; none: it is not there.
    pub version: Option<u64>,
}

/// A change of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number.
    pub id: ChangeId,
    /// Who wants it.
    pub author: Principal,
    /// When it was asked for, by the clock of the hub where it was.
    pub at: UnixNanos,
    /// The version of the state against which it was vetted. What one document
    /// alone cannot tell (whether the topics of two tenants are apart) was true
    /// of that state with this change, and need not be of another.
    pub base: u64,
    /// Documents, canonical JSON, in order of key, each key once.
    pub puts: Vec<(Key, Arc<str>)>,
    /// What is to be no more, in order, none of it also put.
    pub deletes: Vec<Key>,
    /// What its author saw, in order of key, each key once.
    pub expects: Vec<Expect>,
}

/// The encoding. Field by field in this order, so that it is the same everywhere.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded {
    format: u32,
    id: ChangeId,
    author: Principal,
    at: u64,
    base: u64,
    puts: Vec<(Key, Arc<str>)>,
    deletes: Vec<Key>,
    expects: Vec<(Key, Option<u64>)>,
}

/// Why a change cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// More bytes than a change may have.
    #[error("the change has {bytes} bytes, of which {most} are allowed: make it in several steps")]
    TooLarge {
        /// Of the encoded change.
        bytes: usize,
        /// [`Limits::change`].
        most: usize,
    },
    /// A document with more bytes than one may have.
    #[error("the document {key} has {bytes} bytes, of which {most} are allowed: split it or make it shorter")]
    Document {
        /// Which.
        key: Key,
        /// Its bytes.
        bytes: usize,
        /// [`Limits::document`].
        most: usize,
    },
    /// A key that is put twice, put and deleted, or out of order.
    #[error("the change names {0} twice, or its keys are not in order: name each key once")]
    Order(Key),
    /// Bytes that are no change, or one of a newer version.
    #[error("this is no change that is understood: {0}")]
    Unreadable(String),
}

impl Change {
    /// Brings keys into order. What is named twice stays so, and [`Change::encode`]
    /// refuses it.
    #[must_use]
    pub fn in_order(mut self) -> Self {
        self.puts.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.deletes.sort();
        self.expects.sort();
        self
    }

    /// Its bytes, as they are replicated.
    ///
    /// # Errors
    /// It breaks the limits or the rules of its fields.
    pub fn encode(&self, limits: &Limits) -> Result<Vec<u8>, ChangeError> {
        self.check(limits)?;
        let encoded = Encoded {
            format: FORMAT,
            id: self.id,
            author: self.author.clone(),
            at: self.at.0,
            base: self.base,
            puts: self.puts.clone(),
            deletes: self.deletes.clone(),
            expects: self.expects.iter().map(|expect| (expect.key.clone(), expect.version)).collect(),
        };
        let bytes = serde_json::to_vec(&encoded).map_err(|e| ChangeError::Unreadable(e.to_string()))?;
        if bytes.len() > limits.change {
            return Err(ChangeError::TooLarge { bytes: bytes.len(), most: limits.change });
        }
        Ok(bytes)
    }

    /// Reads what [`Change::encode`] wrote. Time and memory of the order of the
    /// bytes, which are bounded by `limits`.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, ChangeError> {
        if bytes.len() > limits.change {
            return Err(ChangeError::TooLarge { bytes: bytes.len(), most: limits.change });
        }
        let unreadable = |error: serde_json::Error| ChangeError::Unreadable(error.to_string());
        let encoded: Encoded = serde_json::from_slice(bytes).map_err(unreadable)?;
        if encoded.format != FORMAT {
            let why = format!("it has format {}, and this hub knows {FORMAT}: upgrade the hub", encoded.format);
            return Err(ChangeError::Unreadable(why));
        }
        let change = Self {
            id: encoded.id,
            author: encoded.author,
            at: UnixNanos(encoded.at),
            base: encoded.base,
            puts: encoded.puts,
            deletes: encoded.deletes,
            expects: encoded.expects.into_iter().map(|(key, version)| Expect { key, version }).collect(),
        };
        change.check(limits)?;
        Ok(change)
    }

    /// All keys that it puts or deletes, in order.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        let keys: BTreeSet<&Key> = self.puts.iter().map(|(key, _)| key).chain(&self.deletes).collect();
        keys.into_iter().cloned().collect()
    }

    fn check(&self, limits: &Limits) -> Result<(), ChangeError> {
        for (key, document) in &self.puts {
            if document.len() > limits.document {
                let (bytes, most) = (document.len(), limits.document);
                return Err(ChangeError::Document { key: key.clone(), bytes, most });
            }
        }
        in_order(self.puts.iter().map(|(key, _)| key))?;
        in_order(self.deletes.iter())?;
        in_order(self.expects.iter().map(|expect| &expect.key))?;
        let put = |key: &Key| self.puts.binary_search_by(|(put, _)| put.cmp(key)).is_ok();
        match self.deletes.iter().find(|key| put(key)) {
            Some(key) => Err(ChangeError::Order(key.clone())),
            None => Ok(()),
        }
    }
}

fn in_order<'a>(keys: impl Iterator<Item = &'a Key>) -> Result<(), ChangeError> {
    let mut last: Option<&Key> = None;
    for key in keys {
        if last.is_some_and(|last| last >= key) {
            return Err(ChangeError::Order(key.clone()));
        }
        last = Some(key);
    }
    Ok(())
}
