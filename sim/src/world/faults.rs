//! The steps of a plan: what clients do, and what goes wrong.

use std::time::Duration;

use weft_base::{HubId, Way};
use weft_mesh::{DropReason, GroupKey, HubInfo, MeshOptions};
use weft_topic::Filter;

use super::{Check, Checked, Due, Failover, Member, Pending, Publish, World, epoch_of};
use crate::hub::SimHub;
use crate::plan::What;

impl World<'_> {
    pub(super) fn step(&mut self, what: &What) -> Checked {
        match what {
            What::Publish { hub, topic, lane, events, size } => {
                self.publish(*hub, Publish { topic, lane: *lane, events: *events, size: *size, produced: None })
            }
            What::PublishStored { producer } => {
                self.producers[*producer].produce();
                self.publish_stored(*producer)
            }
            What::Subscribe { client, hub, filter } => self.subscribe(*client, *hub, filter),
            What::Unsubscribe { client } => {
                let Some((hub, filter, _)) = self.clients.remove(client) else { return Ok(()) };
                self.checks.client_changed(*client);
                self.tell(hub, |h, now, out| h.subscribe(false, *client, &filter, now, out))
            }
            What::Join { client, hub, group, filter, weight } => {
                let Ok(filter) = Filter::parse(filter) else { return Ok(()) };
                let member = Member { client: *client, group: group.clone(), filter, weight: *weight };
                self.checks.group_changes(GroupKey::of_name(group), self.now);
                self.members.insert(*client, (*hub, member.clone()));
                self.tell(*hub, |h, now, out| h.member(true, &member, now, out))
            }
            What::Leave { client } => {
                let Some((hub, member)) = self.members.remove(client) else { return Ok(()) };
                self.checks.group_changes(GroupKey::of_name(&member.group), self.now);
                self.tell(hub, |h, now, out| h.member(false, &member, now, out))
            }
            What::Cut { link, noticed } => {
                let watched = self.watch_failover(*link, *noticed);
                self.fault();
                self.cut = watched;
                self.links[*link].cut(0);
                self.links[*link].cut(1);
                let open: Vec<usize> =
                    (0..self.sessions.len()).filter(|s| *noticed && self.sessions[*s].link == *link).collect();
                open.into_iter().try_for_each(|s| self.session_down(s, 0).and_then(|()| self.session_down(s, 1)))
            }
            What::CutOneWay { link, from } => {
                let watched = self.watch_failover(*link, false);
                self.fault();
                self.cut = watched;
                self.links[*link].cut(*from);
                Ok(())
            }
            What::Mend { link } => {
                self.checks.disturb(self.now);
                self.links[*link].mend();
                self.abandon_failover(*link);
                Ok(())
            }
            What::Delay { link, delay } => {
                self.fault();
                self.links[*link].change(|quality| quality.delay = *delay);
                Ok(())
            }
            What::Loss { link, ppm } => {
                self.fault();
                self.links[*link].change(|quality| quality.loss_ppm = *ppm);
                Ok(())
            }
            What::Bandwidth { link, bandwidth } => {
                self.fault();
                self.links[*link].change(|quality| quality.bandwidth = *bandwidth);
                Ok(())
            }
            What::Restore { link } => {
                self.checks.disturb(self.now);
                self.links[*link].restore();
                Ok(())
            }
            What::Crash { hub } => self.crash(*hub),
            What::Start { hub } if self.slots[*hub].is_old => {
                self.crash(*hub)?;
                self.start(*hub, false)
            }
            What::Start { hub } => self.start(*hub, false),
            What::OldState { hub } => {
                self.crash(*hub)?;
                self.start(*hub, true)
            }
            What::Stop { hub } => {
                if self.slots[*hub].running.is_some() && self.slots[*hub].stopped.is_none() {
                    self.fault();
                    self.slots[*hub].stopped = Some(Vec::new());
                }
                Ok(())
            }
            What::Continue { hub } => self.go_on(*hub),
            What::Drain { hub } => self.drain(*hub, true),
            What::Undrain { hub } => self.drain(*hub, false),
            What::ClockJump { hub, seconds } => {
                self.checks.tally.faults += 1;
                let slot = &mut self.slots[*hub];
                slot.wall_off = slot.wall_off.saturating_add(*seconds);
                if let Some(running) = &mut slot.running {
                    running.wall_off = slot.wall_off;
                }
                Ok(())
            }
        }
    }

    pub(super) fn fault(&mut self) {
        self.checks.disturb(self.now);
        self.abandoned += u64::from(self.cut.take().is_some());
        self.checks.tally.faults += 1;
    }

    fn crash(&mut self, hub: usize) -> Checked {
        self.slots[hub].is_old = false;
        let Some(mut ended) = self.slots[hub].running.take() else { return Ok(()) };
        self.slots[hub].drains = None;
        self.fault();
        // What waited for a stopped process finds nobody.
        let now = self.now;
        self.slots[hub].stopped.take().into_iter().flatten().for_each(|due| self.at(now, due));
        ended.ledger.in_flight = ended.held();
        ended.ledger.balance().map_err(|e| self.violation(Check::Ledger, format!("hub {hub} at its end: {e}")))?;
        self.note_counts(&ended);
        self.slots[hub].log = ended.log.after_a_crash();
        for session in 0..self.sessions.len() {
            let ends = self.links[self.sessions[session].link].ends;
            let Some(end) = ends.iter().position(|end| *end == hub) else { continue };
            if std::mem::take(&mut self.sessions[session].is_open[end]) {
                self.end_of_session(session, end);
            }
        }
        Ok(())
    }

    /// Adds up what a life has counted, at its end.
    pub(super) fn note_counts(&mut self, hub: &SimHub) {
        for reason in [DropReason::NoPath, DropReason::Duplicate, DropReason::Late, DropReason::Loop, DropReason::Ttl] {
            self.checks.tally.dropped += hub.ledger.dropped_for(reason);
        }
        self.checks.tally.repairs += hub.mesh.counters().sets_wanted;
        self.checks.forwarded_by_hubs += hub.ledger.forwarded;
        self.checks.received_by_hubs += hub.ledger.received;
    }

    /// `is_old`: with the state of an earlier life, so that its epoch is not above those.
    fn start(&mut self, hub: usize, is_old: bool) -> Checked {
        if self.slots[hub].running.is_some() {
            return Ok(());
        }
        self.checks.disturb(self.now);
        let seed = self.random.next_u64();
        let streams: Vec<String> =
            self.plan.streams.iter().filter(|(home, _)| *home == hub).map(|(_, filter)| filter.clone()).collect();
        let two_paths = self.with_two_paths();
        let slot = &mut self.slots[hub];
        slot.life += u32::from(!is_old);
        slot.old_starts += u32::from(is_old);
        slot.is_old = is_old;
        slot.was_old |= is_old;
        slot.ticks_at = None;
        let epoch = epoch_of(hub, slot.life, is_old.then_some(slot.old_starts));
        let id = HubId::of_name(&slot.name);
        let (name, region, labels) = (slot.name.clone(), slot.region.clone(), self.plan.hubs[hub].labels.clone());
        let info = HubInfo { id, name, region, labels, epoch };
        let (limits, timers) = (self.plan.limits, self.plan.timers);
        let options = MeshOptions { limits, timers, two_paths, ..MeshOptions::default() };
        let mut running = SimHub::new(info, options, &streams, std::mem::take(&mut slot.log), seed, self.canary);
        running.wall_off = slot.wall_off;
        slot.running = Some(running);
        self.after(Duration::from_millis(20), Due::Sync { hub, epoch });
        self.tell(hub, |h, now, out| h.announce_streams(now, out))?;
        let back: Vec<(usize, Filter)> =
            self.clients.iter().filter(|(_, c)| c.0 == hub).map(|(client, c)| (*client, c.1.clone())).collect();
        for (client, filter) in back {
            self.enter(client, hub, filter)?;
        }
        let back: Vec<Member> =
            self.members.values().filter(|(at, _)| *at == hub).map(|(_, member)| member.clone()).collect();
        for member in back {
            self.checks.group_changes(GroupKey::of_name(&member.group), self.now);
            self.tell(hub, |h, now, out| h.member(true, &member, now, out))?;
        }
        for producer in self.producers.iter_mut().filter(|producer| producer.hub == hub) {
            producer.hub_restarted();
        }
        Ok(())
    }

    /// What has come for a stopped process waits; answers what does not.
    pub(super) fn held_back(&mut self, due: Due) -> Option<Due> {
        let hub = match &due {
            Due::Arrive { session, to: end, .. }
            | Due::Marked { session, to: end, .. }
            | Due::Up { session, end }
            | Due::Down { session, end } => self.links[self.sessions[*session].link].ends[*end],
            Due::Tick { hub, .. } | Due::Sync { hub, .. } => *hub,
            Due::Step(number) => match &self.plan.steps.get(*number)?.1 {
                What::Publish { hub, .. } | What::Subscribe { hub, .. } | What::Join { hub, .. } => *hub,
                What::Drain { hub } | What::Undrain { hub } => *hub,
                What::Unsubscribe { client } => self.clients.get(client)?.0,
                What::Leave { client } => self.members.get(client)?.0,
                _ => return Some(due),
            },
            _ => return Some(due),
        };
        match &mut self.slots[hub].stopped {
            Some(held) => {
                held.push(due);
                None
            }
            None => Some(due),
        }
    }

    /// A stopped process goes on: all that has come meanwhile is there at once.
    fn go_on(&mut self, hub: usize) -> Checked {
        let Some(held) = self.slots[hub].stopped.take() else { return Ok(()) };
        self.checks.disturb(self.now);
        let now = self.now;
        for due in held {
            if !matches!(due, Due::Tick { .. }) {
                self.at(now, due);
            }
        }
        if let Some(epoch) = self.slots[hub].running.as_ref().map(|running| running.epoch) {
            self.slots[hub].ticks_at = Some(now);
            self.at(now, Due::Tick { hub, epoch });
        }
        Ok(())
    }

    /// A link is about to be cut: if the mesh is at rest and there is another
    /// path, traffic must flow again in time.
    fn watch_failover(&self, link: usize, noticed: bool) -> Option<Pending> {
        let [one, other] = self.links[link].ends;
        let has_other = self.links[link].works() && self.connected_without(one, Some(link)).contains(&other);
        (has_other && self.checks.is_settled(self.now)).then_some(Pending { link, since: self.now, noticed })
    }

    /// A link works again: what was waited for is no failover any more.
    fn abandon_failover(&mut self, link: usize) {
        self.abandoned += u64::from(self.cut.take_if(|pending| pending.link == link).is_some());
    }

    /// Whether traffic flows again since the last cut.
    pub(super) fn look_at_failover(&mut self) -> Checked {
        let Some(Pending { since, noticed, .. }) = self.cut else { return Ok(()) };
        let took = self.now.since(since);
        let timers = self.plan.timers;
        if self.all_ways_lead() {
            self.cut = None;
            self.failovers.push(Failover { noticed, took, interval: timers.ping });
            return Ok(());
        }
        let Some(intervals) = self.plan.expect.failover else { return Ok(()) };
        // Whom nobody tells finds out by silence first.
        let noticing = if noticed { Duration::ZERO } else { timers.silence };
        if took <= timers.ping * intervals + noticing {
            return Ok(());
        }
        self.cut = None;
        Err(self.violation(Check::Failover, format!("no traffic for {took:?} after a cut, and there is another path")))
    }

    /// Whether the next hops of all hubs lead to all that links that work lead to.
    fn all_ways_lead(&self) -> bool {
        let running: Vec<&SimHub> = self.slots.iter().filter_map(|slot| slot.running.as_ref()).collect();
        running.iter().all(|from| {
            let Some(index) = self.index_of.get(&from.id) else { return false };
            let near = self.connected(*index);
            running
                .iter()
                .filter(|to| to.id != from.id && self.index_of.get(&to.id).is_some_and(|index| near.contains(index)))
                .all(|to| (0..from.routes.ways()).all(|way| self.walk(&running, from, to.id, Way(way)).is_some()))
        })
    }

    /// For a canary: a session that nothing is wrong with ends.
    pub(super) fn break_a_session(&mut self) -> Checked {
        let open: Vec<usize> = (0..self.sessions.len()).filter(|s| self.sessions[*s].is_open == [true; 2]).collect();
        let Some(session) = self.random.pick(&open).copied() else { return Ok(()) };
        self.session_down(session, 0)?;
        self.session_down(session, 1)
    }
}
