//! The mapping of a hub: its rules, with what each has done.
//!
//! Immutable and shared: part of the snapshot that the route stage works by, so
//! that a new set of rules takes effect between two blocks. What a rule has
//! counted stays with its name.

use weft_base::sync::Arc;
use weft_observe::layout::Unit;
use weft_observe::{Table, Value};
use weft_topic::Topic;
use weft_topic::mapping::{Mapping, Mappings};
use weft_wire::reply::is_reserved;

use crate::counters::get;

/// What a rule has done to events, since the hub's start.
#[derive(Debug)]
pub(crate) struct RuleCounts {
    /// Events that it was applied to, those that came again included.
    pub(crate) matched: Value,
    /// Of them, events of a share that is dropped.
    pub(crate) dropped: Value,
    /// Of them, events of which it could make no topic.
    pub(crate) refused: Value,
}

impl RuleCounts {
    /// Of the rule of this name, which goes on where one of that name was before.
    fn of(table: &Table, rule: &str) -> Self {
        let count = |what: &str| table.counter(&format!("mapping.{rule}.{what}"), Unit::Events, None);
        Self { matched: count("matched"), dropped: count("dropped"), refused: count("refused") }
    }
}

/// The rules in force.
#[derive(Debug, Default)]
pub(crate) struct Mapped {
    rules: Mappings,
    /// What each is called, and has counted.
    counts: Box<[(Box<str>, Arc<RuleCounts>)]>,
}

/// What a rule makes of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Topic(String),
    Dropped,
    /// With the reason.
    Refused(String),
}

/// A rule that is for a topic.
pub(crate) struct Found<'a> {
    pub(crate) rule: &'a Mapping,
    pub(crate) name: &'a str,
    pub(crate) counts: &'a RuleCounts,
}

impl Mapped {
    /// Rules in the place of others, whose counts they take over by name.
    pub(crate) fn new(rules: Mappings, before: &Self, table: &Table) -> Self {
        let counts = rules.rules().iter().enumerate().map(|(index, rule)| {
            let name: Box<str> = match rule.name() {
                "" => (index + 1).to_string().into(),
                name => name.into(),
            };
            let known = before.counts.iter().find(|(known, _)| *known == name);
            let counts = known.map_or_else(|| Arc::new(RuleCounts::of(table, &name)), |(_, counts)| counts.clone());
            (name, counts)
        });
        Self { counts: counts.collect(), rules }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rule for a topic, if there is one.
    pub(crate) fn find(&self, topic: Topic<'_>, is_request: bool) -> Option<Found<'_>> {
        if self.is_empty() || is_reserved(topic.as_str()) {
            return None;
        }
        let number = self.rules.find(topic, is_request)?;
        let (rule, (name, counts)) = (self.rules.rules().get(number)?, self.counts.get(number)?);
        Some(Found { rule, name, counts })
    }

    /// What a topic becomes, with the part of each possibility in thousandths:
    /// the topic, nothing where it is dropped, or why that is impossible. Without
    /// a rule for it there is none. Allocates: not for the path of a block.
    pub(crate) fn preview(&self, topic: Topic<'_>) -> Vec<(Outcome, u64)> {
        let Some(Found { rule, .. }) = self.find(topic, false) else { return Vec::new() };
        let outcomes = rule.outcomes(topic).into_iter().map(|(weight, becomes)| {
            let outcome = match becomes {
                Ok(Some(name)) => Outcome::Topic(name),
                Ok(None) => Outcome::Dropped,
                Err(error) => Outcome::Refused(error.to_string()),
            };
            (outcome, weight * 1_000 / rule.total_weight())
        });
        outcomes.collect()
    }

    /// The topic that most of what is published on a topic goes to; the topic
    /// itself without a rule, and nothing where nothing of it goes anywhere.
    pub(crate) fn mostly(&self, topic: Topic<'_>) -> Option<String> {
        let outcomes = self.preview(topic);
        if outcomes.is_empty() {
            return Some(topic.as_str().to_owned());
        }
        let mut most = (None, 0);
        for (outcome, part) in outcomes {
            if let Outcome::Topic(name) = outcome
                && part >= most.1
            {
                most = (Some(name), part + 1);
            }
        }
        most.0
    }

    /// What each rule has counted, by name.
    pub(crate) fn list(&self) -> impl Iterator<Item = (String, u64)> {
        self.counts.iter().flat_map(|(name, counts)| {
            [("matched", &counts.matched), ("dropped", &counts.dropped), ("refused", &counts.refused)]
                .map(|(what, counter)| (format!("mapping.{name}.{what}"), get(counter)))
        })
    }
}
