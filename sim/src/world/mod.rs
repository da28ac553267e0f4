//! The run: virtual time, what happens in it, and the end of it.

mod receipts;
mod rest;
mod sessions;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use weft_base::{Epoch, HubId, Lane, Mono, Random};
use weft_mesh::{DropReason, Event, GroupKey, HubInfo, LinkId};
use weft_topic::{Filter, Topic};
use weft_wire::frame::{FlowKind, Frame, Peek, peek};

use crate::checks::{Check, Checkers, SETTLING, Tally, Violation};
use crate::groups::Member;
use crate::hub::{Block, Effect, Log, Message, Produced, SimHub};
use crate::network::{Session, SimLink};
use crate::plan::{LANES, What};
use crate::producers::SimProducer;
use crate::{Canary, Plan};

/// After the last fault, time for round trips to be told and sets to be repaired.
const REST: Duration = Duration::from_secs(12);
/// Time for the last blocks, and for what is sent again.
const DRAIN: Duration = Duration::from_secs(6);

/// Something that is due.
#[derive(Debug)]
enum Due {
    Step(usize),
    Arrive { session: usize, to: usize, cuts: u64, message: Message },
    Up { session: usize, end: usize },
    Down { session: usize, end: usize },
    Dial { link: usize },
    Tick { hub: usize, epoch: Epoch },
    Sync { hub: usize, epoch: Epoch },
    LookBack,
    LastSubscriptions,
    LastPublishes,
}

/// A place for a hub, whether it runs or not.
struct Slot {
    name: String,
    life: u32,
    running: Option<SimHub>,
    log: Log,
    ticks_at: Option<Mono>,
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
    clients: BTreeMap<usize, (usize, Filter, Mono)>,
    /// Members of groups, with their hubs.
    members: BTreeMap<usize, (usize, Member)>,
    producers: Vec<SimProducer>,
    checks: Checkers,
    index_of: BTreeMap<HubId, usize>,
}

type Checked = Result<(), Violation>;

impl<'p> World<'p> {
    pub(crate) fn new(plan: &'p Plan, canary: Option<Canary>) -> Self {
        let name = |hub: usize| match canary {
            Some(Canary::TwoOfOneName) if hub == 1 => "hub-0".to_owned(),
            _ => format!("hub-{hub}"),
        };
        let id_of = |hub: usize| HubId::of_name(&format!("hub-{hub}"));
        let slot = |hub| Slot { name: name(hub), life: 0, running: None, log: Log::default(), ticks_at: None };
        let mut world = Self {
            plan,
            canary,
            random: Random::from_seed(plan.seed ^ 0x5eed),
            now: Mono(0),
            queue: BTreeMap::new(),
            turn: 0,
            slots: (0..plan.hubs).map(slot).collect(),
            links: plan.links.iter().map(SimLink::new).collect(),
            sessions: Vec::new(),
            clients: BTreeMap::new(),
            members: BTreeMap::new(),
            producers: plan.producers.iter().map(|planned| SimProducer::new(planned, id_of)).collect(),
            checks: Checkers::default(),
            index_of: (0..plan.hubs).map(|hub| (id_of(hub), hub)).collect(),
        };
        for (number, (at, _)) in plan.steps.iter().enumerate() {
            world.at(*at, Due::Step(number));
        }
        for link in 0..plan.links.len() {
            world.at(Mono(1), Due::Dial { link });
        }
        world.at(plan.healed + REST, Due::LastSubscriptions);
        world.at(plan.healed + REST + SETTLING, Due::LastPublishes);
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
    pub(crate) fn run(mut self) -> Result<Tally, Violation> {
        let end = self.plan.healed + REST + SETTLING + DRAIN;
        while let Some(((at, _), due)) = self.queue.pop_first() {
            if at > end {
                break;
            }
            self.now = at;
            let checked = self.happen(due);
            self.judge(checked)?;
        }
        self.now = end;
        self.check_at_rest()?;
        self.checks.tally.virtual_ms = end.0 / 1_000_000;
        Ok(self.checks.tally)
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
        match due {
            Due::Step(number) => match self.plan.steps.get(number) {
                Some((_, what)) => self.step(&what.clone()),
                None => Ok(()),
            },
            Due::Arrive { session, to, cuts, message } => self.arrive(session, to, cuts, message),
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
                // Producers try again what their hub did not know a way for.
                (0..self.producers.len()).try_for_each(|number| self.publish_stored(number))
            }
            Due::LastSubscriptions => {
                let first = self.clients.keys().next_back().map_or(0, |last| last + 1_000);
                (0..self.plan.hubs).try_for_each(|hub| self.subscribe(first + hub, hub, "**"))
            }
            Due::LastPublishes => {
                for hub in 0..self.plan.hubs {
                    for lane in LANES {
                        self.publish(hub, "last", lane, 1)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn step(&mut self, what: &What) -> Checked {
        match what {
            What::Publish { hub, topic, lane, events } => self.publish(*hub, topic, *lane, *events),
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
                let member = Member { client: *client, group, filter, weight: *weight };
                self.checks.group_changes(GroupKey::of_name(group), self.now);
                self.members.insert(*client, (*hub, member.clone()));
                self.tell(*hub, |h, now, out| h.member(true, &member, now, out))
            }
            What::Leave { client } => {
                let Some((hub, member)) = self.members.remove(client) else { return Ok(()) };
                self.checks.group_changes(GroupKey::of_name(member.group), self.now);
                self.tell(hub, |h, now, out| h.member(false, &member, now, out))
            }
            What::Cut { link, noticed } => {
                self.fault();
                self.links[*link].cut(0);
                self.links[*link].cut(1);
                let open: Vec<usize> =
                    (0..self.sessions.len()).filter(|s| *noticed && self.sessions[*s].link == *link).collect();
                open.into_iter().try_for_each(|s| self.session_down(s, 0).and_then(|()| self.session_down(s, 1)))
            }
            What::CutOneWay { link, from } => {
                self.fault();
                self.links[*link].cut(*from);
                Ok(())
            }
            What::Mend { link } => {
                self.checks.disturb(self.now);
                self.links[*link].mend();
                Ok(())
            }
            What::Delay { link, delay } => {
                self.fault();
                self.links[*link].set_delay(*delay);
                Ok(())
            }
            What::Crash { hub } => self.crash(*hub),
            What::Start { hub } => self.start(*hub),
        }
    }

    fn fault(&mut self) {
        self.checks.disturb(self.now);
        self.checks.tally.faults += 1;
    }

    fn crash(&mut self, hub: usize) -> Checked {
        let Some(mut ended) = self.slots[hub].running.take() else { return Ok(()) };
        self.fault();
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
    fn note_counts(&mut self, hub: &SimHub) {
        for reason in [DropReason::NoPath, DropReason::Duplicate, DropReason::Late, DropReason::Loop, DropReason::Ttl] {
            self.checks.tally.dropped += hub.ledger.dropped_for(reason);
        }
        self.checks.tally.repairs += hub.mesh.counters().sets_wanted;
        self.checks.forwarded_by_hubs += hub.ledger.forwarded;
        self.checks.received_by_hubs += hub.ledger.received;
    }

    fn start(&mut self, hub: usize) -> Checked {
        if self.slots[hub].running.is_some() {
            return Ok(());
        }
        self.checks.disturb(self.now);
        let seed = self.random.next_u64();
        let streams: Vec<String> =
            self.plan.streams.iter().filter(|(home, _)| *home == hub).map(|(_, filter)| filter.clone()).collect();
        let slot = &mut self.slots[hub];
        slot.life += 1;
        slot.ticks_at = None;
        // Greater in each life, and never that of another hub.
        let epoch = Epoch(slot.life * 100 + hub as u32);
        let id = HubId::of_name(&slot.name);
        let info = HubInfo { id, name: slot.name.clone(), region: "sim".to_owned(), labels: Vec::new(), epoch };
        slot.running = Some(SimHub::new(info, &streams, std::mem::take(&mut slot.log), seed, self.canary));
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
            self.checks.group_changes(GroupKey::of_name(member.group), self.now);
            self.tell(hub, |h, now, out| h.member(true, &member, now, out))?;
        }
        for producer in self.producers.iter_mut().filter(|producer| producer.hub == hub) {
            producer.hub_restarted();
        }
        Ok(())
    }

    fn subscribe(&mut self, client: usize, hub: usize, filter: &str) -> Checked {
        let Ok(filter) = Filter::parse(filter) else { return Ok(()) };
        self.enter(client, hub, filter)
    }

    fn publish(&mut self, hub: usize, topic: &str, lane: Lane, events: u64) -> Checked {
        let mut block = None;
        self.tell(hub, |h, now, out| block = h.publish(topic, lane, events, None, now, out))?;
        if let (Some(block), Ok(parsed)) = (block, Topic::parse(topic)) {
            self.checks.tally.published += 1;
            self.check_receipts(hub, parsed)?;
            if self.checks.is_settled(self.now) {
                let near = self.connected(hub);
                let wants = |c: &(usize, Filter, Mono)| {
                    c.2 + SETTLING <= self.now && c.1.matches(parsed) && near.contains(&c.0)
                };
                let clients: Vec<usize> = self.clients.iter().filter(|(_, c)| wants(c)).map(|(id, _)| *id).collect();
                clients.into_iter().for_each(|client| self.checks.expect(client, block.id, self.now));
                let serve = self.members.values().filter(|(at, m)| near.contains(at) && m.filter.matches(parsed));
                let groups: BTreeSet<GroupKey> = serve.map(|(_, m)| GroupKey::of_name(m.group)).collect();
                groups.into_iter().for_each(|group| self.checks.expect_served(group, block.id, self.now));
            }
        }
        Ok(())
    }

    /// A producer hands its hub what it may.
    fn publish_stored(&mut self, number: usize) -> Checked {
        loop {
            let producer = &mut self.producers[number];
            let (topic, lane, hub) = (producer.topic.clone(), producer.lane, producer.hub);
            let (Some(running), Ok(parsed)) = (&self.slots[hub].running, Topic::parse(&topic)) else { return Ok(()) };
            let Some(sequence) = producer.next(&running.homes_of(parsed)) else { return Ok(()) };
            self.checks.tally.published += 1;
            let produced = Some(Produced { producer: number, sequence });
            self.tell(hub, |h, now, out| drop(h.publish(&topic, lane, 1, produced, now, out)))?;
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
            Effect::Delivered { client, block } => self.checks.delivers(client, &block, self.now),
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
            Effect::PathsChanged => {
                self.checks.disturb(self.now);
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
        if let Message::Forward { block, entries, .. } = &message {
            let again = entries.iter().all(|entry| entry.retransmit);
            self.checks.tally.retransmitted += u64::from(again);
            self.checks.crosses(session, from, block, again, self.now)?;
        }
        if let Message::Control(bytes) = &mut message {
            *bytes = self.without_lost_frames(bytes);
        }
        self.count_sent(&message);
        let is_lost = match (self.canary, &message) {
            (Some(Canary::LostEvent), Message::Forward { .. }) => self.random.chance(20),
            _ => false,
        };
        match self.links[link].send(from, self.now).filter(|_| !is_lost) {
            Some((at, cuts)) => self.at(at, Due::Arrive { session, to: 1 - from, cuts, message }),
            None => self.count_lost(&message),
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
            Message::Forward { block, entries, ttl } => {
                self.checks.received += live_copies(&block, entries.iter().map(|entry| entry.kind));
                self.tell(hub, |h, now, out| h.on_forward(id, &block, &entries, ttl, now, out))
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
        if let Message::Forward { block, entries, .. } = message {
            self.checks.sent += live_copies(block, entries.iter().map(|entry| entry.kind));
        }
    }

    fn count_lost(&mut self, message: &Message) {
        if let Message::Forward { block, entries, .. } = message
            && self.canary != Some(Canary::UncountedLoss)
        {
            self.checks.lost += live_copies(block, entries.iter().map(|entry| entry.kind));
        }
    }
}

fn live_copies(block: &Rc<Block>, kinds: impl Iterator<Item = FlowKind>) -> u64 {
    kinds.filter(|kind| kind.is_best_effort()).count() as u64 * block.events
}
