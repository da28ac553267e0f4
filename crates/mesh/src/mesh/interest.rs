//! Interest: this hub's told to the others, the others' taken in and passed on.

use std::sync::Arc;

use weft_base::{Epoch, HubId, Mono};
use weft_topic::Filter;
use weft_wire::frame::{Digest, Frame, Interest};

use super::{Command, Mesh};
use crate::filters::{Change, FilterSet, Item, Wants, difference};
use crate::link::Incoming;
use crate::transfer::{CHUNK_BYTES, Transfer};
use crate::{CloseReason, Kind, LinkId};

/// The last whole set that is known of a hub.
#[derive(Debug, Default)]
pub(super) struct HubInterest {
    /// The life that it is of: an earlier one until the new set is whole.
    pub(super) epoch: Epoch,
    /// 0: nothing is known.
    pub(super) version: u64,
    pub(super) set: FilterSet,
    /// For each kind, whether the set was beyond the limit. Of subscribers it then
    /// counts as `**`; of groups and streams what is beyond is left out.
    collapsed: [bool; 3],
    /// The first snapshot of routes that this set is in.
    pub(super) since: u64,
}

/// A set that was asked for. Nobody else is asked until this time.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) link: LinkId,
    pub(super) until: Mono,
    /// The set is there, and its hash is not what the hub's own neighbour says.
    pub(super) is_repair: bool,
}

impl HubInterest {
    /// The version that is known of this life; 0 for none.
    pub(super) fn version_in(&self, epoch: Epoch) -> u64 {
        if self.epoch == epoch { self.version } else { 0 }
    }

    /// Whether some of it was left out for a limit.
    pub(super) fn is_cut(&self) -> bool {
        let left_out = |kind: Kind| self.collapsed.get(kind as usize) == Some(&true);
        left_out(Kind::Group) || left_out(Kind::Stream)
    }

    /// Whether the hash says anything of the hub's own set.
    pub(super) fn is_exact(&self) -> bool {
        self.collapsed == [false; 3]
    }

    fn apply(&mut self, changes: &[Change], slot: u16, limit: usize, routes: &mut Wants) {
        for change in changes {
            let kind = change.item.kind;
            let is_beyond = kind != Kind::Live && change.add && self.set.count(kind) >= limit;
            if is_beyond && let Some(collapsed) = self.collapsed.get_mut(kind as usize) {
                *collapsed = true;
            }
            let is_collapsed = kind == Kind::Live && self.collapsed.get(kind as usize) == Some(&true);
            if is_beyond || is_collapsed || !self.set.apply(change) {
                continue;
            }
            if change.add {
                routes.insert(slot, &change.item);
            } else {
                routes.remove(slot, &change.item);
            }
            if kind == Kind::Live && self.set.count(kind) > limit {
                self.collapse(slot, routes);
            }
        }
    }

    /// Too many filters: from here on the hub wants everything.
    fn collapse(&mut self, slot: u16, routes: &mut Wants) {
        let kind = Kind::Live;
        let old: Vec<Change> = self.set.of_kind(kind).map(|item| Change { add: false, item: item.clone() }).collect();
        for change in &old {
            self.set.apply(change);
            routes.remove(slot, &change.item);
        }
        let everything = Item::plain(Filter::everything());
        routes.insert(slot, &everything);
        self.set.insert(everything);
        if let Some(collapsed) = self.collapsed.get_mut(kind as usize) {
            *collapsed = true;
        }
    }

    /// Puts a whole set in the place of the old one; answers the difference.
    fn replace(
        &mut self,
        epoch: Epoch,
        changes: &[Change],
        slot: u16,
        limit: usize,
        routes: &mut Wants,
    ) -> Vec<Change> {
        let mut fresh = FilterSet::default();
        for change in changes {
            fresh.apply(change);
        }
        let steps = difference(&self.set.snapshot(), &fresh.snapshot());
        self.epoch = epoch;
        self.collapsed = [false; 3];
        // What goes, goes first: so the limit is met only by what stays.
        self.apply(&steps, slot, limit, routes);
        steps
    }
}

impl Mesh {
    /// Tells the mesh what changed of this hub's own interest, when it is time.
    pub(super) fn tell_interest(&mut self, now: Mono) {
        if self.local.due(self.options.timers.interest_batch).is_none_or(|at| at > now) {
            return;
        }
        let from = self.local.version;
        let changes = self.local.take_changes(now, self.options.timers.interest_each);
        if !changes.is_empty() {
            self.pass_on(self.me.id, from, changes.into(), None, now);
        }
    }

    /// Steps of another hub's interest have come.
    pub(super) fn on_interest(&mut self, link: LinkId, frame: &Interest<'_>, now: Mono, out: &mut Vec<Command>) {
        let (from, to) = (frame.from_version, frame.to_version);
        let Some(known) = self.links.get_mut(&link) else { return };
        let begun = known.incoming.remove(&frame.hub);
        let begun = begun.filter(|i| (i.epoch, i.from, i.to) == (frame.epoch, from, to));
        let mut incoming = begun.unwrap_or_else(|| {
            let is_useful = self.is_useful(link, frame.hub, frame.epoch, from, to, now);
            Incoming { epoch: frame.epoch, from, to, changes: is_useful.then(Vec::new), touched: now }
        });
        if let Some(changes) = &mut incoming.changes {
            let enough = self.options.limits.filters.saturating_mul(4);
            for change in &frame.changes {
                match Filter::parse(change.filter) {
                    // So far beyond the limit the set counts as everything anyway.
                    Ok(_) if changes.len() > enough => {}
                    Ok(filter) => changes.push(Change { add: change.add, item: Item::of_frame(change, filter) }),
                    Err(error) => {
                        let detail = error.to_string();
                        return self.close(link, CloseReason::BadInterest { detail }, out);
                    }
                }
            }
        }
        if !frame.more {
            return self.take_interest(link, frame.hub, incoming, now);
        }
        incoming.touched = now;
        let patience = self.options.timers.digest;
        if let Some(wanted) = self.hubs.get_mut(&frame.hub).and_then(|hub| hub.wanted.as_mut()) {
            wanted.until = if wanted.link == link { now + patience } else { wanted.until };
        }
        let limit = self.options.limits.hubs;
        let Some(known) = self.links.get_mut(&link) else { return };
        if known.incoming.len() >= limit {
            let detail = format!("the interest of more than {limit} hubs is sent at once");
            return self.close(link, CloseReason::BadInterest { detail }, out);
        }
        known.incoming.insert(frame.hub, incoming);
    }

    /// Whether steps lead on from what is known. If they begin too late, the
    /// whole set is asked for.
    fn is_useful(&mut self, link: LinkId, id: HubId, epoch: Epoch, from: u64, to: u64, now: Mono) -> bool {
        let Some(hub) = self.hubs.get(&id).filter(|hub| hub.epoch == epoch) else { return false };
        let known = hub.interest.version_in(epoch);
        let is_repair = hub.wanted.as_ref().is_some_and(|w| w.is_repair && w.link == link) && from == 0 && to == known;
        if to <= known && !is_repair {
            return false;
        }
        if from != 0 && from != known {
            self.ask(link, id, now);
            return false;
        }
        // What comes by another link already, and goes on coming, is not kept twice.
        let patience = self.options.timers.digest;
        let others = self.links.iter().filter(|(other, _)| **other != link);
        let mut coming = others.filter_map(|(_, l)| l.incoming.get(&id)).filter(|i| i.changes.is_some());
        !coming.any(|i| i.epoch == epoch && i.to >= to && now < i.touched + patience)
    }

    /// The steps are complete: they count from here on, and are passed on.
    fn take_interest(&mut self, link: LinkId, id: HubId, incoming: Incoming, now: Mono) {
        let Incoming { epoch, from, to, changes: Some(changes), .. } = incoming else { return };
        // Others may have led further meanwhile.
        if !self.is_useful(link, id, epoch, from, to, now) {
            return;
        }
        let limit = self.options.limits.filters;
        let Some(hub) = self.hubs.get_mut(&id) else { return };
        self.routes_changed = true;
        hub.interest.since = self.receipts.made + 1;
        if from != 0 {
            hub.interest.apply(&changes, hub.slot, limit, &mut self.interest);
            hub.interest.version = to;
            return self.pass_on(id, from, changes.into(), Some(link), now);
        }
        hub.wanted.take_if(|wanted| wanted.link == link);
        let known = hub.interest.version_in(epoch);
        let steps = hub.interest.replace(epoch, &changes, hub.slot, limit, &mut self.interest);
        hub.interest.version = to;
        if known > 0 && known < to {
            // Who missed the same steps can follow.
            self.pass_on(id, known, steps.into(), Some(link), now);
        } else {
            // A long set is not pushed at neighbours who may have it: they ask.
            let entries = self.digest_entry(id).into_iter().collect();
            self.flood(&Frame::Digest(Digest { entries }), Some(link));
        }
    }

    /// The interest of a hub as it may be passed on: its life, version and set.
    pub(super) fn interest_to_tell(&self, id: HubId) -> Option<(Epoch, u64, &FilterSet)> {
        if id == self.me.id {
            return Some((self.me.epoch, self.local.version, &self.local.told));
        }
        let hub = self.hubs.get(&id)?;
        let is_whole = hub.interest.epoch == hub.epoch && hub.interest.version > 0;
        is_whole.then_some((hub.epoch, hub.interest.version, &hub.interest.set))
    }

    /// Sends steps from version `from` to the present one to every other link.
    fn pass_on(&mut self, id: HubId, from: u64, changes: Arc<[Change]>, came_by: Option<LinkId>, now: Mono) {
        let Some((epoch, to, set)) = self.interest_to_tell(id) else { return };
        let transfer = Transfer::changes(epoch, from, to, changes, set.snapshot());
        let links: Vec<LinkId> = self.links.keys().copied().filter(|link| Some(*link) != came_by).collect();
        for link in links {
            self.start_transfer(link, id, transfer.clone(), now);
        }
    }

    /// Starts a transfer; a whole set goes in the place of what is under way for
    /// the same hub, steps wait for its end and then follow from there.
    pub(super) fn start_transfer(&mut self, link: LinkId, id: HubId, mut transfer: Transfer, now: Mono) {
        let Some(known) = self.links.get_mut(&link) else { return };
        let is_under_way = known.transfers.get(&id).is_some_and(|old| old.epoch == transfer.epoch);
        if is_under_way && (!transfer.is_whole() || known.transfers.get(&id).is_some_and(Transfer::is_whole)) {
            return;
        }
        // The first frame goes at once, unless others wait for their turn.
        if known.transfers.is_empty() || !transfer.is_whole() {
            let frames = self.outbox.entry(link).or_default();
            if transfer.next_frame(id, frames) {
                return;
            }
            known.transfer_next = now + self.options.timers.transfer_pace;
        }
        known.transfers.insert(id, transfer);
    }

    /// One frame of one transfer on each link whose time has come.
    pub(super) fn pump_transfers(&mut self, now: Mono) {
        let pace = self.options.timers.transfer_pace;
        let due = self.links.iter().filter(|(_, link)| !link.transfers.is_empty() && link.transfer_next <= now);
        let due: Vec<LinkId> = due.map(|(id, _)| *id).collect();
        for id in due {
            let Some(link) = self.links.get_mut(&id) else { continue };
            let served = link.served;
            let later = (std::ops::Bound::Excluded(served), std::ops::Bound::Unbounded);
            let next = link.transfers.range(later).next().or_else(|| link.transfers.iter().next());
            let Some(hub) = next.map(|(hub, _)| *hub) else { continue };
            link.served = hub;
            link.transfer_next = now + pace;
            let Some(transfer) = link.transfers.get_mut(&hub) else { continue };
            if transfer.next_frame(hub, self.outbox.entry(id).or_default())
                && let Some(done) = link.transfers.remove(&hub)
            {
                self.follow_up(id, hub, &done, now);
            }
        }
    }

    /// A transfer has ended: what changed since it began follows.
    fn follow_up(&mut self, link: LinkId, id: HubId, done: &Transfer, now: Mono) {
        let Some((epoch, version, set)) = self.interest_to_tell(id) else { return };
        if epoch == done.epoch && version > done.to {
            let set = set.snapshot();
            let steps = difference(&done.set, &set).into();
            self.start_transfer(link, id, Transfer::changes(epoch, done.to, version, steps, set), now);
        }
    }
}

// A frame of a transfer is far below the largest control frame.
const _: () = assert!(CHUNK_BYTES * 2 < weft_wire::frame::MAX_CONTROL_FRAME);
