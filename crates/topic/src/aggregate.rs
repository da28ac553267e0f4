//! A changing set of filters and the smallest part of it that covers the rest.

use std::cmp::Reverse;

use crate::algebra::Pattern;
use crate::filter::Filter;
use crate::topic::Topic;
use crate::trie::Trie;
use crate::values::Values;
use crate::word::Word;

/// A set of filters, counted, and its cover: those that no other one of the
/// set includes. The cover is all that others need to know of the set.
///
/// The cover depends on the set only, not on the order of changes. A filter
/// that only several others together include stays in it.
///
/// Made for a million filters; clones share structure as those of
/// [`InterestSet`](crate::InterestSet) do. A change looks once for a filter that
/// includes the one that came or went, and then for those that it includes: in
/// the trie below its first wildcard, or, if that takes longer, among the
/// filters with its rarest literal. So only filters of nothing but wildcards
/// can cost a visit of all. Taking a filter out of the cover also looks up each
/// filter that it included.
#[derive(Clone, Default)]
pub struct Aggregate {
    cover: Part,
    covered: Part,
}

/// A filter and how often it was inserted.
#[derive(Clone)]
struct Held {
    filter: Filter,
    count: u64,
}

/// Some filters, and those among them that have a literal.
#[derive(Clone, Default)]
struct Part {
    filters: Trie<Option<Held>>,
    /// The filters under each of their literals: a literal is the key.
    mentions: Trie<Values<Filter>>,
    len: usize,
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
        if self.cover.count_up(filter) || self.covered.count_up(filter) {
            return Change::default();
        }
        let held = Held { filter: filter.clone(), count: 1 };
        if self.includes(filter) {
            self.covered.put(held);
            return Change::default();
        }
        let demoted = self.cover.included(filter);
        let mut removed: Vec<Filter> = demoted.iter().map(|held| held.filter.clone()).collect();
        removed.sort_unstable();
        for held in demoted {
            self.cover.take(&held.filter);
            self.covered.put(held);
        }
        self.cover.put(held);
        Change { added: vec![filter.clone()], removed }
    }

    /// Counts `filter` once less, and takes it out when that makes none. A
    /// filter that is not in the set is no error and changes nothing.
    pub fn remove(&mut self, filter: &Filter) -> Change {
        if self.covered.count_down(filter).is_some() || self.cover.count_down(filter) != Some(0) {
            return Change::default();
        }
        // Widest first: a filter comes before all that it includes, so none
        // that is put in the cover has to leave it again.
        let mut orphans = self.covered.included(filter);
        orphans.sort_by_cached_key(|held| width(&held.filter));
        let mut added = Vec::new();
        for held in orphans {
            if !self.includes(&held.filter) {
                self.covered.take(&held.filter);
                added.push(held.filter.clone());
                self.cover.put(held);
            }
        }
        added.sort_unstable();
        Change { added, removed: vec![filter.clone()] }
    }

    /// True if a filter of the set includes `filter`.
    #[must_use]
    pub fn includes(&self, filter: &Filter) -> bool {
        self.cover.filters.including(&Word::new(filter.as_str()), |_| true)
    }

    /// True if `topic` matches a filter of the set.
    #[must_use]
    pub fn matches(&self, topic: Topic<'_>) -> bool {
        self.cover.filters.including(&Word::new(topic.as_str()), |_| true)
    }

    /// The cover, in an order that depends on the cover only.
    pub fn cover(&self) -> impl Iterator<Item = &Filter> {
        self.cover.filters.iter().flatten().map(|held| &held.filter)
    }

    /// How many filters the cover has.
    #[must_use]
    pub fn cover_len(&self) -> usize {
        self.cover.len
    }

    /// How many different filters the set has, those of the cover included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cover.len + self.covered.len
    }

    /// True if the set has no filter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

fn literals(filter: &Filter) -> impl Iterator<Item = &str> {
    filter.levels().filter(|&level| level != "*" && level != "**")
}

impl Part {
    /// Puts in a filter that is not there.
    fn put(&mut self, held: Held) {
        let filter = held.filter.clone();
        for literal in literals(&filter) {
            self.mentions.put(literal, |filters| filters.insert(filter.clone()));
        }
        self.filters.put(filter.as_str(), |slot| *slot = Some(held));
        self.len += 1;
    }

    fn take(&mut self, filter: &Filter) {
        if self.filters.alter(filter.as_str(), |slot| *slot = None).is_some() {
            self.forget(filter);
        }
    }

    /// Clears up after a filter that was taken out.
    fn forget(&mut self, filter: &Filter) {
        for literal in literals(filter) {
            self.mentions.alter(literal, |filters| filters.remove(filter));
        }
        self.len -= 1;
    }

    /// Counts up, if the filter is there.
    fn count_up(&mut self, filter: &Filter) -> bool {
        self.filters.alter(filter.as_str(), |slot| slot.iter_mut().for_each(|held| held.count += 1)).is_some()
    }

    /// Counts down, and takes the filter out at zero; the count that is left,
    /// `None` if the filter is not there.
    fn count_down(&mut self, filter: &Filter) -> Option<u64> {
        let left = self.filters.alter(filter.as_str(), |slot| {
            let left = slot.as_ref().map_or(0, |held| held.count.saturating_sub(1));
            *slot = slot.take().filter(|_| left > 0).map(|held| Held { count: left, ..held });
            left
        })?;
        if left == 0 {
            self.forget(filter);
        }
        Some(left)
    }

    /// All filters that `filter` includes.
    fn included(&self, filter: &Filter) -> Vec<Held> {
        // What `filter` includes has all its literals, so the rarest bounds it.
        let mut rarest: Option<(usize, &Values<Filter>)> = None;
        for literal in literals(filter) {
            let Some(filters) = self.mentions.get(literal) else { return Vec::new() };
            if rarest.is_none_or(|(least, _)| filters.len() < least) {
                rarest = Some((filters.len(), filters));
            }
        }
        let most = rarest.map_or(usize::MAX, |(least, _)| least.saturating_mul(VISITS_PER_MENTION));
        let mut found = Vec::new();
        if self.filters.included(&Pattern::new(filter.as_str()), most, |held| found.extend(held.clone())) {
            return found;
        }
        let mentions = rarest.into_iter().flat_map(|(_, filters)| filters.iter());
        let included = mentions.filter(|other| filter.includes(other));
        included.filter_map(|other| self.filters.get(other.as_str())?.clone()).collect()
    }
}

/// How many nodes of a trie are visited in the time that it takes to look at a
/// filter by its literal.
const VISITS_PER_MENTION: usize = 2;
