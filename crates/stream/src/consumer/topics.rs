//! Which topics a consumer wants, remembered by topic.

use std::collections::BTreeMap;

use weft_topic::{Filter, Topic};

/// The most topics that are remembered; after that all are forgotten, and each
/// is compared with the filters again.
pub const MAX_TOPICS: usize = 4096;

/// What was found for the topics seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topics {
    last: String,
    last_wanted: bool,
    known: BTreeMap<Box<str>, bool>,
}

impl Topics {
    /// Whether one of `filters`, the same in each call, matches `topic`; all
    /// topics are wanted without any filter.
    pub(crate) fn wants(&mut self, filters: &[Filter], topic: &str) -> bool {
        if filters.is_empty() || (self.last == topic && !topic.is_empty()) {
            return filters.is_empty() || self.last_wanted;
        }
        let wanted = self.known.get(topic).copied().unwrap_or_else(|| {
            let wanted = Topic::parse(topic).is_ok_and(|topic| filters.iter().any(|filter| filter.matches(topic)));
            if self.known.len() >= MAX_TOPICS {
                self.known.clear();
            }
            self.known.insert(topic.into(), wanted);
            wanted
        });
        self.last.clear();
        self.last.push_str(topic);
        self.last_wanted = wanted;
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_bounded_and_never_wrong() {
        let filters = [Filter::parse("a/*").expect("a filter"), Filter::parse("b/**").expect("a filter")];
        let mut topics = Topics::default();
        for round in 0..3 {
            for n in 0..3000 {
                assert!(topics.wants(&filters, &format!("a/{n}")), "round {round}");
                assert!(!topics.wants(&filters, &format!("a/{n}/x")));
                assert!(topics.wants(&filters, "b/c/d"));
                assert!(topics.known.len() <= MAX_TOPICS);
            }
        }
        assert!(!topics.wants(&filters, "") && topics.wants(&[], "x"));
    }
}
