//! The channels of a link: what leaves on which of them.

use super::*;

#[test]
fn lanes_that_are_kept_apart_do_not_wait_for_each_other() {
    let mut bench = Bench::new();
    bench.egress.keep_lanes_apart(Lane::COUNT + 1);
    bench.socket.full = Some(8);
    let (bulk, urgent) = (bench.block(7, 1, 0, b'b', 16 << 10), bench.block(0, 2, 0, b'u', 1_000));
    for _ in 0..20 {
        bench.forward(bulk.clone(), false, 1);
    }
    bench.flush(usize::MAX, 1);
    assert!(bench.socket.taken.is_empty(), "the channel of lane 7 is full");
    bench.forward(urgent, false, 1);
    bench.flush(usize::MAX, 1);
    assert_eq!(bench.read_blocks(), [b'u']);
    assert!(!bench.egress.is_empty());
    bench.socket.full = None;
    bench.flush(usize::MAX, 1);
    assert!(bench.egress.is_empty());
    assert_eq!(bench.socket.taken.len(), 20 * bulk.len(), "and nothing is lost");
}

#[test]
fn lanes_that_share_a_channel_take_turns_and_wait_for_no_other_channel() {
    let mut bench = Bench::new();
    bench.egress.keep_lanes_apart(3);
    bench.socket.full = Some(2);
    // The lanes 1, 4 and 7 share the second of three channels; 2 and 5 the third, which is full.
    for (of, mark) in [(1, b'u'), (2, b'x'), (7, b'b')] {
        let block = bench.block(of, of.into(), 0, mark, 1_000);
        for _ in 0..400 {
            bench.forward(block.clone(), false, 1);
        }
    }
    let len = bench.block(1, 1, 0, b'u', 1_000).len();
    bench.flush(200 * len, 1);
    let got = bench.read_blocks();
    let of = |mark: u8| got.iter().filter(|got| **got == mark).count();
    assert_eq!((of(b'u') + of(b'b'), of(b'x')), (200, 0));
    assert!(of(b'b') >= 50, "one batch each: {}", of(b'b'));
    bench.socket.full = None;
    bench.flush(usize::MAX, 1);
    assert_eq!(bench.read_blocks().len(), 1_000, "and nothing is lost");
    assert!(bench.egress.is_empty());
}

#[test]
fn what_a_connection_has_not_written_of_its_handshake_goes_first_on_its_channel() {
    let mut further = Bench::new();
    further.egress.control().extend_from_slice(b"welcome");
    further.flush(3, 1);
    further.egress.control().extend_from_slice(b"open");
    let unsent = further.egress.take_unsent_control();
    assert_eq!(unsent, b"comeopen");
    assert!(further.egress.is_empty());
    let mut bench = Bench::new();
    bench.egress.keep_lanes_apart(2);
    bench.egress.go_on_with(1, unsent);
    bench.socket.full = Some(0);
    bench.egress.control().extend_from_slice(b"of the link");
    bench.flush(usize::MAX, 1);
    assert_eq!(bench.socket.taken, b"comeopen");
    assert!(!bench.egress.is_empty());
    bench.socket.full = None;
    bench.flush(usize::MAX, 1);
    assert_eq!(bench.socket.taken, b"comeopenof the link");
    assert!(bench.egress.is_empty());
    assert_eq!(bench.egress.queued(), 0);
}

/// A network that bounds what it takes of all channels together let an urgent
/// lane with enough to say keep the others silent.
#[test]
fn lanes_that_are_kept_apart_share_what_the_network_takes() {
    let mut bench = Bench::new();
    bench.egress.keep_lanes_apart(Lane::COUNT + 1);
    let (urgent, bulk) = (bench.block(6, 1, 0, b'u', 1_000), bench.block(7, 1, 0, b'b', 1_000));
    for _ in 0..40 {
        bench.forward(urgent.clone(), false, 1);
        bench.forward(bulk.clone(), false, 1);
    }
    for _ in 0..20 {
        bench.flush(urgent.len(), 1);
    }
    let got = bench.read_blocks();
    let share = got.iter().filter(|mark| **mark == b'b').count();
    assert_eq!((got.len(), share), (20, 10));
}

#[test]
fn lanes_that_are_kept_apart_are_packed_each_on_its_own_channel() {
    let mut bench = Bench::packed(Codec::Zstd);
    bench.egress.keep_lanes_apart(Lane::COUNT + 1);
    bench.socket.full = Some(8);
    for (of, mark) in [(7, 1), (4, 2), (7, 3), (4, 4)] {
        let block = bench.block(of, 1, 0, mark, 1_000);
        bench.forward_whole(&block);
    }
    bench.flush(usize::MAX, 1);
    assert_eq!(bench.read_link(Codec::Zstd), [(true, lane(4), vec![2, 4])]);
    bench.socket.full = None;
    bench.flush(usize::MAX, 1);
    assert_eq!(bench.read_link(Codec::Zstd), [(true, lane(7), vec![1, 3])]);
    assert!(bench.egress.is_empty());
}

#[test]
fn signs_of_life_go_out_on_channels_that_have_nothing_to_write_and_not_on_the_first() {
    let mut bench = Bench::new();
    bench.egress.keep_lanes_apart(3);
    bench.socket.full = Some(1);
    bench.forward(bench.block(1, 1, 0, b'u', 1_000), false, 1);
    bench.flush(usize::MAX, 1);
    assert!(bench.egress.show_life() && !bench.egress.show_life(), "one that waits is enough");
    bench.flush(usize::MAX, 1);
    let taken = std::mem::take(&mut bench.socket.taken);
    assert!(matches!(Wire::decode(&taken), Ok(Wire::Ping(_))), "on the third, and on no other: {taken:?}");
    bench.socket.full = None;
    bench.flush(usize::MAX, 1);
    assert_eq!(bench.read_blocks(), [b'u']);
    assert_eq!((bench.egress.is_empty(), bench.egress.queued()), (true, 0));
}

/// Lanes that share a channel have marks of their own, each on the channel of its blocks.
#[test]
fn the_mark_of_a_lane_leaves_on_the_channel_of_its_blocks() {
    let mut bench = Bench::new();
    bench.egress.count_as_link(bench.counters.link("west"), true);
    bench.egress.keep_lanes_apart(3);
    for of in 0..8 {
        bench.forward(bench.block(of, 1, 0, of, 1_000), false, 1);
    }
    bench.flush(0, 1);
    assert!(bench.egress.mark_lanes(9));
    let len = bench.block(0, 1, 0, 0, 1_000).len();
    let mut found = Vec::new();
    for channel in 0..3 {
        bench.socket.only = Some(channel);
        bench.flush(usize::MAX, 1);
        let taken = std::mem::take(&mut bench.socket.taken);
        let mut blocks = Vec::new();
        let mut rest = taken.as_slice();
        // As many blocks as there are lanes on it, then as many marks.
        for _ in (channel..8).step_by(3) {
            let mut words = vec![0u64; len / 8];
            zerocopy::IntoBytes::as_mut_bytes(words.as_mut_slice()).copy_from_slice(&rest[..len]);
            blocks.push(first_byte(zerocopy::IntoBytes::as_bytes(words.as_slice())));
            rest = &rest[len..];
        }
        let mut marked = Vec::new();
        while !rest.is_empty() {
            let Ok(Peek::Frame { len }) = frame::peek(rest, frame::MAX_FRAME) else { panic!("a whole frame") };
            let Ok(Wire::LinkLedger(mark)) = Wire::decode(&rest[..len]) else { panic!("no mark") };
            marked.push(mark.lane.get());
            rest = &rest[len..];
        }
        blocks.sort_unstable();
        assert_eq!(blocks, marked, "channel {channel}");
        found.extend(marked);
    }
    assert_eq!(found.len(), 8);
}
