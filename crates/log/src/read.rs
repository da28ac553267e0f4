//! Reading, while the writer appends.
//!
//! Every block is checked before it is served, checksums included: a bit that
//! flipped since the log was opened is found here.

use std::ops::Deref;
use std::sync::Arc;

use weft_base::UnixNanos;
use weft_base::sync::atomic::Ordering;
use weft_wire::block::Block;

use crate::crypt::Plain;
use crate::error::ReadError;
use crate::index::Place;
use crate::scan::{Clause, Content, Found};
use crate::segment::Segment;
use crate::shared::{Shared, locked};

/// A block in the log: shares the mapping, and keeps it even when retention
/// removes the file. Of an encrypted segment it has its plain text in memory of
/// its own, which clones share.
#[derive(Clone)]
pub struct LogBlock {
    segment: Arc<Segment>,
    found: Found,
    /// Its plain text, when the segment is encrypted.
    plain: Option<Plain>,
    own: u32,
}

impl LogBlock {
    /// The stream sequence of its first event.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.found.first
    }

    /// The sequence after its last event's.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.found.next
    }

    /// The home at which it entered the stream, by its tag, and the sequence of
    /// its first event there.
    #[must_use]
    pub fn home(&self) -> (u32, u64) {
        self.found.home(self.own)
    }

    /// The block, to be read in place.
    #[must_use]
    pub fn block(&self) -> Block<'_> {
        Block::trusted(self)
    }
}

impl Deref for LogBlock {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        if let Some(plain) = &self.plain {
            return plain.bytes();
        }
        // What was published once stays so: never empty.
        self.segment.map().read(self.found.offset..self.found.offset + self.found.len).unwrap_or_default()
    }
}

impl AsRef<[u8]> for LogBlock {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for LogBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogBlock({}..{}, segment {})", self.first(), self.next(), self.segment.number)
    }
}

/// Reads a log from any thread. Remembers where it stopped, so that reading on
/// from there needs no look-up; clones are independent. Where it stopped it
/// holds the segment, whose space on disk is taken that long even when
/// retention removes it.
#[derive(Clone)]
pub struct LogReader {
    shared: Arc<Shared>,
    /// Where a block begins that this reader will likely be asked for next.
    hint: Option<(Arc<Segment>, Place)>,
}

impl std::fmt::Debug for LogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReader").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

/// What has become of an event, see [`LogReader::fate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is there, whole, under this local sequence.
    Whole {
        /// The local sequence.
        local: u64,
    },
    /// Damage took it.
    Damaged,
    /// Retention or compaction took it out.
    Removed,
}

/// Why looking for a block stopped.
enum Stop {
    /// Here is no block that follows the ones before; the sequence is the one
    /// that was expected.
    Suspect(Place, Clause),
    /// The published part ended before the sequence was found.
    End(Place),
}

impl LogReader {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, hint: None }
    }

    /// The first sequence that is kept.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.shared.first.load(Ordering::Acquire)
    }

    /// The sequence the next event gets.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.shared.next.load(Ordering::Acquire)
    }

    /// All events below this are on the disk.
    #[must_use]
    pub fn synced(&self) -> u64 {
        self.shared.synced.load(Ordering::Acquire)
    }

    /// The blocks from the one that holds sequence `from` on (it may begin
    /// before `from`), as long as all their events are below `upto`, and of
    /// `max_bytes` at most, but at least one. None when there is nothing yet.
    /// Where compaction took blocks out, they begin with the first one after
    /// `from`, and do not follow each other without gaps.
    ///
    /// The blocks end before damage; reading at the sequence after the last
    /// one then answers [`ReadError::Damaged`].
    ///
    /// # Errors
    /// [`ReadError`]; each says where to go on.
    pub fn read(&mut self, from: u64, upto: u64, max_bytes: usize) -> Result<Blocks<'_>, ReadError> {
        let first = self.first();
        if from < first {
            return Err(ReadError::Gone { first });
        }
        let upto = upto.min(self.next());
        let located = if from < upto { self.locate(from, max_bytes)? } else { None };
        let (at, checked) = located.map_or((None, None), |(segment, found)| {
            let place = Place { sequence: found.0.first, offset: found.0.offset };
            (Some((segment, place)), Some(found))
        });
        // So far it was read in; of a segment that was made now all is in memory.
        let warmed = at.as_ref().map_or(0, |(segment, place): &(Arc<Segment>, Place)| match self.is_hot(segment) {
            true => usize::MAX,
            false => place.offset.saturating_add(max_bytes),
        });
        Ok(Blocks { reader: self, at, checked, upto, left: max_bytes, warmed, any: false })
    }

    /// Whether a segment is the one that is written to, and was made in this
    /// life: what it holds was in memory a moment ago.
    fn is_hot(&self, segment: &Segment) -> bool {
        segment.is_fresh && locked(&self.shared.table).live.back().is_some_and(|s| s.number == segment.number)
    }

    /// Reads in from the disk what is about to be served of a segment, and
    /// answers up to where: an unreadable sector is then an error.
    fn warm(&self, segment: &Segment, offset: usize, max_bytes: usize) -> Result<usize, ReadError> {
        if self.is_hot(segment) {
            return Ok(usize::MAX);
        }
        let end = offset.saturating_add(max_bytes).min(segment.tail().offset);
        segment.map().populate_read(offset & !4095..end).map_err(unreadable(segment, offset))?;
        Ok(end)
    }

    /// The block that holds `from`, which is below `next`, or the first one
    /// after it where compaction took it out.
    fn locate(&self, from: u64, max_bytes: usize) -> Result<Option<(Arc<Segment>, Opened)>, ReadError> {
        let mut from = from;
        loop {
            let (segment, found) = self.locate_in(from, max_bytes)?;
            match found {
                Some(found) => return Ok(Some((segment, found))),
                // The rest of a compacted segment is gone.
                None if segment.tail().sequence > from => from = segment.tail().sequence,
                None => return Ok(None),
            }
            if from >= self.next() {
                return Ok(None);
            }
        }
    }

    /// The same in one segment, which it answers.
    fn locate_in(&self, from: u64, max_bytes: usize) -> Result<(Arc<Segment>, Option<Opened>), ReadError> {
        let hinted = self.hint.as_ref().filter(|(s, at)| at.sequence <= from && from < s.tail().sequence);
        let Some((segment, at)) = hinted else { return self.locate_from(None, from, max_bytes) };
        match self.locate_from(Some((Arc::clone(segment), *at)), from, max_bytes) {
            // It may have been repaired since.
            Err(ReadError::Damaged { .. }) if !self.shared.is_live(segment) => self.locate_from(None, from, max_bytes),
            found => found,
        }
    }

    /// The same, from a place where a block begins, or else the segment's start.
    fn locate_from(
        &self,
        hinted: Option<(Arc<Segment>, Place)>,
        from: u64,
        max_bytes: usize,
    ) -> Result<(Arc<Segment>, Option<Opened>), ReadError> {
        let found = || self.shared.segment_of(from).map(|(segment, _)| (Arc::clone(&segment), segment.start()));
        // There is none when retention was faster.
        let (segment, hint) = hinted.or_else(found).ok_or_else(|| ReadError::Gone { first: self.first() })?;
        let exact = hint.sequence == from;
        let index = if exact { None } else { self.shared.index_of(&segment) };
        let indexed = index.as_ref().and_then(|index| index.at_sequence(from)).unwrap_or(segment.start());
        let start = if indexed.sequence > hint.sequence { indexed } else { hint };
        let reach = if exact { 0 } else { self.reach(index.is_some()) };
        let warmed = self.warm(&segment, start.offset, reach.saturating_add(max_bytes))?;
        let content = segment.content(segment.tail().offset);
        // Headers lead to the block; only when they do not, everything on the
        // way is checked.
        let mut stop = match walk(content, start, from, Content::glance) {
            Ok(found) => {
                let warm = segment.warm_block(content, found.offset, warmed);
                warm.map_err(unreadable(&segment, found.offset))?;
                match content.open(found.offset, found.first) {
                    Ok(found) => return Ok((segment, Some(found))),
                    Err(clause) => Stop::Suspect(Place { sequence: found.first, offset: found.offset }, clause),
                }
            }
            Err(_) => {
                self.warm(&segment, 0, usize::MAX)?;
                let indexed = self.shared.index_of(&segment).and_then(|index| index.at_sequence(from));
                match walk(content, indexed.unwrap_or(segment.start()), from, Content::whole)
                    .and_then(|found| opened(content, &found))
                {
                    Ok(found) => return Ok((segment, Some(found))),
                    Err(stop) => stop,
                }
            }
        };
        loop {
            let (place, clause) = match stop {
                Stop::Suspect(place, clause) => (place, clause),
                Stop::End(_) if segment.compacted.is_some() => return Ok((segment, None)),
                Stop::End(place) => (place, "blocks are missing at its end".into()),
            };
            let damaged = |resume| {
                self.shared.suspect(segment.number);
                ReadError::Damaged {
                    segment: segment.number,
                    offset: place.offset as u64,
                    clause: clause.to_string(),
                    from: place.sequence,
                    resume,
                }
            };
            // What comes after it may be anywhere.
            self.warm(&segment, place.offset, usize::MAX)?;
            let Some(start) = segment.after_damage(content, place) else {
                // The next segment goes on; or in the one in use, what is
                // appended next.
                let after = self.shared.segment_of(from).and_then(|(_, after)| after);
                return Err(damaged(after.unwrap_or_else(|| segment.tail().sequence).max(from + 1)));
            };
            if from < start.sequence {
                return Err(damaged(start.sequence));
            }
            stop = match walk(content, start, from, Content::whole).and_then(|found| opened(content, &found)) {
                Ok(found) => return Ok((segment, Some(found))),
                Err(stop) => stop,
            };
        }
    }

    /// The first sequence of the first block that was ingested at `time` or
    /// later; [`next`](Self::next) when there is none yet.
    ///
    /// Blocks of several hubs may lie in one log, and clocks jump, so times
    /// need not grow with sequences; all blocks before the answer are older.
    #[must_use]
    pub fn seek_time(&mut self, time: UnixNanos) -> u64 {
        let segment: Option<Arc<Segment>> = {
            let table = locked(&self.shared.table);
            let at = table.live.partition_point(|s| s.newest_so_far.load(Ordering::Relaxed) < time.0);
            table.live.get(at).cloned()
        };
        let Some(segment) = segment else { return self.next() };
        let index = self.shared.index_of(&segment);
        let mut from = index.and_then(|index| index.at_time(time.0)).map_or(segment.base, |place| place.sequence);
        from = from.max(self.first());
        loop {
            let next = self.next();
            match self.read(from, next, 1 << 20) {
                Ok(blocks) => {
                    let before = from;
                    for block in blocks {
                        if block.found.time >= time.0 {
                            return block.first();
                        }
                        from = block.next();
                    }
                    if from == before {
                        return from;
                    }
                }
                Err(ReadError::Damaged { resume, .. }) => from = resume,
                Err(ReadError::Gone { first }) => from = first,
                Err(ReadError::Io { .. }) => return from,
            }
        }
    }

    /// How far the log is in each home just before sequence `local`: per home,
    /// by its tag, the home sequence that is next. Homes of which nothing comes
    /// before are left out. [`next`](Self::next) for what is later than that.
    ///
    /// # Errors
    /// [`ReadError::Gone`] and [`ReadError::Io`].
    pub fn position_at(&mut self, local: u64) -> Result<Vec<(u32, u64)>, ReadError> {
        let (first, local) = (self.first(), local.min(self.next()));
        if local < first {
            return Err(ReadError::Gone { first });
        }
        let Some((segment, _)) = self.shared.segment_of(local) else { return Err(ReadError::Gone { first }) };
        let index = self.shared.index_of(&segment);
        let start = index.as_ref().and_then(|index| index.at_sequence(local)).unwrap_or(segment.start());
        self.warm(&segment, start.offset, self.reach(index.is_some()))?;
        Ok(segment.homes_before(index.as_deref(), local, self.shared.options.home).entries().to_vec())
    }

    /// How far from where the index led to what is looked for may be.
    fn reach(&self, indexed: bool) -> usize {
        if indexed { self.shared.options.index_every.as_usize() + self.shared.options.max_block } else { usize::MAX }
    }

    /// The local sequence of the first event of `home` that is kept here and
    /// has this home sequence or a later one; `None` while there is none.
    ///
    /// # Errors
    /// [`ReadError::Io`].
    pub fn find(&mut self, home: u32, home_sequence: u64) -> Result<Option<u64>, ReadError> {
        let own = self.shared.options.home;
        let segments: Vec<_> = {
            let table = locked(&self.shared.table);
            let after = table.live.partition_point(|s| s.homes.next_of(home) <= home_sequence);
            table.live.range(after.saturating_sub(1)..).cloned().collect()
        };
        for segment in segments {
            let index = self.shared.index_of(&segment);
            let before = |homes: &[(u32, u64)]| {
                homes.iter().find(|entry| entry.0 == home).map_or(1, |entry| entry.1) <= home_sequence
            };
            let indexed = index.as_ref().and_then(|index| index.vector(|_, homes| before(homes)));
            let start = indexed.map_or(segment.start(), |(place, _)| place);
            // It may be far on, when this home writes rarely.
            self.warm(&segment, start.offset, usize::MAX)?;
            let found = segment.walk(segment.content(segment.tail().offset), start, |found| {
                let (of, first) = found.home(own);
                let (_, next) = found.home_next(own);
                (of == home && next > home_sequence).then(|| found.first + home_sequence.saturating_sub(first))
            });
            if let Some(local) = found {
                return Ok(Some(local.max(self.first())));
            }
        }
        Ok(None)
    }

    /// What has become of an event of `home` that was in this log once: for
    /// homes whose sequences have no gaps here, which is so of the log's own.
    ///
    /// # Errors
    /// [`ReadError::Io`].
    pub fn fate(&mut self, home: u32, home_sequence: u64) -> Result<Fate, ReadError> {
        loop {
            let first = self.first();
            let before = match self.position_at(first) {
                // Retention was faster.
                Err(ReadError::Gone { .. }) => continue,
                position => position?,
            };
            if before.iter().any(|(of, next)| *of == home && *next > home_sequence) {
                return Ok(Fate::Removed);
            }
            let Some(local) = self.find(home, home_sequence)? else { return Ok(self.unless_compacted()) };
            let block = match self.read(local, self.next(), 1) {
                Ok(mut blocks) => blocks.next(),
                Err(ReadError::Gone { .. }) => continue,
                Err(ReadError::Damaged { .. }) => return Ok(Fate::Damaged),
                Err(error) => return Err(error),
            };
            let holds = |block: &LogBlock| {
                let (of, first) = block.home();
                of == home && first <= home_sequence && home_sequence - first < block.next() - block.first()
            };
            return Ok(match block.filter(holds) {
                Some(_) => Fate::Whole { local },
                None => self.unless_compacted(),
            });
        }
    }

    /// An event is missing among others. In a log that was compacted it is
    /// taken for one that a newer one replaced.
    fn unless_compacted(&self) -> Fate {
        let compacted = locked(&self.shared.table).live.iter().any(|segment| segment.compacted.is_some());
        if compacted { Fate::Removed } else { Fate::Damaged }
    }

    /// Calls `f` with each block from the one that holds `from` on, up to
    /// `upto`; damaged ones are left out.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub fn for_each_block(&mut self, from: u64, upto: u64, mut f: impl FnMut(Block<'_>)) -> Result<(), ReadError> {
        let mut from = from.max(self.first());
        while from < upto.min(self.next()) {
            let before = from;
            match self.read(from, upto, 1 << 20) {
                Ok(blocks) => {
                    for block in blocks {
                        f(block.block());
                        from = block.next();
                    }
                    if from == before {
                        // A block that reaches beyond `upto`.
                        return Ok(());
                    }
                }
                Err(ReadError::Damaged { resume, .. }) => from = resume,
                Err(ReadError::Gone { first }) => from = first,
                Err(e @ ReadError::Io { .. }) => return Err(e),
            }
        }
        Ok(())
    }
}

fn unreadable(segment: &Segment, offset: usize) -> impl FnOnce(std::io::Error) -> ReadError {
    let (segment, offset) = (segment.number, offset as u64);
    move |source| ReadError::Io { segment, offset, source }
}

/// A block that was checked, and its plain text when it is encrypted.
type Opened = (Found, Option<Plain>);

/// The block that a walk which checked all found.
fn opened(content: Content<'_>, found: &Found) -> Result<Opened, Stop> {
    let place = Place { sequence: found.first, offset: found.offset };
    content.open(found.offset, found.first).map_err(|clause| Stop::Suspect(place, clause))
}

/// From block to block to the one that holds `sequence`.
fn walk<'a>(
    content: Content<'a>,
    start: Place,
    sequence: u64,
    look: impl Fn(Content<'a>, usize) -> Result<Found, Clause>,
) -> Result<Found, Stop> {
    let mut at = start;
    while at.offset < content.end() {
        let found = look(content, at.offset).map_err(|clause| Stop::Suspect(at, clause))?;
        if !content.follows(&found, at.sequence) {
            let clause = format!("the block has sequence {}, {} was next", found.first, at.sequence);
            return Err(Stop::Suspect(at, clause.into()));
        }
        if sequence < found.next {
            return Ok(found);
        }
        at = Place { sequence: found.next, offset: found.end() };
    }
    Err(Stop::End(at))
}

/// Blocks that follow each other, from [`LogReader::read`].
pub struct Blocks<'r> {
    reader: &'r mut LogReader,
    at: Option<(Arc<Segment>, Place)>,
    /// The block there, when it was checked already.
    checked: Option<Opened>,
    upto: u64,
    left: usize,
    /// Up to this offset of the segment there it is known to be in memory.
    warmed: usize,
    any: bool,
}

impl std::fmt::Debug for Blocks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = self.at.as_ref().map(|(_, place)| place.sequence);
        write!(f, "Blocks({place:?}..{})", self.upto)
    }
}

impl Blocks<'_> {
    /// The checked block at the current place, in this segment or the next.
    fn look(&mut self) -> Option<Opened> {
        let (segment, place) = self.at.as_mut()?;
        if place.sequence >= self.upto {
            return None;
        }
        let tail = segment.tail();
        if place.offset < tail.offset {
            let content = segment.content(tail.offset);
            self.warmed = segment.warm_block(content, place.offset, self.warmed).ok()?;
            return content.open(place.offset, place.sequence).ok();
        }
        // After the last block of a compacted segment.
        place.sequence = place.sequence.max(tail.sequence);
        if place.sequence >= self.upto {
            return None;
        }
        let (next, _) = self.reader.shared.segment_of(place.sequence)?;
        if next.base != place.sequence || next.number == segment.number {
            return None;
        }
        // Who reads through a log should not keep all of it in memory.
        segment.map().release(0..tail.offset);
        *place = next.start();
        *segment = next;
        self.warmed = self.reader.warm(segment, place.offset, self.left).ok()?;
        let content = segment.content(segment.tail().offset);
        self.warmed = segment.warm_block(content, place.offset, self.warmed).ok()?;
        content.open(place.offset, place.sequence).ok()
    }
}

impl Iterator for Blocks<'_> {
    type Item = LogBlock;

    fn next(&mut self) -> Option<LogBlock> {
        let (found, plain) = self.checked.take().or_else(|| self.look())?;
        if found.next > self.upto || (self.any && found.len > self.left) {
            return None;
        }
        let (segment, place) = self.at.as_mut()?;
        *place = Place { sequence: found.next, offset: found.end() };
        self.any = true;
        self.left = self.left.saturating_sub(found.len);
        Some(LogBlock { segment: Arc::clone(segment), found, plain, own: self.reader.shared.options.home })
    }
}

impl Drop for Blocks<'_> {
    fn drop(&mut self) {
        self.reader.hint = self.at.take();
    }
}
