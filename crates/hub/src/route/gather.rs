//! What took other ways than the first, once the mesh has that one alone: a hub of
//! version 1 of the protocol has come, which refuses blocks that name another. What
//! flows hold of those is stamped anew and goes by the first way, in order; streams
//! know by the producers' numbers what they have already.

use weft_base::Way;
use weft_mesh::ledger::DropReason;
use weft_ring::arena::BlockRef;
use weft_wire::block::{self, Block, Stamp};
use weft_wire::frame::ErrorCode;

use super::RouteStage;
use super::flows::Held;
use crate::messages::FlowTo;

impl RouteStage {
    /// There are so many ways now: none goes by another.
    pub(super) fn gather(&mut self, ways: u8) {
        let beyond: Vec<FlowTo> = self.flows.holding().into_iter().filter(|to| to.way.0 >= ways).collect();
        for to in beyond {
            for held in self.flows.take_held(to) {
                match self.stamped_anew(&held.block) {
                    Some(block) => {
                        let except = held.except.clone();
                        self.hold_for((FlowTo { way: Way::MAIN, ..to }, except), Held { block, ..held });
                    }
                    None => {
                        let detail = "the hub's memory for blocks is in use (limits.arena): publish again in a while";
                        self.give_up(held, DropReason::FlowFull, ErrorCode::OVERLOADED, detail.to_owned());
                    }
                }
            }
        }
    }

    /// A copy of a block of this hub that goes by the first way; none when there is no memory.
    fn stamped_anew(&mut self, block: &BlockRef) -> Option<BlockRef> {
        let mut buffer = self.arena.lend(block.len())?;
        buffer.extend(block);
        let mut copy = buffer.split_to(block.len());
        let parsed = Block::trusted(block);
        let events = u64::from(parsed.event_count());
        let (origin, epoch, ingested) = (self.identity.id, self.identity.epoch, parsed.stamp()?.ingested);
        let stamp = Stamp { origin, epoch, block: self.next_block, sequence: self.next_sequence, ingested };
        block::stamp_anew(&mut copy, &stamp, Way::MAIN).ok()?;
        self.next_block += 1;
        self.next_sequence += events;
        Some(copy.freeze())
    }
}
