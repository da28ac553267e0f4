//! The template of a rule: a topic with places to fill in.

use arrayvec::ArrayString;
use weft_base::buckets::jump;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::pattern::{Captures, Pattern};
use crate::grammar::{MAX_BYTES, MAX_LEVELS, is_reserved};
use crate::topic::{Topic, TopicError};

/// The most partitions that a template may ask for.
pub const MAX_PARTITIONS: u32 = 65_536;

/// What a topic became.
pub type MappedTopic = ArrayString<MAX_BYTES>;

/// A topic with places to fill in.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    text: Box<str>,
    levels: Box<[Level]>,
}

#[derive(Clone, Debug)]
enum Level {
    /// As many levels as the pattern's `**` stood for, none included.
    Rest,
    Pieces(Box<[Piece]>),
}

#[derive(Clone, Debug)]
enum Piece {
    Text(Box<str>),
    Capture(u8),
    /// A number below `count` that these captures decide, or without any the topic.
    Partition {
        count: u32,
        over: Box<[u8]>,
    },
}

impl Template {
    /// Checks a text against the pattern that it is to be filled in from.
    pub(crate) fn parse(text: &str, pattern: &Pattern) -> Result<Self, TemplateError> {
        if text.is_empty() {
            return Err(TemplateError::Empty);
        }
        if is_reserved(text) {
            return Err(TemplateError::Reserved);
        }
        let (mut levels, mut literal, mut offset) = (Vec::new(), 0, 0);
        for (index, level) in text.split('/').enumerate() {
            let number = index + 1;
            match level {
                "" => return Err(TemplateError::EmptyLevel { level: number, offset }),
                "*" | "**" => return Err(TemplateError::Wildcard { level: number, offset }),
                _ if is_rest(level) && pattern.has_rest() => levels.push(Level::Rest),
                _ => {
                    let pieces = pieces(level, offset, pattern)?;
                    literal += pieces.iter().map(Piece::least).sum::<usize>() + usize::from(literal > 0);
                    levels.push(Level::Pieces(pieces.into()));
                }
            }
            offset += level.len() + 1;
        }
        if levels.len() > MAX_LEVELS {
            return Err(TemplateError::TooManyLevels { levels: levels.len() });
        }
        if literal > MAX_BYTES {
            return Err(TemplateError::TooLong { bytes: literal });
        }
        Ok(Self { text: text.into(), levels: levels.into() })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Fills the places in. `out` is undefined when that fails.
    pub(crate) fn fill(
        &self,
        pattern: &Pattern,
        captures: &Captures<'_>,
        out: &mut MappedTopic,
    ) -> Result<(), Unmappable> {
        out.clear();
        let mut add = |text: &str| out.try_push_str(text).map_err(|_| Unmappable::TooLong);
        let mut first = true;
        for level in &self.levels {
            let rest = pattern.rest(captures);
            if matches!(level, Level::Rest) && rest.is_empty() {
                continue;
            }
            if !std::mem::take(&mut first) {
                add("/")?;
            }
            let Level::Pieces(pieces) = level else {
                add(rest)?;
                continue;
            };
            for piece in pieces {
                match piece {
                    Piece::Text(text) => add(text)?,
                    Piece::Capture(number) => add(pattern.capture(*number, captures))?,
                    Piece::Partition { count, over } => {
                        let mut digits = [0; 10];
                        add(decimal(partition(*count, over, pattern, captures), &mut digits))?;
                    }
                }
            }
        }
        if is_reserved(out) {
            return Err(Unmappable::Reserved);
        }
        Topic::parse(out)?;
        Ok(())
    }
}

impl Piece {
    /// Bytes that it becomes at least.
    fn least(&self) -> usize {
        match self {
            Piece::Text(text) => text.len(),
            Piece::Capture(_) | Piece::Partition { .. } => 1,
        }
    }
}

/// The partition of what was captured: see the module's documentation.
fn partition(count: u32, over: &[u8], pattern: &Pattern, captures: &Captures<'_>) -> u32 {
    let hash = match over {
        [] => xxh3_64(captures.topic.as_bytes()),
        [one] => xxh3_64(pattern.capture(*one, captures).as_bytes()),
        several => {
            let mut hash = Xxh3Default::new();
            for (index, number) in several.iter().enumerate() {
                if index > 0 {
                    hash.update(b"/");
                }
                hash.update(pattern.capture(*number, captures).as_bytes());
            }
            hash.digest()
        }
    };
    jump(hash, count)
}

/// The digits of a number.
fn decimal(mut number: u32, digits: &mut [u8; 10]) -> &str {
    let mut start = digits.len();
    for (index, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (number % 10) as u8;
        (number, start) = (number / 10, index);
        if number == 0 {
            break;
        }
    }
    digits.get(start..).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default()
}

/// Whether a level is nothing but the rest.
fn is_rest(level: &str) -> bool {
    let inside = level.strip_prefix('{').and_then(|level| level.strip_suffix('}'));
    inside.is_some_and(|inside| inside.trim() == "rest")
}

/// The pieces of one level, which starts at `offset`.
fn pieces(level: &str, offset: usize, pattern: &Pattern) -> Result<Vec<Piece>, TemplateError> {
    let (mut pieces, mut left) = (Vec::new(), level);
    while !left.is_empty() {
        let at = offset + level.len() - left.len();
        let text = left.split(['{', '}']).next().unwrap_or(left);
        if let Some((index, control)) = text.char_indices().find(|(_, c)| c.is_control()) {
            return Err(TemplateError::Control { offset: at + index, code: control.into() });
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.into()));
            left = left.get(text.len()..).unwrap_or_default();
            continue;
        }
        let Some((inside, after)) = left.strip_prefix('{').and_then(|left| left.split_once('}')) else {
            return Err(TemplateError::Brace { offset: at });
        };
        if inside.contains('{') || after.starts_with('}') {
            return Err(TemplateError::Brace { offset: at });
        }
        pieces.push(place(inside, at, pattern)?);
        left = after;
    }
    Ok(pieces)
}

/// What stands between braces.
fn place(inside: &str, offset: usize, pattern: &Pattern) -> Result<Piece, TemplateError> {
    let unknown = || TemplateError::Unknown { offset, found: inside.into() };
    let known = |text: &str| -> Result<u8, TemplateError> {
        let number = text.trim().parse::<usize>().map_err(|_| unknown())?;
        let found = u8::try_from(number).ok().filter(|_| (1..=pattern.captures()).contains(&number));
        found.ok_or_else(|| TemplateError::NoCapture { offset, number, captures: pattern.captures() })
    };
    if inside.trim() == "rest" {
        return Err(match pattern.has_rest() {
            false => TemplateError::NoRest { offset },
            true => TemplateError::RestInLevel { offset },
        });
    }
    let Some(call) = inside.trim().strip_prefix("partition(").and_then(|call| call.strip_suffix(')')) else {
        return known(inside).map(Piece::Capture);
    };
    let mut arguments = call.split(',');
    let count = arguments.next().unwrap_or_default().trim();
    let bad = || TemplateError::Partitions { offset, found: count.into() };
    let count = count.parse::<u32>().ok().filter(|count| (1..=MAX_PARTITIONS).contains(count)).ok_or_else(bad)?;
    let over = arguments.map(known).collect::<Result<Box<[u8]>, _>>()?;
    Ok(Piece::Partition { count, over })
}

/// Why a text is no template for a pattern. Levels count from 1, byte offsets from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// There is no text at all.
    #[error("the template is empty: give it at least one level, such as `eu/{{rest}}`")]
    Empty,
    /// The first level starts with an underscore.
    #[error("topics that start with `_` are the mesh's own: choose another first level")]
    Reserved,
    /// Two separators in a row, or one at the start or the end.
    #[error("level {level} of the template, at byte {offset}, is empty: remove the `/` that is too many")]
    EmptyLevel {
        /// Which level.
        level: usize,
        /// Where it would be.
        offset: usize,
    },
    /// A level that is `*` or `**`.
    #[error(
        "level {level} of the template, at byte {offset}, is a wildcard: write `{{1}}` for what the first `*` of \
         `from` stands for, and `{{rest}}` for its `**`"
    )]
    Wildcard {
        /// Which level.
        level: usize,
        /// Where it starts.
        offset: usize,
    },
    /// A control character.
    #[error("the template has the control character U+{code:04X} at byte {offset}: no topic has one, remove it")]
    Control {
        /// Where it starts.
        offset: usize,
        /// Its code point.
        code: u32,
    },
    /// A brace without its counterpart, or two in a row.
    #[error(
        "the brace at byte {offset} has no counterpart, or is doubled: write `{{1}}` with single braces; a topic \
         with braces of its own cannot be made"
    )]
    Brace {
        /// Where it stands.
        offset: usize,
    },
    /// Something in braces that means nothing.
    #[error("`{{{found}}}` at byte {offset} means nothing: there are `{{1}}`, `{{rest}}` and `{{partition(8, 1)}}`")]
    Unknown {
        /// Where the brace stands.
        offset: usize,
        /// What is between the braces.
        found: Box<str>,
    },
    /// A capture that the pattern does not have.
    #[error("the capture {number} at byte {offset} is not there: `from` has {captures} of `*`, counted from 1")]
    NoCapture {
        /// Where the brace stands.
        offset: usize,
        /// The number that was written.
        number: usize,
        /// How many there are.
        captures: usize,
    },
    /// The rest, of a pattern without `**`.
    #[error("`{{rest}}` at byte {offset} is not there: let `from` end with `**`")]
    NoRest {
        /// Where the brace stands.
        offset: usize,
    },
    /// The rest together with something else in one level.
    #[error("`{{rest}}` at byte {offset} stands for several levels: make it a level of its own")]
    RestInLevel {
        /// Where the brace stands.
        offset: usize,
    },
    /// A number of partitions that cannot be.
    #[error("`{found}` at byte {offset} is no number of partitions: take 1 to {MAX_PARTITIONS}")]
    Partitions {
        /// Where the brace stands.
        offset: usize,
        /// What was written.
        found: Box<str>,
    },
    /// More than [`MAX_LEVELS`] levels.
    #[error("the template has {levels} levels, of which {MAX_LEVELS} are allowed: join some of them")]
    TooManyLevels {
        /// Levels of the text.
        levels: usize,
    },
    /// More than [`MAX_BYTES`] bytes whatever is filled in.
    #[error("what the template becomes has at least {bytes} bytes, of which {MAX_BYTES} are allowed: shorten it")]
    TooLong {
        /// Bytes at least.
        bytes: usize,
    },
}

/// Why a rule can make no topic of the one at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unmappable {
    /// The result has more than [`MAX_BYTES`] bytes.
    #[error("the result has more than {MAX_BYTES} bytes: shorten the topic or the rule")]
    TooLong,
    /// The result starts with an underscore.
    #[error("the result would start with `_`, as the mesh's own topics do: change the topic or the rule")]
    Reserved,
    /// The result breaks the grammar: it has too many levels, or none.
    #[error(transparent)]
    Invalid(#[from] TopicError),
}
