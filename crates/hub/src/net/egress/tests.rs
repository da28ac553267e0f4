//! The egress against a socket that takes as much as the test says.

use std::io;
use std::time::Duration;

use weft_base::{Epoch, HubId, Mono, ProducerId, TenantId};
use weft_pack::Codec;
use weft_ring::arena::{Arena, ArenaOptions, BlockRef};
use weft_transport::{
    Accept, DialError, Known, ListenError, ListenerToken, ReadOutcome, Ready, Security, Waker as NetworkWaker,
};
use weft_wire::block::{BlockFields, BlockWriter, EventFields, Stamp, stamp};
use weft_wire::frame::{FlowEntry, FlowKind, Frame as Wire, OnFull, Peek};

mod channels;

use super::super::subscriber::Memory;
use super::*;
use crate::counters::get;
use crate::messages::{Head, SubscribeOptions};

const MS: u64 = 1_000_000;
const LINK: LinkToken = LinkToken(1);
const ONE: SubscriptionId = SubscriptionId(1);

/// A network of one link that takes `room` more bytes and keeps them.
#[derive(Default)]
struct Socket {
    /// The channel that takes nothing.
    full: Option<usize>,
    /// The only one that takes something.
    only: Option<usize>,
    room: usize,
    taken: Vec<u8>,
}

impl Network for Socket {
    fn listen(&mut self, _: &str, _: &Security, _: Accept) -> Result<(ListenerToken, String), ListenError> {
        unreachable!("nobody listens")
    }
    fn dial_known(&mut self, _: &str, _: &Known<'_>, _: &Security, _: Option<&str>) -> Result<LinkToken, DialError> {
        unreachable!("nobody dials")
    }
    fn poll(&mut self, _: Option<Duration>, _: &mut Vec<Ready>) -> io::Result<()> {
        Ok(())
    }
    fn read(&mut self, _: LinkToken, _: &mut [u8]) -> ReadOutcome {
        ReadOutcome::WouldBlock
    }
    fn write(&mut self, _: LinkToken, slices: &[IoSlice<'_>]) -> WriteOutcome {
        let mut n = 0;
        for slice in slices {
            let part = slice.len().min(self.room);
            self.taken.extend_from_slice(&slice[..part]);
            self.room -= part;
            n += part;
        }
        if n == 0 { WriteOutcome::WouldBlock } else { WriteOutcome::Bytes(n) }
    }
    fn write_on(&mut self, link: LinkToken, channel: usize, slices: &[IoSlice<'_>]) -> WriteOutcome {
        let is_full = self.full == Some(channel) || self.only.is_some_and(|only| only != channel);
        if is_full { WriteOutcome::WouldBlock } else { self.write(link, slices) }
    }
    fn pause(&mut self, _: LinkToken) {}
    fn resume(&mut self, _: LinkToken) {}
    fn close(&mut self, _: LinkToken) {}
    fn close_listener(&mut self, _: ListenerToken) {}
    fn remote_address(&self, _: LinkToken) -> Option<String> {
        None
    }
    fn closing(&self) -> usize {
        0
    }
    fn waker(&self) -> NetworkWaker {
        NetworkWaker::new(|| {})
    }
}

/// What a test works with.
struct Bench {
    egress: Egress,
    socket: Socket,
    counters: Counters,
    arena: Arena,
    press: Press,
    leaving: Leaving,
}

impl Bench {
    fn new() -> Self {
        let limits = EgressLimits {
            subscriber_events: 1_000,
            subscriber_bytes: 8 << 20,
            conflate_keys: 1_000,
            socket_bytes: 1 << 20,
            link_bytes: 8 << 20,
            waiting_blocks: 1_000,
        };
        let arena = Arena::new(ArenaOptions::default()).expect("memory");
        let (socket, counters) = (Socket::default(), Counters::default());
        Self { egress: Egress::new(limits), socket, counters, arena, press: Press::new(), leaving: Leaving::default() }
    }

    fn subscribe(&mut self, credit_events: u64) {
        let options =
            SubscribeOptions { credit_events, credit_bytes: u64::MAX, on_full: OnFull::DropOldest, gate: None };
        self.egress.subscribers.subscribe(ONE, options);
    }

    /// A block of one event of `producer`, with `len` bytes of payload that begin with `mark`.
    fn block(&self, lane: u8, producer: u64, deadline_ms: u64, mark: u8, len: usize) -> BlockRef {
        let mut payload = vec![0; len];
        payload[0] = mark;
        self.block_of(lane, producer, deadline_ms, &payload)
    }

    fn block_of(&self, lane: u8, producer: u64, deadline_ms: u64, payload: &[u8]) -> BlockRef {
        let len = payload.len();
        let mut words = vec![0u64; (len + 512) / 8];
        let bytes = zerocopy::IntoBytes::as_mut_bytes(words.as_mut_slice());
        let fields = BlockFields {
            lane: Lane::new(lane).expect("a lane"),
            producer: ProducerId(producer),
            first_sequence: 1,
            deadline: UnixNanos(deadline_ms * MS),
            tenant: TenantId(0),
            ..BlockFields::new("a/b")
        };
        let mut writer = BlockWriter::new(bytes, &fields).expect("room");
        writer.push(&EventFields { time: UnixNanos(1), key: &[], headers: &[], payload }).expect("room");
        let len = writer.finish().expect("an event");
        let origin = Stamp { origin: HubId(producer), epoch: Epoch(1), block: 1, sequence: 1, ingested: UnixNanos(1) };
        stamp(&mut bytes[..len], &origin).expect("a sound block");
        let mut buffer = self.arena.lend(len).expect("memory");
        buffer.spare_mut()[..len].copy_from_slice(&bytes[..len]);
        buffer.advance(len);
        buffer.split_to(len).freeze()
    }

    fn deliver(&mut self, block: &BlockRef) {
        let memory = Memory { arena: &self.arena, tight: false };
        let account = self.counters.account(block);
        self.egress.subscribers.deliver(ONE, block, 0, Mono(1), memory, account);
    }

    fn forward(&mut self, block: BlockRef, guaranteed: bool, now_ms: u64) {
        let live_copies = u64::from(!guaranteed);
        let forward = Forward { head: Head::new(&[]), block, live_copies, second: 0, guaranteed };
        self.egress.forward(forward, UnixNanos(now_ms * MS), &self.counters);
    }

    fn flush(&mut self, room: usize, now_ms: u64) {
        let now = UnixNanos(now_ms * MS);
        self.socket.room = room;
        self.egress.pump(now, &self.counters, |_| {});
        self.egress.drop_expired(now, &self.counters);
        let gear = (&mut self.press, &mut self.leaving);
        self.egress.flush(&mut self.socket, LINK, &self.counters, gear).expect("the link stands");
    }

    /// What the subscriber got: the payloads' first bytes, and gaps as `(events, reason)`.
    fn read(&mut self) -> Vec<Result<u8, (u64, u8)>> {
        let taken = std::mem::take(&mut self.socket.taken);
        let mut words = vec![0u64; taken.len().div_ceil(8)];
        let bytes = zerocopy::IntoBytes::as_mut_bytes(words.as_mut_slice());
        bytes[..taken.len()].copy_from_slice(&taken);
        let (mut rest, mut got) = (&bytes[..taken.len()], Vec::new());
        while !rest.is_empty() {
            let Ok(Peek::Frame { len }) = frame::peek(rest, frame::MAX_FRAME) else { panic!("a whole frame") };
            match Wire::decode(&rest[..len]).expect("a sound frame") {
                Wire::Deliver(deliver) => got.push(Ok(first_byte(deliver.block))),
                Wire::Gap(gap) => got.push(Err((gap.events, gap.reason))),
                other => panic!("neither: {other:?}"),
            }
            rest = &rest[len..];
        }
        got
    }

    /// What the link carried: blocks without heads.
    fn read_blocks(&mut self) -> Vec<u8> {
        let taken = std::mem::take(&mut self.socket.taken);
        let len = self.block(0, 1, 0, 0, 1_000).len();
        assert_eq!(taken.len() % len, 0, "whole blocks");
        let mut words = vec![0u64; len / 8];
        let mut got = Vec::new();
        for block in taken.chunks(len) {
            zerocopy::IntoBytes::as_mut_bytes(words.as_mut_slice()).copy_from_slice(block);
            got.push(first_byte(zerocopy::IntoBytes::as_bytes(words.as_slice())));
        }
        got
    }
}

fn first_byte(block: &[u8]) -> u8 {
    Block::trusted(block).events().next().expect("an event").payload[0]
}

#[test]
fn urgent_waits_for_no_more_than_what_was_taken_for_the_socket() {
    let mut bench = Bench::new();
    bench.subscribe(1_000);
    let bulk = bench.block(7, 1, 0, b'b', 16 << 10);
    for _ in 0..60 {
        bench.deliver(&bulk);
    }
    // The socket takes a little and no more.
    bench.flush(20 << 10, 1);
    bench.deliver(&bench.block(0, 2, 0, b'u', 100));
    bench.flush(usize::MAX, 1);
    let got = bench.read();
    let place = got.iter().position(|item| *item == Ok(b'u')).expect("it is delivered");
    assert!(place * bulk.len() <= (20 << 10) + SENDING + bulk.len(), "{place} blocks went first");
    assert_eq!(got.len(), 61);
    assert_eq!((get(&bench.counters.delivered), get(&bench.counters.waiting_subscribers)), (61, 0));
}

/// Symptom: hubs closed their links because credit "went back". Cause: control
/// frames that found the socket full were overtaken by those that came later,
/// as if they were blocks. Fix: they are put behind those before them.
#[test]
fn control_frames_that_find_the_socket_full_keep_their_order() {
    let mut bench = Bench::new();
    bench.egress.control().extend_from_slice(b"first");
    bench.flush(0, 1);
    bench.egress.control().extend_from_slice(b"second");
    bench.flush(3, 1);
    bench.egress.control().extend_from_slice(b"third");
    bench.flush(usize::MAX, 1);
    assert_eq!(bench.socket.taken, b"firstsecondthird");
}

#[test]
fn what_has_expired_is_not_written_and_its_credit_comes_back() {
    let mut bench = Bench::new();
    bench.subscribe(2);
    // The first is under way to a socket that takes nothing; the second waits behind it until it is too late.
    bench.deliver(&bench.block(4, 1, 5, b'x', SENDING));
    bench.deliver(&bench.block(4, 1, 5, b'y', 1_000));
    bench.flush(0, 1);
    assert_eq!(get(&bench.counters.waiting_subscribers), 2);
    bench.flush(usize::MAX, 10);
    bench.deliver(&bench.block(4, 1, 0, b'z', 1_000));
    bench.flush(usize::MAX, 11);
    let expired = Err((1, DropReason::Expired as u8));
    assert_eq!(bench.read(), [Ok(b'x'), expired, Ok(b'z')], "the credit of the one that expired serves another");
    assert_eq!(get(&bench.counters.dropped[DropReason::Expired]), 1);
    assert_eq!((get(&bench.counters.delivered), get(&bench.counters.waiting_subscribers)), (2, 0));
}

#[test]
fn on_a_link_deadlines_order_origins_and_never_one_origins_blocks() {
    let mut bench = Bench::new();
    for (origin, deadline, mark) in [(1, 0, 1), (1, 50, 2), (2, 90, 3), (2, 20, 4), (3, 60, 5)] {
        bench.forward(bench.block(4, origin, deadline, mark, 1_000), false, 1);
    }
    bench.flush(usize::MAX, 2);
    assert_eq!(bench.read_blocks(), [5, 3, 4, 1, 2]);
    assert_eq!((get(&bench.counters.forwarded), get(&bench.counters.waiting_links)), (5, 0));
}

#[test]
fn on_a_link_what_has_expired_is_dropped_unless_it_goes_to_a_stream() {
    let mut bench = Bench::new();
    bench.forward(bench.block(4, 1, 5, 1, 1_000), false, 1);
    bench.forward(bench.block(4, 1, 5, 2, 1_000), true, 1);
    bench.forward(bench.block(4, 1, 50, 3, 1_000), false, 1);
    bench.flush(usize::MAX, 10);
    assert_eq!(bench.read_blocks(), [2, 3]);
    let lane = Lane::new(4).expect("a lane");
    let dropped = bench.block(4, 1, 5, 1, 1_000).len() as u64;
    assert_eq!([bench.egress.take_unsent(lane), bench.egress.take_unsent(lane)], [dropped, 0], "for the link's credit");
    assert_eq!(get(&bench.counters.dropped[DropReason::Expired]), 1);
    assert_eq!((get(&bench.counters.forwarded), get(&bench.counters.waiting_links)), (1, 0));
}

/// A frame as hubs send it: for hub 9, as the first of its flow.
fn forward_of(block: &BlockRef) -> Forward {
    let entry =
        FlowEntry { hub: HubId(9), incarnation: 1, kind: FlowKind::Live, retransmit: false, sequence: 0, base: 0 };
    let mut head = Vec::new();
    frame::forward_head(&[entry], 8, block.len(), &mut head).expect("one entry");
    Forward { head: Head::new(&head), block: block.clone(), live_copies: 1, second: 0, guaranteed: false }
}

impl Bench {
    /// Of a link that is packed.
    fn packed(codec: Codec) -> Self {
        let mut bench = Self::new();
        bench.egress.count_as_link(bench.counters.link("far"), true);
        bench.egress.pack(Packing::new(codec, 1 << 20, bench.press.room()));
        bench
    }

    fn forward_whole(&mut self, block: &BlockRef) {
        self.egress.forward(forward_of(block), UnixNanos(MS), &self.counters);
    }

    /// What was written, frame by frame: as it is, or packed with how many in it
    /// and the marks of their blocks.
    fn read_link(&mut self, codec: Codec) -> Vec<(bool, Lane, Vec<u8>)> {
        let taken = std::mem::take(&mut self.socket.taken);
        let (mut rest, mut got) = (&taken[..], Vec::new());
        while !rest.is_empty() {
            let Ok(Peek::Frame { len }) = frame::peek(rest, frame::MAX_FRAME) else { panic!("a whole frame") };
            let mut words = vec![0u64; len / 8];
            let bytes = zerocopy::IntoBytes::as_mut_bytes(words.as_mut_slice());
            bytes.copy_from_slice(&rest[..len]);
            match Wire::decode(bytes).expect("a sound frame") {
                Wire::Forward(forward) => {
                    let lane = Block::trusted(forward.block).lane();
                    got.push((false, lane, vec![first_byte(forward.block)]));
                }
                Wire::Packed(packed) => {
                    let mut plain = vec![0u64; packed.plain as usize / 8];
                    let mut plain = zerocopy::IntoBytes::as_mut_bytes(plain.as_mut_slice());
                    self.press.packer().unpack(codec, packed.bytes, plain).expect("sound");
                    let mut marks = Vec::new();
                    for _ in 0..packed.frames {
                        let Ok(Peek::Frame { len }) = frame::peek(plain, frame::MAX_FRAME) else { panic!("a frame") };
                        let (first, behind) = plain.split_at_mut(len);
                        let Ok(Wire::Forward(forward)) = Wire::decode(first) else { panic!("a block") };
                        assert_eq!(Block::trusted(forward.block).lane(), packed.lane, "lanes are not mixed");
                        marks.push(first_byte(forward.block));
                        plain = behind;
                    }
                    assert!(plain.is_empty() && packed.bytes.len() < packed.plain as usize);
                    got.push((true, packed.lane, marks));
                }
                Wire::Ping(_) => got.push((false, Lane::DEFAULT, Vec::new())),
                other => panic!("neither: {other:?}"),
            }
            rest = &rest[len..];
        }
        got
    }
}

fn lane(number: u8) -> Lane {
    Lane::new(number).expect("a lane")
}

#[test]
fn blocks_of_a_lane_go_out_packed_and_count_as_they_were() {
    for codec in Codec::ALL {
        let mut bench = Bench::packed(codec);
        let blocks: Vec<BlockRef> = (1..=5).map(|mark| bench.block(4, 1, 0, mark, 1_000)).collect();
        let plain: usize = blocks.iter().map(|block| forward_of(block).len()).sum();
        blocks.iter().for_each(|block| bench.forward_whole(block));
        // A socket that takes a little at a time: nothing counts before all of it is written.
        bench.flush(10, 1);
        assert_eq!((get(&bench.counters.forwarded), bench.egress.queued()), (0, plain), "memory is what it was");
        bench.flush(usize::MAX, 1);
        let written = bench.socket.taken.len();
        assert_eq!(bench.read_link(codec), [(true, lane(4), vec![1, 2, 3, 4, 5])]);
        assert_eq!((get(&bench.counters.forwarded), get(&bench.counters.waiting_links)), (5, 0));
        assert_eq!(bench.egress.queued(), 0);
        let link = bench.egress.link().expect("it is one");
        let counted = [&link.blocks_out, &link.events_out, &link.bytes_out, &link.wire_out].map(|counter| get(counter));
        assert_eq!(counted, [5, 5, plain as u64, written as u64]);
        assert!(written * 4 < plain, "{written} of {plain}");
    }
}

#[test]
fn no_batch_mixes_lanes_and_control_frames_are_never_in_one() {
    let mut bench = Bench::packed(Codec::Lz4);
    for (of, mark) in [(7, 1), (4, 2), (7, 3), (4, 4), (0, 5)] {
        let block = bench.block(of, 1, 0, mark, 1_000);
        bench.forward_whole(&block);
    }
    frame::encode(&Wire::Ping(frame::Ping { id: 1, time: 1 }), bench.egress.control());
    bench.flush(usize::MAX, 1);
    let got = bench.read_link(Codec::Lz4);
    assert_eq!(got[..2], [(false, Lane::DEFAULT, vec![]), (true, lane(0), vec![5])], "control, then the urgent lane");
    let of = |number: u8| -> Vec<u8> {
        got.iter()
            .filter(|(packed, of, _)| *packed && *of == lane(number))
            .flat_map(|(_, _, marks)| marks.clone())
            .collect()
    };
    assert_eq!((of(4), of(7)), (vec![2, 4], vec![1, 3]), "in the order of their lane");
}

#[test]
fn a_batch_is_bounded_and_what_is_larger_by_itself_is_packed_alone() {
    let mut bench = Bench::packed(Codec::Lz4);
    for (mark, len) in [(1, 30 << 10), (2, 30 << 10), (3, 30 << 10), (4, 200 << 10), (5, 1_000)] {
        let block = bench.block(4, 1, 0, mark, len);
        bench.forward_whole(&block);
    }
    bench.flush(usize::MAX, 1);
    let batches: Vec<Vec<u8>> = bench
        .read_link(Codec::Lz4)
        .into_iter()
        .map(|(packed, _, marks)| {
            assert!(packed);
            marks
        })
        .collect();
    assert_eq!(batches, [vec![1, 2], vec![3], vec![4], vec![5]]);
}

#[test]
fn what_does_not_get_smaller_goes_as_it_is_and_is_tried_again_later() {
    let mut bench = Bench::packed(Codec::Lz4);
    let mut random = weft_base::Random::from_seed(7);
    let noise: Vec<u8> = (0..60 << 10).map(|_| random.below(256) as u8).collect();
    let (noise, zeros) = (bench.block_of(4, 1, 0, &noise), bench.block(4, 1, 0, 1, 60 << 10));
    let urgent = bench.block(3, 1, 0, 2, 60 << 10);
    let mut packed = |block: &BlockRef| {
        bench.forward_whole(block);
        bench.flush(usize::MAX, 1);
        let got = bench.read_link(Codec::Lz4);
        assert_eq!(got.len(), 1);
        got[0].0
    };
    assert!(!packed(&noise));
    assert_eq!([0; 3].map(|_| packed(&zeros)), [false, false, false], "128 KiB go as they are");
    assert!(packed(&urgent), "its lane is judged by itself");
    assert!(packed(&zeros));
    // Twice in a row, and the pause doubles.
    assert_eq!([packed(&noise), packed(&zeros), packed(&zeros), packed(&zeros), packed(&noise)], [false; 5]);
    assert_eq!([0; 6].map(|_| packed(&zeros)), [false, false, false, false, false, true]);
}

#[test]
fn packed_blocks_of_a_link_that_ends_count_as_lost() {
    let mut bench = Bench::packed(Codec::Zstd);
    for mark in 1..=4 {
        let block = bench.block(4, 1, 0, mark, 1_000);
        bench.forward_whole(&block);
    }
    bench.flush(10, 1);
    bench.egress.abandon(&bench.counters);
    assert_eq!(get(&bench.counters.dropped[DropReason::LinkLost]), 4);
    assert_eq!((get(&bench.counters.waiting_links), get(&bench.counters.forwarded)), (0, 0));
}

#[test]
fn without_room_for_packed_bytes_blocks_go_as_they_are_and_room_comes_back() {
    let mut bench = Bench::packed(Codec::Lz4);
    let room = bench.press.room();
    let held = room.take_all();
    let block = bench.block(4, 1, 0, 1, 1_000);
    bench.forward_whole(&block);
    bench.flush(usize::MAX, 1);
    assert_eq!(bench.read_link(Codec::Lz4), [(false, lane(4), vec![1])]);
    drop(held);
    bench.forward_whole(&block);
    bench.flush(usize::MAX, 1);
    assert_eq!(bench.read_link(Codec::Lz4), [(true, lane(4), vec![1])]);
    bench.egress = Egress::new(bench.egress.limits);
    assert_eq!(room.left(), ROOM, "all of it, once the link is gone");
}

#[test]
fn packing_in_the_steady_state_allocates_nothing() {
    for codec in Codec::ALL {
        let mut bench = Bench::packed(codec);
        let block = bench.block(4, 1, 0, 1, 1_000);
        let head = forward_of(&block);
        let mut round = |count: usize| {
            for _ in 0..count {
                let head = Head::new(head.head.bytes());
                let forward = Forward { head, block: block.clone(), live_copies: 1, second: 0, guaranteed: false };
                bench.egress.forward(forward, UnixNanos(MS), &bench.counters);
            }
            // In two parts, so that several batches wait at a time.
            bench.flush(100, 1);
            bench.flush(usize::MAX, 1);
            bench.socket.taken.clear();
        };
        (0..20).for_each(|_| round(200));
        let counted = allocation_counter::measure(|| (1..=200).for_each(&mut round));
        assert_eq!(counted.count_total, 0, "{codec:?}");
        let link = bench.egress.link().expect("it is one");
        assert!(get(&link.wire_out) * 4 < get(&link.bytes_out), "they were packed");
    }
}

/// A mark counts what stands before it on its way to the socket, and no more.
#[test]
fn a_mark_stands_behind_the_blocks_that_it_counts_and_before_all_others() {
    for channels in [1, 3, Lane::COUNT + 1] {
        let mut bench = Bench::new();
        bench.egress.count_as_link(bench.counters.link("west"), true);
        bench.egress.keep_lanes_apart(channels);
        let block = bench.block(4, 1, 0, 1, 1_000);
        assert!(!bench.egress.mark_lanes(9), "there is nothing to say");
        bench.forward(block.clone(), false, 1);
        bench.forward(block.clone(), false, 1);
        // Both have their place, and neither is written.
        bench.flush(0, 1);
        assert!(bench.egress.owes_marks() && bench.egress.mark_lanes(9));
        assert!(!bench.egress.owes_marks(), "one mark is under way");
        bench.egress.control().extend_from_slice(&[7; 8]);
        bench.forward(block.clone(), false, 1);
        bench.flush(usize::MAX, 1);
        let taken = std::mem::take(&mut bench.socket.taken);
        // The control frames come first where nothing is half written.
        let rest = taken.strip_prefix(&[7; 8]).expect("the control frames");
        let mark = &rest[2 * block.len()..rest.len() - block.len()];
        let Ok(Wire::LinkLedger(said)) = Wire::decode(mark) else { panic!("no mark: {mark:?}") };
        assert_eq!((said.lane.get(), said.blocks, said.columns, &said.events[..]), (4, 2, 9, &[2, 0][..]));
        assert!(!bench.egress.mark_lanes(9), "the mark is not answered");
        let answer = frame::LinkCounted { lane: said.lane, blocks: 2, events: 1 };
        assert_eq!(bench.egress.counted(&answer), Ok((2, 1)));
        assert!(bench.egress.counted(&answer).is_err(), "nothing was asked");
        assert!(bench.egress.owes_marks(), "of the third");
        // The fourth takes its place, and the link ends before it is written.
        bench.forward(block.clone(), false, 1);
        bench.flush(0, 1);
        bench.egress.abandon(&bench.counters);
        let link = bench.counters.link("west");
        assert_eq!((get(&link.events_out), get(&link.unsure_out)), (3, 1));
        assert_eq!(get(&bench.counters.dropped[DropReason::LinkLost]), 1);
    }
}
