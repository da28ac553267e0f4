//! What a log asks of a file system, and the real one. The faulty twin is
//! [`crate::fault::FaultFs`].

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use rustix::io::{Errno, pwritev};

use crate::mmap::{Map, MapWriter};

/// A segment's file, mapped.
pub trait SegmentFile: Send + Sync {
    /// Its bytes.
    fn map(&self) -> &Arc<Map>;

    /// Writes `parts`, one behind the other, into what `writer` has not
    /// published, `skip` bytes behind the published position. Once this has
    /// returned they are in the mapping too.
    ///
    /// # Errors
    /// The system's, and `InvalidInput` when they do not fit or the writer is
    /// of another file. Some of it may have been written.
    fn write(&self, writer: &mut MapWriter, skip: usize, parts: &mut [IoSlice<'_>]) -> io::Result<()>;

    /// Returns when the range is on the disk as it is in memory now. Callers
    /// keep the range below the published position, or within the header.
    ///
    /// # Errors
    /// The range may or may not be on the disk, and a later success says
    /// nothing about it.
    fn sync(&self, range: Range<usize>) -> io::Result<()>;
}

/// Holds a lock until it is dropped.
pub trait Lock: Send + Sync {}

/// The file system as a log sees it. Every change but those of a segment's
/// bytes is one method here, so that a test can stop at each.
pub trait Fs: Send + Sync {
    /// Makes a folder and those above it, durably. It may exist.
    ///
    /// # Errors
    /// The system's.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names of the files and folders in a folder, in any order.
    ///
    /// # Errors
    /// The system's; `NotFound` when there is no such folder.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// The first `limit` bytes of a file.
    ///
    /// # Errors
    /// The system's; `NotFound` when there is no such file.
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>>;

    /// Makes or replaces a small file: afterwards, and after a crash at any
    /// time, it holds all of the old content or all of the new. Durable.
    ///
    /// # Errors
    /// The system's; the file is then as it was.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Makes or replaces a small file that may be lost: after a crash it may be
    /// as it was, as it is to be, neither, or not there.
    ///
    /// # Errors
    /// The system's; the file is then as it was.
    fn write_lossy(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Gives a file another name, in place of the file that has it. Those who
    /// have that one open go on with it. Durable after [`Fs::sync_dir`]; until
    /// then a crash leaves one of the two under the name.
    ///
    /// # Errors
    /// The system's; nothing has changed then.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Cuts a segment's file to `len` bytes, durably. Nobody uses what is
    /// beyond.
    ///
    /// # Errors
    /// The system's.
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()>;

    /// Makes a segment of `len` zeros, whose space is taken at once, and maps
    /// it. The file's size is durable; its name is after [`Fs::sync_dir`].
    ///
    /// # Errors
    /// The system's, `StorageFull` when there is no room, and `AlreadyExists`;
    /// the file is then not there, or as it was.
    fn create(&self, path: &Path, len: u64) -> io::Result<Box<dyn SegmentFile>>;

    /// Maps a segment that is there.
    ///
    /// # Errors
    /// The system's, and `InvalidData` when it is too short to be one.
    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>>;

    /// Sets a range of a segment to zero, durably. The caller holds no
    /// reference into it.
    ///
    /// # Errors
    /// The system's; part of the range may then be zero.
    fn zero(&self, path: &Path, range: Range<u64>) -> io::Result<()>;

    /// Writes a range of a segment with the bytes it has, durably. Other than
    /// a sync, this does not believe that what was read from memory is on the
    /// disk: after a failed sync the system takes lost pages for written.
    ///
    /// # Errors
    /// The system's.
    fn rewrite(&self, path: &Path, range: Range<u64>) -> io::Result<()>;

    /// Removes a file or an empty folder. Durable after [`Fs::sync_dir`].
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the folder's names durable.
    ///
    /// # Errors
    /// The system's.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Locks a file against other processes, and other logs of this one. The
    /// file is made if it is not there.
    ///
    /// # Errors
    /// `WouldBlock` when somebody else has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
}

/// The machine's file system.
///
/// # Blocks are written by system calls, and read through the mapping
/// Both are the same pages of the system's cache, so a reader sees what was
/// written as soon as the call has returned. Writing through the mapping would
/// save the call and cost far more: a page fault for each page, in which the
/// system fills the page with zeros first and takes note in the file system's
/// journal, and again after each sync, which protects pages against writing
/// (about 2.5 s of processor time for a GB beside 0.25 s, ADR 11).
///
/// # Durability on Linux
/// [`SegmentFile::sync`] is `msync(MS_SYNC)` of the range. In the kernel that
/// is `fdatasync` limited to a range: it writes the range's dirty pages, waits
/// for them, and fails if any write of the file failed since the last call; it
/// commits the journal when metadata that is needed to read the data changed;
/// and it flushes the disk's write cache. `fallocate` took the space when the
/// segment was made and the size has been durable since, so the only metadata
/// that changes is an extent turning from unwritten to written, which the
/// journal commit covers.
///
/// Names are made durable by `fsync` of the folder.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

struct RealSegment {
    file: File,
    map: Arc<Map>,
}

impl SegmentFile for RealSegment {
    fn map(&self) -> &Arc<Map> {
        &self.map
    }

    fn write(&self, writer: &mut MapWriter, skip: usize, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut at = writer.room(&self.map, skip, parts).ok_or(io::ErrorKind::InvalidInput)? as u64;
        let mut rest = parts;
        while rest.iter().any(|part| !part.is_empty()) {
            match pwritev(&self.file, rest, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn sync(&self, range: Range<usize>) -> io::Result<()> {
        self.map.flush(range)
    }
}

/// The file, whose descriptor holds the lock.
struct RealLock(#[expect(dead_code, reason = "held for its drop, which unlocks")] File);

impl Lock for RealLock {}

/// What is written at once where the file system has no better way.
const CHUNK: usize = 64 << 10;

fn write_zeros(file: &File, range: Range<u64>) -> io::Result<()> {
    let zeros = vec![0; CHUNK];
    let mut at = range.start;
    while at < range.end {
        let len = (range.end - at).min(CHUNK as u64);
        file.write_all_at(zeros.get(..len as usize).unwrap_or_default(), at)?;
        at += len;
    }
    Ok(())
}

fn reserve(file: &File, len: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, len) {
        // Some file systems cannot; writing zeros takes the space as well.
        Err(Errno::OPNOTSUPP) => write_zeros(file, 0..len)?,
        other => other?,
    }
    file.sync_all()
}

impl Fs for RealFs {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let missing: Vec<_> = dir.ancestors().take_while(|d| !d.as_os_str().is_empty() && !d.is_dir()).collect();
        std::fs::create_dir_all(dir)?;
        for made in missing.iter().rev() {
            match made.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => self.sync_dir(parent)?,
                _ => self.sync_dir(Path::new("."))?,
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        // A name that is not UTF-8 is no name of ours.
        std::fs::read_dir(dir)?.filter_map(|e| e.map(|e| e.file_name().into_string().ok()).transpose()).collect()
    }

    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(limit as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |dir| self.sync_dir(dir))
    }

    fn write_lossy(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = path.with_extension("new");
        std::fs::write(&temporary, bytes)?;
        std::fs::rename(&temporary, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(len)?;
        file.sync_all()
    }

    fn create(&self, path: &Path, len: u64) -> io::Result<Box<dyn SegmentFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        match reserve(&file, len).and_then(|()| Map::of_file(&file)) {
            Ok(map) => Ok(Box::new(RealSegment { file, map })),
            Err(e) => {
                // The first error is the one to tell.
                let _ = std::fs::remove_file(path);
                Err(e)
            }
        }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let map = Map::of_file(&file)?;
        Ok(Box::new(RealSegment { file, map }))
    }

    fn zero(&self, path: &Path, range: Range<u64>) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        write_zeros(&file, range)?;
        file.sync_data()
    }

    fn rewrite(&self, path: &Path, range: Range<u64>) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut chunk = vec![0; CHUNK];
        let mut at = range.start;
        while at < range.end {
            let len = (range.end - at).min(CHUNK as u64);
            let part = chunk.get_mut(..len as usize).unwrap_or_default();
            file.read_exact_at(part, at)?;
            file.write_all_at(part, at)?;
            at += len;
        }
        file.sync_data()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() { std::fs::remove_dir(path) } else { std::fs::remove_file(path) }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(RealLock(file)))
    }
}
