//! Writing a log folder of blocks that keep their places: what a backup is.
//!
//! Other than [`crate::Log`], the writer gives out no sequences. Blocks come
//! with theirs and are copied as they are. Where sequences are left out (they
//! were damaged where the blocks come from) a segment ends, and the next one
//! begins with the next block's, so that a survey tells of what is missing.

use std::io::{ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weft_base::UnixNanos;
use weft_wire::block::{Block, BlockError};

use super::{Format, OfflineError, Options, SegmentReport, State, Survey, survey};
use crate::crypt::{Keys, NOT_SEALED, SegmentKey, TRAILER};
use crate::error::AppendError;
use crate::format::{FORMAT_FILE, Header, LOCK_FILE, Mark, format_text, segment_name, version_written, write_before};
use crate::fs::{Fs, Lock, SegmentFile};
use crate::homes::Homes;
use crate::mmap::{HEAD, MAX_SEGMENT, MapWriter};

/// Why a block was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// It is no block.
    #[error(transparent)]
    NotABlock(#[from] BlockError),
    /// It is in no stream, or before what is there.
    #[error("the block begins at sequence {first}, and {next} is next: give blocks in order, each with its sequence")]
    OutOfOrder {
        /// The block's.
        first: u64,
        /// What was expected, or later.
        next: u64,
    },
    /// It does not fit a segment.
    #[error("the block has {len} bytes and a segment holds {most}: make segments larger")]
    TooLarge {
        /// The block's bytes.
        len: usize,
        /// What a segment holds.
        most: usize,
    },
    /// It is of one home too many.
    #[error(transparent)]
    Homes(#[from] AppendError),
    /// The file system refused.
    #[error(transparent)]
    Folder(#[from] OfflineError),
}

struct Active {
    path: PathBuf,
    header: Header,
    file: Box<dyn SegmentFile>,
    writer: MapWriter,
    key: Option<Arc<SegmentKey>>,
}

/// How a folder is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterOptions {
    /// The size of new segments, in bytes.
    pub segment: u64,
    /// The stream is compacted: sequences are left out where events were
    /// removed, which is no damage.
    pub compacted: bool,
    /// Segments are encrypted with the first of them. None: they are not.
    pub keys: Option<Keys>,
}

/// Writes blocks into a folder that no hub has open.
pub struct Writer<'a> {
    fs: &'a dyn Fs,
    dir: PathBuf,
    options: WriterOptions,
    active: Option<Active>,
    next_number: u64,
    next: Option<u64>,
    homes: Homes,
    newest: u64,
    /// A block while it is encrypted.
    sealing: Vec<u8>,
    /// A write failed. What is left of it may lie there, so that nothing else
    /// may be encrypted under its sequences in that segment.
    failed: bool,
    _lock: Box<dyn Lock>,
}

impl std::fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer({}, next {:?})", self.dir.display(), self.next)
    }
}

impl<'a> Writer<'a> {
    /// Opens the folder, or makes it. What an earlier writer wrote and did not
    /// sync is taken out; [`next`](Self::next) says where to go on.
    ///
    /// # Errors
    /// [`OfflineError`]
    pub fn open(fs: &'a dyn Fs, dir: &Path, options: WriterOptions) -> Result<Self, OfflineError> {
        fs.create_dir(dir).map_err(OfflineError::io("make the folder", dir))?;
        let path = dir.join(LOCK_FILE);
        let lock = fs.lock(&path).map_err(|e| match e.kind() {
            ErrorKind::WouldBlock => OfflineError::InUse { dir: dir.to_owned() },
            _ => OfflineError::io("lock", &path)(e),
        })?;
        let found = match survey(fs, dir, Options { keys: options.keys.as_ref(), ..Options::default() }, &mut |_| {}) {
            Err(OfflineError::NotALog { .. }) => None,
            surveyed => Some(surveyed?),
        };
        let version = version_written(options.keys.is_some());
        let older = |f: &Survey| match f.format {
            Format::Missing => f.segments.is_empty(),
            Format::Version(found) => found < version,
            Format::Unreadable => false,
        };
        if found.as_ref().is_none_or(older) {
            let path = dir.join(FORMAT_FILE);
            fs.write(&path, format_text(version).as_bytes()).map_err(OfflineError::io("write", &path))?;
        }
        let mut next = None;
        let mut next_number = 1;
        for segment in found.iter().flat_map(|f| &f.segments).rev() {
            next_number = next_number.max(segment.number + 1);
            let path = dir.join(segment_name(segment.number));
            match segment.state {
                // Nothing of it was ever synced.
                State::Torn { .. } | State::Spare if segment.events == 0 => {
                    fs.remove(&path).map_err(OfflineError::io("remove", &path))?;
                }
                State::Used | State::Torn { .. } if segment.marked_bytes != Some(segment.used_bytes) => {
                    whole(fs, &path, segment)?;
                }
                State::Used | State::Torn { .. } | State::Spare | State::Unusable => {}
            }
            if segment.events > 0 {
                next = next.or(Some(segment.next));
            }
        }
        fs.sync_dir(dir).map_err(OfflineError::io("sync the folder", dir))?;
        let homes = Homes::of(found.as_ref().map(|f| f.position.clone()).unwrap_or_default());
        let newest = found.iter().flat_map(|f| &f.segments).filter_map(|s| s.times).map(|t| t.1.0).max().unwrap_or(0);
        let (dir, sealing) = (dir.to_owned(), Vec::new());
        Ok(Self {
            fs,
            dir,
            options,
            active: None,
            next_number,
            next,
            homes,
            newest,
            sealing,
            failed: false,
            _lock: lock,
        })
    }

    /// The sequence after the last block's; none while there is no block.
    #[must_use]
    pub const fn next(&self) -> Option<u64> {
        self.next
    }

    /// Copies a block behind the others. Durable after
    /// [`finish`](Self::finish), or once its segment is full.
    ///
    /// # Errors
    /// [`WriteError`]; nothing of it is there for readers. After an error of
    /// the disk a writer takes nothing more: open another one.
    pub fn push(&mut self, block: &[u8]) -> Result<(), WriteError> {
        if self.failed {
            let why = std::io::Error::other("an earlier write failed");
            return Err(OfflineError::io("write more into", &self.dir)(why).into());
        }
        let view = Block::validate(block)?;
        let (first, events) = (view.stream_sequence(), view.event_count());
        let next = self.next.unwrap_or(first.max(1));
        if first < next {
            return Err(WriteError::OutOfOrder { first, next });
        }
        self.homes.check_room(view.home().map_or(0, |home| home.0)).map_err(WriteError::from)?;
        let most = (self.options.segment as usize).saturating_sub(HEAD);
        let size = block.len() + if self.options.keys.is_some() { TRAILER } else { 0 };
        if size > most {
            return Err(WriteError::TooLarge { len: block.len(), most });
        }
        let goes_on =
            (first == next || self.options.compacted) && self.active.as_ref().is_some_and(|a| size <= a.writer.left());
        if !goes_on {
            if self.options.compacted && self.next.is_some() {
                // The segment ends where the next one begins.
                self.next = Some(first);
            }
            self.seal()?;
            self.begin(first, view.stamp().map_or(UnixNanos(0), |s| s.ingested))?;
        }
        if let Some(active) = &mut self.active {
            let failed = OfflineError::io("write", &active.path);
            let record = match &active.key {
                None => block,
                Some(key) => {
                    self.sealing.clear();
                    if key.seal(&mut self.sealing, &[block]).is_err() {
                        return Err(failed(std::io::Error::other(NOT_SEALED)).into());
                    }
                    &self.sealing
                }
            };
            if let Err(e) = active.file.write(&mut active.writer, 0, &mut [IoSlice::new(record)]) {
                self.failed = true;
                return Err(failed(e).into());
            }
            // Refused only when a segment's numbers are used up, which 32 GiB
            // of the smallest events cannot do.
            active.writer.publish(size, events);
        }
        let after = first.saturating_add(events.into());
        let (home, sequence) = view.home().unwrap_or((0, first));
        if home != 0 {
            self.homes.note(home, sequence.saturating_add(events.into()));
        }
        self.newest = self.newest.max(view.counts_from().0);
        self.next = Some(after);
        Ok(())
    }

    fn begin(&mut self, base: u64, created: UnixNanos) -> Result<(), OfflineError> {
        let number = self.next_number;
        let path = self.dir.join(segment_name(number));
        let file = self.fs.create(&path, self.options.segment).map_err(OfflineError::io("make", &path))?;
        self.fs.sync_dir(&self.dir).map_err(OfflineError::io("sync the folder", &self.dir))?;
        let taken = || OfflineError::io("map", &path)(std::io::Error::other("somebody else writes to it"));
        let writer = file.map().writer().ok_or_else(taken)?;
        // Where a compacted one ends is written when it does.
        let (compacted, end) = if self.options.compacted { (1, u64::MAX) } else { (0, 0) };
        let key = self.options.keys.as_ref().map(SegmentKey::fresh).transpose();
        let key = key.map_err(OfflineError::io("make", &path))?;
        let (version, sealed) = (version_written(key.is_some()), key.is_some());
        let header = Header { version, number, base, created, compacted, end, sealed };
        header.write(file.map());
        if let Some(key) = &key {
            key.write(file.map());
        }
        write_before(file.map(), &self.homes, self.newest);
        self.next_number += 1;
        self.active = Some(Active { path, header, file, writer, key });
        Ok(())
    }

    /// Brings the segment in use to the disk, with a mark that says so.
    fn seal(&mut self) -> Result<(), OfflineError> {
        let (Some(Active { path, header, file, .. }), Some(next)) = (self.active.take(), self.next) else {
            return Ok(());
        };
        let end = file.map().position().end;
        if header.compacted > 0 {
            Header { end: next, ..header }.write(file.map());
        }
        file.sync(0..end).map_err(OfflineError::io("sync", &path))?;
        Mark { end, next, clean: false }.write(file.map());
        file.sync(0..HEAD).map_err(OfflineError::io("sync", &path))
    }

    /// Brings everything to the disk.
    ///
    /// # Errors
    /// [`OfflineError`]; the next writer goes on from what was synced.
    pub fn finish(mut self) -> Result<(), OfflineError> {
        self.seal()
    }
}

/// Writes a segment anew as far as it is whole: the last writer did not sync it.
fn whole(fs: &dyn Fs, path: &Path, segment: &SegmentReport) -> Result<(), OfflineError> {
    let mut bytes = fs.read(path, MAX_SEGMENT).map_err(OfflineError::io("read", path))?;
    let end = (segment.used_bytes as usize).min(bytes.len());
    bytes.get_mut(end..).unwrap_or_default().fill(0);
    let (number, base, next) = (segment.number, segment.base, segment.next);
    let created = segment.created.unwrap_or(UnixNanos(0));
    let sealed = segment.key.is_some();
    let version = version_written(sealed);
    let blank = Header { version, number, base, created, compacted: 0, end: 0, sealed };
    let header = Header::read_from(&bytes).unwrap_or(blank);
    let header = if header.compacted > 0 { Header { end: next, ..header } } else { header };
    header.write_to(&mut bytes);
    Mark { end, next, clean: false }.write_to(&mut bytes);
    fs.write(path, &bytes).map_err(OfflineError::io("write", path))
}
