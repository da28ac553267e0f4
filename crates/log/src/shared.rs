//! What writer, syncer and readers of one log share.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use weft_base::sync::Mutex;
use weft_base::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::format::{segment_name, side_name};
use crate::fs::Fs;
use crate::index::{Index, Place};
use crate::options::LogOptions;
use crate::segment::{Segment, Spare};
use crate::side::{self, Side};

/// The segments, the oldest first, and those that retention took out but that
/// are still on disk. The lock is held for a look-up or a change, never during
/// I/O but for the renaming of a repaired segment.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) live: VecDeque<Arc<Segment>>,
    pub(crate) removed: Vec<u64>,
}

/// The next segment, made ahead of need.
pub(crate) struct Spares {
    pub(crate) ready: Option<Spare>,
    /// The number the next one gets.
    pub(crate) next_number: u64,
}

/// How far the syncer is.
#[derive(Default)]
pub(crate) struct SyncState {
    /// All segments with lower numbers are on disk, marks included.
    pub(crate) from: u64,
    /// A mark that is in memory and not known to be on disk.
    pub(crate) unmarked: bool,
    pub(crate) closed: bool,
    /// Of which segment, by its number, the pages below which offset were let go.
    pub(crate) released: (u64, usize),
    /// Making a segment failed, and none was made since.
    pub(crate) no_room: bool,
}

pub(crate) struct Shared {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) dir: PathBuf,
    pub(crate) options: LogOptions,
    pub(crate) table: Mutex<Table>,
    pub(crate) spares: Mutex<Spares>,
    pub(crate) state: Mutex<SyncState>,
    /// The first sequence that is kept.
    pub(crate) first: AtomicU64,
    /// The sequence the next event gets. Stored with release after the block
    /// is published.
    pub(crate) next: AtomicU64,
    /// All below this are on disk.
    pub(crate) synced: AtomicU64,
    /// A sync failed; `why` says how.
    pub(crate) poisoned: AtomicBool,
    pub(crate) why: Mutex<String>,
    /// The segments that are not written to any more and whose index is in
    /// memory, the one longest there first.
    pub(crate) loaded: Mutex<VecDeque<Weak<Segment>>>,
    /// The numbers of segments in which damage was met; at most [`SUSPECTS`].
    pub(crate) suspects: Mutex<BTreeSet<u64>>,
    /// The numbers of segments that are complete and have no side file.
    pub(crate) unindexed: Mutex<Vec<u64>>,
}

/// How many damaged segments are remembered. Others are when they are met again.
const SUSPECTS: usize = 1024;
/// How many indexes are in memory, beside the one of the segment in use.
pub(crate) const INDEXES: usize = 8;

/// The value behind a lock. A thread that panicked holding it left nothing
/// half done: each holder's last change is one assignment, push or pop.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> impl std::ops::DerefMut<Target = T> + '_ {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn path(&self, number: u64) -> PathBuf {
        self.dir.join(segment_name(number))
    }

    pub(crate) fn side_path(&self, number: u64) -> PathBuf {
        self.dir.join(side_name(number))
    }

    /// The segment's index: the one in memory, or the one on disk. `None` when
    /// there is neither; the syncer then makes one.
    pub(crate) fn index_of(&self, segment: &Arc<Segment>) -> Option<Arc<Index>> {
        if let Some(index) = segment.index() {
            return Some(index);
        }
        let bytes = self.fs.read(&self.side_path(segment.number), side::MOST).ok();
        let whole = bytes.and_then(|bytes| Side::decode(&bytes));
        let side = whole.filter(|side| segment.is_of(side) && side.end == segment.tail());
        match side.and_then(|side| side.index(segment.map().len(), self.options.index_every.0)) {
            Some(index) => {
                let index = Arc::new(index);
                self.keep_index(segment, &index);
                Some(index)
            }
            None => {
                let mut unindexed = locked(&self.unindexed);
                if !unindexed.contains(&segment.number) {
                    unindexed.push(segment.number);
                }
                None
            }
        }
    }

    /// Keeps the index of a segment that is not written to any more in memory
    /// until so many others were needed.
    pub(crate) fn keep_index(&self, segment: &Arc<Segment>, index: &Arc<Index>) {
        segment.set_index(Some(Arc::clone(index)));
        let mut loaded = locked(&self.loaded);
        loaded.push_back(Arc::downgrade(segment));
        while loaded.len() > INDEXES {
            if let Some(segment) = loaded.pop_front().and_then(|segment| segment.upgrade()) {
                segment.set_index(None);
            }
        }
    }

    /// How many indexes are in memory.
    pub(crate) fn indexes(&self) -> usize {
        locked(&self.table).live.iter().filter(|segment| segment.index().is_some()).count()
    }

    /// Makes a segment's index from its blocks.
    pub(crate) fn build_index(&self, segment: &Segment) -> Arc<Index> {
        let index = Index::new(segment.map().len(), self.options.index_every.as_usize());
        let (mut homes, mut newest) = (segment.homes.clone(), 0);
        let content = segment.content(segment.tail().offset);
        segment.walk(content, segment.start(), |found| {
            index.note(Place { sequence: found.first, offset: found.offset }, newest, &homes);
            let (home, next) = found.home_next(self.options.home);
            homes.note(home, next);
            newest = newest.max(found.time);
            None::<()>
        });
        Arc::new(index)
    }

    /// Whether this is the segment of its number that is in use.
    pub(crate) fn is_live(&self, segment: &Arc<Segment>) -> bool {
        let table = locked(&self.table);
        let at = table.live.binary_search_by_key(&segment.number, |s| s.number);
        at.ok().and_then(|at| table.live.get(at)).is_some_and(|live| Arc::ptr_eq(live, segment))
    }

    /// The newest ingest time in the segments before this one.
    pub(crate) fn newest_before(&self, number: u64) -> u64 {
        let table = locked(&self.table);
        let at = table.live.partition_point(|s| s.number < number);
        at.checked_sub(1).and_then(|at| table.live.get(at)).map_or(0, |s| s.newest_so_far.load(Ordering::Relaxed))
    }

    /// Remembers a segment in which damage was met, for
    /// [`Mender`](crate::Mender).
    pub(crate) fn suspect(&self, number: u64) {
        let mut suspects = locked(&self.suspects);
        if suspects.len() < SUSPECTS {
            suspects.insert(number);
        }
    }

    /// Why the log is poisoned, if it is.
    pub(crate) fn poison(&self) -> Option<String> {
        self.poisoned.load(Ordering::Acquire).then(|| locked(&self.why).clone())
    }

    /// Notes that nothing can be believed any more of what this segment is to
    /// have on the disk.
    pub(crate) fn fail(&self, number: u64, source: &io::Error) -> String {
        let why = format!("segment {number}: {source}");
        why.clone_into(&mut locked(&self.why));
        // Release: whoever sees it sees why.
        self.poisoned.store(true, Ordering::Release);
        why
    }

    /// Makes a segment, durably.
    fn make(&self, number: u64) -> io::Result<Spare> {
        let len = self.options.segment.0;
        let path = self.path(number);
        let file = self.fs.create(&path, len)?;
        // The next try finds the name free.
        self.fs.sync_dir(&self.dir).inspect_err(|_| drop(self.fs.remove(&path)))?;
        let index = Index::new(file.map().len(), self.options.index_every.as_usize());
        let writer = file.map().writer().ok_or_else(|| io::Error::other("the new segment has a writer already"))?;
        Ok(Spare { number, file, writer, index })
    }

    /// The next segment: the one made ahead, or else a new one.
    pub(crate) fn take_spare(&self) -> io::Result<Spare> {
        let mut spares = locked(&self.spares);
        if let Some(spare) = spares.ready.take() {
            return Ok(spare);
        }
        let spare = self.make(spares.next_number)?;
        spares.next_number += 1;
        Ok(spare)
    }

    /// Makes the next segment, if there is none. The lock is held meanwhile:
    /// a writer that needs it now would have to make it itself, and waits
    /// instead.
    pub(crate) fn make_spare(&self) -> io::Result<()> {
        let mut spares = locked(&self.spares);
        if spares.ready.is_none() {
            let spare = self.make(spares.next_number)?;
            spares.next_number += 1;
            spares.ready = Some(spare);
        }
        Ok(())
    }

    /// The segment that holds `sequence`, or the damage in which it is lost:
    /// the last one that begins at or before it; and the base of the one after.
    pub(crate) fn segment_of(&self, sequence: u64) -> Option<(Arc<Segment>, Option<u64>)> {
        let table = locked(&self.table);
        let after = table.live.partition_point(|s| s.base <= sequence);
        let segment = table.live.get(after.checked_sub(1)?)?;
        Some((Arc::clone(segment), table.live.get(after).map(|s| s.base)))
    }

    pub(crate) fn newest(&self) -> Option<Arc<Segment>> {
        locked(&self.table).live.back().cloned()
    }
}
