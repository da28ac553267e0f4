//! The decider by itself: a few of them, wired together without delay, or one
//! alone whose neighbour is the test. Whole meshes under faults are in `sim`.

mod drain;
mod gates;
mod identity;
mod interest;
mod learning;
mod life;
mod links;
mod plan;
mod receipts;
mod records;
mod residency;
mod spread;
mod strange;
mod two_paths;

use std::collections::VecDeque;
use std::time::Duration;

use weft_base::{Lane, UnixNanos};
use weft_topic::{Filter, Topic};
use weft_wire::frame::{ErrorCode, FlowPlace, FrameError, GateState, Peek, Ping, Pong, Pressure, peek};

use super::*;
use crate::options::{Limits, Timers};
use crate::{Kind, StreamDef};

const SECOND: Duration = Duration::from_secs(1);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn now(at: Mono) -> Now {
    Now { mono: at, wall: UnixNanos(1) }
}

fn id(hub: u64) -> HubId {
    HubId(hub)
}

fn def(name: &str, role: u8) -> Arc<StreamDef> {
    Arc::new(StreamDef { name: name.into(), id: 7, role, unreachable: 0, consistency: 0 })
}

fn filter(text: &str) -> Filter {
    Filter::parse(text).expect("a filter")
}

fn info(hub: u64, epoch: u32) -> HubInfo {
    HubInfo {
        id: id(hub),
        name: format!("hub-{hub}"),
        region: "here".to_owned(),
        labels: Vec::new(),
        epoch: Epoch(epoch),
    }
}

/// The whole frames in `bytes`.
fn frames(mut bytes: &[u8]) -> Vec<Result<Frame<'_>, FrameError>> {
    let mut found = Vec::new();
    while let Ok(Peek::Frame { len }) = peek(bytes, usize::MAX) {
        let (frame, rest) = bytes.split_at(len);
        found.push(Frame::decode(frame));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "whole frames only");
    found
}

/// Deciders with wires between them.
struct Net {
    now: Mono,
    limits: Limits,
    timers: Timers,
    hubs: BTreeMap<u64, Mesh>,
    /// The hubs at the ends of each link that is up.
    wires: BTreeMap<LinkId, [u64; 2]>,
    /// Frames under way, and commands other than frames.
    queue: VecDeque<(u64, LinkId, Vec<u8>)>,
    said: Vec<(u64, Command)>,
    /// Which frames the wires lose.
    loses: fn(&Frame<'_>) -> bool,
    /// Hubs that do not go by their new routes yet.
    stuck: Vec<u64>,
    /// What the next links speak.
    version: u16,
    /// Links whose way to a hub swallows everything.
    swallows: BTreeSet<(u64, u64)>,
    /// How long the wires take: the clock moves so much with each delivery.
    delay: Duration,
}

impl Net {
    fn new() -> Self {
        Self::with(Limits::default(), Timers::default())
    }

    fn with(limits: Limits, timers: Timers) -> Self {
        Self {
            now: Mono(1_000_000_000),
            limits,
            timers,
            hubs: BTreeMap::new(),
            wires: BTreeMap::new(),
            queue: VecDeque::new(),
            said: Vec::new(),
            loses: |_| false,
            stuck: Vec::new(),
            version: 2,
            swallows: BTreeSet::new(),
            delay: Duration::from_micros(10),
        }
    }

    /// A line of hubs, 1 to `count`, with link `n` between `n` and `n + 1`.
    fn line(count: u64) -> Self {
        let mut net = Self::new();
        (1..=count).for_each(|hub| net.add(hub, 1));
        (1..count).for_each(|hub| net.link(hub, hub, hub + 1));
        net
    }

    fn add(&mut self, hub: u64, epoch: u32) {
        let options = MeshOptions { limits: self.limits, timers: self.timers, ..MeshOptions::default() };
        self.hubs.insert(hub, Mesh::new(options, info(hub, epoch), hub));
    }

    fn link(&mut self, link: u64, a: u64, b: u64) {
        self.wires.insert(LinkId(link), [a, b]);
        for (hub, peer) in [(a, b), (b, a)] {
            self.up(link, hub, peer);
        }
        self.run();
    }

    fn up(&mut self, link: u64, hub: u64, peer: u64) {
        let other = self.hubs[&peer].me().clone();
        let up = Event::LinkUp {
            link: LinkId(link),
            hub: other.id,
            epoch: other.epoch,
            name: other.name,
            region: other.region,
            version: self.version,
            cost: 0,
        };
        self.tell(hub, up);
    }

    fn cut(&mut self, link: u64) {
        let ends = self.wires.remove(&LinkId(link)).expect("a link");
        self.queue.retain(|(_, on, _)| *on != LinkId(link));
        ends.into_iter().for_each(|hub| self.tell(hub, Event::LinkDown { link: LinkId(link) }));
        self.run();
    }

    fn tell(&mut self, hub: u64, event: Event<'_>) {
        let mut out = Vec::new();
        let mesh = self.hubs.get_mut(&hub).expect("a hub");
        mesh.apply(event, now(self.now), &mut out);
        if out.contains(&Command::RoutesChanged) && !self.stuck.contains(&hub) {
            mesh.apply(Event::RoutesPublished, now(self.now), &mut out);
        }
        self.take(hub, out);
    }

    /// Does what a hub wants done.
    fn take(&mut self, hub: u64, out: Vec<Command>) {
        for command in out {
            match command {
                Command::Send { link, bytes } => {
                    let peer = self.wires.get(&link).and_then(|ends| ends.iter().find(|end| **end != hub));
                    self.queue.extend(peer.map(|peer| (*peer, link, bytes)));
                }
                other => self.said.push((hub, other)),
            }
        }
    }

    /// Delivers until nothing is under way.
    fn run(&mut self) {
        while let Some((hub, link, bytes)) = self.queue.pop_front() {
            if self.swallows.contains(&(link.0, hub)) {
                continue;
            }
            self.now = self.now + self.delay;
            for frame in frames(&bytes) {
                let frame = frame.expect("a frame of a decider");
                if self.hubs.contains_key(&hub) && !(self.loses)(&frame) {
                    self.tell(hub, Event::Frame { link, frame: &frame });
                }
            }
        }
    }

    /// Lets time pass, with all ticks in it.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let due = self.hubs.iter().filter_map(|(hub, mesh)| mesh.next_deadline().map(|at| (at, *hub))).min();
            let Some((at, hub)) = due.filter(|(at, _)| *at <= until) else { break };
            self.now = self.now.max(at);
            self.tell(hub, Event::Tick);
            self.run();
        }
        self.now = self.now.max(until);
    }

    fn want(&mut self, hub: u64, add: bool, text: &str) {
        self.tell(hub, Event::Interest { add, filter: filter(text) });
        self.run();
        self.pass(ms(10));
    }

    /// What `hub` knows that `of` wants.
    fn known(&self, hub: u64, of: u64) -> Vec<&str> {
        self.hubs[&hub].interest_of(id(of)).map(|(_, filter)| filter.as_str()).collect()
    }

    fn hops(&self, from: u64, to: u64) -> u8 {
        self.hubs[&from].routes().hops(id(to))
    }

    /// Whom `from` would send this topic to, and whether they are within reach.
    fn destinations(&self, from: u64, topic: &str) -> Vec<(u64, bool)> {
        let mut found = Vec::new();
        let topic = Topic::parse(topic).expect("a topic");
        self.hubs[&from].routes().destinations(topic, |hub, _, is_near| found.push((hub.0, is_near)));
        found.sort_unstable();
        found
    }

    fn closed(&self) -> Vec<(u64, &CloseReason)> {
        let reasons = self.said.iter().filter_map(|(hub, command)| match command {
            Command::CloseLink { reason, .. } => Some((*hub, reason)),
            _ => None,
        });
        reasons.collect()
    }

    fn said_by(&self, hub: u64) -> Vec<&Command> {
        self.said.iter().filter(|(by, _)| *by == hub).map(|(_, command)| command).collect()
    }
}
