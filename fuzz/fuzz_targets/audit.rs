//! Audit logs: whatever their lines are, they are verified or refused without a
//! panic, and as often as they are, with the same answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_base::checksum::crc32c;
use weft_govern::audit::{Digest, Hash, Record, Verifier, verify};

/// Enough to reach what is behind the comparison of hashes.
struct Sum;

impl Digest for Sum {
    fn sha256(&self, bytes: &[u8]) -> [u8; 32] {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&crc32c(bytes).to_le_bytes());
        hash
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let known = Hash::parse(text.get(..64).unwrap_or_default());
    let lines: Vec<&str> = text.lines().collect();
    let whole = verify(lines.iter().copied(), &Sum, known);
    let mut verifier = Verifier::new(Sum, known);
    let by_line = lines.iter().try_for_each(|line| verifier.take(line)).and_then(|()| verifier.finish());
    assert_eq!(whole, by_line);
    assert!(whole.is_err() || lines.iter().all(|line| Record::read(line).is_ok()));
});
