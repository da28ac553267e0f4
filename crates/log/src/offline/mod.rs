//! Looking at a log that no hub has open, and repairing it.
//!
//! [`survey`] reads and judges every segment by the rules of
//! [`crate::recover`], and changes nothing: not even a torn tail is cut, which
//! is for the hub's next start. [`Repair`] plans what it would do first, and
//! then does it. It never deletes: bytes that are replaced or given up lie in
//! the folder `quarantine` afterwards, each range with a note that says what
//! it is, when it was put there and why.
//!
//! All reading is through copies ([`Fs::read`]), one segment in memory at a
//! time, so a folder that a hub has open can be surveyed too; what is past its
//! synced end is then not judged ([`Options::live`]).
//!
//! # A repair from another home
//! Events are called by (home, home sequence), which is the same at every home
//! of a stream and in its backups. For a hole in the log the events missing of
//! each home are those between the last one before it and the first one after
//! it. They are taken from the other folder when all of them are found there
//! whole; they get the local sequences that are missing here, each home's in
//! its order. A hole is filled whole or not at all.
//!
//! Limits: [`MAX_FINDINGS`] findings are listed, the others counted; one
//! repair takes [`MAX_TAKEN`] bytes at most from elsewhere, the next one goes
//! on; of [`MAX_HOMES`](crate::MAX_HOMES)
//! homes the sequences are followed.

pub(crate) mod note;
mod repair;
mod survey;
#[cfg(test)]
mod tests;
mod write;

use std::path::{Path, PathBuf};

use weft_base::UnixNanos;
use weft_wire::block::Block;

pub use repair::{Done, Repair};
pub use survey::survey;
pub use write::{WriteError, Writer, WriterOptions};

use crate::crypt::{Keys, named};
use crate::fs::Fs;

/// How many findings are listed.
pub const MAX_FINDINGS: usize = 65_536;
/// How many bytes one repair takes from another folder.
pub const MAX_TAKEN: usize = 1 << 30;
/// The folder for what was replaced or given up, inside the log's.
pub const QUARANTINE: &str = "quarantine";

/// How a log is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// A hub has it open: what is past the newest mark is being written, and
    /// what is wrong there is not told.
    pub live: bool,
    /// For segments that are encrypted.
    pub keys: Option<&'a Keys>,
}

/// Why a folder cannot be looked at or repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfflineError {
    /// Neither `FORMAT` nor a segment is in it.
    #[error("`{}` holds neither `FORMAT` nor a segment: name the folder of a stream, or a hub's data folder", dir.display())]
    NotALog {
        /// The folder.
        dir: PathBuf,
    },
    /// A newer Weft wrote it.
    #[error("`{}` has format version {found}, and this program knows versions up to {supported}: use the newer program", path.display())]
    NewerVersion {
        /// The file that says so.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest one known here.
        supported: u32,
    },
    /// A segment is encrypted with a key that was not given.
    #[error("`{}` is encrypted with {}, which was not given: name the file with the hub's keys (--key-file)", path.display(), named(*id))]
    NoKey {
        /// The segment's file.
        path: PathBuf,
        /// The key's id; 0 when its salt is damaged.
        id: u64,
    },
    /// A hub has it open.
    #[error("the log in `{}` is in use by a hub: stop it, then repair", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// The system refused.
    #[error("could not {doing} `{}`", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl OfflineError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}

/// What the file `FORMAT` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// This version.
    Version(u32),
    /// There is no such file.
    Missing,
    /// It says something else.
    Unreadable,
}

/// A whole block, and where it lies.
#[derive(Clone, Copy, Debug)]
pub struct BlockAt<'a> {
    /// The segment's number.
    pub segment: u64,
    /// Where in it the block begins.
    pub offset: u64,
    /// The local sequence of its first event.
    pub first: u64,
    /// The home at which it entered the stream (0: written before homes were
    /// named), and that home's sequence of its first event.
    pub name: (u32, u64),
    /// The block.
    pub block: Block<'a>,
}

impl BlockAt<'_> {
    /// The local sequence after its last event's.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.first.saturating_add(self.block.event_count().into())
    }
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It holds blocks, or may take some.
    Used,
    /// It was made ahead of need and is empty.
    Spare,
    /// It holds blocks that were never synced, of which so many bytes follow a
    /// place where one is missing: the next start cuts them off.
    Torn {
        /// Bytes that will be cut.
        bytes: u64,
    },
    /// Nothing in it can be placed.
    Unusable,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its number: the file is `NNNNNNNNNN.seg`.
    pub number: u64,
    /// The file's size.
    pub file_bytes: u64,
    /// Up to here it is used, header included.
    pub used_bytes: u64,
    /// The version in its header; none when the header is not whole.
    pub version: Option<u32>,
    /// It is encrypted, with the key of this id; 0 when its salt is damaged.
    pub key: Option<u64>,
    /// When it took its first block.
    pub created: Option<UnixNanos>,
    /// The local sequence of its first event.
    pub base: u64,
    /// The local sequence after its last event's.
    pub next: u64,
    /// Whole blocks.
    pub blocks: u64,
    /// Whole events.
    pub events: u64,
    /// The oldest and the newest time of ingest; none without blocks.
    pub times: Option<(UnixNanos, UnixNanos)>,
    /// Up to here its newest mark says that it was synced.
    pub marked_bytes: Option<u64>,
    /// What became of it.
    pub state: State,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The header of a segment: its blocks are not affected.
    Header,
    /// A range of a segment in which no whole block is.
    Blocks,
    /// Events that should follow the segment's last block are in no segment.
    Missing,
    /// A whole segment.
    Segment,
    /// The file beside a segment, which is made anew when it is missing.
    Side,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub kind: Kind,
    /// The segment's number.
    pub segment: u64,
    /// Where in it.
    pub offset: u64,
    /// Where the next whole block begins, or the damage ends.
    pub end: u64,
    /// The first local sequence that is lost.
    pub first: u64,
    /// The first one after it that is not, where that is known.
    pub next: Option<u64>,
    /// What is wrong there.
    pub clause: String,
    /// A repair has put a copy of it, as it is now, into quarantine: it is
    /// known and given up.
    pub noted: bool,
    /// Of each home, the next sequence expected before it.
    before: Vec<(u32, u64)>,
    /// Of each home, the first sequence after it, where one is.
    after: Vec<(u32, u64)>,
}

impl Finding {
    /// Events lost; none when it is not known.
    #[must_use]
    pub fn events(&self) -> Option<u64> {
        self.next.map(|next| next.saturating_sub(self.first))
    }
}

impl Finding {
    /// A range that is repaired while a hub has the log open.
    pub(crate) fn of_hole(hole: &crate::mend::Hole) -> Self {
        let crate::mend::Hole { segment, offset, end, first, next, clause, .. } = hole.clone();
        let (kind, next, noted, before, after) = (Kind::Blocks, Some(next), false, Vec::new(), Vec::new());
        Self { kind, segment, offset, end, first, next, clause, noted, before, after }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { segment, offset, first, clause, .. } = self;
        write!(f, "{} byte {offset}: {clause}", crate::format::segment_name(*segment))?;
        match (self.kind, self.next) {
            (Kind::Header | Kind::Side, _) => write!(f, "; its events are not affected"),
            (_, Some(next)) => write!(f, "; sequences {first} to {next} (exclusive) are lost"),
            (Kind::Segment, None) => write!(f, "; how many events it held is not known"),
            (_, None) => write!(f, "; sequences from {first} on are lost"),
        }
    }
}

/// A log as [`survey`] found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// What the file `FORMAT` says.
    pub format: Format,
    /// Its segments, the oldest first.
    pub segments: Vec<SegmentReport>,
    /// The first local sequence.
    pub first: u64,
    /// The local sequence that the next event gets.
    pub next: u64,
    /// Whole events.
    pub events: u64,
    /// Whole blocks.
    pub blocks: u64,
    /// Of each home, the next sequence: the log's position. By home.
    pub position: Vec<(u32, u64)>,
    /// Blocks that break the order of their home: told twice, or out of turn.
    pub out_of_order: u64,
    /// What is wrong, in order; the first [`MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// How many findings there are.
    pub finding_count: u64,
}

impl Survey {
    /// Whether nothing is wrong but what is in quarantine already.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let noted = self.findings.iter().filter(|f| f.noted).count() as u64;
        matches!(self.format, Format::Version(_)) && self.finding_count == noted && self.out_of_order == 0
    }
}

/// Whether a folder looks like a log's: it holds `FORMAT` or a segment.
///
/// # Errors
/// The folder cannot be listed.
pub fn is_log(fs: &dyn Fs, dir: &Path) -> Result<bool, OfflineError> {
    let names = fs.list(dir).map_err(OfflineError::io("list", dir))?;
    Ok(names.iter().any(|name| name == crate::format::FORMAT_FILE || crate::format::segment_number(name).is_some()))
}
