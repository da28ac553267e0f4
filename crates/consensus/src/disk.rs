//! A file in memory that fails as disks do: the twin of the file that control
//! state is kept in, for tests and simulations.
//!
//! What was written and not synced may be there after a crash, whole, in part or
//! not at all, each write by itself. It holds one file of a few megabytes and is
//! for no other use.

use std::io;

use redb::StorageBackend;
use weft_base::Random;
use weft_base::sync::{Arc, Mutex};

use crate::runtime::lock;

/// Two 4 KiB pages never depend on each other on a disk.
const PAGE: usize = 4096;

#[derive(Debug)]
enum Write {
    Length(u64),
    Bytes { offset: u64, bytes: Vec<u8> },
}

#[derive(Debug, Default)]
struct State {
    /// What a reader sees.
    seen: Vec<u8>,
    /// What a loss of power leaves for sure.
    synced: Vec<u8>,
    /// What was written since.
    pending: Vec<Write>,
    /// Which life of the file may use it.
    life: u64,
    /// How many more operations succeed.
    left: Option<u64>,
    /// Syncs do nothing.
    lies: bool,
    syncs: u64,
}

/// The file; clones are the same file.
#[derive(Clone, Debug, Default)]
pub struct FaultDisk(Arc<Mutex<State>>);

/// The file as it is open in one life of a process.
#[derive(Debug)]
pub struct OpenDisk {
    disk: FaultDisk,
    life: u64,
}

impl FaultDisk {
    /// An empty file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens it; whoever had it open has lost it.
    #[must_use]
    pub fn open(&self) -> OpenDisk {
        let mut state = lock(&self.0);
        state.life += 1;
        OpenDisk { disk: self.clone(), life: state.life }
    }

    /// The power fails: each write since the last sync is there or not, by itself,
    /// and one of them may be there in part. Whoever had it open has lost it.
    pub fn crash(&self, random: &mut Random) {
        let mut state = lock(&self.0);
        let state = &mut *state;
        state.life += 1;
        state.left = None;
        for write in std::mem::take(&mut state.pending) {
            match write {
                Write::Length(length) if random.chance(500) => state.synced.resize(usize_of(length), 0),
                Write::Length(_) => {}
                Write::Bytes { offset, bytes } => {
                    for (number, page) in bytes.chunks(PAGE).enumerate() {
                        let at = usize_of(offset) + number * PAGE;
                        // Some pages are torn at a sector's border.
                        let kept = if random.chance(50) { 512.min(page.len()) } else { page.len() };
                        let end = (at + kept).min(state.synced.len());
                        if random.chance(500)
                            && let Some(there) = state.synced.get_mut(at..end)
                        {
                            there.copy_from_slice(&page[..there.len()]);
                        }
                    }
                }
            }
        }
        state.seen.clone_from(&state.synced);
    }

    /// The process ends and the machine goes on: all that was written stays.
    pub fn kill(&self) {
        let mut state = lock(&self.0);
        state.life += 1;
        state.left = None;
    }

    /// After so many more operations all fail until the next crash.
    pub fn fail_after(&self, operations: u64) {
        lock(&self.0).left = Some(operations);
    }

    /// From now on syncs only say that they were made: a canary.
    pub fn lie(&self) {
        lock(&self.0).lies = true;
    }

    /// Another content, as if the disk had changed it.
    pub fn alter(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = lock(&self.0);
        let state = &mut *state;
        change(&mut state.synced);
        state.seen.clone_from(&state.synced);
        state.pending.clear();
    }

    /// How often it was synced.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        lock(&self.0).syncs
    }
}

fn usize_of(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

impl OpenDisk {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> Option<T>) -> io::Result<T> {
        let mut state = lock(&self.disk.0);
        if state.life != self.life {
            return Err(io::Error::other("the disk is gone"));
        }
        if let Some(left) = &mut state.left {
            if *left == 0 {
                return Err(io::Error::other("the disk fails"));
            }
            *left -= 1;
        }
        act(&mut state).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }
}

impl StorageBackend for OpenDisk {
    fn len(&self) -> io::Result<u64> {
        self.with(|state| Some(state.seen.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|state| {
            let from = usize_of(offset);
            out.copy_from_slice(state.seen.get(from..from.checked_add(out.len())?)?);
            Some(())
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.with(|state| {
            state.seen.resize(usize_of(length), 0);
            state.pending.push(Write::Length(length));
            Some(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state| {
            state.syncs += 1;
            if state.lies {
                return Some(());
            }
            for write in state.pending.drain(..) {
                match write {
                    Write::Length(length) => state.synced.resize(usize_of(length), 0),
                    Write::Bytes { offset, bytes } => {
                        let from = usize_of(offset);
                        if let Some(there) = state.synced.get_mut(from..from + bytes.len()) {
                            there.copy_from_slice(&bytes);
                        }
                    }
                }
            }
            Some(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|state| {
            let from = usize_of(offset);
            state.seen.get_mut(from..from.checked_add(data.len())?)?.copy_from_slice(data);
            state.pending.push(Write::Bytes { offset, bytes: data.to_vec() });
            Some(())
        })
    }
}
