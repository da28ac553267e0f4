//! Hints to the processor that a cache line will be needed soon. They change
//! nothing but time, and do nothing on processors that they are not written for.

/// The line at `at` will be read. Any address will do.
#[inline(always)]
pub(crate) fn to_read<T>(at: *const T) {
    #[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
    // SAFETY: needed because the instruction takes a raw address; it reads
    // nothing that the program could see and never faults.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(any(loom, miri)))))]
    let _ = at;
}

/// The line at `at` will be written: takes it away from other cores' caches.
/// Any address will do.
#[inline(always)]
pub(crate) fn to_write<T>(at: *const T) {
    #[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
    // SAFETY: needed because there is no stable function that emits this
    // instruction; it changes nothing that the program could see, never faults,
    // and does nothing on the first 64-bit processors, which lack it.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(all(target_arch = "x86_64", not(any(loom, miri)))))]
    let _ = at;
}
