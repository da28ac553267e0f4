//! The policies of a backlog, by example and against simple models.

use weft_base::{ProducerId, Random, UnixNanos};
use weft_wire::block::{BlockFields, BlockWriter, EventFields, block_len};

use super::*;

/// A block's bytes, aligned as they are in an arena.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bytes(Vec<u64>, usize);

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        let bytes: &[u8] = zerocopy::IntoBytes::as_bytes(self.0.as_slice());
        &bytes[..self.1]
    }
}

fn block(topic: &str, events: &[(&str, u8)]) -> Waiting<Bytes> {
    let len = block_len(topic.len(), events.iter().map(|(key, _)| (key.len(), 0, 1)));
    let mut words = vec![0u64; len.div_ceil(8)];
    let fields = BlockFields { producer: ProducerId(8), first_sequence: 1, ..BlockFields::new(topic) };
    let bytes: &mut [u8] = zerocopy::IntoBytes::as_mut_bytes(words.as_mut_slice());
    let mut writer = BlockWriter::new(bytes, &fields).expect("the topic fits");
    for (key, value) in events {
        let event = EventFields { time: UnixNanos(1), key: key.as_bytes(), headers: &[], payload: &[*value] };
        writer.push(&event).expect("the block has room");
    }
    let len = writer.finish().expect("there is an event");
    Waiting { block: Bytes(words, len), events: events.len() as u64, hops: 0, since: Mono(1) }
}

fn one(value: u8) -> Waiting<Bytes> {
    block("t", &[("", value)])
}

fn backlog(on_full: OnFull, events: u64) -> Backlog<Bytes> {
    Backlog::new(on_full, BacklogLimits { events, bytes: 1 << 20, keys: 1_000 })
}

/// All that comes out: values, and gaps as (events, reason).
fn drain(b: &mut Backlog<Bytes>) -> Vec<Result<Vec<u8>, (u64, DropReason)>> {
    let mut all = Vec::new();
    while let Some(next) = b.pop() {
        all.push(match next {
            Next::Gap { events, reason, .. } => Err((events, reason)),
            Next::Block { waiting, .. } => {
                let bytes = waiting.block;
                Ok(Block::trusted(bytes.as_ref()).events().map(|e| e.payload[0]).collect())
            }
        });
    }
    assert_eq!((b.events(), b.bytes(), b.is_empty(), b.has_news()), (0, 0, true, false));
    assert_eq!((b.keys.places.len(), b.keys.bytes), (0, 0), "no key is left behind");
    all
}

fn push_all(b: &mut Backlog<Bytes>, values: impl IntoIterator<Item = u8>) -> u64 {
    let mut gone = 0;
    for value in values {
        assert_eq!(b.push(Lane::DEFAULT, one(value), |_, n, _| gone += n), Pushed::Done);
    }
    gone
}

#[test]
fn the_oldest_or_the_newest_go_and_the_mark_stands_in_their_place() {
    let mut b = backlog(OnFull::DropOldest, 3);
    assert_eq!(push_all(&mut b, 0..10), 7);
    let full = DropReason::SubscriberFull;
    assert_eq!(drain(&mut b), [Err((7, full)), Ok(vec![7]), Ok(vec![8]), Ok(vec![9])]);
    let mut b = backlog(OnFull::DropNewest, 3);
    assert_eq!(push_all(&mut b, 0..10), 7);
    let Some(Next::Block { .. }) = b.pop() else { panic!("nothing is missing before the first") };
    assert_eq!(push_all(&mut b, [10]), 0);
    assert_eq!(drain(&mut b), [Ok(vec![1]), Ok(vec![2]), Err((7, full)), Ok(vec![10])]);
    let mut b = backlog(OnFull::Wait, 3);
    assert_eq!(push_all(&mut b, 0..4), 1);
    assert_eq!(drain(&mut b), [Ok(vec![0]), Ok(vec![1]), Ok(vec![2]), Err((1, DropReason::WaitOverrun))]);
}

#[test]
fn who_is_waited_for_gets_the_block_that_passes_the_mark_however_large() {
    let many = |value: u8| block("t", &[("", value); 12]);
    let mut b = backlog(OnFull::Wait, 16);
    // Its gate is open until half of the bound is on its way.
    assert_eq!(push_all(&mut b, 0..7), 0);
    assert_eq!(b.push(Lane::DEFAULT, many(7), |_, n, _| panic!("{n} are lost")), Pushed::Done);
    assert_eq!(push_all(&mut b, [8]), 1, "the gate has been closed for long");
    let overrun = DropReason::WaitOverrun;
    let all = drain(&mut b);
    assert_eq!((all.len(), &all[7], &all[8]), (9, &Ok(vec![7; 12]), &Err((1, overrun))));
    // Of a block that comes later, from another hub, half of the bound is left.
    assert_eq!(push_all(&mut b, 0..8), 0);
    let mut lost = 0;
    assert_eq!(b.push(Lane::DEFAULT, many(8), |_, n, _| lost += n), Pushed::Done);
    assert_eq!((lost, drain(&mut b).len()), (12, 9));
}

#[test]
fn what_does_not_fit_is_handed_back_to_be_spilled() {
    let mut b = backlog(OnFull::Spill, 2);
    push_all(&mut b, 0..2);
    let mut counted = Vec::new();
    let pushed = b.push(Lane::DEFAULT, one(2), |reason, n, _| counted.push((reason, n)));
    assert_eq!(pushed, Pushed::Spill(one(2).block));
    assert_eq!(counted, [(DropReason::Spilled, 1)]);
    assert_eq!(drain(&mut b), [Ok(vec![0]), Ok(vec![1]), Err((1, DropReason::Spilled))]);
    let mut b = backlog(OnFull::Disconnect, 1);
    push_all(&mut b, [0]);
    assert_eq!(b.push(Lane::DEFAULT, one(1), |_, _, _| {}), Pushed::Disconnect);
}

#[test]
fn what_goes_is_of_the_least_urgent_lane() {
    for on_full in [OnFull::DropOldest, OnFull::DropNewest, OnFull::Wait] {
        let mut b = backlog(on_full, 4);
        for (lane, value) in [(Lane::BULK, 1), (Lane::BULK, 2), (Lane::URGENT, 3), (Lane::URGENT, 4)] {
            b.push(lane, one(value), |_, _, _| panic!("there is room"));
        }
        let mut gone = 0;
        b.push(Lane::URGENT, one(5), |_, n, _| gone += n);
        b.push(Lane::URGENT, one(6), |_, n, _| gone += n);
        // Only urgent ones wait now: bulk that arrives is what goes.
        b.push(Lane::BULK, one(7), |_, n, _| gone += n);
        assert_eq!(gone, 3);
        let values: Vec<u8> = drain(&mut b).into_iter().filter_map(Result::ok).flatten().collect();
        assert_eq!(values, [3, 4, 5, 6], "{on_full:?}");
    }
}

#[test]
fn urgent_overtakes_and_nothing_starves() {
    let mut b = backlog(OnFull::DropOldest, 1 << 20);
    let topic = "t";
    let large = |value: u8| {
        let key = "k".repeat(60_000);
        block(topic, &[(key.as_str(), value)])
    };
    b.limits.bytes = usize::MAX;
    for n in 0..40 {
        b.push(Lane::BULK, large(n), |_, _, _| {});
        b.push(Lane::URGENT, large(100 + n), |_, _, _| {});
    }
    let order: Vec<u8> = drain(&mut b).into_iter().map(|n| n.expect("no gap")[0]).collect();
    let bulk_before_urgent_ends = order.iter().take_while(|v| **v != 139).filter(|v| **v < 100).count();
    assert!((1..=10).contains(&bulk_before_urgent_ends), "{order:?}");
    for lane in [0, 100] {
        let of_lane: Vec<u8> = order.iter().copied().filter(|v| (lane..lane + 40).contains(v)).collect();
        assert!(of_lane.is_sorted(), "a lane keeps its order");
    }
}

#[test]
fn conflating_keeps_the_newest_of_each_key_in_order_and_counts_the_rest() {
    let mut b = backlog(OnFull::Conflate, 1_000);
    let mut gone = 0;
    for round in 0..10u8 {
        for (n, key) in ["a", "b", "c"].into_iter().enumerate() {
            b.push(Lane::DEFAULT, block("t", &[(key, round * 10 + n as u8)]), |reason, events, _| {
                assert_eq!(reason, DropReason::Conflated);
                gone += events;
            });
        }
    }
    assert_eq!(gone, 27);
    assert_eq!(drain(&mut b), [Err((27, DropReason::Conflated)), Ok(vec![90]), Ok(vec![91]), Ok(vec![92])]);
    // Without a key the topic is the key; topics are told apart.
    for value in 0..4 {
        b.push(Lane::DEFAULT, block(["t", "u"][usize::from(value % 2)], &[("", value)]), |_, _, _| {});
    }
    assert_eq!(drain(&mut b), [Err((2, DropReason::Conflated)), Ok(vec![2]), Ok(vec![3])]);
}

#[test]
fn a_block_waits_while_one_of_its_events_is_the_newest() {
    let mut b = backlog(OnFull::Conflate, 1_000);
    let mut gone = 0;
    b.push(Lane::DEFAULT, block("t", &[("a", 1), ("b", 2), ("a", 3)]), |_, n, _| gone += n);
    b.push(Lane::DEFAULT, block("t", &[("a", 4)]), |_, n, _| gone += n);
    assert_eq!(gone, 0, "its b is still the newest");
    b.push(Lane::DEFAULT, block("t", &[("b", 5)]), |_, n, _| gone += n);
    assert_eq!(gone, 3);
    assert_eq!(drain(&mut b), [Err((3, DropReason::Conflated)), Ok(vec![4]), Ok(vec![5])]);
}

#[test]
fn the_table_of_keys_is_bounded() {
    let limits = BacklogLimits { events: 1 << 20, bytes: 1 << 30, keys: 8 };
    let mut b: Backlog<Bytes> = Backlog::new(OnFull::Conflate, limits);
    let mut gone = 0;
    for n in 0..100u32 {
        b.push(Lane::DEFAULT, block("t", &[(&n.to_string(), n as u8)]), |reason, events, _| {
            assert_eq!(reason, DropReason::SubscriberFull);
            gone += events;
        });
        assert!(b.keys.places.len() <= 8);
    }
    let values: Vec<u8> = drain(&mut b).into_iter().filter_map(Result::ok).flatten().collect();
    assert_eq!(values, (92..100).collect::<Vec<u8>>());
    assert_eq!(gone, 92);
}

/// Over random blocks, pushes and pops: what went in is what came out, was
/// counted, or waits; marks add up to the drops; bounds hold; order is kept.
fn account(seed: u64, leak: bool) -> Result<(), String> {
    let mut random = Random::from_seed(seed);
    let policies = [OnFull::DropOldest, OnFull::DropNewest, OnFull::Wait, OnFull::Conflate, OnFull::Spill];
    let on_full = policies[random.below(5) as usize];
    let limits = BacklogLimits { events: 1 + random.below(30), bytes: 400 + random.below(3_000) as usize, keys: 12 };
    let mut b: Backlog<Bytes> = Backlog::new(on_full, limits);
    let (mut pushed, mut counted, mut marked, mut popped) = (0, 0, 0, 0);
    // The most of one block, which who is waited for gets beyond half of the bounds.
    let (mut most_events, mut most_bytes) = (0, 0);
    let mut last = HashMap::new();
    for step in 0..200u8 {
        if random.below(3) > 0 {
            let topic = ["t", "u"][random.below(2) as usize];
            let keys: Vec<String> = (0..=random.below(3)).map(|_| random.below(6).to_string()).collect();
            let events: Vec<(&str, u8)> = keys.iter().map(|k| (k.as_str(), step)).collect();
            let lane = [Lane::URGENT, Lane::DEFAULT][random.below(2) as usize];
            let waiting = block(topic, &events);
            pushed += waiting.events;
            most_events = most_events.max(waiting.events);
            most_bytes = most_bytes.max(waiting.block.as_ref().len());
            b.push(lane, waiting, |_, n, _| counted += n);
            if leak && step == 100 {
                counted += 1;
            }
        } else if let Some(next) = b.pop() {
            match next {
                Next::Gap { events, .. } => marked += events,
                Next::Block { lane, waiting } => {
                    popped += waiting.events;
                    let value = Block::trusted(waiting.block.as_ref()).events().map(|e| e.payload[0]).max();
                    if last.insert(lane, value) > Some(value) {
                        return Err(format!("seed {seed}: lane {lane:?} is out of order"));
                    }
                }
            }
        }
        let (events, bytes) = match on_full {
            OnFull::Wait => (
                limits.events.max(limits.events.div_ceil(2) - 1 + most_events),
                limits.bytes.max(limits.bytes.div_ceil(2) - 1 + most_bytes),
            ),
            _ => (limits.events, limits.bytes),
        };
        let bounded = b.blocks <= 1 || (b.events() <= events && b.bytes() <= bytes);
        if !bounded || pushed != popped + counted + b.events() {
            return Err(format!("seed {seed}: {pushed} in, {popped} out, {counted} dropped, {} wait", b.events()));
        }
    }
    for item in drain(&mut b) {
        match item {
            Ok(values) => popped += values.len() as u64,
            Err((events, _)) => marked += events,
        }
    }
    if marked != counted || pushed != popped + counted {
        return Err(format!("seed {seed}: {counted} dropped, {marked} marked, {popped} of {pushed} out"));
    }
    Ok(())
}

#[test]
fn nothing_is_lost_uncounted_over_a_thousand_seeds() {
    for seed in 0..1_000 {
        account(seed, false).expect("the accounts balance");
    }
}

#[test]
fn a_planted_leak_is_found() {
    assert!((0..10).any(|seed| account(seed, true).is_err()));
}
