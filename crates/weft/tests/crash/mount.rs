//! [`Disk`] as a file system of the machine, through FUSE.
//!
//! The kernel's page cache lies above it: what programs write into mappings
//! reaches the disk when the kernel writes it back, at the latest with a sync,
//! and what is still in the cache when the power is cut is lost with it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::disk::{Content, Disk};

/// How long the kernel may believe what it was told: nobody else changes it.
const BELIEVE: Duration = Duration::from_secs(60);
const BLOCK: u64 = 4096;

/// A disk, mounted or not. The disk outlives its mounts.
pub(crate) struct LazyDisk {
    pub(crate) path: PathBuf,
    disk: Arc<Mutex<Disk>>,
    session: Option<BackgroundSession>,
}

impl LazyDisk {
    /// Mounts an empty disk on this folder, which is made.
    pub(crate) fn mount(path: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let mut disk = Self { path: path.to_owned(), disk: Arc::new(Mutex::new(Disk::new())), session: None };
        disk.attach()?;
        Ok(disk)
    }

    /// Whether this machine can: it has the device, and lets us mount.
    pub(crate) fn is_possible() -> Result<(), String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        Self::mount(&folder.path().join("probe")).map(|_| ()).map_err(|e| format!("no FUSE here: {e}"))
    }

    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attach(&mut self) -> std::io::Result<()> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("weft-lazy".to_owned()), MountOption::NoAtime];
        config.n_threads = Some(4);
        self.session = Some(fuser::spawn_mount(Server(self.disk.clone()), &self.path, &config)?);
        Ok(())
    }

    /// The machine after the power came back: what was not synced is gone, and
    /// the kernel remembers nothing. Nobody has a file of it open.
    pub(crate) fn restart(&mut self, seed: u64) -> std::io::Result<()> {
        if let Some(session) = self.session.take() {
            match session.umount_and_join() {
                // A server's thread was told of the end while it waited.
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionAborted => {}
                ended => ended?,
            }
        }
        self.disk().restart(seed);
        self.attach()
    }
}

impl Drop for LazyDisk {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}

struct Server(Arc<Mutex<Disk>>);

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_i32(error.raw_os_error())
}

fn attributes(disk: &Disk, id: u64) -> Result<FileAttr, rustix::io::Errno> {
    let node = disk.node(id)?;
    let (kind, nlink) = match node.content {
        Content::Folder { .. } => (FileType::Directory, 2),
        Content::File { .. } => (FileType::RegularFile, 1),
    };
    let size = node.len();
    Ok(FileAttr {
        ino: INodeNo(id),
        size,
        blocks: size.div_ceil(512),
        atime: node.changed,
        mtime: node.changed,
        ctime: node.changed,
        crtime: node.changed,
        kind,
        perm: node.mode,
        nlink,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK as u32,
        flags: 0,
    })
}

impl Server {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, reply: ReplyEntry, look: impl FnOnce(&mut Disk) -> Result<u64, rustix::io::Errno>) {
        let mut disk = self.disk();
        match look(&mut disk).and_then(|id| attributes(&disk, id)) {
            Ok(attr) => reply.entry(&BELIEVE, &attr, Generation(0)),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn empty(&self, reply: ReplyEmpty, work: impl FnOnce(&mut Disk) -> Result<(), rustix::io::Errno>) {
        match work(&mut self.disk()) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn sync(&self, id: INodeNo, reply: ReplyEmpty) {
        let slow = self.disk().faults.slow;
        if !slow.is_zero() {
            std::thread::sleep(slow);
        }
        self.empty(reply, |disk| disk.sync(id.0));
    }
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(reply, |disk| disk.look_up(parent.0, name));
    }

    fn getattr(&self, _: &Request, id: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match attributes(&self.disk(), id.0) {
            Ok(attr) => reply.attr(&BELIEVE, &attr),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        id: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut disk = self.disk();
        let resized = size.map_or(Ok(()), |size| disk.resize(id.0, size as usize, false));
        match resized.and_then(|()| attributes(&disk, id.0)) {
            Ok(attr) => reply.attr(&BELIEVE, &attr),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        self.entry(reply, |disk| disk.make(parent.0, name, true, mode));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.empty(reply, |disk| disk.remove(parent.0, name));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.empty(reply, |disk| disk.remove(parent.0, name));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.empty(reply, |disk| disk.rename((parent.0, name), (new_parent.0, new_name)));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, _: i32, reply: ReplyCreate) {
        let mut disk = self.disk();
        match disk.make(parent.0, name, false, mode).and_then(|id| attributes(&disk, id)) {
            Ok(attr) => {
                reply.created(&BELIEVE, &attr, Generation(0), FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
            }
            Err(error) => reply.error(errno(error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        id: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.disk().read(id.0, offset as usize, size as usize) {
            Ok(bytes) => reply.data(bytes),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn write(
        &self,
        _: &Request,
        id: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.disk().write(id.0, offset as usize, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, id: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(id, reply);
    }

    fn fsyncdir(&self, _: &Request, id: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(id, reply);
    }

    fn fallocate(
        &self,
        _: &Request,
        id: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            reply.error(Errno::EOPNOTSUPP);
            return;
        }
        self.empty(reply, |disk| disk.resize(id.0, (offset + length) as usize, true));
    }

    fn readdir(&self, _: &Request, id: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let disk = self.disk();
        let names = match disk.list(id.0) {
            Ok(names) => names,
            Err(error) => return reply.error(errno(error)),
        };
        let dots = [(".".into(), id.0), ("..".into(), id.0)];
        for (at, (name, node)) in dots.into_iter().chain(names).enumerate().skip(offset as usize) {
            let kind = match disk.node(node).map(|n| &n.content) {
                Ok(Content::File { .. }) => FileType::RegularFile,
                _ => FileType::Directory,
            };
            if reply.add(INodeNo(node), at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let disk = self.disk();
        let capacity = disk.faults.capacity.unwrap_or(1 << 40);
        let free = capacity.saturating_sub(disk.used()) / BLOCK;
        reply.statfs(capacity / BLOCK, free, free, 1 << 20, 1 << 20, BLOCK as u32, 255, BLOCK as u32);
    }
}
