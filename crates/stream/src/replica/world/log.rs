//! A home's log in memory.

use std::collections::BTreeSet;

use super::Name;
use crate::replica::{Position, Source, Stored, Unreadable};

/// A block in a log: one event or several of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) first: u64,
    pub(super) home: u32,
    pub(super) sequence: u64,
    pub(super) producer: u64,
    pub(super) number: u64,
    pub(super) span: u32,
}

impl Block {
    pub(super) fn bytes(&self) -> Vec<u8> {
        [self.producer, self.number].into_iter().flat_map(u64::to_le_bytes).collect()
    }

    pub(super) fn next(&self) -> u64 {
        self.first + u64::from(self.span)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Name> + '_ {
        (0..u64::from(self.span)).map(|n| (self.producer, self.number + n))
    }
}

#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) blocks: Vec<Block>,
    /// All below are on disk.
    pub(super) synced: u64,
    /// Damaged blocks, by their first local sequence.
    pub(super) damaged: BTreeSet<u64>,
}

impl Log {
    pub(super) fn next(&self) -> u64 {
        self.blocks.last().map_or(1, Block::next)
    }

    pub(super) fn position(&self, upto: u64) -> Position {
        let blocks = self.blocks.iter().filter(|block| block.next() <= upto);
        blocks.map(|block| (block.home, block.sequence + u64::from(block.span))).collect()
    }

    pub(super) fn push(&mut self, mut block: Block) {
        block.first = self.next();
        self.blocks.push(block);
    }
}

impl Source for Log {
    fn first(&self) -> u64 {
        1
    }

    fn position_at(&mut self, local: u64) -> Result<Position, Unreadable> {
        Ok(self.position(local))
    }

    fn read(&mut self, from: u64, upto: u64, each: &mut dyn FnMut(Stored<'_>) -> bool) -> Result<u64, Unreadable> {
        let mut next = from;
        for block in self.blocks.iter().filter(|block| block.next() > from && block.next() <= upto) {
            if self.damaged.contains(&block.first) {
                if next == from {
                    return Err(Unreadable::Damaged { resume: block.next() });
                }
                break;
            }
            let (first, bytes) = (block.first, block.bytes());
            let Block { home, sequence, span, .. } = *block;
            if !each(Stored {
                first,
                next: block.next(),
                home,
                sequence,
                span,
                more: false,
                withheld: false,
                bytes: &bytes,
            }) {
                break;
            }
            next = block.next();
        }
        Ok(next)
    }
}
