//! Sessions come and go.

use std::collections::BTreeSet;

use weft_base::Residency;
use weft_mesh::{CloseReason, Event, LinkId};
use weft_wire::frame::PROTOCOL_VERSION;

use super::{Check, Checked, Due, Sent, Session, SimHub, World};

/// Bytes of what begins and ends a session.
const HELLO: u64 = 300;

impl World<'_> {
    /// The first end of a link tries to make a session.
    pub(super) fn dial(&mut self, link: usize) {
        let has_one = self.sessions.iter().any(|session| session.link == link && session.is_open[0]);
        if has_one {
            return;
        }
        let lives = self.links[link].ends.map(|hub| self.awake(hub).map(|running| running.epoch));
        let ([Some(dialling), Some(accepting)], true) = (lives, self.links[link].works()) else {
            let pause = self.soon(150, 250);
            self.after(pause, Due::Dial { link });
            return;
        };
        let session = self.sessions.len();
        self.sessions.push(Session { link, lives: [dialling, accepting], is_open: [true; 2] });
        self.at(self.now, Due::Up { session, end: 1 });
        // The answer takes its time; what follows it comes after it.
        match self.links[link].send(1, self.now, HELLO, true, &mut self.random) {
            Sent::Arrives { at, .. } => self.at(at, Due::Up { session, end: 0 }),
            Sent::Lost | Sent::Full => self.sessions[session].is_open[0] = false,
        }
    }

    pub(super) fn session_up(&mut self, session: usize, end: usize) -> Checked {
        let Session { link, lives, is_open } = self.sessions[session].clone();
        let ends = self.links[link].ends;
        let (hub, peer) = (ends[end], ends[1 - end]);
        let is_same_life = self.slots[hub].running.as_ref().is_some_and(|running| running.epoch == lives[end]);
        if !is_open[end] || !is_same_life {
            return Ok(());
        }
        self.checks.disturb(self.now);
        let name = self.slots[peer].name.clone();
        let up = Event::LinkUp {
            link: LinkId(session as u64),
            hub: weft_base::HubId::of_name(&name),
            epoch: lives[1 - end],
            name,
            region: self.slots[peer].region.clone(),
            version: ends.map(|hub| self.plan.hubs[hub].version).into_iter().min().unwrap_or(PROTOCOL_VERSION),
            cost: self.links[link].cost[end],
        };
        let price = Event::LinkPrice { link: LinkId(session as u64), price: self.links[link].price };
        self.tell(hub, |h, now, out| {
            h.on_event(up, now, out);
            if end == 0 {
                h.on_event(price, now, out);
            }
        })
    }

    /// An end learns that its session is over.
    pub(super) fn session_down(&mut self, session: usize, end: usize) -> Checked {
        let Some(Due::Down { session, end }) = self.held_back(Due::Down { session, end }) else { return Ok(()) };
        if !std::mem::take(&mut self.sessions[session].is_open[end]) {
            return Ok(());
        }
        self.end_of_session(session, end);
        let hub = self.links[self.sessions[session].link].ends[end];
        self.tell(hub, |h, now, out| h.on_event(Event::LinkDown { link: LinkId(session as u64) }, now, out))
    }

    /// One end has no session any more: the other is told, if that gets
    /// through, and the first end dials again.
    pub(super) fn end_of_session(&mut self, session: usize, end: usize) {
        self.checks.disturb(self.now);
        let link = self.sessions[session].link;
        let goodbye = self.links[link].send(end, self.now, HELLO, true, &mut self.random);
        if let Sent::Arrives { at, .. } = goodbye {
            self.at(at, Due::Down { session, end: 1 - end });
        }
        if end == 0 {
            let pause = self.soon(50, 300);
            self.after(pause, Due::Dial { link });
        }
    }

    /// The hubs to which working sessions lead from this one, itself among them.
    pub(super) fn connected(&self, hub: usize) -> BTreeSet<usize> {
        self.connected_by(hub, None, |_| true)
    }

    /// The same, over hubs alone at which events of this residency may be.
    pub(super) fn connected_within(&self, hub: usize, residency: Residency) -> BTreeSet<usize> {
        self.connected_by(hub, None, |hub| self.plan.may_be_at(hub, residency))
    }

    /// The same, if a link were cut.
    pub(super) fn connected_without(&self, hub: usize, link: Option<usize>) -> BTreeSet<usize> {
        self.connected_by(hub, link, |_| true)
    }

    fn connected_by(&self, hub: usize, link: Option<usize>, is_inside: impl Fn(usize) -> bool) -> BTreeSet<usize> {
        let mut near = BTreeSet::new();
        near.extend(self.awake(hub).map(|_| hub));
        let works = |s: &&Session| s.is_open == [true; 2] && Some(s.link) != link && self.links[s.link].works();
        let ends = self.sessions.iter().filter(works).map(|s| self.links[s.link].ends);
        let pairs: Vec<[usize; 2]> =
            ends.filter(|ends| ends.iter().all(|end| self.awake(*end).is_some() && is_inside(*end))).collect();
        loop {
            let next = pairs.iter().find_map(|[a, b]| match (near.contains(a), near.contains(b)) {
                (true, false) => Some(*b),
                (false, true) => Some(*a),
                _ => None,
            });
            match next {
                Some(hub) => near.insert(hub),
                None => return near,
            };
        }
    }

    /// A hub that runs and is not stopped.
    fn awake(&self, hub: usize) -> Option<&SimHub> {
        let slot = &self.slots[hub];
        slot.running.as_ref().filter(|_| slot.stopped.is_none())
    }

    /// A decider wants a session closed.
    pub(super) fn closed_by_hub(&mut self, hub: usize, session: usize, reason: &CloseReason) -> Checked {
        let [one, other] = self.sessions.get(session).map_or([hub; 2], |session| self.links[session.link].ends);
        let was_old = self.slots[one].was_old || self.slots[other].was_old;
        let may_close = match reason {
            CloseReason::Silent { .. } | CloseReason::Superseded => true,
            CloseReason::OldEpoch { .. } => was_old,
            _ => false,
        };
        if !may_close {
            return Err(self.violation(Check::Identity, format!("hub {hub} closes session {session}: {reason}")));
        }
        if let Some((_, end)) = self.end_of(hub, session) {
            self.sessions[session].is_open[end] = false;
            self.end_of_session(session, end);
        }
        Ok(())
    }
}
