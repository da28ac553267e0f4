//! What happens in a history, told to the consumer and to the model.

use std::collections::BTreeSet;
use std::time::Duration;

use weft_base::{Now, UnixNanos};
use weft_topic::{Filter, Topic};

use super::super::{Sample, ms};
use super::{Consumer, Event, Fault, KEYS, Member, MemberId, Mode, Offered, Saved, State, Verb, Verdict, World};

impl World {
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
            } else if event.is_given_up(spec) {
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

    /// A part of the stream cannot be read.
    fn lose(&mut self) {
        let from = self.floor + self.random.below(self.stream.end - self.floor + 1);
        let upto = (from + self.random.below(12)).min(self.stream.end);
        self.consumer.unreadable(from, upto);
        for (_, event) in self.events.range_mut(from..upto.max(from)) {
            // What was looked at is with somebody, waits, or is given up.
            let unseen = event.state.is_none();
            if unseen || matches!(event.state, Some(State::Waits { .. })) {
                event.state = Some(State::Settled);
            }
        }
        self.looked = self.consumer.report(self.stream.end).next;
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

    pub(super) fn step(&mut self) -> Verdict {
        match self.random.below(100) {
            0..12 => self.grow(),
            12..17 => self.join()?,
            17..21 => self.leave()?,
            21..36 => self.grant(),
            36..58 => self.read()?,
            58..80 => self.settle()?,
            80..83 => self.old_token()?,
            83..93 => self.pass_time(60)?,
            93..95 => self.store_dead(),
            95 if self.random.chance(500) => self.lose(),
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
}
