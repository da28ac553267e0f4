//! Which events of each producer have been seen: the cut of publishes that
//! come again after a reconnection.
//!
//! A producer numbers its events and sends the blocks of a lane in order, so
//! one number per producer and lane is enough: all up to it have been seen.
//! Lanes are kept apart because an urgent block overtakes one of less urgency.

use std::collections::HashMap;
use std::hash::Hash;

use weft_base::{HubId, Lane, ProducerId};

/// The last sequence of each producer and lane, for a bounded number of them.
/// When one more comes, the half that was silent longest is forgotten.
#[derive(Debug)]
pub(crate) struct Producers<K = (ProducerId, Lane)> {
    last: HashMap<K, Seen>,
    limit: usize,
    turn: u64,
}

/// A producer's lane, by the hub at which it publishes.
pub(crate) type AtHub = (HubId, ProducerId, Lane);

#[derive(Clone, Copy, Debug)]
struct Seen {
    upto: u64,
    turn: u64,
}

/// What a block's place in its producer's sequence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Not seen yet.
    New,
    /// Seen, all of it.
    Duplicate,
    /// Seen in part: the producer cut its events into other blocks than before.
    Overlap,
}

impl Producers {
    /// Where `count` events from `first` on stand. Producer 0 is nobody in
    /// particular: its events are always new.
    pub(crate) fn place(&self, producer: ProducerId, lane: Lane, first: u64, count: u32) -> Place {
        if producer.0 == 0 { Place::New } else { self.place_of(&(producer, lane), first, count) }
    }

    /// How far a producer has come, and the turn of this table in which it got there.
    pub(crate) fn seen(&self, producer: ProducerId, lane: Lane) -> Option<(u64, u64)> {
        self.last.get(&(producer, lane)).map(|seen| (seen.upto, seen.turn))
    }

    /// The turn of the table: it grows with everything that is remembered.
    pub(crate) fn turn(&self) -> u64 {
        self.turn
    }

    /// Remembers them as seen.
    pub(crate) fn note(&mut self, producer: ProducerId, lane: Lane, first: u64, count: u32) {
        if producer.0 != 0 {
            self.note_of((producer, lane), first, count);
        }
    }
}

impl<K: Copy + Eq + Hash> Producers<K> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { last: HashMap::new(), limit: limit.max(2), turn: 0 }
    }

    /// Where `count` events from `first` on stand, of somebody in particular.
    pub(crate) fn place_of(&self, key: &K, first: u64, count: u32) -> Place {
        let Some(seen) = self.last.get(key) else { return Place::New };
        if first > seen.upto {
            Place::New
        } else if last_of(first, count) <= seen.upto {
            Place::Duplicate
        } else {
            Place::Overlap
        }
    }

    /// Remembers them as seen.
    pub(crate) fn note_of(&mut self, key: K, first: u64, count: u32) {
        self.turn += 1;
        let seen = Seen { upto: last_of(first, count), turn: self.turn };
        if self.last.len() >= self.limit && !self.last.contains_key(&key) {
            self.forget_older_half();
        }
        self.last.insert(key, seen);
    }

    fn forget_older_half(&mut self) {
        let mut turns: Vec<u64> = self.last.values().map(|seen| seen.turn).collect();
        let middle = turns.len() / 2;
        let (_, bound, _) = turns.select_nth_unstable(middle);
        let bound = *bound;
        self.last.retain(|_, seen| seen.turn >= bound);
    }
}

/// The sequence of the last of `count` events, at least one, from `first` on.
pub(crate) fn last_of(first: u64, count: u32) -> u64 {
    first.saturating_add(u64::from(count).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ProducerId = ProducerId(1);
    const L: Lane = Lane::DEFAULT;

    #[test]
    fn what_comes_again_is_a_duplicate_and_what_follows_is_new() {
        let mut producers = <Producers>::new(8);
        assert_eq!(producers.place(A, L, 1, 10), Place::New);
        producers.note(A, L, 1, 10);
        assert_eq!(producers.place(A, L, 1, 10), Place::Duplicate);
        assert_eq!(producers.place(A, L, 10, 1), Place::Duplicate);
        assert_eq!(producers.place(A, L, 10, 2), Place::Overlap);
        assert_eq!(producers.place(A, L, 11, 2), Place::New);
        // A producer may use only some of its numbers for what comes here.
        assert_eq!(producers.place(A, L, 100, 2), Place::New);
    }

    #[test]
    fn lanes_are_apart() {
        let mut producers = <Producers>::new(8);
        producers.note(A, Lane::URGENT, 10, 1);
        assert_eq!(producers.place(A, L, 9, 1), Place::New, "overtaken, not seen");
    }

    #[test]
    fn nobody_in_particular_is_never_a_duplicate() {
        let mut producers = <Producers>::new(8);
        producers.note(ProducerId(0), L, 1, 10);
        assert_eq!(producers.place(ProducerId(0), L, 1, 10), Place::New);
    }

    #[test]
    fn at_the_limit_the_silent_half_is_forgotten() {
        let mut producers = <Producers>::new(4);
        for id in 1..=4 {
            producers.note(ProducerId(id), L, 1, 1);
        }
        producers.note(A, L, 2, 1);
        producers.note(ProducerId(5), L, 1, 1);
        assert!(producers.last.len() <= 4);
        assert_eq!(producers.place(A, L, 2, 1), Place::Duplicate, "it spoke last");
        assert_eq!(producers.place(ProducerId(2), L, 1, 1), Place::New, "it was silent longest");
    }

    #[test]
    fn numbers_at_the_end_of_the_range_do_not_wrap() {
        let mut producers = <Producers>::new(4);
        producers.note(A, L, u64::MAX, 65_535);
        assert_eq!(producers.place(A, L, u64::MAX, 65_535), Place::Duplicate);
    }
}
