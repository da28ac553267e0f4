//! The handles of a buffer: what may be done with its bytes, and by whom.

use std::fmt;
use std::ops::{Bound, Deref, DerefMut, RangeBounds};
use std::ptr::NonNull;
use std::slice;

use super::pool::{REFERENCES, Slot, release};

/// A lent buffer that is being filled: filled bytes first, spare ones after.
/// Blocks are split off at the front.
///
/// ```text
///   | split off, others' | filled | spare |
///   0                  start     end   capacity
/// ```
pub struct Buffer {
    slot: NonNull<Slot>,
    bytes: NonNull<u8>,
    capacity: usize,
    start: usize,
    end: usize,
    /// References in store, at least one: our own.
    references: usize,
}

/// An exclusive view of a range of a buffer.
pub struct BlockMut {
    slot: NonNull<Slot>,
    bytes: NonNull<u8>,
    len: usize,
}

/// A shared view of a range of a buffer that nobody writes any more. Cloning
/// and slicing share the bytes.
pub struct BlockRef {
    slot: NonNull<Slot>,
    bytes: NonNull<u8>,
    len: usize,
}

// SAFETY: needed, like the next five, because of the raw pointers. A handle owns a
// reference of its slot, which keeps slot and bytes alive; counts are atomic;
// exclusive ranges never overlap, and shared ones are only read. Through a
// shared `Buffer` or `BlockMut` bytes are only read as well.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}
// SAFETY: as above.
unsafe impl Send for BlockMut {}
// SAFETY: as above.
unsafe impl Sync for BlockMut {}
// SAFETY: as above.
unsafe impl Send for BlockRef {}
// SAFETY: as above.
unsafe impl Sync for BlockRef {}

/// Tells loom that a handle uses its bytes now; nothing in other builds.
#[inline(always)]
fn touch(slot: NonNull<Slot>) {
    // SAFETY: needed because handles point to their slot; the caller's
    // reference keeps it alive.
    unsafe { slot.as_ref() }.touch();
}

impl Buffer {
    /// A buffer over a slot that was just taken off the free list, with
    /// `REFERENCES` references.
    pub(super) fn new(slot: NonNull<Slot>, bytes: NonNull<u8>, capacity: usize) -> Self {
        Self { slot, bytes, capacity, start: 0, end: 0, references: REFERENCES }
    }

    fn slot(&self) -> &Slot {
        // SAFETY: needed because handles point to their slot; our references
        // keep it alive.
        unsafe { self.slot.as_ref() }
    }

    /// Bytes of the whole buffer, also those that were split off.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Spare bytes that are left.
    #[must_use]
    pub fn room(&self) -> usize {
        self.capacity - self.end
    }

    /// The spare bytes, to be filled from the front. What is in them is left
    /// from earlier use.
    #[must_use]
    pub fn spare_mut(&mut self) -> &mut [u8] {
        touch(self.slot);
        // SAFETY: needed for a view of raw memory; `end..capacity` lies inside
        // the buffer, is initialised, and belongs to this `Buffer` alone.
        unsafe { slice::from_raw_parts_mut(self.bytes.as_ptr().add(self.end), self.capacity - self.end) }
    }

    /// Counts the first `n` spare bytes as filled.
    ///
    /// # Panics
    /// When there are fewer than `n`.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.room(), "advanced by {n} bytes, and only {} are spare", self.room());
        self.end += n;
    }

    /// Fills in as many of `bytes` as there is room for; answers how many.
    pub fn extend(&mut self, bytes: &[u8]) -> usize {
        let spare = self.spare_mut();
        let count = bytes.len().min(spare.len());
        let (spare, bytes) = (&mut spare[..count], &bytes[..count]);
        spare.copy_from_slice(bytes);
        self.end += count;
        count
    }

    /// The filled bytes that were not split off.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        touch(self.slot);
        // SAFETY: needed for a view of raw memory; `start..end` lies inside the
        // buffer, is initialised, and belongs to this `Buffer` alone.
        unsafe { slice::from_raw_parts(self.bytes.as_ptr().add(self.start), self.end - self.start) }
    }

    /// Splits the first `n` filled bytes off, as an exclusive view. Without
    /// allocation or atomic operation. As long as every `n` is a multiple of 8,
    /// every view starts on a boundary of 8.
    ///
    /// # Panics
    /// When fewer than `n` bytes are filled.
    #[must_use]
    pub fn split_to(&mut self, n: usize) -> BlockMut {
        let filled = self.end - self.start;
        assert!(n <= filled, "split off {n} bytes, and only {filled} are filled");
        if self.references == 1 {
            self.slot().stock_up();
            self.references += REFERENCES;
        }
        self.references -= 1;
        // SAFETY: needed to point into the buffer; `start + n <= end`, so the
        // range lies inside. It leaves this `Buffer`'s range here.
        let bytes = unsafe { self.bytes.add(self.start) };
        self.start += n;
        BlockMut { slot: self.slot, bytes, len: n }
    }

    /// If all that was split off is gone, makes its room spare again: moves the
    /// filled bytes to the front. Answers whether that was so. One atomic load,
    /// and a copy of what is filled.
    pub fn reclaim(&mut self) -> bool {
        if self.start == 0 {
            return true;
        }
        if !self.slot().only(self.references) {
            return false;
        }
        let filled = self.end - self.start;
        // SAFETY: needed to move bytes inside raw memory; both ranges lie
        // inside the buffer, and no other handle is left (E13).
        unsafe { self.bytes.as_ptr().copy_from(self.bytes.as_ptr().add(self.start), filled) };
        self.start = 0;
        self.end = filled;
        true
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: needed to give the references back; they are ours, and this
        // is the end of the handle.
        unsafe { release(self.slot, self.references) };
    }
}

impl BlockMut {
    /// Splits the first `n` bytes off, as an exclusive view of their own.
    ///
    /// # Panics
    /// When there are fewer than `n`.
    #[must_use]
    pub fn split_to(&mut self, n: usize) -> BlockMut {
        assert!(n <= self.len, "split off {n} bytes of {}", self.len);
        // SAFETY: needed because handles point to their slot; our reference
        // keeps it alive.
        unsafe { self.slot.as_ref() }.share();
        let front = BlockMut { slot: self.slot, bytes: self.bytes, len: n };
        // SAFETY: needed to point into the buffer; `n <= len`. The two ranges
        // do not overlap.
        self.bytes = unsafe { self.bytes.add(n) };
        self.len -= n;
        front
    }

    /// Gives up writing, for good: the view can then be shared.
    #[must_use]
    pub fn freeze(self) -> BlockRef {
        let this = std::mem::ManuallyDrop::new(self);
        BlockRef { slot: this.slot, bytes: this.bytes, len: this.len }
    }
}

impl Deref for BlockMut {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        touch(self.slot);
        // SAFETY: needed for a view of raw memory; the range lies inside the
        // buffer, is initialised, and belongs to this handle alone.
        unsafe { slice::from_raw_parts(self.bytes.as_ptr(), self.len) }
    }
}

impl DerefMut for BlockMut {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        touch(self.slot);
        // SAFETY: as in `deref`, and `self` is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.bytes.as_ptr(), self.len) }
    }
}

impl Drop for BlockMut {
    fn drop(&mut self) {
        // SAFETY: needed to give our reference back; this is the end of the handle.
        unsafe { release(self.slot, 1) };
    }
}

impl BlockRef {
    /// A view of a part of this one. Shares the bytes.
    ///
    /// # Panics
    /// When the range does not lie inside, as slicing does.
    #[must_use]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> BlockRef {
        let start = match range.start_bound() {
            Bound::Included(&n) => n,
            Bound::Excluded(&n) => n.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&n) => n.saturating_add(1),
            Bound::Excluded(&n) => n,
            Bound::Unbounded => self.len,
        };
        assert!(start <= end && end <= self.len, "bytes {start}..{end} of a block of {}", self.len);
        let mut part = self.clone();
        // SAFETY: needed to point into the buffer; `start <= len`.
        part.bytes = unsafe { self.bytes.add(start) };
        part.len = end - start;
        part
    }
}

impl Clone for BlockRef {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: needed because handles point to their slot; our reference
        // keeps it alive.
        unsafe { self.slot.as_ref() }.share();
        Self { slot: self.slot, bytes: self.bytes, len: self.len }
    }
}

impl Deref for BlockRef {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        touch(self.slot);
        // SAFETY: needed for a view of raw memory; the range lies inside the
        // buffer, is initialised, and since `freeze` nobody writes it.
        unsafe { slice::from_raw_parts(self.bytes.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for BlockRef {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for BlockRef {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: needed to give our reference back; this is the end of the handle.
        unsafe { release(self.slot, 1) };
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} split off, {} filled, {} spare)", self.start, self.end - self.start, self.room())
    }
}

impl fmt::Debug for BlockMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockMut({} bytes)", self.len)
    }
}

impl fmt::Debug for BlockRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockRef({} bytes)", self.len)
    }
}
