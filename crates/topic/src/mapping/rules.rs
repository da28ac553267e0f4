//! The rules of a hub, in their order.

use super::rule::{Mapping, MappingError, MappingSpec};
use crate::interest::InterestSet;
use crate::topic::Topic;

/// The most rules that there can be together.
pub const MAX_MAPPINGS: usize = 256;

/// Rules in their order, of which the first that matches counts.
#[derive(Clone, Debug, Default)]
pub struct Mappings {
    rules: Box<[Mapping]>,
    /// The rules' numbers by what they are for, so that a look-up does not ask each.
    by_filter: InterestSet<u16>,
}

impl Mappings {
    /// Checks rules, each by itself and all together.
    ///
    /// # Errors
    /// [`MappingsError`]: the first that is wrong.
    pub fn new(specs: &[MappingSpec]) -> Result<Self, MappingsError> {
        if specs.len() > MAX_MAPPINGS {
            return Err(MappingsError::TooMany { found: specs.len() });
        }
        let mut rules: Vec<Mapping> = Vec::with_capacity(specs.len());
        let mut by_filter = InterestSet::new();
        for (index, spec) in specs.iter().enumerate() {
            let rule = Mapping::new(spec).map_err(|error| MappingsError::Rule { rule: index, error })?;
            if let Some(by) = rules.iter().position(|earlier| earlier.covers(&rule)) {
                let from = rules.get(by).map_or("", Mapping::from).into();
                return Err(MappingsError::NeverReached { rule: index, by: by + 1, from });
            }
            if !rule.name().is_empty() && rules.iter().any(|earlier| earlier.name() == rule.name()) {
                return Err(MappingsError::SameName { rule: index, name: rule.name().into() });
            }
            // At most 256 rules.
            by_filter.insert(rule.filter(), index as u16);
            rules.push(rule);
        }
        Ok(Self { rules: rules.into(), by_filter })
    }

    /// The rules, in their order.
    #[must_use]
    pub fn rules(&self) -> &[Mapping] {
        &self.rules
    }

    /// The rules as they are written.
    #[must_use]
    pub fn specs(&self) -> Vec<MappingSpec> {
        self.rules.iter().map(Mapping::spec).collect()
    }

    /// Whether there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The number, from 0, of the first rule for a topic, if there is one; of
    /// requests those alone count that map requests. Allocates nothing.
    #[must_use]
    pub fn find(&self, topic: Topic<'_>, is_request: bool) -> Option<usize> {
        let mut first = None;
        self.by_filter.for_each_match(topic, |&number| {
            let number = usize::from(number);
            let counts = !is_request || self.rules.get(number).is_some_and(Mapping::maps_requests);
            if counts && first.is_none_or(|first| number < first) {
                first = Some(number);
            }
        });
        first
    }
}

/// What is wrong with rules. Numbers of what is wrong count from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MappingsError {
    /// More than [`MAX_MAPPINGS`].
    #[error("{found} rules are too many: at most {MAX_MAPPINGS}")]
    TooMany {
        /// How many there are.
        found: usize,
    },
    /// One is wrong by itself.
    #[error("{error}")]
    Rule {
        /// Which.
        rule: usize,
        /// What is wrong with it.
        error: MappingError,
    },
    /// An earlier rule takes all that a later one is for.
    #[error("nothing is left for this rule, because rule {by}, from `{from}`, comes first: put this one before it")]
    NeverReached {
        /// Which.
        rule: usize,
        /// The earlier one, from 1.
        by: usize,
        /// Its pattern.
        from: Box<str>,
    },
    /// Two of the same name.
    #[error("two rules are called `{name}`: choose another name for one of them")]
    SameName {
        /// The later one.
        rule: usize,
        /// Their name.
        name: Box<str>,
    },
}

impl MappingsError {
    /// The rule that is wrong, from 0, and the key of it; nothing where it is
    /// all of them together.
    #[must_use]
    pub fn place(&self) -> Option<(usize, &'static str)> {
        match self {
            MappingsError::TooMany { .. } => None,
            MappingsError::Rule { rule, error } => Some((*rule, error.key())),
            MappingsError::NeverReached { rule, .. } => Some((*rule, "from")),
            MappingsError::SameName { rule, .. } => Some((*rule, "name")),
        }
    }
}
