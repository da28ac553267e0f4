//! The thread sanitizer's canary: two threads write one place with nothing
//! between them. `cargo xtask test` fails when the sanitizer does not see it.

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::thread;

struct Shared(UnsafeCell<u64>);

// SAFETY: none, on purpose: the threads below race.
unsafe impl Sync for Shared {}

fn count(shared: &Shared) {
    for _ in 0..1000 {
        // SAFETY: none, on purpose.
        unsafe { *shared.0.get() += 1 };
        std::hint::black_box(shared);
    }
}

fn main() {
    let shared = Arc::new(Shared(UnsafeCell::new(0)));
    let other = Arc::clone(&shared);
    let thread = thread::spawn(move || count(&other));
    count(&shared);
    thread.join().expect("the other thread does not panic");
}
