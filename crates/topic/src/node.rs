//! The nodes of the trie, and how they are changed.

use std::sync::Arc;

use crate::grammar::{ANY, ONE, split_first};
use crate::path::{Path, hash, part};
use crate::table::{self, Key, Named, Table};
use crate::trie::Value;

/// A node stands for one level or more, `path`, below its parent.
#[derive(Clone, Default)]
pub(crate) struct Node<T> {
    pub(crate) path: Path,
    pub(crate) value: T,
    /// Apart, because most nodes have nothing below them.
    pub(crate) below: Option<Box<Below<T>>>,
}

/// The children of a node, by their first level.
#[derive(Clone)]
pub(crate) struct Below<T> {
    /// The child whose path starts with `*`.
    pub(crate) one: Option<Arc<Node<T>>>,
    /// The child whose path starts with `**`.
    pub(crate) any: Option<Arc<Node<T>>>,
    /// The children whose paths start with a literal.
    pub(crate) literals: Table<Node<T>>,
}

impl<T> Named for Node<T> {
    fn path(&self) -> &Path {
        &self.path
    }
}

impl<T> Default for Below<T> {
    fn default() -> Self {
        Self { one: None, any: None, literals: Table::default() }
    }
}

fn key(level: &[u8]) -> Key<'_> {
    Key { hash: hash(level), level }
}

impl<T: Value> Below<T> {
    fn find(&self, level: &[u8]) -> Option<&Arc<Node<T>>> {
        match level {
            ONE => self.one.as_ref(),
            ANY => self.any.as_ref(),
            _ => self.literals.find(key(level)),
        }
    }

    fn find_mut(&mut self, level: &[u8]) -> Option<&mut Arc<Node<T>>> {
        match level {
            ONE => self.one.as_mut(),
            ANY => self.any.as_mut(),
            _ => self.literals.find_mut(key(level)),
        }
    }

    /// Puts in a child whose path starts with `level`; there is none yet.
    fn insert(&mut self, level: &[u8], node: Arc<Node<T>>) {
        match level {
            ONE => self.one = Some(node),
            ANY => self.any = Some(node),
            _ => self.literals.insert(key(level), node),
        }
    }

    fn remove(&mut self, level: &[u8]) {
        match level {
            ONE => self.one = None,
            ANY => self.any = None,
            _ => _ = self.literals.remove(key(level)),
        }
    }

    fn is_empty(&self) -> bool {
        self.one.is_none() && self.any.is_none() && self.literals.is_empty()
    }

    fn only(&self) -> Option<&Arc<Node<T>>> {
        match (&self.one, &self.any) {
            (Some(node), None) | (None, Some(node)) if self.literals.is_empty() => Some(node),
            (None, None) => self.literals.only(),
            _ => None,
        }
    }
}

impl<T: Value> Node<T> {
    /// The child whose path starts with `level`.
    pub(crate) fn child(&self, level: &[u8]) -> Option<&Arc<Self>> {
        self.below.as_ref()?.find(level)
    }

    /// All children, in an order that depends on their levels only.
    pub(crate) fn children(&self) -> Children<'_, T> {
        let below = self.below.as_deref();
        Children {
            wildcards: below.map_or([None, None], |below| [below.one.as_ref(), below.any.as_ref()]).into_iter(),
            literals: below.map(|below| below.literals.iter()),
        }
    }

    /// Changes the value at `rest` below this node, which is made if need be;
    /// `change` must not leave it vacant.
    pub(crate) fn put<R>(&mut self, rest: &[u8], change: impl FnOnce(&mut T) -> R) -> R {
        let Some((first, _)) = split_first(rest) else { return change(&mut self.value) };
        let below = self.below.get_or_insert_default();
        if let Some(child) = below.find_mut(first) {
            let node = Arc::make_mut(child);
            let rest = node.keep_common(rest);
            return node.put(rest, change);
        }
        let mut node = Self { path: Path::new(rest), value: T::default(), below: None };
        let answer = change(&mut node.value);
        below.insert(first, Arc::new(node));
        answer
    }

    /// Cuts the path down to what it has in common with `rest`; what is cut off
    /// becomes a child. Answers what is left of `rest`.
    fn keep_common<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        let own = self.path.clone();
        let (common, own_left, rest_left) = part(own.bytes(), rest);
        if let Some((first, _)) = split_first(own_left) {
            let value = std::mem::take(&mut self.value);
            let lower = Self { path: Path::new(own_left), value, below: self.below.take() };
            self.path = Path::new(common);
            self.below.get_or_insert_default().insert(first, Arc::new(lower));
        }
        rest_left
    }

    /// Changes the value at `rest` below this node, and drops or joins the nodes
    /// that are not needed any more. `None` if there is no such node.
    pub(crate) fn alter<R>(&mut self, rest: &[u8], change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let Some((first, _)) = split_first(rest) else { return Some(change(&mut self.value)) };
        let below = self.below.as_mut()?;
        let node = Arc::make_mut(below.find_mut(first)?);
        let (_, path_left, rest_left) = part(node.path.bytes(), rest);
        if !path_left.is_empty() {
            return None;
        }
        let answer = node.alter(rest_left, change);
        if node.value.is_vacant() {
            match &node.below {
                None => below.remove(first),
                Some(beneath) => {
                    if let Some(only) = beneath.only().cloned() {
                        // The levels are without a choice again: one node for both.
                        let path = [node.path.bytes(), b"/", only.path.bytes()].concat();
                        node.below = None;
                        *node = Self { path: Path::new(&path), ..Arc::unwrap_or_clone(only) };
                    }
                }
            }
            if below.is_empty() {
                self.below = None;
            }
        }
        answer
    }
}

/// All children of a node.
pub(crate) struct Children<'a, T: Value> {
    wildcards: std::array::IntoIter<Option<&'a Arc<Node<T>>>, 2>,
    literals: Option<table::Iter<'a, Node<T>>>,
}

impl<'a, T: Value> Iterator for Children<'a, T> {
    type Item = &'a Arc<Node<T>>;

    fn next(&mut self) -> Option<&'a Arc<Node<T>>> {
        self.wildcards.by_ref().flatten().next().or_else(|| self.literals.as_mut()?.next())
    }
}

#[cfg(test)]
impl<T: Value> Node<T> {
    /// Says what is wrong with the form of the node, if anything is.
    pub(crate) fn check_shape(&self, is_root: bool, check: &impl Fn(&T) -> Result<(), String>) -> Result<(), String> {
        let path = String::from_utf8_lossy(self.path.bytes());
        if path.is_empty() != is_root {
            return Err(format!("a node has the path {path:?}"));
        }
        if !is_root && self.value.is_vacant() && self.children().count() < 2 {
            return Err(format!("the node {path:?} is there for nothing"));
        }
        check(&self.value)?;
        let Some(below) = &self.below else { return Ok(()) };
        if below.is_empty() {
            return Err(format!("there is nothing below {path:?}"));
        }
        below.literals.check_shape()?;
        self.children().try_for_each(|child| child.check_shape(false, check))
    }
}
