//! A large set of filters with values: who wants what.

use std::fmt;

use crate::filter::Filter;
use crate::topic::Topic;
use crate::trie::{self, Trie, Value};
use crate::values::{self, Values};
use crate::word::Word;

/// Filters, each with one value or more: who wants what.
///
/// Made for a million filters. A clone costs one reference count and shares
/// everything; a change to one of two clones copies only what lies on the way
/// to the filter (some microseconds at a million), and a change to a set that
/// is not shared copies nothing. So a writer keeps one, and gives readers a
/// clone as their snapshot after each batch of changes.
///
/// Look-ups allocate nothing. Every node of the trie is visited at most once
/// per look-up, whatever the number of `**` in the filters; what is visited is
/// what can still match, at most all nodes (two for each filter). The order in
/// which values are given depends on the content only, not on its history.
///
/// The set itself has no limit: whoever lets others insert counts
/// [`len`](Self::len) against one.
#[derive(Clone)]
pub struct InterestSet<V: Clone + Ord> {
    trie: Trie<Values<V>>,
    filters: usize,
    pairs: usize,
}

impl<V: Clone + Ord> InterestSet<V> {
    /// A set without filters.
    #[must_use]
    pub fn new() -> Self {
        Self { trie: Trie::default(), filters: 0, pairs: 0 }
    }

    /// Adds `value` to `filter`. False, and nothing changed, if it has it.
    pub fn insert(&mut self, filter: &Filter, value: V) -> bool {
        let (first, added) = self.trie.put(filter.as_str(), |values| (values.is_vacant(), values.insert(value)));
        self.filters += usize::from(first);
        self.pairs += usize::from(added);
        added
    }

    /// Takes `value` from `filter`. False, and nothing changed, if it does not
    /// have it.
    pub fn remove(&mut self, filter: &Filter, value: &V) -> bool {
        if !self.contains(filter, value) {
            return false;
        }
        let outcome =
            self.trie.alter(filter.as_str(), |values| (values.remove(value), usize::from(values.is_vacant())));
        let Some((removed, gone)) = outcome else { return false };
        self.filters -= gone;
        self.pairs -= usize::from(removed);
        removed
    }

    /// True if `filter` has `value`.
    #[must_use]
    pub fn contains(&self, filter: &Filter, value: &V) -> bool {
        self.trie.get(filter.as_str()).is_some_and(|values| values.contains(value))
    }

    /// The values of exactly this filter, in order.
    pub fn values<'a>(&'a self, filter: &Filter) -> impl Iterator<Item = &'a V> + use<'a, V> {
        self.trie.get(filter.as_str()).into_iter().flat_map(Values::iter)
    }

    /// Calls `found` with every value of every filter that `topic` matches. A
    /// value that several of them have is given once for each.
    pub fn for_each_match(&self, topic: Topic<'_>, mut found: impl FnMut(&V)) {
        self.trie.including(&Word::new(topic.as_str()), |values| {
            values.for_each(&mut found);
            false
        });
    }

    /// True if `topic` matches some filter. Stops at the first.
    #[must_use]
    pub fn matches_any(&self, topic: Topic<'_>) -> bool {
        self.trie.including(&Word::new(topic.as_str()), |_| true)
    }

    /// True if some filter of the set, alone, includes `filter`.
    #[must_use]
    pub fn includes(&self, filter: &Filter) -> bool {
        self.trie.including(&Word::new(filter.as_str()), |_| true)
    }

    /// How many pairs of a filter and a value there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs
    }

    /// How many different filters there are.
    #[must_use]
    pub fn filters(&self) -> usize {
        self.filters
    }

    /// True if there is no filter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs == 0
    }

    /// All pairs of a filter and a value; the values of one filter together and
    /// in order. The order of filters depends on the content only. Builds each
    /// filter anew, so this is for reports and repairs, not for look-ups.
    pub fn iter(&self) -> Iter<'_, V> {
        Iter { filters: self.trie.iter(), current: None }
    }
}

impl<V: Clone + Ord> Default for InterestSet<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: Clone + Ord + fmt::Debug> fmt::Debug for InterestSet<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<V: Clone + Ord> Extend<(Filter, V)> for InterestSet<V> {
    fn extend<I: IntoIterator<Item = (Filter, V)>>(&mut self, pairs: I) {
        for (filter, value) in pairs {
            self.insert(&filter, value);
        }
    }
}

impl<V: Clone + Ord> FromIterator<(Filter, V)> for InterestSet<V> {
    fn from_iter<I: IntoIterator<Item = (Filter, V)>>(pairs: I) -> Self {
        let mut set = Self::new();
        set.extend(pairs);
        set
    }
}

impl<'a, V: Clone + Ord> IntoIterator for &'a InterestSet<V> {
    type Item = (Filter, &'a V);
    type IntoIter = Iter<'a, V>;

    fn into_iter(self) -> Iter<'a, V> {
        self.iter()
    }
}

/// All pairs of an [`InterestSet`].
pub struct Iter<'a, V: Clone + Ord> {
    filters: trie::Iter<'a, Values<V>>,
    current: Option<(Filter, values::Iter<'a, V>)>,
}

impl<'a, V: Clone + Ord> Iterator for Iter<'a, V> {
    type Item = (Filter, &'a V);

    fn next(&mut self) -> Option<(Filter, &'a V)> {
        loop {
            if let Some((filter, values)) = &mut self.current
                && let Some(value) = values.next()
            {
                return Some((filter.clone(), value));
            }
            let values = self.filters.next()?;
            self.current = Some((Filter::of_canonical(&self.filters.text()), values.iter()));
        }
    }
}

#[cfg(test)]
impl<V: Clone + Ord> InterestSet<V> {
    /// Says what is wrong with the form of the set, if anything is.
    pub(crate) fn check_shape(&self) -> Result<(), String> {
        self.trie.check_shape(&Values::check_shape)
    }
}
