//! Decoding of blocks and of the frames that carry them allocates nothing, nor
//! does writing a block, stamping it, or building a head.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use allocation_counter::measure;
use weft_base::SubscriptionId;
use weft_wire::block::{self, Block, BlockWriter, EventFields};
use weft_wire::frame::{self, AckLevel, Frame, MAX_FRAME, PathCopy};

fn allocations(work: impl FnOnce()) -> u64 {
    measure(work).count_total
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1]))), 1);
}

#[test]
fn reading_a_block_allocates_nothing() {
    let bytes = common::in_stream();
    let read = || {
        let block = Block::validate(&bytes).unwrap();
        for event in block.events() {
            std::hint::black_box((event.payload, event.headers.get("ce-type")));
        }
        std::hint::black_box((block.topic(), block.stamp()));
    };
    // The first checksum of a process may set tables up.
    read();
    assert_eq!(allocations(read), 0);
    let damaged = {
        let mut bytes = bytes.clone();
        bytes[130] ^= 1;
        bytes
    };
    assert_eq!(allocations(|| assert!(Block::validate(&damaged).is_err())), 0);
}

#[test]
fn decoding_data_and_small_control_frames_allocates_nothing() {
    for frame in common::frames() {
        let bytes = common::encoded(&frame);
        let lists =
            format!("{frame:?}").contains('[') && !frame.kind().has_block() && !matches!(frame, Frame::Settle(_));
        // What shows of a request to join leaves its list out, with the secret.
        if lists && !matches!(frame, Frame::Hello(_)) || matches!(frame, Frame::Join(_)) {
            continue;
        }
        let count = allocations(|| {
            assert!(frame::peek(&bytes, MAX_FRAME).is_ok());
            let decoded = Frame::decode(&bytes);
            if let Ok(Frame::Forward(forward)) = &decoded {
                assert_eq!(forward.entries().count(), 3);
            }
            assert!(decoded.is_ok());
        });
        assert_eq!(count, 0, "{:?}", frame.kind());
    }
}

#[test]
fn writing_a_block_and_its_head_allocates_nothing() {
    let mut buf = [0; 1024];
    let mut out = Vec::with_capacity(256);
    let runs = common::runs();
    let mut write = || {
        let mut writer = BlockWriter::new(&mut buf, &common::fields()).unwrap();
        writer.push(&EventFields { payload: b"UA 1545", ..EventFields::default() }).unwrap();
        let len = writer.finish().unwrap();
        block::stamp(&mut buf[..len], &common::stamp()).unwrap();
        std::hint::black_box(frame::deliver_head(SubscriptionId(1), len, 0));
        std::hint::black_box(frame::publish_head(1, AckLevel::Routed, len));
        frame::forward_head(&common::entries(), 1, len, &mut out).unwrap();
        let entry = common::entries()[0];
        frame::detour_head((9, PathCopy::First), &[entry.hub], &[entry], len, &mut out).unwrap();
        frame::handout_head(SubscriptionId(1), 9, 1, runs, len, &mut out).unwrap();
    };
    write();
    assert_eq!(allocations(write), 0);
}
