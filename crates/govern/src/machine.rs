//! The machine: what changes do to the state, in the order in which they were
//! agreed on.
//!
//! The same entries lead to the same state and the same answers at every hub:
//! nothing here reads a clock, draws a number or depends on what else a hub has.
//! It never panics on an entry; one that it cannot take changes nothing. Whether
//! documents make sense it does not ask: that was vetted before the change was
//! proposed, against the state that [`Change::base`] names, and on no other does
//! the change take effect. A machine that vetted would answer otherwise at hubs
//! of another version.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weft_base::UnixNanos;

use crate::snapshot;
use crate::{Change, ChangeError, ChangeId, Key, Limits, SnapshotError, State};

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Outcome {
    /// It took effect: the state has this version now.
    Applied {
        /// The version of the state.
        version: u64,
    },
    /// All was as it wanted it; the state has the version that it had.
    Unchanged {
        /// The version of the state.
        version: u64,
    },
    /// Somebody else changed what its author had seen: look again.
    Conflict {
        /// Which resource.
        key: Key,
        /// The version that was seen; none: it was not there.
        expected: Option<u64>,
        /// The version that it has; none: it is not there.
        found: Option<u64>,
    },
    /// It was vetted against another version of the state than the present one:
    /// vet it again and propose it again, under the same number.
    Stale {
        /// The version of the state.
        version: u64,
    },
    /// It came before, and this is what became of it.
    Repeated(Box<Outcome>),
    /// The state would break its limits.
    Full {
        /// In words: what is full, and what to do.
        what: String,
    },
    /// It is no change that is understood.
    Unreadable {
        /// In words.
        why: String,
    },
}

/// Most bytes of a text in an outcome.
const TEXT: usize = 512;

impl Outcome {
    /// As it is answered to whoever proposed the entry.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Texts and numbers can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// Why it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|e| format!("this is no outcome of a change: {e}"))
    }

    /// Whether the same change may have another outcome later, so that this one
    /// is not remembered.
    const fn may_differ(&self) -> bool {
        matches!(self, Outcome::Stale { .. } | Outcome::Unreadable { .. } | Outcome::Repeated(_))
    }
}

/// Who asked for a change, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authored {
    /// Who, as `tenant/name` or a name alone.
    pub author: Arc<str>,
    /// When, by the clock of the hub where it was asked for.
    #[serde(with = "nanos")]
    pub at: UnixNanos,
}

/// A time of day as its number of nanoseconds.
mod nanos {
    use serde::{Deserialize, Deserializer, Serializer};
    use weft_base::UnixNanos;

    pub(super) fn serialize<S: Serializer>(at: &UnixNanos, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(at.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<UnixNanos, D::Error> {
        u64::deserialize(from).map(UnixNanos)
    }
}

/// A change that was decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) outcome: Outcome,
    pub(crate) authored: Authored,
}

/// The last changes, by their numbers; the oldest goes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remembered {
    order: VecDeque<ChangeId>,
    decided: BTreeMap<ChangeId, Decided>,
}

impl Remembered {
    pub(crate) fn get(&self, id: &ChangeId) -> Option<&Outcome> {
        self.decided.get(id).map(|decided| &decided.outcome)
    }

    /// Remembers one more; those beyond `most` are forgotten. False if it was there.
    pub(crate) fn add(&mut self, id: ChangeId, decided: Decided, most: usize) -> bool {
        if self.decided.contains_key(&id) {
            return false;
        }
        self.decided.insert(id, decided);
        self.order.push_back(id);
        while self.order.len() > most {
            if let Some(oldest) = self.order.pop_front() {
                self.decided.remove(&oldest);
            }
        }
        true
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// All, the oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&ChangeId, &Decided)> {
        self.order.iter().filter_map(|id| Some((id, self.decided.get(id)?)))
    }
}

/// The state and what is remembered of its last changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    limits: Limits,
    state: Arc<State>,
    remembered: Remembered,
}

impl Machine {
    /// An empty state. `limits` are the same at all hubs of a mesh.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: Arc::default(), remembered: Remembered::default() }
    }

    /// The state. Cheap to keep: later changes share with it what they leave alone.
    #[must_use]
    pub const fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// What became of the change of this number, if it is remembered.
    #[must_use]
    pub fn outcome(&self, id: &ChangeId) -> Option<&Outcome> {
        self.remembered.get(id)
    }

    /// Who made the state that version, if that is remembered.
    #[must_use]
    pub fn author_of(&self, version: u64) -> Option<&Authored> {
        let made = |decided: &Decided| decided.outcome == Outcome::Applied { version };
        self.remembered.iter().rev().find(|(_, decided)| made(decided)).map(|(_, decided)| &decided.authored)
    }

    /// Takes an entry; answers an [`Outcome`], encoded. The place of the entry in
    /// the log has no part in it.
    pub fn apply(&mut self, entry: &[u8], _index: u64) -> Vec<u8> {
        self.take(entry).encode()
    }

    /// Takes an entry.
    pub fn take(&mut self, entry: &[u8]) -> Outcome {
        let change = match Change::decode(entry, &self.limits) {
            Ok(change) => change,
            Err(error) => return unreadable(&error),
        };
        if let Some(first) = self.remembered.get(&change.id) {
            return Outcome::Repeated(Box::new(first.clone()));
        }
        let id = change.id;
        let authored = Authored { author: change.author.to_string().into(), at: change.at };
        let outcome = self.decide(change);
        if !outcome.may_differ() {
            let decided = Decided { outcome: outcome.clone(), authored };
            self.remembered.add(id, decided, self.limits.remembered);
        }
        outcome
    }

    fn decide(&mut self, change: Change) -> Outcome {
        let version = self.state.version();
        for expect in change.expects {
            let found = self.state.get(&expect.key).map(|item| item.version);
            if found != expect.version {
                return Outcome::Conflict { key: expect.key, expected: expect.version, found };
            }
        }
        // What is there already keeps its version.
        let held = |key: &Key| self.state.get(key).map(|item| &item.document);
        let puts: Vec<_> = change.puts.into_iter().filter(|(key, document)| held(key) != Some(document)).collect();
        let deletes: Vec<_> = change.deletes.into_iter().filter(|key| held(key).is_some()).collect();
        if puts.is_empty() && deletes.is_empty() {
            return Outcome::Unchanged { version };
        }
        if change.base != version {
            return Outcome::Stale { version };
        }
        let next = self.state.with(puts, &deletes);
        if let Some(what) = self.full(&next) {
            return Outcome::Full { what };
        }
        let version = next.version();
        self.state = Arc::new(next);
        Outcome::Applied { version }
    }

    /// Which limit `next` breaks. One that has become smaller is never refused, so
    /// that what is too much can be taken away.
    fn full(&self, next: &State) -> Option<String> {
        if next.len() > self.limits.resources && next.len() > self.state.len() {
            let (len, most) = (next.len(), self.limits.resources);
            return Some(format!("there would be {len} resources, of which {most} are allowed: delete some first"));
        }
        if next.bytes() > self.limits.state && next.bytes() > self.state.bytes() {
            let (bytes, most) = (next.bytes(), self.limits.state);
            return Some(format!("all would have {bytes} bytes, of which {most} are allowed: delete some first"));
        }
        None
    }

    /// The state and the answers remembered, as bytes; see [`snapshot`](crate::snapshot).
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        snapshot::write(&self.state, &self.remembered)
    }

    /// Takes a snapshot in the place of what it has.
    ///
    /// # Errors
    /// The bytes are no snapshot, are damaged, or break the limits: all stays as it was.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let (state, remembered) = snapshot::read(bytes, &self.limits)?;
        self.state = Arc::new(state);
        self.remembered = remembered;
        Ok(())
    }
}

fn unreadable(error: &ChangeError) -> Outcome {
    let mut why = error.to_string();
    if why.len() > TEXT {
        let end = (0..=TEXT).rev().find(|end| why.is_char_boundary(*end)).unwrap_or(0);
        why.truncate(end);
    }
    Outcome::Unreadable { why }
}

#[cfg(test)]
mod tests;
