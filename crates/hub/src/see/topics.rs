//! Who publishes what here, for who asks.
//!
//! One box goes from the conductor to the net stage, which has the sessions, and back.
//! Bounded: so many topics, and so many publishers of each.

use weft_base::UnixNanos;
use weft_topic::{Filter, Topic};

use super::look::Asker;

/// Sessions that are told of by name for each topic: those that published most.
pub(crate) const MOST_PUBLISHERS: usize = 8;

/// The question on its way, and what was said to it.
#[derive(Debug)]
pub(crate) struct TopicsLook {
    pub(crate) asker: Asker,
    /// What is wanted: topics that the filter matches, that contain this, and that are
    /// behind this one in order of name.
    pub(crate) filter: Option<Filter>,
    pub(crate) search: String,
    pub(crate) after: String,
    /// So many topics at most.
    pub(crate) most: usize,
    /// There are more.
    pub(crate) more: bool,
    /// Sessions of which not all topics are known.
    pub(crate) untold: u64,
    /// In order of name.
    pub(crate) rows: Vec<TopicRow>,
}

/// A topic, and who publishes it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TopicRow {
    pub(crate) topic: String,
    /// Sessions that do.
    pub(crate) sessions: u64,
    /// Some of them, who published most first.
    pub(crate) publishers: Vec<Publisher>,
}

/// A session that publishes a topic.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Publisher {
    /// What the client calls itself.
    pub(crate) client: String,
    /// Who it is; empty where nobody asked.
    pub(crate) principal: String,
    /// Events of the topic that it published.
    pub(crate) events: u64,
    /// When last.
    pub(crate) at: UnixNanos,
}

impl TopicsLook {
    /// Whether a topic is one of those that are wanted, wherever it is in their order.
    pub(crate) fn wants(&self, topic: &str) -> bool {
        let fits = |filter: &Filter| match filter.as_topic() {
            Some(literal) => literal.as_str() == topic,
            None => Topic::parse(topic).is_ok_and(|topic| filter.matches(topic)),
        };
        self.filter.as_ref().is_none_or(fits) && topic.contains(&*self.search)
    }
}
