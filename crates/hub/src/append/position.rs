//! Where a reader goes on that comes from another home: its position, a sequence
//! for each home, is valid at every home, while the places in one home's log are
//! not. What it has seen is left out; the rest comes in this log's order. So it
//! never goes back, whichever home it moves to, and misses nothing.

use std::ops::Range;
use std::sync::Arc;

use weft_log::{Fate, LogReader, ReadError};
use weft_stream::replica::Position;
use weft_wire::block::Block;

/// What a reader has seen: per home, by its tag, the sequence that is next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    next: Arc<[(u32, u64)]>,
}

/// Where it goes on in this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) from: u64,
    /// Events that it has not seen and that are not kept any more.
    pub(super) removed: u64,
}

impl Seen {
    pub(super) fn new(position: Vec<(u32, u64)>) -> Self {
        Self { next: position.into() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    /// What comes next of a home.
    fn next_of(&self, home: u32) -> u64 {
        self.next.iter().filter(|(of, _)| *of == home).map(|(_, next)| *next).max().unwrap_or(1)
    }

    /// Whether all of a block was seen.
    pub(super) fn has(&self, block: &Block<'_>) -> bool {
        !self.is_empty()
            && block
                .home()
                .is_some_and(|(home, first)| first.saturating_add(u64::from(block.event_count())) <= self.next_of(home))
    }

    /// The place of the first event in the log that was not seen.
    pub(super) fn find(&self, reader: &mut LogReader, kept: Range<u64>) -> Result<Found, ReadError> {
        let mut found = Found { from: kept.end, removed: 0 };
        for (home, _) in reader.position_at(kept.end)? {
            let next = self.next_of(home);
            let Some(local) = reader.find(home, next)? else { continue };
            found.from = found.from.min(local);
            if local <= kept.start {
                let there = reader.position_at(local)?;
                let first = there.iter().find(|(of, _)| *of == home).map_or(1, |(_, first)| *first);
                found.removed = found.removed.saturating_add(first.saturating_sub(next));
            }
        }
        found.from = found.from.clamp(kept.start, kept.end);
        Ok(found)
    }
}

/// As far of `floor` as the log goes without an event of home `own` that is
/// `held` or later.
pub(super) fn may_go(log: &mut LogReader, floor: u64, own: u32, held: u64) -> Result<u64, ReadError> {
    let position = log.position_at(floor)?;
    let entered = position.iter().find(|(home, _)| *home == own).map_or(0, |(_, next)| *next);
    // They count from 1.
    let held = held.max(1);
    if entered <= held {
        return Ok(floor);
    }
    Ok(match log.fate(own, held)? {
        Fate::Whole { local } => local.min(floor),
        // Where it was is not known: nothing more goes.
        Fate::Removed | Fate::Damaged => 0,
    })
}

/// Whether a log has all up to a position; also when it cannot be read, for then
/// there is nothing to wait for.
pub(crate) fn holds(log: &mut LogReader, upto: &Position) -> bool {
    let end = log.next();
    log.position_at(end).map_or(true, |here| Position::from_iter(here).covers(upto))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use weft_base::{Epoch, HubId, Mono, Now, UnixNanos};
    use weft_log::fault::FaultFs;
    use weft_log::{Log, LogOptions};
    use weft_wire::block::{BlockFields, BlockWriter, EventFields, Stamp, stamp};

    use super::*;

    const NOW: Now = Now { mono: Mono(1), wall: UnixNanos(1) };

    /// A log of home `own` with these events: home and its sequence, one a block.
    fn log(own: u32, events: &[(u32, u64)]) -> Log {
        let options = LogOptions { home: own, ..LogOptions::default() };
        let fs = Arc::new(FaultFs::new());
        let (mut log, _) = Log::open(fs, Path::new("/data"), options, NOW).expect("a log");
        for (home, sequence) in events {
            let mut bytes = vec![0; 512];
            let mut writer = BlockWriter::new(&mut bytes, &BlockFields::new("t")).expect("room");
            writer
                .push(&EventFields { payload: &[*home as u8, *sequence as u8], ..EventFields::default() })
                .expect("room");
            let len = writer.finish().expect("an event");
            bytes.truncate(len);
            let origin = HubId(u64::from(*home));
            let place = Stamp { origin, epoch: Epoch(1), block: *sequence, sequence: *sequence, ingested: NOW.wall };
            stamp(&mut bytes, &place).expect("it has none");
            if *home == own {
                log.append(&bytes, NOW).expect("it is written");
            } else {
                log.append_copy(&bytes, *home, *sequence, NOW).expect("it is written");
            }
        }
        log
    }

    #[test]
    fn a_log_holds_what_it_has_of_each_home_and_no_more() {
        let log = log(1, &[(1, 1), (2, 4), (1, 2), (2, 5)]);
        let holds = |upto: &[(u32, u64)]| holds(&mut log.reader(), &upto.iter().copied().collect());
        for upto in [&[][..], &[(1, 3)], &[(2, 6)], &[(1, 2), (2, 6)], &[(3, 1)]] {
            assert!(holds(upto), "{upto:?}");
        }
        for upto in [&[(1, 4)][..], &[(2, 7)], &[(1, 3), (2, 7)], &[(3, 2)]] {
            assert!(!holds(upto), "{upto:?}");
        }
    }

    /// What a reader with this position gets of a log, and what is missing.
    fn rest(log: &Log, position: &[(u32, u64)], first: u64) -> (Vec<(u32, u64)>, u64) {
        let mut reader = log.reader();
        let seen = Seen::new(position.to_vec());
        let found = seen.find(&mut reader, first..log.next()).expect("the log is sound");
        let mut got = Vec::new();
        let mut from = found.from;
        while from < log.next() {
            for block in reader.read(from, log.next(), 1 << 20).expect("the log is sound") {
                from = block.next();
                if !seen.has(&block.block()) {
                    got.extend(block.block().home());
                }
            }
        }
        (got, found.removed)
    }

    #[test]
    fn a_reader_that_moves_to_another_home_never_goes_back_and_misses_nothing() {
        let near = [(1, 1), (2, 1), (1, 2), (2, 2), (1, 3), (1, 4)];
        let far = log(2, &[(2, 1), (2, 2), (2, 3), (1, 1), (1, 2), (2, 4), (1, 3)]);
        for read in 0..=near.len() {
            let mut position: Vec<(u32, u64)> = Vec::new();
            for (home, sequence) in &near[..read] {
                position.retain(|(of, _)| of != home);
                position.push((*home, sequence + 1));
            }
            if position.is_empty() {
                continue;
            }
            let (got, missing) = rest(&far, &position, 1);
            let all = [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (2, 4)];
            let wanted: Vec<_> = all.into_iter().filter(|event| !near[..read].contains(event)).collect();
            let mut sorted = got.clone();
            sorted.sort_unstable();
            assert_eq!((sorted, missing), (wanted, 0), "after {read}");
            for home in [1, 2] {
                let of_home: Vec<u64> = got.iter().filter(|(of, _)| *of == home).map(|(_, n)| *n).collect();
                assert!(of_home.is_sorted(), "in the order of each home: {got:?}");
            }
        }
    }

    #[test]
    fn a_home_that_is_behind_the_reader_sends_nothing_twice_when_it_has_caught_up() {
        let far = log(2, &[(2, 1), (1, 1), (1, 2), (1, 3), (1, 4)]);
        // Read to 3 of home 1 elsewhere, before this home had 2 and 3.
        assert_eq!(rest(&far, &[(1, 4), (2, 2)], 1), (vec![(1, 4)], 0));
        assert_eq!(rest(&far, &[(1, 9), (2, 2)], 1), (vec![], 0));
    }

    #[test]
    fn what_is_not_kept_any_more_is_counted() {
        let mut far = log(2, &[(2, 1), (1, 1), (1, 2), (2, 2), (1, 3)]);
        far.set_floor(4);
        let (got, missing) = rest(&far, &[(1, 2), (2, 1)], 4);
        assert_eq!((got, missing), (vec![(2, 2), (1, 3)], 2), "(1, 2) and (2, 1)");
    }

    #[test]
    fn what_is_settled_goes_as_far_as_another_home_has_what_entered_here() {
        let mut log = log(1, &[(1, 1), (2, 1), (1, 2), (2, 2), (1, 3), (2, 3)]);
        let mut reader = log.reader();
        let mut may = |floor, held| may_go(&mut reader, floor, 1, held).expect("the log is sound");
        assert_eq!([may(7, 4), may(7, u64::MAX), may(4, 3), may(1, 0)], [7, 7, 4, 1], "it has all of that");
        assert_eq!([may(7, 0), may(7, 1), may(7, 2), may(7, 3)], [1, 1, 3, 5], "up to the first that it lacks");
        assert_eq!(may(3, 1), 1);
        log.set_floor(5);
        assert_eq!(may(7, 2), 0, "what it lacks is gone already: no more goes");
        assert_eq!(may(7, 3), 5);
    }
}
