//! Opening a folder: what is in it, what of it can be believed, and repair.
//!
//! # What a crash leaves, and what damage is
//! A crash of the process loses nothing: what was appended is in the system's
//! memory. A crash of the machine loses any part of what was not synced: whole
//! pages or sectors of it read as zeros, or as they were at the last sync.
//! Damage is a change to what was on disk.
//!
//! The rules, at the first place where no whole block with the next sequence
//! is:
//!
//! 1. Everything below the newest mark (see [`crate::format`]) was synced:
//!    what is wrong there is **damage**, even at the very end. So is everything
//!    in the segments before the one with that mark.
//! 2. Beyond the mark, when whole blocks follow and no line of the bytes
//!    between is blank, all of them reached the disk, so it is damage too.
//! 3. Else it is a **torn tail**. It is cut there: what follows is set to zero,
//!    and later segments are removed. Whole blocks in it go as well: what a
//!    crash leaves is always a beginning of what was appended, without holes.
//!    Had a hole been kept, a publisher that sends the lost block again would
//!    be told it is a duplicate, since a later one of his is there.
//!
//! Damage is reported, stays as it is, and is never served; the blocks after it
//! are. An atomic batch whose last block is not there is a torn tail from its
//! first block on.
//!
//! # What is read
//! What a mark or a side file ([`crate::side`]) speaks of was on disk, and is
//! not looked at again: damage to it is found when it is read, or by
//! [`Verifier`](crate::Verifier). So after [`Log::close`](crate::Log::close),
//! whose mark says that nothing lies beyond, opening reads the header and the
//! side file of each segment and no block. After a kill or a crash it reads, beside
//! those, the segments that have no side file yet, which are the one that was
//! written to and those before it that were not synced.
//! [`LogOptions::check_all`] reads everything. Whatever does not fit together
//! (headers, side files, and the segments' sequences) makes it read and judge
//! that segment as well; no side file is ever a reason to remove anything.
//!
//! The marks lag behind the last sync by what was synced since the system
//! last wrote the header page (about 30 s; at once at the end of a segment, at
//! [`Syncer::settle`](crate::Syncer::settle) and [`Log::close`](crate::Log::close)).
//! Rule 3 is wrong only where damage strikes within that lag, after a crash of
//! the machine, and looks like a lost page or hits the very last block.
//!
//! # Repair
//! In this order, each step safe to be interrupted and done again: remove
//! segments after the cut (the last one first), set the cut's bytes to zero,
//! write everything beyond the mark anew and sync it (the last process may have
//! been told that a sync failed), and mark it.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use weft_base::UnixNanos;
use weft_base::sync::atomic::Ordering::Relaxed;

use crate::error::OpenError;
use crate::format::{
    FORMAT_FILE, Header, LOCK_FILE, Mark, format_text, head_is_blank, header_is_blank, read_before, segment_name,
    segment_number, version_written, write_before,
};
use crate::fs::{Fs, Lock};
use crate::homes::Homes;
use crate::index::{Index, Place};
use crate::judge::{Judged, Known, Seen, judge};
use crate::load::{Loaded, check_format, load, readable, remove_left_over};
use crate::mmap::{HEAD, MapWriter};
use crate::options::LogOptions;
use crate::scan::{Clause, Content};
use crate::segment::{Beginning, Segment, Spare};
use crate::shared::{Spares, Table};

/// How many damages [`Recovery`] lists.
pub const MAX_DAMAGES: usize = 1024;

/// What opening a log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The first sequence there is.
    pub first: u64,
    /// The sequence the next event gets.
    pub next: u64,
    /// Whole events.
    pub events: u64,
    /// Whole blocks.
    pub blocks: u64,
    /// Bytes of blocks that were read and checked.
    pub checked_bytes: u64,
    /// Bytes of a torn tail that were cut.
    pub cut_bytes: u64,
    /// The damages, in order; the first [`MAX_DAMAGES`] of them.
    pub damaged: Vec<Damage>,
    /// How many there are.
    pub damages: u64,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment's number: its file is `NNNNNNNNNN.seg`.
    pub segment: u64,
    /// Where in it.
    pub offset: u64,
    /// What is wrong there.
    pub clause: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is damaged at byte {}: {}", segment_name(self.segment), self.offset, self.clause)
    }
}

/// What [`recover`] answers.
pub(crate) struct Opened {
    pub(crate) lock: Box<dyn Lock>,
    pub(crate) found: Recovered,
    pub(crate) recovery: Recovery,
    /// The version of the format it has.
    pub(crate) version: u32,
}

/// The parts of a log.
pub(crate) struct Recovered {
    pub(crate) table: Table,
    /// For the last segment, when it has room.
    pub(crate) writer: Option<MapWriter>,
    pub(crate) spares: Spares,
    pub(crate) next: u64,
    /// How far it is in each home.
    pub(crate) homes: Homes,
    /// Segments that are complete and need a side file.
    pub(crate) unindexed: Vec<u64>,
}

pub(crate) fn recover(fs: &dyn Fs, dir: &Path, options: &LogOptions) -> Result<Opened, OpenError> {
    // Nothing is touched before the version is known to be ours.
    check_format(fs, dir)?;
    fs.create_dir(dir).map_err(OpenError::io("make the folder", dir))?;
    let lock_path = dir.join(LOCK_FILE);
    let lock = fs.lock(&lock_path).map_err(|e| match e.kind() {
        std::io::ErrorKind::WouldBlock => OpenError::InUse { dir: dir.to_owned() },
        _ => OpenError::io("lock", &lock_path)(e),
    })?;
    // Again, since another process may have been making it.
    let version = check_format(fs, dir)?;
    let (is_new, written) = (version.is_none(), options.version());
    let names = fs.list(dir).map_err(OpenError::io("list", dir))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    if is_new {
        if !numbers.is_empty() {
            return Err(OpenError::NotALog { dir: dir.to_owned() });
        }
        let path = dir.join(FORMAT_FILE);
        fs.write(&path, format_text(options.version()).as_bytes()).map_err(OpenError::io("write", &path))?;
    }
    // Before anything changes: a key may be missing.
    let loaded = load(fs, dir, &numbers, options)?;
    remove_left_over(fs, dir, &names, &numbers)?;
    let mut recovery = Recovery::default();
    let next_number = numbers.last().map_or(1, |last| last + 1);
    let found = Scan::new(fs, dir, options, &mut recovery).run(loaded, next_number)?;
    recovery.first = found.table.live.front().map_or(found.next, |s| s.base);
    recovery.next = found.next;
    Ok(Opened { lock, found, recovery, version: version.unwrap_or(written) })
}

/// A segment that is kept, and what it needs before it is used.
struct Kept {
    segment: Segment,
    judged: Judged,
    mark: Option<Mark>,
    /// The bytes to be set to zero: a torn tail.
    cut: Range<usize>,
    /// Its side file said all of it.
    complete: bool,
}

struct Scan<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    options: &'a LogOptions,
    recovery: &'a mut Recovery,
    kept: Vec<Kept>,
    homes: Homes,
    /// The newest ingest time up to there.
    newest: u64,
    unindexed: Vec<u64>,
    /// Events that damage took since the last block of this home: so many of
    /// its sequences may have been given out.
    lost: u64,
    /// Segments after the cut, the oldest first.
    dropped: Vec<u64>,
    spare: Option<Spare>,
}

/// What becomes of the next segment.
enum Fate {
    /// Its blocks begin with this sequence.
    Keep(u64),
    /// It is damaged beyond use.
    Skip,
    /// It was never used, and can be now.
    Spare,
    /// It comes after the cut, and so do all others.
    Drop,
}

impl<'a> Scan<'a> {
    fn new(fs: &'a dyn Fs, dir: &'a Path, options: &'a LogOptions, recovery: &'a mut Recovery) -> Self {
        Self {
            fs,
            dir,
            options,
            recovery,
            kept: Vec::new(),
            homes: Homes::default(),
            newest: 0,
            unindexed: Vec::new(),
            lost: 0,
            dropped: Vec::new(),
            spare: None,
        }
    }

    fn damage(&mut self, segment: u64, offset: usize, clause: Clause) {
        self.recovery.damages += 1;
        if self.recovery.damaged.len() < MAX_DAMAGES {
            self.recovery.damaged.push(Damage { segment, offset: offset as u64, clause: clause.into_owned() });
        }
    }

    /// Reports a header that is not whole; one that was never on disk is no
    /// damage, and is written anew.
    fn header_damage(&mut self, segment: &Loaded, synced: bool) {
        if synced || !header_is_blank(segment.file.map()) {
            self.damage(segment.number, 0, "the segment's header is damaged".into());
        }
    }

    fn run(mut self, loaded: Vec<Loaded>, next_number: u64) -> Result<Recovered, OpenError> {
        let synced = loaded.iter().rposition(|l| l.mark.is_some());
        let bases: Vec<Option<u64>> = loaded.iter().map(|l| l.header.map(|h| h.base)).collect();
        let (count, mut at_end) = (loaded.len(), false);
        for (at, segment) in loaded.into_iter().enumerate() {
            let path = self.dir.join(segment_name(segment.number));
            let compacted = segment.header.is_some_and(|h| h.compacted > 0);
            let known = Known { all: compacted || synced.is_some_and(|s| at < s), mark: segment.mark };
            let after = bases.get(at + 1).copied().flatten();
            let complete = self.is_complete(&segment, known, after);
            let start = segment.side.as_ref().map_or(HEAD, |side| side.end.offset);
            let blank = self.ended_clean() && head_is_blank(segment.file.map());
            if !complete && !blank {
                readable(&*segment.file, &path, start..segment.file.map().len())?;
            }
            let fate = if at_end { Fate::Drop } else { self.fate(&segment, known, at + 1 == count) };
            match fate {
                Fate::Keep(base) => at_end = self.keep(segment, base, known, complete),
                Fate::Skip => {}
                Fate::Spare => {
                    let Loaded { number, file, writer, .. } = segment;
                    // As in `repair`: a failure of an earlier life is told now.
                    let _ = file.sync(0..HEAD);
                    let index = Index::new(file.map().len(), self.options.index_every.as_usize());
                    self.spare = Some(Spare { number, file, writer, index });
                }
                Fate::Drop => {
                    at_end = true;
                    self.recovery.cut_bytes += segment.content().used_from(HEAD).len() as u64;
                    self.dropped.push(segment.number);
                }
            }
        }
        self.repair()?;
        self.finish(next_number)
    }

    /// Whether its side file says all there is to know of a segment; `after` is
    /// the base of the next one.
    fn is_complete(&self, segment: &Loaded, known: Known, after: Option<u64>) -> bool {
        let Some(side) = &segment.side else { return false };
        let Place { sequence, offset } = side.end;
        let clean = segment.mark.is_some_and(|m| m.clean && (m.end, m.next) == (offset, sequence));
        match segment.header.and_then(|h| h.gaps()) {
            Some(end) => end == sequence,
            None if known.all => after == Some(sequence),
            // The last one, and it is written to: its index is needed.
            None => clean && side.index(segment.file.map().len(), self.options.index_every.0).is_some(),
        }
    }

    /// Whether the log was closed in good order in the segment before: what
    /// comes after it was not written to.
    fn ended_clean(&self) -> bool {
        self.kept.last().is_some_and(|k| k.complete && k.mark.is_some_and(|m| m.clean))
    }

    /// Judges a segment by its header and what came before it.
    fn fate(&mut self, segment: &Loaded, known: Known, last: bool) -> Fate {
        let synced = known.any();
        let number = segment.number;
        let blank = |scan: &Self| match scan.ended_clean() {
            true => head_is_blank(segment.file.map()),
            false => segment.is_blank(),
        };
        if last && !synced && blank(self) {
            let fits = segment.file.map().len() as u64 == self.options.segment.0;
            return if fits { Fate::Spare } else { Fate::Drop };
        }
        let base = segment.header.map(|h| h.base);
        let Some((expected, before)) = self.kept.last().map(|k| (k.judged.tail.sequence, k)) else {
            // The first segment: it says itself where it begins.
            let first = || segment.content().whole(HEAD).ok().map(|f| f.first);
            return match (base, first()) {
                (Some(base), _) => Fate::Keep(base),
                (None, Some(first)) => {
                    self.header_damage(segment, synced);
                    Fate::Keep(first)
                }
                (None, None) if synced => {
                    self.damage(number, 0, "the segment's header and its first block are damaged".into());
                    Fate::Skip
                }
                (None, None) => Fate::Drop,
            };
        };
        match base {
            Some(base) if base == expected => Fate::Keep(base),
            Some(base) if base > expected && synced => {
                if !before.judged.open_ended {
                    let clause = format!("blocks are missing at its end, sequences {expected} to {base} (exclusive)");
                    let lost = base - expected;
                    let (number, offset) = (before.segment.number, before.judged.tail.offset);
                    self.lost += lost;
                    self.damage(number, offset, clause.into());
                }
                Fate::Keep(base)
            }
            // The header is damaged, or was lost while the blocks were not.
            _ if synced || (base.is_none() && segment.content().check(HEAD, expected).is_ok()) => {
                self.header_damage(segment, synced);
                Fate::Keep(expected)
            }
            _ => Fate::Drop,
        }
    }

    /// Takes a segment in; answers whether the log ends in it with a torn tail.
    fn keep(&mut self, loaded: Loaded, base: u64, known: Known, complete: bool) -> bool {
        let Loaded { number, file, writer, mark, header, side, key } = loaded;
        match read_before(file.map()).filter(|_| header.is_some_and(|h| h.base == base)) {
            // It knows what damage before it hides.
            Some((homes, newest)) => {
                (self.homes, self.newest, self.lost) = (homes, self.newest.max(newest), 0);
            }
            // What retention removed may all have been this home's.
            None if self.kept.is_empty() && base > 1 => self.homes.note(self.options.home, base),
            None => {}
        }
        let (len, every) = (file.map().len(), &self.options.index_every);
        let compacted = header.and_then(|h| h.gaps());
        let beginning =
            Beginning { number, base, compacted, homes: self.homes.clone(), newest: self.newest, key: key.clone() };
        let begun = side.as_ref().and_then(|side| Some((side, side.index(len, every.0)?)));
        let mut segment;
        let mut damages = Vec::new();
        let judged = if let (true, Some(side)) = (complete, &side) {
            let index = begun.filter(|_| !known.all).map(|(_, index)| Arc::new(index));
            segment = Segment::new(beginning, file, index);
            segment.adopt(side);
            self.homes = side.homes.clone();
            self.recovery.blocks += side.blocks;
            self.recovery.events += side.events;
            Judged { tail: side.end, torn: false, open_ended: false }
        } else {
            let mut start = Place { sequence: base, offset: HEAD };
            let mut index = Arc::new(Index::new(len, every.as_usize()));
            let adopted = begun.map(|(side, begun)| {
                (start, index, self.homes) = (side.end, Arc::new(begun), side.homes.clone());
                self.recovery.blocks += side.blocks;
                self.recovery.events += side.events;
                side
            });
            segment = Segment::new(beginning, file, Some(Arc::clone(&index)));
            if let Some(side) = adopted {
                segment.adopt(side);
            }
            let content = Content(writer.unpublished(), compacted, key.as_deref());
            let mut judged = judge(content, start, known, &mut |event| match event {
                Seen::Block(found) => {
                    segment.note(&index, &found, &self.homes);
                    let (home, next) = found.home_next(self.options.home);
                    self.homes.note(home, next);
                    if home == self.options.home {
                        self.lost = 0;
                    }
                    self.recovery.blocks += 1;
                    self.recovery.events += found.next - found.first;
                    self.recovery.checked_bytes += found.len as u64;
                }
                Seen::Damage { offset, from, clause, resume } => {
                    self.lost += resume.map_or(0, |resume| resume.sequence.saturating_sub(from));
                    damages.push((offset, clause, resume));
                }
            });
            if let Some(end) = compacted {
                // Blocks may be missing up to there.
                judged.tail.sequence = end;
            }
            self.unindexed.push(number);
            judged
        };
        self.newest = segment.newest_so_far.load(Relaxed);
        let content = Content(writer.unpublished(), compacted, key.as_deref());
        for (offset, clause, resume) in damages {
            self.damage(number, offset, clause);
            segment.add_gap(offset, resume);
        }
        let start = judged.tail.offset;
        let cut = if judged.torn { start..start + content.used_from(start).len() } else { start..start };
        self.recovery.cut_bytes += cut.len() as u64;
        let torn = judged.torn;
        segment.map().release(0..segment.map().len());
        self.kept.push(Kept { segment, judged, mark, cut, complete });
        torn
    }

    /// Module document, "Repair".
    fn repair(&mut self) -> Result<(), OpenError> {
        for number in self.dropped.iter().rev() {
            let path = self.dir.join(segment_name(*number));
            self.fs.remove(&path).map_err(OpenError::io("remove", &path))?;
        }
        if !self.dropped.is_empty() {
            self.fs.sync_dir(self.dir).map_err(OpenError::io("sync the folder", self.dir))?;
        }
        let synced = self.kept.iter().rposition(|k| k.mark.is_some()).unwrap_or(0);
        for kept in self.kept.iter().skip(synced) {
            let path = self.dir.join(segment_name(kept.segment.number));
            // A write that failed in an earlier life, and that nobody was told
            // of, is told with the first sync of a file that is opened anew.
            // Nothing rests on what it was: all that is in doubt is written below.
            let _ = kept.segment.sync_head();
            if !kept.cut.is_empty() {
                let cut = kept.cut.start as u64..kept.cut.end as u64;
                self.fs.zero(&path, cut).map_err(OpenError::io("cut the torn tail of", &path))?;
            }
            let (tail, from) = (kept.judged.tail, kept.mark.map_or(0, |m| m.end));
            if tail.offset > from && !kept.judged.open_ended {
                let range = from as u64..tail.offset as u64;
                if let Some(key) = &kept.segment.key {
                    // One of its two copies may have been lost.
                    key.write(kept.segment.map());
                }
                if header_is_blank(kept.segment.map()) {
                    let Segment { number, base, .. } = kept.segment;
                    let created = UnixNanos(0);
                    let sealed = kept.segment.key.is_some();
                    let version = version_written(sealed);
                    let header = Header { version, number, base, created, compacted: 0, end: 0, sealed };
                    header.write(kept.segment.map());
                    write_before(kept.segment.map(), &kept.segment.homes, 0);
                }
                self.fs.rewrite(&path, range).map_err(OpenError::io("write anew what was not synced of", &path))?;
                kept.segment.mark(tail, false).map_err(OpenError::io("sync", &path))?;
            } else if kept.mark.is_some_and(|m| m.clean) {
                // What is appended now lies beyond.
                kept.segment.mark(tail, false).map_err(OpenError::io("sync", &path))?;
            }
        }
        Ok(())
    }

    /// Gives back the space behind the last block of a segment to which nothing
    /// is appended any more.
    fn cut_off(&self, segment: &mut Segment, end: usize) -> Result<(), OpenError> {
        // A mapping has at least one word beside the header.
        let len = end.max(HEAD + 8);
        if len == segment.map().len() {
            return Ok(());
        }
        let path = self.dir.join(segment_name(segment.number));
        self.fs.truncate(&path, len as u64).map_err(OpenError::io("cut what is not used of", &path))?;
        segment.reopened(self.fs.open(&path).map_err(OpenError::io("open", &path))?);
        Ok(())
    }

    fn finish(mut self, next_number: u64) -> Result<Recovered, OpenError> {
        let mut table = Table::default();
        let (mut writer, mut next) = (None, 1);
        let last = self.kept.len().saturating_sub(1);
        for (at, Kept { mut segment, judged, .. }) in std::mem::take(&mut self.kept).into_iter().enumerate() {
            let Judged { tail, open_ended, .. } = judged;
            if at == last && self.options.keys.is_some() && !open_ended {
                self.cut_off(&mut segment, tail.offset)?;
            }
            let taken = segment.map().writer();
            let published = taken.and_then(|mut writer| {
                // Judging made sure that it fits.
                let events = u32::try_from(tail.sequence - segment.base).ok()?;
                writer.publish(tail.offset - HEAD, events).then_some(writer)
            });
            let path = self.dir.join(segment_name(segment.number));
            let refused = || OpenError::io("map", &path)(std::io::Error::other("somebody else writes to it"));
            writer = Some(published.ok_or_else(refused)?).filter(|_| !open_ended);
            segment.synced.store(tail.offset, Relaxed);
            next = tail.sequence;
            table.live.push_back(Arc::new(segment));
        }
        let mut homes = self.homes.with_room();
        if self.lost > 0 {
            let own = self.options.home;
            homes.note(own, homes.next_of(own).saturating_add(self.lost));
        }
        let last = table.live.back().map(|s| s.number);
        let unindexed = self.unindexed.into_iter().filter(|number| Some(*number) != last).collect();
        let spares = Spares { ready: self.spare, next_number };
        Ok(Recovered { table, writer, spares, next, homes, unindexed })
    }
}
