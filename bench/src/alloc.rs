//! A counting allocator: the system's, with a count per thread.
//!
//! Install it in a benchmark with
//! `#[global_allocator] static ALLOCATOR: weft_bench::alloc::Counting = weft_bench::alloc::Counting;`
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static SEEN: Cell<Allocations> = const { Cell::new(Allocations { count: 0, bytes: 0 }) };
}

/// How often a thread asked for memory, and for how much. Freeing counts nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocations {
    /// Calls of `alloc`, `alloc_zeroed` and `realloc`.
    pub count: u64,
    /// Bytes asked for.
    pub bytes: u64,
}

/// The system's allocator, counting per thread.
pub struct Counting;

fn note(size: usize) {
    // A thread that is ending has no counter any more: its last allocations go uncounted.
    let _ = SEEN.try_with(|seen| {
        let before = seen.get();
        seen.set(Allocations { count: before.count + 1, bytes: before.bytes + size as u64 });
    });
}

// SAFETY: every call goes to the system's allocator unchanged. The counter is a
// thread-local `Cell` with a constant initialiser and no destructor, so counting
// neither allocates nor recurses.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are handed on as they are.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(new_size);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, new_size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Runs `work` and answers its result with what this thread allocated in it.
/// All zero unless [`Counting`] is the program's allocator.
pub fn counted<R>(work: impl FnOnce() -> R) -> (R, Allocations) {
    let before = SEEN.get();
    let result = work();
    let after = SEEN.get();
    (result, Allocations { count: after.count - before.count, bytes: after.bytes - before.bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    #[test]
    fn counts_what_a_closure_allocates_and_nothing_else() {
        let (kept, seen) = counted(|| Vec::<u8>::with_capacity(100));
        assert_eq!(seen, Allocations { count: 1, bytes: 100 });
        let (_, none) = counted(|| kept.capacity());
        assert_eq!(none, Allocations::default());
    }
}
