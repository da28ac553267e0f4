//! The log's writer: appending, rolling to the next segment, retention.
//!
//! Appending writes the block, its place in the stream set in a copy of the
//! header, by one system call, and publishes it: no allocation, no lock. Only
//! once per segment it takes the table's lock to add the next one, which the
//! syncer has made ahead; when it has not (nobody calls it, or the writer is
//! faster than the disk), making it takes the writer a few milliseconds.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use weft_base::sync::Mutex;
use weft_base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use weft_base::{ByteCount, Mono, Now};
use weft_wire::block::Block;
use weft_wire::block::layout::BATCH_OPEN;

use crate::active::{Active, check_batch, check_block, place_at_home, placed};
use crate::compact::Pass;
use crate::crypt::SegmentKey;
use crate::error::{AppendError, OpenError, ReadError, SyncError};
use crate::format::{
    FORMAT_FILE, Header, LOCK_FILE, format_text, is_left_over, segment_number, side_number, write_before,
};
use crate::fs::{Fs, Lock};
use crate::homes::Homes;
use crate::mmap::HEAD;
use crate::options::LogOptions;
use crate::read::LogReader;
use crate::recover::{Opened, Recovered, Recovery, recover};
use crate::segment::{Beginning, Segment, Spare};
use crate::shared::{Shared, SyncState, locked};
use crate::sync::Syncer;
use crate::verify::{Verified, Verifier};

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
    /// The sequence of its first event at the home it entered at.
    pub home_sequence: u64,
}

/// A log, open for appending: one per folder. Dropping it does not sync; see
/// [`Log::close`].
pub struct Log {
    pub(crate) shared: Arc<Shared>,
    active: Option<Active>,
    /// How far it is in each home.
    homes: Homes,
    /// Everything below may go.
    floor: u64,
    /// The limits of retention.
    kept: Kept,
    /// The log is of an older version, and this the segment appended to once it
    /// is of this one.
    older: Option<Option<Active>>,
    verifier: Verifier,
    pub(crate) compacting: Pass,
    /// Blocks while they are encrypted: their plain text never lies in the file.
    sealing: Vec<u8>,
    /// The disk had no room; it is not asked again before this.
    full_until: Option<Mono>,
    _lock: Box<dyn Lock>,
}

/// The limits of retention: see the fields of [`LogOptions`] of these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// `retain_bytes`.
    pub bytes: Option<ByteCount>,
    /// `retain_age`.
    pub age: Option<Duration>,
    /// `retain_events`.
    pub events: Option<u64>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, next, synced) = (self.first(), self.next(), self.synced());
        write!(f, "Log({}, {first}..{next}, synced {synced})", self.shared.dir.display())
    }
}

impl Log {
    /// Opens the log in `dir`, or makes it. Reads and checks what is not known to
    /// have been on the disk: see [`crate::recover`] for how little that is, and
    /// for what is repaired and what is reported. What it
    /// answers is on the disk: `synced` equals `next`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(fs: Arc<dyn Fs>, dir: &Path, options: LogOptions, now: Now) -> Result<(Log, Recovery), OpenError> {
        options.validate()?;
        let Opened { lock, found, recovery, version } = recover(&*fs, dir, &options)?;
        let Recovered { table, writer, spares, next, homes, unindexed } = found;
        let first = table.live.front().map_or(next, |s| s.base);
        let last = table.live.back().cloned().zip(writer);
        // With encryption nothing is appended to what an earlier life wrote to:
        // see `crate::crypt`.
        let plain = |segment: &Segment| options.keys.is_none() && segment.key.is_none();
        let active = last.filter(|(segment, _)| plain(segment)).and_then(|(segment, writer)| {
            let index = segment.index()?;
            Some(Active { segment, writer, index })
        });
        // What recovery found, it has synced.
        let state = SyncState { from: table.live.back().map_or(0, |s| s.number), ..SyncState::default() };
        let kept = Kept { bytes: options.retain_bytes, age: options.retain_age, events: options.retain_events };
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
            loaded: Mutex::default(),
            suspects: Mutex::new(recovery.damaged.iter().map(|damage| damage.segment).collect()),
            unindexed: Mutex::new(unindexed),
        });
        let verifier = Verifier::new(Arc::clone(&shared));
        let (active, older) = if version < shared.options.version() { (None, Some(active)) } else { (active, None) };
        let mut log = Log {
            shared,
            active,
            homes,
            floor: 0,
            kept,
            older,
            verifier,
            compacting: Pass::default(),
            sealing: Vec::new(),
            full_until: None,
            _lock: lock,
        };
        // With encryption the first block makes the segment, lest each opening
        // makes one.
        let later = log.shared.options.keys.is_some() && log.shared.newest().is_some();
        if !later && log.active.is_none() && !matches!(log.older, Some(Some(_))) {
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

    /// Appends a validated and stamped block that enters the stream here:
    /// copies it as it is, with its place in the stream set in the copy.
    /// Readers see it at once; it is on the disk after the next sync.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was appended.
    pub fn append(&mut self, block: &[u8], now: Now) -> Result<Appended, AppendError> {
        if Block::trusted(block).flags() & BATCH_OPEN != 0 {
            return Err(AppendError::BadBatch { clause: "more of it follows, and it was given alone" });
        }
        let home = self.shared.options.home;
        self.write(std::iter::once((block, None)), home, now)
    }

    /// Appends a block that another home took in, or this one in an earlier
    /// life, under the name it has there. Sequences of that home may be left
    /// out: what it holds may have gaps too.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was appended.
    /// [`AlreadyThere`](AppendError::AlreadyThere) when a part of it is here.
    pub fn append_copy(
        &mut self,
        block: &[u8],
        home: u32,
        home_sequence: u64,
        now: Now,
    ) -> Result<Appended, AppendError> {
        if Block::trusted(block).flags() & BATCH_OPEN != 0 {
            return Err(AppendError::BadBatch { clause: "more of it follows, and it was given alone" });
        }
        self.write(std::iter::once((block, Some(home_sequence))), home, now)
    }

    /// Appends an atomic batch that enters here: also after a crash all of it
    /// is there, or nothing. All but the last block bear the flag
    /// [`BATCH_OPEN`], the last one [`BATCH_LAST`]. Readers see all of it at
    /// once; the answer names the place of its first event.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was appended.
    pub fn append_batch(&mut self, blocks: &[&[u8]], now: Now) -> Result<Appended, AppendError> {
        check_batch(blocks.iter().copied())?;
        let home = self.shared.options.home;
        self.write(blocks.iter().map(|block| (*block, None)), home, now)
    }

    /// Appends an atomic batch of another home, each block with its first
    /// sequence there; see [`append_batch`](Self::append_batch) and
    /// [`append_copy`](Self::append_copy).
    ///
    /// # Errors
    /// [`AppendError`]; nothing was appended.
    pub fn append_copied_batch(
        &mut self,
        blocks: &[(&[u8], u64)],
        home: u32,
        now: Now,
    ) -> Result<Appended, AppendError> {
        check_batch(blocks.iter().map(|(block, _)| *block))?;
        self.write(blocks.iter().map(|(block, sequence)| (*block, Some(*sequence))), home, now)
    }

    /// Appends blocks of one home as one, each with the home sequence it has,
    /// or else the next.
    fn write<'b>(
        &mut self,
        blocks: impl Iterator<Item = (&'b [u8], Option<u64>)> + Clone,
        home: u32,
        now: Now,
    ) -> Result<Appended, AppendError> {
        if let Some(why) = self.shared.poison() {
            return Err(AppendError::Poisoned { why });
        }
        self.homes.check_room(home)?;
        let (limit, trailer) = (self.shared.options.max_block, self.shared.options.trailer());
        let (mut total, mut events) = (0_usize, 0_u32);
        let mut home_next = self.homes.next_of(home);
        for (block, named) in blocks.clone() {
            events = events.saturating_add(check_block(block, limit)?);
            total += block.len() + trailer;
            let first = place_at_home(home, named, home_next)?;
            let end = first.checked_add(Block::trusted(block).event_count().into());
            home_next = end.ok_or(AppendError::NoHome { home, sequence: first })?;
        }
        let holds = self.shared.options.segment.as_usize().saturating_sub(HEAD);
        if total > holds {
            return Err(AppendError::BatchTooLarge { len: total, limit: holds });
        }
        loop {
            if let Some(active) = &mut self.active
                && active.segment.map().position().events.checked_add(events).is_some()
                && total <= active.writer.left()
            {
                let first = active.segment.tail().sequence;
                let places = placed(blocks.clone(), home, first, self.homes.next_of(home));
                let home_sequence = places.clone().next().map_or(0, |(_, place)| place.home_sequence);
                if let Err(e) = active.write(places.clone(), &mut self.sealing) {
                    return Err(e.at(&self.shared, active.segment.number));
                }
                active.note(places, &mut self.homes);
                let next = first.saturating_add(events.into());
                // There is room for bytes and numbers.
                active.writer.publish(total, events);
                // Release: whoever sees the sequence sees the block.
                self.shared.next.store(next, Ordering::Release);
                return Ok(Appended { first, next, home_sequence });
            }
            self.roll(now)?;
        }
    }

    /// Goes on in the next segment.
    fn roll(&mut self, now: Now) -> Result<(), AppendError> {
        let shared = &*self.shared;
        if let Some(active) = self.older.take() {
            let made = shared.fs.write(&shared.dir.join(FORMAT_FILE), format_text(shared.options.version()).as_bytes());
            if let Err(source) = made {
                self.older = Some(active);
                return Err(AppendError::Io { dir: shared.dir.clone(), source });
            }
            self.active = active;
            if self.active.is_some() {
                return Ok(());
            }
        }
        let full = || AppendError::DiskFull { dir: shared.dir.clone(), need: shared.options.segment.0 };
        if self.full_until.is_some_and(|until| now.mono < until) {
            return Err(full());
        }
        let Spare { number, file, writer, index } = match shared.take_spare() {
            Ok(spare) => spare,
            Err(e) if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                self.full_until = Some(now.mono + FULL_PAUSE);
                // What retention took out may be the space that is missing.
                self.syncer().remove_all();
                return Err(full());
            }
            Err(source) => return Err(AppendError::Io { dir: shared.dir.clone(), source }),
        };
        self.full_until = None;
        let key = shared.options.keys.as_ref().map(SegmentKey::fresh).transpose();
        let key = match key {
            Ok(key) => key,
            Err(source) => {
                // For the next try; nothing of it was written.
                locked(&shared.spares).ready = Some(Spare { number, file, writer, index });
                return Err(AppendError::Io { dir: shared.dir.clone(), source });
            }
        };
        if let Some(key) = &key {
            key.write(file.map());
        }
        let (version, base) = (shared.options.version(), self.next());
        let header = Header { version, number, base, created: now.wall, compacted: 0, end: 0, sealed: key.is_some() };
        let sealed = shared.newest();
        let newest = sealed.as_ref().map_or(0, |s| s.newest_so_far.load(Ordering::Relaxed));
        header.write(file.map());
        write_before(file.map(), &self.homes, newest);
        let homes = self.homes.clone();
        let beginning = Beginning { number, base: header.base, compacted: None, homes, newest, key };
        let index = Arc::new(index);
        let mut segment = Segment::new(beginning, file, Some(Arc::clone(&index)));
        segment.is_fresh = true;
        let segment = Arc::new(segment);
        locked(&shared.table).live.push_back(Arc::clone(&segment));
        if let Some(sealed) = sealed {
            locked(&shared.unindexed).push(sealed.number);
        }
        self.active = Some(Active { segment, writer, index });
        Ok(())
    }

    /// Why nothing can be appended at present, as far as is known; none when
    /// the last attempt went well.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let full = || self.full_until.map(|_| "the disk has no room for another segment".to_owned());
        self.shared.poison().map(|why| format!("takes no more, {why}")).or_else(full)
    }

    /// Nobody needs what is below `local` any more: retention by interest and
    /// of work queues. Whole segments below it go with the next
    /// [`retain`](Self::retain); reading begins there at once. A lower floor
    /// than before changes nothing. Not on disk: to be told after each opening.
    pub fn set_floor(&mut self, local: u64) {
        self.floor = self.floor.max(local.min(self.next()));
        let first = self.first().max(self.floor);
        self.shared.first.store(first, Ordering::Release);
    }

    /// Other limits than those it was opened with, from the next
    /// [`retain`](Self::retain) on.
    pub fn set_kept(&mut self, kept: Kept) {
        self.kept = kept;
    }

    /// How far the log is in each home, at [`next`](Self::next): per home, by
    /// its tag, the home sequence that is next.
    #[must_use]
    pub fn position(&self) -> Vec<(u32, u64)> {
        self.homes.entries().to_vec()
    }

    /// Takes out the oldest segments as the options' limits and the floor ask,
    /// and answers how many. Their files go with the syncer's next
    /// [`prepare`](Syncer::prepare); blocks that somebody still reads stay
    /// readable, and their space taken, until they are dropped.
    ///
    /// By age and floor, the segment in use goes too when all in it may.
    pub fn retain(&mut self, now: Now) -> usize {
        let kept = self.kept;
        let bytes = kept.bytes.map_or(u64::MAX, |b| b.0);
        let events = kept.events.unwrap_or(u64::MAX);
        let age = kept.age.map(|age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        let floor = self.floor;
        let last = self.shared.newest().map_or(0, |s| s.number);
        let expired = |s: &Segment| {
            let newest = s.newest.load(Ordering::Relaxed);
            let old = age.is_some_and(|age| newest.saturating_add(age) < now.wall.0);
            if s.tail().offset == HEAD {
                // Compaction left nothing in it; or an earlier life began it,
                // and with encryption nobody goes on in it.
                return s.compacted.is_some() || s.number < last;
            }
            old || s.tail().sequence <= floor
        };
        // The segment in use can only go when there is another to write to.
        let unused = self.shared.options.keys.is_some() && self.active.is_none();
        let only = (unused || self.active.as_ref().is_some_and(|a| expired(&a.segment))) && {
            let table = locked(&self.shared.table);
            !table.live.is_empty() && table.live.iter().all(|s| expired(s))
        };
        if only && self.roll(now).is_err() && !unused {
            return 0;
        }
        let next = self.next();
        let mut table = locked(&self.shared.table);
        let mut held: u64 = table.live.iter().map(|s| s.tail().offset as u64).sum();
        let mut count = 0;
        while let (Some(oldest), Some(second)) = (table.live.front(), table.live.get(1)) {
            let enough = next.saturating_sub(second.base) >= events;
            if held <= bytes && !enough && !expired(oldest) && second.base > floor {
                break;
            }
            held -= oldest.tail().offset as u64;
            let number = oldest.number;
            table.live.pop_front();
            table.removed.push(number);
            count += 1;
        }
        let first = table.live.front().map_or(next, |s| s.base).max(floor);
        self.shared.first.store(first, Ordering::Release);
        count
    }

    /// Checks some of what was on the disk when it was opened or was synced
    /// since, and goes on there with the next call; after the last block it
    /// begins again. For a thread that may wait for the disk there is
    /// [`verifier`](Self::verifier).
    pub fn verify_step(&mut self, budget: ByteCount) -> Verified {
        self.verifier.step(budget)
    }

    /// The number of the oldest segment that is there.
    #[must_use]
    pub fn oldest_segment(&self) -> u64 {
        locked(&self.shared.table).live.front().map_or(0, |segment| segment.number)
    }

    /// A handle that checks, for another thread.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        Verifier::new(Arc::clone(&self.shared))
    }

    /// How many segments' indexes are in memory; those of segments that are not
    /// written to any more are at most 8.
    #[must_use]
    pub fn indexes(&self) -> usize {
        self.shared.indexes()
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
        syncer.finish(&self.homes, self.older.is_none())?;
        syncer.remove_all();
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
        for name in fs.list(dir)?.iter().filter(|name| side_number(name).is_some() || is_left_over(name)) {
            fs.remove(&dir.join(name))?;
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
