//! Collections with a limit: what does not fit is handed back, never grown.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// What did not fit, handed back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit of {limit} is reached")]
pub struct Full<T> {
    /// What was to be added.
    pub item: T,
    /// The limit it met.
    pub limit: usize,
}

/// A queue of at most `limit` items. Memory grows with use, up to the limit.
#[derive(Clone, Debug)]
pub struct BoundedDeque<T> {
    items: VecDeque<T>,
    limit: usize,
}

impl<T> BoundedDeque<T> {
    /// An empty queue that takes `limit` items.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { items: VecDeque::new(), limit }
    }

    /// Adds at the back.
    ///
    /// # Errors
    /// [`Full`] with the item, when the limit is reached.
    pub fn push_back(&mut self, item: T) -> Result<(), Full<T>> {
        if self.items.len() >= self.limit {
            return Err(Full { item, limit: self.limit });
        }
        self.items.push_back(item);
        Ok(())
    }

    /// Takes from the front.
    pub fn pop_front(&mut self) -> Option<T> {
        self.items.pop_front()
    }

    /// The oldest item.
    #[must_use]
    pub fn front(&self) -> Option<&T> {
        self.items.front()
    }

    /// The oldest item, to be changed in place.
    pub fn front_mut(&mut self) -> Option<&mut T> {
        self.items.front_mut()
    }

    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether no more fits.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.items.len() >= self.limit
    }

    /// From the oldest to the newest.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    /// Takes all items out.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.items.drain(..)
    }
}

/// A map of at most `limit` entries.
#[derive(Clone, Debug)]
pub struct BoundedMap<K, V> {
    entries: HashMap<K, V>,
    limit: usize,
}

impl<K: Eq + Hash, V> BoundedMap<K, V> {
    /// An empty map that takes `limit` entries.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { entries: HashMap::new(), limit }
    }

    /// Adds or replaces; answers what was there before.
    ///
    /// # Errors
    /// [`Full`] with the value, when `key` is new and the limit is reached.
    pub fn insert(&mut self, key: K, value: V) -> Result<Option<V>, Full<V>> {
        if self.entries.len() >= self.limit && !self.entries.contains_key(&key) {
            return Err(Full { item: value, limit: self.limit });
        }
        Ok(self.entries.insert(key, value))
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    /// The value of `key`, to be changed in place.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    /// Takes the entry of `key` out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key)
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_hands_the_item_back() {
        let mut q = BoundedDeque::new(1);
        assert_eq!(q.push_back('a'), Ok(()));
        assert_eq!(q.push_back('b'), Err(Full { item: 'b', limit: 1 }));
        assert_eq!(q.pop_front(), Some('a'));
        assert_eq!(q.push_back('b'), Ok(()));
    }

    #[test]
    fn a_full_map_still_replaces() {
        let mut m = BoundedMap::new(1);
        assert_eq!(m.insert(1, 'a'), Ok(None));
        assert_eq!(m.insert(2, 'b'), Err(Full { item: 'b', limit: 1 }));
        assert_eq!(m.insert(1, 'c'), Ok(Some('a')));
        assert_eq!(m.len(), 1);
    }
}
