//! Live subscriptions while the client moves to another hub.
//!
//! Each is made at the other hub before it is given up at the old one, so every
//! event comes from one of the two, and most from both. What the other hub
//! delivers waits until the old one has delivered all that it had: so a
//! producer's events keep their order, and those that came already are cut.
//! What waits is bounded by the credit that the other hub was given. When the
//! client stays at the old hub after all, that delivers it.

use std::task::Waker;

use weft_base::SubscriptionId;
use weft_ring::arena::BlockRef;
use weft_wire::frame::{self, Frame};

use super::subscribe::{Entry, Subscriptions};
use crate::delivery::{Gap, check};

/// A subscription at the other hub.
#[derive(Debug)]
pub(super) struct There {
    /// What was not given back when it was made: so much less was granted.
    held: (u64, u64),
    /// Of one on demand: granted there and not come.
    granted: i64,
    /// What has come, in order.
    waiting: Vec<(BlockRef, u8)>,
    /// What was dropped there.
    gap: Gap,
}

impl Subscriptions {
    /// Makes live subscriptions at the other hub that are not there yet; answers
    /// which. Those to streams follow when the client has moved: they know
    /// where to go on.
    pub(super) fn open_there(&mut self, out: &mut Vec<u8>) -> Vec<SubscriptionId> {
        let mut opened = Vec::new();
        for (id, entry) in &mut self.entries {
            if entry.options.stream.is_none() && entry.there.is_none() {
                let granted = entry.demand.map_or(0, |demand| demand.granted);
                let owed = entry.owed;
                entry.subscribe(*id, out);
                entry.owed = owed;
                let there_granted = entry.demand.map_or(0, |demand| demand.granted);
                if let Some(demand) = &mut entry.demand {
                    demand.granted = granted;
                }
                let held = (entry.held_events, entry.held_bytes);
                entry.there = Some(There { held, granted: there_granted, waiting: Vec::new(), gap: Gap::default() });
                entry.seen.moving(true);
                opened.push(*id);
            }
        }
        opened
    }

    /// The client has moved: what is not at the other hub yet is made there.
    pub(super) fn promoted(&mut self, out: &mut Vec<u8>) {
        self.open_there(out);
        for (id, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.options.stream.is_some()) {
            entry.subscribe(*id, out);
        }
    }

    /// Whether a subscription stands at both hubs.
    pub(super) fn is_there(&self, id: SubscriptionId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.there.is_some())
    }

    /// Whether a subscription is one to a stream.
    pub(super) fn is_stream(&self, id: SubscriptionId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.options.stream.is_some())
    }

    /// A block from the other hub: it waits.
    ///
    /// # Errors
    /// What is wrong with the block.
    pub(super) fn deliver_there(
        &mut self,
        id: SubscriptionId,
        bytes: BlockRef,
        hops: u8,
        wake: &mut Vec<Waker>,
    ) -> Result<(), String> {
        match self.entries.get_mut(&id).and_then(|entry| entry.there.as_mut()) {
            Some(there) => {
                check(&bytes)?;
                there.waiting.push((bytes, hops));
                Ok(())
            }
            None => self.deliver(id, bytes, hops, wake),
        }
    }

    /// The other hub has dropped events for a subscription: that is told with what
    /// it delivered.
    pub(super) fn gap_there(&mut self, id: SubscriptionId, events: u64, reason: u8, wake: &mut Vec<Waker>) {
        match self.entries.get_mut(&id).and_then(|entry| entry.there.as_mut()) {
            Some(there) => {
                there.gap.events = there.gap.events.saturating_add(events);
                there.gap.reason = reason;
            }
            None => self.gap(id, events, reason, wake),
        }
    }

    /// The client stays at the old hub, which delivers what the other one did, too:
    /// it comes in order from that one, and for the credit that it was given.
    pub(super) fn stay(&mut self) {
        for entry in self.entries.values_mut().filter(|entry| entry.there.is_some()) {
            entry.there = None;
            entry.seen.moving(false);
        }
    }

    /// There is one hub again: what waits is delivered but for what came from
    /// the other one. `new`: the client has moved, and the hub is given the
    /// credit that it is to have. `clean`: the old hub has delivered all it had.
    pub(super) fn one_again(&mut self, new: Option<&mut Vec<u8>>, clean: bool, wake: &mut Vec<Waker>) {
        let ids: Vec<SubscriptionId> = self.entries.keys().copied().collect();
        let mut credit = Vec::new();
        for id in ids {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            let Some(there) = entry.there.take() else { continue };
            entry.gap.reconnected |= !clean && entry.accepted;
            if there.gap.events > 0 {
                entry.gap.events = entry.gap.events.saturating_add(there.gap.events);
                entry.gap.reason = there.gap.reason;
            }
            let held = (entry.held_events, entry.held_bytes);
            if new.is_some()
                && let Some(demand) = &mut entry.demand
            {
                demand.granted = there.granted;
            }
            for (bytes, hops) in there.waiting {
                // Looked at when it came.
                let taken = self.deliver(id, bytes, hops, wake);
                debug_assert!(taken.is_ok(), "a block that was checked: {taken:?}");
            }
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.seen.moving(false);
            if new.is_some() {
                credit.extend(entry.credit_after(there.held, held).map(|(events, bytes)| (id, events, bytes)));
            }
        }
        if let Some(out) = new {
            for (id, events, bytes) in credit {
                frame::encode(&Frame::Credit(frame::Credit { id, events, bytes }), out);
            }
        }
    }
}

impl Entry {
    /// What the hub is to be granted that was granted less by `then`, while
    /// `now` is not given back: what it has too much is owed.
    fn credit_after(&mut self, then: (u64, u64), now: (u64, u64)) -> Option<(u64, u64)> {
        let events = match &mut self.demand {
            Some(demand) => demand.grant(),
            None => {
                self.owed.0 = now.0.saturating_sub(then.0);
                then.0.saturating_sub(now.0)
            }
        };
        self.owed.1 = now.1.saturating_sub(then.1);
        let bytes = then.1.saturating_sub(now.1);
        (events > 0 || bytes > 0).then_some((events, bytes))
    }
}
