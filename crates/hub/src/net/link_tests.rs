//! Credit of links: conserved under every delay, and lies are found.

use weft_base::Random;

use super::super::window::Growth;
use super::*;
use crate::counters::{Counters, get};

const LANE: Lane = Lane::DEFAULT;

/// Windows that stay as they are.
fn fixed(bytes: u64) -> Windows {
    Windows::new(bytes, bytes, Growth::new(0))
}

#[test]
fn a_lane_without_credit_waits_in_order_and_other_lanes_go_on() {
    let mut out = LinkOut::new(100);
    assert_eq!(out.offer(LANE, 10, 1, false), Offered::Waits);
    out.granted(LANE, 25, |item| assert_eq!(item, 1)).expect("sound");
    assert_eq!(out.offer(LANE, 10, 2, false), Offered::Send(2));
    assert_eq!(out.offer(LANE, 10, 3, false), Offered::Waits);
    assert_eq!(out.offer(LANE, 1, 4, false), Offered::Waits, "nothing overtakes in a lane");
    out.granted(Lane::URGENT, 50, |_| {}).expect("sound");
    assert_eq!(out.offer(Lane::URGENT, 50, 5, false), Offered::Send(5));
    assert_eq!(out.offer(LANE, 90, 6, false), Offered::Full(6));
    let mut sent = Vec::new();
    out.granted(LANE, 31, |item| sent.push(item)).expect("sound");
    assert_eq!(sent, [3, 4]);
    assert_eq!(out.offer(LANE, 500, 7, false), Offered::Waits, "one always waits, however large");
    assert_eq!(out.drain().collect::<Vec<_>>(), [7]);
}

#[test]
fn a_lane_that_waits_for_credit_counts_as_it_begins_and_its_time_as_it_ends() {
    let counters = Counters::default();
    let link = counters.link("b");
    let counted = || [&link.credit_stalls, &link.credit_stalled_ns].map(|n| get(n));
    let mut out = LinkOut::new(100);
    out.granted(LANE, 10, |()| {}).expect("sound");
    assert_eq!(out.offer(LANE, 10, (), false), Offered::Send(()));
    out.count_stall(LANE, Mono(5), &link);
    assert_eq!(counted(), [0, 0], "nothing waits");
    for at in [10, 30] {
        assert_eq!(out.offer(LANE, 10, (), false), Offered::Waits);
        out.count_stall(LANE, Mono(at), &link);
    }
    assert_eq!(counted(), [1, 20]);
    out.granted(LANE, 20, |()| {}).expect("sound");
    out.count_stall(LANE, Mono(40), &link);
    assert_eq!(counted(), [1, 30], "one has gone, and the other waits");
    assert_eq!(out.drain().count(), 1);
    out.count_stall(LANE, Mono(60), &link);
    out.count_stall(LANE, Mono(90), &link);
    assert_eq!(counted(), [1, 50]);
}

#[test]
fn while_memory_is_short_little_waits_and_each_lane_has_its_own() {
    let mut out = LinkOut::new(10 * SHORT_ROOM);
    for n in 0..4 {
        assert_eq!(out.offer(LANE, SHORT_ROOM / 4, n, true), Offered::Waits);
    }
    assert_eq!(out.offer(LANE, 1, 4, true), Offered::Full(4));
    assert_eq!(out.offer(Lane::URGENT, SHORT_ROOM, 5, true), Offered::Waits, "another lane has room of its own");
    assert_eq!(out.offer(LANE, 1, 6, false), Offered::Waits, "there is memory again");
}

#[test]
fn credit_of_what_is_not_sent_after_all_serves_what_waits() {
    let mut out = LinkOut::new(100);
    out.granted(LANE, 20, |_| {}).expect("sound");
    assert_eq!(out.offer(LANE, 20, 1, false), Offered::Send(1));
    assert_eq!(out.offer(LANE, 15, 2, false), Offered::Waits);
    let mut sent = Vec::new();
    out.returned(LANE, 20, |item| sent.push(item));
    assert_eq!(sent, [2]);
    assert_eq!(out.offer(LANE, 5, 3, false), Offered::Send(3));
    assert_eq!(out.offer(LANE, 1, 4, false), Offered::Waits, "no more than that came back");
}

#[test]
fn credit_that_goes_back_or_beyond_all_bounds_is_a_lie() {
    let mut out = LinkOut::<()>::new(100);
    out.granted(LANE, 50, |()| {}).expect("sound");
    out.granted(LANE, 50, |()| {}).expect("said again it changes nothing");
    assert_eq!(out.granted(LANE, 49, |()| {}), Err(CreditError::TakenBack { lane: LANE, from: 50, to: 49 }));
    let to = u64::MAX;
    assert_eq!(out.granted(LANE, to, |()| {}), Err(CreditError::Overflow { lane: LANE, from: 50, to }));
    let mut into = LinkIn::new(fixed(100));
    assert_eq!(into.first().count(), Lane::COUNT);
    into.came(LANE, 100, Duration::ZERO, Mono(0)).expect("it was granted");
    let exceeded = into.came(LANE, 1, Duration::ZERO, Mono(0)).expect_err("it was not");
    assert_eq!(exceeded, CreditError::Exceeded { lane: LANE, sent: 101, limit: 100 });
    assert_eq!(exceeded.to_string(), "101 bytes came on lane 4, and 100 were granted: wait for credit");
}

/// A fault to plant, which the simulation must find.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// A word of what was taken is lost between two stages.
    Leak,
    /// The sender counts a block only once.
    Forge,
}

/// Two hubs and the queues between their stages, with chance for a scheduler.
/// Holds at each step: no lane is sent more than it was granted, so credit is
/// never negative; and when all is quiet the whole window is there again, so
/// none is leaked.
fn run(seed: u64, fault: Fault) -> Result<(), String> {
    let mut random = Random::from_seed(seed);
    let window = 64 + random.below(1_000);
    let (mut out, mut into) = (LinkOut::new(2_000), LinkIn::new(fixed(window)));
    let mut taken = Taken::new(window);
    let (mut wire, mut ring) = (VecDeque::new(), VecDeque::new());
    let mut grants: VecDeque<(Lane, u64)> = into.first().collect();
    let mut words: VecDeque<(Lane, u64)> = VecDeque::new();
    let (mut offered, mut full, mut arrived) = (0u64, 0u64, 0u64);
    let mut next = [0u32; Lane::COUNT];
    let mut seen = [0u32; Lane::COUNT];
    for step in 0..4_000 {
        let quiet = step >= 2_000;
        match random.below(6) {
            0 | 1 if !quiet => {
                let lane = Lane::new(random.below(8) as u8).ok_or("a lane")?;
                // No frame is larger than a quarter of the window: see `Limits::window_of_links`.
                let len = 1 + random.below(window / 4) as usize;
                offered += 1;
                match out.offer(lane, len, (lane, len, next[lane.index()]), false) {
                    Offered::Send(item) => wire.push_back(item),
                    Offered::Waits => {}
                    Offered::Full(_) => {
                        full += 1;
                        continue;
                    }
                }
                next[lane.index()] += 1;
            }
            2 => {
                if let Some((lane, limit)) = grants.pop_front() {
                    let granted = out.granted(lane, limit, |item| wire.push_back(item));
                    granted.map_err(|error| format!("seed {seed}: {error}"))?;
                    if fault == Fault::Forge && step == 1_000 {
                        out.lanes[lane.index()].sent = 0;
                    }
                }
            }
            3 => {
                if let Some((lane, len, number)) = wire.pop_front() {
                    into.came(lane, len, Duration::ZERO, Mono(0)).map_err(|error| format!("seed {seed}: {error}"))?;
                    ring.push_back((lane, len, number));
                }
            }
            4 => {
                if let Some((lane, len, number)) = ring.pop_front() {
                    if number != seen[lane.index()] {
                        return Err(format!("seed {seed}: lane {lane:?} is out of order"));
                    }
                    seen[lane.index()] += 1;
                    arrived += 1;
                    words.extend(taken.add(0u8, lane, len).map(|bytes| (lane, bytes)));
                }
            }
            _ => {
                if let Some((lane, bytes)) = words.pop_front() {
                    if fault == Fault::Leak && step % 500 == 0 {
                        continue;
                    }
                    grants.extend(into.took(lane, bytes).map(|limit| (lane, limit)));
                }
            }
        }
    }
    if fault == Fault::Leak {
        words.pop_front();
    }
    // To the end: nothing new comes in, and everything that moves arrives.
    for _ in 0..2_000 {
        while let Some((lane, limit)) = grants.pop_front() {
            out.granted(lane, limit, |item| wire.push_back(item)).map_err(|e| format!("seed {seed}: {e}"))?;
        }
        while let Some((lane, len, _)) = wire.pop_front() {
            into.came(lane, len, Duration::ZERO, Mono(0)).map_err(|error| format!("seed {seed}: {error}"))?;
            ring.push_back((lane, len, 0));
        }
        while let Some((lane, len, _)) = ring.pop_front() {
            arrived += 1;
            words.extend(taken.add(0u8, lane, len).map(|bytes| (lane, bytes)));
        }
        while let Some((lane, bytes)) = words.pop_front() {
            grants.extend(into.took(lane, bytes).map(|limit| (lane, limit)));
        }
    }
    if offered != full + arrived {
        return Err(format!("seed {seed}: {offered} offered, {full} refused, {arrived} arrived: some wait for ever"));
    }
    for (lane, out) in out.lanes.iter().enumerate() {
        let unsaid = taken.links.get(&0).map_or(0, |taken| taken[lane]);
        let (came, took, granted) = into.lanes[lane];
        let whole = out.sent == came && came == took + unsaid && out.limit == granted;
        // Up to half a window is not said again for each block.
        if !whole || out.limit - out.sent < window / 2 || out.limit - out.sent > window {
            return Err(format!("seed {seed}: lane {lane} has {} of {window}", out.limit - out.sent));
        }
    }
    Ok(())
}

#[test]
fn credit_is_never_negative_and_never_leaked_over_a_thousand_seeds() {
    for seed in 0..1_000 {
        run(seed, Fault::None).expect("credit is conserved");
    }
}

#[test]
fn leaked_and_forged_credit_is_found() {
    for fault in [Fault::Leak, Fault::Forge] {
        assert!((0..50).any(|seed| run(seed, fault).is_err()));
    }
}
