//! Repair of damage from other homes: which range, whom to ask, when again.
//!
//! [`Healer`] is the decider for all streams of one hub. Told of a segment in
//! which damage was met, it has that looked at, asks the homes that can be
//! reached, one after the other, for exactly the events that are missing, by
//! their names, and has them put in their place when they are all there: as
//! many events and bytes as were lost, of names that can have been there. A
//! range is filled whole or not at all.
//!
//! One range is under repair at a time. Between two, and between two tries, is
//! a pause; a segment that cannot be repaired is tried again after ever longer
//! pauses, and at once when a home comes up. At most [`MOST_PLACES`] segments
//! are remembered: of others is told again when somebody meets them.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use weft_base::{HubId, Mono, Now};

use crate::replica::Position;

/// How many damaged segments are remembered.
pub const MOST_PLACES: usize = 1_024;
/// The least time before a place is tried again.
const LEAST: Duration = Duration::from_millis(100);

/// How patient, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The largest range that is repaired, in bytes; so much is in memory.
    pub most: u64,
    /// Between two repairs or tries.
    pub pause: Duration,
    /// The longest time after which a place is tried again.
    pub backoff: Duration,
    /// After such a silence another home is asked.
    pub timeout: Duration,
}

/// A segment of a stream here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// The stream's id here.
    pub stream: u64,
    /// The segment's number.
    pub number: u64,
}

/// What is missing in a damaged range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// How many events.
    pub events: u64,
    /// How many bytes the blocks took.
    pub bytes: u64,
    /// Of each home whose events may have been there: from, up to.
    pub held: Vec<(u32, u64, u64)>,
}

/// What a segment looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Whole, or gone.
    Whole,
    /// This is missing, and perhaps more behind it.
    Missing(Missing),
    /// It cannot be repaired so.
    Not(String),
}

/// A block that a home gave. Its bytes were checked, and its name is that in
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it entered the stream.
    pub home: u32,
    /// The first of that home's sequences.
    pub sequence: u64,
    /// How many.
    pub span: u32,
    /// The block.
    pub bytes: Vec<u8>,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The home has no more of what was asked for.
    pub done: bool,
    /// How far it has looked.
    pub through: Position,
    /// What it found, in its log's order.
    pub pieces: Vec<Piece>,
}

/// What a healer is told.
#[derive(Debug)]
pub enum Event {
    /// Somebody met damage.
    Suspect(Segment),
    /// The hubs that keep a stream beside this one, the nearest first.
    Sources {
        /// The stream.
        stream: u64,
        /// They.
        hubs: Vec<HubId>,
    },
    /// A stream is not here any more.
    Gone {
        /// The stream.
        stream: u64,
    },
    /// A hub can be reached.
    HubUp {
        /// The hub.
        hub: HubId,
    },
    /// A hub cannot be reached any more.
    HubDown {
        /// The hub.
        hub: HubId,
    },
    /// A segment was looked at.
    Looked {
        /// Which.
        at: Segment,
        /// What it looks like.
        looked: Looked,
    },
    /// A home answers.
    Given {
        /// Who.
        from: HubId,
        /// To which question.
        request: u64,
        /// What; none when it makes no sense.
        answer: Option<Answer>,
    },
    /// The range is filled.
    Filled {
        /// Where.
        at: Segment,
    },
    /// The range could not be filled.
    Failed {
        /// Where.
        at: Segment,
        /// Why.
        why: String,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done for a healer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Look at a segment; answered with [`Event::Looked`].
    Look(Segment),
    /// Ask a hub for events; it may be lost.
    Ask {
        /// The stream here.
        stream: u64,
        /// The hub.
        to: HubId,
        /// Named in the answer.
        request: u64,
        /// From here on.
        from: Position,
        /// Up to here, of the homes that this names.
        upto: Position,
    },
    /// Put blocks in the place of what was looked at last; answered with
    /// [`Event::Filled`] or [`Event::Failed`].
    Fill {
        /// Where.
        at: Segment,
        /// The blocks, in this order.
        blocks: Vec<Vec<u8>>,
    },
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealCounts {
    /// Ranges repaired.
    pub repaired: u64,
    /// Events in them.
    pub events: u64,
    /// Tries that ended without a repair.
    pub failed: u64,
    /// Homes that were asked.
    pub asked: u64,
    /// Answers that made no sense.
    pub nonsense: u64,
}

/// A damaged segment.
#[derive(Clone, Debug)]
struct Place {
    due: Mono,
    tries: u32,
    why: String,
}

/// What is under way.
#[derive(Clone, Debug)]
enum Work {
    Looking(Segment),
    Asking(Box<Asking>),
    Filling(Segment, u64),
}

#[derive(Clone, Debug)]
struct Asking {
    at: Segment,
    missing: Missing,
    upto: Position,
    /// Who is asked, and who is next.
    hub: HubId,
    others: VecDeque<HubId>,
    request: u64,
    deadline: Mono,
    through: Position,
    pieces: Vec<Piece>,
    /// Bytes and events of them.
    got: (u64, u64),
}

impl Asking {
    fn position(&self, of: impl Fn(&(u32, u64, u64)) -> u64) -> Position {
        self.missing.held.iter().map(|held| (held.0, of(held))).collect()
    }

    /// Whether a block may have been in the range, and was not given before.
    fn expects(&self, piece: &Piece) -> bool {
        let behind = piece.sequence.checked_add(u64::from(piece.span));
        let from = self.through.get(piece.home);
        let held = self.missing.held.iter().find(|held| held.0 == piece.home);
        held.zip(behind).is_some_and(|((_, low, high), behind)| {
            piece.span > 0 && piece.sequence >= from.max(*low) && behind <= *high
        })
    }

    /// Takes a part of the answer; says whether it makes sense.
    fn take(&mut self, given: Answer) -> bool {
        let mut had: BTreeMap<u32, u64> = BTreeMap::new();
        for piece in given.pieces {
            let before = had.entry(piece.home).or_default();
            if !self.expects(&piece) || piece.sequence < *before {
                return false;
            }
            *before = piece.sequence + u64::from(piece.span);
            self.got.0 = self.got.0.saturating_add(piece.bytes.len() as u64);
            self.got.1 = self.got.1.saturating_add(piece.span.into());
            self.pieces.push(piece);
        }
        let moved = self.through.merge(&given.through.iter().filter(|(home, _)| self.upto.get(*home) > 1).collect());
        moved || given.done
    }

    /// Nothing more can be of use.
    fn is_over(&self) -> bool {
        self.through.covers(&self.upto) || self.got.0 > self.missing.bytes || self.got.1 > self.missing.events
    }

    /// The blocks that fill the range exactly. When more was found, of one home
    /// alone, the range held the first of them: what follows it in the log
    /// follows it in that home's sequences.
    fn whole(&mut self) -> Option<Vec<Vec<u8>>> {
        let Missing { events, bytes, ref held } = self.missing;
        let (mut counted, mut sum, mut count) = (0_u64, 0_u64, 0);
        while (counted, sum) != (events, bytes) {
            let piece = self.pieces.get(count)?;
            counted = counted.checked_add(piece.span.into())?;
            sum = sum.checked_add(piece.bytes.len() as u64)?;
            count += 1;
        }
        let alone = held.len() == 1 || count == self.pieces.len();
        let pieces = std::mem::take(&mut self.pieces);
        alone.then(|| pieces.into_iter().take(count).map(|piece| piece.bytes).collect())
    }
}

/// The decider.
#[derive(Clone, Debug)]
pub struct Healer {
    settings: Settings,
    places: BTreeMap<Segment, Place>,
    sources: BTreeMap<u64, Vec<HubId>>,
    up: BTreeSet<HubId>,
    work: Option<Work>,
    rest_until: Mono,
    next_request: u64,
    /// Counted since the start.
    pub counts: HealCounts,
}

impl Healer {
    /// With nothing to do. `first_request` is later than any of an earlier
    /// life of the hub.
    #[must_use]
    pub fn new(settings: Settings, first_request: u64) -> Self {
        Self {
            settings,
            places: BTreeMap::new(),
            sources: BTreeMap::new(),
            up: BTreeSet::new(),
            work: None,
            rest_until: Mono(0),
            next_request: first_request,
            counts: HealCounts::default(),
        }
    }

    /// Takes an event; adds what is to be done to `out`.
    pub fn apply(&mut self, event: Event, now: Now, out: &mut Vec<Command>) {
        match event {
            Event::Suspect(at) => {
                if self.places.len() < MOST_PLACES {
                    self.places.entry(at).or_insert(Place { due: now.mono, tries: 0, why: String::new() });
                }
            }
            Event::Sources { stream, hubs } => {
                let known = self.sources.entry(stream).or_default();
                // Another order is no reason to try again.
                let more = hubs.iter().any(|hub| !known.contains(hub));
                *known = hubs;
                if more {
                    self.wake(now, |at| at.stream == stream);
                }
            }
            Event::Gone { stream } => {
                self.sources.remove(&stream);
                self.places.retain(|at, _| at.stream != stream);
                if matches!(&self.work, Some(Work::Asking(asking)) if asking.at.stream == stream) {
                    self.work = None;
                }
            }
            Event::HubUp { hub } => {
                if self.up.insert(hub) {
                    let sources = std::mem::take(&mut self.sources);
                    self.wake(now, |at| sources.get(&at.stream).is_some_and(|hubs| hubs.contains(&hub)));
                    self.sources = sources;
                }
            }
            Event::HubDown { hub } => {
                self.up.remove(&hub);
                if matches!(&self.work, Some(Work::Asking(asking)) if asking.hub == hub) {
                    self.ask_next(now, out);
                }
            }
            Event::Looked { at, looked } => self.on_looked(at, looked, now, out),
            Event::Given { from, request, answer } => self.on_given(from, request, answer, now, out),
            Event::Filled { at } => {
                let Some(Work::Filling(_, events)) = self.work.take_if(|work| is_filling(work, at)) else { return };
                self.counts.repaired += 1;
                self.counts.events += events;
                self.rest_until = now.mono + self.settings.pause;
                // There may be more of it.
                if let Some(place) = self.places.get_mut(&at) {
                    *place = Place { due: now.mono, tries: 0, why: String::new() };
                }
            }
            Event::Failed { at, why } => {
                if self.work.take_if(|work| is_filling(work, at)).is_some() {
                    self.put_off(at, why, now);
                }
            }
            Event::Tick => {}
        }
        self.go_on(now, out);
    }

    /// Places may be repaired now that could not be before.
    fn wake(&mut self, now: Now, which: impl Fn(&Segment) -> bool) {
        for (_, place) in self.places.iter_mut().filter(|(at, _)| which(at)) {
            place.due = place.due.min(now.mono);
        }
    }

    fn reachable(&self, stream: u64) -> impl Iterator<Item = HubId> {
        self.sources.get(&stream).into_iter().flatten().filter(|hub| self.up.contains(hub)).copied()
    }

    /// Begins with the place that is longest due, when nothing is under way.
    fn go_on(&mut self, now: Now, out: &mut Vec<Command>) {
        if let Some(Work::Asking(asking)) = &self.work
            && now.mono >= asking.deadline
        {
            self.ask_next(now, out);
        }
        if self.work.is_some() || now.mono < self.rest_until {
            return;
        }
        let ready =
            |(at, place): &(&Segment, &Place)| place.due <= now.mono && self.reachable(at.stream).next().is_some();
        let Some(at) = self.places.iter().filter(ready).min_by_key(|(_, place)| place.due).map(|(at, _)| *at) else {
            return;
        };
        self.work = Some(Work::Looking(at));
        out.push(Command::Look(at));
    }

    fn put_off(&mut self, at: Segment, why: String, now: Now) {
        self.counts.failed += 1;
        self.rest_until = now.mono + self.settings.pause;
        if let Some(place) = self.places.get_mut(&at) {
            place.tries = place.tries.saturating_add(1);
            let pause = self.settings.pause.max(LEAST).saturating_mul(1 << place.tries.min(20));
            place.due = now.mono + pause.min(self.settings.backoff);
            place.why = why;
        }
    }

    fn on_looked(&mut self, at: Segment, looked: Looked, now: Now, out: &mut Vec<Command>) {
        if self.work.take_if(|work| matches!(work, Work::Looking(looking) if *looking == at)).is_none() {
            return;
        }
        let missing = match looked {
            Looked::Whole => {
                self.places.remove(&at);
                return;
            }
            Looked::Not(why) => return self.put_off(at, why, now),
            Looked::Missing(missing) => missing,
        };
        if missing.bytes > self.settings.most {
            let why = format!("{} bytes in one piece are more than `storage.repair`", missing.bytes);
            return self.put_off(at, why, now);
        }
        let named =
            missing.held.iter().fold(0_u64, |sum, (_, low, high)| sum.saturating_add(high.saturating_sub(*low)));
        if named < missing.events {
            return self.put_off(at, "which events were there cannot be told".to_owned(), now);
        }
        let mut others: VecDeque<HubId> = self.reachable(at.stream).collect();
        let Some(hub) = others.pop_front() else {
            return self.put_off(at, "no other home can be reached".to_owned(), now);
        };
        let mut asking = Asking {
            at,
            missing,
            upto: Position::start(),
            hub,
            others,
            request: 0,
            deadline: now.mono,
            through: Position::start(),
            pieces: Vec::new(),
            got: (0, 0),
        };
        asking.upto = asking.position(|held| held.2);
        self.ask(asking, now, out);
    }

    /// Asks a home from the beginning.
    fn ask(&mut self, mut asking: Asking, now: Now, out: &mut Vec<Command>) {
        self.counts.asked += 1;
        asking.through = asking.position(|held| held.1);
        asking.pieces.clear();
        asking.got = (0, 0);
        self.speak(asking, now, out);
    }

    fn speak(&mut self, mut asking: Asking, now: Now, out: &mut Vec<Command>) {
        self.next_request += 1;
        asking.request = self.next_request;
        asking.deadline = now.mono + self.settings.timeout;
        let (from, upto) = (asking.through.clone(), asking.upto.clone());
        out.push(Command::Ask { stream: asking.at.stream, to: asking.hub, request: asking.request, from, upto });
        self.work = Some(Work::Asking(Box::new(asking)));
    }

    /// The home that is asked is of no use: the next one, if there is one.
    fn ask_next(&mut self, now: Now, out: &mut Vec<Command>) {
        let Some(Work::Asking(mut asking)) = self.work.take_if(|work| matches!(work, Work::Asking(_))) else { return };
        while let Some(hub) = asking.others.pop_front() {
            if self.up.contains(&hub) {
                asking.hub = hub;
                return self.ask(*asking, now, out);
            }
        }
        let why = format!("no home that can be reached has all {} events", asking.missing.events);
        self.put_off(asking.at, why, now);
    }

    fn on_given(&mut self, from: HubId, request: u64, answer: Option<Answer>, now: Now, out: &mut Vec<Command>) {
        let Some(Work::Asking(asking)) = &mut self.work else { return };
        if (asking.hub, asking.request) != (from, request) {
            return;
        }
        let done = answer.as_ref().is_some_and(|answer| answer.done);
        if !answer.is_some_and(|answer| asking.take(answer)) {
            self.counts.nonsense += 1;
            return self.ask_next(now, out);
        }
        if !done && !asking.is_over() {
            if let Some(Work::Asking(asking)) = self.work.take() {
                self.speak(*asking, now, out);
            }
            return;
        }
        match asking.whole() {
            Some(blocks) => {
                let (at, events) = (asking.at, asking.missing.events);
                self.work = Some(Work::Filling(at, events));
                out.push(Command::Fill { at, blocks });
            }
            None => self.ask_next(now, out),
        }
    }

    /// When [`Event::Tick`] is due at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        match &self.work {
            Some(Work::Asking(asking)) => Some(asking.deadline),
            Some(_) => None,
            None => {
                let ready = self.places.iter().filter(|(at, _)| self.reachable(at.stream).next().is_some());
                ready.map(|(_, place)| place.due).min().map(|due| due.max(self.rest_until))
            }
        }
    }

    /// What an operator is told of a stream's damage; empty when there is none,
    /// or nobody to repair it from.
    #[must_use]
    pub fn shown(&self, stream: u64) -> String {
        if self.sources.get(&stream).is_none_or(Vec::is_empty) {
            return String::new();
        }
        let mut of_it = self.places.iter().filter(|(at, _)| at.stream == stream);
        let Some((first, place)) = of_it.next() else { return String::new() };
        let how = match (self.at_work(), place.why.as_str()) {
            (Some(at), _) if at == *first => "is being repaired from another home".to_owned(),
            (_, "") => "waits to be repaired from another home".to_owned(),
            (_, why) => format!("is not repaired yet: {why}"),
        };
        let others = match of_it.count() {
            0 => String::new(),
            others => format!(", and {others} more"),
        };
        format!("segment {} {how}{others}", first.number)
    }

    const fn at_work(&self) -> Option<Segment> {
        match &self.work {
            Some(Work::Looking(at) | Work::Filling(at, _)) => Some(*at),
            Some(Work::Asking(asking)) => Some(asking.at),
            None => None,
        }
    }
}

fn is_filling(work: &Work, at: Segment) -> bool {
    matches!(work, Work::Filling(filling, _) if *filling == at)
}
