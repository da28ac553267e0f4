//! The run: what happens when, and what each hub, client and disk does then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weft_base::{HubId, Mono, Random};
use weft_consensus::disk::FaultDisk;
use weft_consensus::{Change, Command, Council, Kept, Member, Options, Outcome, Owner, Storage as _};

use super::canary::Odd;
use super::history::{MOST, Operation};
use super::judge::{Check, Judge, Tally, Verdict};
use super::machine::{Act, Values, entry};
use super::{Canary, Violation};

const MS: u64 = 1_000_000;
/// How long faults happen.
const FAULTS_MS: u64 = 20_000;
/// After all is mended, everything must be done by then.
const PATIENCE_MS: u64 = 90_000;
const KEYS: u64 = 3;

enum Event {
    Deliver {
        from: usize,
        to: usize,
        bytes: Vec<u8>,
    },
    /// A hub learns whom it reaches.
    Notice(usize),
    Start(usize),
    Client(usize),
    Fault,
}

struct Hub {
    name: String,
    options: Options,
    disk: FaultDisk,
    council: Option<Council<Values>>,
    wake: Option<u64>,
    /// Whether its disk was sound in its last step.
    is_sound: bool,
    member: Option<Member>,
}

/// What a client waits for.
struct Asked {
    client: usize,
    number: u64,
    key: u64,
    operation: Operation,
}

pub(super) struct World {
    random: Random,
    canary: Option<Canary>,
    now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    posted: u64,
    hubs: Vec<Hub>,
    cuts: BTreeSet<(usize, usize)>,
    /// When the last message of each link arrives.
    links: BTreeMap<(usize, usize), u64>,
    loss: u64,
    delay: u64,
    asked: BTreeMap<(usize, u64), Asked>,
    voters_asked: BTreeSet<(usize, u64)>,
    guesses: [u64; KEYS as usize],
    requests: u64,
    clients: usize,
    has_lost_disk: bool,
    is_mended: bool,
    judge: Judge,
}

impl World {
    pub(super) fn new(seed: u64, canary: Option<Canary>) -> Self {
        let mut random = Random::from_seed(seed);
        let count = 3 + random.below(5) as usize;
        let voting = if count >= 5 && random.chance(400) { 5 } else { 3 };
        let names: Vec<String> = (0..count).map(|hub| format!("hub-{hub}")).collect();
        let mut voters: Vec<&str> = names.iter().map(String::as_str).collect();
        random.shuffle(&mut voters);
        voters.truncate(voting);
        let small = random.chance(500);
        let hubs = names.iter().enumerate().map(|(number, name)| {
            let mut options = Options::of(name, number as u64 + 1, &voters);
            options.patience = Duration::from_secs(3);
            if small {
                options.limits.log_entries = 16;
                options.limits.message.0 = 1024;
            }
            let disk = FaultDisk::new();
            if canary == Some(Canary::BrokenSync) {
                disk.lie();
            }
            Hub { name: name.clone(), options, disk, council: None, wake: None, is_sound: true, member: None }
        });
        let mut world = Self {
            hubs: hubs.collect(),
            canary,
            now: MS,
            queue: BTreeMap::new(),
            posted: 0,
            cuts: BTreeSet::new(),
            links: BTreeMap::new(),
            loss: 0,
            delay: 1 + random.below(40),
            asked: BTreeMap::new(),
            voters_asked: BTreeSet::new(),
            guesses: [0; KEYS as usize],
            requests: 0,
            clients: 2 + random.below(3) as usize,
            has_lost_disk: false,
            is_mended: false,
            judge: Judge::default(),
            random,
        };
        world.judge.tally.runs = 1;
        world.judge.tally.hubs = count as u64;
        for hub in 0..count {
            let wait = if world.random.chance(300) { world.random.below(3000) } else { 0 };
            world.post(wait * MS, Event::Start(hub));
        }
        (0..world.clients).for_each(|client| world.post(2000 * MS, Event::Client(client)));
        world.post(3000 * MS, Event::Fault);
        world
    }

    fn post(&mut self, wait: u64, event: Event) {
        self.posted += 1;
        self.queue.insert((self.now + wait, self.posted), event);
    }

    fn below_ms(&mut self, most: u64) -> u64 {
        self.random.below(most + 1) * MS
    }

    pub(super) fn run(mut self) -> Result<Tally, Violation> {
        match self.go() {
            Ok(()) => Ok(self.judge.tally),
            Err((check, what)) => Err(Violation { check, at_ms: self.now / MS, what }),
        }
    }

    fn go(&mut self) -> Verdict {
        self.until(FAULTS_MS * MS, |_| false)?;
        self.mend();
        let end = self.now + PATIENCE_MS * MS;
        // What was asked before ends by itself.
        self.until(self.now + 4000 * MS, |_| false)?;
        for hub in 0..self.hubs.len() {
            self.last_word(hub, end)?;
        }
        if !self.until(end, Self::is_at_rest)? {
            return Err((Check::CaughtUp, format!("not all hubs have the same state: {:?}", self.indexes())));
        }
        if let Some((hub, request)) = self.asked.keys().next() {
            return Err((Check::Stuck, format!("request {request} at hub {hub} has no end")));
        }
        let machine = self.hubs[0].council.as_ref().map(|council| council.with_machine(|values, _| values.clone()));
        self.judge.close(&machine.unwrap_or_default())
    }

    /// A write at a hub that must succeed, though not at the first time.
    fn last_word(&mut self, hub: usize, end: u64) -> Verdict {
        while self.now < end {
            let before = self.judge.tally.done;
            let request = self.ask(usize::MAX, hub, hub as u64 % KEYS, Act::Write(self.requests + 1));
            let deadline = self.now + 5000 * MS;
            self.until(deadline, |world| request.is_some_and(|request| !world.asked.contains_key(&(hub, request))))?;
            if self.judge.tally.done > before {
                return Ok(());
            }
            self.until(self.now + 300 * MS, |_| false)?;
        }
        let check = if self.canary == Some(Canary::DeafHub) { Check::CaughtUp } else { Check::Stuck };
        Err((check, format!("nothing can be written at hub {hub} though all is mended")))
    }

    fn indexes(&self) -> Vec<Option<u64>> {
        let index = |hub: &Hub| hub.council.as_ref().and_then(|council| council.with_machine(|_, index| index));
        self.hubs.iter().map(index).collect()
    }

    fn is_at_rest(&self) -> bool {
        let indexes = self.indexes();
        indexes.iter().all(|index| index.is_some() && *index == indexes[0]) && self.voters_asked.is_empty()
    }

    /// Runs until then, or until it is so; whether it is.
    fn until(&mut self, end: u64, is_so: impl Fn(&Self) -> bool) -> Result<bool, (Check, String)> {
        loop {
            if is_so(self) {
                return Ok(true);
            }
            let event = self.queue.keys().next().map(|(at, _)| *at);
            let wake = self.hubs.iter().filter_map(|hub| hub.wake).min();
            let Some(next) = event.into_iter().chain(wake).min().filter(|next| *next <= end) else {
                self.now = self.now.max(end);
                return Ok(is_so(self));
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let event = entry.remove();
                self.happen(event)?;
            }
            for hub in 0..self.hubs.len() {
                if self.hubs[hub].wake.is_some_and(|wake| wake <= self.now) {
                    self.step(hub)?;
                }
            }
        }
    }

    fn happen(&mut self, event: Event) -> Verdict {
        match event {
            Event::Deliver { from, to, bytes } => {
                let sender = HubId::of_name(&self.hubs[from].name);
                let is_deaf = self.canary == Some(Canary::DeafHub) && self.is_mended && to == self.hubs.len() - 1;
                let (now, hub) = (self.now, &mut self.hubs[to]);
                if let (false, false, Some(council)) = (self.cuts.contains(&(from, to)), is_deaf, &mut hub.council) {
                    self.judge.tally.messages += 1;
                    if let Err(error) = council.on_message(sender, &bytes, Mono(now)) {
                        return Err((Check::Stuck, format!("a message of a hub is refused: {error}")));
                    }
                    hub.wake = Some(now);
                }
            }
            Event::Notice(hub) => self.notice(hub),
            Event::Start(hub) => return self.start(hub),
            Event::Client(client) => self.client(client),
            Event::Fault if !self.is_mended => return self.fault(),
            Event::Fault => {}
        }
        Ok(())
    }

    fn notice(&mut self, hub: usize) {
        let others = self.hubs.iter().enumerate();
        let there = others.filter(|(other, it)| it.council.is_some() && !self.cuts.contains(&(hub, *other)));
        let reached: Vec<(HubId, String)> = there.map(|(_, it)| (HubId::of_name(&it.name), it.name.clone())).collect();
        if let Some(council) = &mut self.hubs[hub].council {
            council.set_hubs(&reached);
            self.hubs[hub].wake = Some(self.now);
        }
    }

    /// All hubs notice after a while what has changed.
    fn changed(&mut self) {
        for hub in 0..self.hubs.len() {
            let wait = self.below_ms(800);
            self.post(wait, Event::Notice(hub));
        }
    }

    fn start(&mut self, hub: usize) -> Verdict {
        if self.hubs[hub].council.is_some() {
            return Ok(());
        }
        let random = Random::from_seed(self.random.next_u64());
        let (canary, now) = (self.canary, Mono(self.now));
        let it = &mut self.hubs[hub];
        let open = || {
            let storage = Odd { kept: Kept::on(it.disk.open())?, canary, held: BTreeMap::new() };
            let machine = Values { is_odd: canary == Some(Canary::OddMachine) && hub == 0, ..Values::default() };
            Council::open(it.options.clone(), Box::new(storage), machine, now, random)
        };
        let council = open().map_err(|error| (Check::Held, format!("hub {hub} does not open: {error}")))?;
        let (member, end) = (council.member(), council.log_end());
        it.member = Some(member);
        it.council = Some(council);
        let is_sound = std::mem::replace(&mut it.is_sound, true);
        it.wake = Some(self.now);
        self.judge.opened(hub, member, end, is_sound)?;
        self.changed();
        Ok(())
    }

    /// A hub ends without a word.
    fn stop(&mut self, hub: usize) {
        self.hubs[hub].council = None;
        self.hubs[hub].wake = None;
        let lost: Vec<(usize, u64)> = self.asked.keys().filter(|(at, _)| *at == hub).copied().collect();
        for key in lost {
            if let Some(asked) = self.asked.remove(&key) {
                self.unknown(asked);
            }
        }
        self.voters_asked.retain(|(at, _)| *at != hub);
        self.changed();
        let wait = self.below_ms(4000);
        self.post(wait, Event::Start(hub));
    }

    fn step(&mut self, hub: usize) -> Verdict {
        let mut commands = Vec::new();
        let Some(council) = &mut self.hubs[hub].council else {
            self.hubs[hub].wake = None;
            return Ok(());
        };
        let next = council.step(Mono(self.now), &mut commands);
        let (member, cluster, term, end) = (council.member(), council.cluster(), council.term(), council.log_end());
        self.hubs[hub].wake = next.map(|next| next.0);
        let has_stopped = commands.iter().any(|command| matches!(command, Command::Stopped { .. }));
        if has_stopped {
            self.hubs[hub].is_sound = false;
        } else {
            self.judge.stepped(hub, member, term, end)?;
        }
        if cluster != 0 && !has_stopped {
            self.judge.in_cluster(hub, cluster)?;
        }
        for command in commands {
            self.obey(hub, command)?;
        }
        if has_stopped {
            // Its operator sees to the disk and starts it again.
            self.power_cut(hub);
        }
        Ok(())
    }

    fn power_cut(&mut self, hub: usize) {
        let mut random = Random::from_seed(self.random.next_u64());
        self.hubs[hub].council = None;
        self.hubs[hub].disk.crash(&mut random);
        self.stop(hub);
    }

    fn obey(&mut self, hub: usize, command: Command) -> Verdict {
        match command {
            Command::Send { to, bytes } => {
                let Some(to) = self.hubs.iter().position(|it| HubId::of_name(&it.name) == to) else { return Ok(()) };
                if self.random.chance(self.loss) {
                    self.judge.tally.lost += 1;
                    return Ok(());
                }
                let delay = 1 + self.below_ms(self.delay);
                let last = self.links.entry((hub, to)).or_default();
                let at = (self.now + delay).max(*last + 1);
                *last = at;
                self.post(at - self.now, Event::Deliver { from: hub, to, bytes });
            }
            Command::Answered { request, outcome } => self.answered(hub, request, outcome),
            Command::Applied { .. } => {
                if let Some(council) = &self.hubs[hub].council {
                    let judge = &mut self.judge;
                    return council.with_machine(|values, index| judge.applied(hub, index.unwrap_or_default(), values));
                }
            }
            Command::Leader { hub: Some(_), .. } => self.judge.tally.elections += 1,
            Command::Leader { .. } | Command::Membership { .. } | Command::Trouble(_) | Command::Stopped { .. } => {}
        }
        Ok(())
    }

    fn answered(&mut self, hub: usize, request: u64, outcome: Outcome) {
        if self.voters_asked.remove(&(hub, request)) {
            self.judge.tally.voters += u64::from(outcome == Outcome::Voters);
            return;
        }
        if self.canary == Some(Canary::NoAnswers) && hub == 0 {
            return;
        }
        let Some(mut asked) = self.asked.remove(&(hub, request)) else { return };
        asked.operation.seen = match outcome {
            Outcome::Done(answer) => Some(answer.first().copied().unwrap_or_default().into()),
            Outcome::Read { .. } => self.value(hub, asked.key),
            Outcome::Unknown => {
                self.unknown(asked);
                return;
            }
            Outcome::NoLeader | Outcome::Refused(_) | Outcome::Voters => {
                self.judge.tally.no_leader += 1;
                self.again(asked.client);
                return;
            }
        };
        self.done(asked);
    }

    fn value(&self, hub: usize, key: u64) -> Option<u64> {
        let council = self.hubs[hub].council.as_ref()?;
        Some(council.with_machine(|values, _| values.values.get(&key).copied().unwrap_or_default()))
    }

    fn done(&mut self, mut asked: Asked) {
        asked.operation.ended = Some(self.now);
        self.judge.tally.done += 1;
        match asked.operation.act {
            Act::Read => {
                self.judge.tally.reads += 1;
                self.guesses[asked.key as usize] = asked.operation.seen.unwrap_or_default();
            }
            Act::Write(value) => self.guesses[asked.key as usize] = value,
            Act::Swap(..) => {}
        }
        if asked.operation.act != Act::Read {
            self.judge.acknowledged.push(asked.number);
        }
        self.judge.operations.entry(asked.key).or_default().push(asked.operation);
        self.again(asked.client);
    }

    /// Nobody knows what became of it.
    fn unknown(&mut self, asked: Asked) {
        self.judge.tally.unknown += 1;
        if asked.operation.act != Act::Read {
            self.judge.operations.entry(asked.key).or_default().push(asked.operation);
        }
        self.again(asked.client);
    }

    fn again(&mut self, client: usize) {
        if client < self.clients && !self.is_mended {
            let wait = self.below_ms(600);
            self.post(wait, Event::Client(client));
        }
    }

    fn client(&mut self, client: usize) {
        let (hub, key) = (self.random.below(self.hubs.len() as u64) as usize, self.random.below(KEYS));
        let act = match self.random.below(3) {
            0 => Act::Read,
            1 => Act::Write(self.requests + 1),
            _ => Act::Swap(self.guesses[key as usize], self.requests + 1),
        };
        let is_full = self.judge.operations.get(&key).is_some_and(|operations| operations.len() > MOST - 20);
        if !self.is_mended && !is_full && self.ask(client, hub, key, act).is_none() {
            self.again(client);
        }
    }

    /// Asks a hub, if it runs and takes it.
    fn ask(&mut self, client: usize, hub: usize, key: u64, act: Act) -> Option<u64> {
        self.requests += 1;
        let (number, now, canary) = (self.requests, Mono(self.now), self.canary);
        let operation = Operation { act, begun: self.now, ended: None, seen: None };
        let asked = Asked { client, number, key, operation };
        let it = &mut self.hubs[hub];
        let council = it.council.as_mut()?;
        let is_read = act == Act::Read;
        if canary == Some(Canary::StaleRead) && is_read {
            let seen = self.value(hub, key);
            self.done(Asked { operation: Operation { seen, ..asked.operation.clone() }, ..asked });
            return Some(number);
        }
        let bytes = entry(number, key, act);
        let taken = if is_read { council.read(number, now) } else { council.propose(number, &bytes, now) };
        taken.ok()?;
        if canary == Some(Canary::SentTwice) && !is_read {
            let _ = council.propose(number | 1 << 40, &bytes, now);
        }
        it.wake = Some(self.now);
        if canary == Some(Canary::EarlyAnswer) && matches!(act, Act::Write(_)) {
            self.done(Asked { operation: Operation { seen: Some(1), ..asked.operation.clone() }, ..asked });
            return Some(number);
        }
        self.asked.insert((hub, number), asked);
        Some(number)
    }

    fn fault(&mut self) -> Verdict {
        let wait = 300 * MS + self.below_ms(2500);
        self.post(wait, Event::Fault);
        let count = self.hubs.len() as u64;
        let hub = self.random.below(count) as usize;
        let other = (hub + 1 + self.random.below(count - 1) as usize) % self.hubs.len();
        let is_up = self.hubs[hub].council.is_some();
        match self.random.below(100) {
            0..25 if is_up => {
                self.judge.tally.crashes += 1;
                self.power_cut(hub);
            }
            25..29 => {
                // Everywhere at once.
                for hub in 0..self.hubs.len() {
                    if self.hubs[hub].council.is_some() {
                        self.judge.tally.crashes += 1;
                        self.power_cut(hub);
                    }
                }
            }
            29..37 if is_up => {
                self.judge.tally.kills += 1;
                self.hubs[hub].council = None;
                self.hubs[hub].disk.kill();
                self.stop(hub);
            }
            37..42 if is_up => {
                self.judge.tally.failed_disks += 1;
                let operations = self.random.below(60);
                self.hubs[hub].disk.fail_after(operations);
                self.hubs[hub].is_sound = false;
            }
            42..50 if is_up => return self.lose_disk(hub),
            50..62 => self.cut(&[(hub, other)]),
            62..72 => {
                let all: Vec<(usize, usize)> =
                    (0..self.hubs.len()).filter(|it| *it != hub).map(|it| (hub, it)).collect();
                self.cut(&all);
            }
            72..85 => {
                self.cuts.clear();
                self.changed();
            }
            85..92 => self.loss = self.random.below(120),
            92..100 if is_up => {
                let mut hubs: Vec<HubId> = self.hubs.iter().map(|it| HubId::of_name(&it.name)).collect();
                self.random.shuffle(&mut hubs);
                hubs.truncate(3);
                self.requests += 1;
                let (request, now) = (self.requests, self.now);
                if let Some(council) = &mut self.hubs[hub].council
                    && council.set_voters(request, &hubs, Mono(now)).is_ok()
                {
                    self.voters_asked.insert((hub, request));
                    self.hubs[hub].wake = Some(now);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn cut(&mut self, pairs: &[(usize, usize)]) {
        self.judge.tally.cuts += 1;
        self.cuts.extend(pairs.iter().flat_map(|&(a, b)| [(a, b), (b, a)]));
        self.changed();
    }

    /// A hub comes back with an empty disk: once, since a majority must keep its.
    fn lose_disk(&mut self, hub: usize) -> Verdict {
        if std::mem::replace(&mut self.has_lost_disk, true) {
            return Ok(());
        }
        self.judge.tally.lost_disks += 1;
        self.power_cut(hub);
        let it = &mut self.hubs[hub];
        it.disk = FaultDisk::new();
        if let (Some(Canary::SameMember), Some(member)) = (self.canary, it.member) {
            let owner = Owner { name: it.name.clone(), folder: it.options.folder, instance: member.instance };
            let saved = Kept::on(it.disk.open()).and_then(|mut kept| kept.save(&[Change::Owner(&owner)]));
            return saved.map_err(|error| (Check::Held, error.to_string()));
        }
        self.judge.forget(hub);
        Ok(())
    }

    fn mend(&mut self) {
        self.is_mended = true;
        self.cuts.clear();
        (self.loss, self.delay) = (0, self.delay.min(20));
        for hub in 0..self.hubs.len() {
            if self.hubs[hub].council.is_none() {
                self.post(0, Event::Start(hub));
            } else if !self.hubs[hub].is_sound {
                // Its disk is about to fail, or has: another one is in its place.
                self.power_cut(hub);
            }
        }
        self.changed();
    }
}
