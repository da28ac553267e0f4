//! Files of counters: whatever they say, they are read or refused without a
//! panic, in memory that the file's own length bounds, and twice the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_observe::Reading;
use weft_observe::layout::{MAGIC, VERSION};
use weft_observe::reading::Datum;

/// Words of the header, which the input's own first words become part of.
const HEADER: usize = 512;

fuzz_target!(|data: &[u8]| {
    let plain = Reading::of_bytes(data);
    assert_eq!(plain.is_ok(), Reading::of_bytes(data).is_ok());
    // Inputs are shorter than a header, so one is put before what is to be read:
    // room and count of entries and the lengths of names are the input's first bytes.
    let Some((head, data)) = data.split_at_checked(8) else { return };
    let mut words = vec![0_u64; HEADER];
    let given: Vec<u64> = data.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect();
    for (at, value) in [5, 6, 10, 11].into_iter().zip(head.iter().copied()) {
        words[at] = u64::from(value);
    }
    words.extend(given);
    words[0] = MAGIC;
    words[1] = VERSION;
    words[2] = words.len() as u64 * 8;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let Ok(reading) = Reading::of_bytes(&bytes) else { return };
    assert_eq!(Reading::of_bytes(&bytes).ok().as_ref(), Some(&reading));
    let mut held = 0;
    for value in &reading.values {
        held += match &value.datum {
            Datum::Histogram(snapshot) => {
                let quantiles = [0, 5_000, 9_999, 10_000].map(|parts| snapshot.quantile(parts));
                assert!(quantiles.is_sorted());
                snapshot.counts().len()
            }
            _ => 1,
        };
    }
    assert!(held <= words.len());
});
