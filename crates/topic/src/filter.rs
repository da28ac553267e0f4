//! A filter: a set of topics, in canonical form.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::algebra;
use crate::grammar::{self, Fault, MAX_BYTES, MAX_LEVELS};
use crate::topic::Topic;

/// A set of topics: the grammar of topics, with two levels that stand for
/// others. `*` is any one whole level; `**` is zero or more levels, anywhere
/// and as often as wanted. So `a/**` matches `a`, and `**` everything.
///
/// A filter is kept in canonical form, in which two filters are equal exactly
/// when they match the same topics: of wildcards in a row, first the `*`s, then
/// at most one `**` (`a/**/*` is `a/*/**`), and of `*/**` alone, `**` only,
/// since every topic has a level. So `==`, [`Ord`] and [`Hash`] are those of
/// the text.
///
/// Clones share the text. A level such as `a*` is an ordinary name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter(Arc<str>);

impl Filter {
    /// Checks `text` and brings it into canonical form.
    ///
    /// # Errors
    /// The first rule of the grammar that `text` breaks, and where.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        match grammar::scan(text)?.wildcard {
            None => Ok(Self(text.into())),
            Some(_) => Ok(Self(algebra::canonical(text).into())),
        }
    }

    /// The filter of all topics, `**`.
    #[must_use]
    pub fn everything() -> Self {
        Self("**".into())
    }

    /// A filter from the canonical text of one.
    pub(crate) fn of_canonical(text: &str) -> Self {
        Self(text.into())
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The levels, first to last: 1 to [`MAX_LEVELS`] of them.
    pub fn levels(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        self.0.split('/')
    }

    /// True if there is no wildcard, so that one topic only matches.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.levels().all(|level| level != "*" && level != "**")
    }

    /// The one topic of a filter without wildcards.
    #[must_use]
    pub fn as_topic(&self) -> Option<Topic<'_>> {
        self.is_literal().then(|| Topic::of_literal(&self.0))
    }

    /// True if `topic` is in the set.
    ///
    /// Takes at most 4,096 comparisons of levels (64 x 64), and about the
    /// number of the topic's levels for a filter with no more than one `**`.
    #[must_use]
    pub fn matches(&self, topic: Topic<'_>) -> bool {
        algebra::includes(&self.0, topic.as_str())
    }

    /// True if some topic is in both sets; symmetric. At most 4,096
    /// comparisons of levels.
    ///
    /// Exact over topics of any length. Two long filters whose only common
    /// topics break the limits ([`MAX_LEVELS`], [`MAX_BYTES`]) intersect too.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        algebra::intersects(&self.0, &other.0)
    }

    /// True if every topic of `other` is in this set. At most 4,096
    /// comparisons of levels.
    ///
    /// Exact over topics of any length. "True" holds in every case; "false"
    /// may be wrong for filters so near to [`MAX_LEVELS`] or [`MAX_BYTES`] that
    /// all topics that tell them apart break the limits.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        algebra::includes(&self.0, &other.0)
    }
}

impl From<Topic<'_>> for Filter {
    /// The filter of that topic alone.
    fn from(topic: Topic<'_>) -> Self {
        Self(topic.as_str().into())
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Self::parse(text)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({:?})", &*self.0)
    }
}

impl AsRef<str> for Filter {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Filter {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a filter. Levels count from 1, byte offsets from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// There is no text at all.
    #[error("the filter is empty: give it at least one level; `**` matches all topics")]
    Empty,
    /// More than [`MAX_BYTES`] bytes.
    #[error("the filter has {bytes} bytes, of which {MAX_BYTES} are allowed: shorten its levels")]
    TooLong {
        /// Bytes of the text.
        bytes: usize,
    },
    /// More than [`MAX_LEVELS`] levels.
    #[error("the filter has {levels} levels, of which {MAX_LEVELS} are allowed: put `**` in place of some of them")]
    TooManyLevels {
        /// Levels of the text.
        levels: usize,
    },
    /// Two separators in a row, or one at the start or the end.
    #[error("level {level} of the filter, at byte {offset}, is empty: remove the `/` that is too many, or write `*`")]
    EmptyLevel {
        /// Which level.
        level: usize,
        /// Where it would be.
        offset: usize,
    },
    /// A control character (Unicode category Cc), NUL included.
    #[error(
        "level {level} of the filter has the control character U+{code:04X} at byte {offset}: no topic has one, remove it"
    )]
    Control {
        /// Which level.
        level: usize,
        /// Where the character starts, in the whole text.
        offset: usize,
        /// Its code point.
        code: u32,
    },
}

impl From<Fault> for FilterError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Empty => Self::Empty,
            Fault::TooLong { bytes } => Self::TooLong { bytes },
            Fault::TooManyLevels { levels } => Self::TooManyLevels { levels },
            Fault::EmptyLevel { level, offset } => Self::EmptyLevel { level, offset },
            Fault::Control { level, offset, code } => Self::Control { level, offset, code },
        }
    }
}
