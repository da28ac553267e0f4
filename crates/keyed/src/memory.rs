//! Keyed state in memory that loses what was not synced when it "crashes", for
//! tests and simulations.

use std::collections::BTreeMap;
use std::ops::Bound;

use weft_base::sync::{Mutex, MutexGuard};

use crate::batch::Write;
use crate::{Batch, Entry, Keyed, KeyedError, Space};

type Map = BTreeMap<(Space, Vec<u8>), Vec<u8>>;

#[derive(Debug, Default)]
struct State {
    durable: Map,
    applied: Map,
    /// Batches since the last sync, in order.
    unsynced: Vec<Vec<Write>>,
    /// Calls that fail from now on.
    failing: u32,
}

/// The twin of [`LsmKeyed`](crate::LsmKeyed).
#[derive(Debug, Default)]
pub struct MemoryKeyed {
    state: Mutex<State>,
}

fn write_to(map: &mut Map, writes: &[Write]) {
    for write in writes {
        let key = (write.space, write.key.clone());
        match &write.value {
            Some(value) => drop(map.insert(key, value.clone())),
            None => drop(map.remove(&key)),
        }
    }
}

impl MemoryKeyed {
    /// Nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        match self.state.lock() {
            Ok(state) => state,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// The machine dies: of the batches that were not synced the first `kept`
    /// reached the disk all the same, the others are gone. A batch is never
    /// there in part, and none without those before it.
    pub fn crash(&self, kept: usize) {
        let mut state = self.state();
        let State { durable, applied, unsynced, failing } = &mut *state;
        for writes in unsynced.drain(..).take(kept) {
            write_to(durable, &writes);
        }
        *applied = durable.clone();
        *failing = 0;
    }

    /// The next `calls` of `apply` and `sync` fail as a full disk does.
    pub fn fail_next(&self, calls: u32) {
        self.state().failing = calls;
    }

    /// Batches that were applied and not synced.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.state().unsynced.len()
    }
}

impl State {
    fn may_fail(&mut self) -> Result<(), KeyedError> {
        match self.failing.checked_sub(1) {
            Some(rest) => {
                self.failing = rest;
                Err(KeyedError::Io(std::io::Error::from(std::io::ErrorKind::StorageFull)))
            }
            None => Ok(()),
        }
    }
}

impl Keyed for MemoryKeyed {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KeyedError> {
        Ok(self.state().applied.get(&(space, key.to_vec())).cloned())
    }

    fn scan(&self, space: Space, from: &[u8], below: &[u8], most: usize) -> Result<Vec<Entry>, KeyedError> {
        if !below.is_empty() && from >= below {
            return Ok(Vec::new());
        }
        let from = Bound::Included((space, from.to_vec()));
        let upto = if below.is_empty() { Bound::Unbounded } else { Bound::Excluded((space, below.to_vec())) };
        let state = self.state();
        let entries = state.applied.range((from, upto)).take_while(|((found, _), _)| *found == space);
        Ok(entries.take(most).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn apply(&self, batch: Batch) -> Result<(), KeyedError> {
        let writes = batch.checked()?;
        let mut state = self.state();
        state.may_fail()?;
        if !writes.is_empty() {
            write_to(&mut state.applied, &writes);
            state.unsynced.push(writes);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), KeyedError> {
        let mut state = self.state();
        state.may_fail()?;
        state.unsynced.clear();
        state.durable = state.applied.clone();
        Ok(())
    }
}
