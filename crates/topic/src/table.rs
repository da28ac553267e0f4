//! A persistent hash table of nodes, looked up by their first level.
//!
//! A hash array mapped trie (Bagwell, 2001): six bits of the hash choose one of
//! up to 64 slots, of which only those in use are kept; where two levels meet in
//! a slot the next six bits tell them apart. So a look-up reads one slot for
//! each step, and three steps do for a quarter of a million entries. Levels with
//! one hash (only an attacker finds some) are kept sorted, so that no choice of
//! levels costs more than O(log n). Clones share all but the outermost slots.

use std::cmp::Ordering;
use std::slice;
use std::sync::Arc;

use crate::path::Path;
use crate::sorted::{self, Entry, Probe, Sorted};

/// What a table keeps: something with a first level.
pub(crate) trait Named {
    fn path(&self) -> &Path;
}

/// A level that is looked for.
#[derive(Clone, Copy)]
pub(crate) struct Key<'a> {
    pub(crate) hash: u64,
    pub(crate) level: &'a [u8],
}

/// The table. Bit `i` of `map` says that there is a slot for the digit `i`.
#[derive(Clone)]
pub(crate) struct Table<N: Named> {
    map: u64,
    slots: Box<[Slot<N>]>,
}

#[derive(Clone)]
enum Slot<N: Named> {
    One { hash: u64, node: Arc<N> },
    More(Arc<More<N>>),
}

/// Two nodes or more whose hashes begin alike.
#[derive(Clone)]
enum More<N: Named> {
    Table(Table<N>),
    /// Those that have the same hash.
    Same(Sorted<Same<N>>),
}

/// A node among others of the same hash: sorted by its level.
struct Same<N>(Arc<N>);

impl<N> Clone for Same<N> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<N: Named> Entry for Same<N> {
    type Mark = Path;

    fn mark(&self) -> Path {
        Path::new(self.0.path().first())
    }
}

impl<N: Named> Probe<Same<N>> for Key<'_> {
    fn place(&self, entry: &Same<N>) -> Ordering {
        entry.0.path().first().cmp(self.level)
    }

    fn place_mark(&self, mark: &Path) -> Ordering {
        mark.bytes().cmp(self.level)
    }
}

const DIGIT_BITS: u32 = 6;
/// Steps after which all bits of a hash are used; the last has four.
const STEPS: u32 = u64::BITS.div_ceil(DIGIT_BITS);

/// The bit of the slot for `hash` at a step, counted from the top of the hash.
fn slot_bit(hash: u64, step: u32) -> u64 {
    1 << ((hash << (step * DIGIT_BITS)) >> (u64::BITS - DIGIT_BITS))
}

impl<N: Named> Default for Table<N> {
    fn default() -> Self {
        Self { map: 0, slots: Box::default() }
    }
}

impl<N: Named + Clone> Table<N> {
    pub(crate) fn is_empty(&self) -> bool {
        self.map == 0
    }

    /// The only node, if there is no other.
    pub(crate) fn only(&self) -> Option<&Arc<N>> {
        match &*self.slots {
            [Slot::One { node, .. }] => Some(node),
            _ => None,
        }
    }

    /// Where the slot of `bit` is, or would be.
    fn place(&self, bit: u64) -> usize {
        (self.map & (bit - 1)).count_ones() as usize
    }

    pub(crate) fn find(&self, key: Key<'_>) -> Option<&Arc<N>> {
        let mut table = self;
        for step in 0..STEPS {
            let bit = slot_bit(key.hash, step);
            if table.map & bit == 0 {
                return None;
            }
            match table.slots.get(table.place(bit))? {
                Slot::One { hash, node } => {
                    return (*hash == key.hash && node.path().starts_with(key.level)).then_some(node);
                }
                Slot::More(more) => match &**more {
                    More::Table(deeper) => table = deeper,
                    More::Same(nodes) => return nodes.find(&key).map(|Same(node)| node),
                },
            }
        }
        None
    }

    /// The node, whose first level must stay. Copies what is shared on the way.
    pub(crate) fn find_mut(&mut self, key: Key<'_>) -> Option<&mut Arc<N>> {
        let mut table = self;
        for step in 0..STEPS {
            let bit = slot_bit(key.hash, step);
            if table.map & bit == 0 {
                return None;
            }
            let place = table.place(bit);
            match table.slots.get_mut(place)? {
                Slot::One { hash, node } => {
                    return (*hash == key.hash && node.path().starts_with(key.level)).then_some(node);
                }
                Slot::More(more) => match Arc::make_mut(more) {
                    More::Table(deeper) => table = deeper,
                    More::Same(nodes) => return nodes.find_mut(&key).map(|Same(node)| node),
                },
            }
        }
        None
    }

    /// Puts in a node that is not there.
    pub(crate) fn insert(&mut self, key: Key<'_>, node: Arc<N>) {
        self.insert_at(0, key, node);
    }

    fn insert_at(&mut self, step: u32, key: Key<'_>, node: Arc<N>) {
        let bit = slot_bit(key.hash, step);
        let place = self.place(bit);
        if self.map & bit == 0 {
            let mut slots = std::mem::take(&mut self.slots).into_vec();
            slots.reserve_exact(1);
            slots.insert(place, Slot::One { hash: key.hash, node });
            self.slots = slots.into_boxed_slice();
            self.map |= bit;
            return;
        }
        match self.slots.get_mut(place) {
            Some(Slot::More(more)) => match Arc::make_mut(more) {
                More::Table(deeper) => deeper.insert_at(step + 1, key, node),
                More::Same(nodes) => _ = nodes.insert(&key, Same(node)),
            },
            Some(slot) => {
                if let Slot::One { hash, node: first } = slot {
                    let more = More::two(step + 1, (*hash, first.clone()), (key, node));
                    *slot = Slot::More(Arc::new(more));
                }
            }
            None => {}
        }
    }

    /// Takes out a node. False if it is not there.
    pub(crate) fn remove(&mut self, key: Key<'_>) -> bool {
        self.remove_at(0, key)
    }

    fn remove_at(&mut self, step: u32, key: Key<'_>) -> bool {
        let bit = slot_bit(key.hash, step);
        if self.map & bit == 0 {
            return false;
        }
        let place = self.place(bit);
        let Some(slot) = self.slots.get_mut(place) else { return false };
        match slot {
            Slot::One { hash, node } => {
                if *hash != key.hash || !node.path().starts_with(key.level) {
                    return false;
                }
                let mut slots = std::mem::take(&mut self.slots).into_vec();
                slots.remove(place);
                self.slots = slots.into_boxed_slice();
                self.map &= !bit;
                true
            }
            Slot::More(more) => {
                let (removed, last) = match Arc::make_mut(more) {
                    More::Table(deeper) => (deeper.remove_at(step + 1, key), deeper.only().cloned()),
                    More::Same(nodes) => (nodes.remove(&key), nodes.only().map(|Same(node)| node.clone())),
                };
                if let Some(node) = last {
                    *slot = Slot::One { hash: crate::path::hash(node.path().first()), node };
                }
                removed
            }
        }
    }

    /// All nodes, in order of their hashes, then of their levels.
    pub(crate) fn iter(&self) -> Iter<'_, N> {
        Iter { slots: self.slots.iter(), same: None, stack: Vec::new() }
    }
}

impl<N: Named + Clone> More<N> {
    /// Holds two nodes whose hashes are alike before `step`.
    fn two(step: u32, first: (u64, Arc<N>), second: (Key<'_>, Arc<N>)) -> Self {
        if step == STEPS {
            let mut nodes = Sorted::default();
            let key = Key { hash: first.0, level: first.1.path().first() };
            nodes.insert(&key, Same(first.1.clone()));
            nodes.insert(&second.0, Same(second.1));
            return Self::Same(nodes);
        }
        let map = slot_bit(first.0, step);
        if map == slot_bit(second.0.hash, step) {
            let deeper = Slot::More(Arc::new(Self::two(step + 1, first, second)));
            return Self::Table(Table { map, slots: Box::new([deeper]) });
        }
        let mut table = Table { map, slots: Box::new([Slot::One { hash: first.0, node: first.1 }]) };
        table.insert_at(step, second.0, second.1);
        Self::Table(table)
    }
}

/// All nodes of a table.
pub(crate) struct Iter<'a, N: Named> {
    slots: slice::Iter<'a, Slot<N>>,
    same: Option<sorted::Iter<'a, Same<N>>>,
    stack: Vec<slice::Iter<'a, Slot<N>>>,
}

impl<'a, N: Named> Iterator for Iter<'a, N> {
    type Item = &'a Arc<N>;

    fn next(&mut self) -> Option<&'a Arc<N>> {
        loop {
            if let Some(Same(node)) = self.same.as_mut().and_then(Iterator::next) {
                return Some(node);
            }
            match self.slots.next() {
                Some(Slot::One { node, .. }) => return Some(node),
                Some(Slot::More(more)) => match &**more {
                    More::Table(deeper) => self.stack.push(std::mem::replace(&mut self.slots, deeper.slots.iter())),
                    More::Same(nodes) => self.same = Some(nodes.iter()),
                },
                None => self.slots = self.stack.pop()?,
            }
        }
    }
}

#[cfg(test)]
impl<N: Named + Clone> Table<N> {
    /// Says what is wrong with the form of the table, if anything is.
    pub(crate) fn check_shape(&self) -> Result<(), String> {
        self.check_shape_at(0)
    }

    fn check_shape_at(&self, step: u32) -> Result<(), String> {
        if self.map.count_ones() as usize != self.slots.len() {
            return Err(format!("{} slots for the map {:b}", self.slots.len(), self.map));
        }
        if step > 0 && (self.is_empty() || self.only().is_some()) {
            return Err("a table is there for nothing".to_owned());
        }
        self.slots.iter().try_for_each(|slot| match slot {
            Slot::One { hash, node } if *hash == crate::path::hash(node.path().first()) => Ok(()),
            Slot::One { .. } => Err("a slot has the wrong hash".to_owned()),
            Slot::More(more) => match &**more {
                More::Table(deeper) => deeper.check_shape_at(step + 1),
                More::Same(nodes) if nodes.iter().count() < 2 => Err("one node is not several".to_owned()),
                More::Same(nodes) => nodes.check_shape(),
            },
        })
    }
}
