//! A ring of bytes between two processes, of which neither trusts the other.
//!
//! One end writes, the other reads. Data and the four words beside it lie in
//! memory that both can write at any time ([`Memory`]), so nothing in it is
//! believed: each end keeps its own position to itself and only publishes it,
//! and takes the other's position only when it is one that an honest peer can
//! have ([`Broken`] otherwise). Bytes are copied out once, before anybody looks
//! at them. What a hostile peer achieves is that wrong bytes arrive.
//!
//! A full ring takes nothing, an empty one gives nothing; neither end waits
//! here. Who is about to sleep announces it in a word that the other looks at
//! after each move, and only then the other must wake it ([`Moved::wake`]): as
//! long as both are awake they meet in memory alone.
//!
//! The positions are Lamport's (Proving the Correctness of Multiprocess
//! Programs, 1977); each end remembers the other's last position, so that it
//! fetches the other's cache line only when what it knows does not suffice.

use std::io::IoSlice;

use weft_base::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::edges::{E14, E15, E16};

/// A value alone on its cache lines; 128 bytes as in the other rings, and laid
/// out the same by every compiler, because two programs share it.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Line<T>(pub T);

/// The words that both ends share. Every value of each is legal at any time.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Words {
    /// Bytes ever published by the writer.
    pub tail: Line<AtomicU64>,
    /// Bytes ever taken out by the reader.
    pub head: Line<AtomicU64>,
    /// Not zero: the reader sleeps until it is woken.
    pub reader_sleeps: Line<AtomicU32>,
    /// Not zero: the writer sleeps until it is woken because there is room.
    pub writer_sleeps: Line<AtomicU32>,
}

/// Where a ring lies.
pub trait Memory {
    /// The words.
    fn words(&self) -> &Words;
    /// How many bytes the data has: a power of two, always the same.
    fn capacity(&self) -> usize;
    /// Copies `from` into the data at `at`; the ring never asks for more than
    /// the capacity holds from there.
    fn copy_in(&self, at: usize, from: &[u8]);
    /// Copies from the data at `at` into `to`; likewise.
    fn copy_out(&self, at: usize, to: &mut [u8]);
}

/// What one call moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// So many bytes.
    pub bytes: usize,
    /// The other end sleeps, and the caller must wake it.
    pub wake: bool,
}

/// The other end published a position that an honest one cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the peer's position {theirs} cannot be: ours is {ours}, the ring holds {capacity} bytes, \
     and positions do not go back"
)]
pub struct Broken {
    /// What it published.
    pub theirs: u64,
    /// The position of this end.
    pub ours: u64,
    /// The ring's size in bytes.
    pub capacity: u64,
}

/// Calls `copy` for the one or two pieces that `len` bytes from `position` are.
fn pieces(capacity: u64, position: u64, len: usize, mut copy: impl FnMut(usize, std::ops::Range<usize>)) {
    let at = (position & (capacity - 1)) as usize;
    let first = len.min(capacity as usize - at);
    copy(at, 0..first);
    if first < len {
        copy(0, first..len);
    }
}

fn checked<M: Memory>(memory: &M) -> u64 {
    let capacity = memory.capacity();
    assert!(capacity.is_power_of_two(), "the ring's size is a power of two, and {capacity} is none");
    capacity as u64
}

/// The end that puts bytes in.
#[derive(Debug)]
pub struct Writer<M> {
    memory: M,
    capacity: u64,
    tail: u64,
    /// The reader's position as last seen.
    head: u64,
}

impl<M: Memory> Writer<M> {
    /// The writing end of a ring that nobody has used yet.
    ///
    /// # Panics
    /// The capacity is no power of two.
    pub fn new(memory: M) -> Self {
        Self { capacity: checked(&memory), memory, tail: 0, head: 0 }
    }

    /// How much room there is now.
    ///
    /// # Errors
    /// [`Broken`]: the ring is of no more use.
    pub fn room(&mut self) -> Result<usize, Broken> {
        // E15, second end: the reader is done with what lies before its head.
        let head = self.memory.words().head.0.load(E15.acquire());
        let used = self.tail.wrapping_sub(head);
        if used > self.tail.wrapping_sub(self.head) {
            return Err(Broken { theirs: head, ours: self.tail, capacity: self.capacity });
        }
        self.head = head;
        Ok((self.capacity - used) as usize)
    }

    /// Takes from `slices`, in order, as much as there is room for, and
    /// publishes it at once.
    ///
    /// # Errors
    /// [`Broken`]: nothing was taken, and the ring is of no more use.
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> Result<Moved, Broken> {
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut room = (self.capacity - self.tail.wrapping_sub(self.head)) as usize;
        if room < offered {
            room = self.room()?;
        }
        let bytes = room.min(offered);
        if bytes == 0 {
            return Ok(Moved::default());
        }
        let mut left = bytes;
        for slice in slices {
            let (piece, _) = slice.split_at(left.min(slice.len()));
            pieces(self.capacity, self.tail, piece.len(), |at, range| {
                self.memory.copy_in(at, piece.get(range).unwrap_or_default());
            });
            self.tail = self.tail.wrapping_add(piece.len() as u64);
            left -= piece.len();
            if left == 0 {
                break;
            }
        }
        let words = self.memory.words();
        // E14, first end: the bytes before the tail are there.
        words.tail.0.store(self.tail, E14.release());
        // E16: published; now whether the reader sleeps.
        E16.fence();
        Ok(Moved { bytes, wake: take(&words.reader_sleeps.0) })
    }

    /// Before this end sleeps for want of room: announces it, looks again, and
    /// says whether it may sleep. The reader wakes it when half of the ring is
    /// free, so that it is not woken for each little piece.
    ///
    /// # Errors
    /// [`Broken`]: the ring is of no more use.
    pub fn may_sleep(&mut self) -> Result<bool, Broken> {
        self.memory.words().writer_sleeps.0.store(1, Ordering::Relaxed);
        // E16: announced; now whether there is room.
        E16.fence();
        if self.has_room()? {
            self.memory.words().writer_sleeps.0.store(0, Ordering::Relaxed);
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether enough is free to go on after the ring was full: half of it.
    ///
    /// # Errors
    /// [`Broken`]: the ring is of no more use.
    pub fn has_room(&mut self) -> Result<bool, Broken> {
        Ok(self.room()? as u64 >= self.capacity / 2)
    }

    /// Takes an announced sleep back.
    pub fn awake(&self) {
        self.memory.words().writer_sleeps.0.store(0, Ordering::Relaxed);
    }
}

/// The end that takes bytes out.
#[derive(Debug)]
pub struct Reader<M> {
    memory: M,
    capacity: u64,
    head: u64,
    /// The writer's position as last seen.
    tail: u64,
}

impl<M: Memory> Reader<M> {
    /// The reading end of a ring that nobody has used yet.
    ///
    /// # Panics
    /// The capacity is no power of two.
    pub fn new(memory: M) -> Self {
        Self { capacity: checked(&memory), memory, head: 0, tail: 0 }
    }

    /// How many bytes are there now.
    ///
    /// # Errors
    /// [`Broken`]: the ring is of no more use.
    pub fn available(&mut self) -> Result<usize, Broken> {
        // E14, second end: the bytes before the tail may be copied.
        let tail = self.memory.words().tail.0.load(E14.acquire());
        let available = tail.wrapping_sub(self.head);
        if available > self.capacity || available < self.tail.wrapping_sub(self.head) {
            return Err(Broken { theirs: tail, ours: self.head, capacity: self.capacity });
        }
        self.tail = tail;
        Ok(available as usize)
    }

    /// Copies what is there to the front of `buf`, as much as fits, and gives
    /// its room back to the writer.
    ///
    /// # Errors
    /// [`Broken`]: nothing was copied, and the ring is of no more use.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<Moved, Broken> {
        let mut available = self.tail.wrapping_sub(self.head) as usize;
        if available < buf.len() {
            available = self.available()?;
        }
        let bytes = available.min(buf.len());
        if bytes == 0 {
            return Ok(Moved::default());
        }
        pieces(self.capacity, self.head, bytes, |at, range| {
            self.memory.copy_out(at, buf.get_mut(range).unwrap_or_default());
        });
        self.head = self.head.wrapping_add(bytes as u64);
        let words = self.memory.words();
        // E15, first end: the bytes before the head are copied.
        words.head.0.store(self.head, E15.release());
        if self.tail.wrapping_sub(self.head) > self.capacity / 2 {
            return Ok(Moved { bytes, wake: false });
        }
        // E16: the room is given back; now whether the writer sleeps.
        E16.fence();
        Ok(Moved { bytes, wake: take(&words.writer_sleeps.0) })
    }

    /// Before this end sleeps for want of bytes: announces it, looks again, and
    /// says whether it may sleep.
    ///
    /// # Errors
    /// [`Broken`]: the ring is of no more use.
    pub fn may_sleep(&mut self) -> Result<bool, Broken> {
        self.memory.words().reader_sleeps.0.store(1, Ordering::Relaxed);
        // E16: announced; now whether there is something.
        E16.fence();
        if self.available()? > 0 {
            self.awake();
            return Ok(false);
        }
        Ok(true)
    }

    /// Takes an announced sleep back.
    pub fn awake(&self) {
        self.memory.words().reader_sleeps.0.store(0, Ordering::Relaxed);
    }
}

/// Whether the other end announced its sleep; it is to be woken once only.
#[inline]
fn take(sleeps: &AtomicU32) -> bool {
    sleeps.load(Ordering::Relaxed) != 0 && sleeps.swap(0, Ordering::Relaxed) != 0
}

#[cfg(all(test, not(loom)))]
mod tests;
