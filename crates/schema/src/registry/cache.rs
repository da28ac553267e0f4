//! Compiled schemas by id, so that each is compiled once as long as it is in use.
//!
//! Bounded by the memory that they take, as they say themselves; beyond that the
//! one that was not used for the longest time goes.
use std::collections::BTreeMap;
use std::sync::Arc;

use super::State;
use super::error::RegistryError;
use crate::format::Schema;

/// A schema, with the turn at which it was used last, and the fingerprint by
/// which it is seen that an import gave the id to another one.
#[derive(Debug)]
struct Kept {
    turn: u64,
    fingerprint: String,
    schema: Arc<Schema>,
}

/// Compiled schemas.
#[derive(Debug)]
pub struct Cache {
    schemas: BTreeMap<u32, Kept>,
    by_turn: BTreeMap<u64, u32>,
    turn: u64,
    weight: usize,
    limit: usize,
}

impl Cache {
    /// A cache of at most about `limit` bytes. At least one schema is kept.
    pub fn new(limit: usize) -> Self {
        Self { schemas: BTreeMap::new(), by_turn: BTreeMap::new(), turn: 0, weight: 0, limit }
    }

    /// The compiled schema of an id of `state`.
    ///
    /// # Errors
    /// [`RegistryError`], if there is none or it does not compile any more.
    pub fn schema(&mut self, state: &State, id: u32) -> Result<Arc<Schema>, RegistryError> {
        self.turn += 1;
        let stored = state.by_number(id)?;
        match self.schemas.get_mut(&id) {
            Some(kept) if kept.fingerprint == stored.fingerprint => {
                self.by_turn.remove(&kept.turn);
                kept.turn = self.turn;
                self.by_turn.insert(self.turn, id);
                return Ok(Arc::clone(&kept.schema));
            }
            Some(_) => self.forget(id),
            None => {}
        }
        let schema = Arc::new(state.compile(stored.format, &stored.text, &stored.references)?);
        self.weight += schema.weight();
        let kept = Kept { turn: self.turn, fingerprint: stored.fingerprint.clone(), schema: Arc::clone(&schema) };
        self.schemas.insert(id, kept);
        self.by_turn.insert(self.turn, id);
        while self.weight > self.limit && self.schemas.len() > 1 {
            let Some(oldest) = self.by_turn.values().next().copied() else { break };
            self.forget(oldest);
        }
        Ok(schema)
    }

    fn forget(&mut self, id: u32) {
        if let Some(kept) = self.schemas.remove(&id) {
            self.by_turn.remove(&kept.turn);
            self.weight -= kept.schema.weight();
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.schemas.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.schemas.is_empty()
    }
}

impl Default for Cache {
    /// Of 64 MiB.
    fn default() -> Self {
        Self::new(64 << 20)
    }
}
