//! A topic: the name under which events are published.

use std::fmt;

use crate::grammar::{self, Fault, MAX_BYTES, MAX_LEVELS};

/// The name under which events are published, checked, borrowed.
///
/// One to [`MAX_LEVELS`] levels of UTF-8 separated by `/`, at most
/// [`MAX_BYTES`] bytes, no level empty, none equal to `*` or `**`, and no
/// control characters. Everything else is an ordinary character, a `*` inside
/// a longer level included; nothing is normalised, so names are equal when
/// their bytes are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic<'a>(&'a str);

impl<'a> Topic<'a> {
    /// Checks `text`, in one pass and without allocating.
    ///
    /// # Errors
    /// The first rule of the grammar that `text` breaks, and where.
    pub fn parse(text: &'a str) -> Result<Self, TopicError> {
        match grammar::scan(text)?.wildcard {
            None => Ok(Self(text)),
            Some((level, offset)) => Err(TopicError::Wildcard { level, offset }),
        }
    }

    /// A topic from the text of a filter that was found to be literal.
    pub(crate) fn of_literal(text: &'a str) -> Self {
        Self(text)
    }

    /// The topic as it was given.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// The levels, first to last: 1 to [`MAX_LEVELS`] of them.
    pub fn levels(&self) -> impl DoubleEndedIterator<Item = &'a str> + Clone + use<'a> {
        self.0.split('/')
    }
}

impl fmt::Display for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({:?})", self.0)
    }
}

impl AsRef<str> for Topic<'_> {
    fn as_ref(&self) -> &str {
        self.0
    }
}

/// Why a text is not a topic. Levels count from 1, byte offsets from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// There is no text at all.
    #[error("the topic is empty: give it at least one level, such as `flights`")]
    Empty,
    /// More than [`MAX_BYTES`] bytes.
    #[error("the topic has {bytes} bytes, of which {MAX_BYTES} are allowed: shorten its levels")]
    TooLong {
        /// Bytes of the text.
        bytes: usize,
    },
    /// More than [`MAX_LEVELS`] levels.
    #[error("the topic has {levels} levels, of which {MAX_LEVELS} are allowed: join some of them")]
    TooManyLevels {
        /// Levels of the text.
        levels: usize,
    },
    /// Two separators in a row, or one at the start or the end.
    #[error("level {level} of the topic, at byte {offset}, is empty: remove the `/` that is too many")]
    EmptyLevel {
        /// Which level.
        level: usize,
        /// Where it would be.
        offset: usize,
    },
    /// A control character (Unicode category Cc), NUL included.
    #[error(
        "level {level} of the topic has the control character U+{code:04X} at byte {offset}: remove it or encode it"
    )]
    Control {
        /// Which level.
        level: usize,
        /// Where the character starts, in the whole text.
        offset: usize,
        /// Its code point.
        code: u32,
    },
    /// A level that is `*` or `**`, which only filters may have.
    #[error(
        "level {level} of the topic, at byte {offset}, is a wildcard: publish to one topic, or use the text as a filter"
    )]
    Wildcard {
        /// Which level.
        level: usize,
        /// Where it starts.
        offset: usize,
    },
}

impl From<Fault> for TopicError {
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
