//! From the state and the documents that somebody wants to the change between
//! them, and how people are shown it.
//!
//! A plan of what is already so is empty: applying twice is applying once. What
//! is shown of a plan before it is made is what is shown after. Bounded by the
//! state and the documents; the text that is shown by [`MAX_SHOWN`].

mod diff;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weft_base::UnixNanos;

use crate::access::{Fault, Principal};
use crate::document::Document;
use crate::{Change, ChangeId, Expect, Key, Kind, State};

/// Most bytes of a plan as it is shown; of a longer one the rest is only counted.
pub const MAX_SHOWN: usize = 256 << 10;

/// What is to be deleted because it is not wanted any more. Nothing outside it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prune {
    /// Of these kinds alone; none: of all but schemas and what registries keep,
    /// which come from elsewhere than files.
    #[serde(default)]
    pub kinds: Vec<Kind>,
    /// Of this tenant alone; none: of all, and of none.
    #[serde(default)]
    pub tenant: Option<String>,
}

impl Prune {
    /// Whether a resource is one that it speaks of.
    #[must_use]
    pub fn covers(&self, key: &Key, document: &str) -> bool {
        let kind = key.kind();
        let of_kind = match self.kinds.as_slice() {
            [] => !matches!(kind, Kind::Schema | Kind::Subject | Kind::Registry),
            kinds => kinds.contains(&kind),
        };
        of_kind && self.tenant.as_deref().is_none_or(|tenant| is_of(key, document, tenant))
    }
}

/// Whether a resource is a tenant, or of it.
#[must_use]
pub fn is_of(key: &Key, document: &str, tenant: &str) -> bool {
    match key.kind() {
        Kind::Tenant => key.name() == tenant,
        // Their documents do not say, and may be large.
        Kind::Schema | Kind::Registry => false,
        kind => Document::read(kind, document).is_ok_and(|document| document.tenant() == Some(tenant)),
    }
}

/// What somebody wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Documents that are to be, in any order, not necessarily canonical.
    pub puts: Vec<(Key, Arc<str>)>,
    /// Resources that are to be no more; those that are not there are left out.
    pub deletes: Vec<Key>,
    /// What of the rest is to be deleted; none: nothing.
    pub prune: Option<Prune>,
    /// What they saw, if they looked before; the change is a conflict if it is
    /// not so any more.
    pub expects: Vec<Expect>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is not there yet.
    Create {
        /// Canonical.
        document: Arc<str>,
    },
    /// It is there, and is otherwise.
    Change {
        /// The version at which it became as it is.
        version: u64,
        /// How it is.
        from: Arc<str>,
        /// Canonical.
        to: Arc<str>,
    },
    /// It is not wanted any more.
    Delete {
        /// The version at which it became as it is.
        version: u64,
        /// How it is.
        document: Arc<str>,
    },
}

/// What lies between a state and what is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Of the state.
    pub version: u64,
    /// What is to be done, by key.
    pub steps: BTreeMap<Key, Step>,
    /// How many of the wanted documents are there already.
    pub unchanged: usize,
    /// What was said to have been seen.
    expects: Vec<Expect>,
}

impl Plan {
    /// Reckons the plan.
    ///
    /// # Errors
    /// Documents that cannot be read, and keys that are named twice: all of them.
    pub fn of(state: &State, wanted: &Wanted) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut puts: BTreeMap<&Key, Arc<str>> = BTreeMap::new();
        for (key, text) in &wanted.puts {
            let held = state.get(key).map(|item| &item.document);
            let document = match held {
                // Read when it was put.
                Some(held) if held == text => held.clone(),
                _ => match Document::read(key.kind(), text) {
                    Ok(document) => document.text().into(),
                    Err(error) => {
                        faults.push(Fault { key: key.to_string(), what: error.to_string() });
                        continue;
                    }
                },
            };
            if puts.insert(key, document).is_some() {
                faults.push(Fault { key: key.to_string(), what: "it is named twice: name it once".to_owned() });
            }
        }
        let mut plan = Self { version: state.version(), expects: wanted.expects.clone(), ..Self::default() };
        let delete = |plan: &mut Self, key: &Key| {
            if let Some(item) = state.get(key) {
                let step = Step::Delete { version: item.version, document: item.document.clone() };
                plan.steps.insert(key.clone(), step);
            }
        };
        for key in &wanted.deletes {
            if puts.contains_key(key) {
                let what = "it is to be and to be deleted: leave one of them out".to_owned();
                faults.push(Fault { key: key.to_string(), what });
            }
            delete(&mut plan, key);
        }
        if let Some(prune) = &wanted.prune {
            let kinds = Kind::ALL.iter().filter(|kind| prune.kinds.is_empty() || prune.kinds.contains(kind));
            for (key, item) in kinds.flat_map(|kind| state.of_kind(*kind)) {
                if !puts.contains_key(key) && prune.covers(key, &item.document) {
                    delete(&mut plan, key);
                }
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        for (key, to) in puts {
            let step = match state.get(key) {
                Some(item) if item.document == to => {
                    plan.unchanged += 1;
                    continue;
                }
                Some(item) => Step::Change { version: item.version, from: item.document.clone(), to },
                None => Step::Create { document: to },
            };
            plan.steps.insert(key.clone(), step);
        }
        Ok(plan)
    }

    /// Whether all is as it is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// All that it changes, in order.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        self.steps.keys().cloned().collect()
    }

    /// The change. It expects what it replaces to be as the plan found it, or as
    /// somebody saw it who looked before.
    #[must_use]
    pub fn change(&self, id: ChangeId, author: Principal, at: UnixNanos) -> Change {
        let mut change =
            Change { id, author, at, base: self.version, puts: Vec::new(), deletes: Vec::new(), expects: Vec::new() };
        let mut expects: BTreeMap<Key, Option<u64>> = BTreeMap::new();
        for (key, step) in &self.steps {
            let (version, put) = match step {
                Step::Create { document } => (None, Some(document)),
                Step::Change { version, to, .. } => (Some(*version), Some(to)),
                Step::Delete { version, .. } => (Some(*version), None),
            };
            expects.insert(key.clone(), version);
            match put {
                Some(document) => change.puts.push((key.clone(), document.clone())),
                None => change.deletes.push(key.clone()),
            }
        }
        expects.extend(self.expects.iter().map(|expect| (expect.key.clone(), expect.version)));
        change.expects = expects.into_iter().map(|(key, version)| Expect { key, version }).collect();
        change
    }

    /// What the change will find otherwise than it was said to have been seen, if
    /// anything: the resource and its version.
    #[must_use]
    pub fn conflict(&self, state: &State) -> Option<(Expect, Option<u64>)> {
        let found = |expect: &Expect| state.get(&expect.key).map(|item| item.version);
        let expect = self.expects.iter().find(|expect| found(expect) != expect.version)?;
        Some((expect.clone(), found(expect)))
    }

    /// The state after it.
    #[must_use]
    pub fn after(&self, state: &State) -> State {
        let mut deletes = Vec::new();
        let mut puts = Vec::new();
        for (key, step) in &self.steps {
            match step {
                Step::Create { document } | Step::Change { to: document, .. } => {
                    puts.push((key.clone(), document.clone()));
                }
                Step::Delete { .. } => deletes.push(key.clone()),
            }
        }
        state.with(puts, &deletes)
    }

    /// The plan in parts, each small enough for one change of `most` bytes, to be
    /// made one after the other: what others refer to is put first and deleted
    /// last. One part where it fits in one; several are not atomic together.
    #[must_use]
    pub fn parts(&self, most: usize) -> Vec<Plan> {
        let mut order: Vec<(&Key, &Step)> = self.steps.iter().collect();
        order.sort_by_key(|(key, step)| match step {
            Step::Delete { .. } => (true, usize::MAX - rank(key.kind()), *key),
            _ => (false, rank(key.kind()), *key),
        });
        let mut parts: Vec<Plan> = Vec::new();
        let mut bytes = 0_usize;
        for (key, step) in order {
            let more = match step {
                Step::Create { document } | Step::Change { to: document, .. } => escaped(document),
                Step::Delete { .. } => 0,
            } + 3 * (key.to_string().len() + 32);
            if parts.is_empty() || bytes.saturating_add(more) > most {
                parts.push(Plan { version: self.version, ..Plan::default() });
                bytes = 4 << 10;
            }
            bytes = bytes.saturating_add(more);
            if let Some(part) = parts.last_mut() {
                part.steps.insert(key.clone(), step.clone());
            }
        }
        parts
    }

    /// As people are shown it: what is created, changed, with the lines that
    /// differ, and deleted. At most [`MAX_SHOWN`] bytes.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut out = String::new();
        let mut untold = 0_usize;
        for (key, step) in &self.steps {
            let mut text = match step {
                Step::Create { .. } => format!("+ {key}\n"),
                Step::Change { .. } => format!("~ {key}\n"),
                Step::Delete { .. } => format!("- {key}\n"),
            };
            match step {
                Step::Create { document } => diff::write("", document, &mut text),
                Step::Change { from, to, .. } => diff::write(from, to, &mut text),
                Step::Delete { .. } => {}
            }
            if out.len() + text.len() > MAX_SHOWN {
                untold += 1;
            } else {
                out.push_str(&text);
            }
        }
        if untold > 0 {
            out.push_str(&format!("and {untold} more that are too long to be shown\n"));
        }
        out.push_str(&format!("{}\n", self.counts()));
        out
    }

    /// How much it is.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { unchanged: self.unchanged, ..Counts::default() };
        for step in self.steps.values() {
            match step {
                Step::Create { .. } => counts.created += 1,
                Step::Change { .. } => counts.changed += 1,
                Step::Delete { .. } => counts.deleted += 1,
            }
        }
        counts
    }
}

/// Kinds in the order in which they refer to those before them.
const fn rank(kind: Kind) -> usize {
    match kind {
        Kind::Tenant => 0,
        Kind::Issuer => 1,
        Kind::Identity => 2,
        Kind::Export => 3,
        Kind::Import => 4,
        Kind::Stream => 5,
        Kind::Schema => 6,
        Kind::Subject => 7,
        Kind::Registry => 8,
        Kind::Reader => 9,
        Kind::Policy => 10,
    }
}

/// Bytes of a text as a JSON text, at most.
fn escaped(text: &str) -> usize {
    text.len() + text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count() + 2
}

/// How much a plan is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Resources that are created.
    pub created: usize,
    /// That are changed.
    pub changed: usize,
    /// That are deleted.
    pub deleted: usize,
    /// That are wanted as they are.
    pub unchanged: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, changed, deleted, unchanged } = self;
        write!(f, "{created} created, {changed} changed, {deleted} deleted, {unchanged} unchanged")
    }
}
