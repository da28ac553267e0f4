//! The cut of live blocks that come again.
//!
//! A publisher whose hub dies sends again, to the hub's next life, what was
//! not acknowledged; the hub cannot know any more that it had delivered it. A
//! subscription knows: it remembers the blocks of each producer that came last.
//! As many as a publisher may have unacknowledged are enough, because only
//! those are ever sent again.

use std::collections::{BTreeMap, VecDeque};

use weft_base::ProducerId;

/// Blocks remembered of one producer: the largest window that hubs grant by default.
const BLOCKS: usize = 256;
/// While the client moves, when all blocks come from two hubs: as many as may
/// come from one until they have come from the other.
const BLOCKS_MOVING: usize = 16_384;
/// Producers remembered; beyond it the one that was silent longest is forgotten.
const PRODUCERS: usize = 1_024;

/// What one subscription has seen lately.
#[derive(Debug, Default)]
pub(super) struct Seen {
    producers: BTreeMap<ProducerId, Recent>,
    turn: u64,
    /// Everything comes twice.
    is_moving: bool,
}

#[derive(Debug, Default)]
struct Recent {
    highest: u64,
    /// First sequences of blocks, in order of arrival.
    blocks: VecDeque<u64>,
    turn: u64,
}

impl Seen {
    /// Everything comes from two hubs from now on, or from one again.
    pub(super) fn moving(&mut self, is_moving: bool) {
        self.is_moving = is_moving;
        if !is_moving {
            for recent in self.producers.values_mut() {
                let more = recent.blocks.len().saturating_sub(BLOCKS);
                recent.blocks.drain(..more);
                recent.blocks.shrink_to(BLOCKS);
            }
        }
    }

    /// Whether the producer's block with this first sequence comes for the
    /// first time, as far as is remembered; remembers it. Producer 0 is nobody
    /// in particular, and sequence 0 is none.
    pub(super) fn first_time(&mut self, producer: ProducerId, first: u64) -> bool {
        if producer.0 == 0 || first == 0 {
            return true;
        }
        self.turn += 1;
        if self.producers.len() >= PRODUCERS && !self.producers.contains_key(&producer) {
            let silent = self.producers.iter().min_by_key(|(_, recent)| recent.turn).map(|(id, _)| *id);
            silent.map(|id| self.producers.remove(&id));
        }
        let recent = self.producers.entry(producer).or_default();
        recent.turn = self.turn;
        if first <= recent.highest && recent.blocks.contains(&first) {
            return false;
        }
        recent.highest = recent.highest.max(first);
        if recent.blocks.len() >= if self.is_moving { BLOCKS_MOVING } else { BLOCKS } {
            recent.blocks.pop_front();
        }
        recent.blocks.push_back(first);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ProducerId = ProducerId(8);

    #[test]
    fn a_block_that_comes_again_is_cut_and_others_pass() {
        let mut seen = Seen::default();
        assert!(seen.first_time(A, 1));
        assert!(seen.first_time(A, 11));
        assert!(!seen.first_time(A, 1));
        assert!(!seen.first_time(A, 11));
        assert!(seen.first_time(A, 5), "late, by another path, and new");
        assert!(!seen.first_time(A, 5));
        assert!(seen.first_time(ProducerId(16), 1), "another producer");
    }

    #[test]
    fn who_numbers_nothing_is_never_cut() {
        let mut seen = Seen::default();
        for _ in 0..2 {
            assert!(seen.first_time(ProducerId(0), 1));
            assert!(seen.first_time(A, 0));
        }
    }

    #[test]
    fn while_everything_comes_twice_more_is_remembered() {
        let mut seen = Seen::default();
        seen.moving(true);
        for first in 1..=2_000 {
            assert!(seen.first_time(A, first));
        }
        assert!((1..=2_000).all(|first| !seen.first_time(A, first)));
        seen.moving(false);
        assert!(seen.producers.values().all(|recent| recent.blocks.len() <= BLOCKS));
        assert!(!seen.first_time(A, 2_000) && !seen.first_time(A, 2_000 - BLOCKS as u64 + 1));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_covers_a_window() {
        let mut seen = Seen::default();
        for first in 1..=2 * BLOCKS as u64 {
            assert!(seen.first_time(A, first));
        }
        for first in BLOCKS as u64 + 1..=2 * BLOCKS as u64 {
            assert!(!seen.first_time(A, first));
        }
        for id in 1..=2 * PRODUCERS as u64 {
            seen.first_time(ProducerId(id), 1);
        }
        assert!(seen.producers.len() <= PRODUCERS);
        assert!(seen.producers.values().all(|recent| recent.blocks.len() <= BLOCKS));
    }
}
