//! A persistent sorted map of resources: clones share what they hold, and a
//! change copies one leaf of at most [`LEAF`] entries and the list of leaves.
//!
//! A hub keeps the state that it decides by while the next one is made, so a
//! plain map would be copied whole at each change. With the most resources that
//! a state may have, a change copies about a thousand pointers and one leaf.

use std::sync::Arc;

use crate::state::{Item, Key, Kind};

/// Most entries of a leaf; one that grows beyond it is split in halves.
const LEAF: usize = 64;

type Leaf = Vec<(Key, Item)>;

/// The map. No leaf is empty, keys grow within a leaf and from leaf to leaf.
#[derive(Clone, Debug, Default)]
pub(crate) struct Items {
    leaves: Arc<Vec<Arc<Leaf>>>,
    len: usize,
}

impl Items {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// In which leaf `key` is or would be, and where in it.
    fn place(&self, key: &Key) -> (usize, Result<usize, usize>) {
        // The last leaf that does not begin after the key.
        let begins = |leaf: &Arc<Leaf>| leaf.first().is_some_and(|(first, _)| first <= key);
        let at = self.leaves.partition_point(begins).saturating_sub(1);
        let within = self.leaves.get(at).map_or(Err(0), |leaf| leaf.binary_search_by(|(k, _)| k.cmp(key)));
        (at, within)
    }

    /// The entry of a key.
    pub(crate) fn get(&self, key: &Key) -> Option<&Item> {
        let (at, within) = self.place(key);
        Some(&self.leaves.get(at)?.get(within.ok()?)?.1)
    }

    /// Puts an entry in the place of what was there, which is answered.
    pub(crate) fn insert(&mut self, key: Key, item: Item) -> Option<Item> {
        let (at, within) = self.place(&key);
        let leaves = Arc::make_mut(&mut self.leaves);
        let Some(leaf) = leaves.get_mut(at) else {
            leaves.push(Arc::new(vec![(key, item)]));
            self.len += 1;
            return None;
        };
        let leaf = Arc::make_mut(leaf);
        match within {
            Ok(place) => leaf.get_mut(place).map(|(_, held)| std::mem::replace(held, item)),
            Err(place) => {
                leaf.insert(place, (key, item));
                self.len += 1;
                if leaf.len() > LEAF {
                    let right = leaf.split_off(leaf.len() / 2);
                    leaves.insert(at + 1, Arc::new(right));
                }
                None
            }
        }
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, key: &Key) -> Option<Item> {
        let (at, Ok(place)) = self.place(key) else { return None };
        let leaves = Arc::make_mut(&mut self.leaves);
        let leaf = Arc::make_mut(leaves.get_mut(at)?);
        let (_, item) = leaf.remove(place);
        self.len -= 1;
        if leaf.len() < LEAF / 4 {
            join(leaves, at);
        }
        Some(item)
    }

    /// All entries, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &Item)> {
        self.leaves.iter().flat_map(|leaf| leaf.iter()).map(|(key, item)| (key, item))
    }

    /// The entries from the first that `before` is not true of; it must be true
    /// of a beginning of the keys.
    pub(crate) fn from<'a>(
        &'a self,
        before: &dyn Fn(&Key) -> bool,
    ) -> impl Iterator<Item = (&'a Key, &'a Item)> + use<'a> {
        let whole = self.leaves.partition_point(|leaf| leaf.last().is_some_and(|(key, _)| before(key)));
        let within = self.leaves.get(whole).map_or(0, |leaf| leaf.partition_point(|(key, _)| before(key)));
        let rest = self.leaves.get(whole..).unwrap_or_default().iter().flat_map(|leaf| leaf.iter());
        rest.skip(within).map(|(key, item)| (key, item))
    }

    /// The entries of one kind, in order.
    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&Key, &Item)> {
        self.from(&|key| key.kind() < kind).take_while(move |(key, _)| key.kind() == kind)
    }

    /// How many leaves of `other` are not shared with this one.
    #[cfg(test)]
    fn apart(&self, other: &Self) -> usize {
        let mine: std::collections::BTreeSet<_> = self.leaves.iter().map(Arc::as_ptr).collect();
        other.leaves.iter().filter(|leaf| !mine.contains(&Arc::as_ptr(leaf))).count()
    }
}

/// Joins a leaf that has become small, or empty, with the one before or after it,
/// if both fit in one.
fn join(leaves: &mut Vec<Arc<Leaf>>, at: usize) {
    let len = |at: usize| leaves.get(at).map(|leaf| leaf.len());
    if len(at) == Some(0) {
        leaves.remove(at);
        return;
    }
    let Some(mine) = len(at) else { return };
    let fits = |other: usize| len(other).is_some_and(|other| other + mine <= LEAF / 2);
    let first = match at.checked_sub(1) {
        Some(before) if fits(before) => before,
        _ if fits(at + 1) => at,
        _ => return,
    };
    let right = leaves.remove(first + 1);
    if let Some(left) = leaves.get_mut(first) {
        Arc::make_mut(left).extend(right.iter().cloned());
    }
}

impl PartialEq for Items {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && (Arc::ptr_eq(&self.leaves, &other.leaves) || self.iter().eq(other.iter()))
    }
}

impl Eq for Items {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn key(number: usize) -> Key {
        let kind = Kind::ALL[number % 3];
        Key::new(kind, &format!("n{}", number / 3)).unwrap()
    }

    fn item(version: u64) -> Item {
        Item { version, document: version.to_string().into() }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn it_holds_what_a_plain_map_holds(steps in prop::collection::vec((0..900_usize, 0..3_u8), 0..1200)) {
            let (mut items, mut plain) = (Items::default(), BTreeMap::new());
            let mut held = Vec::new();
            for (version, (number, what)) in steps.into_iter().enumerate() {
                let (key, item) = (key(number), item(version as u64));
                if what == 0 {
                    prop_assert_eq!(items.remove(&key), plain.remove(&key));
                } else {
                    prop_assert_eq!(items.insert(key.clone(), item.clone()), plain.insert(key, item));
                }
                prop_assert_eq!(items.len(), plain.len());
                if version % 512 == 0 {
                    held.push((items.clone(), plain.clone()));
                }
            }
            held.push((items, plain));
            for (items, plain) in held {
                prop_assert!(items.iter().eq(plain.iter()));
                prop_assert!(items.leaves.iter().all(|leaf| !leaf.is_empty() && leaf.len() <= LEAF));
                for number in 0..900 {
                    prop_assert_eq!(items.get(&key(number)), plain.get(&key(number)));
                }
                for kind in Kind::ALL {
                    let of_kind = plain.iter().filter(|(key, _)| key.kind() == *kind);
                    prop_assert!(items.of_kind(*kind).eq(of_kind));
                }
                let from = key(450);
                prop_assert!(items.from(&|key| *key < from).eq(plain.range(from.clone()..)));
            }
        }
    }

    #[test]
    fn a_change_of_one_of_many_entries_copies_one_leaf_and_not_the_map() {
        let mut items = Items::default();
        for number in 0..21_000 {
            items.insert(key(number), item(1));
        }
        let leaves = items.leaves.len();
        assert!(leaves > 300, "{leaves}");
        for number in (0..21_000).step_by(997) {
            let before = items.clone();
            items.insert(key(number), item(2));
            assert_eq!(before.apart(&items), 1);
            assert_eq!(before.get(&key(number)), Some(&item(1)));
        }
        // Taken out: one leaf, and where it is joined with its neighbour one too.
        for number in 0..20_000 {
            let before = items.clone();
            items.remove(&key(number));
            assert!(number % 61 != 0 || before.apart(&items) <= 1, "{number}");
        }
        assert_eq!(items.len(), 1_000);
        assert!(items.leaves.len() < 100, "{}", items.leaves.len());
    }
}
