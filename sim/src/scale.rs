//! Large meshes: what interest costs at a thousand hubs and a million filters.
//!
//! Only deciders and links with a delay; no events, no faults. Each hub has many
//! filters, most of which a few wide ones include, so that what it tells the
//! mesh is the few. Measured are the time until a new filter is live everywhere,
//! against the graph's one-way diameter, the time of a receipt, and the bytes of
//! control frames that each hub sends, at rest and while filters come and go.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::fmt;
use std::time::Duration;

use weft_base::{Epoch, HubId, Mono, Random};
use weft_mesh::{Command, Event, HubInfo, Limits, LinkId, LiveAt, Mesh, MeshOptions};
use weft_topic::{Filter, Topic};
use weft_wire::frame::{Frame, PROTOCOL_VERSION, Peek, peek};

use crate::hub::now;

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub struct ScaleOptions {
    /// Hubs, 3 at least.
    pub hubs: usize,
    /// Filters of all hubs together.
    pub filters: usize,
    /// Filters of each hub that include all others of it: what it tells.
    pub cover: usize,
    /// Links of each hub, about: a ring and random ones, 2 at least.
    pub neighbours: usize,
    /// Filters that come or go each second, anywhere.
    pub churn: u64,
    /// Virtual seconds at rest, and as many with churn.
    pub seconds: u64,
    /// Of the graph, its delays and the churn.
    pub seed: u64,
}

impl Default for ScaleOptions {
    fn default() -> Self {
        Self { hubs: 1000, filters: 1_000_000, cover: 8, neighbours: 4, churn: 1000, seconds: 5, seed: 1 }
    }
}

/// What was seen. Times are virtual.
#[derive(Clone, Debug)]
pub struct ScaleReport {
    /// What was simulated.
    pub options: ScaleOptions,
    /// Links.
    pub links: usize,
    /// The longest shortest way, one way.
    pub diameter: Duration,
    /// From nothing until every hub knew the interest of all.
    pub settled: Duration,
    /// Of new filters: until all hubs routed by them; the median and the longest.
    pub live: [Duration; 2],
    /// Until a receipt said so; likewise.
    pub receipt: [Duration; 2],
    /// Bytes of control frames that a hub sends each second at rest: the mean and the most.
    pub rest: [u64; 2],
    /// Likewise while filters come and go.
    pub churn: [u64; 2],
    /// Control frames that a round of a receipt added, in all hubs.
    pub frames_of_receipt: u64,
}

impl ScaleReport {
    /// The longest time until a filter was live, in diameters.
    #[must_use]
    pub fn diameters(&self) -> f64 {
        self.live[1].as_secs_f64() / self.diameter.as_secs_f64()
    }
}

impl fmt::Display for ScaleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let o = &self.options;
        writeln!(
            f,
            "{} hubs, {} links, {} filters, of which {} told by each hub",
            o.hubs, self.links, o.filters, o.cover
        )?;
        writeln!(f, "one-way diameter                    {:>10.1?}", self.diameter)?;
        writeln!(f, "all interest known everywhere after {:>10.1?}", self.settled)?;
        let [median, most] = self.live;
        writeln!(
            f,
            "a new filter live everywhere        {median:>10.1?} median, {most:.1?} at most: {:.2} diameters",
            self.diameters()
        )?;
        let [median, most] = self.receipt;
        writeln!(
            f,
            "its receipt                         {median:>10.1?} median, {most:.1?} at most, {} frames",
            self.frames_of_receipt
        )?;
        let kib = |bytes: u64| bytes as f64 / 1024.0;
        writeln!(
            f,
            "control at rest, each hub           {:>10.2} KiB/s mean, {:.2} KiB/s at most",
            kib(self.rest[0]),
            kib(self.rest[1])
        )?;
        write!(
            f,
            "control at {:>4} changes/s, each hub  {:>10.2} KiB/s mean, {:.2} KiB/s at most",
            o.churn,
            kib(self.churn[0]),
            kib(self.churn[1])
        )
    }
}

/// A hub's decider, and what was counted of it.
struct Node {
    mesh: Mesh,
    ticks_at: Option<Mono>,
    /// Bytes and frames of control sent.
    sent: u64,
    frames: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Arrive { link: usize, to: usize, bytes: Vec<u8> },
    Tick { hub: usize },
}

struct World {
    now: Mono,
    turn: u64,
    queue: BinaryHeap<Reverse<(Mono, u64, Due)>>,
    nodes: Vec<Node>,
    links: Vec<([usize; 2], Duration)>,
    commands: Vec<Command>,
    /// Hubs whose routes changed since this was looked at.
    changed: BTreeSet<usize>,
    receipts: Vec<(u64, bool, Mono)>,
}

/// Runs it.
#[must_use]
pub fn run(options: ScaleOptions) -> ScaleReport {
    let mut random = Random::from_seed(options.seed);
    let links = graph(&options, &mut random);
    let diameter = diameter(options.hubs, &links);
    let mut world = World::new(&options, links);
    world.start(&options);
    let settled = world.settle();
    world.pass(Duration::from_secs(2));
    let rest = world.measure(options.seconds, |_, _| {});
    let (mut live, mut receipt, mut frames) = (Vec::new(), Vec::new(), 0);
    for number in 0..PROBES {
        let hub = random.below(options.hubs as u64) as usize;
        let (seen, told, cost) = world.probe(hub, number);
        live.push(seen);
        receipt.push(told);
        frames += cost;
        world.pass(Duration::from_millis(100 + random.below(400)));
    }
    let mut churn = Churn::new(&options, random);
    let under_churn = world.measure(options.seconds, |world, until| churn.run(world, until));
    live.sort_unstable();
    receipt.sort_unstable();
    ScaleReport {
        options,
        links: world.links.len(),
        diameter,
        settled,
        live: median_and_most(&live),
        receipt: median_and_most(&receipt),
        rest,
        churn: under_churn,
        frames_of_receipt: frames / PROBES,
    }
}

/// New filters, one after the other.
const PROBES: u64 = 20;
/// Churn is made in steps of this.
const STEP: Duration = Duration::from_millis(1);

fn median_and_most(sorted: &[Duration]) -> [Duration; 2] {
    let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
    [at(sorted.len() / 2), at(sorted.len().saturating_sub(1))]
}

/// A ring, and random links until each hub has about so many; 1 to 20 ms each, one way.
fn graph(options: &ScaleOptions, random: &mut Random) -> Vec<([usize; 2], Duration)> {
    let hubs = options.hubs;
    let mut pairs: BTreeSet<[usize; 2]> =
        (0..hubs).map(|hub| [hub.min((hub + 1) % hubs), hub.max((hub + 1) % hubs)]).collect();
    let most = hubs * (hubs - 1) / 2;
    while pairs.len() < (hubs * options.neighbours / 2).min(most) {
        let (a, b) = (random.below(hubs as u64) as usize, random.below(hubs as u64) as usize);
        if a != b {
            pairs.insert([a.min(b), a.max(b)]);
        }
    }
    pairs.into_iter().map(|pair| (pair, Duration::from_micros(1_000 + random.below(19_000)))).collect()
}

fn diameter(hubs: usize, links: &[([usize; 2], Duration)]) -> Duration {
    let mut near: Vec<Vec<(usize, Duration)>> = vec![Vec::new(); hubs];
    for ([a, b], delay) in links {
        near[*a].push((*b, *delay));
        near[*b].push((*a, *delay));
    }
    let mut most = Duration::ZERO;
    for root in 0..hubs {
        let mut best = vec![Duration::MAX; hubs];
        let mut queue = BinaryHeap::from([Reverse((Duration::ZERO, root))]);
        while let Some(Reverse((way, hub))) = queue.pop() {
            if way >= best[hub] {
                continue;
            }
            best[hub] = way;
            most = most.max(way);
            queue.extend(near[hub].iter().map(|(next, delay)| Reverse((way + *delay, *next))));
        }
    }
    most
}

fn filter(text: &str) -> Filter {
    Filter::parse(text).unwrap_or_else(|_| Filter::everything())
}

impl World {
    fn new(options: &ScaleOptions, links: Vec<([usize; 2], Duration)>) -> Self {
        let limits = Limits { hubs: options.hubs, links: options.hubs, ..Limits::default() };
        let node = |hub: usize| {
            let name = format!("hub-{hub}");
            let info = HubInfo {
                id: HubId::of_name(&name),
                name,
                region: "sim".to_owned(),
                epoch: Epoch(1),
                labels: Vec::new(),
            };
            let mesh = Mesh::new(MeshOptions { limits, ..MeshOptions::default() }, info, options.seed ^ hub as u64);
            Node { mesh, ticks_at: None, sent: 0, frames: 0 }
        };
        Self {
            now: Mono(1),
            turn: 0,
            queue: BinaryHeap::new(),
            nodes: (0..options.hubs).map(node).collect(),
            links,
            commands: Vec::new(),
            changed: BTreeSet::new(),
            receipts: Vec::new(),
        }
    }

    /// Every hub has its filters, the wide ones first, and all links come up.
    fn start(&mut self, options: &ScaleOptions) {
        let each = (options.filters / options.hubs).max(1);
        let cover = options.cover.clamp(1, each);
        for hub in 0..options.hubs {
            for number in 0..each {
                let wide = number % cover;
                let text = if number < cover {
                    format!("site/{hub}/{wide}/**")
                } else {
                    format!("site/{hub}/{wide}/device/{number}")
                };
                self.tell(hub, Event::Interest { add: true, filter: filter(&text) });
            }
        }
        for link in 0..self.links.len() {
            let (ends, _) = self.links[link];
            for (hub, peer) in [(ends[0], ends[1]), (ends[1], ends[0])] {
                let other = self.nodes[peer].mesh.me().clone();
                let up = Event::LinkUp {
                    link: LinkId(link as u64),
                    hub: other.id,
                    epoch: other.epoch,
                    name: other.name,
                    region: other.region,
                    version: PROTOCOL_VERSION.max(2),
                    cost: 0,
                };
                self.tell(hub, up);
            }
        }
    }

    fn at(&mut self, at: Mono, due: Due) {
        self.turn += 1;
        self.queue.push(Reverse((at, self.turn, due)));
    }

    fn tell(&mut self, hub: usize, event: Event<'_>) {
        let mut commands = std::mem::take(&mut self.commands);
        let node = &mut self.nodes[hub];
        node.mesh.apply(event, now(self.now, 0), &mut commands);
        if commands.contains(&Command::RoutesChanged) {
            self.changed.insert(hub);
            node.mesh.apply(Event::RoutesPublished, now(self.now, 0), &mut commands);
        }
        let deadline = node.mesh.next_deadline().map(|at| at.max(self.now));
        if let Some(at) = deadline.filter(|at| node.ticks_at.is_none_or(|known| *at < known)) {
            node.ticks_at = Some(at);
            self.at(at, Due::Tick { hub });
        }
        for command in commands.drain(..) {
            match command {
                Command::Send { link, bytes } => self.send(hub, link.0 as usize, bytes),
                Command::Receipt { receipt, met, .. } => self.receipts.push((receipt, met, self.now)),
                _ => {}
            }
        }
        self.commands = commands;
    }

    fn send(&mut self, hub: usize, link: usize, bytes: Vec<u8>) {
        let (ends, delay) = self.links[link];
        let node = &mut self.nodes[hub];
        node.sent += bytes.len() as u64;
        node.frames += 1;
        let to = if ends[0] == hub { ends[1] } else { ends[0] };
        self.at(self.now + delay, Due::Arrive { link, to, bytes });
    }

    /// The next thing that happens, if it does so before this.
    fn step(&mut self, until: Mono) -> bool {
        if self.queue.peek().is_none_or(|Reverse((at, ..))| *at > until) {
            return false;
        }
        let Some(Reverse((at, _, due))) = self.queue.pop() else { return false };
        self.now = at;
        match due {
            Due::Tick { hub } => {
                // One that was overtaken by an earlier one has nothing to do.
                if self.nodes[hub].ticks_at.take_if(|due| *due <= at).is_some() {
                    self.tell(hub, Event::Tick);
                }
            }
            Due::Arrive { link, to, bytes } => {
                let mut rest = bytes.as_slice();
                while let Ok(Peek::Frame { len }) = peek(rest, usize::MAX) {
                    let (frame, later) = rest.split_at(len);
                    rest = later;
                    if let Ok(frame) = Frame::decode(frame) {
                        self.tell(to, Event::Frame { link: LinkId(link as u64), frame: &frame });
                    }
                }
            }
        }
        true
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
        self.now = until;
    }

    /// Until every hub knows the interest of all others.
    fn settle(&mut self) -> Duration {
        let start = self.now;
        let mut waiting: VecDeque<usize> = (0..self.nodes.len()).collect();
        let knows_all = |node: &Node| {
            let report = node.mesh.report();
            report.hubs.iter().filter(|hub| hub.reachable && hub.interest_version > 0).count()
        };
        while self.now.since(start) < Duration::from_secs(600) {
            while waiting.front().is_some_and(|hub| knows_all(&self.nodes[*hub]) == self.nodes.len()) {
                waiting.pop_front();
            }
            if waiting.is_empty() {
                break;
            }
            self.pass(Duration::from_millis(50));
        }
        self.now.since(start)
    }

    /// Bytes that each hub sends in a second while `load` runs: mean and most.
    fn measure(&mut self, seconds: u64, mut load: impl FnMut(&mut Self, Mono)) -> [u64; 2] {
        let before: Vec<u64> = self.nodes.iter().map(|node| node.sent).collect();
        let until = self.now + Duration::from_secs(seconds);
        load(self, until);
        self.pass(until.since(self.now));
        let sent = self.nodes.iter().zip(before).map(|(node, before)| (node.sent - before) / seconds.max(1));
        let sent: Vec<u64> = sent.collect();
        [sent.iter().sum::<u64>() / sent.len().max(1) as u64, sent.iter().copied().max().unwrap_or(0)]
    }

    /// A new filter at a hub: how long until all others route by it, until its
    /// receipt says so, and how many frames were sent meanwhile.
    fn probe(&mut self, hub: usize, number: u64) -> (Duration, Duration, u64) {
        let (start, text) = (self.now, format!("probe/{number}"));
        let frames = |world: &Self| world.nodes.iter().map(|node| node.frames).sum::<u64>();
        let before = frames(self);
        self.tell(hub, Event::Interest { add: true, filter: filter(&text) });
        let until = start + Duration::from_secs(60);
        self.tell(hub, Event::Receipt { receipt: number, at: LiveAt::All, until });
        let id = self.nodes[hub].mesh.me().id;
        let mut without: BTreeSet<usize> = (0..self.nodes.len()).filter(|other| *other != hub).collect();
        let mut live = None;
        self.changed.clear();
        while self.receipts.is_empty() && self.step(until) {
            for other in std::mem::take(&mut self.changed) {
                let Ok(topic) = Topic::parse(&text) else { continue };
                let mut is_live = false;
                self.nodes[other].mesh.routes().destinations(topic, |to, _, _| is_live |= to == id);
                if is_live {
                    without.remove(&other);
                }
            }
            if without.is_empty() {
                live.get_or_insert(self.now.since(start));
            }
        }
        let told = self.receipts.pop().filter(|(_, met, _)| *met).map_or(Duration::MAX, |(_, _, at)| at.since(start));
        assert!(
            told == Duration::MAX || without.is_empty(),
            "a receipt is wrong: {} hubs have not heard",
            without.len()
        );
        (live.unwrap_or(Duration::MAX), told, frames(self) - before)
    }
}

/// Filters that come and go, each for a second.
struct Churn {
    random: Random,
    hubs: u64,
    rate: u64,
    number: u64,
    present: VecDeque<(usize, Filter)>,
}

impl Churn {
    fn new(options: &ScaleOptions, random: Random) -> Self {
        Self { random, hubs: options.hubs as u64, rate: options.churn, number: 0, present: VecDeque::new() }
    }

    fn run(&mut self, world: &mut World, until: Mono) {
        let mut due = 0;
        while world.now < until {
            due += self.rate;
            while due >= 1000 {
                due -= 1000;
                self.change(world);
            }
            world.pass(STEP);
        }
    }

    /// One comes; or, once there are as many as come in a second, the oldest goes.
    fn change(&mut self, world: &mut World) {
        self.number += 1;
        if self.number.is_multiple_of(2) && self.present.len() as u64 >= self.rate / 4 {
            if let Some((hub, filter)) = self.present.pop_front() {
                world.tell(hub, Event::Interest { add: false, filter });
            }
            return;
        }
        let hub = self.random.below(self.hubs) as usize;
        let filter = filter(&format!("churn/{hub}/{}", self.number));
        world.tell(hub, Event::Interest { add: true, filter: filter.clone() });
        self.present.push_back((hub, filter));
    }
}
