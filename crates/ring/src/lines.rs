//! The memory of an spsc ring: cache lines, each with a stamp and the items
//! that fit beside it.
//!
//! ```text
//!   one group, for items of 24 bytes: 64 bytes from a boundary of 64
//!   | stamp: 8 | item: 24 | item: 24 | unused: 8 |
//! ```
//!
//! A stamp says up to which position all items are published. Because the stamp
//! of a single item lies beside it, item and news of it travel from core to core
//! in one cache line, where a shared cursor makes it two and is fought over.
//! Items too large for that have a group of several lines each.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;

#[cfg(loom)]
use weft_base::sync::UnsafeCell;
use weft_base::sync::atomic::AtomicU64;

use crate::prefetch;

/// A cache line, on whose boundaries groups start and end.
const LINE: usize = 64;

/// How far ahead of the reader lines are asked for, in bytes. Measured: less
/// leaves the reader waiting for each line of a batch, more asks for lines that
/// are still being written.
const AHEAD: usize = 10 * LINE;

/// Groups of stamps and items. Holds raw memory: which places hold items, and
/// whose they are, the ring knows.
pub(crate) struct Lines<T> {
    start: NonNull<u8>,
    groups: usize,
    /// Under loom the stamps lie apart, because loom's atomics are larger, and
    /// the places have cells for loom to watch.
    #[cfg(loom)]
    watched: Box<[(AtomicU64, Box<[UnsafeCell<()>]>)]>,
    marker: PhantomData<T>,
}

/// An item's place: which group, and the how many-th in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    group: usize,
    nth: usize,
}

impl Place {
    /// Places in the group from this one on.
    #[inline(always)]
    pub(crate) fn left<T>(self) -> usize {
        Lines::<T>::PER_GROUP - self.nth
    }

    /// The place `count` places on in the same group, of which there must be more.
    #[inline(always)]
    pub(crate) fn plus(self, count: usize) -> Place {
        Place { group: self.group, nth: self.nth + count }
    }
}

impl<T> Lines<T> {
    /// Where the first item of a group lies: behind the stamp.
    const FIRST: usize = size_of::<AtomicU64>().next_multiple_of(align_of::<T>());

    /// Items of a group: as many as fit the line, at least one. Few under loom,
    /// which explores small rings only.
    const PER_GROUP: usize = match size_of::<T>() {
        _ if cfg!(loom) => 2,
        0 => LINE,
        size if Self::FIRST + size <= LINE => (LINE - Self::FIRST) / size,
        _ => 1,
    };

    const ALIGN: usize = if align_of::<T>() > LINE { align_of::<T>() } else { LINE };

    /// Bytes of a group.
    const STRIDE: usize = (Self::FIRST + Self::PER_GROUP * size_of::<T>()).next_multiple_of(Self::ALIGN);

    /// Places for `capacity` items at least. All stamps are 0.
    pub(crate) fn new(capacity: usize) -> Self {
        let groups = capacity.div_ceil(Self::PER_GROUP);
        let layout = Self::layout(groups);
        // SAFETY: needed for items of any size beside their stamp; the layout
        // is not of size zero, because there is a group and it has a stamp.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        #[cfg(not(loom))]
        for group in 0..groups {
            // SAFETY: needed to make the stamps; each lies at the start of its
            // group, in memory that nobody else knows yet.
            unsafe { start.add(group * Self::STRIDE).cast::<AtomicU64>().write(AtomicU64::new(0)) };
        }
        Self {
            start,
            groups,
            #[cfg(loom)]
            watched: (0..groups)
                .map(|_| (AtomicU64::new(0), (0..Self::PER_GROUP).map(|_| UnsafeCell::new(())).collect()))
                .collect(),
            marker: PhantomData,
        }
    }

    fn layout(groups: usize) -> Layout {
        match groups.checked_mul(Self::STRIDE).map(|bytes| Layout::from_size_align(bytes, Self::ALIGN)) {
            Some(Ok(layout)) => layout,
            _ => panic!("{groups} groups of {} bytes are more than the address space has", Self::STRIDE),
        }
    }

    /// The place of a position, by division; the ring goes from place to place.
    pub(crate) fn place_of(&self, position: u64) -> Place {
        let per_group = Self::PER_GROUP as u64;
        let group = position / per_group % self.groups as u64;
        Place { group: group as usize, nth: (position % per_group) as usize }
    }

    /// The place `count` places on, in the same group or the first of the next.
    #[inline(always)]
    pub(crate) fn skip(&self, place: Place, count: usize) -> Place {
        let nth = place.nth + count;
        if nth < Self::PER_GROUP {
            return Place { group: place.group, nth };
        }
        let group = place.group + 1;
        Place { group: if group == self.groups { 0 } else { group }, nth: 0 }
    }

    /// Asks for a line that the reader at `place` will come to soon.
    #[inline(always)]
    pub(crate) fn ask_ahead(&self, place: Place) {
        let ahead = place.group + const { AHEAD.div_ceil(Self::STRIDE) };
        // Beyond the end, or for a ring shorter than that: of no use, and no harm.
        let ahead = if ahead >= self.groups { ahead - self.groups } else { ahead };
        prefetch::to_read(self.start.as_ptr().wrapping_add(ahead * Self::STRIDE));
    }

    /// The stamp of the group of `place`.
    #[inline(always)]
    pub(crate) fn stamp(&self, place: Place) -> &AtomicU64 {
        #[cfg(loom)]
        return &self.watched[place.group].0;
        // SAFETY: needed to reach the stamp in its line; places are made by
        // `skip`, `plus` and `place_of`, which keep `group` below the number of
        // groups, and every group's stamp was made in `new`.
        #[cfg(not(loom))]
        return unsafe { self.start.add(place.group * Self::STRIDE).cast::<AtomicU64>().as_ref() };
    }

    #[inline(always)]
    fn item(&self, place: Place) -> NonNull<T> {
        // SAFETY: needed to reach the item in its line; as for `stamp`, and
        // `nth` is below `PER_GROUP`, so the place lies inside the group, and on
        // a boundary for `T` because group and first item do.
        unsafe { self.start.add(place.group * Self::STRIDE + Self::FIRST).cast::<T>().add(place.nth) }
    }

    /// Puts an item into its place.
    ///
    /// # Safety
    /// The place is one of this memory's and holds no item, and no other thread
    /// uses it.
    #[inline(always)]
    pub(crate) unsafe fn write(&self, place: Place, item: T) {
        #[cfg(loom)]
        self.watched[place.group].1[place.nth].with_mut(|_| ());
        // SAFETY: needed to fill raw memory; the caller owns the place.
        unsafe { self.item(place).write(item) };
    }

    /// Moves an item out of its place.
    ///
    /// # Safety
    /// The place holds an item, no other thread uses it, and it is not used as
    /// an item again.
    #[inline(always)]
    pub(crate) unsafe fn read(&self, place: Place) -> T {
        #[cfg(loom)]
        self.watched[place.group].1[place.nth].with_mut(|_| ());
        // SAFETY: needed to move out of raw memory; the caller owns the item.
        unsafe { self.item(place).read() }
    }

    /// Looks at an item in its place.
    ///
    /// # Safety
    /// The place holds an item, and nobody moves or changes it while the
    /// reference lives.
    #[inline(always)]
    pub(crate) unsafe fn look(&self, place: Place) -> &T {
        #[cfg(loom)]
        self.watched[place.group].1[place.nth].with(|_| ());
        // SAFETY: needed to refer to raw memory; the caller keeps it still.
        unsafe { self.item(place).as_ref() }
    }
}

impl<T> Drop for Lines<T> {
    fn drop(&mut self) {
        // SAFETY: needed to give back what `alloc` gave, with the same layout.
        // The items were dropped or moved out by the ring; stamps need no drop.
        unsafe { dealloc(self.start.as_ptr(), Self::layout(self.groups)) };
    }
}
