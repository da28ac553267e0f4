//! Snapshots of the control state: any bytes are refused or read without a panic,
//! also where the checksum fits; what is read is written as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_base::checksum::crc32c;
use weft_govern::{Limits, Machine};

fuzz_target!(|data: &[u8]| {
    let limits = Limits { document: 256, change: 8 << 10, resources: 64, state: 4 << 10, remembered: 16 };
    let mut machine = Machine::new(limits);
    let _ = machine.restore(data);
    // As a hub would seal it, so that what is behind the checksum is reached.
    let body = [b"weftgov1", data].concat();
    let sealed = [&body[..], &crc32c(&body).to_le_bytes()].concat();
    let before = machine.clone();
    match machine.restore(&sealed) {
        Ok(()) => {
            assert!(machine.state().len() <= 64);
            let mut again = Machine::new(limits);
            again.restore(&machine.snapshot()).expect("what is written is read");
            assert!(again == machine);
        }
        Err(_) => assert!(machine == before),
    }
});
