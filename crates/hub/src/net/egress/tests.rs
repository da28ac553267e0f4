//! The egress against a socket that takes as much as the test says.

use std::io;
use std::time::Duration;

use weft_base::{Epoch, HubId, Mono, ProducerId, TenantId};
use weft_ring::arena::{Arena, ArenaOptions, BlockRef};
use weft_transport::{
    Accept, DialError, ListenError, ListenerToken, ReadOutcome, Ready, Security, Waker as NetworkWaker,
};
use weft_wire::block::{BlockFields, BlockWriter, EventFields, Stamp, stamp};
use weft_wire::frame::{Frame as Wire, OnFull, Peek};

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
    room: usize,
    taken: Vec<u8>,
}

impl Network for Socket {
    fn listen(&mut self, _: &str, _: &Security, _: Accept) -> Result<(ListenerToken, String), ListenError> {
        unreachable!("nobody listens")
    }
    fn dial(&mut self, _: &str, _: &Security, _: Option<&str>) -> Result<LinkToken, DialError> {
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
        if self.full == Some(channel) { WriteOutcome::WouldBlock } else { self.write(link, slices) }
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
        Self { egress: Egress::new(limits), socket: Socket::default(), counters: Counters::default(), arena }
    }

    fn subscribe(&mut self, credit_events: u64) {
        let options =
            SubscribeOptions { credit_events, credit_bytes: u64::MAX, on_full: OnFull::DropOldest, gate: None };
        self.egress.subscribers.subscribe(ONE, options);
    }

    /// A block of one event of `producer`, with `len` bytes of payload that begin with `mark`.
    fn block(&self, lane: u8, producer: u64, deadline_ms: u64, mark: u8, len: usize) -> BlockRef {
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
        let mut payload = vec![0; len];
        payload[0] = mark;
        let mut writer = BlockWriter::new(bytes, &fields).expect("room");
        writer.push(&EventFields { time: UnixNanos(1), key: &[], headers: &[], payload: &payload }).expect("room");
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
        let forward = Forward { head: Head::new(&[]), block, live_copies, guaranteed };
        self.egress.forward(forward, UnixNanos(now_ms * MS), &self.counters);
    }

    fn flush(&mut self, room: usize, now_ms: u64) {
        let now = UnixNanos(now_ms * MS);
        self.socket.room = room;
        self.egress.pump(now, &self.counters, |_| {});
        self.egress.drop_expired(now, &self.counters);
        self.egress.flush(&mut self.socket, LINK, &self.counters).expect("the link stands");
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
fn lanes_that_are_kept_apart_do_not_wait_for_each_other() {
    let mut bench = Bench::new();
    bench.egress.keep_lanes_apart();
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

/// A network that bounds what it takes of all channels together let an urgent
/// lane with enough to say keep the others silent.
#[test]
fn lanes_that_are_kept_apart_share_what_the_network_takes() {
    let mut bench = Bench::new();
    bench.egress.keep_lanes_apart();
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
