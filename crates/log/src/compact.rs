//! Compaction by key: segments are written anew without the events that nobody
//! needs any more, a little at each call.
//!
//! For each segment that is complete and on the disk it is first counted how
//! much would go; when that is too little
//! ([`LogOptions::compact_percent`](crate::LogOptions::compact_percent)), the
//! segment stays as it is. Else its blocks are copied to a file of another name:
//! a block all of whose events go is left out, one that loses some is written
//! anew ([`weft_wire::block::compact`]). That file is synced, cut to its size and
//! renamed over the segment's. A crash leaves the old segment or the new one;
//! a half-written file is removed by the next opening. Readers that are in the
//! old one go on in it.
//!
//! A block that ends an atomic batch stays, if only as a shell, so that who
//! copies the stream knows where the batch ends. A segment with damage stays as
//! it is, for repair.

use std::io::{self, IoSlice};
use std::sync::Arc;

use weft_base::sync::atomic::Ordering;
use weft_base::{ByteCount, UnixNanos};
use weft_wire::block::layout::BATCH_LAST;
use weft_wire::block::{Block, compact};

use crate::append::Log;
use crate::crypt::{NOT_SEALED, SegmentKey, TRAILER};
use crate::error::CompactError;
use crate::format::{FORMAT_FILE, Header, format_text, parse_format, segment_name, temporary_name, write_before};
use crate::fs::SegmentFile;
use crate::homes::Homes;
use crate::index::{Index, Place};
use crate::mmap::{HEAD, MapWriter};
use crate::scan::Found;
use crate::segment::{Beginning, Segment};
use crate::shared::{Shared, locked};

/// What asking about one event counts for in the budget of [`Log::compact`], in
/// bytes: who is asked may have to look on the disk.
pub const ASKED: u64 = 512;

/// What one call of [`Log::compact`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes of blocks that were looked at or copied.
    pub bytes: u64,
    /// Segments that were written anew.
    pub segments: u64,
    /// Events that are gone since.
    pub removed: u64,
    /// Bytes that the log is smaller.
    pub freed: u64,
    /// Segments passed over since they are damaged.
    pub damaged: u64,
    /// The last complete segment was reached: the next call begins at the
    /// first.
    pub done: bool,
}

/// How far compaction is.
#[derive(Default)]
pub(crate) struct Pass {
    /// Segments up to this number are done.
    done: u64,
    work: Option<Work>,
}

struct Work {
    segment: Arc<Segment>,
    at: Place,
    /// Bytes and events that are to go.
    dead: (u64, u64),
    output: Option<Output>,
}

/// The segment's new file.
struct Output {
    file: Box<dyn SegmentFile>,
    writer: MapWriter,
    /// When it is encrypted, its own, and a block while it is.
    key: Option<Arc<SegmentKey>>,
    sealing: Vec<u8>,
    index: Index,
    homes: Homes,
    newest: u64,
    newest_so_far: u64,
    blocks: u64,
    events: u64,
    removed: u64,
    /// A block that is being written anew.
    buffer: Vec<u8>,
}

/// What is left of a block.
enum Left {
    All,
    Some { dead: u64, bytes: u64 },
    Nothing { dead: u64 },
}

type Keep<'k> = dyn FnMut(u64, Block<'_>, usize) -> bool + 'k;

fn what_is_left(block: &Block<'_>, first: u64, keep: &mut Keep<'_>) -> Left {
    let (mut dead, mut bytes, mut alive) = (0, 0, 0_u64);
    for (at, event) in block.events().enumerate() {
        if block.is_compacted() && event.is_removed() {
            continue;
        }
        if keep(first + at as u64, *block, at) {
            alive += 1;
        } else {
            dead += 1;
            let headers: usize = event.headers.iter().map(|(name, value)| 4 + name.len() + value.len()).sum();
            bytes += (event.key.len() + headers + event.payload.len()) as u64;
        }
    }
    match (dead, alive) {
        (0, 1..) => Left::All,
        (_, 0) if block.flags() & BATCH_LAST == 0 => Left::Nothing { dead },
        (0, 0) => Left::All,
        _ => Left::Some { dead, bytes },
    }
}

impl Log {
    /// Takes out the events that `keep` refuses, which is asked with the local
    /// sequence of each event, its block, and the event's place in that. Only
    /// segments that are complete and on the disk are compacted. A call looks at
    /// about `budget` bytes, where an event that is asked about counts for at
    /// least [`ASKED`], goes on where the last one stopped, and asks again
    /// about a segment that is then written: what `keep` refused once it should
    /// go on refusing.
    ///
    /// It waits for the disk: writing a segment ends with a sync of the part
    /// written last.
    ///
    /// # Errors
    /// [`CompactError`]; the segment then stays as it was.
    pub fn compact(&mut self, keep: &mut Keep<'_>, budget: ByteCount) -> Result<Compacted, CompactError> {
        let mut told = Compacted::default();
        let mut pass = std::mem::take(&mut self.compacting);
        let result = pass.run(self, keep, budget.0.max(1), &mut told);
        if result.is_err()
            && let Some(work) = pass.work.take()
        {
            pass.done = work.segment.number;
            // Best effort: the next opening removes it.
            let _ = self.shared.fs.remove(&self.shared.dir.join(temporary_name(work.segment.number)));
        }
        self.compacting = pass;
        result.map(|()| told)
    }
}

impl Pass {
    fn run(&mut self, log: &Log, keep: &mut Keep<'_>, budget: u64, told: &mut Compacted) -> Result<(), CompactError> {
        let shared = &*log.shared;
        let mut left = budget;
        while left > 0 {
            let Some(work) = &mut self.work else {
                let Some(segment) = next_segment(shared, self.done) else {
                    (self.done, told.done) = (0, true);
                    return Ok(());
                };
                let at = segment.start();
                self.work = Some(Work { segment, at, dead: (0, 0), output: None });
                continue;
            };
            // Retention took it out meanwhile.
            let gone = !shared.is_live(&work.segment);
            if gone || !work.step(shared, keep, &mut left, told)? {
                let number = work.segment.number;
                if gone && work.output.is_some() {
                    let _ = shared.fs.remove(&shared.dir.join(temporary_name(number)));
                }
                (self.done, self.work) = (number, None);
            }
        }
        Ok(())
    }
}

fn next_segment(shared: &Shared, done: u64) -> Option<Arc<Segment>> {
    let table = locked(&shared.table);
    let at = table.live.partition_point(|s| s.number <= done);
    let sealed = at + 1 < table.live.len();
    let segment = table.live.get(at).filter(|_| sealed)?;
    // What is not on the disk yet will be, by the next pass.
    let synced = segment.synced.load(Ordering::Acquire) >= segment.tail().offset;
    synced.then(|| Arc::clone(segment))
}

impl Work {
    /// Goes on; answers whether there is more to do in this segment.
    fn step(
        &mut self,
        shared: &Shared,
        keep: &mut Keep<'_>,
        budget: &mut u64,
        told: &mut Compacted,
    ) -> Result<bool, CompactError> {
        let segment = Arc::clone(&self.segment);
        let end = segment.tail().offset;
        let content = segment.content(end);
        let begun = self.at.offset;
        let left = usize::try_from(*budget).unwrap_or(usize::MAX);
        let until = begun.saturating_add(left).min(end);
        let failed = |source| CompactError { segment: segment.number, source };
        segment.map().populate_read(begun & !4095..until).map_err(failed)?;
        let written = self.output.as_ref().map(|output| output.writer.map().position().end);
        let mut warmed = until;
        while self.at.offset < until && *budget > 0 {
            warmed = segment.warm_block(content, self.at.offset, warmed).map_err(failed)?;
            let Ok((found, plain)) = content.open(self.at.offset, self.at.sequence) else {
                told.damaged += 1;
                if self.output.take().is_some() {
                    let _ = shared.fs.remove(&shared.dir.join(temporary_name(segment.number)));
                }
                return Ok(false);
            };
            let bytes = content.bytes(&found, plain.as_ref());
            let block = Block::trusted(bytes);
            match &mut self.output {
                None => match what_is_left(&block, found.first, keep) {
                    Left::All => {}
                    Left::Some { dead, bytes } => self.dead = (self.dead.0 + bytes, self.dead.1 + dead),
                    Left::Nothing { dead } => self.dead = (self.dead.0 + found.size as u64, self.dead.1 + dead),
                },
                Some(output) => {
                    output.removed += output.copy(&found, &block, segment.base, shared, keep).map_err(failed)?;
                }
            }
            self.at = Place { sequence: found.next, offset: found.end() };
            let asked = u64::from(block.event_count()).saturating_mul(ASKED);
            *budget = budget.saturating_sub(asked.max(found.size as u64));
        }
        told.bytes += (self.at.offset - begun) as u64;
        segment.map().release(begun..self.at.offset);
        if let (Some(output), Some(written)) = (&self.output, written) {
            // Now, so that the last step has little to sync.
            output.file.sync(written.max(HEAD)..output.writer.map().position().end).map_err(failed)?;
        }
        if self.at.offset < end {
            return Ok(true);
        }
        if let Some(output) = self.output.take() {
            let removed = output.removed;
            told.freed += output.finish(shared, &segment).map_err(failed)?;
            told.segments += 1;
            told.removed += removed;
            return Ok(false);
        }
        let (bytes, events) = self.dead;
        let worth = bytes * 100 >= u64::from(shared.options.compact_percent) * (end - HEAD) as u64;
        if events == 0 || !worth {
            return Ok(false);
        }
        self.output = Some(Output::new(shared, &segment).map_err(failed)?);
        self.at = segment.start();
        Ok(true)
    }
}

impl Output {
    fn new(shared: &Shared, segment: &Segment) -> io::Result<Self> {
        let path = shared.dir.join(temporary_name(segment.number));
        match shared.fs.remove(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let key = shared.options.keys.as_ref().map(SegmentKey::fresh).transpose()?;
        let mut len = segment.map().len() as u64;
        if key.is_some() && segment.key.is_none() {
            let longer = TRAILER as u64 * segment.blocks.load(Ordering::Relaxed);
            len = len.saturating_add(longer).next_multiple_of(4096);
        }
        let file = shared.fs.create(&path, len)?;
        let writer = file.map().writer().ok_or_else(|| io::Error::other("the new file has a writer already"))?;
        let index = Index::new(file.map().len(), shared.options.index_every.as_usize());
        let newest_so_far = shared.newest_before(segment.number);
        let homes = segment.homes.clone();
        let (newest, blocks, events, removed, buffer) = (0, 0, 0, 0, Vec::new());
        let sealing = Vec::new();
        Ok(Self { file, writer, key, sealing, index, homes, newest, newest_so_far, blocks, events, removed, buffer })
    }

    /// Copies what is left of a block; answers how many events went.
    fn copy(
        &mut self,
        found: &Found,
        block: &Block<'_>,
        base: u64,
        shared: &Shared,
        keep: &mut Keep<'_>,
    ) -> io::Result<u64> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let (mut alive, mut dead) = (0_u64, 0_u64);
        compact(
            block,
            |at, _| {
                let stays = keep(found.first + at as u64, *block, at);
                if stays {
                    alive += 1
                } else {
                    dead += 1
                }
                stays
            },
            &mut buffer,
        );
        let bytes = if dead == 0 { block.bytes() } else { &buffer };
        if alive > 0 || block.flags() & BATCH_LAST != 0 {
            self.put(found, bytes, alive, base, shared)?;
        }
        self.buffer = buffer;
        Ok(dead)
    }

    fn put(&mut self, found: &Found, bytes: &[u8], alive: u64, base: u64, shared: &Shared) -> io::Result<()> {
        let full = || io::Error::other("what is left of the segment does not fit");
        let position = self.writer.map().position();
        let place = Place { sequence: found.first, offset: position.end };
        self.index.note(place, self.newest_so_far, &self.homes);
        let bytes = match &self.key {
            None => bytes,
            Some(key) => {
                self.sealing.clear();
                key.seal(&mut self.sealing, &[bytes]).map_err(|_| io::Error::other(NOT_SEALED))?;
                &self.sealing
            }
        };
        self.file.write(&mut self.writer, 0, &mut [IoSlice::new(bytes)])?;
        let sequences = found.next - base - u64::from(position.events);
        let published = self.writer.publish(bytes.len(), u32::try_from(sequences).map_err(io::Error::other)?);
        if !published {
            return Err(full());
        }
        let (home, next) = found.home_next(shared.options.home);
        self.homes.note(home, next);
        self.newest = self.newest.max(found.time);
        self.newest_so_far = self.newest_so_far.max(found.time);
        (self.blocks, self.events) = (self.blocks + 1, self.events + alive);
        Ok(())
    }

    /// Puts the new file in the segment's place; answers how many bytes less it
    /// has.
    fn finish(mut self, shared: &Shared, old: &Arc<Segment>) -> io::Result<u64> {
        let (number, base, end) = (old.number, old.base, old.tail().sequence);
        let before = Header::read(old.map()).map_or(0, |h| h.compacted);
        let created = Header::read(old.map()).map_or(UnixNanos(0), |h| h.created);
        let (version, sealed) = (shared.options.version(), self.key.is_some());
        let header = Header { version, number, base, created, compacted: before + 1, end, sealed };
        // A version before this one could not read it.
        let format = shared.dir.join(FORMAT_FILE);
        if parse_format(&shared.fs.read(&format, 64)?).is_none_or(|found| found < version) {
            shared.fs.write(&format, format_text(version).as_bytes())?;
        }
        let used = self.writer.map().position();
        let rest = u32::try_from(end - base - u64::from(used.events)).map_err(io::Error::other)?;
        self.writer.publish(0, rest);
        header.write(self.file.map());
        if let Some(key) = &self.key {
            key.write(self.file.map());
        }
        // A time that `seek_time` may count on, though blocks are gone.
        let newest = self.newest_so_far.max(old.newest_so_far.load(Ordering::Relaxed));
        write_before(self.file.map(), &old.homes, shared.newest_before(number));
        let homes = old.homes_before(shared.index_of(old).as_deref(), u64::MAX, shared.options.home);
        let Self { file, writer, key, index, newest: newest_in, blocks, events, .. } = self;
        let temporary = shared.dir.join(temporary_name(number));
        let tail = Place { sequence: end, offset: used.end };
        crate::format::Mark { end: tail.offset, next: tail.sequence, clean: false }.write(file.map());
        file.sync(0..used.end)?;
        drop((writer, file));
        // A mapping has at least one byte beside the header.
        let len = used.end.max(HEAD + 8) as u64;
        shared.fs.truncate(&temporary, len)?;
        let path = shared.dir.join(segment_name(number));
        let file = shared.fs.open(&temporary)?;
        let mut writer = file.map().writer().ok_or_else(|| io::Error::other("the new segment has a writer"))?;
        let sequences = u32::try_from(end - base).map_err(io::Error::other)?;
        if !writer.publish(used.end - HEAD, sequences) {
            return Err(io::Error::other("the new segment does not hold what was written"));
        }
        shared.fs.rename(&temporary, &path)?;
        shared.fs.sync_dir(&shared.dir)?;
        let compacted = Some(end);
        let beginning = Beginning { number, base, compacted, homes: old.homes.clone(), newest, key };
        let segment = Segment::new(beginning, file, None);
        segment.newest.store(newest_in, Ordering::Relaxed);
        segment.blocks.store(blocks, Ordering::Relaxed);
        segment.events.store(events, Ordering::Relaxed);
        segment.synced.store(used.end, Ordering::Relaxed);
        let segment = Arc::new(segment);
        let index = Arc::new(index);
        let side = segment.side(homes, &index, shared.options.index_every.0);
        let _ = shared.fs.write_lossy(&shared.side_path(number), &side.encode());
        shared.keep_index(&segment, &index);
        // An encrypted block is longer than one that is not.
        let freed = old.tail().offset.saturating_sub(used.end) as u64;
        let mut table = locked(&shared.table);
        let at = table.live.binary_search_by_key(&number, |s| s.number);
        if let Some(place) = at.ok().and_then(|at| table.live.get_mut(at)) {
            *place = segment;
        }
        Ok(freed)
    }
}
