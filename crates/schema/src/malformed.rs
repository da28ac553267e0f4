//! What is wrong with the bytes of a payload, and the way of that out of nested
//! parts. Shared by the formats that are walked where they lie; nothing is
//! allocated before something is wrong.

use crate::error::Violation;

/// What is wrong, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// A short word for the rule.
    pub(crate) rule: &'static str,
    /// What the rule says.
    pub(crate) text: &'static str,
    /// The offset of the byte, from the payload's begin.
    pub(crate) at: usize,
}

/// A broken rule, on its way out.
pub(crate) struct Broken<'m> {
    pub(crate) malformed: Malformed,
    /// Names of fields, the innermost first.
    pub(crate) path: Vec<&'m str>,
}

impl From<Malformed> for Broken<'_> {
    fn from(malformed: Malformed) -> Self {
        Self { malformed, path: Vec::new() }
    }
}

impl Broken<'_> {
    /// In words, of a payload whose outermost type is called `root`.
    pub(crate) fn into_violation(self, root: &str) -> Violation {
        let Malformed { rule, text, at } = self.malformed;
        let path: Vec<&str> = self.path.into_iter().rev().collect();
        Violation::new(path.join("."), rule, format!("{text} (byte {at} of a {root})"))
    }
}
