//! Of a link: what was sent is said to its other end, in marks that stand behind
//! the blocks that they count, lane by lane.

use weft_base::Lane;
use weft_mesh::crossing::CrossingError;
use weft_wire::block::Block;
use weft_wire::frame::{self, LinkCounted, LinkLedger};

use super::way::channel_of;
use super::{Egress, Frame};
use crate::counters::{Counters, add};

impl Egress {
    /// Whether the other end is to be told something.
    pub(crate) fn owes_marks(&self) -> bool {
        self.sent.as_ref().is_some_and(|sent| sent.owes())
    }

    /// Puts a mark behind what was sent on each lane that has something to say;
    /// `columns` says what the columns are. Answers whether there was one.
    pub(crate) fn mark_lanes(&mut self, columns: u64) -> bool {
        let Self { sent, ways, sending_bytes, .. } = self;
        let Some(sent) = sent else { return false };
        let channels = ways.len();
        let mut any = false;
        for lane in Lane::all() {
            let Some(way) = ways.get_mut(channel_of(lane, channels)) else { continue };
            let Some(tally) = sent.mark(lane) else { continue };
            let mark = LinkLedger { lane, blocks: tally.blocks(), columns, events: tally.events().to_vec() };
            let mut bytes = Vec::new();
            frame::encode(&frame::Frame::LinkLedger(mark), &mut bytes);
            let len = bytes.len();
            *sending_bytes += len;
            way.push(Frame::Control(bytes), len);
            any = true;
        }
        any
    }

    /// The other end has answered; see [`weft_mesh::crossing::SentEnd::answered`].
    pub(crate) fn counted(&mut self, counted: &LinkCounted) -> Result<(u64, i64), CrossingError> {
        let LinkCounted { lane, blocks, events } = *counted;
        let unasked = || Err(CrossingError::Unasked { lane, blocks });
        self.sent.as_mut().map_or_else(unasked, |sent| sent.answered(lane, blocks, events))
    }

    /// The link is over: counts what was written and is not known to have come.
    pub(super) fn abandon_sent(&mut self, counters: &Counters) {
        let Some((mut sent, link)) = self.sent.take().zip(self.link.as_ref()) else { return };
        for frame in self.ways.iter().flat_map(|way| &way.frames) {
            let forwards = match frame {
                Frame::Forward(forward) => std::slice::from_ref(forward),
                Frame::Packed(batch) => &batch.forwards,
                _ => &[],
            };
            for block in forwards.iter().map(|forward| Block::trusted(&forward.block)) {
                sent.unsent(block.lane(), counters.classes.column(block), u64::from(block.event_count()));
            }
        }
        for (column, events) in sent.unsure() {
            add(&link.unsure_out, events);
            if let Some(column) = link.columns.get(column) {
                add(&column.unsure, events);
            }
        }
    }
}
