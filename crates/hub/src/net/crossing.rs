//! What crosses a link, said to its other end: marks behind what was sent, at
//! times, and answers to those of the other end. See [`weft_mesh::crossing`].

use weft_base::{HubId, Lane};
use weft_wire::frame::{self, ErrorCode, Frame, LinkCounted, LinkLedger};

use super::frames::forwarded;
use super::{Connection, NetStage};
use crate::counters::add;
use crate::messages::{SessionId, ToRoute};
use crate::see::crossing::Marked;

impl NetStage {
    /// Tells the links over which something was sent since the last time.
    pub(super) fn mark_links(&mut self) {
        if !self.marking || self.now.mono < self.next_marks {
            return;
        }
        self.next_marks = self.now.mono + self.options.see.links_every;
        self.marking = false;
        let columns = self.counters.classes.fingerprint();
        for at in 0..self.connections.len() {
            let Some(connection) = self.connections.get_mut(at).and_then(Option::as_mut) else { continue };
            if !connection.closing && connection.egress.mark_lanes(columns) {
                let id = connection.id;
                self.mark_dirty(id);
            }
        }
    }

    /// A block that came over a link is left to be sent again, and counted as that.
    pub(super) fn not_taken_in(&mut self, id: SessionId, frame: &[u8]) {
        let counters = self.counters.clone();
        let Some(block) = forwarded(frame) else { return };
        let Some(Connection { credit: Some(credit), .. }) = self.connection(id) else { return };
        let (column, events) = (counters.classes.column(block), u64::from(block.event_count()));
        if let Some(unread) = credit.unread.get_mut(block.lane().index()) {
            unread.add(column, events);
        }
    }

    /// Blocks that came packed are left to be sent again: of which events, nobody has seen.
    pub(super) fn not_unpacked(&mut self, id: SessionId, lane: Lane, blocks: u64) {
        let Some(Connection { credit: Some(credit), .. }) = self.connection(id) else { return };
        if let Some(unread) = credit.unread.get_mut(lane.index()) {
            unread.add_unseen(blocks);
        }
    }

    /// The other end says what it sent: for the route stage, behind what came.
    pub(super) fn on_mark(&mut self, id: SessionId, mark: &LinkLedger) {
        let Some(Connection { credit: Some(credit), egress, .. }) = self.connection(id) else { return };
        let from = egress.link().map_or(HubId(0), |link| HubId(link.hub));
        let Some(unread) = credit.unread.get(mark.lane.index()) else { return };
        let marked = Box::new(Marked { mark: mark.clone(), unread: unread.clone() });
        self.out.route.push(ToRoute::Marked { link: id, from, marked });
    }

    /// What came up to a mark is known.
    pub(super) fn say_counted(&mut self, id: SessionId, counted: LinkCounted) {
        let Some(connection) = self.connection(id) else { return };
        frame::encode(&Frame::LinkCounted(counted), connection.egress.control());
        self.mark_dirty(id);
    }

    /// The other end has counted what it was sent.
    pub(super) fn on_counted(&mut self, id: SessionId, counted: &LinkCounted) {
        let Some(connection) = self.connection(id) else { return };
        match connection.egress.counted(counted) {
            Ok((events, off)) => {
                let is_behind = connection.egress.owes_marks();
                if let Some(link) = connection.egress.link() {
                    add(&link.compared_out, events);
                    add(&link.missing_out, off.unsigned_abs());
                }
                self.marking |= is_behind;
            }
            Err(error) => self.violate(id, ErrorCode::BAD_COUNT, &error.to_string()),
        }
    }
}
