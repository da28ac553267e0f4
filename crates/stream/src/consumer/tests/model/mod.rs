//! Long random histories of a consumer against a model that keeps one state per
//! event, and judges of everything that is promised. Each judge has a fault put
//! in on purpose that it must find.

use std::collections::{BTreeMap, BTreeSet};

use weft_base::{Mono, Now, Random, UnixNanos};
use weft_topic::Filter;

use super::super::{Consumer, ConsumerSpec, DeadLetter, Handout, MemberId, Mode, Offered, Saved, Verb};
use super::{Stream, WALL, ms};
use crate::predicate::Predicate;

/// A fault put in on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// An ack is not told to the consumer.
    LostAck,
    /// Events that are nacked are acked instead.
    WrongAck,
    /// A handout goes to two members.
    TwoMembers,
    /// A keyed consumer shares without regard to keys.
    NoKeys,
    /// More credit is granted than the member gave.
    MoreCredit,
    /// An old state takes the place of the new one.
    OldState,
    /// An event is counted twice.
    Miscount,
    /// An old token is taken for the new one.
    NoFence,
    /// Nobody is told of an ack wait that passed.
    NoTick,
}

const FAULTS: [(Fault, &str); 9] = [
    (Fault::LostAck, "was settled"),
    (Fault::WrongAck, "never came again"),
    (Fault::TwoMembers, "is with"),
    (Fault::NoKeys, "of its key"),
    (Fault::MoreCredit, "credit"),
    (Fault::OldState, "floor"),
    (Fault::Miscount, "conserved"),
    (Fault::NoFence, "fenced"),
    (Fault::NoTick, "are in flight"),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    With { member: MemberId, attempt: u32, until: Mono },
    Waits { attempts: u32, due: Mono },
    Dying,
    Settled,
}

#[derive(Clone, Debug)]
struct Event {
    wanted: bool,
    key: String,
    expires: Option<u64>,
    /// How often it was handed out, as an earlier life remembers.
    attempts: u32,
    state: Option<State>,
}

impl Event {
    /// An earlier life handed it out as often as is allowed, or gave it up:
    /// then it has more attempts than there are.
    fn is_given_up(&self, spec: &ConsumerSpec) -> bool {
        self.attempts == u32::MAX || (spec.max_deliver != 0 && self.attempts >= spec.max_deliver)
    }
}

#[derive(Clone, Copy, Debug)]
struct Member {
    token: u64,
    events: u64,
    bytes: i64,
}

struct World {
    random: Random,
    fault: Option<Fault>,
    consumer: Consumer,
    spec: ConsumerSpec,
    stream: Stream,
    events: BTreeMap<u64, Event>,
    members: BTreeMap<MemberId, Member>,
    old_tokens: Vec<(MemberId, u64)>,
    next_member: MemberId,
    now: Now,
    floor: u64,
    /// Below this all was looked at in this life.
    looked: u64,
    greatest_token: u64,
    unstored: Vec<DeadLetter>,
    old: Option<(Saved, BTreeMap<u64, Event>)>,
}

type Verdict = Result<(), String>;

macro_rules! ensure {
    ($holds:expr, $($why:tt)*) => {
        if !$holds {
            return Err(format!($($why)*));
        }
    };
}

mod acts;

const KEYS: [&str; 6] = ["", "a", "b", "c", "d", "e"];

fn spec_of(random: &mut Random) -> ConsumerSpec {
    let mut spec = ConsumerSpec::new("c");
    spec.mode = *random.pick(&[Mode::Shared, Mode::Exclusive, Mode::Keyed, Mode::Keyed]).expect("some");
    spec.ack_wait = ms(20 + random.below(200));
    spec.max_deliver = if random.chance(300) { 0 } else { 1 + random.below(6) as u32 };
    spec.backoff = (0..random.below(4)).map(|_| ms(random.below(50))).collect();
    spec.max_in_flight = if random.chance(500) { 1 + random.below(30) as u32 } else { 10_000 };
    spec.dead_letters = random.chance(600);
    if random.chance(400) {
        spec.filters = vec![Filter::parse("t/*").expect("a filter"), Filter::parse("u").expect("a filter")];
    }
    if random.chance(400) {
        spec.predicate = Some(Predicate::compile("key != 'b' or topic == 'u'").expect("a predicate"));
    }
    spec
}

impl World {
    fn new(seed: u64, fault: Option<Fault>) -> Self {
        let mut random = Random::from_seed(seed);
        let spec = spec_of(&mut random);
        let mut real = spec.clone();
        if fault == Some(Fault::NoKeys) {
            real.mode = Mode::Shared;
        }
        let now = Now { mono: Mono(1_000_000), wall: UnixNanos(WALL) };
        let consumer = Consumer::new(real, 1, 1, now);
        Self {
            random,
            fault,
            consumer,
            spec,
            stream: Stream::new(),
            events: BTreeMap::new(),
            members: BTreeMap::new(),
            old_tokens: Vec::new(),
            next_member: 1,
            now,
            floor: 1,
            looked: 1,
            greatest_token: 0,
            unstored: Vec::new(),
            old: None,
        }
    }

    fn strikes(&mut self, fault: Fault) -> bool {
        self.fault == Some(fault) && self.random.chance(300)
    }

    fn judge(&mut self, handout: &Handout, len: usize, again: bool) -> Verdict {
        let Handout { member, first, attempt, ref runs } = *handout;
        let Some(found) = self.members.get_mut(&member) else { return Err(format!("nobody is {member}")) };
        ensure!(found.token != 0, "member {member} waits and got something");
        ensure!(found.bytes > 0, "member {member} has no credit of bytes left");
        found.bytes -= len as i64;
        for (from, count) in runs.as_slice() {
            for sequence in first + u64::from(*from)..first + u64::from(*from) + u64::from(*count) {
                let Some(found) = self.members.get_mut(&member) else { continue };
                ensure!(found.events > 0, "member {member} has no credit left");
                found.events -= 1;
                let now = self.now;
                let keyed = self.spec.mode == Mode::Keyed;
                let event = self.events.get(&sequence).cloned().ok_or_else(|| format!("no event {sequence}"))?;
                ensure!(event.wanted, "event {sequence} is not for this consumer");
                ensure!(event.expires.is_none_or(|end| end > now.wall.0), "event {sequence} has expired");
                let attempts = match event.state {
                    None => event.attempts,
                    Some(State::Waits { attempts, due }) => {
                        ensure!(due <= now.mono, "event {sequence} is not due");
                        attempts
                    }
                    Some(State::Settled) => return Err(format!("event {sequence} was settled")),
                    Some(State::Dying) => return Err(format!("event {sequence} was given up")),
                    Some(State::With { member, until, .. }) => {
                        return Err(format!("event {sequence} is with {member} until {until:?}"));
                    }
                };
                ensure!(attempt == attempts + 1, "event {sequence}: attempt {attempt} after {attempts}");
                ensure!(again || event.state.is_none(), "event {sequence} came again as new");
                if keyed {
                    self.judge_key(sequence, member, &event.key)?;
                }
                let until = now.mono + self.spec.ack_wait;
                if let Some(event) = self.events.get_mut(&sequence) {
                    event.state = Some(State::With { member, attempt, until });
                }
            }
        }
        Ok(())
    }

    /// All before it of its key are done or with the same member, and nothing
    /// of its key is with another.
    fn judge_key(&self, sequence: u64, member: MemberId, key: &str) -> Verdict {
        for (other, event) in self.events.iter().filter(|(_, event)| event.key == key && event.wanted) {
            match event.state {
                Some(State::With { member: holder, .. }) => {
                    ensure!(holder == member, "event {other} of its key is with {holder}, {sequence} went to {member}");
                }
                Some(State::Waits { .. }) if *other < sequence => {
                    return Err(format!("event {other} of its key waits, {sequence} went out"));
                }
                None if *other < sequence => {
                    let gone = event.expires.is_some_and(|end| end <= self.now.wall.0);
                    let dead = event.is_given_up(&self.spec);
                    ensure!(gone || dead, "event {other} of its key was passed over by {sequence}");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What holds after every step.
    fn rest(&mut self) -> Verdict {
        if matches!(self.fault, Some(Fault::LostAck | Fault::WrongAck)) {
            // Found here too, and to be found by the judges of handouts.
            return Ok(());
        }
        let mut report = self.consumer.report(self.stream.end);
        if self.strikes(Fault::Miscount) {
            report.counts.acked += 1;
        }
        ensure!(report.floor >= self.floor, "the floor went back from {} to {}", self.floor, report.floor);
        self.floor = report.floor;
        ensure!(report.floor == self.consumer.floor() && report.next >= report.floor, "floor and next: {report:?}");
        let open = self.events.iter().find(|(_, event)| event.state != Some(State::Settled));
        let lowest = open.map_or(self.stream.end, |(sequence, _)| *sequence);
        ensure!(report.floor == lowest, "the floor is {}, the lowest that is not settled {lowest}", report.floor);
        let count = |is: fn(&State) -> bool| {
            self.events.values().filter(|event| event.state.as_ref().is_some_and(is)).count() as u64
        };
        let with = count(|state| matches!(state, State::With { .. }));
        let (waits, dying) =
            (count(|state| matches!(state, State::Waits { .. })), count(|state| *state == State::Dying));
        ensure!(report.in_flight == with, "{} are in flight, {with} should be", report.in_flight);
        ensure!(report.dying == dying, "{} are dying, {dying} should be", report.dying);
        if self.spec.mode != Mode::Keyed {
            ensure!(report.waiting == waits, "{} wait, {waits} should", report.waiting);
        }
        let lag = self.events.values().filter(|event| event.state != Some(State::Settled)).count() as u64;
        ensure!(report.lag == lag, "the lag is {}, should be {lag}", report.lag);
        let c = report.counts;
        let settled = c.acked + c.filtered + c.expired + c.unreadable + c.dead + c.dropped + c.forgotten;
        let all = settled + report.in_flight + report.waiting + report.dying;
        ensure!(c.offered == all, "not conserved: {} were offered, {all} are accounted for: {report:?}", c.offered);
        let window = report.in_flight + report.waiting + report.dying;
        ensure!(window <= u64::from(self.spec.max_in_flight), "{window} are under way");
        for member in &report.members {
            let held =
                |event: &&Event| matches!(event.state, Some(State::With { member: m, .. }) if m == member.member);
            let held = self.events.values().filter(held).count() as u64;
            ensure!(member.in_flight == held, "member {} has {}, should have {held}", member.member, member.in_flight);
        }
        Ok(())
    }

    fn back(&mut self, sequence: u64, attempt: u32, due: Mono) {
        let spec = &self.spec;
        let Some(event) = self.events.get_mut(&sequence) else { return };
        event.state = Some(if spec.max_deliver != 0 && attempt >= spec.max_deliver {
            if spec.dead_letters { State::Dying } else { State::Settled }
        } else {
            State::Waits { attempts: attempt, due }
        });
    }

    fn new_token(&mut self, token: u64) -> Verdict {
        ensure!(token > self.greatest_token, "token {token:#x} is not greater than {:#x}", self.greatest_token);
        self.greatest_token = token;
        Ok(())
    }

    fn take_dead(&mut self, dead: Vec<DeadLetter>) -> Verdict {
        for letter in dead {
            for sequence in letter.first..letter.first + u64::from(letter.count) {
                let state = self.events.get(&sequence).and_then(|event| event.state);
                ensure!(state == Some(State::Dying), "event {sequence} is a dead letter, and was {state:?}");
            }
            self.unstored.push(letter);
        }
        Ok(())
    }

    /// From here on a member settles all that comes: all must come.
    fn end(&mut self) -> Verdict {
        self.consumer.resume(self.now);
        for id in self.members.keys().copied().collect::<Vec<_>>() {
            self.members.remove(&id);
            self.consumer.leave(id, self.now);
        }
        for (sequence, event) in self.events.clone() {
            if let Some(State::With { attempt, .. }) = event.state {
                self.back(sequence, attempt, self.now.mono);
            }
        }
        let id = self.next_member;
        let token = self.consumer.join(id, "m", self.now).map_err(|error| error.to_string())?.token;
        self.consumer.grant(id, 1 << 30, 1 << 30);
        let mut came = BTreeSet::new();
        for _ in 0..2000 {
            if self.consumer.floor() == self.stream.end {
                break;
            }
            self.now.mono = self.now.mono + ms(1500);
            let mut dead = Vec::new();
            self.consumer.tick(self.now, &mut dead);
            let handouts = self.stream.pump(&mut self.consumer, self.now);
            came.extend(super::sequences(&handouts).into_iter().flat_map(|(_, _, sequences)| sequences));
            let all = [(self.consumer.floor(), u32::MAX)];
            self.consumer.settle(id, token, Verb::Ack, &all, self.now, &mut dead).map_err(|error| error.to_string())?;
            dead.append(&mut self.unstored);
            dead.iter().for_each(|letter| self.consumer.dead_lettered(letter.first, letter.count));
        }
        let floor = self.consumer.floor();
        ensure!(
            floor == self.stream.end,
            "event {floor} is never settled: {:?}",
            self.consumer.report(self.stream.end)
        );
        for (sequence, event) in &self.events {
            let attempts = match event.state {
                None => event.attempts,
                Some(State::Waits { attempts, .. }) => attempts,
                _ => continue,
            };
            let must = event.wanted
                && attempts != u32::MAX
                && event.expires.is_none()
                && (self.spec.max_deliver == 0 || attempts < self.spec.max_deliver);
            ensure!(!must || came.contains(sequence), "event {sequence} never came again");
            ensure!(must || event.expires.is_some() || !came.contains(sequence), "event {sequence} came for nothing");
        }
        Ok(())
    }

    fn run(&mut self, steps: u32) -> Verdict {
        for step in 0..steps {
            self.step().map_err(|why| format!("step {step}: {why}"))?;
        }
        self.end()
    }
}

#[test]
fn what_is_promised_holds_over_long_random_histories() {
    let (seeds, steps) = if cfg!(debug_assertions) { (150, 600) } else { (3000, 1500) };
    for seed in 0..seeds {
        if let Err(why) = World::new(seed, None).run(steps) {
            panic!("seed {seed}: {why}");
        }
    }
}

#[test]
fn every_judge_finds_the_fault_put_in_for_it() {
    for (fault, part) in FAULTS {
        let found =
            (0..200).find_map(|seed| World::new(seed, Some(fault)).run(400).err().filter(|why| why.contains(part)));
        assert!(found.is_some(), "{fault:?} is not found by `{part}`");
    }
}
