//! Mappings: rules by which topics get other names.
//!
//! A rule has a pattern, which topics it is for, and one or more templates, what
//! they become. Of a pattern each `*` is a capture, numbered from 1, and a `**`,
//! which may stand at the end only, is the rest. A template is a topic in which
//! `{1}` stands for a capture, `{rest}`, as a level of its own, for the rest,
//! and `{partition(n, 1, 2)}` for a number below n that the captures 1 and 2
//! decide; without captures the whole topic does.
//!
//! **Partitions are part of the format**: the captures are joined with `/`, of
//! that XXH3-64 with seed 0 is taken, and [`jump`](weft_base::buckets::jump)
//! gives the number, written in decimal digits. Consumers' filters depend on it,
//! so that it never changes.
//!
//! With several templates each has a weight. Which one it is follows from the
//! producer and the sequence, the producer alone, or the topic, never from
//! chance: [`By`]. A destination without a template drops what it gets.
//!
//! Of several rules the first that matches is applied, once: what comes out is
//! not looked at again, so that rules cannot go round in a circle.
//!
//! Everything is checked when a rule is made; what depends on the topic at hand
//! (a result that is too long) when it is applied. Applying allocates nothing.

mod pattern;
mod rule;
mod rules;
mod template;

pub use pattern::PatternError;
pub use rule::{By, Destination, Entered, MAX_DESTINATIONS, MAX_WEIGHT, Mapping, MappingError, MappingSpec};
pub use rules::{MAX_MAPPINGS, Mappings, MappingsError};
pub use template::{MAX_PARTITIONS, MappedTopic, TemplateError, Unmappable};

#[cfg(test)]
mod tests;
