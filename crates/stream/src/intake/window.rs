//! Which events of each producer a stream has: the cut of publishes that come
//! again, however often and over whatever hub.
//!
//! A producer numbers its events and sends the blocks of a lane in order: kept
//! are its last number and a few gaps before it (see `gaps`), of what was refused or
//! went elsewhere: what comes again of those is new. A bounded
//! number of producers is kept in memory, the others where the caller saves
//! them; before a block of a producer that is not in memory, the caller looks it
//! up there.

use std::collections::HashMap;

use weft_base::{Lane, ProducerId};

use super::gaps::{Falls, Gaps};

/// The version of a saved entry: without gaps, and with them.
const WHOLE: u8 = 1;
const WITH_GAPS: u8 = 2;

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
    /// Nobody can tell: more was refused since than is remembered.
    Unsure,
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

#[derive(Clone, Debug)]
struct Seen {
    upto: u64,
    /// What of the numbers is not there, up to `upto`, or was refused beyond it.
    gaps: Option<Box<Gaps>>,
    /// Of its newest block.
    first: u64,
    named: u64,
    at_ms: u64,
    /// The local sequence after it.
    next: u64,
    turn: u64,
}

impl Seen {
    fn has_gaps(&self) -> bool {
        self.gaps.as_ref().is_some_and(|gaps| gaps.has_some())
    }

    /// These numbers are not there; `gapped` counts who has gaps.
    fn open(&mut self, first: u64, last: u64, refused: bool, gapped: &mut usize) {
        *gapped += usize::from(!self.has_gaps());
        self.gaps.get_or_insert_default().open(first, last, refused);
    }
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
    /// Who is not known has nothing here.
    whole: bool,
    /// Entries with gaps, or more than there are.
    gapped: usize,
    /// At how many room is made.
    gapped_most: usize,
}

/// Of how many entries one may have gaps in memory.
const GAPPED: usize = 8;

impl Window {
    /// A window of which all before the local sequence `saved` is saved, with
    /// room for so many producers and lanes in memory.
    #[must_use]
    pub fn new(limit: usize, saved: u64) -> Self {
        Self {
            last: HashMap::new(),
            limit: limit.max(2),
            turn: 0,
            saved,
            captured: saved,
            dirty: 0,
            whole: true,
            gapped: 0,
            gapped_most: limit.max(2).div_ceil(GAPPED),
        }
    }

    /// Whether a producer that is neither in memory nor saved has nothing here.
    /// At first it is so; it is not while the rest of a log is read whose
    /// beginning is gone.
    pub fn set_whole(&mut self, whole: bool) {
        self.whole = whole;
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
        let last = last_of(first, count);
        if first > seen.upto {
            return Place::New;
        }
        if last > seen.upto {
            return Place::Overlap;
        }
        match seen.gaps.as_ref().map_or(Falls::Beside, |gaps| gaps.falls(first, last)) {
            Falls::Into => Place::New,
            Falls::Across => Place::Overlap,
            Falls::Unsure => Place::Unsure,
            Falls::Beside => Place::Duplicate { named: (first == seen.first && seen.named != 0).then_some(seen.named) },
        }
    }

    /// A block that was new is refused: it stays so, whatever comes after it.
    /// Nothing is remembered of who has nothing here.
    pub fn refuse(&mut self, producer: ProducerId, lane: Lane, first: u64, count: u32) {
        if let Some(seen) = self.last.get_mut(&(producer, lane)).filter(|_| producer.0 != 0) {
            seen.open(first, last_of(first, count), true, &mut self.gapped);
        }
        self.bound_gaps();
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
            Some(seen) => {
                if first > seen.upto.saturating_add(1) {
                    seen.open(seen.upto.saturating_add(1), first - 1, false, &mut self.gapped);
                }
                if let Some(gaps) = seen.gaps.as_mut().filter(|gaps| gaps.has_some()) {
                    gaps.close(first, upto);
                    self.gapped = self.gapped.saturating_sub(usize::from(!gaps.has_some()));
                    if gaps.is_empty() {
                        seen.gaps = None;
                    }
                }
                (seen.next, seen.turn, seen.at_ms) = (next, turn, at_ms);
                // What was delayed, or refused at first, comes behind what was published after it.
                if seen.upto <= upto {
                    (seen.upto, seen.first, seen.named) = (upto, first, named);
                }
            }
            None => {
                let mut seen = Seen { upto, gaps: None, first, named, at_ms, next, turn };
                if self.whole && first > 1 {
                    seen.open(1, first - 1, false, &mut 0);
                }
                self.insert((producer, lane), seen);
            }
        }
        self.bound_gaps();
    }

    fn insert(&mut self, key: (ProducerId, Lane), seen: Seen) {
        if self.last.len() >= self.limit {
            self.forget_older_half();
        }
        self.turn += 1;
        self.gapped += usize::from(seen.has_gaps());
        self.last.insert(key, Seen { turn: self.turn, ..seen });
    }

    /// Makes room for gaps: of those with some, half go that are saved and were silent
    /// longest. Those that cannot go are kept, up to four times as many; then
    /// nobody can tell any more what of their numbers is there.
    fn bound_gaps(&mut self) {
        if self.gapped <= self.gapped_most {
            return;
        }
        let most = self.limit.div_ceil(GAPPED);
        let mut turns: Vec<u64> = self.last.values().filter(|seen| seen.has_gaps()).map(|seen| seen.turn).collect();
        let middle = turns.len() / 2;
        let Some(bound) = (middle < turns.len()).then(|| *turns.select_nth_unstable(middle).1) else { return };
        let saved = self.saved;
        let is_old = |seen: &Seen| seen.turn < bound && seen.has_gaps();
        self.last.retain(|_, seen| !is_old(seen) || seen.next > saved);
        if turns.len() > most.saturating_mul(4) {
            for seen in self.last.values_mut().filter(|seen| is_old(seen)) {
                let upto = seen.upto;
                seen.gaps.iter_mut().for_each(|gaps| gaps.forget(upto));
            }
        }
        self.gapped = self.last.values().filter(|seen| seen.has_gaps()).count();
        // Not with every block again while they cannot go.
        self.gapped_most = self.gapped.saturating_mul(2).clamp(most, most.saturating_mul(4));
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
    let mut bytes = vec![if seen.gaps.is_some() { WITH_GAPS } else { WHOLE }];
    let gaps = seen.gaps.iter().flat_map(|gaps| gaps.numbers());
    for number in [seen.upto, seen.first, seen.named, seen.at_ms].into_iter().chain(gaps) {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<Seen> {
    let (version, rest) = bytes.split_first()?;
    let (numbers, rest) = rest.as_chunks::<8>();
    let numbers: Vec<u64> = numbers.iter().map(|number| u64::from_le_bytes(*number)).collect();
    let ([upto, first, named, at_ms], gaps) = numbers.split_first_chunk::<4>()?;
    let gaps = match *version {
        WHOLE if gaps.is_empty() => None,
        WITH_GAPS => Some(Box::new(Gaps::of_numbers(gaps)?)),
        _ => return None,
    };
    let (upto, first, named, at_ms) = (*upto, *first, *named, *at_ms);
    rest.is_empty().then_some(Seen { upto, gaps, first, named, at_ms, next: 0, turn: 0 })
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
    fn what_was_refused_is_new_when_it_comes_again_whatever_came_after_it() {
        let mut window = Window::new(4, 1);
        window.note(block(1, 1, 3, 4));
        window.refuse(A, L, 4, 1);
        window.note(block(1, 5, 2, 6));
        // Neither this nor the one after it was ever here.
        window.note(block(1, 9, 1, 7));
        let saved = captured(&mut window, 7).remove(0).value;
        let mut again = Window::new(4, 7);
        again.recall(A, L, &saved);
        for window in [&mut window, &mut again] {
            assert_eq!(window.place(A, L, 4, 1), Place::New);
            assert_eq!(window.place(A, L, 7, 2), Place::New);
            assert_eq!(window.place(A, L, 3, 2), Place::Overlap);
            assert_eq!(window.place(A, L, 5, 2), Place::Duplicate { named: None });
            window.note(block(1, 4, 1, 8));
            assert_eq!(window.place(A, L, 1, 6), Place::Duplicate { named: None }, "it is there now");
            assert_eq!(window.place(A, L, 9, 1), Place::Duplicate { named: Some(7) });
            window.refuse(A, L, 7, 2);
            for n in 0..10 {
                window.note(block(1, 20 + 2 * n, 1, 9 + n));
            }
            assert_eq!(window.place(A, L, 7, 1), Place::New, "what was refused is kept longest");
            assert_eq!(window.place(A, L, 21, 1), Place::Duplicate { named: None }, "the others are not");
            for n in 0..10 {
                window.refuse(A, L, 101 + 2 * n, 1);
                window.note(block(1, 102 + 2 * n, 1, 20 + n));
            }
            assert_eq!(window.place(A, L, 1, 1), Place::Unsure);
            assert_eq!(window.place(A, L, 119, 1), Place::New);
        }
    }

    #[test]
    fn gaps_are_bounded_and_what_is_saved_is_looked_up_again() {
        let mut window = Window::new(64, 1);
        let with_gaps = |window: &Window| window.last.values().filter(|seen| seen.gaps.is_some()).count();
        for id in 1..=8 {
            window.note(block(id, 5, 1, id + 1));
        }
        let saved = captured(&mut window, 10);
        window.saved(10);
        for id in 9..=16 {
            window.note(block(id, 5, 1, id + 2));
        }
        assert!(!window.knows(A, L), "it is saved and was silent longest");
        window.recall(A, L, &saved[0].value);
        assert_eq!(window.place(A, L, 4, 1), Place::New);
        // Nothing can be saved: what has to be forgotten is not said to be there.
        for id in 17..=60 {
            window.note(block(id, 5, 1, id + 2));
        }
        assert!(window.last.values().filter(|seen| seen.has_gaps()).count() <= 40);
        assert_eq!(window.place(ProducerId(9), L, 4, 1), Place::Unsure);
        assert_eq!(window.place(ProducerId(60), L, 4, 1), Place::New);
        assert!(with_gaps(&window) > 40);
    }

    #[test]
    fn who_is_not_known_had_nothing_here_unless_the_logs_beginning_is_gone() {
        let mut window = Window::new(4, 1);
        window.note(block(1, 5, 1, 2));
        assert_eq!(window.place(A, L, 4, 1), Place::New);
        let mut window = Window::new(4, 1);
        window.set_whole(false);
        window.note(block(1, 5, 1, 2));
        assert_eq!(window.place(A, L, 4, 1), Place::Duplicate { named: None });
    }

    #[test]
    fn entries_of_before_there_were_gaps_are_read() {
        let mut old = vec![1];
        [10_u64, 8, 3, 1_000].iter().for_each(|number| old.extend_from_slice(&number.to_le_bytes()));
        let mut window = Window::new(4, 1);
        window.recall(A, L, &old);
        assert_eq!(window.place(A, L, 8, 3), Place::Duplicate { named: Some(3) });
        assert_eq!(window.place(A, L, 11, 1), Place::New);
        window.note(block(1, 11, 1, 5));
        assert_eq!(captured(&mut window, 5)[0].value[0], 1, "and written where there are none");
    }

    #[test]
    fn numbers_at_the_end_of_the_range_do_not_wrap() {
        let mut window = Window::new(4, 1);
        window.note(block(1, u64::MAX, 65_535, 2));
        assert_eq!(window.place(A, L, u64::MAX, 65_535), Place::Duplicate { named: Some(2) });
    }
}
