//! The set algebra of filters, by simulating small automata bit-parallel.
//!
//! A filter of `n` levels that are not `**` is an automaton of `n + 1` states
//! in a row: state `i` means that `i` of those levels are done. A level leads
//! from its state to the next; `**` is a loop at the state where it stands.
//! All states that can be reached at once are one [`Bits`], so each operation
//! costs at most (levels of one) x (levels of the other) comparisons of
//! levels, 4,096, whatever the filters: nothing is ever tried twice.
//!
//! `includes` reads the other filter as if it were a topic with two odd kinds
//! of level. Its `*` can be a level never seen before, so only a wildcard may
//! take it. Its `**` can be empty or very long, so it takes no `*` forward, yet
//! must be let through: that is allowed inside a run of wildcards that has a
//! `**`, where "at least k levels" stays true whatever is added. Testing the
//! shortest and the longest reading of every `**` at once this way is exact:
//! for a filter that includes another there is always one way to take it that
//! serves for all lengths (the leftmost way does; each part between two `**`
//! starts with a literal, so the same start serves when a `**` grows).

use crate::bits::{Bits, below, bit, each, lowest, span};
use crate::grammar::{ANY, MAX_LEVELS, ONE, levels};

/// A filter made ready for the operations: borrowed, on the stack.
pub(crate) struct Pattern<'a> {
    /// The level that leads on from each state.
    symbols: [&'a [u8]; MAX_LEVELS],
    /// How many there are; also the number of the accepting state.
    len: usize,
    /// States that any one level leads on from: those before a `*`.
    stars: Bits,
    /// States with a loop: those at a `**`.
    loops: Bits,
    /// States within a run of wildcards that has a `**`, the ends included.
    runs: Bits,
}

impl<'a> Pattern<'a> {
    /// Reads a filter in canonical form, in which a `**` ends its run.
    pub(crate) fn new(filter: &'a str) -> Self {
        let mut pattern = Self { symbols: [&[]; MAX_LEVELS], len: 0, stars: 0, loops: 0, runs: 0 };
        let mut run_start = 0;
        for level in levels(filter.as_bytes()) {
            let state = pattern.len;
            if level == ANY {
                pattern.loops |= bit(state);
                pattern.runs |= span(run_start, state);
                continue;
            }
            if level == ONE {
                pattern.stars |= bit(state);
            } else {
                run_start = state + 1;
            }
            // A checked filter has no more levels than fit.
            if let Some(slot) = pattern.symbols.get_mut(state) {
                *slot = level;
                pattern.len += 1;
            }
        }
        pattern
    }

    /// The states before the first level.
    pub(crate) fn start(&self) -> Bits {
        1
    }

    /// True if one of `states` is reached when the whole filter is done.
    pub(crate) fn accepts(&self, states: Bits) -> bool {
        states & bit(self.len) != 0
    }

    /// The states after one level of the other side, which is a filter's level
    /// to be included: each of its readings must be taken.
    pub(crate) fn step(&self, states: Bits, level: &[u8]) -> Bits {
        if level == ANY {
            return states & self.runs;
        }
        let mut led_on = states & self.stars;
        if level != ONE {
            led_on |= self.literal(states, level);
        }
        (led_on << 1) | (states & self.loops)
    }

    /// The one literal that leads on from `states`, if nothing else does.
    pub(crate) fn only_literal(&self, states: Bits) -> Option<&'a [u8]> {
        let state = lowest(states)?;
        let alone = states & (states - 1) == 0 && states & (self.stars | self.loops) == 0;
        if alone && state < self.len { self.symbols.get(state).copied() } else { None }
    }

    /// Those of `states` that the literal `level` leads on from.
    fn literal(&self, states: Bits, level: &[u8]) -> Bits {
        let mut led_on = 0;
        for state in each(states & !self.stars & below(self.len)) {
            if self.symbols.get(state).is_some_and(|symbol| *symbol == level) {
                led_on |= bit(state);
            }
        }
        led_on
    }

    /// The states after one level of the other side, which is a filter's level
    /// to be shared: some reading of it must be taken.
    fn step_shared(&self, states: Bits, level: &[u8]) -> Bits {
        if level == ANY {
            // Levels can be chosen to lead from any state to all later ones.
            return lowest(states).map_or(0, |first| span(first, self.len));
        }
        let led_on =
            if level == ONE { states & below(self.len) } else { (states & self.stars) | self.literal(states, level) };
        (led_on << 1) | (states & self.loops)
    }
}

/// True if every topic of `inner` is one of `outer`. Also whether the topic
/// `inner` is in `outer`, since a topic is a filter for itself.
pub(crate) fn includes(outer: &str, inner: &str) -> bool {
    run(outer, inner, |pattern, states, level| pattern.step(states, level))
}

/// True if some topic is in both.
pub(crate) fn intersects(one: &str, other: &str) -> bool {
    run(one, other, |pattern, states, level| pattern.step_shared(states, level))
}

fn run(filter: &str, other: &str, step: impl Fn(&Pattern<'_>, Bits, &[u8]) -> Bits) -> bool {
    let pattern = Pattern::new(filter);
    let mut states = pattern.start();
    for level in levels(other.as_bytes()) {
        states = step(&pattern, states, level);
        if states == 0 {
            return false;
        }
    }
    pattern.accepts(states)
}

/// The canonical form of a filter's levels: in a run of wildcards that has a
/// `**`, first the `*`s, then one `**`; and `*/**` alone is `**`, since every
/// topic has a level. Two filters describe the same set of topics exactly when
/// their canonical forms are equal.
///
/// Why no two forms describe one set: the shortest topics fix the levels that
/// are not `**`; one level more, of a name used nowhere else, can be put in
/// only at a `**` or within the `*`s before it, so the places of the `**` are
/// fixed as well. Such a topic keeps within the limits, since a filter's `**`
/// takes up at least the room of the level that it is replaced by.
pub(crate) fn canonical(filter: &str) -> String {
    let mut out = String::with_capacity(filter.len());
    let mut any_waits = false;
    for level in filter.split('/') {
        match level.as_bytes() {
            ANY => {
                any_waits = true;
                continue;
            }
            ONE => {}
            _ if any_waits => {
                push(&mut out, "**");
                any_waits = false;
            }
            _ => {}
        }
        push(&mut out, level);
    }
    if any_waits {
        push(&mut out, "**");
    }
    if out == "*/**" {
        out.replace_range(.., "**");
    }
    out
}

fn push(out: &mut String, level: &str) {
    if !out.is_empty() {
        out.push('/');
    }
    out.push_str(level);
}
