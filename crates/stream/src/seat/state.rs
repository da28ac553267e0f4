//! A consumer's state as another home of its stream understands it: not in
//! local sequences, which differ from log to log, but by (home, home sequence).
//!
//! What does not fit the bounds, and what the other home does not have yet when
//! it takes over, is handed out again: never the other way round.

use serde::{Deserialize, Serialize};
use weft_base::UnixNanos;

use crate::consumer::{Saved, Tried};
use crate::replica::{Position, Source, Unreadable};

/// Blocks that are looked at, from the floor on.
const BLOCKS: usize = 4_096;
/// Runs in each list.
const RUNS: usize = 1_024;

/// What is settled and what was handed out, by home.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// All below is settled, by home.
    floor: Vec<(u32, u64)>,
    /// What is settled above: home, first, end.
    done: Vec<(u32, u64, u64)>,
    /// What was handed out and is not settled: home, first, end, how often.
    tried: Vec<(u32, u64, u64, u32)>,
    /// Until when it is paused, in nanoseconds since 1970.
    paused: Option<u64>,
}

impl State {
    /// Of what is saved here, in this log, which ends before `end`.
    ///
    /// # Errors
    /// [`Unreadable`]: the log cannot be read.
    pub fn of(saved: &Saved, log: &mut dyn Source, end: u64) -> Result<Self, Unreadable> {
        let first = log.first();
        let floor = log.position_at(saved.floor.clamp(first, end.max(first)))?;
        let mut state =
            Self { floor: floor.iter().collect(), paused: saved.paused_until.map(|until| until.0), ..Self::default() };
        let last = saved.done.last().map_or(0, |run| run.1).max(saved.tried.last().map_or(0, |run| run.end));
        walk(log, (saved.floor, last), end, |first, next, home, sequence| {
            let part = |from: u64, upto: u64| {
                let (from, upto) = (from.max(first), upto.min(next));
                (from < upto).then(|| (sequence + (from - first), sequence + (upto - first)))
            };
            let from = saved.done.partition_point(|run| run.1 <= first);
            let here = saved.done.get(from..).unwrap_or_default().iter().take_while(|run| run.0 < next);
            for (from, upto) in here {
                if let Some((from, upto)) = part(*from, *upto)
                    && state.done.len() < RUNS
                {
                    match state.done.last_mut() {
                        Some(last) if last.0 == home && last.2 == from => last.2 = upto,
                        _ => state.done.push((home, from, upto)),
                    }
                }
            }
            let from = saved.tried.partition_point(|run| run.end <= first);
            let here = saved.tried.get(from..).unwrap_or_default().iter().take_while(|run| run.first < next);
            for run in here {
                if let Some((from, upto)) = part(run.first, run.end)
                    && state.tried.len() < RUNS
                {
                    match state.tried.last_mut() {
                        Some(last) if (last.0, last.2, last.3) == (home, from, run.attempts) => last.2 = upto,
                        _ => state.tried.push((home, from, upto, run.attempts)),
                    }
                }
            }
        })?;
        Ok(state)
    }

    /// Adds what another state of the same life has settled: the two may be of
    /// before and after a crash, and neither have all that the other has.
    pub fn merge(&mut self, other: &Self) {
        let floor: Position = self.floor.iter().chain(&other.floor).copied().collect();
        let mut runs: Vec<_> = self.done.drain(..).chain(other.done.iter().copied()).collect();
        runs.sort_unstable();
        for (home, first, end) in runs {
            let first = first.max(floor.get(home));
            match self.done.last_mut() {
                Some(last) if last.0 == home && last.2 >= first => last.2 = last.2.max(end),
                _ if first < end => self.done.push((home, first, end)),
                _ => {}
            }
        }
        let mut runs: Vec<_> = self.tried.drain(..).chain(other.tried.iter().copied()).collect();
        runs.sort_unstable();
        let mut last = (0, 0);
        for (home, first, end, attempts) in runs {
            let mut first = first.max(floor.get(home)).max(if last.0 == home { last.1 } else { 0 });
            last = (home, end.max(first));
            for (_, settled, upto) in self.done.iter().filter(|run| run.0 == home && run.1 < end) {
                if first < *settled {
                    self.tried.push((home, first, *settled, attempts));
                }
                first = first.max(*upto);
            }
            if first < end {
                self.tried.push((home, first, end, attempts));
            }
        }
        self.done.truncate(RUNS);
        self.tried.truncate(RUNS);
        self.floor = floor.iter().collect();
    }

    /// The same in the sequences of this log, which ends before `end`.
    ///
    /// # Errors
    /// [`Unreadable`]: the log cannot be read.
    pub fn here(&self, generation: u32, log: &mut dyn Source, end: u64) -> Result<Saved, Unreadable> {
        let low = self.floor_here(log, end)?;
        let floor: Position = self.floor.iter().copied().collect();
        let paused_until = self.paused.map(UnixNanos);
        let mut saved = Saved { generation, floor: low, paused_until, ..Saved::default() };
        walk(log, (low, end), end, |first, next, home, sequence| {
            let local = |from: u64, upto: u64| {
                let end = sequence + (next - first);
                let (from, upto) = (from.max(sequence), upto.min(end));
                (from < upto).then(|| (first + (from - sequence), first + (upto - sequence)))
            };
            let mut runs: Vec<(u64, u64)> = local(0, floor.get(home)).into_iter().collect();
            runs.extend(self.done.iter().filter(|run| run.0 == home).filter_map(|run| local(run.1, run.2)));
            runs.sort_unstable();
            for (from, upto) in runs {
                let from = from.max(saved.floor);
                match saved.done.last_mut() {
                    Some(last) if last.1 >= from => last.1 = last.1.max(upto),
                    _ if from < upto => saved.done.push((from, upto)),
                    _ => {}
                }
            }
            for run in self.tried.iter().filter(|run| run.0 == home) {
                if let Some((from, upto)) = local(run.1, run.2) {
                    let first = from.max(saved.tried.last().map_or(low, |last| last.end));
                    if first < upto {
                        saved.tried.push(Tried { first, end: upto, attempts: run.3.max(1), dead: false });
                    }
                }
            }
        })?;
        saved.tried = outside(&saved.tried, &saved.done);
        Ok(saved)
    }

    /// The end of all of which it says something.
    #[must_use]
    pub fn end(&self) -> Position {
        let done = self.done.iter().map(|(home, _, end)| (*home, *end));
        let tried = self.tried.iter().map(|(home, _, end, _)| (*home, *end));
        self.floor.iter().copied().chain(done).chain(tried).collect()
    }

    /// The local sequence below which all is settled in this log.
    ///
    /// # Errors
    /// [`Unreadable`]: the log cannot be read.
    pub fn floor_here(&self, log: &mut dyn Source, end: u64) -> Result<u64, Unreadable> {
        let floor: Position = self.floor.iter().copied().collect();
        let (mut low, mut high) = (log.first(), end.max(log.first()));
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if floor.covers(&log.position_at(middle)?) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(low)
    }
}

/// Two states of one life of a consumer, in one log: what either has settled
/// is settled.
#[must_use]
pub fn merged(one: Saved, other: Saved) -> Saved {
    let floor = one.floor.max(other.floor);
    let mut runs: Vec<(u64, u64)> = one.done.into_iter().chain(other.done).collect();
    runs.sort_unstable();
    let mut done: Vec<(u64, u64)> = Vec::with_capacity(runs.len());
    for (first, end) in runs {
        let first = first.max(floor);
        match done.last_mut() {
            Some(last) if last.1 >= first => last.1 = last.1.max(end),
            _ if first < end => done.push((first, end)),
            _ => {}
        }
    }
    let mut all: Vec<Tried> = one.tried.into_iter().chain(other.tried).collect();
    all.sort_unstable_by_key(|run| (run.first, run.end));
    let mut tried: Vec<Tried> = Vec::with_capacity(all.len());
    for run in all {
        let first = run.first.max(floor).max(tried.last().map_or(0, |last| last.end));
        if first < run.end {
            tried.push(Tried { first, ..run });
        }
    }
    let tried = outside(&tried, &done);
    let generation = one.generation.max(other.generation);
    Saved { generation, floor, done, tried, paused_until: one.paused_until.or(other.paused_until) }
}

/// What of the runs that were tried is not settled.
fn outside(tried: &[Tried], done: &[(u64, u64)]) -> Vec<Tried> {
    let mut left = Vec::with_capacity(tried.len());
    for run in tried {
        let mut first = run.first;
        let from = done.partition_point(|settled| settled.1 <= run.first);
        for (settled, end) in done.get(from..).unwrap_or_default().iter().take_while(|settled| settled.0 < run.end) {
            if first < *settled {
                left.push(Tried { first, end: *settled, ..*run });
            }
            first = first.max(*end);
        }
        if first < run.end {
            left.push(Tried { first, ..*run });
        }
    }
    left
}

/// Calls `each` with the blocks that have some of these local sequences, of a
/// log that ends before `end`: local sequences from and upto, home and the first
/// sequence there.
fn walk(
    log: &mut dyn Source,
    (from, upto): (u64, u64),
    end: u64,
    mut each: impl FnMut(u64, u64, u32, u64),
) -> Result<(), Unreadable> {
    let (mut from, mut left) = (from.max(log.first()), BLOCKS);
    while from < upto.min(end) && left > 0 {
        let before = from;
        // A block that goes beyond `upto` is read as a whole.
        let read = log.read(from, end, &mut |block| {
            if block.first >= upto || left == 0 {
                return false;
            }
            each(block.first, block.next, block.home, block.sequence);
            left -= 1;
            true
        });
        from = match read {
            Ok(next) => next,
            Err(Unreadable::Damaged { resume }) => resume,
            Err(Unreadable::Gone { first }) => first,
            Err(failed) => return Err(failed),
        };
        if from <= before {
            break;
        }
    }
    Ok(())
}

/// Of lists as they stand there.
#[cfg(test)]
pub(super) fn of<const F: usize, const D: usize, const T: usize>(
    floor: [(u32, u64); F],
    done: [(u32, u64, u64); D],
    tried: [(u32, u64, u64, u32); T],
) -> State {
    State { floor: floor.to_vec(), done: done.to_vec(), tried: tried.to_vec(), paused: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_one_life_are_put_together_by_home_whichever_comes_first() {
        let one = of([(1, 5), (2, 3)], [(2, 8, 9), (1, 6, 8)], [(1, 5, 6, 1), (2, 3, 8, 2)]);
        let other = of([(1, 7)], [(2, 2, 5), (1, 9, 10)], [(1, 7, 9, 1), (2, 9, 12, 1)]);
        let mut both = one.clone();
        both.merge(&other);
        let done = [(1, 7, 8), (1, 9, 10), (2, 3, 5), (2, 8, 9)];
        assert_eq!(both, of([(1, 7), (2, 3)], done, [(1, 8, 9, 1), (2, 5, 8, 2), (2, 9, 12, 1)]));
        let mut turned = other;
        turned.merge(&one);
        assert_eq!(turned, both);
    }

    fn tried(first: u64, end: u64, attempts: u32) -> Tried {
        Tried { first, end, attempts, dead: false }
    }

    #[test]
    fn what_either_of_two_states_has_settled_is_settled_and_the_rest_stays_tried() {
        let one =
            Saved { floor: 5, done: vec![(7, 9)], tried: vec![tried(5, 7, 1), tried(9, 12, 2)], ..Saved::default() };
        let other = Saved { floor: 3, done: vec![(5, 6), (10, 11)], tried: vec![tried(6, 8, 1)], ..Saved::default() };
        let both = merged(one.clone(), other.clone());
        assert_eq!((both.floor, both.done.as_slice()), (5, &[(5, 6), (7, 9), (10, 11)][..]));
        assert_eq!(both.tried, [tried(6, 7, 1), tried(9, 10, 2), tried(11, 12, 2)]);
        let turned = merged(other, one);
        assert_eq!((turned.floor, turned.done, turned.tried), (both.floor, both.done, both.tried));
    }
}
