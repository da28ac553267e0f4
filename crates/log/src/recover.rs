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
//! are. The marks lag behind the last sync by what was synced since the system
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
    FORMAT_FILE, FORMAT_VERSION, Header, LOCK_FILE, Mark, format_text, head_is_blank, parse_format, segment_name,
    segment_number,
};
use crate::fs::{Fs, Lock, SegmentFile};
use crate::homes::Homes;
use crate::index::Index;
use crate::judge::{Judged, Known, Seen, judge};
use crate::mmap::{HEAD, MapWriter};
use crate::options::LogOptions;
use crate::scan::{Clause, Content};
use crate::segment::{Segment, Spare};
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
}

/// A segment's file as it was found.
struct Loaded {
    number: u64,
    file: Box<dyn SegmentFile>,
    writer: MapWriter,
    header: Option<Header>,
    mark: Option<Mark>,
}

impl Loaded {
    fn content(&self) -> Content<'_> {
        Content(self.writer.unpublished())
    }

    fn is_blank(&self) -> bool {
        head_is_blank(self.file.map()) && self.content().is_blank_from(HEAD)
    }
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
    let is_new = check_format(fs, dir)?;
    let names = fs.list(dir).map_err(OpenError::io("list", dir))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    if is_new {
        if !numbers.is_empty() {
            return Err(OpenError::NotALog { dir: dir.to_owned() });
        }
        let path = dir.join(FORMAT_FILE);
        fs.write(&path, format_text().as_bytes()).map_err(OpenError::io("write", &path))?;
    }
    let mut recovery = Recovery::default();
    let next_number = numbers.last().map_or(1, |last| last + 1);
    let loaded = load(fs, dir, &numbers)?;
    let found = Scan::new(fs, dir, options, &mut recovery).run(loaded, next_number)?;
    recovery.first = found.table.live.front().map_or(found.next, |s| s.base);
    recovery.next = found.next;
    Ok(Opened { lock, found, recovery })
}

/// Whether there is no file `FORMAT` yet.
fn check_format(fs: &dyn Fs, dir: &Path) -> Result<bool, OpenError> {
    let path = dir.join(FORMAT_FILE);
    let text = match fs.read(&path, 64) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        read => read.map_err(OpenError::io("read", &path))?,
    };
    match parse_format(&text) {
        Some(version) if version > FORMAT_VERSION => Err(newer(path, version)),
        Some(_) => Ok(false),
        None => Err(OpenError::BadFormat { path }),
    }
}

fn newer(path: std::path::PathBuf, found: u32) -> OpenError {
    OpenError::NewerVersion { path, found, supported: FORMAT_VERSION }
}

fn load(fs: &dyn Fs, dir: &Path, numbers: &[u64]) -> Result<Vec<Loaded>, OpenError> {
    let mut loaded = Vec::with_capacity(numbers.len());
    for number in numbers {
        let path = dir.join(segment_name(*number));
        let file = match fs.open(&path) {
            // Cut short while it was made; or by somebody, and then it is
            // missing between the others.
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => continue,
            opened => opened.map_err(OpenError::io("open", &path))?,
        };
        readable(&*file, &path, 0..HEAD)?;
        let header = Header::read(file.map());
        if let Some(header) = header.filter(|h| h.version > FORMAT_VERSION) {
            return Err(newer(path, header.version));
        }
        let mark = Mark::read(file.map());
        let taken = || OpenError::io("map", &path)(std::io::Error::other("somebody else writes to it"));
        let writer = file.map().writer().ok_or_else(taken)?;
        loaded.push(Loaded { number: *number, file, writer, header, mark });
    }
    Ok(loaded)
}

/// A sector that cannot be read is an error here; touched further down it would
/// kill the process.
fn readable(file: &dyn SegmentFile, path: &Path, range: Range<usize>) -> Result<(), OpenError> {
    file.map().populate_read(range).map_err(OpenError::io("read", path))
}

/// A segment that is kept, and what it needs before it is used.
struct Kept {
    segment: Segment,
    judged: Judged,
    mark: Option<Mark>,
    /// The bytes to be set to zero: a torn tail.
    cut: Range<usize>,
}

struct Scan<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    options: &'a LogOptions,
    recovery: &'a mut Recovery,
    kept: Vec<Kept>,
    homes: Homes,
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
        if synced || !head_is_blank(segment.file.map()) {
            self.damage(segment.number, 0, "the segment's header is damaged".into());
        }
    }

    fn run(mut self, loaded: Vec<Loaded>, next_number: u64) -> Result<Recovered, OpenError> {
        let synced = loaded.iter().rposition(|l| l.mark.is_some());
        let (count, mut at_end) = (loaded.len(), false);
        for (at, segment) in loaded.into_iter().enumerate() {
            let path = self.dir.join(segment_name(segment.number));
            readable(&*segment.file, &path, 0..segment.file.map().len())?;
            let known = Known { all: synced.is_some_and(|s| at < s), mark: segment.mark };
            let fate = if at_end { Fate::Drop } else { self.fate(&segment, known, at + 1 == count) };
            match fate {
                Fate::Keep(base) => at_end = self.keep(segment, base, known),
                Fate::Skip => {}
                Fate::Spare => {
                    let Loaded { number, file, writer, .. } = segment;
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

    /// Judges a segment by its header and what came before it.
    fn fate(&mut self, segment: &Loaded, known: Known, last: bool) -> Fate {
        let synced = known.any();
        let number = segment.number;
        if last && !synced && segment.is_blank() {
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
    fn keep(&mut self, loaded: Loaded, base: u64, known: Known) -> bool {
        let Loaded { number, file, writer, mark, .. } = loaded;
        if self.kept.is_empty() && base > 1 {
            // What retention removed may all have been this home's.
            self.homes.note(self.options.home, base);
        }
        let newest = self.kept.last().map_or(0, |k| k.segment.newest_so_far.load(Relaxed));
        let index = Index::new(file.map().len(), self.options.index_every.as_usize());
        let mut segment = Segment::new(number, base, self.homes.clone(), file, index, newest);
        let content = Content(writer.unpublished());
        let mut damages = Vec::new();
        let judged = judge(content, base, known, &mut |event| match event {
            Seen::Block(found) => {
                segment.note(&found);
                let (home, next) = found.home_next(self.options.home);
                self.homes.note(home, next);
                if home == self.options.home {
                    self.lost = 0;
                }
                self.recovery.blocks += 1;
                self.recovery.events += found.next - found.first;
            }
            Seen::Damage { offset, from, clause, resume } => {
                self.lost += resume.map_or(0, |resume| resume.sequence.saturating_sub(from));
                damages.push((offset, clause, resume));
            }
        });
        for (offset, clause, resume) in damages {
            self.damage(number, offset, clause);
            segment.add_gap(offset, resume);
        }
        let start = judged.tail.offset;
        let cut = if judged.torn { start..start + content.used_from(start).len() } else { start..start };
        self.recovery.cut_bytes += cut.len() as u64;
        let torn = judged.torn;
        segment.map().release(0..segment.map().len());
        self.kept.push(Kept { segment, judged, mark, cut });
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
            if !kept.cut.is_empty() {
                let cut = kept.cut.start as u64..kept.cut.end as u64;
                self.fs.zero(&path, cut).map_err(OpenError::io("cut the torn tail of", &path))?;
            }
            let (tail, from) = (kept.judged.tail, kept.mark.map_or(0, |m| m.end));
            if tail.offset > from && !kept.judged.open_ended {
                let range = from as u64..tail.offset as u64;
                if head_is_blank(kept.segment.map()) {
                    let Segment { number, base, .. } = kept.segment;
                    let header = Header { version: FORMAT_VERSION, number, base, created: UnixNanos(0) };
                    header.write(kept.segment.map());
                }
                self.fs.rewrite(&path, range).map_err(OpenError::io("write anew what was not synced of", &path))?;
                kept.segment.mark(tail).map_err(OpenError::io("sync", &path))?;
            }
        }
        Ok(())
    }

    fn finish(self, next_number: u64) -> Result<Recovered, OpenError> {
        let mut table = Table::default();
        let (mut writer, mut next) = (None, 1);
        for Kept { segment, judged, .. } in self.kept {
            let Judged { tail, open_ended, .. } = judged;
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
        let spares = Spares { ready: self.spare, next_number };
        Ok(Recovered { table, writer, spares, next, homes })
    }
}
