//! Councils in one thread on a network that tests rule, in virtual time.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weft_base::{HubId, Mono, Random};
use weft_consensus::disk::FaultDisk;
use weft_consensus::{Command, Council, Kept, Machine, OpenError, Options, Outcome, RestoreError};

/// A number for each key, changed by `key=number` and `key:old=new`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) values: BTreeMap<String, String>,
    pub(crate) applied: u64,
}

impl Machine for Keys {
    fn apply(&mut self, entry: &[u8], _: u64) -> Vec<u8> {
        self.applied += 1;
        let entry = String::from_utf8_lossy(entry);
        let Some((left, new)) = entry.split_once('=') else { return b"what?".to_vec() };
        match left.split_once(':') {
            Some((key, old)) if self.values.get(key).is_none_or(|value| value != old) => b"no".to_vec(),
            Some((key, _)) => self.put(key, new),
            None => self.put(left, new),
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        let lines: Vec<String> = self.values.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        format!("{}\n{}", self.applied, lines.concat()).into_bytes()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let text = std::str::from_utf8(snapshot).map_err(|error| RestoreError(error.to_string()))?;
        let mut lines = text.lines();
        let applied = lines.next().and_then(|line| line.parse().ok());
        self.applied = applied.ok_or_else(|| RestoreError("it has no count".to_owned()))?;
        self.values = lines.filter_map(|line| line.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect();
        Ok(())
    }
}

impl Keys {
    fn put(&mut self, key: &str, value: &str) -> Vec<u8> {
        self.values.insert(key.to_owned(), value.to_owned());
        b"yes".to_vec()
    }
}

pub(crate) struct Hub {
    pub(crate) name: String,
    pub(crate) options: Options,
    pub(crate) disk: FaultDisk,
    pub(crate) council: Option<Council<Keys>>,
    pub(crate) commands: Vec<Command>,
    pub(crate) wake: Option<Mono>,
}

/// The hubs, and messages between them.
pub(crate) struct Mesh {
    pub(crate) now: Mono,
    pub(crate) random: Random,
    pub(crate) hubs: Vec<Hub>,
    pub(crate) cuts: BTreeSet<(usize, usize)>,
    /// Of a thousand messages, so many are lost.
    pub(crate) loss: u64,
    pub(crate) delay: Duration,
    flying: BTreeMap<(Mono, u64), (usize, usize, Vec<u8>)>,
    posted: u64,
    requests: u64,
    pub(crate) longest: usize,
    pub(crate) sent: usize,
}

pub(crate) fn id(name: &str) -> HubId {
    HubId::of_name(name)
}

impl Mesh {
    /// Hubs of these names; the first so many vote.
    pub(crate) fn new(names: &[&str], voters: usize, seed: u64) -> Self {
        Self::with(names, voters, seed, |_| {})
    }

    pub(crate) fn with(names: &[&str], voters: usize, seed: u64, adjust: impl Fn(&mut Options)) -> Self {
        let hubs = names.iter().enumerate().map(|(number, name)| {
            let mut options = Options::of(name, number as u64 + 1, &names[..voters]);
            adjust(&mut options);
            let (disk, name) = (FaultDisk::new(), (*name).to_owned());
            Hub { name, options, disk, council: None, commands: Vec::new(), wake: Some(Mono(0)) }
        });
        let mut mesh = Self {
            now: Mono(1_000_000),
            random: Random::from_seed(seed),
            hubs: hubs.collect(),
            cuts: BTreeSet::new(),
            loss: 0,
            delay: Duration::from_millis(5),
            flying: BTreeMap::new(),
            posted: 0,
            requests: 0,
            longest: 0,
            sent: 0,
        };
        (0..names.len()).for_each(|hub| mesh.start(hub));
        mesh
    }

    pub(crate) fn start(&mut self, hub: usize) {
        self.try_start(hub).expect("opens");
    }

    pub(crate) fn try_start(&mut self, hub: usize) -> Result<(), OpenError> {
        let seed = self.random.next_u64();
        let it = &mut self.hubs[hub];
        let storage = Box::new(Kept::on(it.disk.open())?);
        let council = Council::open(it.options.clone(), storage, Keys::default(), self.now, Random::from_seed(seed))?;
        (it.council, it.wake) = (Some(council), Some(self.now));
        self.tell_hubs();
        Ok(())
    }

    /// The power of a hub fails.
    pub(crate) fn crash(&mut self, hub: usize) {
        self.hubs[hub].council = None;
        let mut random = Random::from_seed(self.random.next_u64());
        self.hubs[hub].disk.crash(&mut random);
        self.tell_hubs();
    }

    pub(crate) fn cut(&mut self, a: usize, b: usize) {
        self.cuts.extend([(a, b), (b, a)]);
        self.tell_hubs();
    }

    pub(crate) fn isolate(&mut self, hub: usize) {
        (0..self.hubs.len()).filter(|other| *other != hub).for_each(|other| self.cut(hub, other));
    }

    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
        self.tell_hubs();
    }

    fn tell_hubs(&mut self) {
        let there: Vec<(usize, HubId, String)> = (0..self.hubs.len())
            .filter(|hub| self.hubs[*hub].council.is_some())
            .map(|hub| (hub, id(&self.hubs[hub].name), self.hubs[hub].name.clone()))
            .collect();
        for (number, hub) in self.hubs.iter_mut().enumerate() {
            let reached = there.iter().filter(|(other, ..)| !self.cuts.contains(&(number, *other)));
            let reached: Vec<(HubId, String)> = reached.map(|(_, id, name)| (*id, name.clone())).collect();
            if let Some(council) = &mut hub.council {
                council.set_hubs(&reached);
                hub.wake = Some(self.now);
            }
        }
    }

    /// Runs for so long.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let flying = self.flying.keys().next().map(|(at, _)| *at);
            let next = self.hubs.iter().filter_map(|hub| hub.wake).chain(flying).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (from, to, bytes) = entry.remove();
                let sender = id(&self.hubs[from].name);
                if let (false, Some(council)) = (self.cuts.contains(&(from, to)), &mut self.hubs[to].council) {
                    council.on_message(sender, &bytes, self.now).expect("a message of our own");
                    self.hubs[to].wake = Some(self.now);
                }
            }
            for hub in 0..self.hubs.len() {
                if self.hubs[hub].wake.is_some_and(|wake| wake <= self.now) {
                    self.step(hub);
                }
            }
        }
    }

    fn step(&mut self, from: usize) {
        let mut commands = Vec::new();
        let Some(council) = &mut self.hubs[from].council else {
            self.hubs[from].wake = None;
            return;
        };
        let wake = council.step(self.now, &mut commands);
        self.hubs[from].wake = wake;
        for command in commands {
            let Command::Send { to, bytes } = command else {
                self.hubs[from].commands.push(command);
                continue;
            };
            let limit = self.hubs[from].options.limits.message.as_usize();
            assert!(bytes.len() <= limit, "{} bytes in a message of at most {limit}", bytes.len());
            self.sent += 1;
            self.longest = self.longest.max(bytes.len());
            let to = self.hubs.iter().position(|hub| id(&hub.name) == to).expect("a hub");
            if !self.random.chance(self.loss) {
                self.posted += 1;
                self.flying.insert((self.now + self.delay, self.posted), (from, to, bytes));
            }
        }
    }

    /// Runs until it is so, for a minute at most.
    pub(crate) fn until(&mut self, what: &str, mut is_so: impl FnMut(&Mesh) -> bool) {
        for _ in 0..1200 {
            if is_so(self) {
                return;
            }
            self.run(Duration::from_millis(50));
        }
        panic!("never came about: {what}");
    }

    pub(crate) fn leader(&self) -> Option<usize> {
        let led = |hub: &Hub| {
            hub.commands.iter().rev().find_map(|command| match command {
                Command::Leader { hub, .. } => Some(*hub),
                _ => None,
            })
        };
        let mut votes: BTreeMap<usize, usize> = BTreeMap::new();
        for hub in self.hubs.iter().filter(|hub| hub.council.is_some()) {
            let leader = led(hub).flatten()?;
            let number = self.hubs.iter().position(|hub| id(&hub.name) == leader)?;
            *votes.entry(number).or_default() += 1;
        }
        votes
            .into_iter()
            .find(|(number, count)| *count * 2 > self.hubs.len() && self.hubs[*number].council.is_some())
            .map(|(number, _)| number)
    }

    pub(crate) fn ask(&mut self, hub: usize, act: impl FnOnce(&mut Council<Keys>, u64, Mono)) -> u64 {
        self.requests += 1;
        let (request, now) = (self.requests, self.now);
        act(self.hubs[hub].council.as_mut().expect("runs"), request, now);
        self.hubs[hub].wake = Some(now);
        request
    }

    pub(crate) fn answer(&self, hub: usize, request: u64) -> Option<&Outcome> {
        self.hubs[hub].commands.iter().find_map(|command| match command {
            Command::Answered { request: answered, outcome } if *answered == request => Some(outcome),
            _ => None,
        })
    }

    pub(crate) fn finish(&mut self, hub: usize, request: u64) -> Outcome {
        self.until("an answer", |mesh| mesh.answer(hub, request).is_some());
        self.answer(hub, request).cloned().expect("answered")
    }

    pub(crate) fn propose(&mut self, hub: usize, entry: &str) -> Outcome {
        let request =
            self.ask(hub, |council, request, now| council.propose(request, entry.as_bytes(), now).expect("taken"));
        self.finish(hub, request)
    }

    pub(crate) fn read(&mut self, hub: usize, key: &str) -> Result<Option<String>, Outcome> {
        let request = self.ask(hub, |council, request, now| council.read(request, now).expect("taken"));
        match self.finish(hub, request) {
            Outcome::Read { .. } => Ok(self.keys(hub).values.get(key).cloned()),
            other => Err(other),
        }
    }

    pub(crate) fn set_voters(&mut self, hub: usize, voters: &[&str]) -> Outcome {
        let voters: Vec<HubId> = voters.iter().map(|name| id(name)).collect();
        let request = self.ask(hub, |council, request, now| council.set_voters(request, &voters, now).expect("taken"));
        self.finish(hub, request)
    }

    pub(crate) fn keys(&self, hub: usize) -> Keys {
        self.hubs[hub].council.as_ref().expect("runs").with_machine(|keys, _| keys.clone())
    }

    /// Voters and learners as this hub knows them.
    pub(crate) fn members(&self, hub: usize) -> (BTreeSet<HubId>, BTreeSet<HubId>) {
        let found = self.hubs[hub].commands.iter().rev().find_map(|command| match command {
            Command::Membership { voters, learners } => Some((voters.clone(), learners.clone())),
            _ => None,
        });
        found.unwrap_or_default()
    }
}

pub(crate) fn yes() -> Outcome {
    Outcome::Done(b"yes".to_vec())
}
