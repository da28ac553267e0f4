//! Consistent hashing, and order while shards come and go.

use std::collections::VecDeque;

use proptest::prelude::*;
use weft_base::Random;

use super::*;

#[test]
fn the_hash_is_that_of_the_paper() {
    // The vectors that implementations of the paper in other languages test with.
    let of = |key, buckets| jump(key, buckets);
    assert_eq!([of(0, 1), of(0, 60), of(1, 1), of(42, 57), of(0xDEAD_10CC, 1)], [0, 0, 0, 43, 0]);
    assert_eq!([of(0xDEAD_10CC, 666), of(256, 1_024), of(u64::MAX, 0)], [361, 520, 0]);
}

#[test]
fn one_more_shard_takes_its_share_and_moves_nothing_else() {
    let mut random = Random::from_seed(1);
    let keys: Vec<u64> = (0..40_000).map(|_| random.next_u64()).collect();
    for n in 1..16_u32 {
        let moved: Vec<u32> = keys.iter().filter(|&&k| jump(k, n) != jump(k, n + 1)).map(|&k| jump(k, n + 1)).collect();
        assert!(moved.iter().all(|&to| to == n), "a topic moved between old shards");
        let share = keys.len() / (n as usize + 1);
        assert!(moved.len().abs_diff(share) < share / 10, "{n}: {} moved, {share} expected", moved.len());
    }
}

#[derive(Clone, Debug)]
enum Op {
    Send(u64),
    Serve(u32),
    Answer,
    Flush,
    Resize(u32),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0..24_u64).prop_map(|topic| Op::Send(topic.wrapping_mul(0x9E37_79B9_7F4A_7C15))),
        5 => (0..6_u32).prop_map(Op::Serve),
        2 => Just(Op::Answer),
        2 => Just(Op::Flush),
        1 => (1..=6_u32).prop_map(Op::Resize),
    ];
    prop::collection::vec(op, 1..400)
}

enum Item {
    Block(u64, u64),
    Barrier(u64),
}

/// One sender, six rings, answers that come late.
#[derive(Default)]
struct Model {
    rings: [VecDeque<Item>; 6],
    held: [VecDeque<(u64, u64)>; 6],
    answers: VecDeque<(u32, u64)>,
    free: Vec<u32>,
    sent: u64,
    served: Vec<(u64, u64)>,
    /// The canary: blocks go to their new shard at once.
    impatient: bool,
}

impl Model {
    fn apply(&mut self, handover: &mut Handover, op: Op) {
        match op {
            Op::Send(key) => {
                self.sent += 1;
                match handover.route(key) {
                    Route::Hold(old) if !self.impatient => self.held[old as usize].push_back((key, self.sent)),
                    _ => self.rings[handover.target(key) as usize].push_back(Item::Block(key, self.sent)),
                }
            }
            Op::Serve(shard) => match self.rings[shard as usize].pop_front() {
                Some(Item::Block(key, n)) => self.served.push((key, n)),
                Some(Item::Barrier(epoch)) => self.answers.push_back((shard, epoch)),
                None => {}
            },
            Op::Answer => {
                if let Some((shard, epoch)) = self.answers.pop_front() {
                    assert!(!handover.passed(shard, epoch + 1), "an answer of another epoch");
                    assert!(handover.passed(shard, epoch));
                    self.free.push(shard);
                }
            }
            Op::Flush => {
                // One block at a time, as rings with little room would have it.
                let Some(&shard) = self.free.last() else { return };
                match self.held[shard as usize].pop_front() {
                    Some((key, n)) => self.rings[handover.target(key) as usize].push_back(Item::Block(key, n)),
                    None => {
                        handover.flushed(shard);
                        self.free.pop();
                    }
                }
            }
            Op::Resize(n) => {
                if let Some((epoch, losing)) = handover.resize(n) {
                    for shard in (0..6).filter(|shard| losing & (1 << shard) != 0) {
                        self.rings[shard].push_back(Item::Barrier(epoch));
                    }
                }
            }
        }
    }

    fn finish(&mut self, handover: &mut Handover) {
        for _ in 0..2_000 {
            (0..6).for_each(|shard| self.apply(handover, Op::Serve(shard)));
            self.apply(handover, Op::Answer);
            self.apply(handover, Op::Flush);
        }
    }

    /// The first block that came after a later one of its topic.
    fn overtaken(&self) -> Option<(u64, u64)> {
        let mut last = std::collections::BTreeMap::new();
        self.served.iter().copied().find(|&(key, n)| last.insert(key, n).is_some_and(|before| before > n))
    }
}

fn run(ops: Vec<Op>, impatient: bool) -> (Model, Handover) {
    let mut model = Model { impatient, ..Model::default() };
    let mut handover = Handover::new(2);
    for op in ops {
        model.apply(&mut handover, op);
    }
    model.finish(&mut handover);
    (model, handover)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn no_block_overtakes_another_of_its_topic_while_shards_come_and_go(ops in ops()) {
        let (model, handover) = run(ops, false);
        prop_assert_eq!(model.overtaken(), None);
        prop_assert_eq!(model.served.len() as u64, model.sent);
        prop_assert!(!handover.is_moving(), "the move never ended");
    }
}

#[test]
fn canary_without_the_barrier_blocks_overtake() {
    let mut random = Random::from_seed(2);
    let mut ops = Vec::new();
    for n in 0..4_000_u32 {
        ops.push(Op::Send(u64::from(random.next_u64() as u8 % 24).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        // Shard 0 is slow.
        ops.push(Op::Serve(1 + n % 5));
        if n % 100 == 0 {
            ops.extend([Op::Resize(1 + n / 100 % 6), Op::Answer, Op::Flush]);
        }
        if n % 3 == 0 {
            ops.push(Op::Serve(0));
        }
    }
    assert!(run(ops.clone(), true).0.overtaken().is_some());
    assert_eq!(run(ops, false).0.overtaken(), None);
}
