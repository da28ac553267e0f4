//! The faulty twin of the file system: all in memory, from a seed, and with
//! everything that a disk does to a log.
//!
//! Each file has three contents: what programs see (the system's memory), what
//! the system *believes* to be on the disk, and what is on the disk. A sync
//! brings the pages where the first two differ to the disk; one that fails
//! makes the system believe it did, as Linux does, so that the next one does
//! nothing for them. Names have two: what programs see and what is on disk.
//!
//! [`FaultFs::after_crash`] is the machine after the power failed: of what was
//! not on the disk, each page was written, or not, or some of its sectors were;
//! each name likewise. [`FaultFs::after_kill`] is the machine after the process
//! was killed: the system's memory is still there. Both leave the original as
//! it is, so that one state can be crashed with many seeds.
//!
//! Each operation counts, and [`FaultFs::stop_at`] cuts the power before the
//! one with a given number: a test goes through all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::ops::DerefMut;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use weft_base::sync::Mutex;
use weft_base::{ManualClock, Random};

use crate::fs::{Fs, Lock, SegmentFile};
use crate::mmap::{HEAD, Map, MapWriter};
use crate::shared::locked;

/// What the system writes at once.
pub const PAGE: usize = 4096;
/// What the disk writes at once.
pub const SECTOR: usize = 512;

/// What programs see of a file.
enum Content {
    Bytes(Vec<u8>),
    Mapped(Arc<Map>),
}

struct FileState {
    seen: Content,
    believed: Vec<u8>,
    disk: Vec<u8>,
    /// Its size reached the disk.
    has_size: bool,
}

impl FileState {
    fn len(&self) -> usize {
        match &self.seen {
            Content::Bytes(bytes) => bytes.len(),
            Content::Mapped(map) => map.len(),
        }
    }

    /// A copy of what programs see of a range. Of a mapping that somebody
    /// writes to, what is beyond the published position reads as zeros.
    fn seen(&self, range: Range<usize>) -> Vec<u8> {
        let map = match &self.seen {
            Content::Bytes(bytes) => return bytes.get(range).unwrap_or_default().to_vec(),
            Content::Mapped(map) => map,
        };
        let mut copy = Vec::with_capacity(map.len());
        for word in 0..HEAD / 8 {
            copy.extend_from_slice(&map.head_load(word).to_le_bytes());
        }
        copy.extend_from_slice(map.read(HEAD..map.position().end).unwrap_or_default());
        if let Some(writer) = map.writer() {
            copy.extend_from_slice(writer.unpublished());
        }
        copy.resize(map.len(), 0);
        copy.get(range).unwrap_or_default().to_vec()
    }

    /// The pages of a range in which a program wrote since the system last
    /// believed them to be on disk.
    fn dirty(&self, seen: &[u8], range: Range<usize>) -> Vec<Range<usize>> {
        let first = range.start / PAGE * PAGE;
        let pages = (first..range.end).step_by(PAGE).map(|start| start..(start + PAGE).min(seen.len()));
        pages.filter(|page| seen.get(page.clone()) != self.believed.get(page.clone())).collect()
    }

    /// Brings the range's dirty pages to the disk, or to the belief that they
    /// are there.
    fn sync(&mut self, range: Range<usize>, really: bool) {
        let seen = self.seen(0..self.len());
        self.believed.resize(seen.len(), 0);
        self.disk.resize(seen.len(), 0);
        for page in self.dirty(&seen, range.start..range.end.min(seen.len())) {
            copy(&mut self.believed, &seen, page.clone());
            if really {
                copy(&mut self.disk, &seen, page);
            }
        }
        self.has_size |= really;
    }

    fn after_crash(&self, random: &mut Random) -> Vec<u8> {
        let seen = self.seen(0..self.len());
        let mut disk = self.disk.clone();
        if !self.has_size {
            if random.chance(500) {
                return Vec::new();
            }
            disk.resize(seen.len(), 0);
        }
        for page in self.dirty(&seen, 0..seen.len().min(disk.len())) {
            let fate = random.below(3);
            for start in page.clone().step_by(SECTOR) {
                if fate == 0 || (fate == 1 && random.chance(500)) {
                    copy(&mut disk, &seen, start..(start + SECTOR).min(page.end));
                }
            }
        }
        disk
    }
}

fn copy(to: &mut [u8], from: &[u8], range: Range<usize>) {
    if let (Some(to), Some(from)) = (to.get_mut(range.clone()), from.get(range)) {
        to.copy_from_slice(from);
    }
}

#[derive(Default)]
struct State {
    files: BTreeMap<u64, FileState>,
    next_file: u64,
    names: BTreeMap<PathBuf, u64>,
    names_on_disk: BTreeMap<PathBuf, u64>,
    dirs: BTreeSet<PathBuf>,
    capacity: Option<u64>,
    operations: u64,
    stop_at: Option<u64>,
    /// Syncs until one fails.
    fail_sync: Option<u32>,
    /// Why bytes cannot be written into segments.
    fail_writes: Option<io::ErrorKind>,
    lie: bool,
    slow: Option<(ManualClock, Duration)>,
    /// From this operation on nothing can be changed.
    read_only_at: Option<u64>,
}

impl State {
    /// Counts an operation; fails once the power is off.
    fn step(&mut self) -> io::Result<()> {
        if self.stop_at.is_some_and(|stop| self.operations >= stop) {
            return Err(io::Error::other("the power is off"));
        }
        self.operations += 1;
        if self.read_only_at.is_some_and(|at| self.operations > at) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(())
    }

    /// Whether bytes may be written into a segment: fails as [`State::step`]
    /// does, and counts nothing.
    fn writable(&self) -> io::Result<()> {
        if self.stop_at.is_some_and(|stop| self.operations >= stop) {
            return Err(io::Error::other("the power is off"));
        }
        if self.read_only_at.is_some_and(|at| self.operations > at) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.fail_writes.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn file(&mut self, path: &Path) -> io::Result<&mut FileState> {
        let file = self.names.get(path).and_then(|id| self.files.get_mut(id));
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn add(&mut self, path: &Path, file: FileState) -> u64 {
        self.next_file += 1;
        self.files.insert(self.next_file, file);
        self.names.insert(path.to_owned(), self.next_file);
        self.next_file
    }

    fn free(&self) -> u64 {
        let used = self.names.values().filter_map(|id| self.files.get(id)).map(|f| f.len() as u64).sum();
        self.capacity.unwrap_or(u64::MAX).saturating_sub(used)
    }

    fn sync(&mut self, id: u64, range: Range<usize>) -> io::Result<()> {
        self.step()?;
        if let Some((clock, time)) = &self.slow {
            clock.advance(*time);
        }
        let fails = self.fail_sync == Some(0);
        self.fail_sync = self.fail_sync.and_then(|left| left.checked_sub(1));
        let really = !fails && !self.lie;
        if let Some(file) = self.files.get_mut(&id) {
            file.sync(range, really);
        }
        if fails { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    /// The names that differ on disk each end up as they were or as they are.
    fn after_crash(&self, random: &mut Random) -> State {
        let mut after = State { dirs: self.dirs.clone(), capacity: self.capacity, ..State::default() };
        let paths: BTreeSet<_> = self.names.keys().chain(self.names_on_disk.keys()).collect();
        for path in paths {
            let (now, disk) = (self.names.get(path), self.names_on_disk.get(path));
            let id = if now == disk || random.chance(500) { now } else { disk };
            if let Some(file) = id.and_then(|id| self.files.get(id)) {
                let bytes = file.after_crash(random);
                after.add(path, FileState::on_disk(bytes));
            }
        }
        after.names_on_disk = after.names.clone();
        after
    }

    fn after_kill(&self) -> State {
        let mut after = State { dirs: self.dirs.clone(), capacity: self.capacity, ..State::default() };
        for (id, file) in &self.files {
            let seen = Content::Bytes(file.seen(0..file.len()));
            let (believed, disk) = (file.believed.clone(), file.disk.clone());
            after.files.insert(*id, FileState { seen, believed, disk, has_size: file.has_size });
        }
        after.next_file = self.next_file;
        after.names = self.names.clone();
        after.names_on_disk = self.names_on_disk.clone();
        after
    }
}

impl FileState {
    fn on_disk(bytes: Vec<u8>) -> Self {
        Self { seen: Content::Bytes(bytes.clone()), believed: bytes.clone(), disk: bytes, has_size: true }
    }
}

/// A file system in memory that fails as it is told. Clones are the same one.
#[derive(Clone, Default)]
pub struct FaultFs {
    state: Arc<Mutex<State>>,
    locks: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl std::fmt::Debug for FaultFs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FaultFs({} operations)", self.operations())
    }
}

impl FaultFs {
    /// An empty one without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> impl DerefMut<Target = State> + '_ {
        locked(&self.state)
    }

    fn of(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)), locks: Arc::default() }
    }

    /// The machine after the power failed now. Logs of this one that still
    /// exist lose what they appended but did not publish; drop them first.
    #[must_use]
    pub fn after_crash(&self, seed: u64) -> Self {
        Self::of(self.state().after_crash(&mut Random::from_seed(seed)))
    }

    /// The machine after the process was killed now.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        Self::of(self.state().after_kill())
    }

    /// How many operations there were.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Cuts the power before the operation of this number, counted from 0:
    /// that one and all after it do nothing and fail.
    pub fn stop_at(&self, operation: u64) {
        self.state().stop_at = Some(operation);
    }

    /// An operation of the test itself, for example between two appends, whose
    /// writes into a segment do not count: the machine sees them when they are
    /// synced, or when it pleases.
    ///
    /// # Errors
    /// The power is off.
    pub fn step(&self) -> io::Result<()> {
        self.state().step()
    }

    /// How many bytes all files together may have.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = Some(bytes);
    }

    /// After `count` more syncs of a file, one fails with EIO, and what it was
    /// to write is lost although the system believes otherwise.
    pub fn fail_sync(&self, count: u32) {
        self.state().fail_sync = Some(count);
    }

    /// From now on half of what is to be written into a segment is written, and
    /// then there is this error; or no more.
    pub fn fail_writes(&self, error: Option<io::ErrorKind>) {
        self.state().fail_writes = error;
    }

    /// From the operation of this number on the file system is read-only, as
    /// after an error of the disk: every change fails, and so do syncs, which
    /// then bring nothing to the disk. [`FaultFs::after_crash`] and
    /// [`FaultFs::after_kill`] are writable again.
    pub fn read_only_at(&self, operation: u64) {
        self.state().read_only_at = Some(operation);
    }

    /// From now on syncs say that all went well and write nothing: a checker
    /// of durability must notice.
    pub fn lie(&self) {
        self.state().lie = true;
    }

    /// From now on each sync takes so long on this clock.
    pub fn slow_syncs(&self, clock: ManualClock, time: Duration) {
        self.state().slow = Some((clock, time));
    }

    /// Flips a bit of a file, in memory and on disk. The file is not open.
    ///
    /// # Errors
    /// There is no such file, it is too short, or it is open.
    pub fn flip(&self, path: &Path, offset: usize, bit: u8) -> io::Result<()> {
        let mut state = self.state();
        let file = state.file(path)?;
        let Content::Bytes(seen) = &mut file.seen else { return Err(io::Error::other("the file is open")) };
        for bytes in [seen, &mut file.believed, &mut file.disk] {
            *bytes.get_mut(offset).ok_or(io::ErrorKind::UnexpectedEof)? ^= 1 << (bit & 7);
        }
        Ok(())
    }

    /// Puts a file there, on disk too.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        let id = state.add(path, FileState::on_disk(bytes));
        state.names_on_disk.insert(path.to_owned(), id);
        state.dirs.extend(path.ancestors().skip(1).map(Path::to_owned));
    }

    /// A file's bytes, as programs see them.
    ///
    /// # Errors
    /// There is no such file.
    pub fn get(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        let file = state.file(path)?;
        Ok(file.seen(0..file.len()))
    }
}

struct FaultSegment {
    fs: FaultFs,
    id: u64,
    map: Arc<Map>,
}

impl SegmentFile for FaultSegment {
    fn map(&self) -> &Arc<Map> {
        &self.map
    }

    fn write(&self, writer: &mut MapWriter, skip: usize, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let writable = self.fs.state().writable();
        let at = writer.room(&self.map, skip, parts).ok_or(io::ErrorKind::InvalidInput)?;
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let written = if writable.is_ok() { bytes.len() } else { bytes.len() / 2 };
        let end = at - writer.map().position().end + written;
        if let (Some(spare), Some(bytes)) = (writer.spare(end), bytes.get(..written)) {
            spare.get_mut(skip..).unwrap_or_default().copy_from_slice(bytes);
        }
        writable
    }

    fn sync(&self, range: Range<usize>) -> io::Result<()> {
        self.fs.state().sync(self.id, range)
    }
}

struct FaultLock {
    fs: FaultFs,
    path: PathBuf,
}

impl Lock for FaultLock {}

impl Drop for FaultLock {
    fn drop(&mut self) {
        locked(&self.fs.locks).remove(&self.path);
    }
}

/// Zeros in memory with these bytes at the front.
fn map_of(bytes: &[u8]) -> io::Result<Arc<Map>> {
    let map = Map::in_memory(bytes.len())?;
    for (at, word) in bytes.chunks_exact(8).take(HEAD / 8).enumerate() {
        map.head_store(at, word.first_chunk().map_or(0, |w| u64::from_le_bytes(*w)));
    }
    if let (Some(mut writer), Some(rest)) = (map.writer(), bytes.get(HEAD..map.len()))
        && let Some(spare) = writer.spare(rest.len())
    {
        spare.copy_from_slice(rest);
    }
    Ok(map)
}

impl Fs for FaultFs {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let names = state.names.keys().chain(&state.dirs).filter(|path| path.parent() == Some(dir));
        let names = names.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect();
        if state.dirs.contains(dir) { Ok(names) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        let file = state.file(path)?;
        Ok(file.seen(0..limit.min(file.len())))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        // As the real one does it: a temporary file, its sync, the rename, the
        // folder's sync. The power may go at each.
        let temporary = path.with_extension("new");
        let mut state = self.state();
        state.step()?;
        if state.free() < bytes.len() as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let seen = Content::Bytes(bytes.to_vec());
        let empty = || vec![0; bytes.len()];
        let id = state.add(&temporary, FileState { seen, believed: empty(), disk: empty(), has_size: false });
        state.sync(id, 0..bytes.len())?;
        state.step()?;
        state.names.remove(&temporary);
        state.names.insert(path.to_owned(), id);
        drop(state);
        self.sync_dir(path.parent().unwrap_or(Path::new("")))
    }

    fn write_lossy(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        if state.free() < bytes.len() as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let seen = Content::Bytes(bytes.to_vec());
        let empty = || vec![0; bytes.len()];
        state.add(path, FileState { seen, believed: empty(), disk: empty(), has_size: false });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let id = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let mut state = self.state();
        state.step()?;
        let file = state.file(path)?;
        let mut seen = file.seen(0..file.len());
        seen.truncate(len);
        file.believed.truncate(len);
        file.disk.truncate(len);
        file.seen = Content::Bytes(seen);
        Ok(())
    }

    fn create(&self, path: &Path, len: u64) -> io::Result<Box<dyn SegmentFile>> {
        let mut state = self.state();
        state.step()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if state.free() < len {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let map = Map::in_memory(len)?;
        let seen = Content::Mapped(Arc::clone(&map));
        let id = state.add(path, FileState { seen, believed: vec![0; len], disk: vec![0; len], has_size: false });
        state.step()?;
        if let Some(file) = state.files.get_mut(&id) {
            file.has_size = true;
        }
        Ok(Box::new(FaultSegment { fs: self.clone(), id, map }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let mut state = self.state();
        let file = state.file(path)?;
        if file.len() <= HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let map = map_of(&file.seen(0..file.len()))?;
        file.seen = Content::Mapped(Arc::clone(&map));
        let id = state.names.get(path).copied().unwrap_or_default();
        Ok(Box::new(FaultSegment { fs: self.clone(), id, map }))
    }

    fn zero(&self, path: &Path, range: Range<u64>) -> io::Result<()> {
        let range = range.start as usize..range.end as usize;
        let mut state = self.state();
        state.step()?;
        let file = state.file(path)?;
        if let Content::Mapped(map) = &file.seen
            && let Some(mut writer) = map.writer()
        {
            let at = map.position().end;
            let bytes = writer.spare(map.len() - at).unwrap_or_default();
            let part = bytes.get_mut(range.start.saturating_sub(at)..range.end.saturating_sub(at));
            part.ok_or(io::ErrorKind::InvalidInput)?.fill(0);
        }
        let id = state.names.get(path).copied().unwrap_or_default();
        state.sync(id, range)
    }

    fn rewrite(&self, path: &Path, range: Range<u64>) -> io::Result<()> {
        let range = range.start as usize..range.end as usize;
        let mut state = self.state();
        state.step()?;
        let file = state.file(path)?;
        // What is written is dirty, whatever the system believed of it.
        let pages = range.start / PAGE * PAGE..range.end.next_multiple_of(PAGE).min(file.believed.len());
        file.believed.get_mut(pages).unwrap_or_default().fill(0xa5);
        let id = state.names.get(path).copied().unwrap_or_default();
        state.sync(id, range)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        if state.names.keys().chain(&state.dirs).any(|inner| inner.parent() == Some(path)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        if state.names.remove(path).is_some() || state.dirs.remove(path) {
            return Ok(());
        }
        Err(io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let State { names, names_on_disk, .. } = &mut *state;
        names_on_disk.retain(|path, _| path.parent() != Some(dir) || names.contains_key(path));
        let here = names.iter().filter(|(path, _)| path.parent() == Some(dir));
        names_on_disk.extend(here.map(|(path, id)| (path.clone(), *id)));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut state = self.state();
        state.step()?;
        if !locked(&self.locks).insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if !state.names.contains_key(path) {
            state.add(path, FileState::on_disk(Vec::new()));
        }
        Ok(Box::new(FaultLock { fs: self.clone(), path: path.to_owned() }))
    }
}
