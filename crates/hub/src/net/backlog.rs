//! What waits for one subscriber: bounded, by lane, with the subscription's
//! policy at the bound. Pure: no socket, no clock.
//!
//! Lanes share the subscriber's credit by deficit round robin, the urgent ones
//! with the larger quantum; inside a lane order is kept. What has to be dropped
//! is of the least urgent lane there is, the arriving block counted in. Every
//! drop is counted by the caller, and a mark stands before the next block of
//! the same lane, where the events are missing.
//!
//! **Conflate** works on blocks, because a block is never rewritten. A block
//! waits for as long as one of its events is the newest of its topic and key;
//! when none is, it is dropped whole. So a subscriber that catches up has the
//! newest event of every key, never an older one after a newer one of a lane,
//! and may see older events that share a block with a newest one. An event
//! without a key has its topic as the key. The table of keys is bounded; beyond
//! it, as beyond the bound of bytes, the oldest block goes.

use std::collections::{HashMap, VecDeque};

use weft_base::{Lane, Mono};
use weft_mesh::ledger::DropReason;
use weft_wire::block::Block;
use weft_wire::frame::OnFull;

/// Bytes that the least urgent lane may send per round; the most urgent one
/// eight times as many.
const QUANTUM: usize = 64 << 10;

/// The bounds of one subscriber's backlog.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BacklogLimits {
    pub(crate) events: u64,
    pub(crate) bytes: usize,
    /// Keys that a conflating backlog tells apart.
    pub(crate) keys: usize,
}

/// A block that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting<B> {
    pub(crate) block: B,
    pub(crate) events: u64,
    pub(crate) hops: u8,
    /// When it came.
    pub(crate) since: Mono,
}

/// What happened to a block that was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pushed<B> {
    /// It waits, or the policy dropped it or others, which was counted.
    Done,
    /// The policy is to end the session; the block counts as dropped.
    Disconnect,
    /// The policy is to append it to the subscription's stream instead.
    Spill(B),
}

/// What goes out next.
#[derive(Debug)]
pub(crate) enum Next<B> {
    /// This many events are missing here.
    Gap {
        lane: Lane,
        events: u64,
        reason: DropReason,
    },
    Block {
        lane: Lane,
        waiting: Waiting<B>,
    },
}

/// Events dropped at one place, by reason: a handful at most.
type Marks = Vec<(DropReason, u64)>;

fn mark(marks: &mut Marks, reason: DropReason, events: u64) {
    match marks.iter_mut().find(|(known, _)| *known == reason) {
        Some((_, count)) => *count += events,
        None => marks.push((reason, events)),
    }
}

fn merge(marks: &mut Marks, more: &mut Marks) {
    for (reason, events) in more.drain(..) {
        mark(marks, reason, events);
    }
}

#[derive(Debug)]
struct Entry<B> {
    /// Counts the blocks of the line; ascending.
    number: u64,
    /// None: superseded, and already counted.
    waiting: Option<Waiting<B>>,
    /// What is missing just before it.
    before: Marks,
    /// Of a conflating backlog: events that are the newest of their key.
    newest: u32,
    /// Whether the table knows its keys.
    indexed: bool,
}

/// The blocks of one lane.
#[derive(Debug)]
struct Line<B> {
    lane: Lane,
    deficit: usize,
    entries: VecDeque<Entry<B>>,
    /// Entries that are superseded.
    dead: usize,
    /// What is missing before the first.
    before: Marks,
    /// What is missing behind the last.
    behind: Marks,
}

/// What all backlogs of a hub together leave for one of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Whether one more block may wait.
    pub(crate) more: bool,
    /// How many keys more may be told apart.
    pub(crate) keys: usize,
}

/// The backlog.
#[derive(Debug)]
pub(crate) struct Backlog<B> {
    on_full: OnFull,
    limits: BacklogLimits,
    room: Room,
    /// Lanes that were used, the most urgent first.
    lines: Vec<Line<B>>,
    turn: usize,
    next_number: u64,
    blocks: usize,
    events: u64,
    bytes: usize,
    keys: Keys,
}

/// Where the newest event of each key waits.
#[derive(Debug, Default)]
struct Keys {
    places: HashMap<Box<[u8]>, Place>,
    /// Bytes of the keys in the table.
    bytes: usize,
    /// The key that is being looked up.
    scratch: Vec<u8>,
}

/// A lane, and the number of an entry in it.
type Place = (Lane, u64);

impl<B: AsRef<[u8]>> Backlog<B> {
    pub(crate) fn new(on_full: OnFull, limits: BacklogLimits) -> Self {
        Self {
            on_full,
            limits,
            room: Room { more: true, keys: usize::MAX },
            lines: Vec::new(),
            turn: 0,
            next_number: 0,
            blocks: 0,
            events: 0,
            bytes: 0,
            keys: Keys::default(),
        }
    }

    /// What the hub as a whole has left, for the pushes that follow.
    pub(crate) fn set_room(&mut self, room: Room) {
        self.room = room;
    }

    /// How many blocks wait.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// How many keys the table tells apart.
    pub(crate) fn keys(&self) -> usize {
        self.keys.places.len()
    }

    /// Whether nothing waits; there may be marks.
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks == 0
    }

    /// Whether there is anything to send: blocks, or marks behind the last.
    pub(crate) fn has_news(&self) -> bool {
        self.blocks > 0 || self.lines.iter().any(|l| !l.before.is_empty() || !l.behind.is_empty())
    }

    /// What happens at the bound.
    pub(crate) fn policy(&self) -> OnFull {
        self.on_full
    }

    /// How many events wait.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// All that waits.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Waiting<B>> {
        self.lines.iter().flat_map(|line| &line.entries).filter_map(|entry| entry.waiting.as_ref())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Since when the oldest waits.
    pub(crate) fn oldest(&self) -> Option<Mono> {
        self.lines.iter().filter_map(|l| l.entries.iter().find_map(|e| Some(e.waiting.as_ref()?.since))).min()
    }

    /// Takes a block in, by the policy. `dropped` counts what goes: why, how
    /// many events, and how many bytes.
    pub(crate) fn push(
        &mut self,
        lane: Lane,
        waiting: Waiting<B>,
        mut dropped: impl FnMut(DropReason, u64, &B),
    ) -> Pushed<B> {
        let (events, bytes) = (waiting.events, waiting.block.as_ref().len());
        if self.on_full == OnFull::Conflate {
            self.conflate(lane, &waiting, &mut dropped);
        }
        // A hub with no room for more takes a block in the place of another.
        let most = if self.room.more { self.limits.events } else { self.events.min(self.limits.events) };
        while !self.fits(events, bytes, most) {
            let Some(last) = self.lines.iter().rposition(|l| l.entries.len() > l.dead) else { break };
            let victim = self.lines[last].lane;
            match self.on_full {
                OnFull::Disconnect => {
                    dropped(DropReason::SubscriberFull, events, &waiting.block);
                    return Pushed::Disconnect;
                }
                OnFull::DropOldest | OnFull::Conflate if victim >= lane => self.drop_one(last, true, &mut dropped),
                OnFull::DropNewest | OnFull::Wait if victim > lane => self.drop_one(last, false, &mut dropped),
                OnFull::Spill => {
                    let line = self.line(lane);
                    mark(&mut self.lines[line].behind, DropReason::Spilled, events);
                    dropped(DropReason::Spilled, events, &waiting.block);
                    return Pushed::Spill(waiting.block);
                }
                _ => {
                    let (line, reason) = (self.line(lane), self.reason());
                    mark(&mut self.lines[line].behind, reason, events);
                    dropped(reason, events, &waiting.block);
                    return Pushed::Done;
                }
            }
        }
        self.append(lane, waiting);
        Pushed::Done
    }

    /// Takes a block in whatever the bounds: of a stream that is read ahead by a bound of its own.
    pub(crate) fn append(&mut self, lane: Lane, waiting: Waiting<B>) {
        let line = self.line(lane);
        self.blocks += 1;
        self.events += waiting.events;
        self.bytes += waiting.block.as_ref().len();
        let before = std::mem::take(&mut self.lines[line].behind);
        let number = self.next_number;
        self.next_number += 1;
        let indexed = self.on_full == OnFull::Conflate && self.blocks > 1;
        self.lines[line].entries.push_back(Entry { number, waiting: Some(waiting), before, newest: 0, indexed: false });
        if indexed {
            self.index(lane, number);
        }
    }

    /// These events are missing before the next block of the lane.
    pub(crate) fn missing(&mut self, lane: Lane, reason: DropReason, events: u64) {
        let line = self.line(lane);
        mark(&mut self.lines[line].before, reason, events);
    }

    /// What goes out next: by lanes, marks before the block that they stand
    /// before. A mark behind the last block of a lane goes when the lane is empty.
    pub(crate) fn pop(&mut self) -> Option<Next<B>> {
        if let Some(gap) = self.pop_mark() {
            return Some(gap);
        }
        if self.blocks == 0 {
            return None;
        }
        loop {
            let turn = self.turn % self.lines.len();
            let line = &mut self.lines[turn];
            let len = match line.entries.front() {
                Some(entry) => match &entry.waiting {
                    Some(waiting) => waiting.block.as_ref().len(),
                    None => {
                        line.drop_dead_front();
                        continue;
                    }
                },
                None => usize::MAX,
            };
            if line.deficit < len {
                if line.entries.is_empty() {
                    line.deficit = 0;
                }
                // Each round adds to the deficit of those that wait, so this ends.
                self.turn = (turn + 1) % self.lines.len();
                let next = &mut self.lines[self.turn];
                if !next.entries.is_empty() {
                    next.deficit += (Lane::COUNT - next.lane.index()) * QUANTUM;
                }
                continue;
            }
            if let Some(entry) = line.entries.front_mut() {
                merge(&mut line.before, &mut entry.before);
            }
            if !line.before.is_empty() {
                return self.pop_mark_of(turn);
            }
            line.deficit -= len;
            let lane = line.lane;
            return self.take_first(turn).map(|waiting| Next::Block { lane, waiting });
        }
    }

    /// A mark of a lane in which nothing waits.
    fn pop_mark(&mut self) -> Option<Next<B>> {
        let line = self.lines.iter_mut().position(|l| {
            if l.entries.len() > l.dead {
                return false;
            }
            while l.drop_dead_front() {}
            merge(&mut l.before, &mut l.behind);
            !l.before.is_empty()
        })?;
        self.pop_mark_of(line)
    }

    fn pop_mark_of(&mut self, line: usize) -> Option<Next<B>> {
        let line = &mut self.lines[line];
        let (reason, events) = line.before.pop()?;
        Some(Next::Gap { lane: line.lane, events, reason })
    }

    fn fits(&self, events: u64, bytes: usize, most: u64) -> bool {
        // What waits is waited for from half of the bounds on: the block that passes that
        // mark met an open gate, and has a place however large it is.
        let BacklogLimits { events: bound, bytes: bound_bytes, .. } = self.limits;
        let is_open = self.on_full == OnFull::Wait && self.room.more;
        let is_first = is_open && self.events < bound.div_ceil(2) && self.bytes < bound_bytes.div_ceil(2);
        let is_within = self.events + events <= most && self.bytes + bytes <= bound_bytes;
        self.blocks == 0 || is_first || is_within
    }

    fn reason(&self) -> DropReason {
        if self.on_full == OnFull::Wait { DropReason::WaitOverrun } else { DropReason::SubscriberFull }
    }

    /// The place of a lane's line, which is made if there is none.
    fn line(&mut self, lane: Lane) -> usize {
        match self.lines.binary_search_by_key(&lane, |l| l.lane) {
            Ok(place) => place,
            Err(place) => {
                let entries = VecDeque::new();
                let line = Line { lane, deficit: 0, entries, dead: 0, before: Vec::new(), behind: Vec::new() };
                self.lines.insert(place, line);
                place
            }
        }
    }

    /// Takes the first block of a line; what is missing before it stays there.
    fn take_first(&mut self, line: usize) -> Option<Waiting<B>> {
        let l = &mut self.lines[line];
        while l.drop_dead_front() {}
        let mut entry = l.entries.pop_front()?;
        merge(&mut l.before, &mut entry.before);
        let lane = l.lane;
        let waiting = entry.waiting?;
        if entry.indexed {
            self.keys.forget((lane, entry.number), waiting.block.as_ref());
        }
        self.count_off(&waiting);
        Some(waiting)
    }

    /// Takes the last block of a line of a backlog that does not conflate; what
    /// is missing before it joins what is missing behind it.
    fn take_last(&mut self, line: usize) -> Option<Waiting<B>> {
        let l = &mut self.lines[line];
        let mut entry = l.entries.pop_back()?;
        merge(&mut l.behind, &mut entry.before);
        let waiting = entry.waiting?;
        self.count_off(&waiting);
        Some(waiting)
    }

    /// Drops a block that waited, with a mark in its place.
    fn drop_one(&mut self, line: usize, oldest: bool, dropped: &mut impl FnMut(DropReason, u64, &B)) {
        let reason = self.reason();
        let taken = if oldest { self.take_first(line) } else { self.take_last(line) };
        let Some(Waiting { events, block, .. }) = taken else { return };
        let l = &mut self.lines[line];
        mark(if oldest { &mut l.before } else { &mut l.behind }, reason, events);
        dropped(reason, events, &block);
    }

    fn count_off(&mut self, waiting: &Waiting<B>) {
        self.blocks -= 1;
        self.events -= waiting.events;
        self.bytes -= waiting.block.as_ref().len();
    }

    /// What waits and is superseded by a block that arrives goes.
    fn conflate(&mut self, lane: Lane, arriving: &Waiting<B>, dropped: &mut impl FnMut(DropReason, u64, &B)) {
        if self.blocks == 0 {
            return;
        }
        self.index_all();
        let block = Block::trusted(arriving.block.as_ref());
        let topic = block.topic();
        for event in block.events() {
            let Some((lane_of, number)) = self.keys.take(topic, event.key) else { continue };
            let Ok(line) = self.lines.binary_search_by_key(&lane_of, |l| l.lane) else { continue };
            let l = &mut self.lines[line];
            let Ok(place) = l.entries.binary_search_by_key(&number, |e| e.number) else { continue };
            let Some(entry) = l.entries.get_mut(place) else { continue };
            entry.newest = entry.newest.saturating_sub(1);
            if entry.newest > 0 {
                continue;
            }
            let Some(old) = entry.waiting.take() else { continue };
            l.dead += 1;
            self.count_off(&old);
            dropped(DropReason::Conflated, old.events, &old.block);
            let missing_in = self.line(lane);
            mark(&mut self.lines[missing_in].before, DropReason::Conflated, old.events);
        }
        self.compact();
        // Too many keys to tell apart: the oldest of the least urgent lane makes room.
        let most =
            BacklogLimits { keys: self.limits.keys.min(self.keys().saturating_add(self.room.keys)), ..self.limits };
        while self.keys.is_above(most, arriving.events) {
            let Some(last) = self.lines.iter().rposition(|l| l.entries.len() > l.dead) else { return };
            self.drop_one(last, true, dropped);
        }
    }

    /// Takes out what is superseded once it is more than half of a line.
    fn compact(&mut self) {
        for line in self.lines.iter_mut().filter(|l| l.dead > 16 && l.dead > l.entries.len() / 2) {
            let mut before = Marks::new();
            line.entries.retain_mut(|entry| {
                merge(&mut before, &mut entry.before);
                if entry.waiting.is_some() {
                    entry.before = std::mem::take(&mut before);
                }
                entry.waiting.is_some()
            });
            line.dead = 0;
            merge(&mut line.behind, &mut before);
        }
    }

    /// The table learns the keys of what waited alone until now.
    fn index_all(&mut self) {
        let unknown: Vec<(Lane, u64)> = match self.blocks {
            1 => self
                .lines
                .iter()
                .flat_map(|l| {
                    l.entries.iter().filter(|e| e.waiting.is_some() && !e.indexed).map(|e| (l.lane, e.number))
                })
                .collect(),
            _ => return,
        };
        for (lane, number) in unknown {
            self.index(lane, number);
        }
    }

    fn index(&mut self, lane: Lane, number: u64) {
        let Ok(line) = self.lines.binary_search_by_key(&lane, |l| l.lane) else { return };
        let entries = &mut self.lines[line].entries;
        let Ok(place) = entries.binary_search_by_key(&number, |e| e.number) else { return };
        let Some(entry) = entries.get_mut(place) else { return };
        let Some(waiting) = &entry.waiting else { return };
        entry.indexed = true;
        entry.newest = self.keys.learn((lane, number), waiting.block.as_ref());
    }
}

impl<B> Line<B> {
    /// Takes a superseded entry off the front; false when there is none.
    fn drop_dead_front(&mut self) -> bool {
        if self.entries.front().is_none_or(|entry| entry.waiting.is_some()) {
            return false;
        }
        if let Some(mut entry) = self.entries.pop_front() {
            merge(&mut self.before, &mut entry.before);
            self.dead -= 1;
        }
        true
    }
}

impl Keys {
    fn set(&mut self, topic: &str, key: &[u8]) {
        self.scratch.clear();
        self.scratch.extend_from_slice(topic.as_bytes());
        // No topic contains it.
        self.scratch.push(0);
        self.scratch.extend_from_slice(key);
    }

    fn is_above(&self, limits: BacklogLimits, events: u64) -> bool {
        self.places.len() as u64 + events > limits.keys as u64 && !self.places.is_empty() || self.bytes > limits.bytes
    }

    /// The place of a key, which is forgotten.
    fn take(&mut self, topic: &str, key: &[u8]) -> Option<Place> {
        self.set(topic, key);
        let place = self.places.remove(self.scratch.as_slice())?;
        self.bytes -= self.scratch.len();
        Some(place)
    }

    /// Learns the keys of a block that waits there; answers how many there are.
    fn learn(&mut self, place: Place, bytes: &[u8]) -> u32 {
        let block = Block::trusted(bytes);
        let mut newest = 0;
        for event in block.events() {
            self.set(block.topic(), event.key);
            match self.places.get_mut(self.scratch.as_slice()) {
                // A later event of the same block: the block counts once for the key.
                Some(known) if *known == place => continue,
                Some(known) => *known = place,
                None => {
                    self.bytes += self.scratch.len();
                    self.places.insert(self.scratch.as_slice().into(), place);
                }
            }
            newest += 1;
        }
        newest
    }

    /// Forgets the keys whose newest event is in a block that goes.
    fn forget(&mut self, place: Place, bytes: &[u8]) {
        let block = Block::trusted(bytes);
        for event in block.events() {
            self.set(block.topic(), event.key);
            if self.places.get(self.scratch.as_slice()) == Some(&place) {
                self.places.remove(self.scratch.as_slice());
                self.bytes -= self.scratch.len();
            }
        }
    }
}

#[cfg(test)]
#[path = "backlog_tests.rs"]
mod tests;
