//! What is packed comes back; what is not what it says is refused, within the
//! memory given; and neither direction allocates once it has run.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use proptest::prelude::*;
use weft_pack::{Codec, Packer, UnpackError};

fn packed(packer: &mut Packer, codec: Codec, plain: &[u8]) -> Vec<u8> {
    let mut out = vec![0; codec.bound(plain.len())];
    let len = packer.pack(codec, plain, &mut out).unwrap();
    out.truncate(len);
    out
}

/// Lines as programs write them.
fn lines(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|n| format!("{{\"flight\":\"UA{}\",\"from\":\"JFK\",\"late\":{}}}\n", n * 7, n % 9).into_bytes())
        .collect()
}

#[test]
fn numbers_and_names_are_those_of_the_format() {
    assert_eq!(Codec::ALL.map(|codec| (codec.number(), codec.name())), [(1, "lz4"), (2, "zstd")]);
    assert_eq!([0, 1, 2, 3, 255].map(Codec::from_number), [None, Some(Codec::Lz4), Some(Codec::Zstd), None, None]);
}

#[test]
fn what_repeats_becomes_much_smaller_and_comes_back() {
    let mut packer = Packer::new();
    let plain = lines(1_000);
    for codec in Codec::ALL {
        let packed = packed(&mut packer, codec, &plain);
        assert!(packed.len() * 3 < plain.len(), "{codec:?}: {} of {}", packed.len(), plain.len());
        let mut again = vec![0; plain.len()];
        packer.unpack(codec, &packed, &mut again).unwrap();
        assert!(again == plain);
    }
}

#[test]
fn more_or_less_than_was_announced_is_refused_and_nothing_is_written_beyond() {
    let mut packer = Packer::new();
    let plain = vec![7; 1 << 20];
    for codec in Codec::ALL {
        // A bomb: a few kB that would be a MiB.
        let bomb = packed(&mut packer, codec, &plain);
        assert!(bomb.len() < 8 << 10);
        let mut room = vec![1; 4_096 + 64];
        let refused = packer.unpack(codec, &bomb, &mut room[..4_096]).unwrap_err();
        assert!(matches!(refused, UnpackError::Unsound { plain: 4_096, .. }), "{refused}");
        assert_eq!(room[4_096..], [1; 64]);
        let mut room = vec![0; plain.len() + 8];
        let refused = packer.unpack(codec, &bomb, &mut room).unwrap_err();
        assert_eq!(refused, UnpackError::Short { plain: plain.len() + 8, found: plain.len() });
        assert_eq!(refused.to_string(), "the bytes are 1048576 once unpacked, 1048584 were announced");
    }
}

#[test]
fn a_room_below_the_bound_is_not_packed_into() {
    let mut packer = Packer::new();
    for codec in Codec::ALL {
        assert_eq!(packer.pack(codec, &[1; 100], &mut vec![0; codec.bound(100) - 1]), None);
    }
}

#[test]
fn neither_direction_allocates_once_it_has_run() {
    let mut packer = Packer::new();
    let plain = lines(1_500);
    for codec in Codec::ALL {
        let mut out = vec![0; codec.bound(plain.len())];
        let mut again = vec![0; plain.len()];
        let mut round = |len: usize| {
            let n = packer.pack(codec, &plain[..len], &mut out).unwrap();
            packer.unpack(codec, &out[..n], &mut again[..len]).unwrap();
        };
        round(plain.len());
        let counted = allocation_counter::measure(|| (1..200).for_each(|n| round(plain.len() / 200 * n)));
        assert_eq!(counted.count_total, 0, "{codec:?}");
        // The canary: the counter does count.
        assert!(allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1u64)))).count_total > 0);
    }
}

proptest! {
    #[test]
    fn any_bytes_come_back(plain in proptest::collection::vec(0u8..4, 0..5_000), codec in 0usize..2) {
        let (mut packer, codec) = (Packer::new(), Codec::ALL[codec]);
        let packed = packed(&mut packer, codec, &plain);
        let mut again = vec![0; plain.len()];
        prop_assert_eq!(packer.unpack(codec, &packed, &mut again), Ok(()));
        prop_assert_eq!(again, plain);
    }

    #[test]
    fn hostile_bytes_are_refused_or_fill_what_was_announced(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), len in 0usize..5_000, codec in 0usize..2,
    ) {
        let mut room = vec![0; len];
        let _ = Packer::new().unpack(Codec::ALL[codec], &bytes, &mut room);
    }
}
