//! The log's writer: appending, rolling to the next segment, retention.
//!
//! Appending copies the block into the mapping, sets its stream sequence in
//! the copy, and publishes it: no system call, no allocation, no lock. Only
//! once per segment it takes the table's lock to add the next one, which the
//! syncer has made ahead; when it has not (nobody calls it, or the writer is
//! faster than the disk), making it takes the writer a few milliseconds.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use weft_base::sync::Mutex;
use weft_base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use weft_base::{Mono, Now};
use weft_wire::block::{Block, MIN_BLOCK, peek_len, set_stream_sequence};

use crate::error::{AppendError, OpenError, ReadError, SyncError};
use crate::format::{FORMAT_FILE, FORMAT_VERSION, Header, LOCK_FILE, segment_number};
use crate::fs::{Fs, Lock};
use crate::index::Place;
use crate::mmap::{HEAD, MapWriter};
use crate::options::LogOptions;
use crate::read::LogReader;
use crate::recover::{Opened, Recovered, Recovery, recover};
use crate::scan::Found;
use crate::segment::{Segment, Spare};
use crate::shared::{Shared, SyncState, locked};
use crate::sync::Syncer;

/// How long the disk is left alone after it had no room.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// Where an appended block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The stream sequence of its first event.
    pub first: u64,
    /// The sequence the next event gets. Once [`Syncer::sync`] answers this or
    /// more, the block is on the disk.
    pub next: u64,
}

/// The segment appended to.
struct Active {
    segment: Arc<Segment>,
    writer: MapWriter,
}

/// A log, open for appending: one per folder. Dropping it does not sync; see
/// [`Log::close`].
pub struct Log {
    shared: Arc<Shared>,
    active: Option<Active>,
    /// The disk had no room; it is not asked again before this.
    full_until: Option<Mono>,
    _lock: Box<dyn Lock>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, next, synced) = (self.first(), self.next(), self.synced());
        write!(f, "Log({}, {first}..{next}, synced {synced})", self.shared.dir.display())
    }
}

impl Log {
    /// Opens the log in `dir`, or makes it. Reads and checks all of it: see
    /// [`crate::recover`] for what is repaired and what is reported. What it
    /// answers is on the disk: `synced` equals `next`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(fs: Arc<dyn Fs>, dir: &Path, options: LogOptions, now: Now) -> Result<(Log, Recovery), OpenError> {
        options.validate()?;
        let Opened { lock, found, recovery } = recover(&*fs, dir, &options)?;
        let Recovered { table, writer, spares, next } = found;
        let first = table.live.front().map_or(next, |s| s.base);
        let active = table.live.back().cloned().zip(writer).map(|(segment, writer)| Active { segment, writer });
        // What recovery found, it has synced.
        let state = SyncState { from: table.live.back().map_or(0, |s| s.number), ..SyncState::default() };
        let shared = Arc::new(Shared {
            fs,
            dir: dir.to_owned(),
            options,
            table: Mutex::new(table),
            spares: Mutex::new(spares),
            state: Mutex::new(state),
            first: AtomicU64::new(first),
            next: AtomicU64::new(next),
            synced: AtomicU64::new(next),
            poisoned: AtomicBool::new(false),
            why: Mutex::new(String::new()),
        });
        let mut log = Log { shared, active, full_until: None, _lock: lock };
        if log.active.is_none() {
            match log.roll(now) {
                // Reading works on a full disk; appending will try again.
                Ok(()) | Err(AppendError::DiskFull { .. }) => {}
                Err(AppendError::Io { dir, source }) => {
                    return Err(OpenError::Io { doing: "make a segment in", path: dir, source });
                }
                Err(other) => return Err(OpenError::io("make a segment in", dir)(io::Error::other(other))),
            }
        }
        Ok((log, recovery))
    }

    /// Appends a validated and stamped block: copies it as it is, with its
    /// stream sequence set in the copy. Readers see it at once; it is on the
    /// disk after the next sync.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was appended.
    pub fn append(&mut self, block: &[u8], now: Now) -> Result<Appended, AppendError> {
        if let Some(why) = self.shared.poison() {
            return Err(AppendError::Poisoned { why });
        }
        let limit = self.shared.options.max_block;
        if block.len() > limit {
            return Err(AppendError::TooLarge { len: block.len(), limit });
        }
        let view = Block::trusted(block);
        let events = view.event_count();
        let time = view.stamp().map_or(0, |s| s.ingested.0);
        let length = peek_len(block).unwrap_or(0) as usize;
        if length != block.len() || length < MIN_BLOCK || !length.is_multiple_of(8) || events == 0 {
            let clause = format!("its length says {length}, its count of events {events}");
            return Err(AppendError::NotABlock { len: block.len(), clause });
        }
        loop {
            if let Some(active) = &mut self.active
                && let Some(spare) = active.writer.spare(length)
            {
                let Place { sequence: first, offset } = active.segment.tail();
                spare.copy_from_slice(block);
                let next = first.saturating_add(events.into());
                if let Err(e) = set_stream_sequence(spare, first) {
                    // Zeros are what recovery takes for the end.
                    spare.fill(0);
                    return Err(AppendError::NotABlock { len: length, clause: e.to_string() });
                }
                active.segment.note(&Found { offset, len: length, first, next, time });
                // Refused only when a segment's numbers are used up, which
                // 32 GiB of the smallest events cannot do.
                if active.writer.publish(length, events) {
                    // Release: whoever sees the sequence sees the block.
                    self.shared.next.store(next, Ordering::Release);
                    return Ok(Appended { first, next });
                }
            }
            self.roll(now)?;
        }
    }

    /// Goes on in the next segment.
    fn roll(&mut self, now: Now) -> Result<(), AppendError> {
        let shared = &*self.shared;
        let full = || AppendError::DiskFull { dir: shared.dir.clone(), need: shared.options.segment.0 };
        if self.full_until.is_some_and(|until| now.mono < until) {
            return Err(full());
        }
        let Spare { number, file, writer, index } = match shared.take_spare() {
            Ok(spare) => spare,
            Err(e) if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                self.full_until = Some(now.mono + FULL_PAUSE);
                // What retention took out may be the space that is missing.
                self.syncer().remove_files();
                return Err(full());
            }
            Err(source) => return Err(AppendError::Io { dir: shared.dir.clone(), source }),
        };
        self.full_until = None;
        let header = Header { version: FORMAT_VERSION, number, base: self.next(), created: now.wall };
        header.write(file.map());
        let newest = shared.newest().map_or(0, |s| s.newest_so_far.load(Ordering::Relaxed));
        let segment = Arc::new(Segment::new(number, header.base, file, index, newest));
        locked(&shared.table).live.push_back(Arc::clone(&segment));
        self.active = Some(Active { segment, writer });
        Ok(())
    }

    /// Takes out the oldest segments as the options' limits ask, and answers
    /// how many. Their files go with the syncer's next
    /// [`prepare`](Syncer::prepare); blocks that somebody still reads stay
    /// readable, and their space taken, until they are dropped.
    ///
    /// By age, the segment in use goes too when all in it is too old.
    pub fn retain(&mut self, now: Now) -> usize {
        let options = &self.shared.options;
        let bytes = options.retain_bytes.map_or(u64::MAX, |b| b.0);
        let age = options.retain_age.map(|age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        let expired = |s: &Segment| {
            let newest = s.newest.load(Ordering::Relaxed);
            s.tail().offset > HEAD && age.is_some_and(|age| newest.saturating_add(age) < now.wall.0)
        };
        // The segment in use can only go when there is another to write to.
        let only = self.active.as_ref().is_some_and(|a| expired(&a.segment)) && {
            let table = locked(&self.shared.table);
            table.live.iter().all(|s| expired(s))
        };
        if only && self.roll(now).is_err() {
            return 0;
        }
        let mut table = locked(&self.shared.table);
        let mut held: u64 = table.live.iter().map(|s| s.tail().offset as u64).sum();
        let mut count = 0;
        while table.live.len() > 1 {
            let Some(oldest) = table.live.front() else { break };
            if held <= bytes && !expired(oldest) {
                break;
            }
            held -= oldest.tail().offset as u64;
            let number = oldest.number;
            table.live.pop_front();
            table.removed.push(number);
            count += 1;
        }
        let first = table.live.front().map_or_else(|| self.next(), |s| s.base);
        self.shared.first.store(first, Ordering::Release);
        count
    }

    /// The handle that syncs, for another thread.
    #[must_use]
    pub fn syncer(&self) -> Syncer {
        Syncer { shared: Arc::clone(&self.shared) }
    }

    /// A handle that reads, for any thread.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader::new(Arc::clone(&self.shared))
    }

    /// The first sequence that is kept; equals [`next`](Self::next) when there
    /// is none. Sequences count events, from 1.
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

    /// How many bytes the log holds, headers of segments included. Its files
    /// are larger: see [`LogOptions::segment`].
    #[must_use]
    pub fn bytes(&self) -> u64 {
        locked(&self.shared.table).live.iter().map(|s| s.tail().offset as u64).sum()
    }

    /// Calls `f` with each block from the one that holds `from` on, damaged
    /// ones left out: to build anew what is kept in memory beside the log.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub fn for_each_block(&self, from: u64, f: impl FnMut(Block<'_>)) -> Result<(), ReadError> {
        self.reader().for_each_block(from, self.next(), f)
    }

    /// Syncs, and leaves the log as it is best opened again: all that is in it
    /// is then known to be on the disk. Syncers and readers that are left
    /// sync no more, and go on reading.
    ///
    /// # Errors
    /// [`SyncError`]; what was synced before still is.
    pub fn close(self) -> Result<(), SyncError> {
        let syncer = self.syncer();
        syncer.commit()?;
        syncer.settle()?;
        syncer.remove_files();
        Ok(())
    }

    /// Removes the log from the disk, its folder too when nothing else is in
    /// it. Interrupted, it leaves a log that holds the newest part.
    ///
    /// # Errors
    /// The system's: what is left can be opened, and deleted again.
    pub fn delete(self) -> io::Result<()> {
        // First, so that a syncer in another thread makes no new segment.
        locked(&self.shared.state).closed = true;
        let (fs, dir) = (&self.shared.fs, &self.shared.dir);
        let mut numbers: Vec<_> = fs.list(dir)?.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        for number in numbers {
            fs.remove(&self.shared.path(number))?;
        }
        fs.sync_dir(dir)?;
        fs.remove(&dir.join(FORMAT_FILE))?;
        fs.remove(&dir.join(LOCK_FILE))?;
        fs.sync_dir(dir)?;
        // Somebody else's files may be in it.
        if fs.remove(dir).is_ok() { dir.parent().map_or(Ok(()), |parent| fs.sync_dir(parent)) } else { Ok(()) }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Waits for a sync that is under way: the lock must not be given up
        // while this log still writes.
        locked(&self.shared.state).closed = true;
    }
}
