//! The canary: a target with a planted mistake behind five nested comparisons,
//! which a fuzzer whose coverage feedback does not work would not find in its
//! time. `cargo xtask test` fails when this does not crash.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if data.first() == Some(&b'w')
        && data.get(1) == Some(&b'e')
        && data.get(2) == Some(&b'f')
        && data.get(3) == Some(&b't')
        && data.get(4) == Some(&0xff)
    {
        // SAFETY: none, on purpose. This reads the byte past the end: the kind
        // of mistake that only the address sanitizer sees.
        let beyond = unsafe { std::ptr::read_volatile(data.as_ptr().add(data.len())) };
        std::hint::black_box(beyond);
    }
});
