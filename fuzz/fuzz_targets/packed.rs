//! Packed bytes: whatever they are, unpacking them writes into the room given
//! and nowhere else, fills all of it or refuses; and what is packed comes back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_pack::{Codec, Packer};

/// Around the room, which must stay as it is.
const GUARD: [u8; 64] = [0xa5; 64];

fuzz_target!(|data: &[u8]| {
    let Some((&[choice, low, high], bytes)) = data.split_first_chunk() else { return };
    let codec = Codec::ALL[usize::from(choice) % Codec::ALL.len()];
    let mut packer = Packer::new();
    let plain = usize::from(u16::from_le_bytes([low, high]));
    let mut room = vec![0; plain + 2 * GUARD.len()];
    room[..GUARD.len()].copy_from_slice(&GUARD);
    room[GUARD.len() + plain..].copy_from_slice(&GUARD);
    let _ = packer.unpack(codec, bytes, &mut room[GUARD.len()..GUARD.len() + plain]);
    assert_eq!(room[..GUARD.len()], GUARD);
    assert_eq!(room[GUARD.len() + plain..], GUARD);

    let mut packed = vec![0; codec.bound(bytes.len())];
    let len = packer.pack(codec, bytes, &mut packed).expect("the room is its bound");
    let mut again = vec![0; bytes.len()];
    packer.unpack(codec, &packed[..len], &mut again).expect("what was packed here");
    assert!(again == bytes);
    // Changed, it is refused or becomes something else, as long as was announced.
    if let Some(place) = packed[..len].get_mut(plain % len.max(1)) {
        *place ^= low | 1;
    }
    let _ = packer.unpack(codec, &packed[..len], &mut again);
});
