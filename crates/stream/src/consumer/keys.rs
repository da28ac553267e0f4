//! Which member a key belongs to, and the order within it.
//!
//! A key is known by the XXH3-64 of its bytes; two keys of one hash share their
//! order and their member, which harms nobody. Each key goes to the member with
//! the greatest weight for it (rendezvous hashing: Thaler and Ravishankar, "A
//! name-based mapping scheme for rendezvous", 1996), so that a member that joins
//! takes its share of all keys and one that leaves gives back its own; no other
//! key moves. While a key has events with a member it stays there.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::handout::MemberId;

/// Sets events without a key, which go by their topic, apart from keys.
const TOPIC_SEED: u64 = 0x0074_6f70_6963;

/// What an event is ordered by.
pub(crate) fn key_of(key: &[u8], topic: &str) -> u64 {
    if key.is_empty() { xxh3_64_with_seed(topic.as_bytes(), TOPIC_SEED) } else { xxh3_64(key) }
}

/// How much a member wants a key.
pub(crate) fn weight(member: MemberId, key: u64) -> u64 {
    xxh3_64_with_seed(&member.to_le_bytes(), key)
}

#[derive(Clone, Debug, Default)]
struct Key {
    /// Who has events of it.
    member: MemberId,
    /// How many.
    in_flight: u64,
    /// Runs that wait, by their first event.
    waiting: BTreeSet<u64>,
}

/// The keys that have events under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    keys: BTreeMap<u64, Key>,
}

impl Keys {
    /// Who has events of it.
    pub(crate) fn holder(&self, key: u64) -> Option<MemberId> {
        self.keys.get(&key).filter(|key| key.in_flight > 0).map(|key| key.member)
    }

    /// The first run of it that waits.
    pub(crate) fn head(&self, key: u64) -> Option<u64> {
        self.keys.get(&key)?.waiting.first().copied()
    }

    pub(crate) fn handed_out(&mut self, key: u64, member: MemberId, events: u64) {
        let entry = self.keys.entry(key).or_default();
        entry.member = member;
        entry.in_flight += events;
    }

    /// They are with nobody any more.
    pub(crate) fn came_back(&mut self, key: u64, events: u64) {
        if let Some(entry) = self.keys.get_mut(&key) {
            entry.in_flight = entry.in_flight.saturating_sub(events);
        }
        self.drop_idle(key);
    }

    pub(crate) fn waits(&mut self, key: u64, first: u64) {
        self.keys.entry(key).or_default().waiting.insert(first);
    }

    pub(crate) fn waits_no_more(&mut self, key: u64, first: u64) {
        if let Some(entry) = self.keys.get_mut(&key) {
            entry.waiting.remove(&first);
        }
        self.drop_idle(key);
    }

    fn drop_idle(&mut self, key: u64) {
        if self.keys.get(&key).is_some_and(|key| key.in_flight == 0 && key.waiting.is_empty()) {
            self.keys.remove(&key);
        }
    }

    /// The first run that waits, of each key.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (u64, u64)> {
        self.keys.iter().filter_map(|(key, state)| Some((*key, *state.waiting.first()?)))
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(members: &[MemberId], key: u64) -> MemberId {
        members.iter().copied().max_by_key(|member| weight(*member, key)).unwrap_or_default()
    }

    #[test]
    fn a_member_more_takes_its_share_and_no_other_key_moves() {
        let (before, after) = ([1, 2, 3], [1, 2, 3, 4]);
        let keys: Vec<u64> = (0..10_000_u64).map(|n| key_of(&n.to_le_bytes(), "t")).collect();
        let moved: Vec<_> = keys.iter().filter(|key| owner(&before, **key) != owner(&after, **key)).collect();
        assert!(moved.iter().all(|key| owner(&after, **key) == 4));
        assert!((2_200..2_800).contains(&moved.len()), "{}", moved.len());
    }

    #[test]
    fn events_without_a_key_go_by_their_topic() {
        assert_eq!(key_of(b"", "a"), key_of(b"", "a"));
        assert_ne!(key_of(b"", "a"), key_of(b"", "b"));
        assert_ne!(key_of(b"", "a"), key_of(b"a", "a"));
        assert_eq!(key_of(b"k", "a"), key_of(b"k", "b"));
    }
}
