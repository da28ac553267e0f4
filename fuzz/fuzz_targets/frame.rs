//! Frames: the input is taken as a frame as it is, and as the body of a frame
//! of each kind. What is accepted has one encoding: it is encoded to the same
//! bytes; and what is refused is refused at a place within the input.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_wire::block::Block;
use weft_wire::frame::{self, FRAME_HEADER, Frame, Kind, MAX_FRAME, Peek};

fuzz_target!(|data: &[u8]| {
    check(data);
    // With a header that fits, so that the fields are reached at once.
    let Some((&number, body)) = data.split_first() else { return };
    let kind = Kind::ALL[usize::from(number) % Kind::ALL.len()];
    let len = (FRAME_HEADER + body.len()).next_multiple_of(8);
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(&(len as u32).to_le_bytes());
    bytes.extend_from_slice(&[kind as u8, 0, 0, 0]);
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(body);
    bytes.resize(len, 0);
    if kind.has_block() {
        // The block's own length, which a fuzzer would have to guess.
        let block = match kind {
            Kind::Forward => FRAME_HEADER + 8 + 32,
            Kind::Detour => FRAME_HEADER + 8 + 2 * 8 + 32,
            Kind::Handout => frame::handout_head_len(1),
            _ => FRAME_HEADER,
        };
        if let Some(place) = bytes.get_mut(block..block + 4) {
            place.copy_from_slice(&((len - block) as u32).to_le_bytes());
        }
        if kind == Kind::Forward && len >= block {
            bytes[FRAME_HEADER..FRAME_HEADER + 8].copy_from_slice(&1_u64.to_le_bytes());
        }
        if kind == Kind::Detour && len >= block {
            // Two hubs, the second of which the entry is to.
            bytes[FRAME_HEADER..FRAME_HEADER + 8].copy_from_slice(&[1, 0, 0, 0, 2, body[0] & 1, 0, 0]);
            let to = FRAME_HEADER + 16;
            bytes.copy_within(to..to + 8, to + 8);
        }
        if kind == Kind::Handout && len >= block {
            // One run, for the first time: first and the run itself are the input's.
            bytes[FRAME_HEADER + 8..FRAME_HEADER + 16].copy_from_slice(&[1, 0, 0, 0, 1, 0, 0, 0]);
            bytes[block - 4..block].fill(0);
        }
    }
    check(&bytes);
});

fn check(bytes: &[u8]) {
    let peeked = frame::peek(bytes, MAX_FRAME);
    match Frame::decode(bytes) {
        Ok(decoded) => {
            assert_eq!(peeked, Ok(Peek::Frame { len: bytes.len() }));
            assert_eq!(frame::peek_kind(bytes), Some(decoded.kind()));
            let mut again = Vec::new();
            frame::try_encode(&decoded, &mut again).expect("what was decoded is within the bounds");
            assert!(again == bytes, "{:?} has one encoding", decoded.kind());
            match &decoded {
                Frame::Forward(forward) => {
                    let entries: Vec<_> = forward.entries().collect();
                    assert_eq!(entries.len(), forward.entry_count());
                    let mut head = Vec::new();
                    frame::forward_head(&entries, forward.ttl, forward.block.len(), &mut head)
                        .expect("its own entries");
                    assert!([&head, forward.block].concat() == bytes);
                }
                Frame::Detour(detour) => {
                    let (hubs, entries): (Vec<_>, Vec<_>) = (detour.hubs().collect(), detour.entries().collect());
                    let mut head = Vec::new();
                    let len = detour.block.len();
                    frame::detour_head((detour.ttl, detour.copy), &hubs, &entries, len, &mut head)
                        .expect("its own hubs and entries");
                    assert!([&head, detour.block].concat() == bytes);
                }
                Frame::Publish(publish) => {
                    assert_eq!(frame::publish_of(bytes), Ok((publish.request, publish.level, publish.homes)));
                    let _ = Block::validate(publish.block);
                }
                Frame::Deliver(deliver) => {
                    let head = frame::deliver_head(deliver.id, deliver.block.len(), deliver.hops);
                    assert_eq!(head, bytes[..FRAME_HEADER]);
                }
                Frame::Handout(handout) => {
                    let mut head = Vec::new();
                    let len = handout.block.len();
                    frame::handout_head(handout.id, handout.first, handout.attempt, handout.runs, len, &mut head)
                        .expect("its own runs");
                    assert!([&head, handout.block].concat() == bytes);
                }
                Frame::Record(said) => {
                    let mut rebuilt = Vec::new();
                    for (tag, value) in said.attributes.iter() {
                        assert!(frame::push_attribute(&mut rebuilt, tag, value));
                        assert_eq!(said.attributes.get(tag), Some(value), "each tag once");
                    }
                    assert_eq!(rebuilt, said.attributes.bytes(), "unknown tags stay as they are");
                }
                Frame::LinkOpen(open) => {
                    for item in open.items.iter().filter(|item| item.tag == frame::OpenItem::CONNECTIONS) {
                        if let Some(said) = frame::Connections::decode(item.value) {
                            assert!(item.value.starts_with(&said.encode()));
                        }
                    }
                }
                _ => {}
            }
        }
        Err(error) => assert!(error.offset <= bytes.len(), "{error} is outside of {} bytes", bytes.len()),
    }
    match peeked {
        Ok(Peek::Frame { len }) => assert!((FRAME_HEADER..=bytes.len()).contains(&len)),
        Ok(Peek::Need(total)) => assert!(total > bytes.len()),
        Err(error) => assert!(error.offset <= bytes.len()),
    }
}
