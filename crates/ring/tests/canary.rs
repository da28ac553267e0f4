//! What the sanitizers must find. Each test is wrong on purpose and passes
//! without a sanitizer; `cargo xtask test` runs it with one and expects it to fail.
#![cfg(not(loom))]

use std::cell::UnsafeCell;
use std::hint::black_box;
use std::thread;

/// A cell that claims to be safe to share, and is not.
struct Racy(UnsafeCell<u64>);

// SAFETY: there is none; that is what the thread sanitizer is to find.
unsafe impl Sync for Racy {}

#[test]
#[ignore = "wrong on purpose: run it under the thread sanitizer, which must fail it"]
fn two_threads_that_write_one_cell() {
    let cell = Racy(UnsafeCell::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let cell = &cell;
                for _ in 0..1000 {
                    // SAFETY: there is none, as above.
                    unsafe { *cell.0.get() += 1 };
                }
            });
        }
    });
    black_box(&cell);
}

#[test]
#[ignore = "wrong on purpose: run it under the address sanitizer, which must fail it"]
fn a_read_of_freed_memory() {
    let bytes = black_box(vec![7_u8; 64]);
    let at = bytes.as_ptr();
    drop(bytes);
    // SAFETY: there is none; that is what the address sanitizer is to find.
    black_box(unsafe { at.read_volatile() });
}
