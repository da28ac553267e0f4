//! The syncer: brings what was appended to the disk, off the data path.
//!
//! Many appends share one sync (group commit): each call brings all to the
//! disk that was appended before it began. The thread that calls it also makes
//! segments ready ahead of the writer, and removes the files of segments that
//! retention took out, so that appending does neither.
//!
//! # After a failed sync, or a failed write
//! The system may have dropped the pages it could not write and take them for
//! written, so the next sync would succeed without them. The log is therefore
//! poisoned by the first failure: it reports nothing more as synced, and takes
//! no more blocks. What was synced stays so, and reads go on. Closing the log
//! and opening it again, in the same process or another one, is the way out:
//! recovery writes everything that is not known to be on disk anew, from what
//! can still be read, before it counts it as synced. Going on in a new segment
//! instead would do the same with less: it would trust what is in memory.

use std::sync::Arc;

use weft_base::sync::atomic::Ordering;

use crate::error::SyncError;
use crate::homes::Homes;
use crate::segment::Segment;
use crate::shared::{Shared, SyncState, locked};

/// Syncs a log from another thread than the one that appends. Clones share the
/// log; their calls wait for each other.
#[derive(Clone)]
pub struct Syncer {
    pub(crate) shared: Arc<Shared>,
}

impl std::fmt::Debug for Syncer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Syncer").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

impl Syncer {
    /// [`commit`](Self::commit), then [`prepare`](Self::prepare). To answer
    /// publishers sooner, call the two apart and answer in between.
    ///
    /// # Errors
    /// [`SyncError`], from `commit`.
    pub fn sync(&self) -> Result<u64, SyncError> {
        let result = self.commit();
        if result.is_ok() {
            self.prepare();
        }
        result
    }

    /// Brings everything appended before the call to the disk. Answers with a
    /// sequence: all events below it are on the disk. Returns at once when
    /// there is nothing new.
    ///
    /// # Errors
    /// [`SyncError`]; after a failure the log is poisoned (module document).
    pub fn commit(&self) -> Result<u64, SyncError> {
        let shared = &*self.shared;
        let mut state = locked(&shared.state);
        self.check(&state)?;
        let before = shared.synced.load(Ordering::Relaxed);
        if shared.next.load(Ordering::Acquire) == before {
            return Ok(before);
        }
        let segments = self.unsynced(&state);
        let mut synced = before;
        for (at, segment) in segments.iter().enumerate() {
            let sealed = at + 1 < segments.len();
            // A sealed segment's mark goes to the disk before anything of the
            // next one: recovery counts on it.
            let tail =
                segment.sync().and_then(|tail| if sealed { segment.sync_head().map(|()| tail) } else { Ok(tail) });
            match tail {
                Ok(tail) => synced = synced.max(tail.sequence),
                Err(source) => return Err(self.fail(segment, source)),
            }
            if sealed {
                state.from = segment.number + 1;
                segment.map().release(0..segment.map().len());
            }
        }
        state.unmarked = true;
        shared.synced.store(synced, Ordering::Release);
        Ok(synced)
    }

    /// Brings the newest mark to the disk, which lets the next opening tell
    /// damage from a torn tail up to the last block. To be called once when
    /// there was nothing to commit for a second or so: it costs a sync.
    ///
    /// # Errors
    /// [`SyncError`], as for [`commit`](Self::commit).
    pub fn settle(&self) -> Result<(), SyncError> {
        let mut state = locked(&self.shared.state);
        self.check(&state)?;
        if std::mem::take(&mut state.unmarked)
            && let Some(segment) = self.shared.newest()
        {
            segment.sync_head().map_err(|source| self.fail(&segment, source))?;
        }
        Ok(())
    }

    /// Leaves the log as it is best opened again. `homes` is how far it is in
    /// each home; with `clean` it says that nothing lies beyond its end.
    pub(crate) fn finish(&self, homes: &Homes, clean: bool) -> Result<(), SyncError> {
        let mut state = locked(&self.shared.state);
        self.check(&state)?;
        while self.write_side(&state) {}
        let Some(segment) = self.shared.newest() else { return Ok(()) };
        if let Some(index) = segment.index() {
            let side = segment.side(homes.clone(), &index, self.shared.options.index_every.0);
            // Without it the next opening reads the segment.
            let _ = self.shared.fs.write_lossy(&self.shared.side_path(segment.number), &side.encode());
        }
        state.unmarked = false;
        segment.mark(segment.tail(), clean).map_err(|source| self.fail(&segment, source))
    }

    /// Writes the side file of one segment that is complete and on the disk;
    /// answers whether there was one to write. Best effort: without the file
    /// the next opening makes it.
    fn write_side(&self, state: &SyncState) -> bool {
        let shared = &*self.shared;
        let number = {
            let mut unindexed = locked(&shared.unindexed);
            let Some(at) = unindexed.iter().position(|number| *number < state.from) else { return false };
            unindexed.swap_remove(at)
        };
        let segment = {
            let table = locked(&shared.table);
            table.live.binary_search_by_key(&number, |s| s.number).ok().and_then(|at| table.live.get(at)).cloned()
        };
        let Some(segment) = segment else { return true };
        let every = shared.options.index_every.0;
        let index = segment.index().unwrap_or_else(|| shared.build_index(&segment));
        let homes = segment.homes_before(Some(&index), u64::MAX, shared.options.home);
        let side = segment.side(homes, &index, every);
        let _ = shared.fs.write_lossy(&shared.side_path(number), &side.encode());
        shared.keep_index(&segment, &index);
        true
    }

    fn check(&self, state: &SyncState) -> Result<(), SyncError> {
        match self.shared.poison() {
            _ if state.closed => Err(SyncError::Closed),
            Some(why) => Err(SyncError::Poisoned { why }),
            None => Ok(()),
        }
    }

    fn unsynced(&self, state: &SyncState) -> Vec<Arc<Segment>> {
        let table = locked(&self.shared.table);
        let from = table.live.partition_point(|s| s.number < state.from);
        table.live.range(from..).cloned().collect()
    }

    fn fail(&self, segment: &Segment, source: std::io::Error) -> SyncError {
        self.shared.fail(segment.number, &source);
        SyncError::Failed { segment: segment.number, source }
    }

    /// Releases pages far behind the writer, makes the next segment once half of the current one is used, writes
    /// the side file of a segment that is complete, and removes the files of
    /// segments that retention took out. Best effort: what fails here, the writer or the
    /// next opening does itself.
    pub fn prepare(&self) {
        let shared = &*self.shared;
        let mut state = locked(&shared.state);
        if state.closed || shared.poisoned.load(Ordering::Acquire) {
            return;
        }
        self.remove_files(&state, REMOVED);
        self.write_side(&state);
        let Some(segment) = shared.newest() else { return };
        let (end, len) = (segment.tail().offset, segment.map().len());
        release(&mut state, &segment, end);
        if end < len / 2 {
            // The writer got a segment since, or has no need of one.
            state.no_room = false;
        } else if !state.no_room {
            // On a full disk this is not tried again until the writer, which
            // does try again, got its segment.
            state.no_room = shared.make_spare().is_err();
        }
    }

    /// Removes files of segments that retention took out, as
    /// [`prepare`](Self::prepare) does, and answers how many: for a log to
    /// which nothing is appended.
    pub fn tidy(&self) -> usize {
        let state = locked(&self.shared.state);
        if state.closed || locked(&self.shared.table).removed.is_empty() {
            0
        } else {
            self.remove_files(&state, REMOVED)
        }
    }

    /// All of them, for the writer on a disk that is full. A sync that is under
    /// way is waited for.
    pub(crate) fn remove_all(&self) {
        let state = locked(&self.shared.state);
        self.remove_files(&state, usize::MAX);
    }

    /// Removes the files of segments that retention took out, the oldest first,
    /// up to `most` of them, and answers how many. Each is gone from the disk
    /// before the next one goes: a crash must leave no hole. So only one thread
    /// at a time does this, the one that has `_state`.
    fn remove_files(&self, _state: &SyncState, most: usize) -> usize {
        let shared = &*self.shared;
        let (mut numbers, front) = {
            let mut table = locked(&shared.table);
            (std::mem::take(&mut table.removed), table.live.front().cloned())
        };
        if numbers.is_empty() {
            return 0;
        }
        // With all before it gone, the first segment's header alone knows the
        // sequence: it must be on disk before the others go.
        let safe = front.is_some_and(|f| {
            // The system tells a failed sync once: nobody else would learn of it.
            f.synced.load(Ordering::Relaxed) > 0
                || f.sync_head().inspect_err(|e| drop(shared.fail(f.number, e))).is_ok()
        });
        let remove = |number: u64| {
            // The side file first: it is of no use without its segment.
            gone(shared.fs.remove(&shared.side_path(number)))
                && gone(shared.fs.remove(&shared.path(number)))
                && shared.fs.sync_dir(&shared.dir).is_ok()
        };
        let removed = numbers.iter().take(most).take_while(|number| safe && remove(**number)).count();
        numbers.drain(..removed);
        // Before those that retention took out meanwhile.
        locked(&shared.table).removed.splice(0..0, numbers);
        removed
    }
}

/// How many files one call of [`Syncer::prepare`] removes at most.
const REMOVED: usize = 8;
/// What stays present behind the writer, for those who read what was just
/// appended.
const KEEP: usize = 8 << 20;

/// Lets go of what readers brought in far behind the writer, which is at `end`.
fn release(state: &mut SyncState, segment: &Segment, end: usize) {
    let before = if state.released.0 == segment.number { state.released.1 } else { 0 };
    let behind = end.saturating_sub(KEEP);
    if behind >= before + KEEP / 2 {
        segment.map().release(before..behind);
        state.released = (segment.number, behind);
    }
}

/// Whether a file that was to be removed is not there any more.
fn gone(result: std::io::Result<()>) -> bool {
    result.is_ok() || result.is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
}
