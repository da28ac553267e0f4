//! One segment in memory, shared by the writer, the syncer and the readers.

use std::io::IoSlice;
use std::sync::Arc;

use weft_base::sync::Mutex;
use weft_base::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use weft_wire::block::HEADER_LEN;

use crate::crypt::SegmentKey;
use crate::format::{Header, Mark};
use crate::fs::SegmentFile;
use crate::homes::Homes;
use crate::index::{Index, Place};
use crate::mmap::{HEAD, Map, MapWriter};
use crate::scan::{Content, Found};
use crate::shared::locked;
use crate::side::Side;

/// How much damage a segment remembers.
const MAX_GAPS: usize = 4096;

/// A segment that was made ahead of need.
pub(crate) struct Spare {
    pub(crate) number: u64,
    pub(crate) file: Box<dyn SegmentFile>,
    pub(crate) writer: MapWriter,
    pub(crate) index: Index,
}

pub(crate) struct Segment {
    pub(crate) number: u64,
    /// The sequence of its first block.
    pub(crate) base: u64,
    /// When it was compacted, the sequence after it: up to there blocks may be
    /// missing.
    pub(crate) compacted: Option<u64>,
    /// How far the log was in each home before its first block.
    pub(crate) homes: Homes,
    /// Of an encrypted one.
    pub(crate) key: Option<Arc<SegmentKey>>,
    file: Box<dyn SegmentFile>,
    map: Arc<Map>,
    /// The index, while it is in memory.
    index: Mutex<Option<Arc<Index>>>,
    /// The newest ingest time in it; for its age.
    pub(crate) newest: AtomicU64,
    /// The newest ingest time in it and all segments before it: grows with
    /// the sequence even where hubs' clocks differ. For finding a time.
    pub(crate) newest_so_far: AtomicU64,
    /// It was made in this life, not found.
    pub(crate) is_fresh: bool,
    pub(crate) blocks: AtomicU64,
    /// Those that are there; more sequences when it was compacted.
    pub(crate) events: AtomicU64,
    /// The damage that recovery found, by offset, and where it goes on: reading
    /// then says the same as opening did.
    gaps: Vec<(usize, Place)>,
    /// How far it is on disk. Only the syncer moves it.
    pub(crate) synced: AtomicUsize,
}

/// What a segment begins with.
pub(crate) struct Beginning {
    pub(crate) number: u64,
    pub(crate) base: u64,
    pub(crate) compacted: Option<u64>,
    pub(crate) homes: Homes,
    /// The newest ingest time before it.
    pub(crate) newest: u64,
    /// When it is encrypted.
    pub(crate) key: Option<Arc<SegmentKey>>,
}

impl Segment {
    pub(crate) fn new(beginning: Beginning, file: Box<dyn SegmentFile>, index: Option<Arc<Index>>) -> Self {
        let Beginning { number, base, compacted, homes, newest, key } = beginning;
        Self {
            number,
            base,
            compacted,
            homes,
            key,
            map: Arc::clone(file.map()),
            file,
            index: Mutex::new(index),
            newest: AtomicU64::new(0),
            newest_so_far: AtomicU64::new(newest),
            is_fresh: false,
            blocks: AtomicU64::new(0),
            events: AtomicU64::new(0),
            gaps: Vec::new(),
            synced: AtomicUsize::new(0),
        }
    }

    /// The index, when it is in memory.
    pub(crate) fn index(&self) -> Option<Arc<Index>> {
        locked(&self.index).clone()
    }

    pub(crate) fn set_index(&self, index: Option<Arc<Index>>) {
        *locked(&self.index) = index;
    }

    /// Believes a side file's sums.
    pub(crate) fn adopt(&self, side: &Side) {
        self.newest.store(side.newest, Ordering::Relaxed);
        self.newest_so_far.store(side.newest_so_far, Ordering::Relaxed);
        self.blocks.store(side.blocks, Ordering::Relaxed);
        self.events.store(side.events, Ordering::Relaxed);
    }

    /// What is to be written down of it, up to its end.
    pub(crate) fn side(&self, homes: Homes, index: &Index, every: u64) -> Side {
        let end = self.tail();
        let side = Side::new(Header::seal(&self.map), self.number, self.base, end).with_index(index, every);
        Side {
            newest: self.newest.load(Ordering::Relaxed),
            newest_so_far: self.newest_so_far.load(Ordering::Relaxed),
            blocks: self.blocks.load(Ordering::Relaxed),
            events: self.events.load(Ordering::Relaxed),
            homes,
            ..side
        }
    }

    /// Whether a side file speaks of this segment.
    pub(crate) fn is_of(&self, side: &Side) -> bool {
        (side.number, side.base, side.seal) == (self.number, self.base, Header::seal(&self.map))
    }

    /// How far the log is in each home just before `local`, or the end of what
    /// can be read here. `own` is this log's home.
    pub(crate) fn homes_before(&self, index: Option<&Index>, local: u64, own: u32) -> Homes {
        let content = self.content(self.tail().offset);
        let indexed = index.and_then(|index| index.vector(|place, _| place.sequence <= local));
        let (start, mut homes) = indexed.unwrap_or_else(|| (self.start(), self.homes.clone()));
        self.walk(content, start, |found| {
            if found.first >= local {
                return Some(());
            }
            let (home, next) = found.home_next(own);
            homes.note(home, next.saturating_sub(found.next.saturating_sub(local)));
            None
        });
        homes
    }

    /// Calls `f` with each block from a place on until it answers. Headers are
    /// checked, events are not.
    pub(crate) fn walk<T>(
        &self,
        content: Content<'_>,
        start: Place,
        mut f: impl FnMut(Found) -> Option<T>,
    ) -> Option<T> {
        let mut at = start;
        while at.offset < content.end() {
            let Some(found) = content.named(at.offset).filter(|found| content.follows(found, at.sequence)) else {
                at = self.after_damage(content, at)?;
                continue;
            };
            if let Some(answer) = f(found) {
                return Some(answer);
            }
            at = Place { sequence: found.next, offset: found.end() };
        }
        None
    }

    /// Remembers damage, in order of offsets. What does not fit is looked at
    /// anew when it is read.
    pub(crate) fn add_gap(&mut self, offset: usize, resume: Option<Place>) {
        if let Some(resume) = resume.filter(|_| self.gaps.len() < MAX_GAPS) {
            self.gaps.push((offset, resume));
        }
    }

    /// Remembers the damage that another one of the same blocks does, but for
    /// that at `mended`.
    pub(crate) fn keep_gaps(&mut self, other: &Self, mended: usize) {
        self.gaps = other.gaps.iter().filter(|gap| gap.0 != mended).copied().collect();
    }

    /// Where the first block after the damage at `place` begins. When it was
    /// not known at opening, it is looked for.
    pub(crate) fn after_damage(&self, content: Content<'_>, place: Place) -> Option<Place> {
        match self.gaps.binary_search_by_key(&place.offset, |gap| gap.0) {
            Ok(known) => self.gaps.get(known).map(|gap| gap.1),
            Err(_) => {
                content.resync(place.offset, place.sequence).map(|f| Place { sequence: f.first, offset: f.offset })
            }
        }
    }

    /// Takes the file opened anew, of which nothing is published yet.
    pub(crate) fn reopened(&mut self, file: Box<dyn SegmentFile>) {
        self.map = Arc::clone(file.map());
        self.file = file;
    }

    /// Reads in from the disk the block at `offset`, as long as its header says
    /// that it is. All up to `warmed` is there already; answers how far it is
    /// now. Touching what cannot be read would kill the process.
    pub(crate) fn warm_block(&self, content: Content<'_>, offset: usize, warmed: usize) -> std::io::Result<usize> {
        let mut warmed = warmed;
        let mut reach = |end: usize| {
            let end = end.min(content.end());
            if end > warmed {
                self.map.populate_read(warmed.max(offset) & !4095..end)?;
                warmed = end;
            }
            std::io::Result::Ok(())
        };
        reach(offset.saturating_add(HEADER_LEN))?;
        if let Ok(found) = content.glance(offset) {
            reach(found.end())?;
        }
        Ok(warmed)
    }

    pub(crate) fn map(&self) -> &Arc<Map> {
        &self.map
    }

    /// Where its first block begins.
    pub(crate) fn start(&self) -> Place {
        Place { sequence: self.base, offset: HEAD }
    }

    /// The offset and the sequence after the last published block.
    pub(crate) fn tail(&self) -> Place {
        let position = self.map.position();
        Place { sequence: self.base + u64::from(position.events), offset: position.end }
    }

    /// What is published, up to `end`, which [`Segment::tail`] gave.
    pub(crate) fn content(&self, end: usize) -> Content<'_> {
        Content(self.map.read(HEAD..end).unwrap_or_default(), self.compacted, self.key.as_deref())
    }

    /// Writes what `writer`, who writes this segment, publishes next; see
    /// [`SegmentFile::write`].
    pub(crate) fn write(&self, writer: &mut MapWriter, skip: usize, parts: &mut [IoSlice<'_>]) -> std::io::Result<()> {
        self.file.write(writer, skip, parts)
    }

    /// Takes note of a block that is about to be published. Only the writer
    /// calls this, with how far the log is in each home before it.
    #[inline]
    pub(crate) fn note(&self, index: &Index, block: &Found, homes: &Homes) {
        let so_far = self.newest_so_far.load(Ordering::Relaxed);
        index.note(Place { sequence: block.first, offset: block.offset }, so_far, homes);
        if block.time > so_far {
            self.newest_so_far.store(block.time, Ordering::Relaxed);
        }
        if block.time > self.newest.load(Ordering::Relaxed) {
            self.newest.store(block.time, Ordering::Relaxed);
        }
        self.blocks.store(self.blocks.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.events.store(self.events.load(Ordering::Relaxed) + (block.next - block.first), Ordering::Relaxed);
    }

    /// Brings what is published to the disk, and answers how far that is.
    /// Only one thread at a time calls this.
    pub(crate) fn sync(&self) -> std::io::Result<Place> {
        let tail = self.tail();
        let synced = self.synced.load(Ordering::Relaxed);
        if tail.offset > synced {
            // The first sync begins at zero and so takes the header along.
            self.file.sync(synced..tail.offset)?;
            self.synced.store(tail.offset, Ordering::Relaxed);
            Mark { end: tail.offset, next: tail.sequence, clean: false }.write(&self.map);
        }
        Ok(tail)
    }

    /// Notes that everything up to `tail` is on the disk, durably; with `clean`
    /// also that nothing comes after it.
    pub(crate) fn mark(&self, tail: Place, clean: bool) -> std::io::Result<()> {
        Mark { end: tail.offset, next: tail.sequence, clean }.write(&self.map);
        self.sync_head()
    }

    /// Brings header and marks to the disk.
    pub(crate) fn sync_head(&self) -> std::io::Result<()> {
        self.file.sync(0..HEAD)
    }
}
