//! Homes of one stream in one thread from one seed: their logs, disks and
//! network in memory, for simulations of [`Replica`](super::Replica).
//!
//! Messages are lost where a way is cut, and may be late or doubled; homes
//! crash and lose what was not synced; producers publish again elsewhere. The
//! checks compare each log with what entered. Each [`Breakage`] is a canary: a
//! world with it must be caught.

mod log;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use weft_base::{Epoch, HubId, Lane, Mono, Now, ProducerId, Random, UnixNanos};

use self::log::{Block, Log};
use super::{Command, Copies, Entries, Event, Message, Peer, Position, Replica, Seen, Settings, Sight};

/// What is wrong on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Breakage {
    /// Nothing.
    #[default]
    None,
    /// Homes say that they have on disk what is only in memory.
    SaysSyncedTooEarly,
    /// Homes do not look whether a copy is here under another name.
    NoLookForDuplicates,
    /// A log takes what follows copies that it refused.
    TakesBehindRefused,
    /// Homes look for duplicates by the last sequence alone.
    HighWaterMark,
}

/// An event: who published it, and its number there.
pub type Name = (u64, u64);

#[derive(Debug)]
struct Home {
    log: Log,
    seen: Seen,
    taken: Position,
    replica: Replica,
    epoch: u32,
    alive: bool,
    /// The producers' last numbers, for a canary.
    last: BTreeMap<u64, u64>,
    position: Position,
    /// What was told of the others' disks.
    held: BTreeMap<HubId, u64>,
    refusing: bool,
}

/// Copies on their way into a log.
#[derive(Debug)]
struct Work {
    at: u64,
    home: usize,
    epoch: u32,
    copies: Copies,
    entries: Vec<u8>,
}

#[derive(Debug)]
struct Flight {
    at: u64,
    from: usize,
    to: usize,
    epoch: u32,
    bytes: Vec<u8>,
}

/// The world.
#[derive(Debug)]
pub struct World {
    homes: Vec<Home>,
    edges: Vec<(usize, usize, bool)>,
    up: BTreeSet<(usize, usize)>,
    flights: VecDeque<Flight>,
    latest: BTreeMap<(usize, usize), u64>,
    works: VecDeque<Work>,
    now: u64,
    random: Random,
    breakage: Breakage,
    numbers: BTreeMap<u64, u64>,
    /// Events on the disk of the home where they entered.
    safe: BTreeSet<Name>,
    found: Vec<String>,
    /// Messages that were lost, and copies that were made.
    pub lost: u64,
}

fn hub(at: usize) -> HubId {
    HubId(at as u64 + 1)
}

fn tag(at: usize) -> u32 {
    at as u32 + 1
}

impl World {
    /// So many homes in a random connected graph.
    #[must_use]
    pub fn new(homes: usize, seed: u64, breakage: Breakage) -> Self {
        let mut random = Random::from_seed(seed);
        let mut edges: Vec<(usize, usize, bool)> =
            (1..homes).map(|at| (random.below(at as u64) as usize, at, true)).collect();
        for a in 0..homes {
            for b in a + 1..homes {
                if random.chance(400) && !edges.contains(&(a, b, true)) {
                    edges.push((a, b, true));
                }
            }
        }
        let mut world = Self {
            homes: Vec::new(),
            edges,
            up: BTreeSet::new(),
            flights: VecDeque::new(),
            latest: BTreeMap::new(),
            works: VecDeque::new(),
            now: 1_000_000_000,
            random,
            breakage,
            numbers: BTreeMap::new(),
            safe: BTreeSet::new(),
            found: Vec::new(),
            lost: 0,
        };
        for at in 0..homes {
            let home = world.start(at, homes, Log { synced: 1, ..Log::default() }, 1);
            world.homes.push(home);
        }
        world.notice();
        world
    }

    fn start(&mut self, at: usize, homes: usize, log: Log, epoch: u32) -> Home {
        let mut settings = Settings::new(7, "s", tag(at));
        let others = (0..homes).filter(|other| *other != at);
        settings.peers = others.map(|other| Peer { hub: hub(other), tag: tag(other), counts: true }).collect();
        // Small, so that every bound is met.
        (settings.window, settings.answer) = (400, 120);
        let position = log.position(log.next());
        let mut seen = Seen::new(64);
        let mut last = BTreeMap::new();
        for block in &log.blocks {
            seen.note(ProducerId(block.producer), Lane::DEFAULT, block.number, block.span);
            last.insert(block.producer, block.number + u64::from(block.span) - 1);
        }
        let replica = Replica::new(settings, position.clone(), log.next(), Epoch(epoch), self.random.next_u64());
        Home {
            taken: position.clone(),
            position,
            log,
            seen,
            replica,
            epoch,
            alive: true,
            last,
            held: BTreeMap::new(),
            refusing: false,
        }
    }

    fn time(&self) -> Now {
        Now { mono: Mono(self.now), wall: UnixNanos(self.now) }
    }

    /// How many homes there are.
    #[must_use]
    pub fn homes(&self) -> usize {
        self.homes.len()
    }

    /// A random number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    /// A producer publishes `span` new events at a home; answers the number of
    /// the first, unless the home is dead.
    pub fn publish(&mut self, at: usize, producer: u64, span: u32) -> Option<u64> {
        let number = *self.numbers.entry(producer).or_insert(1);
        self.publish_again(at, producer, number, span)?;
        self.numbers.insert(producer, number + u64::from(span));
        Some(number)
    }

    /// It publishes events that it published before, maybe elsewhere.
    pub fn publish_again(&mut self, at: usize, producer: u64, number: u64, span: u32) -> Option<()> {
        let home = self.homes.get_mut(at).filter(|home| home.alive)?;
        if home.seen.sight(ProducerId(producer), Lane::DEFAULT, number, span) == Sight::New {
            let sequence = home.log.position(u64::MAX).get(tag(at));
            home.log.push(Block { first: 0, home: tag(at), sequence, producer, number, span });
            home.seen.note(ProducerId(producer), Lane::DEFAULT, number, span);
            home.last.insert(producer, number + u64::from(span) - 1);
        }
        Some(())
    }

    /// A home's disk has all, or a part, of its log.
    pub fn sync(&mut self, at: usize) {
        let part = self.random.chance(300);
        let Some(home) = self.homes.get_mut(at).filter(|home| home.alive) else { return };
        let mut upto = home.log.next();
        if part && let Some(block) = home.log.blocks.iter().find(|block| block.next() > home.log.synced) {
            upto = block.next();
        }
        home.log.synced = upto;
        for block in home.log.blocks.iter().filter(|block| block.home == tag(at) && block.next() <= upto) {
            self.safe.extend(block.names());
        }
        self.tell_synced(at);
    }

    fn tell_synced(&mut self, at: usize) {
        let early = self.breakage == Breakage::SaysSyncedTooEarly;
        let Some(home) = self.homes.get(at) else { return };
        let local = if early { home.log.next() } else { home.log.synced };
        let position = home.log.position(local);
        self.apply(at, Event::Synced { local, position: &position }, None);
    }

    /// A home dies; what was not synced is lost, in part.
    pub fn crash(&mut self, at: usize) {
        let Some(home) = self.homes.get_mut(at).filter(|home| home.alive) else { return };
        home.alive = false;
        let keep = self.random.below(4) > 0;
        home.log.blocks.retain(|block| block.next() <= home.log.synced || (keep && block.first == home.log.synced));
        self.notice();
    }

    /// A dead home comes back with what is on its disk.
    pub fn restart(&mut self, at: usize) {
        let Some(home) = self.homes.get_mut(at).filter(|home| !home.alive) else { return };
        let mut log = std::mem::take(&mut home.log);
        // What recovery found is synced before anything is said of it.
        log.synced = log.next();
        let epoch = home.epoch + 1;
        for block in log.blocks.iter().filter(|block| block.home == tag(at)) {
            self.safe.extend(block.names());
        }
        let fresh = self.start(at, self.homes.len(), log, epoch);
        if let Some(home) = self.homes.get_mut(at) {
            *home = fresh;
        }
        self.up.retain(|(a, b)| *a != at && *b != at);
        self.notice();
    }

    /// A home's log takes no copies, or does again.
    pub fn refuse(&mut self, at: usize, refusing: bool) {
        if let Some(home) = self.homes.get_mut(at) {
            home.refusing = refusing;
        }
    }

    /// What a home's disk holds cannot be read any more.
    pub fn damage(&mut self, at: usize) {
        let Some(home) = self.homes.get_mut(at) else { return };
        home.log.damaged = home.log.blocks.iter().map(|block| block.first).collect();
    }

    /// All ways of a home are cut, or there.
    pub fn isolate(&mut self, at: usize, cut: bool) {
        self.edges.iter_mut().filter(|(a, b, _)| *a == at || *b == at).for_each(|edge| edge.2 = !cut);
        self.notice();
    }

    /// A way between two homes is cut, or there again.
    pub fn turn_edge(&mut self) {
        let at = self.random.below(self.edges.len() as u64) as usize;
        if let Some(edge) = self.edges.get_mut(at) {
            edge.2 = !edge.2;
        }
        self.notice();
    }

    /// All ways are there, all homes run.
    pub fn heal(&mut self) {
        self.edges.iter_mut().for_each(|edge| edge.2 = true);
        for at in 0..self.homes.len() {
            self.refuse(at, false);
            self.restart(at);
        }
        self.notice();
    }

    /// Tells homes which others they can reach now.
    fn notice(&mut self) {
        let count = self.homes.len();
        let alive: Vec<bool> = self.homes.iter().map(|home| home.alive).collect();
        let mut group: Vec<usize> = (0..count).collect();
        for _ in 0..count {
            for (a, b, whole) in &self.edges {
                if *whole && alive[*a] && alive[*b] {
                    let least = group[*a].min(group[*b]);
                    (group[*a], group[*b]) = (least, least);
                }
            }
        }
        for a in 0..count {
            for b in (0..count).filter(|b| *b != a) {
                let (was, is) = (self.up.contains(&(a, b)), alive[a] && alive[b] && group[a] == group[b]);
                let epoch = self.homes.get(b).map_or(0, |home| home.epoch);
                if is && !was {
                    self.up.insert((a, b));
                    self.apply(a, Event::HubUp { hub: hub(b), epoch: Epoch(epoch) }, None);
                } else if was && !is {
                    self.up.remove(&(a, b));
                    if alive[a] {
                        self.apply(a, Event::HubDown { hub: hub(b) }, None);
                    }
                }
            }
        }
    }

    fn apply(&mut self, at: usize, event: Event<'_>, bytes: Option<&[u8]>) {
        let now = self.time();
        let mut out = Vec::new();
        if let Some(home) = self.homes.get_mut(at).filter(|home| home.alive) {
            home.replica.apply(event, now, &mut out);
        }
        self.perform(at, out, bytes);
        self.serve(at);
    }

    fn serve(&mut self, at: usize) {
        let now = self.time();
        // A bounded number of turns: as long as something is read.
        for _ in 0..10_000 {
            let mut out = Vec::new();
            let Some(home) = self.homes.get_mut(at).filter(|home| home.alive) else { return };
            let read = home.replica.serve(&mut home.log, now, &mut out);
            let quiet = out.is_empty();
            self.perform(at, out, None);
            if read == 0 && quiet {
                return;
            }
        }
        self.found.push(format!("home {at} serves without end"));
    }

    fn perform(&mut self, at: usize, commands: Vec<Command>, bytes: Option<&[u8]>) {
        for command in commands {
            match command {
                Command::Send { to, bytes } => self.send(at, to.0 as usize - 1, bytes),
                Command::HeldBy { hub, upto } => self.check_held(at, hub, upto),
                Command::Append(copies) => {
                    let late = self.now + self.random.below(60_000_000);
                    let before = self.works.iter().rev().find(|work| work.home == at).map_or(0, |work| work.at);
                    let epoch = self.homes.get(at).map_or(0, |home| home.epoch);
                    let entries = bytes.unwrap_or_default().to_vec();
                    self.works.push_back(Work { at: late.max(before), home: at, epoch, copies, entries });
                }
            }
        }
        let Some(home) = self.homes.get_mut(at) else { return };
        let position = home.replica.position().clone();
        if !position.covers(&home.position) {
            self.found.push(format!("home {at}'s position went back: {:?} to {position:?}", home.position));
        }
        home.position = position;
    }

    fn send(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        if !self.up.contains(&(from, to)) || self.random.chance(20) {
            self.lost += 1;
            return;
        }
        let late = self.now + 1_000_000 + self.random.below(20_000_000);
        // In order while a way is up.
        let latest = self.latest.entry((from, to)).or_insert(0);
        *latest = late.max(*latest);
        let flight = Flight { at: *latest, from, to, epoch: self.homes[from].epoch, bytes };
        if self.random.chance(20) {
            let again = Flight { at: late + self.random.below(50_000_000), bytes: flight.bytes.clone(), ..flight };
            self.flights.push_back(again);
        }
        self.flights.push_back(flight);
    }

    fn work(&mut self, work: &Work) {
        let Work { home: at, epoch, ref copies, ref entries, .. } = *work;
        if self.homes.get(at).is_none_or(|home| !home.alive || home.epoch != epoch) {
            return;
        }
        let (id, placed) = (copies.id, self.append(at, copies, entries));
        let log_next = self.homes.get(at).map_or(1, |home| home.log.next());
        self.apply(at, if placed { Event::Placed { id, log_next } } else { Event::Refused { id } }, None);
    }

    fn append(&mut self, at: usize, copies: &Copies, entries: &[u8]) -> bool {
        let breakage = self.breakage;
        let Some(home) = self.homes.get_mut(at) else { return false };
        home.taken.merge(&home.log.position(u64::MAX));
        let joins = home.taken.covers(&copies.from) || breakage == Breakage::TakesBehindRefused;
        if home.refusing || !joins {
            return false;
        }
        for copy in &copies.copies {
            let bytes = entries.get(copy.at..copy.at + copy.len).unwrap_or_default();
            let word = |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
            let (producer, number) = (word(0), word(8));
            let known = match breakage {
                Breakage::NoLookForDuplicates => false,
                Breakage::HighWaterMark => home.last.get(&producer).is_some_and(|last| number <= *last),
                _ => home.seen.sight(ProducerId(producer), Lane::DEFAULT, number, copy.span) == Sight::Here,
            };
            if !known {
                home.log.push(Block {
                    first: 0,
                    home: copy.home,
                    sequence: copy.sequence,
                    producer,
                    number,
                    span: copy.span,
                });
                home.seen.note(ProducerId(producer), Lane::DEFAULT, number, copy.span);
                let last = home.last.entry(producer).or_insert(0);
                *last = (*last).max(number + u64::from(copy.span) - 1);
            }
        }
        home.taken.merge(&copies.through);
        true
    }

    /// What is said to be on another home's disk is there, under its name or
    /// another; but what nobody has any more is nowhere.
    fn check_held(&mut self, at: usize, by: HubId, upto: u64) {
        let other = by.0 as usize - 1;
        let (Some(home), Some(holder)) = (self.homes.get(at), self.homes.get(other)) else { return };
        let there: BTreeSet<Name> = holder
            .log
            .blocks
            .iter()
            .filter(|block| block.next() <= holder.log.synced)
            .flat_map(|block| block.names().collect::<Vec<_>>())
            .collect();
        let owed = home.log.blocks.iter().filter(|b| {
            b.home == tag(at) && b.sequence + u64::from(b.span) <= upto && !home.log.damaged.contains(&b.first)
        });
        for name in owed.flat_map(Block::names) {
            if !there.contains(&name) {
                self.found.push(format!("home {at} was told that {other} holds {name:?}, which is not on its disk"));
            }
        }
        if let Some(home) = self.homes.get_mut(at) {
            home.held.insert(by, upto);
        }
    }

    /// Time passes: what is due arrives, deadlines fire.
    pub fn advance(&mut self, by: Duration) {
        let until = self.now + by.as_nanos() as u64;
        loop {
            let deadlines = self.homes.iter().enumerate().filter(|(_, home)| home.alive);
            let deadline = deadlines.filter_map(|(at, home)| Some((home.replica.next_deadline()?.0, at))).min();
            let flight = self.flights.iter().enumerate().map(|(n, flight)| (flight.at, n)).min();
            let work = self.works.iter().enumerate().map(|(n, work)| (work.at, n)).min();
            let Some(next) = [deadline, flight, work].into_iter().flatten().map(|(at, _)| at).min() else { break };
            if next > until {
                break;
            }
            self.now = self.now.max(next);
            match (work, flight) {
                (Some((at, n)), _) if at <= self.now => {
                    if let Some(work) = self.works.remove(n) {
                        self.work(&work);
                    }
                }
                (_, Some((at, n))) if at <= self.now => {
                    if let Some(flight) = self.flights.remove(n) {
                        self.arrive(&flight);
                    }
                }
                _ => {
                    // A deadline that does not move would hang the world.
                    self.now += 100_000;
                    if let Some((_, at)) = deadline {
                        self.apply(at, Event::Tick, None);
                    } else {
                        break;
                    }
                }
            }
        }
        self.now = until;
    }

    fn arrive(&mut self, flight: &Flight) {
        let Flight { from, to, epoch, ref bytes, .. } = *flight;
        if !self.up.contains(&(to, from)) || self.homes.get(from).is_none_or(|home| home.epoch != epoch) {
            self.lost += 1;
            return;
        }
        let Ok(message) = Message::decode(bytes) else {
            self.found.push("a message could not be decoded".to_owned());
            return;
        };
        let entries = match &message {
            Message::Blocks(blocks) => blocks.entries,
            _ => &[],
        };
        let entries = entries.to_vec();
        debug_assert!(Entries::new(&entries).all(|entry| entry.span > 0));
        self.apply(to, Event::Message { from: hub(from), message: &message }, Some(&entries));
    }

    /// What is wrong so far: nothing, if all is well.
    #[must_use]
    pub fn check(&mut self) -> Vec<String> {
        let mut found = std::mem::take(&mut self.found);
        let mut names: BTreeMap<(u32, u64), Name> = BTreeMap::new();
        for (at, home) in self.homes.iter().enumerate() {
            let mut next = Position::start();
            let mut events = BTreeSet::new();
            for block in &home.log.blocks {
                if block.sequence < next.get(block.home) {
                    found.push(format!("home {at} has {}:{} out of order", block.home, block.sequence));
                }
                next.raise(block.home, block.sequence + u64::from(block.span));
                for (n, name) in block.names().enumerate() {
                    if !events.insert(name) {
                        found.push(format!("home {at} has {name:?} twice"));
                    }
                    let synced = block.next() <= home.log.synced;
                    let other = names.get(&(block.home, block.sequence + n as u64));
                    if synced && other.is_some_and(|other| *other != name) {
                        found.push(format!(
                            "{}:{} is {name:?} at {at} and {other:?} elsewhere",
                            block.home, block.sequence
                        ));
                    }
                    if synced {
                        names.insert((block.home, block.sequence + n as u64), name);
                    }
                }
            }
        }
        found
    }

    /// Whether every home has every event that was safe somewhere, and no home
    /// has one that another has not; what is missing where.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let mut all: BTreeSet<Name> = self.safe.clone();
        let has =
            |home: &Home| home.log.blocks.iter().flat_map(|b| b.names().collect::<Vec<_>>()).collect::<BTreeSet<_>>();
        self.homes.iter().for_each(|home| all.extend(has(home)));
        let mut missing = Vec::new();
        for (at, home) in self.homes.iter().enumerate() {
            missing.extend(all.difference(&has(home)).map(|name| format!("home {at} lacks {name:?}")));
        }
        missing
    }

    /// How many homes beside itself a home knows to hold all that entered there.
    #[must_use]
    pub fn held_everywhere(&self, at: usize) -> bool {
        let Some(home) = self.homes.get(at) else { return false };
        let upto = home.log.position(u64::MAX).get(tag(at));
        upto == 1 || (home.held.len() + 1 == self.homes.len() && home.held.values().all(|held| *held == upto))
    }

    /// What a home's replica says of itself.
    #[must_use]
    pub fn report(&self, at: usize) -> Option<super::Report> {
        Some(self.homes.get(at)?.replica.report(self.time()))
    }

    /// Events in a home's log.
    #[must_use]
    pub fn events(&self, at: usize) -> u64 {
        self.homes.get(at).map_or(0, |home| home.log.next() - 1)
    }
}
