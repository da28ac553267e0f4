//! A value alone on its cache lines.

use std::ops::Deref;

/// Keeps a value that one thread writes away from what other threads use.
/// 128 bytes: the adjacent-line prefetcher pulls lines of 64 in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

impl<T> Deref for Padded<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}
