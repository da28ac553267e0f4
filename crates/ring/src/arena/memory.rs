//! The memory of one chunk: allocated, advised, faulted in, and freed at the end.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

/// Ordinary pages; a chunk starts on one.
const PAGE: usize = 4096;
/// Huge pages of the machines that have them at all (x86-64, AArch64 with 4 KiB pages).
pub(super) const HUGE_PAGE: usize = 2 << 20;

/// Zeroed bytes at a fixed address.
pub(super) struct Region {
    start: NonNull<u8>,
    layout: Layout,
    huge: bool,
}

// SAFETY: needed because of the raw pointer. A region only owns memory; it
// reads and writes none of it after `new`, and gives it back on drop, which any
// thread may do.
unsafe impl Send for Region {}
// SAFETY: as above: `&Region` only tells where the memory is.
unsafe impl Sync for Region {}

impl Region {
    /// `bytes` zeroed and faulted-in bytes, more than none; none if the system
    /// refuses.
    pub(super) fn new(bytes: usize, huge: bool) -> Option<Self> {
        let layout = Layout::from_size_align(bytes, if huge { HUGE_PAGE } else { PAGE }).ok()?;
        if bytes == 0 {
            return None;
        }
        // SAFETY: needed for memory of a given alignment that can be advised
        // before it is touched; the layout is not of size zero.
        let start = NonNull::new(unsafe { alloc(layout) })?;
        let huge = huge && advise_huge(start, bytes);
        // SAFETY: needed to make the bytes initialised, which also faults every
        // page in; the allocation is `bytes` long and nobody else knows it.
        unsafe { start.as_ptr().write_bytes(0, bytes) };
        Some(Self { start, layout, huge })
    }

    /// Where the bytes start.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Whether the system took the advice to use huge pages.
    pub(super) fn huge(&self) -> bool {
        self.huge
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: needed to give back what `alloc` gave, with the same layout.
        // The owner drops a region only when no buffer of it is lent.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

#[cfg(target_os = "linux")]
fn advise_huge(start: NonNull<u8>, bytes: usize) -> bool {
    let whole = bytes - bytes % HUGE_PAGE;
    // SAFETY: needed because the call takes a raw address. The range lies in
    // our allocation and starts on a page; this advice changes how the system
    // backs the pages, never what is in them.
    let advised = unsafe { rustix::mm::madvise(start.as_ptr().cast(), whole, rustix::mm::Advice::LinuxHugepage) };
    whole > 0 && advised.is_ok()
}

#[cfg(not(target_os = "linux"))]
fn advise_huge(_start: NonNull<u8>, _bytes: usize) -> bool {
    false
}
