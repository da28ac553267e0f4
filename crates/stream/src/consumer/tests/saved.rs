//! The bytes of what is saved.

use proptest::prelude::*;
use weft_base::UnixNanos;
use weft_base::checksum::crc32c;

use super::super::saved::{Saved, SavedError, Tried};

fn any_saved() -> impl Strategy<Value = Saved> {
    let runs = || prop::collection::vec((0_u64..1 << 40, 1_u64..1 << 20), 0..20);
    let tried = prop::collection::vec((0_u64..300, 1_u64..300, 1_u32.., any::<bool>()), 0..20);
    (any::<u32>(), 0_u64..1 << 50, runs(), tried, any::<Option<u64>>()).prop_map(
        |(generation, floor, done, tried, paused)| {
            let mut last = floor;
            let mut run = |gap: u64, len: u64| {
                let first = last + gap;
                last = first + len;
                (first, last)
            };
            let done = done.into_iter().map(|(gap, len)| run(gap, len)).collect();
            last = floor;
            let mut run = |gap: u64, len: u64| {
                let first = last + gap;
                last = first + len;
                (first, last)
            };
            let tried = tried
                .into_iter()
                .map(|(gap, len, attempts, dead)| {
                    let (first, end) = run(gap, len);
                    Tried { first, end, attempts, dead }
                })
                .collect();
            Saved { generation, floor, done, tried, paused_until: paused.map(|ns| UnixNanos(ns.max(1))) }
        },
    )
}

proptest! {
    #[test]
    fn what_was_saved_is_read(saved in any_saved()) {
        prop_assert_eq!(Saved::decode(&saved.encode()), Ok(saved));
    }

    #[test]
    fn every_changed_byte_is_noticed(saved in any_saved(), at in any::<prop::sample::Index>(), change in 1_u8..) {
        let mut bytes = saved.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        prop_assert!(Saved::decode(&bytes).is_err());
    }

    /// With a right checksum, so that what is behind it is reached.
    #[test]
    fn hostile_bytes_are_refused_or_are_what_they_say(
        saved in any_saved(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let mut bytes = saved.encode();
        bytes.truncate(bytes.len() - 4);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        let checksum = crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        if let Ok(found) = Saved::decode(&bytes) {
            prop_assert!(found.done.len() + found.tried.len() <= bytes.len());
            let in_order = |runs: &[(u64, u64)]| {
                runs.iter().all(|(first, end)| first < end && *first >= found.floor)
                    && runs.windows(2).all(|pair| pair[0].1 <= pair[1].0)
            };
            let tried: Vec<_> = found.tried.iter().map(|run| (run.first, run.end)).collect();
            prop_assert!(in_order(&found.done) && in_order(&tried));
            prop_assert_eq!(Saved::decode(&found.encode()), Ok(found));
        }
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Saved::decode(&bytes).is_err());
    }
}

#[test]
fn a_list_that_is_longer_than_the_bytes_is_refused_before_memory_is_taken() {
    let mut bytes = Saved::default().encode();
    bytes.truncate(bytes.len() - 4);
    bytes[32..36].copy_from_slice(&1_000_000_u32.to_le_bytes());
    let checksum = crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    let refused = Saved::decode(&bytes).expect_err("no such runs");
    assert!(matches!(refused, SavedError::Malformed { what: "it claims more runs than it can have", .. }), "{refused}");
}

/// Found by the simulator: a consumer was taken over and its file written, the
/// power failed before its state was synced, and the state of its last life
/// there counted again.
#[test]
fn a_state_of_an_earlier_life_than_the_file_does_not_count() {
    let kept = Saved { generation: 4, floor: 26, done: vec![(29, 61)], ..Saved::default() };
    assert_eq!(Saved::since(Some(kept.clone()), 4, 11), kept);
    let later = Saved::since(Some(kept), 7, 67);
    assert_eq!((later.generation, later.floor, later.done), (7, 67, vec![]));
    assert_eq!(Saved::since(None, 7, 67).floor, 67);
}
