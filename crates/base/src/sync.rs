//! The switch between std's synchronisation primitives and loom's.
//!
//! Code that shares memory between threads takes its atomics from here, so
//! that `RUSTFLAGS="--cfg loom"` lets loom explore every interleaving of it.
//! `--cfg tsan` replaces the locks alone, by ones that the thread sanitizer sees.

#[cfg(not(any(loom, tsan)))]
pub use std::sync::{Arc, Condvar, Mutex, MutexGuard, atomic};
#[cfg(tsan)]
mod watched;
#[cfg(tsan)]
pub use std::sync::{Arc, atomic};
#[cfg(not(loom))]
pub use std::{hint, thread};
#[cfg(tsan)]
pub use watched::{Condvar, Mutex, MutexGuard};

#[cfg(loom)]
pub use loom::sync::{Arc, Condvar, Mutex, MutexGuard, atomic};
#[cfg(loom)]
pub use loom::{hint, thread};

/// A cell whose content is reached through raw pointers, with loom's interface
/// in both builds, so that loom sees each access.
///
/// The cell promises nothing by itself: the caller's protocol must make sure
/// that a mutable access never overlaps another one.
#[derive(Debug)]
pub struct UnsafeCell<T>(#[cfg(not(loom))] std::cell::UnsafeCell<T>, #[cfg(loom)] loom::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    /// A cell with `value` in it.
    pub fn new(value: T) -> Self {
        #[cfg(not(loom))]
        return Self(std::cell::UnsafeCell::new(value));
        #[cfg(loom)]
        return Self(loom::cell::UnsafeCell::new(value));
    }

    /// Calls `f` with a pointer for reading.
    #[inline(always)]
    pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        #[cfg(not(loom))]
        return f(self.0.get());
        #[cfg(loom)]
        return self.0.with(f);
    }

    /// Calls `f` with a pointer for writing.
    #[inline(always)]
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        #[cfg(not(loom))]
        return f(self.0.get());
        #[cfg(loom)]
        return self.0.with_mut(f);
    }
}
