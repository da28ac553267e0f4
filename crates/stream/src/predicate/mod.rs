//! Predicates over events: text that is compiled once and evaluated in place.
//!
//! ```text
//! predicate = all { "or" all }
//! all       = one { "and" one }
//! one       = "not" one | "(" predicate ")" | test
//! test      = operand ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) operand
//!           | operand "prefix" string
//!           | operand "in" "(" literal { "," literal } ")"
//!           | "exists" operand
//! operand   = field | literal
//! field     = "header" "." name | "header" "(" string ")"
//!           | "key" | "topic" | "topic" "[" digits "]"
//!           | "levels" | "size" | "time"
//! literal   = string | number
//! string    = "'" … "'" or '"' … '"'; in it \\, \' and \" stand for the second character
//! number    = [ "-" ] 1 to 18 digits [ "." 1 to 9 digits ]
//! name      = letters, digits, "_" and "-"
//! ```
//!
//! `header.x` is the value of the first header of that name, `topic[0]` the
//! topic's first level; these, `key` and `topic` are bytes. `levels` is how many
//! levels the topic has, `size` the payload's length in bytes, `time` the
//! event's own time in milliseconds since 1970; these are numbers. Bytes are
//! compared with bytes, byte for byte; compared with a number they must be the
//! text of one, such as `-1.5`. All fields of one list of `in` are of one kind.
//!
//! **What is not there is no match**: a test with a header or level that the
//! event does not have, or with bytes that should be a number and are none, is
//! false, whatever the operator, `!=` too. So `not header.x == 'a'` holds
//! without the header and `header.x != 'a'` does not. An empty key is there,
//! and `exists key` asks whether it is not empty.
//!
//! Example: `header.ce-type == 'order.placed' and (topic[1] in ('eu', 'uk') or
//! header.amount > 1000) and size < 65536`.
//!
//! Bounds: [`MAX_TEXT`], [`MAX_DEPTH`], [`MAX_CODE`]. The code only jumps
//! forward, so an evaluation takes at most as many steps as there are
//! instructions, each at most one pass over the event's headers, its topic or
//! the predicate's text. It allocates nothing.

mod code;
mod number;
mod parse;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use weft_wire::block::Event;

use code::Program;

/// The longest text, in bytes.
pub const MAX_TEXT: usize = 4096;
/// The most parentheses and `not`s within each other.
pub const MAX_DEPTH: usize = 32;
/// The most instructions; each test is one, each `and`, `or` and `not`, and
/// each literal in a list.
pub const MAX_CODE: usize = 512;

/// A compiled predicate. Equal when the texts are.
#[derive(Clone)]
pub struct Predicate {
    text: Box<str>,
    program: Program,
}

impl Predicate {
    /// Compiles `text`.
    ///
    /// # Errors
    /// [`PredicateError`]: where it is wrong, and what would be right there.
    pub fn compile(text: &str) -> Result<Self, PredicateError> {
        Ok(Self { text: text.into(), program: parse::parse(text)? })
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether an event of this topic is in.
    #[must_use]
    pub fn matches(&self, topic: &str, event: &Event<'_>) -> bool {
        self.program.run(topic, event)
    }
}

impl PartialEq for Predicate {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Predicate {}

impl fmt::Debug for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Predicate({:?})", self.text)
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Predicate {
    type Err = PredicateError;

    fn from_str(text: &str) -> Result<Self, PredicateError> {
        Self::compile(text)
    }
}

/// Why a text is not a predicate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the predicate is wrong at byte {at}: {what}")]
pub struct PredicateError {
    /// Where, in bytes from 0.
    pub at: usize,
    /// What is there, and what should be.
    pub what: String,
}
