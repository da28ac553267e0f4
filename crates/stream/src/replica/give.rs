//! The giving half: reads the log for other hubs, in the order it has here.
//!
//! A reader's place is a position, so that nothing needs to be kept on disk for
//! it: the place in the log is the last one before which the reader has all.
//! From there on the log is read in its own order. That order is what makes
//! holes safe: a home leaves out what it has under another name, and has it
//! under that name *earlier in its log*; who reads all in order has it too.
//! Gives only what is synced: what a crash could take back is shown to nobody.
//! Who repairs damage asks for events by their names, and gets those of them
//! that are there.

use std::time::Duration;

use weft_base::{HubId, Mono, Now};
use weft_topic::{Filter, Topic};
use weft_wire::block::Block;

use super::message::{Blocks, Fetch, FoundBlocks, Lost, MAX_LOST, Message, Want, entry_len, put_entry};
use super::vector::Position;
use super::{Command, Settings};

/// A block in the log of this hub.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Its local sequence.
    pub first: u64,
    /// The local sequence of the block behind it.
    pub next: u64,
    /// Where it entered the stream.
    pub home: u32,
    /// The first of that home's sequences.
    pub sequence: u64,
    /// How many of them.
    pub span: u32,
    /// It belongs to an atomic batch, of which more follows at once.
    pub more: bool,
    /// Who reads must not have it: it is left out, as if it did not match.
    pub withheld: bool,
    /// The block.
    pub bytes: &'a [u8],
}

/// Why a log cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The log begins later, because of retention.
    Gone {
        /// Where it begins.
        first: u64,
    },
    /// What is there is damaged.
    Damaged {
        /// Where to go on.
        resume: u64,
    },
    /// The disk refuses for the moment.
    Failed,
}

/// The log as the giving half reads it.
pub trait Source {
    /// The first local sequence that is kept.
    fn first(&self) -> u64;
    /// What the log holds before this local sequence, of every home.
    ///
    /// # Errors
    /// [`Unreadable`].
    fn position_at(&mut self, local: u64) -> Result<Position, Unreadable>;
    /// What is read from now on is for this hub.
    fn reading_for(&mut self, _hub: HubId) {}
    /// Gives the blocks from the one that holds `from` on to `each`, until it
    /// answers false to one, which is then not counted as read, or `upto` is
    /// reached. Answers where to go on.
    ///
    /// # Errors
    /// [`Unreadable`]; nothing was given then.
    fn read(&mut self, from: u64, upto: u64, each: &mut dyn FnMut(Stored<'_>) -> bool) -> Result<u64, Unreadable>;
}

/// Where the reading for somebody stands.
#[derive(Clone, Debug)]
struct Cursor {
    local: u64,
    /// What the log holds before `local`.
    at: Position,
}

/// Somebody who reads.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    hub: HubId,
    stream: u64,
    session: u64,
    credit: u64,
    sent: u64,
    all: bool,
    /// What it has or was sent.
    has: Position,
    /// Which homes it asked for, unless all.
    homes: Vec<u32>,
    filters: Vec<Filter>,
    cursor: Option<Cursor>,
    heard: Mono,
    spoken: Mono,
}

impl Asker {
    fn wants(&self, home: u32) -> bool {
        self.all || self.homes.contains(&home)
    }

    fn of_wanted(&self, position: &Position) -> Position {
        position.iter().filter(|(home, _)| self.wants(*home)).collect()
    }

    fn matches(&self, bytes: &[u8]) -> bool {
        self.filters.is_empty()
            || Topic::parse(Block::trusted(bytes).topic())
                .is_ok_and(|topic| self.filters.iter().any(|filter| filter.matches(topic)))
    }

    /// The last place in the log before which the asker has all, and what it
    /// will never get from here.
    fn locate(&self, source: &mut dyn Source, synced: u64) -> Result<(Cursor, Vec<Lost>), Unreadable> {
        let base = source.position_at(source.first())?;
        let lost = self.lost(&self.has, &base);
        let cursor = last_before(source, synced, &self.has, |at| self.of_wanted(at))?;
        Ok((cursor, lost))
    }

    fn lost(&self, from: &Position, upto: &Position) -> Vec<Lost> {
        let ranges = upto.iter().filter(|(home, next)| self.wants(*home) && from.get(*home) < *next);
        ranges.map(|(home, upto)| Lost { home, from: from.get(home), upto }).take(MAX_LOST).collect()
    }
}

/// A question for some events, while they are looked for.
#[derive(Clone, Debug)]
struct Wanted {
    hub: HubId,
    /// The stream that asks.
    stream: u64,
    request: u64,
    from: Position,
    upto: Position,
    cursor: Option<Cursor>,
    entries: Vec<u8>,
}

impl Wanted {
    /// Looks on, through about one answer's bytes of the log. Answers how many
    /// were read, and the answer once there is one.
    fn look(
        &mut self,
        source: &mut dyn Source,
        settings: &Settings,
        synced: u64,
    ) -> Result<(usize, Option<Vec<u8>>), Unreadable> {
        let of_upto = |at: &Position| -> Position { at.iter().filter(|(home, _)| self.upto.get(*home) > 1).collect() };
        let Cursor { local, mut at } = match self.cursor.take() {
            Some(cursor) => cursor,
            None => last_before(source, synced, &self.from, of_upto)?,
        };
        let (mut read, mut full, mut batch) = (0, false, false);
        source.reading_for(self.hub);
        let outcome = source.read(local, synced, &mut |block| {
            if at.covers(&self.upto) || (read >= settings.answer && !batch) {
                return false;
            }
            let upto = block.sequence.saturating_add(u64::from(block.span));
            let is_asked = block.sequence >= self.from.get(block.home) && upto <= self.upto.get(block.home);
            if is_asked && !block.withheld {
                full = !self.entries.is_empty() && self.entries.len() + entry_len(block.bytes.len()) > settings.answer;
                if full {
                    return false;
                }
                put_entry(&mut self.entries, block.home, block.sequence, block.span, block.bytes);
            }
            batch = block.more;
            read += block.bytes.len();
            at.raise(block.home, upto);
            true
        });
        let (next, mut ended) = match outcome {
            // Without a step forward there is nothing more to be had.
            Ok(next) => (next, next == local),
            // Damaged here too: what is behind it may be of use.
            Err(Unreadable::Damaged { resume }) => (resume, false),
            Err(_) => (local, true),
        };
        ended |= next >= synced || at.covers(&self.upto);
        if !ended && !full {
            self.cursor = Some(Cursor { local: next, at });
            return Ok((read.max(1), None));
        }
        let mut through = self.from.clone();
        through.merge(&of_upto(&at));
        let entries = std::mem::take(&mut self.entries);
        let found = FoundBlocks { stream: self.stream, request: self.request, done: !full, through, entries: &entries };
        Ok((read.max(1), Some(Message::Found(found).encode())))
    }
}

/// The last place in the log before which nothing is that `has` does not cover,
/// of those homes that are of interest.
fn last_before(
    source: &mut dyn Source,
    synced: u64,
    has: &Position,
    of_interest: impl Fn(&Position) -> Position,
) -> Result<Cursor, Unreadable> {
    let (first, end) = (source.first(), synced.max(source.first()));
    let mut has = has.clone();
    has.merge(&source.position_at(first)?);
    let (mut low, mut high) = (first, end);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let at = source.position_at(middle)?;
        if has.covers(&of_interest(&at)) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    let mut local = low;
    if low < end {
        // The block that holds it may begin before it.
        let looked = source.read(low, end, &mut |block| {
            local = block.first.min(low);
            false
        });
        // Damage is dealt with where it is read.
        if !matches!(looked, Ok(_) | Err(Unreadable::Damaged { .. })) {
            looked?;
        }
    }
    let at = source.position_at(local)?;
    Ok(Cursor { local, at })
}

/// All who read here.
#[derive(Clone, Debug, Default)]
pub(super) struct Giver {
    askers: Vec<Asker>,
    /// Questions for some events, one of each stream of each hub.
    wanted: Vec<Wanted>,
    /// Whose turn it is.
    turn: usize,
    /// Requests turned away because there were too many readers.
    pub(super) turned_away: u64,
    /// Bytes of entries sent.
    pub(super) given: u64,
}

impl Giver {
    pub(super) fn on_fetch(&mut self, from: HubId, fetch: &Fetch<'_>, settings: &Settings, now: Now) {
        let known = self.askers.iter_mut().find(|asker| (asker.hub, asker.stream) == (from, fetch.asker));
        let fresh = match known {
            Some(asker) if asker.session == fetch.session => {
                asker.credit = asker.credit.max(fetch.credit);
                asker.heard = now.mono;
                return;
            }
            Some(asker) if asker.session > fetch.session => return,
            known => {
                let filters: Result<Vec<Filter>, _> = fetch.filters.iter().map(|text| Filter::parse(text)).collect();
                // A filter that cannot be: the asker hears nothing, and counts the silence.
                let Ok(filters) = filters else { return };
                let asker = Asker {
                    hub: from,
                    stream: fetch.asker,
                    session: fetch.session,
                    credit: fetch.credit,
                    sent: 0,
                    all: fetch.all,
                    has: fetch.wanted.clone(),
                    homes: fetch.homes.clone(),
                    filters,
                    cursor: None,
                    heard: now.mono,
                    spoken: Mono(0),
                };
                match known {
                    Some(place) => {
                        *place = asker;
                        return;
                    }
                    None => asker,
                }
            }
        };
        self.askers.retain(|asker| now.mono.since(asker.heard) < silent(settings));
        if self.askers.len() < settings.askers {
            self.askers.push(fresh);
        } else {
            self.turned_away += 1;
        }
    }

    /// A question for some events. A newer one of the same takes its place.
    pub(super) fn on_want(&mut self, hub: HubId, want: &Want<'_>, settings: &Settings) {
        self.wanted.retain(|wanted| (wanted.hub, wanted.stream) != (hub, want.asker));
        if self.wanted.len() >= settings.askers {
            self.turned_away += 1;
            return;
        }
        self.wanted.push(Wanted {
            hub,
            stream: want.asker,
            request: want.request,
            from: want.from.clone(),
            upto: want.upto.clone(),
            cursor: None,
            entries: Vec::new(),
        });
    }

    pub(super) fn is_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Looks on for the question that came first.
    fn serve_wanted(
        &mut self,
        source: &mut dyn Source,
        settings: &Settings,
        synced: u64,
        out: &mut Vec<Command>,
    ) -> usize {
        let Some(wanted) = self.wanted.first_mut() else { return 0 };
        let hub = wanted.hub;
        match wanted.look(source, settings, synced) {
            Ok((read, None)) => read,
            Ok((read, Some(bytes))) => {
                self.given += bytes.len() as u64;
                out.push(Command::Send { to: hub, bytes });
                self.wanted.remove(0);
                read
            }
            // Who asked asks another home when it hears nothing.
            Err(_) => {
                self.wanted.remove(0);
                1
            }
        }
    }

    pub(super) fn hub_down(&mut self, hub: HubId) {
        self.wanted.retain(|wanted| wanted.hub != hub);
        self.askers.retain(|asker| asker.hub != hub);
    }

    /// Sends each reader, in turn, what it has credit for: one answer each at
    /// most, of what is below `end` in the log. Answers how many bytes of the
    /// log were read.
    pub(super) fn serve(
        &mut self,
        source: &mut dyn Source,
        settings: &Settings,
        end: (u64, &Position),
        now: Now,
        out: &mut Vec<Command>,
    ) -> usize {
        let count = self.askers.len();
        let mut read = self.serve_wanted(source, settings, end.0, out);
        for step in 0..count {
            let Some(asker) = self.askers.get_mut((self.turn + step) % count) else { continue };
            let (bytes, answer) = serve_one(asker, source, settings, end, now);
            read += bytes;
            if let Some(bytes) = answer {
                self.given += bytes.len() as u64;
                out.push(Command::Send { to: asker.hub, bytes });
            }
        }
        self.turn = (self.turn + 1) % count.max(1);
        read
    }

    pub(super) fn next_deadline(&self, settings: &Settings) -> Option<Mono> {
        self.askers.iter().map(|asker| asker.spoken + settings.keep_alive).min()
    }

    /// Forgets readers that have said nothing for long.
    pub(super) fn tick(&mut self, settings: &Settings, now: Now) {
        self.askers.retain(|asker| now.mono.since(asker.heard) < silent(settings));
    }

    pub(super) fn readers(&self) -> usize {
        self.askers.len()
    }
}

fn silent(settings: &Settings) -> Duration {
    settings.timeout * 4
}

/// One answer to one reader, if there is something to say.
fn serve_one(
    asker: &mut Asker,
    source: &mut dyn Source,
    settings: &Settings,
    end: (u64, &Position),
    now: Now,
) -> (usize, Option<Vec<u8>>) {
    let mut lost = Vec::new();
    let mut cursor = match asker.cursor.take() {
        Some(cursor) => cursor,
        None => match asker.locate(source, end.0) {
            Ok((cursor, ranges)) => {
                lost = ranges;
                cursor
            }
            // Asked again, in the next turn; the asker's clock runs.
            Err(_) => return (0, None),
        },
    };
    let from = {
        let mut from = asker.of_wanted(&cursor.at);
        // What is lost at the log's beginning precedes the run too, but the asker has not got it.
        if !lost.is_empty() {
            from = from.iter().map(|(home, next)| (home, next.min(asker.has.get(home)))).collect();
        }
        from
    };
    let mut entries = Vec::new();
    let mut read = 0;
    let synced = end.0;
    if asker.sent < asker.credit && cursor.local < synced {
        let Cursor { local, mut at } = cursor.clone();
        let mut batch = false;
        source.reading_for(asker.hub);
        let outcome = source.read(local, synced, &mut |block| {
            let upto = block.sequence.saturating_add(u64::from(block.span));
            let lacks = asker.wants(block.home) && asker.has.get(block.home) < upto;
            let wanted = lacks && !block.withheld && asker.matches(block.bytes);
            let full = wanted && !entries.is_empty() && entries.len() + entry_len(block.bytes.len()) > settings.answer;
            // An atomic batch is not cut.
            if (full || read >= settings.answer) && !batch {
                return false;
            }
            batch = block.more;
            read += block.bytes.len();
            if wanted {
                put_entry(&mut entries, block.home, block.sequence, block.span, block.bytes);
            }
            at.raise(block.home, upto);
            true
        });
        match outcome {
            Ok(next) => cursor = Cursor { local: next, at },
            Err(Unreadable::Damaged { resume }) => {
                if let Ok(beyond) = source.position_at(resume) {
                    let mut had = asker.has.clone();
                    had.merge(&cursor.at);
                    lost.extend(asker.lost(&had, &beyond));
                    lost.truncate(MAX_LOST);
                    cursor = Cursor { local: resume, at: beyond };
                }
            }
            Err(Unreadable::Gone { .. }) => return (read, None),
            Err(Unreadable::Failed) => {}
        }
    }
    asker.sent += entries.len() as u64;
    let through = asker.of_wanted(&cursor.at);
    asker.has.merge(&through);
    asker.cursor = Some(cursor);
    let due = asker.spoken == Mono(0) || now.mono.since(asker.spoken) >= settings.keep_alive;
    if entries.is_empty() && lost.is_empty() && !due {
        return (read, None);
    }
    asker.spoken = now.mono;
    let answer = Blocks {
        stream: asker.stream,
        session: asker.session,
        from,
        through,
        end: end.1.clone(),
        lost,
        entries: &entries,
    };
    (read, Some(Message::Blocks(answer).encode()))
}
