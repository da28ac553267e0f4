//! One rule: a pattern, its destinations, and which of them it is.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::pattern::{Captures, Pattern, PatternError};
use super::template::{MappedTopic, Template, TemplateError, Unmappable};
use crate::filter::Filter;
use crate::topic::Topic;

/// The most destinations of one rule.
pub const MAX_DESTINATIONS: usize = 16;
/// The greatest weight of a destination.
pub const MAX_WEIGHT: u32 = 1_000_000;
/// Keeps the choice of a destination apart from partitions, which have seed 0.
const SEED: u64 = 1;

/// What decides which of several destinations a block goes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum By {
    /// Its producer and its sequence there: each block by itself, whole.
    #[default]
    Block,
    /// Its producer: all of one producer goes to one destination.
    Producer,
    /// Its topic: all of one topic goes to one destination.
    Topic,
}

/// A rule as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MappingSpec {
    /// What it is called where it is counted; empty for its number.
    pub name: String,
    /// The pattern.
    pub from: String,
    /// Templates, or nothing for what is dropped, each with its weight.
    pub to: Vec<(Option<String>, u32)>,
    /// What decides, with several of them.
    pub by: By,
    /// Whether requests are mapped too.
    pub requests: bool,
}

/// Who published what is mapped, and under which number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entered {
    /// The producer.
    pub producer: u64,
    /// Its number of the block's first event.
    pub sequence: u64,
}

/// One place that events of a rule go to.
#[derive(Clone, Debug)]
pub struct Destination {
    template: Option<Template>,
    weight: u32,
}

/// A rule, checked.
#[derive(Clone, Debug)]
pub struct Mapping {
    name: Box<str>,
    pattern: Pattern,
    to: Box<[Destination]>,
    total: u64,
    by: By,
    requests: bool,
}

impl Destination {
    /// Its template; nothing where events are dropped.
    #[must_use]
    pub fn template(&self) -> Option<&str> {
        self.template.as_ref().map(Template::as_str)
    }

    /// Its part of the rule's weights.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight
    }
}

impl Mapping {
    /// Checks a rule.
    ///
    /// # Errors
    /// [`MappingError`]: the first thing that is wrong with it.
    pub fn new(spec: &MappingSpec) -> Result<Self, MappingError> {
        let pattern = Pattern::parse(&spec.from)?;
        if !(1..=MAX_DESTINATIONS).contains(&spec.to.len()) {
            return Err(MappingError::Destinations { found: spec.to.len() });
        }
        let mut to = Vec::with_capacity(spec.to.len());
        for (index, (template, weight)) in spec.to.iter().enumerate() {
            let number = index + 1;
            if !(1..=MAX_WEIGHT).contains(weight) {
                return Err(MappingError::Weight { destination: number, weight: *weight });
            }
            let template = template.as_ref().map(|text| Template::parse(text, &pattern)).transpose();
            let template = template.map_err(|error| MappingError::To { destination: number, error })?;
            to.push(Destination { template, weight: *weight });
        }
        let total = to.iter().map(|destination| u64::from(destination.weight)).sum();
        let (name, by, requests) = (spec.name.as_str().into(), spec.by, spec.requests);
        Ok(Self { name, pattern, to: to.into(), total, by, requests })
    }

    /// The rule as it is written.
    #[must_use]
    pub fn spec(&self) -> MappingSpec {
        let share = |to: &Destination| (to.template().map(str::to_owned), to.weight);
        MappingSpec {
            name: self.name.to_string(),
            from: self.from().to_owned(),
            to: self.to.iter().map(share).collect(),
            by: self.by,
            requests: self.requests,
        }
    }

    /// What it is called; empty where it has a number only.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pattern, as it was written.
    #[must_use]
    pub fn from(&self) -> &str {
        self.pattern.as_str()
    }

    /// The topics that it is for.
    #[must_use]
    pub fn filter(&self) -> &Filter {
        self.pattern.filter()
    }

    /// Where events go, at least one.
    #[must_use]
    pub fn destinations(&self) -> &[Destination] {
        &self.to
    }

    /// The sum of the destinations' weights.
    #[must_use]
    pub fn total_weight(&self) -> u64 {
        self.total
    }

    /// What decides, with several destinations.
    #[must_use]
    pub fn by(&self) -> By {
        self.by
    }

    /// Whether requests are mapped too.
    #[must_use]
    pub fn maps_requests(&self) -> bool {
        self.requests
    }

    /// The number, from 0, of the destination of what was published so. The
    /// same for ever, as long as the weights are; where weights change, as few
    /// as can be go elsewhere than before.
    #[must_use]
    pub fn choose(&self, topic: Topic<'_>, entered: Entered) -> usize {
        if self.to.len() < 2 {
            return 0;
        }
        let mut key = [0; 16];
        let (producer, sequence) = key.split_at_mut(8);
        producer.copy_from_slice(&entered.producer.to_le_bytes());
        sequence.copy_from_slice(&entered.sequence.to_le_bytes());
        let hash = match self.by {
            By::Block => xxh3_64_with_seed(&key, SEED),
            By::Producer => xxh3_64_with_seed(&entered.producer.to_le_bytes(), SEED),
            By::Topic => xxh3_64_with_seed(topic.as_str().as_bytes(), SEED),
        };
        // Below the total, because the hash is below 2^64.
        let mut point = ((u128::from(hash) * u128::from(self.total)) >> 64) as u64;
        for (index, destination) in self.to.iter().enumerate() {
            match point.checked_sub(destination.weight.into()) {
                Some(left) => point = left,
                None => return index,
            }
        }
        0
    }

    /// What a topic that the rule is for becomes at the destination of this
    /// number; false where it is dropped. `out` is undefined when this fails.
    ///
    /// # Errors
    /// [`Unmappable`]: no topic comes out.
    pub fn apply(&self, topic: Topic<'_>, destination: usize, out: &mut MappedTopic) -> Result<bool, Unmappable> {
        let Some(template) = self.to.get(destination).and_then(|to| to.template.as_ref()) else { return Ok(false) };
        template.fill(&self.pattern, &Captures::of(topic), out)?;
        Ok(true)
    }

    /// What a topic that the rule is for may become: for each of its destinations
    /// that there is a way to, the weight among [`Mapping::total_weight`], and the
    /// topic or nothing where it is dropped. Allocates: for people, not for blocks.
    #[must_use]
    pub fn outcomes(&self, topic: Topic<'_>) -> Vec<(u64, Result<Option<String>, Unmappable>)> {
        // Where the topic decides it is known which.
        let is_known = self.by == By::Topic || self.to.len() == 1;
        let known = is_known.then(|| self.choose(topic, Entered::default()));
        let mut name = MappedTopic::new();
        let mut outcomes = Vec::new();
        for (index, to) in self.to.iter().enumerate().filter(|(index, _)| known.is_none_or(|known| known == *index)) {
            let weight = known.map_or(to.weight.into(), |_| self.total);
            let becomes = self.apply(topic, index, &mut name).map(|is_kept| is_kept.then(|| name.to_string()));
            outcomes.push((weight, becomes));
        }
        outcomes
    }

    /// Whether nothing is left for `other` where this rule comes first.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        (self.requests || !other.requests) && self.filter().includes(other.filter())
    }
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MappingError {
    /// The pattern.
    #[error(transparent)]
    From(#[from] PatternError),
    /// A template.
    #[error("{error}")]
    To {
        /// Which destination, from 1.
        destination: usize,
        /// What is wrong with it.
        error: TemplateError,
    },
    /// No destination, or too many.
    #[error("{found} destinations are not possible: name 1 to {MAX_DESTINATIONS}")]
    Destinations {
        /// How many there are.
        found: usize,
    },
    /// A weight that cannot be.
    #[error("the weight {weight} of destination {destination} is not possible: take 1 to {MAX_WEIGHT}")]
    Weight {
        /// Which destination, from 1.
        destination: usize,
        /// Its weight.
        weight: u32,
    },
}

impl MappingError {
    /// The key that is wrong: `from`, `to` or `weight`.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            MappingError::From(_) => "from",
            MappingError::To { .. } | MappingError::Destinations { .. } => "to",
            MappingError::Weight { .. } => "weight",
        }
    }

    /// The destination that it is about, from 1.
    #[must_use]
    pub fn destination(&self) -> Option<usize> {
        match self {
            MappingError::To { destination, .. } | MappingError::Weight { destination, .. } => Some(*destination),
            MappingError::From(_) | MappingError::Destinations { .. } => None,
        }
    }
}
