//! Looking a topic, or a filter, up in the trie.

use crate::bits::{Bits, below, bit, each, lowest, span};
use crate::grammar::{ANY, MAX_LEVELS, ONE, levels};
use crate::node::Node;
use crate::path::hash;
use crate::table::Key;
use crate::trie::Value;

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
            word.len = at + 1;
            match level {
                ANY => continue,
                ONE => {}
                _ => {
                    word.hashes[at] = hash(level);
                    word.literals |= bit(at);
                }
            }
            word.single |= bit(at);
        }
        word
    }

    fn level(&self, at: usize) -> &'a [u8] {
        &self.text[usize::from(self.starts[at])..usize::from(self.starts[at + 1]) - 1]
    }

    fn key(&self, at: usize) -> Key<'a> {
        Key { hash: self.hashes[at], level: self.level(at) }
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

    /// Gives `found` the values of all filters at and below `root` that include
    /// the word, until it answers true. Answers true if it did.
    pub(crate) fn look_up<'t, T: Value>(&self, root: &'t Node<T>, found: &mut impl FnMut(&'t T) -> bool) -> bool {
        self.visit(root, Reach { exact: bit(0), loose: 0 }, found)
    }

    fn visit<'t, T: Value>(&self, node: &'t Node<T>, reach: Reach, found: &mut impl FnMut(&'t T) -> bool) -> bool {
        if reach.exact & bit(self.len) != 0 && !node.value.is_vacant() && found(&node.value) {
            return true;
        }
        let Some(below) = node.below.as_deref() else { return false };
        if let Some(child) = &below.one
            && self.descend(child, ONE.len(), self.step_one(reach), found)
        {
            return true;
        }
        if let Some(child) = &below.any
            && self.descend(child, ANY.len(), self.step_any(reach), found)
        {
            return true;
        }
        let mut left = reach.exact & self.literals;
        while let Some(at) = lowest(left) {
            left &= left - 1;
            let key = self.key(at);
            let Some(child) = below.literals.find(key) else { continue };
            // The same level elsewhere leads to the same child: one visit for all.
            let mut taken = bit(at);
            for other in each(left) {
                if self.hashes[other] == key.hash && self.level(other) == key.level {
                    taken |= bit(other);
                }
            }
            left &= !taken;
            if self.descend(child, key.level.len(), Reach::after(taken), found) {
                return true;
            }
        }
        false
    }

    /// Goes into a node whose first level, of `len` bytes, was taken.
    fn descend<'t, T: Value>(
        &self,
        node: &'t Node<T>,
        len: usize,
        mut reach: Reach,
        found: &mut impl FnMut(&'t T) -> bool,
    ) -> bool {
        let rest = node.path.after(len);
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
