//! Locks for builds under the thread sanitizer (`--cfg tsan`).
//!
//! std is not built with the sanitizer, so it does not see that a contended
//! lock orders what two threads do, and reports races that are none. These
//! locks are std's, with an atomic beside each that the sanitizer does see:
//! whoever unlocks writes it, whoever locks reads it.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LockResult, PoisonError, WaitTimeoutResult};
use std::time::Duration;

/// [`std::sync::Mutex`], seen by the sanitizer.
#[derive(Debug, Default)]
pub struct Mutex<T> {
    inner: std::sync::Mutex<T>,
    unlocks: AtomicU64,
}

impl<T> Mutex<T> {
    /// A lock around `value`.
    pub const fn new(value: T) -> Self {
        Self { inner: std::sync::Mutex::new(value), unlocks: AtomicU64::new(0) }
    }

    /// Waits for the lock.
    ///
    /// # Errors
    /// As [`std::sync::Mutex::lock`].
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        watched(self.inner.lock(), &self.unlocks)
    }

    /// The value, without the lock.
    ///
    /// # Errors
    /// As [`std::sync::Mutex::into_inner`].
    pub fn into_inner(self) -> LockResult<T> {
        self.unlocks.load(Ordering::Acquire);
        self.inner.into_inner()
    }
}

fn watched<'a, T>(
    guard: LockResult<std::sync::MutexGuard<'a, T>>,
    unlocks: &'a AtomicU64,
) -> LockResult<MutexGuard<'a, T>> {
    unlocks.load(Ordering::Acquire);
    let watch = |inner| MutexGuard { inner: Some(inner), unlocks };
    guard.map(watch).map_err(|poisoned| PoisonError::new(watch(poisoned.into_inner())))
}

/// A held lock.
#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    /// None once a [`Condvar`] has taken it.
    inner: Option<std::sync::MutexGuard<'a, T>>,
    unlocks: &'a AtomicU64,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        let Some(inner) = &self.inner else { unreachable!("a guard lives only until a Condvar takes it") };
        inner
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        let Some(inner) = &mut self.inner else { unreachable!("a guard lives only until a Condvar takes it") };
        inner
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // Before the lock is given back, which happens when the field is dropped.
        self.unlocks.fetch_add(1, Ordering::Release);
    }
}

impl<'a, T> MutexGuard<'a, T> {
    fn take(mut self) -> (std::sync::MutexGuard<'a, T>, &'a AtomicU64) {
        let Some(inner) = self.inner.take() else { unreachable!("a guard is taken once") };
        (inner, self.unlocks)
    }
}

/// [`std::sync::Condvar`], for the locks here.
#[derive(Debug, Default)]
pub struct Condvar(std::sync::Condvar);

impl Condvar {
    /// A condition that nobody waits for.
    #[must_use]
    pub const fn new() -> Self {
        Self(std::sync::Condvar::new())
    }

    /// Gives the lock back, waits, and takes it again.
    ///
    /// # Errors
    /// As [`std::sync::Condvar::wait`].
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let (inner, unlocks) = guard.take();
        watched(self.0.wait(inner), unlocks)
    }

    /// As [`Self::wait`], for at most `time`.
    ///
    /// # Errors
    /// As [`std::sync::Condvar::wait_timeout`].
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        time: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let (inner, unlocks) = guard.take();
        let (inner, timed_out, poisoned) = match self.0.wait_timeout(inner, time) {
            Ok((inner, timed_out)) => (inner, timed_out, false),
            Err(error) => {
                let (inner, timed_out) = error.into_inner();
                (inner, timed_out, true)
            }
        };
        unlocks.load(Ordering::Acquire);
        let answer = (MutexGuard { inner: Some(inner), unlocks }, timed_out);
        if poisoned { Err(PoisonError::new(answer)) } else { Ok(answer) }
    }

    /// Wakes one thread.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all threads.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}
