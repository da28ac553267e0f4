//! A changing set of filters and the smallest part of it that covers the rest.

use std::cmp::Reverse;

use crate::algebra::Pattern;
use crate::filter::Filter;
use crate::topic::Topic;
use crate::trie::Trie;
use crate::word::Word;

/// A set of filters, counted, and its cover: those that no other one of the
/// set includes. The cover is all that others need to know of the set.
///
/// The cover depends on the set only, not on the order of changes. A filter
/// that only several others together include stays in it.
///
/// Made for a million filters; clones share structure as those of
/// [`InterestSet`](crate::InterestSet) do. A change looks once for a filter that
/// includes the one that came or went, and then visits the filters below its
/// first wildcard, so one that starts with a wildcard can cost a visit of all.
/// Taking away a filter of the cover looks up each filter that it included.
#[derive(Clone, Default)]
pub struct Aggregate {
    cover: Trie<Option<Held>>,
    covered: Trie<Option<Held>>,
    cover_len: usize,
    len: usize,
}

/// A filter and how often it was inserted.
#[derive(Clone)]
struct Held {
    filter: Filter,
    count: u64,
}

/// How a cover changed, each list in order of text. Nothing is in both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Change {
    /// Filters that are now in the cover.
    pub added: Vec<Filter>,
    /// Filters that are no longer in it.
    pub removed: Vec<Filter>,
}

impl Change {
    /// True if the cover is as it was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

impl Aggregate {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts `filter` once more.
    pub fn insert(&mut self, filter: &Filter) -> Change {
        for part in [&mut self.cover, &mut self.covered] {
            if part.alter(filter.as_str(), |held| held.iter_mut().for_each(|held| held.count += 1)).is_some() {
                return Change::default();
            }
        }
        self.len += 1;
        let held = Held { filter: filter.clone(), count: 1 };
        if self.includes(filter) {
            put(&mut self.covered, held);
            return Change::default();
        }
        let demoted = included(&self.cover, filter);
        for held in &demoted {
            take(&mut self.cover, &held.filter);
            put(&mut self.covered, held.clone());
        }
        put(&mut self.cover, held);
        self.cover_len = self.cover_len + 1 - demoted.len();
        let mut removed: Vec<Filter> = demoted.into_iter().map(|held| held.filter).collect();
        removed.sort_unstable();
        Change { added: vec![filter.clone()], removed }
    }

    /// Counts `filter` once less, and takes it out when that makes none. A
    /// filter that is not in the set is no error and changes nothing.
    pub fn remove(&mut self, filter: &Filter) -> Change {
        if let Some(left) = count_down(&mut self.covered, filter) {
            self.len -= usize::from(left == 0);
            return Change::default();
        }
        match count_down(&mut self.cover, filter) {
            Some(0) => {}
            _ => return Change::default(),
        }
        self.len -= 1;
        self.cover_len -= 1;
        // Widest first: a filter comes before all that it includes, so none
        // that is put in the cover has to leave it again.
        let mut orphans = included(&self.covered, filter);
        orphans.sort_by_cached_key(|held| (width(&held.filter), held.filter.clone()));
        let mut added = Vec::new();
        for held in orphans {
            if !self.includes(&held.filter) {
                take(&mut self.covered, &held.filter);
                added.push(held.filter.clone());
                put(&mut self.cover, held);
                self.cover_len += 1;
            }
        }
        added.sort_unstable();
        Change { added, removed: vec![filter.clone()] }
    }

    /// True if a filter of the set includes `filter`.
    #[must_use]
    pub fn includes(&self, filter: &Filter) -> bool {
        self.cover.including(&Word::new(filter.as_str()), |_| true)
    }

    /// True if `topic` matches a filter of the set.
    #[must_use]
    pub fn matches(&self, topic: Topic<'_>) -> bool {
        self.cover.including(&Word::new(topic.as_str()), |_| true)
    }

    /// The cover, in an order that depends on the cover only.
    pub fn cover(&self) -> impl Iterator<Item = &Filter> {
        self.cover.iter().flatten().map(|held| &held.filter)
    }

    /// How many filters the cover has.
    #[must_use]
    pub fn cover_len(&self) -> usize {
        self.cover_len
    }

    /// How many different filters the set has, those of the cover included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if the set has no filter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Sorts a filter before every other that it includes: fewer levels are needed
/// at least; of as many, more of them are `*`; of as many of these, more `**`
/// are between them.
fn width(filter: &Filter) -> (usize, Reverse<usize>, Reverse<usize>) {
    let all = filter.levels().count();
    let any = filter.levels().filter(|&level| level == "**").count();
    let one = filter.levels().filter(|&level| level == "*").count();
    (all - any, Reverse(one), Reverse(any))
}

fn included(part: &Trie<Option<Held>>, filter: &Filter) -> Vec<Held> {
    let mut found = Vec::new();
    part.included(&Pattern::new(filter.as_str()), |held| found.extend(held.clone()));
    found
}

fn put(part: &mut Trie<Option<Held>>, held: Held) {
    let filter = held.filter.clone();
    part.put(filter.as_str(), |slot| *slot = Some(held));
}

fn take(part: &mut Trie<Option<Held>>, filter: &Filter) {
    part.alter(filter.as_str(), |slot| *slot = None);
}

/// Counts down; the count that is left, `None` if the filter is not there.
fn count_down(part: &mut Trie<Option<Held>>, filter: &Filter) -> Option<u64> {
    part.alter(filter.as_str(), |slot| {
        let left = slot.as_ref().map_or(0, |held| held.count.saturating_sub(1));
        *slot = slot.take().filter(|_| left > 0).map(|held| Held { count: left, ..held });
        left
    })
}
