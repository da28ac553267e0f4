//! Messages between councils: whatever they are, reading them refuses them or
//! finds one meaning, which is written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_base::HubId;

fuzz_target!(|data: &[u8]| {
    // A message may name its sender; that one, and another one.
    let sender = data.get(9..17).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    let _ = weft_consensus::check(HubId(sender), data);
    let _ = weft_consensus::check(HubId::of_name("a"), data);
});
