//! The levels that a node of the trie stands for, and hashes of levels.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::grammar::split_first;

/// Unit tests make nearly all levels collide, which else needs an attacker.
const HASH_MASK: u64 = if cfg!(test) { 0xe000_0000_0000_0003 } else { u64::MAX };

/// The hash of a level. It decides where in memory a level is kept and in which
/// order levels are listed; levels are told apart by their text.
pub(crate) fn hash(level: &[u8]) -> u64 {
    xxh3_64(level) & HASH_MASK
}

/// Levels joined by `/`; short ones without an allocation.
#[derive(Clone)]
pub(crate) enum Path {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Arc<[u8]>),
}

/// As much as makes a path three words.
const SHORT: usize = 22;

impl Default for Path {
    fn default() -> Self {
        Self::Short { len: 0, bytes: [0; SHORT] }
    }
}

impl Path {
    pub(crate) fn new(text: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(room), Ok(len)) => {
                room.copy_from_slice(text);
                Self::Short { len, bytes }
            }
            _ => Self::Long(text.into()),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(bytes) => bytes,
        }
    }

    /// The first level.
    pub(crate) fn first(&self) -> &[u8] {
        split_first(self.bytes()).map_or(&[], |(first, _)| first)
    }

    /// True if `level` is the first level.
    pub(crate) fn starts_with(&self, level: &[u8]) -> bool {
        self.bytes().strip_prefix(level).is_some_and(|rest| rest.first().is_none_or(|&byte| byte == b'/'))
    }

    /// What follows a first level of `len` bytes.
    pub(crate) fn after(&self, len: usize) -> &[u8] {
        self.bytes().get(len + 1..).unwrap_or_default()
    }
}

/// Splits two texts after the levels they have in common:
/// (common, rest of the first, rest of the second).
pub(crate) fn part<'a, 'b>(one: &'a [u8], other: &'b [u8]) -> (&'a [u8], &'a [u8], &'b [u8]) {
    let (mut one_rest, mut other_rest) = (one, other);
    while let (Some((a, one_after)), Some((b, other_after))) = (split_first(one_rest), split_first(other_rest)) {
        if a != b {
            break;
        }
        (one_rest, other_rest) = (one_after, other_after);
    }
    let common = &one[..one.len() - one_rest.len()];
    (common.strip_suffix(b"/").unwrap_or(common), one_rest, other_rest)
}
