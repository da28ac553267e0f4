//! What goes out to members of consumers. The consume stage keeps to their
//! credit and to the session's window; here it is queued and written.

use std::sync::Arc;

use weft_base::SubscriptionId;
use weft_wire::frame::{self, Unsubscribed};

use super::{Egress, Frame, Handout};
use crate::consume::Outflow;
use crate::counters::{Counters, sub};

impl Egress {
    /// Whether the number is a subscription or a member's.
    pub(crate) fn knows(&self, id: SubscriptionId) -> bool {
        self.subscribers.knows(id) || self.is_member(id)
    }

    /// Subscriptions and members together.
    pub(crate) fn subscriptions(&self) -> usize {
        self.subscribers.subscriptions() + self.members.len()
    }

    /// Those subscriptions, in no order.
    pub(crate) fn members(&self) -> impl Iterator<Item = SubscriptionId> {
        self.members.iter().copied()
    }

    pub(crate) fn is_member(&self, id: SubscriptionId) -> bool {
        self.members.contains(&id)
    }

    /// Whether the session ever asked to be a member.
    pub(crate) fn has_consumed(&self) -> bool {
        self.outflow.is_some()
    }

    /// A member, from now on. Answers what is under way to the session.
    pub(crate) fn join(&mut self, id: SubscriptionId) -> Arc<Outflow> {
        self.members.insert(id);
        let window = self.limits.socket_bytes as u64;
        self.outflow.get_or_insert_with(|| Arc::new(Outflow::new(window))).clone()
    }

    /// A member leaves by itself: what it was to be handed is not, and what it
    /// says last is that. False when it is none.
    pub(crate) fn leave(&mut self, id: SubscriptionId, counters: &Counters) -> bool {
        let was = self.end_member(id, counters);
        if was {
            let mut bytes = Vec::new();
            frame::encode(&frame::Frame::Unsubscribed(Unsubscribed { id }), &mut bytes);
            // Behind what is on its way to the socket: nothing for it follows.
            self.handouts.push_back(Frame::Control(bytes));
        }
        was
    }

    /// A member is none any more.
    pub(crate) fn end_member(&mut self, id: SubscriptionId, counters: &Counters) -> bool {
        if !self.members.remove(&id) {
            return false;
        }
        let handouts = std::mem::take(&mut self.handouts);
        for frame in handouts {
            match frame {
                Frame::Handout(handout) if handout.id == id => self.handout_done(&handout, counters),
                other => self.handouts.push_back(other),
            }
        }
        true
    }

    /// Queues events for a member; for one that has left they are dropped: they
    /// are handed out to another.
    pub(crate) fn handout(&mut self, handout: Handout, counters: &Counters) {
        if self.is_member(handout.id) {
            self.handouts.push_back(Frame::Handout(handout));
        } else {
            self.handout_done(&handout, counters);
        }
    }

    /// Written, or dropped.
    pub(super) fn handout_done(&mut self, handout: &Handout, counters: &Counters) {
        sub(&counters.handouts, 1);
        if let Some(outflow) = &self.outflow {
            self.freed |= outflow.written(handout.block.len() as u64);
        }
    }

    /// Whether the consume stage is to be told that there is room, once.
    pub(crate) fn take_freed(&mut self) -> bool {
        std::mem::take(&mut self.freed)
    }
}
