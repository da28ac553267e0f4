//! Two paths against an oracle, and by example.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use weft_base::{Epoch, Mono};
use weft_wire::frame::PathCopy;

use super::*;

const OWN: Epoch = Epoch(3);
const PATIENCE: Duration = Duration::from_millis(100);

fn at(ms: u64) -> Mono {
    Mono(ms * 1_000_000)
}

/// A flow whose blocks have one event each and are called by their numbers.
struct Flow {
    receiver: LiveReceiver,
    merge: Merge<u64>,
}

impl Flow {
    fn new() -> Self {
        let receiver = LiveReceiver::new(OWN);
        Self { receiver, merge: Merge::new(&receiver) }
    }

    fn of_life(&mut self, copy: PathCopy, origin: u32, sequence: u64, ms: u64) -> Vec<Merged<u64>> {
        let came = Came { copy, origin: Epoch(origin), incarnation: OWN.0, sequence, events: 1 };
        let mut out = Vec::new();
        self.merge.came(&mut self.receiver, came, sequence, at(ms), &mut out);
        out
    }

    fn first(&mut self, sequence: u64) -> Vec<Merged<u64>> {
        self.of_life(PathCopy::First, 1, sequence, 0)
    }

    fn second(&mut self, sequence: u64) -> Vec<Merged<u64>> {
        self.of_life(PathCopy::Second, 1, sequence, 0)
    }

    fn due(&mut self, ms: u64) -> Vec<Merged<u64>> {
        let mut out = Vec::new();
        self.merge.due(&mut self.receiver, at(ms), PATIENCE, &mut out);
        out
    }
}

fn next(item: u64, missed: u64, copy: PathCopy) -> Merged<u64> {
    Merged::Next { item, missed, copy }
}

use PathCopy::{First, Second};

#[test]
fn the_first_copy_of_each_is_taken_whichever_it_is() {
    let mut flow = Flow::new();
    assert_eq!(flow.first(0), [next(0, 0, First)]);
    assert_eq!(flow.second(0), [Merged::Duplicate(0)]);
    assert_eq!(flow.second(1), [next(1, 0, Second)]);
    assert_eq!(flow.second(2), [next(2, 0, Second)]);
    assert_eq!(flow.first(1), [Merged::Duplicate(1)]);
    assert_eq!(flow.first(2), [Merged::Duplicate(2)]);
    assert_eq!(flow.merge.deadline(PATIENCE), None);
}

#[test]
fn what_is_ahead_waits_for_the_path_that_may_bring_what_is_missing() {
    let mut flow = Flow::new();
    assert_eq!(flow.first(0), [next(0, 0, First)]);
    assert_eq!(flow.first(2), [], "1 was lost on this path, and may come on the other");
    assert_eq!(flow.first(3), []);
    assert_eq!(flow.merge.waiting().copied().collect::<Vec<_>>(), [2, 3]);
    assert_eq!(flow.second(0), [Merged::Duplicate(0)]);
    assert_eq!(flow.second(1), [next(1, 0, Second), next(2, 0, First), next(3, 0, First)]);
    assert_eq!(flow.second(2), [Merged::Duplicate(2)]);
    // Lost on both: known at once when the other path passes it too.
    assert_eq!(flow.first(5), []);
    assert_eq!(flow.second(3), [Merged::Duplicate(3)]);
    assert_eq!(flow.second(5), [Merged::Duplicate(5), next(5, 1, First)]);
}

#[test]
fn nobody_waits_for_ever_nor_again_for_a_path_that_brings_nothing() {
    let mut flow = Flow::new();
    assert_eq!(flow.first(0), [next(0, 0, First)]);
    assert_eq!(flow.first(2), []);
    assert_eq!(flow.merge.deadline(PATIENCE), Some(at(100)));
    assert_eq!(flow.due(99), []);
    assert_eq!(flow.due(100), [next(2, 1, First)]);
    assert_eq!(flow.first(4), [next(4, 1, First)], "the other path is not waited for any more");
    assert_eq!(flow.second(1), [Merged::Duplicate(1)], "it is late");
    assert_eq!(flow.first(6), [], "but now it is back");
    assert_eq!(flow.second(5), [next(5, 0, Second), next(6, 0, First)]);
}

#[test]
fn another_life_of_the_origin_begins_anew() {
    let mut flow = Flow::new();
    assert_eq!(flow.first(0), [next(0, 0, First)]);
    assert_eq!(flow.first(2), []);
    assert_eq!(flow.of_life(Second, 2, 0, 0), [next(2, 1, First), next(0, 0, Second)], "what waited goes first");
    assert_eq!(flow.first(3), [Merged::Duplicate(3)], "of the life before");
    assert_eq!(flow.of_life(First, 2, 0, 0), [Merged::Duplicate(0)]);
}

#[test]
fn what_waits_is_bounded() {
    let mut flow = Flow::new();
    let most = MOST_WAITING as u64;
    for number in 1..=most {
        assert_eq!(flow.first(number), []);
    }
    let out = flow.first(most + 1);
    assert_eq!((out.len() as u64, out.first()), (most + 1, Some(&next(1, 1, First))), "there is no gap behind it");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Each path keeps the order and loses some. All that comes over either is
    /// delivered once and in order while nobody is impatient, and what is missing
    /// is counted whatever happens.
    #[test]
    fn all_that_comes_is_delivered_once_and_in_order(
        lost in proptest::collection::vec(0..8u8, 1..60),
        steps in proptest::collection::vec((any::<bool>(), 0..40u64), 0..200),
        is_patient: bool,
    ) {
        // Bit 0: lost on the first path; bit 1: on the second.
        let left = |bit: u8| (0..lost.len() as u64).filter(|n| lost[*n as usize] & bit == 0).collect::<VecDeque<_>>();
        let mut paths = [left(1), left(2)];
        let mut flow = Flow::new();
        let (mut now, mut out) = (0, Vec::new());
        for (second, passes) in steps.into_iter().chain((0..200).map(|n| (n % 2 == 0, 0))) {
            if !is_patient {
                now += passes;
                out.extend(flow.due(now));
            }
            let Some(number) = paths[usize::from(second)].pop_front() else { continue };
            out.extend(flow.of_life(if second { Second } else { First }, 1, number, now));
        }
        flow.merge.release(&mut flow.receiver, &mut out);
        let (mut delivered, mut expected, mut again) = (Vec::new(), 0, 0);
        for merged in out {
            match merged {
                Merged::Next { item, missed, .. } => {
                    prop_assert_eq!(item, expected + missed);
                    expected = item + 1;
                    delivered.push(item);
                }
                Merged::Duplicate(_) => again += 1,
            }
        }
        let came = |bit: u8| lost.iter().filter(|lost| **lost & bit == 0).count();
        prop_assert_eq!(delivered.len() + again, came(1) + came(2), "each copy is accounted for");
        if is_patient {
            let any: Vec<u64> = (0..lost.len() as u64).filter(|n| lost[*n as usize] & 3 != 3).collect();
            prop_assert_eq!(delivered, any);
        }
    }
}
