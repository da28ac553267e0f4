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
//! once, with at most 64 look-ups of children of constant cost: nothing is ever
//! tried twice, and the depth of recursion is at most 64. With filters without
//! `**` no more than 2^levels nodes can be reached (each level has two ways,
//! itself and `*`), and never more than there are.

use std::borrow::Cow;
use std::sync::Arc;

use crate::algebra::Pattern;
use crate::bits::Bits;
use crate::grammar::{levels, split_first};
use crate::node::{Children, Node};
use crate::path::part;
use crate::word::Word;

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

impl<T: Value> Trie<T> {
    /// The value of `filter`, if it holds one.
    pub(crate) fn get(&self, filter: &str) -> Option<&T> {
        let mut node = &self.root;
        let mut rest = filter.as_bytes();
        while let Some((first, _)) = split_first(rest) {
            node = node.child(first)?;
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
        word.look_up(&self.root, &mut found)
    }

    /// Gives `found` the value of every filter that `pattern` includes: visits
    /// the nodes below the pattern's first wildcard, each at most once. Gives up
    /// after visiting `most`; answers whether it did not.
    pub(crate) fn included<'a>(&'a self, pattern: &Pattern<'_>, most: usize, mut found: impl FnMut(&'a T)) -> bool {
        let mut walk = Included { pattern, left: most, found: &mut found };
        walk.visit(&self.root, pattern.start())
    }

    pub(crate) fn iter(&self) -> Iter<'_, T> {
        Iter { stack: vec![(self.root.children(), 0)], path: Vec::new() }
    }
}

/// The walk of [`Trie::included`].
struct Included<'w, F> {
    pattern: &'w Pattern<'w>,
    left: usize,
    found: F,
}

impl<F> Included<'_, F> {
    fn visit<'a, T: Value>(&mut self, node: &'a Node<T>, states: Bits) -> bool
    where
        F: FnMut(&'a T),
    {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        if self.pattern.accepts(states) && !node.value.is_vacant() {
            (self.found)(&node.value);
        }
        let pattern = self.pattern;
        let mut descend = |child: &'a Arc<Node<T>>| {
            let states = levels(child.path.bytes()).fold(states, |states, level| pattern.step(states, level));
            states == 0 || self.visit(child, states)
        };
        match pattern.only_literal(states) {
            Some(level) => node.child(level).is_none_or(descend),
            None => node.children().all(&mut descend),
        }
    }
}

/// All values of a trie, each after those of the filters that are its beginnings.
pub(crate) struct Iter<'a, T: Value> {
    stack: Vec<(Children<'a, T>, usize)>,
    path: Vec<u8>,
}

impl<T: Value> Iter<'_, T> {
    /// The canonical text of the filter whose value was answered last.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.path)
    }
}

impl<'a, T: Value> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        while let Some((children, parent_len)) = self.stack.last_mut() {
            self.path.truncate(*parent_len);
            let Some(child) = children.next() else {
                self.stack.pop();
                continue;
            };
            if *parent_len > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(child.path.bytes());
            self.stack.push((child.children(), self.path.len()));
            if !child.value.is_vacant() {
                return Some(&child.value);
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
