//! How much of policies there may be.

/// Limits on policies. What is beyond is refused with the limit's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the rules of one policy.
    pub bytes: usize,
    /// Rules of one policy.
    pub rules: usize,
    /// Rules of all policies together; those of documents beyond it, in order of
    /// name, are not taken, which counts as a fault of theirs.
    pub all_rules: usize,
    /// Patterns (`like`) in one rule.
    pub patterns: usize,
    /// `*` in one pattern.
    pub stars: usize,
    /// Elements of one set.
    pub elements: usize,
    /// Bytes of one text in quotes.
    pub text: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 10, rules: 256, all_rules: 100_000, patterns: 16, stars: 16, elements: 512, text: 2048 }
    }
}

/// The most bytes of a rule's `@id`.
pub const MAX_ID: usize = 64;

/// The most mistakes that are told of one policy.
pub const MAX_FLAWS: usize = 16;
