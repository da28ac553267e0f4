//! What can be wrong with a schema, a payload, or two schemas together. All texts
//! are bounded, whatever they quote.
use std::fmt;

/// Bytes of a text that quotes what came from outside.
const TEXT_BYTES: usize = 512;

/// `text`, cut at a character's end to at most [`TEXT_BYTES`], with no control characters.
pub(crate) fn shortened(text: impl Into<String>) -> String {
    let mut text: String = text.into();
    if text.len() > TEXT_BYTES {
        let end = (0..=TEXT_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    if text.contains(char::is_control) {
        text = text.replace(char::is_control, " ");
    }
    text
}

/// Why a text is no schema that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// More than the limits allow.
    #[error(
        "the schema has {size} {what}, and at most {limit} are allowed: split it into schemas that refer to each other, or make it simpler"
    )]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// It breaks a rule of its format.
    #[error("the schema breaks a rule of its format at '{at}': {reason}")]
    Invalid {
        /// Where: a path, a name or a line.
        at: String,
        /// The rule.
        reason: String,
    },
    /// It is right, but says what is refused here.
    #[error("the schema is refused at '{at}': {reason}")]
    Refused {
        /// Where: a path, a name or a line.
        at: String,
        /// Why.
        reason: String,
    },
    /// It names another schema that was not given with it.
    #[error(
        "the schema refers to '{name}', which is not among its references: register that first and name it in `references`"
    )]
    Missing {
        /// The name in the text.
        name: String,
    },
}

impl CompileError {
    /// [`CompileError::Invalid`], with bounded texts.
    pub(crate) fn invalid(at: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { at: shortened(at), reason: shortened(reason) }
    }

    /// [`CompileError::Refused`], with bounded texts.
    pub(crate) fn refused(at: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Refused { at: shortened(at), reason: shortened(reason) }
    }
}

/// Why a payload is not of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where in the payload: a path (JSON pointer, names of fields), or the
    /// offset of a byte.
    pub at: String,
    /// The rule: a keyword or a short word.
    pub rule: String,
    /// What is wrong, with the value.
    pub text: String,
}

impl Violation {
    /// With bounded texts.
    pub fn new(at: impl Into<String>, rule: impl Into<String>, text: impl Into<String>) -> Self {
        Self { at: shortened(at), rule: shortened(rule), text: shortened(text) }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' at '{}': {}", self.rule, self.at, self.text)
    }
}

/// Why a reader cannot read what a writer writes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Incompatibility {
    /// Where in the schemas: a JSON pointer or a name.
    pub at: String,
    /// The rule, as a word in capitals, such as `TYPE_NARROWED`.
    pub rule: &'static str,
    /// What stands against it.
    pub text: String,
}

impl Incompatibility {
    /// With bounded texts.
    pub fn new(at: impl Into<String>, rule: &'static str, text: impl Into<String>) -> Self {
        Self { at: shortened(at), rule, text: shortened(text) }
    }
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at '{}': {}", self.rule, self.at, self.text)
    }
}
