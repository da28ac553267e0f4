//! Whether everything that is valid by a writer's schema is valid by a reader's.
//!
//! Proved rule by rule: each of the reader's rules must follow from what the
//! writer's say of the same value. What does not follow by the rules known here
//! counts as against it, so `Ok` has no exception and a refusal may have one.
//! These are the rules of Confluent's registry where those are right: in an open
//! content model (`additionalProperties` not false) a new property narrows, since
//! the writer may have written anything under its name; in a closed one it widens.
//!
//! [`Proof`] keeps the question, [`rules`](super::rules) has the rules of each
//! type, [`apart`](super::apart) says when two schemas have no value in common.
use std::cell::Cell;
use std::collections::BTreeMap;

use super::JsonSchema;
use super::apart::apart;
use super::nodes::{Node, Nodes, Place};
use super::rules;
use super::same::same;
use super::types::Types;
use super::values;
use crate::error::Incompatibility;
use crate::limits::SchemaLimits;

/// How deep questions may be within each other.
const DEPTH: usize = 96;

/// A subschema of one of the two schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) writers: bool,
    pub(super) place: Place,
}

/// What is known of a value: it is of one of these types, and valid by all of
/// these subschemas.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Known {
    pub(super) types: Types,
    /// Sorted; with all that they take in by `allOf` and `$ref`.
    pub(super) all: Vec<At>,
}

/// Whether `reader` takes all that is valid by `writer`.
pub(super) fn can_read(
    reader: &JsonSchema,
    writer: &JsonSchema,
    limits: &SchemaLimits,
) -> Result<(), Vec<Incompatibility>> {
    let mut proof = Proof {
        nodes: [&reader.nodes, &writer.nodes],
        same_draft: reader.draft == writer.draft,
        settled: BTreeMap::new(),
        trail: Vec::new(),
        left: limits.compared,
        steps: Cell::new(limits.compared.saturating_mul(20)),
        depth: 0,
        found: Vec::new(),
        most: limits.incompatibilities,
    };
    let known = proof.known(Types::ALL, &[At { writers: true, place: Nodes::ROOT }]);
    if proof.reads(At { writers: false, place: Nodes::ROOT }, &known) {
        return Ok(());
    }
    let mut found = std::mem::take(&mut proof.found);
    found.dedup();
    if found.is_empty() {
        found.push(Incompatibility::new(
            "#",
            "UNDECIDED",
            "it cannot be shown that the reader takes all of the writer's",
        ));
    }
    Err(found)
}

/// What is known of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It takes all of it, or the question is being asked.
    Proved,
    /// It cannot be shown. Why was said, or not yet.
    Failed { told: bool },
}

/// The question, and what is found on the way.
pub(super) struct Proof<'a> {
    /// The reader's and the writer's.
    nodes: [&'a Nodes; 2],
    /// Whether both are of one draft, so that `format` and what is not understood mean the same.
    pub(super) same_draft: bool,
    /// Questions that have an answer. One that is being asked counts as proved:
    /// subschemas of one value are in no circle (`cost` refuses that), so what
    /// comes back to it asks for a value within the value.
    settled: BTreeMap<(At, Known), Answer>,
    /// The proved ones in order, since what stood on a wrong one must go with it.
    trail: Vec<(At, Known)>,
    left: usize,
    /// Steps of all that is no question of its own.
    steps: Cell<usize>,
    depth: usize,
    found: Vec<Incompatibility>,
    most: usize,
}

impl<'a> Proof<'a> {
    pub(super) fn at(&self, at: At) -> &'a Node {
        const NOTHING_KNOWN: &Node = &Node::open();
        self.nodes[usize::from(at.writers)].at(at.place).unwrap_or(NOTHING_KNOWN)
    }

    pub(super) fn nodes(&self, at: At) -> &'a Nodes {
        self.nodes[usize::from(at.writers)]
    }

    /// Notes what stands against it at `at`, and gives `false`.
    pub(super) fn against(&mut self, at: At, rule: &'static str, text: impl Into<String>) -> bool {
        if self.found.len() < self.most {
            self.found.push(Incompatibility::new(self.nodes(at).path(at.place), rule, text));
        }
        false
    }

    /// Tries something whose failures are no answer by themselves.
    pub(super) fn quietly(&mut self, ask: impl FnOnce(&mut Self) -> bool) -> bool {
        let (before, most) = (self.found.len(), self.most);
        self.most = before;
        let answer = ask(self);
        self.most = most;
        answer
    }

    /// Takes `count` of the steps that are left; `false` when there are none.
    pub(super) fn spend(&self, count: usize) -> bool {
        let left = self.steps.get().checked_sub(count);
        self.steps.set(left.unwrap_or(0));
        left.is_some()
    }

    /// What a value is known to be that is valid by all of `start`.
    pub(super) fn known(&self, types: Types, start: &[At]) -> Known {
        let mut all: Vec<At> = Vec::new();
        let mut waiting = start.to_vec();
        let mut types = types;
        while let Some(at) = waiting.pop() {
            if all.contains(&at) || all.len() > 64 {
                continue;
            }
            all.push(at);
            let node = self.at(at);
            types = types.and(node.types);
            waiting.extend(node.all_of.iter().map(|place| At { place: *place, ..at }));
        }
        all.sort_unstable();
        Known { types, all }
    }

    /// What is known, with one more subschema that applies.
    pub(super) fn with(&self, known: &Known, more: At) -> Known {
        let mut start = known.all.clone();
        start.push(more);
        self.known(known.types, &start)
    }

    /// Whether `reader` takes every value of which `known` is known.
    pub(super) fn reads(&mut self, reader: At, known: &Known) -> bool {
        if known.types == Types::NONE {
            return true;
        }
        let key = (reader, known.clone());
        let loud = self.found.len() < self.most;
        match self.settled.get(&key) {
            Some(Answer::Proved) => return true,
            // Asked again to hear why.
            Some(Answer::Failed { told: false }) if loud => {}
            Some(Answer::Failed { .. }) => return false,
            None => {}
        }
        if self.left == 0 || self.depth >= DEPTH {
            return self.against(reader, "UNDECIDED", "the schemas are too large or too deep to be compared");
        }
        self.left -= 1;
        self.depth += 1;
        let mark = self.trail.len();
        self.settled.insert(key.clone(), Answer::Proved);
        self.trail.push(key.clone());
        let answer = self.prove(reader, known);
        self.depth -= 1;
        if !answer {
            for stood_on_it in self.trail.drain(mark..) {
                self.settled.remove(&stood_on_it);
            }
            // Where the bounds gave the answer, another way may still find one.
            if self.left > 0 {
                self.settled.insert(key, Answer::Failed { told: loud });
            }
        }
        answer
    }

    fn prove(&mut self, reader: At, known: &Known) -> bool {
        // What is valid by the very same rules is valid.
        if known.all.iter().any(|at| same(self, reader, *at)) {
            return true;
        }
        // Few values are tried one by one.
        if let Some(values) = self.values(known) {
            return values.iter().all(|value| {
                rules::admits(self, reader, value, 0) == Some(true)
                    || self.against(reader, "ENUM_VALUE_NOT_READ", format!("the writer's value {value} is not taken"))
            });
        }
        if self.quietly(|proof| proof.directly(reader, known)) {
            return true;
        }
        let foreign = known.types.without(self.at(reader).types);
        let choices = known.all.iter().any(|at| self.at(*at).any_of.is_some() || self.at(*at).one_of.is_some());
        if foreign != Types::NONE && !choices {
            // No case will change that, so it is said once.
            return self.directly(reader, known);
        }
        match self.split(known) {
            Some(cases) => cases.iter().all(|case| self.reads(reader, case)),
            None => self.directly(reader, known),
        }
    }

    /// The only values that are possible, where the writer lists them.
    fn values(&self, known: &Known) -> Option<Vec<serde_json::Value>> {
        let mut lists = known.all.iter().filter_map(|at| self.at(*at).values.as_ref());
        let first = lists.next()?;
        let others: Vec<_> = lists.collect();
        let compared =
            others.iter().fold(first.len(), |sum, list| sum.saturating_add(first.len().saturating_mul(list.len())));
        if !self.spend(compared / 16) {
            return None;
        }
        let kept = first.iter().filter(|value| {
            known.types.meets(rules::types_of(value))
                && others.iter().all(|list| list.iter().any(|one| values::equal(one, value)))
                // Those that the writer's other rules forbid are no matter.
                && known.all.iter().all(|at| rules::admits(self, *at, value, 0) != Some(false))
        });
        Some(kept.cloned().collect())
    }

    /// The cases of a writer's choice: by type, by `anyOf` or by `oneOf`.
    fn split(&mut self, known: &Known) -> Option<Vec<Known>> {
        let types: Vec<Types> = known.types.each().collect();
        if types.len() > 1 {
            return Some(types.into_iter().map(|one| Known { types: one, all: known.all.clone() }).collect());
        }
        for at in &known.all {
            let node = self.at(*at);
            for choice in [&node.any_of, &node.one_of].into_iter().flatten() {
                let branch = |place: &Place| At { place: *place, ..*at };
                // One that was split already has a branch that is known.
                if choice.len() > 64 || choice.iter().any(|place| known.all.contains(&branch(place))) {
                    continue;
                }
                return Some(choice.iter().map(|place| self.with(known, branch(place))).collect());
            }
        }
        None
    }

    /// Each of the reader's rules, with what is known.
    fn directly(&mut self, reader: At, known: &Known) -> bool {
        let node = self.at(reader);
        let inner = |place: Place| At { place, ..reader };
        let foreign = known.types.without(node.types);
        if foreign != Types::NONE {
            return self.against(
                reader,
                "TYPE_NARROWED",
                format!("the writer may write {} here, the reader takes {}", foreign.words(), node.types.words()),
            );
        }
        let mut good = true;
        if node.values.is_some() {
            good &= self.against(
                reader,
                "ENUM_ARRAY_NARROWED",
                "the reader takes some values only, and the writer is not limited to them",
            );
        }
        good &= rules::numbers(self, reader, known);
        good &= rules::strings(self, reader, known);
        good &= super::arrays::arrays(self, reader, known);
        good &= super::objects::objects(self, reader, known);
        if let Some(name) = node.opaque.keys().next() {
            good &= self.against(reader, "UNDECIDED", format!("what `{name}` asks for is not compared"));
        }
        for place in &node.all_of {
            good &= self.reads(inner(*place), known);
        }
        if let Some(branches) = &node.any_of {
            good &= branches.iter().any(|place| self.quietly(|proof| proof.reads(inner(*place), known)))
                || self.against(reader, "COMBINED_TYPE_SUBSCHEMAS_CHANGED", "no branch of the reader's anyOf takes it");
        }
        if let Some(branches) = &node.one_of {
            good &= self.one(reader, branches, known);
        }
        if let Some(place) = node.not {
            good &= apart(self, known, inner(place), 0)
                || self.excluded(inner(place), known)
                || self.against(reader, "NOT_TYPE_EXTENDED", "the writer may write what the reader's `not` forbids");
        }
        if let Some((when, then, otherwise)) = node.condition {
            let never = apart(self, known, inner(when), 0);
            let always = self.quietly(|proof| proof.reads(inner(when), known));
            let mut case = |skipped: bool, place: Option<Place>| {
                skipped || place.is_none_or(|place| self.quietly(|proof| proof.reads(inner(place), known)))
            };
            if !(case(never, then) && case(always, otherwise)) {
                good &= self.against(reader, "UNDECIDED", "the reader's if, then and else are not compared further");
            }
        }
        good
    }

    /// Whether exactly one of the reader's branches takes it.
    fn one(&mut self, reader: At, branches: &[Place], known: &Known) -> bool {
        let taker =
            branches.iter().position(|place| self.quietly(|proof| proof.reads(At { place: *place, ..reader }, known)));
        let Some(taker) = taker else {
            return self.against(
                reader,
                "COMBINED_TYPE_SUBSCHEMAS_CHANGED",
                "no branch of the reader's oneOf takes it",
            );
        };
        let others = branches.iter().enumerate().filter(|(index, _)| *index != taker);
        let mut good = true;
        for (_, place) in others {
            if !apart(self, known, At { place: *place, ..reader }, 0) {
                good &= self.against(
                    reader,
                    "COMBINED_TYPE_SUBSCHEMAS_CHANGED",
                    "a second branch of the reader's oneOf may take it too",
                );
            }
        }
        good
    }

    /// Whether the writer forbids by a `not` all that is valid by `forbidden`.
    fn excluded(&mut self, forbidden: At, known: &Known) -> bool {
        let alone = self.known(Types::ALL, &[forbidden]);
        let nots: Vec<At> =
            known.all.iter().filter_map(|at| self.at(*at).not.map(|place| At { place, ..*at })).collect();
        nots.into_iter().any(|not| self.quietly(|proof| proof.reads(not, &alone)))
    }
}
