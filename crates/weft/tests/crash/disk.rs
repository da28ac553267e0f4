//! A disk in memory that loses what was not synced, in the manner of LazyFS:
//! the state behind [`crate::mount`]'s file system, without the kernel's part.
//!
//! Each file has two contents: what was written to it, and what a sync brought
//! to the disk; each folder has two lists of names likewise, and remembers the
//! changes since its last sync in their order. When the power is cut, of each
//! page that was written and not synced nothing, everything, or some sectors
//! reached the disk, by a seed; of a folder's changes a beginning did. What the
//! kernel never handed over is lost in any case.
//!
//! Operations that change something are counted, and the power can be cut
//! before the one with a given number: in the middle of a sync, between a
//! rename and the folder's sync, and so on.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use weft_base::Random;

/// The root folder's number.
pub(crate) const ROOT: u64 = 1;
const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// What a folder's name is set to; none takes it away.
type Change = Vec<(OsString, Option<u64>)>;

pub(crate) enum Content {
    Folder { names: BTreeMap<OsString, u64>, disk: BTreeMap<OsString, u64>, changes: Vec<Change> },
    File { seen: Vec<u8>, disk: Vec<u8>, dirty: BTreeSet<usize>, sized: bool },
}

pub(crate) struct Node {
    pub(crate) content: Content,
    pub(crate) mode: u16,
    pub(crate) changed: SystemTime,
}

/// What goes wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Syncs say that all went well, and bring nothing to the disk.
    pub(crate) lie: bool,
    /// Nothing can be changed any more.
    pub(crate) read_only: bool,
    /// So many bytes all files may have together.
    pub(crate) capacity: Option<u64>,
    /// So long each sync takes.
    pub(crate) slow: Duration,
}

pub(crate) struct Disk {
    nodes: BTreeMap<u64, Node>,
    next_node: u64,
    pub(crate) faults: Faults,
    /// Operations that changed something.
    pub(crate) operations: u64,
    /// Syncs that said that all went well.
    pub(crate) syncs: u64,
    cut_at: Option<u64>,
    off: bool,
}

fn folder() -> Content {
    Content::Folder { names: BTreeMap::new(), disk: BTreeMap::new(), changes: Vec::new() }
}

impl Disk {
    pub(crate) fn new() -> Self {
        let root = Node { content: folder(), mode: 0o755, changed: SystemTime::now() };
        let nodes = BTreeMap::from([(ROOT, root)]);
        Self {
            nodes,
            next_node: ROOT + 1,
            faults: Faults::default(),
            operations: 0,
            syncs: 0,
            cut_at: None,
            off: false,
        }
    }

    /// Cuts the power after so many more operations.
    pub(crate) fn cut_after(&mut self, operations: u64) {
        self.cut_at = Some(self.operations + operations);
    }

    /// Whether the power is off: nothing works any more.
    pub(crate) const fn is_off(&self) -> bool {
        self.off
    }

    /// Counts a change, if it is possible.
    fn step(&mut self) -> Result<(), Errno> {
        if self.cut_at.is_some_and(|at| self.operations >= at) {
            self.off = true;
        }
        if self.off {
            return Err(Errno::IO);
        }
        self.operations += 1;
        if self.faults.read_only { Err(Errno::ROFS) } else { Ok(()) }
    }

    /// The machine starts again: what the disk has is what there is.
    pub(crate) fn restart(&mut self, seed: u64) {
        let mut random = Random::from_seed(seed);
        for node in self.nodes.values_mut() {
            match &mut node.content {
                Content::Folder { names, disk, changes } => {
                    let kept = random.below(changes.len() as u64 + 1) as usize;
                    for (name, id) in changes.drain(..).take(kept).flatten() {
                        set_name(disk, name, id);
                    }
                    names.clone_from(disk);
                }
                Content::File { seen, disk, dirty, sized } => {
                    after_cut(&mut random, seen, disk, dirty, *sized);
                    seen.clone_from(disk);
                    dirty.clear();
                    *sized = true;
                }
            }
        }
        (self.off, self.cut_at) = (false, None);
        // What no name leads to any more is free.
        let mut reached = BTreeSet::from([ROOT]);
        let mut open = vec![ROOT];
        while let Some(id) = open.pop() {
            if let Some(Node { content: Content::Folder { names, .. }, .. }) = self.nodes.get(&id) {
                open.extend(names.values().filter(|id| reached.insert(**id)));
            }
        }
        self.nodes.retain(|id, _| reached.contains(id));
    }

    pub(crate) fn node(&self, id: u64) -> Result<&Node, Errno> {
        self.nodes.get(&id).ok_or(Errno::NOENT)
    }

    fn names(&mut self, id: u64) -> Result<(&mut BTreeMap<OsString, u64>, &mut Vec<Change>), Errno> {
        match self.nodes.get_mut(&id).map(|node| &mut node.content) {
            Some(Content::Folder { names, changes, .. }) => Ok((names, changes)),
            Some(_) => Err(Errno::NOTDIR),
            None => Err(Errno::NOENT),
        }
    }

    pub(crate) fn look_up(&self, parent: u64, name: &OsStr) -> Result<u64, Errno> {
        match &self.node(parent)?.content {
            Content::Folder { names, .. } => names.get(name).copied().ok_or(Errno::NOENT),
            Content::File { .. } => Err(Errno::NOTDIR),
        }
    }

    /// A folder's names.
    pub(crate) fn list(&self, id: u64) -> Result<Vec<(OsString, u64)>, Errno> {
        match &self.node(id)?.content {
            Content::Folder { names, .. } => Ok(names.iter().map(|(name, id)| (name.clone(), *id)).collect()),
            Content::File { .. } => Err(Errno::NOTDIR),
        }
    }

    pub(crate) fn make(&mut self, parent: u64, name: &OsStr, is_folder: bool, mode: u32) -> Result<u64, Errno> {
        self.step()?;
        if self.look_up(parent, name).is_ok() {
            return Err(Errno::EXIST);
        }
        let file = || Content::File { seen: Vec::new(), disk: Vec::new(), dirty: BTreeSet::new(), sized: true };
        let content = if is_folder { folder() } else { file() };
        let id = self.next_node;
        self.next_node += 1;
        self.nodes.insert(id, Node { content, mode: (mode & 0o777) as u16, changed: SystemTime::now() });
        self.change(parent, vec![(name.to_owned(), Some(id))])?;
        Ok(id)
    }

    fn change(&mut self, parent: u64, change: Change) -> Result<(), Errno> {
        let (names, changes) = self.names(parent)?;
        for (name, id) in change.clone() {
            set_name(names, name, id);
        }
        changes.push(change);
        Ok(())
    }

    pub(crate) fn remove(&mut self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        self.step()?;
        let id = self.look_up(parent, name)?;
        if self.list(id).is_ok_and(|names| !names.is_empty()) {
            return Err(Errno::NOTEMPTY);
        }
        self.change(parent, vec![(name.to_owned(), None)])
    }

    pub(crate) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Errno> {
        self.step()?;
        let id = self.look_up(from.0, from.1)?;
        let (gone, there) = ((from.1.to_owned(), None), (to.1.to_owned(), Some(id)));
        if from.0 == to.0 {
            // At once: after a cut the file has the one name or the other.
            return self.change(from.0, vec![gone, there]);
        }
        self.change(to.0, vec![there])?;
        self.change(from.0, vec![gone])
    }

    /// Bytes of all files that a name leads to.
    pub(crate) fn used(&self) -> u64 {
        let named: BTreeSet<u64> = self
            .nodes
            .values()
            .flat_map(|node| match &node.content {
                Content::Folder { names, .. } => names.values().copied().collect(),
                Content::File { .. } => Vec::new(),
            })
            .collect();
        let files = named.iter().filter_map(|id| self.nodes.get(id));
        files.map(|node| node.len()).sum()
    }

    /// Makes a file so long, if there is room.
    fn fit(&mut self, id: u64, len: usize) -> Result<(), Errno> {
        let now = self.node(id)?.len();
        if let Some(capacity) = self.faults.capacity
            && len as u64 > now
            && self.used() + (len as u64 - now) > capacity
        {
            return Err(Errno::NOSPC);
        }
        Ok(())
    }

    pub(crate) fn resize(&mut self, id: u64, len: usize, only_grow: bool) -> Result<(), Errno> {
        self.step()?;
        self.fit(id, len)?;
        let Some(Node { content: Content::File { seen, dirty, sized, .. }, changed, .. }) = self.nodes.get_mut(&id)
        else {
            return Err(Errno::ISDIR);
        };
        if len > seen.len() || !only_grow {
            if len < seen.len() {
                dirty.retain(|sector| sector * SECTOR < len);
            }
            seen.resize(len, 0);
            *sized = false;
        }
        *changed = SystemTime::now();
        Ok(())
    }

    pub(crate) fn write(&mut self, id: u64, offset: usize, data: &[u8]) -> Result<(), Errno> {
        self.step()?;
        let end = offset + data.len();
        self.fit(id, end)?;
        let Some(Node { content: Content::File { seen, dirty, sized, .. }, changed, .. }) = self.nodes.get_mut(&id)
        else {
            return Err(Errno::ISDIR);
        };
        if end > seen.len() {
            seen.resize(end, 0);
            *sized = false;
        }
        seen[offset..end].copy_from_slice(data);
        dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
        *changed = SystemTime::now();
        Ok(())
    }

    pub(crate) fn read(&self, id: u64, offset: usize, len: usize) -> Result<&[u8], Errno> {
        if self.off {
            return Err(Errno::IO);
        }
        let Content::File { seen, .. } = &self.node(id)?.content else { return Err(Errno::ISDIR) };
        let end = (offset + len).min(seen.len());
        Ok(seen.get(offset.min(end)..end).unwrap_or_default())
    }

    /// Brings a file or a folder's names to the disk.
    pub(crate) fn sync(&mut self, id: u64) -> Result<(), Errno> {
        self.step()?;
        self.syncs += 1;
        if self.faults.lie {
            return Ok(());
        }
        match self.nodes.get_mut(&id).map(|node| &mut node.content) {
            Some(Content::Folder { disk, changes, .. }) => {
                for (name, id) in changes.drain(..).flatten() {
                    set_name(disk, name, id);
                }
            }
            Some(Content::File { seen, disk, dirty, sized }) => {
                disk.resize(seen.len(), 0);
                for sector in std::mem::take(dirty) {
                    copy(disk, seen, sector);
                }
                *sized = true;
            }
            None => return Err(Errno::NOENT),
        }
        Ok(())
    }
}

impl Node {
    /// A file's length.
    pub(crate) fn len(&self) -> u64 {
        match &self.content {
            Content::File { seen, .. } => seen.len() as u64,
            Content::Folder { .. } => 0,
        }
    }
}

fn set_name(names: &mut BTreeMap<OsString, u64>, name: OsString, id: Option<u64>) {
    match id {
        Some(id) => names.insert(name, id),
        None => names.remove(&name),
    };
}

fn copy(to: &mut [u8], from: &[u8], sector: usize) {
    let range = sector * SECTOR..((sector + 1) * SECTOR).min(from.len()).min(to.len());
    if let (Some(to), Some(from)) = (to.get_mut(range.clone()), from.get(range)) {
        to.copy_from_slice(from);
    }
}

/// What of a file's unsynced part reached the disk.
fn after_cut(random: &mut Random, seen: &[u8], disk: &mut Vec<u8>, dirty: &BTreeSet<usize>, sized: bool) {
    if !sized && random.chance(500) {
        disk.resize(seen.len(), 0);
    }
    let mut fate = (usize::MAX, 0);
    for sector in dirty {
        let page = sector * SECTOR / PAGE;
        if fate.0 != page {
            fate = (page, random.below(3));
        }
        if fate.1 == 0 || (fate.1 == 1 && random.chance(500)) {
            copy(disk, seen, *sector);
        }
    }
}
