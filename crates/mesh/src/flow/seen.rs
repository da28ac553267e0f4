//! The duplicate cut of a hub: which blocks it had before.
//!
//! A block is known by (origin, epoch, block number). In each lane of each
//! origin a window of [`WINDOW`] block numbers slides with the highest number
//! seen. Lanes have windows of their own, because blocks of an urgent lane may
//! overtake any number of a slower one, while within a lane blocks are late by
//! no more than what was under way when a route changed.

use std::collections::BTreeMap;

use weft_base::{Epoch, HubId, Lane};

/// Block numbers that are remembered, below the highest seen, in each lane of
/// each origin. What is older is taken as seen: see [`Cut::Late`].
pub const WINDOW: u64 = 8192;

const WORDS: usize = (WINDOW / 64) as usize;

/// What the cut says of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Not seen before: goes on, and is remembered.
    New,
    /// Seen before: dropped as [`DropReason::Duplicate`](crate::DropReason::Duplicate).
    Duplicate,
    /// Of an earlier life of the origin, or so far behind that nobody remembers:
    /// dropped as [`DropReason::Late`](crate::DropReason::Late).
    Late,
}

/// The blocks that a hub has seen. Memory: 1 KiB per origin and lane that is in
/// use, for at most the number of origins given; one more makes room by
/// forgetting the origin that was not heard for the longest, whose blocks could
/// then pass a second time (a subscriber is still guarded by the flow's sequence).
#[derive(Debug)]
pub struct Seen {
    origins: BTreeMap<HubId, Origin>,
    limit: usize,
    /// Counts the calls, to know who was heard last.
    turn: u64,
}

#[derive(Debug)]
struct Origin {
    epoch: Epoch,
    heard: u64,
    lanes: [Option<Box<Window>>; Lane::COUNT],
}

#[derive(Debug)]
struct Window {
    highest: u64,
    bits: [u64; WORDS],
}

impl Seen {
    /// A cut that remembers blocks of at most `origins` hubs (at least one).
    #[must_use]
    pub fn new(origins: usize) -> Self {
        Self { origins: BTreeMap::new(), limit: origins.max(1), turn: 0 }
    }

    /// Says whether the block was seen, and remembers it.
    pub fn check(&mut self, origin: HubId, epoch: Epoch, lane: Lane, block: u64) -> Cut {
        self.turn += 1;
        if !self.origins.contains_key(&origin) && self.origins.len() >= self.limit {
            let oldest = self.origins.iter().min_by_key(|(_, o)| o.heard).map(|(id, _)| *id);
            oldest.map(|id| self.origins.remove(&id));
        }
        let turn = self.turn;
        let known = self.origins.entry(origin).or_insert_with(|| Origin::new(epoch, turn));
        if epoch < known.epoch {
            return Cut::Late;
        }
        if epoch > known.epoch {
            *known = Origin::new(epoch, turn);
        }
        known.heard = turn;
        match known.lanes.get_mut(lane.index()) {
            Some(slot) => slot.get_or_insert_with(|| Box::new(Window { highest: 0, bits: [0; WORDS] })).check(block),
            None => Cut::Late,
        }
    }

    /// Forgets a hub, for example one that left the mesh.
    pub fn forget(&mut self, origin: HubId) {
        self.origins.remove(&origin);
    }

    /// How many origins are remembered.
    #[must_use]
    pub fn origins(&self) -> usize {
        self.origins.len()
    }
}

impl Origin {
    fn new(epoch: Epoch, heard: u64) -> Self {
        Self { epoch, heard, lanes: [const { None }; Lane::COUNT] }
    }
}

impl Window {
    fn check(&mut self, block: u64) -> Cut {
        if block > self.highest {
            self.slide(block);
        } else if self.highest - block >= WINDOW {
            return Cut::Late;
        }
        let (word, mask) = place(block);
        match self.bits.get_mut(word) {
            Some(bits) if *bits & mask == 0 => {
                *bits |= mask;
                Cut::New
            }
            _ => Cut::Duplicate,
        }
    }

    /// Makes `block` the highest: forgets what falls out at the other end.
    fn slide(&mut self, block: u64) {
        if block - self.highest >= WINDOW {
            self.bits = [0; WORDS];
        } else {
            for number in self.highest + 1..=block {
                let (word, mask) = place(number);
                if let Some(bits) = self.bits.get_mut(word) {
                    *bits &= !mask;
                }
            }
        }
        self.highest = block;
    }
}

/// The word of a block's bit, and the bit in it.
fn place(block: u64) -> (usize, u64) {
    let bit = block % WINDOW;
    ((bit / 64) as usize, 1 << (bit % 64))
}
