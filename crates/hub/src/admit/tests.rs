//! Order through shards that come and go, each as slow as chance has it.

use weft_base::{Lane, Now, ProducerId, Random};
use weft_ring::arena::{Arena, ArenaOptions};
use weft_wire::block::{BlockFields, BlockWriter, EventFields};

use super::*;
use crate::messages::SessionId;

const SESSIONS: usize = 3;
const SHARDS: usize = 3;

fn publish(arena: &Arena, session: usize, topic: &str, first_sequence: u64) -> Publish {
    let mut buffer = arena.lend(512).expect("room");
    let fields = BlockFields { producer: ProducerId(1), first_sequence, ..BlockFields::new(topic) };
    let mut writer = BlockWriter::new(buffer.spare_mut(), &fields).expect("a writer");
    writer.push(&EventFields { payload: b"x", ..EventFields::default() }).expect("room");
    let len = writer.finish().expect("a block");
    buffer.advance(len);
    let session = SessionId(session as u64);
    Publish {
        session,
        id: 0,
        level: AckLevel::None,
        homes: 0,
        block: buffer.split_to(len),
        checked: false,
        since: weft_base::Mono(0),
        far: false,
        dropped: false,
    }
}

/// Runs one seed; answers whether each session's blocks came in order.
/// `follow` false leaves the rule out that a session stays where its last block is.
fn in_order(seed: u64, follow: bool) -> bool {
    let mut random = Random::from_seed(seed);
    let arena = Arena::new(ArenaOptions::default()).expect("memory");
    let waker = StageWaker::parking();
    let (to_route, mut routed) = crate::inbox::rings(64);
    let (to_net, _net) = mpsc::ring(64);
    let wanted = Arc::new(AtomicU32::new(1));
    let (mut shards, mut stages) = (Vec::new(), Vec::new());
    for name in NAMES.into_iter().take(SHARDS) {
        let (to_admit, inbox) = mpsc::ring(16);
        let done = Arc::new(AtomicU64::new(0));
        shards.push(Shard { out: Outbox::new(&to_admit, &waker), sent: 0, done: done.clone() });
        let route = RouteOutbox::new(&to_route, &waker);
        let net = Outbox::new(&to_net, &waker);
        stages.push(AdmitStage { name, inbox, route, net, waker: waker.clone(), taken: 0, done, load: Load::new() });
    }
    let mut admission = Admission::new(shards, wanted.clone());
    let mut route = RouteOutbox::new(&to_route, &waker);
    let mut last = [None; SESSIONS];
    let (mut sent, mut seen) = ([0; SESSIONS], [0; SESSIONS]);
    let mut sorted = true;
    let mut took = |most: usize, seen: &mut [u64; SESSIONS]| {
        for _ in 0..most {
            let Some(ToRoute::Publish(publish)) = routed.pop() else { return };
            let session = publish.session.0 as usize;
            seen[session] += 1;
            sorted &= Block::trusted(&publish.block).first_sequence() == seen[session];
        }
    };
    for _ in 0..2_000 {
        match random.next_u64() % 8 {
            0..4 if admission.have_room(1) && route.has_room_in(Lane::DEFAULT, 1) => {
                let session = random.next_u64() as usize % SESSIONS;
                sent[session] += 1;
                let topic = format!("topic/{}", random.next_u64() % 5);
                let message = publish(&arena, session, &topic, sent[session]);
                if !follow {
                    last[session] = None;
                }
                admission.send(message, &mut last[session], &mut route);
            }
            4 => wanted.store(random.next_u64() as u32 % (SHARDS as u32 + 2), Ordering::Relaxed),
            5 | 6 => {
                stages[random.next_u64() as usize % SHARDS].do_work(Now::default());
            }
            _ => took(random.next_u64() as usize % 8, &mut seen),
        }
    }
    while !admission.are_empty() || !route.is_empty() {
        for stage in &mut stages {
            stage.do_work(Now::default());
        }
        took(64, &mut seen);
    }
    assert_eq!(seen, sent, "seed {seed}: every block arrives");
    sorted
}

#[test]
fn a_sessions_order_holds_while_shards_come_and_go() {
    for seed in 0..100 {
        assert!(in_order(seed, true), "seed {seed}");
    }
}

#[test]
fn the_check_catches_sessions_that_change_shards_at_will() {
    assert!((0..100).any(|seed| !in_order(seed, false)));
}
