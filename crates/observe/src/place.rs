//! Where a hub's file of counters lies, and how it is made and found.
//!
//! It is best on a file system in memory (`/dev/shm`), with a link to it in the
//! data folder. A mapped file on a disk is written back by the system now and
//! then, and a store to a page that is just being written, or whose file system
//! must note the change in its journal first, waits for the disk: a counter
//! would then cost a stage milliseconds. (Java's `hsperfdata` is the known case.)
//!
//! A hub leaves its file when it ends or is killed, so that it can be read. The
//! next start of the same data folder removes it, and any hub of the same user that
//! starts removes those of hubs that are gone with their data folder: whose file
//! nobody holds a lock on and no link leads to. So what tests leave behind does not
//! fill the memory. After a restart of the machine all are gone.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation, OFlags, fallocate, flock, fstatfs};
use rustix::io::Errno;

use crate::layout::{HEADER, MAGIC, MAX_LINK, word};

/// The name of the file, or of the link to it, in a hub's data folder.
pub const FILE: &str = "counters.weftstat";
/// How the names of all such files end.
pub const ENDING: &str = ".weftstat";

/// What `statfs` calls tmpfs: `TMPFS_MAGIC` of linux/magic.h.
const TMPFS: u64 = 0x0102_1994;
/// The most that is read of `/proc/PID/maps`.
const MAX_MAPS: u64 = 16 << 20;
/// The most names of the folder in memory that are looked at at a start.
const MAX_SWEPT: usize = 4_096;

/// A file that was made.
pub(crate) struct Made {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// Whether that is in memory.
    pub(crate) in_memory: bool,
    /// Holds the lock that says that it is in use.
    pub(crate) file: File,
}

/// A new file under its final name, in the folder in memory if that is one.
///
/// What lay under the name before is replaced at once and whole, so readers of the
/// old file go on with that.
///
/// # Errors
/// The system's: no right, no space. Nothing is left behind then.
pub(crate) fn make(
    folder: &Path,
    memory: Option<&Path>,
    name: &str,
    bytes: u64,
    fill: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<Made> {
    let link = folder.join(FILE);
    let aside = folder.join(format!("{FILE}.new"));
    remove_old(&link, memory);
    remove(&aside)?;
    if let Some(memory) = memory {
        let path = memory.join(format!("weft-{name}{ENDING}"));
        if let Ok(file) = open_new(&path) {
            if is_in_memory(&file) && reserve(&file, bytes).is_ok() {
                let made = fill(&file)
                    .and_then(|()| std::os::unix::fs::symlink(&path, &aside))
                    .and_then(|()| fs::rename(&aside, &link));
                sweep(memory, &file);
                return match made {
                    Ok(()) => Ok(Made { path, in_memory: true, file }),
                    Err(error) => {
                        let _ = fs::remove_file(&path);
                        Err(error)
                    }
                };
            }
            // Full, or not what it was taken for: the data folder instead.
            let _ = fs::remove_file(&path);
        }
    }
    let file = open_new(&aside)?;
    let made = reserve(&file, bytes).and_then(|()| fill(&file)).and_then(|()| fs::rename(&aside, &link));
    match made {
        Ok(()) => Ok(Made { path: link, in_memory: is_in_memory(&file), file }),
        Err(error) => {
            let _ = fs::remove_file(&aside);
            Err(error)
        }
    }
}

/// Only its user may read it: topics and peers have names in it.
fn open_new(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    // Nobody else has it yet. A file system without locks is none in memory, and not swept.
    let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
    Ok(file)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes what the last start left in memory: only what our link names, what
/// lies right in that folder, and has a name of ours.
fn remove_old(link: &Path, memory: Option<&Path>) {
    let (Some(memory), Ok(old)) = (memory, fs::read_link(link)) else { return };
    if is_ours(&old) && old.parent() == Some(memory) {
        // Of another user, it stays.
        let _ = fs::remove_file(&old);
    }
}

fn is_ours(path: &Path) -> bool {
    path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("weft-") && n.ends_with(ENDING))
}

/// Removes files of this user in the folder in memory that no process has in use
/// and no data folder links to. Whatever cannot be told is left alone.
fn sweep(memory: &Path, own: &File) {
    let (Ok(user), Ok(entries)) = (own.metadata().map(|own| own.uid()), fs::read_dir(memory)) else { return };
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits()).unwrap_or(0);
    for path in entries.take(MAX_SWEPT).flatten().map(|entry| entry.path()).filter(|path| is_ours(path)) {
        let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(&path) else { continue };
        let is_mine = file.metadata().is_ok_and(|is| is.is_file() && is.uid() == user);
        // First who it is of, then the lock: who has written that has the lock.
        let Some(link) = link_of(&file).filter(|_| is_mine) else { continue };
        let is_left = fs::read_link(&link).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
            || fs::read_link(&link).is_ok_and(|target| target != path);
        if is_left && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_file(&path);
        }
    }
}

/// The link that a file says leads to it.
fn link_of(file: &File) -> Option<PathBuf> {
    let mut head = [0; HEADER * 8];
    file.read_exact_at(&mut head, 0).ok()?;
    let bytes = |at: usize, len: usize| head.get(at * 8..at * 8 + len);
    let number = |at: usize| Some(u64::from_ne_bytes(bytes(at, 8)?.try_into().ok()?));
    let len = usize::try_from(number(word::LINK_BYTES)?).ok().filter(|len| (1..=MAX_LINK).contains(len))?;
    (number(word::MAGIC)? == MAGIC).then_some(())?;
    Some(PathBuf::from(OsStr::from_bytes(bytes(word::LINK, len)?)))
}

fn is_in_memory(file: &File) -> bool {
    fstatfs(file).is_ok_and(|is| is.f_type as u64 == TMPFS)
}

/// Makes the file so long, with its space taken: a store to a page that has none
/// on a full disk would end the process.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(file, bytes),
        Err(error) => Err(error.into()),
    }
}

/// The same on a file system that cannot be asked for space.
fn write_zeros(mut file: &File, bytes: u64) -> io::Result<()> {
    let zeros = [0; 4096];
    let mut left = bytes;
    while left > 0 {
        let part = left.min(zeros.len() as u64);
        file.write_all(zeros.get(..part as usize).unwrap_or_default())?;
        left -= part;
    }
    file.sync_data()
}

/// The file of counters that a process has mapped: of that user, or asked by root.
///
/// # Errors
/// There is no such process, it may not be asked, or it has none.
pub fn file_of(process: u32) -> io::Result<PathBuf> {
    let mut maps = String::new();
    File::open(format!("/proc/{process}/maps"))?.take(MAX_MAPS).read_to_string(&mut maps)?;
    // A file that was removed or replaced has another ending there: " (deleted)".
    let Some(path) = maps.lines().find_map(mapped_path) else {
        let why = format!("the process {process} has no file of counters: is it a hub, and are they switched on?");
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    };
    // As the process sees it, which may be in a container; else as we do.
    let inside = PathBuf::from(format!("/proc/{process}/root{path}"));
    Ok(if inside.exists() { inside } else { PathBuf::from(path) })
}

/// The path at the end of a line of `/proc/PID/maps`, if it is one of ours.
fn mapped_path(line: &str) -> Option<&str> {
    let path = line.get(line.find('/')?..)?;
    path.ends_with(ENDING).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_maps_names_its_file() {
        let line = "7f00-7f10 rw-s 00000000 00:1a 77                         /dev/shm/weft-a b.weftstat";
        assert_eq!(mapped_path(line), Some("/dev/shm/weft-a b.weftstat"));
        assert_eq!(mapped_path("7f00-7f10 rw-s 00000000 00:1a 77  /lib/x.so"), None);
        assert_eq!(mapped_path("7f00-7f10 rw-p 00000000 00:00 0 "), None);
        assert_eq!(mapped_path(&format!("{line} (deleted)")), None, "it was replaced");
    }

    #[test]
    fn where_space_cannot_be_asked_for_it_is_written_and_a_full_disk_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        write_zeros(&file, 10_000).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 10_000);
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        assert_eq!(write_zeros(&full, 8192).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn only_what_our_link_names_in_that_folder_is_removed() {
        let (data, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let link = data.path().join(FILE);
        let try_one = |target: PathBuf| {
            fs::write(&target, "x").unwrap();
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(&target, &link).unwrap();
            remove_old(&link, Some(memory.path()));
            target.exists()
        };
        assert!(!try_one(memory.path().join("weft-a.weftstat")));
        assert!(try_one(memory.path().join("other.weftstat")));
        assert!(try_one(memory.path().join("weft-a.txt")));
        assert!(try_one(data.path().join("weft-a.weftstat")), "in another folder");
    }
}
