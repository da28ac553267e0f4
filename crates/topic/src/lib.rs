//! Layer 1: what events are called, and how sets of those names are described.
//!
//! A [`Topic`] names one place: levels of UTF-8 separated by `/`, such as
//! `flights/departed/JFK`. A [`Filter`] describes a set of topics: `*` stands
//! for one whole level, `**` for zero or more, anywhere. Filters are kept in
//! one canonical form per set and have an algebra: [`Filter::matches`],
//! [`Filter::intersects`], [`Filter::includes`] and `==`.
//!
//! [`InterestSet`] holds a million filters with values and answers which of
//! them match a topic; its clones share structure, so a snapshot is free.
//! [`Aggregate`] keeps the smallest cover of a changing set of filters.
//!
//! [`mapping`] gives topics other names by rules.
//!
//! Nothing here knows of events, hubs, sessions, clocks or I/O, and nothing
//! blocks. Lookups allocate nothing. Answers, and the order in which they are
//! given, depend only on the content of a set and never on a random seed.
#![forbid(unsafe_code)]

mod aggregate;
mod algebra;
mod bits;
mod filter;
mod grammar;
mod interest;
pub mod mapping;
mod node;
mod path;
mod sorted;
mod table;
mod topic;
mod trie;
mod values;
mod word;

#[cfg(test)]
mod tests;

pub use aggregate::{Aggregate, Change};
pub use filter::{Filter, FilterError};
pub use grammar::{MAX_BYTES, MAX_LEVELS};
pub use interest::{InterestSet, Iter};
pub use topic::{Topic, TopicError};
