//! The run: virtual time, what happens in it, and the end of it.

mod crossing;
mod drains;
mod faults;
mod last;
mod receipts;
mod rest;
mod sessions;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weft_base::{Epoch, HubId, Lane, Mono, Random};
use weft_mesh::{Event, GroupKey, LinkId};
use weft_topic::{Filter, Topic};
use weft_wire::frame::{Frame, PathCopy, Peek, Want, peek, try_encode};

use self::crossing::{Crossing, Mark};
use crate::checks::{Check, Checkers, Violation};
use crate::failover::{Failover, Pending};
use crate::groups::Member;
use crate::hub::{Effect, Message, Named, Produced, Publish, SimHub};
use crate::log::Log;
use crate::network::{Sent, Session, SimLink};
use crate::plan::PlannedHub;
use crate::producers::SimProducer;
use crate::residency::residency_of;
use crate::{Canary, Outcome, Plan};

/// In a mesh where round trips go up and down: how long routes must have stood
/// for the last look, and how many times it is waited for half of that.
const QUIET: Duration = Duration::from_secs(2);
const MOST_WAITS: usize = 60;
/// Of a forwarded block, beside its events: header, stamp, and each entry.
const BLOCK_BYTES: u64 = 128;
const ENTRY_BYTES: u64 = 32;

/// The epoch of a hub's life: greater in each, and never that of another hub. A
/// life with an old state, of which it is the `old`th, has one between those of
/// earlier lives: two that are alike would give two blocks one name.
fn epoch_of(hub: usize, life: u32, old: Option<u32>) -> Epoch {
    Epoch(life * 1_000_000 + old.map_or(1_000_000, |old| 500_000 + old * 1000) + hub as u32)
}

fn is_old_epoch(epoch: Epoch) -> bool {
    epoch.0 % 1_000_000 >= 500_000
}

/// Something that is due.
#[derive(Debug)]
enum Due {
    Step(usize),
    Arrive { session: usize, to: usize, cuts: u64, message: Message },
    Marked { session: usize, to: usize, mark: Mark },
    Up { session: usize, end: usize },
    Down { session: usize, end: usize },
    Dial { link: usize },
    Tick { hub: usize, epoch: Epoch },
    Sync { hub: usize, epoch: Epoch },
    LookBack,
    LastSubscriptions,
    LastPublish(usize),
}

/// A place for a hub, whether it runs or not.
struct Slot {
    name: String,
    region: String,
    life: u32,
    /// Starts with an old state.
    old_starts: u32,
    running: Option<SimHub>,
    log: Log,
    ticks_at: Option<Mono>,
    /// What has come since the process was stopped; none while it is not.
    stopped: Option<Vec<Due>>,
    /// Since when it is about to stop, in this life.
    drains: Option<Mono>,
    /// Whether this life began with the state of an earlier one.
    is_old: bool,
    /// Whether any life did.
    was_old: bool,
    wall_off: i64,
    /// Bytes of control that it sent.
    control: u64,
}

pub(crate) struct World<'p> {
    plan: &'p Plan,
    canary: Option<Canary>,
    random: Random,
    now: Mono,
    queue: BTreeMap<(Mono, u64), Due>,
    turn: u64,
    slots: Vec<Slot>,
    links: Vec<SimLink>,
    sessions: Vec<Session>,
    /// What crossed each session, by the end that sends.
    crossings: BTreeMap<(usize, usize), Crossing>,
    clients: BTreeMap<usize, (usize, Filter, Mono)>,
    /// Members of groups, with their hubs.
    members: BTreeMap<usize, (usize, Member)>,
    producers: Vec<SimProducer>,
    checks: Checkers,
    index_of: BTreeMap<HubId, usize>,
    /// Cuts that no other fault has followed yet, and those that were survived.
    cut: Option<Pending>,
    failovers: Vec<Failover>,
    abandoned: u64,
    /// When ways were held against hubs that drain.
    looked_at: Mono,
}

type Checked = Result<(), Violation>;

impl<'p> World<'p> {
    pub(crate) fn new(plan: &'p Plan, canary: Option<Canary>) -> Self {
        let id_of = |hub: usize| HubId::of_name(&plan.hubs[hub].name);
        let slot = |(hub, planned): (usize, &PlannedHub)| Slot {
            name: match canary {
                Some(Canary::TwoOfOneName) if hub == 1 => plan.hubs[0].name.clone(),
                _ => planned.name.clone(),
            },
            region: planned.region.clone(),
            life: 0,
            old_starts: 0,
            running: None,
            log: Log::default(),
            ticks_at: None,
            stopped: None,
            drains: None,
            is_old: false,
            was_old: false,
            wall_off: 0,
            control: 0,
        };
        let mut world = Self {
            plan,
            canary,
            random: Random::from_seed(plan.seed ^ 0x5eed),
            now: Mono(0),
            queue: BTreeMap::new(),
            turn: 0,
            slots: plan.hubs.iter().enumerate().map(slot).collect(),
            links: plan.links.iter().map(SimLink::new).collect(),
            sessions: Vec::new(),
            crossings: BTreeMap::new(),
            clients: BTreeMap::new(),
            members: BTreeMap::new(),
            producers: plan.producers.iter().map(|planned| SimProducer::new(planned, id_of)).collect(),
            checks: Checkers::new(plan.settling(), plan.life()),
            index_of: (0..plan.hubs.len()).map(|hub| (id_of(hub), hub)).collect(),
            cut: None,
            failovers: Vec::new(),
            abandoned: 0,
            looked_at: Mono(0),
        };
        for (number, (at, _)) in plan.steps.iter().enumerate() {
            world.at(*at, Due::Step(number));
        }
        for link in 0..plan.links.len() {
            world.at(Mono(1), Due::Dial { link });
        }
        world.at(plan.healed + plan.rest(), Due::LastSubscriptions);
        world.at(plan.healed + plan.rest() + plan.settling(), Due::LastPublish(0));
        world.at(Mono(1), Due::LookBack);
        world
    }

    fn at(&mut self, at: Mono, due: Due) {
        self.turn += 1;
        self.queue.insert((at.max(self.now), self.turn), due);
    }

    fn after(&mut self, delay: Duration, due: Due) {
        self.at(self.now + delay, due);
    }

    fn soon(&mut self, least_ms: u64, spread_ms: u64) -> Duration {
        Duration::from_millis(least_ms + self.random.below(spread_ms))
    }

    /// Runs to the end.
    pub(crate) fn run(mut self) -> Result<Outcome, Violation> {
        self.run_until(self.plan.end() + last::span(self.plan))?;
        // Where round trips go up and down, routes may be on the move just now.
        for _ in 0..MOST_WAITS {
            if !self.plan.is_noisy() || self.checks.disturbed + QUIET <= self.now {
                break;
            }
            self.run_until(self.now + QUIET / 2)?;
        }
        self.check_at_rest()?;
        self.checks.tally.virtual_ms = self.now.0 / 1_000_000;
        self.checks.tally.control = self.slots.iter().map(|slot| slot.control).sum();
        Ok(Outcome {
            tally: self.checks.tally,
            latency: self.checks.latency,
            failovers: self.failovers,
            abandoned: self.abandoned,
            control: self.slots.iter().map(|slot| slot.control).collect(),
            rested: self.checks.links_changed.since(self.plan.healed),
        })
    }

    fn run_until(&mut self, end: Mono) -> Checked {
        while let Some(next) = self.queue.first_entry().filter(|next| next.key().0 <= end) {
            let ((at, _), due) = next.remove_entry();
            self.now = at;
            let checked = self.happen(due);
            self.judge(checked)?;
        }
        self.now = end;
        Ok(())
    }

    /// With a canary, only the checker counts that must catch it.
    fn judge(&self, checked: Checked) -> Checked {
        match (checked, self.canary) {
            (Err(violation), Some(canary)) if violation.check != canary.caught_by() => Ok(()),
            (checked, _) => checked,
        }
    }

    fn violation(&self, check: Check, detail: String) -> Violation {
        Violation { check, at: self.now, detail }
    }

    fn happen(&mut self, due: Due) -> Checked {
        let Some(due) = self.held_back(due) else { return Ok(()) };
        match due {
            Due::Step(number) => match self.plan.steps.get(number) {
                Some((_, what)) => self.step(&what.clone()),
                None => Ok(()),
            },
            Due::Arrive { session, to, cuts, message } => self.arrive(session, to, cuts, message),
            Due::Marked { session, to, mark } => self.compare(session, to, &mark),
            Due::Up { session, end } => self.session_up(session, end),
            Due::Down { session, end } => self.session_down(session, end),
            Due::Dial { link } => {
                self.dial(link);
                Ok(())
            }
            Due::Tick { hub, epoch } => {
                let slot = &mut self.slots[hub];
                if slot.ticks_at != Some(self.now) || slot.running.as_ref().is_none_or(|h| h.epoch != epoch) {
                    return Ok(());
                }
                slot.ticks_at = None;
                self.tell(hub, |h, now, out| h.on_event(Event::Tick, now, out))
            }
            Due::Sync { hub, epoch } => {
                if self.slots[hub].running.as_ref().is_none_or(|h| h.epoch != epoch) {
                    return Ok(());
                }
                let pause = self.soon(10, 60);
                self.after(pause, Due::Sync { hub, epoch });
                self.tell(hub, |h, now, out| h.sync(now, out))
            }
            Due::LookBack => {
                self.after(Duration::from_millis(50), Due::LookBack);
                self.checks.look_back(self.now)?;
                self.look_at_failover()?;
                self.look_at_drains()?;
                if self.canary == Some(Canary::Restless) && self.now > self.plan.healed && self.random.chance(100) {
                    self.break_a_session()?;
                }
                // Producers try again what their hub did not know a way for.
                (0..self.producers.len()).try_for_each(|number| self.publish_stored(number))
            }
            Due::LastSubscriptions => {
                let first = self.clients.keys().next_back().map_or(0, |last| last + 1_000);
                (0..self.plan.hubs.len()).try_for_each(|hub| self.subscribe(first + hub, hub, "**"))
            }
            Due::LastPublish(number) => self.publish_last(number),
        }
    }

    fn subscribe(&mut self, client: usize, hub: usize, filter: &str) -> Checked {
        let Ok(filter) = Filter::parse(filter) else { return Ok(()) };
        self.enter(client, hub, filter)
    }

    fn publish(&mut self, hub: usize, publish: Publish<'_>) -> Checked {
        let mut block = None;
        self.tell(hub, |h, now, out| block = h.publish(publish, now, out))?;
        if let (Some(block), Ok(parsed)) = (block, Topic::parse(publish.topic)) {
            self.checks.tally.published += 1;
            if !residency_of(publish.topic).is_bound() {
                self.check_receipts(hub, parsed)?;
            }
            if self.checks.is_settled(self.now) {
                let near = self.connected_within(hub, residency_of(publish.topic));
                let wants = |c: &(usize, Filter, Mono)| {
                    c.2 + self.plan.settling() <= self.now && c.1.matches(parsed) && near.contains(&c.0)
                };
                let clients: Vec<usize> = self.clients.iter().filter(|(_, c)| wants(c)).map(|(id, _)| *id).collect();
                clients.into_iter().for_each(|client| self.checks.expect(client, block.id, self.now));
                let serve = self.members.values().filter(|(at, m)| near.contains(at) && m.filter.matches(parsed));
                let groups: BTreeSet<GroupKey> = serve.map(|(_, m)| GroupKey::of_name(&m.group)).collect();
                groups.into_iter().for_each(|group| self.checks.expect_served(group, block.id, self.now));
            }
        }
        Ok(())
    }

    /// A producer hands its hub what it may.
    fn publish_stored(&mut self, number: usize) -> Checked {
        loop {
            let producer = &mut self.producers[number];
            let (lane, size, hub) = (producer.lane, producer.size, producer.hub);
            let Some(topic) = producer.next_topic().map(str::to_owned) else { return Ok(()) };
            let Slot { running: Some(running), stopped: None, .. } = &self.slots[hub] else { return Ok(()) };
            let Ok(parsed) = Topic::parse(&topic) else { return Ok(()) };
            let Some(sequence) = producer.next(&running.homes_of(parsed)) else { return Ok(()) };
            self.checks.tally.published += 1;
            let produced = Some(Produced { producer: number, sequence });
            let publish = Publish { topic: &topic, lane, events: 1, size, produced };
            self.tell(hub, |h, now, out| drop(h.publish(publish, now, out)))?;
        }
    }

    /// Calls a hub, if it runs, and does what it says.
    fn tell(&mut self, hub: usize, call: impl FnOnce(&mut SimHub, Mono, &mut Vec<Effect>)) -> Checked {
        let Some(running) = &mut self.slots[hub].running else { return Ok(()) };
        let mut effects = Vec::new();
        call(running, self.now, &mut effects);
        let (epoch, deadline) = (running.epoch, running.next_deadline());
        for effect in effects {
            let checked = self.take_effect(hub, effect);
            self.judge(checked)?;
        }
        let slot = &mut self.slots[hub];
        if let Some(at) = deadline.map(|at| at.max(self.now)).filter(|at| slot.ticks_at.is_none_or(|known| *at < known))
        {
            slot.ticks_at = Some(at);
            self.at(at, Due::Tick { hub, epoch });
        }
        Ok(())
    }

    fn take_effect(&mut self, hub: usize, effect: Effect) -> Checked {
        match effect {
            Effect::Send { link, message } => self.send(hub, link.0 as usize, message),
            Effect::Close { link, reason } => self.closed_by_hub(hub, link.0 as usize, &reason),
            Effect::Delivered { client, block } => {
                let is_slow = self.canary == Some(Canary::SlowDelivery);
                let at = self.now + Duration::from_secs(if is_slow { 60 } else { 0 });
                // With the state of an earlier life, what a hub publishes counts as older.
                self.checks.delivers(client, &block, at, is_old_epoch(block.id.epoch))
            }
            Effect::Shared { group, client, block } => self.checks.shares(group, client, &block, self.now),
            Effect::Sent { flow, events } => {
                self.checks.flow(flow).sent += events;
                Ok(())
            }
            Effect::Taken { flow, events, missed } => {
                self.checks.tally.missed += missed;
                let flow = self.checks.flow(flow);
                flow.taken += events;
                flow.missed += missed;
                Ok(())
            }
            Effect::Synced { home, produced } => self.check_synced(home, produced),
            Effect::PathsChanged { all } => {
                self.checks.paths_changed(self.now, !all || self.plan.is_noisy());
                Ok(())
            }
            Effect::Receipt { client, hubs } => {
                self.take_receipt(hub, client, &hubs);
                Ok(())
            }
        }
    }

    /// A home says that it has synced a block: it must have it, on its disk.
    fn check_synced(&mut self, home: HubId, produced: Produced) -> Checked {
        self.checks.synced += 1;
        self.producers[produced.producer].synced(home, produced.sequence);
        let Some(slot) = self.index_of.get(&home).map(|index| &self.slots[*index]) else { return Ok(()) };
        let log = slot.running.as_ref().map_or(&slot.log, |running| &running.log);
        if log.blocks.iter().take(log.synced).any(|stored| *stored == produced) {
            return Ok(());
        }
        Err(self.violation(Check::Acknowledged, format!("{produced:?} was said to be synced at {}", slot.name)))
    }

    fn send(&mut self, hub: usize, session: usize, mut message: Message) -> Checked {
        let Some((link, from)) = self.end_of(hub, session) else {
            // The decider has closed this link in the same turn.
            self.count_sent(&message);
            self.count_lost(&message);
            return Ok(());
        };
        if let Message::Forward { block, entries, named: None, .. } = &message {
            let again = entries.iter().all(|entry| entry.retransmit);
            self.checks.tally.retransmitted += u64::from(again);
            self.checks.crosses(session, from, block, again, self.now)?;
            let new = || entries.iter().filter(|entry| !entry.retransmit).map(|entry| entry.hub);
            if let Some(running) = &self.slots[hub].running {
                let main = running.ways(block.residency);
                let is_other = |to: &HubId| main.next_hop(*to).is_some_and(|link| link.0 as usize != session);
                self.checks.tally.spread += new().filter(is_other).count() as u64;
            }
            // On two paths the lane keeps to the main way, and the topic does not.
            if !self.on_two_paths(block.lane) {
                self.checks.goes((hub, session), block, new(), self.now)?;
            }
        }
        if let Message::Control(bytes) = &mut message {
            *bytes = self.without_lost_frames(bytes);
            self.slots[hub].control += bytes.len() as u64;
        }
        self.count_sent(&message);
        let is_lost = match (self.canary, &message) {
            (Some(Canary::LostEvent), Message::Forward { .. }) => self.random.chance(20),
            _ => false,
        };
        let (bytes, is_control) = match &message {
            Message::Control(bytes) => (bytes.len() as u64, true),
            Message::Forward { block, entries, .. } => {
                (block.events * block.size + BLOCK_BYTES + entries.len() as u64 * ENTRY_BYTES, false)
            }
        };
        let sent = self.links[link].send(from, self.now, bytes, is_control, &mut self.random);
        if let Message::Forward { block, .. } = &message
            && sent != Sent::Full
            && !is_lost
        {
            self.crosses(session, from, block, sent == Sent::Lost);
        }
        let crossed = match &message {
            Message::Forward { block, .. } => Some(block.lane),
            Message::Control(_) => None,
        };
        match sent {
            Sent::Arrives { at, cuts, is_late, is_again } if !is_lost => {
                if is_again && is_control {
                    self.checks.line_loses(at);
                }
                if is_late {
                    self.checks.excuse(at);
                }
                self.at(at, Due::Arrive { session, to: 1 - from, cuts, message });
                crossed.into_iter().for_each(|lane| self.mark(session, from, lane, at));
            }
            Sent::Arrives { .. } | Sent::Lost => self.count_lost(&message),
            Sent::Full => {
                self.checks.excuse(self.now);
                self.checks.tally.overflowed += 1;
                self.count_lost(&message);
            }
        }
        Ok(())
    }

    /// Which link a session of this hub is on, and at which end the hub is.
    fn end_of(&self, hub: usize, session: usize) -> Option<(usize, usize)> {
        let known = self.sessions.get(session)?;
        let ends = self.links[known.link].ends;
        let end = (0..2).find(|end| ends[*end] == hub)?;
        known.is_open[end].then_some((known.link, end))
    }

    /// Takes out of control frames what is lost on purpose.
    fn without_lost_frames(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut kept = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while let Ok(Peek::Frame { len }) = peek(rest, usize::MAX) {
            let (frame, later) = rest.split_at(len.min(rest.len()));
            rest = later;
            let is_quiet = self.canary == Some(Canary::LostDelta);
            let is_lost = match Frame::decode(frame) {
                Ok(Frame::Interest(steps)) if steps.from_version != 0 => {
                    self.random.chance(if is_quiet { 200 } else { self.plan.lost_deltas })
                }
                Ok(Frame::Digest(_) | Frame::DigestSum(_)) => is_quiet && self.now > Mono(2_500_000_000),
                _ => false,
            };
            if !is_lost {
                kept.extend_from_slice(frame);
            }
        }
        if self.canary == Some(Canary::Talkative) && !kept.is_empty() {
            // Requests for nothing.
            let idle = Frame::Want(Want { entries: Vec::new() });
            for _ in 0..400 {
                let _ = try_encode(&idle, &mut kept);
            }
        }
        kept
    }

    fn arrive(&mut self, session: usize, to: usize, cuts: u64, message: Message) -> Checked {
        let Session { link, is_open, .. } = self.sessions[session].clone();
        if !self.links[link].arrives(1 - to, cuts) || !is_open[to] {
            self.count_lost(&message);
            return Ok(());
        }
        self.checks.tally.messages += 1;
        let hub = self.links[link].ends[to];
        let id = LinkId(session as u64);
        match message {
            Message::Forward { .. } if self.canary == Some(Canary::LostCrossing) && self.random.chance(20) => Ok(()),
            Message::Forward { ref block, ref entries, ttl, ref named } => {
                self.has_crossed(session, to, block);
                self.checks.received += message.live_copies();
                let is_second = |named: &&Named| named.copy == PathCopy::Second && named.hubs.len() == 1;
                self.checks.tally.second += u64::from(named.as_ref().filter(is_second).is_some());
                if !self.plan.may_be_at(hub, block.residency) {
                    let detail = format!("{:?} of `{}` is at hub {hub}, which has no label", block.id, block.topic);
                    let violation = self.violation(Check::Residency, detail);
                    self.judge(Err(violation))?;
                }
                self.tell(hub, |h, now, out| match (named, entries.first()) {
                    (Some(named), Some(entry)) => h.on_along((block, entry), named, ttl, now, out),
                    _ => h.on_forward(id, block, entries, ttl, now, out),
                })
            }
            Message::Control(bytes) => {
                let mut rest = bytes.as_slice();
                while let Ok(Peek::Frame { len }) = peek(rest, usize::MAX) {
                    let (frame, later) = rest.split_at(len.min(rest.len()));
                    rest = later;
                    let Ok(frame) = Frame::decode(frame) else { break };
                    self.tell(hub, |h, now, out| h.on_event(Event::Frame { link: id, frame: &frame }, now, out))?;
                }
                if rest.is_empty() {
                    return Ok(());
                }
                Err(self.violation(Check::Identity, "a decider sent what is no frame".to_owned()))
            }
        }
    }

    fn count_sent(&mut self, message: &Message) {
        self.checks.sent += message.live_copies();
    }

    fn count_lost(&mut self, message: &Message) {
        if self.canary != Some(Canary::UncountedLoss) {
            self.checks.lost += message.live_copies();
        }
    }

    /// Whether hubs send what is published in this lane over two paths.
    fn on_two_paths(&self, lane: Lane) -> bool {
        lane == Lane::URGENT && self.with_two_paths()
    }

    fn with_two_paths(&self) -> bool {
        self.plan.two_paths || self.canary == Some(Canary::PathWindowOff)
    }
}
