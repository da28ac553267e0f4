//! Who goes first, that nobody starves, and that a full lane is its own affair.

use weft_base::{Mono, ProducerId, Random};
use weft_ring::arena::{Arena, ArenaOptions};
use weft_wire::block::{BlockFields, BlockWriter, EventFields};
use weft_wire::frame::{AckLevel, FlowEntry, FlowKind, PathCopy, detour_head, forward_head};

use super::*;
use crate::messages::{Publish, SessionId};

struct Bench {
    arena: Arena,
    out: RouteOutbox,
    inbox: RouteInbox,
}

impl Bench {
    fn new() -> Self {
        let (to_route, inbox) = rings(512);
        let out = RouteOutbox::new(&to_route, &StageWaker::parking());
        Self { arena: Arena::new(ArenaOptions::default()).expect("memory"), out, inbox }
    }

    fn block(&self, lane: Lane, first_sequence: u64) -> weft_ring::arena::BlockMut {
        let mut buffer = self.arena.lend(512).expect("room");
        let fields = BlockFields { lane, producer: ProducerId(1), first_sequence, ..BlockFields::new("t") };
        let mut writer = BlockWriter::new(buffer.spare_mut(), &fields).expect("a writer");
        writer.push(&EventFields { payload: b"x", ..EventFields::default() }).expect("room");
        let len = writer.finish().expect("a block");
        buffer.advance(len);
        buffer.split_to(len)
    }

    fn push(&mut self, lane: Lane, first_sequence: u64) {
        let block = self.block(lane, first_sequence);
        let publish = Publish {
            session: SessionId(1),
            id: 0,
            level: AckLevel::None,
            homes: 0,
            block,
            checked: true,
            since: Mono(1),
            far: false,
            dropped: false,
        };
        self.out.push(ToRoute::Publish(publish));
    }

    fn pop(&mut self) -> Option<(Lane, u64)> {
        match self.inbox.pop()? {
            ToRoute::Publish(publish) => {
                let block = Block::trusted(&publish.block);
                Some((block.lane(), block.first_sequence()))
            }
            _ => panic!("nothing else was sent"),
        }
    }
}

#[test]
fn lanes_share_by_their_weights_and_each_keeps_its_order() {
    let mut bench = Bench::new();
    let most = lane_slots(512) as u64;
    for n in 1..=most {
        Lane::all().for_each(|lane| bench.push(lane, n));
    }
    let mut next = [1; Lane::COUNT];
    // The first round: 8 of the most urgent, 7 of the next, one of the last.
    for lane in Lane::all() {
        for _ in 0..Lane::COUNT - lane.index() {
            assert_eq!(bench.pop(), Some((lane, next[lane.index()])));
            next[lane.index()] += 1;
        }
    }
    while let Some((lane, sequence)) = bench.pop() {
        assert_eq!(sequence, next[lane.index()], "{lane:?}");
        next[lane.index()] += 1;
    }
    assert_eq!(next, [most + 1; Lane::COUNT], "all of it came");
    assert!(bench.inbox.has_no_blocks() && bench.inbox.len() == 0 && bench.out.is_empty());
}

#[test]
fn whatever_comes_when_everything_comes_out_once_and_in_its_lanes_order() {
    for seed in 0..50 {
        let mut random = Random::from_seed(seed);
        let mut bench = Bench::new();
        let (mut sent, mut seen) = ([0; Lane::COUNT], [0; Lane::COUNT]);
        for _ in 0..3_000 {
            if random.next_u64().is_multiple_of(2) {
                let lane = Lane::new((random.next_u64() % 8) as u8).expect("a lane");
                if bench.out.has_room_in(lane, 1) {
                    sent[lane.index()] += 1;
                    bench.push(lane, sent[lane.index()]);
                }
            } else if let Some((lane, sequence)) = bench.pop() {
                seen[lane.index()] += 1;
                assert_eq!(sequence, seen[lane.index()], "seed {seed}");
            }
        }
        while let Some((lane, _)) = bench.pop() {
            seen[lane.index()] += 1;
        }
        assert_eq!(seen, sent, "seed {seed}");
    }
}

#[test]
fn a_full_lane_leaves_the_others_their_room() {
    let mut bench = Bench::new();
    for n in 1..=lane_slots(512) as u64 {
        bench.push(Lane::BULK, n);
    }
    assert!(!bench.out.has_room_in(Lane::BULK, 1));
    assert!(bench.out.has_room_in(Lane::URGENT, 1) && bench.out.has_room(4));
    bench.push(Lane::URGENT, 1);
    assert_eq!(bench.pop(), Some((Lane::URGENT, 1)));
}

#[test]
fn the_lane_of_a_frame_is_that_of_its_block() {
    let bench = Bench::new();
    let block = bench.block(Lane::BULK, 1);
    let entry = FlowEntry {
        hub: weft_base::HubId(1),
        incarnation: 0,
        kind: FlowKind::Live,
        retransmit: false,
        sequence: 0,
        base: 0,
    };
    for entries in [1, 3] {
        let mut frame = Vec::new();
        forward_head(&vec![entry; entries], 1, block.len(), &mut frame).expect("a head");
        frame.extend_from_slice(&block);
        assert_eq!(lane_of_frame(&frame), Some(Lane::BULK));
        frame.truncate(40);
        assert_eq!(lane_of_frame(&frame), Some(Lane::DEFAULT), "what is cut off is for the route stage to find");
    }
    for hubs in [1, 5] {
        let (mut frame, way) = (Vec::new(), vec![entry.hub; hubs]);
        detour_head((1, PathCopy::Second), &way, &[entry; 2], block.len(), &mut frame).expect("a head");
        frame.extend_from_slice(&block);
        assert_eq!(lane_of_frame(&frame), Some(Lane::BULK));
    }
}
