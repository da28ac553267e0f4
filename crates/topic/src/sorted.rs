//! A persistent sorted set: a few entries in place, many in a B+tree whose
//! clones share their nodes. What is shared is copied when it is written to.
//!
//! It holds the values of a filter, and levels whose hashes collide. Sorted, not
//! hashed: no choice of entries makes an operation cost more than
//! O(log n), and the order depends on nothing but the entries.

use std::cmp::Ordering;
use std::slice;
use std::sync::Arc;

use arrayvec::ArrayVec;

/// Most entries kept in place, without a tree.
const FEW: usize = 32;
/// Most entries of a leaf of the tree.
const LEAF: usize = 32;
/// Most children of an inner node of the tree.
const FAN: usize = 16;

/// What can be kept. A mark is enough of an entry to be ordered by, and does
/// not keep the entry shared.
pub(crate) trait Entry: Clone {
    /// What inner nodes keep to find their way.
    type Mark: Clone;
    /// The mark of this entry.
    fn mark(&self) -> Self::Mark;
}

/// What is looked for: tells where entries and marks stand relative to it.
pub(crate) trait Probe<E: Entry> {
    /// How `entry` compares with what is looked for.
    fn place(&self, entry: &E) -> Ordering;
    /// How `mark` compares with what is looked for.
    fn place_mark(&self, mark: &E::Mark) -> Ordering;
}

/// The set.
pub(crate) enum Sorted<E: Entry> {
    Few(Box<[E]>),
    Wide(Arc<Branch<E>>),
}

/// An inner node. `marks[i]` is a lower bound of `subs[i]`, and above all of
/// `subs[i - 1]`; the first is not looked at.
pub(crate) struct Branch<E: Entry> {
    marks: ArrayVec<E::Mark, FAN>,
    subs: ArrayVec<Sub<E>, FAN>,
}

type Leaf<E> = ArrayVec<E, LEAF>;

pub(crate) enum Sub<E: Entry> {
    Leaf(Arc<Leaf<E>>),
    Branch(Arc<Branch<E>>),
}

impl<E: Entry> Clone for Sorted<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Few(entries) => Self::Few(entries.clone()),
            Self::Wide(root) => Self::Wide(root.clone()),
        }
    }
}

impl<E: Entry> Clone for Branch<E> {
    fn clone(&self) -> Self {
        Self { marks: self.marks.clone(), subs: self.subs.clone() }
    }
}

impl<E: Entry> Clone for Sub<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(leaf) => Self::Leaf(leaf.clone()),
            Self::Branch(branch) => Self::Branch(branch.clone()),
        }
    }
}

impl<E: Entry> Default for Sorted<E> {
    fn default() -> Self {
        Self::Few(Box::default())
    }
}

fn search<E: Entry>(entries: &[E], probe: &impl Probe<E>) -> Result<usize, usize> {
    entries.binary_search_by(|entry| probe.place(entry))
}

impl<E: Entry> Sorted<E> {
    /// The only entry, if there is no other.
    pub(crate) fn only(&self) -> Option<&E> {
        match self {
            Self::Few(entries) if entries.len() == 1 => entries.first(),
            _ => None,
        }
    }

    pub(crate) fn find(&self, probe: &impl Probe<E>) -> Option<&E> {
        let mut branch = match self {
            Self::Few(entries) => return search(entries, probe).ok().and_then(|at| entries.get(at)),
            Self::Wide(root) => root,
        };
        loop {
            match branch.subs.get(branch.way(probe))? {
                Sub::Branch(sub) => branch = sub,
                Sub::Leaf(leaf) => return search(leaf, probe).ok().and_then(|at| leaf.get(at)),
            }
        }
    }

    /// The entry, to be changed in what the order does not depend on. Copies
    /// what is shared on the way to it.
    pub(crate) fn find_mut(&mut self, probe: &impl Probe<E>) -> Option<&mut E> {
        let mut branch = match self {
            Self::Few(entries) => return search(entries, probe).ok().and_then(|at| entries.get_mut(at)),
            Self::Wide(root) => Arc::make_mut(root),
        };
        loop {
            let way = branch.way(probe);
            match branch.subs.get_mut(way)? {
                Sub::Branch(sub) => branch = Arc::make_mut(sub),
                Sub::Leaf(leaf) => {
                    let at = search(leaf, probe).ok()?;
                    return Arc::make_mut(leaf).get_mut(at);
                }
            }
        }
    }

    /// Puts in `entry`, which `probe` looks for. False, and nothing done, if it
    /// is there.
    pub(crate) fn insert(&mut self, probe: &impl Probe<E>, entry: E) -> bool {
        match self {
            Self::Few(entries) => {
                let Err(at) = search(entries, probe) else { return false };
                let mut list = std::mem::take(entries).into_vec();
                list.reserve_exact(1);
                list.insert(at, entry);
                *self = if list.len() <= FEW { Self::Few(list.into_boxed_slice()) } else { Self::wide(list) };
                true
            }
            Self::Wide(root) => match Arc::make_mut(root).insert(probe, entry) {
                Outcome::Present => false,
                Outcome::Done => true,
                Outcome::Split(right) => {
                    let left = root.clone();
                    let mut grown = Branch { marks: ArrayVec::new(), subs: ArrayVec::new() };
                    // The first mark of a branch is not looked at; any will do.
                    grown.push(right.mark.clone(), Sub::Branch(left));
                    grown.push(right.mark, right.sub);
                    *root = Arc::new(grown);
                    true
                }
            },
        }
    }

    /// Takes out the entry that `probe` looks for. False if it is not there.
    pub(crate) fn remove(&mut self, probe: &impl Probe<E>) -> bool {
        match self {
            Self::Few(entries) => {
                let Ok(at) = search(entries, probe) else { return false };
                let mut list = std::mem::take(entries).into_vec();
                list.remove(at);
                *entries = list.into_boxed_slice();
                true
            }
            Self::Wide(root) => {
                let removed = Arc::make_mut(root).remove(probe);
                self.shrink();
                removed
            }
        }
    }

    /// Makes a tree of more entries than are kept in place.
    fn wide(list: Vec<E>) -> Self {
        let mut root = Branch { marks: ArrayVec::new(), subs: ArrayVec::new() };
        let mut rest = list.into_iter().peekable();
        while let Some(mark) = rest.peek().map(Entry::mark) {
            root.push(mark, Sub::Leaf(Arc::new(rest.by_ref().take(LEAF.div_ceil(2)).collect())));
        }
        Self::Wide(Arc::new(root))
    }

    /// Drops levels of the tree that have one node only.
    fn shrink(&mut self) {
        while let Self::Wide(root) = self {
            match (root.subs.len(), root.subs.first()) {
                (1, Some(Sub::Branch(sub))) => *root = sub.clone(),
                // Half of what is kept in place, so as not to go to and fro.
                (1, Some(Sub::Leaf(leaf))) if leaf.len() <= FEW / 2 => {
                    *self = Self::Few(leaf.iter().cloned().collect())
                }
                (0, _) => *self = Self::default(),
                _ => return,
            }
        }
    }

    /// Calls `found` with all entries in order; allocates nothing.
    pub(crate) fn for_each(&self, found: &mut impl FnMut(&E)) {
        match self {
            Self::Few(entries) => entries.iter().for_each(found),
            Self::Wide(root) => root.for_each(found),
        }
    }

    /// All entries in order.
    pub(crate) fn iter(&self) -> Iter<'_, E> {
        match self {
            Self::Few(entries) => Iter { leaf: entries.iter(), stack: Vec::new() },
            Self::Wide(root) => Iter { leaf: [].iter(), stack: vec![root.subs.iter()] },
        }
    }
}

/// The right half of a node that was full.
struct Right<E: Entry> {
    mark: E::Mark,
    sub: Sub<E>,
}

enum Outcome<E: Entry> {
    Present,
    Done,
    Split(Right<E>),
}

impl<E: Entry> Branch<E> {
    /// Which child holds what `probe` looks for.
    fn way(&self, probe: &impl Probe<E>) -> usize {
        self.marks.partition_point(|mark| probe.place_mark(mark) != Ordering::Greater).saturating_sub(1)
    }

    fn push(&mut self, mark: E::Mark, sub: Sub<E>) {
        self.marks.push(mark);
        self.subs.push(sub);
    }

    fn for_each(&self, found: &mut impl FnMut(&E)) {
        for sub in &self.subs {
            match sub {
                Sub::Leaf(leaf) => leaf.iter().for_each(&mut *found),
                Sub::Branch(branch) => branch.for_each(found),
            }
        }
    }

    fn insert(&mut self, probe: &impl Probe<E>, entry: E) -> Outcome<E> {
        let way = self.way(probe);
        let outcome = match self.subs.get_mut(way) {
            Some(Sub::Branch(sub)) => Arc::make_mut(sub).insert(probe, entry),
            Some(Sub::Leaf(leaf)) => insert_in_leaf(leaf, probe, entry),
            // A branch is never without children; if it were, this mends it.
            None => {
                self.push(entry.mark(), Sub::Leaf(Arc::new(Leaf::from_iter([entry]))));
                return Outcome::Done;
            }
        };
        match outcome {
            Outcome::Split(right) => self.take_in(way + 1, right),
            other => other,
        }
    }

    /// Puts a new child in place `at`, in two halves of this node if need be.
    fn take_in(&mut self, at: usize, right: Right<E>) -> Outcome<E> {
        if !self.subs.is_full() {
            self.marks.insert(at, right.mark);
            self.subs.insert(at, right.sub);
            return Outcome::Done;
        }
        let mut upper =
            Self { marks: self.marks.drain(FAN / 2..).collect(), subs: self.subs.drain(FAN / 2..).collect() };
        let half = if at <= FAN / 2 { &mut *self } else { &mut upper };
        let place = if at <= FAN / 2 { at } else { at - FAN / 2 };
        half.marks.insert(place, right.mark);
        half.subs.insert(place, right.sub);
        match upper.marks.first().cloned() {
            Some(mark) => Outcome::Split(Right { mark, sub: Sub::Branch(Arc::new(upper)) }),
            None => Outcome::Done,
        }
    }

    fn remove(&mut self, probe: &impl Probe<E>) -> bool {
        let way = self.way(probe);
        let removed = match self.subs.get_mut(way) {
            Some(Sub::Branch(sub)) => Arc::make_mut(sub).remove(probe),
            Some(Sub::Leaf(leaf)) => match search(leaf, probe) {
                Ok(at) => {
                    Arc::make_mut(leaf).remove(at);
                    true
                }
                Err(_) => false,
            },
            None => false,
        };
        if removed {
            self.tidy(way);
        }
        removed
    }

    /// Drops the child in place `at` if it is empty, or joins it with a
    /// neighbour if both are small, so that a tree shrinks with its content.
    fn tidy(&mut self, at: usize) {
        let small = match self.subs.get(at) {
            Some(sub) if sub.len() == 0 => {
                self.marks.remove(at);
                self.subs.remove(at);
                return;
            }
            Some(sub) => sub.len() <= sub.capacity() / 4,
            None => return,
        };
        if !small {
            return;
        }
        let left = if at + 1 < self.subs.len() { at } else { at.saturating_sub(1) };
        let [one, other, ..] = self.subs.get_mut(left..).unwrap_or_default() else { return };
        // Not full afterwards, so that the next insert does not split it again.
        if one.len() + other.len() <= one.capacity() / 4 * 3 && one.join(other) {
            self.marks.remove(left + 1);
            self.subs.remove(left + 1);
        }
    }
}

fn insert_in_leaf<E: Entry>(leaf: &mut Arc<Leaf<E>>, probe: &impl Probe<E>, entry: E) -> Outcome<E> {
    let Err(at) = search(leaf, probe) else { return Outcome::Present };
    let lower = Arc::make_mut(leaf);
    if !lower.is_full() {
        lower.insert(at, entry);
        return Outcome::Done;
    }
    let mut upper: Leaf<E> = lower.drain(LEAF / 2..).collect();
    if at <= LEAF / 2 {
        lower.insert(at, entry);
    } else {
        upper.insert(at - LEAF / 2, entry);
    }
    match upper.first().map(Entry::mark) {
        Some(mark) => Outcome::Split(Right { mark, sub: Sub::Leaf(Arc::new(upper)) }),
        None => Outcome::Done,
    }
}

impl<E: Entry> Sub<E> {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len(),
            Self::Branch(branch) => branch.subs.len(),
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Self::Leaf(_) => LEAF,
            Self::Branch(_) => FAN,
        }
    }

    /// Takes in what its right neighbour holds, which must fit. Neighbours are
    /// of the same kind, since all leaves are at one depth.
    fn join(&mut self, right: &Self) -> bool {
        match (self, right) {
            (Self::Leaf(leaf), Self::Leaf(right)) => Arc::make_mut(leaf).extend(right.iter().cloned()),
            (Self::Branch(branch), Self::Branch(right)) => {
                let branch = Arc::make_mut(branch);
                branch.marks.extend(right.marks.iter().cloned());
                branch.subs.extend(right.subs.iter().cloned());
            }
            _ => return false,
        }
        true
    }
}

/// All entries of a [`Sorted`], in order.
pub(crate) struct Iter<'a, E: Entry> {
    leaf: slice::Iter<'a, E>,
    stack: Vec<slice::Iter<'a, Sub<E>>>,
}

impl<'a, E: Entry> Iterator for Iter<'a, E> {
    type Item = &'a E;

    fn next(&mut self) -> Option<&'a E> {
        loop {
            if let Some(entry) = self.leaf.next() {
                return Some(entry);
            }
            match self.stack.last_mut()?.next() {
                Some(Sub::Leaf(leaf)) => self.leaf = leaf.iter(),
                Some(Sub::Branch(branch)) => self.stack.push(branch.subs.iter()),
                None => {
                    self.stack.pop();
                }
            }
        }
    }
}

#[cfg(test)]
impl<E: Entry> Sorted<E> {
    /// Says what is wrong with the form of the set, if anything is.
    pub(crate) fn check_shape(&self) -> Result<(), String> {
        match self {
            Self::Few(entries) if entries.len() > FEW => Err(format!("{} entries are not few", entries.len())),
            Self::Few(_) => Ok(()),
            Self::Wide(root) => match (&root.subs[..], root.depth()?) {
                ([Sub::Branch(_)], _) => Err("the root has one branch only".to_owned()),
                ([Sub::Leaf(leaf)], _) if leaf.len() <= FEW / 2 => Err(format!("a tree of {} entries", leaf.len())),
                _ => Ok(()),
            },
        }
    }
}

#[cfg(test)]
impl<E: Entry> Branch<E> {
    fn depth(&self) -> Result<usize, String> {
        if self.subs.is_empty() || self.marks.len() != self.subs.len() {
            return Err(format!("a branch has {} children and {} marks", self.subs.len(), self.marks.len()));
        }
        let mut depths = self.subs.iter().map(|sub| match sub {
            Sub::Leaf(leaf) if leaf.is_empty() => Err("a leaf is empty".to_owned()),
            Sub::Leaf(_) => Ok(0),
            Sub::Branch(branch) => branch.depth(),
        });
        let first = depths.next().unwrap_or(Ok(0))?;
        depths.try_for_each(|depth| if depth? == first { Ok(()) } else { Err("leaves at two depths".to_owned()) })?;
        Ok(first + 1)
    }
}
