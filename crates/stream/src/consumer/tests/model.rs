//! Long random histories of a consumer against a model that keeps one state per
//! event, and judges of everything that is promised. Each judge has a fault put
//! in on purpose that it must find.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weft_base::{Mono, Now, Random, UnixNanos};
use weft_topic::{Filter, Topic};

use super::super::{Consumer, ConsumerSpec, DeadLetter, Handout, MemberId, Mode, Offered, Saved, Verb};
use super::{Sample, Stream, WALL, ms};
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

    fn grow(&mut self) {
        let topic = *self.random.pick(&["t/1", "t/2", "t/3/x", "u"]).expect("some");
        let count = 1 + self.random.below(8);
        let expires = self.random.chance(200);
        let samples: Vec<Sample> = (0..count)
            .map(|n| Sample {
                key: self.random.pick(&KEYS).copied().unwrap_or_default(),
                ttl_ms: (expires && self.random.chance(500)).then(|| self.random.below(300)),
                payload: n as u8,
            })
            .collect();
        let matches = |filter: &Filter| filter.matches(Topic::parse(topic).expect("a topic"));
        for (sequence, sample) in (self.stream.end..).zip(&samples) {
            let by_topic = self.spec.filters.is_empty() || self.spec.filters.iter().any(matches);
            let by_key = self.spec.predicate.is_none() || sample.key != "b" || topic == "u";
            let key = if sample.key.is_empty() { format!("topic {topic}") } else { sample.key.to_owned() };
            let expires = sample.ttl_ms.map(|ttl| self.now.wall.0 + ttl * 1_000_000);
            self.events.insert(sequence, Event { wanted: by_topic && by_key, key, expires, attempts: 0, state: None });
        }
        self.stream.push(topic, &samples, self.now.wall);
    }

    /// The consumer has looked at events that nobody is to get.
    fn looked(&mut self) {
        let next = self.consumer.report(self.stream.end).next;
        let (wall, spec) = (self.now.wall.0, &self.spec);
        let from = std::mem::replace(&mut self.looked, next);
        for (_, event) in self.events.range_mut(from..next.max(from)).filter(|(_, event)| event.state.is_none()) {
            if !event.wanted || event.expires.is_some_and(|end| end <= wall) {
                event.state = Some(State::Settled);
            } else if event.attempts > 0 && spec.max_deliver != 0 && event.attempts >= spec.max_deliver {
                event.state = Some(if spec.dead_letters { State::Dying } else { State::Settled });
            }
        }
    }

    fn read(&mut self) -> Verdict {
        for _ in 0..1 + self.random.below(6) {
            let Some(read) = self.consumer.next_read(self.now) else { break };
            let Some((first, block)) = self.stream.holding(read.from) else { break };
            let (mut out, len) = (Vec::new(), block.len());
            self.consumer.offer(Offered { first, block, len }, read.again, self.now, &mut out);
            let end = first + u64::from(block.event_count());
            if read.again {
                let (wall, looked) = (self.now.wall.0, self.looked);
                for (sequence, event) in self.events.range_mut(first..end) {
                    // Of a key whose turn has not come yet.
                    let held = event.state.is_none() && *sequence < looked;
                    if (held || matches!(event.state, Some(State::Waits { .. })))
                        && event.expires.is_some_and(|end| end <= wall)
                    {
                        event.state = Some(State::Settled);
                    }
                }
            }
            if self.strikes(Fault::TwoMembers)
                && let Some(handout) = out.first().cloned()
            {
                out.push(handout);
            }
            for handout in &out {
                self.judge(handout, len, read.again)?;
            }
            self.looked();
            self.rest()?;
        }
        Ok(())
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
                    let dead = self.spec.max_deliver != 0 && event.attempts >= self.spec.max_deliver;
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

    fn join(&mut self) -> Verdict {
        if self.members.len() > 4 {
            return Ok(());
        }
        let id = self.next_member;
        self.next_member += 1;
        let joined = self.consumer.join(id, "m", self.now).map_err(|error| error.to_string())?;
        let works = self.spec.mode != Mode::Exclusive || self.members.is_empty();
        ensure!(works == (joined.token != 0), "member {id} joined with token {}", joined.token);
        if works {
            self.new_token(joined.token)?;
        }
        self.members.insert(id, Member { token: joined.token, events: 0, bytes: 0 });
        Ok(())
    }

    fn any_member(&mut self) -> Option<MemberId> {
        let ids: Vec<_> = self.members.keys().copied().collect();
        self.random.pick(&ids).copied()
    }

    fn leave(&mut self) -> Verdict {
        let Some(id) = self.any_member() else { return Ok(()) };
        let left = self.members.remove(&id);
        self.old_tokens.extend(left.map(|member| (id, member.token)));
        let over = self.consumer.leave(id, self.now);
        let held: Vec<_> = self
            .events
            .iter()
            .filter_map(|(sequence, event)| match event.state {
                Some(State::With { member, attempt, .. }) if member == id => Some((*sequence, attempt)),
                _ => None,
            })
            .collect();
        let was_active = left.is_some_and(|member| member.token != 0);
        held.into_iter().for_each(|(sequence, attempt)| self.back(sequence, attempt, self.now.mono));
        if self.spec.mode == Mode::Exclusive && was_active {
            ensure!(over.map(|over| over.member) == self.members.keys().next().copied(), "{over:?} takes over");
        } else {
            ensure!(over.is_none(), "{over:?} takes over from nobody");
        }
        if let Some(over) = over {
            self.new_token(over.token)?;
            self.members.entry(over.member).and_modify(|member| member.token = over.token);
        }
        Ok(())
    }

    fn grant(&mut self) {
        let Some(id) = self.any_member() else { return };
        let (events, bytes) = (self.random.below(12), self.random.below(3000));
        let more = if self.strikes(Fault::MoreCredit) { 5 } else { 0 };
        self.consumer.grant(id, events + more, bytes);
        if let Some(member) = self.members.get_mut(&id) {
            member.events += events;
            member.bytes += bytes as i64;
        }
    }

    /// A member says something to some of what it has, and at times to more.
    fn settle(&mut self) -> Verdict {
        let Some(id) = self.any_member() else { return Ok(()) };
        let token = self.members.get(&id).map_or(0, |member| member.token);
        let delay = if self.random.chance(500) { Duration::ZERO } else { ms(self.random.below(80)) };
        let verbs = [Verb::Ack, Verb::Ack, Verb::Nack { delay }, Verb::Progress, Verb::Term { reason: "x" }];
        let verb = *self.random.pick(&verbs).expect("some");
        let begin = self.floor.saturating_sub(3) + self.random.below(self.stream.end - self.floor + 3);
        let ranges: Vec<(u64, u32)> = (0..1 + self.random.below(3))
            .map(|n| (begin + n * 2 + self.random.below(4), self.random.below(9) as u32))
            .collect();
        let named: BTreeSet<u64> = ranges.iter().flat_map(|(first, count)| *first..first + u64::from(*count)).collect();
        let said = match (self.strikes(Fault::LostAck), self.strikes(Fault::WrongAck), verb) {
            (true, _, Verb::Ack) => Verb::Progress,
            (_, true, Verb::Nack { .. }) => Verb::Ack,
            _ => verb,
        };
        let mut dead = Vec::new();
        let result = self.consumer.settle(id, token, said, &ranges, self.now, &mut dead);
        if token == 0 {
            ensure!(result.is_err(), "a member that waits was not fenced off");
            return Ok(());
        }
        let settled = result.map_err(|error| error.to_string())?;
        let total: u64 = ranges.iter().map(|(_, count)| u64::from(*count)).sum();
        ensure!(settled.done + settled.again + settled.others + settled.unknown == total, "{settled:?} of {ranges:?}");
        for sequence in named {
            let Some(event) = self.events.get_mut(&sequence) else { continue };
            match (event.state, verb) {
                (Some(State::With { member, attempt, .. }), _) if member == id => match verb {
                    Verb::Ack => event.state = Some(State::Settled),
                    Verb::Progress => {
                        let until = self.now.mono + self.spec.ack_wait;
                        event.state = Some(State::With { member, attempt, until });
                    }
                    Verb::Nack { delay } => {
                        let delay = if delay.is_zero() { self.spec.wait_after(attempt, true) } else { delay };
                        self.back(sequence, attempt, self.now.mono + delay);
                    }
                    Verb::Term { .. } => {
                        event.state = Some(if self.spec.dead_letters { State::Dying } else { State::Settled });
                    }
                },
                // It may say so of what it had: then it is so.
                (Some(State::Waits { .. }), Verb::Ack | Verb::Term { .. }) => {}
                _ => {}
            }
        }
        self.take_over_late(id, verb, &ranges);
        self.take_dead(dead)
    }

    /// Which of the events that wait were the member's is the consumer's
    /// affair: what it says is done, must be done.
    fn take_over_late(&mut self, _: MemberId, verb: Verb<'_>, ranges: &[(u64, u32)]) {
        if !matches!(verb, Verb::Ack | Verb::Term { .. }) {
            return;
        }
        let saved = self.consumer.saved();
        let open: BTreeSet<u64> =
            saved.tried.iter().filter(|run| !run.dead).flat_map(|run| run.first..run.end).collect();
        let dead: BTreeSet<u64> =
            saved.tried.iter().filter(|run| run.dead).flat_map(|run| run.first..run.end).collect();
        for sequence in ranges.iter().flat_map(|(first, count)| *first..first + u64::from(*count)) {
            if let Some(event) = self.events.get_mut(&sequence)
                && matches!(event.state, Some(State::Waits { attempts, .. }) if attempts > 0)
                && !open.contains(&sequence)
            {
                event.state = Some(if dead.contains(&sequence) { State::Dying } else { State::Settled });
            }
        }
    }

    fn old_token(&mut self) -> Verdict {
        let Some((member, token)) = self.random.pick(&self.old_tokens.clone()).copied() else { return Ok(()) };
        let token = if self.strikes(Fault::NoFence) {
            let Some((id, member)) = self.members.iter().find(|(_, member)| member.token != 0) else { return Ok(()) };
            let result = self.consumer.settle(*id, member.token, Verb::Progress, &[], self.now, &mut Vec::new());
            ensure!(result.is_err(), "an old token was not fenced off");
            token
        } else {
            token
        };
        let ranges = [(self.floor, 100)];
        let result = self.consumer.settle(member, token, Verb::Ack, &ranges, self.now, &mut Vec::new());
        ensure!(result.is_err(), "the old token {token:#x} was not fenced off");
        Ok(())
    }

    fn pass_time(&mut self, most: u64) -> Verdict {
        let time = ms(self.random.below(most));
        self.now = Now { mono: self.now.mono + time, wall: UnixNanos(self.now.wall.0 + time.as_nanos() as u64) };
        if self.random.chance(30) {
            // The clock of the day jumps back by a day.
            self.now.wall.0 -= 86_400_000_000_000;
        }
        let due = self.consumer.next_deadline();
        let overdue = |event: &Event| matches!(event.state, Some(State::With { until, .. }) if until <= self.now.mono);
        if self.events.values().any(overdue) {
            ensure!(due.is_some_and(|due| due <= self.now.mono), "nobody would look after what is overdue: {due:?}");
        }
        let mut dead = Vec::new();
        if !self.strikes(Fault::NoTick) {
            self.consumer.tick(self.now, &mut dead);
        }
        let overdue: Vec<_> = self
            .events
            .iter()
            .filter_map(|(sequence, event)| match event.state {
                Some(State::With { attempt, until, .. }) if until <= self.now.mono => Some((*sequence, attempt)),
                _ => None,
            })
            .collect();
        for (sequence, attempt) in overdue {
            self.back(sequence, attempt, self.now.mono + self.spec.wait_after(attempt, false));
        }
        self.take_dead(dead)
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

    fn store_dead(&mut self) {
        while let Some(letter) = self.unstored.pop() {
            self.consumer.dead_lettered(letter.first, letter.count);
            for sequence in letter.first..letter.first + u64::from(letter.count) {
                if let Some(event) = self.events.get_mut(&sequence) {
                    event.state = Some(State::Settled);
                }
            }
            if self.random.chance(300) {
                break;
            }
        }
    }

    /// A new life, from what was saved now or some time ago.
    fn restart(&mut self) -> Verdict {
        let (saved, events) = match self.old.take() {
            Some(old) if self.random.chance(500) => old,
            _ => (self.consumer.saved(), self.events.clone()),
        };
        let saved = Saved::decode(&saved.encode()).map_err(|error| error.to_string())?;
        let generation = self.consumer.generation() + 1;
        let dead: BTreeSet<u64> =
            saved.tried.iter().filter(|run| run.dead).flat_map(|run| run.first..run.end).collect();
        self.consumer = Consumer::restore(self.consumer.spec().clone(), saved, generation, self.now);
        let mut all = self.events.clone();
        for (sequence, event) in &mut all {
            let then = events.get(sequence);
            event.state = then.and_then(|event| event.state);
            event.attempts = match event.state {
                Some(State::With { attempt, .. }) => attempt,
                Some(State::Waits { attempts, .. }) => attempts,
                _ => then.map_or(0, |event| event.attempts),
            };
            // Given up and not stored: given up again when it is looked at.
            if event.state != Some(State::Settled) {
                event.state = None;
            }
            if dead.contains(sequence) {
                event.attempts = u32::MAX;
            }
        }
        self.events = all;
        self.unstored.clear();
        let members = std::mem::take(&mut self.members);
        self.old_tokens.extend(members.into_iter().map(|(id, member)| (id, member.token)));
        self.floor = self.consumer.floor();
        self.looked = self.consumer.report(self.stream.end).next;
        Ok(())
    }

    fn reset(&mut self) -> Verdict {
        let from = 1 + self.random.below(self.stream.end);
        let before: Vec<_> = self.members.iter().map(|(id, member)| (*id, member.token)).collect();
        self.old_tokens.extend(before.into_iter().filter(|(_, token)| *token != 0));
        for told in self.consumer.reset(from) {
            self.new_token(told.token)?;
            self.members.entry(told.member).and_modify(|member| member.token = told.token);
        }
        for (sequence, event) in &mut self.events {
            event.attempts = 0;
            event.state = (*sequence < from).then_some(State::Settled);
        }
        (self.floor, self.looked) = (from, from);
        self.unstored.clear();
        self.old = None;
        Ok(())
    }

    fn step(&mut self) -> Verdict {
        match self.random.below(100) {
            0..12 => self.grow(),
            12..17 => self.join()?,
            17..21 => self.leave()?,
            21..36 => self.grant(),
            36..58 => self.read()?,
            58..80 => self.settle()?,
            80..83 => self.old_token()?,
            83..93 => self.pass_time(60)?,
            93..96 => self.store_dead(),
            96 => self.old = Some((self.consumer.saved(), self.events.clone())),
            97 if self.random.chance(300) => self.restart()?,
            98 if self.random.chance(200) => self.reset()?,
            99 if self.fault == Some(Fault::OldState) => {
                if let Some((saved, _)) = self.old.clone() {
                    self.consumer = Consumer::restore(self.spec.clone(), saved, 1, self.now);
                    self.members.clear();
                }
            }
            _ => {
                if self.random.chance(500) {
                    self.consumer.pause(None, self.now);
                } else {
                    self.consumer.resume(self.now);
                }
            }
        }
        self.looked();
        self.rest()
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
            (0..60).find_map(|seed| World::new(seed, Some(fault)).run(400).err().filter(|why| why.contains(part)));
        assert!(found.is_some(), "{fault:?} is not found by `{part}`");
    }
}
