//! Words that several threads and processes share: the only unsafe code of this
//! crate. They lie in a file that is mapped, or in memory of the process.
//!
//! # Why this is sound
//! 1. Words lie in a [`Memory`], which is never moved or freed while a [`Cells`]
//!    or [`View`] of it lives: each holds an `Arc` of it, or borrows it.
//! 2. Ranges are checked against the memory's length, which never changes;
//!    mappings begin at a page, so each word is aligned.
//! 3. Memory is reached as atomic words and in no other way, and any 64 bits are
//!    a valid word. So it does not matter who else writes what and when, in this
//!    process or in another.
//! 4. A [`View`] is mapped for reading alone, and only loaded from, relaxed and
//!    a word at a time, which std promises to be allowed there
//!    (`std::sync::atomic`, "Atomic accesses to read-only memory").
//!
//! What this cannot keep out: a file that another process cuts short ends
//! whoever touches it there with SIGBUS. A writer's file lies where only its user
//! may write, and its space is reserved before it is mapped, so that a full disk
//! is an error then and not a signal later.
#![allow(unsafe_code)]

use std::ops::Deref;

#[cfg(not(loom))]
use std::{fs::File, io, ptr::NonNull};

#[cfg(not(loom))]
use memmap2::{MmapOptions, MmapRaw};
use weft_base::sync::Arc;
use weft_base::sync::atomic::AtomicU64;

/// Where words lie.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) enum Memory {
    /// A file, mapped for reading and writing, shared with it.
    Mapped(MmapRaw),
    /// This process alone.
    Own(Box<[AtomicU64]>),
}

#[cfg(not(loom))]
impl Memory {
    /// Maps a file whose space was reserved.
    ///
    /// # Errors
    /// The system's: no memory, or a file system without mappings.
    pub(crate) fn of_file(file: &File, bytes: usize) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self::Mapped(MmapOptions::new().len(bytes).map_raw(file)?)))
    }

    /// Zeros of this process alone.
    pub(crate) fn own(words: usize) -> Arc<Self> {
        Arc::new(Self::Own((0..words).map(|_| AtomicU64::new(0)).collect()))
    }

    fn words(&self) -> &[AtomicU64] {
        match self {
            // SAFETY: needed because the words lie in a mapped file. The mapping
            // is readable and writable for this many bytes, begins at a page and
            // lives as long as `self` (1, 2); words are atomics (3).
            Self::Mapped(raw) => unsafe { std::slice::from_raw_parts(raw.as_ptr().cast(), raw.len() / 8) },
            Self::Own(words) => words,
        }
    }

    /// Some of its words; `None` when there are not that many.
    pub(crate) fn cells(self: &Arc<Self>, at: usize, len: usize) -> Option<Cells> {
        let words = self.words().get(at..at.checked_add(len)?)?;
        Some(Cells { first: NonNull::from(words).cast(), len, keep: Arc::clone(self) })
    }
}

/// Some words of a memory. Reached by one pointer, since this is done per block.
#[cfg(not(loom))]
#[derive(Clone, Debug)]
pub(crate) struct Cells {
    first: NonNull<AtomicU64>,
    len: usize,
    /// What `first` points into.
    keep: Arc<Memory>,
}

// SAFETY: needed because of the pointer, which stands for a `&[AtomicU64]` that
// `keep` holds alive (1): that may be sent and shared, as `Memory` may.
#[cfg(not(loom))]
unsafe impl Send for Cells {}
// SAFETY: as above.
#[cfg(not(loom))]
unsafe impl Sync for Cells {}

#[cfg(not(loom))]
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Memory>();
};

#[cfg(not(loom))]
impl Cells {
    /// Zeros of this process alone.
    pub(crate) fn own(len: usize) -> Self {
        let keep = Memory::own(len);
        let first = NonNull::from(keep.words()).cast();
        Self { first, len, keep }
    }

    /// Whether they lie in a file.
    pub(crate) fn is_mapped(&self) -> bool {
        matches!(*self.keep, Memory::Mapped(_))
    }
}

#[cfg(not(loom))]
impl Deref for Cells {
    type Target = [AtomicU64];

    #[inline]
    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: needed to reach words of a mapped file without going through
        // `keep` each time. `first` and `len` are a range of its words, checked
        // when this was made (2), alive as long as `keep` (1), and atomics (3).
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

/// A file mapped for reading alone.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct View(MmapRaw);

#[cfg(not(loom))]
impl View {
    /// Maps the first `bytes` of a file that has at least as many.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn of_file(file: &File, bytes: usize) -> io::Result<Self> {
        MmapOptions::new().len(bytes).map_raw_read_only(file).map(Self)
    }

    /// A word; `None` past the end.
    pub(crate) fn load(&self, at: usize) -> Option<u64> {
        // SAFETY: needed because the words lie in a mapped file. The mapping is
        // readable for this many bytes, begins at a page and lives as long as
        // `self` (1, 2); they are only loaded from (3, 4).
        let words: &[AtomicU64] = unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() / 8) };
        Some(words.get(at)?.load(weft_base::sync::atomic::Ordering::Relaxed))
    }
}

/// Loom has no atomics that lie in foreign memory: words of its own instead.
#[cfg(loom)]
#[derive(Clone, Debug)]
pub(crate) struct Cells(Arc<Vec<AtomicU64>>);

#[cfg(loom)]
impl Cells {
    pub(crate) fn own(len: usize) -> Self {
        Self(Arc::new((0..len).map(|_| AtomicU64::new(0)).collect()))
    }
}

#[cfg(loom)]
impl Deref for Cells {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        &self.0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use weft_base::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn what_is_written_to_a_mapping_is_read_from_another_and_nothing_lies_outside() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let memory = Memory::of_file(&file, 4096).unwrap();
        let cells = memory.cells(510, 2).unwrap();
        drop(memory);
        cells[1].store(7, Ordering::Relaxed);
        let view = View::of_file(&file, 4096).unwrap();
        assert_eq!((view.load(510), view.load(511), view.load(512)), (Some(0), Some(7), None));
        assert!(cells.is_mapped() && !Cells::own(1).is_mapped());
        for (at, len) in [(511, 2), (513, 0), (usize::MAX, 1), (1, usize::MAX)] {
            assert!(cells.keep.cells(at, len).is_none(), "{len} at {at}");
        }
        assert!(cells.get(2).is_none());
    }
}
