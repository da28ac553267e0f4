//! A persistent map from filters to something, which can be asked for the
//! filters that match a topic.
//!
//! A trie over levels: a node stands for the levels on the way to it, and runs
//! of levels without a choice are one node, so there are at most two nodes for
//! each filter. Clones share all nodes; a change copies the nodes on its way,
//! and only those that are shared.
//!
//! # The bound on matching
//! Every node carries the *set* of positions in the topic at which it can be
//! reached, however many `**` are above it. So each node is visited at most
//! once, with at most 64 look-ups of children, 65 x O(log children) in all:
//! nothing is ever tried twice and the depth of recursion is at most 64. With
//! filters without `**` no more than 2^levels nodes can be reached (each level
//! has two ways, itself and `*`), and never more than there are.

use std::cmp::Ordering;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::algebra::Pattern;
use crate::bits::{Bits, below, bit, each, lowest, span};
use crate::grammar::{ANY, MAX_LEVELS, ONE, levels, split_first};
use crate::sorted::{self, Entry, Probe, Sorted};

/// What a trie can hold: nodes on the way to others hold the vacant value.
pub(crate) trait Value: Clone + Default {
    /// True for the default value.
    fn is_vacant(&self) -> bool;
}

impl<X: Clone> Value for Option<X> {
    fn is_vacant(&self) -> bool {
        self.is_none()
    }
}

/// The map. Its filters are canonical texts.
#[derive(Clone, Default)]
pub(crate) struct Trie<T> {
    root: Arc<Node<T>>,
}

#[derive(Clone, Default)]
struct Node<T> {
    /// The levels between the parent and this node, at least one but for the root.
    path: Path,
    value: T,
    children: Sorted<Child<T>>,
}

/// A node under the hash of its first level: most comparisons are of integers,
/// and do not touch the node.
struct Child<T> {
    hash: u64,
    node: Arc<Node<T>>,
}

/// Sorts before the hashes of all literals.
const ONE_HASH: u64 = 0;
const ANY_HASH: u64 = 1;
const FIRST_LITERAL_HASH: u64 = 2;

/// Unit tests make nearly all levels collide, which else needs an attacker.
const HASH_MASK: u64 = if cfg!(test) { 7 } else { u64::MAX };

fn hash(level: &[u8]) -> u64 {
    match level {
        ONE => ONE_HASH,
        ANY => ANY_HASH,
        _ => (xxh3_64(level) & HASH_MASK).max(FIRST_LITERAL_HASH),
    }
}

/// A level that is looked for among children. Levels of one hash are told
/// apart by their text, so that collisions cost no more than others.
struct Key<'a> {
    hash: u64,
    level: &'a [u8],
}

impl<'a> Key<'a> {
    fn new(level: &'a [u8]) -> Self {
        Self { hash: hash(level), level }
    }
}

impl<T> Clone for Child<T> {
    fn clone(&self) -> Self {
        Self { hash: self.hash, node: self.node.clone() }
    }
}

impl<T> Entry for Child<T> {
    type Mark = (u64, Path);

    fn mark(&self) -> (u64, Path) {
        (self.hash, Path::new(self.node.path.first()))
    }
}

impl<T> Probe<Child<T>> for Key<'_> {
    fn place(&self, child: &Child<T>) -> Ordering {
        child.hash.cmp(&self.hash).then_with(|| child.node.path.first().cmp(self.level))
    }

    fn place_mark(&self, (hash, level): &(u64, Path)) -> Ordering {
        hash.cmp(&self.hash).then_with(|| level.bytes().cmp(self.level))
    }
}

/// Levels joined by `/`; short ones without an allocation.
#[derive(Clone)]
pub(crate) enum Path {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Arc<[u8]>),
}

/// As much as makes a path three words.
const SHORT: usize = 22;

impl Default for Path {
    fn default() -> Self {
        Self::Short { len: 0, bytes: [0; SHORT] }
    }
}

impl Path {
    fn new(text: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(room), Ok(len)) => {
                room.copy_from_slice(text);
                Self::Short { len, bytes }
            }
            _ => Self::Long(text.into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(bytes) => bytes,
        }
    }

    fn first(&self) -> &[u8] {
        split_first(self.bytes()).map_or(&[], |(first, _)| first)
    }

    /// What follows the first level.
    fn rest(&self) -> &[u8] {
        split_first(self.bytes()).map_or(&[], |(_, rest)| rest)
    }
}

/// Splits two texts after the levels they have in common:
/// (common, rest of the first, rest of the second).
fn part<'a, 'b>(one: &'a [u8], other: &'b [u8]) -> (&'a [u8], &'a [u8], &'b [u8]) {
    let (mut one_rest, mut other_rest) = (one, other);
    while let (Some((a, one_after)), Some((b, other_after))) = (split_first(one_rest), split_first(other_rest)) {
        if a != b {
            break;
        }
        (one_rest, other_rest) = (one_after, other_after);
    }
    let common = &one[..one.len() - one_rest.len()];
    (common.strip_suffix(b"/").unwrap_or(common), one_rest, other_rest)
}

impl<T: Value> Trie<T> {
    /// The value of `filter`, if it holds one.
    pub(crate) fn get(&self, filter: &str) -> Option<&T> {
        let mut node = &self.root;
        let mut rest = filter.as_bytes();
        while let Some((first, _)) = split_first(rest) {
            node = &node.children.find(&Key::new(first))?.node;
            let (_, path_left, rest_left) = part(node.path.bytes(), rest);
            if !path_left.is_empty() {
                return None;
            }
            rest = rest_left;
        }
        (!node.value.is_vacant()).then_some(&node.value)
    }

    /// Changes the value of `filter`, at first the vacant one; `change` must
    /// not leave it vacant.
    pub(crate) fn put<R>(&mut self, filter: &str, change: impl FnOnce(&mut T) -> R) -> R {
        Arc::make_mut(&mut self.root).put(filter.as_bytes(), change)
    }

    /// Changes the value of `filter`, which `change` may leave vacant; `None`
    /// if there is none.
    pub(crate) fn alter<R>(&mut self, filter: &str, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        // Looks first, so that what is not there copies nothing.
        self.get(filter)?;
        Arc::make_mut(&mut self.root).alter(filter.as_bytes(), change)
    }

    /// Gives `found` the value of every filter that includes `word`, until it
    /// answers true. Answers true if it did.
    pub(crate) fn including<'a>(&'a self, word: &Word<'_>, mut found: impl FnMut(&'a T) -> bool) -> bool {
        word.visit(&self.root, Reach { exact: 1, loose: 0 }, &mut found)
    }

    /// Gives `found` the value of every filter that `pattern` includes. Visits
    /// the nodes below the pattern's first wildcard, at most once each.
    pub(crate) fn included<'a>(&'a self, pattern: &Pattern<'_>, mut found: impl FnMut(&'a T)) {
        self.root.included(pattern, pattern.start(), &mut found);
    }

    pub(crate) fn iter(&self) -> Iter<'_, T> {
        Iter { root: Some(&self.root), stack: Vec::new(), path: Vec::new() }
    }
}

impl<T: Value> Node<T> {
    fn leaf<R>(path: &[u8], change: impl FnOnce(&mut T) -> R) -> (Self, R) {
        let mut node = Self { path: Path::new(path), value: T::default(), children: Sorted::default() };
        let answer = change(&mut node.value);
        (node, answer)
    }

    fn put<R>(&mut self, rest: &[u8], change: impl FnOnce(&mut T) -> R) -> R {
        let Some((first, _)) = split_first(rest) else { return change(&mut self.value) };
        let key = Key::new(first);
        if let Some(child) = self.children.find_mut(&key) {
            let node = Arc::make_mut(&mut child.node);
            let rest_left = node.keep_common(rest);
            return node.put(rest_left, change);
        }
        let (node, answer) = Self::leaf(rest, change);
        self.children.insert(&key, Child { hash: key.hash, node: Arc::new(node) });
        answer
    }

    /// Cuts the path down to what it has in common with `rest`; what is cut off
    /// becomes a child. Answers what is left of `rest`.
    fn keep_common<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        let own = self.path.clone();
        let (common, own_left, rest_left) = part(own.bytes(), rest);
        if let Some((first, _)) = split_first(own_left) {
            let key = Key::new(first);
            let lower = Self {
                path: Path::new(own_left),
                value: std::mem::take(&mut self.value),
                children: std::mem::take(&mut self.children),
            };
            self.path = Path::new(common);
            self.children.insert(&key, Child { hash: key.hash, node: Arc::new(lower) });
        }
        rest_left
    }

    fn alter<R>(&mut self, rest: &[u8], change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let Some((first, _)) = split_first(rest) else { return Some(change(&mut self.value)) };
        let key = Key::new(first);
        let child = self.children.find_mut(&key)?;
        let node = Arc::make_mut(&mut child.node);
        let (_, path_left, rest_left) = part(node.path.bytes(), rest);
        if !path_left.is_empty() {
            return None;
        }
        let answer = node.alter(rest_left, change);
        if node.value.is_vacant() {
            if node.children.is_empty() {
                self.children.remove(&key);
            } else if let Some(only) = node.children.only().cloned() {
                // The levels are without a choice again: one node for both.
                let path = [node.path.bytes(), b"/", only.node.path.bytes()].concat();
                *node = Self { path: Path::new(&path), ..Arc::unwrap_or_clone(only.node) };
            }
        }
        answer
    }

    fn included<'a>(&'a self, pattern: &Pattern<'_>, states: Bits, found: &mut impl FnMut(&'a T)) {
        if pattern.accepts(states) && !self.value.is_vacant() {
            found(&self.value);
        }
        let mut below = |child: &'a Child<T>| {
            let mut states = states;
            for level in levels(child.node.path.bytes()) {
                states = pattern.step(states, level);
            }
            if states != 0 {
                child.node.included(pattern, states, found);
            }
        };
        match pattern.only_literal(states) {
            Some(level) => self.children.find(&Key::new(level)).into_iter().for_each(below),
            None => self.children.iter().for_each(&mut below),
        }
    }
}

/// A topic, or a filter to be included, made ready to be looked up: on the stack.
pub(crate) struct Word<'a> {
    text: &'a [u8],
    len: usize,
    /// Where each level starts, and where one after the last would.
    starts: [u16; MAX_LEVELS + 1],
    hashes: [u64; MAX_LEVELS],
    /// The levels that are neither `*` nor `**`.
    literals: Bits,
    /// The levels that are not `**`.
    single: Bits,
}

/// Where in a word a node of the trie can be reached.
///
/// `exact` are the positions. `loose` is the lowest position if the wildcards
/// just before turn out to be followed by a `**`: they then may stand on any
/// of the levels that the `**` takes, and so let a `**` of the word through;
/// past the end if there is none. See [`crate::algebra`].
#[derive(Clone, Copy)]
struct Reach {
    exact: Bits,
    loose: usize,
}

const NOWHERE: usize = MAX_LEVELS + 1;

impl<'a> Word<'a> {
    /// Reads a checked topic or a canonical filter.
    pub(crate) fn new(text: &'a str) -> Self {
        let text = text.as_bytes();
        let mut word =
            Self { text, len: 0, starts: [0; MAX_LEVELS + 1], hashes: [0; MAX_LEVELS], literals: 0, single: 0 };
        let mut start = 0;
        for (at, level) in levels(text).take(MAX_LEVELS).enumerate() {
            start += level.len() as u16 + 1;
            word.starts[at + 1] = start;
            word.hashes[at] = hash(level);
            word.len = at + 1;
            if word.hashes[at] >= FIRST_LITERAL_HASH {
                word.literals |= bit(at);
            }
            if word.hashes[at] != ANY_HASH {
                word.single |= bit(at);
            }
        }
        word
    }

    fn level(&self, at: usize) -> &'a [u8] {
        &self.text[usize::from(self.starts[at])..usize::from(self.starts[at + 1]) - 1]
    }

    /// Where the next level of a filter leads.
    fn step(&self, from: Reach, level: &[u8]) -> Reach {
        match level {
            ANY => self.step_any(from),
            ONE => self.step_one(from),
            _ => {
                let taken = each(from.exact & self.literals).filter(|&at| self.level(at) == level);
                Reach::after(taken.fold(0, |set, at| set | bit(at)))
            }
        }
    }

    fn step_any(&self, from: Reach) -> Reach {
        Reach { exact: span(from.loose, self.len), loose: from.loose }
    }

    fn step_one(&self, from: Reach) -> Reach {
        let next = lowest(self.single & !below(from.loose.min(self.len)));
        Reach { exact: (from.exact & self.single) << 1, loose: next.map_or(NOWHERE, |at| at + 1) }
    }

    fn visit<'t, T: Value>(&self, node: &'t Node<T>, reach: Reach, found: &mut impl FnMut(&'t T) -> bool) -> bool {
        if reach.exact & bit(self.len) != 0 && !node.value.is_vacant() && found(&node.value) {
            return true;
        }
        for child in node.children.front().iter().take_while(|child| child.hash < FIRST_LITERAL_HASH) {
            let next = if child.hash == ONE_HASH { self.step_one(reach) } else { self.step_any(reach) };
            if self.descend(&child.node, next, found) {
                return true;
            }
        }
        let mut left = reach.exact & self.literals;
        while let Some(at) = lowest(left) {
            left &= left - 1;
            let key = Key { hash: self.hashes[at], level: self.level(at) };
            // The same level elsewhere leads to the same child: one visit for all.
            let mut taken = bit(at);
            for other in each(left) {
                if self.hashes[other] == key.hash && self.level(other) == key.level {
                    taken |= bit(other);
                }
            }
            left &= !taken;
            if let Some(child) = node.children.find(&key)
                && self.descend(&child.node, Reach::after(taken), found)
            {
                return true;
            }
        }
        false
    }

    /// Goes into a node whose first level was taken.
    fn descend<'t, T: Value>(
        &self,
        node: &'t Node<T>,
        mut reach: Reach,
        found: &mut impl FnMut(&'t T) -> bool,
    ) -> bool {
        let rest = node.path.rest();
        if !rest.is_empty() {
            for level in levels(rest) {
                reach = self.step(reach, level);
            }
        }
        (reach.exact != 0 || reach.loose <= self.len) && self.visit(node, reach, found)
    }
}

impl Reach {
    /// After a literal was taken at each of `taken`.
    fn after(taken: Bits) -> Self {
        let exact = taken << 1;
        Self { exact, loose: lowest(exact).unwrap_or(NOWHERE) }
    }
}

/// All filters of a trie with their values, each after the filters that are
/// its beginnings.
pub(crate) struct Iter<'a, T> {
    root: Option<&'a Node<T>>,
    stack: Vec<(sorted::Iter<'a, Child<T>>, usize)>,
    path: Vec<u8>,
}

impl<T> Iter<'_, T> {
    /// The canonical text of the filter whose value was answered last.
    pub(crate) fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.path)
    }
}

impl<'a, T: Value> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        if let Some(root) = self.root.take() {
            self.stack.push((root.children.iter(), 0));
        }
        while let Some((children, parent_len)) = self.stack.last_mut() {
            self.path.truncate(*parent_len);
            let Some(child) = children.next() else {
                self.stack.pop();
                continue;
            };
            if *parent_len > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(child.node.path.bytes());
            self.stack.push((child.node.children.iter(), self.path.len()));
            if !child.node.value.is_vacant() {
                return Some(&child.node.value);
            }
        }
        None
    }
}

#[cfg(test)]
impl<T: Value> Trie<T> {
    /// Says what is wrong with the form of the trie, if anything is.
    pub(crate) fn check_shape(&self, check: &impl Fn(&T) -> Result<(), String>) -> Result<(), String> {
        self.root.check_shape(true, check)
    }
}

#[cfg(test)]
impl<T: Value> Node<T> {
    fn check_shape(&self, is_root: bool, check: &impl Fn(&T) -> Result<(), String>) -> Result<(), String> {
        let path = String::from_utf8_lossy(self.path.bytes());
        if path.is_empty() != is_root {
            return Err(format!("a node has the path {path:?}"));
        }
        if !is_root && self.value.is_vacant() && (self.children.is_empty() || self.children.only().is_some()) {
            return Err(format!("the node {path:?} is there for nothing"));
        }
        check(&self.value)?;
        self.children.check_shape()?;
        self.children.iter().try_for_each(|child| {
            if child.hash != hash(child.node.path.first()) {
                return Err(format!("a child of {path:?} has the wrong hash"));
            }
            child.node.check_shape(false, check)
        })
    }
}
