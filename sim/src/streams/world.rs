//! The run: what happens when, and what each home and client does then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weft_base::{Mono, Now, Random, UnixNanos};
use weft_keyed::{Batch, Keyed as _, Space};
use weft_log::ReadError;
use weft_stream::consumer::{ConsumerSpec, Handout, Mode, Offered};
use weft_stream::replica::{Copies, Event};
use weft_stream::seat::{Preference, Told};
use weft_wire::block::Block;

use super::clients::{Client, Member, Producer, Reader, Session, Sessions};
use super::faults::{self, Fault};
use super::home::{Home, Record, hub, hub_name, names, places};
use super::judge::{Check, Judge, Keyed, Tally, Verdict};
use super::{Canary, Level, Name, Violation};

/// When runs begin, by the clock of the day.
const WALL: u64 = 1_800_000_000_000_000_000;
const MS: u64 = 1_000_000;
/// After all is mended, everything must be done by then.
const PATIENCE_MS: u64 = 60_000;

/// One event handed to a member.
pub(super) type Item = (u64, Name);

/// What happens at a point in time.
pub(super) enum Action {
    Fault(Fault),
    /// A home looks after its deadlines.
    Tick(usize),
    /// A home's sync begins; it ends after the disk's time.
    Sync {
        home: usize,
        epoch: u32,
    },
    /// A message between homes arrives.
    Between {
        from: usize,
        to: usize,
        epochs: (u32, u32),
        bytes: Vec<u8>,
    },
    /// A home appends copies.
    Copy {
        home: usize,
        epoch: u32,
        copies: Copies,
        entries: Vec<u8>,
    },
    Produce(usize),
    MemberTurn(usize),
    /// A reader asks, and is answered.
    Ask(usize),
    Answer {
        reader: usize,
        home: usize,
        owed: BTreeSet<Name>,
    },
    /// Along a session.
    Publish {
        session: u64,
        level: Level,
        bytes: Vec<u8>,
    },
    Acked {
        session: u64,
        names: Vec<Name>,
    },
    Join {
        session: u64,
    },
    Token {
        session: u64,
        token: u64,
    },
    Handed {
        session: u64,
        items: Vec<Item>,
    },
    Settle {
        session: u64,
        token: u64,
        verb: Said,
        items: Vec<Item>,
        credit: u64,
    },
    /// A home learns that it reaches another one now, or not any more.
    Sight {
        home: usize,
        epoch: u32,
        other: usize,
        up: bool,
    },
    /// A home learns whether another one, or it itself, is about to stop.
    Drains {
        home: usize,
        epoch: u32,
        other: usize,
    },
    /// A message about consumers arrives.
    Told {
        from: usize,
        to: usize,
        epochs: (u32, u32),
        told: Told<usize>,
    },
    /// An end of a session notices that it broke.
    HomeNotices {
        session: u64,
    },
    ClientNotices {
        session: u64,
    },
}

/// What a member says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Ack,
    Nack,
    Progress,
    Term,
}

pub(super) struct World {
    pub(super) random: Random,
    pub(super) canary: Option<Canary>,
    pub(super) now: u64,
    queue: BTreeMap<(u64, u64), Action>,
    posted: u64,
    pub(super) homes: Vec<Home>,
    pub(super) cuts: BTreeSet<(usize, usize)>,
    pub(super) up: BTreeSet<(usize, usize)>,
    pub(super) specs: Vec<(usize, ConsumerSpec)>,
    pub(super) producers: Vec<Producer>,
    pub(super) members: Vec<Member>,
    pub(super) readers: Vec<Reader>,
    pub(super) sessions: Sessions,
    pub(super) judge: Judge,
    /// Homes that are about to stop, and by when.
    pub(super) drains: BTreeMap<usize, u64>,
    pub(super) healed: bool,
    healed_at: u64,
    /// The last moment of messages between homes, and of copies into a log.
    pub(super) between: BTreeMap<(usize, usize), u64>,
    pub(super) copying: BTreeMap<usize, u64>,
    /// Which homes reach each other over others, in which lives of theirs; the
    /// last moments at which they learn that, and of messages about consumers.
    pub(super) reached: BTreeMap<(usize, usize), (u32, u32)>,
    pub(super) sights: BTreeMap<(usize, usize), u64>,
    pub(super) tellings: BTreeMap<(usize, usize), u64>,
}

impl World {
    pub(super) fn new(seed: u64, canary: Option<Canary>) -> Self {
        let mut random = Random::from_seed(seed);
        let homes = 1 + random.below(3) as usize;
        let sites = homes.max(2);
        let modes = [Mode::Shared, Mode::Keyed, Mode::Exclusive];
        let specs: Vec<_> = (0..1 + random.below(3) as usize)
            .map(|number| {
                let mut spec = ConsumerSpec::new(&format!("c{number}"));
                spec.mode = *random.pick(&modes).unwrap_or(&Mode::Shared);
                spec.ack_wait = Duration::from_millis(200 + random.below(800));
                spec.max_deliver = if random.chance(500) { 0 } else { 5 };
                (number, spec)
            })
            .collect();
        let faults = faults::plan(homes, sites, specs.len(), &mut random);
        let healed_at = faults.last().map_or(0, |(at, _)| *at);
        let mut producers: Vec<_> = (0..1 + random.below(3))
            .map(|n| Producer::new(n + 1, random.below(sites as u64) as usize, 20 + random.below(100)))
            .collect();
        random.shuffle(&mut producers);
        let member = |random: &mut Random, consumer| Member {
            consumer,
            site: random.below(sites as u64) as usize,
            session: None,
            token: 0,
            had: None,
        };
        let members = (0..specs.len()).flat_map(|consumer| {
            let count = 1 + random.below(3);
            (0..count).map(|_| member(&mut random, consumer)).collect::<Vec<_>>()
        });
        let members = members.collect();
        let readers = (0..2).map(|site| Reader { site, ..Reader::default() }).collect();
        let mut world = Self {
            judge: Judge::new(homes, specs.len()),
            random,
            canary,
            now: 0,
            queue: BTreeMap::new(),
            posted: 0,
            homes: (0..homes).map(Home::new).collect(),
            cuts: BTreeSet::new(),
            up: BTreeSet::new(),
            specs,
            producers,
            members,
            readers,
            sessions: Sessions::new(),
            drains: BTreeMap::new(),
            healed: false,
            healed_at: healed_at * MS,
            between: BTreeMap::new(),
            copying: BTreeMap::new(),
            reached: BTreeMap::new(),
            sights: BTreeMap::new(),
            tellings: BTreeMap::new(),
        };
        for number in 0..world.specs.len() {
            // Some have a home that they prefer, from the beginning.
            let preferred = (number > 0).then_some(number % homes);
            let first = (0..homes).min_by_key(|home| hub(*home)).unwrap_or_default();
            let preference = preferred.map(|home| Preference { number: 1, home: hub_name(home).to_owned() });
            let record = Record { generation: 1, floor: 1, preference: preference.unwrap_or_default() };
            if let Some(home) = world.homes.get_mut(preferred.unwrap_or(first)) {
                home.records.insert(number, record);
            }
        }
        world.judge.tally.runs = 1;
        world.judge.tally.homes = homes as u64;
        for home in 0..homes {
            world.start(home);
            world.post(home as u64 * MS, Action::Tick(home));
        }
        faults.into_iter().for_each(|(at, fault)| world.post(at * MS, Action::Fault(fault)));
        (0..world.producers.len()).for_each(|producer| world.post(10 * MS, Action::Produce(producer)));
        (0..world.members.len()).for_each(|member| world.post(20 * MS, Action::MemberTurn(member)));
        (0..world.readers.len()).for_each(|reader| world.post(100 * MS, Action::Ask(reader)));
        world
    }

    pub(super) fn post(&mut self, at: u64, action: Action) {
        self.posted += 1;
        self.queue.insert((at.max(self.now), self.posted), action);
    }

    /// After some milliseconds, at random.
    pub(super) fn soon(&mut self, least_ms: u64, more_ms: u64) -> u64 {
        self.now + least_ms * MS + self.random.below(more_ms * MS + 1)
    }

    pub(super) fn strikes(&mut self, canary: Canary, per_mille: u64) -> bool {
        self.canary == Some(canary) && self.random.chance(per_mille)
    }

    pub(super) fn time(&self, home: usize) -> Now {
        let skew = self.homes.get(home).map_or(0, |home| home.skew);
        Now { mono: Mono(self.now), wall: UnixNanos((WALL + self.now).saturating_add_signed(skew)) }
    }

    pub(super) fn is_linked(&self, a: usize, b: usize) -> bool {
        a == b || !(self.cuts.contains(&(a, b)) || self.cuts.contains(&(b, a)))
    }

    pub(super) fn run(mut self) -> Result<Tally, Violation> {
        while let Some(((at, _), action)) = self.queue.pop_first() {
            self.now = self.now.max(at);
            self.judge.now_ms = self.now / MS;
            self.act(action)?;
            if self.healed && self.is_done() {
                return self.end();
            }
            if self.now > self.healed_at + PATIENCE_MS * MS {
                break;
            }
        }
        if let Some(what) = self.misplaced() {
            return Err(self.judge.fail(Check::Seat, what));
        }
        let check = if self.is_quiet() { Check::Eventual } else { Check::Stuck };
        Err(self.judge.fail(check, self.why_stuck()))
    }

    fn act(&mut self, action: Action) -> Verdict {
        match action {
            Action::Fault(fault) => self.fault(fault),
            Action::Tick(home) => {
                self.post(self.now + 20 * MS, Action::Tick(home));
                if self.healed {
                    // A fault that waited for its moment may have come since.
                    self.revive(home)?;
                }
                self.replicate(home, Event::Tick, &[])?;
                self.look_at_seats(home)?;
                self.tend_drain(home)?;
                self.serve(home)
            }
            Action::Sync { home, epoch } => self.sync(home, epoch),
            Action::Between { from, to, epochs, bytes } => self.arrive(from, to, epochs, &bytes),
            Action::Copy { home, epoch, copies, entries } => self.copy(home, epoch, &copies, &entries),
            Action::Produce(producer) => self.produce(producer),
            Action::MemberTurn(member) => self.member_turn(member),
            Action::Ask(reader) => self.ask(reader),
            Action::Answer { reader, home, owed } => self.answer(reader, home, &owed),
            Action::Publish { session, level, bytes } => self.publish(session, level, &bytes),
            Action::Acked { session, names } => self.acked(session, &names),
            Action::Join { session } => self.join(session),
            Action::Token { session, token } => self.token(session, token),
            Action::Handed { session, items } => self.handed(session, &items),
            Action::Settle { session, token, verb, items, credit } => self.settle(session, token, verb, &items, credit),
            Action::Sight { home, epoch, other, up } => self.sight(home, epoch, other, up),
            Action::Drains { home, epoch, other } => self.hear_of_drain(home, epoch, other),
            Action::Told { from, to, epochs, told } => self.told(from, to, epochs, told),
            Action::HomeNotices { session } => self.home_notices(session),
            Action::ClientNotices { session } => self.client_notices(session),
        }
    }

    /// Starts a home that does not run.
    pub(super) fn start(&mut self, home: usize) {
        let (now, seed) = (self.time(home), self.random.next_u64());
        let (count, canary) = (self.homes.len(), self.canary);
        let Some(found) = self.homes.get_mut(home).filter(|home| home.open.is_none()) else { return };
        if !found.start(count, &self.specs, seed, now, canary) {
            return;
        }
        if canary == Some(Canary::BrokenSync) {
            found.fs.lie();
        }
        if let Some(open) = &found.open {
            open.seats.iter().for_each(|seat| self.judge.new_life(seat.number, home));
            self.judge.forgot(home, found.aside.iter().map(|(number, copy)| (*number, copy.version)));
            self.judge.forgive_position(home, &open.position());
        }
        self.notice();
    }

    /// Has a home sync after its disk's time, when there is something.
    pub(super) fn want_sync(&mut self, home: usize) {
        let Some(found) = self.homes.get_mut(home) else { return };
        // What is answered too early is lost only if the power fails meanwhile.
        let slower = if self.canary == Some(Canary::EarlyAck) { 100 } else { 1 };
        let (epoch, time) = (found.epoch, found.sync_time.as_nanos() as u64 * slower);
        if let Some(open) = &mut found.open
            && std::mem::take(&mut open.sync_is_due)
        {
            let at = self.now + time + self.random.below(3 * MS);
            self.post(at, Action::Sync { home, epoch });
        }
    }

    pub(super) fn sync(&mut self, home: usize, epoch: u32) -> Verdict {
        let Some(found) = self.homes.get_mut(home).filter(|home| home.epoch == epoch) else { return Ok(()) };
        let Some(open) = &mut found.open else { return Ok(()) };
        let from = open.log.synced();
        let Ok(synced) = open.syncer.sync() else {
            // Without its disk a home ends; what it wrote last is in doubt.
            return self.crash(home, true);
        };
        let mut new = Vec::new();
        let read = open.reader.clone().for_each_block(from, synced, |block| new.extend(places(&block)));
        debug_assert!(read.is_ok());
        found.on_disk.extend(new);
        let position = open.reader.position_at(synced).unwrap_or_default().into_iter().collect();
        self.judge.synced(home, synced, &position)?;
        self.keep(home)?;
        self.replicate(home, Event::Synced { local: synced, position: &position }, &[])?;
        self.answer_publishers(home)?;
        self.serve(home)
    }

    /// Keeps what is to be kept of consumers, and tells them of dead letters.
    fn keep(&mut self, home: usize) -> Verdict {
        let (syncs, old) = (self.random.chance(600), self.strikes(Canary::OldState, 100));
        let Some(found) = self.homes.get_mut(home) else { return Ok(()) };
        let Some(open) = &mut found.open else { return Ok(()) };
        for seat in &mut open.seats {
            for (first, count) in seat.dying.drain(..) {
                seat.consumer.dead_lettered(first, count);
            }
            let mut saved = seat.consumer.saved();
            if old {
                saved.floor = 1;
                saved.done.clear();
            }
            let mut batch = Batch::new();
            batch.put(Space::Positions, seat.number.to_be_bytes(), saved.encode());
            let kept = found.keyed.apply(batch).and_then(|()| if syncs { found.keyed.sync() } else { Ok(()) });
            if syncs && kept.is_ok() {
                self.judge.kept(seat.number, home, &saved)?;
            }
        }
        if syncs {
            found.aside_synced.clone_from(&found.aside);
        }
        Ok(())
    }

    /// Answers what has reached its level.
    pub(super) fn answer_publishers(&mut self, home: usize) -> Verdict {
        let early = self.canary == Some(Canary::EarlyAck);
        let lonely = self.canary == Some(Canary::LonelyAck);
        let Some(open) = self.homes.get_mut(home).and_then(|home| home.open.as_mut()) else { return Ok(()) };
        let synced = open.log.synced();
        let held = open.held.clone();
        let reached = open.pending.extract_if(.., |pending| match pending.level {
            Level::Written => true,
            Level::Synced => pending.next <= synced || early,
            Level::Two => pending.next <= synced && (lonely || held.iter().any(|held| *held >= pending.home_next)),
        });
        let reached: Vec<_> = reached.collect();
        for pending in reached {
            for name in &pending.names {
                self.judge.told(*name, home, pending.level, pending.next - 1, synced);
                if pending.level == Level::Two {
                    let holders = self.homes.iter().filter(|home| home.on_disk.contains_key(name)).count();
                    if holders < 2 && !self.judge.forgiven.contains(name) {
                        let what = format!("{name:?} is on {holders} disks when home {home} says two");
                        return Err(self.judge.fail(Check::Homes, what));
                    }
                }
            }
            self.down(pending.session, |session| Action::Acked { session, names: pending.names });
        }
        Ok(())
    }

    /// Lets consumers of a home read, and sends what they hand out.
    pub(super) fn serve(&mut self, home: usize) -> Verdict {
        let now = self.time(home);
        let early = self.canary == Some(Canary::EarlyServe);
        let lost = self.strikes(Canary::LostDelivery, 20);
        let miscount = self.strikes(Canary::Miscount, 20);
        let Some(open) = self.homes.get_mut(home).and_then(|home| home.open.as_mut()) else { return Ok(()) };
        let synced = open.log.synced();
        let end = if early { open.log.next() } else { synced };
        let (mut sends, mut buried) = (Vec::new(), Vec::new());
        for seat in &mut open.seats {
            let mut dead = Vec::new();
            seat.consumer.tick(now, &mut dead);
            buried.push((seat.number, dead));
            let ack_wait = seat.consumer.spec().ack_wait.as_nanos() as u64;
            while let Some(read) = seat.consumer.next_read(now).filter(|read| read.from < end) {
                let mut out: Vec<Handout> = Vec::new();
                match open.reader.read(read.from, end, 1) {
                    Ok(blocks) => {
                        let Some(found) = blocks.into_iter().next() else { break };
                        let block = Block::trusted(&found);
                        let offered = Offered { first: found.first(), block, len: found.len() };
                        seat.consumer.offer(offered, read.again, now, &mut out);
                        for handout in &out {
                            let items = items(&block, handout);
                            let keyed = self.specs.get(seat.number).is_some_and(|(_, spec)| spec.mode == Mode::Keyed);
                            for (local, _, key) in &items {
                                let of = Keyed { key, member: handout.member, now: self.now, ack_wait };
                                let of = keyed.then_some(of);
                                self.judge.handed_out((seat.number, home), *local, synced, handout.attempt, of)?;
                            }
                            let items = items.into_iter().map(|(local, name, _)| (local, name)).collect();
                            sends.push((handout.member, items));
                        }
                    }
                    Err(ReadError::Damaged { from, resume, .. }) => {
                        seat.consumer.unreadable(from.max(read.from), resume)
                    }
                    Err(ReadError::Gone { first }) => seat.consumer.unreadable(read.from, first),
                    Err(_) => break,
                }
            }
            if lost && seat.consumer.floor() + 2 < end {
                seat.consumer.unreadable(seat.consumer.floor(), seat.consumer.floor() + 1);
            }
            let mut report = seat.consumer.report(end);
            report.counts.acked += u64::from(miscount);
            self.judge.counts(seat.number, &report)?;
        }
        for (consumer, dead) in buried {
            self.bury(home, consumer, &dead);
        }
        self.want_sync(home);
        for (session, items) in sends {
            self.down(session, |session| Action::Handed { session, items });
        }
        Ok(())
    }

    /// Sends something along a session to its client.
    pub(super) fn down(&mut self, session: u64, action: impl FnOnce(u64) -> Action) {
        self.along(session, 1, action);
    }

    /// Sends something along a session, one way (0 to the home, 1 to the client).
    pub(super) fn along(&mut self, session: u64, way: usize, action: impl FnOnce(u64) -> Action) {
        let at = self.soon(1, 10);
        let disorder = self.canary == Some(Canary::DisorderedSessions) && way == 0;
        let Some(found) = self.sessions.get_mut(&session).filter(|session| session.is_open) else { return };
        let last = found.last.get_mut(way).filter(|_| !disorder);
        let at = last.map_or(at, |last| {
            *last = at.max(*last);
            *last
        });
        self.post(at, action(session));
    }

    /// Opens a session of a client to a home, if it can be reached.
    pub(super) fn connect(&mut self, client: Client, site: usize, home: usize) -> Option<u64> {
        let found = self.homes.get(home).filter(|home| home.open.is_some())?;
        let is_near = match client {
            Client::Producer(_) => self.is_linked(site, home),
            Client::Member(_) => self.reaches(site, home),
        };
        if !is_near {
            return None;
        }
        let id = self.sessions.last_key_value().map_or(1, |(id, _)| id + 1);
        let epoch = found.epoch;
        self.sessions.insert(id, Session { client, site, home, epoch, is_open: true, last: [self.now; 2] });
        Some(id)
    }

    /// Breaks a session; its ends notice at times of their own.
    pub(super) fn break_session(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.is_open) else { return };
        session.is_open = false;
        let at = self.soon(1, 300);
        self.post(at, Action::HomeNotices { session: id });
        let at = self.soon(1, 300);
        self.post(at, Action::ClientNotices { session: id });
    }

    /// Whether nothing is left to do, but for what homes have of each other.
    fn is_quiet(&self) -> bool {
        let runs = self.homes.iter().all(|home| {
            home.open.as_ref().is_some_and(|open| {
                let end = open.log.next();
                open.log.synced() == end
            })
        });
        runs && self.producers.iter().all(Producer::is_done) && self.are_settled()
    }

    fn is_done(&self) -> bool {
        // What one home passed over another may have: their logs are compared.
        let differs = |one: &Home, other: &Home| {
            let lacks = |one: &Home, other: &Home| {
                let mut names = one.on_disk.keys();
                names.any(|name| !other.on_disk.contains_key(name) && !self.judge.forgiven.contains(name))
            };
            lacks(one, other) || lacks(other, one)
        };
        self.is_quiet()
            && self.misplaced().is_none()
            && !self.homes.windows(2).any(|pair| matches!(pair, [one, other] if differs(one, other)))
    }

    fn why_stuck(&self) -> String {
        use std::fmt::Write;
        let mut text = String::new();
        for home in &self.homes {
            let _ = write!(text, "home {}:", home.number);
            let Some(open) = &home.open else {
                text.push_str(" does not run; ");
                continue;
            };
            let _ = write!(text, " {:?} at {:?}", open.log, open.replica.as_ref().map(|replica| replica.position()));
            for seat in &open.seats {
                let report = seat.consumer.report(open.log.next());
                let _ = write!(text, ", consumer {} {report:?}", seat.number);
            }
            text.push_str("; ");
        }
        for producer in self.producers.iter().filter(|producer| !producer.is_done()) {
            let _ = write!(text, "producer {} has {} to do", producer.id, producer.todo);
        }
        text
    }

    fn end(mut self) -> Result<Tally, Violation> {
        let logs: Vec<_> = self.homes.iter().map(|home| home.lying(u64::MAX)).collect();
        for (home, log) in logs.iter().enumerate() {
            self.judge.log(home, log)?;
        }
        self.judge.end(&logs)?;
        self.judge.tally.acknowledged = self.judge.acked.len() as u64;
        self.judge.tally.dead = self.judge.given.iter().map(|given| given.dead.len() as u64).sum();
        Ok(self.judge.tally)
    }
}

/// The events of a handout: local sequence, name and key.
fn items<'a>(block: &Block<'a>, handout: &Handout) -> Vec<(u64, Name, &'a [u8])> {
    let all: Vec<_> = names(block).collect();
    let runs = handout.runs.as_slice().iter();
    let places = runs.flat_map(|(from, count)| usize::from(*from)..usize::from(*from) + usize::from(*count));
    let item = |at: usize| all.get(at).map(|(name, key)| (handout.first + at as u64, *name, *key));
    places.filter_map(item).collect()
}
