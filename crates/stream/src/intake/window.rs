//! Which events of each producer a stream has: the cut of publishes that come
//! again, however often and over whatever hub.
//!
//! A producer numbers its events and sends the blocks of a lane in order, so
//! one number per producer and lane is enough: all up to it are there. A bounded
//! number of producers is kept in memory, the others where the caller saves
//! them; before a block of a producer that is not in memory, the caller looks it
//! up there.

use std::collections::HashMap;

use weft_base::{Lane, ProducerId};

/// Bytes of a saved entry.
const SAVED: usize = 33;
/// The version of a saved entry.
const VERSION: u8 = 1;

/// What a block's place in its producer's sequence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Not there yet.
    New,
    /// There, all of it.
    Duplicate {
        /// The home's sequence of its first event, if it is the producer's newest.
        named: Option<u64>,
    },
    /// There in part: the producer cut its events into other blocks than before.
    Overlap,
}

/// A block that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Who published it.
    pub producer: ProducerId,
    /// Its lane.
    pub lane: Lane,
    /// The producer's sequence of its first event.
    pub first: u64,
    /// How many events it has.
    pub count: u32,
    /// The local sequence after it.
    pub next: u64,
    /// The home's sequence of its first event.
    pub named: u64,
    /// When, Unix time in milliseconds.
    pub at_ms: u64,
}

/// An entry to be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Producer and lane, in the order of their bytes.
    pub key: [u8; 9],
    /// What is known of it.
    pub value: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    upto: u64,
    /// Of its newest block.
    first: u64,
    named: u64,
    at_ms: u64,
    /// The local sequence after it.
    next: u64,
    turn: u64,
}

/// The last sequence of each producer and lane.
#[derive(Debug)]
pub struct Window {
    last: HashMap<(ProducerId, Lane), Seen>,
    limit: usize,
    turn: u64,
    /// What was noted before this local sequence is saved.
    saved: u64,
    /// What was noted before this one was handed out to be saved.
    captured: u64,
    /// Entries that were noted since.
    dirty: usize,
}

impl Window {
    /// A window of which all before the local sequence `saved` is saved, with
    /// room for so many producers and lanes in memory.
    #[must_use]
    pub fn new(limit: usize, saved: u64) -> Self {
        Self { last: HashMap::new(), limit: limit.max(2), turn: 0, saved, captured: saved, dirty: 0 }
    }

    /// The key under which a producer's lane is saved.
    #[must_use]
    pub fn key(producer: ProducerId, lane: Lane) -> [u8; 9] {
        let mut key = [lane.get(); 9];
        if let Some(room) = key.first_chunk_mut() {
            *room = producer.0.to_be_bytes();
        }
        key
    }

    /// Whether a producer need not be looked up. Producer 0 is nobody in
    /// particular: it never need be.
    #[must_use]
    pub fn knows(&self, producer: ProducerId, lane: Lane) -> bool {
        producer.0 == 0 || self.last.contains_key(&(producer, lane))
    }

    /// Takes what was saved of a producer back into memory. Anything else than
    /// what was saved is as if nothing had been.
    pub fn recall(&mut self, producer: ProducerId, lane: Lane, saved: &[u8]) {
        let Some(found) = decode(saved) else { return };
        if !self.knows(producer, lane) {
            self.insert((producer, lane), found);
        }
    }

    /// Where `count` events from `first` on stand. Producer 0 is nobody in
    /// particular: its events are always new.
    #[must_use]
    pub fn place(&self, producer: ProducerId, lane: Lane, first: u64, count: u32) -> Place {
        let Some(seen) = self.last.get(&(producer, lane)).filter(|_| producer.0 != 0) else {
            return Place::New;
        };
        if first > seen.upto {
            Place::New
        } else if last_of(first, count) <= seen.upto {
            Place::Duplicate { named: (first == seen.first && seen.named != 0).then_some(seen.named) }
        } else {
            Place::Overlap
        }
    }

    /// Remembers a block that was appended.
    pub fn note(&mut self, noted: Noted) {
        let Noted { producer, lane, first, count, next, named, at_ms } = noted;
        if producer.0 == 0 {
            return;
        }
        let upto = last_of(first, count);
        self.turn += 1;
        let (turn, captured) = (self.turn, self.captured);
        if self.last.get(&(producer, lane)).is_none_or(|seen| seen.next <= captured) {
            self.dirty += 1;
        }
        match self.last.get_mut(&(producer, lane)) {
            // What was delayed comes behind what was published after it.
            Some(seen) if seen.upto > upto => (seen.next, seen.turn, seen.at_ms) = (next, turn, at_ms),
            Some(seen) => *seen = Seen { upto, first, named, at_ms, next, turn },
            None => self.insert((producer, lane), Seen { upto, first, named, at_ms, next, turn }),
        }
    }

    fn insert(&mut self, key: (ProducerId, Lane), seen: Seen) {
        if self.last.len() >= self.limit {
            self.forget_older_half();
        }
        self.turn += 1;
        self.last.insert(key, Seen { turn: self.turn, ..seen });
    }

    /// Whether so much is not saved that it is time to.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.dirty >= self.limit.div_ceil(2)
    }

    /// Makes room: what is saved and was silent longest goes. While nothing can
    /// be saved all of it is kept, up to four times the limit; then it goes all
    /// the same.
    fn forget_older_half(&mut self) {
        let mut turns: Vec<u64> = self.last.values().map(|seen| seen.turn).collect();
        let middle = turns.len() / 2;
        let (_, bound, _) = turns.select_nth_unstable(middle);
        let (bound, saved) = (*bound, self.saved);
        let forced = self.last.len() >= self.limit.saturating_mul(4);
        self.last.retain(|_, seen| seen.turn >= bound || (seen.next > saved && !forced));
    }

    /// All that was noted since the last call, to be saved once the log is on
    /// disk up to `upto`, the local sequence that is next.
    pub fn capture(&mut self, upto: u64, mut save: impl FnMut(Saved)) {
        for ((producer, lane), seen) in &self.last {
            if seen.next > self.captured {
                save(Saved { key: Self::key(*producer, *lane), value: encode(seen) });
            }
        }
        self.captured = upto;
        self.dirty = 0;
    }

    /// What was captured up to here is saved.
    pub fn saved(&mut self, upto: u64) {
        self.saved = self.saved.max(upto);
    }

    /// What was captured could not be saved: it is captured again.
    pub fn not_saved(&mut self) {
        self.captured = self.saved;
    }

    /// Whether an entry that was saved may be deleted: its producer was silent
    /// for longer than `window_ms`. A clock that was set back keeps it.
    #[must_use]
    pub fn has_expired(saved: &[u8], now_ms: u64, window_ms: u64) -> bool {
        decode(saved).is_none_or(|seen| seen.at_ms.saturating_add(window_ms) < now_ms)
    }
}

/// The sequence of the last of `count` events, at least one, from `first` on.
fn last_of(first: u64, count: u32) -> u64 {
    first.saturating_add(u64::from(count).saturating_sub(1))
}

fn encode(seen: &Seen) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SAVED);
    bytes.push(VERSION);
    for number in [seen.upto, seen.first, seen.named, seen.at_ms] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<Seen> {
    let (version, rest) = bytes.split_first()?;
    let (numbers, rest) = rest.as_chunks::<8>();
    let [upto, first, named, at_ms] = *numbers else { return None };
    (*version == VERSION && rest.is_empty()).then(|| Seen {
        upto: u64::from_le_bytes(upto),
        first: u64::from_le_bytes(first),
        named: u64::from_le_bytes(named),
        at_ms: u64::from_le_bytes(at_ms),
        next: 0,
        turn: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ProducerId = ProducerId(1);
    const L: Lane = Lane::DEFAULT;

    fn block(producer: u64, first: u64, count: u32, next: u64) -> Noted {
        Noted { producer: ProducerId(producer), lane: L, first, count, next, named: next, at_ms: 1_000 }
    }

    fn captured(window: &mut Window, upto: u64) -> Vec<Saved> {
        let mut all = Vec::new();
        window.capture(upto, |saved| all.push(saved));
        all.sort_by_key(|saved| saved.key);
        all
    }

    #[test]
    fn what_comes_again_is_a_duplicate_and_what_follows_is_new() {
        let mut window = Window::new(8, 1);
        assert_eq!(window.place(A, L, 1, 10), Place::New);
        window.note(block(1, 1, 10, 11));
        assert_eq!(window.place(A, L, 1, 10), Place::Duplicate { named: Some(11) });
        assert_eq!(window.place(A, L, 10, 1), Place::Duplicate { named: None });
        assert_eq!(window.place(A, L, 10, 2), Place::Overlap);
        // A producer may use only some of its numbers for what comes here.
        assert_eq!(window.place(A, L, 100, 2), Place::New);
        assert_eq!(window.place(A, Lane::URGENT, 1, 10), Place::New, "lanes are apart");
    }

    #[test]
    fn nobody_in_particular_is_never_a_duplicate() {
        let mut window = Window::new(8, 1);
        window.note(block(0, 1, 10, 11));
        assert_eq!(window.place(ProducerId(0), L, 1, 10), Place::New);
        assert!(captured(&mut window, 11).is_empty());
    }

    #[test]
    fn what_was_saved_is_recalled_after_it_was_forgotten() {
        let mut window = Window::new(4, 1);
        for id in 1..=4 {
            window.note(block(id, 1, 5, id + 1));
        }
        let saved = captured(&mut window, 5);
        assert_eq!(saved.len(), 4);
        assert!(captured(&mut window, 5).is_empty(), "handed out once");
        window.saved(5);
        for id in 5..=8 {
            window.note(block(id, 1, 5, id + 1));
        }
        assert!(!window.knows(A, L), "it was silent longest");
        window.recall(A, L, &saved[0].value);
        assert_eq!(window.place(A, L, 5, 1), Place::Duplicate { named: None });
        assert_eq!(window.place(A, L, 6, 1), Place::New);
    }

    #[test]
    fn what_is_not_saved_is_not_forgotten_before_four_times_the_limit() {
        let mut window = Window::new(4, 1);
        for id in 1..=15 {
            assert_eq!(window.is_full(), id > 2);
            window.note(block(id, 1, 1, id + 1));
        }
        assert!(window.knows(A, L));
        captured(&mut window, 20);
        assert!(!window.is_full());
        for id in 16..=50 {
            window.note(block(id, 1, 1, id + 1));
        }
        assert!(window.last.len() <= 16);
    }

    #[test]
    fn a_delayed_block_does_not_turn_the_window_back() {
        let mut window = Window::new(4, 1);
        window.note(block(1, 11, 10, 11));
        window.note(block(1, 1, 10, 21));
        assert_eq!(window.place(A, L, 20, 1), Place::Duplicate { named: None });
    }

    #[test]
    fn damaged_entries_say_nothing_and_old_ones_expire() {
        let mut window = Window::new(4, 1);
        window.recall(A, L, b"no entry");
        assert!(!window.knows(A, L));
        window.note(block(1, 1, 1, 2));
        let saved = captured(&mut window, 2).remove(0).value;
        assert!(!Window::has_expired(&saved, 2_000, 1_000));
        assert!(Window::has_expired(&saved, 2_001, 1_000));
        assert!(!Window::has_expired(&saved, 0, 1_000), "the clock was set back");
        assert!(Window::has_expired(b"damaged", 0, 1_000));
    }

    #[test]
    fn numbers_at_the_end_of_the_range_do_not_wrap() {
        let mut window = Window::new(4, 1);
        window.note(block(1, u64::MAX, 65_535, 2));
        assert_eq!(window.place(A, L, u64::MAX, 65_535), Place::Duplicate { named: Some(2) });
    }
}
