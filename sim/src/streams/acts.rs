//! What clients do, what homes answer them, and what faults do.

use std::collections::BTreeSet;
use std::time::Duration;

use weft_base::UnixNanos;
use weft_stream::consumer::{DeadLetter, Verb};
use weft_stream::replica::Position;

use super::clients::{Client, Session};
use super::faults::Fault;
use super::home::{Home, Taken, dir, names};
use super::judge::{Check, Verdict};
use super::world::{Action, Item, Said, World};
use super::{Canary, Level, Name};

const MS: u64 = 1_000_000;
/// A publish without an answer breaks its session after so long.
const TIMEOUT_MS: u64 = 1_500;
/// Where the blocks of a segment begin.
const HEAD: usize = 4096;

impl World {
    pub(super) fn produce(&mut self, number: usize) -> Verdict {
        let now_ms = self.now / MS;
        let time = UnixNanos(self.now);
        let next = self.soon(10, 120);
        let levels = if self.homes.len() > 1 { 3 } else { 2 };
        let (events, level) = (1 + self.random.below(5), self.random.below(levels));
        let level = [Level::Synced, Level::Written, Level::Two][level as usize];
        let Some(producer) = self.producers.get_mut(number) else { return Ok(()) };
        if producer.is_done() {
            return Ok(());
        }
        if producer.todo > 0 && producer.outstanding.len() < 4 {
            self.judge.tally.published += producer.write(events, level, time);
        }
        let site = producer.site;
        let late = producer
            .outstanding
            .iter()
            .any(|publication| publication.sent_ms > 0 && publication.sent_ms + TIMEOUT_MS < now_ms);
        match producer.session {
            Some(session) if late => {
                producer.outstanding.iter_mut().for_each(|publication| publication.sent_ms = 0);
                self.break_session(session);
            }
            Some(session) => self.send_publications(number, session),
            None => {
                producer.outstanding.iter_mut().for_each(|publication| publication.sent_ms = 0);
                // The home at its place, or any that it reaches.
                let count = self.homes.len();
                let begin = if site < count { site } else { self.random.below(count as u64) as usize };
                let homes = (0..count).map(|n| (begin + n) % count);
                // One that drains turns producers away.
                let mut homes = homes.filter(|home| !self.drains.contains_key(home)).collect::<Vec<_>>().into_iter();
                let session = homes.find_map(|home| self.connect(Client::Producer(number), site, home));
                if let Some(producer) = self.producers.get_mut(number) {
                    producer.session = session;
                }
                if let Some(session) = session {
                    self.send_publications(number, session);
                }
            }
        }
        self.post(next, Action::Produce(number));
        Ok(())
    }

    /// Sends what was not sent in this session.
    fn send_publications(&mut self, number: usize, session: u64) {
        let now_ms = (self.now / MS).max(1);
        let Some(producer) = self.producers.get_mut(number) else { return };
        let mut sends = Vec::new();
        for publication in producer.outstanding.iter_mut().filter(|publication| publication.sent_ms == 0) {
            publication.sent_ms = now_ms;
            sends.push((publication.level, publication.bytes.clone()));
        }
        self.judge.tally.repeated += sends.len() as u64;
        for (level, bytes) in sends {
            self.along(session, 0, |session| Action::Publish { session, level, bytes });
        }
    }

    pub(super) fn publish(&mut self, session: u64, level: Level, bytes: &[u8]) -> Verdict {
        let Some(found) = self.sessions.get(&session).filter(|session| session.is_open) else { return Ok(()) };
        let home = found.home;
        let with = (self.time(home), self.canary);
        let Some(open) = self.homes.get_mut(home).and_then(|home| home.open.as_mut()) else { return Ok(()) };
        let taken = open.publish(session, bytes, level, home, with);
        self.take(taken, home, session)
    }

    pub(super) fn take(&mut self, taken: Taken, home: usize, session: u64) -> Verdict {
        match taken {
            Taken::Pending(pending) => {
                if let Some(open) = self.homes.get_mut(home).and_then(|home| home.open.as_mut()) {
                    open.pending.push(pending);
                }
                self.want_sync(home);
                self.answer_publishers(home)
            }
            Taken::Refused => {
                if self.homes.get(home).is_some_and(Home::power_is_off) {
                    return self.crash(home, true);
                }
                self.break_session(session);
                Ok(())
            }
        }
    }

    pub(super) fn acked(&mut self, session: u64, names: &[Name]) -> Verdict {
        let Some(found) = self.sessions.get(&session).filter(|session| session.is_open) else { return Ok(()) };
        if let Client::Producer(number) = found.client
            && let Some(producer) = self.producers.get_mut(number)
            && let Some((_, first)) = names.first()
        {
            producer.outstanding.retain(|publication| publication.first != *first);
        }
        Ok(())
    }

    pub(super) fn member_turn(&mut self, number: usize) -> Verdict {
        let next = self.soon(100, 400);
        self.post(next, Action::MemberTurn(number));
        let leaves = !self.healed && self.random.chance(40);
        let Some(member) = self.members.get(number) else { return Ok(()) };
        match member.session {
            Some(session) if leaves => self.break_session(session),
            Some(_) => {}
            None => {
                let (site, consumer) = (member.site, member.consumer);
                let session = self.place(site, consumer);
                let session = session.and_then(|home| self.connect(Client::Member(number), site, home));
                if let Some(member) = self.members.get_mut(number) {
                    (member.session, member.token) = (session, 0);
                }
                if let Some(session) = session {
                    self.along(session, 0, |session| Action::Join { session });
                }
            }
        }
        Ok(())
    }

    pub(super) fn join(&mut self, session: u64) -> Verdict {
        let Some(found) = self.sessions.get(&session).filter(|session| session.is_open) else { return Ok(()) };
        let (home, client) = (found.home, found.client);
        let now = self.time(home);
        let Client::Member(number) = client else { return Ok(()) };
        let consumer = self.members.get(number).map_or(0, |member| member.consumer);
        let serves = self.asks_for(home, consumer)?;
        let Some(open) = self.homes.get_mut(home).and_then(|home| home.open.as_mut()) else { return Ok(()) };
        let seat = open.seats.iter_mut().find(|seat| seat.number == consumer);
        let Some(seat) = seat.filter(|_| serves) else {
            // It is refused, and asks again.
            self.break_session(session);
            return Ok(());
        };
        if let Ok(joined) = seat.consumer.join(session, "member", now) {
            seat.consumer.grant(session, 12, 1 << 20);
            self.down(session, |session| Action::Token { session, token: joined.token });
        }
        self.serve(home)
    }

    pub(super) fn token(&mut self, session: u64, token: u64) -> Verdict {
        let Some(found) = self.sessions.get(&session).filter(|session| session.is_open) else { return Ok(()) };
        if let Client::Member(number) = found.client
            && let Some(member) = self.members.get_mut(number)
        {
            member.token = token;
            // Some notice late that they are members anew.
            if token != 0
                && let Some((token, items)) = member.had.take()
            {
                let said = Action::Settle { session, token, verb: Said::Ack, items, credit: 0 };
                self.along(session, 0, |_| said);
            }
        }
        Ok(())
    }

    /// A member works on what it got, and says so, mostly.
    pub(super) fn handed(&mut self, session: u64, items: &[Item]) -> Verdict {
        let Some(found) = self.sessions.get(&session).filter(|session| session.is_open) else { return Ok(()) };
        let Client::Member(number) = found.client else { return Ok(()) };
        let Some(member) = self.members.get(number) else { return Ok(()) };
        let (token, consumer) = (member.token, member.consumer);
        if self.random.chance(50)
            && let Some(member) = self.members.get_mut(number)
        {
            member.had = Some((token, items.to_vec()));
        }
        for chunk in items.chunks(3) {
            let verb = match self.random.below(100) {
                _ if self.healed => Some(Said::Ack),
                0..70 => Some(Said::Ack),
                70..80 => Some(Said::Nack),
                80..85 => Some(Said::Progress),
                85..88 => Some(Said::Term),
                _ => None,
            };
            if verb == Some(Said::Ack)
                && let Some(given) = self.judge.given.get_mut(consumer)
            {
                given.handled.extend(chunk.iter().map(|(_, name)| *name));
            }
            // Who forgets asks for more all the same.
            let items = if verb.is_some() { chunk.to_vec() } else { Vec::new() };
            let (verb, credit) = (verb.unwrap_or(Said::Progress), chunk.len() as u64);
            self.along(session, 0, |session| Action::Settle { session, token, verb, items, credit });
        }
        Ok(())
    }

    pub(super) fn settle(&mut self, session: u64, token: u64, said: Said, items: &[Item], credit: u64) -> Verdict {
        let Some(found) = self.sessions.get(&session).filter(|session| session.is_open) else { return Ok(()) };
        let (home, client) = (found.home, found.client);
        let (now, delay) = (self.time(home), Duration::from_millis(self.random.below(50)));
        let Client::Member(number) = client else { return Ok(()) };
        let consumer = self.members.get(number).map_or(0, |member| member.consumer);
        let Some(open) = self.homes.get_mut(home).and_then(|home| home.open.as_mut()) else { return Ok(()) };
        let Some(seat) = open.seats.iter_mut().find(|seat| seat.number == consumer) else { return Ok(()) };
        let ack_wait = seat.consumer.spec().ack_wait.as_nanos() as u64;
        let verb = match said {
            Said::Ack => Verb::Ack,
            Said::Nack => Verb::Nack { delay },
            Said::Progress => Verb::Progress,
            Said::Term => Verb::Term { reason: "bad" },
        };
        let fenced = seat.consumer.token(session) != Some(token);
        if fenced {
            self.judge.tally.fenced += 1;
        } else if said == Said::Progress {
            self.judge.held_longer((consumer, home), session, items, self.now + ack_wait);
        } else {
            self.judge.let_go((consumer, home), session, items);
        }
        let ranges: Vec<(u64, u32)> = items.iter().map(|(local, _)| (*local, 1)).collect();
        let mut dead = Vec::new();
        let before = fenced.then(|| seat.consumer.saved());
        let unfenced = fenced && self.canary == Some(Canary::NoFence);
        let token = if unfenced { seat.consumer.token(session).unwrap_or(token) } else { token };
        // A refusal by the token is the member's affair.
        let _ = seat.consumer.settle(session, token, verb, &ranges, now, &mut dead);
        if before.is_some_and(|before| before != seat.consumer.saved()) {
            let what = format!("consumer {consumer} at home {home}: {items:?} of another token was settled");
            return Err(self.judge.fail(Check::Fenced, what));
        }
        seat.consumer.grant(session, credit, 1 << 12);
        open.sync_is_due = true;
        self.bury(home, consumer, &dead);
        self.want_sync(home);
        self.serve(home)
    }

    /// Dead letters of a consumer are stored with the next sync.
    pub(super) fn bury(&mut self, home: usize, consumer: usize, dead: &[DeadLetter]) {
        let Some(open) = self.homes.get_mut(home).and_then(|home| home.open.as_mut()) else { return };
        let Some(seat) = open.seats.iter_mut().find(|seat| seat.number == consumer) else { return };
        let Some(given) = self.judge.given.get_mut(consumer) else { return };
        for letter in dead {
            seat.dying.push((letter.first, letter.count));
            open.sync_is_due = true;
            let all = letter.first..letter.first + u64::from(letter.count);
            // What cannot be read is no letter, and was counted by the log.
            let _ = open.reader.clone().for_each_block(letter.first, open.log.next(), |block| {
                let here = (block.stream_sequence()..).zip(names(&block));
                given.dead.extend(here.filter(|(local, _)| all.contains(local)).map(|(_, (name, _))| name));
            });
        }
    }

    pub(super) fn home_notices(&mut self, session: u64) -> Verdict {
        let Some(found) = self.sessions.get(&session) else { return Ok(()) };
        let (home, epoch, client) = (found.home, found.epoch, found.client);
        let now = self.time(home);
        let Client::Member(number) = client else { return Ok(()) };
        let consumer = self.members.get(number).map_or(0, |member| member.consumer);
        let Some(found) = self.homes.get_mut(home).filter(|home| home.epoch == epoch) else { return Ok(()) };
        let Some(open) = &mut found.open else { return Ok(()) };
        let Some(seat) = open.seats.iter_mut().find(|seat| seat.number == consumer) else { return Ok(()) };
        self.judge.left(consumer, home, session);
        if let Some(over) = seat.consumer.leave(session, now) {
            self.down(over.member, |session| Action::Token { session, token: over.token });
        }
        self.serve(home)
    }

    pub(super) fn client_notices(&mut self, session: u64) -> Verdict {
        for producer in self.producers.iter_mut().filter(|producer| producer.session == Some(session)) {
            producer.session = None;
        }
        for member in self.members.iter_mut().filter(|member| member.session == Some(session)) {
            (member.session, member.token) = (None, 0);
        }
        Ok(())
    }

    /// A reader asks the home at its place, or moves.
    pub(super) fn ask(&mut self, number: usize) -> Verdict {
        let next = self.soon(300, 900);
        self.post(next, Action::Ask(number));
        let home = self.random.below(self.homes.len() as u64) as usize;
        let owed = if self.homes.len() == 1 { self.judge.owed_to_reads() } else { BTreeSet::new() };
        let at = self.soon(1, 20);
        let Some(reader) = self.readers.get(number) else { return Ok(()) };
        if self.is_linked(reader.site, home) {
            self.post(at, Action::Answer { reader: number, home, owed });
        }
        Ok(())
    }

    /// A home answers a reader with what is on its disk, unless it has less
    /// than the reader knows.
    pub(super) fn answer(&mut self, number: usize, home: usize, owed: &BTreeSet<Name>) -> Verdict {
        let stale = self.strikes(Canary::StaleRead, 300);
        let back = self.canary == Some(Canary::ReadBack);
        let single = self.homes.len() == 1;
        let Some(found) = self.homes.get(home) else { return Ok(()) };
        let (Some(open), Some(reader)) = (&found.open, self.readers.get_mut(number)) else { return Ok(()) };
        let synced = open.log.synced();
        let upto = if stale { synced / 2 } else { synced };
        let Ok(position) = open.reader.clone().position_at(upto) else { return Ok(()) };
        let position: Position = position.into_iter().collect();
        if !back && !stale && !position.covers(&reader.position) {
            return Ok(());
        }
        let order: Vec<Name> = found.lying(upto).into_iter().map(|event| event.name).collect();
        let seen: BTreeSet<Name> = order.iter().copied().collect();
        if let Some(name) = reader.seen.iter().find(|name| !seen.contains(name) && !self.judge.forgiven.contains(name))
        {
            let check = if single { Check::Strong } else { Check::Monotonic };
            return Err(self
                .judge
                .fail(check, format!("reader {number} saw {name:?} and then home {home} showed it not")));
        }
        if let Some(name) = owed.iter().find(|name| !seen.contains(name) && !self.judge.forgiven.contains(name)) {
            return Err(self
                .judge
                .fail(Check::Strong, format!("{name:?} was acknowledged before the read that has it not")));
        }
        let forgiven = &self.judge.forgiven;
        if single && !forgiven.iter().any(|name| reader.seen.contains(name)) && !order.starts_with(&reader.order) {
            return Err(self.judge.fail(Check::Strong, format!("reader {number} saw another order before")));
        }
        (reader.position, reader.seen) = (position, seen);
        self.judge.read(&order);
        reader.order = order;
        Ok(())
    }

    pub(super) fn fault(&mut self, fault: Fault) -> Verdict {
        match fault {
            Fault::Crash { home } => return self.crash(home, true),
            Fault::CrashAt { home, operations } => {
                if let Some(home) = self.homes.get(home) {
                    home.fs.stop_at(home.fs.operations() + operations);
                }
            }
            Fault::Kill { home } => return self.crash(home, false),
            Fault::Start { home, flips } => {
                if self.homes.get(home).is_some_and(Home::power_is_off) {
                    self.crash(home, true)?;
                }
                if flips {
                    self.flip(home);
                }
                return self.revive(home);
            }
            Fault::Cut { ends, cut } => self.cut(ends, cut),
            Fault::Full { home, full } => {
                self.judge.tally.disks += u64::from(full);
                if let Some(home) = self.homes.get(home) {
                    home.fs.set_capacity(if full { 1 } else { u64::MAX });
                }
            }
            Fault::Slow { home, ms } => {
                self.judge.tally.disks += 1;
                if let Some(home) = self.homes.get_mut(home) {
                    home.sync_time = Duration::from_millis(ms);
                }
            }
            Fault::FailSync { home } => {
                self.judge.tally.disks += 1;
                if let Some(home) = self.homes.get(home) {
                    home.fs.fail_sync(0);
                }
            }
            Fault::Jump { home, seconds } => {
                self.judge.tally.jumps += 1;
                if let Some(home) = self.homes.get_mut(home) {
                    home.skew = home.skew.saturating_add(seconds * 1_000_000_000);
                }
            }
            Fault::Move { consumer, to } => return self.move_consumer(consumer, to),
            Fault::Drain { home, ms } => self.begin_drain(home, ms),
            Fault::Heal => return self.heal(),
        }
        Ok(())
    }

    fn heal(&mut self) -> Verdict {
        self.healed = true;
        self.end_drains();
        for ends in self.cuts.clone() {
            self.cut(ends, false);
        }
        for home in 0..self.homes.len() {
            if let Some(home) = self.homes.get_mut(home) {
                home.fs.set_capacity(u64::MAX);
                home.sync_time = Duration::from_millis(2);
            }
            self.revive(home)?;
        }
        self.notice();
        Ok(())
    }

    /// A home without power gets it back, and starts.
    pub(super) fn revive(&mut self, home: usize) -> Verdict {
        if self.homes.get(home).is_some_and(Home::power_is_off) {
            self.crash(home, true)?;
        }
        self.start(home);
        Ok(())
    }

    fn cut(&mut self, ends: (usize, usize), cut: bool) {
        if cut {
            self.judge.tally.cuts += 1;
            self.cuts.insert(ends);
        } else {
            self.cuts.remove(&ends);
        }
        self.break_sessions();
        self.notice();
    }

    /// A home ends without a word.
    pub(super) fn crash(&mut self, home: usize, power: bool) -> Verdict {
        let (seed, draw) = (self.random.next_u64(), self.random.next_u64());
        let Some(found) = self.homes.get_mut(home) else { return Ok(()) };
        if found.open.is_none() && !found.power_is_off() {
            return Ok(());
        }
        let kept = (draw % (found.keyed.unsynced() as u64 + 1)) as usize;
        found.crash(power, seed, kept);
        self.drains.remove(&home);
        if power {
            self.judge.tally.crashes += 1;
            self.judge.power_failed(home);
        } else {
            self.judge.tally.kills += 1;
        }
        let broken = self.sessions.iter().filter(|(_, session)| session.is_open && session.home == home);
        let broken: Vec<u64> = broken.map(|(id, _)| *id).collect();
        broken.into_iter().for_each(|session| self.break_session(session));
        self.break_sessions();
        self.notice();
        Ok(())
    }

    /// Sessions break whose ends do not reach each other any more.
    fn break_sessions(&mut self) {
        let is_cut = |session: &Session| match session.client {
            Client::Producer(_) => !self.is_linked(session.site, session.home),
            Client::Member(_) => !self.reaches(session.site, session.home),
        };
        let broken = self.sessions.iter().filter(|(_, session)| session.is_open && is_cut(session));
        let broken: Vec<u64> = broken.map(|(id, _)| *id).collect();
        broken.into_iter().for_each(|session| self.break_session(session));
    }

    /// Flips a bit of a block that is followed by another one, while nobody
    /// has the disk open.
    fn flip(&mut self, home: usize) {
        let draws = [self.random.next_u64(), self.random.next_u64(), self.random.next_u64()];
        let Some(found) = self.homes.get(home).filter(|home| home.open.is_none()) else { return };
        let Ok(files) = weft_log::fs::Fs::list(&found.fs, &dir()) else { return };
        let segments: Vec<_> = files.into_iter().filter(|name| name.ends_with(".seg")).collect();
        let Some(segment) = segments.get(draws[0] as usize % segments.len().max(1)) else { return };
        let path = dir().join(segment);
        let Ok(bytes) = found.fs.get(&path) else { return };
        let mut blocks = Vec::new();
        let mut at = HEAD;
        while let Some(rest) = bytes.get(at..)
            && let Some(len) = weft_wire::block::peek_len(rest).map(|len| len as usize).filter(|len| *len > 0)
            && let Some(block) = rest.get(..len)
            && weft_wire::block::Block::validate(block).is_ok()
        {
            blocks.push((at, len));
            at += len;
        }
        blocks.pop();
        let Some((at, len)) = blocks.get(draws[1] as usize % blocks.len().max(1)).copied() else { return };
        let block = weft_wire::block::Block::trusted(bytes.get(at..at + len).unwrap_or_default());
        let hit: Vec<Name> = names(&block).map(|(name, _)| name).collect();
        if found.fs.flip(&path, at + draws[2] as usize % len, (draws[2] >> 32) as u8).is_ok() {
            self.judge.tally.flips += 1;
            self.judge.flipped.insert(home);
            self.judge.forgiven.extend(hit);
        }
    }
}
