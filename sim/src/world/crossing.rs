//! Both ends of each session count what crosses it and compare, as hubs do
//! (`weft_mesh::crossing`): with marks behind the blocks that they count.
//!
//! A session here goes on through a cut that nobody notices, and loses what was
//! under way, as a transport's never does; such a session is not held to it.

use weft_base::{Lane, Mono};
use weft_mesh::crossing::{CameEnd, SentEnd, Tally};

use super::{Check, Checked, Due, World};
use crate::said::Block;

/// Blocks of events, all in one column.
const COLUMNS: usize = 1;

/// One direction of a session.
pub(super) struct Crossing {
    sent: SentEnd,
    came: CameEnd,
    /// How often the direction had been cut when it began; none of one that has lost something.
    cuts: Option<u64>,
}

/// What the sender counts of a lane.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    lane: Lane,
    blocks: u64,
    events: Vec<u64>,
}

impl World<'_> {
    /// A block leaves by a session, or is lost by it.
    pub(super) fn crosses(&mut self, session: usize, from: usize, block: &Block, is_lost: bool) {
        let cuts = self.links[self.sessions[session].link].cuts(from);
        let new = || Crossing { sent: SentEnd::new(COLUMNS), came: CameEnd::new(COLUMNS), cuts: Some(cuts) };
        let crossing = self.crossings.entry((session, from)).or_insert_with(new);
        crossing.sent.sent(block.lane, 0, block.events);
        if is_lost {
            crossing.cuts = None;
        }
    }

    /// A mark follows what has left, unless one is under way.
    pub(super) fn mark(&mut self, session: usize, from: usize, lane: Lane, at: Mono) {
        let Some(crossing) = self.crossings.get_mut(&(session, from)) else { return };
        let Some(tally) = crossing.sent.mark(lane) else { return };
        let mark = Mark { lane, blocks: tally.blocks(), events: tally.events().to_vec() };
        self.at(at, Due::Marked { session, to: 1 - from, mark });
    }

    /// A block has come by a session.
    pub(super) fn has_crossed(&mut self, session: usize, to: usize, block: &Block) {
        if let Some(crossing) = self.crossings.get_mut(&(session, 1 - to)) {
            crossing.came.came(block.lane, 0, block.events);
        }
    }

    /// A mark has come: both ends have counted the same.
    pub(super) fn compare(&mut self, session: usize, to: usize, mark: &Mark) -> Checked {
        let known = &self.sessions[session];
        let cuts = self.links[known.link].cuts(1 - to);
        let Some(crossing) = self.crossings.get_mut(&(session, 1 - to)) else { return Ok(()) };
        if !known.is_open[to] || crossing.cuts != Some(cuts) {
            return Ok(());
        }
        let Mark { lane, blocks, events } = mark;
        let compared = crossing.came.marked(*lane, *blocks, events, true, &Tally::new(COLUMNS));
        let came = crossing.came.tally(*lane).total();
        let answered = crossing.sent.answered(*lane, *blocks, came);
        match (&compared, &answered) {
            (Ok(off), Ok((_, 0))) if off.is_even() => Ok(()),
            _ => {
                let detail =
                    format!("session {session} to its end {to}, lane {}: {compared:?}, {answered:?}", lane.get());
                Err(self.violation(Check::LinkEnds, detail))
            }
        }
    }
}
