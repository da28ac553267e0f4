//! One segment in memory, shared by the writer, the syncer and the readers.

use std::sync::Arc;

use weft_base::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::format::Mark;
use crate::fs::SegmentFile;
use crate::homes::Homes;
use crate::index::{Index, Place};
use crate::mmap::{HEAD, Map, MapWriter};
use crate::scan::{Content, Found};

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
    /// How far the log was in each home before its first block.
    pub(crate) homes: Homes,
    file: Box<dyn SegmentFile>,
    map: Arc<Map>,
    pub(crate) index: Index,
    /// The newest ingest time in it; for its age.
    pub(crate) newest: AtomicU64,
    /// The newest ingest time in it and all segments before it: grows with
    /// the sequence even where hubs' clocks differ. For finding a time.
    pub(crate) newest_so_far: AtomicU64,
    /// The damage that recovery found, by offset, and where it goes on: reading
    /// then says the same as opening did.
    gaps: Vec<(usize, Place)>,
    /// How far it is on disk. Only the syncer moves it.
    pub(crate) synced: AtomicUsize,
}

impl Segment {
    pub(crate) fn new(
        number: u64,
        base: u64,
        homes: Homes,
        file: Box<dyn SegmentFile>,
        index: Index,
        newest_so_far: u64,
    ) -> Self {
        Self {
            number,
            base,
            homes,
            map: Arc::clone(file.map()),
            file,
            index,
            newest: AtomicU64::new(0),
            newest_so_far: AtomicU64::new(newest_so_far),
            gaps: Vec::new(),
            synced: AtomicUsize::new(0),
        }
    }

    /// Remembers damage, in order of offsets. What does not fit is looked at
    /// anew when it is read.
    pub(crate) fn add_gap(&mut self, offset: usize, resume: Option<Place>) {
        if let Some(resume) = resume.filter(|_| self.gaps.len() < MAX_GAPS) {
            self.gaps.push((offset, resume));
        }
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
        Content(self.map.read(HEAD..end).unwrap_or_default())
    }

    /// Takes note of a block that is about to be published. Only the writer
    /// calls this.
    #[inline]
    pub(crate) fn note(&self, block: &Found) {
        let so_far = self.newest_so_far.load(Ordering::Relaxed);
        self.index.note(Place { sequence: block.first, offset: block.offset }, so_far);
        if block.time > so_far {
            self.newest_so_far.store(block.time, Ordering::Relaxed);
        }
        if block.time > self.newest.load(Ordering::Relaxed) {
            self.newest.store(block.time, Ordering::Relaxed);
        }
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
            Mark { end: tail.offset, next: tail.sequence }.write(&self.map);
        }
        Ok(tail)
    }

    /// Notes that everything up to `tail` is on the disk, durably.
    pub(crate) fn mark(&self, tail: Place) -> std::io::Result<()> {
        Mark { end: tail.offset, next: tail.sequence }.write(&self.map);
        self.sync_head()
    }

    /// Brings header and marks to the disk.
    pub(crate) fn sync_head(&self) -> std::io::Result<()> {
        self.file.sync(0..HEAD)
    }
}
