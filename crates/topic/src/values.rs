//! The values that are kept under one key of a trie.

use std::cmp::Ordering;

use crate::sorted::{self, Entry, Probe, Sorted};
use crate::trie::Value;

/// The values of one filter. Most have one, which then needs no memory of its
/// own; a broadcast may have very many, which then are shared by clones.
#[derive(Clone, Default)]
pub(crate) enum Values<V: Clone + Ord> {
    #[default]
    None,
    One(V),
    Many(Box<Many<V>>),
}

#[derive(Clone)]
pub(crate) struct Many<V: Clone + Ord> {
    sorted: Sorted<Item<V>>,
    len: usize,
}

#[derive(Clone)]
pub(crate) struct Item<V>(V);

impl<V: Clone> Entry for Item<V> {
    type Mark = V;

    fn mark(&self) -> V {
        self.0.clone()
    }
}

/// A value that is looked for.
struct Wanted<'a, V>(&'a V);

impl<V: Clone + Ord> Probe<Item<V>> for Wanted<'_, V> {
    fn place(&self, item: &Item<V>) -> Ordering {
        item.0.cmp(self.0)
    }

    fn place_mark(&self, mark: &V) -> Ordering {
        mark.cmp(self.0)
    }
}

impl<V: Clone + Ord> Value for Values<V> {
    fn is_vacant(&self) -> bool {
        matches!(self, Self::None)
    }
}

impl<V: Clone + Ord> Values<V> {
    /// Adds a value. False if it is there.
    pub(crate) fn insert(&mut self, value: V) -> bool {
        match self {
            Self::None => *self = Self::One(value),
            Self::One(first) if *first == value => return false,
            Self::One(first) => {
                let mut sorted = Sorted::default();
                sorted.insert(&Wanted(first), Item(first.clone()));
                sorted.insert(&Wanted(&value), Item(value.clone()));
                *self = Self::Many(Box::new(Many { sorted, len: 2 }));
            }
            Self::Many(many) => {
                let added = many.sorted.insert(&Wanted(&value), Item(value.clone()));
                many.len += usize::from(added);
                return added;
            }
        }
        true
    }

    /// Takes out a value. False if it is not there.
    pub(crate) fn remove(&mut self, value: &V) -> bool {
        match self {
            Self::None => false,
            Self::One(only) => {
                let found = only == value;
                if found {
                    *self = Self::None;
                }
                found
            }
            Self::Many(many) => {
                let removed = many.sorted.remove(&Wanted(value));
                many.len -= usize::from(removed);
                if let Some(Item(only)) = many.sorted.only() {
                    *self = Self::One(only.clone());
                }
                removed
            }
        }
    }

    pub(crate) fn contains(&self, value: &V) -> bool {
        match self {
            Self::None => false,
            Self::One(only) => only == value,
            Self::Many(many) => many.sorted.find(&Wanted(value)).is_some(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Many(many) => many.len,
        }
    }

    /// All values in order.
    pub(crate) fn iter(&self) -> Iter<'_, V> {
        match self {
            Self::None => Iter::One(None),
            Self::One(only) => Iter::One(Some(only)),
            Self::Many(many) => Iter::Many(many.sorted.iter()),
        }
    }

    /// Calls `found` with all values in order; allocates nothing.
    pub(crate) fn for_each(&self, found: &mut impl FnMut(&V)) {
        match self {
            Self::None => {}
            Self::One(only) => found(only),
            Self::Many(many) => many.sorted.for_each(&mut |Item(value)| found(value)),
        }
    }
}

/// All values of a filter.
pub(crate) enum Iter<'a, V: Clone + Ord> {
    One(Option<&'a V>),
    Many(sorted::Iter<'a, Item<V>>),
}

impl<'a, V: Clone + Ord> Iterator for Iter<'a, V> {
    type Item = &'a V;

    fn next(&mut self) -> Option<&'a V> {
        match self {
            Self::One(value) => value.take(),
            Self::Many(values) => values.next().map(|Item(value)| value),
        }
    }
}

#[cfg(test)]
impl<V: Clone + Ord> Values<V> {
    /// Says what is wrong with the form of the values, if anything is.
    pub(crate) fn check_shape(&self) -> Result<(), String> {
        match self {
            Self::Many(many) if many.len < 2 || many.sorted.iter().count() != many.len => {
                Err(format!("{} values are counted as {}", many.sorted.iter().count(), many.len))
            }
            Self::Many(many) => many.sorted.check_shape(),
            _ => Ok(()),
        }
    }
}
