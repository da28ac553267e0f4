//! Why a log could not be opened, appended to, synced or read. One enum per
//! operation; each variant's text names the thing and what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::crypt::named;

/// Why a log was not opened. Nothing was changed on disk, except where
/// [`OpenError::Io`] came up during the repair of a torn tail, which the next
/// opening takes up again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The options contradict each other.
    #[error("the log's options cannot work: {what}")]
    BadOptions {
        /// Which, and what to change.
        what: String,
    },
    /// A newer Weft wrote it.
    #[error("`{}` has format version {found}, and this program knows versions up to {supported}: use the newer program", path.display())]
    NewerVersion {
        /// The file that says so.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version known here.
        supported: u32,
    },
    /// A segment is encrypted with a key that was not given.
    #[error("`{}` is encrypted with {}, which is not among those given (of the ids {given}): add that key to the hub's `storage.key_file` or `storage.key_env` (behind the one to write with), or give it with --key-file", path.display(), named(*id))]
    NoKey {
        /// The segment's file.
        path: PathBuf,
        /// The key's id; 0 when its salt is damaged.
        id: u64,
        /// The ids of those that were given.
        given: String,
    },
    /// Somebody has it open.
    #[error("the log in `{}` is in use by another hub: stop it, or choose another folder", dir.display())]
    InUse {
        /// The log's folder.
        dir: PathBuf,
    },
    /// Segments without the file that says what they are.
    #[error("`{}` holds segments but no file `FORMAT`: put the file back (`weft-log 1`), or choose another folder", dir.display())]
    NotALog {
        /// The folder.
        dir: PathBuf,
    },
    /// The file `FORMAT` says something else.
    #[error("`{}` does not say `weft-log` and a version: put it right (`weft-log 1`), or choose another folder", path.display())]
    BadFormat {
        /// The file.
        path: PathBuf,
    },
    /// The system refused. For a segment that cannot be read: move it away and
    /// the log opens without its events, which it then reports as damage.
    #[error("could not {doing} `{}`", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    /// Names what was tried with which file, for `map_err`.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}

/// Why a block was not appended. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// No space for another segment. Reads go on; appending works again once
    /// there is space. Tried again at most every 100 ms.
    #[error("the disk has no room for a segment of {need} bytes in `{}`: free some space, or lower the stream's retention", dir.display())]
    DiskFull {
        /// The log's folder.
        dir: PathBuf,
        /// Bytes needed.
        need: u64,
    },
    /// A write or a sync failed, so what is on disk is not known: see [`SyncError::Failed`].
    #[error(
        "the log takes no more since the disk failed ({why}): check the disk, then close the log and open it again"
    )]
    Poisoned {
        /// The sync's error.
        why: String,
    },
    /// The system refused to make a segment.
    #[error("could not make a segment in `{}`", dir.display())]
    Io {
        /// The log's folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The block is larger than the log takes.
    #[error("the block has {len} bytes, and this log takes at most {limit}: send smaller batches, or raise the limit")]
    TooLarge {
        /// The block's length.
        len: usize,
        /// The largest taken: `LogOptions::max_block`.
        limit: usize,
    },
    /// A copy from another home of what is there already. Copies of what comes
    /// later are taken.
    #[error("sequence {sequence} of home {home:x} is here already, {next} or later is next: go on there")]
    AlreadyThere {
        /// The home's tag.
        home: u32,
        /// The home sequence of the copy.
        sequence: u64,
        /// The one that is next.
        next: u64,
    },
    /// A copy without a home, or from the end of all sequences.
    #[error("a copy cannot come from home {home:x} with sequence {sequence}: both count from 1")]
    NoHome {
        /// The home's tag.
        home: u32,
        /// The home sequence of the copy.
        sequence: u64,
    },
    /// The log holds events of too many homes.
    #[error("the log holds events of {limit} homes, and home {home:x} is one more: copy the stream to a new one")]
    TooManyHomes {
        /// The home's tag.
        home: u32,
        /// The most homes.
        limit: usize,
    },
    /// The flags of an atomic batch's blocks do not fit together.
    #[error(
        "the blocks are no atomic batch ({clause}): all but the last bear the flag BATCH_OPEN, the last BATCH_LAST"
    )]
    BadBatch {
        /// What is wrong.
        clause: &'static str,
    },
    /// An atomic batch that fits in no segment.
    #[error(
        "the batch has {len} bytes, and a segment of this log holds {limit}: send smaller batches, or make a stream with larger segments"
    )]
    BatchTooLarge {
        /// All blocks' length.
        len: usize,
        /// What a segment holds.
        limit: usize,
    },
    /// The bytes are no stamped block of that length.
    #[error("{len} bytes are not a stamped block ({clause}): validate and stamp blocks where they enter")]
    NotABlock {
        /// How many bytes were given.
        len: usize,
        /// What is wrong.
        clause: String,
    },
}

/// Why nothing is reported as synced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// The system could not write. After that it may take the lost pages for
    /// written, so a second sync that succeeds proves nothing: this log syncs
    /// and appends no more. Opening it again writes what is in doubt anew.
    #[error("segment {segment} could not be synced: check the disk, then close the log and open it again")]
    Failed {
        /// The segment's number.
        segment: u64,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier write or sync failed.
    #[error("nothing is synced since the disk failed ({why}): check the disk, then close the log and open it again")]
    Poisoned {
        /// That sync's error.
        why: String,
    },
    /// The log was closed.
    #[error("the log was closed")]
    Closed,
}

/// Why a segment was not compacted. It is as it was.
#[derive(Debug, thiserror::Error)]
#[error("segment {segment} could not be compacted: check the disk and its free space; the next pass tries again")]
pub struct CompactError {
    /// The segment's number.
    pub segment: u64,
    /// What the system said.
    pub source: io::Error,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// What is there is not what was written. The events from the one asked
    /// for to `resume` are lost; go on reading at `resume`.
    #[error(
        "segment {segment} is damaged at byte {offset} ({clause}): sequences {from} to {resume} (exclusive) are lost"
    )]
    Damaged {
        /// The segment's number: its file is `NNNNNNNNNN.seg`.
        segment: u64,
        /// Where the damaged block begins in it.
        offset: u64,
        /// What is wrong there.
        clause: String,
        /// The first sequence lost.
        from: u64,
        /// The first sequence after the damage.
        resume: u64,
    },
    /// Retention removed it.
    #[error("the log begins at sequence {first}: read from there")]
    Gone {
        /// The first sequence there is.
        first: u64,
    },
    /// The disk cannot read it.
    #[error("segment {segment} cannot be read from byte {offset}: check the disk")]
    Io {
        /// The segment's number.
        segment: u64,
        /// Where reading began.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
}
