//! How far a spool is sent. Pure.
//!
//! ```text
//!        floor            cursor          end of the log
//!   done   |   handed out   |    to come    |
//!   -------+----------------+---------------+---->  sequences
//! ```
//! Invariant: all below `floor` is done, and nothing at or above it is
//! forgotten before it is. Blocks of different lanes are done in any order.

use std::collections::BTreeMap;

/// Blocks and bytes that are handed out and not done, at most; one block may
/// be larger.
const WINDOW: (usize, usize) = (256, 4 << 20);
/// Events that are still to be handed out of a spool that is all but empty.
const FEW: u64 = 1_024;

#[derive(Clone, Copy, Debug)]
struct Out {
    next: u64,
    size: Size,
    done: bool,
}

/// How much a block is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

/// The state of one spool.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    floor: u64,
    cursor: u64,
    out: BTreeMap<u64, Out>,
    /// Handed out in this round, and not done.
    open: (usize, u64),
    round: u32,
    is_open: bool,
    most: usize,
    /// Bytes that were done in this round, and how many are enough.
    sent: (u64, u64),
    /// The home has just taken nothing.
    doubted: bool,
}

impl Progress {
    /// Of a spool of which all before `floor` is done. A flow takes `flow` blocks.
    pub(crate) fn new(floor: u64, flow: usize) -> Self {
        let most = WINDOW.0.min(flow.max(1));
        Self {
            floor,
            cursor: floor,
            out: BTreeMap::new(),
            open: (0, 0),
            round: 0,
            is_open: false,
            most,
            sent: (0, 0),
            doubted: false,
        }
    }

    /// All before this sequence is done.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Bytes that are handed out and not done.
    pub(crate) fn open_bytes(&self) -> u64 {
        self.open.1
    }

    pub(crate) fn round(&self) -> u32 {
        self.round
    }

    /// Where the next block begins that is to be handed out, if one may be: the
    /// log is on disk up to `synced`.
    pub(crate) fn next(&mut self, synced: u64) -> Option<u64> {
        self.cursor = self.cursor.max(self.floor);
        while let Some(out) = self.out.get(&self.cursor).filter(|out| out.done) {
            self.cursor = out.next;
        }
        let has_room = self.open.0 < self.most && self.open.1 < WINDOW.1 as u64;
        (self.is_open && has_room && self.cursor < synced).then_some(self.cursor)
    }

    /// The block of [`Self::next`] was handed out.
    pub(crate) fn handed(&mut self, next: u64, size: Size) {
        self.out.insert(self.cursor, Out { next, size, done: false });
        self.open = (self.open.0 + 1, self.open.1 + size.bytes);
        self.cursor = next;
    }

    /// The home has a block on disk that was handed out in this round. Answers
    /// how much that is, once for each block.
    pub(crate) fn done(&mut self, at: u64, round: u32) -> Option<Size> {
        if round != self.round {
            return None;
        }
        let out = self.out.get_mut(&at).filter(|out| !out.done)?;
        out.done = true;
        let size = out.size;
        self.open = (self.open.0.saturating_sub(1), self.open.1.saturating_sub(size.bytes));
        self.sent.0 += size.bytes;
        self.doubted = false;
        self.advance();
        Some(size)
    }

    /// What lies from [`Self::next`] up to there will never be sent.
    pub(crate) fn pass(&mut self, next: u64) {
        self.out.insert(self.cursor, Out { next, size: Size::default(), done: true });
        self.cursor = next;
        self.advance();
    }

    /// The block there, which ends before `next`, is given up: at the beginning of a round.
    pub(crate) fn refuse(&mut self, at: u64, next: u64) {
        self.out.insert(at, Out { next, size: Size::default(), done: true });
        self.advance();
    }

    fn advance(&mut self) {
        // One that is done may come after one that has to be handed out again.
        while let Some(out) = self.out.get(&self.floor).filter(|out| out.done).copied() {
            self.out.remove(&self.floor);
            self.floor = out.next;
        }
    }

    /// All that is there up to `end` is given up.
    pub(crate) fn give_up(&mut self, end: u64) {
        self.out.clear();
        self.open = (0, 0);
        (self.floor, self.cursor) = (end, end);
    }

    /// Whether publishers are better held back for a moment than kept going behind
    /// what is left: little is, or as much came while twice of what was there went.
    /// `end` of the log, and the bytes that wait in all.
    pub(crate) fn is_low(&self, end: u64, waiting: u64) -> bool {
        let few = end.saturating_sub(self.cursor) <= FEW && waiting <= WINDOW.1 as u64;
        self.is_open && !self.doubted && (few || self.sent.0 >= self.sent.1)
    }

    /// Begins a round: what is not done is handed out again, in order. `waiting`
    /// bytes in all; `doubted`: the home has just taken nothing.
    pub(crate) fn begin(&mut self, round: u32, is_open: bool, waiting: u64, doubted: bool) {
        self.sent = (0, waiting.saturating_mul(2).saturating_add(WINDOW.1 as u64));
        self.doubted = doubted;
        self.out.retain(|_, out| out.done);
        self.open = (0, 0);
        (self.round, self.is_open, self.cursor) = (round, is_open, self.floor);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: Size = Size { events: 1, bytes: 10 };

    /// Hands out what may be; answers where it begins.
    fn hand_out(progress: &mut Progress, synced: u64) -> Vec<u64> {
        let mut all = Vec::new();
        while let Some(at) = progress.next(synced) {
            progress.handed(at + 1, ONE);
            all.push(at);
        }
        all
    }

    #[test]
    fn nothing_is_handed_out_while_no_home_can_be_reached_nor_what_is_not_on_disk() {
        let mut progress = Progress::new(1, 8);
        assert!(hand_out(&mut progress, 5).is_empty());
        progress.begin(1, true, 0, false);
        assert_eq!(hand_out(&mut progress, 3), [1, 2]);
        assert_eq!(hand_out(&mut progress, 5), [3, 4]);
    }

    #[test]
    fn the_floor_follows_the_first_that_is_not_done() {
        let mut progress = Progress::new(1, 8);
        progress.begin(1, true, 0, false);
        hand_out(&mut progress, 4);
        assert_eq!(progress.done(2, 1), Some(ONE), "another lane is faster");
        assert_eq!((progress.floor(), progress.done(2, 1)), (1, None), "once");
        assert_eq!(progress.done(1, 1), Some(ONE));
        assert_eq!(progress.floor(), 3);
        assert_eq!(progress.done(3, 0), None, "of an earlier round");
    }

    #[test]
    fn a_round_begins_with_the_first_that_is_not_done_and_leaves_out_what_is() {
        let mut progress = Progress::new(1, 3);
        progress.begin(1, true, 0, false);
        assert_eq!(hand_out(&mut progress, 9), [1, 2, 3], "its window");
        progress.done(2, 1);
        progress.begin(2, true, 0, false);
        assert_eq!(hand_out(&mut progress, 9), [1, 3, 4]);
        progress.begin(3, false, 0, false);
        assert!(hand_out(&mut progress, 9).is_empty());
    }

    #[test]
    fn damage_is_passed_with_what_comes_before_it() {
        let mut progress = Progress::new(1, 8);
        progress.begin(1, true, 0, false);
        hand_out(&mut progress, 2);
        progress.pass(5);
        assert_eq!((progress.floor(), progress.next(7)), (1, Some(5)));
        progress.done(1, 1);
        assert_eq!(progress.floor(), 5);
        progress.pass(6);
        assert_eq!(progress.floor(), 6);
        progress.give_up(9);
        assert_eq!((progress.floor(), progress.next(9)), (9, None));
    }

    #[test]
    fn it_is_low_when_little_is_left_or_as_much_comes_as_goes() {
        let mut progress = Progress::new(1, 8);
        assert!(!progress.is_low(3, 20), "no home can be reached");
        progress.begin(1, true, 20, false);
        assert!(progress.is_low(3, 20) && !progress.is_low(2_000, 20));
        progress.begin(2, true, 20, true);
        assert!(!progress.is_low(3, 20), "the home may take nothing for long");
        let large = Size { events: 1, bytes: 5 << 20 };
        progress.next(9_999);
        progress.handed(2, large);
        progress.done(1, 2);
        assert!(progress.is_low(2_000, 20), "publishers are as fast as the home");
    }

    proptest! {
        /// Whatever is refused, lost and answered: in each round blocks go in order
        /// from the first that is not done, each counts as done once, and none that is
        /// not done is below the floor.
        #[test]
        fn nothing_that_is_not_done_is_forgotten(steps in prop::collection::vec((0u8..4, 0usize..8), 0..80)) {
            let (mut progress, end) = (Progress::new(1, 4), 20);
            let (mut round, mut done, mut out) = (0, std::collections::BTreeSet::new(), Vec::new());
            for (what, which) in steps {
                match what {
                    0 | 1 => if let Some(at) = progress.next(end) {
                        prop_assert!(!done.contains(&at));
                        let before = (1..end).find(|n| !done.contains(n) && !out.contains(n));
                        prop_assert_eq!(Some(at), before);
                        progress.handed(at + 1, ONE);
                        out.push(at);
                    },
                    2 => if let Some(at) = (which < out.len()).then(|| out.remove(which)) {
                        prop_assert_eq!(progress.done(at, round), Some(ONE));
                        done.insert(at);
                    },
                    _ => {
                        round += 1;
                        progress.begin(round, which > 0, 0, false);
                        out.clear();
                    }
                }
                prop_assert!((1..progress.floor()).all(|n| done.contains(&n)));
                prop_assert!(out.len() <= 4);
            }
        }
    }
}
