//! Flows against oracles: a lossy wire, restarts at both ends, and refusals,
//! from random plans. Replay a failure with the seed that proptest prints.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;
use weft_base::{Epoch, HubId, Lane, Mono};
use weft_wire::frame::{AckLevel, FlowEntry};

use super::*;

const FAR: HubId = HubId(9);

fn at(ms: u64) -> Mono {
    Mono(ms * 1_000_000)
}

fn due(sender: &mut Sender<u64>, ms: u64) -> Vec<u64> {
    sender.retransmit_due(at(ms)).map(|(_, number)| number).collect()
}

fn sender_of(count: u64) -> Sender<u64> {
    let mut sender = Sender::new(100, RetransmitOptions { burst: 4, ..RetransmitOptions::default() });
    for item in 0..count {
        let pushed = sender.push(item, at(0)).expect("room");
        assert_eq!(pushed, Pushed { number: item, send: true });
    }
    sender
}

#[test]
fn a_full_flow_hands_the_block_back() {
    let mut sender = Sender::new(1, RetransmitOptions::default());
    sender.push('a', at(0)).expect("room");
    assert_eq!(sender.push('b', at(0)).expect_err("full").item, 'b');
    sender.acked(0, 1, 1, at(1), |_, _| {});
    assert_eq!(sender.push('b', at(2)).expect("room").number, 1);
}

#[test]
fn each_level_is_told_once_and_blocks_are_held_until_synced() {
    let mut sender = sender_of(3);
    let mut told = Vec::new();
    assert!(sender.acked(0, 2, 0, at(1), |item, level| told.push((*item, level))));
    assert!(!sender.acked(0, 2, 0, at(1), |item, level| told.push((*item, level))));
    assert!(sender.acked(0, 2, 1, at(2), |item, level| told.push((*item, level))));
    assert!(sender.acked(0, 3, 3, at(3), |item, level| told.push((*item, level))));
    let (written, synced) = (AckLevel::Written, AckLevel::Synced);
    assert_eq!(told, [(0, written), (1, written), (0, synced), (2, written), (1, synced), (2, synced)]);
    assert!(sender.is_empty());
    assert_eq!(sender.next_deadline(), None);
}

#[test]
fn what_was_never_sent_cannot_be_acknowledged() {
    let mut sender = sender_of(2);
    assert!(!sender.acked(0, 3, 0, at(1), |_, _| panic!("nothing happened")));
    assert!(!sender.acked(1, 1, 0, at(1), |_, _| panic!("another incarnation")));
}

#[test]
fn a_timeout_goes_back_and_the_waits_grow() {
    let mut sender = sender_of(2);
    sender.set_rtt(Duration::from_millis(100));
    sender.acked(0, 1, 0, at(0), |_, _| {});
    assert!(due(&mut sender, 399).is_empty());
    assert_eq!(due(&mut sender, 400), [1], "twice the round trip and the floor, from what is not written");
    assert!(due(&mut sender, 1_199).is_empty());
    assert_eq!(due(&mut sender, 1_200), [0, 1], "twice in vain: from the base");
    assert!(due(&mut sender, 2_799).is_empty());
    assert_eq!(due(&mut sender, 2_800), [0, 1]);
    // Progress ends the growth.
    sender.acked(0, 1, 1, at(3_000), |_, _| {});
    assert_eq!(sender.next_deadline(), Some(at(3_400)));
}

#[test]
fn another_way_is_tried_at_once_by_what_is_overdue_and_by_nothing_else() {
    let mut sender = sender_of(3);
    sender.way_changed(at(100));
    assert_eq!(due(&mut sender, 100), [], "it may be on its way");
    assert_eq!(due(&mut sender, 200), [0, 1, 2]);
    assert_eq!(due(&mut sender, 300), [], "the next would be due at 600");
    sender.way_changed(at(300));
    assert_eq!(due(&mut sender, 300), [0, 1, 2]);
    assert_eq!(due(&mut sender, 499), []);
    assert_eq!(due(&mut sender, 500), [0, 1, 2], "and the pauses begin anew");
}

#[test]
fn with_all_written_one_block_asks_for_the_sync() {
    let mut sender = sender_of(3);
    sender.acked(0, 3, 0, at(0), |_, _| {});
    assert_eq!(due(&mut sender, 1_000), [2]);
}

#[test]
fn sending_again_is_paced_by_acknowledgements() {
    let mut sender = sender_of(10);
    assert_eq!(due(&mut sender, 1_000), [0, 1, 2, 3]);
    assert!(due(&mut sender, 1_001).is_empty());
    assert_eq!(sender.push(10, at(1_001)).expect("room"), Pushed { number: 10, send: false }, "others go first");
    sender.acked(0, 2, 0, at(1_002), |_, _| {});
    assert_eq!(due(&mut sender, 1_002), [4, 5]);
    sender.acked(0, 9, 0, at(1_003), |_, _| {});
    assert_eq!(due(&mut sender, 1_003), [9, 10]);
    assert!(sender.push(11, at(1_004)).expect("room").send);
}

#[test]
fn nothing_is_sent_out_of_reach_and_all_at_once_when_the_path_returns() {
    let mut sender = sender_of(2);
    sender.set_reachable(false, at(1));
    assert_eq!(sender.next_deadline(), None);
    assert!(due(&mut sender, 99_000).is_empty());
    assert!(!sender.push(2, at(99_000)).expect("room").send);
    sender.set_reachable(true, at(99_001));
    assert_eq!(due(&mut sender, 99_001), [0, 1, 2]);
}

#[test]
fn a_new_life_of_the_destination_gets_all_that_was_not_synced() {
    let mut sender = sender_of(4);
    sender.acked(0, 3, 1, at(1), |_, _| {});
    sender.restart(at(2));
    assert_eq!(sender.incarnation(), 1);
    assert!(!sender.acked(0, 4, 4, at(3), |_, _| {}), "the old life's last words are not for the new one");
    assert_eq!(due(&mut sender, 3), [1, 2, 3]);
    let entry = sender.entry(FAR, 1, true);
    let mut receiver = Receiver::new();
    assert_eq!(receiver.accept(Epoch(1), entry.incarnation, entry.base, entry.sequence), Verdict::Accept);
}

#[test]
fn a_refusal_hands_back_what_is_not_written_and_begins_again() {
    let mut sender = sender_of(4);
    let back = sender.refused(0, 2, 1, at(1), |_, _| {});
    assert_eq!(back, [2, 3]);
    assert_eq!((sender.incarnation(), sender.base(), sender.next()), (1, 1, 2));
    assert!(sender.refused(0, 2, 1, at(1), |_, _| {}).is_empty(), "said again, it means nothing");
    assert_eq!(due(&mut sender, 1), [1]);
    assert_eq!(sender.push(4, at(2)).expect("room"), Pushed { number: 2, send: true });
}

#[test]
fn a_receiver_refuses_the_rest_of_a_refused_incarnation() {
    let mut receiver = Receiver::new();
    assert_eq!(receiver.accept(Epoch(1), 0, 0, 0), Verdict::Accept);
    assert!(receiver.refuse(Epoch(1), 0));
    assert!(!receiver.refuse(Epoch(1), 7));
    assert_eq!(receiver.accept(Epoch(1), 0, 0, 1), Verdict::Refused);
    assert_eq!(receiver.accept(Epoch(1), 1, 1, 1), Verdict::Accept);
    assert_eq!(receiver.accept(Epoch(1), 0, 0, 1), Verdict::Stale);
}

#[test]
fn a_receiver_without_memory_waits_for_the_base() {
    let mut receiver = Receiver::new();
    assert_eq!(receiver.accept(Epoch(1), 0, 5, 7), Verdict::Gap);
    assert_eq!(receiver.accept(Epoch(1), 0, 5, 5), Verdict::Accept);
    assert_eq!(receiver.accept(Epoch(1), 0, 5, 5), Verdict::Duplicate);
    assert_eq!(receiver.accept(Epoch(1), 0, 9, 9), Verdict::Accept, "what is below the base is done with");
    assert_eq!(receiver.accept(Epoch(1), 0, 9, 8), Verdict::Stale, "an entry below its own base is none");
    assert_eq!(receiver.accept(Epoch(2), 0, 0, 0), Verdict::Accept, "a new life of the origin begins anew");
    assert_eq!(receiver.accept(Epoch(1), 0, 9, 10), Verdict::Stale);
}

#[test]
fn a_live_receiver_counts_from_zero_for_its_own_life_only() {
    let mut receiver = LiveReceiver::new(Epoch(5));
    // The sender does not know of this life yet: what it counted before is not ours.
    assert_eq!(receiver.accept(Epoch(1), 4, 100, 2), Live { deliver: true, missed: 0 });
    assert_eq!(receiver.accept(Epoch(1), 4, 105, 1), Live { deliver: true, missed: 3 });
    let mut sender = LiveSender::new(Epoch(4));
    sender.take(106);
    sender.restart(Epoch(5));
    let first = sender.entry(FAR, 3);
    let second = sender.entry(FAR, 1);
    assert_eq!((first.incarnation, first.sequence, second.sequence), (5, 0, 3));
    assert_eq!(receiver.accept(Epoch(1), 5, 3, 1), Live { deliver: true, missed: 3 });
    assert_eq!(receiver.accept(Epoch(1), 5, 0, 3), Live { deliver: false, missed: 0 }, "counted as missed before");
    assert_eq!(receiver.accept(Epoch(1), 4, 106, 1), Live { deliver: false, missed: 0 });
}

#[test]
fn the_window_is_of_each_lane_and_epoch() {
    let mut seen = Seen::new(2);
    let mut check = |hub, epoch, lane, block| seen.check(HubId(hub), Epoch(epoch), lane, block);
    assert_eq!(check(1, 1, Lane::BULK, 1), Cut::New);
    for block in 2..3 * WINDOW {
        assert_eq!(check(1, 1, Lane::URGENT, block), Cut::New);
    }
    assert_eq!(check(1, 1, Lane::BULK, 2), Cut::New, "overtaken by any number of urgent ones");
    assert_eq!(check(1, 1, Lane::URGENT, 3 * WINDOW - 1), Cut::Duplicate);
    assert_eq!(check(1, 1, Lane::URGENT, 2 * WINDOW), Cut::Duplicate, "just inside the window");
    assert_eq!(check(1, 1, Lane::URGENT, 2 * WINDOW - 1), Cut::Late, "just outside");
    assert_eq!(check(1, 2, Lane::URGENT, 1), Cut::New);
    assert_eq!(check(1, 1, Lane::URGENT, 9 * WINDOW), Cut::Late, "an earlier life");
    // A third origin takes the place of the one not heard for the longest.
    assert_eq!(check(2, 1, Lane::BULK, 1), Cut::New);
    assert_eq!(check(3, 1, Lane::BULK, 1), Cut::New);
    assert_eq!(check(2, 1, Lane::BULK, 1), Cut::Duplicate);
    assert_eq!(seen.origins(), 2);
}

/// What happens between the two ends of a guaranteed flow.
#[derive(Clone, Debug)]
enum Step {
    Push,
    /// The oldest frame under way arrives.
    Arrive,
    /// The oldest frame, or all of them, is lost.
    Lose(bool),
    /// The destination says how far it is.
    Ack,
    LoseAck,
    ArriveAck,
    Sync,
    /// The destination restarts with what is synced; the origin hears of it now or later.
    Restart,
    HearOfRestart,
    Refuse,
    Wait,
    Path(bool),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Push),
        8 => Just(Step::Arrive),
        2 => any::<bool>().prop_map(Step::Lose),
        5 => Just(Step::Ack),
        1 => Just(Step::LoseAck),
        5 => Just(Step::ArriveAck),
        3 => Just(Step::Sync),
        1 => Just(Step::Restart),
        1 => Just(Step::HearOfRestart),
        1 => Just(Step::Refuse),
        4 => Just(Step::Wait),
        1 => any::<bool>().prop_map(Step::Path),
    ]
}

/// One origin, one destination with a log that removes duplicates by the
/// producer's sequence, and a wire of two queues.
struct World {
    now: u64,
    sender: Sender<u64>,
    wire: VecDeque<(FlowEntry, u64)>,
    acks: VecDeque<(u32, u64, u64, bool)>,
    receiver: Receiver,
    incarnation: u32,
    /// The log, how much of it is synced, and which flow position that is.
    log: Vec<u64>,
    synced_len: usize,
    written: u64,
    synced: u64,
    restarted: bool,
    pushed: u64,
    given_back: BTreeSet<u64>,
    told_synced: Vec<u64>,
}

impl World {
    fn new() -> Self {
        Self {
            now: 0,
            sender: Sender::new(16, RetransmitOptions { burst: 3, ..RetransmitOptions::default() }),
            wire: VecDeque::new(),
            acks: VecDeque::new(),
            receiver: Receiver::new(),
            incarnation: 0,
            log: Vec::new(),
            synced_len: 0,
            written: 0,
            synced: 0,
            restarted: false,
            pushed: 0,
            given_back: BTreeSet::new(),
            told_synced: Vec::new(),
        }
    }

    fn resend(&mut self) {
        let entry = self.sender.entry(FAR, 0, true);
        let frames = self.sender.retransmit_due(at(self.now));
        self.wire.extend(frames.map(|(item, number)| (FlowEntry { sequence: number, ..entry }, *item)));
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Push => {
                if let Ok(pushed) = self.sender.push(self.pushed, at(self.now)) {
                    if pushed.send {
                        self.wire.push_back((self.sender.entry(FAR, pushed.number, false), self.pushed));
                    }
                    self.pushed += 1;
                }
            }
            Step::Arrive => {
                let Some((entry, item)) = self.wire.pop_front() else { return };
                let before = self.receiver.current();
                let verdict = self.receiver.accept(Epoch(1), entry.incarnation, entry.base, entry.sequence);
                if self.receiver.current() != before {
                    self.incarnation = entry.incarnation;
                    (self.written, self.synced) = (self.receiver.expected(), entry.base);
                }
                match verdict {
                    Verdict::Accept => {
                        if self.log.last().is_none_or(|last| *last < item) {
                            self.log.push(item);
                        }
                        self.written = entry.sequence + 1;
                    }
                    Verdict::Refused => self.ack(true),
                    _ => self.ack(false),
                }
            }
            Step::Lose(all) => {
                let count = if *all { self.wire.len() } else { 1.min(self.wire.len()) };
                self.wire.drain(..count);
            }
            Step::Ack => self.ack(false),
            Step::LoseAck => drop(self.acks.pop_front()),
            Step::ArriveAck => {
                let Some((incarnation, written, synced, refused)) = self.acks.pop_front() else { return };
                let mut told = Vec::new();
                let each = |item: &u64, level| told.extend((level == AckLevel::Synced).then_some(*item));
                if refused {
                    self.given_back.extend(self.sender.refused(incarnation, written, synced, at(self.now), each));
                } else {
                    self.sender.acked(incarnation, written, synced, at(self.now), each);
                }
                self.told_synced.extend(told);
            }
            Step::Sync => {
                self.synced_len = self.log.len();
                self.synced = self.written;
            }
            Step::Restart => {
                self.log.truncate(self.synced_len);
                self.receiver = Receiver::new();
                self.incarnation = 0;
                (self.written, self.synced) = (0, 0);
                self.restarted = true;
            }
            Step::HearOfRestart => {
                if std::mem::take(&mut self.restarted) {
                    self.sender.restart(at(self.now));
                }
            }
            Step::Refuse => {
                if self.receiver.refuse(Epoch(1), self.incarnation) {
                    self.ack(true);
                }
            }
            Step::Wait => self.now += 5_000,
            Step::Path(up) => self.sender.set_reachable(*up, at(self.now)),
        }
        self.resend();
        self.check();
    }

    fn ack(&mut self, refused: bool) {
        if self.receiver.current().is_some() {
            self.acks.push_back((self.incarnation, self.written, self.synced, refused));
        }
    }

    fn check(&self) {
        assert!(self.log.is_sorted_by(|a, b| a < b), "in order, each once: {:?}", self.log);
        let synced = &self.log[..self.synced_len];
        for item in &self.told_synced {
            assert!(synced.binary_search(item).is_ok(), "{item} was said to be synced and is not in {synced:?}");
        }
        let holes =
            (0..self.log.last().map_or(0, |last| last + 1)).filter(|item| self.log.binary_search(item).is_err());
        for item in holes {
            assert!(self.given_back.contains(&item), "{item} is missing in {:?}", self.log);
        }
    }

    /// No more faults: everything gets there.
    fn finish(&mut self) {
        self.step(&Step::HearOfRestart);
        self.step(&Step::Path(true));
        for _ in 0..200 {
            while !self.wire.is_empty() {
                self.step(&Step::Arrive);
            }
            for step in [Step::Sync, Step::Ack, Step::ArriveAck, Step::Wait] {
                self.step(&step);
            }
            while !self.acks.is_empty() {
                self.step(&Step::ArriveAck);
            }
        }
        assert!(self.sender.is_empty(), "{:?} at the end", self.sender);
        let expected: Vec<u64> = (0..self.pushed).filter(|item| !self.given_back.contains(item)).collect();
        let stored: Vec<u64> = self.log.iter().copied().filter(|item| !self.given_back.contains(item)).collect();
        assert_eq!(stored, expected);
    }
}

/// The oracle must see what is wrong: a destination that lies about its disk.
#[test]
#[should_panic(expected = "was said to be synced")]
fn the_oracle_catches_a_lie_about_the_disk() {
    let mut world = World::new();
    for step in [Step::Push, Step::Push, Step::Arrive] {
        world.step(&step);
    }
    world.acks.push_back((0, 2, 2, false));
    world.step(&Step::ArriveAck);
}

/// And a hole: a receiver that begins in the middle.
#[test]
#[should_panic(expected = "0 is missing")]
fn the_oracle_catches_a_hole() {
    let mut world = World::new();
    for step in [Step::Push, Step::Push, Step::Lose(false)] {
        world.step(&step);
    }
    for (entry, _) in &mut world.wire {
        entry.base = entry.sequence;
    }
    world.step(&Step::Arrive);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is lost and whoever restarts: the log has each block once, in
    /// order, without holes but for blocks that were handed back; what was said
    /// to be synced is; and once the faults end, all of it gets there.
    #[test]
    fn a_guaranteed_flow_is_exact(steps in proptest::collection::vec(any_step(), 1..200)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }

    /// `sent = delivered + missed + under way`, and what is delivered is in order.
    #[test]
    fn a_live_flow_accounts_for_every_event(
        blocks in proptest::collection::vec((1..5u64, 0..4usize), 1..60),
        lost in proptest::collection::vec(any::<bool>(), 60),
    ) {
        let (mut sender, mut receiver) = (LiveSender::new(Epoch(2)), LiveReceiver::new(Epoch(2)));
        let mut wire = Vec::new();
        for (events, behind) in blocks {
            let entry = sender.entry(FAR, events);
            // A route change may let a block overtake some before it.
            wire.insert(wire.len() - behind.min(wire.len()), (entry, events));
        }
        let (mut delivered, mut missed, mut last) = (0, 0, None);
        for ((entry, events), _) in wire.iter().zip(&lost).filter(|(_, lost)| !**lost) {
            let live = receiver.accept(Epoch(1), entry.incarnation, entry.sequence, *events);
            missed += live.missed;
            if live.deliver {
                prop_assert!(last < Some(entry.sequence));
                last = Some(entry.sequence);
                delivered += events;
                prop_assert_eq!(delivered + missed, entry.sequence + events);
            }
            let again = receiver.accept(Epoch(1), entry.incarnation, entry.sequence, *events);
            prop_assert_eq!(again, Live { deliver: false, missed: 0 });
        }
        prop_assert!(delivered + missed <= sender.sent());
    }

    /// The window against a set of all that was seen.
    #[test]
    fn the_cut_agrees_with_a_set(jumps in proptest::collection::vec((0..3u64, 0..2 * WINDOW), 1..300)) {
        let (mut seen, mut oracle, mut highest) = (Seen::new(1), BTreeSet::new(), 0);
        for (far, offset) in jumps {
            let block = if far == 0 { highest + offset } else { u64::saturating_sub(highest, offset / 50) }.max(1);
            let expected = if block + WINDOW <= highest {
                Cut::Late
            } else if oracle.insert(block) {
                Cut::New
            } else {
                Cut::Duplicate
            };
            prop_assert_eq!(seen.check(HubId(1), Epoch(1), Lane::DEFAULT, block), expected, "block {}", block);
            highest = highest.max(block);
        }
    }
}
