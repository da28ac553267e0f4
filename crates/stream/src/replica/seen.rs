//! Which events of each producer a home has, to tell copies that are here under
//! another name.
//!
//! A producer that lost its hub publishes again at another home, and both may
//! have it then. Copies come in the order of *their* home, so "all up to here"
//! would be wrong: a producer's later events may be here before its earlier
//! ones. So ranges are kept, and they close up as the copies come.

use std::collections::{BTreeMap, HashMap};

use weft_base::{Lane, ProducerId};

/// Ranges kept for each producer and lane that there is room for, all together:
/// a client that publishes to many topics uses few of its numbers in one stream,
/// and has a range for each event here. Only when they are too many is each one
/// cut down, and none below so many.
const RANGES: usize = 8;

/// What a copy is to a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// None of it is here, as far as is known.
    New,
    /// All of it is here.
    Here,
}

#[derive(Clone, Debug, Default)]
struct Ranges {
    /// First to last.
    ranges: BTreeMap<u64, u64>,
    turn: u64,
}

/// A window of a bounded number of producers, and of [`RANGES`] times as many
/// ranges; the producers silent longest are forgotten, and the oldest ranges of
/// those that have many. What is forgotten may be stored once more under another
/// name.
#[derive(Clone, Debug)]
pub struct Seen {
    producers: HashMap<(ProducerId, Lane), Ranges>,
    limit: usize,
    turn: u64,
    /// Ranges, of all of them.
    ranges: usize,
}

impl Seen {
    /// For so many producers and lanes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { producers: HashMap::new(), limit: limit.max(2), turn: 0, ranges: 0 }
    }

    /// Whether `count` events from `first` on are here. A part of them is not
    /// enough: the whole block is then kept, rather than a part of it lost.
    /// Producer 0 is nobody in particular and never seen.
    #[must_use]
    pub fn sight(&self, producer: ProducerId, lane: Lane, first: u64, count: u32) -> Sight {
        let last = first.saturating_add(u64::from(count.max(1)) - 1);
        let here = self
            .producers
            .get(&(producer, lane))
            .and_then(|known| known.ranges.range(..=first).next_back())
            .is_some_and(|(_, end)| *end >= last);
        if here && producer.0 != 0 { Sight::Here } else { Sight::New }
    }

    /// Remembers them.
    pub fn note(&mut self, producer: ProducerId, lane: Lane, first: u64, count: u32) {
        if producer.0 == 0 {
            return;
        }
        if self.producers.len() >= self.limit && !self.producers.contains_key(&(producer, lane)) {
            let mut turns: Vec<u64> = self.producers.values().map(|known| known.turn).collect();
            let middle = turns.len() / 2;
            let bound = *turns.select_nth_unstable(middle).1;
            self.producers.retain(|_, known| known.turn >= bound);
            self.ranges = self.producers.values().map(|known| known.ranges.len()).sum();
        }
        self.turn += 1;
        let known = self.producers.entry((producer, lane)).or_default();
        known.turn = self.turn;
        let (mut from, mut last) = (first, first.saturating_add(u64::from(count.max(1)) - 1));
        // Joins on to what precedes it, as nearly always.
        if let Some((start, end)) = known.ranges.range(..=first).next_back().map(|(s, e)| (*s, *e))
            && end.saturating_add(1) >= first
        {
            from = start;
            last = last.max(end);
        }
        while let Some((start, end)) = known.ranges.range(from.saturating_add(1)..).next().map(|(s, e)| (*s, *e)) {
            if start > last.saturating_add(1) {
                break;
            }
            last = last.max(end);
            known.ranges.remove(&start);
            self.ranges -= 1;
        }
        self.ranges += usize::from(known.ranges.insert(from, last).is_none());
        if self.ranges > self.limit * RANGES {
            self.cut_down();
        }
    }

    /// Forgets the older half of what each producer has beyond its share: so
    /// seldom that a range costs little.
    fn cut_down(&mut self) {
        for known in self.producers.values_mut() {
            let beyond = known.ranges.len().saturating_sub(RANGES);
            if let Some(first) = known.ranges.keys().nth(beyond.div_ceil(2)).copied() {
                known.ranges = known.ranges.split_off(&first);
            }
        }
        self.ranges = self.producers.values().map(|known| known.ranges.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const P: ProducerId = ProducerId(7);
    const L: Lane = Lane::DEFAULT;

    #[test]
    fn earlier_events_that_come_later_are_new() {
        let mut seen = Seen::new(8);
        seen.note(P, L, 11, 10);
        assert_eq!(seen.sight(P, L, 1, 10), Sight::New, "a high-water mark would lose them");
        assert_eq!(seen.sight(P, L, 12, 3), Sight::Here);
        assert_eq!(seen.sight(P, L, 18, 5), Sight::New, "a part of it is");
        seen.note(P, L, 1, 10);
        assert_eq!(seen.sight(P, L, 5, 10), Sight::Here, "they have closed up");
        assert_eq!(seen.sight(P, Lane::URGENT, 5, 1), Sight::New);
        assert_eq!(seen.producers[&(P, L)].ranges.len(), 1);
    }

    #[test]
    fn a_producer_that_uses_few_of_its_numbers_here_is_remembered_as_long_as_there_is_room() {
        let mut seen = Seen::new(256);
        let events = || (0..2_000).map(|n| n * 3);
        events().for_each(|first| seen.note(P, L, first, 1));
        assert!(events().all(|first| seen.sight(P, L, first, 1) == Sight::Here));
        assert!(events().all(|first| seen.sight(P, L, first + 1, 1) == Sight::New));
        // Others come: it keeps its newest ones, and they theirs.
        for other in 1..200 {
            (0..4).for_each(|n| seen.note(ProducerId(1_000 + other), L, n * 3, 1));
        }
        assert!(events().rev().take(500).all(|first| seen.sight(P, L, first, 1) == Sight::Here));
        assert!((0..4).all(|n| seen.sight(ProducerId(1_001), L, n * 3, 1) == Sight::Here));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut seen = Seen::new(4);
        for producer in 1..100 {
            for n in 0..100 {
                seen.note(ProducerId(producer), L, n * 10, 2);
            }
        }
        assert!(seen.producers.len() <= 4);
        let ranges: usize = seen.producers.values().map(|known| known.ranges.len()).sum();
        assert!(ranges == seen.ranges && ranges <= 4 * RANGES, "{ranges} ranges, {} counted", seen.ranges);
        assert_eq!(seen.sight(ProducerId(99), L, 990, 2), Sight::Here);
        seen.note(ProducerId(0), L, 1, 1);
        assert_eq!(seen.sight(ProducerId(0), L, 1, 1), Sight::New);
        seen.note(P, L, u64::MAX, 9);
        assert_eq!(seen.sight(P, L, u64::MAX, 9), Sight::Here);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set(notes in prop::collection::vec((1_u64..60, 1_u32..6), 0..12), ask in (1_u64..60, 1_u32..6)) {
            let mut seen = Seen::new(4);
            let mut set = std::collections::BTreeSet::new();
            for (first, count) in notes {
                seen.note(P, L, first, count);
                set.extend(first..first + u64::from(count));
            }
            let all = (ask.0..ask.0 + u64::from(ask.1)).all(|n| set.contains(&n));
            prop_assert_eq!(seen.sight(P, L, ask.0, ask.1) == Sight::Here, all);
        }
    }
}
