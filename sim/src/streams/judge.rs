//! What was told to whom, and the checks that hold it against the logs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::AddAssign;

use weft_stream::consumer::{Report, Saved};
use weft_stream::replica::Position;
use weft_stream::seat::Version;

use super::home::Home;
use super::{Level, Name};

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// What was acknowledged is there, at its level.
    Lost,
    /// What two homes were said to have, two have.
    Homes,
    /// No event is in a log twice.
    Duplicate,
    /// A home's events keep the order in which they entered there, at every
    /// home, and a producer's among them.
    Order,
    /// Consumers are handed only what is on the disk.
    Served,
    /// What was settled, and kept so, is not handed out again.
    Redelivered,
    /// What is kept of a consumer, and of a log's position, never goes back.
    Position,
    /// Every event reaches every consumer, or is a dead letter.
    Undelivered,
    /// What was settled at the seat of a consumer, and copied to another home,
    /// is settled there when that takes over.
    Copied,
    /// What was with members, and copied, comes again as such after a takeover.
    Flagged,
    /// What members say under the token of another seat changes nothing.
    Fenced,
    /// In the end each consumer runs at one home, its seat by the rule.
    Seat,
    /// A home that has drained stops with nothing that the others within its reach
    /// have not on their disks, and with no consumer that could run elsewhere.
    Drained,
    /// A consumer's counts add up.
    Conservation,
    /// Of one key, events are handed out for the first time in their order, and
    /// never to a member while another has some.
    KeyOrder,
    /// A read after an acknowledged write sees it, and reads agree on one order.
    Strong,
    /// A reader never goes back, whichever home it reads from.
    Monotonic,
    /// All homes come to the same.
    Eventual,
    /// When all is mended, everything comes to its end.
    Stuck,
}

/// A broken promise.
pub type Violation = crate::broken::Violation<Check>;

/// What was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs.
    pub runs: u64,
    /// Homes.
    pub homes: u64,
    /// Events that were published.
    pub published: u64,
    /// Of these, acknowledged.
    pub acknowledged: u64,
    /// Publishes that were sent again.
    pub repeated: u64,
    /// Losses of power.
    pub crashes: u64,
    /// Kills.
    pub kills: u64,
    /// Flipped bits.
    pub flips: u64,
    /// Cuts between homes or to clients.
    pub cuts: u64,
    /// Times that a disk was full, slow or failed.
    pub disks: u64,
    /// Jumps of a clock.
    pub jumps: u64,
    /// Events handed to members.
    pub handed_out: u64,
    /// Of these, not for the first time.
    pub redelivered: u64,
    /// Dead letters.
    pub dead: u64,
    /// Reads.
    pub reads: u64,
    /// Events that were copied to another home.
    pub copied: u64,
    /// Consumers that another home took over.
    pub takeovers: u64,
    /// Of these, moved by request.
    pub moved: u64,
    /// Members that were sent to another home.
    pub sent_away: u64,
    /// What members said under the token of a seat that was left.
    pub fenced: u64,
    /// Homes that were told to stop.
    pub drains: u64,
    /// Of these, those that were ready before their time was up.
    pub drained: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.runs += more.runs;
        self.homes += more.homes;
        self.published += more.published;
        self.acknowledged += more.acknowledged;
        self.repeated += more.repeated;
        self.crashes += more.crashes;
        self.kills += more.kills;
        self.flips += more.flips;
        self.cuts += more.cuts;
        self.disks += more.disks;
        self.jumps += more.jumps;
        self.handed_out += more.handed_out;
        self.redelivered += more.redelivered;
        self.dead += more.dead;
        self.reads += more.reads;
        self.copied += more.copied;
        self.takeovers += more.takeovers;
        self.moved += more.moved;
        self.sent_away += more.sent_away;
        self.fenced += more.fenced;
        self.drains += more.drains;
        self.drained += more.drained;
    }
}

/// An event as it lies in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lying {
    pub(crate) name: Name,
    pub(crate) local: u64,
    pub(crate) home: u32,
    pub(crate) home_sequence: u64,
}

/// What a consumer was given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    /// Members that acked said so.
    pub(crate) handled: BTreeSet<Name>,
    /// Stored as dead letters.
    pub(crate) dead: BTreeSet<Name>,
    /// Its lives, by home.
    lives: BTreeMap<usize, Life>,
}

/// A consumer at one home.
#[derive(Clone, Debug, Default)]
struct Life {
    /// What is kept on the disk.
    durable: Saved,
    /// Per key the last that was handed out for the first time, in this life.
    keys: BTreeMap<Vec<u8>, u64>,
    /// Of a keyed consumer: who has what, of which key, until when.
    held: BTreeMap<u64, (u64, Vec<u8>, u64)>,
}

/// An event of a keyed consumer that is handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyed<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) member: u64,
    pub(crate) now: u64,
    pub(crate) ack_wait: u64,
}

/// All that was told.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    pub(crate) now_ms: u64,
    /// Acknowledged events, and at which home and level.
    pub(crate) acked: BTreeMap<Name, (usize, Level)>,
    /// Events in blocks in which a bit was flipped.
    pub(crate) forgiven: BTreeSet<Name>,
    /// Acknowledged as written, and not synced since.
    written: BTreeMap<Name, (usize, u64)>,
    pub(crate) given: Vec<Given>,
    /// States of consumers that were sent, and from which home.
    copies: BTreeMap<(usize, Version), (usize, Saved)>,
    /// What each home has of each consumer: of its newest life the last version
    /// of each start of the home where it ran.
    newest: BTreeMap<(usize, usize), BTreeMap<u64, Version>>,
    positions: Vec<Position>,
    /// Homes on whose disk a bit was flipped: what cannot be read there does
    /// not count in what its log says.
    pub(crate) flipped: BTreeSet<usize>,
    /// Seen by a reader.
    seen: BTreeSet<Name>,
    pub(crate) tally: Tally,
}

pub(crate) type Verdict = Result<(), Violation>;

impl Judge {
    pub(crate) fn new(homes: usize, consumers: usize) -> Self {
        Self { given: vec![Given::default(); consumers], positions: vec![Position::start(); homes], ..Self::default() }
    }

    pub(crate) fn fail(&self, check: Check, what: impl fmt::Display) -> Violation {
        Violation { check, at_ms: self.now_ms, what: what.to_string() }
    }

    /// A producer was told.
    pub(crate) fn told(&mut self, name: Name, home: usize, level: Level, local: u64, synced: u64) {
        self.acked.insert(name, (home, level));
        if level == Level::Written && local >= synced {
            self.written.insert(name, (home, local));
        }
    }

    /// More of a log is on the disk.
    pub(crate) fn synced(&mut self, home: usize, synced: u64, position: &Position) -> Verdict {
        self.written.retain(|_, (at, local)| *at != home || *local >= synced);
        if let Some(before) = self.positions.get_mut(home) {
            if !position.covers(before) && !self.flipped.contains(&home) {
                let what = format!("home {home} was at {before:?} and is at {position:?}");
                return Err(self.fail(Check::Position, what));
            }
            *before = position.clone();
        }
        Ok(())
    }

    /// A home lost its power: what was only written may be gone.
    pub(crate) fn power_failed(&mut self, home: usize) {
        for (name, _) in self.written.extract_if(.., |_, (at, _)| *at == home) {
            self.acked.remove(&name);
        }
    }

    /// What is on a home's disk before it is used again can go back by damage.
    pub(crate) fn forgive_position(&mut self, home: usize, position: &Position) {
        if let Some(before) = self.positions.get_mut(home) {
            *before = position.clone();
        }
    }

    /// A state of a consumer is on the disk.
    pub(crate) fn kept(&mut self, consumer: usize, home: usize, saved: &Saved) -> Verdict {
        let Some(life) = self.life(consumer, home) else { return Ok(()) };
        let before = life.durable.floor;
        if saved.floor < before {
            let what = format!("consumer {consumer} at home {home} was kept at {before}, now at {}", saved.floor);
            return Err(self.fail(Check::Position, what));
        }
        life.durable = saved.clone();
        Ok(())
    }

    fn life(&mut self, consumer: usize, home: usize) -> Option<&mut Life> {
        self.given.get_mut(consumer).map(|given| given.lives.entry(home).or_default())
    }

    pub(crate) fn new_life(&mut self, consumer: usize, home: usize) {
        if let Some(life) = self.life(consumer, home) {
            life.keys.clear();
            life.held.clear();
        }
    }

    /// The state of a consumer is on its way to other homes.
    pub(crate) fn sent(&mut self, consumer: usize, version: Version, home: usize, saved: Saved) {
        // A copy of an earlier life that came back is sent on under the version
        // that it had: its state is that of then.
        self.copies.entry((consumer, version)).or_insert((home, saved));
    }

    /// It came to one.
    pub(crate) fn came(&mut self, consumer: usize, home: usize, version: Version) {
        let newest = self.newest.entry((consumer, home)).or_default();
        let last = newest.values().max().copied();
        match last.filter(|last| !last.is_same_life(&version)) {
            Some(last) if last > version => return,
            Some(_) => newest.clear(),
            None => {}
        }
        let of_start = newest.entry(version.number >> 32).or_insert(version);
        *of_start = version.max(*of_start);
    }

    /// What a home has.
    pub(crate) fn newest(&self, consumer: usize, home: usize) -> Option<Version> {
        self.newest.get(&(consumer, home)).and_then(|newest| newest.values().max().copied())
    }

    /// A home has forgotten all but what it kept.
    pub(crate) fn forgot(&mut self, home: usize, kept: impl Iterator<Item = (usize, Version)>) {
        self.newest.retain(|(_, at), _| *at != home);
        for (consumer, version) in kept {
            self.came(consumer, home, version);
        }
    }

    /// A home took a consumer over, with this state.
    pub(crate) fn took_over(&mut self, consumer: usize, home: usize, saved: &Saved, homes: &[Home]) -> Verdict {
        self.new_life(consumer, home);
        let synced = homes.get(home).and_then(|home| home.open.as_ref()).map_or(0, |open| open.log.synced());
        if let Some(life) = self.life(consumer, home) {
            // What the file says: the rest is on the disk only once it is kept.
            life.durable = Saved { generation: saved.generation, floor: saved.floor.min(synced), ..Saved::default() };
        }
        let newest = self.newest.get(&(consumer, home)).into_iter().flat_map(BTreeMap::values);
        let copies: Vec<_> = newest.filter_map(|version| self.copies.get(&(consumer, *version))).collect();
        let Some((seat, last)) = copies.last() else { return Ok(()) };
        let (Some(there), Some(here)) = (homes.get(*seat), homes.get(home)) else { return Ok(()) };
        for (name, place) in there.on_disk.iter().filter(|(name, _)| !self.forgiven.contains(name)) {
            // One that entered at two homes has two names, and is two events here.
            let Some(at) = here.on_disk.get(name).filter(|at| at.home == place.home) else { continue };
            let (local, at) = (place.local, at.local);
            if is_settled(saved, at) {
                continue;
            }
            if copies.iter().any(|(_, copied)| is_settled(copied, local)) {
                let what = format!("consumer {consumer} at home {home}: {name:?} was settled at {seat}, as copied");
                return Err(self.fail(Check::Copied, what));
            }
            let tries = |saved: &Saved, at: u64| saved.tried.iter().any(|run| run.first <= at && at < run.end);
            if tries(last, local) && !tries(saved, at) {
                let what =
                    format!("consumer {consumer} at home {home}: {name:?} was with a member at {seat}, as copied");
                return Err(self.fail(Check::Flagged, what));
            }
        }
        Ok(())
    }

    /// An event is handed out.
    pub(crate) fn handed_out(
        &mut self,
        (consumer, home): (usize, usize),
        local: u64,
        synced: u64,
        attempt: u32,
        keyed: Option<Keyed<'_>>,
    ) -> Verdict {
        self.tally.handed_out += 1;
        self.tally.redelivered += u64::from(attempt > 1);
        if local >= synced {
            let what = format!("consumer {consumer} was handed {local}, synced is all below {synced}");
            return Err(self.fail(Check::Served, what));
        }
        let Some(given) = self.life(consumer, home) else { return Ok(()) };
        if is_settled(&given.durable, local) {
            let what = format!("consumer {consumer} was handed {local} again, which was kept as settled");
            return Err(self.fail(Check::Redelivered, what));
        }
        let Some(Keyed { key, member, now, ack_wait }) = keyed else { return Ok(()) };
        let others =
            given.held.iter().filter(|(_, (holder, of, until))| of == key && *holder != member && *until > now);
        if let Some((other, (holder, ..))) = others.into_iter().next() {
            let what = format!("consumer {consumer}: {local} went to {member} while {holder} has {other} of its key");
            return Err(self.fail(Check::KeyOrder, what));
        }
        given.held.insert(local, (member, key.to_vec(), now + ack_wait));
        if attempt == 1 {
            let last = given.keys.insert(key.to_vec(), local).unwrap_or(0);
            if last > local {
                let what = format!("consumer {consumer} was handed {local} after {last} of the same key");
                return Err(self.fail(Check::KeyOrder, what));
            }
        }
        Ok(())
    }

    fn of_member(
        &mut self,
        (consumer, home): (usize, usize),
        member: u64,
        items: &[(u64, Name)],
        each: impl Fn(&mut Life, u64),
    ) {
        let Some(given) = self.life(consumer, home) else { return };
        for (local, _) in items {
            if given.held.get(local).is_some_and(|(holder, ..)| *holder == member) {
                each(given, *local);
            }
        }
    }

    /// A member settled these.
    pub(crate) fn let_go(&mut self, consumer: (usize, usize), member: u64, items: &[(u64, Name)]) {
        self.of_member(consumer, member, items, |given, local| drop(given.held.remove(&local)));
    }

    /// A member asked for more time.
    pub(crate) fn held_longer(&mut self, consumer: (usize, usize), member: u64, items: &[(u64, Name)], until: u64) {
        self.of_member(consumer, member, items, |given, local| {
            given.held.entry(local).and_modify(|(.., end)| *end = until);
        });
    }

    /// A member is gone.
    pub(crate) fn left(&mut self, consumer: usize, home: usize, member: u64) {
        if let Some(life) = self.life(consumer, home) {
            life.held.retain(|_, (holder, ..)| *holder != member);
        }
    }

    /// What a consumer says of itself.
    pub(crate) fn counts(&self, consumer: usize, report: &Report) -> Verdict {
        let c = report.counts;
        let settled = c.acked + c.filtered + c.expired + c.unreadable + c.dead + c.dropped + c.forgotten;
        let all = settled + report.in_flight + report.waiting + report.dying;
        if c.offered == all {
            return Ok(());
        }
        Err(self
            .fail(Check::Conservation, format!("consumer {consumer} was offered {}, has {all}: {report:?}", c.offered)))
    }

    /// A reader was answered.
    pub(crate) fn read(&mut self, names: &[Name]) {
        self.tally.reads += 1;
        self.seen.extend(names);
    }

    /// What must be in a read that begins now: all that was acknowledged as
    /// synced.
    pub(crate) fn owed_to_reads(&self) -> BTreeSet<Name> {
        let synced = self.acked.iter().filter(|(_, (_, level))| *level != Level::Written);
        synced.map(|(name, _)| *name).filter(|name| !self.forgiven.contains(name)).collect()
    }

    /// A log in itself.
    pub(crate) fn log(&self, home: usize, events: &[Lying]) -> Verdict {
        let (mut names, mut next, mut last) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        for event in events {
            if !names.insert(event.name) {
                return Err(self.fail(Check::Duplicate, format!("home {home} has {:?} twice", event.name)));
            }
            let wanted = next.insert(event.home, event.home_sequence + 1).unwrap_or(1);
            if event.home_sequence < wanted {
                let what = format!("home {home}: {}:{} after {wanted}", event.home, event.home_sequence);
                return Err(self.fail(Check::Order, what));
            }
            let before = last.get(&(event.home, event.name.0)).copied();
            if before.is_some_and(|before| before > event.name.1) {
                // Damage took it, and its producer, who had no answer yet, sent it again.
                if self.forgiven.contains(&event.name) {
                    continue;
                }
                let what = format!("home {home}, entered at {}: {:?} after {before:?}", event.home, event.name);
                return Err(self.fail(Check::Order, what));
            }
            last.insert((event.home, event.name.0), event.name.1);
        }
        Ok(())
    }

    /// All logs in the end.
    pub(crate) fn end(&self, logs: &[Vec<Lying>]) -> Verdict {
        let names = |log: &[Lying]| log.iter().map(|event| event.name).collect::<BTreeSet<Name>>();
        let all: Vec<BTreeSet<Name>> = logs.iter().map(|log| names(log)).collect();
        for (name, (home, level)) in self.acked.iter().filter(|(name, _)| !self.forgiven.contains(name)) {
            if !all.get(*home).is_some_and(|log| log.contains(name)) {
                let what = format!("{name:?} was acknowledged as {level:?} by home {home} and is not there");
                return Err(self.fail(Check::Lost, what));
            }
        }
        for pair in all.windows(2) {
            let [one, other] = pair else { continue };
            if let Some(name) = one.symmetric_difference(other).find(|name| !self.forgiven.contains(name)) {
                return Err(self.fail(Check::Eventual, format!("{name:?} is at one home and not at another")));
            }
        }
        if let Some(name) =
            self.seen.iter().find(|name| !all.iter().any(|log| log.contains(name)) && !self.forgiven.contains(name))
        {
            return Err(self.fail(Check::Lost, format!("{name:?} was read and is gone")));
        }
        for (consumer, given) in self.given.iter().enumerate() {
            let is_missing = |name: &&Name| {
                !given.handled.contains(name) && !given.dead.contains(name) && !self.forgiven.contains(name)
            };
            if let Some(name) = all.iter().flatten().find(is_missing) {
                return Err(self.fail(Check::Undelivered, format!("{name:?} never came to consumer {consumer}")));
            }
        }
        Ok(())
    }
}

/// Whether a consumer has settled an event, as it is saved.
fn is_settled(saved: &Saved, local: u64) -> bool {
    let done = saved.done.partition_point(|(_, end)| *end <= local);
    local < saved.floor || saved.done.get(done).is_some_and(|(first, _)| *first <= local)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found at seed 384: a block was damaged before its producer was answered.
    #[test]
    fn what_damage_took_may_come_again_behind_what_followed_it_and_nothing_else() {
        let mut judge = Judge::new(1, 0);
        let numbers = [1, 3, 2, 4];
        let lying = |(local, number)| Lying { name: (1, number), local, home: 1, home_sequence: local };
        let log: Vec<Lying> = (1..).zip(numbers).map(lying).collect();
        let found = judge.log(0, &log).unwrap_err();
        assert_eq!(found.check, Check::Order);
        judge.forgiven.insert((1, 2));
        judge.log(0, &log).unwrap();
        // The others keep their order all the same.
        let log: Vec<Lying> = (1..).zip([1, 5, 2, 4]).map(lying).collect();
        assert_eq!(judge.log(0, &log).unwrap_err().check, Check::Order);
    }
}
