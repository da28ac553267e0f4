//! Repair while a hub has the log open: blocks that another home has take the
//! place of a damaged range, under the readers.
//!
//! What [`crate::offline`] does with a log that nobody uses, for the cases that
//! need no judgement: a range in a segment that is complete and on the disk,
//! with whole blocks or the segment's end behind it, whose events and bytes the
//! new blocks are exactly. So nothing moves: local sequences and places in the
//! segment stay, and so does every index.
//!
//! The damaged bytes are put into quarantine first. The segment is then written
//! anew beside the old one, synced, and renamed over it: a crash at any step
//! leaves the log as it was or repaired. Readers that hold blocks of the old
//! segment keep them; who meets its damage is led to the new one.
//!
//! For a thread that may wait for the disk. Retention and compaction go on
//! meanwhile: a segment that they took or wrote first is left to them.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use weft_base::UnixNanos;
use weft_base::sync::atomic::Ordering;
use weft_wire::block::{Block, StreamPlace, set_stream_place};

use crate::append::Log;
use crate::format::{Header, Mark, mend_name, segment_name, write_before};
use crate::fs::SegmentFile;
use crate::homes::Homes;
use crate::index::Place;
use crate::mmap::HEAD;
use crate::offline::{Finding, note};
use crate::segment::{Beginning, Segment};
use crate::shared::{Shared, locked};

/// How many damaged ranges of a segment are looked at, at a time.
const MOST: usize = 64;
/// How much is read in from the disk at a time.
const STEP: usize = 1 << 20;

/// A damaged range of a segment, and what it held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The segment's number.
    pub segment: u64,
    /// Where it begins in the segment.
    pub offset: u64,
    /// Where it ends there.
    pub end: u64,
    /// The first local sequence that is lost.
    pub first: u64,
    /// The first one behind it that is not.
    pub next: u64,
    /// What is wrong there.
    pub clause: String,
    /// Of each home whose events it may have held, by its tag, the first of
    /// their sequences and the one behind the last. More than were lost when
    /// that home's sequences have gaps here.
    pub held: Vec<(u32, u64, u64)>,
}

impl Hole {
    /// How many events it held.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.next - self.first
    }

    /// How many bytes of the segment it is.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.end - self.offset
    }
}

/// What a segment looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Whole, or not there any more.
    Whole,
    /// Damaged here; the first ranges of it, at least one.
    Holes(Vec<Hole>),
    /// It cannot be repaired in this way, for the moment or at all.
    Not(String),
}

/// Why a range was not repaired. The log is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MendError {
    /// The blocks are not what the range held.
    #[error("the blocks are not what is missing in segment {segment}: {clause}")]
    Other {
        /// The segment's number.
        segment: u64,
        /// What differs.
        clause: String,
    },
    /// The segment is not as it was looked at: to be looked at again.
    #[error("segment {segment} has changed since it was looked at")]
    Changed {
        /// The segment's number.
        segment: u64,
    },
    /// The system refused.
    #[error("segment {segment} could not be written anew")]
    Io {
        /// The segment's number.
        segment: u64,
        /// What the system said.
        source: io::Error,
    },
}

/// A segment, and the one after it.
type Pair = (Arc<Segment>, Arc<Segment>);
/// A hole, where the homes were before it, and with which of their sequences
/// each went on behind it.
type Between = (Hole, Homes, Vec<(u32, u64)>);

/// Repairs a log from any thread.
pub struct Mender {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Mender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mender({})", self.shared.dir.display())
    }
}

impl Log {
    /// A handle that repairs, for another thread.
    #[must_use]
    pub fn mender(&self) -> Mender {
        Mender { shared: Arc::clone(&self.shared) }
    }
}

impl Mender {
    /// The numbers of the segments in which anybody met damage since the last
    /// call: who read, who verified, or who opened the log.
    #[must_use]
    pub fn suspects(&self) -> BTreeSet<u64> {
        std::mem::take(&mut *locked(&self.shared.suspects))
    }

    /// Reads a segment through, and tells what of it is damaged.
    #[must_use]
    pub fn look(&self, number: u64) -> Look {
        let not = |why: &str| Look::Not(why.to_owned());
        let (segment, after) = match self.sealed(number) {
            Ok(Some(pair)) => pair,
            Ok(None) => return Look::Whole,
            Err(why) => return not(why),
        };
        let tail = segment.tail();
        if let Err(e) = read_in(&segment, tail.offset) {
            return Look::Not(format!("it cannot be read: {e}"));
        }
        let holes = holes(&segment, &after, self.shared.options.home);
        segment.map().release(0..tail.offset);
        match holes {
            Ok(holes) if holes.is_empty() && tail.sequence < after.base => {
                not("blocks are missing at its end, of which no place is left")
            }
            Ok(holes) if holes.is_empty() => Look::Whole,
            Ok(holes) => Look::Holes(holes),
            Err(why) => not(why),
        }
    }

    /// A segment that is complete and on the disk, and the one after it; none
    /// when it is not there any more.
    fn sealed(&self, number: u64) -> Result<Option<Pair>, &'static str> {
        let table = locked(&self.shared.table);
        let Ok(at) = table.live.binary_search_by_key(&number, |s| s.number) else { return Ok(None) };
        let Some(segment) = table.live.get(at) else { return Ok(None) };
        let after = table.live.get(at + 1).ok_or("it is still written to")?;
        if segment.compacted.is_some() {
            return Err("it was compacted, so nobody knows what it held");
        }
        if segment.key.is_some() {
            // Other bytes under its sequences need another salt, for all of it.
            return Err("it is encrypted: stop the hub, and take it from another home with `weft log repair --from`");
        }
        if segment.synced.load(Ordering::Acquire) < segment.tail().offset {
            return Err("it is not on the disk yet");
        }
        Ok(Some((Arc::clone(segment), Arc::clone(after))))
    }

    /// Puts blocks, in this order, in the place of what is damaged. They keep
    /// their names, and get the local sequences that are missing.
    ///
    /// # Errors
    /// [`MendError`]; the log is as it was. After [`MendError::Io`] the damaged
    /// bytes may be in quarantine already.
    pub fn mend(&self, hole: &Hole, blocks: Vec<Vec<u8>>, now: UnixNanos) -> Result<(), MendError> {
        let number = hole.segment;
        let changed = || MendError::Changed { segment: number };
        let other = |clause: &str| MendError::Other { segment: number, clause: clause.to_owned() };
        let failed = |source| MendError::Io { segment: number, source };
        let (old, _) = self.sealed(number).ok().flatten().ok_or_else(changed)?;
        let tail = old.tail();
        read_in(&old, tail.offset).map_err(failed)?;
        let place = Place { sequence: hole.first, offset: usize::try_from(hole.offset).map_err(|_| changed())? };
        let end = Place { sequence: hole.next, offset: usize::try_from(hole.end).map_err(|_| changed())? };
        let content = old.content(tail.offset);
        let joins = end == tail || content.check(end.offset, end.sequence).is_ok();
        if !joins || place.offset >= end.offset || content.check(place.offset, place.sequence).is_ok() {
            return Err(changed());
        }
        let placed = placed(hole, blocks).map_err(other)?;
        self.quarantine(hole, content.range(place.offset, end.offset), now).map_err(failed)?;
        let temporary = self.shared.dir.join(mend_name(number));
        let written = self.written(&temporary, &old, (place, end), &placed).and_then(|new| {
            let whole = filled(&new, place, end);
            if whole { Ok(new) } else { Err(io::Error::other("what was written is not whole")) }
        });
        let new = match written {
            Ok(new) => Arc::new(new),
            Err(source) => {
                // Best effort: the next opening removes it.
                let _ = self.shared.fs.remove(&temporary);
                return Err(failed(source));
            }
        };
        self.install(&temporary, &old, &new)?;
        old.map().release(0..tail.offset);
        Ok(())
    }

    fn quarantine(&self, hole: &Hole, bytes: &[u8], now: UnixNanos) -> io::Result<()> {
        let finding = Finding::of_hole(hole);
        let then = format!("its {} events were taken from another home, while the hub ran", hole.events());
        note::put(&*self.shared.fs, &self.shared.dir, &finding, bytes, &then, now).map_err(io::Error::other)
    }

    /// The segment with these blocks in their place, in a file of its own, on
    /// the disk.
    fn written(
        &self,
        path: &Path,
        old: &Segment,
        (place, end): (Place, Place),
        blocks: &[Vec<u8>],
    ) -> io::Result<Segment> {
        let shared = &*self.shared;
        let tail = old.tail();
        match shared.fs.remove(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = shared.fs.create(path, old.map().len() as u64)?;
        let mut writer = file.map().writer().ok_or_else(|| io::Error::other("the new file has a writer already"))?;
        let content = old.content(tail.offset);
        let mut parts = vec![IoSlice::new(content.range(HEAD, place.offset))];
        parts.extend(blocks.iter().map(|block| IoSlice::new(block)));
        parts.push(IoSlice::new(content.range(end.offset, tail.offset)));
        let mut skip = 0;
        for part in parts {
            let len = part.len();
            file.write(&mut writer, skip, &mut [part])?;
            skip += len;
        }
        let events = u32::try_from(tail.sequence - old.base).map_err(io::Error::other)?;
        if !writer.publish(tail.offset - HEAD, events) {
            return Err(io::Error::other("the new file is too short"));
        }
        self.head(&*file, old)?;
        file.sync(0..tail.offset)?;
        drop(writer);
        let (newest, homes) = (old.newest_so_far.load(Ordering::Relaxed), old.homes.clone());
        let beginning = Beginning { number: old.number, base: old.base, compacted: None, homes, newest, key: None };
        let mut new = Segment::new(beginning, file, None);
        new.keep_gaps(old, place.offset);
        new.synced.store(tail.offset, Ordering::Relaxed);
        Ok(new)
    }

    /// Header, mark and what precedes the segment, as the old one has them.
    fn head(&self, file: &dyn SegmentFile, old: &Segment) -> io::Result<()> {
        let header = Header::read(old.map()).ok_or_else(|| io::Error::other("the segment's header is damaged too"))?;
        header.write(file.map());
        write_before(file.map(), &old.homes, self.shared.newest_before(old.number));
        let tail = old.tail();
        Mark { end: tail.offset, next: tail.sequence, clean: false }.write(file.map());
        Ok(())
    }

    /// Puts the new segment in the old one's place.
    fn install(&self, temporary: &Path, old: &Arc<Segment>, new: &Arc<Segment>) -> Result<(), MendError> {
        let shared = &*self.shared;
        let number = old.number;
        let failed = |source| MendError::Io { segment: number, source };
        let index = shared.build_index(new);
        sum_up(new);
        let homes = new.homes_before(Some(&index), u64::MAX, shared.options.home);
        let side = new.side(homes, &index, shared.options.index_every.0).encode();
        let side_path = shared.side_path(number);
        let speaks_of_it = shared.fs.read(&side_path, crate::side::MOST).is_ok_and(|bytes| bytes == side);
        if !speaks_of_it {
            // Before the segment changes: it would speak of other blocks.
            match shared.fs.remove(&side_path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
                _ => shared.fs.sync_dir(&shared.dir).map_err(failed)?,
            }
        }
        if locked(&shared.state).closed {
            let _ = shared.fs.remove(temporary);
            return Err(MendError::Changed { segment: number });
        }
        let renamed = {
            // Under the lock, so that retention takes the segment out before, and
            // then nothing is renamed, or after, and then this file goes.
            let table = locked(&shared.table);
            let there = table.live.iter().any(|live| Arc::ptr_eq(live, old));
            there.then(|| shared.fs.rename(temporary, &shared.dir.join(segment_name(number))))
        };
        match renamed {
            None => {
                let _ = shared.fs.remove(temporary);
                return Err(MendError::Changed { segment: number });
            }
            Some(outcome) => outcome.map_err(failed)?,
        }
        // Nobody reads what a crash could take back.
        shared.fs.sync_dir(&shared.dir).map_err(failed)?;
        shared.keep_index(new, &index);
        let mut table = locked(&shared.table);
        if let Some(live) = table.live.iter_mut().find(|live| Arc::ptr_eq(live, old)) {
            *live = Arc::clone(new);
        }
        drop(table);
        if !speaks_of_it {
            let mut unindexed = locked(&shared.unindexed);
            if !unindexed.contains(&number) {
                unindexed.push(number);
            }
        }
        Ok(())
    }
}

/// Reads a segment in from the disk: what cannot be read is an error here, and
/// would kill the process where it is touched.
fn read_in(segment: &Segment, end: usize) -> io::Result<()> {
    (0..end).step_by(STEP).try_for_each(|at| segment.map().populate_read(at..(at + STEP).min(end)))
}

/// The damaged ranges, each with what it held.
fn holes(segment: &Segment, after: &Segment, own: u32) -> Result<Vec<Hole>, &'static str> {
    let tail = segment.tail();
    let content = segment.content(tail.offset);
    let mut found: Vec<Between> = Vec::new();
    let (mut at, mut homes) = (segment.start(), segment.homes.clone());
    while at.offset < tail.offset {
        let clause = match content.check(at.offset, at.sequence) {
            Ok(block) => {
                let (home, first) = block.home(own);
                for (_, _, after) in found.iter_mut().rev().take_while(|f| !f.2.iter().any(|(h, _)| *h == home)) {
                    after.push((home, first));
                }
                homes.note(home, block.home_next(own).1);
                at = Place { sequence: block.next, offset: block.offset + block.len };
                continue;
            }
            Err(clause) => clause.into_owned(),
        };
        if found.len() == MOST {
            break;
        }
        let end = segment.after_damage(content, at).unwrap_or(tail);
        if end.offset <= at.offset || end.sequence <= at.sequence {
            return Err("how many events are missing is not known");
        }
        let (offset, end_offset) = (at.offset as u64, end.offset as u64);
        let (first, next, held) = (at.sequence, end.sequence, Vec::new());
        let hole = Hole { segment: segment.number, offset, end: end_offset, first, next, clause, held };
        found.push((hole, homes.clone(), Vec::new()));
        at = end;
    }
    let complete = at.offset >= tail.offset;
    let with_names = |(mut hole, before, went_on): Between| {
        let mut tags: BTreeSet<u32> = after.homes.entries().iter().map(|(home, _)| *home).collect();
        tags.extend(went_on.iter().map(|(home, _)| *home));
        for home in tags {
            let behind = went_on.iter().find(|(h, _)| *h == home).map(|(_, first)| *first);
            // Of which nothing follows here, the next segment says how far it was.
            let high = behind.or_else(|| complete.then(|| after.homes.next_of(home)));
            let low = before.next_of(home);
            if let Some(high) = high.filter(|high| *high > low) {
                hole.held.push((home, low, high));
            }
        }
        hole
    };
    Ok(found.into_iter().map(with_names).collect())
}

/// The blocks with their local sequences, when they are exactly what is missing.
fn placed(hole: &Hole, mut blocks: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, &'static str> {
    let (mut local, mut bytes) = (hole.first, 0_u64);
    for block in &mut blocks {
        let parsed = Block::validate(block).map_err(|_| "one is no whole block")?;
        let (home, home_sequence) = parsed.home().ok_or("one has no name")?;
        let events = u64::from(parsed.event_count());
        let behind = home_sequence.saturating_add(events);
        if !hole.held.iter().any(|(of, low, high)| *of == home && *low <= home_sequence && behind <= *high) {
            return Err("one is not of the events that are missing");
        }
        set_stream_place(block, StreamPlace { local, home, home_sequence }).map_err(|_| "one was never stamped")?;
        local = local.saturating_add(events);
        bytes = bytes.saturating_add(block.len() as u64);
    }
    if local != hole.next {
        return Err("they are not as many events");
    }
    if bytes == hole.bytes() { Ok(blocks) } else { Err("they are not as many bytes") }
}

/// Whether the range is whole blocks from its beginning to its end.
fn filled(segment: &Segment, place: Place, end: Place) -> bool {
    let content = segment.content(segment.tail().offset);
    let mut at = place;
    while at.offset < end.offset {
        let Ok(block) = content.check(at.offset, at.sequence) else { return false };
        at = Place { sequence: block.next, offset: block.offset + block.len };
    }
    at == end
}

/// Sums up what is in a segment.
fn sum_up(segment: &Segment) {
    let (mut blocks, mut events, mut newest) = (0, 0, 0);
    segment.walk(segment.content(segment.tail().offset), segment.start(), |found| {
        blocks += 1;
        events += found.next - found.first;
        newest = newest.max(found.time);
        None::<()>
    });
    segment.blocks.store(blocks, Ordering::Relaxed);
    segment.events.store(events, Ordering::Relaxed);
    segment.newest.store(newest, Ordering::Relaxed);
    segment.newest_so_far.fetch_max(newest, Ordering::Relaxed);
}
