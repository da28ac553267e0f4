//! What is replicated in a simulation: a value for each of a few keys, and enough
//! of what happened to compare machines.

use std::collections::{BTreeMap, BTreeSet};

use weft_base::checksum::crc32c_of_two;
use weft_consensus::{Machine, RestoreError};

/// What a client wants done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Read,
    Write(u64),
    /// If it is the first, it becomes the second.
    Swap(u64, u64),
}

/// Values by key, all 0 at first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Values {
    pub(super) values: BTreeMap<u64, u64>,
    /// The proposals that were applied, by number.
    pub(super) applied: BTreeSet<u64>,
    /// Proposals that were applied more than once.
    pub(super) repeated: u64,
    /// Of all entries in their order.
    pub(super) digest: u32,
    /// A canary: takes one entry of eight for another.
    pub(super) is_odd: bool,
}

/// A proposal: its number, key and act.
pub(super) fn entry(number: u64, key: u64, act: Act) -> Vec<u8> {
    let words = match act {
        Act::Read => [number, key, 0, 0, 0],
        Act::Write(value) => [number, key, 1, value, 0],
        Act::Swap(old, new) => [number, key, 2, old, new],
    };
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default())).collect()
}

impl Machine for Values {
    fn apply(&mut self, entry: &[u8], index: u64) -> Vec<u8> {
        self.digest = crc32c_of_two(&self.digest.to_le_bytes(), entry);
        let words = words(entry);
        let &[number, key, kind, first, second] = words.as_slice() else { return Vec::new() };
        self.repeated += u64::from(!self.applied.insert(number));
        let value = self.values.entry(key).or_default();
        if self.is_odd && index.is_multiple_of(8) {
            self.digest ^= 1;
        }
        match kind {
            1 => *value = first,
            2 if *value == first => *value = second,
            _ => return vec![0],
        }
        vec![1]
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut words = vec![self.digest.into(), self.repeated, self.values.len() as u64];
        words.extend(self.values.iter().flat_map(|(key, value)| [*key, *value]));
        words.extend(&self.applied);
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let words = words(snapshot);
        let short = || RestoreError("it is cut short".to_owned());
        let (&[digest, repeated, count], rest) = words.split_first_chunk::<3>().ok_or_else(short)?;
        let (values, applied) = rest.split_at_checked(count as usize * 2).ok_or_else(short)?;
        self.digest = digest as u32;
        self.repeated = repeated;
        self.values = values.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        self.applied = applied.iter().copied().collect();
        Ok(())
    }
}
