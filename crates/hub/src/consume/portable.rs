//! A consumer's state as another home of its stream understands it: not in
//! local sequences, which differ from log to log, but by (home, home sequence).
//!
//! What does not fit the bounds, and what the other home does not have yet when
//! it takes over, is handed out again: never the other way round.

use serde::{Deserialize, Serialize};
use weft_base::UnixNanos;
use weft_log::{LogReader, ReadError};
use weft_stream::consumer::{Saved, Tried};
use weft_stream::replica::Position;

use super::definition::Definition;

/// Blocks that are looked at, from the floor on.
const BLOCKS: usize = 16_384;
/// Runs in each list.
const RUNS: usize = 1_024;

/// A consumer of a stream with several homes, as it is sent to the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsumerCopy {
    /// The stream.
    pub(super) stream: u64,
    pub(super) definition: Definition,
    /// Greater each time that it is taken over.
    pub(super) term: u32,
    /// All below is settled, by home.
    floor: Vec<(u32, u64)>,
    /// What is settled above: home, first, end.
    done: Vec<(u32, u64, u64)>,
    /// What was handed out and is not settled: home, first, end, how often.
    tried: Vec<(u32, u64, u64, u32)>,
    /// Until when it is paused, in nanoseconds since 1970.
    paused: Option<u64>,
}

impl ConsumerCopy {
    /// The state of a consumer that runs here.
    pub(super) fn of(
        stream: u64,
        definition: &Definition,
        term: u32,
        saved: &Saved,
        log: &mut LogReader,
    ) -> Result<Self, ReadError> {
        let floor = log.position_at(saved.floor.clamp(log.first(), log.next()))?;
        let mut copy = Self {
            stream,
            definition: definition.clone(),
            term,
            floor,
            done: Vec::new(),
            tried: Vec::new(),
            paused: saved.paused_until.map(|until| until.0),
        };
        let end = saved.done.last().map_or(0, |run| run.1).max(saved.tried.last().map_or(0, |run| run.end));
        walk(log, saved.floor, end, |first, next, home, sequence| {
            let part = |from: u64, upto: u64| {
                let (from, upto) = (from.max(first), upto.min(next));
                (from < upto).then(|| (sequence + (from - first), sequence + (upto - first)))
            };
            for (from, upto) in within(&saved.done, first, next, |run| *run) {
                if let Some((from, upto)) = part(from, upto)
                    && copy.done.len() < RUNS
                {
                    match copy.done.last_mut() {
                        Some(last) if last.0 == home && last.2 == from => last.2 = upto,
                        _ => copy.done.push((home, from, upto)),
                    }
                }
            }
            for run in saved.tried.iter().filter(|run| run.first < next && run.end > first) {
                if let Some((from, upto)) = part(run.first, run.end)
                    && copy.tried.len() < RUNS
                {
                    copy.tried.push((home, from, upto, run.attempts));
                }
            }
        })?;
        Ok(copy)
    }

    /// The same in the sequences of the log here.
    pub(super) fn here(&self, generation: u32, log: &mut LogReader) -> Result<Saved, ReadError> {
        let floor: Position = self.floor.iter().copied().collect();
        let (mut low, mut high) = (log.first(), log.next());
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            let at: Position = log.position_at(middle)?.into_iter().collect();
            if floor.covers(&at) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        let mut saved = Saved { generation, floor: low, paused_until: self.paused.map(UnixNanos), ..Saved::default() };
        let next = log.next();
        walk(log, low, next, |first, next, home, sequence| {
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
        // What is settled was not tried last.
        let done = saved.done.clone();
        saved.tried.retain(|run| !done.iter().any(|(from, upto)| *from < run.end && run.first < *upto));
        Ok(saved)
    }
}

fn within<'r, T>(
    runs: &'r [T],
    first: u64,
    next: u64,
    of: impl Fn(&T) -> (u64, u64) + 'r,
) -> impl Iterator<Item = (u64, u64)> + 'r {
    let from = runs.partition_point(|run| of(run).1 <= first);
    runs.get(from..).unwrap_or_default().iter().map(of).take_while(move |run| run.0 < next)
}

/// Calls `each` with the blocks from the one that holds `from` on: local
/// sequences from and upto, home and the first sequence there.
fn walk(log: &mut LogReader, from: u64, upto: u64, mut each: impl FnMut(u64, u64, u32, u64)) -> Result<(), ReadError> {
    let (mut from, mut left) = (from.max(log.first()), BLOCKS);
    while from < upto.min(log.next()) && left > 0 {
        let before = from;
        let end = log.next();
        match log.read(from, end, 256 << 10) {
            Ok(blocks) => {
                for block in blocks {
                    if block.first() >= upto || left == 0 {
                        return Ok(());
                    }
                    let (home, sequence) = block.home();
                    each(block.first(), block.next(), home, sequence);
                    from = block.next();
                    left -= 1;
                }
            }
            Err(ReadError::Damaged { resume, .. }) => from = resume,
            Err(ReadError::Gone { first }) => from = first,
            Err(error) => return Err(error),
        }
        if from == before {
            break;
        }
    }
    Ok(())
}
