//! The interest of one hub as a set, with a hash that all hubs compute alike.

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_topic::Filter;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::Kind;

/// What an interest set is made of.
pub(crate) type Item = (Kind, Filter);

/// One step from a set to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) add: bool,
    pub(crate) item: Item,
}

/// A set of filters. A snapshot costs nothing; changing the set while a
/// snapshot is held costs one copy of the set.
#[derive(Clone, Debug, Default)]
pub(crate) struct FilterSet {
    items: Arc<BTreeSet<Item>>,
    counts: [usize; 2],
    hash: u64,
}

impl FilterSet {
    /// Makes the change; answers whether it was one.
    pub(crate) fn apply(&mut self, change: &Change) -> bool {
        let (kind, filter) = &change.item;
        // Looked up first, so that what changes nothing never copies the set.
        if self.items.contains(&change.item) == change.add {
            return false;
        }
        let items = Arc::make_mut(&mut self.items);
        let hash = xxh3_64_with_seed(filter.as_str().as_bytes(), *kind as u64);
        if let Some(count) = self.counts.get_mut(*kind as usize) {
            *count = if change.add { *count + 1 } else { count.saturating_sub(1) };
        }
        if change.add {
            items.insert(change.item.clone());
            self.hash = self.hash.wrapping_add(hash);
        } else {
            items.remove(&change.item);
            self.hash = self.hash.wrapping_sub(hash);
        }
        true
    }

    pub(crate) fn insert(&mut self, item: Item) -> bool {
        self.apply(&Change { add: true, item })
    }

    pub(crate) fn contains(&self, item: &Item) -> bool {
        self.items.contains(item)
    }

    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.counts.get(kind as usize).copied().unwrap_or(0)
    }

    /// The sum of the items' hashes: the same whatever the order they came in.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Item> {
        self.items.iter()
    }

    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(move |item| item.0 == kind)
    }

    pub(crate) fn snapshot(&self) -> Arc<BTreeSet<Item>> {
        self.items.clone()
    }
}

/// The changes that lead from one set to another.
pub(crate) fn difference(from: &BTreeSet<Item>, to: &BTreeSet<Item>) -> Vec<Change> {
    let removed = from.difference(to).map(|item| Change { add: false, item: item.clone() });
    let added = to.difference(from).map(|item| Change { add: true, item: item.clone() });
    removed.chain(added).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str) -> Item {
        (Kind::Live, Filter::parse(text).expect("a filter"))
    }

    #[test]
    fn the_hash_is_of_the_content_alone() {
        let (mut a, mut b) = (FilterSet::default(), FilterSet::default());
        for text in ["x", "y/*", "z"] {
            assert!(a.insert(item(text)));
        }
        for text in ["z", "q", "x", "y/*"] {
            b.insert(item(text));
        }
        assert_ne!(a.hash(), b.hash());
        assert!(b.apply(&Change { add: false, item: item("q") }));
        assert!(!b.apply(&Change { add: false, item: item("q") }));
        assert_eq!((a.hash(), a.count(Kind::Live)), (b.hash(), 3));
        b.apply(&Change { add: false, item: item("x") });
        b.insert((Kind::Stream, item("x").1));
        assert_ne!(a.hash(), b.hash(), "the kind counts");
    }

    #[test]
    fn differences_lead_from_one_set_to_the_other() {
        let set = |texts: &[&str]| texts.iter().map(|text| item(text)).collect::<BTreeSet<_>>();
        let (from, to) = (set(&["a", "b"]), set(&["b", "c"]));
        let steps = difference(&from, &to);
        assert_eq!(steps, [Change { add: false, item: item("a") }, Change { add: true, item: item("c") }]);
    }
}
